//! Intervals with outward rounding: a cell evaluated on them gives an enclosure of all its values.

use crate::scalar::Scalar;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A closed interval of real numbers that surely contains what it stands for.
///
/// The ends of every result are moved outward: by one step of f64 for arithmetic, which IEEE 754 rounds to
/// nearest, and by [`FUNCTION_STEPS`] for exp and tanh, whose library versions are off by a few units in the
/// last place at most. What is not a number becomes the whole line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Steps of f64 by which the ends of exp and tanh are moved outward. The C libraries in use document errors up
/// to 2 units in the last place for them.
pub const FUNCTION_STEPS: usize = 8;

impl Interval {
    /// All real numbers.
    pub const WHOLE: Interval = Interval {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
    };

    /// The interval between two numbers, in either order; the whole line if one is NaN.
    pub fn new(a: f64, b: f64) -> Self {
        if a.is_nan() || b.is_nan() {
            return Interval::WHOLE;
        }
        Interval {
            low: a.min(b),
            high: a.max(b),
        }
    }

    /// A single number.
    pub fn point(value: f64) -> Self {
        Interval::new(value, value)
    }

    /// Whether a number lies in it.
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// high - low, rounded up.
    pub fn width(self) -> f64 {
        (self.high - self.low).next_up()
    }

    /// A midpoint m and a radius r, rounded up, with the interval inside m - r to m + r. Both may be infinite or NaN where an
    /// end is infinite; whatever is computed from them is then no number, which stands for anything.
    pub fn midpoint_radius(self) -> (f64, f64) {
        let midpoint = 0.5 * self.low + 0.5 * self.high;
        let radius = (self.high - midpoint).max(midpoint - self.low);
        (midpoint, radius.next_up())
    }

    /// The numbers within `radius` of `midpoint`; the whole line where one is NaN.
    pub fn around(midpoint: f64, radius: f64) -> Self {
        Interval::outward(midpoint - radius, midpoint + radius, 1)
    }

    /// Whether every number of it lies strictly inside `other`.
    pub fn is_inside(self, other: Interval) -> bool {
        other.low < self.low && self.high < other.high
    }

    /// The largest modulus of its numbers.
    pub fn magnitude(self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    /// With both ends moved outward.
    fn outward(low: f64, high: f64, steps: usize) -> Self {
        if low.is_nan() || high.is_nan() {
            return Interval::WHOLE;
        }
        let (mut low, mut high) = (low, high);
        for _ in 0..steps {
            low = low.next_down();
            high = high.next_up();
        }
        Interval { low, high }
    }

    /// The hull of four candidates for the ends, moved outward.
    fn hull(candidates: [f64; 4]) -> Self {
        if candidates.iter().any(|x| x.is_nan()) {
            return Interval::WHOLE;
        }
        let low = candidates.into_iter().fold(f64::INFINITY, f64::min);
        let high = candidates.into_iter().fold(f64::NEG_INFINITY, f64::max);
        Interval::outward(low, high, 1)
    }

    /// The part of it that lies between two bounds, for a function that stays between them.
    fn clamped(self, low: f64, high: f64) -> Self {
        Interval {
            low: self.low.clamp(low, high),
            high: self.high.clamp(low, high),
        }
    }
}

/// A bound of gamma_n = n u / (1 - n u), u = 2^-53, for n below 10^13: the relative error that n roundings leave in a
/// product, and in a sum of n products the error relative to the sum of their moduli, in any order of summation and
/// with fused multiply-adds or without, where nothing underflows (N. J. Higham, Accuracy and Stability of Numerical
/// Algorithms, 2nd ed., lemma 3.1 and section 3.1).
pub fn rounding(n: usize) -> f64 {
    // n u <= 0.01 gives gamma_n <= 1.0102 n u; EPSILON is 2 u.
    0.506 * n as f64 * f64::EPSILON
}

/// What n products and sums that underflow can add to an error, generously: each is off by less than 2^-1074.
pub fn underflow(n: usize) -> f64 {
    n as f64 * f64::MIN_POSITIVE
}

/// y = y + M x, enclosed: `columns` holds M by columns, `[from, to]`, exact.
///
/// The product of the midpoints in plain arithmetic, and a radius that covers both the radii of x and every rounding
/// error: |fl(M m) - M m| <= gamma_n |M| |m| (see [`rounding`]), so that the inner loop is that of an ordinary product
/// (S. M. Rump, Fast and parallel interval arithmetic, BIT 39, 1999).
pub fn add_product(columns: &[f64], x: &[Interval], y: &mut [Interval]) {
    let (n, rows) = (x.len(), y.len());
    let mut midpoints = vec![0.0; rows];
    let mut radii = vec![0.0; rows];
    let gamma = rounding(n + 2);
    for (x, column) in x.iter().zip(columns.chunks_exact(rows.max(1))) {
        let (midpoint, radius) = x.midpoint_radius();
        let slack = radius + gamma * midpoint.abs();
        for ((m, r), weight) in midpoints.iter_mut().zip(&mut radii).zip(column) {
            *m += weight * midpoint;
            *r += weight.abs() * slack;
        }
    }
    // The radii are themselves sums of n + 3 roundings each.
    let grow = 1.0 + 2.0 * rounding(n + 6);
    for ((y, midpoint), radius) in y.iter_mut().zip(&midpoints).zip(&radii) {
        *y = *y + Interval::around(*midpoint, radius * grow + underflow(2 * n + 2));
    }
}

impl Add for Interval {
    type Output = Interval;
    fn add(self, other: Interval) -> Interval {
        Interval::outward(self.low + other.low, self.high + other.high, 1)
    }
}
impl Sub for Interval {
    type Output = Interval;
    fn sub(self, other: Interval) -> Interval {
        Interval::outward(self.low - other.high, self.high - other.low, 1)
    }
}
impl Mul for Interval {
    type Output = Interval;
    fn mul(self, other: Interval) -> Interval {
        Interval::hull([
            self.low * other.low,
            self.low * other.high,
            self.high * other.low,
            self.high * other.high,
        ])
    }
}
impl Div for Interval {
    type Output = Interval;
    fn div(self, other: Interval) -> Interval {
        if other.contains(0.0) {
            return Interval::WHOLE;
        }
        Interval::hull([
            self.low / other.low,
            self.low / other.high,
            self.high / other.low,
            self.high / other.high,
        ])
    }
}
impl Neg for Interval {
    type Output = Interval;
    fn neg(self) -> Interval {
        Interval {
            low: -self.high,
            high: -self.low,
        }
    }
}

impl Scalar for Interval {
    fn constant(value: f64) -> Self {
        Interval::point(value)
    }
    fn exp(self) -> Self {
        Interval::outward(self.low.exp(), self.high.exp(), FUNCTION_STEPS)
            .clamped(0.0, f64::INFINITY)
    }
    fn tanh(self) -> Self {
        Interval::outward(self.low.tanh(), self.high.tanh(), FUNCTION_STEPS).clamped(-1.0, 1.0)
    }
    fn relu(self) -> Self {
        self.clamped(0.0, f64::INFINITY)
    }
    fn heaviside(self) -> Self {
        Interval {
            low: f64::from(u8::from(self.low > 0.0)),
            high: f64::from(u8::from(self.high > 0.0)),
        }
    }
    fn square(self) -> Self {
        let (low, high) = (self.low.abs(), self.high.abs());
        let least = if self.contains(0.0) {
            0.0
        } else {
            low.min(high)
        };
        let most = low.max(high);
        Interval::outward(least * least, most * most, 1).clamped(0.0, f64::INFINITY)
    }
    fn heaviside_slope(self) -> Self {
        if self.low <= 0.0 && self.high > 0.0 {
            Interval::WHOLE
        } else {
            Interval::point(0.0)
        }
    }
    fn sigmoid(self) -> Self {
        let half = Interval::point(0.5);
        (half + half * (half * self).tanh()).clamped(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{CellKind, with_cell};
    use crate::cells::Cell;
    use crate::scalar::Dual;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_a_number_is_anything() {
        let infinite = Interval::WHOLE;
        assert_eq!(infinite - infinite, Interval::WHOLE);
        assert_eq!(Interval::point(0.0) * infinite, Interval::WHOLE);
        assert_eq!(
            Interval::point(1.0) / Interval::new(-1.0, 1.0),
            Interval::WHOLE
        );
        assert_eq!(Interval::new(f64::NAN, 1.0), Interval::WHOLE);
        assert_eq!(
            Interval::new(-2.0, 3.0).heaviside(),
            Interval::new(0.0, 1.0)
        );
    }

    #[test]
    fn a_tenth_times_three_holds_what_f64_misses() {
        // 0.1 + 0.2 is not 0.3 in f64; the interval holds both.
        let sum = Interval::point(0.1) + Interval::point(0.2);
        assert!(sum.contains(0.3) && sum.contains(0.1 + 0.2) && sum.width() < 1e-15);
    }

    /// Evaluates a cell's bodies on boxes and on a point of each.
    fn encloses<C: Cell>(boxes: &[(f64, f64)], inside: &[f64]) -> bool {
        let interval = |k: usize| Interval::new(boxes[k].0, boxes[k].1);
        let number = |k: usize| {
            let i = interval(k);
            (i.low + inside[k] * (i.high - i.low)).clamp(i.low, i.high)
        };
        let (s, g, p) = (C::STATES, C::GATES, C::UNIT_PARAMETERS.len());
        let intervals: Vec<Interval> = (0..boxes.len()).map(interval).collect();
        let numbers: Vec<f64> = (0..boxes.len()).map(number).collect();
        let mut h = vec![Interval::point(0.0); s];
        let mut tape = vec![Interval::point(0.0); C::TAPE];
        C::update(
            &intervals[..s],
            &intervals[s..s + g],
            &intervals[s + g..s + 2 * g],
            &intervals[s + 2 * g..s + 2 * g + p],
            &mut h,
            &mut tape,
        );
        let mut want = vec![0.0; s];
        let mut tape_numbers = vec![0.0; C::TAPE];
        C::update(
            &numbers[..s],
            &numbers[s..s + g],
            &numbers[s + g..s + 2 * g],
            &numbers[s + 2 * g..s + 2 * g + p],
            &mut want,
            &mut tape_numbers,
        );
        let mut r = [Interval::point(0.0)];
        let mut rate = [0.0];
        C::rate(&intervals[..s], &intervals[..p], &mut r);
        C::rate(&numbers[..s], &numbers[..p], &mut rate);
        let mut hidden = true;
        if C::HAS_HIDDEN {
            let (mut q, mut value) = ([Interval::point(0.0)], [0.0]);
            C::hidden(
                &intervals[..1],
                &intervals[1..1 + C::HIDDEN_PARAMETERS.len()],
                &mut q,
            );
            C::hidden(
                &numbers[..1],
                &numbers[1..1 + C::HIDDEN_PARAMETERS.len()],
                &mut value,
            );
            hidden = q[0].contains(value[0]);
        }
        hidden && r[0].contains(rate[0]) && h.iter().zip(&want).all(|(h, x)| h.contains(*x))
    }

    /// Steps of f64 from a to b.
    fn steps(a: f64, b: f64) -> u64 {
        // The bits of floating-point numbers of one sign are in order.
        let place = |x: f64| {
            let bits = x.to_bits() as i64;
            if bits < 0 { i64::MIN - bits } else { bits }
        };
        place(a).abs_diff(place(b))
    }

    #[test]
    #[allow(
        clippy::excessive_precision,
        reason = "the values are known beyond f64"
    )]
    fn functions_hold_known_values() {
        for (x, tanh) in [
            (0.5_f64, 0.462_117_157_260_009_758_5),
            (1.0, 0.761_594_155_955_764_888_1),
            (-2.0, -0.964_027_580_075_816_883_9),
            (1e-5, 9.999_999_999_666_666_666_8e-6),
        ] {
            let tanh: f64 = tanh;
            assert!(Interval::point(x).tanh().contains(tanh));
        }
        for (x, exp) in [
            (1.0_f64, std::f64::consts::E),
            (-1.0, 0.367_879_441_171_442_321_6),
            (10.0, 22_026.465_794_806_716_516_957_9),
        ] {
            let exp: f64 = exp;
            assert!(Interval::point(x).exp().contains(exp));
        }
    }

    #[test]
    fn products_hold_what_rounding_loses() {
        // 1 + 999 * 2^-54: every addition is rounded away, and the sum of them is 500 units in the last place.
        let mut weights = vec![2.0_f64.powi(-54); 1000];
        weights[0] = 1.0;
        let mut y = [Interval::point(0.0)];
        add_product(&weights, &[Interval::point(1.0); 1000], &mut y);
        assert!(y[0].contains(1.0 + 999.0 * 2.0_f64.powi(-54)));
        assert!(y[0].width() < 1e-12);
    }

    #[test]
    fn bounded_functions_keep_their_bounds() {
        let everything = Interval::WHOLE;
        assert_eq!(everything.tanh(), Interval::new(-1.0, 1.0));
        assert_eq!(everything.sigmoid(), Interval::new(0.0, 1.0));
        assert_eq!(everything.relu(), Interval::new(0.0, f64::INFINITY));
        assert_eq!(everything.exp(), Interval::new(0.0, f64::INFINITY));
        let overflow = Interval::point(1e3).exp();
        assert!(overflow.low <= f64::MAX && overflow.high.is_infinite());
        assert_eq!(Interval::new(-2.0, 1.0).square().low, 0.0);
        assert!(Interval::new(-2.0, 1.0).square().contains(4.0));
        assert!(!Interval::new(1.5, 2.0).square().contains(2.2));
    }

    #[test]
    fn slopes_at_a_kink_are_the_generalised_gradient() {
        let slope = |low, high| Dual::varying(Interval::new(low, high)).relu().derivative;
        let near = |slope: Interval, low: f64, high: f64| {
            slope.contains(low)
                && slope.contains(high)
                && slope.low >= low - 1e-15
                && slope.high <= high + 1e-15
        };
        assert!(near(slope(-2.0, -1.0), 0.0, 0.0));
        assert!(near(slope(1.0, 2.0), 1.0, 1.0));
        assert!(near(slope(-1.0, 1.0), 0.0, 1.0));
        assert!(near(slope(0.0, 1.0), 0.0, 1.0));
        let jump = |low, high| {
            Dual::varying(Interval::new(low, high))
                .heaviside()
                .derivative
        };
        assert_eq!(jump(0.0, 1.0), Interval::WHOLE);
        assert_eq!(jump(1.0, 2.0).midpoint_radius().0, 0.0);
    }

    /// |a - b| <= c a few ulps beside the size of what was computed with.
    fn about(a: f64, b: f64, size: f64) -> bool {
        (a - b).abs() <= 64.0 * f64::EPSILON * size
    }

    proptest! {
        #[test]
        fn arithmetic_holds_every_value(
            a in (-9.0f64..9.0, 0.0f64..2.0), b in (-9.0f64..9.0, 0.0f64..2.0),
            s in 0.0f64..=1.0, t in 0.0f64..=1.0, scale in -200i32..200,
        ) {
            let scale = 2.0f64.powi(scale);
            let a = Interval::new(a.0 * scale, (a.0 + a.1) * scale);
            let b = Interval::new(b.0, b.0 + b.1);
            let x = (a.low + s * (a.high - a.low)).clamp(a.low, a.high);
            let y = (b.low + t * (b.high - b.low)).clamp(b.low, b.high);
            // One operation is exact but for one rounding: its true value is within one step of the f64 one.
            let holds = |i: Interval, value: f64| i.low <= value.next_up() && value.next_down() <= i.high;
            let ends = |i: Interval| [i.low, i.high];
            for (got, f) in [
                (a + b, (|x, y| x + y) as fn(f64, f64) -> f64),
                (a - b, |x, y| x - y),
                (a * b, |x, y| x * y),
            ] {
                prop_assert!(holds(got, f(x, y)), "{a:?} {b:?} {got:?}");
                let corners = ends(a).map(|p| ends(b).map(|q| f(p, q)));
                let corners = corners.as_flattened();
                let low = corners.iter().copied().fold(f64::INFINITY, f64::min);
                let high = corners.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                prop_assert!(steps(got.low, low) == 1 && steps(got.high, high) == 1);
            }
            if b.contains(0.0) {
                prop_assert_eq!(a / b, Interval::WHOLE);
            } else {
                prop_assert!(holds(a / b, x / y));
            }
            prop_assert!(holds(a.square(), x * x));
            let (m, r) = a.midpoint_radius();
            prop_assert!(m - r <= a.low && a.high <= m + r);
            let back = Interval::around(m, r);
            prop_assert!(back.low <= a.low && a.high <= back.high);
        }

        #[test]
        fn monotone_functions_are_held_to_a_few_steps(
            x in -20.0f64..20.0, width in 0.0f64..2.0, s in 0.0f64..=1.0
        ) {
            let i = Interval::new(x, x + width);
            let inside = (i.low + s * (i.high - i.low)).clamp(i.low, i.high);
            let steps_allowed = FUNCTION_STEPS as u64;
            let tanh = i.tanh();
            prop_assert!(tanh.contains(inside.tanh()));
            prop_assert!(steps(tanh.low, i.low.tanh()) <= steps_allowed);
            prop_assert!(steps(tanh.high, i.high.tanh()) <= steps_allowed);
            let exp = i.exp();
            prop_assert!(exp.contains(inside.exp()));
            prop_assert!(steps(exp.low, i.low.exp()) <= steps_allowed);
            prop_assert!(steps(exp.high, i.high.exp()) <= steps_allowed);
            let sigmoid = i.sigmoid();
            prop_assert!(sigmoid.contains(1.0 / (1.0 + (-inside).exp())));
            prop_assert!(about(sigmoid.low, i.low.sigmoid(), 1.0) && about(sigmoid.high, i.high.sigmoid(), 1.0));
            let relu = i.relu();
            prop_assert!(relu.contains(inside.relu()));
            prop_assert_eq!((relu.low, relu.high), (i.low.relu(), i.high.relu()));
        }

        #[test]
        fn slopes_of_a_composition_hold_its_difference_quotients(
            a in -3.0f64..3.0, width in 1e-3f64..3.0, s in 0.0f64..=1.0, t in 0.0f64..=1.0,
        ) {
            let f = |x: Dual<Interval>| {
                let c = |v| Dual::<Interval>::constant(v);
                x.relu() * x.tanh() - (x - c(0.5)).relu() / (c(2.0) + x.sigmoid()) + (x * c(0.1)).exp()
            };
            let value = |x: f64| {
                let c = f64::constant;
                x.relu() * x.tanh() - (x - c(0.5)).relu() / (c(2.0) + x.sigmoid()) + (x * c(0.1)).exp()
            };
            let got = f(Dual::varying(Interval::new(a, a + width)));
            let (x, y) = (a + s * width, a + t * width);
            prop_assert!(got.value.contains(value(x)));
            prop_assume!((x - y).abs() > 1e-4);
            let quotient = (value(x) - value(y)) / (x - y);
            let slack = 1e-10;
            prop_assert!(got.derivative.low - slack <= quotient && quotient <= got.derivative.high + slack);
        }

        #[test]
        fn products_hold_every_value_and_little_more(
            rows in 1usize..6, columns in 1usize..9, seed in any::<u64>(), wide: bool,
        ) {
            // Small integers times powers of two: exact in f64, so that the product is known.
            let mut state = seed | 1;
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) % 2001) as f64 / 8.0 - 125.0
            };
            let matrix: Vec<f64> = (0..rows * columns).map(|_| draw()).collect();
            let x: Vec<f64> = (0..columns).map(|_| draw()).collect();
            let radius = if wide { 0.5 } else { 0.0 };
            let boxes: Vec<Interval> = x.iter().map(|x| Interval::new(x - radius, x + radius)).collect();
            let mut y = vec![Interval::point(1.0); rows];
            add_product(&matrix, &boxes, &mut y);
            for i in 0..rows {
                let column = |j: usize| matrix[j * rows + i];
                let exact = 1.0 + (0..columns).map(|j| column(j) * x[j]).sum::<f64>();
                let spread: f64 = (0..columns).map(|j| column(j).abs() * radius).sum();
                let size: f64 = (0..columns).map(|j| (column(j) * x[j]).abs()).sum();
                prop_assert!(y[i].low <= exact - spread && exact + spread <= y[i].high);
                prop_assert!(y[i].width() <= 2.0 * spread + 8.0 * (columns + 8) as f64 * f64::EPSILON * (size + spread + 1.0));
            }
        }

        #[test]
        fn every_cell_is_enclosed(
            boxes in prop::collection::vec((-3.0f64..3.0, -3.0f64..3.0), 16),
            inside in prop::collection::vec(0.0f64..=1.0, 16),
            narrow: bool,
        ) {
            let boxes: Vec<(f64, f64)> = boxes
                .into_iter()
                .map(|(a, b)| if narrow { (a, a + 1e-12 * b) } else { (a, b) })
                .collect();
            for &kind in CellKind::ALL {
                prop_assert!(with_cell!(kind, C => encloses::<C>(&boxes, &inside)), "{}", kind.name());
            }
        }
    }
}
