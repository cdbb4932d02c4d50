//! Principal components of trajectories.

use nalgebra::{DMatrix, SymmetricEigen};
use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::Error;

/// Iterations per row before the eigenvalue iteration counts as failed.
const ITERATIONS: usize = 100;

/// Principal components fitted to samples: the axes of a state-space picture.
#[derive(Clone, Debug, PartialEq)]
pub struct PrincipalComponents {
    /// Mean of the samples, `[dim]`.
    pub mean: Array1<f64>,
    /// Orthonormal axes, by variance falling, `[component, dim]`. Of each, the loading with the
    /// largest modulus (the first of them, within 1e-9) is positive.
    pub components: Array2<f64>,
    /// Variance along each axis with n - 1 in the denominator, `[component]`; squared units of the
    /// samples.
    pub explained_variance: Array1<f64>,
    /// The same as a fraction of the total variance, `[component]`; 0 where there is none.
    pub explained_variance_ratio: Array1<f64>,
}

impl PrincipalComponents {
    /// Fits principal components to `samples`, `[sample, dim]`.
    ///
    /// Trajectories `[batch, time, dim]` enter reshaped to `[batch * time, dim]`. All `dim`
    /// components are kept where `count` is larger.
    ///
    /// # Method
    /// Eigendecomposition of the covariance matrix. Variances below about 1e-16 of the largest
    /// are rounding error.
    ///
    /// # Errors
    /// [`Error::TooFew`] below two samples or one dimension, [`Error::NotFinite`] where a sample
    /// is not finite or too large to square, [`Error::EigenvaluesNotConverged`].
    pub fn fit(samples: ArrayView2<'_, f64>, count: usize) -> Result<Self, Error> {
        let (n, dim) = samples.dim();
        for (what, needed, found) in [("samples", 2, n), ("dimensions of the samples", 1, dim)] {
            if found < needed {
                return Err(Error::TooFew {
                    what,
                    needed,
                    found,
                });
            }
        }
        let mean = samples.sum_axis(Axis(0)) / n as f64;
        let centred = &samples - &mean;
        let covariance = centred.t().dot(&centred) / (n - 1) as f64;
        if !covariance.iter().all(|v| v.is_finite()) {
            return Err(Error::NotFinite {
                what: "the covariance of the samples",
            });
        }
        let covariance = DMatrix::from_fn(dim, dim, |i, j| covariance[[i, j]]);
        let eigen = SymmetricEigen::try_new(covariance, f64::EPSILON, ITERATIONS * dim)
            .ok_or(Error::EigenvaluesNotConverged)?;

        let mut order: Vec<usize> = (0..dim).collect();
        order.sort_by(|&i, &j| eigen.eigenvalues[j].total_cmp(&eigen.eigenvalues[i]));
        order.truncate(count);
        let variance = |i: usize| eigen.eigenvalues[i].max(0.0);
        let total = (0..dim).map(variance).sum::<f64>();
        let explained_variance: Array1<f64> = order.iter().map(|&i| variance(i)).collect();
        let mut components = Array2::zeros((order.len(), dim));
        for (mut component, &i) in components.rows_mut().into_iter().zip(&order) {
            let vector = eigen.eigenvectors.column(i);
            let largest = vector.amax();
            let leading = vector.iter().find(|v| v.abs() >= (1.0 - 1e-9) * largest);
            let sign = leading.map_or(1.0, |v| 1.0_f64.copysign(*v));
            for (component, v) in component.iter_mut().zip(vector.iter()) {
                *component = sign * v;
            }
        }
        Ok(Self {
            mean,
            components,
            explained_variance_ratio: explained_variance
                .mapv(|v| if total > 0.0 { v / total } else { 0.0 }),
            explained_variance,
        })
    }

    /// Coordinates of `samples`, `[sample, dim]`, along the axes: `[sample, component]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the width differs from that of the samples fitted.
    pub fn transform(&self, samples: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        Error::check_shape("samples, columns", self.mean.len(), samples.ncols())?;
        Ok((&samples - &self.mean).dot(&self.components.t()))
    }

    /// The directions `vectors`, `[vector, dim]`, along the axes, without the mean taken off:
    /// `[vector, component]`. For eigenvectors and other differences of states.
    ///
    /// # Errors
    /// [`Error::Shape`] where the width differs from that of the samples fitted.
    pub fn transform_directions(&self, vectors: ArrayView2<'_, f64>) -> Result<Array2<f64>, Error> {
        Error::check_shape("vectors, columns", self.mean.len(), vectors.ncols())?;
        Ok(vectors.dot(&self.components.t()))
    }

    /// The points with `coordinates`, `[sample, component]`, along the axes: `[sample, dim]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the width differs from the number of components.
    pub fn inverse_transform(
        &self,
        coordinates: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, Error> {
        let expected = self.components.nrows();
        Error::check_shape("coordinates, columns", expected, coordinates.ncols())?;
        Ok(coordinates.dot(&self.components) + &self.mean)
    }
}
