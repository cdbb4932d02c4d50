//! The start screen: the examples as cards, and what else can be opened.

use super::command::Command;
use super::look;
use crate::examples::{EXAMPLES, Example};
use egui::{Align, Align2, FontId, Layout, RichText, Sense, Stroke, Ui};

const CARD: egui::Vec2 = egui::vec2(330.0, 152.0);
const GAP: f32 = 20.0;

/// Draws it.
pub fn ui(ui: &mut Ui, commands: &mut Vec<Command>) {
    let room = ui.available_rect_before_wrap();
    let per_row =
        (((room.width() - 40.0 + GAP) / (CARD.x + GAP)) as usize).clamp(1, EXAMPLES.len().max(1));
    let width = per_row as f32 * (CARD.x + GAP) - GAP;
    let rows = EXAMPLES.len().div_ceil(per_row);
    let height = 190.0 + rows as f32 * (CARD.y + GAP);
    let top = (room.center().y - height / 2.0 - 20.0).max(room.top() + 16.0);
    let column = egui::Rect::from_min_size(
        egui::pos2(room.center().x - width / 2.0, top),
        egui::vec2(width, room.bottom() - top),
    );
    ui.scope_builder(egui::UiBuilder::new().max_rect(column), |ui| {
        egui::ScrollArea::vertical().show(ui, |ui| {
            ui.label(RichText::new("Nullcline").font(FontId::new(34.0, look::bold())));
            ui.label(
                RichText::new("Train a small recurrent network on a task, then see how it works.")
                    .size(15.0)
                    .weak(),
            );
            ui.add_space(26.0);
            ui.label(look::strong("Begin with an example"));
            ui.add_space(6.0);
            for chunk in EXAMPLES.chunks(per_row) {
                ui.horizontal(|ui| {
                    ui.spacing_mut().item_spacing.x = GAP;
                    for example in chunk {
                        card(ui, example, commands);
                    }
                });
                ui.add_space(GAP - 6.0);
            }
            ui.label(look::strong("Or open your own"));
            ui.add_space(6.0);
            ui.horizontal(|ui| {
                if big_button(ui, "Run folder…").clicked() {
                    commands.push(Command::ChooseRun);
                }
                if big_button(ui, "Experiment file…").clicked() {
                    commands.push(Command::ChooseExperiment);
                }
            });
        });
    });
}

fn big_button(ui: &mut Ui, text: &str) -> egui::Response {
    ui.add(egui::Button::new(text).min_size(egui::vec2(150.0, 30.0)))
}

fn card(ui: &mut Ui, example: &'static Example, commands: &mut Vec<Command>) {
    let (rect, response) = ui.allocate_exact_size(CARD, Sense::click());
    let response = response.on_hover_cursor(egui::CursorIcon::PointingHand);
    let accent = look::accent(ui.visuals());
    let stroke = if response.hovered() || response.has_focus() {
        Stroke::new(1.5, accent)
    } else {
        ui.visuals().window_stroke
    };
    ui.painter().rect(
        rect,
        6.0,
        look::sheet(ui.visuals()),
        stroke,
        egui::StrokeKind::Inside,
    );
    let picture = egui::Rect::from_min_size(rect.min, egui::vec2(rect.width(), 84.0))
        .shrink2(egui::vec2(18.0, 14.0));
    sketch(ui, example.name, picture);
    let mut inside = ui.new_child(
        egui::UiBuilder::new()
            .id_salt(example.name)
            .max_rect(
                rect.shrink2(egui::vec2(18.0, 12.0))
                    .with_min_y(rect.top() + 88.0),
            )
            .layout(Layout::top_down(Align::Min)),
    );
    inside.add(egui::Label::new(look::strong(example.title).size(15.0)).selectable(false));
    inside.add(
        egui::Label::new(RichText::new(example.summary).weak())
            .selectable(false)
            .wrap(),
    );
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, example.title));
    if response.clicked() {
        commands.push(Command::OpenExample(example.name));
    }
}

/// A sketch of what the example is about: pulses that are held, or beats of a heart.
fn sketch(ui: &Ui, name: &str, rect: egui::Rect) {
    let visuals = ui.visuals();
    let (ink, faint) = (
        look::accent(visuals),
        visuals.weak_text_color().gamma_multiply(0.5),
    );
    let at = |x: f32, y: f32| {
        egui::pos2(
            rect.left() + x * rect.width(),
            rect.top() + y * rect.height(),
        )
    };
    match name {
        "flip_flop" => {
            for (row, flips) in [[0.10, 0.42, 0.71], [0.22, 0.35, 0.88], [0.05, 0.55, 0.62]]
                .iter()
                .enumerate()
            {
                let (high, low) = (0.04 + 0.35 * row as f32, 0.24 + 0.35 * row as f32);
                let mut points = vec![at(0.0, low)];
                let mut level = low;
                for flip in flips {
                    points.push(at(*flip, level));
                    level = if level == low { high } else { low };
                    points.push(at(*flip, level));
                }
                points.push(at(1.0, level));
                ui.painter()
                    .add(egui::Shape::line(points, Stroke::new(1.8, ink)));
            }
        }
        "ecg" => {
            let beat = |t: f32| {
                let bump = |center: f32, width: f32, height: f32| {
                    height * (-((t - center) / width).powi(2)).exp()
                };
                bump(0.22, 0.05, 0.13) - bump(0.385, 0.016, 0.18) + bump(0.42, 0.02, 1.0)
                    - bump(0.46, 0.02, 0.28)
                    + bump(0.70, 0.07, 0.24)
            };
            let points = (0..=400)
                .map(|i| {
                    let x = i as f32 / 400.0;
                    at(x, 0.78 - 0.74 * beat((x * 3.0).fract()))
                })
                .collect();
            ui.painter()
                .add(egui::Shape::line(points, Stroke::new(1.8, ink)));
        }
        // An example without a sketch of its own shows its name.
        _ => {
            let font = FontId::new(20.0, look::bold());
            ui.painter()
                .text(rect.center(), Align2::CENTER_CENTER, name, font, faint);
        }
    }
}
