//! Basins of attraction, neighbourhoods in which convergence is proved, planes and what is drawn on them.

mod common;

use common::{Map, flip_flop_tanh, random_network, tanh_network, visited_states};
use ndarray::{Array2, array};
use nullcline_analysis::attraction::attracting_ball;
use nullcline_analysis::basins::{
    Attractor, BasinSettings, Basins, End, KnownPoint, basin_entropy, find_basins,
};
use nullcline_analysis::fixed_points::{FixedPointSettings, find_fixed_points};
use nullcline_analysis::plane::Plane;
use nullcline_analysis::speed_landscape::{speeds, vector_field};
use nullcline_analysis::{Dynamics, Error};
use nullcline_models::architecture::CellKind;
use nullcline_models::network::Network;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

fn basins(
    map: &(impl Dynamics + ?Sized),
    starts: &[Vec<f64>],
    known: &[KnownPoint],
    settings: &BasinSettings,
) -> Basins {
    let start = |index: usize| starts[index].clone();
    let input = vec![0.0; map.input_dim()];
    find_basins(
        map,
        starts.len(),
        start,
        &input,
        known,
        settings,
        &mut |_| true,
    )
    .unwrap()
}

fn grid(plane: &Plane) -> Vec<Vec<f64>> {
    (0..plane.rows() * plane.columns())
        .map(|index| plane.grid_state(index))
        .collect()
}

fn square(half: f64, points: usize) -> Plane {
    let plane = Plane::whole(2, points).unwrap();
    plane.with_ranges(&[(-half, half); 2]).unwrap()
}

/// The fixed points of a network that random starts lead to, with what is proved of them.
fn known_points(network: &Network, starts: usize, seed: u64) -> Vec<KnownPoint> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let starts = Array2::from_shape_simple_fn((starts, network.state_dim()), || {
        rng.random_range(-1.5..1.5)
    });
    let input = vec![0.0; network.input_dim()];
    let search = find_fixed_points(
        network,
        starts.view(),
        &input,
        &FixedPointSettings::default(),
        &mut |_| true,
    )
    .unwrap();
    let known = search.fixed().map(|point| KnownPoint {
        state: point.state.clone(),
        existence: point.certificate().unwrap().existence,
    });
    known.collect()
}

fn ends(found: &Basins) -> Vec<End> {
    found.attractors.iter().map(|a| a.end).collect()
}

/// x' = tanh(2 x): slopes above 1 for |x| < atanh(1/sqrt 2) / 2, so that no neighbourhood of the stable point in which
/// the map contracts reaches farther.
#[test]
fn the_ball_of_a_bistable_unit_is_as_large_as_can_be() {
    let unit = tanh_network(&[2.0], &[0.0]);
    let stable = known_points(&unit, 20, 1)
        .into_iter()
        .find(|point| point.state[0] > 0.5)
        .unwrap();
    let ball = attracting_ball(&unit, &stable.state, &[], stable.existence)
        .unwrap()
        .unwrap();
    let most = stable.state[0] - 0.5_f64.sqrt().atanh() / 2.0;
    let reach = ball.half_widths()[0];
    assert!(reach < most && reach > most / 1.11, "{reach} of {most}");
    assert!(ball.contains(&[stable.state[0] - 0.9 * most]));
    assert!(!ball.contains(&[0.0]));
    // The saddle between has none.
    assert_eq!(attracting_ball(&unit, &[0.0], &[], 0.0).unwrap(), None);
}

/// A strongly non-normal contraction, which grows a thousandfold before it shrinks: the norm must be the right one.
#[test]
fn a_non_normal_contraction_has_a_ball() {
    let map = tanh_network(&[0.9, 1000.0, 0.0, 0.9], &[0.0, 0.0]);
    let ball = attracting_ball(&map, &[0.0, 0.0], &[], 0.0)
        .unwrap()
        .unwrap();
    assert!(ball.contraction < 1.0 && ball.contraction > 0.9);
    let reach = ball.half_widths();
    assert!(reach[0] > 100.0 * reach[1], "{reach:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Inside a ball every step brings a state nearer by the factor that was proved, for networks of all kinds.
    #[test]
    fn balls_contract(
        cell in prop::sample::select(vec![
            CellKind::VanillaTanh, CellKind::LeakyRateTanh, CellKind::Gru, CellKind::ClippedShallowPlrnn,
        ]),
        units in 1_usize..7, gain in 0.3_f64..2.5, seed in any::<u64>(),
    ) {
        let network = random_network(cell, 0, units, 2 * units, gain, seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let dim = network.state_dim();
        for point in known_points(&network, 12, seed) {
            let Some(ball) = attracting_ball(&network, &point.state, &[], point.existence).unwrap() else {
                continue;
            };
            prop_assert!(ball.contraction < 1.0);
            let mut next = vec![0.0; dim];
            for _ in 0..20 {
                // From the boundary inwards along a random direction.
                let along: Vec<f64> = (0..dim).map(|_| rng.random_range(-1.0..1.0)).collect();
                let at = |t: f64| -> Vec<f64> {
                    point.state.iter().zip(&along).map(|(x, a)| x + t * a).collect()
                };
                let reach = 0.999 * ball.radius / ball.distance(&at(1.0));
                let state = at(reach * rng.random_range(0.01..1.0));
                prop_assert!(ball.contains(&state));
                network.step(&state, &[], &mut next);
                let (before, after) = (ball.distance(&state), ball.distance(&next));
                prop_assert!(after <= ball.contraction * before + 1e-9 * ball.radius, "{before} {after}");
            }
        }
    }

    /// A start and the state one step later come to the same end, and every attractor to itself.
    #[test]
    fn a_step_does_not_change_the_end(units in 2_usize..6, gain in 1.0_f64..3.0, seed in any::<u64>()) {
        let network = random_network(CellKind::VanillaTanh, 0, units, 0, gain, seed);
        let known = known_points(&network, 40, seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut starts: Vec<Vec<f64>> = (0..60)
            .map(|_| (0..units).map(|_| rng.random_range(-1.0..1.0)).collect())
            .collect();
        let after: Vec<Vec<f64>> = starts.iter().map(|start| {
            let mut next = vec![0.0; units];
            network.step(start, &[], &mut next);
            next
        }).collect();
        starts.extend(after);
        starts.extend(known.iter().map(|point| point.state.clone()));
        let found = basins(&network, &starts, &known, &BasinSettings::default());
        // What took all of the steps is said by their end, which may lie on either side of what another step brings.
        let decided = |k: usize| found.steps[k] < BasinSettings::default().steps;
        for k in (0..60).filter(|&k| decided(k) && decided(60 + k)) {
            prop_assert_eq!(found.labels[k], found.labels[60 + k]);
        }
        for (index, label) in found.labels[120..].iter().enumerate() {
            let attractor = &found.attractors[*label];
            // A start on a saddle leaves it by rounding, unless it is one in f64 as well.
            let stable = found.attractors.iter().any(|a| a.known == Some(index) && a.attracting == Some(true));
            if stable {
                prop_assert_eq!(attractor.known, Some(index));
                prop_assert_eq!(found.steps[120 + index], 0);
            }
        }
        prop_assert_eq!(found.attractors.iter().map(|a| a.starts).sum::<usize>(), starts.len());
        for attractor in found.attractors.iter().filter(|a| a.attracting == Some(true)) {
            // x_k+1 = F(x_k), around the cycle.
            let mut next = vec![0.0; units];
            for (k, state) in attractor.states.rows().into_iter().enumerate() {
                network.step(&state.to_vec(), &[], &mut next);
                let want = attractor.states.row((k + 1) % attractor.states.nrows());
                for (x, want) in next.iter().zip(want) {
                    prop_assert!((x - want).abs() < 1e-9);
                }
            }
        }
    }
}

/// x' = x / 2 has one basin; steps by hand: until 2^-t |x|_inf <= 1e-6 where nothing is proved of the map, until within
/// `arrival` where all is.
#[test]
fn linear_contraction() {
    let halving = Map(|[x, y]: [f64; 2]| ([x / 2.0, y / 2.0], [[0.5, 0.0], [0.0, 0.5]]));
    let known = [KnownPoint {
        state: vec![0.0; 2],
        existence: 0.0,
    }];
    let starts = grid(&square(8.0, 9));
    let check = |map: &dyn Dynamics, near: f64| {
        let found = basins(map, &starts, &known, &BasinSettings::default());
        assert_eq!(ends(&found), [End::FixedPoint]);
        assert_eq!(found.attractors[0].known, Some(0));
        for (start, steps) in starts.iter().zip(&found.steps) {
            let size = start[0].abs().max(start[1].abs());
            let want = (size / near).log2().ceil().max(0.0) as usize;
            assert_eq!(*steps, want, "{start:?}");
        }
    };
    check(&halving, 1e-6);
    let mut network = random_network(CellKind::LeakyRateTanh, 0, 2, 0, 0.0, 1);
    let architecture = network.architecture().clone();
    let layout = architecture.layout();
    let mut parameters = vec![0.0; layout.total];
    parameters[layout.unit].fill(0.5);
    network = Network::from_f64(architecture, parameters);
    check(&network, 0.01);
}

/// Two units x' = tanh(2 x): four basins, the quadrants; the axes belong to the saddles and the origin.
#[test]
fn quadrants() {
    let network = tanh_network(&[2.0, 0.0, 0.0, 2.0], &[0.0, 0.0]);
    let known = known_points(&network, 200, 3);
    assert_eq!(known.len(), 9);
    // An odd number of points: the middle row and column lie on the axes.
    let starts = grid(&square(1.2, 41));
    let found = basins(&network, &starts, &known, &BasinSettings::default());
    assert_eq!(found.attractors.len(), 9);
    for (start, label) in starts.iter().zip(&found.labels) {
        let attractor = &found.attractors[*label];
        for (x, s) in start.iter().zip(attractor.states.row(0)) {
            // On an axis to within rounding of the grid.
            let x = if x.abs() < 1e-12 { 0.0 } else { *x };
            let s = if s.abs() < 1e-9 { 0.0 } else { *s };
            assert!(x * s > 0.0 || x == 0.0 && s == 0.0, "{start:?} to {s}");
        }
    }
    let stable = |a: &&Attractor| a.attracting == Some(true);
    let shares: Vec<usize> = found
        .attractors
        .iter()
        .filter(stable)
        .map(|a| a.starts)
        .collect();
    assert_eq!(shares, [400; 4]);
    assert!(
        found
            .attractors
            .iter()
            .all(|a| a.end == End::FixedPoint && a.known.is_some())
    );
    // The same attractors where none is known beforehand.
    let alone = basins(&network, &starts, &[], &BasinSettings::default());
    let shares: Vec<usize> = alone
        .attractors
        .iter()
        .filter(stable)
        .map(|a| a.starts)
        .collect();
    assert_eq!(shares, [400; 4]);
}

/// Newton's method for z^3 = 1: three roots, whose basins a turn by a third carries into each other.
#[test]
fn newtons_fractal() {
    // z - (z^3 - 1) / (3 z^2) = (2 z + z^-2) / 3, with derivative 2/3 (1 - z^-3).
    let newton = Map(|[x, y]: [f64; 2]| {
        let square = (x * x + y * y).powi(2);
        let (a, b) = ((x * x - y * y) / square, -2.0 * x * y / square);
        // z^-3 = z^-2 conj(z) / |z|^2
        let size = x * x + y * y;
        let (c, d) = ((a * x + b * y) / size, (b * x - a * y) / size);
        let (re, im) = (2.0 / 3.0 * (1.0 - c), -2.0 / 3.0 * d);
        (
            [(2.0 * x + a) / 3.0, (2.0 * y + b) / 3.0],
            [[re, -im], [im, re]],
        )
    });
    let (rings, spokes) = (40, 120);
    let starts: Vec<Vec<f64>> = (0..rings * spokes)
        .map(|k| {
            let radius = 2.0 * (f64::from(k / spokes) + 0.5) / f64::from(rings);
            let angle = std::f64::consts::TAU * (f64::from(k % spokes) + 0.37) / f64::from(spokes);
            vec![radius * angle.cos(), radius * angle.sin()]
        })
        .collect();
    let found = basins(&newton, &starts, &[], &BasinSettings::default());
    assert_eq!(ends(&found), [End::FixedPoint; 3]);
    for attractor in &found.attractors {
        assert_eq!(attractor.starts, starts.len() / 3);
        let (x, y) = (attractor.states[[0, 0]], attractor.states[[0, 1]]);
        let cube = [x * x * x - 3.0 * x * y * y, 3.0 * x * x * y - y * y * y];
        assert!((cube[0] - 1.0).abs() < 1e-12 && cube[1].abs() < 1e-12);
        assert_eq!(attractor.attracting, Some(true));
    }
    let third = (spokes / 3) as usize;
    let turned = |label: usize| {
        let states = &found.attractors[label].states;
        let (x, y) = (states[[0, 0]], states[[0, 1]]);
        let (sin, cos) = (std::f64::consts::TAU / 3.0).sin_cos();
        let want = [cos * x - sin * y, sin * x + cos * y];
        found
            .attractors
            .iter()
            .position(|a| (a.states[[0, 0]] - want[0]).hypot(a.states[[0, 1]] - want[1]) < 1e-9)
            .unwrap()
    };
    for (k, &label) in found.labels.iter().enumerate() {
        let (ring, spoke) = (k / spokes as usize, k % spokes as usize);
        let other = ring * spokes as usize + (spoke + third) % spokes as usize;
        assert_eq!(found.labels[other], turned(label), "start {k}");
    }
    // All of the boundary points border on all three basins: mixed boxes are more mixed than two basins can be.
    let plane = square(2.0, 200);
    let found = basins(&newton, &grid(&plane), &[], &BasinSettings::default());
    let entropy = basin_entropy(&found.labels, 200, 5).unwrap();
    assert!(entropy.entropy > 0.05 && entropy.entropy < 3_f64.ln());
    assert!(entropy.boundary_entropy.unwrap() > entropy.entropy);
}

/// The Ikeda map with u = 0.9: a chaotic attractor beside a stable fixed point (S. M. Hammel, C. K. R. T. Jones & J. V.
/// Moloney, J. Opt. Soc. Am. B 2, 552, 1985). The fixed point comes from one equation in |z|^2; which starts come to it, from plain
/// iteration.
#[test]
fn ikeda_map() {
    const U: f64 = 0.9;
    let step = |[x, y]: [f64; 2]| {
        let size = 1.0 + x * x + y * y;
        let (sin, cos) = (0.4 - 6.0 / size).sin_cos();
        let next = [1.0 + U * (x * cos - y * sin), U * (x * sin + y * cos)];
        // d angle / dx = 12 x / size^2, and the vector turned by a right angle times it.
        let slope = [x, y].map(|v| 12.0 * v / (size * size));
        let turned = [-next[1], next[0] - 1.0];
        let jacobian = [
            [
                U * cos + turned[0] * slope[0],
                -U * sin + turned[0] * slope[1],
            ],
            [
                U * sin + turned[1] * slope[0],
                U * cos + turned[1] * slope[1],
            ],
        ];
        (next, jacobian)
    };
    let map = Map(step);
    // z (1 - u e^it) = 1, so |z|^2 (1 - 2 u cos t + u^2) = 1 with t = 0.4 - 6 / (1 + |z|^2).
    let angle = |s: f64| 0.4 - 6.0 / (1.0 + s);
    let excess = |s: f64| s * (1.0 - 2.0 * U * angle(s).cos() + U * U) - 1.0;
    let (mut low, mut high) = (20.0, 40.0);
    assert!(excess(low) < 0.0 && excess(high) > 0.0);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        if excess(middle) < 0.0 {
            low = middle
        } else {
            high = middle
        }
    }
    let (sin, cos) = angle(low).sin_cos();
    let [re, im] = [1.0 - U * cos, -U * sin];
    let sink = [re * low, -im * low];

    let plane = Plane::whole(2, 60).unwrap();
    let plane = plane.with_ranges(&[(-2.0, 6.0), (-3.0, 6.0)]).unwrap();
    let starts = grid(&plane);
    let settings = BasinSettings::default();
    let found = basins(&map, &starts, &[], &settings);
    assert_eq!(ends(&found), [End::FixedPoint, End::Aperiodic]);
    let point = &found.attractors[0];
    assert_eq!(point.attracting, Some(true));
    for (x, want) in point.states.row(0).iter().zip(sink) {
        assert!((x - want).abs() < 1e-9, "{} not at {sink:?}", point.states);
    }
    for (start, label) in starts.iter().zip(&found.labels) {
        let mut state = [start[0], start[1]];
        for _ in 0..4000 {
            state = step(state).0;
        }
        let settled = (state[0] - sink[0]).hypot(state[1] - sink[1]) < 1e-3;
        assert_eq!(settled, *label == 0, "{start:?}");
    }
    let fraction = point.starts as f64 / starts.len() as f64;
    println!("Ikeda: {fraction} of the starts come to the fixed point");
    assert!((0.05..0.95).contains(&fraction), "{fraction}");
    // Later starts need not go all the way to know the chaotic attractor.
    let mut chaotic: Vec<usize> = (0..starts.len())
        .filter(|&k| found.labels[k] == 1)
        .map(|k| found.steps[k])
        .collect();
    chaotic.sort_unstable();
    assert!(
        chaotic[chaotic.len() / 2] < 1000,
        "{}",
        chaotic[chaotic.len() / 2]
    );

    // The same for any number of threads.
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        assert_eq!(
            pool.install(|| basins(&map, &starts, &[], &settings)),
            found
        );
    }
}

/// A turn by three quarters onto the unit circle: every start comes to a cycle of four steps of its own, which is one
/// continuum; with the phase locked there is a single one, which attracts.
#[test]
fn cycles_of_period_four() {
    let turn = |lock: f64| {
        Map(move |[x, y]: [f64; 2]| {
            let (radius, angle) = ((x * x + y * y).sqrt(), y.atan2(x));
            let shift = lock * (4.0 * angle).sin();
            let (sin, cos) = shift.sin_cos();
            // The turn by three quarters is exact: (x, y) to (y, -x).
            let unit = [x / radius, y / radius];
            let at = [cos * unit[0] - sin * unit[1], sin * unit[0] + cos * unit[1]];
            let next = [radius.sqrt() * at[1], -radius.sqrt() * at[0]];
            // In polar coordinates diag(1 / (2 sqrt r), 1 + 4 lock cos 4 angle).
            let (along, across) = (0.5 / radius.sqrt(), 1.0 + 4.0 * lock * (4.0 * angle).cos());
            let across = across * radius.sqrt() / radius;
            let to = [[at[1], -at[0]], [at[0], at[1]]];
            let from = [unit, [-unit[1], unit[0]]];
            let j =
                |i: usize, k: usize| along * to[0][i] * from[0][k] + across * to[1][i] * from[1][k];
            (next, [[j(0, 0), j(0, 1)], [j(1, 0), j(1, 1)]])
        })
    };
    let starts = grid(&square(2.0, 20));
    let free = basins(&turn(0.0), &starts, &[], &BasinSettings::default());
    assert_eq!(ends(&free), [End::Cycle]);
    assert_eq!(
        (free.attractors[0].period(), free.attractors[0].attracting),
        (Some(4), Some(false))
    );
    let locked = basins(&turn(0.2), &starts, &[], &BasinSettings::default());
    let cycle = &locked.attractors[0];
    assert_eq!(
        (cycle.end, cycle.period(), cycle.attracting),
        (End::Cycle, Some(4), Some(true))
    );
    // All but the starts on the diagonals and axes that the lock repels from.
    assert!(cycle.starts >= starts.len() - 80, "{}", cycle.starts);
    for state in cycle.states.rows() {
        for x in state {
            assert!((x.abs() - 0.5_f64.sqrt()).abs() < 1e-9, "{}", cycle.states);
        }
    }
}

/// x' = 3.2 x (1 - x): a cycle of two steps from 0 to 1, known in closed form; from elsewhere the state escapes.
#[test]
fn the_logistic_map_cycles_or_escapes() {
    let map = Map(|[x]: [f64; 1]| ([3.2 * x * (1.0 - x)], [[3.2 - 6.4 * x]]));
    let line = Plane::whole(1, 400)
        .unwrap()
        .with_ranges(&[(-1.0, 2.0)])
        .unwrap();
    assert_eq!((line.rows(), line.columns(), line.axes()), (1, 400, 1));
    let starts = grid(&line);
    let found = basins(&map, &starts, &[], &BasinSettings::default());
    assert_eq!(ends(&found), [End::Cycle, End::Escaped]);
    let root = (0.2_f64 * 4.2).sqrt();
    let mut states = found.attractors[0].states.column(0).to_vec();
    states.sort_by(f64::total_cmp);
    for (x, want) in states.iter().zip([(4.2 - root) / 6.4, (4.2 + root) / 6.4]) {
        assert!((x - want).abs() < 1e-12, "{states:?}");
    }
    for (start, label) in starts.iter().zip(&found.labels) {
        assert_eq!(*label == 0, start[0] > 0.0 && start[0] < 1.0, "{start:?}");
    }
    // Beyond the first bound it is known at once.
    let settings = BasinSettings {
        bound: 1.5,
        ..BasinSettings::default()
    };
    let found = basins(&map, &starts, &[], &settings);
    assert_eq!(found.steps[399], 0);
}

/// Two chaotic maps side by side, x' = sign(x) 3.9 |x| (1 - |x|), are two attractors; too few steps decide nothing.
#[test]
fn two_chaotic_attractors() {
    let map = Map(|[x]: [f64; 1]| {
        let size = x.abs();
        (
            [x.signum() * 3.9 * size * (1.0 - size)],
            [[3.9 - 7.8 * size]],
        )
    });
    let starts: Vec<Vec<f64>> = (0..200)
        .map(|k| vec![-0.99 + 1.98 * f64::from(k) / 199.0])
        .collect();
    let found = basins(&map, &starts, &[], &BasinSettings::default());
    assert_eq!(ends(&found), [End::Aperiodic; 2]);
    for (start, label) in starts.iter().zip(&found.labels) {
        assert_eq!(
            start[0] > 0.0,
            found.attractors[*label].states[[0, 0]] > 0.0
        );
    }
    // A slow approach is no end.
    let slow = Map(|[x]: [f64; 1]| ([0.999 * x], [[0.999]]));
    let settings = BasinSettings {
        steps: 500,
        ..BasinSettings::default()
    };
    let found = basins(&slow, &starts[..3], &[], &settings);
    assert_eq!(ends(&found), [End::Undecided]);
    assert_eq!(found.steps, [500; 3]);
    assert_eq!(
        ends(&basins(
            &slow,
            &starts[..3],
            &[],
            &BasinSettings {
                steps: 30_000,
                ..settings
            }
        )),
        [End::FixedPoint]
    );
}

/// x' = r x (1 - x) with r a little above 4 is chaotic until the state finds the gap about 1/2, after some thousand steps.
/// That irregular motion can be left again must be seen, and all starts be followed to their own end.
#[test]
fn transient_chaos_ends_no_start_early() {
    let step = |x: f64| 4.000_001 * x * (1.0 - x);
    let map = Map(move |[x]: [f64; 1]| ([step(x)], [[4.000_001 * (1.0 - 2.0 * x)]]));
    let starts: Vec<Vec<f64>> = (0..400)
        .map(|k| vec![0.001 + f64::from(k) / 401.0])
        .collect();
    let settings = BasinSettings::default();
    let found = basins(&map, &starts, &[], &settings);
    let escaped = |label: usize| found.attractors[label].end == End::Escaped;
    let mut count = 0;
    for (start, label) in starts.iter().zip(&found.labels) {
        let mut x = start[0];
        let escapes = (0..settings.steps).any(|_| {
            x = step(x);
            x.abs() > settings.bound
        });
        assert_eq!(escapes, escaped(*label), "{start:?}");
        count += usize::from(escapes);
    }
    assert!((100..390).contains(&count), "{count}");
}

/// Every point of a line attractor is an end of its own; they count as one.
#[test]
fn a_line_attractor_is_one() {
    let map = Map(|[x, y]: [f64; 2]| ([0.5 * (x + y), 0.5 * (x + y)], [[0.5, 0.5], [0.5, 0.5]]));
    let found = basins(
        &map,
        &grid(&square(1.0, 20)),
        &[],
        &BasinSettings::default(),
    );
    assert_eq!(ends(&found), [End::FixedPoint]);
    assert_eq!(found.attractors[0].attracting, Some(false));
}

/// A plane through three of the eight stable points of a trained 3-bit flip-flop: each of them lies in its own basin, as
/// do the points beside it.
#[test]
fn flip_flop_through_three_stable_points() {
    let (network, points) = flip_flop_tanh();
    let states = visited_states(&network, 400, 2);
    let input = [0.0; 3];
    let search = find_fixed_points(
        &network,
        states.view(),
        &input,
        &FixedPointSettings::default(),
        &mut |_| true,
    )
    .unwrap();
    let known: Vec<KnownPoint> = search
        .fixed()
        .map(|point| KnownPoint {
            state: point.state.clone(),
            existence: point.certificate().unwrap().existence,
        })
        .collect();
    let stable: Vec<usize> = search
        .fixed()
        .filter(|p| p.n_unstable == Some(0))
        .map(|p| p.id)
        .collect();
    assert_eq!(stable.len(), 8);
    assert!(points.nrows() >= 8);
    let corners = [stable[0], stable[1], stable[2]];
    let plane = Plane::through(corners.map(|k| &known[k].state[..]), 30).unwrap();
    let shown = Array2::from_shape_fn((3, 16), |(k, i)| known[corners[k]].state[i]);
    let plane = plane.fitted(shown.view(), 1.2).unwrap();
    let mut starts = grid(&plane);
    starts.extend(corners.map(|k| known[k].state.clone()));
    let found = basins(&network, &starts, &known, &BasinSettings::default());
    assert_eq!(
        found
            .attractors
            .iter()
            .filter(|a| a.attracting == Some(true))
            .count(),
        8
    );
    for (place, k) in corners.into_iter().enumerate() {
        let label = found.labels[900 + place];
        assert_eq!(found.attractors[label].known, Some(k));
        let (at, distance) = plane.place(&known[k].state);
        assert!(distance < 1e-12);
        // The cell that the point lies in.
        let cell = |axis: usize| {
            let (low, high) = plane.ranges()[axis];
            ((at[axis] - low) / (high - low) * 30.0) as usize
        };
        assert_eq!(found.labels[cell(1) * 30 + cell(0)], label);
        assert!(found.attractors[label].starts > 50);
    }
    assert!(found.attractors.iter().all(|a| a.end == End::FixedPoint));
}

#[test]
fn entropy_of_known_maps() {
    // One basin.
    let one = basin_entropy(&[3; 100], 10, 5).unwrap();
    assert_eq!((one.entropy, one.boundary_entropy), (0.0, None));
    // Two halves whose boundary cuts the left boxes at two fifths: half of the boxes are mixed.
    let halves: Vec<usize> = (0..100).map(|k| usize::from(k % 10 >= 2)).collect();
    let mixed = 0.4 * 2.5_f64.ln() + 0.6 * (1.0_f64 / 0.6).ln();
    let found = basin_entropy(&halves, 10, 5).unwrap();
    assert!((found.entropy - mixed / 2.0).abs() < 1e-14);
    assert!((found.boundary_entropy.unwrap() - mixed).abs() < 1e-14);
    // Four labels everywhere alike.
    let checks: Vec<usize> = (0..64).map(|k| 2 * ((k / 8) % 2) + k % 2).collect();
    let found = basin_entropy(&checks, 8, 2).unwrap();
    assert!((found.entropy - 4_f64.ln()).abs() < 1e-14);
    assert!(matches!(
        basin_entropy(&checks, 8, 9),
        Err(Error::TooFew { .. })
    ));
    assert!(matches!(
        basin_entropy(&checks, 0, 2),
        Err(Error::Setting { .. })
    ));
}

#[test]
fn planes() {
    let [a, b, c] = [[1.0, 0.0, 2.0], [1.0, 2.0, 2.0], [4.0, 1.0, 6.0]];
    let plane = Plane::through([&a, &b, &c], 4).unwrap();
    assert!((plane.place(&a).0[0]).abs() < 1e-15 && plane.place(&a).1 < 1e-15);
    let close =
        |place: &[f64], want: [f64; 2]| place.iter().zip(want).all(|(x, w)| (x - w).abs() < 1e-14);
    assert!(close(&plane.place(&b).0, [2.0, 0.0]));
    assert!(close(&plane.place(&c).0, [1.0, 5.0]));
    // Off the plane by 10 along its normal (4, 0, -3) / 5.
    let (place, distance) = plane.place(&[1.0 + 8.0, 0.0, 2.0 - 6.0]);
    assert!(close(&place, [0.0, 0.0]) && (distance - 10.0).abs() < 1e-13);
    // Ranges of one length that hold all, one and a half times.
    let plane = plane
        .fitted(array![a, b, c, [f64::NAN; 3]].view(), 1.5)
        .unwrap();
    assert!(close(
        &[plane.ranges()[0].0, plane.ranges()[0].1],
        [1.0 - 3.75, 1.0 + 3.75]
    ));
    assert!(close(
        &[plane.ranges()[1].0, plane.ranges()[1].1],
        [2.5 - 3.75, 2.5 + 3.75]
    ));
    // Middles of cells, columns first.
    assert!(close(
        &plane.grid_place(0),
        [-2.75 + 7.5 / 8.0, -1.25 + 7.5 / 8.0]
    ));
    assert!(close(
        &plane.grid_place(5),
        [-2.75 + 7.5 * 3.0 / 8.0, -1.25 + 7.5 * 3.0 / 8.0]
    ));
    assert!(close(
        &plane.grid_place(1),
        [-2.75 + 7.5 * 3.0 / 8.0, -1.25 + 7.5 / 8.0]
    ));
    assert!(close(
        &plane.place(&plane.grid_state(7)).0,
        [plane.grid_place(7)[0], plane.grid_place(7)[1]]
    ));
    let line = Plane::through([&a, &b, &[1.0, 7.0, 2.0]], 4);
    assert!(matches!(
        line,
        Err(Error::Setting {
            what: "directions",
            ..
        })
    ));
    assert!(matches!(Plane::whole(3, 4), Err(Error::Setting { .. })));
    assert!(matches!(Plane::whole(2, 0), Err(Error::Setting { .. })));
    assert!(matches!(
        Plane::through([&a, &b, &[f64::NAN; 3]], 4),
        Err(Error::NotFinite { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Directions are orthonormal, a place is the nearest point of the plane, and the parts of a vector add up.
    #[test]
    fn planes_are_orthonormal(dim in 2_usize..12, scale in -6.0..6.0f64, seed in any::<u64>()) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut vector = |size: f64| -> Vec<f64> { (0..dim).map(|_| size * rng.random_range(-1.0..1.0)).collect() };
        let size = 10f64.powf(scale);
        let [origin, first, second, state] = [1.0, 1.0, size, 2.0].map(&mut vector);
        let directions = Array2::from_shape_vec((2, dim), [first, second].concat()).unwrap();
        let plane = Plane::new(&origin, directions.view(), 7).unwrap();
        let gram = plane.directions().dot(&plane.directions().t());
        for ((i, j), x) in gram.indexed_iter() {
            prop_assert!((x - f64::from(u8::from(i == j))).abs() < 1e-12);
        }
        let (place, distance) = plane.place(&state);
        let nearest = plane.state(&place);
        let offset: Vec<f64> = state.iter().zip(&nearest).map(|(a, b)| a - b).collect();
        let length = offset.iter().map(|x| x * x).sum::<f64>().sqrt();
        prop_assert!((length - distance).abs() < 1e-12);
        prop_assert!(plane.along(&offset).iter().all(|x| x.abs() < 1e-12));
    }
}

/// A linear map x' = A x: q = |(A - I) x|^2 / 2, and the parts of the step in the plane and off it, by hand.
#[test]
fn speeds_and_vectors_of_a_linear_map() {
    let map = Map(|[x, y, z]: [f64; 3]| {
        let matrix = [[1.5, 0.0, 0.0], [0.0, 0.5, 0.0], [2.0, 0.0, 1.0]];
        ([1.5 * x, 0.5 * y, 2.0 * x + z], matrix)
    });
    let plane = Plane::new(
        &[0.0; 3],
        array![[1.0, 0.0, 0.0], [0.0, 3.0, 0.0]].view(),
        5,
    )
    .unwrap();
    let q = speeds(&map, &plane, &[], &mut |_| true).unwrap();
    let field = vector_field(&map, &plane, &[], &mut |_| true).unwrap();
    for row in 0..5 {
        for column in 0..5 {
            let place = plane.grid_place(row * 5 + column);
            let [x, y] = [place[0], place[1]];
            for (at, k) in [(x, column), (y, row)] {
                assert!((at - (0.4 * k as f64 - 0.8)).abs() < 1e-15);
            }
            let step = [0.5 * x, -0.5 * y, 2.0 * x];
            let size = step.iter().map(|s| s * s).sum::<f64>();
            assert!((q[[row, column]] - size / 2.0).abs() < 1e-14);
            for axis in 0..2 {
                assert!((field.vectors[[row, column, axis]] - step[axis]).abs() < 1e-14);
            }
            let leaving = field.leaving[[row, column]];
            if size < 1e-20 {
                assert!(leaving.is_nan() || leaving <= 1.0);
            } else {
                assert!((leaving - step[2].abs() / size.sqrt()).abs() < 1e-12);
            }
        }
    }
    // No number where the step has none, and an end where it is wanted.
    let pole = Map(|[x]: [f64; 1]| ([1.0 / x], [[-1.0 / (x * x)]]));
    let line = Plane::whole(1, 3).unwrap();
    let q = speeds(&pole, &line, &[], &mut |_| true).unwrap();
    assert!(q[[0, 1]].is_nan() && q[[0, 0]].is_finite());
    assert_eq!(
        speeds(&pole, &line, &[], &mut |_| false),
        Err(Error::Stopped)
    );
    assert!(matches!(
        speeds(&pole, &plane, &[], &mut |_| true),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn faulty_settings_and_stopping() {
    let map = Map(|[x]: [f64; 1]| ([x / 2.0], [[0.5]]));
    let run = |settings: BasinSettings, dim: usize, go_on: bool| {
        find_basins(
            &map,
            2,
            |_| vec![1.0; dim],
            &[],
            &[],
            &settings,
            &mut |_| go_on,
        )
    };
    let settings = BasinSettings::default();
    assert!(run(settings.clone(), 1, true).is_ok());
    assert_eq!(run(settings.clone(), 1, false), Err(Error::Stopped));
    assert!(matches!(
        run(settings.clone(), 2, true),
        Err(Error::Shape { .. })
    ));
    for faulty in [
        BasinSettings {
            arrival: 0.0,
            ..settings.clone()
        },
        BasinSettings {
            bound: f64::NAN,
            ..settings.clone()
        },
    ] {
        assert!(matches!(run(faulty, 1, true), Err(Error::Setting { .. })));
    }
    let none = find_basins(&map, 0, |_| Vec::new(), &[], &[], &settings, &mut |_| true).unwrap();
    assert!(none.labels.is_empty() && none.attractors.is_empty());
}
