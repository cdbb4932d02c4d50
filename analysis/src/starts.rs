//! Where a search for fixed points begins.

use ndarray::{Array2, ArrayView2};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use crate::Error;

/// Draws starts for a search: visited states and points between them, each with noise of its own.
///
/// Returns `[count, state]`. Rows 0, 2, 4, ... are visited states; rows 1, 3, 5, ... are points drawn
/// uniformly on the segment between two visited states. States are rows of `states`, drawn with
/// replacement, and every element gets an independent Gaussian of standard deviation `noise_sd`
/// added.
///
/// Saddles sit between attractors, where trajectories pass quickly if at all, and independent noise
/// in many dimensions rarely leads there: from visited states alone, 1,024 starts miss some of the
/// 27 fixed points of a 3-bit flip-flop at most noise levels; with the segments they find all at any
/// level from 0 to 0.3.
///
/// # Arguments
/// - `states`: states that the network visits, `[sample, state]`.
/// - `count`: number of starts; 1,024 is customary.
/// - `noise_sd`: in units of the state; 0.1 to 0.3 suits states of order one.
/// - `rng`: the random stream. Rows are drawn one after the other, so the first ones do not depend
///   on `count`.
///
/// # Errors
/// [`Error::TooFew`] where there is no state to draw from, [`Error::Setting`] where `noise_sd` is
/// negative or not finite.
pub fn sample_starts<R: Rng + ?Sized>(
    states: ArrayView2<'_, f64>,
    count: usize,
    noise_sd: f64,
    rng: &mut R,
) -> Result<Array2<f64>, Error> {
    if !(noise_sd.is_finite() && noise_sd >= 0.0) {
        return Err(Error::Setting {
            what: "noise_sd",
            found: noise_sd.to_string(),
            allowed: "a finite number, at least 0",
        });
    }
    if states.nrows() == 0 && count > 0 {
        return Err(Error::TooFew {
            what: "states to draw starts from",
            needed: 1,
            found: 0,
        });
    }
    let mut starts = Array2::zeros((count, states.ncols()));
    for (i, mut start) in starts.rows_mut().into_iter().enumerate() {
        start.assign(&states.row(rng.random_range(0..states.nrows())));
        if i % 2 == 1 {
            let other = states.row(rng.random_range(0..states.nrows()));
            let t: f64 = rng.random();
            for (start, other) in start.iter_mut().zip(other) {
                *start += t * (other - *start);
            }
        }
        for start in &mut start {
            let noise: f64 = rng.sample(StandardNormal);
            *start += noise_sd * noise;
        }
    }
    Ok(starts)
}

/// Draws starts uniformly in a box.
///
/// Returns `[count, state]`.
///
/// # Arguments
/// - `low`, `high`: the ends of the box, `[state]`.
/// - `count`: number of starts.
/// - `rng`: the random stream. Rows are drawn one after the other, so the first ones do not depend on `count`.
///
/// # Errors
/// [`Error::Shape`] where the ends differ in length, [`Error::Setting`] where one is not finite or `low` is not below
/// `high`.
pub fn starts_in_box<R: Rng + ?Sized>(
    low: &[f64],
    high: &[f64],
    count: usize,
    rng: &mut R,
) -> Result<Array2<f64>, Error> {
    Error::check_shape("upper ends of the box", low.len(), high.len())?;
    for (low, high) in low.iter().zip(high) {
        if !(low.is_finite() && high.is_finite() && low < high) {
            return Err(Error::Setting {
                what: "box",
                found: format!("{low} to {high}"),
                allowed: "finite numbers, the first below the second",
            });
        }
    }
    Ok(Array2::from_shape_fn((count, low.len()), |(_, i)| {
        rng.random_range(low[i]..high[i])
    }))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    #[test]
    fn even_rows_are_visited_states_and_odd_rows_lie_between() {
        let states = array![[10.0, -10.0], [20.0, -20.0], [30.0, -30.0]];
        let mut rng = SmallRng::seed_from_u64(1);
        let starts = sample_starts(states.view(), 600, 0.0, &mut rng).unwrap();
        for sample in states.rows() {
            let even = starts.rows().into_iter().step_by(2);
            let drawn = even.filter(|row| row == sample).count();
            assert!((60..140).contains(&drawn), "{drawn} of 300");
        }
        let odd: Array1<f64> = starts
            .column(0)
            .into_iter()
            .skip(1)
            .step_by(2)
            .copied()
            .collect();
        assert!(odd.iter().all(|v| (10.0..=30.0).contains(v)));
        assert!((odd.mean().unwrap() - 20.0).abs() < 1.0);
        assert!(odd.iter().filter(|v| *v % 10.0 != 0.0).count() > 150);
        assert!(
            starts
                .rows()
                .into_iter()
                .all(|row| (row[0] + row[1]).abs() < 1e-12)
        );
    }

    #[test]
    fn the_noise_is_what_was_asked_for() {
        let states = array![[1.0, -1.0]];
        let mut rng = SmallRng::seed_from_u64(2);
        let starts = sample_starts(states.view(), 4000, 0.5, &mut rng).unwrap();
        let noise = &starts - &states;
        assert!(noise.mean().unwrap().abs() < 0.02);
        assert!((noise.mapv(|v| v * v).mean().unwrap().sqrt() - 0.5).abs() < 0.02);
        let product = (&noise.column(0) * &noise.column(1)).mean().unwrap();
        assert!(product.abs() < 0.02);
    }

    #[test]
    fn the_first_rows_do_not_depend_on_the_count() {
        let states = array![[1.0, 2.0], [3.0, 4.0]];
        let few = sample_starts(states.view(), 5, 0.1, &mut SmallRng::seed_from_u64(7)).unwrap();
        let many = sample_starts(states.view(), 50, 0.1, &mut SmallRng::seed_from_u64(7)).unwrap();
        assert_eq!(few, many.slice(ndarray::s![..5, ..]));
    }

    #[test]
    fn a_box_is_filled_evenly() {
        let mut rng = SmallRng::seed_from_u64(3);
        let starts = starts_in_box(&[-1.0, 10.0], &[1.0, 30.0], 4000, &mut rng).unwrap();
        for (column, low, high) in [(0, -1.0, 1.0), (1, 10.0, 30.0)] {
            let column = starts.column(column);
            assert!(column.iter().all(|x| (low..high).contains(x)));
            let quarter = column.iter().filter(|x| **x < low + (high - low) / 4.0);
            assert!((900..1100).contains(&quarter.count()));
        }
        let error = starts_in_box(&[1.0], &[1.0], 1, &mut rng).unwrap_err();
        assert_eq!(
            error.to_string(),
            "box: found 1 to 1, allowed is finite numbers, the first below the second"
        );
    }

    #[test]
    fn bad_arguments_are_errors() {
        let none = Array2::zeros((0, 2));
        let mut rng = SmallRng::seed_from_u64(1);
        let error = sample_starts(none.view(), 1, 0.1, &mut rng).unwrap_err();
        assert!(matches!(
            error,
            Error::TooFew {
                needed: 1,
                found: 0,
                ..
            }
        ));
        let error = sample_starts(none.view(), 1, f64::NAN, &mut rng).unwrap_err();
        assert!(matches!(
            error,
            Error::Setting {
                what: "noise_sd",
                ..
            }
        ));
    }
}
