//! The Poincare section of a network, its return map, the map of successive maxima, and the times between crossings.

use super::{FigureKind, common_range, pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_analysis::poincare::return_map;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Marker, Panel, Plane, Role, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "poincare",
    summary: "Poincare section, return map and map of successive maxima of the free network",
    needs: &["poincare", "poincare_maxima"],
    build,
};

/// Most points of a panel: more make large files and no other picture.
const POINTS: usize = 4000;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(table), Some(maxima)) = (results.table("poincare"), results.table("poincare_maxima"))
    else {
        return Ok(None);
    };
    let network = shown_network(results);
    let mut rows = rows_of_network(table, network)?;
    rows.truncate(POINTS);
    if rows.len() < 2 {
        return Ok(None);
    }
    let (first, second) = (
        pick(table, "section_1", &rows)?,
        pick(table, "section_2", &rows)?,
    );
    let both = size(&first).max(size(&second));
    let (across, up) = (wide(&first, both), wide(&second, both));
    let section = Plane::new(
        Axis::new("Axis 1", "a.u.").range(across.0, across.1),
        Axis::new("Axis 2", "a.u.").range(up.0, up.1),
    )
    .with(dots(first.clone(), second, [across, up]));
    let returns = map_plane(&first, "Axis 1", "next crossing");

    let mut rows_of_maxima = rows_of_network(maxima, network)?;
    rows_of_maxima.truncate(POINTS);
    let values = pick(maxima, "value", &rows_of_maxima)?;
    let maxima = map_plane(&values, "Maximum", "next maximum");

    let steps = pick(table, "step", &rows)?;
    let intervals = pick(table, "interval", &rows)?;
    let (time, interval): (Vec<f64>, Vec<f64>) = steps
        .into_iter()
        .zip(intervals)
        .filter(|(_, interval)| interval.is_finite())
        .unzip();
    let (low, high) = wide(&interval, size(&interval));
    let whole = common_range(&time, &[]);
    let times = Plane::new(
        Axis::new("Time", "steps"),
        Axis::new("Interval", "steps").range(low, high),
    )
    .with(dots(time, interval, [whole, (low, high)]));
    let caption = format!(
        "{} crossings of a plane by the free network: in the plane's two principal components; each crossing against \
         the next, along the first; each maximum along the plane's normal against the next; times between crossings.",
        rows.len()
    );
    let mut figure = Figure::new(KIND.name).caption(caption).columns(2);
    for plane in [section, returns, maxima, times] {
        figure = figure.panel(Panel::plane(plane).aspect(0.9));
    }
    Ok(Some(figure.lettered()))
}

/// Small where there are many in many places.
fn dots(x: Vec<f64>, y: Vec<f64>, ranges: [(f64, f64); 2]) -> Series {
    let spread = |values: &[f64], (low, high): (f64, f64)| {
        let (least, most) = common_range(values, &[]);
        (most - least) / (high - low)
    };
    let one_place = spread(&x, ranges[0]).max(spread(&y, ranges[1])) < 0.05;
    let size = if x.len() > 500 && !one_place {
        1.0
    } else {
        2.5
    };
    let style = Style::from(Role::Trajectory)
        .marker(Marker::Disc)
        .size(size);
    Series::points(x, y, style)
}

/// The range of some values, but no less than their size: crossings of a cycle are one point, and their
/// differences rounding.
fn wide(values: &[f64], size: f64) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 1.0);
    }
    let (low, high) = common_range(values, &[]);
    let missing = (size - (high - low)).max(0.0);
    (low - 0.5 * missing, high + 0.5 * missing)
}

/// The largest absolute value.
fn size(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |size, x| size.max(x.abs()))
}

/// Each value against the next, with the diagonal on which they are the same.
fn map_plane(values: &[f64], x: &str, y: &str) -> Plane {
    let (from, to) = return_map(values).into_iter().map(|[a, b]| (a, b)).unzip();
    let (low, high) = wide(values, size(values));
    let axis = |label: &str| Axis::new(label, "a.u.").range(low, high);
    let diagonal = Series::line(vec![low, high], vec![low, high], Role::Guide);
    Plane::new(axis(x), axis(y))
        .with(diagonal)
        .with(dots(from, to, [(low, high); 2]))
}
