//! Measures of reconstruction, as a run performs them.

mod support;

use ndarray::{Array1, Array2, Axis, Ix2};
use nullcline_analysis::power_spectrum_distance::power_spectrum_distance;
use nullcline_analysis::state_space_divergence::{BinSettings, binned_divergence};
use nullcline_data::{Tensor, read_npz, write_safetensors};
use nullcline_tables::Table;
use support::{HEARTBEAT, Scratch, checkpoint};

fn table(scratch: &Scratch, name: &str) -> Table {
    Table::read_parquet(&scratch.path(&format!("run/analysis/{name}.parquet"))).unwrap()
}

fn array(scratch: &Scratch, file: &str, name: &str) -> Array2<f64> {
    let arrays = read_npz(&scratch.path(&format!("run/analysis/{file}.npz"))).unwrap();
    let found = arrays.into_iter().find(|(known, _)| known == name);
    let (_, array) = found.unwrap_or_else(|| panic!("no {name} in {file}"));
    array.into_dimensionality::<Ix2>().unwrap()
}

/// A trained heartbeat, with snapshots.
fn trained(keys: &str) -> Scratch {
    let scratch = Scratch::new();
    let experiment = HEARTBEAT.replace("updates = 40", "updates = 40\nsnapshots = [0, 10, 20]");
    let experiment = format!("{experiment}\n[analysis.reconstruction]\n{keys}\n");
    scratch.write("tiny.toml", experiment);
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    scratch
}

const MEASURES: [&str; 4] = [
    "d_stsp",
    "d_hellinger",
    "prediction_error",
    "valid_prediction_steps_mean",
];

/// The numbers in the table are those of the signals that are kept beside it; those of the last snapshot are those of the
/// trained network.
#[test]
fn measures_are_those_of_the_signals() {
    let scratch = trained("length = 5000\nkept = 5000\nlyapunov_time = 0.1\nsmoothing = 7.5");
    scratch
        .run(&[
            "analyze",
            "run",
            "--only",
            "reconstruction,reconstruction_over_training",
        ])
        .succeeded();
    let found = table(&scratch, "reconstruction");
    let number = |table: &Table, column: &str, row: usize| table.f64_column(column).unwrap()[row];
    assert_eq!(
        found.text_column("model").unwrap(),
        ["network", "other_part", "persistence", "mean"].map(Some)
    );
    assert_eq!(number(&found, "network", 0), 0.0);
    assert!(number(&found, "network", 1).is_nan());
    assert_eq!(number(&found, "orbit_length", 0), 5000.0);

    let data = array(&scratch, "reconstruction", "recorded");
    let orbit = array(&scratch, "reconstruction", "orbit_0");
    assert_eq!((data.dim(), orbit.dim()), ((5000, 3), (5000, 3)));
    let want = binned_divergence(data.view(), orbit.view(), &BinSettings::default()).unwrap();
    assert_eq!(Some(number(&found, "d_stsp", 0)), want);
    let want = power_spectrum_distance(data.view(), orbit.view(), 7.5).unwrap();
    let distance = number(&found, "d_hellinger", 0);
    assert!(distance == want.mean || want.mean.is_nan() && distance.is_nan());
    // What a network should beat, from the data themselves.
    let persistence: f64 = (0..4980)
        .flat_map(|t| (0..3).map(move |d| (t, d)))
        .map(|(t, d)| (data[[t + 20, d]] - data[[t, d]]).powi(2))
        .sum::<f64>()
        / (4980.0 * 3.0);
    assert!((number(&found, "prediction_error", 2) / persistence - 1.0).abs() < 1e-9);
    assert!(number(&found, "prediction_error", 0) > 0.0);
    // The first observation and the network started from it are nearly the same; 360 steps are a second.
    let start = array(&scratch, "reconstruction", "start_0");
    assert!((0..3).all(|d| (start[[0, d]] - data[[0, d]]).abs() < 1e-6));
    let steps = number(&found, "valid_prediction_steps_mean", 0);
    let times = number(&found, "valid_prediction_time_mean", 0);
    assert!((times - steps / 36.0).abs() < 1e-9 && steps > 0.0);

    let over = table(&scratch, "reconstruction_over_training");
    assert_eq!(
        over.u64_column("update").unwrap(),
        [0, 10, 20, 40],
        "the trained network is the last"
    );
    for measure in MEASURES {
        let (last, trained) = (number(&over, measure, 3), number(&found, measure, 0));
        assert!(
            last == trained || last.is_nan() && trained.is_nan(),
            "{measure}"
        );
    }
    assert_ne!(
        number(&over, "prediction_error", 0),
        number(&over, "prediction_error", 3)
    );
    // One snapshot is selected, and by the training part: what reconstruction measures against it.
    let of_training = over.f64_column("d_stsp_training").unwrap();
    let least = of_training.iter().copied().fold(f64::INFINITY, f64::min);
    let selected = over.bool_column("selected").unwrap();
    let is_least: Vec<bool> = of_training.iter().map(|d| *d == least).collect();
    assert!(least.is_finite() && selected == is_least, "{of_training:?}");
    let against = "analysis.reconstruction.against=training";
    scratch
        .run(&[
            "analyze",
            "run",
            "--only",
            "reconstruction",
            "--set",
            against,
        ])
        .succeeded();
    let measured = number(&table(&scratch, "reconstruction"), "d_stsp", 0);
    let last = of_training[3];
    assert!(measured == last || measured.is_nan() && last.is_nan());
    let last = array(
        &scratch,
        "reconstruction_over_training",
        "network_0_update_40",
    );
    assert_eq!(last, orbit.slice(ndarray::s![..2000, ..]));

    // All of it can be drawn, in one journal column.
    scratch
        .run(&[
            "figures",
            "run",
            "--only",
            "attractor,reconstruction_series,reconstruction_over_training",
            "--format",
            "svg,pdf",
            "--width",
            "single",
        ])
        .succeeded();
    let shown = scratch.run(&["show", "run"]).succeeded().stdout;
    assert!(shown.contains("reconstruction:") && shown.contains("d_stsp [nats]"));
}

/// The other part is compared where that is asked for; then the two parts have changed places.
#[test]
fn against_the_training_part() {
    let scratch =
        trained("against = \"training\"\nlength = 3000\nmethod = \"mixture\"\ntransient = 0");
    let analyze = |set: &str| {
        scratch
            .run(&["analyze", "run", "--only", "reconstruction", "--set", set])
            .succeeded();
        table(&scratch, "reconstruction")
    };
    let training = analyze("analysis.reconstruction.against=training");
    let data = array(&scratch, "reconstruction", "recorded");
    let orbit = array(&scratch, "reconstruction", "orbit_0");
    let start = array(&scratch, "reconstruction", "start_0");
    assert_eq!(
        orbit, start,
        "without a transient the orbit begins at the start"
    );
    assert_eq!(
        training.text_column("against").unwrap()[0],
        Some("training")
    );
    assert_eq!(
        training.text_column("d_stsp_method").unwrap()[0],
        Some("mixture")
    );
    assert!(training.f64_column("d_stsp_standard_error").unwrap()[0] > 0.0);
    let test = analyze("analysis.reconstruction.against=test");
    assert_ne!(data, array(&scratch, "reconstruction", "recorded"));
    // The Hellinger distance is the same both ways.
    let between = |table: &Table| table.f64_column("d_hellinger").unwrap()[1];
    assert!((between(&training) - between(&test)).abs() < 1e-12);
}

/// An orbit beyond the bound has no distances, and says why; how well it predicts is still known.
#[test]
fn what_diverges_has_no_distances() {
    // No signal keeps to a thousandth of a standard deviation.
    let scratch = trained("length = 2000\nbound = 1e-3");
    scratch
        .run(&["analyze", "run", "--only", "reconstruction"])
        .succeeded();
    let found = table(&scratch, "reconstruction");
    // What is no network does not diverge.
    let diverged = found.bool_column("diverged").unwrap();
    assert_eq!(diverged, [true, false, false, false]);
    assert!(found.f64_column("d_stsp").unwrap()[0].is_nan());
    assert!(found.f64_column("d_hellinger").unwrap()[0].is_nan());
    assert!(found.f64_column("prediction_error").unwrap()[0].is_finite());
    // There is no orbit to draw, and no figure fails for it.
    scratch.run(&["figures", "run"]).succeeded();
}

/// Little data: as far ahead as there are some.
#[test]
fn a_short_recording_is_measured_as_far_as_it_goes() {
    let scratch = trained("length = 30\nprediction_steps = 50");
    scratch
        .run(&["analyze", "run", "--only", "reconstruction"])
        .succeeded();
    let found = table(&scratch, "reconstruction");
    assert_eq!(found.f64_column("prediction_steps").unwrap()[0], 29.0);
    assert!(found.f64_column("prediction_error").unwrap()[0] > 0.0);
}

#[test]
fn without_snapshots_there_is_nothing_over_training() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", HEARTBEAT);
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    let refused = scratch
        .run(&["analyze", "run", "--only", "reconstruction_over_training"])
        .with_status(2);
    assert!(refused.stderr.contains("snapshots"), "{}", refused.stderr);
}

/// The refinement follows the training and changes what it says it does, to the better; it gives the same network again, and
/// so does a run that was stopped between two networks.
#[test]
fn networks_are_refined_after_their_last_update() {
    let scratch = Scratch::new();
    let plain = HEARTBEAT.replace("seed = 7", "seed = 7\nnetworks = 2")
        + "\n[analysis.reconstruction]\nlength = 1000\nmethod = \"mixture\"\n";
    scratch.write("plain.toml", &plain);
    let keys = "updates = 40\nrefinement = 200\nrefinement_tolerance = 0.5";
    scratch.write("refined.toml", plain.replace("updates = 40", keys));
    let train = |experiment: &str, out: &str| {
        scratch
            .run(&["train", experiment, "--out", out])
            .succeeded()
            .stderr
    };
    train("plain.toml", "plain");
    let said = train("refined.toml", "refined");
    let numbers = |line: &str| -> Vec<f64> {
        line.split([' ', ','])
            .filter_map(|word| word.parse().ok())
            .collect()
    };
    // A network that has hardly learned is at rest: of mixtures, the divergence falls where it rests at a better place.
    let mut lines = 0;
    for line in said.lines().filter(|line| line.contains("refined: D_stsp")) {
        let [network, before, after, error_before, error_after] = numbers(line)[..] else {
            panic!("{line}");
        };
        assert!(network < 2.0 && after < before, "{line}");
        assert!(error_after < 1.6 * error_before, "{line}");
        lines += 1;
    }
    assert!(lines > 0, "{said}");

    let tensors = |run: &str| checkpoint(&scratch.path(run)).unwrap();
    let (before, after) = (tensors("plain"), tensors("refined"));
    assert_eq!(
        after.u64("training.refined").unwrap().as_slice(),
        Some(&[2][..])
    );
    assert!(before.get("training.refined").is_none());
    assert_eq!(before.f32("hidden").unwrap(), after.f32("hidden").unwrap());
    assert_ne!(
        before.f32("recurrent").unwrap(),
        after.f32("recurrent").unwrap()
    );
    // A row of W1 has one factor.
    let ratios = after.f32("recurrent").unwrap() / before.f32("recurrent").unwrap();
    for row in ratios.rows() {
        assert!(row.iter().all(|x| (x / row[0] - 1.0).abs() < 1e-5), "{row}");
    }

    // As it is where the user stopped it after the first network.
    let mut between = after.clone();
    for name in ["recurrent", "bias", "a"] {
        let mut mixed = after.f32(name).unwrap().clone();
        let second = before.f32(name).unwrap().index_axis(Axis(0), 1).to_owned();
        mixed.index_axis_mut(Axis(0), 1).assign(&second);
        between.insert(name, Tensor::F32(mixed));
    }
    let one = Array1::from_elem(1, 1).into_dyn();
    between.insert("training.refined", Tensor::U64(one));
    let path = scratch.path("refined/checkpoints/latest.safetensors");
    write_safetensors(&path, &between).unwrap();
    train("refined.toml", "refined");
    let again = tensors("refined");
    for ((name, x), (_, y)) in again.iter().zip(after.iter()) {
        assert!(x == y, "tensor {name}");
    }
}
