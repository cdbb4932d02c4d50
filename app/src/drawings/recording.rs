//! A recording and what a network generated of it, as analyses left them in the results.

use super::shown_network;
use crate::results::Results;
use ndarray::{ArrayView2, Ix2};

/// Recorded and generated signals in the recording's own unit.
pub struct Signals<'a> {
    recorded: ArrayView2<'a, f64>,
    generated: ArrayView2<'a, f64>,
    mean: Vec<f64>,
    standard_deviation: Vec<f64>,
    /// Name of each dimension.
    pub names: Vec<String>,
    /// Unit of the recording.
    pub unit: String,
    /// Duration of a step, where it is known.
    pub seconds_per_step: Option<f64>,
}

impl<'a> Signals<'a> {
    /// Those of the network shown, the end of its long free run; `None` where there was no free run, or its parts do not
    /// belong together.
    pub fn of(results: &'a Results) -> Option<Self> {
        let generated = format!("network_{}", shown_network(results));
        Self::of_arrays(results, "free_run", &generated)
    }

    /// The recording in a file of arrays and beside it one of the signals there; names and unit stand in the table of the
    /// same name.
    pub fn of_arrays(results: &'a Results, file: &str, generated: &str) -> Option<Self> {
        let matrix = |name: &str| {
            results
                .array(file, name)?
                .view()
                .into_dimensionality::<Ix2>()
                .ok()
        };
        let list = |name: &str| {
            Some(
                results
                    .array(file, name)?
                    .iter()
                    .copied()
                    .collect::<Vec<f64>>(),
            )
        };
        let metadata = &results.table(file)?.metadata;
        let signals = Signals {
            recorded: matrix("recorded")?,
            generated: matrix(generated)?,
            mean: list("mean")?,
            standard_deviation: list("standard_deviation")?,
            names: metadata
                .get("recording_names")?
                .lines()
                .map(str::to_owned)
                .collect(),
            unit: metadata.get("recording_unit")?.clone(),
            seconds_per_step: list("seconds_per_step")?
                .first()
                .copied()
                .filter(|s| s.is_finite()),
        };
        let dimensions = signals.recorded.ncols();
        let same = signals.generated.ncols() == dimensions
            && signals.mean.len() == dimensions
            && signals.standard_deviation.len() == dimensions
            && signals.names.len() == dimensions;
        (same && dimensions > 0).then_some(signals)
    }

    /// Whether the dimensions are one signal at several lags.
    pub fn is_delayed(&self) -> bool {
        self.names.iter().any(|name| name.contains("_lag_"))
    }

    /// Number of dimensions.
    pub fn dimensions(&self) -> usize {
        self.names.len()
    }

    /// Steps that both signals have.
    pub fn steps(&self) -> usize {
        self.recorded.nrows().min(self.generated.nrows())
    }

    /// The first steps of a dimension of the recording and of what was generated, in the recording's unit.
    pub fn both(&self, dimension: usize, steps: usize) -> [Vec<f64>; 2] {
        [self.recorded, self.generated].map(|signal| {
            let column = signal.column(dimension);
            let restore = |x: &f64| self.mean[dimension] + self.standard_deviation[dimension] * x;
            column.iter().take(steps).map(restore).collect()
        })
    }

    /// The dimension that correlates least with the first, which shows the most of the attractor.
    pub fn most_different(&self) -> usize {
        let centred = |d: usize| {
            let column = self.recorded.column(d).to_owned();
            let mean = column.mean().unwrap_or(0.0);
            column - mean
        };
        let a = centred(0);
        let correlation = |d: usize| {
            let b = centred(d);
            (a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt().max(1e-300)).abs()
        };
        (1..self.dimensions())
            .min_by(|&i, &j| correlation(i).total_cmp(&correlation(j)))
            .unwrap_or(0)
    }
}
