//! The task of reconstructing a system whose equations are known: recordings generated from two random starts.
//!
//! What happens, in this order:
//! 1. two initial states are drawn, one for training and one for testing, and both are integrated over the `transient`;
//! 2. from each, a state is kept every `dt`: `length` of them for training, `test_length` for testing;
//! 3. both are standardised with the mean and the standard deviation of the training states;
//! 4. Gaussian noise of `noise` standard deviations is added to the training part, once: it is observation noise, part of
//!    the recording, that is the same whenever a trial shows it. The test part has none.
//!
//! This is how Hess et al. (2023) made theirs, with 5 % noise. All of it is a function of the keys and of `data_seed`
//! alone: the networks of an ensemble, and experiments of other seeds, see the same recording.

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::Array2;
use nullcline_data::Result;
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Kind, Preset, Settings};

use super::System;
use crate::windows::{self, Origin, Windows, check_length, error, mean_and_deviation};
use crate::{Recording, Split};

/// What differs between systems in the keys that all of them have.
pub(super) struct Defaults {
    /// Time between samples.
    pub dt: f64,
    /// The longest time between samples that may be asked for.
    pub longest_dt: f64,
    /// What time is counted in.
    pub time_unit: &'static str,
    /// Time that is dropped.
    pub transient: f64,
}

/// A parameter of a system.
pub(super) const fn parameter(
    name: &'static str,
    default: f64,
    [min, max]: [f64; 2],
    unit: &'static str,
    doc: &'static str,
) -> Key {
    Key {
        name,
        kind: Kind::Number { min, max },
        default: Preset::Number(default),
        unit,
        doc,
    }
}

/// Number of keys that every system has beside its parameters.
pub(super) const COMMON: usize = 10;

/// The keys of a system: its parameters, then those that every system has. `N` is their sum.
pub(super) const fn keys<const P: usize, const N: usize>(
    parameters: [Key; P],
    defaults: Defaults,
) -> [Key; N] {
    assert!(N == P + COMMON);
    let common: [Key; COMMON] = [
        Key {
            name: "dt",
            kind: Kind::Number {
                min: 1e-6,
                max: defaults.longest_dt,
            },
            default: Preset::Number(defaults.dt),
            unit: defaults.time_unit,
            doc: "Time from one sample to the next, which is a step of the network. The integrator makes smaller steps.",
        },
        samples("length", "Samples of the training part."),
        samples(
            "test_length",
            "Samples of the test part, which starts from another random state.",
        ),
        Key {
            name: "transient",
            kind: Kind::Number { min: 0.0, max: 1e9 },
            default: Preset::Number(defaults.transient),
            unit: defaults.time_unit,
            doc: "Time that is dropped at the beginning of both parts, in which the state comes to the attractor.",
        },
        Key {
            name: "noise",
            kind: Kind::Number {
                min: 0.0,
                max: 1000.0,
            },
            default: Preset::Number(0.05),
            unit: "s.d.",
            doc: "Observation noise in the training part, in standard deviations of each variable: Gaussian, independent, \
                  drawn once. The test part has none.",
        },
        Key {
            name: "data_seed",
            kind: Kind::Integer {
                min: 0,
                max: i64::MAX,
            },
            default: Preset::Integer(1),
            unit: "",
            doc: "Seed of the initial states and of the observation noise. The seed of the experiment does not matter for \
                  them: all networks learn the same recording.",
        },
        windows::STANDARDISE,
        windows::WINDOW,
        windows::PREDICTION_STEPS,
        windows::trial_noise("trial_noise"),
    ];
    let mut keys = [common[0]; N];
    let mut k = 0;
    while k < N {
        keys[k] = if k < P { parameters[k] } else { common[k - P] };
        k += 1;
    }
    keys
}

/// The key for a number of samples.
const fn samples(name: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Integer {
            min: 2,
            max: 100_000_000,
        },
        default: Preset::Integer(100_000),
        unit: "samples",
        doc,
    }
}

/// Most numbers that a part may hold: they stay in memory.
const MOST_NUMBERS: usize = 1 << 27;

/// Most samples of the transient.
const MOST_DROPPED: f64 = 1e8;

/// A deviation below this part of the largest value, at the start or later, is none: the system has come to rest.
const AT_REST: f64 = 1e-9;

/// The task that checked settings describe, for a system made from them.
///
/// # Errors
/// Parts too long for memory or too short for a trial, a transient of too many samples, a system that does not stay
/// bounded or, where it is to be standardised, comes to rest.
pub(super) fn generate(settings: &Settings, system: Arc<dyn System>) -> Result<Windows> {
    let dimension = system.dimension();
    let dt = settings.number("dt");
    for (part, length, key, factor) in [
        ("training", "length", "window", 1),
        (
            "test",
            "test_length",
            "prediction_steps",
            Split::Long.length_factor(),
        ),
    ] {
        let samples = settings.count(length);
        let most = MOST_NUMBERS / dimension;
        if samples > most {
            let allowed = format!("at most {most} samples of {dimension} variables");
            return Err(error(settings, length, samples.to_string(), allowed));
        }
        let remedies = [
            &*format!("a longer task.{length}"),
            &*format!("this task.{length}"),
        ];
        let part = format!("{part} part");
        check_length(settings, &part, samples, 0, key, factor, remedies)?;
    }
    let transient = settings.number("transient");
    if transient / dt > MOST_DROPPED {
        let allowed = format!("at most {MOST_DROPPED:e} samples of task.dt = {dt}");
        return Err(error(settings, "transient", transient.to_string(), allowed));
    }

    // Independent starts, so that neither part continues the other.
    let seed = settings.integer("data_seed").unsigned_abs();
    let stream = |index| Random::new(seed, Stream::RECORDINGS, index);
    let orbit = |index, key: &str| orbit(settings, &*system, stream(index), settings.count(key));
    let begin = system.random_state(&mut stream(0));
    let training = orbit(0, "length")?;
    let test = orbit(1, "test_length")?;

    let standardise = settings.flag("standardise");
    let (mut mean, mut sd) = (vec![0.0; dimension], vec![1.0; dimension]);
    let names = system.variables();
    // Observation noise in the unit of the recording.
    let mut noise = vec![0.0; dimension];
    for (k, column) in training.columns().into_iter().enumerate() {
        let (m, s) = mean_and_deviation(column.iter().copied());
        // Beside where it started: what decays to 0 is never small beside itself.
        let largest = column
            .iter()
            .fold(begin[k].abs(), |largest, x| largest.max(x.abs()));
        if standardise {
            if s <= AT_REST * largest {
                let found = format!(
                    "true, but \"{}\" of {} comes to rest with these parameters",
                    names[k],
                    system.name()
                );
                let allowed = "false for such a system, or other parameters";
                return Err(error(settings, "standardise", found, allowed));
            }
            (mean[k], sd[k]) = (m, s);
        }
        noise[k] = settings.number("noise") * s;
    }
    let mut random = stream(2);
    let recording = |states: Array2<f64>, noise: Option<&mut Random>, sds: &[f64]| {
        let mut noise = noise;
        let mut values = Array2::<f32>::zeros(states.dim());
        for (state, mut row) in states.outer_iter().zip(values.outer_iter_mut()) {
            for (k, value) in row.iter_mut().enumerate() {
                let error = match &mut noise {
                    Some(random) => sds[k] * random.standard_normal(),
                    None => 0.0,
                };
                *value = ((state[k] + error - mean[k]) / sd[k]) as f32;
            }
        }
        Recording {
            inputs: Array2::zeros((values.nrows(), 0)),
            input_names: Vec::new(),
            input_mean: Vec::new(),
            input_standard_deviation: Vec::new(),
            values,
            names: names.clone(),
            unit: "a.u.".to_owned(),
            mean: mean.clone(),
            standard_deviation: sd.clone(),
            seconds_per_step: system.seconds_per_time().map(|seconds| seconds * dt),
            first_sample: 0,
        }
    };
    let noisy = settings.number("noise") > 0.0;
    let training = recording(training, noisy.then_some(&mut random), &noise);
    let test = recording(test, None, &noise);
    if [&training, &test]
        .iter()
        .any(|part| part.values.iter().any(|x| !x.is_finite()))
    {
        let found = "values too large for single precision";
        return Err(error(
            settings,
            "dt",
            found,
            "parameters under which the system stays bounded",
        ));
    }
    Ok(Windows {
        kind: system.name(),
        window: settings.count("window"),
        prediction_steps: settings.count("prediction_steps"),
        noise: settings.number("trial_noise"),
        training,
        test,
        output_unit: Cow::Borrowed(if standardise { "s.d." } else { "a.u." }),
        origin: Some(Origin { system, dt }),
    })
}

/// States `dt` apart after the transient, `[sample, variable]`, from a random start.
fn orbit(
    settings: &Settings,
    system: &dyn System,
    mut random: Random,
    samples: usize,
) -> Result<Array2<f64>> {
    let dt = settings.number("dt");
    let dropped = (settings.number("transient") / dt).ceil() as usize;
    let flow = system.flow(dt);
    let mut state = system.random_state(&mut random);
    let mut states = Array2::zeros((samples, system.dimension()));
    for step in 0..dropped + samples {
        if step >= dropped {
            for (kept, x) in states.row_mut(step - dropped).iter_mut().zip(&state) {
                *kept = *x;
            }
        }
        flow.advance(&mut state);
        if state.iter().any(|x| !x.is_finite()) {
            let found = format!(
                "{dt}, with which {} is no longer finite after {} {}",
                system.name(),
                (step + 1) as f64 * dt,
                system.time_unit()
            );
            let allowed = "a shorter time or parameters under which the system stays bounded";
            return Err(error(settings, "dt", found, allowed));
        }
    }
    Ok(states)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::systems::Flow;
    use crate::{StepTime, Task};
    use nullcline_data::settings::Value;

    fn settings(kind: &str, changes: &[(&str, Value)]) -> Settings {
        let mut settings = Settings::from_defaults("task", &[crate::kind(kind).unwrap().keys]);
        for (key, value) in changes {
            settings.set(key, value.clone()).unwrap();
        }
        settings
    }

    pub fn build(kind: &str, changes: &[(&str, Value)]) -> Box<dyn Task> {
        (crate::kind(kind).unwrap().build)(&settings(kind, changes)).unwrap()
    }

    fn refuses(kind: &str, changes: &[(&str, Value)], parts: &[&str]) {
        let error = (crate::kind(kind).unwrap().build)(&settings(kind, changes))
            .err()
            .unwrap();
        assert!(error.is_bad_input());
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }

    const SHORT: (&str, Value) = ("length", Value::Integer(5000));
    const SHORT_TEST: (&str, Value) = ("test_length", Value::Integer(5000));

    fn moments(part: &Recording, k: usize) -> (f64, f64) {
        let values: Vec<f64> = part
            .values
            .column(k)
            .iter()
            .map(|x| f64::from(*x))
            .collect();
        mean_and_deviation(values.iter().copied())
    }

    /// What is known of the recordings of Hess et al.: s.d. 7.93, 9.01 and 8.59, mean z 23.58; and 1.001 after their
    /// noise, sqrt(1 + 0.05^2).
    #[test]
    fn moments_of_lorenz_63() {
        let task = build("lorenz_63", &[]);
        let training = task.recording(Split::Training).unwrap();
        for (found, want) in training.standard_deviation.iter().zip([7.93, 9.01, 8.59]) {
            assert!((found - want).abs() < 0.1, "{found} and {want}");
        }
        assert!(
            (training.mean[2] - 23.58).abs() < 0.15,
            "{:?}",
            training.mean
        );
        for k in 0..3 {
            let (mean, sd) = moments(training, k);
            assert!(
                mean.abs() < 1e-3 && (sd - 1.00125).abs() < 1e-3,
                "{mean}, {sd}"
            );
        }
        assert_eq!(task.output_names(), ["x", "y", "z"]);
        assert_eq!((task.output_unit(), task.input_unit()), ("s.d.", ""));
        assert_eq!(task.seconds_per_step(), None);
        let step = StepTime {
            duration: 0.01,
            unit: "time units",
        };
        assert_eq!(task.time_per_step(), Some(step));
        let neuron = build("bursting_neuron", &[SHORT, SHORT_TEST]);
        assert_eq!(neuron.seconds_per_step(), Some(0.25e-3));
        let step = StepTime {
            duration: 0.25,
            unit: "ms",
        };
        assert_eq!(neuron.time_per_step(), Some(step));
    }

    /// Sample by sample, the test part obeys the true system in the task's coordinates.
    #[test]
    fn the_true_system_makes_the_test_part() {
        for kind in [
            "lorenz_63",
            "lorenz_96",
            "roessler",
            "chua",
            "bursting_neuron",
            "kuramoto_sivashinsky",
        ] {
            let task = build(kind, &[SHORT, ("test_length", Value::Integer(300))]);
            let generator = task.system().unwrap();
            assert_eq!(generator.system.name(), kind);
            assert_eq!(generator.system.variables(), task.output_names());
            let flow = generator.flow();
            let test = &task.recording(Split::HeldOut).unwrap().values;
            assert_eq!(test.nrows(), 300);
            for (now, next) in test.outer_iter().zip(test.outer_iter().skip(1)) {
                let mut state: Vec<f64> = now.iter().map(|x| f64::from(*x)).collect();
                flow.advance(&mut state);
                for (a, b) in state.iter().zip(next) {
                    // Single precision, magnified by a step: spikes are steep.
                    assert!((a - f64::from(*b)).abs() < 2e-4, "{kind}: {a} and {b}");
                }
            }
        }
        assert!(build("flip_flop", &[]).system().is_none());
    }

    #[test]
    fn noise_is_drawn_once_and_for_training_alone() {
        let clean = build("lorenz_63", &[SHORT, ("noise", Value::Number(0.0))]);
        let noisy = build("lorenz_63", &[SHORT, ("noise", Value::Number(0.2))]);
        let [a, b] = [&clean, &noisy].map(|task| task.recording(Split::Training).unwrap());
        assert_eq!(
            (&a.mean, &a.standard_deviation),
            (&b.mean, &b.standard_deviation)
        );
        assert_eq!(
            clean.recording(Split::HeldOut),
            noisy.recording(Split::HeldOut)
        );
        let differences: Vec<f64> = (&b.values - &a.values)
            .iter()
            .map(|x| f64::from(*x))
            .collect();
        let (mean, sd) = mean_and_deviation(differences.iter().copied());
        // Five standard errors of n = 15,000.
        assert!(mean.abs() < 5.0 * 0.2 / 15_000_f64.sqrt(), "{mean}");
        assert!((sd - 0.2).abs() < 5.0 * 0.2 / 30_000_f64.sqrt(), "{sd}");
        // Not correlated from one sample to the next.
        let products = differences.windows(2).map(|pair| pair[0] * pair[1]);
        let correlation = products.sum::<f64>() / (14_999.0 * 0.04);
        assert!(correlation.abs() < 5.0 / 15_000_f64.sqrt(), "{correlation}");
        // A window is a piece of the noisy recording, every time.
        let trials = noisy.trials(Split::Training, 1, 0, 4);
        let initial = trials.initial.unwrap();
        for row in initial.outer_iter() {
            assert!(b.values.outer_iter().any(|kept| kept == row));
        }
        // Noise of its own for every trial is another matter.
        let trial_noise = ("trial_noise", Value::Number(0.1));
        let fresh = build(
            "lorenz_63",
            &[SHORT, ("noise", Value::Number(0.2)), trial_noise],
        );
        assert_eq!(
            fresh.recording(Split::Training),
            noisy.recording(Split::Training)
        );
        assert_ne!(
            fresh.trials(Split::Training, 1, 0, 4).targets,
            noisy.trials(Split::Training, 1, 0, 4).targets
        );
        assert!(fresh.shader(Split::Training).is_none() && noisy.shader(Split::Training).is_some());
    }

    #[test]
    fn data_are_a_function_of_their_own_seed() {
        let of = |seed: i64| {
            let task = build(
                "roessler",
                &[SHORT, SHORT_TEST, ("data_seed", Value::Integer(seed))],
            );
            [Split::Training, Split::HeldOut].map(|split| task.recording(split).unwrap().clone())
        };
        let [training, test] = of(1);
        assert_eq!([training.clone(), test.clone()], of(1));
        let [other_training, other_test] = of(2);
        assert_ne!(training.values, other_training.values);
        assert_ne!(test.values, other_test.values);
        assert_eq!(of(i64::MAX)[0].values.nrows(), 5000);
        // Another length changes nothing but what is added; the scale follows.
        let raw = ("standardise", Value::Flag(false));
        let quiet = ("noise", Value::Number(0.0));
        let part = |length: i64| {
            let changes = [
                ("length", Value::Integer(length)),
                raw.clone(),
                quiet.clone(),
            ];
            build("roessler", &changes)
                .recording(Split::Training)
                .unwrap()
                .values
                .clone()
        };
        assert_eq!(part(300), part(5000).slice(ndarray::s![..300, ..]));
    }

    /// Neither part is found in the other, nor are their starts related.
    #[test]
    fn training_and_test_are_independent() {
        let quiet = ("noise", Value::Number(0.0));
        let task = build("lorenz_63", &[quiet, ("transient", Value::Number(50.0))]);
        let [training, test] =
            [Split::Training, Split::HeldOut].map(|split| &task.recording(split).unwrap().values);
        // The closest training sample to a test sample is where random ones are: 100,000 points of an attractor of
        // dimension 2.06 are about 0.005 apart, and none is the same.
        for t in (0..100_000).step_by(10_000) {
            let row = test.row(t);
            let nearest = training
                .outer_iter()
                .map(|other| {
                    let distance = other.iter().zip(row).map(|(a, b)| (a - b).powi(2));
                    distance.sum::<f32>().sqrt()
                })
                .fold(f32::MAX, f32::min);
            assert!(nearest > 1e-6 && nearest < 0.2, "{nearest}");
        }
        let correlation: f64 = training
            .column(0)
            .iter()
            .zip(test.column(0))
            .map(|(a, b)| f64::from(a * b))
            .sum::<f64>()
            / 1e5;
        assert!(correlation.abs() < 0.1, "{correlation}");
        // Before any transient they are two different draws.
        let early = build(
            "lorenz_63",
            &[SHORT, SHORT_TEST, ("transient", Value::Number(0.0))],
        );
        let [a, b] = [Split::Training, Split::HeldOut]
            .map(|split| early.recording(split).unwrap().values.row(0).to_vec());
        assert_ne!(a, b);
    }

    #[test]
    fn what_does_not_go_is_refused() {
        refuses(
            "lorenz_63",
            &[SHORT, ("rho", Value::Number(0.5))],
            &["task.standardise", "\"x\"", "lorenz_63", "rest"],
        );
        build(
            "lorenz_63",
            &[
                SHORT,
                SHORT_TEST,
                ("rho", Value::Number(0.5)),
                ("standardise", Value::Flag(false)),
            ],
        );
        refuses(
            "roessler",
            &[("a", Value::Number(5.0))],
            &["task.dt", "roessler", "finite", "bounded"],
        );
        refuses(
            "lorenz_63",
            &[("length", Value::Integer(200))],
            &[
                "task.window",
                "training part has 200",
                "task.length",
                "1 to 199",
            ],
        );
        refuses(
            "lorenz_63",
            &[("test_length", Value::Integer(40))],
            &["task.prediction_steps", "test part has 40"],
        );
        refuses(
            "lorenz_96",
            &[("length", Value::Integer(100_000_000))],
            &["task.length", "20 variables", "6710886"],
        );
        refuses(
            "lorenz_63",
            &[
                ("dt", Value::Number(1e-6)),
                ("transient", Value::Number(1e6)),
            ],
            &["task.transient", "task.dt"],
        );
        refuses(
            "kuramoto_sivashinsky",
            &[("points", Value::Integer(65))],
            &["task.points", "65", "even"],
        );
    }
}
