//! The experiment as a form, made from the documented keys of task, cell, training, analyses and figures.

use super::{Panel, PanelContext, placeholder, title_of};
use crate::desktop::command::Command;
use crate::desktop::draft::{Draft, Section};
use crate::desktop::look;
use egui::{
    Align, Align2, Color32, ComboBox, Layout, Rect, Response, RichText, ScrollArea, Sense, Stroke,
    TextEdit, Ui,
};
use nullcline_data::settings::{Key, Kind, Value};
use nullcline_models::registry::MODELS;
use nullcline_tasks::TASKS;

/// The form.
pub struct ExperimentPanel;

/// Height of a row.
const ROW: f32 = 24.0;
/// Width of a field, as a part of the row.
const FIELD_SHARE: f32 = 0.46;

impl Panel for ExperimentPanel {
    fn name(&self) -> &'static str {
        "experiment"
    }

    fn title(&self) -> String {
        "Experiment".into()
    }

    fn panel_ui(&mut self, ui: &mut Ui, context: &mut PanelContext) {
        // While networks train, the form shows what they train on.
        let is_locked = context.state.work.is_some();
        let Some(draft) = &mut context.state.draft else {
            placeholder(ui, "No experiment is open", "");
            return;
        };
        let commands = &mut *context.commands;
        egui::Frame::new()
            .inner_margin(egui::Margin {
                left: 10,
                right: 4,
                top: 6,
                bottom: 6,
            })
            .show(ui, |ui| {
                ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
                    // Room for the scroll bar, so that it never lies on a field.
                    ui.set_max_width(ui.available_width() - 10.0);
                    ui.spacing_mut().item_spacing.y = 3.0;
                    if let Some(problem) = draft.problem() {
                        problem_box(ui, problem);
                    }
                    ui.add_enabled_ui(!is_locked, |ui| {
                        for section in Section::all(draft.experiment()) {
                            section_ui(ui, section, draft, commands);
                        }
                    });
                });
            });
    }
}

fn problem_box(ui: &mut Ui, problem: &str) {
    let color = ui.visuals().error_fg_color;
    egui::Frame::new()
        .fill(color.gamma_multiply(0.08))
        .stroke(Stroke::new(1.0, color.gamma_multiply(0.6)))
        .corner_radius(4)
        .inner_margin(6)
        .show(ui, |ui| {
            ui.add(egui::Label::new(RichText::new(problem).color(color)).wrap())
        });
}

fn section_ui(ui: &mut Ui, section: Section, draft: &mut Draft, commands: &mut Vec<Command>) {
    let (title, open) = match section {
        Section::Top => {
            rows(ui, section, draft, commands);
            return;
        }
        Section::Task => ("Task".to_owned(), true),
        Section::Model => ("Model".to_owned(), true),
        Section::Training => ("Training".to_owned(), true),
        Section::Analysis(name) => (
            format!("Analysis: {}", title_of(name).to_lowercase()),
            false,
        ),
        Section::Figures => ("Figures".to_owned(), false),
    };
    ui.add_space(4.0);
    egui::CollapsingHeader::new(look::strong(title))
        .id_salt(section)
        .default_open(open)
        .show_unindented(ui, |ui| rows(ui, section, draft, commands));
}

fn rows(ui: &mut Ui, section: Section, draft: &mut Draft, commands: &mut Vec<Command>) {
    let Some(settings) = section.of(draft.experiment()) else {
        return;
    };
    let entries: Vec<(&'static Key, Option<Value>)> = settings
        .iter()
        .map(|(key, value)| (key, value.cloned()))
        .collect();
    for (key, value) in entries {
        row(ui, section, key, value, draft, commands);
    }
}

/// One key: its name and unit at the left, its field at the right, what is wrong below.
fn row(
    ui: &mut Ui,
    section: Section,
    key: &'static Key,
    value: Option<Value>,
    draft: &mut Draft,
    commands: &mut Vec<Command>,
) {
    let width = ui.available_width();
    let (rect, _) = ui.allocate_exact_size(egui::vec2(width, ROW), Sense::hover());
    let field_width = (width * FIELD_SHARE).max(90.0);
    let (label_rect, field_rect) = rect.split_left_right_at_x(rect.right() - field_width);
    let is_changed =
        value.as_ref() != key.default.value().as_ref() && key.name != "kind" && key.name != "name";
    let label = label(
        ui,
        label_rect.with_max_x(label_rect.right() - 6.0),
        section,
        key,
        is_changed,
    );
    label.context_menu(|ui| {
        let default = key
            .default
            .value()
            .map_or("not set".to_owned(), |value| value.to_toml());
        if ui
            .button(format!("Reset to the default ({default})"))
            .clicked()
        {
            commands.push(Command::Edit {
                section,
                key: key.name,
                value: None,
            });
            ui.close();
        }
    });
    let mut inside = ui.new_child(
        egui::UiBuilder::new()
            .id_salt((section, key.name))
            .max_rect(field_rect)
            .layout(Layout::left_to_right(Align::Center)),
    );
    let set = |value: Value| Command::Edit {
        section,
        key: key.name,
        value: Some(value),
    };
    let name = section.dotted(key.name);
    let response = match (section, key.name, key.kind) {
        (Section::Task, "kind", _) => {
            let kinds: Vec<(&str, &str)> =
                TASKS.iter().map(|kind| (kind.name, kind.summary)).collect();
            choice(&mut inside, &name, &value, &kinds, set, commands)
        }
        (Section::Model, "kind", _) => {
            let kinds: Vec<(&str, &str)> = MODELS
                .iter()
                .map(|kind| (kind.name, kind.summary))
                .collect();
            choice(&mut inside, &name, &value, &kinds, set, commands)
        }
        (_, _, Kind::Choice(words)) => {
            let words: Vec<(&str, &str)> = words.iter().map(|word| (*word, "")).collect();
            choice(&mut inside, &name, &value, &words, set, commands)
        }
        (_, _, Kind::Flag) => {
            let mut on = value == Some(Value::Flag(true));
            let response = inside.checkbox(&mut on, "");
            if response.changed() {
                commands.push(set(Value::Flag(on)));
            }
            response
                .widget_info(|| egui::WidgetInfo::selected(egui::Role::CheckBox, true, on, &name));
            response
        }
        _ => text_field(&mut inside, &name, section, key, draft, commands),
    };
    response.on_hover_ui(|ui| help(ui, key));
    if let Some(fault) = draft.fault(section, key) {
        let color = ui.visuals().error_fg_color;
        ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
            ui.add(egui::Label::new(RichText::new(fault).small().color(color)).wrap());
        });
    }
}

/// Name and unit of a key. The name is cut where there is no room for it, the unit left out.
fn label(
    ui: &mut Ui,
    rect: Rect,
    section: Section,
    key: &'static Key,
    is_changed: bool,
) -> Response {
    let response = ui.interact(
        rect,
        ui.scope_id().with(("label", section, key.name)),
        Sense::click(),
    );
    let font = match is_changed {
        true => egui::FontId::new(13.0, look::bold()),
        false => egui::TextStyle::Body.resolve(ui.style()),
    };
    let visuals = ui.visuals();
    let (color, weak) = (visuals.text_color(), visuals.weak_text_color());
    let cut = |text: &str, font, color: Color32, width: f32| {
        let mut job = egui::text::LayoutJob::simple_singleline(text.to_owned(), font, color);
        job.wrap = egui::text::TextWrapping::truncate_at_width(width);
        ui.painter().layout_job(job)
    };
    let name = cut(key.name, font, color, rect.width());
    let used = name.size().x;
    let place = |size: egui::Vec2, left: f32| {
        Align2::LEFT_CENTER
            .align_size_within_rect(size, rect.with_min_x(left))
            .min
    };
    ui.painter()
        .galley(place(name.size(), rect.left()), name, color);
    let room = rect.width() - used - 5.0;
    let unit = cut(
        key.unit,
        egui::TextStyle::Small.resolve(ui.style()),
        weak,
        f32::INFINITY,
    );
    if unit.size().x <= room {
        ui.painter()
            .galley(place(unit.size(), rect.left() + used + 5.0), unit, weak);
    }
    response.on_hover_ui(|ui| help(ui, key))
}

/// What a key does.
fn help(ui: &mut Ui, key: &Key) {
    ui.set_max_width(340.0);
    ui.label(look::strong(key.name));
    ui.label(key.doc);
    ui.label(RichText::new(key.summary()).weak());
}

fn choice(
    ui: &mut Ui,
    name: &str,
    value: &Option<Value>,
    words: &[(&str, &str)],
    set: impl Fn(Value) -> Command,
    commands: &mut Vec<Command>,
) -> Response {
    let chosen = match value {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    let width = ui.available_width();
    let response = ComboBox::from_id_salt("choice")
        .selected_text(chosen)
        .width(width)
        .truncate()
        .show_ui(ui, |ui| {
            for (word, summary) in words {
                let mut entry = ui.selectable_label(*word == chosen, *word);
                if !summary.is_empty() {
                    entry = entry.on_hover_text(*summary);
                }
                if entry.clicked() && *word != chosen {
                    commands.push(set(Value::Text((*word).to_owned())));
                }
            }
        });
    let response = response.response;
    response.widget_info(|| {
        let mut info = egui::WidgetInfo::labeled(egui::Role::ComboBox, true, name);
        info.current_text_value = Some(chosen.to_owned());
        info
    });
    response
}

/// A field for numbers, texts, lists and paths. What is typed is checked with every letter, and taken when
/// the field is left or Enter pressed; what is not allowed stays, in red, until it is mended.
fn text_field(
    ui: &mut Ui,
    name: &str,
    section: Section,
    key: &'static Key,
    draft: &mut Draft,
    commands: &mut Vec<Command>,
) -> Response {
    let is_path = key.kind == Kind::Path;
    let mut text = draft.text(section, key);
    let is_wrong = draft.fault(section, key).is_some();
    ui.spacing_mut().item_spacing.x = 4.0;
    let width = ui.available_width() - if is_path { 34.0 } else { 0.0 };
    let mut edit = TextEdit::singleline(&mut text)
        .id_salt("text")
        .margin(egui::Margin::symmetric(6, 3))
        .align(Align2::LEFT_CENTER);
    if key.default.value().is_none() {
        edit = edit.hint_text(RichText::new("not set").weak());
    }
    if is_wrong {
        edit = edit.text_color(ui.visuals().error_fg_color);
    }
    let response = ui.add_sized([width, ROW - 2.0], edit);
    if is_wrong {
        let stroke = Stroke::new(1.0, ui.visuals().error_fg_color);
        ui.painter()
            .rect_stroke(response.rect, 4.0, stroke, egui::StrokeKind::Inside);
    }
    if response.changed() {
        draft.type_text(section, key, text.clone());
    }
    if response.lost_focus() {
        if ui.input(|input| input.key_pressed(egui::Key::Escape)) {
            draft.forget(section, key);
        } else if let Some(value) = draft.finished(section, key) {
            commands.push(Command::Edit {
                section,
                key: key.name,
                value,
            });
        }
    }
    response.widget_info(|| {
        let mut info = egui::WidgetInfo::text_edit(ui.is_enabled(), &text, &text, "");
        info.label = Some(name.to_owned());
        info
    });
    if is_path
        && ui
            .add_sized([30.0, ROW - 2.0], egui::Button::new("…"))
            .on_hover_text("Choose a file")
            .clicked()
    {
        commands.push(Command::ChooseFile {
            section,
            key: key.name,
        });
    }
    response
}
