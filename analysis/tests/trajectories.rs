//! Principal components and free runs.

mod common;

use common::{Map, TanhNetwork, henon, henon_fixed_points};
use ndarray::{Array2, array};
use nullcline_analysis::free_run::{FreeRunSettings, RunInput, Stop, free_run};
use nullcline_analysis::pca::PrincipalComponents;
use nullcline_analysis::{Dynamics, Error};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

#[test]
fn components_of_an_ellipse_are_its_axes() {
    // (3 cos, sin) turned by 30 degrees about (5, -2): variances 9/2 and 1/2 times n / (n - 1)
    let n = 360;
    let (c, s) = (0.75_f64.sqrt(), 0.5);
    let samples = Array2::from_shape_fn((n, 2), |(i, j)| {
        let angle = std::f64::consts::TAU * i as f64 / n as f64;
        let (x, y) = (3.0 * angle.cos(), angle.sin());
        if j == 0 {
            5.0 + c * x - s * y
        } else {
            -2.0 + s * x + c * y
        }
    });
    let found = PrincipalComponents::fit(samples.view(), 2).unwrap();
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    assert!(close(found.mean[0], 5.0) && close(found.mean[1], -2.0));
    assert!(close(found.components[[0, 0]], c) && close(found.components[[0, 1]], s));
    assert!(close(found.components[[1, 0]], -s) && close(found.components[[1, 1]], c));
    let bessel = n as f64 / (n - 1) as f64;
    assert!(close(found.explained_variance[0], 4.5 * bessel));
    assert!(close(found.explained_variance_ratio[0], 0.9));
    let turned = found.transform(samples.view()).unwrap();
    assert!(close(turned[[0, 0]], 3.0) && close(turned[[90, 1]], 1.0));
    let axis = found.transform_directions(array![[c, s]].view()).unwrap();
    assert!(close(axis[[0, 0]], 1.0) && close(axis[[0, 1]], 0.0));
}

#[test]
fn samples_that_do_not_vary_have_no_variance() {
    let found = PrincipalComponents::fit(Array2::from_elem((4, 3), 7.0).view(), 5).unwrap();
    assert_eq!(found.components.dim(), (3, 3));
    assert!(
        found
            .explained_variance
            .iter()
            .chain(&found.explained_variance_ratio)
            .all(|v| *v == 0.0)
    );
}

#[test]
fn bad_samples_are_errors() {
    let fit = |samples: Array2<f64>| PrincipalComponents::fit(samples.view(), 1).unwrap_err();
    assert!(matches!(
        fit(Array2::zeros((1, 3))),
        Error::TooFew {
            what: "samples",
            ..
        }
    ));
    assert!(matches!(fit(Array2::zeros((3, 0))), Error::TooFew { .. }));
    assert!(matches!(
        fit(array![[1.0], [f64::NAN]]),
        Error::NotFinite { .. }
    ));
    let found = PrincipalComponents::fit(array![[1.0, 2.0], [2.0, 3.0]].view(), 1).unwrap();
    let wrong = Array2::zeros((1, 3));
    assert!(matches!(
        found.transform(wrong.view()),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        found.transform_directions(wrong.view()),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        found.inverse_transform(wrong.view()),
        Err(Error::Shape { .. })
    ));
}

proptest! {
    #[test]
    fn components_are_orthonormal_and_invert(dim in 1_usize..8, n in 2_usize..40, seed in any::<u64>()) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let samples = Array2::from_shape_simple_fn((n, dim), || rng.random_range(-2.0..2.0));
        let found = PrincipalComponents::fit(samples.view(), dim).unwrap();
        let gram = found.components.dot(&found.components.t());
        prop_assert!((gram - Array2::<f64>::eye(dim)).iter().all(|v| v.abs() < 1e-12));
        let coordinates = found.transform(samples.view()).unwrap();
        let back = found.inverse_transform(coordinates.view()).unwrap();
        prop_assert!((back - &samples).iter().all(|v| v.abs() < 1e-12));
        prop_assert!((found.explained_variance_ratio.sum() - 1.0).abs() < 1e-12);
        for (component, variance) in found.explained_variance.iter().enumerate() {
            let column = coordinates.column(component);
            let direct = column.mapv(|v| v * v).sum() / (n - 1) as f64;
            prop_assert!((direct - variance).abs() < 1e-12);
        }
        for axis in found.components.rows() {
            let leading = axis.iter().fold(0.0_f64, |best, v| if v.abs() > best.abs() + 1e-8 { *v } else { best });
            prop_assert!(leading > 0.0);
        }
    }

    #[test]
    fn keeping_fewer_states_changes_no_state(steps in 0_usize..60, keep_every in 1_usize..9, seed in any::<u64>()) {
        let network = TanhNetwork::random(5, 2.0, seed);
        let inputs = Array2::from_shape_fn((steps, 2), |(t, i)| ((t + i) as f64).sin());
        let run = |keep_every| {
            let settings = FreeRunSettings { keep_every, ..FreeRunSettings::new(steps) };
            free_run(&network, &[0.1; 5], RunInput::Sequence(inputs.view()), &settings).unwrap()
        };
        let (all, some) = (run(1), run(keep_every));
        prop_assert_eq!(all.states.nrows(), steps + 1);
        prop_assert_eq!(some.states.nrows(), steps / keep_every + 1);
        prop_assert_eq!(all.states.slice(ndarray::s![..;keep_every, ..]), some.states);
        let largest = all.states.iter().fold(0.0_f64, |largest, v| largest.max(v.abs()));
        prop_assert_eq!((all.largest, all.stop), (largest, None));
        prop_assert_eq!(some.largest, largest);
        let mut next = vec![0.0; 5];
        for t in 0..steps {
            network.step(&all.states.row(t).to_vec(), &inputs.row(t).to_vec(), &mut next);
            prop_assert_eq!(all.states.row(t + 1).to_vec(), next.clone());
        }
    }
}

#[test]
fn the_henon_attractor_is_bounded_and_an_escape_is_dated() {
    let run = free_run(
        &henon(),
        &[0.1, 0.1],
        RunInput::Constant(&[]),
        &FreeRunSettings::new(10_000),
    )
    .unwrap();
    assert_eq!((run.states.dim(), run.stop), ((10_001, 2), None));
    assert!(run.largest > 1.2 && run.largest < 1.3);
    let fixed = henon_fixed_points()[1];
    let run = free_run(
        &henon(),
        &fixed,
        RunInput::Constant(&[]),
        &FreeRunSettings::new(5),
    )
    .unwrap();
    assert!((run.states[[5, 0]] - fixed[0]).abs() < 1e-12);

    // x' = 2 x from 1 exceeds 1000 after 10 steps, with 9 states in bound after the start.
    let doubling = Map(|[x]: [f64; 1]| ([2.0 * x], [[2.0]]));
    let bounded = FreeRunSettings {
        bound: 1000.0,
        keep_every: 4,
        ..FreeRunSettings::new(100)
    };
    let run = free_run(&doubling, &[1.0], RunInput::Constant(&[]), &bounded).unwrap();
    assert_eq!(run.stop, Some(Stop::BeyondBound { step: 10 }));
    assert_eq!(
        (run.states, run.largest),
        (array![[1.0], [16.0], [256.0]], 512.0)
    );
    let unbounded = FreeRunSettings {
        bound: f64::INFINITY,
        ..FreeRunSettings::new(5000)
    };
    let run = free_run(&doubling, &[1.0], RunInput::Constant(&[]), &unbounded).unwrap();
    assert_eq!(
        (run.stop, run.states.nrows()),
        (Some(Stop::NotFinite { step: 1024 }), 1024)
    );
    let run = free_run(&doubling, &[f64::NAN], RunInput::Constant(&[]), &unbounded).unwrap();
    assert_eq!(
        (run.stop, run.states.nrows()),
        (Some(Stop::NotFinite { step: 0 }), 0)
    );
}

#[test]
fn bad_runs_are_errors() {
    let settings = FreeRunSettings::new(10);
    let run = |start: &[f64], input: RunInput<'_>, settings: &FreeRunSettings| {
        free_run(&henon(), start, input, settings).unwrap_err()
    };
    let none = RunInput::Constant(&[]);
    assert!(matches!(
        run(&[0.0], none, &settings),
        Error::Shape { what: "start", .. }
    ));
    assert!(matches!(
        run(&[0.0; 2], RunInput::Constant(&[1.0]), &settings),
        Error::Shape { what: "input", .. }
    ));
    let short = Array2::zeros((9, 0));
    let error = run(&[0.0; 2], RunInput::Sequence(short.view()), &settings);
    assert_eq!(
        error,
        Error::Shape {
            what: "inputs, rows",
            expected: 10,
            found: 9
        }
    );
    let settings = FreeRunSettings {
        keep_every: 0,
        ..settings
    };
    assert!(matches!(
        run(&[0.0; 2], none, &settings),
        Error::Setting {
            what: "keep_every",
            ..
        }
    ));
    let settings = FreeRunSettings {
        bound: f64::NAN,
        ..FreeRunSettings::new(1)
    };
    assert!(matches!(
        run(&[0.0; 2], none, &settings),
        Error::Setting { what: "bound", .. }
    ));
}
