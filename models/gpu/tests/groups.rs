//! Groups, memory that runs out, and repeated runs.

mod support;

use nullcline_gpu::{GpuEngine, Restriction};
use nullcline_models::architecture::{CellKind, Readout};
use nullcline_models::engine::{CpuEngine, Engine, Gradient, Job, Objective, Response};
use nullcline_tasks::{Loss, Trials};
use support::{architecture, engine, gradient_error, parameters, trials, turn};

const OBJECTIVE: Objective = Objective {
    loss: Loss::MeanSquaredError,
    forcing: None,
};

/// An engine on a device that was opened elsewhere with nothing but WebGPU's default limits, as a window may do, and
/// that device.
fn shared() -> Option<(GpuEngine, wgpu::Device, wgpu::Queue)> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    let instance = wgpu::Instance::new(descriptor);
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));
    let Some(adapter) = adapters.into_iter().next() else {
        println!("skipped: there is no Vulkan, Metal or DirectX 12 device, software ones included");
        return None;
    };
    let (device, queue) =
        pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let engine = GpuEngine::from_device(&adapter, device.clone(), queue.clone());
    Some((engine, device, queue))
}

#[test]
fn a_shared_device_with_default_limits_agrees() {
    let _turn = turn();
    let Some((mut gpu, ..)) = shared() else {
        return;
    };
    let a = architecture(CellKind::Lstm, Readout::Linear, [2, 64, 0, 3]);
    let trials = trials(&a, 33, 6, true, false, false, 1);
    let parameters = parameters(&a, 1);
    let jobs = [Job {
        parameters: &parameters,
        trials: &trials,
    }];
    let want = CpuEngine::new().gradients(&a, &OBJECTIVE, &jobs).unwrap();
    let got = gpu.gradients(&a, &OBJECTIVE, &jobs).unwrap();
    let error = gradient_error(&a, &want[0].gradient, &got[0].gradient);
    assert!(error < 1e-4, "{error}");
}

/// A device that goes away between two calls, as with a driver's update, is an error of the second and of every one
/// after it.
#[test]
fn a_lost_device_is_an_error() {
    let _turn = turn();
    let Some((mut gpu, device, _)) = shared() else {
        return;
    };
    let a = architecture(CellKind::LeakyRateTanh, Readout::Linear, [2, 10, 0, 3]);
    let trials = trials(&a, 6, 8, false, false, false, 1);
    let parameters = parameters(&a, 1);
    let jobs = [Job {
        parameters: &parameters,
        trials: &trials,
    }];
    gpu.gradients(&a, &OBJECTIVE, &jobs).unwrap();
    device.destroy();
    for _ in 0..2 {
        let error = gpu.gradients(&a, &OBJECTIVE, &jobs).unwrap_err();
        assert!(error.to_string().contains("use the cpu"), "{error}");
    }
}

/// Another thread that submits and polls on the shared device, as a window does, takes calls that are meant for the
/// engine, and changes no bit.
#[test]
fn another_thread_may_use_a_shared_device() {
    let _turn = turn();
    let Some((mut gpu, device, queue)) = shared() else {
        return;
    };
    let a = architecture(CellKind::LeakyRateTanh, Readout::Linear, [2, 10, 0, 3]);
    let trials = trials(&a, 6, 8, false, false, false, 1);
    let parameters = parameters(&a, 1);
    let jobs = [Job {
        parameters: &parameters,
        trials: &trials,
    }];
    let want = gpu.evaluate(&a, &OBJECTIVE, &jobs).unwrap();
    // The other thread ends with this one's channel, also where an assertion fails.
    let (go_on, ended) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                queue.submit([]);
                device.poll(wgpu::PollType::Poll).unwrap();
            }
        });
        let _go_on = go_on;
        for _ in 0..200 {
            assert!(gpu.evaluate(&a, &OBJECTIVE, &jobs).unwrap() == want);
        }
    });
}

/// Gradients and responses of 23 networks with trials of their own, on a device with these limits.
fn run(limits: Option<(Option<u64>, Option<u64>)>) -> Option<(Vec<Gradient>, Vec<Response>)> {
    let mut gpu = engine()?;
    if let Some((binding, memory)) = limits {
        gpu.restrict(Restriction {
            binding_bytes: binding,
            memory_bytes: memory,
            ..Restriction::default()
        });
    }
    Some(run_on(&mut gpu))
}

fn run_on(gpu: &mut GpuEngine) -> (Vec<Gradient>, Vec<Response>) {
    let a = architecture(CellKind::LeakyRateTanh, Readout::Linear, [2, 10, 0, 3]);
    let trials: Vec<Trials> = (0..23)
        .map(|k| trials(&a, 6, 8, false, false, false, k))
        .collect();
    let parameters: Vec<Vec<f32>> = (0..23).map(|k| parameters(&a, k)).collect();
    let jobs: Vec<Job> = parameters
        .iter()
        .zip(&trials)
        .map(|(parameters, trials)| Job { parameters, trials })
        .collect();
    (
        gpu.gradients(&a, &OBJECTIVE, &jobs).unwrap(),
        gpu.respond(&a, &OBJECTIVE, &jobs).unwrap(),
    )
}

#[test]
fn groups_give_the_same_bits_as_one() {
    let _turn = turn();
    let Some(want) = run(None) else { return };
    // History of one network: (9 x 10 + 8 x 10 + 8 x 3 + 20) rows of 8 trials, 6.8 kB: groups of four.
    for binding in [28_000, 7_000] {
        assert!(
            run(Some((Some(binding), None))) == Some(want.clone()),
            "{binding} bytes"
        );
    }
}

#[test]
fn when_memory_runs_out_smaller_groups_go_through() {
    let _turn = turn();
    let Some(want) = run(None) else { return };
    for memory in [100_000, 30_000] {
        assert!(
            run(Some((None, Some(memory)))) == Some(want.clone()),
            "{memory} bytes"
        );
    }
}

#[test]
fn a_network_without_room_is_an_error() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    let a = architecture(CellKind::LeakyRateTanh, Readout::Linear, [2, 10, 0, 3]);
    let trials = trials(&a, 6, 8, false, false, false, 1);
    let parameters = parameters(&a, 1);
    let jobs = [Job {
        parameters: &parameters,
        trials: &trials,
    }];
    gpu.restrict(Restriction {
        memory_bytes: Some(1000),
        ..Restriction::default()
    });
    let error = gpu.gradients(&a, &OBJECTIVE, &jobs).unwrap_err();
    assert!(
        error.to_string().contains("no memory for one network"),
        "{error}"
    );
    gpu.restrict(Restriction {
        binding_bytes: Some(1000),
        ..Restriction::default()
    });
    let error = gpu.gradients(&a, &OBJECTIVE, &jobs).unwrap_err();
    assert!(error.to_string().contains("smaller batch"), "{error}");
}

#[test]
fn repeated_runs_are_equal_bit_for_bit() {
    let _turn = turn();
    let Some(want) = run(None) else { return };
    for _ in 0..2 {
        assert!(run(None) == Some(want.clone()));
    }
}

/// Dispatches cut by steps, slices, blocks and networks give the bits of whole ones: nothing depends on how much a
/// device does at a time.
#[test]
fn small_dispatches_change_no_bit() {
    let _turn = turn();
    let Some(want) = run(None) else { return };
    for work in [1, 100_000] {
        let Some(mut gpu) = engine() else { return };
        gpu.restrict(Restriction {
            dispatch_work: Some(work),
            ..Restriction::default()
        });
        assert!(run_on(&mut gpu) == want, "{work} multiplications");
    }
}

/// An evaluation is a response without its states.
#[test]
fn evaluations_are_responses() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    for (cell, batch, observed) in [
        (CellKind::Lstm, 5, false),
        (CellKind::LeakyCurrentTanh, 37, true),
    ] {
        let a = architecture(cell, Readout::Linear, [2, 10, 0, 3]);
        let trials = [
            trials(&a, batch, 8, true, observed, false, 1),
            trials(&a, batch + 1, 3, false, observed, false, 2),
        ];
        let parameters = parameters(&a, 1);
        let jobs: Vec<Job> = [0, 1, 0]
            .iter()
            .map(|&k| Job {
                parameters: &parameters,
                trials: &trials[k],
            })
            .collect();
        let want = gpu.respond(&a, &OBJECTIVE, &jobs).unwrap();
        let got = gpu.evaluate(&a, &OBJECTIVE, &jobs).unwrap();
        assert_eq!(want.len(), got.len());
        for (want, got) in want.iter().zip(&got) {
            assert_eq!(want.loss.to_bits(), got.loss.to_bits());
            assert!(want.outputs == got.outputs);
        }
    }
}

/// Network k of an ensemble has the bits that it has alone, although an ensemble is cut into other tiles.
#[test]
fn a_network_does_not_depend_on_its_company() {
    let _turn = turn();
    let (Some(mut gpu), Some(mut other)) = (engine(), engine()) else {
        return;
    };
    let a = architecture(CellKind::Gru, Readout::Linear, [2, 12, 0, 3]);
    let trials = trials(&a, 40, 7, false, false, false, 1);
    let parameters: Vec<Vec<f32>> = (0..9).map(|k| parameters(&a, k)).collect();
    let jobs: Vec<Job> = parameters
        .iter()
        .map(|parameters| Job {
            parameters,
            trials: &trials,
        })
        .collect();
    let all = gpu.gradients(&a, &OBJECTIVE, &jobs).unwrap();
    for (job, want) in jobs.iter().zip(&all).step_by(4) {
        // An engine keeps the tiles that it began with; the other begins with one network.
        for gpu in [&mut other, &mut gpu] {
            let alone = gpu
                .gradients(&a, &OBJECTIVE, std::slice::from_ref(job))
                .unwrap();
            assert!(alone[0] == *want);
        }
    }
}

#[test]
fn what_is_not_finite_is_seen() {
    let _turn = turn();
    let Some(mut gpu) = engine() else { return };
    for cell in [CellKind::VanillaRelu, CellKind::VanillaTanh] {
        let a = architecture(cell, Readout::Linear, [2, 6, 0, 3]);
        let trials = trials(&a, 3, 60, false, false, false, 1);
        let mut parameters = parameters(&a, 1);
        for value in &mut parameters[a.layout().recurrent] {
            *value = if cell == CellKind::VanillaRelu {
                50.0
            } else {
                f32::NAN
            };
        }
        let jobs = [Job {
            parameters: &parameters,
            trials: &trials,
        }];
        let gradient = gpu.gradients(&a, &OBJECTIVE, &jobs).unwrap();
        assert!(!gradient[0].loss.is_finite(), "{cell:?}");
    }
}
