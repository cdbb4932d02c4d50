//! A figure laid out: shapes and texts with places, all in points, ready for any painter.
//!
//! This is what the two painters share. [`Scene::build`] decides sizes, ticks, legends, projection, clipping
//! and order; a painter only puts lines, polygons, discs and texts on its surface. Text lies in front of
//! shapes.

use crate::figure::{Content, Figure, FigureError, View};
use crate::geometry::{Point, Rect};
use crate::markup::Run;
use crate::palette::Rgb;
use crate::scale::Scaler;
use crate::text::{self, Measure};
use crate::{layout, plane, space};

/// A shape, filled or stroked in one colour. Lines are already clipped and dashed.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Polyline.
    Line {
        /// Vertices.
        points: Vec<Point>,
        /// Width in points.
        width: f32,
        /// Colour.
        color: Rgb,
        /// Opacity in [0, 1].
        opacity: f32,
    },
    /// The area between two polylines of equally many vertices, each pair at the same x.
    Strip {
        /// Upper edge.
        upper: Vec<Point>,
        /// Lower edge.
        lower: Vec<Point>,
        /// Colour.
        color: Rgb,
        /// Opacity in [0, 1].
        opacity: f32,
    },
    /// Filled convex polygon.
    Polygon {
        /// Vertices.
        points: Vec<Point>,
        /// Colour.
        color: Rgb,
        /// Opacity in [0, 1].
        opacity: f32,
    },
    /// Filled rectangle.
    Box {
        /// Where.
        rect: Rect,
        /// Colour.
        color: Rgb,
        /// Opacity in [0, 1].
        opacity: f32,
    },
    /// Filled disc.
    Disc {
        /// Centre.
        center: Point,
        /// Radius in points.
        radius: f32,
        /// Colour.
        color: Rgb,
        /// Opacity in [0, 1].
        opacity: f32,
    },
}

/// Which point of a text lies at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Where it begins.
    Start,
    /// Its middle.
    Middle,
    /// Where it ends.
    End,
}

/// One line of text.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// Place of the anchor, on the baseline.
    pub at: Point,
    /// Which point of the text that is.
    pub anchor: Anchor,
    /// Turned to be read from below, for vertical axes.
    pub upright: bool,
    /// What is written.
    pub runs: Vec<Run>,
    /// Size in points.
    pub size: f32,
    /// Width in points, before it is turned.
    pub width: f32,
    /// Colour.
    pub color: Rgb,
}

impl Text {
    /// How far the text begins before its place, along its line.
    #[must_use]
    pub fn lead(&self) -> f32 {
        match self.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => self.width / 2.0,
            Anchor::End => self.width,
        }
    }

    /// The rectangle that the text covers.
    #[must_use]
    pub fn bounds(&self) -> Rect {
        let (mut above, mut below) = (0.0_f32, 0.0_f32);
        for run in &self.runs {
            let size = text::run_size(self.size, run.level);
            let drop = run.level.drop() * self.size;
            above = above.max(text::ASCENT * size - drop);
            below = below.max(text::DESCENT * size + drop);
        }
        let (start, end) = (-self.lead(), self.width - self.lead());
        let [x, y] = self.at;
        if self.upright {
            Rect::new(x - above, y - end, x + below, y - start)
        } else {
            Rect::new(x + start, y - above, x + end, y + below)
        }
    }
}

/// Something that can be pointed at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// The id that the figure gave it.
    pub id: u64,
    /// Index of its panel.
    pub panel: usize,
    /// Where.
    pub center: Point,
    /// Radius in points.
    pub radius: f32,
}

/// The plot frame of one panel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Where.
    pub rect: Rect,
    /// Its horizontal and vertical scale; `None` for a space.
    pub scales: Option<(Scaler, Scaler)>,
}

/// How a panel is looked at; the default shows everything from the direction that the figure names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PanelView {
    /// Horizontal and vertical range of a plane, in place of its own.
    pub ranges: Option<((f64, f64), (f64, f64))>,
    /// Direction of a space, in place of its own.
    pub view: Option<View>,
    /// Magnification of a space.
    pub zoom: f64,
    /// Shift of a space, in points.
    pub pan: [f32; 2],
}

impl Default for PanelView {
    fn default() -> Self {
        Self {
            ranges: None,
            view: None,
            zoom: 1.0,
            pan: [0.0, 0.0],
        }
    }
}

/// What a painter asks for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Width of the canvas in points.
    pub width: f32,
    /// Height of the canvas in points; `None` follows the aspects of the panels.
    pub height: Option<f32>,
    /// One view per panel; those missing are the default.
    pub views: &'a [PanelView],
    /// Id of the points with a strong ring.
    pub selected: Option<u64>,
    /// Id of the points with a thin ring.
    pub hovered: Option<u64>,
    /// Details smaller than this many points may be left out.
    pub resolution: f32,
    /// Keep the size of a space while it turns, instead of filling the frame from every side.
    pub steady: bool,
}

impl Request<'_> {
    /// The request for a file of this width in points.
    #[must_use]
    pub fn file(width: f32) -> Self {
        Self {
            width,
            height: None,
            views: &[],
            selected: None,
            hovered: None,
            resolution: 0.12,
            steady: false,
        }
    }

    /// The view of a panel.
    #[must_use]
    pub fn view(&self, panel: usize) -> PanelView {
        self.views.get(panel).copied().unwrap_or_default()
    }
}

/// A figure laid out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    /// Width and height in points.
    pub size: [f32; 2],
    /// Shapes, the first at the back.
    pub shapes: Vec<Shape>,
    /// Texts, in front of all shapes.
    pub texts: Vec<Text>,
    /// Points that have ids, the last in front.
    pub targets: Vec<Target>,
    /// Frames of the panels, in their order.
    pub frames: Vec<Frame>,
}

impl Scene {
    /// Lays a figure out.
    ///
    /// # Errors
    /// [`FigureError::Invalid`] for a figure that fails [`Figure::check`], [`FigureError::Width`] where the
    /// panels with their labels do not fit into the width.
    pub fn build(
        figure: &Figure,
        request: &Request,
        measure: &dyn Measure,
    ) -> Result<Self, FigureError> {
        figure.check()?;
        let layout = layout::arrange(figure, request, measure)?;
        let mut scene = Self {
            size: layout.size,
            ..Self::default()
        };
        scene.texts.extend(layout.title);
        for (index, (panel, place)) in figure.panels.iter().zip(&layout.places).enumerate() {
            layout::paint_header(&mut scene, place);
            match &panel.content {
                Content::Plane(plane) => {
                    plane::paint(&mut scene, index, plane, place, request, measure)
                }
                Content::Space(space) => {
                    space::paint(&mut scene, index, space, place, request, measure)
                }
            }
            layout::paint_color_bar(&mut scene, place);
        }
        Ok(scene)
    }

    pub(crate) fn line(&mut self, points: &[Point], width: f32, color: Rgb) {
        self.shapes.push(Shape::Line {
            points: points.to_vec(),
            width,
            color,
            opacity: 1.0,
        });
    }
}
