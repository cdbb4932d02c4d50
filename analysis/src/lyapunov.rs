//! Lyapunov exponents: how fast neighbouring trajectories part.
//!
//! Tangent vectors are carried along a trajectory by the map's Jacobians and made orthonormal again before they
//! all point along the fastest one; the exponents are the mean logarithms of what they are scaled by:
//!
//! ```text
//! J_t Q_t = Q_t+1 R_t+1,    lambda_i = 1/T sum_t log |R_t|_ii
//! ```
//!
//! G. Benettin, L. Galgani, A. Giorgilli & J.-M. Strelcyn, Meccanica 15, 9 (1980).

use ndarray::Array2;
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::dense::{Left, orthonormalise, orthonormalise_scratch, product};
use crate::free_run::RunInput;
use crate::{Dynamics, Error, Watch};

/// Steps between two looks at whether to go on.
const WATCHED: usize = 64;

/// How exponents are measured.
#[derive(Clone, Debug, PartialEq)]
pub struct LyapunovSettings {
    /// Steps over which the logarithms are averaged, at least 1. The error falls as one over this number.
    pub steps: usize,
    /// Steps before them, in which the state comes to the attractor and the tangent vectors to their directions.
    /// Default 1000.
    pub transient: usize,
    /// Steps between two orthonormalisations, at least 1. More cost less; vectors that differ by more than 1e8 in
    /// length within them lose their directions to rounding. Default 1.
    pub every: usize,
    /// How many exponents, the largest ones; `None` for all. Default all.
    pub exponents: Option<usize>,
    /// About how many points of the convergence curve are kept. Default 200.
    pub points: usize,
}

impl LyapunovSettings {
    /// `steps` steps, with the defaults.
    pub fn new(steps: usize) -> Self {
        Self {
            steps,
            transient: 1000,
            every: 1,
            exponents: None,
            points: 200,
        }
    }
}

/// The exponents along one trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct LyapunovSpectrum {
    /// Exponents per step, natural logarithm, descending; minus infinity for a direction that the map crushes to
    /// nothing, or between two orthonormalisations by more than rounding can follow, 1e-16 of the largest.
    pub exponents: Vec<f64>,
    /// The Kaplan-Yorke dimension, see [`kaplan_yorke`]; `None` where more exponents would be needed to know.
    pub kaplan_yorke: Option<f64>,
    /// Steps after the transient at which the curve was read off.
    pub curve_steps: Vec<usize>,
    /// The exponents as averaged up to these steps, `[point, exponent]`, in the order of `exponents`.
    pub curve: Array2<f64>,
    /// The last state.
    pub state: Vec<f64>,
}

/// Measures the largest Lyapunov exponents along the trajectory of x' = F(x, u) from `start`.
///
/// A sequence of inputs has a row for every step of the transient and after it. The first tangent vectors are drawn
/// from `random`: unit vectors may lie in subspaces that the map does not leave.
///
/// # Errors
/// [`Error::Shape`] where `start` or `input` does not fit the map; [`Error::Setting`] where there are no steps, no
/// interval, or more exponents than states; [`Error::NotFinite`] where the trajectory leaves the finite numbers; [`Error::Stopped`]
/// where `watch` says so.
pub fn lyapunov_spectrum<D: Dynamics + ?Sized>(
    dynamics: &D,
    start: &[f64],
    input: RunInput<'_>,
    settings: &LyapunovSettings,
    random: &mut impl Rng,
    watch: Watch,
) -> Result<LyapunovSpectrum, Error> {
    let dim = dynamics.state_dim();
    let count = settings.exponents.unwrap_or(dim);
    let total = settings.transient.saturating_add(settings.steps);
    Error::check_shape("start", dim, start.len())?;
    input.check(dynamics.input_dim(), total)?;
    for (what, found, least, allowed) in [
        ("steps", settings.steps, 1, "at least 1"),
        ("every", settings.every, 1, "at least 1"),
        ("points", settings.points, 1, "at least 1"),
        ("exponents", count, 1, "1 to the number of states"),
        ("exponents", dim, count, "1 to the number of states"),
    ] {
        if found < least {
            return Err(Error::Setting {
                what,
                found: if what == "exponents" { count } else { found }.to_string(),
                allowed,
            });
        }
    }

    let mut vectors: Vec<f64> = (0..dim * count)
        .map(|_| StandardNormal.sample(random))
        .collect();
    let mut lengths = vec![0.0; count];
    let mut scratch = vec![0.0; orthonormalise_scratch(dim, count)];
    orthonormalise(&mut vectors, count, &mut lengths, &mut scratch);

    let mut carried = vec![0.0; dim * count];
    let mut state = start.to_vec();
    let mut next = vec![0.0; dim];
    let mut jacobian = vec![0.0; dim * dim];
    let mut sums = vec![0.0; count];
    let mut current = vec![0.0; dynamics.input_dim()];
    let interval = (settings.steps / settings.points).max(1);
    let (mut curve_steps, mut curve) = (Vec::new(), Vec::new());
    for step in 0..total {
        if step.is_multiple_of(WATCHED) {
            Error::check_watch(watch, step as f64 / total as f64)?;
        }
        dynamics.step_with_jacobian(
            &state,
            input.at(step, &mut current),
            &mut next,
            &mut jacobian,
        );
        std::mem::swap(&mut state, &mut next);
        if !state.iter().all(|x| x.is_finite()) {
            return Err(Error::NotFinite {
                what: "the trajectory",
            });
        }
        let left = Left {
            values: &jacobian,
            row: dim,
            column: 1,
        };
        product(left, &vectors, dim, count, &mut carried);
        std::mem::swap(&mut vectors, &mut carried);
        let made = step + 1;
        let measured = made.saturating_sub(settings.transient);
        // Also where the transient ends, so that nothing of it is counted, and at the last step.
        if made.is_multiple_of(settings.every) || made == settings.transient || made == total {
            orthonormalise(&mut vectors, count, &mut lengths, &mut scratch);
            if measured > 0 {
                for (sum, length) in sums.iter_mut().zip(&lengths) {
                    *sum += length.ln();
                }
                let due = curve_steps.last().map_or(0, |last| last + interval);
                if measured >= due.max(interval) || made == total {
                    curve_steps.push(measured);
                    curve.extend(sums.iter().map(|sum| sum / measured as f64));
                }
            }
        }
    }
    let means: Vec<f64> = sums.iter().map(|sum| sum / settings.steps as f64).collect();
    // The vectors sort themselves by growth, up to the noise of a finite average.
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| means[b].total_cmp(&means[a]));
    let exponents: Vec<f64> = order.iter().map(|&k| means[k]).collect();
    Ok(LyapunovSpectrum {
        kaplan_yorke: kaplan_yorke(&exponents, dim),
        curve: Array2::from_shape_fn((curve_steps.len(), count), |(point, k)| {
            curve[point * count + order[k]]
        }),
        curve_steps,
        exponents,
        state,
    })
}

/// The Kaplan-Yorke dimension of an attractor with these largest exponents, descending, of `dim`:
/// D = j + (lambda_1 + ... + lambda_j) / |lambda_j+1|, with j the largest number for which the sum is not negative.
///
/// 0 for a stable fixed point, `dim` where volumes do not shrink, `None` where the exponents given do not reach to
/// where the sum becomes negative.
///
/// J. L. Kaplan & J. A. Yorke, Lecture Notes in Mathematics 730, 204 (1979).
pub fn kaplan_yorke(exponents: &[f64], dim: usize) -> Option<f64> {
    let mut sum = 0.0;
    for (j, &exponent) in exponents.iter().enumerate() {
        if sum + exponent < 0.0 {
            return Some(j as f64 + sum / exponent.abs());
        }
        sum += exponent;
    }
    (exponents.len() == dim && !sum.is_nan()).then_some(dim as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nullcline_models::architecture::{Architecture, CellKind, Readout};
    use nullcline_models::network::Network;
    use rand::{SeedableRng, rngs::SmallRng};

    fn random() -> SmallRng {
        SmallRng::seed_from_u64(1)
    }

    /// A map and its Jacobian, row-major.
    struct Map<F: Fn(&[f64], &mut [f64], &mut [f64]) + Sync> {
        dim: usize,
        step: F,
    }

    impl<F: Fn(&[f64], &mut [f64], &mut [f64]) + Sync> Dynamics for Map<F> {
        fn state_dim(&self) -> usize {
            self.dim
        }
        fn input_dim(&self) -> usize {
            0
        }
        fn step(&self, state: &[f64], _: &[f64], next: &mut [f64]) {
            (self.step)(state, next, &mut vec![0.0; self.dim * self.dim]);
        }
        fn step_with_jacobian(
            &self,
            state: &[f64],
            _: &[f64],
            next: &mut [f64],
            jacobian: &mut [f64],
        ) {
            (self.step)(state, next, jacobian);
        }
        fn input_jacobian(&self, _: &[f64], _: &[f64], _: &mut [f64]) {}
    }

    fn spectrum(
        map: &dyn Dynamics,
        start: &[f64],
        settings: &LyapunovSettings,
    ) -> LyapunovSpectrum {
        lyapunov_spectrum(
            map,
            start,
            RunInput::Constant(&[]),
            settings,
            &mut random(),
            &mut |_| true,
        )
        .unwrap()
    }

    /// Exponents of the Henon map: 0.4192 and -1.6232 (J. C. Sprott, Chaos and Time-Series Analysis, 2003); their sum
    /// is log 0.3, because the Jacobian's determinant is -0.3 everywhere.
    #[test]
    fn henon_map() {
        let map = Map {
            dim: 2,
            step: |x: &[f64], next: &mut [f64], j: &mut [f64]| {
                next.copy_from_slice(&[1.0 - 1.4 * x[0] * x[0] + x[1], 0.3 * x[0]]);
                j.copy_from_slice(&[-2.8 * x[0], 1.0, 0.3, 0.0]);
            },
        };
        for every in [1, 7] {
            let settings = LyapunovSettings {
                every,
                ..LyapunovSettings::new(400_000)
            };
            let found = spectrum(&map, &[0.1, 0.1], &settings);
            let [first, second] = found.exponents[..] else {
                panic!("two exponents")
            };
            assert!((first - 0.4192).abs() < 1.5e-3, "{first}");
            assert!((second + 1.6232).abs() < 1.5e-3, "{second}");
            assert!((first + second - 0.3f64.ln()).abs() < 1e-9);
            let dimension = found.kaplan_yorke.unwrap();
            assert!((dimension - (1.0 + first / -second)).abs() < 1e-12);
            assert_eq!(found.curve_steps.last(), Some(&400_000));
            assert_eq!(found.curve.row(found.curve.nrows() - 1)[0], first);
            assert!((190..=210).contains(&found.curve.nrows()));
        }
    }

    /// x' = 4 x (1 - x): log 2. Doubles near 1/2 and 1 are enough for a tenth of a percent.
    #[test]
    fn logistic_map() {
        let map = Map {
            dim: 1,
            step: |x: &[f64], next: &mut [f64], j: &mut [f64]| {
                next[0] = 4.0 * x[0] * (1.0 - x[0]);
                j[0] = 4.0 - 8.0 * x[0];
            },
        };
        let found = spectrum(&map, &[0.2345], &LyapunovSettings::new(200_000));
        assert!((found.exponents[0] - 2f64.ln()).abs() < 1e-3);
        assert_eq!(found.kaplan_yorke, Some(1.0));
    }

    /// Lorenz-63 by one Runge-Kutta step of 0.01: 0.906, 0 and -14.57 per unit of time (Sprott 2003); the sum is the
    /// divergence -41/3 of the flow.
    #[test]
    fn lorenz_63() {
        fn flow(x: [f64; 3]) -> [f64; 3] {
            [
                10.0 * (x[1] - x[0]),
                x[0] * (28.0 - x[2]) - x[1],
                x[0] * x[1] - 8.0 / 3.0 * x[2],
            ]
        }
        fn tangent(x: [f64; 3], v: [f64; 3]) -> [f64; 3] {
            [
                10.0 * (v[1] - v[0]),
                v[0] * (28.0 - x[2]) - v[1] - x[0] * v[2],
                v[0] * x[1] + x[0] * v[1] - 8.0 / 3.0 * v[2],
            ]
        }
        let along = |x: [f64; 3], k: [f64; 3], h: f64| std::array::from_fn(|i| x[i] + h * k[i]);
        const H: f64 = 0.01;
        let map = Map {
            dim: 3,
            step: move |x: &[f64], next: &mut [f64], jacobian: &mut [f64]| {
                let x = [x[0], x[1], x[2]];
                let k1 = flow(x);
                let x2 = along(x, k1, H / 2.0);
                let k2 = flow(x2);
                let x3 = along(x, k2, H / 2.0);
                let k3 = flow(x3);
                let x4 = along(x, k3, H);
                let k4 = flow(x4);
                for i in 0..3 {
                    next[i] = x[i] + H / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]);
                }
                for column in 0..3 {
                    let v: [f64; 3] = std::array::from_fn(|i| f64::from(u8::from(i == column)));
                    let d1 = tangent(x, v);
                    let d2 = tangent(x2, along(v, d1, H / 2.0));
                    let d3 = tangent(x3, along(v, d2, H / 2.0));
                    let d4 = tangent(x4, along(v, d3, H));
                    for i in 0..3 {
                        jacobian[3 * i + column] =
                            v[i] + H / 6.0 * (d1[i] + 2.0 * d2[i] + 2.0 * d3[i] + d4[i]);
                    }
                }
            },
        };
        let found = spectrum(&map, &[1.0, 1.0, 20.0], &LyapunovSettings::new(400_000));
        let per_time: Vec<f64> = found.exponents.iter().map(|e| e / H).collect();
        assert!((per_time[0] - 0.906).abs() < 0.01, "{per_time:?}");
        assert!(per_time[1].abs() < 0.005, "{per_time:?}");
        assert!((per_time[2] + 14.57).abs() < 0.02, "{per_time:?}");
        assert!((per_time.iter().sum::<f64>() + 41.0 / 3.0).abs() < 2e-3);
        let dimension = found.kaplan_yorke.unwrap();
        assert!((dimension - 2.062).abs() < 0.003, "{dimension}");
    }

    /// A linear map's exponents are the log moduli of its eigenvalues, complex pairs and a crushed direction included;
    /// the first few are those of the whole spectrum, also where unit vectors would lie in invariant subspaces.
    #[test]
    fn linear_maps() {
        // Blocks: a rotation by 1 scaled by 0.9, 1.2 and 0.5 on a Jordan-like corner, and 0.
        let (sin, cos) = 1f64.sin_cos();
        let matrix = [
            [0.9 * cos, -0.9 * sin, 0.0, 0.0, 0.0],
            [0.9 * sin, 0.9 * cos, 0.0, 0.0, 0.0],
            [0.3, 0.0, 1.2, 5.0, 0.0],
            [0.0, 0.0, 0.0, 0.5, 0.0],
            [0.0, 0.0, 0.0, 0.0, 0.0],
        ];
        let map = Map {
            dim: 5,
            step: |x: &[f64], next: &mut [f64], j: &mut [f64]| {
                // The state stays small; the tangent vectors do not see it.
                next.copy_from_slice(x);
                j.copy_from_slice(matrix.as_flattened());
            },
        };
        let want = [1.2f64.ln(), 0.9f64.ln(), 0.9f64.ln(), 0.5f64.ln()];
        let settings = LyapunovSettings::new(20_000);
        let all = spectrum(&map, &[0.0; 5], &settings);
        for (found, want) in all.exponents.iter().zip(want) {
            assert!((found - want).abs() < 1e-4, "{:?}", all.exponents);
        }
        assert_eq!(all.exponents[4], f64::NEG_INFINITY);
        for count in 1..=3 {
            let settings = LyapunovSettings {
                exponents: Some(count),
                ..settings.clone()
            };
            let first = spectrum(&map, &[0.0; 5], &settings);
            assert_eq!(first.exponents.len(), count);
            for (found, want) in first.exponents.iter().zip(want) {
                assert!((found - want).abs() < 1e-4, "{:?}", first.exponents);
            }
        }
    }

    /// At a stable fixed point of a network the exponents are the log moduli of its Jacobian's eigenvalues, there a
    /// symmetric matrix's: 0.7 and 0.2 of the identity's mixture with tanh'(0) W.
    #[test]
    fn a_network_at_rest() {
        let architecture = Architecture {
            cell: CellKind::LeakyRateTanh,
            inputs: 1,
            units: 2,
            hidden: 0,
            outputs: 1,
            bias: false,
            readout: Readout::Linear,
            train_leak: false,
        };
        let mut parameters = vec![0.0; architecture.parameter_count()];
        let layout = architecture.layout();
        // Eigenvalues 0.5 and -0.5; the leak is 0.4, so 0.6 + 0.4 x +-0.5.
        parameters[layout.recurrent].copy_from_slice(&[0.0, 0.5, 0.5, 0.0]);
        parameters[layout.unit].fill(0.4);
        let network = Network::from_f64(architecture, parameters);
        let found = lyapunov_spectrum(
            &network,
            &[0.3, -0.1],
            RunInput::Constant(&[0.0]),
            &LyapunovSettings::new(2000),
            &mut random(),
            &mut |_| true,
        )
        .unwrap();
        assert!((found.exponents[0] - 0.8f64.ln()).abs() < 1e-6);
        assert!((found.exponents[1] - 0.4f64.ln()).abs() < 1e-6);
        assert_eq!(found.kaplan_yorke, Some(0.0));
    }

    #[test]
    fn what_cannot_be_measured_is_an_error() {
        let map = Map {
            dim: 1,
            step: |x: &[f64], next: &mut [f64], j: &mut [f64]| {
                next[0] = 2.0 * x[0];
                j[0] = 2.0;
            },
        };
        let run = |settings: &LyapunovSettings| {
            lyapunov_spectrum(
                &map,
                &[1.0],
                RunInput::Constant(&[]),
                settings,
                &mut random(),
                &mut |_| true,
            )
        };
        let settings = LyapunovSettings::new(5000);
        assert_eq!(
            run(&settings).unwrap_err().to_string(),
            "the trajectory is not finite"
        );
        let error = run(&LyapunovSettings {
            exponents: Some(2),
            ..settings.clone()
        });
        assert_eq!(
            error.unwrap_err().to_string(),
            "exponents: found 2, allowed is 1 to the number of states"
        );
        assert!(
            run(&LyapunovSettings {
                every: 0,
                ..settings
            })
            .is_err()
        );
    }

    #[test]
    fn dimensions() {
        assert_eq!(kaplan_yorke(&[-1.0, -2.0], 2), Some(0.0));
        assert_eq!(kaplan_yorke(&[0.0, -2.0], 2), Some(1.0));
        assert_eq!(kaplan_yorke(&[1.0, -0.5, -2.0], 3), Some(2.25));
        assert_eq!(kaplan_yorke(&[1.0, 0.5], 2), Some(2.0));
        assert_eq!(kaplan_yorke(&[1.0, 0.5], 5), None);
    }
}
