//! Plane geometry of the painters: rectangles, clipping, thinning and dashing of lines. Lengths in points,
//! y downwards.

use crate::figure::Dash;

/// A point on the canvas.
pub type Point = [f32; 2];

/// An upright rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub left: f32,
    /// Upper edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Lower edge.
    pub bottom: f32,
}

impl Rect {
    /// From its edges.
    #[must_use]
    pub fn new(left: f32, top: f32, right: f32, bottom: f32) -> Self {
        Self {
            left,
            top,
            right,
            bottom,
        }
    }

    /// Width.
    #[must_use]
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    /// Height.
    #[must_use]
    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    /// Middle.
    #[must_use]
    pub fn center(&self) -> Point {
        [
            (self.left + self.right) / 2.0,
            (self.top + self.bottom) / 2.0,
        ]
    }

    /// Whether a point lies inside or on the edge.
    #[must_use]
    pub fn contains(&self, [x, y]: Point) -> bool {
        x >= self.left && x <= self.right && y >= self.top && y <= self.bottom
    }

    /// Whether the insides share a point.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    /// Grown by `by` on all sides.
    #[must_use]
    pub fn grown(&self, by: f32) -> Self {
        Self::new(
            self.left - by,
            self.top - by,
            self.right + by,
            self.bottom + by,
        )
    }

    /// The smallest rectangle that holds both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::new(
            self.left.min(other.left),
            self.top.min(other.top),
            self.right.max(other.right),
            self.bottom.max(other.bottom),
        )
    }
}

/// The part of a straight piece inside a rectangle (Liang and Barsky 1984).
#[must_use]
pub fn clip_segment(from: [f64; 2], to: [f64; 2], rect: &Rect) -> Option<(Point, Point)> {
    let d = [to[0] - from[0], to[1] - from[1]];
    let edges = [
        (-d[0], from[0] - f64::from(rect.left)),
        (d[0], f64::from(rect.right) - from[0]),
        (-d[1], from[1] - f64::from(rect.top)),
        (d[1], f64::from(rect.bottom) - from[1]),
    ];
    let (mut t0, mut t1) = (0.0_f64, 1.0_f64);
    for (p, q) in edges {
        if p == 0.0 {
            if q < 0.0 {
                return None;
            }
        } else if p < 0.0 {
            t0 = t0.max(q / p);
        } else {
            t1 = t1.min(q / p);
        }
    }
    let at = |t: f64| [(from[0] + t * d[0]) as f32, (from[1] + t * d[1]) as f32];
    (t0 <= t1).then(|| (at(t0), at(t1)))
}

/// The parts of a polyline inside a rectangle; a missing point breaks it.
#[must_use]
pub fn clip_line(
    points: impl IntoIterator<Item = Option<[f64; 2]>>,
    rect: &Rect,
) -> Vec<Vec<Point>> {
    let mut parts: Vec<Vec<Point>> = Vec::new();
    let mut part: Vec<Point> = Vec::new();
    let mut last: Option<[f64; 2]> = None;
    for point in points {
        let piece = match (last, point) {
            (Some(a), Some(b)) => clip_segment(a, b, rect),
            _ => None,
        };
        match piece {
            Some((a, b)) => {
                if part.last() != Some(&a) {
                    finish(&mut parts, &mut part);
                    part.push(a);
                }
                if a != b {
                    part.push(b);
                }
            }
            None => finish(&mut parts, &mut part),
        }
        last = point;
    }
    finish(&mut parts, &mut part);
    parts
}

fn finish(parts: &mut Vec<Vec<Point>>, part: &mut Vec<Point>) {
    let done = std::mem::take(part);
    if done.len() > 1 {
        parts.push(done);
    }
}

/// Thins a polyline so that it looks the same at a resolution of `step`: of the points that fall into one
/// column of that width one after another, the first, lowest, highest and last stay. Missing points stay.
#[must_use]
pub fn thin(
    points: impl IntoIterator<Item = Option<[f64; 2]>>,
    step: f64,
) -> Vec<Option<[f64; 2]>> {
    let mut out: Vec<Option<[f64; 2]>> = Vec::new();
    // Points of the current column: first, lowest, highest, last, with their order.
    let mut column: Option<Column> = None;
    for point in points {
        let Some(p) = point else {
            flush(&mut out, column.take());
            if out.last().is_some_and(Option::is_some) {
                out.push(None);
            }
            continue;
        };
        match &mut column {
            Some(c) if (p[0] / step).floor() == c.index => c.add(p),
            _ => {
                flush(&mut out, column.take());
                column = Some(Column::new(p, step));
            }
        }
    }
    flush(&mut out, column);
    out
}

struct Column {
    index: f64,
    count: usize,
    first: [f64; 2],
    lowest: (usize, [f64; 2]),
    highest: (usize, [f64; 2]),
    last: (usize, [f64; 2]),
}

impl Column {
    fn new(p: [f64; 2], step: f64) -> Self {
        let index = (p[0] / step).floor();
        Self {
            index,
            count: 1,
            first: p,
            lowest: (0, p),
            highest: (0, p),
            last: (0, p),
        }
    }

    fn add(&mut self, p: [f64; 2]) {
        if p[1] < self.lowest.1[1] {
            self.lowest = (self.count, p);
        }
        if p[1] > self.highest.1[1] {
            self.highest = (self.count, p);
        }
        self.last = (self.count, p);
        self.count += 1;
    }
}

fn flush(out: &mut Vec<Option<[f64; 2]>>, column: Option<Column>) {
    let Some(c) = column else { return };
    let mut kept = [(0, c.first), c.lowest, c.highest, c.last];
    kept.sort_by_key(|k| k.0);
    let mut before = None;
    for (order, p) in kept {
        if before != Some(order) {
            out.push(Some(p));
        }
        before = Some(order);
    }
}

/// Which points of a polyline to keep so that none lies nearer than `step` to the one kept before it. The
/// first and last of every unbroken part and all missing ones stay.
#[must_use]
pub fn thin_by_distance(points: &[Option<[f64; 2]>], step: f64) -> Vec<usize> {
    let mut kept = Vec::new();
    let mut before: Option<[f64; 2]> = None;
    for (i, point) in points.iter().enumerate() {
        let ends = !matches!(points.get(i + 1), Some(Some(_)));
        let far = match (before, point) {
            (Some(a), Some(b)) => (b[0] - a[0]).hypot(b[1] - a[1]) >= step,
            _ => true,
        };
        if ends || far {
            kept.push(i);
            before = *point;
        }
    }
    kept
}

/// Cuts a polyline into dashes. Lengths follow the width of the line.
#[must_use]
pub fn dashed(points: &[Point], dash: Dash, width: f32) -> Vec<Vec<Point>> {
    let (on, off) = match dash {
        Dash::Solid => return vec![points.to_vec()],
        Dash::Dashed => ((4.0 * width).max(2.5), (2.4 * width).max(1.6)),
        Dash::Dotted => (width.max(0.5), (2.0 * width).max(1.4)),
    };
    let mut parts = Vec::new();
    let mut part: Vec<Point> = points.first().map(|&p| vec![p]).unwrap_or_default();
    let (mut drawing, mut left) = (true, on);
    for pair in points.windows(2) {
        let (mut a, b) = (pair[0], pair[1]);
        loop {
            let length = (b[0] - a[0]).hypot(b[1] - a[1]);
            if length <= left {
                left -= length;
                if drawing {
                    part.push(b);
                }
                break;
            }
            let t = left / length;
            a = [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];
            if drawing {
                part.push(a);
                finish(&mut parts, &mut part);
                left = off;
            } else {
                part = vec![a];
                left = on;
            }
            drawing = !drawing;
        }
    }
    finish(&mut parts, &mut part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Rect = Rect {
        left: 0.0,
        top: 0.0,
        right: 10.0,
        bottom: 10.0,
    };

    fn length(line: &[Point]) -> f32 {
        line.windows(2)
            .map(|w| (w[1][0] - w[0][0]).hypot(w[1][1] - w[0][1]))
            .sum()
    }

    #[test]
    fn clips_at_the_edges() {
        let (a, b) = clip_segment([-10.0, 5.0], [20.0, 5.0], &FRAME).unwrap();
        assert_eq!((a, b), ([0.0, 5.0], [10.0, 5.0]));
        assert_eq!(clip_segment([-1.0, -1.0], [-1.0, 20.0], &FRAME), None);
        assert!(clip_segment([-3.0, 6.0], [6.0, 15.0], &FRAME).is_some());
        assert_eq!(clip_segment([-6.0, 6.0], [4.0, 16.0], &FRAME), None);
    }

    #[test]
    fn a_line_that_leaves_and_comes_back_is_two() {
        let points = [[1.0, 5.0], [5.0, 5.0], [5.0, 20.0], [7.0, 20.0], [7.0, 5.0]].map(Some);
        let parts = clip_line(points, &FRAME);
        assert_eq!(
            parts,
            [
                vec![[1.0, 5.0], [5.0, 5.0], [5.0, 10.0]],
                vec![[7.0, 10.0], [7.0, 5.0]]
            ]
        );
        assert_eq!(
            clip_line([Some([1.0, 1.0]), None, Some([2.0, 2.0])], &FRAME).len(),
            0
        );
    }

    #[test]
    fn a_dense_line_keeps_its_peaks() {
        let n = 100_000;
        let points = (0..n).map(|i| {
            let x = f64::from(i) * 500.0 / f64::from(n);
            Some([x, if i == 31_415 { 1e3 } else { (x * 3.0).sin() }])
        });
        let thinned = thin(points, 0.25);
        assert!(thinned.len() <= 4 * 2001);
        assert!(thinned.iter().flatten().any(|p| p[1] == 1e3));
    }

    #[test]
    fn points_close_together_go() {
        let points = [[0.0, 0.0], [0.1, 0.0], [1.0, 0.0], [1.2, 0.0]].map(Some);
        assert_eq!(thin_by_distance(&points, 0.5), [0, 2, 3]);
        assert_eq!(
            thin_by_distance(&[Some([0.0, 0.0]), None, Some([0.0, 0.1])], 5.0),
            [0, 1, 2]
        );
    }

    #[test]
    fn dashes_cover_their_share() {
        let dashes = dashed(&[[0.0, 0.0], [50.0, 0.0], [50.0, 50.0]], Dash::Dashed, 1.0);
        let covered: f32 = dashes.iter().map(|d| length(d)).sum();
        assert!((covered / 100.0 - 4.0 / 6.4).abs() < 0.03, "{covered}");
        assert_eq!(dashed(&[], Dash::Dotted, 1.0).len(), 0);
    }

    proptest! {
        #[test]
        fn clipped_lines_stay_inside(points in prop::collection::vec(
            prop::option::weighted(0.9, prop::array::uniform2(-1e7..1e7f64)), 0..40)) {
            for part in clip_line(points, &FRAME) {
                prop_assert!(part.iter().all(|&p| FRAME.grown(1e-3).contains(p)));
            }
        }

        #[test]
        fn thinning_moves_nothing_and_keeps_the_ends(
            points in prop::collection::vec(prop::array::uniform2(0.0..20.0f64), 1..80)
        ) {
            let all: Vec<_> = points.iter().copied().map(Some).collect();
            let thinned = thin(all.clone(), 1.0);
            prop_assert!(thinned.iter().all(|p| all.contains(p)));
            prop_assert_eq!(thinned.first(), all.first());
            prop_assert_eq!(thinned.last(), all.last());
        }
    }
}
