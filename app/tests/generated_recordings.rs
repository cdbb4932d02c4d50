//! Recordings of driven and of known systems, from the experiment file to the free run.

use ndarray::{Array2, ArrayD};
use nullcline::devices::Devices;
use nullcline::experiment::{Built, Experiment};
use nullcline::results::Results;
use nullcline::session::{self, Control};
use nullcline_data::run_folder::RunFolder;
use nullcline_data::settings::Document;
use nullcline_models::engine::CpuEngine;
use nullcline_models::ensemble::Ensemble;
use nullcline_tasks::Split;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Trains an experiment, runs the named analyses and returns what belongs to it.
fn trained(dir: &Path, text: &str, analyses: &[&str]) -> (Built, Ensemble, Results) {
    let document = Document::parse("test.toml", text).unwrap();
    let experiment = Experiment::from_document(&document).unwrap();
    let folder = session::prepare(dir, &experiment).unwrap();
    let control = Control::default();
    let devices = Devices::parse("cpu").unwrap();
    session::train(&folder, &experiment, &devices, &[], &control, &mut |_| {}).unwrap();
    let only: Vec<String> = analyses.iter().map(|&name| name.to_owned()).collect();
    session::analyze(
        &folder,
        &experiment,
        &mut CpuEngine::new(),
        &only,
        &control,
        &mut |_| {},
    )
    .unwrap();
    let built = experiment.build().unwrap();
    let folder = RunFolder::open(dir).unwrap();
    let ensemble = session::trained(&folder, &built).unwrap();
    (built, ensemble, Results::load(&folder).unwrap())
}

fn array(results: &Results, file: &str, name: &str) -> ArrayD<f64> {
    results.array(file, name).unwrap().clone()
}

/// x_t = 0.8 x_{t-1} + 0.6 s_t with steps of s that nothing in x announces: only a network that receives s_t at the step
/// to x_t can predict it, and only one whose free run receives the recorded inputs follows the recording.
#[test]
fn a_driven_system_is_learned_and_runs_on_its_recorded_inputs() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("driven.csv");
    let mut random =
        nullcline_data::random::Random::new(1, nullcline_data::random::Stream::NOISE, 0);
    let (mut text, mut x) = ("stimulus,x\n".to_owned(), 0.0);
    for _ in 0..1500 {
        let s = if random.uniform() < 0.5 { -1.0 } else { 1.0 };
        x = 0.8 * x + 0.6 * s;
        writeln!(text, "{s},{x}").unwrap();
    }
    fs::write(&file, text).unwrap();
    let experiment = format!(
        r#"name = "driven"
seed = 3

[task]
kind = "series"
file = '{}'
inputs = ["stimulus"]
window = 20
prediction_steps = 10

[model]
kind = "shallow_plrnn"
units = 1
hidden = 8
observation = "identity"

[training]
method = "gtf"
alpha = 0.5
updates = 600
batch = 32
learning_rate = 1e-2
evaluate_every = 100
log_every = 100

[analysis.free_run]
steps = 100000

[analysis.power_spectrum]
transient = 50
"#,
        file.display()
    );
    let dir = temporary.path().join("run");
    let (built, ensemble, results) = trained(&dir, &experiment, &["free_run", "power_spectrum"]);

    let recording = built.task.recording(Split::HeldOut).unwrap();
    let rows = recording.values.nrows();
    let table = &results.tables["free_run"];
    // The recording and the network, which cannot run beyond its inputs.
    assert_eq!(
        table.f64_column("steps").unwrap(),
        [rows as f64, rows as f64]
    );
    let generated = array(&results, "free_run", "network_0");
    let network = ensemble.network(0).unwrap();
    let start = network.state_from_observation(&recording.values.row(0).mapv(f64::from).to_vec());
    let inputs: Array2<f64> = recording.inputs_after(0).mapv(f64::from);
    let states = network.run(&start, inputs.view());
    assert_eq!(network.readouts(states.view()).into_dyn(), generated);
    // And it follows the recording, of variance 1, to its end.
    let error = generated
        .iter()
        .zip(&recording.values)
        .map(|(y, x)| (y - f64::from(*x)).powi(2))
        .sum::<f64>()
        / rows as f64;
    assert!(error < 0.05, "{error}");
    assert_ne!(results.tables["power_spectrum"].row_count(), 0);
}

/// A system from its equations trains as a recording does.
#[test]
fn a_known_system_is_trained_on_and_run() {
    let temporary = tempfile::tempdir().unwrap();
    let experiment = r#"name = "known"
seed = 1

[task]
kind = "lorenz_63"
length = 3000
test_length = 2000

[model]
kind = "shallow_plrnn"
units = 3
hidden = 20
observation = "identity"

[training]
method = "gtf"
alpha = 0.2
updates = 60
batch = 16
evaluate_every = 20
log_every = 20

[analysis.free_run]
steps = 3000
"#;
    let dir = temporary.path().join("run");
    let (built, _, results) = trained(&dir, experiment, &["free_run", "power_spectrum"]);
    assert_eq!(built.task.system().unwrap().system.name(), "lorenz_63");
    let recorded = array(&results, "free_run", "recorded");
    assert_eq!(recorded.shape(), [2000, 3]);
    assert_eq!(results.tables["free_run"].row_count(), 2);
}
