//! Fixed and slow points of a map under a constant input.
//!
//! The search, its safeguards, and what becomes of each start are described at
//! [`find_fixed_points`].

mod from_start;

use std::cmp::Ordering;

use nalgebra::{DMatrix, SVD};
use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::dense::{Lu, infinity_distance, infinity_norm};
use crate::linearization::eigenvalues;
use crate::{Dynamics, Error};
use from_start::{Candidate, Outcome, Searcher};

/// Singular-value iterations per row before the condition number counts as infinite.
const SVD_ITERATIONS: usize = 100;
/// Two fixed points this many uncertainties apart are two.
const SEPARATION: f64 = 8.0;

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
            max_newton_iterations: 40,
            max_levenberg_marquardt_iterations: 300,
        }
    }
}

/// Why a candidate is neither a fixed nor a slow point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// A slow candidate within the merge tolerance of the fixed point with this id: the search
    /// stalled beside a point that other starts reached.
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
    /// F(x, u) = x to within [`FixedPointSettings::tolerance`].
    Fixed,
    /// A local minimum of the speed, slow but not fixed.
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

/// One candidate: a point of the state space that at least one start led to.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedPoint {
    /// Its place in [`FixedPointSearch::points`].
    pub id: usize,
    /// The state x, `[state]`.
    pub state: Vec<f64>,
    /// q = 1/2 |x - F(x, u)|^2.
    pub speed: f64,
    /// |x - F(x, u)|_inf after the polish.
    pub residual: f64,
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
    /// The index of the point, sign det(I - J): 1, -1, or 0 where I - J is singular. `None` unless
    /// fixed.
    pub index: Option<i8>,
    /// How many starts led here.
    pub found_from: usize,
    /// The most iterations, Newton and Levenberg-Marquardt together, that any of them took.
    pub iterations: usize,
}

/// All that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedPointSearch {
    /// Fixed points, then slow points, then rejected candidates; within each by number of unstable
    /// directions, by `found_from` falling, and by state. `found_from` sums to the number of starts.
    pub points: Vec<FixedPoint>,
    /// For each start, the id of the point that it led to, `[start]`.
    pub led_to: Vec<usize>,
    /// Sum of the indices over the fixed points. Where F maps a ball into itself and every fixed
    /// point is simple, the sum over all of them is 1 (Lefschetz-Hopf), so another value proves
    /// that points are missing; 1 does not prove that none is.
    pub index_sum: i64,
}

impl FixedPointSearch {
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
/// Returns every candidate with its verdict, the point that each start led to, and the sum of the
/// indices. The result is the same, bit for bit, for any number of threads; another order of the
/// starts changes nothing but the order of [`led_to`](FixedPointSearch::led_to).
///
/// # Arguments
/// - `dynamics`: the map, with its exact Jacobian.
/// - `starts`: `[start, state]`, for instance from [`sample_starts`](crate::starts::sample_starts).
/// - `input`: the input held constant, `[input]`.
/// - `settings`: tolerances and budgets, all with defaults.
///
/// # Method
/// From each start, Newton's method on f(x) = x - F(x, u) with A = I - dF/dx, its steps no longer
/// than max(1, |x|) and halved until |f|^2 falls. Where that fails, Levenberg-Marquardt lowers the
/// speed q = 1/2 |f|^2 from there, to a fixed point or to a local minimum of q, a slow point. Both
/// end in Newton steps in f64 that go on until the residual stops falling. A point is fixed where
/// the residual is then within the tolerance and the last Newton correction within
/// `merge_tolerance` max(1, |x|_inf): a gate that saturates far out makes the residual small
/// without a fixed point near by.
///
/// Each fixed point comes with an uncertainty: its last Newton correction plus
/// eps max(1, |x|_inf) |A^-1|_inf, what a rounding error of F amounts to in x. Two candidates are
/// the same fixed point where their distance is below eight times the larger uncertainty, or at
/// most `merge_tolerance` max(1, |x|_inf), whichever is less. Simple fixed points are so told
/// apart down to about 1e-14 |A^-1|; where A is singular (at a bifurcation, along a line or ring
/// attractor) Newton's method cannot tell, and all within the merge tolerance become one. Minima of
/// the speed are the same within the merge tolerance. Sameness is taken to be transitive, so it
/// does not depend on the order; of the candidates that are one, the slowest is kept, and among
/// equals the first by coordinates.
///
/// # Errors
/// [`Error::Shape`] where the width of `starts` or the length of `input` does not fit the map,
/// [`Error::Setting`] where a tolerance is out of range.
///
/// # Reference
/// D. Sussillo and O. Barak, Opening the black box, Neural Computation 25 (2013) 626-649;
/// M. D. Golub and D. Sussillo, FixedPointFinder, JOSS 3 (2018) 1003.
pub fn find_fixed_points<D: Dynamics + ?Sized>(
    dynamics: &D,
    starts: ArrayView2<'_, f64>,
    input: &[f64],
    settings: &FixedPointSettings,
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
    let candidates: Vec<Candidate> = (0..starts.nrows())
        .into_par_iter()
        .map_init(
            || Searcher::new(dynamics, input, settings),
            |searcher, start| searcher.search(starts.row(start).iter().copied()),
        )
        .collect();
    let region = settings
        .outside_distance
        .and_then(|factor| Region::around(starts, factor));
    let mut found: Vec<(FixedPoint, Vec<usize>)> = group(&candidates, settings.merge_tolerance)
        .into_iter()
        .enumerate()
        .map(|(id, members)| {
            (
                judge(id, &candidates, &members, settings, region.as_ref()),
                members,
            )
        })
        .collect();
    reject_duplicates(&mut found, settings.merge_tolerance);
    found
        .par_iter_mut()
        .filter(|(point, _)| point.verdict.is_kept())
        .for_each(|(point, _)| describe(dynamics, input, point));
    found.sort_by(|(a, _), (b, _)| canonical_order(a, b));

    let mut led_to = vec![0; starts.nrows()];
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
    Ok(FixedPointSearch {
        points,
        led_to,
        index_sum,
    })
}

impl FixedPointSettings {
    fn check(&self) -> Result<(), Error> {
        let settings = [
            ("tolerance", Some(self.tolerance)),
            ("slow_speed", Some(self.slow_speed)),
            ("merge_tolerance", Some(self.merge_tolerance)),
            ("outside_distance", self.outside_distance),
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

/// The ball outside which points are rejected.
struct Region {
    centre: Vec<f64>,
    radius: f64,
}

impl Region {
    /// `factor` times the mean distance of the starts from their mean, around that mean; `None`
    /// where no start is finite, or all finite ones coincide: one place has no scale of distance.
    fn around(starts: ArrayView2<'_, f64>, factor: f64) -> Option<Self> {
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
            radius: factor * mean,
            centre,
        })
    }

    fn contains(&self, state: &[f64]) -> bool {
        distance(state, &self.centre) <= self.radius
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

/// The candidates that are one and the same point, as lists of starts, the kept one first.
fn group(candidates: &[Candidate], merge_tolerance: f64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&candidates[a], &candidates[b]);
        let outcome = a.outcome.cmp(&b.outcome);
        outcome.then_with(|| by_coordinates(&a.state, &b.state))
    });
    let sorted: Vec<&Candidate> = order.iter().map(|&start| &candidates[start]).collect();
    let radii: Vec<f64> = sorted
        .iter()
        .map(|candidate| match candidate.outcome {
            Outcome::Converged => {
                (SEPARATION * candidate.uncertainty).min(merge_radius(candidate, merge_tolerance))
            }
            Outcome::Stationary => merge_radius(candidate, merge_tolerance),
            Outcome::Exhausted | Outcome::NotFinite => 0.0,
        })
        .collect();
    let widest = radii.iter().copied().fold(0.0, f64::max);

    // Connected components: `parent` leads from each candidate to the first of its group.
    let mut parent: Vec<usize> = (0..sorted.len()).collect();
    for (i, a) in sorted.iter().enumerate() {
        if !matches!(a.outcome, Outcome::Converged | Outcome::Stationary) {
            continue;
        }
        for (j, b) in sorted.iter().enumerate().skip(i + 1) {
            // Sorted by the first coordinate, so nothing near comes after the first gap.
            if b.outcome != a.outcome || b.state[0] - a.state[0] > widest {
                break;
            }
            let (root_a, root_b) = (root(&mut parent, i), root(&mut parent, j));
            if root_a != root_b && infinity_distance(&a.state, &b.state) <= radii[i].max(radii[j]) {
                parent[root_a.max(root_b)] = root_a.min(root_b);
            }
        }
    }

    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of_root = vec![usize::MAX; sorted.len()];
    for (i, &start) in order.iter().enumerate() {
        let root = root(&mut parent, i);
        if root == i {
            group_of_root[i] = groups.len();
            groups.push(vec![start]);
            continue;
        }
        let members = &mut groups[group_of_root[root]];
        members.push(start);
        if sorted[i].speed < candidates[members[0]].speed {
            let last = members.len() - 1;
            members.swap(0, last);
        }
    }
    groups
}

/// The first of the group of `i`, with the way there halved for the next time.
fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

fn merge_radius(candidate: &Candidate, merge_tolerance: f64) -> f64 {
    merge_tolerance * infinity_norm(&candidate.state).max(1.0)
}

/// The point that a group of candidates stands for, with its verdict.
fn judge(
    id: usize,
    candidates: &[Candidate],
    members: &[usize],
    settings: &FixedPointSettings,
    region: Option<&Region>,
) -> FixedPoint {
    let kept = &candidates[members[0]];
    let verdict = match kept.outcome {
        Outcome::NotFinite => Verdict::Rejected(Rejection::NotFinite),
        Outcome::Exhausted => Verdict::Rejected(Rejection::NotConverged),
        Outcome::Converged | Outcome::Stationary
            if region.is_some_and(|region| !region.contains(&kept.state)) =>
        {
            Verdict::Rejected(Rejection::Outside)
        }
        Outcome::Converged => Verdict::Fixed,
        Outcome::Stationary if kept.speed <= settings.slow_speed => Verdict::Slow,
        Outcome::Stationary => Verdict::Rejected(Rejection::TooFast),
    };
    let iterations = members
        .iter()
        .map(|&start| candidates[start].iterations)
        .max();
    FixedPoint {
        id,
        state: kept.state.clone(),
        speed: kept.speed,
        residual: kept.residual,
        verdict,
        n_unstable: None,
        spectral_radius: None,
        condition: None,
        index: None,
        found_from: members.len(),
        iterations: iterations.unwrap_or(0),
    }
}

/// Slow points within the merge tolerance of a fixed point become duplicates of the nearest.
fn reject_duplicates(found: &mut [(FixedPoint, Vec<usize>)], merge_tolerance: f64) {
    let fixed: Vec<(usize, Vec<f64>)> = found
        .iter()
        .filter(|(point, _)| point.verdict == Verdict::Fixed)
        .map(|(point, _)| (point.id, point.state.clone()))
        .collect();
    for (point, _) in found
        .iter_mut()
        .filter(|(point, _)| point.verdict == Verdict::Slow)
    {
        let reach = merge_tolerance * infinity_norm(&point.state).max(1.0);
        let nearest = fixed
            .iter()
            .map(|(id, state)| (infinity_distance(state, &point.state), *id))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((distance, id)) = nearest
            && distance <= reach
        {
            point.verdict = Verdict::Rejected(Rejection::DuplicateOf(id));
        }
    }
}

/// Fills in what a kept point's Jacobian says.
fn describe<D: Dynamics + ?Sized>(dynamics: &D, input: &[f64], point: &mut FixedPoint) {
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
        let mut lu = Lu::new(dim);
        // The determinant does not care for the transposition that column-major storage brings.
        point.index = Some(if lu.factor(a.as_slice()) {
            lu.determinant_sign()
        } else {
            0
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
    key(a)
        .cmp(&key(b))
        .then_with(|| b.found_from.cmp(&a.found_from))
        .then_with(|| by_coordinates(&a.state, &b.state))
}
