//! Panels with three axes, projected orthographically: the box with its ticks, lines behind, points in front.

use crate::figure::{Marks, Space, View};
use crate::geometry::{Point, Rect, clip_line, dashed, thin_by_distance};
use crate::layout::{AXIS, GAP, Place, TICK_LENGTH};
use crate::markup;
use crate::palette::{self, Colors, FAINT, INK};
use crate::plane::{self, clipped, colored_pieces};
use crate::scale::{self, Scaler};
use crate::scene::{Anchor, Frame, Request, Scene, Shape, Target, Text};
use crate::text::{self, CAP, LABEL, Measure, TICK};
use crate::ticks::{self, Direction};

/// Free part of an axis at both ends of the data.
const MARGIN: f64 = 0.04;
/// The least length of an axis over the longest; flat data would hide their axis.
const FLATTEST: f64 = 0.2;
/// A line is sorted by depth in pieces of this many vertices.
const PIECE: usize = 16;

type Vector = [f64; 3];

/// Directions on the canvas (right, up) and towards the viewer of a view, in the coordinates of the space.
#[derive(Clone, Copy, Debug)]
struct Camera {
    right: Vector,
    up: Vector,
    near: Vector,
}

impl Camera {
    /// With azimuth a and elevation e, the viewer stands in the direction (cos e cos a, cos e sin a, sin e).
    fn new(view: View) -> Self {
        let (sin_a, cos_a) = view.azimuth.to_radians().sin_cos();
        let (sin_e, cos_e) = view.elevation.to_radians().sin_cos();
        Self {
            right: [-sin_a, cos_a, 0.0],
            up: [-sin_e * cos_a, -sin_e * sin_a, cos_e],
            near: [cos_e * cos_a, cos_e * sin_a, sin_e],
        }
    }
}

fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// From numbers to the canvas.
#[derive(Clone, Copy, Debug)]
struct Projection {
    camera: Camera,
    /// Ranges of the axes.
    ranges: [(f64, f64); 3],
    /// Half lengths of the box; the longest is 1.
    half: Vector,
    /// Points on the canvas per unit of the box.
    scale: f64,
    /// Where the middle of the box lies.
    center: [f64; 2],
}

impl Projection {
    /// Coordinates in the box, each from -half to half.
    fn in_box(&self, p: Vector) -> Option<Vector> {
        let mut q = [0.0; 3];
        for axis in 0..3 {
            let scaler = Scaler {
                range: self.ranges[axis],
                scale: crate::figure::Scale::Linear,
            };
            q[axis] = (2.0 * scaler.fraction(p[axis])? - 1.0) * self.half[axis];
        }
        Some(q)
    }

    fn flat(&self, q: Vector) -> [f64; 2] {
        [
            self.center[0] + self.scale * dot(q, self.camera.right),
            self.center[1] - self.scale * dot(q, self.camera.up),
        ]
    }

    /// Place on the canvas, and depth, larger nearer to the viewer.
    fn place(&self, p: Vector) -> Option<([f64; 2], f64)> {
        let q = self.in_box(p)?;
        let bounded = q.map(|c| c.clamp(-1e7, 1e7));
        Some((self.flat(bounded), dot(bounded, self.camera.near)))
    }
}

fn coordinates(marks: &Marks) -> Vec<Vector> {
    match marks {
        Marks::Line { x, y, z } | Marks::Points { x, y, z, .. } => x
            .iter()
            .zip(y)
            .zip(z)
            .map(|((&x, &y), &z)| [x, y, z])
            .collect(),
        Marks::Segments { from, to } => from.iter().chain(to).copied().collect(),
        _ => Vec::new(),
    }
}

/// Ranges of the three axes and half lengths of the box.
fn ranges(space: &Space) -> ([(f64, f64); 3], Vector) {
    let linear = crate::figure::Scale::Linear;
    let mut extents = [None; 3];
    for series in &space.series {
        for p in coordinates(&series.marks) {
            if p.iter().all(|&c| scale::drawable(c, linear)) {
                for axis in 0..3 {
                    extents[axis] = scale::union(extents[axis], Some((p[axis], p[axis])));
                }
            }
        }
    }
    let mut ranges = [(0.0, 1.0); 3];
    for axis in 0..3 {
        ranges[axis] = space.axes[axis]
            .range
            .unwrap_or_else(|| scale::fitted(extents[axis], linear, MARGIN));
    }
    let spans = ranges.map(|(low, high)| high - low);
    let longest = spans.iter().copied().fold(0.0, f64::max);
    let mut half = [1.0; 3];
    if space.equal_aspect {
        for axis in 0..3 {
            if spans[axis] < FLATTEST * longest {
                let middle = ranges[axis].0 / 2.0 + ranges[axis].1 / 2.0;
                let room = FLATTEST * longest / 2.0;
                ranges[axis] = (middle - room, middle + room);
            }
            half[axis] = ((ranges[axis].1 - ranges[axis].0) / longest).min(1.0);
        }
    }
    (ranges, half)
}

/// An edge of the box that carries an axis.
#[derive(Clone, Debug)]
struct Edge {
    axis: usize,
    from: [f64; 2],
    to: [f64; 2],
    /// Unit normal on the canvas, away from the box.
    outward: [f64; 2],
}

/// Signs of the other two axes at the four edges along one.
const SIGNS: [(f64, f64); 4] = [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)];

fn ends(projection: &Projection, axis: usize, (a, b): (f64, f64)) -> ([f64; 2], [f64; 2]) {
    let half = projection.half;
    let (j, k) = ((axis + 1) % 3, (axis + 2) % 3);
    let corner = |end: f64| {
        let mut q = [0.0; 3];
        q[axis] = end * half[axis];
        q[j] = a * half[j];
        q[k] = b * half[k];
        projection.flat(q)
    };
    (corner(-1.0), corner(1.0))
}

/// How many of the two faces at an edge are turned to the viewer.
fn faces_seen(projection: &Projection, axis: usize, (a, b): (f64, f64)) -> usize {
    let near = projection.camera.near;
    let (j, k) = ((axis + 1) % 3, (axis + 2) % 3);
    usize::from(a * near[j] > 0.0) + usize::from(b * near[k] > 0.0)
}

/// For each axis the edge on the outline of the box that lies lowest, or for the vertical axis leftmost.
/// `None` for an axis seen from its end.
fn axis_edge(projection: &Projection, axis: usize) -> Option<Edge> {
    let (mut best, mut best_score) = (None, f64::NEG_INFINITY);
    for signs in SIGNS {
        if faces_seen(projection, axis, signs) != 1 {
            continue;
        }
        let (from, to) = ends(projection, axis, signs);
        let middle = [(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0];
        let score = if axis == 2 { -middle[0] } else { middle[1] };
        if score > best_score {
            best_score = score;
            best = Some((from, to, middle));
        }
    }
    let (from, to, middle) = best?;
    let along = [to[0] - from[0], to[1] - from[1]];
    let length = along[0].hypot(along[1]);
    if length < 12.0 {
        return None;
    }
    let mut outward = [along[1] / length, -along[0] / length];
    let away = [
        middle[0] - projection.center[0],
        middle[1] - projection.center[1],
    ];
    if outward[0] * away[0] + outward[1] * away[1] < 0.0 {
        outward = outward.map(|c| -c);
    }
    Some(Edge {
        axis,
        from,
        to,
        outward,
    })
}

/// Ticks and labels around the box.
fn furniture(
    space: &Space,
    projection: &Projection,
    measure: &dyn Measure,
) -> (Vec<[Point; 2]>, Vec<Text>) {
    let edges: Vec<Edge> = (0..3)
        .filter_map(|axis| axis_edge(projection, axis))
        .collect();
    let mut marks = Vec::new();
    let mut texts: Vec<Text> = Vec::new();
    let mut reaches = Vec::new();
    let mut names = Vec::new();
    for edge in &edges {
        let along = [edge.to[0] - edge.from[0], edge.to[1] - edge.from[1]];
        let length = along[0].hypot(along[1]);
        let direction = along.map(|c| (c / length).abs() as f32);
        let room = |label: &str| {
            direction[0] * text::label_width(label, TICK, measure)
                + direction[1] * TICK * 1.2
                + 2.0 * GAP
        };
        let axis = &space.axes[edge.axis];
        let scaler = Scaler {
            range: projection.ranges[edge.axis],
            scale: crate::figure::Scale::Linear,
        };
        let ticks = match &axis.ticks {
            Some(named) => ticks::Ticks {
                major: named.clone(),
                ..ticks::Ticks::default()
            },
            None => ticks::choose(scaler, length as f32, Direction::Slanted, &room),
        };
        let mut reach = TICK_LENGTH + GAP;
        for (value, label) in &ticks.major {
            let Some(t) = scaler.fraction(*value).filter(|t| (0.0..=1.0).contains(t)) else {
                continue;
            };
            let at = [edge.from[0] + t * along[0], edge.from[1] + t * along[1]];
            let end = [0, 1].map(|i| at[i] + edge.outward[i] * f64::from(TICK_LENGTH));
            let runs = markup::parse(label);
            let width = text::width(&runs, TICK, measure);
            let text = beside(
                at,
                edge.outward,
                TICK_LENGTH + GAP,
                runs,
                TICK,
                width,
                false,
            );
            let depth = support(edge.outward, width, TICK);
            let bounds = text.bounds().grown(0.75);
            if texts.iter().all(|other| !other.bounds().overlaps(&bounds)) {
                marks.push([at.map(|c| c as f32), end.map(|c| c as f32)]);
                reach = reach.max(TICK_LENGTH + GAP + 2.0 * depth);
                texts.push(text);
            }
        }
        reaches.push(reach);
        names.push(ticks::axis_text(&axis.label, &axis.unit, ticks.exponent));
    }
    for ((edge, reach), name) in edges.iter().zip(reaches).zip(names) {
        let Some(line) = text::wrap(&name, LABEL, false, 140.0, 1, measure)
            .into_iter()
            .next()
        else {
            continue;
        };
        let middle = [
            (edge.from[0] + edge.to[0]) / 2.0,
            (edge.from[1] + edge.to[1]) / 2.0,
        ];
        let upright = edge.outward[0].abs() > 0.9;
        let mut distance = reach + 2.0 * GAP;
        // Away from the box until it is free; the bound only ends the search where there is no room at all.
        for _ in 0..60 {
            let text = beside(
                middle,
                edge.outward,
                distance,
                line.runs.clone(),
                LABEL,
                line.width,
                upright,
            );
            let bounds = text.bounds().grown(0.75);
            if texts.iter().all(|other| !other.bounds().overlaps(&bounds)) {
                texts.push(text);
                break;
            }
            distance += 1.5;
        }
    }
    (marks, texts)
}

/// Half the extent of a text in a direction.
fn support(direction: [f64; 2], width: f32, size: f32) -> f32 {
    direction[0].abs() as f32 * width / 2.0 + direction[1].abs() as f32 * size * CAP / 2.0
}

/// A text whose nearest point lies at a distance from a place, in a direction.
fn beside(
    at: [f64; 2],
    outward: [f64; 2],
    distance: f32,
    runs: Vec<markup::Run>,
    size: f32,
    width: f32,
    upright: bool,
) -> Text {
    let half = if upright {
        support([outward[1], outward[0]], width, size)
    } else {
        support(outward, width, size)
    };
    let center = [0, 1].map(|i| (at[i] + outward[i] * f64::from(distance + half)) as f32);
    let drop = size * CAP / 2.0;
    let at = if upright {
        [center[0] + drop, center[1]]
    } else {
        [center[0], center[1] + drop]
    };
    Text {
        at,
        anchor: Anchor::Middle,
        upright,
        runs,
        size,
        width,
        color: INK,
    }
}

/// The projection that fits the box and its labels into the frame.
fn fit(
    space: &Space,
    frame: Rect,
    request: &Request,
    panel: usize,
    measure: &dyn Measure,
) -> Projection {
    let (ranges, half) = ranges(space);
    let view = request.view(panel);
    let camera = Camera::new(view.view.unwrap_or(space.view));
    let middle = frame.center().map(f64::from);
    let mut projection = Projection {
        camera,
        ranges,
        half,
        scale: 1.0,
        center: middle,
    };
    let (wide, high) = (f64::from(frame.width()), f64::from(frame.height()));
    if request.steady {
        // The ball around the box fits from every side, with room for labels.
        let room = (wide.min(high) - 36.0).max(0.5 * wide.min(high));
        projection.scale = 0.5 * room / dot(half, half).sqrt() * 1.15;
    } else {
        let extent = |d: Vector| (0..3).map(|i| half[i] * d[i].abs()).sum::<f64>();
        let (right, up) = (extent(camera.right), extent(camera.up));
        projection.scale = 0.35 * (wide / right).min(high / up);
        // Labels have a fixed size; their room is found by going round.
        for round in 0..40 {
            let (x, y) = (projection.scale * right, projection.scale * up);
            let [cx, cy] = projection.center;
            let mut bounds = Rect::new(
                (cx - x) as f32,
                (cy - y) as f32,
                (cx + x) as f32,
                (cy + y) as f32,
            )
            .grown(1.0);
            let drawn = bounds;
            for text in furniture(space, &projection, measure).1 {
                bounds = bounds.union(&text.bounds().grown(0.5));
            }
            let taken = [
                f64::from(bounds.width() - drawn.width()),
                f64::from(bounds.height() - drawn.height()),
            ];
            let scale =
                ((wide - taken[0] - 2.0) / (2.0 * right)).min((high - taken[1] - 2.0) / (2.0 * up));
            let shift = [0, 1].map(|i| middle[i] - f64::from(bounds.center()[i]));
            projection.center = [cx + shift[0], cy + shift[1]];
            let settled = (scale - projection.scale).abs() < 1e-3 * projection.scale;
            if settled && shift.iter().all(|s| s.abs() < 0.05) {
                break;
            }
            // Only ever so far in one step: ticks change with the size, and the room with the ticks. Where one size asks
            // for another and that for the first, it ends at what is small enough.
            let step = scale.max(1.0) - projection.scale;
            if round < 12 || step < 0.0 {
                projection.scale += 0.7 * step;
            }
        }
    }
    projection.scale *= view.zoom;
    projection.center[0] += f64::from(view.pan[0]);
    projection.center[1] += f64::from(view.pan[1]);
    projection
}

/// Box, ticks, labels and marks of a space.
pub(crate) fn paint(
    scene: &mut Scene,
    panel: usize,
    space: &Space,
    place: &Place,
    request: &Request,
    measure: &dyn Measure,
) {
    let frame = place.frame;
    scene.frames.push(Frame {
        rect: frame,
        scales: None,
    });
    let projection = fit(space, frame, request, panel, measure);

    // The edges of the three far faces, then over them the edges that carry the axes.
    for axis in 0..3 {
        for signs in SIGNS {
            if faces_seen(&projection, axis, signs) < 2 {
                let (from, to) = ends(&projection, axis, signs);
                if let Some(points) = clipped(from, to, &frame) {
                    scene.line(&points, AXIS, FAINT);
                }
            }
        }
    }
    for edge in (0..3).filter_map(|axis| axis_edge(&projection, axis)) {
        if let Some(points) = clipped(edge.from, edge.to, &frame) {
            scene.line(&points, AXIS, INK);
        }
    }
    paint_lines(scene, space, &projection, frame, request);
    paint_points(scene, panel, space, &projection, frame, request);
    let (marks, texts) = furniture(space, &projection, measure);
    for [from, to] in marks {
        if frame.contains(from) && frame.contains(to) {
            scene.line(&[from, to], AXIS, INK);
        }
    }
    scene.texts.extend(texts.into_iter().filter(|text| {
        let bounds = text.bounds();
        frame.contains([bounds.left, bounds.top]) && frame.contains([bounds.right, bounds.bottom])
    }));
}

/// Trajectories, in pieces sorted from far to near.
fn paint_lines(
    scene: &mut Scene,
    space: &Space,
    projection: &Projection,
    frame: Rect,
    request: &Request,
) {
    let step = f64::from(request.resolution).max(0.25);
    let mut pieces: Vec<(f64, Shape)> = Vec::new();
    for series in &space.series {
        let Marks::Line { x, y, z } = &series.marks else {
            continue;
        };
        let look = palette::look(&series.style);
        let placed: Vec<Option<([f64; 2], f64)>> = x
            .iter()
            .zip(y)
            .zip(z)
            .map(|((&x, &y), &z)| projection.place([x, y, z]))
            .collect();
        let points: Vec<Option<[f64; 2]>> = placed.iter().map(|p| p.map(|p| p.0)).collect();
        let depth = |i: usize| placed.get(i).copied().flatten().map_or(0.0, |p| p.1);
        let mut push = |line: Vec<Point>, depth: f64, color| {
            for points in dashed(&line, look.dash, look.width) {
                let shape = Shape::Line {
                    points,
                    width: look.width,
                    color,
                    opacity: look.opacity,
                };
                pieces.push((depth, shape));
            }
        };
        if let Some((scale, values)) = series.color_scale() {
            let colors = Colors::new(scale, values);
            colored_pieces(&points, values, &colors, step, |piece, color, first| {
                for line in clip_line(piece.iter().copied().map(Some), &frame) {
                    push(line, depth(first), color);
                }
            });
        } else if look.dash == crate::figure::Dash::Solid {
            let kept = thin_by_distance(&points, step);
            let mut start = 0;
            while start + 1 < kept.len() {
                // Pieces overlap by a vertex, so that no gap opens between them.
                let piece = &kept[start..(start + PIECE + 1).min(kept.len())];
                let middle = piece.get(piece.len() / 2).map_or(0.0, |&i| depth(i));
                for line in clip_line(
                    piece.iter().map(|&i| points.get(i).copied().flatten()),
                    &frame,
                ) {
                    push(line, middle, look.color);
                }
                start += PIECE;
            }
        } else {
            // Dashes would begin anew at every piece.
            let kept = thin_by_distance(&points, step);
            let middle = kept.get(kept.len() / 2).map_or(0.0, |&i| depth(i));
            for line in clip_line(
                kept.iter().map(|&i| points.get(i).copied().flatten()),
                &frame,
            ) {
                push(line, middle, look.color);
            }
        }
    }
    pieces.sort_by(|a, b| a.0.total_cmp(&b.0));
    scene.shapes.extend(pieces.into_iter().map(|piece| piece.1));
}

/// Segments and points, sorted from far to near, in front of the lines: thin lines tell their depth badly, and
/// would hide the points that the figure is about.
fn paint_points(
    scene: &mut Scene,
    panel: usize,
    space: &Space,
    projection: &Projection,
    frame: Rect,
    request: &Request,
) {
    let mut pieces: Vec<(f64, Vec<Shape>, Option<Target>)> = Vec::new();
    for series in &space.series {
        let look = palette::look(&series.style);
        match &series.marks {
            Marks::Segments { from, to } => {
                for (a, b) in from.iter().zip(to) {
                    let (Some((a, near)), Some((b, far))) =
                        (projection.place(*a), projection.place(*b))
                    else {
                        continue;
                    };
                    let Some(points) = clipped(a, b, &frame) else {
                        continue;
                    };
                    let shapes = dashed(&points, look.dash, look.width)
                        .into_iter()
                        .map(|points| Shape::Line {
                            points,
                            width: look.width,
                            color: look.color,
                            opacity: look.opacity,
                        })
                        .collect();
                    pieces.push(((near + far) / 2.0, shapes, None));
                }
            }
            Marks::Points { x, y, z, ids } => {
                let colors = series
                    .color_scale()
                    .map(|(scale, values)| (Colors::new(scale, values), values));
                for (i, ((&x, &y), &z)) in x.iter().zip(y).zip(z).enumerate() {
                    let Some((center, depth)) = projection.place([x, y, z]) else {
                        continue;
                    };
                    let center = center.map(|c| c as f32);
                    let color = match &colors {
                        None => Some(look.color),
                        Some((colors, values)) => values.get(i).and_then(|&v| colors.color(v)),
                    };
                    let Some(color) = color.filter(|_| frame.contains(center)) else {
                        continue;
                    };
                    let id = ids.as_ref().and_then(|ids| ids.get(i)).copied();
                    let mut shapes = Vec::new();
                    plane::point(&mut shapes, center, &look, color, id, request);
                    let target = id.map(|id| Target {
                        id,
                        panel,
                        center,
                        radius: look.size / 2.0,
                    });
                    // Half a marker nearer, so that the end of a mode does not lie over its own point.
                    pieces.push((depth + 0.02, shapes, target));
                }
            }
            _ => {}
        }
    }
    pieces.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (_, shapes, target) in pieces {
        scene.shapes.extend(shapes);
        scene.targets.extend(target);
    }
}
