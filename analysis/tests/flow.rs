//! Systems in continuous time against known answers.

use ndarray::{Array2, array};
use nullcline_analysis::flow::{EquilibriumSettings, VectorField, find_equilibria, match_points};
use nullcline_analysis::free_run::RunInput;
use nullcline_analysis::lyapunov::{LyapunovSettings, lyapunov_spectrum};
use nullcline_analysis::starts::starts_in_box;
use nullcline_analysis::{Dynamics, Error};
use nullcline_data::settings::{Settings, Value};
use nullcline_tasks::Task;
use nullcline_tasks::systems::lorenz_63;
use proptest::prelude::*;
use rand::{SeedableRng, rngs::SmallRng};

/// A field of `N` variables, from a function that returns f and, row by row, its Jacobian.
struct Field<const N: usize, F>(F);

impl<const N: usize, F: Fn([f64; N]) -> ([f64; N], [[f64; N]; N]) + Sync> VectorField
    for Field<N, F>
{
    fn dim(&self) -> usize {
        N
    }
    fn velocity(&self, state: &[f64], velocity: &mut [f64]) {
        velocity.copy_from_slice(&(self.0)(state.try_into().unwrap()).0);
    }
    fn jacobian(&self, state: &[f64], jacobian: &mut [f64]) {
        jacobian.copy_from_slice((self.0)(state.try_into().unwrap()).1.as_flattened());
    }
}

fn lorenz() -> Box<dyn Task> {
    let mut settings = Settings::from_defaults("task", &[lorenz_63::KIND.keys]);
    settings.set("length", Value::Integer(5000)).unwrap();
    settings.set("test_length", Value::Integer(3000)).unwrap();
    (lorenz_63::KIND.build)(&settings).unwrap()
}

fn random_starts(low: f64, high: f64, dim: usize, count: usize) -> Array2<f64> {
    let mut random = SmallRng::seed_from_u64(5);
    starts_in_box(&vec![low; dim], &vec![high; dim], count, &mut random).unwrap()
}

/// Lorenz-63 has the origin and (+-sqrt(beta (rho - 1)), the same, rho - 1); at the origin -beta and
/// (-(sigma + 1) +- sqrt((sigma + 1)^2 + 4 sigma (rho - 1))) / 2, at the two others the roots of
/// l^3 + (sigma + beta + 1) l^2 + beta (sigma + rho) l + 2 sigma beta (rho - 1).
#[test]
fn the_equilibria_of_lorenz_63() {
    let task = lorenz();
    let generator = task.system().unwrap();
    let starts = random_starts(-4.0, 4.0, 3, 100);
    let found = find_equilibria(
        &generator,
        starts.view(),
        &EquilibriumSettings::default(),
        &mut |_| true,
    )
    .unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(
        found.iter().map(|point| point.found_from).sum::<usize>(),
        100
    );
    let (sigma, beta, rho) = (10.0, 8.0 / 3.0, 28.0);
    for point in &found {
        assert!(
            point.isolated && point.residual < 1e-10,
            "{}",
            point.residual
        );
        let mut u = point.state.clone();
        generator.restore(&mut u);
        let away = (beta * (rho - 1.0f64)).sqrt();
        let want = [away * u[0].signum(), away * u[0].signum(), rho - 1.0];
        let at_origin = u.iter().all(|x| x.abs() < 1e-9);
        assert!(
            at_origin || u.iter().zip(want).all(|(x, w)| (x - w).abs() < 1e-9),
            "{u:?}"
        );
        if at_origin {
            let root = ((sigma + 1.0f64).powi(2) + 4.0 * sigma * (rho - 1.0)).sqrt();
            let want = [
                (root - sigma - 1.0) / 2.0,
                -beta,
                (-root - sigma - 1.0) / 2.0,
            ];
            for (lambda, want) in point.eigenvalues.iter().zip(want) {
                assert!((lambda.re - want).abs() < 1e-9 && lambda.im == 0.0);
            }
            assert_eq!(point.n_unstable(), 1);
        } else {
            for l in &point.eigenvalues {
                let p = l * l * l
                    + l * l * (sigma + beta + 1.0)
                    + l * (beta * (sigma + rho))
                    + 2.0 * sigma * beta * (rho - 1.0);
                assert!(p.norm() < 1e-6, "{p}");
            }
            assert_eq!(point.n_unstable(), 2);
        }
    }
}

/// Equilibria are fixed points of the flow, whose eigenvalues are exp(lambda dt), and its Jacobian is exact.
#[test]
fn the_flow_is_a_map() {
    let task = lorenz();
    let generator = task.system().unwrap();
    let flow = generator.flow();
    let dt = generator.dt;
    let starts = random_starts(-4.0, 4.0, 3, 40);
    let points = find_equilibria(
        &generator,
        starts.view(),
        &EquilibriumSettings::default(),
        &mut |_| true,
    )
    .unwrap();
    for point in points {
        let (mut next, mut jacobian) = (vec![0.0; 3], vec![0.0; 9]);
        flow.step_with_jacobian(&point.state, &[], &mut next, &mut jacobian);
        for (x, y) in point.state.iter().zip(&next) {
            assert!((x - y).abs() < 1e-10);
        }
        let matrix = nalgebra::DMatrix::from_row_slice(3, 3, &jacobian);
        let of_map = matrix.complex_eigenvalues();
        for lambda in &point.eigenvalues {
            let want = (lambda * dt).exp();
            let nearest = of_map
                .iter()
                .map(|mu| (mu - want).norm())
                .fold(f64::INFINITY, f64::min);
            // Runge and Kutta's error in a step is of the fifth order.
            assert!(nearest < 1e-6, "{nearest}");
        }
    }
    let (state, h) = ([0.3, -0.2, 0.5], 1e-6);
    let (mut next, mut jacobian) = (vec![0.0; 3], vec![0.0; 9]);
    flow.step_with_jacobian(&state, &[], &mut next, &mut jacobian);
    for from in 0..3 {
        let [mut above, mut below] = [state, state];
        above[from] += h;
        below[from] -= h;
        let (mut a, mut b) = ([0.0; 3], [0.0; 3]);
        flow.step(&above, &[], &mut a);
        flow.step(&below, &[], &mut b);
        for to in 0..3 {
            let difference = (a[to] - b[to]) / (2.0 * h);
            assert!((difference - jacobian[3 * to + from]).abs() < 1e-8);
        }
    }
}

/// 0.906, 0 and -14.57 per unit of time (J. C. Sprott, Chaos and Time-Series Analysis, 2003); their sum is -41/3.
#[test]
fn the_exponents_of_lorenz_63() {
    let task = lorenz();
    let generator = task.system().unwrap();
    let settings = LyapunovSettings {
        every: 5,
        ..LyapunovSettings::new(100_000)
    };
    let mut random = SmallRng::seed_from_u64(1);
    let found = lyapunov_spectrum(
        &generator.flow(),
        &[0.1, 0.2, 0.0],
        RunInput::Constant(&[]),
        &settings,
        &mut random,
        &mut |_| true,
    )
    .unwrap();
    let per_time: Vec<f64> = found.exponents.iter().map(|e| e / generator.dt).collect();
    assert!((per_time[0] - 0.906).abs() < 0.02, "{per_time:?}");
    assert!(per_time[1].abs() < 0.01, "{per_time:?}");
    assert!((per_time.iter().sum::<f64>() + 41.0 / 3.0).abs() < 1e-3);
}

/// A circle of equilibria: none is isolated. A field without any: none is found.
#[test]
fn continua_and_nothing() {
    let circle = Field(|[x, y]: [f64; 2]| {
        let r = x * x + y * y;
        // Radial only, so that the whole circle r = 1 and the origin are zeros.
        (
            [x * (1.0 - r), y * (1.0 - r)],
            [
                [1.0 - r - 2.0 * x * x, -2.0 * x * y],
                [-2.0 * x * y, 1.0 - r - 2.0 * y * y],
            ],
        )
    });
    let starts = random_starts(-2.0, 2.0, 2, 60);
    let settings = EquilibriumSettings::default();
    let found = find_equilibria(&circle, starts.view(), &settings, &mut |_| true).unwrap();
    assert!(found.len() > 20);
    for point in found {
        let radius = point.state[0].hypot(point.state[1]);
        assert!(radius < 1e-6 && point.isolated || (radius - 1.0).abs() < 1e-6 && !point.isolated);
        assert_eq!(point.n_unstable(), if radius < 0.5 { 2 } else { 0 });
    }
    let away = Field(|[x]: [f64; 1]| ([1.0 + x * x], [[2.0 * x]]));
    let starts = random_starts(-2.0, 2.0, 1, 20);
    assert_eq!(
        find_equilibria(&away, starts.view(), &settings, &mut |_| true).unwrap(),
        []
    );
}

#[test]
fn what_does_not_fit_is_named() {
    let field = Field(|[x]: [f64; 1]| ([-x], [[-1.0]]));
    let settings = EquilibriumSettings::default();
    let find = |starts: Array2<f64>, go: bool| {
        find_equilibria(&field, starts.view(), &settings, &mut |_| go)
    };
    assert!(matches!(
        find(Array2::zeros((3, 2)), true),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        find(Array2::zeros((0, 1)), true),
        Err(Error::TooFew { .. })
    ));
    assert!(matches!(
        find(array![[f64::NAN]], true),
        Err(Error::NotFinite { .. })
    ));
    assert_eq!(find(array![[1.0]], false), Err(Error::Stopped));
    assert_eq!(find(array![[1.0]], true).unwrap()[0].state, [0.0]);
}

#[test]
fn pairs_at_the_least_sum() {
    let a = array![[0.0, 0.0], [1.0, 0.0], [5.0, 5.0]];
    let b = array![[1.1, 0.0], [0.0, 0.5]];
    let pairs = match_points(a.view(), b.view()).unwrap();
    assert_eq!(pairs[0], Some((1, 0.5)));
    assert!(pairs[1].is_some_and(|(j, d)| j == 0 && (d - 0.1).abs() < 1e-12));
    assert_eq!(pairs[2], None);
    let pairs = match_points(b.view(), a.view()).unwrap();
    assert_eq!((pairs[0].unwrap().0, pairs[1].unwrap().0), (1, 0));
    assert_eq!(
        match_points(Array2::zeros((0, 2)).view(), a.view()).unwrap(),
        []
    );
    assert_eq!(
        match_points(b.view(), Array2::zeros((0, 2)).view()).unwrap(),
        [None, None]
    );
    assert!(match_points(a.view(), array![[1.0]].view()).is_err());
}

proptest! {
    /// A cubic with three real roots, and one variable that decays beside it: all three are found, with the slopes there.
    #[test]
    fn roots_of_a_cubic(a in -3.0f64..-1.0, b in -0.8f64..0.8, c in 1.0f64..3.0) {
        let field = Field(move |[x, y]: [f64; 2]| {
            let slope = (x - b) * (x - c) + (x - a) * (x - c) + (x - a) * (x - b);
            ([-(x - a) * (x - b) * (x - c), x - y], [[-slope, 0.0], [1.0, -1.0]])
        });
        let starts = random_starts(-4.0, 4.0, 2, 60);
        let mut found = find_equilibria(&field, starts.view(), &EquilibriumSettings::default(), &mut |_| true).unwrap();
        found.sort_by(|p, q| p.state[0].total_cmp(&q.state[0]));
        prop_assert_eq!(found.len(), 3);
        for (point, root) in found.iter().zip([a, b, c]) {
            prop_assert!((point.state[0] - root).abs() < 1e-8 && (point.state[1] - root).abs() < 1e-8);
        }
        // Stable, unstable, stable.
        prop_assert_eq!([0, 1, 2].map(|k| found[k].n_unstable()), [0, 1, 0]);
    }
}
