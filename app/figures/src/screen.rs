//! Figures on the screen: the same scene as in files, painted by egui, that can be turned, zoomed and clicked.
//!
//! A [`FigureView`] belongs to one figure shown in one place; keep it between frames. In a plane, dragging pans,
//! the wheel zooms about the pointer, both axes at once; in a space, dragging turns, dragging with Shift or the
//! second button pans, the wheel zooms. A double click resets the panel. Panels that share an axis move
//! together.
//!
//! Figures lie on a white plate under light and dark visuals alike: what is seen is what is printed, black keeps
//! its meaning (stable), and colour maps are made to be read on white. The plate costs some glare in the dark,
//! which swapped colours would pay for with figures that differ between screen and paper.

use std::sync::Arc;

use egui::epaint::{Mesh, TextShape};
use egui::text::{FontData, FontDefinitions};
use egui::{Color32, FontFamily, FontId, Galley, Pos2, Sense, Stroke, Ui, Vec2};

use crate::figure::{Content, Figure, Space};
use crate::geometry::Point;
use crate::markup::Run;
use crate::palette::Rgb;
use crate::scale::Scaler;
use crate::scene::{PanelView, Request, Scene, Shape, Text};
use crate::text::{BOLD, ITALIC, Measure, REGULAR, run_size};

/// Pixels of the interface per point of the figure, so that labels of 7 points match the text around them.
const ZOOM: f32 = 1.75;
/// Details closer than this many points are left out: 1.5 pixels.
const RESOLUTION: f32 = 1.5 / ZOOM;
/// How far from a point, in pixels, a click still counts as on it.
const REACH: f32 = 5.0;
/// Degrees per pixel dragged.
const TURN: f64 = 0.4;
/// Bounds of magnification.
const MAGNIFICATION: std::ops::RangeInclusive<f64> = 0.2..=50.0;
/// Names of the embedded faces in egui: regular, bold, italic.
const FACES: [(&str, &[u8]); 3] = [
    ("nullcline figure", REGULAR),
    ("nullcline figure bold", BOLD),
    ("nullcline figure italic", ITALIC),
];

/// Adds the fonts of files to egui, so that figures on the screen are set in them. Call it once when the window
/// opens, with the font definitions in use (`FontDefinitions::default()` unless others were set). Without it
/// figures are set in egui's proportional font.
pub fn install_fonts(context: &egui::Context, mut fonts: FontDefinitions) {
    let fallback = fonts
        .families
        .get(&FontFamily::Proportional)
        .cloned()
        .unwrap_or_default();
    for (name, data) in FACES {
        fonts
            .font_data
            .insert(name.to_owned(), Arc::new(FontData::from_static(data)));
        let faces = std::iter::once(name.to_owned())
            .chain(fallback.iter().cloned())
            .collect();
        fonts.families.insert(FontFamily::Name(name.into()), faces);
    }
    context.set_fonts(fonts);
}

/// What the user did to a figure in this frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Id of the point that was clicked.
    pub clicked: Option<u64>,
    /// Id of the point under the pointer.
    pub hovered: Option<u64>,
}

/// How one figure is looked at: zoom, pan, direction.
#[derive(Clone, Debug, Default)]
pub struct FigureView {
    views: Vec<PanelView>,
    /// Panel that is being dragged.
    dragged: Option<usize>,
    hovered: Option<u64>,
    /// The figure that the views belong to: its name and number of panels.
    shown: (String, usize),
}

impl FigureView {
    /// Shows everything, from the direction that the figure names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows everything again.
    pub fn reset(&mut self) {
        self.views.clear();
        self.dragged = None;
    }

    /// Paints the figure into the room that is left in `ui`, with a ring around the points of id `selected`, and
    /// reports what was pointed at. A figure that cannot be drawn is replaced by the reason.
    pub fn show(&mut self, ui: &mut Ui, figure: &Figure, selected: Option<u64>) -> Response {
        let shown = (figure.name.clone(), figure.panels.len());
        if self.shown != shown {
            self.reset();
            self.shown = shown;
        }
        self.views.resize(figure.panels.len(), PanelView::default());

        let room = ui.available_size().max(Vec2::splat(40.0));
        let room = Vec2::new(room.x.min(10_000.0), room.y.min(10_000.0));
        let (rect, area) = ui.allocate_exact_size(room, Sense::click_and_drag());
        let painter = ui.painter_at(rect);
        let request = Request {
            width: rect.width() / ZOOM,
            height: Some(rect.height() / ZOOM),
            views: &self.views,
            selected,
            hovered: self.hovered,
            resolution: RESOLUTION,
            steady: true,
        };
        let fonts = Fonts::new(ui.ctx());
        let scene = Scene::build(
            figure,
            &request,
            &Measured {
                painter: &painter,
                fonts: &fonts,
            },
        );
        let scene = match scene {
            Ok(scene) => scene,
            Err(error) => {
                let font = egui::TextStyle::Body.resolve(ui.style());
                let color = ui.visuals().error_fg_color;
                let galley = painter.layout(error.to_string(), font, color, rect.width() - 16.0);
                painter.galley(rect.min + Vec2::splat(8.0), galley, color);
                return Response::default();
            }
        };
        painter.rect_filled(rect, 3.0, Color32::WHITE);
        paint(&painter, rect.min, &scene, &fonts);
        self.interact(ui, figure, &scene, &area, rect.min)
    }

    fn interact(
        &mut self,
        ui: &Ui,
        figure: &Figure,
        scene: &Scene,
        area: &egui::Response,
        origin: Pos2,
    ) -> Response {
        let pointer = area.hover_pos().or_else(|| area.interact_pointer_pos());
        let place = pointer.map(|p| [(p.x - origin.x) / ZOOM, (p.y - origin.y) / ZOOM]);
        let panel_at = |p: Point| {
            scene
                .frames
                .iter()
                .position(|frame| frame.rect.grown(2.0).contains(p))
        };
        let panel = place.and_then(panel_at);

        let hovered = place
            .filter(|_| !area.dragged())
            .and_then(|p| nearest(scene, p));
        if hovered != self.hovered {
            self.hovered = hovered;
            ui.ctx().request_repaint();
        }
        if let Some(panel) = panel {
            let cursor = if hovered.is_some() {
                egui::CursorIcon::PointingHand
            } else {
                egui::CursorIcon::Grab
            };
            ui.ctx().set_cursor_icon(cursor);
            if area.double_clicked() {
                self.change(figure, panel, |view| *view = PanelView::default());
            }
        }
        if area.drag_started() {
            self.dragged = panel;
        }
        let mut changed = area.double_clicked();
        if let Some(panel) = self.dragged.filter(|_| area.dragged()) {
            let shift = area.drag_delta();
            let pans =
                ui.input(|i| i.modifiers.shift) || area.dragged_by(egui::PointerButton::Secondary);
            self.drag(figure, scene, panel, [shift.x, shift.y], pans);
            changed |= shift != Vec2::ZERO;
        }
        if area.drag_stopped() {
            self.dragged = None;
        }
        if let (Some(panel), Some(place)) = (panel, place.filter(|_| area.hovered())) {
            let (scroll, pinch) = ui.input(|i| (i.smooth_scroll_delta().y, i.zoom_delta()));
            let factor = f64::from((scroll * 0.003).exp() * pinch);
            if (factor - 1.0).abs() > 1e-6 {
                self.zoom(figure, scene, panel, place, factor);
                changed = true;
            }
        }
        if changed {
            ui.ctx().request_repaint();
        }
        Response {
            clicked: hovered.filter(|_| area.clicked()),
            hovered,
        }
    }

    /// Changes the view of a panel.
    fn change(&mut self, figure: &Figure, panel: usize, change: impl Fn(&mut PanelView)) {
        if let Some(view) = self.views.get_mut(panel) {
            change(view);
            let view = *view;
            self.follow(figure, panel, view);
        }
    }

    /// Gives the panels that share an axis with this one the same horizontal range.
    fn follow(&mut self, figure: &Figure, panel: usize, view: PanelView) {
        for other in sharing(figure, panel) {
            if other == panel {
                continue;
            }
            if let Some(other) = self.views.get_mut(other) {
                *other = match (view.ranges, other.ranges) {
                    (None, _) => PanelView::default(),
                    (Some(ranges), own) => PanelView {
                        ranges: Some((ranges.0, own.map_or(ranges.1, |o| o.1))),
                        ..view
                    },
                };
            }
        }
    }

    fn drag(&mut self, figure: &Figure, scene: &Scene, panel: usize, [x, y]: [f32; 2], pans: bool) {
        match figure.panels.get(panel).map(|p| &p.content) {
            Some(Content::Space(space)) => self.change(figure, panel, |view| {
                if pans {
                    view.pan = [view.pan[0] + x / ZOOM, view.pan[1] + y / ZOOM];
                } else {
                    turn(view, space, [x, y]);
                }
            }),
            Some(Content::Plane(_)) => {
                let Some(frame) = scene.frames.get(panel) else {
                    return;
                };
                let shift = [
                    f64::from(-x / ZOOM / frame.rect.width()),
                    f64::from(y / ZOOM / frame.rect.height()),
                ];
                self.range(figure, scene, panel, |scaler, axis| {
                    (scaler.value(shift[axis]), scaler.value(1.0 + shift[axis]))
                });
            }
            None => {}
        }
    }

    /// Magnifies about a place on the canvas.
    fn zoom(&mut self, figure: &Figure, scene: &Scene, panel: usize, place: Point, factor: f64) {
        let Some(frame) = scene.frames.get(panel) else {
            return;
        };
        if frame.scales.is_none() {
            self.change(figure, panel, |view| {
                view.zoom =
                    (view.zoom * factor).clamp(*MAGNIFICATION.start(), *MAGNIFICATION.end());
            });
            return;
        }
        let at = [
            f64::from((place[0] - frame.rect.left) / frame.rect.width()).clamp(0.0, 1.0),
            f64::from((frame.rect.bottom - place[1]) / frame.rect.height()).clamp(0.0, 1.0),
        ];
        self.range(figure, scene, panel, |scaler, axis| {
            (
                scaler.value(at[axis] - at[axis] / factor),
                scaler.value(at[axis] + (1.0 - at[axis]) / factor),
            )
        });
    }

    /// Gives a plane new ranges, made of its scales and the index of the axis (0 horizontal, 1 vertical). Ranges
    /// that cannot be drawn are not taken.
    fn range(
        &mut self,
        figure: &Figure,
        scene: &Scene,
        panel: usize,
        new: impl Fn(Scaler, usize) -> (f64, f64),
    ) {
        let Some((x, y)) = scene.frames.get(panel).and_then(|frame| frame.scales) else {
            return;
        };
        let ranges = (new(x, 0), new(y, 1));
        let sound = |(low, high): (f64, f64), scaler: Scaler| {
            let largest = low.abs().max(high.abs());
            crate::scale::drawable(low, scaler.scale)
                && crate::scale::drawable(high, scaler.scale)
                // Nearer together, numbers and ticks could not be told apart.
                && high - low > 1e-9 * largest
                && largest < 1e200
        };
        if !(sound(ranges.0, x) && sound(ranges.1, y)) {
            return;
        }
        // The others of a stack keep the vertical range that they show now.
        for other in sharing(figure, panel) {
            let shown = scene.frames.get(other).and_then(|frame| frame.scales);
            if let (Some(view), Some((x, y))) = (self.views.get_mut(other), shown)
                && view.ranges.is_none()
            {
                view.ranges = Some((x.range, y.range));
            }
        }
        self.change(figure, panel, |view| view.ranges = Some(ranges));
    }
}

/// Turns a space by a drag.
fn turn(view: &mut PanelView, space: &Space, [x, y]: [f32; 2]) {
    let mut direction = view.view.unwrap_or(space.view);
    direction.azimuth = (direction.azimuth - TURN * f64::from(x)).rem_euclid(360.0);
    direction.elevation = (direction.elevation + TURN * f64::from(y)).clamp(-90.0, 90.0);
    view.view = Some(direction);
}

/// The panels that share their horizontal axis with one, itself among them.
fn sharing(figure: &Figure, panel: usize) -> Vec<usize> {
    let columns = figure.columns.min(figure.panels.len()).max(1);
    let shares = |index: usize| matches!(figure.panels.get(index).map(|p| &p.content), Some(Content::Plane(plane)) if plane.shares_x);
    let mut first = panel;
    while first >= columns && shares(first - columns) {
        first -= columns;
    }
    let mut all = vec![first];
    let mut last = first;
    while shares(last) && last + columns < figure.panels.len() {
        last += columns;
        all.push(last);
    }
    all
}

/// The id of the frontmost target that a place on the canvas is on, or else nearest to within reach.
fn nearest(scene: &Scene, [x, y]: Point) -> Option<u64> {
    let distance = |p: Point| (p[0] - x).hypot(p[1] - y);
    scene
        .targets
        .iter()
        .rev()
        .filter(|target| distance(target.center) <= target.radius + REACH / ZOOM)
        .min_by(|a, b| distance(a.center).total_cmp(&distance(b.center)))
        .map(|target| target.id)
}

/// The fonts that figures are set in.
struct Fonts {
    embedded: bool,
}

impl Fonts {
    fn new(context: &egui::Context) -> Self {
        // A family that is not installed would make egui panic.
        let embedded = context.fonts(|fonts| {
            let families = &fonts.definitions().families;
            FACES
                .iter()
                .all(|(name, _)| families.contains_key(&FontFamily::Name((*name).into())))
        });
        Self { embedded }
    }

    fn id(&self, size: f32, italic: bool, bold: bool) -> FontId {
        let family = if self.embedded {
            let face = if bold {
                FACES[1]
            } else if italic {
                FACES[2]
            } else {
                FACES[0]
            };
            FontFamily::Name(face.0.into())
        } else {
            FontFamily::Proportional
        };
        FontId::new(size * ZOOM, family)
    }

    fn galley(&self, painter: &egui::Painter, run: &Run, size: f32, color: Color32) -> Arc<Galley> {
        painter.layout_no_wrap(run.text.clone(), self.id(size, run.italic, run.bold), color)
    }
}

/// Measures with the fonts of the screen.
struct Measured<'a> {
    painter: &'a egui::Painter,
    fonts: &'a Fonts,
}

impl Measure for Measured<'_> {
    fn width(&self, text: &str, size: f32, italic: bool, bold: bool) -> f32 {
        let run = Run {
            text: text.to_owned(),
            italic,
            bold,
            ..Run::default()
        };
        self.fonts
            .galley(self.painter, &run, size, Color32::BLACK)
            .size()
            .x
            / ZOOM
    }
}

fn color_of([r, g, b]: Rgb, opacity: f32) -> Color32 {
    Color32::from_rgba_unmultiplied(r, g, b, (opacity * 255.0).round() as u8)
}

/// Puts a scene on the screen.
fn paint(painter: &egui::Painter, origin: Pos2, scene: &Scene, fonts: &Fonts) {
    let at = |p: Point| origin + Vec2::new(p[0], p[1]) * ZOOM;
    let mut shapes = Vec::with_capacity(scene.shapes.len());
    for shape in &scene.shapes {
        shapes.push(match shape {
            Shape::Line {
                points,
                width,
                color,
                opacity,
            } => egui::Shape::line(
                points.iter().map(|&p| at(p)).collect(),
                Stroke::new((width * ZOOM).max(0.8), color_of(*color, *opacity)),
            ),
            Shape::Strip {
                upper,
                lower,
                color,
                opacity,
            } => strip(upper, lower, color_of(*color, *opacity), &at),
            Shape::Polygon {
                points,
                color,
                opacity,
            } => egui::Shape::convex_polygon(
                points.iter().map(|&p| at(p)).collect(),
                color_of(*color, *opacity),
                Stroke::NONE,
            ),
            Shape::Box {
                rect,
                color,
                opacity,
            } => egui::Shape::rect_filled(
                egui::Rect::from_min_max(at([rect.left, rect.top]), at([rect.right, rect.bottom])),
                0.0,
                color_of(*color, *opacity),
            ),
            Shape::Disc {
                center,
                radius,
                color,
                opacity,
            } => egui::Shape::circle_filled(at(*center), radius * ZOOM, color_of(*color, *opacity)),
        });
    }
    painter.extend(shapes);
    for text in &scene.texts {
        write(painter, at(text.at), text, fonts);
    }
}

/// A strip as triangles, since egui fills convex polygons only.
fn strip(
    upper: &[Point],
    lower: &[Point],
    color: Color32,
    at: &impl Fn(Point) -> Pos2,
) -> egui::Shape {
    let mut mesh = Mesh::default();
    for (i, (&a, &b)) in upper.iter().zip(lower).enumerate() {
        mesh.colored_vertex(at(a), color);
        mesh.colored_vertex(at(b), color);
        if i > 0
            && let Ok(last) = u32::try_from(2 * i + 1)
        {
            mesh.add_triangle(last - 3, last - 2, last - 1);
            mesh.add_triangle(last - 2, last - 1, last);
        }
    }
    egui::Shape::mesh(mesh)
}

/// One text, run by run along its baseline.
fn write(painter: &egui::Painter, at: Pos2, text: &Text, fonts: &Fonts) {
    let color = color_of(text.color, 1.0);
    // Along the text and down from its baseline, before it is turned.
    let mut along = -text.lead() * ZOOM;
    for run in &text.runs {
        let galley = fonts.galley(painter, run, run_size(text.size, run.level), color);
        let baseline = galley
            .rows
            .first()
            .and_then(|row| row.glyphs.first().map(|glyph| row.pos.y + glyph.pos.y))
            .unwrap_or(0.0);
        let down = run.level.drop() * text.size * ZOOM - baseline;
        let wide = galley.size().x;
        if text.upright {
            let place = at + Vec2::new(down, -along);
            let shape = TextShape::new(place, galley, color);
            painter.add(shape.with_angle(-std::f32::consts::FRAC_PI_2));
        } else {
            painter.galley(at + Vec2::new(along, down), galley, color);
        }
        along += wide;
    }
}
