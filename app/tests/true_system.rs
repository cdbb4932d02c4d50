//! What is known of a true system, how gradients grow along its data, and the linear regions of a network that learned it:
//! from the experiment file to the figures.

mod support;

use ndarray::{ArrayD, Axis};
use nullcline_data::npy::read_npz;
use nullcline_tables::Table;
use support::{FLIP_FLOP, HEARTBEAT, Scratch};

const LORENZ: &str = r#"name = "tiny_lorenz"
seed = 3

[task]
kind = "lorenz_63"
length = 2000
test_length = 2000
window = 30

[model]
kind = "shallow_plrnn"
clipped = true
units = 3
hidden = 16
observation = "identity"

[training]
method = "gtf"
alpha = 0.5
alpha_estimator = "product_upper_bound"
updates = 40
batch = 8
evaluate_every = 20
evaluation_trials = 4
log_every = 5
checkpoint_every = 20

[analysis.fixed_points]
starts = 32
trials = 8

[analysis.gradient_growth]
steps = 60
starts = 3

[analysis.regions_visited]
steps = 500
transient = 10
described = 4

[analysis.true_system]
starts = 60
steps = 4000

[analysis.periodic_orbits]
steps = 6000
longest = 260
"#;

fn run(experiment: &str, analyses: &str, figures: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", experiment);
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    scratch
        .run(&["analyze", "run", "--only", analyses])
        .succeeded();
    scratch
        .run(&["figures", "run", "--only", figures, "--format", "svg"])
        .succeeded();
    for name in figures.split(',') {
        assert!(
            scratch.path(&format!("run/figures/{name}.svg")).is_file(),
            "{name}"
        );
    }
    scratch
}

fn table(scratch: &Scratch, name: &str) -> Table {
    Table::read_parquet(&scratch.path(&format!("run/analysis/{name}.parquet"))).unwrap()
}

fn array(scratch: &Scratch, file: &str, name: &str) -> ArrayD<f64> {
    let arrays = read_npz(&scratch.path(&format!("run/analysis/{file}.npz"))).unwrap();
    let found = arrays.into_iter().find(|(known, _)| known == name);
    found.unwrap_or_else(|| panic!("{file} has no {name}")).1
}

/// Every column is one that the reference describes.
fn described(scratch: &Scratch, analysis: &str) {
    for doc in nullcline::analyses::kind(analysis).unwrap().tables {
        if !doc.name.ends_with(".npz") {
            for column in table(scratch, doc.name).columns() {
                assert!(doc.describes(&column.name), "{}: {}", doc.name, column.name);
            }
        }
    }
}

#[test]
fn a_network_beside_lorenz_63() {
    let scratch = run(
        LORENZ,
        "true_system,lyapunov,gradient_growth,regions_visited",
        "fixed_points_on_attractor,lyapunov,gradient_growth,regions_visited,alpha",
    );
    for analysis in ["true_system", "gradient_growth", "regions_visited"] {
        described(&scratch, analysis);
    }
    // The origin and the two wings; the wings' z is rho - 1.
    let points = table(&scratch, "true_fixed_points");
    let mut heights = points.f64_column("original_2").unwrap();
    heights.sort_by(f64::total_cmp);
    for (height, want) in heights.iter().zip([0.0, 27.0, 27.0]) {
        assert!((height - want).abs() < 1e-8, "{heights:?}");
    }
    assert_eq!(heights.len(), 3);
    let exponents = table(&scratch, "true_lyapunov");
    let largest = exponents.f64_column("exponent").unwrap()[0];
    assert!((largest - 0.906).abs() < 0.1, "{largest}");
    // exp(lambda dt)
    let eigenvalues = table(&scratch, "true_eigenvalues");
    let dt: f64 = exponents.metadata["step"].parse().unwrap();
    let (re, modulus) = (
        eigenvalues.f64_column("re").unwrap(),
        eigenvalues.f64_column("map_modulus").unwrap(),
    );
    assert_eq!(re.len(), 9);
    for (re, modulus) in re.iter().zip(modulus) {
        assert!(((re * dt).exp() - modulus).abs() < 1e-12);
    }
    // Every true point is there, and every fixed point of the network, once.
    let matches = table(&scratch, "true_system_matches");
    let own = table(&scratch, "fixed_points");
    let verdicts = own.text_column("verdict").unwrap();
    let fixed = verdicts
        .iter()
        .filter(|verdict| **verdict == Some("fixed"))
        .count();
    let count = |column: &str| {
        let values = matches.f64_column(column).unwrap();
        values.iter().filter(|x| x.is_finite()).count()
    };
    assert_eq!(count("true_fixed_point"), 3);
    assert_eq!(count("fixed_point"), fixed);
    assert_eq!(count("distance"), fixed.min(3));
    assert_eq!(
        array(&scratch, "true_system", "attractor").shape(),
        [2000, 3]
    );

    // The strength that training ended with is among those of the growth, and a gradient begins at 1.
    let training = Table::read_parquet(&scratch.path("run/training.parquet")).unwrap();
    let last = *training.f64_column("alpha").unwrap().last().unwrap();
    let rates = table(&scratch, "gradient_growth_rates");
    let trained = rates.bool_column("trained").unwrap();
    let alphas = rates.f64_column("alpha").unwrap();
    let marked: Vec<f64> = (0..alphas.len())
        .filter(|&k| trained[k])
        .map(|k| alphas[k])
        .collect();
    assert_eq!(marked, [last]);
    let growth = table(&scratch, "gradient_growth");
    let (time, norm) = (
        growth.f64_column("time").unwrap(),
        growth.f64_column("log10_norm").unwrap(),
    );
    for (time, norm) in time.iter().zip(norm) {
        assert!(*time > 1.0 || norm == 0.0);
    }
    let bounds = table(&scratch, "gradient_growth_bounds");
    assert_eq!(bounds.row_count(), 6);
    let kappa = bounds.f64_column("kappa").unwrap();
    // The bound from the weights is above every Jacobian that is met.
    let names = bounds.text_column("estimate").unwrap();
    let of = |name: &str| kappa[names.iter().position(|n| *n == Some(name)).unwrap()];
    assert!(of("jacobian_upper_bound") >= of("largest_singular_value") * (1.0 - 1e-6));

    let regions = table(&scratch, "regions_visited");
    let occupancy: f64 = regions.f64_column("occupancy").unwrap().iter().sum();
    assert!((occupancy - 1.0).abs() < 1e-12);
    let radii = regions.f64_column("spectral_radius").unwrap();
    let known = radii.iter().filter(|radius| radius.is_finite()).count();
    assert_eq!(known, regions.row_count().min(4));
    assert_eq!(array(&scratch, "regions_visited", "regions_0").len(), 500);
}

/// The closed orbits of Lorenz-63 about both wings, once each, and about one twice and the other once.
#[test]
fn closed_orbits_beside_lorenz_63() {
    let longer = LORENZ.replace("test_length = 2000", "test_length = 20000");
    let scratch = run(&longer, "periodic_orbits", "periodic_orbits");
    described(&scratch, "periodic_orbits");
    let orbits = table(&scratch, "periodic_orbits");
    let (networks, periods) = (
        orbits.f64_column("network").unwrap(),
        orbits.f64_column("period_in_time").unwrap(),
    );
    let truth: Vec<f64> = (0..periods.len())
        .filter(|&row| networks[row].is_nan())
        .map(|row| periods[row])
        .collect();
    assert_eq!(truth.len(), 3, "{truth:?}");
    for (period, known) in truth.iter().zip([1.558_652, 2.305_907, 2.305_907]) {
        assert!((period - known).abs() < 1e-4, "{truth:?}");
    }
    let steps = orbits.f64_column("period").unwrap();
    for (row, period) in steps.iter().enumerate() {
        let name = match networks[row].is_nan() {
            true => format!("true_{row}"),
            false => format!("network_0_{}", row - truth.len()),
        };
        let points = array(&scratch, "periodic_orbits", &name);
        assert!(points.shape()[0] > *period as usize && points.shape()[1] == 3);
        assert_eq!(
            points.index_axis(Axis(0), 0),
            points.index_axis(Axis(0), points.shape()[0] - 1)
        );
    }
    // The multiplier grows by the exponent in a period, roughly: 4.71 after 1.56 (Viswanath 2003).
    let multiplier = orbits.f64_column("multiplier_re").unwrap()[0];
    assert!((multiplier.abs() - 4.71).abs() < 0.02, "{multiplier}");
}

/// A recording without equations: gradients and regions, no true system; forcing of a part of the units.
#[test]
fn a_recording() {
    let more = HEARTBEAT.replace("units = 3", "units = 5\nobservation = \"identity\"")
        + "\n[analysis.gradient_growth]\nsteps = 40\nstarts = 2\nalpha = [1.0]\n";
    let scratch = run(
        &more,
        "gradient_growth,regions_visited,periodic_orbits",
        "gradient_growth,regions_visited",
    );
    for name in ["gradient_growth", "regions_visited", "periodic_orbits"] {
        described(&scratch, name);
    }
    // No equations, no true orbits.
    let orbits = table(&scratch, "periodic_orbits");
    assert!(
        orbits
            .f64_column("network")
            .unwrap()
            .iter()
            .all(|k| *k == 0.0)
    );
    let bounds = table(&scratch, "gradient_growth_bounds");
    assert_eq!(bounds.u64_column("forced").unwrap()[0], 3);
    assert_eq!(bounds.u64_column("states").unwrap()[0], 5);
    let refused = scratch
        .run(&["analyze", "run", "--only", "true_system"])
        .with_status(2);
    assert!(
        refused.stderr.contains("does not apply"),
        "{}",
        refused.stderr
    );
}

/// What is not piecewise linear has no regions, what learned no recording no data to be forced along.
#[test]
fn what_does_not_apply_says_so() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", FLIP_FLOP);
    scratch
        .run(&["train", "tiny.toml", "--out", "run"])
        .succeeded();
    for name in ["regions_visited", "gradient_growth", "true_system"] {
        let refused = scratch
            .run(&["analyze", "run", "--only", name])
            .with_status(2);
        assert!(
            refused.stderr.contains("does not apply"),
            "{}",
            refused.stderr
        );
    }
}
