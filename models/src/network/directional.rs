//! The derivative of a step along a direction in the space of parameters.

use super::Network;
use crate::architecture::with_cell;
use crate::cells::{Cell, Layer, MAX_SLOTS};
use crate::scalar::Dual;
use std::ops::Range;

impl Network {
    /// `derivative` = d/de F(`state`, `input`) of the network with parameters theta + e `direction`, at e = 0.
    ///
    /// `direction` has the length of [`parameters`](Self::parameters) and their order (see
    /// [`Architecture::tensors`](crate::architecture::Architecture::tensors)); `derivative` is `[state]`. It is exact: the
    /// cell's own bodies are evaluated with dual numbers. Where a unit is at the kink of its relu, the derivative is that
    /// of the side on which it is off, as for [`step_with_jacobian`](Self::step_with_jacobian).
    ///
    /// # Panics
    /// If a slice has another length.
    pub fn parameter_derivative(
        &self,
        state: &[f64],
        input: &[f64],
        direction: &[f64],
        derivative: &mut [f64],
    ) {
        assert_eq!(
            direction.len(),
            self.parameters.len(),
            "length of the direction"
        );
        assert_eq!(state.len(), self.state_dim(), "length of the state");
        assert_eq!(input.len(), self.architecture.inputs, "length of the input");
        with_cell!(self.architecture.cell, C => {
            self.step_along::<C>(state, input, direction, derivative);
        });
    }

    fn step_along<C: Cell>(
        &self,
        state: &[f64],
        input: &[f64],
        direction: &[f64],
        derivative: &mut [f64],
    ) {
        let units = self.architecture.units;
        let (states, gates) = (C::STATES, C::GATES);
        let zero = Dual::fixed(0.0);
        let parameter = |at: usize| Dual {
            value: self.parameters[at],
            derivative: direction[at],
        };
        // The parameters of unit i of `count`, one for each of `names`.
        let slots = |range: &Range<usize>, names: usize, count: usize, i: usize| {
            let mut slots = [zero; MAX_SLOTS];
            for (k, slot) in slots.iter_mut().take(names).enumerate() {
                *slot = parameter(range.start + k * count + i);
            }
            slots
        };
        // y += M x
        let add_product = |range: &Range<usize>, x: &[Dual], y: &mut [Dual]| {
            for (i, sum) in y.iter_mut().enumerate() {
                let row = range.start + i * x.len();
                for (j, &xj) in x.iter().enumerate() {
                    *sum = *sum + parameter(row + j) * xj;
                }
            }
        };
        let unit_parameters =
            |i: usize| slots(&self.layout.unit, C::UNIT_PARAMETERS.len(), units, i);
        let unit_state = |i: usize| {
            let mut s = [zero; MAX_SLOTS];
            for (k, s) in s.iter_mut().take(states).enumerate() {
                *s = Dual::fixed(state[k * units + i]);
            }
            s
        };
        let mut presynaptic: Vec<Dual> = (0..units)
            .map(|i| {
                if let Some(rate) = self.held_rate(i) {
                    return Dual::fixed(rate);
                }
                let mut r = [zero];
                let p = unit_parameters(i);
                C::rate(
                    &unit_state(i)[..states],
                    &p[..C::UNIT_PARAMETERS.len()],
                    &mut r,
                );
                r[0]
            })
            .collect();
        match C::LAYER {
            Layer::Hidden => {
                let mut g = vec![zero; self.architecture.hidden];
                add_product(&self.layout.hidden, &presynaptic, &mut g);
                presynaptic = g;
            }
            Layer::CentredUnits => {
                let sum = presynaptic.iter().fold(zero, |sum, &rate| sum + rate);
                let mean = sum / Dual::fixed(units as f64);
                presynaptic.iter_mut().for_each(|rate| *rate = *rate - mean);
            }
            Layer::Absent | Layer::Units | Layer::Bases => {}
        }
        if C::HAS_LAYER {
            let bases = self.architecture.bases();
            for (i, value) in presynaptic.iter_mut().enumerate() {
                let g = std::mem::replace(value, zero);
                for l in i * bases..(i + 1) * bases {
                    let mut c = [zero; MAX_SLOTS];
                    for (k, c) in c.iter_mut().take(C::HIDDEN_PARAMETERS.len()).enumerate() {
                        let at = self.architecture.layer_parameter(k, l);
                        *c = parameter(self.layout.hidden_unit.start + at);
                    }
                    let mut q = [zero];
                    C::hidden(&[g], &c[..C::HIDDEN_PARAMETERS.len()], &mut q);
                    *value = *value + q[0];
                }
            }
        }
        let mut recurrent = vec![zero; gates * units];
        add_product(&self.layout.recurrent, &presynaptic, &mut recurrent);
        let mut from_input = vec![zero; gates * units];
        let input: Vec<Dual> = input.iter().map(|&u| Dual::fixed(u)).collect();
        add_product(&self.layout.input, &input, &mut from_input);
        for (at, z) in from_input.iter_mut().enumerate() {
            if let Some(&factor) = self.input_factors.get(at % units) {
                *z = Dual::fixed(factor) * *z;
            }
        }
        for (z, at) in from_input.iter_mut().zip(self.layout.bias.clone()) {
            *z = *z + parameter(at);
        }
        for i in 0..units {
            let [mut zr, mut zx, mut h, mut tape] = [[zero; MAX_SLOTS]; 4];
            for g in 0..gates {
                zr[g] = recurrent[g * units + i];
                zx[g] = from_input[g * units + i];
            }
            C::update(
                &unit_state(i)[..states],
                &zr[..gates],
                &zx[..gates],
                &unit_parameters(i)[..C::UNIT_PARAMETERS.len()],
                &mut h[..states],
                &mut tape[..C::TAPE],
            );
            for k in 0..states {
                derivative[k * units + i] = h[k].derivative;
            }
        }
    }
}
