//! Minimisation without derivatives: the evolution strategy with covariance matrix adaptation (CMA-ES), for objectives
//! that are rugged, such as what chaotic orbits amount to, in some tens of dimensions.

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

use crate::{Error, Watch};

/// Most iterations per dimension of the eigenvalues of the covariance.
const ITERATIONS: usize = 100;

/// How long and how wide a search is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvolutionSettings {
    /// Most evaluations of the objective; whole generations are made.
    pub evaluations: usize,
    /// Standard deviation of the first generation, above 0, in every direction: the scale of the problem.
    pub spread: f64,
    /// How many of the best candidates are kept.
    pub kept: usize,
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// The mean of the last generation's distribution: of an objective that is noisy, the safest answer.
    pub mean: Vec<f64>,
    /// The best candidates, the best first, with the objective where each was measured.
    pub best: Vec<(Vec<f64>, f64)>,
    /// Evaluations that were made.
    pub evaluations: usize,
}

/// Minimises an objective about `start`, `[dimension]`; the candidates of a generation are evaluated in parallel, and the
/// result does not depend on how.
///
/// `objective` is given a candidate and the number of its generation, from 0: one that is measured on samples can take
/// others for every generation, so that no candidate wins for ever by luck. What is not finite counts as infinite.
/// `watch` is told the part of the evaluations made before every generation.
///
/// # Method
/// Of lambda = 4 + floor(3 ln n) candidates drawn from the normal distribution about m, the better half, with weights w_i
/// that fall with their rank, gives the next mean; paths of its steps adapt the step size sigma and the covariance C:
///
/// ```text
/// x_k = m + sigma y_k,  y_k ~ N(0, C),      m <- m + sigma <y>,  <y> = sum_i w_i y_i
/// p_sigma <- (1 - c_sigma) p_sigma + sqrt(c_sigma (2 - c_sigma) mu_eff) C^(-1/2) <y>
/// sigma   <- sigma exp(c_sigma / d_sigma (|p_sigma| / E|N(0, I)| - 1))
/// p_c     <- (1 - c_c) p_c + h sqrt(c_c (2 - c_c) mu_eff) <y>
/// C       <- (1 - c_1 - c_mu) C + c_1 (p_c p_c' + (1 - h) c_c (2 - c_c) C) + c_mu sum_i w_i y_i y_i'
/// ```
///
/// # Errors
/// [`Error::TooFew`] without a dimension; [`Error::Setting`] where the spread is not a number above 0;
/// [`Error::EigenvaluesNotConverged`] where those of the covariance do not; [`Error::Stopped`] where `watch` ends it.
///
/// # Reference
/// N. Hansen, "The CMA evolution strategy: a tutorial", arXiv 1604.00772 (2016), Figure 6 with non-negative weights.
pub fn minimise(
    start: &[f64],
    settings: &EvolutionSettings,
    random: &mut impl Rng,
    objective: impl Fn(&[f64], usize) -> f64 + Sync,
    watch: Watch<'_>,
) -> Result<Search, Error> {
    let n = start.len();
    if n == 0 {
        return Err(Error::TooFew {
            what: "dimensions of the search",
            needed: 1,
            found: 0,
        });
    }
    if !(settings.spread > 0.0 && settings.spread.is_finite()) {
        return Err(Error::Setting {
            what: "spread",
            found: settings.spread.to_string(),
            allowed: "a finite number above 0",
        });
    }
    let rates = Rates::of(n);
    let mut best: Vec<(Vec<f64>, f64)> = Vec::new();
    let generations = settings.evaluations / rates.candidates;
    let mut mean = DVector::from_column_slice(start);
    let mut sigma = settings.spread;
    let mut covariance = DMatrix::<f64>::identity(n, n);
    let mut path_sigma = DVector::<f64>::zeros(n);
    let mut path_c = DVector::<f64>::zeros(n);
    for generation in 0..generations {
        let made = generation * rates.candidates;
        Error::check_watch(watch, made as f64 / settings.evaluations as f64)?;
        // C = B D^2 B'. Rounding must not make a variance negative.
        let eigen = SymmetricEigen::try_new(covariance.clone(), f64::EPSILON, ITERATIONS * n)
            .ok_or(Error::EigenvaluesNotConverged)?;
        let axes = eigen.eigenvectors;
        let deviations = eigen.eigenvalues.map(|x| x.max(1e-20).sqrt());
        let steps: Vec<DVector<f64>> = (0..rates.candidates)
            .map(|_| {
                let z: DVector<f64> = DVector::from_fn(n, |_, _| StandardNormal.sample(random));
                &axes * z.component_mul(&deviations)
            })
            .collect();
        let points: Vec<DVector<f64>> = steps.iter().map(|y| &mean + y * sigma).collect();
        let values: Vec<f64> = points
            .par_iter()
            .map(|point| objective(point.as_slice(), generation))
            .map(|value| {
                if value.is_finite() {
                    value
                } else {
                    f64::INFINITY
                }
            })
            .collect();
        let mut order: Vec<usize> = (0..rates.candidates).collect();
        order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
        best.extend(
            order
                .iter()
                .map(|&i| (points[i].as_slice().to_vec(), values[i])),
        );
        best.sort_by(|a, b| a.1.total_cmp(&b.1));
        best.truncate(settings.kept);

        let chosen = order.iter().zip(&rates.weights);
        let step: DVector<f64> = chosen.clone().map(|(&i, &w)| &steps[i] * w).sum();
        mean += &step * sigma;
        let whitened = &axes * (axes.transpose() * &step).component_div(&deviations);
        path_sigma = path_sigma * (1.0 - rates.c_sigma)
            + whitened * (rates.c_sigma * (2.0 - rates.c_sigma) * rates.mu_eff).sqrt();
        // The path has not grown for want of time to do so, but because the steps agree: the covariance waits.
        let grown = 1.0 - (1.0 - rates.c_sigma).powf(2.0 * (generation + 1) as f64);
        let is_short =
            path_sigma.norm() / grown.sqrt() < (1.4 + 2.0 / (n as f64 + 1.0)) * rates.expected_norm;
        let h = f64::from(u8::from(is_short));
        path_c = path_c * (1.0 - rates.c_c)
            + &step * (h * (rates.c_c * (2.0 - rates.c_c) * rates.mu_eff).sqrt());
        let kept =
            1.0 - rates.c_1 - rates.c_mu + rates.c_1 * (1.0 - h) * rates.c_c * (2.0 - rates.c_c);
        covariance = covariance * kept + &path_c * path_c.transpose() * rates.c_1;
        for (&i, &w) in chosen {
            covariance += &steps[i] * steps[i].transpose() * (rates.c_mu * w);
        }
        sigma *=
            (rates.c_sigma / rates.d_sigma * (path_sigma.norm() / rates.expected_norm - 1.0)).exp();
    }
    Ok(Search {
        mean: mean.as_slice().to_vec(),
        best,
        evaluations: generations * rates.candidates,
    })
}

/// The strategy's constants in n dimensions.
struct Rates {
    /// lambda.
    candidates: usize,
    /// Of the better half, the best first; they sum to 1.
    weights: Vec<f64>,
    mu_eff: f64,
    c_sigma: f64,
    d_sigma: f64,
    c_c: f64,
    c_1: f64,
    c_mu: f64,
    /// E|N(0, I)|.
    expected_norm: f64,
}

impl Rates {
    fn of(dimensions: usize) -> Self {
        let n = dimensions as f64;
        let candidates = 4 + (3.0 * n.ln()).floor() as usize;
        let half = (candidates as f64 + 1.0) / 2.0;
        let weights: Vec<f64> = (1..=candidates / 2)
            .map(|i| half.ln() - (i as f64).ln())
            .collect();
        let sum: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|w| w / sum).collect();
        let mu_eff = weights.iter().map(|w| w * w).sum::<f64>().recip();
        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
        let c_1 = 2.0 / ((n + 1.3).powi(2) + mu_eff);
        Rates {
            candidates,
            weights,
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (n + 1.0)).sqrt() - 1.0).max(0.0) + c_sigma,
            c_c: (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            c_1,
            c_mu: (2.0 * (mu_eff - 2.0 + mu_eff.recip()) / ((n + 2.0).powi(2) + mu_eff))
                .min(1.0 - c_1),
            expected_norm: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::SmallRng};

    fn random() -> SmallRng {
        SmallRng::seed_from_u64(1)
    }

    fn settings(evaluations: usize) -> EvolutionSettings {
        EvolutionSettings {
            evaluations,
            spread: 0.5,
            kept: 3,
        }
    }

    fn search(
        start: &[f64],
        evaluations: usize,
        objective: impl Fn(&[f64], usize) -> f64 + Sync,
    ) -> Search {
        let settings = settings(evaluations);
        minimise(start, &settings, &mut random(), objective, &mut |_| true).unwrap()
    }

    /// An ellipsoid of condition 10^6, turned so that no axis is its own, and Rosenbrock's valley, in 8 dimensions: both
    /// need the covariance.
    #[test]
    fn minima_that_are_known() {
        let ellipsoid = |x: &[f64], _| {
            let n = x.len();
            (0..n)
                .map(|i| {
                    let turned = (x[i] - x[(i + 1) % n]) / 2.0f64.sqrt() + 0.1 * x[i];
                    10f64.powf(6.0 * i as f64 / (n - 1) as f64) * turned * turned
                })
                .sum()
        };
        let found = search(&[1.0; 8], 8000, ellipsoid);
        assert!(found.best[0].1 < 1e-9, "{}", found.best[0].1);
        let valley = |x: &[f64], _| {
            x.windows(2)
                .map(|x| 100.0 * (x[1] - x[0] * x[0]).powi(2) + (1.0 - x[0]).powi(2))
                .sum()
        };
        let found = search(&[0.0; 8], 12_000, valley);
        assert!(found.best[0].1 < 1e-8, "{}", found.best[0].1);
        assert!(found.mean.iter().all(|x| (x - 1.0).abs() < 1e-3));
        assert!(found.evaluations <= 12_000);
        assert_eq!(found.best.len(), 3);
        assert!(found.best.is_sorted_by(|a, b| a.1 <= b.1));
    }

    /// A fifth of the space has no value, and every generation is measured with another error, larger than the slope near
    /// the minimum.
    #[test]
    fn noisy_objectives_with_holes() {
        let noisy = |x: &[f64], generation: usize| {
            if x[0] < -0.5 {
                return f64::NAN;
            }
            let wave = (generation as f64 * 2.4).sin();
            x.iter()
                .map(|x| x * x + 0.1 * (wave + (40.0 * x + 7.0 * wave).cos()))
                .sum()
        };
        let found = search(&[2.0, -1.5, 1.0, 0.7], 3000, noisy);
        assert!(found.mean.iter().all(|x| x.abs() < 0.3), "{:?}", found.mean);
    }

    #[test]
    fn the_same_search_gives_the_same_point_and_can_be_ended() {
        let bowl = |x: &[f64], _| x.iter().map(|x| (x - 1.0).powi(2)).sum::<f64>();
        assert_eq!(search(&[0.0; 5], 300, bowl), search(&[0.0; 5], 300, bowl));
        let mut told = Vec::new();
        let ended = minimise(
            &[0.0; 5],
            &settings(1000),
            &mut random(),
            bowl,
            &mut |made| {
                told.push(made);
                told.len() < 3
            },
        );
        assert_eq!(ended, Err(Error::Stopped));
        assert_eq!(told, [0.0, 0.008, 0.016]);
        // Too few evaluations for a generation: the start.
        let none = search(&[0.5; 5], 7, bowl);
        assert_eq!((none.mean, none.best.len()), (vec![0.5; 5], 0));
        let without = EvolutionSettings {
            spread: 0.0,
            ..settings(100)
        };
        assert!(minimise(&[0.0], &without, &mut random(), bowl, &mut |_| true).is_err());
        assert!(minimise(&[], &settings(100), &mut random(), bowl, &mut |_| true).is_err());
    }
}
