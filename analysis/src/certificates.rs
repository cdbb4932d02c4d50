//! Proofs that a fixed point exists and is unique, by Krawczyk's test.

use nullcline_models::interval::{Interval, rounding, underflow};

use crate::dense::{Lu, dot, dot_moduli, identity_minus, infinity_norm, multiply};
use crate::{Dynamics, Enclosure, Error};

/// Radii that are tried around a candidate before existence counts as not to be had.
const EXISTENCE_TRIALS: usize = 6;
/// No ball is smaller, however exact the state: far above underflow, far below rounding.
const LEAST_RADIUS: f64 = 1e-290;
/// Enlargements and bisections in the search for the largest radius of uniqueness.
const UNIQUENESS_TRIALS: usize = 12;
/// A radius of uniqueness is large enough within this factor of one that fails.
const UNIQUENESS_PRECISION: f64 = 1.25;
/// The first radius of uniqueness tried, and the largest, in units of max(1, |x|_inf).
const UNIQUENESS_RANGE: [f64; 2] = [1e-6, 1e6];

/// What was proved of a fixed point. The radii are those of cubes, balls of the maximum norm, around the state that
/// was certified: the smaller holds the exact fixed point, the larger holds no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Certificate {
    /// There is a state x* = F(x*, u) with |x* - state|_inf <= `existence`.
    pub existence: f64,
    /// It is the only one with |x* - state|_inf <= `uniqueness`; at least `existence`.
    pub uniqueness: f64,
    /// sign det(I - J) at x*, which has no zero eigenvalue: 1 or -1. `None` where rounding leaves the sign open.
    pub index: Option<i8>,
}

/// Why a candidate is not certified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The map has no enclosure, so nothing can be proved of it.
    NoEnclosure,
    /// The state, the map or its Jacobian there is not finite.
    NotFinite,
    /// I - J is singular to working precision, as at a bifurcation or along a line of fixed points.
    Singular,
    /// In no ball around the state does Newton's operator contract into the ball: the residual is too large for the
    /// curvature, as at a slow point, or the Jacobian varies too much.
    NoContraction,
    /// A cycle of more steps times states than [`LARGEST_PROOF`](crate::cycles::LARGEST_PROOF): no proof was tried.
    TooLarge,
    /// Of a cycle: that it closes is proved, but not that it does so after no fewer steps.
    PeriodOpen,
}

impl Refusal {
    /// The name in tables: `no_enclosure`, `not_finite`, `singular`, `no_contraction`, `too_large`,
    /// `period_open`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoEnclosure => "no_enclosure",
            Self::NotFinite => "not_finite",
            Self::Singular => "singular",
            Self::NoContraction => "no_contraction",
            Self::TooLarge => "too_large",
            Self::PeriodOpen => "period_open",
        }
    }
}

/// Proves that a fixed point of x' = F(x, `input`) lies beside `state`, or says why it cannot.
///
/// Returns the radii of a ball in which the point exists and of one in which it is unique, and its index. A refusal
/// proves nothing: a point may be there all the same.
///
/// # Arguments
/// - `dynamics`: the map, with its [`enclosure`](Dynamics::enclosure).
/// - `state`: the candidate, `[state]`; Newton's method run to the end in f64 leaves a good one.
/// - `input`: the constant input, `[input]`, exact.
///
/// # Method
/// f(x) = x - F(x, u) has the approximate Jacobian A at the state, with the inverse Y in f64. Over the cube X of
/// radius r every slope of f lies in an interval matrix A(X), and Krawczyk's operator
/// K(X) = x - Y f(x) + (I - Y A(X)) (X - x) maps into the interior of X where for every row i
/// |Y f(x)|_i + r sum_j |I - Y A(X)|_ij < r. Then f has exactly one zero in X, and every matrix in A(X) is regular.
/// Uniqueness in a larger cube, given a point in the smaller, asks for row sums below 1 only: radii are enlarged and
/// bisected until that fails. The index is the sign of det Y, taken from the factors P A = L U; as
/// |P^T L U - A| <= gamma_n |L| |U|, it is proved where the row sums stay below 1 with that added.
///
/// All is computed in f64 rounded to nearest, with a bound of the rounding errors added: |fl(Y A) - Y A| <=
/// gamma_n |Y| |A|, of which only row sums are needed. So the one matrix product, I - Y A, is done once per state, and
/// each radius costs an interval Jacobian and products of matrix and vector.
///
/// # Errors
/// [`Error::Shape`] where `state` or `input` does not fit the map. That nothing could be proved is no error.
///
/// # Reference
/// R. Krawczyk, Newton-Algorithmen zur Bestimmung von Nullstellen mit Fehlerschranken, Computing 4 (1969) 187-201;
/// S. M. Rump, Verification methods: rigorous results using floating-point arithmetic, Acta Numerica 19 (2010)
/// 287-449, theorem 13.2; N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., theorem 9.3.
pub fn certify<D: Dynamics + ?Sized>(
    dynamics: &D,
    state: &[f64],
    input: &[f64],
) -> Result<Result<Certificate, Refusal>, Error> {
    Error::check_shape("state", dynamics.state_dim(), state.len())?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    Ok(prove(dynamics, state, input))
}

/// [`certify`], with the lengths of `state` and `input` as the map has them.
pub(crate) fn prove<D: Dynamics + ?Sized>(
    dynamics: &D,
    state: &[f64],
    input: &[f64],
) -> Result<Certificate, Refusal> {
    let enclosure = dynamics.enclosure().ok_or(Refusal::NoEnclosure)?;
    if !state.iter().chain(input).all(|v| v.is_finite()) {
        return Err(Refusal::NotFinite);
    }
    let dim = state.len();
    let mut matrix = vec![0.0; dim * dim];
    let mut next = vec![0.0; dim];
    dynamics.step_with_jacobian(state, input, &mut next, &mut matrix);
    if !identity_minus(&mut matrix, dim) {
        return Err(Refusal::NotFinite);
    }
    let mut test = Krawczyk::new(enclosure, state, input, matrix)?;
    let (existence, proved_in) = test.existence()?;
    let uniqueness = test.uniqueness(existence, proved_in);
    let index = test.index();
    Ok(Certificate {
        existence,
        uniqueness,
        index,
    })
}

/// Krawczyk's test around one state. Quantities per row are upper bounds, rounded up.
struct Krawczyk<'a> {
    enclosure: &'a dyn Enclosure,
    state: &'a [f64],
    input: &'a [f64],
    /// A, an approximation of I - J at the state. Any matrix would do.
    matrix: Vec<f64>,
    /// Y, an approximation of the inverse of A.
    inverse: Vec<f64>,
    lu: Lu,
    /// sum_j |I - Y A|_ij.
    defect: Vec<f64>,
    /// |Y f(x)|_i.
    correction: Vec<f64>,
    cube: Vec<Interval>,
    next: Vec<Interval>,
    midpoint: Vec<f64>,
    radius: Vec<f64>,
    deviation: Vec<f64>,
}

impl<'a> Krawczyk<'a> {
    fn new(
        enclosure: &'a dyn Enclosure,
        state: &'a [f64],
        input: &'a [f64],
        matrix: Vec<f64>,
    ) -> Result<Self, Refusal> {
        let dim = state.len();
        let mut lu = Lu::new(dim);
        if !lu.factor(&matrix) {
            return Err(Refusal::Singular);
        }
        let mut inverse = vec![0.0; dim * dim];
        lu.inverse(&mut inverse);
        if !inverse.iter().all(|v| v.is_finite()) {
            return Err(Refusal::Singular);
        }
        let mut test = Self {
            enclosure,
            state,
            input,
            matrix,
            inverse,
            lu,
            defect: vec![0.0; dim],
            correction: vec![0.0; dim],
            cube: state.iter().map(|&x| Interval::point(x)).collect(),
            next: vec![Interval::WHOLE; dim],
            midpoint: vec![0.0; dim * dim],
            radius: vec![0.0; dim * dim],
            deviation: vec![0.0; dim],
        };
        test.bound_defect();
        // Not below 1: neither are the row sums over any ball.
        let defect = infinity_norm(&test.defect);
        if defect.is_nan() || defect >= 1.0 {
            return Err(Refusal::Singular);
        }
        test.bound_correction();
        if !infinity_norm(&test.correction).is_finite() {
            return Err(Refusal::NotFinite);
        }
        Ok(test)
    }

    /// Takes the sum of at most n + 10 rounded terms, all of them positive, for an upper bound.
    fn upward(&self, sum: f64) -> f64 {
        let dim = self.state.len();
        sum * (1.0 + 2.0 * rounding(dim + 16)) + underflow(4 * dim)
    }

    fn bound_defect(&mut self) {
        let dim = self.state.len();
        let ones = vec![1.0; dim];
        let row_sums: Vec<f64> = rows(&self.matrix, dim)
            .map(|row| self.upward(dot_moduli(row, &ones)))
            .collect();
        // The workspace of the Jacobian is free here.
        multiply(&self.inverse, &self.matrix, dim, &mut self.midpoint);
        let gamma = rounding(dim + 2);
        for i in 0..dim {
            let mut sum = 0.0;
            for (j, product) in self.midpoint[i * dim..][..dim].iter().enumerate() {
                sum += if i == j {
                    (1.0 - product).abs()
                } else {
                    product.abs()
                };
            }
            let error = gamma * dot_moduli(&self.inverse[i * dim..][..dim], &row_sums);
            self.defect[i] = self.upward(self.upward(sum) + self.upward(error));
        }
    }

    fn bound_correction(&mut self) {
        let dim = self.state.len();
        self.enclosure
            .enclose_step(&self.cube, self.input, &mut self.next);
        let residual: Vec<Interval> = self
            .cube
            .iter()
            .zip(&self.next)
            .map(|(x, next)| *x - *next)
            .collect();
        let gamma = rounding(dim + 2);
        let (middle, slack): (Vec<f64>, Vec<f64>) = residual
            .iter()
            .map(|f| {
                let (middle, radius) = f.midpoint_radius();
                (middle, radius + gamma * middle.abs())
            })
            .unzip();
        for i in 0..dim {
            let row = &self.inverse[i * dim..][..dim];
            let sum = dot(row, &middle).abs() + self.upward(dot_moduli(row, &slack));
            self.correction[i] = self.upward(sum);
        }
    }

    /// The largest row sum of |I - Y A(X)| over the cube of this radius; NaN or infinite where there is none.
    fn contraction(&mut self, radius: f64) -> f64 {
        let dim = self.state.len();
        for (cube, x) in self.cube.iter_mut().zip(self.state) {
            *cube = Interval::around(*x, radius);
        }
        self.enclosure.enclose_jacobian(
            &self.cube,
            self.input,
            &mut self.next,
            &mut self.midpoint,
            &mut self.radius,
        );
        // sum_j |A(X) - A|_ij, where A(X) is within the radii of I - midpoint.
        identity_minus(&mut self.midpoint, dim);
        for i in 0..dim {
            let entries = i * dim..(i + 1) * dim;
            let (middle, slack) = (
                &self.midpoint[entries.clone()],
                &self.radius[entries.clone()],
            );
            // The difference from 1 on the diagonal is rounded.
            let mut sum = f64::EPSILON * middle[i].abs();
            for ((middle, slack), a) in middle.iter().zip(slack).zip(&self.matrix[entries]) {
                sum += (middle - a).abs() + slack;
            }
            self.deviation[i] = self.upward(sum);
        }
        let mut largest = 0.0_f64;
        for i in 0..dim {
            let row = &self.inverse[i * dim..][..dim];
            let sum = self.defect[i] + self.upward(dot_moduli(row, &self.deviation));
            let sum = self.upward(sum);
            if sum.is_nan() {
                return sum;
            }
            largest = largest.max(sum);
        }
        largest
    }

    /// A radius within which the fixed point exists, and that of the larger ball over which this was proved.
    fn existence(&mut self) -> Result<(f64, f64), Refusal> {
        let correction = infinity_norm(&self.correction).max(LEAST_RADIUS);
        let mut radius = 2.0 * correction;
        for _ in 0..EXISTENCE_TRIALS {
            let contraction = self.contraction(radius);
            // Larger balls contract less.
            if contraction.is_nan() || contraction >= 1.0 {
                break;
            }
            let maps_into = |r: f64| self.upward(correction + contraction * r) < r;
            if maps_into(radius) {
                // Over a smaller ball the row sums are no larger.
                let least = 1.001 * correction / (1.0 - contraction);
                let existence = if least < radius && maps_into(least) {
                    least
                } else {
                    radius
                };
                return Ok((existence, radius));
            }
            radius = (2.0 * radius).max(1.5 * correction / (1.0 - contraction));
        }
        Err(Refusal::NoContraction)
    }

    /// The largest radius found within which the slopes stay regular; `proved` is one.
    fn uniqueness(&mut self, existence: f64, proved: f64) -> f64 {
        let scale = infinity_norm(self.state).max(1.0);
        let [first, last] = UNIQUENESS_RANGE.map(|r| r * scale);
        let mut unique = proved.max(existence);
        let mut fails = f64::INFINITY;
        // Where the row sums were below 1 last, and what they were.
        let mut before = (0.0, infinity_norm(&self.defect));
        let mut radius = first.max(2.0 * unique);
        for _ in 0..UNIQUENESS_TRIALS {
            let contraction = self.contraction(radius);
            if contraction < 1.0 {
                unique = radius;
                // The slopes leave A about in proportion to the radius, until they saturate.
                let rise = (contraction - before.1) / (radius - before.0);
                let reach = radius + 0.9 * (1.0 - contraction) / rise.max(0.0);
                before = (radius, contraction);
                radius = reach.clamp(1.5 * radius, 1e4 * radius).min(last);
            } else {
                fails = radius;
                radius = 0.0;
            }
            if unique >= last || fails / unique < UNIQUENESS_PRECISION {
                break;
            }
            if radius == 0.0 || radius >= fails {
                radius = (unique * fails).sqrt();
            }
        }
        unique
    }

    /// sign det A(x) for every slope in the balls, which is that of det Y: see [`certify`].
    fn index(&self) -> Option<i8> {
        let dim = self.state.len();
        // |P^T L U - A| <= gamma_n |L| |U|; the permutation moves rows, so each may be as large as the largest.
        let error = infinity_norm(&self.lu.magnitude_row_sums());
        let error = self.upward(self.upward(rounding(dim + 2) * error));
        let errors = vec![error; dim];
        let regular = (0..dim).all(|i| {
            let row = &self.inverse[i * dim..][..dim];
            self.upward(self.defect[i] + self.upward(dot_moduli(row, &errors))) < 1.0
        });
        regular.then(|| self.lu.determinant_sign())
    }
}

fn rows(matrix: &[f64], dim: usize) -> impl Iterator<Item = &[f64]> {
    matrix.chunks_exact(dim)
}
