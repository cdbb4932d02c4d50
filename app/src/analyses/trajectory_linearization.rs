//! The linear dynamics along a few held-out trials: how the spectrum moves while inputs come in.

use super::fixed_points::kept_points;
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array2, Axis, s};
use nullcline_analysis::trajectory_linearization::{linearize_trajectory, nearest_points};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;
use nullcline_tasks::Split;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "trajectory_linearization",
    summary: "eigenvalues along a few held-out trials, followed from step to step, with the spectral radius and non-normality at each",
    by_default: true,
    keys: &[
        Key {
            name: "trials",
            kind: Kind::Integer { min: 1, max: 1000 },
            default: Preset::Integer(1),
            unit: "trials",
            doc: "Held-out trials of double length, the first of those in trials.",
        },
        Key {
            name: "stride",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(1),
            unit: "steps",
            doc: "Steps from one Jacobian to the next; eigenvalues are followed the better the fewer.",
        },
    ],
    tables: &[
        TableDoc {
            name: "trajectory_linearization",
            rows: "a row for every step at which the Jacobian J = dF/dx was taken, as far as the state is finite",
            columns: &[
                ("network", "the network, from 0"),
                ("trial", "the trial, from 0"),
                ("step", "the step, from 0; J is that of the state before it"),
                (
                    "input_*",
                    "the input of this channel, under which J was taken",
                ),
                ("output_*", "this output after the step"),
                ("spectral_radius", "modulus of the largest eigenvalue"),
                (
                    "n_unstable",
                    "eigenvalues beyond the unit circle; off fixed points they do not prove growth",
                ),
                (
                    "largest_singular_value",
                    "|J|_2, by how much this step stretches at most",
                ),
                (
                    "henrici",
                    "Henrici's departure from normality, 0 for normal J, at most 1",
                ),
                (
                    "nearest_fixed_point",
                    "id of the fixed point nearest to the state; empty where there is none",
                ),
                ("distance", "Euclidean distance to it"),
            ],
        },
        TableDoc {
            name: "trajectory_linearization_modes",
            rows: "a row for every eigenvalue at every such step",
            columns: &[
                ("network", "the network, from 0"),
                ("trial", "the trial, from 0"),
                ("step", "the step, from 0"),
                (
                    "index",
                    "the mode, from 0, the same at all steps of a trial; at the first by modulus falling",
                ),
                ("re", "real part of the eigenvalue lambda"),
                ("im", "imaginary part"),
                ("modulus", "|lambda|"),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &[],
    run,
};

fn run(context: &mut Context) -> Outcome<()> {
    let (count, stride) = (
        context.settings.count("trials"),
        context.settings.count("stride"),
    );
    let dim = context.ensemble.architecture.state_dim();
    // Whether fixed points were looked for is the user's choice; the distance to them is an extra.
    let points = match context.results.table("fixed_points") {
        Some(table) => kept_points(table)?,
        None => Vec::new(),
    };
    let (inputs, outputs) = (context.task.input_names(), context.task.output_names());
    let mut signals: Vec<(String, Vec<f64>)> = inputs
        .iter()
        .map(|name| format!("input_{name}"))
        .chain(outputs.iter().map(|name| format!("output_{name}")))
        .map(|name| (name, Vec::new()))
        .collect();
    let (mut network_column, mut trial_column, mut step_column) =
        (Vec::new(), Vec::new(), Vec::new());
    let (mut radii, mut unstable) = (Vec::new(), Vec::new());
    let (mut stretches, mut departures) = (Vec::new(), Vec::new());
    let (mut nearest, mut distances) = (Vec::new(), Vec::new());
    let mut modes = Modes::default();
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        // The seed, split and index of `trials`, so that both show the same ones.
        let trials = context
            .task
            .trials(Split::Long, context.seed(network), 2, count);
        let response = context.respond(network, &trials)?;
        let fixed: Vec<_> = points
            .iter()
            .filter(|point| point.network == network as u64 && point.verdict == "fixed")
            .filter(|point| point.state.len() == dim)
            .collect();
        let places = Array2::from_shape_fn((fixed.len(), dim), |(k, i)| fixed[k].state[i]);
        let mut watch = context.watch(network);
        for trial in 0..count {
            let states = response.states.index_axis(Axis(0), trial).mapv(f64::from);
            let driven = trials.inputs.index_axis(Axis(0), trial).mapv(f64::from);
            // A step begins at every state but the last.
            let finite = states
                .rows()
                .into_iter()
                .take(trials.steps())
                .take_while(|state| state.iter().all(|x| x.is_finite()))
                .count();
            let states = states.slice(s![..finite;stride, ..]);
            let along = linearize_trajectory(
                &map,
                states,
                driven.slice(s![..finite;stride, ..]),
                &mut |done| watch((trial as f64 + done) / count as f64),
            )
            .map_err(|error| failed("linearization along a trajectory", error))?;
            let near = nearest_points(states, places.view())
                .map_err(|error| failed("distance to the fixed points", error))?;
            for (t, near) in near.into_iter().enumerate() {
                let step = t * stride;
                network_column.push(network as u64);
                trial_column.push(trial as u64);
                step_column.push(step as u64);
                let values = (0..inputs.len())
                    .map(|i| trials.inputs[[trial, step, i]])
                    .chain((0..outputs.len()).map(|o| response.outputs[[trial, step, o]]));
                for ((_, column), value) in signals.iter_mut().zip(values) {
                    column.push(f64::from(value));
                }
                radii.push(along.spectral_radii[t]);
                unstable.push(along.n_unstable[t]);
                stretches.push(along.largest_singular_values[t]);
                departures.push(along.henrici[t]);
                nearest.push(near.map(|(k, _)| fixed[k].id));
                distances.push(near.map(|(_, distance)| distance));
                for (mode, lambda) in along.eigenvalues.row(t).iter().enumerate() {
                    modes.keys[0].push(network as u64);
                    modes.keys[1].push(trial as u64);
                    modes.keys[2].push(step as u64);
                    modes.keys[3].push(mode as u64);
                    modes.values[0].push(lambda.re);
                    modes.values[1].push(lambda.im);
                    modes.values[2].push(lambda.norm());
                }
            }
        }
    }
    let mut table = Table::new();
    table.add("network", "", network_column)?;
    table.add("trial", "", trial_column)?;
    table.add("step", "steps", step_column)?;
    for (name, column) in signals {
        let unit = match name.starts_with("input_") {
            true => context.task.input_unit(),
            false => context.task.output_unit(),
        };
        table.add(&name, unit, column)?;
    }
    table.add("spectral_radius", "", radii)?;
    table.add("n_unstable", "", unstable)?;
    table.add("largest_singular_value", "", stretches)?;
    table.add("henrici", "", departures)?;
    table.add("nearest_fixed_point", "", nearest)?;
    table.add("distance", "", distances)?;
    context.add_table("trajectory_linearization", table);
    context.add_table("trajectory_linearization_modes", modes.table()?);
    Ok(())
}

/// The columns of `trajectory_linearization_modes`.
#[derive(Default)]
struct Modes {
    keys: [Vec<u64>; 4],
    values: [Vec<f64>; 3],
}

impl Modes {
    fn table(self) -> nullcline_data::Result<Table> {
        let mut table = Table::new();
        for (name, column) in ["network", "trial", "step", "index"].iter().zip(self.keys) {
            let unit = if *name == "step" { "steps" } else { "" };
            table.add(name, unit, column)?;
        }
        for (name, column) in ["re", "im", "modulus"].iter().zip(self.values) {
            table.add(name, "", column)?;
        }
        Ok(table)
    }
}
