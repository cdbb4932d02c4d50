//! Growth of gradients under forcing, against known answers.

mod common;

use common::{Map, henon, random_network};
use ndarray::{Array2, ArrayView2, Axis, s};
use nullcline_analysis::free_run::RunInput;
use nullcline_analysis::gradient_growth::{
    Forcing, GradientGrowth, Stretch, alpha_for, bounding_alpha, gradient_growth, gradient_growths,
    growth_range, rate_range,
};
use nullcline_analysis::{Dynamics, Error};
use nullcline_models::architecture::CellKind;
use nullcline_models::network::Network;
use proptest::prelude::*;

fn stretch(states: ArrayView2<'_, f64>) -> Stretch<'_> {
    Stretch {
        states,
        inputs: RunInput::Constant(&[]),
    }
}

fn growth(map: &dyn Dynamics, states: &Array2<f64>, forced: &[bool], alpha: f64) -> GradientGrowth {
    gradient_growth(map, &stretch(states.view()), &Forcing { forced, alpha }).unwrap()
}

/// The orbit of a map as data.
fn orbit(map: &dyn Dynamics, start: &[f64], steps: usize) -> Array2<f64> {
    let mut states = Array2::zeros((steps, start.len()));
    let mut state = start.to_vec();
    let mut next = state.clone();
    for mut row in states.rows_mut() {
        row.iter_mut().zip(&state).for_each(|(to, x)| *to = *x);
        map.step(&state, &[], &mut next);
        std::mem::swap(&mut state, &mut next);
    }
    states
}

/// J = c I: |dz_t/dz_1| = ((1 - alpha) c)^(t-1), far beyond the range of f64 too.
#[test]
fn a_multiple_of_the_identity() {
    const C: f64 = 1.7;
    // The states do not grow; the Jacobian does not depend on them.
    let map = Map(|x: [f64; 3]| {
        let mut j = [[0.0; 3]; 3];
        (0..3).for_each(|i| j[i][i] = C);
        (x, j)
    });
    let states = Array2::from_elem((3001, 3), 0.5);
    for alpha in [0.0, 0.01, 0.3, 0.9] {
        let found = growth(&map, &states, &[true; 3], alpha);
        assert_eq!(found.log10_norms.len(), 3001);
        for (t, log10) in found.log10_norms.iter().enumerate() {
            let want = t as f64 * ((1.0 - alpha) * C).log10();
            assert!(
                (log10 - want).abs() < 1e-9 * (1.0 + want.abs()),
                "{t}: {log10}"
            );
        }
        assert!((found.largest_singular_value - C).abs() < 1e-12);
        assert!((found.log10_per_step() - ((1.0 - alpha) * C).log10()).abs() < 1e-12);
    }
    // Full forcing leaves nothing of the past.
    let found = growth(&map, &states, &[true; 3], 1.0);
    assert_eq!(found.log10_norms[0], 0.0);
    assert!(
        found.log10_norms[1..]
            .iter()
            .all(|x| *x == f64::NEG_INFINITY)
    );
    // Of what is not forced, all.
    let found = growth(&map, &states, &[true, false, true], 1.0);
    assert!((found.log10_norms[3000] - 3000.0 * C.log10()).abs() < 1e-6);
}

/// x' = 4 x (1 - x), started and forced on an orbit of its own: forcing changes nothing but the factor, so that
/// |dx_t/dx_1| = (1 - alpha)^(t-1) prod |4 - 8 x|, whose mean logarithm is log 2. Below 1/2
/// the forcing would not hold the network on it.
#[test]
fn a_chaotic_scalar_map() {
    let map = Map(|[x]: [f64; 1]| ([4.0 * x * (1.0 - x)], [[4.0 - 8.0 * x]]));
    let states = orbit(&map, &[0.2345], 4001);
    for alpha in [0.55, 0.6, 0.8] {
        let found = growth(&map, &states, &[true], alpha);
        let mut want = 0.0;
        for (t, log10) in found.log10_norms.iter().enumerate() {
            assert!((log10 - want).abs() < 1e-7 * (1.0 + want.abs()), "{t}");
            want += ((1.0 - alpha) * (4.0 - 8.0 * states[[t, 0]]).abs()).log10();
        }
        let per_step = found.log10_per_step();
        assert!(
            (per_step - (2.0 * (1.0 - alpha)).log10()).abs() < 5e-3,
            "{per_step}"
        );
    }
    // 4 is the largest slope on [0, 1]: alpha* comes close to 3/4.
    let star = bounding_alpha(&map, &[stretch(states.view())], &[true], &mut |_| true).unwrap();
    assert!(
        star.settled && star.sigma <= 4.0 && star.sigma > 3.999,
        "{star:?}"
    );
    assert_eq!(star.alpha, 1.0 - 1.0 / star.sigma);
}

/// The product of two matrices that do not commute, by hand: (J2 D) (J1 D) and not the other way about.
#[test]
fn products_stand_in_the_order_of_time() {
    let map = Map(|[x, y]: [f64; 2]| ([x + 1.0, y], [[1.0, x], [2.0 - x, 3.0]]));
    let states = ndarray::array![[1.0, 0.0], [9.0, 9.0], [9.0, 9.0]];
    // Only the second variable is forced: the first, on which the Jacobian depends, goes 1, 2.
    let found = growth(&map, &states, &[false, true], 0.5);
    // J1 D = [1, .5; 1, 1.5], J2 D = [1, 1; 0, 1.5]
    let product: nalgebra::Matrix2<f64> =
        nalgebra::Matrix2::new(1.0, 1.0, 0.0, 1.5) * nalgebra::Matrix2::new(1.0, 0.5, 1.0, 1.5);
    let want = product.singular_values().max().log10();
    assert!((found.log10_norms[2] - want).abs() < 1e-12);
}

/// A network that leaves the finite numbers is followed to there.
#[test]
fn unbounded_networks_end_early() {
    let map = Map(|[x]: [f64; 1]| ([x * x], [[2.0 * x]]));
    let states = Array2::from_elem((40, 1), 3.0);
    let found = growth(&map, &states, &[true], 0.0);
    assert!(found.log10_norms.len() < 40 && found.log10_norms.len() > 5);
    let forced = growth(&map, &states, &[true], 1.0);
    assert_eq!(forced.log10_norms.len(), 40);
    let range = growth_range(&[found.clone(), forced]);
    assert_eq!(range.count[1], 2);
    assert_eq!(range.count[39], 1);
    assert_eq!(range.high[1], found.log10_norms[1]);
    assert_eq!(range.low[1], f64::NEG_INFINITY);
}

#[test]
fn medians_and_ranges() {
    let of = |log10_norms: &[f64]| GradientGrowth {
        log10_norms: log10_norms.to_vec(),
        largest_singular_value: 1.0,
    };
    let range = growth_range(&[
        of(&[0.0, 3.0]),
        of(&[0.0, 1.0]),
        of(&[0.0, 2.5]),
        of(&[0.0, -8.0]),
    ]);
    assert_eq!(range.low, [0.0, -8.0]);
    assert_eq!(range.median, [0.0, 1.75]);
    assert_eq!(range.high, [0.0, 3.0]);
    let rates = rate_range(&[of(&[0.0, 1.0]), of(&[0.0, 2.0, 6.0]), of(&[0.0])]);
    assert_eq!(rates, [1.0, 2.0, 3.0]);
    assert!(rate_range(&[])[1].is_nan());
    assert_eq!(
        [0.5, 1.0, 4.0, f64::INFINITY].map(alpha_for),
        [0.0, 0.0, 0.75, 1.0]
    );
    assert!(alpha_for(f64::NAN).is_nan());
    assert_eq!(growth_range(&[]).median, Vec::<f64>::new());
}

#[test]
fn what_does_not_fit_is_named() {
    let map = henon();
    let states = Array2::from_elem((5, 2), 0.1);
    let run = |states: ArrayView2<f64>, forced: &[bool], alpha: f64| {
        gradient_growth(&map, &stretch(states), &Forcing { forced, alpha }).unwrap_err()
    };
    let all = [true; 2];
    let view = states.view();
    assert!(matches!(run(view, &[true], 0.1), Error::Shape { .. }));
    assert!(matches!(
        run(view.slice(s![.., ..1]), &all, 0.1),
        Error::Shape { .. }
    ));
    assert!(matches!(
        run(view.slice(s![..1, ..]), &all, 0.1),
        Error::TooFew { .. }
    ));
    for alpha in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(run(view, &all, alpha), Error::Setting { .. }));
    }
    let stopped = bounding_alpha(&map, &[stretch(view)], &all, &mut |_| false);
    assert_eq!(stopped.unwrap_err(), Error::Stopped);
}

/// max |A| + |W1| |W2| bounds every Jacobian of a shallow PLRNN.
fn jacobian_bound(network: &Network) -> f64 {
    let (layout, parameters) = (network.architecture().layout(), network.parameters());
    let norm = |range: std::ops::Range<usize>, columns: usize| {
        let values = &parameters[range];
        nalgebra::DMatrix::from_row_slice(values.len() / columns, columns, values)
            .singular_values()
            .max()
    };
    let a = parameters[layout.unit.clone()]
        .iter()
        .fold(0.0f64, |m, a| m.max(a.abs()));
    let architecture = network.architecture();
    a + norm(layout.recurrent, architecture.hidden) * norm(layout.hidden, architecture.units)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Proposition 2: with alpha* the product stays bounded, here by 1, as every factor is at most 1; and alpha* from all
    /// Jacobians that there are bounds it, whatever the data.
    #[test]
    fn alpha_star_bounds_the_gradient(seed in 0u64..1000, gain in 0.5f64..4.0) {
        let network = random_network(CellKind::ClippedShallowPlrnn, 0, 4, 12, gain, seed);
        // Data that the network knows nothing of.
        let data = Array2::from_shape_fn((400, 4), |(t, k)| {
            2.0 * (0.1 * t as f64 * (1.0 + k as f64) + seed as f64).sin()
        });
        let pieces: Vec<Stretch> = data.axis_chunks_iter(Axis(0), 200).map(stretch).collect();
        let forced = [true; 4];
        let star = bounding_alpha(&network, &pieces, &forced, &mut |_| true).unwrap();
        prop_assert!(star.settled);
        let bound = jacobian_bound(&network);
        prop_assert!(star.sigma <= bound.max(1.0) * (1.0 + 1e-12));
        for alpha in [star.alpha, alpha_for(bound)] {
            for growth in gradient_growths(&network, &pieces, &Forcing { forced: &forced, alpha }).unwrap() {
                prop_assert_eq!(growth.log10_norms.len(), 200);
                prop_assert!(growth.log10_norms.iter().all(|x| *x <= 1e-9));
            }
        }
    }
}
