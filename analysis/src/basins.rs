//! Basins of attraction: where trajectories from many starts end.
//!
//! What counts as an end, and how attractors that were not known before are found, is described at [`find_basins`].

use nalgebra::{DMatrix, DVector};
use ndarray::Array2;
use rayon::prelude::*;

use crate::attraction::{AttractingBall, attracting_ball};
use crate::certificates::prove;
use crate::dense::{infinity_distance, infinity_norm};
use crate::linearization::eigenvalues;
use crate::{Dynamics, Error, Watch};

/// Starts between two looks at whether to go on. Attractors found in one chunk are known to the next.
const CHUNK: usize = 256;
/// The first chunk: starts that all have to find an attractor by themselves.
const FIRST_CHUNK: usize = 64;
/// Where two states are one, as a fraction of max(1, |x|_inf).
const SAME: f64 = 1e-6;
/// A trajectory has come back to a state within this fraction of max(1, |x|_inf).
const RETURN: f64 = 1e-8;
/// The same up to rounding: a trajectory that neither comes nearer nor goes on.
const REPEATED: f64 = 4.0 * f64::EPSILON;
/// The residual of a polished cycle, as a fraction of max(1, |x|_inf).
const POLISHED: f64 = 1e-12;
/// A cycle found attracts where its multipliers are below 1 by this; nearer to 1 rounding decides.
const NEUTRAL: f64 = 1e-7;
/// Newton steps that polish a cycle.
const POLISH_STEPS: usize = 4;
/// States that an aperiodic attractor is known by.
const SAMPLE: usize = 256;
/// A trajectory on an aperiodic attractor is compared with its sample every so many steps.
const COMPARED_EVERY: usize = 10;
/// So many of its last 32 comparisons put it there.
const RECURRENCES: u32 = 26;
/// The part of the states of a sample that have the nearest of the others within its reach.
const REACHED: f64 = 0.9;
/// The part of one sample that lies on another where both are of one attractor.
const SAME_PART: f64 = 0.8;
/// Two samples fill the same box where its ends differ by less than this part of its side.
const SAME_BOX: f64 = 0.02;
/// Aperiodic attractors that are told apart; what comes after them is undecided.
const MOST_APERIODIC: usize = 32;

/// A fixed point that is known beforehand.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownPoint {
    /// Its state, `[state]`.
    pub state: Vec<f64>,
    /// The exact fixed point lies this near, in the maximum norm; see [`certify`](crate::certificates::certify).
    pub existence: f64,
}

/// How long starts are followed, and when they have arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct BasinSettings {
    /// Steps after which a start is given up. Default 5000.
    pub steps: usize,
    /// A start has arrived at a stable fixed point where it is this near, in the maximum norm, or nearer where that is
    /// needed to be sure. Infinity for as soon as it is sure. In units of the state. Default 0.01.
    pub arrival: f64,
    /// A start has escaped where |x|_inf is above this, or x is not finite. Default 1e6.
    pub bound: f64,
}

impl Default for BasinSettings {
    fn default() -> Self {
        Self {
            steps: 5000,
            arrival: 0.01,
            bound: 1e6,
        }
    }
}

/// What a set of starts comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A fixed point.
    FixedPoint,
    /// A cycle of two or more steps.
    Cycle,
    /// Bounded motion that does not repeat: chaotic, or quasi-periodic.
    Aperiodic,
    /// Beyond the bound, or beyond the finite numbers.
    Escaped,
    /// Not known after all of the steps: still on the way.
    Undecided,
}

impl End {
    /// The name in tables: `fixed_point`, `cycle`, `aperiodic`, `escaped`, `undecided`.
    pub fn name(self) -> &'static str {
        match self {
            Self::FixedPoint => "fixed_point",
            Self::Cycle => "cycle",
            Self::Aperiodic => "aperiodic",
            Self::Escaped => "escaped",
            Self::Undecided => "undecided",
        }
    }
}

/// One of the sets that starts come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Attractor {
    /// What it is.
    pub end: End,
    /// Its place among the points known beforehand.
    pub known: Option<usize>,
    /// Whether all states near it come to it. False for a fixed point or cycle with a multiplier of modulus 1 or more:
    /// a saddle that starts lie on by symmetry, or one of a continuum, such as a line attractor, of which all with the
    /// same period count as one. `None` where that is not asked: aperiodic, escaped, undecided.
    pub attracting: Option<bool>,
    /// Its states, `[step, state]`: a fixed point, the states of a cycle in their order, a sample of an aperiodic set;
    /// none of the others. Of a continuum, one member.
    pub states: Array2<f64>,
    /// How many starts come to it.
    pub starts: usize,
}

impl Attractor {
    /// Steps of a cycle, 1 of a fixed point.
    pub fn period(&self) -> Option<usize> {
        matches!(self.end, End::FixedPoint | End::Cycle).then_some(self.states.nrows())
    }
}

/// Where starts end.
#[derive(Clone, Debug, PartialEq)]
pub struct Basins {
    /// Fixed points known beforehand in their order, the stable ones also where no start comes to them; other fixed points,
    /// cycles and aperiodic sets, each kind by starts falling; escaped and undecided starts, where there are any.
    pub attractors: Vec<Attractor>,
    /// For each start its place in `attractors`, `[start]`.
    pub labels: Vec<usize>,
    /// For each start, the steps until that was known, `[start]`. To a stable fixed point: until it was within
    /// [`arrival`](BasinSettings::arrival). Undecided: all of them.
    pub steps: Vec<usize>,
}

/// Finds where trajectories of x' = F(x, `input`) end.
///
/// Returns the attractors, the one that each start comes to, and the steps that took. The result is the same for any
/// number of threads.
///
/// # Arguments
/// - `dynamics`: the map, with its exact Jacobian.
/// - `starts`: how many starts there are.
/// - `start`: the start of an index, `[state]`; such as [`grid_state`](crate::plane::Plane::grid_state) of a plane.
/// - `input`: the constant input, `[input]`.
/// - `known`: fixed points, of any stability.
/// - `settings`: steps and distances, all with defaults.
///
/// # Method
/// A start is followed until one of these holds.
/// - *It comes to a stable fixed point*, known beforehand or found by a start before it: it is within `arrival` and
///   inside an ellipsoid from which convergence is [proved](attracting_ball). Where there is no proof, for want of an
///   enclosure of the map, within 1e-6 max(1, |x|_inf) of a point whose spectral radius is below 1; so near, only a
///   contraction that is lost to rounding could fail.
/// - *It repeats itself*: it comes back, within 1e-8, to a state that is kept of it, the one after 1, 2, 4, 8, ... steps
///   (Brent's method, which finds every period in time). Newton's method on x = F^p(x) then polishes the cycle, the least
///   divisor of p that it closes after is its period, and where its multipliers are below 1 it attracts. Where they are not, the
///   trajectory must repeat itself to within rounding, as on a continuum of fixed points, or at a saddle that it cannot
///   leave; elsewhere it was near a saddle in passing, and goes on.
/// - *It escapes* beyond `bound`, or beyond the finite numbers.
/// - *It stays with an aperiodic attractor* found before: in 26 of 32 comparisons, ten steps apart, it is as near to a
///   sample of 256 states of it as nine in ten of these states are to the nearest of the others. That ends no start where
///   one of those followed together with the attractor's first has come there and left it again, as in transient chaos.
/// - *The steps are used up.* The last quarter of them gives a sample. It is of an aperiodic attractor where both of its
///   halves fill about the same box, so that it neither drifts nor settles; of one found before where 80 % of
///   the sample lie on it in the sense above, or both samples fill the same box to 2 % of its sides, as on an invariant
///   circle that is gone around too slowly to be covered; of a new one elsewhere. What drifts or settles is undecided.
///
/// Recognising an attractor by recurrences, and the later starts by those it is made of, follows Datseris & Wagemakers;
/// in place of their cells, whose number grows with the power of the dimension, distances within a sample decide. As with
/// cells, attractors nearer to each other than that are taken for one, and motion that is irregular for longer than
/// `steps` before it settles is taken for an aperiodic attractor.
///
/// # Errors
/// [`Error::Shape`] where a start, a known point or `input` does not fit the map; [`Error::Setting`] where a setting is
/// out of range; [`Error::Stopped`] where `watch` says so.
///
/// # Reference
/// G. Datseris & A. Wagemakers, Effortless estimation of basins of attraction, Chaos 32, 023104 (2022); R. P. Brent, An
/// improved Monte Carlo factorization algorithm, BIT 20, 176 (1980).
pub fn find_basins<D: Dynamics + ?Sized>(
    dynamics: &D,
    starts: usize,
    start: impl Fn(usize) -> Vec<f64> + Sync,
    input: &[f64],
    known: &[KnownPoint],
    settings: &BasinSettings,
    watch: Watch,
) -> Result<Basins, Error> {
    let dim = dynamics.state_dim();
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    for point in known {
        Error::check_shape("known point", dim, point.state.len())?;
    }
    for (what, value) in [("arrival", settings.arrival), ("bound", settings.bound)] {
        if value.is_nan() || value <= 0.0 {
            return Err(Error::Setting {
                what,
                found: value.to_string(),
                allowed: "a number above 0, or infinity",
            });
        }
    }
    let map = Map { dynamics, input };
    let mut ends = Ends::default();
    for (index, point) in known.iter().enumerate() {
        let stable = map
            .multipliers(&point.state, 1)
            .is_some_and(|radius| radius < 1.0);
        let ball = match stable {
            true => attracting_ball(dynamics, &point.state, input, point.existence)?,
            false => None,
        };
        ends.add(Known {
            kind: Kind::Cycle {
                attracting: stable,
                ball,
            },
            known: Some(index),
            states: vec![point.state.clone()],
        });
    }
    let mut labels = Vec::with_capacity(starts);
    let mut steps = Vec::with_capacity(starts);
    while labels.len() < starts {
        Error::check_watch(watch, labels.len() as f64 / starts as f64)?;
        let size = if labels.is_empty() {
            FIRST_CHUNK
        } else {
            CHUNK
        };
        let chunk = labels.len()..(labels.len() + size).min(starts);
        let known_before = ends.list.len();
        let outcomes: Vec<_> = chunk
            .clone()
            .into_par_iter()
            .map(|index| {
                let state = start(index);
                Error::check_shape("start", dim, state.len())?;
                Ok(follow(&map, state, &ends, settings))
            })
            .collect::<Result<_, Error>>()?;
        // What is new is taken in the order of the starts, whichever thread found it; samples last, as they may lie on
        // what another start has come to.
        let (mut places, mut samples) = (vec![0; outcomes.len()], Vec::new());
        for (index, (outcome, taken)) in outcomes.into_iter().enumerate() {
            steps.push(taken);
            match outcome {
                Outcome::Sample(sample) => samples.push((index, sample)),
                outcome => places[index] = ends.place_of(outcome, &map),
            }
        }
        for (index, sample) in samples {
            places[index] = ends.place_of(Outcome::Sample(sample), &map);
        }
        labels.extend(places);
        // Starts that ended elsewhere tell whether what is new among the aperiodic sets can be left again.
        for place in known_before..ends.list.len() {
            let set = &ends.list[place];
            let leaves = |index: usize| {
                labels[index] != place && is_visited(&map, start(index), set, steps[index])
            };
            let left_again = chunk.clone().into_par_iter().any(leaves);
            if let Kind::Aperiodic { left, .. } = &mut ends.list[place].kind {
                *left = left_again;
            }
        }
    }
    Ok(ends.in_order(labels, steps, dim))
}

/// The map under its input.
struct Map<'a, D: ?Sized> {
    dynamics: &'a D,
    input: &'a [f64],
}

impl<D: Dynamics + ?Sized> Map<'_, D> {
    fn step(&self, state: &[f64], next: &mut [f64]) {
        self.dynamics.step(state, self.input, next);
    }

    /// The state after `period` steps and the Jacobian of all of them; `None` where it is not finite.
    fn jacobian(&self, state: &[f64], period: usize) -> Option<(Vec<f64>, DMatrix<f64>)> {
        let dim = state.len();
        let (mut state, mut next) = (state.to_vec(), vec![0.0; dim]);
        let mut one = vec![0.0; dim * dim];
        let mut all = DMatrix::identity(dim, dim);
        for _ in 0..period {
            let (dynamics, input) = (self.dynamics, self.input);
            dynamics.step_with_jacobian(&state, input, &mut next, &mut one);
            std::mem::swap(&mut state, &mut next);
            all = DMatrix::from_row_slice(dim, dim, &one) * all;
        }
        (state.iter().chain(all.iter()).all(|x| x.is_finite())).then_some((state, all))
    }

    /// The largest modulus of the multipliers of a cycle.
    fn multipliers(&self, state: &[f64], period: usize) -> Option<f64> {
        let (_, jacobian) = self.jacobian(state, period)?;
        spectral_radius(&jacobian)
    }

    /// Where convergence to a fixed point that was found on the way is proved.
    fn ball(&self, state: &[f64]) -> Option<AttractingBall> {
        let certificate = prove(self.dynamics, state, self.input).ok()?;
        attracting_ball(self.dynamics, state, self.input, certificate.existence).ok()?
    }

    /// The states of the cycle of x = F^period(x) that Newton's method leads to from `state`, of its least period, and
    /// the largest modulus of its multipliers; `None` where it leads away.
    fn polished(&self, state: &[f64], period: usize) -> Option<(Vec<Vec<f64>>, f64)> {
        let dim = state.len();
        let scale = scale(state);
        let mut at = state.to_vec();
        for _ in 0..POLISH_STEPS {
            let (after, jacobian) = self.jacobian(&at, period)?;
            let residual = DVector::from_iterator(dim, after.iter().zip(&at).map(|(a, x)| a - x));
            // (I - J) dx = F^p(x) - x
            let correction = (DMatrix::identity(dim, dim) - jacobian)
                .lu()
                .solve(&residual)?;
            for (x, dx) in at.iter_mut().zip(correction.iter()) {
                *x += dx;
            }
            if correction.amax() <= REPEATED * scale {
                break;
            }
        }
        let mut states = vec![at.clone()];
        let mut next = vec![0.0; dim];
        for step in 1..=period {
            self.step(&states[step - 1], &mut next);
            states.push(next.clone());
        }
        let distance = |k: usize| infinity_distance(&states[k], &at);
        if !(distance(period) <= POLISHED * scale && infinity_distance(&at, state) <= SAME * scale)
        {
            return None;
        }
        let least =
            (1..=period).find(|k| period.is_multiple_of(*k) && distance(*k) <= SAME * scale)?;
        let radius = self.multipliers(&at, least)?;
        states.truncate(least);
        Some((states, radius))
    }
}

fn spectral_radius(matrix: &DMatrix<f64>) -> Option<f64> {
    let moduli = eigenvalues(matrix).ok()?.into_iter().map(|z| z.norm());
    Some(moduli.fold(0.0, f64::max))
}

fn scale(state: &[f64]) -> f64 {
    infinity_norm(state).max(1.0)
}

/// What is known of an end.
struct Known {
    kind: Kind,
    known: Option<usize>,
    states: Vec<Vec<f64>>,
}

enum Kind {
    /// A cycle, of one step if a fixed point.
    Cycle {
        attracting: bool,
        ball: Option<AttractingBall>,
    },
    /// An aperiodic set: as near as this to its sample, a state is on it. What comes to it may leave it again.
    Aperiodic {
        reach: f64,
        left: bool,
    },
    Escaped,
    Undecided,
}

/// How a start ended.
enum Outcome {
    /// At an end that was known.
    At(usize),
    Escaped,
    Undecided,
    /// On a cycle that was not; with the largest modulus of its multipliers below 1, or not.
    Cycle {
        states: Vec<Vec<f64>>,
        attracting: bool,
    },
    /// With a sample of what may be an aperiodic attractor.
    Sample(Vec<Vec<f64>>),
}

/// All ends known so far.
#[derive(Default)]
struct Ends {
    list: Vec<Known>,
}

impl Ends {
    fn add(&mut self, known: Known) -> usize {
        self.list.push(known);
        self.list.len() - 1
    }

    /// The attracting cycle that a state has certainly come to.
    fn reached(&self, state: &[f64], arrival: f64) -> Option<usize> {
        self.list.iter().position(|end| match &end.kind {
            Kind::Cycle {
                attracting: true,
                ball: Some(ball),
            } => infinity_distance(state, &ball.state) <= arrival && ball.contains(state),
            Kind::Cycle {
                attracting: true, ..
            } => end.is_at(state, SAME * scale(state)),
            _ => false,
        })
    }

    fn place_of<D: Dynamics + ?Sized>(&mut self, outcome: Outcome, map: &Map<D>) -> usize {
        match outcome {
            Outcome::At(place) => place,
            Outcome::Escaped => self.special(|kind| matches!(kind, Kind::Escaped), Kind::Escaped),
            Outcome::Undecided => self.undecided(),
            Outcome::Cycle { states, attracting } => self.cycle(states, attracting, map),
            Outcome::Sample(states) => {
                let mut reached = states
                    .iter()
                    .map(|state| self.reached(state, f64::INFINITY));
                match reached.find_map(|place| place) {
                    Some(place) => place,
                    None => self.aperiodic(states),
                }
            }
        }
    }

    fn special(&mut self, is: impl Fn(&Kind) -> bool, kind: Kind) -> usize {
        let place = self.list.iter().position(|end| is(&end.kind));
        place.unwrap_or_else(|| {
            self.add(Known {
                kind,
                known: None,
                states: Vec::new(),
            })
        })
    }

    fn undecided(&mut self) -> usize {
        self.special(|kind| matches!(kind, Kind::Undecided), Kind::Undecided)
    }

    fn cycle<D: Dynamics + ?Sized>(
        &mut self,
        states: Vec<Vec<f64>>,
        attracts: bool,
        map: &Map<D>,
    ) -> usize {
        let near = SAME * scale(&states[0]);
        let same = self.list.iter().position(|end| match end.kind {
            Kind::Cycle { attracting, .. } if end.states.len() == states.len() => {
                // Those of a continuum count as one, unless one of them was known beforehand.
                end.is_at(&states[0], near) || !attracting && !attracts && end.known.is_none()
            }
            _ => false,
        });
        same.unwrap_or_else(|| {
            let ball = match states.as_slice() {
                [state] if attracts => map.ball(state),
                _ => None,
            };
            self.add(Known {
                kind: Kind::Cycle {
                    attracting: attracts,
                    ball,
                },
                known: None,
                states,
            })
        })
    }

    fn aperiodic(&mut self, sample: Vec<Vec<f64>>) -> usize {
        let mut count = 0;
        for (place, end) in self.list.iter().enumerate() {
            if let Kind::Aperiodic { reach, .. } = end.kind {
                count += 1;
                let on = sample
                    .iter()
                    .filter(|state| end.is_at(state, reach))
                    .count();
                let lies_on = on as f64 >= SAME_PART * sample.len() as f64;
                if lies_on || fill_same_box(&sample, &end.states) {
                    return place;
                }
            }
        }
        if count == MOST_APERIODIC {
            return self.undecided();
        }
        let reach = reach(&sample);
        self.add(Known {
            kind: Kind::Aperiodic { reach, left: false },
            known: None,
            states: sample,
        })
    }

    /// The result, with the ends in the order that [`Basins::attractors`] promises.
    fn in_order(self, labels: Vec<usize>, steps: Vec<usize>, dim: usize) -> Basins {
        let mut counts = vec![0; self.list.len()];
        for &label in &labels {
            counts[label] += 1;
        }
        let attractors: Vec<Attractor> = self
            .list
            .into_iter()
            .zip(counts)
            .map(|(end, starts)| end.finished(starts, dim))
            .collect();
        let mut order: Vec<usize> = (0..attractors.len())
            .filter(|&i| {
                let stable =
                    attractors[i].known.is_some() && attractors[i].attracting == Some(true);
                stable || attractors[i].starts > 0
            })
            .collect();
        let rank = |attractor: &Attractor| match (attractor.end, attractor.known) {
            (End::FixedPoint, Some(known)) => (0, known),
            (end, _) => (1 + end as usize, usize::MAX - attractor.starts),
        };
        order.sort_by_key(|&i| rank(&attractors[i]));
        let mut place = vec![0; attractors.len()];
        for (new, &old) in order.iter().enumerate() {
            place[old] = new;
        }
        Basins {
            labels: labels.into_iter().map(|label| place[label]).collect(),
            steps,
            attractors: order.into_iter().map(|i| attractors[i].clone()).collect(),
        }
    }
}

impl Known {
    /// Whether one of its states lies within `distance`, in the maximum norm.
    fn is_at(&self, state: &[f64], distance: f64) -> bool {
        self.states.iter().any(|own| {
            let mut pairs = own.iter().zip(state);
            pairs.all(|(a, b)| (a - b).abs() <= distance)
        })
    }

    fn finished(self, starts: usize, dim: usize) -> Attractor {
        let (end, attracting) = match self.kind {
            Kind::Cycle { attracting, .. } if self.states.len() == 1 => {
                (End::FixedPoint, Some(attracting))
            }
            Kind::Cycle { attracting, .. } => (End::Cycle, Some(attracting)),
            Kind::Aperiodic { .. } => (End::Aperiodic, None),
            Kind::Escaped => (End::Escaped, None),
            Kind::Undecided => (End::Undecided, None),
        };
        Attractor {
            end,
            known: self.known,
            attracting,
            states: Array2::from_shape_fn((self.states.len(), dim), |(k, i)| self.states[k][i]),
            starts,
        }
    }
}

/// The distance, in the maximum norm, within which nine in ten states of a sample have another.
fn reach(sample: &[Vec<f64>]) -> f64 {
    let nearest = |i: usize| {
        (0..sample.len())
            .filter(|&j| j != i)
            .map(|j| infinity_distance(&sample[i], &sample[j]))
            .fold(f64::INFINITY, f64::min)
    };
    let mut distances: Vec<f64> = (0..sample.len()).map(nearest).collect();
    distances.sort_by(f64::total_cmp);
    let place = (REACHED * sample.len() as f64) as usize;
    distances.get(place).copied().unwrap_or(0.0)
}

/// Follows a start to its end; with the steps that took.
fn follow<D: Dynamics + ?Sized>(
    map: &Map<D>,
    start: Vec<f64>,
    ends: &Ends,
    settings: &BasinSettings,
) -> (Outcome, usize) {
    let steps = settings.steps;
    let every = (steps / 4 / SAMPLE).max(1);
    let mut next = vec![0.0; start.len()];
    let (mut kept, mut kept_at, mut tried) = (start.clone(), 0, false);
    let mut state = start;
    let mut sample = Vec::new();
    // The last 32 comparisons with each, one bit for one.
    let mut recurrences = vec![0_u32; ends.list.len()];
    for step in 0..=steps {
        if !state
            .iter()
            .all(|x| x.is_finite() && x.abs() <= settings.bound)
        {
            return (Outcome::Escaped, step);
        }
        if let Some(place) = ends.reached(&state, settings.arrival) {
            return (Outcome::At(place), step);
        }
        if step % COMPARED_EVERY == 0 {
            for (place, end) in ends.list.iter().enumerate() {
                if let Kind::Aperiodic { reach, left: false } = end.kind
                    && recurs(&mut recurrences[place], end.is_at(&state, reach))
                {
                    return (Outcome::At(place), step);
                }
            }
        }
        if step > 0 {
            let (apart, scale) = (infinity_distance(&state, &kept), scale(&state));
            let repeated = apart <= REPEATED * scale;
            if repeated || !tried && apart <= RETURN * scale {
                tried = true;
                if let Some(states) = cycle(map, &state, step - kept_at, repeated) {
                    return (states, step);
                }
            }
            if step.is_power_of_two() {
                kept.copy_from_slice(&state);
                (kept_at, tried) = (step, false);
            }
        }
        if keeps(steps - step, every) {
            sample.push(state.clone());
        }
        map.step(&state, &mut next);
        std::mem::swap(&mut state, &mut next);
    }
    let outcome = if is_stationary(&sample) {
        Outcome::Sample(sample)
    } else {
        Outcome::Undecided
    };
    (outcome, steps)
}

/// Whether a trajectory comes to an aperiodic set within so many steps.
fn is_visited<D: Dynamics + ?Sized>(
    map: &Map<D>,
    start: Vec<f64>,
    set: &Known,
    steps: usize,
) -> bool {
    let Kind::Aperiodic { reach, .. } = set.kind else {
        return false;
    };
    let mut next = vec![0.0; start.len()];
    let (mut state, mut recurrences) = (start, 0);
    for step in 0..steps {
        if step % COMPARED_EVERY == 0 && recurs(&mut recurrences, set.is_at(&state, reach)) {
            return true;
        }
        map.step(&state, &mut next);
        std::mem::swap(&mut state, &mut next);
    }
    false
}

/// Takes one more comparison, a bit of the last 32, and says whether enough of them hold.
fn recurs(recurrences: &mut u32, on: bool) -> bool {
    *recurrences = *recurrences << 1 | u32::from(on);
    recurrences.count_ones() >= RECURRENCES
}

/// Whether the state so many steps before the last goes into the sample: one in each of the last stretches of `every`
/// steps, at a place in it that changes, or what a cycle's period divides would look like a point.
fn keeps(before_last: usize, every: usize) -> bool {
    let stretch = before_last / every;
    stretch < SAMPLE && before_last % every == stretch * 7919 % every
}

/// The cycle that a trajectory which has come back after `period` steps is on, if it is on one.
fn cycle<D: Dynamics + ?Sized>(
    map: &Map<D>,
    state: &[f64],
    period: usize,
    repeated: bool,
) -> Option<Outcome> {
    if let Some((states, radius)) = map.polished(state, period)
        && radius < 1.0 - NEUTRAL
    {
        return Some(Outcome::Cycle {
            states,
            attracting: true,
        });
    }
    // The state itself: Newton's method may have nothing to say on a continuum.
    repeated.then(|| {
        let mut states = vec![state.to_vec()];
        let mut next = vec![0.0; state.len()];
        for step in 1..period {
            map.step(&states[step - 1], &mut next);
            states.push(next.clone());
        }
        Outcome::Cycle {
            states,
            attracting: false,
        }
    })
}

/// Whether both halves of a sample fill about the same box: their middles lie within a quarter of the largest width of
/// the whole, and the later half is no narrower than four fifths of the earlier.
fn is_stationary(sample: &[Vec<f64>]) -> bool {
    let [first, .., _] = sample else {
        return false;
    };
    let (earlier, later) = sample.split_at(sample.len() / 2);
    let (mut widths, mut apart) = ([0.0_f64; 3], 0.0_f64);
    for i in 0..first.len() {
        let boxes = [earlier, later, sample].map(|states| extent(states, i));
        for (width, (low, high)) in widths.iter_mut().zip(boxes) {
            *width = width.max(high - low);
        }
        let middles = boxes.map(|(low, high)| low / 2.0 + high / 2.0);
        apart = apart.max((middles[0] - middles[1]).abs());
    }
    let [earlier, later, whole] = widths;
    whole > SAME * scale(first) && apart <= 0.25 * whole && later >= 0.8 * earlier
}

/// The least and the largest value of an element over some states.
fn extent(states: &[Vec<f64>], element: usize) -> (f64, f64) {
    let values = states.iter().map(|state| state[element]);
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
        (low.min(x), high.max(x))
    })
}

/// Whether the boxes that two samples fill have the same ends, to a small part of their sides.
fn fill_same_box(a: &[Vec<f64>], b: &[Vec<f64>]) -> bool {
    let Some(first) = a.first() else {
        return false;
    };
    let floor = SAME * scale(first);
    (0..first.len()).all(|i| {
        let (a, b) = (extent(a, i), extent(b, i));
        let allowed = SAME_BOX * (a.1 - a.0).max(b.1 - b.0) + floor;
        (a.0 - b.0).abs().max((a.1 - b.1).abs()) <= allowed
    })
}

/// How finely basins are interwoven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BasinEntropy {
    /// The entropy of the labels in a box, averaged over all boxes, in nats: 0 for a single basin, log of their number
    /// where all are mixed everywhere.
    pub entropy: f64,
    /// The same averaged over the boxes that hold more than one label; `None` where there is none. Above log 2 the
    /// boundary is fractal, if the grid is fine enough that few boxes lie where smooth boundaries meet.
    pub boundary_entropy: Option<f64>,
}

/// The basin entropy of a grid of labels, row by row with so many columns, over boxes of `side` x `side` of them.
///
/// With p_j the part of a box with label j, its entropy is sum_j p_j log(1 / p_j). Boxes that do not fit whole are left
/// out; the usual side is 5.
///
/// # Errors
/// [`Error::Setting`] where `columns` or `side` is 0; [`Error::TooFew`] where no box fits.
///
/// # Reference
/// A. Daza, A. Wagemakers, B. Georgeot, D. Guéry-Odelin & M. A. F. Sanjuán, Basin entropy, Scientific Reports 6, 31416
/// (2016).
pub fn basin_entropy(labels: &[usize], columns: usize, side: usize) -> Result<BasinEntropy, Error> {
    for (what, found) in [("columns", columns), ("side", side)] {
        if found == 0 {
            return Err(Error::Setting {
                what,
                found: "0".to_owned(),
                allowed: "at least 1",
            });
        }
    }
    let rows = labels.len() / columns;
    let least = rows.min(columns);
    if least < side {
        return Err(Error::TooFew {
            what: "rows and columns of labels",
            needed: side,
            found: least,
        });
    }
    let (mut sum, mut boxes, mut mixed) = (0.0, 0, 0);
    for top in (0..=rows - side).step_by(side) {
        for left in (0..=columns - side).step_by(side) {
            let mut inside: Vec<usize> = (0..side * side)
                .map(|k| labels[(top + k / side) * columns + left + k % side])
                .collect();
            inside.sort_unstable();
            let parts: Vec<f64> = inside
                .chunk_by(|a, b| a == b)
                .map(|same| same.len() as f64 / inside.len() as f64)
                .collect();
            sum += parts.iter().map(|p| p * (1.0 / p).ln()).sum::<f64>();
            boxes += 1;
            mixed += usize::from(parts.len() > 1);
        }
    }
    Ok(BasinEntropy {
        entropy: sum / f64::from(boxes),
        boundary_entropy: (mixed > 0).then(|| sum / mixed as f64),
    })
}
