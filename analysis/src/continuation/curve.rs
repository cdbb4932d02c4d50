//! The curve G(y) = F(x, p) - x = 0 of points y = (x, p): correcting, stepping, locating.

use nalgebra::{Complex, DMatrix, SVD};

use super::{BifurcationKind, ContinuationSettings, End, Family};
use crate::dense::{Lu, dot, infinity_norm};
use crate::linearization::eigenvalues;
use crate::{Error, Watch};

/// Newton steps of a correction.
const MAX_ITERATIONS: usize = 12;
/// A step that took no more than so many was easy.
const EASY: usize = 4;
/// The last Newton step is at most this fraction of max(1, |y|_inf); the next would be about its square.
const LAST_STEP: f64 = 1e-7;
/// Residuals of so many rounding errors cannot be improved.
const ROUNDING_ERRORS: f64 = 16.0;
/// Steps grow by this after easy ones.
const GROWTH: f64 = 1.5;
/// The shortest step, beyond which a branch counts as stalled.
const MIN_STEP: f64 = 1e-9;
/// The shortest step before a corner that turns the branch back.
const MIN_STEP_TO_CORNER: f64 = 1e-6;
/// A step beyond such a corner.
const STEP_BEYOND_CORNER: f64 = 1e-4;
/// Steps up to this fraction of the longest may turn the tangent of a piecewise smooth map by up to [`CORNER`].
const STEP_OVER_CORNER: f64 = 1.0 / 64.0;
/// Radians.
const CORNER: f64 = 1.2;
/// Bifurcations are located between two points so far apart.
const LOCATED: f64 = 1e-11;
/// Folds between two so far apart: the parameter there is exact to the square of this, and in a shorter piece rounding
/// would part the turn from the eigenvalue that passes 1.
const FOLD_LOCATED: f64 = 1e-7;
/// Halvings in which this must be reached; about forty are usual.
const HALVINGS: usize = 100;
/// In a piecewise smooth map, eigenvalues farther than this from where they should pass have jumped.
const JUMPED: f64 = 1e-6;

/// A point of the curve.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// x, then p in units of [`Curve::stretch`].
    y: Vec<f64>,
    /// Unit tangent.
    t: Vec<f64>,
    /// |x - F(x, p)|_inf.
    pub(super) residual: f64,
    eigenvalues: Vec<Complex<f64>>,
    /// Eigenvalues beyond the unit circle.
    pub(super) n_unstable: usize,
    /// Whether the number of real ones among them above 1 is odd.
    odd_above: bool,
    /// Whether that of those below -1 is odd.
    odd_below: bool,
}

impl Place {
    /// The same with the tangent the other way.
    pub(super) fn reversed(&self) -> Self {
        let mut reversed = self.clone();
        reversed.t.iter_mut().for_each(|t| *t = -*t);
        reversed
    }

    /// The largest |lambda|.
    pub(super) fn spectral_radius(&self) -> f64 {
        let moduli = self.eigenvalues.iter().map(|lambda| lambda.norm());
        moduli.fold(0.0, f64::max)
    }

    /// The eigenvalue nearest to the unit circle.
    pub(super) fn critical(&self) -> Complex<f64> {
        self.nearest(|lambda| (lambda.norm() - 1.0).abs())
    }

    /// The eigenvalue with the least `distance`, of a pair that with im > 0.
    fn nearest(&self, distance: impl Fn(Complex<f64>) -> f64) -> Complex<f64> {
        let upper = self.eigenvalues.iter().filter(|lambda| lambda.im >= 0.0);
        let nearest = upper.min_by(|a, b| distance(**a).total_cmp(&distance(**b)));
        nearest.copied().unwrap_or(Complex::from(f64::NAN))
    }

    fn parameter_tangent(&self) -> f64 {
        self.t[self.t.len() - 1]
    }
}

/// What happened between two places.
struct Change {
    turned: bool,
    through_one: bool,
    through_minus_one: bool,
}

impl Change {
    /// `None` where nothing did.
    fn between(a: &Place, b: &Place) -> Option<Self> {
        let change = Change {
            turned: (a.parameter_tangent() < 0.0) != (b.parameter_tangent() < 0.0),
            through_one: a.odd_above != b.odd_above,
            through_minus_one: a.odd_below != b.odd_below,
        };
        let any = change.turned || change.through_one || change.through_minus_one;
        (any || a.n_unstable != b.n_unstable).then_some(change)
    }
}

/// A bifurcation at a place.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) kind: BifurcationKind,
    pub(super) critical: Complex<f64>,
    /// Unstable eigenvalues before and after.
    pub(super) unstable: [usize; 2],
    pub(super) turns: bool,
    pub(super) bracket: f64,
}

/// A place in a list of them.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) event: Option<Event>,
    pub(super) is_start: bool,
}

impl Item {
    fn regular(place: Place) -> Self {
        Item {
            place,
            event: None,
            is_start: false,
        }
    }

    /// The same seen along the curve the other way.
    pub(super) fn reversed(self) -> Self {
        Item {
            place: self.place.reversed(),
            event: self.event.map(|mut event| {
                event.unstable.reverse();
                event
            }),
            is_start: self.is_start,
        }
    }
}

/// The curve, with scratch space.
pub(super) struct Curve<'a, F: ?Sized> {
    family: &'a F,
    settings: &'a ContinuationSettings,
    dim: usize,
    /// p = stretch q, so that plain lengths of (x, q) are those of the settings times sqrt(n).
    stretch: f64,
    /// sqrt(n).
    unit: f64,
    has_corners: bool,
    next: Vec<f64>,
    jacobian: Vec<f64>,
    by_parameter: Vec<f64>,
    matrix: Vec<f64>,
    lu: Lu,
}

impl<'a, F: Family + ?Sized> Curve<'a, F> {
    pub(super) fn new(family: &'a F, settings: &'a ContinuationSettings) -> Result<Self, Error> {
        settings.check()?;
        let dim = family.state_dim();
        if dim == 0 {
            return Err(Error::TooFew {
                what: "elements of the state",
                needed: 1,
                found: 0,
            });
        }
        let unit = (dim as f64).sqrt();
        Ok(Self {
            family,
            settings,
            dim,
            stretch: (settings.to - settings.from) / unit,
            unit,
            has_corners: family.is_piecewise_smooth(),
            next: vec![0.0; dim],
            jacobian: vec![0.0; dim * dim],
            by_parameter: vec![0.0; dim],
            matrix: vec![0.0; (dim + 1) * (dim + 1)],
            lu: Lu::new(dim + 1),
        })
    }

    pub(super) fn state_dim(&self) -> usize {
        self.dim
    }

    pub(super) fn state<'b>(&self, place: &'b Place) -> &'b [f64] {
        &place.y[..self.dim]
    }

    pub(super) fn parameter(&self, place: &Place) -> f64 {
        // Rounding must not carry it over the limits, at which branches end.
        let p = self.stretch * place.y[self.dim];
        let (from, to) = (self.settings.from, self.settings.to);
        let slack = 4.0 * f64::EPSILON * (to - from).max(p.abs());
        if (p - from).abs() <= slack {
            from
        } else if (p - to).abs() <= slack {
            to
        } else {
            p
        }
    }

    /// dx/ds and dp/ds.
    pub(super) fn tangent(&self, place: &Place) -> (Vec<f64>, f64) {
        let (x, q) = place.t.split_at(self.dim);
        let x = x.iter().map(|t| self.unit * t).collect();
        (x, self.unit * self.stretch * q[0])
    }

    /// The length of the chord from `a` to `b`.
    pub(super) fn distance(&self, a: &Place, b: &Place) -> f64 {
        norm(&difference(&b.y, &a.y)) / self.unit
    }

    /// The fixed point beside `state` at `parameter`, its tangent towards larger parameters.
    pub(super) fn start(&mut self, state: &[f64], parameter: f64) -> Option<Place> {
        let mut y = state.to_vec();
        y.push(parameter / self.stretch);
        let corrected = self.newton(&y, &self.parameter_axis());
        // At a bifurcation Newton's method fails; a state that is a fixed point already needs none.
        let y = match corrected {
            Some((y, _)) => y,
            None => {
                let residual = self.evaluate(&y)?;
                (residual <= self.allowed(&y)).then_some(y)?
            }
        };
        let t = self.null_vector(&y)?;
        let place = self.place(y, &t)?;
        Some(if place.parameter_tangent() < 0.0 {
            place.reversed()
        } else {
            place
        })
    }

    /// Follows the curve from `start` along its tangent. Without the start itself.
    pub(super) fn follow(
        &mut self,
        start: &Place,
        watch: Watch,
    ) -> Result<(Vec<Item>, End), Error> {
        let settings = self.settings;
        let longest = settings.max_step * self.unit;
        let mut length = 0.25 * longest;
        let mut items: Vec<Item> = Vec::new();
        let mut current = start.clone();
        for count in 0..settings.max_points {
            Error::check_watch(watch, count as f64 / settings.max_points as f64)?;
            let Some(mut next) = self.advance(&current, &mut length) else {
                return Ok((items, End::Stalled));
            };
            let p = self.stretch * next.y[self.dim];
            let mut end = None;
            if let Some(limit) = [settings.from, settings.to]
                .into_iter()
                .find(|&limit| (p - limit) * (limit - 0.5 * (settings.from + settings.to)) > 0.0)
            {
                // A start at the limit leaves at once.
                let Some(at_limit) = self.at_parameter(&current, &next, limit) else {
                    let end = if self.parameter(&current) == limit {
                        End::Parameter
                    } else {
                        End::Stalled
                    };
                    return Ok((items, end));
                };
                if self.distance(&current, &at_limit) <= LOCATED {
                    return Ok((items, End::Parameter));
                }
                next = at_limit;
                end = Some(End::Parameter);
            } else if infinity_norm(self.state(&next)) > settings.largest_state {
                end = Some(End::State);
            } else if count > 0 && self.passes(&current, &next, start) {
                next = start.clone();
                end = Some(End::Closed);
            }
            self.bifurcations(&current, &next, HALVINGS, &mut items);
            items.push(Item::regular(next.clone()));
            if let Some(end) = end {
                return Ok((items, end));
            }
            current = next;
        }
        Ok((items, End::Points))
    }

    /// Puts a place into the list wherever the curve comes to the parameter `p`; returns where in the list these are,
    /// with those that were there.
    pub(super) fn cut_at(&mut self, items: &mut Vec<Item>, p: f64) -> Vec<usize> {
        let mut cut = Vec::with_capacity(items.len() + 4);
        let mut found = Vec::new();
        for item in std::mem::take(items) {
            let side = |curve: &Self, place: &Place| curve.parameter(place) - p;
            let last: Option<&Item> = cut.last();
            if let Some(last) = last
                && side(self, &last.place) * side(self, &item.place) < 0.0
                && let Some(place) = self.at_parameter(&last.place, &item.place, p)
            {
                found.push(cut.len());
                cut.push(Item::regular(place));
            }
            if item.is_start || side(self, &item.place) == 0.0 {
                found.push(cut.len());
            }
            cut.push(item);
        }
        *items = cut;
        found
    }

    fn parameter_axis(&self) -> Vec<f64> {
        let mut axis = vec![0.0; self.dim + 1];
        axis[self.dim] = 1.0;
        axis
    }

    fn allowed(&self, y: &[f64]) -> f64 {
        let rounding = ROUNDING_ERRORS * f64::EPSILON * infinity_norm(&y[..self.dim]).max(1.0);
        self.settings.tolerance.max(rounding)
    }

    /// F and its derivatives at y, into the scratch space; the residual, where all is finite.
    fn evaluate(&mut self, y: &[f64]) -> Option<f64> {
        let (x, q) = y.split_at(self.dim);
        self.family.step_with_derivatives(
            x,
            self.stretch * q[0],
            &mut self.next,
            &mut self.jacobian,
            &mut self.by_parameter,
        );
        let residual = x.iter().zip(&self.next).fold(0.0_f64, |most, (x, next)| {
            if next.is_finite() {
                most.max((next - x).abs())
            } else {
                f64::INFINITY
            }
        });
        let derivatives = self.jacobian.iter().chain(&self.by_parameter);
        (residual.is_finite() && derivatives.clone().all(|v| v.is_finite())).then_some(residual)
    }

    /// The matrix [G_y; last] from the scratch space, G_y = [dF/dx - I, stretch dF/dp].
    fn bordered(&mut self, last: &[f64]) {
        let dim = self.dim;
        for (i, row) in self.matrix.chunks_exact_mut(dim + 1).enumerate() {
            if i == dim {
                row.copy_from_slice(last);
                continue;
            }
            row[..dim].copy_from_slice(&self.jacobian[i * dim..][..dim]);
            row[i] -= 1.0;
            row[dim] = self.stretch * self.by_parameter[i];
        }
    }

    /// The point of the curve in the plane through `guess` with this normal, and the steps to it.
    fn newton(&mut self, guess: &[f64], normal: &[f64]) -> Option<(Vec<f64>, usize)> {
        let dim = self.dim;
        let mut y = guess.to_vec();
        let mut step = vec![0.0; dim + 1];
        let mut last_step = f64::INFINITY;
        let mut polished = false;
        for iteration in 0..=MAX_ITERATIONS {
            let residual = self.evaluate(&y)?;
            let scale = infinity_norm(&y).max(1.0);
            if residual <= self.allowed(&y) && last_step <= LAST_STEP * scale {
                // One step more makes the residual as small as rounding lets it be.
                if polished || residual <= ROUNDING_ERRORS * f64::EPSILON * scale {
                    return Some((y, iteration));
                }
                polished = true;
            }
            if iteration == MAX_ITERATIONS {
                break;
            }
            self.bordered(normal);
            if !self.lu.factor(&self.matrix) {
                return None;
            }
            for i in 0..dim {
                step[i] = y[i] - self.next[i];
            }
            step[dim] = -dot(normal, &difference(&y, guess));
            self.lu.solve(&mut step);
            last_step = infinity_norm(&step);
            if !last_step.is_finite() {
                return None;
            }
            for (y, step) in y.iter_mut().zip(&step) {
                *y += step;
            }
        }
        None
    }

    /// A place at a point of the curve: tangent along `reference`, eigenvalues.
    fn place(&mut self, y: Vec<f64>, reference: &[f64]) -> Option<Place> {
        let dim = self.dim;
        let residual = self.evaluate(&y)?;
        // G_y t = 0, reference . t = 1
        self.bordered(reference);
        let t = if self.lu.factor(&self.matrix) {
            let mut t = self.parameter_axis();
            self.lu.solve(&mut t);
            let length = norm(&t);
            (length.is_finite() && length > 0.0)
                .then(|| t.iter().map(|t| t / length).collect::<Vec<f64>>())?
        } else {
            // At a branch point two curves cross: the one that was followed goes on.
            reference.to_vec()
        };
        let jacobian = DMatrix::from_row_slice(dim, dim, &self.jacobian);
        let eigenvalues = eigenvalues(&jacobian).ok()?;
        // An eigenvalue that is 1 but for rounding, along a line of fixed points, is not unstable.
        let beyond = 1.0 + ROUNDING_ERRORS * f64::EPSILON * dim as f64 * jacobian.norm().max(1.0);
        let real = |sign: f64| {
            let passed = |lambda: &&Complex<f64>| lambda.im == 0.0 && sign * lambda.re > beyond;
            eigenvalues.iter().filter(passed).count() % 2 == 1
        };
        Some(Place {
            n_unstable: eigenvalues
                .iter()
                .filter(|lambda| lambda.norm() > beyond)
                .count(),
            odd_above: real(1.0),
            odd_below: real(-1.0),
            y,
            t,
            residual,
            eigenvalues,
        })
    }

    /// A unit vector t with G_y t = 0 at y: the singular vector of the least singular value.
    fn null_vector(&mut self, y: &[f64]) -> Option<Vec<f64>> {
        self.evaluate(y)?;
        self.bordered(&vec![0.0; self.dim + 1]);
        let size = self.dim + 1;
        let matrix = DMatrix::from_row_slice(size, size, &self.matrix);
        let svd = SVD::try_new(matrix, false, true, f64::EPSILON, 100 * size)?;
        let least = svd.singular_values.imin();
        Some(svd.v_t?.row(least).iter().copied().collect())
    }

    /// The next place after `current`; `length` is the step to try, and becomes that of the step after.
    fn advance(&mut self, current: &Place, length: &mut f64) -> Option<Place> {
        let longest = self.settings.max_step * self.unit;
        let has_corners = self.has_corners;
        let shortest = self.unit
            * if has_corners {
                MIN_STEP_TO_CORNER.min(self.settings.max_step)
            } else {
                MIN_STEP
            };
        *length = length.min(longest);
        loop {
            if let Some((place, iterations, angle)) = self.step(current, &current.t, *length) {
                let is_easy = iterations <= EASY && angle < 0.5 * self.settings.max_angle;
                let over_corner = has_corners && *length <= STEP_OVER_CORNER * longest;
                if angle <= self.settings.max_angle || over_corner && angle <= CORNER {
                    if is_easy {
                        *length = (GROWTH * *length).min(longest);
                    }
                    return Some(place);
                }
            }
            *length *= 0.5;
            if *length < shortest {
                *length = STEP_BEYOND_CORNER * self.unit;
                return if has_corners {
                    self.around_corner(current)
                } else {
                    None
                };
            }
        }
    }

    /// A step of this length, with its Newton steps and the angle by which the tangent turned. `None` where the
    /// corrector failed, or moved the point by more than a curve with such a turn would.
    fn step(&mut self, current: &Place, along: &[f64], length: f64) -> Option<(Place, usize, f64)> {
        let guess: Vec<f64> = moved(&current.y, along, length);
        let (y, iterations) = self.newton(&guess, along)?;
        let off = norm(&difference(&y, &guess));
        let place = self.place(y, along)?;
        let angle = dot(&place.t, along).clamp(-1.0, 1.0).acos();
        // On a circle of radius r the point is off by h^2 / 2r, and the tangent turns by h / r.
        let allowed = length * angle.max(0.05);
        (off <= allowed.max(4.0 * f64::EPSILON * norm(&guess)))
            .then_some((place, iterations, angle))
    }

    /// The place beyond a corner right before which `current` lies, on the piece of the curve on the other side of the
    /// border.
    fn around_corner(&mut self, current: &Place) -> Option<Place> {
        let length = STEP_BEYOND_CORNER * self.unit;
        let t = self.null_vector(&moved(&current.y, &current.t, length))?;
        for sign in [1.0, -1.0] {
            let along: Vec<f64> = t.iter().map(|t| sign * t).collect();
            // The way back is no way on.
            if norm(&moved(&along, &current.t, 1.0)) < 1e-3 {
                continue;
            }
            if let Some((place, _, angle)) = self.step(current, &along, length)
                && angle <= self.settings.max_angle
            {
                return Some(place);
            }
        }
        None
    }

    /// The place in the middle between two others, in the plane across their chord.
    fn between(&mut self, a: &Place, b: &Place) -> Option<Place> {
        let chord = difference(&b.y, &a.y);
        // The middle may be a branch point itself, where the corrector fails; beside it there is one.
        [0.5, 0.4]
            .into_iter()
            .find_map(|part| self.on_chord(a, &chord, part))
    }

    /// The place over this part of a chord.
    fn on_chord(&mut self, a: &Place, chord: &[f64], part: f64) -> Option<Place> {
        let length = norm(chord);
        let normal: Vec<f64> = chord.iter().map(|c| c / length).collect();
        let guess = moved(&a.y, chord, part);
        let (y, _) = self.newton(&guess, &normal)?;
        // A smooth piece is near its chord; the tip of a corner may be far from it.
        let reach = if self.has_corners { 4.0 } else { 0.5 };
        if norm(&difference(&y, &guess)) > reach * length {
            return None;
        }
        self.place(y, &normal)
    }

    /// The place at the parameter `p` between two others on both sides of it.
    fn at_parameter(&mut self, a: &Place, b: &Place, p: f64) -> Option<Place> {
        let q = p / self.stretch;
        let (mut a, mut b) = (a.clone(), b.clone());
        let axis = self.parameter_axis();
        for _ in 0..60 {
            let chord = difference(&b.y, &a.y);
            let rise = chord[self.dim];
            if rise == 0.0 {
                return None;
            }
            let part = (q - a.y[self.dim]) / rise;
            let mut guess = moved(&a.y, &chord, part);
            guess[self.dim] = q;
            if let Some((y, _)) = self.newton(&guess, &axis)
                && norm(&difference(&y, &guess)) <= 0.5 * norm(&chord)
            {
                let normal: Vec<f64> = chord.iter().map(|c| c / norm(&chord)).collect();
                return self.place(y, &normal);
            }
            let middle = self.between(&a, &b)?;
            if (middle.y[self.dim] - q) * (a.y[self.dim] - q) <= 0.0 {
                b = middle;
            } else {
                a = middle;
            }
        }
        None
    }

    /// Whether the curve comes through `start`, the same way, on its way from `a` to `b`.
    fn passes(&mut self, a: &Place, b: &Place, start: &Place) -> bool {
        let chord = difference(&b.y, &a.y);
        let to_start = difference(&start.y, &a.y);
        let squared = dot(&chord, &chord);
        let part = dot(&chord, &to_start) / squared;
        let off = norm(&difference(&start.y, &moved(&a.y, &chord, part)));
        if !(part > 0.0 && part <= 1.0) || off > 0.25 * squared.sqrt() {
            return false;
        }
        dot(&chord, &start.t) > 0.0
            && self.on_chord(a, &chord, part).is_some_and(|place| {
                norm(&difference(&place.y, &start.y)) <= LAST_STEP * norm(&start.y).max(1.0)
            })
    }

    /// Locates the bifurcations between two places and puts them at the end of the list.
    fn bifurcations(&mut self, a: &Place, b: &Place, halvings: usize, items: &mut Vec<Item>) {
        let Some(change) = Change::between(a, b) else {
            return;
        };
        let middle = self.between(a, b);
        let is_fold = change.turned && change.through_one;
        let located =
            halvings == 0 || self.distance(a, b) <= if is_fold { FOLD_LOCATED } else { LOCATED };
        match middle {
            Some(middle) if !located => {
                self.bifurcations(a, &middle, halvings - 1, items);
                self.bifurcations(&middle, b, halvings - 1, items);
            }
            // Where two curves cross, the corrector may fail before the end.
            middle => {
                let place = middle.unwrap_or_else(|| a.clone());
                let event = self.event(&change, a, b, &place);
                items.push(Item {
                    place,
                    event: Some(event),
                    is_start: false,
                });
            }
        }
    }

    /// The name of what happened between `a` and `b`, at `place`.
    fn event(&self, change: &Change, a: &Place, b: &Place, place: &Place) -> Event {
        use BifurcationKind::{BorderCollision, BranchPoint, Flip, Fold, NeimarkSacker};
        let off_circle = |lambda: Complex<f64>| (lambda.norm() - 1.0).abs();
        let off = |target: f64| move |lambda: Complex<f64>| (lambda - target).norm();
        let (mut kind, critical) = if change.turned || change.through_one {
            let both = change.turned && change.through_one;
            (
                if both { Fold } else { BranchPoint },
                place.nearest(off(1.0)),
            )
        } else if change.through_minus_one {
            (Flip, place.nearest(off(-1.0)))
        } else {
            let critical = place.critical();
            // Two real eigenvalues may pass together, where a symmetry makes them equal.
            let kind = match critical {
                lambda if lambda.im > 0.0 => NeimarkSacker,
                lambda if lambda.re > 0.0 => BranchPoint,
                _ => Flip,
            };
            (kind, critical)
        };
        let jumped = match kind {
            Fold | BranchPoint => off(1.0)(critical),
            Flip => off(-1.0)(critical),
            _ => off_circle(critical),
        };
        if self.has_corners && jumped > JUMPED {
            kind = BorderCollision;
        }
        Event {
            kind,
            critical,
            unstable: [a.n_unstable, b.n_unstable],
            turns: change.turned,
            bracket: (self.stretch * (b.y[self.dim] - a.y[self.dim])).abs(),
        }
    }
}

fn norm(v: &[f64]) -> f64 {
    dot(v, v).sqrt()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// y + length t.
fn moved(y: &[f64], t: &[f64], length: f64) -> Vec<f64> {
    y.iter().zip(t).map(|(y, t)| y + length * t).collect()
}
