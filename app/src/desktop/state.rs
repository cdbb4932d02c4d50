//! What the window knows: the experiment in the form, the results on show, what is at work, the log.

use super::draft::Draft;
use super::snapshot::Snapshot;
use super::worker::{Phase, Progress, Worker};
use crate::devices::Device;
use crate::drawings::FIGURES;
use nullcline_figures::Figure;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// How serious a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something happened.
    Note,
    /// Something went wrong.
    Error,
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// When.
    pub time: SystemTime,
    /// How serious.
    pub level: Level,
    /// What, in full.
    pub text: String,
}

/// Figures of a recording, which come to the front of their tabs when they are there: of two in the same tabs, the later.
pub(super) const OF_RECORDINGS: [&str; 3] = ["generated", "delay_space", "attractor"];

/// Lines that the log keeps.
const KEPT_LINES: usize = 2000;

/// Work that goes on in the background; there is one at a time.
pub struct Work {
    /// The thread and the hand on it.
    pub(super) worker: Worker,
    /// What it does.
    pub phase: Phase,
    /// How far training is, once it has begun.
    pub progress: Option<Progress>,
}

impl Work {
    /// Whether networks are being trained.
    pub fn is_training(&self) -> bool {
        self.phase == Phase::Training
    }

    /// Whether training is held.
    pub fn is_paused(&self) -> bool {
        self.is_training() && self.worker.control.is_paused()
    }

    /// Whether it has been asked to end.
    pub fn is_stopping(&self) -> bool {
        self.worker.control.is_stopped()
    }
}

/// Everything that the panels read. They change nothing themselves: they give commands.
#[derive(Default)]
pub struct State {
    /// The experiment in the form; `None` on the start screen.
    pub draft: Option<Draft>,
    /// The run folder that is shown or written to.
    pub folder: Option<PathBuf>,
    /// The results on show.
    pub snapshot: Option<Snapshot>,
    /// Figures of the run at work that are newer than the results on show, by name.
    pub(super) live_figures: BTreeMap<&'static str, Arc<Figure>>,
    /// Whether the results are of a run still training.
    pub is_live: bool,
    /// The selected fixed point.
    pub selected: Option<u64>,
    /// The device that the next run trains on.
    pub device: Device,
    /// Name and description of the devices there are; empty until they have been asked.
    pub devices: Vec<(String, String)>,
    /// What is at work.
    pub work: Option<Work>,
    /// How far training was when it ended.
    pub last_progress: Option<Progress>,
    /// How the last work ended, in a few words.
    pub outcome: Option<&'static str>,
    /// What happened, the latest last.
    pub log: Vec<LogEntry>,
    /// The last error, until it is dismissed.
    pub banner: Option<String>,
    /// Which figures of a recording were among the results last shown.
    pub(super) has_shown: [bool; OF_RECORDINGS.len()],
}

impl State {
    /// Adds a line to the log.
    pub fn note(&mut self, text: impl Into<String>) {
        self.push(Level::Note, text.into());
    }

    /// Adds an error to the log and shows it above the panels.
    pub fn fail(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.banner = Some(text.clone());
        self.push(Level::Error, text);
    }

    fn push(&mut self, level: Level, text: String) {
        self.log.push(LogEntry {
            time: SystemTime::now(),
            level,
            text,
        });
        if self.log.len() > KEPT_LINES {
            self.log.remove(0);
        }
    }

    /// Takes new results; the selection moves to the fixed point nearest to where it was.
    pub(super) fn take(&mut self, snapshot: Snapshot, live: bool) {
        for fault in &snapshot.faults {
            // A fault of every live picture would fill the log.
            if !self
                .log
                .iter()
                .rev()
                .take(20)
                .any(|entry| entry.text == *fault)
            {
                self.push(Level::Error, fault.clone());
            }
        }
        self.selected = match (self.selected, &self.snapshot) {
            (Some(id), Some(before)) if before.network == snapshot.network => before
                .point(id)
                .and_then(|point| snapshot.nearest(&point.state)),
            _ => None,
        };
        if !live {
            self.live_figures.clear();
        }
        self.snapshot = Some(snapshot);
        self.is_live = live;
    }

    /// The figure of this name as it is to be shown.
    pub fn figure(&self, name: &str) -> Option<&Arc<Figure>> {
        self.live_figures
            .get(name)
            .or_else(|| self.snapshot.as_ref()?.figures.get(name))
    }

    /// The names of all figures that can be shown.
    pub fn figure_names(&self) -> Vec<&'static str> {
        FIGURES
            .iter()
            .map(|kind| kind.name)
            .filter(|name| self.figure(name).is_some())
            .collect()
    }

    /// Forgets the results and the folder they are in.
    pub(super) fn clear_results(&mut self) {
        self.snapshot = None;
        self.live_figures.clear();
        self.selected = None;
        self.folder = None;
        self.is_live = false;
        self.last_progress = None;
        self.outcome = None;
    }
}
