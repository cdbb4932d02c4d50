//! Basins of attraction on a plane through the state space.

use super::plane::ShownPlane;
use super::{FigureKind, pick, rows_of_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Category, Panel, Plane, Role, Series, Style};
use nullcline_figures::palette::{INK, PAPER, REGIONS, REST, UNKNOWN};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "basins",
    summary: "basins of attraction on a plane through the state space, with the attractors",
    needs: &["basins", "basins_attractors", "basins_points"],
    build,
};

/// An attractor as the table has it.
struct Attractor {
    label: u64,
    kind: String,
    /// What the legend calls it.
    name: String,
    fraction: f64,
}

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(shown), Some(table), Some(states), Some(points)) = (
        ShownPlane::of(results, KIND.name),
        results.table("basins"),
        results.table("basins_attractors"),
        results.table("basins_points"),
    ) else {
        return Ok(None);
    };
    let Some(labels) = results
        .array(KIND.name, "labels")
        .and_then(|all| all.outer_iter().nth(shown.index).map(|own| own.to_owned()))
    else {
        return Ok(None);
    };
    let &[rows, columns] = labels.shape() else {
        return Ok(None);
    };
    let attractors = attractors(table, shown.network)?;
    let (categories, of) = categories(&attractors);
    let cells = labels.iter().map(|label| {
        let place = attractors.iter().position(|a| a.label as f64 == *label)?;
        of.get(place).copied()
    });
    let [x, y] = [0, 1].map(|axis| shown.ranges.get(axis).copied().unwrap_or((0.0, 1.0)));
    let regions = Series::regions(x, y, rows, columns, cells.collect(), categories).label("basins");
    let line = shown.ranges.len() == 1;
    let mut plane = if line {
        let nothing = Axis::new("", "").range(0.0, 1.0).ticks(Vec::new());
        Plane::new(shown.axis(0), nothing)
    } else {
        Plane::new(shown.axis(0), shown.axis(1)).equal_aspect()
    };
    plane = plane.with(regions);

    // Cycles and aperiodic sets as dots; fixed points are drawn as such.
    for (kind, label, size) in [("aperiodic", "aperiodic set", 1.6), ("cycle", "cycle", 3.0)] {
        let own: Vec<u64> = attractors
            .iter()
            .filter(|a| a.kind == kind)
            .map(|a| a.label)
            .collect();
        let of = states.u64_column("attractor")?;
        let rows: Vec<usize> = rows_of_network(states, shown.network)?
            .into_iter()
            .filter(|&row| own.contains(&of[row]))
            .collect();
        if rows.is_empty() {
            continue;
        }
        let x = pick(states, "axis_1", &rows)?;
        let y = if line {
            vec![0.5; x.len()]
        } else {
            pick(states, "axis_2", &rows)?
        };
        let rim = Style::from(Role::Stable).color(PAPER).size(size + 1.0);
        let dots = Style::from(Role::Stable).color(INK).size(size);
        plane = plane
            .with(Series::points(x.clone(), y.clone(), rim))
            .with(Series::points(x, y, dots).label(label));
    }
    let (series, note) = shown.points(points, 0.5)?;
    plane.series.extend(series);
    let shares: Vec<String> = attractors
        .iter()
        .filter(|a| a.fraction > 0.0)
        .map(|a| format!("{} {}", a.name, percent(a.fraction)))
        .collect();
    let caption = format!(
        "Where the points of {} end: {}.{note}",
        shown.description(),
        shares.join(", ")
    );
    Ok(Some(Figure::new(KIND.name).caption(caption).panel(
        Panel::plane(plane).aspect(if line { 0.2 } else { 1.0 }),
    )))
}

fn percent(fraction: f64) -> String {
    if fraction < 0.001 {
        "below 0.1 %".to_owned()
    } else {
        format!("{:.1} %", 100.0 * fraction)
    }
}

fn attractors(table: &Table, network: u64) -> Result<Vec<Attractor>> {
    let rows = rows_of_network(table, network)?;
    let labels = table.u64_column("attractor")?;
    let kinds = table.text_column("kind")?;
    let ids = table.f64_column("fixed_point")?;
    let periods = table.f64_column("period")?;
    let fractions = table.f64_column("fraction")?;
    let mut attractors: Vec<Attractor> = Vec::new();
    for row in rows {
        let kind = kinds[row].unwrap_or_default();
        let name = match kind {
            "fixed_point" if ids[row].is_finite() => format!("point {}", ids[row]),
            "fixed_point" => "other fixed point".to_owned(),
            "cycle" => format!("cycle of {} steps", periods[row]),
            _ => kind.to_owned(),
        };
        // Numbers tell several of one name apart.
        let numbered = |count: usize| match count {
            1 => name.clone(),
            _ => format!("{name} ({count})"),
        };
        let taken = |name: &String| attractors.iter().any(|a| a.name == *name);
        let name = (1..)
            .map(numbered)
            .find(|name| !taken(name))
            .unwrap_or_default();
        attractors.push(Attractor {
            label: labels[row],
            kind: kind.to_owned(),
            name,
            fraction: fractions[row],
        });
    }
    Ok(attractors)
}

/// The categories of the map, and the one of each attractor: a colour each for the largest basins, one for all others,
/// one for what escapes or is undecided.
fn categories(attractors: &[Attractor]) -> (Vec<Category>, Vec<usize>) {
    let has_colour =
        |a: &&Attractor| !matches!(&a.kind[..], "escaped" | "undecided") && a.fraction > 0.0;
    let mut largest: Vec<&Attractor> = attractors.iter().filter(has_colour).collect();
    largest.sort_by(|a, b| b.fraction.total_cmp(&a.fraction));
    largest.truncate(REGIONS.len());
    let mut categories = Vec::new();
    let mut of = Vec::new();
    let mut colors = REGIONS.iter();
    for attractor in attractors {
        let own = largest.iter().any(|a| a.label == attractor.label);
        let category = match &attractor.kind[..] {
            "escaped" => Category::new("escaped", REST),
            "undecided" => Category::new("undecided", UNKNOWN),
            _ => match (own, colors.as_slice().first()) {
                (true, Some(color)) => {
                    colors.next();
                    Category::new(attractor.name.clone(), *color)
                }
                _ => Category::new("others", OTHERS),
            },
        };
        let known = categories.iter().position(|c| *c == category);
        of.push(known.unwrap_or(categories.len()));
        if known.is_none() {
            categories.push(category);
        }
    }
    (categories, of)
}

/// Basins beyond the number of colours.
const OTHERS: [u8; 3] = [150, 150, 150];
