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
    assert!(
        found
            .singular_values
            .iter()
            .all(|v| *v >= 0.0 && v.is_finite())
    );
    assert!((0.0..=1.0).contains(&found.henrici));
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

/// The 2-norm of [[p, q], [0, p]]: its singular values have the product p^2 and the sum of squares 2 p^2 + q^2.
fn norm_of_jordan_block(p: f64, q: f64) -> f64 {
    (q.abs() + (q * q + 4.0 * p * p).sqrt()) / 2.0
}

#[test]
fn normal_matrices_depart_from_nothing() {
    let (s, c) = 0.7_f64.sin_cos();
    let mut rng = SmallRng::seed_from_u64(2);
    let random = Array2::from_shape_simple_fn((6, 6), || rng.random_range(-0.1..0.1));
    for normal in [
        array![
            [0.9 * c, -0.9 * s, 0.0],
            [0.9 * s, 0.9 * c, 0.0],
            [0.0, 0.0, -0.5]
        ],
        &random + &random.t(),
        &random - &random.t(),
        Array2::from_diag(&array![0.3, -0.8, 0.0]),
        Array2::zeros((2, 2)),
    ] {
        let found = decompose(normal.view()).unwrap();
        assert!(found.henrici < 1e-14, "{}", found.henrici);
        for (lambda, sigma) in found.eigenvalues.iter().zip(&found.singular_values) {
            assert!((lambda.norm() - sigma).abs() < 1e-14);
        }
        let growth = found.transient_growth(100).unwrap().unwrap();
        assert_eq!((growth.growth, growth.step, growth.settled), (1.0, 0, true));
    }
}

#[test]
fn a_jordan_block_in_closed_form() {
    for (a, b) in [
        (0.5, 3.0),
        (0.9, 1.0),
        (-0.95, 0.4),
        (0.3, 0.1),
        (0.0, 10.0),
    ] {
        // J^k = [[a^k, k a^(k - 1) b], [0, a^k]]
        let found = decompose(array![[a, b], [0.0, a]].view()).unwrap();
        let (expected, step) = (1..2000)
            .map(|k| {
                let before = f64::powi(a, k - 1);
                (
                    norm_of_jordan_block(a * before, f64::from(k) * before * b),
                    k,
                )
            })
            .chain([(1.0, 0)])
            .fold((0.0, 0), |most, x| if x.0 > most.0 { x } else { most });
        let growth = found.transient_growth(2000).unwrap().unwrap();
        assert!((growth.growth - expected).abs() < 1e-12 * expected);
        assert_eq!((growth.step, growth.settled), (step as usize, true));
        // |J|_F^2 = 2 a^2 + b^2, and both eigenvalues are a.
        let henrici = b / (2.0 * a * a + b * b).sqrt();
        assert!((found.henrici - henrici).abs() < 1e-15);
        assert!((found.singular_values[0] - norm_of_jordan_block(a, b)).abs() < 1e-14);
        assert_eq!(found.n_unstable(), 0);
        let time_constant = found.slowest_stable_time_constant().unwrap();
        if a == 0.0 {
            assert_eq!(time_constant, 0.0);
        } else {
            assert!((time_constant + 1.0 / a.abs().ln()).abs() < 1e-12);
        }
    }
}

#[test]
fn growth_is_told_from_instability_and_from_a_search_too_short() {
    let unstable = decompose(array![[1.1, 5.0], [0.0, 0.2]].view()).unwrap();
    assert_eq!(unstable.transient_growth(100), Ok(None));
    assert_eq!(
        (unstable.spectral_radius(), unstable.n_unstable()),
        (1.1, 1)
    );
    // max k 0.99^(k - 1) is reached about k = 100.
    let slow = decompose(array![[0.99, 1.0], [0.0, 0.99]].view()).unwrap();
    let short = slow.transient_growth(50).unwrap().unwrap();
    assert_eq!((short.step, short.settled), (50, false));
    let long = slow.transient_growth(2000).unwrap().unwrap();
    assert!(long.settled && (95..105).contains(&long.step) && long.growth > short.growth);
    let none = slow.transient_growth(0).unwrap().unwrap();
    assert_eq!((none.growth, none.step, none.settled), (1.0, 0, false));
    let huge = decompose(array![[0.5, 1e200], [0.0, 0.9]].view()).unwrap();
    assert_eq!(
        huge.transient_growth(10).unwrap().unwrap().growth,
        f64::INFINITY
    );
    let growing = decompose(array![[2.0]].view()).unwrap();
    assert_eq!(growing.slowest_stable_time_constant(), None);
}

#[test]
fn planted_directions_overlap_as_planted() {
    // Modes 0.9, 0.5, 0.1 along the axes. The first input kicks the first mode alone, the second the last two at 60 and
    // 30 degrees, the third nothing.
    let found = decompose(Array2::from_diag(&array![0.5, 0.9, 0.1]).view()).unwrap();
    let (half, root) = (0.5, 0.75_f64.sqrt());
    let by_input = array![
        [0.0, 2.0 * half, 0.0],
        [-7.0, 0.0, 0.0],
        [0.0, 2.0 * root, 0.0]
    ];
    let inputs = found.input_overlaps(by_input.view()).unwrap();
    let expected = array![[1.0, 0.0], [0.0, half], [0.0, root]];
    for ((mode, input), x) in expected.indexed_iter() {
        assert!((inputs[[mode, input]] - x).abs() < 1e-15);
    }
    assert!(inputs.column(2).iter().all(|x| x.is_nan()));
    let outputs = found
        .readout_overlaps(array![[3.0, 4.0, 0.0]].view())
        .unwrap();
    assert_eq!(outputs.dim(), (3, 1));
    for (found, expected) in outputs.iter().zip([0.8, 0.6, 0.0]) {
        assert!((found - expected).abs() < 1e-15);
    }
    assert!(matches!(
        found.input_overlaps(by_input.slice(ndarray::s![..2, ..])),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        found.readout_overlaps(array![[1.0]].view()),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn left_vectors_meet_inputs_and_right_vectors_outputs() {
    // J = [[0.9, 1], [0, 0.5]]: of 0.9 the right vector is e_1 and the left one (0.4, 1), of 0.5 (1, -0.4) and e_2.
    let found = decompose(array![[0.9, 1.0], [0.0, 0.5]].view()).unwrap();
    let first = array![[1.0], [0.0]];
    let (oblique, inputs) = (
        0.4 / 1.16_f64.sqrt(),
        found.input_overlaps(first.view()).unwrap(),
    );
    assert!((inputs[[0, 0]] - oblique).abs() < 1e-15 && inputs[[1, 0]] < 1e-15);
    let outputs = found.readout_overlaps(first.t()).unwrap();
    let (along, across) = (outputs[[0, 0]], outputs[[1, 0]]);
    assert!((along - 1.0).abs() < 1e-15 && (across - 1.0 / 1.16_f64.sqrt()).abs() < 1e-15);
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

    #[test]
    fn departures_and_overlaps_obey_their_identities(dim in 1_usize..12, gain in 0.1_f64..1.5, seed in any::<u64>()) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut random = |rows, columns| {
            Array2::from_shape_simple_fn((rows, columns), || rng.random_range(-1.0..1.0))
        };
        let jacobian = random(dim, dim) * (gain / (dim as f64).sqrt());
        let (by_input, readout) = (random(dim, 2), random(3, dim));
        // I - 2 n n^T is orthogonal.
        let normal = random(dim, 1);
        let square: f64 = normal.iter().map(|x| x * x).sum();
        let mirror = Array2::<f64>::eye(dim) - normal.dot(&normal.t()) * (2.0 / square);

        let found = decompose(jacobian.view()).unwrap();
        let inputs = found.input_overlaps(by_input.view()).unwrap();
        let outputs = found.readout_overlaps(readout.view()).unwrap();
        let growth = found.transient_growth(300).unwrap();

        let size: f64 = jacobian.iter().map(|x| x * x).sum();
        let moduli: f64 = found.eigenvalues.iter().map(|l| l.norm_sqr()).sum();
        prop_assert!(size >= moduli * (1.0 - 1e-13));
        let difference = (size - moduli).max(0.0) / size;
        prop_assert!((found.henrici * found.henrici - difference).abs() < 1e-12);
        let stretches: f64 = found.singular_values.iter().map(|s| s * s).sum();
        prop_assert!((stretches - size).abs() < 1e-12 * size);
        let determinant: Complex<f64> = found.eigenvalues.iter().product();
        let product: f64 = found.singular_values.iter().product();
        prop_assert!((determinant.norm() - product).abs() < 1e-12);
        prop_assert!(found.spectral_radius() <= found.singular_values[0] * (1.0 + 1e-12));
        prop_assert!(inputs.iter().chain(&outputs).all(|x| (0.0..=1.0).contains(x)));
        prop_assert_eq!(growth.is_none(), found.spectral_radius() >= 1.0);

        let mirrored = decompose(mirror.dot(&jacobian).dot(&mirror).view()).unwrap();
        prop_assert!((mirrored.henrici - found.henrici).abs() < 1e-10);
        for (a, b) in mirrored.singular_values.iter().zip(&found.singular_values) {
            prop_assert!((a - b).abs() < 1e-12);
        }
        if let (Some(a), Some(b)) = (mirrored.transient_growth(300).unwrap(), growth) {
            prop_assert!((a.growth - b.growth).abs() < 1e-10 * b.growth);
            // The powers themselves, one by one.
            let (mut power, mut most) = (Array2::<f64>::eye(dim), 1.0_f64);
            for _ in 0..300 {
                power = power.dot(&jacobian);
                most = most.max(decompose(power.view()).unwrap().singular_values[0]);
            }
            prop_assert!((b.growth - most).abs() < 1e-10 * most, "{} {}", b.growth, most);
        }
        if found.eigenvalue_conditions.iter().all(|condition| *condition < 1e3) {
            let moved = mirrored.input_overlaps(mirror.dot(&by_input).view()).unwrap();
            prop_assert!((&moved - &inputs).iter().all(|x| x.abs() < 1e-8));
            let moved = mirrored.readout_overlaps(readout.dot(&mirror).view()).unwrap();
            prop_assert!((&moved - &outputs).iter().all(|x| x.abs() < 1e-8));
        }
    }
}
