//! How far the power spectra of what a model generates are from those of the data: D_H.

use ndarray::{ArrayView1, ArrayView2, Axis};
use rayon::prelude::*;

use crate::Error;
use crate::power_spectrum::smoothed_spectrum;

/// Hellinger distances between power spectra.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerSpectrumDistance {
    /// The distance in every dimension, from 0 (the same spectrum) to 1 (no frequency in common); NaN where what is
    /// generated does not fluctuate, which has no spectrum.
    pub by_dimension: Vec<f64>,
    /// Their mean, which is what is published; NaN where one of them is.
    pub mean: f64,
}

/// A standard deviation below this part of the largest value is rounding.
const AT_REST: f64 = 1e-12;

/// The Hellinger distance between the smoothed power spectra of `data` and `generated`, both `[time, dimension]`, of one
/// length.
///
/// Returns the distance in every dimension and their mean.
///
/// # Arguments
/// `sigma`: standard deviation of the Gaussian that spectra are smoothed with, in frequencies 1 / T; at least 0.
/// Publications take 20, for short fMRI recordings 1.
///
/// # Method
/// With p_k and q_k the two spectra as [`smoothed_spectrum`] makes them, each of sum 1,
///
/// ```text
/// D_H = sqrt(1/2 sum_k (sqrt(p_k) - sqrt(q_k))^2)
/// ```
///
/// As `sigma` counts frequencies, of which a series of T steps has T / 2, the distance depends on T: the same two models
/// may be 0.1 apart over 10,000 steps and 0.3 over 100,000. Only distances of one T can be compared.
///
/// # Errors
/// [`Error::Shape`] where the lengths or dimensions differ; [`Error::TooFew`] without a dimension, or below two steps;
/// [`Error::NotFinite`] where the data are not, are constant in a dimension, or what is generated is not finite;
/// [`Error::Setting`] where `sigma` is negative or not finite.
///
/// # Reference
/// F. Hess, Z. Monfared, M. Brenner & D. Durstewitz, "Generalized teacher forcing for learning chaotic dynamics", ICML
/// 2023; the power-spectrum error of J. M. Mikhaeil, Z. Monfared & D. Durstewitz, NeurIPS 2022.
pub fn power_spectrum_distance(
    data: ArrayView2<'_, f64>,
    generated: ArrayView2<'_, f64>,
    sigma: f64,
) -> Result<PowerSpectrumDistance, Error> {
    Error::check_shape("generated, columns", data.ncols(), generated.ncols())?;
    Error::check_shape("generated, rows", data.nrows(), generated.nrows())?;
    if data.ncols() == 0 {
        return Err(Error::TooFew {
            what: "dimensions of the data",
            needed: 1,
            found: 0,
        });
    }
    if generated.iter().any(|x| !x.is_finite()) {
        return Err(Error::NotFinite {
            what: "a generated signal",
        });
    }
    let of_dimension = |d: usize| {
        let (data, generated) = (
            data.index_axis(Axis(1), d),
            generated.index_axis(Axis(1), d),
        );
        let p = smoothed_spectrum(data, sigma)?;
        if is_at_rest(generated) {
            return Ok(f64::NAN);
        }
        let q = smoothed_spectrum(generated, sigma)?;
        let squares = p.iter().zip(&q).map(|(p, q)| (p.sqrt() - q.sqrt()).powi(2));
        Ok((0.5 * squares.sum::<f64>()).sqrt())
    };
    let by_dimension: Vec<f64> = (0..data.ncols())
        .into_par_iter()
        .map(of_dimension)
        .collect::<Result<_, Error>>()?;
    Ok(PowerSpectrumDistance {
        mean: by_dimension.iter().sum::<f64>() / by_dimension.len() as f64,
        by_dimension,
    })
}

fn is_at_rest(signal: ArrayView1<'_, f64>) -> bool {
    let largest = signal
        .iter()
        .fold(0.0f64, |largest, x| largest.max(x.abs()));
    let low = signal.iter().copied().fold(f64::INFINITY, f64::min);
    let high = signal.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    high - low <= AT_REST * largest
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};
    use proptest::prelude::*;
    use std::f64::consts::TAU;

    fn distance(a: &Array2<f64>, b: &Array2<f64>, sigma: f64) -> PowerSpectrumDistance {
        power_spectrum_distance(a.view(), b.view(), sigma).unwrap()
    }

    /// Sines of so many cycles in all.
    fn waves(steps: usize, cycles: &[f64]) -> Array2<f64> {
        Array2::from_shape_fn((steps, cycles.len()), |(t, d)| {
            (TAU * cycles[d] * t as f64 / steps as f64).sin()
        })
    }

    /// Without smoothing, sines at different frequencies have nothing in common; a sine and the sum of two equal ones
    /// overlap in half of the power: D^2 = 1 - sqrt(1/2).
    #[test]
    fn sines() {
        let (slow, fast) = (waves(1000, &[20.0]), waves(1000, &[300.0]));
        assert_eq!(distance(&slow, &slow, 20.0).mean, 0.0);
        assert!((distance(&slow, &fast, 0.0).mean - 1.0).abs() < 1e-9);
        let both = &slow * 2.0 + &fast * 2.0 + 5.0;
        let want = (1.0 - 0.5f64.sqrt()).sqrt();
        assert!((distance(&slow, &both, 0.0).mean - want).abs() < 1e-9);
        // The mean is over dimensions.
        let found = distance(
            &waves(1000, &[20.0, 40.0]),
            &waves(1000, &[20.0, 300.0]),
            0.0,
        );
        assert!(found.by_dimension[0] < 1e-9 && (found.by_dimension[1] - 1.0).abs() < 1e-9);
        assert!((found.mean - 0.5).abs() < 1e-9);
    }

    /// Two peaks smoothed by sigma are Gaussians over the frequencies, m apart: D^2 = 1 - exp(-m^2 / (8 sigma^2)).
    #[test]
    fn smoothed_peaks() {
        for (m, sigma) in [(10.0f64, 20.0f64), (40.0, 20.0), (3.0, 5.0)] {
            let (a, b) = (waves(4000, &[800.0]), waves(4000, &[800.0 + m]));
            let want = (1.0 - (-m * m / (8.0 * sigma * sigma)).exp()).sqrt();
            let found = distance(&a, &b, sigma).mean;
            // Cut off at four deviations, they lack what little lies beyond.
            assert!((found - want).abs() < 2e-3, "{m} {sigma}: {found} {want}");
        }
    }

    #[test]
    fn what_rests_has_no_spectrum() {
        let wave = waves(100, &[3.0, 5.0]);
        let mut rest = wave.clone();
        rest.column_mut(1).fill(0.3);
        rest[[7, 1]] += 1e-16;
        let found = distance(&wave, &rest, 1.0);
        assert!(found.by_dimension[0] == 0.0 && found.by_dimension[1].is_nan());
        assert!(found.mean.is_nan());
        let refused = |a: &Array2<f64>, b: &Array2<f64>, sigma| {
            power_spectrum_distance(a.view(), b.view(), sigma).is_err()
        };
        assert!(refused(&rest.mapv(|_| 1.0), &wave, 1.0));
        assert!(refused(&wave, &waves(99, &[3.0, 5.0]), 1.0));
        assert!(refused(&wave, &waves(100, &[3.0]), 1.0));
        assert!(refused(&wave, &wave.mapv(|_| f64::NAN), 1.0));
        assert!(refused(&wave, &wave, -1.0));
        assert!(refused(&Array2::zeros((5, 0)), &Array2::zeros((5, 0)), 1.0));
        assert!(refused(&array![[1.0]], &array![[1.0]], 1.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// From 0 to 1, the same both ways, and blind to size, offset and the direction of time.
        #[test]
        fn a_distance(
            series in prop::collection::vec((-1.0..1.0f64, -1.0..1.0f64), 8..120), sigma in 0.0..8.0f64,
        ) {
            let column = |of: &dyn Fn(&(f64, f64)) -> f64| {
                Array2::from_shape_fn((series.len(), 1), |(t, _)| of(&series[t]))
            };
            let (a, b) = (column(&|x| x.0), column(&|x| x.1));
            let found = distance(&a, &b, sigma).mean;
            prop_assert!((0.0..=1.0).contains(&found));
            prop_assert!((distance(&b, &a, sigma).mean - found).abs() < 1e-12);
            let backwards = b.slice(ndarray::s![..;-1, ..]).mapv(|x| 3.0 * x - 7.0);
            prop_assert!((distance(&a, &backwards, sigma).mean - found).abs() < 1e-6);
        }
    }
}
