//! Sixteen trials at a time: the vectors that train.
//!
//! Arrays of a pass are stored as [`Lanes`], sixteen numbers of sixteen trials. They are computed with as a
//! `Vector`: one AVX-512 register, two AVX2 registers, four NEON registers, or plain code. Users install a binary
//! built for any processor of a family, so the choice is made at run time: a function with `#[target_feature]`
//! calls code that is generic over `Isa` and inlined into it.

use crate::engine::kernels::{self, Start, Term};
use crate::scalar::Scalar;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// How many trials a [`Lanes`] holds.
pub const LANES: usize = 16;

/// One number of sixteen trials side by side, in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Lanes(pub [f32; LANES]);

impl Lanes {
    /// All zero.
    pub const ZERO: Lanes = Lanes([0.0; LANES]);

    /// Sum over the lanes, pairwise, in an order that does not depend on the processor.
    #[inline]
    pub fn sum(self) -> f32 {
        let mut x = self.0;
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                x[i] += x[i + width];
            }
            width /= 2;
        }
        x[0]
    }
}

/// The instruction sets a pass is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// AVX-512 with fused multiply-add: one instruction for sixteen lanes.
    Avx512,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// NEON, which every 64-bit ARM processor has.
    Neon,
    /// Whatever the binary was compiled for.
    Portable,
}

impl Instructions {
    /// The best set that this processor has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
                return Instructions::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Instructions::Avx2;
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            if std::arch::is_aarch64_feature_detected!("neon") {
                return Instructions::Neon;
            }
        }
        Instructions::Portable
    }

    /// The sets that this processor has, the best first.
    pub fn available() -> &'static [Instructions] {
        use Instructions::{Avx2, Avx512, Neon, Portable};
        match Instructions::detect() {
            Avx512 => &[Avx512, Avx2, Portable],
            Avx2 => &[Avx2, Portable],
            Neon => &[Neon, Portable],
            Portable => &[Portable],
        }
    }

    /// [`Isa::product`] of this set; of plain code where the set belongs to another kind of processor.
    ///
    /// # Safety
    /// The processor must have the set: it is one of [`Instructions::available`].
    pub(crate) unsafe fn product(
        self,
        start: Start,
        terms: &[Term],
        rows: usize,
        vectors: usize,
        c: &mut [Lanes],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => Avx512::product(start, terms, rows, vectors, c),
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => Avx2::product(start, terms, rows, vectors, c),
                #[cfg(target_arch = "aarch64")]
                Instructions::Neon => Neon::product(start, terms, rows, vectors, c),
                _ => Portable::product(start, terms, rows, vectors, c),
            }
        }
    }

    /// [`Isa::transpose`] of this set, for tests; of plain code where the set belongs to another kind of processor.
    ///
    /// # Safety
    /// The processor must have the set: it is one of [`Instructions::available`].
    #[cfg(test)]
    pub(crate) unsafe fn transpose(
        self,
        rows: usize,
        vectors: usize,
        from: &[Lanes],
        to: &mut [Lanes],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx512 => Avx512::transpose(rows, vectors, from, to),
                #[cfg(target_arch = "x86_64")]
                Instructions::Avx2 => Avx2::transpose(rows, vectors, from, to),
                #[cfg(target_arch = "aarch64")]
                Instructions::Neon => Neon::transpose(rows, vectors, from, to),
                _ => Portable::transpose(rows, vectors, from, to),
            }
        }
    }

    /// The name shown to users.
    pub fn name(self) -> &'static str {
        match self {
            Instructions::Avx512 => "AVX-512",
            Instructions::Avx2 => "AVX2",
            Instructions::Neon => "NEON",
            Instructions::Portable => "portable",
        }
    }
}

/// Sixteen numbers in registers.
pub(crate) trait Vector: Scalar {
    /// From memory.
    fn load(from: &Lanes) -> Self;
    /// To memory.
    fn store(self, to: &mut Lanes);
    /// The same number in every lane.
    fn splat(value: f32) -> Self;
    /// self * factor + term, rounded once where the processor can.
    fn multiply_add(self, factor: Self, term: Self) -> Self;
    /// The larger of `bound` and self; NaN where self is NaN.
    fn at_least(self, bound: Self) -> Self;
    /// The smaller of `bound` and self; NaN where self is NaN.
    fn at_most(self, bound: Self) -> Self;
    /// `yes` where self > 0, else `no`.
    fn if_positive(self, yes: Self, no: Self) -> Self;
    /// 2^n, where self = n + 1.5 * 2^23: the low bits of its mantissa are n.
    fn power_of_two(self) -> Self;
    /// Sixteen rows of sixteen become columns.
    fn transpose(tile: [Self; LANES]) -> [Self; LANES];
}

/// exp without branches, within 4e-7 relative.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; exp(x) = 2^n exp(r), exp(r) by its Taylor polynomial of degree 7
/// (truncation below 6e-9 relative, under the rounding of f32). Saturates at exp(-87.3) and exp(88); NaN
/// stays NaN.
#[inline(always)]
fn exp<V: Vector>(x: V) -> V {
    let x = x.at_least(V::splat(-87.3)).at_most(V::splat(88.0));
    // Adding 1.5 * 2^23 leaves round(x / ln 2) in the low bits of the mantissa.
    let round = V::splat(12_582_912.0);
    let shifted = x.multiply_add(V::splat(std::f32::consts::LOG2_E), round);
    let n = shifted - round;
    // ln 2 in two parts: the first has few enough bits for the product with n to be exact.
    let r = n.multiply_add(V::splat(-0.693_359_4), x);
    let r = n.multiply_add(V::splat(2.121_944_4e-4), r);
    let mut p = V::splat(1.0 / 5040.0);
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p.multiply_add(r, V::splat(coefficient));
    }
    p * shifted.power_of_two()
}

/// tanh without branches, within 5e-7 relative.
///
/// tanh(x) = x P(x^2) / Q(x^2) on [-9.02, 9.02], beyond which f32 rounds it to 1. P and Q are of degree 5 and 3,
/// fitted for the smallest largest relative error (6e-8) by reweighted least squares.
#[inline(always)]
fn tanh<V: Vector>(x: V) -> V {
    const P: [f32; 6] = [
        1.816_267_1e-11,
        -1.274_390_9e-8,
        9.255_16e-6,
        2.919_414_8e-3,
        0.129_179_75,
        0.999_999_94,
    ];
    const Q: [f32; 4] = [2.279_141_2e-4, 2.375_765_1e-2, 0.462_512_58, 1.0];
    let x = x.at_least(V::splat(-9.02)).at_most(V::splat(9.02));
    let square = x * x;
    let horner = |coefficients: &[f32]| {
        let mut sum = V::splat(coefficients[0]);
        for &coefficient in &coefficients[1..] {
            sum = sum.multiply_add(square, V::splat(coefficient));
        }
        sum
    };
    let y = x * horner(&P) / horner(&Q);
    // Rounding may carry it past 1 by two units in the last place.
    y.at_least(V::splat(-1.0)).at_most(V::splat(1.0))
}

/// The arithmetic and the [`Scalar`] functions of a vector type, from its primitives.
macro_rules! scalar_for_vector {
    ($vector:ty, |$x:ident, $y:ident| $add:expr, $sub:expr, $mul:expr, $div:expr) => {
        impl Add for $vector {
            type Output = Self;
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                let ($x, $y) = (self, other);
                $add
            }
        }
        impl Sub for $vector {
            type Output = Self;
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                let ($x, $y) = (self, other);
                $sub
            }
        }
        impl Mul for $vector {
            type Output = Self;
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                let ($x, $y) = (self, other);
                $mul
            }
        }
        impl Div for $vector {
            type Output = Self;
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                let ($x, $y) = (self, other);
                $div
            }
        }
        impl Neg for $vector {
            type Output = Self;
            #[inline(always)]
            fn neg(self) -> Self {
                Self::splat(-0.0) - self
            }
        }
        impl Scalar for $vector {
            #[inline(always)]
            fn constant(value: f64) -> Self {
                Self::splat(value as f32)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                exp(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                tanh(self)
            }
            #[inline(always)]
            fn relu(self) -> Self {
                self.at_least(Self::splat(0.0))
            }
            #[inline(always)]
            fn heaviside(self) -> Self {
                self.if_positive(Self::splat(1.0), Self::splat(0.0))
            }
        }
    };
}

/// Sixteen lanes in plain code. Loops of fixed length; what the compiler makes of them depends on the target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain([f32; LANES]);

impl Plain {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = self;
        for (x, y) in out.0.iter_mut().zip(other.0) {
            *x = f(*x, y);
        }
        out
    }
}

scalar_for_vector!(
    Plain,
    |x, y| x.zip(y, |x, y| x + y),
    x.zip(y, |x, y| x - y),
    x.zip(y, |x, y| x * y),
    x.zip(y, |x, y| x / y)
);

impl Vector for Plain {
    #[inline(always)]
    fn load(from: &Lanes) -> Self {
        Plain(from.0)
    }
    #[inline(always)]
    fn store(self, to: &mut Lanes) {
        to.0 = self.0;
    }
    #[inline(always)]
    fn splat(value: f32) -> Self {
        Plain([value; LANES])
    }
    #[inline(always)]
    fn multiply_add(self, factor: Self, term: Self) -> Self {
        // Not `f32::mul_add`: without the instruction that is a call to a library function.
        self * factor + term
    }
    #[inline(always)]
    fn at_least(self, bound: Self) -> Self {
        self.zip(bound, |x, b| if x < b { b } else { x })
    }
    #[inline(always)]
    fn at_most(self, bound: Self) -> Self {
        self.zip(bound, |x, b| if x > b { b } else { x })
    }
    #[inline(always)]
    fn if_positive(self, yes: Self, no: Self) -> Self {
        let mut out = no;
        for ((out, x), yes) in out.0.iter_mut().zip(self.0).zip(yes.0) {
            if x > 0.0 {
                *out = yes;
            }
        }
        out
    }
    #[inline(always)]
    fn power_of_two(self) -> Self {
        let mut out = self;
        for x in &mut out.0 {
            *x = f32::from_bits((x.to_bits() << 23).wrapping_add(127 << 23));
        }
        out
    }
    #[inline(always)]
    fn transpose(tile: [Self; LANES]) -> [Self; LANES] {
        std::array::from_fn(|column| Plain(std::array::from_fn(|row| tile[row].0[column])))
    }
}

/// An instruction set as a type: its vector, and the kernels compiled for it.
pub(crate) trait Isa {
    /// Sixteen lanes in this set's registers.
    type V: Vector;
    /// See [`crate::engine::kernels::product`].
    ///
    /// # Safety
    /// The processor must have the instruction set.
    unsafe fn product(start: Start, terms: &[Term], rows: usize, vectors: usize, c: &mut [Lanes]);
    /// See [`crate::engine::kernels::transpose`].
    ///
    /// # Safety
    /// The processor must have the instruction set.
    unsafe fn transpose(rows: usize, vectors: usize, from: &[Lanes], to: &mut [Lanes]);
}

/// Declares an [`Isa`]: its kernels are functions of their own, compiled once with the set's features.
macro_rules! isa {
    ($(#[$doc:meta])* $name:ident, $vector:ty, $rows:literal x $columns:literal, $alone:literal $(, $features:literal)?) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl Isa for $name {
            type V = $vector;
            #[inline(always)]
            unsafe fn product(
                start: Start,
                terms: &[Term],
                rows: usize,
                vectors: usize,
                c: &mut [Lanes],
            ) {
                #[allow(unused_unsafe)]
                $(#[target_feature(enable = $features)])?
                #[inline(never)]
                unsafe fn compiled(
                    start: Start,
                    terms: &[Term],
                    rows: usize,
                    vectors: usize,
                    c: &mut [Lanes],
                ) {
                    kernels::product::<$vector, $rows, $columns, $alone>(start, terms, rows, vectors, c);
                }
                // SAFETY: the caller's promise that the processor has the features.
                unsafe { compiled(start, terms, rows, vectors, c) }
            }
            #[inline(always)]
            unsafe fn transpose(rows: usize, vectors: usize, from: &[Lanes], to: &mut [Lanes]) {
                #[allow(unused_unsafe)]
                $(#[target_feature(enable = $features)])?
                #[inline(never)]
                unsafe fn compiled(rows: usize, vectors: usize, from: &[Lanes], to: &mut [Lanes]) {
                    kernels::transpose::<$vector>(rows, vectors, from, to);
                }
                // SAFETY: as above.
                unsafe { compiled(rows, vectors, from, to) }
            }
        }
    };
}

isa!(
    /// No instruction set beyond what the binary was compiled for.
    Portable, Plain, 2 x 1, 2
);

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! SAFETY of this module: its vectors are only computed with inside functions compiled for their
    //! instruction set, which an engine calls after having detected it (`Instructions::detect`).
    use super::*;
    use std::arch::x86_64::*;

    /// One AVX-512 register.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Register512(__m512);

    scalar_for_vector!(
        Register512,
        |x, y| Register512(unsafe { _mm512_add_ps(x.0, y.0) }),
        Register512(unsafe { _mm512_sub_ps(x.0, y.0) }),
        Register512(unsafe { _mm512_mul_ps(x.0, y.0) }),
        Register512(unsafe { _mm512_div_ps(x.0, y.0) })
    );

    impl Vector for Register512 {
        #[inline(always)]
        fn load(from: &Lanes) -> Self {
            Register512(unsafe { _mm512_load_ps(from.0.as_ptr()) })
        }
        #[inline(always)]
        fn store(self, to: &mut Lanes) {
            unsafe { _mm512_store_ps(to.0.as_mut_ptr(), self.0) }
        }
        #[inline(always)]
        fn splat(value: f32) -> Self {
            Register512(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        fn multiply_add(self, factor: Self, term: Self) -> Self {
            Register512(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
        }
        // The instructions return their second operand where one is NaN: self stands second.
        #[inline(always)]
        fn at_least(self, bound: Self) -> Self {
            Register512(unsafe { _mm512_max_ps(bound.0, self.0) })
        }
        #[inline(always)]
        fn at_most(self, bound: Self) -> Self {
            Register512(unsafe { _mm512_min_ps(bound.0, self.0) })
        }
        #[inline(always)]
        fn if_positive(self, yes: Self, no: Self) -> Self {
            unsafe {
                let mask = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, _mm512_setzero_ps());
                Register512(_mm512_mask_blend_ps(mask, no.0, yes.0))
            }
        }
        #[inline(always)]
        fn power_of_two(self) -> Self {
            unsafe {
                let shifted = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
                let biased = _mm512_add_epi32(shifted, _mm512_set1_epi32(127 << 23));
                Register512(_mm512_castsi512_ps(biased))
            }
        }
        /// Within each of a register's four quarters first (pairs of rows, then pairs of pairs), then whole
        /// quarters between registers.
        #[inline(always)]
        fn transpose(tile: [Self; LANES]) -> [Self; LANES] {
            let (mut a, mut b) = (tile, tile);
            unsafe {
                for i in (0..LANES).step_by(2) {
                    b[i].0 = _mm512_unpacklo_ps(a[i].0, a[i + 1].0);
                    b[i + 1].0 = _mm512_unpackhi_ps(a[i].0, a[i + 1].0);
                }
                let low = |x: Self, y: Self| {
                    let (x, y) = (_mm512_castps_pd(x.0), _mm512_castps_pd(y.0));
                    Register512(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)))
                };
                let high = |x: Self, y: Self| {
                    let (x, y) = (_mm512_castps_pd(x.0), _mm512_castps_pd(y.0));
                    Register512(_mm512_castpd_ps(_mm512_unpackhi_pd(x, y)))
                };
                // a[4 q + c], quarter k: column 4 k + c of rows 4 q to 4 q + 3.
                for i in (0..LANES).step_by(4) {
                    a[i] = low(b[i], b[i + 2]);
                    a[i + 1] = high(b[i], b[i + 2]);
                    a[i + 2] = low(b[i + 1], b[i + 3]);
                    a[i + 3] = high(b[i + 1], b[i + 3]);
                }
                for c in 0..4 {
                    // Quarters 0 and 2, and 1 and 3.
                    let even = |x: Self, y: Self| _mm512_shuffle_f32x4::<0x88>(x.0, y.0);
                    let odd = |x: Self, y: Self| _mm512_shuffle_f32x4::<0xDD>(x.0, y.0);
                    let p = Register512(even(a[c], a[4 + c]));
                    let q = Register512(even(a[8 + c], a[12 + c]));
                    let r = Register512(odd(a[c], a[4 + c]));
                    let s = Register512(odd(a[8 + c], a[12 + c]));
                    b[c].0 = even(p, q);
                    b[8 + c].0 = odd(p, q);
                    b[4 + c].0 = even(r, s);
                    b[12 + c].0 = odd(r, s);
                }
            }
            b
        }
    }

    /// Two AVX2 registers.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Registers256(__m256, __m256);

    scalar_for_vector!(
        Registers256,
        |x, y| unsafe { Registers256(_mm256_add_ps(x.0, y.0), _mm256_add_ps(x.1, y.1)) },
        unsafe { Registers256(_mm256_sub_ps(x.0, y.0), _mm256_sub_ps(x.1, y.1)) },
        unsafe { Registers256(_mm256_mul_ps(x.0, y.0), _mm256_mul_ps(x.1, y.1)) },
        unsafe { Registers256(_mm256_div_ps(x.0, y.0), _mm256_div_ps(x.1, y.1)) }
    );

    impl Vector for Registers256 {
        #[inline(always)]
        fn load(from: &Lanes) -> Self {
            let at = from.0.as_ptr();
            unsafe { Registers256(_mm256_load_ps(at), _mm256_load_ps(at.add(8))) }
        }
        #[inline(always)]
        fn store(self, to: &mut Lanes) {
            let at = to.0.as_mut_ptr();
            unsafe {
                _mm256_store_ps(at, self.0);
                _mm256_store_ps(at.add(8), self.1);
            }
        }
        #[inline(always)]
        fn splat(value: f32) -> Self {
            let x = unsafe { _mm256_set1_ps(value) };
            Registers256(x, x)
        }
        #[inline(always)]
        fn multiply_add(self, factor: Self, term: Self) -> Self {
            unsafe {
                Registers256(
                    _mm256_fmadd_ps(self.0, factor.0, term.0),
                    _mm256_fmadd_ps(self.1, factor.1, term.1),
                )
            }
        }
        #[inline(always)]
        fn at_least(self, bound: Self) -> Self {
            unsafe {
                Registers256(
                    _mm256_max_ps(bound.0, self.0),
                    _mm256_max_ps(bound.1, self.1),
                )
            }
        }
        #[inline(always)]
        fn at_most(self, bound: Self) -> Self {
            unsafe {
                Registers256(
                    _mm256_min_ps(bound.0, self.0),
                    _mm256_min_ps(bound.1, self.1),
                )
            }
        }
        #[inline(always)]
        fn if_positive(self, yes: Self, no: Self) -> Self {
            unsafe {
                let zero = _mm256_setzero_ps();
                let pick =
                    |x, yes, no| _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(x, zero));
                Registers256(pick(self.0, yes.0, no.0), pick(self.1, yes.1, no.1))
            }
        }
        #[inline(always)]
        fn power_of_two(self) -> Self {
            unsafe {
                let bias = _mm256_set1_epi32(127 << 23);
                let power = |x| {
                    let shifted = _mm256_slli_epi32::<23>(_mm256_castps_si256(x));
                    _mm256_castsi256_ps(_mm256_add_epi32(shifted, bias))
                };
                Registers256(power(self.0), power(self.1))
            }
        }
        /// Four blocks of eight by eight.
        #[inline(always)]
        fn transpose(tile: [Self; LANES]) -> [Self; LANES] {
            let zero = unsafe { _mm256_setzero_ps() };
            let mut blocks = [[zero; 8]; 4];
            for i in 0..8 {
                let (top, bottom) = (tile[i], tile[8 + i]);
                blocks[0][i] = top.0;
                blocks[1][i] = top.1;
                blocks[2][i] = bottom.0;
                blocks[3][i] = bottom.1;
            }
            let [left_top, right_top, left_bottom, right_bottom] = [
                transpose8(blocks[0]),
                transpose8(blocks[1]),
                transpose8(blocks[2]),
                transpose8(blocks[3]),
            ];
            let mut out = tile;
            for i in 0..8 {
                out[i] = Registers256(left_top[i], left_bottom[i]);
                out[8 + i] = Registers256(right_top[i], right_bottom[i]);
            }
            out
        }
    }

    /// Eight rows of eight become columns: within halves first, then halves between registers.
    #[inline(always)]
    fn transpose8(rows: [__m256; 8]) -> [__m256; 8] {
        let mut a = rows;
        let mut b = a;
        unsafe {
            for i in (0..8).step_by(2) {
                b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
                b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
            }
            for i in (0..8).step_by(4) {
                a[i] = _mm256_shuffle_ps::<0x44>(b[i], b[i + 2]);
                a[i + 1] = _mm256_shuffle_ps::<0xEE>(b[i], b[i + 2]);
                a[i + 2] = _mm256_shuffle_ps::<0x44>(b[i + 1], b[i + 3]);
                a[i + 3] = _mm256_shuffle_ps::<0xEE>(b[i + 1], b[i + 3]);
            }
            for c in 0..4 {
                b[c] = _mm256_permute2f128_ps::<0x20>(a[c], a[4 + c]);
                b[4 + c] = _mm256_permute2f128_ps::<0x31>(a[c], a[4 + c]);
            }
        }
        b
    }

    isa!(
        /// AVX-512: 32 registers, of which a product's block holds 12 x 2, or 16 of a single vector.
        Avx512, Register512, 12 x 2, 16, "avx512f,fma"
    );
    isa!(
        /// AVX2 and FMA: 16 registers, of which a product's block holds 6 x 1 pairs.
        Avx2, Registers256, 6 x 1, 6, "avx2,fma"
    );
}

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;

#[cfg(target_arch = "aarch64")]
mod neon {
    //! SAFETY of this module: as of the x86 ones, and every 64-bit ARM processor has NEON.
    use super::*;
    use std::arch::aarch64::*;

    /// Four NEON registers.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Registers128([float32x4_t; 4]);

    impl Registers128 {
        #[inline(always)]
        fn zip(self, other: Self, f: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
            let mut out = self;
            for i in 0..4 {
                out.0[i] = f(self.0[i], other.0[i]);
            }
            out
        }
    }

    scalar_for_vector!(
        Registers128,
        |x, y| x.zip(y, |x, y| unsafe { vaddq_f32(x, y) }),
        x.zip(y, |x, y| unsafe { vsubq_f32(x, y) }),
        x.zip(y, |x, y| unsafe { vmulq_f32(x, y) }),
        x.zip(y, |x, y| unsafe { vdivq_f32(x, y) })
    );

    impl Vector for Registers128 {
        #[inline(always)]
        fn load(from: &Lanes) -> Self {
            let mut out = Self::splat(0.0);
            for (i, register) in out.0.iter_mut().enumerate() {
                *register = unsafe { vld1q_f32(from.0.as_ptr().add(4 * i)) };
            }
            out
        }
        #[inline(always)]
        fn store(self, to: &mut Lanes) {
            for (i, register) in self.0.into_iter().enumerate() {
                unsafe { vst1q_f32(to.0.as_mut_ptr().add(4 * i), register) };
            }
        }
        #[inline(always)]
        fn splat(value: f32) -> Self {
            Registers128([unsafe { vdupq_n_f32(value) }; 4])
        }
        #[inline(always)]
        fn multiply_add(self, factor: Self, term: Self) -> Self {
            let mut out = term;
            for i in 0..4 {
                out.0[i] = unsafe { vfmaq_f32(term.0[i], self.0[i], factor.0[i]) };
            }
            out
        }
        // These instructions return NaN where an operand is NaN.
        #[inline(always)]
        fn at_least(self, bound: Self) -> Self {
            self.zip(bound, |x, b| unsafe { vmaxq_f32(x, b) })
        }
        #[inline(always)]
        fn at_most(self, bound: Self) -> Self {
            self.zip(bound, |x, b| unsafe { vminq_f32(x, b) })
        }
        #[inline(always)]
        fn if_positive(self, yes: Self, no: Self) -> Self {
            let mut out = no;
            for i in 0..4 {
                out.0[i] = unsafe {
                    let positive = vcgtq_f32(self.0[i], vdupq_n_f32(0.0));
                    vbslq_f32(positive, yes.0[i], no.0[i])
                };
            }
            out
        }
        #[inline(always)]
        fn power_of_two(self) -> Self {
            let mut out = self;
            for register in &mut out.0 {
                *register = unsafe {
                    let shifted = vshlq_n_s32::<23>(vreinterpretq_s32_f32(*register));
                    vreinterpretq_f32_s32(vaddq_s32(shifted, vdupq_n_s32(127 << 23)))
                };
            }
            out
        }
        /// Sixteen blocks of four by four.
        #[inline(always)]
        fn transpose(tile: [Self; LANES]) -> [Self; LANES] {
            let mut out = tile;
            for row in 0..4 {
                for column in 0..4 {
                    let [a, b, c, d] = [0, 1, 2, 3].map(|i| tile[4 * row + i].0[column]);
                    let block = unsafe {
                        let (ab, cd) = (vtrn1q_f32(a, b), vtrn1q_f32(c, d));
                        let (ab_odd, cd_odd) = (vtrn2q_f32(a, b), vtrn2q_f32(c, d));
                        let pairs = |x, y| (vreinterpretq_f64_f32(x), vreinterpretq_f64_f32(y));
                        let low = |x, y| {
                            let (x, y) = pairs(x, y);
                            vreinterpretq_f32_f64(vtrn1q_f64(x, y))
                        };
                        let high = |x, y| {
                            let (x, y) = pairs(x, y);
                            vreinterpretq_f32_f64(vtrn2q_f64(x, y))
                        };
                        [
                            low(ab, cd),
                            low(ab_odd, cd_odd),
                            high(ab, cd),
                            high(ab_odd, cd_odd),
                        ]
                    };
                    for (i, block) in block.into_iter().enumerate() {
                        out[4 * column + i].0[row] = block;
                    }
                }
            }
            out
        }
    }

    isa!(
        /// NEON: 32 registers, of which a product's block holds 6 x 1 quadruples.
        Neon, Registers128, 6 x 1, 6, "neon"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every function over its range against f64, on one instruction set.
    #[inline(always)]
    fn worst_errors<V: Vector>() -> [f64; 3] {
        let mut worst = [0.0f64; 3];
        for i in -120_000i32..=120_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x);
            let one = |y: V| {
                let mut out = Lanes::ZERO;
                y.store(&mut out);
                f64::from(out.0[7])
            };
            let relative = |got: f64, want: f64| ((got - want) / want.abs().max(1e-30)).abs();
            worst[0] = worst[0].max(relative(one(V::splat(x).exp()), exact.exp()));
            worst[1] = worst[1].max(relative(one(V::splat(x).tanh()), exact.tanh()));
            let sigmoid = 1.0 / (1.0 + (-exact).exp());
            worst[2] = worst[2].max((one(V::splat(x).sigmoid()) - sigmoid).abs());
        }
        worst
    }

    /// NaN stays NaN, and large arguments saturate.
    #[inline(always)]
    fn edges<V: Vector>() -> bool {
        let one = |y: V| {
            let mut out = Lanes::ZERO;
            y.store(&mut out);
            out.0[3]
        };
        let nan = V::splat(f32::NAN);
        one(nan.tanh()).is_nan()
            && one(nan.sigmoid()).is_nan()
            && one(nan.relu()).is_nan()
            && one(nan.exp()).is_nan()
            && one(V::splat(1e30).tanh()) == 1.0
            && one(V::splat(f32::NEG_INFINITY).tanh()) == -1.0
            && one(V::splat(-1e30).sigmoid()) == 0.0
            && one(-V::splat(2.0)) == -2.0
            && one(V::splat(-2.0).heaviside()) == 0.0
    }

    fn assert_accurate(worst: [f64; 3]) {
        assert!(worst[0] < 4e-7, "exp {worst:?}");
        assert!(worst[1] < 5e-7, "tanh {worst:?}");
        assert!(worst[2] < 2e-7, "sigmoid {worst:?}");
    }

    #[test]
    fn functions_are_accurate_in_plain_code() {
        assert_accurate(worst_errors::<Plain>());
        assert!(edges::<Plain>());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn functions_are_accurate_in_avx() {
        #[target_feature(enable = "avx512f,fma")]
        unsafe fn on_avx512() -> ([f64; 3], bool) {
            (
                worst_errors::<<Avx512 as Isa>::V>(),
                edges::<<Avx512 as Isa>::V>(),
            )
        }
        #[target_feature(enable = "avx2,fma")]
        unsafe fn on_avx2() -> ([f64; 3], bool) {
            (
                worst_errors::<<Avx2 as Isa>::V>(),
                edges::<<Avx2 as Isa>::V>(),
            )
        }
        let best = Instructions::detect();
        if best == Instructions::Avx512 {
            let (worst, edges) = unsafe { on_avx512() };
            assert_accurate(worst);
            assert!(edges);
        } else {
            println!("skipped: this processor has no AVX-512");
        }
        if best != Instructions::Portable {
            let (worst, edges) = unsafe { on_avx2() };
            assert_accurate(worst);
            assert!(edges);
        } else {
            println!("skipped: this processor has no AVX2");
        }
    }

    #[cfg(target_arch = "aarch64")]
    #[test]
    fn functions_are_accurate_in_neon() {
        assert_accurate(worst_errors::<<Neon as Isa>::V>());
        assert!(edges::<<Neon as Isa>::V>());
    }

    proptest! {
        #[test]
        fn lane_sum_is_the_sum(values in prop::array::uniform16(-1.0f32..1.0)) {
            let exact: f64 = values.iter().map(|&v| f64::from(v)).sum();
            prop_assert!((f64::from(Lanes(values).sum()) - exact).abs() < 1e-5);
        }
    }
}
