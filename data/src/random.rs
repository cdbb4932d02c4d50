//! Random numbers as a pure function of (seed, stream, index), from a counter-based generator.
//!
//! The generator is Philox-4x32-10 of J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw, "Parallel
//! random numbers: as easy as 1, 2, 3", SC '11 (2011): ten rounds of a keyed bijection of a 128-bit
//! counter. Nothing is carried from one index to the next, so results depend neither on the number of
//! threads, nor on the order of the work, nor on having been interrupted: a trial, a network's weights
//! or a starting point each open their own [`Random`] by number.

use std::convert::Infallible;

use rand::TryRng;
use rand::distr::Distribution;
use rand_distr::StandardNormal;

/// What a random number is for. Streams of one seed are independent of each other.
///
/// The number is part of every result: a stream keeps its number for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream(pub u32);

impl Stream {
    /// Initial weights; the index is the network.
    pub const WEIGHTS: Stream = Stream(1);
    /// Training trials; the index is the trial, counted over all updates.
    pub const TRIALS: Stream = Stream(2);
    /// Held-out trials, never trained on; the index is the trial.
    pub const HELD_OUT: Stream = Stream(3);
    /// Starting points of searches; the index is the start.
    pub const STARTS: Stream = Stream(4);
    /// Noise injected into a running network; the index is the sequence.
    pub const NOISE: Stream = Stream(5);
    /// Held-out trials longer than those of training; the index is the trial.
    pub const LONG_TRIALS: Stream = Stream(6);
    /// Directions in which parameters are perturbed; the index is the direction.
    pub const PERTURBATIONS: Stream = Stream(7);
    /// Samples that a quantity is estimated from; the index is the estimate.
    pub const SAMPLES: Stream = Stream(8);
    /// Recordings that a task generates from equations; the index says what of them: 0 the initial state of the training
    /// part, 1 that of the test part, 2 the observation noise.
    pub const RECORDINGS: Stream = Stream(16);
}

/// The same numbers in WGSL, for shaders that draw them on a device.
///
/// - `random_open(seed: vec2<u32>, stream: u32, index: vec2<u32>)` opens a sequence as [`Random::new`] does; of
///   a 64-bit number the low word comes first.
/// - `random_word() -> u32`: the next 32 bits.
/// - `random_is_below(threshold: vec2<u32>) -> bool`: whether [`Random::uniform`] is below a probability p, which
///   is given as [`probability_words`].
/// - `random_below(n: u32, rejected: u32) -> u32`: [`Random::below`], with [`rejected_below`].
///
/// Shaders have no 64-bit integers and no double precision, hence the words and the thresholds.
pub const WGSL: &str = include_str!("random.wgsl");

/// ceil(p 2^53) as its low and its high word: `Random::uniform() < p` is an integer below it.
pub fn probability_words(p: f64) -> [u32; 2] {
    // Exact: a product with a power of two, and a ceiling of at most 2^53.
    let threshold = (p * (1_u64 << 53) as f64).ceil() as u64;
    [threshold as u32, (threshold >> 32) as u32]
}

/// The low halves of a product that [`Random::below`] rejects for `n`: (2^64 - n) mod n.
///
/// # Panics
/// If `n` is 0: there is no integer below it.
pub fn rejected_below(n: u32) -> u32 {
    let n = u64::from(n);
    (n.wrapping_neg() % n) as u32
}

/// Philox's two round multipliers and the two Weyl increments of its key schedule.
const MULTIPLIER: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: u32 = 10;

/// The 128 random bits that belong to a counter under a key: Philox-4x32 with ten rounds.
///
/// One round maps (c0, c1, c2, c3) under the key (k0, k1) to
/// (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)), where hi and lo are the halves of
/// the 64-bit product; between rounds k0 and k1 each grow by a Weyl increment.
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..ROUNDS {
        let p0 = u64::from(MULTIPLIER[0]) * u64::from(c0);
        let p1 = u64::from(MULTIPLIER[1]) * u64::from(c2);
        c0 = (p1 >> 32) as u32 ^ c1 ^ k0;
        c1 = p1 as u32;
        c2 = (p0 >> 32) as u32 ^ c3 ^ k1;
        c3 = p0 as u32;
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// Blocks that [`Random`] makes at a time: their rounds run side by side in vector registers.
const BLOCKS: usize = 8;

crate::vectorised! {
    /// The words of [`BLOCKS`] blocks from a counter on, whose first word counts blocks; each as
    /// [`philox4x32_10`] gives it.
    #[inline(never)]
    fn philox_blocks(counter: [u32; 4], key: [u32; 2]) -> [u32; 4 * BLOCKS] {
        let [c0, c1, c2, c3] = counter;
        let mut c = [[c0; BLOCKS], [c1; BLOCKS], [c2; BLOCKS], [c3; BLOCKS]];
        for (block, word) in c[0].iter_mut().enumerate() {
            *word = word.wrapping_add(block as u32);
        }
        let [mut k0, mut k1] = key;
        for _ in 0..ROUNDS {
            let mut next = c;
            for b in 0..BLOCKS {
                let p0 = u64::from(MULTIPLIER[0]) * u64::from(c[0][b]);
                let p1 = u64::from(MULTIPLIER[1]) * u64::from(c[2][b]);
                next[0][b] = (p1 >> 32) as u32 ^ c[1][b] ^ k0;
                next[1][b] = p1 as u32;
                next[2][b] = (p0 >> 32) as u32 ^ c[3][b] ^ k1;
                next[3][b] = p0 as u32;
            }
            c = next;
            k0 = k0.wrapping_add(WEYL[0]);
            k1 = k1.wrapping_add(WEYL[1]);
        }
        let mut words = [0; 4 * BLOCKS];
        for (block, words) in words.chunks_exact_mut(4).enumerate() {
            for (word, c) in words.iter_mut().zip(&c) {
                *word = c[block];
            }
        }
        words
    }
}

/// The sequence of random numbers that belongs to (seed, stream, index).
///
/// The key is the seed; the counter is (block, stream, index), where the block counts groups of four
/// 32-bit words. A sequence has 2^34 words before it repeats. Works with `rand` and `rand_distr`
/// through [`rand::Rng`].
#[derive(Clone, Debug)]
pub struct Random {
    key: [u32; 2],
    /// The first block not made yet, stream, low and high half of the index.
    counter: [u32; 4],
    words: [u32; 4 * BLOCKS],
    /// How many of `words` are spent.
    spent: usize,
}

impl Random {
    /// Opens the sequence that belongs to (`seed`, `stream`, `index`) at its beginning.
    pub fn new(seed: u64, stream: Stream, index: u64) -> Self {
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        let [low, high] = halves(index);
        Random {
            key: halves(seed),
            counter: [0, stream.0, low, high],
            words: [0; 4 * BLOCKS],
            spent: 4 * BLOCKS,
        }
    }

    /// The next 32 random bits.
    #[inline]
    fn word(&mut self) -> u32 {
        if self.spent == self.words.len() {
            self.words = philox_blocks(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(BLOCKS as u32);
            self.spent = 0;
        }
        let word = self.words[self.spent];
        self.spent += 1;
        word
    }

    /// The next 64 random bits: two words, the low half first.
    #[inline]
    fn double_word(&mut self) -> u64 {
        let low = u64::from(self.word());
        let high = u64::from(self.word());
        high << 32 | low
    }

    /// A number in [0, 1) with 53 random bits.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        (self.double_word() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A number in [0, 1) with 24 random bits.
    #[inline]
    pub fn uniform_f32(&mut self) -> f32 {
        (self.word() >> 8) as f32 * (1.0 / (1_u32 << 24) as f32)
    }

    /// A number from the normal distribution with mean 0 and variance 1.
    pub fn standard_normal(&mut self) -> f64 {
        StandardNormal.sample(self)
    }

    /// An integer in [0, `n`), each with exactly equal probability.
    ///
    /// The high half of a 64 x 64 bit product, with rejection of the few low halves that would favour
    /// some values: D. Lemire, "Fast random integer generation in an interval", ACM Transactions on
    /// Modeling and Computer Simulation 29 (2019).
    ///
    /// # Panics
    /// If `n` is 0: there is no such integer.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "no integer is below 0");
        let n = n as u64;
        let mut product = u128::from(self.double_word()) * u128::from(n);
        // The low halves that would favour some values lie below n: without a division where this one does not.
        if (product as u64) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u64) < threshold {
                product = u128::from(self.double_word()) * u128::from(n);
            }
        }
        (product >> 64) as usize
    }
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.word())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.double_word())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        rand::rand_core::utils::fill_bytes_via_next_word(bytes, || self.try_next_u32())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{Rng, RngExt};

    /// The known-answer vectors for philox4x32 with ten rounds that Random123 publishes.
    #[test]
    fn known_answers_of_random123() {
        assert_eq!(
            philox4x32_10([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32_10([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32_10(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn the_counter_is_block_stream_index_and_the_key_is_the_seed() {
        let mut random = Random::new(
            0x299f_31d0_a409_3822,
            Stream(0x85a3_08d3),
            0x0370_7344_1319_8a2e,
        );
        random.counter[0] = 0x243f_6a88;
        let words: Vec<u32> = (0..4).map(|_| random.next_u32()).collect();
        assert_eq!(words, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    /// Also where the count of blocks wraps around.
    #[test]
    fn block_follows_block() {
        for first in [0, u32::MAX - 3] {
            let mut random = Random::new(0x0123_4567_89ab_cdef, Stream::NOISE, 1 << 40 | 5);
            let (key, mut counter) = (random.key, random.counter);
            random.counter[0] = first;
            counter[0] = first;
            for _ in 0..3 * BLOCKS {
                let words: [u32; 4] = std::array::from_fn(|_| random.next_u32());
                assert_eq!(words, philox4x32_10(counter, key));
                counter[0] = counter[0].wrapping_add(1);
            }
        }
    }

    #[test]
    fn bytes_and_words_are_the_same_bits() {
        let mut a = Random::new(1, Stream::NOISE, 2);
        let mut b = a.clone();
        let mut bytes = [0; 10];
        a.fill_bytes(&mut bytes);
        assert_eq!(bytes[..4], b.next_u32().to_le_bytes());
        assert_eq!(bytes[4..8], b.next_u32().to_le_bytes());
        assert_eq!(bytes[8..], b.next_u32().to_le_bytes()[..2]);
    }

    /// Mean, variance and kurtosis of a million draws lie within five standard errors.
    #[test]
    fn moments() {
        let n = 1_000_000;
        let mut random = Random::new(7, Stream::TRIALS, 0);
        let uniform: Vec<f64> = (0..n).map(|_| random.uniform()).collect();
        let normal: Vec<f64> = (0..n).map(|_| random.standard_normal()).collect();
        let moment = |x: &[f64], centre: f64, power| {
            x.iter().map(|x| (x - centre).powi(power)).sum::<f64>() / n as f64
        };
        let error = 5.0 / (n as f64).sqrt();
        assert!((moment(&uniform, 0.0, 1) - 0.5).abs() < error * (1.0_f64 / 12.0).sqrt());
        assert!((moment(&uniform, 0.5, 2) - 1.0 / 12.0).abs() < error * (1.0_f64 / 180.0).sqrt());
        assert!(moment(&normal, 0.0, 1).abs() < error);
        assert!((moment(&normal, 0.0, 2) - 1.0).abs() < error * 2.0_f64.sqrt());
        assert!((moment(&normal, 0.0, 4) - 3.0).abs() < error * 96.0_f64.sqrt());
    }

    /// Correlations between sequences that differ in one of seed, stream, index are within five
    /// standard errors of zero.
    #[test]
    fn neighbouring_sequences_are_uncorrelated() {
        let n = 100_000;
        let draw = |seed, stream, index| {
            let mut random = Random::new(seed, Stream(stream), index);
            (0..n).map(|_| random.uniform() - 0.5).collect::<Vec<f64>>()
        };
        let base = draw(1, 1, 0);
        for other in [
            draw(2, 1, 0),
            draw(1, 2, 0),
            draw(1, 1, 1),
            draw(1, 1, 1 << 32),
        ] {
            let correlation =
                12.0 * base.iter().zip(&other).map(|(a, b)| a * b).sum::<f64>() / n as f64;
            assert!(
                correlation.abs() < 5.0 / (n as f64).sqrt(),
                "correlation {correlation}"
            );
        }
    }

    /// Pearson's chi-squared over ten bins: nine degrees of freedom, P(> 33.7) = 1e-4.
    #[test]
    fn below_is_uniform() {
        let mut random = Random::new(3, Stream::STARTS, 0);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[random.below(10)] += 1;
        }
        let chi2: f64 = counts
            .iter()
            .map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4)
            .sum();
        assert!(chi2 < 33.7, "chi squared {chi2}");
    }

    proptest! {
        #[test]
        fn draws_stay_in_range(seed: u64, stream: u32, index: u64, n in 1..usize::MAX) {
            let mut random = Random::new(seed, Stream(stream), index);
            prop_assert!((0.0..1.0).contains(&random.uniform()));
            prop_assert!((0.0..1.0).contains(&random.uniform_f32()));
            prop_assert!(random.below(n) < n);
            prop_assert!(random.standard_normal().is_finite());
            prop_assert!((0..5).contains(&random.random_range(0..5)));
        }

        /// A shader decides in words what `uniform() < p` decides in double precision.
        #[test]
        fn probability_words_decide_as_the_uniform_number_does(
            seed: u64, p in prop_oneof![0.0..=1.0, Just(0.0), Just(1.0), 0.0..1e-15]
        ) {
            let [low, high] = probability_words(p);
            let mut uniform = Random::new(seed, Stream::TRIALS, 0);
            let mut words = uniform.clone();
            let k = words.next_u64() >> 11;
            let below = (u64::from(high) << 32 | u64::from(low)) > k;
            prop_assert_eq!(below, uniform.uniform() < p);
            // At the threshold itself.
            if k > 0 {
                let exactly = k as f64 / (1_u64 << 53) as f64;
                let [low, high] = probability_words(exactly);
                prop_assert_eq!(u64::from(high) << 32 | u64::from(low), k);
            }
        }

        #[test]
        fn rejected_below_is_the_remainder_of_all_words(n in 1..u32::MAX) {
            prop_assert_eq!(u128::from(rejected_below(n)), (1_u128 << 64) % u128::from(n));
        }

        #[test]
        fn a_sequence_is_a_function_of_its_name(seed: u64, stream: u32, index: u64) {
            let mut a = Random::new(seed, Stream(stream), index);
            let mut b = Random::new(seed, Stream(stream), index);
            for _ in 0..9 {
                prop_assert_eq!(a.next_u64(), b.next_u64());
            }
        }
    }
}
