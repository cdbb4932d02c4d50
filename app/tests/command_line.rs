//! Every verb from end to end, on experiments that train in a fraction of a second.

mod support;

use nullcline_data::npy::read_npz;
use nullcline_data::tensors::read_safetensors;
use nullcline_tables::Table;
use serde_json::Value;
use std::fs;
use support::{FLIP_FLOP, HEARTBEAT, Scratch, assert_same_training, checkpoint_update};

/// A scratch folder with a trained, analysed and drawn run.
fn with_run(experiment: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", experiment);
    scratch
        .run(&["run", "tiny.toml", "--out", "run"])
        .succeeded();
    scratch
}

/// The names in the output of `list`, from both of its forms, which must agree.
fn listed(scratch: &Scratch, what: &str) -> Vec<String> {
    let json = scratch.run(&["list", what, "--json"]).succeeded().json();
    let entries = json.as_array().unwrap();
    assert!(!entries.is_empty(), "{what}");
    let text = scratch.run(&["list", what]).succeeded().stdout;
    assert_eq!(text.lines().count(), entries.len(), "{what}");
    let mut names = Vec::new();
    for (line, entry) in text.lines().zip(entries) {
        let (name, summary) = (
            entry["name"].as_str().unwrap(),
            entry["summary"].as_str().unwrap(),
        );
        assert!(
            line.starts_with(name) && line.ends_with(summary) && !summary.is_empty(),
            "{line:?} {entry}"
        );
        names.push(name.to_owned());
    }
    names
}

/// The files of a run's folder of figures with an extension, sorted.
fn figures(scratch: &Scratch, extension: &str) -> Vec<String> {
    let names = scratch.content().into_keys();
    let figure = |name: String| {
        Some(
            name.strip_prefix("run/figures/")?
                .strip_suffix(&format!(".{extension}"))?
                .to_owned(),
        )
    };
    names.filter_map(figure).collect()
}

/// Width and height of a PNG in pixels, and its pixels per metre: from the chunks IHDR and pHYs.
fn png_size(bytes: &[u8]) -> (u32, u32, u32) {
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n"), "no PNG");
    let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(&bytes[12..16], b"IHDR");
    let density = bytes
        .windows(4)
        .position(|name| name == b"pHYs")
        .expect("a PNG without a density");
    (number(16), number(20), number(density + 4))
}

#[test]
fn every_example_is_written_and_read_back() {
    let scratch = Scratch::new();
    for example in listed(&scratch, "examples") {
        let written = scratch.run(&["new", &example]).succeeded();
        assert_eq!(written.stdout, format!("wrote {example}.toml\n"));
        assert_eq!(written.stderr, "");
        let text = String::from_utf8(scratch.read(&format!("{example}.toml"))).unwrap();
        assert!(text.starts_with("# "), "{text}");
        // Each key has a line of documentation and one with its range and default above it.
        let lines: Vec<&str> = text.lines().collect();
        let keys = (0..lines.len())
            .filter(|&i| !lines[i].starts_with(['#', '[']) && lines[i].contains(" = "));
        assert!(keys.clone().count() > 30, "{text}");
        for i in keys {
            assert!(
                lines[i - 1].starts_with("# ") && lines[i - 2].starts_with("# "),
                "{}",
                lines[i]
            );
            assert!(
                lines[i - 1].contains("default: ") || lines[i - 1].contains("required"),
                "{}",
                lines[i - 1]
            );
        }
        // It trains as it stands, but for its length.
        let arguments = [
            "train",
            &format!("{example}.toml"),
            "--set",
            "training.updates=2",
            "--set",
            "training.batch=2",
            "--set",
            "training.evaluation_trials=2",
        ];
        let trained = scratch.run(&arguments);
        // The flip-flop asks for a loss that two updates do not reach.
        assert!(matches!(trained.status, Some(0 | 1)), "{}", trained.stderr);
        assert_eq!(trained.stdout, format!("runs/{example}\n"));
        assert_eq!(
            checkpoint_update(&scratch.path(&format!("runs/{example}"))),
            2
        );
    }
    let named = scratch.run(&["new", "ecg", "mine.toml"]).succeeded();
    assert_eq!(named.stdout, "wrote mine.toml\n");
    assert_eq!(scratch.read("mine.toml"), scratch.read("ecg.toml"));
}

#[test]
fn a_run_makes_the_whole_run_folder() {
    let scratch = with_run(FLIP_FLOP);
    for file in [
        "experiment.toml",
        "provenance.json",
        "checkpoints/latest.safetensors",
        "training.parquet",
        "analysis/fixed_points.parquet",
        "analysis/linearization.parquet",
        "analysis/performance.parquet",
        "figures/training_curve.svg",
        "figures/training_curve.pdf",
        "figures/training_curve.png",
        "figures/training_curve.csv",
        "figures/trial.svg",
        "figures/state_space.svg",
    ] {
        assert!(scratch.path("run").join(file).is_file(), "no {file}");
    }
    let provenance: Value = serde_json::from_slice(&scratch.read("run/provenance.json")).unwrap();
    assert_eq!(provenance["program"], "nullcline");
    assert_eq!(provenance["version"], env!("CARGO_PKG_VERSION"));
    let command: Vec<&str> = provenance["command"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert_eq!(command[1..], ["run", "tiny.toml", "--out", "run"]);
    assert_eq!(provenance["seeds"], serde_json::json!([7]));
    assert!(
        provenance["finished"].is_string() && provenance["device"].is_string(),
        "{provenance}"
    );

    let table = Table::read_parquet(&scratch.path("run/training.parquet")).unwrap();
    let names: Vec<&str> = table
        .columns()
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names[..4], ["update", "network", "loss", "held_out_loss"]);
    assert_eq!(names[names.len() - 2..], ["learning_rate", "seconds"]);
    // Rows: the first update, every fifth.
    assert_eq!(
        table.u64_column("update").unwrap(),
        [1, 5, 10, 15, 20, 25, 30, 35, 40]
    );

    // Every default is written out: the folder's experiment, run elsewhere, gives the same bits.
    scratch
        .run(&["train", "run/experiment.toml", "--out", "again"])
        .succeeded();
    assert_same_training(&scratch.path("run"), &scratch.path("again"));
    assert_eq!(
        scratch.read("run/experiment.toml"),
        scratch.read("again/experiment.toml")
    );
}

#[test]
fn a_second_run_changes_nothing() {
    let scratch = with_run(FLIP_FLOP);
    let before = scratch.content();
    let second = scratch
        .run(&["run", "tiny.toml", "--out", "run"])
        .succeeded();
    assert!(
        second.stderr.contains("continuing run at update 40"),
        "{}",
        second.stderr
    );
    assert!(
        !second.stderr.contains("train: update"),
        "it trained again: {}",
        second.stderr
    );
    let after = scratch.content();
    let changed: Vec<&String> = after
        .iter()
        .filter(|(name, content)| before.get(*name) != Some(content))
        .map(|(name, _)| name)
        .collect();
    assert!(
        changed.is_empty() && before.len() == after.len(),
        "{changed:?}"
    );
}

#[test]
fn a_loss_that_is_not_reached_is_status_1_each_time() {
    let scratch = Scratch::new();
    scratch.write(
        "tiny.toml",
        FLIP_FLOP.replace("batch = 16", "batch = 16\nstop_loss = 1e-9"),
    );
    for _ in 0..2 {
        let missed = scratch
            .run(&["train", "tiny.toml", "--out", "run"])
            .with_status(1);
        assert!(
            missed.stderr.contains("1 did not reach training.stop_loss"),
            "{}",
            missed.stderr
        );
        assert!(missed.stderr.contains("saved in run"), "{}", missed.stderr);
        assert_eq!(checkpoint_update(&scratch.path("run")), 40);
    }
}

#[test]
fn training_that_diverges_is_status_1_and_keeps_the_last_good_networks() {
    let scratch = Scratch::new();
    // Linear above zero and with steps that are far too large: it grows without bound.
    let experiment = FLIP_FLOP
        .replace(
            "units = 8",
            "units = 8\nnonlinearity = \"relu\"\nrecurrent_gain = 50.0",
        )
        .replace(
            "learning_rate = 0.01",
            "learning_rate = 1000.0\noptimiser = \"sgd\"\nclip = 0.0",
        );
    scratch.write("tiny.toml", experiment);
    for _ in 0..2 {
        let diverged = scratch
            .run(&["train", "tiny.toml", "--out", "run"])
            .with_status(1);
        assert!(
            diverged.stderr.contains("1 diverged"),
            "{}",
            diverged.stderr
        );
        assert!(
            diverged.stderr.contains("not finite at update"),
            "{}",
            diverged.stderr
        );
        let checkpoint = support::checkpoint(&scratch.path("run")).unwrap();
        assert!(
            checkpoint
                .f32("recurrent")
                .unwrap()
                .iter()
                .all(|weight| weight.is_finite())
        );
    }
    scratch.run(&["show", "run"]).succeeded();
}

#[test]
fn show_says_the_same_as_text_and_as_json() {
    let scratch = with_run(&FLIP_FLOP.replace("seed = 7", "seed = 7\nnetworks = 2"));
    let json = scratch.run(&["show", "run", "--json"]).succeeded().json();
    for (key, value) in [
        ("folder", "run"),
        ("name", "tiny"),
        ("task", "flip_flop"),
        ("cell", "leaky"),
    ] {
        assert_eq!(json[key], value);
    }
    assert_eq!(
        (&json["networks"], &json["trained"]),
        (&Value::from(2), &Value::from(true))
    );
    assert!(json["finished"].is_string(), "{json}");
    let networks = json["results"].as_array().unwrap();
    assert_eq!(networks.len(), 2);
    let text = scratch.run(&["show", "run"]).succeeded().stdout;
    assert!(
        text.starts_with("tiny: leaky on flip_flop, 2 networks\n"),
        "{text}"
    );
    let table = Table::read_parquet(&scratch.path("run/analysis/fixed_points.parquet")).unwrap();
    let verdicts = table.text_column("verdict").unwrap();
    let owners = table.u64_column("network").unwrap();
    for (k, network) in networks.iter().enumerate() {
        assert_eq!(
            (&network["network"], &network["update"]),
            (&Value::from(k), &Value::from(40))
        );
        assert!(network["loss"].as_f64().unwrap() > 0.0);
        let line = format!(
            "network {k}: 40 updates, loss {:.4}",
            network["loss"].as_f64().unwrap()
        );
        assert!(text.contains(&line), "{line} not in {text}");
        let fixed = (0..owners.len())
            .filter(|&row| owners[row] == k as u64 && verdicts[row] == Some("fixed"))
            .count();
        assert_eq!(network["fixed_points"], fixed);
    }
    let tables: Vec<&str> = json["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert!(
        text.contains(&format!("tables: {}\n", tables.join(", "))),
        "{text}"
    );
    assert!(
        tables.contains(&"fixed_points") && tables.contains(&"linearization"),
        "{tables:?}"
    );
    assert!(
        json["performance"]
            .as_array()
            .is_some_and(|rows| !rows.is_empty()),
        "{json}"
    );

    // A run that has begun and not trained is shown too.
    fs::create_dir(scratch.path("fresh")).unwrap();
    scratch.write("fresh/experiment.toml", FLIP_FLOP);
    assert!(
        scratch
            .run(&["show", "fresh"])
            .succeeded()
            .stdout
            .contains("not trained yet")
    );
    assert_eq!(
        scratch.run(&["show", "fresh", "--json"]).succeeded().json()["trained"],
        false
    );
}

#[test]
fn analyses_are_run_by_name_with_what_they_need() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", FLIP_FLOP);
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    let tables = || {
        let names = scratch.content().into_keys();
        names
            .filter_map(|name| Some(name.strip_prefix("run/analysis/")?.to_owned()))
            .collect::<Vec<_>>()
    };
    assert!(tables().is_empty());
    scratch
        .run(&["analyze", "run", "--only", "performance"])
        .succeeded();
    assert_eq!(tables(), ["performance.parquet"]);
    let second = scratch
        .run(&["analyze", "run", "--only", "linearization"])
        .succeeded();
    assert!(
        second
            .stderr
            .contains("analyse: fixed_points\nanalyse: linearization\n"),
        "{}",
        second.stderr
    );
    assert!(
        tables().contains(&"fixed_points.parquet".to_owned()),
        "{:?}",
        tables()
    );
    let before = scratch.content();
    scratch
        .run(&["analyze", "run", "--only", "performance,linearization"])
        .succeeded();
    assert!(
        scratch.content() == before,
        "the same analysis of the same networks gave another result"
    );
    // All that apply to this task and are run by themselves, and no other.
    let all = scratch.run(&["analyze", "run"]).succeeded();
    for name in listed(&scratch, "analyses") {
        let by_itself = nullcline::analyses::kind(&name).unwrap().by_default;
        let of_recordings = [
            "free_run",
            "reconstruction",
            "true_system",
            "periodic_orbits",
        ];
        let applies = by_itself && !of_recordings.contains(&name.as_str());
        assert_eq!(
            all.stderr.contains(&format!("analyse: {name}\n")),
            applies,
            "{name}: {}",
            all.stderr
        );
    }
    scratch
        .run(&["analyze", "run", "--only", "poincare"])
        .succeeded();
    assert!(tables().contains(&"poincare.parquet".to_owned()));
}

#[test]
fn keys_of_analyses_and_figures_can_be_set_afterwards() {
    let scratch = with_run(FLIP_FLOP);
    let set = "analysis.lyapunov.exponents=3";
    scratch
        .run(&["analyze", "run", "--only", "lyapunov", "--set", set])
        .succeeded();
    let exponents = |scratch: &Scratch| {
        Table::read_parquet(&scratch.path("run/analysis/lyapunov.parquet"))
            .unwrap()
            .row_count()
    };
    assert_eq!(exponents(&scratch), 3);
    // The folder keeps it.
    scratch
        .run(&["analyze", "run", "--only", "lyapunov"])
        .succeeded();
    assert_eq!(exponents(&scratch), 3);
    let set = "figures.width=120";
    scratch
        .run(&["figures", "run", "--only", "lyapunov", "--set", set])
        .succeeded();
    let svg = String::from_utf8(scratch.read("run/figures/lyapunov.svg")).unwrap();
    assert!(
        svg.contains("width=\"120mm\"") || svg.contains("width=\"340."),
        "{}",
        &svg[..300]
    );
    // What the networks were trained by is not changed afterwards.
    let before = scratch.content();
    let refused = scratch
        .run(&["analyze", "run", "--set", "task.bits=3"])
        .with_status(2);
    assert!(refused.stderr.contains("task.bits"), "{}", refused.stderr);
    assert!(scratch.content() == before);
    // Nor does the folder keep what does not fit the task or the ensemble.
    for (verb, set) in [
        ("analyze", "analysis.fixed_points.input=[0, 0, 0]"),
        ("figures", "figures.network=1"),
    ] {
        scratch.run(&[verb, "run", "--set", set]).with_status(2);
        assert!(scratch.content() == before, "{set}");
    }
}

#[test]
fn figures_are_drawn_by_name_format_and_width() {
    let scratch = with_run(FLIP_FLOP);
    let known = listed(&scratch, "figures");
    let drawn = figures(&scratch, "svg");
    assert!(
        drawn.iter().all(|name| known.contains(name)),
        "{drawn:?} {known:?}"
    );
    for extension in ["pdf", "png", "csv"] {
        assert_eq!(figures(&scratch, extension), drawn, "{extension}");
    }
    let experiment = String::from_utf8(scratch.read("run/experiment.toml")).unwrap();
    let version = format!("Nullcline {}", env!("CARGO_PKG_VERSION"));
    for name in &drawn {
        let file = |extension: &str| scratch.read(&format!("run/figures/{name}.{extension}"));
        let text = |extension: &str| String::from_utf8_lossy(&file(extension)).into_owned();
        // SVG holds the experiment as XML text, PNG as a text chunk, PDF in its metadata.
        let svg = text("svg");
        assert!(svg.contains("<svg") && svg.contains("</svg>"), "{name}");
        // 89 mm: 89 / 25.4 * 72 = 252.28 points.
        assert!(
            svg.contains("width=\"252.3pt\""),
            "{name}: {}",
            &svg[..svg.len().min(300)]
        );
        for line in experiment
            .lines()
            .filter(|line| line.contains("training") || line.starts_with("units"))
        {
            let escaped = line.replace('"', "&quot;");
            assert!(
                svg.contains(line) || svg.contains(&escaped),
                "{name}.svg lacks {line}"
            );
        }
        assert!(svg.contains(&version), "{name}.svg lacks the version");
        let pdf = file("pdf");
        assert!(
            pdf.starts_with(b"%PDF-") && pdf.trim_ascii_end().ends_with(b"%%EOF"),
            "{name}"
        );
        // Its attachments are compressed; the lengths before that tell.
        let attached = format!("Subtype/text#2Fplain/Params<</Size {}", experiment.len());
        assert!(
            text("pdf").contains("(experiment.toml)"),
            "{name}.pdf lacks the experiment"
        );
        assert!(
            text("pdf").contains(&attached),
            "{name}.pdf has another experiment"
        );
        assert!(
            text("pdf").contains(&version),
            "{name}.pdf lacks the version"
        );
        let png = file("png");
        // 89 mm at 300 dots per inch: 89 / 25.4 * 300 = 1051.2.
        let (width, height, density) = png_size(&png);
        assert_eq!((width, density), (1051, 11811), "{name}");
        assert!(height > 300, "{name}");
        assert!(
            text("png").contains("units = 8"),
            "{name}.png lacks the experiment"
        );
        assert!(
            text("png").contains(&version),
            "{name}.png lacks the version"
        );
        assert!(text("csv").lines().count() > 2, "{name}");
    }

    let before = scratch.content();
    let only = [
        "figures",
        "run",
        "--only",
        "training_curve,trial",
        "--format",
        "png",
    ];
    let single = |width: &str| {
        let arguments: Vec<&str> = only.iter().copied().chain(["--width", width]).collect();
        let said = scratch.run(&arguments).succeeded();
        assert_eq!(said.stderr, "draw: training_curve\ndraw: trial\n");
        png_size(&scratch.read("run/figures/trial.png")).0
    };
    for (width, mm) in [("double", 183.0), ("120", 120.0), ("62.5", 62.5)] {
        let exact = mm / 25.4 * 300.0;
        assert!(
            (f64::from(single(width)) - exact).abs() <= 1.0,
            "{width}: {} instead of {exact}",
            single(width)
        );
    }
    assert_eq!(single("single"), 1051);
    assert!(
        scratch.content() == before,
        "a figure drawn anew at its first width differs, or another was touched"
    );
}

#[test]
fn a_recording_is_generated_and_drawn() {
    let scratch = with_run(HEARTBEAT);
    let shown = scratch.run(&["show", "run", "--json"]).succeeded().json();
    assert!(
        shown["free_run"]
            .as_array()
            .is_some_and(|rows| rows.len() == 2),
        "recording and network: {shown}"
    );
    let drawn = figures(&scratch, "pdf");
    for name in ["training_curve", "generated", "delay_space"] {
        assert!(
            drawn.iter().any(|drawn| drawn == name),
            "no {name} in {drawn:?}"
        );
    }
}

#[test]
fn another_recording_by_one_assignment() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", HEARTBEAT);
    let signal = ndarray::Array1::from_shape_fn(900, |t| (0.3 * t as f64).sin());
    nullcline_data::write_npy(&scratch.path("sine.npy"), &signal).unwrap();
    // The path is relative to where the command is given.
    let arguments = [
        "train",
        "tiny.toml",
        "--out",
        "run",
        "--set",
        "task.file=sine.npy",
    ];
    scratch.run(&arguments).succeeded();
    let provenance: Value = serde_json::from_slice(&scratch.read("run/provenance.json")).unwrap();
    let input = &provenance["inputs"][0];
    assert!(
        input["path"].as_str().unwrap().ends_with("/sine.npy"),
        "{provenance}"
    );
    let digest = nullcline_data::sha256_file(&scratch.path("sine.npy")).unwrap();
    assert_eq!(input["sha256"], digest);
    // The folder knows its recording from anywhere.
    scratch
        .run(&["run", "run/experiment.toml", "--out", "run"])
        .succeeded();
}

#[test]
fn assignments_lie_over_the_file() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", FLIP_FLOP);
    let arguments = [
        "train",
        "tiny.toml",
        "--out",
        "run",
        "--set",
        "training.updates=3",
        "--set",
        "name=other",
        "--set",
        "model.units=5",
        "--set",
        "training.snapshots=[0, 2]",
    ];
    scratch.run(&arguments).succeeded();
    let written = String::from_utf8(scratch.read("run/experiment.toml")).unwrap();
    for line in [
        "updates = 3",
        "name = \"other\"",
        "units = 5",
        "snapshots = [0, 2]",
    ] {
        assert!(
            written.lines().any(|found| found == line),
            "{line} not in {written}"
        );
    }
    assert_eq!(checkpoint_update(&scratch.path("run")), 3);
    assert_eq!(
        support::checkpoint(&scratch.path("run"))
            .unwrap()
            .f32("recurrent")
            .unwrap()
            .shape(),
        [1, 5, 5]
    );
    for snapshot in ["000000", "000002"] {
        assert!(
            scratch
                .path(&format!("run/checkpoints/{snapshot}.safetensors"))
                .is_file(),
            "{snapshot}"
        );
    }
    // The last assignment to a key counts, and the file itself is as it was.
    scratch
        .run(&[
            "train",
            "tiny.toml",
            "--out",
            "two",
            "--set",
            "seed=1",
            "--set",
            "seed=2",
        ])
        .succeeded();
    assert!(
        String::from_utf8(scratch.read("two/experiment.toml"))
            .unwrap()
            .contains("seed = 2\n")
    );
    assert_eq!(scratch.read("tiny.toml"), FLIP_FLOP.as_bytes());
}

#[test]
fn what_there_is_is_listed() {
    let scratch = Scratch::new();
    for (what, some) in [
        ("tasks", &["flip_flop", "series"][..]),
        (
            "cells",
            &["vanilla", "leaky", "gru", "lstm", "shallow_plrnn"],
        ),
        ("analyses", &["fixed_points", "linearization"]),
        (
            "figures",
            &[
                "training_curve",
                "trial",
                "state_space",
                "spectrum",
                "generated",
            ],
        ),
        ("examples", &["flip_flop", "ecg"]),
        ("devices", &["cpu"]),
    ] {
        let names = listed(&scratch, what);
        assert!(
            some.iter()
                .all(|name| names.iter().any(|known| known == name)),
            "{what}: {names:?}"
        );
    }
}

#[test]
fn training_is_timed() {
    let scratch = Scratch::new();
    let arguments = [
        "bench",
        "--cell",
        "gru",
        "--hidden",
        "16",
        "--batch",
        "32",
        "--steps",
        "10",
        "--networks",
        "2",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--json",
    ];
    let timed = scratch.run(&arguments).succeeded();
    assert_eq!(timed.stdout.lines().count(), 1);
    let json = timed.json();
    for (key, value) in [
        ("hidden", 16),
        ("batch", 32),
        ("steps", 10),
        ("networks", 2),
        ("threads", 1),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!(json["cell"], "gru");
    assert!(
        json["device"].as_str().unwrap().starts_with("cpu"),
        "{json}"
    );
    let number = |key: &str| {
        json[key]
            .as_f64()
            .unwrap_or_else(|| panic!("no number {key} in {json}"))
    };
    let seconds = number("seconds_per_update");
    assert!(seconds > 0.0 && seconds < 10.0);
    assert!((number("network_updates_per_second") * seconds / 2.0 - 1.0).abs() < 1e-9);
    // GRU: 3 gates of 16 x (16 + 3) weights and 3 x 16 of the readout; 6 operations per weight, step and trial.
    let operations = 6.0 * (3.0 * 16.0 * 19.0 + 48.0) * 320.0 * 2.0;
    assert!((number("gflops") * 1e9 * seconds / operations - 1.0).abs() < 1e-9);
    let text = scratch
        .run(&["bench", "--hidden", "8", "--batch", "16", "--steps", "5"])
        .succeeded()
        .stdout;
    assert!(
        text.contains("ms per update") && text.contains("GFLOP/s"),
        "{text}"
    );
}

#[test]
fn help_and_version() {
    let scratch = Scratch::new();
    let version = scratch.run(&["--version"]).succeeded();
    assert_eq!(
        version.stdout,
        format!("nullcline {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = scratch.run(&["--help"]).succeeded().stdout;
    let verbs = [
        "desktop", "run", "train", "analyze", "figures", "import", "export", "show", "list",
        "bench", "new",
    ];
    for verb in verbs {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(verb)),
            "{verb}"
        );
        assert!(
            scratch
                .run(&[verb, "--help"])
                .succeeded()
                .stdout
                .contains("Usage: "),
            "{verb}"
        );
    }
}

#[test]
fn networks_go_out_and_come_back() {
    let scratch = with_run(&FLIP_FLOP.replace("\"leaky\"", "\"gru\""));
    for file in ["gru.safetensors", "gru.npz", "gru.csv"] {
        let exported = scratch.run(&["export", "run", "--to", file]).succeeded();
        assert_eq!(exported.stdout, format!("wrote {file}\n"));
    }
    let tensors = read_safetensors(&scratch.path("gru.safetensors")).unwrap();
    let mut shapes: Vec<Vec<usize>> = tensors
        .iter()
        .map(|(_, tensor)| tensor.shape().to_vec())
        .collect();
    let mut arrays: Vec<Vec<usize>> = read_npz(&scratch.path("gru.npz"))
        .unwrap()
        .iter()
        .map(|(_, array)| array.shape().to_vec())
        .collect();
    shapes.sort();
    arrays.sort();
    assert_eq!(shapes, arrays);
    let header = String::from_utf8(scratch.read("gru.csv")).unwrap();
    assert!(
        header.starts_with("network,tensor,row,column,value\n"),
        "{}",
        header.lines().next().unwrap_or_default()
    );

    for (file, out) in [
        ("gru.safetensors", "from_safetensors"),
        ("gru.npz", "from_npz"),
    ] {
        let imported = scratch.run(&["import", file, "--out", out]).succeeded();
        assert!(imported.stdout.contains("gru"), "{}", imported.stdout);
        assert_eq!(
            scratch.run(&["show", out, "--json"]).succeeded().json()["trained"],
            true
        );
        let (before, after) = (
            support::checkpoint(&scratch.path("run")),
            support::checkpoint(&scratch.path(out)),
        );
        for name in ["recurrent", "input", "readout"] {
            assert_eq!(
                before.as_ref().unwrap().get(name),
                after.as_ref().unwrap().get(name),
                "{name}"
            );
        }
        scratch
            .run(&["analyze", out, "--only", "fixed_points"])
            .succeeded();
    }
}

/// A recording of so many columns.
fn recording(columns: usize) -> String {
    let mut text = vec!["a", "b", "c"][..columns].join(",");
    for t in 0..600 {
        let row: Vec<String> = (1..=columns)
            .map(|k| (0.1 * (t * k) as f64).sin().to_string())
            .collect();
        text += &format!("\n{}", row.join(","));
    }
    text
}

#[test]
fn a_recording_that_has_changed_is_refused_and_figures_need_it_no_more() {
    let scratch = Scratch::new();
    let experiment = HEARTBEAT
        .replace("builtin:mitbih_208", "recording.csv")
        .replace("lags = [0, 10, 35]\n", "");
    scratch.write("tiny.toml", experiment);
    scratch.write("recording.csv", recording(2));
    scratch
        .run(&["run", "tiny.toml", "--out", "run"])
        .succeeded();
    let drawn = scratch.read("run/figures/delay_space.svg");

    scratch.write("recording.csv", recording(3));
    for words in [
        &["train", "tiny.toml", "--out", "run"][..],
        &["analyze", "run"],
    ] {
        let refused = scratch.run(words).with_status(2);
        assert!(
            refused.stderr.contains("recording.csv") && refused.stderr.contains("sha256"),
            "{}",
            refused.stderr
        );
    }
    // A figure is drawn from results, whatever has become of the recording.
    fs::remove_file(scratch.path("recording.csv")).unwrap();
    scratch.run(&["figures", "run"]).succeeded();
    assert_eq!(scratch.read("run/figures/delay_space.svg"), drawn);
    // So are the weights, which are the run's own.
    scratch
        .run(&["export", "run", "--to", "weights.npz"])
        .succeeded();
    let weights = read_npz(&scratch.path("weights.npz")).unwrap();
    let shape = |name: &str| {
        let (_, array) = weights.iter().find(|(known, _)| known == name).unwrap();
        array.shape().to_vec()
    };
    assert_eq!(shape("readout"), [1, 2, 3]);
    assert_eq!(shape("hidden"), [1, 16, 3]);
}

#[test]
fn what_reads_a_result_is_made_anew_with_it() {
    let scratch = with_run(FLIP_FLOP);
    let points = |name: &str| {
        Table::read_parquet(&scratch.path(&format!("run/analysis/{name}.parquet"))).unwrap()
    };
    let place = || points("state_space_points").f64_column("pc_1").unwrap();
    let at_rest = place();
    let text = String::from_utf8(scratch.read("run/experiment.toml")).unwrap();
    assert!(text.contains("starts = 32"));
    scratch.write(
        "run/experiment.toml",
        text.replace("starts = 32", "starts = 32\ninput = [1.0, -1.0]"),
    );
    scratch
        .run(&["analyze", "run", "--only", "fixed_points"])
        .succeeded();
    let under_input = points("fixed_points");
    assert_eq!(under_input.f64_column("input_1").unwrap()[0], -1.0);
    assert_ne!(place(), at_rest);
}

#[test]
fn an_empty_variable_for_threads_asks_for_nothing() {
    let scratch = Scratch::new();
    let run = |value: &str| {
        support::Finished::of(
            scratch
                .command(&["list", "cells"])
                .env("NULLCLINE_THREADS", value),
        )
    };
    run("").succeeded();
    let refused = run("many").with_status(2);
    assert!(
        refused.stderr.contains("NULLCLINE_THREADS: found many"),
        "{}",
        refused.stderr
    );
}

/// Without a graphics card, asking for one is bad input; software drivers count only where they are named.
#[test]
fn a_graphics_card_that_is_not_there() {
    let scratch = Scratch::new();
    let devices = scratch
        .run(&["list", "devices", "--json"])
        .succeeded()
        .json();
    let devices = devices.as_array().unwrap();
    assert_eq!(devices[0]["name"], "cpu");
    let hardware = devices[1..]
        .iter()
        .any(|device| !device["summary"].as_str().unwrap().starts_with("software"));
    if hardware {
        println!("left out: this machine has a graphics card");
        return;
    }
    scratch.run(&["new", "flip_flop", "tiny.toml"]).succeeded();
    let refused = scratch
        .run(&["train", "tiny.toml", "--out", "run", "--device", "gpu"])
        .with_status(2);
    assert!(
        refused
            .stderr
            .contains("--device: found gpu; allowed: auto")
    );
    assert!(!scratch.path("run").exists());
}

/// Where the search for fixed points starts, and under which inputs.
#[test]
fn fixed_points_start_from_a_box_or_a_file_under_several_inputs() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", FLIP_FLOP);
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    let analyze = |assignments: &[&str]| {
        let mut arguments = vec!["analyze", "run", "--only", "fixed_points"];
        arguments.extend(assignments.iter().flat_map(|set| ["--set", *set]));
        scratch.run(&arguments)
    };
    let table = |name: &str| {
        Table::read_parquet(&scratch.path(&format!("run/analysis/{name}.parquet"))).unwrap()
    };
    // Two inputs: each point under its own, ids that go on.
    analyze(&[
        "analysis.fixed_points.from=box",
        "analysis.fixed_points.input=[0, 0, 1, -1]",
    ])
    .succeeded();
    let points = table("fixed_points");
    let first = points.f64_column("input_0").unwrap();
    assert!(first.contains(&0.0) && first.contains(&1.0), "{first:?}");
    let ids = points.u64_column("id").unwrap();
    assert_eq!(ids, (0..ids.len() as u64).collect::<Vec<_>>());
    assert_eq!(table("fixed_points_search").row_count(), 2);
    let shown = scratch.run(&["show", "run"]).succeeded();
    assert!(shown.stdout.contains("under 2 inputs"), "{}", shown.stdout);

    // The states of a file, all of them and nothing else.
    let row = |x: f64| vec![x.to_string(); 8].join(",");
    scratch.write("starts.csv", [0.1, 0.5, -0.5].map(row).join("\n"));
    analyze(&[
        "analysis.fixed_points.from=file",
        "analysis.fixed_points.file=starts.csv",
        "analysis.fixed_points.input=[0, 0]",
    ])
    .succeeded();
    let search = table("fixed_points_search");
    assert_eq!(search.u64_column("starts").unwrap(), [3]);

    // What does not fit is said.
    scratch.write("starts.csv", "1,2\n");
    for (set, said) in [
        (
            "analysis.fixed_points.from=file",
            "found 2; allowed: 8, one per state variable",
        ),
        (
            "analysis.fixed_points.input=[0, 0, 0]",
            "found 3 numbers; allowed: 2",
        ),
    ] {
        let refused = analyze(&[set]).with_status(2);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
}
