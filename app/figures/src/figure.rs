//! The figure as a value: panels, axes, series, and the numbers drawn.
//!
//! A [`Figure`] says *what* is shown and never *how* it is painted. [`crate::export`] paints it into SVG,
//! PDF and PNG, [`crate::screen`] onto an egui window; both take every size, tick and colour from the shared
//! modules, so that no plot is described twice.
//!
//! # How to build one
//! ```
//! use nullcline_figures::figure::{Axis, Figure, Panel, Plane, Role, Scale, Series};
//!
//! let updates: Vec<f64> = (0..100).map(f64::from).collect();
//! let loss: Vec<f64> = updates.iter().map(|u| (-u / 20.0).exp()).collect();
//!
//! let plane = Plane::new(
//!     Axis::new("Update", "count"),
//!     Axis::new("Loss", "mean squared error").scale(Scale::Log),
//! )
//! .with(Series::line(updates, loss, Role::Category(0)).label("network 1"))
//! .with(Series::horizontal_rule(0.05, Role::Guide));
//!
//! let figure = Figure::new("training_curve")
//!     .caption("Loss over training.")
//!     .panel(Panel::plane(plane).aspect(0.6))
//!     .metadata("experiment", "name = \"flip_flop\"");
//! assert!(figure.check().is_ok());
//! ```
//! - **Several panels** fill a grid of [`Figure::columns`] columns row by row, lettered by [`Figure::lettered`].
//! - **Stacked rows with one time axis** (the inputs, targets and outputs of a trial): give every panel but
//!   the lowest of a column [`Plane::shares_x`]; it then drops its own horizontal axis and takes the range
//!   of the panel below.
//! - **State space**: [`Panel::space`] with a [`Space`], whose series are the same [`Series`] built by
//!   [`Series::line_3d`], [`Series::points_3d`] and [`Series::segments_3d`].
//! - **Colour by time or by a value**: [`Series::colored_by`], which also adds a colour bar.
//! - **Things that can be clicked**: [`Series::ids`] on points; the screen painter reports the id.
//!
//! # Text
//! Labels, units, titles and legend entries take a small markup: `*W*` is italic, `**a**` bold, `x_{1}`
//! a subscript, `10^{3}` a superscript, and a backslash makes the next character plain. A lone `_`, `^` or
//! `*` without its partner is drawn as it is, so that names in snake_case need no escaping. ASCII hyphens
//! before a digit in tick labels are set as a real minus sign.
//!
//! # Missing values
//! NaN and infinities are not drawn: they break a line and leave a hole in a heat map. On a logarithmic axis
//! the same holds for numbers that are not positive.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::markup;

/// A figure: a grid of panels with a caption and what made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Name in snake_case; also the stem of the files.
    pub name: String,
    /// Title above all panels; journals want none, so the default is `None`.
    pub title: Option<String>,
    /// Caption, as plain text; goes into the metadata of files and below the figure on the screen.
    pub caption: String,
    /// Panels, row by row.
    pub panels: Vec<Panel>,
    /// Columns of the grid, at least 1 (default 1).
    pub columns: usize,
    /// Pairs such as ("experiment", the TOML text) or ("program", "nullcline 0.1.0"), embedded in files.
    pub metadata: Vec<(String, String)>,
}

/// One cell of the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// Letter at the upper left, set bold, such as `a`.
    pub letter: Option<String>,
    /// Short heading above the frame.
    pub title: Option<String>,
    /// Height of the plot frame over its width, in (0, 10] (default 0.62). Panels of one row are as high as the
    /// highest of them.
    pub aspect: f64,
    /// What is inside.
    pub content: Content,
}

/// The inside of a panel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Two axes.
    Plane(Plane),
    /// Three axes, seen from a direction.
    Space(Space),
}

/// A plot with two axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plane {
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// One unit is equally long on both axes (unit circles, delay space); linear axes only. The frame becomes
    /// narrower, and the range of one axis wider, until that is so.
    pub equal_aspect: bool,
    /// The horizontal axis is that of the panel below in the same column: same range and scale, not drawn
    /// here, and the two frames move close together.
    pub shares_x: bool,
    /// What is drawn, the first at the back.
    pub series: Vec<Series>,
}

/// A plot with three linear axes, projected orthographically.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Space {
    /// The three axes; their `scale` is ignored, as all are linear.
    pub axes: [Axis; 3],
    /// One unit is equally long on all axes (default true, as for principal components); otherwise the box
    /// is a cube.
    pub equal_aspect: bool,
    /// Direction of view, the starting one on the screen.
    pub view: View,
    /// What is drawn. Lines stand behind segments and points; within both, depth decides what covers what.
    pub series: Vec<Series>,
}

/// Direction from which a [`Space`] is seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Turn about the vertical axis, in degrees (default -55).
    pub azimuth: f64,
    /// Height above the horizontal plane, in degrees, in [-90, 90] (default 22).
    pub elevation: f64,
}

impl Default for View {
    fn default() -> Self {
        Self {
            azimuth: -55.0,
            elevation: 22.0,
        }
    }
}

/// An axis with its label and unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// What is measured, with markup.
    pub label: String,
    /// Its unit, drawn in parentheses after the label; `a.u.` for arbitrary units. Empty only where a number
    /// has no unit at all.
    pub unit: String,
    /// Linear or logarithmic.
    pub scale: Scale,
    /// Ends of the axis; `None` fits the data with a small margin.
    pub range: Option<(f64, f64)>,
    /// Ticks with their texts in place of chosen ones: categories, or an empty list for no ticks.
    pub ticks: Option<Vec<(f64, String)>>,
}

/// How numbers become lengths along an axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Proportional.
    #[default]
    Linear,
    /// By the decimal logarithm; numbers that are not positive are left out.
    Log,
}

/// Marks of one kind with one style and one legend entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Legend entry; `None` keeps it out of the legend.
    pub label: Option<String>,
    /// How it looks.
    pub style: Style,
    /// What is drawn.
    pub marks: Marks,
    /// Colour by a number per point, in place of the style's colour. Lines and points only.
    pub coloring: Option<Coloring>,
}

/// The shapes a series can be made of. All vectors of one mark have the same length. `z` is empty in a
/// [`Plane`], and as long as `x` in a [`Space`]; only lines, points and segments can stand in a space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Marks {
    /// A polyline through the points in order, broken at missing values.
    Line {
        /// Horizontal (first) coordinates.
        #[serde(with = "missing")]
        x: Vec<f64>,
        /// Vertical (second) coordinates.
        #[serde(with = "missing")]
        y: Vec<f64>,
        /// Third coordinates, in a space.
        #[serde(with = "missing")]
        z: Vec<f64>,
    },
    /// One marker per point.
    Points {
        /// Horizontal (first) coordinates.
        #[serde(with = "missing")]
        x: Vec<f64>,
        /// Vertical (second) coordinates.
        #[serde(with = "missing")]
        y: Vec<f64>,
        /// Third coordinates, in a space.
        #[serde(with = "missing")]
        z: Vec<f64>,
        /// What each point is, to be reported when it is clicked.
        ids: Option<Vec<u64>>,
    },
    /// Separate straight pieces. In a plane the third coordinate is ignored.
    Segments {
        /// Where each begins.
        #[serde(with = "missing::vectors")]
        from: Vec<[f64; 3]>,
        /// Where each ends.
        #[serde(with = "missing::vectors")]
        to: Vec<[f64; 3]>,
    },
    /// The area between two curves.
    Band {
        /// Horizontal coordinates.
        #[serde(with = "missing")]
        x: Vec<f64>,
        /// Lower edge.
        #[serde(with = "missing")]
        lower: Vec<f64>,
        /// Upper edge.
        #[serde(with = "missing")]
        upper: Vec<f64>,
    },
    /// A straight line across the whole frame; does not widen the axes unless it is the only content.
    Rule {
        /// Whether it stands upright (constant x) or lies (constant y).
        orientation: Orientation,
        /// Where.
        at: f64,
    },
    /// A circle, true in data units (an ellipse where the axes are not of equal aspect).
    Circle {
        /// Centre.
        center: (f64, f64),
        /// Radius.
        radius: f64,
    },
    /// A rectangle of coloured cells.
    Heatmap {
        /// Left and right edge of the whole.
        x: (f64, f64),
        /// Lower and upper edge of the whole.
        y: (f64, f64),
        /// Rows of cells, from the lower edge up.
        rows: usize,
        /// Columns of cells, from the left.
        columns: usize,
        /// rows * columns numbers, row by row; NaN leaves a cell empty.
        #[serde(with = "missing")]
        values: Vec<f64>,
        /// Colours of the numbers.
        scale: ColorScale,
    },
    /// A rectangle of cells that each belong to one of a few categories, which the legend names.
    Regions {
        /// Left and right edge of the whole.
        x: (f64, f64),
        /// Lower and upper edge of the whole.
        y: (f64, f64),
        /// Rows of cells, from the lower edge up.
        rows: usize,
        /// Columns of cells, from the left.
        columns: usize,
        /// rows * columns places in `categories`, row by row; `None` leaves a cell empty.
        cells: Vec<Option<usize>>,
        /// The categories.
        categories: Vec<Category>,
    },
}

/// One of the categories of [`Marks::Regions`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Category {
    /// Legend entry, with markup; the category has none where it is empty.
    pub label: String,
    /// Colour as red, green, blue.
    pub color: [u8; 3],
}

impl Category {
    /// A category with this legend entry and colour.
    #[must_use]
    pub fn new(label: impl Into<String>, color: [u8; 3]) -> Self {
        Self {
            label: label.into(),
            color,
        }
    }
}

/// Direction of a [`Marks::Rule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orientation {
    /// Constant y.
    Horizontal,
    /// Constant x.
    Vertical,
}

/// A number per point that gives its colour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coloring {
    /// One number per point.
    #[serde(with = "missing")]
    pub values: Vec<f64>,
    /// What they mean.
    pub scale: ColorScale,
}

/// From a number to a colour; drawn as the colour bar of the panel (one per panel, that of the first series
/// that has one).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColorScale {
    /// The colours.
    pub map: ColorMap,
    /// What the number is.
    pub label: String,
    /// Its unit; see [`Axis::unit`].
    pub unit: String,
    /// Numbers at the two ends; `None` takes the smallest and the largest.
    pub range: Option<(f64, f64)>,
    /// Linear or logarithmic.
    pub scale: Scale,
}

/// Perceptually uniform colour maps that colour-blind readers can tell apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorMap {
    /// Dark blue to yellow.
    #[default]
    Viridis,
    /// Dark blue to yellow, nearly the same to every kind of colour vision.
    Cividis,
    /// Blue over white to red, for numbers about zero; give it a symmetric range.
    BlueRed,
}

/// What a series stands for; the palette turns it into a colour, width, dash and marker
/// (see [`crate::palette`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Stable fixed point or mode: filled black.
    Stable,
    /// Unstable fixed point: red, open.
    Unstable,
    /// Slow point that is no fixed point: grey, open square.
    Slow,
    /// Unstable direction at a fixed point: red line.
    UnstableMode,
    /// Stable direction at a fixed point: thin black line.
    StableMode,
    /// Trajectory: thin blue.
    Trajectory,
    /// Input to a network: grey.
    Input,
    /// What a network should do: cyan.
    Target,
    /// What it does: purple, dashed.
    Output,
    /// A measured signal: black.
    Recorded,
    /// A signal that a model made: purple, solid.
    Generated,
    /// Helping lines such as a unit circle or a threshold: thin grey.
    Guide,
    /// The n-th of several equals, in the colours of Okabe and Ito, repeated after seven.
    Category(usize),
}

/// How a series looks: its role, and what departs from it. `Role::Target.into()` is the usual way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Style {
    /// What it stands for.
    pub role: Role,
    /// Colour as red, green, blue, in place of the role's.
    pub color: Option<[u8; 3]>,
    /// Width of lines in points, in place of the role's.
    pub width: Option<f64>,
    /// Dashes, in place of the role's.
    pub dash: Option<Dash>,
    /// Marker of points, in place of the role's.
    pub marker: Option<Marker>,
    /// Diameter of markers in points, in place of the role's.
    pub size: Option<f64>,
    /// Opacity in [0, 1] (default 1).
    pub opacity: f64,
}

/// Dashes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dash {
    /// Unbroken.
    Solid,
    /// Dashes with gaps.
    Dashed,
    /// Dots.
    Dotted,
}

/// Shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Marker {
    /// Filled disc.
    Disc,
    /// Ring with a light inside.
    Ring,
    /// Filled square.
    Square,
    /// Filled diamond.
    Diamond,
    /// Upright triangle, filled.
    Triangle,
    /// Diagonal cross.
    Cross,
}

impl From<Role> for Style {
    fn from(role: Role) -> Self {
        Self {
            role,
            color: None,
            width: None,
            dash: None,
            marker: None,
            size: None,
            opacity: 1.0,
        }
    }
}

impl Style {
    /// With this colour (red, green, blue).
    #[must_use]
    pub fn color(mut self, color: [u8; 3]) -> Self {
        self.color = Some(color);
        self
    }

    /// With lines of this width, in points.
    #[must_use]
    pub fn width(mut self, points: f64) -> Self {
        self.width = Some(points);
        self
    }

    /// With these dashes.
    #[must_use]
    pub fn dash(mut self, dash: Dash) -> Self {
        self.dash = Some(dash);
        self
    }

    /// With this marker.
    #[must_use]
    pub fn marker(mut self, marker: Marker) -> Self {
        self.marker = Some(marker);
        self
    }

    /// With markers of this diameter, in points.
    #[must_use]
    pub fn size(mut self, points: f64) -> Self {
        self.size = Some(points);
        self
    }

    /// With this opacity, in [0, 1].
    #[must_use]
    pub fn opacity(mut self, opacity: f64) -> Self {
        self.opacity = opacity;
        self
    }
}

impl Axis {
    /// A linear axis that fits the data.
    #[must_use]
    pub fn new(label: impl Into<String>, unit: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            unit: unit.into(),
            scale: Scale::Linear,
            range: None,
            ticks: None,
        }
    }

    /// With this scale.
    #[must_use]
    pub fn scale(mut self, scale: Scale) -> Self {
        self.scale = scale;
        self
    }

    /// From `low` to `high`.
    #[must_use]
    pub fn range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }

    /// With these ticks in place of chosen ones; none for an empty list.
    #[must_use]
    pub fn ticks(mut self, ticks: Vec<(f64, String)>) -> Self {
        self.ticks = Some(ticks);
        self
    }

    /// Label with the unit in parentheses, as drawn.
    #[must_use]
    pub fn text(&self) -> String {
        label_with_unit(&self.label, &self.unit)
    }
}

impl ColorScale {
    /// Viridis over the whole range of the numbers.
    #[must_use]
    pub fn new(label: impl Into<String>, unit: impl Into<String>) -> Self {
        Self {
            map: ColorMap::Viridis,
            label: label.into(),
            unit: unit.into(),
            range: None,
            scale: Scale::Linear,
        }
    }

    /// With this colour map.
    #[must_use]
    pub fn map(mut self, map: ColorMap) -> Self {
        self.map = map;
        self
    }

    /// From `low` to `high`.
    #[must_use]
    pub fn range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }

    /// With this scale.
    #[must_use]
    pub fn scale(mut self, scale: Scale) -> Self {
        self.scale = scale;
        self
    }

    /// Label with the unit in parentheses, as drawn.
    #[must_use]
    pub fn text(&self) -> String {
        label_with_unit(&self.label, &self.unit)
    }
}

pub(crate) fn label_with_unit(label: &str, unit: &str) -> String {
    match (label.is_empty(), unit.is_empty()) {
        (_, true) => label.to_owned(),
        (true, false) => format!("({unit})"),
        (false, false) => format!("{label} ({unit})"),
    }
}

impl Series {
    fn new(marks: Marks, style: impl Into<Style>) -> Self {
        Self {
            label: None,
            style: style.into(),
            marks,
            coloring: None,
        }
    }

    /// A polyline in a plane; `x` and `y` equally long.
    #[must_use]
    pub fn line(x: Vec<f64>, y: Vec<f64>, style: impl Into<Style>) -> Self {
        Self::new(
            Marks::Line {
                x,
                y,
                z: Vec::new(),
            },
            style,
        )
    }

    /// A polyline in a space.
    #[must_use]
    pub fn line_3d(x: Vec<f64>, y: Vec<f64>, z: Vec<f64>, style: impl Into<Style>) -> Self {
        Self::new(Marks::Line { x, y, z }, style)
    }

    /// Markers in a plane.
    #[must_use]
    pub fn points(x: Vec<f64>, y: Vec<f64>, style: impl Into<Style>) -> Self {
        Self::new(
            Marks::Points {
                x,
                y,
                z: Vec::new(),
                ids: None,
            },
            style,
        )
    }

    /// Markers in a space.
    #[must_use]
    pub fn points_3d(x: Vec<f64>, y: Vec<f64>, z: Vec<f64>, style: impl Into<Style>) -> Self {
        Self::new(Marks::Points { x, y, z, ids: None }, style)
    }

    /// Straight pieces in a plane.
    #[must_use]
    pub fn segments(from: &[[f64; 2]], to: &[[f64; 2]], style: impl Into<Style>) -> Self {
        let lift = |p: &[[f64; 2]]| p.iter().map(|q| [q[0], q[1], 0.0]).collect();
        Self::new(
            Marks::Segments {
                from: lift(from),
                to: lift(to),
            },
            style,
        )
    }

    /// Straight pieces in a space.
    #[must_use]
    pub fn segments_3d(from: Vec<[f64; 3]>, to: Vec<[f64; 3]>, style: impl Into<Style>) -> Self {
        Self::new(Marks::Segments { from, to }, style)
    }

    /// The area between two curves, drawn light.
    #[must_use]
    pub fn band(x: Vec<f64>, lower: Vec<f64>, upper: Vec<f64>, style: impl Into<Style>) -> Self {
        Self::new(Marks::Band { x, lower, upper }, style)
    }

    /// A line of constant y across the frame.
    #[must_use]
    pub fn horizontal_rule(at: f64, style: impl Into<Style>) -> Self {
        Self::new(
            Marks::Rule {
                orientation: Orientation::Horizontal,
                at,
            },
            style,
        )
    }

    /// A line of constant x across the frame.
    #[must_use]
    pub fn vertical_rule(at: f64, style: impl Into<Style>) -> Self {
        Self::new(
            Marks::Rule {
                orientation: Orientation::Vertical,
                at,
            },
            style,
        )
    }

    /// A circle in data units.
    #[must_use]
    pub fn circle(center: (f64, f64), radius: f64, style: impl Into<Style>) -> Self {
        Self::new(Marks::Circle { center, radius }, style)
    }

    /// A heat map between the edges `x` and `y`; `values` row by row from the lower edge up.
    #[must_use]
    pub fn heatmap(
        x: (f64, f64),
        y: (f64, f64),
        rows: usize,
        columns: usize,
        values: Vec<f64>,
        scale: ColorScale,
    ) -> Self {
        Self::new(
            Marks::Heatmap {
                x,
                y,
                rows,
                columns,
                values,
                scale,
            },
            Role::Guide,
        )
    }

    /// Cells between the edges `x` and `y`, each of one of the `categories`; `cells` row by row from the lower edge up.
    #[must_use]
    pub fn regions(
        x: (f64, f64),
        y: (f64, f64),
        rows: usize,
        columns: usize,
        cells: Vec<Option<usize>>,
        categories: Vec<Category>,
    ) -> Self {
        Self::new(
            Marks::Regions {
                x,
                y,
                rows,
                columns,
                cells,
                categories,
            },
            Role::Guide,
        )
    }

    /// With this legend entry.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Coloured by one number per point; lines and points only.
    #[must_use]
    pub fn colored_by(mut self, values: Vec<f64>, scale: ColorScale) -> Self {
        self.coloring = Some(Coloring { values, scale });
        self
    }

    /// With an id per point; has no effect on other marks.
    #[must_use]
    pub fn ids(mut self, new: Vec<u64>) -> Self {
        if let Marks::Points { ids, .. } = &mut self.marks {
            *ids = Some(new);
        }
        self
    }

    /// The colour scale this series is drawn with and the numbers it colours, if any.
    #[must_use]
    pub fn color_scale(&self) -> Option<(&ColorScale, &[f64])> {
        match (&self.marks, &self.coloring) {
            (Marks::Heatmap { scale, values, .. }, _) => Some((scale, values)),
            (Marks::Line { .. } | Marks::Points { .. }, Some(c)) => Some((&c.scale, &c.values)),
            _ => None,
        }
    }
}

impl Plane {
    /// Empty, with these axes.
    #[must_use]
    pub fn new(x: Axis, y: Axis) -> Self {
        Self {
            x,
            y,
            equal_aspect: false,
            shares_x: false,
            series: Vec::new(),
        }
    }

    /// With one more series, in front of the others.
    #[must_use]
    pub fn with(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// With one unit equally long on both axes.
    #[must_use]
    pub fn equal_aspect(mut self) -> Self {
        self.equal_aspect = true;
        self
    }

    /// With the horizontal axis of the panel below in the same column.
    #[must_use]
    pub fn shares_x(mut self) -> Self {
        self.shares_x = true;
        self
    }
}

impl Space {
    /// Empty, with these axes, of equal aspect, seen from the default direction.
    #[must_use]
    pub fn new(axes: [Axis; 3]) -> Self {
        Self {
            axes,
            equal_aspect: true,
            view: View::default(),
            series: Vec::new(),
        }
    }

    /// With one more series.
    #[must_use]
    pub fn with(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Seen from this direction, in degrees.
    #[must_use]
    pub fn view(mut self, azimuth: f64, elevation: f64) -> Self {
        self.view = View { azimuth, elevation };
        self
    }
}

impl Panel {
    fn new(content: Content, aspect: f64) -> Self {
        Self {
            letter: None,
            title: None,
            aspect,
            content,
        }
    }

    /// A panel with two axes, 0.62 as high as wide.
    #[must_use]
    pub fn plane(plane: Plane) -> Self {
        Self::new(Content::Plane(plane), 0.62)
    }

    /// A panel with three axes, 0.9 as high as wide.
    #[must_use]
    pub fn space(space: Space) -> Self {
        Self::new(Content::Space(space), 0.9)
    }

    /// With this heading.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// With this letter.
    #[must_use]
    pub fn letter(mut self, letter: impl Into<String>) -> Self {
        self.letter = Some(letter.into());
        self
    }

    /// With this height over width of the frame.
    #[must_use]
    pub fn aspect(mut self, aspect: f64) -> Self {
        self.aspect = aspect;
        self
    }

    /// The series inside.
    #[must_use]
    pub fn series(&self) -> &[Series] {
        match &self.content {
            Content::Plane(plane) => &plane.series,
            Content::Space(space) => &space.series,
        }
    }
}

/// What is wrong with a figure, or why it could not be painted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FigureError {
    /// The figure cannot be drawn as it is described.
    #[error("figure \"{figure}\", {place}: {problem}")]
    Invalid {
        /// Name of the figure.
        figure: String,
        /// Panel and series.
        place: String,
        /// What was found and what is allowed.
        problem: String,
    },
    /// The canvas is too narrow for the panels and their labels.
    #[error("figure \"{figure}\" does not fit into {width_mm} mm: {problem}")]
    Width {
        /// Name of the figure.
        figure: String,
        /// Width asked for, in millimetres.
        width_mm: f64,
        /// What is missing.
        problem: String,
    },
    /// A painter or converter failed.
    #[error("figure \"{figure}\" could not be written as {format}: {problem}")]
    Painter {
        /// Name of the figure.
        figure: String,
        /// SVG, PDF or PNG.
        format: &'static str,
        /// What it said.
        problem: String,
    },
}

impl Figure {
    /// Empty, with one column; `name` in snake_case.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            title: None,
            caption: String::new(),
            panels: Vec::new(),
            columns: 1,
            metadata: Vec::new(),
        }
    }

    /// With this title.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// With this caption.
    #[must_use]
    pub fn caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = caption.into();
        self
    }

    /// With one more panel.
    #[must_use]
    pub fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }

    /// With this many columns of panels.
    #[must_use]
    pub fn columns(mut self, columns: usize) -> Self {
        self.columns = columns;
        self
    }

    /// With one more pair of metadata.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// With the panels lettered a, b, c, ... in order.
    #[must_use]
    pub fn lettered(mut self) -> Self {
        for (panel, letter) in self.panels.iter_mut().zip('a'..='z') {
            panel.letter = Some(letter.to_string());
        }
        self
    }

    /// Whether the figure can be drawn: equal lengths within each mark, sensible ranges, sizes and scales.
    ///
    /// # Errors
    /// [`FigureError::Invalid`] names the first fault with its panel and series.
    pub fn check(&self) -> Result<(), FigureError> {
        let invalid = |place: String, problem: String| FigureError::Invalid {
            figure: self.name.clone(),
            place,
            problem,
        };
        if self.columns == 0 {
            return Err(invalid(
                "grid".into(),
                "0 columns; at least 1 is needed".into(),
            ));
        }
        if self.panels.is_empty() {
            return Err(invalid(
                "grid".into(),
                "no panels; at least 1 is needed".into(),
            ));
        }
        for (number, panel) in self.panels.iter().enumerate() {
            let place = format!("panel {}", number + 1);
            check_panel(panel).map_err(|problem| invalid(place.clone(), problem))?;
            let three_d = matches!(panel.content, Content::Space(_));
            for (index, series) in panel.series().iter().enumerate() {
                check_series(series, three_d).map_err(|problem| {
                    let name = series
                        .label
                        .as_deref()
                        .map_or(String::new(), |l| format!(" (\"{l}\")"));
                    invalid(format!("{place}, series {}{name}", index + 1), problem)
                })?;
            }
        }
        Ok(())
    }

    /// The numbers drawn, as tidy comma-separated values, one row per number or vertex.
    ///
    /// Columns: `panel` (letter, or number from 1), `series` (label without markup, or role), `mark`
    /// (line, points, segments, band, rule, circle, heatmap, regions), `item` (index from 0 of point, piece or
    /// cell), `id` (where points have one), `part` (from and to of segments, lower and upper of bands, center and
    /// radius of circles, the category of a cell of regions), `x`, `y`, `z`, `value` (what gives the colour; the
    /// radius of a circle). Empty where there is none. Numbers are written so that reading them back gives the same f64.
    #[must_use]
    pub fn csv(&self) -> String {
        let mut out = String::from("panel,series,mark,item,id,part,x,y,z,value\n");
        for (number, panel) in self.panels.iter().enumerate() {
            let panel_name = panel
                .letter
                .clone()
                .unwrap_or_else(|| (number + 1).to_string());
            for series in panel.series() {
                let name = series
                    .label
                    .as_deref()
                    .map_or_else(|| role_name(series.style.role), markup::plain);
                let start = format!("{},{}", csv_field(&panel_name), csv_field(&name));
                csv_series(&mut out, &start, series);
            }
        }
        out
    }
}

fn check_range(range: Option<(f64, f64)>, scale: Scale, what: &str) -> Result<(), String> {
    let Some((low, high)) = range else {
        return Ok(());
    };
    if !(low.is_finite() && high.is_finite() && low < high) {
        return Err(format!(
            "range of {what} is {low} to {high}; the first must be below the second"
        ));
    }
    if scale == Scale::Log && low <= 0.0 {
        return Err(format!(
            "range of {what} begins at {low}; a logarithmic one must begin above 0"
        ));
    }
    Ok(())
}

fn check_panel(panel: &Panel) -> Result<(), String> {
    if !(panel.aspect > 0.0 && panel.aspect <= 10.0) {
        return Err(format!(
            "aspect is {}; it must lie in (0, 10]",
            panel.aspect
        ));
    }
    match &panel.content {
        Content::Plane(plane) => {
            check_range(plane.x.range, plane.x.scale, "the x axis")?;
            check_range(plane.y.range, plane.y.scale, "the y axis")?;
            if plane.equal_aspect
                && (plane.x.scale, plane.y.scale) != (Scale::Linear, Scale::Linear)
            {
                return Err("equal aspect needs two linear axes".into());
            }
        }
        Content::Space(space) => {
            for (axis, name) in space.axes.iter().zip(["x", "y", "z"]) {
                check_range(axis.range, Scale::Linear, &format!("the {name} axis"))?;
            }
            if !(space.view.azimuth.is_finite() && space.view.elevation.abs() <= 90.0) {
                return Err(format!(
                    "view is azimuth {}, elevation {}; both must be degrees, the second in [-90, 90]",
                    space.view.azimuth, space.view.elevation
                ));
            }
        }
    }
    Ok(())
}

fn check_series(series: &Series, three_d: bool) -> Result<(), String> {
    let same = |what: &str, found: usize, wanted: usize| {
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{found} numbers in {what}; {wanted} are needed"))
        }
    };
    let style = &series.style;
    for (what, number) in [("width", style.width), ("size", style.size)] {
        if let Some(n) = number
            && !(n > 0.0 && n <= 100.0)
        {
            return Err(format!("{what} is {n} points; it must lie in (0, 100]"));
        }
    }
    if !(0.0..=1.0).contains(&style.opacity) {
        return Err(format!(
            "opacity is {}; it must lie in [0, 1]",
            style.opacity
        ));
    }
    if let Some((scale, _)) = series.color_scale() {
        check_range(scale.range, scale.scale, "the colour scale")?;
    }
    let points = match &series.marks {
        Marks::Line { x, y, z } | Marks::Points { x, y, z, .. } => {
            same("y", y.len(), x.len())?;
            same("z", z.len(), if three_d { x.len() } else { 0 })?;
            if let Marks::Points { ids: Some(ids), .. } = &series.marks {
                same("ids", ids.len(), x.len())?;
            }
            x.len()
        }
        Marks::Segments { from, to } => {
            same("to", to.len(), from.len())?;
            from.len()
        }
        _ if three_d => return Err("only lines, points and segments can stand in a space".into()),
        Marks::Band { x, lower, upper } => {
            same("lower", lower.len(), x.len())?;
            same("upper", upper.len(), x.len())?;
            x.len()
        }
        Marks::Rule { at, .. } => {
            if !at.is_finite() {
                return Err(format!("rule at {at}; it must be finite"));
            }
            0
        }
        Marks::Circle { center, radius } => {
            if !(center.0.is_finite()
                && center.1.is_finite()
                && radius.is_finite()
                && *radius > 0.0)
            {
                return Err(format!(
                    "circle of radius {radius}; it must be finite and above 0"
                ));
            }
            0
        }
        Marks::Heatmap {
            x,
            y,
            rows,
            columns,
            values,
            ..
        } => {
            same("values", values.len(), rows.saturating_mul(*columns))?;
            check_edges(*x, *y, "the heat map")?;
            0
        }
        Marks::Regions {
            x,
            y,
            rows,
            columns,
            cells,
            categories,
        } => {
            same("cells", cells.len(), rows.saturating_mul(*columns))?;
            check_edges(*x, *y, "the regions")?;
            if let Some(unknown) = cells.iter().flatten().find(|c| **c >= categories.len()) {
                return Err(format!(
                    "category {unknown} in a cell; there are {}, counted from 0",
                    categories.len()
                ));
            }
            0
        }
    };
    if let Some(coloring) = &series.coloring {
        if !matches!(series.marks, Marks::Line { .. } | Marks::Points { .. }) {
            return Err("only lines and points can be coloured by numbers".into());
        }
        same("the colouring", coloring.values.len(), points)?;
    }
    Ok(())
}

fn check_edges(x: (f64, f64), y: (f64, f64), of: &str) -> Result<(), String> {
    if x.0 < x.1 && y.0 < y.1 && [x.0, x.1, y.0, y.1].iter().all(|e| e.is_finite()) {
        Ok(())
    } else {
        Err(format!("edges of {of} must be finite and rise"))
    }
}

/// Name of a role as it stands in files, for series without a label.
fn role_name(role: Role) -> String {
    match serde_json::to_value(role) {
        Ok(serde_json::Value::String(name)) => name,
        _ => match role {
            Role::Category(n) => format!("category_{n}"),
            _ => String::new(),
        },
    }
}

/// Middle of a cell of a heat map or of regions between the edges (x, y), of (rows, columns).
fn cell_middle(
    (x, y): ((f64, f64), (f64, f64)),
    (rows, columns): (usize, usize),
    index: usize,
) -> [f64; 2] {
    let at = |e: (f64, f64), k: usize, n: usize| e.0 + (e.1 - e.0) * (k as f64 + 0.5) / n as f64;
    [
        at(x, index % columns, columns),
        at(y, index / columns, rows),
    ]
}

/// A field of comma-separated values, quoted where it must be.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn csv_series(out: &mut String, start: &str, series: &Series) {
    let mut row =
        |mark: &str, item: usize, id: Option<u64>, part: &str, numbers: [Option<f64>; 4]| {
            let id = id.map_or(String::new(), |id| id.to_string());
            let _ = write!(out, "{start},{mark},{item},{id},{part}");
            for number in numbers {
                out.push(',');
                if let Some(number) = number {
                    let _ = write!(out, "{number}");
                }
            }
            out.push('\n');
        };
    let value = |i: usize| {
        series
            .coloring
            .as_ref()
            .and_then(|c| c.values.get(i))
            .copied()
    };
    match &series.marks {
        Marks::Line { x, y, z } => {
            for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
                row(
                    "line",
                    i,
                    None,
                    "",
                    [Some(x), Some(y), z.get(i).copied(), value(i)],
                );
            }
        }
        Marks::Points { x, y, z, ids } => {
            for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
                let id = ids.as_ref().and_then(|ids| ids.get(i)).copied();
                row(
                    "points",
                    i,
                    id,
                    "",
                    [Some(x), Some(y), z.get(i).copied(), value(i)],
                );
            }
        }
        Marks::Segments { from, to } => {
            for (i, (a, b)) in from.iter().zip(to).enumerate() {
                row(
                    "segments",
                    i,
                    None,
                    "from",
                    [Some(a[0]), Some(a[1]), Some(a[2]), None],
                );
                row(
                    "segments",
                    i,
                    None,
                    "to",
                    [Some(b[0]), Some(b[1]), Some(b[2]), None],
                );
            }
        }
        Marks::Band { x, lower, upper } => {
            for (i, ((&x, &low), &high)) in x.iter().zip(lower).zip(upper).enumerate() {
                row("band", i, None, "lower", [Some(x), Some(low), None, None]);
                row("band", i, None, "upper", [Some(x), Some(high), None, None]);
            }
        }
        Marks::Rule {
            orientation: Orientation::Horizontal,
            at,
        } => {
            row("rule", 0, None, "", [None, Some(*at), None, None]);
        }
        Marks::Rule {
            orientation: Orientation::Vertical,
            at,
        } => {
            row("rule", 0, None, "", [Some(*at), None, None, None]);
        }
        Marks::Circle { center, radius } => {
            row(
                "circle",
                0,
                None,
                "",
                [Some(center.0), Some(center.1), None, Some(*radius)],
            );
        }
        Marks::Heatmap {
            x,
            y,
            rows,
            columns,
            values,
            ..
        } => {
            for (i, &value) in values.iter().enumerate() {
                let [x, y] = cell_middle((*x, *y), (*rows, *columns), i);
                row(
                    "heatmap",
                    i,
                    None,
                    "",
                    [Some(x), Some(y), None, Some(value)],
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
            for (i, category) in cells.iter().enumerate() {
                let name = category.and_then(|c| categories.get(c));
                let name = csv_field(&name.map_or(String::new(), |c| markup::plain(&c.label)));
                let [x, y] = cell_middle((*x, *y), (*rows, *columns), i);
                let value = category.map(|c| c as f64);
                row("regions", i, None, &name, [Some(x), Some(y), None, value]);
            }
        }
    }
}

/// Numbers in files: JSON has no NaN, so that missing ones are written as null and read back as NaN.
mod missing {
    use serde::{Deserialize, Deserializer, Serializer};

    fn to_option(number: f64) -> Option<f64> {
        number.is_finite().then_some(number)
    }

    pub(super) fn serialize<S: Serializer>(
        numbers: &[f64],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(numbers.iter().map(|&n| to_option(n)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<f64>, D::Error> {
        let numbers = Vec::<Option<f64>>::deserialize(deserializer)?;
        Ok(numbers.into_iter().map(|n| n.unwrap_or(f64::NAN)).collect())
    }

    /// The same for points of a space.
    pub(super) mod vectors {
        use serde::{Deserialize, Deserializer, Serializer};

        pub(in super::super) fn serialize<S: Serializer>(
            vectors: &[[f64; 3]],
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(vectors.iter().map(|v| v.map(super::to_option)))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Vec<[f64; 3]>, D::Error> {
            let vectors = Vec::<[Option<f64>; 3]>::deserialize(deserializer)?;
            Ok(vectors
                .into_iter()
                .map(|v| v.map(|n| n.unwrap_or(f64::NAN)))
                .collect())
        }
    }
}
