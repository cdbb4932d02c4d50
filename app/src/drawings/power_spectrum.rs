//! The power spectrum of what the network does by itself, over that of the recording.

use super::{FigureKind, channel_label, shown_network};
use crate::analyses::power_spectrum::POPULATION;
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Scale, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "power_spectrum",
    summary: "power spectral densities of the recording and of what the network does by itself",
    needs: &["power_spectrum"],
    build,
};

/// Outputs shown; the dimensions of a delay embedding have nearly the same spectrum.
const OUTPUTS: usize = 3;
/// The range shown below the highest density: what is lower is the window's and rounding.
const RANGE: f64 = 1e-8;

fn build(results: &Results) -> Result<Option<Figure>> {
    let Some(table) = results.table("power_spectrum") else {
        return Ok(None);
    };
    let network = shown_network(results) as f64;
    let networks = table.f64_column("network")?;
    let signals = table.text_column("signal")?;
    let frequency = table.f64_column("frequency")?;
    let hertz = table.f64_column("frequency_hz")?;
    let density = table.f64_column("density")?;
    let unit = table
        .metadata
        .get("signal_unit")
        .filter(|unit| !unit.is_empty())
        .map_or("a.u.", String::as_str);
    let per_hertz = hertz.iter().any(|f| f.is_finite());
    // The duration of a step from any frequency but zero.
    let seconds = (0..hertz.len())
        .find(|&i| per_hertz && hertz[i] > 0.0)
        .map_or(1.0, |i| frequency[i] / hertz[i]);
    let curve = |of: Option<f64>, name: &str| -> Option<(Vec<f64>, Vec<f64>)> {
        let rows = (0..networks.len()).filter(|&i| {
            let same = match of {
                Some(network) => networks[i] == network,
                None => networks[i].is_nan(),
            };
            // A logarithmic axis has no place for frequency 0.
            same && signals[i] == Some(name) && frequency[i] > 0.0
        });
        let (x, y): (Vec<f64>, Vec<f64>) = rows
            .map(|i| (frequency[i] / seconds, density[i] * seconds))
            .unzip();
        (!x.is_empty()).then_some((x, y))
    };
    let mut names: Vec<&str> = Vec::new();
    for (i, name) in signals.iter().enumerate() {
        let shown = networks[i].is_nan() || networks[i] == network;
        if let Some(name) = name.filter(|name| shown && *name != POPULATION)
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    // Of a delay embedding the dimensions are one signal.
    let lagged = names.iter().any(|name| name.contains("_lag_"));
    names.truncate(if lagged { 1 } else { OUTPUTS });

    let frequency_unit = if per_hertz { "Hz" } else { "1/step" };
    let axis = || Axis::new("Frequency", frequency_unit).scale(Scale::Log);
    let density_unit = |unit: &str| {
        let squared = if unit == "a.u." {
            unit.to_owned()
        } else {
            format!("{unit}^{{2}}")
        };
        match (per_hertz, unit) {
            (_, "a.u.") => squared,
            (true, _) => format!("{squared}/Hz"),
            (false, _) => format!("{squared} steps"),
        }
    };
    let range = |curves: &[&(Vec<f64>, Vec<f64>)]| {
        let values = || curves.iter().flat_map(|(_, y)| y.iter().copied());
        let high = values().fold(0.0, f64::max);
        let low = values().filter(|y| *y > 0.0).fold(high, f64::min);
        (0.5 * low.max(RANGE * high), 2.0 * high)
    };
    let mut panels = Vec::new();
    for name in names {
        let (recorded, made) = (curve(None, name), curve(Some(network), name));
        let both: Vec<_> = recorded.iter().chain(&made).collect();
        let both_there = both.len() == 2;
        let (low, high) = range(&both);
        if high <= 0.0 {
            continue;
        }
        let label = if lagged {
            "Density".to_owned()
        } else {
            channel_label(name)
        };
        let mut plane = Plane::new(
            axis(),
            Axis::new(label, density_unit(unit))
                .scale(Scale::Log)
                .range(low, high),
        );
        let thin = |role| Style::from(role).width(0.7);
        // The legend stands once, and only where there are two.
        let label = |series: Series, name: &str| {
            if both_there && panels.is_empty() {
                series.label(name)
            } else {
                series
            }
        };
        if let Some((x, y)) = recorded {
            plane = plane.with(label(Series::line(x, y, thin(Role::Recorded)), "recorded"));
        }
        if let Some((x, y)) = made {
            plane = plane.with(label(
                Series::line(x, y, thin(Role::Generated)),
                "generated",
            ));
        }
        panels.push(plane);
    }
    if let Some(population) = curve(Some(network), POPULATION) {
        let (low, high) = range(&[&population]);
        let (x, y) = population;
        let density = Axis::new("All states", density_unit("a.u."))
            .scale(Scale::Log)
            .range(low, high);
        let style = Style::from(Role::Generated).width(0.7);
        panels.push(Plane::new(axis(), density).with(Series::line(x, y, style)));
    }
    if panels.is_empty() {
        return Ok(None);
    }
    let last = panels.len() - 1;
    let mut figure = Figure::new(KIND.name).caption(
        "Power spectral density (Welch) of what the network does by itself, of the recording where there is one, and \
         summed over all state variables.",
    );
    for (k, plane) in panels.into_iter().enumerate() {
        let plane = if k < last { plane.shares_x() } else { plane };
        figure = figure.panel(Panel::plane(plane).aspect(0.4));
    }
    Ok(Some(if last > 0 { figure.lettered() } else { figure }))
}
