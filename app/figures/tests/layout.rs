//! Figures of every shape keep the rules of a journal: no overlap, nothing cut off, no text below 6 points.

use nullcline_figures::FigureError;
use nullcline_figures::figure::{
    Axis, Category, ColorScale, Figure, Panel, Plane, Role, Scale, Series, Space, View,
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
        0..8usize,
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
                6 => {
                    let cells = y
                        .iter()
                        .map(|y| (*y < 1.0).then_some(usize::from(*y > 0.0)));
                    let name = label.clone().unwrap_or_default();
                    let categories = vec![
                        Category::new(name, [119, 170, 221]),
                        Category::new("escaped", [187, 187, 187]),
                    ];
                    let (edges, columns) = (((0.0, 1.0), (-1.0, 2.0)), y.len());
                    Series::regions(edges.0, edges.1, 1, columns, cells.collect(), categories)
                }
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
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]
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

#[test]
fn too_many_columns_fall_back_to_fewer() {
    let panel = || Panel::plane(Plane::new(Axis::new("Time", "s"), Axis::new("Rate", "1/s")));
    let figure = (0..4).fold(Figure::new("grid").columns(4), |figure, _| {
        figure.panel(panel())
    });
    let lefts = |mm: f64| {
        let mut lefts: Vec<i32> = scene(&figure, mm)
            .unwrap()
            .frames
            .iter()
            .map(|f| f.rect.left as i32)
            .collect();
        lefts.dedup();
        lefts.len()
    };
    assert_eq!(lefts(183.0), 4);
    assert!(lefts(89.0) < 4);
}

#[test]
fn stacked_panels_have_one_time_axis() {
    let row = |end: f64| {
        Plane::new(Axis::new("Time", "s"), Axis::new("Rate", "1/s")).with(Series::line(
            vec![0.0, end],
            vec![0.0, 1.0],
            Role::Input,
        ))
    };
    let figure = Figure::new("stack")
        .panel(Panel::plane(row(1.0).shares_x()).aspect(0.2))
        .panel(Panel::plane(row(10.0).shares_x()).aspect(0.2))
        .panel(Panel::plane(row(5.0)).aspect(0.2));
    let scene = scene(&figure, 89.0).unwrap();
    let ranges: Vec<_> = scene
        .frames
        .iter()
        .map(|frame| frame.scales.unwrap().0.range)
        .collect();
    assert_eq!(ranges, [(0.0, 10.0); 3]);
    let labels = scene
        .texts
        .iter()
        .filter(|t| t.runs.iter().any(|run| run.text.contains("Time")))
        .count();
    assert_eq!(labels, 1);
}

#[test]
fn equal_aspect_is_equal() {
    for aspect in [0.3, 1.0, 2.0] {
        let plane = Plane::new(Axis::new("Re", "1/step"), Axis::new("Im", "1/step"))
            .equal_aspect()
            .with(Series::circle((0.2, 0.0), 1.0, Role::Guide));
        let figure = Figure::new("circle").panel(Panel::plane(plane).aspect(aspect));
        let frame = scene(&figure, 89.0).unwrap().frames[0];
        let (x, y) = frame.scales.unwrap();
        let units = [
            (x.range.1 - x.range.0) / f64::from(frame.rect.width()),
            (y.range.1 - y.range.0) / f64::from(frame.rect.height()),
        ];
        assert!((units[0] / units[1] - 1.0).abs() < 1e-4, "{units:?}");
    }
}

/// Also where long names take most of a small panel: what has no room would not be drawn.
#[test]
fn every_axis_of_a_space_is_named() {
    let mut unnamed = Vec::new();
    for azimuth in [-55.0, 35.0, -20.0, 120.0] {
        for ends in [
            [
                (-4.038_693, 6.888_042),
                (-3.779_219, 5.512_356),
                (-3.642_307, 4.950_122),
            ],
            [(-0.004, 0.006), (-50.0, 80.0), (0.0, 1.0)],
            [(-1e6, 2e6), (3.0, 3.1), (-12.0, -9.0)],
        ] {
            for columns in [1, 2, 3] {
                let axes = [0, 1, 2].map(|k| {
                    let (low, high) = ends[k];
                    Axis::new(format!("Column {}", k + 1), "a.u.").range(low, high)
                });
                let mut space = Space::new(axes).view(azimuth, 22.0);
                space.equal_aspect = false;
                let mut figure = Figure::new("names").columns(columns);
                for _ in 0..columns {
                    figure = figure.panel(Panel::space(space.clone()).title("Recorded"));
                }
                let scene = scene(&figure, 89.0).unwrap();
                let names = scene.texts.iter().filter(|text| {
                    let name: String = text.runs.iter().map(|run| run.text.as_str()).collect();
                    name.starts_with("Column")
                });
                if names.count() != 3 * columns {
                    unnamed.push((azimuth, ends, columns));
                }
                assert_eq!(faults(&figure, &scene), Vec::<String>::new());
            }
        }
    }
    assert!(unnamed.is_empty(), "{unnamed:?}");
}

#[test]
fn fixed_height_fills_the_canvas() {
    let panel = || Panel::plane(Plane::new(Axis::new("Time", "s"), Axis::new("Rate", "1/s")));
    let figure = Figure::new("window").panel(panel()).panel(panel());
    let request = Request {
        height: Some(400.0),
        ..Request::file(300.0)
    };
    let scene = Scene::build(&figure, &request, &Embedded).unwrap();
    assert_eq!(scene.size, [300.0, 400.0]);
    let lowest = scene
        .texts
        .iter()
        .map(|t| t.bounds().bottom)
        .fold(0.0, f32::max);
    assert!(lowest > 385.0 && lowest <= 400.0, "{lowest}");
}

#[test]
fn points_report_where_they_are() {
    let plane = Plane::new(
        Axis::new("x", "a.u.").range(0.0, 1.0),
        Axis::new("y", "a.u.").range(0.0, 1.0),
    )
    .with(Series::points(vec![0.5, 7.0], vec![0.5, 0.5], Role::Stable).ids(vec![42, 43]));
    let scene = scene(&Figure::new("point").panel(Panel::plane(plane)), 89.0).unwrap();
    assert_eq!(
        scene.targets.len(),
        1,
        "what lies outside the range cannot be clicked"
    );
    assert_eq!(scene.targets[0].id, 42);
    assert_eq!(scene.targets[0].center, scene.frames[0].rect.center());
}

#[test]
fn long_recordings_are_thinned() {
    let n = 100_800;
    let x: Vec<f64> = (0..n).map(f64::from).collect();
    let y: Vec<f64> = x.iter().map(|t| (t * 0.01).sin()).collect();
    let plane = Plane::new(Axis::new("Time", "s"), Axis::new("Rate", "1/s")).with(Series::line(
        x.clone(),
        y.clone(),
        Role::Recorded,
    ));
    let z: Vec<f64> = x.iter().map(|t| (t * 0.013).cos()).collect();
    let axes = [1, 2, 3].map(|k| Axis::new(format!("PC {k}"), "a.u."));
    let space = Space::new(axes).with(Series::line_3d(x, y, z, Role::Trajectory));
    for panel in [Panel::plane(plane), Panel::space(space)] {
        let scene = scene(&Figure::new("long").panel(panel), 89.0).unwrap();
        let vertices: usize = scene
            .shapes
            .iter()
            .map(|shape| {
                if let Shape::Line { points, .. } = shape {
                    points.len()
                } else {
                    0
                }
            })
            .sum();
        assert!(vertices < 60_000, "{vertices}");
        assert!(vertices > 500);
    }
}

#[test]
fn regions_have_their_colours_and_a_legend_of_what_is_seen() {
    let categories = [[1, 0, 0], [2, 0, 0], [3, 0, 0]];
    let categories: Vec<Category> = ["first", "second", "not seen"]
        .iter()
        .zip(categories)
        .map(|(label, color)| Category::new(*label, color))
        .collect();
    let cells = vec![Some(0), Some(0), Some(1), None, Some(1), Some(1)];
    let regions = |cells: Vec<Option<usize>>| {
        let regions = Series::regions((0.0, 3.0), (0.0, 2.0), 2, 3, cells, categories.clone())
            .label("basins");
        let plane = Plane::new(Axis::new("x", "a.u."), Axis::new("y", "a.u.")).with(regions);
        Figure::new("regions").panel(Panel::plane(plane))
    };
    let figure = regions(cells);
    let scene = scene(&figure, 89.0).unwrap();
    assert_eq!(faults(&figure, &scene), Vec::<String>::new());
    let names: Vec<String> = scene
        .texts
        .iter()
        .map(|t| t.runs.iter().map(|run| run.text.as_str()).collect())
        .collect();
    let named = |name: &str| names.iter().any(|n| n == name);
    assert!(named("first") && named("second") && !named("not seen") && !named("basins"));
    // Within the frame one box for every run of equal cells, of the colour of its category.
    let frame = scene.frames[0].rect;
    let boxes: Vec<_> = scene
        .shapes
        .iter()
        .filter_map(|shape| match shape {
            Shape::Box { rect, color, .. } if frame.contains(rect.center()) => {
                let cell = frame.width() / 3.0;
                Some((color[0], (rect.width() / cell).round() as usize))
            }
            _ => None,
        })
        .collect();
    assert_eq!(boxes, [(1, 2), (2, 1), (2, 2)]);
    // The numbers drawn, with the names of the categories.
    let csv = figure.csv();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[1], "1,basins,regions,0,,first,0.5,0.5,,0");
    assert_eq!(lines[4], "1,basins,regions,3,,,0.5,1.5,,");
    let faulty = regions(vec![Some(3); 6]);
    assert!(matches!(faulty.check(), Err(FigureError::Invalid { .. })));
}
