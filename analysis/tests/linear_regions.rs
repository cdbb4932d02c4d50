//! Cycles of piecewise-linear maps against known answers.

use ndarray::{Array2, ArrayView2};
use nullcline_analysis::linear_regions::{CycleSearch, CycleSettings, find_cycles};
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::network::Network;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

fn plrnn(cell: CellKind, units: usize, hidden: usize) -> Architecture {
    Architecture {
        cell,
        inputs: 0,
        units,
        hidden,
        outputs: units,
        bias: true,
        readout: Readout::Identity,
        train_leak: true,
    }
}

/// z' = A z + W1 relu(W2 z + h2) + h1.
fn network(cell: CellKind, a: &[f64], w1: &[f64], w2: &[f64], h1: &[f64], h2: &[f64]) -> Network {
    let architecture = plrnn(cell, a.len(), h2.len());
    let layout = architecture.layout();
    let mut parameters = vec![0.0; architecture.parameter_count()];
    for (range, values) in [
        (layout.unit, a),
        (layout.recurrent, w1),
        (layout.hidden, w2),
        (layout.bias, h1),
        (layout.hidden_unit, h2),
    ] {
        parameters[range].copy_from_slice(values);
    }
    Network::from_f64(architecture, parameters)
}

fn search(network: &Network, pool: ArrayView2<f64>, settings: &CycleSettings) -> CycleSearch {
    let mut random = SmallRng::seed_from_u64(3);
    let search = find_cycles(network, pool, &[], settings, &mut random, &mut |_| true).unwrap();
    // Whatever is called a cycle is one of the map itself, and of no fewer steps.
    for cycle in &search.cycles {
        assert_eq!(cycle.states.nrows(), settings.order);
        assert!(cycle.residual < 1e-9, "{}", cycle.residual);
        let first = cycle.states.row(0);
        for later in cycle.states.rows().into_iter().skip(1) {
            assert!((&later - &first).iter().any(|d| d.abs() > 1e-9));
        }
    }
    search
}

/// The tent map z' = 1 - 2 |z| has 2^k points of period k, so that its cycles of exactly k steps number
/// 1/k sum over divisors d of k of mu(d) 2^(k/d), and every multiplier is 2^k in modulus.
#[test]
fn the_tent_map_has_all_its_cycles() {
    let tent = network(
        CellKind::ShallowPlrnn,
        &[0.0],
        &[-2.0, -2.0],
        &[1.0, -1.0],
        &[1.0],
        &[0.0, 0.0],
    );
    let pool = Array2::from_shape_fn((20, 1), |(k, _)| (k as f64 - 9.5) / 10.0);
    for (order, want) in [
        (1, 2),
        (2, 1),
        (3, 2),
        (4, 3),
        (5, 6),
        (6, 9),
        (7, 18),
        (8, 30),
    ] {
        let found = search(&tent, pool.view(), &CycleSettings::new(order));
        assert!(found.exhaustive);
        assert_eq!(found.regions, 2);
        assert_eq!(found.cycles.len(), want, "cycles of {order} steps");
        for cycle in &found.cycles {
            assert!(!cycle.is_stable());
            let multiplier = cycle.multipliers[0].norm();
            assert!((multiplier - 2f64.powi(order as i32)).abs() < 1e-9);
        }
    }
    // By chance and by following virtual cycles, too.
    let by_chance = CycleSettings {
        exhaustive: 0,
        ..CycleSettings::new(6)
    };
    let found = search(&tent, pool.view(), &by_chance);
    assert!(!found.exhaustive);
    assert_eq!(found.cycles.len(), 9);
}

/// The example that comes with SCYFI: 0, 2, 0 and 1 cycles of 1 to 4 steps; points and eigenvalues of the 2-cycles
/// recomputed independently.
#[test]
fn the_published_example() {
    let text = include_str!("data/scyfi_2d_example.json");
    let file: serde_json::Value = serde_json::from_str(text).unwrap();
    let numbers = |key: &str| -> Vec<f64> {
        let flat = |value: &serde_json::Value| -> Vec<f64> {
            match value.as_array() {
                Some(row) => row.iter().map(|x| x.as_f64().unwrap()).collect(),
                None => vec![value.as_f64().unwrap()],
            }
        };
        file[key]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(flat)
            .collect()
    };
    let example = network(
        CellKind::ShallowPlrnn,
        &numbers("A"),
        &numbers("W1"),
        &numbers("W2"),
        &numbers("h1"),
        &numbers("h2"),
    );
    let mut random = SmallRng::seed_from_u64(1);
    let pool = Array2::from_shape_simple_fn((100_000, 2), || random.random_range(-10.0..10.0));
    for (order, want) in [(1, 0), (2, 2), (3, 0), (4, 1)] {
        let found = search(&example, pool.view(), &CycleSettings::new(order));
        assert_eq!(found.exhaustive, order < 4);
        assert_eq!(found.cycles.len(), want, "cycles of {order} steps");
        if order == 2 {
            // Of the 56 that ten lines in the plane part it into at most, 53 were met in the box.
            assert!((50..=56).contains(&found.regions), "{}", found.regions);
            for known in file["k2_cycles"].as_array().unwrap() {
                let point: Vec<f64> = known["points"][0]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|x| x.as_f64().unwrap())
                    .collect();
                let cycle = found
                    .cycles
                    .iter()
                    .find(|cycle| {
                        cycle.states.rows().into_iter().any(|state| {
                            state.iter().zip(&point).all(|(a, b)| (a - b).abs() < 1e-6)
                        })
                    })
                    .expect("a published cycle");
                let parts: Vec<f64> = match &known["eig_of_2step_jacobian"][0] {
                    serde_json::Value::String(text) => {
                        let (re, im) = text.trim_end_matches('i').split_once('+').unwrap();
                        vec![re.parse().unwrap(), im.parse().unwrap()]
                    }
                    number => vec![number.as_f64().unwrap(), 0.0],
                };
                let largest = cycle.multipliers[0];
                assert!((largest.re - parts[0]).abs() < 1e-5, "{largest}");
                assert!((largest.im.abs() - parts[1]).abs() < 1e-5, "{largest}");
            }
        }
    }
}

/// In every piecewise-linear cell the pieces are those of the map: from random states, the fixed points found by regions
/// are fixed, and a network pulled to a point has that one alone.
#[test]
fn every_piecewise_linear_cell() {
    for cell in [
        CellKind::VanillaRelu,
        CellKind::LeakyRateRelu,
        CellKind::LeakyCurrentRelu,
        CellKind::ShallowPlrnn,
        CellKind::ClippedShallowPlrnn,
        CellKind::Plrnn,
        CellKind::MeanCentredPlrnn,
        CellKind::DendriticPlrnn,
        CellKind::ClippedDendriticPlrnn,
        CellKind::AlmostLinearRnn,
    ] {
        let hidden = if cell.takes_hidden() { 5 } else { 0 };
        let architecture = plrnn(cell, 4, hidden);
        let mut found = 0;
        for seed in 0..20 {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut parameters: Vec<f64> = (0..architecture.parameter_count())
                .map(|_| random.random_range(-0.8..0.8))
                .collect();
            for p in &mut parameters[architecture.layout().unit] {
                *p = p.abs().max(0.1);
            }
            let network = Network::from_f64(architecture.clone(), parameters);
            let pool = Array2::from_shape_simple_fn((500, 4), || random.random_range(-5.0..5.0));
            let search = search(&network, pool.view(), &CycleSettings::new(1));
            assert!(search.exhaustive, "{cell:?}");
            found += search.cycles.len();
            // A stable fixed point that the map comes to is among those found.
            let mut state = vec![0.1; 4];
            let mut next = vec![0.0; 4];
            for _ in 0..2000 {
                network.step(&state, &[], &mut next);
                std::mem::swap(&mut state, &mut next);
            }
            network.step(&state, &[], &mut next);
            let rests = state.iter().zip(&next).all(|(a, b)| (a - b).abs() < 1e-13);
            // One on the edge of a region belongs to both sides, and to neither exactly.
            if rests && state.iter().all(|x| x.abs() > 1e-6) {
                assert!(
                    search.cycles.iter().any(|cycle| cycle.is_stable()
                        && cycle
                            .states
                            .iter()
                            .zip(&state)
                            .all(|(a, b)| (a - b).abs() < 1e-9)),
                    "{cell:?} {seed}"
                );
            }
        }
        assert!(found > 5, "{cell:?}: {found}");
    }
}

#[test]
fn what_is_not_piecewise_linear_is_refused() {
    let architecture = plrnn(CellKind::VanillaTanh, 2, 0);
    let parameters = vec![0.1; architecture.parameter_count()];
    let network = Network::from_f64(architecture, parameters);
    let mut random = SmallRng::seed_from_u64(1);
    let pool = Array2::zeros((1, 2));
    let settings = CycleSettings::new(1);
    let error = find_cycles(
        &network,
        pool.view(),
        &[],
        &settings,
        &mut random,
        &mut |_| true,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the network is not piecewise linear: its units are not rectified ones"
    );
}
