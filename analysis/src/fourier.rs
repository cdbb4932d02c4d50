//! Fourier transforms of real signals.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// The transforms of real signals of one length, forwards and back.
pub(crate) struct Fourier {
    forward: Arc<dyn RealToComplex<f64>>,
    back: Arc<dyn ComplexToReal<f64>>,
}

impl Fourier {
    /// Transforms of length `length`, at least 1.
    pub(crate) fn new(length: usize) -> Self {
        let mut planner = RealFftPlanner::new();
        Fourier {
            forward: planner.plan_fft_forward(length),
            back: planner.plan_fft_inverse(length),
        }
    }

    /// Length of the signals.
    pub(crate) fn len(&self) -> usize {
        self.forward.len()
    }

    /// |X_k|^2 for k = 0 ... length / 2, of X_k = sum_t x_t exp(-2 pi i k t / length). A shorter signal is followed by
    /// zeros.
    pub(crate) fn power(&self, signal: &[f64]) -> Vec<f64> {
        self.transform(signal)
            .iter()
            .map(Complex::norm_sqr)
            .collect()
    }

    /// sum_t x_t x_(t + l), t + l taken round the length, for the lags l = 0 ... `lags`. A shorter signal is followed
    /// by zeros; `lags` of them keep its end away from its beginning.
    pub(crate) fn lagged_products(&self, signal: &[f64], lags: usize) -> Vec<f64> {
        let mut spectrum = self.transform(signal);
        for value in &mut spectrum {
            *value = Complex::new(value.norm_sqr(), 0.0);
        }
        let mut products = self.back.make_output_vec();
        self.back
            .process(&mut spectrum, &mut products)
            .expect("the lengths are those of the plan, and the ends of the spectrum are real");
        products.truncate(lags + 1);
        // The transforms leave out the factor 1 / length.
        for product in &mut products {
            *product /= self.len() as f64;
        }
        products
    }

    fn transform(&self, signal: &[f64]) -> Vec<Complex<f64>> {
        let mut padded = self.forward.make_input_vec();
        padded[..signal.len()].copy_from_slice(signal);
        let mut spectrum = self.forward.make_output_vec();
        self.forward
            .process(&mut padded, &mut spectrum)
            .expect("the lengths are those of the plan");
        spectrum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Both by their definitions, for lengths that are powers of two and others.
        #[test]
        fn as_defined(signal in prop::collection::vec(-1.0..1.0f64, 1..40), zeros in 0usize..9) {
            let length = signal.len() + zeros;
            let fourier = Fourier::new(length);
            for (k, power) in fourier.power(&signal).iter().enumerate() {
                let (mut re, mut im) = (0.0, 0.0);
                for (t, x) in signal.iter().enumerate() {
                    let angle = std::f64::consts::TAU * (k * t) as f64 / length as f64;
                    re += x * angle.cos();
                    im -= x * angle.sin();
                }
                prop_assert!((power - (re * re + im * im)).abs() < 1e-11);
            }
            let lags = zeros.min(signal.len() - 1);
            for (lag, product) in fourier.lagged_products(&signal, lags).iter().enumerate() {
                let direct: f64 = signal.iter().zip(&signal[lag..]).map(|(a, b)| a * b).sum();
                prop_assert!((product - direct).abs() < 1e-12);
            }
        }
    }
}
