//! How far the states that a model visits are from those of the data, time left aside: D_stsp.
//!
//! Both are distributions over the space of observations, and the measure is the Kullback-Leibler divergence KL(data ||
//! model) between them, natural logarithm. In few dimensions they are histograms ([`binned_divergence`]), in many
//! mixtures of Gaussians, one about every point ([`mixture_divergence`]); [`state_space_divergence`] takes the one that
//! publications take.
//!
//! # Where programs differ
//! Numbers of different programs can be compared only where these agree:
//! - **The range of the bins**: see [`BinRange`], which names them.
//! - **Counts that wrap.** A histogram of 16-bit counters starts again at 0 in a bin with more than 65,535 hits, as that of
//!   an orbit of 100,000 steps at a fixed point has. Counts here do not wrap.
//! - **A lost bin.** Python versions keep points whose bin indices are all above 0, and so lose the lowest bin of every
//!   dimension. Here it counts as every other.
//! - **Underflow.** In single precision a density below 1e-45 is 0, and samples of which one of both densities is 0 are
//!   then left out: those in which the two distributions differ the most. Here the densities are logarithms from the
//!   start and no sample is left out, so that a model that is far from the data has a larger divergence, not a smaller
//!   one.

use std::cmp::Ordering;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rayon::prelude::*;

use crate::Error;

/// The interval that is cut into bins, in every dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BinRange {
    /// From a tenth of a standard deviation below the smallest value of the data to a tenth above the largest: the
    /// definition for generalized teacher forcing (Hess et al. 2023).
    #[default]
    Margin,
    /// Two standard deviations of the data to either side of 0, as earlier publications on dendritic PLRNNs took it
    /// (called `legacy` later). The data should have mean 0; what lies beyond is not seen.
    TwoDeviations,
    /// From the smallest value of the data to the largest, as Python versions take it. The largest itself is outside.
    Extremes,
}

/// How histograms are made.
#[derive(Clone, Debug, PartialEq)]
pub struct BinSettings {
    /// Bins per dimension, at least 1. Default 30.
    pub bins: usize,
    /// The interval that they divide. Default [`BinRange::Margin`].
    pub range: BinRange,
    /// What is added to the count of every cell, occupied or not, above 0. Default 1e-5.
    pub pseudo_count: f64,
}

impl Default for BinSettings {
    fn default() -> Self {
        Self {
            bins: 30,
            range: BinRange::Margin,
            pseudo_count: 1e-5,
        }
    }
}

/// How mixtures of Gaussians are made and compared.
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureSettings {
    /// Variance sigma^2 of every Gaussian in every dimension, above 0, in squared units of the data. Default 1, for data
    /// of variance 1; AL-RNN publications take 0.3.
    pub variance: f64,
    /// Most Gaussians of a mixture: the first so many points have one. Default 10,000.
    pub components: usize,
    /// Samples drawn, at least 2. Default 1000.
    pub samples: usize,
    /// Whether the mean of KL(data || model) and KL(model || data) is taken, as in dendritic PLRNN publications. Default
    /// `false`: the first alone.
    pub symmetric: bool,
}

impl Default for MixtureSettings {
    fn default() -> Self {
        Self {
            variance: 1.0,
            components: 10_000,
            samples: 1000,
            symmetric: false,
        }
    }
}

/// How the two distributions are described.
#[derive(Clone, Debug, PartialEq)]
pub enum DivergenceMethod {
    /// By histograms.
    Bins(BinSettings),
    /// By mixtures of Gaussians.
    Mixture(MixtureSettings),
}

impl DivergenceMethod {
    /// Dimensions from which on publications take mixtures: 6.
    pub const MIXTURE_FROM: usize = 6;

    /// The one that publications take for so many dimensions, with its defaults.
    pub fn published(dimensions: usize) -> Self {
        if dimensions < Self::MIXTURE_FROM {
            DivergenceMethod::Bins(BinSettings::default())
        } else {
            DivergenceMethod::Mixture(MixtureSettings::default())
        }
    }

    /// `bins` or `mixture`.
    pub fn name(&self) -> &'static str {
        match self {
            DivergenceMethod::Bins(_) => "bins",
            DivergenceMethod::Mixture(_) => "mixture",
        }
    }
}

/// A divergence, and how exactly it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// The divergence, natural logarithm. Estimated from samples, it can come out below 0 where it is nearly 0.
    pub value: f64,
    /// Standard error of the samples drawn; 0 where none were.
    pub standard_error: f64,
}

/// D_stsp of `data` and `generated`, both `[time, dimension]`, by histograms or mixtures.
///
/// `None` where no point of one of the two lies in the range of the histogram. `random` gives the samples of mixtures.
///
/// # Errors
/// As [`binned_divergence`] and [`mixture_divergence`].
pub fn state_space_divergence(
    data: ArrayView2<'_, f64>,
    generated: ArrayView2<'_, f64>,
    method: &DivergenceMethod,
    random: &mut impl Rng,
) -> Result<Option<Divergence>, Error> {
    match method {
        DivergenceMethod::Bins(settings) => {
            let value = binned_divergence(data, generated, settings)?;
            Ok(value.map(|value| Divergence {
                value,
                standard_error: 0.0,
            }))
        }
        DivergenceMethod::Mixture(settings) => {
            mixture_divergence(data, generated, settings, random).map(Some)
        }
    }
}

/// D_stsp of `data` and `generated`, both `[time, dimension]`, of any lengths, by histograms.
///
/// Returns the divergence, or `None` where no point of one of the two lies in the range: it is not defined then.
///
/// # Method
/// Every dimension's range, which the data alone give, is cut into k equal bins, closed below and open above. Points
/// outside of it are left out. With n_i points of N in cell i of C = k^dimensions, and m_i of M for the model,
///
/// ```text
/// p_i = (n_i + e) / (N + e C)        q_i = (m_i + e) / (M + e C)        D = sum_i p_i ln(p_i / q_i)
/// ```
///
/// over all cells. Only occupied ones are stored; the sum over the others, which are all alike, is one term.
///
/// # Errors
/// [`Error::Shape`] where the dimensions differ; [`Error::TooFew`] below two points of data or without a dimension;
/// [`Error::NotFinite`] where the data are not (points of the model that are not finite are outside);
/// [`Error::Setting`] where a setting is out of its range, the data are constant in a dimension, or there are more than
/// 2^127 cells.
///
/// # Reference
/// G. Koppe, H. Toutounji, P. Kirsch, S. Lis & D. Durstewitz, PLoS Computational Biology 15, e1007263 (2019); with these
/// settings F. Hess, Z. Monfared, M. Brenner & D. Durstewitz, "Generalized teacher forcing for learning chaotic
/// dynamics", ICML 2023.
pub fn binned_divergence(
    data: ArrayView2<'_, f64>,
    generated: ArrayView2<'_, f64>,
    settings: &BinSettings,
) -> Result<Option<f64>, Error> {
    check_points(data, generated)?;
    if settings.bins == 0 {
        return Err(Error::Setting {
            what: "bins",
            found: "0".to_owned(),
            allowed: "an integer, at least 1",
        });
    }
    check_positive("pseudo_count", settings.pseudo_count)?;
    let dimensions = data.ncols();
    let cells = (settings.bins as f64).powi(dimensions as i32);
    if cells > 2f64.powi(127) {
        return Err(Error::Setting {
            what: "bins",
            found: format!("{} in each of {dimensions} dimensions", settings.bins),
            allowed: "at most 2^127 cells in all; compare mixtures in so many dimensions",
        });
    }
    let ranges = ranges(data, settings.range)?;
    let seen = Histogram::of(data, &ranges, settings.bins);
    let made = Histogram::of(generated, &ranges, settings.bins);
    if seen.points == 0.0 || made.points == 0.0 {
        return Ok(None);
    }
    let added = settings.pseudo_count;
    let p = |count: f64| (count + added) / (seen.points + added * cells);
    let q = |count: f64| (count + added) / (made.points + added * cells);
    let term = |n: f64, m: f64| p(n) * (p(n) / q(m)).ln();
    // Both lists of occupied cells ascend: one pass over their union.
    let (mut a, mut b) = (
        seen.occupied.iter().peekable(),
        made.occupied.iter().peekable(),
    );
    let (mut sum, mut occupied) = (0.0, 0.0);
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((i, _)), Some((j, _))) => i.cmp(j),
        };
        let n = if order.is_le() { a.next() } else { None };
        let m = if order.is_ge() { b.next() } else { None };
        sum += term(n.map_or(0.0, |c| c.1), m.map_or(0.0, |c| c.1));
        occupied += 1.0;
    }
    sum += (cells - occupied) * term(0.0, 0.0);
    Ok(Some(sum))
}

/// The occupied cells of a histogram.
struct Histogram {
    /// Number of the cell, and points in it; ascending.
    occupied: Vec<(u128, f64)>,
    /// Points within the range.
    points: f64,
}

impl Histogram {
    fn of(points: ArrayView2<'_, f64>, ranges: &[(f64, f64)], bins: usize) -> Self {
        let cell = |point: ArrayView1<'_, f64>| {
            let mut number: u128 = 0;
            for (&x, &(low, high)) in point.iter().zip(ranges) {
                // What is not a number is not within either.
                if !(x >= low && x < high) {
                    return None;
                }
                // Rounding could push a point just below the upper end into a bin that there is not.
                let bin = ((x - low) / (high - low) * bins as f64) as usize;
                number = number * bins as u128 + bin.min(bins - 1) as u128;
            }
            Some(number)
        };
        let mut numbers: Vec<u128> = points.outer_iter().filter_map(cell).collect();
        numbers.sort_unstable();
        Histogram {
            occupied: numbers
                .chunk_by(|a, b| a == b)
                .map(|same| (same[0], same.len() as f64))
                .collect(),
            points: numbers.len() as f64,
        }
    }
}

/// The two ends of the bins of every dimension.
fn ranges(data: ArrayView2<'_, f64>, range: BinRange) -> Result<Vec<(f64, f64)>, Error> {
    let of_dimension = |column: ArrayView1<'_, f64>| {
        let deviation = standard_deviation(column);
        let low = column.iter().copied().fold(f64::INFINITY, f64::min);
        let high = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = match range {
            BinRange::Margin => (low - 0.1 * deviation, high + 0.1 * deviation),
            BinRange::TwoDeviations => (-2.0 * deviation, 2.0 * deviation),
            BinRange::Extremes => (low, high),
        };
        if low < high && (high - low).is_finite() {
            Ok((low, high))
        } else {
            Err(Error::Setting {
                what: "data",
                found: format!("values from {low} to {high} in one of the dimensions"),
                allowed: "data that vary in every dimension, and whose range is finite",
            })
        }
    };
    data.columns().into_iter().map(of_dimension).collect()
}

/// With n - 1 in the denominator.
pub(crate) fn standard_deviation(values: ArrayView1<'_, f64>) -> f64 {
    let n = values.len() as f64;
    let mean = values.sum() / n;
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

/// D_stsp of `data` and `generated`, both `[time, dimension]`, by mixtures of Gaussians.
///
/// Returns the divergence with the standard error of its samples.
///
/// # Method
/// Every one of the first T points x_t is the mean of a Gaussian, all with the same weight and variance sigma^2 in every
/// direction. The logarithm of the density is
///
/// ```text
/// ln p(x) = ln sum_t exp(-|x - x_t|^2 / (2 sigma^2)) - ln T + constant
/// ```
///
/// with the same constant for data and model. Over samples x from the mixture of the data, ln p(x) - ln q(x) is averaged.
/// The largest exponent is taken off before exp, so that no density is 0 and no sample left out. Distances are had from
/// one matrix product: |x - y|^2 = |x|^2 + |y|^2 - 2 x y.
///
/// # Errors
/// [`Error::Shape`] where the dimensions differ; [`Error::TooFew`] below two points of data, one of the model, or without a
/// dimension; [`Error::NotFinite`] where a point is not finite; [`Error::Setting`] where a setting is out of its range.
///
/// # Reference
/// M. Brenner, F. Hess, J. M. Mikhaeil, L. F. Bereska, Z. Monfared, P.-C. Kuo & D. Durstewitz, "Tractable dendritic RNNs
/// for reconstructing nonlinear dynamical systems", ICML 2022; Hess et al., ICML 2023.
pub fn mixture_divergence(
    data: ArrayView2<'_, f64>,
    generated: ArrayView2<'_, f64>,
    settings: &MixtureSettings,
    random: &mut impl Rng,
) -> Result<Divergence, Error> {
    check_points(data, generated)?;
    check_positive("variance", settings.variance)?;
    for (what, found, least) in [
        ("components", settings.components, 1),
        ("samples", settings.samples, 2),
    ] {
        if found < least {
            return Err(Error::Setting {
                what,
                found: found.to_string(),
                allowed: "an integer, at least 1; of samples at least 2",
            });
        }
    }
    if generated.nrows() == 0 {
        return Err(Error::TooFew {
            what: "points of the model",
            needed: 1,
            found: 0,
        });
    }
    // About the mean of the data, where the squares that distances are made of are small.
    let centre = data.sum_axis(Axis(0)) / data.nrows() as f64;
    let mixture = |points: ArrayView2<'_, f64>| {
        let count = points.nrows().min(settings.components);
        Mixture::new(&points.slice(s![..count, ..]) - &centre, settings.variance)
    };
    let (p, q) = (mixture(data), mixture(generated));
    if q.means.iter().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite {
            what: "a point of the model",
        });
    }
    let forward = one_way(&p, &q, settings.samples, random);
    if !settings.symmetric {
        return Ok(forward);
    }
    let back = one_way(&q, &p, settings.samples, random);
    Ok(Divergence {
        value: 0.5 * (forward.value + back.value),
        standard_error: 0.5 * forward.standard_error.hypot(back.standard_error),
    })
}

/// KL(p || q) from samples of p.
fn one_way(p: &Mixture, q: &Mixture, samples: usize, random: &mut impl Rng) -> Divergence {
    let samples = p.samples(samples, random);
    let differences: Array1<f64> = p
        .log_densities(samples.view())
        .iter()
        .zip(q.log_densities(samples.view()))
        .map(|(p, q)| p - q)
        .collect();
    let n = differences.len() as f64;
    Divergence {
        value: differences.sum() / n,
        standard_error: standard_deviation(differences.view()) / n.sqrt(),
    }
}

/// Gaussians of one variance and weight.
struct Mixture {
    /// `[component, dimension]`
    means: Array2<f64>,
    /// -|mean|^2 / (2 sigma^2) of every component.
    offsets: Vec<f64>,
    variance: f64,
}

/// Samples whose distances to all components are had from one matrix product: their table stays in the cache.
const AT_A_TIME: usize = 64;

/// Exponents so much below the largest are left out: ten thousand of them would change a sum by less than rounding does.
const NEGLIGIBLE: f64 = -46.0;

impl Mixture {
    fn new(means: Array2<f64>, variance: f64) -> Self {
        let offset = |mean: ArrayView1<'_, f64>| -mean.dot(&mean) / (2.0 * variance);
        Mixture {
            offsets: means.outer_iter().map(offset).collect(),
            means,
            variance,
        }
    }

    /// So many points, `[sample, dimension]`: of a component, each with the same probability, its mean and Gaussian noise.
    fn samples(&self, count: usize, random: &mut impl Rng) -> Array2<f64> {
        let deviation = self.variance.sqrt();
        let mut samples = Array2::zeros((count, self.means.ncols()));
        for mut sample in samples.outer_iter_mut() {
            let component = random.random_range(0..self.means.nrows());
            for (x, mean) in sample.iter_mut().zip(self.means.row(component)) {
                *x = mean + deviation * random.sample::<f64, _>(StandardNormal);
            }
        }
        samples
    }

    /// ln p of every sample, `[sample, dimension]`, but for the constant that all mixtures of this variance share.
    fn log_densities(&self, samples: ArrayView2<'_, f64>) -> Vec<f64> {
        let weight = (self.means.nrows() as f64).ln();
        let chunks: Vec<ArrayView2<'_, f64>> =
            samples.axis_chunks_iter(Axis(0), AT_A_TIME).collect();
        let densities: Vec<Vec<f64>> = chunks
            .par_iter()
            .map(|chunk| {
                let mut exponents = chunk.dot(&self.means.t());
                let precision = 1.0 / self.variance;
                let mut densities = Vec::with_capacity(chunk.nrows());
                for (sample, mut row) in chunk.outer_iter().zip(exponents.outer_iter_mut()) {
                    // (x y - |y|^2 / 2) / sigma^2; the term of |x|^2, which all share, comes last.
                    let mut largest = f64::NEG_INFINITY;
                    for (exponent, offset) in row.iter_mut().zip(&self.offsets) {
                        *exponent = *exponent * precision + offset;
                        largest = largest.max(*exponent);
                    }
                    let sum: f64 = row
                        .iter()
                        .map(|exponent| exponent - largest)
                        .filter(|exponent| *exponent > NEGLIGIBLE)
                        .map(f64::exp)
                        .sum();
                    let own = sample.dot(&sample) / (2.0 * self.variance);
                    densities.push(sum.ln() + largest - own - weight);
                }
                densities
            })
            .collect();
        densities.concat()
    }
}

/// That there are data, finite ones, and that both have the same dimensions.
fn check_points(data: ArrayView2<'_, f64>, generated: ArrayView2<'_, f64>) -> Result<(), Error> {
    Error::check_shape("generated, columns", data.ncols(), generated.ncols())?;
    for (what, needed, found) in [
        ("dimensions of the data", 1, data.ncols()),
        ("points of the data", 2, data.nrows()),
    ] {
        if found < needed {
            return Err(Error::TooFew {
                what,
                needed,
                found,
            });
        }
    }
    if data.iter().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite {
            what: "a point of the data",
        });
    }
    Ok(())
}

fn check_positive(what: &'static str, found: f64) -> Result<(), Error> {
    if found > 0.0 && found.is_finite() {
        return Ok(());
    }
    Err(Error::Setting {
        what,
        found: found.to_string(),
        allowed: "a finite number above 0",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::SmallRng};
    use std::time::Instant;

    fn random(seed: u64) -> SmallRng {
        SmallRng::seed_from_u64(seed)
    }

    fn normal(rows: usize, columns: usize, shift: f64, seed: u64) -> Array2<f64> {
        let mut random = random(seed);
        Array2::from_shape_simple_fn((rows, columns), || {
            shift + random.sample::<f64, _>(StandardNormal)
        })
    }

    /// The definition, cell by cell over the whole grid.
    fn dense(data: &Array2<f64>, generated: &Array2<f64>, settings: &BinSettings) -> f64 {
        let ranges = ranges(data.view(), settings.range).unwrap();
        let dimensions = data.ncols();
        let cells = settings.bins.pow(dimensions as u32);
        let counts = |points: &Array2<f64>| {
            let mut counts = vec![0.0; cells];
            'points: for point in points.outer_iter() {
                let mut cell = 0;
                for (x, (low, high)) in point.iter().zip(&ranges) {
                    let mut edges: Vec<f64> = (0..=settings.bins)
                        .map(|k| low + (high - low) * k as f64 / settings.bins as f64)
                        .collect();
                    edges[settings.bins] = *high;
                    let bin = (0..settings.bins).find(|&k| *x >= edges[k] && *x < edges[k + 1]);
                    let Some(bin) = bin else { continue 'points };
                    cell = cell * settings.bins + bin;
                }
                counts[cell] += 1.0;
            }
            counts
        };
        let distribution = |points: &Array2<f64>| {
            let counts: Vec<f64> = counts(points)
                .iter()
                .map(|n| n + settings.pseudo_count)
                .collect();
            let total: f64 = counts.iter().sum();
            counts.iter().map(|n| n / total).collect::<Vec<_>>()
        };
        let (p, q) = (distribution(data), distribution(generated));
        p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum()
    }

    #[test]
    fn the_same_series_does_not_diverge() {
        for dimensions in [1, 3, 8] {
            let series = normal(500, dimensions, 0.0, 1);
            for method in [
                DivergenceMethod::Bins(BinSettings::default()),
                DivergenceMethod::Mixture(MixtureSettings::default()),
                DivergenceMethod::published(dimensions),
            ] {
                let found =
                    state_space_divergence(series.view(), series.view(), &method, &mut random(2));
                assert_eq!(found.unwrap().unwrap().value, 0.0, "{method:?}");
            }
        }
        assert_eq!(DivergenceMethod::published(5).name(), "bins");
        assert_eq!(DivergenceMethod::published(6).name(), "mixture");
    }

    /// Two Gaussians of variance 1, 1/2 apart: KL = (1/2)^2 / 2. Fine bins lose little of it.
    #[test]
    fn binned_gaussians() {
        let (p, q) = (normal(1_000_000, 1, 0.0, 1), normal(1_000_000, 1, 0.5, 2));
        for range in [BinRange::Margin, BinRange::Extremes] {
            let settings = BinSettings {
                range,
                ..BinSettings::default()
            };
            let found = binned_divergence(p.view(), q.view(), &settings)
                .unwrap()
                .unwrap();
            assert!((found - 0.125).abs() < 0.004, "{found}");
        }
        // Of the part within two deviations, in closed form: E[x^2] and E[x] of p cut off there, and of how much of q is
        // within. ln p/q = 1/8 - x/2 - ln(P/Q), of which the mean under p is 1/8 - ln(P/Q), by symmetry.
        let settings = BinSettings {
            range: BinRange::TwoDeviations,
            bins: 100,
            ..BinSettings::default()
        };
        let found = binned_divergence(p.view(), q.view(), &settings)
            .unwrap()
            .unwrap();
        // P(|x| < 2), and of the shifted: P(-2.5 < x < 1.5).
        let (within_p, within_q) = (0.954_499_7_f64, 0.926_983_1_f64);
        assert!(
            (found - (0.125 - (within_p / within_q).ln())).abs() < 0.004,
            "{found}"
        );
    }

    /// A bin holds its lower end and not its upper one; what is outside counts for nothing.
    #[test]
    fn the_ends_of_bins() {
        let data = array![[0.0], [1.0], [2.0], [4.0]];
        let settings = BinSettings {
            bins: 4,
            range: BinRange::Extremes,
            pseudo_count: 1e-9,
        };
        // Of the data, 0, 1 and 2 are in bins 0, 1 and 2; 4 is the upper end. The model has them by 1 : 1 : 2.
        let generated = array![[0.5], [1.0], [2.0], [2.99], [4.0], [-0.1], [f64::NAN]];
        let found = binned_divergence(data.view(), generated.view(), &settings)
            .unwrap()
            .unwrap();
        let third = 1.0 / 3.0f64;
        let want = third * (2.0 * (4.0 * third).ln() + (2.0 * third).ln());
        assert!((found - want).abs() < 1e-7, "{found} {want}");
        let outside = array![[5.0], [f64::INFINITY]];
        let nothing = binned_divergence(data.view(), outside.view(), &settings).unwrap();
        assert_eq!(nothing, None);
    }

    /// An orbit that rests in one cell for longer than 16 bits can count.
    #[test]
    fn counts_do_not_wrap() {
        let data = Array2::from_shape_fn((100_000, 1), |(t, _)| (t % 2) as f64);
        let rest = Array2::from_elem((65_536 * 2, 1), 0.0);
        let found = binned_divergence(data.view(), rest.view(), &BinSettings::default())
            .unwrap()
            .unwrap();
        // Half of the data where there is no more than the pseudo-count of 1e-5 in 131072.
        let want = 0.5 * 0.5f64.ln() + 0.5 * (0.5f64 * 131_072.0 / 1e-5).ln();
        assert!((found - want).abs() < 1e-6, "{found} {want}");
    }

    /// Single Gaussians: KL = |a - b|^2 / (2 sigma^2), also where densities would underflow. The samples' differences
    /// have the standard deviation |a - b| / sigma.
    #[test]
    fn mixtures_of_one() {
        for (a, b, variance) in [
            (array![[0.0, 0.0]], array![[0.3, -0.4]], 1.0),
            (array![[5.0, 1.0]], array![[1.0, 4.0]], 0.3),
            (array![[0.0, 0.0]], array![[300.0, 400.0]], 1.0),
        ] {
            let settings = MixtureSettings {
                variance,
                components: 1,
                ..MixtureSettings::default()
            };
            // A second point, as data have; it has no component.
            let two = ndarray::concatenate![Axis(0), a, array![[9.0, 9.0]]];
            let squared: f64 = (&a - &b).mapv(|x| x * x).sum();
            for symmetric in [false, true] {
                let settings = MixtureSettings {
                    symmetric,
                    ..settings.clone()
                };
                let found =
                    mixture_divergence(two.view(), b.view(), &settings, &mut random(3)).unwrap();
                let want = squared / (2.0 * variance);
                let error = (squared / variance).sqrt() / 1000f64.sqrt()
                    * if symmetric { 0.5f64.sqrt() } else { 1.0 };
                assert!((found.value - want).abs() < 4.0 * error, "{found:?} {want}");
                assert!((found.standard_error / error - 1.0).abs() < 0.1);
            }
        }
    }

    /// By the definition, term by term; and another seed gives another estimate.
    #[test]
    fn log_densities_as_defined() {
        let means = normal(70, 4, 2.0, 5);
        let samples = normal(50, 4, 1.0, 6);
        let mixture = Mixture::new(means.clone(), 0.3);
        let found = mixture.log_densities(samples.view());
        for (sample, found) in samples.outer_iter().zip(&found) {
            let sum: f64 = means
                .outer_iter()
                .map(|mean| (-(&sample - &mean).mapv(|x| x * x).sum() / 0.6).exp())
                .sum();
            assert!((found - (sum / 70.0).ln()).abs() < 1e-11);
        }
        let settings = MixtureSettings::default();
        let by = |seed| {
            mixture_divergence(means.view(), samples.view(), &settings, &mut random(seed))
                .unwrap()
                .value
        };
        assert!(by(1) == by(1) && by(1) != by(2));
    }

    /// The size that recordings of EEG have: 0.3 s on one core, with room for a busy machine.
    #[test]
    fn mixtures_are_fast() {
        let (p, q) = (normal(10_000, 64, 0.0, 1), normal(10_000, 64, 0.1, 2));
        let begun = Instant::now();
        let settings = MixtureSettings::default();
        mixture_divergence(p.view(), q.view(), &settings, &mut random(3)).unwrap();
        let took = begun.elapsed();
        println!("1000 samples, 10000 components, 64 dimensions: {took:?}");
        assert!(took.as_secs_f64() < 5.0, "{took:?}");
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let series = normal(20, 2, 0.0, 1);
        let bins = |data: &Array2<f64>, generated: &Array2<f64>, settings: &BinSettings| {
            binned_divergence(data.view(), generated.view(), settings)
        };
        let settings = BinSettings::default();
        assert!(bins(&series, &normal(20, 3, 0.0, 1), &settings).is_err());
        assert!(bins(&normal(1, 2, 0.0, 1), &series, &settings).is_err());
        assert!(bins(&Array2::zeros((20, 0)), &Array2::zeros((20, 0)), &settings).is_err());
        assert!(bins(&Array2::ones((20, 2)), &series, &settings).is_err());
        assert!(bins(&series.mapv(|_| f64::NAN), &series, &settings).is_err());
        assert!(bins(&normal(20, 27, 0.0, 1), &normal(20, 27, 0.0, 1), &settings).is_err());
        for settings in [
            BinSettings {
                bins: 0,
                ..BinSettings::default()
            },
            BinSettings {
                pseudo_count: 0.0,
                ..BinSettings::default()
            },
        ] {
            assert!(bins(&series, &series, &settings).is_err());
        }
        let mixture = |generated: &Array2<f64>, settings: &MixtureSettings| {
            mixture_divergence(series.view(), generated.view(), settings, &mut random(1))
        };
        let settings = MixtureSettings::default();
        assert!(mixture(&Array2::zeros((0, 2)), &settings).is_err());
        assert!(mixture(&series.mapv(|_| f64::INFINITY), &settings).is_err());
        for settings in [
            MixtureSettings {
                variance: f64::NAN,
                ..MixtureSettings::default()
            },
            MixtureSettings {
                components: 0,
                ..MixtureSettings::default()
            },
            MixtureSettings {
                samples: 1,
                ..MixtureSettings::default()
            },
        ] {
            assert!(mixture(&series, &settings).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Only occupied cells are stored, and the sum is that over the whole grid; it is never negative.
        #[test]
        fn sparse_is_dense(
            seed in 0u64..1000,
            dimensions in 1usize..4,
            bins in 1usize..7,
            shift in -1.0..1.0f64,
            pseudo_count in prop::sample::select(vec![1e-5, 0.3]),
            range in prop::sample::select(vec![BinRange::Margin, BinRange::TwoDeviations, BinRange::Extremes]),
        ) {
            let settings = BinSettings { bins, range, pseudo_count };
            let (p, q) = (normal(60, dimensions, 0.0, seed), normal(45, dimensions, shift, seed + 1));
            let found = binned_divergence(p.view(), q.view(), &settings).unwrap().unwrap();
            prop_assert!((found - dense(&p, &q, &settings)).abs() < 1e-12);
            prop_assert!(found > -1e-12);
        }
    }
}
