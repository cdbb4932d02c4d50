//! Choice of ticks, the same on screen and paper: round numbers, few but enough, whose labels do not touch.

use crate::figure::Scale;
use crate::scale::Scaler;

/// Ticks of one axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ticks {
    /// Places with their labels, in markup, rising.
    pub major: Vec<(f64, String)>,
    /// Places of short ticks without labels.
    pub minor: Vec<f64>,
    /// The labels are to be multiplied by ten to this power, which belongs before the unit of the axis.
    pub exponent: i32,
}

/// Which way an axis runs, for how close its labels may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Labels stand beside one another.
    Across,
    /// Labels stand above one another.
    Up,
    /// Labels stand along a slanted edge of a space, where fewer are easier to read.
    Slanted,
}

/// Chooses ticks for an axis of this range and length.
///
/// `length` is in points; `room` gives the length along the axis that a label needs, with its free space.
/// At least two ticks are chosen wherever two labels fit. On a logarithmic axis whole decades are labelled,
/// and their multiples get minor ticks; below two decades, 1, 2, 3 and 5 are labelled as well.
#[must_use]
pub fn choose(
    scaler: Scaler,
    length: f32,
    direction: Direction,
    room: &dyn Fn(&str) -> f32,
) -> Ticks {
    // Wished distance between labels, in points.
    let spacing = match direction {
        Direction::Across => 34.0,
        Direction::Up => 24.0,
        Direction::Slanted => 56.0,
    };
    let wished = (f64::from(length) / spacing).clamp(2.0, 8.0);
    let fits = |ticks: &Ticks| labels_fit(&ticks.major, scaler, length, room);
    let choice = Choice {
        scaler,
        wished,
        fits: &fits,
    };
    match scaler.scale {
        Scale::Linear => linear(&choice),
        Scale::Log => logarithmic(&choice, length),
    }
}

/// Whether labels at their places do not touch.
pub(crate) fn labels_fit(
    labels: &[(f64, String)],
    scaler: Scaler,
    length: f32,
    room: &dyn Fn(&str) -> f32,
) -> bool {
    let mut free_from = f32::NEG_INFINITY;
    for (at, label) in labels {
        let Some(fraction) = scaler.fraction(*at) else {
            return false;
        };
        let (center, half) = (fraction as f32 * length, room(label) / 2.0);
        if center - half < free_from {
            return false;
        }
        free_from = center + half;
    }
    true
}

/// What decides between candidates.
struct Choice<'a> {
    scaler: Scaler,
    /// How many ticks there should be.
    wished: f64,
    /// Whether the labels have room.
    fits: &'a dyn Fn(&Ticks) -> bool,
}

impl Choice<'_> {
    /// How far a candidate is from what is wished.
    fn distance(&self, ticks: &Ticks) -> f64 {
        let place = |tick: Option<&(f64, String)>| tick.and_then(|t| self.scaler.fraction(t.0));
        let n = ticks.major.len() as f64;
        let covered = match (place(ticks.major.first()), place(ticks.major.last())) {
            (Some(first), Some(last)) => last - first,
            _ => 0.0,
        };
        // One tick says nothing about the scale, so two are preferred to it however many are wished for; and
        // ticks that reach the ends are worth three more or fewer than wished.
        (n - self.wished).abs() + 3.0 * (1.0 - covered) + if n < 2.0 { 100.0 } else { 0.0 }
    }

    /// The best candidate that fits; if none does, the one with fewest ticks.
    fn best(&self, candidates: Vec<Ticks>) -> Ticks {
        let (mut fitting, mut others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|ticks| (self.fits)(ticks));
        fitting.sort_by(|a, b| self.distance(a).total_cmp(&self.distance(b)));
        others.sort_by_key(|ticks| ticks.major.len());
        fitting.into_iter().chain(others).next().unwrap_or_default()
    }
}

fn linear(choice: &Choice) -> Ticks {
    let (low, high) = choice.scaler.range;
    let span = high - low;
    let power = span.log10().floor() as i32;
    let candidates = |mantissas: &[u8]| {
        let mut candidates = Vec::new();
        for exponent in [power + 1, power, power - 1, power - 2] {
            for &mantissa in mantissas {
                let step = f64::from(mantissa) * 10f64.powi(exponent);
                let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
                // More than wished for many times over is never chosen; this also bounds the work.
                if !(step > 0.0 && last - first <= 3.0 * choice.wished) {
                    continue;
                }
                candidates.push(linear_labels(
                    first as i64,
                    last as i64,
                    i64::from(mantissa),
                    exponent,
                    choice.scaler.range,
                ));
            }
        }
        candidates
    };
    let best = choice.best(candidates(&[5, 2, 1]));
    if best.major.len() >= 2 && (choice.fits)(&best) {
        return best;
    }
    // Long labels on a short axis: between the round steps there may be one that two labels fit on.
    choice.best(candidates(&[5, 4, 3, 2, 1]))
}

/// Ticks at first, first + 1, ..., last times mantissa * 10^exponent.
fn linear_labels(first: i64, last: i64, mantissa: i64, exponent: i32, range: (f64, f64)) -> Ticks {
    let largest = range.0.abs().max(range.1.abs());
    let magnitude = largest.log10().floor() as i32;
    // Plain numbers from thousandths to ten thousands, else a common power of ten.
    let common = if (-3..5).contains(&magnitude) {
        0
    } else {
        magnitude
    };
    let shift = exponent - common;
    let decimals = usize::try_from(-shift).unwrap_or(0);
    let major = (first..=last)
        .map(|n| {
            let units = n * mantissa;
            let label = format!("{:.decimals$}", units as f64 * 10f64.powi(shift));
            (units as f64 * 10f64.powi(exponent), real_minus(label))
        })
        .collect();
    Ticks {
        major,
        minor: Vec::new(),
        exponent: common,
    }
}

fn logarithmic(choice: &Choice, length: f32) -> Ticks {
    let (low, high) = choice.scaler.range;
    let inside = |v: &f64| *v >= low * (1.0 - 1e-9) && *v <= high * (1.0 + 1e-9);
    // The powers of ten that an f64 can hold, whatever the range.
    let power = |v: f64| v.log10().clamp(-307.0, 307.0);
    let (first, last) = (power(low).floor() as i32, power(high).ceil() as i32);
    let decades: Vec<i32> = (first..=last).filter(|&k| inside(&10f64.powi(k))).collect();
    let decade_length = f64::from(length) / (high / low).log10();
    let multiples = |mantissas: &[i32]| -> Vec<(i32, i32)> {
        (first..=last)
            .flat_map(|k| mantissas.iter().map(move |&m| (m, k)))
            .collect()
    };
    let place = |&(m, k): &(i32, i32)| f64::from(m) * 10f64.powi(k);

    let mut candidates = Vec::new();
    if decades.len() >= 2 {
        for stride in [1, 2, 3, 4, 5, 10, 20, 50, 100, 200] {
            let major: Vec<(f64, String)> = decades
                .iter()
                .filter(|&&k| k.rem_euclid(stride) == 0)
                .map(|&k| (10f64.powi(k), power_of_ten(k)))
                .collect();
            let minor = if stride == 1 && decade_length >= 10.0 {
                multiples(&[2, 3, 4, 5, 6, 7, 8, 9])
                    .iter()
                    .map(place)
                    .filter(inside)
                    .collect()
            } else if stride > 1 && decade_length >= 2.0 {
                decades
                    .iter()
                    .filter(|&&k| k.rem_euclid(stride) != 0)
                    .map(|&k| 10f64.powi(k))
                    .collect()
            } else {
                Vec::new()
            };
            candidates.push(Ticks {
                major,
                minor,
                exponent: 0,
            });
        }
        return choice.best(candidates);
    }
    for mantissas in [
        [1, 2, 3, 5].as_slice(),
        &[1, 2, 5],
        &[1, 3],
        &[2, 5],
        &[1, 5],
        &[1, 2],
    ] {
        let labelled: Vec<(i32, i32)> = multiples(mantissas)
            .into_iter()
            .filter(|mk| inside(&place(mk)))
            .collect();
        let minor = multiples(&[1, 2, 3, 4, 5, 6, 7, 8, 9])
            .into_iter()
            .filter(|mk| !labelled.contains(mk) && inside(&place(mk)))
            .map(|mk| place(&mk))
            .collect();
        let major = labelled
            .iter()
            .map(|mk| (place(mk), multiple_of_ten(mk.0, mk.1)))
            .collect();
        candidates.push(Ticks {
            major,
            minor,
            exponent: 0,
        });
    }
    let chosen = choice.best(candidates);
    if chosen.major.len() >= 2 {
        return chosen;
    }
    // Less than a decade without two such numbers: there a linear choice is a good one.
    linear(choice)
}

fn power_of_ten(k: i32) -> String {
    real_minus(match k {
        0 => "1".into(),
        1 => "10".into(),
        _ => format!("10^{{{k}}}"),
    })
}

fn multiple_of_ten(mantissa: i32, k: i32) -> String {
    real_minus(match k {
        -3..=-1 => format!(
            "{:.*}",
            k.unsigned_abs() as usize,
            f64::from(mantissa) * 10f64.powi(k)
        ),
        0..=3 => format!("{}", i64::from(mantissa) * 10i64.pow(k.unsigned_abs())),
        _ => format!("{mantissa}×10^{{{k}}}"),
    })
}

/// Sets the hyphen of a number as a minus sign, and minus zero as zero.
#[must_use]
pub fn real_minus(number: String) -> String {
    match number.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.to_owned(),
        _ => number.replace('-', "\u{2212}"),
    }
}

/// The label of an axis with the common power of ten of its ticks before the unit.
#[must_use]
pub fn axis_text(label: &str, unit: &str, exponent: i32) -> String {
    let unit = match (exponent, unit) {
        (0, unit) => unit.to_owned(),
        (e, unit) => {
            let power = real_minus(format!("10^{{{e}}}"));
            if unit.is_empty() {
                power
            } else {
                format!("{power} {unit}")
            }
        }
    };
    crate::figure::label_with_unit(label, &unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(range: (f64, f64), scale: Scale, length: f32) -> Vec<String> {
        let room = |s: &str| 4.0 * crate::markup::plain(s).chars().count() as f32 + 4.0;
        let ticks = choose(Scaler { range, scale }, length, Direction::Across, &room);
        ticks.major.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn known_choices() {
        assert_eq!(
            labels((0.0, 1.0), Scale::Linear, 200.0),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(labels((-1.0, 1.0), Scale::Linear, 120.0), ["−1", "0", "1"]);
        assert_eq!(
            labels((0.0, 500.0), Scale::Linear, 250.0),
            ["0", "100", "200", "300", "400", "500"]
        );
        assert_eq!(
            labels((1e-3, 1.0), Scale::Log, 200.0),
            ["10^{−3}", "10^{−2}", "10^{−1}", "1"]
        );
        assert_eq!(labels((1.5, 7.0), Scale::Log, 150.0), ["2", "3", "5"]);
    }

    #[test]
    fn common_power_of_ten() {
        let ticks = choose(
            Scaler {
                range: (0.0, 3e-5),
                scale: Scale::Linear,
            },
            150.0,
            Direction::Across,
            &|_| 20.0,
        );
        assert_eq!(ticks.exponent, -5);
        assert_eq!(ticks.major[1].1, "1");
        assert_eq!(axis_text("Speed", "a.u.", -5), "Speed (10^{−5} a.u.)");
        assert_eq!(axis_text("Count", "", 6), "Count (10^{6})");
        assert_eq!(axis_text("Time", "s", 0), "Time (s)");
    }

    #[test]
    fn minor_ticks_fill_the_decades() {
        let scaler = Scaler {
            range: (1.0, 100.0),
            scale: Scale::Log,
        };
        let ticks = choose(scaler, 100.0, Direction::Up, &|_| 10.0);
        assert_eq!(ticks.major.len(), 3);
        assert_eq!(ticks.minor.len(), 16);
    }

    #[test]
    fn minus_signs() {
        assert_eq!(real_minus("-0.5".into()), "\u{2212}0.5");
        assert_eq!(real_minus("-0.00".into()), "0.00");
    }

    proptest! {
        #[test]
        fn ticks_lie_inside_rise_and_do_not_touch(
            low in -1e6..1e6f64, magnitude in -6.0..8.0f64, length in 60.0..500.0f32, log in any::<bool>(),
            up in any::<bool>(),
        ) {
            // Closer together, the digits of two labels may need more room than there is.
            let span = 10f64.powf(magnitude).max(low.abs() * 1e-3);
            let (range, scale) = if log {
                ((low.abs() + 1e-6, (low.abs() + 1e-6) * (1.0 + span)), Scale::Log)
            } else {
                ((low, low + span), Scale::Linear)
            };
            let scaler = Scaler { range, scale };
            let direction = if up { Direction::Up } else { Direction::Across };
            let room = |s: &str| {
                if up { 9.0 } else { 3.7 * crate::markup::plain(s).chars().count() as f32 + 5.0 }
            };
            let ticks = choose(scaler, length, direction, &room);
            prop_assert!(ticks.major.len() >= 2 || !up && length < 120.0, "{ticks:?} on {scaler:?}, {length}");
            prop_assert!(ticks.major.len() <= 12);
            prop_assert!(ticks.major.windows(2).all(|w| w[0].0 < w[1].0));
            prop_assert!(labels_fit(&ticks.major, scaler, length, &room) || ticks.major.len() <= 2);
            for at in ticks.major.iter().map(|t| t.0).chain(ticks.minor.iter().copied()) {
                let f = scaler.fraction(at).unwrap();
                prop_assert!((-1e-6..=1.0 + 1e-6).contains(&f), "{at} outside {range:?}");
            }
        }

        #[test]
        fn labels_say_where_the_ticks_are(low in -1e3..1e3f64, span in 1e-2..1e4f64) {
            let scaler = Scaler { range: (low, low + span), scale: Scale::Linear };
            let ticks = choose(scaler, 200.0, Direction::Across, &|_| 10.0);
            for (at, label) in &ticks.major {
                let read: f64 = label.replace('\u{2212}', "-").parse().unwrap();
                prop_assert!((read * 10f64.powi(ticks.exponent) - at).abs() <= 1e-9 * span.max(at.abs()));
            }
        }
    }
}
