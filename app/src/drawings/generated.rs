//! A recording above what the network generates by itself, over time.

use super::recording::Signals;
use super::{FigureKind, common_range};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Series};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "generated",
    summary: "the recording above the signal that the network generates by itself, over time",
    needs: &["free_run"],
    build,
};

/// Steps shown, in units of the recording's typical interval between peaks.
const INTERVALS: f64 = 8.0;
/// Steps shown of a recording without peaks.
const STEPS_WITHOUT_PEAKS: f64 = 2000.0;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(signals), Some(table)) = (Signals::of(results), results.table("free_run")) else {
        return Ok(None);
    };
    // The first row is the recording's.
    let interval = table
        .f64_column("median_peak_interval")?
        .first()
        .copied()
        .filter(|interval| interval.is_finite())
        .map_or(STEPS_WITHOUT_PEAKS, |interval| INTERVALS * interval);
    let steps = (interval as usize).min(signals.steps());
    if steps == 0 {
        return Ok(None);
    }
    let (axis, per_step) = match signals.seconds_per_step {
        Some(seconds) => (Axis::new("Time", "s"), seconds),
        None => (Axis::new("Time", "steps"), 1.0),
    };
    let time: Vec<f64> = (0..steps).map(|t| t as f64 * per_step).collect();
    let [recorded, made] = signals.both(0, steps);
    let (low, high) = common_range(&recorded, &made);
    let signal = |label: &str| Axis::new(label, signals.unit.clone()).range(low, high);
    let above = Plane::new(axis.clone(), signal("Recorded"))
        .with(Series::line(time.clone(), recorded, Role::Recorded))
        .shares_x();
    let below =
        Plane::new(axis, signal("Generated")).with(Series::line(time, made, Role::Generated));
    Ok(Some(
        Figure::new(KIND.name)
            .caption(
                "The recording (test part) and the signal that the network generates by itself, on one scale.",
            )
            .panel(Panel::plane(above).aspect(0.3))
            .panel(Panel::plane(below).aspect(0.3))
            .lettered(),
    ))
}
