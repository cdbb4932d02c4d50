//! Cycles by Newton's method against closed forms, and what is proved of them.

mod common;

use std::f64::consts::PI;

use common::{random_network, tanh_network};
use ndarray::{Array2, Array3, ArrayView2, Axis, array, concatenate};
use nullcline_analysis::certificates::Refusal;
use nullcline_analysis::cycles::{
    Cycle, CycleSearch, CycleSettings, LARGEST_PROOF, Rejection, Verdict, certify_cycle,
    find_cycles, orbits, recurrences,
};
use nullcline_analysis::free_run::{FreeRunSettings, RunInput, free_run};
use nullcline_analysis::{Dynamics, Enclosure, Error};
use nullcline_models::architecture::CellKind;
use nullcline_models::interval::Interval;
use nullcline_models::scalar::Scalar;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// A quadratic map of N coordinates, in any numbers: the map and, row by row, its Jacobian.
trait Quadratic<const N: usize>: Sync {
    fn evaluate<T: Scalar>(&self, x: [T; N]) -> ([T; N], [[T; N]; N]);
}

struct Enclosed<const N: usize, Q>(Q);

impl<const N: usize, Q: Quadratic<N>> Dynamics for Enclosed<N, Q> {
    fn state_dim(&self) -> usize {
        N
    }

    fn input_dim(&self) -> usize {
        0
    }

    fn step(&self, state: &[f64], _input: &[f64], next: &mut [f64]) {
        next.copy_from_slice(&self.0.evaluate::<f64>(state.try_into().unwrap()).0);
    }

    fn step_with_jacobian(&self, state: &[f64], _: &[f64], next: &mut [f64], jacobian: &mut [f64]) {
        let (value, derivative) = self.0.evaluate::<f64>(state.try_into().unwrap());
        next.copy_from_slice(&value);
        jacobian.copy_from_slice(derivative.as_flattened());
    }

    fn input_jacobian(&self, _: &[f64], _: &[f64], _: &mut [f64]) {}

    fn enclosure(&self) -> Option<&dyn Enclosure> {
        Some(self)
    }
}

impl<const N: usize, Q: Quadratic<N>> Enclosure for Enclosed<N, Q> {
    fn enclose_step(&self, state: &[Interval], _: &[f64], next: &mut [Interval]) {
        next.copy_from_slice(&self.0.evaluate::<Interval>(state.try_into().unwrap()).0);
    }

    fn enclose_jacobian(
        &self,
        state: &[Interval],
        _: &[f64],
        next: &mut [Interval],
        midpoint: &mut [f64],
        radius: &mut [f64],
    ) {
        let (value, derivative) = self.0.evaluate::<Interval>(state.try_into().unwrap());
        next.copy_from_slice(&value);
        let entries = derivative.as_flattened().iter();
        for ((slope, midpoint), radius) in entries.zip(midpoint).zip(radius) {
            (*midpoint, *radius) = slope.midpoint_radius();
        }
    }
}

/// The Henon map.
struct Henon;
const A: f64 = 1.4;
const B: f64 = 0.3;

impl Quadratic<2> for Henon {
    fn evaluate<T: Scalar>(&self, [x, y]: [T; 2]) -> ([T; 2], [[T; 2]; 2]) {
        let c = T::constant;
        (
            [c(1.0) - c(A) * x * x + y, c(B) * x],
            [[-(c(2.0) * c(A)) * x, c(1.0)], [c(B), c(0.0)]],
        )
    }
}

/// x' = r x (1 - x).
struct Logistic(f64);

impl Quadratic<1> for Logistic {
    fn evaluate<T: Scalar>(&self, [x]: [T; 1]) -> ([T; 1], [[T; 1]; 1]) {
        let (one, r) = (T::constant(1.0), T::constant(self.0));
        ([r * x * (one - x)], [[r * (one - x - x)]])
    }
}

fn search(dynamics: &impl Dynamics, guesses: &Array3<f64>) -> CycleSearch {
    let found = find_cycles(
        dynamics,
        guesses.view(),
        &vec![0.0; dynamics.input_dim()],
        &CycleSettings::default(),
        &mut |_| true,
    )
    .unwrap();
    check(dynamics, &found, guesses.len_of(Axis(0)));
    found
}

/// What must hold of any search.
fn check(dynamics: &impl Dynamics, search: &CycleSearch, guesses: usize) {
    let input = vec![0.0; dynamics.input_dim()];
    let from: usize = search.cycles.iter().map(|cycle| cycle.found_from).sum();
    assert_eq!(from, guesses);
    for cycle in search.kept() {
        let order = cycle.order();
        let scale = cycle.states.iter().fold(1.0_f64, |m, x| m.max(x.abs()));
        assert!(cycle.residual <= 1e-12 * scale, "{}", cycle.residual);
        // From every phase the orbit comes back, but for what rounding grows to on the way.
        for phase in 0..order {
            let mut state = cycle.states.row(phase).to_vec();
            let start = state.clone();
            let mut next = state.clone();
            let mut jacobian = vec![0.0; state.len() * state.len()];
            let mut error = 0.0;
            for step in 1..=order {
                dynamics.step_with_jacobian(&state, &input, &mut next, &mut jacobian);
                let growth = jacobian
                    .chunks_exact(state.len())
                    .map(|row| row.iter().map(|j| j.abs()).sum::<f64>())
                    .fold(0.0, f64::max);
                error = growth * error + cycle.residual + 8.0 * f64::EPSILON * scale;
                std::mem::swap(&mut state, &mut next);
                let expected = cycle.states.row((phase + step) % order);
                for (x, y) in state.iter().zip(expected) {
                    assert!((x - y).abs() <= 2.0 * error, "{x} {y} {error}");
                }
            }
            let back = state.iter().zip(&start);
            assert!(back.clone().all(|(x, y)| (x - y).abs() <= 2.0 * error));
        }
        if dynamics.enclosure().is_some() && cycle.verdict == Verdict::Fixed {
            let proof = cycle.certificate().expect("a proof");
            assert!(proof.existence <= proof.uniqueness);
            // The same cycle, begun at any of its states, has a proof as well.
            for phase in 0..order {
                let turned = Array2::from_shape_fn(cycle.states.dim(), |(step, k)| {
                    cycle.states[[(step + phase) % order, k]]
                });
                assert!(
                    certify_cycle(dynamics, turned.view(), &input)
                        .unwrap()
                        .is_ok()
                );
            }
        }
    }
    // No two proved cycles are one.
    let fixed: Vec<&Cycle> = search
        .kept()
        .filter(|cycle| cycle.certificate().is_some())
        .collect();
    for (k, a) in fixed.iter().enumerate() {
        for b in &fixed[..k] {
            let apart = distance(a, b);
            let reach = a.certificate().unwrap().existence + b.certificate().unwrap().existence;
            assert!(apart > reach, "{apart}");
        }
    }
}

/// The least distance of two cycles over all phases.
fn distance(a: &Cycle, b: &Cycle) -> f64 {
    let order = a.order();
    (0..order)
        .map(|turn| {
            let turned = b.states.rows().into_iter().cycle().skip(turn);
            a.states
                .rows()
                .into_iter()
                .zip(turned)
                .flat_map(|(a, b)| (&a - &b).to_vec())
                .fold(0.0_f64, |m, d| m.max(d.abs()))
        })
        .fold(f64::INFINITY, f64::min)
}

fn trajectory(dynamics: &impl Dynamics, start: &[f64], skip: usize, steps: usize) -> Array2<f64> {
    let input = vec![0.0; dynamics.input_dim()];
    let run = free_run(
        dynamics,
        start,
        RunInput::Constant(&input),
        &FreeRunSettings::new(skip + steps),
    )
    .unwrap();
    // A run that leaves the bound ends early.
    let skip = skip.min(run.states.nrows());
    run.states.slice_axis(Axis(0), (skip..).into()).to_owned()
}

fn multiplier_product(cycle: &Cycle) -> f64 {
    let product: nalgebra::Complex<f64> = cycle.multipliers.iter().product();
    assert!(product.im.abs() < 1e-9);
    product.re
}

#[test]
fn the_henon_map_has_all_its_cycles() {
    let henon = Enclosed(Henon);
    let on_attractor = trajectory(&henon, &[0.1, 0.1], 100, 20_000);
    let grid = Array2::from_shape_fn((400, 2), |(point, k)| {
        let place = if k == 0 { point / 20 } else { point % 20 };
        (place as f64 / 9.5 - 1.0) * [1.8, 0.5][k]
    });
    for (order, want) in [(1, 2), (2, 1), (3, 0), (4, 1), (5, 0), (6, 2)] {
        let guesses = recurrences(on_attractor.view(), order, 100).unwrap();
        if order == 1 {
            // The other fixed point is not on the attractor.
            let found = search(&henon, &guesses);
            assert_eq!(found.kept().count(), 1);
        }
        let box_of_starts = orbits(&henon, grid.view(), &[], order).unwrap();
        let guesses = concatenate![Axis(0), guesses, box_of_starts];
        let found = search(&henon, &guesses);
        let cycles: Vec<&Cycle> = found.kept().collect();
        assert_eq!(cycles.len(), want, "cycles of {order} steps");
        for cycle in &cycles {
            assert_eq!(cycle.verdict, Verdict::Fixed);
            assert!(cycle.certificate().unwrap().existence < 1e-13);
            // Every step shrinks areas by b and turns them over.
            let product = multiplier_product(cycle);
            assert!((product - (-B).powi(order as i32)).abs() < 1e-12);
            assert_eq!(cycle.n_unstable, Some(1));
            // sign det(I - J): of the two multipliers, one beyond 1 or below -1, the other within.
            let index = cycle.certificate().unwrap().index;
            let beyond = cycle.multipliers[0].re;
            assert_eq!(index, Some(if beyond > 1.0 { -1 } else { 1 }));
        }
        // a^2 x^2 - a (1 - b) x + (1 - b)^2 - a = 0 for the cycle of two steps, a x^2 + (1 - b) x - 1 = 0 for one.
        let c = 1.0 - B;
        let expected = match order {
            1 => {
                let root = (c * c + 4.0 * A).sqrt();
                vec![(-c - root) / (2.0 * A), (-c + root) / (2.0 * A)]
            }
            2 => {
                let root = (c * c - 4.0 * (c * c - A)).sqrt();
                vec![(c - root) / (2.0 * A), (c + root) / (2.0 * A)]
            }
            _ => continue,
        };
        let mut states: Vec<[f64; 2]> = cycles
            .iter()
            .flat_map(|cycle| cycle.states.rows())
            .map(|row| [row[0], row[1]])
            .collect();
        states.sort_by(|a, b| a[0].total_cmp(&b[0]));
        for (k, (state, x)) in states.iter().zip(&expected).enumerate() {
            let before = if order == 1 { *x } else { expected[1 - k] };
            assert!((state[0] - x).abs() < 1e-14, "{state:?} {x}");
            assert!((state[1] - B * before).abs() < 1e-14);
        }
        let shorter = |cycle: &&Cycle| {
            matches!(
                cycle.verdict,
                Verdict::Rejected(Rejection::LowerPeriod(part)) if order % part == 0 && part < order
            )
        };
        // The fixed points turn up among the guesses of every order, and are named for what they are.
        assert_eq!(order > 1, found.cycles.iter().any(|cycle| shorter(&cycle)));
    }
}

#[test]
fn long_cycles_of_a_chaotic_map_are_proved() {
    let henon = Enclosed(Henon);
    let states = trajectory(&henon, &[0.1, 0.1], 100, 5000);
    for order in [23, 50] {
        let guesses = recurrences(states.view(), order, 20).unwrap();
        assert_eq!(guesses.dim(), (20, order, 2));
        let found = search(&henon, &guesses);
        let proved = found.kept().filter(|cycle| cycle.certificate().is_some());
        assert!(proved.count() >= 5, "{order}");
        for cycle in found.kept() {
            assert!(cycle.residual < 1e-15);
            assert_eq!(cycle.n_unstable, Some(1));
        }
    }
}

#[test]
fn the_logistic_map_has_the_cycles_of_its_windows() {
    let grid = Array2::from_shape_fn((60, 1), |(k, _)| (k as f64 + 0.5) / 60.0);
    let cycles_of = |r: f64, order: usize| {
        let map = Enclosed(Logistic(r));
        let guesses = orbits(&map, grid.view(), &[], order).unwrap();
        search(&map, &guesses)
    };
    // x = (r + 1 +- sqrt((r - 3) (r + 1))) / 2r, of multiplier 4 + 2 r - r^2.
    for r in [3.2, 3.5, 3.83] {
        let found = cycles_of(r, 2);
        let [cycle] = found.kept().collect::<Vec<_>>()[..] else {
            panic!("{r}");
        };
        let root = ((r - 3.0) * (r + 1.0)).sqrt();
        for (k, sign) in [-1.0, 1.0].into_iter().enumerate() {
            let x = (r + 1.0 + sign * root) / (2.0 * r);
            assert!((cycle.states[[k, 0]] - x).abs() < 1e-15);
        }
        let multiplier = 4.0 + 2.0 * r - r * r;
        assert!((cycle.multipliers[0].re - multiplier).abs() < 1e-13);
        assert_eq!(cycle.is_stable(), multiplier.abs() < 1.0);
    }
    assert_eq!(cycles_of(2.9, 2).kept().count(), 0);
    // Those of three steps are born in a saddle-node at r = 1 + sqrt(8): one is stable, for a while.
    let fold = 1.0 + 8.0_f64.sqrt();
    assert_eq!(cycles_of(fold - 1e-3, 3).kept().count(), 0);
    let found = cycles_of(fold + 1e-3, 3);
    let stable: Vec<bool> = found.kept().map(Cycle::is_stable).collect();
    assert_eq!(stable, [true, false]);
    assert!(found.kept().all(|cycle| cycle.verdict == Verdict::Fixed));
    // At r = 4, x = sin^2 phi doubles the angle: pi/7 and pi/9 come back after three steps.
    let found = cycles_of(4.0, 3);
    assert_eq!(found.kept().count(), 2);
    for (denominator, multiplier) in [(7.0, 8.0), (9.0, -8.0)] {
        let first = (PI / denominator).sin().powi(2);
        let cycle = found
            .kept()
            .find(|cycle| cycle.states.iter().any(|x| (x - first).abs() < 1e-14))
            .unwrap();
        assert!((cycle.multipliers[0].re - multiplier).abs() < 1e-12);
    }
}

/// x = tanh(2 x), to rounding.
const OUTER: f64 = 0.957_504_024_077_268_8;

#[test]
fn a_unit_that_turns_itself_over_has_one_cycle_of_two() {
    let network = tanh_network(&[-2.0], &[0.0]);
    let states = trajectory(&network, &[0.1], 0, 300);
    let found = search(&network, &recurrences(states.view(), 2, 10).unwrap());
    let [cycle] = found.kept().collect::<Vec<_>>()[..] else {
        panic!("{found:?}");
    };
    assert_eq!(cycle.verdict, Verdict::Fixed);
    for (state, x) in cycle.states.iter().zip([-OUTER, OUTER]) {
        assert!((state - x).abs() < 1e-15);
    }
    let slope = -2.0 * (1.0 - OUTER * OUTER);
    assert!((cycle.multipliers[0].re - slope * slope).abs() < 1e-14);
    assert!(cycle.is_stable());
    let proof = cycle.certificate().unwrap();
    assert_eq!(proof.index, Some(1));
    assert!(proof.existence < 1e-14 && proof.uniqueness > 0.05 && proof.uniqueness < OUTER);
    // From beside the origin it is the fixed point that is found, and said to be one.
    let guesses = orbits(&network, array![[1e-3]].view(), &[], 2).unwrap();
    let found = search(&network, &guesses);
    assert_eq!(
        found.cycles[0].verdict,
        Verdict::Rejected(Rejection::LowerPeriod(1))
    );
    assert_eq!(found.cycles[0].proof, None);
}

/// x' = tanh(-w y), y' = tanh(w x) turns by a right angle. Twice applied, each coordinate goes through
/// -tanh(w tanh(w x)), of which 0 is fixed and +-c, c = tanh(w c), is a cycle: so the eight points of {0, c, -c}^2
/// besides the origin are two cycles of four steps, and there is none of two or three.
#[test]
fn a_rotation_has_the_cycles_of_its_right_angle() {
    let w = 2.0;
    let network = tanh_network(&[0.0, -w, w, 0.0], &[0.0, 0.0]);
    let grid = Array2::from_shape_fn((81, 2), |(point, k)| {
        let place = if k == 0 { point / 9 } else { point % 9 };
        (place as f64 - 4.0) * 0.27
    });
    for (order, want) in [(1, 1), (2, 0), (3, 0), (4, 2)] {
        let guesses = orbits(&network, grid.view(), &[], order).unwrap();
        let found = search(&network, &guesses);
        assert_eq!(found.kept().count(), want, "cycles of {order} steps");
        if order < 4 {
            continue;
        }
        let cycles: Vec<&Cycle> = found.kept().collect();
        let slope = w * (1.0 - OUTER * OUTER);
        let expected = [[slope.powi(4), slope.powi(4)], [w.powi(4), slope.powi(4)]];
        for (cycle, expected) in cycles.iter().zip(expected) {
            assert_eq!(cycle.verdict, Verdict::Fixed);
            for (multiplier, expected) in cycle.multipliers.iter().zip(expected) {
                assert!((multiplier - expected).norm() < 1e-12, "{multiplier}");
            }
            for x in &cycle.states {
                let nearest = [0.0, OUTER, -OUTER].map(|y| (x - y).abs());
                assert!(nearest.iter().any(|d| *d < 1e-15), "{x}");
            }
        }
        assert_eq!(cycles[0].n_unstable, Some(0));
        assert_eq!(cycles[1].n_unstable, Some(1));
    }
}

#[test]
fn what_nearly_closes_is_not_proved() {
    // At w = -1 the cycle of two steps is just not there: from +-1e-5 the orbit comes back to within 1e-15.
    let settings = CycleSettings::default();
    for w in [-1.0, -1.0 + 1e-12, -1.0 + 1e-8] {
        let network = tanh_network(&[w], &[0.0]);
        for x in [1e-5, 1e-6] {
            let states = array![[x], [-x]];
            let proof = certify_cycle(&network, states.view(), &[]).unwrap();
            assert!(proof.is_err(), "{w} {x}: {proof:?}");
            let guess = states.insert_axis(Axis(0));
            let found = find_cycles(&network, guess.view(), &[], &settings, &mut |_| true).unwrap();
            assert_ne!(found.cycles[0].verdict, Verdict::Fixed);
        }
    }
    // Beyond it, the two states lie at +-sqrt(3 (|w| - 1)) to first order.
    let network = tanh_network(&[-1.0 - 1e-6], &[0.0]);
    let x = (3.0_f64 * 1e-6).sqrt();
    let found = search(&network, &array![[[x], [-x]]]);
    assert_eq!(found.cycles[0].verdict, Verdict::Fixed);
    let proof = found.cycles[0].certificate().unwrap();
    assert!(proof.uniqueness < x, "{proof:?}");
    // Just before the saddle-node of three steps there is nothing, however small the defect.
    let fold = 1.0 + 8.0_f64.sqrt();
    let after = Enclosed(Logistic(fold + 1e-4));
    let grid = Array2::from_shape_fn((60, 1), |(k, _)| (k as f64 + 0.5) / 60.0);
    let guesses = orbits(&after, grid.view(), &[], 3).unwrap();
    let pair: Vec<Array2<f64>> = search(&after, &guesses)
        .kept()
        .map(|cycle| cycle.states.clone())
        .collect();
    assert_eq!(pair.len(), 2);
    let middle = (&pair[0] + &pair[1]) / 2.0;
    for gap in [1e-6, 1e-9, 1e-12, 3e-15] {
        let before = Enclosed(Logistic(fold - gap));
        let mut ghost = middle.clone().insert_axis(Axis(0));
        for _ in 0..2 {
            let found = find_cycles(&before, ghost.view(), &[], &settings, &mut |_| true).unwrap();
            assert_ne!(found.cycles[0].verdict, Verdict::Fixed, "{gap}");
            ghost = found.cycles[0].states.clone().insert_axis(Axis(0));
        }
    }
    // A cycle gone through twice is no cycle of twice the steps.
    let network = tanh_network(&[-2.0], &[0.0]);
    let twice = array![[OUTER], [-OUTER], [OUTER], [-OUTER]];
    assert_eq!(
        certify_cycle(&network, twice.view(), &[]).unwrap(),
        Err(Refusal::PeriodOpen)
    );
    let once = array![[OUTER], [-OUTER]];
    assert!(certify_cycle(&network, once.view(), &[]).unwrap().is_ok());
    // Displaced, the proof either finds the cycle in its ball or refuses; far off it refuses.
    for off in [1e-6, 1e-3, 0.03, 0.3] {
        let moved = &once + off;
        match certify_cycle(&network, moved.view(), &[]).unwrap() {
            Ok(proof) => assert!(off <= proof.existence, "{off} {proof:?}"),
            Err(refusal) => assert!(off >= 0.03, "{off} {refusal:?}"),
        }
    }
    let large = Array2::zeros((LARGEST_PROOF + 1, 1));
    assert_eq!(
        certify_cycle(&network, large.view(), &[]).unwrap(),
        Err(Refusal::TooLarge)
    );
}

#[test]
fn without_an_enclosure_the_residual_decides() {
    let henon = common::henon();
    let states = trajectory(&henon, &[0.1, 0.1], 100, 5000);
    let found = search(&henon, &recurrences(states.view(), 2, 10).unwrap());
    let [cycle] = found.kept().collect::<Vec<_>>()[..] else {
        panic!("{found:?}");
    };
    assert_eq!(cycle.verdict, Verdict::Fixed);
    assert_eq!(cycle.proof, Some(Err(Refusal::NoEnclosure)));
}

#[test]
fn recurrences_are_the_closest_returns() {
    // Stays on a cycle of three steps from time 4 on, and comes near another on the way.
    let values = [0.0, 5.0, 9.0, 0.5, 1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0];
    let trajectory = ArrayView2::from_shape((12, 1), &values).unwrap();
    let found = recurrences(trajectory, 3, 10).unwrap();
    let rows: Vec<Vec<f64>> = found
        .outer_iter()
        .map(|g| g.iter().copied().collect())
        .collect();
    assert_eq!(rows, [vec![1.0, 2.0, 3.0], vec![0.0, 5.0, 9.0]]);
    assert_eq!(recurrences(trajectory, 3, 1).unwrap().dim(), (1, 3, 1));
    // After six steps it is the cycle of three that comes back.
    let six = recurrences(trajectory, 6, 10).unwrap();
    assert!(six.outer_iter().all(|guess| guess[[0, 0]] != 1.0), "{six}");
    // A trajectory that rests has a fixed point and nothing else.
    let rest = Array2::from_elem((10, 2), 0.25);
    assert_eq!(recurrences(rest.view(), 1, 10).unwrap().dim(), (1, 1, 2));
    assert_eq!(recurrences(rest.view(), 2, 10).unwrap().dim(), (0, 2, 2));
    assert_eq!(recurrences(rest.view(), 20, 10).unwrap().dim(), (0, 20, 2));
}

#[test]
fn whoever_watches_can_stop_and_bad_arguments_are_errors() {
    let henon = Enclosed(Henon);
    let guesses = Array3::zeros((40, 2, 2));
    let settings = CycleSettings::default();
    let mut asked = Vec::new();
    let stopped = find_cycles(&henon, guesses.view(), &[], &settings, &mut |done| {
        asked.push(done);
        done < 0.5
    });
    assert_eq!(stopped, Err(Error::Stopped));
    assert_eq!(asked, [0.0, 0.4, 0.8]);
    let wrong = find_cycles(
        &henon,
        Array3::zeros((1, 2, 3)).view(),
        &[],
        &settings,
        &mut |_| true,
    );
    assert!(matches!(wrong, Err(Error::Shape { .. })));
    let none = Array3::zeros((1, 0, 2));
    let wrong = find_cycles(&henon, none.view(), &[], &settings, &mut |_| true);
    assert!(matches!(wrong, Err(Error::Setting { what: "order", .. })));
    assert!(recurrences(Array2::zeros((3, 1)).view(), 0, 1).is_err());
    let not_finite = Array3::from_elem((1, 2, 2), f64::NAN);
    let found = search(&henon, &not_finite);
    assert_eq!(
        found.cycles[0].verdict,
        Verdict::Rejected(Rejection::NotFinite)
    );
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let network = random_network(CellKind::Gru, 0, 3, 0, 6.0, 5);
    let mut random = SmallRng::seed_from_u64(4);
    let starts = Array2::from_shape_simple_fn((70, 3), || random.random_range(-1.0..1.0));
    let guesses = orbits(&network, starts.view(), &[], 4).unwrap();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| search(&network, &guesses))
    };
    assert_eq!(format!("{:?}", with(1)), format!("{:?}", with(3)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Every cycle of every cell closes at rounding level from all its states, is proved or says why not, and draws
    /// what is near where it is stable.
    #[test]
    fn cycles_of_random_networks(
        cell in prop::sample::select(CellKind::ALL.to_vec()),
        units in 1_usize..4,
        gain in 1.0_f64..8.0,
        seed in any::<u64>(),
    ) {
        let network = random_network(cell, 1, units, 4, gain, seed);
        let dim = Dynamics::state_dim(&network);
        let mut random = SmallRng::seed_from_u64(seed);
        for order in 1..=4 {
            let starts = Array2::from_shape_simple_fn((12, dim), || random.random_range(-1.5..1.5));
            let mut guesses = orbits(&network, starts.view(), &[0.0], order).unwrap();
            let states = trajectory(&network, &starts.row(0).to_vec(), 20, 300);
            let closest = recurrences(states.view(), order, 4).unwrap();
            guesses.append(Axis(0), closest.view()).unwrap();
            let found = search(&network, &guesses);
            for cycle in found.kept().filter(|cycle| cycle.is_stable()) {
                let Some(proof) = cycle.certificate() else { continue };
                if cycle.multipliers[0].norm() > 0.9 {
                    continue;
                }
                let mut state = cycle.states.row(0).to_vec();
                let mut next = state.clone();
                for x in &mut state {
                    *x += 1e-7;
                }
                for _ in 0..400 * order {
                    network.step(&state, &[0.0], &mut next);
                    std::mem::swap(&mut state, &mut next);
                }
                let reach = proof.existence + 1e-12;
                for (x, y) in state.iter().zip(cycle.states.row(0)) {
                    prop_assert!((x - y).abs() <= reach * (1.0 + y.abs()), "{x} {y} {proof:?}");
                }
            }
        }
    }
}
