//! Speed and direction of the dynamics on a plane through the state space.

use ndarray::{Array2, Array3};
use rayon::prelude::*;

use crate::plane::Plane;
use crate::{Dynamics, Error, Watch};

/// Grid points between two looks at whether to go on.
const WATCHED: usize = 4096;

/// Where the steps from the grid points of a plane lead.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorField {
    /// The part of F(x, u) - x that lies in the plane, `[row, column, axis]`; NaN where the step is not finite.
    pub vectors: Array3<f64>,
    /// The length of the part that leaves the plane over the whole length, `[row, column]`, from 0 to 1; NaN where the
    /// step is not finite or has no length.
    pub leaving: Array2<f64>,
}

/// The speed q = 1/2 |x - F(x, `input`)|^2 at the grid points of a plane, `[row, column]`, in squared units of the state;
/// NaN where the step is not finite.
///
/// Its zeros are the fixed points in the plane; its other minima, if slow enough, hold trajectories up. A low speed in
/// the plane is no fixed point where the step leaves it, which [`vector_field`] tells.
///
/// # Errors
/// [`Error::Shape`] where the plane or `input` does not fit the map, [`Error::Stopped`] where `watch` says so.
///
/// # Reference
/// D. Sussillo and O. Barak, Opening the black box, Neural Computation 25 (2013) 626-649.
pub fn speeds<D: Dynamics + ?Sized>(
    dynamics: &D,
    plane: &Plane,
    input: &[f64],
    watch: Watch,
) -> Result<Array2<f64>, Error> {
    let values = over_grid(dynamics, plane, input, watch, |step| {
        let speed = 0.5 * step.iter().map(|x| x * x).sum::<f64>();
        if speed.is_finite() { speed } else { f64::NAN }
    })?;
    Ok(gridded(plane, &values))
}

/// The steps F(x, `input`) - x from the grid points of a plane, as seen in the plane.
///
/// # Errors
/// As [`speeds`].
pub fn vector_field<D: Dynamics + ?Sized>(
    dynamics: &D,
    plane: &Plane,
    input: &[f64],
    watch: Watch,
) -> Result<VectorField, Error> {
    let axes = plane.axes();
    let values = over_grid(dynamics, plane, input, watch, |step| {
        let whole = step.iter().map(|x| x * x).sum::<f64>().sqrt();
        if !whole.is_finite() {
            return (vec![f64::NAN; axes], f64::NAN);
        }
        let along = plane.along(step);
        let mut rest = 0.0;
        for (x, directions) in step.iter().zip(plane.directions().columns()) {
            let inside: f64 = along.iter().zip(directions).map(|(a, d)| a * d).sum();
            rest += (x - inside).powi(2);
        }
        let leaving = if whole > 0.0 {
            (rest.sqrt() / whole).min(1.0)
        } else {
            f64::NAN
        };
        (along, leaving)
    })?;
    let shape = (plane.rows(), plane.columns(), axes);
    let leaving: Vec<f64> = values.iter().map(|value| value.1).collect();
    Ok(VectorField {
        vectors: Array3::from_shape_fn(shape, |(row, column, axis)| {
            values[row * plane.columns() + column].0[axis]
        }),
        leaving: gridded(plane, &leaving),
    })
}

fn gridded(plane: &Plane, values: &[f64]) -> Array2<f64> {
    let columns = plane.columns();
    Array2::from_shape_fn((plane.rows(), columns), |(row, column)| {
        values[row * columns + column]
    })
}

/// What is made of the step from every grid point, in their order.
fn over_grid<D: Dynamics + ?Sized, T: Send>(
    dynamics: &D,
    plane: &Plane,
    input: &[f64],
    watch: Watch,
    of_step: impl Fn(&[f64]) -> T + Sync,
) -> Result<Vec<T>, Error> {
    Error::check_shape(
        "states of the plane",
        dynamics.state_dim(),
        plane.state_dim(),
    )?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    let total = plane.rows() * plane.columns();
    let mut values = Vec::with_capacity(total);
    while values.len() < total {
        Error::check_watch(watch, values.len() as f64 / total as f64)?;
        let chunk = values.len()..(values.len() + WATCHED).min(total);
        values.par_extend(chunk.into_par_iter().map(|index| {
            let state = plane.grid_state(index);
            let mut step = vec![0.0; state.len()];
            dynamics.step(&state, input, &mut step);
            for (step, x) in step.iter_mut().zip(&state) {
                *step -= x;
            }
            of_step(&step)
        }));
    }
    Ok(values)
}
