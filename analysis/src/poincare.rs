//! Poincare sections and return maps: a trajectory as a sequence of crossings.
//!
//! A trajectory of a flow, or of a map whose steps are small, is cut by a hyperplane n . x = c; from one crossing to the
//! next the dynamics is a map of one dimension less. E. N. Lorenz used the successive maxima of a signal in the same
//! way, Journal of the Atmospheric Sciences 20, 130 (1963).

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::Error;

/// A hyperplane of states x with n . x = c.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperplane {
    /// n, `[state]`, not zero; need not be of length 1.
    pub normal: Vec<f64>,
    /// c.
    pub level: f64,
}

/// In which direction a hyperplane is crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// n . x grows.
    Rising,
    /// n . x falls.
    Falling,
    /// Either.
    Both,
}

/// How a trajectory is taken to run between its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interpolation {
    /// Straight from step to step: the error is of second order in the step.
    Linear,
    /// Along the cubic through the two steps before and the two after, of the three or two that there are at the ends
    /// of the trajectory: of fourth order. For trajectories that are smooth at the scale of a step.
    Cubic,
}

/// The crossings of a hyperplane by a trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct PoincareSection {
    /// When each was, in steps from the first row of the trajectory, in between steps.
    pub times: Vec<f64>,
    /// Where, `[crossing, state]`.
    pub states: Array2<f64>,
    /// Whether n . x grew.
    pub rising: Vec<bool>,
}

impl PoincareSection {
    /// Steps from each crossing to the next; one fewer than there are crossings.
    pub fn intervals(&self) -> Vec<f64> {
        self.times.windows(2).map(|t| t[1] - t[0]).collect()
    }
}

/// The crossings of `plane` by `trajectory`, `[time, state]`.
///
/// # Method
/// A step from n . x < c to n . x >= c is a rising crossing, the opposite a falling one: a trajectory that touches the
/// plane from above does not cross it. Time and state are read off where the interpolated trajectory, which runs
/// through the states of all steps, meets the plane.
///
/// # Errors
/// [`Error::Shape`] where the plane has not the trajectory's dimension; [`Error::NotFinite`] where either is not
/// finite, or the normal is zero.
pub fn poincare_section(
    trajectory: ArrayView2<'_, f64>,
    plane: &Hyperplane,
    direction: Direction,
    interpolation: Interpolation,
) -> Result<PoincareSection, Error> {
    let (steps, dim) = trajectory.dim();
    Error::check_shape("normal of the plane", dim, plane.normal.len())?;
    let length: f64 = plane.normal.iter().map(|n| n * n).sum();
    if !(length > 0.0 && length.is_finite() && plane.level.is_finite()) {
        return Err(Error::NotFinite {
            what: "the plane, or the inverse of its normal's length,",
        });
    }
    if !trajectory.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite {
            what: "the trajectory",
        });
    }
    let normal = ArrayView1::from(&plane.normal);
    let heights: Vec<f64> = trajectory
        .rows()
        .into_iter()
        .map(|state| normal.dot(&state) - plane.level)
        .collect();
    let (mut times, mut rising, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for t in 0..steps.saturating_sub(1) {
        let above = [heights[t] >= 0.0, heights[t + 1] >= 0.0];
        let wanted = match direction {
            Direction::Rising => above == [false, true],
            Direction::Falling => above == [true, false],
            Direction::Both => above[0] != above[1],
        };
        if !wanted {
            continue;
        }
        // The steps that the interpolation runs through.
        let (first, last) = match interpolation {
            Interpolation::Linear => (t, t + 1),
            Interpolation::Cubic => (t.saturating_sub(1), (t + 2).min(steps - 1)),
        };
        let height = |s: f64| {
            let weights = lagrange(first as f64 - t as f64, last - first + 1, s);
            (first..=last)
                .zip(weights)
                .map(|(k, w)| w * heights[k])
                .sum::<f64>()
        };
        let s = match interpolation {
            Interpolation::Linear => heights[t] / (heights[t] - heights[t + 1]),
            Interpolation::Cubic => root(height, above[0]),
        };
        let weights = lagrange(first as f64 - t as f64, last - first + 1, s);
        times.push(t as f64 + s);
        rising.push(above[1]);
        for i in 0..dim {
            let values = (first..=last).zip(weights);
            states.push(values.map(|(k, w)| w * trajectory[[k, i]]).sum::<f64>());
        }
    }
    Ok(PoincareSection {
        states: Array2::from_shape_fn((times.len(), dim), |(k, i)| states[k * dim + i]),
        times,
        rising,
    })
}

/// The weights of the polynomial through the `count` <= 4 nodes `first`, `first` + 1, ... at `s`; 0 beyond them.
pub(crate) fn lagrange(first: f64, count: usize, s: f64) -> [f64; 4] {
    std::array::from_fn(|k| {
        if k >= count {
            return 0.0;
        }
        (0..count)
            .filter(|&m| m != k)
            .map(|m| (s - first - m as f64) / (k as f64 - m as f64))
            .product()
    })
}

/// Where in [0, 1] `height` changes its side, from not negative to negative where `from_above`. Bisection to the last
/// bit: a cubic may turn within a step, and one that does still crosses.
fn root(height: impl Fn(f64) -> f64, from_above: bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        if (height(middle) >= 0.0) == from_above {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// Halvings of a step: the mantissa of an f64.
const BISECTIONS: usize = 53;

/// Maxima of a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Maxima {
    /// When each was, in steps, in between steps.
    pub times: Vec<f64>,
    /// The value there.
    pub values: Vec<f64>,
}

/// The local maxima of a signal, `[time]`, in order: what it reaches at each, between its steps.
///
/// # Method
/// A step is a maximum where the signal has grown before it and does not go on growing after it; of steps of one height
/// the first counts, where the signal falls after the last. The maximum lies at the summit of the quartic through the
/// step, the two before and the two after it; at the ends of the signal, and where that summit is farther than one step
/// or lower than the step itself, of the parabola through three.
///
/// # Errors
/// [`Error::NotFinite`].
pub fn successive_maxima(signal: ArrayView1<'_, f64>) -> Result<Maxima, Error> {
    if !signal.iter().all(|x| x.is_finite()) {
        return Err(Error::NotFinite { what: "the signal" });
    }
    let (mut times, mut values) = (Vec::new(), Vec::new());
    for t in 1..signal.len().saturating_sub(1) {
        let [before, at, after] = [signal[t - 1], signal[t], signal[t + 1]];
        let falls_after = signal
            .iter()
            .skip(t + 1)
            .find(|&&x| x != at)
            .is_some_and(|&x| x < at);
        if !(before < at && falls_after) {
            continue;
        }
        // f(s) = at + slope s + curvature s^2 / 2
        let (slope, curvature) = (0.5 * (after - before), before - 2.0 * at + after);
        let summit = -slope / curvature;
        let parabola = (summit, at + 0.5 * slope * summit);
        let quartic = (t >= 2 && t + 2 < signal.len())
            .then(|| quartic_summit(std::array::from_fn(|k| signal[t + k - 2]), summit))
            .flatten();
        let (shift, value) = quartic.unwrap_or(parabola);
        times.push(t as f64 + shift);
        values.push(value);
    }
    Ok(Maxima { times, values })
}

/// The summit of the quartic through five steps, from a guess, as its distance from the third and its height.
fn quartic_summit(f: [f64; 5], guess: f64) -> Option<(f64, f64)> {
    // Derivatives at the third step by central differences, exact for a quartic.
    let d1 = (f[0] - 8.0 * f[1] + 8.0 * f[3] - f[4]) / 12.0;
    let d2 = (-f[0] + 16.0 * f[1] - 30.0 * f[2] + 16.0 * f[3] - f[4]) / 12.0;
    let d3 = (-f[0] + 2.0 * f[1] - 2.0 * f[3] + f[4]) / 2.0;
    let d4 = f[0] - 4.0 * f[1] + 6.0 * f[2] - 4.0 * f[3] + f[4];
    let slope = |s: f64| d1 + s * (d2 + s * (d3 / 2.0 + s * d4 / 6.0));
    let curvature = |s: f64| d2 + s * (d3 + s * d4 / 2.0);
    let mut s = guess;
    for _ in 0..NEWTON_STEPS {
        s -= slope(s) / curvature(s);
    }
    let value = f[2] + s * (d1 + s * (d2 / 2.0 + s * (d3 / 6.0 + s * d4 / 24.0)));
    (s.abs() <= 1.0 && curvature(s) < 0.0 && value >= f[2]).then_some((s, value))
}

/// From the summit of the parabola Newton's method needs no more.
const NEWTON_STEPS: usize = 8;

/// Each value with the next: the points of a return map.
pub fn return_map(values: &[f64]) -> Vec<[f64; 2]> {
    values.windows(2).map(|pair| [pair[0], pair[1]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array1;
    use proptest::prelude::*;
    use std::f64::consts::{FRAC_PI_2, TAU};

    /// (cos, sin) of `turn` per step, `[time, 2]`.
    fn rotation(turn: f64, steps: usize) -> Array2<f64> {
        Array2::from_shape_fn((steps, 2), |(t, i)| {
            let angle = turn * t as f64 + 0.3;
            if i == 0 { angle.cos() } else { angle.sin() }
        })
    }

    fn plane(normal: &[f64], level: f64) -> Hyperplane {
        Hyperplane {
            normal: normal.to_vec(),
            level,
        }
    }

    /// A harmonic oscillator crosses a level where its angle does, to 1e-6 of a turn with the cubic; a straight line
    /// between steps is a thousand times worse.
    #[test]
    fn a_harmonic_oscillator() {
        let turn = 0.05;
        let trajectory = rotation(turn, 5000);
        // 0.6 cos a + 0.8 sin a = cos(a - 0.927...) = 0.25
        let plane = plane(&[0.6, 0.8], 0.25);
        let phase = 0.8f64.atan2(0.6);
        for direction in [Direction::Rising, Direction::Falling] {
            // Rising before the maximum of the cosine, falling after it.
            let angle = match direction {
                Direction::Rising => phase - 0.25f64.acos(),
                _ => phase + 0.25f64.acos(),
            };
            for (interpolation, tolerance) in
                [(Interpolation::Cubic, 1e-6), (Interpolation::Linear, 1e-3)]
            {
                let found =
                    poincare_section(trajectory.view(), &plane, direction, interpolation).unwrap();
                // 5000 steps of 0.05 are 39.8 turns.
                assert!((39..=40).contains(&found.times.len()));
                for (time, state) in found.times.iter().zip(found.states.rows()) {
                    let error = ((turn * time + 0.3 - angle) / TAU).rem_euclid(1.0);
                    let error = TAU * error.min(1.0 - error);
                    assert!(error < tolerance, "{interpolation:?} {time}: {error}");
                    assert!((state[0] - angle.cos()).abs() < tolerance);
                    assert!((state[1] - angle.sin()).abs() < tolerance);
                }
                let period = TAU / turn;
                for interval in found.intervals() {
                    assert!((interval - period).abs() < 2.0 * tolerance / turn);
                }
                let rising = direction == Direction::Rising;
                assert!(found.rising.iter().all(|&r| r == rising));
            }
        }
    }

    /// A rotation crosses an axis at equal intervals, both ways twice as often.
    #[test]
    fn a_rotation_crosses_at_equal_intervals() {
        let trajectory = rotation(0.1, 2000);
        let both = poincare_section(
            trajectory.view(),
            &plane(&[0.0, 1.0], 0.0),
            Direction::Both,
            Interpolation::Cubic,
        )
        .unwrap();
        assert_eq!(both.times.len(), 63);
        assert!((both.times[0] - (TAU / 2.0 - 0.3) / 0.1).abs() < 1e-6);
        for interval in both.intervals() {
            assert!((interval - TAU / 0.2).abs() < 2e-6);
        }
        assert!(both.rising.windows(2).all(|r| r[0] != r[1]));
        assert!(!both.rising[0]);
    }

    /// Lorenz-63 by Runge-Kutta steps of 0.01: the maximum of z that follows one of height m is a function of m, with
    /// one cusp (Lorenz 1963, figure 4).
    #[test]
    fn the_cusp_map_of_lorenz() {
        fn flow(x: [f64; 3]) -> [f64; 3] {
            [
                10.0 * (x[1] - x[0]),
                x[0] * (28.0 - x[2]) - x[1],
                x[0] * x[1] - 8.0 / 3.0 * x[2],
            ]
        }
        fn step(x: [f64; 3], h: f64) -> [f64; 3] {
            let along = |k: [f64; 3], h: f64| std::array::from_fn(|i| x[i] + h * k[i]);
            let k1 = flow(x);
            let k2 = flow(along(k1, h / 2.0));
            let k3 = flow(along(k2, h / 2.0));
            let k4 = flow(along(k3, h));
            std::array::from_fn(|i| x[i] + h / 6.0 * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]))
        }
        let mut x = [1.0, 1.0, 20.0];
        for _ in 0..5000 {
            x = step(x, 0.01);
        }
        let z = Array1::from_shape_simple_fn(400_000, || {
            x = step(x, 0.01);
            x[2]
        });
        let maxima = successive_maxima(z.view()).unwrap();
        let mut map = return_map(&maxima.values);
        assert!((5200..5500).contains(&map.len()), "{}", map.len());
        map.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let top = (0..map.len())
            .max_by(|&a, &b| map[a][1].total_cmp(&map[b][1]))
            .unwrap();
        assert!((map[top][0] - 38.55).abs() < 0.05, "{:?}", map[top]);
        // One rising and one falling branch: along either the map is monotonic, but for its thickness.
        let mut thickness = 0.0f64;
        for (branch, sign) in [(&map[..=top], 1.0), (&map[top..], -1.0)] {
            for pair in branch.windows(2) {
                thickness = thickness.max(-sign * (pair[1][1] - pair[0][1]));
            }
        }
        // Of a range of 17: the attractor is a surface but for its fractal depth.
        assert!(thickness < 0.01, "{thickness}");
        // The highest maximum is the first on the unstable manifold of the origin, along the eigenvector of the largest
        // eigenvalue of [-10, 10; 28, -1].
        let rate = 0.5 * (-11.0 + 1201f64.sqrt());
        let mut x = [1e-6, 1e-6 * (1.0 + rate / 10.0), 0.0];
        let mut highest = 0.0f64;
        for _ in 0..40_000 {
            x = step(x, 1e-4);
            if x[2] < highest {
                break;
            }
            highest = x[2];
        }
        // Trajectories come near the origin, and so near this height, but rarely very near.
        assert!(map[top][1] < highest && map[top][1] > highest - 2.0);
        assert!((highest - 48.36).abs() < 0.01, "{highest}");
    }

    /// At the summits of a sine, between its steps.
    #[test]
    fn maxima_of_a_sine() {
        let signal = Array1::from_shape_fn(1000, |t| 2.0 * (0.2 * t as f64).sin());
        let found = successive_maxima(signal.view()).unwrap();
        assert_eq!(found.times.len(), 32);
        for (k, (time, value)) in found.times.iter().zip(&found.values).enumerate() {
            assert!(
                (time - (FRAC_PI_2 + TAU * k as f64) / 0.2).abs() < 1e-3,
                "{time}"
            );
            assert!((value - 2.0).abs() < 1e-6, "{value}");
        }
        // A summit that is flat counts once, an end does not.
        let found = successive_maxima(Array1::from(vec![3.0, 0.0, 1.0, 1.0, 0.5, 0.5, 2.0]).view());
        assert_eq!(found.unwrap().times.len(), 1);
        let found = successive_maxima(Array1::from(vec![0.0, 1.0, 1.0]).view()).unwrap();
        assert_eq!(found.times.len(), 0);
        assert!(
            successive_maxima(Array1::zeros(0).view())
                .unwrap()
                .times
                .is_empty()
        );
        assert!(successive_maxima(Array1::from_elem(5, f64::NAN).view()).is_err());
    }

    #[test]
    fn maps_are_pairs_of_neighbours() {
        assert_eq!(return_map(&[1.0, 2.0, 3.0]), [[1.0, 2.0], [2.0, 3.0]]);
        assert!(return_map(&[1.0]).is_empty());
    }

    #[test]
    fn what_cannot_be_cut_is_an_error() {
        let trajectory = rotation(0.1, 10);
        let cut = |trajectory: &Array2<f64>, plane: &Hyperplane| {
            poincare_section(
                trajectory.view(),
                plane,
                Direction::Both,
                Interpolation::Cubic,
            )
        };
        assert!(cut(&trajectory, &plane(&[1.0], 0.0)).is_err());
        assert!(cut(&trajectory, &plane(&[0.0, 0.0], 0.0)).is_err());
        assert!(cut(&trajectory, &plane(&[1.0, 0.0], f64::NAN)).is_err());
        assert!(cut(&trajectory.mapv(|_| f64::NAN), &plane(&[1.0, 0.0], 0.0)).is_err());
        let none = cut(&Array2::zeros((0, 2)), &plane(&[1.0, 0.0], 0.0)).unwrap();
        assert_eq!((none.times.len(), none.states.dim()), (0, (0, 2)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Every crossing lies on the plane and in its step, and they go to and fro; a plane described by another
        /// multiple of its normal is the same.
        #[test]
        fn crossings_lie_on_the_plane(
            values in prop::collection::vec(-1.0..1.0f64, 6..90),
            normal in [-1.0..1.0f64, -1.0..1.0f64, 0.1..1.0f64],
            level in -0.5..0.5f64,
            cubic in any::<bool>(),
            factor in 0.1..10.0f64,
        ) {
            let steps = values.len() / 3;
            let trajectory = Array2::from_shape_vec((steps, 3), values[..3 * steps].to_vec()).unwrap();
            let interpolation = if cubic { Interpolation::Cubic } else { Interpolation::Linear };
            let found = poincare_section(trajectory.view(), &plane(&normal, level), Direction::Both, interpolation).unwrap();
            for state in found.states.rows() {
                let height: f64 = normal.iter().zip(state).map(|(n, x)| n * x).sum();
                prop_assert!((height - level).abs() < 1e-12);
            }
            prop_assert!(found.times.windows(2).all(|t| t[0] <= t[1]));
            prop_assert!(found.rising.windows(2).all(|r| r[0] != r[1]));
            for rising in [true, false] {
                let direction = if rising { Direction::Rising } else { Direction::Falling };
                let one = poincare_section(trajectory.view(), &plane(&normal, level), direction, interpolation).unwrap();
                let times: Vec<f64> = (0..found.times.len()).filter(|&k| found.rising[k] == rising).map(|k| found.times[k]).collect();
                prop_assert_eq!(one.times, times);
            }
            let scaled = plane(&normal.map(|n| factor * n), factor * level);
            let same = poincare_section(trajectory.view(), &scaled, Direction::Both, interpolation).unwrap();
            for (a, b) in found.times.iter().zip(&same.times) {
                prop_assert!((a - b).abs() < 1e-9);
            }
        }
    }
}
