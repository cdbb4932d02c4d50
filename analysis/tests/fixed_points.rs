//! Fixed points of maps whose fixed points are known, and of two trained networks.

mod common;

use common::{
    Map, TanhNetwork, flip_flop_gru, flip_flop_tanh, henon, henon_fixed_points, random_network,
    reference_gru, tanh_network, visited_states,
};
use ndarray::{Array2, ArrayView2, Axis, array};
use nullcline_analysis::certificates::Refusal;
use nullcline_analysis::fixed_points::{
    Ending, FixedPointSearch, FixedPointSettings, Rejection, Topology, Verdict, find_fixed_points,
    typical_speed,
};
use nullcline_analysis::starts::sample_starts;
use nullcline_analysis::{Dynamics, Error};
use nullcline_models::architecture::CellKind;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::SliceRandom};

fn search(dynamics: &impl Dynamics, starts: &Array2<f64>) -> FixedPointSearch {
    let input = vec![0.0; dynamics.input_dim()];
    find_fixed_points(
        dynamics,
        starts.view(),
        &input,
        &FixedPointSettings::default(),
        &mut |_| true,
    )
    .unwrap()
}

fn random_starts(count: usize, dim: usize, size: f64, seed: u64) -> Array2<f64> {
    let mut rng = SmallRng::seed_from_u64(seed);
    Array2::from_shape_simple_fn((count, dim), || rng.random_range(-size..size))
}

fn nearest(points: &FixedPointSearch, state: &[f64]) -> f64 {
    points
        .fixed()
        .map(|point| {
            point
                .state
                .iter()
                .zip(state)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max)
        })
        .fold(f64::INFINITY, f64::min)
}

fn assert_accounted_for(found: &FixedPointSearch, starts: usize) {
    assert_eq!(
        found
            .points
            .iter()
            .map(|point| point.found_from)
            .sum::<usize>(),
        starts
    );
    assert_eq!(found.led_to.len(), starts);
    for (id, point) in found.points.iter().enumerate() {
        assert_eq!(point.id, id);
        assert_eq!(
            found.led_to.iter().filter(|&&led| led == id).count(),
            point.found_from
        );
        assert_eq!(point.verdict.is_kept(), point.condition.is_some());
        if let Verdict::Rejected(Rejection::DuplicateOf(original)) = point.verdict {
            assert_eq!(found.points[original].verdict, Verdict::Fixed);
        }
    }
}

#[test]
fn a_linear_map_has_one() {
    // x' = J x + c with x* = (I - J)^-1 c = (2, 1); the eigenvalues of J are 1/2 and 0
    let linear = Map(|[x, y]: [f64; 2]| {
        (
            [0.25 * x + 0.5 * y + 1.0, 0.125 * x + 0.25 * y + 0.5],
            [[0.25, 0.5], [0.125, 0.25]],
        )
    });
    let found = search(&linear, &random_starts(50, 2, 100.0, 1));
    assert_accounted_for(&found, 50);
    assert_eq!(found.points.len(), 1);
    let point = &found.points[0];
    assert!(nearest(&found, &[2.0, 1.0]) < 1e-14);
    assert_eq!(
        (point.verdict, point.n_unstable, point.index),
        (Verdict::Fixed, Some(0), Some(1))
    );
    assert!((point.spectral_radius.unwrap() - 0.5).abs() < 1e-14);
    assert!(point.speed <= point.residual * point.residual);
}

#[test]
fn a_pitchfork_has_three() {
    // x = tanh(2 x): 0 and +-0.957504024077...
    let pitchfork = Map(|[x]: [f64; 1]| {
        let y = (2.0 * x).tanh();
        ([y], [[2.0 * (1.0 - y * y)]])
    });
    let found = search(&pitchfork, &random_starts(64, 1, 2.0, 2));
    assert_eq!(found.points.len(), 3);
    let outer = 0.957_504_024_077_268_8_f64;
    for (state, unstable, index) in [(-outer, 0, 1), (0.0, 1, -1), (outer, 0, 1)] {
        assert!(nearest(&found, &[state]) < 1e-13);
        let point = found
            .points
            .iter()
            .find(|point| (point.state[0] - state).abs() < 1e-9)
            .unwrap();
        assert_eq!(
            (point.n_unstable, point.index),
            (Some(unstable), Some(index))
        );
    }
    assert_eq!(found.index_sum, 1);
    // Stable points come first.
    assert_eq!(found.points[2].n_unstable, Some(1));
}

#[test]
fn the_henon_map_has_two() {
    let found = search(&henon(), &random_starts(64, 2, 2.0, 3));
    assert_eq!(found.fixed().count(), 2);
    for state in henon_fixed_points() {
        assert!(nearest(&found, &state) < 1e-14);
    }
    for point in found.fixed() {
        // lambda = -a x -+ sqrt(a^2 x^2 + b)
        let ax = 1.4 * point.state[0];
        let root = (ax * ax + 0.3).sqrt();
        let radius = (-ax - root).abs().max((-ax + root).abs());
        assert!((point.spectral_radius.unwrap() - radius).abs() < 1e-14);
        assert_eq!(point.n_unstable, Some(1));
    }
    assert_eq!(found.index_sum, 0);
}

#[test]
fn the_ghost_of_a_saddle_node_is_a_slow_point() {
    // x' = x + e + x^2: no fixed point, the speed is least at 0, where it is e^2 / 2
    let ghost = |e: f64| Map(move |[x]: [f64; 1]| ([x + e + x * x], [[1.0 + 2.0 * x]]));
    let starts = random_starts(32, 1, 1.0, 4);
    let found = search(&ghost(1e-3), &starts);
    assert_accounted_for(&found, 32);
    assert_eq!(found.points.len(), 1, "{:?}", found.points);
    let point = &found.points[0];
    assert_eq!((point.verdict, point.index), (Verdict::Slow, None));
    assert!(point.state[0].abs() < 1e-6, "{}", point.state[0]);
    assert!((point.speed / 0.5e-6 - 1.0).abs() < 1e-6);
    // The same minimum, but not slow.
    let found = search(&ghost(0.1), &starts);
    assert_accounted_for(&found, 32);
    assert!(
        found
            .points
            .iter()
            .all(|point| point.verdict == Verdict::Rejected(Rejection::TooFast))
    );
    assert_eq!(found.points.len(), 1);
}

#[test]
fn a_line_of_fixed_points_is_kept() {
    // y' = y / 2, x' = x: every (x, 0) is fixed, I - J is singular
    let line = Map(|[x, y]: [f64; 2]| ([x, 0.5 * y], [[1.0, 0.0], [0.0, 0.5]]));
    let starts = random_starts(40, 2, 1.0, 5);
    let found = search(&line, &starts);
    assert_accounted_for(&found, 40);
    assert_eq!(found.fixed().count(), 40);
    for point in found.fixed() {
        assert_eq!(
            (point.index, point.condition),
            (Some(0), Some(f64::INFINITY))
        );
    }
    for (start, &id) in starts.rows().into_iter().zip(&found.led_to) {
        assert!((found.points[id].state[0] - start[0]).abs() < 1e-6);
    }
}

#[test]
fn a_ring_attractor_is_found_all_around() {
    // Radius relaxes to 1, the angle creeps: theta' = theta + e sin(2 theta), 4 fixed points and
    // the origin.
    let e = 1e-5;
    let ring = Map(move |[x, y]: [f64; 2]| {
        // x' = g x - e s y, y' = g y + e s x, g = 1 + (1 - r^2) / 4, s = 2 x y
        let (g, s) = (1.0 + 0.25 * (1.0 - x * x - y * y), 2.0 * x * y);
        let value = [g * x - e * s * y, g * y + e * s * x];
        let jacobian = [
            [
                g - 0.5 * x * x - 2.0 * e * y * y,
                -0.5 * x * y - 4.0 * e * x * y,
            ],
            [
                -0.5 * x * y + 4.0 * e * x * y,
                g - 0.5 * y * y + 2.0 * e * x * x,
            ],
        ];
        (value, jacobian)
    });
    let starts = random_starts(200, 2, 1.5, 6);
    let found = search(&ring, &starts);
    assert_accounted_for(&found, 200);
    for state in [[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]] {
        assert!(nearest(&found, &state) < 1e-10, "{state:?}");
    }
    assert_eq!(found.fixed().count(), 5);
    assert_eq!(found.index_sum, 1);
}

#[test]
fn near_points_are_told_apart_where_newton_can() {
    // x' = x - (x - d)(x + d)(x - 3), d = 1e-6: three simple points, two of them 2e-6 apart
    let d = 1e-6;
    let near = Map(move |[x]: [f64; 1]| {
        let (square, rest) = (x * x - d * d, x - 3.0);
        ([x - square * rest], [[1.0 - square - 2.0 * x * rest]])
    });
    let starts = random_starts(100, 1, 4.0, 7);
    let found = search(&near, &starts);
    assert_accounted_for(&found, 100);
    assert_eq!(found.fixed().count(), 3, "{:?}", found.points);
    // The double root at d = 0 is one point, however scattered its neighbourhood is left by Newton.
    let double = Map(|[x]: [f64; 1]| ([x - x * x * (x - 3.0)], [[1.0 - 3.0 * x * x + 6.0 * x]]));
    let found = search(&double, &starts);
    assert_eq!(found.fixed().count(), 2, "{:?}", found.points);
}

#[test]
fn every_way_to_fail_has_its_name() {
    // Nothing fixed and no minimum: x' = x + exp(x) creeps down for ever.
    let creeping = Map(|[x]: [f64; 1]| ([x + x.exp() + 1.0], [[1.0 + x.exp()]]));
    let found = search(&creeping, &array![[0.0], [f64::NAN], [1e300]]);
    assert_accounted_for(&found, 3);
    let verdict = |start: usize| found.points[found.led_to[start]].verdict;
    assert!(matches!(
        verdict(0),
        Verdict::Rejected(Rejection::TooFast | Rejection::NotConverged)
    ));
    assert_eq!(verdict(1), Verdict::Rejected(Rejection::NotFinite));
    assert_eq!(verdict(2), Verdict::Rejected(Rejection::NotFinite));
    let outside = FixedPointSettings {
        outside_distance: Some(1.5),
        ..FixedPointSettings::default()
    };
    let starts = array![[0.5, 0.2], [0.6, 0.1], [0.7, 0.2], [0.6, 0.3], [-1.1, -0.3]];
    let found = find_fixed_points(&henon(), starts.view(), &[], &outside, &mut |_| true).unwrap();
    assert_accounted_for(&found, 5);
    let verdicts: Vec<_> = found.points.iter().map(|point| point.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Fixed, Verdict::Rejected(Rejection::Outside)]
    );
}

#[test]
fn wrong_shapes_and_settings_are_errors() {
    let settings = FixedPointSettings::default();
    let starts = Array2::zeros((3, 4));
    let error =
        find_fixed_points(&henon(), starts.view(), &[], &settings, &mut |_| true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "starts, columns: expected size 2, found 4"
    );
    let starts = Array2::zeros((3, 2));
    let error =
        find_fixed_points(&henon(), starts.view(), &[1.0], &settings, &mut |_| true).unwrap_err();
    assert!(matches!(error, Error::Shape { what: "input", .. }));
    let settings = FixedPointSettings {
        tolerance: f64::NAN,
        ..settings
    };
    let error =
        find_fixed_points(&henon(), starts.view(), &[], &settings, &mut |_| true).unwrap_err();
    assert!(matches!(
        error,
        Error::Setting {
            what: "tolerance",
            ..
        }
    ));
    let none = find_fixed_points(
        &henon(),
        Array2::zeros((0, 2)).view(),
        &[],
        &FixedPointSettings::default(),
        &mut |_| true,
    );
    assert_eq!(none.unwrap().points, []);
}

fn assert_flip_flop(dynamics: &impl Dynamics, stored: ArrayView2<'_, f64>, noise_sd: f64) {
    let visited = visited_states(dynamics, 2000, 11);
    for seed in 1..=10 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let starts = sample_starts(visited.view(), 1024, noise_sd, &mut rng).unwrap();
        let found = search(dynamics, &starts);
        assert_accounted_for(&found, 1024);
        let by_unstable = |n| {
            found
                .fixed()
                .filter(|point| point.n_unstable == Some(n))
                .count()
        };
        let counts = [0, 1, 2, 3].map(by_unstable);
        assert_eq!(
            (found.fixed().count(), counts),
            (27, [8, 12, 6, 1]),
            "seed {seed}"
        );
        assert_eq!(found.index_sum, 1);
        assert_eq!(found.topology(), Topology::Complete);
        for point in found.fixed() {
            assert!(point.residual <= 1e-12);
            let certificate = point.certificate().unwrap();
            assert!(certificate.existence < 1e-10);
            assert_eq!(certificate.index, point.index);
        }
        for state in stored.axis_iter(Axis(0)) {
            assert!(nearest(&found, &state.to_vec()) <= 1e-10);
        }
    }
}

#[test]
fn the_trained_tanh_flip_flop_has_its_27() {
    let (network, stored) = flip_flop_tanh();
    assert_flip_flop(&network, stored.view(), 0.2);
}

#[test]
fn the_trained_gru_flip_flop_has_its_27() {
    let (network, stored) = flip_flop_gru();
    assert_flip_flop(&network, stored.view(), 0.2);
}

#[test]
fn a_saturated_gate_is_no_fixed_point() {
    // Far from the origin the update gates saturate, and a GRU hardly moves: the residual falls
    // below any tolerance towards infinity, though no fixed point can have |h| > 1.
    let (network, stored) = reference_gru();
    let starts = sample_starts(stored.view(), 1024, 1.0, &mut SmallRng::seed_from_u64(1)).unwrap();
    let found = search(&network, &starts);
    assert_accounted_for(&found, 1024);
    for point in found.fixed() {
        let condition = point.condition.unwrap();
        let inside = point.state.iter().all(|h| h.abs() < 1.0);
        assert!(inside || condition > 1e10, "{point:?}");
    }
    let inside = FixedPointSettings {
        outside_distance: Some(3.0),
        ..FixedPointSettings::default()
    };
    let found =
        find_fixed_points(&network, starts.view(), &[0.0; 3], &inside, &mut |_| true).unwrap();
    assert_accounted_for(&found, 1024);
    assert_eq!(found.fixed().count(), 27);
}

#[test]
fn what_is_proved_to_be_fixed_does_not_lie_in_a_saturated_gate() {
    // The same starts as above: with a proof asked for, the threshold on the distance is not needed.
    let (network, stored) = flip_flop_gru();
    let starts = sample_starts(stored.view(), 1024, 1.0, &mut SmallRng::seed_from_u64(1)).unwrap();
    let found = search(&network, &starts);
    assert_accounted_for(&found, 1024);
    assert_eq!(found.fixed().count(), 27);
    assert_eq!(found.topology(), Topology::Complete);
}

#[test]
fn missing_points_are_noticed() {
    let (network, stored) = flip_flop_tanh();
    assert_eq!(search(&network, &stored).topology(), Topology::Complete);
    // Any one point left out leaves a sum of 0 or 2.
    for left_out in 0..27 {
        let kept: Vec<usize> = (0..27).filter(|&k| k != left_out).collect();
        let found = search(&network, &stored.select(Axis(0), &kept));
        assert_eq!(found.fixed().count(), 26);
        assert_eq!(found.topology(), Topology::Missing);
        // Every point was found from one start: nothing says that the next would find none.
        assert_eq!(found.unseen_mass(), Some(1.0));
    }
    // The map of a linear network with a growing direction has no trap.
    let growing = Map(|[x]: [f64; 1]| ([2.0 * x], [[2.0]]));
    assert_eq!(
        search(&growing, &array![[1.0]]).topology(),
        Topology::NoTrap
    );
}

#[test]
fn a_bifurcation_leaves_the_count_undecided() {
    // x' = tanh(w x) at its pitchfork: 0 is fixed, but nothing of first order shows it.
    let starts = random_starts(64, 1, 2.0, 8);
    for (w, fixed, topology) in [
        (0.5, 1, Topology::Complete),
        (1.0, 0, Topology::Undecided),
        (1.5, 3, Topology::Complete),
    ] {
        let found = search(&tanh_network(&[w], &[0.0]), &starts);
        assert_accounted_for(&found, 64);
        assert_eq!(
            (found.fixed().count(), found.topology()),
            (fixed, topology),
            "{w}"
        );
    }
    let found = search(&tanh_network(&[1.0], &[0.0]), &array![[0.0]]);
    let point = &found.points[0];
    assert_eq!(
        (point.verdict, point.ending),
        (Verdict::Slow, Ending::Converged)
    );
    assert_eq!(point.proof, Some(Err(Refusal::Singular)));
    assert_eq!((point.speed, point.index), (0.0, None));
}

#[test]
fn points_come_and_go_at_a_saddle_node() {
    // x = tanh(2 x + b) has one point above the fold and three below it.
    let root = 0.5_f64.sqrt();
    let fold = 2.0 * root - root.atanh();
    let mut starts = random_starts(200, 1, 1.5, 9);
    for (k, start) in starts.rows_mut().into_iter().enumerate().take(100) {
        // Half of them where it happens.
        for x in start {
            *x = -root + 1e-7 * (k as f64 - 50.0);
        }
    }
    for gap in [1e-3, 1e-6, 1e-9, 1e-12] {
        let before = search(&tanh_network(&[2.0], &[fold - gap]), &starts);
        assert_accounted_for(&before, 200);
        assert_eq!(before.fixed().count(), 3, "{gap}");
        assert_eq!(before.topology(), Topology::Complete);
        // A residual of 1e-12 is within the tolerance, and still no fixed point.
        let after = search(&tanh_network(&[2.0], &[fold + gap]), &starts);
        assert_accounted_for(&after, 200);
        assert_eq!(after.fixed().count(), 1, "{gap}");
        assert!(after.fixed().all(|point| point.state[0] > 0.9));
        assert_eq!(after.slow().count(), 1, "{gap} {:?}", after.points);
        for ghost in after.slow() {
            assert!((ghost.state[0] + root).abs() < 1e-2);
            assert!(ghost.speed < gap * gap && ghost.certificate().is_none());
            assert!(ghost.relative_speed < 1.0);
        }
    }
}

#[test]
fn slow_points_are_ranked_by_speed() {
    // Two units that do not see each other, each beside a fold of its own: four ghosts and halves of ghosts.
    let root = 0.5_f64.sqrt();
    let fold = 2.0 * root - root.atanh();
    let network = tanh_network(&[2.0, 0.0, 0.0, 2.0], &[fold + 1e-3, fold + 4e-3]);
    let starts = random_starts(300, 2, 1.2, 10);
    let found = search(&network, &starts);
    let speeds: Vec<f64> = found.slow().map(|point| point.speed).collect();
    assert_eq!(speeds.len(), 3, "{:?}", found.points);
    assert!(speeds.is_sorted() && speeds[0] > 0.0);
    let typical = typical_speed(&network, starts.view(), &[]).unwrap();
    assert!((found.trajectory_speed / typical - 1.0).abs() < 1e-12);
    for point in found.slow() {
        assert_eq!(point.relative_speed, point.speed / found.trajectory_speed);
    }
}

#[test]
fn thresholds_apply_without_another_search() {
    let root = 0.5_f64.sqrt();
    let fold = 2.0 * root - root.atanh();
    let network = tanh_network(&[2.0, 0.0, 0.0, 2.0], &[fold + 1e-3, fold + 4e-3]);
    let starts = random_starts(300, 2, 1.2, 11);
    let settings = FixedPointSettings::default();
    let loose = find_fixed_points(&network, starts.view(), &[], &settings, &mut |_| true).unwrap();
    for settings in [
        FixedPointSettings {
            slow_speed: 1e-6,
            ..settings.clone()
        },
        FixedPointSettings {
            outside_distance: Some(0.9),
            trajectory_speed: Some(0.5),
            ..settings.clone()
        },
        FixedPointSettings {
            slow_speed: 1e-7,
            ..settings.clone()
        },
    ] {
        let strict = loose.judged_by(&network, &[], &settings).unwrap();
        let searched =
            find_fixed_points(&network, starts.view(), &[], &settings, &mut |_| true).unwrap();
        assert_eq!(strict, searched);
        assert_ne!(strict.points, loose.points);
        // And back.
        let back = strict.judged_by(
            &network,
            &[],
            &FixedPointSettings {
                trajectory_speed: Some(loose.trajectory_speed),
                ..FixedPointSettings::default()
            },
        );
        assert_eq!(back.unwrap(), loose);
    }
    let none = loose.judged_by(
        &network,
        &[],
        &FixedPointSettings {
            slow_speed: f64::NAN,
            ..settings
        },
    );
    assert!(matches!(none, Err(Error::Setting { .. })));
}

#[test]
fn completeness_is_counted_as_in_the_textbook() {
    // The pitchfork from four starts: +, +, -, 0.
    let network = tanh_network(&[2.0], &[0.0]);
    let found = search(&network, &array![[0.9], [1.0], [-0.9], [0.0]]);
    let counts: Vec<usize> = found.fixed().map(|point| point.found_from).collect();
    assert_eq!(counts, [2, 1, 1]);
    assert_eq!(found.unseen_mass(), Some(0.5));
    // One start sees one point; of the six pairs one sees one point and five see two; all see three.
    let curve = found.saturation();
    let expected = [(1, 1.0), (2, 11.0 / 6.0), (4, 3.0)];
    assert_eq!(curve.len(), 3);
    for ((starts, points), (all, known)) in curve.into_iter().zip(expected) {
        assert_eq!(starts, all);
        assert!((points - known).abs() < 1e-12);
    }
    let nothing = search(&network, &Array2::zeros((0, 1)));
    assert_eq!(
        (nothing.unseen_mass(), nothing.saturation()),
        (None, vec![])
    );
    assert_eq!(nothing.topology(), Topology::Missing);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn networks_of_every_cell_keep_the_promises(
        units in 1_usize..8, gain in 0.3_f64..3.0, seed in any::<u64>(),
    ) {
        for &cell in CellKind::ALL {
            let network = random_network(cell, 2, units, 2 * units, gain, seed);
            let mut rng = SmallRng::seed_from_u64(seed);
            let visited = visited_states(&network, 50, seed);
            let starts = sample_starts(visited.view(), 48, 0.5, &mut rng).unwrap();
            let found = search(&network, &starts);
            assert_accounted_for(&found, 48);
            for point in &found.points {
                prop_assert_eq!(point.verdict == Verdict::Fixed, point.certificate().is_some()
                    && !matches!(point.verdict, Verdict::Rejected(_)));
                // No proved point lies where another is proved to be the only one.
                for other in found.fixed().filter(|other| other.id != point.id) {
                    if let (Some(a), Some(b)) = (point.certificate(), other.certificate()) {
                        let apart = point.state.iter().zip(&other.state)
                            .map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
                        prop_assert!(apart > a.existence + b.existence, "{}", cell.name());
                        prop_assert!(apart > b.uniqueness - a.existence, "{}", cell.name());
                    }
                }
            }
            if let Some(trap) = &found.trapping_box {
                // A trap sends its points to itself for ever.
                let mut state: Vec<f64> = trap.iter().map(|r| r * rng.random_range(-1.0..1.0)).collect();
                let mut next = state.clone();
                for _ in 0..20 {
                    network.step(&state, &[0.0; 2], &mut next);
                    prop_assert!(next.iter().zip(trap).all(|(x, r)| x.abs() < *r));
                    std::mem::swap(&mut state, &mut next);
                }
            }
            let mut order: Vec<usize> = (0..48).collect();
            order.shuffle(&mut rng);
            let shuffled = search(&network, &starts.select(Axis(0), &order));
            prop_assert_eq!(&found.points, &shuffled.points, "{}", cell.name());
            for threads in [1, 2] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                prop_assert_eq!(&found, &pool.install(|| search(&network, &starts)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_networks_keep_the_promises(
        dim in 1_usize..12, gain in 0.5_f64..4.0, seed in any::<u64>(), noise_sd in 0.0_f64..1.0,
    ) {
        let network = TanhNetwork::random(dim, gain, seed);
        let mut rng = SmallRng::seed_from_u64(seed);
        let starts = sample_starts(visited_states(&network, 100, seed).view(), 96, noise_sd, &mut rng).unwrap();
        let found = search(&network, &starts);
        assert_accounted_for(&found, 96);
        let mut next = vec![0.0; dim];
        for point in &found.points {
            network.step(&point.state, &[0.0; 2], &mut next);
            let residual = point.state.iter().zip(&next).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            prop_assert_eq!(residual, point.residual);
            match point.verdict {
                Verdict::Fixed => prop_assert!(residual <= 1e-12),
                Verdict::Slow => prop_assert!(point.speed <= 1e-4),
                Verdict::Rejected(_) => {}
            }
        }

        // Another order of the starts changes nothing but the order of `led_to`.
        let mut order: Vec<usize> = (0..96).collect();
        order.shuffle(&mut rng);
        let shuffled = search(&network, &starts.select(Axis(0), &order));
        prop_assert_eq!(&found.points, &shuffled.points);
        for (place, &start) in order.iter().enumerate() {
            prop_assert_eq!(found.led_to[start], shuffled.led_to[place]);
        }

        // Neither does the number of threads.
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            prop_assert_eq!(&found, &pool.install(|| search(&network, &starts)));
        }
    }
}
