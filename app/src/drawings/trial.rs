//! One held-out trial: a row per output with its input, target and output.

use super::{FigureKind, channel_label, pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Series};

pub const KIND: FigureKind = FigureKind {
    name: "trial",
    summary: "inputs, targets and outputs of one held-out trial",
    needs: &["trials"],
    build,
};

/// Rows beyond this many would be too thin to read.
const MOST_ROWS: usize = 6;

fn build(results: &Results) -> Result<Option<Figure>> {
    let Some(table) = results.table("trials") else {
        return Ok(None);
    };
    let trials = table.u64_column("trial")?;
    let rows: Vec<usize> = rows_of_network(table, shown_network(results))?
        .into_iter()
        .filter(|&i| trials[i] == 0)
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let names = |prefix: &str| -> Vec<(String, String)> {
        table
            .columns()
            .iter()
            .filter(|column| column.name.starts_with(prefix))
            .map(|column| (column.name.clone(), column.name[prefix.len()..].to_owned()))
            .collect()
    };
    let (inputs, targets, outputs) = (names("input_"), names("target_"), names("output_"));
    let steps = pick(table, "step", &rows)?;
    let count = outputs.len().min(MOST_ROWS);
    let mut figure = Figure::new(KIND.name).caption(
        "A held-out trial of double length: input (grey), target (cyan) and output of the network (purple, dashed).",
    );
    let paired = inputs.len() == outputs.len();
    // Pulses and what they set last whole steps: a straight line between two steps would show a ramp that is
    // not there. A recording is sampled from something smooth.
    let line = |values: Vec<f64>, role: Role| match inputs.is_empty() {
        true => Series::line(steps.clone(), values, role),
        false => {
            let (x, y) = staircase(&steps, &values);
            Series::line(x, y, role)
        }
    };
    for (k, (column, name)) in outputs.iter().take(count).enumerate() {
        let unit = table
            .column(column)
            .map(|c| c.unit.clone())
            .unwrap_or_default();
        let unit = if unit.is_empty() {
            "a.u.".to_owned()
        } else {
            unit
        };
        let mut plane = Plane::new(
            Axis::new("Time", "steps"),
            Axis::new(channel_label(name), unit),
        );
        // Where every output has an input of its own, it stands in the same row; else all in the first.
        let shown: &[(String, String)] = match (paired, k) {
            (true, k) => &inputs[k..=k],
            (false, 0) => &inputs,
            (false, _) => &[],
        };
        for (i, (input, _)) in shown.iter().enumerate() {
            let mut series = line(pick(table, input, &rows)?, Role::Input);
            if k == 0 && i == 0 {
                series = series.label("input");
            }
            plane = plane.with(series);
        }
        let mut target = line(pick(table, &targets[k].0, &rows)?, Role::Target);
        let mut output = line(pick(table, column, &rows)?, Role::Output);
        if k == 0 {
            target = target.label("target");
            output = output.label("output");
        }
        plane = plane.with(target).with(output);
        if k + 1 < count {
            plane = plane.shares_x();
        }
        figure = figure.panel(Panel::plane(plane).aspect(0.22));
    }
    Ok(Some(figure))
}

/// Every value held for one step.
fn staircase(steps: &[f64], values: &[f64]) -> (Vec<f64>, Vec<f64>) {
    steps
        .iter()
        .zip(values)
        .flat_map(|(&step, &value)| [(step, value), (step + 1.0, value)])
        .unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_held_until_the_next_step() {
        let (x, y) = staircase(&[0.0, 1.0], &[5.0, -1.0]);
        assert_eq!(x, [0.0, 1.0, 1.0, 2.0]);
        assert_eq!(y, [5.0, 5.0, -1.0, -1.0]);
    }
}
