//! A few held-out trials, step by step: what went in, what was wanted, what came out.

use super::{AnalysisKind, Context, TableDoc};
use crate::session::Outcome;
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;
use nullcline_tasks::Split;

pub const KIND: AnalysisKind = AnalysisKind {
    name: "trials",
    summary: "inputs, targets and outputs of a few held-out trials of double length",
    by_default: true,
    keys: &[Key {
        name: "count",
        kind: Kind::Integer { min: 1, max: 1000 },
        default: Preset::Integer(4),
        unit: "trials",
        doc: "Trials to keep of each network.",
    }],
    tables: &[TableDoc {
        name: "trials",
        rows: "a row for every step of every trial kept of every network",
        columns: &[
            ("network", "the network, from 0"),
            ("trial", "the trial, from 0"),
            ("step", "the step, from 0"),
            ("input_*", "the input of this channel"),
            ("target_*", "what this output should be"),
            ("output_*", "what it is"),
        ],
    }],
    applies: |task, _| task.kind() != "noise",
    needs: &[],
    run,
};

fn run(context: &mut Context) -> Outcome<()> {
    let count = context.settings.count("count");
    let inputs = context.task.input_names();
    let outputs = context.task.output_names();
    let (mut network_column, mut trial_column, mut step_column) =
        (Vec::new(), Vec::new(), Vec::new());
    let mut columns: Vec<(String, Vec<f64>)> = inputs
        .iter()
        .map(|name| format!("input_{name}"))
        .chain(outputs.iter().map(|name| format!("target_{name}")))
        .chain(outputs.iter().map(|name| format!("output_{name}")))
        .map(|name| (name, Vec::new()))
        .collect();
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let trials = context
            .task
            .trials(Split::Long, context.seed(network), 2, count);
        let response = context.respond(network, &trials)?;
        for trial in 0..count {
            for step in 0..trials.steps() {
                network_column.push(network as u64);
                trial_column.push(trial as u64);
                step_column.push(step as u64);
                let values = (0..inputs.len())
                    .map(|i| trials.inputs[[trial, step, i]])
                    .chain((0..outputs.len()).map(|o| trials.targets[[trial, step, o]]))
                    .chain((0..outputs.len()).map(|o| response.outputs[[trial, step, o]]));
                for ((_, column), value) in columns.iter_mut().zip(values) {
                    column.push(f64::from(value));
                }
            }
        }
    }
    let mut table = Table::new();
    table.add("network", "", network_column)?;
    table.add("trial", "", trial_column)?;
    table.add("step", "steps", step_column)?;
    for (name, column) in columns {
        let unit = if name.starts_with("input_") {
            context.task.input_unit()
        } else {
            context.task.output_unit()
        };
        table.add(&name, unit, column)?;
    }
    context.add_table("trials", table);
    Ok(())
}
