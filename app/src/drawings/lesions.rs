//! What every lesion does to the task and to the fixed points.

use super::training_curve::loss_name;
use super::{FigureKind, pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Marker, Panel, Plane, Role, Scale, Series, Style};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "lesions",
    summary: "accuracy or loss after the lesion of each unit, and the fixed points that it costs",
    needs: &["lesions"],
    build,
};

/// Sets of units, and letters in the name of each, up to which they are named at the axis; for more there is no room.
const NAMED: [usize; 2] = [6, 12];

fn build(results: &Results) -> Result<Option<Figure>> {
    let Some(table) = results.table("lesions") else {
        return Ok(None);
    };
    let rows = rows_of_network(table, shown_network(results))?;
    let Some(measure) = Measure::of(results, table, &rows)? else {
        return Ok(None);
    };
    let what = table.text_column("what")?;
    let label = |units: &str| match rows.first().and_then(|&row| what[row]) {
        Some("silence") => format!("Silenced {units}"),
        Some("scale_input") => format!("Scaled input of {units}"),
        _ => format!("Clamped {units}"),
    };
    // A scan is shown by unit; sets of units one after the other, by their names where there is room.
    let units = pick(table, "unit", &rows)?;
    let scan = units.iter().all(|unit| unit.is_finite());
    let (x, mut axis) = match scan {
        true => (units, Axis::new(label("unit"), "index")),
        false => (
            pick(table, "lesion", &rows)?,
            Axis::new(label("units"), "set"),
        ),
    };
    let last = x.iter().fold(0.0_f64, |last, &x| last.max(x));
    axis = axis.range(-0.5_f64.max(0.02 * last), last + 0.5_f64.max(0.02 * last));
    let names = table.text_column("units")?;
    let names = rows.iter().map(|&row| names[row].unwrap_or(""));
    if !scan && rows.len() <= NAMED[0] && names.clone().all(|name| name.len() <= NAMED[1]) {
        let ticks = x.iter().copied().zip(names.map(str::to_owned));
        axis = axis.ticks(ticks.collect());
    }
    // Stems from the intact level: what a lesion costs is their length.
    let size = if rows.len() > 60 { 1.5 } else { 2.5 };
    let stems = |from: &[f64], to: &[f64]| {
        let end = |y: &[f64]| -> Vec<[f64; 2]> { x.iter().zip(y).map(|(&x, &y)| [x, y]).collect() };
        let style = Style::from(Role::Guide).width(0.6);
        Series::segments(&end(from), &end(to), style)
    };
    let intact = measure.before.iter().copied().find(|y| y.is_finite());
    let mut task = Plane::new(axis.clone(), measure.axis);
    if let Some(level) = intact {
        task = task.with(Series::horizontal_rule(level, Role::Guide).label("intact"));
    }
    task = task
        .with(stems(&measure.before, &measure.after))
        .with(Series::points(
            x.clone(),
            measure.after.clone(),
            Style::from(Role::Category(0)).size(size),
        ));
    let mut caption = format!(
        "{} after the lesion of {} (dots), beside that of the intact network (line).",
        measure.name,
        if scan {
            "one unit after the other"
        } else {
            "sets of units"
        },
    );
    let before = pick(table, "n_fixed_before", &rows)?;
    let count = before.iter().copied().find(|n| n.is_finite());
    let Some(count) = count else {
        let panel = Panel::plane(task).aspect(0.5);
        return Ok(Some(Figure::new(KIND.name).caption(caption).panel(panel)));
    };
    let lost = pick(table, "n_lost", &rows)?;
    // Beside each other, and without the zeros of what is rare.
    let mut most = count.max(1.0);
    let mut points = Vec::new();
    for (column, label, category, marker, beside) in [
        ("n_lost", "lost", 0, Marker::Disc, 0.0),
        ("n_new", "new", 1, Marker::Triangle, 0.2),
        (
            "n_stability_changed",
            "stability changed",
            2,
            Marker::Diamond,
            -0.2,
        ),
    ] {
        let counts = pick(table, column, &rows)?;
        let shown = x.iter().zip(counts);
        let (x, counts): (Vec<f64>, Vec<f64>) = shown
            .filter(|(_, n)| column == "n_lost" || *n > 0.0)
            .map(|(&x, n)| (x + beside, n))
            .unzip();
        if counts.is_empty() {
            continue;
        }
        most = counts.iter().fold(most, |most, &n| most.max(n));
        let style = Style::from(Role::Category(category))
            .marker(marker)
            .size(size);
        points.push(Series::points(x, counts, style).label(label));
    }
    let mut fixed_points = Plane::new(
        axis,
        Axis::new("Fixed points", "count").range(-0.03 * most, 1.03 * most),
    )
    .with(Series::horizontal_rule(count, Role::Guide).label("intact"))
    .with(stems(&vec![0.0; x.len()], &lost));
    for series in points {
        fixed_points = fixed_points.with(series);
    }
    caption += &format!(
        " Below, what becomes of the {count} fixed points (line) as the lesion is made gradually."
    );
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::plane(task.shares_x()).aspect(0.4))
            .panel(Panel::plane(fixed_points).aspect(0.4))
            .lettered(),
    ))
}

/// The measure that a figure of lesions shows: the first of those there are.
struct Measure {
    name: &'static str,
    before: Vec<f64>,
    after: Vec<f64>,
    axis: Axis,
}

impl Measure {
    fn of(results: &Results, table: &Table, rows: &[usize]) -> Result<Option<Self>> {
        let column = |name: &str| match table.column(name) {
            Some(_) => pick(table, name, rows),
            None => Ok(Vec::new()),
        };
        let loss = || Axis::new("Loss", loss_name(results)).scale(Scale::Log);
        for (column_name, name, axis) in [
            ("accuracy", "Accuracy", Axis::new("Accuracy", "fraction")),
            ("loss", "Loss", loss()),
        ] {
            let after = column(column_name)?;
            if after.iter().any(|y| y.is_finite()) {
                return Ok(Some(Measure {
                    name,
                    before: column(&format!("{column_name}_before"))?,
                    after,
                    axis,
                }));
            }
        }
        // Where nothing is asked of the network, what is left is how far its trajectories have moved.
        let after = column("trajectory_distance")?;
        Ok(after.iter().any(|y| y.is_finite()).then(|| Measure {
            name: "Distance of the trajectories",
            before: vec![0.0; after.len()],
            after,
            axis: Axis::new("Distance", "spreads"),
        }))
    }
}
