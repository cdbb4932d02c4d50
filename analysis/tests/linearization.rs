//! Eigendecompositions with known answers, and the identities that all must obey.

mod common;

use common::{TanhNetwork, henon, henon_fixed_points};
use nalgebra::Complex;
use ndarray::{Array1, Array2, Axis, array};
use nullcline_analysis::linearization::{
    Linearization, decompose, linearize, period, time_constant,
};
use nullcline_analysis::{Dynamics, Error};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

fn assert_finite(found: &Linearization) {
    let vectors = found
        .right_eigenvectors
        .iter()
        .chain(&found.left_eigenvectors);
    for v in vectors.chain(&found.eigenvalues) {
        assert!(v.re.is_finite() && v.im.is_finite());
    }
    assert!(found.eigen_residuals.iter().all(|v| v.is_finite()));
    assert!(found.eigenvalue_conditions.iter().all(|v| *v >= 1.0));
    assert!(found.eigenvector_condition >= 1.0);
}

/// |J v - lambda v| at most `tolerance` |J|, and |w^H J - lambda w^H| at most 1e-9 |J| |w|.
fn assert_eigenvectors(found: &Linearization, tolerance: f64) {
    let jacobian = found.jacobian.mapv(Complex::from);
    let size = found
        .jacobian
        .iter()
        .map(|v| v * v)
        .sum::<f64>()
        .sqrt()
        .max(1e-300);
    let norm = |v: &Array1<Complex<f64>>| v.iter().map(|v| v.norm_sqr()).sum::<f64>().sqrt();
    for (mode, lambda) in found.eigenvalues.iter().enumerate() {
        let v = found.right_eigenvectors.row(mode).to_owned();
        let w = found.left_eigenvectors.row(mode).mapv(|w| w.conj());
        assert!((norm(&v) - 1.0).abs() < 1e-12);
        let right = jacobian.dot(&v) - v.mapv(|v| v * lambda);
        let left = w.dot(&jacobian) - w.mapv(|w| w * lambda);
        assert!(
            norm(&right) <= tolerance * size,
            "right {} of {size}",
            norm(&right)
        );
        assert!((norm(&right) - found.eigen_residuals[mode]).abs() <= 1e-13 * size);
        assert!(
            norm(&left) <= 1e-9 * size * norm(&w),
            "left {}",
            norm(&left) / norm(&w)
        );
    }
}

/// The largest element of W^H V - I.
fn biorthonormality_defect(found: &Linearization) -> f64 {
    let gram = found
        .left_eigenvectors
        .mapv(|w| w.conj())
        .dot(&found.right_eigenvectors.t());
    gram.indexed_iter()
        .map(|((i, j), v)| (v - Complex::from(f64::from(u8::from(i == j)))).norm())
        .fold(0.0, f64::max)
}

#[test]
fn the_henon_map_in_closed_form() {
    for state in henon_fixed_points() {
        let found = linearize(&henon(), &state, &[]).unwrap();
        let ax = 1.4 * state[0];
        let root = (ax * ax + 0.3).sqrt();
        let mut expected = [-ax - root, -ax + root];
        expected.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
        for (lambda, expected) in found.eigenvalues.iter().zip(expected) {
            assert!((lambda - Complex::from(expected)).norm() < 1e-14);
        }
        // v is proportional to (lambda, 0.3)
        for (lambda, v) in found
            .eigenvalues
            .iter()
            .zip(found.right_eigenvectors.rows())
        {
            assert!((v[0] * 0.3 - v[1] * lambda).norm() < 1e-15);
            assert_eq!((v[0].im, v[1].im), (0.0, 0.0));
        }
        assert!(biorthonormality_defect(&found) < 1e-14);
    }
}

#[test]
fn a_rotation_has_a_period_and_no_decay() {
    let (angle, radius) = (std::f64::consts::TAU / 12.0, 0.9);
    let (c, s) = (radius * angle.cos(), radius * angle.sin());
    let found = decompose(array![[c, -s], [s, c]].view()).unwrap();
    assert!((found.eigenvalues[0] - Complex::new(c, s)).norm() < 1e-15);
    assert_eq!(found.eigenvalues[1], found.eigenvalues[0].conj());
    let conjugate = found.right_eigenvectors.row(0).mapv(|v| v.conj());
    assert_eq!(found.right_eigenvectors.row(1), conjugate);
    assert!((period(found.eigenvalues[1]) - 12.0).abs() < 1e-12);
    assert!((time_constant(found.eigenvalues[0]) + 1.0 / 0.9_f64.ln()).abs() < 1e-12);
    assert!((found.eigenvector_condition - 1.0).abs() < 1e-12);
    // The first of two equal moduli is real and positive.
    assert!((found.right_eigenvectors[[0, 0]] - Complex::from(0.5_f64.sqrt())).norm() < 1e-14);
}

#[test]
fn time_constants_and_periods_at_their_limits() {
    assert_eq!(time_constant(Complex::from(1.0)), f64::INFINITY);
    assert_eq!(time_constant(Complex::from(-1.0)), f64::INFINITY);
    assert_eq!(time_constant(Complex::from(0.0)), 0.0);
    assert!((time_constant(Complex::from(std::f64::consts::E)) + 1.0).abs() < 1e-15);
    assert_eq!(period(Complex::from(0.5)), f64::INFINITY);
    assert_eq!(period(Complex::from(-0.5)), 2.0);
    assert!((period(Complex::new(0.0, -2.0)) - 4.0).abs() < 1e-15);
}

#[test]
fn repeated_eigenvalues_keep_independent_vectors() {
    let found = decompose(Array2::<f64>::eye(5).view()).unwrap();
    assert_finite(&found);
    assert!((found.eigenvector_condition - 1.0).abs() < 1e-14);
    assert!(biorthonormality_defect(&found) < 1e-15);
    let found = decompose(Array2::<f64>::zeros((4, 4)).view()).unwrap();
    assert_finite(&found);
    assert!(biorthonormality_defect(&found) < 1e-15);
    // A symmetric matrix with a double eigenvalue: I + 1 1^T has 1, 1, 1, 5.
    let found = decompose((Array2::<f64>::eye(4) + 1.0).view()).unwrap();
    assert!((found.eigenvalues[0] - Complex::from(5.0)).norm() < 1e-13);
    assert_eigenvectors(&found, 1e-14);
    assert!(biorthonormality_defect(&found) < 1e-10);
}

#[test]
fn defective_matrices_give_numbers_and_say_so() {
    for dim in [2, 3, 8, 40] {
        // One Jordan block.
        let jordan = Array2::from_shape_fn((dim, dim), |(i, j)| match j as isize - i as isize {
            0 => 0.5,
            1 => 1.0,
            _ => 0.0,
        });
        let found = decompose(jordan.view()).unwrap();
        assert_finite(&found);
        assert_eigenvectors(&found, 1e-12);
        assert!(found.eigenvector_condition > 1e12);
        assert!(found.eigenvalue_conditions.iter().all(|v| *v > 1e12));
        let found = decompose(jordan.t()).unwrap();
        assert_finite(&found);
        assert_eigenvectors(&found, 1e-12);
    }
}

#[test]
fn cyclic_permutations_do_not_stall() {
    // nalgebra's iteration has no exceptional shift; the eigenvalues are the roots of unity.
    for dim in [3, 4, 5, 8, 16, 31] {
        let cycle =
            Array2::from_shape_fn((dim, dim), |(i, j)| f64::from(u8::from((j + 1) % dim == i)));
        let found = decompose(cycle.view()).unwrap();
        assert_eigenvectors(&found, 1e-13);
        for lambda in &found.eigenvalues {
            assert!((lambda.powu(dim as u32) - 1.0).norm() < 1e-12);
        }
        assert!(biorthonormality_defect(&found) < 1e-12);
    }
}

#[test]
fn a_saturated_gate_does_not_stall() {
    // Far out, a gated network's Jacobian is the identity but for a few tiny entries.
    let mut rng = SmallRng::seed_from_u64(5);
    for case in 0..200 {
        let size = 10.0_f64.powi(-(case % 17));
        let matrix = Array2::from_shape_fn((16, 16), |(i, j)| {
            let noise = size * rng.random_range(-1.0..1.0) * f64::from(u8::from(i % 3 == 0));
            f64::from(u8::from(i == j)) + noise
        });
        let found = decompose(matrix.view()).unwrap();
        assert_finite(&found);
        assert_eigenvectors(&found, 1e-12);
    }
}

#[test]
fn what_cannot_be_decomposed_is_an_error() {
    let error = decompose(array![[1.0, f64::NAN], [0.0, 1.0]].view()).unwrap_err();
    assert_eq!(
        error,
        Error::NotFinite {
            what: "the jacobian"
        }
    );
    assert!(matches!(
        decompose(Array2::zeros((2, 3)).view()),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        decompose(Array2::zeros((0, 0)).view()),
        Err(Error::TooFew { .. })
    ));
    assert!(matches!(
        linearize(&henon(), &[0.0], &[]),
        Err(Error::Shape { what: "state", .. })
    ));
    assert!(matches!(
        linearize(&henon(), &[0.0; 2], &[1.0]),
        Err(Error::Shape { what: "input", .. })
    ));
}

proptest! {
    #[test]
    fn identities_hold_for_random_networks(dim in 1_usize..24, gain in 0.1_f64..3.0, seed in any::<u64>()) {
        let network = TanhNetwork::random(dim, gain, seed);
        let state: Vec<f64> = {
            let mut rng = SmallRng::seed_from_u64(seed);
            (0..dim).map(|_| rng.random_range(-1.0..1.0)).collect()
        };
        let found = linearize(&network, &state, &[0.3, -0.2]).unwrap();
        assert_finite(&found);
        assert_eigenvectors(&found, 1e-12);
        if found.eigenvector_condition < 1e6 {
            prop_assert!(biorthonormality_defect(&found) < 1e-9);
        }
        let trace = found.jacobian.diag().sum();
        let sum: Complex<f64> = found.eigenvalues.iter().sum();
        prop_assert!((sum - Complex::from(trace)).norm() < 1e-11 * (1.0 + dim as f64));
        for pair in found.eigenvalues.windows(2) {
            prop_assert!(pair[0].norm() >= pair[1].norm());
        }
        for v in found.right_eigenvectors.axis_iter(Axis(0)) {
            let largest = v.iter().map(|v| v.norm()).fold(0.0, f64::max);
            let leading = v.iter().find(|v| v.norm() >= (1.0 - 1e-9) * largest).unwrap();
            prop_assert!(leading.re > 0.0 && leading.im.abs() < 1e-14);
        }

        // The test networks' own derivatives, against differences.
        let mut next = [vec![0.0; dim], vec![0.0; dim]];
        let mut by_input = vec![0.0; 2 * dim];
        network.input_jacobian(&state, &[0.3, -0.2], &mut by_input);
        network.step(&state, &[0.3 + 1e-6, -0.2], &mut next[0]);
        network.step(&state, &[0.3 - 1e-6, -0.2], &mut next[1]);
        for unit in 0..dim {
            let difference = (next[0][unit] - next[1][unit]) / 2e-6;
            prop_assert!((difference - by_input[2 * unit]).abs() < 1e-8);
        }
    }

    #[test]
    fn products_of_integers_are_survived(values in prop::collection::vec(-1_i8..=1, 36)) {
        // Small integers make repeated, defective and zero eigenvalues common.
        let matrix = Array2::from_shape_fn((6, 6), |(i, j)| f64::from(values[6 * i + j]));
        let found = decompose(matrix.view()).unwrap();
        assert_finite(&found);
        assert_eigenvectors(&found, 1e-12);
    }
}
