//! Closed orbits of sampled flows against known ones.

use nalgebra::{DMatrix, Vector2};
use ndarray::{Array2, ArrayView2, array};
use nullcline_analysis::free_run::{FreeRunSettings, RunInput, free_run};
use nullcline_analysis::periodic_orbits::{
    PeriodicOrbitSettings, SeenOrbit, find_periodic_orbits, match_orbits,
};
use nullcline_analysis::{Dynamics, Error};
use nullcline_data::settings::{Settings, Value};
use nullcline_tasks::systems::{Flow, lorenz_63};
use std::f64::consts::TAU;

/// The flow of dr/dt = r (1 - r^2), dphi/dt = `omega` over a time `dt`, in closed form: a limit cycle of radius 1 and
/// period 2 pi / omega with the multiplier exp(-2 T).
struct Hopf {
    omega: f64,
    dt: f64,
}

impl Dynamics for Hopf {
    fn state_dim(&self) -> usize {
        2
    }
    fn input_dim(&self) -> usize {
        0
    }
    fn step(&self, state: &[f64], input: &[f64], next: &mut [f64]) {
        self.step_with_jacobian(state, input, next, &mut [0.0; 4]);
    }
    fn step_with_jacobian(&self, state: &[f64], _: &[f64], next: &mut [f64], jacobian: &mut [f64]) {
        // r' = r g, g = (r^2 + (1 - r^2) e)^(-1/2), e = exp(-2 dt)
        let e = (-2.0 * self.dt).exp();
        let x = Vector2::new(state[0], state[1]);
        let g = (x.norm_squared() * (1.0 - e) + e).powf(-0.5);
        let (sin, cos) = (self.omega * self.dt).sin_cos();
        let turn = nalgebra::Matrix2::new(cos, -sin, sin, cos);
        next.copy_from_slice((turn * x * g).as_slice());
        // d(x g)/dx = g + x (dg/dx)^T, dg/dx = -g^3 (1 - e) x
        let derivative = turn
            * (nalgebra::Matrix2::identity() * g - x * x.transpose() * (g.powi(3) * (1.0 - e)));
        jacobian.copy_from_slice(derivative.transpose().as_slice());
    }
    fn input_jacobian(&self, _: &[f64], _: &[f64], _: &mut [f64]) {}
}

fn trajectory<D: Dynamics>(
    dynamics: &D,
    start: &[f64],
    transient: usize,
    steps: usize,
) -> Array2<f64> {
    let settings = FreeRunSettings::new(transient + steps);
    let run = free_run(dynamics, start, RunInput::Constant(&[]), &settings).unwrap();
    run.states.slice(ndarray::s![transient.., ..]).to_owned()
}

#[test]
fn a_limit_cycle_in_closed_form() {
    // 39.27 steps a period.
    let hopf = Hopf {
        omega: 4.0,
        dt: 0.04,
    };
    let seen = trajectory(&hopf, &[0.1, 0.0], 300, 400);
    let found = find_periodic_orbits(
        &hopf,
        &[],
        seen.view(),
        &PeriodicOrbitSettings::default(),
        &mut |_| true,
    )
    .unwrap();
    // Five and more turns are among the close returns, and are the same orbit.
    assert_eq!(found.len(), 1);
    let orbit = &found[0];
    assert!(orbit.found_from > 5, "{}", orbit.found_from);
    let period = TAU / 4.0;
    assert!(
        (orbit.period * 0.04 - period).abs() < 1e-5,
        "{}",
        orbit.period
    );
    assert!((orbit.along.unwrap() - 1.0).abs() < 1e-4);
    let [multiplier] = orbit.multipliers[..] else {
        panic!("{:?}", orbit.multipliers)
    };
    assert!(
        (multiplier.re / (-2.0 * period).exp() - 1.0).abs() < 1e-3,
        "{multiplier}"
    );
    assert_eq!(orbit.n_unstable(), 0);
    // Seven parts of each of 39.27 steps, and the start again.
    assert_eq!(orbit.points.nrows(), 276);
    assert_eq!(orbit.points.row(0), orbit.points.row(275));
    for state in orbit.points.rows() {
        assert!((state.dot(&state) - 1.0).abs() < 1e-4);
    }
}

/// Twelve steps a turn are few, and still one orbit whatever the phase, and the same after several turns.
#[test]
fn one_orbit_from_many_returns() {
    let hopf = Hopf {
        omega: 4.0,
        dt: 0.128,
    };
    let seen = trajectory(&hopf, &[0.1, 0.0], 100, 600);
    for (longest, near) in [(100, 0.1), (100, 0.5), (40, 0.1)] {
        let settings = PeriodicOrbitSettings {
            longest,
            near,
            ..PeriodicOrbitSettings::default()
        };
        let found =
            find_periodic_orbits(&hopf, &[], seen.view(), &settings, &mut |_| true).unwrap();
        assert_eq!(found.len(), 1, "{longest} {near}");
        assert!((found[0].period - TAU / 4.0 / 0.128).abs() < 0.01);
    }
    // Every other turn farther out: it comes back after two turns alone, and they are twice the same.
    let turning = Array2::from_shape_fn((600, 2), |(t, i)| {
        let angle = 4.0 * 0.128 * t as f64;
        let radius = if ((angle / TAU) as usize).is_multiple_of(2) {
            1.0
        } else {
            1.6
        };
        radius * if i == 0 { angle.cos() } else { angle.sin() }
    });
    let settings = PeriodicOrbitSettings {
        longest: 30,
        near: 0.3,
        ..PeriodicOrbitSettings::default()
    };
    let found = find_periodic_orbits(&hopf, &[], turning.view(), &settings, &mut |_| true).unwrap();
    assert_eq!(found.len(), 1);
    assert!((found[0].period - TAU / 4.0 / 0.128).abs() < 0.01);
}

/// The shortest orbits of Lorenz-63 (D. Viswanath, Nonlinearity 16, 1035 (2003), table 1): around the wings A and B as
/// AB, AAB and ABB, AAAB and ABBB, AABB.
#[test]
fn the_shortest_orbits_of_lorenz_63() {
    let mut settings = Settings::from_defaults("task", &[lorenz_63::KIND.keys]);
    settings.set("length", Value::Integer(5000)).unwrap();
    settings.set("test_length", Value::Integer(20_000)).unwrap();
    let task = (lorenz_63::KIND.build)(&settings).unwrap();
    let generator = task.system().unwrap();
    let values = task
        .recording(nullcline_tasks::Split::HeldOut)
        .unwrap()
        .values
        .mapv(f64::from);
    let search = PeriodicOrbitSettings {
        longest: 320,
        ..PeriodicOrbitSettings::default()
    };
    let found = find_periodic_orbits(&generator.flow(), &[], values.view(), &search, &mut |_| {
        true
    })
    .unwrap();
    let periods: Vec<f64> = found
        .iter()
        .map(|orbit| orbit.period * generator.dt)
        .collect();
    let known = [
        1.558_652_210_7,
        2.305_907_263_9,
        2.305_907_263_9,
        3.023_583_703_4,
        3.023_583_703_4,
        3.084_276_775_8,
    ];
    assert_eq!(periods.len(), known.len(), "{periods:?}");
    for (period, known) in periods.iter().zip(known) {
        assert!((period - known).abs() < 1e-4, "{periods:?}");
    }
    for orbit in &found {
        assert_eq!(orbit.n_unstable(), 1);
        assert!(
            (orbit.along.unwrap() - 1.0).abs() < 1e-2,
            "{:?}",
            orbit.along
        );
        // The same multiplier from steps of which a whole number is the period: the product of their Jacobians.
        let whole = orbit.period.ceil() as usize;
        let fitted = nullcline_tasks::systems::Generator {
            dt: orbit.period * generator.dt / whole as f64,
            ..generator
        };
        let flow = fitted.flow();
        let mut state = orbit.points.row(0).to_vec();
        let mut product = DMatrix::<f64>::identity(3, 3);
        for _ in 0..whole {
            let mut jacobian = [0.0; 9];
            flow.advance_with_jacobian(&mut state, &mut jacobian);
            product = DMatrix::from_row_slice(3, 3, &jacobian) * product;
        }
        let exact = product.complex_eigenvalues();
        let largest = exact
            .iter()
            .max_by(|a, b| a.norm().total_cmp(&b.norm()))
            .unwrap();
        let ratio = orbit.multipliers[0] / largest;
        assert!(
            (ratio - 1.0).norm() < 1e-3,
            "{} {largest}",
            orbit.multipliers[0]
        );
    }
}

#[test]
fn what_rests_or_does_not_fit() {
    let hopf = Hopf {
        omega: 4.0,
        dt: 0.04,
    };
    let settings = PeriodicOrbitSettings::default();
    let search = |trajectory: ArrayView2<f64>, settings: &PeriodicOrbitSettings| {
        find_periodic_orbits(&hopf, &[], trajectory, settings, &mut |_| true)
    };
    assert_eq!(
        search(Array2::zeros((100, 2)).view(), &settings),
        Ok(vec![])
    );
    assert_eq!(search(Array2::zeros((0, 2)).view(), &settings), Ok(vec![]));
    assert!(matches!(
        search(Array2::zeros((9, 3)).view(), &settings),
        Err(Error::Shape { .. })
    ));
    let nan = Array2::from_elem((9, 2), f64::NAN);
    assert!(matches!(
        search(nan.view(), &settings),
        Err(Error::NotFinite { .. })
    ));
    let short = PeriodicOrbitSettings {
        longest: 2,
        ..settings.clone()
    };
    assert!(matches!(
        search(Array2::zeros((9, 2)).view(), &short),
        Err(Error::Setting { .. })
    ));
    let wide = PeriodicOrbitSettings {
        near: 0.6,
        ..settings.clone()
    };
    assert!(matches!(
        search(Array2::zeros((9, 2)).view(), &wide),
        Err(Error::Setting { .. })
    ));
    let seen = trajectory(&hopf, &[1.0, 0.0], 0, 100);
    // Longer than the trajectory.
    let long = PeriodicOrbitSettings {
        longest: 100_000,
        ..settings.clone()
    };
    assert_eq!(search(seen.view(), &long).unwrap().len(), 1);
    let stopped = find_periodic_orbits(&hopf, &[], seen.view(), &settings, &mut |_| false);
    assert_eq!(stopped, Err(Error::Stopped));
}

/// Orbits are paired by where they lie, and only where their periods are near.
#[test]
fn orbits_are_paired() {
    let square = |x: f64| array![[x, 0.0], [x + 1.0, 0.0], [x + 1.0, 1.0], [x, 1.0], [x, 0.0]];
    let (at_0, at_3, at_9) = (square(0.0), square(3.0), square(9.0));
    let seen = |period, points| SeenOrbit {
        period,
        points: ArrayView2::from(points),
    };
    let a = [seen(10.0, &at_0), seen(10.0, &at_3), seen(30.0, &at_9)];
    let b = [seen(10.5, &at_3), seen(9.5, &at_0)];
    assert_eq!(
        match_orbits(&a, &b),
        Ok(vec![Some((1, 0.0)), Some((0, 0.0)), None])
    );
    // The other way round, and of a square one unit away half of each lies one away and half of it on it.
    let at_1 = square(1.0);
    let pairs = match_orbits(&[seen(10.0, &at_1)], &a).unwrap();
    let (partner, distance) = pairs[0].unwrap();
    assert!(partner == 0 && (distance - 0.5).abs() < 1e-12, "{distance}");
    assert_eq!(match_orbits(&[], &a), Ok(vec![]));
}
