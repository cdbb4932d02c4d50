//! Engines: what trains networks.
//!
//! An engine takes an ensemble's networks and makes whole updates of them: trials, loss, gradient by
//! back-propagation through time with optional generalized teacher forcing, clipping, optimiser, all in f32.
//! The trainer ([`crate::training`]) says how many updates, and looks at the networks in between. Summation
//! has a fixed order, so a result does not depend on the number of threads.

mod cpu;
pub(crate) mod kernels;

pub use cpu::CpuEngine;

use crate::adaptive_forcing::Strength;
use crate::architecture::{Architecture, Readout};
use crate::optimisers::{Moments, Optimiser, clip_by_global_norm};
use crate::regularisers::Regularisation;
use ndarray::Array3;
use nullcline_data::Result;
use nullcline_tasks::{Loss, Task, Trials};
use std::ops::Range;

/// What is minimised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// The loss on outputs and targets, averaged over the weighted steps of the batch.
    pub loss: Loss,
    /// Teacher forcing, where trials start from an observation; `None`: plain back-propagation through time.
    pub forcing: Option<Forcing>,
}

/// Teacher forcing (Hess et al. 2023): before step t the state z becomes
///
///   z~ = (1 - alpha) z + alpha z_data,   z_data = pinv(R) x,
///
/// z_data being the state that the observation x implies, a constant in the gradient. The first step starts from the
/// data in any case. Outputs and loss are those of z, before it is forced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forcing {
    /// Strength, 0 to 1.
    pub alpha: f32,
    /// Steps from one forced step to the next, at least 1.
    pub interval: usize,
    /// The first so many units are forced, if the data imply as many; `None`: all that they imply.
    pub units: Option<usize>,
}

impl Forcing {
    /// Generalized teacher forcing: at every step, by alpha.
    pub fn generalized(alpha: f32) -> Self {
        Forcing {
            alpha,
            interval: 1,
            units: None,
        }
    }

    /// Sparse teacher forcing (Mikhaeil, Monfared & Durstewitz 2022): the state is replaced by the data every
    /// `interval` steps.
    pub fn sparse(interval: usize) -> Self {
        Forcing {
            alpha: 1.0,
            interval: interval.max(1),
            units: None,
        }
    }

    /// The name of the method, as `training.method` gives it.
    pub fn method(&self) -> &'static str {
        if self.interval > 1 {
            "sparse_forcing"
        } else {
            "gtf"
        }
    }

    /// Whether the state before step `step`, from 0, is forced.
    pub fn acts_before(&self, step: usize) -> bool {
        step > 0 && step.is_multiple_of(self.interval)
    }

    /// How many units of a network are forced: those that an observation implies, or fewer.
    pub fn forced_units(&self, architecture: &Architecture) -> usize {
        let implied = match architecture.readout {
            Readout::Identity => architecture.outputs.min(architecture.units),
            _ => architecture.units,
        };
        self.units.map_or(implied, |units| units.min(implied))
    }
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
    /// Derivative of the loss by the flat parameter vector; what stands for parameters per unit that are not
    /// trained may be 0 instead.
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

/// What every update of a network does in the same way.
#[derive(Clone)]
pub struct Plan<'a> {
    /// The networks' architecture.
    pub architecture: &'a Architecture,
    /// What is minimised.
    pub objective: Objective,
    /// The update rule.
    pub optimiser: Optimiser,
    /// Largest Euclidean norm of a network's gradient; 0: any.
    pub clip: f64,
    /// Whether each parameter is trained.
    pub trainable: &'a [bool],
    /// Penalties on the parameters, whose derivatives are added to the gradient before it is clipped.
    pub regularisation: Regularisation,
    /// How the strength of the forcing changes.
    pub strength: Strength,
    /// Where the leaks lie, if they are trained: they are kept in [1e-6, 1], beyond which dt / tau has no
    /// meaning.
    pub leak: Option<Range<usize>>,
    /// Where the trials come from: those of [`nullcline_tasks::Split::Training`].
    pub task: &'a dyn Task,
    /// Trials in an update.
    pub batch: usize,
    /// Networks of the ensemble, finished ones included: what an engine chooses by their number then does not change
    /// as they finish, or when training is taken up again.
    pub ensemble: usize,
    /// The updates to make, counted from the first of training.
    pub updates: Range<u64>,
}

/// One network in training.
#[derive(Debug)]
pub struct Learner<'a> {
    /// Its flat parameter vector.
    pub parameters: &'a mut Vec<f32>,
    /// What the optimiser remembers of it.
    pub moments: &'a mut Moments,
    /// Parameters before the last update: the last that are known to give a finite loss.
    pub previous: &'a mut Vec<f32>,
    /// Seed of its trials; equal in learners that share them.
    pub trial_seed: u64,
    /// Learning rate of each update of the plan.
    pub learning_rates: Vec<f64>,
    /// Strength of the forcing, in the place of that of the objective.
    pub alpha: &'a mut f32,
}

/// What became of a learner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Mean loss over the batch of each update, before that update; ends early where the network diverged.
    pub losses: Vec<f64>,
    /// Strength of the forcing in each of these updates.
    pub alphas: Vec<f32>,
    /// The loss or the gradient of the last of `losses` was not finite. That update was not made, and the
    /// parameters are those of [`Learner::previous`].
    pub diverged: bool,
}

impl Learner<'_> {
    /// The beginning of update number `update` of the plan: the strength of the forcing, adapted to the trials where
    /// that is its turn.
    pub fn adapt(&mut self, plan: &Plan, update: u64, trials: &Trials) -> Option<Forcing> {
        match plan.strength {
            Strength::Adaptive(adaptation) if adaptation.acts_before(update) => {
                *self.alpha =
                    adaptation.adapt(*self.alpha, plan.architecture, self.parameters, trials);
            }
            strength => *self.alpha = strength.of_update(update).unwrap_or(*self.alpha),
        }
        let alpha = *self.alpha;
        plan.objective
            .forcing
            .map(|forcing| Forcing { alpha, ..forcing })
    }

    /// The end of update number `update` of the plan on the host: clipping, the optimiser's step, the bounds
    /// of the leaks. `gradient` is changed. Returns false, with the parameters put back to those before the
    /// last update, where loss or gradient is not finite.
    pub fn apply(&mut self, plan: &Plan, update: u64, loss: f64, gradient: &mut [f32]) -> bool {
        plan.regularisation
            .add_gradient(plan.architecture, self.parameters, gradient);
        // What is not trained does not count towards the norm.
        for (g, trainable) in gradient.iter_mut().zip(plan.trainable) {
            if !trainable {
                *g = 0.0;
            }
        }
        let norm = clip_by_global_norm(gradient, plan.clip);
        if !loss.is_finite() || !norm.is_finite() {
            self.parameters.clone_from(self.previous);
            return false;
        }
        self.previous.clone_from(self.parameters);
        let rate = self.learning_rates[(update - plan.updates.start) as usize];
        plan.optimiser.update(
            self.parameters,
            gradient,
            plan.trainable,
            self.moments,
            rate,
        );
        if let Some(leak) = &plan.leak {
            for a in &mut self.parameters[leak.clone()] {
                *a = a.clamp(1e-6, 1.0);
            }
        }
        true
    }
}

/// What is left of a [`Response`] without the states: what an evaluation needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean loss over the batch.
    pub loss: f64,
    /// Outputs [batch, time, output].
    pub outputs: Array3<f32>,
}

impl From<Response> for Evaluation {
    fn from(response: Response) -> Self {
        Evaluation {
            loss: response.loss,
            outputs: response.outputs,
        }
    }
}

/// Something that trains networks.
///
/// An engine fails only where its device does: the CPU engine never.
///
/// # Panics
/// Every method, if trials and architecture differ in dimensions: a caller's fault, checked when an
/// experiment is built.
pub trait Engine: Send {
    /// Device and instruction set, for provenance and `list devices`.
    fn name(&self) -> String;

    /// Loss and gradient of every job.
    ///
    /// # Errors
    /// If the device fails.
    fn gradients(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Result<Vec<Gradient>>;

    /// Runs networks on trials without learning.
    ///
    /// # Errors
    /// If the device fails.
    fn respond(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Result<Vec<Response>>;

    /// Runs one network on trials without learning.
    ///
    /// # Errors
    /// If the device fails.
    fn respond_one(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        job: &Job,
    ) -> Result<Response> {
        let mut responses = self.respond(architecture, objective, std::slice::from_ref(job))?;
        Ok(responses.swap_remove(0))
    }

    /// Runs networks on trials without learning, for their outputs alone: as [`Engine::respond`], to the bit.
    ///
    /// # Errors
    /// If the device fails.
    fn evaluate(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Result<Vec<Evaluation>> {
        let responses = self.respond(architecture, objective, jobs)?;
        Ok(responses.into_iter().map(Evaluation::from).collect())
    }

    /// Makes the updates of a plan.
    ///
    /// # Errors
    /// If the device fails; the learners are then as they were before the call.
    fn advance(&mut self, plan: &Plan, learners: &mut [Learner]) -> Result<Vec<Progress>>;
}
