//! What lies over the panels: the error banner, the command palette, the list of shortcuts.

use super::command::{ACTIONS, Command, shortcut_text};
use super::dock::Dock;
use super::look;
use super::state::State;
use crate::examples::EXAMPLES;
use egui::{
    Align, Align2, Context, Key, Layout, RichText, ScrollArea, Sense, Stroke, TextEdit, Ui,
};

/// The last error, in full, until it is dismissed.
pub fn banner(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(text) = &state.banner else { return };
    let color = ui.visuals().error_fg_color;
    egui::Frame::new()
        .fill(color.gamma_multiply(0.1))
        .stroke(Stroke::new(1.0, color.gamma_multiply(0.5)))
        .corner_radius(4)
        .inner_margin(egui::Margin::symmetric(10, 6))
        .show(ui, |ui| {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if ui.button("Dismiss").clicked() {
                    commands.push(Command::Dismiss);
                }
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    ui.add(
                        egui::Label::new(RichText::new(text).color(color))
                            .selectable(true)
                            .wrap(),
                    );
                });
            });
        });
}

/// The command palette: type a part of a name, choose with the arrows, Enter carries it out.
#[derive(Default)]
pub struct Palette {
    is_open: bool,
    query: String,
    chosen: usize,
}

/// An entry of the palette.
struct Entry {
    title: String,
    doc: String,
    shortcut: String,
    command: Command,
}

impl Palette {
    /// Opens it empty, or closes it.
    pub fn toggle(&mut self) {
        *self = Palette {
            is_open: !self.is_open,
            ..Palette::default()
        };
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Draws it.
    pub fn ui(
        &mut self,
        context: &Context,
        state: &State,
        dock: &Dock,
        commands: &mut Vec<Command>,
    ) {
        if !self.is_open {
            return;
        }
        let entries: Vec<Entry> = entries(context, state, dock)
            .into_iter()
            .filter(|entry| matches(&entry.title, &self.query))
            .collect();
        let (up, down, enter) = context.input_mut(|input| {
            let mut take = |key| input.consume_key(egui::Modifiers::NONE, key);
            (take(Key::ArrowUp), take(Key::ArrowDown), take(Key::Enter))
        });
        let last = entries.len().saturating_sub(1);
        self.chosen = match (up, down) {
            (true, _) => self.chosen.saturating_sub(1),
            (_, true) => self.chosen + 1,
            _ => self.chosen,
        }
        .min(last);
        let mut carried_out = if enter {
            entries.get(self.chosen).map(|entry| entry.command.clone())
        } else {
            None
        };

        let modal = egui::Modal::new(egui::Id::unique("palette"))
            .backdrop_color(egui::Color32::from_black_alpha(60))
            .area(
                egui::Modal::default_area(egui::Id::unique("palette"))
                    .anchor(Align2::CENTER_TOP, egui::vec2(0.0, 90.0)),
            )
            .show(context, |ui| {
                ui.set_width(520.0);
                let field = ui.add(
                    TextEdit::singleline(&mut self.query)
                        .hint_text("Type a command")
                        .desired_width(f32::INFINITY)
                        .margin(egui::Margin::symmetric(8, 6)),
                );
                field.widget_info(|| {
                    egui::WidgetInfo::labeled(egui::Role::TextInput, true, "Type a command")
                });
                if field.changed() {
                    self.chosen = 0;
                }
                field.request_focus();
                ui.add_space(2.0);
                ScrollArea::vertical()
                    .max_height(340.0)
                    .auto_shrink([false, true])
                    .show(ui, |ui| {
                        ui.spacing_mut().item_spacing.y = 0.0;
                        for (i, entry) in entries.iter().enumerate() {
                            let response = entry_ui(ui, entry, i == self.chosen);
                            if i == self.chosen && (up || down) {
                                response.scroll_to_me(None);
                            }
                            if response.clicked() {
                                carried_out = Some(entry.command.clone());
                            }
                        }
                        if entries.is_empty() {
                            ui.label(RichText::new("No command of this name.").weak());
                        }
                    });
            });
        if let Some(command) = carried_out {
            self.is_open = false;
            commands.push(command);
        } else if modal.should_close() {
            self.is_open = false;
        }
    }
}

fn entry_ui(ui: &mut Ui, entry: &Entry, is_chosen: bool) -> egui::Response {
    let (rect, response) =
        ui.allocate_exact_size(egui::vec2(ui.available_width(), 26.0), Sense::click());
    let visuals = ui.visuals();
    if is_chosen || response.hovered() {
        let fill = if is_chosen {
            visuals.selection.bg_fill
        } else {
            visuals.faint_bg_color
        };
        ui.painter().rect_filled(rect, 3.0, fill);
    }
    let font = egui::TextStyle::Body.resolve(ui.style());
    let (color, weak) = (visuals.text_color(), visuals.weak_text_color());
    let inside = rect.shrink2(egui::vec2(8.0, 0.0));
    ui.painter().text(
        inside.left_center(),
        Align2::LEFT_CENTER,
        &entry.title,
        font.clone(),
        color,
    );
    ui.painter().text(
        inside.right_center(),
        Align2::RIGHT_CENTER,
        &entry.shortcut,
        font,
        weak,
    );
    response.widget_info(|| {
        egui::WidgetInfo::selected(egui::Role::Button, true, is_chosen, &entry.title)
    });
    response.on_hover_text(&entry.doc)
}

/// Everything that can be done now.
fn entries(context: &Context, state: &State, dock: &Dock) -> Vec<Entry> {
    let mut entries: Vec<Entry> = ACTIONS
        .iter()
        .filter(|action| {
            action.command != Command::TogglePalette && (action.available)(state).is_ok()
        })
        .map(|action| Entry {
            title: action.title.to_owned(),
            doc: action.doc.to_owned(),
            shortcut: action
                .shortcut
                .map(|keys| shortcut_text(context, &keys))
                .unwrap_or_default(),
            command: action.command.clone(),
        })
        .collect();
    let simple = |title: String, doc: &str, command| Entry {
        title,
        doc: doc.to_owned(),
        shortcut: String::new(),
        command,
    };
    if state.work.is_none() {
        entries.extend(EXAMPLES.iter().map(|example| {
            simple(
                format!("Example: {}", example.title),
                example.summary,
                Command::OpenExample(example.name),
            )
        }));
    }
    entries.extend(state.figure_names().into_iter().map(|name| {
        simple(
            format!("Export figure: {name}"),
            "Write it as SVG, PDF or PNG.",
            Command::ExportFigure(name),
        )
    }));
    if state.draft.is_some() {
        entries.extend(dock.titles().into_iter().map(|(name, title)| {
            simple(
                format!("Show panel: {title}"),
                "Bring it to the front.",
                Command::ShowPanel(name.to_owned()),
            )
        }));
    }
    entries
}

/// Whether every word of the query occurs in the title.
fn matches(title: &str, query: &str) -> bool {
    let title = title.to_lowercase();
    query
        .split_whitespace()
        .all(|word| title.contains(&word.to_lowercase()))
}

/// The list of shortcuts and of what the mouse does.
pub fn help(context: &Context, open: &mut bool) {
    if !*open {
        return;
    }
    egui::Window::new(look::strong("Keyboard and mouse"))
        .id(egui::Id::unique("help"))
        .open(open)
        .collapsible(false)
        .resizable(false)
        .anchor(Align2::CENTER_CENTER, [0.0, 0.0])
        .show(context, |ui| {
            egui::Grid::new("shortcuts")
                .num_columns(3)
                .spacing([24.0, 6.0])
                .striped(true)
                .show(ui, |ui| {
                    for action in ACTIONS {
                        let Some(keys) = action.shortcut else {
                            continue;
                        };
                        ui.label(look::strong(shortcut_text(context, &keys)));
                        ui.label(action.title);
                        ui.label(RichText::new(action.doc).weak());
                        ui.end_row();
                    }
                    for (gesture, title, doc) in [
                        (
                            "Drag",
                            "Turn or move",
                            "Turns a space, moves a plane; with Shift a space is moved.",
                        ),
                        ("Wheel", "Zoom", "About the pointer."),
                        (
                            "Double click",
                            "Reset view",
                            "Of the panel under the pointer.",
                        ),
                        (
                            "Click",
                            "Select",
                            "A fixed point in a figure or the table, everywhere.",
                        ),
                        (
                            "Right click",
                            "Reset key",
                            "On the name of a key in the experiment.",
                        ),
                    ] {
                        ui.label(look::strong(gesture));
                        ui.label(title);
                        ui.label(RichText::new(doc).weak());
                        ui.end_row();
                    }
                });
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_query_match_in_any_order_and_case() {
        assert!(matches("Open run folder…", "RUN open"));
        assert!(matches("Open run folder…", ""));
        assert!(!matches("Open run folder…", "run experiment"));
    }
}
