//! The run folder: everything that a run makes, in one place with fixed names.
//!
//! ```text
//! RUN/
//!   experiment.toml                  the experiment, every default written out
//!   provenance.json                  where the run came from
//!   checkpoints/latest.safetensors   the state that training continues from
//!   checkpoints/NNNNNN.safetensors   snapshots at chosen updates
//!   training.parquet                 one row per recorded update and network
//!   analysis/NAME.parquet|npz        tables, and arrays too large for a table
//!   figures/NAME.svg|pdf|png|csv     figures and the numbers they show
//! ```
//!
//! Every file is written whole or not at all ([`crate::atomic`]), so that a folder whose process was killed
//! at any instant opens again and continues. A process that writes holds the folder's [`RunLock`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::atomic::{is_temporary, remove_temporaries, write_atomically};
use crate::error::{Error, Result};
use crate::provenance::Provenance;
use crate::tensors::{Tensors, read_safetensors, write_safetensors};

const EXPERIMENT: &str = "experiment.toml";
const PROVENANCE: &str = "provenance.json";
const LOCK: &str = ".lock";
const CHECKPOINTS: &str = "checkpoints";
const ANALYSIS: &str = "analysis";
const FIGURES: &str = "figures";
const SUBFOLDERS: [&str; 3] = [CHECKPOINTS, ANALYSIS, FIGURES];

/// A run on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

/// The right to write in a run folder; released when dropped, and by the operating system when the process
/// ends in any way.
#[derive(Debug)]
pub struct RunLock {
    // Dropping the file releases the lock.
    _file: File,
}

impl RunFolder {
    /// Makes a run folder with its sub-folders, or takes up one that is there. The experiment is to be
    /// written next, with [`write_experiment`](Self::write_experiment).
    ///
    /// # Errors
    /// [`Error::Argument`] if the folder is there, has something in it and is no run, or if `path` is a file;
    /// [`Error::Io`] if a folder cannot be made.
    pub fn create(path: &Path) -> Result<RunFolder> {
        if path.exists() && !path.is_dir() {
            return Err(occupied(path, "a file"));
        }
        if !path.join(EXPERIMENT).is_file()
            && let Some(name) = foreign_entry(path)?
        {
            return Err(occupied(
                path,
                &format!("a folder that is no run and holds {name:?}"),
            ));
        }
        for name in SUBFOLDERS {
            let folder = path.join(name);
            fs::create_dir_all(&folder).map_err(|source| Error::write(&folder, source))?;
        }
        Ok(RunFolder {
            path: path.to_owned(),
        })
    }

    /// Opens a run. Unless a process is at work in it, temporaries that a killed process left are removed.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such folder or it holds no `experiment.toml`.
    pub fn open(path: &Path) -> Result<RunFolder> {
        if !path.is_dir() {
            return Err(Error::missing(
                path,
                "run folder: it does not exist or is no folder",
            ));
        }
        if !path.join(EXPERIMENT).is_file() {
            return Err(Error::missing(
                path,
                format!("{EXPERIMENT}: the folder is no run"),
            ));
        }
        let run = RunFolder {
            path: path.to_owned(),
        };
        // Looking at a run makes no file in it, so a lock file that is not there is not made.
        if let Ok(file) = File::open(run.path.join(LOCK))
            && file.try_lock().is_ok()
        {
            run.remove_temporaries();
        }
        Ok(run)
    }

    /// Takes the right to write, and removes temporaries that a killed process left.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process, or another part of this one, has it; [`Error::Io`] if the lock
    /// file cannot be made.
    pub fn lock(&self) -> Result<RunLock> {
        let path = self.path.join(LOCK);
        let failed = |source| Error::write(&path, source);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy {
                    folder: self.path.display().to_string(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        self.remove_temporaries();
        Ok(RunLock { _file: file })
    }

    fn remove_temporaries(&self) {
        remove_temporaries(&self.path);
        for name in SUBFOLDERS {
            remove_temporaries(&self.path.join(name));
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `experiment.toml`.
    pub fn experiment_path(&self) -> PathBuf {
        self.path.join(EXPERIMENT)
    }

    /// `provenance.json`.
    pub fn provenance_path(&self) -> PathBuf {
        self.path.join(PROVENANCE)
    }

    /// `training.parquet`.
    pub fn training_path(&self) -> PathBuf {
        self.path.join("training.parquet")
    }

    /// `checkpoints/latest.safetensors`.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path.join(CHECKPOINTS).join("latest.safetensors")
    }

    /// `checkpoints/NNNNNN.safetensors`: the snapshot after an update.
    pub fn snapshot_path(&self, update: u64) -> PathBuf {
        self.path
            .join(CHECKPOINTS)
            .join(format!("{update:06}.safetensors"))
    }

    /// `analysis/NAME.parquet`.
    pub fn table_path(&self, name: &str) -> PathBuf {
        self.path.join(ANALYSIS).join(format!("{name}.parquet"))
    }

    /// `analysis/NAME.npz`.
    pub fn arrays_path(&self, name: &str) -> PathBuf {
        self.path.join(ANALYSIS).join(format!("{name}.npz"))
    }

    /// `figures/NAME.EXTENSION`.
    pub fn figure_path(&self, name: &str, extension: &str) -> PathBuf {
        self.path.join(FIGURES).join(format!("{name}.{extension}"))
    }

    /// Whether the experiment has been written.
    pub fn has_experiment(&self) -> bool {
        self.experiment_path().is_file()
    }

    /// Writes `experiment.toml`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write_experiment(&self, text: &str) -> Result<()> {
        write_atomically(&self.experiment_path(), text.as_bytes())
    }

    /// The text of `experiment.toml`.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Io`] if it cannot be read.
    pub fn read_experiment(&self) -> Result<String> {
        let path = self.experiment_path();
        fs::read_to_string(&path).map_err(|source| Error::read(&path, source))
    }

    /// Writes `checkpoints/latest.safetensors`, in place of the one before.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; the one before is then untouched.
    pub fn write_checkpoint(&self, tensors: &Tensors) -> Result<()> {
        write_safetensors(&self.checkpoint_path(), tensors)
    }

    /// Reads `checkpoints/latest.safetensors`; none if training has saved nothing yet.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Format`] if it is damaged.
    pub fn read_checkpoint(&self) -> Result<Option<Tensors>> {
        let path = self.checkpoint_path();
        match read_safetensors(&path) {
            Ok(tensors) => Ok(Some(tensors)),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the snapshot after an update.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write_snapshot(&self, update: u64, tensors: &Tensors) -> Result<()> {
        write_safetensors(&self.snapshot_path(update), tensors)
    }

    /// Reads the snapshot after an update.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none, [`Error::Io`] if it cannot be read, [`Error::Format`] if it is
    /// damaged.
    pub fn read_snapshot(&self, update: u64) -> Result<Tensors> {
        read_safetensors(&self.snapshot_path(update))
    }

    /// The updates after which a snapshot was taken, ascending.
    pub fn snapshots(&self) -> Vec<u64> {
        let mut updates: Vec<u64> = stems(&self.path.join(CHECKPOINTS), "safetensors")
            .iter()
            .filter_map(|stem| stem.parse().ok())
            .collect();
        updates.sort_unstable();
        updates
    }

    /// Writes `provenance.json`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write_provenance(&self, provenance: &Provenance) -> Result<()> {
        let path = self.provenance_path();
        let mut text = serde_json::to_string_pretty(provenance)
            .map_err(|error| Error::write(&path, error.into()))?;
        text.push('\n');
        write_atomically(&path, text.as_bytes())
    }

    /// Reads `provenance.json`; none if it has not been written yet.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Syntax`] if it is damaged.
    pub fn read_provenance(&self) -> Result<Option<Provenance>> {
        let path = self.provenance_path();
        let bytes = match fs::read(&path).map_err(|source| Error::read(&path, source)) {
            Ok(bytes) => bytes,
            Err(Error::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Syntax {
                file: path.display().to_string(),
                line: Some(error.line()),
                message: error.to_string(),
            })
    }

    /// The names of the analyses' tables, sorted.
    pub fn tables(&self) -> Vec<String> {
        stems(&self.path.join(ANALYSIS), "parquet")
    }

    /// The names of the analyses' files of arrays, sorted.
    pub fn arrays(&self) -> Vec<String> {
        stems(&self.path.join(ANALYSIS), "npz")
    }

    /// The names of the figures that have been drawn in any of the formats, sorted.
    pub fn figures(&self) -> Vec<String> {
        let folder = self.path.join(FIGURES);
        let mut names: Vec<String> = ["svg", "pdf", "png"]
            .iter()
            .flat_map(|extension| stems(&folder, extension))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// The first entry of a folder that a run which was killed while being made would not leave. None if there
/// is no such entry, or no such folder.
fn foreign_entry(path: &Path) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let failed = |source| Error::read(path, source);
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let is_ours = name == LOCK
            || is_temporary(&name)
            || SUBFOLDERS.iter().any(|folder| name == *folder)
                && fs::read_dir(entry.path()).is_ok_and(|mut entries| entries.next().is_none());
        if !is_ours {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn occupied(path: &Path, found: &str) -> Error {
    Error::argument(
        format!("the run folder {}", path.display()),
        found,
        "a new or empty folder, or a run to continue",
    )
}

/// The names without extension of a folder's files with an extension, sorted, temporaries left out.
fn stems(folder: &Path, extension: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut stems: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    stems.sort();
    stems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::InputFile;
    use crate::tensors::Tensor;
    use ndarray::array;

    fn tensors(value: f32) -> Tensors {
        let mut tensors = Tensors::new();
        tensors.insert("w", Tensor::F32(array![value].into_dyn()));
        tensors
    }

    fn new_run(folder: &tempfile::TempDir) -> RunFolder {
        let run = RunFolder::create(&folder.path().join("a/run")).unwrap();
        run.write_experiment("name = \"a\"\n").unwrap();
        run
    }

    #[test]
    fn the_paths_are_those_of_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder);
        let inside = |path: PathBuf| path.strip_prefix(run.path()).unwrap().display().to_string();
        assert_eq!(inside(run.experiment_path()), "experiment.toml");
        assert_eq!(inside(run.provenance_path()), "provenance.json");
        assert_eq!(inside(run.training_path()), "training.parquet");
        assert_eq!(
            inside(run.checkpoint_path()),
            "checkpoints/latest.safetensors"
        );
        assert_eq!(
            inside(run.snapshot_path(250)),
            "checkpoints/000250.safetensors"
        );
        assert_eq!(
            inside(run.table_path("fixed_points")),
            "analysis/fixed_points.parquet"
        );
        assert_eq!(inside(run.arrays_path("pca")), "analysis/pca.npz");
        assert_eq!(inside(run.figure_path("trial", "svg")), "figures/trial.svg");
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder);
        assert_eq!(RunFolder::open(run.path()).unwrap(), run);
        assert_eq!(run.read_experiment().unwrap(), "name = \"a\"\n");
        assert_eq!(run.read_checkpoint().unwrap(), None);
        assert_eq!(run.read_provenance().unwrap(), None);
        run.write_checkpoint(&tensors(1.0)).unwrap();
        run.write_checkpoint(&tensors(2.0)).unwrap();
        assert_eq!(run.read_checkpoint().unwrap(), Some(tensors(2.0)));
        for update in [1_000_000, 0, 250] {
            run.write_snapshot(update, &tensors(update as f32)).unwrap();
        }
        assert_eq!(run.snapshots(), [0, 250, 1_000_000]);
        assert_eq!(run.read_snapshot(250).unwrap(), tensors(250.0));
        assert!(matches!(run.read_snapshot(1), Err(Error::Missing { .. })));
        let provenance = Provenance {
            program: "nullcline".into(),
            command: vec!["nullcline".into(), "run".into()],
            seeds: vec![u64::MAX],
            inputs: vec![InputFile {
                path: "a.npy".into(),
                sha256: "00".into(),
            }],
            finished: Some(crate::provenance::now()),
            ..Provenance::default()
        };
        run.write_provenance(&provenance).unwrap();
        assert_eq!(run.read_provenance().unwrap(), Some(provenance));
    }

    #[test]
    fn damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder);
        fs::write(run.checkpoint_path(), "half a checkpoint").unwrap();
        assert!(matches!(run.read_checkpoint(), Err(Error::Format { .. })));
        fs::write(run.provenance_path(), "{\n\"program\": ").unwrap();
        assert!(matches!(
            run.read_provenance(),
            Err(Error::Syntax { line: Some(2), .. })
        ));
    }

    #[test]
    fn a_folder_that_is_no_run_is_bad_input_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        fs::write(&file, "").unwrap();
        for path in [folder.path(), &file] {
            let error = RunFolder::create(path).unwrap_err();
            assert!(
                error.is_bad_input() && matches!(error, Error::Argument { .. }),
                "{error}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        for path in [folder.path().join("no"), folder.path().to_owned(), file] {
            assert!(matches!(RunFolder::open(&path), Err(Error::Missing { .. })));
        }
    }

    #[test]
    fn a_run_that_was_killed_while_being_made_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(folder.path()).unwrap();
        drop(run.lock().unwrap());
        fs::write(folder.path().join(".experiment.toml.tmp-1-0"), "na").unwrap();
        let run = RunFolder::create(folder.path()).unwrap();
        assert!(!run.has_experiment());
        run.write_experiment("").unwrap();
        RunFolder::create(folder.path()).unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        RunFolder::create(folder.path()).unwrap();
    }

    #[test]
    fn one_writer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder);
        let lock = run.lock().unwrap();
        let error = RunFolder::open(run.path()).unwrap().lock().unwrap_err();
        assert!(matches!(error, Error::Busy { .. }) && !error.is_bad_input());
        drop(lock);
        run.lock().unwrap();
    }

    #[test]
    fn temporaries_go_when_nobody_writes() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder);
        let lock = run.lock().unwrap();
        let temporary = run.path().join("checkpoints/.latest.safetensors.tmp-1-0");
        fs::write(&temporary, "").unwrap();
        RunFolder::open(run.path()).unwrap();
        assert!(temporary.exists(), "a writer may be at it");
        drop(lock);
        RunFolder::open(run.path()).unwrap();
        assert!(!temporary.exists());
        fs::write(&temporary, "").unwrap();
        let _lock = run.lock().unwrap();
        assert!(!temporary.exists());
    }

    #[test]
    fn listings() {
        let folder = tempfile::tempdir().unwrap();
        let run = new_run(&folder);
        assert!(run.tables().is_empty() && run.figures().is_empty());
        for name in [
            "pca.npz",
            "pca.parquet",
            "fixed_points.parquet",
            ".x.parquet.tmp-1-0",
        ] {
            fs::write(run.path().join("analysis").join(name), "").unwrap();
        }
        for name in ["trial.svg", "trial.pdf", "trial.csv", "spectrum.png"] {
            fs::write(run.path().join("figures").join(name), "").unwrap();
        }
        assert_eq!(run.tables(), ["fixed_points", "pca"]);
        assert_eq!(run.arrays(), ["pca"]);
        assert_eq!(run.figures(), ["spectrum", "trial"]);
    }
}
