//! The experiment: what an `experiment.toml` says, checked, with every default filled in.

use crate::analyses::{ANALYSES, AnalysisKind};
use nullcline_data::run_folder::RunFolder;
use nullcline_data::settings::{Document, Key, Kind, Preset, Settings, Value, write_toml};
use nullcline_data::{Error, Result};
use nullcline_models::architecture::Architecture;
use nullcline_models::ensemble::Initialisation;
use nullcline_models::registry::{MODELS, ModelKind};
use nullcline_models::training::{self, Trainer, TrainingSettings};
use nullcline_tasks::{Split, TASKS, Task, TaskKind};
use std::path::{Path, PathBuf};

/// Keys outside any table.
pub const TOP_KEYS: &[Key] = &[
    Key {
        name: "name",
        kind: Kind::Text,
        default: Preset::Required,
        unit: "",
        doc: "Name of the experiment; the run folder is runs/NAME unless --out says otherwise.",
    },
    Key {
        name: "seed",
        kind: Kind::Integer {
            min: 0,
            max: i64::MAX,
        },
        default: Preset::Integer(1),
        unit: "",
        doc: "Seed of all random numbers. Network k of an ensemble is the single network of seed + k.",
    },
    Key {
        name: "networks",
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        default: Preset::Integer(1),
        unit: "",
        doc: "Networks to train side by side; they differ by seed.",
    },
];

/// Keys of the `[figures]` table.
pub const FIGURE_KEYS: &[Key] = &[
    Key {
        name: "width",
        kind: Kind::Number {
            min: 40.0,
            max: 400.0,
        },
        default: Preset::Number(89.0),
        unit: "mm",
        doc: "Width of the figures: 89 is one journal column, 120 one and a half, 183 two.",
    },
    Key {
        name: "formats",
        kind: Kind::Texts,
        default: Preset::Texts(&["svg", "pdf", "png"]),
        unit: "",
        doc: "Files to write of each figure: svg, pdf (vector, text as text), png (300 dpi).",
    },
    Key {
        name: "network",
        kind: Kind::Integer {
            min: 0,
            max: 1_000_000,
        },
        default: Preset::Integer(0),
        unit: "",
        doc: "The network of an ensemble that figures of a single network show, from 0.",
    },
];

/// Formats that a figure can be written in.
pub const FORMATS: &[&str] = &["svg", "pdf", "png"];

/// The key of a table that picks the schema of the rest.
const TASK_KIND_KEY: &[Key] = &[Key {
    name: "kind",
    kind: Kind::Text,
    default: Preset::Required,
    unit: "",
    doc: "The task; `nullcline list tasks` names them all.",
}];
const MODEL_KIND_KEY: &[Key] = &[Key {
    name: "kind",
    kind: Kind::Text,
    default: Preset::Required,
    unit: "",
    doc: "The cell; `nullcline list cells` names them all.",
}];

/// A checked experiment. Every table is complete: what the file left out has its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// `name`, `seed`, `networks`.
    pub top: Settings,
    /// `[task]`, with its `kind`.
    pub task: Settings,
    /// `[model]`, with its `kind`.
    pub model: Settings,
    /// `[training]`.
    pub training: Settings,
    /// `[analysis.NAME]` for every analysis there is, in the order of the registry.
    pub analyses: Vec<(&'static str, Settings)>,
    /// `[figures]`.
    pub figures: Settings,
}

/// The pieces that an experiment builds.
pub struct Built {
    /// The task.
    pub task: Box<dyn Task>,
    /// The networks' architecture.
    pub architecture: Architecture,
    /// How their parameters start.
    pub initialisation: Initialisation,
    /// How they are trained.
    pub training: TrainingSettings,
}

fn names<T>(kinds: &'static [T], name: fn(&T) -> &'static str) -> Vec<&'static str> {
    kinds.iter().map(name).collect()
}

impl Experiment {
    /// The defaults of a task and a cell, by name; `None` if there is no such task or cell. Keys that have
    /// no default, such as a recording's file, are left unset.
    pub fn defaults(task: &str, model: &str) -> Option<Experiment> {
        let task_kind = nullcline_tasks::kind(task)?;
        let model_kind = nullcline_models::registry::kind(model)?;
        let mut experiment = Experiment {
            top: Settings::from_defaults("", &[TOP_KEYS]),
            task: Settings::from_defaults("task", &[TASK_KIND_KEY, task_kind.keys]),
            model: Settings::from_defaults("model", &model_schema(model_kind)),
            training: Settings::from_defaults("training", &[training::KEYS]),
            analyses: ANALYSES
                .iter()
                .map(|kind| {
                    (
                        kind.name,
                        Settings::from_defaults(&table_name(kind), &kind.schema()),
                    )
                })
                .collect(),
            figures: Settings::from_defaults("figures", &[FIGURE_KEYS]),
        };
        let set = |settings: &mut Settings, key: &str, value: &str| {
            // The key stands in the schema above and takes any text.
            let _ = settings.set(key, Value::Text(value.to_owned()));
        };
        set(&mut experiment.top, "name", task);
        set(&mut experiment.task, "kind", task);
        set(&mut experiment.model, "kind", model);
        Some(experiment)
    }

    /// Reads an experiment file, with `--set key=value` assignments on top of it.
    ///
    /// # Errors
    /// The first thing that is wrong, naming file, line, key, what was found and what is allowed.
    pub fn read(path: &Path, assignments: &[String]) -> Result<Experiment> {
        Experiment::from_document(&Experiment::document(path, assignments)?)
    }

    /// Reads an experiment that is to be run: as [`Experiment::read`], and its parts are built to see that they
    /// fit together.
    ///
    /// # Errors
    /// As [`Experiment::read`] and [`Experiment::build`], naming file, line and key.
    pub fn read_to_run(path: &Path, assignments: &[String]) -> Result<Experiment> {
        let document = Experiment::document(path, assignments)?;
        let experiment = Experiment::from_document(&document)?;
        match experiment.build() {
            Ok(_) => Ok(experiment),
            Err(error) => Err(document.locate(error)),
        }
    }

    fn document(path: &Path, assignments: &[String]) -> Result<Document> {
        let mut document = Document::read(path)?;
        for assignment in assignments {
            document.set(assignment)?;
        }
        Ok(document)
    }

    /// The experiment of a run folder.
    ///
    /// # Errors
    /// As [`Experiment::read`].
    pub fn of_run(folder: &RunFolder) -> Result<Experiment> {
        Experiment::read(&folder.experiment_path(), &[])
    }

    /// Checks a parsed file.
    ///
    /// # Errors
    /// As [`Experiment::read`].
    pub fn from_document(document: &Document) -> Result<Experiment> {
        let analysis_tables: Vec<String> = ANALYSES.iter().map(table_name).collect();
        let mut tables = vec!["task", "model", "training", "figures"];
        tables.extend(analysis_tables.iter().map(String::as_str));
        document.check_tables(&tables)?;
        let top = document.section("", &[TOP_KEYS])?;
        let name = top.text("name");
        if name.is_empty()
            || !name
                .chars()
                .all(|c| c.is_alphanumeric() || "-_.".contains(c))
            || name.starts_with('.')
        {
            return Err(Error::Setting {
                file: document.name().into(),
                line: document.line("name"),
                key: "name".into(),
                found: format!("\"{name}\"").into(),
                allowed:
                    "letters, digits, '-', '_' and '.', not starting with '.': it names a folder"
                        .into(),
                hint: None,
            });
        }
        let task = task_settings(document)?;
        let model_name =
            document.choice("model.kind", &names(MODELS, |kind: &ModelKind| kind.name))?;
        let Some(model_kind) = nullcline_models::registry::kind(&model_name) else {
            // `choice` has admitted the names of the registry only.
            return Err(Error::missing(Path::new(document.name()), "a model"));
        };
        let experiment = Experiment {
            top,
            task,
            model: document.section("model", &model_schema(model_kind))?,
            training: document.section("training", &[training::KEYS])?,
            analyses: ANALYSES
                .iter()
                .map(|kind| {
                    let mut settings = document.section(&table_name(kind), &kind.schema())?;
                    resolve_paths(document, &mut settings)?;
                    Ok((kind.name, settings))
                })
                .collect::<Result<_>>()?,
            figures: document.section("figures", &[FIGURE_KEYS])?,
        };
        for format in experiment.figures.texts("formats") {
            if !FORMATS.contains(&format.as_str()) {
                return Err(Error::Setting {
                    file: document.name().into(),
                    line: document.line("figures.formats"),
                    key: "figures.formats".into(),
                    found: format!("\"{format}\"").into(),
                    allowed: FORMATS.join(", ").into(),
                    hint: None,
                });
            }
        }
        Ok(experiment)
    }

    /// The experiment as TOML, every default written out; with `comments` each key has its documentation
    /// above it.
    pub fn to_toml(&self, comments: bool) -> String {
        let tables: Vec<(String, &Settings)> = self
            .analyses
            .iter()
            .map(|(name, settings)| (format!("analysis.{name}"), settings))
            .collect();
        let mut sections: Vec<(&str, &Settings)> = vec![
            ("", &self.top),
            ("task", &self.task),
            ("model", &self.model),
            ("training", &self.training),
        ];
        sections.extend(
            tables
                .iter()
                .map(|(name, settings)| (name.as_str(), *settings)),
        );
        sections.push(("figures", &self.figures));
        write_toml(&sections, comments)
    }

    /// `name`.
    pub fn name(&self) -> &str {
        self.top.text("name")
    }

    /// `seed`.
    pub fn seed(&self) -> u64 {
        self.top.integer("seed").unsigned_abs()
    }

    /// `networks`.
    pub fn networks(&self) -> usize {
        self.top.count("networks")
    }

    /// The settings of an analysis; `None` for a name that the registry lacks.
    pub fn analysis(&self, name: &str) -> Option<&Settings> {
        self.analyses
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, settings)| settings)
    }

    /// The architecture for a task of these dimensions.
    ///
    /// # Errors
    /// As [`ModelKind::build`].
    pub fn architecture(&self, inputs: usize, outputs: usize) -> Result<Architecture> {
        let name = self.model.text("kind");
        let kind = nullcline_models::registry::kind(name)
            .ok_or_else(|| Error::argument("key \"model.kind\"", name, "a name of the registry"))?;
        Ok(kind.build(&self.model, inputs, outputs)?.0)
    }

    /// Builds task and architecture; what only their combination shows to be wrong is found here.
    ///
    /// # Errors
    /// A recording that cannot be read or does not fit, sizes that contradict each other, a training method
    /// that task or cell do not allow.
    pub fn build(&self) -> Result<Built> {
        let unknown =
            |what: &str, name: &str| Error::argument(what, name, "a name of the registry");
        let task_kind = nullcline_tasks::kind(self.task.text("kind"))
            .ok_or_else(|| unknown("key \"task.kind\"", self.task.text("kind")))?;
        let model_kind = nullcline_models::registry::kind(self.model.text("kind"))
            .ok_or_else(|| unknown("key \"model.kind\"", self.model.text("kind")))?;
        let task = (task_kind.build)(&self.task)?;
        let (inputs, outputs) = (task.input_names().len(), task.output_names().len());
        let (architecture, initialisation) = model_kind.build(&self.model, inputs, outputs)?;
        let training = TrainingSettings::from_settings(&self.training)?;
        // First of all: what looks at parameters one by one needs room for them.
        self.check_memory(&*task, &architecture, &training)?;
        self.check_analyses(&*task, &architecture)?;
        // A method that does not fit task or cell is refused by the trainer: try it with as little as it takes.
        let least = TrainingSettings {
            evaluation_trials: 1,
            ..training.clone()
        };
        Trainer::new(
            &*task,
            architecture.clone(),
            &initialisation,
            least,
            1,
            self.seed(),
        )?;
        Ok(Built {
            task,
            architecture,
            initialisation,
            training,
        })
    }

    /// What analyses and figures ask for against what task and ensemble have.
    fn check_analyses(&self, task: &dyn Task, architecture: &Architecture) -> Result<()> {
        let networks = self.networks();
        if self.figures.count("network") >= networks {
            return Err(Error::argument(
                "key \"figures.network\"",
                self.figures.count("network").to_string(),
                format!("0 to {}, a network of the ensemble", networks - 1),
            ));
        }
        let inputs = task.input_names().len();
        if let Some(input) = self
            .analysis("fixed_points")
            .and_then(|settings| settings.optional_numbers("input"))
            && (input.is_empty() != (inputs == 0) || inputs > 0 && input.len() % inputs != 0)
        {
            return Err(Error::argument(
                "key \"analysis.fixed_points.input\"",
                format!("{} numbers", input.len()),
                format!("{inputs}, one per input of the task, or a multiple of it"),
            ));
        }
        let enabled = |name: &str| {
            self.analysis(name)
                .is_some_and(|settings| settings.flag("enabled"))
        };
        for kind in ANALYSES
            .iter()
            .filter(|kind| (kind.applies)(task, architecture) && enabled(kind.name))
        {
            if let Some(need) = kind.needs.iter().find(|need| !enabled(need)) {
                return Err(Error::argument(
                    format!("key \"analysis.{need}.enabled\""),
                    "false",
                    format!(
                        "true while \"{}\" is enabled, which reads its results",
                        kind.name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Refuses sizes that this machine cannot hold, before anything of that size is made.
    fn check_memory(
        &self,
        task: &dyn Task,
        architecture: &Architecture,
        training: &TrainingSettings,
    ) -> Result<()> {
        let steps = task.trials(Split::Training, self.seed(), 0, 1).steps();
        let shape = architecture.cell.shape();
        // Of every network: parameters, two moments, the previous ones, their copies and what enters a
        // checkpoint; inputs and targets of the held-out trials.
        let given = architecture.inputs + architecture.outputs;
        let of_network =
            10 * architecture.parameter_count() + training.evaluation_trials * steps * given;
        // Of every thread at work: trials of an update, and for a shard of them inputs, targets, outputs, states,
        // tape and hidden layer.
        let of_step = given
            + 2 * architecture.outputs
            + (2 * shape.states + shape.tape) * architecture.units
            + 2 * match architecture.cell.is_plrnn() {
                true => architecture.recurrent_columns(),
                false => 0,
            };
        let of_thread = steps as f64 * (training.batch * given + 32 * of_step) as f64;
        // States and outputs of the networks that are evaluated together, at least one.
        let of_response = training.evaluation_trials * (steps + 1);
        let of_response = of_response * (architecture.state_dim() + architecture.outputs);
        let networks = self.networks() as f64;
        let threads = rayon::current_num_threads() as f64;
        let bytes = 4.0 * (networks * of_network as f64 + threads * of_thread + of_response as f64);
        let memory = nullcline_data::memory::total_bytes() as f64;
        if bytes <= memory {
            return Ok(());
        }
        let gib = |bytes: f64| bytes / f64::from(1u32 << 30);
        Err(Error::argument(
            "memory for model.units, training.batch, the steps of the task and networks together",
            format!("about {:.0} GiB", gib(bytes)),
            format!("at most the {:.0} GiB of this machine", gib(memory)),
        ))
    }

    /// The files that the task reads, for provenance.
    pub fn input_files(&self) -> Vec<PathBuf> {
        self.task
            .iter()
            .filter(|(key, _)| key.kind == Kind::Path)
            .filter_map(|(_, value)| match value {
                Some(Value::Text(path)) if !path.starts_with(BUILTIN) => {
                    Some(nullcline_data::recording::split_array_name(Path::new(path)).0)
                }
                _ => None,
            })
            .collect()
    }
}

/// What the path of a recording that is compiled into the program starts with.
const BUILTIN: &str = "builtin:";

fn table_name(kind: &AnalysisKind) -> String {
    format!("analysis.{}", kind.name)
}

fn model_schema(kind: &ModelKind) -> Vec<&'static [Key]> {
    let mut schema: Vec<&'static [Key]> = vec![MODEL_KIND_KEY];
    schema.extend(kind.keys);
    schema
}

/// The table `[task]` of a parsed file, checked and with every default filled in.
///
/// # Errors
/// As [`Experiment::read`].
pub(crate) fn task_settings(document: &Document) -> Result<Settings> {
    let name = document.choice("task.kind", &names(TASKS, |kind: &TaskKind| kind.name))?;
    let Some(kind) = nullcline_tasks::kind(&name) else {
        // `choice` has admitted the names of the registry only.
        return Err(Error::missing(Path::new(document.name()), "a task"));
    };
    let mut task = document.section("task", &[TASK_KIND_KEY, kind.keys])?;
    resolve_paths(document, &mut task)?;
    Ok(task)
}

/// Makes the paths of a table absolute, so that the copy in the run folder means the same files.
fn resolve_paths(document: &Document, settings: &mut Settings) -> Result<()> {
    let paths: Vec<(&'static str, String)> = settings
        .iter()
        .filter_map(|(key, value)| match (key.kind, value) {
            (Kind::Path, Some(Value::Text(path))) if !path.starts_with(BUILTIN) => {
                Some((key.name, path.clone()))
            }
            _ => None,
        })
        .collect();
    for (key, path) in paths {
        let resolved = document.resolve(&path);
        let absolute = std::path::absolute(&resolved).unwrap_or(resolved);
        settings.set(key, Value::Text(absolute.display().to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_written_out_reads_back_the_same() {
        for task in ["flip_flop", "noise"] {
            for model in MODELS {
                let experiment = Experiment::defaults(task, model.name).unwrap();
                for comments in [false, true] {
                    let text = experiment.to_toml(comments);
                    let document = Document::parse("written.toml", &text).unwrap();
                    assert_eq!(
                        Experiment::from_document(&document).unwrap(),
                        experiment,
                        "{text}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_name_that_is_no_folder_name_is_refused() {
        for name in ["", "../elsewhere", "a/b", ".hidden"] {
            let text = format!(
                "name = \"{name}\"\n[task]\nkind = \"flip_flop\"\n[model]\nkind = \"gru\"\n"
            );
            let document = Document::parse("bad.toml", &text).unwrap();
            let error = Experiment::from_document(&document)
                .unwrap_err()
                .to_string();
            assert!(error.contains("bad.toml, line 1, key \"name\""), "{error}");
        }
    }
}
