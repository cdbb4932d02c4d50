//! Engines: what computes the loss and its gradient.
//!
//! An engine takes an ensemble's networks with their trials and returns losses and gradients, in f32, by
//! back-propagation through time with optional generalized teacher forcing. The trainer
//! ([`crate::training`]) does the rest. Summation has a fixed order, so a result does not depend on the
//! number of threads.

mod cpu;
pub mod kernels;

pub use cpu::CpuEngine;

use crate::architecture::Architecture;
use ndarray::Array3;
use nullcline_tasks::{Loss, Trials};

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The loss on outputs and targets, averaged over the weighted steps of the batch.
    pub loss: Loss,
    /// Generalized teacher forcing with a constant alpha (Hess et al. 2023): before each step but the first
    /// the state z becomes (1 - alpha) z + alpha z_data, z_data = pinv(R) x the state that the data imply,
    /// taken as a constant in the gradient. `None`: plain back-propagation through time.
    pub forcing: Option<f32>,
}

/// One network's share of an update.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The network's flat parameter vector.
    pub parameters: &'a [f32],
    /// Its trials.
    pub trials: &'a Trials,
}

/// Loss and gradient of one network.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// The mean loss over the batch; not finite when the network has diverged.
    pub loss: f64,
    /// Derivative of the loss by the flat parameter vector.
    pub gradient: Vec<f32>,
}

/// What a network did on a batch of trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The mean loss over the batch.
    pub loss: f64,
    /// Outputs [batch, time, output].
    pub outputs: Array3<f32>,
    /// States [batch, time + 1, state]; row 0 is the initial state.
    pub states: Array3<f32>,
}

/// Something that computes losses and gradients.
pub trait Engine: Send {
    /// Device and instruction set, for provenance and `list devices`.
    fn name(&self) -> String;

    /// Loss and gradient of every job.
    ///
    /// # Panics
    /// If trials and architecture differ in dimensions: a caller's fault, checked when an experiment is built.
    fn gradients(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Vec<Gradient>;

    /// Runs a network on trials without learning.
    fn respond(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        job: &Job,
    ) -> Response;
}
