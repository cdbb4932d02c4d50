//! What networks are asked to do: trials, targets and measures of success.
//!
//! A [`Task`] makes [`Trials`]: arrays of inputs and targets that a network is trained or tested
//! on. It knows nothing about networks. Every kind of task is one file of this crate and one line
//! of [`TASKS`]; its [`TaskKind`] carries the documented keys that an experiment file, the desktop
//! form and the reference pages are made from.
//!
//! # Conventions
//! - Arrays are `[batch, time, dimension]`, in f32 (training is f32, analysis f64).
//! - Time is counted in steps of the network. A task that knows how long a step lasts says so in
//!   [`Task::seconds_per_step`].
//! - Trial `b` of call `index` is a function of the task, the split, `seed`, `index` and `b` alone.
//!   It does not depend on the batch it is drawn in, on the calls before it, or on the number of
//!   threads.

pub mod flip_flop;
pub mod noise;
pub mod series;
pub mod systems;
pub mod windows;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, s};
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Settings};

use systems::Generator;

/// Which trials are wanted. Each split draws from a random stream of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Trials to train on.
    Training,
    /// Trials to test on, of the same kind as those of training.
    HeldOut,
    /// Trials to test on, twice as long as those of [`Split::HeldOut`]: does the solution last?
    Long,
}

impl Split {
    /// The random stream that the trials of this split are drawn from.
    pub fn stream(self) -> Stream {
        match self {
            Split::Training => Stream::TRIALS,
            Split::HeldOut => Stream::HELD_OUT,
            Split::Long => Stream::LONG_TRIALS,
        }
    }

    /// By how much trials of this split are longer than those of the others: 2 for [`Split::Long`],
    /// else 1.
    pub fn length_factor(self) -> usize {
        match self {
            Split::Training | Split::HeldOut => 1,
            Split::Long => 2,
        }
    }
}

/// The loss that a task is trained with, averaged over the weighted steps of all trials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Squared difference of output and target, averaged over outputs.
    MeanSquaredError,
    /// Cross-entropy between the target, which holds class probabilities, and the softmax of the
    /// output.
    CrossEntropy,
}

impl Loss {
    /// The loss of `outputs`, `[batch, time, output]`, on `trials`, as training computes it, in f64; NaN where no step
    /// has a weight.
    ///
    /// # Panics
    /// If `outputs` and `trials.targets` differ in shape.
    pub fn mean(self, outputs: ArrayView3<f64>, trials: &Trials) -> f64 {
        assert_eq!(
            outputs.dim(),
            trials.targets.dim(),
            "outputs and targets differ in shape"
        );
        let (mut sum, mut weights) = (0.0, 0.0);
        let lanes = outputs.rows().into_iter().zip(trials.targets.rows());
        for (step, (output, target)) in lanes.enumerate() {
            let at = [step / trials.steps(), step % trials.steps()];
            let weight = trials.mask.as_ref().map_or(1.0, |mask| f64::from(mask[at]));
            let pairs = || output.iter().zip(target.iter().map(|&t| f64::from(t)));
            let loss: f64 = match self {
                // sum (y - target)^2 / outputs
                Loss::MeanSquaredError => {
                    pairs().map(|(y, t)| (y - t) * (y - t)).sum::<f64>() / output.len() as f64
                }
                // - sum target log softmax(y), the largest output taken off before exp
                Loss::CrossEntropy => {
                    let largest = output.fold(f64::NEG_INFINITY, |largest, &y| largest.max(y));
                    let total = output.iter().map(|y| (y - largest).exp()).sum::<f64>();
                    pairs().map(|(y, t)| t * (total.ln() + largest - y)).sum()
                }
            };
            weights += weight;
            // A step without weight counts for nothing, whatever stands there.
            if weight != 0.0 {
                sum += weight * loss;
            }
        }
        sum / weights
    }
}

/// A batch of trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Trials {
    /// What the network receives, `[batch, time, input]`. The input dimension may be 0.
    pub inputs: Array3<f32>,
    /// What the outputs should be, `[batch, time, output]`: values under
    /// [`Loss::MeanSquaredError`], class probabilities under [`Loss::CrossEntropy`].
    pub targets: Array3<f32>,
    /// The weight of each step in the loss, `[batch, time]`; `None` is 1 everywhere.
    pub mask: Option<Array2<f32>>,
    /// The observation before the first step, `[batch, output]`: forced training and free
    /// prediction start from it. `None` where the network starts from its own initial state.
    pub initial: Option<Array2<f32>>,
}

impl Trials {
    /// Number of trials.
    pub fn batch(&self) -> usize {
        self.targets.dim().0
    }

    /// Number of steps of every trial.
    pub fn steps(&self) -> usize {
        self.targets.dim().1
    }
}

/// A recording as a task uses it: one part in time, smoothed, standardised and delay-embedded as
/// asked.
///
/// A recording may be driven: beside the observations that are to be predicted it then holds what the system received.
/// The input of a step is the sample at the time of its target, z_t = F(z_{t-1}) + C s_t: a network that starts from the
/// observation of row r and takes its k-th step (counting from 1) receives row r + k, see [`Recording::inputs_after`].
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The observations, `[time, dimension]`.
    pub values: Array2<f32>,
    /// What drives the system at the times of the observations, `[time, input]`, standardised as they are; `[time, 0]`
    /// for a system that runs by itself.
    pub inputs: Array2<f32>,
    /// One name per input.
    pub input_names: Vec<String>,
    /// What was subtracted from each input; 0 where nothing was.
    pub input_mean: Vec<f64>,
    /// What each input was then divided by; 1 where nothing was.
    pub input_standard_deviation: Vec<f64>,
    /// One name per dimension, such as `mlii` or `mlii_lag_20`.
    pub names: Vec<String>,
    /// Unit of the recording before standardisation, such as `mV`.
    pub unit: String,
    /// What was subtracted from each dimension, in [`Recording::unit`]; 0 where nothing was.
    pub mean: Vec<f64>,
    /// What each dimension was then divided by, in [`Recording::unit`]; 1 where nothing was.
    pub standard_deviation: Vec<f64>,
    /// Duration of one step in seconds, where known.
    pub seconds_per_step: Option<f64>,
    /// Sample of the file that row 0 of [`Recording::values`] belongs to, counting from 0 (for the
    /// dimensions of lag 0).
    pub first_sample: usize,
}

impl Recording {
    /// The value of dimension `dimension` in the recording's own unit: `mean + standard_deviation *
    /// value`.
    ///
    /// # Panics
    /// If there is no such dimension.
    pub fn restore(&self, dimension: usize, value: f64) -> f64 {
        self.mean[dimension] + self.standard_deviation[dimension] * value
    }

    /// Whether the recording has inputs: a free run then needs them and can be no longer than they are.
    pub fn is_driven(&self) -> bool {
        self.inputs.ncols() > 0
    }

    /// The inputs of a network that starts from the observation of row `row`, `[step, input]`: those from row `row + 1`
    /// to the end.
    pub fn inputs_after(&self, row: usize) -> ArrayView2<'_, f32> {
        let first = row.saturating_add(1).min(self.inputs.nrows());
        self.inputs.slice(s![first.., ..])
    }
}

/// How long a step is, in a unit of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepTime {
    /// Duration of one step of the network, in `unit`.
    pub duration: f64,
    /// The unit: `s`, or that of a dynamical system, such as `time units`.
    pub unit: &'static str,
}

/// How a device draws a task's trials by itself, bit for bit those of [`Task::trials`].
///
/// `source` is WGSL that defines `fn draw_trial()`, which draws one trial and says all of it through
///
/// - `set_input(step: u32, input: u32, value: f32)`,
/// - `set_target(step: u32, output: u32, value: f32)`,
/// - `set_initial(output: u32, value: f32)`, where trials start from an observation.
///
/// It may call the functions of [`nullcline_data::random::WGSL`], whose sequence is open at the beginning of the
/// trial's random numbers, and `task_value(index: u32) -> f32`, which reads `values`.
///
/// Only what integers decide can be had bit for bit on every device: a task with Gaussian noise, which is
/// drawn in double precision, is drawn on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialShader {
    /// The shader.
    pub source: String,
    /// Numbers it reads, such as a recording.
    pub values: Vec<f32>,
    /// Steps of a trial.
    pub steps: usize,
    /// Whether trials start from an observation.
    pub observed: bool,
    /// Most loop iterations of one trial, of each loop its turns and the one that finds its end; a rejected
    /// random number now and then is not counted. Drivers limit them.
    pub iterations: usize,
}

/// What a network is asked to do.
pub trait Task: Send + Sync {
    /// The name of its [`TaskKind`].
    fn kind(&self) -> &'static str;

    /// One name per input; as many as there are inputs, possibly none.
    fn input_names(&self) -> Vec<String>;

    /// One name per output; as many as there are outputs.
    fn output_names(&self) -> Vec<String>;

    /// The loss to train with.
    fn loss(&self) -> Loss;

    /// Makes `batch` trials of a split.
    ///
    /// Trial `b` is a function of the task, `split`, `seed`, `index` and `b` alone (see
    /// [`trial_random`]); training passes the number of the update as `index`.
    fn trials(&self, split: Split, seed: u64, index: u64, batch: usize) -> Trials;

    /// Measures how well `outputs`, `[batch, time, output]`, solve `trials`, by name and in the
    /// order of [`Task::metric_names`]. Outputs that are not finite give metrics that are not
    /// finite or count as wrong.
    ///
    /// # Panics
    /// If `outputs` and `trials.targets` differ in shape.
    fn metrics(&self, outputs: ArrayView3<f32>, trials: &Trials) -> Vec<(&'static str, f64)>;

    /// The names of what [`Task::metrics`] returns.
    fn metric_names(&self) -> &'static [&'static str];

    /// Duration of one step in seconds; `None` where time is counted in steps.
    fn seconds_per_step(&self) -> Option<f64> {
        None
    }

    /// Duration of one step in the task's own unit of time, in which exponents and rates are given: seconds where they
    /// are known, the time of the equations where a system that has no unit is generated; `None` where time is counted in
    /// steps.
    fn time_per_step(&self) -> Option<StepTime> {
        self.seconds_per_step().map(|duration| StepTime {
            duration,
            unit: "s",
        })
    }

    /// Unit of the inputs; empty where they have none.
    fn input_unit(&self) -> &str {
        ""
    }

    /// Unit of the outputs; empty where they have none.
    fn output_unit(&self) -> &str {
        ""
    }

    /// The constant input for which fixed points are sought by default: zero in every channel.
    fn rest_input(&self) -> Vec<f64> {
        vec![0.0; self.input_names().len()]
    }

    /// How a device draws the trials of a split; `None` where only the host can. Every step of such trials has
    /// weight 1.
    fn shader(&self, _split: Split) -> Option<TrialShader> {
        None
    }

    /// The recording that the trials of a split are cut from, where they are cut from one.
    fn recording(&self, _split: Split) -> Option<&Recording> {
        None
    }

    /// The true system behind the recordings, where its equations are known.
    fn system(&self) -> Option<Generator<'_>> {
        None
    }
}

/// A kind of task: its name, its documented keys and how it is built from them.
#[derive(Clone, Copy)]
pub struct TaskKind {
    /// The name that `task.kind` gives, in snake_case.
    pub name: &'static str,
    /// One sentence on what is asked of the network.
    pub summary: &'static str,
    /// The keys of the table `[task]` beside `kind`.
    pub keys: &'static [Key],
    /// Builds the task from its checked settings. Values that contradict each other or a file that
    /// does not fit are errors.
    pub build: fn(&Settings) -> nullcline_data::Result<Box<dyn Task>>,
}

/// Every kind of task.
pub static TASKS: &[TaskKind] = &[
    flip_flop::KIND,
    noise::KIND,
    series::KIND,
    systems::lorenz_63::KIND,
    systems::lorenz_96::KIND,
    systems::roessler::KIND,
    systems::chua::KIND,
    systems::bursting_neuron::KIND,
    systems::kuramoto_sivashinsky::KIND,
];

/// The kind of task of this name.
pub fn kind(name: &str) -> Option<&'static TaskKind> {
    TASKS.iter().find(|kind| kind.name == name)
}

/// Number of trials that one call index has room for.
///
/// Trials beyond it would repeat those of the next index.
pub const TRIALS_PER_INDEX: u64 = 1 << 20;

/// The random numbers of one trial: those of `seed`, the split's stream and the index
/// `index * 2^20 + trial`.
///
/// Every trial has a generator of its own, so that it is the same in whatever batch and on whatever
/// thread it is made. Indices below 2^44 and batches up to 2^20 never share numbers.
pub fn trial_random(split: Split, seed: u64, index: u64, trial: usize) -> Random {
    let position = index
        .wrapping_mul(TRIALS_PER_INDEX)
        .wrapping_add(trial as u64);
    Random::new(seed, split.stream(), position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Axis, s};
    use nullcline_data::settings::{Preset, Value, schema_faults};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    /// Every kind of task with its defaults, and with noise where it has a key of that name.
    static ALL: LazyLock<Vec<Box<dyn Task>>> = LazyLock::new(|| {
        let mut tasks = Vec::new();
        for kind in TASKS {
            let mut settings = Settings::from_defaults("task", &[kind.keys]);
            if kind.keys.iter().any(|key| key.name == "file") {
                settings
                    .set("file", Value::Text("builtin:mitbih_208".to_owned()))
                    .unwrap();
            }
            // Enough for every trial; only its own tests need long recordings of a system.
            for key in ["length", "test_length"] {
                if kind.keys.iter().any(|known| known.name == key) {
                    settings.set(key, Value::Integer(2000)).unwrap();
                }
            }
            tasks.push((kind.build)(&settings).unwrap());
            if settings.set("noise", Value::Number(0.1)).is_ok() {
                tasks.push((kind.build)(&settings).unwrap());
            }
        }
        tasks
    });

    const SPLITS: [Split; 3] = [Split::Training, Split::HeldOut, Split::Long];

    #[test]
    fn the_registry_is_sound() {
        static KIND_KEY: [Key; 1] = [Key {
            name: "kind",
            kind: nullcline_data::settings::Kind::Text,
            default: Preset::Required,
            unit: "",
            doc: "Kind of task.",
        }];
        for task_kind in TASKS {
            assert_eq!(
                schema_faults(&[&KIND_KEY, task_kind.keys]),
                Vec::<String>::new(),
                "{}",
                task_kind.name
            );
            assert_eq!(
                TASKS
                    .iter()
                    .filter(|other| other.name == task_kind.name)
                    .count(),
                1
            );
            assert_eq!(
                kind(task_kind.name).map(|found| found.name),
                Some(task_kind.name)
            );
            assert!(!task_kind.summary.is_empty() && !task_kind.summary.ends_with('.'));
        }
        assert!(kind("flipflop").is_none());
    }

    #[test]
    fn shapes_and_names_agree() {
        for task in ALL.iter() {
            assert!(kind(task.kind()).is_some());
            assert_eq!(task.rest_input().len(), task.input_names().len());
            for split in SPLITS {
                let trials = task.trials(split, 1, 0, 3);
                let (batch, steps) = (trials.batch(), trials.steps());
                assert_eq!(batch, 3);
                assert_eq!(
                    trials.inputs.dim(),
                    (batch, steps, task.input_names().len())
                );
                assert_eq!(
                    trials.targets.dim(),
                    (batch, steps, task.output_names().len())
                );
                assert!(
                    trials
                        .mask
                        .as_ref()
                        .is_none_or(|mask| mask.dim() == (batch, steps))
                );
                assert!(
                    trials
                        .initial
                        .as_ref()
                        .is_none_or(|x| x.dim() == (batch, task.output_names().len()))
                );
                let metrics = task.metrics(trials.targets.view(), &trials);
                assert!(
                    metrics
                        .iter()
                        .map(|(name, _)| *name)
                        .eq(task.metric_names().iter().copied())
                );
                assert!(metrics.iter().all(|(_, value)| value.is_finite()));
                if let Some(recording) = task.recording(split) {
                    assert_eq!(recording.names, task.output_names());
                    assert_eq!(recording.values.ncols(), recording.names.len());
                    assert_eq!(recording.mean.len(), recording.names.len());
                    assert_eq!(recording.standard_deviation.len(), recording.names.len());
                    assert_eq!(recording.seconds_per_step, task.seconds_per_step());
                    assert_eq!(recording.input_names, task.input_names());
                    assert_eq!(recording.inputs.nrows(), recording.values.nrows());
                    assert_eq!(recording.inputs.ncols(), recording.input_names.len());
                }
            }
        }
    }

    #[test]
    fn long_trials_are_twice_as_long_as_held_out_ones() {
        for task in ALL.iter() {
            let steps = |split| task.trials(split, 1, 0, 1).steps();
            assert_eq!(
                steps(Split::Long),
                2 * steps(Split::HeldOut),
                "{}",
                task.kind()
            );
        }
    }

    #[test]
    fn splits_seeds_indices_and_trials_differ() {
        for task in ALL.iter() {
            let length = task.trials(Split::HeldOut, 1, 0, 1).steps();
            // What a trial is made of, cut to the same length for every split.
            let first = |split, seed, index, trial| {
                let trials = task.trials(split, seed, index, trial + 1);
                let inputs = trials
                    .inputs
                    .index_axis(Axis(0), trial)
                    .slice(s![..length.min(10), ..])
                    .to_owned();
                let targets = trials
                    .targets
                    .index_axis(Axis(0), trial)
                    .slice(s![..length.min(10), ..])
                    .to_owned();
                (inputs, targets)
            };
            let drawn = [
                first(Split::Training, 1, 0, 0),
                first(Split::Training, 1, 0, 1),
                first(Split::Training, 1, 1, 0),
                first(Split::Training, 2, 0, 0),
                first(Split::HeldOut, 1, 0, 0),
                first(Split::Long, 1, 0, 0),
            ];
            for (i, a) in drawn.iter().enumerate() {
                for b in &drawn[..i] {
                    assert_ne!(a, b, "{}", task.kind());
                }
            }
        }
    }

    #[test]
    fn extreme_seeds_and_indices_are_taken() {
        for task in ALL.iter() {
            task.trials(Split::Training, u64::MAX, u64::MAX, 2);
            assert_eq!(task.trials(Split::Training, 0, 0, 0).batch(), 0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Trial `b` is the same in a batch of any size, and on any call.
        #[test]
        fn a_trial_does_not_depend_on_its_batch(
            which: prop::sample::Index,
            split in prop::sample::select(SPLITS.to_vec()),
            seed: u64,
            index in 0_u64..1 << 40,
            small in 1_usize..5,
            more in 1_usize..5,
        ) {
            let task = &ALL[which.index(ALL.len())];
            let few = task.trials(split, seed, index, small);
            let many = task.trials(split, seed, index, small + more);
            prop_assert_eq!(few.inputs, many.inputs.slice(s![..small, .., ..]));
            prop_assert_eq!(few.targets, many.targets.slice(s![..small, .., ..]));
            prop_assert_eq!(few.mask, many.mask.map(|mask| mask.slice(s![..small, ..]).to_owned()));
            prop_assert_eq!(few.initial, many.initial.map(|initial| initial.slice(s![..small, ..]).to_owned()));
        }
    }
}
