//! Dense linear algebra on row-major slices, in place, for the inner loop of the fixed-point
//! search: nothing here allocates once its workspace exists.

/// Columns that are eliminated together. Four rows of U stay in the first-level cache and in
/// registers while a row is updated, so each element of the trailing matrix is loaded and stored
/// once for eight operations.
const PANEL: usize = 4;

/// The factors P A = L U of a square matrix, with L's unit diagonal left out.
pub(crate) struct Lu {
    dim: usize,
    /// L below the diagonal, U on and above it, row-major.
    factors: Vec<f64>,
    /// `pivots[k]` is the row that was exchanged with row k at step k.
    pivots: Vec<usize>,
}

impl Lu {
    /// A workspace for matrices of `dim` rows and columns.
    pub(crate) fn new(dim: usize) -> Self {
        Self {
            dim,
            factors: vec![0.0; dim * dim],
            pivots: vec![0; dim],
        }
    }

    /// Factors `matrix` by Gaussian elimination with partial pivoting. False where a pivot is zero
    /// or not finite; the factors are then of no use.
    pub(crate) fn factor(&mut self, matrix: &[f64]) -> bool {
        let n = self.dim;
        self.factors.copy_from_slice(matrix);
        let a = &mut self.factors[..];
        for first in (0..n).step_by(PANEL) {
            let end = (first + PANEL).min(n);
            for k in first..end {
                let mut pivot_row = k;
                let mut largest = a[k * n + k].abs();
                for i in k + 1..n {
                    let candidate = a[i * n + k].abs();
                    if candidate > largest {
                        largest = candidate;
                        pivot_row = i;
                    }
                }
                if !(largest > 0.0 && largest.is_finite()) {
                    return false;
                }
                self.pivots[k] = pivot_row;
                if pivot_row != k {
                    let (upper, lower) = a.split_at_mut(pivot_row * n);
                    upper[k * n..(k + 1) * n].swap_with_slice(&mut lower[..n]);
                }
                let (upper, lower) = a.split_at_mut((k + 1) * n);
                let pivot = &upper[k * n..];
                for row in lower.chunks_exact_mut(n) {
                    row[k] /= pivot[k];
                    let factor = row[k];
                    for j in k + 1..end {
                        row[j] -= factor * pivot[j];
                    }
                }
            }
            if end == n {
                break;
            }
            let (panel, trailing) = a[first * n..].split_at_mut((end - first) * n);
            // U12 = L11^-1 A12
            for k in 1..end - first {
                let (done, rest) = panel.split_at_mut(k * n);
                let row = &mut rest[..n];
                for (p, done_row) in done.chunks_exact(n).enumerate() {
                    let factor = row[first + p];
                    subtract_scaled(&mut row[end..], factor, &done_row[end..]);
                }
            }
            // A22 = A22 - L21 U12. The panel is full here: a shorter one is the last, and left above.
            let (u0, rest) = panel.split_at(n);
            let (u1, rest) = rest.split_at(n);
            let (u2, u3) = rest.split_at(n);
            let (u0, u1, u2, u3) = (&u0[end..], &u1[end..], &u2[end..], &u3[end..]);
            for row in trailing.chunks_exact_mut(n) {
                let (left, right) = row.split_at_mut(end);
                let l = &left[first..];
                let (l0, l1, l2, l3) = (l[0], l[1], l[2], l[3]);
                for ((((x, u0), u1), u2), u3) in right.iter_mut().zip(u0).zip(u1).zip(u2).zip(u3) {
                    *x -= (l0 * u0 + l1 * u1) + (l2 * u2 + l3 * u3);
                }
            }
        }
        true
    }

    /// Overwrites `b` with the solution of A x = b.
    pub(crate) fn solve(&self, b: &mut [f64]) {
        let n = self.dim;
        for (k, &pivot_row) in self.pivots.iter().enumerate() {
            b.swap(k, pivot_row);
        }
        for (i, row) in self.factors.chunks_exact(n).enumerate() {
            b[i] -= dot(&row[..i], &b[..i]);
        }
        for (i, row) in self.factors.chunks_exact(n).enumerate().rev() {
            b[i] = (b[i] - dot(&row[i + 1..], &b[i + 1..])) / row[i];
        }
    }

    /// Overwrites `b` with the solution of A^T x = b.
    fn solve_transposed(&self, b: &mut [f64]) {
        let n = self.dim;
        // A^T = U^T L^T P, so U^T y = b, L^T z = y, x = P^T z.
        for (i, row) in self.factors.chunks_exact(n).enumerate() {
            let (head, tail) = b.split_at_mut(i + 1);
            head[i] /= row[i];
            subtract_scaled(tail, head[i], &row[i + 1..]);
        }
        for (i, row) in self.factors.chunks_exact(n).enumerate().rev() {
            let (head, tail) = b.split_at_mut(i);
            subtract_scaled(head, tail[0], &row[..i]);
        }
        for (k, &pivot_row) in self.pivots.iter().enumerate().rev() {
            b.swap(k, pivot_row);
        }
    }

    /// sign det A, from a factorisation that succeeded.
    pub(crate) fn determinant_sign(&self) -> i8 {
        let n = self.dim;
        let mut negative = false;
        for (k, &pivot_row) in self.pivots.iter().enumerate() {
            negative ^= pivot_row != k;
            negative ^= self.factors[k * n + k] < 0.0;
        }
        if negative { -1 } else { 1 }
    }

    /// A lower bound of |A^-1|_inf that is rarely off by more than a factor of three, in a few
    /// solves: Hager's maximisation of |A^-T x|_1 over the unit ball of the 1-norm (N. J. Higham,
    /// Accuracy and Stability of Numerical Algorithms, algorithm 15.1). `x` and `y` are scratch.
    pub(crate) fn inverse_infinity_norm(&self, x: &mut [f64], y: &mut [f64]) -> f64 {
        let n = self.dim;
        x.fill(1.0 / n as f64);
        let mut estimate = 0.0_f64;
        let mut previous = usize::MAX;
        for _ in 0..4 {
            self.solve_transposed(x);
            let norm = x.iter().map(|v| v.abs()).sum::<f64>();
            if norm.is_nan() || norm <= estimate {
                break;
            }
            estimate = norm;
            for (y, x) in y.iter_mut().zip(x.iter()) {
                *y = 1.0_f64.copysign(*x);
            }
            self.solve(y);
            let mut steepest = 0;
            for (j, value) in y.iter().enumerate() {
                if value.abs() > y[steepest].abs() {
                    steepest = j;
                }
            }
            if steepest == previous {
                break;
            }
            previous = steepest;
            x.fill(0.0);
            x[steepest] = 1.0;
        }
        estimate
    }
}

/// Overwrites the lower triangle of the symmetric `a` with its Cholesky factor. False where `a` is
/// not positive definite to working precision.
pub(crate) fn cholesky(a: &mut [f64], dim: usize) -> bool {
    for i in 0..dim {
        let (done, rest) = a.split_at_mut(i * dim);
        let row = &mut rest[..dim];
        for (j, done_row) in done.chunks_exact(dim).enumerate() {
            row[j] = (row[j] - dot(&row[..j], &done_row[..j])) / done_row[j];
        }
        let square = row[i] - dot(&row[..i], &row[..i]);
        if !(square > 0.0 && square.is_finite()) {
            return false;
        }
        row[i] = square.sqrt();
    }
    true
}

/// Overwrites `b` with the solution of L L^T x = b.
pub(crate) fn cholesky_solve(factor: &[f64], b: &mut [f64]) {
    let dim = b.len();
    for (i, row) in factor.chunks_exact(dim).enumerate() {
        b[i] = (b[i] - dot(&row[..i], &b[..i])) / row[i];
    }
    for (i, row) in factor.chunks_exact(dim).enumerate().rev() {
        b[i] /= row[i];
        let (head, tail) = b.split_at_mut(i);
        subtract_scaled(head, tail[0], &row[..i]);
    }
}

/// `gram` = A^T A, only its lower triangle.
pub(crate) fn lower_gram(a: &[f64], dim: usize, gram: &mut [f64]) {
    gram.fill(0.0);
    let mut rows = a.chunks_exact(4 * dim);
    for four in &mut rows {
        let (a0, rest) = four.split_at(dim);
        let (a1, rest) = rest.split_at(dim);
        let (a2, a3) = rest.split_at(dim);
        for (i, out) in gram.chunks_exact_mut(dim).enumerate() {
            let (f0, f1, f2, f3) = (a0[i], a1[i], a2[i], a3[i]);
            for ((((x, a0), a1), a2), a3) in out[..=i].iter_mut().zip(a0).zip(a1).zip(a2).zip(a3) {
                *x += (f0 * a0 + f1 * a1) + (f2 * a2 + f3 * a3);
            }
        }
    }
    for row in rows.remainder().chunks_exact(dim) {
        for (i, out) in gram.chunks_exact_mut(dim).enumerate() {
            subtract_scaled(&mut out[..=i], -row[i], &row[..=i]);
        }
    }
}

/// `out` = A^T `v`.
pub(crate) fn multiply_transposed(a: &[f64], v: &[f64], out: &mut [f64]) {
    out.fill(0.0);
    for (row, &v) in a.chunks_exact(v.len()).zip(v) {
        subtract_scaled(out, -v, row);
    }
}

/// The scalar product, in four partial sums so that it vectorises; the order is fixed.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (a, b) in a4.iter().zip(b4) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}

/// The largest modulus; NaN where an element is NaN.
pub(crate) fn infinity_norm(v: &[f64]) -> f64 {
    v.iter().fold(0.0, |largest, x| {
        let x = x.abs();
        if x > largest || x.is_nan() {
            x
        } else {
            largest
        }
    })
}

/// The largest modulus of a - b.
pub(crate) fn infinity_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter()
        .zip(b)
        .fold(0.0, |largest, (a, b)| largest.max((a - b).abs()))
}

/// `y` = `y` - `factor` `x`.
fn subtract_scaled(y: &mut [f64], factor: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y -= factor * x;
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::{DMatrix, DVector};
    use proptest::prelude::*;

    use super::*;

    fn matrices() -> impl Strategy<Value = (usize, Vec<f64>, Vec<f64>)> {
        (1_usize..24).prop_flat_map(|dim| {
            (
                Just(dim),
                prop::collection::vec(-1.0..1.0, dim * dim),
                prop::collection::vec(-1.0..1.0, dim),
            )
        })
    }

    #[test]
    fn infinity_norm_shows_nan() {
        assert!(infinity_norm(&[1.0, f64::NAN, 2.0]).is_nan());
        assert_eq!(infinity_norm(&[1.0, -3.0, 2.0]), 3.0);
    }

    #[test]
    fn singular_matrices_are_refused() {
        assert!(!Lu::new(2).factor(&[1.0, 2.0, 2.0, 4.0]));
        assert!(!Lu::new(1).factor(&[f64::NAN]));
        assert!(!cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2));
    }

    proptest! {
        #[test]
        fn lu_solves_both_ways((dim, values, b) in matrices()) {
            let matrix = DMatrix::from_row_slice(dim, dim, &values);
            let inverse = matrix.clone().try_inverse();
            prop_assume!(inverse.as_ref().is_some_and(|inverse| inverse.amax() < 1e4));
            let inverse = inverse.unwrap();
            let mut lu = Lu::new(dim);
            prop_assert!(lu.factor(&values));
            let (mut x, mut y) = (b.clone(), b.clone());
            lu.solve(&mut x);
            lu.solve_transposed(&mut y);
            let b = DVector::from_vec(b);
            prop_assert!((&matrix * DVector::from_vec(x) - &b).amax() < 1e-9);
            prop_assert!((matrix.transpose() * DVector::from_vec(y) - &b).amax() < 1e-9);
            prop_assert_eq!(f64::from(lu.determinant_sign()), matrix.determinant().signum());
            let exact = inverse.row_iter().map(|row| row.iter().map(|v| v.abs()).sum::<f64>());
            let exact = exact.fold(0.0, f64::max);
            let (mut x, mut y) = (vec![0.0; dim], vec![0.0; dim]);
            let estimate = lu.inverse_infinity_norm(&mut x, &mut y);
            prop_assert!(estimate <= exact * (1.0 + 1e-9) && estimate >= exact / 10.0);
        }

        #[test]
        fn cholesky_solves_normal_equations((dim, values, b) in matrices()) {
            let matrix = DMatrix::from_row_slice(dim, dim, &values);
            let full = matrix.transpose() * &matrix + DMatrix::identity(dim, dim);
            let mut gram = vec![0.0; dim * dim];
            lower_gram(&values, dim, &mut gram);
            for i in 0..dim {
                gram[i * dim + i] += 1.0;
            }
            prop_assert!(cholesky(&mut gram, dim));
            let mut x = b.clone();
            cholesky_solve(&gram, &mut x);
            prop_assert!((full * DVector::from_vec(x) - DVector::from_vec(b.clone())).amax() < 1e-10);
            let mut product = vec![0.0; dim];
            multiply_transposed(&values, &b, &mut product);
            let difference = matrix.transpose() * DVector::from_vec(b) - DVector::from_vec(product);
            prop_assert!(difference.amax() < 1e-12);
        }
    }
}
