//! Continuation and fixed points over training, as a run performs them.

mod support;

use nullcline_tables::Table;
use support::{FLIP_FLOP, Scratch};

fn table(scratch: &Scratch, name: &str) -> Table {
    Table::read_parquet(&scratch.path(&format!("run/analysis/{name}.parquet"))).unwrap()
}

fn experiment(snapshots: &str, parameter: &str) -> String {
    FLIP_FLOP.replace("updates = 40", &format!("updates = 40\n{snapshots}"))
        + &format!("\n[analysis.continuation]\n{parameter}\n")
}

#[test]
fn branches_pass_through_the_fixed_points_they_were_begun_from() {
    let scratch = Scratch::new();
    for parameter in [
        "",
        "parameter = \"recurrent.scale\"",
        "parameter = \"leak\"",
    ] {
        scratch.write("tiny.toml", experiment("", parameter));
        scratch
            .run(&["train", "tiny.toml", "--out", "run"])
            .succeeded();
        scratch
            .run(&["analyze", "run", "--only", "continuation"])
            .succeeded();
        scratch
            .run(&[
                "figures",
                "run",
                "--only",
                "continuation",
                "--format",
                "svg",
            ])
            .succeeded();
        let points = table(&scratch, "fixed_points");
        let branches = table(&scratch, "continuation");
        let ids = branches.f64_column("from_fixed_point").unwrap();
        let verdicts = points.text_column("verdict").unwrap();
        let mut seen = 0;
        for (row, _) in verdicts
            .iter()
            .enumerate()
            .filter(|(_, verdict)| **verdict == Some("fixed"))
        {
            let id = points.u64_column("id").unwrap()[row];
            let at = ids.iter().position(|&of| of == id as f64).unwrap();
            for column in ["state_0", "state_7"] {
                let (x, y) = (
                    points.f64_column(column).unwrap()[row],
                    branches.f64_column(column).unwrap()[at],
                );
                assert!((x - y).abs() < 1e-9, "{parameter} {column}: {x} and {y}");
            }
            seen += 1;
        }
        assert!(seen > 0);
        let residuals = branches.f64_column("residual").unwrap();
        assert!(residuals.iter().all(|r| *r < 1e-12));
        std::fs::remove_dir_all(scratch.path("run")).unwrap();
    }
}

#[test]
fn a_parameter_that_there_is_not_is_bad_input() {
    let scratch = Scratch::new();
    for (keys, found) in [
        ("parameter = \"recurent.scale\"", "\"recurent.scale\""),
        ("parameter = \"bias[8]\"", "\"bias[8]\""),
        ("from = 0.5\nto = 1.0", "0.5 to 1"),
    ] {
        scratch.write("tiny.toml", experiment("", keys));
        scratch
            .run(&["train", "tiny.toml", "--out", "run"])
            .succeeded();
        let refused = scratch
            .run(&["analyze", "run", "--only", "continuation"])
            .with_status(2);
        assert!(refused.stderr.contains(found), "{}", refused.stderr);
        std::fs::remove_dir_all(scratch.path("run")).unwrap();
    }
}

#[test]
fn fixed_points_are_followed_through_the_snapshots() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", experiment("snapshots = [0, 20, 30]", ""));
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    let name = "fixed_points_over_training";
    scratch.run(&["analyze", "run", "--only", name]).succeeded();
    scratch
        .run(&["figures", "run", "--only", name, "--format", "svg"])
        .succeeded();
    let points = table(&scratch, name);
    let mut updates = points.u64_column("update").unwrap();
    updates.dedup();
    assert_eq!(updates, [0, 20, 30, 40]);
    // At the end there is what the search finds in the trained network, at least.
    scratch
        .run(&["analyze", "run", "--only", "fixed_points"])
        .succeeded();
    let trained = table(&scratch, "fixed_points");
    let fixed = trained.text_column("verdict").unwrap();
    let last = points.u64_column("update").unwrap();
    let found = points.bool_column("found_by_search").unwrap();
    assert_eq!(
        fixed.iter().filter(|v| **v == Some("fixed")).count(),
        (0..last.len())
            .filter(|&k| last[k] == 40 && found[k])
            .count()
    );

    scratch.write("plain.toml", experiment("", ""));
    scratch
        .run(&["train", "plain.toml", "--out", "plain"])
        .succeeded();
    let refused = scratch
        .run(&["analyze", "plain", "--only", name])
        .with_status(2);
    assert!(refused.stderr.contains("snapshots"), "{}", refused.stderr);
}
