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

/// A deviation below this part of the largest value is none: the system has come to rest.
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
    let training = orbit(0, "length")?;
    let test = orbit(1, "test_length")?;

    let standardise = settings.flag("standardise");
    let (mut mean, mut sd) = (vec![0.0; dimension], vec![1.0; dimension]);
    let names = system.variables();
    // Observation noise in the unit of the recording.
    let mut noise = vec![0.0; dimension];
    for (k, column) in training.columns().into_iter().enumerate() {
        let (m, s) = mean_and_deviation(column.iter().copied());
        let largest = column
            .iter()
            .fold(0.0_f64, |largest, x| largest.max(x.abs()));
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
