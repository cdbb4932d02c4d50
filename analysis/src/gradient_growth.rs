//! How gradients grow through time under generalized teacher forcing, and how much forcing keeps them bounded.
//!
//! Forcing blends every state with the state zbar that the data imply, and the network goes on from there:
//!
//! ```text
//! z~_t = (1 - alpha) z_t + alpha zbar_t,    z_t+1 = F(z~_t, u_t)
//! dz_t/dz_1 = J(z~_t-1) D ... J(z~_1) D,    D = (1 - alpha) I
//! ```
//!
//! zbar is a constant of the gradient. Where only some state variables are forced, D is 1 on the diagonal of the others.
//! On a chaotic orbit the product without forcing grows exponentially; for alpha = 1 it vanishes after a single step. In
//! between lies alpha* = 1 - 1/sigma, with sigma the largest singular value of any Jacobian met: where every variable is
//! forced, |J D| <= 1 then, and the product stays bounded however long it is.
//!
//! F. Hess, Z. Monfared, M. Brenner & D. Durstewitz, "Generalized Teacher Forcing for Learning Chaotic Dynamics", ICML
//! 2023, Propositions 1 and 2.

use nalgebra::DMatrix;
use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::dense::multiply;
use crate::free_run::RunInput;
use crate::non_normality::singular_values;
use crate::{Dynamics, Error, Watch};

/// Rounds in which [`bounding_alpha`] looks for a forcing under which nothing larger is met.
const ROUNDS: usize = 100;

/// What forces a network.
#[derive(Clone, Copy, Debug)]
pub struct Forcing<'a> {
    /// Whether each state variable is forced, `[state]`.
    pub forced: &'a [bool],
    /// The strength alpha, in [0, 1]: 0 leaves the network free, 1 replaces the forced variables by those of the data.
    pub alpha: f64,
}

/// A stretch of data that a network is forced along.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'a> {
    /// The states zbar that the data imply, `[time, state]`, at least two. The first is the state that the network starts
    /// from; of later ones, variables that are not forced are not looked at.
    pub states: ArrayView2<'a, f64>,
    /// The inputs; of a sequence, row t enters the step from state t to state t + 1.
    pub inputs: RunInput<'a>,
}

/// How the gradient grows along a stretch.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientGrowth {
    /// log10 |dz_t/dz_1|_2, `[time]`, t counting from 1: the first is 0. Minus infinity from where the product is zero.
    /// Shorter than the stretch where the network left the finite numbers.
    pub log10_norms: Vec<f64>,
    /// The largest singular value of any Jacobian on the way.
    pub largest_singular_value: f64,
}

impl GradientGrowth {
    /// The decimal logarithm of the geometric mean of the growth in a step, log10 |dz_T/dz_1|_2 / (T - 1); NaN for a
    /// single state.
    pub fn log10_per_step(&self) -> f64 {
        let last = self.log10_norms.last().copied().unwrap_or(f64::NAN);
        last / (self.log10_norms.len().saturating_sub(1)) as f64
    }
}

/// Measures how the gradient dz_t/dz_1 grows along a stretch of data, under forcing.
///
/// Returns the decimal logarithm of its spectral norm at every t and the largest singular value of the Jacobians, see
/// [`GradientGrowth`].
///
/// # Arguments
/// - `dynamics`: the map, with its exact Jacobian.
/// - `stretch`: states that the data imply, and inputs.
/// - `forcing`: which variables are forced, and how strongly.
///
/// # Method
/// The product of Jacobians is scaled to length one at every step and the logarithm of the length added up, so that it can
/// neither overflow nor vanish; its spectral norm is its largest singular value.
///
/// # Errors
/// [`Error::Shape`] where states, inputs or the forced variables do not fit the map; [`Error::TooFew`] below two states;
/// [`Error::NotFinite`] where the states are not; [`Error::Setting`] for an alpha out of [0, 1];
/// [`Error::SingularValuesNotConverged`].
///
/// # Reference
/// Hess et al. 2023, equation of the Jacobian product and Proposition 2.
pub fn gradient_growth<D: Dynamics + ?Sized>(
    dynamics: &D,
    stretch: &Stretch<'_>,
    forcing: &Forcing<'_>,
) -> Result<GradientGrowth, Error> {
    let dim = dynamics.state_dim();
    let times = stretch.states.nrows();
    check(dynamics, stretch, forcing)?;
    // D: by how much the gradient by each variable passes the forcing.
    let kept: Vec<f64> = forcing
        .forced
        .iter()
        .map(|forced| if *forced { 1.0 - forcing.alpha } else { 1.0 })
        .collect();
    let mut product: Vec<f64> = (0..dim * dim)
        .map(|k| f64::from(u8::from(k % (dim + 1) == 0)))
        .collect();
    let mut carried = vec![0.0; dim * dim];
    let mut jacobian = vec![0.0; dim * dim];
    let mut state = stretch.states.row(0).to_vec();
    let mut next = vec![0.0; dim];
    let mut current = vec![0.0; dynamics.input_dim()];
    let mut log10_norms = vec![0.0];
    let mut log_length = 0.0;
    let mut largest = 0.0f64;
    for t in 0..times - 1 {
        // z~_t
        let implied = stretch.states.row(t);
        for ((z, zbar), forced) in state.iter_mut().zip(implied).zip(forcing.forced) {
            if *forced {
                *z = (1.0 - forcing.alpha) * *z + forcing.alpha * zbar;
            }
        }
        let input = stretch.inputs.at(t, &mut current);
        dynamics.step_with_jacobian(&state, input, &mut next, &mut jacobian);
        std::mem::swap(&mut state, &mut next);
        if !state.iter().chain(&jacobian).all(|x| x.is_finite()) {
            break;
        }
        largest = largest_singular_value(&jacobian, dim, largest)?;
        // J D P
        for (row, d) in product.chunks_exact_mut(dim).zip(&kept) {
            row.iter_mut().for_each(|x| *x *= d);
        }
        multiply(&jacobian, &product, dim, &mut carried);
        std::mem::swap(&mut product, &mut carried);
        let length = product.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length == 0.0 {
            log10_norms.resize(times, f64::NEG_INFINITY);
            break;
        }
        product.iter_mut().for_each(|x| *x /= length);
        log_length += length.log10();
        log10_norms.push(log_length + largest_singular_value(&product, dim, 0.0)?.log10());
    }
    Ok(GradientGrowth {
        log10_norms,
        largest_singular_value: largest,
    })
}

/// The same along several stretches at once, in their order.
///
/// # Errors
/// As [`gradient_growth`]; of several errors one.
pub fn gradient_growths<D: Dynamics + ?Sized>(
    dynamics: &D,
    stretches: &[Stretch<'_>],
    forcing: &Forcing<'_>,
) -> Result<Vec<GradientGrowth>, Error> {
    stretches
        .par_iter()
        .map(|stretch| gradient_growth(dynamics, stretch, forcing))
        .collect()
}

/// The range of several growths at every t.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GrowthRange {
    /// The least log10 |dz_t/dz_1|_2, `[time]`.
    pub low: Vec<f64>,
    /// The median; of an even number, the mean of the two in the middle.
    pub median: Vec<f64>,
    /// The largest.
    pub high: Vec<f64>,
    /// Stretches that reach to this t.
    pub count: Vec<usize>,
}

/// Median and range over stretches, to the end of the longest.
pub fn growth_range(growths: &[GradientGrowth]) -> GrowthRange {
    let times = growths.iter().map(|growth| growth.log10_norms.len()).max();
    let mut range = GrowthRange::default();
    for t in 0..times.unwrap_or(0) {
        let norms = growths
            .iter()
            .filter_map(|growth| growth.log10_norms.get(t));
        let mut norms: Vec<f64> = norms.copied().collect();
        norms.sort_by(f64::total_cmp);
        range.low.push(norms.first().copied().unwrap_or(f64::NAN));
        range.median.push(median_of_sorted(&norms));
        range.high.push(norms.last().copied().unwrap_or(f64::NAN));
        range.count.push(norms.len());
    }
    range
}

/// Least, median and largest [`log10_per_step`](GradientGrowth::log10_per_step) of several growths; NaN of none.
pub fn rate_range(growths: &[GradientGrowth]) -> [f64; 3] {
    let mut rates: Vec<f64> = growths.iter().map(GradientGrowth::log10_per_step).collect();
    rates.retain(|rate| !rate.is_nan());
    rates.sort_by(f64::total_cmp);
    let end = |rate: Option<&f64>| rate.copied().unwrap_or(f64::NAN);
    [
        end(rates.first()),
        median_of_sorted(&rates),
        end(rates.last()),
    ]
}

/// The median of sorted numbers; NaN of none.
fn median_of_sorted(sorted: &[f64]) -> f64 {
    let (below, above) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
    match (sorted.get(below), sorted.get(above)) {
        // Equal also where both are infinite.
        (Some(a), Some(b)) if a == b => *a,
        (Some(a), Some(b)) => 0.5 * (a + b),
        _ => f64::NAN,
    }
}

/// The forcing that bounds the gradient along some stretches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundingAlpha {
    /// alpha* = 1 - 1/sigma, in [0, 1).
    pub alpha: f64,
    /// sigma, the largest singular value of any Jacobian met, at least 1.
    pub sigma: f64,
    /// Whether sigma bounds the Jacobians met under alpha* itself: then |dz_t/dz_1|_2 <= 1 along these stretches, where
    /// every variable is forced.
    pub settled: bool,
}

/// alpha* = 1 - 1/sigma for Jacobians of singular values up to `sigma`; 0 for a sigma up to 1, NaN for one that is.
///
/// Hess et al. 2023, Proposition 2.
pub fn alpha_for(sigma: f64) -> f64 {
    if sigma <= 1.0 { 0.0 } else { 1.0 - 1.0 / sigma }
}

/// Finds the forcing alpha* under which no gradient along the stretches can grow.
///
/// Returns it with the largest singular value that it comes from, see [`BoundingAlpha`].
///
/// # Method
/// Which Jacobians are met depends on the forcing. It begins with those at the states of the data themselves (alpha = 1);
/// then the network is run under the alpha* of the largest singular value so far, until it meets none that is larger. That
/// ends for maps with bounded Jacobians, as sigma only grows.
///
/// # Errors
/// As [`gradient_growth`]; [`Error::Stopped`] where `watch` says so.
pub fn bounding_alpha<D: Dynamics + ?Sized>(
    dynamics: &D,
    stretches: &[Stretch<'_>],
    forced: &[bool],
    watch: Watch,
) -> Result<BoundingAlpha, Error> {
    let mut largest_under = |alpha: f64, round: usize| -> Result<f64, Error> {
        Error::check_watch(watch, round as f64 / ROUNDS as f64)?;
        let growths = gradient_growths(dynamics, stretches, &Forcing { forced, alpha })?;
        let largest = growths.iter().map(|growth| growth.largest_singular_value);
        Ok(largest.fold(0.0, f64::max))
    };
    let mut sigma = largest_under(1.0, 0)?.max(1.0);
    for round in 1..ROUNDS {
        let largest = largest_under(alpha_for(sigma), round)?;
        if largest <= sigma {
            return Ok(BoundingAlpha {
                alpha: alpha_for(sigma),
                sigma,
                settled: true,
            });
        }
        sigma = largest;
    }
    Ok(BoundingAlpha {
        alpha: alpha_for(sigma),
        sigma,
        settled: false,
    })
}

/// That everything fits the map.
fn check<D: Dynamics + ?Sized>(
    dynamics: &D,
    stretch: &Stretch<'_>,
    forcing: &Forcing<'_>,
) -> Result<(), Error> {
    let dim = dynamics.state_dim();
    let (times, columns) = stretch.states.dim();
    Error::check_shape("states, columns", dim, columns)?;
    Error::check_shape("forced variables", dim, forcing.forced.len())?;
    if times < 2 {
        return Err(Error::TooFew {
            what: "states of the data",
            needed: 2,
            found: times,
        });
    }
    stretch.inputs.check(dynamics.input_dim(), times - 1)?;
    if !stretch.states.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite {
            what: "a state of the data",
        });
    }
    if !(0.0..=1.0).contains(&forcing.alpha) {
        return Err(Error::Setting {
            what: "alpha",
            found: forcing.alpha.to_string(),
            allowed: "a number from 0 to 1",
        });
    }
    Ok(())
}

/// The largest singular value of a row-major square matrix, or `least` where it is not above that.
fn largest_singular_value(matrix: &[f64], dim: usize, least: f64) -> Result<f64, Error> {
    // |J|_2 <= |J|_F and |J|_2^2 <= |J|_1 |J|_inf cost far less than the singular values.
    let frobenius = matrix.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut columns = vec![0.0; dim];
    let mut row_sum = 0.0f64;
    for row in matrix.chunks_exact(dim) {
        row_sum = row_sum.max(row.iter().map(|x| x.abs()).sum());
        for (sum, x) in columns.iter_mut().zip(row) {
            *sum += x.abs();
        }
    }
    let column_sum = columns.into_iter().fold(0.0, f64::max);
    if frobenius.min((row_sum * column_sum).sqrt()) <= least {
        return Ok(least);
    }
    let values = singular_values(&DMatrix::from_row_slice(dim, dim, matrix))?;
    Ok(values.first().copied().unwrap_or(0.0).max(least))
}
