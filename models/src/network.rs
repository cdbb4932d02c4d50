//! One network in f64, for analysis: steps, exact Jacobians, readout.
//!
//! Training is f32 and lives in [`crate::engine`]; this is the same cell evaluated in f64. Local derivatives
//! come from dual numbers through the cell's own bodies, so that a new cell needs nothing here.

use crate::architecture::{Architecture, Layout, Readout, with_cell};
use crate::cells::{Cell, MAX_SLOTS};
use crate::linear::{pseudo_inverse, transposed};
use crate::scalar::Dual;
use ndarray::{Array2, ArrayView2};

/// A network with its parameters in f64.
#[derive(Clone, Debug)]
pub struct Network {
    architecture: Architecture,
    layout: Layout,
    parameters: Vec<f64>,
    /// W, Wh and U transposed, [from, to]: products by columns run over contiguous memory without
    /// reordering a sum, which the compiler may not do for us.
    recurrent_columns: Vec<f64>,
    hidden_columns: Vec<f64>,
    input_columns: Vec<f64>,
}

/// What one step computes on the way, kept for the Jacobian.
struct Step {
    /// Derivative of the rate of each unit by its state variables, [variable, unit].
    rate_slopes: Vec<f64>,
    /// Derivative of each hidden unit by its argument.
    hidden_slopes: Vec<f64>,
    /// Derivative of the new state by the old of the same unit, [to variable, from variable, unit].
    by_state: Vec<f64>,
    /// Derivative of the new state by the recurrent gates, [variable, gate, unit].
    by_recurrent: Vec<f64>,
    /// Derivative of the new state by the input gates, [variable, gate, unit].
    by_input: Vec<f64>,
}

/// y += M x with M given by columns.
fn add_product(columns: &[f64], x: &[f64], y: &mut [f64]) {
    let rows = y.len();
    for (&xj, column) in x.iter().zip(columns.chunks_exact(rows.max(1))) {
        if xj != 0.0 {
            for (yi, mij) in y.iter_mut().zip(column) {
                *yi += mij * xj;
            }
        }
    }
}

impl Network {
    /// A network from its architecture and the flat parameter vector of one network of an ensemble.
    ///
    /// # Panics
    /// If `parameters` has not the architecture's length.
    pub fn new(architecture: Architecture, parameters: &[f32]) -> Self {
        Self::from_f64(
            architecture,
            parameters.iter().map(|&p| f64::from(p)).collect(),
        )
    }

    /// The same from parameters in f64.
    ///
    /// # Panics
    /// If `parameters` has not the architecture's length.
    pub fn from_f64(architecture: Architecture, parameters: Vec<f64>) -> Self {
        let layout = architecture.layout();
        assert_eq!(
            parameters.len(),
            layout.total,
            "length of the parameter vector"
        );
        let of = |range: &std::ops::Range<usize>| &parameters[range.clone()];
        Network {
            recurrent_columns: transposed(of(&layout.recurrent), architecture.recurrent_columns()),
            hidden_columns: transposed(of(&layout.hidden), architecture.units),
            input_columns: transposed(of(&layout.input), architecture.inputs),
            architecture,
            layout,
            parameters,
        }
    }

    /// Cell, sizes and readout.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The flat parameter vector.
    pub fn parameters(&self) -> &[f64] {
        &self.parameters
    }

    /// Dimensions of the state.
    pub fn state_dim(&self) -> usize {
        self.architecture.state_dim()
    }

    /// next = F(state, input).
    pub fn step(&self, state: &[f64], input: &[f64], next: &mut [f64]) {
        with_cell!(self.architecture.cell, C => self.step_of::<C>(state, input, next, None));
    }

    /// next = F(state, input) and jacobian = dF/dstate, row-major [to, from].
    pub fn step_with_jacobian(
        &self,
        state: &[f64],
        input: &[f64],
        next: &mut [f64],
        jacobian: &mut [f64],
    ) {
        let step = self.step_with_slopes(state, input, next);
        let shape = self.architecture.cell.shape();
        let (units, dim) = (self.architecture.units, self.state_dim());
        let through_hidden;
        let recurrent = if shape.has_hidden {
            through_hidden = self.recurrent_through_hidden(&step.hidden_slopes);
            &through_hidden[..]
        } else {
            &self.parameters[self.layout.recurrent.clone()]
        };
        // d h_k(i) / d s_m(j) = sum_g (d h_k / d zr_g)(i) M[g i, j] (d r / d s_m)(j)  +  [i = j] d h_k / d s_m
        jacobian.fill(0.0);
        for k in 0..shape.states {
            for i in 0..units {
                let row = &mut jacobian[(k * units + i) * dim..][..dim];
                for g in 0..shape.gates {
                    let slope = step.by_recurrent[(k * shape.gates + g) * units + i];
                    if slope == 0.0 {
                        continue;
                    }
                    let weights = &recurrent[(g * units + i) * units..][..units];
                    for m in 0..shape.states {
                        let rate_slopes = &step.rate_slopes[m * units..][..units];
                        let block = &mut row[m * units..][..units];
                        for ((out, w), rate_slope) in block.iter_mut().zip(weights).zip(rate_slopes)
                        {
                            *out += slope * w * rate_slope;
                        }
                    }
                }
                for m in 0..shape.states {
                    row[m * units + i] += step.by_state[(k * shape.states + m) * units + i];
                }
            }
        }
    }

    /// dF/dinput, row-major [state, input].
    pub fn input_jacobian(&self, state: &[f64], input: &[f64], jacobian: &mut [f64]) {
        let mut next = vec![0.0; self.state_dim()];
        let step = self.step_with_slopes(state, input, &mut next);
        let shape = self.architecture.cell.shape();
        let (units, inputs) = (self.architecture.units, self.architecture.inputs);
        let weights = &self.parameters[self.layout.input.clone()];
        jacobian.fill(0.0);
        for k in 0..shape.states {
            for i in 0..units {
                let row = &mut jacobian[(k * units + i) * inputs..][..inputs];
                for g in 0..shape.gates {
                    let slope = step.by_input[(k * shape.gates + g) * units + i];
                    for (out, w) in row.iter_mut().zip(&weights[(g * units + i) * inputs..]) {
                        *out += slope * w;
                    }
                }
            }
        }
    }

    /// The rates of a state: what the readout and the other units see, one per unit.
    pub fn rates(&self, state: &[f64]) -> Vec<f64> {
        with_cell!(self.architecture.cell, C => {
            (0..self.architecture.units).map(|i| self.rate_of::<C>(state, i)).collect()
        })
    }

    /// y, the output at a state.
    pub fn readout(&self, state: &[f64]) -> Vec<f64> {
        let mut rates = self.rates(state);
        let outputs = self.architecture.outputs;
        if self.architecture.readout == Readout::Identity {
            rates.truncate(outputs);
            return rates;
        }
        let weights = &self.parameters[self.layout.readout.clone()];
        let bias = &self.parameters[self.layout.readout_bias.clone()];
        (0..outputs)
            .map(|o| {
                let row = &weights[o * rates.len()..][..rates.len()];
                let product: f64 = row.iter().zip(&rates).map(|(w, r)| w * r).sum();
                product + bias.get(o).copied().unwrap_or(0.0)
            })
            .collect()
    }

    /// The state that an observation implies, as forced training takes it (reference: Hess et al. 2023):
    /// pinv(R) (x - d) for a linear readout; the observation itself, then the learned map of it, for the
    /// identity. State variables beyond the first are zero.
    pub fn state_from_observation(&self, observation: &[f64]) -> Vec<f64> {
        let mut state = vec![0.0; self.state_dim()];
        let (units, outputs) = (self.architecture.units, self.architecture.outputs);
        if self.architecture.readout == Readout::Identity {
            let observed = outputs.min(units);
            state[..observed].copy_from_slice(&observation[..observed]);
            let map = &self.parameters[self.layout.initial.clone()];
            for (i, row) in map.chunks_exact(outputs).enumerate() {
                state[observed + i] = row.iter().zip(observation).map(|(l, x)| l * x).sum();
            }
            return state;
        }
        let inverse = pseudo_inverse(
            &self.parameters[self.layout.readout.clone()],
            outputs,
            units,
        );
        let bias = &self.parameters[self.layout.readout_bias.clone()];
        for (i, row) in inverse.chunks_exact(outputs).enumerate() {
            state[i] = row
                .iter()
                .zip(observation)
                .enumerate()
                .map(|(o, (p, x))| p * (x - bias.get(o).copied().unwrap_or(0.0)))
                .sum();
        }
        state
    }

    /// States [time + 1, state] from an initial state under inputs [time, input]; row 0 is the initial state.
    pub fn run(&self, initial: &[f64], inputs: ArrayView2<f64>) -> Array2<f64> {
        let dim = self.state_dim();
        let mut states = Array2::zeros((inputs.nrows() + 1, dim));
        let mut state = initial.to_vec();
        let mut next = vec![0.0; dim];
        for (i, x) in state.iter().enumerate() {
            states[[0, i]] = *x;
        }
        for (t, input) in inputs.rows().into_iter().enumerate() {
            self.step(&state, &input.to_vec(), &mut next);
            std::mem::swap(&mut state, &mut next);
            for (i, x) in state.iter().enumerate() {
                states[[t + 1, i]] = *x;
            }
        }
        states
    }

    /// Outputs [time, output] of states [time, state].
    pub fn readouts(&self, states: ArrayView2<f64>) -> Array2<f64> {
        let mut outputs = Array2::zeros((states.nrows(), self.architecture.outputs));
        for (state, mut row) in states.rows().into_iter().zip(outputs.rows_mut()) {
            for (out, y) in row.iter_mut().zip(self.readout(&state.to_vec())) {
                *out = y;
            }
        }
        outputs
    }

    fn unit_parameters<C: Cell>(&self, i: usize) -> [f64; MAX_SLOTS] {
        let mut p = [0.0; MAX_SLOTS];
        for (k, value) in p.iter_mut().take(C::UNIT_PARAMETERS.len()).enumerate() {
            *value = self.parameters[self.layout.unit.start + k * self.architecture.units + i];
        }
        p
    }

    fn hidden_parameters<C: Cell>(&self, l: usize) -> [f64; MAX_SLOTS] {
        let mut c = [0.0; MAX_SLOTS];
        for (k, value) in c.iter_mut().take(C::HIDDEN_PARAMETERS.len()).enumerate() {
            *value =
                self.parameters[self.layout.hidden_unit.start + k * self.architecture.hidden + l];
        }
        c
    }

    fn rate_of<C: Cell>(&self, state: &[f64], i: usize) -> f64 {
        let units = self.architecture.units;
        let mut s = [0.0; MAX_SLOTS];
        for (k, value) in s.iter_mut().take(C::STATES).enumerate() {
            *value = state[k * units + i];
        }
        let mut r = [0.0];
        C::rate(
            &s[..C::STATES],
            &self.unit_parameters::<C>(i)[..C::UNIT_PARAMETERS.len()],
            &mut r,
        );
        r[0]
    }

    fn step_with_slopes(&self, state: &[f64], input: &[f64], next: &mut [f64]) -> Step {
        let shape = self.architecture.cell.shape();
        let units = self.architecture.units;
        let mut step = Step {
            rate_slopes: vec![0.0; shape.states * units],
            hidden_slopes: vec![0.0; self.architecture.hidden],
            by_state: vec![0.0; shape.states * shape.states * units],
            by_recurrent: vec![0.0; shape.states * shape.gates * units],
            by_input: vec![0.0; shape.states * shape.gates * units],
        };
        with_cell!(self.architecture.cell, C => self.step_of::<C>(state, input, next, Some(&mut step)));
        step
    }

    /// The step, and with `slopes` its local derivatives.
    fn step_of<C: Cell>(
        &self,
        state: &[f64],
        input: &[f64],
        next: &mut [f64],
        mut slopes: Option<&mut Step>,
    ) {
        let units = self.architecture.units;
        let (states, gates) = (C::STATES, C::GATES);
        let rates: Vec<f64> = (0..units).map(|i| self.rate_of::<C>(state, i)).collect();
        let presynaptic = if C::HAS_HIDDEN {
            let mut g = vec![0.0; self.architecture.hidden];
            add_product(&self.hidden_columns, &rates, &mut g);
            for (l, value) in g.iter_mut().enumerate() {
                let c = self.hidden_parameters::<C>(l);
                let c = &c[..C::HIDDEN_PARAMETERS.len()];
                if let Some(step) = slopes.as_deref_mut() {
                    let c = c.iter().map(|&c| Dual::fixed(c)).collect::<Vec<_>>();
                    let mut q = [Dual::fixed(0.0)];
                    C::hidden(&[Dual::varying(*value)], &c, &mut q);
                    step.hidden_slopes[l] = q[0].derivative;
                }
                let mut q = [0.0];
                C::hidden(&[*value], c, &mut q);
                *value = q[0];
            }
            g
        } else {
            rates
        };
        let mut recurrent = vec![0.0; gates * units];
        add_product(&self.recurrent_columns, &presynaptic, &mut recurrent);
        let mut from_input = vec![0.0; gates * units];
        let bias = &self.parameters[self.layout.bias.clone()];
        from_input[..bias.len()].copy_from_slice(bias);
        add_product(&self.input_columns, input, &mut from_input);

        for i in 0..units {
            let p = self.unit_parameters::<C>(i);
            let p = &p[..C::UNIT_PARAMETERS.len()];
            let mut s = [0.0; MAX_SLOTS];
            let mut zr = [0.0; MAX_SLOTS];
            let mut zx = [0.0; MAX_SLOTS];
            for k in 0..states {
                s[k] = state[k * units + i];
            }
            for g in 0..gates {
                zr[g] = recurrent[g * units + i];
                zx[g] = from_input[g * units + i];
            }
            let mut h = [0.0; MAX_SLOTS];
            let mut tape = [0.0; MAX_SLOTS];
            C::update(
                &s[..states],
                &zr[..gates],
                &zx[..gates],
                p,
                &mut h[..states],
                &mut tape[..C::TAPE],
            );
            for k in 0..states {
                next[k * units + i] = h[k];
            }
            if let Some(step) = slopes.as_deref_mut() {
                self.slopes_of_unit::<C>(step, i, &s, &zr, &zx);
            }
        }
    }

    /// Local derivatives of unit `i`, one dual direction at a time.
    fn slopes_of_unit<C: Cell>(
        &self,
        step: &mut Step,
        i: usize,
        s: &[f64; MAX_SLOTS],
        zr: &[f64; MAX_SLOTS],
        zx: &[f64; MAX_SLOTS],
    ) {
        let units = self.architecture.units;
        let (states, gates) = (C::STATES, C::GATES);
        let p = self.unit_parameters::<C>(i).map(Dual::fixed);
        let p = &p[..C::UNIT_PARAMETERS.len()];
        let fixed = |x: &[f64; MAX_SLOTS]| x.map(Dual::fixed);
        let update = |s: &[Dual], zr: &[Dual], zx: &[Dual]| {
            let mut h = [Dual::fixed(0.0); MAX_SLOTS];
            let mut tape = [Dual::fixed(0.0); MAX_SLOTS];
            C::update(
                &s[..states],
                &zr[..gates],
                &zx[..gates],
                p,
                &mut h[..states],
                &mut tape[..C::TAPE],
            );
            h
        };
        for m in 0..states {
            let mut direction = fixed(s);
            direction[m].derivative = 1.0;
            let mut r = [Dual::fixed(0.0)];
            C::rate(&direction[..states], p, &mut r);
            step.rate_slopes[m * units + i] = r[0].derivative;
            let h = update(&direction, &fixed(zr), &fixed(zx));
            for (k, h) in h.iter().take(states).enumerate() {
                step.by_state[(k * states + m) * units + i] = h.derivative;
            }
        }
        for g in 0..gates {
            let mut direction = fixed(zr);
            direction[g].derivative = 1.0;
            let h = update(&fixed(s), &direction, &fixed(zx));
            for (k, h) in h.iter().take(states).enumerate() {
                step.by_recurrent[(k * gates + g) * units + i] = h.derivative;
            }
            let mut direction = fixed(zx);
            direction[g].derivative = 1.0;
            let h = update(&fixed(s), &fixed(zr), &direction);
            for (k, h) in h.iter().take(states).enumerate() {
                step.by_input[(k * gates + g) * units + i] = h.derivative;
            }
        }
    }

    /// M = W diag(q') Wh, row-major [gates * units, units].
    fn recurrent_through_hidden(&self, hidden_slopes: &[f64]) -> Vec<f64> {
        let units = self.architecture.units;
        let gate_rows = self.architecture.cell.shape().gates * units;
        let w = &self.parameters[self.layout.recurrent.clone()];
        let wh = &self.parameters[self.layout.hidden.clone()];
        let mut out = vec![0.0; gate_rows * units];
        for (row, weights) in out
            .chunks_exact_mut(units)
            .zip(w.chunks_exact(self.architecture.hidden))
        {
            for ((weight, slope), hidden_row) in weights
                .iter()
                .zip(hidden_slopes)
                .zip(wh.chunks_exact(units))
            {
                let factor = weight * slope;
                if factor != 0.0 {
                    for (out, x) in row.iter_mut().zip(hidden_row) {
                        *out += factor * x;
                    }
                }
            }
        }
        out
    }
}
