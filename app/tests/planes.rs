//! Basins and speeds on a plane, from the experiment file to the figure.

mod support;

use ndarray::ArrayD;
use nullcline_data::npy::read_npz;
use nullcline_tables::Table;
use support::{FLIP_FLOP, Scratch};

/// A trained run with small grids; `extra` stands at the end of the experiment file.
fn run(experiment: &str, extra: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", format!("{experiment}{extra}"));
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    scratch
}

const SMALL: &str = "
[analysis.basins]
grid = 12
steps = 400

[analysis.speed_landscape]
grid = 12
vectors = 5
";

fn table(scratch: &Scratch, name: &str) -> Table {
    Table::read_parquet(&scratch.path(&format!("run/analysis/{name}.parquet"))).unwrap()
}

fn array(scratch: &Scratch, file: &str, name: &str) -> ArrayD<f64> {
    let arrays = read_npz(&scratch.path(&format!("run/analysis/{file}.npz"))).unwrap();
    let found = arrays.into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("{file} has no {name}")).1
}

#[test]
fn planes_of_a_flip_flop() {
    let scratch = run(FLIP_FLOP, SMALL);
    scratch
        .run(&["analyze", "run", "--only", "speed_landscape,basins"])
        .succeeded();
    let basins = table(&scratch, "basins");
    let fractions = basins.f64_column("fraction").unwrap();
    assert!((fractions.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let labels = array(&scratch, "basins", "labels");
    assert_eq!(labels.shape(), [1, 12, 12]);
    for (attractor, fraction) in fractions.iter().enumerate() {
        let own = labels.iter().filter(|l| **l == attractor as f64).count();
        assert_eq!(own as f64 / 144.0, *fraction);
    }
    assert_eq!(array(&scratch, "basins", "directions").shape(), [1, 2, 8]);
    assert_eq!(
        array(&scratch, "speed_landscape", "speeds").shape(),
        [1, 12, 12]
    );
    assert_eq!(
        array(&scratch, "speed_landscape", "vectors").shape(),
        [1, 5, 5, 2]
    );
    // Both lie on the same plane, that of the first two principal components.
    let components = array(&scratch, "state_space", "components");
    for file in ["basins", "speed_landscape"] {
        let directions = array(&scratch, file, "directions");
        for ((_, axis, i), d) in directions
            .clone()
            .into_dimensionality::<ndarray::Ix3>()
            .unwrap()
            .indexed_iter()
        {
            assert!((d - components[[0, axis, i]]).abs() < 1e-9, "{file}");
        }
    }
    scratch
        .run(&["figures", "run", "--only", "basins,speed_landscape"])
        .succeeded();
    for name in ["basins", "speed_landscape"] {
        assert!(scratch.path(&format!("run/figures/{name}.svg")).is_file());
    }
}

/// Every network of an ensemble, where it is asked for.
#[test]
fn planes_of_every_network() {
    let scratch = run(
        &FLIP_FLOP.replace("seed = 7", "seed = 7\nnetworks = 2"),
        &format!("{SMALL}every_network = true\n"),
    );
    scratch
        .run(&["analyze", "run", "--only", "speed_landscape,basins"])
        .succeeded();
    assert_eq!(
        array(&scratch, "speed_landscape", "speeds").shape(),
        [2, 12, 12]
    );
    assert_eq!(array(&scratch, "basins", "labels").shape(), [1, 12, 12]);
}

/// A state of one dimension has a line.
#[test]
fn a_line_for_a_single_unit() {
    let scratch = run(&FLIP_FLOP.replace("units = 8", "units = 1"), SMALL);
    let only = ["analyze", "run", "--only", "speed_landscape,basins"];
    scratch.run(&only).succeeded();
    assert_eq!(array(&scratch, "basins", "labels").shape(), [1, 1, 12]);
    assert_eq!(
        array(&scratch, "speed_landscape", "vectors").shape(),
        [1, 1, 12, 1]
    );
    scratch
        .run(&["figures", "run", "--only", "basins,speed_landscape"])
        .succeeded();
    let scratch = run(
        &FLIP_FLOP.replace("units = 8", "units = 1"),
        "\n[analysis.basins]\nthrough = [0, 1, 2]\n",
    );
    let refused = scratch
        .run(&["analyze", "run", "--only", "basins"])
        .with_status(2);
    assert!(
        refused.stderr.contains("one dimension"),
        "{}",
        refused.stderr
    );
}

/// What a plane cannot go through is named.
#[test]
fn faulty_points_are_named() {
    for (points, found) in [
        ("[0, 1]", "2 of them"),
        ("[0, 0, 999]", "999"),
        ("[0, 0, 0]", "on one line"),
    ] {
        let extra = format!("\n[analysis.speed_landscape]\nthrough = {points}\n");
        let refused = run(FLIP_FLOP, &extra)
            .run(&["analyze", "run", "--only", "speed_landscape"])
            .with_status(2);
        let stderr = &refused.stderr;
        assert!(
            stderr.contains(found) && stderr.contains("analysis.speed_landscape.through"),
            "{stderr}"
        );
    }
}
