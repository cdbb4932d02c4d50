//! How fixed points came about in training: loss, their number by stability, and their branches.

use super::continuation::{BIFURCATIONS, Line};
use super::{FigureKind, pick, rows_of_network, shown_network};
use crate::results::{Results, TRAINING};
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Dash, Marker, Panel, Plane, Role, Scale, Series, Style};
use nullcline_tables::Table;
use std::collections::BTreeMap;

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "fixed_points_over_training",
    summary: "number of fixed points by stability beside the loss, and their branches with births and deaths",
    needs: &[
        TRAINING,
        "fixed_points_over_training",
        "fixed_points_over_training_events",
    ],
    build,
};

/// Numbers of unstable directions that have a curve of their own; the rest share one.
const CURVES: u64 = 5;

/// The figure ends with the first snapshot after so many times the updates until the last event.
const AFTER: f64 = 2.0;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(training), Some(points), Some(events)) = (
        results.table(TRAINING),
        results.table("fixed_points_over_training"),
        results.table("fixed_points_over_training_events"),
    ) else {
        return Ok(None);
    };
    let network = shown_network(results);
    let points = Places::of(points, network)?;
    let events = Events::of(events, network)?;
    let (first, last) = points.updates.iter().fold(
        (f64::INFINITY, f64::NEG_INFINITY),
        |(low, high), &update| (low.min(update), high.max(update)),
    );
    // Without points, or with points in one snapshot alone, there is nothing over time.
    if first >= last {
        return Ok(None);
    }
    // After the last event curves are level: what happens before it is what is to be seen.
    let latest = events.updates.iter().copied().fold(first, f64::max);
    let shown = points
        .updates
        .iter()
        .copied()
        .filter(|update| latest > first && *update >= first + AFTER * (latest - first))
        .fold(last, f64::min);
    let axis = || Axis::new("Update", "count").range(first, shown);
    let loss = loss(training, network, shown, axis())?;
    let counts = counts(&points, &events, axis());
    let branches = branches(&points, &events, axis());
    let mut caption = "Held-out loss, number of fixed points by their unstable directions, and the branches of fixed points along the first principal component, stable parts solid, unstable ones dashed. Between two snapshots, parameters go along a straight line.".to_owned();
    if shown < last {
        caption += &format!(
            " From update {shown} to the end at {last} nothing is born, dies or changes its stability."
        );
    }
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::plane(loss.shares_x()).aspect(0.25))
            .panel(Panel::plane(counts.shares_x()).aspect(0.35))
            .panel(Panel::plane(branches).aspect(0.5))
            .lettered(),
    ))
}

fn loss(training: &Table, network: u64, until: f64, axis: Axis) -> Result<Plane> {
    let rows = rows_of_network(training, network)?;
    let updates = pick(training, "update", &rows)?;
    let losses = pick(training, "held_out_loss", &rows)?;
    let (x, y) = updates
        .into_iter()
        .zip(losses)
        .filter(|(update, loss)| *update <= until && loss.is_finite())
        .unzip();
    let style = Style::from(Role::Category(0)).width(1.0);
    Ok(Plane::new(axis, Axis::new("Loss", "").scale(Scale::Log)).with(Series::line(x, y, style)))
}

/// The rows of one network in the table of points.
struct Places {
    updates: Vec<f64>,
    branches: Vec<u64>,
    places: Vec<f64>,
    unstable: Vec<f64>,
}

impl Places {
    fn of(table: &Table, network: u64) -> Result<Self> {
        let rows = rows_of_network(table, network)?;
        let branches = table.u64_column("branch")?;
        Ok(Places {
            updates: pick(table, "update", &rows)?,
            branches: rows.iter().map(|&row| branches[row]).collect(),
            places: pick(table, "pc_1", &rows)?,
            unstable: pick(table, "n_unstable", &rows)?,
        })
    }
}

/// The rows of one network in the table of events.
struct Events {
    updates: Vec<f64>,
    branches: Vec<u64>,
    places: Vec<f64>,
    kinds: Vec<String>,
    before: Vec<f64>,
    after: Vec<f64>,
}

impl Events {
    fn of(table: &Table, network: u64) -> Result<Self> {
        let rows = rows_of_network(table, network)?;
        let branches = table.u64_column("branch")?;
        let kinds = table.text_column("kind")?;
        Ok(Events {
            updates: pick(table, "update", &rows)?,
            branches: rows.iter().map(|&row| branches[row]).collect(),
            places: pick(table, "pc_1", &rows)?,
            kinds: rows
                .iter()
                .map(|&row| kinds[row].unwrap_or_default().to_owned())
                .collect(),
            before: pick(table, "n_unstable_before", &rows)?,
            after: pick(table, "n_unstable_after", &rows)?,
        })
    }
}

/// Stairs: the number of fixed points by unstable directions, from snapshot to snapshot over the events between them.
fn counts(points: &Places, events: &Events, axis: Axis) -> Plane {
    let class = |unstable: f64| {
        unstable
            .is_finite()
            .then_some((unstable as u64).min(CURVES))
    };
    let mut at_snapshot: BTreeMap<u64, BTreeMap<u64, i64>> = BTreeMap::new();
    for (update, unstable) in points.updates.iter().zip(&points.unstable) {
        let counts = at_snapshot.entry(*update as u64).or_default();
        if let Some(class) = class(*unstable) {
            *counts.entry(class).or_default() += 1;
        }
    }
    let mut stairs: BTreeMap<u64, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    let classes: Vec<u64> = (0..=CURVES)
        .filter(|class| {
            at_snapshot
                .values()
                .any(|counts| counts.contains_key(class))
        })
        .collect();
    let updates: Vec<u64> = at_snapshot.keys().copied().collect();
    for &of in &classes {
        let (x, y) = stairs.entry(of).or_default();
        let mut step = |update: f64, count: i64| {
            if let Some(&last) = y.last() {
                x.push(update);
                y.push(last);
            }
            x.push(update);
            y.push(count as f64);
        };
        for (k, update) in updates.iter().enumerate() {
            let mut count = at_snapshot[update].get(&of).copied().unwrap_or(0);
            step(*update as f64, count);
            let next = updates.get(k + 1).copied().unwrap_or(*update);
            for (e, &when) in events.updates.iter().enumerate() {
                if when <= *update as f64 || when >= next as f64 {
                    continue;
                }
                let change = i64::from(class(events.after[e]) == Some(of))
                    - i64::from(class(events.before[e]) == Some(of));
                if change != 0 {
                    count += change;
                    step(when, count);
                }
            }
        }
    }
    let highest = stairs
        .values()
        .flat_map(|(_, y)| y.iter().copied())
        .fold(1.0, f64::max);
    let mut plane = Plane::new(
        axis,
        Axis::new("Fixed points", "count").range(0.0, 1.08 * highest),
    );
    for (class, (x, y)) in stairs {
        let (role, label) = match class {
            0 => (Role::StableMode, "stable".to_owned()),
            1 => (Role::UnstableMode, "1 unstable direction".to_owned()),
            CURVES => (Role::Category(4), format!("{CURVES} or more")),
            class => (Role::Category(class as usize - 2), class.to_string()),
        };
        plane = plane.with(Series::line(x, y, Style::from(role).width(0.9)).label(label));
    }
    plane
}

/// Every branch through its snapshots, from its birth to its death.
fn branches(points: &Places, events: &Events, axis: Axis) -> Plane {
    // By branch: update, place, unstable directions before and after; of an event the side that there is.
    let mut tracks: BTreeMap<u64, Vec<[f64; 4]>> = BTreeMap::new();
    for k in 0..points.updates.len() {
        let unstable = points.unstable[k];
        let place = [points.updates[k], points.places[k], unstable, unstable];
        tracks.entry(points.branches[k]).or_default().push(place);
    }
    for k in 0..events.updates.len() {
        let place = [
            events.updates[k],
            events.places[k],
            events.before[k],
            events.after[k],
        ];
        tracks.entry(events.branches[k]).or_default().push(place);
    }
    let mut lines = [Line::default(), Line::default()];
    for places in tracks.values_mut() {
        places.sort_by(|a, b| a[0].total_cmp(&b[0]));
        for pair in places.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let unstable = if a[3].is_finite() { a[3] } else { b[2] };
            lines[usize::from(unstable > 0.0)].push((a[0], a[1]), (b[0], b[1]));
        }
    }
    let mut plane = Plane::new(axis, Axis::new("PC 1", "a.u."));
    let [stable, unstable] = lines;
    for (line, style, label) in [
        (
            unstable,
            Style::from(Role::UnstableMode)
                .width(0.6)
                .dash(Dash::Dashed),
            "unstable",
        ),
        (stable, Style::from(Role::StableMode).width(1.0), "stable"),
    ] {
        if !line.x.is_empty() {
            plane = plane.with(Series::line(line.x, line.y, style).label(label));
        }
    }
    let marks = [
        ("birth", "birth", 2, Marker::Triangle),
        ("death", "death", 3, Marker::Cross),
    ];
    // A fold is a birth or a death here.
    for (kind, label, category, marker) in marks.into_iter().chain(BIFURCATIONS) {
        let chosen: Vec<usize> = (0..events.kinds.len())
            .filter(|&k| events.kinds[k] == kind)
            .collect();
        if chosen.is_empty() {
            continue;
        }
        let style = Style::from(Role::Category(category))
            .marker(marker)
            .size(3.0);
        let series = Series::points(
            chosen.iter().map(|&k| events.updates[k]).collect(),
            chosen.iter().map(|&k| events.places[k]).collect(),
            style,
        );
        plane = plane.with(series.label(label));
    }
    plane
}
