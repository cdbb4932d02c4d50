//! What a network does once a unit is lesioned, its parameters are perturbed, or noise is added: responses on trials,
//! how far trajectories have moved, and what became of the fixed points.
//!
//! A lesion is part of the network itself, [`Network::with_lesion`]; here are the comparisons.

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, Axis, s};
use nullcline_models::architecture::Architecture;
use nullcline_models::network::Network;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rayon::prelude::*;

use crate::dense::{Lu, identity_minus, infinity_distance, infinity_norm};
use crate::fixed_points::{FixedPoint, FixedPointSearch, FixedPointSettings, find_fixed_points};
use crate::{Dynamics, Error};

/// The least leak a = dt / tau that a perturbation leads to, that of training.
const LEAST_LEAK: f64 = 1e-6;

/// What a network did on trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// States `[trial, time + 1, state]`; row 0 in time is the initial state.
    pub states: Array3<f64>,
    /// Outputs `[trial, time, output]`; row t is read from row t + 1 of the states.
    pub outputs: Array3<f64>,
}

/// Runs a network on trials, in f64.
///
/// Returns its states and outputs. What leaves the finite numbers stays in them.
///
/// # Arguments
/// - `network`: the network, with or without a lesion.
/// - `inputs`: `[trial, time, input]`.
/// - `initial`: the state before the first step, `[trial, state]`.
///
/// # Errors
/// [`Error::Shape`] where `inputs` or `initial` does not fit the network or the other.
pub fn respond(
    network: &Network,
    inputs: ArrayView3<'_, f64>,
    initial: ArrayView2<'_, f64>,
) -> Result<Response, Error> {
    run_trials(network, inputs, initial, |_| |_: &mut [f64]| {})
}

/// Runs a network on trials with noise: x(t + 1) = F(x(t), u(t)) + sd xi(t), xi standard normal and independent in time
/// and over the dimensions of the state.
///
/// Returns and arguments are those of [`respond`], and
/// - `noise_sd`: the standard deviation, in units of the state, at least 0.
/// - `stream`: from the number of a trial to its random numbers, so that neither the number of threads nor another trial
///   changes what it gets. They are drawn step by step, and within a step in the order of the state.
///
/// # Errors
/// As [`respond`]; [`Error::Setting`] where `noise_sd` is negative or not finite.
pub fn respond_with_noise<R: Rng>(
    network: &Network,
    inputs: ArrayView3<'_, f64>,
    initial: ArrayView2<'_, f64>,
    noise_sd: f64,
    stream: impl Fn(usize) -> R + Sync,
) -> Result<Response, Error> {
    if !(noise_sd.is_finite() && noise_sd >= 0.0) {
        return Err(Error::Setting {
            what: "noise_sd",
            found: noise_sd.to_string(),
            allowed: "a finite number, at least 0",
        });
    }
    run_trials(network, inputs, initial, |trial| {
        let mut random = stream(trial);
        move |state: &mut [f64]| {
            for x in state {
                *x += noise_sd * random.sample::<f64, _>(StandardNormal);
            }
        }
    })
}

/// The trials side by side; `disturbance` gives for each what is done to every state but the first.
fn run_trials<D: FnMut(&mut [f64])>(
    network: &Network,
    inputs: ArrayView3<'_, f64>,
    initial: ArrayView2<'_, f64>,
    disturbance: impl Fn(usize) -> D + Sync,
) -> Result<Response, Error> {
    let (trials, steps, input_dim) = inputs.dim();
    let (dim, output_dim) = (network.state_dim(), network.architecture().outputs);
    Error::check_shape("inputs, channels", network.architecture().inputs, input_dim)?;
    Error::check_shape("initial states, rows", trials, initial.nrows())?;
    Error::check_shape("initial states, columns", dim, initial.ncols())?;
    let of_trials: Vec<(Array2<f64>, Array2<f64>)> = (0..trials)
        .into_par_iter()
        .map(|trial| {
            let mut disturb = disturbance(trial);
            let mut states = Array2::zeros((steps + 1, dim));
            let mut outputs = Array2::zeros((steps, output_dim));
            let mut state = initial.row(trial).to_vec();
            let mut next = vec![0.0; dim];
            states.row_mut(0).assign(&initial.row(trial));
            for (step, input) in inputs
                .index_axis(Axis(0), trial)
                .rows()
                .into_iter()
                .enumerate()
            {
                network.step(&state, &input.to_vec(), &mut next);
                disturb(&mut next);
                std::mem::swap(&mut state, &mut next);
                for (to, x) in states.row_mut(step + 1).iter_mut().zip(&state) {
                    *to = *x;
                }
                for (to, y) in outputs
                    .row_mut(step)
                    .iter_mut()
                    .zip(network.readout(&state))
                {
                    *to = y;
                }
            }
            (states, outputs)
        })
        .collect();
    let mut response = Response {
        states: Array3::zeros((trials, steps + 1, dim)),
        outputs: Array3::zeros((trials, steps, output_dim)),
    };
    for (trial, (states, outputs)) in of_trials.iter().enumerate() {
        response
            .states
            .index_axis_mut(Axis(0), trial)
            .assign(states);
        response
            .outputs
            .index_axis_mut(Axis(0), trial)
            .assign(outputs);
    }
    Ok(response)
}

/// The mean rate of every unit over trajectories, `[unit]`: what clamping a unit to its mean takes away is its
/// variation alone.
///
/// `states` are `[trial, time + 1, state]`, as [`respond`] gives them; time 0 is left out.
///
/// # Errors
/// [`Error::Shape`] where the states are not the network's, [`Error::TooFew`] where there is no step.
pub fn mean_rates(network: &Network, states: ArrayView3<'_, f64>) -> Result<Vec<f64>, Error> {
    Error::check_shape("states", network.state_dim(), states.dim().2)?;
    let mut sums = vec![0.0; network.architecture().units];
    let mut count = 0;
    for trajectory in states.outer_iter() {
        for state in trajectory.rows().into_iter().skip(1) {
            for (sum, rate) in sums.iter_mut().zip(network.rates(&state.to_vec())) {
                *sum += rate;
            }
            count += 1;
        }
    }
    check_steps(count)?;
    Ok(sums.into_iter().map(|sum| sum / count as f64).collect())
}

/// The spread of trajectories: the root mean square distance of their states from the mean state.
///
/// `states` are `[trial, time + 1, state]`; time 0, where all may begin alike, is left out.
///
/// # Errors
/// [`Error::TooFew`] where there is no step.
pub fn spread(states: ArrayView3<'_, f64>) -> Result<f64, Error> {
    let visited = visited(states);
    let count = visited.dim().0 * visited.dim().1;
    check_steps(count)?;
    let mean = visited.sum_axis(Axis(1)).sum_axis(Axis(0)) / count as f64;
    let squares = visited
        .rows()
        .into_iter()
        .map(|state| squared_distance(state.iter(), mean.iter()));
    Ok((squares.sum::<f64>() / count as f64).sqrt())
}

/// How far trajectories have moved, in their own spread: the root mean square over trials and time of the distance
/// between the states before and after, over the [`spread`] of those before.
///
/// 0 where nothing has changed; about sqrt(2) where the two have the same distribution and nothing else in common. `None`
/// where it is no number: the trajectories before do not move, or those after have left the finite numbers.
///
/// # Arguments
/// - `before`, `after`: states `[trial, time + 1, state]` on the same trials; time 0, the common start, is left out.
///
/// # Errors
/// [`Error::Shape`] where the two differ in shape, [`Error::TooFew`] where there is no step.
pub fn trajectory_distance(
    before: ArrayView3<'_, f64>,
    after: ArrayView3<'_, f64>,
) -> Result<Option<f64>, Error> {
    for (axis, what) in ["states, trials", "states, steps", "states, dimensions"]
        .into_iter()
        .enumerate()
    {
        let axis = Axis(axis);
        Error::check_shape(what, before.len_of(axis), after.len_of(axis))?;
    }
    let spread = spread(before)?;
    let (before, after) = (visited(before), visited(after));
    let squares = before.rows().into_iter().zip(after.rows());
    let sum: f64 = squares
        .map(|(x, y)| squared_distance(x.iter(), y.iter()))
        .sum();
    let count = before.dim().0 * before.dim().1;
    let distance = (sum / count as f64).sqrt() / spread;
    Ok(distance.is_finite().then_some(distance))
}

fn visited(states: ArrayView3<'_, f64>) -> ArrayView3<'_, f64> {
    let from = states.dim().1.min(1);
    states.slice_move(s![.., from.., ..])
}

fn check_steps(count: usize) -> Result<(), Error> {
    if count > 0 {
        Ok(())
    } else {
        Err(Error::TooFew {
            what: "steps of trajectories",
            needed: 1,
            found: 0,
        })
    }
}

fn squared_distance<'a>(
    a: impl IntoIterator<Item = &'a f64>,
    b: impl IntoIterator<Item = &'a f64>,
) -> f64 {
    a.into_iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Parameters of a network that are perturbed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterGroup {
    /// The recurrent matrix and, where there is one, the matrix into the hidden layer.
    Recurrent,
    /// The time constants tau = dt / a of leaky networks, a the leak.
    TimeConstants,
    /// All parameters that are trained.
    Trained,
}

impl ParameterGroup {
    /// Every group.
    pub const ALL: [Self; 3] = [Self::Recurrent, Self::TimeConstants, Self::Trained];

    /// The name in files: `recurrent`, `time_constants`, `all`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recurrent => "recurrent",
            Self::TimeConstants => "time_constants",
            Self::Trained => "all",
        }
    }

    /// Where its parameters lie in the flat vector of a network; nowhere where the network has none of them. The
    /// diagonal that a PLRNN's W lacks is none.
    fn places(self, architecture: &Architecture) -> Vec<usize> {
        let tensors = architecture.tensors();
        let chosen = tensors.into_iter().filter(|tensor| match self {
            Self::Recurrent => tensor.name == "recurrent" || tensor.name == "hidden",
            Self::TimeConstants => tensor.name == "leak",
            Self::Trained => tensor.trainable,
        });
        let trainable = architecture.trainable();
        chosen
            // Leaks may be perturbed that are not trained.
            .flat_map(|tensor| tensor.range.map(move |at| (at, tensor.trainable)))
            .filter(|&(at, whole)| trainable[at] || !whole)
            .map(|(at, _)| at)
            .collect()
    }

    /// Whether a network has any of its parameters.
    pub fn applies(self, architecture: &Architecture) -> bool {
        !self.places(architecture).is_empty()
    }
}

/// How the direction of a perturbation is drawn, before it is brought to its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Every element standard normal: uniform on the sphere.
    TwoSided,
    /// The moduli of such elements: nothing becomes less.
    OneSided,
}

/// The flat parameter vector of a network with one group perturbed by a relative norm.
///
/// theta' = theta + eps |theta|_2 d / |d|_2
///
/// with theta the parameters of the group and d a random direction, so that |theta' - theta|_2 = eps |theta|_2. Of the time
/// constants theta is tau = 1 / a in steps, and the leak a that comes of it is kept in [1e-6, 1], beyond which dt / tau has no
/// meaning: there, and where leaks are trained and belong to a group, a two-sided perturbation can come out shorter.
/// A network is then made by [`Network::from_f64`].
///
/// # Arguments
/// - `network`: the network.
/// - `group`: what is perturbed.
/// - `relative_norm`: eps, at least 0.
/// - `direction`: how d is drawn. One-sided directions of the time constants are those of the reference.
/// - `random`: the random stream; the same numbers give the same direction at every relative norm.
///
/// # Errors
/// [`Error::Setting`] where `relative_norm` is negative or not finite, [`Error::TooFew`] where the network has no parameter
/// of the group, [`Error::NotFinite`] where the group's norm is not.
///
/// # Reference
/// S. Khajehabdollahi, R. Zeraati, E. Giannakakis, T. J. Schäfer, G. Martius and A. Levina, Emergent mechanisms for long
/// timescales depend on training curriculum and affect performance in memory tasks, ICLR 2024.
pub fn perturbed_parameters<R: Rng + ?Sized>(
    network: &Network,
    group: ParameterGroup,
    relative_norm: f64,
    direction: Direction,
    random: &mut R,
) -> Result<Vec<f64>, Error> {
    if !(relative_norm.is_finite() && relative_norm >= 0.0) {
        return Err(Error::Setting {
            what: "relative norm",
            found: relative_norm.to_string(),
            allowed: "a finite number, at least 0",
        });
    }
    let architecture = network.architecture();
    let mut parameters = network.parameters().to_vec();
    let places = group.places(architecture);
    if places.is_empty() {
        return Err(Error::TooFew {
            what: "parameters of the group",
            needed: 1,
            found: 0,
        });
    }
    if relative_norm == 0.0 {
        return Ok(parameters);
    }
    let as_time_constant = group == ParameterGroup::TimeConstants;
    let theta: Vec<f64> = places
        .iter()
        .map(|&at| match as_time_constant {
            true => parameters[at].recip(),
            false => parameters[at],
        })
        .collect();
    let d: Vec<f64> = places
        .iter()
        .map(|_| {
            let normal: f64 = random.sample(StandardNormal);
            match direction {
                Direction::TwoSided => normal,
                Direction::OneSided => normal.abs(),
            }
        })
        .collect();
    let factor = relative_norm * norm(&theta) / norm(&d);
    if !factor.is_finite() {
        return Err(Error::NotFinite {
            what: "the norm of the group's parameters",
        });
    }
    for ((&at, theta), d) in places.iter().zip(theta).zip(d) {
        let moved = theta + factor * d;
        parameters[at] = match as_time_constant {
            // From below 1 step on, also below 0, a unit is as fast as a unit can be.
            true => moved.max(1.0).recip(),
            false => moved,
        };
    }
    if let Some(leak) = architecture.tensor("leak")
        && places.contains(&leak.range.start)
    {
        for leak in &mut parameters[leak.range] {
            *leak = leak.clamp(LEAST_LEAK, 1.0);
        }
    }
    Ok(parameters)
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// A fixed point that is known already.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownPoint {
    /// The state, `[state]`.
    pub state: Vec<f64>,
    /// Number of eigenvalues beyond the unit circle, where known.
    pub n_unstable: Option<usize>,
}

/// What became of a fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is still there, with as many unstable directions.
    Kept,
    /// It is still there, with another number of unstable directions.
    StabilityChanged,
    /// It is not there any more.
    Lost,
    /// It was not there before.
    New,
}

impl Fate {
    /// The name in tables: `kept`, `stability_changed`, `lost`, `new`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::StabilityChanged => "stability_changed",
            Self::Lost => "lost",
            Self::New => "new",
        }
    }
}

/// A fixed point before and after.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Its place among those before; `None` for a new one.
    pub before: Option<usize>,
    /// Its place among those after; `None` for a lost one.
    pub after: Option<usize>,
    /// The distance between the two, in units of the state.
    pub displacement: Option<f64>,
    /// What became of it.
    pub fate: Fate,
}

/// The fixed points after a change, and what became of those before.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedPointChange {
    /// The search after the change. Its starts are where the points before have gone, where they were, and those given.
    pub search: FixedPointSearch,
    /// The fixed points that it found, without slow ones and rejected candidates, in its order.
    pub after: Vec<KnownPoint>,
    /// A pair for every point before, in their order, then one for every new point, in that of `after`.
    pub pairs: Vec<Pair>,
}

impl FixedPointChange {
    /// How many points had a fate.
    pub fn count(&self, fate: Fate) -> usize {
        self.pairs.iter().filter(|pair| pair.fate == fate).count()
    }
}

/// Searches for the fixed points of a map that has been changed, and says what became of those before.
///
/// # Arguments
/// - `intact`, `changed`: the map before and after, of the same state and input.
/// - `before`: the fixed points of `intact`.
/// - `starts`: starts of the search, `[start, state]`, best from states that the changed map visits; the points before,
///   and where they have gone, are starts as well.
/// - `input`, `settings`: as of [`find_fixed_points`].
///
/// # Method
/// A point before is followed along the fixed points of (1 - s) F + s G, F the map before and G the one after, while s goes
/// from 0 to 1: a linear prediction, Newton's method, and steps in s that are halved where that fails, leads far away, or to
/// another sign of det(I - J), which a path keeps up to a bifurcation; a bifurcation is crossed where the point hardly moves.
/// Where it arrives at a fixed point that the search proves, the two are one point that has moved; where the path ends
/// at a fold before that, or more than one arrive at the same point, all but the nearest are lost. Points after that none
/// has arrived at are new. So a point counts as kept for a reason, however far it goes, but another path from F to G can
/// give another answer.
///
/// # Errors
/// As [`find_fixed_points`]; [`Error::Shape`] where the maps or a state of `before` do not fit each other.
pub fn fixed_points_after<D: Dynamics + ?Sized, E: Dynamics + ?Sized>(
    intact: &D,
    changed: &E,
    before: &[KnownPoint],
    starts: ArrayView2<'_, f64>,
    input: &[f64],
    settings: &FixedPointSettings,
) -> Result<FixedPointChange, Error> {
    let dim = changed.state_dim();
    Error::check_shape("state of the changed map", intact.state_dim(), dim)?;
    Error::check_shape("input of the map before", intact.input_dim(), input.len())?;
    Error::check_shape("input", changed.input_dim(), input.len())?;
    Error::check_shape("starts, columns", dim, starts.ncols())?;
    for point in before {
        Error::check_shape("state", dim, point.state.len())?;
    }
    let ends: Vec<Option<Vec<f64>>> = before
        .par_iter()
        .map(|point| Follower::new(intact, changed, input).follow(&point.state))
        .collect();
    // Row i is where point i has gone, or else where it was.
    let mut all = Array2::zeros((2 * before.len() + starts.nrows(), dim));
    let rows = before.iter().zip(&ends);
    let first = rows.map(|(point, end)| end.as_ref().unwrap_or(&point.state));
    let states = first.chain(before.iter().map(|point| &point.state));
    for (mut row, state) in all.rows_mut().into_iter().zip(states) {
        row.assign(&ArrayView1::from(state));
    }
    all.slice_mut(s![2 * before.len().., ..]).assign(&starts);
    let search = find_fixed_points(changed, all.view(), input, settings, &mut |_| true)?;
    let fixed: Vec<&FixedPoint> = search.fixed().collect();
    let after: Vec<KnownPoint> = fixed
        .iter()
        .map(|point| KnownPoint {
            state: point.state.clone(),
            n_unstable: point.n_unstable,
        })
        .collect();
    // Place among the points after, and distance.
    let arrived: Vec<Option<(usize, f64)>> = (0..before.len())
        .map(|i| {
            ends[i].as_ref()?;
            let id = search.led_to[i];
            let place = fixed.iter().position(|point| point.id == id)?;
            let squares = squared_distance(&before[i].state, &after[place].state);
            Some((place, squares.sqrt()))
        })
        .collect();
    let pairs = pair(before, &after, &arrived);
    Ok(FixedPointChange {
        search,
        after,
        pairs,
    })
}

/// A pair for every point before, in their order, then one for every new point, in theirs.
fn pair(
    before: &[KnownPoint],
    after: &[KnownPoint],
    arrived: &[Option<(usize, f64)>],
) -> Vec<Pair> {
    // Of those that arrive at one point the nearest, and of equally near ones the first.
    let mut owner: Vec<Option<(usize, f64)>> = vec![None; after.len()];
    for (i, arrival) in arrived.iter().enumerate() {
        if let Some((place, distance)) = *arrival
            && owner[place].is_none_or(|(_, least)| distance < least)
        {
            owner[place] = Some((i, distance));
        }
    }
    let of_old = before.iter().zip(arrived).enumerate();
    let mut pairs: Vec<Pair> = of_old
        .map(|(i, (point, arrival))| {
            let kept = arrival.filter(|(place, _)| owner[*place].is_some_and(|(j, _)| j == i));
            let fate = match kept {
                None => Fate::Lost,
                Some((place, _)) => match (point.n_unstable, after[place].n_unstable) {
                    (Some(before), Some(after)) if before != after => Fate::StabilityChanged,
                    _ => Fate::Kept,
                },
            };
            Pair {
                before: Some(i),
                after: kept.map(|(place, _)| place),
                displacement: kept.map(|(_, distance)| distance),
                fate,
            }
        })
        .collect();
    let new = (0..after.len()).filter(|&place| owner[place].is_none());
    pairs.extend(new.map(|place| Pair {
        before: None,
        after: Some(place),
        displacement: None,
        fate: Fate::New,
    }));
    pairs
}

/// The first step in s, and the largest.
const PATH_STEPS: [f64; 2] = [1.0 / 16.0, 1.0 / 4.0];
/// A path that does not go on in steps of this has come to a fold.
const LEAST_PATH_STEP: f64 = 1.0 / 65536.0;
/// The most steps, accepted or not.
const MAX_PATH_STEPS: usize = 500;
/// The farthest that a point goes in a step, and Newton's method from its prediction, in units of max(1, |x|_inf): beyond
/// that it may have come to another path.
const PATH_REACH: f64 = 0.1;
/// The farthest that a point goes, in the same units and in a step of the least size, where the sign of det(I - J) changes.
const CROSSING_REACH: f64 = 1e-3;
/// Newton steps from a prediction.
const MAX_CORRECTIONS: usize = 6;
/// The residual on the path, in units of max(1, |x|_inf).
const PATH_RESIDUAL: f64 = 1e-11;

/// Follows fixed points from one map to another.
struct Follower<'a, D: ?Sized, E: ?Sized> {
    intact: &'a D,
    changed: &'a E,
    input: &'a [f64],
    next: [Vec<f64>; 2],
    jacobian: [Vec<f64>; 2],
    factors: Lu,
}

impl<'a, D: Dynamics + ?Sized, E: Dynamics + ?Sized> Follower<'a, D, E> {
    fn new(intact: &'a D, changed: &'a E, input: &'a [f64]) -> Self {
        let dim = intact.state_dim();
        Follower {
            intact,
            changed,
            input,
            next: [vec![0.0; dim], vec![0.0; dim]],
            jacobian: [vec![0.0; dim * dim], vec![0.0; dim * dim]],
            factors: Lu::new(dim),
        }
    }

    /// Where the path from `start` arrives at s = 1; `None` where it ends before.
    fn follow(&mut self, start: &[f64]) -> Option<Vec<f64>> {
        let (mut x, mut sign) = self.correct(start.to_vec(), 0.0, f64::INFINITY)?;
        let mut s = 0.0;
        let mut slope = vec![0.0; start.len()];
        let mut step = PATH_STEPS[0];
        for _ in 0..MAX_PATH_STEPS {
            let to = if s + step < 1.0 { s + step } else { 1.0 };
            let scale = infinity_norm(&x).max(1.0);
            let predicted = x.iter().zip(&slope).map(|(x, slope)| x + (to - s) * slope);
            let corrected = self.correct(predicted.collect(), to, PATH_REACH * scale);
            let allowed = |new_sign: i8| match (new_sign == sign, step < 2.0 * LEAST_PATH_STEP) {
                (true, _) => PATH_REACH * scale,
                (false, true) => CROSSING_REACH * scale,
                (false, false) => -1.0,
            };
            match corrected.filter(|(y, sign)| infinity_distance(&x, y) <= allowed(*sign)) {
                Some((y, _)) if to == 1.0 => return Some(y),
                Some((y, new_sign)) => {
                    for ((slope, x), y) in slope.iter_mut().zip(&x).zip(&y) {
                        *slope = (y - x) / (to - s);
                    }
                    (s, x, sign) = (to, y, new_sign);
                    step = (1.5 * step).min(PATH_STEPS[1]);
                }
                None => {
                    step /= 2.0;
                    if step < LEAST_PATH_STEP {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Newton's method for x = (1 - s) F(x) + s G(x), within `reach` of the prediction: the point, and the sign of
    /// det(I - J) there.
    fn correct(&mut self, predicted: Vec<f64>, s: f64, reach: f64) -> Option<(Vec<f64>, i8)> {
        let mut x = predicted.clone();
        for correction in 0..=MAX_CORRECTIONS {
            let [f, g] = &mut self.next;
            let [a, b] = &mut self.jacobian;
            self.intact.step_with_jacobian(&x, self.input, f, a);
            self.changed.step_with_jacobian(&x, self.input, g, b);
            for ((f, g), x) in f.iter_mut().zip(g).zip(&x) {
                *f = x - ((1.0 - s) * *f + s * *g);
            }
            let allowed = PATH_RESIDUAL * infinity_norm(&x).max(1.0);
            let converged = f.iter().all(|f| f.abs() <= allowed);
            for (a, b) in a.iter_mut().zip(b) {
                *a = (1.0 - s) * *a + s * *b;
            }
            let regular = identity_minus(a, x.len()) && self.factors.factor(a);
            if converged {
                let sign = if regular {
                    self.factors.determinant_sign()
                } else {
                    0
                };
                return Some((x, sign));
            }
            if correction == MAX_CORRECTIONS || !regular {
                return None;
            }
            self.factors.solve(f);
            for (x, f) in x.iter_mut().zip(f) {
                *x -= *f;
            }
            // Not where it is no number, either.
            let mut pairs = x.iter().zip(&predicted);
            if !pairs.all(|(x, p)| (x - p).abs() <= reach) {
                return None;
            }
        }
        None
    }
}
