//! The bifurcation diagram: fixed points over a parameter, stable parts solid, unstable ones dashed.

use super::{FigureKind, channel_label, pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Dash, Marker, Panel, Plane, Role, Series, Style};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "continuation",
    summary: "bifurcation diagram: fixed points over a parameter, with their stability and bifurcations",
    needs: &["continuation", "continuation_bifurcations"],
    build,
};

/// Kinds of bifurcations as a legend names them, with colour and marker.
pub(super) const BIFURCATIONS: [(&str, &str, usize, Marker); 5] = [
    ("fold", "fold", 0, Marker::Square),
    ("flip", "flip", 1, Marker::Triangle),
    ("neimark_sacker", "Neimark-Sacker", 2, Marker::Diamond),
    ("branch_point", "branch point", 4, Marker::Disc),
    ("border_collision", "border collision", 5, Marker::Cross),
];

/// More markers of a kind than this are drawn small.
const CROWD: usize = 40;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(table), Some(bifurcations)) = (
        results.table("continuation"),
        results.table("continuation_bifurcations"),
    ) else {
        return Ok(None);
    };
    let network = shown_network(results);
    let rows = rows_of_network(table, network)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let names = table.text_column("parameter_name")?;
    let name = rows.first().and_then(|&row| names[row]).unwrap_or_default();
    let unit = table
        .column("parameter")
        .map_or("", |column| column.unit.as_str());
    // Of a channel the axis shows the name as other figures do; a tensor keeps the one it has in the experiment.
    let label = match name.strip_suffix(".scale") {
        Some(tensor @ ("recurrent" | "hidden" | "input")) => format!("Scale of {tensor} weights"),
        Some(tensor) => format!("Scale of {}", tensor.replace('_', " ")),
        None if name.contains(['.', '[']) => name.to_owned(),
        None => channel_label(name),
    };
    let panel = |column: &str, axis: Axis, with_legend: bool| -> Result<Plane> {
        diagram(
            table,
            bifurcations,
            &rows,
            network,
            column,
            Plane::new(Axis::new(label.clone(), unit), axis),
            with_legend,
        )
    };
    let outputs = table
        .columns()
        .iter()
        .filter(|column| column.name.starts_with("output_"))
        .count();
    let mut figure = Figure::new(KIND.name);
    let component = panel("pc_1", Axis::new("PC 1", "a.u."), true)?;
    if outputs > 0 {
        let output = panel("output_0", Axis::new("Output 1", ""), false)?;
        figure = figure
            .panel(Panel::plane(component.shares_x()).aspect(0.5))
            .panel(Panel::plane(output).aspect(0.5))
            .lettered();
    } else {
        figure = figure.panel(Panel::plane(component).aspect(0.62));
    }
    let branches = table.u64_column("branch")?;
    let count = rows.iter().map(|&row| branches[row] + 1).max().unwrap_or(0);
    let caption = format!(
        "Bifurcation diagram of {count} {} of fixed points over {name}: stable parts solid, unstable parts dashed. Points: the fixed points of the network itself.",
        if count == 1 { "branch" } else { "branches" }
    );
    Ok(Some(figure.caption(caption)))
}

/// The branches of a network over the parameter, by one of the table's columns.
fn diagram(
    table: &Table,
    bifurcations: &Table,
    rows: &[usize],
    network: u64,
    column: &str,
    mut plane: Plane,
    with_legend: bool,
) -> Result<Plane> {
    let x = table.f64_column("parameter")?;
    let y = table.f64_column(column)?;
    let unstable = table.u64_column("n_unstable")?;
    let branches = table.u64_column("branch")?;
    let points = table.u64_column("point")?;
    let kinds = table.text_column("kind")?;
    let label = |series: Series, text: &str| {
        if with_legend {
            series.label(text)
        } else {
            series
        }
    };
    // At a bifurcation the eigenvalues decide nothing: a piece is what its other end is.
    let is_plain = |row: usize| {
        let kind = kinds[row].unwrap_or_default();
        !BIFURCATIONS.iter().any(|(known, ..)| *known == kind)
    };
    let mut lines = [Line::default(), Line::default()];
    for pair in rows.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if branches[a] != branches[b] {
            continue;
        }
        let of = if is_plain(a) { a } else { b };
        lines[usize::from(unstable[of] > 0)].push((x[a], y[a]), (x[b], y[b]));
    }
    let [stable, not_stable] = lines;
    for (line, style, text) in [
        (
            not_stable,
            Style::from(Role::UnstableMode)
                .width(0.8)
                .dash(Dash::Dashed),
            "unstable",
        ),
        (stable, Style::from(Role::StableMode).width(1.2), "stable"),
    ] {
        if !line.x.is_empty() {
            plane = plane.with(label(Series::line(line.x, line.y, style), text));
        }
    }
    let of_network = rows_of_network(bifurcations, network)?;
    let (in_branch, at) = (
        bifurcations.u64_column("branch")?,
        bifurcations.u64_column("point")?,
    );
    let found = bifurcations.text_column("kind")?;
    for (kind, text, category, marker) in BIFURCATIONS {
        let chosen: Vec<usize> = of_network
            .iter()
            .filter(|&&row| found[row] == Some(kind))
            .filter_map(|&row| {
                let same = |&&of: &&usize| branches[of] == in_branch[row] && points[of] == at[row];
                rows.iter().find(same).copied()
            })
            .collect();
        if chosen.is_empty() {
            continue;
        }
        // Branches of piecewise linear networks meet hundreds of borders.
        let size = if chosen.len() > CROWD { 2.0 } else { 3.5 };
        let style = Style::from(Role::Category(category))
            .marker(marker)
            .size(size);
        let series = Series::points(
            chosen.iter().map(|&row| x[row]).collect(),
            chosen.iter().map(|&row| y[row]).collect(),
            style,
        );
        plane = plane.with(label(series, text));
    }
    let ids = table.f64_column("from_fixed_point")?;
    for (role, is_unstable) in [(Role::Unstable, true), (Role::Stable, false)] {
        let chosen: Vec<usize> = rows
            .iter()
            .copied()
            .filter(|&row| ids[row].is_finite() && (unstable[row] > 0) == is_unstable)
            .collect();
        if chosen.is_empty() {
            continue;
        }
        let series = Series::points(
            pick(table, "parameter", &chosen)?,
            pick(table, column, &chosen)?,
            Style::from(role).size(2.5),
        );
        plane = plane.with(series.ids(chosen.iter().map(|&row| ids[row] as u64).collect()));
    }
    Ok(plane)
}

/// A polyline with gaps.
#[derive(Default)]
pub(super) struct Line {
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
}

impl Line {
    /// Goes on from `a` to `b`, with a gap before `a` where the line was not there.
    pub(super) fn push(&mut self, a: (f64, f64), b: (f64, f64)) {
        let end = (self.x.last().copied(), self.y.last().copied());
        if end != (Some(a.0), Some(a.1)) {
            if !self.x.is_empty() {
                self.x.push(f64::NAN);
                self.y.push(f64::NAN);
            }
            self.x.push(a.0);
            self.y.push(a.1);
        }
        self.x.push(b.0);
        self.y.push(b.1);
    }
}
