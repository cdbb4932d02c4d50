//! The matrix product under every engine pass, and the transpose it needs backwards.

use crate::simd::{LANES, Lanes, Vector};

/// C = A B, or C += A B, with A [m, k] of numbers, B [k, vectors] and C [m, vectors] of lanes, all dense and
/// row-major. Call it through [`Isa::product`], which compiles it for the instruction set.
///
/// `ROWS` x `VECTORS` accumulators stay in registers while k runs: 2 m k n operations over
/// m k n / (16 VECTORS) + k n m / (16 ROWS) loads. The block is chosen to fill the register file.
///
/// [`Isa::product`]: crate::simd::Isa::product
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn product<V: Vector, const ROWS: usize, const VECTORS: usize>(
    accumulate: bool,
    m: usize,
    k: usize,
    vectors: usize,
    a: &[f32],
    b: &[Lanes],
    c: &mut [Lanes],
) {
    if m == 0 || vectors == 0 {
        return;
    }
    assert!(a.len() >= m * k, "A is too short");
    assert!(b.len() >= k * vectors, "B is too short");
    assert!(c.len() >= m * vectors, "C is too short");
    let tiles = Tiles {
        accumulate,
        k,
        vectors,
        a,
        b,
    };
    let full = m - m % ROWS;
    for row in (0..full).step_by(ROWS) {
        // SAFETY: the assertions above bound every index of rows below m and columns below `vectors`.
        unsafe { tiles.rows::<V, ROWS, VECTORS>(row, c) };
    }
    // The rest in one block of its own height: row by row, every sum would wait for the one before it.
    macro_rules! rest {
        ($($rows:literal)*) => {
            match m - full {
                // SAFETY: as above.
                $($rows => unsafe { tiles.rows::<V, $rows, VECTORS>(full, c) },)*
                _ => {}
            }
        };
    }
    const { assert!(ROWS <= 12, "the rest has a block for every height below 12") };
    rest!(1 2 3 4 5 6 7 8 9 10 11);
}

/// The operands of a product whose bounds have been checked.
struct Tiles<'a> {
    accumulate: bool,
    k: usize,
    vectors: usize,
    a: &'a [f32],
    b: &'a [Lanes],
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
        if self.accumulate {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (w, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the caller's promise.
                    *sum =
                        V::load(unsafe { c.get_unchecked((row + i) * self.vectors + vector + w) });
                }
            }
        }
        for j in 0..self.k {
            let mut columns = [V::splat(0.0); W];
            for (w, column) in columns.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *column = V::load(unsafe { self.b.get_unchecked(j * self.vectors + vector + w) });
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let weight = V::splat(unsafe { *self.a.get_unchecked((row + i) * self.k + j) });
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = weight.multiply_add(column, *sum);
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
/// padded with zeros to whole vectors.
#[inline(never)]
pub fn transpose(rows: usize, vectors: usize, from: &[Lanes], to: &mut [Lanes]) {
    let stride = rows.div_ceil(LANES);
    for (block, chunk) in from[..rows * vectors].chunks(vectors * LANES).enumerate() {
        for v in 0..vectors {
            // 16 rows x 16 trials.
            let mut tile = [Lanes::ZERO; LANES];
            for (tile, row) in tile.iter_mut().zip(chunk.chunks_exact(vectors)) {
                *tile = row[v];
            }
            for lane in 0..LANES {
                let out = &mut to[(v * LANES + lane) * stride + block];
                for (out, tile) in out.0.iter_mut().zip(&tile) {
                    *out = tile.0[lane];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Instructions, Isa, Portable};
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
            m in 1usize..30, k in 0usize..20, vectors in 1usize..6, accumulate: bool, seed: u32
        ) {
            let a_lanes = lanes((m * k).div_ceil(LANES), seed);
            let a = numbers(&a_lanes);
            let b = lanes(k * vectors, seed ^ 1);
            let start = lanes(m * vectors, seed ^ 2);
            for instructions in [Instructions::Portable, Instructions::Avx2, Instructions::Avx512] {
                let mut c = start.clone();
                match (instructions, Instructions::detect()) {
                    // SAFETY: plain code.
                    (Instructions::Portable, _) => unsafe {
                        Portable::product(accumulate, m, k, vectors, a, &b, &mut c);
                    },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: a processor with AVX-512 has AVX2.
                    (Instructions::Avx2, Instructions::Avx2 | Instructions::Avx512) => unsafe {
                        crate::simd::Avx2::product(accumulate, m, k, vectors, a, &b, &mut c);
                    },
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: detected.
                    (Instructions::Avx512, Instructions::Avx512) => unsafe {
                        crate::simd::Avx512::product(accumulate, m, k, vectors, a, &b, &mut c);
                    },
                    _ => {
                        println!("skipped: this processor has no {}", instructions.name());
                        continue;
                    }
                }
                for i in 0..m {
                    for v in 0..vectors {
                        for lane in 0..LANES {
                            let mut sum =
                                if accumulate { f64::from(start[i * vectors + v].0[lane]) } else { 0.0 };
                            for j in 0..k {
                                sum += f64::from(a[i * k + j]) * f64::from(b[j * vectors + v].0[lane]);
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
            let mut to = vec![Lanes::ZERO; vectors * LANES * stride];
            transpose(rows, vectors, &from, &mut to);
            for r in 0..rows {
                for trial in 0..vectors * LANES {
                    let want = from[r * vectors + trial / LANES].0[trial % LANES];
                    prop_assert_eq!(to[trial * stride + r / LANES].0[r % LANES], want);
                }
            }
        }
    }
}
