//! The analyses, as a run performs them: from trained networks to tables.
//!
//! The mathematics is in the crate `nullcline-analysis`; here stand the keys of an experiment file, the
//! choice of starts and trials, and the tables. An analysis is one file and one line of [`ANALYSES`].

mod cycles;
pub mod fixed_points;
mod free_run;
mod linearization;
mod lyapunov;
mod performance;
mod state_space;
mod trials;

use crate::experiment::Experiment;
use crate::results::{Arrays, Results};
use crate::session::Control;
use crate::session::Outcome;
use nullcline_data::Error;
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use nullcline_models::architecture::Architecture;
use nullcline_models::engine::{Engine, Job, Objective, Response};
use nullcline_models::ensemble::Ensemble;
use nullcline_tables::Table;
use nullcline_tasks::{Task, Trials};

/// An analysis as the command line names it.
pub struct AnalysisKind {
    /// The name: of the table, of the key `[analysis.NAME]`, of `--only NAME`.
    pub name: &'static str,
    /// One line for lists.
    pub summary: &'static str,
    /// Its documented keys besides `enabled`.
    pub keys: &'static [Key],
    /// Whether it makes sense for a task and a network.
    pub applies: fn(&dyn Task, &Architecture) -> bool,
    /// Analyses whose results it reads.
    pub needs: &'static [&'static str],
    /// Adds its tables and arrays to the results.
    pub run: fn(&mut Context) -> Outcome<()>,
}

const ENABLED: &[Key] = &[Key {
    name: "enabled",
    kind: Kind::Flag,
    default: Preset::Flag(true),
    unit: "",
    doc: "Whether the analysis is run.",
}];

impl AnalysisKind {
    /// All its keys.
    pub fn schema(&self) -> Vec<&'static [Key]> {
        vec![ENABLED, self.keys]
    }
}

/// Every analysis, in the order in which they run.
pub static ANALYSES: &[AnalysisKind] = &[
    performance::KIND,
    trials::KIND,
    fixed_points::KIND,
    linearization::KIND,
    cycles::KIND,
    lyapunov::KIND,
    state_space::KIND,
    free_run::KIND,
];

/// The analysis of this name.
pub fn kind(name: &str) -> Option<&'static AnalysisKind> {
    ANALYSES.iter().find(|kind| kind.name == name)
}

/// What an analysis works with.
pub struct Context<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Its task.
    pub task: &'a dyn Task,
    /// The trained networks.
    pub ensemble: &'a Ensemble,
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
    /// Names of the tables and arrays that were added.
    pub written: Vec<String>,
}

impl Context<'_> {
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

/// A fault of the mathematics as an error of the program.
pub(crate) fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::argument(what, error.to_string(), "finite numbers of matching shape")
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
