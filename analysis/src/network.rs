//! Trained networks as maps.

use crate::{Dynamics, Enclosure, Observed};
use ndarray::{Array2, ArrayView2};
use nullcline_models::interval::Interval;
use nullcline_models::network::Network;

impl Dynamics for Network {
    fn state_dim(&self) -> usize {
        Network::state_dim(self)
    }

    fn input_dim(&self) -> usize {
        self.architecture().inputs
    }

    fn step(&self, state: &[f64], input: &[f64], next: &mut [f64]) {
        Network::step(self, state, input, next);
    }

    fn step_with_jacobian(
        &self,
        state: &[f64],
        input: &[f64],
        next: &mut [f64],
        jacobian: &mut [f64],
    ) {
        Network::step_with_jacobian(self, state, input, next, jacobian);
    }

    fn input_jacobian(&self, state: &[f64], input: &[f64], jacobian: &mut [f64]) {
        Network::input_jacobian(self, state, input, jacobian);
    }

    fn linear_region(&self, state: &[f64], input: &[f64]) -> Option<Vec<bool>> {
        Network::linear_region(self, state, input)
    }

    fn enclosure(&self) -> Option<&dyn Enclosure> {
        Some(self)
    }
}

impl Observed for Network {
    fn observation_dim(&self) -> usize {
        self.architecture().outputs
    }

    fn observe(&self, state: &[f64], observation: &mut [f64]) {
        observation.copy_from_slice(&self.readout(state));
    }

    fn states_from_observations(&self, observations: ArrayView2<'_, f64>) -> Array2<f64> {
        Network::states_from_observations(self, observations)
    }
}

impl Enclosure for Network {
    fn enclose_step(&self, state: &[Interval], input: &[f64], next: &mut [Interval]) {
        Network::enclose_step(self, state, input, next);
    }

    fn enclose_jacobian(
        &self,
        state: &[Interval],
        input: &[f64],
        next: &mut [Interval],
        midpoint: &mut [f64],
        radius: &mut [f64],
    ) {
        Network::enclose_jacobian(self, state, input, next, midpoint, radius);
    }

    fn trapping_box(&self, input: &[f64]) -> Option<Vec<f64>> {
        Network::trapping_box(self, input)
    }
}
