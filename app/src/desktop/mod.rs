//! The desktop: one window with a dock of panels on an experiment and its run.
//!
//! Nothing is computed on the thread that draws. A worker trains and analyses through the same functions as
//! the command line ([`crate::session`]) and sends pictures of its results through a channel, at most twenty
//! messages a second; the window holds nothing that the run folder cannot rebuild. Whatever the user does,
//! by menu, key, palette or click, becomes a [`Command`], and the commands of a frame are carried out at its
//! end, in one place ([`Desktop`]).

mod app;
mod bars;
mod command;
mod dock;
mod draft;
mod look;
mod overlays;
mod panels;
mod snapshot;
mod start;
mod state;
mod worker;

pub use app::Desktop;
pub use command::{ACTIONS, Action, Command};
pub use dock::default_layout;
pub use draft::{Draft, Section};
pub use panels::{Panel, PanelContext, panels as all_panels};
pub use snapshot::{FixedPointRow, Mode, Snapshot};
pub use state::{Level, LogEntry, State, Work};
pub use worker::{Phase, Progress};

use crate::devices::Device;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the window opens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open {
    /// A run folder.
    Run(PathBuf),
    /// An experiment file.
    Experiment(PathBuf),
}

impl Open {
    /// A folder is a run, anything else an experiment file; whether it is one shows when it is read.
    pub fn of(path: &Path) -> Open {
        if path.is_dir() {
            Open::Run(path.to_owned())
        } else {
            Open::Experiment(path.to_owned())
        }
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        match self {
            Open::Run(path) | Open::Experiment(path) => path,
        }
    }
}

/// What draws the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Renderer {
    /// Vulkan, Metal or Direct3D.
    #[default]
    Wgpu,
    /// OpenGL, for machines without those.
    Glow,
}

/// How the window opens.
#[derive(Clone, Debug)]
pub struct DesktopOptions {
    /// What draws it.
    pub renderer: Renderer,
    /// Starts the experiment at once.
    pub run: bool,
    /// Writes a picture of the window to this PNG file and ends.
    pub screenshot: Option<PathBuf>,
    /// When that picture is taken, counted from the first frame; not set: when nothing is at work any more.
    pub screenshot_after: Option<Duration>,
    /// Dark instead of light colours; not set: as last time, light the first time.
    pub dark: Option<bool>,
    /// Width and height of the window in logical pixels.
    pub size: [f32; 2],
    /// The folder in which `runs` is made.
    pub working_folder: PathBuf,
    /// The fixed point that is selected once there are results.
    pub select: Option<u64>,
    /// The device that trains.
    pub device: Device,
    /// Prints to standard error, when the window is closed, how long its frames took.
    pub frame_times: bool,
}

impl Default for DesktopOptions {
    fn default() -> Self {
        DesktopOptions {
            renderer: Renderer::default(),
            run: false,
            screenshot: None,
            screenshot_after: None,
            dark: None,
            size: [1440.0, 900.0],
            working_folder: PathBuf::from("."),
            select: None,
            device: Device::default(),
            frame_times: false,
        }
    }
}

/// Why the window could not be opened or its picture not be taken.
#[derive(Debug, thiserror::Error)]
pub enum DesktopError {
    /// No display, or no driver for the renderer.
    #[error(
        "cannot open a window: {0}; on a machine without Vulkan try --renderer glow, without a display xvfb-run"
    )]
    Window(String),
    /// The picture could not be written.
    #[error(transparent)]
    File(#[from] nullcline_data::Error),
    /// The window was closed before the picture was taken.
    #[error("the window was closed before its picture was taken")]
    NoScreenshot,
}

/// Lets the window's own thread go first, wherever this thread and that one want the same core: called on the
/// threads that train and analyse.
pub fn stand_back() {
    #[cfg(target_os = "linux")]
    // SAFETY: a call without pointers. On Linux it is the calling thread whose priority is set.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 10);
    }
}

/// The window's device is opened as training wants it, so that the two can share it.
fn wgpu_options() -> eframe::egui_wgpu::WgpuConfiguration {
    let mut options = eframe::egui_wgpu::WgpuConfiguration::default();
    if let eframe::egui_wgpu::WgpuSetup::CreateNew(setup) = &mut options.wgpu_setup {
        setup.device_descriptor = Arc::new(nullcline_gpu::device_descriptor);
    }
    options
}

/// Opens the window and returns when it is closed.
///
/// # Errors
/// If no window can be opened, or a picture that was asked for was not written. Everything else that goes
/// wrong is shown in the window.
pub fn run(open: Option<Open>, options: DesktopOptions) -> Result<(), DesktopError> {
    let outcome = app::ScreenshotOutcome::default();
    let viewport = egui::ViewportBuilder::default()
        .with_title("Nullcline")
        .with_app_id("nullcline")
        .with_icon(look::icon())
        .with_inner_size(options.size)
        .with_min_inner_size([880.0, 560.0]);
    let photographed = options.screenshot.is_some();
    let native = eframe::NativeOptions {
        viewport,
        renderer: match options.renderer {
            Renderer::Wgpu => eframe::Renderer::Wgpu,
            Renderer::Glow => eframe::Renderer::Glow,
        },
        // A picture is of the size that was asked for.
        persist_window: !photographed,
        wgpu_options: wgpu_options(),
        ..eframe::NativeOptions::default()
    };
    let shared = outcome.clone();
    eframe::run_native(
        "nullcline",
        native,
        Box::new(move |creation| {
            let mut desktop = Desktop::new(creation, open, options);
            desktop.report_screenshot_to(shared);
            Ok(Box::new(desktop))
        }),
    )
    .map_err(|error| DesktopError::Window(error.to_string()))?;
    if !photographed {
        return Ok(());
    }
    match outcome.take() {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(DesktopError::File(error)),
        None => Err(DesktopError::NoScreenshot),
    }
}
