//! How gradients grow through time in every network, forced along the data it was trained on, and how much forcing would
//! bound them.

use super::{AnalysisKind, Context, TableDoc, failed};
use crate::results::TRAINING;
use crate::session::Outcome;
use ndarray::{Array2, ArrayView2, s};
use nullcline_analysis::free_run::RunInput;
use nullcline_analysis::gradient_growth::{
    Forcing, Stretch, alpha_for, bounding_alpha, gradient_growths, growth_range, rate_range,
};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_models::adaptive_forcing::{Estimator, kappa};
use nullcline_models::architecture::Architecture;
use nullcline_models::engine;
use nullcline_models::network::Network;
use nullcline_tables::Table;
use nullcline_tasks::Split;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "gradient_growth",
    summary: "growth of gradients through time under generalized teacher forcing of several strengths, and the strength that bounds them",
    by_default: false,
    keys: &[
        Key {
            name: "alpha",
            kind: Kind::Numbers { min: 0.0, max: 1.0 },
            default: Preset::Numbers(&[0.0, 0.005, 0.01, 0.02, 0.03, 0.05]),
            unit: "",
            doc: "Strengths of the forcing; the one that the network was trained with is added.",
        },
        Key {
            name: "steps",
            kind: Kind::Integer {
                min: 1,
                max: 10_000_000,
            },
            default: Preset::Integer(1500),
            unit: "steps",
            doc: "Steps that gradients are followed through; fewer where the data are shorter.",
        },
        Key {
            name: "starts",
            kind: Kind::Integer {
                min: 1,
                max: 100_000,
            },
            default: Preset::Integer(8),
            unit: "",
            doc: "Places in the training data to start from, evenly spaced.",
        },
    ],
    tables: &[
        TableDoc {
            name: "gradient_growth",
            rows: "a row for some of the times under every strength of every network",
            columns: &[
                ("network", "the network, from 0"),
                ("alpha", "strength of the forcing"),
                ("trained", "whether the network was trained with it"),
                ("time", "t, in steps, from 1"),
                (
                    "log10_norm",
                    "log10 |dz_t/dz_1| in the spectral norm, the median over starts; minus infinity where nothing is left",
                ),
                ("log10_norm_low", "the least over starts"),
                ("log10_norm_high", "the largest over starts"),
                (
                    "starts",
                    "starts from which the network was still finite at t",
                ),
            ],
        },
        TableDoc {
            name: "gradient_growth_rates",
            rows: "a row for every strength of every network",
            columns: &[
                ("network", "the network, from 0"),
                ("alpha", "strength of the forcing"),
                ("trained", "whether the network was trained with it"),
                (
                    "largest_singular_value",
                    "of any Jacobian that was met under it",
                ),
                (
                    "log10_growth",
                    "logarithm of the geometric mean of a step's growth over the whole time, the median over starts",
                ),
                ("log10_growth_low", "the least over starts"),
                ("log10_growth_high", "the largest over starts"),
            ],
        },
        TableDoc {
            name: "gradient_growth_bounds",
            rows: "a row for every network and every way to choose the strength of the forcing",
            columns: &[
                ("network", "the network, from 0"),
                (
                    "estimate",
                    "largest_singular_value: of any Jacobian met at the data, under the alpha that follows from it, and on the way to that; the others are what adaptive forcing takes in its place (key training.alpha_estimator), here from a batch of training trials",
                ),
                ("kappa", "what is found"),
                (
                    "alpha",
                    "1 - 1 / kappa, at least 0; that of the largest singular value bounds gradients where every unit is forced",
                ),
                (
                    "settled",
                    "whether no larger singular value is met under that alpha itself; empty for the others",
                ),
                ("forced", "state variables that the forcing acts on"),
                ("states", "state variables there are"),
            ],
        },
    ],
    applies: |task, _| task.recording(Split::Training).is_some(),
    needs: &[],
    run,
};

/// About how many times of a curve are kept.
const POINTS: usize = 500;

fn run(context: &mut Context) -> Outcome<()> {
    let Some(recording) = context.task.recording(Split::Training) else {
        return Ok(());
    };
    let architecture = context.ensemble.architecture.clone();
    let forced = forced_variables(context.objective.forcing, &architecture);
    let rows = recording.values.nrows();
    let length = context.settings.count("steps").saturating_add(1).min(rows);
    let count = context.settings.count("starts");
    let first_rows: Vec<usize> = (0..count)
        .map(|k| (rows - length) * k / (count - 1).max(1))
        .collect();
    // Row t enters the step that begins at t.
    let inputs: Vec<Array2<f64>> = first_rows
        .iter()
        .map(|&first| {
            let after = recording.inputs_after(first);
            after.slice(s![..length - 1, ..]).mapv(f64::from)
        })
        .collect();
    let rest = context.task.rest_input();
    let mut curves = Curves::default();
    let mut rates = Rates::default();
    let mut bounds = Bounds::default();
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let implied: Vec<Array2<f64>> = first_rows
            .iter()
            .map(|&first| {
                let rows = recording.values.slice(s![first..first + length, ..]);
                implied_states(&map, rows)
            })
            .collect();
        let stretches: Vec<Stretch> = implied
            .iter()
            .zip(&inputs)
            .map(|(states, inputs)| Stretch {
                states: states.view(),
                inputs: match recording.is_driven() {
                    true => RunInput::Sequence(inputs.view()),
                    false => RunInput::Constant(&rest),
                },
            })
            .collect();
        let trained = trained_alpha(context, network);
        let mut strengths = context.settings.numbers("alpha").to_vec();
        strengths.extend(trained);
        strengths.sort_by(f64::total_cmp);
        strengths.dedup();
        let mut watch = context.watch(network);
        let parts = strengths.len() as f64 + 1.0;
        for (k, &alpha) in strengths.iter().enumerate() {
            if !watch(k as f64 / parts) {
                return Err(failed("gradients", nullcline_analysis::Error::Stopped));
            }
            let forcing = Forcing {
                forced: &forced,
                alpha,
            };
            let growths = gradient_growths(&map, &stretches, &forcing)
                .map_err(|error| failed("gradients through time", error))?;
            let range = growth_range(&growths);
            let is_trained = trained == Some(alpha);
            let every = (range.median.len() / POINTS).max(1);
            let last = range.median.len().saturating_sub(1);
            for t in (0..range.median.len()).filter(|t| t % every == 0 || *t == last) {
                curves.network.push(network as u64);
                curves.alpha.push(alpha);
                curves.trained.push(is_trained);
                curves.time.push(t as u64 + 1);
                curves.norm.push(range.median[t]);
                curves.low.push(range.low[t]);
                curves.high.push(range.high[t]);
                curves.starts.push(range.count[t] as u64);
            }
            let largest = growths.iter().map(|growth| growth.largest_singular_value);
            let [low, median, high] = rate_range(&growths);
            rates.network.push(network as u64);
            rates.alpha.push(alpha);
            rates.trained.push(is_trained);
            rates.largest.push(largest.fold(0.0, f64::max));
            rates.growth.push(median);
            rates.low.push(low);
            rates.high.push(high);
        }
        let star = bounding_alpha(&map, &stretches, &forced, &mut |done| {
            watch((parts - 1.0 + done) / parts)
        })
        .map_err(|error| failed("gradients through time", error))?;
        drop(watch);
        let mut estimates = vec![("largest_singular_value", star.sigma, Some(star.settled))];
        let batch = context.experiment.training.count("batch");
        let seed = context.seed(network);
        let trials = context.task.trials(Split::Training, seed, 0, batch);
        for name in Estimator::NAMES {
            let Some(estimator) = Estimator::from_name(name) else {
                continue;
            };
            // Only the weights of a PLRNN bound its Jacobians.
            if estimator == Estimator::JacobianUpperBound && !architecture.cell.shape().has_hidden {
                continue;
            }
            let parameters = &context.ensemble.parameters[network];
            let found = kappa(estimator, &architecture, parameters, &trials);
            estimates.push((*name, found, None));
        }
        let acted_on = forced.iter().filter(|forced| **forced).count();
        for (estimate, kappa, settled) in estimates {
            bounds.network.push(network as u64);
            bounds.estimate.push(estimate);
            bounds.kappa.push(kappa);
            bounds.alpha.push(alpha_for(kappa));
            bounds.settled.push(settled);
            bounds.forced.push(acted_on as u64);
            bounds.states.push(forced.len() as u64);
        }
    }
    let mut table = Table::new();
    table.add("network", "", curves.network)?;
    table.add("alpha", "", curves.alpha)?;
    table.add("trained", "", curves.trained)?;
    table.add("time", "steps", curves.time)?;
    table.add("log10_norm", "", curves.norm)?;
    table.add("log10_norm_low", "", curves.low)?;
    table.add("log10_norm_high", "", curves.high)?;
    table.add("starts", "", curves.starts)?;
    context.add_table("gradient_growth", table);
    let mut table = Table::new();
    table.add("network", "", rates.network)?;
    table.add("alpha", "", rates.alpha)?;
    table.add("trained", "", rates.trained)?;
    table.add("largest_singular_value", "", rates.largest)?;
    table.add("log10_growth", "1/step", rates.growth)?;
    table.add("log10_growth_low", "1/step", rates.low)?;
    table.add("log10_growth_high", "1/step", rates.high)?;
    context.add_table("gradient_growth_rates", table);
    let mut table = Table::new();
    table.add("network", "", bounds.network)?;
    table.add("estimate", "", bounds.estimate)?;
    table.add("kappa", "", bounds.kappa)?;
    table.add("alpha", "", bounds.alpha)?;
    table.add("settled", "", bounds.settled)?;
    table.add("forced", "", bounds.forced)?;
    table.add("states", "", bounds.states)?;
    context.add_table("gradient_growth_bounds", table);
    Ok(())
}

/// Which state variables the forcing of training acts on, and generalized forcing where there was none: units that the
/// observation implies, and of each unit the first variable.
fn forced_variables(trained: Option<engine::Forcing>, architecture: &Architecture) -> Vec<bool> {
    let forcing = trained.unwrap_or(engine::Forcing::generalized(0.0));
    let forced = forcing.forced_units(architecture);
    (0..architecture.state_dim()).map(|i| i < forced).collect()
}

/// The states `[time, state]` that observations `[time, output]` imply.
fn implied_states(map: &Network, observations: ArrayView2<f32>) -> Array2<f64> {
    let mut states = Array2::zeros((observations.nrows(), map.state_dim()));
    for (observation, mut row) in observations.rows().into_iter().zip(states.rows_mut()) {
        let state = map.state_from_observation(&observation.mapv(f64::from).to_vec());
        row.iter_mut().zip(state).for_each(|(to, x)| *to = x);
    }
    states
}

/// The strength of the forcing that a network was trained with: that of the experiment, or, of adaptive forcing, the last
/// one that training noted; `None` without generalized teacher forcing.
fn trained_alpha(context: &Context, network: usize) -> Option<f64> {
    let training = &context.experiment.training;
    if training.text("method") != "gtf" {
        return None;
    }
    if training.text("alpha_estimator") == "constant" {
        return Some(training.number("alpha"));
    }
    let noted = || -> Option<f64> {
        let table = context.results.table(TRAINING)?;
        table.column("alpha")?;
        let networks = table.u64_column("network").ok()?;
        let alphas = table.f64_column("alpha").ok()?;
        let own = networks.iter().zip(alphas).rev();
        own.filter(|(of, alpha)| **of == network as u64 && alpha.is_finite())
            .map(|(_, alpha)| alpha)
            .next()
    };
    Some(noted().unwrap_or_else(|| training.number("alpha")))
}

/// The columns of the curves.
#[derive(Default)]
struct Curves {
    network: Vec<u64>,
    alpha: Vec<f64>,
    trained: Vec<bool>,
    time: Vec<u64>,
    norm: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
    starts: Vec<u64>,
}

/// The columns of the rates.
#[derive(Default)]
struct Rates {
    network: Vec<u64>,
    alpha: Vec<f64>,
    trained: Vec<bool>,
    largest: Vec<f64>,
    growth: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
}

/// The columns of the bounds.
#[derive(Default)]
struct Bounds {
    network: Vec<u64>,
    estimate: Vec<&'static str>,
    kappa: Vec<f64>,
    alpha: Vec<f64>,
    settled: Vec<Option<bool>>,
    forced: Vec<u64>,
    states: Vec<u64>,
}
