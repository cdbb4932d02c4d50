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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{CellKind, with_cell};
    use crate::cells::Cell;
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

    proptest! {
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
