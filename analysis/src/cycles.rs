//! Cycles of any map: by Newton's method from recurrences of its trajectories, and proved.
//!
//! A cycle of k steps is a zero of all its steps at once,
//!
//! ```text
//! x_2 - F(x_1) = 0,   x_3 - F(x_2) = 0,   ...,   x_1 - F(x_k) = 0,
//! ```
//!
//! which stays well conditioned where x_1 - F^k(x_1) = 0 does not: no error is carried through all k steps.

use std::cmp::Ordering;

use nalgebra::{Complex, DMatrix, DVector};
use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis};
use rayon::prelude::*;

use crate::certificates::{Certificate, Refusal, prove};
use crate::dense::{Left, infinity_distance, infinity_norm, product};
use crate::linearization::eigenvalues;
use crate::{Dynamics, Enclosure, Error, Watch};
use nullcline_models::interval::Interval;

/// The largest number of steps times states of which a proof is tried: it takes dense matrices of so many rows, and
/// about a second at this size.
pub const LARGEST_PROOF: usize = 1024;

/// Guesses taken together: those of the next lot that lie beside what this one proved need no search.
const GUESSES_AT_ONCE: usize = 16;
/// Halvings of a Newton step before it counts as failed.
const MAX_HALVINGS: usize = 8;
/// The fraction of the decrease promised by the linear model that a Newton step must bring.
const ARMIJO: f64 = 1e-4;
/// Newton steps that lower the squared defect by less than a tenth, after which there is no zero near.
const MAX_POOR_STEPS: usize = 5;
/// A defect of this many eps max(1, |x|_inf) is as small as the rounding of F lets it be.
const ROUNDING_ERRORS: f64 = 16.0;
/// Recurrences count as one where a state of one is within this fraction of the trajectory's extent of the other.
const SEPARATION: f64 = 1e-3;

/// How cycles are searched for and told apart. [`Default`] suits maps whose states are of order one.
#[derive(Clone, Debug, PartialEq)]
pub struct CycleSettings {
    /// States are a cycle where each step misses the next state by at most this in the maximum norm, or by
    /// 16 eps max(1, |x|_inf) where that is larger. Default 1e-12.
    pub tolerance: f64,
    /// The distance, as a fraction of max(1, |x|_inf), at which cycles count as one where no proof tells them apart.
    /// Default 1e-6.
    pub merge_tolerance: f64,
    /// Newton steps before a guess is given up. Default 60.
    pub max_iterations: usize,
}

impl Default for CycleSettings {
    fn default() -> Self {
        Self {
            tolerance: 1e-12,
            merge_tolerance: 1e-6,
            max_iterations: 60,
        }
    }
}

impl CycleSettings {
    fn check(&self) -> Result<(), Error> {
        for (what, value) in [
            ("tolerance", self.tolerance),
            ("merge_tolerance", self.merge_tolerance),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::Setting {
                    what,
                    found: value.to_string(),
                    allowed: "a finite number, at least 0",
                });
            }
        }
        Ok(())
    }
}

/// Why a candidate is no cycle of its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// Within the merge tolerance of the proved cycle with this id, without a proof of its own.
    DuplicateOf(usize),
    /// A cycle of so many steps, passed through more than once.
    LowerPeriod(usize),
    /// Newton's method came to nothing.
    NotConverged,
    /// The map or its Jacobian is not finite at the guess.
    NotFinite,
}

impl Rejection {
    /// The name in tables: `duplicate_of_N`, `lower_period_P`, `not_converged`, `not_finite`.
    pub fn name(self) -> String {
        match self {
            Self::DuplicateOf(id) => format!("duplicate_of_{id}"),
            Self::LowerPeriod(period) => format!("lower_period_{period}"),
            Self::NotConverged => "not_converged".to_owned(),
            Self::NotFinite => "not_finite".to_owned(),
        }
    }
}

/// What a candidate turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// A cycle to within [`CycleSettings::tolerance`], of no fewer steps, and proved to be one where the map has an
    /// [`enclosure`](Dynamics::enclosure).
    Fixed,
    /// Newton's method converged, but no proof was had: at a bifurcation, or of a cycle that is too large for one.
    Unproved,
    /// Neither, and why.
    Rejected(Rejection),
}

impl Verdict {
    /// The name in tables: `fixed`, `unproved`, `rejected`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Unproved => "unproved",
            Self::Rejected(_) => "rejected",
        }
    }

    /// True for [`Fixed`](Self::Fixed) and [`Unproved`](Self::Unproved).
    pub fn is_kept(self) -> bool {
        !matches!(self, Self::Rejected(_))
    }
}

/// A cycle, or what a guess of one came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Cycle {
    /// Its states in order, `[step, state]`; of a cycle, that which comes first by its coordinates first.
    pub states: Array2<f64>,
    /// The largest |x_j+1 - F(x_j)|_inf of its steps, the last one back to the first state included.
    pub residual: f64,
    /// Fixed, unproved or rejected.
    pub verdict: Verdict,
    /// Floquet multipliers: the eigenvalues of J_k ... J_1, the largest modulus first. What is below eps times the
    /// norm of that product is rounding error. Empty for rejected candidates, and where the product is not finite.
    pub multipliers: Vec<Complex<f64>>,
    /// How many multipliers have |mu| > 1, beyond rounding; `None` where there are none.
    pub n_unstable: Option<usize>,
    /// What was proved of the point (x_1, ..., x_k), see [`certify_cycle`], or why nothing was; `None` where the search
    /// did not end at a cycle of this order.
    pub proof: Option<Result<Certificate, Refusal>>,
    /// How many guesses led here.
    pub found_from: usize,
    /// Newton steps of the first of them.
    pub iterations: usize,
}

impl Cycle {
    /// Number of steps.
    pub fn order(&self) -> usize {
        self.states.nrows()
    }

    /// Whether every multiplier lies within the unit circle; false where they are not known.
    pub fn is_stable(&self) -> bool {
        !self.multipliers.is_empty() && self.multipliers.iter().all(|m| m.norm() < 1.0)
    }

    /// The modulus of the largest multiplier; `None` where they are not known.
    pub fn spectral_radius(&self) -> Option<f64> {
        self.multipliers.first().map(|m| m.norm())
    }

    /// What was proved of it.
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.proof {
            Some(Ok(certificate)) => Some(certificate),
            _ => None,
        }
    }
}

/// All that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct CycleSearch {
    /// Proved cycles, then unproved ones, then rejected candidates; each by number of unstable directions, by
    /// `found_from` falling, and by states. `found_from` sums to the number of guesses.
    pub cycles: Vec<Cycle>,
}

impl CycleSearch {
    /// The cycles, without rejected candidates.
    pub fn kept(&self) -> impl Iterator<Item = &Cycle> {
        self.cycles.iter().filter(|cycle| cycle.verdict.is_kept())
    }
}

/// The closest recurrences of a trajectory after `order` steps, as guesses of cycles.
///
/// Returns `[guess, step, state]`: the states x_t, ..., x_t+k-1 of at most `count` places t, that with the smallest
/// |x_t+k - x_t| first.
///
/// # Arguments
/// - `trajectory`: successive states, `[time, state]`.
/// - `order`: steps k of the cycles, at least 1.
/// - `count`: the most guesses.
///
/// # Method
/// The places are local minima of the Euclidean distance |x_t+k - x_t| over t at which the state comes closer after k
/// steps than after any proper divisor of k: beside a shorter cycle it does not. Of several that lie within a
/// thousandth of the trajectory's extent of each other, only the closest counts, so that a cycle on which the
/// trajectory stays does not keep others out.
///
/// # Errors
/// [`Error::Setting`] for an order of 0.
///
/// # Reference
/// D. P. Lathrop & E. J. Kostelich, Characterization of an experimental strange attractor by periodic orbits,
/// Physical Review A 40 (1989) 4028-4031.
pub fn recurrences(
    trajectory: ArrayView2<'_, f64>,
    order: usize,
    count: usize,
) -> Result<Array3<f64>, Error> {
    check_order(order)?;
    let (times, dim) = trajectory.dim();
    let after = |t: usize, steps: usize| -> f64 {
        let pairs = trajectory.row(t + steps).into_iter().zip(trajectory.row(t));
        let squares = pairs.map(|(a, b)| (a - b) * (a - b));
        squares.sum::<f64>().sqrt()
    };
    let distances: Vec<f64> = (0..times.saturating_sub(order))
        .map(|t| after(t, order))
        .collect();
    let mut places: Vec<usize> = (0..distances.len())
        .filter(|&t| {
            let here = distances[t];
            // Of a stretch of equal distances the first.
            let falls = t == 0 || here < distances[t - 1];
            let rises = distances.get(t + 1).is_none_or(|&next| here <= next);
            here.is_finite()
                && falls
                && rises
                && proper_divisors(order).all(|part| here < after(t, part))
        })
        .collect();
    places.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]).then(a.cmp(&b)));

    let separation = SEPARATION * extent(trajectory);
    let mut taken: Vec<usize> = Vec::new();
    for t in places {
        if taken.len() == count {
            break;
        }
        let state = trajectory.row(t);
        let seen = taken.iter().any(|&start| {
            (start..start + order).any(|step| {
                let pairs = state.iter().zip(trajectory.row(step));
                pairs.clone().all(|(a, b)| (a - b).abs() <= separation)
            })
        });
        if !seen {
            taken.push(t);
        }
    }
    Ok(Array3::from_shape_fn(
        (taken.len(), order, dim),
        |(guess, step, k)| trajectory[[taken[guess] + step, k]],
    ))
}

/// The orbits of `order` steps from given states, as guesses of cycles: `[guess, step, state]`.
///
/// `starts`, `[start, state]`, may be the points of a grid or of a box, which reach cycles that no trajectory comes near.
///
/// # Errors
/// [`Error::Shape`] where states or input do not fit the map, [`Error::Setting`] for an order of 0.
pub fn orbits<D: Dynamics + ?Sized>(
    dynamics: &D,
    starts: ArrayView2<'_, f64>,
    input: &[f64],
    order: usize,
) -> Result<Array3<f64>, Error> {
    let dim = dynamics.state_dim();
    Error::check_shape("starts, columns", dim, starts.ncols())?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    check_order(order)?;
    let mut guesses = Array3::zeros((starts.nrows(), order, dim));
    let mut next = vec![0.0; dim];
    for (start, mut guess) in starts.rows().into_iter().zip(guesses.outer_iter_mut()) {
        let mut state = start.to_vec();
        for mut row in guess.rows_mut() {
            row.assign(&ndarray::ArrayView1::from(&state));
            dynamics.step(&state, input, &mut next);
            std::mem::swap(&mut state, &mut next);
        }
    }
    Ok(guesses)
}

/// Finds the cycles of x' = F(x, `input`) that `guesses` lead to.
///
/// Returns every candidate with its verdict, its proof and its Floquet multipliers. The result is the same, bit for
/// bit, for any number of threads.
///
/// # Arguments
/// - `dynamics`: the map, with its exact Jacobian.
/// - `guesses`: the states of orbits that nearly close, `[guess, step, state]`, from [`recurrences`] or [`orbits`]; the
///   number of steps is the order k of the cycles.
/// - `input`: the input held constant, `[input]`.
/// - `settings`: tolerances and budgets, all with defaults.
/// - `watch`: asked between lots of guesses.
///
/// # Method
/// Newton's method on the defects g_j = x_j+1 - F(x_j) of all k steps at once (multiple shooting). Its linear system
/// d_j+1 - J_j d_j = -g_j is solved by eliminating one state after the other with orthogonal transformations, so that
/// chaos along the orbit does no harm (S. J. Wright, SIAM J. Sci. Stat. Comput. 13 (1992) 742-764), at a cost of k n^3.
/// Steps are no longer than max(1, |x|_inf) and are halved until |g|^2 falls; they go on until the residual stops
/// falling. A guess has converged where the residual is then within the tolerance and the last Newton correction within
/// `merge_tolerance` max(1, |x|_inf).
///
/// What has converged is proved by [`certify_cycle`]. A proved cycle is told from others, and its period from shorter
/// ones, by the balls of the proof: a guess in the ball in which a cycle is the only one has led there, from whatever
/// phase; a cycle that stays in that ball when turned by d steps has period d. Where there is no proof, states within
/// the merge tolerance are the same. What cannot be proved is unproved, unless the map has no enclosure, where the
/// residual alone decides.
///
/// # Errors
/// [`Error::Shape`] where `guesses` or `input` does not fit the map; [`Error::Setting`] for guesses of no step or a
/// tolerance out of range; [`Error::Stopped`] where `watch` says so.
pub fn find_cycles<D: Dynamics + ?Sized>(
    dynamics: &D,
    guesses: ArrayView3<'_, f64>,
    input: &[f64],
    settings: &CycleSettings,
    watch: Watch,
) -> Result<CycleSearch, Error> {
    let (count, order, width) = guesses.dim();
    settings.check()?;
    check_order(order)?;
    Error::check_shape("guesses, states", dynamics.state_dim(), width)?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    let mut found: Vec<Cycle> = Vec::new();
    for (lot, chunk) in guesses
        .axis_chunks_iter(Axis(0), GUESSES_AT_ONCE)
        .enumerate()
    {
        Error::check_watch(watch, (lot * GUESSES_AT_ONCE) as f64 / count as f64)?;
        let ends: Vec<End> = (0..chunk.len_of(Axis(0)))
            .into_par_iter()
            .map(|guess| {
                let guess = chunk.index_axis(Axis(0), guess).to_owned();
                match found.iter().position(|known| is_in_ball(known, &guess)) {
                    Some(known) => End::Known(known),
                    None => End::New(search(dynamics, guess, input, settings)),
                }
            })
            .collect();
        for end in ends {
            match end {
                End::Known(known) => found[known].found_from += 1,
                End::New(candidate) => {
                    add(dynamics, candidate, input, settings, &mut found);
                }
            }
        }
    }
    Ok(finish(dynamics, found, input, settings))
}

/// Proves that a cycle of the map lies beside `states`, `[step, state]`, and that no part of it is one, or says why it
/// cannot.
///
/// Returns radii as [`certify`](crate::certificates::certify) does, each of a cube around every one of the states: within
/// `existence` of them there are the states of a cycle, which is the only one whose states are all within `uniqueness`;
/// and the sign of det(I - J_k ... J_1).
///
/// # Method
/// Krawczyk's test of the fixed point (x_1, ..., x_k) of the map (x_1, ..., x_k) -> (F(x_k), F(x_1), ..., F(x_k-1)).
/// The period is proved where, for every proper divisor d of k, some state is farther from that d steps later than
/// their cubes of existence reach. No proof is tried of more than [`LARGEST_PROOF`] states times steps.
///
/// # Errors
/// [`Error::Shape`] where `states` or `input` does not fit the map, [`Error::Setting`] where there is no state. That
/// nothing could be proved is no error.
pub fn certify_cycle<D: Dynamics + ?Sized>(
    dynamics: &D,
    states: ArrayView2<'_, f64>,
    input: &[f64],
) -> Result<Result<Certificate, Refusal>, Error> {
    check_order(states.nrows())?;
    Error::check_shape("states, columns", dynamics.state_dim(), states.ncols())?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    let states = states.to_owned();
    let proof = prove_closed(dynamics, &states, input);
    Ok(proof.and_then(|certificate| {
        match period(&states, Some(&certificate), &CycleSettings::default()) {
            Period::Whole => Ok(certificate),
            Period::Part(_) | Period::Open => Err(Refusal::PeriodOpen),
        }
    }))
}

/// A cycle from states that nearly are one: polished, proved and described.
pub(crate) fn settle<D: Dynamics + ?Sized>(
    dynamics: &D,
    states: Array2<f64>,
    input: &[f64],
    settings: &CycleSettings,
) -> Cycle {
    let mut found = Vec::new();
    let mut cycle = search(dynamics, states.clone(), input, settings);
    if !cycle.verdict.is_kept() {
        // Beside a kink a polish may lead away from what was exact before it.
        cycle.states = states;
        cycle.residual = residual(dynamics, &cycle.states, input);
        cycle.verdict = Verdict::Unproved;
    }
    add(dynamics, cycle.clone(), input, settings, &mut found);
    finish(dynamics, found, input, settings)
        .cycles
        .pop()
        .unwrap_or(cycle)
}

fn check_order(order: usize) -> Result<(), Error> {
    if order == 0 {
        return Err(Error::Setting {
            what: "order",
            found: "0".to_owned(),
            allowed: "an integer, at least 1",
        });
    }
    Ok(())
}

fn proper_divisors(order: usize) -> impl Iterator<Item = usize> {
    (1..=order / 2).filter(move |&part| order.is_multiple_of(part))
}

/// The largest range of a coordinate.
fn extent(trajectory: ArrayView2<'_, f64>) -> f64 {
    let ranges = trajectory.columns().into_iter().map(|column| {
        let finite = || column.iter().copied().filter(|x| x.is_finite());
        finite().fold(f64::NEG_INFINITY, f64::max) - finite().fold(f64::INFINITY, f64::min)
    });
    ranges.fold(0.0, f64::max)
}

/// What became of a guess.
enum End {
    /// In the ball of the cycle at this place.
    Known(usize),
    New(Cycle),
}

/// All states in order, as one.
fn flat(states: &Array2<f64>) -> &[f64] {
    states.as_slice().unwrap_or(&[])
}

fn scale(states: &Array2<f64>) -> f64 {
    infinity_norm(flat(states)).max(1.0)
}

/// Whether, turned by some number of steps, every state of `a` is within `radius` of that of `b`.
fn are_within(a: &Array2<f64>, b: &Array2<f64>, radius: f64) -> bool {
    let order = b.nrows();
    (0..order).any(|turn| {
        (0..order).all(|step| {
            let pairs = a.row(step).into_iter().zip(b.row((step + turn) % order));
            pairs.clone().all(|(a, b)| (a - b).abs() <= radius)
        })
    })
}

/// Whether states lie in the ball in which a cycle is proved to be the only one.
fn is_in_ball(known: &Cycle, states: &Array2<f64>) -> bool {
    known
        .certificate()
        .is_some_and(|proof| are_within(states, &known.states, proof.uniqueness))
}

/// Takes up what a guess came to: a cycle that was known, or another with its proof.
fn add<D: Dynamics + ?Sized>(
    dynamics: &D,
    mut candidate: Cycle,
    input: &[f64],
    settings: &CycleSettings,
    found: &mut Vec<Cycle>,
) {
    if !candidate.verdict.is_kept() {
        found.push(candidate);
        return;
    }
    let states = &candidate.states;
    if let Some(known) = found.iter().position(|known| is_in_ball(known, states)) {
        found[known].found_from += 1;
        return;
    }
    let proof = prove_closed(dynamics, states, input);
    let merge = settings.merge_tolerance * scale(states);
    let same = found.iter().position(|known| match (&proof, &known.proof) {
        // Either lies in the ball in which the other is the only one; where the balls of existence merely overlap nothing
        // is decided, and they count as one, so that no cycle is counted twice.
        (Ok(new), Some(Ok(old))) => {
            let reach = (new.existence + old.existence).max(new.uniqueness - old.existence);
            are_within(states, &known.states, reach)
        }
        (Err(_), Some(Err(_))) => are_within(states, &known.states, merge),
        _ => false,
    });
    match same {
        Some(known) => found[known].found_from += 1,
        None => {
            candidate.verdict = match &proof {
                Ok(_) | Err(Refusal::NoEnclosure) => Verdict::Fixed,
                Err(_) => Verdict::Unproved,
            };
            candidate.proof = Some(proof);
            found.push(candidate);
        }
    }
}

/// Periods, duplicates, multipliers and order of what was found.
fn finish<D: Dynamics + ?Sized>(
    dynamics: &D,
    mut found: Vec<Cycle>,
    input: &[f64],
    settings: &CycleSettings,
) -> CycleSearch {
    found.par_iter_mut().for_each(|cycle| {
        if cycle.verdict.is_kept() {
            match period(&cycle.states, cycle.certificate(), settings) {
                Period::Whole => {}
                Period::Part(part) => {
                    cycle.verdict = Verdict::Rejected(Rejection::LowerPeriod(part));
                    cycle.proof = None;
                }
                Period::Open => {
                    cycle.verdict = Verdict::Unproved;
                    cycle.proof = Some(Err(Refusal::PeriodOpen));
                }
            }
            turn_to_first(&mut cycle.states);
        }
        if cycle.verdict.is_kept() {
            describe(dynamics, cycle, input);
        }
    });
    found.sort_by(canonical_order);
    for later in 0..found.len() {
        let cycle = &found[later];
        if cycle.verdict != Verdict::Unproved {
            continue;
        }
        let merge = settings.merge_tolerance * scale(&cycle.states);
        let proved = found.iter().position(|known| {
            known.verdict == Verdict::Fixed && are_within(&cycle.states, &known.states, merge)
        });
        if let Some(id) = proved {
            found[later].verdict = Verdict::Rejected(Rejection::DuplicateOf(id));
            found[later].multipliers = Vec::new();
            found[later].n_unstable = None;
        }
    }
    // Proved cycles keep their places, which the duplicates refer to.
    found.sort_by(canonical_order);
    CycleSearch { cycles: found }
}

fn canonical_order(a: &Cycle, b: &Cycle) -> Ordering {
    let rank = |cycle: &Cycle| match cycle.verdict {
        Verdict::Fixed => 0,
        Verdict::Unproved => 1,
        Verdict::Rejected(_) => 2,
    };
    let coordinates = |a: &Cycle, b: &Cycle| {
        let mut orders = a.states.iter().zip(&b.states).map(|(a, b)| a.total_cmp(b));
        orders.find(|order| order.is_ne())
    };
    rank(a)
        .cmp(&rank(b))
        .then_with(|| a.n_unstable.cmp(&b.n_unstable))
        .then_with(|| b.found_from.cmp(&a.found_from))
        .then_with(|| coordinates(a, b).unwrap_or(Ordering::Equal))
}

/// Turns a cycle so that it begins with the state that comes first by its coordinates.
fn turn_to_first(states: &mut Array2<f64>) {
    let order = states.nrows();
    let by_coordinates = |&a: &usize, &b: &usize| {
        let mut orders = states.row(a).into_iter().zip(states.row(b));
        orders
            .find_map(|(a, b)| Some(a.total_cmp(b)).filter(|order| order.is_ne()))
            .unwrap_or(Ordering::Equal)
    };
    let first = (0..order).min_by(by_coordinates).unwrap_or(0);
    *states = Array2::from_shape_fn(states.dim(), |(step, k)| {
        states[[(step + first) % order, k]]
    });
}

/// Whether states that are a cycle are one of fewer steps.
enum Period {
    /// No.
    Whole,
    /// Yes, of so many.
    Part(usize),
    /// The balls of the proof do not say.
    Open,
}

/// The period of a cycle: by its proof where there is one, else by the merge tolerance.
///
/// Turned by d steps, the exact cycle is a cycle again. If that lies in the ball in which the cycle is the only one, it
/// is the same, and d a period. If some state is farther from that d steps later than the two cubes reach in which the
/// exact ones lie, these differ.
fn period(
    states: &Array2<f64>,
    certificate: Option<&Certificate>,
    settings: &CycleSettings,
) -> Period {
    let order = states.nrows();
    let mut open = false;
    for part in proper_divisors(order) {
        let gap = (0..order)
            .flat_map(|step| {
                let pairs = states
                    .row(step)
                    .into_iter()
                    .zip(states.row((step + part) % order));
                pairs.map(|(a, b)| (a - b).abs())
            })
            .fold(0.0, f64::max);
        // Each sum below is rounded once or twice.
        let slack = 4.0 * f64::EPSILON;
        match certificate {
            Some(proof) if (gap + proof.existence) * (1.0 + slack) <= proof.uniqueness => {
                return Period::Part(part);
            }
            Some(proof) => open |= gap * (1.0 - slack) <= 2.0 * proof.existence,
            None if gap <= settings.merge_tolerance * scale(states) => return Period::Part(part),
            None => {}
        }
    }
    if open { Period::Open } else { Period::Whole }
}

/// The multipliers of a cycle.
fn describe<D: Dynamics + ?Sized>(dynamics: &D, cycle: &mut Cycle, input: &[f64]) {
    let dim = cycle.states.ncols();
    let mut next = vec![0.0; dim];
    let mut jacobian = vec![0.0; dim * dim];
    let mut through = vec![0.0; dim * dim];
    let mut so_far: Vec<f64> = (0..dim * dim)
        .map(|k| if k % (dim + 1) == 0 { 1.0 } else { 0.0 })
        .collect();
    for state in flat(&cycle.states).chunks_exact(dim) {
        dynamics.step_with_jacobian(state, input, &mut next, &mut jacobian);
        let left = Left {
            values: &jacobian,
            row: dim,
            column: 1,
        };
        product(left, &so_far, dim, dim, &mut through);
        std::mem::swap(&mut so_far, &mut through);
    }
    // Products of long chaotic cycles leave the finite numbers, and have no eigenvalues then.
    let matrix = DMatrix::from_row_slice(dim, dim, &so_far);
    let size = matrix.norm();
    if let Ok(mut multipliers) = eigenvalues(&matrix) {
        multipliers.sort_by(|a, b| b.norm().total_cmp(&a.norm()).then(b.im.total_cmp(&a.im)));
        let unit = 1.0 + 16.0 * f64::EPSILON * (dim * cycle.order()) as f64 * size.max(1.0);
        let unstable = multipliers.iter().filter(|m| m.norm() > unit).count();
        cycle.n_unstable = Some(unstable);
        cycle.multipliers = multipliers;
    }
}

/// All steps of a cycle as one map: (x_1, ..., x_k) -> (F(x_k), F(x_1), ..., F(x_k-1)). Its fixed points are the points
/// of period k of F, and det(I - J) is that of F^k.
struct Stacked<'a, D: ?Sized> {
    dynamics: &'a D,
    enclosure: Option<&'a dyn Enclosure>,
    order: usize,
}

impl<D: Dynamics + ?Sized> Stacked<'_, D> {
    /// The places of the states of a step and of the next.
    fn blocks(&self) -> impl Iterator<Item = (std::ops::Range<usize>, std::ops::Range<usize>)> {
        let dim = self.dynamics.state_dim();
        let order = self.order;
        (0..order).map(move |step| {
            let next = (step + 1) % order;
            (step * dim..(step + 1) * dim, next * dim..(next + 1) * dim)
        })
    }

    /// Puts the Jacobian of a step in its place.
    fn place(
        &self,
        block: &[f64],
        from: &std::ops::Range<usize>,
        to: &std::ops::Range<usize>,
        all: &mut [f64],
    ) {
        let dim = self.dynamics.state_dim();
        let width = dim * self.order;
        for (row, values) in to.clone().zip(block.chunks_exact(dim)) {
            all[row * width..][from.clone()].copy_from_slice(values);
        }
    }
}

impl<D: Dynamics + ?Sized> Dynamics for Stacked<'_, D> {
    fn state_dim(&self) -> usize {
        self.dynamics.state_dim() * self.order
    }

    fn input_dim(&self) -> usize {
        self.dynamics.input_dim()
    }

    fn step(&self, state: &[f64], input: &[f64], next: &mut [f64]) {
        for (from, to) in self.blocks() {
            self.dynamics.step(&state[from], input, &mut next[to]);
        }
    }

    fn step_with_jacobian(
        &self,
        state: &[f64],
        input: &[f64],
        next: &mut [f64],
        jacobian: &mut [f64],
    ) {
        let dim = self.dynamics.state_dim();
        let mut block = vec![0.0; dim * dim];
        jacobian.fill(0.0);
        for (from, to) in self.blocks() {
            let (state, next) = (&state[from.clone()], &mut next[to.clone()]);
            self.dynamics
                .step_with_jacobian(state, input, next, &mut block);
            self.place(&block, &from, &to, jacobian);
        }
    }

    fn input_jacobian(&self, state: &[f64], input: &[f64], jacobian: &mut [f64]) {
        let width = input.len();
        for (from, to) in self.blocks() {
            let rows = to.start * width..to.end * width;
            self.dynamics
                .input_jacobian(&state[from], input, &mut jacobian[rows]);
        }
    }

    fn enclosure(&self) -> Option<&dyn Enclosure> {
        self.enclosure.map(|_| self as &dyn Enclosure)
    }
}

impl<D: Dynamics + ?Sized> Enclosure for Stacked<'_, D> {
    fn enclose_step(&self, state: &[Interval], input: &[f64], next: &mut [Interval]) {
        let Some(enclosure) = self.enclosure else {
            next.fill(Interval::WHOLE);
            return;
        };
        for (from, to) in self.blocks() {
            enclosure.enclose_step(&state[from], input, &mut next[to]);
        }
    }

    fn enclose_jacobian(
        &self,
        state: &[Interval],
        input: &[f64],
        next: &mut [Interval],
        midpoint: &mut [f64],
        radius: &mut [f64],
    ) {
        let Some(enclosure) = self.enclosure else {
            next.fill(Interval::WHOLE);
            radius.fill(f64::INFINITY);
            return;
        };
        let dim = self.dynamics.state_dim();
        let mut block = vec![0.0; dim * dim];
        let mut block_radius = vec![0.0; dim * dim];
        midpoint.fill(0.0);
        radius.fill(0.0);
        for (from, to) in self.blocks() {
            let (state, next) = (&state[from.clone()], &mut next[to.clone()]);
            enclosure.enclose_jacobian(state, input, next, &mut block, &mut block_radius);
            self.place(&block, &from, &to, midpoint);
            self.place(&block_radius, &from, &to, radius);
        }
    }
}

/// Proves that the states close, whatever their period.
fn prove_closed<D: Dynamics + ?Sized>(
    dynamics: &D,
    states: &Array2<f64>,
    input: &[f64],
) -> Result<Certificate, Refusal> {
    let enclosure = dynamics.enclosure();
    if enclosure.is_some() && states.len() > LARGEST_PROOF {
        return Err(Refusal::TooLarge);
    }
    let stacked = Stacked {
        dynamics,
        enclosure,
        order: states.nrows(),
    };
    prove(&stacked, flat(states), input)
}

/// The largest defect of the steps.
fn residual<D: Dynamics + ?Sized>(dynamics: &D, states: &Array2<f64>, input: &[f64]) -> f64 {
    let stacked = Stacked {
        dynamics,
        enclosure: None,
        order: states.nrows(),
    };
    let mut next = vec![0.0; states.len()];
    stacked.step(flat(states), input, &mut next);
    infinity_distance(&next, flat(states))
}

/// Newton's method from one guess.
fn search<D: Dynamics + ?Sized>(
    dynamics: &D,
    guess: Array2<f64>,
    input: &[f64],
    settings: &CycleSettings,
) -> Cycle {
    let mut shooting = Shooting {
        dynamics,
        input,
        defects: vec![0.0; guess.len()],
        jacobians: vec![0.0; guess.len() * guess.ncols()],
        states: guess,
    };
    let mut iterations = 0;
    let verdict = if shooting.linearise() {
        if shooting.converge(settings, &mut iterations) {
            Verdict::Unproved
        } else {
            Verdict::Rejected(Rejection::NotConverged)
        }
    } else {
        Verdict::Rejected(Rejection::NotFinite)
    };
    Cycle {
        residual: infinity_norm(&shooting.defects),
        states: shooting.states,
        verdict,
        multipliers: Vec::new(),
        n_unstable: None,
        proof: None,
        found_from: 1,
        iterations,
    }
}

/// States of an orbit that should close, with what they miss by.
struct Shooting<'a, D: ?Sized> {
    dynamics: &'a D,
    input: &'a [f64],
    /// x_j, `[step, state]`.
    states: Array2<f64>,
    /// g_j = x_j+1 - F(x_j), step by step; of the last step from x_k to x_1.
    defects: Vec<f64>,
    /// J_j, row-major, step by step.
    jacobians: Vec<f64>,
}

impl<D: Dynamics + ?Sized> Shooting<'_, D> {
    /// Newton steps, damped, until the defects stop falling. Whether that is at a cycle.
    fn converge(&mut self, settings: &CycleSettings, iterations: &mut usize) -> bool {
        let mut poor = 0;
        let correction = loop {
            let size = scale(&self.states);
            let Some(step) = newton_step(
                &self.jacobians,
                &self.defects,
                self.states.nrows(),
                self.states.ncols(),
            ) else {
                return false;
            };
            let correction = infinity_norm(&step);
            let residual = infinity_norm(&self.defects);
            if residual <= f64::EPSILON * size || *iterations == settings.max_iterations {
                break correction;
            }
            *iterations += 1;
            let Some(fall) = self.damped_step(&step, correction, size) else {
                break correction;
            };
            // At rounding level the defects may go on falling by a little for a long time.
            let arrived = residual <= ROUNDING_ERRORS * f64::EPSILON * size;
            poor += usize::from(fall > 0.9);
            if poor == MAX_POOR_STEPS || (arrived && fall > 0.25) {
                break correction;
            }
        };
        let size = scale(&self.states);
        let allowed = (ROUNDING_ERRORS * f64::EPSILON * size).max(settings.tolerance);
        infinity_norm(&self.defects) <= allowed && correction <= settings.merge_tolerance * size
    }

    /// Takes x + t d with the first t = 1, 1/2, 1/4, ... that lowers |g|^2 enough, and linearises there. Returns by which
    /// factor it fell; `None`, where none did, leaves all as it was.
    fn damped_step(&mut self, step: &[f64], length: f64, size: f64) -> Option<f64> {
        let square = |g: &[f64]| g.iter().map(|g| g * g).sum::<f64>();
        let before = square(&self.defects);
        let mut t = if length > size { size / length } else { 1.0 };
        for _ in 0..=MAX_HALVINGS {
            let mut trial = self.states.clone();
            for (x, d) in trial.iter_mut().zip(step) {
                *x += t * d;
            }
            let old_states = std::mem::replace(&mut self.states, trial);
            let old_defects = self.defects.clone();
            self.miss();
            let after = square(&self.defects);
            // d|g|^2 / dt = -2 |g|^2 along the Newton direction
            if after <= (1.0 - 2.0 * ARMIJO * t) * before && self.linearise() {
                return Some(after / before);
            }
            self.states = old_states;
            self.defects = old_defects;
            t *= 0.5;
        }
        // A linearisation that failed has left its Jacobians behind.
        self.linearise();
        None
    }

    /// The defects alone.
    fn miss(&mut self) {
        let (order, dim) = self.states.dim();
        let mut next = vec![0.0; dim];
        for step in 0..order {
            let state = &flat(&self.states)[step * dim..][..dim];
            self.dynamics.step(state, self.input, &mut next);
            self.set_defect(step, &next);
        }
    }

    fn set_defect(&mut self, step: usize, next: &[f64]) {
        let (order, dim) = self.states.dim();
        let target = self.states.row((step + 1) % order);
        let defects = &mut self.defects[step * dim..][..dim];
        for ((defect, x), next) in defects.iter_mut().zip(target).zip(next) {
            *defect = x - next;
        }
    }

    /// The defects and the Jacobians. False where something is not finite.
    fn linearise(&mut self) -> bool {
        let (order, dim) = self.states.dim();
        let mut next = vec![0.0; dim];
        for step in 0..order {
            let state = &flat(&self.states)[step * dim..][..dim];
            let jacobian = &mut self.jacobians[step * dim * dim..][..dim * dim];
            self.dynamics
                .step_with_jacobian(state, self.input, &mut next, jacobian);
            self.set_defect(step, &next);
        }
        let numbers = self.defects.iter().chain(&self.jacobians);
        numbers.copied().map(|x| x * 0.0).sum::<f64>() == 0.0
    }
}

/// The Newton step d_1, ..., d_k of d_j+1 - J_j d_j = -g_j, with d_k+1 = d_1; `None` where it is not determined.
///
/// An equation P d_1 + Q d_j = c is kept, at first that of step 1. With that of step j, its part of d_j is brought to
/// triangular form by Householder reflections,
///
/// ```text
/// ( P   Q     0 | c    )      ( S   R   T | u  )
/// ( 0  -J_j   I | -g_j )  ->  ( P'  0   Q'| c' )
/// ```
///
/// of which the upper row gives d_j once d_1 and d_j+1 are known, and the lower is the equation for the next step. At the
/// end (P + Q) d_1 = c.
fn newton_step(jacobians: &[f64], defects: &[f64], order: usize, dim: usize) -> Option<Vec<f64>> {
    let jacobian = |step: usize| {
        DMatrix::from_row_slice(dim, dim, &jacobians[step * dim * dim..][..dim * dim])
    };
    let target = |step: usize| -DVector::from_row_slice(&defects[step * dim..][..dim]);
    let mut first = -jacobian(0);
    let mut last = DMatrix::identity(dim, dim);
    let mut right = target(0);
    let mut eliminated = Vec::with_capacity(order);
    for step in 1..order {
        let mut column = DMatrix::zeros(2 * dim, dim);
        column.rows_mut(0, dim).copy_from(&last);
        column.rows_mut(dim, dim).copy_from(&-jacobian(step));
        let mut rest = DMatrix::zeros(2 * dim, 2 * dim + 1);
        rest.view_mut((0, 0), (dim, dim)).copy_from(&first);
        rest.view_mut((0, 2 * dim), (dim, 1)).copy_from(&right);
        rest.view_mut((dim, dim), (dim, dim)).fill_with_identity();
        rest.view_mut((dim, 2 * dim), (dim, 1))
            .copy_from(&target(step));
        let factors = column.qr();
        factors.q_tr_mul(&mut rest);
        first = rest.view((dim, 0), (dim, dim)).into_owned();
        last = rest.view((dim, dim), (dim, dim)).into_owned();
        right = rest.column(2 * dim).rows(dim, dim).into_owned();
        eliminated.push((factors.r(), rest.rows(0, dim).into_owned()));
    }
    let start = (first + last).lu().solve(&right)?;
    let mut steps = vec![0.0; order * dim];
    let mut next = start.clone();
    for (step, (triangle, rest)) in (1..order).zip(&eliminated).rev() {
        let known =
            rest.column(2 * dim) - rest.columns(0, dim) * &start - rest.columns(dim, dim) * &next;
        next = triangle.solve_upper_triangular(&known)?;
        steps[step * dim..][..dim].copy_from_slice(next.as_slice());
    }
    steps[..dim].copy_from_slice(start.as_slice());
    infinity_norm(&steps).is_finite().then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// The Newton step solves its equations, also where their product F^k would have a condition of 1e16.
        #[test]
        fn the_newton_step_solves_its_equations(
            order in 1_usize..12,
            dim in 1_usize..5,
            gain in 0.0_f64..30.0,
            seed in any::<u64>(),
        ) {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut draw = |count: usize, gain: f64| -> Vec<f64> {
                (0..count).map(|_| gain * random.random_range(-1.0..1.0)).collect()
            };
            let jacobians = draw(order * dim * dim, gain);
            let defects = draw(order * dim, 1.0);
            let step = newton_step(&jacobians, &defects, order, dim).unwrap();
            let size = infinity_norm(&step).max(1.0) * gain.max(1.0);
            for j in 0..order {
                let next = (j + 1) % order;
                for row in 0..dim {
                    let through: f64 = (0..dim)
                        .map(|k| jacobians[(j * dim + row) * dim + k] * step[j * dim + k])
                        .sum();
                    let left = step[next * dim + row] - through + defects[j * dim + row];
                    prop_assert!(left.abs() < 1e-13 * size, "{left} of {size}");
                }
            }
        }
    }
}
