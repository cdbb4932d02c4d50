//! Power spectra of signals.
//!
//! [`welch`] estimates densities with a known resolution and a small variance; [`smoothed_spectrum`] is the raw
//! spectrum of a whole signal, smoothed over neighbouring frequencies, as measures of reconstruction compare it.

use ndarray::{Array2, ArrayView1, ArrayView2};
use rayon::prelude::*;

use crate::Error;
use crate::fourier::Fourier;

/// What a segment is multiplied with before its transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// sin^2(pi (t + 1/2) / L): a peak is four frequencies wide, and little of it leaks beyond.
    Hann,
    /// 1: the narrowest peaks, which leak far.
    Rectangular,
}

impl Window {
    fn values(self, length: usize) -> Vec<f64> {
        let at = |t: usize| match self {
            Window::Hann => {
                let angle = std::f64::consts::PI * (t as f64 + 0.5) / length as f64;
                angle.sin().powi(2)
            }
            Window::Rectangular => 1.0,
        };
        (0..length).map(at).collect()
    }
}

/// How a spectrum is estimated.
#[derive(Clone, Debug, PartialEq)]
pub struct WelchSettings {
    /// Length L of a segment in steps, from 2 to the length of the signal. Frequencies are 1 / L apart.
    pub segment: usize,
    /// By what part of its length a segment at least overlaps the next, in [0, 0.95]. Default 0.5, which with Hann's
    /// window uses nearly all there is.
    pub overlap: f64,
    /// The window. Default [`Window::Hann`].
    pub window: Window,
}

impl WelchSettings {
    /// Segments of this length, with the defaults.
    pub fn new(segment: usize) -> Self {
        Self {
            segment,
            overlap: 0.5,
            window: Window::Hann,
        }
    }
}

/// Power spectral densities.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerSpectrum {
    /// Frequencies in cycles per step: k / L for k = 0 ... L / 2.
    pub frequencies: Vec<f64>,
    /// One-sided densities `[frequency, signal]`, in squared units of the signal times steps: their sum over the
    /// frequencies, times the distance 1 / L between two, is the variance, weighted by the window.
    pub density: Array2<f64>,
    /// Number of segments averaged.
    pub segments: usize,
}

/// The power spectral density of every column of `signals`, `[time, signal]`, by Welch's method.
///
/// # Method
/// The signal's mean is taken off. Segments of L steps are multiplied with the window w and transformed; over the
/// segments is averaged
///
/// ```text
/// S(k / L) = c_k |sum_t w_t x_t exp(-2 pi i k t / L)|^2 / sum_t w_t^2
/// ```
///
/// with c = 1 at frequency 0 and at 1/2, 2 between them, for the negative frequencies. Segments stand as far apart as
/// the overlap allows, evenly from the first step to the last and the same from either end: nothing of the signal is
/// left out, and a signal run backwards has the same spectrum.
///
/// # Errors
/// [`Error::TooFew`] where there is no signal; [`Error::Setting`] where a setting is out of its range;
/// [`Error::NotFinite`].
///
/// # Reference
/// P. D. Welch, IEEE Transactions on Audio and Electroacoustics 15, 70 (1967).
pub fn welch(
    signals: ArrayView2<'_, f64>,
    settings: &WelchSettings,
) -> Result<PowerSpectrum, Error> {
    let (steps, count) = signals.dim();
    let length = settings.segment;
    if count == 0 {
        return Err(Error::TooFew {
            what: "signals",
            needed: 1,
            found: 0,
        });
    }
    if length < 2 || length > steps {
        return Err(Error::Setting {
            what: "segment",
            found: length.to_string(),
            allowed: "2 to the length of the signal",
        });
    }
    if !(0.0..=0.95).contains(&settings.overlap) {
        return Err(Error::Setting {
            what: "overlap",
            found: settings.overlap.to_string(),
            allowed: "a number from 0 to 0.95",
        });
    }
    if !signals.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite { what: "a signal" });
    }
    let starts = segment_starts(steps, length, settings.overlap);
    let window = settings.window.values(length);
    let power_of_window: f64 = window.iter().map(|w| w * w).sum();
    let fourier = Fourier::new(length);
    let bins = length / 2 + 1;
    let densities: Vec<Vec<f64>> = (0..count)
        .into_par_iter()
        .map(|signal| {
            let column = signals.column(signal);
            let mean = column.sum() / steps as f64;
            let mut sums = vec![0.0; bins];
            for &start in &starts {
                let segment: Vec<f64> = window
                    .iter()
                    .enumerate()
                    .map(|(t, w)| w * (column[start + t] - mean))
                    .collect();
                for (sum, power) in sums.iter_mut().zip(fourier.power(&segment)) {
                    *sum += power;
                }
            }
            for (k, sum) in sums.iter_mut().enumerate() {
                let sides = if k == 0 || 2 * k == length { 1.0 } else { 2.0 };
                *sum *= sides / (power_of_window * starts.len() as f64);
            }
            sums
        })
        .collect();
    Ok(PowerSpectrum {
        frequencies: (0..bins).map(|k| k as f64 / length as f64).collect(),
        density: Array2::from_shape_fn((bins, count), |(k, signal)| densities[signal][k]),
        segments: starts.len(),
    })
}

/// The first step of each segment: the k-th from the front stands where the k-th from the back does, seen from there.
fn segment_starts(steps: usize, length: usize, overlap: f64) -> Vec<usize> {
    let room = steps - length;
    if room == 0 {
        return vec![0];
    }
    let furthest = ((length as f64 * (1.0 - overlap)) as usize).max(1);
    let mut gaps = room.div_ceil(furthest);
    // With an odd number of segments one stands in the middle, which an odd number of steps has not.
    if gaps.is_multiple_of(2) && !room.is_multiple_of(2) {
        gaps += 1;
    }
    let from_front = |k: usize| (k * room) / gaps;
    (0..=gaps)
        .map(|k| {
            if 2 * k <= gaps {
                from_front(k)
            } else {
                room - from_front(gaps - k)
            }
        })
        .collect()
}

/// The power spectrum of a whole signal `[time]`, smoothed over frequencies and normalised to sum 1: for each frequency
/// k / n, k = 0 ... n / 2, its part of the power.
///
/// # Method
/// The signal is standardised (n - 1 in the denominator), transformed as a whole, and |X_k|^2 is averaged with Gaussian
/// weights of standard deviation `sigma` in frequencies, cut off at 4 `sigma`; 0 for none. At its ends the spectrum goes
/// on as in a mirror, without the end itself repeated. Nothing negative can come of it. As `sigma` counts frequencies and not Hertz, spectra of signals
/// of different lengths are smoothed differently and should not be compared.
///
/// # Errors
/// [`Error::TooFew`] below two steps; [`Error::Setting`] where `sigma` is negative or not finite; [`Error::NotFinite`]
/// where the signal is not, or is constant.
///
/// # Reference
/// As in the power-spectrum distance of F. Hess, Z. Monfared, M. Brenner & D. Durstewitz, "Generalized teacher forcing
/// for learning chaotic dynamics", ICML 2023.
pub fn smoothed_spectrum(signal: ArrayView1<'_, f64>, sigma: f64) -> Result<Vec<f64>, Error> {
    let n = signal.len();
    if n < 2 {
        return Err(Error::TooFew {
            what: "steps of the signal",
            needed: 2,
            found: n,
        });
    }
    if !(sigma >= 0.0 && sigma.is_finite()) {
        return Err(Error::Setting {
            what: "sigma",
            found: sigma.to_string(),
            allowed: "a finite number, at least 0",
        });
    }
    let mean = signal.sum() / n as f64;
    let variance = signal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let standard: Vec<f64> = signal
        .iter()
        .map(|x| (x - mean) / variance.sqrt())
        .collect();
    if !standard.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite {
            what: "the standardised signal",
        });
    }
    let power = Fourier::new(n).power(&standard);
    let radius = (4.0 * sigma).round() as isize;
    let weight = |k: isize| {
        if k == 0 {
            1.0
        } else {
            (-0.5 * (k as f64 / sigma).powi(2)).exp()
        }
    };
    let bins = power.len() as isize;
    let period = (2 * (bins - 1)).max(1);
    let mirrored: Vec<f64> = (-radius..bins + radius)
        .map(|k| {
            let k = k.rem_euclid(period);
            power[k.min(period - k).min(bins - 1) as usize]
        })
        .collect();
    let weights: Vec<f64> = (-radius..=radius).map(weight).collect();
    let smoothed: Vec<f64> = mirrored
        .windows(weights.len())
        .map(|window| window.iter().zip(&weights).map(|(x, w)| x * w).sum())
        .collect();
    let total: f64 = smoothed.iter().sum();
    Ok(smoothed.iter().map(|power| power / total).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, Axis};
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::SmallRng};
    use rand_distr::{Distribution, StandardNormal};
    use std::f64::consts::TAU;

    fn noise(steps: usize, seed: u64) -> Array1<f64> {
        let mut random = SmallRng::seed_from_u64(seed);
        Array1::from_shape_simple_fn(steps, || StandardNormal.sample(&mut random))
    }

    fn spectrum(signal: &Array1<f64>, settings: &WelchSettings) -> PowerSpectrum {
        welch(signal.view().insert_axis(Axis(1)), settings).unwrap()
    }

    fn total(spectrum: &PowerSpectrum, segment: usize) -> f64 {
        spectrum.density.sum() / segment as f64
    }

    /// A sinusoid of amplitude A has the power A^2 / 2, all of it at its frequency.
    #[test]
    fn a_sinusoid_has_its_power_at_its_frequency() {
        let signal =
            Array1::from_shape_fn(10_000, |t| 5.0 + 3.0 * (TAU * 0.05 * t as f64 + 0.7).sin());
        for window in [Window::Hann, Window::Rectangular] {
            let settings = WelchSettings {
                window,
                ..WelchSettings::new(1000)
            };
            let found = spectrum(&signal, &settings);
            assert_eq!(found.frequencies.len(), 501);
            assert_eq!(found.frequencies[500], 0.5);
            let column = found.density.column(0);
            let peak = (0..501)
                .max_by(|&a, &b| column[a].total_cmp(&column[b]))
                .unwrap();
            assert_eq!(found.frequencies[peak], 0.05);
            assert!((total(&found, 1000) - 4.5).abs() < 1e-9, "{window:?}");
            // Hann's window leaves nothing beyond the neighbours, the rectangle not even there.
            let near: f64 = column.iter().skip(peak - 1).take(3).sum();
            assert!((near / column.sum() - 1.0).abs() < 1e-12);
        }
    }

    /// Parseval: the density of one rectangular segment adds up to the variance, for even and odd lengths.
    #[test]
    fn the_density_adds_up_to_the_variance() {
        for steps in [4096, 999, 2, 3] {
            let signal = noise(steps, 3);
            let mean = signal.sum() / steps as f64;
            let variance = signal.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / steps as f64;
            let settings = WelchSettings {
                window: Window::Rectangular,
                ..WelchSettings::new(steps)
            };
            let found = spectrum(&signal, &settings);
            assert_eq!(found.segments, 1);
            assert!((total(&found, steps) - variance).abs() < 1e-10 * variance);
        }
    }

    /// White noise of variance 1 has the one-sided density 2 everywhere; each value scatters about it by 2 over the
    /// root of the number of independent segments.
    #[test]
    fn white_noise_is_flat() {
        let found = spectrum(&noise(400_000, 5), &WelchSettings::new(256));
        let inner: Vec<f64> = found.density.column(0).iter().copied().collect();
        let inner = &inner[2..126];
        let mean = inner.iter().sum::<f64>() / inner.len() as f64;
        assert!((mean - 2.0).abs() < 0.02, "{mean}");
        // Half-overlapping Hann segments: about 9/11 of them count as independent, here 2550.
        let scatter = 2.0 / (found.segments as f64 * 9.0 / 11.0).sqrt();
        let worst = inner.iter().map(|s| (s - 2.0).abs()).fold(0.0, f64::max);
        assert!(worst < 4.5 * scatter && worst > scatter, "{worst}");
    }

    /// x' = phi x + noise has the density 2 / |1 - phi exp(-i omega)|^2.
    #[test]
    fn an_autoregressive_process_has_its_density() {
        let mut state = 0.0;
        let signal = noise(400_000, 7).mapv(|shock| {
            state = 0.8 * state + shock;
            state
        });
        let found = spectrum(&signal, &WelchSettings::new(256));
        for (k, frequency) in found.frequencies.iter().enumerate().skip(2).take(124) {
            let want = 2.0 / (1.0 - 1.6 * (TAU * frequency).cos() + 0.64);
            let ratio = found.density[[k, 0]] / want;
            assert!((ratio - 1.0).abs() < 0.1, "{frequency}: {ratio}");
        }
    }

    #[test]
    fn segments_cover_the_signal_evenly() {
        for steps in 2..60 {
            for length in 2..=steps {
                for overlap in [0.0, 0.3, 0.5, 0.95] {
                    let starts = segment_starts(steps, length, overlap);
                    assert_eq!((starts[0], starts.last()), (0, Some(&(steps - length))));
                    let furthest = ((length as f64 * (1.0 - overlap)) as usize).max(1);
                    assert!(starts.windows(2).all(|s| s[0] < s[1]), "{starts:?}");
                    // Rounding to whole steps may take one of the overlap.
                    assert!(starts.windows(2).all(|s| s[1] - s[0] <= furthest + 1));
                    let mirrored: Vec<usize> =
                        starts.iter().rev().map(|s| steps - length - s).collect();
                    assert_eq!(starts, mirrored);
                }
            }
        }
    }

    /// Without smoothing the parts are those of the periodogram; smoothing keeps the sum and moves a peak by nothing.
    #[test]
    fn smoothed_spectra_are_parts_of_one() {
        let signal = Array1::from_shape_fn(1000, |t| (TAU * 0.1 * t as f64).sin()) + 3.0;
        let raw = smoothed_spectrum(signal.view(), 0.0).unwrap();
        assert_eq!(raw.len(), 501);
        assert!((raw[100] - 1.0).abs() < 1e-12);
        let smooth = smoothed_spectrum(signal.view(), 20.0).unwrap();
        assert!((smooth.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // The Gaussian itself, cut off at 80.
        let weight = |k: f64| (-0.5 * (k / 20.0).powi(2)).exp();
        let sum: f64 = (-80..=80).map(|k| weight(f64::from(k))).sum();
        for k in [100usize, 90, 130, 180] {
            let want = weight(k as f64 - 100.0) / sum;
            assert!((smooth[k] - want).abs() < 1e-12, "{k}");
        }
        assert!(smooth[181] < 1e-12);
        // At the end of the spectrum the mirror gives back what would be lost, but for the end itself.
        let fast = Array1::from_shape_fn(1000, |t| if t % 2 == 0 { 1.0 } else { -1.0 });
        let smooth = smoothed_spectrum(fast.view(), 1.0).unwrap();
        let half: f64 = (0..=4)
            .map(|k| (-0.5 * f64::from(k * k)).exp())
            .sum::<f64>();
        assert!((smooth[500] - 1.0 / half).abs() < 1e-12);
        assert!(smoothed_spectrum(Array1::zeros(10).view(), 1.0).is_err());
        assert!(smoothed_spectrum(signal.view(), f64::NAN).is_err());
    }

    #[test]
    fn what_cannot_be_estimated_is_an_error() {
        let signal = noise(10, 1).insert_axis(Axis(1));
        for (segment, overlap) in [(1, 0.5), (11, 0.5), (5, 1.0), (5, f64::NAN)] {
            let settings = WelchSettings {
                overlap,
                ..WelchSettings::new(segment)
            };
            assert!(welch(signal.view(), &settings).is_err());
        }
        let settings = WelchSettings::new(5);
        assert!(welch(Array2::zeros((10, 0)).view(), &settings).is_err());
        assert!(welch(signal.mapv(|_| f64::NAN).view(), &settings).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Backwards in time the spectrum is the same; a signal twice as large has four times the power.
        #[test]
        fn invariances(
            signal in prop::collection::vec(-10.0..10.0f64, 8..200),
            part in 0.1..1.0f64,
            overlap in 0.0..0.9f64,
        ) {
            let signal = Array1::from(signal);
            let segment = ((signal.len() as f64 * part) as usize).max(2);
            let settings = WelchSettings { overlap, ..WelchSettings::new(segment) };
            let found = spectrum(&signal, &settings);
            let backwards = spectrum(&signal.iter().rev().copied().collect(), &settings);
            let doubled = spectrum(&(&signal * 2.0 + 7.0), &settings);
            let scale = found.density.sum().max(1e-9);
            for k in 0..found.frequencies.len() {
                let density = found.density[[k, 0]];
                prop_assert!(density >= 0.0);
                prop_assert!((backwards.density[[k, 0]] - density).abs() < 1e-10 * scale);
                prop_assert!((doubled.density[[k, 0]] - 4.0 * density).abs() < 1e-9 * scale);
            }
        }
    }
}
