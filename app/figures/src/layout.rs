//! Where everything goes: the grid of frames, and around each its letter, title, legend, labels, colour bar.
//!
//! Every text is measured and has room of its own outside the frames, so that nothing overlaps and nothing is
//! cut off. Legends stand above their frame and never over data. Frames of one column have common
//! left edges, frames of one row common upper and lower edges, and all columns are equally wide unless one of
//! them, of equal aspect, needs less.

use crate::figure::{Content, Figure, FigureError, Marks, Panel, Series};
use crate::geometry::{Point, Rect, dashed};
use crate::markup;
use crate::palette::{self, Colors, GUIDE, INK, Look};
use crate::plane::{self, Axes};
use crate::scale::Scaler;
use crate::scene::{Anchor, PanelView, Request, Scene, Shape, Text};
use crate::text::{self, CAP, LABEL, LEADING, LETTER, Line, Measure, TICK};
use crate::ticks::{self, Direction};

/// Width of axes and ticks.
pub(crate) const AXIS: f32 = 0.5;
/// Length of major ticks.
pub(crate) const TICK_LENGTH: f32 = 2.5;
/// Length of minor ticks.
pub(crate) const MINOR_LENGTH: f32 = 1.5;
/// Between a tick and its label, and between labels.
pub(crate) const GAP: f32 = 2.0;
/// Height of a line of labels.
pub(crate) const LABEL_LINE: f32 = LABEL * LEADING;
/// Of that, what lies below the baseline, with subscripts.
pub(crate) const LABEL_DEPTH: f32 = 2.6;
/// Most lines of an axis label.
pub(crate) const LABEL_LINES: usize = 3;

/// Free edge of the canvas.
const EDGE: f32 = 2.0;
/// Between columns.
const COLUMN_GAP: f32 = 12.0;
/// Between rows; rows that share an axis stand closer, with just the room for two halves of tick labels.
const ROW_GAP: f32 = 10.0;
const SHARED_ROW_GAP: f32 = 2.0;
/// The least width and height of a frame.
const LEAST_WIDTH: f32 = 48.0;
const LEAST_HEIGHT: f32 = 24.0;
/// Frames narrower than this give up columns, if they can.
const COMFORTABLE_WIDTH: f32 = 90.0;
/// Height of a row of the header.
const HEADER_ROW: f32 = 9.5;
/// Legend: width of the sample, between sample and text, between entries.
const SAMPLE: f32 = 13.0;
const SAMPLE_GAP: f32 = 3.0;
const ENTRY_GAP: f32 = 10.0;
/// Colour bar: distance from the frame, and width.
const BAR_GAP: f32 = 8.0;
const BAR_WIDTH: f32 = 6.0;

/// Room around a frame for what belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Margins {
    pub left: f32,
    pub right: f32,
    pub top: f32,
    pub bottom: f32,
}

impl Margins {
    fn grow(&mut self, other: Self) {
        self.left = self.left.max(other.left);
        self.right = self.right.max(other.right);
        self.top = self.top.max(other.top);
        self.bottom = self.bottom.max(other.bottom);
    }
}

/// Everything about one panel that is decided before it is painted.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The plot frame.
    pub frame: Rect,
    /// Left edge of the panel with all that belongs to it.
    pub left: f32,
    /// Upper edge of the same.
    pub top: f32,
    /// Axes of a plane.
    pub axes: Option<Axes>,
    header: Header,
    bar: Option<Bar>,
}

pub(crate) struct Layout {
    pub size: [f32; 2],
    pub title: Vec<Text>,
    pub places: Vec<Place>,
}

/// Letter, title and legend, above the frame.
#[derive(Clone, Debug, Default)]
struct Header {
    letter: Option<Line>,
    title: Vec<Line>,
    legend: Vec<Vec<Entry>>,
    /// From the left edge of the panel to title and legend.
    indent: f32,
}

#[derive(Clone, Debug)]
struct Entry {
    look: Look,
    kind: Sample,
    line: Line,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sample {
    Line,
    Point,
    Patch,
    Region,
}

#[derive(Clone, Debug)]
struct Bar {
    colors: Colors,
    ticks: ticks::Ticks,
    label: Vec<Line>,
    tick_width: f32,
}

/// Lays out the grid. Widths of tick labels depend on the ticks, those on the size of the frames, and that on
/// the widths; margins only ever grow while this goes round, so that it ends.
pub(crate) fn arrange(
    figure: &Figure,
    request: &Request,
    measure: &dyn Measure,
) -> Result<Layout, FigureError> {
    let room = request.width - 2.0 * EDGE;
    let title = figure.title.as_deref().unwrap_or_default();
    let title = text::wrap(title, LETTER, true, room.max(1.0), 4, measure);
    let title_height =
        title.len() as f32 * LETTER * LEADING + if title.is_empty() { 0.0 } else { 4.0 };

    let fixed_columns = figure.panels.iter().any(shares_x);
    let most = figure.columns.min(figure.panels.len()).max(1);
    let mut columns = most;
    let (grid, ranges) = loop {
        let ranges = plane::ranges(figure, columns, request);
        let grid = Grid::solve(
            figure,
            request,
            measure,
            columns,
            room,
            title_height,
            &ranges,
        );
        let least = if columns > 1 && !fixed_columns {
            COMFORTABLE_WIDTH
        } else {
            LEAST_WIDTH
        };
        if grid.narrowest() >= least {
            break (grid, ranges);
        }
        if columns == 1 || fixed_columns {
            return Err(FigureError::Width {
                figure: figure.name.clone(),
                width_mm: f64::from(request.width) / 72.0 * 25.4,
                problem: format!(
                    "{columns} column(s) with their labels leave {:.0} points for each frame; at least {LEAST_WIDTH} are needed",
                    grid.narrowest().max(0.0)
                ),
            });
        }
        columns -= 1;
    };

    let mut places = Vec::new();
    for (index, panel) in figure.panels.iter().enumerate() {
        let (row, column) = (index / columns, index % columns);
        let mut frame = grid.frame(panel, row, column);
        if let (Content::Plane(plane), Some(ranges)) =
            (&panel.content, ranges.get(index).copied().flatten())
        {
            frame.right =
                frame.left + plane::frame_width(plane, ranges, [frame.width(), frame.height()]);
        }
        let (axes, header, bar) = decorations(
            panel,
            ranges.get(index).copied().flatten(),
            &request.view(index),
            [frame.width(), frame.height()],
            grid.lefts.get(column).map_or(0.0, |l| l.1),
            grid.rights.get(column).copied().unwrap_or_default(),
            measure,
        );
        places.push(Place {
            frame,
            left: grid.lefts.get(column).map_or(0.0, |l| l.0),
            top: grid.rows.get(row).map_or(0.0, |r| r.top),
            axes,
            header,
            bar,
        });
    }
    let title = title
        .into_iter()
        .enumerate()
        .map(|(i, line)| Text {
            at: [EDGE, EDGE + LETTER * (ASCENT_ROOM + LEADING * i as f32)],
            anchor: Anchor::Start,
            upright: false,
            runs: line.runs,
            size: LETTER,
            width: line.width,
            color: INK,
        })
        .collect();
    Ok(Layout {
        size: [request.width, grid.height],
        title,
        places,
    })
}

/// From the top of a line to its baseline, over the size.
const ASCENT_ROOM: f32 = 0.95;

fn shares_x(panel: &Panel) -> bool {
    matches!(&panel.content, Content::Plane(plane) if plane.shares_x)
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    top: f32,
    frame_top: f32,
    frame_bottom: f32,
}

struct Grid {
    /// Left edge of each column, and from there to the frames.
    lefts: Vec<(f32, f32)>,
    /// Room to the right of the frames of each column.
    rights: Vec<f32>,
    rows: Vec<Row>,
    /// Widths of the frames of each column.
    widths: Vec<f32>,
    /// An equal share of the width, that the height of a frame goes by.
    share: f32,
    /// Height of the canvas.
    height: f32,
}

impl Grid {
    fn solve(
        figure: &Figure,
        request: &Request,
        measure: &dyn Measure,
        columns: usize,
        room: f32,
        title_height: f32,
        ranges: &[Option<plane::Ranges>],
    ) -> Self {
        let rows = figure.panels.len().div_ceil(columns);
        let mut across = vec![Margins::default(); columns];
        let mut along = vec![Margins::default(); rows];
        let mut share = room / columns as f32;
        let mut widths = vec![share; columns];
        let mut heights = vec![LEAST_HEIGHT; rows];
        for _ in 0..8 {
            let before = (
                across.clone(),
                along.clone(),
                widths.clone(),
                heights.clone(),
            );
            let taken: f32 = across.iter().map(|m| m.left + m.right).sum();
            share = (room - taken - COLUMN_GAP * (columns - 1) as f32) / columns as f32;
            heights = Self::heights(
                figure,
                request,
                measure,
                columns,
                share,
                &along,
                title_height,
            );
            widths = Self::widths(figure, columns, share, &heights, ranges);
            for (index, panel) in figure.panels.iter().enumerate() {
                let (row, column) = (index / columns, index % columns);
                let (Some(a), Some(b), Some(&height), Some(&width)) = (
                    across.get_mut(column),
                    along.get_mut(row),
                    heights.get(row),
                    widths.get(column),
                ) else {
                    continue;
                };
                let frame = match (&panel.content, ranges.get(index).copied().flatten()) {
                    (Content::Plane(plane), Some(ranges)) => {
                        plane::frame_width(plane, ranges, [width, height])
                    }
                    _ => width + a.left,
                };
                let (axes, header, bar) = decorations(
                    panel,
                    ranges.get(index).copied().flatten(),
                    &request.view(index),
                    [frame.max(1.0), height],
                    a.left,
                    a.right,
                    measure,
                );
                let margins = margins(panel, axes.as_ref(), &header, bar.as_ref());
                a.grow(Margins {
                    top: 0.0,
                    bottom: 0.0,
                    ..margins
                });
                b.grow(Margins {
                    left: 0.0,
                    right: 0.0,
                    ..margins
                });
            }
            if before
                == (
                    across.clone(),
                    along.clone(),
                    widths.clone(),
                    heights.clone(),
                )
            {
                break;
            }
        }
        let mut lefts = Vec::new();
        let mut x = EDGE;
        for (margin, width) in across.iter().zip(&widths) {
            lefts.push((x, margin.left));
            x += margin.left + width + margin.right + COLUMN_GAP;
        }
        let mut placed = Vec::new();
        let mut y = EDGE + title_height;
        for (row, (margin, height)) in along.iter().zip(&heights).enumerate() {
            let frame_top = y + margin.top;
            placed.push(Row {
                top: y,
                frame_top,
                frame_bottom: frame_top + height,
            });
            y = frame_top + height + margin.bottom;
            if row + 1 < rows {
                y += row_gap(figure, row, columns);
            }
        }
        let height = (y + EDGE).max(request.height.unwrap_or(0.0));
        Self {
            lefts,
            rights: across.iter().map(|m| m.right).collect(),
            rows: placed,
            widths,
            share,
            height,
        }
    }

    /// Heights of the frames: those that the aspects ask for, or what the height of the canvas leaves.
    fn heights(
        figure: &Figure,
        request: &Request,
        measure: &dyn Measure,
        columns: usize,
        share: f32,
        along: &[Margins],
        title_height: f32,
    ) -> Vec<f32> {
        let mut natural = vec![LEAST_HEIGHT; along.len()];
        let mut least = vec![LEAST_HEIGHT; along.len()];
        for (index, panel) in figure.panels.iter().enumerate() {
            let row = index / columns;
            if let (Some(natural), Some(least)) = (natural.get_mut(row), least.get_mut(row)) {
                *natural = natural.max(panel.aspect as f32 * share.max(0.0));
                *least = least.max(least_height(panel, measure));
            }
        }
        if let Some(height) = request.height {
            let fixed: f32 = along.iter().map(|m| m.top + m.bottom).sum::<f32>()
                + (0..along.len().saturating_sub(1))
                    .map(|r| row_gap(figure, r, columns))
                    .sum::<f32>()
                + title_height
                + 2.0 * EDGE;
            let total: f32 = natural.iter().sum();
            let factor = ((height - fixed) / total).max(0.0);
            natural.iter_mut().for_each(|h| *h *= factor);
        }
        natural.iter().zip(&least).map(|(n, l)| n.max(*l)).collect()
    }

    /// Widths of the columns: equal, except that one in which every panel needs less, having equal aspect, leaves
    /// the rest to the others.
    fn widths(
        figure: &Figure,
        columns: usize,
        share: f32,
        heights: &[f32],
        ranges: &[Option<plane::Ranges>],
    ) -> Vec<f32> {
        let needed = |index: usize| match (&figure.panels.get(index)?.content, ranges.get(index)?) {
            (Content::Plane(plane), Some(ranges)) if plane.equal_aspect => Some(
                plane::frame_width(plane, *ranges, [share, *heights.get(index / columns)?]),
            ),
            _ => Some(share),
        };
        let mut widths: Vec<f32> = (0..columns)
            .map(|column| {
                (column..figure.panels.len())
                    .step_by(columns)
                    .filter_map(needed)
                    .fold(0.0, f32::max)
            })
            .collect();
        let flexible = widths.iter().filter(|w| **w >= share).count();
        let left: f32 = widths.iter().map(|w| share - w).sum();
        if flexible > 0 {
            let more = left / flexible as f32;
            widths
                .iter_mut()
                .filter(|w| **w >= share)
                .for_each(|w| *w += more);
        }
        widths
    }

    fn narrowest(&self) -> f32 {
        self.widths.iter().copied().fold(self.share, f32::min)
    }

    fn frame(&self, panel: &Panel, row: usize, column: usize) -> Rect {
        let (left, margin) = self.lefts.get(column).copied().unwrap_or_default();
        let row = self.rows.get(row).copied().unwrap_or_default();
        let width = self.widths.get(column).copied().unwrap_or_default();
        // A space has its labels inside its frame and needs no room for them at the left.
        let start = if matches!(panel.content, Content::Space(_)) {
            left
        } else {
            left + margin
        };
        Rect::new(
            start,
            row.frame_top,
            left + margin + width,
            row.frame_bottom,
        )
    }
}

fn row_gap(figure: &Figure, row: usize, columns: usize) -> f32 {
    let shared = figure
        .panels
        .iter()
        .skip(row * columns)
        .take(columns)
        .all(shares_x);
    if shared { SHARED_ROW_GAP } else { ROW_GAP }
}

/// The least height at which the upright labels of a panel fit into [`LABEL_LINES`] lines.
fn least_height(panel: &Panel, measure: &dyn Measure) -> f32 {
    let mut labels = Vec::new();
    if let Content::Plane(plane) = &panel.content {
        // Room for a common power of ten, whether or not there will be one.
        labels.push(ticks::axis_text(&plane.y.label, &plane.y.unit, -10));
    }
    if let Some((scale, _)) = panel.series().iter().find_map(|s| s.color_scale()) {
        labels.push(ticks::axis_text(&scale.label, &scale.unit, -10));
    }
    let needed = |label: &String| {
        let whole = text::label_width(label, LABEL, measure);
        let longest = label
            .split(' ')
            .map(|word| text::label_width(word, LABEL, measure))
            .fold(0.0, f32::max);
        // Greedy lines hold more than half of their room each on average, so that three lines suffice.
        (0.55 * whole + 1.0).max(longest + 1.0).min(300.0)
    };
    labels.iter().map(needed).fold(
        if matches!(panel.content, Content::Space(_)) {
            70.0
        } else {
            0.0
        },
        f32::max,
    )
}

/// What belongs to a panel whose frame has this size and these margins at its sides.
fn decorations(
    panel: &Panel,
    ranges: Option<plane::Ranges>,
    view: &PanelView,
    size: [f32; 2],
    left: f32,
    right: f32,
    measure: &dyn Measure,
) -> (Option<Axes>, Header, Option<Bar>) {
    let (axes, whole) = match (&panel.content, ranges) {
        (Content::Plane(plane), Some(ranges)) => (
            Some(plane::axes(plane, ranges, view, size, measure)),
            left + size[0] + right,
        ),
        _ => (None, size[0] + right),
    };
    let bar = bar(panel, size[1], measure);
    let header = header(
        panel,
        if axes.is_some() { left } else { 0.0 },
        whole,
        measure,
    );
    (axes, header, bar)
}

fn margins(panel: &Panel, axes: Option<&Axes>, header: &Header, bar: Option<&Bar>) -> Margins {
    let mut margins = Margins::default();
    if let (Some(axes), Content::Plane(plane)) = (axes, &panel.content) {
        margins = axes.margins(plane);
    }
    if let Some(bar) = bar {
        margins.right = margins.right.max(bar.width());
        // The last label of the bar stands half above its end.
        margins.top = margins.top.max(TICK / 2.0);
        margins.bottom = margins.bottom.max(TICK / 2.0);
    }
    margins.top = margins.top.max(1.0) + header.height();
    margins
}

// Header -----------------------------------------------------------------------------------------------

fn header(panel: &Panel, left: f32, whole: f32, measure: &dyn Measure) -> Header {
    let letter = panel.letter.as_deref().and_then(|letter| {
        text::wrap(letter, LETTER, true, 40.0, 1, measure)
            .into_iter()
            .next()
    });
    let indent = letter
        .as_ref()
        .map_or(left, |letter| left.max(letter.width + 5.0));
    let room = (whole - indent).max(20.0);
    let title = text::wrap(
        panel.title.as_deref().unwrap_or_default(),
        LABEL,
        false,
        room,
        3,
        measure,
    );
    let mut legend: Vec<Vec<Entry>> = Vec::new();
    let mut used = f32::INFINITY;
    for (label, look, kind) in panel.series().iter().flat_map(entries) {
        let text_room = (room - SAMPLE - SAMPLE_GAP).max(10.0);
        let Some(line) = text::wrap(label, LABEL, false, text_room, 1, measure)
            .into_iter()
            .next()
        else {
            continue;
        };
        let wide = SAMPLE + SAMPLE_GAP + line.width;
        if used + ENTRY_GAP + wide > room {
            legend.push(Vec::new());
            used = 0.0;
        } else {
            used += ENTRY_GAP;
        }
        used += wide;
        if let Some(row) = legend.last_mut() {
            row.push(Entry { look, kind, line });
        }
    }
    Header {
        letter,
        title,
        legend,
        indent,
    }
}

/// The legend entries of a series: one for its label, of regions one for every category that is seen.
fn entries(series: &Series) -> Vec<(&str, Look, Sample)> {
    let mut look = palette::look(&series.style);
    let kind = match &series.marks {
        Marks::Points { .. } => Sample::Point,
        Marks::Band { .. } => Sample::Patch,
        // What a heat map shows is said by its colour bar.
        Marks::Heatmap { .. } => return Vec::new(),
        Marks::Regions {
            cells, categories, ..
        } => {
            let seen = |place: usize| cells.contains(&Some(place));
            return categories
                .iter()
                .enumerate()
                .filter(|(place, category)| !category.label.is_empty() && seen(*place))
                .map(|(_, category)| {
                    let color = category.color;
                    (&category.label[..], Look { color, ..look }, Sample::Region)
                })
                .collect();
        }
        _ => Sample::Line,
    };
    if series.coloring.is_some() {
        // The colours are explained by the colour bar; the sample takes the middle one.
        if let Some((scale, values)) = series.color_scale() {
            let range = Colors::new(scale, values);
            look.color = palette::map_color(range.map, 0.5);
        }
    }
    let label = series.label.as_deref();
    label.map(|label| (label, look, kind)).into_iter().collect()
}

impl Header {
    fn rows(&self) -> usize {
        (self.title.len() + self.legend.len()).max(usize::from(self.letter.is_some()))
    }

    fn height(&self) -> f32 {
        let rows = self.rows();
        if rows == 0 {
            0.0
        } else {
            rows as f32 * HEADER_ROW + 2.0
        }
    }
}

fn row_baseline(top: f32, row: usize) -> f32 {
    top + HEADER_ROW * row as f32 + 7.0
}

/// Letter, title and legend.
pub(crate) fn paint_header(scene: &mut Scene, place: &Place) {
    let mut write = |at: Point, line: &Line, size: f32| {
        scene.texts.push(Text {
            at,
            anchor: Anchor::Start,
            upright: false,
            runs: line.runs.clone(),
            size,
            width: line.width,
            color: INK,
        });
    };
    let header = &place.header;
    if let Some(letter) = &header.letter {
        write([place.left, row_baseline(place.top, 0)], letter, LETTER);
    }
    let start = place.left + header.indent;
    for (row, line) in header.title.iter().enumerate() {
        write([start, row_baseline(place.top, row)], line, LABEL);
    }
    let mut samples = Vec::new();
    for (row, entries) in header.legend.iter().enumerate() {
        let baseline = row_baseline(place.top, header.title.len() + row);
        let mut x = start;
        for entry in entries {
            samples.push((entry, [x, baseline - LABEL * CAP / 2.0]));
            write([x + SAMPLE + SAMPLE_GAP, baseline], &entry.line, LABEL);
            x += SAMPLE + SAMPLE_GAP + entry.line.width + ENTRY_GAP;
        }
    }
    for (entry, [x, y]) in samples {
        let look = entry.look;
        match entry.kind {
            Sample::Line => {
                for points in dashed(&[[x, y], [x + SAMPLE, y]], look.dash, look.width) {
                    scene.shapes.push(Shape::Line {
                        points,
                        width: look.width,
                        color: look.color,
                        opacity: look.opacity,
                    });
                }
            }
            Sample::Point => {
                let look = Look {
                    size: look.size.min(6.0),
                    ..look
                };
                plane::marker(&mut scene.shapes, [x + SAMPLE / 2.0, y], &look, look.color);
            }
            Sample::Patch => scene.shapes.push(Shape::Box {
                rect: Rect::new(x, y - 2.5, x + SAMPLE, y + 2.5),
                color: look.color,
                opacity: look.opacity * plane::BAND_OPACITY,
            }),
            Sample::Region => {
                let rect = Rect::new(x + 2.5, y - 3.0, x + SAMPLE - 2.5, y + 3.0);
                scene.shapes.push(Shape::Box {
                    rect,
                    color: look.color,
                    opacity: look.opacity,
                });
                // Pale ones would be lost on paper.
                let corners = [
                    [rect.left, rect.top],
                    [rect.right, rect.top],
                    [rect.right, rect.bottom],
                    [rect.left, rect.bottom],
                    [rect.left, rect.top],
                ];
                scene.line(&corners, AXIS, GUIDE);
            }
        }
    }
}

// Colour bar -------------------------------------------------------------------------------------------

fn bar(panel: &Panel, height: f32, measure: &dyn Measure) -> Option<Bar> {
    let (scale, values) = panel.series().iter().find_map(|s| s.color_scale())?;
    let colors = Colors::new(scale, values);
    let scaler = Scaler {
        range: colors.range,
        scale: colors.scale,
    };
    let ticks = ticks::choose(scaler, height, Direction::Up, &|_| TICK * 1.4);
    let tick_width = ticks
        .major
        .iter()
        .map(|(_, label)| text::label_width(label, TICK, measure))
        .fold(0.0, f32::max);
    let label = ticks::axis_text(&scale.label, &scale.unit, ticks.exponent);
    let label = text::wrap(&label, LABEL, false, height, LABEL_LINES, measure);
    Some(Bar {
        colors,
        ticks,
        label,
        tick_width,
    })
}

impl Bar {
    fn width(&self) -> f32 {
        let label = if self.label.is_empty() {
            0.0
        } else {
            GAP + self.label.len() as f32 * LABEL_LINE
        };
        BAR_GAP + BAR_WIDTH + TICK_LENGTH + GAP + self.tick_width + label + 1.0
    }
}

/// The colour bar to the right of the frame.
pub(crate) fn paint_color_bar(scene: &mut Scene, place: &Place) {
    let Some(bar) = &place.bar else { return };
    let frame = place.frame;
    let (left, right) = (frame.right + BAR_GAP, frame.right + BAR_GAP + BAR_WIDTH);
    const STEPS: usize = 128;
    for step in 0..STEPS {
        let y = |k: usize| frame.bottom - frame.height() * k as f32 / STEPS as f32;
        scene.shapes.push(Shape::Box {
            // Each reaches under the next, or seams would show where pixels are shared.
            rect: Rect::new(left, y((step + 2).min(STEPS)), right, y(step)),
            color: palette::map_color(bar.colors.map, (step as f64 + 0.5) / STEPS as f64),
            opacity: 1.0,
        });
    }
    let scaler = Scaler {
        range: bar.colors.range,
        scale: bar.colors.scale,
    };
    let y = |at: f64| {
        scaler
            .fraction(at)
            .map(|f| frame.bottom - f as f32 * frame.height())
    };
    for at in bar.ticks.minor.iter().filter_map(|&at| y(at)) {
        scene.line(&[[right, at], [right + MINOR_LENGTH, at]], AXIS, INK);
    }
    for (value, label) in &bar.ticks.major {
        let Some(at) = y(*value) else { continue };
        scene.line(&[[right, at], [right + TICK_LENGTH, at]], AXIS, INK);
        scene.texts.push(Text {
            at: [right + TICK_LENGTH + GAP, at + TICK * CAP / 2.0],
            anchor: Anchor::Start,
            upright: false,
            runs: markup::parse(label),
            size: TICK,
            width: bar.tick_width,
            color: INK,
        });
    }
    let start = right + TICK_LENGTH + GAP + bar.tick_width + GAP;
    for (i, line) in bar.label.iter().enumerate() {
        scene.texts.push(Text {
            at: [
                start + LABEL_LINE * i as f32 + LABEL_LINE - LABEL_DEPTH,
                frame.center()[1],
            ],
            anchor: Anchor::Middle,
            upright: true,
            runs: line.runs.clone(),
            size: LABEL,
            width: line.width,
            color: INK,
        });
    }
}
