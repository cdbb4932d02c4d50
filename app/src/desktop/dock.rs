//! The dock: where the panels are, kept between sessions.

use super::command::Command;
use super::look;
use super::panels::{self, Panel, PanelContext};
use super::state::State;
use egui::{Color32, Stroke, Ui, Visuals, WidgetText};
use egui_tiles::{
    Container, Linear, LinearDir, SimplificationOptions, TabState, Tile, TileId, Tiles, Tree,
    UiResponse,
};

/// The panels by name, and the tree of tiles that holds their names.
pub struct Dock {
    tree: Tree<String>,
    panels: Vec<Box<dyn Panel>>,
}

impl Dock {
    /// All panels, in this layout; names that no panel has are left out.
    pub fn new(mut tree: Tree<String>) -> Dock {
        let panels = panels::panels();
        let strangers: Vec<TileId> = tree
            .tiles
            .iter()
            .filter(|(_, tile)| matches!(tile, Tile::Pane(name) if !panels.iter().any(|panel| panel.name() == name)))
            .map(|(id, _)| *id)
            .collect();
        for id in strangers {
            tree.remove_recursively(id);
        }
        Dock { tree, panels }
    }

    /// The layout, to be kept.
    pub fn layout(&self) -> &Tree<String> {
        &self.tree
    }

    /// Puts every panel back to its first place.
    pub fn reset(&mut self) {
        self.tree = default_layout();
    }

    /// Whether a panel is open.
    pub fn is_open(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Opens a panel, or closes it.
    pub fn toggle(&mut self, name: &str) {
        match self.find(name) {
            Some(id) => {
                self.tree.remove_recursively(id);
            }
            None => self.open(name),
        }
    }

    /// Brings a panel to the front of its tabs, opening it if need be.
    pub fn show(&mut self, name: &str) {
        if self.find(name).is_none() {
            self.open(name);
        }
        if let Some(id) = self.find(name) {
            self.tree.make_active(|tile, _| tile == id);
        }
    }

    fn open(&mut self, name: &str) {
        if !self.panels.iter().any(|panel| panel.name() == name) {
            return;
        }
        let pane = self.tree.tiles.insert_pane(name.to_owned());
        // Beside the first panel in the middle, or alone.
        let beside = [
            "state_space",
            "training_curve",
            "trial",
            "spectrum",
            "fixed_points",
        ]
        .iter()
        .filter_map(|other| self.find(other))
        .find_map(|tile| self.tree.tiles.parent_of(tile));
        match (beside.or(self.tree.root()), self.tree.root()) {
            (Some(container), _)
                if matches!(self.tree.tiles.get(container), Some(Tile::Container(_))) =>
            {
                self.tree
                    .move_tile_to_container(pane, container, usize::MAX, false);
            }
            (_, Some(root)) => {
                let both = self.tree.tiles.insert_horizontal_tile(vec![root, pane]);
                self.tree = Tree::new(
                    egui::Id::unique(TREE),
                    both,
                    std::mem::take(&mut self.tree.tiles),
                );
            }
            (_, None) => {
                let tabs = self.tree.tiles.insert_tab_tile(vec![pane]);
                self.tree = Tree::new(
                    egui::Id::unique(TREE),
                    tabs,
                    std::mem::take(&mut self.tree.tiles),
                );
            }
        }
    }

    fn find(&self, name: &str) -> Option<TileId> {
        self.tree
            .tiles
            .iter()
            .find(|(_, tile)| matches!(tile, Tile::Pane(pane) if pane == name))
            .map(|(id, _)| *id)
    }

    /// Names and titles of all panels.
    pub fn titles(&self) -> Vec<(&'static str, String)> {
        self.panels
            .iter()
            .map(|panel| (panel.name(), panel.title()))
            .collect()
    }

    /// Draws all panels.
    pub fn ui(&mut self, ui: &mut Ui, state: &mut State, commands: &mut Vec<Command>) {
        let mut behavior = Behavior {
            panels: &mut self.panels,
            state,
            commands,
        };
        self.tree.ui(&mut behavior, ui);
    }
}

/// Id of the tree within the window.
const TREE: &str = "nullcline dock";

/// Form left, state space in the middle, training and trial below it, spectrum and fixed points right.
pub fn default_layout() -> Tree<String> {
    let mut tiles = Tiles::default();
    let mut tabs = |names: &[&str]| {
        let panes: Vec<TileId> = names
            .iter()
            .map(|name| tiles.insert_pane((*name).to_owned()))
            .collect();
        tiles.insert_tab_tile(panes)
    };
    let form = tabs(&["experiment"]);
    let space = tabs(&[
        "state_space",
        "delay_space",
        "attractor",
        "speed_landscape",
        "basins",
        "cycles",
        "poincare",
        "continuation",
        "fixed_points_over_training",
        "regions_visited",
        "fixed_points_on_attractor",
        "periodic_orbits",
    ]);
    let training = tabs(&[
        "training_curve",
        "alpha",
        "reconstruction_over_training",
        "lesions",
        "perturbations",
    ]);
    let trial = tabs(&[
        "trial",
        "generated",
        "reconstruction_series",
        "timescales",
        "power_spectrum",
    ]);
    let spectrum = tabs(&[
        "spectrum",
        "mode_overlaps",
        "spectrum_path",
        "lyapunov",
        "gradient_growth",
    ]);
    let table = tabs(&["fixed_points", "saturation", "log"]);
    let mut linear = |dir: LinearDir, children: &[(TileId, f32)]| {
        let mut linear = Linear::new(dir, children.iter().map(|(id, _)| *id).collect());
        for (id, share) in children {
            linear.shares.set_share(*id, *share);
        }
        tiles.insert_container(Container::Linear(linear))
    };
    let below = linear(LinearDir::Horizontal, &[(training, 1.0), (trial, 1.25)]);
    let middle = linear(LinearDir::Vertical, &[(space, 1.6), (below, 1.0)]);
    let right = linear(LinearDir::Vertical, &[(spectrum, 1.0), (table, 1.0)]);
    let root = linear(
        LinearDir::Horizontal,
        &[(form, 300.0), (middle, 704.0), (right, 436.0)],
    );
    Tree::new(egui::Id::unique(TREE), root, tiles)
}

struct Behavior<'a> {
    panels: &'a mut [Box<dyn Panel>],
    state: &'a mut State,
    commands: &'a mut Vec<Command>,
}

impl egui_tiles::Behavior<String> for Behavior<'_> {
    fn pane_ui(&mut self, ui: &mut Ui, _: TileId, name: &mut String) -> UiResponse {
        ui.painter()
            .rect_filled(ui.max_rect(), 0.0, look::sheet(ui.visuals()));
        if let Some(panel) = self.panels.iter_mut().find(|panel| panel.name() == name) {
            let mut context = PanelContext {
                state: self.state,
                commands: self.commands,
            };
            panel.panel_ui(ui, &mut context);
        }
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, name: &String) -> WidgetText {
        match self.panels.iter().find(|panel| panel.name() == name) {
            Some(panel) => panel.title().into(),
            None => name.as_str().into(),
        }
    }

    fn is_tab_closable(&self, tiles: &Tiles<String>, id: TileId) -> bool {
        // The cross is shown where there is a choice of tabs; the menu closes the others.
        matches!(tiles.get(id), Some(Tile::Pane(_)))
            && tiles
                .parent_of(id)
                .is_some_and(|parent| match tiles.get(parent) {
                    Some(Tile::Container(container)) => container.num_children() > 1,
                    _ => false,
                })
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions {
            all_panes_must_have_tabs: true,
            ..SimplificationOptions::default()
        }
    }

    fn gap_width(&self, _: &egui::Style) -> f32 {
        6.0
    }

    fn min_size(&self) -> f32 {
        120.0
    }

    fn tab_bar_height(&self, _: &egui::Style) -> f32 {
        28.0
    }

    fn tab_title_spacing(&self, _: &Visuals) -> f32 {
        12.0
    }

    fn tab_bar_color(&self, visuals: &Visuals) -> Color32 {
        visuals.panel_fill
    }

    fn tab_bg_color(
        &self,
        visuals: &Visuals,
        _: &Tiles<String>,
        _: TileId,
        state: &TabState,
    ) -> Color32 {
        if state.active {
            look::sheet(visuals)
        } else {
            visuals.panel_fill
        }
    }

    fn tab_outline_stroke(
        &self,
        _: &Visuals,
        _: &Tiles<String>,
        _: TileId,
        _: &TabState,
    ) -> Stroke {
        Stroke::NONE
    }

    fn tab_bar_hline_stroke(&self, _: &Visuals) -> Stroke {
        Stroke::NONE
    }

    fn tab_text_color(
        &self,
        visuals: &Visuals,
        _: &Tiles<String>,
        _: TileId,
        state: &TabState,
    ) -> Color32 {
        if state.active {
            visuals.text_color()
        } else {
            visuals.weak_text_color()
        }
    }

    fn resize_stroke(&self, style: &egui::Style, state: egui_tiles::ResizeState) -> Stroke {
        match state {
            egui_tiles::ResizeState::Idle => {
                Stroke::new(self.gap_width(style), style.visuals.panel_fill)
            }
            egui_tiles::ResizeState::Hovering | egui_tiles::ResizeState::Dragging => {
                Stroke::new(2.0, look::accent(&style.visuals))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_panel_has_a_place_at_first_and_can_be_closed_and_opened() {
        let mut dock = Dock::new(default_layout());
        let names: Vec<&str> = panels::panels().iter().map(|panel| panel.name()).collect();
        for name in &names {
            assert!(dock.is_open(name), "{name}");
            dock.toggle(name);
            assert!(!dock.is_open(name), "{name}");
            dock.toggle(name);
            assert!(dock.is_open(name), "{name}");
        }
        for name in &names {
            dock.toggle(name);
        }
        for name in &names {
            dock.show(name);
            assert!(dock.is_open(name), "{name}");
        }
    }

    #[test]
    fn a_layout_survives_being_stored() {
        let mut dock = Dock::new(default_layout());
        dock.toggle("log");
        let stored = serde_json::to_string(dock.layout()).unwrap();
        let dock = Dock::new(serde_json::from_str(&stored).unwrap());
        assert!(!dock.is_open("log"));
        assert!(dock.is_open("state_space"));
    }

    #[test]
    fn a_layout_with_unknown_panels_loses_only_those() {
        let mut tiles = Tiles::default();
        let panes = ["experiment", "a_panel_of_another_version"]
            .map(|name| tiles.insert_pane(name.to_owned()));
        let root = tiles.insert_tab_tile(panes.to_vec());
        let dock = Dock::new(Tree::new(egui::Id::unique(TREE), root, tiles));
        assert!(dock.is_open("experiment"));
        assert!(!dock.is_open("a_panel_of_another_version"));
    }
}
