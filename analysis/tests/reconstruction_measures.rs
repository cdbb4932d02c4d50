//! Measures of reconstruction on recordings, against values that an independent program (NumPy, in f64) found by the
//! definitions of Hess et al. 2023. The recordings are not part of the repository; where they are absent, these tests say
//! so and end.

use std::path::PathBuf;

use ndarray::{Array2, ArrayView2, Axis, s};
use nullcline_analysis::free_run::RunInput;
use nullcline_analysis::power_spectrum_distance::power_spectrum_distance;
use nullcline_analysis::prediction_error::prediction_error;
use nullcline_analysis::state_space_divergence::{
    BinSettings, MixtureSettings, binned_divergence, mixture_divergence,
};
use nullcline_analysis::{Dynamics, Observed};
use rand::{SeedableRng, rngs::SmallRng};

/// A recording `[time, dimension]` beside the repository; `None`, said in print, where there is none.
fn recording(name: &str) -> Option<Array2<f64>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(name);
    if !path.exists() {
        println!("skipped: no recording {}", path.display());
        return None;
    }
    let values: Array2<f32> = ndarray_npy::read_npy(path).unwrap();
    Some(values.mapv(f64::from))
}

/// x' = x, or always the same value: predictions that anything learned should beat.
struct Naive {
    constant: Option<Vec<f64>>,
    dim: usize,
}

impl Dynamics for Naive {
    fn state_dim(&self) -> usize {
        self.dim
    }
    fn input_dim(&self) -> usize {
        0
    }
    fn step(&self, state: &[f64], _: &[f64], next: &mut [f64]) {
        next.copy_from_slice(self.constant.as_deref().unwrap_or(state));
    }
    fn step_with_jacobian(&self, state: &[f64], input: &[f64], next: &mut [f64], _: &mut [f64]) {
        self.step(state, input, next);
    }
    fn input_jacobian(&self, _: &[f64], _: &[f64], _: &mut [f64]) {}
}

impl Observed for Naive {
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

/// PE(20) of persistence and of the mean.
fn naive_errors(series: &Array2<f64>) -> [f64; 2] {
    let mean = series.mean_axis(Axis(0)).unwrap().to_vec();
    [None, Some(mean)].map(|constant| {
        let naive = Naive {
            constant,
            dim: series.ncols(),
        };
        prediction_error(&naive, series.view(), RunInput::Constant(&[]), 20).unwrap()
    })
}

fn near(found: f64, want: f64, digits: f64) {
    println!("{found} for {want}");
    assert!((found - want).abs() < digits, "{found} for {want}");
}

#[test]
fn the_electrocardiogram() {
    let (Some(train), Some(test)) = (recording("ecg_train.npy"), recording("ecg_test.npy")) else {
        return;
    };
    for (bins, want, digits) in [(30, 0.294, 5e-4), (8, 0.0265, 5e-5)] {
        let settings = BinSettings {
            bins,
            ..BinSettings::default()
        };
        let found = binned_divergence(test.view(), train.view(), &settings).unwrap();
        near(found.unwrap(), want, digits);
    }
    let found = power_spectrum_distance(test.view(), train.view(), 20.0).unwrap();
    near(found.mean, 0.0596, 5e-5);
    let [persistence, mean] = naive_errors(&test);
    near(persistence, 1.130, 5e-3);
    near(mean, 0.690, 5e-3);
}

#[test]
fn the_electroencephalogram() {
    let Some(series) = recording("eeg.npy") else {
        return;
    };
    let half = series.nrows() / 2;
    let (first, second) = (series.slice(s![..half, ..]), series.slice(s![half.., ..]));
    // A thousand samples spread: within four of their standard errors, and both estimates have one.
    let settings = MixtureSettings::default();
    let mut random = SmallRng::seed_from_u64(1);
    let found = mixture_divergence(first, second, &settings, &mut random).unwrap();
    println!("{found:?}");
    near(found.value, 2.68, 4.0 * 2f64.sqrt() * found.standard_error);
    let found = power_spectrum_distance(first, second, 20.0).unwrap();
    near(found.mean, 0.0751, 5e-5);
    let [persistence, mean] = naive_errors(&series);
    near(persistence, 0.896, 5e-4);
    // 1.0014 here: the error has the last 9620 steps, the mean all 9640.
    near(mean, 1.000, 2e-3);
}
