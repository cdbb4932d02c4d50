//! A run from beginning to end: train, analyse, draw, on a run folder. The command line and the desktop's
//! worker call the same functions; what differs is the observer.

use crate::analyses::{ANALYSES, AnalysisKind, Context};
use crate::devices::Devices;
use crate::drawings::FIGURES;
use crate::experiment::{Built, Experiment};
use crate::refinement;
use crate::results::{Results, TRAINING};
use nullcline_data::provenance::{self, InputFile, Provenance, Resumption};
use nullcline_data::run_folder::RunFolder;
use nullcline_data::tensors::Tensors;
use nullcline_data::{Error, write_atomically};
use nullcline_figures::{Figure, FigureError};
use nullcline_models::architecture::Architecture;
use nullcline_models::engine::Engine;
use nullcline_models::ensemble::Ensemble;
use nullcline_models::training::{
    HistoryRow, Status, Trainer, TrainingSettings, ensemble_from_tensors,
};
use nullcline_tables::Table;
use nullcline_tasks::Task;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Input that cannot be used, or a file that cannot be written.
    #[error(transparent)]
    Data(#[from] Error),
    /// A figure that cannot be drawn.
    #[error(transparent)]
    Figure(#[from] FigureError),
    /// The user asked for it. What was done is saved, and the same command goes on.
    #[error("stopped; the same command continues")]
    Stopped,
}

/// A result whose error is [`Fault`].
pub type Outcome<T> = std::result::Result<T, Fault>;

/// The user's hand on a run at work, from any thread.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    pause: AtomicBool,
}

impl Control {
    /// Asks the run to save and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Holds training between two updates, or lets it go on.
    pub fn set_paused(&self, paused: bool) {
        self.pause.store(paused, Ordering::Relaxed);
    }

    /// Whether training is held.
    pub fn is_paused(&self) -> bool {
        self.pause.load(Ordering::Relaxed)
    }

    /// Ends an analysis that the user wants to end.
    ///
    /// # Errors
    /// [`Fault::Stopped`] if so.
    pub fn check(&self) -> Outcome<()> {
        if self.is_stopped() {
            Err(Fault::Stopped)
        } else {
            Ok(())
        }
    }
}

/// What happens in a run, for whoever watches.
pub enum Event<'a> {
    /// Training has made more updates.
    Update {
        /// The trainer between two spans of updates: networks, history, statuses.
        trainer: &'a Trainer<'a>,
        /// The experiment that it trains.
        experiment: &'a Experiment,
        /// What the experiment was built into.
        built: &'a Built,
        /// Updates of single networks per second in this session.
        rate: f64,
        /// Seconds until all updates are made, at this rate, if no network stops early.
        seconds_left: f64,
    },
    /// A checkpoint is on disk: one that training continues from, or a new one.
    Checkpoint {
        /// Its update.
        update: u64,
    },
    /// An analysis begins.
    Analysis {
        /// Its name.
        name: &'static str,
    },
    /// An analysis goes on.
    Progress {
        /// Its name.
        name: &'static str,
        /// The part that is done, from 0 to 1.
        done: f64,
    },
    /// A figure was written.
    Figure {
        /// Its name.
        name: &'static str,
    },
    /// Something a user should know that is no error.
    Note(String),
}

/// Whoever watches a run. Called on the run's thread, often: it should be quick.
pub type Observer<'a> = &'a mut dyn FnMut(Event);

/// What to write of the figures, where it is not what the experiment says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FigureOptions {
    /// Only figures of these names; empty: all that can be drawn.
    pub only: Vec<String>,
    /// Formats instead of the experiment's.
    pub formats: Option<Vec<String>>,
    /// Width in millimetres instead of the experiment's.
    pub width_mm: Option<f64>,
}

/// Makes or opens the run folder of an experiment. A folder that holds another experiment is refused:
/// nothing of it is overwritten.
///
/// # Errors
/// As said, and if the folder cannot be made.
pub fn prepare(folder: &std::path::Path, experiment: &Experiment) -> Outcome<RunFolder> {
    // The experiment must be whole before anything is written.
    experiment.build()?;
    let folder = RunFolder::create(folder)?;
    if folder.has_experiment() {
        keep_experiment(&folder, experiment)?;
    } else {
        folder.write_experiment(&experiment.to_toml(false))?;
    }
    Ok(folder)
}

/// Writes an experiment over that of a run folder, if it differs in analyses and figures only.
///
/// # Errors
/// If it differs in what the networks depend on, or cannot be written.
pub fn keep_experiment(folder: &RunFolder, experiment: &Experiment) -> Outcome<()> {
    let present = Experiment::of_run(folder)?;
    if let Some((key, there, here)) = first_difference(&present, experiment) {
        return Err(Error::argument(
            format!(
                "{}: run folder of another experiment, key \"{key}\"",
                folder.path().display()
            ),
            format!("{there} there, {here} here"),
            "the same experiment, to continue it; or another folder with --out",
        )
        .into());
    }
    // Analyses and figures may be asked for anew; the folder says what was asked for last.
    if present != *experiment {
        let _lock = folder.lock()?;
        folder.write_experiment(&experiment.to_toml(false))?;
    }
    Ok(())
}

/// The first key in which two experiments differ, among those that training depends on.
fn first_difference(a: &Experiment, b: &Experiment) -> Option<(String, String, String)> {
    let sections = [
        ("", &a.top, &b.top),
        ("task.", &a.task, &b.task),
        ("model.", &a.model, &b.model),
        ("training.", &a.training, &b.training),
    ];
    for (prefix, a, b) in sections {
        let show = |value: Option<&nullcline_data::settings::Value>| {
            value.map_or("not set".to_owned(), |value| value.to_toml())
        };
        for (key, value) in a.iter() {
            let other = if b.keys().any(|known| known.name == key.name) {
                b.value(key.name)
            } else {
                None
            };
            if value != other {
                return Some((format!("{prefix}{}", key.name), show(value), show(other)));
            }
        }
    }
    None
}

/// Time between two looks at whether the user wants something.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How many updates are made between two looks at what the user wants.
struct Pace {
    at_a_time: u64,
    /// Updates per second of the last span that was not cut short.
    rate: f64,
}

impl Pace {
    /// One update to begin with.
    fn new() -> Self {
        Pace {
            at_a_time: 1,
            rate: 0.0,
        }
    }

    /// After `made` updates took so long: twice as many where that was short, or where a span costs so much in
    /// itself that more at a time are made faster; half as many where it was long. What an evaluation or a file
    /// has cut short says nothing.
    fn learn(&mut self, made: u64, took: Duration) {
        if made < self.at_a_time {
            return;
        }
        let rate = made as f64 / took.as_secs_f64().max(1e-9);
        let gained = rate > 1.2 * self.rate;
        if took < LOOK_EVERY / 2 || gained && took < LOOK_EVERY * 10 {
            self.at_a_time = 2 * made;
        } else if took > LOOK_EVERY * 2 {
            self.at_a_time = (made / 2).max(1);
        }
        self.rate = rate;
    }
}

/// Updates from `update` on to the next one after which a file is written.
fn until_file(training: &TrainingSettings, update: u64) -> u64 {
    let every = training.checkpoint_every;
    let checkpoint = (update / every + 1) * every;
    training
        .snapshots
        .iter()
        .copied()
        .filter(|&snapshot| snapshot > update)
        .fold(checkpoint, u64::min)
        - update
}

/// Trains the networks of a run folder to the end, from its last checkpoint if it has one; returns how each
/// of them ended.
///
/// # Errors
/// [`Fault::Stopped`] with a checkpoint written where the user stops it.
pub fn train(
    folder: &RunFolder,
    experiment: &Experiment,
    devices: &Devices,
    command: &[String],
    control: &Control,
    observe: Observer,
) -> Outcome<Vec<Status>> {
    let _lock = folder.lock()?;
    check_inputs(folder, experiment)?;
    let built = experiment.build()?;
    let mut trainer = Trainer::new(
        &*built.task,
        built.architecture.clone(),
        &built.initialisation,
        built.training.clone(),
        experiment.networks(),
        experiment.seed(),
    )?;
    let checkpoint = folder.read_checkpoint()?;
    let resumed = checkpoint.is_some();
    if let Some(checkpoint) = checkpoint {
        trainer.restore(&checkpoint)?;
        if folder.training_path().exists() {
            let metric_count = built.task.metric_names().len();
            let table = Table::read_parquet(&folder.training_path())?;
            trainer.restore_history(history_from_table(
                &table,
                built.task.metric_names(),
                metric_count,
            )?);
        }
        observe(Event::Note(format!(
            "continuing {} at update {}",
            folder.path().display(),
            trainer.update()
        )));
        observe(Event::Checkpoint {
            update: trainer.update(),
        });
    }
    let before = folder.read_provenance()?;
    // The device that made the checkpoint, or would have.
    let device = before.as_ref().map(|before| {
        let later = before
            .resumed
            .iter()
            .rev()
            .map(|again| again.device.as_str());
        later
            .chain([before.device.as_str()])
            .find(|device| !device.is_empty())
            .unwrap_or_default()
    });
    let (mut engine, why) = devices.choose(device, &trainer, control)?;
    if let Some(why) = why {
        observe(Event::Note(why));
    }
    let other = device.filter(|device| *device != engine.name());
    if let (Some(device), true, false) = (other, resumed, trainer.is_done()) {
        observe(Event::Note(format!(
            "trained on {device} so far, from here on {}: rounding differs between the two",
            engine.name()
        )));
    }
    let mut provenance = match before {
        Some(mut provenance) => {
            if provenance.finished.is_none() {
                provenance.resumed.push(Resumption {
                    time: provenance::now(),
                    device: engine.name(),
                    command: command.to_vec(),
                });
            }
            provenance
        }
        None => new_provenance(experiment, engine.name(), command, experiment.input_files())?,
    };
    folder.write_provenance(&provenance)?;
    if !resumed && built.training.snapshots.contains(&0) {
        folder.write_snapshot(0, &trainer.checkpoint())?;
    }

    let save = |trainer: &Trainer| -> Outcome<()> {
        // The table first: if the program ends between the two, the rows beyond the checkpoint are dropped
        // when it goes on; the other way round they would be missing.
        training_table(trainer.history(), built.task.metric_names())?
            .write_parquet(&folder.training_path())?;
        folder.write_checkpoint(&trainer.checkpoint())?;
        Ok(())
    };
    let begun = (Instant::now(), trainer.network_updates());
    let mut saved = trainer.update();
    let mut pace = Pace::new();
    while !trainer.is_done() {
        if control.is_stopped() {
            save(&trainer)?;
            return Err(Fault::Stopped);
        }
        if control.is_paused() {
            if saved != trainer.update() {
                save(&trainer)?;
                saved = trainer.update();
            }
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        // As many updates at a time as take a tenth of a second, so that the user is never far away.
        let (asked, from) = (Instant::now(), trainer.update());
        let wanted = pace.at_a_time.min(until_file(&built.training, from));
        if let Err(error) = trainer.advance(&mut *engine, wanted) {
            save(&trainer)?;
            observe(Event::Checkpoint { update: from });
            return Err(error.into());
        }
        let update = trainer.update();
        pace.learn(update - from, asked.elapsed());
        if built.training.snapshots.contains(&update) {
            folder.write_snapshot(update, &trainer.checkpoint())?;
        }
        if update.is_multiple_of(built.training.checkpoint_every) && !trainer.is_done() {
            save(&trainer)?;
            saved = update;
            observe(Event::Checkpoint { update });
        }
        let made = trainer.network_updates() - begun.1;
        let rate = made as f64 / begun.0.elapsed().as_secs_f64().max(1e-9);
        observe(Event::Update {
            trainer: &trainer,
            experiment,
            built: &built,
            rate,
            seconds_left: trainer.network_updates_left() as f64 / rate,
        });
    }
    if saved != trainer.update() || !resumed {
        save(&trainer)?;
        observe(Event::Checkpoint {
            update: trainer.update(),
        });
    }
    while let Some(network) = trainer.next_to_refine() {
        refine(&mut trainer, network, experiment, &built, control, observe)?;
        save(&trainer)?;
        observe(Event::Checkpoint {
            update: trainer.update(),
        });
    }
    for (network, status) in trainer.statuses().iter().enumerate() {
        if let Status::Diverged { update } = status {
            observe(Event::Note(format!(
                "network {network}: loss or gradient not finite at update {update}; its parameters are those of the update before"
            )));
        }
    }
    if provenance.finished.is_none() {
        provenance.finished = Some(provenance::now());
        folder.write_provenance(&provenance)?;
    }
    Ok(trainer.statuses())
}

/// Searches the neighbourhood of a trained network, and puts what is found in its place.
fn refine(
    trainer: &mut Trainer,
    network: usize,
    experiment: &Experiment,
    built: &Built,
    control: &Control,
    observe: Observer,
) -> Outcome<()> {
    let ensemble = trainer.ensemble();
    let diverged = matches!(
        trainer.statuses().get(network),
        Some(Status::Diverged { .. })
    );
    let found = match ensemble.parameters.get(network) {
        Some(parameters) if !diverged => {
            let seed = experiment.seed().wrapping_add(network as u64);
            let share = |done: f64| (network as f64 + done) / ensemble.len() as f64;
            let mut watch = |done: f64| {
                observe(Event::Progress {
                    name: "refinement",
                    done: share(done),
                });
                !control.is_stopped()
            };
            refinement::refine(experiment, built, parameters, seed, &mut watch)?
        }
        _ => None,
    };
    observe(Event::Note(match &found {
        Some(found) => format!(
            "network {network} refined: D_stsp of the training part from {:.2} to {:.2}, prediction error from {:.2e} to {:.2e}",
            found.divergence[0],
            found.divergence[1],
            found.prediction_error[0],
            found.prediction_error[1]
        ),
        None => format!("network {network} stays as it was trained: nothing near it is better"),
    }));
    trainer.refine(found.map(|found| found.parameters));
    Ok(())
}

/// The record of a run that begins now, with the checksums of the files it reads.
///
/// # Errors
/// If one of them cannot be read.
pub fn new_provenance(
    experiment: &Experiment,
    device: String,
    command: &[String],
    inputs: Vec<PathBuf>,
) -> Outcome<Provenance> {
    Ok(Provenance {
        program: "nullcline".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        commit: option_env!("NULLCLINE_COMMIT").map(str::to_owned),
        command: command.to_vec(),
        device,
        threads: rayon::current_num_threads(),
        seeds: (0..experiment.networks() as u64)
            .map(|k| experiment.seed().wrapping_add(k))
            .collect(),
        inputs: inputs
            .iter()
            .map(|path| InputFile::of(path))
            .collect::<Result<_, _>>()?,
        started: provenance::now(),
        resumed: Vec::new(),
        finished: None,
    })
}

/// The training table: update, network, loss, held_out_loss, the task's metrics, learning_rate, alpha where there is
/// forcing, seconds.
///
/// # Errors
/// None in practice: all columns are made with equal lengths.
pub fn training_table(history: &[HistoryRow], metrics: &[&str]) -> nullcline_data::Result<Table> {
    let mut table = Table::new();
    let column = |of: &dyn Fn(&HistoryRow) -> f64| history.iter().map(of).collect::<Vec<f64>>();
    table.add(
        "update",
        "updates",
        history.iter().map(|row| row.update).collect::<Vec<_>>(),
    )?;
    table.add(
        "network",
        "",
        history
            .iter()
            .map(|row| row.network as u64)
            .collect::<Vec<_>>(),
    )?;
    table.add("loss", "", column(&|row| row.loss))?;
    table.add(
        "held_out_loss",
        "",
        history
            .iter()
            .map(|row| row.held_out_loss)
            .collect::<Vec<_>>(),
    )?;
    for (k, name) in metrics.iter().enumerate() {
        let values: Vec<Option<f64>> = history
            .iter()
            .map(|row| row.metrics.get(k).copied())
            .collect();
        table.add(name, "", values)?;
    }
    table.add("learning_rate", "", column(&|row| row.learning_rate))?;
    if history.iter().any(|row| row.alpha.is_some()) {
        let alphas: Vec<Option<f64>> = history.iter().map(|row| row.alpha).collect();
        table.add("alpha", "", alphas)?;
    }
    table.add("seconds", "s", column(&|row| row.seconds))?;
    Ok(table)
}

fn history_from_table(
    table: &Table,
    metrics: &[&str],
    metric_count: usize,
) -> nullcline_data::Result<Vec<HistoryRow>> {
    let updates = table.u64_column("update")?;
    let networks = table.u64_column("network")?;
    let losses = table.f64_column("loss")?;
    let held_out = table.f64_column("held_out_loss")?;
    let rates = table.f64_column("learning_rate")?;
    let seconds = table.f64_column("seconds")?;
    let alphas = match table.column("alpha") {
        Some(_) => table.f64_column("alpha")?,
        None => vec![f64::NAN; updates.len()],
    };
    let measured: Vec<Vec<f64>> = metrics
        .iter()
        .map(|name| table.f64_column(name))
        .collect::<nullcline_data::Result<_>>()?;
    Ok((0..updates.len())
        .map(|i| {
            // Rows without evaluation read as NaN.
            let evaluated = !held_out[i].is_nan();
            HistoryRow {
                update: updates[i],
                network: networks[i] as usize,
                loss: losses[i],
                held_out_loss: evaluated.then_some(held_out[i]),
                metrics: if evaluated {
                    (0..metric_count).map(|k| measured[k][i]).collect()
                } else {
                    Vec::new()
                },
                learning_rate: rates[i],
                alpha: Some(alphas[i]).filter(|alpha| !alpha.is_nan()),
                seconds: seconds[i],
            }
        })
        .collect())
}

/// Refuses to go on with input files that are not those the run began with.
///
/// # Errors
/// If a file has another checksum than the run's provenance says, or cannot be read.
pub fn check_inputs(folder: &RunFolder, experiment: &Experiment) -> Outcome<()> {
    let Some(provenance) = folder.read_provenance()? else {
        return Ok(());
    };
    // Weights that were imported are no longer needed; what the task reads is.
    let read = experiment.input_files();
    let is_read = |path: &str| read.iter().any(|file| file == std::path::Path::new(path));
    for input in provenance
        .inputs
        .iter()
        .filter(|input| is_read(&input.path))
    {
        let now = provenance::sha256_file(std::path::Path::new(&input.path))?;
        if now != input.sha256 {
            return Err(Error::Format {
                file: input.path.clone(),
                what: format!("content, which {} was trained on", folder.path().display()),
                found: format!("sha256 {now}"),
                allowed: format!(
                    "sha256 {}: the file as it was, or a new run folder",
                    input.sha256
                ),
            }
            .into());
        }
    }
    Ok(())
}

/// The trained networks of a run folder.
///
/// # Errors
/// If it has no checkpoint yet, or one of another experiment.
pub fn trained(folder: &RunFolder, built: &Built) -> Outcome<Ensemble> {
    Ok(ensemble_from_tensors(
        &checkpoint(folder)?,
        &built.architecture,
    )?)
}

/// The networks as they were after some of the updates, read from their files when they are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshots<'a> {
    /// The run; none for networks that live in memory alone.
    folder: Option<&'a RunFolder>,
    /// Updates that the trained networks have had.
    trained: u64,
}

impl<'a> Snapshots<'a> {
    /// Those of a run folder.
    ///
    /// # Errors
    /// If its checkpoint cannot be read.
    pub fn of(folder: &'a RunFolder) -> Outcome<Self> {
        let checkpoint = checkpoint(folder)?;
        // A checkpoint of imported weights counts no updates.
        let updates = checkpoint.u64("training.update").ok();
        let trained = updates.and_then(|updates| updates.first().copied());
        Ok(Snapshots {
            folder: Some(folder),
            trained: trained.unwrap_or(0),
        })
    }

    /// The updates after which there are networks, ascending; the last are the trained networks themselves.
    pub fn updates(&self) -> Vec<u64> {
        let Some(folder) = self.folder else {
            return Vec::new();
        };
        let mut updates = folder.snapshots();
        updates.retain(|&update| update < self.trained);
        updates.push(self.trained);
        updates
    }

    /// The networks after one of the updates.
    ///
    /// # Errors
    /// If there is no such file, or it holds networks of another architecture.
    pub fn read(&self, update: u64, architecture: &Architecture) -> Outcome<Ensemble> {
        let Some(folder) = self.folder else {
            return Err(Error::argument("snapshot", update.to_string(), "none here").into());
        };
        let tensors = if update == self.trained {
            checkpoint(folder)?
        } else {
            folder.read_snapshot(update)?
        };
        Ok(ensemble_from_tensors(&tensors, architecture)?)
    }
}

/// The trained networks of a run folder without its task, whose recording may be elsewhere: the numbers of
/// inputs and outputs are those of the checkpoint.
///
/// # Errors
/// As [`trained`].
pub fn trained_without_task(folder: &RunFolder, experiment: &Experiment) -> Outcome<Ensemble> {
    let checkpoint = checkpoint(folder)?;
    // [networks, gate rows, inputs], [networks, outputs, units], [networks, unobserved units, outputs].
    let size = |name: &str, axis: usize| {
        let tensor = checkpoint.get(name)?;
        tensor.shape().get(axis).copied()
    };
    let inputs = size("input", 2).unwrap_or(0);
    let outputs = size("readout", 1)
        .or_else(|| size("initial", 2))
        .unwrap_or(experiment.model.count("units"));
    let architecture = experiment.architecture(inputs, outputs)?;
    Ok(ensemble_from_tensors(&checkpoint, &architecture)?)
}

fn checkpoint(folder: &RunFolder) -> Outcome<Tensors> {
    Ok(folder.read_checkpoint()?.ok_or_else(|| {
        Error::missing(
            &folder.checkpoint_path(),
            "checkpoint: the run has not been trained",
        )
    })?)
}

/// The analyses to run: all that are enabled and apply, or those named, with those they need that have no
/// results yet and those with results that read theirs.
fn chosen(
    experiment: &Experiment,
    built: &Built,
    only: &[String],
    results: &Results,
) -> Outcome<Vec<&'static AnalysisKind>> {
    let task = &*built.task;
    let applies = |kind: &&AnalysisKind| (kind.applies)(task, &built.architecture);
    if only.is_empty() {
        return Ok(ANALYSES
            .iter()
            .filter(applies)
            .filter(|kind| {
                experiment
                    .analysis(kind.name)
                    .is_some_and(|settings| settings.flag("enabled"))
            })
            .collect());
    }
    let mut wanted: Vec<&'static str> = Vec::new();
    for name in only {
        let kind = crate::analyses::kind(name).ok_or_else(|| {
            let known: Vec<&str> = ANALYSES.iter().map(|kind| kind.name).collect();
            Error::argument("--only", format!("\"{name}\""), known.join(", "))
        })?;
        if !applies(&kind) {
            let applying: Vec<&str> = ANALYSES
                .iter()
                .filter(applies)
                .map(|kind| kind.name)
                .collect();
            return Err(Error::argument(
                "--only",
                format!(
                    "\"{name}\", which does not apply to the task \"{}\" and the cell \"{}\"",
                    task.kind(),
                    built.architecture.cell.name()
                ),
                applying.join(", "),
            )
            .into());
        }
        wanted.push(kind.name);
    }
    // From the last back, so that what is needed by what is needed is there too.
    for kind in ANALYSES.iter().rev() {
        if wanted.contains(&kind.name) {
            let missing = kind.needs.iter().filter(|need| !results.has(need));
            wanted.extend(missing);
        }
    }
    // What reads a result that is made anew is made anew too, or the two would not belong together.
    for kind in ANALYSES {
        if results.has(kind.name) && kind.needs.iter().any(|need| wanted.contains(need)) {
            wanted.push(kind.name);
        }
    }
    Ok(ANALYSES
        .iter()
        .filter(|kind| wanted.contains(&kind.name))
        .collect())
}

/// Runs analyses on networks, into `results`; each one's tables and arrays are given to `keep` when it is
/// done.
///
/// # Errors
/// The first analysis that fails.
#[allow(clippy::too_many_arguments)]
pub fn analyze_ensemble(
    experiment: &Experiment,
    built: &Built,
    ensemble: &Ensemble,
    snapshots: Snapshots,
    engine: &mut dyn Engine,
    only: &[String],
    results: &mut Results,
    control: &Control,
    observe: Observer,
    keep: &mut dyn FnMut(&Results, &[String]) -> Outcome<()>,
) -> Outcome<()> {
    for kind in chosen(experiment, built, only, results)? {
        control.check()?;
        observe(Event::Analysis { name: kind.name });
        let Some(settings) = experiment.analysis(kind.name) else {
            continue;
        };
        let mut context = Context {
            experiment,
            task: &*built.task,
            ensemble,
            snapshots,
            objective: built.training.objective(&*built.task),
            engine,
            settings,
            results,
            control,
            observe: &mut *observe,
            name: kind.name,
            written: Vec::new(),
        };
        (kind.run)(&mut context)?;
        let written = context.written;
        debug_assert_eq!(undescribed(kind, results, &written), Vec::<String>::new());
        keep(results, &written)?;
    }
    Ok(())
}

/// Columns and arrays that an analysis has written and its reference does not describe.
fn undescribed(kind: &AnalysisKind, results: &Results, written: &[String]) -> Vec<String> {
    let described = |file: &str, column: &str| {
        let mut tables = kind.tables.iter();
        tables.any(|table| table.name == file && table.describes(column))
    };
    let mut missing = Vec::new();
    for name in written {
        for column in results.table(name).map_or(&[][..], |table| table.columns()) {
            if !described(name, &column.name) {
                missing.push(format!("{name}: {}", column.name));
            }
        }
        let file = format!("{name}.npz");
        for (array, _) in results.arrays.get(name).map_or(&[][..], |arrays| arrays) {
            if !described(&file, array) {
                missing.push(format!("{file}: {array}"));
            }
        }
    }
    missing
}

/// Runs analyses on a run folder: all that are enabled and apply, or those named.
///
/// # Errors
/// The first analysis that fails; those before it are saved.
pub fn analyze(
    folder: &RunFolder,
    experiment: &Experiment,
    engine: &mut dyn Engine,
    only: &[String],
    control: &Control,
    observe: Observer,
) -> Outcome<()> {
    let _lock = folder.lock()?;
    check_inputs(folder, experiment)?;
    let built = experiment.build()?;
    let ensemble = trained(folder, &built)?;
    if ensemble.len() != experiment.networks() {
        return Err(Error::format(
            &folder.checkpoint_path(),
            "number of networks",
            ensemble.len().to_string(),
            experiment.networks().to_string(),
        )
        .into());
    }
    let mut results = Results::load(folder)?;
    analyze_ensemble(
        experiment,
        &built,
        &ensemble,
        Snapshots::of(folder)?,
        engine,
        only,
        &mut results,
        control,
        observe,
        &mut |results, names| Ok(results.save(folder, names)?),
    )
}

/// Draws the figures of a run folder.
///
/// # Errors
/// An unknown name, a figure whose results are missing if it was named, a file that cannot be written.
pub fn draw(
    folder: &RunFolder,
    experiment: &Experiment,
    options: &FigureOptions,
    observe: Observer,
) -> Outcome<()> {
    let _lock = folder.lock()?;
    let results = Results::load(folder)?;
    for name in &options.only {
        if !FIGURES.iter().any(|kind| kind.name == name) {
            let known: Vec<&str> = FIGURES.iter().map(|kind| kind.name).collect();
            return Err(Error::argument("--only", format!("\"{name}\""), known.join(", ")).into());
        }
    }
    let width = options
        .width_mm
        .unwrap_or(experiment.figures.number("width"));
    let formats = options
        .formats
        .clone()
        .unwrap_or_else(|| experiment.figures.texts("formats").to_vec());
    for kind in FIGURES {
        let named = options.only.iter().any(|name| name == kind.name);
        if !options.only.is_empty() && !named {
            continue;
        }
        let Some(figure) = (kind.build)(&results)? else {
            if named {
                let missing: Vec<&str> = kind
                    .needs
                    .iter()
                    .copied()
                    .filter(|need| !results.has(need))
                    .collect();
                return Err(Error::argument(
                    format!("figure \"{}\" of {}", kind.name, folder.path().display()),
                    match missing.as_slice() {
                        [] => "results with nothing to draw".to_owned(),
                        missing => format!("no results of {}", missing.join(", ")),
                    },
                    "a run that has been trained and analysed",
                )
                .into());
            }
            continue;
        };
        write_figure(folder, experiment, figure, &formats, width)?;
        observe(Event::Figure { name: kind.name });
    }
    Ok(())
}

/// Writes a figure in its formats, with the numbers drawn beside it as csv and the experiment inside.
///
/// # Errors
/// If it cannot be drawn at this width or written.
pub fn write_figure(
    folder: &RunFolder,
    experiment: &Experiment,
    figure: Figure,
    formats: &[String],
    width: f64,
) -> Outcome<()> {
    for format in formats {
        let bytes = figure_bytes(experiment, &figure, format, width)?;
        write_atomically(&folder.figure_path(&figure.name, format), &bytes)?;
    }
    write_atomically(
        &folder.figure_path(&figure.name, "csv"),
        figure.csv().as_bytes(),
    )?;
    Ok(())
}

/// A figure as the content of a file: svg, pdf or png, `width` millimetres wide, with the experiment inside.
///
/// # Errors
/// Another format, or a figure that cannot be drawn at this width.
pub fn figure_bytes(
    experiment: &Experiment,
    figure: &Figure,
    format: &str,
    width: f64,
) -> Outcome<Vec<u8>> {
    let mut figure = figure.clone();
    figure
        .metadata
        .push(("experiment".into(), experiment.to_toml(false)));
    match format {
        "svg" => Ok(nullcline_figures::export::svg(&figure, width)?.into_bytes()),
        "pdf" => Ok(nullcline_figures::export::pdf(&figure, width)?),
        "png" => Ok(nullcline_figures::export::png(&figure, width, 300.0)?),
        other => {
            Err(Error::argument("format", other, crate::experiment::FORMATS.join(", ")).into())
        }
    }
}

/// Adds the training table of a trainer at work to results in memory.
///
/// # Errors
/// As [`training_table`].
pub fn add_training(
    results: &mut Results,
    trainer: &Trainer,
    task: &dyn Task,
) -> nullcline_data::Result<()> {
    let table = training_table(trainer.history(), task.metric_names())?;
    results.tables.insert(TRAINING.into(), table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spans that come of a cost of `fixed` for each and `each` for every update, in seconds.
    fn spans(fixed: f64, each: f64, most: u64) -> Vec<u64> {
        let mut pace = Pace::new();
        let mut spans = Vec::new();
        for _ in 0..20 {
            let made = pace.at_a_time.min(most);
            spans.push(made);
            pace.learn(made, Duration::from_secs_f64(fixed + each * made as f64));
        }
        spans
    }

    #[test]
    fn spans_fit_their_cost() {
        // A millisecond an update: about a tenth of a second at a time.
        assert_eq!(spans(0.0, 0.001, 1 << 40).last(), Some(&64));
        // Slow updates: one at a time.
        assert_eq!(spans(0.0, 1.0, 1 << 40).last(), Some(&1));
        // A span that costs a tenth of a second whatever is in it: many updates in each.
        assert!(spans(0.1, 0.001, 1 << 40).last() >= Some(&64));
        // Cut to one by a snapshot after every update: it asks for two, and no more.
        let mut pace = Pace::new();
        (0..50).for_each(|_| pace.learn(1, Duration::from_millis(1)));
        assert_eq!(pace.at_a_time, 2);
    }

    #[test]
    fn files_end_a_span() {
        let mut settings = nullcline_data::settings::Settings::from_defaults(
            "training",
            &[nullcline_models::training::KEYS],
        );
        let integers = |n: &[i64]| nullcline_data::settings::Value::Integers(n.to_vec());
        settings.set("snapshots", integers(&[3, 700])).unwrap();
        let training = TrainingSettings::from_settings(&settings).unwrap();
        assert_eq!(training.checkpoint_every, 500);
        for (update, left) in [
            (0, 3),
            (3, 497),
            (499, 1),
            (500, 200),
            (700, 300),
            (1000, 500),
        ] {
            assert_eq!(until_file(&training, update), left);
        }
    }
}
