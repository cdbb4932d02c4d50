//! Progress on standard error: a bar where that is a terminal, plain lines now and then otherwise.

use crate::session::Event;
use indicatif::{ProgressBar, ProgressStyle};
use nullcline_models::training::{HistoryRow, Status};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Time between two changes of the bar of an analysis.
const BAR_EVERY: Duration = Duration::from_millis(200);
/// Parts of the bar of an analysis.
const BAR_PARTS: u64 = 1000;

/// Shows a run's events.
pub struct Progress {
    bar: Option<ProgressBar>,
    terminal: bool,
    last_line: Instant,
    /// The analysis at work, when it was first heard of, when its part was last shown.
    analysis: Option<(String, Instant, Instant)>,
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
            analysis: None,
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
                let loss = held_out_loss(trainer.history());
                let networks = trainer.ensemble().len();
                let mut words = if networks > 1 {
                    format!("{rate:.0} network-updates/s, {running} of {networks} networks at work")
                } else {
                    format!("{rate:.0} updates/s")
                };
                if let Some(loss) = loss {
                    let which = if networks > 1 {
                        "median held-out"
                    } else {
                        "held-out"
                    };
                    words += &format!(", {which} loss {loss:.3e}");
                }
                if seconds_left.is_finite() && running > 0 {
                    words += &format!(", at most {} left", duration(seconds_left));
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
            Event::Analysis { name } => {
                self.finish();
                self.line(&format!("analyse: {name}"));
            }
            Event::Progress { name, done } => self.part_done(name, done),
            Event::Figure { name } => self.line(&format!("draw: {name}")),
            Event::Note(text) => self.line(&text),
        }
    }

    /// How far an analysis is, with the time left; nothing of analyses that take no time.
    fn part_done(&mut self, name: &str, done: f64) {
        let now = Instant::now();
        let (begun, shown) = match &self.analysis {
            Some((of, begun, shown)) if of == name => (*begun, *shown),
            _ => (now, now),
        };
        let due = if self.terminal { BAR_EVERY } else { LINE_EVERY };
        let is_due = now - shown >= due;
        self.analysis = Some((name.to_owned(), begun, if is_due { now } else { shown }));
        if !is_due {
            return;
        }
        let left = (now - begun).as_secs_f64() * (1.0 - done) / done.max(1e-9);
        let words = format!("{:.0} %, about {} left", 100.0 * done, duration(left));
        if !self.terminal {
            eprintln!("analyse: {name}, {words}");
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(BAR_PARTS);
            if let Ok(style) = ProgressStyle::with_template("analyse {bar:30}  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position((done * BAR_PARTS as f64) as u64);
        bar.set_message(format!("{name}, {words}"));
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

/// The held-out loss of the last evaluation, the median over the networks it was made of.
fn held_out_loss(history: &[HistoryRow]) -> Option<f64> {
    let evaluated = || {
        history
            .iter()
            .rev()
            .filter(|row| row.held_out_loss.is_some())
    };
    let update = evaluated().next()?.update;
    let mut losses: Vec<f64> = evaluated()
        .take_while(|row| row.update == update)
        .filter_map(|row| row.held_out_loss)
        .collect();
    losses.sort_by(f64::total_cmp);
    losses.get((losses.len() - 1) / 2).copied()
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
    use super::*;

    #[test]
    fn the_loss_of_an_ensemble_is_the_median_of_its_last_evaluation() {
        let row = |update, network, held_out_loss| HistoryRow {
            update,
            network,
            loss: 9.0,
            held_out_loss,
            metrics: Vec::new(),
            learning_rate: 0.1,
            alpha: None,
            seconds: 0.0,
        };
        let mut history = vec![row(1, 0, None)];
        assert_eq!(held_out_loss(&history), None);
        history.extend([
            row(50, 0, Some(5.0)),
            row(50, 1, Some(6.0)),
            row(60, 0, None),
        ]);
        assert_eq!(held_out_loss(&history), Some(5.0));
        history.extend([3.0, 1.0, 2.0].map(|loss| row(100, 0, Some(loss))));
        assert_eq!(held_out_loss(&history), Some(2.0));
    }

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
