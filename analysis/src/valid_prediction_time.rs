//! For how long a prediction stays near the data: the valid prediction time.

use ndarray::{ArrayView2, s};
use rayon::prelude::*;

use crate::free_run::RunInput;
use crate::prediction_error::{Runner, check};
use crate::state_space_divergence::standard_deviation;
use crate::{Error, Observed};

/// What counts as near, and where predictions begin.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionTimeSettings {
    /// The normalised error that ends a valid prediction, above 0. Default 0.5; a strict one is 0.05.
    pub threshold: f64,
    /// Most steps predicted, at least 1 and fewer than there are observations.
    pub horizon: usize,
    /// Predictions, which begin at even distances; at least 1, and no more are made than there are starts. Default 100.
    pub starts: usize,
}

impl PredictionTimeSettings {
    /// At most `horizon` steps, with the defaults.
    pub fn new(horizon: usize) -> Self {
        Self {
            threshold: 0.5,
            horizon,
            starts: 100,
        }
    }
}

/// Valid prediction times from several starts.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionTimes {
    /// The observation that each prediction began from.
    pub starts: Vec<usize>,
    /// The steps for which it was valid, from 0 to the horizon.
    pub steps: Vec<usize>,
    /// Predictions that were valid up to the horizon, of which the time is at least that.
    pub censored: usize,
}

impl PredictionTimes {
    /// The mean over the starts, in steps; a lower bound where some are censored.
    pub fn mean(&self) -> f64 {
        self.steps.iter().sum::<usize>() as f64 / self.steps.len() as f64
    }

    /// The median over the starts, in steps; a lower bound where half of them or more are censored.
    pub fn median(&self) -> f64 {
        let mut sorted = self.steps.clone();
        sorted.sort_unstable();
        let n = sorted.len();
        match sorted.get(n / 2) {
            None => f64::NAN,
            Some(&upper) if n % 2 == 1 => upper as f64,
            Some(&upper) => 0.5 * (sorted[n / 2 - 1] + upper) as f64,
        }
    }
}

/// For how many steps predictions of `observations`, `[time, observation]`, stay below the threshold.
///
/// Returns the time in steps for every start. Divided by the Lyapunov time of the system in steps, 1 / lambda_1 of its
/// largest exponent per step, it can be compared between systems.
///
/// # Arguments
/// `input`: the input; row t of a sequence is that of the step from time t to t + 1, so that it has at least one row less
/// than the observations.
///
/// # Method
/// From the state that an observation implies, the map runs freely. k steps later its error is
///
/// ```text
/// NRMSE_k = sqrt(1 / N sum_i (x_i - y_i)^2 / s_i^2)
/// ```
///
/// for N dimensions, observation x, prediction y and s_i the standard deviation of dimension i over all observations,
/// with n - 1. The valid prediction time is the number of steps before the first at which it is not below the threshold.
///
/// # Errors
/// [`Error::Shape`] where observations or inputs do not fit the map; [`Error::TooFew`] where there are not more
/// observations than the horizon; [`Error::Setting`] where a setting is out of its range or an observation is constant;
/// [`Error::NotFinite`] where an observation is not finite.
///
/// # Reference
/// P. R. Vlachas et al., Neural Networks 126, 191 (2020).
pub fn valid_prediction_times<D: Observed + ?Sized>(
    dynamics: &D,
    observations: ArrayView2<'_, f64>,
    input: RunInput<'_>,
    settings: &PredictionTimeSettings,
) -> Result<PredictionTimes, Error> {
    check(dynamics, observations, &input, settings.horizon)?;
    if !(settings.threshold > 0.0 && settings.threshold.is_finite()) {
        return Err(Error::Setting {
            what: "threshold",
            found: settings.threshold.to_string(),
            allowed: "a finite number above 0",
        });
    }
    if settings.starts == 0 {
        return Err(Error::Setting {
            what: "starts",
            found: "0".to_owned(),
            allowed: "an integer, at least 1",
        });
    }
    let variances: Vec<f64> = observations
        .columns()
        .into_iter()
        .map(|column| standard_deviation(column).powi(2))
        .collect();
    if variances.iter().any(|v| *v <= 0.0) {
        return Err(Error::Setting {
            what: "observations",
            found: "a dimension that is constant".to_owned(),
            allowed: "observations that vary in every dimension",
        });
    }
    let last = observations.nrows() - 1 - settings.horizon;
    let count = settings.starts.min(last + 1);
    let starts: Vec<usize> = (0..count)
        .map(|k| (k * last) / (count - 1).max(1))
        .collect();
    let steps: Vec<usize> = starts
        .par_iter()
        .map(|&start| {
            let first = observations.slice(s![start..start + 1, ..]);
            let states = dynamics.states_from_observations(first);
            let mut runner = Runner::new(dynamics);
            runner.start(&states, 0);
            for step in 0..settings.horizon {
                runner.step(&input, start + step);
                let truth = observations.row(start + step + 1);
                let squares: f64 = runner
                    .observe()
                    .iter()
                    .zip(truth)
                    .zip(&variances)
                    .map(|((y, x), v)| (x - y).powi(2) / v)
                    .sum();
                let error = (squares / variances.len() as f64).sqrt();
                // What is not a number is not valid either.
                if error.is_nan() || error >= settings.threshold {
                    return step;
                }
            }
            settings.horizon
        })
        .collect();
    Ok(PredictionTimes {
        censored: steps.iter().filter(|&&n| n == settings.horizon).count(),
        starts,
        steps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prediction_error::tests::alone;
    use ndarray::Array2;
    use proptest::prelude::*;

    fn times(
        series: &Array2<f64>,
        a: f64,
        b: f64,
        settings: &PredictionTimeSettings,
    ) -> PredictionTimes {
        let map = alone(a, b, series.ncols());
        valid_prediction_times(&map, series.view(), RunInput::Constant(&[]), settings).unwrap()
    }

    /// Persistence on a ramp of standard deviation s is wrong by k after k steps: valid while k < threshold s.
    #[test]
    fn a_ramp() {
        let ramp = Array2::from_shape_fn((1001, 1), |(t, _)| t as f64);
        let deviation = (1001.0 * 1002.0 / 12.0f64).sqrt();
        for threshold in [0.5, 0.05] {
            let settings = PredictionTimeSettings {
                threshold,
                starts: 11,
                ..PredictionTimeSettings::new(500)
            };
            let found = times(&ramp, 1.0, 0.0, &settings);
            let want = (threshold * deviation) as usize;
            assert_eq!(found.steps, vec![want; 11]);
            assert_eq!(found.starts, (0..=500).step_by(50).collect::<Vec<_>>());
            assert_eq!((found.mean(), found.median()), (want as f64, want as f64));
            assert_eq!(found.censored, 0);
            // The right slope is valid for as long as one looks.
            let found = times(&ramp, 1.0, 1.0, &settings);
            assert_eq!((found.steps[3], found.censored), (500, 11));
        }
    }

    /// An error e in the map grows as e (1 + a + a^2 + ...): the time is a logarithm. In two dimensions, of which one is
    /// right, the error is that of the other over the square root of 2.
    #[test]
    fn an_error_that_grows() {
        let mut series = Array2::from_elem((200, 2), 1.0);
        // Alternating: variance about 1 where the map x' = -x is right in one dimension.
        for t in 0..200 {
            series[[t, 0]] = if t % 2 == 0 { 1.0 } else { -1.0 };
            series[[t, 1]] = if t % 2 == 0 { 1.001 } else { -0.999 };
        }
        let settings = PredictionTimeSettings {
            starts: 1,
            ..PredictionTimeSettings::new(150)
        };
        // x' = -1.1 x: after k steps |error| = 1.1^k - 1 in the first, nearly so in the second.
        let found = times(&series, -1.1, 0.0, &settings);
        let deviation = (200.0 / 199.0f64).sqrt();
        let want = ((1.0 + 0.5 * deviation).ln() / 1.1f64.ln()) as usize;
        assert_eq!(found.steps, [want]);
        let wild = times(&series, 1e200, 0.0, &settings);
        assert_eq!((wild.steps[0], wild.censored), (0, 0));
    }

    #[test]
    fn medians() {
        let of = |steps: &[usize]| PredictionTimes {
            starts: vec![0; steps.len()],
            steps: steps.to_vec(),
            censored: 0,
        };
        assert_eq!(of(&[5, 1, 9]).median(), 5.0);
        assert_eq!(of(&[5, 1, 9, 2]).median(), 3.5);
        assert_eq!(of(&[5, 1, 9, 2]).mean(), 4.25);
        assert!(of(&[]).median().is_nan());
    }

    #[test]
    fn what_cannot_be_timed_is_an_error() {
        let wave = Array2::from_shape_fn((50, 1), |(t, _)| (t as f64).sin());
        let refused = |series: &Array2<f64>, settings: &PredictionTimeSettings| {
            let map = alone(1.0, 0.0, 1);
            valid_prediction_times(&map, series.view(), RunInput::Constant(&[]), settings).is_err()
        };
        let settings = PredictionTimeSettings::new(10);
        assert!(!refused(&wave, &settings));
        assert!(refused(&Array2::ones((50, 1)), &settings));
        for settings in [
            PredictionTimeSettings::new(0),
            PredictionTimeSettings::new(50),
            PredictionTimeSettings {
                threshold: f64::NAN,
                ..settings.clone()
            },
            PredictionTimeSettings {
                starts: 0,
                ..settings.clone()
            },
        ] {
            assert!(refused(&wave, &settings), "{settings:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// A stricter threshold is never reached later, whatever the series.
        #[test]
        fn stricter_is_shorter(
            series in prop::collection::vec(-1.0..1.0f64, 30..90), a in -1.2..1.2f64, starts in 1usize..20,
        ) {
            let series = Array2::from_shape_vec((series.len(), 1), series).unwrap();
            let settings = |threshold| PredictionTimeSettings {
                threshold,
                starts,
                ..PredictionTimeSettings::new(20)
            };
            let loose = times(&series, a, 0.0, &settings(1.0));
            let strict = times(&series, a, 0.0, &settings(0.2));
            prop_assert!(loose.steps.iter().zip(&strict.steps).all(|(l, s)| s <= l));
            prop_assert_eq!(loose.starts.len(), starts.min(series.nrows() - 20));
        }
    }
}
