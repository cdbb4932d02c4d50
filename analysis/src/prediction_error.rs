//! How well a model predicts over a few steps: PE(n).

use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

use crate::free_run::RunInput;
use crate::{Error, Observed};

/// Starts that one task of the pool takes together: the sums of tasks are added in their order, whatever the threads.
const AT_A_TIME: usize = 256;

/// The mean squared error of predictions `steps` steps ahead, from every observation that has one that much later.
///
/// Returns the error in squared units of the observations; it is not finite where a prediction is not.
///
/// # Arguments
/// - `observations`: `[time, observation]`.
/// - `input`: the input; row t of a sequence is that of the step from time t to t + 1, so that it has at least one row
///   less than the observations.
/// - `steps`: the horizon n, at least 1. Publications take 20.
///
/// # Method
/// From the state that the observation x_t implies, the map runs freely for n steps. Only the last step counts:
///
/// ```text
/// PE(n) = 1 / ((T - n) N) sum_(t = 1 ... T - n) |x_(t + n) - g(F^n(z_t))|^2
/// ```
///
/// for N dimensions, F the map and g what is seen of its state.
///
/// # Errors
/// [`Error::Shape`] where observations or inputs do not fit the map; [`Error::TooFew`] where there are no more than
/// `steps` observations; [`Error::Setting`] where `steps` is 0; [`Error::NotFinite`] where an observation is not.
///
/// # Reference
/// G. Koppe et al., PLoS Computational Biology 15, e1007263 (2019); F. Hess, Z. Monfared, M. Brenner & D. Durstewitz,
/// "Generalized teacher forcing for learning chaotic dynamics", ICML 2023.
pub fn prediction_error<D: Observed + ?Sized>(
    dynamics: &D,
    observations: ArrayView2<'_, f64>,
    input: RunInput<'_>,
    steps: usize,
) -> Result<f64, Error> {
    check(dynamics, observations, &input, steps)?;
    let starts = observations.nrows() - steps;
    let states = dynamics.states_from_observations(observations.slice(s![..starts, ..]));
    let blocks: Vec<usize> = (0..starts).step_by(AT_A_TIME).collect();
    let sums: Vec<f64> = blocks
        .into_par_iter()
        .map(|first| {
            let mut runner = Runner::new(dynamics);
            let mut sum = 0.0;
            for t in first..(first + AT_A_TIME).min(starts) {
                runner.start(&states, t);
                for step in t..t + steps {
                    runner.step(&input, step);
                }
                let seen = runner.observe();
                let truth = observations.row(t + steps);
                sum += seen
                    .iter()
                    .zip(truth)
                    .map(|(y, x)| (y - x).powi(2))
                    .sum::<f64>();
            }
            sum
        })
        .collect();
    Ok(sums.iter().sum::<f64>() / (starts * observations.ncols()) as f64)
}

/// That observations fit a map, are finite, and are more than `steps`, with an input for each step between two of them.
pub(crate) fn check<D: Observed + ?Sized>(
    dynamics: &D,
    observations: ArrayView2<'_, f64>,
    input: &RunInput<'_>,
    steps: usize,
) -> Result<(), Error> {
    let (rows, columns) = observations.dim();
    Error::check_shape("observations, columns", dynamics.observation_dim(), columns)?;
    if steps == 0 {
        return Err(Error::Setting {
            what: "steps",
            found: "0".to_owned(),
            allowed: "an integer, at least 1",
        });
    }
    for (what, needed, found) in [
        ("dimensions of the observations", 1, columns),
        ("observations", steps.saturating_add(1), rows),
    ] {
        if found < needed {
            return Err(Error::TooFew {
                what,
                needed,
                found,
            });
        }
    }
    input.check(dynamics.input_dim(), rows - 1)?;
    if observations.iter().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite {
            what: "an observation",
        });
    }
    Ok(())
}

/// A map at work, with its memory.
pub(crate) struct Runner<'a, D: Observed + ?Sized> {
    dynamics: &'a D,
    state: Vec<f64>,
    next: Vec<f64>,
    current: Vec<f64>,
    seen: Vec<f64>,
}

impl<'a, D: Observed + ?Sized> Runner<'a, D> {
    pub(crate) fn new(dynamics: &'a D) -> Self {
        Runner {
            state: vec![0.0; dynamics.state_dim()],
            next: vec![0.0; dynamics.state_dim()],
            current: vec![0.0; dynamics.input_dim()],
            seen: vec![0.0; dynamics.observation_dim()],
            dynamics,
        }
    }

    /// Puts it into a state, a row of `states`.
    pub(crate) fn start(&mut self, states: &Array2<f64>, row: usize) {
        for (x, &start) in self.state.iter_mut().zip(states.row(row)) {
            *x = start;
        }
    }

    /// One step, with the input of that row.
    pub(crate) fn step(&mut self, input: &RunInput<'_>, row: usize) {
        let input = input.at(row, &mut self.current);
        self.dynamics.step(&self.state, input, &mut self.next);
        std::mem::swap(&mut self.state, &mut self.next);
    }

    /// What is seen of its state.
    pub(crate) fn observe(&mut self) -> &[f64] {
        self.dynamics.observe(&self.state, &mut self.seen);
        &self.seen
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Dynamics;
    use ndarray::Array2;
    use nullcline_models::architecture::{Architecture, CellKind, Readout};
    use nullcline_models::network::Network;
    use proptest::prelude::*;
    use std::time::Instant;

    /// x' = a x + b + u in every dimension, seen as it is: a = 1 predicts persistence, a = 0 the value b.
    pub(crate) struct Affine {
        pub(crate) a: f64,
        pub(crate) b: f64,
        pub(crate) dim: usize,
        pub(crate) driven: bool,
    }

    impl Dynamics for Affine {
        fn state_dim(&self) -> usize {
            self.dim
        }
        fn input_dim(&self) -> usize {
            usize::from(self.driven)
        }
        fn step(&self, state: &[f64], input: &[f64], next: &mut [f64]) {
            for (next, x) in next.iter_mut().zip(state) {
                *next = self.a * x + self.b + input.first().unwrap_or(&0.0);
            }
        }
        fn step_with_jacobian(
            &self,
            state: &[f64],
            input: &[f64],
            next: &mut [f64],
            _: &mut [f64],
        ) {
            self.step(state, input, next);
        }
        fn input_jacobian(&self, _: &[f64], _: &[f64], _: &mut [f64]) {}
    }

    impl Observed for Affine {
        fn observation_dim(&self) -> usize {
            self.dim
        }
        fn observe(&self, state: &[f64], observation: &mut [f64]) {
            observation.copy_from_slice(state);
        }
        fn states_from_observations(&self, observations: ArrayView2<'_, f64>) -> Array2<f64> {
            observations.to_owned()
        }
    }

    pub(crate) fn alone(a: f64, b: f64, dim: usize) -> Affine {
        Affine {
            a,
            b,
            dim,
            driven: false,
        }
    }

    /// On the ramp x_t = t (and 2 t) persistence is wrong by n, and by 2 n; the right slope is not wrong at all.
    #[test]
    fn a_ramp() {
        let ramp = Array2::from_shape_fn((1000, 2), |(t, d)| (t * (d + 1)) as f64);
        let error = |map: &Affine, series: ArrayView2<'_, f64>, steps| {
            prediction_error(map, series, RunInput::Constant(&[]), steps).unwrap()
        };
        for steps in [1, 20, 999] {
            let n = steps as f64;
            let found = error(&alone(1.0, 0.0, 2), ramp.view(), steps);
            assert!((found / (2.5 * n * n) - 1.0).abs() < 1e-12);
            let first = ramp.slice(s![.., ..1]);
            assert_eq!(error(&alone(1.0, 1.0, 1), first, steps), 0.0);
        }
    }

    /// The step from t takes row t: x' = u makes the observations out of inputs that are ahead by one.
    #[test]
    fn inputs_belong_to_their_steps() {
        let map = Affine {
            a: 0.5,
            b: 0.0,
            dim: 1,
            driven: true,
        };
        let inputs = Array2::from_shape_fn((99, 1), |(t, _)| (0.3 * t as f64).sin());
        let mut series = Array2::zeros((100, 1));
        for t in 0..99 {
            series[[t + 1, 0]] = 0.5 * series[[t, 0]] + inputs[[t, 0]];
        }
        let driven = RunInput::Sequence(inputs.view());
        assert_eq!(prediction_error(&map, series.view(), driven, 7), Ok(0.0));
        let late = inputs.slice(s![..;-1, ..]);
        let late = prediction_error(&map, series.view(), RunInput::Sequence(late), 7).unwrap();
        assert!(late > 0.1);
        let short = inputs.slice(s![..98, ..]);
        assert!(prediction_error(&map, series.view(), RunInput::Sequence(short), 7).is_err());
    }

    fn plrnn(readout: Readout, units: usize, hidden: usize, outputs: usize) -> Network {
        let architecture = Architecture {
            cell: CellKind::ClippedShallowPlrnn,
            inputs: 0,
            units,
            hidden,
            outputs,
            bias: true,
            readout,
            train_leak: false,
        };
        let parameters = (0..architecture.parameter_count())
            .map(|k| 0.3 * (1.7 * (k * k) as f64).sin())
            .collect();
        Network::from_f64(architecture, parameters)
    }

    /// A network, against a loop over its own steps.
    #[test]
    fn a_network() {
        for (readout, units, outputs) in [
            (Readout::LinearWithoutBias, 3, 5),
            (Readout::Linear, 4, 4),
            (Readout::Identity, 6, 2),
        ] {
            let network = plrnn(readout, units, 7, outputs);
            let series = Array2::from_shape_fn((40, outputs), |(t, d)| {
                (0.2 * t as f64 * (d + 1) as f64).cos()
            });
            let mut sum = 0.0;
            for t in 0..35 {
                let start = network.state_from_observation(&series.row(t).to_vec());
                let states = network.run(&start, Array2::zeros((5, 0)).view());
                let seen = network.readout(&states.row(5).to_vec());
                let error = seen
                    .iter()
                    .zip(series.row(t + 5))
                    .map(|(y, x)| (y - x).powi(2));
                sum += error.sum::<f64>();
            }
            let want = sum / (35 * outputs) as f64;
            let found =
                prediction_error(&network, series.view(), RunInput::Constant(&[]), 5).unwrap();
            assert!((found / want - 1.0).abs() < 1e-12, "{readout:?}");
        }
    }

    /// The size of the published electrocardiogram: the whole of it takes some seconds.
    #[test]
    fn all_starts_are_fast() {
        let network = plrnn(Readout::LinearWithoutBias, 5, 250, 5);
        let series = Array2::from_shape_fn((20_020, 5), |(t, d)| (0.01 * (t + 9 * d) as f64).sin());
        let begun = Instant::now();
        prediction_error(&network, series.view(), RunInput::Constant(&[]), 20).unwrap();
        let took = begun.elapsed();
        println!("20 steps from 20000 starts of a 5x250 network: {took:?}");
        assert!(took.as_secs_f64() < 20.0, "{took:?}");
    }

    #[test]
    fn what_cannot_be_predicted_is_an_error() {
        let map = alone(1.0, 0.0, 2);
        let refused = |series: &Array2<f64>, steps| {
            prediction_error(&map, series.view(), RunInput::Constant(&[]), steps).is_err()
        };
        assert!(refused(&Array2::zeros((10, 3)), 1));
        assert!(refused(&Array2::zeros((10, 2)), 10));
        assert!(refused(&Array2::zeros((10, 2)), usize::MAX));
        assert!(refused(&Array2::zeros((10, 2)), 0));
        assert!(refused(&Array2::zeros((0, 2)), 1));
        assert!(refused(&Array2::from_elem((10, 2), f64::NAN), 1));
        assert!(!refused(&Array2::zeros((10, 2)), 9));
        // A prediction that leaves the finite numbers is a result.
        let wild = alone(1e200, 1.0, 1);
        let series = Array2::ones((10, 1));
        let found = prediction_error(&wild, series.view(), RunInput::Constant(&[]), 3).unwrap();
        assert!(!found.is_finite());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// The threads do not show in the result.
        #[test]
        fn the_same_on_any_number_of_threads(seed in 0.0..9.0f64, threads in 1usize..5) {
            let series = Array2::from_shape_fn((1500, 2), |(t, d)| (seed + 1.7 * (t * (d + 2)) as f64).sin());
            let map = alone(0.9, 0.01, 2);
            let error = || prediction_error(&map, series.view(), RunInput::Constant(&[]), 4).unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            prop_assert_eq!(pool.install(error), error());
        }
    }
}
