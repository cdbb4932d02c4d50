//! Peaks of a signal, and the intervals between them.

use ndarray::ArrayView1;

/// When a signal counts as peaking, learned from a reference signal.
///
/// A peak is an upward crossing of `fire`, half of the way from the reference's median to its 99.5th
/// percentile, by a signal that has been below `rearm`, a quarter of the way, since the last one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PeakLevel {
    /// The signal must fall below this between two peaks.
    pub rearm: f64,
    /// A peak begins where the signal reaches this.
    pub fire: f64,
}

impl PeakLevel {
    /// The levels of a reference signal, `[time]`; both 0 for an empty one.
    pub fn of(reference: ArrayView1<'_, f64>) -> Self {
        let mut sorted = reference.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (median, top) = (quantile(&sorted, 0.5), quantile(&sorted, 0.995));
        let level = |fraction: f64| median + fraction * (top - median);
        PeakLevel {
            rearm: level(0.25),
            fire: level(0.5),
        }
    }

    /// The steps at which peaks of a signal, `[time]`, begin.
    pub fn peaks(&self, signal: ArrayView1<'_, f64>) -> Vec<usize> {
        let mut armed = false;
        let mut times = Vec::new();
        for (t, &x) in signal.iter().enumerate() {
            if x < self.rearm {
                armed = true;
            } else if armed && x >= self.fire {
                armed = false;
                times.push(t);
            }
        }
        times
    }
}

/// The 10th, 50th and 90th percentile of the intervals between successive times; `None` for fewer than two
/// times.
pub fn interval_percentiles(times: &[usize]) -> Option<[f64; 3]> {
    let mut intervals: Vec<f64> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) as f64)
        .collect();
    intervals.sort_by(f64::total_cmp);
    (!intervals.is_empty()).then(|| [0.1, 0.5, 0.9].map(|q| quantile(&intervals, q)))
}

/// The element at the fraction `q` of a sorted list, without interpolation; 0 for an empty one.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get((last as f64 * q) as usize)
        .copied()
        .unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array1;

    #[test]
    fn peaks_of_a_sine_are_its_periods() {
        let wave = |period: f64| {
            Array1::from_shape_fn(1000, |t| (std::f64::consts::TAU * t as f64 / period).sin())
        };
        let level = PeakLevel::of(wave(50.0).view());
        let times = level.peaks(wave(50.0).view());
        assert_eq!(times.len(), 20);
        assert_eq!(interval_percentiles(&times), Some([50.0; 3]));
        assert_eq!(level.peaks(wave(25.0).view()).len(), 40);
        assert_eq!(level.peaks((wave(25.0) * 0.2).view()).len(), 0);
    }

    #[test]
    fn percentiles_of_known_intervals() {
        let mut times = vec![0];
        for interval in 1..=11 {
            times.push(times[times.len() - 1] + interval);
        }
        assert_eq!(interval_percentiles(&times), Some([2.0, 6.0, 10.0]));
        assert_eq!(interval_percentiles(&[5]), None);
    }

    #[test]
    fn a_signal_that_lingers_at_the_top_peaks_once() {
        let level = PeakLevel {
            rearm: 0.25,
            fire: 0.5,
        };
        let signal = Array1::from(vec![0.0, 0.6, 0.4, 0.7, 0.3, 0.9, 0.2, 0.5]);
        assert_eq!(level.peaks(signal.view()), [1, 7]);
    }
}
