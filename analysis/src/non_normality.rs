//! How far a matrix is from normal, and what that does to perturbations on their way to decay.

use nalgebra::{DMatrix, SVD};

use crate::Error;

/// Iterations for the singular values per row, before the whole counts as failed.
const SVD_ITERATIONS: usize = 100;

/// The largest transient growth under a stable linear map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransientGrowth {
    /// The largest |J^k|_2; at least 1, that of k = 0.
    pub growth: f64,
    /// The first k where it is reached; 0 where nothing ever grows.
    pub step: usize,
    /// Whether no later power can be larger; elsewhere the search ended at its bound.
    pub settled: bool,
}

/// Henrici's departure from normality of J = Q T Q^T, relative to |J|_F, from its quasi-triangular T.
pub(crate) fn henrici(t: &DMatrix<f64>) -> f64 {
    let (dim, size) = (t.nrows(), t.amax());
    if size == 0.0 {
        return 0.0;
    }
    let at = |i: usize, j: usize| t[(i, j)] / size;
    // |T|_F^2 - sum |lambda|^2, summed over what exceeds the eigenvalues: where J is nearly normal, the difference of
    // the two sums would be rounding error.
    let (mut whole, mut excess) = (0.0, 0.0);
    let mut k = 0;
    while k < dim {
        let width = if k + 1 < dim && t[(k + 1, k)] != 0.0 {
            2
        } else {
            1
        };
        if width == 2 {
            let (a, b, c, d) = (at(k, k), at(k, k + 1), at(k + 1, k), at(k + 1, k + 1));
            whole += a * a + b * b + c * c + d * d;
            // |B|_F^2 - |lambda_1|^2 - |lambda_2|^2 of a block with a complex pair, and of one with two real eigenvalues
            let half = 0.5 * (a - d);
            excess += match half * half + b * c < 0.0 {
                true => (a - d) * (a - d) + (b + c) * (b + c),
                false => (b - c) * (b - c),
            };
        } else {
            whole += at(k, k) * at(k, k);
        }
        for j in k + width..dim {
            for i in k..k + width {
                whole += at(i, j) * at(i, j);
                excess += at(i, j) * at(i, j);
            }
        }
        k += width;
    }
    (excess / whole).sqrt().min(1.0)
}

/// The singular values, falling.
pub(crate) fn singular_values(matrix: &DMatrix<f64>) -> Result<Vec<f64>, Error> {
    let budget = SVD_ITERATIONS * matrix.nrows();
    // Unordered, because nalgebra's order panics on a NaN.
    let svd = SVD::try_new_unordered(matrix.clone(), false, false, f64::EPSILON, budget)
        .ok_or(Error::SingularValuesNotConverged)?;
    let mut values: Vec<f64> = svd.singular_values.iter().copied().collect();
    if values.iter().any(|value| value.is_nan()) {
        return Err(Error::SingularValuesNotConverged);
    }
    values.sort_by(|a, b| b.total_cmp(a));
    Ok(values)
}

/// The largest |J^k|_2 over 0 <= k <= `steps`.
pub(crate) fn powers_growth(matrix: &DMatrix<f64>, steps: usize) -> Result<TransientGrowth, Error> {
    let mut largest = TransientGrowth {
        growth: 1.0,
        step: 0,
        settled: false,
    };
    let mut power = DMatrix::identity(matrix.nrows(), matrix.nrows());
    for step in 1..=steps {
        power = &power * matrix;
        let bound = power.norm();
        if !bound.is_finite() {
            (largest.growth, largest.step) = (f64::INFINITY, step);
            break;
        }
        // |J^k|_2 <= |J^k|_F, which costs less; at the last step it is worth knowing whether the search has settled.
        let norm = if bound <= 1.0 {
            bound
        } else if bound <= largest.growth && step < steps {
            continue;
        } else {
            singular_values(&power)?.first().copied().unwrap_or(0.0)
        };
        if norm <= 1.0 {
            largest.settled = true;
            break;
        }
        if norm > largest.growth {
            (largest.growth, largest.step) = (norm, step);
        }
    }
    Ok(largest)
}
