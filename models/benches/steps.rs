//! What analyses spend their time in: steps of one network in f64; and the estimate that adaptive forcing follows.

use divan::Bencher;
use divan::counter::ItemsCount;
use ndarray::{Array2, Array3};
use nullcline_data::random::{Random, Stream};
use nullcline_models::adaptive_forcing::{Estimator, kappa};
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::network::Network;
use nullcline_tasks::Trials;

fn main() {
    divan::main();
}

fn architecture(cell: CellKind, units: usize, hidden: usize) -> Architecture {
    Architecture {
        cell,
        inputs: 0,
        units,
        hidden,
        outputs: units,
        bias: true,
        readout: Readout::LinearWithoutBias,
        train_leak: false,
    }
}

/// Parameters about which a state stays within bounds for the length of a measurement.
fn parameters(architecture: &Architecture) -> Vec<f32> {
    let mut random = Random::new(0, Stream::WEIGHTS, 0);
    (0..architecture.parameter_count())
        .map(|_| 0.05 * random.standard_normal() as f32)
        .collect()
}

const STEPS: usize = 1000;

/// (cell, units, hidden units): the published sizes of Lorenz-63, electrocardiogram and electroencephalogram.
#[divan::bench(args = [
    (CellKind::ClippedShallowPlrnn, 3, 50),
    (CellKind::ClippedShallowPlrnn, 5, 250),
    (CellKind::ClippedShallowPlrnn, 16, 512),
    (CellKind::VanillaTanh, 64, 0),
])]
fn step(bencher: Bencher, (cell, units, hidden): (CellKind, usize, usize)) {
    let architecture = architecture(cell, units, hidden);
    let network = Network::new(architecture.clone(), &parameters(&architecture));
    bencher.counter(ItemsCount::new(STEPS)).bench_local(|| {
        let mut state = vec![0.3; units];
        let mut next = vec![0.0; units];
        for _ in 0..STEPS {
            network.step(&state, &[], &mut next);
            std::mem::swap(&mut state, &mut next);
        }
        state
    });
}

/// Units and hidden units; of 16 sequences of 200 observations. One item is one Jacobian.
#[divan::bench(args = [(3, 50), (5, 250)])]
fn product_upper_bound(bencher: Bencher, (units, hidden): (usize, usize)) {
    let architecture = architecture(CellKind::ClippedShallowPlrnn, units, hidden);
    let parameters = parameters(&architecture);
    let mut random = Random::new(0, Stream::TRIALS, 0);
    let trials = Trials {
        inputs: Array3::zeros((16, 200, 0)),
        // Slow, as recordings are.
        targets: Array3::from_shape_fn((16, 200, units), |(b, t, i)| {
            (0.05 * t as f32 + b as f32 + i as f32).sin() + 0.01 * random.standard_normal() as f32
        }),
        mask: None,
        initial: Some(Array2::zeros((16, units))),
    };
    bencher
        .counter(ItemsCount::new(16 * 200usize))
        .bench_local(|| {
            kappa(
                Estimator::ProductUpperBound,
                &architecture,
                &parameters,
                &trials,
            )
        });
}
