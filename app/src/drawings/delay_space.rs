//! The recording and the generated signal in delay space, side by side.

use super::recording::Signals;
use super::{FigureKind, channel_label, common_range};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "delay_space",
    summary: "the recording and the generated signal in two dimensions of delay space, or of their own",
    needs: &["free_run"],
    build,
};

/// Most steps drawn: more would be a black area.
const STEPS: usize = 2500;

fn build(results: &Results) -> Result<Option<Figure>> {
    let Some(signals) = Signals::of(results).filter(|signals| signals.dimensions() > 1) else {
        return Ok(None);
    };
    let second = signals.most_different();
    let steps = STEPS.min(signals.steps());
    let [recorded_x, made_x] = signals.both(0, steps);
    let [recorded_y, made_y] = signals.both(second, steps);
    let (x_low, x_high) = common_range(&recorded_x, &made_x);
    let (y_low, y_high) = common_range(&recorded_y, &made_y);
    let axis = |d: usize, low, high| {
        Axis::new(channel_label(&signals.names[d]), signals.unit.clone()).range(low, high)
    };
    let dimensions = match signals.is_delayed() {
        true => "two dimensions of the delay embedding; lags in steps",
        false => "two of its dimensions",
    };
    let mut figure = Figure::new(KIND.name)
        .caption(format!(
            "Recording (left) and generated signal (right) in {dimensions}."
        ))
        .columns(2);
    for (x, y, title, role) in [
        (recorded_x, recorded_y, "Recorded", Role::Recorded),
        (made_x, made_y, "Generated", Role::Generated),
    ] {
        let plane = Plane::new(axis(0, x_low, x_high), axis(second, y_low, y_high)).with(
            Series::line(x, y, Style::from(role).width(0.4).opacity(0.6)),
        );
        figure = figure.panel(Panel::plane(plane).title(title).aspect(1.0));
    }
    Ok(Some(figure.lettered()))
}
