//! The table of fixed points, and the modes of the one that is selected.

use super::{Panel, PanelContext, placeholder};
use crate::desktop::command::Command;
use crate::desktop::look;
use crate::desktop::snapshot::{FixedPointRow, Mode};
use egui::{Align, Layout, RichText, Sense, Stroke, Ui};
use egui_extras::{Column, TableBuilder};

/// The table of fixed points.
#[derive(Default)]
pub struct FixedPointsPanel {
    sort: Sort,
    show_rejected: bool,
    /// The selection that the table was last scrolled to.
    scrolled_to: Option<u64>,
    /// Frames in which it is still to be scrolled there: the modes below take their room a frame later.
    scrolling: u8,
}

/// What the rows are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sort {
    column: usize,
    descending: bool,
}

/// A column: heading, tool tip, width, text and order of a row.
struct Field {
    heading: &'static str,
    doc: &'static str,
    width: f32,
    text: fn(&FixedPointRow) -> String,
    order: fn(&FixedPointRow) -> f64,
}

static FIELDS: &[Field] = &[
    Field {
        heading: "id",
        doc: "Number of the point, the same in every table and figure.",
        width: 40.0,
        text: |row| row.id.to_string(),
        order: |row| row.id as f64,
    },
    Field {
        heading: "unstable",
        doc: "n_unstable: directions in which the linearisation grows, |λ| > 1.",
        width: 60.0,
        text: |row| row.n_unstable.map_or("–".into(), |n| n.to_string()),
        order: |row| row.n_unstable.map_or(f64::NAN, |n| n as f64),
    },
    Field {
        heading: "radius",
        doc: "spectral_radius: the largest |λ|.",
        width: 52.0,
        text: |row| decimal(row.spectral_radius),
        order: |row| row.spectral_radius,
    },
    Field {
        heading: "residual",
        doc: "Maximum norm of x − F(x, u).",
        width: 62.0,
        text: |row| scientific(row.residual),
        order: |row| row.residual,
    },
    Field {
        heading: "speed",
        doc: "q = ½ |x − F(x, u)|².",
        width: 62.0,
        text: |row| scientific(row.speed),
        order: |row| row.speed,
    },
    Field {
        heading: "found",
        doc: "found_from: starts of the search that led here.",
        width: 48.0,
        text: |row| row.found_from.to_string(),
        order: |row| row.found_from as f64,
    },
    Field {
        heading: "verdict",
        doc: "fixed, slow, or rejected and by what.",
        width: 60.0,
        text: |row| {
            row.rejected_by
                .clone()
                .unwrap_or_else(|| row.verdict.clone())
        },
        order: |row| match row.verdict.as_str() {
            "fixed" => 0.0,
            "slow" => 1.0,
            _ => 2.0,
        },
    },
];

/// Height of a row.
const ROW: f32 = 22.0;

impl Panel for FixedPointsPanel {
    fn name(&self) -> &'static str {
        "fixed_points"
    }

    fn title(&self) -> String {
        "Fixed points".into()
    }

    fn panel_ui(&mut self, ui: &mut Ui, context: &mut PanelContext) {
        let state = &*context.state;
        let Some(snapshot) = state
            .snapshot
            .as_ref()
            .filter(|snapshot| !snapshot.points.is_empty())
        else {
            placeholder(
                ui,
                "fixed points of the network, with stability and residual",
                "Run the experiment to see them.",
            );
            return;
        };
        egui::Frame::new().inner_margin(8).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            self.summary(ui, &snapshot.points);
            let mut rows: Vec<&FixedPointRow> = snapshot
                .points
                .iter()
                .filter(|row| self.show_rejected || row.verdict != "rejected")
                .collect();
            self.sort.apply(&mut rows);
            if let Some(point) = state.selected.and_then(|id| snapshot.point(id)) {
                egui::Panel::bottom("modes")
                    .frame(egui::Frame::new())
                    .resizable(false)
                    .show_separator_line(false)
                    .show(ui, |ui| modes(ui, point));
            }
            // Where the panel is narrow, the last columns are reached by scrolling.
            egui::ScrollArea::horizontal()
                .auto_shrink(false)
                .show(ui, |ui| {
                    self.table(ui, &rows, state.selected, context.commands);
                });
        });
    }
}

impl FixedPointsPanel {
    /// How many of each kind.
    fn summary(&mut self, ui: &mut Ui, points: &[FixedPointRow]) {
        let fixed = points.iter().filter(|row| row.verdict == "fixed").count();
        let stable = points
            .iter()
            .filter(|row| row.verdict == "fixed" && row.is_stable())
            .count();
        let slow = points.iter().filter(|row| row.verdict == "slow").count();
        let rejected = points
            .iter()
            .filter(|row| row.verdict == "rejected")
            .count();
        ui.horizontal(|ui| {
            let mut text = format!("{fixed} fixed, {stable} of them stable");
            if slow > 0 {
                text += &format!("; {slow} slow");
            }
            ui.label(text);
            if rejected > 0 {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    ui.checkbox(&mut self.show_rejected, format!("{rejected} rejected"))
                        .on_hover_text("Show the candidates that the search rejected, and why.");
                });
            }
        });
    }

    fn table(
        &mut self,
        ui: &mut Ui,
        rows: &[&FixedPointRow],
        selected: Option<u64>,
        commands: &mut Vec<Command>,
    ) {
        ui.spacing_mut().item_spacing.x = 2.0;
        let context = ui.ctx().clone();
        let mut builder = TableBuilder::new(ui)
            .id_salt("fixed points")
            .striped(true)
            .sense(Sense::click())
            .auto_shrink(false)
            .min_scrolled_height(0.0)
            .cell_layout(Layout::right_to_left(Align::Center));
        for (i, field) in FIELDS.iter().enumerate() {
            builder = builder.column(match i + 1 == FIELDS.len() {
                true => Column::remainder().at_least(field.width).clip(true),
                false => Column::exact(field.width),
            });
        }
        if selected != self.scrolled_to {
            self.scrolled_to = selected;
            self.scrolling = 2;
        }
        if self.scrolling > 0 {
            self.scrolling -= 1;
            context.request_repaint();
            if let Some(row) = rows.iter().position(|row| Some(row.id) == selected) {
                builder = builder.scroll_to_row(row, Some(Align::Center));
            }
        }
        builder
            .header(ROW, |mut header| {
                for (column, field) in FIELDS.iter().enumerate() {
                    header.col(|ui| self.sort.heading(ui, column, field));
                }
            })
            .body(|body| {
                body.rows(ROW, rows.len(), |mut row| {
                    let Some(point) = rows.get(row.index()) else {
                        return;
                    };
                    row.set_selected(selected == Some(point.id));
                    for (column, field) in FIELDS.iter().enumerate() {
                        row.col(|ui| {
                            ui.add_space(4.0);
                            ui.add(egui::Label::new((field.text)(point)).truncate());
                            if column == 0 {
                                marker(ui, point);
                            }
                        });
                    }
                    let response = row.response();
                    response.widget_info(|| {
                        egui::WidgetInfo::labeled(
                            egui::Role::Row,
                            true,
                            format!("fixed point {}", point.id),
                        )
                    });
                    if response.clicked() {
                        let again = selected == Some(point.id);
                        commands.push(Command::Select((!again).then_some(point.id)));
                        // The user sees the row already.
                        self.scrolled_to = Some(point.id);
                    }
                });
            });
    }
}

impl Sort {
    fn heading(&mut self, ui: &mut Ui, column: usize, field: &Field) {
        let is_sorted = self.column == column;
        let text = RichText::new(field.heading).family(look::bold()).size(12.0);
        ui.add_space(4.0);
        let label = egui::Label::new(text)
            .truncate()
            .selectable(false)
            .sense(Sense::click());
        let response = ui.add(label).on_hover_text(field.doc);
        if is_sorted {
            // A small triangle below the heading points to where the numbers grow.
            let tip = if self.descending { 3.0 } else { -3.0 };
            let (x, y) = (response.rect.center().x, ui.max_rect().bottom() - 3.0);
            let corner = |dx: f32, dy: f32| egui::pos2(x + dx, y + dy);
            let triangle = vec![
                corner(-4.0, -tip / 2.0),
                corner(4.0, -tip / 2.0),
                corner(0.0, tip / 2.0),
            ];
            let color = look::accent(ui.visuals());
            ui.painter()
                .add(egui::Shape::convex_polygon(triangle, color, Stroke::NONE));
        }
        if response.clicked() {
            *self = Sort {
                column,
                descending: is_sorted && !self.descending,
            };
        }
    }

    fn apply(self, rows: &mut [&FixedPointRow]) {
        let Some(field) = FIELDS.get(self.column) else {
            return;
        };
        rows.sort_by(|a, b| {
            let (x, y) = ((field.order)(a), (field.order)(b));
            // Rows without a number stand last in either direction.
            let order = match (x.is_nan(), y.is_nan()) {
                (false, false) if self.descending => y.total_cmp(&x),
                (false, false) => x.total_cmp(&y),
                (a_lacks, b_lacks) => a_lacks.cmp(&b_lacks),
            };
            order.then(a.id.cmp(&b.id))
        });
    }
}

/// The sign of the figures: filled black where stable, a red ring where unstable, a grey square where slow.
fn marker(ui: &mut Ui, point: &FixedPointRow) {
    let cell = ui.max_rect();
    let rect = egui::Rect::from_center_size(
        egui::pos2(cell.left() + 9.0, cell.center().y),
        egui::Vec2::splat(10.0),
    );
    let painter = ui.painter();
    let ink = if ui.visuals().dark_mode {
        ui.visuals().text_color()
    } else {
        look::STABLE
    };
    match (point.verdict.as_str(), point.is_stable()) {
        ("fixed", true) => painter.circle_filled(rect.center(), 3.6, ink),
        ("fixed", false) => {
            painter.circle_stroke(rect.center(), 3.2, Stroke::new(1.4, look::UNSTABLE))
        }
        ("slow", _) => painter.rect_stroke(
            rect.shrink(2.0),
            0.0,
            Stroke::new(1.2, ui.visuals().weak_text_color()),
            egui::StrokeKind::Inside,
        ),
        _ => painter.line_segment(
            [rect.left_center(), rect.right_center()],
            Stroke::new(1.0, ink.gamma_multiply(0.4)),
        ),
    };
}

/// Modes of the selected point, the least stable first.
fn modes(ui: &mut Ui, point: &FixedPointRow) {
    ui.separator();
    let kind = match (point.verdict.as_str(), point.n_unstable) {
        ("fixed", Some(0)) => "stable".to_owned(),
        (_, Some(1)) => "1 unstable direction".to_owned(),
        (_, Some(n)) => format!("{n} unstable directions"),
        (verdict, None) => verdict.to_owned(),
    };
    ui.label(look::strong(format!("Point {}: {kind}", point.id)));
    egui::Grid::new("modes")
        .num_columns(4)
        .spacing([18.0, 2.0])
        .show(ui, |ui| {
            for heading in ["eigenvalue λ", "|λ|", "time constant", "period"] {
                ui.label(RichText::new(heading).small().weak());
            }
            ui.end_row();
            for mode in point.modes.iter().filter(|mode| mode.im >= 0.0).take(4) {
                ui.label(eigenvalue(mode));
                ui.label(decimal(mode.modulus));
                ui.label(steps(mode.time_constant));
                ui.label(steps(mode.period));
                ui.end_row();
            }
        });
}

fn eigenvalue(mode: &Mode) -> String {
    if mode.im == 0.0 {
        decimal(mode.re)
    } else {
        format!("{} ± {}i", decimal(mode.re), decimal(mode.im))
    }
}

fn steps(value: f64) -> String {
    match value {
        x if x.is_nan() || x.is_infinite() => "–".into(),
        x if x.abs() >= 1e5 => format!("{} steps", scientific(x)),
        x => {
            let decimals = match x.abs() {
                0.0..10.0 => 2,
                10.0..100.0 => 1,
                _ => 0,
            };
            format!("{x:.decimals$} steps").replace('-', "−")
        }
    }
}

/// Three decimals, with a real minus sign.
fn decimal(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.3}").replace('-', "−")
    } else {
        "–".into()
    }
}

/// Two digits and a power of ten.
fn scientific(value: f64) -> String {
    match value {
        x if !x.is_finite() => "–".into(),
        0.0 => "0".into(),
        x => format!("{x:.1e}").replace('-', "−"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, n_unstable: Option<u64>) -> FixedPointRow {
        FixedPointRow {
            id,
            verdict: "fixed".into(),
            rejected_by: None,
            n_unstable,
            spectral_radius: 0.5,
            residual: 0.0,
            speed: 0.0,
            condition: 1.0,
            found_from: 1,
            state: Vec::new(),
            modes: Vec::new(),
        }
    }

    #[test]
    fn rows_sort_by_a_column_and_those_without_a_number_stand_last() {
        let rows = [
            row(0, Some(2)),
            row(1, None),
            row(2, Some(0)),
            row(3, Some(2)),
        ];
        let order = |sort: Sort| {
            let mut rows: Vec<&FixedPointRow> = rows.iter().collect();
            sort.apply(&mut rows);
            rows.iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert_eq!(
            order(Sort {
                column: 0,
                descending: true
            }),
            [3, 2, 1, 0]
        );
        assert_eq!(
            order(Sort {
                column: 1,
                descending: false
            }),
            [2, 0, 3, 1]
        );
        assert_eq!(
            order(Sort {
                column: 1,
                descending: true
            }),
            [0, 3, 2, 1]
        );
        assert_eq!(
            order(Sort {
                column: 99,
                descending: false
            }),
            [0, 1, 2, 3]
        );
    }

    #[test]
    fn numbers_are_short_and_missing_ones_a_dash() {
        assert_eq!(decimal(-0.51249), "−0.512");
        assert_eq!(decimal(f64::NAN), "–");
        assert_eq!(scientific(3.26e-13), "3.3e−13");
        assert_eq!(scientific(0.0), "0");
        assert_eq!(steps(f64::INFINITY), "–");
        assert_eq!(steps(-2.5), "−2.50 steps");
        assert_eq!(steps(196.435), "196 steps");
        assert_eq!(steps(1.2e7), "1.2e7 steps");
    }
}
