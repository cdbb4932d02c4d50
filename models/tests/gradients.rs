//! The CPU engine's losses, states and gradients against an independent evaluation in f64: the network's own
//! step for the forward pass, central differences for the gradient.

use ndarray::{Array2, Array3};
use nullcline_data::random::{Random, Stream};
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::cells::Layer;
use nullcline_models::engine::{CpuEngine, Engine, Forcing, Job, Objective};
use nullcline_models::network::Network;
use nullcline_models::simd::Instructions;
use nullcline_tasks::{Loss, Trials};

fn trials(
    a: &Architecture,
    batch: usize,
    steps: usize,
    loss: Loss,
    observed: bool,
    masked: bool,
) -> Trials {
    let mut random = Random::new(7, Stream::TRIALS, (batch * 1000 + steps) as u64);
    let mut targets =
        Array3::from_shape_simple_fn((batch, steps, a.outputs), || random.uniform_f32() - 0.5);
    if loss == Loss::CrossEntropy {
        for mut row in targets.rows_mut() {
            row.mapv_inplace(|x| x + 0.6);
            let sum = row.sum();
            row.mapv_inplace(|x| x / sum);
        }
    }
    Trials {
        inputs: Array3::from_shape_simple_fn((batch, steps, a.inputs), || {
            2.0 * random.uniform_f32() - 1.0
        }),
        targets,
        mask: masked.then(|| Array2::from_shape_simple_fn((batch, steps), || random.uniform_f32())),
        initial: observed.then(|| {
            Array2::from_shape_simple_fn((batch, a.outputs), || random.uniform_f32() - 0.5)
        }),
    }
}

fn parameters(a: &Architecture, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed, Stream::WEIGHTS, 0);
    // Wide networks would be chaotic, and finite differences through chaos mean nothing.
    let sd = 0.4 * (16.0 / a.units.max(16) as f64).sqrt();
    let mut p: Vec<f32> = (0..a.parameter_count())
        .map(|_| (random.standard_normal() * sd) as f32)
        .collect();
    if let Some(leak) = a.tensor("leak") {
        p[leak.range]
            .iter_mut()
            .for_each(|x| *x = 0.2 + 0.6 * random.uniform_f32());
    }
    // A readout far from losing its rank, or finite differences through its inverse mean nothing.
    if let Some(readout) = a.tensor("readout") {
        for (k, x) in p[readout.range].iter_mut().enumerate() {
            if k / a.units == k % a.units {
                *x += 1.5;
            }
        }
    }
    p
}

/// The loss in f64, straight from the definitions, and the states of every trial.
fn reference(
    a: &Architecture,
    objective: &Objective,
    p: &[f64],
    trials: &Trials,
) -> (f64, Vec<Vec<f64>>) {
    let network = Network::from_f64(a.clone(), p.to_vec());
    let (batch, steps) = (trials.batch(), trials.steps());
    let (mut sum, mut weight_sum) = (0.0, 0.0);
    let mut states = Vec::new();
    let row = |x: ndarray::ArrayView1<f32>| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    for b in 0..batch {
        let mut state = match &trials.initial {
            Some(initial) => network.state_from_observation(&row(initial.row(b))),
            None => vec![0.0; a.state_dim()],
        };
        for t in 0..steps {
            if let (Some(forcing), true) = (objective.forcing, trials.initial.is_some()) {
                force(a, forcing, &network, &trials.targets, b, t, &mut state);
            }
            let mut next = vec![0.0; a.state_dim()];
            network.step(
                &state,
                &row(trials.inputs.slice(ndarray::s![b, t, ..])),
                &mut next,
            );
            state = next;
            let y = network.readout(&state);
            let target = row(trials.targets.slice(ndarray::s![b, t, ..]));
            let w = trials.mask.as_ref().map_or(1.0, |m| f64::from(m[[b, t]]));
            weight_sum += w;
            sum += w * match objective.loss {
                Loss::MeanSquaredError => {
                    y.iter()
                        .zip(&target)
                        .map(|(y, t)| (y - t) * (y - t))
                        .sum::<f64>()
                        / a.outputs as f64
                }
                Loss::CrossEntropy => {
                    let log_total = y.iter().map(|y| y.exp()).sum::<f64>().ln();
                    -y.iter()
                        .zip(&target)
                        .map(|(y, t)| t * (y - log_total))
                        .sum::<f64>()
                }
            };
            states.push(state.clone());
        }
    }
    (sum / weight_sum, states)
}

/// Forces the state before step `t` of trial `b` to the data of the step before, whose states `inferring` knows.
fn force(
    a: &Architecture,
    forcing: Forcing,
    inferring: &Network,
    targets: &Array3<f32>,
    b: usize,
    t: usize,
    state: &mut [f64],
) {
    if t == 0 || !t.is_multiple_of(forcing.interval) {
        return;
    }
    let observation = targets.slice(ndarray::s![b, t - 1, ..]).mapv(f64::from);
    let data = inferring.state_from_observation(&observation.to_vec());
    let implied = if a.readout == Readout::Identity {
        a.outputs
    } else {
        a.units
    };
    let alpha = f64::from(forcing.alpha);
    for i in 0..implied.min(forcing.units.unwrap_or(implied)) {
        state[i] = (1.0 - alpha) * state[i] + alpha * data[i];
    }
}

/// The forcing data are constants in the gradient, so their dependence on the readout is held fixed: the
/// loss with the forcing states of `base`.
fn reference_with_fixed_forcing(
    a: &Architecture,
    objective: &Objective,
    p: &[f64],
    base: &[f64],
    trials: &Trials,
) -> f64 {
    let network = Network::from_f64(a.clone(), p.to_vec());
    let inferring = Network::from_f64(a.clone(), base.to_vec());
    let row = |x: ndarray::ArrayView1<f32>| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let (mut sum, mut weight_sum) = (0.0, 0.0);
    let forcing = objective.forcing.unwrap();
    for b in 0..trials.batch() {
        let mut state =
            network.state_from_observation(&row(trials.initial.as_ref().unwrap().row(b)));
        for t in 0..trials.steps() {
            force(a, forcing, &inferring, &trials.targets, b, t, &mut state);
            let mut next = vec![0.0; a.state_dim()];
            network.step(
                &state,
                &row(trials.inputs.slice(ndarray::s![b, t, ..])),
                &mut next,
            );
            state = next;
            let w = trials.mask.as_ref().map_or(1.0, |m| f64::from(m[[b, t]]));
            weight_sum += w;
            let target = row(trials.targets.slice(ndarray::s![b, t, ..]));
            let errors = network
                .readout(&state)
                .iter()
                .zip(&target)
                .map(|(y, t)| (y - t) * (y - t))
                .sum::<f64>();
            sum += w * errors / a.outputs as f64;
        }
    }
    sum / weight_sum
}

struct Case {
    architecture: Architecture,
    objective: Objective,
    trials: Trials,
}

fn check(case: &Case, instructions: Instructions) {
    let a = &case.architecture;
    let p32 = parameters(a, 3);
    let p: Vec<f64> = p32.iter().map(|&x| f64::from(x)).collect();
    let mut engine = CpuEngine::with_instructions(instructions);
    let job = Job {
        parameters: &p32,
        trials: &case.trials,
    };
    let got = engine
        .gradients(a, &case.objective, &[job])
        .unwrap()
        .remove(0);
    let response = engine.respond_one(a, &case.objective, &job).unwrap();
    let evaluated = engine.evaluate(a, &case.objective, &[job]).unwrap();
    assert_eq!(evaluated, [response.clone().into()]);
    let name = format!(
        "{} {:?} {:?} {instructions:?}",
        a.cell.name(),
        a.readout,
        case.objective
    );

    let (loss, states) = reference(a, &case.objective, &p, &case.trials);
    assert!(
        (got.loss - loss).abs() < 2e-6 * (1.0 + loss),
        "{name}: loss {} and {loss}",
        got.loss
    );
    assert!(
        (response.loss - loss).abs() < 2e-6 * (1.0 + loss),
        "{name}: response's loss"
    );
    // The loss as an analysis has it.
    let network = Network::from_f64(a.clone(), p.clone());
    let outputs: Vec<f64> = states.iter().flat_map(|x| network.readout(x)).collect();
    let outputs = Array3::from_shape_vec(case.trials.targets.dim(), outputs).unwrap();
    let mean = case.objective.loss.mean(outputs.view(), &case.trials);
    assert!(
        (mean - loss).abs() < 1e-12 * (1.0 + loss),
        "{name}: loss in f64 {mean} and {loss}"
    );
    for (k, state) in states.iter().enumerate() {
        let (b, t) = (k / case.trials.steps(), k % case.trials.steps());
        for (i, want) in state.iter().enumerate() {
            let got = f64::from(response.states[[b, t + 1, i]]);
            assert!(
                (got - want).abs() < 1e-5 * (1.0 + want.abs()),
                "{name}: state {got} and {want}"
            );
        }
    }

    let scale = got.gradient.iter().fold(0.0f32, |m, g| m.max(g.abs()));
    let evaluate = |q: &[f64]| match case.objective.forcing {
        Some(_) => reference_with_fixed_forcing(a, &case.objective, q, &p, &case.trials),
        None => reference(a, &case.objective, q, &case.trials).0,
    };
    // All parameters of small networks, some hundreds of large ones.
    for k in (0..p.len()).step_by(1 + p.len() / 800) {
        // So small that the kinks of rectified units hardly ever lie between the two.
        let h = 1e-7;
        let mut q = p.clone();
        q[k] = p[k] + h;
        let up = evaluate(&q);
        q[k] = p[k] - h;
        let down = evaluate(&q);
        let want = (up - down) / (2.0 * h);
        let difference = (f64::from(got.gradient[k]) - want).abs();
        assert!(
            difference < 1e-4 * f64::from(scale) + 1e-7,
            "{name}: parameter {k} of {:?}: engine {}, finite difference {want}",
            a.tensors()
                .iter()
                .find(|t| t.range.contains(&k))
                .map(|t| &t.name),
            got.gradient[k],
        );
    }
}

fn architecture(cell: CellKind, units: usize, outputs: usize, readout: Readout) -> Architecture {
    Architecture {
        cell,
        inputs: 2,
        units,
        hidden: match cell.shape().layer {
            Layer::Hidden => 19,
            // Basis functions.
            Layer::Bases => 3,
            _ => 0,
        },
        outputs,
        bias: true,
        readout,
        train_leak: true,
    }
}

#[test]
fn back_propagation_through_time_matches_finite_differences_for_every_cell() {
    for &cell in CellKind::ALL {
        for (loss, masked) in [(Loss::MeanSquaredError, true), (Loss::CrossEntropy, false)] {
            let a = architecture(cell, 5, 3, Readout::Linear);
            let trials = trials(&a, 37, 4, loss, false, masked);
            let case = Case {
                architecture: a,
                objective: Objective {
                    loss,
                    forcing: None,
                },
                trials,
            };
            check(&case, Instructions::detect());
        }
    }
}

#[test]
fn teacher_forcing_matches_finite_differences_for_every_cell_with_one_state() {
    for &cell in CellKind::ALL.iter().filter(|cell| cell.shape().states == 1) {
        for (units, outputs, readout) in [
            (4, 3, Readout::Identity),
            (4, 4, Readout::LinearWithoutBias),
            (3, 5, Readout::LinearWithoutBias),
            (5, 3, Readout::Linear),
        ] {
            let generalized = Forcing::generalized(0.3);
            let partial = Forcing {
                units: Some(2),
                ..generalized
            };
            for forcing in [generalized, partial, Forcing::sparse(2)] {
                let a = architecture(cell, units, outputs, readout);
                let objective = Objective {
                    loss: Loss::MeanSquaredError,
                    forcing: Some(forcing),
                };
                let trials = trials(&a, 18, 5, objective.loss, true, true);
                check(
                    &Case {
                        architecture: a,
                        objective,
                        trials,
                    },
                    Instructions::detect(),
                );
            }
        }
    }
}

#[test]
fn every_instruction_set_and_odd_shape_agrees() {
    for &instructions in Instructions::available() {
        for (batch, steps, units) in [(1, 1, 1), (16, 2, 16), (33, 3, 17), (70, 1, 8)] {
            let a = architecture(CellKind::LeakyRateTanh, units, 2, Readout::Linear);
            let objective = Objective {
                loss: Loss::MeanSquaredError,
                forcing: None,
            };
            let trials = trials(&a, batch, steps, objective.loss, false, false);
            check(
                &Case {
                    architecture: a,
                    objective,
                    trials,
                },
                instructions,
            );
        }
    }
}

/// The gradients of the weights are gathered over blocks of up to eight steps: whole blocks, parts of one, blocks
/// of a single step (more than 128 rows); and more inputs than are treated lane by lane.
#[test]
fn blocks_of_steps_and_many_inputs_match_finite_differences() {
    for (cell, units, inputs, batch, steps, forcing) in [
        (CellKind::LeakyRateTanh, 5, 2, 3, 8, None),
        (CellKind::LeakyCurrentTanh, 5, 9, 20, 9, None),
        (CellKind::VanillaTanh, 4, 17, 3, 16, None),
        (CellKind::Gru, 5, 9, 17, 19, None),
        (CellKind::Gru, 40, 1, 2, 5, None),
        (CellKind::Lstm, 35, 8, 2, 5, None),
        (CellKind::LeakyRateTanh, 130, 3, 2, 6, None),
        (CellKind::ClippedShallowPlrnn, 5, 9, 18, 19, Some(0.3)),
        (CellKind::MeanCentredPlrnn, 37, 9, 18, 11, Some(0.3)),
        (CellKind::DendriticPlrnn, 17, 2, 3, 9, Some(0.3)),
        (CellKind::AlmostLinearRnn, 70, 3, 2, 5, None),
        (CellKind::VanillaTanh, 70, 20, 2, 4, Some(0.3)),
    ] {
        let mut a = architecture(cell, units, 3, Readout::Linear);
        a.inputs = inputs;
        let objective = Objective {
            loss: Loss::MeanSquaredError,
            forcing: forcing.map(Forcing::generalized),
        };
        let trials = trials(&a, batch, steps, objective.loss, forcing.is_some(), true);
        check(
            &Case {
                architecture: a,
                objective,
                trials,
            },
            Instructions::detect(),
        );
    }
}

/// Buffers go from shard to shard as they are left: what an earlier network wrote, not even numbers, must not be
/// seen by the next, whatever its cell, batch and forcing.
#[test]
fn what_was_left_in_a_buffer_is_never_read() {
    let mut engine = CpuEngine::new();
    let gradients = |engine: &mut CpuEngine, case: &Case, p: &[f32]| {
        let job = Job {
            parameters: p,
            trials: &case.trials,
        };
        let gradient = engine.gradients(&case.architecture, &case.objective, &[job]);
        let response = engine.respond_one(&case.architecture, &case.objective, &job);
        (gradient.unwrap(), response.unwrap())
    };
    let case = |cell: CellKind, batch, steps, inputs, forcing: Option<Forcing>| {
        let mut a = architecture(cell, 6, 3, Readout::Linear);
        a.inputs = inputs;
        let objective = Objective {
            loss: Loss::MeanSquaredError,
            forcing,
        };
        Case {
            trials: trials(&a, batch, steps, objective.loss, forcing.is_some(), true),
            architecture: a,
            objective,
        }
    };
    for &cell in CellKind::ALL {
        let one_state = cell.shape().states == 1;
        for (batch, inputs, forced) in [(40, 12, false), (7, 2, true), (33, 0, false)] {
            for &dirty in [CellKind::Lstm, CellKind::ShallowPlrnn].iter() {
                let large = case(dirty, 70, 23, 13, None);
                let nothing = vec![f32::NAN; large.architecture.parameter_count()];
                gradients(&mut engine, &large, &nothing);
            }
            let forcing = (forced && one_state).then_some(Forcing::generalized(0.4));
            let small = case(cell, batch, 11, inputs, forcing);
            let p = parameters(&small.architecture, 5);
            let (gradient, response) = gradients(&mut engine, &small, &p);
            assert!(gradient[0].gradient.iter().all(|g| g.is_finite()));
            let fresh = gradients(&mut CpuEngine::new(), &small, &p);
            assert_eq!((gradient, response), fresh, "{}", cell.name());
        }
    }
}

#[test]
fn no_inputs_and_no_bias_are_possible() {
    let mut a = architecture(CellKind::VanillaRelu, 6, 2, Readout::LinearWithoutBias);
    a.inputs = 0;
    a.bias = false;
    let objective = Objective {
        loss: Loss::MeanSquaredError,
        forcing: None,
    };
    let trials = trials(&a, 5, 3, objective.loss, true, false);
    check(
        &Case {
            architecture: a,
            objective,
            trials,
        },
        Instructions::detect(),
    );
}

#[test]
fn threads_do_not_change_a_bit() {
    let a = architecture(CellKind::Gru, 9, 3, Readout::Linear);
    let objective = Objective {
        loss: Loss::MeanSquaredError,
        forcing: None,
    };
    let trials = trials(&a, 150, 6, objective.loss, false, false);
    let p = [parameters(&a, 1), parameters(&a, 2)];
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let jobs: Vec<Job> = p
                .iter()
                .map(|p| Job {
                    parameters: p,
                    trials: &trials,
                })
                .collect();
            CpuEngine::new().gradients(&a, &objective, &jobs).unwrap()
        })
    };
    let one = run(1);
    assert!(one[0].gradient.iter().any(|g| *g != 0.0) && one[0] != one[1]);
    for threads in [2, 3, 7] {
        assert_eq!(run(threads), one);
    }
}
