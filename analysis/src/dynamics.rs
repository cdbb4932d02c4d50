//! What an analysis needs to know of a network: its map, and the map's derivatives.

use ndarray::{Array2, ArrayView2};
use nullcline_models::interval::Interval;

/// A discrete-time map x' = F(x, u) on the state x under the input u.
///
/// The state holds everything that the next step depends on: for an LSTM both the hidden and the
/// cell state, for a network with delays the delayed states as well. Slices passed in have exactly
/// the lengths named below; an implementation overwrites every element of its outputs and never
/// reads them first. The derivatives are exact (by hand, or by dual numbers), not differences:
/// residuals of 1e-12 rest on them.
pub trait Dynamics: Sync {
    /// Number of elements of the state x.
    fn state_dim(&self) -> usize;

    /// Number of elements of the input u.
    fn input_dim(&self) -> usize;

    /// One step: `next` = F(`state`, `input`).
    ///
    /// `state` and `next` have [`state_dim`](Self::state_dim) elements, `input` has
    /// [`input_dim`](Self::input_dim).
    fn step(&self, state: &[f64], input: &[f64], next: &mut [f64]);

    /// One step and its derivative by the state: `next` = F(`state`, `input`),
    /// `jacobian` = dF/dx at that point, row-major `[to, from]`, `state_dim` x `state_dim`.
    fn step_with_jacobian(
        &self,
        state: &[f64],
        input: &[f64],
        next: &mut [f64],
        jacobian: &mut [f64],
    );

    /// The derivative by the input: `jacobian` = dF/du, row-major `[state, input]`,
    /// `state_dim` x `input_dim`.
    fn input_jacobian(&self, state: &[f64], input: &[f64], jacobian: &mut [f64]);

    /// Of a piecewise-linear map, the linear region of a state: equal for two states between which the map is one and
    /// the same linear function. `None` where the map is not piecewise linear.
    fn linear_region(&self, _state: &[f64], _input: &[f64]) -> Option<Vec<bool>> {
        None
    }

    /// Enclosures of the map over boxes of states, from which fixed points are proved; `None` where the map has none.
    fn enclosure(&self) -> Option<&dyn Enclosure> {
        None
    }
}

/// A map that can be enclosed over a box of states, with every rounding error covered.
///
/// Slices have the lengths of [`Dynamics`]; the input is exact. What is infinite or NaN in a result encloses anything.
pub trait Enclosure: Sync {
    /// `next`, `[state]`, holds F(x, `input`) for every x of the box `state`.
    fn enclose_step(&self, state: &[Interval], input: &[f64], next: &mut [Interval]);

    /// Beside `next`, `midpoint` and `radius`, row-major `[to, from]`, hold for every x and y of the box a matrix A
    /// with F(x) - F(y) = A (x - y), every entry within its radius of its midpoint.
    fn enclose_jacobian(
        &self,
        state: &[Interval],
        input: &[f64],
        next: &mut [Interval],
        midpoint: &mut [f64],
        radius: &mut [f64],
    );

    /// A box |x_i| < r_i, `[state]`, that F(., `input`) is proved to map into its interior; `None` where none is known.
    fn trapping_box(&self, _input: &[f64]) -> Option<Vec<f64>> {
        None
    }
}

/// A map of which observations are seen, x = g(z), and whose state z one observation implies: what a model of a recording
/// is.
pub trait Observed: Dynamics {
    /// Number of elements of an observation.
    fn observation_dim(&self) -> usize;

    /// What is seen of a state: `observation` = g(`state`).
    fn observe(&self, state: &[f64], observation: &mut [f64]);

    /// The state that each of `observations`, `[time, observation]`, implies, `[time, state]`: where a prediction starts.
    fn states_from_observations(&self, observations: ArrayView2<'_, f64>) -> Array2<f64>;
}
