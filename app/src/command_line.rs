//! The command line: words to calls, results to words and exit statuses.
//!
//! 0: done; 1: the work failed, what was saved is named; 2: bad input, nothing written; 130: stopped by
//! Ctrl-C, the same command goes on.

use crate::analyses::ANALYSES;
use crate::bench::{BenchOptions, bench};
use crate::devices::{Device, Devices};
use crate::drawings::FIGURES;
use crate::examples::{EXAMPLES, example};
use crate::experiment::Experiment;
use crate::progress::Progress;
use crate::session::{self, Control, Fault, FigureOptions, Outcome};
use crate::show::show;
use clap::{Args, Parser, Subcommand, ValueEnum};
use nullcline_data::run_folder::RunFolder;
use nullcline_data::{Error, write_atomically};
use nullcline_models::engine::CpuEngine;
use nullcline_models::registry::MODELS;
use nullcline_models::training::Status;
use nullcline_tasks::TASKS;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Trains small recurrent networks on neuroscience tasks and explains how they work.
#[derive(Parser)]
#[command(name = "nullcline", version, about, long_about = None, max_term_width = 100)]
struct Arguments {
    /// CPU threads to use; results do not depend on it [env: NULLCLINE_THREADS] [default: all].
    #[arg(long, global = true, value_name = "K")]
    threads: Option<usize>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Open the desktop, on a run folder or an experiment.
    Desktop(DesktopArguments),
    /// Train, analyse and draw; continues a run folder where it stopped.
    Run(RunArguments),
    /// Train only.
    Train(RunArguments),
    /// Analyse a trained run folder.
    Analyze {
        /// The run folder.
        dir: PathBuf,
        /// Only these analyses, with what they need.
        #[arg(long, value_delimiter = ',', value_name = "NAME")]
        only: Vec<String>,
        /// Replace a key of an analysis, which the run folder keeps: --set analysis.cycles.order=6.
        #[arg(long, value_name = "key=value")]
        set: Vec<String>,
    },
    /// Draw the figures of a run folder.
    Figures {
        /// The run folder.
        dir: PathBuf,
        /// Only these figures.
        #[arg(long, value_delimiter = ',', value_name = "NAME")]
        only: Vec<String>,
        /// Files to write instead of the experiment's: svg, pdf, png.
        #[arg(long, value_delimiter = ',', value_name = "FORMAT")]
        format: Vec<String>,
        /// single (89 mm), double (183 mm), or millimetres from 40 to 400.
        #[arg(long)]
        width: Option<String>,
        /// Replace a key of the figures, which the run folder keeps: --set figures.network=3.
        #[arg(long, value_name = "key=value")]
        set: Vec<String>,
    },
    /// Turn a network trained elsewhere into a run folder.
    Import {
        /// Weights: .pt or .pth of torch, .safetensors or .npz.
        weights: PathBuf,
        /// What the arrays are, where their names do not tell.
        #[arg(long, value_name = "MODEL.toml")]
        model: Option<PathBuf>,
        /// Nonlinearity of an nn.RNN, which its weights do not tell [default: what the file says, else tanh].
        #[arg(long, value_name = "tanh|relu")]
        nonlinearity: Option<String>,
        /// The run folder to make.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write the networks of a run folder to one file.
    Export {
        /// The run folder.
        dir: PathBuf,
        /// The file: .safetensors, .npz or .csv.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// What is in a run folder, as text.
    Show {
        /// The run folder.
        dir: PathBuf,
        /// As JSON, for machines.
        #[arg(long)]
        json: bool,
    },
    /// List what there is.
    List {
        /// What to list.
        what: Listed,
        /// As JSON, for machines.
        #[arg(long)]
        json: bool,
    },
    /// How fast training is on this machine.
    Bench(BenchArguments),
    /// Write a commented example experiment.
    New {
        /// The example: `nullcline list examples`.
        example: String,
        /// The file to write [default: EXAMPLE.toml].
        file: Option<PathBuf>,
    },
}

#[derive(Args, Default)]
struct DesktopArguments {
    /// A run folder or an experiment file.
    open: Option<PathBuf>,
    /// Start the experiment at once.
    #[arg(long)]
    run: bool,
    /// What draws the window: wgpu (Vulkan, Metal, DX12) or glow (OpenGL).
    #[arg(long, value_enum, default_value_t)]
    renderer: crate::desktop::Renderer,
    /// Dark colours.
    #[arg(long)]
    dark: bool,
    /// Select the fixed point of this id.
    #[arg(long, value_name = "ID")]
    select: Option<u64>,
    /// Where to train: auto, cpu, gpu, or gpu: and part of a device's name.
    #[arg(
        long,
        env = "NULLCLINE_DEVICE",
        default_value = "auto",
        value_name = "DEVICE"
    )]
    device: String,
    /// Print how long frames took when the window is closed.
    #[arg(long)]
    frame_times: bool,
    /// Write a picture of the window to this PNG file and quit.
    #[arg(long, value_name = "FILE")]
    screenshot: Option<PathBuf>,
    /// When to take the picture, in seconds after the window opened [default: when nothing is at work].
    #[arg(long, value_name = "SECONDS", requires = "screenshot")]
    screenshot_after: Option<f64>,
}

#[derive(Args)]
struct RunArguments {
    /// The experiment file.
    experiment: PathBuf,
    /// The run folder [default: runs/NAME].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where to train: auto, cpu, gpu, or gpu: and part of a device's name.
    #[arg(
        long,
        env = "NULLCLINE_DEVICE",
        default_value = "auto",
        value_name = "DEVICE"
    )]
    device: String,
    /// Replace a key of the experiment, e.g. --set training.updates=100.
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
}

#[derive(Args)]
struct BenchArguments {
    /// The cell: `nullcline list cells`.
    #[arg(long, default_value = "leaky")]
    cell: String,
    /// Recurrent units.
    #[arg(long, default_value_t = 64)]
    hidden: usize,
    /// Trials in an update.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Steps of a trial.
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Networks side by side.
    #[arg(long, default_value_t = 1)]
    networks: usize,
    /// Where to train: auto, cpu, gpu, or gpu: and part of a device's name.
    #[arg(
        long,
        env = "NULLCLINE_DEVICE",
        default_value = "auto",
        value_name = "DEVICE"
    )]
    device: String,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Listed {
    Tasks,
    Cells,
    Analyses,
    Figures,
    Examples,
    Devices,
}

/// Runs the program and returns its exit status.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version go to standard output with status 0, everything else is bad input.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match perform(arguments) {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("nullcline: {fault}");
            ExitCode::from(status(&fault))
        }
    }
}

/// The exit status of a fault.
fn status(fault: &Fault) -> u8 {
    match fault {
        Fault::Data(error) if error.is_bad_input() => 2,
        Fault::Data(_) | Fault::Figure(_) => 1,
        Fault::Stopped => 130,
    }
}

/// The threads asked for by `--threads`, or else by the environment. A variable that is set but empty, as job
/// scripts leave it, asks for nothing.
fn threads(told: Option<usize>) -> Outcome<Option<usize>> {
    let (what, found) = match (told, std::env::var("NULLCLINE_THREADS")) {
        (Some(threads), _) => ("--threads", threads.to_string()),
        (None, Ok(text)) if !text.is_empty() => ("NULLCLINE_THREADS", text),
        _ => return Ok(None),
    };
    match found.parse() {
        Ok(threads @ 1..) => Ok(Some(threads)),
        _ => Err(Error::argument(what, found, "an integer of at least 1").into()),
    }
}

fn perform(arguments: Arguments) -> Outcome<ExitCode> {
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = threads(arguments.threads)? {
        // The tables' library has a pool of its own. Set before any thread is started.
        // SAFETY: no other thread exists yet that could read the environment.
        unsafe { std::env::set_var("POLARS_MAX_THREADS", threads.to_string()) };
        pool = pool.num_threads(threads);
    }
    if matches!(arguments.verb, None | Some(Verb::Desktop(_))) {
        pool = pool.start_handler(|_| crate::desktop::stand_back());
    }
    pool.build_global().map_err(|error| {
        let allowed = "threads that can be started";
        Error::argument("--threads", error.to_string(), allowed)
    })?;
    match arguments.verb {
        None => desktop(DesktopArguments {
            device: "auto".to_owned(),
            ..DesktopArguments::default()
        }),
        Some(Verb::Desktop(arguments)) => desktop(arguments),
        Some(Verb::Run(arguments)) => run(&arguments, true),
        Some(Verb::Train(arguments)) => run(&arguments, false),
        Some(Verb::Analyze { dir, only, set }) => {
            let (folder, experiment) = open_with(&dir, &set)?;
            let control = interruptible();
            let mut engine = CpuEngine::new();
            let mut progress = Progress::new();
            session::analyze(
                &folder,
                &experiment,
                &mut engine,
                &only,
                &control,
                &mut |event| progress.event(event),
            )?;
            progress.finish();
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::Figures {
            dir,
            only,
            format,
            width,
            set,
        }) => {
            let (folder, experiment) = open_with(&dir, &set)?;
            let options = FigureOptions {
                only,
                formats: checked_formats(format)?,
                width_mm: width.as_deref().map(width_in_mm).transpose()?,
            };
            let mut progress = Progress::new();
            session::draw(&folder, &experiment, &options, &mut |event| {
                progress.event(event)
            })?;
            progress.finish();
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::Import {
            weights,
            model,
            nonlinearity,
            out,
        }) => {
            for line in
                crate::import::import(&weights, model.as_deref(), nonlinearity.as_deref(), &out)?
            {
                println!("{line}");
            }
            let out = out.display();
            println!("\nwrote {out}; next: nullcline analyze {out}");
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::Export { dir, to }) => {
            crate::export::export(&dir, &to)?;
            println!("wrote {}", to.display());
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::Show { dir, json }) => {
            let (folder, experiment) = open(&dir)?;
            print!("{}", show(&folder, &experiment, json)?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::List { what, json }) => {
            print!("{}", list(what, json));
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::Bench(arguments)) => {
            let options = BenchOptions {
                cell: arguments.cell,
                hidden: arguments.hidden,
                batch: arguments.batch,
                steps: arguments.steps,
                networks: arguments.networks,
                device: arguments.device,
            };
            let measured = bench(&options)?;
            if arguments.json {
                println!("{}", serde_json::json!(measured));
            } else {
                print!("{measured}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Verb::New {
            example: name,
            file,
        }) => new(&name, file),
    }
}

fn desktop(arguments: DesktopArguments) -> Outcome<ExitCode> {
    use crate::desktop::{DesktopError, DesktopOptions, Open};
    let seconds = |after: f64| {
        std::time::Duration::try_from_secs_f64(after).map_err(|error| {
            Error::argument(
                "--screenshot-after",
                format!("{after}: {error}"),
                "a number of seconds of at least 0",
            )
        })
    };
    if let Some(path) = arguments.open.as_ref().filter(|path| !path.exists()) {
        return Err(Error::missing(path, "file or folder: it does not exist").into());
    }
    let options = DesktopOptions {
        renderer: arguments.renderer,
        run: arguments.run,
        screenshot: arguments.screenshot,
        screenshot_after: arguments.screenshot_after.map(seconds).transpose()?,
        dark: arguments.dark.then_some(true),
        select: arguments.select,
        device: Device::parse(&arguments.device)?,
        frame_times: arguments.frame_times,
        ..DesktopOptions::default()
    };
    match crate::desktop::run(arguments.open.as_deref().map(Open::of), options) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(DesktopError::File(error)) => Err(error.into()),
        Err(error) => {
            eprintln!("nullcline: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// `run` and `train`.
fn run(arguments: &RunArguments, whole: bool) -> Outcome<ExitCode> {
    let devices = Devices::parse(&arguments.device)?;
    // A device that is not there is found out before anything is written.
    devices.check()?;
    let experiment = Experiment::read_to_run(&arguments.experiment, &arguments.set)?;
    let dir = arguments
        .out
        .clone()
        .unwrap_or_else(|| Path::new("runs").join(experiment.name()));
    let folder = session::prepare(&dir, &experiment)?;
    let control = interruptible();
    let command: Vec<String> = std::env::args().collect();
    let mut progress = Progress::new();
    let mut saved = None;
    let trained = session::train(
        &folder,
        &experiment,
        &devices,
        &command,
        &control,
        &mut |event| {
            if let session::Event::Checkpoint { update } = event {
                saved = Some(update);
            }
            progress.event(event);
        },
    );
    progress.finish();
    if let Err(Fault::Stopped) = trained {
        eprintln!(
            "nullcline: stopped; {} is saved, the same command continues",
            folder.path().display()
        );
        return Ok(ExitCode::from(130));
    }
    let statuses = match (trained, saved) {
        (Ok(statuses), _) => statuses,
        (Err(fault), Some(update)) if status(&fault) == 1 => {
            eprintln!(
                "nullcline: {fault}; {} is saved up to update {update}, the same command continues",
                folder.path().display()
            );
            return Ok(ExitCode::from(1));
        }
        (Err(fault), _) => return Err(fault),
    };
    if whole {
        session::analyze(
            &folder,
            &experiment,
            &mut CpuEngine::new(),
            &[],
            &control,
            &mut |event| progress.event(event),
        )?;
        session::draw(
            &folder,
            &experiment,
            &FigureOptions::default(),
            &mut |event| progress.event(event),
        )?;
        progress.finish();
        print!("{}", show(&folder, &experiment, false)?);
    }
    println!("{}", folder.path().display());
    Ok(verdict(&experiment, &statuses, &folder))
}

/// Status 1 where a network diverged or did not reach the loss asked for.
fn verdict(experiment: &Experiment, statuses: &[Status], folder: &RunFolder) -> ExitCode {
    let diverged = statuses
        .iter()
        .filter(|status| matches!(status, Status::Diverged { .. }))
        .count();
    let missed = if experiment.training.is_set("stop_loss") {
        statuses
            .iter()
            .filter(|status| matches!(status, Status::AllUpdates | Status::NoImprovement))
            .count()
    } else {
        0
    };
    if diverged + missed == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "nullcline: of {} networks {diverged} diverged and {missed} did not reach training.stop_loss; all are saved in {}",
        statuses.len(),
        folder.path().display()
    );
    ExitCode::from(1)
}

/// A control that Ctrl-C stops; a second Ctrl-C ends the program at once.
fn interruptible() -> Arc<Control> {
    let control = Arc::new(Control::default());
    let handle = Arc::clone(&control);
    // Without a handler Ctrl-C still ends the program, and the last checkpoint is there.
    let _ = ctrlc::set_handler(move || {
        if handle.is_stopped() {
            std::process::exit(130);
        }
        handle.stop();
    });
    control
}

/// Opens a run folder with other keys of its analyses or figures, which it keeps.
fn open_with(dir: &Path, assignments: &[String]) -> Outcome<(RunFolder, Experiment)> {
    let folder = RunFolder::open(dir)?;
    let experiment = Experiment::read(&folder.experiment_path(), assignments)?;
    if !assignments.is_empty() {
        // What does not fit the task or the networks is found before the folder keeps it.
        experiment.build()?;
    }
    session::keep_experiment(&folder, &experiment)?;
    Ok((folder, experiment))
}

fn open(dir: &Path) -> Outcome<(RunFolder, Experiment)> {
    let folder = RunFolder::open(dir)?;
    let experiment = Experiment::of_run(&folder)?;
    Ok((folder, experiment))
}

fn checked_formats(formats: Vec<String>) -> Outcome<Option<Vec<String>>> {
    for format in &formats {
        if !crate::experiment::FORMATS.contains(&format.as_str()) {
            return Err(
                Error::argument("--format", format, crate::experiment::FORMATS.join(", ")).into(),
            );
        }
    }
    Ok((!formats.is_empty()).then_some(formats))
}

fn width_in_mm(text: &str) -> Outcome<f64> {
    match text {
        "single" => Ok(89.0),
        "double" => Ok(183.0),
        _ => text
            .parse()
            .ok()
            .filter(|mm: &f64| (40.0..=400.0).contains(mm))
            .ok_or_else(|| {
                Error::argument(
                    "--width",
                    text,
                    "single, double, or millimetres from 40 to 400",
                )
                .into()
            }),
    }
}

fn list(what: Listed, json: bool) -> String {
    let entries: Vec<(String, String)> = match what {
        Listed::Tasks => TASKS
            .iter()
            .map(|kind| (kind.name.into(), kind.summary.into()))
            .collect(),
        Listed::Cells => MODELS
            .iter()
            .map(|kind| (kind.name.into(), kind.summary.into()))
            .collect(),
        Listed::Analyses => ANALYSES
            .iter()
            .map(|kind| (kind.name.into(), kind.summary.into()))
            .collect(),
        Listed::Figures => FIGURES
            .iter()
            .map(|kind| (kind.name.into(), kind.summary.into()))
            .collect(),
        Listed::Examples => EXAMPLES
            .iter()
            .map(|e| (e.name.into(), e.summary.into()))
            .collect(),
        Listed::Devices => crate::devices::list(),
    };
    if json {
        let objects: Vec<serde_json::Value> = entries
            .iter()
            .map(|(name, summary)| serde_json::json!({ "name": name, "summary": summary }))
            .collect();
        return format!("{}\n", serde_json::Value::Array(objects));
    }
    let width = entries
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    entries
        .iter()
        .map(|(name, summary)| format!("{name:width$}  {summary}\n"))
        .collect()
}

fn new(name: &str, file: Option<PathBuf>) -> Outcome<ExitCode> {
    let Some(example) = example(name) else {
        let known: Vec<&str> = EXAMPLES.iter().map(|example| example.name).collect();
        return Err(Error::argument("example", format!("\"{name}\""), known.join(", ")).into());
    };
    let file = file.unwrap_or_else(|| PathBuf::from(format!("{name}.toml")));
    if file.exists() {
        return Err(Error::argument(
            "the file to write",
            format!("{}, which exists", file.display()),
            "a name that is free: nothing is overwritten",
        )
        .into());
    }
    let text = example.experiment()?.to_toml(true);
    write_atomically(
        &file,
        format!("# {}\n# {}\n\n{text}", example.title, example.summary).as_bytes(),
    )?;
    println!("wrote {}", file.display());
    Ok(ExitCode::SUCCESS)
}
