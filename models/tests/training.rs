//! Whole training: neither the number of updates made at a time, nor threads, nor company change a bit.

use nullcline_data::settings::{Settings, Value};
use nullcline_models::engine::CpuEngine;
use nullcline_models::registry;
use nullcline_models::training::{self, HistoryRow, Status, Trainer, TrainingSettings};
use nullcline_tasks::flip_flop::FlipFlop;

const TASK: FlipFlop = FlipFlop {
    bits: 2,
    steps: 9,
    pulse_probability: 0.3,
    pulse_width: 1,
    amplitude: 1.0,
    noise: 0.0,
};

fn trainer(networks: usize, changes: &[(&str, Value)]) -> Trainer<'static> {
    let mut settings = Settings::from_defaults("training", &[training::KEYS]);
    for (key, value) in [
        ("updates", Value::Integer(60)),
        ("batch", Value::Integer(40)),
        ("evaluate_every", Value::Integer(15)),
        ("log_every", Value::Integer(7)),
        ("evaluation_trials", Value::Integer(20)),
        ("learning_rate", Value::Number(0.02)),
    ] {
        settings.set(key, value).unwrap();
    }
    for (key, value) in changes {
        settings.set(key, value.clone()).unwrap();
    }
    let kind = registry::kind("leaky").unwrap();
    let mut model = Settings::from_defaults("model", kind.keys);
    model.set("units", Value::Integer(6)).unwrap();
    let (architecture, initialisation) = kind.build(&model, TASK.bits, TASK.bits).unwrap();
    let settings = TrainingSettings::from_settings(&settings).unwrap();
    Trainer::new(&TASK, architecture, &initialisation, settings, networks, 7).unwrap()
}

/// Trains to the end, at most so many updates at a time.
fn train(mut trainer: Trainer, at_a_time: u64) -> Trainer {
    let mut engine = CpuEngine::new();
    while !trainer.is_done() {
        trainer.advance(&mut engine, at_a_time).unwrap();
    }
    trainer
}

/// The history without its clock, as text: what is not a number equals itself there.
fn rows(trainer: &Trainer) -> Vec<String> {
    let without_clock = |row: &HistoryRow| HistoryRow {
        seconds: 0.0,
        ..row.clone()
    };
    let rows = trainer.history().iter();
    rows.map(|row| format!("{:?}", without_clock(row)))
        .collect()
}

fn assert_same(a: &Trainer, b: &Trainer) {
    assert_eq!(a.update(), b.update());
    assert_eq!(a.statuses(), b.statuses());
    assert_eq!(rows(a), rows(b));
    assert_eq!(a.checkpoint(), b.checkpoint());
}

#[test]
fn updates_at_a_time_change_nothing() {
    let text = |text: &str| Value::Text(text.to_owned());
    for changes in [
        vec![
            ("schedule", text("plateau")),
            ("plateau_patience", Value::Integer(0)),
            ("optimiser", text("radam")),
        ],
        vec![("trials", text("shared")), ("schedule", text("cosine"))],
        vec![
            ("stop_loss", Value::Number(0.5)),
            ("clip", Value::Number(0.1)),
        ],
    ] {
        let single = train(trainer(3, &changes), 1);
        assert!(single.update() > 15, "trained past an evaluation");
        let updates: Vec<u64> = single.history().iter().map(|row| row.update).collect();
        assert!(updates.is_sorted(), "rows in the order of updates");
        for at_a_time in [4, 1000] {
            assert_same(&train(trainer(3, &changes), at_a_time), &single);
        }
    }
}

/// Plain gradient descent with a learning rate far too large: some networks overflow, at an update of their own.
#[test]
fn divergence_is_seen_at_its_own_update() {
    let changes = [
        ("optimiser", Value::Text("sgd".to_owned())),
        ("learning_rate", Value::Number(1000.0)),
        ("clip", Value::Number(0.0)),
        ("momentum", Value::Number(0.99)),
    ];
    let single = train(trainer(4, &changes), 1);
    let diverged = |status: &Status| matches!(status, Status::Diverged { update } if *update > 0);
    assert!(
        single.statuses().iter().any(diverged),
        "{:?}",
        single.statuses()
    );
    for network in &single.ensemble().parameters {
        assert!(network.iter().all(|p| p.is_finite()));
    }
    for at_a_time in [3, 1000] {
        assert_same(&train(trainer(4, &changes), at_a_time), &single);
    }
}

#[test]
fn threads_and_company_change_nothing() {
    for trials in ["separate", "shared"] {
        let changes = [("trials", Value::Text(trials.to_owned()))];
        let alone = train(trainer(1, &changes), 1000);
        for networks in [1, 2, 3, 5] {
            let run = |threads| {
                rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap()
                    .install(|| train(trainer(networks, &changes), 1000))
            };
            let one = run(1);
            for threads in [2, 3, 7] {
                assert_same(&run(threads), &one);
            }
            assert_eq!(one.ensemble().parameters[0], alone.ensemble().parameters[0]);
        }
    }
}
