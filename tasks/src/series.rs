//! A recording to be generated: the network learns the flow that produced it and runs on by itself.
//!
//! The task is dynamical systems reconstruction (Hess, Monfared, Brenner & Durstewitz 2023, *ICML*,
//! arXiv 2306.04406): an observation to start from, and the observations that follow as targets. A
//! system that was driven while it was recorded has `inputs`: columns that the network receives
//! and does not predict, the sample at the time of a target being the input of its step. Any recording will do: an npy, npz, csv or tsv file with one row per sample, or one
//! that ships with the program.
//!
//! What happens to a recording, in this order:
//! 1. the asked `columns` are selected; every value must be a finite number;
//! 2. it is split in time: the first `train_fraction` of the samples are for training, the rest for
//!    testing, unless another recording, `test_file`, is for that;
//! 3. from each part by itself a slow baseline is taken off (`detrend`), then it is smoothed
//!    (`smoothing`), both with a Gaussian kernel, which is cut off at four standard deviations and
//!    renormalised at the ends of the part;
//! 4. one sample of `every` many is kept, from the first of each part on;
//! 5. both parts are standardised with the mean and the standard deviation of the training part;
//! 6. each part is delay-embedded by itself: row `t` holds, column by column, `x[t + lag]` for
//!    every lag.
//!
//! Columns that are inputs are split, thinned out (step 4) and standardised likewise, but neither
//! detrended nor smoothed, as a smoothed stimulus would act before it is given, and not embedded:
//! the input of row `t` is the sample at time `t`.
//!
//! No training row depends on a sample of the test part, and no test row depends on one of the
//! training part but through the scale of step 5. All lagged copies of a column share its scale, as
//! they are one signal.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Cursor;
use std::path::Path;

use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use ndarray_npy::NpzReader;
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use nullcline_data::{Error, Matrix, Result, read_matrix};

use crate::windows::{self, Windows, check_length, error, mean_and_deviation};
use crate::{Recording, Split, TaskKind};

/// The registry's entry for recordings.
pub const KIND: TaskKind = TaskKind {
    name: "series",
    summary: "generate a recording: predict it from an observation on",
    keys: KEYS,
    build: |settings| Ok(Box::new(from_settings(settings)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "file",
        kind: Kind::Path,
        default: Preset::Required,
        unit: "",
        doc: "The recording, one row per sample: an npy, npz (file.npz:name picks an array), csv or tsv file, or \
              builtin:mitbih_208, five minutes of human electrocardiogram that ship with the program.",
    },
    Key {
        name: "columns",
        kind: Kind::Texts,
        default: Preset::Absent,
        unit: "",
        doc: "The columns to use, by name or by number from 1, in this order; all that are no inputs where left out.",
    },
    Key {
        name: "inputs",
        kind: Kind::Texts,
        default: Preset::Texts(&[]),
        unit: "",
        doc: "Columns that the network receives as input and does not predict, by name or by number from 1: what drove \
              the system. The input of a step is the sample at the time of its target. They are standardised as the \
              others are, but neither detrended, smoothed nor delayed.",
    },
    Key {
        name: "rate",
        kind: Kind::Number {
            min: 1e-9,
            max: 1e12,
        },
        default: Preset::Absent,
        unit: "Hz",
        doc: "Sampling rate. Where left out, a built-in recording brings its own, and the time of any other is \
              counted in steps.",
    },
    Key {
        name: "unit",
        kind: Kind::Text,
        default: Preset::Absent,
        unit: "",
        doc: "Unit of the recorded values. Where left out, a built-in recording brings its own, and any other is \
              in arbitrary units, a.u.",
    },
    Key {
        name: "lags",
        kind: Kind::Integers {
            min: -1_000_000,
            max: 1_000_000,
        },
        default: Preset::Integers(&[0]),
        unit: "samples",
        doc: "Delay embedding: row t of the series holds x[t + lag] for every lag, column by column.",
    },
    Key {
        name: "detrend",
        kind: Kind::Number {
            min: 0.0,
            max: 100_000.0,
        },
        default: Preset::Number(0.0),
        unit: "samples",
        doc: "Standard deviation of a Gaussian kernel whose smooth baseline is taken off every column: a high-pass \
              filter for drift slower than it. 0 leaves the drift.",
    },
    Key {
        name: "smoothing",
        kind: Kind::Number {
            min: 0.0,
            max: 1000.0,
        },
        default: Preset::Number(0.0),
        unit: "samples",
        doc: "Standard deviation of a Gaussian kernel that smooths every column; 0 leaves it as it is.",
    },
    Key {
        name: "every",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        default: Preset::Integer(1),
        unit: "samples",
        doc: "Keep one sample of so many, after smoothing: a slower series for the network. Lags, windows and steps \
              count the samples kept. Smooth with a standard deviation of about half of it, or fast parts fold back.",
    },
    windows::STANDARDISE,
    Key {
        name: "test_file",
        kind: Kind::Path,
        default: Preset::Absent,
        unit: "",
        doc: "Another recording with the same columns, which is the test part; all of the first is then trained on, \
              whatever train_fraction. Where left out, the test part is the rest of the first.",
    },
    Key {
        name: "train_fraction",
        kind: Kind::Number { min: 0.0, max: 1.0 },
        default: Preset::Number(0.8),
        unit: "",
        doc: "Fraction of the recording, from its start, that is trained on; the rest is for testing. Smoothing and \
              delays do not reach from one into the other.",
    },
    windows::WINDOW,
    windows::PREDICTION_STEPS,
    windows::trial_noise("noise"),
];

/// Five minutes of electrocardiogram: MIT-BIH record 208, lead MLII (assets/data/README.md).
const MITBIH_208: &[u8] = include_bytes!("../../assets/data/mitbih_208.npz");

/// What a path to a recording that ships begins with.
const BUILTIN: &str = "builtin:";

/// A recording as it is stored, before anything is done to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Where it comes from, for messages.
    pub file: String,
    /// The values, `[sample, column]`.
    pub values: Array2<f64>,
    /// One name per column.
    pub names: Vec<String>,
    /// Unit of the values, where known.
    pub unit: Option<String>,
    /// Sampling rate in Hz, where known.
    pub rate: Option<f64>,
}

impl Source {
    /// Reads the recording of a path, or one that ships: `builtin:mitbih_208`.
    ///
    /// # Errors
    /// If there is no such recording or the file cannot be read.
    pub fn read(file: &str) -> Result<Self> {
        match file.strip_prefix(BUILTIN) {
            Some("mitbih_208") => Self::mitbih_208(),
            Some(other) => Err(Error::Missing {
                file: file.to_owned(),
                what: format!("built-in recording \"{other}\"; there is builtin:mitbih_208"),
            }),
            None => {
                let Matrix { values, columns } = read_matrix(Path::new(file))?;
                Ok(Source {
                    file: file.to_owned(),
                    values,
                    names: columns,
                    unit: None,
                    rate: None,
                })
            }
        }
    }

    /// The five minutes of electrocardiogram that ship: 108,000 samples at 360 Hz, in millivolt.
    fn mitbih_208() -> Result<Self> {
        let file = format!("{BUILTIN}mitbih_208");
        let samples: std::result::Result<Array1<i16>, _> =
            NpzReader::new(Cursor::new(MITBIH_208)).and_then(|mut archive| archive.by_name("mlii"));
        let samples = samples.map_err(|error| Error::Format {
            file: file.clone(),
            what: "array mlii".to_owned(),
            found: error.to_string(),
            allowed: "the recording that the program was built with".to_owned(),
        })?;
        // The converter has 11 bits around 1024 and 200 units per millivolt.
        let values = samples
            .mapv(|sample| (f64::from(sample) - 1024.0) / 200.0)
            .insert_axis(Axis(1));
        Ok(Source {
            file,
            values,
            names: vec!["mlii".to_owned()],
            unit: Some("mV".to_owned()),
            rate: Some(360.0),
        })
    }
}

/// Reads the recording that checked settings name and prepares it.
///
/// # Errors
/// As [`Source::read`] and [`from_source`].
pub fn from_settings(settings: &Settings) -> Result<Windows> {
    let test = settings
        .optional_text("test_file")
        .map(Source::read)
        .transpose()?;
    from_sources(settings, Source::read(settings.text("file"))?, test)
}

/// Prepares a recording as checked settings ask, whatever file they name.
///
/// # Errors
/// As [`from_sources`].
///
/// # Panics
/// If the source has not as many names as columns.
pub fn from_source(settings: &Settings, source: Source) -> Result<Windows> {
    from_sources(settings, source, None)
}

/// Prepares a recording as checked settings ask, whatever files they name, with a test part of its own or without.
///
/// # Errors
/// A value that is no finite number, a column that is missing, named twice or constant (where
/// it is to be standardised), lags that are empty or repeated, a part too short for one trial, two recordings whose
/// columns differ.
///
/// # Panics
/// If a source has not as many names as columns.
pub fn from_sources(settings: &Settings, source: Source, test: Option<Source>) -> Result<Windows> {
    let lags = lags(settings)?;
    if let Some(test) = test.as_ref().filter(|test| test.names != source.names) {
        let of = |source: &Source| {
            let count = source.names.len();
            format!(
                "{} with {count} columns ({})",
                source.file,
                shown(&source.names)
            )
        };
        let allowed = format!("a recording with the columns of {}", of(&source));
        return Err(error(settings, "test_file", of(test), allowed));
    }
    let Source {
        file,
        values: samples_of_all,
        names: all_names,
        unit,
        rate,
    } = source;
    let (columns, input_columns) = columns(settings, &file, &all_names)?;
    // The columns of one role, [sample, column], and their names.
    let chosen = |chosen: &[usize]| -> Result<(Array2<f64>, Vec<&str>)> {
        let names: Vec<&str> = chosen.iter().map(|&k| all_names[k].as_str()).collect();
        let values = samples_of_all.select(Axis(1), chosen);
        check_values(&file, values.view(), &names)?;
        Ok((values, names))
    };
    let (values, names) = chosen(&columns)?;
    let (inputs, input_names) = chosen(&input_columns)?;
    // The samples of another recording, or the rest of this one.
    let separate = match &test {
        None => None,
        Some(test) => {
            let chosen = |chosen: &[usize], names: &[&str]| -> Result<Array2<f64>> {
                let values = test.values.select(Axis(1), chosen);
                check_values(&test.file, values.view(), names)?;
                Ok(values)
            };
            Some((
                &test.file,
                chosen(&columns, &names)?,
                chosen(&input_columns, &input_names)?,
            ))
        }
    };
    let samples = values.nrows();
    let n_training = match separate {
        Some(_) => samples,
        None => (settings.number("train_fraction") * samples as f64).round() as usize,
    };
    let n_training = n_training.min(samples);
    let (training, rest) = values.view().split_at(Axis(0), n_training);
    let (training_inputs, rest_inputs) = inputs.view().split_at(Axis(0), n_training);
    let (test_file, test, test_inputs, first_of_test) = match &separate {
        Some((file, values, inputs)) => (*file, values.view(), inputs.view(), 0),
        None => (&file, rest, rest_inputs, n_training),
    };
    let span = lags.before + lags.after;
    let every = settings.count("every");
    let kept = |samples: usize| samples.div_ceil(every);
    let remedies = [
        "give a longer recording, smaller lags or another train_fraction",
        "this recording, these lags and this train_fraction",
    ];
    let doubled = Split::Long.length_factor();
    for (part, file, samples, key, factor) in [
        ("training", &file, kept(n_training), "window", 1),
        (
            "test",
            test_file,
            kept(test.nrows()),
            "prediction_steps",
            doubled,
        ),
    ] {
        let part = format!("{part} part of {file}");
        check_length(settings, &part, samples, span, key, factor, remedies)?;
    }

    let smoothing = settings.number("smoothing");
    let detrend = settings.number("detrend");
    let thinned = |part: ArrayView2<f64>| part.slice(s![..;every, ..]).to_owned();
    let filtered =
        |part: ArrayView2<f64>| thinned(smooth(detrended(part, detrend).view(), smoothing).view());
    let smoothed = filtered(training);
    let driving = thinned(training_inputs);
    let scale = |raw: ArrayView2<f64>, part: ArrayView2<f64>, names: &[&str], key: &str| {
        if settings.flag("standardise") {
            moments(settings, &file, raw, part, names, key)
        } else {
            Ok((vec![0.0; names.len()], vec![1.0; names.len()]))
        }
    };
    let (mean, sd) = scale(training, smoothed.view(), &names, "columns")?;
    let (input_mean, input_sd) = scale(driving.view(), driving.view(), &input_names, "inputs")?;

    let unit = settings
        .optional_text("unit")
        .map(str::to_owned)
        .or(unit)
        .unwrap_or_else(|| "a.u.".to_owned());
    let seconds_per_step = settings
        .optional_number("rate")
        .or(rate)
        .map(|rate| every as f64 / rate);
    let recording = |part: ArrayView2<f64>,
                     inputs: ArrayView2<f64>,
                     first_sample: usize|
     -> Result<Recording> {
        // Row 0 belongs to the sample `before`, the last row to that `after` before the end.
        let rows = lags.before..inputs.nrows() - lags.after;
        let inputs = inputs.slice(s![rows, ..]);
        Ok(Recording {
            values: embed(&file, part, &mean, &sd, &lags)?,
            inputs: embed(&file, inputs, &input_mean, &input_sd, &Lags::none())?,
            input_names: input_names.iter().map(|&name| name.to_owned()).collect(),
            input_mean: input_mean.clone(),
            input_standard_deviation: input_sd.clone(),
            names: lags.names(&names),
            unit: unit.clone(),
            mean: lags.per_dimension(&mean),
            standard_deviation: lags.per_dimension(&sd),
            seconds_per_step,
            first_sample: first_sample + lags.before * every,
        })
    };
    Ok(Windows {
        kind: KIND.name,
        window: settings.count("window"),
        prediction_steps: settings.count("prediction_steps"),
        noise: settings.number("noise"),
        training: recording(smoothed.view(), driving.view(), 0)?,
        test: recording(
            filtered(test).view(),
            thinned(test_inputs).view(),
            first_of_test,
        )?,
        output_unit: if settings.flag("standardise") {
            Cow::Borrowed("s.d.")
        } else {
            Cow::Owned(unit.clone())
        },
        origin: None,
    })
}

/// Names of columns for messages: a recording of a hundred electrodes need not fill the screen.
fn shown(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let first: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    first.join(", ") + more
}

/// The lags of a delay embedding and how far they reach.
struct Lags {
    lags: Vec<i64>,
    /// Samples before the first row that it needs: the largest negative lag.
    before: usize,
    /// Samples after the last row that it needs: the largest positive lag.
    after: usize,
}

impl Lags {
    /// Every sample by itself.
    fn none() -> Self {
        Lags {
            lags: vec![0],
            before: 0,
            after: 0,
        }
    }

    /// The name of every dimension: the column's own where no lag is asked for, else `mlii_lag_20`.
    fn names(&self, columns: &[&str]) -> Vec<String> {
        let name = |column: &str, lag: i64| match lag {
            _ if self.lags == [0] => column.to_owned(),
            0.. => format!("{column}_lag_{lag}"),
            _ => format!("{column}_lag_minus_{}", lag.unsigned_abs()),
        };
        columns
            .iter()
            .flat_map(|column| self.lags.iter().map(move |&lag| name(column, lag)))
            .collect()
    }

    /// A value per dimension from a value per column.
    fn per_dimension(&self, per_column: &[f64]) -> Vec<f64> {
        per_column
            .iter()
            .flat_map(|&value| std::iter::repeat_n(value, self.lags.len()))
            .collect()
    }
}

/// The lags that settings ask for: at least one, none twice.
fn lags(settings: &Settings) -> Result<Lags> {
    let lags = settings.integers("lags").to_vec();
    let distinct: HashSet<i64> = lags.iter().copied().collect();
    if lags.is_empty() || distinct.len() < lags.len() {
        return Err(error(
            settings,
            "lags",
            format!("{lags:?}"),
            "one or more lags, none of them twice",
        ));
    }
    let reach = |lag: Option<i64>| lag.and_then(|lag| usize::try_from(lag).ok()).unwrap_or(0);
    let before = reach(lags.iter().map(|lag| -lag).max());
    let after = reach(lags.iter().copied().max());
    Ok(Lags {
        lags,
        before,
        after,
    })
}

/// The columns that settings ask for, as positions in `names`: those to predict, which are all others where they ask for
/// none, and those that are inputs.
fn columns(settings: &Settings, file: &str, names: &[String]) -> Result<(Vec<usize>, Vec<usize>)> {
    if names.is_empty() {
        return Err(Error::Missing {
            file: file.to_owned(),
            what: "columns: the recording has none".to_owned(),
        });
    }
    let refuse = |key: &str, found: String| {
        let allowed = format!(
            "columns of {file} by name ({}) or by number (1 to {}), none of them twice",
            shown(names),
            names.len()
        );
        error(settings, key, found, allowed)
    };
    let find = |key: &str, taken: &[usize]| {
        let mut chosen = Vec::new();
        for text in settings.texts(key) {
            let by_name = names.iter().position(|name| name == text);
            let by_number = || {
                text.parse()
                    .ok()
                    .filter(|number| (1..=names.len()).contains(number))
                    .map(|n| n - 1)
            };
            match by_name.or_else(by_number) {
                Some(position) if chosen.contains(&position) => {
                    return Err(refuse(key, format!("column \"{text}\" again")));
                }
                Some(position) if taken.contains(&position) => {
                    return Err(refuse(key, format!("column \"{text}\", which is an input")));
                }
                Some(position) => chosen.push(position),
                None => return Err(refuse(key, format!("\"{text}\""))),
            }
        }
        Ok(chosen)
    };
    let inputs = find("inputs", &[])?;
    if settings.is_set("columns") {
        let chosen = find("columns", &inputs)?;
        if chosen.is_empty() {
            return Err(refuse("columns", "an empty list".to_owned()));
        }
        return Ok((chosen, inputs));
    }
    let others: Vec<usize> = (0..names.len()).filter(|k| !inputs.contains(k)).collect();
    if others.is_empty() {
        let found = format!("all {} columns of {file}", names.len());
        return Err(error(
            settings,
            "inputs",
            found,
            "at most all but one: a column must be left to predict",
        ));
    }
    Ok((others, inputs))
}

/// Refuses values that are not finite or that single precision cannot hold.
fn check_values(file: &str, values: ArrayView2<f64>, names: &[&str]) -> Result<()> {
    let largest = f64::from(f32::MAX);
    match values
        .indexed_iter()
        .find(|(_, value)| !value.is_finite() || value.abs() > largest)
    {
        None => Ok(()),
        Some(((row, column), value)) => Err(Error::Format {
            file: file.to_owned(),
            what: format!(
                "row {} (the first is 1), column \"{}\"",
                row + 1,
                names[column]
            ),
            found: format!("{value:?}"),
            allowed: "a finite number, at most 3.4e38 in size".to_owned(),
        }),
    }
}

/// Mean and standard deviation (with n - 1) of every column of the training part after smoothing; `key` is the key that
/// chose the columns.
///
/// A column is constant where the part before smoothing is, as rounding in the kernel hides it
/// afterwards.
fn moments(
    settings: &Settings,
    file: &str,
    training: ArrayView2<f64>,
    smoothed: ArrayView2<f64>,
    names: &[&str],
    key: &str,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut means = Vec::with_capacity(names.len());
    let mut sds = Vec::with_capacity(names.len());
    for ((raw, column), name) in training
        .columns()
        .into_iter()
        .zip(smoothed.columns())
        .zip(names)
    {
        let (mean, sd) = mean_and_deviation(column.iter().copied());
        let constant = raw.iter().all(|x| Some(x) == raw.first());
        if constant || sd <= 0.0 {
            let found =
                format!("true, but column \"{name}\" of {file} is constant over the training part");
            let allowed = format!("false for such a recording, or task.{key} without this column");
            return Err(error(settings, "standardise", found, allowed));
        }
        means.push(mean);
        sds.push(sd);
    }
    Ok((means, sds))
}

/// Every column less its baseline, the column smoothed with a Gaussian of standard deviation `sd` samples.
fn detrended(values: ArrayView2<f64>, sd: f64) -> Array2<f64> {
    if sd <= 0.0 {
        return values.to_owned();
    }
    &values - &smooth(values, sd)
}

/// Convolves every column with a Gaussian of standard deviation `sd` samples.
///
/// `y[t] = sum_k g(k) x[t + k] / sum_k g(k)`, `g(k) = exp(-k^2 / (2 sd^2))`, over `|k| <= 4 sd`
/// where `t + k` is a sample.
fn smooth(values: ArrayView2<f64>, sd: f64) -> Array2<f64> {
    if sd <= 0.0 {
        return values.to_owned();
    }
    let radius = (4.0 * sd).ceil() as usize;
    let kernel: Vec<f64> = (0..=radius)
        .map(|k| (-0.5 * (k as f64 / sd).powi(2)).exp())
        .collect();
    let samples = values.nrows();
    let mut smoothed = Array2::zeros(values.dim());
    for (column, mut out) in values.columns().into_iter().zip(smoothed.columns_mut()) {
        for (t, out) in out.iter_mut().enumerate() {
            let first = t.saturating_sub(radius);
            let last = (t + radius).min(samples - 1);
            let mut sum = 0.0;
            let mut weight = 0.0;
            for (i, x) in (first..=last).zip(column.slice(s![first..=last])) {
                let g = kernel[i.abs_diff(t)];
                sum += g * x;
                weight += g;
            }
            *out = sum / weight;
        }
    }
    smoothed
}

/// Standardises and embeds a part: row `t`, column by column and lag by lag, is `(x[t + before +
/// lag] - mean) / sd`.
///
/// The part must be longer than `before + after`.
fn embed(
    file: &str,
    part: ArrayView2<f64>,
    mean: &[f64],
    sd: &[f64],
    lags: &Lags,
) -> Result<Array2<f32>> {
    let rows = part.nrows() - lags.before - lags.after;
    let count = lags.lags.len();
    let mut embedded = Array2::<f32>::zeros((rows, part.ncols() * count));
    for (dimension, mut values) in embedded.columns_mut().into_iter().enumerate() {
        let column = dimension / count;
        let first = lags
            .before
            .saturating_add_signed(lags.lags[dimension % count] as isize);
        let lagged = part.slice(s![first..first + rows, column]);
        values.zip_mut_with(&lagged, |value, x| {
            *value = ((x - mean[column]) / sd[column]) as f32
        });
    }
    if embedded.iter().any(|value| !value.is_finite()) {
        return Err(Error::Format {
            file: file.to_owned(),
            what: "the standardised recording".to_owned(),
            found: "values too large for single precision".to_owned(),
            allowed: "a test part on the scale of the training part".to_owned(),
        });
    }
    Ok(embedded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Task, Trials};
    use nullcline_data::settings::Value;
    use proptest::prelude::*;
    use std::fs;

    fn settings(changes: &[(&str, Value)]) -> Settings {
        let mut settings = Settings::from_defaults("task", &[KIND.keys]);
        settings
            .set("file", Value::Text("test.csv".to_owned()))
            .unwrap();
        for (key, value) in changes {
            settings.set(key, value.clone()).unwrap();
        }
        settings
    }

    fn texts(values: &[&str]) -> Value {
        Value::Texts(values.iter().map(|value| (*value).to_owned()).collect())
    }

    fn source(values: Array2<f64>) -> Source {
        let names = (0..values.ncols())
            .map(|column| format!("x{column}"))
            .collect();
        Source {
            file: "test.csv".to_owned(),
            values,
            names,
            unit: None,
            rate: None,
        }
    }

    /// Column `j` of row `t` is `1000 j + t`.
    fn ramp(samples: usize, columns: usize) -> Source {
        source(Array2::from_shape_fn((samples, columns), |(t, j)| {
            (1000 * j + t) as f64
        }))
    }

    /// A signal without any symmetry that could hide a mistake.
    fn wiggle(samples: usize, columns: usize) -> Array2<f64> {
        Array2::from_shape_fn((samples, columns), |(t, j)| {
            let t = t as f64;
            3.0 + 2.0 * (0.3 * t + j as f64).sin() + (0.07 * t * (j + 1) as f64).cos() + 0.001 * t
        })
    }

    fn build(changes: &[(&str, Value)], source: Source) -> Windows {
        from_source(&settings(changes), source).unwrap()
    }

    fn message(changes: &[(&str, Value)], source: Source) -> String {
        let error = from_source(&settings(changes), source).unwrap_err();
        assert!(error.is_bad_input());
        error.to_string()
    }

    fn refuses(changes: &[(&str, Value)], source: Source, parts: &[&str]) {
        let message = message(changes, source);
        for part in parts {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }

    #[test]
    fn another_recording_may_be_the_test_part() {
        let changes = [
            ("train_fraction", Value::Number(0.5)),
            ("window", Value::Integer(10)),
            ("prediction_steps", Value::Integer(3)),
        ];
        let settings = settings(&changes);
        let other = Source {
            file: "other.csv".into(),
            ..source(wiggle(40, 2).mapv(|x| 5.0 - x))
        };
        let both = from_sources(&settings, source(wiggle(60, 2)), Some(other.clone())).unwrap();
        assert_eq!(both.training.values.nrows(), 60);
        assert_eq!((both.test.values.nrows(), both.test.first_sample), (40, 0));
        // The scale is that of the training part.
        for column in 0..2 {
            let raw = other.values[[7, column]];
            let value = f64::from(both.test.values[[7, column]]);
            assert!((both.training.restore(column, value) - raw).abs() < 1e-5);
        }
        // What trains does not depend on the test part.
        let whole = [&changes[1..], &[("train_fraction", Value::Number(0.6))]].concat();
        let longer = build(&whole, source(wiggle(100, 2)));
        assert_eq!(both.training.values, longer.training.values);

        let message = |test: Source| {
            let error = from_sources(&settings, source(wiggle(60, 2)), Some(test)).unwrap_err();
            error.to_string()
        };
        let found = message(source(wiggle(40, 3)));
        assert!(
            found.contains("test_file") && found.contains("x0, x1, x2"),
            "{found}"
        );
        let mut broken = other.clone();
        broken.values[[3, 1]] = f64::NAN;
        let found = message(broken);
        assert!(
            found.contains("other.csv") && found.contains("row 4"),
            "{found}"
        );
        let found = message(source(wiggle(4, 2)));
        assert!(found.contains("prediction_steps"), "{found}");
    }

    #[test]
    fn delay_embedding_of_a_ramp_is_exact() {
        let changes = [
            ("lags", Value::Integers(vec![0, 5, -2])),
            ("standardise", Value::Flag(false)),
            ("window", Value::Integer(10)),
            ("prediction_steps", Value::Integer(3)),
        ];
        let series = build(&changes, ramp(100, 2));
        let names = [
            "x0_lag_0",
            "x0_lag_5",
            "x0_lag_minus_2",
            "x1_lag_0",
            "x1_lag_5",
            "x1_lag_minus_2",
        ];
        assert_eq!(series.output_names(), names);
        // 80 samples of training are 0..80; rows exist where t - 2 and t + 5 are both among them.
        for (recording, first, last) in [(&series.training, 2, 74), (&series.test, 82, 94)] {
            assert_eq!(recording.first_sample, first);
            assert_eq!(recording.values.dim(), (last - first + 1, 6));
            for (row, values) in recording.values.outer_iter().enumerate() {
                let t = (first + row) as f32;
                assert_eq!(
                    values.to_vec(),
                    [t, t + 5.0, t - 2.0, 1000.0 + t, 1005.0 + t, 998.0 + t]
                );
            }
        }
    }

    #[test]
    fn trials_are_windows_of_the_part_and_every_start_occurs() {
        let changes = [
            ("standardise", Value::Flag(false)),
            ("window", Value::Integer(10)),
            ("prediction_steps", Value::Integer(3)),
        ];
        let series = build(&changes, ramp(40, 2));
        for (split, steps, first, last) in [
            (Split::Training, 10, 0, 31),
            (Split::HeldOut, 3, 32, 39),
            (Split::Long, 6, 32, 39),
        ] {
            let trials = series.trials(split, 7, 0, 1000);
            assert_eq!(trials.inputs.dim(), (1000, steps, 0));
            assert_eq!(trials.targets.dim(), (1000, steps, 2));
            let initial = trials.initial.unwrap();
            let mut starts = HashSet::new();
            for (initial, target) in initial.outer_iter().zip(trials.targets.outer_iter()) {
                starts.insert(initial[0] as usize);
                for (step, target) in target.outer_iter().enumerate() {
                    let value = initial[0] + 1.0 + step as f32;
                    assert_eq!(target.to_vec(), [value, 1000.0 + value]);
                }
            }
            assert_eq!(starts, (first..=last - steps).collect(), "{split:?}");
        }
    }

    #[test]
    fn noise_is_added_to_training_trials_only() {
        let clean = build(&[], source(wiggle(2000, 3)));
        let noisy = build(&[("noise", Value::Number(0.2))], source(wiggle(2000, 3)));
        assert_eq!(
            clean.trials(Split::HeldOut, 1, 0, 9),
            noisy.trials(Split::HeldOut, 1, 0, 9)
        );
        assert_eq!(
            clean.trials(Split::Long, 1, 0, 9),
            noisy.trials(Split::Long, 1, 0, 9)
        );
        let a = clean.trials(Split::Training, 1, 0, 50);
        let b = noisy.trials(Split::Training, 1, 0, 50);
        let sd = |noise: Vec<f32>| {
            (noise.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / noise.len() as f64).sqrt()
        };
        let targets: Vec<f32> = (&b.targets - &a.targets).into_iter().collect();
        let initial: Vec<f32> = (b.initial.unwrap() - a.initial.unwrap())
            .into_iter()
            .collect();
        // Five standard errors, 0.2 / sqrt(2 n), of n = 30,000 and of n = 150.
        assert!((sd(targets) - 0.2).abs() < 5.0 * 0.2 / 60_000_f64.sqrt());
        assert!((sd(initial) - 0.2).abs() < 5.0 * 0.2 / 300_f64.sqrt());
    }

    #[test]
    fn standardisation_of_the_training_part() {
        let series = build(
            &[("smoothing", Value::Number(1.5))],
            source(wiggle(2000, 3)),
        );
        for column in series.training.values.columns() {
            let n = column.len() as f64;
            let mean = column.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
            let variance = column
                .iter()
                .map(|x| (f64::from(*x) - mean).powi(2))
                .sum::<f64>()
                / (n - 1.0);
            assert!(mean.abs() < 1e-6, "mean {mean}");
            assert!((variance - 1.0).abs() < 1e-6, "variance {variance}");
        }
        assert_eq!(series.output_unit(), "s.d.");
    }

    #[test]
    fn restoring_gives_the_recording_back() {
        let values = wiggle(1000, 2);
        let series = build(
            &[("lags", Value::Integers(vec![0, 7]))],
            source(values.clone()),
        );
        for split in [Split::Training, Split::HeldOut] {
            let recording = series.recording(split).unwrap();
            for ((row, dimension), value) in recording.values.indexed_iter() {
                let sample = recording.first_sample + row + if dimension % 2 == 1 { 7 } else { 0 };
                let restored = recording.restore(dimension, f64::from(*value));
                assert!((restored - values[[sample, dimension / 2]]).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn nothing_leaks_between_the_parts() {
        let base = [
            ("lags", Value::Integers(vec![-3, 0, 11])),
            ("smoothing", Value::Number(4.0)),
            ("window", Value::Integer(50)),
        ];
        let values = wiggle(500, 2);
        let series = build(&base, source(values.clone()));
        let mut other_test = values.clone();
        other_test
            .slice_mut(s![400.., ..])
            .mapv_inplace(|x| 5.0 - 2.0 * x);
        let changed = build(&base, source(other_test));
        assert_eq!(changed.training, series.training);
        assert_ne!(changed.test.values, series.test.values);

        let mut raw = base.to_vec();
        raw.push(("standardise", Value::Flag(false)));
        let series = build(&raw, source(values.clone()));
        let mut other_training = values;
        other_training
            .slice_mut(s![..400, ..])
            .mapv_inplace(|x| 5.0 - 2.0 * x);
        let changed = build(&raw, source(other_training));
        assert_eq!(changed.test, series.test);
        assert_ne!(changed.training.values, series.training.values);
    }

    #[test]
    fn detrending_takes_off_the_slow_and_leaves_the_fast() {
        let wave = |period: f64| {
            Array2::from_shape_fn((4000, 1), |(t, _)| {
                (std::f64::consts::TAU * t as f64 / period).sin()
            })
        };
        let middle = |values: &Array2<f64>| {
            values
                .slice(s![1000..3000, 0])
                .iter()
                .fold(0.0_f64, |m, x| m.max(x.abs()))
        };
        // A Gaussian of sd s passes exp(-2 (pi s / period)^2) of a sine into the baseline.
        for (period, sd) in [(1000.0, 50.0), (50.0, 50.0), (400.0, 60.0)] {
            let left = middle(&detrended(wave(period).view(), sd));
            let want = 1.0 - (-2.0 * (std::f64::consts::PI * sd / period).powi(2)).exp();
            assert!(
                (left - want).abs() < 2e-3,
                "period {period}, sd {sd}: {left} and {want}"
            );
        }
        assert_eq!(detrended(wave(30.0).view(), 0.0), wave(30.0));
    }

    #[test]
    fn keeping_every_third_sample_slows_the_series_down() {
        let ramp = Array2::from_shape_fn((3000, 1), |(t, _)| t as f64);
        let settings = settings(&[
            ("every", Value::Integer(3)),
            ("standardise", Value::Flag(false)),
            ("lags", Value::Integers(vec![-1, 2])),
            ("rate", Value::Number(300.0)),
            ("window", Value::Integer(50)),
        ]);
        let source = Source {
            file: "ramp.csv".to_owned(),
            values: ramp,
            names: vec!["x".to_owned()],
            unit: None,
            rate: None,
        };
        let series = from_source(&settings, source).unwrap();
        let test = series.recording(Split::HeldOut).unwrap();
        assert_eq!(test.first_sample, 2403);
        assert_eq!(test.values.row(0).to_vec(), [2400.0, 2409.0]);
        assert_eq!(test.values.row(1).to_vec(), [2403.0, 2412.0]);
        assert_eq!(test.seconds_per_step, Some(0.01));
        let trials = series.trials(Split::Training, 1, 0, 4);
        for b in 0..4 {
            assert_eq!(trials.targets[[b, 7, 0]] - trials.targets[[b, 6, 0]], 3.0);
        }
    }

    #[test]
    fn smoothing_is_a_normalised_gaussian() {
        let mut impulse = Array2::zeros((101, 1));
        impulse[[50, 0]] = 1.0;
        let smoothed = smooth(impulse.view(), 3.0);
        let moment = |power| {
            smoothed
                .indexed_iter()
                .map(|((t, _), y)| (t as f64 - 50.0).powi(power) * y)
                .sum::<f64>()
        };
        assert!((moment(0) - 1.0).abs() < 1e-12);
        assert!(moment(1).abs() < 1e-12);
        // The tails beyond four standard deviations hold 0.1 % of the second moment.
        assert!((moment(2) - 9.0).abs() < 0.02);
        assert_eq!(smoothed[[50 - 13, 0]], 0.0);
        assert!(smoothed[[50 - 12, 0]] > 0.0);
        let ratio = smoothed[[53, 0]] / smoothed[[50, 0]];
        assert!((ratio - (-0.5_f64).exp()).abs() < 1e-12);
        // At the ends the kernel is renormalised: a constant stays what it is.
        let constant = Array2::from_elem((30, 2), 7.5);
        assert!(
            smooth(constant.view(), 5.0)
                .iter()
                .all(|y| (y - 7.5).abs() < 1e-12)
        );
        assert_eq!(smooth(impulse.view(), 0.0), impulse);
    }

    #[test]
    fn prediction_error_is_that_of_the_last_step() {
        let series = build(&[], source(wiggle(2000, 2)));
        let trials = series.trials(Split::HeldOut, 1, 0, 4);
        assert_eq!(
            series.metrics(trials.targets.view(), &trials),
            [("prediction_error", 0.0)]
        );
        let mut outputs = trials.targets.clone();
        outputs.slice_mut(s![.., ..-1, ..]).fill(f32::NAN);
        assert_eq!(
            series.metrics(outputs.view(), &trials),
            [("prediction_error", 0.0)]
        );
        // An error of 2 in one of the 8 last values: 4 / 8.
        let mut outputs = trials.targets.mapv(f32::round);
        let rounded = Trials {
            targets: outputs.clone(),
            ..trials
        };
        outputs[[2, 19, 1]] += 2.0;
        assert_eq!(
            series.metrics(outputs.view(), &rounded),
            [("prediction_error", 0.5)]
        );
    }

    #[test]
    fn the_built_in_electrocardiogram() {
        let source = Source::read("builtin:mitbih_208").unwrap();
        assert_eq!(source.values.dim(), (108_000, 1));
        let first: Vec<f64> = source.values.iter().take(3).copied().collect();
        assert_eq!(first, [-0.245, -0.215, -0.185]);
        assert_eq!(source.values[[107_999, 0]], -0.385);
        // Mean and standard deviation as SciPy documents them for this excerpt.
        let n = 108_000.0;
        let mean = source.values.sum() / n;
        let sd = (source
            .values
            .iter()
            .map(|x| (x - mean).powi(2))
            .sum::<f64>()
            / n)
            .sqrt();
        assert!((mean - -0.16510875).abs() < 1e-8);
        assert!((sd - 0.5992473991177294).abs() < 1e-12);

        let mut settings = settings(&[("standardise", Value::Flag(false))]);
        settings
            .set("file", Value::Text("builtin:mitbih_208".to_owned()))
            .unwrap();
        let series = from_settings(&settings).unwrap();
        assert_eq!(series.seconds_per_step(), Some(1.0 / 360.0));
        assert_eq!(series.output_unit(), "mV");
        assert_eq!(series.output_names(), ["mlii"]);
        assert_eq!(series.training.values.nrows(), 86_400);
        assert_eq!(series.test.values.nrows(), 21_600);
        assert_eq!(series.test.first_sample, 86_400);
    }

    #[test]
    fn rate_and_unit() {
        let series = build(&[("standardise", Value::Flag(false))], ramp(2000, 1));
        assert_eq!(
            (series.seconds_per_step(), series.output_unit()),
            (None, "a.u.")
        );
        let known = || Source {
            unit: Some("mV".to_owned()),
            rate: Some(100.0),
            ..ramp(2000, 1)
        };
        let changes = [("standardise", Value::Flag(false))];
        let series = build(&changes, known());
        assert_eq!(
            (series.seconds_per_step(), series.output_unit()),
            (Some(0.01), "mV")
        );
        let changes = [
            ("standardise", Value::Flag(false)),
            ("rate", Value::Number(50.0)),
            ("unit", Value::Text("V".to_owned())),
        ];
        let series = build(&changes, known());
        assert_eq!(
            (series.seconds_per_step(), series.output_unit()),
            (Some(0.02), "V")
        );
        let series = build(&[("unit", Value::Text("V".to_owned()))], known());
        assert_eq!(
            (series.output_unit(), series.training.unit.as_str()),
            ("s.d.", "V")
        );
    }

    #[test]
    fn columns_by_name_and_by_number() {
        let raw = ("standardise", Value::Flag(false));
        let first = |columns: Value| {
            let series = build(&[raw.clone(), ("columns", columns)], ramp(2000, 3));
            (
                series.output_names(),
                series.training.values.row(0).to_vec(),
            )
        };
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            first(texts(&["x2", "1"])),
            (names(&["x2", "x0"]), vec![2000.0, 0.0])
        );
        // A name wins over a number.
        let mut source = ramp(2000, 2);
        source.names = names(&["2", "1"]);
        let series = build(&[raw.clone(), ("columns", texts(&["2"]))], source);
        assert_eq!(series.training.values[[0, 0]], 0.0);
    }

    #[test]
    fn bad_values_are_named_by_row_and_column() {
        for (bad, found) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (-1e39, "-1e39")] {
            let mut source = ramp(2000, 2);
            source.values[[41, 1]] = bad;
            refuses(
                &[],
                source.clone(),
                &["test.csv", "row 42", "\"x1\"", found, "finite"],
            );
            // A column that is not used may hold anything.
            build(&[("columns", texts(&["x0"]))], source);
        }
    }

    #[test]
    fn bad_columns_are_refused() {
        refuses(
            &[("columns", texts(&["y"]))],
            ramp(2000, 2),
            &["task.columns", "\"y\"", "x0, x1", "1 to 2"],
        );
        refuses(
            &[("columns", texts(&["3"]))],
            ramp(2000, 2),
            &["task.columns", "\"3\"", "1 to 2"],
        );
        refuses(
            &[("columns", texts(&["0"]))],
            ramp(2000, 2),
            &["task.columns", "\"0\""],
        );
        refuses(
            &[("columns", texts(&["x1", "2"]))],
            ramp(2000, 2),
            &["task.columns", "\"2\" again"],
        );
        refuses(
            &[("columns", texts(&[]))],
            ramp(2000, 2),
            &["task.columns", "empty"],
        );
        refuses(
            &[("columns", texts(&["y"]))],
            ramp(2000, 100),
            &["x11, ...", "1 to 100"],
        );
        refuses(&[], ramp(2000, 0), &["test.csv", "columns"]);
    }

    /// Column 0 of row t is t, column 1 is 1000 + t and so on, so that alignment shows.
    #[test]
    fn the_input_of_a_step_is_the_sample_at_the_time_of_its_target() {
        let changes = [
            ("inputs", texts(&["x2", "1"])),
            ("standardise", Value::Flag(false)),
            ("lags", Value::Integers(vec![-2, 5])),
            ("every", Value::Integer(3)),
            ("window", Value::Integer(30)),
        ];
        let series = build(&changes, ramp(3000, 3));
        assert_eq!(series.input_names(), ["x2", "x0"]);
        assert_eq!(series.output_names(), ["x1_lag_minus_2", "x1_lag_5"]);
        assert_eq!(series.rest_input(), [0.0, 0.0]);
        assert_eq!(series.input_unit(), "a.u.");
        let test = series.recording(Split::HeldOut).unwrap();
        assert!(test.is_driven());
        // Row 0 of the test part is sample 2400 + 2 * 3.
        assert_eq!(test.inputs.row(0).to_vec(), [4406.0, 2406.0]);
        assert_eq!(test.values.row(0).to_vec(), [3400.0, 3421.0]);
        assert_eq!(test.inputs_after(0).row(0), test.inputs.row(1));
        let rows = test.values.nrows();
        assert_eq!(test.inputs_after(0).nrows(), rows - 1);
        assert_eq!(test.inputs_after(rows + 7).nrows(), 0);
        for split in [Split::Training, Split::HeldOut, Split::Long] {
            let trials = series.trials(split, 1, 0, 5);
            assert_eq!(trials.inputs.dim(), (5, trials.steps(), 2));
            for (input, target) in trials.inputs.rows().into_iter().zip(trials.targets.rows()) {
                // The target of lag -2 is 1000 and the time of the row less two samples of three.
                let time = target[0] - 1000.0 + 6.0;
                assert_eq!(input.to_vec(), [2000.0 + time, time]);
            }
        }
    }

    #[test]
    fn inputs_are_standardised_and_left_as_sharp_as_they_are() {
        let mut values = wiggle(2000, 2);
        for (t, mut row) in values.outer_iter_mut().enumerate() {
            row[1] = if t % 50 < 10 { 7.0 } else { 2.0 };
        }
        let changes = [
            ("inputs", texts(&["x1"])),
            ("smoothing", Value::Number(3.0)),
            ("detrend", Value::Number(50.0)),
            ("noise", Value::Number(0.5)),
        ];
        let series = build(&changes, source(values));
        let training = series.recording(Split::Training).unwrap();
        let (low, high) = (training.inputs[[20, 0]], training.inputs[[0, 0]]);
        assert!(training.inputs.iter().all(|x| *x == low || *x == high));
        // A fifth is high: mean 3, standard deviation 5 sqrt(0.2 0.8) = 2.
        assert!((training.input_mean[0] - 3.0).abs() < 1e-12);
        assert!((training.input_standard_deviation[0] - 2.0).abs() < 1e-3);
        assert!((f64::from(high) - 2.0).abs() < 1e-3 && (f64::from(low) + 0.5).abs() < 1e-3);
        // Noise is not for inputs.
        let trials = series.trials(Split::Training, 1, 0, 20);
        assert!(trials.inputs.iter().all(|x| *x == low || *x == high));
        assert_eq!(series.input_unit(), "s.d.");
        assert_eq!(series.part(Split::HeldOut).inputs.nrows(), 400);
    }

    #[test]
    fn bad_inputs_are_refused() {
        refuses(
            &[("inputs", texts(&["y"]))],
            ramp(2000, 2),
            &["task.inputs", "\"y\"", "x0, x1"],
        );
        refuses(
            &[("inputs", texts(&["x0"])), ("columns", texts(&["x1", "1"]))],
            ramp(2000, 2),
            &["task.columns", "\"1\"", "is an input"],
        );
        refuses(
            &[("inputs", texts(&["x0", "x1"]))],
            ramp(2000, 2),
            &["task.inputs", "all 2 columns", "left to predict"],
        );
        let mut source = ramp(2000, 2);
        source.values.column_mut(1).fill(3.0);
        refuses(
            &[("inputs", texts(&["x1"]))],
            source.clone(),
            &["task.standardise", "\"x1\"", "constant", "task.inputs"],
        );
        source.values[[5, 1]] = f64::NAN;
        refuses(&[("inputs", texts(&["x1"]))], source, &["row 6", "\"x1\""]);
    }

    #[test]
    fn a_constant_column_cannot_be_standardised() {
        for smoothing in [0.0, 2.0] {
            let mut source = source(wiggle(2000, 2));
            source.values.slice_mut(s![..1600, 1]).fill(0.1);
            let changes = [("smoothing", Value::Number(smoothing))];
            refuses(
                &changes,
                source.clone(),
                &["task.standardise", "\"x1\"", "test.csv", "constant"],
            );
            build(&[("standardise", Value::Flag(false))], source);
        }
    }

    #[test]
    fn short_recordings_are_refused_at_exactly_one_sample_too_few() {
        let changes = |window, prediction_steps, train_fraction| {
            [
                ("lags", Value::Integers(vec![-1, 4])),
                ("window", Value::Integer(window)),
                ("prediction_steps", Value::Integer(prediction_steps)),
                ("train_fraction", Value::Number(train_fraction)),
            ]
        };
        // 50 samples each: 5 for the lags, 1 for the start, 44 steps, which are 2 * 22.
        let series = build(&changes(44, 22, 0.5), ramp(100, 1));
        assert_eq!(series.trials(Split::Training, 1, 0, 2).steps(), 44);
        assert_eq!(series.trials(Split::Long, 1, 0, 2).steps(), 44);
        refuses(
            &changes(45, 22, 0.5),
            ramp(100, 1),
            &["task.window", "training part", "test.csv", "has 50"],
        );
        refuses(
            &changes(44, 23, 0.5),
            ramp(100, 1),
            &["task.prediction_steps", "test part", "has 50"],
        );
        refuses(
            &changes(10, 5, 0.0),
            ramp(100, 1),
            &["task.window", "has 0"],
        );
        refuses(
            &changes(10, 5, 1.0),
            ramp(100, 1),
            &["task.prediction_steps", "has 0"],
        );
        refuses(&[], ramp(0, 1), &["task.window", "has 0"]);
    }

    #[test]
    fn bad_lags_are_refused() {
        refuses(
            &[("lags", Value::Integers(vec![]))],
            ramp(2000, 1),
            &["task.lags", "[]"],
        );
        refuses(
            &[("lags", Value::Integers(vec![0, 3, 3]))],
            ramp(2000, 1),
            &["task.lags", "[0, 3, 3]", "twice"],
        );
        refuses(
            &[("lags", Value::Integers(vec![0, 1_000_000]))],
            ramp(2000, 1),
            &["task.window", "1000201"],
        );
    }

    #[test]
    fn a_test_part_on_another_scale_is_refused() {
        let mut values = wiggle(2000, 1);
        values.slice_mut(s![..1600, ..]).mapv_inplace(|x| 1e-30 * x);
        values.slice_mut(s![1600.., ..]).mapv_inplace(|x| 1e30 * x);
        refuses(&[], source(values), &["test.csv", "single precision"]);
    }

    #[test]
    fn files_are_read_and_missing_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("two.csv");
        let rows: String = (0..300)
            .map(|t| format!("{t},{}\n", (t * 7) % 11))
            .collect();
        fs::write(&path, format!("time,v\n{rows}")).unwrap();
        let file = path.display().to_string();
        let mut changed = settings(&[
            ("columns", texts(&["v"])),
            ("standardise", Value::Flag(false)),
        ]);
        changed.set("file", Value::Text(file)).unwrap();
        let series = from_settings(&changed).unwrap();
        assert_eq!(series.output_names(), ["v"]);
        assert_eq!(
            series.training.values.column(0).to_vec()[..4],
            [0.0, 7.0, 3.0, 10.0]
        );

        for (file, part) in [
            ("nowhere.npy", "nowhere.npy"),
            ("builtin:nobody", "builtin:mitbih_208"),
        ] {
            changed.set("file", Value::Text(file.to_owned())).unwrap();
            let error = from_settings(&changed).unwrap_err();
            assert!(error.is_bad_input());
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    proptest! {
        /// Whatever is asked of whatever recording: a task or an error, and trials that are rows of
        /// the part.
        #[test]
        fn any_request_gives_a_task_or_an_error(
            samples in 0_usize..60,
            width in 0_usize..3,
            lags in prop::collection::vec(-8_i64..8, 0..3),
            smoothing in prop::sample::select(vec![0.0, 0.1, 3.0, 1000.0]),
            standardise: bool,
            train_fraction in 0.0..=1.0,
            window in 1_i64..20,
            prediction_steps in 1_i64..10,
        ) {
            let changes = [
                ("lags", Value::Integers(lags)),
                ("smoothing", Value::Number(smoothing)),
                ("standardise", Value::Flag(standardise)),
                ("train_fraction", Value::Number(train_fraction)),
                ("window", Value::Integer(window)),
                ("prediction_steps", Value::Integer(prediction_steps)),
            ];
            let Ok(series) = from_source(&settings(&changes), source(wiggle(samples, width))) else {
                return Ok(());
            };
            for split in [Split::Training, Split::HeldOut, Split::Long] {
                let rows: Vec<Vec<f32>> = series.part(split).values.outer_iter().map(|row| row.to_vec()).collect();
                let trials = series.trials(split, 1, 0, 3);
                let initial = trials.initial.unwrap();
                for (initial, target) in initial.outer_iter().zip(trials.targets.outer_iter()) {
                    let trial: Vec<Vec<f32>> = std::iter::once(initial.to_vec())
                        .chain(target.outer_iter().map(|row| row.to_vec()))
                        .collect();
                    prop_assert!(rows.windows(trial.len()).any(|window| window == trial));
                }
            }
        }
    }
}
