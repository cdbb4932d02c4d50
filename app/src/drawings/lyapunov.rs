//! Lyapunov exponents, and how they settled.

use super::{FigureKind, common_range, pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Dash, Marker, Panel, Plane, Role, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "lyapunov",
    summary: "the Lyapunov exponents of a network by rank, and their averages over the steps",
    needs: &["lyapunov", "lyapunov_convergence"],
    build,
};

/// Exponents whose averages are shown over time.
const CURVES: usize = 5;
/// Up to so many ranks each have a tick.
const MOST_TICKS: f64 = 12.0;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(table), Some(convergence)) = (
        results.table("lyapunov"),
        results.table("lyapunov_convergence"),
    ) else {
        return Ok(None);
    };
    let network = shown_network(results);
    let rows = rows_of_network(table, network)?;
    // A direction that is crushed to nothing has no place on the axis.
    let (ranks, exponents): (Vec<f64>, Vec<f64>) = pick(table, "index", &rows)?
        .into_iter()
        .map(|index| index + 1.0)
        .zip(pick(table, "exponent", &rows)?)
        .filter(|(_, exponent)| exponent.is_finite())
        .unzip();
    if exponents.is_empty() {
        return Ok(None);
    }
    let below = rows.len() - exponents.len();
    // Of the true system, where its equations are known.
    let (true_ranks, truth): (Vec<f64>, Vec<f64>) = match results.table("true_lyapunov") {
        Some(table) => {
            let ranks = table.f64_column("index")?.into_iter().map(|k| k + 1.0);
            let exponents = table.f64_column("exponent_per_step")?;
            ranks.zip(exponents).filter(|(_, x)| x.is_finite()).unzip()
        }
        None => Default::default(),
    };
    // Zero parts what grows from what shrinks: it is always in view.
    let (low, high) = common_range(&[&exponents[..], &truth].concat(), &[0.0]);
    let zero = || Series::horizontal_rule(0.0, Role::Guide);
    let mut rank_axis = Axis::new("Exponent", "rank");
    let last = ranks.iter().chain(&true_ranks).copied().fold(1.0, f64::max);
    // Of few, every rank.
    if last <= MOST_TICKS {
        let ticks = (1..=last as usize).map(|rank| (rank as f64, rank.to_string()));
        rank_axis = rank_axis.range(0.5, last + 0.5).ticks(ticks.collect());
    }
    let mut spectrum =
        Plane::new(rank_axis, Axis::new("*λ*", "1/step").range(low, high)).with(zero());
    let mut own = Series::points(ranks, exponents, Role::Stable);
    if !truth.is_empty() {
        let ring = Style::from(Role::Target).marker(Marker::Ring).size(7.5);
        let true_points = Series::points(true_ranks, truth.clone(), ring);
        spectrum = spectrum.with(true_points.label("true system"));
        own = own.label("network");
    }
    spectrum = spectrum.with(own);

    let rows = rows_of_network(convergence, network)?;
    let steps = pick(convergence, "step", &rows)?;
    let indices = pick(convergence, "index", &rows)?;
    let averages = pick(convergence, "exponent", &rows)?;
    let mut settling = Plane::new(
        Axis::new("Time", "steps"),
        Axis::new("*λ* so far", "1/step"),
    )
    .with(zero());
    for exponent in truth.iter().take(CURVES) {
        let style = Style::from(Role::Target).width(0.8).dash(Dash::Dashed);
        settling = settling.with(Series::horizontal_rule(*exponent, style));
    }
    for k in 0..CURVES {
        let (x, y): (Vec<f64>, Vec<f64>) = (0..rows.len())
            .filter(|&i| indices[i] == k as f64 && averages[i].is_finite())
            .map(|i| (steps[i], averages[i]))
            .unzip();
        if !x.is_empty() {
            let style = Style::from(Role::Category(k)).width(0.8);
            let label = match k {
                0 => "rank 1".to_owned(),
                _ => (k + 1).to_string(),
            };
            settling = settling.with(Series::line(x, y, style).label(label));
        }
    }
    let mut caption =
        "Lyapunov exponents by rank, and the largest ones as averaged up to each step.".to_owned();
    if !truth.is_empty() {
        caption += " Those of the true system: rings, and dashed lines.";
    }
    if below > 0 {
        caption += &format!(" {below} directions are crushed to nothing and not shown.");
    }
    Ok(Some(
        Figure::new(KIND.name)
            .caption(&caption)
            .panel(Panel::plane(spectrum).aspect(0.5))
            .panel(Panel::plane(settling).aspect(0.5))
            .lettered(),
    ))
}
