//! Networks of which single units are silenced, clamped, or given more or less of the input.

use super::Network;
use nullcline_data::{Error, Result};
use std::collections::BTreeMap;

/// What is done to single units of a network, its parameters left as they are: rates are held at a value, external
/// inputs are scaled.
///
/// A unit whose rate is held is seen at that value, whatever its state: by the other units, by itself through its
/// recurrent weights, and by the readout. Held at 0 it is silenced, and the network is the one with all weights that
/// lead out of the unit set to zero (of the recurrent matrix, or of the hidden layer where there is one, and of the
/// readout). The state of the unit goes on by itself: it takes its inputs and what it keeps of its own past (a leak, a
/// gate, the cell state of an LSTM), and nobody sees it.
///
/// A scaled input is the weights from the input to all gates of the unit times a factor, rounded to f64; the bias stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lesion {
    held: BTreeMap<usize, f64>,
    input_factors: BTreeMap<usize, f64>,
}

impl Lesion {
    /// Nothing is done yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the rate of `unit`, from 0, held at 0.
    #[must_use]
    pub fn silence(self, unit: usize) -> Self {
        self.hold(unit, 0.0)
    }

    /// With the rate of `unit`, from 0, held at `rate`.
    #[must_use]
    pub fn hold(mut self, unit: usize, rate: f64) -> Self {
        self.held.insert(unit, rate);
        self
    }

    /// With the external input of `unit`, from 0, multiplied by `factor`.
    #[must_use]
    pub fn scale_input(mut self, unit: usize, factor: f64) -> Self {
        self.input_factors.insert(unit, factor);
        self
    }
}

impl Network {
    /// The network with a lesion, on top of those that it has: in its step, its Jacobians, its enclosures, its rates and
    /// its readout. [`parameters`](Self::parameters) are the same, and so is
    /// [`state_from_observation`](Self::state_from_observation): a lesion comes after the start.
    ///
    /// # Errors
    /// [`Error::Argument`] where a unit is not one of the network's, or a rate or factor is not finite.
    pub fn with_lesion(&self, lesion: &Lesion) -> Result<Self> {
        let units = self.architecture.units;
        for (&unit, &value) in lesion.held.iter().chain(&lesion.input_factors) {
            if unit >= units {
                let allowed = format!("an integer from 0 to {}", units.saturating_sub(1));
                return Err(Error::argument(
                    "unit of a lesion",
                    unit.to_string(),
                    allowed,
                ));
            }
            if !value.is_finite() {
                let what = format!("rate or factor of unit {unit} in a lesion");
                return Err(Error::argument(what, value.to_string(), "a finite number"));
            }
        }
        let mut network = self.clone();
        network.held.resize(units, None);
        for (&unit, &rate) in &lesion.held {
            network.held[unit] = Some(rate);
        }
        network.input_factors.resize(units, 1.0);
        for (&unit, &factor) in &lesion.input_factors {
            network.input_factors[unit] *= factor;
            for row in network.input_columns.chunks_exact_mut(units) {
                // A chunk is one gate of all units, under one input.
                row[unit] *= factor;
            }
        }
        Ok(network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{Architecture, CellKind, Readout};
    use crate::interval::Interval;
    use crate::network::tests::shallow_equivalent;
    use ndarray::Array2;
    use proptest::prelude::*;

    const INPUT: [f64; 2] = [0.3, -0.7];

    fn network(cell: CellKind, units: usize, readout: Readout, numbers: &[f64]) -> Network {
        let architecture = Architecture {
            cell,
            inputs: 2,
            units,
            hidden: if cell.takes_hidden() { units + 2 } else { 0 },
            outputs: 2,
            bias: true,
            readout,
            train_leak: false,
        };
        let count = architecture.parameter_count();
        let parameters = numbers.iter().copied().cycle().take(count).collect();
        Network::from_f64(architecture, parameters)
    }

    /// The same network with every weight that leads out of a unit set to zero. Where W sees functions of the units, a
    /// unit that is seen at 0 may still be seen: there the weights are those of the hidden units that do the same.
    fn cut_off(network: &Network, unit: usize) -> Network {
        let network = &shallow_equivalent(network);
        let layout = network.layout.clone();
        let mut parameters = network.parameters.clone();
        let units = network.architecture.units;
        let seen_by = match network.architecture.cell.shape().has_hidden {
            true => layout.hidden,
            false => layout.recurrent,
        };
        for range in [seen_by, layout.readout] {
            for row in parameters[range].chunks_exact_mut(units) {
                row[unit] = 0.0;
            }
        }
        Network::from_f64(network.architecture.clone(), parameters)
    }

    /// The same network with the weights from the input to a unit times a factor.
    fn scaled(network: &Network, unit: usize, factor: f64) -> Network {
        let mut parameters = network.parameters.clone();
        let units = network.architecture.units;
        let rows = parameters[network.layout.input.clone()].chunks_exact_mut(INPUT.len());
        for (_, row) in rows.enumerate().filter(|(index, _)| index % units == unit) {
            row.iter_mut().for_each(|weight| *weight *= factor);
        }
        Network::from_f64(network.architecture.clone(), parameters)
    }

    /// Step, both Jacobians and readout at a state.
    fn all_of(network: &Network, state: &[f64]) -> [Vec<f64>; 4] {
        let dim = state.len();
        let (mut next, mut jacobian) = (vec![0.0; dim], vec![0.0; dim * dim]);
        network.step_with_jacobian(state, &INPUT, &mut next, &mut jacobian);
        let mut by_input = vec![0.0; dim * INPUT.len()];
        network.input_jacobian(state, &INPUT, &mut by_input);
        [next, jacobian, by_input, network.readout(state)]
    }

    proptest! {
        #[test]
        fn a_silenced_unit_has_no_weights_that_lead_out_and_a_scaled_input_scales_them(
            units in 2usize..5,
            unit in 0usize..2,
            factor in -2.0f64..2.0,
            numbers in prop::collection::vec(-1.5f64..1.5, 97),
            state in prop::collection::vec(-1.5f64..1.5, 8),
        ) {
            for &cell in CellKind::ALL {
                let intact = network(cell, units, Readout::Linear, &numbers);
                let state = &state[..intact.state_dim()];
                let pairs = [
                    (Lesion::new().silence(unit), cut_off(&intact, unit)),
                    (Lesion::new().scale_input(unit, factor), scaled(&intact, unit, factor)),
                    (
                        Lesion::new().silence(unit).scale_input(1 - unit, factor),
                        scaled(&cut_off(&intact, unit), 1 - unit, factor),
                    ),
                ];
                for (lesion, same) in pairs {
                    let lesioned = intact.with_lesion(&lesion).unwrap();
                    prop_assert_eq!(&lesioned.parameters, &intact.parameters);
                    for (got, want) in all_of(&lesioned, state).iter().zip(all_of(&same, state)) {
                        for (got, want) in got.iter().zip(want) {
                            prop_assert!((got - want).abs() <= 1e-14 * (1.0 + want.abs()), "{}", cell.name());
                        }
                    }
                }
            }
        }

        #[test]
        fn enclosures_of_a_lesioned_network_hold_its_steps_and_slopes(
            units in 1usize..5,
            rate in -1.5f64..1.5,
            numbers in prop::collection::vec(-1.5f64..1.5, 97),
            centre in prop::collection::vec(-1.5f64..1.5, 8),
            inside in prop::collection::vec((-1.0f64..1.0, -1.0f64..1.0), 8),
            size in prop::sample::select(vec![1e-12, 1e-3, 1.0]),
        ) {
            let lesion = Lesion::new().hold(0, rate).scale_input(units - 1, 0.5);
            for &cell in CellKind::ALL {
                let lesioned = network(cell, units, Readout::Linear, &numbers).with_lesion(&lesion).unwrap();
                let dim = lesioned.state_dim();
                let state: Vec<Interval> = centre[..dim].iter().map(|&x| Interval::around(x, size)).collect();
                let at = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> {
                    centre[..dim].iter().zip(&inside).map(|(x, t)| x + size * pick(t)).collect()
                };
                let (x, y) = (at(|t| t.0), at(|t| t.1));
                let mut next = vec![Interval::WHOLE; dim];
                let (mut midpoint, mut radius) = (vec![f64::NAN; dim * dim], vec![f64::NAN; dim * dim]);
                lesioned.enclose_jacobian(&state, &INPUT, &mut next, &mut midpoint, &mut radius);
                let (mut fx, mut fy) = (vec![0.0; dim], vec![0.0; dim]);
                let mut jacobian = vec![0.0; dim * dim];
                lesioned.step_with_jacobian(&x, &INPUT, &mut fx, &mut jacobian);
                lesioned.step(&y, &INPUT, &mut fy);
                for i in 0..dim {
                    prop_assert!(next[i].contains(fx[i]) && next[i].contains(fy[i]), "{}", cell.name());
                    let (mut middle, mut slack) = (0.0, 1e-14 * dim as f64);
                    for j in 0..dim {
                        let (m, r) = (midpoint[i * dim + j], radius[i * dim + j]);
                        middle += m * (x[j] - y[j]);
                        slack += r * (x[j] - y[j]).abs();
                        prop_assert!((jacobian[i * dim + j] - m).abs() <= r + 1e-14, "{} {i} {j}", cell.name());
                    }
                    prop_assert!((fx[i] - fy[i] - middle).abs() <= slack, "{} {i}", cell.name());
                }
            }
        }
    }

    #[test]
    fn a_held_unit_is_seen_at_its_value_and_its_own_state_goes_on() {
        // Unit 0 sees nothing but the input and itself through the leak; unit 1 sees unit 0.
        let architecture = Architecture {
            cell: CellKind::LeakyRateTanh,
            inputs: 1,
            units: 2,
            hidden: 0,
            outputs: 2,
            bias: false,
            readout: Readout::Identity,
            train_leak: false,
        };
        // W = [[0, 0], [2, 0]], U = [1, 0], leaks 1/2.
        let parameters = vec![0.0, 0.0, 2.0, 0.0, 1.0, 0.0, 0.5, 0.5];
        let intact = Network::from_f64(architecture, parameters);
        let clamped = intact.with_lesion(&Lesion::new().hold(0, -0.25)).unwrap();
        let inputs = Array2::from_elem((3, 1), 0.8);
        let (before, after) = (
            intact.run(&[0.0, 0.0], inputs.view()),
            clamped.run(&[0.0, 0.0], inputs.view()),
        );
        let mut second = 0.0;
        for t in 1..=3 {
            assert_eq!(before[[t, 0]], after[[t, 0]]);
            second = 0.5 * second + 0.5 * (2.0f64 * -0.25).tanh();
            assert!((after[[t, 1]] - second).abs() < 1e-15);
            let state = after.row(t).to_vec();
            assert_eq!(clamped.rates(&state), [-0.25, second]);
            assert_eq!(clamped.readout(&state), [-0.25, second]);
        }
    }

    #[test]
    fn a_box_that_traps_a_lesioned_network_does() {
        let numbers: Vec<f64> = (0..97).map(|k| (1.7 * f64::from(k)).sin()).collect();
        let lesion = Lesion::new().hold(0, 1.2).silence(1).scale_input(2, 3.0);
        for cell in [CellKind::VanillaTanh, CellKind::Gru, CellKind::Lstm] {
            let lesioned = network(cell, 3, Readout::Linear, &numbers)
                .with_lesion(&lesion)
                .unwrap();
            let trap = lesioned.trapping_box(&INPUT).unwrap();
            let mut next = vec![0.0; trap.len()];
            for corner in 0..1 << trap.len() {
                let sign = |i: usize| if corner >> i & 1 == 1 { 1.0 } else { -1.0 };
                let state: Vec<f64> = (0..trap.len()).map(|i| sign(i) * trap[i]).collect();
                lesioned.step(&state, &INPUT, &mut next);
                assert!(next.iter().zip(&trap).all(|(x, r)| x.abs() < *r));
            }
        }
    }

    #[test]
    fn the_linear_region_is_that_of_the_rates_that_are_seen() {
        let numbers: Vec<f64> = (0..97).map(|k| (1.7 * f64::from(k)).sin()).collect();
        for cell in [
            CellKind::VanillaRelu,
            CellKind::LeakyRateRelu,
            CellKind::LeakyCurrentRelu,
            CellKind::ShallowPlrnn,
            CellKind::ClippedShallowPlrnn,
            CellKind::Plrnn,
            CellKind::MeanCentredPlrnn,
            CellKind::DendriticPlrnn,
            CellKind::ClippedDendriticPlrnn,
            CellKind::AlmostLinearRnn,
        ] {
            let lesioned = network(cell, 4, Readout::Linear, &numbers)
                .with_lesion(&Lesion::new().silence(1))
                .unwrap();
            // What a silenced unit does is seen nowhere, so that it changes no region.
            let region = |x: f64| lesioned.linear_region(&[0.3, x, -0.2, 0.9], &INPUT);
            assert_eq!(region(-40.0), region(40.0), "{}", cell.name());
            assert_ne!(
                region(0.0),
                lesioned.linear_region(&[-30.0, 0.0, 40.0, -50.0], &INPUT),
                "{}",
                cell.name()
            );
        }
    }

    #[test]
    fn what_is_no_unit_or_no_number_is_an_error() {
        let numbers = [0.5; 97];
        let network = network(CellKind::Gru, 3, Readout::Linear, &numbers);
        let refused = |lesion: Lesion| network.with_lesion(&lesion).unwrap_err().to_string();
        assert_eq!(
            refused(Lesion::new().silence(3)),
            "unit of a lesion: found 3; allowed: an integer from 0 to 2"
        );
        assert!(refused(Lesion::new().hold(0, f64::NAN)).contains("NaN"));
        assert!(refused(Lesion::new().scale_input(7, 1.0)).contains("found 7"));
    }
}
