//! The Lyapunov spectrum of a random leaky network in chaos, all exponents, orthonormalised at every step:
//! `cargo bench -p nullcline-analysis --bench lyapunov`.

use divan::Bencher;
use divan::counter::ItemsCount;
use nullcline_analysis::free_run::RunInput;
use nullcline_analysis::lyapunov::{LyapunovSettings, lyapunov_spectrum};
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::network::Network;
use rand::{SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, StandardNormal};

fn main() {
    divan::main();
}

/// h' = 0.8 h + 0.2 tanh(W h), W of gain 4.
fn network(units: usize) -> Network {
    let architecture = Architecture {
        cell: CellKind::LeakyRateTanh,
        inputs: 1,
        units,
        hidden: 0,
        outputs: 1,
        bias: false,
        readout: Readout::Linear,
        train_leak: false,
    };
    let mut random = SmallRng::seed_from_u64(1);
    let layout = architecture.layout();
    let mut parameters = vec![0.0; architecture.parameter_count()];
    for weight in &mut parameters[layout.recurrent] {
        let normal: f64 = StandardNormal.sample(&mut random);
        *weight = 4.0 * normal / (units as f64).sqrt();
    }
    parameters[layout.unit].fill(0.2);
    Network::from_f64(architecture, parameters)
}

#[divan::bench(args = [16, 64, 256], sample_count = 5)]
fn steps(bencher: Bencher, units: usize) {
    let steps = 640_000 / (units * units / 16).max(1);
    let network = network(units);
    let start: Vec<f64> = (0..units).map(|k| 0.1 * (k as f64).sin()).collect();
    let settings = LyapunovSettings {
        transient: 0,
        ..LyapunovSettings::new(steps)
    };
    bencher.counter(ItemsCount::new(steps)).bench_local(|| {
        let input = RunInput::Constant(&[0.0]);
        lyapunov_spectrum(
            &network,
            &start,
            input,
            &settings,
            &mut SmallRng::seed_from_u64(2),
            &mut |_| true,
        )
        .expect("a bounded trajectory")
    });
}
