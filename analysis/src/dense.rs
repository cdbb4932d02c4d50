//! Dense linear algebra on row-major slices, in place, for the inner loop of the fixed-point
//! search: nothing here allocates once its workspace exists.

use nullcline_models::simd::Instructions;

/// Columns that are eliminated together: a row of a panel is one cache line, and each element of the trailing matrix is
/// loaded and stored once for sixteen operations.
const PANEL: usize = 8;
/// Rows of a tile of a product. Four by sixteen partial sums fill eight registers of AVX-512 or sixteen of AVX2, which
/// hides the latency of the additions.
const TILE_ROWS: usize = 4;
const TILE_COLUMNS: usize = 16;

/// Compiles a body for the instruction sets of x86-64 and picks one at run time. The body takes whether the processor
/// rounds a multiply-add once as a constant, because where it does not, the library's emulation is a hundred times slower.
macro_rules! for_every_processor {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $body:ident) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        fn $name(instructions: Instructions, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                $body::<true>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                $body::<true>($($arg),*)
            }
            match instructions {
                // SAFETY: `Instructions::detect` found the set in this processor.
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => unsafe { avx2($($arg),*) },
                Instructions::Neon => $body::<true>($($arg),*),
                _ => $body::<false>($($arg),*),
            }
        }
    };
}

/// a b + c, rounded once where the processor can.
#[inline(always)]
fn multiply_add<const FUSED: bool>(a: f64, b: f64, c: f64) -> f64 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// The left factor of a product: element (i, k) is `values[i * row + k * column]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a> {
    pub(crate) values: &'a [f64],
    pub(crate) row: usize,
    pub(crate) column: usize,
}

/// A tile of ROWS x COLUMNS at (i, j): out += sign (left right), right of `inner` rows with stride `stride`.
#[inline(always)]
fn add_tile<const FUSED: bool, const ROWS: usize, const COLUMNS: usize>(
    left: Left<'_>,
    right: &[f64],
    inner: usize,
    stride: usize,
    sign: f64,
    (i, j): (usize, usize),
    out: &mut [f64],
) {
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for k in 0..inner {
        let right = &right[k * stride + j..][..COLUMNS];
        for (r, sums) in sums.iter_mut().enumerate() {
            let factor = left.values[(i + r) * left.row + k * left.column];
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = multiply_add::<FUSED>(factor, *right, *sum);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        for (out, sum) in out[(i + r) * stride + j..][..COLUMNS].iter_mut().zip(sums) {
            *out = multiply_add::<FUSED>(sign, *sum, *out);
        }
    }
}

/// Columns `columns` of ROWS rows from i: the widest tiles first.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn add_strip<const FUSED: bool, const ROWS: usize>(
    left: Left<'_>,
    right: &[f64],
    inner: usize,
    stride: usize,
    sign: f64,
    i: usize,
    columns: std::ops::Range<usize>,
    out: &mut [f64],
) {
    let mut j = columns.start;
    while j + TILE_COLUMNS <= columns.end {
        add_tile::<FUSED, ROWS, TILE_COLUMNS>(left, right, inner, stride, sign, (i, j), out);
        j += TILE_COLUMNS;
    }
    if j + 8 <= columns.end {
        add_tile::<FUSED, ROWS, 8>(left, right, inner, stride, sign, (i, j), out);
        j += 8;
    }
    if j + 4 <= columns.end {
        add_tile::<FUSED, ROWS, 4>(left, right, inner, stride, sign, (i, j), out);
        j += 4;
    }
    while j < columns.end {
        add_tile::<FUSED, ROWS, 1>(left, right, inner, stride, sign, (i, j), out);
        j += 1;
    }
}

/// `out` += sign (left right) in the columns from `first_column` on, `out` and `right` of row stride `stride`, which is
/// also where their columns end. With `lower`, tiles wholly above the diagonal are left out.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn add_product_body<const FUSED: bool>(
    left: Left<'_>,
    right: &[f64],
    inner: usize,
    stride: usize,
    first_column: usize,
    sign: f64,
    lower: bool,
    out: &mut [f64],
) {
    let rows = out.len() / stride;
    let mut i = 0;
    while i + TILE_ROWS <= rows {
        let end = if lower { i + TILE_ROWS } else { stride };
        add_strip::<FUSED, TILE_ROWS>(left, right, inner, stride, sign, i, first_column..end, out);
        i += TILE_ROWS;
    }
    while i < rows {
        let end = if lower { i + 1 } else { stride };
        add_strip::<FUSED, 1>(left, right, inner, stride, sign, i, first_column..end, out);
        i += 1;
    }
}

for_every_processor! {
    fn add_product(
        left: Left<'_>, right: &[f64], inner: usize, stride: usize, first_column: usize,
        sign: f64, lower: bool, out: &mut [f64],
    ) = add_product_body
}

/// The factors P A = L U of a square matrix, with L's unit diagonal left out.
pub(crate) struct Lu {
    dim: usize,
    /// L below the diagonal, U on and above it, row-major.
    factors: Vec<f64>,
    /// `pivots[k]` is the row that was exchanged with row k at step k.
    pivots: Vec<usize>,
    panel: Vec<f64>,
    instructions: Instructions,
}

impl Lu {
    /// A workspace for matrices of `dim` rows and columns.
    pub(crate) fn new(dim: usize) -> Self {
        Self {
            dim,
            factors: vec![0.0; dim * dim],
            pivots: vec![0; dim],
            panel: vec![0.0; PANEL * dim],
            instructions: Instructions::detect(),
        }
    }

    /// Factors `matrix` by Gaussian elimination with partial pivoting. False where a pivot is zero
    /// or not finite; the factors are then of no use.
    pub(crate) fn factor(&mut self, matrix: &[f64]) -> bool {
        self.factors.copy_from_slice(matrix);
        factor(
            self.instructions,
            self.dim,
            &mut self.factors,
            &mut self.pivots,
            &mut self.panel,
        )
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

    /// `out` = A^-1, row-major.
    pub(crate) fn inverse(&self, out: &mut [f64]) {
        out.fill(0.0);
        for (i, row) in out.chunks_exact_mut(self.dim).enumerate() {
            // Row i of the inverse solves A^T y = e_i.
            row[i] = 1.0;
            self.solve_transposed(row);
        }
    }

    /// Row sums of |L| |U|, which bound the backward error of the factors.
    pub(crate) fn magnitude_row_sums(&self) -> Vec<f64> {
        let n = self.dim;
        let rows = || self.factors.chunks_exact(n).enumerate();
        let upper: Vec<f64> = rows()
            .map(|(i, row)| row[i..].iter().map(|u| u.abs()).sum())
            .collect();
        rows()
            .map(|(i, row)| dot_moduli(&row[..i], &upper[..i]) + upper[i])
            .collect()
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

/// `y` = `y` - `factor` `x`.
#[inline(always)]
fn eliminate<const FUSED: bool>(y: &mut [f64], factor: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = multiply_add::<FUSED>(-factor, *x, *y);
    }
}

/// The first place of the largest modulus; `None` where that is 0 or something is not finite.
#[inline(always)]
fn largest_place(column: &[f64]) -> Option<usize> {
    // Eight running maxima vectorise, where one would wait for itself; NaN shows in the sum.
    let mut maxima = [0.0_f64; 8];
    let mut sums = [0.0_f64; 8];
    let (eights, rest) = column.as_chunks::<8>();
    for eight in eights {
        for ((most, sum), x) in maxima.iter_mut().zip(&mut sums).zip(eight) {
            let x = x.abs();
            *most = if x > *most { x } else { *most };
            *sum += x * 0.0;
        }
    }
    let mut largest = 0.0_f64;
    let mut finite = 0.0;
    for x in maxima.iter().chain(rest) {
        let x = x.abs();
        largest = if x > largest { x } else { largest };
        finite += x * 0.0;
    }
    finite += sums.iter().sum::<f64>();
    if !(largest > 0.0 && finite == 0.0) {
        return None;
    }
    column.iter().position(|x| x.abs() == largest)
}

/// The columns `first..end` of `a` from row `first` on, each contiguous with stride n, at their places in `panel`.
#[inline(always)]
fn gather_panel(n: usize, a: &[f64], first: usize, end: usize, panel: &mut [f64]) {
    for (i, row) in a.chunks_exact(n).enumerate().skip(first) {
        for (p, x) in row[first..end].iter().enumerate() {
            panel[p * n + i] = *x;
        }
    }
}

#[inline(always)]
fn identity_minus_body<const FUSED: bool>(matrix: &mut [f64], dim: usize) -> bool {
    // x * 0 is 0 for what is finite alone.
    let mut sums = [0.0; 8];
    let (eights, rest) = matrix.as_chunks_mut::<8>();
    for eight in eights {
        for (x, sum) in eight.iter_mut().zip(&mut sums) {
            *x = -*x;
            *sum += *x * 0.0;
        }
    }
    let mut sum = sums.iter().sum::<f64>();
    for x in rest {
        *x = -*x;
        sum += *x * 0.0;
    }
    for x in matrix.iter_mut().step_by(dim + 1) {
        *x += 1.0;
    }
    sum == 0.0
}

for_every_processor! {
    fn identity_minus_dispatched(matrix: &mut [f64], dim: usize) -> bool = identity_minus_body
}

/// I - `matrix`, in place. False where an element is not finite.
pub(crate) fn identity_minus(matrix: &mut [f64], dim: usize) -> bool {
    identity_minus_dispatched(Instructions::detect(), matrix, dim)
}

/// The inverse of [`gather_panel`].
#[inline(always)]
fn scatter_panel(n: usize, a: &mut [f64], first: usize, end: usize, panel: &[f64]) {
    for (i, row) in a.chunks_exact_mut(n).enumerate().skip(first) {
        for (p, x) in row[first..end].iter_mut().enumerate() {
            *x = panel[p * n + i];
        }
    }
}

/// `rows` -= L U in the columns from `end` on, where L is the panel from row `i` on, and U `upper`, `count` rows of
/// stride n. With `lower`, only up to the diagonal.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn eliminate_trailing<const FUSED: bool>(
    n: usize,
    panel: &[f64],
    upper: &[f64],
    count: usize,
    end: usize,
    lower: bool,
    trailing: &mut [f64],
) {
    let mut i = end;
    for rows in trailing.chunks_mut(TILE_ROWS * n) {
        let left = Left {
            values: &panel[i..],
            row: 1,
            column: n,
        };
        let height = rows.len() / n;
        if height == TILE_ROWS {
            let reach = if lower { i + TILE_ROWS } else { n };
            add_strip::<FUSED, TILE_ROWS>(left, upper, count, n, -1.0, 0, end..reach, rows);
        } else {
            for r in 0..height {
                let reach = if lower { i + r + 1 } else { n };
                add_strip::<FUSED, 1>(left, upper, count, n, -1.0, r, end..reach, rows);
            }
        }
        i += height;
    }
}

/// [`Lu::factor`] in place. `panel` holds [`PANEL`] columns.
#[inline(always)]
fn factor_body<const FUSED: bool>(
    n: usize,
    a: &mut [f64],
    pivots: &mut [usize],
    panel: &mut [f64],
) -> bool {
    for first in (0..n).step_by(PANEL) {
        let end = (first + PANEL).min(n);
        gather_panel(n, a, first, end, panel);
        for k in first..end {
            let (done, rest) = panel.split_at_mut((k + 1 - first) * n);
            let column = &mut done[(k - first) * n..];
            let Some(place) = largest_place(&column[k..]) else {
                return false;
            };
            let pivot_row = k + place;
            pivots[k] = pivot_row;
            let own = column[pivot_row];
            if pivot_row != k {
                for column in done.chunks_exact_mut(n) {
                    column.swap(k, pivot_row);
                }
                for column in rest.chunks_exact_mut(n).take(end - k - 1) {
                    column.swap(k, pivot_row);
                }
                let (upper, lower) = a.split_at_mut(pivot_row * n);
                upper[k * n..(k + 1) * n].swap_with_slice(&mut lower[..n]);
            }
            let column = &mut done[(k - first) * n..][k + 1..];
            for x in column.iter_mut() {
                *x /= own;
            }
            for other in rest.chunks_exact_mut(n).take(end - k - 1) {
                let factor = other[k];
                eliminate::<FUSED>(&mut other[k + 1..], factor, column);
            }
        }
        scatter_panel(n, a, first, end, panel);
        if end == n {
            break;
        }
        let (upper, trailing) = a[first * n..].split_at_mut((end - first) * n);
        // U12 = L11^-1 A12
        for k in 1..end - first {
            let (done, rest) = upper.split_at_mut(k * n);
            let (left, right) = rest[..n].split_at_mut(end);
            for (factor, done) in left[first..].iter().zip(done.chunks_exact(n)) {
                eliminate::<FUSED>(right, *factor, &done[end..]);
            }
        }
        // A22 = A22 - L21 U12
        eliminate_trailing::<FUSED>(n, panel, upper, end - first, end, false, trailing);
    }
    true
}

for_every_processor! {
    fn factor(n: usize, a: &mut [f64], pivots: &mut [usize], panel: &mut [f64]) -> bool = factor_body
}

/// Overwrites the lower triangle of the symmetric `a` with its Cholesky factor; what stands above is lost. False where
/// `a` is not positive definite to working precision.
pub(crate) fn cholesky(a: &mut [f64], dim: usize) -> bool {
    factor_symmetric(Instructions::detect(), dim, a)
}

#[inline(always)]
fn factor_symmetric_body<const FUSED: bool>(n: usize, a: &mut [f64]) -> bool {
    let mut panel = vec![0.0; PANEL * n];
    for first in (0..n).step_by(PANEL) {
        let end = (first + PANEL).min(n);
        gather_panel(n, a, first, end, &mut panel);
        for k in first..end {
            let (done, rest) = panel.split_at_mut((k + 1 - first) * n);
            let column = &mut done[(k - first) * n..];
            let own = column[k].sqrt();
            if !(own > 0.0 && own.is_finite()) {
                return false;
            }
            for x in &mut column[k..] {
                *x /= own;
            }
            for (j, other) in (k + 1..end).zip(rest.chunks_exact_mut(n)) {
                eliminate::<FUSED>(&mut other[j..], column[j], &column[j..]);
            }
        }
        scatter_panel(n, a, first, end, &panel);
        // A22 = A22 - L21 L21^T: the panel is L21^T as it stands.
        eliminate_trailing::<FUSED>(n, &panel, &panel, end - first, end, true, &mut a[end * n..]);
    }
    true
}

for_every_processor! {
    fn factor_symmetric(n: usize, a: &mut [f64]) -> bool = factor_symmetric_body
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

/// `gram` = A^T A; only its lower triangle is meant.
pub(crate) fn lower_gram(a: &[f64], dim: usize, gram: &mut [f64]) {
    gram.fill(0.0);
    let left = Left {
        values: a,
        row: 1,
        column: dim,
    };
    add_product(
        Instructions::detect(),
        left,
        a,
        dim,
        dim,
        0,
        1.0,
        true,
        gram,
    );
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

/// |a| . |b|.
pub(crate) fn dot_moduli(a: &[f64], b: &[f64]) -> f64 {
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (a, b) in a4.iter().zip(b4) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a * b).abs();
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| (a * b).abs());
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest.sum::<f64>()
}

/// `out` = A B, with A of `inner` columns and B and `out` of `columns`.
pub(crate) fn product(a: Left<'_>, b: &[f64], inner: usize, columns: usize, out: &mut [f64]) {
    out.fill(0.0);
    let instructions = Instructions::detect();
    add_product(instructions, a, b, inner, columns, 0, 1.0, false, out);
}

/// The columns of a panel, `[row][PANEL]` and padded with zeros, by modified Gram-Schmidt. `lengths` come as the squares
/// of the lengths that the columns had at first, and become the diagonal of R.
#[inline(always)]
fn orthonormalise_panel<const FUSED: bool>(panel: &mut [f64], lengths: &mut [f64], rounding: f64) {
    for k in 0..lengths.len() {
        // What the column has in common with those after it, and its own square.
        let mut products = [0.0; PANEL];
        for row in panel.chunks_exact(PANEL) {
            for (product, x) in products.iter_mut().zip(row) {
                *product = multiply_add::<FUSED>(row[k], *x, *product);
            }
        }
        // What is left of a column at the level of rounding is nothing.
        let square = products[k];
        let left = square > rounding * lengths[k];
        lengths[k] = if left { square.sqrt() } else { 0.0 };
        let scale = if left { 1.0 / lengths[k] } else { 0.0 };
        let inverse = if left { 1.0 / square } else { 0.0 };
        for (j, product) in products.iter_mut().enumerate() {
            *product = if j > k { -inverse * *product } else { 0.0 };
        }
        for row in panel.chunks_exact_mut(PANEL) {
            let x = row[k];
            for (y, product) in row.iter_mut().zip(&products) {
                *y = multiply_add::<FUSED>(x, *product, *y);
            }
            row[k] = x * scale;
        }
    }
}

/// [`orthonormalise`], panel by panel: each is taken out of the columns after it by two products.
#[inline(always)]
fn orthonormalise_body<const FUSED: bool>(
    a: &mut [f64],
    columns: usize,
    lengths: &mut [f64],
    scratch: &mut [f64],
) {
    let (panel, products) = scratch.split_at_mut(a.len() / columns * PANEL);
    let rounding = (columns as f64 * f64::EPSILON).powi(2);
    lengths.fill(0.0);
    for row in a.chunks_exact(columns) {
        for (square, x) in lengths.iter_mut().zip(row) {
            *square = multiply_add::<FUSED>(*x, *x, *square);
        }
    }
    for first in (0..columns).step_by(PANEL) {
        let end = columns.min(first + PANEL);
        panel.fill(0.0);
        for (row, from) in panel.chunks_exact_mut(PANEL).zip(a.chunks_exact(columns)) {
            row[..end - first].copy_from_slice(&from[first..end]);
        }
        orthonormalise_panel::<FUSED>(panel, &mut lengths[first..end], rounding);
        for (row, to) in panel.chunks_exact(PANEL).zip(a.chunks_exact_mut(columns)) {
            to[first..end].copy_from_slice(&row[..end - first]);
        }
        if end < columns {
            let rows = panel.len() / PANEL;
            products.fill(0.0);
            let (transposed, plain) = (
                Left {
                    values: panel,
                    row: 1,
                    column: PANEL,
                },
                Left {
                    values: panel,
                    row: PANEL,
                    column: 1,
                },
            );
            // A -= Q (Q' A)
            add_product_body::<FUSED>(transposed, a, rows, columns, end, 1.0, false, products);
            add_product_body::<FUSED>(plain, products, PANEL, columns, end, -1.0, false, a);
        }
    }
}

for_every_processor! {
    fn orthonormalise_with(
        a: &mut [f64], columns: usize, lengths: &mut [f64], scratch: &mut [f64],
    ) = orthonormalise_body
}

/// The factors A = Q R of a matrix of `columns` columns by modified Gram-Schmidt: Q takes the place of A, and
/// `lengths` the diagonal of R. The columns of Q are orthogonal to within rounding times the condition of A (A. Bjorck,
/// BIT 7, 1, 1967); a column that is nothing, or lies in the span of those before it to rounding, has length 0 and
/// becomes 0. `scratch` has [`orthonormalise_scratch`] numbers.
pub(crate) fn orthonormalise(
    a: &mut [f64],
    columns: usize,
    lengths: &mut [f64],
    scratch: &mut [f64],
) {
    orthonormalise_with(Instructions::detect(), a, columns, lengths, scratch);
}

/// Numbers that [`orthonormalise`] needs beside a matrix.
pub(crate) fn orthonormalise_scratch(rows: usize, columns: usize) -> usize {
    PANEL * (rows + columns)
}

/// `out` = A B, all `dim` x `dim`, row-major.
pub(crate) fn multiply(a: &[f64], b: &[f64], dim: usize, out: &mut [f64]) {
    out.fill(0.0);
    let left = Left {
        values: a,
        row: dim,
        column: 1,
    };
    let instructions = Instructions::detect();
    add_product(instructions, left, b, dim, dim, 0, 1.0, false, out);
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
        (1_usize..40).prop_flat_map(|dim| {
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
