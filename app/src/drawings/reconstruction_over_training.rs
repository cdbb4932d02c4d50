//! How a reconstruction came about: its measures against the updates, and what the network generated after some of them.

use super::attractor::{box_of, rest, trajectory};
use super::recording::Signals;
use super::{FigureKind, channel_label, common_range, pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Marker, Panel, Plane, Role, Scale, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "reconstruction_over_training",
    summary: "the measures of reconstruction against the updates, and the attractors of some snapshots",
    needs: &["reconstruction_over_training"],
    build,
};

/// Snapshots whose attractors are shown.
const SNAPSHOTS: usize = 4;
/// Most steps drawn of each: the windows are small.
const STEPS: usize = 1000;

fn build(results: &Results) -> Result<Option<Figure>> {
    let Some(table) = results.table(KIND.name) else {
        return Ok(None);
    };
    let network = shown_network(results);
    let rows = rows_of_network(table, network)?;
    let updates = pick(table, "update", &rows)?;
    let first = updates.iter().copied().find(|update| *update > 0.0);
    let (Some(first), Some(&last)) = (first, updates.last()) else {
        return Ok(None);
    };
    let axis = || {
        // One snapshot alone would be an axis without length.
        let (low, high) = (0.8 * first, 1.25 * last.max(first));
        Axis::new("Update", "count")
            .scale(Scale::Log)
            .range(low, high)
    };
    // Tables of earlier versions do not say.
    let selected = match table.column("selected") {
        Some(_) => {
            let marks = table.bool_column("selected")?;
            rows.iter().position(|&row| marks[row])
        }
        None => None,
    };
    let prediction_steps = pick(table, "prediction_steps", &rows)?;
    let ahead = prediction_steps.iter().find(|steps| steps.is_finite());
    let error = match ahead {
        Some(steps) => format!("*PE*({steps})"),
        None => "*PE*".to_owned(),
    };
    let squared = table
        .column("prediction_error")
        .map_or(String::new(), |column| column.unit.replace("^2", "^{2}"));
    let mut figure = Figure::new(KIND.name).columns(2);
    let (mut is_compared, mut is_ringed) = (false, false);
    for (column, model, label, unit, above) in [
        (
            "d_stsp",
            "other_part",
            "*D*_{stsp}".to_owned(),
            "nats",
            true,
        ),
        ("d_hellinger", "other_part", "*D*_{H}".to_owned(), "", true),
        ("prediction_error", "persistence", error, &squared, false),
        (
            "valid_prediction_steps_mean",
            "",
            "Valid prediction".to_owned(),
            "steps",
            false,
        ),
    ] {
        let values = pick(table, column, &rows)?;
        let compared = reference(results, model, column)?;
        is_compared |= compared.is_some();
        let y = vertical(&values, compared, label, unit);
        let chosen = selected
            .map(|k| (updates[k], values[k]))
            .filter(|(update, value)| *update > 0.0 && value.is_finite());
        let (x, y_values): (Vec<f64>, Vec<f64>) = updates
            .iter()
            .copied()
            .zip(values)
            .filter(|(update, value)| *update > 0.0 && value.is_finite())
            .unzip();
        let mut plane = Plane::new(axis(), y);
        if let Some(value) = compared {
            plane = plane.with(Series::horizontal_rule(value, Role::Guide));
        }
        let style = Style::from(Role::Generated);
        plane = plane
            .with(Series::line(
                x.clone(),
                y_values.clone(),
                style.clone().width(0.8),
            ))
            .with(Series::points(
                x,
                y_values,
                style.marker(Marker::Disc).size(2.5),
            ));
        if let Some((update, value)) = chosen {
            is_ringed = true;
            let ring = Style::from(Role::Target).marker(Marker::Ring).size(6.0);
            plane = plane.with(Series::points(vec![update], vec![value], ring));
        }
        if above {
            plane = plane.shares_x();
        }
        figure = figure.panel(Panel::plane(plane).aspect(0.62));
    }
    let mut shown = 0;
    for update in spread(&updates, |update| {
        let name = format!("network_{network}_update_{update}");
        results.array(KIND.name, &name).is_some_and(|a| a.len() > 1)
    }) {
        let name = format!("network_{network}_update_{update}");
        let Some(signals) = Signals::of_arrays(results, KIND.name, &name) else {
            continue;
        };
        let title = format!("{update} updates");
        figure = figure.panel(window(&signals).title(title));
        shown += 1;
    }
    let caption = format!(
        "Measures of reconstruction after so many updates (0 has no place on the axis; an orbit that rests has no D_H){}{}{}.",
        if is_compared {
            ", with what the other part of the recording (above) or the prediction that nothing changes (below) has as a grey line"
        } else {
            ""
        },
        if is_ringed {
            "; ringed is the snapshot whose D_stsp against the training part is least"
        } else {
            ""
        },
        if shown > 0 {
            "; below, what the network generates by itself (purple, a point where it rests) over the recording (grey), in its first dimensions"
        } else {
            ""
        }
    );
    Ok(Some(figure.caption(caption).lettered()))
}

/// A measure's vertical axis: logarithmic where all of it can be.
fn vertical(values: &[f64], compared: Option<f64>, label: String, unit: &str) -> Axis {
    let finite = || {
        values
            .iter()
            .copied()
            .chain(compared)
            .filter(|v| v.is_finite())
    };
    let axis = Axis::new(label, unit);
    let (low, high) = (
        finite().fold(f64::INFINITY, f64::min),
        finite().fold(f64::NEG_INFINITY, f64::max),
    );
    if low > 0.0 && high.is_finite() {
        axis.scale(Scale::Log).range(0.8 * low, 1.25 * high)
    } else if low < high {
        let margin = 0.08 * (high - low);
        axis.range(low - margin, high + margin)
    } else {
        axis
    }
}

/// What a measure is of something that is no network, from the table of the trained networks.
fn reference(results: &Results, model: &str, column: &str) -> Result<Option<f64>> {
    let Some(table) = results.table("reconstruction") else {
        return Ok(None);
    };
    let models = table.text_column("model")?;
    let values = table.f64_column(column)?;
    let row = models.iter().position(|known| *known == Some(model));
    Ok(row
        .and_then(|row| values.get(row).copied())
        .filter(|value| value.is_finite()))
}

/// The first, the last, and between them some updates at even distances, of those with something to show.
fn spread(updates: &[f64], is_there: impl Fn(u64) -> bool) -> Vec<u64> {
    let there: Vec<u64> = updates
        .iter()
        .map(|update| *update as u64)
        .filter(|update| is_there(*update))
        .collect();
    if there.len() <= SNAPSHOTS {
        return there;
    }
    let last = there.len() - 1;
    (0..SNAPSHOTS)
        .map(|k| there[(k * last).div_ceil(SNAPSHOTS - 1).min(last)])
        .collect()
}

/// What was generated over the recording, in as many of the first three dimensions as there are; of a single one over time.
fn window(signals: &Signals) -> Panel {
    let steps = STEPS.min(signals.steps());
    let gray = Role::Guide;
    if signals.dimensions() > 2 {
        let mut space = box_of(signals, steps);
        // The figure of the attractor has the names and numbers of these axes.
        for axis in &mut space.axes {
            *axis = Axis {
                ticks: Some(Vec::new()),
                range: axis.range,
                ..Axis::new("", "")
            };
        }
        let mut space = space
            .with(trajectory(signals, 0, steps, gray, 0.5))
            .with(trajectory(signals, 1, steps, Role::Generated, 0.6));
        if let Some(point) = rest(signals, steps) {
            space = space.with(point);
        }
        return Panel::space(space).aspect(0.75);
    }
    let axis = |label: String, range: (f64, f64)| {
        Axis::new(label, signals.unit.clone()).range(range.0, range.1)
    };
    let [recorded, generated] = signals.both(0, steps);
    let range = common_range(&recorded, &generated);
    let label = channel_label(&signals.names[0]);
    let plane = if signals.dimensions() == 2 {
        let [recorded_y, generated_y] = signals.both(1, steps);
        let range_y = common_range(&recorded_y, &generated_y);
        Plane::new(
            axis(label, range),
            axis(channel_label(&signals.names[1]), range_y),
        )
        .with(Series::line(
            recorded,
            recorded_y,
            Style::from(gray).width(0.5),
        ))
        .with(Series::line(
            generated,
            generated_y,
            Style::from(Role::Generated).width(0.5),
        ))
    } else {
        let time: Vec<f64> = (0..steps).map(|t| t as f64).collect();
        Plane::new(Axis::new("Time", "steps"), axis(label, range))
            .with(Series::line(
                time.clone(),
                recorded,
                Style::from(gray).width(0.5),
            ))
            .with(Series::line(
                time,
                generated,
                Style::from(Role::Generated).width(0.5),
            ))
    };
    Panel::plane(plane).aspect(0.75)
}
