//! The bar above the panels, with menus and what runs, and the line below them, with how far it is.

use super::command::{self, Command};
use super::dock::Dock;
use super::look;
use super::panels::title_of;
use super::state::State;
use super::worker::{Phase, Progress};
use crate::devices::Device;
use crate::examples::EXAMPLES;
use egui::{Align, Button, Color32, Layout, RichText, Sense, Stroke, Ui};

/// Draws the bar above.
pub fn top(ui: &mut Ui, state: &State, dock: &Dock, commands: &mut Vec<Command>) {
    egui::MenuBar::new().ui(ui, |ui| {
        ui.menu_button("File", |ui| file_menu(ui, state, commands));
        ui.menu_button("Edit", |ui| {
            ui.set_min_width(MENU);
            for command in [Command::Undo, Command::Redo] {
                entry(ui, state, command, commands);
            }
        });
        ui.menu_button("View", |ui| view_menu(ui, state, dock, commands));
        ui.menu_button("Device", |ui| device_menu(ui, state, commands));
        ui.menu_button("Help", |ui| {
            ui.set_min_width(MENU);
            for command in [Command::TogglePalette, Command::ToggleHelp] {
                entry(ui, state, command, commands);
            }
        });
        let Some(draft) = &state.draft else { return };
        // What follows are no menus: buttons have frames again.
        ui.reset_style();
        ui.add_space(4.0);
        ui.separator();
        ui.add_space(4.0);
        run_buttons(ui, state, commands);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let experiment = draft.experiment();
            let kinds = format!(
                "{} on {}",
                experiment.model.text("kind"),
                experiment.task.text("kind")
            );
            ui.label(RichText::new(kinds).weak());
            ui.label(look::strong(experiment.name()));
            network_choice(ui, state, commands);
        });
    });
}

/// Width of a menu: titles and shortcuts keep apart.
const MENU: f32 = 230.0;

fn file_menu(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.set_min_width(MENU);
    entry(ui, state, Command::Start, commands);
    ui.add_enabled_ui(state.work.is_none(), |ui| {
        ui.menu_button("Examples", |ui| {
            for example in EXAMPLES {
                if ui
                    .button(example.title)
                    .on_hover_text(example.summary)
                    .clicked()
                {
                    commands.push(Command::OpenExample(example.name));
                    ui.close();
                }
            }
        });
    });
    ui.separator();
    for command in [
        Command::ChooseRun,
        Command::ChooseExperiment,
        Command::SaveExperiment,
    ] {
        entry(ui, state, command, commands);
    }
    ui.separator();
    let figures = state.figure_names();
    ui.add_enabled_ui(!figures.is_empty(), |ui| {
        ui.menu_button("Export figure", |ui| {
            for name in figures {
                if ui.button(format!("{}…", title_of(name))).clicked() {
                    commands.push(Command::ExportFigure(name));
                    ui.close();
                }
            }
        });
    });
    ui.separator();
    entry(ui, state, Command::Quit, commands);
}

/// What the next run trains on.
fn device_menu(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.set_min_width(MENU);
    let mut entry = |ui: &mut Ui, device: Device, title: &str, doc: &str| {
        let chosen = state.device == device;
        if ui.radio(chosen, title).on_hover_text(doc).clicked() {
            commands.push(Command::UseDevice(device));
            ui.close();
        }
    };
    let doc = "CPU or graphics card, whichever is faster: both are tried when a run begins";
    entry(ui, Device::Auto, "Automatic", doc);
    for (name, doc) in &state.devices {
        let title = name.strip_prefix("gpu:").unwrap_or("CPU");
        if let Ok(device) = Device::parse(name) {
            entry(ui, device, title, doc);
        }
    }
    ui.separator();
    ui.weak("From the next run on");
}

fn view_menu(ui: &mut Ui, state: &State, dock: &Dock, commands: &mut Vec<Command>) {
    ui.set_min_width(MENU);
    for (name, title) in dock.titles() {
        let mut open = dock.is_open(name);
        if ui.checkbox(&mut open, title).clicked() {
            commands.push(Command::TogglePanel(name.to_owned()));
        }
    }
    ui.separator();
    for command in [
        Command::ResetLayout,
        Command::ToggleDark,
        Command::ToggleFullScreen,
    ] {
        entry(ui, state, command, commands);
    }
}

/// An entry of a menu, with its shortcut; grey with the reason where it cannot be done.
fn entry(ui: &mut Ui, state: &State, command: Command, commands: &mut Vec<Command>) {
    let Some(action) = command::action(&command) else {
        return;
    };
    let mut button = Button::new(action.title);
    if let Some(shortcut) = action.shortcut {
        button = button.shortcut_text(command::shortcut_text(ui.ctx(), &shortcut));
    }
    let available = (action.available)(state);
    let mut response = ui.add_enabled(available.is_ok(), button);
    if let Err(reason) = available {
        response = response.on_disabled_hover_text(reason);
    }
    if response.clicked() {
        commands.push(command);
        ui.close();
    }
}

fn run_buttons(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    ui.spacing_mut().item_spacing.x = 6.0;
    let is_paused = state.work.as_ref().is_some_and(|work| work.is_paused());
    let pause = if is_paused {
        ("Continue", Sign::Triangle)
    } else {
        ("Pause", Sign::Bars)
    };
    for (name, sign, command) in [
        ("Run", Sign::Triangle, Command::Run),
        (pause.0, pause.1, Command::TogglePause),
        ("Stop", Sign::Square, Command::Stop),
        ("Analyse", Sign::Ring, Command::Analyze),
    ] {
        run_button(ui, state, name, sign, command, commands);
    }
}

/// The sign on a button, drawn: the fonts lack them.
#[derive(Clone, Copy)]
enum Sign {
    Triangle,
    Bars,
    Square,
    Ring,
}

impl Sign {
    fn paint(self, painter: &egui::Painter, center: egui::Pos2, color: Color32) {
        const HALF: f32 = 4.5;
        let corner = |x: f32, y: f32| center + egui::vec2(x * HALF, y * HALF);
        let bar = |left: f32, right: f32| {
            painter.rect_filled(
                egui::Rect::from_min_max(corner(left, -1.0), corner(right, 1.0)),
                1.0,
                color,
            );
        };
        match self {
            Sign::Triangle => {
                let corners = vec![corner(-0.8, -1.0), corner(1.0, 0.0), corner(-0.8, 1.0)];
                painter.add(egui::Shape::convex_polygon(corners, color, Stroke::NONE));
            }
            Sign::Bars => {
                bar(-0.85, -0.2);
                bar(0.2, 0.85);
            }
            Sign::Square => bar(-0.9, 0.9),
            Sign::Ring => {
                painter.circle_stroke(center, HALF - 0.5, Stroke::new(1.4, color));
                painter.circle_filled(center, 1.6, color);
            }
        }
    }
}

/// A button of the bar; the one that runs is filled.
fn run_button(
    ui: &mut Ui,
    state: &State,
    name: &str,
    sign: Sign,
    command: Command,
    commands: &mut Vec<Command>,
) {
    let Some(action) = command::action(&command) else {
        return;
    };
    let available = (action.available)(state);
    let tip = match action.shortcut {
        Some(shortcut) => format!(
            "{} ({})",
            action.doc,
            command::shortcut_text(ui.ctx(), &shortcut)
        ),
        None => action.doc.to_owned(),
    };
    let is_filled = command == Command::Run && available.is_ok();
    let ink = match (is_filled, available) {
        (true, _) => Color32::WHITE,
        (false, Ok(())) => ui.visuals().text_color(),
        (false, Err(_)) => ui.visuals().weak_text_color(),
    };
    // Room for the sign at the left of the text.
    let mut button = Button::new(RichText::new(format!("      {name}")).color(ink));
    if is_filled {
        button = button.fill(look::ACCENT).stroke(Stroke::NONE);
    }
    let mut response = ui.add_enabled(available.is_ok(), button).on_hover_text(tip);
    if let Err(reason) = available {
        response = response.on_disabled_hover_text(reason);
    }
    sign.paint(
        ui.painter(),
        response.rect.left_center() + egui::vec2(16.0, 0.0),
        ink,
    );
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, available.is_ok(), name));
    if response.clicked() {
        commands.push(command);
    }
}

/// Which network of an ensemble is shown.
fn network_choice(ui: &mut Ui, state: &State, commands: &mut Vec<Command>) {
    let Some(snapshot) = state.snapshot.as_ref().filter(|_| !state.is_live) else {
        return;
    };
    let networks = snapshot.results.experiment.networks() as u64;
    if networks < 2 {
        return;
    }
    let mut network = snapshot.network;
    let field = egui::DragValue::new(&mut network)
        .range(0..=networks - 1)
        .prefix("network ");
    let response = ui.add(field).on_hover_text(format!(
        "The network that is shown, from 0 to {}",
        networks - 1
    ));
    if response.changed() {
        commands.push(Command::ShowNetwork(network));
    }
}

/// Draws the line below.
pub fn bottom(ui: &mut Ui, state: &State) {
    let draft = state.draft.as_ref();
    let networks = draft.map_or(1, |draft| draft.experiment().networks());
    ui.horizontal_centered(|ui| {
        let accent = look::accent(ui.visuals());
        let quiet = ui.visuals().weak_text_color();
        match &state.work {
            Some(work) => {
                dot(ui, if work.is_paused() { quiet } else { accent });
                let text = match work.phase {
                    _ if work.is_stopping() => "Stopping; a checkpoint is saved".to_owned(),
                    Phase::Opening => "Opening".to_owned(),
                    Phase::Preparing => "Preparing".to_owned(),
                    Phase::Training if work.is_paused() => "Paused".to_owned(),
                    Phase::Training => "Training".to_owned(),
                    Phase::Analyzing(name, percent) => {
                        let name = title_of(name).to_lowercase();
                        match percent {
                            0 => format!("Analysing: {name}"),
                            percent => format!("Analysing: {name}, {percent} %"),
                        }
                    }
                    Phase::Drawing => "Drawing figures".to_owned(),
                };
                ui.label(look::strong(text));
                if let Some(progress) = work.progress.filter(|_| work.is_training()) {
                    numbers(ui, &progress, networks, !work.is_paused());
                }
            }
            None => {
                dot(ui, quiet);
                ui.label(look::strong(state.outcome.unwrap_or("Ready")));
                if let Some(progress) = &state.last_progress {
                    numbers(ui, progress, networks, false);
                }
            }
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if let Some(folder) = &state.folder {
                let text = RichText::new(folder.display().to_string()).weak();
                ui.add(egui::Label::new(text).truncate())
                    .on_hover_text("The run folder");
            }
        });
    });
}

fn dot(ui: &mut Ui, color: Color32) {
    let (rect, _) = ui.allocate_exact_size(egui::vec2(10.0, 10.0), Sense::hover());
    ui.painter().circle_filled(rect.center(), 4.0, color);
}

fn numbers(ui: &mut Ui, progress: &Progress, networks: usize, is_moving: bool) {
    if progress.updates > 0 && is_moving {
        let done = progress.update as f32 / progress.updates as f32;
        let bar = egui::ProgressBar::new(done)
            .desired_width(160.0)
            .desired_height(8.0);
        ui.add(bar.fill(look::accent(ui.visuals())));
    }
    let mut parts = vec![match is_moving {
        true => format!(
            "update {} of {}",
            grouped(progress.update),
            grouped(progress.updates)
        ),
        false => format!("update {}", grouped(progress.update)),
    }];
    if progress.loss.is_finite() {
        parts.push(format!("loss {:.3e}", progress.loss).replace('-', "−"));
    }
    if is_moving && progress.rate > 0.0 {
        let of = if networks > 1 {
            "network-updates"
        } else {
            "updates"
        };
        parts.push(format!("{:.0} {of}/s", progress.rate));
        parts.push(format!("at most {} left", duration(progress.seconds_left)));
    }
    ui.label(parts.join("   ·   "));
}

/// A number with its digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            // A thin space, as the SI writes it.
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

/// A time in seconds as 42 s, 3:20 min or 1:02:03 h.
fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".into();
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{}:{:02} min", whole / 60, whole % 60),
        _ => format!(
            "{}:{:02}:{:02} h",
            whole / 3600,
            whole / 60 % 60,
            whole % 60
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1234567), "1\u{2009}234\u{2009}567");
        assert_eq!(duration(59.4), "59 s");
        assert_eq!(duration(61.0), "1:01 min");
        assert_eq!(duration(3723.0), "1:02:03 h");
        assert_eq!(duration(f64::INFINITY), "–");
    }
}
