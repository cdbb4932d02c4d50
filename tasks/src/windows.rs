//! Trials cut from a recording: windows that start from an observation and ask for those that follow.
//!
//! What is recorded (`series`) and what is generated from equations ([`crate::systems`]) become the same task here: a
//! training part and a test part, trials that start anywhere in them, and the error of a free prediction.

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::{Array2, Array3, ArrayView3, s};
use nullcline_data::random::rejected_below;
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use nullcline_data::{Error, Result};

use crate::systems::{Generator, System};
use crate::{Loss, Recording, Split, StepTime, Task, TrialShader, Trials, trial_random};

/// The key for the length of a training trial.
pub const WINDOW: Key = Key {
    name: "window",
    kind: Kind::Integer {
        min: 1,
        max: 1_000_000,
    },
    default: Preset::Integer(200),
    unit: "steps",
    doc: "Steps of a training trial. It starts anywhere in the training part, all starts being equally likely.",
};

/// The key for the length of a held-out trial.
pub const PREDICTION_STEPS: Key = Key {
    name: "prediction_steps",
    kind: Kind::Integer {
        min: 1,
        max: 1_000_000,
    },
    default: Preset::Integer(20),
    unit: "steps",
    doc: "Steps of a held-out trial, which the network predicts freely; the error at its last step is the metric. \
          Held-out trials of double length are made beside those of this length.",
};

/// The key for noise that every training trial gets anew, under the name that a task has for it.
pub const fn trial_noise(name: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Number {
            min: 0.0,
            max: 1000.0,
        },
        default: Preset::Number(0.0),
        unit: "",
        doc: "Standard deviation of independent Gaussian noise added to every observation and target of a training \
              trial, drawn anew for each, in the unit of the series after standardisation. Inputs carry none.",
    }
}

/// The key for standardisation.
pub const STANDARDISE: Key = Key {
    name: "standardise",
    kind: Kind::Flag,
    default: Preset::Flag(true),
    unit: "",
    doc: "Whether every column is brought to mean 0 and standard deviation 1, both measured on the training part.",
};

/// Where generated recordings come from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The system.
    pub system: Arc<dyn System>,
    /// Time of the system between two samples.
    pub dt: f64,
}

/// The task of generating a recording, which trials are windows of.
#[derive(Clone, Debug)]
pub struct Windows {
    /// The name of the [`TaskKind`](crate::TaskKind).
    pub kind: &'static str,
    /// Steps of a training trial.
    pub window: usize,
    /// Steps of a held-out trial; [`Split::Long`] doubles them.
    pub prediction_steps: usize,
    /// Standard deviation of the noise that every training trial gets anew.
    pub noise: f64,
    /// What training trials are cut from.
    pub training: Recording,
    /// What all other trials are cut from.
    pub test: Recording,
    /// `s.d.` where the recording is standardised, and its own unit otherwise.
    pub output_unit: Cow<'static, str>,
    /// The equations that the recording was generated from; `None` for one that was recorded.
    pub origin: Option<Origin>,
}

impl Windows {
    /// The part of the recording that trials of a split are cut from.
    pub fn part(&self, split: Split) -> &Recording {
        match split {
            Split::Training => &self.training,
            Split::HeldOut | Split::Long => &self.test,
        }
    }

    /// Steps of a trial of a split.
    pub fn steps(&self, split: Split) -> usize {
        match split {
            Split::Training => self.window,
            Split::HeldOut | Split::Long => self.prediction_steps * split.length_factor(),
        }
    }
}

impl Task for Windows {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn input_names(&self) -> Vec<String> {
        self.training.input_names.clone()
    }

    fn output_names(&self) -> Vec<String> {
        self.training.names.clone()
    }

    fn loss(&self) -> Loss {
        Loss::MeanSquaredError
    }

    /// Windows that start at any row with equal probability, with replacement: `initial` is the row
    /// `s` where the window starts, `targets` are the rows from `s + 1` on, and `inputs` those of
    /// the same times. Training windows are cut from the training part and carry the noise that was
    /// asked for; held-out ones are cut from the test part and carry none.
    fn trials(&self, split: Split, seed: u64, index: u64, batch: usize) -> Trials {
        let part = self.part(split);
        let (rows, dimension) = part.values.dim();
        let steps = self.steps(split);
        let noise = if split == Split::Training {
            self.noise
        } else {
            0.0
        };
        let mut inputs = Array3::<f32>::zeros((batch, steps, part.inputs.ncols()));
        let mut targets = Array3::<f32>::zeros((batch, steps, dimension));
        let mut initial = Array2::<f32>::zeros((batch, dimension));
        for (trial, ((mut input, mut target), mut initial)) in inputs
            .outer_iter_mut()
            .zip(targets.outer_iter_mut())
            .zip(initial.outer_iter_mut())
            .enumerate()
        {
            let mut random = trial_random(split, seed, index, trial);
            let start = random.below(rows - steps);
            initial.assign(&part.values.row(start));
            target.assign(&part.values.slice(s![start + 1..=start + steps, ..]));
            input.assign(&part.inputs.slice(s![start + 1..=start + steps, ..]));
            if noise > 0.0 {
                for value in initial.iter_mut().chain(&mut target) {
                    *value += (noise * random.standard_normal()) as f32;
                }
            }
        }
        Trials {
            inputs,
            targets,
            mask: None,
            initial: Some(initial),
        }
    }

    /// The start of a window is drawn; the recording lies on the device, observations before inputs.
    fn shader(&self, split: Split) -> Option<TrialShader> {
        if self.noise > 0.0 && split == Split::Training {
            return None;
        }
        let part = self.part(split);
        let (rows, dimension) = part.values.dim();
        let channels = part.inputs.ncols();
        let steps = self.steps(split);
        let starts = u32::try_from(rows.checked_sub(steps)?)
            .ok()
            .filter(|&starts| starts > 0)?;
        // A value is found by 32 bits.
        let size = rows.checked_mul(dimension + channels)?;
        u32::try_from(size).ok()?;
        let first_input = rows * dimension;
        let inputs = format!(
            "
    for (var k = 0u; k < {channels}u; k += 1u) {{
        for (var step = 0u; step < {steps}u; step += 1u) {{
            set_input(step, k, task_value({first_input}u + (start + 1u + step) * {channels}u + k));
        }}
    }}"
        );
        let source = format!(
            "
fn draw_trial() {{
    let start = random_below({starts}u, {rejected}u);
    for (var k = 0u; k < {dimension}u; k += 1u) {{
        set_initial(k, task_value(start * {dimension}u + k));
        for (var step = 0u; step < {steps}u; step += 1u) {{
            set_target(step, k, task_value((start + 1u + step) * {dimension}u + k));
        }}
    }}{inputs}
}}
",
            rejected = rejected_below(starts),
            inputs = if channels > 0 { inputs.as_str() } else { "" },
        );
        Some(TrialShader {
            source,
            values: part.values.iter().chain(&part.inputs).copied().collect(),
            steps,
            observed: true,
            iterations: (dimension + channels) * (steps + 2) + 25,
        })
    }

    /// `prediction_error`: the squared difference of output and target at the last step of a trial,
    /// averaged over trials and outputs. For held-out trials that the network predicts freely this
    /// is PE(n) of Hess et al. (2023) with n = `prediction_steps`, over randomly drawn starts
    /// instead of all of them.
    fn metrics(&self, outputs: ArrayView3<f32>, trials: &Trials) -> Vec<(&'static str, f64)> {
        assert_eq!(
            outputs.dim(),
            trials.targets.dim(),
            "outputs and targets differ in shape"
        );
        let last = trials.steps().saturating_sub(1);
        let output = outputs.slice(s![.., last.., ..]);
        let target = trials.targets.slice(s![.., last.., ..]);
        let sum: f64 = output
            .iter()
            .zip(&target)
            .map(|(o, t)| (f64::from(*o) - f64::from(*t)).powi(2))
            .sum();
        vec![("prediction_error", sum / output.len() as f64)]
    }

    fn metric_names(&self) -> &'static [&'static str] {
        &["prediction_error"]
    }

    fn seconds_per_step(&self) -> Option<f64> {
        self.training.seconds_per_step
    }

    /// The time of the equations where there are any, seconds where they are known otherwise.
    fn time_per_step(&self) -> Option<StepTime> {
        match &self.origin {
            Some(origin) => Some(StepTime {
                duration: origin.dt,
                unit: origin.system.time_unit(),
            }),
            None => self.seconds_per_step().map(|duration| StepTime {
                duration,
                unit: "s",
            }),
        }
    }

    /// As [`output_unit`](Task::output_unit): inputs are standardised with the observations.
    fn input_unit(&self) -> &str {
        if self.training.is_driven() {
            &self.output_unit
        } else {
            ""
        }
    }

    /// `s.d.`, standard deviations of the recording, where it is standardised, and its own unit
    /// otherwise.
    fn output_unit(&self) -> &str {
        &self.output_unit
    }

    fn recording(&self, split: Split) -> Option<&Recording> {
        Some(self.part(split))
    }

    fn system(&self) -> Option<Generator<'_>> {
        let origin = self.origin.as_ref()?;
        Some(Generator {
            system: origin.system.as_ref(),
            dt: origin.dt,
            mean: &self.training.mean,
            standard_deviation: &self.training.standard_deviation,
        })
    }
}

/// An error in the value of a key that only the recording shows to be wrong.
pub(crate) fn error(
    settings: &Settings,
    key: &str,
    found: impl Into<String>,
    allowed: impl Into<String>,
) -> Error {
    let key = match settings.section() {
        "" => key.to_owned(),
        section => format!("{section}.{key}"),
    };
    Error::argument(key, found, allowed)
}

/// Refuses a part that is too short for a trial: the row it starts from and `factor * key` steps, each row reaching over
/// `span` further samples for its lags. `remedy` is what helps where no trial fits at all, `given` what the limit
/// holds for.
pub(crate) fn check_length(
    settings: &Settings,
    part: &str,
    samples: usize,
    span: usize,
    key: &str,
    factor: usize,
    [remedy, given]: [&str; 2],
) -> Result<()> {
    let steps = settings.count(key);
    let longest = samples.saturating_sub(span + 1) / factor;
    if steps <= longest {
        return Ok(());
    }
    let needed = span + 1 + factor * steps;
    Err(error(
        settings,
        key,
        format!("{steps}, which takes {needed} samples where the {part} has {samples}"),
        match longest {
            0 => format!("nothing for so short a part: {remedy}"),
            _ => format!("1 to {longest} for {given}"),
        },
    ))
}

/// Mean and standard deviation (with n - 1) of a column.
pub(crate) fn mean_and_deviation(column: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let n = column.len() as f64;
    let mean = column.clone().sum::<f64>() / n;
    let variance = column.map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}
