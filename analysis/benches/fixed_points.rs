//! Searches for fixed points with their certificates, on one thread: `cargo bench -p nullcline-analysis`. Compare ratios
//! within a run; machines are noisy.
//!
//! The network of 64 units is that of the peers' benchmark, by its construction: a random matrix and three stored
//! patterns in a leaky network, with 1,024 starts near states of its trajectories. JAX's batched Newton takes 1.42 s
//! for it in f32, torch's Adam 7.4 s with three quarters converged.

use divan::Bencher;
use divan::counter::ItemsCount;
use ndarray::Array2;
use nullcline_analysis::Dynamics;
use nullcline_analysis::certificates::certify;
use nullcline_analysis::fixed_points::{FixedPointSettings, find_fixed_points};
use nullcline_analysis::starts::sample_starts;
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::network::Network;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use rand_distr::StandardNormal;

#[path = "../tests/common/mod.rs"]
mod common;

fn main() {
    divan::main();
}

/// h' = (1 - a) h + a tanh(W h + b), a = 0.2; W random with gain 0.5 and three patterns of strength 1.5 to 1.8.
fn patterns(units: usize) -> Network {
    let architecture = Architecture {
        cell: CellKind::LeakyRateTanh,
        inputs: 0,
        units,
        hidden: 0,
        outputs: 1,
        bias: true,
        readout: Readout::LinearWithoutBias,
        train_leak: false,
    };
    let layout = architecture.layout();
    let mut rng = SmallRng::seed_from_u64(0);
    let mut parameters = vec![0.0; layout.total];
    let w = &mut parameters[layout.recurrent];
    for w in w.iter_mut() {
        *w = 0.5 / (units as f64).sqrt() * rng.sample::<f64, _>(StandardNormal);
    }
    for pattern in 0..3 {
        let signs: Vec<f64> = (0..units)
            .map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 })
            .collect();
        let strength = 1.5 * (1.0 + 0.1 * f64::from(pattern)) / units as f64;
        for (i, row) in w.chunks_exact_mut(units).enumerate() {
            for (w, from) in row.iter_mut().zip(&signs) {
                *w += strength * signs[i] * from;
            }
        }
    }
    for b in &mut parameters[layout.bias] {
        *b = 0.1 * rng.sample::<f64, _>(StandardNormal);
    }
    parameters[layout.unit].fill(0.2);
    Network::from_f64(architecture, parameters)
}

/// Uniform states, twenty steps on, with noise of 0.1.
fn pattern_starts(network: &Network, count: usize) -> Array2<f64> {
    let mut rng = SmallRng::seed_from_u64(1);
    let dim = network.state_dim();
    let mut starts = Array2::zeros((count, dim));
    for mut row in starts.rows_mut() {
        let mut state: Vec<f64> = (0..dim).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mut next = state.clone();
        for _ in 0..20 {
            network.step(&state, &[], &mut next);
            std::mem::swap(&mut state, &mut next);
        }
        for (x, state) in row.iter_mut().zip(&state) {
            *x = state + 0.1 * rng.sample::<f64, _>(StandardNormal);
        }
    }
    starts
}

fn search(bencher: Bencher, network: &Network, starts: &Array2<f64>) {
    let input = vec![0.0; Dynamics::input_dim(network)];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.expect("a thread");
    let settings = FixedPointSettings::default();
    bencher
        .counter(ItemsCount::new(starts.nrows()))
        .bench_local(|| {
            pool.install(|| {
                find_fixed_points(network, starts.view(), &input, &settings, &mut |_| true)
            })
        });
}

#[divan::bench(args = [256, 1024, 4096], sample_count = 10)]
fn by_starts(bencher: Bencher, count: usize) {
    let network = patterns(64);
    search(bencher, &network, &pattern_starts(&network, count));
}

#[divan::bench(args = [16, 32, 64, 128], sample_count = 5)]
fn by_width(bencher: Bencher, units: usize) {
    let network = patterns(units);
    search(bencher, &network, &pattern_starts(&network, 1024));
}

#[divan::bench(args = ["tanh", "gru"], sample_count = 10)]
fn flip_flop(bencher: Bencher, cell: &str) {
    let (network, _) = match cell {
        "gru" => common::flip_flop_gru(),
        _ => common::flip_flop_tanh(),
    };
    let visited = common::visited_states(&network, 2000, 11);
    let mut rng = SmallRng::seed_from_u64(1);
    let starts = sample_starts(visited.view(), 1024, 0.2, &mut rng).expect("starts");
    search(bencher, &network, &starts);
}

#[divan::bench(args = [16, 64, 256, 512], sample_count = 5)]
fn one_certificate(bencher: Bencher, units: usize) {
    let network = patterns(units);
    let starts = pattern_starts(&network, 64);
    let found = find_fixed_points(
        &network,
        starts.view(),
        &[],
        &FixedPointSettings::default(),
        &mut |_| true,
    );
    let found = found.expect("starts that fit");
    let point = found.fixed().next().expect("a fixed point");
    bencher.bench_local(|| certify(&network, &point.state, &[]));
}
