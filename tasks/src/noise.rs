//! Gaussian input and nothing asked in return: for exploring networks that were trained elsewhere.
//!
//! The inputs are independent standard Gaussian numbers times `sd`. The targets are 0 and their
//! weight in the loss is 0, so that nothing can be trained; trajectories under the noise show where
//! the network goes by itself and start the search for its fixed points.

use ndarray::{Array2, Array3, ArrayView3};
use nullcline_data::Result;
use nullcline_data::settings::{Key, Kind, Preset, Settings};

use crate::{Loss, Split, Task, TaskKind, Trials, trial_random};

/// The registry's entry for Gaussian input.
pub const KIND: TaskKind = TaskKind {
    name: "noise",
    summary: "Gaussian input and no target: to explore a network that is trained already",
    keys: KEYS,
    build: |settings| Ok(Box::new(Noise::from_settings(settings)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "inputs",
        kind: Kind::Integer {
            min: 0,
            max: 100_000,
        },
        default: Preset::Integer(1),
        unit: "",
        doc: "Number of inputs of the network; 0 for one that runs by itself.",
    },
    Key {
        name: "outputs",
        kind: Kind::Integer {
            min: 1,
            max: 100_000,
        },
        default: Preset::Integer(1),
        unit: "",
        doc: "Number of outputs of the network.",
    },
    Key {
        name: "steps",
        kind: Kind::Integer {
            min: 1,
            max: 100_000,
        },
        default: Preset::Integer(100),
        unit: "steps",
        doc: "Length of a trial; held-out trials of double length are made beside those of this length.",
    },
    Key {
        name: "sd",
        kind: Kind::Number { min: 0.0, max: 1e6 },
        default: Preset::Number(1.0),
        unit: "",
        doc: "Standard deviation of the input in every channel, independent from step to step.",
    },
];

/// Gaussian input without a target; its fields are the keys of the same names.
#[derive(Clone, Debug, PartialEq)]
pub struct Noise {
    /// Number of inputs, possibly 0.
    pub inputs: usize,
    /// Number of outputs.
    pub outputs: usize,
    /// Steps of a trial; [`Split::Long`] doubles them.
    pub steps: usize,
    /// Standard deviation of the input.
    pub sd: f64,
}

impl Noise {
    /// The task that checked settings describe.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        Ok(Noise {
            inputs: settings.count("inputs"),
            outputs: settings.count("outputs"),
            steps: settings.count("steps"),
            sd: settings.number("sd"),
        })
    }
}

impl Task for Noise {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn input_names(&self) -> Vec<String> {
        (1..=self.inputs)
            .map(|input| format!("input_{input}"))
            .collect()
    }

    fn output_names(&self) -> Vec<String> {
        (1..=self.outputs)
            .map(|output| format!("output_{output}"))
            .collect()
    }

    fn loss(&self) -> Loss {
        Loss::MeanSquaredError
    }

    /// Noise, drawn step by step and within a step input by input.
    fn trials(&self, split: Split, seed: u64, index: u64, batch: usize) -> Trials {
        let steps = self.steps * split.length_factor();
        let mut inputs = Array3::<f32>::zeros((batch, steps, self.inputs));
        for (trial, mut input) in inputs.outer_iter_mut().enumerate() {
            let mut random = trial_random(split, seed, index, trial);
            for value in &mut input {
                *value = (self.sd * random.standard_normal()) as f32;
            }
        }
        Trials {
            inputs,
            targets: Array3::zeros((batch, steps, self.outputs)),
            mask: Some(Array2::zeros((batch, steps))),
            initial: None,
        }
    }

    /// Nothing is asked, so nothing is measured.
    fn metrics(&self, _outputs: ArrayView3<f32>, _trials: &Trials) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    fn metric_names(&self) -> &'static [&'static str] {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussian_input_and_nothing_asked() {
        let settings = Settings::from_defaults("task", &[KIND.keys]);
        let task = Noise {
            inputs: 3,
            outputs: 2,
            sd: 0.5,
            ..Noise::from_settings(&settings).unwrap()
        };
        assert_eq!(task.input_names(), ["input_1", "input_2", "input_3"]);
        assert_eq!(task.output_names(), ["output_1", "output_2"]);
        let trials = task.trials(Split::Training, 1, 0, 100);
        assert_eq!(trials.inputs.dim(), (100, 100, 3));
        assert_eq!(trials.targets, Array3::<f32>::zeros((100, 100, 2)));
        assert_eq!(trials.mask, Some(Array2::zeros((100, 100))));
        assert!(task.metrics(trials.targets.view(), &trials).is_empty());

        let n = trials.inputs.len() as f64;
        let moment = |power| {
            trials
                .inputs
                .iter()
                .map(|x| f64::from(*x).powi(power))
                .sum::<f64>()
                / n
        };
        // Five standard errors of the moments of a Gaussian: variances s^2, 2 s^4, 15 s^6 and 96
        // s^8, over n.
        assert!(moment(1).abs() < 5.0 * 0.5 / n.sqrt());
        assert!((moment(2) - 0.25).abs() < 5.0 * (2.0 * 0.5_f64.powi(4) / n).sqrt());
        assert!(moment(3).abs() < 5.0 * (15.0 * 0.5_f64.powi(6) / n).sqrt());
        assert!(
            (moment(4) - 3.0 * 0.5_f64.powi(4)).abs() < 5.0 * (96.0 * 0.5_f64.powi(8) / n).sqrt()
        );
    }

    #[test]
    fn a_network_without_inputs() {
        let task = Noise {
            inputs: 0,
            outputs: 1,
            steps: 7,
            sd: 1.0,
        };
        let trials = task.trials(Split::Long, 1, 0, 2);
        assert_eq!(trials.inputs.dim(), (2, 14, 0));
        assert!(task.rest_input().is_empty());
    }
}
