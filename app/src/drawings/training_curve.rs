//! Loss over training, on a logarithmic axis.

use super::FigureKind;
use crate::results::{Results, TRAINING};
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Scale, Series, Style};

pub const KIND: FigureKind = FigureKind {
    name: "training_curve",
    summary: "loss on training batches and on held-out trials over the updates",
    needs: &[TRAINING],
    build,
};

/// Networks beyond this many are drawn as a median with a band.
const SINGLE_LINES: usize = 5;

fn build(results: &Results) -> Result<Option<Figure>> {
    let Some(table) = results
        .table(TRAINING)
        .filter(|table| table.row_count() > 0)
    else {
        return Ok(None);
    };
    let updates = table.f64_column("update")?;
    let networks = table.u64_column("network")?;
    let losses = table.f64_column("loss")?;
    let held_out = table.f64_column("held_out_loss")?;
    let mut names: Vec<u64> = networks.clone();
    names.sort_unstable();
    names.dedup();
    let count = names.len();

    let curve = |network: u64, values: &[f64]| -> (Vec<f64>, Vec<f64>) {
        (0..updates.len())
            .filter(|&i| networks[i] == network && values[i].is_finite())
            .map(|i| (updates[i], values[i]))
            .unzip()
    };
    // A forced network predicts with help in training and without it on held-out trials.
    let forced = results.experiment.training.text("method") == "gtf";
    let mut plane = Plane::new(
        Axis::new("Update", "count"),
        Axis::new("Loss", loss_name(results)).scale(Scale::Log),
    );
    if count <= SINGLE_LINES {
        for (k, &network) in names.iter().enumerate() {
            let (x, y) = curve(network, &losses);
            let style = Style::from(Role::Category(k)).opacity(0.35).width(0.5);
            let mut training = Series::line(x, y, style);
            let (x, y) = curve(network, &held_out);
            let mut test = Series::line(x, y, Style::from(Role::Category(k)).width(1.0));
            if count == 1 {
                training = training.label(if forced {
                    "training batches, forced"
                } else {
                    "training batches"
                });
                test = test.label(if forced {
                    "held-out trials, free"
                } else {
                    "held-out trials"
                });
            } else {
                test = test.label(format!("network {network}"));
            }
            plane = plane.with(training).with(test);
        }
    } else {
        let (x, low, middle, high) = quantiles(&updates, &held_out);
        plane = plane
            .with(
                Series::band(x.clone(), low, high, Role::Category(0))
                    .label(format!("range of {count} networks")),
            )
            .with(Series::line(x, middle, Role::Category(0)).label("median, held-out trials"));
    }
    if let Some(stop) = results
        .experiment
        .training
        .optional_number("stop_loss")
        .filter(|&stop| stop > 0.0)
    {
        plane = plane.with(Series::horizontal_rule(stop, Role::Guide).label("loss asked for"));
    }
    let caption = if count == 1 {
        "Loss over training, on the batches trained on (thin) and on held-out trials (thick)."
    } else {
        "Loss over training on held-out trials."
    };
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::plane(plane).aspect(0.62)),
    ))
}

/// The loss's name as the unit of an axis.
pub(super) fn loss_name(results: &Results) -> &'static str {
    match results.experiment.training.text("loss") {
        "cross_entropy" => "nats",
        _ => "mean squared error",
    }
}

/// Smallest, median and largest value at every update that has any.
pub(super) fn quantiles(
    updates: &[f64],
    values: &[f64],
) -> (Vec<f64>, Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut by_update: std::collections::BTreeMap<u64, Vec<f64>> =
        std::collections::BTreeMap::new();
    for (update, value) in updates
        .iter()
        .zip(values)
        .filter(|(_, value)| value.is_finite())
    {
        by_update.entry(*update as u64).or_default().push(*value);
    }
    let mut out = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (update, mut values) in by_update {
        values.sort_by(f64::total_cmp);
        if let (Some(&low), Some(&middle), Some(&high)) =
            (values.first(), values.get(values.len() / 2), values.last())
        {
            out.0.push(update as f64);
            out.1.push(low);
            out.2.push(middle);
            out.3.push(high);
        }
    }
    out
}
