//! Functions of small dense matrices: the spectral norm, and the principal logarithm.

use crate::linear::add_products;
use nalgebra::{Complex, ComplexField, DMatrix};
use nullcline_data::vectorised;

/// How often M' M is squared.
const SQUARINGS: usize = 14;

/// ||M||_2 of a row-major matrix of so many columns, to 1e-5 relative; NaN where an entry is not finite.
pub fn spectral_norm(matrix: &[f64], columns: usize) -> f64 {
    let alone: Vec<[f64; 1]> = matrix.iter().map(|&x| [x]).collect();
    let [norm] = spectral_norms(&alone, columns);
    norm
}

vectorised! {
    /// [`spectral_norm`] of K matrices at once, entry by entry side by side.
    ///
    /// The largest eigenvalue of G = M' M, from the power 2^14 of G by repeated squaring: its longest column v is, to as
    /// many digits as the two largest eigenvalues differ in, the eigenvector, and v' G v / v' v lies between them where they
    /// do not. Jacobians of slow flows are near the identity, where iterating on vectors would take thousands of steps.
    pub(crate) fn spectral_norms<const K: usize>(matrices: &[[f64; K]], columns: usize) -> [f64; K] {
        let n = columns;
        let mut gram = vec![[0.0; K]; n * n];
        for row in matrices.chunks_exact(n.max(1)) {
            for (out, x) in gram.chunks_exact_mut(n).zip(row) {
                for (out, y) in out.iter_mut().zip(row) {
                    add_products(out, x, y);
                }
            }
        }
        let trace = trace_of(&gram, n);
        // Of matrices of zeros and of what is not finite nothing more is made: what they give is put in at the end.
        let scale = trace.map(f64::recip);
        for x in &mut gram {
            *x = product(x, &scale);
        }
        let mut power = gram.clone();
        let mut square = gram.clone();
        for _ in 0..SQUARINGS {
            // The power is symmetric: its rows are its columns, and half of the square is enough.
            for i in 0..n {
                for j in i..n {
                    let mut sum = [0.0; K];
                    for (x, y) in power[i * n..][..n].iter().zip(&power[j * n..][..n]) {
                        add_products(&mut sum, x, y);
                    }
                    square[i * n + j] = sum;
                    square[j * n + i] = sum;
                }
            }
            // Of a positive matrix the trace bounds every entry, and the largest eigenvalue is at least 1 / n of it.
            let scale = trace_of(&square, n).map(f64::recip);
            for (p, s) in power.iter_mut().zip(&square) {
                *p = product(s, &scale);
            }
        }
        std::array::from_fn(|k| {
            if !trace[k].is_finite() {
                return f64::NAN;
            }
            if trace[k] == 0.0 {
                return 0.0;
            }
            let diagonal = |i: usize| power[i * n + i][k];
            let longest = (0..n)
                .max_by(|&i, &j| diagonal(i).total_cmp(&diagonal(j)))
                .unwrap_or(0);
            let v = &power[longest * n..][..n];
            let image: f64 = gram
                .chunks_exact(n)
                .zip(v)
                .map(|(row, x)| x[k] * row.iter().zip(v).map(|(g, y)| g[k] * y[k]).sum::<f64>())
                .sum();
            let length: f64 = v.iter().map(|x| x[k] * x[k]).sum();
            (trace[k] * image / length).sqrt()
        })
    }
}

#[inline(always)]
fn trace_of<const K: usize>(matrices: &[[f64; K]], n: usize) -> [f64; K] {
    let mut trace = [0.0; K];
    for i in 0..n {
        add_products(&mut trace, &matrices[i * n + i], &[1.0; K]);
    }
    trace
}

#[inline(always)]
fn product<const K: usize>(x: &[f64; K], y: &[f64; K]) -> [f64; K] {
    std::array::from_fn(|k| x[k] * y[k])
}

/// ||M||_2 of a complex matrix; NaN where an entry is not finite.
pub fn complex_norm(matrix: &DMatrix<Complex<f64>>) -> f64 {
    if matrix.iter().any(|x| !x.is_finite()) {
        return f64::NAN;
    }
    matrix.singular_values().max()
}

/// The principal logarithm of a square matrix: the one whose eigenvalues have imaginary parts in (-pi, pi]. Entries that
/// are not finite where there is none, for an eigenvalue that is zero.
///
/// By inverse scaling and squaring on the Schur form (Higham 2008, *Functions of Matrices*, chapter 11):
/// M = Q T Q*, log T = 2^k log T^(1/2^k), and near the identity log X = 2 artanh((X - I)(X + I)^-1).
pub fn logarithm(matrix: &DMatrix<Complex<f64>>) -> DMatrix<Complex<f64>> {
    let n = matrix.nrows();
    let undefined = || DMatrix::from_element(n, n, Complex::new(f64::NAN, 0.0));
    if matrix.iter().any(|x| !x.is_finite()) {
        return undefined();
    }
    let Some(schur) = matrix.clone().try_schur(f64::EPSILON, 10_000) else {
        return undefined();
    };
    let (q, mut t) = schur.unpack();
    for i in 0..n {
        for j in 0..i {
            t[(i, j)] = Complex::new(0.0, 0.0);
        }
    }
    let largest = (0..n).fold(0.0f64, |largest, i| largest.max(t[(i, i)].modulus()));
    if (0..n).any(|i| t[(i, i)].modulus() <= n as f64 * f64::EPSILON * largest) {
        return undefined();
    }
    let identity = DMatrix::<Complex<f64>>::identity(n, n);
    let mut halvings = 0;
    while (&t - &identity).norm() > 0.1 {
        t = triangular_root(&t);
        halvings += 1;
        // Every root halves the distance at last; one that does not get there has overflowed.
        if halvings > 200 {
            return undefined();
        }
    }
    // Z = (T - I)(T + I)^-1, ||Z|| < 0.06; 2 (Z + Z^3 / 3 + Z^5 / 5 + ...), nine terms below rounding.
    let Some(inverse) = (&t + &identity).try_inverse() else {
        return undefined();
    };
    let z = (&t - &identity) * inverse;
    let square = &z * &z;
    let mut power = z.clone();
    let mut sum = z;
    for k in 1..9 {
        power = &power * &square;
        sum += &power / Complex::new((2 * k + 1) as f64, 0.0);
    }
    let scale = Complex::new(2.0f64.powi(halvings + 1), 0.0);
    &q * (sum * scale) * q.adjoint()
}

/// The principal square root of an upper triangular matrix, column by column (Bjorck & Hammarling 1983):
/// R_ij = (T_ij - sum_{i<k<j} R_ik R_kj) / (R_ii + R_jj).
fn triangular_root(t: &DMatrix<Complex<f64>>) -> DMatrix<Complex<f64>> {
    let n = t.nrows();
    let mut r = DMatrix::zeros(n, n);
    for j in 0..n {
        r[(j, j)] = t[(j, j)].sqrt();
        for i in (0..j).rev() {
            let mut value = t[(i, j)];
            for k in i + 1..j {
                value -= r[(i, k)] * r[(k, j)];
            }
            r[(i, j)] = value / (r[(i, i)] + r[(j, j)]);
        }
    }
    r
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matrix(n: usize, numbers: &[f64]) -> DMatrix<f64> {
        DMatrix::from_fn(n, n, |i, j| numbers[(i * n + j) % numbers.len()])
    }

    proptest! {
        #[test]
        fn the_norm_is_the_largest_singular_value(
            n in 1usize..6, numbers in prop::collection::vec(-2.0f64..2.0, 25)
        ) {
            let m = matrix(n, &numbers);
            let rows: Vec<f64> = m.transpose().iter().copied().collect();
            let found = spectral_norm(&rows, n);
            let exact = m.singular_values().max();
            prop_assert!((found - exact).abs() <= 1e-5 * exact, "{found} {exact}");
        }

        /// exp(log M) = M.
        #[test]
        fn the_logarithm_is_the_inverse_of_the_exponential(
            n in 1usize..6, numbers in prop::collection::vec(-2.0f64..2.0, 25)
        ) {
            let m = matrix(n, &numbers).map(|x| Complex::new(x, 0.0));
            let condition = m.clone().singular_values();
            prop_assume!(condition.min() > 1e-3);
            let back = logarithm(&m).exp();
            prop_assert!((&back - &m).norm() < 1e-6 * m.norm(), "{back} {m}");
        }
    }

    #[test]
    fn norms_of_singular_values_that_are_close() {
        // diag(1, 1 - gap) turned: between the two at worst.
        for gap in [0.0, 1e-6, 1e-4, 1e-3, 1e-2] {
            let (sin, cos) = 0.7f64.sin_cos();
            let small = 1.0 - gap;
            let found = spectral_norm(&[cos, -sin * small, sin, cos * small], 2);
            assert!((found - 1.0).abs() < 2e-5, "{gap}: {found}");
        }
    }

    #[test]
    fn logarithms_that_are_known() {
        // A rotation by 2: the logarithm is 2 times the generator.
        let (sin, cos) = 2.0f64.sin_cos();
        let rotation = DMatrix::from_row_slice(2, 2, &[cos, -sin, sin, cos]);
        let log = logarithm(&rotation.map(|x| Complex::new(x, 0.0)));
        let exact = DMatrix::from_row_slice(2, 2, &[0.0, -2.0, 2.0, 0.0]);
        assert!((log - exact.map(|x| Complex::new(x, 0.0))).norm() < 1e-12);
        // A Jordan block: log(2 I + N) = ln 2 I + N / 2.
        let jordan = DMatrix::from_row_slice(2, 2, &[2.0, 1.0, 0.0, 2.0]);
        let log = logarithm(&jordan.map(|x| Complex::new(x, 0.0)));
        let ln2 = 2.0f64.ln();
        let exact = DMatrix::from_row_slice(2, 2, &[ln2, 0.5, 0.0, ln2]);
        assert!((log - exact.map(|x| Complex::new(x, 0.0))).norm() < 1e-12);
        // A negative number: i pi.
        let log = logarithm(&DMatrix::from_element(1, 1, Complex::new(-1.0, 0.0)));
        assert!((log[(0, 0)] - Complex::new(0.0, std::f64::consts::PI)).modulus() < 1e-12);
    }

    #[test]
    fn what_has_no_logarithm_has_no_number() {
        let singular = DMatrix::from_row_slice(2, 2, &[1.0, 1.0, 1.0, 1.0]);
        let log = logarithm(&singular.map(|x| Complex::new(x, 0.0)));
        assert!(complex_norm(&log.exp()).is_nan());
        assert!(spectral_norm(&[f64::NAN], 1).is_nan());
        assert_eq!(spectral_norm(&[0.0; 4], 2), 0.0);
    }
}
