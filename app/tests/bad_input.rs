//! Input that cannot be used, and work that fails: each gives one clear error with status 2 or 1, names what
//! is wrong and where, and leaves no half-written file.

mod support;

use ndarray::{Array1, Array2, Array3};
use nullcline_data::{write_npy, write_npz};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use support::{FLIP_FLOP, Finished, HEARTBEAT, Scratch, assert_same_training};

/// Puts the input of a case into a scratch folder and returns the arguments of the program.
type Prepare = Box<dyn Fn(&Scratch) -> Vec<String>>;

/// One bad input: what is given, and what the program must say.
struct Case {
    /// What is wrong, in words.
    name: String,
    /// The exit status.
    status: i32,
    /// What the error must contain.
    fragments: Vec<String>,
    /// Makes it.
    prepare: Prepare,
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A bad input with status 2.
fn bad(
    name: &str,
    fragments: &[&str],
    prepare: impl Fn(&Scratch) -> Vec<String> + 'static,
) -> Case {
    Case {
        name: name.to_owned(),
        status: 2,
        fragments: fragments.iter().map(|text| (*text).to_owned()).collect(),
        prepare: Box::new(prepare),
    }
}

/// A command line that is wrong by itself.
fn bad_words(name: &str, line: &'static str, fragments: &[&str]) -> Case {
    bad(name, fragments, move |_| words(line))
}

/// The flip-flop with one text replaced by another: `nullcline train bad.toml`.
fn bad_flip_flop(name: &str, from: &'static str, to: &'static str, fragments: &[&str]) -> Case {
    bad(name, fragments, move |scratch| {
        assert!(FLIP_FLOP.contains(from), "{from}");
        scratch.write("bad.toml", FLIP_FLOP.replace(from, to));
        words("train bad.toml --out run")
    })
}

/// The heartbeat with one text replaced by another.
fn bad_heartbeat(name: &str, from: &'static str, to: &'static str, fragments: &[&str]) -> Case {
    bad(name, fragments, move |scratch| {
        assert!(HEARTBEAT.contains(from), "{from}");
        scratch.write("bad.toml", HEARTBEAT.replace(from, to));
        words("train bad.toml --out run")
    })
}

/// The heartbeat with a recording that `write` makes.
fn bad_recording(
    name: &str,
    file: &'static str,
    write: impl Fn(&Scratch, &str) + 'static,
    fragments: &[&str],
) -> Case {
    bad(name, fragments, move |scratch| {
        scratch.write("bad.toml", HEARTBEAT.replace("builtin:mitbih_208", file));
        write(scratch, file);
        words("train bad.toml --out run")
    })
}

/// A recording of one column that a network could learn: enough samples, not constant.
fn sine(samples: usize) -> Array1<f64> {
    Array1::from_shape_fn(samples, |t| (0.3 * t as f64).sin())
}

/// The same as csv with a title, and line `line` replaced.
fn csv(samples: usize, line: usize, replaced: &str) -> String {
    let mut text = String::from("lead\n");
    for (t, value) in sine(samples).iter().enumerate() {
        if t + 2 == line {
            let _ = writeln!(text, "{replaced}");
        } else {
            let _ = writeln!(text, "{value}");
        }
    }
    text
}

/// Cuts a file to a part of its length.
fn truncate(scratch: &Scratch, file: &str, part: f64) {
    let bytes = scratch.read(file);
    scratch.write(file, &bytes[..(bytes.len() as f64 * part) as usize]);
}

/// A trained and analysed run in a scratch folder of its own.
fn trained() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", FLIP_FLOP);
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    scratch
        .run(&["analyze", "run", "--only", "performance"])
        .succeeded();
    scratch
}

thread_local! {
    /// Made once for all cases of a test.
    static TRAINED: Scratch = trained();
}

/// A run that was damaged after training; `line` is the command.
fn bad_run(
    name: &str,
    line: &'static str,
    damage: impl Fn(&Scratch) + 'static,
    fragments: &[&str],
) -> Case {
    bad(name, fragments, move |scratch| {
        TRAINED.with(|trained| scratch.copy_from(trained, "run"));
        scratch.write("tiny.toml", FLIP_FLOP);
        damage(scratch);
        words(line)
    })
}

/// Runs every case and shows what each says; fails at the end with all that is wrong.
fn check(cases: Vec<Case>) {
    let mut faults = Vec::new();
    for case in &cases {
        let scratch = Scratch::new();
        let arguments = (case.prepare)(&scratch);
        let before = scratch.content();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let Finished {
            status,
            stdout,
            stderr,
        } = scratch.run(&arguments);
        println!(
            "{} [{}]\n    {}",
            case.name,
            status.unwrap_or(-1),
            stderr.trim_end().replace('\n', "\n    ")
        );
        let mut fault = |text: String| faults.push(format!("{}: {text}\n{stderr}", case.name));
        if status != Some(case.status) {
            fault(format!("status {status:?} instead of {}", case.status));
        }
        // One line of our own, or the one error of the parser of the command line with its usage.
        let ours = stderr.starts_with("nullcline: ") && stderr.lines().count() == 1;
        let parser = stderr.starts_with("error: ") && stderr.matches("error: ").count() == 1;
        if !(ours || parser) || !stderr.ends_with('\n') {
            fault("not one error".to_owned());
        }
        if stderr.contains("panicked") || stderr.contains("stack backtrace") {
            fault("a panic".to_owned());
        }
        if !stdout.is_empty() {
            fault(format!("standard output {stdout:?}"));
        }
        for fragment in &case.fragments {
            if !stderr.contains(fragment.as_str()) {
                fault(format!("does not say {fragment:?}"));
            }
        }
        let after = scratch.content();
        if after != before {
            let changed: Vec<&String> = after
                .iter()
                .filter(|(name, content)| before.get(*name) != Some(content))
                .map(|(name, _)| name)
                .chain(before.keys().filter(|name| !after.contains_key(*name)))
                .collect();
            fault(format!(
                "files or folders written, changed or removed: {changed:?}"
            ));
        }
    }
    println!("{} cases", cases.len());
    assert!(faults.is_empty(), "\n\n{}", faults.join("\n"));
}

#[test]
fn experiment_files() {
    check(vec![
        bad_flip_flop(
            "unknown key",
            "updates = 40",
            "updatez = 40",
            &[
                "bad.toml, line 14, key \"training.updatez\"",
                "did you mean \"training.updates\"?",
            ],
        ),
        bad_flip_flop(
            "input of the wrong length for the fixed points",
            "starts = 32",
            "starts = 32\ninput = [0.0]",
            &["key \"analysis.fixed_points.input\": found 1 numbers; allowed: 2"],
        ),
        bad_flip_flop(
            "figures of a network that there is not",
            "[analysis.fixed_points]",
            "[figures]\nnetwork = 1\n[analysis.fixed_points]",
            &["key \"figures.network\": found 1; allowed: 0 to 0"],
        ),
        bad_flip_flop(
            "a needed analysis switched off",
            "[analysis.fixed_points]",
            "[analysis.linearization]\nenabled = false\n[analysis.fixed_points]",
            &[
                "key \"analysis.linearization.enabled\": found false",
                "\"state_space\"",
            ],
        ),
        bad_flip_flop(
            "sizes beyond memory",
            "units = 8",
            "units = 100000",
            &["memory for model.units", "GiB of this machine"],
        ),
        bad_heartbeat(
            "a course of alpha beside its estimate",
            "method = \"gtf\"",
            "method = \"gtf\"\nalpha_estimator = \"arithmetic_mean\"\nend_alpha = 0.1",
            &[
                "training.alpha_estimator",
                "training.end_alpha",
                "one of them",
            ],
        ),
        bad_heartbeat(
            "an estimate of alpha without alpha",
            "method = \"gtf\"",
            "method = \"sparse_forcing\"\nalpha_estimator = \"arithmetic_mean\"",
            &[
                "key \"training.alpha_estimator\"",
                "sparse_forcing",
                "method = \"gtf\"",
            ],
        ),
        bad_flip_flop(
            "cross-entropy of targets that are no probabilities",
            "updates = 40",
            "updates = 40\nloss = \"cross_entropy\"",
            &["key \"training.loss\" = \"cross_entropy\": found task \"flip_flop\""],
        ),
        bad_heartbeat(
            "a cell whose state no observation implies",
            "kind = \"shallow_plrnn\"\nunits = 3\nhidden = 16",
            "kind = \"leaky\"\nunits = 3\nform = \"current\"",
            &["found cell \"leaky_current_tanh\", whose readout sees a function of the state"],
        ),
        bad_flip_flop(
            "a refinement without a recording",
            "updates = 40",
            "updates = 40\nrefinement = 100",
            &["key \"training.refinement\": found task \"flip_flop\", which has no recording"],
        ),
        bad_flip_flop(
            "unknown key with nothing near",
            "updates = 40",
            "quux = 40",
            &[
                "line 14, key \"training.quux\"",
                "known here: training.method",
            ],
        ),
        bad_flip_flop(
            "key of another cell",
            "units = 8",
            "units = 8\nhidden = 3",
            &["line 12, key \"model.hidden\"", "known here: model.kind"],
        ),
        bad_flip_flop(
            "unknown key outside tables",
            "seed = 7",
            "sed = 7",
            &["line 2, key \"sed\"", "\"seed\"?"],
        ),
        bad_flip_flop(
            "unknown table",
            "[training]",
            "[trainning]",
            &[
                "bad.toml, line 13, key \"trainning\"",
                "did you mean \"training\"?",
            ],
        ),
        bad_flip_flop(
            "unknown analysis",
            "[analysis.fixed_points]",
            "[analysis.fixed_point]",
            &[
                "line 22, key \"analysis.fixed_point\"",
                "did you mean \"analysis.fixed_points\"?",
            ],
        ),
        bad_flip_flop(
            "key outside the table of its analysis",
            "[analysis.fixed_points]",
            "[analysis]",
            &["line 23, key \"analysis.starts\": unknown key; known here: analysis.performance"],
        ),
        bad_flip_flop(
            "a value where a table belongs",
            "[analysis.fixed_points]",
            "[analysis]\nfixed_points = 3\n[figures]",
            &["line 23, key \"analysis.fixed_points\": found the integer 3; allowed: a table"],
        ),
        bad_flip_flop(
            "a table where a value belongs",
            "[training]",
            "[training.updates]",
            &["line 13, key \"training.updates\": found a table; allowed: an integer from 1 to"],
        ),
        bad_flip_flop(
            "wrong type",
            "updates = 40",
            "updates = \"many\"",
            &[
                "line 14, key \"training.updates\": found the text \"many\"",
                "an integer from 1 to",
            ],
        ),
        bad_flip_flop(
            "fraction for an integer",
            "units = 8",
            "units = 8.5",
            &["found the number 8.5", "an integer"],
        ),
        bad_flip_flop(
            "negative size",
            "units = 8",
            "units = -3",
            &[
                "bad.toml, line 11, key \"model.units\": found the integer -3; allowed: an integer from 1 to",
            ],
        ),
        bad_flip_flop(
            "zero",
            "batch = 16",
            "batch = 0",
            &["line 15, key \"training.batch\": found the integer 0"],
        ),
        bad_flip_flop(
            "out of range",
            "steps = 20",
            "pulse_probability = 1.5",
            &[
                "line 7, key \"task.pulse_probability\": found the number 1.5; allowed: a finite number from 0",
            ],
        ),
        bad_flip_flop(
            "integer beyond 64 bits",
            "seed = 7",
            "seed = 99999999999999999999",
            &["line 2", "seed"],
        ),
        bad_flip_flop(
            "not a number",
            "learning_rate = 0.01",
            "learning_rate = nan",
            &[
                "line 16, key \"training.learning_rate\": found the number nan",
                "a finite number",
            ],
        ),
        bad_flip_flop(
            "infinite",
            "learning_rate = 0.01",
            "learning_rate = -inf",
            &["found the number -inf"],
        ),
        bad_flip_flop(
            "unknown word",
            "batch = 16",
            "optimiser = \"adamm\"",
            &[
                "line 15, key \"training.optimiser\": found the text \"adamm\"",
                "\"adam\"",
                "did you mean",
            ],
        ),
        bad_flip_flop(
            "unknown task",
            "\"flip_flop\"",
            "\"flipflop\"",
            &["line 5, key \"task.kind\"", "did you mean \"flip_flop\"?"],
        ),
        bad_flip_flop(
            "unknown cell",
            "\"leaky\"",
            "\"transformer\"",
            &["line 10, key \"model.kind\"", "\"gru\""],
        ),
        bad_flip_flop(
            "missing name",
            "name = \"tiny\"",
            "",
            &["key \"name\": found nothing"],
        ),
        bad_flip_flop(
            "missing kind",
            "kind = \"leaky\"",
            "",
            &["key \"model.kind\": found nothing", "\"leaky\""],
        ),
        bad_flip_flop(
            "name that is no folder name",
            "\"tiny\"",
            "\"../tiny\"",
            &["line 1, key \"name\"", "letters"],
        ),
        bad_flip_flop(
            "date",
            "updates = 40",
            "updates = 2026-11-20",
            &["line 14, key \"training.updates\""],
        ),
        bad_flip_flop(
            "mixed list",
            "batch = 16",
            "snapshots = [1, \"two\"]",
            &["line 15, key \"training.snapshots\""],
        ),
        bad_flip_flop(
            "unknown format",
            "[analysis.fixed_points]",
            "[figures]\nformats = [\"svg\", \"jpg\"]\n[analysis.fixed_points]",
            &[
                "line 23, key \"figures.formats\": found \"jpg\"",
                "svg, pdf, png",
            ],
        ),
        bad_flip_flop(
            "syntax",
            "units = 8",
            "units = = 8",
            &["bad.toml, line 11: "],
        ),
        bad_flip_flop(
            "unfinished text",
            "\"leaky\"",
            "\"leaky",
            &["bad.toml, line 10: "],
        ),
        bad_flip_flop(
            "duplicate key",
            "units = 8",
            "units = 8\nunits = 9",
            &["bad.toml, line 12: ", "duplicate key"],
        ),
        bad_flip_flop(
            "gtf without observation",
            "updates = 40",
            "updates = 40\nmethod = \"gtf\"",
            &[
                "bad.toml, line 15, key \"training.method\" = \"gtf\": found task \"flip_flop\"",
                "or method = \"bptt\"",
            ],
        ),
        bad_flip_flop(
            "nothing to decay to",
            "learning_rate = 0.01",
            "learning_rate = 0\nschedule = \"exponential\"",
            &[
                "bad.toml, line 16, key \"training.learning_rate\"",
                "above 0",
            ],
        ),
        bad_flip_flop(
            "identity readout of too few units",
            "units = 8",
            "units = 1\nreadout = \"identity\"",
            &[
                "bad.toml, line 11, key \"model.units\" with the identity readout: found 1",
                "at least 2",
            ],
        ),
        bad_heartbeat(
            "gtf of a cell with two state variables",
            "\"shallow_plrnn\"\nunits = 3\nhidden = 16",
            "\"lstm\"",
            &["bad.toml, line 14, key \"training.method\" = \"gtf\": found cell \"lstm\""],
        ),
        bad("not UTF-8", &["bad.toml: line 2: ", "UTF-8"], |scratch| {
            scratch.write("bad.toml", b"name = \"a\"\nseed = \"\xff\"\n");
            words("train bad.toml --out run")
        }),
        bad(
            "empty file",
            &["bad.toml, key \"name\": found nothing"],
            |scratch| {
                scratch.write("bad.toml", "");
                words("train bad.toml --out run")
            },
        ),
        bad_words(
            "missing file",
            "run no/such.toml",
            &["no/such.toml: missing file"],
        ),
        bad("folder for a file", &["folder: cannot read"], |scratch| {
            fs::create_dir(scratch.path("folder")).unwrap();
            words("train folder --out run")
        }),
    ]);
}

#[test]
fn recordings() {
    check(vec![
        bad_recording(
            "NaN in a csv",
            "a.csv",
            |s, file| s.write(file, csv(900, 5, "nan")),
            &[
                "a.csv: row 4",
                "column \"lead\": found NaN",
                "a finite number",
            ],
        ),
        bad_recording(
            "NaN in an npy",
            "a.npy",
            |scratch, file| {
                let mut values = sine(900);
                values[6] = f64::NAN;
                write_npy(&scratch.path(file), &values).unwrap();
            },
            &["a.npy: row 7", "found NaN"],
        ),
        bad_recording(
            "infinite",
            "a.csv",
            |s, file| s.write(file, csv(900, 3, "-inf")),
            &["row 2", "found -inf"],
        ),
        bad_recording(
            "ragged csv",
            "a.csv",
            |s, file| s.write(file, csv(900, 5, "1,2")),
            &["a.csv: line 5: found 2 cells; allowed: 1"],
        ),
        bad_recording(
            "word in a csv",
            "a.csv",
            |s, file| s.write(file, csv(900, 5, "high")),
            &["a.csv: line 5, column \"lead\": found \"high\"; allowed: a number"],
        ),
        bad_recording(
            "empty csv",
            "a.csv",
            |s, file| s.write(file, ""),
            &["a.csv", "0 rows", "at least one value"],
        ),
        bad_recording(
            "csv of a title alone",
            "a.csv",
            |s, file| s.write(file, "lead\n"),
            &["a.csv", "0 rows"],
        ),
        bad_recording(
            "truncated npy",
            "a.npy",
            |scratch, file| {
                write_npy(&scratch.path(file), &sine(900)).unwrap();
                truncate(scratch, file, 0.5);
            },
            &["a.npy: "],
        ),
        bad_recording(
            "truncated npz",
            "a.npz",
            |scratch, file| {
                write_npz(&scratch.path(file), &[("x", sine(900).into_dyn().view())]).unwrap();
                truncate(scratch, file, 0.5);
            },
            &["a.npz: "],
        ),
        bad_recording(
            "csv by the name of npy",
            "a.npy",
            |s, file| s.write(file, csv(900, 0, "")),
            &["a.npy: "],
        ),
        bad_recording(
            "npz of two arrays",
            "a.npz",
            |scratch, file| {
                let (x, y) = (sine(900).into_dyn(), sine(800).into_dyn());
                write_npz(&scratch.path(file), &[("x", x.view()), ("y", y.view())]).unwrap();
            },
            &["a.npz", "one of the names x, y"],
        ),
        bad_recording(
            "three dimensions",
            "a.npy",
            |scratch, file| {
                write_npy(&scratch.path(file), &Array3::<f64>::zeros((9, 9, 9))).unwrap()
            },
            &["a.npy", "[9, 9, 9]", "[time, column]"],
        ),
        bad_recording(
            "constant column",
            "a.npy",
            |scratch, file| write_npy(&scratch.path(file), &Array2::<f64>::ones((900, 1))).unwrap(),
            &["a.npy", "task.standardise", "constant"],
        ),
        bad_recording(
            "missing recording",
            "a.npy",
            |_, _| {},
            &["a.npy: missing file"],
        ),
        bad_recording(
            "folder for a recording",
            "a.npy",
            |s, file| fs::create_dir(s.path(file)).unwrap(),
            &["a.npy: "],
        ),
        bad_recording(
            "unknown extension",
            "a.mat",
            |s, file| s.write(file, "1"),
            &["a.mat", ".npy, .npz, .csv or .tsv"],
        ),
        bad_heartbeat(
            "unknown built-in recording",
            "builtin:mitbih_208",
            "builtin:mitbih_100",
            &["mitbih_100", "builtin:mitbih_208"],
        ),
        bad_heartbeat(
            "missing path",
            "file = \"builtin:mitbih_208\"\n",
            "",
            &["key \"task.file\": found nothing"],
        ),
        bad_heartbeat(
            "unknown column",
            "window = 30",
            "columns = [\"lead\"]",
            &[
                "bad.toml, line 8, task.columns: found \"lead\"",
                "by name (mlii)",
            ],
        ),
        bad_recording(
            "too short",
            "a.csv",
            |s, file| s.write(file, csv(20, 0, "")),
            &["a.csv", "task.window", "30"],
        ),
        bad_heartbeat(
            "lags too large",
            "[0, 10, 35]",
            "[0, 900000]",
            &["task.window", "smaller lags"],
        ),
        bad_heartbeat(
            "lag twice",
            "[0, 10, 35]",
            "[10, 10]",
            &["task.lags: found [10, 10]", "none of them twice"],
        ),
        bad_heartbeat(
            "window longer than the recording",
            "window = 30",
            "window = 900000",
            &[
                "bad.toml, line 8, task.window: found 900000",
                "for this recording",
            ],
        ),
        bad_heartbeat(
            "nothing left for testing",
            "window = 30",
            "train_fraction = 1.0",
            &[
                "task.prediction_steps",
                "test part",
                "another train_fraction",
            ],
        ),
        bad_heartbeat(
            "nothing left for training",
            "window = 30",
            "train_fraction = 0.0",
            &["task.window", "training part", "another train_fraction"],
        ),
    ]);
}

#[test]
fn command_lines() {
    let set = |name: &str, assignment: &'static str, fragments: &[&str]| {
        bad(name, fragments, move |scratch| {
            scratch.write("tiny.toml", FLIP_FLOP);
            let mut arguments = words("train tiny.toml --out run --set");
            arguments.push(assignment.to_owned());
            arguments
        })
    };
    let train = |name: &str, options: &'static str, fragments: &[&str]| {
        bad(name, fragments, move |scratch| {
            scratch.write("tiny.toml", FLIP_FLOP);
            words(&format!("train tiny.toml --out run {options}"))
        })
    };
    check(vec![
        set(
            "--set of an unknown key",
            "training.updatez=3",
            &["--set, key \"training.updatez\"", "training.updates"],
        ),
        set(
            "--set in an unknown table",
            "trianing.updates=3",
            &["--set, key \"trianing\"", "\"training\"?"],
        ),
        set(
            "--set without a value",
            "training.updates",
            &["--set: found \"training.updates\" without \"=\""],
        ),
        set(
            "--set of nothing",
            "training.updates=",
            &["--set: found no value for \"training.updates\""],
        ),
        set("--set without a key", "=3", &["--set: found the key \"\""]),
        set(
            "--set of the wrong type",
            "training.updates=many",
            &["--set, key \"training.updates\": found the text \"many\""],
        ),
        set(
            "--set of an unfinished list",
            "training.snapshots=[1",
            &["--set training.snapshots=[1"],
        ),
        set(
            "--set through a value",
            "name.first=3",
            &["--set", "\"name\" is no table"],
        ),
        train(
            "unknown device",
            "--device tpu",
            &["--device: found tpu; allowed: auto, cpu, gpu"],
        ),
        train(
            "no such graphics card",
            "--device gpu:none-of-this-name",
            &["--device: found gpu:none-of-this-name; allowed: auto"],
        ),
        train(
            "no threads",
            "--threads 0",
            &["--threads: found 0; allowed: an integer of at least 1"],
        ),
        train("threads in words", "--threads many", &["--threads", "many"]),
        train("unknown option", "--ouput there", &["--ouput", "--out"]),
        bad_words(
            "bench beyond memory",
            "bench --hidden 50000 --batch 100000 --steps 1000",
            &["--hidden x --batch x --steps", "kept in memory"],
        ),
        bad_words("unknown verb", "trian tiny.toml", &["trian", "train"]),
        bad_words("verb without its argument", "train", &["EXPERIMENT"]),
        bad_words("unknown list", "list networks", &["networks", "tasks"]),
        bad_words(
            "unknown example",
            "new flipflop",
            &["flipflop", "flip_flop, ecg"],
        ),
        bad_words(
            "bench of no units",
            "bench --hidden 0",
            &["--hidden: found 0; allowed: an integer from 1 to 100000"],
        ),
        bad_words(
            "bench of too many units",
            "bench --hidden 100001",
            &["--hidden: found 100001", "to 100000"],
        ),
        bad_words(
            "bench of an unknown cell",
            "bench --cell grru",
            &["--cell: found grru", "gru"],
        ),
        bad_words(
            "bench on an unknown device",
            "bench --device tpu",
            &["--device: found tpu"],
        ),
        bad(
            "new onto a file",
            &["tiny.toml, which exists", "nothing is overwritten"],
            |scratch| {
                scratch.write("tiny.toml", "mine");
                words("new flip_flop tiny.toml")
            },
        ),
        Case {
            status: 1,
            ..bad_words(
                "new into a folder that is not there",
                "new ecg no/such.toml",
                &["no/such.toml: cannot write"],
            )
        },
        bad_words(
            "missing folder to show",
            "show none",
            &["none: missing run folder"],
        ),
        bad_words(
            "missing folder to analyse",
            "analyze none",
            &["none: missing run folder"],
        ),
        bad_words(
            "missing folder to draw",
            "figures none",
            &["none: missing run folder"],
        ),
        bad("file to show", &["a.txt: missing run folder"], |scratch| {
            scratch.write("a.txt", "");
            words("show a.txt")
        }),
    ]);
}

#[test]
fn run_folders() {
    let no_run = |verb: &'static str| {
        bad(
            &format!("{verb} of a folder that is no run"),
            &["folder: missing experiment.toml: the folder is no run"],
            move |s| {
                fs::create_dir(s.path("folder")).unwrap();
                s.write("folder/thesis.txt", "all of it");
                words(&format!("{verb} folder"))
            },
        )
    };
    let checkpoint = "run/checkpoints/latest.safetensors";
    let other_units = |scratch: &Scratch| {
        let text = String::from_utf8(scratch.read("run/experiment.toml")).unwrap();
        assert!(text.contains("units = 8\n"));
        scratch.write(
            "run/experiment.toml",
            text.replace("units = 8\n", "units = 9\n"),
        );
    };
    let flip = move |scratch: &Scratch, at: usize| {
        let mut bytes = scratch.read(checkpoint);
        bytes[at] ^= 0x55;
        scratch.write(checkpoint, bytes);
    };
    check(vec![
        no_run("show"),
        no_run("analyze"),
        no_run("figures"),
        bad(
            "analyze before training",
            &[
                "latest.safetensors: missing checkpoint",
                "has not been trained",
            ],
            |scratch| {
                fs::create_dir(scratch.path("run")).unwrap();
                scratch.write("run/experiment.toml", FLIP_FLOP);
                words("analyze run")
            },
        ),
        bad_run(
            "analyze of an unknown analysis",
            "analyze run --only lyapunov_dimension",
            |_| {},
            &[
                "--only: found \"lyapunov_dimension\"",
                "fixed_points, linearization",
            ],
        ),
        bad_run(
            "analysis of another task",
            "analyze run --only free_run",
            |_| {},
            &[
                "--only: found \"free_run\", which does not apply to the task \"flip_flop\" and the cell \"leaky_rate_tanh\"; allowed: performance, trials",
            ],
        ),
        bad_run(
            "unknown figure",
            "figures run --only spectrumm",
            |_| {},
            &["--only: found \"spectrumm\"", "spectrum"],
        ),
        bad_run(
            "figure without its results",
            "figures run --only spectrum",
            |_| {},
            &[
                "figure \"spectrum\" of run: found no results of linearization, fixed_points; allowed: a run",
            ],
        ),
        bad_run(
            "unknown format",
            "figures run --format jpg",
            |_| {},
            &["--format: found jpg; allowed: svg, pdf, png"],
        ),
        bad_run(
            "width in words",
            "figures run --width wide",
            |_| {},
            &["--width: found wide", "from 40 to 400"],
        ),
        bad_run(
            "width out of range",
            "figures run --width 12",
            |_| {},
            &["--width: found 12", "from 40 to 400"],
        ),
        bad_run(
            "width that is no number",
            "figures run --width nan",
            |_| {},
            &["--width: found nan"],
        ),
        bad_run(
            "truncated checkpoint, training",
            "train tiny.toml --out run",
            move |s| truncate(s, checkpoint, 0.6),
            &[checkpoint, "a whole safetensors file"],
        ),
        bad_run(
            "truncated checkpoint, analysis",
            "analyze run",
            move |s| truncate(s, checkpoint, 0.6),
            &[checkpoint, "a whole safetensors file"],
        ),
        bad_run(
            "empty checkpoint",
            "train tiny.toml --out run",
            move |s| s.write(checkpoint, ""),
            &[checkpoint],
        ),
        bad_run(
            "checkpoint with another header",
            "train tiny.toml --out run",
            move |s| flip(s, 20),
            &[checkpoint],
        ),
        bad_run(
            "checkpoint with another length of header",
            "analyze run",
            move |s| flip(s, 1),
            &[checkpoint],
        ),
        bad_run(
            "checkpoint of another architecture, training",
            "train run/experiment.toml --out run",
            other_units,
            &[
                checkpoint,
                "tensor \"recurrent\": found [1, 8, 8]; allowed: [networks, 9, 9]",
            ],
        ),
        bad_run(
            "checkpoint of another architecture, analysis",
            "analyze run",
            other_units,
            &[
                checkpoint,
                "tensor \"recurrent\": found [1, 8, 8]; allowed: [networks, 9, 9]",
            ],
        ),
        bad_run(
            "checkpoint of another number of networks",
            "analyze run",
            |scratch| {
                let text = String::from_utf8(scratch.read("run/experiment.toml")).unwrap();
                scratch.write(
                    "run/experiment.toml",
                    text.replace("networks = 1\n", "networks = 2\n"),
                );
            },
            &[checkpoint, "number of networks: found 1; allowed: 2"],
        ),
        bad_run(
            "damaged experiment",
            "show run",
            |s| {
                // Within a word: a file that ends after a line is a whole one.
                let text = String::from_utf8(s.read("run/experiment.toml")).unwrap();
                let end = text.find("leaky").unwrap() + 2;
                s.write("run/experiment.toml", &text[..end]);
            },
            &["run/experiment.toml"],
        ),
        bad_run(
            "damaged training table, training",
            "train tiny.toml --out run",
            |s| truncate(s, "run/training.parquet", 0.5),
            &["run/training.parquet"],
        ),
        bad_run(
            "damaged training table, looking",
            "show run",
            |s| truncate(s, "run/training.parquet", 0.5),
            &["run/training.parquet"],
        ),
        bad_run(
            "damaged result",
            "show run",
            |s| truncate(s, "run/analysis/performance.parquet", 0.5),
            &["run/analysis/performance.parquet"],
        ),
        bad_run(
            "damaged provenance",
            "train tiny.toml --out run",
            |s| truncate(s, "run/provenance.json", 0.5),
            &["run/provenance.json"],
        ),
        bad_run(
            "another experiment in the folder",
            "train tiny.toml --out run --set seed=8",
            |_| {},
            &[
                "run: run folder of another experiment, key \"seed\": found 7 there, 8 here",
                "--out",
            ],
        ),
        bad(
            "file for a run folder",
            &["the run folder run: found a file"],
            |scratch| {
                scratch.write("tiny.toml", FLIP_FLOP);
                scratch.write("run", "mine");
                words("train tiny.toml --out run")
            },
        ),
        bad(
            "run folder with other things in it",
            &[
                "the run folder run: found a folder that is no run",
                "thesis.txt",
            ],
            |scratch| {
                scratch.write("tiny.toml", FLIP_FLOP);
                fs::create_dir(scratch.path("run")).unwrap();
                scratch.write("run/thesis.txt", "all of it");
                words("train tiny.toml --out run")
            },
        ),
    ]);
}

#[test]
fn networks_from_elsewhere() {
    let import = |name: &str, file: &'static str, content: &'static [u8], fragments: &[&str]| {
        bad(name, fragments, move |scratch| {
            scratch.write(file, content);
            words(&format!("import {file} --out run"))
        })
    };
    check(vec![
        bad_words(
            "missing weights",
            "import no.safetensors --out run",
            &["no.safetensors: missing file"],
        ),
        import("empty weights", "a.safetensors", b"", &["a.safetensors: "]),
        import("text for weights", "a.npz", b"weights", &["a.npz: "]),
        import("a pickle", "a.pt", b"PK", &["a.pt", "torch.save"]),
        bad("import into a run", &["run"], |scratch| {
            TRAINED.with(|trained| scratch.copy_from(trained, "run"));
            let array = Array2::<f32>::zeros((4, 4)).into_dyn();
            let names = ["weight_ih_l0", "weight_hh_l0"];
            write_npz(
                &scratch.path("a.npz"),
                &names.map(|name| (name, array.view())),
            )
            .unwrap();
            words("import a.npz --out run")
        }),
        bad_run(
            "export to an unknown format",
            "export run --to a.onnx",
            |_| {},
            &["--to", "a.onnx", ".safetensors, .npz or .csv"],
        ),
        bad_words(
            "export of no run",
            "export none --to a.npz",
            &["none: missing run folder"],
        ),
        Case {
            status: 1,
            ..bad_run(
                "export into a folder that is not there",
                "export run --to no/such.npz",
                |_| {},
                &["no/such.npz: cannot write"],
            )
        },
        bad_words(
            "desktop on nothing",
            "desktop none",
            &["none: missing file or folder"],
        ),
    ]);
}

/// A run folder where no folder can be made: `/proc` refuses even the superuser.
#[cfg(target_os = "linux")]
#[test]
fn a_place_where_nothing_can_be_made() {
    check(vec![Case {
        status: 1,
        ..bad(
            "run folder in /proc",
            &["/proc/nullcline", "cannot write"],
            |scratch| {
                scratch.write("tiny.toml", FLIP_FLOP);
                words("train tiny.toml --out /proc/nullcline")
            },
        )
    }]);
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let closed = scratch.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("probe"), "").is_ok() {
        println!("left out: permissions do not bind the superuser");
        return;
    }
    scratch.write("tiny.toml", FLIP_FLOP);
    let before = scratch.content();
    let refused = scratch
        .run(&["train", "tiny.toml", "--out", "closed/run"])
        .with_status(1);
    println!("{}", refused.stderr);
    assert!(refused.stderr.contains("closed/run"), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("cannot write: Permission denied"),
        "{}",
        refused.stderr
    );
    assert!(scratch.content() == before, "something was written");
}

/// Files of more than so many bytes cannot be written, as on a disk that is full.
#[cfg(unix)]
fn with_small_files(scratch: &Scratch, kibibytes: u32, arguments: &[&str]) -> Finished {
    let program = scratch.command(&[]);
    let mut command = Command::new("sh");
    // POSIX counts in blocks of 512 bytes. The signal that comes with the limit would end the program before
    // it sees the error that a full disk gives.
    let limited = format!("ulimit -f {}; trap '' XFSZ; exec \"$@\"", 2 * kibibytes);
    command
        .args(["-c", &limited, "sh"])
        .arg(program.get_program())
        .args(arguments);
    command.current_dir(scratch.path(""));
    Finished::of(&mut command)
}

/// Asserts that an error is one of failed work, and that every file left is whole.
#[cfg(unix)]
#[track_caller]
fn assert_clean_failure(scratch: &Scratch, failed: Finished, file: &str) {
    let failed = failed.with_status(1);
    println!("    {}", failed.stderr.trim_end());
    // Besides the error there are lines on progress only.
    let progress = [
        "train: ",
        "training on ",
        "analyse: ",
        "draw: ",
        "continuing ",
    ];
    let errors: Vec<&str> = failed
        .stderr
        .lines()
        .filter(|line| !progress.iter().any(|start| line.starts_with(start)))
        .collect();
    assert_eq!(errors.len(), 1, "{}", failed.stderr);
    assert!(errors[0].starts_with("nullcline: "), "{}", errors[0]);
    assert!(
        errors[0].contains(file) && errors[0].contains("cannot write"),
        "{}",
        errors[0]
    );
    let left: Vec<String> = scratch
        .content()
        .into_keys()
        .filter(|name| name.contains(".tmp-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full_loses_nothing_that_was_saved() {
    let scratch = Scratch::new();
    // The training table grows past the limit after some checkpoints; these stay below it.
    let experiment = FLIP_FLOP
        .replace("updates = 40", "updates = 400")
        .replace("log_every = 5", "log_every = 1");
    scratch.write("tiny.toml", experiment);
    let train = |out| ["train", "tiny.toml", "--out", out];
    scratch.run(&train("whole")).succeeded();
    let table = scratch.read("whole/training.parquet").len();
    let checkpoint = scratch.read("whole/checkpoints/latest.safetensors").len();
    let limit = 6;
    assert!(
        checkpoint < limit * 1024 && limit * 1024 < table,
        "{checkpoint} {table}"
    );

    let failed = with_small_files(&scratch, limit as u32, &train("run"));
    let saved = support::checkpoint_update(&scratch.path("run"));
    assert!((10..400).contains(&saved), "saved at update {saved}");
    assert!(
        failed
            .stderr
            .contains(&format!("saved up to update {saved}")),
        "{}",
        failed.stderr
    );
    assert_clean_failure(&scratch, failed, "run/training.parquet");
    scratch.run(&["show", "run"]).succeeded();
    // With room again, the same command goes on and ends as if nothing had been.
    scratch.run(&train("run")).succeeded();
    assert_same_training(&scratch.path("whole"), &scratch.path("run"));

    // An analysis whose results do not fit: those before it are there, its own are not.
    let failed = with_small_files(&scratch, limit as u32, &["analyze", "run"]);
    assert_clean_failure(&scratch, failed, "run/analysis/");
    let failed = with_small_files(&scratch, 3, &["analyze", "run", "--only", "linearization"]);
    assert_clean_failure(&scratch, failed, "run/analysis/");
    scratch.run(&["show", "run"]).succeeded();

    // Figures: the old ones stay.
    scratch
        .run(&["figures", "run", "--only", "training_curve"])
        .succeeded();
    let before = scratch.content();
    let failed = with_small_files(
        &scratch,
        1,
        &[
            "figures",
            "run",
            "--only",
            "training_curve",
            "--width",
            "120",
        ],
    );
    assert_clean_failure(&scratch, failed, "run/figures/training_curve.svg");
    assert!(scratch.content() == before, "a figure was damaged");

    // Not even the experiment fits.
    let failed = with_small_files(&scratch, 1, &["new", "flip_flop", "commented.toml"]);
    assert_clean_failure(&scratch, failed, "commented.toml");
    assert!(!scratch.path("commented.toml").exists());
    let failed = with_small_files(&scratch, 1, &["train", "tiny.toml", "--out", "small"]);
    assert_clean_failure(&scratch, failed, "small/");
    scratch.run(&train("small")).succeeded();
}

/// A file system with room for a few kilobytes, unmounted when dropped.
#[cfg(target_os = "linux")]
struct SmallDisk<'a>(&'a std::path::Path);

#[cfg(target_os = "linux")]
impl<'a> SmallDisk<'a> {
    /// Mounts it; none where that is not allowed.
    fn mount(place: &'a std::path::Path, kibibytes: u32) -> Option<SmallDisk<'a>> {
        fs::create_dir(place).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kibibytes}k"), "tmpfs"])
            .arg(place)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(SmallDisk(place))
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_small_disk_that_fills_up() {
    let scratch = Scratch::new();
    let place = scratch.path("disk");
    // Room for the folder, one checkpoint and little more: to replace it takes twice its size for a moment.
    let Some(_disk) = SmallDisk::mount(&place, 24) else {
        println!("left out: no file system can be mounted here");
        return;
    };
    scratch.write("tiny.toml", FLIP_FLOP.replace("units = 8", "units = 16"));
    let failed = scratch.run(&["train", "tiny.toml", "--out", "disk/run"]);
    assert!(
        failed.stderr.contains("No space left on device"),
        "{}",
        failed.stderr
    );
    assert_clean_failure(&scratch, failed, "disk/run/");
    scratch.run(&["show", "disk/run"]).succeeded();
}
