//! Trained networks as maps.

use crate::Dynamics;
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
}
