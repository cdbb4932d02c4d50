//! The search from one start: damped Newton, Levenberg-Marquardt where it fails, and a polish. It pauses after each
//! Newton step, so that a start which has come near a point that another has found, and that was proved, can stop.

use super::FixedPointSettings;
use crate::Dynamics;
use crate::certificates::Refusal;
use crate::dense::{
    Lu, cholesky, cholesky_solve, dot, identity_minus, infinity_norm, lower_gram,
    multiply_transposed,
};

/// Halvings of a Newton step before it counts as failed.
const MAX_HALVINGS: usize = 6;
/// The fraction of the decrease promised by the linear model that a Newton step must bring.
const ARMIJO: f64 = 1e-4;
/// Residual, relative to max(1, |x|_inf), below which the factors at hand serve further steps.
const POLISH_FROM: f64 = 1e-4;
/// Residual, relative to max(1, |x|_inf), below which the end of Levenberg-Marquardt is polished.
const POLISH_AFTER_DESCENT: f64 = 1e-3;
const MAX_POLISH_STEPS: usize = 30;
/// A residual of this many eps max(1, |x|_inf) is as small as the rounding of F lets it be.
const ROUNDING_ERRORS: f64 = 16.0;
/// Newton steps that lower |f|^2 by less than half, after which Newton's method counts as stalled: it does so where the
/// speed has a minimum that is no fixed point, and goes on for dozens of steps.
const MAX_POOR_STEPS: usize = 2;
/// Levenberg-Marquardt stops where the slope |A^T f| / |f| falls below this: the steps are governed by the speed, which
/// no longer shows differences at the square root of the machine precision.
const SLOPE_GOAL: f64 = 1e-7;
/// A Levenberg-Marquardt step up to this, relative to max(1, |x|_inf), hardly changes A.
const SHORT_STEP: f64 = 0.05;
/// A slope up to this is a local minimum of the speed: near one the speed is flat, and rounding
/// hides its slope below about the square root of the machine precision.
const SLOPE_LIMIT: f64 = 1e-5;

/// The largest residual of a fixed point: the tolerance, or what rounding leaves where that is more.
pub(super) fn allowed_residual(state: &[f64], tolerance: f64) -> f64 {
    tolerance.max(ROUNDING_ERRORS * f64::EPSILON * infinity_norm(state).max(1.0))
}

/// Where the search from one start stands, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    /// Newton's method goes on.
    Running,
    /// Newton's method has failed.
    Stalled,
    /// In the ball of uniqueness of the proved fixed point at this place in the list.
    Joined(usize),
    /// At a fixed point.
    Converged,
    /// At a local minimum of the speed.
    Stationary,
    /// Anywhere else, with the iterations used up.
    Exhausted,
    /// The map or its Jacobian is not finite at the start.
    NotFinite,
}

/// The search from one start.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) state: Vec<f64>,
    pub(super) speed: f64,
    pub(super) residual: f64,
    /// The speed at the start itself.
    pub(super) start_speed: f64,
    pub(super) outcome: Outcome,
    pub(super) iterations: usize,
    /// Newton steps that brought little.
    poor: usize,
    /// How far from here the fixed point may be for all that f64 can tell, in the infinity norm:
    /// the last Newton correction, and a rounding error of F taken through (I - J)^-1.
    pub(super) uncertainty: f64,
    /// Why no proof was had of what it converged to.
    pub(super) refusal: Option<Refusal>,
}

impl Candidate {
    pub(super) fn new(start: Vec<f64>) -> Self {
        Self {
            state: start,
            speed: f64::NAN,
            residual: f64::NAN,
            start_speed: f64::NAN,
            outcome: Outcome::Running,
            iterations: 0,
            poor: 0,
            uncertainty: f64::INFINITY,
            refusal: None,
        }
    }
}

/// A proved fixed point and the ball in which it is the only one.
#[derive(Clone, Debug)]
pub(super) struct Ball {
    pub(super) centre: Vec<f64>,
    pub(super) radius: f64,
}

/// The place of the ball that holds `state`, the first where several do.
pub(super) fn ball_around(balls: &[Ball], state: &[f64]) -> Option<usize> {
    balls.iter().position(|ball| {
        let pairs = state.iter().zip(&ball.centre);
        pairs.clone().all(|(x, c)| (x - c).abs() <= ball.radius)
    })
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

    /// One Newton step from where the candidate stands, and the polish where it has arrived.
    ///
    /// Solves A d = -f and takes x + t d with the first t = 1, 1/2, 1/4, ... that lowers |f|^2 enough.
    pub(super) fn newton(&mut self, candidate: &mut Candidate, balls: &[Ball]) {
        let first = candidate.iterations == 0;
        if let Some(ball) = ball_around(balls, &candidate.state) {
            candidate.outcome = Outcome::Joined(ball);
            return;
        }
        if !self.start(&candidate.state) {
            // Beyond the start the step is finite, as its residual was seen to fall.
            candidate.outcome = if first {
                Outcome::NotFinite
            } else {
                Outcome::Exhausted
            };
            return;
        }
        if first {
            candidate.start_speed = self.point.speed();
            if self.has_arrived() {
                self.settle(candidate);
                return;
            }
        }
        if candidate.iterations >= self.settings.max_newton_iterations {
            candidate.outcome = Outcome::Stalled;
            return;
        }
        candidate.iterations += 1;
        candidate.outcome = Outcome::Stalled;
        if !self.newton_step() {
            return;
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
        for _ in 0..=MAX_HALVINGS {
            self.try_step(t);
            let trial = dot(&self.trial_f, &self.trial_f);
            // d|f|^2 / dt = -2 |f|^2 along the Newton direction
            if trial <= (1.0 - 2.0 * ARMIJO * t) * squared {
                std::mem::swap(&mut self.point.x, &mut self.trial_x);
                std::mem::swap(&mut self.point.f, &mut self.trial_f);
                candidate.state.copy_from_slice(&self.point.x);
                candidate.poor += usize::from(trial > 0.5 * squared);
                if self.has_arrived() {
                    match ball_around(balls, &candidate.state) {
                        Some(ball) => candidate.outcome = Outcome::Joined(ball),
                        None => self.settle(candidate),
                    }
                } else if candidate.poor < MAX_POOR_STEPS {
                    candidate.outcome = Outcome::Running;
                }
                return;
            }
            t *= 0.5;
        }
    }

    /// Levenberg-Marquardt for a candidate on which Newton's method has failed.
    pub(super) fn descend(&mut self, candidate: &mut Candidate, balls: &[Ball]) {
        if !self.start(&candidate.state) {
            candidate.outcome = Outcome::Exhausted;
            return;
        }
        let outcome = self.levenberg_marquardt(&mut candidate.iterations, balls);
        if !matches!(outcome, Outcome::Joined(_))
            && self.point.residual() <= POLISH_AFTER_DESCENT * self.point.scale()
        {
            let x = self.point.x.clone();
            self.settle(candidate);
            if candidate.outcome == Outcome::Converged {
                return;
            }
            // No fixed point here: back to the minimum, which the polish may have left.
            self.start(&x);
        }
        self.report(candidate, outcome, f64::INFINITY);
    }

    /// Linearises at a state; the factors of another are of no use there. False where that is not finite.
    fn start(&mut self, state: &[f64]) -> bool {
        self.point.x.copy_from_slice(state);
        self.factored = false;
        infinity_norm(state).is_finite() && self.linearise()
    }

    /// Whether the residual is small enough for the polish.
    fn has_arrived(&self) -> bool {
        self.point.residual() <= POLISH_FROM * self.point.scale()
    }

    /// Polishes the point: a fixed point, or stalled.
    fn settle(&mut self, candidate: &mut Candidate) {
        match self.polish() {
            Some(uncertainty) => self.report(candidate, Outcome::Converged, uncertainty),
            None => candidate.outcome = Outcome::Stalled,
        }
    }

    fn report(&self, candidate: &mut Candidate, outcome: Outcome, uncertainty: f64) {
        candidate.state.copy_from_slice(&self.point.x);
        candidate.speed = self.point.speed();
        candidate.residual = self.point.residual();
        candidate.outcome = outcome;
        candidate.uncertainty = uncertainty;
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
        self.point.residual() <= allowed_residual(&self.point.x, 0.0)
    }

    /// Whether the residual is within the tolerance, or what rounding leaves of it.
    fn is_fixed(&self) -> bool {
        self.point.residual() <= allowed_residual(&self.point.x, self.settings.tolerance)
    }

    /// Levenberg-Marquardt on q = 1/2 |f|^2: solves (A^T A + mu I) d = -A^T f, with mu governed by
    /// how well the model foretold the decrease (H. B. Nielsen, IMM-REP-1999-05).
    fn levenberg_marquardt(&mut self, iterations: &mut usize, balls: &[Ball]) -> Outcome {
        let dim = self.point.x.len();
        let mut speed = self.point.speed();
        self.normal_matrix();
        self.steepest_descent();
        let mut mu = 1e-3 * self.largest_diagonal();
        let mut growth = 2.0;
        // Near a minimum, where steps are short and the slope falls fast, old factors serve as well as new ones.
        let mut factored = false;
        for _ in 0..self.settings.max_levenberg_marquardt_iterations {
            let slope = self.slope();
            if self.is_exact() || slope <= SLOPE_GOAL {
                break;
            }
            *iterations += 1;
            let reused = factored;
            if !factored {
                self.factor.copy_from_slice(&self.gram);
                for i in 0..dim {
                    self.factor[i * dim + i] += mu;
                }
                factored = cholesky(&mut self.factor, dim);
            }
            let mut accepted = false;
            if factored {
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
                    if let Some(ball) = ball_around(balls, &self.point.x) {
                        return Outcome::Joined(ball);
                    }
                    self.steepest_descent();
                    factored = infinity_norm(&self.step) <= SHORT_STEP * self.point.scale()
                        && self.slope() <= 0.5 * slope;
                    if !factored {
                        self.normal_matrix();
                        mu *= (1.0 - (2.0 * gain - 1.0).powi(3)).max(1.0 / 3.0);
                        growth = 2.0;
                    }
                }
            }
            if !accepted && reused {
                self.normal_matrix();
                factored = false;
            } else if !accepted {
                factored = false;
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

    /// A^T A at the point.
    fn normal_matrix(&mut self) {
        lower_gram(&self.point.a, self.point.x.len(), &mut self.gram);
    }

    /// A^T f at the point, the gradient of the speed.
    fn steepest_descent(&mut self) {
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
        identity_minus(a, x.len()) && f.iter().sum::<f64>().is_finite()
    }
}
