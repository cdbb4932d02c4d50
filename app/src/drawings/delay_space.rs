//! The recording and the generated signal in delay space, side by side.

use super::{FigureKind, channel_label, common_range, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Series, Style};
use nullcline_tasks::Split;

pub const KIND: FigureKind = FigureKind {
    name: "delay_space",
    summary: "the recording and the generated signal in two dimensions of delay space",
    needs: &["free_run"],
    build,
};

/// Most steps drawn: more would be a black area.
const STEPS: usize = 2500;

fn build(results: &Results) -> Result<Option<Figure>> {
    let network = shown_network(results);
    let Some(generated) = results.array("free_run", &format!("network_{network}")) else {
        return Ok(None);
    };
    let built = results.experiment.build()?;
    let Some(recording) = built.task.recording(Split::HeldOut) else {
        return Ok(None);
    };
    if recording.values.ncols() < 2 {
        return Ok(None);
    }
    // The two dimensions that differ most show the most of the attractor.
    let second = most_different(recording.values.view());
    let steps = STEPS
        .min(recording.values.nrows())
        .min(generated.len_of(ndarray::Axis(0)));
    let of_recording = |d: usize| -> Vec<f64> {
        (0..steps)
            .map(|t| recording.restore(d, f64::from(recording.values[[t, d]])))
            .collect()
    };
    let of_network = |d: usize| -> Vec<f64> {
        (0..steps)
            .map(|t| recording.restore(d, generated[[t, d]]))
            .collect()
    };
    let pairs = [
        (of_recording(0), of_recording(second)),
        (of_network(0), of_network(second)),
    ];
    let [recorded, made] = &pairs;
    let (x_range, y_range) = (
        common_range(&recorded.0, &made.0),
        common_range(&recorded.1, &made.1),
    );
    let name = |d: usize| {
        recording
            .names
            .get(d)
            .map(|name| channel_label(name))
            .unwrap_or_default()
    };
    let mut figure = Figure::new(KIND.name)
        .caption("Recording (left) and generated signal (right) in two dimensions of the delay embedding; lags in steps.")
        .columns(2);
    for ((x, y), (title, role)) in pairs
        .into_iter()
        .zip([("Recorded", Role::Recorded), ("Generated", Role::Generated)])
    {
        let plane = Plane::new(
            Axis::new(name(0), recording.unit.clone()).range(x_range.0, x_range.1),
            Axis::new(name(second), recording.unit.clone()).range(y_range.0, y_range.1),
        )
        .with(Series::line(
            x,
            y,
            Style::from(role).width(0.4).opacity(0.6),
        ));
        figure = figure.panel(Panel::plane(plane).title(title).aspect(1.0));
    }
    Ok(Some(figure.lettered()))
}

/// The dimension with the smallest absolute correlation with the first.
fn most_different(values: ndarray::ArrayView2<f32>) -> usize {
    let first = values.column(0).mapv(f64::from);
    let centre = |column: &ndarray::Array1<f64>| column - column.mean().unwrap_or(0.0);
    let a = centre(&first);
    let correlation = |d: usize| {
        let b = centre(&values.column(d).mapv(f64::from));
        (a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt().max(1e-300)).abs()
    };
    (1..values.ncols())
        .min_by(|&i, &j| correlation(i).total_cmp(&correlation(j)))
        .unwrap_or(1)
}
