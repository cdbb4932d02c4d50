//! From numbers to places along an axis: extents, ranges and scales.

use crate::figure::Scale;

/// Beyond this magnitude, sums and differences would leave the range of f64; such numbers count as missing.
const LARGEST: f64 = 1e300;

/// Whether a number can be drawn on a scale.
#[must_use]
pub fn drawable(value: f64, scale: Scale) -> bool {
    value.abs() <= LARGEST && (scale == Scale::Linear || value >= 1.0 / LARGEST)
}

/// The smallest and largest drawable number.
#[must_use]
pub fn extent(values: impl IntoIterator<Item = f64>, scale: Scale) -> Option<(f64, f64)> {
    values
        .into_iter()
        .filter(|&v| drawable(v, scale))
        .fold(None, |range, v| match range {
            None => Some((v, v)),
            Some((low, high)) => Some((low.min(v), high.max(v))),
        })
}

/// The smallest range that holds both.
#[must_use]
pub fn union(a: Option<(f64, f64)>, b: Option<(f64, f64)>) -> Option<(f64, f64)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

/// The range of an axis for data of this extent, with `margin` of its length free at both ends. Data without
/// extent get a range around them, no data 0 to 1, or 1 to 10 on a logarithmic axis.
#[must_use]
pub fn fitted(extent: Option<(f64, f64)>, scale: Scale, margin: f64) -> (f64, f64) {
    match (scale, extent) {
        (Scale::Linear, None) => (0.0, 1.0),
        (Scale::Log, None) => (1.0, 10.0),
        (Scale::Linear, Some((low, high))) => {
            let largest = low.abs().max(high.abs());
            // Below a billionth of the numbers themselves, ticks could not be told apart.
            if high - low <= 1e-9 * largest || high == low {
                let room = if largest == 0.0 { 1.0 } else { 0.1 * largest };
                (low - room, high + room)
            } else {
                let room = margin * (high - low);
                (low - room, high + room)
            }
        }
        (Scale::Log, Some((low, high))) => {
            let (a, b) = (low.log10(), high.log10());
            let room = if b - a < 1e-6 { 0.5 } else { margin * (b - a) };
            // An end without margin stays the number it was.
            if room == 0.0 {
                (low, high)
            } else {
                (
                    (10f64.powf(a - room)).max(1.0 / LARGEST),
                    (10f64.powf(b + room)).min(LARGEST),
                )
            }
        }
    }
}

/// The range with its ends moved outwards to round numbers where that costs at most 3 % of its length, so that
/// a recording of 1,999 steps gets an axis to 2,000 with a tick at its end.
#[must_use]
pub fn rounded((low, high): (f64, f64)) -> (f64, f64) {
    let span = high - low;
    let power = 10f64.powf(span.log10().floor());
    // A tenth to a fifth of the length, as ticks would be chosen.
    let step = power
        * if span < 2.0 * power {
            0.2
        } else if span < 5.0 * power {
            0.5
        } else {
            1.0
        };
    let (below, above) = (
        (low / step + 1e-9).floor() * step,
        (high / step - 1e-9).ceil() * step,
    );
    (
        if low - below <= 0.03 * span {
            below
        } else {
            low
        },
        if above - high <= 0.03 * span {
            above
        } else {
            high
        },
    )
}

/// A scale over a range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaler {
    /// Numbers at the two ends, the first below the second.
    pub range: (f64, f64),
    /// Linear or logarithmic.
    pub scale: Scale,
}

impl Scaler {
    /// Place of a number, 0 at the lower and 1 at the upper end; `None` for what cannot be drawn.
    #[must_use]
    pub fn fraction(&self, value: f64) -> Option<f64> {
        if !drawable(value, self.scale) {
            return None;
        }
        let (low, high) = self.range;
        let fraction = match self.scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::Log => (value / low).log10() / (high / low).log10(),
        };
        fraction.is_finite().then_some(fraction)
    }

    /// The number at a place; inverse of [`Scaler::fraction`].
    #[must_use]
    pub fn value(&self, fraction: f64) -> f64 {
        let (low, high) = self.range;
        match self.scale {
            Scale::Linear => low + fraction * (high - low),
            Scale::Log => low * 10f64.powf(fraction * (high / low).log10()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extents_leave_out_what_cannot_be_drawn() {
        let values = [f64::NAN, -1.0, 0.0, 4.0, f64::INFINITY, 1e301];
        assert_eq!(extent(values, Scale::Linear), Some((-1.0, 4.0)));
        assert_eq!(extent(values, Scale::Log), Some((4.0, 4.0)));
        assert_eq!(extent([f64::NAN], Scale::Linear), None);
        assert_eq!(
            union(Some((0.0, 1.0)), Some((-2.0, 0.5))),
            Some((-2.0, 1.0))
        );
        assert_eq!(union(None, Some((1.0, 2.0))), Some((1.0, 2.0)));
    }

    #[test]
    fn ranges_without_data_or_extent() {
        assert_eq!(fitted(None, Scale::Linear, 0.05), (0.0, 1.0));
        assert_eq!(fitted(None, Scale::Log, 0.05), (1.0, 10.0));
        assert_eq!(fitted(Some((0.0, 0.0)), Scale::Linear, 0.05), (-1.0, 1.0));
        let (low, high) = fitted(Some((5.0, 5.0)), Scale::Linear, 0.05);
        assert!(low < 5.0 && high > 5.0);
        let (low, high) = fitted(Some((10.0, 10.0)), Scale::Log, 0.05);
        assert!(low > 3.0 && low < 4.0 && high > 31.0 && high < 32.0);
    }

    #[test]
    fn ends_close_to_round_numbers_become_round() {
        assert_eq!(rounded((0.0, 1999.0)), (0.0, 2000.0));
        assert_eq!(rounded((0.0, 199.0)), (0.0, 200.0));
        assert_eq!(rounded((0.0, 170.0)), (0.0, 170.0));
        assert_eq!(rounded((1.0, 300.0)), (0.0, 300.0));
    }

    #[test]
    fn fractions_of_known_places() {
        let log = Scaler {
            range: (0.01, 100.0),
            scale: Scale::Log,
        };
        assert!((log.fraction(1.0).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(log.fraction(-1.0), None);
        let linear = Scaler {
            range: (-1.0, 3.0),
            scale: Scale::Linear,
        };
        assert_eq!(linear.fraction(0.0), Some(0.25));
    }

    proptest! {
        #[test]
        fn value_inverts_fraction(low in -1e6..1e6f64, span in 1e-3..1e6f64, t in -1.0..2.0f64) {
            let linear = Scaler { range: (low, low + span), scale: Scale::Linear };
            prop_assert!((linear.fraction(linear.value(t)).unwrap() - t).abs() < 1e-6);
            let log = Scaler { range: (span, span * 1e4), scale: Scale::Log };
            prop_assert!((log.fraction(log.value(t)).unwrap() - t).abs() < 1e-9);
        }

        #[test]
        fn a_range_holds_its_data(a in -1e300..1e300f64, b in -1e300..1e300f64, margin in 0.0..0.2f64) {
            let extent = (a.min(b), a.max(b));
            let (low, high) = fitted(Some(extent), Scale::Linear, margin);
            prop_assert!(low <= extent.0 && high >= extent.1 && low < high && (high - low).is_finite());
        }
    }
}
