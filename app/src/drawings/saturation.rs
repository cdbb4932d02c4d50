//! Fixed points found against the number of starts: whether more starts would find more.

use super::FigureKind;
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Scale, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "saturation",
    summary: "fixed points found against the number of starts, and what the search says of those it missed",
    needs: &["fixed_points_saturation", "fixed_points_search"],
    build,
};

/// Networks beyond this many are drawn alike, without names.
const NAMED: usize = 5;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(table), Some(searches)) = (
        results.table("fixed_points_saturation"),
        results.table("fixed_points_search"),
    ) else {
        return Ok(None);
    };
    let of = table.u64_column("network")?;
    let (starts, points) = (
        table.f64_column("starts")?,
        table.f64_column("fixed_points")?,
    );
    let mut networks = of.clone();
    networks.dedup();
    if networks.is_empty() {
        return Ok(None);
    }
    // From none: a curve that is flat from the start on would say nothing of its height.
    let most = points.iter().copied().fold(1.0, f64::max);
    let mut plane = Plane::new(
        Axis::new("Starts", "count").scale(Scale::Log),
        Axis::new("Fixed points found", "count").range(0.0, 1.08 * most),
    );
    for (k, &network) in networks.iter().enumerate() {
        let (x, y): (Vec<f64>, Vec<f64>) = (0..of.len())
            .filter(|&row| of[row] == network)
            .map(|row| (starts[row], points[row]))
            .unzip();
        let style = match networks.len() {
            count if count <= NAMED => Style::from(Role::Category(k)),
            _ => Style::from(Role::Category(0)).width(0.5).opacity(0.4),
        };
        let mut line = Series::line(x.clone(), y.clone(), style.clone());
        if (2..=NAMED).contains(&networks.len()) {
            line = line.label(format!("network {network}"));
        }
        plane = plane.with(line);
        if networks.len() <= NAMED {
            plane = plane.with(Series::points(x, y, style.size(2.5)));
        }
    }
    let caption = format!(
        "Fixed points that so many starts are expected to lead to, out of those found. {}",
        unseen(&searches.f64_column("unseen_mass")?)
    );
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::plane(plane).aspect(0.62)),
    ))
}

/// What the unseen mass of every network says, in words.
fn unseen(masses: &[f64]) -> String {
    let known = masses.iter().copied().filter(|mass| mass.is_finite());
    let (low, high) = (
        known.clone().fold(f64::INFINITY, f64::min),
        known.fold(f64::NEG_INFINITY, f64::max),
    );
    let percent = |mass: f64| match mass {
        0.0 => "0".to_owned(),
        mass => format!("{:.2}", 100.0 * mass),
    };
    match (low, high) {
        (low, high) if low > high => "What was missed is not known.".to_owned(),
        (_, 0.0) => "Every one was found from several starts, so that the chance of one more start to find another is \
                     estimated as none (Good-Turing)."
            .to_owned(),
        (low, high) if low == high => format!(
            "One more start would find another with an estimated chance of {} % (Good-Turing).",
            percent(low)
        ),
        (low, high) => format!(
            "One more start would find another with an estimated chance of {} to {} %, by the network (Good-Turing).",
            percent(low),
            percent(high)
        ),
    }
}
