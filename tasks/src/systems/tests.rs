use std::time::Instant;

use nullcline_data::random::Stream;
use proptest::prelude::*;

use super::bursting_neuron::BurstingNeuron;
use super::chua::Chua;
use super::kuramoto_sivashinsky::{Etdrk4, KuramotoSivashinsky};
use super::lorenz_63::Lorenz63;
use super::lorenz_96::Lorenz96;
use super::roessler::Roessler;
use super::*;

/// Every system with its published parameters, and the interval of its task.
fn all() -> Vec<(Box<dyn System>, f64)> {
    vec![
        (Box::new(Lorenz63::default()), 0.01),
        (Box::new(Lorenz96::default()), 0.01),
        (Box::new(Roessler::default()), 0.08),
        (Box::new(Chua::default()), 0.02),
        (Box::new(BurstingNeuron::default()), 0.25),
        (Box::new(KuramotoSivashinsky::new(22.0, 64)), 0.25),
    ]
}

fn start(system: &dyn System, seed: u64) -> Vec<f64> {
    system.random_state(&mut Random::new(seed, Stream::RECORDINGS, 0))
}

/// A state after `samples` samples from a random start.
fn settled(system: &dyn System, dt: f64, samples: usize, seed: u64) -> Vec<f64> {
    let mut state = start(system, seed);
    let flow = system.flow(dt);
    for _ in 0..samples {
        flow.advance(&mut state);
    }
    state
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The `k` largest Lyapunov exponents per unit of time: mean growth of `k` tangents that are made orthogonal after every
/// sample (Benettin et al. 1980).
fn exponents(system: &dyn System, dt: f64, samples: usize, k: usize) -> Vec<f64> {
    let n = system.dimension();
    let flow = system.flow(dt);
    let mut state = settled(system, dt, 5000, 1);
    let mut random = Random::new(1, Stream::PERTURBATIONS, 0);
    let mut tangents: Vec<f64> = (0..k * n).map(|_| random.standard_normal()).collect();
    let mut sums = vec![0.0; k];
    let settling = 500;
    for sample in 0..settling + samples {
        flow.advance_tangents(&mut state, &mut tangents);
        for i in 0..k {
            let (before, rest) = tangents.split_at_mut(i * n);
            let vector = &mut rest[..n];
            for other in before.chunks_exact(n) {
                let along: f64 = other.iter().zip(&*vector).map(|(a, b)| a * b).sum();
                for (v, o) in vector.iter_mut().zip(other) {
                    *v -= along * o;
                }
            }
            let length = norm(vector);
            for v in vector {
                *v /= length;
            }
            if sample >= settling {
                sums[i] += length.ln();
            }
        }
    }
    sums.iter().map(|sum| sum / (samples as f64 * dt)).collect()
}

#[test]
fn names_and_sizes_agree() {
    for (system, dt) in all() {
        let kind = crate::kind(system.name()).unwrap();
        let default = kind.keys.iter().find(|key| key.name == "dt").unwrap();
        assert_eq!(
            default.default,
            nullcline_data::settings::Preset::Number(dt)
        );
        assert_eq!(default.unit, system.time_unit());
        assert_eq!(system.variables().len(), system.dimension());
        assert_eq!(start(&*system, 1).len(), system.dimension());
        assert_eq!(system.flow(dt).dimension(), system.dimension());
        assert_ne!(start(&*system, 1), start(&*system, 2));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Central differences of the velocity are the Jacobian, and its products those of `tangent_velocity`, at random
    /// states on and off the attractor.
    #[test]
    fn jacobians_are_exact(seed: u64, samples in 0_usize..50) {
        for (system, dt) in all() {
            let n = system.dimension();
            let state = settled(&*system, dt, samples, seed);
            let mut jacobian = vec![f64::NAN; n * n];
            system.jacobian(&state, &mut jacobian);
            let scale = norm(&jacobian);
            let h = 1e-5;
            let (mut above, mut below) = (vec![0.0; n], vec![0.0; n]);
            for j in 0..n {
                let mut moved = state.clone();
                moved[j] += h;
                system.velocity(&moved, &mut above);
                moved[j] = state[j] - h;
                system.velocity(&moved, &mut below);
                for i in 0..n {
                    let slope = (above[i] - below[i]) / (2.0 * h);
                    prop_assert!((slope - jacobian[i * n + j]).abs() < 1e-8 * scale, "{} [{i}, {j}]", system.name());
                }
            }
            let mut random = Random::new(seed, Stream::PERTURBATIONS, 0);
            let tangent: Vec<f64> = (0..n).map(|_| random.standard_normal()).collect();
            let mut image = vec![f64::NAN; n];
            system.tangent_velocity(&state, &tangent, &mut image);
            for (row, image) in jacobian.chunks_exact(n).zip(&image) {
                let product: f64 = row.iter().zip(&tangent).map(|(a, b)| a * b).sum();
                prop_assert!((product - image).abs() < 1e-12 * scale * norm(&tangent), "{}", system.name());
            }
        }
    }
}

#[test]
fn flows_carry_tangents_by_their_exact_derivative() {
    for (system, dt) in all() {
        let n = system.dimension();
        let state = settled(&*system, dt, 1000, 3);
        let mean: Vec<f64> = (0..n).map(|k| 0.1 * k as f64).collect();
        let sd: Vec<f64> = (0..n).map(|k| 1.0 + 0.5 * k as f64).collect();
        let generator = Generator {
            system: &*system,
            dt,
            mean: &mean,
            standard_deviation: &sd,
        };
        // In the coordinates of a task, so that both maps are tested.
        let flow = generator.flow();
        let mut at = state.clone();
        generator.standardise(&mut at);
        let mut next = at.clone();
        let mut jacobian = vec![f64::NAN; n * n];
        flow.advance_with_jacobian(&mut next, &mut jacobian);
        let mut plain = at.clone();
        flow.advance(&mut plain);
        assert_eq!(plain, next, "{}", system.name());
        let mut raw = state.clone();
        system.advance(&mut raw, dt);
        generator.standardise(&mut raw);
        for (a, b) in raw.iter().zip(&next) {
            assert!((a - b).abs() < 1e-10 * (1.0 + a.abs()), "{}", system.name());
        }
        let h = 1e-5;
        for j in 0..n {
            let [above, below] = [h, -h].map(|h| {
                let mut moved = at.clone();
                moved[j] += h;
                flow.advance(&mut moved);
                moved
            });
            for i in 0..n {
                let slope = (above[i] - below[i]) / (2.0 * h);
                assert!(
                    (slope - jacobian[i * n + j]).abs() < 1e-6,
                    "{} [{i}, {j}]: {slope} and {}",
                    system.name(),
                    jacobian[i * n + j]
                );
            }
        }
        // The vector field in these coordinates, by differences in time and in space.
        let (mut velocity, mut field) = (vec![0.0; n], vec![0.0; n * n]);
        generator.velocity(&at, &mut velocity);
        generator.jacobian(&at, &mut field);
        for j in 0..n {
            let (mut above, mut below) = (at.clone(), at.clone());
            (above[j], below[j]) = (at[j] + h, at[j] - h);
            let (mut fast, mut slow) = (vec![0.0; n], vec![0.0; n]);
            generator.velocity(&above, &mut fast);
            generator.velocity(&below, &mut slow);
            for i in 0..n {
                let slope = (fast[i] - slow[i]) / (2.0 * h);
                assert!((slope - field[i * n + j]).abs() < 1e-7 * norm(&field));
            }
        }
        let mut restored = at.clone();
        generator.restore(&mut restored);
        for (a, b) in restored.iter().zip(&state) {
            assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()));
        }
    }
}

/// The error of one sample in `steps` steps, against sixteen times as many, the largest over some states.
fn sample_error(system: &Integrated, dt: f64, steps: usize) -> f64 {
    let run = |steps: usize, state: &[f64]| {
        let mut state = state.to_vec();
        match system {
            Integrated::Partial(system) => {
                Etdrk4::new(system, dt, steps).advance(&mut state);
            }
            Integrated::Ordinary(system) => {
                RungeKutta::with_steps(&**system, dt, steps).advance(&mut state);
            }
        }
        state
    };
    let whole: &dyn System = match system {
        Integrated::Partial(system) => system,
        Integrated::Ordinary(system) => &**system,
    };
    let mut state = settled(whole, dt, 3000, 1);
    let flow = whole.flow(dt);
    let mut worst = 0.0_f64;
    for _ in 0..20 {
        for _ in 0..100 {
            flow.advance(&mut state);
        }
        for (a, b) in run(steps, &state).iter().zip(run(16 * steps, &state)) {
            worst = worst.max((a - b).abs());
        }
    }
    worst
}

/// The two kinds of integrator.
enum Integrated {
    Partial(KuramotoSivashinsky),
    Ordinary(Box<dyn System>),
}

#[test]
fn integrators_have_their_order() {
    // Five halves of the step: an error 32 times smaller; the largest over some states is a little off.
    for (system, dt) in all() {
        if system.name() == "kuramoto_sivashinsky" {
            continue;
        }
        let name = system.name();
        // Long enough for the leading term to be seen above rounding, short enough for it to lead.
        let span = dt * if name == "chua" { 4.0 } else { 1.0 };
        let steps = match name {
            "bursting_neuron" => 8,
            "roessler" => 4,
            _ => 1,
        };
        let system = Integrated::Ordinary(system);
        let coarse = sample_error(&system, span, steps);
        let fine = sample_error(&system, span, 2 * steps);
        let order = (coarse / fine).log2();
        assert!(
            (4.5..6.2).contains(&order),
            "{name}: {order} ({coarse:e}, {fine:e})"
        );
    }
    let system = Integrated::Partial(KuramotoSivashinsky::new(22.0, 64));
    let coarse = sample_error(&system, 0.25, 32);
    let fine = sample_error(&system, 0.25, 64);
    let order = (coarse / fine).log2();
    assert!(
        (3.6..4.5).contains(&order),
        "{order} ({coarse:e}, {fine:e})"
    );
}

/// What the documentation of every `longest_step` says.
#[test]
fn samples_are_as_accurate_as_documented() {
    for (system, dt) in all() {
        let name = system.name();
        let bound = match name {
            "lorenz_63" => 2e-9,
            "lorenz_96" => 2e-9,
            "roessler" => 1e-9,
            "chua" => 1e-11,
            "bursting_neuron" => 2e-7,
            _ => 5e-6,
        };
        let steps = (dt / system.longest_step()).round() as usize;
        let system = if name == "kuramoto_sivashinsky" {
            Integrated::Partial(KuramotoSivashinsky::new(22.0, 64))
        } else {
            Integrated::Ordinary(system)
        };
        let found = sample_error(&system, dt, steps);
        assert!(found < bound, "{name}: {found:e}");
        assert!(
            found > 1e-4 * bound,
            "{name}: {found:e}, no need for so many steps"
        );
    }
}

#[test]
fn a_flow_makes_as_few_steps_as_allowed() {
    let system = Lorenz63::default();
    for (dt, steps) in [(0.01, 4), (0.0025, 1), (0.0001, 1), (0.02, 8), (0.011, 5)] {
        assert_eq!(RungeKutta::new(&system, dt).steps(), steps, "{dt}");
    }
}

/// The divergence is -(sigma + 1 + beta) everywhere, so that is the sum of the exponents; the largest one is known as
/// 0.9056 (J. C. Sprott, *Chaos and Time-Series Analysis*, 2003). Over 1000 units of time it is had to about 0.015.
#[test]
fn exponents_of_lorenz_63() {
    let system = Lorenz63::default();
    let divergence = -(10.0 + 1.0 + 8.0 / 3.0);
    let mut jacobian = [0.0; 9];
    for seed in 0..100 {
        system.jacobian(&start(&system, seed), &mut jacobian);
        let trace = jacobian[0] + jacobian[4] + jacobian[8];
        assert!((trace - divergence).abs() < 1e-12);
    }
    let found = exponents(&system, 0.01, 100_000, 3);
    assert!((found[0] - 0.9056).abs() < 0.03, "{found:?}");
    assert!(found[1].abs() < 0.005, "{found:?}");
    assert!(
        (found.iter().sum::<f64>() - divergence).abs() < 1e-7,
        "{found:?}"
    );
}

/// 0.0714 for Roessler's parameters (Sprott 2003); 0.043 for a ring of 22 (R. A. Edson et al., *ANZIAM J.* 61, 2019); the
/// divergence of Lorenz's ring is minus its dimension.
#[test]
fn exponents_of_other_systems() {
    let roessler = exponents(&Roessler::default(), 0.08, 100_000, 1);
    assert!((roessler[0] - 0.0714).abs() < 0.005, "{roessler:?}");
    let ring = exponents(&KuramotoSivashinsky::new(22.0, 64), 0.25, 20_000, 2);
    assert!((ring[0] - 0.043).abs() < 0.012, "{ring:?}");
    let waves = Lorenz96 {
        dimension: 6,
        forcing: 8.0,
    };
    let waves = exponents(&waves, 0.01, 10_000, 6);
    assert!(waves[0] > 0.5, "{waves:?}");
    assert!((waves.iter().sum::<f64>() + 6.0).abs() < 1e-7, "{waves:?}");
    let chua = exponents(&Chua::default(), 0.02, 100_000, 1);
    assert!((0.2..0.45).contains(&chua[0]), "{chua:?}");
}

/// The advection neither makes nor takes energy: x . dx/dt = - |x|^2 + F sum x.
#[test]
fn advection_of_lorenz_96_keeps_the_energy() {
    for dimension in [4, 5, 20, 37] {
        let system = Lorenz96 {
            dimension,
            forcing: 8.0,
        };
        for seed in 0..20 {
            let x = start(&system, seed);
            let mut velocity = vec![0.0; dimension];
            system.velocity(&x, &mut velocity);
            let power: f64 = x.iter().zip(&velocity).map(|(x, v)| x * v).sum();
            let linear: f64 = x.iter().map(|x| 8.0 * x - x * x).sum();
            assert!(
                (power - linear).abs() < 1e-9,
                "{dimension}: {power} and {linear}"
            );
        }
        let mut rest = vec![0.0; dimension];
        system.velocity(&vec![8.0; dimension], &mut rest);
        assert!(rest.iter().all(|v| *v == 0.0));
    }
}

/// Of u = a sin(q k x) + m: u_t = (q^2 k^2 - q^4 k^4) a sin(q k x) - (a^2 q k / 2) sin(2 q k x) - m a q k cos(q k x).
#[test]
fn velocity_of_a_single_wave_on_a_ring() {
    for (domain, points, k, mean) in [(22.0, 64, 1, 0.0), (22.0, 64, 5, 0.7), (50.0, 96, 7, -1.0)] {
        let system = KuramotoSivashinsky::new(domain, points);
        let q = std::f64::consts::TAU / domain * f64::from(k);
        let a = 1.3;
        let at = |j: usize| q * domain * j as f64 / points as f64;
        let u: Vec<f64> = (0..points).map(|j| a * at(j).sin() + mean).collect();
        let mut velocity = vec![0.0; points];
        system.velocity(&u, &mut velocity);
        for (j, v) in velocity.iter().enumerate() {
            let want = (q.powi(2) - q.powi(4)) * a * at(j).sin()
                - a * a * q / 2.0 * (2.0 * at(j)).sin()
                - mean * a * q * at(j).cos();
            assert!((v - want).abs() < 1e-10, "{v} and {want}");
        }
    }
}

/// Products of wave numbers that the grid cannot hold must not come back as others.
#[test]
fn no_wave_is_taken_for_another_on_the_ring() {
    // 64 points hold products of wave numbers up to 21; that of 20 and 20 is 40, which looks like 24 there.
    let system = KuramotoSivashinsky::new(22.0, 64);
    let q = std::f64::consts::TAU / 22.0 * 20.0;
    let at = |j: usize| q * 22.0 * j as f64 / 64.0;
    let u: Vec<f64> = (0..64).map(|j| at(j).sin()).collect();
    let mut velocity = vec![0.0; 64];
    system.velocity(&u, &mut velocity);
    let growth = q.powi(2) - q.powi(4);
    for (j, v) in velocity.iter().enumerate() {
        assert!((v - growth * at(j).sin()).abs() < 1e-9, "{v}");
    }
}

#[test]
fn the_ring_keeps_its_mean_and_its_symmetry() {
    let system = KuramotoSivashinsky::new(22.0, 64);
    let mean = |u: &[f64]| u.iter().sum::<f64>() / 64.0;
    let mut u: Vec<f64> = start(&system, 1).iter().map(|u| u + 0.3).collect();
    let before = mean(&u);
    let flow = system.flow(0.25);
    for _ in 0..2000 {
        flow.advance(&mut u);
    }
    assert!(
        (mean(&u) - before).abs() < 1e-12,
        "{before} and {}",
        mean(&u)
    );
    // Turned by three points, the future is turned by as many.
    let mut turned = u.clone();
    turned.rotate_left(3);
    flow.advance(&mut u);
    flow.advance(&mut turned);
    u.rotate_left(3);
    for (a, b) in u.iter().zip(&turned) {
        assert!((a - b).abs() < 1e-12);
    }
    // A short ring comes to rest.
    let rest = settled(&KuramotoSivashinsky::new(6.0, 32), 0.25, 4000, 1);
    assert!(norm(&rest) < 1e-12, "{rest:?}");
}

/// Twice the grid gives the same orbit, for as long as chaos lets it.
#[test]
fn the_grid_of_the_ring_is_fine_enough() {
    let coarse = KuramotoSivashinsky::new(22.0, 64);
    let fine = KuramotoSivashinsky::new(22.0, 128);
    let mut a = start(&coarse, 1);
    let mut b = start(&fine, 1);
    let (first, second) = (coarse.flow(0.25), fine.flow(0.25));
    for _ in 0..200 {
        first.advance(&mut a);
        second.advance(&mut b);
    }
    for (j, a) in a.iter().enumerate() {
        assert!((a - b[2 * j]).abs() < 1e-3, "{a} and {}", b[2 * j]);
    }
}

#[test]
fn chua_has_two_scrolls() {
    let system = Chua::default();
    let mut velocity = [1.0; 3];
    // Fixed points: f(x) = 0 at 0 and +- sqrt(1/2), y = 0, z = - x.
    for x in [0.0, 0.5_f64.sqrt(), -0.5_f64.sqrt()] {
        system.velocity(&[x, 0.0, -x], &mut velocity);
        assert!(norm(&velocity) < 1e-14);
    }
    let mut state = settled(&system, 0.02, 5000, 1);
    let flow = system.flow(0.02);
    let (mut right, mut changes) = (0, 0);
    for _ in 0..100_000 {
        let side = state[0] > 0.0;
        flow.advance(&mut state);
        right += usize::from(side);
        changes += usize::from(side != (state[0] > 0.0));
        assert!(state[0].abs() < 1.2);
    }
    assert!((20_000..80_000).contains(&right), "{right}");
    assert!(changes > 50, "{changes}");
}

/// Intervals between spikes in ms, over 2 s.
fn spike_intervals(g_nmda: f64) -> Vec<f64> {
    let system = BurstingNeuron {
        g_nmda,
        ..BurstingNeuron::default()
    };
    let dt = 0.25;
    let mut state = settled(&system, dt, 8000, 1);
    let flow = system.flow(dt);
    let mut spikes = Vec::new();
    for sample in 0..8000 {
        let before = state[0];
        flow.advance(&mut state);
        if before < -20.0 && state[0] >= -20.0 {
            spikes.push(f64::from(sample) * dt);
        }
    }
    spikes.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Durstewitz (2009): the NMDA conductance leads from bursts to regular spikes.
#[test]
fn the_neuron_bursts_and_with_more_nmda_spikes_regularly() {
    let bursts = spike_intervals(10.2);
    let long = bursts.iter().filter(|interval| **interval > 50.0).count();
    let short = bursts.iter().filter(|interval| **interval < 15.0).count();
    assert_eq!(long + short, bursts.len(), "{bursts:?}");
    assert!(long >= 5 && short >= 8 * long, "{bursts:?}");
    let regular = spike_intervals(10.8);
    let (least, most) = regular
        .iter()
        .fold((f64::MAX, 0.0_f64), |(least, most), x| {
            (least.min(*x), most.max(*x))
        });
    assert!(most - least < 1.0 && most < 15.0, "{least} to {most}");
}

/// The demand is a second for both parts of 100,000 samples; the bound leaves room for a busy machine.
#[test]
fn long_recordings_of_lorenz_63_take_a_fraction_of_a_second() {
    let clock = Instant::now();
    let task = task::tests::build("lorenz_63", &[]);
    let took = clock.elapsed().as_secs_f64();
    println!("200,000 samples of lorenz_63 in {took:.2} s");
    assert_eq!(
        task.recording(crate::Split::Training).unwrap().values.dim(),
        (100_000, 3)
    );
    assert!(took < 3.0, "{took} s");
}
