//! Whole updates on the device: trials bit for bit, optimisers, divergence.

mod support;

use ndarray::{Array2, ArrayView3};
use nullcline_data::settings::{Settings, Value};
use nullcline_gpu::{GpuEngine, Restriction};
use nullcline_models::adaptive_forcing::{Adaptation, Estimator, Strength};
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::engine::{CpuEngine, Engine, Forcing, Learner, Objective, Plan, Progress};
use nullcline_models::optimisers::{Moments, Optimiser, Rule};
use nullcline_models::regularisers::Regularisation;
use nullcline_tasks::flip_flop::FlipFlop;
use nullcline_tasks::series::{self, Source};
use nullcline_tasks::windows::Windows;
use nullcline_tasks::{Loss, Split, Task, TrialShader, Trials};
use support::{architecture, engine, largest_difference, parameters, turn};

fn flip_flop(bits: usize, steps: usize, pulse_probability: f64, pulse_width: usize) -> FlipFlop {
    FlipFlop {
        bits,
        steps,
        pulse_probability,
        pulse_width,
        amplitude: 0.7,
        noise: 0.0,
    }
}

fn series(changes: &[(&str, Value)]) -> Windows {
    let keys = nullcline_tasks::kind("series").unwrap().keys;
    let mut settings = Settings::from_defaults("task", &[keys]);
    settings
        .set("file", Value::Text("test.csv".to_owned()))
        .unwrap();
    for (key, value) in changes {
        settings.set(key, value.clone()).unwrap();
    }
    let values = Array2::from_shape_fn((700, 3), |(t, j)| {
        let t = t as f64;
        3.0 + 2.0 * (0.3 * t + j as f64).sin() + (0.07 * t * (j + 1) as f64).cos()
    });
    let source = Source {
        file: "test.csv".to_owned(),
        values,
        names: vec!["x".into(), "y".into(), "z".into()],
        unit: None,
        rate: None,
    };
    series::from_source(&settings, source).unwrap()
}

fn windows(window: i64) -> Windows {
    series(&[
        ("window", Value::Integer(window)),
        ("prediction_steps", Value::Integer(10)),
    ])
}

/// Trials drawn on the device are those of the host, bit for bit.
#[test]
fn trials_are_the_same_bits() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let mut tasks: Vec<Box<dyn Task>> = Vec::new();
    for (k, probability) in [0.0, 1.0, 0.2, 0.013, 0.5].into_iter().enumerate() {
        for width in [1, 4] {
            tasks.push(Box::new(flip_flop(1 + k, 40, probability, width)));
        }
    }
    tasks.push(Box::new(windows(7)));
    tasks.push(Box::new(windows(300)));
    let inputs = Value::Texts(vec!["y".to_owned()]);
    tasks.push(Box::new(series(&[
        ("inputs", inputs),
        ("window", Value::Integer(50)),
    ])));
    for task in &tasks {
        for (seed, update) in [
            (0, 0),
            (42, 3),
            (u64::MAX, 1 << 40),
            (1 << 33 | 5, 12_345_678),
        ] {
            let seeds = [seed, seed.wrapping_add(1)];
            let got = gpu.draw(task.as_ref(), &seeds, update, 9).unwrap();
            let got = got.expect("the task has a shader");
            assert_eq!(got.len(), 2);
            for (seed, got) in seeds.into_iter().zip(got) {
                let want = task.trials(Split::Training, seed, update, 9);
                let same = |a: &[f32], b: &[f32]| {
                    a.iter()
                        .map(|x| x.to_bits())
                        .eq(b.iter().map(|x| x.to_bits()))
                };
                let flat = |x: &ndarray::Array3<f32>| x.iter().copied().collect::<Vec<f32>>();
                assert!(
                    same(&flat(&want.inputs), &flat(&got.inputs)),
                    "{} {seed} {update}",
                    task.kind()
                );
                assert!(
                    same(&flat(&want.targets), &flat(&got.targets)),
                    "{} {seed} {update}",
                    task.kind()
                );
                assert_eq!(want.initial, got.initial);
            }
        }
    }
}

/// A task with Gaussian noise, or with trials too long for one dispatch, is left to the host.
#[test]
fn noise_and_long_trials_are_drawn_on_the_host() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let long = flip_flop(3, 5000, 0.2, 1);
    assert_eq!(gpu.draw(&long, &[1], 0, 1).unwrap(), None);
    let noisy = FlipFlop {
        noise: 0.1,
        ..flip_flop(2, 10, 0.2, 1)
    };
    assert!(noisy.shader(Split::Training).is_none());
    let noisy = series(&[("noise", Value::Number(0.1)), ("window", Value::Integer(9))]);
    assert!(noisy.shader(Split::Training).is_none());
    assert!(noisy.shader(Split::HeldOut).is_some());
}

/// A task that gives no shader, so that its trials come from the host.
struct FromHost(FlipFlop);

impl Task for FromHost {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn input_names(&self) -> Vec<String> {
        self.0.input_names()
    }
    fn output_names(&self) -> Vec<String> {
        self.0.output_names()
    }
    fn loss(&self) -> Loss {
        self.0.loss()
    }
    fn trials(&self, split: Split, seed: u64, index: u64, batch: usize) -> Trials {
        self.0.trials(split, seed, index, batch)
    }
    fn metrics(&self, outputs: ArrayView3<f32>, trials: &Trials) -> Vec<(&'static str, f64)> {
        self.0.metrics(outputs, trials)
    }
    fn metric_names(&self) -> &'static [&'static str] {
        self.0.metric_names()
    }
    fn shader(&self, _split: Split) -> Option<TrialShader> {
        None
    }
}

fn adam() -> Optimiser {
    Optimiser {
        rule: Rule::Adam,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        momentum: 0.9,
        nesterov: false,
    }
}

/// What a learner was left with.
#[derive(Clone, Debug, PartialEq)]
struct Trained {
    parameters: Vec<f32>,
    moments: Moments,
    previous: Vec<f32>,
    alpha: f32,
    progress: Progress,
}

/// What is trained, and how.
struct Training<'a> {
    architecture: &'a Architecture,
    task: &'a dyn Task,
    optimiser: Optimiser,
    forcing: Option<Forcing>,
    strength: Strength,
    regularisation: Regularisation,
    clip: f64,
    learning_rate: f64,
    networks: usize,
    shared: bool,
    batch: usize,
}

impl Training<'_> {
    fn start(&self) -> Vec<Trained> {
        (0..self.networks)
            .map(|k| {
                let parameters = parameters(self.architecture, k as u64 + 1);
                Trained {
                    moments: Moments::new(parameters.len()),
                    previous: parameters.clone(),
                    alpha: self.forcing.map_or(0.0, |forcing| forcing.alpha),
                    parameters,
                    progress: Progress::default(),
                }
            })
            .collect()
    }

    /// Makes updates; losses are appended.
    fn advance(
        &self,
        engine: &mut dyn Engine,
        networks: &mut [Trained],
        updates: std::ops::Range<u64>,
    ) {
        let mut trainable = vec![true; self.architecture.parameter_count()];
        for tensor in self.architecture.tensors() {
            trainable[tensor.range].fill(tensor.trainable);
        }
        let plan = Plan {
            architecture: self.architecture,
            objective: Objective {
                loss: self.task.loss(),
                forcing: self.forcing,
            },
            optimiser: self.optimiser,
            clip: self.clip,
            trainable: &trainable,
            regularisation: self.regularisation,
            strength: self.strength,
            leak: self
                .architecture
                .tensor("leak")
                .filter(|tensor| tensor.trainable)
                .map(|tensor| tensor.range),
            task: self.task,
            batch: self.batch,
            ensemble: self.networks,
            updates: updates.clone(),
        };
        let progress = {
            let mut learners: Vec<Learner> = networks
                .iter_mut()
                .enumerate()
                .map(|(k, network)| Learner {
                    parameters: &mut network.parameters,
                    moments: &mut network.moments,
                    previous: &mut network.previous,
                    alpha: &mut network.alpha,
                    trial_seed: if self.shared { 5 } else { 5 + k as u64 },
                    learning_rates: updates
                        .clone()
                        .map(|u| self.learning_rate / (1.0 + 0.01 * u as f64))
                        .collect(),
                })
                .collect();
            engine.advance(&plan, &mut learners).unwrap()
        };
        for (network, progress) in networks.iter_mut().zip(progress) {
            network.progress.losses.extend(progress.losses);
            network.progress.alphas.extend(progress.alphas);
            network.progress.diverged = progress.diverged;
        }
    }

    fn run(&self, engine: &mut dyn Engine, updates: u64) -> Vec<Trained> {
        let mut networks = self.start();
        self.advance(engine, &mut networks, 0..updates);
        networks
    }
}

/// The largest relative difference of losses, and the largest of parameters.
fn differences(want: &[Trained], got: &[Trained]) -> (f64, f64) {
    let mut losses = 0.0f64;
    let mut numbers = 0.0f64;
    for (want, got) in want.iter().zip(got) {
        assert_eq!(want.progress.losses.len(), got.progress.losses.len());
        assert_eq!(want.progress.diverged, got.progress.diverged);
        assert_eq!(want.moments.updates, got.moments.updates);
        for (a, b) in want.progress.losses.iter().zip(&got.progress.losses) {
            losses = losses.max((a - b).abs() / a.abs().max(1e-9));
        }
        numbers = numbers
            .max(largest_difference(&want.parameters, &got.parameters))
            .max(largest_difference(&want.previous, &got.previous));
    }
    (losses, numbers)
}

/// The flip-flop for 50 updates: losses agree within 1e-3 of themselves, parameters within 1e-3. Adam divides
/// by the root of a second moment that starts at zero, which magnifies rounding in the first updates.
#[test]
fn a_flip_flop_trains_as_on_the_cpu() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let task = flip_flop(2, 16, 0.2, 1);
    let a = architecture(CellKind::LeakyRateTanh, Readout::Linear, [2, 12, 0, 2]);
    let training = Training {
        architecture: &a,
        task: &task,
        optimiser: adam(),
        forcing: None,
        strength: Strength::Constant,
        regularisation: Regularisation::default(),
        clip: 1.0,
        learning_rate: 1e-2,
        networks: 2,
        shared: false,
        batch: 10,
    };
    let want = training.run(&mut CpuEngine::new(), 50);
    let got = training.run(&mut gpu, 50);
    let (losses, numbers) = differences(&want, &got);
    println!("worst: losses {losses:e}, parameters {numbers:e}");
    assert!(losses < 1e-3 && numbers < 1e-3);
    assert!(
        got[0].progress.losses[49] < 0.7 * got[0].progress.losses[0],
        "it learns"
    );
}

#[test]
fn every_optimiser_agrees() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let task = flip_flop(2, 8, 0.3, 2);
    let a = architecture(CellKind::LeakyCurrentTanh, Readout::Linear, [2, 7, 0, 2]);
    for rule in [Rule::Adam, Rule::AdamW, Rule::RAdam, Rule::Sgd] {
        for (nesterov, clip) in [(false, 0.05), (true, 0.0)] {
            let training = Training {
                architecture: &a,
                task: &task,
                optimiser: Optimiser {
                    rule,
                    nesterov,
                    weight_decay: 0.02,
                    ..adam()
                },
                forcing: None,
                strength: Strength::Constant,
                regularisation: Regularisation::default(),
                clip,
                learning_rate: 2e-2,
                networks: 1,
                shared: false,
                batch: 6,
            };
            let want = training.run(&mut CpuEngine::new(), 12);
            let got = training.run(&mut gpu, 12);
            let (losses, numbers) = differences(&want, &got);
            println!(
                "{rule:?} nesterov {nesterov} clip {clip}: losses {losses:e}, parameters {numbers:e}"
            );
            assert!(losses < 1e-3 && numbers < 2e-3, "{rule:?}");
        }
    }
}

/// Generalized teacher forcing on a recording, with the gradient through the initial state, which needs the
/// pseudo-inverse of the readout as it is after every update.
#[test]
fn forced_training_on_a_recording_agrees() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let task = windows(12);
    for (cell, readout) in [
        (CellKind::ClippedShallowPlrnn, Readout::LinearWithoutBias),
        (CellKind::ShallowPlrnn, Readout::Identity),
        (CellKind::LeakyCurrentTanh, Readout::Linear),
    ] {
        let a = architecture(cell, readout, [0, 5, 9, 3]);
        let training = Training {
            architecture: &a,
            task: &task,
            optimiser: Optimiser {
                rule: Rule::RAdam,
                ..adam()
            },
            forcing: Some(Forcing::generalized(0.2)),
            strength: Strength::Constant,
            regularisation: Regularisation::default(),
            clip: 10.0,
            learning_rate: 1e-3,
            networks: 2,
            shared: true,
            batch: 5,
        };
        let want = training.run(&mut CpuEngine::new(), 20);
        let got = training.run(&mut gpu, 20);
        let (losses, numbers) = differences(&want, &got);
        println!("{cell:?}: losses {losses:e}, parameters {numbers:e}");
        assert!(losses < 1e-3 && numbers < 1e-3, "{cell:?}");
    }
}

/// Forcing whose strength follows the data, penalties on the parameters, sparse and partial forcing.
#[test]
fn ways_of_forcing_and_penalties_agree() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let task = windows(12);
    let a = architecture(
        CellKind::ClippedShallowPlrnn,
        Readout::Identity,
        [0, 5, 9, 3],
    );
    let adaptive = Adaptation {
        estimator: Estimator::ArithmeticMean,
        decay: 0.9,
        every: 3,
    };
    let penalties = Regularisation {
        latent: 1e-2,
        observation: 1e-1,
        manifold: 1e-1,
        manifold_fraction: 0.4,
    };
    let partial = Forcing {
        units: Some(2),
        ..Forcing::generalized(0.2)
    };
    let mut last_losses = Vec::new();
    let falling = Strength::Geometric {
        start: 0.5,
        end: 0.1,
        updates: 20,
    };
    for (forcing, strength, regularisation) in [
        (
            Forcing::generalized(1.0),
            Strength::Adaptive(adaptive),
            penalties,
        ),
        (Forcing::sparse(4), Strength::Constant, penalties),
        (partial, falling, Regularisation::default()),
    ] {
        let training = Training {
            architecture: &a,
            task: &task,
            optimiser: Optimiser {
                rule: Rule::RAdam,
                ..adam()
            },
            forcing: Some(forcing),
            strength,
            regularisation,
            clip: 10.0,
            learning_rate: 1e-3,
            networks: 2,
            shared: false,
            batch: 5,
        };
        let want = training.run(&mut CpuEngine::new(), 20);
        let got = training.run(&mut gpu, 20);
        let (losses, numbers) = differences(&want, &got);
        println!("{forcing:?}: losses {losses:e}, parameters {numbers:e}");
        assert!(losses < 1e-3 && numbers < 2e-3, "{forcing:?}");
        for (want, got) in want.iter().zip(&got) {
            let (want, got) = (&want.progress.alphas, &got.progress.alphas);
            assert_eq!(got.len(), 20);
            let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
            assert!(want.iter().zip(got).all(close), "{want:?} {got:?}");
            assert_eq!(
                want.windows(2).any(|a| a[0] != a[1]),
                strength != Strength::Constant
            );
        }
        last_losses.push(got[0].progress.losses[19]);
    }
    assert!(last_losses[0] != last_losses[1] && last_losses[1] != last_losses[2]);
}

/// The condition of an affine observation is penalised on the processor alone, and a card says so.
#[test]
fn a_penalty_that_a_card_cannot_make_is_refused() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let a = architecture(
        CellKind::ClippedShallowPlrnn,
        Readout::LinearWithoutBias,
        [0, 5, 9, 3],
    );
    let trainable = vec![true; a.parameter_count()];
    let task = windows(12);
    let plan = Plan {
        architecture: &a,
        objective: Objective {
            loss: Loss::MeanSquaredError,
            forcing: Some(Forcing::generalized(0.2)),
        },
        optimiser: adam(),
        clip: 0.0,
        trainable: &trainable,
        regularisation: Regularisation {
            observation: 1e-6,
            ..Regularisation::default()
        },
        strength: Strength::Constant,
        leak: None,
        task: &task,
        batch: 2,
        ensemble: 0,
        updates: 0..1,
    };
    let error = gpu.advance(&plan, &mut []).unwrap_err().to_string();
    assert!(error.contains("observation_regularisation"), "{error}");
}

/// An ensemble's tiles follow from its size, not from what the engine trained before.
#[test]
fn what_was_trained_before_changes_no_bit() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let task = flip_flop(2, 6, 0.2, 1);
    let a = architecture(CellKind::LeakyRateTanh, Readout::Linear, [2, 20, 0, 2]);
    let training = |networks| Training {
        architecture: &a,
        task: &task,
        optimiser: adam(),
        forcing: None,
        strength: Strength::Constant,
        regularisation: Regularisation::default(),
        clip: 1.0,
        learning_rate: 1e-2,
        networks,
        shared: false,
        batch: 64,
    };
    let ensemble = |gpu: &mut GpuEngine, networks| {
        gpu.restrict(Restriction {
            busy: Some(4),
            ..Restriction::default()
        });
        training(networks).run(gpu, 3)
    };
    let want = ensemble(&mut gpu, 3);
    let Some(mut other) = engine() else { return };
    ensemble(&mut other, 1);
    assert!(training(3).run(&mut other, 3) == want);
}

/// How a plan is cut into calls, an ensemble into groups, and where trials are drawn, changes no bit.
#[test]
fn calls_groups_and_the_drawing_of_trials_change_no_bit() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let inner = flip_flop(2, 9, 0.2, 1);
    let a = architecture(CellKind::Gru, Readout::Linear, [2, 9, 0, 2]);
    let training = |task| Training {
        architecture: &a,
        task,
        optimiser: adam(),
        forcing: None,
        strength: Strength::Constant,
        regularisation: Regularisation::default(),
        clip: 1.0,
        learning_rate: 1e-2,
        networks: 5,
        shared: false,
        batch: 7,
    };
    let want = training(&inner).run(&mut gpu, 20);
    let host = FromHost(inner.clone());
    assert!(
        training(&host).run(&mut gpu, 20) == want,
        "drawn on the host"
    );
    let mut cut = training(&inner).start();
    for updates in [0..1, 1..17, 17..20] {
        training(&inner).advance(&mut gpu, &mut cut, updates);
    }
    assert!(cut == want, "in three calls");
    gpu.restrict(Restriction {
        binding_bytes: Some(60_000),
        ..Restriction::default()
    });
    assert!(
        training(&inner).run(&mut gpu, 20) == want,
        "in small buffers"
    );
    gpu.restrict(Restriction {
        dispatch_work: Some(1000),
        ..Restriction::default()
    });
    assert!(
        training(&inner).run(&mut gpu, 20) == want,
        "in small dispatches"
    );
    let Some(mut small) = engine() else { return };
    small.restrict(Restriction {
        memory_bytes: Some(300_000),
        ..Restriction::default()
    });
    assert!(
        training(&inner).run(&mut small, 20) == want,
        "in little memory"
    );
    // Shared trials: every network sees those of the first seed.
    let shared = Training {
        shared: true,
        ..training(&inner)
    }
    .run(&mut gpu, 3);
    assert_eq!(shared[0].progress.losses, want[0].progress.losses[..3]);
}

/// A network that diverges keeps the parameters before its last update, and its company goes on.
#[test]
fn divergence_freezes_a_network_alone() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let task = flip_flop(1, 30, 0.2, 1);
    let a = architecture(CellKind::VanillaRelu, Readout::Linear, [1, 6, 0, 1]);
    let training = Training {
        architecture: &a,
        task: &task,
        optimiser: Optimiser {
            rule: Rule::Sgd,
            momentum: 0.0,
            ..adam()
        },
        forcing: None,
        strength: Strength::Constant,
        regularisation: Regularisation::default(),
        clip: 0.0,
        learning_rate: 1e-3,
        networks: 3,
        shared: false,
        batch: 4,
    };
    let run = |engine: &mut dyn Engine| {
        let mut networks = training.start();
        // Grows a thousandfold in two updates of this size, then overflows.
        for value in &mut networks[1].parameters[a.layout().recurrent] {
            *value = 1.0;
        }
        training.advance(engine, &mut networks, 0..8);
        networks
    };
    let want = run(&mut CpuEngine::new());
    let got = run(&mut gpu);
    assert!(want[1].progress.diverged && got[1].progress.diverged);
    assert_eq!(want[1].progress.losses.len(), got[1].progress.losses.len());
    assert!(got[1].progress.losses.len() < 8, "it stops early");
    assert_eq!(got[1].parameters, got[1].previous);
    assert_eq!(
        got[1].moments.updates + 1,
        got[1].progress.losses.len() as u64
    );
    for k in [0, 2] {
        assert!(!got[k].progress.diverged);
        assert_eq!(got[k].progress.losses.len(), 8);
    }
    let engine: &mut GpuEngine = &mut gpu;
    let alone = Training {
        networks: 1,
        ..training
    }
    .run(engine, 8);
    assert!(alone[0] == got[0], "company changes no bit");
}

/// Gradients of finite numbers whose norm is beyond the largest one are clipped as on the CPU, not to nothing.
#[test]
fn a_gradient_of_large_numbers_is_clipped() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let task = FlipFlop {
        amplitude: 1e19,
        ..flip_flop(1, 1, 1.0, 1)
    };
    let a = architecture(CellKind::VanillaRelu, Readout::Linear, [1, 200, 0, 1]);
    let training = Training {
        architecture: &a,
        task: &task,
        optimiser: Optimiser {
            rule: Rule::Sgd,
            momentum: 0.0,
            ..adam()
        },
        forcing: None,
        strength: Strength::Constant,
        regularisation: Regularisation::default(),
        clip: 1.0,
        learning_rate: 1e-2,
        networks: 1,
        shared: false,
        batch: 4,
    };
    let run = |engine: &mut dyn Engine| {
        let mut networks = training.start();
        for value in &mut networks[0].parameters[a.layout().input] {
            *value = 0.3;
        }
        for value in &mut networks[0].parameters[a.layout().readout] {
            *value = 0.02;
        }
        training.advance(engine, &mut networks, 0..1);
        networks.swap_remove(0)
    };
    // 200 entries of 5e37 for the readout alone.
    let want = run(&mut CpuEngine::new());
    let got = run(&mut gpu);
    assert!(!want.progress.diverged && !got.progress.diverged);
    let moved = largest_difference(&want.parameters, &want.previous);
    let difference = largest_difference(&want.parameters, &got.parameters);
    println!("moved {moved:e}, difference {difference:e}");
    assert!(moved > 1e-4 && difference < 1e-3 * moved);
}
