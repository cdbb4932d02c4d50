//! What the user can ask for, and the registry that menus, keys and the palette are made from.

use super::State;
use super::draft::Section;
use crate::devices::Device;
use egui::{Key, KeyboardShortcut, Modifiers};
use nullcline_data::settings::Value;
use std::path::PathBuf;

/// Something to do. Commands are gathered while a frame is drawn and carried out at its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Begin an experiment from the example of this name.
    OpenExample(&'static str),
    /// Ask for a run folder and open it.
    ChooseRun,
    /// Ask for an experiment file and open it.
    ChooseExperiment,
    /// Open a run folder or an experiment file.
    Open(PathBuf),
    /// Go back to the start screen.
    Start,
    /// Ask where to save the experiment, and save it.
    SaveExperiment,
    /// Ask where to write a figure, and write it.
    ExportFigure(&'static str),
    /// Train, analyse and draw in a run folder; goes on where an earlier run stopped.
    Run,
    /// Hold training, or let it go on.
    TogglePause,
    /// Save a checkpoint and end.
    Stop,
    /// Run, pause or go on, whichever applies.
    Play,
    /// Analyse and draw the run folder anew.
    Analyze,
    /// Give a key of the experiment a value; `None` puts it back to its default.
    Edit {
        /// The table.
        section: Section,
        /// The key.
        key: &'static str,
        /// The value.
        value: Option<Value>,
    },
    /// Ask for a file for a key of the experiment.
    ChooseFile {
        /// The table.
        section: Section,
        /// The key.
        key: &'static str,
    },
    /// Undo the last edit of the experiment.
    Undo,
    /// Redo it.
    Redo,
    /// Select a fixed point everywhere, or none.
    Select(Option<u64>),
    /// Show another network of the ensemble.
    ShowNetwork(u64),
    /// Train on another device from the next run on.
    UseDevice(Device),
    /// Open or close a panel.
    TogglePanel(String),
    /// Bring a panel to the front, opening it if need be.
    ShowPanel(String),
    /// Put the panels back to where they are at first.
    ResetLayout,
    /// Switch between light and dark colours.
    ToggleDark,
    /// Switch full screen on or off.
    ToggleFullScreen,
    /// Open or close the command palette.
    TogglePalette,
    /// Open or close the list of shortcuts.
    ToggleHelp,
    /// Close what lies on top: palette, help, error; else select nothing.
    Dismiss,
    /// End the program.
    Quit,
}

/// A command that a menu, a key or the palette gives.
pub struct Action {
    /// What it is called.
    pub title: &'static str,
    /// One sentence more.
    pub doc: &'static str,
    /// Its key.
    pub shortcut: Option<KeyboardShortcut>,
    /// The command.
    pub command: Command,
    /// Whether it can be done now; if not, why.
    pub available: fn(&State) -> Result<(), &'static str>,
}

const CONTROL: Modifiers = Modifiers::COMMAND;
const CONTROL_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);

const fn keys(modifiers: Modifiers, key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(modifiers, key))
}

fn always(_: &State) -> Result<(), &'static str> {
    Ok(())
}

fn idle(state: &State) -> Result<(), &'static str> {
    if state.work.is_some() {
        Err("Stop what is at work first.")
    } else {
        Ok(())
    }
}

fn has_experiment(state: &State) -> Result<(), &'static str> {
    if state.draft.is_some() {
        Ok(())
    } else {
        Err("Open an experiment first.")
    }
}

fn can_run(state: &State) -> Result<(), &'static str> {
    idle(state)?;
    let draft = state.draft.as_ref().ok_or("Open an experiment first.")?;
    if draft.is_sound() {
        Ok(())
    } else {
        Err("Mend what is marked red in the experiment first.")
    }
}

fn is_running(state: &State) -> Result<(), &'static str> {
    if state.work.is_some() {
        Ok(())
    } else {
        Err("Nothing is at work.")
    }
}

fn is_training(state: &State) -> Result<(), &'static str> {
    if state.work.as_ref().is_some_and(|work| work.is_training()) {
        Ok(())
    } else {
        Err("No training is at work.")
    }
}

fn can_play(state: &State) -> Result<(), &'static str> {
    is_training(state).or_else(|_| can_run(state))
}

fn can_analyze(state: &State) -> Result<(), &'static str> {
    idle(state)?;
    if state.folder.is_some() {
        Ok(())
    } else {
        Err("Run the experiment or open a run folder first.")
    }
}

fn can_undo(state: &State) -> Result<(), &'static str> {
    idle(state)?;
    match &state.draft {
        Some(draft) if draft.can_undo() => Ok(()),
        _ => Err("No edit to undo."),
    }
}

fn can_redo(state: &State) -> Result<(), &'static str> {
    idle(state)?;
    match &state.draft {
        Some(draft) if draft.can_redo() => Ok(()),
        _ => Err("No edit to redo."),
    }
}

/// Every action. The help window, the palette and the keys follow from this list.
pub static ACTIONS: &[Action] = &[
    Action {
        title: "Command palette",
        doc: "Find any command by its name.",
        shortcut: keys(CONTROL, Key::P),
        command: Command::TogglePalette,
        available: always,
    },
    Action {
        title: "Start screen",
        doc: "Choose an example or open something else.",
        shortcut: keys(CONTROL, Key::N),
        command: Command::Start,
        available: idle,
    },
    Action {
        title: "Open run folder…",
        doc: "Show the results of a run and continue it.",
        shortcut: keys(CONTROL, Key::O),
        command: Command::ChooseRun,
        available: idle,
    },
    Action {
        title: "Open experiment…",
        doc: "Load an experiment file (TOML).",
        shortcut: keys(CONTROL_SHIFT, Key::O),
        command: Command::ChooseExperiment,
        available: idle,
    },
    Action {
        title: "Save experiment…",
        doc: "Write the experiment as a commented TOML file.",
        shortcut: keys(CONTROL, Key::S),
        command: Command::SaveExperiment,
        available: has_experiment,
    },
    Action {
        title: "Run",
        doc: "Train, analyse and draw; continues where the run folder stopped.",
        shortcut: keys(CONTROL, Key::R),
        command: Command::Run,
        available: can_run,
    },
    Action {
        title: "Run, pause or continue",
        doc: "Whichever applies.",
        shortcut: keys(Modifiers::NONE, Key::Space),
        command: Command::Play,
        available: can_play,
    },
    Action {
        title: "Pause or continue",
        doc: "Hold training between two updates, or let it go on.",
        shortcut: keys(CONTROL_SHIFT, Key::P),
        command: Command::TogglePause,
        available: is_training,
    },
    Action {
        title: "Stop",
        doc: "Save a checkpoint and end; Run continues.",
        shortcut: keys(CONTROL, Key::Period),
        command: Command::Stop,
        available: is_running,
    },
    Action {
        title: "Analyse",
        doc: "Analyse and draw the run folder anew, with the analyses' settings as they are now.",
        shortcut: keys(CONTROL_SHIFT, Key::A),
        command: Command::Analyze,
        available: can_analyze,
    },
    Action {
        title: "Undo",
        doc: "Undo the last edit of the experiment.",
        shortcut: keys(CONTROL, Key::Z),
        command: Command::Undo,
        available: can_undo,
    },
    Action {
        title: "Redo",
        doc: "Redo it.",
        shortcut: keys(CONTROL_SHIFT, Key::Z),
        command: Command::Redo,
        available: can_redo,
    },
    Action {
        title: "Light or dark",
        doc: "Switch the colours of the window. Figures stay as they are printed.",
        shortcut: keys(CONTROL, Key::D),
        command: Command::ToggleDark,
        available: always,
    },
    Action {
        title: "Reset layout",
        doc: "Put the panels back to where they were at first.",
        shortcut: None,
        command: Command::ResetLayout,
        available: always,
    },
    Action {
        title: "Full screen",
        doc: "Switch full screen on or off.",
        shortcut: keys(Modifiers::NONE, Key::F11),
        command: Command::ToggleFullScreen,
        available: always,
    },
    Action {
        title: "Keyboard shortcuts",
        doc: "This list.",
        shortcut: keys(Modifiers::NONE, Key::Questionmark),
        command: Command::ToggleHelp,
        available: always,
    },
    Action {
        title: "Close or deselect",
        doc: "Close what lies on top; else select no fixed point.",
        shortcut: keys(Modifiers::NONE, Key::Escape),
        command: Command::Dismiss,
        available: always,
    },
    Action {
        title: "Quit",
        doc: "Save a checkpoint of what is at work and end.",
        shortcut: keys(CONTROL, Key::Q),
        command: Command::Quit,
        available: always,
    },
];

/// The action of a command.
pub fn action(command: &Command) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.command == *command)
}

/// A shortcut as people write it: `Ctrl+.` and `?` rather than `Ctrl+Period` and `Questionmark`.
pub fn shortcut_text(context: &egui::Context, shortcut: &KeyboardShortcut) -> String {
    let key = shortcut.logical_key;
    context
        .format_shortcut(shortcut)
        .replace(key.name(), key.symbol_or_name())
}

/// Takes the shortcuts that were pressed out of the input, as commands that can be done now.
///
/// While a text is being edited only keys with Ctrl count, and undo and redo belong to the text.
pub fn pressed(context: &egui::Context, state: &State) -> Vec<Command> {
    let editing = context.egui_wants_keyboard_input();
    let counts = |action: &Action| {
        let belongs_to_text = match action.command {
            Command::Undo | Command::Redo => true,
            Command::ToggleFullScreen => false,
            _ => !action
                .shortcut
                .is_some_and(|shortcut| shortcut.modifiers.command),
        };
        !(editing && belongs_to_text) && (action.available)(state).is_ok()
    };
    context.input_mut(|input| taken(input, counts))
}

fn taken(input: &mut egui::InputState, counts: impl Fn(&Action) -> bool) -> Vec<Command> {
    // A shortcut with fewer modifiers also matches when more are held: the most specific comes first.
    let mut actions: Vec<(&Action, KeyboardShortcut)> = ACTIONS
        .iter()
        .filter_map(|action| Some((action, action.shortcut?)))
        .collect();
    actions.sort_by_key(|(_, shortcut)| {
        std::cmp::Reverse(u8::from(shortcut.modifiers.shift) + u8::from(shortcut.modifiers.command))
    });
    actions
        .into_iter()
        .filter(|(action, shortcut)| counts(action) && input.consume_shortcut(shortcut))
        .map(|(action, _)| action.command.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_shortcuts_clash() {
        for (i, a) in ACTIONS.iter().enumerate() {
            for b in &ACTIONS[..i] {
                assert_ne!(a.title, b.title);
                assert_ne!(a.command, b.command);
                if let (Some(x), Some(y)) = (a.shortcut, b.shortcut) {
                    assert_ne!(x, y, "{} and {}", a.title, b.title);
                }
            }
        }
    }

    #[test]
    fn each_shortcut_gives_its_own_command_and_no_other() {
        for action in ACTIONS {
            let Some(shortcut) = action.shortcut else {
                continue;
            };
            let mut input = egui::InputState::default();
            input.events.push(egui::Event::Key {
                key: shortcut.logical_key,
                physical_key: None,
                pressed: true,
                repeat: false,
                modifiers: shortcut.modifiers,
            });
            let commands = taken(&mut input, |_| true);
            assert_eq!(commands, vec![action.command.clone()], "{}", action.title);
        }
    }

    #[test]
    fn what_cannot_be_done_is_not_done() {
        let state = State::default();
        for command in [
            Command::Run,
            Command::Stop,
            Command::Undo,
            Command::SaveExperiment,
            Command::Analyze,
        ] {
            assert!(
                (action(&command).unwrap().available)(&state).is_err(),
                "{command:?}"
            );
        }
        assert!((action(&Command::ChooseRun).unwrap().available)(&state).is_ok());
    }
}
