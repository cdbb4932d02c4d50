//! Closed orbits of maps that sample a flow, and their Floquet multipliers.
//!
//! The map f from one sample of a flow to the next has in general no cycle near a closed orbit of the flow: the period is no
//! whole number of samples, and the map turns about the orbit without coming back to a state exactly. So the period
//! T = k + s of an orbit, in steps, is a real number here, and what lies between two steps is read off the cubic through the
//! four about it:
//!
//! ```text
//! P(z, k + s) = sum over j = -1 .. 2 of w_j(s) f^(k + j)(z),      P(z, T) = z
//! ```
//!
//! with w the weights of Lagrange's interpolation, of an error of fourth order in the step. A system whose equations are
//! known and a network that learned its samples are such maps alike, and their orbits can be laid side by side. For maps
//! that sample no flow there are [`cycles`](crate::cycles); orbits of fewer than some ten steps a turn are sampled too
//! coarsely. Where a quantity is conserved, or a shift changes nothing, as in a periodic Kuramoto-Sivashinsky equation,
//! orbits come in families, Newton's method has no single one to go to, and what it finds is some of each.

use nalgebra::{Complex, DMatrix};
use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

use crate::assignment::assignment;
use crate::dense::{Lu, infinity_distance, infinity_norm, multiply};
use crate::linearization::{eigenvalues, falling};
use crate::poincare::lagrange;
use crate::{Dynamics, Error, Watch};

/// How closed orbits are searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct PeriodicOrbitSettings {
    /// Longest period, in steps, at least 3. Default 500.
    pub longest: usize,
    /// A trajectory that comes back to a state nearer than this, after it was twice as far, is a close return; as a part of
    /// the trajectory's extent, the root mean square distance from its mean. Above 0 and at most 0.5: smaller orbits than
    /// twice this are found by chance alone. Default 0.1.
    pub near: f64,
    /// Close returns of the same whole number of steps that are followed, the nearest ones. Default 4.
    pub returns: usize,
    /// The search goes from short periods to long ones and ends once it has so many orbits. Default 20.
    pub orbits: usize,
    /// Largest |P(z, T) - z| in the maximum norm, as a part of the extent. Default 1e-9.
    pub tolerance: f64,
    /// Newton steps from each close return. Default 50.
    pub iterations: usize,
    /// Orbits that lie nearer to each other than this on average, as a part of the extent, are one. Default 5e-3.
    pub same: f64,
}

impl Default for PeriodicOrbitSettings {
    fn default() -> Self {
        Self {
            longest: 500,
            near: 0.1,
            returns: 4,
            orbits: 20,
            tolerance: 1e-9,
            iterations: 50,
            same: 5e-3,
        }
    }
}

/// A closed orbit.
#[derive(Clone, Debug, PartialEq)]
pub struct PeriodicOrbit {
    /// Its period T, in steps.
    pub period: f64,
    /// Points along it from its start, with which it also ends, `[point, state]`: every step, or where those are few, some
    /// in between, so that the lines between them lie beside the curve by 1e-4 of its size.
    pub points: Array2<f64>,
    /// |P(z, T) - z| in the maximum norm.
    pub residual: f64,
    /// The trivial Floquet multiplier, 1 for a flow along its orbit: of those that are real and positive the one whose
    /// logarithm is nearest to 0; `None` where there is none. How far it is from 1 says how well the map is a smooth flow
    /// on the scale of a step, and with it how well the multipliers are defined: the Jacobian of a piecewise-linear map
    /// changes from region to region, although its orbits are those of a flow.
    pub along: Option<f64>,
    /// The other multipliers, by modulus falling. The least of them are the interpolation's error: that is a part of the
    /// largest, 1e-6 for a flow that is sampled forty times a turn.
    pub multipliers: Vec<Complex<f64>>,
    /// Close returns that led here.
    pub found_from: usize,
}

/// A multiplier is beyond the unit circle where it is so by more than the interpolation's error.
const ROUNDING: f64 = 1e-6;

impl PeriodicOrbit {
    /// Multipliers beyond the unit circle, without the trivial one.
    pub fn n_unstable(&self) -> usize {
        let outside = |multiplier: &&Complex<f64>| multiplier.norm() > 1.0 + ROUNDING;
        self.multipliers.iter().filter(outside).count()
    }
}

/// A trajectory has left a state when it is so many times farther than a close return.
const LEFT: f64 = 2.0;
/// Halvings of a Newton step before a return counts as lost.
const HALVINGS: usize = 12;
/// Whole numbers of steps whose returns are looked for between two looks at the watch.
const WATCHED: usize = 16;
/// Least number of points of an orbit.
const POINTS: f64 = 256.0;
/// An orbit smaller than this part of the extent is a fixed point.
const POINT: f64 = 1e-2;

/// Searches for closed orbits, those of short periods first.
///
/// Returns the orbits by period, each once and of its least period where that is at least 3 steps. Nothing is proved, nor
/// that none is missing.
///
/// # Arguments
/// - `dynamics`: the map over one step.
/// - `input`: its constant input, `[input]`.
/// - `trajectory`: of the map under this input, on the attractor, `[time, state]`: close returns are looked for on it.
/// - `settings`: see there.
/// - `watch`: whoever waits.
///
/// # Method
/// Close returns of the trajectory are followed by Newton's method on the state z and the period T together,
///
/// ```text
/// [ dP/dz - 1   dP/dT ] [ dz ]     [ P(z, T) - z ]
/// [ (f(z) - z)^T   0  ] [ dT ] = - [      0      ]
/// ```
///
/// each step halved until |P - z|_2 becomes smaller (P. Cvitanovic et al., Chaos: Classical and Quantum, ChaosBook.org,
/// "Fixed points, and how to get them"). O(N longest) distances for N rows of the trajectory, and per Newton step T
/// Jacobians of n variables and their product, O(T n^3).
///
/// # Errors
/// [`Error::Shape`], [`Error::NotFinite`] and [`Error::Setting`] for what cannot be searched;
/// [`Error::EigenvaluesNotConverged`]; [`Error::Stopped`].
pub fn find_periodic_orbits<D: Dynamics + ?Sized>(
    dynamics: &D,
    input: &[f64],
    trajectory: ArrayView2<'_, f64>,
    settings: &PeriodicOrbitSettings,
    watch: Watch,
) -> Result<Vec<PeriodicOrbit>, Error> {
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    Error::check_shape(
        "trajectory, columns",
        dynamics.state_dim(),
        trajectory.ncols(),
    )?;
    if !trajectory.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite {
            what: "the trajectory",
        });
    }
    if settings.longest < SHORTEST {
        return Err(Error::Setting {
            what: "longest",
            found: settings.longest.to_string(),
            allowed: "an integer, at least 3",
        });
    }
    if !(settings.near > 0.0 && settings.near <= 0.5) {
        return Err(Error::Setting {
            what: "near",
            found: settings.near.to_string(),
            allowed: "a number above 0 and at most 0.5",
        });
    }
    let extent = extent(trajectory);
    // What rests has no orbits.
    if trajectory.nrows() <= SHORTEST || extent == 0.0 {
        return Ok(Vec::new());
    }
    let map = Map { dynamics, input };
    let returns = Returns::new(trajectory, settings.near * extent);
    let longest = settings.longest.min(trajectory.nrows() - 2);
    let at_a_time = 2 * rayon::current_num_threads();
    let mut found: Vec<PeriodicOrbit> = Vec::new();
    let mut first = SHORTEST;
    while first <= longest && found.len() < settings.orbits {
        let last = longest.min(first + WATCHED - 1);
        let done = first as f64 / longest as f64;
        Error::check_watch(watch, done)?;
        let starts: Vec<(usize, usize)> = (first..=last)
            .into_par_iter()
            .flat_map_iter(|steps| {
                let rows = returns.after(steps, settings.returns).into_iter();
                rows.map(move |row| (row, steps))
            })
            .collect();
        for starts in starts.chunks(at_a_time) {
            Error::check_watch(watch, done)?;
            let orbits: Vec<Option<PeriodicOrbit>> = starts
                .par_iter()
                .map(|&(row, steps)| {
                    let state = trajectory.row(row).to_vec();
                    map.close(state, steps as f64, extent, settings)
                        .map(|closed| map.shortest(closed, extent, settings))
                        .map(|closed| map.orbit(&closed))
                        .transpose()
                })
                .collect::<Result<_, Error>>()?;
            for orbit in orbits.into_iter().flatten() {
                add(&mut found, orbit, settings.same * extent);
            }
        }
        first = last + 1;
    }
    found.truncate(settings.orbits);
    Ok(found)
}

/// The shortest period in steps: below it there is no cubic.
const SHORTEST: usize = 3;

/// Root mean square distance from the mean.
fn extent(trajectory: ArrayView2<'_, f64>) -> f64 {
    let rows = trajectory.nrows().max(1) as f64;
    let variance = |column: ArrayView1<f64>| {
        let mean = column.sum() / rows;
        column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / rows
    };
    trajectory
        .columns()
        .into_iter()
        .map(variance)
        .sum::<f64>()
        .sqrt()
}

/// Where a trajectory comes back to where it was.
struct Returns<'a> {
    trajectory: ArrayView2<'a, f64>,
    near: f64,
    /// Of every row, the steps after which it has been left.
    left: Vec<usize>,
}

impl<'a> Returns<'a> {
    fn new(trajectory: ArrayView2<'a, f64>, near: f64) -> Self {
        let rows = trajectory.nrows();
        let mut returns = Returns {
            trajectory,
            near,
            left: Vec::new(),
        };
        returns.left = (0..rows)
            .into_par_iter()
            .map(|row| {
                let left = |steps: &usize| returns.distance(row, *steps) > LEFT * near;
                (1..rows - row).find(left).unwrap_or(rows)
            })
            .collect();
        returns
    }

    fn distance(&self, row: usize, steps: usize) -> f64 {
        let pairs = self.trajectory.row(row);
        let pairs = pairs.into_iter().zip(self.trajectory.row(row + steps));
        pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    }

    /// The rows, at most `count`, that are nearest to where they come after `steps` steps, and nearer than a step before
    /// and after; the nearest first.
    fn after(&self, steps: usize, count: usize) -> Vec<usize> {
        let rows = self.trajectory.nrows();
        let mut found: Vec<(f64, usize)> = (0..rows.saturating_sub(steps + 1))
            .filter(|&row| self.left[row] < steps)
            .map(|row| (self.distance(row, steps), row))
            .filter(|&(distance, row)| {
                distance < self.near
                    && distance <= self.distance(row, steps - 1)
                    && distance < self.distance(row, steps + 1)
            })
            .collect();
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut kept: Vec<usize> = Vec::new();
        for (_, row) in found {
            // Rows of one passage are one return.
            if kept.len() < count && kept.iter().all(|other| other.abs_diff(row) >= steps) {
                kept.push(row);
            }
        }
        kept
    }
}

/// The map with its input.
struct Map<'a, D: ?Sized> {
    dynamics: &'a D,
    input: &'a [f64],
}

/// A state that comes back to itself.
struct Closed {
    state: Vec<f64>,
    period: f64,
    residual: f64,
}

/// P(z, T) with its derivatives.
struct Flown {
    /// P(z, T) - z, `[state]`.
    miss: Vec<f64>,
    /// dP/dz, row-major `[to, from]`.
    jacobian: Vec<f64>,
    /// dP/dT, `[state]`.
    velocity: Vec<f64>,
    /// f(z) - z, `[state]`.
    first_step: Vec<f64>,
}

/// Whole steps of a period, and what is left.
fn parts(period: f64) -> (usize, f64) {
    (period.floor() as usize, period - period.floor())
}

/// The four weights of the cubic through the nodes -1, 0, 1, 2 and their derivatives, at `s`.
fn weights(s: f64) -> [[f64; 4]; 2] {
    let slopes = [
        -(3.0 * s * s - 6.0 * s + 2.0) / 6.0,
        (3.0 * s * s - 4.0 * s - 1.0) / 2.0,
        -(3.0 * s * s - 2.0 * s - 2.0) / 2.0,
        (3.0 * s * s - 1.0) / 6.0,
    ];
    [lagrange(-1.0, 4, s), slopes]
}

impl<D: Dynamics + ?Sized> Map<'_, D> {
    /// P(z, T) - z.
    fn miss(&self, state: &[f64], period: f64) -> Vec<f64> {
        let (whole, s) = parts(period);
        let [values, _] = weights(s);
        let mut miss: Vec<f64> = state.iter().map(|x| -x).collect();
        let (mut now, mut next) = (state.to_vec(), vec![0.0; state.len()]);
        for step in 1..=whole + 2 {
            self.dynamics.step(&now, self.input, &mut next);
            std::mem::swap(&mut now, &mut next);
            if step + 1 >= whole {
                let weight = values[step + 1 - whole];
                for (miss, x) in miss.iter_mut().zip(&now) {
                    *miss += weight * x;
                }
            }
        }
        miss
    }

    fn flown(&self, state: &[f64], period: f64) -> Flown {
        let n = state.len();
        let (whole, s) = parts(period);
        let [values, slopes] = weights(s);
        let mut flown = Flown {
            miss: state.iter().map(|x| -x).collect(),
            jacobian: vec![0.0; n * n],
            velocity: vec![0.0; n],
            first_step: vec![0.0; n],
        };
        let (mut now, mut next) = (state.to_vec(), vec![0.0; n]);
        let (mut step_jacobian, mut after) = (vec![0.0; n * n], vec![0.0; n * n]);
        let mut product = identity(n);
        for step in 1..=whole + 2 {
            self.dynamics
                .step_with_jacobian(&now, self.input, &mut next, &mut step_jacobian);
            std::mem::swap(&mut now, &mut next);
            multiply(&step_jacobian, &product, n, &mut after);
            std::mem::swap(&mut product, &mut after);
            if step == 1 {
                for ((first, x), z) in flown.first_step.iter_mut().zip(&now).zip(state) {
                    *first = x - z;
                }
            }
            if step + 1 >= whole {
                let node = step + 1 - whole;
                for ((miss, velocity), x) in
                    flown.miss.iter_mut().zip(&mut flown.velocity).zip(&now)
                {
                    *miss += values[node] * x;
                    *velocity += slopes[node] * x;
                }
                for (sum, x) in flown.jacobian.iter_mut().zip(&product) {
                    *sum += values[node] * x;
                }
            }
        }
        flown
    }

    /// Newton's method from a state that nearly comes back; `None` where it does not end at a closed orbit in reach.
    fn close(
        &self,
        mut state: Vec<f64>,
        mut period: f64,
        extent: f64,
        settings: &PeriodicOrbitSettings,
    ) -> Option<Closed> {
        let n = state.len();
        let size = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
        let longest = settings.longest as f64;
        let mut lu = Lu::new(n + 1);
        let mut matrix = vec![0.0; (n + 1) * (n + 1)];
        let mut flown = self.flown(&state, period);
        for _ in 0..settings.iterations {
            if infinity_norm(&flown.miss) <= settings.tolerance * extent {
                break;
            }
            for i in 0..n {
                let row = &mut matrix[i * (n + 1)..][..n + 1];
                row[..n].copy_from_slice(&flown.jacobian[i * n..][..n]);
                row[i] -= 1.0;
                row[n] = flown.velocity[i];
            }
            matrix[n * (n + 1)..][..n].copy_from_slice(&flown.first_step);
            matrix[n * (n + 1) + n] = 0.0;
            if !lu.factor(&matrix) {
                return None;
            }
            let mut step: Vec<f64> = flown.miss.iter().map(|x| -x).chain([0.0]).collect();
            lu.solve(&mut step);
            let now = size(&flown.miss);
            let mut part = 1.0;
            let better = (0..HALVINGS).find_map(|_| {
                let trial: Vec<f64> = state.iter().zip(&step).map(|(x, d)| x + part * d).collect();
                let long = period + part * step[n];
                part *= 0.5;
                let in_reach = (SHORTEST as f64..=longest).contains(&long);
                // Not a number is not smaller.
                (in_reach && size(&self.miss(&trial, long)) < now).then_some((trial, long))
            });
            (state, period) = better?;
            flown = self.flown(&state, period);
        }
        let residual = infinity_norm(&flown.miss);
        let closed = residual <= settings.tolerance * extent;
        (closed && self.reach(&state, period) > POINT * extent).then_some(Closed {
            state,
            period,
            residual,
        })
    }

    /// How far an orbit goes from its start, in the maximum norm.
    fn reach(&self, start: &[f64], period: f64) -> f64 {
        let (mut now, mut next) = (start.to_vec(), vec![0.0; start.len()]);
        let mut reach = 0.0f64;
        for _ in 0..period as usize {
            self.dynamics.step(&now, self.input, &mut next);
            std::mem::swap(&mut now, &mut next);
            reach = reach.max(infinity_distance(&now, start));
        }
        reach
    }

    /// An orbit that is another several times round, as that other one.
    fn shortest(&self, closed: Closed, extent: f64, settings: &PeriodicOrbitSettings) -> Closed {
        let most = (closed.period / SHORTEST as f64) as usize;
        for turns in (2..=most).rev() {
            let part = closed.period / turns as f64;
            // What is as near as that to where it was is worth a try.
            if infinity_norm(&self.miss(&closed.state, part)) > settings.near * extent {
                continue;
            }
            if let Some(once) = self.close(closed.state.clone(), part, extent, settings)
                && (once.period - part).abs() < 0.5
                && infinity_distance(&once.state, &closed.state) <= settings.same * extent
            {
                return once;
            }
        }
        closed
    }

    /// The orbit of a state that comes back.
    fn orbit(&self, closed: &Closed) -> Result<PeriodicOrbit, Error> {
        let n = closed.state.len();
        // f^0 to f^(k + 2), `[step, state]`: the cubics need three beyond the last whole step but one.
        let steps = closed.period.ceil() as usize + 2;
        let mut states = Array2::zeros((steps + 1, n));
        let (mut now, mut next) = (closed.state.clone(), vec![0.0; n]);
        for t in 0..=steps {
            states.row_mut(t).assign(&ArrayView1::from(&now));
            self.dynamics.step(&now, self.input, &mut next);
            std::mem::swap(&mut now, &mut next);
        }
        let parts_of_a_step = (POINTS / closed.period).ceil().max(1.0);
        let count = (closed.period * parts_of_a_step).ceil() as usize;
        let points = Array2::from_shape_fn((count + 1, n), |(k, i)| {
            // The last point is the start again.
            let (whole, s) = match k == count {
                true => (0, 0.0),
                false => parts(k as f64 / parts_of_a_step),
            };
            // The cubic about the step, at the beginning the one about the next.
            let first = whole.saturating_sub(1);
            let values = lagrange(first as f64 - whole as f64, 4, s);
            (0..4)
                .map(|node| values[node] * states[[first + node, i]])
                .sum()
        });
        let flown = self.flown(&closed.state, closed.period);
        let jacobian = DMatrix::from_row_slice(n, n, &flown.jacobian);
        let mut multipliers = eigenvalues(&jacobian)?;
        let from_one = |mode: usize| multipliers[mode].re.ln().abs();
        let trivial = (0..n)
            .filter(|&mode| multipliers[mode].im == 0.0 && multipliers[mode].re > 0.0)
            .min_by(|&a, &b| from_one(a).total_cmp(&from_one(b)));
        let along = trivial.map(|mode| multipliers.remove(mode).re);
        multipliers.sort_by(falling);
        Ok(PeriodicOrbit {
            period: closed.period,
            points,
            residual: closed.residual,
            along,
            multipliers,
            found_from: 1,
        })
    }
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n)
        .map(|k| f64::from(u8::from(k / n == k % n)))
        .collect()
}

/// Adds an orbit in the order of the periods, unless it is there, once round or several times.
fn add(found: &mut Vec<PeriodicOrbit>, mut orbit: PeriodicOrbit, same: f64) {
    // Whether the longer goes round the other.
    let goes_round = |longer: &PeriodicOrbit, other: &PeriodicOrbit| {
        let turns = (longer.period / other.period).round();
        (longer.period - turns * other.period).abs() < 0.5
            && mean_distance(longer.points.view(), other.points.view()) < same
    };
    if let Some(known) = found.iter_mut().find(|known| goes_round(&orbit, known)) {
        known.found_from += 1;
        return;
    }
    found.retain(|known| {
        let several = known.period > 1.5 * orbit.period && goes_round(known, &orbit);
        orbit.found_from += if several { known.found_from } else { 0 };
        !several
    });
    let place = found.partition_point(|known| known.period <= orbit.period);
    found.insert(place, orbit);
}

/// The mean distance of the points of `from`, `[point, dim]`, but the last, from the line through the points of `to`.
fn mean_distance(from: ArrayView2<'_, f64>, to: ArrayView2<'_, f64>) -> f64 {
    let points = from.nrows().saturating_sub(1);
    let distances = from.rows().into_iter().take(points).map(|point| {
        let squared = to.rows().into_iter().zip(to.rows().into_iter().skip(1));
        let squared = squared.map(|(a, b)| squared_distance_to_segment(point, a, b));
        squared.fold(f64::INFINITY, f64::min).sqrt()
    });
    distances.sum::<f64>() / points.max(1) as f64
}

fn squared_distance_to_segment(
    point: ArrayView1<'_, f64>,
    a: ArrayView1<'_, f64>,
    b: ArrayView1<'_, f64>,
) -> f64 {
    // The nearest point is a + c (b - a), c in [0, 1].
    let (mut along, mut length) = (0.0, 0.0);
    for ((p, a), b) in point.iter().zip(&a).zip(&b) {
        along += (p - a) * (b - a);
        length += (b - a) * (b - a);
    }
    let c = if length > 0.0 {
        (along / length).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let terms = point.iter().zip(&a).zip(&b);
    terms.map(|((p, a), b)| (p - a - c * (b - a)).powi(2)).sum()
}

/// A closed orbit as it is seen.
#[derive(Clone, Copy, Debug)]
pub struct SeenOrbit<'a> {
    /// In steps.
    pub period: f64,
    /// Points along it, the first again at the end, `[point, dim]`.
    pub points: ArrayView2<'a, f64>,
}

/// Orbits whose periods differ by more than this part of the longer one are no pair.
const PERIODS: f64 = 0.1;

/// Pairs the orbits of two systems: of each of `a` its partner in `b` and the distance between them, the mean distance of
/// the points of one from the other, of both ways the larger. Pairs have periods within a tenth of each other; there are
/// as many as possible, with the least sum of distances.
///
/// # Errors
/// [`Error::Shape`] where the points differ in length, [`Error::NotFinite`].
pub fn match_orbits<'a>(
    a: &[SeenOrbit<'a>],
    b: &[SeenOrbit<'a>],
) -> Result<Vec<Option<(usize, f64)>>, Error> {
    let dims = || a.iter().chain(b).map(|orbit| orbit.points.ncols());
    if let (Some(expected), Some(found)) = (dims().min(), dims().max()) {
        Error::check_shape("points, columns", expected, found)?;
    }
    let distance = |i: usize, j: usize| {
        let (a, b) = (&a[i], &b[j]);
        let near = (a.period - b.period).abs() <= PERIODS * a.period.max(b.period);
        near.then(|| mean_distance(a.points, b.points).max(mean_distance(b.points, a.points)))
    };
    let n = a.len().max(b.len());
    let distances: Vec<Vec<Option<f64>>> = (0..a.len())
        .into_par_iter()
        .map(|i| (0..b.len()).map(|j| distance(i, j)).collect())
        .collect();
    let all = || distances.iter().flatten().flatten();
    if !all().all(|distance| distance.is_finite()) {
        return Err(Error::NotFinite { what: "an orbit" });
    }
    // To be alone costs more than all pairs together.
    let alone = 1.0 + all().sum::<f64>();
    let of = |i: usize, j: usize| distances.get(i)?.get(j).copied().flatten();
    let costs = Array2::from_shape_fn((n, n), |(i, j)| of(i, j).unwrap_or(alone));
    let partners = assignment(costs.view())?;
    Ok((0..a.len())
        .map(|i| of(i, partners[i]).map(|distance| (partners[i], distance)))
        .collect())
}
