//! Linearisation along trajectories: spectra that stand still, turn and cross as known, and what holds for any network.

mod common;

use common::{Map, TanhNetwork, henon, reference_gru, visited_states};
use nalgebra::Complex;
use ndarray::{Array2, array};
use nullcline_analysis::linearization::linearize;
use nullcline_analysis::trajectory_linearization::{
    TrajectoryLinearization, linearize_trajectory, nearest_points,
};
use nullcline_analysis::{Dynamics, Error};
use proptest::prelude::*;

fn along(dynamics: &impl Dynamics, states: &Array2<f64>) -> TrajectoryLinearization {
    let inputs = Array2::zeros((states.nrows(), dynamics.input_dim()));
    linearize_trajectory(dynamics, states.view(), inputs.view(), &mut |_| true).unwrap()
}

/// The trajectory from `start`, with the start.
fn trajectory(dynamics: &impl Dynamics, start: &[f64], steps: usize) -> Array2<f64> {
    let mut states = Array2::zeros((steps, start.len()));
    let (mut state, mut next) = (start.to_vec(), start.to_vec());
    for mut row in states.rows_mut() {
        row.assign(&ndarray::ArrayView1::from(&state));
        dynamics.step(&state, &[], &mut next);
        std::mem::swap(&mut state, &mut next);
    }
    states
}

#[test]
fn a_linear_network_has_a_constant_spectrum() {
    let map = Map(|[x, y, z]: [f64; 3]| {
        let jacobian = [[0.6, -0.8, 0.3], [0.8, 0.6, 0.0], [0.0, 0.0, 1.2]];
        let next = jacobian.map(|row: [f64; 3]| row[0] * x + row[1] * y + row[2] * z);
        (next, jacobian)
    });
    let found = along(&map, &trajectory(&map, &[1.0, 0.0, 0.1], 200));
    for row in found.eigenvalues.rows() {
        for (lambda, (re, im)) in row.iter().zip([(1.2, 0.0), (0.6, 0.8), (0.6, -0.8)]) {
            assert!((lambda - Complex::new(re, im)).norm() < 1e-14);
        }
    }
    // The rotation has norm 1, up to rounding.
    assert!(found.n_unstable.iter().all(|n| (1..=3).contains(n)));
    assert!(found.spectral_radii.iter().all(|r| (r - 1.2).abs() < 1e-14));
    assert!(
        found
            .henrici
            .iter()
            .all(|h| *h == found.henrici[0] && *h > 0.05)
    );
}

#[test]
fn modes_keep_their_place_while_a_gate_turns_and_shrinks_them() {
    // The gate g goes from 0.1 up in steps of 0.01. The first two variables turn by g and shrink by 1.3 - g / 2, the third
    // shrinks by 0.8: at g = 1 the moduli cross, so that an order by modulus would exchange the modes.
    let map = Map(|[x, y, z, g]: [f64; 4]| {
        let (s, c) = g.sin_cos();
        let r = 1.3 - g / 2.0;
        let (u, v) = (c * x - s * y, s * x + c * y);
        (
            [r * u, r * v, 0.8 * z, g + 0.01],
            [
                [r * c, -r * s, 0.0, -r * v - u / 2.0],
                [r * s, r * c, 0.0, r * u - v / 2.0],
                [0.0, 0.0, 0.8, 0.0],
                [0.0, 0.0, 0.0, 1.0],
            ],
        )
    });
    let states = trajectory(&map, &[1.0, 0.5, 0.3, 0.1], 250);
    let found = along(&map, &states);
    for (t, row) in found.eigenvalues.rows().into_iter().enumerate() {
        let g = 0.1 + 0.01 * t as f64;
        let (s, c) = g.sin_cos();
        let r = 1.3 - g / 2.0;
        // Falling at first: the pair at 1.25, the gate itself, the third variable.
        for (lambda, (re, im)) in
            row.iter()
                .zip([(r * c, r * s), (r * c, -r * s), (1.0, 0.0), (0.8, 0.0)])
        {
            assert!((lambda - Complex::new(re, im)).norm() < 1e-12, "{t}: {row}");
        }
        assert!((found.spectral_radii[t] - r.max(1.0)).abs() < 1e-12);
        if (r - 1.0).abs() > 1e-9 {
            assert_eq!(found.n_unstable[t], if r > 1.0 { 2 } else { 0 });
        }
    }
}

#[test]
fn the_input_of_each_step_is_used() {
    let network = TanhNetwork::random(5, 1.5, 3);
    let states = Array2::zeros((2, 5));
    let inputs = array![[0.0, 0.0], [2.0, -1.0]];
    let found =
        linearize_trajectory(&network, states.view(), inputs.view(), &mut |_| true).unwrap();
    for t in 0..2 {
        let single = linearize(&network, &[0.0; 5], &inputs.row(t).to_vec()).unwrap();
        assert!((found.spectral_radii[t] - single.spectral_radius()).abs() < 1e-13);
    }
    assert!((found.spectral_radii[0] - found.spectral_radii[1]).abs() > 0.01);
}

#[test]
fn a_trained_network_at_its_fixed_points() {
    let (gru, points) = reference_gru();
    let found = along(&gru, &points);
    for (t, point) in points.rows().into_iter().enumerate() {
        let single = linearize(&gru, &point.to_vec(), &[0.0; 3]).unwrap();
        assert_eq!(found.n_unstable[t], single.n_unstable());
        assert!((found.largest_singular_values[t] - single.singular_values[0]).abs() < 1e-12);
        assert!((found.henrici[t] - single.henrici).abs() < 1e-12);
    }
}

#[test]
fn the_nearest_point_and_what_does_not_fit() {
    let points = array![[0.0, 0.0], [3.0, 4.0]];
    let states = array![[3.0, 3.0], [-3.0, 4.0]];
    let nearest = nearest_points(states.view(), points.view()).unwrap();
    assert_eq!(nearest, [Some((1, 1.0)), Some((0, 5.0))]);
    let none = nearest_points(states.view(), Array2::zeros((0, 2)).view());
    assert_eq!(none, Ok(vec![None, None]));
    assert!(matches!(
        nearest_points(states.view(), array![[1.0]].view()),
        Err(Error::Shape { .. })
    ));

    let attempt = |states: Array2<f64>, inputs: (usize, usize), go_on: bool| {
        let inputs = Array2::zeros(inputs);
        linearize_trajectory(&henon(), states.view(), inputs.view(), &mut |_| go_on).map(|_| ())
    };
    assert!(matches!(
        attempt(Array2::zeros((4, 3)), (4, 0), true),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        attempt(Array2::zeros((4, 2)), (4, 1), true),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        attempt(Array2::zeros((4, 2)), (3, 0), true),
        Err(Error::Shape { .. })
    ));
    assert_eq!(
        attempt(array![[f64::NAN, 0.0]], (1, 0), true),
        Err(Error::NotFinite {
            what: "the jacobian"
        })
    );
    assert_eq!(
        attempt(Array2::zeros((4, 2)), (4, 0), false),
        Err(Error::Stopped)
    );
    assert_eq!(attempt(Array2::zeros((0, 2)), (0, 0), true), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_row_is_the_spectrum_there_and_continues_the_row_before(
        dim in 1_usize..10, gain in 0.5_f64..3.0, seed in any::<u64>()
    ) {
        let network = TanhNetwork::random(dim, gain, seed);
        let states = visited_states(&network, 30, seed);
        let found = along(&network, &states);
        for (t, state) in states.rows().into_iter().enumerate() {
            let single = linearize(&network, &state.to_vec(), &[0.0, 0.0]).unwrap();
            let row = found.eigenvalues.row(t);
            // As many of each: every eigenvalue of one list is near one of the other, and the sums agree.
            for lambda in &single.eigenvalues {
                prop_assert!(row.iter().any(|other| (other - lambda).norm() < 1e-6));
            }
            let (a, b): (Complex<f64>, Complex<f64>) = (row.iter().sum(), single.eigenvalues.iter().sum());
            prop_assert!((a - b).norm() < 1e-11);
            prop_assert!((found.henrici[t] - single.henrici).abs() < 1e-10);
            if t > 0 {
                let before = found.eigenvalues.row(t - 1);
                let moved = |order: &dyn Fn(usize) -> usize| -> f64 {
                    (0..dim).map(|mode| (row[order(mode)] - before[mode]).norm_sqr()).sum()
                };
                let followed = moved(&|mode| mode);
                for i in 0..dim {
                    for j in 0..i {
                        let exchanged = moved(&|mode| if mode == i { j } else if mode == j { i } else { mode });
                        prop_assert!(followed <= exchanged + 1e-12);
                    }
                }
            }
        }
    }
}
