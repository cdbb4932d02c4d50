//! The kernels under every pass of the CPU engine: sums of matrix products, and the transpose they need backwards.

use crate::simd::{LANES, Lanes, Vector};

/// What a sum of products starts from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Zero.
    Zero,
    /// What C holds.
    Add,
    /// The same number in all lanes of a row.
    Rows(&'a [f32]),
}

/// One product of a sum: A [rows, k] of numbers, B [k, vectors] of lanes, both dense and row-major.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// Columns of A, rows of B.
    pub k: usize,
    /// A.
    pub a: &'a [f32],
    /// B.
    pub b: &'a [Lanes],
}

/// C = start + A1 B1 + A2 B2 + ..., C [rows, vectors] of lanes, row-major. Call it through [`Isa::product`],
/// which compiles it for the instruction set.
///
/// `ROWS` x `VECTORS` accumulators stay in registers while k runs through all terms: 2 m k n operations over
/// m k n / (16 VECTORS) + k n m / (16 ROWS) loads. The block is chosen to fill the register file; where B has fewer
/// than `VECTORS` vectors, it has up to `ALONE` rows.
///
/// [`Isa::product`]: crate::simd::Isa::product
#[inline(always)]
pub fn product<V: Vector, const ROWS: usize, const VECTORS: usize, const ALONE: usize>(
    start: Start,
    terms: &[Term],
    rows: usize,
    vectors: usize,
    c: &mut [Lanes],
) {
    if rows == 0 || vectors == 0 {
        return;
    }
    for term in terms {
        assert!(term.a.len() >= rows * term.k, "A is too short");
        assert!(term.b.len() >= term.k * vectors, "B is too short");
    }
    if let Start::Rows(numbers) = start {
        assert!(numbers.len() >= rows, "the start is too short");
    }
    assert!(c.len() >= rows * vectors, "C is too short");
    let tiles = Tiles {
        start,
        terms,
        vectors,
    };
    // Blocks of heights as equal as can be: in a low one, every sum would wait for the one before it.
    let most = if vectors < VECTORS { ALONE } else { ROWS };
    let blocks = rows.div_ceil(most);
    let (low, high_blocks) = (rows / blocks, rows % blocks);
    let mut row = 0;
    for block in 0..blocks {
        let height = low + usize::from(block < high_blocks);
        macro_rules! of_height {
            ($width:ident: $($rows:literal)*) => {
                match height {
                    // SAFETY: the assertions above bound every index of rows and columns.
                    $($rows => unsafe { tiles.rows::<V, $rows, $width>(row, c) },)*
                    _ => unreachable!("higher than the highest block"),
                }
            };
        }
        const {
            assert!(
                ROWS <= 12 && ALONE <= 16,
                "there is a block for every height"
            )
        };
        const ONE: usize = 1;
        if vectors < VECTORS {
            of_height!(ONE: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
        } else {
            of_height!(VECTORS: 1 2 3 4 5 6 7 8 9 10 11 12);
        }
        row += height;
    }
}

/// The operands of a product whose bounds have been checked.
struct Tiles<'a> {
    start: Start<'a>,
    terms: &'a [Term<'a>],
    vectors: usize,
}

impl Tiles<'_> {
    /// `R` rows of the product, starting at `row`.
    ///
    /// # Safety
    /// These rows of A and C must lie inside the slices.
    #[inline(always)]
    unsafe fn rows<V: Vector, const R: usize, const VECTORS: usize>(
        &self,
        row: usize,
        c: &mut [Lanes],
    ) {
        let full = self.vectors - self.vectors % VECTORS;
        for vector in (0..full).step_by(VECTORS) {
            // SAFETY: the caller's promise; `vector + VECTORS <= vectors`.
            unsafe { self.tile::<V, R, VECTORS>(row, vector, c) };
        }
        for vector in full..self.vectors {
            // SAFETY: the caller's promise.
            unsafe { self.tile::<V, R, 1>(row, vector, c) };
        }
    }

    /// One tile of `R` rows by `W` vectors.
    ///
    /// # Safety
    /// Rows `row..row + R` of A and C and columns `vector..vector + W` must lie inside the slices.
    #[inline(always)]
    unsafe fn tile<V: Vector, const R: usize, const W: usize>(
        &self,
        row: usize,
        vector: usize,
        c: &mut [Lanes],
    ) {
        let mut sums = [[V::splat(0.0); W]; R];
        match self.start {
            Start::Zero => {}
            Start::Add => {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (w, sum) in sums.iter_mut().enumerate() {
                        let at = (row + i) * self.vectors + vector + w;
                        // SAFETY: the caller's promise.
                        *sum = V::load(unsafe { c.get_unchecked(at) });
                    }
                }
            }
            Start::Rows(numbers) => {
                for (i, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    *sums = [V::splat(unsafe { *numbers.get_unchecked(row + i) }); W];
                }
            }
        }
        for term in self.terms {
            for j in 0..term.k {
                let mut columns = [V::splat(0.0); W];
                for (w, column) in columns.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    *column =
                        V::load(unsafe { term.b.get_unchecked(j * self.vectors + vector + w) });
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    let weight = V::splat(unsafe { *term.a.get_unchecked((row + i) * term.k + j) });
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = weight.multiply_add(column, *sum);
                    }
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (w, sum) in sums.iter().enumerate() {
                // SAFETY: the caller's promise.
                sum.store(unsafe { c.get_unchecked_mut((row + i) * self.vectors + vector + w) });
            }
        }
    }
}

/// The numbers of a slice of lanes, in order.
#[inline]
pub fn numbers(lanes: &[Lanes]) -> &[f32] {
    // SAFETY: `Lanes` is `repr(C)` around `[f32; LANES]` with a size of exactly LANES * 4 bytes (its
    // alignment of 64 equals its size), so a slice of lanes is a slice of LANES times as many f32.
    unsafe { std::slice::from_raw_parts(lanes.as_ptr().cast::<f32>(), lanes.len() * LANES) }
}

/// Transposes [rows, 16 * vectors] into [16 * vectors, row vectors]: trial by trial, the rows side by side,
/// padded with zeros to whole vectors. Call it through [`Isa::transpose`].
///
/// [`Isa::transpose`]: crate::simd::Isa::transpose
#[inline(always)]
pub fn transpose<V: Vector>(rows: usize, vectors: usize, from: &[Lanes], to: &mut [Lanes]) {
    let stride = rows.div_ceil(LANES);
    assert!(from.len() >= rows * vectors, "too short");
    assert!(to.len() >= vectors * LANES * stride, "too short");
    for block in 0..stride {
        let first = block * LANES;
        let height = (rows - first).min(LANES);
        for v in 0..vectors {
            let from = &from[first * vectors + v..];
            let to = &mut to[v * LANES * stride + block..];
            // SAFETY: height rows and LANES columns of this tile lie inside the slices, by the assertions above.
            unsafe {
                // With its height known, a tile stays in registers.
                if height == LANES {
                    transpose_tile::<V>(LANES, vectors, from, stride, to);
                } else {
                    transpose_tile::<V>(height, vectors, from, stride, to);
                }
            }
        }
    }
}

/// One tile of [`transpose`]: so many rows, `vectors` apart, become sixteen, `stride` apart.
///
/// # Safety
/// These rows must lie inside the slices, and be sixteen at most.
#[inline(always)]
unsafe fn transpose_tile<V: Vector>(
    height: usize,
    vectors: usize,
    from: &[Lanes],
    stride: usize,
    to: &mut [Lanes],
) {
    let mut tile = [V::splat(0.0); LANES];
    for (row, to) in tile.iter_mut().enumerate().take(height) {
        // SAFETY: the caller's promise.
        *to = V::load(unsafe { from.get_unchecked(row * vectors) });
    }
    for (lane, column) in V::transpose(tile).into_iter().enumerate() {
        // SAFETY: the caller's promise.
        column.store(unsafe { to.get_unchecked_mut(lane * stride) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Instructions;
    use proptest::prelude::*;

    fn lanes(count: usize, seed: u32) -> Vec<Lanes> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        (0..count)
            .map(|_| Lanes(std::array::from_fn(|_| next())))
            .collect()
    }

    proptest! {
        #[test]
        fn product_matches_the_definition(
            m in 1usize..30, k in 0usize..20, split in 0usize..20, vectors in 1usize..6, which in 0..3, seed: u32
        ) {
            let split = split.min(k);
            let a_lanes = lanes((m * k).div_ceil(LANES), seed);
            let a = numbers(&a_lanes);
            let b = lanes(k * vectors, seed ^ 1);
            let start = lanes(m * vectors, seed ^ 2);
            let bias: Vec<f32> = start.iter().step_by(vectors).map(|l| l.0[3]).collect();
            let terms = [Term { k, a, b: &b }, Term { k: split, a, b: &b }];
            let from = match which {
                0 => Start::Zero,
                1 => Start::Add,
                _ => Start::Rows(&bias),
            };
            for &instructions in Instructions::available() {
                let mut c = start.clone();
                // SAFETY: the sets are those that the processor has.
                unsafe { instructions.product(from, &terms, m, vectors, &mut c) };
                for i in 0..m {
                    for v in 0..vectors {
                        for lane in 0..LANES {
                            let mut sum = match which {
                                0 => 0.0,
                                1 => f64::from(start[i * vectors + v].0[lane]),
                                _ => f64::from(bias[i]),
                            };
                            for term in &terms {
                                for j in 0..term.k {
                                    sum += f64::from(term.a[i * term.k + j])
                                        * f64::from(term.b[j * vectors + v].0[lane]);
                                }
                            }
                            prop_assert!((f64::from(c[i * vectors + v].0[lane]) - sum).abs() < 1e-5);
                        }
                    }
                }
            }
        }

        #[test]
        fn transpose_moves_every_number(rows in 1usize..40, vectors in 1usize..4, seed: u32) {
            let from = lanes(rows * vectors, seed);
            let stride = rows.div_ceil(LANES);
            for &instructions in Instructions::available() {
                let mut to = vec![Lanes([f32::NAN; LANES]); vectors * LANES * stride];
                // SAFETY: the sets are those that the processor has.
                unsafe { instructions.transpose(rows, vectors, &from, &mut to) };
                for r in 0..stride * LANES {
                    for trial in 0..vectors * LANES {
                        let want = if r < rows {
                            from[r * vectors + trial / LANES].0[trial % LANES]
                        } else {
                            0.0
                        };
                        prop_assert_eq!(to[trial * stride + r / LANES].0[r % LANES], want);
                    }
                }
            }
        }
    }
}
