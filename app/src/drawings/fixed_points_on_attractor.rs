//! The true attractor with the true system's fixed points and those of a network.

use super::axes::{axes_of, draw, line, panel};
use super::{FigureKind, common_range, pick, rows_of_network, shown_network};
use crate::results::Results;
use ndarray::Ix2;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Marker, Role, Series, Style};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "fixed_points_on_attractor",
    summary: "the true attractor with the fixed points of the true system and those of the network",
    needs: &["true_fixed_points", "true_system_matches", "true_system"],
    build,
};

/// Points farther from the attractor than so many times its extent along an axis are not shown.
const REACH: f64 = 1.0;
/// More true points than this are drawn small.
const MANY: usize = 20;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(truth), Some(matches), Some(attractor)) = (
        results.table("true_fixed_points"),
        results.table("true_system_matches"),
        results.array("true_system", "attractor"),
    ) else {
        return Ok(None);
    };
    let Ok(attractor) = attractor.view().into_dimensionality::<Ix2>() else {
        return Ok(None);
    };
    let axes = attractor.ncols();
    if !(2..=3).contains(&axes) || attractor.nrows() < 2 {
        return Ok(None);
    }
    let columns: Vec<Vec<f64>> = attractor
        .columns()
        .into_iter()
        .map(|c| c.to_vec())
        .collect();
    let view = View {
        ranges: columns
            .iter()
            .map(|column| common_range(column, &[]))
            .collect(),
    };
    let mut series = vec![line(columns, trajectory()).label("true attractor")];

    let mut beyond = 0;
    let all: Vec<usize> = (0..truth.row_count()).collect();
    let (true_rows, left) = view.within(truth, &all)?;
    beyond += left;
    let true_unstable = truth.f64_column("n_unstable")?;
    // Many would hide the attractor and each other.
    let size = if true_rows.len() > MANY { 3.0 } else { 8.0 };
    for (role, label, is_stable) in [
        (Role::Unstable, "true, unstable", false),
        (Role::Stable, "true, stable", true),
    ] {
        let chosen = of_stability(&true_rows, &true_unstable, is_stable);
        // Crosses hide nothing that lies upon them.
        let cross = Style::from(role).marker(Marker::Cross).size(size);
        series.extend(points(truth, &chosen, axes, &cross, label)?);
    }

    let network = shown_network(results);
    let unstable = matches.f64_column("n_unstable")?;
    let own: Vec<usize> = rows_of_network(matches, network)?
        .into_iter()
        .filter(|&row| unstable[row].is_finite())
        .collect();
    let (own, left) = view.within(matches, &own)?;
    beyond += left;
    for (role, label, is_stable) in [
        (Role::Unstable, "network, unstable", false),
        (Role::Stable, "network, stable", true),
    ] {
        let chosen = of_stability(&own, &unstable, is_stable);
        series.extend(points(matches, &chosen, axes, &Style::from(role), label)?);
    }

    let unit = truth
        .column("state_0")
        .map_or("", |column| column.unit.as_str());
    let panel = panel(axes_of(truth, unit, axes), series).aspect(0.85);
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption(truth, matches, network, beyond)?)
            .panel(panel),
    ))
}

/// Of some rows those whose points are stable, or are not.
fn of_stability(rows: &[usize], n_unstable: &[f64], is_stable: bool) -> Vec<usize> {
    let rows = rows.iter().copied();
    rows.filter(|&row| (n_unstable[row] == 0.0) == is_stable)
        .collect()
}

fn trajectory() -> Style {
    Style::from(Role::Trajectory).width(0.35).opacity(0.5)
}

/// Some rows of a table as points, by its columns `axis_*`.
fn points(
    table: &Table,
    rows: &[usize],
    axes: usize,
    style: &Style,
    label: &str,
) -> Result<Option<Series>> {
    if rows.is_empty() {
        return Ok(None);
    }
    let columns: Vec<Vec<f64>> = (1..=axes)
        .map(|axis| pick(table, &format!("axis_{axis}"), rows))
        .collect::<Result<_>>()?;
    let series = draw(columns, |x, y, z| match z {
        Some(z) => Series::points_3d(x, y, z, style.clone()),
        None => Series::points(x, y, style.clone()),
    });
    Ok(Some(series.label(label)))
}

/// What is near enough to the attractor to be shown.
struct View {
    ranges: Vec<(f64, f64)>,
}

impl View {
    /// Of some rows of a table those in view, and how many are not.
    fn within(&self, table: &Table, rows: &[usize]) -> Result<(Vec<usize>, usize)> {
        let mut kept = rows.to_vec();
        for (k, (low, high)) in self.ranges.iter().enumerate() {
            let places = table.f64_column(&format!("axis_{}", k + 1))?;
            let margin = REACH * (high - low);
            kept.retain(|&row| (low - margin..=high + margin).contains(&places[row]));
        }
        let left = rows.len() - kept.len();
        Ok((kept, left))
    }
}

/// Counts, distances, and whether pairs agree in their unstable directions.
fn caption(truth: &Table, matches: &Table, network: u64, beyond: usize) -> Result<String> {
    let rows = rows_of_network(matches, network)?;
    let distances = matches.f64_column("distance")?;
    let (theirs, own) = (
        matches.f64_column("true_n_unstable")?,
        matches.f64_column("n_unstable")?,
    );
    let paired: Vec<usize> = rows
        .iter()
        .copied()
        .filter(|&row| distances[row].is_finite())
        .collect();
    let alone = rows.iter().filter(|&&row| theirs[row].is_nan()).count();
    let unit = matches
        .column("distance")
        .map_or("", |column| column.unit.as_str());
    let pairs: Vec<String> = paired
        .iter()
        .map(|&row| {
            format!(
                "{:.2} {unit} apart with {} and {} unstable directions",
                distances[row], theirs[row], own[row]
            )
        })
        .collect();
    let system = truth
        .metadata
        .get("system")
        .map_or("The system", String::as_str);
    let mut text = format!(
        "True attractor of {system} with its fixed points ({}, crosses) and those of the network (dots and rings).",
        truth.row_count()
    );
    let continuous = truth.bool_column("isolated")?;
    let continuous = continuous.iter().filter(|isolated| !**isolated).count();
    if continuous > 0 {
        text += &format!(
            " {continuous} of the true points are not isolated: where there is a continuum of them, every start finds another."
        );
    }
    if !pairs.is_empty() && pairs.len() <= 6 {
        text += &format!(
            " Pairs of a true and a network's point: {}.",
            pairs.join("; ")
        );
    } else if !pairs.is_empty() {
        text += &format!(" {} pairs of a true and a network's point.", pairs.len());
    }
    if alone > 0 {
        text += &format!(" {alone} points of the network have no true partner.");
    }
    if beyond > 0 {
        text += &format!(" {beyond} points lie outside the picture.");
    }
    Ok(text)
}
