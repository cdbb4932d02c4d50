//! The periodic orbits of the true system and of a network in its attractor, their multipliers, and how far pairs lie apart.

use super::axes::{axes_of, line, panel};
use super::{FigureKind, common_range, shown_network};
use crate::results::Results;
use ndarray::{Array2, ArrayView2, Ix2};
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Marker, Panel, Plane, Role, Scale, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "periodic_orbits",
    summary: "periodic orbits of the network and of the true system in the attractor, their multipliers, and their distances",
    needs: &["periodic_orbits"],
    build,
};

/// Orbits drawn, the shortest: more would be a tangle.
const DRAWN: usize = 4;
/// Samples of the attractor behind them.
const SAMPLES: usize = 2500;

/// A row of the table.
struct Orbit {
    index: u64,
    /// In the unit of the axis.
    period: f64,
    multiplier: f64,
    along: f64,
    partner: Option<u64>,
    distance: f64,
}

fn build(results: &Results) -> Result<Option<Figure>> {
    let Some(table) = results.table(KIND.name) else {
        return Ok(None);
    };
    let Some(recorded) = points(results, "recorded") else {
        return Ok(None);
    };
    if recorded.ncols() < 2 || table.row_count() == 0 {
        return Ok(None);
    }
    let network = shown_network(results);
    // Time where it is known.
    let in_time = table.f64_column("period_in_time")?;
    let timed = in_time.iter().all(|period| period.is_finite());
    let (column, unit) = match table.column("period_in_time") {
        Some(column) if timed => ("period_in_time", column.unit.clone()),
        _ => ("period", "steps".to_owned()),
    };
    let networks = table.f64_column("network")?;
    let indices = table.u64_column("orbit")?;
    let periods = table.f64_column(column)?;
    let (re, im) = (
        table.f64_column("multiplier_re")?,
        table.f64_column("multiplier_im")?,
    );
    let along = table.f64_column("along")?;
    let partners = table.f64_column("true_orbit")?;
    let distances = table.f64_column("distance")?;
    let orbits = |own: &dyn Fn(f64) -> bool| -> Vec<Orbit> {
        let rows = (0..networks.len()).filter(|&row| own(networks[row]));
        rows.map(|row| Orbit {
            index: indices[row],
            period: periods[row],
            multiplier: re[row].hypot(im[row]),
            along: along[row],
            partner: partners[row].is_finite().then_some(partners[row] as u64),
            distance: distances[row],
        })
        .collect()
    };
    let truth = orbits(&f64::is_nan);
    let own = orbits(&|of| of == network as f64);

    let both = || truth.iter().chain(&own);
    let (first, last) = both().fold((f64::INFINITY, 0.0f64), |(first, last), orbit| {
        (first.min(orbit.period), last.max(orbit.period))
    });
    // Where the shown network has none, and there is no truth.
    if last == 0.0 {
        return Ok(None);
    }
    // Of a single orbit, the axis is as wide as a part of its period.
    let margin = (0.05 * (last - first)).max(0.02 * last);

    let coordinates = table.metadata.get("unit").map_or("", String::as_str);
    let axes: Vec<Axis> = axes_of(table, coordinates, recorded.ncols())
        .into_iter()
        .zip(recorded.columns())
        .map(|(axis, values)| {
            let (low, high) = common_range(&values.to_vec(), &[]);
            axis.range(low, high)
        })
        .collect();
    let attractor = recorded.slice(ndarray::s![..recorded.nrows().min(SAMPLES), ..]);
    let backdrop = Style::from(Role::Guide).width(0.3).opacity(0.35);
    let picture = |drawn: Vec<(Role, Array2<f64>)>| {
        let mut series = vec![line(columns(attractor), backdrop.clone())];
        for (role, orbit) in &drawn {
            let style = Style::from(*role).width(0.8);
            series.push(line(columns(orbit.view()), style));
        }
        panel(axes.clone(), series)
    };

    let mut figure = Figure::new(KIND.name).columns(2);
    let shortest = &truth[..truth.len().min(DRAWN)];
    if !truth.is_empty() {
        let drawn = shortest.iter().enumerate().filter_map(|(color, orbit)| {
            let points = points(results, &format!("true_{}", orbit.index))?;
            Some((Role::Category(color), points))
        });
        figure = figure.panel(picture(drawn.collect()).title("True system"));
    }
    // A network's orbit has the colour of its partner; without a true system, one of its own.
    let color = |k: usize, orbit: &Orbit| match truth.is_empty() {
        true => Some(k),
        false => {
            let is_partner = |other: &Orbit| Some(other.index) == orbit.partner;
            shortest.iter().position(is_partner)
        }
    };
    let drawn = own.iter().enumerate().filter_map(|(k, orbit)| {
        let color = color(k, orbit).filter(|color| *color < DRAWN)?;
        let points = points(results, &format!("network_{network}_{}", orbit.index))?;
        Some((Role::Category(color), points))
    });
    figure = figure.panel(picture(drawn.collect()).title("Network"));

    let period_axis = || Axis::new("Period *T*", unit.clone()).range(first - margin, last + margin);
    let mut multipliers = Plane::new(
        period_axis(),
        Axis::new("Multiplier |*μ*|", "per period").scale(Scale::Log),
    )
    .with(Series::horizontal_rule(1.0, Role::Guide));
    let ring = Style::from(Role::Target)
        .marker(Marker::Ring)
        .size(4.5)
        .width(0.7);
    let disc = Style::from(Role::Generated).marker(Marker::Disc).size(2.0);
    for (orbits, style, label) in [(&truth, &ring, "true system"), (&own, &disc, "network")] {
        let (x, y): (Vec<f64>, Vec<f64>) = orbits
            .iter()
            .filter(|orbit| orbit.multiplier > 0.0)
            .map(|orbit| (orbit.period, orbit.multiplier))
            .unzip();
        if !x.is_empty() {
            let mut series = Series::points(x, y, style.clone());
            if !truth.is_empty() {
                series = series.label(label);
            }
            multipliers = multipliers.with(series);
        }
    }
    figure = figure.panel(Panel::plane(multipliers).aspect(0.85));

    // Hundredths have short labels, which leave room for two columns.
    let (scale, of_distance) = match coordinates {
        "s.d." => (100.0, "% of s.d."),
        other => (1.0, other),
    };
    let (x, y): (Vec<f64>, Vec<f64>) = own
        .iter()
        .filter(|orbit| orbit.distance.is_finite())
        .map(|orbit| (orbit.period, scale * orbit.distance))
        .unzip();
    let pairs = x.len();
    if pairs > 0 {
        let most = y.iter().copied().fold(0.0, f64::max);
        let plane = Plane::new(
            period_axis(),
            Axis::new("Pair distance", of_distance).range(0.0, 1.1 * most.max(1e-12)),
        );
        figure = figure.panel(Panel::plane(plane.with(Series::points(x, y, disc))).aspect(0.85));
    }

    let shortest_of = |orbits: &[Orbit]| {
        let periods = orbits.iter().take(DRAWN);
        let periods: Vec<String> = periods
            .map(|orbit| format!("{:.4}", orbit.period))
            .collect();
        match periods.is_empty() {
            true => "none".to_owned(),
            false => format!("{} {unit}", periods.join(", ")),
        }
    };
    let mut caption = String::from("Periodic orbits in the attractor (grey).");
    if truth.is_empty() {
        caption += &format!(" Periods of the shortest: {}.", shortest_of(&own));
    } else {
        caption += &format!(
            " The shortest of the true system have the periods {}, those of the network {}; a network's orbit has the \
             colour of its partner. Of {} true orbits and {} of the network, {pairs} are pairs.",
            shortest_of(&truth),
            shortest_of(&own),
            truth.len(),
            own.len()
        );
    }
    caption += " The largest Floquet multiplier of each, but the one along the orbit: beyond 1 the orbit is unstable.";
    let along = own
        .iter()
        .map(|orbit| orbit.along)
        .filter(|x| x.is_finite());
    let (low, high) = along.fold((1.0f64, 1.0f64), |(low, high), x| (low.min(x), high.max(x)));
    if high - low > 0.1 {
        caption += &format!(
            " The one along the orbit is 1 for a flow, and {low:.2} to {high:.2} for the network: so far its multipliers \
             are not those of a smooth one."
        );
    }
    Ok(Some(figure.caption(caption).lettered()))
}

/// An array of points, `[point, axis]`.
fn points(results: &Results, name: &str) -> Option<Array2<f64>> {
    let array = results.array(KIND.name, name)?;
    array
        .view()
        .into_dimensionality::<Ix2>()
        .ok()
        .map(|points| points.to_owned())
}

/// One list for each axis.
fn columns(points: ArrayView2<f64>) -> Vec<Vec<f64>> {
    let columns = points.columns().into_iter();
    columns.map(|column| column.to_vec()).collect()
}
