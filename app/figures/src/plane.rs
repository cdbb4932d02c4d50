//! Panels with two axes: ranges, axes with their ticks and labels, and the marks inside.

use crate::figure::{Axis, Content, Figure, Marker, Marks, Orientation, Plane, Scale, Series};
use crate::geometry::{Point, Rect, clip_line, clip_segment, dashed, thin};
use crate::layout::{
    AXIS, GAP, LABEL_DEPTH, LABEL_LINE, LABEL_LINES, MINOR_LENGTH, Margins, Place, TICK_LENGTH,
};
use crate::markup;
use crate::palette::{self, Colors, INK, Look, PAPER, Rgb, SELECTED};
use crate::scale::{self, Scaler};
use crate::scene::{Anchor, Frame, PanelView, Request, Scene, Shape, Target, Text};
use crate::text::{self, CAP, LABEL, Line, Measure, TICK};
use crate::ticks::{self, Direction, Ticks};

/// Opacity of bands over that of their style, so that a curve on its band is seen.
pub(crate) const BAND_OPACITY: f32 = 0.25;

/// Free part of an axis at both ends of the data.
const MARGIN: f64 = 0.05;

/// Horizontal and vertical range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ranges {
    pub x: (f64, f64),
    pub y: (f64, f64),
    /// Scale of the horizontal axis: that of the panel which draws it.
    pub x_scale: Scale,
}

/// Axes of a plane for a frame of known size.
#[derive(Clone, Debug)]
pub(crate) struct Axes {
    pub x: Scaler,
    pub y: Scaler,
    x_ticks: Ticks,
    y_ticks: Ticks,
    x_label: Vec<Line>,
    y_label: Vec<Line>,
    /// Width of the widest label of the vertical axis.
    tick_width: f32,
    /// How far the labels of the horizontal axis reach beyond the frame, left and right.
    overhang: [f32; 2],
    /// From the end of the ticks of the horizontal axis to the capitals of their labels.
    tick_gap: f32,
    /// Whether the horizontal axis is drawn here; if not, it is that of the panel below.
    draws_x: bool,
}

type Extent = Option<(f64, f64)>;

/// Extents of what a series draws, as far as it widens the axes.
fn extents(series: &Series, x_scale: Scale, y_scale: Scale) -> (Extent, Extent) {
    // Only points that can be drawn on both axes count.
    let pairs = |x: &[f64], y: &[f64]| {
        let both = || {
            x.iter()
                .copied()
                .zip(y.iter().copied())
                .filter(|&(x, y)| scale::drawable(x, x_scale) && scale::drawable(y, y_scale))
        };
        (
            scale::extent(both().map(|p| p.0), x_scale),
            scale::extent(both().map(|p| p.1), y_scale),
        )
    };
    match &series.marks {
        Marks::Line { x, y, .. } | Marks::Points { x, y, .. } => pairs(x, y),
        Marks::Segments { from, to } => {
            let all = || from.iter().chain(to);
            (
                scale::extent(all().map(|p| p[0]), x_scale),
                scale::extent(all().map(|p| p[1]), y_scale),
            )
        }
        Marks::Band { x, lower, upper } => {
            let (a, b) = (pairs(x, lower), pairs(x, upper));
            (scale::union(a.0, b.0), scale::union(a.1, b.1))
        }
        Marks::Rule { .. } => (None, None),
        Marks::Circle { center, radius } => (
            scale::extent([center.0 - radius, center.0 + radius], x_scale),
            scale::extent([center.1 - radius, center.1 + radius], y_scale),
        ),
        Marks::Heatmap { x, y, .. } | Marks::Regions { x, y, .. } => (
            scale::extent([x.0, x.1], x_scale),
            scale::extent([y.0, y.1], y_scale),
        ),
    }
}

/// Whether the horizontal axis should end where the data end: time courses and heat maps fill their frame.
fn fills_x(series: &Series) -> bool {
    match &series.marks {
        Marks::Line { x, .. } | Marks::Band { x, .. } => x.windows(2).all(|w| w[0] <= w[1]),
        Marks::Rule { .. } | Marks::Heatmap { .. } | Marks::Regions { .. } => true,
        Marks::Points { .. } | Marks::Segments { .. } | Marks::Circle { .. } => false,
    }
}

/// Rules alone give an axis around them.
fn rules(plane: &Plane, orientation: Orientation) -> Vec<f64> {
    plane
        .series
        .iter()
        .filter_map(|s| match s.marks {
            Marks::Rule { orientation: o, at } if o == orientation => Some(at),
            _ => None,
        })
        .collect()
}

/// Ranges of all panels; `None` for a space. Panels that share an axis have it from the lowest of them, fitted
/// to the data of all.
pub(crate) fn ranges(figure: &Figure, columns: usize, request: &Request) -> Vec<Option<Ranges>> {
    let plane = |index: usize| match figure.panels.get(index).map(|p| &p.content) {
        Some(Content::Plane(plane)) => Some(plane),
        _ => None,
    };
    let range = |index: usize| -> Option<Ranges> {
        let own = plane(index)?;
        // The panels that share this axis: up and down the column.
        let mut first = index;
        while first >= columns && plane(first - columns).is_some_and(|p| p.shares_x) {
            first -= columns;
        }
        let mut sharing = vec![first];
        let mut last = first;
        while plane(last).is_some_and(|p| p.shares_x) && plane(last + columns).is_some() {
            last += columns;
            sharing.push(last);
        }
        let lowest = plane(last)?;
        let mut x = None;
        let mut fills = true;
        for member in sharing.iter().filter_map(|&i| plane(i)) {
            for series in &member.series {
                x = scale::union(x, extents(series, lowest.x.scale, member.y.scale).0);
                fills &= fills_x(series);
            }
        }
        let y = own.series.iter().fold(None, |y, s| {
            scale::union(y, extents(s, lowest.x.scale, own.y.scale).1)
        });
        let fit = |axis: &Axis, extent: Extent, orientation: Orientation, fills: bool| {
            let extent = extent.or_else(|| scale::extent(rules(own, orientation), axis.scale));
            axis.range.unwrap_or_else(|| {
                scale::fitted(extent, axis.scale, if fills { 0.0 } else { MARGIN })
            })
        };
        let heatmap = own
            .series
            .iter()
            .any(|s| matches!(s.marks, Marks::Heatmap { .. } | Marks::Regions { .. }));
        let mut ranges = Ranges {
            x: fit(&lowest.x, x, Orientation::Vertical, fills && x.is_some()),
            y: fit(&own.y, y, Orientation::Horizontal, heatmap),
            x_scale: lowest.x.scale,
        };
        if lowest.x.range.is_none()
            && lowest.x.scale == Scale::Linear
            && fills
            && x.is_some()
            && !heatmap
        {
            ranges.x = scale::rounded(ranges.x);
        }
        if let Some(view) = request.view(index).ranges {
            ranges = Ranges {
                x: view.0,
                y: view.1,
                x_scale: lowest.x.scale,
            };
        }
        Some(ranges)
    };
    (0..figure.panels.len()).map(range).collect()
}

/// The axes for a frame of this size.
pub(crate) fn axes(
    plane: &Plane,
    mut ranges: Ranges,
    view: &PanelView,
    [width, height]: [f32; 2],
    measure: &dyn Measure,
) -> Axes {
    if plane.equal_aspect && ranges.x_scale == Scale::Linear && view.ranges.is_none() {
        ranges = equal_aspect(ranges, [width, height]);
    }
    let x = Scaler {
        range: ranges.x,
        scale: ranges.x_scale,
    };
    let y = Scaler {
        range: ranges.y,
        scale: plane.y.scale,
    };
    let tick_room = |label: &str| text::label_width(label, TICK, measure) + 2.5 * GAP;
    let y_room = |_: &str| TICK * 1.4;
    let (mut x_ticks, y_ticks) = (
        ticks_of(&plane.x, x, width, Direction::Across, &tick_room, measure),
        ticks_of(&plane.y, y, height, Direction::Up, &y_room, measure),
    );
    let (mut x_label, mut overhang) = (Vec::new(), [0.0_f32; 2]);
    if plane.shares_x {
        x_ticks = Ticks::default();
    } else {
        let label = ticks::axis_text(&plane.x.label, &plane.x.unit, x_ticks.exponent);
        x_label = text::wrap(&label, LABEL, false, width, LABEL_LINES, measure);
        for (at, label) in &x_ticks.major {
            let half = text::label_width(label, TICK, measure) / 2.0;
            let center = x.fraction(*at).unwrap_or(0.0) as f32 * width;
            overhang = [
                overhang[0].max(half - center),
                overhang[1].max(center + half - width),
            ];
        }
    }
    let label = ticks::axis_text(&plane.y.label, &plane.y.unit, y_ticks.exponent);
    let y_label = text::wrap(&label, LABEL, false, height, LABEL_LINES, measure);
    let tick_width = y_ticks
        .major
        .iter()
        .map(|(_, label)| text::label_width(label, TICK, measure))
        .fold(0.0, f32::max);
    // Near the corner, a superscript below the frame meets a subscript beside it.
    let holds =
        |ticks: &Ticks, mark: &str| ticks.major.iter().any(|(_, label)| label.contains(mark));
    let raised = if holds(&x_ticks, "^{") { 1.5 } else { 0.0 };
    let lowered = if holds(&y_ticks, "_{") { 1.0 } else { 0.0 };
    let tick_gap = GAP + raised + lowered;
    Axes {
        x,
        y,
        x_ticks,
        y_ticks,
        x_label,
        y_label,
        tick_width,
        overhang,
        tick_gap,
        draws_x: !plane.shares_x,
    }
}

/// Width of the frame of a plane that may be this large: with one unit equally long on both axes, a frame that
/// is too wide for its data becomes narrower, to 0.6 of its width at least.
pub(crate) fn frame_width(plane: &Plane, ranges: Ranges, [width, height]: [f32; 2]) -> f32 {
    if !plane.equal_aspect || ranges.x_scale != Scale::Linear {
        return width;
    }
    let ratio = (ranges.x.1 - ranges.x.0) / (ranges.y.1 - ranges.y.0);
    // Not `clamp`, which panics while the solver still tries a width below zero.
    (height * ratio as f32).max(0.6 * width).min(width)
}

/// Widens one of the ranges about its middle until one unit is equally long on both axes.
fn equal_aspect(ranges: Ranges, [width, height]: [f32; 2]) -> Ranges {
    let (w, h) = (f64::from(width), f64::from(height));
    let unit = ((ranges.x.1 - ranges.x.0) / w).max((ranges.y.1 - ranges.y.0) / h);
    let about = |(low, high): (f64, f64), length: f64| {
        let (middle, half) = (low / 2.0 + high / 2.0, unit * length / 2.0);
        (middle - half, middle + half)
    };
    Ranges {
        x: about(ranges.x, w),
        y: about(ranges.y, h),
        ..ranges
    }
}

/// Chosen ticks, or those that the axis names, as far as they lie inside and their labels do not touch.
fn ticks_of(
    axis: &Axis,
    scaler: Scaler,
    length: f32,
    direction: Direction,
    room: &dyn Fn(&str) -> f32,
    measure: &dyn Measure,
) -> Ticks {
    let Some(named) = &axis.ticks else {
        return ticks::choose(scaler, length, direction, room);
    };
    // Long names are cut so that they leave room for the frame.
    let most = match direction {
        Direction::Across | Direction::Slanted => 0.5 * length,
        Direction::Up => 90.0,
    };
    let mut named: Vec<(f64, f64, &str)> = named
        .iter()
        .filter_map(|(at, label)| Some((scaler.fraction(*at)?, *at, label.as_str())))
        .filter(|(fraction, ..)| (0.0..=1.0).contains(fraction))
        .collect();
    named.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut major: Vec<(f64, String)> = Vec::new();
    for (_, at, label) in named {
        let mut label = label.to_owned();
        if text::label_width(&label, TICK, measure) > most {
            let lines = text::wrap(&label, TICK, false, most, 1, measure);
            label = lines
                .iter()
                .flat_map(|l| &l.runs)
                .map(|run| run.text.as_str())
                .collect();
        }
        major.push((at, label));
        if !ticks::labels_fit(&major, scaler, length, room) {
            major.pop();
        }
    }
    Ticks {
        major,
        minor: Vec::new(),
        exponent: 0,
    }
}

impl Axes {
    /// Room around the frame.
    pub(crate) fn margins(&self, plane: &Plane) -> Margins {
        let label = |lines: &[Line]| {
            if lines.is_empty() {
                0.0
            } else {
                GAP + lines.len() as f32 * LABEL_LINE
            }
        };
        let ticks = TICK_LENGTH + GAP + self.tick_width;
        // A label at the very end of the vertical axis stands half above it, half below.
        let half = TICK * 0.55;
        Margins {
            left: (ticks + label(&self.y_label)).max(self.overhang[0]),
            right: self.overhang[1],
            top: half,
            bottom: if plane.shares_x {
                half
            } else {
                TICK_LENGTH + self.tick_gap + TICK + label(&self.x_label)
            },
        }
    }
}

/// Marks, axes and labels of a plane.
pub(crate) fn paint(
    scene: &mut Scene,
    panel: usize,
    plane: &Plane,
    place: &Place,
    request: &Request,
    measure: &dyn Measure,
) {
    let Some(axes) = &place.axes else { return };
    let frame = place.frame;
    scene.frames.push(Frame {
        rect: frame,
        scales: Some((axes.x, axes.y)),
    });
    let painter = Painter {
        axes,
        frame,
        panel,
        request,
    };
    for series in &plane.series {
        painter.series(scene, series);
    }
    paint_axes(scene, axes, frame, measure);
}

fn paint_axes(scene: &mut Scene, axes: &Axes, frame: Rect, measure: &dyn Measure) {
    let corner = [frame.left, frame.bottom];
    scene.line(&[[frame.left, frame.top], corner], AXIS, INK);
    if axes.draws_x {
        scene.line(&[corner, [frame.right, frame.bottom]], AXIS, INK);
    }
    let x_at = |v: f64| Some(frame.left + axes.x.fraction(v)? as f32 * frame.width());
    let y_at = |v: f64| Some(frame.bottom - axes.y.fraction(v)? as f32 * frame.height());
    for at in axes.x_ticks.minor.iter().filter_map(|&v| x_at(v)) {
        scene.line(
            &[[at, frame.bottom], [at, frame.bottom + MINOR_LENGTH]],
            AXIS,
            INK,
        );
    }
    for at in axes.y_ticks.minor.iter().filter_map(|&v| y_at(v)) {
        scene.line(
            &[[frame.left, at], [frame.left - MINOR_LENGTH, at]],
            AXIS,
            INK,
        );
    }
    let write =
        |scene: &mut Scene, at: Point, anchor: Anchor, upright: bool, line: Line, size: f32| {
            if !line.runs.is_empty() {
                scene.texts.push(Text {
                    at,
                    anchor,
                    upright,
                    runs: line.runs,
                    size,
                    width: line.width,
                    color: INK,
                });
            }
        };
    let line = |label: &str| {
        let runs = markup::parse(label);
        Line {
            width: text::width(&runs, TICK, measure),
            runs,
        }
    };
    let mut baseline = frame.bottom + TICK_LENGTH + axes.tick_gap + TICK * CAP;
    for (v, label) in &axes.x_ticks.major {
        let Some(at) = x_at(*v) else { continue };
        scene.line(
            &[[at, frame.bottom], [at, frame.bottom + TICK_LENGTH]],
            AXIS,
            INK,
        );
        write(
            scene,
            [at, baseline],
            Anchor::Middle,
            false,
            line(label),
            TICK,
        );
    }
    for (v, label) in &axes.y_ticks.major {
        let Some(at) = y_at(*v) else { continue };
        scene.line(
            &[[frame.left, at], [frame.left - TICK_LENGTH, at]],
            AXIS,
            INK,
        );
        let place = [frame.left - TICK_LENGTH - GAP, at + TICK * CAP / 2.0];
        write(scene, place, Anchor::End, false, line(label), TICK);
    }
    baseline += TICK * (1.0 - CAP) + GAP + LABEL_LINE - LABEL_DEPTH;
    for label in &axes.x_label {
        write(
            scene,
            [frame.center()[0], baseline],
            Anchor::Middle,
            false,
            label.clone(),
            LABEL,
        );
        baseline += LABEL_LINE;
    }
    let mut baseline = frame.left - TICK_LENGTH - GAP - axes.tick_width - GAP - LABEL_DEPTH;
    for label in axes.y_label.iter().rev() {
        write(
            scene,
            [baseline, frame.center()[1]],
            Anchor::Middle,
            true,
            label.clone(),
            LABEL,
        );
        baseline -= LABEL_LINE;
    }
}

/// Paints the marks of one panel.
struct Painter<'a> {
    axes: &'a Axes,
    frame: Rect,
    panel: usize,
    request: &'a Request<'a>,
}

impl Painter<'_> {
    /// Place of a point on the canvas, also outside the frame; `None` for what cannot be drawn.
    fn place(&self, x: f64, y: f64) -> Option<[f64; 2]> {
        let (u, v) = (self.axes.x.fraction(x)?, self.axes.y.fraction(y)?);
        // Far outside, f32 would lose the slope of what crosses the frame long before this.
        let bounded = |t: f64| t.clamp(-1e9, 1e9);
        Some([
            f64::from(self.frame.left) + bounded(u) * f64::from(self.frame.width()),
            f64::from(self.frame.bottom) - bounded(v) * f64::from(self.frame.height()),
        ])
    }

    fn curve(
        &self,
        shapes: &mut Vec<Shape>,
        points: impl IntoIterator<Item = Option<[f64; 2]>>,
        look: &Look,
    ) {
        let points = thin(points, f64::from(self.request.resolution));
        self.strokes(shapes, points, look);
    }

    /// A polyline as it is: thinning by columns would flatten a circle at its left and right.
    fn strokes(
        &self,
        shapes: &mut Vec<Shape>,
        points: impl IntoIterator<Item = Option<[f64; 2]>>,
        look: &Look,
    ) {
        for part in clip_line(points, &self.frame) {
            for points in dashed(&part, look.dash, look.width) {
                shapes.push(Shape::Line {
                    points,
                    width: look.width,
                    color: look.color,
                    opacity: look.opacity,
                });
            }
        }
    }

    fn series(&self, scene: &mut Scene, series: &Series) {
        let look = palette::look(&series.style);
        let colors = series
            .color_scale()
            .map(|(scale, values)| (Colors::new(scale, values), values));
        match &series.marks {
            Marks::Line { x, y, .. } => {
                let points = x.iter().zip(y).map(|(&x, &y)| self.place(x, y));
                match colors {
                    None => self.curve(&mut scene.shapes, points, &look),
                    Some((colors, values)) => {
                        let points: Vec<_> = points.collect();
                        let step = f64::from(self.request.resolution);
                        colored_pieces(&points, values, &colors, step, |piece, color, _| {
                            let piece = piece.iter().copied().map(Some);
                            for points in clip_line(piece, &self.frame) {
                                scene.shapes.push(Shape::Line {
                                    points,
                                    width: look.width,
                                    color,
                                    opacity: look.opacity,
                                });
                            }
                        });
                    }
                }
            }
            Marks::Points { x, y, ids, .. } => {
                for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
                    let Some(center) = self.place(x, y).map(|p| p.map(|c| c as f32)) else {
                        continue;
                    };
                    if !self.frame.grown(0.01).contains(center) {
                        continue;
                    }
                    let color = match &colors {
                        None => Some(look.color),
                        Some((colors, values)) => values.get(i).and_then(|&v| colors.color(v)),
                    };
                    let Some(color) = color else { continue };
                    let id = ids.as_ref().and_then(|ids| ids.get(i)).copied();
                    point(&mut scene.shapes, center, &look, color, id, self.request);
                    if let Some(id) = id {
                        let radius = look.size / 2.0;
                        scene.targets.push(Target {
                            id,
                            panel: self.panel,
                            center,
                            radius,
                        });
                    }
                }
            }
            Marks::Segments { from, to } => {
                for (a, b) in from.iter().zip(to) {
                    self.curve(
                        &mut scene.shapes,
                        [self.place(a[0], a[1]), self.place(b[0], b[1])],
                        &look,
                    );
                }
            }
            Marks::Band { x, lower, upper } => self.band(&mut scene.shapes, x, lower, upper, &look),
            Marks::Rule { orientation, at } => {
                let ends = match orientation {
                    Orientation::Horizontal => {
                        self.axes.y.fraction(*at).map(|v| [[0.0, v], [1.0, v]])
                    }
                    Orientation::Vertical => {
                        self.axes.x.fraction(*at).map(|u| [[u, 0.0], [u, 1.0]])
                    }
                };
                let Some(ends) = ends else { return };
                if ends.iter().flatten().all(|t| (0.0..=1.0).contains(t)) {
                    let points = ends.map(|[u, v]| {
                        Some([
                            f64::from(self.frame.left) + u * f64::from(self.frame.width()),
                            f64::from(self.frame.bottom) - v * f64::from(self.frame.height()),
                        ])
                    });
                    self.curve(&mut scene.shapes, points, &look);
                }
            }
            Marks::Circle { center, radius } => {
                // 180 sides: at a diameter of 500 points the polygon leaves the circle by 0.04 points.
                let points = (0..=180).map(|i| {
                    let (sin, cos) = (f64::from(i) * std::f64::consts::TAU / 180.0).sin_cos();
                    self.place(center.0 + radius * cos, center.1 + radius * sin)
                });
                self.strokes(&mut scene.shapes, points, &look);
            }
            Marks::Heatmap {
                x,
                y,
                rows,
                columns,
                ..
            } => {
                if let Some((colors, values)) = colors {
                    self.cells(
                        &mut scene.shapes,
                        (*x, *y),
                        (*rows, *columns),
                        |i| values.get(i).and_then(|&value| colors.color(value)),
                        look.opacity,
                    );
                }
            }
            Marks::Regions {
                x,
                y,
                rows,
                columns,
                cells,
                categories,
            } => {
                let color = |i: usize| {
                    let category = cells.get(i).copied().flatten()?;
                    categories.get(category).map(|category| category.color)
                };
                self.cells(
                    &mut scene.shapes,
                    (*x, *y),
                    (*rows, *columns),
                    color,
                    look.opacity,
                );
            }
        }
    }

    /// The area between two curves, as one strip per unbroken part.
    fn band(&self, shapes: &mut Vec<Shape>, x: &[f64], lower: &[f64], upper: &[f64], look: &Look) {
        let mut part: Vec<[f64; 3]> = Vec::new();
        let mut close = |part: &mut Vec<[f64; 3]>| {
            // Neighbours nearer than the resolution become one that covers both.
            let mut kept: Vec<[f64; 3]> = Vec::new();
            for p in part.drain(..) {
                match kept.last_mut() {
                    Some(last) if (p[0] - last[0]).abs() < f64::from(self.request.resolution) => {
                        *last = [last[0], last[1].min(p[1]), last[2].max(p[2])];
                    }
                    _ => kept.push(p),
                }
            }
            let (upper, lower): (Vec<Point>, Vec<Point>) = clip_strip(&kept, &self.frame)
                .into_iter()
                .map(|[x, top, bottom]| ([x as f32, top as f32], [x as f32, bottom as f32]))
                .unzip();
            if upper.len() > 1 {
                let opacity = look.opacity * BAND_OPACITY;
                shapes.push(Shape::Strip {
                    upper,
                    lower,
                    color: look.color,
                    opacity,
                });
            }
        };
        for ((&x, &low), &high) in x.iter().zip(lower).zip(upper) {
            match (self.place(x, low), self.place(x, high)) {
                (Some(a), Some(b)) => part.push([a[0], a[1].min(b[1]), a[1].max(b[1])]),
                _ => close(&mut part),
            }
        }
        close(&mut part);
    }

    /// Cells of a rectangle, each in its colour or empty; neighbours of one colour in a row become one box.
    fn cells(
        &self,
        shapes: &mut Vec<Shape>,
        (x, y): ((f64, f64), (f64, f64)),
        (rows, columns): (usize, usize),
        color: impl Fn(usize) -> Option<Rgb>,
        opacity: f32,
    ) {
        let edge = |e: (f64, f64), k: usize, n: usize| e.0 + (e.1 - e.0) * k as f64 / n as f64;
        for row in 0..rows {
            let colors: Vec<Option<Rgb>> = (0..columns).map(|c| color(row * columns + c)).collect();
            let mut column = 0;
            for run in colors.chunk_by(|a, b| a == b) {
                let (first, after) = (column, column + run.len());
                column = after;
                let (Some(a), Some(b), Some(color)) = (
                    self.place(edge(x, first, columns), edge(y, row, rows)),
                    self.place(edge(x, after, columns), edge(y, row + 1, rows)),
                    run[0],
                ) else {
                    continue;
                };
                // A little larger to the right and below than the cell, or seams show between cells.
                let (left, right) = (
                    a[0] as f32,
                    b[0] as f32 + if after < columns { 0.2 } else { 0.0 },
                );
                let (top, bottom) = (b[1] as f32, a[1] as f32 + if row > 0 { 0.2 } else { 0.0 });
                let rect = Rect::new(
                    left.max(self.frame.left),
                    top.max(self.frame.top),
                    right.min(self.frame.right),
                    bottom.min(self.frame.bottom),
                );
                if rect.width() > 0.0 && rect.height() > 0.0 {
                    shapes.push(Shape::Box {
                        rect,
                        color,
                        opacity,
                    });
                }
            }
        }
    }
}

/// The part of a strip inside a rectangle. A strip is a list of (x, upper y, lower y); points are put in where
/// an edge of it crosses an edge of the rectangle, and then all are moved to the rectangle, which thus keeps
/// every slope.
fn clip_strip(strip: &[[f64; 3]], rect: &Rect) -> Vec<[f64; 3]> {
    let [left, right] = [rect.left, rect.right].map(f64::from);
    let [top, bottom] = [rect.top, rect.bottom].map(f64::from);
    let mut out: Vec<[f64; 3]> = Vec::new();
    for pair in strip.windows(2) {
        let [a, b] = [pair[0], pair[1]];
        let mut places = vec![0.0, 1.0];
        for (from, to, bound) in [
            (a[0], b[0], left),
            (a[0], b[0], right),
            (a[1], b[1], top),
            (a[1], b[1], bottom),
            (a[2], b[2], top),
            (a[2], b[2], bottom),
        ] {
            let t = (bound - from) / (to - from);
            if t > 0.0 && t < 1.0 {
                places.push(t);
            }
        }
        places.sort_by(f64::total_cmp);
        for t in places {
            let [x, upper, lower] = [0, 1, 2].map(|i| a[i] + t * (b[i] - a[i]));
            // A crossing is found with the rounding of one division.
            if x >= left - 1e-6 && x <= right + 1e-6 {
                let point = [
                    x.clamp(left, right),
                    upper.clamp(top, bottom),
                    lower.clamp(top, bottom),
                ];
                if out.last() != Some(&point) {
                    out.push(point);
                }
            }
        }
    }
    out
}

/// Cuts a line into pieces of one colour, from 64 per map, and hands each with its colour and the index of
/// its first point to `draw`. A piece begins where the one before ends.
pub(crate) fn colored_pieces(
    points: &[Option<[f64; 2]>],
    values: &[f64],
    colors: &Colors,
    step: f64,
    mut draw: impl FnMut(&[[f64; 2]], Rgb, usize),
) {
    let scaler = Scaler {
        range: colors.range,
        scale: colors.scale,
    };
    // Colour of the straight piece that begins at a point.
    let level = |i: usize| {
        let value = *values.get(i)?;
        scaler
            .fraction(value)
            .map(|t| (t.clamp(0.0, 1.0) * 63.0).round() / 63.0)
    };
    let mut piece: Vec<[f64; 2]> = Vec::new();
    let mut current: Option<(f64, usize)> = None;
    for i in crate::geometry::thin_by_distance(points, step) {
        let point = points.get(i).copied().flatten();
        if let Some(p) = point
            && current.is_some()
        {
            piece.push(p);
        }
        let next = point.and_then(|_| level(i));
        if current.map(|c| c.0) != next || point.is_none() {
            if let Some((t, first)) = current
                && piece.len() > 1
            {
                draw(&piece, palette::map_color(colors.map, t), first);
            }
            piece.clear();
            current = next.map(|t| (t, i));
            if let (Some(p), Some(_)) = (point, current) {
                piece.push(p);
            }
        }
    }
    if let Some((t, first)) = current
        && piece.len() > 1
    {
        draw(&piece, palette::map_color(colors.map, t), first);
    }
}

/// A marker, with a ring if it is the selected or the hovered one.
pub(crate) fn point(
    shapes: &mut Vec<Shape>,
    center: Point,
    look: &Look,
    color: Rgb,
    id: Option<u64>,
    request: &Request,
) {
    // An outline, not a disc, so that lines through the point stay to be seen.
    let mut ring = |gap: f32, width: f32| {
        shapes.push(Shape::Line {
            points: circle(center, look.size / 2.0 + gap + width / 2.0),
            width,
            color: SELECTED,
            opacity: 1.0,
        });
    };
    if id.is_some() && id == request.selected {
        ring(1.2, 1.8);
    } else if id.is_some() && id == request.hovered {
        ring(0.8, 0.8);
    }
    marker(shapes, center, look, color);
}

/// The outline of a small circle.
fn circle(center: Point, radius: f32) -> Vec<Point> {
    (0..=32)
        .map(|i| {
            let (sin, cos) = (i as f32 * std::f32::consts::TAU / 32.0).sin_cos();
            [center[0] + radius * cos, center[1] + radius * sin]
        })
        .collect()
}

/// A marker.
pub(crate) fn marker(shapes: &mut Vec<Shape>, center: Point, look: &Look, color: Rgb) {
    let (radius, opacity) = (look.size / 2.0, look.opacity);
    let [x, y] = center;
    let polygon = |points: Vec<Point>| Shape::Polygon {
        points,
        color,
        opacity,
    };
    match look.marker {
        Marker::Disc => shapes.push(Shape::Disc {
            center,
            radius,
            color,
            opacity,
        }),
        // What is faint has no light inside, which would stand out more than what is not.
        Marker::Ring if opacity < 1.0 => {
            let width = look.width.max(0.6);
            shapes.push(Shape::Line {
                points: circle(center, radius - width / 2.0),
                width,
                color,
                opacity,
            });
        }
        Marker::Ring => {
            shapes.push(Shape::Disc {
                center,
                radius,
                color,
                opacity,
            });
            let inside = (radius - look.width.max(0.6)).max(0.3 * radius);
            shapes.push(Shape::Disc {
                center,
                radius: inside,
                color: PAPER,
                opacity: 1.0,
            });
        }
        Marker::Square => {
            // A square looks as large as a disc when it covers as much.
            let r = radius * 0.886;
            shapes.push(polygon(vec![
                [x - r, y - r],
                [x + r, y - r],
                [x + r, y + r],
                [x - r, y + r],
            ]));
        }
        Marker::Diamond => {
            let r = radius * 1.25;
            shapes.push(polygon(vec![
                [x, y - r],
                [x + r, y],
                [x, y + r],
                [x - r, y],
            ]));
        }
        Marker::Triangle => {
            let r = radius * 1.2;
            shapes.push(polygon(vec![
                [x, y - r],
                [x + 0.866 * r, y + 0.5 * r],
                [x - 0.866 * r, y + 0.5 * r],
            ]));
        }
        Marker::Cross => {
            let r = radius * 0.8;
            for points in [
                vec![[x - r, y - r], [x + r, y + r]],
                vec![[x - r, y + r], [x + r, y - r]],
            ] {
                shapes.push(Shape::Line {
                    points,
                    width: look.width,
                    color,
                    opacity,
                });
            }
        }
    }
}

/// A straight piece inside the frame.
pub(crate) fn clipped(from: [f64; 2], to: [f64; 2], frame: &Rect) -> Option<Vec<Point>> {
    clip_segment(from, to, frame).map(|(a, b)| vec![a, b])
}
