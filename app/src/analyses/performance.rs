//! How well the trained networks do their task, on held-out trials and on trials of double length.

use super::{AnalysisKind, Context, TableDoc};
use crate::session::Outcome;
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;
use nullcline_tasks::Split;

pub const KIND: AnalysisKind = AnalysisKind {
    name: "performance",
    summary: "loss and the task's metrics on held-out trials and on trials of double length",
    by_default: true,
    keys: &[Key {
        name: "trials",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        default: Preset::Integer(256),
        unit: "trials",
        doc: "Trials of each sort.",
    }],
    tables: &[TableDoc {
        name: "performance",
        rows: "a row for every network and sort of trials",
        columns: &[
            ("network", "the network, from 0"),
            ("split", "held_out, or long: trials of double length"),
            ("loss", "the loss of training, without its penalties"),
            ("*", "the task's own measures, such as accuracy"),
        ],
    }],
    applies: |task, _| task.kind() != "noise",
    needs: &[],
    run,
};

fn run(context: &mut Context) -> Outcome<()> {
    let (mut networks, mut splits, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    let names = context.task.metric_names();
    let mut metrics: Vec<Vec<f64>> = vec![Vec::new(); names.len()];
    for network in 0..context.ensemble.len() {
        for (split, name) in [(Split::HeldOut, "held_out"), (Split::Long, "long")] {
            context.control.check()?;
            // Index 1: not the trials that training was stopped by.
            let trials = context.task.trials(
                split,
                context.seed(network),
                1,
                context.settings.count("trials"),
            );
            let response = context.respond(network, &trials)?;
            networks.push(network as u64);
            splits.push(name);
            losses.push(response.loss);
            for (column, (_, value)) in metrics
                .iter_mut()
                .zip(context.task.metrics(response.outputs.view(), &trials))
            {
                column.push(value);
            }
        }
    }
    let mut table = Table::new();
    table.add("network", "", networks)?;
    table.add("split", "", splits)?;
    table.add("loss", "", losses)?;
    for (name, column) in names.iter().zip(metrics) {
        table.add(name, "", column)?;
    }
    context.add_table("performance", table);
    Ok(())
}
