//! One figure, as its file shows it, that can be turned, zoomed and clicked.

use super::{Panel, PanelContext, placeholder, title_of};
use crate::desktop::command::Command;
use crate::drawings::FigureKind;
use egui::Ui;
use nullcline_figures::screen::FigureView;

/// A figure of the registry.
pub struct FigurePanel {
    kind: &'static FigureKind,
    view: FigureView,
}

impl FigurePanel {
    /// The panel of a figure.
    pub fn new(kind: &'static FigureKind) -> FigurePanel {
        FigurePanel {
            kind,
            view: FigureView::new(),
        }
    }
}

impl Panel for FigurePanel {
    fn name(&self) -> &'static str {
        self.kind.name
    }

    fn title(&self) -> String {
        title_of(self.kind.name)
    }

    fn panel_ui(&mut self, ui: &mut Ui, context: &mut PanelContext) {
        let Some(figure) = context.state.figure(self.kind.name) else {
            placeholder(ui, self.kind.summary, "Run the experiment to see it.");
            return;
        };
        let inside = ui.max_rect().shrink(4.0);
        let response = ui
            .scope_builder(egui::UiBuilder::new().max_rect(inside), |ui| {
                self.view.show(ui, figure, context.state.selected)
            })
            .inner;
        if let Some(id) = response.clicked {
            // A second click on the same point lets it go.
            let again = context.state.selected == Some(id);
            context
                .commands
                .push(Command::Select((!again).then_some(id)));
        }
    }
}
