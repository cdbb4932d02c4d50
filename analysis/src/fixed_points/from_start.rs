//! The search from one start: damped Newton, Levenberg-Marquardt where it fails, and a polish.

use super::FixedPointSettings;
use crate::Dynamics;
use crate::dense::{
    Lu, cholesky, cholesky_solve, dot, infinity_norm, lower_gram, multiply_transposed,
};

/// Halvings of a Newton step before it counts as failed.
const MAX_HALVINGS: usize = 6;
/// The fraction of the decrease promised by the linear model that a Newton step must bring.
const ARMIJO: f64 = 1e-4;
/// Residual, relative to max(1, |x|_inf), below which the factors at hand serve further steps.
const POLISH_FROM: f64 = 1e-6;
/// Residual, relative to max(1, |x|_inf), below which the end of Levenberg-Marquardt is polished.
const POLISH_AFTER_DESCENT: f64 = 1e-3;
const MAX_POLISH_STEPS: usize = 30;
/// A residual of this many eps max(1, |x|_inf) is as small as the rounding of F lets it be.
const ROUNDING_ERRORS: f64 = 16.0;
/// Levenberg-Marquardt stops where the slope |A^T f| / |f| falls below this.
const SLOPE_GOAL: f64 = 1e-10;
/// A slope up to this is a local minimum of the speed: near one the speed is flat, and rounding
/// hides its slope below about the square root of the machine precision.
const SLOPE_LIMIT: f64 = 1e-5;

/// How the search from one start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// At a fixed point.
    Converged,
    /// At a local minimum of the speed.
    Stationary,
    /// Anywhere else, with the iterations used up.
    Exhausted,
    /// The map or its Jacobian is not finite at the start.
    NotFinite,
}

/// Where the search from one start ended.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) state: Vec<f64>,
    pub(super) speed: f64,
    pub(super) residual: f64,
    pub(super) outcome: Outcome,
    pub(super) iterations: usize,
    /// How far from here the fixed point may be for all that f64 can tell, in the infinity norm:
    /// the last Newton correction, and a rounding error of F taken through (I - J)^-1.
    pub(super) uncertainty: f64,
}

/// A point with its residual f = x - F(x, u) and the derivative of that, A = I - J, row-major.
struct Point {
    x: Vec<f64>,
    f: Vec<f64>,
    a: Vec<f64>,
}

impl Point {
    fn residual(&self) -> f64 {
        infinity_norm(&self.f)
    }

    /// max(1, |x|_inf), the scale against which residuals and distances are measured.
    fn scale(&self) -> f64 {
        infinity_norm(&self.x).max(1.0)
    }

    fn speed(&self) -> f64 {
        0.5 * dot(&self.f, &self.f)
    }
}

/// The searcher and its workspace: nothing is allocated within a search but the answer.
pub(super) struct Searcher<'a, D: ?Sized> {
    dynamics: &'a D,
    input: &'a [f64],
    settings: &'a FixedPointSettings,
    point: Point,
    trial_x: Vec<f64>,
    trial_f: Vec<f64>,
    step: Vec<f64>,
    gradient: Vec<f64>,
    gram: Vec<f64>,
    factor: Vec<f64>,
    lu: Lu,
    /// Whether `lu` holds the factors of A at the point or near it.
    factored: bool,
}

impl<'a, D: Dynamics + ?Sized> Searcher<'a, D> {
    pub(super) fn new(dynamics: &'a D, input: &'a [f64], settings: &'a FixedPointSettings) -> Self {
        let dim = dynamics.state_dim();
        Self {
            dynamics,
            input,
            settings,
            point: Point {
                x: vec![0.0; dim],
                f: vec![0.0; dim],
                a: vec![0.0; dim * dim],
            },
            trial_x: vec![0.0; dim],
            trial_f: vec![0.0; dim],
            step: vec![0.0; dim],
            gradient: vec![0.0; dim],
            gram: vec![0.0; dim * dim],
            factor: vec![0.0; dim * dim],
            lu: Lu::new(dim),
            factored: false,
        }
    }

    pub(super) fn search(&mut self, start: impl Iterator<Item = f64>) -> Candidate {
        for (x, start) in self.point.x.iter_mut().zip(start) {
            *x = start;
        }
        let mut iterations = 0;
        if !infinity_norm(&self.point.x).is_finite() || !self.linearise() {
            return self.candidate(Outcome::NotFinite, iterations, f64::INFINITY);
        }
        self.factored = false;
        if self.newton(&mut iterations) {
            if let Some(uncertainty) = self.polish() {
                return self.candidate(Outcome::Converged, iterations, uncertainty);
            }
            self.linearise();
        }
        let outcome = self.levenberg_marquardt(&mut iterations);
        self.factored = false;
        if self.point.residual() <= POLISH_AFTER_DESCENT * self.point.scale() {
            let x = self.point.x.clone();
            if let Some(uncertainty) = self.polish() {
                return self.candidate(Outcome::Converged, iterations, uncertainty);
            }
            // No fixed point here: back to the minimum, which the polish may have left.
            self.point.x = x;
            self.linearise();
        }
        self.candidate(outcome, iterations, f64::INFINITY)
    }

    fn candidate(&self, outcome: Outcome, iterations: usize, uncertainty: f64) -> Candidate {
        let finite = outcome != Outcome::NotFinite;
        Candidate {
            state: self.point.x.clone(),
            speed: if finite { self.point.speed() } else { f64::NAN },
            residual: if finite {
                self.point.residual()
            } else {
                f64::NAN
            },
            outcome,
            iterations,
            uncertainty,
        }
    }

    /// Damped Newton on f(x) = 0: solves A d = -f and takes x + t d with the first
    /// t = 1, 1/2, 1/4, ... that lowers |f|^2 enough. True where the residual has become small
    /// enough for the polish, false where the method fails or runs out of iterations.
    fn newton(&mut self, iterations: &mut usize) -> bool {
        for _ in 0..self.settings.max_newton_iterations {
            if self.point.residual() <= POLISH_FROM * self.point.scale() {
                return true;
            }
            *iterations += 1;
            if !self.newton_step() {
                return false;
            }
            // A nearly singular A sends the step far away, where the model means nothing.
            let length = dot(&self.step, &self.step).sqrt();
            let longest = dot(&self.point.x, &self.point.x).sqrt().max(1.0);
            let mut t = if length > longest {
                longest / length
            } else {
                1.0
            };
            let squared = dot(&self.point.f, &self.point.f);
            let mut halvings = 0;
            loop {
                self.try_step(t);
                let trial = dot(&self.trial_f, &self.trial_f);
                // d|f|^2 / dt = -2 |f|^2 along the Newton direction
                if trial <= (1.0 - 2.0 * ARMIJO * t) * squared && self.accept() {
                    break;
                }
                if halvings == MAX_HALVINGS {
                    return false;
                }
                halvings += 1;
                t *= 0.5;
            }
        }
        self.point.residual() <= POLISH_FROM * self.point.scale()
    }

    /// Newton steps until the residual stops falling, with factors kept for as long as they serve.
    /// Returns the uncertainty of the point where it is fixed, `None` elsewhere: also where the
    /// residual is small only because the state hardly moves there (a gate that has saturated far
    /// out), and the fixed point that Newton's method sees lies far off. A is left behind at an
    /// earlier point.
    fn polish(&mut self) -> Option<f64> {
        // Newton's last factors come from one step ago: so near that they hardly differ.
        let mut fresh = false;
        if !self.factored {
            fresh = true;
            self.factored = self.lu.factor(&self.point.a);
        }
        for _ in 0..MAX_POLISH_STEPS {
            let before = self.point.residual();
            if before == 0.0 || !self.factored {
                break;
            }
            self.solve_newton();
            self.try_step(1.0);
            let after = infinity_norm(&self.trial_f);
            let fell = after < before;
            if fell {
                self.point.x.copy_from_slice(&self.trial_x);
                self.point.f.copy_from_slice(&self.trial_f);
            }
            let at_rounding = before <= 4.0 * f64::EPSILON * self.point.scale();
            if !fell && (fresh || at_rounding) {
                break;
            }
            if after > 0.25 * before {
                fresh = true;
                self.factored = self.linearise() && self.lu.factor(&self.point.a);
            } else {
                fresh = false;
            }
        }
        if !self.is_fixed() {
            return None;
        }
        let exact = self.is_exact();
        if !self.factored {
            return exact.then_some(f64::INFINITY);
        }
        self.solve_newton();
        let correction = infinity_norm(&self.step);
        if !exact && correction > self.settings.merge_tolerance * self.point.scale() {
            return None;
        }
        let inverse = self
            .lu
            .inverse_infinity_norm(&mut self.trial_x, &mut self.trial_f);
        Some(correction + f64::EPSILON * self.point.scale() * inverse)
    }

    /// Whether the residual is as small as the rounding of F lets it be.
    fn is_exact(&self) -> bool {
        self.point.residual() <= ROUNDING_ERRORS * f64::EPSILON * self.point.scale()
    }

    /// Whether the residual is within the tolerance, or what rounding leaves of it.
    fn is_fixed(&self) -> bool {
        self.point.residual() <= self.settings.tolerance || self.is_exact()
    }

    /// Levenberg-Marquardt on q = 1/2 |f|^2: solves (A^T A + mu I) d = -A^T f, with mu governed by
    /// how well the model foretold the decrease (H. B. Nielsen, IMM-REP-1999-05).
    fn levenberg_marquardt(&mut self, iterations: &mut usize) -> Outcome {
        let dim = self.point.x.len();
        let mut speed = self.point.speed();
        self.normal_equations();
        let mut mu = 1e-3 * self.largest_diagonal();
        let mut growth = 2.0;
        for _ in 0..self.settings.max_levenberg_marquardt_iterations {
            if self.is_exact() || self.slope() <= SLOPE_GOAL {
                break;
            }
            *iterations += 1;
            self.factor.copy_from_slice(&self.gram);
            for i in 0..dim {
                self.factor[i * dim + i] += mu;
            }
            let mut accepted = false;
            if cholesky(&mut self.factor, dim) {
                for (step, gradient) in self.step.iter_mut().zip(&self.gradient) {
                    *step = -gradient;
                }
                cholesky_solve(&self.factor, &mut self.step);
                if infinity_norm(&self.step) <= f64::EPSILON * self.point.scale() {
                    break;
                }
                // model(0) - model(d) = 1/2 d^T (mu d - A^T f)
                let foretold =
                    0.5 * (mu * dot(&self.step, &self.step) - dot(&self.step, &self.gradient));
                self.try_step(1.0);
                let trial = 0.5 * dot(&self.trial_f, &self.trial_f);
                let gain = (speed - trial) / foretold;
                if gain > 0.0 && self.accept() {
                    accepted = true;
                    speed = trial;
                    self.normal_equations();
                    mu *= (1.0 - (2.0 * gain - 1.0).powi(3)).max(1.0 / 3.0);
                    growth = 2.0;
                }
            }
            if !accepted {
                mu = mu.max(f64::EPSILON * self.largest_diagonal()) * growth;
                growth *= 2.0;
                if !mu.is_finite() {
                    break;
                }
            }
        }
        if self.slope() <= SLOPE_LIMIT {
            Outcome::Stationary
        } else {
            Outcome::Exhausted
        }
    }

    /// A^T A and A^T f at the point.
    fn normal_equations(&mut self) {
        lower_gram(&self.point.a, self.point.x.len(), &mut self.gram);
        multiply_transposed(&self.point.a, &self.point.f, &mut self.gradient);
    }

    fn largest_diagonal(&self) -> f64 {
        let diagonal = self.gram.iter().step_by(self.point.x.len() + 1);
        diagonal.fold(f64::MIN_POSITIVE, |largest, &v| largest.max(v))
    }

    /// |A^T f| / |f|, by which fraction |f| changes per unit of distance, at most.
    fn slope(&self) -> f64 {
        let gradient = dot(&self.gradient, &self.gradient).sqrt();
        let f = dot(&self.point.f, &self.point.f).sqrt();
        if gradient == 0.0 { 0.0 } else { gradient / f }
    }

    /// `step` = -A^-1 f with new factors. False where A is singular or the step not finite.
    fn newton_step(&mut self) -> bool {
        self.factored = self.lu.factor(&self.point.a);
        self.factored && {
            self.solve_newton();
            infinity_norm(&self.step).is_finite()
        }
    }

    /// `step` = -A^-1 f with the factors at hand.
    fn solve_newton(&mut self) {
        for (step, f) in self.step.iter_mut().zip(&self.point.f) {
            *step = -f;
        }
        self.lu.solve(&mut self.step);
    }

    /// `trial_x` = x + t `step`, and its residual `trial_f`.
    fn try_step(&mut self, t: f64) {
        for ((trial, x), step) in self.trial_x.iter_mut().zip(&self.point.x).zip(&self.step) {
            *trial = x + t * step;
        }
        self.dynamics
            .step(&self.trial_x, self.input, &mut self.trial_f);
        for (f, x) in self.trial_f.iter_mut().zip(&self.trial_x) {
            *f = x - *f;
        }
    }

    /// Moves to `trial_x` and linearises there. Stays, and returns false, where that is not finite.
    fn accept(&mut self) -> bool {
        std::mem::swap(&mut self.point.x, &mut self.trial_x);
        if self.linearise() {
            return true;
        }
        std::mem::swap(&mut self.point.x, &mut self.trial_x);
        self.linearise();
        false
    }

    /// f and A at x. False where they are not finite.
    fn linearise(&mut self) -> bool {
        let Point { x, f, a } = &mut self.point;
        self.dynamics.step_with_jacobian(x, self.input, f, a);
        for (f, x) in f.iter_mut().zip(x.iter()) {
            *f = x - *f;
        }
        for v in a.iter_mut() {
            *v = -*v;
        }
        for v in a.iter_mut().step_by(x.len() + 1) {
            *v += 1.0;
        }
        // A sum is finite only if its terms are; a finite overflow is no less unusable.
        f.iter().sum::<f64>().is_finite() && dot(a, a).is_finite()
    }
}
