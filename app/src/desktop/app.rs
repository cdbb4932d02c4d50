//! The application: one frame after the other, and the one place where commands are carried out.

use super::command::{self, Command};
use super::dock::{Dock, default_layout};
use super::draft::Draft;
use super::overlays::{self, Palette};
use super::state::{OF_RECORDINGS, State, Work};
use super::worker::{Dialog, End, Jobs, Message, Phase, Purpose, Report, Worker};
use super::{DesktopOptions, Open, bars, look, start};
use crate::devices::WindowDevice;
use egui::{Context, ViewportCommand};
use nullcline_data::Error;
use nullcline_data::settings::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Key of what is kept between sessions.
const STORED: &str = "nullcline desktop";
/// Raised when panels or the layout change so much that an old one would look wrong.
const LAYOUT_VERSION: u32 = 1;
/// How long closing waits for what is at work to save itself.
const PATIENCE: Duration = Duration::from_secs(20);
/// Quiet time before a picture is taken, so that sizes and positions have settled.
const SETTLING: Duration = Duration::from_millis(600);

/// What is kept between sessions. Science is not: it is in run folders.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    version: u32,
    dark: bool,
    layout: egui_tiles::Tree<String>,
}

/// Where the outcome of a screenshot is left: nothing yet, written, or why not.
pub(super) type ScreenshotSlot = Arc<Mutex<Option<Result<(), Error>>>>;

/// The outcome of a screenshot, shared with whoever opened the window.
#[derive(Clone, Default)]
pub(super) struct ScreenshotOutcome(ScreenshotSlot);

impl ScreenshotOutcome {
    /// The outcome, if there is one.
    pub fn take(&self) -> Option<Result<(), Error>> {
        self.0.lock().ok()?.take()
    }

    fn set(&self, outcome: Result<(), Error>) {
        if let Ok(mut slot) = self.0.lock() {
            *slot = Some(outcome);
        }
    }

    fn is_set(&self) -> bool {
        self.0.lock().is_ok_and(|slot| slot.is_some())
    }
}

/// A picture to be taken.
struct Screenshot {
    path: PathBuf,
    after: Option<Duration>,
    begun: Option<Instant>,
    quiet_since: Option<Instant>,
    is_asked: bool,
    outcome: ScreenshotOutcome,
}

/// The window.
pub struct Desktop {
    state: State,
    dock: Dock,
    palette: Palette,
    help_is_open: bool,
    is_dark: bool,
    jobs: Jobs,
    working_folder: PathBuf,
    run_when_opened: bool,
    select_when_shown: Option<u64>,
    screenshot: Option<Screenshot>,
    /// Commands given from outside, for the next frame.
    given: Vec<Command>,
    /// Seconds that each frame took to lay out and paint, where they are asked for.
    frame_times: Option<Vec<f32>>,
}

impl Desktop {
    /// A window on a run folder, an experiment file or the start screen.
    pub fn new(
        creation: &eframe::CreationContext,
        open: Option<Open>,
        options: DesktopOptions,
    ) -> Desktop {
        let context = &creation.egui_ctx;
        look::install(context);
        // A picture shows the window as it is at first, whatever this user has made of it.
        let stored: Option<Stored> = match (creation.storage, &options.screenshot) {
            (Some(storage), None) => eframe::get_value(storage, STORED)
                .filter(|stored: &Stored| stored.version == LAYOUT_VERSION),
            _ => None,
        };
        let is_dark = options
            .dark
            .unwrap_or(stored.as_ref().is_some_and(|stored| stored.dark));
        let mut desktop = Desktop {
            state: State {
                device: options.device,
                ..State::default()
            },
            frame_times: options.frame_times.then(Vec::new),
            dock: Dock::new(stored.map_or_else(default_layout, |stored| stored.layout)),
            palette: Palette::default(),
            help_is_open: false,
            is_dark,
            jobs: Jobs::new(context.clone()),
            // The path that is shown says where the runs are, wherever the program was started.
            working_folder: std::path::absolute(&options.working_folder)
                .unwrap_or(options.working_folder),
            run_when_opened: options.run,
            select_when_shown: options.select,
            screenshot: options.screenshot.map(|path| Screenshot {
                path,
                after: options.screenshot_after,
                begun: None,
                quiet_since: None,
                is_asked: false,
                outcome: ScreenshotOutcome::default(),
            }),
            given: Vec::new(),
        };
        if let Some(render) = &creation.wgpu_render_state {
            desktop.jobs.share(WindowDevice {
                adapter: render.adapter.clone(),
                device: render.device.clone(),
                queue: render.queue.clone(),
            });
        }
        if draws_in_software(creation) {
            desktop.jobs.spare_frames();
        }
        desktop.jobs.list_devices();
        desktop.use_theme(context);
        if let Some(open) = open {
            let worker = desktop.jobs.open(open);
            desktop.begin(worker, Phase::Opening);
        }
        desktop
    }

    /// Leaves the outcome of the screenshot there.
    pub(super) fn report_screenshot_to(&mut self, outcome: ScreenshotOutcome) {
        if let Some(screenshot) = &mut self.screenshot {
            screenshot.outcome = outcome;
        }
    }

    /// What the window shows.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Has a command carried out in the next frame, as if the user had given it.
    pub fn give(&mut self, command: Command) {
        self.given.push(command);
    }

    fn use_theme(&self, context: &Context) {
        context.set_theme(if self.is_dark {
            egui::Theme::Dark
        } else {
            egui::Theme::Light
        });
    }

    fn begin(&mut self, worker: Worker, phase: Phase) {
        self.state.outcome = None;
        self.state.work = Some(Work {
            worker,
            phase,
            progress: None,
        });
    }

    /// Takes what the threads have reported.
    fn receive(&mut self) {
        // Asked before the reports are read: what a thread said before it ended is then among them.
        let ended = self
            .state
            .work
            .as_ref()
            .filter(|work| work.worker.is_over())
            .map(|work| work.worker.job);
        for Report { job, message } in self.jobs.reports() {
            let current = self.state.work.as_ref().map(|work| work.worker.job);
            // Work that is over may have an analysis left that comes too late.
            if job == 0 || current == Some(job) {
                self.take(message);
            }
        }
        if ended.is_some()
            && ended == self.state.work.as_ref().map(|work| work.worker.job)
            && let Some(mut work) = self.state.work.take()
        {
            // It did not report its end.
            let reason = work
                .worker
                .reap()
                .unwrap_or_else(|| "without saying why".to_owned());
            self.state.outcome = Some("Failed");
            self.state.fail(format!(
                "the work ended unexpectedly: {reason}. What was saved is in the run folder"
            ));
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Opened {
                experiment,
                folder,
                snapshot,
                progress,
            } => {
                self.state.clear_results();
                self.state.draft = Some(Draft::new(*experiment));
                self.state.folder = folder;
                self.state.last_progress = progress;
                if let Some(snapshot) = snapshot {
                    self.state.take(snapshot, false);
                    self.shown();
                }
            }
            Message::Folder(path) => {
                // Results of another run are not to be taken for those of this one.
                if self.state.folder.as_ref() != Some(&path) {
                    self.state.clear_results();
                }
                self.state.note(format!("run folder {}", path.display()));
                self.state.folder = Some(path);
            }
            Message::Phase(phase) => {
                if let Some(work) = &mut self.state.work {
                    work.phase = phase;
                }
            }
            Message::Progress(progress) => {
                self.state.last_progress = Some(progress);
                if let Some(work) = &mut self.state.work {
                    work.progress = Some(progress);
                }
            }
            Message::Figure(name, figure) => {
                self.state.live_figures.insert(name, figure);
            }
            Message::Live(snapshot) => {
                // The results of trained networks are not overwritten by those of a moment before.
                if self.state.work.as_ref().is_some_and(Work::is_training) {
                    self.state.take(snapshot, true);
                    self.shown();
                }
            }
            Message::Results(snapshot) => {
                self.state.take(snapshot, false);
                self.shown();
            }
            Message::Redrawn(folder, snapshot) => {
                if self.state.work.is_none() && self.state.folder == folder {
                    self.state.take(snapshot, false);
                }
            }
            Message::Devices(devices) => self.state.devices = devices,
            Message::Note(text) => self.state.note(text),
            Message::Failed(text) => self.state.fail(text),
            Message::Chosen(purpose, path) => self.chosen(purpose, path),
            Message::End(end) => self.ended(end),
        }
    }

    /// After results came: brings the figures of a recording to the front, and selects what was asked for.
    fn shown(&mut self) {
        let Some(snapshot) = &self.state.snapshot else {
            return;
        };
        let there = OF_RECORDINGS.map(|name| snapshot.figures.contains_key(name));
        // The points of a network that still trains are others a moment later.
        if !self.state.is_live
            && let Some(id) = self
                .select_when_shown
                .filter(|id| snapshot.point(*id).is_some())
        {
            self.select_when_shown = None;
            self.state.selected = Some(id);
        }
        for (k, name) in OF_RECORDINGS.iter().enumerate() {
            if there[k] && !self.state.has_shown[k] {
                self.dock.show(name);
            }
        }
        self.state.has_shown = there;
    }

    fn ended(&mut self, end: End) {
        let Some(mut work) = self.state.work.take() else {
            return;
        };
        // The thread has nothing left to do but end.
        work.worker.finish(Duration::from_secs(1));
        let was_opening = work.phase == Phase::Opening;
        match end {
            End::Done if was_opening => {
                if std::mem::take(&mut self.run_when_opened) {
                    self.run();
                }
            }
            End::Done => {
                self.state.outcome = Some("Done");
                self.state.note("done");
            }
            End::Stopped => {
                self.state.outcome = Some("Stopped; Run continues");
                self.state
                    .note("stopped; what was done is saved, and Run continues");
            }
            End::Failed(text) => {
                self.state.outcome = if was_opening { None } else { Some("Failed") };
                self.state.fail(text);
            }
        }
    }

    fn chosen(&mut self, purpose: Purpose, path: PathBuf) {
        match purpose {
            Purpose::Open => self.carry_out_open(path),
            Purpose::Save(experiment) => self.jobs.save(*experiment, with_extension(path, "toml")),
            Purpose::Export(figure, experiment) => {
                self.jobs
                    .export(figure, *experiment, with_extension(path, "pdf"));
            }
            Purpose::Key(section, key) => {
                self.edit(section, key, Some(Value::Text(path.display().to_string())));
            }
        }
    }

    fn edit(&mut self, section: super::Section, key: &'static str, value: Option<Value>) {
        let Some(draft) = &mut self.state.draft else {
            return;
        };
        if let Err(error) = draft.edit(section, key, value) {
            self.state.fail(error.to_string());
        }
    }

    fn carry_out_open(&mut self, path: PathBuf) {
        if self.state.work.is_none() {
            let worker = self.jobs.open(Open::of(&path));
            self.begin(worker, Phase::Opening);
        }
    }

    fn run(&mut self) {
        let Some(draft) = self.state.draft.as_ref().filter(|draft| draft.is_sound()) else {
            if let Some(problem) = self
                .state
                .draft
                .as_ref()
                .and_then(Draft::problem)
                .map(str::to_owned)
            {
                self.state.fail(problem);
            }
            return;
        };
        let experiment = draft.experiment().clone();
        let runs = self.working_folder.join("runs");
        let (folder, device) = (self.state.folder.clone(), self.state.device.clone());
        let worker = self.jobs.run(experiment, folder, runs, device);
        self.state.banner = None;
        self.begin(worker, Phase::Preparing);
    }

    /// Carries out a command. Those that cannot be done now do nothing.
    fn carry_out(&mut self, context: &Context, command: Command) {
        let is_available =
            command::action(&command).is_none_or(|action| (action.available)(&self.state).is_ok());
        if !is_available {
            return;
        }
        match command {
            Command::OpenExample(name) => {
                if let (Some(example), None) = (crate::examples::example(name), &self.state.work) {
                    let worker = self.jobs.open_text(example.name, example.text);
                    self.begin(worker, Phase::Opening);
                }
            }
            Command::ChooseRun => {
                self.jobs
                    .choose("Open run folder", Dialog::Folder, Purpose::Open)
            }
            Command::ChooseExperiment => {
                self.jobs.choose(
                    "Open experiment",
                    Dialog::File(&[("Experiment", &["toml"])]),
                    Purpose::Open,
                );
            }
            Command::Open(path) => self.carry_out_open(path),
            Command::Start => {
                self.state.clear_results();
                self.state.draft = None;
            }
            Command::SaveExperiment => {
                if let Some(draft) = &self.state.draft {
                    let experiment = draft.experiment().clone();
                    let what = Dialog::Save(
                        &[("Experiment", &["toml"])],
                        format!("{}.toml", experiment.name()),
                    );
                    self.jobs
                        .choose("Save experiment", what, Purpose::Save(Box::new(experiment)));
                }
            }
            Command::ExportFigure(name) => {
                if let (Some(figure), Some(draft)) = (self.state.figure(name), &self.state.draft) {
                    let experiment = match &self.state.snapshot {
                        Some(snapshot) => Box::new(snapshot.results.experiment.clone()),
                        None => Box::new(draft.experiment().clone()),
                    };
                    let what = Dialog::Save(
                        &[("PDF", &["pdf"]), ("SVG", &["svg"]), ("PNG", &["png"])],
                        format!("{name}.pdf"),
                    );
                    self.jobs.choose(
                        "Export figure",
                        what,
                        Purpose::Export(Arc::clone(figure), experiment),
                    );
                }
            }
            Command::Run => self.run(),
            Command::TogglePause => {
                if let Some(work) = &self.state.work {
                    work.worker
                        .control
                        .set_paused(!work.worker.control.is_paused());
                }
            }
            Command::Stop => {
                if let Some(work) = &self.state.work {
                    work.worker.control.stop();
                }
            }
            Command::Play => {
                let next = if self.state.work.is_some() {
                    Command::TogglePause
                } else {
                    Command::Run
                };
                self.carry_out(context, next);
            }
            Command::Analyze => {
                if let (Some(draft), Some(folder)) = (&self.state.draft, &self.state.folder) {
                    let worker = self
                        .jobs
                        .analyze(draft.experiment().clone(), folder.clone());
                    self.state.banner = None;
                    self.begin(worker, Phase::Preparing);
                }
            }
            Command::Edit {
                section,
                key,
                value,
            } => self.edit(section, key, value),
            Command::ChooseFile { section, key } => {
                self.jobs.choose(
                    "Choose a file",
                    Dialog::File(&[]),
                    Purpose::Key(section, key),
                );
            }
            Command::Undo => {
                if let Some(draft) = &mut self.state.draft {
                    draft.undo();
                }
            }
            Command::Redo => {
                if let Some(draft) = &mut self.state.draft {
                    draft.redo();
                }
            }
            Command::Select(id) => self.state.selected = id,
            Command::ShowNetwork(network) => {
                if let Some(snapshot) = &self.state.snapshot {
                    self.jobs.redraw(
                        self.state.folder.clone(),
                        Arc::clone(&snapshot.results),
                        network,
                    );
                }
            }
            Command::TogglePanel(name) => self.dock.toggle(&name),
            Command::ShowPanel(name) => self.dock.show(&name),
            Command::ResetLayout => self.dock.reset(),
            Command::UseDevice(device) => self.state.device = device,
            Command::ToggleDark => {
                self.is_dark = !self.is_dark;
                self.use_theme(context);
            }
            Command::ToggleFullScreen => {
                let is_full = context.input(|input| input.viewport().fullscreen.unwrap_or(false));
                context.send_viewport_cmd(ViewportCommand::Fullscreen(!is_full));
            }
            Command::TogglePalette => self.palette.toggle(),
            Command::ToggleHelp => self.help_is_open = !self.help_is_open,
            Command::Dismiss => {
                if self.palette.is_open() {
                    self.palette.toggle();
                } else if self.help_is_open {
                    self.help_is_open = false;
                } else if self.state.banner.is_some() {
                    self.state.banner = None;
                } else {
                    self.state.selected = None;
                }
            }
            Command::Quit => context.send_viewport_cmd(ViewportCommand::Close),
        }
    }

    /// Takes the picture when its time has come, and ends when it is written.
    fn photograph(&mut self, context: &Context) {
        let Some(screenshot) = &mut self.screenshot else {
            return;
        };
        context.request_repaint_after(self.jobs.progress_every());
        if screenshot.is_asked {
            if screenshot.outcome.is_set() {
                context.send_viewport_cmd(ViewportCommand::Close);
            }
            return;
        }
        let begun = *screenshot.begun.get_or_insert_with(Instant::now);
        let is_due = match screenshot.after {
            Some(after) => begun.elapsed() >= after,
            None if self.state.work.is_none() => {
                screenshot
                    .quiet_since
                    .get_or_insert_with(Instant::now)
                    .elapsed()
                    >= SETTLING
            }
            None => {
                screenshot.quiet_since = None;
                false
            }
        };
        if is_due {
            screenshot.is_asked = true;
            let (path, outcome, waker) = (
                screenshot.path.clone(),
                screenshot.outcome.clone(),
                context.clone(),
            );
            context.request_screenshot(move |image| {
                outcome.set(write_png(&path, &image));
                waker.request_repaint();
            });
        }
    }
}

impl eframe::App for Desktop {
    fn logic(&mut self, _: &Context, _: &mut eframe::Frame) {
        self.receive();
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        if let (Some(times), Some(seconds)) = (&mut self.frame_times, frame.info().cpu_usage) {
            times.push(seconds);
        }
        let context = ui.ctx().clone();
        let mut commands = std::mem::take(&mut self.given);
        // A file dropped on the window is opened.
        let dropped = context.input(|input| {
            input
                .raw
                .dropped_files
                .first()
                .map(|file| file.path().to_owned())
        });
        commands.extend(dropped.map(Command::Open));
        commands.extend(command::pressed(&context, &self.state));

        let bar = |ui: &egui::Ui, y| {
            egui::Frame::new()
                .fill(ui.visuals().panel_fill)
                .inner_margin(egui::Margin::symmetric(10, y))
        };
        egui::Panel::top("top bar")
            .frame(bar(ui, 6))
            .show_separator_line(false)
            .show(ui, |ui| {
                bars::top(ui, &self.state, &self.dock, &mut commands)
            });
        egui::Panel::bottom("status line")
            .frame(bar(ui, 3))
            .exact_size(28.0)
            .show_separator_line(false)
            .show(ui, |ui| bars::bottom(ui, &self.state));
        if self.state.banner.is_some() {
            egui::Panel::top("banner")
                .frame(bar(ui, 4))
                .show_separator_line(false)
                .show(ui, |ui| overlays::banner(ui, &self.state, &mut commands));
        }
        let ground = egui::Frame::new()
            .fill(ui.visuals().panel_fill)
            .inner_margin(egui::Margin::symmetric(6, 0));
        egui::CentralPanel::default()
            .frame(ground)
            .show(ui, |ui| match self.state.draft {
                Some(_) => self.dock.ui(ui, &mut self.state, &mut commands),
                None => start::ui(ui, &mut commands),
            });
        self.palette
            .ui(&context, &self.state, &self.dock, &mut commands);
        overlays::help(&context, &mut self.help_is_open);

        for command in commands {
            self.carry_out(&context, command);
            context.request_repaint();
        }
        self.photograph(&context);
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        if self.screenshot.is_none() {
            let stored = Stored {
                version: LAYOUT_VERSION,
                dark: self.is_dark,
                layout: self.dock.layout().clone(),
            };
            eframe::set_value(storage, STORED, &stored);
        }
    }

    fn on_exit(&mut self, _: Option<&eframe::glow::Context>) {
        if let Some(work) = &mut self.state.work {
            work.worker.finish(PATIENCE);
        }
        if let Some(times) = &mut self.frame_times {
            times.sort_by(f32::total_cmp);
            let share = |share: f64| {
                let at = (share * times.len() as f64) as usize;
                times.get(at.min(times.len().saturating_sub(1)))
            };
            if let (Some(median), Some(most), Some(largest)) = (share(0.5), share(0.99), share(1.0))
            {
                eprintln!(
                    "{} frames: median {:.1} ms, 99 % below {:.1} ms, longest {:.1} ms",
                    times.len(),
                    median * 1e3,
                    most * 1e3,
                    largest * 1e3
                );
            }
        }
    }

    fn persist_egui_memory(&self) -> bool {
        // Scroll positions and open sections of another experiment are no help.
        false
    }
}

/// Whether the processor draws the window.
fn draws_in_software(creation: &eframe::CreationContext) -> bool {
    use eframe::glow::HasContext;
    if let Some(render) = &creation.wgpu_render_state {
        return render.adapter.get_info().device_type == eframe::wgpu::DeviceType::Cpu;
    }
    creation.gl.as_ref().is_some_and(|gl| {
        // SAFETY: the context is current on this thread while the window is made.
        let name = unsafe { gl.get_parameter_string(eframe::glow::RENDERER) }.to_lowercase();
        ["llvmpipe", "softpipe", "swiftshader"]
            .iter()
            .any(|software| name.contains(software))
    })
}

fn with_extension(path: PathBuf, extension: &str) -> PathBuf {
    if path.extension().is_some() {
        path
    } else {
        path.with_extension(extension)
    }
}

/// Writes the picture of the window.
fn write_png(path: &std::path::Path, picture: &egui::ColorImage) -> Result<(), Error> {
    let failed = |error: image::ImageError| Error::write(path, std::io::Error::other(error));
    let [width, height] = picture
        .size
        .map(|size| u32::try_from(size).unwrap_or(u32::MAX));
    let bytes: Vec<u8> = picture
        .pixels
        .iter()
        .flat_map(|pixel| [pixel.r(), pixel.g(), pixel.b()])
        .collect();
    let mut file = std::io::Cursor::new(Vec::new());
    image::write_buffer_with_format(
        &mut file,
        &bytes,
        width,
        height,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .map_err(failed)?;
    nullcline_data::write_atomically(path, file.get_ref())
}
