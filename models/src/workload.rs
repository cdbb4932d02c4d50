//! Made-up work of any size, for benchmarks: an ensemble that is trained on trials that are always the same.

use crate::adaptive_forcing::Strength;
use crate::engine::{Engine, Forcing, Learner, Objective, Plan};
use crate::ensemble::Ensemble;
use crate::optimisers::{Moments, Optimiser, Rule};
use crate::registry::{self, MODELS};
use crate::regularisers::Regularisation;
use ndarray::{Array3, ArrayView3, Axis};
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Kind, Settings, Value};
use nullcline_data::{Error, Result};
use nullcline_tasks::{Loss, Split, Task, Trials};

/// Inputs and outputs where a size says nothing of them, as of the 3-bit flip-flop.
const CHANNELS: usize = 3;

/// alpha of the forcing of a reconstruction.
const RECONSTRUCTION_ALPHA: f32 = 0.1;

/// How much work.
#[derive(Clone, Debug, PartialEq)]
pub struct Size {
    /// `model.kind`.
    pub cell: String,
    /// Recurrent units; of a shallow PLRNN, hidden units.
    pub hidden: usize,
    /// Trials.
    pub batch: usize,
    /// Steps of each.
    pub steps: usize,
    /// Networks.
    pub networks: usize,
    /// Reconstruction of a series by generalized teacher forcing, instead of a task with inputs.
    pub reconstruction: Option<Reconstruction>,
}

/// A reconstruction: no inputs, trials that start from an observation, forcing with alpha = 0.1, RAdam.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconstruction {
    /// Units; of a PLRNN, latent ones.
    pub units: usize,
    /// Dimensions of the series.
    pub outputs: usize,
    /// `model.observation`: identity or affine.
    pub observation: &'static str,
}

/// Networks in training with Adam on the mean squared error at every step, all on the same trials.
pub struct Workload {
    ensemble: Ensemble,
    moments: Vec<Moments>,
    previous: Vec<Vec<f32>>,
    trainable: Vec<bool>,
    task: SameTrials,
    forcing: Option<Forcing>,
    batch: usize,
    steps: usize,
    made: u64,
}

impl Workload {
    /// Freshly drawn networks and trials.
    ///
    /// # Errors
    /// An unknown cell, or a size that it cannot have.
    pub fn new(size: &Size) -> Result<Self> {
        let kind = registry::kind(&size.cell).ok_or_else(|| {
            let known: Vec<&str> = MODELS.iter().map(|kind| kind.name).collect();
            Error::argument("--cell", &size.cell, known.join(", "))
        })?;
        let mut settings = Settings::from_defaults("model", kind.keys);
        let shallow = settings.keys().any(|key| key.name == "hidden");
        let key = if shallow { "hidden" } else { "units" };
        let most = settings.keys().find_map(|known| match known.kind {
            Kind::Integer { max, .. } if known.name == key => Some(max),
            _ => None,
        });
        settings
            .set(key, Value::Integer(size.hidden as i64))
            .map_err(|_| {
                let allowed = format!("an integer from 1 to {}", most.unwrap_or(i64::MAX));
                Error::argument("--hidden", size.hidden.to_string(), allowed)
            })?;
        let outputs = size.reconstruction.map_or(CHANNELS, |r| r.outputs);
        let inputs = size.reconstruction.map_or(CHANNELS, |_| 0);
        if let Some(reconstruction) = size.reconstruction {
            let units = reconstruction.units as i64;
            let refused = |_| {
                let allowed = "a PLRNN with 1 to 10000 latent units";
                Error::argument("--cell", &size.cell, allowed)
            };
            let observation = Value::Text(reconstruction.observation.to_owned());
            settings.set("observation", observation).map_err(refused)?;
            if shallow {
                settings
                    .set("units", Value::Integer(units))
                    .map_err(refused)?;
            }
        }
        let (architecture, initialisation) = kind.build(&settings, inputs, outputs)?;
        let count = architecture.parameter_count();
        let trainable = architecture.trainable();
        let ensemble = Ensemble::new(architecture, &initialisation, size.networks, 1);
        let mut random = Random::new(1, Stream::TRIALS, 0);
        let mut numbers = |steps: usize, channels: usize| {
            Array3::from_shape_simple_fn((size.batch, steps, channels), || {
                2.0 * random.uniform_f32() - 1.0
            })
        };
        Ok(Workload {
            moments: vec![Moments::new(count); size.networks],
            previous: ensemble.parameters.clone(),
            trainable,
            task: SameTrials(Trials {
                inputs: numbers(size.steps, inputs),
                targets: numbers(size.steps, outputs),
                mask: None,
                initial: size
                    .reconstruction
                    .map(|_| numbers(1, outputs).remove_axis(Axis(1))),
            }),
            forcing: size
                .reconstruction
                .map(|_| Forcing::generalized(RECONSTRUCTION_ALPHA)),
            batch: size.batch,
            steps: size.steps,
            made: 0,
            ensemble,
        })
    }

    /// Makes updates of every network.
    ///
    /// # Errors
    /// If the engine's device fails, or a network diverges.
    pub fn advance(&mut self, engine: &mut dyn Engine, updates: u64) -> Result<()> {
        let updates = self.made..self.made + updates;
        self.made = updates.end;
        let plan = Plan {
            architecture: &self.ensemble.architecture,
            objective: Objective {
                loss: Loss::MeanSquaredError,
                forcing: self.forcing,
            },
            optimiser: Optimiser {
                rule: match self.forcing {
                    Some(_) => Rule::RAdam,
                    None => Rule::Adam,
                },
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.0,
                momentum: 0.0,
                nesterov: false,
            },
            clip: 0.0,
            trainable: &self.trainable,
            regularisation: Regularisation::default(),
            strength: Strength::Constant,
            leak: None,
            task: &self.task,
            batch: self.batch,
            ensemble: self.moments.len(),
            updates,
        };
        let mut alphas = vec![RECONSTRUCTION_ALPHA; self.moments.len()];
        let mut learners: Vec<Learner> = self
            .ensemble
            .parameters
            .iter_mut()
            .zip(&mut self.moments)
            .zip(self.previous.iter_mut().zip(&mut alphas))
            .map(|((parameters, moments), (previous, alpha))| Learner {
                parameters,
                moments,
                previous,
                trial_seed: 1,
                learning_rates: plan.updates.clone().map(|_| 1e-4).collect(),
                alpha,
            })
            .collect();
        let progress = engine.advance(&plan, &mut learners)?;
        if progress.iter().any(|progress| progress.diverged) {
            let what = "training on made-up trials";
            return Err(Error::argument(
                what,
                "a loss that is not finite",
                "smaller sizes",
            ));
        }
        Ok(())
    }

    /// Floating-point operations of the matrix products of one update of all networks: 2 per weight, step and
    /// trial forward, 4 backward. Pointwise work is not counted, as is customary.
    pub fn operations(&self) -> f64 {
        let layout = self.ensemble.architecture.layout();
        let matrices = [
            &layout.recurrent,
            &layout.hidden,
            &layout.input,
            &layout.readout,
        ];
        let weights: usize = matrices.iter().map(|range| range.len()).sum();
        6.0 * weights as f64 * (self.batch * self.steps) as f64 * self.ensemble.len() as f64
    }
}

/// A task that always gives the same trials: what is measured is training, not the drawing of trials.
struct SameTrials(Trials);

impl Task for SameTrials {
    fn kind(&self) -> &'static str {
        "same_trials"
    }
    fn input_names(&self) -> Vec<String> {
        (1..=CHANNELS).map(|i| format!("input_{i}")).collect()
    }
    fn output_names(&self) -> Vec<String> {
        (1..=CHANNELS).map(|i| format!("output_{i}")).collect()
    }
    fn loss(&self) -> Loss {
        Loss::MeanSquaredError
    }
    fn trials(&self, _split: Split, _seed: u64, _index: u64, _batch: usize) -> Trials {
        self.0.clone()
    }
    fn metrics(&self, _outputs: ArrayView3<f32>, _trials: &Trials) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
    fn metric_names(&self) -> &'static [&'static str] {
        &[]
    }
}
