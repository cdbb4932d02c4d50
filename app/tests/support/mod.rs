//! What the tests of the program share: a scratch folder, the program as a process, and what it left there.

// Each test file is a crate of its own and uses a part of this one.
#![allow(dead_code)]

use nullcline_data::tensors::{Tensors, read_safetensors};
use nullcline_tables::{Table, Values};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A flip-flop that trains in a fraction of a second. Tests count on the lines of its keys.
pub const FLIP_FLOP: &str = r#"name = "tiny"
seed = 7

[task]
kind = "flip_flop"
bits = 2
steps = 20

[model]
kind = "leaky"
units = 8

[training]
updates = 40
batch = 16
learning_rate = 0.01
evaluate_every = 20
evaluation_trials = 16
log_every = 5
checkpoint_every = 10

[analysis.fixed_points]
starts = 32
trials = 8
"#;

/// The heartbeat with a network that trains in a fraction of a second.
pub const HEARTBEAT: &str = r#"name = "tiny_heartbeat"
seed = 7

[task]
kind = "series"
file = "builtin:mitbih_208"
lags = [0, 10, 35]
window = 30

[model]
kind = "shallow_plrnn"
units = 3
hidden = 16

[training]
method = "gtf"
alpha = 0.3
updates = 40
batch = 16
evaluate_every = 20
evaluation_trials = 16
log_every = 5
checkpoint_every = 10

[analysis.fixed_points]
starts = 32
trials = 8

[analysis.free_run]
steps = 2000
"#;

/// A folder that is removed in the end. Programs run in it, so that their messages name short paths.
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// An empty folder.
    pub fn new() -> Scratch {
        Scratch {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A command that runs the program in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nullcline"));
        command.args(arguments).current_dir(self.folder.path());
        command
            .env("NULLCLINE_DEVICE", "cpu")
            .env_remove("NULLCLINE_THREADS")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program in this folder to its end.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        Finished::of(&mut self.command(arguments))
    }

    /// Every file and folder inside with its content, but for the lock files, which hold nothing.
    pub fn content(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        fn visit(root: &Path, folder: &Path, found: &mut BTreeMap<String, Option<Vec<u8>>>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().display().to_string();
                if path.is_dir() {
                    found.insert(name, None);
                    visit(root, &path, found);
                } else if path.file_name().is_some_and(|name| name != ".lock") {
                    found.insert(name, Some(fs::read(&path).unwrap()));
                }
            }
        }
        let mut found = BTreeMap::new();
        visit(self.folder.path(), self.folder.path(), &mut found);
        found
    }

    /// Copies a folder of another scratch folder into this one, under the same name.
    pub fn copy_from(&self, other: &Scratch, folder: &str) {
        fs::create_dir(self.path(folder)).unwrap();
        for (name, content) in other.content() {
            match content {
                _ if !Path::new(&name).starts_with(folder) || name == folder => {}
                Some(content) => self.write(&name, content),
                None => fs::create_dir(self.path(&name)).unwrap(),
            }
        }
    }
}

/// What a process that has ended said.
pub struct Finished {
    /// The exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Finished {
        command.output().unwrap().into()
    }

    /// The same, once it is sure that it ended with status 0.
    #[track_caller]
    pub fn succeeded(self) -> Finished {
        self.with_status(0)
    }

    /// The same, once it is sure that it ended with a status and without a panic.
    #[track_caller]
    pub fn with_status(self, status: i32) -> Finished {
        let Finished { stdout, stderr, .. } = &self;
        assert_eq!(
            self.status,
            Some(status),
            "\nstandard output:\n{stdout}\nstandard error:\n{stderr}"
        );
        assert!(!stderr.contains("panicked"), "{stderr}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.stdout))
    }
}

impl From<std::process::Output> for Finished {
    fn from(output: std::process::Output) -> Finished {
        Finished {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The checkpoint that a run would continue from; none before the first.
pub fn checkpoint(run: &Path) -> Option<Tensors> {
    let path = run.join("checkpoints/latest.safetensors");
    path.exists().then(|| read_safetensors(&path).unwrap())
}

/// The update of a run's checkpoint; 0 before the first.
pub fn checkpoint_update(run: &Path) -> u64 {
    checkpoint(run).map_or(0, |tensors| tensors.u64("training.update").unwrap()[[0]])
}

/// Asserts that two runs have come to the same bits: every tensor of their checkpoints, and every column of
/// their training tables but the clock's.
#[track_caller]
pub fn assert_same_training(a: &Path, b: &Path) {
    let (left, right) = (checkpoint(a).unwrap(), checkpoint(b).unwrap());
    assert!(
        left.names().eq(right.names()),
        "other tensors in {} than in {}",
        a.display(),
        b.display()
    );
    assert!(
        left.names().any(|name| name == "recurrent"),
        "no weights among {:?}",
        left.names().collect::<Vec<_>>()
    );
    let file = |run: &Path| fs::read(run.join("checkpoints/latest.safetensors")).unwrap();
    for ((name, x), (_, y)) in left.iter().zip(right.iter()) {
        assert!(x == y, "tensor {name}");
    }
    // Equal numbers may differ in the sign of zero; equal files may not.
    assert!(
        file(a) == file(b),
        "the checkpoints differ beyond the values of their tensors"
    );

    let table = |run: &Path| Table::read_parquet(&run.join("training.parquet")).unwrap();
    let (left, right) = (table(a), table(b));
    assert_eq!(
        left.row_count(),
        right.row_count(),
        "rows of training.parquet"
    );
    assert_eq!(
        left.columns().len(),
        right.columns().len(),
        "columns of training.parquet"
    );
    for (x, y) in left.columns().iter().zip(right.columns()) {
        assert_eq!((&x.name, &x.unit), (&y.name, &y.unit));
        if x.name != "seconds" {
            assert!(
                same_bits(&x.values, &y.values),
                "column {} of training.parquet",
                x.name
            );
        }
    }
}

/// Whether two columns are equal, NaN being equal to itself.
fn same_bits(x: &Values, y: &Values) -> bool {
    match (x, y) {
        (Values::F64(x), Values::F64(y)) => {
            let bits = |values: &[Option<f64>]| {
                values
                    .iter()
                    .map(|value| value.map(f64::to_bits))
                    .collect::<Vec<_>>()
            };
            bits(x) == bits(y)
        }
        _ => x == y,
    }
}
