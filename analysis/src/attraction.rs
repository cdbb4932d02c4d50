//! Neighbourhoods of stable fixed points from which every trajectory is proved to come to them.

use nalgebra::{Cholesky, DMatrix, SVD};
use nullcline_models::interval::{Interval, rounding};

use crate::{Dynamics, Enclosure, Error};

/// Doublings in which the series for the norm must have come to its sum: spectral radii up to 1 - 1e-9 do.
const DOUBLINGS: usize = 40;
/// Radii that are tried.
const TRIALS: usize = 24;
/// A radius is large enough within this factor of one that fails.
const PRECISION: f64 = 1.1;
/// No ball reaches farther than so many times max(1, |x|_inf).
const FARTHEST: f64 = 1e6;
/// How far rounding may be off, relatively, in a largest singular value and in a norm of a difference of states.
const SLACK: f64 = 1e-9;
/// Singular-value iterations per row before the proof is given up.
const SVD_ITERATIONS: usize = 100;

/// An ellipsoid |T (x - state)|_2 <= radius around a stable fixed point that the map contracts towards the point.
#[derive(Clone, Debug, PartialEq)]
pub struct AttractingBall {
    /// Its middle, `[state]`, a fixed point up to rounding.
    pub state: Vec<f64>,
    /// The radius, in the norm |T x|_2.
    pub radius: f64,
    /// In that norm the distance to the fixed point shrinks by this factor or less in every step; below 1.
    pub contraction: f64,
    /// T, row-major, upper triangular.
    transform: Vec<f64>,
    /// Half the widths of a box that holds the ellipsoid, `[state]`.
    half_widths: Vec<f64>,
}

impl AttractingBall {
    /// Whether a state lies in it, so that the trajectory from there converges to the fixed point.
    pub fn contains(&self, state: &[f64]) -> bool {
        let mut offset = state.iter().zip(&self.state).zip(&self.half_widths);
        // Most states are far away, and then the first element mostly says so.
        if !offset.all(|((x, s), w)| (x - s).abs() <= *w) {
            return false;
        }
        self.distance(state) <= self.radius
    }

    /// |T (x - state)|_2 of a state x, the distance that shrinks.
    pub fn distance(&self, state: &[f64]) -> f64 {
        let dim = self.state.len();
        let mut sum = 0.0;
        for i in 0..dim {
            let row = &self.transform[i * dim + i..(i + 1) * dim];
            let offsets = state[i..].iter().zip(&self.state[i..]);
            let along: f64 = row.iter().zip(offsets).map(|(t, (x, s))| t * (x - s)).sum();
            sum += along * along;
        }
        sum.sqrt()
    }

    /// Half the widths of the smallest box that holds it, `[state]`.
    pub fn half_widths(&self) -> &[f64] {
        &self.half_widths
    }
}

/// A neighbourhood of a stable fixed point of x' = F(x, `input`) from which every trajectory is proved to converge to it.
///
/// Returns `None` where none was found: the map has no [`enclosure`](Dynamics::enclosure), the point is not stable, or so
/// weakly that rounding decides. That proves nothing of the point.
///
/// # Arguments
/// - `dynamics`: the map, with its enclosure.
/// - `state`: the fixed point, `[state]`.
/// - `input`: the constant input, `[input]`.
/// - `existence`: the exact fixed point lies this near to `state`, in the maximum norm; see
///   [`certify`](crate::certificates::certify).
///
/// # Method
/// P = sum_k (J^k)^T J^k solves Lyapunov's equation P - J^T P J = I, and with P = T^T T the Jacobian J = dF/dx at the
/// point contracts in the norm |T x|_2. Over a box around the ellipsoid of a radius, every slope A of the map,
/// F(x) - F(y) = A (x - y), is enclosed in interval arithmetic, |A - J| <= E element by element, and
///
/// ```text
/// |T A T^-1|_2 <= |T J T^-1|_2 + | |T| E |T^-1| |_F
/// ```
///
/// Where that is below 1, a state of the ellipsoid comes nearer to the point by this factor in every step. The radius is
/// enlarged and bisected until it fails. Bounds of the rounding errors of the matrix products are added.
///
/// # Errors
/// [`Error::Shape`] where `state` or `input` does not fit the map.
///
/// # Reference
/// J. P. LaSalle, The Stability and Control of Discrete Processes, Springer 1986, chapter 1; S. M. Rump, Acta Numerica 19
/// (2010) 287-449, for enclosures of slopes.
pub fn attracting_ball<D: Dynamics + ?Sized>(
    dynamics: &D,
    state: &[f64],
    input: &[f64],
    existence: f64,
) -> Result<Option<AttractingBall>, Error> {
    let dim = dynamics.state_dim();
    Error::check_shape("state", dim, state.len())?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    let Some(enclosure) = dynamics.enclosure() else {
        return Ok(None);
    };
    let mut jacobian = vec![0.0; dim * dim];
    let mut next = vec![0.0; dim];
    dynamics.step_with_jacobian(state, input, &mut next, &mut jacobian);
    let jacobian = DMatrix::from_row_slice(dim, dim, &jacobian);
    Ok(Norm::of(&jacobian)
        .and_then(|norm| norm.largest_ball(enclosure, state, input, &jacobian, existence)))
}

/// The norm |T x|_2 in which a matrix contracts.
struct Norm {
    /// T.
    transform: DMatrix<f64>,
    /// Y, about T^-1.
    inverse: DMatrix<f64>,
    /// Bound of |T J Y|_2 with all of its rounding errors.
    contraction: f64,
    /// Bound of |T Y - I|_2.
    defect: f64,
}

impl Norm {
    /// `None` where the spectral radius is not below 1, or too near to it.
    fn of(jacobian: &DMatrix<f64>) -> Option<Self> {
        let dim = jacobian.nrows();
        let (mut sum, mut power) = (DMatrix::identity(dim, dim), jacobian.clone());
        // The first 2^k terms give the next 2^k: P + (J^n)^T P J^n, n = 2^k.
        for doubling in 0.. {
            let more = power.transpose() * &sum * &power;
            let settled = more.norm() <= f64::EPSILON * sum.norm();
            sum += more;
            if settled {
                break;
            }
            power = &power * &power;
            if doubling == DOUBLINGS || !power.iter().all(|x| x.abs() < 1e150) {
                return None;
            }
        }
        let transform = Cholesky::new((&sum + sum.transpose()) / 2.0)?
            .l()
            .transpose();
        let inverse = transform.solve_upper_triangular(&DMatrix::identity(dim, dim))?;
        let product = &transform * jacobian * &inverse;
        let svd = SVD::try_new(product, false, false, f64::EPSILON, SVD_ITERATIONS * dim)?;
        let gamma = rounding(2 * dim + 4);
        let moduli = transform.abs() * jacobian.abs() * inverse.abs();
        let of_inverse = transform.abs() * inverse.abs();
        let defect = (&transform * &inverse - DMatrix::identity(dim, dim)).norm();
        Some(Self {
            contraction: svd.singular_values.max() * (1.0 + SLACK) + 2.0 * gamma * moduli.norm(),
            defect: defect + 2.0 * gamma * of_inverse.norm(),
            transform,
            inverse,
        })
    }

    /// A bound of |T A T^-1|_2 over all slopes A in the box of these half widths; NaN or infinite where there is none.
    fn contraction_over(
        &self,
        enclosure: &dyn Enclosure,
        state: &[f64],
        input: &[f64],
        jacobian: &DMatrix<f64>,
        half_widths: &[f64],
    ) -> f64 {
        let dim = state.len();
        let cube: Vec<Interval> = state
            .iter()
            .zip(half_widths)
            .map(|(x, r)| Interval::around(*x, *r))
            .collect();
        let mut next = vec![Interval::WHOLE; dim];
        let (mut midpoint, mut radius) = (vec![0.0; dim * dim], vec![0.0; dim * dim]);
        enclosure.enclose_jacobian(&cube, input, &mut next, &mut midpoint, &mut radius);
        let deviation = DMatrix::from_fn(dim, dim, |i, j| {
            let at = i * dim + j;
            ((midpoint[at] - jacobian[(i, j)]).abs() + radius[at]) * (1.0 + 4.0 * f64::EPSILON)
        });
        let part = (self.transform.abs() * deviation * self.inverse.abs()).norm();
        // T^-1 = Y (T Y)^-1.
        (self.contraction + part * (1.0 + SLACK)) / (1.0 - self.defect)
    }

    fn largest_ball(
        &self,
        enclosure: &dyn Enclosure,
        state: &[f64],
        input: &[f64],
        jacobian: &DMatrix<f64>,
        existence: f64,
    ) -> Option<AttractingBall> {
        let dim = state.len();
        if self.defect.is_nan() || self.defect >= 0.5 {
            return None;
        }
        // |x_i| <= |row i of T^-1| |T x|
        let reach: Vec<f64> = self
            .inverse
            .row_iter()
            .map(|row| row.norm() * (1.0 + SLACK) / (1.0 - self.defect))
            .collect();
        let longest = reach.iter().copied().fold(0.0, f64::max);
        let scale = state.iter().fold(1.0_f64, |scale, x| scale.max(x.abs()));
        let widths = |radius: f64| reach.iter().map(|r| radius * r).collect::<Vec<_>>();
        let contraction =
            |radius: f64| self.contraction_over(enclosure, state, input, jacobian, &widths(radius));
        let largest = FARTHEST * scale / longest;
        let (mut proved, mut fails) = (None::<(f64, f64)>, f64::INFINITY);
        let mut radius = scale / longest;
        for _ in 0..TRIALS {
            let factor = contraction(radius);
            if factor < 1.0 {
                proved = Some((radius, factor));
            } else {
                fails = radius;
            }
            let holds = proved.map_or(0.0, |proved| proved.0);
            if holds >= largest || fails <= PRECISION * holds {
                break;
            }
            radius = if fails.is_infinite() {
                (4.0 * holds).min(largest)
            } else if holds == 0.0 {
                fails / 8.0
            } else {
                (holds * fails).sqrt()
            };
        }
        let (radius, contraction) = proved?;
        // What contracts is the distance to the exact point: an ellipsoid about it must lie in that about the state.
        let offset = self.transform.norm() * (dim as f64).sqrt() * existence;
        let inner = radius * (1.0 - SLACK) - 2.0 * offset;
        (inner > 0.0).then(|| AttractingBall {
            state: state.to_vec(),
            radius: inner,
            contraction,
            transform: self.transform.transpose().as_slice().to_vec(),
            half_widths: widths(radius),
        })
    }
}
