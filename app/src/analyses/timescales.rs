//! For how long the units of every network remember their own activity, on held-out trials.

use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView3, Axis, s};
use nullcline_analysis::timescales::{
    Centre, ExponentialFit, Shape, Timescale, TimescaleSettings, timescales,
};
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;
use nullcline_tasks::Split;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "timescales",
    summary: "timescales of the units, from exponentials fitted to their autocorrelations, with intervals of confidence",
    by_default: true,
    keys: &[
        Key {
            name: "trials",
            kind: Kind::Integer {
                min: 1,
                max: 100_000,
            },
            default: Preset::Integer(64),
            unit: "trials",
            doc: "Held-out trials of double length whose states are taken.",
        },
        Key {
            name: "discard",
            kind: Kind::Integer {
                min: 0,
                max: 1_000_000,
            },
            default: Preset::Integer(20),
            unit: "steps",
            doc: "Steps left out at the beginning of each trial, but no more than a quarter of it.",
        },
        Key {
            name: "mean",
            kind: Kind::Choice(&["trial", "all"]),
            default: Preset::Text("trial"),
            unit: "",
            doc: "What is taken off: from each trial its own mean, or from all the mean of all. Short trials make \
                  timescales too short with \"trial\"; with \"all\" what differs between trials counts as slow.",
        },
        Key {
            name: "lags",
            kind: Kind::Integer {
                min: 4,
                max: 100_000,
            },
            default: Preset::Integer(30),
            unit: "steps",
            doc: "Largest lag of the fits.",
        },
        Key {
            name: "kept_lags",
            kind: Kind::Integer {
                min: 4,
                max: 100_000,
            },
            default: Preset::Integer(100),
            unit: "steps",
            doc: "Largest lag of the autocorrelations that are kept, but no more than half a trial.",
        },
        Key {
            name: "largest",
            kind: Kind::Number {
                min: 1e-3,
                max: 1e9,
            },
            default: Preset::Number(100.0),
            unit: "steps",
            doc: "Upper bound of the timescales in the fits.",
        },
        Key {
            name: "bootstrap",
            kind: Kind::Integer {
                min: 0,
                max: 100_000,
            },
            default: Preset::Integer(200),
            unit: "",
            doc: "Resamplings for the intervals of confidence; 0: no intervals.",
        },
        Key {
            name: "confidence",
            kind: Kind::Number {
                min: 0.01,
                max: 0.9999,
            },
            default: Preset::Number(0.95),
            unit: "",
            doc: "Probability with which an interval holds the timescale.",
        },
    ],
    tables: &[
        TableDoc {
            name: "timescales",
            rows: "a row for every state variable of every unit, and one for the whole state, of every network",
            columns: &[
                ("network", "the network, from 0"),
                (
                    "unit",
                    "the unit, from 0; empty for the whole state, whose autocovariance is the sum of all",
                ),
                (
                    "variable",
                    "state variable of the unit, from 0: of an LSTM first the hidden, then the cell state",
                ),
                (
                    "tau",
                    "timescale of the model chosen: T, or T2; empty where the unit does not fluctuate",
                ),
                (
                    "model",
                    "single: a exp(-l / T); double: a [c exp(-l / T1) + (1 - c) exp(-l / T2)]; none: neither is better",
                ),
                ("a", "amplitude of the model chosen"),
                ("c", "weight of T1, of a double one"),
                ("t1", "T, or the smaller of the two timescales"),
                ("t2", "the larger of the two, of a double one"),
                (
                    "aic_single",
                    "Akaike's criterion 2 k + n ln(RSS / n) of the single model",
                ),
                ("aic_double", "of the double one; the smaller is chosen"),
                (
                    "model_validated",
                    "the model chosen by cross-validation: single, or double where it predicts other pieces better; \
                     empty where there are fewer than 10 trials or pieces of trials",
                ),
                ("tau_validated", "timescale of this model"),
                (
                    "tau_low",
                    "lower end of the interval of confidence of tau_validated",
                ),
                ("tau_high", "upper end"),
                (
                    "leak_time_constant",
                    "1 / leak of the unit, in steps, where its cell has a leak",
                ),
            ],
        },
        TableDoc {
            name: "timescales.npz",
            rows: "the autocorrelations",
            columns: &[
                (
                    "autocorrelation",
                    "[network, state, lag] of each state variable, NaN where it does not fluctuate",
                ),
                ("population", "[network, lag] of the whole state"),
                ("fitted_lags", "[1] the largest lag of the fits"),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &[],
    run,
};

/// Trials of this analysis among the held-out ones.
const TRIALS: u64 = 11;
/// The random numbers of this analysis among those of the starts.
const RESAMPLING: u64 = 11;

fn run(context: &mut Context) -> Outcome<()> {
    let settings = TimescaleSettings {
        centre: match context.settings.text("mean") {
            "all" => Centre::Common,
            _ => Centre::Trial,
        },
        lags: context.settings.count("kept_lags"),
        fitted_lags: context.settings.count("lags"),
        largest: context.settings.number("largest"),
        bootstrap: context.settings.count("bootstrap"),
        confidence: context.settings.number("confidence"),
    };
    let networks = context.ensemble.len();
    let units = context.ensemble.architecture.units;
    let dim = context.ensemble.architecture.state_dim();
    let leak = context.ensemble.architecture.tensor("leak");
    let mut rows = Vec::new();
    let mut kept: Option<Kept> = None;
    for network in 0..networks {
        context.control.check()?;
        let seed = context.seed(network);
        let count = context.settings.count("trials");
        let trials = context.task.trials(Split::Long, seed, TRIALS, count);
        let states = context.respond(network, &trials)?.states;
        // Time 0 is the network's initial state, the same on every trial.
        let first = 1 + context.settings.count("discard").min(trials.steps() / 4);
        let states = states.slice(s![.., first.., ..]).mapv(f64::from);
        let settings = TimescaleSettings {
            lags: settings.lags.min(states.len_of(Axis(1)) / 2),
            ..settings.clone()
        };
        let (signals, population) = if states.iter().all(|x| x.is_finite()) {
            measure(context, network, states.view(), &settings)?
        } else {
            // A network that leaves the finite numbers has no timescales, which is a result.
            (vec![None; dim], None)
        };
        let kept = kept.get_or_insert_with(|| Kept {
            states: Array3::from_elem((networks, dim, settings.lags + 1), f64::NAN),
            population: Array2::from_elem((networks, settings.lags + 1), f64::NAN),
            fitted: settings.fitted_lags.min(settings.lags),
        });
        for (i, timescale) in signals.into_iter().enumerate() {
            if let Some(timescale) = &timescale {
                let values = ArrayView1::from(&timescale.autocorrelation);
                kept.states.slice_mut(s![network, i, ..]).assign(&values);
            }
            let leak = leak
                .as_ref()
                .and_then(|leak| leak.range.clone().nth(i % units))
                .map(|place| f64::from(context.ensemble.parameters[network][place]));
            rows.push(Row {
                network,
                unit: Some((i % units) as u64),
                variable: Some((i / units) as u64),
                timescale,
                leak_time_constant: leak.map(|leak| 1.0 / leak),
            });
        }
        if let Some(timescale) = &population {
            let values = ArrayView1::from(&timescale.autocorrelation);
            kept.population.row_mut(network).assign(&values);
        }
        rows.push(Row {
            network,
            unit: None,
            variable: None,
            timescale: population,
            leak_time_constant: None,
        });
    }
    context.add_table("timescales", table(&rows)?);
    if let Some(kept) = kept {
        let fitted = Array1::from_elem(1, kept.fitted as f64);
        context.add_arrays(
            "timescales",
            vec![
                // [network, state, lag]
                ("autocorrelation".into(), kept.states.into_dyn()),
                ("population".into(), kept.population.into_dyn()),
                ("fitted_lags".into(), fitted.into_dyn()),
            ],
        );
    }
    Ok(())
}

/// The autocorrelations that are kept.
struct Kept {
    states: Array3<f64>,
    population: Array2<f64>,
    fitted: usize,
}

/// Those of the state variables, and that of the whole state.
type Measured = (Vec<Option<Timescale>>, Option<Timescale>);

fn measure(
    context: &mut Context,
    network: usize,
    states: ArrayView3<f64>,
    settings: &TimescaleSettings,
) -> Outcome<Measured> {
    let mut random = Random::new(context.seed(network), Stream::STARTS, RESAMPLING);
    let watch = &mut context.watch(network);
    let found = timescales(states, settings, &mut random, watch)
        .map_err(|error| failed("timescales", error))?;
    Ok((found.signals, found.population))
}

struct Row {
    network: usize,
    unit: Option<u64>,
    variable: Option<u64>,
    timescale: Option<Timescale>,
    leak_time_constant: Option<f64>,
}

fn table(rows: &[Row]) -> nullcline_data::Result<Table> {
    let chosen =
        |row: &Row| -> Option<ExponentialFit> { row.timescale.as_ref()?.fits.chosen().copied() };
    let numbers = |of: &dyn Fn(&Row) -> Option<f64>| rows.iter().map(of).collect::<Vec<_>>();
    let double = |row: &Row| match chosen(row)?.shape {
        Shape::Double { weight, fast, slow } => Some((weight, fast, slow)),
        Shape::Single { .. } => None,
    };
    let validated = |row: &Row| row.timescale.as_ref()?.validated;
    let interval = |row: &Row| validated(row)?.interval;
    let mut table = Table::new();
    table.add(
        "network",
        "",
        rows.iter().map(|r| r.network as u64).collect::<Vec<_>>(),
    )?;
    table.add("unit", "", rows.iter().map(|r| r.unit).collect::<Vec<_>>())?;
    table.add(
        "variable",
        "",
        rows.iter().map(|r| r.variable).collect::<Vec<_>>(),
    )?;
    table.add("tau", "steps", numbers(&|r| Some(chosen(r)?.timescale())))?;
    let model = |row: &Row| chosen(row).map_or("none", |fit| fit.shape.form().name());
    table.add("model", "", rows.iter().map(model).collect::<Vec<_>>())?;
    table.add("a", "", numbers(&|r| Some(chosen(r)?.amplitude)))?;
    table.add("c", "", numbers(&|r| Some(double(r)?.0)))?;
    let smaller = |row: &Row| match chosen(row)?.shape {
        Shape::Single { timescale } => Some(timescale),
        Shape::Double { fast, .. } => Some(fast),
    };
    table.add("t1", "steps", numbers(&smaller))?;
    table.add("t2", "steps", numbers(&|r| Some(double(r)?.2)))?;
    let single_aic = |row: &Row| Some(row.timescale.as_ref()?.fits.single?.aic);
    let double_aic = |row: &Row| Some(row.timescale.as_ref()?.fits.double?.aic);
    table.add("aic_single", "", numbers(&single_aic))?;
    table.add("aic_double", "", numbers(&double_aic))?;
    let form = |row: &Row| Some(validated(row)?.form.name());
    let forms: Vec<Option<&str>> = rows.iter().map(form).collect();
    table.add("model_validated", "", forms)?;
    let timescale = |row: &Row| Some(validated(row)?.timescale);
    table.add("tau_validated", "steps", numbers(&timescale))?;
    table.add("tau_low", "steps", numbers(&|r| Some(interval(r)?[0])))?;
    table.add("tau_high", "steps", numbers(&|r| Some(interval(r)?[1])))?;
    table.add(
        "leak_time_constant",
        "steps",
        numbers(&|r| r.leak_time_constant),
    )?;
    Ok(table)
}
