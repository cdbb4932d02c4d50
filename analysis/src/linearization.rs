//! Linearisation: the eigenvalues, right and left eigenvectors of the Jacobian at a state, what kicks its modes and
//! what sees them, and how far it is from normal.

use std::cmp::Ordering;
use std::f64::consts::TAU;

use nalgebra::{Complex, DMatrix, DVector, SVD};
use ndarray::{Array2, ArrayView2};

use crate::non_normality::{henrici, powers_growth, singular_values};
use crate::schur::{quasi_diagonal, real_schur};
use crate::{Dynamics, Error};

pub use crate::non_normality::TransientGrowth;

/// Singular-value iterations per row before the condition number counts as infinite.
const SVD_ITERATIONS: usize = 100;
/// Up to this condition number the left eigenvectors come from the inverse of the right ones, and
/// are orthogonal to all of the others within about 1e-10; beyond it each is solved for alone.
const INVERTIBLE: f64 = 1e6;
/// The least denominator in a substitution: its square, which a complex division forms, is not 0.
const LEAST_DENOMINATOR: f64 = 1e-150;

/// A map linearised at a state: x' - F(x, u) is about J (x - state).
///
/// All lists are sorted by modulus falling, then by real part falling; of a complex pair the
/// eigenvalue with positive imaginary part comes first, and the pair's vectors are conjugates,
/// exactly.
#[derive(Clone, Debug, PartialEq)]
pub struct Linearization {
    /// J = dF/dx, `[to, from]`.
    pub jacobian: Array2<f64>,
    /// The eigenvalues lambda, `[mode]`.
    pub eigenvalues: Vec<Complex<f64>>,
    /// Right eigenvectors v, J v = lambda v: `[mode, state]`. Unit 2-norm; the element with the
    /// largest modulus (the first of them, within 1e-9) is real and positive. Those of real
    /// eigenvalues are real.
    pub right_eigenvectors: Array2<Complex<f64>>,
    /// Left eigenvectors w, w^H J = lambda w^H: `[mode, state]`. w_i^H v_i = 1, and w_i^H v_j = 0
    /// for other modes. Where a mode is defective no such w exists; w then has unit 2-norm, and its
    /// [`eigenvalue_conditions`](Self::eigenvalue_conditions) is infinite.
    pub left_eigenvectors: Array2<Complex<f64>>,
    /// |J v - lambda v|_2 of each mode, `[mode]`: how far to trust it.
    pub eigen_residuals: Vec<f64>,
    /// |w| |v| / |w^H v| of each mode, `[mode]`: how much an eigenvalue moves per size of a change
    /// of J. At least 1; 1 for normal J; infinite for defective modes.
    pub eigenvalue_conditions: Vec<f64>,
    /// Condition number in the 2-norm of the matrix of right eigenvectors: 1 for normal J, infinite
    /// or about 1e16 for defective J.
    pub eigenvector_condition: f64,
    /// The singular values of J, falling: by how much one step stretches at most, ..., at least.
    pub singular_values: Vec<f64>,
    /// Henrici's departure from normality, sqrt(|J|_F^2 - sum |lambda|^2) / |J|_F: 0 for normal J, at most 1, which
    /// nilpotent J reach. 0 for J = 0.
    pub henrici: f64,
}

impl Linearization {
    /// The largest modulus of an eigenvalue.
    pub fn spectral_radius(&self) -> f64 {
        self.eigenvalues.first().map_or(0.0, |lambda| lambda.norm())
    }

    /// The number of eigenvalues beyond the unit circle.
    pub fn n_unstable(&self) -> usize {
        let beyond = |lambda: &&Complex<f64>| lambda.norm() > 1.0;
        self.eigenvalues.iter().filter(beyond).count()
    }

    /// The largest time constant of a decaying mode, in steps; `None` where no mode decays. See [`time_constant`].
    pub fn slowest_stable_time_constant(&self) -> Option<f64> {
        let decaying = self.eigenvalues.iter().filter(|lambda| lambda.norm() < 1.0);
        decaying
            .map(|&lambda| time_constant(lambda))
            .reduce(f64::max)
    }

    /// How strongly each input kicks each mode: |w^H b| / (|w| |b|), `[mode, input]`, of the left eigenvector w and the
    /// input's direction b.
    ///
    /// In [0, 1]; NaN where b = 0, which has no direction. After a pulse du in one input the state has moved by b du, and
    /// w^H b du is how much of that lies in the mode. Of a normal complex pair, whose vectors turn in a plane, either has
    /// at most 1 / sqrt(2). Vectors of repeated eigenvalues are a choice, and so are their overlaps.
    ///
    /// # Arguments
    /// - `input_jacobian`: dF/du at the same state, `[state, input]`, as [`Dynamics::input_jacobian`] gives it.
    ///
    /// # Errors
    /// [`Error::Shape`] where the rows are not as many as states.
    ///
    /// # Reference
    /// V. Mante, D. Sussillo, K. V. Shenoy and W. T. Newsome, Nature 503, 78 (2013): the left eigenvector of a line
    /// attractor selects the input that is integrated.
    pub fn input_overlaps(
        &self,
        input_jacobian: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, Error> {
        let dim = self.eigenvalues.len();
        Error::check_shape("input jacobian, rows", dim, input_jacobian.nrows())?;
        Ok(overlaps(&self.left_eigenvectors, input_jacobian.t()))
    }

    /// How strongly each mode shows in each output: |c v| / (|c| |v|), `[mode, output]`, of the right eigenvector v and
    /// the direction c that the output reads.
    ///
    /// In [0, 1]; NaN where c = 0. What [`input_overlaps`](Self::input_overlaps) says of pairs and of repeated eigenvalues
    /// holds here as well.
    ///
    /// # Arguments
    /// - `readout_jacobian`: dy/dx at the same state, `[output, state]`.
    ///
    /// # Errors
    /// [`Error::Shape`] where the columns are not as many as states.
    pub fn readout_overlaps(
        &self,
        readout_jacobian: ArrayView2<'_, f64>,
    ) -> Result<Array2<f64>, Error> {
        let dim = self.eigenvalues.len();
        Error::check_shape("readout jacobian, columns", dim, readout_jacobian.ncols())?;
        Ok(overlaps(&self.right_eigenvectors, readout_jacobian))
    }

    /// How much a perturbation grows at most on its way to decay, max |J^k|_2 over 0 <= k <= `steps`; `None` where the
    /// spectral radius is 1 or more, so that the growth need not end.
    ///
    /// # Method
    /// The powers one after the other, with the 2-norm (the largest singular value) of those whose Frobenius norm, which
    /// is at least as large, could beat the largest so far. Once |J^m|_2 <= 1 the maximum is proved and the search ends:
    /// |J^(qm + r)| <= |J^m|^q |J^r| <= |J^r|.
    ///
    /// # Errors
    /// [`Error::SingularValuesNotConverged`].
    ///
    /// # Reference
    /// L. N. Trefethen and M. Embree, Spectra and Pseudospectra, Princeton University Press (2005), chapter 16.
    pub fn transient_growth(&self, steps: usize) -> Result<Option<TransientGrowth>, Error> {
        if self.spectral_radius() >= 1.0 {
            return Ok(None);
        }
        let dim = self.jacobian.nrows();
        let matrix = DMatrix::from_fn(dim, dim, |to, from| self.jacobian[[to, from]]);
        powers_growth(&matrix, steps).map(Some)
    }
}

/// |w^H d| / (|w| |d|) of every vector w, `[mode, state]`, with every direction d, `[direction, state]`; NaN where d = 0.
fn overlaps(vectors: &Array2<Complex<f64>>, directions: ArrayView2<'_, f64>) -> Array2<f64> {
    Array2::from_shape_fn((vectors.nrows(), directions.nrows()), |(mode, k)| {
        let (w, d) = (vectors.row(mode), directions.row(k));
        let product: Complex<f64> = w.iter().zip(d).map(|(w, d)| w.conj() * d).sum();
        let lengths = w.iter().map(|w| w.norm_sqr()).sum::<f64>().sqrt() * d.dot(&d).sqrt();
        let overlap = product.norm() / lengths;
        // Not `min`, which would make a NaN a 1.
        if overlap > 1.0 { 1.0 } else { overlap }
    })
}

/// Linearises `dynamics` at `state` under `input`.
///
/// Returns the Jacobian with its eigenvalues and vectors; see [`Linearization`].
///
/// # Arguments
/// - `dynamics`: the map, with its exact Jacobian.
/// - `state`: where, `[state]`; a fixed point for the usual reading.
/// - `input`: the constant input, `[input]`.
///
/// # Errors
/// As [`decompose`], and [`Error::Shape`] where `state` or `input` does not fit the map.
pub fn linearize<D: Dynamics + ?Sized>(
    dynamics: &D,
    state: &[f64],
    input: &[f64],
) -> Result<Linearization, Error> {
    let dim = dynamics.state_dim();
    Error::check_shape("state", dim, state.len())?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    let mut next = vec![0.0; dim];
    let mut jacobian = Array2::zeros((dim, dim));
    if let Some(jacobian) = jacobian.as_slice_mut() {
        dynamics.step_with_jacobian(state, input, &mut next, jacobian);
    }
    decompose(jacobian.view())
}

/// The eigendecomposition of a Jacobian, `[to, from]`.
///
/// # Method
/// Real Schur form J = Q T Q^T by the implicitly shifted QR iteration; T brought to triangular form
/// by one complex rotation for each pair; right eigenvectors by substitution in T, with
/// denominators no smaller than eps |T|, so that repeated and defective eigenvalues give vectors
/// with a small residual rather than NaN. The left eigenvectors are the rows of the inverse of the
/// right ones, or, where that inverse means nothing, found by substitution as well.
///
/// # Errors
/// [`Error::Shape`] where the matrix is not square, [`Error::TooFew`] where it is empty,
/// [`Error::NotFinite`] where an element is not finite, [`Error::EigenvaluesNotConverged`],
/// [`Error::SingularValuesNotConverged`].
///
/// # Reference
/// G. H. Golub and C. F. Van Loan, Matrix Computations, 4th ed., sections 7.4 to 7.6. P. Henrici, Numerische Mathematik
/// 4, 24 (1962).
pub fn decompose(jacobian: ArrayView2<'_, f64>) -> Result<Linearization, Error> {
    Error::check_shape("jacobian, columns", jacobian.nrows(), jacobian.ncols())?;
    let dim = jacobian.nrows();
    let matrix = DMatrix::from_fn(dim, dim, |to, from| jacobian[[to, from]]);
    let (q, t) = real_schur(&matrix)?;
    let henrici = henrici(&t);
    let triangular = Triangular::new(q, t);

    // Modes with non-negative imaginary part; the others are their conjugates.
    let mut leading: Vec<usize> = (0..dim)
        .filter(|&i| triangular.eigenvalues[i].im >= 0.0)
        .collect();
    leading.sort_by(|&i, &j| falling(&triangular.eigenvalues[i], &triangular.eigenvalues[j]));
    let mut eigenvalues = Vec::with_capacity(dim);
    let mut right = DMatrix::zeros(dim, dim);
    let mut position = Vec::with_capacity(dim);
    for &i in &leading {
        let lambda = triangular.eigenvalues[i];
        let mut vector = triangular.right_eigenvector(i);
        fix_phase(&mut vector, lambda.im == 0.0);
        right.set_column(eigenvalues.len(), &vector);
        eigenvalues.push(lambda);
        position.push(i);
        if lambda.im > 0.0 {
            right.set_column(eigenvalues.len(), &vector.map(|v| v.conj()));
            eigenvalues.push(lambda.conj());
            position.push(i);
        }
    }
    let eigenvector_condition = condition(&right);
    let inverse = if eigenvector_condition <= INVERTIBLE {
        right.clone().try_inverse()
    } else {
        None
    };

    let complex = matrix.map(Complex::from);
    let mut left = DMatrix::zeros(dim, dim);
    let mut eigen_residuals = Vec::with_capacity(dim);
    let mut eigenvalue_conditions = Vec::with_capacity(dim);
    for (mode, lambda) in eigenvalues.iter().enumerate() {
        let v: DVector<Complex<f64>> = right.column(mode).into_owned();
        eigen_residuals.push((&complex * &v - &v * *lambda).norm());
        if lambda.im < 0.0 {
            let partner: DVector<Complex<f64>> =
                left.column(mode - 1).map(|w: Complex<f64>| w.conj());
            left.set_column(mode, &partner);
            eigenvalue_conditions.push(eigenvalue_conditions[mode - 1]);
            continue;
        }
        let mut w = match &inverse {
            Some(inverse) => inverse.row(mode).adjoint(),
            None => triangular.left_eigenvector(position[mode]),
        };
        let product = w.dotc(&v);
        let condition = w.norm() / product.norm();
        // Beyond this the product is rounding error, and to divide by it would invent a vector.
        if condition <= 1.0 / (10.0 * f64::EPSILON * dim as f64) {
            w.apply(|w| *w /= product.conj());
            eigenvalue_conditions.push(condition.max(1.0));
        } else {
            eigenvalue_conditions.push(f64::INFINITY);
        }
        if lambda.im == 0.0 {
            w.apply(|w| w.im = 0.0);
        }
        left.set_column(mode, &w);
    }
    let rows = |columns: &DMatrix<Complex<f64>>| {
        Array2::from_shape_fn((dim, dim), |(mode, state)| columns[(state, mode)])
    };
    Ok(Linearization {
        jacobian: jacobian.to_owned(),
        right_eigenvectors: rows(&right),
        left_eigenvectors: rows(&left),
        eigenvalues,
        eigen_residuals,
        eigenvalue_conditions,
        eigenvector_condition,
        singular_values: singular_values(&matrix)?,
        henrici,
    })
}

/// The order of eigenvalues: by modulus falling, then by real part, then by imaginary part falling.
pub(crate) fn falling(a: &Complex<f64>, b: &Complex<f64>) -> Ordering {
    let modulus = b.norm().total_cmp(&a.norm());
    let real = || b.re.total_cmp(&a.re);
    modulus.then_with(real).then_with(|| b.im.total_cmp(&a.im))
}

/// The time constant of a mode in steps, -1 / ln |lambda|: the time in which it shrinks by e.
///
/// Negative for growing modes, infinite for |lambda| = 1, 0 for lambda = 0.
pub fn time_constant(eigenvalue: Complex<f64>) -> f64 {
    let rate = eigenvalue.norm().ln();
    if rate == 0.0 {
        f64::INFINITY
    } else {
        -1.0 / rate
    }
}

/// The period of a mode in steps, 2 pi / |arg lambda|.
///
/// Infinite for lambda >= 0, 2 for negative lambda, never less.
pub fn period(eigenvalue: Complex<f64>) -> f64 {
    TAU / eigenvalue.arg().abs()
}

/// The eigenvalues of a real square matrix, in no particular order.
pub(crate) fn eigenvalues(matrix: &DMatrix<f64>) -> Result<Vec<Complex<f64>>, Error> {
    Ok(quasi_triangular_eigenvalues(&quasi_diagonal(matrix)?))
}

/// The eigenvalues of a quasi-triangular matrix in the order of its diagonal; of a complex pair,
/// that with positive imaginary part first.
pub(crate) fn quasi_triangular_eigenvalues(t: &DMatrix<f64>) -> Vec<Complex<f64>> {
    let dim = t.nrows();
    let mut eigenvalues = Vec::with_capacity(dim);
    while eigenvalues.len() < dim {
        let k = eigenvalues.len();
        if k + 1 == dim || t[(k + 1, k)] == 0.0 {
            eigenvalues.push(Complex::from(t[(k, k)]));
            continue;
        }
        let (a, b, c, d) = (t[(k, k)], t[(k, k + 1)], t[(k + 1, k)], t[(k + 1, k + 1)]);
        // lambda = d + z with z^2 - (a - d) z - b c = 0
        let half = 0.5 * (a - d);
        let discriminant = half * half + b * c;
        if discriminant < 0.0 {
            let (re, im) = (d + half, (-discriminant).sqrt());
            eigenvalues.extend([Complex::new(re, im), Complex::new(re, -im)]);
        } else {
            let z = half + discriminant.sqrt().copysign(half);
            let other = if z == 0.0 { 0.0 } else { -(b * c) / z };
            eigenvalues.extend([Complex::from(d + z), Complex::from(d + other)]);
        }
    }
    eigenvalues
}

/// The complex Schur form J = Q T Q^H, T upper triangular.
struct Triangular {
    q: DMatrix<Complex<f64>>,
    t: DMatrix<Complex<f64>>,
    /// The diagonal of T.
    eigenvalues: Vec<Complex<f64>>,
    /// The least denominator in a substitution, eps |T|.
    least: f64,
}

impl Triangular {
    fn new(q: DMatrix<f64>, t: DMatrix<f64>) -> Self {
        let dim = t.nrows();
        let eigenvalues = quasi_triangular_eigenvalues(&t);
        let mut q = q.map(Complex::from);
        let mut t = t.map(Complex::from);
        let zero = Complex::from(0.0);
        for k in 1..dim {
            if t[(k, k - 1)] != zero {
                let (i, j) = (k - 1, k);
                // The first column of the rotation is the block's eigenvector, from whichever of
                // the two rows of (B - lambda I) g = 0 is the larger.
                let lambda = eigenvalues[i];
                let (a, b, c, d) = (t[(i, i)], t[(i, j)], t[(j, i)], t[(j, j)]);
                let (g, h) = ((b, lambda - a), (lambda - d, c));
                let size = |v: (Complex<f64>, Complex<f64>)| v.0.norm().hypot(v.1.norm());
                let (mut g1, mut g2) = if size(g) >= size(h) { g } else { h };
                let norm = size((g1, g2));
                g1 /= norm;
                g2 /= norm;
                for matrix in [&mut t, &mut q] {
                    for row in 0..dim {
                        let (x, y) = (matrix[(row, i)], matrix[(row, j)]);
                        matrix[(row, i)] = x * g1 + y * g2;
                        matrix[(row, j)] = y * g1.conj() - x * g2.conj();
                    }
                }
                for column in 0..dim {
                    let (x, y) = (t[(i, column)], t[(j, column)]);
                    t[(i, column)] = g1.conj() * x + g2.conj() * y;
                    t[(j, column)] = g1 * y - g2 * x;
                }
                t[(j, i)] = zero;
            }
        }
        for (i, &lambda) in eigenvalues.iter().enumerate() {
            t[(i, i)] = lambda;
        }
        let least = (f64::EPSILON * t.norm()).max(LEAST_DENOMINATOR);
        Self {
            q,
            t,
            eigenvalues,
            least,
        }
    }

    /// T_jj - lambda_i, kept away from zero.
    fn denominator(&self, j: usize, i: usize) -> Complex<f64> {
        let difference = self.t[(j, j)] - self.eigenvalues[i];
        if difference.norm() < self.least {
            Complex::from(self.least)
        } else {
            difference
        }
    }

    /// The unit right eigenvector of the eigenvalue at place `i` of the diagonal.
    fn right_eigenvector(&self, i: usize) -> DVector<Complex<f64>> {
        // (T - lambda I) y = 0, y_i = 1, y_j = 0 for j > i
        let mut y = DVector::zeros(self.t.nrows());
        y[i] = Complex::from(1.0);
        for j in (0..i).rev() {
            let sum: Complex<f64> = (j + 1..=i).map(|k| self.t[(j, k)] * y[k]).sum();
            y[j] = -sum / self.denominator(j, i);
            limit(&mut y, j);
        }
        (&self.q * y).normalize()
    }

    /// The unit left eigenvector of the eigenvalue at place `i` of the diagonal.
    fn left_eigenvector(&self, i: usize) -> DVector<Complex<f64>> {
        // z^T (T - lambda I) = 0, z_i = 1, z_j = 0 for j < i; w = Q conj(z)
        let mut z = DVector::zeros(self.t.nrows());
        z[i] = Complex::from(1.0);
        for j in i + 1..z.len() {
            let sum: Complex<f64> = (i..j).map(|k| z[k] * self.t[(k, j)]).sum();
            z[j] = -sum / self.denominator(j, i);
            limit(&mut z, j);
        }
        (&self.q * z.map(|z| z.conj())).normalize()
    }
}

/// Rescales a vector whose element `latest` has grown huge, long before it overflows.
fn limit(vector: &mut DVector<Complex<f64>>, latest: usize) {
    let size = vector[latest].norm();
    if size > 1e100 {
        vector.apply(|v| *v /= size);
    }
}

/// Makes the element with the largest modulus real and positive, and a real mode real.
fn fix_phase(vector: &mut DVector<Complex<f64>>, real: bool) {
    let largest = vector.iter().map(|v| v.norm()).fold(0.0, f64::max);
    let Some(leading) = vector
        .iter()
        .find(|v| v.norm() >= (1.0 - 1e-9) * largest)
        .copied()
    else {
        return;
    };
    let phase = leading.conj() / leading.norm();
    vector.apply(|v| *v *= phase);
    if real {
        vector.apply(|v| v.im = 0.0);
        vector.normalize_mut();
    }
}

/// The condition number in the 2-norm, infinite where the singular values do not converge.
fn condition(matrix: &DMatrix<Complex<f64>>) -> f64 {
    let budget = SVD_ITERATIONS * matrix.nrows();
    // Unordered, because nalgebra's order panics on a NaN.
    let svd = SVD::try_new_unordered(matrix.clone(), false, false, f64::EPSILON, budget);
    let Some(svd) = svd else {
        return f64::INFINITY;
    };
    let least = svd.singular_values.min();
    if least > 0.0 {
        svd.singular_values.max() / least
    } else {
        f64::INFINITY
    }
}
