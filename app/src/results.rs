//! What a run has produced so far: tables and arrays by name, on disk or only in memory.
//!
//! A figure is drawn from [`Results`] alone. The desktop shows a run while it trains from results that were
//! never written; the command line loads them from the run folder. Both draw the same.

use crate::experiment::Experiment;
use ndarray::ArrayD;
use nullcline_data::Result;
use nullcline_data::npy::{read_npz, write_npz};
use nullcline_data::run_folder::RunFolder;
use nullcline_tables::Table;
use std::collections::BTreeMap;

/// The name of the training table among the others.
pub const TRAINING: &str = "training";

/// Arrays by name, as an npz file holds them.
pub type Arrays = Vec<(String, ArrayD<f64>)>;

/// Tables and arrays of a run, with its experiment.
#[derive(Clone, Debug)]
pub struct Results {
    /// The experiment.
    pub experiment: Experiment,
    /// Tables by the name of their file, without extension; the training table is `training`.
    pub tables: BTreeMap<String, Table>,
    /// Arrays too large for a table, by the name of their file.
    pub arrays: BTreeMap<String, Arrays>,
}

impl Results {
    /// Nothing produced yet.
    pub fn new(experiment: Experiment) -> Self {
        Results {
            experiment,
            tables: BTreeMap::new(),
            arrays: BTreeMap::new(),
        }
    }

    /// Everything that a run folder holds.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged; it is named.
    pub fn load(folder: &RunFolder) -> Result<Self> {
        let mut results = Results::new(Experiment::of_run(folder)?);
        if folder.training_path().exists() {
            results.tables.insert(
                TRAINING.into(),
                Table::read_parquet(&folder.training_path())?,
            );
        }
        for name in folder.tables() {
            let table = Table::read_parquet(&folder.table_path(&name))?;
            results.tables.insert(name, table);
        }
        for name in folder.arrays() {
            let arrays = read_npz(&folder.arrays_path(&name))?;
            results.arrays.insert(name, arrays);
        }
        Ok(results)
    }

    /// The table of this name, if there is one yet.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(name)
    }

    /// Whether there is a table or a file of arrays of this name yet.
    pub fn has(&self, name: &str) -> bool {
        self.tables.contains_key(name) || self.arrays.contains_key(name)
    }

    /// One array of a file of arrays, if there is one yet.
    pub fn array(&self, file: &str, name: &str) -> Option<&ArrayD<f64>> {
        self.arrays
            .get(file)?
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, array)| array)
    }

    /// Writes the tables and arrays of these names into the run folder.
    ///
    /// # Errors
    /// If a file cannot be written; the old one is then still there.
    pub fn save(&self, folder: &RunFolder, names: &[String]) -> Result<()> {
        for name in names {
            if let Some(table) = self.tables.get(name) {
                table.write_parquet(&folder.table_path(name))?;
            }
            if let Some(arrays) = self.arrays.get(name) {
                let views: Vec<_> = arrays.iter().map(|(n, a)| (n.as_str(), a.view())).collect();
                write_npz(&folder.arrays_path(name), &views)?;
            }
        }
        Ok(())
    }
}
