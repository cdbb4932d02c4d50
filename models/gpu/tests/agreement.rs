//! The graphics card against the CPU engine and against the network in double precision.

mod support;

use nullcline_gpu::{GpuEngine, Restriction};
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::engine::{CpuEngine, Engine, Forcing, Job, Objective};
use nullcline_models::network::Network;
use nullcline_tasks::{Loss, Trials};
use support::{
    architecture, engine, gradient_error, largest_difference, on_software, parameters, trials, turn,
};

/// States, absolute; relative where they grow beyond 1, as those of unbounded cells do.
const STATES: f64 = 1e-5;
/// Gradients, relative in norm, tensor by tensor.
const GRADIENTS: f64 = 1e-4;

/// The worst errors of states, outputs, loss and gradient.
#[derive(Debug, Default)]
struct Worst {
    states: f64,
    outputs: f64,
    loss: f64,
    gradient: f64,
}

/// One set of networks on trials, on the card and on the CPU.
fn compare(
    gpu: &mut GpuEngine,
    architecture: &Architecture,
    objective: &Objective,
    networks: usize,
    trials: &[Trials],
    worst: &mut Worst,
) {
    let parameters: Vec<Vec<f32>> = (0..networks)
        .map(|k| parameters(architecture, k as u64 + 1))
        .collect();
    let jobs: Vec<Job> = parameters
        .iter()
        .enumerate()
        .map(|(k, parameters)| Job {
            parameters,
            trials: &trials[k % trials.len()],
        })
        .collect();
    let mut cpu = CpuEngine::new();
    let what = format!("{architecture:?} {objective:?}");
    let want = cpu.gradients(architecture, objective, &jobs).unwrap();
    let got = gpu.gradients(architecture, objective, &jobs).unwrap();
    for (want, got) in want.iter().zip(&got) {
        let loss = (want.loss - got.loss).abs() / want.loss.abs().max(1e-6);
        let gradient = gradient_error(architecture, &want.gradient, &got.gradient);
        assert!(loss < 2e-5, "{what}: loss {} {}", want.loss, got.loss);
        assert!(gradient < GRADIENTS, "{what}: gradient {gradient}");
        worst.loss = worst.loss.max(loss);
        worst.gradient = worst.gradient.max(gradient);
    }
    let want = cpu.respond(architecture, objective, &jobs).unwrap();
    let got = gpu.respond(architecture, objective, &jobs).unwrap();
    for (want, got) in want.iter().zip(&got) {
        assert_eq!(want.states.dim(), got.states.dim());
        let size = want
            .states
            .iter()
            .fold(1.0, |m, x| f64::from(x.abs()).max(m));
        let states = largest_difference(&want.states, &got.states) / size;
        let outputs = largest_difference(&want.outputs, &got.outputs) / size;
        assert!(states < STATES, "{what}: states {states}");
        assert!(outputs < 4.0 * STATES, "{what}: outputs {outputs}");
        worst.states = worst.states.max(states);
        worst.outputs = worst.outputs.max(outputs);
    }
    if objective.forcing.is_none() {
        for (job, got) in jobs.iter().zip(&got) {
            let network = Network::new(architecture.clone(), job.parameters);
            for b in 0..job.trials.batch().min(2) {
                let initial: Vec<f64> = got
                    .states
                    .slice(ndarray::s![b, 0, ..])
                    .iter()
                    .map(|&x| f64::from(x))
                    .collect();
                let inputs = job
                    .trials
                    .inputs
                    .index_axis(ndarray::Axis(0), b)
                    .mapv(f64::from);
                let states = network.run(&initial, inputs.view());
                let difference = states
                    .iter()
                    .zip(got.states.index_axis(ndarray::Axis(0), b))
                    .map(|(a, b)| (a - f64::from(*b)).abs())
                    .fold(0.0, f64::max);
                let size = states.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
                let difference = difference / size;
                assert!(difference < STATES, "{what}: against f64 {difference}");
                worst.states = worst.states.max(difference);
            }
        }
    }
}

/// Forcing of one kind or another.
fn forcing(case: u64) -> Forcing {
    match case % 3 {
        0 => Forcing::generalized(0.25),
        1 => Forcing::sparse(3),
        _ => Forcing {
            alpha: 0.4,
            interval: 2,
            units: Some(2),
        },
    }
}

fn plain(loss: Loss) -> Objective {
    Objective {
        loss,
        forcing: None,
    }
}

#[test]
fn every_cell_and_loss_agrees() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let mut worst = Worst::default();
    for cell in support::shaded_cells() {
        for loss in [Loss::MeanSquaredError, Loss::CrossEntropy] {
            let a = architecture(cell, Readout::Linear, [3, 9, 11, 3]);
            let masked = loss == Loss::CrossEntropy;
            let trials = [
                trials(&a, 6, 12, masked, false, masked, 1),
                trials(&a, 6, 12, masked, false, masked, 2),
            ];
            compare(&mut gpu, &a, &plain(loss), 3, &trials, &mut worst);
        }
    }
    println!("worst: {worst:?}");
}

#[test]
fn every_readout_start_and_forcing_agrees() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let mut worst = Worst::default();
    let cells = [
        CellKind::ClippedShallowPlrnn,
        CellKind::MeanCentredPlrnn,
        CellKind::AlmostLinearRnn,
        CellKind::LeakyCurrentTanh,
        CellKind::Gru,
        CellKind::Lstm,
    ];
    for cell in cells {
        for readout in [
            Readout::Linear,
            Readout::LinearWithoutBias,
            Readout::Identity,
        ] {
            for (forcing, units, outputs) in [
                (None, 6, 4),
                (Some(0.3), 6, 4),
                (Some(0.15), 5, 5),
                // More outputs than units: the readout is tall.
                (Some(0.3), 3, 7),
            ] {
                if forcing.is_some() && cell == CellKind::Lstm
                    || outputs > units && readout == Readout::Identity
                {
                    continue;
                }
                let a = architecture(cell, readout, [0, units, 10, outputs]);
                let trials = [trials(&a, 5, 9, false, true, false, 3)];
                let objective = Objective {
                    loss: Loss::MeanSquaredError,
                    forcing: forcing.map(Forcing::generalized),
                };
                compare(&mut gpu, &a, &objective, 2, &trials, &mut worst);
            }
        }
    }
    println!("worst: {worst:?}");
}

/// Shapes at the edges: one trial, one step, one unit, no input, sizes that are multiples of nothing, more units
/// than a workgroup has threads, a hidden layer of 512.
#[test]
fn edge_shapes_agree() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let mut worst = Worst::default();
    let shapes = [
        // inputs, units, hidden, outputs, batch, steps
        ([0, 1, 1, 1], 1, 1),
        ([1, 1, 3, 2], 3, 4),
        ([5, 17, 19, 1], 1, 7),
        ([2, 33, 6, 9], 37, 1),
        ([17, 4, 40, 5], 9, 3),
        ([1, 130, 67, 3], 5, 3),
    ];
    for (k, (sizes, batch, steps)) in shapes.into_iter().enumerate() {
        for cell in [
            CellKind::LeakyRateTanh,
            CellKind::Gru,
            CellKind::ShallowPlrnn,
            CellKind::MeanCentredPlrnn,
        ] {
            let a = architecture(cell, Readout::Linear, sizes);
            let trials = [trials(&a, batch, steps, k % 2 == 1, false, false, 5)];
            compare(
                &mut gpu,
                &a,
                &plain(Loss::MeanSquaredError),
                1,
                &trials,
                &mut worst,
            );
        }
    }
    for cell in [
        CellKind::LeakyRateTanh,
        CellKind::Lstm,
        CellKind::ClippedShallowPlrnn,
        CellKind::AlmostLinearRnn,
    ] {
        let a = architecture(cell, Readout::Linear, [2, 512, 512, 2]);
        let trials = [trials(&a, 2, 2, false, false, false, 5)];
        compare(
            &mut gpu,
            &a,
            &plain(Loss::MeanSquaredError),
            1,
            &trials,
            &mut worst,
        );
    }
    println!("worst: {worst:?}");
}

#[test]
fn what_has_no_shader_is_refused() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    for cell in [CellKind::DendriticPlrnn, CellKind::ClippedDendriticPlrnn] {
        let a = architecture(cell, Readout::Linear, [1, 4, 3, 2]);
        let trials = trials(&a, 2, 3, false, false, false, 1);
        let p = vec![0.1; a.parameter_count()];
        let job = Job {
            parameters: &p,
            trials: &trials,
        };
        let refused = gpu.gradients(&a, &plain(Loss::MeanSquaredError), &[job]);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("basis functions"), "{refused}");
        assert!(refused.contains("cpu"), "{refused}");
    }
}

/// Architectures, sizes, losses and ways to start drawn at random.
#[test]
fn random_shapes_agree() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let mut worst = Worst::default();
    for case in 0..14 {
        let mut random = support::random(100 + case);
        let cells = support::shaded_cells();
        let cell = cells[random.below(cells.len())];
        let units = 1 + random.below(40);
        let observed = random.below(2) == 0;
        let forced = observed && random.below(2) == 0 && cell.shape().states == 1;
        let probabilities = random.below(3) == 0;
        let readout = [
            Readout::Linear,
            Readout::LinearWithoutBias,
            Readout::Identity,
        ][random.below(3)];
        // A square readout is the one that chance can bring close to a singular one.
        let mut outputs = 1 + random.below(units.min(6));
        if outputs == units && readout != Readout::Identity {
            outputs = units + 2;
        }
        let sizes = [random.below(6), units, 1 + random.below(50), outputs];
        let a = architecture(cell, readout, sizes);
        let (batch, steps) = (1 + random.below(45), 1 + random.below(12));
        let masked = random.below(2) == 0;
        let trials: Vec<Trials> = (0..1 + random.below(3) as u64)
            .map(|k| trials(&a, batch, steps, masked, observed, probabilities, case + k))
            .collect();
        let objective = Objective {
            loss: if probabilities {
                Loss::CrossEntropy
            } else {
                Loss::MeanSquaredError
            },
            forcing: forced.then(|| forcing(case)),
        };
        let networks = 1 + random.below(3);
        compare(&mut gpu, &a, &objective, networks, &trials, &mut worst);
    }
    println!("worst: {worst:?}");
}

/// Without a bias, which takes the gated unit's recurrent bias out of training too, and with a fixed leak.
#[test]
fn networks_without_bias_agree() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let mut worst = Worst::default();
    for (inputs, cell) in [
        (0, CellKind::LeakyCurrentRelu),
        (2, CellKind::LeakyCurrentRelu),
        (2, CellKind::Gru),
    ] {
        let mut a = architecture(cell, Readout::LinearWithoutBias, [inputs, 6, 0, 2]);
        a.bias = false;
        a.train_leak = false;
        let trials = [trials(&a, 3, 5, false, false, false, 5)];
        compare(
            &mut gpu,
            &a,
            &plain(Loss::MeanSquaredError),
            2,
            &trials,
            &mut worst,
        );
    }
    println!("worst: {worst:?}");
}

/// Jobs of different shapes in one call come back in their order.
#[test]
fn jobs_of_different_shapes_agree() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let mut worst = Worst::default();
    let a = architecture(CellKind::VanillaTanh, Readout::Linear, [2, 5, 0, 3]);
    let trials = [
        trials(&a, 3, 5, false, false, false, 5),
        trials(&a, 7, 4, true, false, false, 6),
        trials(&a, 3, 5, true, true, false, 7),
    ];
    compare(
        &mut gpu,
        &a,
        &plain(Loss::MeanSquaredError),
        7,
        &trials,
        &mut worst,
    );
}

/// A sum over steps and loops that would run into lavapipe's 65,535 iterations if time were not cut: 3,000 steps
/// of 64 units are 3,000 x (1 + 16 + 2) iterations forwards and more backwards, 30,000 steps far more. A kernel
/// that ended early would leave states of zero.
#[test]
fn long_trials_are_cut_into_chunks() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let mut worst = Worst::default();
    let a = architecture(CellKind::LeakyRateTanh, Readout::Linear, [1, 64, 0, 1]);
    let long = [trials(&a, 1, 9000, false, false, false, 5)];
    compare(
        &mut gpu,
        &a,
        &plain(Loss::MeanSquaredError),
        1,
        &long,
        &mut worst,
    );
    let a = architecture(CellKind::LeakyRateTanh, Readout::Linear, [1, 2, 0, 1]);
    let longer = [trials(&a, 1, 70_000, false, false, false, 5)];
    compare(
        &mut gpu,
        &a,
        &plain(Loss::MeanSquaredError),
        1,
        &longer,
        &mut worst,
    );
    println!("worst: {worst:?}");
}

/// Where operands and weights lie changes nothing, not a bit: the sums are the same.
#[test]
fn placement_changes_no_bit() {
    let _turn = turn();
    let Some(mut reference) = engine() else {
        return;
    };
    for cell in [
        CellKind::LeakyRateTanh,
        CellKind::Gru,
        CellKind::ClippedShallowPlrnn,
    ] {
        let a = architecture(cell, Readout::Linear, [2, 21, 13, 3]);
        let trials = trials(&a, 11, 6, false, true, false, 5);
        let parameters = parameters(&a, 3);
        let jobs = [Job {
            parameters: &parameters,
            trials: &trials,
        }];
        let objective = Objective {
            loss: Loss::MeanSquaredError,
            forcing: Some(Forcing::generalized(0.2)),
        };
        let want = reference.gradients(&a, &objective, &jobs).unwrap();
        for workgroup_bytes in [1024, 4096] {
            let Some(mut gpu) = engine() else { return };
            gpu.restrict(Restriction {
                workgroup_bytes: Some(workgroup_bytes),
                ..Restriction::default()
            });
            let got = gpu.gradients(&a, &objective, &jobs).unwrap();
            assert_eq!(want, got, "{cell:?}, {workgroup_bytes} bytes");
        }
    }
}

/// The counting of iterations holds for every way to cut a step: shapes whose loops are short (where the turn that
/// finds a loop's end weighs most), whose blocks are many for a thread, with hidden layers and forcing, each with
/// steps enough for several chunks. A kernel that a driver ended early would leave states as they were.
#[test]
fn the_budget_of_iterations_is_kept_by_every_kernel() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let mut worst = Worst::default();
    for (cell, sizes, batch, steps, forcing) in [
        (CellKind::LeakyRateTanh, [1, 1, 0, 1], 1, 12_000, None),
        (CellKind::Lstm, [0, 40, 0, 2], 20, 800, None),
        (
            CellKind::ClippedShallowPlrnn,
            [0, 5, 60, 3],
            3,
            4000,
            Some(0.3),
        ),
    ] {
        let a = architecture(cell, Readout::Linear, sizes);
        let observed = forcing.is_some();
        let trials = [trials(&a, batch, steps, false, observed, false, 5)];
        let objective = Objective {
            loss: Loss::MeanSquaredError,
            forcing: forcing.map(Forcing::generalized),
        };
        compare(&mut gpu, &a, &objective, 1, &trials, &mut worst);
    }
    println!("worst: {worst:?}");
}

/// The tiles that a card of any size would be given, from one quad of trials and one unit for a thread to eight
/// quads and four units, agree with the CPU and with each other to the bit.
#[test]
fn tiles_change_no_bit() {
    let _turn = turn();
    let mut worst = Worst::default();
    for (cell, units, batch) in [
        (CellKind::LeakyRateTanh, 64, 64),
        (CellKind::LeakyCurrentTanh, 37, 30),
        (CellKind::Lstm, 33, 50),
        (CellKind::ClippedShallowPlrnn, 18, 41),
    ] {
        let a = architecture(cell, Readout::Linear, [3, units, 70, 2]);
        let trials = trials(&a, batch, 3, true, false, false, 5);
        let parameters = parameters(&a, 3);
        let jobs = [Job {
            parameters: &parameters,
            trials: &trials,
        }];
        let objective = plain(Loss::MeanSquaredError);
        let want = CpuEngine::new().gradients(&a, &objective, &jobs).unwrap();
        let mut first = None;
        for busy in [1, 6, 1000] {
            let Some(mut gpu) = engine() else { return };
            gpu.restrict(Restriction {
                busy: Some(busy),
                // One of the tilings compiled as hardware has it.
                unchecked: busy == 1 && cell == CellKind::LeakyCurrentTanh,
                two_phase: true,
                ..Restriction::default()
            });
            let got = gpu.gradients(&a, &objective, &jobs).unwrap();
            let error = gradient_error(&a, &want[0].gradient, &got[0].gradient);
            assert!(error < GRADIENTS, "{cell:?} {busy}: {error}");
            worst.gradient = worst.gradient.max(error);
            let first = first.get_or_insert(got.clone());
            if on_software() {
                assert!(*first == got, "{cell:?} {busy}");
            } else {
                // A compiler may fuse a multiplication and an addition in one kernel and not in another.
                let difference = gradient_error(&a, &first[0].gradient, &got[0].gradient);
                assert!(difference < 1e-5, "{cell:?} {busy}: {difference}");
            }
        }
    }
    println!("worst: {worst:?}");
}

/// Wide networks in whole tiles, whose threads have eight units each, one gate and several.
#[test]
fn eight_units_a_thread_agree() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    gpu.restrict(Restriction {
        busy: Some(1),
        ..Restriction::default()
    });
    let mut worst = Worst::default();
    for cell in [CellKind::LeakyRateTanh, CellKind::Gru] {
        let a = architecture(cell, Readout::Linear, [2, 256, 0, 2]);
        let trials = [trials(&a, 32, 2, false, false, false, 5)];
        compare(
            &mut gpu,
            &a,
            &plain(Loss::MeanSquaredError),
            1,
            &trials,
            &mut worst,
        );
    }
    println!("worst: {worst:?}");
}

/// Gradients that the backward sweep gathers in registers agree with the CPU and with those of the products that
/// follow it otherwise: whole and part tiles, padded units, no inputs and as many as are gathered, no bias, steps in
/// several dispatches.
#[test]
fn gathered_gradients_agree() {
    let _turn = turn();
    let mut worst = Worst::default();
    for (k, (cell, units, inputs, bias, batch)) in [
        (CellKind::LeakyRateTanh, 60, 3, true, 64),
        (CellKind::LeakyCurrentRelu, 57, 0, true, 41),
        (CellKind::VanillaTanh, 17, 7, true, 33),
        (CellKind::LeakyCurrentTanh, 32, 0, false, 130),
        (CellKind::VanillaRelu, 46, 8, false, 25),
    ]
    .into_iter()
    .enumerate()
    {
        let mut a = architecture(cell, Readout::Linear, [inputs, units, 0, 2]);
        a.bias = bias;
        let observed = k == 1;
        let trials = trials(&a, batch, 5, true, observed, false, 5);
        let parameters: Vec<Vec<f32>> = (1..4).map(|seed| parameters(&a, seed)).collect();
        let jobs: Vec<Job> = parameters
            .iter()
            .map(|parameters| Job {
                parameters,
                trials: &trials,
            })
            .collect();
        let objective = Objective {
            forcing: observed.then_some(Forcing::generalized(0.3)),
            ..plain(Loss::MeanSquaredError)
        };
        let want = CpuEngine::new().gradients(&a, &objective, &jobs).unwrap();
        let mut seen = Vec::new();
        for (two_phase, dispatch_work) in [(false, None), (false, Some(1)), (true, None)] {
            let Some(mut gpu) = engine() else { return };
            gpu.restrict(Restriction {
                busy: Some(1),
                two_phase,
                dispatch_work,
                ..Restriction::default()
            });
            let has_clock = gpu.watch();
            let got = gpu.gradients(&a, &objective, &jobs).unwrap();
            let kernels = gpu.times();
            assert!(!has_clock || kernels.contains_key("recurrent_gradient") == two_phase);
            for (want, got) in want.iter().zip(&got) {
                let error = gradient_error(&a, &want.gradient, &got.gradient);
                assert!(error < GRADIENTS, "{cell:?} {two_phase}: {error}");
                worst.gradient = worst.gradient.max(error);
            }
            seen.push(got);
        }
        assert!(seen[0] == seen[1], "{cell:?} in small dispatches");
    }
    println!("worst: {worst:?}");
}
