//! The real Schur form of a matrix.
//!
//! nalgebra has one, but without exceptional shifts, and with shifts that cancel where the matrix
//! is nearly a multiple of the identity. So it stalls on permutations, and on the Jacobians of
//! networks with saturated gates.

use std::ops::Range;

use nalgebra::DMatrix;

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
    let mut q = DMatrix::identity(matrix.nrows(), matrix.nrows());
    let t = reduce(matrix, Some(&mut q))?;
    Ok((q, t))
}

/// A quasi-triangular matrix with the eigenvalues of J: what stands on the diagonal of its Schur form, without the rest.
/// A third of the work, because only the block at hand is updated.
pub(crate) fn quasi_diagonal(matrix: &DMatrix<f64>) -> Result<DMatrix<f64>, Error> {
    reduce(matrix, None)
}

/// The T of J = Q T Q^T, with `q` multiplied by Q; without `q`, only the diagonal blocks of T mean something.
fn reduce(matrix: &DMatrix<f64>, mut q: Option<&mut DMatrix<f64>>) -> Result<DMatrix<f64>, Error> {
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
        return Ok(matrix.clone());
    }
    let mut work = Vec::with_capacity(dim);
    let mut h = hessenberg(matrix / size, q.as_deref_mut(), &mut work);
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
        double_step(
            &mut h,
            q.as_deref_mut(),
            start..last + 1,
            exceptional,
            &mut work,
        );
    }
    Ok(h * size)
}

/// The H of J = Q H Q^T, with zeros below its subdiagonal; `q` is multiplied by the orthogonal Q.
fn hessenberg(
    mut h: DMatrix<f64>,
    mut q: Option<&mut DMatrix<f64>>,
    work: &mut Vec<f64>,
) -> DMatrix<f64> {
    let dim = h.nrows();
    let mut v = vec![0.0; dim];
    for k in 0..dim.saturating_sub(2) {
        let first = k + 1;
        let v = &mut v[first..];
        for (i, v) in v.iter_mut().enumerate() {
            *v = h[(first + i, k)];
        }
        if let Some(beta) = householder(v) {
            reflect_rows(&mut h, v, beta, first, k..dim);
            reflect_columns(&mut h, v, beta, first, 0..dim, work);
            if let Some(q) = q.as_deref_mut() {
                reflect_columns(q, v, beta, first, 0..dim, work);
            }
            for i in first + 1..dim {
                h[(i, k)] = 0.0;
            }
        }
    }
    h
}

/// Multiplies I - beta v v^T from the left onto the rows from `first` on, in these `columns`.
fn reflect_rows(
    matrix: &mut DMatrix<f64>,
    v: &[f64],
    beta: f64,
    first: usize,
    columns: Range<usize>,
) {
    for j in columns {
        let mut column = matrix.column_mut(j);
        let mut part = column.rows_mut(first, v.len());
        let product = part.iter().zip(v).map(|(x, v)| x * v).sum::<f64>();
        for (x, v) in part.iter_mut().zip(v) {
            *x -= beta * product * v;
        }
    }
}

/// Multiplies I - beta v v^T from the right onto the columns from `first` on, in these `rows`. Column by column, as the
/// matrix lies in memory; `work` holds the products of v with the rows.
fn reflect_columns(
    matrix: &mut DMatrix<f64>,
    v: &[f64],
    beta: f64,
    first: usize,
    rows: Range<usize>,
    work: &mut Vec<f64>,
) {
    let dim = matrix.nrows();
    work.clear();
    work.resize(rows.len(), 0.0);
    let columns = &mut matrix.as_mut_slice()[first * dim..][..v.len() * dim];
    for (column, v) in columns.chunks_exact(dim).zip(v) {
        for (product, x) in work.iter_mut().zip(&column[rows.clone()]) {
            *product += x * v;
        }
    }
    for (column, v) in columns.chunks_exact_mut(dim).zip(v) {
        let factor = beta * v;
        for (x, product) in column[rows.clone()].iter_mut().zip(work.iter()) {
            *x -= factor * product;
        }
    }
}

/// Replaces x by the v, and returns the beta, with which (I - beta v v^T) x has zeros below its
/// first element; `None` for x = 0.
fn householder(x: &mut [f64]) -> Option<f64> {
    let largest = x.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        return None;
    }
    for x in x.iter_mut() {
        *x /= largest;
    }
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    if let Some(first) = x.first_mut() {
        *first += norm.copysign(*first);
    }
    Some(2.0 / x.iter().map(|x| x * x).sum::<f64>())
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

/// One double QR step on the rows of a block, at least three. Without `q` what lies outside of the block is left as it
/// is: it has no part in the eigenvalues.
fn double_step(
    h: &mut DMatrix<f64>,
    mut q: Option<&mut DMatrix<f64>>,
    block: Range<usize>,
    exceptional: bool,
    work: &mut Vec<f64>,
) {
    let dim = h.nrows();
    let (start, last) = (block.start, block.end - 1);
    let reach = if q.is_some() { 0..dim } else { block };
    // The shifts are the eigenvalues of [[a, b], [c, d]]: of the trailing block, or, to leave a
    // cycle, of a block that shares only its place and its scale.
    let (mut a, mut d) = (h[(last - 1, last - 1)], h[(last, last)]);
    let mut bc = h[(last - 1, last)] * h[(last, last - 1)];
    if exceptional {
        let scale = h[(last, last - 1)].abs() + h[(last - 1, last - 2)].abs();
        a = d + 0.75 * scale;
        d = a;
        bc = -0.4375 * scale * scale;
    }
    // The first column of (H - lambda_1 I) (H - lambda_2 I), of which three elements are not zero,
    // divided by h10. Only differences of diagonal elements enter, so nothing cancels where the
    // matrix is nearly a multiple of the identity.
    let (h00, h01) = (h[(start, start)], h[(start, start + 1)]);
    let (h10, h11) = (h[(start + 1, start)], h[(start + 1, start + 1)]);
    let (r, s) = (d - h00, a - h00);
    let mut column = [
        (r * s - bc) / h10 + h01,
        (h11 - h00) - r - s,
        h[(start + 2, start + 1)],
    ];
    for k in start..last {
        let height = (last - k + 1).min(3);
        if k > start {
            column = [0.0; 3];
            for (i, v) in column.iter_mut().enumerate().take(height) {
                *v = h[(k + i, k - 1)];
            }
        }
        let v = &mut column[..height];
        if let Some(beta) = householder(v) {
            let columns = k.saturating_sub(1).max(start)..reach.end;
            reflect_rows(h, v, beta, k, columns);
            let rows = reach.start..(k + 3).min(last) + 1;
            reflect_columns(h, v, beta, k, rows, work);
            if let Some(q) = q.as_deref_mut() {
                reflect_columns(q, v, beta, k, 0..dim, work);
            }
        }
        if k > start {
            for i in 1..height {
                h[(k + i, k - 1)] = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assert_schur(matrix: &DMatrix<f64>) {
        let dim = matrix.nrows();
        let (q, t) = real_schur(matrix).unwrap();
        // The same blocks without Q, within rounding: they are similar by the same reflections.
        let blocks = quasi_diagonal(matrix).unwrap();
        assert!((blocks.trace() - t.trace()).abs() <= 1e-13 * dim as f64 * matrix.amax());
        let identity = DMatrix::identity(dim, dim);
        assert!((&q * q.transpose() - identity).amax() < 1e-13);
        let error = (&q * &t * q.transpose() - matrix).amax();
        assert!(error <= 1e-13 * matrix.amax());
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
