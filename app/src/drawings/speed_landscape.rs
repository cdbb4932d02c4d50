//! Speed and direction of the dynamics on a plane through the state space; of one dimension, the step against the state.

use super::FigureKind;
use super::plane::ShownPlane;
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, ColorScale, Panel, Plane, Role, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "speed_landscape",
    summary: "speed on a plane through the state space, with the vector field and the fixed points",
    needs: &["speed_landscape", "speed_landscape_points"],
    build,
};

/// Length of an arrow that lies in the plane, in distances between arrows.
const LENGTH: f64 = 0.8;
/// Of a head, over that of its arrow, and half its angle in radians.
const HEAD: (f64, f64) = (0.38, 0.5);
/// Arrows shorter than this part of the longest are left out: they would have no direction to be seen.
const SHORTEST: f64 = 0.15;
/// Speeds are shown down to this part of the largest; what is slower is all the same colour.
const DECADES: f64 = 8.0;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(shown), Some(points)) = (
        ShownPlane::of(results, KIND.name),
        results.table("speed_landscape_points"),
    ) else {
        return Ok(None);
    };
    let array = |name: &str| {
        let all = results.array(KIND.name, name)?;
        let own = all.outer_iter().nth(shown.index)?;
        Some((
            own.shape().to_vec(),
            own.iter().copied().collect::<Vec<f64>>(),
        ))
    };
    let (Some((shape, speeds)), Some((coarse, vectors)), Some((_, leaving))) =
        (array("speeds"), array("vectors"), array("leaving"))
    else {
        return Ok(None);
    };
    let (&[rows, columns], &[.., arrows, _]) = (&shape[..], &coarse[..]) else {
        return Ok(None);
    };
    let (series, note) = shown.points(points, 0.0)?;
    let [x, y] = [0, 1].map(|axis| shown.ranges.get(axis).copied().unwrap_or((0.0, 1.0)));
    if shown.ranges.len() == 1 {
        let at = (0..columns).map(|k| x.0 + (x.1 - x.0) * (k as f64 + 0.5) / columns as f64);
        let mut plane = Plane::new(shown.axis(0), Axis::new("*F*(*x*, *u*) − *x*", "a.u."))
            .with(Series::horizontal_rule(0.0, Role::Guide))
            .with(Series::line(at.collect(), vectors, Role::Trajectory).label("step"));
        plane.series.extend(series);
        let caption = format!(
            "The step F(x, u) - x of a state of one dimension, which grows where the curve is above 0.{note}"
        );
        return Ok(Some(
            Figure::new(KIND.name)
                .caption(caption)
                .panel(Panel::plane(plane)),
        ));
    }
    let logs: Vec<f64> = speeds.iter().map(|q| q.log10()).collect();
    let highest = logs
        .iter()
        .copied()
        .filter(|q| q.is_finite())
        .fold(f64::NEG_INFINITY, f64::max);
    if !highest.is_finite() {
        return Ok(None);
    }
    let lowest = logs
        .iter()
        .copied()
        .filter(|q| q.is_finite())
        .fold(highest, f64::min);
    let (lowest, highest) = (lowest.max(highest - DECADES).min(highest - 0.1), highest);
    // A speed of 0 is slower than all others, and no hole.
    let shades: Vec<f64> = speeds
        .iter()
        .zip(&logs)
        .map(|(q, log)| if *q == 0.0 { lowest } else { *log })
        .collect();
    let scale = ColorScale::new("log_{10} *q*", "a.u.").range(lowest, highest);
    let mut plane = Plane::new(shown.axis(0), shown.axis(1))
        .equal_aspect()
        .with(Series::heatmap(x, y, rows, columns, shades.clone(), scale));

    let spacing = (x.1 - x.0) / arrows as f64;
    let (mut dark, mut light) = (Pieces::default(), Pieces::default());
    for (k, vector) in vectors.chunks_exact(2).enumerate() {
        let (row, column) = (k / arrows, k % arrows);
        let place = |(low, high): (f64, f64), k: usize| {
            low + (high - low) * (k as f64 + 0.5) / arrows as f64
        };
        let at = [place(x, column), place(y, row)];
        let size = vector[0].hypot(vector[1]);
        let inside = (1.0 - leaving[k] * leaving[k]).max(0.0).sqrt();
        if !(size > 0.0 && inside >= SHORTEST) {
            continue;
        }
        let cell = |k: usize, n: usize| ((k as f64 + 0.5) / arrows as f64 * n as f64) as usize;
        let shade = shades
            [cell(row, rows).min(rows - 1) * columns + cell(column, columns).min(columns - 1)];
        // Black is seen on the bright half of the colours, white on the dark.
        let bright = (shade - lowest) / (highest - lowest) > 0.6;
        let pieces = if bright { &mut dark } else { &mut light };
        let length = LENGTH * spacing * inside / size;
        pieces.arrow(at, [vector[0] * length, vector[1] * length]);
    }
    for (pieces, color) in [(dark, [40, 40, 40]), (light, [255, 255, 255])] {
        let style = Style::from(Role::Guide).color(color).width(0.45);
        plane = plane.with(Series::segments(&pieces.from, &pieces.to, style));
    }
    plane.series.extend(series);
    let lengths = if shown.is_whole() {
        "All arrows are of one length."
    } else {
        "Arrows show where a step leads; they are shorter the more of it leaves the plane."
    };
    let caption = format!(
        "Speed q = 1/2 |x - F(x, u)|^2 on {}. {lengths}{note}",
        shown.description()
    );
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::plane(plane).aspect(1.0)),
    ))
}

/// Straight pieces that make arrows.
#[derive(Default)]
struct Pieces {
    from: Vec<[f64; 2]>,
    to: Vec<[f64; 2]>,
}

impl Pieces {
    /// An arrow with its middle at a place, along a vector.
    fn arrow(&mut self, at: [f64; 2], [dx, dy]: [f64; 2]) {
        let tip = [at[0] + dx / 2.0, at[1] + dy / 2.0];
        self.from.push([at[0] - dx / 2.0, at[1] - dy / 2.0]);
        self.to.push(tip);
        for angle in [HEAD.1, -HEAD.1] {
            let (sin, cos) = angle.sin_cos();
            self.from.push(tip);
            self.to.push([
                tip[0] - HEAD.0 * (cos * dx - sin * dy),
                tip[1] - HEAD.0 * (sin * dx + cos * dy),
            ]);
        }
    }
}
