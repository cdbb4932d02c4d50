//! What happened, the latest last.

use super::{Panel, PanelContext, placeholder};
use crate::desktop::state::Level;
use egui::{RichText, ScrollArea, Ui};
use std::time::UNIX_EPOCH;

/// The log of the window.
pub struct LogPanel;

impl Panel for LogPanel {
    fn name(&self) -> &'static str {
        "log"
    }

    fn title(&self) -> String {
        "Log".into()
    }

    fn panel_ui(&mut self, ui: &mut Ui, context: &mut PanelContext) {
        let log = &context.state.log;
        if log.is_empty() {
            placeholder(ui, "What happens is noted here", "");
            return;
        }
        egui::Frame::new().inner_margin(8).show(ui, |ui| {
            ScrollArea::vertical()
                .auto_shrink(false)
                .stick_to_bottom(true)
                .show(ui, |ui| {
                    ui.style_mut().interaction.selectable_labels = true;
                    for entry in log {
                        ui.horizontal_top(|ui| {
                            let seconds = entry
                                .time
                                .duration_since(UNIX_EPOCH)
                                .unwrap_or_default()
                                .as_secs();
                            let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
                            let time = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
                            ui.label(RichText::new(time).monospace().weak())
                                .on_hover_text("UTC");
                            let text = match entry.level {
                                Level::Note => RichText::new(&entry.text),
                                Level::Error => {
                                    RichText::new(&entry.text).color(ui.visuals().error_fg_color)
                                }
                            };
                            ui.add(egui::Label::new(text).wrap());
                        });
                    }
                });
        });
    }
}
