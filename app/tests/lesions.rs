//! Lesions and perturbations of trained networks, as a run performs them.

mod support;

use nullcline_tables::Table;
use support::{FLIP_FLOP, HEARTBEAT, Scratch};

/// A trained run with all of its analyses that this file looks at.
fn analysed(experiment: &str, keys: &str) -> Scratch {
    let scratch = Scratch::new();
    let keys = format!("{experiment}\n[analysis.performance]\ntrials = 16\n{keys}");
    scratch.write("tiny.toml", keys);
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    let only = "performance,fixed_points,lesions,perturbations";
    scratch.run(&["analyze", "run", "--only", only]).succeeded();
    scratch
}

fn table(scratch: &Scratch, name: &str) -> Table {
    Table::read_parquet(&scratch.path(&format!("run/analysis/{name}.parquet"))).unwrap()
}

/// What f64 says of the intact network is what the engine of training says, to its accuracy.
fn the_intact_network_is_that_of_performance(scratch: &Scratch, metric: &str) {
    let performance = table(scratch, "performance");
    let splits = performance.text_column("split").unwrap();
    for (name, column) in [
        ("loss", "loss_before"),
        (metric, &format!("{metric}_before")),
    ] {
        let of_engine = performance.f64_column(name).unwrap();
        let networks = performance.u64_column("network").unwrap();
        for name in ["lesions", "perturbations"] {
            let lesions = table(scratch, name);
            let before = lesions.f64_column(column).unwrap();
            for (network, before) in lesions.u64_column("network").unwrap().iter().zip(before) {
                let row = (0..splits.len())
                    .find(|&row| splits[row] == Some("held_out") && networks[row] == *network)
                    .unwrap();
                let want = of_engine[row];
                assert!(
                    (before - want).abs() < 1e-5 * want.abs() + 1e-7,
                    "{column} of {name}: {before}, of the engine {want}"
                );
            }
        }
    }
}

#[test]
fn every_unit_of_a_flip_flop_is_silenced_and_the_rest_perturbed() {
    let keys = "[analysis.lesions]\ntrials = 16\nstarts = 16\n[analysis.perturbations]\ntrials = 16\nrepeats = 2\nrelative_norms = [0.0, 0.1]\n";
    let experiment = FLIP_FLOP.replace("seed = 7\n", "seed = 7\nnetworks = 2\n");
    let scratch = analysed(&experiment, keys);
    the_intact_network_is_that_of_performance(&scratch, "accuracy");
    let lesions = table(&scratch, "lesions");
    assert_eq!(lesions.row_count(), 2 * 8);
    assert_eq!(
        lesions.u64_column("unit").unwrap()[..8],
        [0, 1, 2, 3, 4, 5, 6, 7]
    );
    assert!(
        lesions
            .f64_column("trajectory_distance")
            .unwrap()
            .iter()
            .all(|d| *d > 0.0)
    );
    // The counts are those of the pairs.
    let pairs = table(&scratch, "lesions_fixed_points");
    let fates = pairs.text_column("fate").unwrap();
    let number = |name: &str| lesions.u64_column(name).unwrap();
    let total = |fate: &str| fates.iter().filter(|f| **f == Some(fate)).count() as u64;
    assert_eq!(number("n_lost").iter().sum::<u64>(), total("lost"));
    assert_eq!(number("n_new").iter().sum::<u64>(), total("new"));
    assert_eq!(
        number("n_stability_changed").iter().sum::<u64>(),
        total("stability_changed")
    );
    let (before, after) = (number("n_fixed_before"), number("n_fixed"));
    for row in 0..before.len() {
        let (lost, new) = (number("n_lost")[row], number("n_new")[row]);
        assert_eq!(before[row] + new - lost, after[row]);
        assert!(after[row] > 0);
    }

    let perturbations = table(&scratch, "perturbations");
    // Three groups, two norms, two repeats.
    assert_eq!(perturbations.row_count(), 2 * 3 * 2 * 2);
    let norms = perturbations.f64_column("relative_norm").unwrap();
    let distances = perturbations.f64_column("trajectory_distance").unwrap();
    let relative = perturbations.f64_column("relative_accuracy").unwrap();
    for ((norm, distance), relative) in norms.iter().zip(distances).zip(relative) {
        assert_eq!(*norm == 0.0, distance == 0.0, "{norm} {distance}");
        assert!(*norm > 0.0 || relative == 1.0);
    }
    scratch
        .run(&[
            "figures",
            "run",
            "--only",
            "lesions,perturbations",
            "--format",
            "svg",
        ])
        .succeeded();
}

#[test]
fn a_forced_network_starts_from_its_observation() {
    let keys = "[analysis.lesions]\ntrials = 16\nwhat = \"clamp_mean\"\nunits = [\"0-1\", \"2\"]\nfixed_points = false\n[analysis.perturbations]\ntrials = 16\nrepeats = 1\nrelative_norms = [0.1]\ngroups = [\"all\"]\n";
    let scratch = analysed(HEARTBEAT, keys);
    the_intact_network_is_that_of_performance(&scratch, "prediction_error");
    let lesions = table(&scratch, "lesions");
    assert_eq!(
        lesions.text_column("units").unwrap(),
        [Some("0, 1"), Some("2")]
    );
    assert!(
        lesions
            .f64_column("n_fixed")
            .unwrap()
            .iter()
            .all(|n| n.is_nan())
    );
    let values = lesions.f64_column("value").unwrap();
    assert!(values[0].is_nan() && values[1].is_finite());
    assert_eq!(table(&scratch, "lesions_fixed_points").row_count(), 0);
    scratch
        .run(&[
            "figures",
            "run",
            "--only",
            "lesions,perturbations",
            "--format",
            "svg",
        ])
        .succeeded();
}

#[test]
fn what_is_no_unit_or_group_is_refused_by_name() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", FLIP_FLOP);
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    let text = String::from_utf8(scratch.read("run/experiment.toml")).unwrap();
    for (analysis, line, message) in [
        (
            "lesions",
            "units = [\"8\"]",
            "analysis.lesions.units: found \"8\"; allowed: units from 0 to 7",
        ),
        (
            "perturbations",
            "groups = [\"w\"]",
            "analysis.perturbations.groups: found \"w\"; allowed: recurrent",
        ),
    ] {
        let table = format!("[analysis.{analysis}]");
        assert!(text.contains(&table));
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("groups"))
            .collect();
        let changed = lines
            .join("\n")
            .replace(&table, &format!("{table}\n{line}"));
        scratch.write("run/experiment.toml", changed);
        let refused = scratch
            .run(&["analyze", "run", "--only", analysis])
            .with_status(2);
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
    }
}
