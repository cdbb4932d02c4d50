//! Training: the loop over updates, for an ensemble.
//!
//! Everything random is a function of (seed, update), so the state of training is the parameters, the
//! optimiser's moments and a few counters: [`Trainer::checkpoint`] writes it, [`Trainer::restore`] reads it,
//! and a run that was killed ends in the same bits as one that was not.

use crate::adaptive_forcing::{Adaptation, Estimator, Strength};
use crate::architecture::Architecture;
use crate::engine::{Engine, Forcing, Job, Learner, Objective, Plan};
use crate::ensemble::{Ensemble, Initialisation};
use crate::optimisers::{Moments, Optimiser, Plateau, Rule, Schedule};
use crate::regularisers::Regularisation;
use ndarray::{Array1, Array2, ArrayD, IxDyn};
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use nullcline_data::tensors::{Tensor, Tensors};
use nullcline_data::{Error, Result};
use nullcline_tasks::{Loss, Split, Task, Trials};
use rayon::prelude::*;
use std::time::Instant;

/// The documented keys of the `[training]` table.
pub const KEYS: &[Key] = &[
    Key {
        name: "method",
        kind: Kind::Choice(&["bptt", "gtf", "sparse_forcing"]),
        default: Preset::Text("bptt"),
        unit: "",
        doc: "bptt: back-propagation through time. For tasks whose trials start from an observation also gtf: with \
              generalized teacher forcing (Hess et al. 2023), and sparse_forcing: with the state replaced by that of \
              the data every forcing_interval steps (Mikhaeil et al. 2022).",
    },
    Key {
        name: "alpha",
        kind: Kind::Number { min: 0.0, max: 1.0 },
        default: Preset::Number(0.1),
        unit: "",
        doc: "Strength of the forcing of gtf: z becomes (1 - alpha) z + alpha z_data before each step. Where it is \
              adaptive, its start, which was published as 1.",
    },
    Key {
        name: "end_alpha",
        kind: Kind::Number {
            min: 1e-9,
            max: 1.0,
        },
        default: Preset::Absent,
        unit: "",
        doc: "Where given, alpha of gtf changes geometrically from its start to this over all updates.",
    },
    Key {
        name: "alpha_estimator",
        kind: Kind::Choice(Estimator::NAMES),
        default: Preset::Text("constant"),
        unit: "",
        doc: "Adaptive gtf: alpha follows 1 - 1 / kappa, up at once and down slowly, kappa being estimated from the \
              Jacobians at the states that the data imply. product_upper_bound: geometric mean over time of their \
              spectral norms; arithmetic_mean: norm of their mean; explog: norm of exp of the mean of their matrix \
              logarithms; batch_maximum: largest norm; each the largest over a batch. jacobian_upper_bound: from the \
              weights alone. constant: alpha stays.",
    },
    Key {
        name: "alpha_decay",
        kind: Kind::Number { min: 0.0, max: 1.0 },
        default: Preset::Number(0.999),
        unit: "",
        doc: "gamma of adaptive gtf: what a lower estimate leaves of alpha.",
    },
    Key {
        name: "alpha_every",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000_000,
        },
        default: Preset::Integer(5),
        unit: "updates",
        doc: "Updates between estimates of adaptive gtf.",
    },
    Key {
        name: "forcing_interval",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000_000,
        },
        default: Preset::Integer(16),
        unit: "steps",
        doc: "Steps from one replacement of the state to the next of sparse_forcing.",
    },
    Key {
        name: "forced_units",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        default: Preset::Absent,
        unit: "",
        doc: "Partial forcing: only the first so many units are forced; where left out, all that the data imply.",
    },
    Key {
        name: "refinement",
        kind: Kind::Integer {
            min: 0,
            max: 10_000_000,
        },
        default: Preset::Integer(0),
        unit: "evaluations",
        doc: "Of networks that learned a recording, after the last update: so many candidates in the neighbourhood of the \
              network are tried, chosen by an evolution strategy (CMA-ES) that seeks the least D_stsp between the training \
              part and what the network generates. Each row of the recurrent weights has a factor, each bias a shift, each \
              parameter of a unit a factor. 0: none.",
    },
    Key {
        name: "refinement_tolerance",
        kind: Kind::Number { min: 0.0, max: 1e6 },
        default: Preset::Number(0.2),
        unit: "",
        doc: "By which part of itself the prediction error may grow in the refinement.",
    },
    Key {
        name: "latent_regularisation",
        kind: Kind::Number { min: 0.0, max: 1e6 },
        default: Preset::Number(0.0),
        unit: "",
        doc: "Strength of the penalty sum p^2 on the weights and biases of the recurrent part, (1 - A)^2 on the \
              diagonal of a PLRNN.",
    },
    Key {
        name: "observation_regularisation",
        kind: Kind::Number { min: 0.0, max: 1e6 },
        default: Preset::Number(0.0),
        unit: "",
        doc: "Strength of the penalty (1 - condition number)^2 on a linear readout, or sum p^2 on the map to the units \
              that the identity does not observe.",
    },
    Key {
        name: "manifold_regularisation",
        kind: Kind::Number { min: 0.0, max: 1e6 },
        default: Preset::Number(0.0),
        unit: "",
        doc: "Strength of the manifold-attractor penalty (Schmidt et al. 2021): (1 - A)^2 + W^2 + h^2 in the rows of \
              the last units, which are drawn to remember.",
    },
    Key {
        name: "manifold_fraction",
        kind: Kind::Number { min: 0.0, max: 1.0 },
        default: Preset::Number(0.5),
        unit: "",
        doc: "Share of the units that manifold_regularisation acts on, rounded down.",
    },
    Key {
        name: "loss",
        kind: Kind::Choice(&["task", "mean_squared_error", "cross_entropy"]),
        default: Preset::Text("task"),
        unit: "",
        doc: "The loss; task: the one that the task names.",
    },
    Key {
        name: "updates",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000_000,
        },
        default: Preset::Integer(2000),
        unit: "updates",
        doc: "Most updates that are made; schedules run over all of them.",
    },
    Key {
        name: "batch",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        default: Preset::Integer(64),
        unit: "trials",
        doc: "Trials in an update. The CPU works on 16 at a time: multiples of 16 waste nothing.",
    },
    Key {
        name: "trials",
        kind: Kind::Choice(&["separate", "shared"]),
        default: Preset::Text("separate"),
        unit: "",
        doc: "Whether the networks of an ensemble see trials of their own or all the same.",
    },
    Key {
        name: "optimiser",
        kind: Kind::Choice(Rule::NAMES),
        default: Preset::Text("adam"),
        unit: "",
        doc: "The update rule, in torch's definition.",
    },
    Key {
        name: "learning_rate",
        kind: Kind::Number { min: 0.0, max: 1e3 },
        default: Preset::Number(1e-3),
        unit: "",
        doc: "The learning rate at the start.",
    },
    Key {
        name: "beta1",
        kind: Kind::Number {
            min: 0.0,
            max: 0.999_999,
        },
        default: Preset::Number(0.9),
        unit: "",
        doc: "Decay of the first moment (adam, adamw, radam).",
    },
    Key {
        name: "beta2",
        kind: Kind::Number {
            min: 0.0,
            max: 0.999_999_9,
        },
        default: Preset::Number(0.999),
        unit: "",
        doc: "Decay of the second moment (adam, adamw, radam).",
    },
    Key {
        name: "epsilon",
        kind: Kind::Number { min: 0.0, max: 1.0 },
        default: Preset::Number(1e-8),
        unit: "",
        doc: "Added to the root of the second moment (adam, adamw, radam).",
    },
    Key {
        name: "weight_decay",
        kind: Kind::Number { min: 0.0, max: 1e3 },
        default: Preset::Number(0.0),
        unit: "",
        doc: "Weight decay: added to the gradient, or for adamw taken from the weights directly.",
    },
    Key {
        name: "momentum",
        kind: Kind::Number {
            min: 0.0,
            max: 0.999_999,
        },
        default: Preset::Number(0.9),
        unit: "",
        doc: "Momentum (sgd).",
    },
    Key {
        name: "nesterov",
        kind: Kind::Flag,
        default: Preset::Flag(false),
        unit: "",
        doc: "Nesterov's look-ahead (sgd).",
    },
    Key {
        name: "clip",
        kind: Kind::Number { min: 0.0, max: 1e9 },
        default: Preset::Number(1.0),
        unit: "",
        doc: "Largest Euclidean norm of the gradient of a network; 0: any.",
    },
    Key {
        name: "schedule",
        kind: Kind::Choice(&["constant", "exponential", "cosine", "plateau"]),
        default: Preset::Text("constant"),
        unit: "",
        doc: "How the learning rate changes. plateau looks at the held-out loss.",
    },
    Key {
        name: "end_learning_rate",
        kind: Kind::Number {
            min: 1e-30,
            max: 1e3,
        },
        default: Preset::Number(1e-6),
        unit: "",
        doc: "The learning rate that exponential and cosine reach after the last update, or the smallest of plateau.",
    },
    Key {
        name: "plateau_factor",
        kind: Kind::Number {
            min: 1e-6,
            max: 1.0,
        },
        default: Preset::Number(0.5),
        unit: "",
        doc: "What plateau multiplies the learning rate by.",
    },
    Key {
        name: "plateau_patience",
        kind: Kind::Integer {
            min: 0,
            max: 1_000_000,
        },
        default: Preset::Integer(10),
        unit: "evaluations",
        doc: "Evaluations without improvement before plateau does so.",
    },
    Key {
        name: "evaluate_every",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000_000,
        },
        default: Preset::Integer(50),
        unit: "updates",
        doc: "Updates between evaluations on held-out trials.",
    },
    Key {
        name: "evaluation_trials",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        default: Preset::Integer(256),
        unit: "trials",
        doc: "Held-out trials in an evaluation; always the same ones.",
    },
    Key {
        name: "log_every",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000_000,
        },
        default: Preset::Integer(10),
        unit: "updates",
        doc: "Updates between rows of the training table; evaluations have a row in any case.",
    },
    Key {
        name: "stop_loss",
        kind: Kind::Number {
            min: 0.0,
            max: 1e300,
        },
        default: Preset::Absent,
        unit: "",
        doc: "A network whose held-out loss is at or below this stops training.",
    },
    Key {
        name: "stop_patience",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000_000,
        },
        default: Preset::Absent,
        unit: "evaluations",
        doc: "A network whose held-out loss has not fallen for so many evaluations stops training.",
    },
    Key {
        name: "checkpoint_every",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000_000,
        },
        default: Preset::Integer(500),
        unit: "updates",
        doc: "Updates between checkpoints; a run that is killed goes on from the last.",
    },
    Key {
        name: "snapshots",
        kind: Kind::Integers {
            min: 0,
            max: 1_000_000_000,
        },
        default: Preset::Integers(&[]),
        unit: "updates",
        doc: "Updates after which the networks are kept in a file of their own; 0: before the first.",
    },
];

/// Most numbers that the responses of networks evaluated at the same time hold: a quarter of a gigabyte.
const MOST_NUMBERS_OF_RESPONSES: usize = 1 << 26;

/// The `[training]` table as typed values.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSettings {
    /// Teacher forcing; `None`: plain back-propagation.
    pub forcing: Option<Forcing>,
    /// How alpha changes.
    pub strength: Strength,
    /// Penalties on the parameters.
    pub regularisation: Regularisation,
    /// The loss; `None`: the task's.
    pub loss: Option<Loss>,
    /// Most updates.
    pub updates: u64,
    /// Trials in an update.
    pub batch: usize,
    /// Whether all networks see the same trials.
    pub shared_trials: bool,
    /// Update rule.
    pub optimiser: Optimiser,
    /// Learning rate at the start.
    pub learning_rate: f64,
    /// Its course.
    pub schedule: Schedule,
    /// Largest norm of the gradient; 0: any.
    pub clip: f64,
    /// Updates between evaluations.
    pub evaluate_every: u64,
    /// Trials in an evaluation.
    pub evaluation_trials: usize,
    /// Updates between rows of the history.
    pub log_every: u64,
    /// Stop at this held-out loss.
    pub stop_loss: Option<f64>,
    /// Stop after so many evaluations without improvement.
    pub stop_patience: Option<u64>,
    /// Updates between checkpoints.
    pub checkpoint_every: u64,
    /// Updates after which a snapshot is kept.
    pub snapshots: Vec<u64>,
    /// What follows the last update.
    pub refinement: Refinement,
}

/// The search in the neighbourhood of a network that follows its last update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Refinement {
    /// Most candidates that are tried; 0: there is no search.
    pub evaluations: usize,
    /// By which part of itself the prediction error may grow.
    pub tolerance: f64,
}

impl TrainingSettings {
    /// From a checked `[training]` table.
    ///
    /// # Errors
    /// If a schedule cannot run with a learning rate of zero.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let learning_rate = settings.number("learning_rate");
        let end = settings.number("end_learning_rate");
        let schedule = match settings.text("schedule") {
            "exponential" => Schedule::Exponential { end },
            "cosine" => Schedule::Cosine { end },
            "plateau" => Schedule::Plateau {
                factor: settings.number("plateau_factor"),
                patience: settings.count("plateau_patience") as u64,
                end,
            },
            _ => Schedule::Constant,
        };
        if matches!(schedule, Schedule::Exponential { .. }) && learning_rate <= 0.0 {
            return Err(Error::Argument {
                what: "key \"training.learning_rate\" with the exponential schedule".into(),
                found: learning_rate.to_string(),
                allowed: "a number above 0".into(),
            });
        }
        Ok(TrainingSettings {
            forcing: match settings.text("method") {
                "gtf" => Some(Forcing::generalized(settings.number("alpha") as f32)),
                "sparse_forcing" => Some(Forcing::sparse(settings.count("forcing_interval"))),
                _ => None,
            }
            .map(|forcing| Forcing {
                units: settings
                    .optional_integer("forced_units")
                    .map(|units| units as usize),
                ..forcing
            }),
            strength: strength(settings)?,
            regularisation: Regularisation {
                latent: settings.number("latent_regularisation"),
                observation: settings.number("observation_regularisation"),
                manifold: settings.number("manifold_regularisation"),
                manifold_fraction: settings.number("manifold_fraction"),
            },
            loss: match settings.text("loss") {
                "mean_squared_error" => Some(Loss::MeanSquaredError),
                "cross_entropy" => Some(Loss::CrossEntropy),
                _ => None,
            },
            updates: settings.count("updates") as u64,
            batch: settings.count("batch"),
            shared_trials: settings.text("trials") == "shared",
            optimiser: Optimiser {
                rule: Rule::from_name(settings.text("optimiser")).unwrap_or(Rule::Adam),
                beta1: settings.number("beta1"),
                beta2: settings.number("beta2"),
                epsilon: settings.number("epsilon"),
                weight_decay: settings.number("weight_decay"),
                momentum: settings.number("momentum"),
                nesterov: settings.flag("nesterov"),
            },
            learning_rate,
            schedule,
            clip: settings.number("clip"),
            evaluate_every: settings.count("evaluate_every") as u64,
            evaluation_trials: settings.count("evaluation_trials"),
            log_every: settings.count("log_every") as u64,
            stop_loss: settings.optional_number("stop_loss"),
            stop_patience: settings.optional_integer("stop_patience").map(|n| n as u64),
            checkpoint_every: settings.count("checkpoint_every") as u64,
            snapshots: settings
                .integers("snapshots")
                .iter()
                .map(|&u| u as u64)
                .collect(),
            refinement: Refinement {
                evaluations: settings.count("refinement"),
                tolerance: settings.number("refinement_tolerance"),
            },
        })
    }

    /// What is minimised for a task.
    pub fn objective(&self, task: &dyn Task) -> Objective {
        Objective {
            loss: self.loss.unwrap_or(task.loss()),
            forcing: self.forcing,
        }
    }
}

/// How the strength of the forcing changes, of the keys that say so.
fn strength(settings: &Settings) -> Result<Strength> {
    let method = settings.text("method");
    if method != "gtf" {
        let given = [
            (settings.text("alpha_estimator") != "constant").then_some("alpha_estimator"),
            settings.is_set("end_alpha").then_some("end_alpha"),
        ];
        return match given.into_iter().flatten().next() {
            None => Ok(Strength::Constant),
            Some(key) => Err(Error::argument(
                format!("key \"training.{key}\""),
                format!("method = \"{method}\", which has no alpha"),
                "method = \"gtf\"; or leave the key out",
            )),
        };
    }
    let estimator = Estimator::from_name(settings.text("alpha_estimator"));
    match (estimator, settings.optional_number("end_alpha")) {
        (None, None) => Ok(Strength::Constant),
        (Some(estimator), None) => Ok(Strength::Adaptive(Adaptation {
            estimator,
            decay: settings.number("alpha_decay"),
            every: settings.count("alpha_every") as u64,
        })),
        (Some(_), Some(_)) => Err(Error::argument(
            "keys \"training.alpha_estimator\" and \"training.end_alpha\"",
            "both",
            "one of them: alpha follows its estimate, or a course that is given",
        )),
        (None, Some(end)) => match settings.number("alpha") {
            start if start > 0.0 => Ok(Strength::Geometric {
                start,
                end,
                updates: settings.count("updates") as u64,
            }),
            start => Err(Error::argument(
                "key \"training.alpha\" with end_alpha",
                start.to_string(),
                "a number above 0",
            )),
        },
    }
}

/// Whether a network still trains, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It trains.
    Running,
    /// It has made all its updates.
    AllUpdates,
    /// It has reached the loss asked for.
    LossReached,
    /// Its held-out loss no longer falls.
    NoImprovement,
    /// Its loss or gradient was not finite at this update (from 0). Its parameters are those of the update
    /// before.
    Diverged {
        /// The update at which that was seen.
        update: u64,
    },
}

impl Status {
    /// The word in tables and on screen.
    pub fn name(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::AllUpdates => "all_updates",
            Status::LossReached => "loss_reached",
            Status::NoImprovement => "no_improvement",
            Status::Diverged { .. } => "diverged",
        }
    }

    fn code(self) -> (u64, u64) {
        match self {
            Status::Running => (0, 0),
            Status::AllUpdates => (1, 0),
            Status::LossReached => (2, 0),
            Status::NoImprovement => (3, 0),
            Status::Diverged { update } => (4, update),
        }
    }

    fn from_code(code: u64, update: u64) -> Option<Self> {
        Some(match code {
            0 => Status::Running,
            1 => Status::AllUpdates,
            2 => Status::LossReached,
            3 => Status::NoImprovement,
            4 => Status::Diverged { update },
            _ => return None,
        })
    }
}

/// One row of the training table.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRow {
    /// Updates made when the row was written.
    pub update: u64,
    /// Network, from 0.
    pub network: usize,
    /// Loss of the last update's batch, before that update.
    pub loss: f64,
    /// Loss on the held-out trials, in rows of evaluations.
    pub held_out_loss: Option<f64>,
    /// The task's metrics on the held-out trials, in their order; empty in other rows.
    pub metrics: Vec<f64>,
    /// Learning rate of the last update.
    pub learning_rate: f64,
    /// Strength of the forcing in the last update, where there is forcing.
    pub alpha: Option<f64>,
    /// Seconds of training so far, over all sessions.
    pub seconds: f64,
}

/// The course of one network's training.
#[derive(Clone, Debug, PartialEq)]
struct Course {
    status: Status,
    moments: Moments,
    plateau: Plateau,
    /// Best held-out loss and evaluations since, for `stop_patience`.
    best: f64,
    waited: u64,
    /// Parameters before the last update: the last that are known to give a finite loss.
    previous: Vec<f32>,
    /// Strength of the forcing; 0 where there is none.
    alpha: f32,
}

impl Course {
    /// A course before its first update.
    fn new(parameters: &[f32], status: Status, forcing: Option<Forcing>) -> Self {
        Course {
            status,
            moments: Moments::new(parameters.len()),
            plateau: Plateau::default(),
            best: f64::INFINITY,
            waited: 0,
            previous: parameters.to_vec(),
            alpha: forcing.map_or(0.0, |forcing| forcing.alpha),
        }
    }
}

/// What an evaluation gave for one network.
#[derive(Clone, Debug)]
struct Measured {
    loss: f64,
    metrics: Vec<f64>,
}

/// Trains an ensemble.
pub struct Trainer<'a> {
    task: &'a dyn Task,
    settings: TrainingSettings,
    objective: Objective,
    seed: u64,
    ensemble: Ensemble,
    courses: Vec<Course>,
    trainable: Vec<bool>,
    /// Where the leaks lie, if they are trained.
    leak: Option<std::ops::Range<usize>>,
    update: u64,
    /// How many networks, from the first, have been refined.
    refined: usize,
    seconds_before: f64,
    started: Instant,
    history: Vec<HistoryRow>,
    held_out: Vec<Trials>,
}

impl<'a> Trainer<'a> {
    /// A trainer at update 0 with freshly drawn networks.
    ///
    /// # Errors
    /// If teacher forcing is asked for and cannot be: the task's trials start from no observation, or the
    /// cell has state variables that no observation implies.
    pub fn new(
        task: &'a dyn Task,
        architecture: Architecture,
        initialisation: &Initialisation,
        settings: TrainingSettings,
        networks: usize,
        seed: u64,
    ) -> Result<Self> {
        let ensemble = Ensemble::new(architecture, initialisation, networks, seed);
        let held_out: Vec<Trials> = (0..if settings.shared_trials { 1 } else { networks })
            .map(|k| {
                task.trials(
                    Split::HeldOut,
                    seed.wrapping_add(k as u64),
                    0,
                    settings.evaluation_trials,
                )
            })
            .collect();
        check_start(&ensemble.architecture, &held_out)?;
        if settings.objective(task).loss == Loss::CrossEntropy {
            check_probabilities(task, &held_out)?;
        }
        if let Some(forcing) = settings.forcing {
            let refuse = |found: &str, allowed: &str| {
                Err(Error::Argument {
                    what: format!("key \"training.method\" = \"{}\"", forcing.method()),
                    found: found.into(),
                    allowed: allowed.into(),
                })
            };
            if held_out
                .first()
                .is_some_and(|trials| trials.initial.is_none())
            {
                return refuse(
                    &format!(
                        "task \"{}\", whose trials start from no observation",
                        task.kind()
                    ),
                    "a task that generates a recording, such as \"series\"; or method = \"bptt\"",
                );
            }
            if ensemble.architecture.cell.shape().states > 1 {
                return refuse(
                    &format!(
                        "cell \"{}\" with more than one state variable",
                        ensemble.architecture.cell.name()
                    ),
                    "a cell with one state variable per unit; or method = \"bptt\"",
                );
            }
        }
        if settings.refinement.evaluations > 0 && task.recording(Split::Training).is_none() {
            return Err(Error::argument(
                "key \"training.refinement\"",
                format!("task \"{}\", which has no recording", task.kind()),
                "a task that generates a recording, such as \"series\"; or 0",
            ));
        }
        let bound = matches!(
            settings.strength,
            Strength::Adaptive(Adaptation {
                estimator: Estimator::JacobianUpperBound,
                ..
            })
        );
        if bound && !ensemble.architecture.cell.is_plrnn() {
            return Err(Error::argument(
                "key \"training.alpha_estimator\" = \"jacobian_upper_bound\"",
                format!("cell \"{}\"", ensemble.architecture.cell.name()),
                "a PLRNN, whose Jacobians its weights bound; or another estimator",
            ));
        }
        let leak = ensemble
            .architecture
            .tensor("leak")
            .filter(|tensor| tensor.trainable)
            .map(|tensor| tensor.range);
        let trainable = ensemble.architecture.trainable();
        let courses = ensemble
            .parameters
            .iter()
            .map(|parameters| Course::new(parameters, Status::Running, settings.forcing))
            .collect();
        Ok(Trainer {
            objective: settings.objective(task),
            task,
            settings,
            seed,
            ensemble,
            courses,
            trainable,
            leak,
            update: 0,
            refined: 0,
            seconds_before: 0.0,
            started: Instant::now(),
            history: Vec::new(),
            held_out,
        })
    }

    /// Puts networks that were trained elsewhere in the place of those drawn. Their training is done:
    /// [`Status::AllUpdates`] after no update.
    ///
    /// # Errors
    /// If their number or architecture is not the trainer's.
    pub fn adopt(&mut self, ensemble: Ensemble) -> Result<()> {
        let describe =
            |ensemble: &Ensemble| format!("{} of {:?}", ensemble.len(), ensemble.architecture);
        if ensemble.len() != self.ensemble.len()
            || ensemble.architecture != self.ensemble.architecture
        {
            return Err(Error::argument(
                "networks",
                describe(&ensemble),
                describe(&self.ensemble),
            ));
        }
        self.courses = ensemble
            .parameters
            .iter()
            .map(|parameters| Course::new(parameters, Status::AllUpdates, self.settings.forcing))
            .collect();
        self.ensemble = ensemble;
        Ok(())
    }

    /// Updates made.
    pub fn update(&self) -> u64 {
        self.update
    }

    /// Updates made of single networks, over all sessions.
    pub fn network_updates(&self) -> u64 {
        self.courses.iter().map(|c| c.moments.updates).sum()
    }

    /// Updates of single networks that are left at most: fewer where a network stops early.
    pub fn network_updates_left(&self) -> u64 {
        let running = self
            .courses
            .iter()
            .filter(|course| course.status == Status::Running)
            .count();
        running as u64 * self.settings.updates.saturating_sub(self.update)
    }

    /// Seconds that an engine takes for an update of all networks that train, tried on copies for `seconds`, or
    /// until `stopped` says so; infinite where none trains.
    ///
    /// # Errors
    /// If the engine's device fails.
    pub fn seconds_per_update(
        &self,
        engine: &mut dyn Engine,
        seconds: f64,
        stopped: &dyn Fn() -> bool,
    ) -> Result<f64> {
        let mut best = f64::INFINITY;
        let mut updates = 1;
        let begun = Instant::now();
        // The first update, which compiles and allocates, is tried but not counted.
        for attempt in 0.. {
            let mut parameters = self.ensemble.parameters.clone();
            let mut courses = self.courses.clone();
            let plan = self.plan(self.update..self.update + updates, courses.len());
            let mut learners = self.learners(&plan, &mut parameters, &mut courses);
            let started = Instant::now();
            let progress = engine.advance(&plan, &mut learners)?;
            let elapsed = started.elapsed().as_secs_f64();
            let made = progress.iter().map(|progress| progress.losses.len());
            let Some(made) = made.max().filter(|&made| made > 0) else {
                break;
            };
            if attempt > 0 {
                best = best.min(elapsed / made as f64);
            }
            if stopped() || attempt > 0 && begun.elapsed().as_secs_f64() > seconds {
                break;
            }
            // Training makes no more at a time either.
            if elapsed < seconds / 4.0 {
                updates = (2 * updates).min(self.settings.evaluate_every);
            }
        }
        Ok(best)
    }

    /// What the updates of a range have in common, for an ensemble of so many networks.
    fn plan(&self, updates: std::ops::Range<u64>, ensemble: usize) -> Plan<'_> {
        Plan {
            architecture: &self.ensemble.architecture,
            objective: self.objective,
            optimiser: self.settings.optimiser,
            clip: self.settings.clip,
            trainable: &self.trainable,
            regularisation: self.settings.regularisation,
            strength: self.settings.strength,
            leak: self.leak.clone(),
            task: self.task,
            batch: self.settings.batch,
            ensemble,
            updates,
        }
    }

    /// The networks that train, as an engine takes them.
    fn learners<'b>(
        &self,
        plan: &Plan,
        parameters: &'b mut [Vec<f32>],
        courses: &'b mut [Course],
    ) -> Vec<Learner<'b>> {
        parameters
            .iter_mut()
            .zip(courses)
            .enumerate()
            .filter(|(_, (_, course))| course.status == Status::Running)
            .map(|(k, (parameters, course))| Learner {
                parameters,
                moments: &mut course.moments,
                previous: &mut course.previous,
                alpha: &mut course.alpha,
                trial_seed: if self.settings.shared_trials {
                    self.seed
                } else {
                    self.seed.wrapping_add(k as u64)
                },
                learning_rates: plan
                    .updates
                    .clone()
                    .map(|update| {
                        self.settings.schedule.learning_rate(
                            self.settings.learning_rate,
                            update,
                            self.settings.updates,
                            &course.plateau,
                        )
                    })
                    .collect(),
            })
            .collect()
    }

    /// The networks as they are.
    pub fn ensemble(&self) -> &Ensemble {
        &self.ensemble
    }

    /// What is minimised.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Whether each network still trains.
    pub fn statuses(&self) -> Vec<Status> {
        self.courses.iter().map(|course| course.status).collect()
    }

    /// The network that is to be refined next; `None` while one trains, and where all are refined or none is to be.
    pub fn next_to_refine(&self) -> Option<usize> {
        let next = self.refined;
        let wanted = self.settings.refinement.evaluations > 0 && self.is_done();
        (wanted && next < self.ensemble.len()).then_some(next)
    }

    /// Puts refined parameters, `[parameter]`, in the place of those of [`Self::next_to_refine`]; `None` leaves them.
    pub fn refine(&mut self, parameters: Option<Vec<f32>>) {
        let to = self.ensemble.parameters.get_mut(self.refined);
        if let (Some(to), Some(parameters)) = (to, parameters) {
            *to = parameters;
        }
        self.refined += 1;
    }

    /// True when no network trains any more.
    pub fn is_done(&self) -> bool {
        self.courses
            .iter()
            .all(|course| course.status != Status::Running)
    }

    /// The training table so far.
    pub fn history(&self) -> &[HistoryRow] {
        &self.history
    }

    /// Seconds of training, over all sessions.
    pub fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// Puts back the rows of earlier sessions, up to the update of the checkpoint. Call it after
    /// [`Trainer::restore`].
    pub fn restore_history(&mut self, rows: Vec<HistoryRow>) {
        self.history = rows
            .into_iter()
            .filter(|row| row.update <= self.update)
            .collect();
        if let Some(last) = self.history.last() {
            self.seconds_before = last.seconds;
        }
    }

    /// Makes updates of every network that trains: at most `at_most`, and none beyond the next evaluation.
    /// Does nothing when no network trains.
    ///
    /// # Errors
    /// If the engine's device fails; the trainer is then as it was before.
    pub fn advance(&mut self, engine: &mut dyn Engine, at_most: u64) -> Result<()> {
        let running: Vec<usize> = (0..self.courses.len())
            .filter(|&k| self.courses[k].status == Status::Running)
            .collect();
        if running.is_empty() || at_most == 0 {
            return Ok(());
        }
        let from = self.update;
        let next_evaluation =
            (from / self.settings.evaluate_every + 1) * self.settings.evaluate_every;
        let end = next_evaluation
            .min(self.settings.updates)
            .min(from.saturating_add(at_most))
            .max(from + 1);
        let begun = self.seconds();
        // An evaluation at the end of the span may fail when the updates are made already.
        let before = self
            .evaluates_at(end)
            .then(|| (self.courses.clone(), self.ensemble.parameters.clone()));
        // The networks leave the trainer while it lends the rest of itself to the plan.
        let mut courses = std::mem::take(&mut self.courses);
        let mut parameters = std::mem::take(&mut self.ensemble.parameters);
        let plan = self.plan(from..end, courses.len());
        let mut learners = self.learners(&plan, &mut parameters, &mut courses);
        let progress = engine.advance(&plan, &mut learners);
        let rates: Vec<Vec<f64>> = learners.into_iter().map(|l| l.learning_rates).collect();
        self.courses = courses;
        self.ensemble.parameters = parameters;
        let progress = progress?;
        let seconds = self.seconds() - begun;
        // Where all networks have diverged, the updates after the last of them were not made.
        let made = progress.iter().map(|progress| progress.losses.len());
        let end = from + made.max().unwrap_or(0) as u64;

        for (&k, progress) in running.iter().zip(&progress) {
            if progress.diverged {
                self.courses[k].status = Status::Diverged {
                    update: from + progress.losses.len() as u64 - 1,
                };
            }
        }
        let last = end >= self.settings.updates;
        let measured = if self.evaluates_at(end) {
            match self.evaluate(&running, engine) {
                Ok(measured) => measured,
                Err(error) => {
                    if let Some(before) = before {
                        (self.courses, self.ensemble.parameters) = before;
                    }
                    return Err(error);
                }
            }
        } else {
            vec![None; running.len()]
        };
        self.update = end;
        for (i, update) in (from + 1..=end).enumerate() {
            for ((&k, progress), (rates, measured)) in running
                .iter()
                .zip(&progress)
                .zip(rates.iter().zip(&measured))
            {
                let Some(&loss) = progress.losses.get(i) else {
                    continue;
                };
                let measured = measured.as_ref().filter(|_| update == end);
                let diverged = progress.diverged && i + 1 == progress.losses.len();
                let logging = update == 1 || update.is_multiple_of(self.settings.log_every);
                if logging || diverged || measured.is_some() {
                    self.history.push(HistoryRow {
                        update,
                        network: k,
                        loss,
                        held_out_loss: measured.map(|measured| measured.loss),
                        metrics: measured.map_or(Vec::new(), |measured| measured.metrics.clone()),
                        learning_rate: rates[i],
                        alpha: self
                            .objective
                            .forcing
                            .and_then(|_| progress.alphas.get(i).copied().map(f64::from)),
                        // The engine was not interrupted to look at the clock.
                        seconds: begun + seconds * (i + 1) as f64 / (end - from) as f64,
                    });
                }
            }
        }
        for (&k, measured) in running.iter().zip(measured) {
            let Some(Measured { loss, .. }) = measured else {
                continue;
            };
            self.judge(k, loss);
            if last && self.courses[k].status == Status::Running {
                self.courses[k].status = Status::AllUpdates;
            }
            // A free run may overflow on the way to a good network, but not at its end.
            let course = &mut self.courses[k];
            if course.status != Status::Running && !loss.is_finite() {
                self.ensemble.parameters[k].clone_from(&course.previous);
                course.status = Status::Diverged { update: end - 1 };
            }
        }
        Ok(())
    }

    /// Whether networks are evaluated after this many updates.
    fn evaluates_at(&self, update: u64) -> bool {
        update >= self.settings.updates || update.is_multiple_of(self.settings.evaluate_every)
    }

    /// Loss and metrics of those of `networks` that still train on their held-out trials, without forcing.
    fn evaluate(
        &self,
        networks: &[usize],
        engine: &mut dyn Engine,
    ) -> Result<Vec<Option<Measured>>> {
        let objective = Objective {
            forcing: None,
            ..self.objective
        };
        let architecture = &self.ensemble.architecture;
        let trials_of = |k: usize| &self.held_out[if self.settings.shared_trials { 0 } else { k }];
        // Responses hold every state: as many networks at a time as fit in a quarter of a gigabyte.
        let numbers = self.held_out.first().map_or(1, |trials| {
            trials.batch()
                * (trials.steps() + 1)
                * (architecture.state_dim() + architecture.outputs)
        });
        let at_a_time = (MOST_NUMBERS_OF_RESPONSES / numbers.max(1)).max(1);
        let training: Vec<usize> = networks
            .iter()
            .copied()
            .filter(|&k| self.courses[k].status == Status::Running)
            .collect();
        let mut measured: Vec<Measured> = Vec::with_capacity(training.len());
        for group in training.chunks(at_a_time) {
            let jobs: Vec<Job> = group
                .iter()
                .map(|&k| Job {
                    parameters: &self.ensemble.parameters[k],
                    trials: trials_of(k),
                })
                .collect();
            let responses = engine.evaluate(architecture, &objective, &jobs)?;
            measured.par_extend(group.par_iter().zip(responses).map(|(&k, response)| {
                let metrics = self.task.metrics(response.outputs.view(), trials_of(k));
                Measured {
                    loss: response.loss,
                    metrics: metrics.into_iter().map(|(_, value)| value).collect(),
                }
            }));
        }
        let mut measured = training.iter().zip(measured).peekable();
        Ok(networks
            .iter()
            .map(|k| Some(measured.next_if(|(of, _)| *of == k)?.1))
            .collect())
    }

    /// Applies the stopping rules and the plateau schedule to a held-out loss.
    fn judge(&mut self, k: usize, loss: f64) {
        let course = &mut self.courses[k];
        self.settings.schedule.observe(loss, &mut course.plateau);
        if loss < course.best {
            course.best = loss;
            course.waited = 0;
        } else {
            course.waited += 1;
        }
        if self.settings.stop_loss.is_some_and(|stop| loss <= stop) {
            course.status = Status::LossReached;
        } else if self
            .settings
            .stop_patience
            .is_some_and(|patience| course.waited >= patience)
        {
            course.status = Status::NoImprovement;
        }
    }

    /// Everything that training needs to go on, as tensors: each parameter by name [networks, ...], the
    /// optimiser's moments [networks, parameters], and counters.
    pub fn checkpoint(&self) -> Tensors {
        let mut tensors = ensemble_tensors(&self.ensemble);
        tensors
            .metadata
            .insert("format".into(), CHECKPOINT_FORMAT.into());
        let networks = self.courses.len();
        let count = self.ensemble.architecture.parameter_count();
        let matrix = |of: &dyn Fn(&Course) -> &Vec<f32>| {
            let numbers: Vec<f32> = self
                .courses
                .iter()
                .flat_map(|c| of(c).iter().copied())
                .collect();
            Tensor::F32(shaped(&[networks, count], numbers))
        };
        let integers = |of: &dyn Fn(&Course) -> u64| {
            Tensor::U64(Array1::from_iter(self.courses.iter().map(of)).into_dyn())
        };
        let numbers = |of: &dyn Fn(&Course) -> f64| {
            Tensor::F64(Array1::from_iter(self.courses.iter().map(of)).into_dyn())
        };
        tensors.insert("training.first_moment", matrix(&|c| &c.moments.first));
        tensors.insert("training.second_moment", matrix(&|c| &c.moments.second));
        tensors.insert("training.previous", matrix(&|c| &c.previous));
        tensors.insert(
            "training.optimiser_updates",
            integers(&|c| c.moments.updates),
        );
        tensors.insert("training.status", integers(&|c| c.status.code().0));
        tensors.insert("training.diverged_at", integers(&|c| c.status.code().1));
        tensors.insert("training.plateau_best", numbers(&|c| c.plateau.best));
        tensors.insert("training.plateau_waited", integers(&|c| c.plateau.waited));
        tensors.insert("training.plateau_scale", numbers(&|c| c.plateau.scale));
        tensors.insert("training.best", numbers(&|c| c.best));
        tensors.insert("training.waited", integers(&|c| c.waited));
        tensors.insert("training.alpha", numbers(&|c| f64::from(c.alpha)));
        tensors.insert(
            "training.update",
            Tensor::U64(Array1::from_elem(1, self.update).into_dyn()),
        );
        if self.refined > 0 {
            tensors.insert(
                "training.refined",
                Tensor::U64(Array1::from_elem(1, self.refined as u64).into_dyn()),
            );
        }
        tensors
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// If the checkpoint is not one of this program's or not of this experiment: what is missing or has the
    /// wrong shape is named.
    pub fn restore(&mut self, checkpoint: &Tensors) -> Result<()> {
        let ensemble = ensemble_from_tensors(checkpoint, &self.ensemble.architecture)?;
        let networks = self.courses.len();
        let count = self.ensemble.architecture.parameter_count();
        if ensemble.len() != networks {
            return Err(wrong(
                checkpoint,
                "number of networks",
                ensemble.len(),
                networks,
            ));
        }
        let matrix = |name: &str| -> Result<Vec<Vec<f32>>> {
            let array = checkpoint.f32(name)?;
            if array.shape() != [networks, count] {
                return Err(wrong(
                    checkpoint,
                    name,
                    format!("{:?}", array.shape()),
                    format!("[{networks}, {count}]"),
                ));
            }
            Ok(array
                .outer_iter()
                .map(|row| row.iter().copied().collect())
                .collect())
        };
        let integers = |name: &str, length: usize| -> Result<Vec<u64>> {
            let array = checkpoint.u64(name)?;
            if array.shape() != [length] {
                return Err(wrong(
                    checkpoint,
                    name,
                    format!("{:?}", array.shape()),
                    format!("[{length}]"),
                ));
            }
            Ok(array.iter().copied().collect())
        };
        let numbers = |name: &str| -> Result<Vec<f64>> {
            let array = checkpoint.f64(name)?;
            if array.shape() != [networks] {
                return Err(wrong(
                    checkpoint,
                    name,
                    format!("{:?}", array.shape()),
                    format!("[{networks}]"),
                ));
            }
            Ok(array.iter().copied().collect())
        };
        let first = matrix("training.first_moment")?;
        let second = matrix("training.second_moment")?;
        let previous = matrix("training.previous")?;
        let optimiser_updates = integers("training.optimiser_updates", networks)?;
        let status = integers("training.status", networks)?;
        let diverged_at = integers("training.diverged_at", networks)?;
        let plateau_best = numbers("training.plateau_best")?;
        let plateau_waited = integers("training.plateau_waited", networks)?;
        let plateau_scale = numbers("training.plateau_scale")?;
        let best = numbers("training.best")?;
        let waited = integers("training.waited", networks)?;
        // Checkpoints from before the forcing could change say nothing of it: it is that of the settings.
        let alpha = match checkpoint.get("training.alpha") {
            Some(_) => numbers("training.alpha")?,
            None => self.courses.iter().map(|c| f64::from(c.alpha)).collect(),
        };
        let update = integers("training.update", 1)?[0];
        let refined = match checkpoint.get("training.refined") {
            Some(_) => integers("training.refined", 1)?[0] as usize,
            None => 0,
        };
        let mut courses = Vec::with_capacity(networks);
        for (k, ((first, second), previous)) in
            first.into_iter().zip(second).zip(previous).enumerate()
        {
            let status = Status::from_code(status[k], diverged_at[k])
                .ok_or_else(|| wrong(checkpoint, "training.status", status[k], "0 to 4"))?;
            courses.push(Course {
                status,
                moments: Moments {
                    first,
                    second,
                    updates: optimiser_updates[k],
                },
                plateau: Plateau {
                    best: plateau_best[k],
                    waited: plateau_waited[k],
                    scale: plateau_scale[k],
                },
                best: best[k],
                waited: waited[k],
                previous,
                alpha: alpha[k] as f32,
            });
        }
        self.courses = courses;
        self.ensemble = ensemble;
        self.update = update;
        self.refined = refined;
        self.started = Instant::now();
        Ok(())
    }
}

/// Refuses trials that start from an observation for a cell whose state no observation implies.
fn check_start(architecture: &Architecture, trials: &[Trials]) -> Result<()> {
    let shape = architecture.cell.shape();
    let observed = trials
        .first()
        .is_some_and(|trials| trials.initial.is_some());
    if observed && !shape.rate_is_state {
        return Err(Error::argument(
            "key \"model.kind\" for a task whose trials start from an observation",
            format!(
                "cell \"{}\", whose readout sees a function of the state",
                architecture.cell.name()
            ),
            "a cell whose readout sees the state itself, such as shallow_plrnn, vanilla, or leaky in rate form",
        ));
    }
    Ok(())
}

/// Refuses targets that are no class probabilities, of which the cross-entropy has no lower bound.
fn check_probabilities(task: &dyn Task, trials: &[Trials]) -> Result<()> {
    let probabilities = |row: ndarray::ArrayView1<f32>| {
        row.len() > 1 && row.iter().all(|&p| p >= 0.0) && (row.sum() - 1.0).abs() < 1e-3
    };
    if trials
        .iter()
        .all(|trials| trials.targets.rows().into_iter().all(probabilities))
    {
        return Ok(());
    }
    Err(Error::argument(
        "key \"training.loss\" = \"cross_entropy\"",
        format!(
            "task \"{}\", whose targets are no class probabilities",
            task.kind()
        ),
        "a task of classes; or loss = \"task\"",
    ))
}

/// The value of the metadata key `format` of a checkpoint.
pub const CHECKPOINT_FORMAT: &str = "nullcline checkpoint 1";

fn wrong(tensors: &Tensors, what: &str, found: impl ToString, allowed: impl ToString) -> Error {
    Error::Format {
        file: tensors.source().to_string(),
        what: what.to_string(),
        found: found.to_string(),
        allowed: allowed.to_string(),
    }
}

fn shaped(shape: &[usize], numbers: Vec<f32>) -> ArrayD<f32> {
    ArrayD::from_shape_vec(IxDyn(shape), numbers).expect("as many numbers as the shape says")
}

/// An ensemble as tensors: each parameter by name, [networks, shape of the parameter].
pub fn ensemble_tensors(ensemble: &Ensemble) -> Tensors {
    let mut tensors = Tensors::new();
    tensors
        .metadata
        .insert("cell".into(), ensemble.architecture.cell.name().into());
    for tensor in ensemble.architecture.tensors() {
        let numbers: Vec<f32> = ensemble
            .parameters
            .iter()
            .flat_map(|p| p[tensor.range.clone()].iter().copied())
            .collect();
        let mut shape = vec![ensemble.len()];
        shape.extend(&tensor.shape);
        tensors.insert(tensor.name, Tensor::F32(shaped(&shape, numbers)));
    }
    tensors
}

/// The reverse of [`ensemble_tensors`].
///
/// # Errors
/// If a parameter is missing or has another shape than the architecture says.
pub fn ensemble_from_tensors(tensors: &Tensors, architecture: &Architecture) -> Result<Ensemble> {
    let cell = tensors.metadata.get("cell").map(String::as_str);
    if let Some(cell) = cell.filter(|cell| *cell != architecture.cell.name()) {
        return Err(wrong(tensors, "cell", cell, architecture.cell.name()));
    }
    let mut networks = None;
    let mut parameters: Vec<Vec<f32>> = Vec::new();
    for tensor in architecture.tensors() {
        let array = tensors.f32(&tensor.name)?;
        let (found_networks, found_shape) = array.shape().split_first().unwrap_or((&0, &[]));
        if *networks.get_or_insert(*found_networks) != *found_networks
            || found_shape != tensor.shape
        {
            let mut allowed = vec!["networks".to_owned()];
            allowed.extend(tensor.shape.iter().map(usize::to_string));
            return Err(wrong(
                tensors,
                &format!("shape of tensor \"{}\"", tensor.name),
                format!("{:?}", array.shape()),
                format!("[{}]", allowed.join(", ")),
            ));
        }
        parameters.resize_with(*found_networks, || {
            vec![0.0; architecture.parameter_count()]
        });
        for (network, values) in parameters.iter_mut().zip(array.outer_iter()) {
            for (out, value) in network[tensor.range.clone()].iter_mut().zip(values.iter()) {
                *out = *value;
            }
        }
    }
    Ok(Ensemble {
        architecture: architecture.clone(),
        parameters,
    })
}

/// States that the networks visit on trials, [state, dimension] in f64, trial after trial: where a search
/// for fixed points starts.
///
/// # Errors
/// If the engine's device fails.
pub fn visited_states(
    engine: &mut dyn Engine,
    architecture: &Architecture,
    objective: &Objective,
    job: &Job,
) -> Result<Array2<f64>> {
    let objective = Objective {
        forcing: None,
        ..*objective
    };
    let response = engine.respond_one(architecture, &objective, job)?;
    let (batch, steps, dim) = response.states.dim();
    let mut states = Array2::zeros((batch * (steps - 1), dim));
    for (b, trial) in response.states.outer_iter().enumerate() {
        for (t, state) in trial.outer_iter().skip(1).enumerate() {
            states
                .row_mut(b * (steps - 1) + t)
                .assign(&state.mapv(f64::from));
        }
    }
    Ok(states)
}
