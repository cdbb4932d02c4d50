//! Figures of every shape keep the rules of a journal: no overlap, nothing cut off, no text below 6 points.

use nullcline_figures::FigureError;
use nullcline_figures::figure::{
    Axis, ColorScale, Figure, Panel, Plane, Role, Scale, Series, Space, View,
};
use nullcline_figures::geometry::Rect;
use nullcline_figures::scene::{Request, Scene, Shape};
use nullcline_figures::text::{Embedded, SMALLEST, run_size};
use proptest::prelude::*;

fn points(mm: f64) -> f32 {
    (mm / 25.4 * 72.0) as f32
}

fn scene(figure: &Figure, mm: f64) -> Result<Scene, FigureError> {
    Scene::build(figure, &Request::file(points(mm)), &Embedded)
}

/// Everything that a reviewer would send back.
fn faults(figure: &Figure, scene: &Scene) -> Vec<String> {
    let mut faults = Vec::new();
    let canvas = Rect::new(0.0, 0.0, scene.size[0], scene.size[1]);
    let inside =
        |r: &Rect| canvas.contains([r.left, r.top]) && canvas.contains([r.right, r.bottom]);
    for (i, text) in scene.texts.iter().enumerate() {
        let name: String = text.runs.iter().map(|run| run.text.as_str()).collect();
        let bounds = text.bounds();
        if !inside(&bounds) {
            faults.push(format!(
                "\"{name}\" leaves the canvas: {bounds:?} of {:?}",
                scene.size
            ));
        }
        if text
            .runs
            .iter()
            .any(|run| run_size(text.size, run.level) < SMALLEST)
        {
            faults.push(format!("\"{name}\" is smaller than {SMALLEST} points"));
        }
        for other in &scene.texts[i + 1..] {
            if bounds.grown(-0.2).overlaps(&other.bounds().grown(-0.2)) {
                let other_name: String = other.runs.iter().map(|run| run.text.as_str()).collect();
                faults.push(format!(
                    "\"{name}\" overlaps \"{other_name}\": {bounds:?}, {:?}",
                    other.bounds()
                ));
            }
        }
        for (panel, frame) in scene.frames.iter().enumerate() {
            if frame.scales.is_some() && bounds.overlaps(&frame.rect) {
                faults.push(format!("\"{name}\" lies over the data of panel {panel}"));
            }
        }
    }
    for (i, frame) in scene.frames.iter().enumerate() {
        if !inside(&frame.rect) {
            faults.push(format!("frame {i} leaves the canvas"));
        }
        for other in &scene.frames[i + 1..] {
            if frame.rect.overlaps(&other.rect) {
                faults.push(format!("frame {i} overlaps another"));
            }
        }
    }
    for shape in &scene.shapes {
        let corners = match shape {
            Shape::Line { points, .. } | Shape::Polygon { points, .. } => points.clone(),
            Shape::Strip { upper, lower, .. } => [upper.clone(), lower.clone()].concat(),
            Shape::Box { rect, .. } => vec![[rect.left, rect.top], [rect.right, rect.bottom]],
            Shape::Disc { center, .. } => vec![*center],
        };
        // Half a marker may stand out of its frame.
        if !corners.iter().all(|&p| canvas.grown(4.0).contains(p)) {
            faults.push(format!("a shape leaves the canvas: {shape:?}"));
        }
    }
    assert_eq!(scene.frames.len(), figure.panels.len());
    faults
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[A-Z][a-z]{2,9}( [a-z]{2,9}){0,3}",
        Just("Re *λ*_{max}".to_owned()),
        Just("Potential of the membrane at the soma against the bath".to_owned()),
        Just("10^{-3} *x*".to_owned()),
    ]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -3.0..3.0f64,
        1 => (-12.0..12.0f64).prop_map(|e| 10f64.powf(e)),
        1 => Just(f64::NAN),
        1 => Just(0.0),
    ]
}

fn numbers(n: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(number(), n)
}

fn axis() -> impl Strategy<Value = Axis> {
    (
        label(),
        prop_oneof![Just(""), Just("a.u."), Just("mean squared error")],
        any::<bool>(),
    )
        .prop_map(|(label, unit, log)| {
            Axis::new(label, unit).scale(if log { Scale::Log } else { Scale::Linear })
        })
}

fn series() -> impl Strategy<Value = Series> {
    (
        0..7usize,
        prop::option::of(label()),
        (1..30usize).prop_flat_map(|n| (numbers(n), numbers(n), numbers(n))),
    )
        .prop_map(|(kind, label, (x, y, z))| {
            let series = match kind {
                0 => Series::line(x, y, Role::Trajectory),
                1 => Series::points(x, y, Role::Unstable),
                2 => Series::band(x, y, z, Role::Category(2)),
                3 => Series::horizontal_rule(0.5, Role::Guide),
                4 => Series::circle((0.0, 0.0), 1.0, Role::Guide),
                5 => Series::heatmap(
                    (0.0, 1.0),
                    (0.0, 2.0),
                    1,
                    y.len(),
                    y,
                    ColorScale::new("Speed", "1/s"),
                ),
                _ => {
                    let n = x.len();
                    Series::line(x, y, Role::Output)
                        .colored_by(z, ColorScale::new("Time since the onset", "s"))
                        .label(format!("{n}"))
                }
            };
            match label {
                Some(label) => series.label(label),
                None => series,
            }
        })
}

fn plane() -> impl Strategy<Value = Panel> {
    (
        axis(),
        axis(),
        prop::collection::vec(series(), 0..5),
        any::<bool>(),
        any::<bool>(),
        0.1..1.3f64,
    )
        .prop_map(|(x, y, series, equal, shares, aspect)| {
            let mut plane = Plane::new(x, y);
            plane.equal_aspect =
                equal && plane.x.scale == Scale::Linear && plane.y.scale == Scale::Linear;
            plane.shares_x = shares;
            plane.series = series;
            Panel::plane(plane).aspect(aspect)
        })
}

fn space() -> impl Strategy<Value = Panel> {
    (
        [label(), label(), label()],
        (2..30usize).prop_flat_map(|n| (numbers(n), numbers(n), numbers(n))),
        -180.0..180.0f64,
        -90.0..90.0f64,
        any::<bool>(),
        0.5..1.2f64,
    )
        .prop_map(|(labels, (x, y, z), azimuth, elevation, equal, aspect)| {
            let mut space = Space::new(labels.map(|label| Axis::new(label, "a.u.")))
                .with(
                    Series::line_3d(x.clone(), y.clone(), z.clone(), Role::Trajectory)
                        .label("orbit"),
                )
                .with(Series::points_3d(x, y, z, Role::Stable));
            space.view = View { azimuth, elevation };
            space.equal_aspect = equal;
            Panel::space(space).aspect(aspect)
        })
}

fn figure() -> impl Strategy<Value = Figure> {
    (
        prop::collection::vec(prop_oneof![3 => plane(), 1 => space()], 1..6),
        1..4usize,
        prop::option::of(label()),
        any::<bool>(),
    )
        .prop_map(|(panels, columns, title, lettered)| {
            let mut figure = Figure::new("random").columns(columns);
            figure.panels = panels;
            if let Some(title) = title {
                figure.panels[0].title = Some(title.clone());
                figure.title = Some(title);
            }
            if lettered { figure.lettered() } else { figure }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_figure_is_printable(figure in figure(), mm in prop::sample::select(vec![89.0, 120.0, 183.0])) {
        match scene(&figure, mm) {
            Ok(scene) => {
                let faults = faults(&figure, &scene);
                prop_assert!(faults.is_empty(), "FAULT {faults:#?}");
            }
            // Three columns that share axes cannot be broken up, and may be too many for 89 mm.
            Err(FigureError::Width { .. }) => prop_assert!(figure.columns > 1),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
