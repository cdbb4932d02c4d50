//! The real Schur form of a matrix.
//!
//! nalgebra has one, but without exceptional shifts and with a test for small subdiagonals that
//! looks at their neighbours alone. So it stalls on permutations and on Jacobians of low rank,
//! which networks of rectified or saturated units have.

use nalgebra::{DMatrix, Hessenberg};

use crate::Error;

/// Iterations for one eigenvalue or pair before the whole counts as failed; two or three are usual.
const MAX_ITERATIONS: usize = 100;
/// Every so many iterations on one eigenvalue the shifts are replaced by exceptional ones.
const EXCEPTIONAL: usize = 10;
/// After so many, a subdiagonal that is small beside the norm of the matrix is small enough.
const NORMWISE: usize = 20;

/// J = Q T Q^T with orthogonal Q and quasi-triangular T: ones and two-by-two blocks along the
/// diagonal, zeros below.
///
/// Householder reduction to Hessenberg form, then Francis's implicitly shifted double QR steps
/// (G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed., section 7.5).
pub(crate) fn real_schur(matrix: &DMatrix<f64>) -> Result<(DMatrix<f64>, DMatrix<f64>), Error> {
    let dim = matrix.nrows();
    if dim == 0 {
        return Err(Error::TooFew {
            what: "rows of the jacobian",
            needed: 1,
            found: 0,
        });
    }
    if !matrix.iter().all(|v| v.is_finite()) {
        return Err(Error::NotFinite {
            what: "the jacobian",
        });
    }
    let size = matrix.amax();
    if dim == 1 || size == 0.0 {
        return Ok((DMatrix::identity(dim, dim), matrix.clone()));
    }
    let (mut q, mut h) = Hessenberg::new(matrix / size).unpack();
    let norm = h.norm();
    let mut iterations = 0;
    // Everything below row `end` is done.
    let mut end = dim;
    while end > 0 {
        let last = end - 1;
        let start = active_block(&mut h, last, (iterations >= NORMWISE).then_some(norm));
        if start + 1 >= last {
            end = start;
            iterations = 0;
            continue;
        }
        iterations += 1;
        if iterations > MAX_ITERATIONS {
            return Err(Error::EigenvaluesNotConverged);
        }
        let exceptional = iterations % EXCEPTIONAL == 0;
        double_step(&mut h, &mut q, start, last, exceptional);
    }
    Ok((q, h * size))
}

/// The first row of the undecoupled block that ends at row `last`. The small subdiagonal above it
/// becomes zero.
fn active_block(h: &mut DMatrix<f64>, last: usize, norm: Option<f64>) -> usize {
    for k in (1..=last).rev() {
        let neighbours = h[(k - 1, k - 1)].abs() + h[(k, k)].abs();
        let beside = norm.unwrap_or(0.0).max(neighbours);
        if h[(k, k - 1)].abs() <= (f64::EPSILON * beside).max(f64::MIN_POSITIVE) {
            h[(k, k - 1)] = 0.0;
            return k;
        }
    }
    0
}

/// One double QR step on the rows `start` to `last`, at least three.
fn double_step(
    h: &mut DMatrix<f64>,
    q: &mut DMatrix<f64>,
    start: usize,
    last: usize,
    exceptional: bool,
) {
    let dim = h.nrows();
    // The sum and the product of the two shifts: those of the trailing block's eigenvalues, or some
    // that have no relation to the matrix but its scale.
    let (sum, product) = if exceptional {
        let scale = h[(last, last - 1)].abs() + h[(last - 1, last - 2)].abs();
        (1.5 * scale, scale * scale)
    } else {
        let (a, b) = (h[(last - 1, last - 1)], h[(last - 1, last)]);
        let (c, d) = (h[(last, last - 1)], h[(last, last)]);
        (a + d, a * d - b * c)
    };
    // The first column of H^2 - sum H + product I, of which three elements are not zero.
    let (h00, h01) = (h[(start, start)], h[(start, start + 1)]);
    let (h10, h11) = (h[(start + 1, start)], h[(start + 1, start + 1)]);
    let mut column = [
        h00 * h00 + h01 * h10 - sum * h00 + product,
        h10 * (h00 + h11 - sum),
        h10 * h[(start + 2, start + 1)],
    ];
    for k in start..last {
        let height = (last - k + 1).min(3);
        if k > start {
            column = [0.0; 3];
            for (i, v) in column.iter_mut().enumerate().take(height) {
                *v = h[(k + i, k - 1)];
            }
        }
        let Some((v, beta)) = householder(&column[..height]) else {
            continue;
        };
        let v = &v[..height];
        for j in k.saturating_sub(1).max(start)..dim {
            let product = beta * (0..height).map(|i| v[i] * h[(k + i, j)]).sum::<f64>();
            for (i, v) in v.iter().enumerate() {
                h[(k + i, j)] -= product * v;
            }
        }
        let above = (k + 3).min(last) + 1;
        for (matrix, rows) in [(&mut *h, above), (&mut *q, dim)] {
            for j in 0..rows {
                let product = beta * (0..height).map(|i| v[i] * matrix[(j, k + i)]).sum::<f64>();
                for (i, v) in v.iter().enumerate() {
                    matrix[(j, k + i)] -= product * v;
                }
            }
        }
        if k > start {
            for i in 1..height {
                h[(k + i, k - 1)] = 0.0;
            }
        }
    }
}

/// v and beta such that (I - beta v v^T) x has zeros below its first element; `None` for x = 0.
fn householder(x: &[f64]) -> Option<([f64; 3], f64)> {
    let largest = x.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        return None;
    }
    let mut v = [0.0; 3];
    for (v, x) in v.iter_mut().zip(x) {
        *v = x / largest;
    }
    let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
    v[0] += norm.copysign(v[0]);
    Some((v, 2.0 / v.iter().map(|v| v * v).sum::<f64>()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_schur(matrix: &DMatrix<f64>) {
        let dim = matrix.nrows();
        let (q, t) = real_schur(matrix).unwrap();
        let identity = DMatrix::identity(dim, dim);
        assert!((&q * q.transpose() - identity).amax() < 1e-13);
        let error = (&q * &t * q.transpose() - matrix).amax();
        assert!(
            error <= 1e-13 * matrix.norm(),
            "{error} of {}",
            matrix.norm()
        );
        for j in 0..dim {
            for i in j + 2..dim {
                assert_eq!(t[(i, j)], 0.0);
            }
            // No two subdiagonals in a row.
            if j + 2 < dim {
                assert!(t[(j + 1, j)] == 0.0 || t[(j + 2, j + 1)] == 0.0);
            }
        }
    }

    #[test]
    fn extreme_sizes_are_no_trouble() {
        let matrix = DMatrix::from_fn(7, 7, |i, j| ((3 * i + 5 * j + 1) as f64).sin());
        assert_schur(&(&matrix * 1e-200));
        assert_schur(&(&matrix * 1e150));
        assert_schur(&DMatrix::zeros(4, 4));
    }

    proptest! {
        #[test]
        fn the_factors_give_the_matrix_back(
            dim in 1_usize..20,
            rank in 1_usize..20,
            shift in -1.0_f64..1.0,
            exponent in -17_i32..1,
            values in prop::collection::vec(-1.0_f64..1.0, 800),
        ) {
            // Of low rank, and often hardly to be told from a multiple of the identity.
            let rank = rank.min(dim);
            let left = DMatrix::from_column_slice(dim, rank, &values[..dim * rank]);
            let right = DMatrix::from_column_slice(rank, dim, &values[400..400 + dim * rank]);
            let product = left * right;
            assert_schur(&product);
            let noise = product * 10.0_f64.powi(exponent);
            assert_schur(&(DMatrix::from_diagonal_element(dim, dim, shift) + noise));
        }
    }
}
