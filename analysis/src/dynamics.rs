//! What an analysis needs to know of a network: its map, and the map's derivatives.

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
}
