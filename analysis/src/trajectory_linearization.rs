//! Linearisation along a trajectory: how the spectrum of the Jacobian moves while the network is at work.

use nalgebra::{Complex, DMatrix};
use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

use crate::assignment::assignment;
use crate::linearization::{falling, quasi_triangular_eigenvalues};
use crate::non_normality::{henrici, singular_values};
use crate::schur::real_schur;
use crate::{Dynamics, Error, Watch};

/// Jacobians between two looks at the watch.
const WATCHED: usize = 64;

/// A map linearised at every state of a trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct TrajectoryLinearization {
    /// The eigenvalues of J_t = dF/dx at state t under input t, `[time, mode]`. In the first row by modulus falling; from
    /// row to row a mode keeps its column.
    pub eigenvalues: Array2<Complex<f64>>,
    /// The largest modulus of an eigenvalue, `[time]`.
    pub spectral_radii: Vec<f64>,
    /// The number of eigenvalues beyond the unit circle, `[time]`.
    pub n_unstable: Vec<usize>,
    /// The largest singular value of J_t, `[time]`: by how much this step stretches at most.
    pub largest_singular_values: Vec<f64>,
    /// Henrici's departure from normality of J_t, in [0, 1], `[time]`.
    pub henrici: Vec<f64>,
}

/// What one Jacobian tells.
struct Frozen {
    eigenvalues: Vec<Complex<f64>>,
    largest_singular_value: f64,
    henrici: f64,
}

/// Linearises `dynamics` at every state of a trajectory, under the input that it received there.
///
/// Returns the eigenvalues, followed from state to state, and what they and the singular values say at each; see
/// [`TrajectoryLinearization`].
///
/// # Arguments
/// - `dynamics`: the map, with its exact Jacobian.
/// - `states`: the trajectory, or every so-many-th state of it, `[time, state]`.
/// - `inputs`: what enters the step that begins at each state, `[time, input]`.
/// - `watch`: whoever waits.
///
/// # Method
/// The spectra of neighbouring states are paired by the permutation with the least sum of squared distances
/// ([`assignment`]), which for normal Jacobians is at most |J_t - J_t'|_F^2 (Hoffman and Wielandt). Two eigenvalues that
/// meet, as those of a pair on the real axis do, are alike there: which is which afterwards nobody can say.
///
/// Off fixed points an eigenvalue beyond the unit circle does not prove growth, nor one within it decay, since the next
/// Jacobian is another; Lyapunov exponents take the product of all. The largest singular value bounds the growth in a
/// step.
///
/// # Errors
/// [`Error::Shape`] where `states` or `inputs` do not fit the map or each other, [`Error::NotFinite`],
/// [`Error::EigenvaluesNotConverged`], [`Error::SingularValuesNotConverged`], [`Error::Stopped`].
///
/// # Reference
/// A. J. Hoffman and H. W. Wielandt, Duke Mathematical Journal 20, 37 (1953).
pub fn linearize_trajectory<D: Dynamics + ?Sized>(
    dynamics: &D,
    states: ArrayView2<'_, f64>,
    inputs: ArrayView2<'_, f64>,
    watch: Watch,
) -> Result<TrajectoryLinearization, Error> {
    let (times, dim) = (states.nrows(), dynamics.state_dim());
    Error::check_shape("states, columns", dim, states.ncols())?;
    Error::check_shape("inputs, columns", dynamics.input_dim(), inputs.ncols())?;
    Error::check_shape("inputs, rows", times, inputs.nrows())?;
    let mut along = TrajectoryLinearization {
        eigenvalues: Array2::zeros((times, dim)),
        spectral_radii: Vec::with_capacity(times),
        n_unstable: Vec::with_capacity(times),
        largest_singular_values: Vec::with_capacity(times),
        henrici: Vec::with_capacity(times),
    };
    for first in (0..times).step_by(WATCHED) {
        Error::check_watch(watch, first as f64 / times as f64)?;
        let frozen: Vec<Frozen> = (first..times.min(first + WATCHED))
            .into_par_iter()
            .map(|t| freeze(dynamics, states.row(t), inputs.row(t)))
            .collect::<Result<_, _>>()?;
        for (t, frozen) in (first..).zip(frozen) {
            let moduli = || frozen.eigenvalues.iter().map(|lambda| lambda.norm());
            along.spectral_radii.push(moduli().fold(0.0, f64::max));
            along.n_unstable.push(moduli().filter(|m| *m > 1.0).count());
            along
                .largest_singular_values
                .push(frozen.largest_singular_value);
            along.henrici.push(frozen.henrici);
            let order = match t {
                0 => (0..dim).collect(),
                t => continuation(along.eigenvalues.row(t - 1), &frozen.eigenvalues)?,
            };
            for (mode, &index) in order.iter().enumerate() {
                along.eigenvalues[[t, mode]] = frozen.eigenvalues[index];
            }
        }
    }
    Ok(along)
}

fn freeze<D: Dynamics + ?Sized>(
    dynamics: &D,
    state: ArrayView1<'_, f64>,
    input: ArrayView1<'_, f64>,
) -> Result<Frozen, Error> {
    let dim = state.len();
    let (mut next, mut jacobian) = (vec![0.0; dim], vec![0.0; dim * dim]);
    dynamics.step_with_jacobian(&state.to_vec(), &input.to_vec(), &mut next, &mut jacobian);
    let matrix = DMatrix::from_row_slice(dim, dim, &jacobian);
    let (_, t) = real_schur(&matrix)?;
    let mut eigenvalues = quasi_triangular_eigenvalues(&t);
    eigenvalues.sort_by(falling);
    Ok(Frozen {
        eigenvalues,
        largest_singular_value: singular_values(&matrix)?.first().copied().unwrap_or(0.0),
        henrici: henrici(&t),
    })
}

/// For each of the old eigenvalues, the index of the new one that continues it.
fn continuation(
    old: ArrayView1<'_, Complex<f64>>,
    new: &[Complex<f64>],
) -> Result<Vec<usize>, Error> {
    let costs = Array2::from_shape_fn((new.len(), new.len()), |(mode, index)| {
        (new[index] - old[mode]).norm_sqr()
    });
    assignment(costs.view())
}

/// For every state `[time, state]`, the nearest of some points `[point, state]`: its row and its Euclidean distance;
/// `None` where there is no point.
///
/// # Errors
/// [`Error::Shape`] where states and points differ in length.
pub fn nearest_points(
    states: ArrayView2<'_, f64>,
    points: ArrayView2<'_, f64>,
) -> Result<Vec<Option<(usize, f64)>>, Error> {
    Error::check_shape("points, columns", states.ncols(), points.ncols())?;
    let nearest = |state: ArrayView1<'_, f64>| {
        let distance = |point: ArrayView1<'_, f64>| {
            let squares = state.iter().zip(point).map(|(x, p)| (x - p) * (x - p));
            squares.sum::<f64>().sqrt()
        };
        let distances = points.rows().into_iter().map(distance).enumerate();
        distances.min_by(|(_, a), (_, b)| a.total_cmp(b))
    };
    Ok(states.rows().into_iter().map(nearest).collect())
}
