//! The exact derivative of a step by its parameters, against finite differences.

use nullcline_data::random::{Random, Stream};
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::network::Network;
use proptest::prelude::*;

fn architecture(cell: CellKind) -> Architecture {
    Architecture {
        cell,
        inputs: 2,
        units: 5,
        hidden: if cell.takes_hidden() { 7 } else { 0 },
        outputs: 2,
        bias: true,
        readout: Readout::Linear,
        train_leak: false,
    }
}

/// Central difference quotient of the step along `direction`, over the width `h`.
fn difference(
    a: &Architecture,
    theta: &[f64],
    direction: &[f64],
    state: &[f64],
    input: &[f64],
    h: f64,
) -> Vec<f64> {
    let stepped = |e: f64| {
        let moved = theta.iter().zip(direction).map(|(p, d)| p + e * d);
        let mut next = vec![0.0; a.state_dim()];
        Network::from_f64(a.clone(), moved.collect()).step(state, input, &mut next);
        next
    };
    let (above, below) = (stepped(h), stepped(-h));
    let pairs = above.iter().zip(&below);
    pairs.map(|(a, b)| (a - b) / (2.0 * h)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_derivative_along_any_direction_is_the_limit_of_difference_quotients(seed in 0u64..1 << 40) {
        for &cell in CellKind::ALL {
            let a = architecture(cell);
            let mut random = Random::new(seed, Stream::WEIGHTS, 0);
            let mut normal = |count: usize| -> Vec<f64> {
                (0..count).map(|_| 0.6 * random.standard_normal()).collect()
            };
            let theta = normal(a.parameter_count());
            let (state, input) = (normal(a.state_dim()), normal(a.inputs));
            // Each tensor alone, so that none can hide behind another, and all of them together.
            let tensors = a.tensors();
            let whole = 0..a.parameter_count();
            for range in tensors.iter().map(|tensor| tensor.range.clone()).chain([whole]) {
                let mut direction = vec![0.0; theta.len()];
                let values = normal(range.len());
                direction[range.clone()].copy_from_slice(&values);
                let mut exact = vec![f64::NAN; a.state_dim()];
                Network::from_f64(a.clone(), theta.clone())
                    .parameter_derivative(&state, &input, &direction, &mut exact);
                let wide = difference(&a, &theta, &direction, &state, &input, 1e-5);
                let narrow = difference(&a, &theta, &direction, &state, &input, 1e-7);
                for ((exact, wide), narrow) in exact.iter().zip(&wide).zip(&narrow) {
                    // Quotients that differ span the kink of a relu.
                    if (wide - narrow).abs() < 1e-6 {
                        prop_assert!(
                            (exact - wide).abs() < 1e-7 * (1.0 + wide.abs()),
                            "{} {range:?}: {exact}, difference quotient {wide}", cell.name()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn what_the_step_does_not_depend_on_has_no_derivative() {
    for &cell in CellKind::ALL {
        let a = architecture(cell);
        let network = Network::from_f64(a.clone(), vec![0.3; a.parameter_count()]);
        for name in ["readout", "readout_bias"] {
            let mut direction = vec![0.0; a.parameter_count()];
            direction[a.tensor(name).unwrap().range].fill(1.0);
            let mut derivative = vec![f64::NAN; a.state_dim()];
            network.parameter_derivative(
                &vec![0.2; a.state_dim()],
                &[0.1, -0.4],
                &direction,
                &mut derivative,
            );
            assert_eq!(derivative, vec![0.0; a.state_dim()], "{}", cell.name());
        }
    }
}
