//! The little dense linear algebra that networks need: transposes, products, and pseudo-inverses of readouts in f64.

use nullcline_data::vectorised;

/// A row-major matrix of so many columns, [rows, columns], as [columns, rows].
pub(crate) fn transposed<T: Copy + Default>(matrix: &[T], columns: usize) -> Vec<T> {
    let rows = matrix.len() / columns.max(1);
    let mut out = vec![T::default(); matrix.len()];
    for i in 0..rows {
        for j in 0..columns {
            out[j * rows + i] = matrix[i * columns + j];
        }
    }
    out
}

vectorised! {
    /// y += M x with M by columns, [from, to]: contiguous memory, and every sum in the order of the columns. Columns of
    /// what is zero, like most inputs and the rates of silent units, are passed over; the others are taken four at a time,
    /// so that y is loaded and stored once for four products.
    pub(crate) fn add_product_by_columns(columns: &[f64], x: &[f64], y: &mut [f64]) {
        let columns = columns.chunks_exact(y.len().max(1));
        let mut terms = x.iter().zip(columns).filter(|(x, _)| **x != 0.0).fuse();
        loop {
            let four = [terms.next(), terms.next(), terms.next(), terms.next()];
            if let [Some((a, of_a)), Some((b, of_b)), Some((c, of_c)), Some((d, of_d))] = four {
                let of_four = of_a.iter().zip(of_b).zip(of_c).zip(of_d);
                for (y, (((of_a, of_b), of_c), of_d)) in y.iter_mut().zip(of_four) {
                    *y = *y + of_a * a + of_b * b + of_c * c + of_d * d;
                }
                continue;
            }
            for (x, column) in four.into_iter().flatten() {
                for (y, m) in y.iter_mut().zip(column) {
                    *y += m * x;
                }
            }
            return;
        }
    }
}

/// Partial sums of a row: four registers of AVX2, so that no addition waits for the one before it.
const PARTIAL_SUMS: usize = 16;

vectorised! {
    /// y += M x with M by rows, [to, from]: the sums of a row are added up in [`PARTIAL_SUMS`] parts, the same whatever
    /// the processor.
    pub(crate) fn add_product_by_rows(rows: &[f64], x: &[f64], y: &mut [f64]) {
        let (whole, rest) = x.as_chunks::<PARTIAL_SUMS>();
        let last = padded(rest);
        for (yi, row) in y.iter_mut().zip(rows.chunks_exact(x.len().max(1))) {
            let (row, rest) = row.as_chunks::<PARTIAL_SUMS>();
            let mut sums = [0.0; PARTIAL_SUMS];
            for (m, x) in row.iter().zip(whole) {
                add_products(&mut sums, m, x);
            }
            add_products(&mut sums, &padded(rest), &last);
            let eight: [f64; 8] = std::array::from_fn(|k| sums[k] + sums[k + 8]);
            let four: [f64; 4] = std::array::from_fn(|k| eight[k] + eight[k + 4]);
            *yi += (four[0] + four[2]) + (four[1] + four[3]);
        }
    }
}

/// What is left of a row, and zeros.
#[inline(always)]
fn padded(rest: &[f64]) -> [f64; PARTIAL_SUMS] {
    let mut whole = [0.0; PARTIAL_SUMS];
    for (to, from) in whole.iter_mut().zip(rest) {
        *to = *from;
    }
    whole
}

/// sums += x y, number by number.
#[inline(always)]
pub(crate) fn add_products<const K: usize>(sums: &mut [f64; K], x: &[f64; K], y: &[f64; K]) {
    for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
        *sum += x * y;
    }
}

/// Moore-Penrose inverse of a full-rank matrix, row-major [rows, columns] in, [columns, rows] out.
///
/// (B' B)^-1 B' for a tall matrix, B' (B B')^-1 for a wide one. A matrix that has lost its rank gives
/// non-finite entries, which the training loop reports as a non-finite loss.
pub fn pseudo_inverse(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let across = transposed(matrix, columns);
    // Wide: X' = (B B')^-1 B, and the answer is X' transposed.
    if rows >= columns {
        let mut solution = across;
        solve(&mut gram(matrix, columns), columns, &mut solution, rows);
        solution
    } else {
        let mut solution = matrix.to_vec();
        solve(&mut gram(&across, rows), rows, &mut solution, columns);
        transposed(&solution, columns)
    }
}

vectorised! {
    /// M' M of a row-major matrix of so many columns.
    fn gram(matrix: &[f64], columns: usize) -> Vec<f64> {
        let mut gram = vec![0.0; columns * columns];
        for row in matrix.chunks_exact(columns.max(1)) {
            for (sums, x) in gram.chunks_exact_mut(columns).zip(row) {
                for (sum, y) in sums.iter_mut().zip(row) {
                    *sum += x * y;
                }
            }
        }
        gram
    }
}

vectorised! {
    /// Solves A X = B in place by Gaussian elimination with partial pivoting: A [n, n] is destroyed, B [n, m]
    /// becomes X. A singular A, one with a pivot at rounding level, gives entries that are not numbers.
    pub fn solve(a: &mut [f64], n: usize, b: &mut [f64], m: usize) {
        let largest = a.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        let rounding = n as f64 * f64::EPSILON * largest;
        for k in 0..n {
            let pivot = (k..n)
                .max_by(|&i, &j| a[i * n + k].abs().total_cmp(&a[j * n + k].abs()))
                .unwrap_or(k);
            if pivot != k {
                for j in 0..n {
                    a.swap(k * n + j, pivot * n + j);
                }
                for j in 0..m {
                    b.swap(k * m + j, pivot * m + j);
                }
            }
            if a[k * n + k].abs() <= rounding {
                a[k * n + k] = f64::NAN;
            }
            let (of_a, below_in_a) = a.split_at_mut((k + 1) * n);
            let (of_b, below_in_b) = b.split_at_mut((k + 1) * m);
            let (of_a, of_b) = (&of_a[k * n..], &of_b[k * m..]);
            let below = below_in_a.chunks_exact_mut(n).zip(below_in_b.chunks_exact_mut(m.max(1)));
            for (row_of_a, row_of_b) in below {
                let factor = row_of_a[k] / of_a[k];
                subtract(factor, &of_a[k..], &mut row_of_a[k..]);
                subtract(factor, of_b, row_of_b);
            }
        }
        for k in (0..n).rev() {
            let (of_b, below) = b.split_at_mut((k + 1) * m);
            let of_b = &mut of_b[k * m..];
            for (factor, row) in a[k * n + k + 1..].iter().zip(below.chunks_exact(m.max(1))) {
                subtract(*factor, row, of_b);
            }
            for x in of_b {
                *x /= a[k * n + k];
            }
        }
    }
}

/// y -= factor x
#[inline(always)]
fn subtract(factor: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y -= factor * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_matrix_without_full_rank_has_no_inverse() {
        // Columns in proportion; the pivot is rounding, not zero.
        let b = [0.1f32, 0.3, 0.1, 0.3, 0.7, 2.1].map(f64::from);
        assert!(pseudo_inverse(&b, 3, 2).iter().any(|x| x.is_nan()));
        assert!(pseudo_inverse(&[0.0; 4], 2, 2).iter().all(|x| x.is_nan()));
    }

    proptest! {
        /// By columns bit by bit the sum in order; by rows up to rounding.
        #[test]
        fn products_are_their_definition(
            rows in 1usize..40, columns in 0usize..70, seed in prop::array::uniform32(-1.0f64..1.0)
        ) {
            let rows_of_m: Vec<f64> = (0..rows * columns).map(|k| seed[k % 31]).collect();
            let columns_of_m = transposed(&rows_of_m, columns);
            // Some of what is multiplied is zero.
            let x: Vec<f64> = (0..columns).map(|k| (2.0 * seed[(7 * k + 3) % 32]).max(0.0)).collect();
            let start: Vec<f64> = (0..rows).map(|k| seed[(5 * k + 1) % 32]).collect();
            let defined: Vec<f64> = (0..rows)
                .map(|i| (0..columns).fold(start[i], |sum, j| sum + rows_of_m[i * columns + j] * x[j]))
                .collect();
            let (mut by_columns, mut by_rows) = (start.clone(), start);
            add_product_by_columns(&columns_of_m, &x, &mut by_columns);
            add_product_by_rows(&rows_of_m, &x, &mut by_rows);
            prop_assert_eq!(by_columns, defined.clone());
            for (found, defined) in by_rows.iter().zip(&defined) {
                prop_assert!((found - defined).abs() < 1e-13, "{found}, by definition {defined}");
            }
        }

        #[test]
        fn pseudo_inverse_meets_the_penrose_conditions(
            rows in 1usize..7, columns in 1usize..7, seed in prop::array::uniform32(-1.0f64..1.0)
        ) {
            let b: Vec<f64> = (0..rows * columns)
                .map(|k| seed[k % 32] + if k % (columns + 1) == 0 { 3.0 } else { 0.0 })
                .collect();
            let p = pseudo_inverse(&b, rows, columns);
            let product = |x: &[f64], y: &[f64], n: usize, k: usize, m: usize| -> Vec<f64> {
                (0..n * m).map(|e| (0..k).map(|l| x[e / m * k + l] * y[l * m + e % m]).sum()).collect()
            };
            let bp = product(&b, &p, rows, columns, rows);
            let bpb = product(&bp, &b, rows, rows, columns);
            for (x, y) in bpb.iter().zip(&b) {
                prop_assert!((x - y).abs() < 1e-9, "B P B = B");
            }
            for i in 0..rows {
                for j in 0..rows {
                    prop_assert!((bp[i * rows + j] - bp[j * rows + i]).abs() < 1e-9, "B P symmetric");
                }
            }
        }
    }
}
