//! Pictures of an attractor on two or three axes, in a plane or in a box, as the tables of the true system hold it.

use super::channel_label;
use nullcline_figures::figure::{Axis, Panel, Plane, Series, Space, Style};
use nullcline_tables::Table;

/// The axes of a table whose key `axes` names them, the first `count`: variables, or principal components.
pub(super) fn axes_of(table: &Table, unit: &str, count: usize) -> Vec<Axis> {
    let names: Vec<&str> = match table.metadata.get("axes") {
        Some(names) => names.lines().collect(),
        None => Vec::new(),
    };
    let label = |k: usize| match names.get(k) {
        Some(name) if name.starts_with("PC ") => (*name).to_owned(),
        Some(name) => channel_label(name),
        None => format!("Axis {}", k + 1),
    };
    (0..count).map(|k| Axis::new(label(k), unit)).collect()
}

/// A plane of the first two axes, or a box of three.
pub(super) fn panel(axes: Vec<Axis>, series: Vec<Series>) -> Panel {
    let mut axes = axes.into_iter();
    let mut next = || axes.next().unwrap_or_else(|| Axis::new("", ""));
    let (x, y) = (next(), next());
    match axes.next() {
        None => {
            let mut plane = Plane::new(x, y);
            plane.series = series;
            Panel::plane(plane)
        }
        Some(z) => {
            let mut space = Space::new([x, y, z]);
            space.series = series;
            Panel::space(space)
        }
    }
}

/// A series in the plane or in space, from one list for each axis.
pub(super) fn draw(
    mut columns: Vec<Vec<f64>>,
    series: impl Fn(Vec<f64>, Vec<f64>, Option<Vec<f64>>) -> Series,
) -> Series {
    let z = (columns.len() > 2).then(|| columns.swap_remove(2));
    let y = columns.pop().unwrap_or_default();
    let x = columns.pop().unwrap_or_default();
    series(x, y, z)
}

/// A line, from one list for each axis.
pub(super) fn line(columns: Vec<Vec<f64>>, style: Style) -> Series {
    draw(columns, |x, y, z| match z {
        Some(z) => Series::line_3d(x, y, z, style.clone()),
        None => Series::line(x, y, style.clone()),
    })
}
