//! Fixed and slow points of a map under a constant input.
//!
//! The search, its safeguards, and what becomes of each start are described at
//! [`find_fixed_points`].

mod from_start;
mod sameness;

use std::cmp::Ordering;

use nalgebra::{DMatrix, SVD};
use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::certificates::{Certificate, Refusal};
use crate::dense::{Lu, infinity_distance, infinity_norm};
use crate::linearization::eigenvalues;
use crate::{Dynamics, Error, Watch};
use from_start::{Candidate, Outcome, Searcher, allowed_residual};
use sameness::{Proved, group};

/// Singular-value iterations per row before the condition number counts as infinite.
const SVD_ITERATIONS: usize = 100;
/// Starts that a thread takes at a time: each has a workspace of three matrices.
const STARTS_AT_ONCE: usize = 16;

/// How the search for fixed points works. [`Default`] suits networks whose states are of order one.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedPointSettings {
    /// A point is fixed where |x - F(x, u)|_inf <= `tolerance`, or <= 16 eps max(1, |x|_inf) where
    /// that is larger: less is not to be had in f64. Default 1e-12.
    pub tolerance: f64,
    /// A local minimum of the speed q = 1/2 |x - F(x, u)|^2 that is not fixed is a slow point where
    /// q <= `slow_speed`, and rejected as too fast elsewhere. In squared state units per step
    /// squared. Default 1e-4.
    pub slow_speed: f64,
    /// The largest distance, as a fraction of max(1, |x|_inf), at which two points may count as
    /// one. Fixed points are told apart far below it wherever Newton's method can: see
    /// [`find_fixed_points`]. Default 1e-4.
    pub merge_tolerance: f64,
    /// Reject points that lie farther from the mean of the starts than this many times the mean
    /// distance of the starts from it. Default `None`: no point is rejected for where it is.
    pub outside_distance: Option<f64>,
    /// The speed q that trajectories have, by which slow points are ranked, in squared state units per step squared; see
    /// [`typical_speed`]. Default `None`: the median over the starts.
    pub trajectory_speed: Option<f64>,
    /// Newton steps before a start is handed to Levenberg-Marquardt. Default 40.
    pub max_newton_iterations: usize,
    /// Levenberg-Marquardt steps, accepted or not, before a start is given up. Default 300.
    pub max_levenberg_marquardt_iterations: usize,
}

impl Default for FixedPointSettings {
    fn default() -> Self {
        Self {
            tolerance: 1e-12,
            slow_speed: 1e-4,
            merge_tolerance: 1e-4,
            outside_distance: None,
            trajectory_speed: None,
            max_newton_iterations: 40,
            max_levenberg_marquardt_iterations: 300,
        }
    }
}

/// Why a candidate is neither a fixed nor a slow point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// A slow candidate within the merge tolerance of the fixed point with this id, or in the ball in which that is proved
    /// to be the only one: the search stalled beside a point that other starts reached.
    DuplicateOf(usize),
    /// Neither a fixed point nor a local minimum of the speed within the allowed iterations.
    NotConverged,
    /// A local minimum of the speed at which the state still moves faster than
    /// [`FixedPointSettings::slow_speed`].
    TooFast,
    /// Farther from the starts than [`FixedPointSettings::outside_distance`] allows.
    Outside,
    /// The map or its Jacobian is not finite at the start.
    NotFinite,
}

impl Rejection {
    /// The name in tables: `duplicate`, `not_converged`, `too_fast`, `outside`, `not_finite`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DuplicateOf(_) => "duplicate",
            Self::NotConverged => "not_converged",
            Self::TooFast => "too_fast",
            Self::Outside => "outside",
            Self::NotFinite => "not_finite",
        }
    }
}

/// What a candidate turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// F(x, u) = x to within [`FixedPointSettings::tolerance`], and proved to be fixed where the map has an
    /// [`enclosure`](Dynamics::enclosure).
    Fixed,
    /// A local minimum of the speed, slow but not fixed; also a point whose residual is at rounding level but of which no
    /// proof was had: at a bifurcation, along a line of fixed points, or at the ghost of what was one.
    Slow,
    /// Neither, and why.
    Rejected(Rejection),
}

impl Verdict {
    /// The name in tables: `fixed`, `slow`, `rejected`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Slow => "slow",
            Self::Rejected(_) => "rejected",
        }
    }

    /// True for [`Fixed`](Self::Fixed) and [`Slow`](Self::Slow).
    pub fn is_kept(self) -> bool {
        !matches!(self, Self::Rejected(_))
    }
}

/// How the search came to an end at a point, whatever the thresholds make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Newton's method ended with a residual and a last correction at rounding level.
    Converged,
    /// At a local minimum of the speed.
    Minimum,
    /// The iterations were used up.
    Exhausted,
    /// The map or its Jacobian was not finite at the start.
    NotFinite,
}

/// One candidate: a point of the state space that at least one start led to.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedPoint {
    /// Its place in [`FixedPointSearch::points`].
    pub id: usize,
    /// The state x, `[state]`.
    pub state: Vec<f64>,
    /// q = 1/2 |x - F(x, u)|^2.
    pub speed: f64,
    /// Its speed as a fraction of the [`trajectory_speed`](FixedPointSearch::trajectory_speed).
    pub relative_speed: f64,
    /// |x - F(x, u)|_inf after the polish.
    pub residual: f64,
    /// How the search ended here.
    pub ending: Ending,
    /// Distance from the mean of the starts, in mean distances of the starts from it; `None` where all coincide.
    pub distance: Option<f64>,
    /// Fixed, slow or rejected.
    pub verdict: Verdict,
    /// Number of eigenvalues of J = dF/dx with |lambda| > 1, beyond rounding. `None` for rejected points, and where
    /// the eigenvalue iteration failed.
    pub n_unstable: Option<usize>,
    /// The largest |lambda| of J. `None` as for [`n_unstable`](Self::n_unstable).
    pub spectral_radius: Option<f64>,
    /// Condition number of I - J in the 2-norm; infinite where it is singular. `None` for rejected
    /// points.
    pub condition: Option<f64>,
    /// The index of the point, sign det(I - J): 1, -1, or 0 where I - J is singular. Proved where the certificate has
    /// one. `None` unless fixed.
    pub index: Option<i8>,
    /// What was proved, or why nothing was; `None` where the search did not end at a fixed point.
    pub proof: Option<Result<Certificate, Refusal>>,
    /// How many starts led here.
    pub found_from: usize,
    /// The most iterations, Newton and Levenberg-Marquardt together, that any of them took.
    pub iterations: usize,
}

impl FixedPoint {
    /// What was proved of it.
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.proof {
            Some(Ok(certificate)) => Some(certificate),
            _ => None,
        }
    }
}

/// What the indices say of the completeness of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// No box is known that the map sends into itself, so that the sum of the indices may be anything.
    NoTrap,
    /// Of points in the box it is open whether they are fixed, or what their index is.
    Undecided,
    /// The indices of the fixed points in the box sum to one, as those of all must. Points may still be missing, such as
    /// both of a saddle-node pair.
    Complete,
    /// They do not: fixed points are missing for certain.
    Missing,
}

impl Topology {
    /// The name in tables: `no_trap`, `undecided`, `complete`, `missing`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoTrap => "no_trap",
            Self::Undecided => "undecided",
            Self::Complete => "complete",
            Self::Missing => "missing",
        }
    }
}

/// All that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedPointSearch {
    /// Fixed points, then slow points, then rejected candidates. Slow points by speed rising; the others by number of
    /// unstable directions, by `found_from` falling, and by state. `found_from` sums to the number of starts.
    pub points: Vec<FixedPoint>,
    /// For each start, the id of the point that it led to, `[start]`.
    pub led_to: Vec<usize>,
    /// Sum of the indices over the fixed points. Where F maps a ball into itself and every fixed
    /// point is simple, the sum over all of them is 1 (Lefschetz-Hopf), so another value proves
    /// that points are missing; 1 does not prove that none is.
    pub index_sum: i64,
    /// The speed that [`relative_speed`](FixedPoint::relative_speed) is measured by; NaN where there is none.
    pub trajectory_speed: f64,
    /// Half the widths of a box around the origin that the map is proved to send into itself, `[state]`.
    pub trapping_box: Option<Vec<f64>>,
}

impl FixedPointSearch {
    /// Whether the indices of the fixed points in the trapping box sum to one, as those of all must.
    ///
    /// Where F maps a box into its interior, the indices sign det(I - J) of all fixed points in it sum to one if every
    /// one is simple (Lefschetz-Hopf; the flip-flop's 8 - 12 + 6 - 1). Only points of which both existence and index are
    /// proved decide.
    pub fn topology(&self) -> Topology {
        let Some(half_widths) = &self.trapping_box else {
            return Topology::NoTrap;
        };
        let inside = |point: &&FixedPoint| {
            let pairs = point.state.iter().zip(half_widths);
            pairs.clone().all(|(x, r)| x.abs() < *r)
        };
        let mut sum = 0;
        for point in self.points.iter().filter(inside) {
            match (point.ending, point.verdict, &point.proof) {
                (_, Verdict::Rejected(Rejection::DuplicateOf(_)), _) => {}
                (_, _, Some(Ok(certificate))) => match certificate.index {
                    Some(index) => sum += i64::from(index),
                    None => return Topology::Undecided,
                },
                (Ending::Converged, _, _) => return Topology::Undecided,
                _ => {}
            }
        }
        if sum == 1 {
            Topology::Complete
        } else {
            Topology::Missing
        }
    }

    /// The chance that one more start would lead to a fixed point that was not found, estimated as the number of fixed
    /// points that a single start led to over the number of starts. `None` without starts.
    ///
    /// I. J. Good, The population frequencies of species and the estimation of population parameters, Biometrika 40
    /// (1953) 237-264. It speaks of starts drawn as these were: what no start is near has no chance.
    pub fn unseen_mass(&self) -> Option<f64> {
        let once = self.fixed().filter(|point| point.found_from == 1).count();
        (!self.led_to.is_empty()).then(|| once as f64 / self.led_to.len() as f64)
    }

    /// Whether nothing says that more starts would find more: the indices do not prove that points are missing, and
    /// every fixed point was found from two starts at least.
    pub fn is_exhausted(&self) -> bool {
        self.topology() != Topology::Missing && self.fixed().all(|point| point.found_from > 1)
    }

    /// The number of distinct fixed points that so many of the starts are expected to lead to, drawn at random from all
    /// of them: pairs (starts, points) for 1, 2, 4, ... and all starts. A curve that still rises at its end says that
    /// more starts would find more.
    ///
    /// Rarefaction: sum over points of 1 - C(N - n, m) / C(N, m), n the starts that led to the point, N all, m drawn
    /// (S. H. Hurlbert, Ecology 52, 1971).
    pub fn saturation(&self) -> Vec<(usize, f64)> {
        let total = self.led_to.len();
        let sizes = std::iter::successors(Some(1_usize), |size| size.checked_mul(2));
        let mut sizes: Vec<usize> = sizes.take_while(|&size| size < total).collect();
        sizes.extend((total > 0).then_some(total));
        let missed = |found_from: usize, drawn: usize| -> f64 {
            // C(N - n, m) / C(N, m) = prod_{j < n} (N - m - j) / (N - j)
            (0..found_from)
                .map(|j| total.saturating_sub(drawn + j) as f64 / (total - j) as f64)
                .product()
        };
        sizes
            .into_iter()
            .map(|drawn| {
                let seen = self
                    .fixed()
                    .map(|point| 1.0 - missed(point.found_from, drawn));
                (drawn, seen.sum())
            })
            .collect()
    }

    /// The same search judged by other thresholds: `tolerance`, `slow_speed`, `merge_tolerance`, `outside_distance` and
    /// `trajectory_speed` of `settings`. Nothing is searched again; ids are given anew. `dynamics` and `input` are those
    /// of the search, for the Jacobians of points that had been rejected.
    ///
    /// # Errors
    /// [`Error::Setting`] where a threshold is out of range, [`Error::Shape`] where the map has another size.
    pub fn judged_by<D: Dynamics + ?Sized>(
        &self,
        dynamics: &D,
        input: &[f64],
        settings: &FixedPointSettings,
    ) -> Result<Self, Error> {
        settings.check()?;
        Error::check_shape("input", dynamics.input_dim(), input.len())?;
        for point in &self.points {
            Error::check_shape("state", dynamics.state_dim(), point.state.len())?;
        }
        let mut members = vec![Vec::new(); self.points.len()];
        for (start, &id) in self.led_to.iter().enumerate() {
            if let Some(members) = members.get_mut(id) {
                members.push(start);
            }
        }
        let found = self.points.iter().cloned().zip(members).collect();
        let trajectory_speed = settings.trajectory_speed.unwrap_or(self.trajectory_speed);
        let trap = self.trapping_box.clone();
        Ok(assemble(
            dynamics,
            input,
            settings,
            found,
            trajectory_speed,
            trap,
        ))
    }

    /// The fixed points, without slow and rejected ones.
    pub fn fixed(&self) -> impl Iterator<Item = &FixedPoint> {
        self.points
            .iter()
            .filter(|point| point.verdict == Verdict::Fixed)
    }

    /// The slow points.
    pub fn slow(&self) -> impl Iterator<Item = &FixedPoint> {
        self.points
            .iter()
            .filter(|point| point.verdict == Verdict::Slow)
    }
}

/// Finds the fixed and slow points of x' = F(x, `input`) that `starts` lead to.
///
/// Returns every candidate with its verdict and proof, the point that each start led to, and what can be said of
/// completeness: the sum of the indices, [`topology`](FixedPointSearch::topology),
/// [`saturation`](FixedPointSearch::saturation) and [`unseen_mass`](FixedPointSearch::unseen_mass). The result is the same, bit for bit, for any number of threads; another order of the
/// starts changes nothing but the order of [`led_to`](FixedPointSearch::led_to).
///
/// # Arguments
/// - `dynamics`: the map, with its exact Jacobian.
/// - `starts`: `[start, state]`, for instance from [`sample_starts`](crate::starts::sample_starts).
/// - `input`: the input held constant, `[input]`.
/// - `settings`: tolerances and budgets, all with defaults.
/// - `watch`: asked before every step of all starts.
///
/// # Method
/// From each start, Newton's method on f(x) = x - F(x, u) with A = I - dF/dx, its steps no longer
/// than max(1, |x|) and halved until |f|^2 falls. Where that fails, or twice brings less than half,
/// Levenberg-Marquardt lowers the speed q = 1/2 |f|^2 from there, to a fixed point or to a local minimum
/// of q, a slow point. Both end in Newton steps in f64 that go on until the residual stops falling. A point has
/// converged where the residual is then within the tolerance and the last Newton correction within
/// `merge_tolerance` max(1, |x|_inf): a gate that saturates far out makes the residual small
/// without a fixed point near by.
///
/// All starts take a step together. What has converged is then proved by
/// [Krawczyk's test](crate::certificates::certify), and a start that has come into the ball in which a proved fixed
/// point is the only one leaves: it has led there. What cannot be proved is no fixed point but a slow one, unless
/// the map has no enclosure, where the residual alone decides.
///
/// Each point that has converged without a proof comes with an uncertainty: its last Newton correction plus
/// eps max(1, |x|_inf) |A^-1|_inf, what a rounding error of F amounts to in x. Two candidates are
/// the same where their distance is below eight times the larger uncertainty, or at
/// most `merge_tolerance` max(1, |x|_inf), whichever is less. Simple fixed points are so told
/// apart down to about 1e-14 |A^-1|; where A is singular (at a bifurcation, along a line or ring
/// attractor) Newton's method cannot tell, and all within the merge tolerance become one. Minima of
/// the speed are the same within the merge tolerance. Sameness is taken to be transitive, so it
/// does not depend on the order; of the candidates that are one, the slowest is kept, and among
/// equals the first by coordinates.
///
/// # Errors
/// [`Error::Shape`] where the width of `starts` or the length of `input` does not fit the map,
/// [`Error::Setting`] where a tolerance is out of range, [`Error::Stopped`] where `watch` says so.
///
/// # Reference
/// D. Sussillo and O. Barak, Opening the black box, Neural Computation 25 (2013) 626-649;
/// M. D. Golub and D. Sussillo, FixedPointFinder, JOSS 3 (2018) 1003.
pub fn find_fixed_points<D: Dynamics + ?Sized>(
    dynamics: &D,
    starts: ArrayView2<'_, f64>,
    input: &[f64],
    settings: &FixedPointSettings,
    watch: Watch,
) -> Result<FixedPointSearch, Error> {
    let dim = dynamics.state_dim();
    settings.check()?;
    Error::check_shape("starts, columns", dim, starts.ncols())?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    if dim == 0 {
        return Err(Error::TooFew {
            what: "elements of the state",
            needed: 1,
            found: 0,
        });
    }
    let mut candidates: Vec<Candidate> = starts
        .rows()
        .into_iter()
        .map(|row| Candidate::new(row.to_vec()))
        .collect();
    let mut proved = Proved::default();
    for outcome in [Outcome::Running, Outcome::Stalled] {
        loop {
            let mut active: Vec<&mut Candidate> = candidates
                .iter_mut()
                .filter(|candidate| candidate.outcome == outcome)
                .collect();
            if active.is_empty() {
                break;
            }
            Error::check_watch(watch, 1.0 - active.len() as f64 / starts.nrows() as f64)?;
            active.par_chunks_mut(STARTS_AT_ONCE).for_each_init(
                || Searcher::new(dynamics, input, settings),
                |searcher, candidates| {
                    for candidate in candidates {
                        match outcome {
                            Outcome::Running => searcher.newton(candidate, &proved.balls),
                            _ => searcher.descend(candidate, &proved.balls),
                        }
                    }
                },
            );
            proved.add(dynamics, input, &mut candidates, settings.merge_tolerance);
        }
    }
    let region = Region::around(starts);
    let mut groups = proved.members(&candidates);
    groups.extend(group(&candidates, settings.merge_tolerance));
    let found: Vec<(FixedPoint, Vec<usize>)> = groups
        .into_iter()
        .map(|members| {
            let mut point = describe_end(&candidates, &members, region.as_ref());
            // Of a group that could not be proved, some may have been minima of the speed from the beginning.
            point.proof = members
                .iter()
                .find_map(|&start| proved.proof_of(&candidates[start]));
            (point, members)
        })
        .collect();
    let trajectory_speed = settings.trajectory_speed.unwrap_or_else(|| {
        median(
            candidates
                .iter()
                .map(|candidate| candidate.start_speed)
                .collect(),
        )
    });
    let trap = dynamics.enclosure().and_then(|map| map.trapping_box(input));
    Ok(assemble(
        dynamics,
        input,
        settings,
        found,
        trajectory_speed,
        trap,
    ))
}

/// The median speed q = 1/2 |x - F(x, u)|^2 over `states`, `[sample, state]`, under the constant `input`: how fast a
/// trajectory through them is, for [`FixedPointSettings::trajectory_speed`]. NaN where no speed is finite.
///
/// # Errors
/// [`Error::Shape`] where the width of `states` or the length of `input` does not fit the map.
pub fn typical_speed<D: Dynamics + ?Sized>(
    dynamics: &D,
    states: ArrayView2<'_, f64>,
    input: &[f64],
) -> Result<f64, Error> {
    Error::check_shape("states, columns", dynamics.state_dim(), states.ncols())?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    let mut next = vec![0.0; dynamics.state_dim()];
    let speeds = states.rows().into_iter().map(|state| {
        let state = state.to_vec();
        dynamics.step(&state, input, &mut next);
        let squares = state.iter().zip(&next).map(|(x, y)| (x - y) * (x - y));
        0.5 * squares.sum::<f64>()
    });
    Ok(median(speeds.collect()))
}

/// The median of the finite values; NaN where there is none.
fn median(mut values: Vec<f64>) -> f64 {
    values.retain(|v| v.is_finite());
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(&upper), 0) => 0.5 * (values[middle - 1] + upper),
        (Some(&only), _) => only,
        (None, _) => f64::NAN,
    }
}

/// Gives every point its verdict, describes those that are kept, and puts all in order. Each comes with the starts that
/// led to it.
fn assemble<D: Dynamics + ?Sized>(
    dynamics: &D,
    input: &[f64],
    settings: &FixedPointSettings,
    mut found: Vec<(FixedPoint, Vec<usize>)>,
    trajectory_speed: f64,
    trapping_box: Option<Vec<f64>>,
) -> FixedPointSearch {
    for (id, (point, _)) in found.iter_mut().enumerate() {
        point.id = id;
        point.verdict = judge(point, settings);
        point.relative_speed = point.speed / trajectory_speed;
    }
    reject_duplicates(&mut found, settings.merge_tolerance);
    found
        .par_iter_mut()
        .for_each(|(point, _)| describe(dynamics, input, point));
    found.sort_by(|(a, _), (b, _)| canonical_order(a, b));

    let mut led_to = vec![0; found.iter().map(|(_, members)| members.len()).sum()];
    let mut points = Vec::with_capacity(found.len());
    // Where a point stood before sorting is what the duplicates refer to.
    let mut id_of = vec![0; found.len()];
    for (id, (mut point, members)) in found.into_iter().enumerate() {
        for start in members {
            led_to[start] = id;
        }
        id_of[point.id] = id;
        point.id = id;
        points.push(point);
    }
    for point in &mut points {
        if let Verdict::Rejected(Rejection::DuplicateOf(original)) = &mut point.verdict {
            *original = id_of[*original];
        }
    }
    let index_sum = points
        .iter()
        .filter_map(|point| point.index)
        .map(i64::from)
        .sum();
    FixedPointSearch {
        points,
        led_to,
        index_sum,
        trajectory_speed,
        trapping_box,
    }
}

impl FixedPointSettings {
    fn check(&self) -> Result<(), Error> {
        let settings = [
            ("tolerance", Some(self.tolerance)),
            ("slow_speed", Some(self.slow_speed)),
            ("merge_tolerance", Some(self.merge_tolerance)),
            ("outside_distance", self.outside_distance),
            ("trajectory_speed", self.trajectory_speed),
        ];
        for (what, value) in settings {
            if let Some(value) = value
                && !(value.is_finite() && value >= 0.0)
            {
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

/// Where the starts are, to say how far off a point lies.
struct Region {
    centre: Vec<f64>,
    /// Mean distance of the starts from their mean.
    scale: f64,
}

impl Region {
    /// `None` where no start is finite, or all finite ones coincide: one place has no scale of distance.
    fn around(starts: ArrayView2<'_, f64>) -> Option<Self> {
        let mut rows: Vec<Vec<f64>> = starts
            .rows()
            .into_iter()
            .filter(|row| row.iter().all(|v| v.is_finite()))
            .map(|row| row.to_vec())
            .collect();
        // Sums in one order, whatever the order of the starts.
        rows.sort_by(|a, b| by_coordinates(a, b));
        let count = rows.len() as f64;
        let mut centre = vec![0.0; rows.first()?.len()];
        for row in &rows {
            for (centre, v) in centre.iter_mut().zip(row) {
                *centre += v / count;
            }
        }
        let mean = rows
            .iter()
            .map(|row| distance(row, &centre) / count)
            .sum::<f64>();
        if mean == 0.0 {
            return None;
        }
        Some(Self {
            centre,
            scale: mean,
        })
    }

    fn distance(&self, state: &[f64]) -> f64 {
        distance(state, &self.centre) / self.scale
    }
}

/// The 2-norm of a - b.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b));
    squares.sum::<f64>().sqrt()
}

/// Lexicographic order by the total order of f64.
fn by_coordinates(a: &[f64], b: &[f64]) -> Ordering {
    let mut orders = a.iter().zip(b).map(|(a, b)| a.total_cmp(b));
    orders
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// The point that a group of candidates stands for, before its verdict.
fn describe_end(
    candidates: &[Candidate],
    members: &[usize],
    region: Option<&Region>,
) -> FixedPoint {
    let kept = &candidates[members[0]];
    let any_converged = members
        .iter()
        .any(|&start| candidates[start].outcome == Outcome::Converged);
    let iterations = members
        .iter()
        .map(|&start| candidates[start].iterations)
        .max();
    FixedPoint {
        id: 0,
        state: kept.state.clone(),
        speed: kept.speed,
        relative_speed: f64::NAN,
        residual: kept.residual,
        ending: match kept.outcome {
            Outcome::Joined(_) | Outcome::Converged => Ending::Converged,
            Outcome::Stationary if any_converged => Ending::Converged,
            Outcome::Stationary => Ending::Minimum,
            Outcome::Exhausted | Outcome::Running | Outcome::Stalled => Ending::Exhausted,
            Outcome::NotFinite => Ending::NotFinite,
        },
        distance: region.map(|region| region.distance(&kept.state)),
        verdict: Verdict::Rejected(Rejection::NotConverged),
        n_unstable: None,
        spectral_radius: None,
        condition: None,
        index: None,
        proof: None,
        found_from: members.len(),
        iterations: iterations.unwrap_or(0),
    }
}

/// What the thresholds make of a point.
fn judge(point: &FixedPoint, settings: &FixedPointSettings) -> Verdict {
    match point.ending {
        Ending::NotFinite => return Verdict::Rejected(Rejection::NotFinite),
        Ending::Exhausted => return Verdict::Rejected(Rejection::NotConverged),
        Ending::Converged | Ending::Minimum => {}
    }
    if let (Some(limit), Some(distance)) = (settings.outside_distance, point.distance)
        && distance > limit
    {
        return Verdict::Rejected(Rejection::Outside);
    }
    let proved = matches!(point.proof, Some(Ok(_) | Err(Refusal::NoEnclosure)));
    if proved && point.residual <= allowed_residual(&point.state, settings.tolerance) {
        Verdict::Fixed
    } else if point.speed <= settings.slow_speed {
        Verdict::Slow
    } else {
        Verdict::Rejected(Rejection::TooFast)
    }
}

/// Slow points within the merge tolerance of a fixed point, or in its ball of uniqueness, become duplicates of the
/// nearest.
fn reject_duplicates(found: &mut [(FixedPoint, Vec<usize>)], merge_tolerance: f64) {
    let fixed: Vec<(usize, Vec<f64>, f64)> = found
        .iter()
        .filter(|(point, _)| point.verdict == Verdict::Fixed)
        .map(|(point, _)| {
            let unique = point.certificate().map_or(0.0, |c| c.uniqueness);
            (point.id, point.state.clone(), unique)
        })
        .collect();
    for (point, _) in found
        .iter_mut()
        .filter(|(point, _)| point.verdict == Verdict::Slow)
    {
        let reach = merge_tolerance * infinity_norm(&point.state).max(1.0);
        let nearest = fixed
            .iter()
            .map(|(id, state, unique)| (infinity_distance(state, &point.state), *id, *unique))
            .filter(|(distance, _, unique)| {
                // A minimum of the speed in the ball of uniqueness may be one in its own right.
                let same = point.ending == Ending::Converged && distance <= unique;
                same || *distance <= reach
            })
            .min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, id, _)) = nearest {
            point.verdict = Verdict::Rejected(Rejection::DuplicateOf(id));
        }
    }
}

/// Fills in what a kept point's Jacobian says, where that has not been done. Of rejected points nothing is said.
fn describe<D: Dynamics + ?Sized>(dynamics: &D, input: &[f64], point: &mut FixedPoint) {
    if !point.verdict.is_kept() {
        point.n_unstable = None;
        point.spectral_radius = None;
        point.condition = None;
    }
    if point.verdict != Verdict::Fixed {
        point.index = None;
    }
    if !point.verdict.is_kept() {
        return;
    }
    let dim = point.state.len();
    let mut next = vec![0.0; dim];
    let mut jacobian = vec![0.0; dim * dim];
    dynamics.step_with_jacobian(&point.state, input, &mut next, &mut jacobian);
    let jacobian = DMatrix::from_row_slice(dim, dim, &jacobian);
    if let Ok(eigenvalues) = eigenvalues(&jacobian) {
        let moduli = eigenvalues.iter().map(|lambda| lambda.norm());
        // The neutral directions of a line of fixed points have |lambda| = 1 but for rounding.
        let size = jacobian.iter().map(|x| x * x).sum::<f64>().sqrt();
        let unit = 1.0 + 16.0 * f64::EPSILON * moduli.clone().count() as f64 * size.max(1.0);
        point.n_unstable = Some(moduli.clone().filter(|&modulus| modulus > unit).count());
        point.spectral_radius = Some(moduli.fold(0.0, f64::max));
    }
    let a = DMatrix::identity(dim, dim) - jacobian;
    if point.verdict == Verdict::Fixed {
        let proved = point.certificate().and_then(|c| c.index);
        let mut lu = Lu::new(dim);
        // The determinant does not care for the transposition that column-major storage brings.
        point.index = proved.or_else(|| {
            Some(if lu.factor(a.as_slice()) {
                lu.determinant_sign()
            } else {
                0
            })
        });
    }
    let singular = SVD::try_new(a, false, false, f64::EPSILON, SVD_ITERATIONS * dim);
    point.condition = Some(singular.map_or(f64::INFINITY, |svd| {
        let least = svd.singular_values.min();
        if least > 0.0 {
            svd.singular_values.max() / least
        } else {
            f64::INFINITY
        }
    }));
}

/// The order of [`FixedPointSearch::points`].
fn canonical_order(a: &FixedPoint, b: &FixedPoint) -> Ordering {
    let rank = |point: &FixedPoint| match point.verdict {
        Verdict::Fixed => 0,
        Verdict::Slow => 1,
        Verdict::Rejected(_) => 2,
    };
    let key = |point: &FixedPoint| (rank(point), point.n_unstable);
    let speeds = |a: &FixedPoint, b: &FixedPoint| match (a.verdict, b.verdict) {
        (Verdict::Slow, Verdict::Slow) => a.speed.total_cmp(&b.speed),
        _ => Ordering::Equal,
    };
    rank(a)
        .cmp(&rank(b))
        .then_with(|| speeds(a, b))
        .then_with(|| key(a).cmp(&key(b)))
        .then_with(|| b.found_from.cmp(&a.found_from))
        .then_with(|| by_coordinates(&a.state, &b.state))
        .then_with(|| a.iterations.cmp(&b.iterations))
}
