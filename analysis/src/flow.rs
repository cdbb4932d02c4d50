//! Systems in continuous time, dx/dt = f(x): their equilibria, and their flow as a map.
//!
//! A network that reproduces samples of a system dt apart is to be the map that takes each sample to the next. That map of
//! the true system is a [`Dynamics`] with its exact Jacobian, so that every analysis of maps applies to it. What a flow
//! has beside its map are the zeros of f: they are the fixed points of the map, with eigenvalues
//!
//! ```text
//! exp(lambda dt),    lambda the eigenvalues of df/dx there
//! ```

use nalgebra::{Complex, DMatrix};
use ndarray::{Array2, ArrayView2};
use nullcline_tasks::systems::{Flow, Generator, GeneratorFlow};
use rayon::prelude::*;

use crate::assignment::assignment;
use crate::dense::{Lu, infinity_distance, infinity_norm};
use crate::linearization::eigenvalues;
use crate::{Dynamics, Error, Watch};

/// Starts between two looks at the watch.
const WATCHED: usize = 64;

/// Halvings of a Newton step before a start counts as lost.
const HALVINGS: usize = 30;

/// A vector field dx/dt = f(x) with its exact Jacobian.
pub trait VectorField: Sync {
    /// Number of variables.
    fn dim(&self) -> usize;

    /// `velocity` = f(`state`), both `[dim]`, per unit of time.
    fn velocity(&self, state: &[f64], velocity: &mut [f64]);

    /// `jacobian` = df/dx at `state`, row-major `[to, from]`.
    fn jacobian(&self, state: &[f64], jacobian: &mut [f64]);
}

impl VectorField for Generator<'_> {
    fn dim(&self) -> usize {
        self.dimension()
    }

    fn velocity(&self, state: &[f64], velocity: &mut [f64]) {
        Generator::velocity(self, state, velocity);
    }

    fn jacobian(&self, state: &[f64], jacobian: &mut [f64]) {
        Generator::jacobian(self, state, jacobian);
    }
}

/// The flow over the time between two samples, in the coordinates of the task. There is no input.
impl Dynamics for GeneratorFlow<'_> {
    fn state_dim(&self) -> usize {
        self.dimension()
    }

    fn input_dim(&self) -> usize {
        0
    }

    fn step(&self, state: &[f64], _input: &[f64], next: &mut [f64]) {
        next.copy_from_slice(state);
        self.advance(next);
    }

    fn step_with_jacobian(
        &self,
        state: &[f64],
        _input: &[f64],
        next: &mut [f64],
        jacobian: &mut [f64],
    ) {
        next.copy_from_slice(state);
        self.advance_with_jacobian(next, jacobian);
    }

    fn input_jacobian(&self, _state: &[f64], _input: &[f64], _jacobian: &mut [f64]) {}
}

/// How equilibria are searched for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EquilibriumSettings {
    /// Largest |f| in the maximum norm, as a part of its median over the starts. Default 1e-10.
    pub tolerance: f64,
    /// Newton steps from each start. Default 100.
    pub iterations: usize,
    /// Points nearer to each other than this, in the maximum norm and as a part of the extent of the starts, are one.
    /// Default 1e-6.
    pub same: f64,
    /// Points farther from the middle of the starts than so many times their extent are left. Default 100.
    pub reach: f64,
}

impl Default for EquilibriumSettings {
    fn default() -> Self {
        Self {
            tolerance: 1e-10,
            iterations: 100,
            same: 1e-6,
            reach: 100.0,
        }
    }
}

/// A point where f is zero.
#[derive(Clone, Debug, PartialEq)]
pub struct Equilibrium {
    /// Where, `[dim]`.
    pub state: Vec<f64>,
    /// |f| there, in the maximum norm.
    pub residual: f64,
    /// The eigenvalues of df/dx there, per unit of time, by real part falling, of a pair the one with positive imaginary
    /// part first.
    pub eigenvalues: Vec<Complex<f64>>,
    /// Whether no eigenvalue is zero beside the largest, to 1e-8: else the point may be one of a continuum, as in a
    /// system that does not change under translation, and every start finds another.
    pub isolated: bool,
    /// Starts that led here.
    pub found_from: usize,
}

impl Equilibrium {
    /// Eigenvalues with positive real part, which counts those that are zero to rounding out.
    pub fn n_unstable(&self) -> usize {
        let size = self.largest_eigenvalue();
        let growing = |lambda: &&Complex<f64>| lambda.re > ROUNDING * size;
        self.eigenvalues.iter().filter(growing).count()
    }

    fn largest_eigenvalue(&self) -> f64 {
        let moduli = self.eigenvalues.iter().map(|lambda| lambda.norm());
        moduli.fold(0.0, f64::max)
    }
}

/// An eigenvalue below this part of the largest is zero.
const ROUNDING: f64 = 1e-8;

/// Searches for the zeros of a vector field.
///
/// Returns the points found, in the order in which the starts led to them; see [`Equilibrium`].
///
/// # Arguments
/// - `field`: the vector field.
/// - `starts`: states to start from, `[start, dim]`; states of the attractor and of a box about it find what matters.
/// - `settings`: tolerances.
/// - `watch`: whoever waits.
///
/// # Method
/// Newton's method, each step halved until |f|_2 becomes smaller. Nothing is proved; that nothing is missing neither.
///
/// # Errors
/// [`Error::Shape`] where the starts do not fit, [`Error::TooFew`] where there is none, [`Error::NotFinite`];
/// [`Error::EigenvaluesNotConverged`]; [`Error::Stopped`].
pub fn find_equilibria<F: VectorField + ?Sized>(
    field: &F,
    starts: ArrayView2<'_, f64>,
    settings: &EquilibriumSettings,
    watch: Watch,
) -> Result<Vec<Equilibrium>, Error> {
    let dim = field.dim();
    Error::check_shape("starts, columns", dim, starts.ncols())?;
    if starts.nrows() == 0 {
        return Err(Error::TooFew {
            what: "starts",
            needed: 1,
            found: 0,
        });
    }
    if !starts.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite { what: "a start" });
    }
    let middle: Vec<f64> = starts
        .columns()
        .into_iter()
        .map(|column| column.sum() / column.len() as f64)
        .collect();
    // The extent of the starts; of a single one, its size.
    let extent = starts
        .rows()
        .into_iter()
        .map(|row| infinity_distance(&row.to_vec(), &middle))
        .fold(0.0, f64::max);
    let extent = if extent > 0.0 {
        extent
    } else {
        infinity_norm(&middle).max(1.0)
    };
    let mut speeds: Vec<f64> = starts
        .rows()
        .into_iter()
        .map(|row| {
            let mut velocity = vec![0.0; dim];
            field.velocity(&row.to_vec(), &mut velocity);
            infinity_norm(&velocity)
        })
        .filter(|speed| speed.is_finite())
        .collect();
    speeds.sort_by(f64::total_cmp);
    let speed = speeds.get(speeds.len() / 2).copied().unwrap_or(0.0);

    let mut found: Vec<Equilibrium> = Vec::new();
    for first in (0..starts.nrows()).step_by(WATCHED) {
        Error::check_watch(watch, first as f64 / starts.nrows() as f64)?;
        let zeros: Vec<Option<(Vec<f64>, f64)>> = (first..starts.nrows().min(first + WATCHED))
            .into_par_iter()
            .map(|start| {
                let (state, residual) =
                    newton(field, starts.row(start).to_vec(), settings.iterations)?;
                let near = infinity_distance(&state, &middle) <= settings.reach * extent;
                (near && residual <= settings.tolerance * speed).then_some((state, residual))
            })
            .collect();
        for (state, residual) in zeros.into_iter().flatten() {
            let same = |known: &&mut Equilibrium| {
                infinity_distance(&known.state, &state) <= settings.same * extent
            };
            if let Some(known) = found.iter_mut().find(same) {
                known.found_from += 1;
                continue;
            }
            let mut jacobian = vec![0.0; dim * dim];
            field.jacobian(&state, &mut jacobian);
            let mut eigenvalues = eigenvalues(&DMatrix::from_row_slice(dim, dim, &jacobian))?;
            eigenvalues.sort_by(|a, b| b.re.total_cmp(&a.re).then(b.im.total_cmp(&a.im)));
            let mut point = Equilibrium {
                state,
                residual,
                eigenvalues,
                isolated: true,
                found_from: 1,
            };
            let size = point.largest_eigenvalue();
            let moduli = point.eigenvalues.iter().map(|lambda| lambda.norm());
            point.isolated = moduli.fold(f64::INFINITY, f64::min) > ROUNDING * size;
            found.push(point);
        }
    }
    Ok(found)
}

/// Newton's method: the point that it ends at and |f| there, in the maximum norm; `None` where that is not finite.
fn newton<F: VectorField + ?Sized>(
    field: &F,
    mut state: Vec<f64>,
    iterations: usize,
) -> Option<(Vec<f64>, f64)> {
    let dim = state.len();
    let mut velocity = vec![0.0; dim];
    let mut jacobian = vec![0.0; dim * dim];
    let mut lu = Lu::new(dim);
    let (mut trial, mut trial_velocity) = (state.clone(), vec![0.0; dim]);
    let size = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>();
    field.velocity(&state, &mut velocity);
    for _ in 0..iterations {
        let now = size(&velocity);
        if now == 0.0 {
            break;
        }
        field.jacobian(&state, &mut jacobian);
        // J d = -f
        let mut step: Vec<f64> = velocity.iter().map(|v| -v).collect();
        if !lu.factor(&jacobian) {
            break;
        }
        lu.solve(&mut step);
        let mut part = 1.0;
        let mut better = false;
        for _ in 0..HALVINGS {
            for ((to, x), d) in trial.iter_mut().zip(&state).zip(&step) {
                *to = x + part * d;
            }
            field.velocity(&trial, &mut trial_velocity);
            // Not a number is not smaller.
            if size(&trial_velocity) < now {
                better = true;
                break;
            }
            part *= 0.5;
        }
        // Nothing is better: this is a zero to rounding, or a minimum of |f|, which the residual tells apart.
        if !better {
            break;
        }
        std::mem::swap(&mut state, &mut trial);
        std::mem::swap(&mut velocity, &mut trial_velocity);
    }
    let residual = infinity_norm(&velocity);
    residual.is_finite().then_some((state, residual))
}

/// Pairs points of two sets so that the sum of their Euclidean distances is least: of each point of `a` `[point, dim]`, its
/// partner in `b` and the distance. Of the larger set some stay alone.
///
/// # Errors
/// [`Error::Shape`] where the points differ in length, [`Error::NotFinite`].
pub fn match_points(
    a: ArrayView2<'_, f64>,
    b: ArrayView2<'_, f64>,
) -> Result<Vec<Option<(usize, f64)>>, Error> {
    Error::check_shape("points, columns", a.ncols(), b.ncols())?;
    let distance = |i: usize, j: usize| {
        let pairs = a.row(i).into_iter().zip(b.row(j));
        pairs.map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
    };
    // To be alone costs nothing, as the number that are alone is given.
    let n = a.nrows().max(b.nrows());
    let costs = Array2::from_shape_fn((n, n), |(i, j)| {
        if i < a.nrows() && j < b.nrows() {
            distance(i, j)
        } else {
            0.0
        }
    });
    let partners = assignment(costs.view())?;
    Ok((0..a.nrows())
        .map(|i| {
            let j = partners[i];
            (j < b.nrows()).then(|| (j, costs[[i, j]]))
        })
        .collect())
}
