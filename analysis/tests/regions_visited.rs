//! Linear regions along orbits, against known answers.

mod common;

use common::{henon, random_network};
use nullcline_analysis::free_run::Stop;
use nullcline_analysis::regions_visited::{RegionsVisited, VisitSettings, regions_visited};
use nullcline_analysis::{Dynamics, Error};
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::network::Network;
use proptest::prelude::*;

/// z' = A z + W1 relu(W2 z + h2) + h1.
fn plrnn(a: &[f64], w1: &[f64], w2: &[f64], h1: &[f64], h2: &[f64]) -> Network {
    let architecture = Architecture {
        cell: CellKind::ShallowPlrnn,
        inputs: 0,
        units: a.len(),
        hidden: h2.len(),
        outputs: a.len(),
        bias: true,
        readout: Readout::Identity,
        train_leak: true,
    };
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

fn visit(map: &dyn Dynamics, start: &[f64], settings: &VisitSettings) -> RegionsVisited {
    regions_visited(map, start, &[], settings, &mut |_| true).unwrap()
}

fn without_transient(steps: usize) -> VisitSettings {
    VisitSettings {
        transient: 0,
        ..VisitSettings::new(steps)
    }
}

/// The skew tent map z' = z / b for z < b, (1 - z) / (1 - b) for z > b has the uniform density on [0, 1]: the left
/// region is occupied for a fraction b of the time, and left with probability 1 - b.
#[test]
fn the_skew_tent_map() {
    const B: f64 = 0.7;
    // z / b - (1/b + 1/(1-b)) relu(z - b)
    let tent = plrnn(
        &[1.0 / B],
        &[-1.0 / B - 1.0 / (1.0 - B)],
        &[1.0],
        &[0.0],
        &[-B],
    );
    let found = visit(&tent, &[0.3141592], &without_transient(200_000));
    assert_eq!(found.stop, None);
    let [left, right] = &found.regions[..] else {
        panic!("two regions")
    };
    assert_eq!((left.n_active(), right.n_active()), (0, 1));
    assert!((left.occupancy - B).abs() < 0.005, "{}", left.occupancy);
    assert!((left.occupancy + right.occupancy - 1.0).abs() < 1e-12);
    // Stays are geometric: 1 / (1 - b) steps in the left region, 1 / b in the right one.
    assert!(
        (left.mean_stay() - 1.0 / (1.0 - B)).abs() < 0.05,
        "{}",
        left.mean_stay()
    );
    assert!(
        (right.mean_stay() - 1.0 / B).abs() < 0.05,
        "{}",
        right.mean_stay()
    );
    let maps = [left, right].map(|region| region.map.as_ref().unwrap());
    let radii = maps.map(|map| map.spectral_radius());
    assert!((radii[0] - 1.0 / B).abs() < 1e-12 && (radii[1] - 1.0 / (1.0 - B)).abs() < 1e-12);
    assert_eq!(maps.map(|map| map.n_unstable()), [1, 1]);
    // z* = 0 on the left, 1 / (2 - b) on the right, both in their regions.
    let points = maps.map(|map| map.fixed_point.as_ref().unwrap()[0]);
    assert!(points[0].abs() < 1e-12 && (points[1] - 1.0 / (2.0 - B)).abs() < 1e-12);
    assert!(maps.iter().all(|map| map.fixed_point_inside));
    let transitions: Vec<_> = found
        .transitions
        .iter()
        .map(|t| (t.from, t.to, t.probability))
        .collect();
    assert_eq!(transitions, [(0, 1, 1.0), (1, 0, 1.0)]);
}

/// The Lozi map x' = 1 - a |x| + y, y' = b x at a = 1.7, b = 0.5: fixed points of the right region at x = 1 / (1 + a - b),
/// of the left one at x = 1 / (1 - a - b), eigenvalues the roots of l^2 +- a l - b.
#[test]
fn the_lozi_map() {
    let (a, b) = (1.7, 0.5);
    // The diagonal of A is 0; y and b x come through pairs of rectified units.
    let lozi = plrnn(
        &[0.0, 0.0],
        &[-a, -a, 1.0, -1.0, b, -b, 0.0, 0.0],
        &[1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0],
        &[1.0, 0.0],
        &[0.0; 4],
    );
    let found = visit(&lozi, &[0.1, 0.1], &VisitSettings::new(50_000));
    // Quadrants: the kinks on y = 0 change nothing but the name of the region.
    assert_eq!(found.regions.len(), 4);
    for region in &found.regions {
        assert_eq!(region.n_active(), 2);
        let map = region.map.as_ref().unwrap();
        let sign = if region.pattern[0] { 1.0 } else { -1.0 };
        let root = (a * a + 4.0 * b).sqrt();
        assert!((map.spectral_radius() - (a + root) / 2.0).abs() < 1e-10);
        assert_eq!(map.n_unstable(), 1);
        let x = 1.0 / (1.0 + sign * a - b);
        let point = map.fixed_point.as_ref().unwrap();
        assert!((point[0] - x).abs() < 1e-10 && (point[1] - b * x).abs() < 1e-10);
        assert_eq!(
            map.fixed_point_inside,
            region.pattern[0] == region.pattern[2]
        );
        assert_eq!(
            region.pattern[0],
            found.states[[region.first_visit, 0]] > 0.0
        );
    }
}

/// A cycle of two steps between two regions, by hand.
#[test]
fn a_cycle_of_two_steps() {
    // z' = 1 - 2.5 relu(z): 1 -> -1.5 -> 1 ...
    let map = plrnn(&[0.0], &[-2.5], &[1.0], &[1.0], &[0.0]);
    let found = visit(&map, &[1.0], &without_transient(101));
    assert_eq!(found.sequence[..4], [0, 1, 0, 1]);
    let counts: Vec<_> = found
        .regions
        .iter()
        .map(|r| (r.visits, r.stays, r.longest_stay))
        .collect();
    assert_eq!(counts, [(51, 51, 1), (50, 50, 1)]);
    let transitions: Vec<_> = found
        .transitions
        .iter()
        .map(|t| (t.from, t.to, t.count))
        .collect();
    assert_eq!(transitions, [(0, 1, 50), (1, 0, 50)]);
    // In the left region z' = 1, whose fixed point lies in the right one.
    let left = found.regions[1].map.as_ref().unwrap();
    assert_eq!(left.fixed_point.as_deref(), Some(&[1.0][..]));
    assert!(!left.fixed_point_inside);
    assert_eq!(left.spectral_radius(), 0.0);
    // The identity has no single fixed point.
    let identity = plrnn(&[1.0], &[0.0], &[1.0], &[0.0], &[0.0]);
    let found = visit(&identity, &[1.0], &without_transient(3));
    assert_eq!(found.regions[0].map.as_ref().unwrap().fixed_point, None);
    assert_eq!(found.regions[0].longest_stay, 3);
}

#[test]
fn what_leaves_its_bounds_or_is_smooth() {
    let growing = plrnn(&[2.0], &[0.0], &[1.0], &[0.0], &[0.0]);
    let found = visit(&growing, &[1.0], &without_transient(100));
    assert_eq!(found.stop, Some(Stop::BeyondBound { step: 20 }));
    assert_eq!(found.sequence.len(), 20);
    let late = VisitSettings::new(10);
    assert_eq!(visit(&growing, &[1.0], &late).regions, []);
    let smooth = regions_visited(&henon(), &[0.0, 0.0], &[], &late, &mut |_| true);
    assert_eq!(smooth.unwrap_err(), Error::NotPiecewiseLinear);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the network: occupancies and counts add up, and the map of a region is the map at every state in it.
    #[test]
    fn counts_add_up(seed in 0u64..1000, gain in 0.5f64..3.0) {
        let network = random_network(CellKind::ClippedShallowPlrnn, 0, 3, 8, gain, seed);
        let settings = VisitSettings { described: 5, ..without_transient(500) };
        let found = visit(&network, &[0.5, -0.5, 0.2], &settings);
        let states = found.sequence.len();
        prop_assert_eq!(found.regions.iter().map(|r| r.visits).sum::<usize>(), states);
        let changes: usize = found.transitions.iter().map(|t| t.count).sum();
        let stays: usize = found.regions.iter().map(|r| r.stays).sum();
        prop_assert_eq!(stays, changes + 1);
        prop_assert!(found.regions.windows(2).all(|w| w[0].visits >= w[1].visits));
        for (place, region) in found.regions.iter().enumerate() {
            prop_assert_eq!(region.map.is_some(), place < 5);
            prop_assert!(region.longest_stay <= region.visits);
            prop_assert_eq!(found.sequence[region.first_visit], place);
        }
        for (state, region) in found.states.rows().into_iter().zip(&found.sequence) {
            let pattern = network.linear_region(&state.to_vec(), &[]);
            prop_assert_eq!(pattern.as_ref(), Some(&found.regions[*region].pattern));
        }
        // A fixed point that lies in its region is one of the network.
        for map in found.regions.iter().filter_map(|r| r.map.as_ref()) {
            if let (Some(point), true) = (&map.fixed_point, map.fixed_point_inside) {
                let mut next = vec![0.0; 3];
                network.step(point, &[], &mut next);
                for (x, y) in point.iter().zip(&next) {
                    prop_assert!((x - y).abs() < 1e-9 * (1.0 + x.abs()));
                }
            }
        }
    }
}
