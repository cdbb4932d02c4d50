//! The attractor of a piecewise-linear network coloured by linear region, and how often each region is visited.

use super::{FigureKind, pick, rows_of_network, shown_network};
use crate::results::Results;
use ndarray::{ArrayView2, Ix2};
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{
    Axis, ColorScale, Marker, Panel, Plane, Role, Scale, Series, Space, Style,
};
use nullcline_figures::palette::CATEGORIES;
use nullcline_tables::Values;

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "regions_visited",
    summary: "the attractor of a piecewise-linear network coloured by linear region, and the occupancy of the regions by rank",
    needs: &["regions_visited"],
    build,
};

/// Most states drawn: more make large files and no other picture.
const STATES: usize = 5000;
/// Up to so many regions have a colour each.
const COLOURS: usize = CATEGORIES.len();

fn build(results: &Results) -> Result<Option<Figure>> {
    let Some(table) = results.table("regions_visited") else {
        return Ok(None);
    };
    let network = shown_network(results);
    let rows = rows_of_network(table, network)?;
    let array = |name: &str| results.array("regions_visited", &format!("{name}_{network}"));
    let (Some(places), Some(of), false) = (array("places"), array("regions"), rows.is_empty())
    else {
        return Ok(None);
    };
    let Ok(places) = places.view().into_dimensionality::<Ix2>() else {
        return Ok(None);
    };
    let of: Vec<f64> = of.iter().copied().collect();
    let occupancy = pick(table, "occupancy", &rows)?;
    let every = (places.nrows() / STATES).max(1);
    let shown: Vec<usize> = (0..places.nrows().min(of.len())).step_by(every).collect();
    let orbit = Orbit { places };
    let mut series = Vec::new();
    if occupancy.len() <= COLOURS {
        for (region, part) in occupancy.iter().enumerate() {
            let own: Vec<usize> = shown
                .iter()
                .copied()
                .filter(|&t| of[t] == region as f64)
                .collect();
            let style = Style::from(Role::Category(region)).size(1.6);
            let label = format!("region {} ({:.1} %)", region + 1, 100.0 * part);
            series.push(orbit.points(&own, style).label(label));
        }
    } else {
        let ranks = shown.iter().map(|&t| of[t] + 1.0).collect();
        let scale = ColorScale::new("Region", "rank by occupancy")
            .range(1.0, occupancy.len() as f64)
            .scale(Scale::Log);
        let style = Style::from(Role::Trajectory).size(1.6);
        series.push(orbit.points(&shown, style).colored_by(ranks, scale));
    }
    let attractor = orbit.panel(series);

    let ranks: Vec<f64> = (1..=occupancy.len()).map(|rank| rank as f64).collect();
    let many = occupancy.len() > COLOURS;
    let mut axis = Axis::new("Region", "rank by occupancy");
    if many {
        axis = axis.scale(Scale::Log);
    } else {
        let ticks = ranks.iter().map(|rank| (*rank, rank.to_string()));
        axis = axis
            .range(0.5, occupancy.len() as f64 + 0.5)
            .ticks(ticks.collect());
    }
    let mut plane = Plane::new(
        axis,
        Axis::new("Occupancy", "fraction of time").scale(Scale::Log),
    );
    if many {
        let style = Style::from(Role::Trajectory).size(2.2);
        plane = plane.with(Series::points(ranks.clone(), occupancy.clone(), style));
    } else {
        for (region, part) in occupancy.iter().enumerate() {
            let style = Style::from(Role::Category(region)).size(4.5);
            let point = Series::points(vec![ranks[region]], vec![*part], style);
            plane = plane.with(point);
        }
    }
    let inside = match table.column("fixed_point_inside").map(|c| &c.values) {
        Some(Values::Bool(values)) => values.as_slice(),
        _ => &[],
    };
    let holds: Vec<usize> = (0..rows.len())
        .filter(|&k| inside.get(rows[k]) == Some(&Some(true)))
        .collect();
    if !holds.is_empty() {
        let ring = Style::from(Role::Unstable).marker(Marker::Ring).size(6.0);
        let x = holds.iter().map(|&k| ranks[k]).collect();
        let y = holds.iter().map(|&k| occupancy[k]).collect();
        let label = "holds a fixed point";
        // Rings behind the points, which stay visible in them.
        plane
            .series
            .insert(0, Series::points(x, y, ring).label(label));
    }
    let variance: f64 = array("explained_variance_ratio").map_or(f64::NAN, |ratios| ratios.sum());
    let transitions = match results.table("regions_transitions") {
        Some(table) => rows_of_network(table, network)?.len(),
        None => 0,
    };
    let caption = format!(
        "The network by itself, {:.0} % of its variance in view, coloured by the linear region it is in: {} regions, {} \
         pairs of them in succession. Occupancy of the regions by rank.",
        100.0 * variance,
        occupancy.len(),
        transitions
    );
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(attractor)
            .panel(Panel::plane(plane).aspect(0.62))
            .lettered(),
    ))
}

/// A run in its principal components.
struct Orbit<'a> {
    /// `[time, axis]`
    places: ArrayView2<'a, f64>,
}

impl Orbit<'_> {
    /// Some states as dots; of a single state variable, each against the next.
    fn points(&self, times: &[usize], style: Style) -> Series {
        let along =
            |axis: usize| -> Vec<f64> { times.iter().map(|&t| self.places[[t, axis]]).collect() };
        match self.places.ncols() {
            0 | 1 => {
                let next = |t: usize| self.places.get([t + 1, 0]).copied().unwrap_or(f64::NAN);
                let next = times.iter().map(|&t| next(t)).collect();
                Series::points(along(0), next, style)
            }
            2 => Series::points(along(0), along(1), style),
            _ => Series::points_3d(along(0), along(1), along(2), style),
        }
    }

    /// The panel for such series.
    fn panel(&self, series: Vec<Series>) -> Panel {
        let component = |k: usize| Axis::new(format!("PC {k}"), "a.u.");
        let plane = |x, y| {
            let mut plane = Plane::new(x, y);
            plane.series = series.clone();
            Panel::plane(plane).aspect(0.85)
        };
        match self.places.ncols() {
            0 | 1 => plane(
                Axis::new("*x*(*t*)", "a.u."),
                Axis::new("*x*(*t* + 1)", "a.u."),
            ),
            2 => plane(component(1), component(2)),
            _ => {
                let axes = [component(1), component(2), component(3)];
                let mut space = Space::new(axes).view(-55.0, 35.0);
                space.series = series;
                Panel::space(space).aspect(0.85)
            }
        }
    }
}
