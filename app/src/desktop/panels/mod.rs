//! The panels: each a type behind [`Panel`], all registered in [`panels`].

mod experiment;
mod figure;
mod fixed_points;
mod log;

use super::command::Command;
use super::state::State;
use crate::drawings::FIGURES;
use egui::Ui;

/// A part of the window that shows the state and gives commands.
pub trait Panel {
    /// Its name in the stored layout.
    fn name(&self) -> &'static str;

    /// What its tab says.
    fn title(&self) -> String;

    /// Draws it.
    fn panel_ui(&mut self, ui: &mut Ui, context: &mut PanelContext);
}

/// What a panel draws and where its commands go.
pub struct PanelContext<'a> {
    /// The state. Panels write only the texts that are being typed in the form.
    pub state: &'a mut State,
    /// The commands of this frame.
    pub commands: &'a mut Vec<Command>,
}

/// Every panel: the form, the table, the log, and one for each figure.
pub fn panels() -> Vec<Box<dyn Panel>> {
    let mut panels: Vec<Box<dyn Panel>> = vec![
        Box::new(experiment::ExperimentPanel),
        Box::new(fixed_points::FixedPointsPanel::default()),
        Box::new(log::LogPanel),
    ];
    for kind in FIGURES {
        panels.push(Box::new(figure::FigurePanel::new(kind)));
    }
    panels
}

/// A name in snake_case as a title: `training_curve` becomes `Training curve`.
pub(super) fn title_of(name: &str) -> String {
    let mut letters = name.chars();
    match letters.next() {
        Some(first) => first
            .to_uppercase()
            .chain(letters.map(|c| if c == '_' { ' ' } else { c }))
            .collect(),
        None => String::new(),
    }
}

/// What an empty panel will show, in its middle, and how to get there.
pub(super) fn placeholder(ui: &mut Ui, what: &str, how: &str) {
    let rect = ui.available_rect_before_wrap();
    let color = ui.visuals().weak_text_color();
    let width = (rect.width() - 40.0).clamp(60.0, 380.0);
    let layout = |text: String, style: egui::TextStyle| {
        let mut job = egui::text::LayoutJob::simple(text, style.resolve(ui.style()), color, width);
        job.halign = egui::Align::Center;
        ui.painter().layout_job(job)
    };
    let mut letters = what.chars();
    let sentence: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect();
    let galleys = [
        layout(sentence, egui::TextStyle::Body),
        layout(how.to_owned(), egui::TextStyle::Small),
    ];
    const GAP: f32 = 6.0;
    let height: f32 = galleys.iter().map(|galley| galley.size().y).sum::<f32>() + GAP;
    let mut at = egui::pos2(rect.center().x, rect.center().y - height / 2.0);
    for galley in galleys {
        let down = galley.size().y + GAP;
        ui.painter().galley(at, galley, color);
        at.y += down;
    }
}
