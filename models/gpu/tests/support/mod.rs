//! A device for the tests, and random networks and trials.
#![allow(dead_code)]

use ndarray::{Array2, Array3};
use nullcline_data::random::{Random, Stream};
use nullcline_gpu::{GpuEngine, Request, adapters};
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_tasks::Trials;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by a test while it works: a software device uses every core by itself, and two that share them are
/// several times slower than one after the other.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The best device there is, software included; without any, says so and gives none.
pub fn engine() -> Option<GpuEngine> {
    if let Ok(engine) = GpuEngine::open(Request::Best) {
        return Some(engine);
    }
    let Some(software) = adapters().into_iter().next() else {
        println!("skipped: there is no Vulkan, Metal or DirectX 12 device, software ones included");
        return None;
    };
    println!("on software: {}", software.name);
    match GpuEngine::open(Request::Named(&software.name)) {
        Ok(engine) => Some(engine),
        Err(error) => panic!("{} is listed but cannot be opened: {error}", software.name),
    }
}

/// Whether the tests run on a software device: one compiler, which fuses no operations.
pub fn on_software() -> bool {
    GpuEngine::open(Request::Best).is_err()
}

/// Random numbers of a test.
pub fn random(seed: u64) -> Random {
    Random::new(seed, Stream::STARTS, 0)
}

/// Every cell but those that the engine refuses.
pub fn shaded_cells() -> Vec<CellKind> {
    let cells = CellKind::ALL.iter().copied();
    cells
        .filter(|cell| cell.shape().layer != nullcline_models::cells::Layer::Bases)
        .collect()
}

/// A random architecture of a cell, odd sizes welcome.
pub fn architecture(
    cell: CellKind,
    readout: Readout,
    [inputs, units, hidden, outputs]: [usize; 4],
) -> Architecture {
    Architecture {
        cell,
        inputs,
        units,
        hidden: if cell.takes_hidden() { hidden } else { 0 },
        outputs,
        bias: true,
        readout,
        train_leak: true,
    }
}

/// Parameters of a stable network: matrices of spectral radius about 1, leaks between 0.2 and 0.8, a readout
/// with a well-conditioned inverse.
pub fn parameters(architecture: &Architecture, seed: u64) -> Vec<f32> {
    let mut random = random(seed);
    let mut out = vec![0.0f32; architecture.parameter_count()];
    for tensor in architecture.tensors() {
        let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
        for (k, value) in out[tensor.range.clone()].iter_mut().enumerate() {
            let normal = random.standard_normal() as f32;
            *value = match tensor.name.as_str() {
                "leak" => 0.2 + 0.6 * random.uniform_f32(),
                "a" => 0.2 + 0.6 * random.uniform_f32(),
                "readout" => {
                    let diagonal = if k / columns == k % columns { 1.5 } else { 0.0 };
                    diagonal + 0.3 * normal / (columns as f32).sqrt()
                }
                _ if tensor.shape.len() == 2 => 0.8 * normal / (columns as f32).sqrt(),
                _ => 0.3 * normal,
            };
        }
    }
    out
}

/// Random trials; `probabilities`: targets that sum to 1.
pub fn trials(
    architecture: &Architecture,
    batch: usize,
    steps: usize,
    masked: bool,
    observed: bool,
    probabilities: bool,
    seed: u64,
) -> Trials {
    let mut random = random(seed ^ 0xabcd);
    let mut normal = || random.standard_normal() as f32;
    let inputs = Array3::from_shape_simple_fn((batch, steps, architecture.inputs), &mut normal);
    let mut targets =
        Array3::from_shape_simple_fn((batch, steps, architecture.outputs), &mut normal);
    if probabilities {
        for mut row in targets.rows_mut() {
            row.mapv_inplace(f32::exp);
            let sum = row.sum();
            row.mapv_inplace(|x| x / sum);
        }
    }
    let mask = masked.then(|| {
        Array2::from_shape_fn((batch, steps), |(b, t)| {
            if (b + t) % 3 == 0 {
                0.0
            } else {
                0.5 + t as f32
            }
        })
    });
    let initial =
        observed.then(|| Array2::from_shape_simple_fn((batch, architecture.outputs), &mut normal));
    Trials {
        inputs,
        targets,
        mask,
        initial,
    }
}

/// Largest difference of two sets of numbers.
pub fn largest_difference<'a>(
    a: impl IntoIterator<Item = &'a f32>,
    b: impl IntoIterator<Item = &'a f32>,
) -> f64 {
    a.into_iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) - f64::from(*b))
        .fold(0.0, |largest, d| {
            if d.is_nan() {
                f64::INFINITY
            } else {
                largest.max(d.abs())
            }
        })
}

/// The norm of the difference of two gradients over the norm of the first, tensor by tensor, the largest. A
/// tensor whose gradient is a thousandth of the largest one's counts as a thousandth.
pub fn gradient_error(architecture: &Architecture, want: &[f32], got: &[f32]) -> f64 {
    assert_eq!(want.len(), got.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let of = |range: &std::ops::Range<usize>| {
        norm(&mut want[range.clone()].iter().map(|&x| f64::from(x)))
    };
    let tensors = architecture.tensors();
    let largest = tensors.iter().map(|t| of(&t.range)).fold(0.0, f64::max);
    tensors
        .iter()
        .map(|tensor| {
            let range = tensor.range.clone();
            let difference = norm(
                &mut want[range.clone()]
                    .iter()
                    .zip(&got[range.clone()])
                    .map(|(a, b)| f64::from(*a) - f64::from(*b)),
            );
            if difference.is_nan() {
                return f64::INFINITY;
            }
            difference / of(&range).max(1e-3 * largest).max(1e-12)
        })
        .fold(0.0, f64::max)
}
