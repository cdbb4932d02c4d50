//! A recording and, from the same start, what the network predicts of it and goes on to generate, over time.

use super::recording::Signals;
use super::{FigureKind, channel_label, common_range, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "reconstruction_series",
    summary: "the recording and the free network from the same start, over time, with the end of the valid prediction",
    needs: &["reconstruction"],
    build,
};

/// Dimensions shown; those of a delay embedding are one signal.
const DIMENSIONS: usize = 3;
/// Steps shown: so many times the valid prediction time, within these bounds.
const TIMES: f64 = 6.0;
const FEWEST: usize = 300;
const MOST: usize = 2000;

fn build(results: &Results) -> Result<Option<Figure>> {
    let network = shown_network(results);
    let (Some(table), Some(signals)) = (
        results.table(KIND.needs[0]),
        Signals::of_arrays(results, KIND.needs[0], &format!("start_{network}")),
    ) else {
        return Ok(None);
    };
    // Rows without a network are of no network.
    let networks = table.f64_column("network")?;
    let row = (0..networks.len()).find(|&row| networks[row] == network as f64);
    let valid = match row {
        Some(row) => table.f64_column("valid_prediction_steps_first")?[row],
        None => f64::NAN,
    };
    let wanted = if valid.is_finite() {
        (TIMES * valid) as usize
    } else {
        FEWEST
    };
    let steps = wanted.clamp(FEWEST, MOST).min(signals.steps());
    if steps < 2 {
        return Ok(None);
    }
    let (axis, per_step) = match signals.seconds_per_step {
        Some(seconds) => (Axis::new("Time", "s"), seconds),
        None => (Axis::new("Time", "steps"), 1.0),
    };
    let time: Vec<f64> = (0..steps).map(|t| t as f64 * per_step).collect();
    let axis = axis.range(0.0, (steps - 1) as f64 * per_step);
    let shown = if signals.is_delayed() {
        1
    } else {
        DIMENSIONS.min(signals.dimensions())
    };
    let mut figure = Figure::new(KIND.name).caption(format!(
        "Recording (black) and the network that runs freely from its first observation (purple, dashed){}.",
        if valid.is_finite() {
            "; the upright line is the end of the valid prediction"
        } else {
            ""
        }
    ));
    for d in 0..shown {
        let [recorded, generated] = signals.both(d, steps);
        let (low, high) = common_range(&recorded, &generated);
        let label = channel_label(&signals.names[d]);
        let mut plane = Plane::new(
            axis.clone(),
            Axis::new(label, signals.unit.clone()).range(low, high),
        );
        if valid.is_finite() && (valid as usize) < steps {
            plane = plane.with(Series::vertical_rule(valid * per_step, Role::Guide));
        }
        let series = |signal: Vec<f64>, role, width: f64, name: &str| {
            let line = Series::line(time.clone(), signal, Style::from(role).width(width));
            // The legend stands once.
            if d == 0 { line.label(name) } else { line }
        };
        plane = plane
            .with(series(recorded, Role::Recorded, 0.8, "recorded"))
            .with(series(generated, Role::Output, 0.8, "generated"));
        if d + 1 < shown {
            plane = plane.shares_x();
        }
        figure = figure.panel(Panel::plane(plane).aspect(if shown == 1 { 0.4 } else { 0.28 }));
    }
    Ok(Some(if shown > 1 { figure.lettered() } else { figure }))
}
