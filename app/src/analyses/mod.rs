//! The analyses, as a run performs them: from trained networks to tables.
//!
//! The mathematics is in the crate `nullcline-analysis`; here stand the keys of an experiment file, the
//! choice of starts and trials, and the tables. An analysis is one file and one line of [`ANALYSES`].

mod basins;
mod continuation;
mod cycles;
pub mod fixed_points;
mod fixed_points_over_training;
mod free_run;
mod gradient_growth;
mod lesions;
mod linearization;
mod lyapunov;
mod performance;
mod periodic_orbits;
mod perturbations;
mod plane;
mod poincare;
pub mod power_spectrum;
pub(crate) mod reconstruction;
mod reconstruction_over_training;
mod regions_visited;
mod speed_landscape;
mod state_space;
mod timescales;
mod trajectory_linearization;
mod trials;
mod true_system;

use crate::experiment::Experiment;
use crate::results::{Arrays, Results};
use crate::session::{Control, Event, Fault, Observer, Outcome, Snapshots};
use ndarray::Array2;
use nullcline_data::Error;
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use nullcline_models::architecture::Architecture;
use nullcline_models::engine::{Engine, Job, Objective, Response};
use nullcline_models::ensemble::Ensemble;
use nullcline_models::training::visited_states;
use nullcline_tables::Table;
use nullcline_tasks::{Split, Task, Trials};

/// An analysis as the command line names it.
pub struct AnalysisKind {
    /// The name: of the table, of the key `[analysis.NAME]`, of `--only NAME`.
    pub name: &'static str,
    /// One line for lists.
    pub summary: &'static str,
    /// Whether it is run where the experiment does not say.
    pub by_default: bool,
    /// Its documented keys besides `enabled`.
    pub keys: &'static [Key],
    /// The tables and arrays that it writes.
    pub tables: &'static [TableDoc],
    /// Whether it makes sense for a task and a network.
    pub applies: fn(&dyn Task, &Architecture) -> bool,
    /// Analyses whose results it reads.
    pub needs: &'static [&'static str],
    /// Adds its tables and arrays to the results.
    pub run: fn(&mut Context) -> Outcome<()>,
}

/// What a table or a file of arrays holds, for the reference of all results.
pub struct TableDoc {
    /// Its name; that of a file of arrays ends in `.npz`.
    pub name: &'static str,
    /// What has a row in it, as "a row for every ..."; of arrays, what they are.
    pub rows: &'static str,
    /// Columns, or arrays with their axes, and what they hold. A `*` in a name stands for a number or a name.
    pub columns: &'static [(&'static str, &'static str)],
}

impl TableDoc {
    /// Whether a column of this name is among those described.
    pub fn describes(&self, column: &str) -> bool {
        self.columns
            .iter()
            .any(|(name, _)| match name.split_once('*') {
                Some((before, after)) => {
                    column.len() > before.len() + after.len()
                        && column.starts_with(before)
                        && column.ends_with(after)
                }
                None => *name == column,
            })
    }
}

const fn enabled(by_default: bool) -> [Key; 1] {
    [Key {
        name: "enabled",
        kind: Kind::Flag,
        default: Preset::Flag(by_default),
        unit: "",
        doc: "Whether the analysis is run where none is named.",
    }]
}
static ENABLED: [Key; 1] = enabled(true);
static NOT_ENABLED: [Key; 1] = enabled(false);

impl AnalysisKind {
    /// All its keys.
    pub fn schema(&self) -> Vec<&'static [Key]> {
        let enabled = if self.by_default {
            &ENABLED
        } else {
            &NOT_ENABLED
        };
        vec![enabled, self.keys]
    }
}

/// Every analysis, in the order in which they run.
pub static ANALYSES: &[AnalysisKind] = &[
    performance::KIND,
    trials::KIND,
    fixed_points::KIND,
    linearization::KIND,
    trajectory_linearization::KIND,
    cycles::KIND,
    lyapunov::KIND,
    state_space::KIND,
    speed_landscape::KIND,
    basins::KIND,
    continuation::KIND,
    fixed_points_over_training::KIND,
    free_run::KIND,
    timescales::KIND,
    power_spectrum::KIND,
    poincare::KIND,
    reconstruction::KIND,
    reconstruction_over_training::KIND,
    lesions::KIND,
    perturbations::KIND,
    gradient_growth::KIND,
    regions_visited::KIND,
    true_system::KIND,
    periodic_orbits::KIND,
];

/// The analysis of this name.
pub fn kind(name: &str) -> Option<&'static AnalysisKind> {
    ANALYSES.iter().find(|kind| kind.name == name)
}

/// The reference of all analyses in Markdown: docs/analyses.md.
pub fn reference() -> String {
    let mut text = REFERENCE_HEAD.to_owned();
    for kind in ANALYSES {
        text += &format!("\n## {}\n\n{}.\n", kind.name, sentence(kind.summary));
        if !kind.by_default {
            text += &format!(
                "\nRun where it is named (`--only {}`) or enabled (`[analysis.{}] enabled = true`).\n",
                kind.name, kind.name
            );
        }
        if !kind.needs.is_empty() {
            text += &format!("\nReads the results of {}.\n", kind.needs.join(", "));
        }
        if !kind.keys.is_empty() {
            text += "\n| key | |\n|---|---|\n";
            for key in kind.keys {
                let line = format!("{} ({})", key.doc, key.summary());
                text += &format!("| `{}` | {} |\n", key.name, cell(&line));
            }
        }
        for table in kind.tables {
            text += &format!(
                "\n**`{}`**: {}.\n\n| column | |\n|---|---|\n",
                table.name, table.rows
            );
            for (name, doc) in table.columns {
                text += &format!("| `{name}` | {} |\n", cell(doc));
            }
        }
    }
    text
}

const REFERENCE_HEAD: &str = "# Analyses and their results

What `nullcline analyze DIR` runs, or `nullcline analyze DIR --only NAME[,NAME]`, the keys of `[analysis.NAME]` in an
experiment file, and the tables in `DIR/analysis/`. Every table is tidy, one row per thing; the units stand in the
metadata of its columns (`unit:COLUMN`), and an empty place means that there is no such number. A `*` stands for a
number or a name. This page is written from the program itself.
";

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

/// A text in a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What an analysis works with.
pub struct Context<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Its task.
    pub task: &'a dyn Task,
    /// The trained networks.
    pub ensemble: &'a Ensemble,
    /// The same networks on the way there.
    pub snapshots: Snapshots<'a>,
    /// The loss that they were trained with.
    pub objective: Objective,
    /// What runs them.
    pub engine: &'a mut dyn Engine,
    /// The settings of this analysis.
    pub settings: &'a Settings,
    /// Where its tables go, and where those of earlier analyses are.
    pub results: &'a mut Results,
    /// To see whether the user wants it to end.
    pub control: &'a Control,
    /// Whoever watches; see [`Context::watch`].
    pub observe: Observer<'a>,
    /// The name of this analysis.
    pub name: &'static str,
    /// Names of the tables and arrays that were added.
    pub written: Vec<String>,
}

impl Context<'_> {
    /// For a long analysis of one network after the other: shows how far it is, ends it where the user wants so.
    pub fn watch(&mut self, network: usize) -> impl FnMut(f64) -> bool {
        let (control, name) = (self.control, self.name);
        let networks = self.ensemble.len().max(1) as f64;
        let observe = &mut self.observe;
        move |done| {
            observe(Event::Progress {
                name,
                done: (network as f64 + done) / networks,
            });
            !control.is_stopped()
        }
    }

    /// The states `[sample, state]` that a network comes through on held-out trials, trial by trial and step by step,
    /// without the initial ones.
    ///
    /// `index` keeps the trials of one analysis apart from those of another; analyses that are shown together use the
    /// same.
    ///
    /// # Errors
    /// If the engine's device fails.
    pub fn visited_states(
        &mut self,
        network: usize,
        index: u64,
        trials: usize,
    ) -> Outcome<Array2<f64>> {
        self.visited_states_of(self.ensemble, network, index, trials)
    }

    /// The same for a network as it was after fewer updates.
    ///
    /// # Errors
    /// If the engine's device fails.
    pub fn visited_states_of(
        &mut self,
        ensemble: &Ensemble,
        network: usize,
        index: u64,
        trials: usize,
    ) -> Outcome<Array2<f64>> {
        let trials = self
            .task
            .trials(Split::HeldOut, self.seed(network), index, trials);
        let job = Job {
            parameters: &ensemble.parameters[network],
            trials: &trials,
        };
        Ok(visited_states(
            self.engine,
            &ensemble.architecture,
            &self.objective,
            &job,
        )?)
    }

    /// The seed of a network's held-out trials and starts.
    pub fn seed(&self, network: usize) -> u64 {
        self.experiment.seed().wrapping_add(network as u64)
    }

    /// Runs a network freely on trials: it is judged without the help it may have had in training.
    ///
    /// # Errors
    /// If the engine's device fails.
    pub fn respond(&mut self, network: usize, trials: &Trials) -> Outcome<Response> {
        let objective = Objective {
            forcing: None,
            ..self.objective
        };
        let job = Job {
            parameters: &self.ensemble.parameters[network],
            trials,
        };
        Ok(self
            .engine
            .respond_one(&self.ensemble.architecture, &objective, &job)?)
    }

    /// Adds a table to the results.
    pub fn add_table(&mut self, name: &str, table: Table) {
        self.written.push(name.to_owned());
        self.results.tables.insert(name.to_owned(), table);
    }

    /// Adds arrays to the results.
    pub fn add_arrays(&mut self, name: &str, arrays: Arrays) {
        self.written.push(name.to_owned());
        self.results.arrays.insert(name.to_owned(), arrays);
    }

    /// A table of an earlier analysis.
    ///
    /// # Errors
    /// If it is not there.
    pub fn needed(&self, name: &str) -> Outcome<&Table> {
        self.results.table(name).ok_or_else(|| {
            Error::argument(
                "this analysis",
                format!("no results of \"{name}\""),
                format!("run \"{name}\" first"),
            )
            .into()
        })
    }
}

/// A state that a network comes to on a held-out trial, its last one: where a run by itself may begin.
pub(crate) fn visited_state(context: &mut Context, network: usize) -> Outcome<Vec<f64>> {
    let states = context.visited_states(network, 3, 1)?;
    let last = states.rows().into_iter().next_back();
    let dim = context.ensemble.architecture.state_dim();
    Ok(last.map_or_else(|| vec![0.0; dim], |row| row.to_vec()))
}

/// A fault of the mathematics as an error of the program.
pub(crate) fn failed(what: &str, error: nullcline_analysis::Error) -> Fault {
    match error {
        nullcline_analysis::Error::Stopped => Fault::Stopped,
        error => {
            Error::argument(what, error.to_string(), "finite numbers of matching shape").into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nullcline_data::settings::schema_faults;

    #[test]
    fn the_registry_is_sound_and_in_order_of_need() {
        for (i, kind) in ANALYSES.iter().enumerate() {
            assert_eq!(
                schema_faults(&kind.schema()),
                Vec::<String>::new(),
                "{}",
                kind.name
            );
            for need in kind.needs {
                assert!(
                    ANALYSES[..i].iter().any(|earlier| earlier.name == *need),
                    "{} needs {need}",
                    kind.name
                );
            }
        }
    }
}
