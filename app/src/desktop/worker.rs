//! Work off the thread that draws: opening, training, analysing, drawing, saving, asking for files.
//!
//! Every job runs on a thread of its own and reports through one channel. Training, analysing and opening
//! share one place, so that there is one at a time; their messages carry the number of their job.

use super::Open;
use super::draft::Section;
use super::snapshot::Snapshot;
use super::stand_back;
use crate::devices::{self, Device, Devices, WindowDevice};
use crate::drawings;
use crate::experiment::Experiment;
use crate::results::{Results, TRAINING};
use crate::session::{self, Control, Event, Fault, FigureOptions, Outcome};
use crossbeam_channel::{Receiver, Sender};
use nullcline_data::Error;
use nullcline_data::run_folder::RunFolder;
use nullcline_data::settings::{Document, Value};
use nullcline_figures::Figure;
use nullcline_models::engine::CpuEngine;
use nullcline_models::ensemble::Ensemble;
use nullcline_models::training::Trainer;
use nullcline_tasks::Task;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Least time between two reports of progress: at most twenty a second.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);
/// The same where the processor draws the window.
const PROGRESS_EVERY_IN_SOFTWARE: Duration = Duration::from_millis(250);
/// Least time between two drawings of the training curve.
const CURVE_EVERY: Duration = Duration::from_millis(250);
/// Largest part of the training thread's time that goes into drawing the training curve.
const CURVE_SHARE: f64 = 0.05;
/// Least time between two analyses of a network that trains.
const LIVE_EVERY: Duration = Duration::from_secs(1);
/// Largest part of the time that such analyses are at work, on one core.
const LIVE_SHARE: f64 = 0.3;
/// Starts of the fixed-point search of such an analysis, at most.
const LIVE_STARTS: i64 = 256;
/// Steps of the free run of such an analysis, at most.
const LIVE_STEPS: i64 = 5000;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Files are read.
    Opening,
    /// The experiment is checked and its run folder made.
    Preparing,
    /// Networks are trained.
    Training,
    /// An analysis is run, so many per cent of which are done.
    Analyzing(&'static str, u8),
    /// Figures are drawn into files.
    Drawing,
}

/// How far training is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Updates made.
    pub update: u64,
    /// Updates to make at most.
    pub updates: u64,
    /// Loss of the last row of the training table; NaN before the first.
    pub loss: f64,
    /// Updates per second.
    pub rate: f64,
    /// Seconds left at this rate.
    pub seconds_left: f64,
}

impl Progress {
    /// How far the training of a run folder is, by the last row of its training table.
    fn of(results: &Results) -> nullcline_data::Result<Option<Progress>> {
        let Some(table) = results.table(TRAINING) else {
            return Ok(None);
        };
        let (updates, losses) = (table.u64_column("update")?, table.f64_column("loss")?);
        Ok(updates
            .last()
            .zip(losses.last())
            .map(|(update, loss)| Progress {
                update: *update,
                updates: results
                    .experiment
                    .training
                    .integer("updates")
                    .unsigned_abs(),
                loss: *loss,
                ..Progress::default()
            }))
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All is done.
    Done,
    /// The user stopped it.
    Stopped,
    /// It failed, and why.
    Failed(String),
}

/// What a thread reports.
pub enum Message {
    /// Name and description of the devices there are.
    Devices(Vec<(String, String)>),
    /// An experiment was read, with its run folder and results if it has any.
    Opened {
        experiment: Box<Experiment>,
        folder: Option<PathBuf>,
        snapshot: Option<Snapshot>,
        progress: Option<Progress>,
    },
    /// The run folder that is written to.
    Folder(PathBuf),
    /// Something else is done now.
    Phase(Phase),
    /// How far training is.
    Progress(Progress),
    /// A figure of the run at work.
    Figure(&'static str, Arc<Figure>),
    /// Results of the networks as they are in training.
    Live(Snapshot),
    /// Results of the run folder.
    Results(Snapshot),
    /// Something for the log.
    Note(String),
    /// The job has ended.
    End(End),
    /// The results of a run folder, drawn for another network.
    Redrawn(Option<PathBuf>, Snapshot),
    /// A file or folder was chosen, and what for.
    Chosen(Purpose, PathBuf),
    /// A side job failed.
    Failed(String),
}

/// What a file was chosen for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To open it.
    Open,
    /// To save the experiment.
    Save(Box<Experiment>),
    /// To write a figure.
    Export(Arc<Figure>, Box<Experiment>),
    /// As the value of a key.
    Key(Section, &'static str),
}

/// A message with the job it comes from; side jobs have number 0.
pub struct Report {
    pub job: u64,
    pub message: Message,
}

/// The reporting end of a job.
#[derive(Clone)]
struct Reporter {
    job: u64,
    sender: Sender<Report>,
    context: egui::Context,
}

impl Reporter {
    fn send(&self, message: Message) {
        // The receiver is gone only when the window is closed.
        let _ = self.sender.send(Report {
            job: self.job,
            message,
        });
        self.context.request_repaint();
    }
}

/// A thread at work, and the hand on it.
pub struct Worker {
    /// Its number.
    pub job: u64,
    /// To pause and stop it.
    pub control: Arc<Control>,
    handle: Option<JoinHandle<()>>,
}

impl Worker {
    /// Whether the thread has ended.
    pub fn is_over(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks it to save and end, and waits for that, up to a limit: an analysis sees the wish only between
    /// its parts, and leaving it loses nothing that is not made again.
    pub fn finish(&mut self, limit: Duration) {
        self.control.stop();
        let begun = Instant::now();
        while !self.is_over() && begun.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.reap();
    }

    /// Takes the thread's end; gives what it said if it panicked.
    pub fn reap(&mut self) -> Option<String> {
        if !self.is_over() {
            return None;
        }
        let panic = self.handle.take()?.join().err()?;
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Some(text.unwrap_or_else(|| "without saying why".to_owned()))
    }
}

/// Starts jobs and receives what they report.
pub struct Jobs {
    sender: Sender<Report>,
    receiver: Receiver<Report>,
    context: egui::Context,
    next: u64,
    /// The window's own device, where it has one.
    window: Option<WindowDevice>,
    /// Time between two reports of progress.
    progress_every: Duration,
}

impl Jobs {
    /// Jobs that ask this window to be drawn when they have something to report.
    pub fn new(context: egui::Context) -> Jobs {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Jobs {
            sender,
            receiver,
            context,
            next: 1,
            window: None,
            progress_every: PROGRESS_EVERY,
        }
    }

    /// Shares the device that draws the window with training.
    pub fn share(&mut self, window: WindowDevice) {
        self.window = Some(window);
    }

    /// The window is drawn by the processor: progress is reported less often, or drawing it would cost more than
    /// training.
    pub fn spare_frames(&mut self) {
        self.progress_every = PROGRESS_EVERY_IN_SOFTWARE;
    }

    /// Time between two reports of progress.
    pub fn progress_every(&self) -> Duration {
        self.progress_every
    }

    /// Asks what devices there are. Drivers take their time.
    pub fn list_devices(&self) {
        self.aside(|| Some(Message::Devices(devices::list())));
    }

    /// What has been reported since the last call.
    pub fn reports(&self) -> Vec<Report> {
        self.receiver.try_iter().collect()
    }

    fn start(
        &mut self,
        job: impl FnOnce(&Reporter, &Control) -> Outcome<()> + Send + 'static,
    ) -> Worker {
        let reporter = Reporter {
            job: self.next,
            sender: self.sender.clone(),
            context: self.context.clone(),
        };
        self.next += 1;
        let control = Arc::new(Control::default());
        let hand = Arc::clone(&control);
        let number = reporter.job;
        let body = move || {
            stand_back();
            let end = match job(&reporter, &hand) {
                Ok(()) => End::Done,
                Err(Fault::Stopped) => End::Stopped,
                Err(fault) => End::Failed(fault.to_string()),
            };
            reporter.send(Message::End(end));
        };
        let handle = std::thread::Builder::new()
            .name("nullcline worker".into())
            .spawn(body);
        if let Err(error) = &handle {
            let text = format!("cannot start a thread: {error}");
            let _ = self.sender.send(Report {
                job: number,
                message: Message::End(End::Failed(text)),
            });
        }
        Worker {
            job: number,
            control,
            handle: handle.ok(),
        }
    }

    /// Runs something short beside the rest; it reports what it returns.
    fn aside(&self, job: impl FnOnce() -> Option<Message> + Send + 'static) {
        let reporter = Reporter {
            job: 0,
            sender: self.sender.clone(),
            context: self.context.clone(),
        };
        let failed = reporter.clone();
        let body = move || {
            if let Some(message) = job() {
                reporter.send(message);
            }
        };
        if let Err(error) = std::thread::Builder::new()
            .name("nullcline aside".into())
            .spawn(body)
        {
            failed.send(Message::Failed(format!("cannot start a thread: {error}")));
        }
    }

    /// Reads a run folder or an experiment file.
    pub fn open(&mut self, open: Open) -> Worker {
        self.start(move |reporter, _| {
            reporter.send(match open {
                Open::Experiment(path) => {
                    let experiment = Experiment::read(&path, &[])?;
                    Message::Opened {
                        experiment: Box::new(experiment),
                        folder: None,
                        snapshot: None,
                        progress: None,
                    }
                }
                Open::Run(path) => {
                    let path = std::path::absolute(&path).unwrap_or(path);
                    let folder = RunFolder::open(&path)?;
                    let results = Results::load(&folder)?;
                    let experiment = Box::new(results.experiment.clone());
                    let network = experiment.figures.count("network") as u64;
                    let progress = Progress::of(&results)?;
                    let snapshot = Some(Snapshot::new(Arc::new(results), network));
                    Message::Opened {
                        experiment,
                        folder: Some(path),
                        snapshot,
                        progress,
                    }
                }
            });
            Ok(())
        })
    }

    /// Reads an experiment that is compiled into the program.
    pub fn open_text(&mut self, name: &'static str, text: &'static str) -> Worker {
        self.start(move |reporter, _| {
            let experiment = Experiment::from_document(&Document::parse(name, text)?)?;
            let experiment = Box::new(experiment);
            reporter.send(Message::Opened {
                experiment,
                folder: None,
                snapshot: None,
                progress: None,
            });
            Ok(())
        })
    }

    /// Trains, analyses and draws an experiment, in `preferred` if that is its run folder, else in its own
    /// under `runs`.
    pub fn run(
        &mut self,
        experiment: Experiment,
        preferred: Option<PathBuf>,
        runs: PathBuf,
        device: Device,
    ) -> Worker {
        let devices = Devices {
            asked: device,
            window: self.window.clone(),
        };
        let progress_every = self.progress_every;
        self.start(move |reporter, control| {
            reporter.send(Message::Phase(Phase::Preparing));
            let folder = run_folder(&experiment, preferred.as_deref(), &runs)?;
            reporter.send(Message::Folder(folder.path().to_owned()));
            reporter.send(Message::Phase(Phase::Training));
            let command = vec![
                "nullcline".to_owned(),
                "run".to_owned(),
                folder.experiment_path().display().to_string(),
                "--out".to_owned(),
                folder.path().display().to_string(),
                "--device".to_owned(),
                devices.asked.to_string(),
            ];
            let mut watch = Watch::new(reporter.clone(), experiment.clone(), progress_every);
            session::train(
                &folder,
                &experiment,
                &devices,
                &command,
                control,
                &mut |event| {
                    watch.observe(event);
                },
            )?;
            drop(watch);
            analyze_and_draw(&folder, &experiment, reporter, control)
        })
    }

    /// Analyses and draws a run folder anew.
    pub fn analyze(&mut self, experiment: Experiment, folder: PathBuf) -> Worker {
        self.start(move |reporter, control| {
            reporter.send(Message::Phase(Phase::Preparing));
            // Refuses an experiment whose networks are not those of the folder.
            let folder = session::prepare(&folder, &experiment)?;
            analyze_and_draw(&folder, &experiment, reporter, control)
        })
    }

    /// Draws the results of a run folder for another network.
    pub fn redraw(&self, folder: Option<PathBuf>, results: Arc<Results>, network: u64) {
        self.aside(move || Some(Message::Redrawn(folder, Snapshot::new(results, network))));
    }

    /// Asks for a file or folder, by the dialog of the operating system.
    pub fn choose(&self, title: &'static str, what: Dialog, purpose: Purpose) {
        self.aside(move || {
            let dialog = rfd::FileDialog::new().set_title(title);
            let path = match what {
                Dialog::Folder => dialog.pick_folder(),
                Dialog::File(filters) => with_filters(dialog, filters).pick_file(),
                Dialog::Save(filters, name) => with_filters(dialog, filters)
                    .set_file_name(name)
                    .save_file(),
            };
            path.map(|path| Message::Chosen(purpose, path))
        });
    }

    /// Writes a commented experiment file.
    pub fn save(&self, experiment: Experiment, path: PathBuf) {
        self.aside(move || {
            let written =
                nullcline_data::write_atomically(&path, experiment.to_toml(true).as_bytes());
            Some(said(written.map_err(Fault::from), || {
                format!("saved {}", path.display())
            }))
        });
    }

    /// Writes a figure; the file's extension picks the format.
    pub fn export(&self, figure: Arc<Figure>, experiment: Experiment, path: PathBuf) {
        self.aside(move || {
            let format = path
                .extension()
                .map(|e| e.to_string_lossy().to_lowercase())
                .unwrap_or_default();
            let width = experiment.figures.number("width");
            let written = session::figure_bytes(&experiment, &figure, &format, width)
                .and_then(|bytes| Ok(nullcline_data::write_atomically(&path, &bytes)?));
            Some(said(written, || {
                format!("wrote figure {} to {}", figure.name, path.display())
            }))
        });
    }
}

fn said(outcome: Outcome<()>, note: impl FnOnce() -> String) -> Message {
    match outcome {
        Ok(()) => Message::Note(note()),
        Err(fault) => Message::Failed(fault.to_string()),
    }
}

/// What a dialog asks for.
pub enum Dialog {
    /// A folder that is there.
    Folder,
    /// A file that is there, of these kinds.
    File(&'static [(&'static str, &'static [&'static str])]),
    /// A file to be written, of these kinds, with a name to begin with.
    Save(&'static [(&'static str, &'static [&'static str])], String),
}

fn with_filters(
    dialog: rfd::FileDialog,
    filters: &[(&'static str, &'static [&'static str])],
) -> rfd::FileDialog {
    filters.iter().fold(dialog, |dialog, (name, extensions)| {
        dialog.add_filter(*name, extensions)
    })
}

/// Whether two experiments train the same networks.
fn trains_the_same(a: &Experiment, b: &Experiment) -> bool {
    (&a.top, &a.task, &a.model, &a.training) == (&b.top, &b.task, &b.model, &b.training)
}

/// The run folder of an experiment: the one that is open if it is its own, else `runs/NAME`, or the first of
/// `runs/NAME-2`, `runs/NAME-3`, ... that is free or its own. Nothing of another experiment is touched.
fn run_folder(
    experiment: &Experiment,
    preferred: Option<&Path>,
    runs: &Path,
) -> Outcome<RunFolder> {
    experiment.build()?;
    let own = |path: &Path| {
        RunFolder::open(path)
            .and_then(|folder| Experiment::of_run(&folder))
            .is_ok_and(|present| trains_the_same(&present, experiment))
    };
    let numbered = |n: u64| match n {
        1 => runs.join(experiment.name()),
        n => runs.join(format!("{}-{n}", experiment.name())),
    };
    let path = preferred
        .filter(|path| own(path))
        .map(Path::to_owned)
        .or_else(|| {
            (1..=u64::from(u32::MAX))
                .map(numbered)
                .find(|path| !path.exists() || own(path))
        })
        .ok_or_else(|| {
            Error::argument("runs", "no free name", "a folder with room for another run")
        })?;
    session::prepare(&path, experiment)
}

fn analyze_and_draw(
    folder: &RunFolder,
    experiment: &Experiment,
    reporter: &Reporter,
    control: &Control,
) -> Outcome<()> {
    let network = experiment.figures.count("network") as u64;
    let show = |reporter: &Reporter| -> Outcome<()> {
        reporter.send(Message::Results(Snapshot::new(
            Arc::new(Results::load(folder)?),
            network,
        )));
        Ok(())
    };
    let mut engine = CpuEngine::new();
    let mut percent = 0;
    let mut observe = |event: Event| match event {
        Event::Analysis { name } => {
            percent = 0;
            reporter.send(Message::Phase(Phase::Analyzing(name, percent)));
        }
        Event::Progress { name, done } if percent != (100.0 * done) as u8 => {
            percent = (100.0 * done) as u8;
            reporter.send(Message::Phase(Phase::Analyzing(name, percent)));
        }
        Event::Note(text) => reporter.send(Message::Note(text)),
        _ => {}
    };
    let analyzed = session::analyze(folder, experiment, &mut engine, &[], control, &mut observe);
    // What was done before a fault or a stop is shown too.
    show(reporter)?;
    analyzed?;
    reporter.send(Message::Phase(Phase::Drawing));
    session::draw(folder, experiment, &FigureOptions::default(), &mut observe)
}

/// Watches training: reports progress, draws the training curve, and sends the networks to be analysed.
struct Watch {
    reporter: Reporter,
    live: Option<Live>,
    results: Results,
    begun: Instant,
    progress_every: Duration,
    reported: Option<Instant>,
    drawn: Option<Instant>,
    drawing_cost: Duration,
}

impl Watch {
    fn new(reporter: Reporter, experiment: Experiment, progress_every: Duration) -> Watch {
        Watch {
            live: Live::start(reporter.clone(), &experiment),
            results: Results::new(experiment),
            reporter,
            begun: Instant::now(),
            progress_every,
            reported: None,
            drawn: None,
            drawing_cost: Duration::ZERO,
        }
    }

    fn observe(&mut self, event: Event) {
        match event {
            Event::Update {
                trainer,
                built,
                rate,
                seconds_left,
                ..
            } => {
                let last = trainer.is_done();
                if last
                    || self
                        .reported
                        .is_none_or(|at| at.elapsed() >= self.progress_every)
                {
                    self.reported = Some(Instant::now());
                    self.reporter.send(Message::Progress(Progress {
                        update: trainer.update(),
                        updates: built.training.updates,
                        loss: trainer.history().last().map_or(f64::NAN, |row| row.loss),
                        rate,
                        seconds_left,
                    }));
                }
                let affordable = self.drawing_cost.as_secs_f64()
                    < CURVE_SHARE * self.begun.elapsed().as_secs_f64();
                let due = self
                    .drawn
                    .is_none_or(|at| at.elapsed() >= CURVE_EVERY && affordable);
                if last || due {
                    self.draw_curve(trainer, &*built.task);
                }
                if let Some(live) = &self.live {
                    live.offer(trainer.ensemble());
                }
            }
            // The refinement that follows the last update.
            Event::Progress { name, done } => {
                let percent = (100.0 * done) as u8;
                self.reporter
                    .send(Message::Phase(Phase::Analyzing(name, percent)));
            }
            Event::Note(text) => self.reporter.send(Message::Note(text)),
            _ => {}
        }
    }

    fn draw_curve(&mut self, trainer: &Trainer, task: &dyn Task) {
        let begun = Instant::now();
        // A table without rows yet, or a figure that cannot be drawn, is left for the next time; the figures
        // of the run folder report what is wrong with them.
        if session::add_training(&mut self.results, trainer, task).is_ok()
            && let Some(kind) = drawings::kind("training_curve")
            && let Ok(Some(figure)) = (kind.build)(&self.results)
        {
            self.reporter
                .send(Message::Figure(kind.name, Arc::new(figure)));
        }
        self.drawn = Some(Instant::now());
        self.drawing_cost += begun.elapsed();
    }
}

/// Analyses the shown network while it trains, on one core and at most [`LIVE_SHARE`] of the time, so that
/// fixed points are seen being born. What it finds is shown and not kept: the run folder gets the full
/// analysis of the trained networks.
struct Live {
    networks: Sender<Ensemble>,
    /// Whether the thread waits for networks.
    waiting: Arc<AtomicBool>,
    shown: usize,
}

impl Live {
    /// Starts the thread, which ends when this is dropped and its last analysis is over. `None` where no
    /// thread can be had: training goes on without being watched.
    fn start(reporter: Reporter, experiment: &Experiment) -> Option<Live> {
        let (networks, received) = crossbeam_channel::bounded::<Ensemble>(1);
        let waiting = Arc::new(AtomicBool::new(false));
        let waits = Arc::clone(&waiting);
        let shown = experiment
            .figures
            .count("network")
            .min(experiment.networks().saturating_sub(1));
        let experiment = light(experiment, shown);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .start_handler(|_| stand_back())
            .build()
            .ok()?;
        let body = move || {
            let Ok(built) = experiment.build() else {
                return;
            };
            let mut names = vec![
                "fixed_points".to_owned(),
                "linearization".into(),
                "state_space".into(),
            ];
            for name in ["trials", "free_run"] {
                if crate::analyses::kind(name)
                    .is_some_and(|kind| (kind.applies)(&*built.task, &built.architecture))
                {
                    names.push(name.to_owned());
                }
            }
            loop {
                waits.store(true, Ordering::Relaxed);
                let Ok(ensemble) = received.recv() else {
                    return;
                };
                let begun = Instant::now();
                let mut results = Results::new(experiment.clone());
                let analyzed = pool.install(|| {
                    session::analyze_ensemble(
                        &experiment,
                        &built,
                        &ensemble,
                        session::Snapshots::default(),
                        &mut CpuEngine::new(),
                        &names,
                        &mut results,
                        &Control::default(),
                        &mut |_| {},
                        &mut |_, _| Ok(()),
                    )
                });
                match analyzed {
                    Ok(()) => {
                        let mut snapshot = Snapshot::new(Arc::new(results), 0);
                        snapshot.network = shown as u64;
                        reporter.send(Message::Live(snapshot));
                    }
                    // A network early in training can be beyond analysis: the full one will say so if it
                    // stays that way.
                    Err(fault) => {
                        reporter.send(Message::Note(format!("analysis during training: {fault}")))
                    }
                }
                let cost = begun.elapsed();
                std::thread::sleep(
                    cost.mul_f64(1.0 / LIVE_SHARE - 1.0)
                        .max(LIVE_EVERY.saturating_sub(cost)),
                );
            }
        };
        std::thread::Builder::new()
            .name("nullcline live".into())
            .spawn(body)
            .ok()?;
        Some(Live {
            networks,
            waiting,
            shown,
        })
    }

    /// Gives the thread the shown network as it is, if it waits for one.
    fn offer(&self, ensemble: &Ensemble) {
        if self.waiting.swap(false, Ordering::Relaxed)
            && let Some(parameters) = ensemble.parameters.get(self.shown)
        {
            let one = Ensemble {
                architecture: ensemble.architecture.clone(),
                parameters: vec![parameters.clone()],
            };
            // There is room: the thread waits.
            let _ = self.networks.try_send(one);
        }
    }
}

/// The experiment of one of its networks, with smaller analyses.
fn light(experiment: &Experiment, network: usize) -> Experiment {
    let mut light = experiment.clone();
    // These values are within the range of their keys.
    let _ = light.top.set("networks", Value::Integer(1));
    let seed = experiment.seed().wrapping_add(network as u64).cast_signed();
    let _ = light.top.set("seed", Value::Integer(seed.max(0)));
    let _ = light.figures.set("network", Value::Integer(0));
    for (name, settings) in &mut light.analyses {
        let limits: &[(&str, i64)] = match *name {
            "fixed_points" => &[("starts", LIVE_STARTS)],
            "free_run" => &[("steps", LIVE_STEPS), ("kept", LIVE_STEPS)],
            _ => &[],
        };
        for (key, most) in limits {
            if let Some(value) = settings.optional_integer(key) {
                let _ = settings.set(key, Value::Integer(value.min(*most)));
            }
        }
    }
    light
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_folder_is_taken_up_again_or_a_free_one_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let runs = root.path().join("runs");
        let experiment = Experiment::defaults("flip_flop", "leaky").unwrap();
        let first = run_folder(&experiment, None, &runs).unwrap();
        assert_eq!(first.path(), runs.join("flip_flop"));
        // Its own folder again, also with other settings of an analysis, which are then written into it.
        let mut other = experiment.clone();
        let starts = other
            .analyses
            .iter_mut()
            .find(|(name, _)| *name == "fixed_points")
            .unwrap();
        starts.1.set("starts", Value::Integer(7)).unwrap();
        assert_eq!(
            run_folder(&other, None, &runs).unwrap().path(),
            first.path()
        );
        assert_eq!(Experiment::of_run(&first).unwrap(), other);
        // Another training gets a folder of its own.
        let mut longer = experiment.clone();
        longer.training.set("updates", Value::Integer(3)).unwrap();
        let second = run_folder(&longer, None, &runs).unwrap();
        assert_eq!(second.path(), runs.join("flip_flop-2"));
        assert_eq!(
            run_folder(&longer, None, &runs).unwrap().path(),
            second.path()
        );
        // The folder that is open is preferred if it is its own, and only then.
        let elsewhere = root.path().join("elsewhere");
        session::prepare(&elsewhere, &longer).unwrap();
        assert_eq!(
            run_folder(&longer, Some(&elsewhere), &runs).unwrap().path(),
            elsewhere
        );
        assert_eq!(
            run_folder(&experiment, Some(&elsewhere), &runs)
                .unwrap()
                .path(),
            first.path()
        );
    }

    #[test]
    fn the_analysis_during_training_is_of_one_network_and_smaller() {
        let mut experiment = Experiment::defaults("flip_flop", "leaky").unwrap();
        experiment.top.set("networks", Value::Integer(5)).unwrap();
        let light = light(&experiment, 3);
        assert_eq!((light.networks(), light.seed()), (1, experiment.seed() + 3));
        let starts = |experiment: &Experiment| {
            experiment
                .analysis("fixed_points")
                .unwrap()
                .integer("starts")
        };
        assert!(starts(&light) <= LIVE_STARTS && starts(&light) < starts(&experiment));
    }

    /// Waits for the next report of a side job.
    fn report(jobs: &Jobs) -> Message {
        let wait = Duration::from_secs(30);
        jobs.receiver.recv_timeout(wait).unwrap().message
    }

    #[test]
    fn experiments_are_saved_and_figures_written_in_the_format_of_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let jobs = Jobs::new(egui::Context::default());
        let experiment = Experiment::defaults("flip_flop", "leaky").unwrap();
        let path = folder.path().join("saved.toml");
        jobs.save(experiment.clone(), path.clone());
        assert!(matches!(report(&jobs), Message::Note(text) if text.contains("saved.toml")));
        assert_eq!(Experiment::read(&path, &[]).unwrap(), experiment);

        use nullcline_figures::figure::{Axis, Panel, Plane, Role, Series};
        let plane = Plane::new(Axis::new("x", "a.u."), Axis::new("y", "a.u."));
        let line = Series::line(vec![0.0, 1.0], vec![0.0, 1.0], Role::Target);
        let figure = Arc::new(Figure::new("line").panel(Panel::plane(plane.with(line))));
        for (name, begins) in [("a.svg", "<svg"), ("a.PDF", "%PDF")] {
            let path = folder.path().join(name);
            jobs.export(Arc::clone(&figure), experiment.clone(), path.clone());
            assert!(matches!(report(&jobs), Message::Note(_)), "{name}");
            let bytes = std::fs::read(&path).unwrap();
            let head = String::from_utf8_lossy(&bytes[..200.min(bytes.len())]).into_owned();
            assert!(head.contains(begins), "{head}");
        }
        let path = folder.path().join("a.docx");
        jobs.export(figure, experiment, path.clone());
        assert!(matches!(report(&jobs), Message::Failed(text) if text.contains("svg, pdf, png")));
        assert!(!path.exists());
    }

    #[test]
    fn a_thread_that_panics_is_found_out() {
        let mut jobs = Jobs::new(egui::Context::default());
        let mut worker = jobs.start(|_, _| panic!("on purpose"));
        let begun = Instant::now();
        while !worker.is_over() && begun.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(worker.reap().as_deref(), Some("on purpose"));
    }
}
