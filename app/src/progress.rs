//! Progress on standard error: a bar where that is a terminal, plain lines now and then otherwise.

use crate::session::Event;
use indicatif::{ProgressBar, ProgressStyle};
use nullcline_models::training::Status;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows a run's events.
pub struct Progress {
    bar: Option<ProgressBar>,
    terminal: bool,
    last_line: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

impl Progress {
    /// Nothing shown yet.
    pub fn new() -> Self {
        Progress {
            bar: None,
            terminal: std::io::stderr().is_terminal(),
            last_line: Instant::now(),
        }
    }

    /// Shows an event.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::Update {
                trainer,
                built,
                rate,
                seconds_left,
                ..
            } => {
                let updates = built.training.updates;
                let running = trainer
                    .statuses()
                    .iter()
                    .filter(|s| **s == Status::Running)
                    .count();
                let loss = trainer
                    .history()
                    .iter()
                    .rev()
                    .find_map(|row| row.held_out_loss);
                let networks = trainer.ensemble().len();
                let mut words = format!("{rate:.0} updates/s");
                if let Some(loss) = loss {
                    words += &format!(", held-out loss {loss:.3e}");
                }
                if networks > 1 {
                    words += &format!(", {running} of {networks} networks at work");
                }
                if seconds_left.is_finite() && running > 0 {
                    words += &format!(", {} left", duration(seconds_left));
                }
                if self.terminal {
                    let bar = self.bar.get_or_insert_with(|| {
                        let bar = ProgressBar::new(updates);
                        if let Ok(style) =
                            ProgressStyle::with_template("train {bar:30} {pos}/{len}  {msg}")
                        {
                            bar.set_style(style);
                        }
                        bar
                    });
                    bar.set_position(trainer.update());
                    bar.set_message(words);
                } else if trainer.is_done() || self.last_line.elapsed() >= LINE_EVERY {
                    self.last_line = Instant::now();
                    eprintln!("train: update {} of {updates}, {words}", trainer.update());
                }
            }
            Event::Checkpoint { .. } => {}
            Event::Analysis { name } => self.line(&format!("analyse: {name}")),
            Event::Figure { name } => self.line(&format!("draw: {name}")),
            Event::Note(text) => self.line(&text),
        }
    }

    fn line(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }

    /// Leaves the bar as it stands; what comes next starts on a new line.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}

/// Seconds as people say them: 42 s, 3 min 5 s, 2 h 10 min.
pub fn duration(seconds: f64) -> String {
    let total = seconds.round().max(0.0) as u64;
    match total {
        0..60 => format!("{total} s"),
        60..3600 => format!("{} min {} s", total / 60, total % 60),
        _ => format!("{} h {} min", total / 3600, total / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_read_well() {
        for (seconds, text) in [
            (0.2, "0 s"),
            (59.4, "59 s"),
            (125.0, "2 min 5 s"),
            (7800.0, "2 h 10 min"),
        ] {
            assert_eq!(super::duration(seconds), text);
        }
    }
}
