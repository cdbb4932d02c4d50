//! The flip-flop: several bits of memory, each set by the sign of its last input pulse.
//!
//! Every bit has one input and one output. The input is silent but for pulses of either sign; the
//! output has to hold the sign of the last pulse until the next one (Sussillo & Barak 2013, *Neural
//! Computation* 25:626-649). A network that solves it for `n` bits has, in the classic solution,
//! `2^n` stable fixed points and saddles between them, `3^n` fixed points in all.
//!
//! A pulse starts at step 0 in every channel, as in FixedPointFinder (Golub & Sussillo 2018, *JOSS*
//! 3(31):1003), so that the target is defined from the first step.

use ndarray::{Array3, ArrayView3};
use nullcline_data::Result;
use nullcline_data::random::{probability_words, rejected_below};
use nullcline_data::settings::{Key, Kind, Preset, Settings};

use crate::{Loss, Split, Task, TaskKind, TrialShader, Trials, trial_random};

/// The registry's entry for the flip-flop.
pub const KIND: TaskKind = TaskKind {
    name: "flip_flop",
    summary: "hold the sign of the last pulse of each input channel",
    keys: KEYS,
    build: |settings| Ok(Box::new(FlipFlop::from_settings(settings)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "bits",
        kind: Kind::Integer { min: 1, max: 16 },
        default: Preset::Integer(3),
        unit: "",
        doc: "Number of bits to hold: as many inputs and as many outputs.",
    },
    Key {
        name: "steps",
        kind: Kind::Integer {
            min: 1,
            max: 100_000,
        },
        default: Preset::Integer(64),
        unit: "steps",
        doc: "Length of a trial; held-out trials of double length are made beside those of this length.",
    },
    Key {
        name: "pulse_probability",
        kind: Kind::Number { min: 0.0, max: 1.0 },
        default: Preset::Number(0.2),
        unit: "per step and bit",
        doc: "Probability that a pulse starts in a channel that has none running. At 0.2 a bit is held for \
              5 steps on average. FixedPointFinder's example uses 0.5: faster to train, but long holds are rarely seen.",
    },
    Key {
        name: "pulse_width",
        kind: Kind::Integer {
            min: 1,
            max: 10_000,
        },
        default: Preset::Integer(1),
        unit: "steps",
        doc: "Duration of a pulse. A new pulse starts in a channel only when none is running there.",
    },
    Key {
        name: "amplitude",
        kind: Kind::Number {
            min: 0.0,
            max: 1000.0,
        },
        default: Preset::Number(1.0),
        unit: "",
        doc: "Height of a pulse; the targets are -1 and +1 whatever it is.",
    },
    Key {
        name: "noise",
        kind: Kind::Number {
            min: 0.0,
            max: 1000.0,
        },
        default: Preset::Number(0.0),
        unit: "",
        doc: "Standard deviation of independent Gaussian noise added to every input at every step, pulses included.",
    },
];

/// The flip-flop task; its fields are the keys of the same names.
#[derive(Clone, Debug, PartialEq)]
pub struct FlipFlop {
    /// Number of bits: as many inputs and outputs.
    pub bits: usize,
    /// Steps of a trial; [`Split::Long`] doubles them.
    pub steps: usize,
    /// Probability per step and bit that a pulse starts where none is running.
    pub pulse_probability: f64,
    /// Duration of a pulse in steps; 0 is taken as 1.
    pub pulse_width: usize,
    /// Height of a pulse.
    pub amplitude: f64,
    /// Standard deviation of the noise added to the inputs.
    pub noise: f64,
}

impl FlipFlop {
    /// The task that checked settings describe.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        Ok(FlipFlop {
            bits: settings.count("bits"),
            steps: settings.count("steps"),
            pulse_probability: settings.number("pulse_probability"),
            pulse_width: settings.count("pulse_width"),
            amplitude: settings.number("amplitude"),
            noise: settings.number("noise"),
        })
    }
}

impl Task for FlipFlop {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn input_names(&self) -> Vec<String> {
        (1..=self.bits).map(|bit| format!("pulse_{bit}")).collect()
    }

    fn output_names(&self) -> Vec<String> {
        (1..=self.bits).map(|bit| format!("bit_{bit}")).collect()
    }

    fn loss(&self) -> Loss {
        Loss::MeanSquaredError
    }

    /// Pulses and the bits they set. The target of a bit changes at the step at which its pulse
    /// begins.
    ///
    /// The pulses are drawn first, step by step and within a step bit by bit, the noise after them:
    /// the same seed gives the same pulses with and without noise.
    fn trials(&self, split: Split, seed: u64, index: u64, batch: usize) -> Trials {
        let steps = self.steps * split.length_factor();
        let mut inputs = Array3::<f32>::zeros((batch, steps, self.bits));
        let mut targets = Array3::<f32>::zeros((batch, steps, self.bits));
        let trials = inputs.outer_iter_mut().zip(targets.outer_iter_mut());
        for (trial, (mut inputs, mut targets)) in trials.enumerate() {
            let mut random = trial_random(split, seed, index, trial);
            // Per bit: the sign it holds, and for how many steps its pulse still runs.
            let mut state = vec![(0.0_f32, 0_usize); self.bits];
            let rows = inputs.rows_mut().into_iter().zip(targets.rows_mut());
            for (step, (mut inputs, mut targets)) in rows.enumerate() {
                let bits = inputs.iter_mut().zip(&mut targets).zip(&mut state);
                for ((input, target), (sign, running)) in bits {
                    if *running == 0 && (step == 0 || random.uniform() < self.pulse_probability) {
                        *sign = if random.below(2) == 0 { -1.0 } else { 1.0 };
                        *running = self.pulse_width.max(1);
                    }
                    if *running > 0 {
                        *running -= 1;
                        *input = *sign * self.amplitude as f32;
                    }
                    *target = *sign;
                }
            }
            if self.noise > 0.0 {
                for value in &mut inputs {
                    *value += (self.noise * random.standard_normal()) as f32;
                }
            }
        }
        Trials {
            inputs,
            targets,
            mask: None,
            initial: None,
        }
    }

    /// The loops of [`FlipFlop::trials`], without noise.
    fn shader(&self, split: Split) -> Option<TrialShader> {
        if self.noise > 0.0 {
            return None;
        }
        let steps = self.steps * split.length_factor();
        let [low, high] = probability_words(self.pulse_probability);
        let source = format!(
            "
fn draw_trial() {{
    let amplitude = bitcast<f32>({amplitude}u);
    var sign: array<f32, {bits}>;
    var running: array<u32, {bits}>;
    for (var step = 0u; step < {steps}u; step += 1u) {{
        for (var bit = 0u; bit < {bits}u; bit += 1u) {{
            if (running[bit] == 0u) {{
                var starts = step == 0u;
                if (!starts) {{ starts = random_is_below(vec2<u32>({low}u, {high}u)); }}
                if (starts) {{
                    sign[bit] = select(1.0, -1.0, random_below(2u, {rejected}u) == 0u);
                    running[bit] = {width}u;
                }}
            }}
            var pulse = 0.0;
            if (running[bit] > 0u) {{
                running[bit] -= 1u;
                pulse = sign[bit] * amplitude;
            }}
            set_input(step, bit, pulse);
            set_target(step, bit, sign[bit]);
        }}
    }}
}}
",
            amplitude = (self.amplitude as f32).to_bits(),
            bits = self.bits,
            rejected = rejected_below(2),
            width = self.pulse_width.max(1),
        );
        Some(TrialShader {
            source,
            values: Vec::new(),
            steps,
            observed: false,
            // A loop costs its turns and the one that finds its end. Each bit of a step opens at most one block
            // of random numbers, of ten rounds, and asks for one integer.
            iterations: 1 + steps * (2 + self.bits * (1 + 11 + 2)),
        })
    }

    /// `accuracy`: the fraction of all (trial, step, bit) at which the output has the sign of the
    /// target, the steps of the pulses included. An output of exactly 0 or of no number counts as
    /// wrong.
    fn metrics(&self, outputs: ArrayView3<f32>, trials: &Trials) -> Vec<(&'static str, f64)> {
        assert_eq!(
            outputs.dim(),
            trials.targets.dim(),
            "outputs and targets differ in shape"
        );
        let right = outputs
            .iter()
            .zip(&trials.targets)
            .filter(|(output, target)| **output * **target > 0.0)
            .count();
        vec![("accuracy", right as f64 / outputs.len() as f64)]
    }

    fn metric_names(&self) -> &'static [&'static str] {
        &["accuracy"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array3, s};
    use proptest::prelude::*;

    fn task() -> FlipFlop {
        FlipFlop {
            bits: 3,
            steps: 64,
            pulse_probability: 0.2,
            pulse_width: 1,
            amplitude: 1.0,
            noise: 0.0,
        }
    }

    #[test]
    fn defaults() {
        let settings = Settings::from_defaults("task", &[KIND.keys]);
        assert_eq!(FlipFlop::from_settings(&settings).unwrap(), task());
        assert_eq!(task().input_names(), ["pulse_1", "pulse_2", "pulse_3"]);
        assert_eq!(task().output_names(), ["bit_1", "bit_2", "bit_3"]);
        assert_eq!(task().rest_input(), [0.0; 3]);
    }

    #[test]
    fn without_further_pulses_the_first_is_held() {
        let trials = FlipFlop {
            pulse_probability: 0.0,
            ..task()
        }
        .trials(Split::Training, 1, 0, 8);
        assert!(
            trials
                .inputs
                .slice(s![.., 0, ..])
                .iter()
                .all(|x| x.abs() == 1.0)
        );
        assert!(
            trials
                .inputs
                .slice(s![.., 1.., ..])
                .iter()
                .all(|x| *x == 0.0)
        );
        for step in 0..64 {
            assert_eq!(
                trials.targets.slice(s![.., step, ..]),
                trials.inputs.slice(s![.., 0, ..])
            );
        }
        // Both signs occur.
        assert!(
            trials.targets.iter().any(|x| *x == 1.0) && trials.targets.iter().any(|x| *x == -1.0)
        );
    }

    #[test]
    fn with_a_pulse_at_every_step_the_target_is_the_input() {
        let trials = FlipFlop {
            pulse_probability: 1.0,
            ..task()
        }
        .trials(Split::Training, 1, 0, 8);
        assert_eq!(trials.inputs, trials.targets);
    }

    /// Pins the numbers themselves: a published seed must give the same trials in every later
    /// version.
    #[test]
    fn the_trials_of_a_seed_never_change() {
        let task = FlipFlop {
            bits: 2,
            steps: 12,
            ..task()
        };
        let trials = task.trials(Split::HeldOut, 42, 3, 2);
        let signs = |trial: usize, bit: usize| {
            let symbol = |x: &f32| {
                if *x > 0.0 {
                    '+'
                } else if *x < 0.0 {
                    '-'
                } else {
                    '0'
                }
            };
            let input: String = trials
                .inputs
                .slice(s![trial, .., bit])
                .iter()
                .map(symbol)
                .collect();
            let target: String = trials
                .targets
                .slice(s![trial, .., bit])
                .iter()
                .map(symbol)
                .collect();
            (input, target)
        };
        let expected = |input: &str, target: &str| (input.to_owned(), target.to_owned());
        assert_eq!(signs(0, 0), expected("++-0-00000-0", "++----------"));
        assert_eq!(signs(0, 1), expected("+000++000000", "++++++++++++"));
        assert_eq!(signs(1, 0), expected("+000-00+000-", "++++---++++-"));
        assert_eq!(signs(1, 1), expected("-00000000000", "------------"));
    }

    #[test]
    fn noise_is_added_to_the_inputs_and_changes_nothing_else() {
        let clean = task().trials(Split::Training, 5, 2, 200);
        let noisy = FlipFlop {
            noise: 0.3,
            ..task()
        }
        .trials(Split::Training, 5, 2, 200);
        assert_eq!(clean.targets, noisy.targets);
        let noise: Vec<f64> = noisy
            .inputs
            .iter()
            .zip(&clean.inputs)
            .map(|(a, b)| f64::from(a - b))
            .collect();
        let n = noise.len() as f64;
        let mean = noise.iter().sum::<f64>() / n;
        let sd = (noise.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        // Five standard errors: 0.3 / sqrt(n) and 0.3 / sqrt(2 n), n = 38,400.
        assert!(mean.abs() < 5.0 * 0.3 / n.sqrt(), "mean {mean}");
        assert!((sd - 0.3).abs() < 5.0 * 0.3 / (2.0 * n).sqrt(), "sd {sd}");
    }

    #[test]
    fn pulses_start_as_often_as_asked() {
        let trials = task().trials(Split::Training, 3, 0, 500);
        let later = trials.inputs.slice(s![.., 1.., ..]);
        let n = later.len() as f64;
        let rate = later.iter().filter(|x| **x != 0.0).count() as f64 / n;
        assert!(
            (rate - 0.2).abs() < 5.0 * (0.2 * 0.8 / n).sqrt(),
            "rate {rate}"
        );
        let positive = later.iter().filter(|x| **x > 0.0).count() as f64 / (rate * n);
        assert!(
            (positive - 0.5).abs() < 5.0 * 0.5 / (rate * n).sqrt(),
            "positive {positive}"
        );
    }

    #[test]
    fn accuracy_counts_signs() {
        let trials = task().trials(Split::HeldOut, 1, 0, 4);
        let accuracy = |outputs: &Array3<f32>| task().metrics(outputs.view(), &trials)[0];
        assert_eq!(accuracy(&trials.targets), ("accuracy", 1.0));
        assert_eq!(
            accuracy(&trials.targets.mapv(|x| 0.01 * x)),
            ("accuracy", 1.0)
        );
        assert_eq!(accuracy(&trials.targets.mapv(|x| -x)), ("accuracy", 0.0));
        assert_eq!(accuracy(&trials.targets.mapv(|_| 0.0)), ("accuracy", 0.0));
        assert_eq!(
            accuracy(&trials.targets.mapv(|_| f32::NAN)),
            ("accuracy", 0.0)
        );
        let mut outputs = trials.targets.clone();
        outputs.slice_mut(s![0, .., ..]).mapv_inplace(|x| -x);
        assert_eq!(accuracy(&outputs), ("accuracy", 0.75));
    }

    proptest! {
        /// The definition of the task, from the inputs alone.
        #[test]
        fn the_target_is_the_sign_of_the_last_pulse(
            bits in 1_usize..5,
            steps in 1_usize..50,
            pulse_probability in 0.0..=1.0,
            pulse_width in 1_usize..6,
            amplitude in 0.1..10.0,
            seed: u64,
        ) {
            let task = FlipFlop { bits, steps, pulse_probability, pulse_width, amplitude, noise: 0.0 };
            let trials = task.trials(Split::Training, seed, 0, 3);
            for (input, target) in trials.inputs.outer_iter().zip(trials.targets.outer_iter()) {
                for (input, target) in input.columns().into_iter().zip(target.columns()) {
                    prop_assert!(input[0] != 0.0);
                    let mut last = 0.0;
                    // Steps since the running pulse, or row of pulses without a gap, began.
                    let mut running = 0;
                    for (step, (&input, &target)) in input.iter().zip(target).enumerate() {
                        prop_assert!(input == 0.0 || input.abs() == amplitude as f32);
                        let sign = if input == 0.0 { last } else { input.signum() };
                        // A pulse is as long as asked: silence or the other sign comes after whole
                        // pulses only.
                        if step > 0 && (input == 0.0 || sign != last) {
                            prop_assert_eq!(running % pulse_width, 0);
                        }
                        running = if input == 0.0 { 0 } else { running + 1 };
                        prop_assert_eq!(target, sign);
                        prop_assert_eq!(target.abs(), 1.0);
                        last = sign;
                    }
                }
            }
        }
    }
}
