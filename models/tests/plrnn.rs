//! The piecewise-linear RNNs in training: on a recording, with teacher forcing, from the published starts.

use ndarray::{Array2, Array3, ArrayView3};
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Settings, Value};
use nullcline_models::architecture::Readout;
use nullcline_models::engine::{CpuEngine, Engine, Job, Objective};
use nullcline_models::registry;
use nullcline_models::training::{self, Trainer, TrainingSettings};
use nullcline_models::workload::{Size, Workload};
use nullcline_tasks::{Loss, Split, Task, Trials};

/// Two numbers of a limit cycle with a harmonic, and one input that says where the second half of it is.
struct Recording;

const STEPS: usize = 20;

impl Recording {
    fn at(t: usize) -> [f32; 3] {
        let phase = 0.25 * t as f32;
        let x = phase.sin() + 0.3 * (2.0 * phase).cos();
        let y = phase.cos() - 0.3 * (2.0 * phase).sin();
        [x, y, f32::from(u8::from(phase.sin() > 0.0))]
    }
}

impl Task for Recording {
    fn kind(&self) -> &'static str {
        "recording"
    }
    fn input_names(&self) -> Vec<String> {
        vec!["half".into()]
    }
    fn output_names(&self) -> Vec<String> {
        vec!["x".into(), "y".into()]
    }
    fn loss(&self) -> Loss {
        Loss::MeanSquaredError
    }
    fn trials(&self, split: Split, seed: u64, index: u64, batch: usize) -> Trials {
        let stream = if split == Split::Training {
            seed
        } else {
            !seed
        };
        let mut random = Random::new(stream, Stream::TRIALS, index);
        let starts: Vec<usize> = (0..batch).map(|_| random.below(1000)).collect();
        Trials {
            inputs: Array3::from_shape_fn((batch, STEPS, 1), |(b, t, _)| {
                Recording::at(starts[b] + t)[2]
            }),
            targets: Array3::from_shape_fn((batch, STEPS, 2), |(b, t, o)| {
                Recording::at(starts[b] + t + 1)[o]
            }),
            mask: None,
            initial: Some(Array2::from_shape_fn((batch, 2), |(b, o)| {
                Recording::at(starts[b])[o]
            })),
        }
    }
    fn metrics(&self, _outputs: ArrayView3<f32>, _trials: &Trials) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
    fn metric_names(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Kinds of the family, with the settings that tell their cells apart.
fn models() -> Vec<(&'static str, Vec<(&'static str, Value)>)> {
    vec![
        ("plrnn", vec![]),
        ("mean_centred_plrnn", vec![]),
        ("dendritic_plrnn", vec![("bases", Value::Integer(4))]),
        (
            "dendritic_plrnn",
            vec![("bases", Value::Integer(4)), ("clipped", Value::Flag(true))],
        ),
        ("almost_linear_rnn", vec![("relu_units", Value::Integer(3))]),
    ]
}

fn trainer(kind: &str, changes: &[(&'static str, Value)], observation: &str) -> Trainer<'static> {
    let kind = registry::kind(kind).unwrap();
    let mut model = Settings::from_defaults("model", kind.keys);
    model.set("units", Value::Integer(10)).unwrap();
    model
        .set("observation", Value::Text(observation.into()))
        .unwrap();
    for (key, value) in changes {
        model.set(key, value.clone()).unwrap();
    }
    let (architecture, initialisation) = kind.build(&model, 1, 2).unwrap();
    let mut settings = Settings::from_defaults("training", &[training::KEYS]);
    for (key, value) in [
        ("method", Value::Text("gtf".into())),
        ("alpha", Value::Number(0.2)),
        ("optimiser", Value::Text("radam".into())),
        ("updates", Value::Integer(300)),
        ("batch", Value::Integer(16)),
        ("evaluate_every", Value::Integer(150)),
        ("evaluation_trials", Value::Integer(20)),
        ("learning_rate", Value::Number(0.01)),
        // What decays even without a gradient would be seen to move.
        ("weight_decay", Value::Number(1e-4)),
    ] {
        settings.set(key, value).unwrap();
    }
    let settings = TrainingSettings::from_settings(&settings).unwrap();
    Trainer::new(&Recording, architecture, &initialisation, settings, 2, 11).unwrap()
}

#[test]
fn training_reduces_the_loss_and_moves_what_is_trained_alone() {
    for (kind, changes) in models() {
        for observation in ["affine", "identity"] {
            let mut trainer = trainer(kind, &changes, observation);
            let start = trainer.ensemble().clone();
            let mut engine = CpuEngine::new();
            while !trainer.is_done() {
                trainer.advance(&mut engine, 1000).unwrap();
            }
            let name = start.architecture.cell.name();
            for network in 0..2 {
                let losses: Vec<f64> = trainer
                    .history()
                    .iter()
                    .filter(|row| row.network == network)
                    .map(|row| row.loss)
                    .collect();
                let (first, last) = (losses[0], losses[losses.len() - 1]);
                assert!(
                    last < 0.2 * first,
                    "{name} {observation}: from {first} to {last}"
                );
                let trainable = start.architecture.trainable();
                let before = &start.parameters[network];
                let after = &trainer.ensemble().parameters[network];
                let mut fixed = 0;
                for ((before, after), trained) in before.iter().zip(after).zip(trainable) {
                    if !trained {
                        assert_eq!(before, after, "{name}");
                        fixed += 1;
                    }
                }
                let expected = match kind {
                    "plrnn" | "mean_centred_plrnn" | "almost_linear_rnn" => 10,
                    _ => 0,
                };
                assert_eq!(fixed, expected, "{name}");
                // Every tensor that is trained has moved.
                for tensor in start.architecture.tensors() {
                    let moved = before[tensor.range.clone()] != after[tensor.range];
                    assert_eq!(moved, tensor.trainable, "{name} {}", tensor.name);
                }
            }
        }
    }
}

#[test]
fn the_engine_and_the_network_in_f64_agree_after_training() {
    for (kind, changes) in models() {
        let mut trainer = trainer(kind, &changes, "identity");
        let mut engine = CpuEngine::new();
        trainer.advance(&mut engine, 100).unwrap();
        let ensemble = trainer.ensemble();
        let architecture = &ensemble.architecture;
        assert_eq!(architecture.readout, Readout::Identity);
        let trials = Recording.trials(Split::HeldOut, 5, 0, 20);
        let job = Job {
            parameters: &ensemble.parameters[1],
            trials: &trials,
        };
        let objective = Objective {
            loss: Loss::MeanSquaredError,
            forcing: None,
        };
        let response = engine.respond_one(architecture, &objective, &job).unwrap();
        let network = ensemble.network(1).unwrap();
        for b in 0..20 {
            let observation: Vec<f64> = trials
                .initial
                .as_ref()
                .unwrap()
                .row(b)
                .mapv(f64::from)
                .to_vec();
            let inputs = trials
                .inputs
                .index_axis(ndarray::Axis(0), b)
                .mapv(f64::from);
            let states = network.run(&network.state_from_observation(&observation), inputs.view());
            for ((t, i), &want) in states.indexed_iter() {
                let got = f64::from(response.states[[b, t, i]]);
                assert!(
                    (got - want).abs() < 1e-4 * (1.0 + want.abs()),
                    "{}: {got} and {want}",
                    architecture.cell.name()
                );
            }
        }
    }
}

#[test]
fn a_checkpoint_goes_on_where_it_was() {
    for (kind, changes) in models() {
        let mut engine = CpuEngine::new();
        let mut straight = trainer(kind, &changes, "affine");
        straight.advance(&mut engine, 40).unwrap();
        straight.advance(&mut engine, 30).unwrap();
        let mut first = trainer(kind, &changes, "affine");
        first.advance(&mut engine, 40).unwrap();
        let mut second = trainer(kind, &changes, "affine");
        second.restore(&first.checkpoint()).unwrap();
        second.advance(&mut engine, 30).unwrap();
        assert_eq!(second.checkpoint(), straight.checkpoint());
        // Another cell's checkpoint is refused.
        let other = if kind == "plrnn" {
            "shallow_plrnn"
        } else {
            "plrnn"
        };
        let mut other = trainer(other, &[], "affine");
        let refused = other.restore(&first.checkpoint()).unwrap_err().to_string();
        assert!(refused.contains("cell"), "{refused}");
    }
}

#[test]
fn every_cell_can_be_measured() {
    let size = |cell: &str, hidden| Size {
        cell: cell.to_owned(),
        hidden,
        batch: 20,
        steps: 4,
        networks: 2,
        reconstruction: None,
    };
    for kind in registry::MODELS {
        let mut workload = Workload::new(&size(kind.name, 12)).unwrap();
        workload.advance(&mut CpuEngine::new(), 2).unwrap();
        assert!(workload.operations() > 0.0, "{}", kind.name);
    }
    let too_many = Workload::new(&size("plrnn", 20_000)).err().unwrap();
    assert_eq!(
        too_many.to_string(),
        "--hidden: found 20000; allowed: an integer from 1 to 10000"
    );
}
