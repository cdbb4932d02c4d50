//! The attractor of a recording and that of the network that learned it, in three dimensions of the observations: side by
//! side, and one over the other from two sides.

use super::recording::Signals;
use super::{FigureKind, channel_label, common_range, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Marker, Panel, Role, Series, Space, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "attractor",
    summary: "the recording and what the network generates, in the first three dimensions, side by side and overlaid",
    needs: &["reconstruction"],
    build,
};

/// Most steps drawn: more would be a black area.
const STEPS: usize = 3000;
/// Direction of view of the first three panels, and that of the fourth, from another side.
const VIEWS: [f64; 2] = [-55.0, 35.0];
const ELEVATION: f64 = 22.0;

fn build(results: &Results) -> Result<Option<Figure>> {
    let name = format!("orbit_{}", shown_network(results));
    let signals = Signals::of_arrays(results, KIND.needs[0], &name);
    let Some(signals) = signals.filter(|signals| signals.dimensions() > 2 && signals.steps() > 1)
    else {
        return Ok(None);
    };
    let steps = STEPS.min(signals.steps());
    let recorded = |width| trajectory(&signals, 0, steps, Role::Recorded, width);
    let generated = |width| trajectory(&signals, 1, steps, Role::Generated, width);
    let space = |azimuth| box_of(&signals, steps).view(azimuth, ELEVATION);
    let with_generated = |space: Space, width| {
        let space = space.with(generated(width));
        match rest(&signals, steps) {
            Some(point) => space.with(point),
            None => space,
        }
    };
    let over = |azimuth| with_generated(space(azimuth).with(recorded(0.4)), 0.7);
    let [front, side] = VIEWS;
    Ok(Some(
        Figure::new(KIND.name)
            .caption(format!(
                "Recording (black) and what the network generates by itself after a transient (purple), {steps} steps each, \
                 in the first three of {} dimensions; below, one over the other, from two sides.{}",
                signals.dimensions(),
                if signals.is_delayed() { " Lags in steps." } else { "" }
            ))
            .columns(2)
            .panel(Panel::space(space(front).with(recorded(0.4))).title("Recorded"))
            .panel(Panel::space(with_generated(space(front), 0.4)).title("Generated"))
            .panel(Panel::space(over(front)))
            .panel(Panel::space(over(side)))
            .lettered(),
    ))
}

/// A box that holds both signals, in the first three dimensions.
pub(super) fn box_of(signals: &Signals, steps: usize) -> Space {
    let axes = [0, 1, 2].map(|d| {
        let [recorded, generated] = signals.both(d, steps);
        let (low, high) = common_range(&recorded, &generated);
        Axis::new(channel_label(&signals.names[d]), signals.unit.clone()).range(low, high)
    });
    let mut space = Space::new(axes);
    space.equal_aspect = false;
    space
}

/// The recorded (`which` = 0) or generated (1) signal as a line in the first three dimensions.
pub(super) fn trajectory(
    signals: &Signals,
    which: usize,
    steps: usize,
    role: Role,
    width: f64,
) -> Series {
    let [x, y, z] = [0, 1, 2].map(|d| {
        let [recorded, generated] = signals.both(d, steps);
        if which == 0 { recorded } else { generated }
    });
    Series::line_3d(x, y, z, Style::from(role).width(width).opacity(0.6))
}

/// Part of the box that an orbit must span to be seen as a line.
const SPAN: f64 = 5e-3;

/// The generated signal as a point where it rests: a line would not be seen.
pub(super) fn rest(signals: &Signals, steps: usize) -> Option<Series> {
    let mut place = [0.0; 3];
    for (d, place) in place.iter_mut().enumerate() {
        let [recorded, generated] = signals.both(d, steps);
        let (low, high) = common_range(&recorded, &generated);
        let (least, most) = common_range(&generated, &[]);
        if most - least > SPAN * (high - low) {
            return None;
        }
        *place = *generated.last()?;
    }
    let style = Style::from(Role::Generated).marker(Marker::Disc).size(3.0);
    let [x, y, z] = place.map(|x| vec![x]);
    Some(Series::points_3d(x, y, z, style))
}
