//! One shard of one network: its whole sequence forward, and backward through time.

use super::prepared::Prepared;
use super::workspace::{
    MOST_STEPS_IN_BLOCK, Workspace, at, at_mut, sized, steps_in_block, stride, zeroed,
};
use super::{SHARD_VECTORS, to_lanes};
use crate::architecture::{Architecture, Layout, Readout, with_cell};
use crate::cells::{Cell, MAX_SLOTS};
use crate::engine::kernels::{Start, Term, numbers};
use crate::engine::{Forcing, Job, Objective};
use crate::scalar::Scalar;
#[cfg(target_arch = "aarch64")]
use crate::simd::Neon;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Instructions, Isa, LANES, Lanes, Portable, Vector};
use nullcline_tasks::Loss;

/// Most inputs whose weights get their gradient lane by lane. A product with the inputs trial by trial costs as
/// much for one input as for sixteen.
const MOST_INPUTS_BY_LANE: usize = 8;

/// One shard of one network.
pub(super) struct Pass<'a> {
    pub(super) architecture: &'a Architecture,
    pub(super) layout: &'a Layout,
    pub(super) objective: &'a Objective,
    pub(super) job: &'a Job<'a>,
    pub(super) prepared: &'a Prepared,
    pub(super) shard: usize,
    pub(super) backward: bool,
}

impl Pass<'_> {
    pub(super) fn run(&self, instructions: Instructions, workspace: &mut Workspace) {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an engine only holds instruction sets that were detected on this processor.
            Instructions::Avx512 => unsafe { self.run_avx512(workspace) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Instructions::Avx2 => unsafe { self.run_avx2(workspace) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Instructions::Neon => unsafe { self.run_neon(workspace) },
            _ => with_cell!(self.architecture.cell, C => self.run_cell::<C, Portable>(workspace)),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,fma")]
    unsafe fn run_avx512(&self, workspace: &mut Workspace) {
        with_cell!(self.architecture.cell, C => self.run_cell::<C, Avx512>(workspace));
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn run_avx2(&self, workspace: &mut Workspace) {
        with_cell!(self.architecture.cell, C => self.run_cell::<C, Avx2>(workspace));
    }

    #[cfg(target_arch = "aarch64")]
    #[target_feature(enable = "neon")]
    unsafe fn run_neon(&self, workspace: &mut Workspace) {
        with_cell!(self.architecture.cell, C => self.run_cell::<C, Neon>(workspace));
    }

    #[inline(always)]
    fn run_cell<C: Cell, I: Isa>(&self, w: &mut Workspace) {
        let steps = self.job.trials.steps();
        self.load::<C, I>(w);
        for t in 0..steps {
            self.step_forward::<C, I>(t, w);
        }
        if !self.backward {
            for t in 0..steps {
                self.loss_of_step::<I>(t, w);
            }
            return;
        }
        self.clear_gradients::<C, I>(w);
        let mut in_block = 0;
        for t in (0..steps).rev() {
            self.loss_of_step::<I>(t, w);
            self.step_backward::<C, I>(t, in_block, w);
            in_block += 1;
            if in_block == w.block || t == 0 {
                self.weights_of_block::<C, I>(t, in_block, w);
                in_block = 0;
            }
        }
        w.gradient.clear();
        w.gradient.resize(self.layout.total, 0.0);
        self.initial_backward(w);
        self.collect_gradients(w);
    }

    fn forcing(&self) -> Option<Forcing> {
        self.objective
            .forcing
            .filter(|_| self.job.trials.initial.is_some())
    }

    /// Brings the trials in and sizes the buffers.
    #[inline(always)]
    fn load<C: Cell, I: Isa>(&self, w: &mut Workspace) {
        let a = self.architecture;
        let trials = self.job.trials;
        let first = self.shard * SHARD_VECTORS * LANES;
        let (batch, steps) = (trials.batch(), trials.steps());
        let vectors = (batch - first).div_ceil(LANES).min(SHARD_VECTORS);
        w.vectors = vectors;
        w.loss = 0.0;
        to_lanes::<I::V>(trials.inputs.view(), vectors, first, &mut w.inputs);
        to_lanes::<I::V>(trials.targets.view(), vectors, first, &mut w.targets);
        self.load_weights(vectors, first, &mut w.weights);
        if self.backward && a.inputs > MOST_INPUTS_BY_LANE {
            self.load_inputs_by_trial(vectors, first, &mut w.inputs_by_trial);
        }
        let (state_length, rate_length) = (a.state_dim() * vectors, a.units * vectors);
        sized(&mut w.states, (steps + 1) * state_length);
        if !C::RATE_IS_STATE {
            sized(&mut w.rates, (steps + 1) * rate_length);
        }
        sized(&mut w.tape, steps * C::TAPE * rate_length);
        sized(&mut w.outputs, steps * a.outputs * vectors);
        sized(&mut w.recurrent_gates, C::GATES * rate_length);
        if !C::GATES_ADD {
            sized(&mut w.input_gates, C::GATES * rate_length);
        }
        if C::HAS_LAYER {
            let length = a.recurrent_columns() * vectors;
            sized(&mut w.hidden_arguments, steps * length);
            sized(&mut w.hidden_values, length);
        }
        if self.forcing().is_some() {
            sized(&mut w.forced, steps * state_length);
            if !C::RATE_IS_STATE {
                sized(&mut w.forced_rates, steps * rate_length);
            }
        }
        w.states[..state_length].fill(Lanes::ZERO);
        if let Some(initial) = &trials.initial {
            let view = initial.view().insert_axis(ndarray::Axis(1));
            to_lanes::<I::V>(view, vectors, first, &mut w.initial);
            self.initial_state::<I>(&w.initial, vectors, &mut w.states[..state_length]);
        }
        if !C::RATE_IS_STATE {
            let state = &w.states[..state_length];
            self.rates_of::<C, I>(state, vectors, &mut w.rates[..rate_length]);
        }
    }

    /// The weight of each step and trial, 0 for the lanes beyond the batch.
    fn load_weights(&self, vectors: usize, first: usize, weights: &mut Vec<Lanes>) {
        let trials = self.job.trials;
        let steps = trials.steps();
        zeroed(weights, steps * vectors);
        let places = (first..trials.batch().min(first + vectors * LANES))
            .map(|b| (b, (b - first) / LANES, (b - first) % LANES));
        if let Some(mask) = &trials.mask {
            for (b, v, lane) in places {
                for t in 0..steps {
                    weights[t * vectors + v].0[lane] = mask[[b, t]];
                }
            }
        } else if let Some((row, rest)) = weights.split_at_mut_checked(vectors) {
            for (_, v, lane) in places {
                row[v].0[lane] = 1.0;
            }
            for weights in rest.chunks_exact_mut(vectors) {
                weights.copy_from_slice(row);
            }
        }
    }

    /// The inputs as they come, with rows padded to whole vectors. Lanes beyond the batch repeat the last trial,
    /// as everywhere.
    fn load_inputs_by_trial(&self, vectors: usize, first: usize, to: &mut Vec<Lanes>) {
        let inputs = &self.job.trials.inputs;
        let (batch, steps, dim) = inputs.dim();
        let (trials, stride) = (vectors * LANES, stride(dim));
        zeroed(to, steps * trials * stride);
        for trial in 0..trials {
            let from = inputs.index_axis(ndarray::Axis(0), (first + trial).min(batch - 1));
            for (t, row) in from.outer_iter().enumerate() {
                let to = &mut to[(t * trials + trial) * stride..][..stride];
                for (i, &x) in row.iter().enumerate() {
                    to[i / LANES].0[i % LANES] = x;
                }
            }
        }
    }

    /// Rates of a state [state][vector].
    #[inline(always)]
    fn rates_of<C: Cell, I: Isa>(&self, state: &[Lanes], vectors: usize, rates: &mut [Lanes]) {
        let units = self.architecture.units;
        for i in 0..units {
            let p = self.unit_parameters::<C, I::V>(i);
            for v in 0..vectors {
                let s = gather::<I::V>(state, C::STATES, units, i, vectors, v);
                let mut r = [I::V::splat(0.0)];
                C::rate(&s[..C::STATES], &p[..C::UNIT_PARAMETERS.len()], &mut r);
                r[0].store(&mut rates[i * vectors + v]);
            }
        }
    }

    #[inline(always)]
    fn unit_parameters<C: Cell, V: Vector>(&self, i: usize) -> [V; MAX_SLOTS] {
        let values = &self.job.parameters[self.layout.unit.clone()];
        let mut p = [V::splat(0.0); MAX_SLOTS];
        for (k, p) in p.iter_mut().take(C::UNIT_PARAMETERS.len()).enumerate() {
            *p = V::splat(values[k * self.architecture.units + i]);
        }
        p
    }

    /// Step t: from the state at time t (forced, if there is forcing) to the state at t + 1 and its output.
    #[inline(always)]
    fn step_forward<C: Cell, I: Isa>(&self, t: usize, w: &mut Workspace) {
        let a = self.architecture;
        let vectors = w.vectors;
        let parameters = self.job.parameters;
        let state_length = a.state_dim() * vectors;
        let rate_length = a.units * vectors;
        let layer_length = a.recurrent_columns() * vectors;
        let gate_rows = C::GATES * a.units;

        if let Some(forcing) = self.forcing() {
            self.force::<C, I>(t, forcing, w);
        }
        let forcing = self.forcing().is_some();
        let (before, after) = w.states.split_at_mut((t + 1) * state_length);
        let previous = if forcing {
            at(&w.forced, t, state_length)
        } else {
            at(before, t, state_length)
        };
        let rates = match (C::RATE_IS_STATE, forcing) {
            (true, _) => &previous[..rate_length],
            (false, true) => at(&w.forced_rates, t, rate_length),
            (false, false) => at(&w.rates, t, rate_length),
        };

        // q = hidden(g, c), g = Wh r or r itself
        let presynaptic = if C::HAS_LAYER {
            let arguments = at_mut(&mut w.hidden_arguments, t, layer_length);
            if C::HAS_HIDDEN {
                let term = Term {
                    k: a.units,
                    a: &parameters[self.layout.hidden.clone()],
                    b: rates,
                };
                multiply::<I>(Start::Zero, &[term], a.hidden, vectors, arguments);
            } else {
                self.unit_arguments::<C, I>(rates, vectors, arguments);
            }
            self.layer_values::<C, I>(arguments, vectors, &mut w.hidden_values);
            &w.hidden_values
        } else {
            rates
        };
        // zr = W q, zx = U x + b
        let bias = start_from(&parameters[self.layout.bias.clone()]);
        let input = Term {
            k: a.inputs,
            a: &parameters[self.layout.input.clone()],
            b: at(&w.inputs, t, a.inputs * vectors),
        };
        let recurrent = Term {
            k: a.recurrent_columns(),
            a: &parameters[self.layout.recurrent.clone()],
            b: presynaptic,
        };
        let (zr, zx) = (&mut w.recurrent_gates, &mut w.input_gates);
        if C::GATES_ADD {
            multiply::<I>(bias, &[input, recurrent], gate_rows, vectors, zr);
        } else {
            multiply::<I>(bias, &[input], gate_rows, vectors, zx);
            multiply::<I>(Start::Zero, &[recurrent], gate_rows, vectors, zr);
        }
        // s' = update(s, zr, zx, p)
        let tape = at_mut(&mut w.tape, t, C::TAPE * rate_length);
        let next = &mut after[..state_length];
        for i in 0..a.units {
            let p = self.unit_parameters::<C, I::V>(i);
            for v in 0..vectors {
                let s = gather::<I::V>(previous, C::STATES, a.units, i, vectors, v);
                let zr = gather::<I::V>(zr, C::GATES, a.units, i, vectors, v);
                let zx = if C::GATES_ADD {
                    [I::V::splat(0.0); MAX_SLOTS]
                } else {
                    gather::<I::V>(zx, C::GATES, a.units, i, vectors, v)
                };
                let mut h = [I::V::splat(0.0); MAX_SLOTS];
                let mut kept = [I::V::splat(0.0); MAX_SLOTS];
                C::update(
                    &s[..C::STATES],
                    &zr[..C::GATES],
                    &zx[..C::GATES],
                    &p[..C::UNIT_PARAMETERS.len()],
                    &mut h[..C::STATES],
                    &mut kept[..C::TAPE],
                );
                scatter(&h, next, C::STATES, a.units, i, vectors, v);
                scatter(&kept, tape, C::TAPE, a.units, i, vectors, v);
            }
        }
        // y = R rate(s') + d
        let rates = if C::RATE_IS_STATE {
            &next[..rate_length]
        } else {
            let rates = at_mut(&mut w.rates, t + 1, rate_length);
            self.rates_of::<C, I>(next, vectors, rates);
            rates
        };
        let outputs = at_mut(&mut w.outputs, t, a.outputs * vectors);
        if a.readout == Readout::Identity {
            outputs.copy_from_slice(&rates[..a.outputs * vectors]);
        } else {
            let bias = start_from(&parameters[self.layout.readout_bias.clone()]);
            let readout = Term {
                k: a.units,
                a: &parameters[self.layout.readout.clone()],
                b: rates,
            };
            multiply::<I>(bias, &[readout], a.outputs, vectors, outputs);
        }
    }

    /// Writes the state that step t starts from: z~ = (1 - alpha) z + alpha z_data. The initial state
    /// comes from the data already.
    #[inline(always)]
    fn force<C: Cell, I: Isa>(&self, t: usize, forcing: Forcing, w: &mut Workspace) {
        let a = self.architecture;
        let vectors = w.vectors;
        let length = a.state_dim() * vectors;
        let forced = at_mut(&mut w.forced, t, length);
        let state = at(&w.states, t, length);
        if forcing.acts_before(t) {
            let observation = at(&w.targets, t - 1, a.outputs * vectors);
            let count = forcing.forced_units(a) * vectors;
            self.state_from_observation::<I>(observation, vectors, forced);
            let (keep, take) = (I::V::splat(1.0 - forcing.alpha), I::V::splat(forcing.alpha));
            for (out, z) in forced[..count].iter_mut().zip(state) {
                (keep * I::V::load(z) + take * I::V::load(out)).store(out);
            }
            forced[count..].copy_from_slice(&state[count..]);
        } else {
            forced.copy_from_slice(state);
        }
        if !C::RATE_IS_STATE {
            let rates = at_mut(&mut w.forced_rates, t, a.units * vectors);
            self.rates_of::<C, I>(forced, vectors, rates);
        }
    }

    /// Adds the loss of step t and leaves its derivative by the output in `d_output`.
    #[inline(always)]
    fn loss_of_step<I: Isa>(&self, t: usize, w: &mut Workspace) {
        let outputs_dim = self.architecture.outputs;
        let vectors = w.vectors;
        let length = outputs_dim * vectors;
        sized(&mut w.d_output, length);
        let outputs = &w.outputs[t * length..][..length];
        let targets = &w.targets[t * length..][..length];
        let weights = &w.weights[t * vectors..][..vectors];
        let scale = I::V::constant(self.prepared.scale);
        let mut sum = 0.0f64;
        for v in 0..vectors {
            let weight = I::V::load(&weights[v]) * scale;
            let at = |o: usize| o * vectors + v;
            let mut loss = Lanes::ZERO;
            match self.objective.loss {
                // L = sum w (y - target)^2 / (outputs sum w)
                Loss::MeanSquaredError => {
                    let mut squares = I::V::splat(0.0);
                    for o in 0..outputs_dim {
                        let error = I::V::load(&outputs[at(o)]) - I::V::load(&targets[at(o)]);
                        squares = squares + error * error;
                        ((weight + weight) * error).store(&mut w.d_output[at(o)]);
                    }
                    (squares * weight).store(&mut loss);
                }
                // L = - sum w target . log softmax(y) / sum w
                Loss::CrossEntropy => {
                    let mut largest = I::V::load(&outputs[v]);
                    for o in 1..outputs_dim {
                        largest = I::V::load(&outputs[at(o)]).at_least(largest);
                    }
                    let mut total = I::V::splat(0.0);
                    let mut target_sum = I::V::splat(0.0);
                    let mut product = I::V::splat(0.0);
                    for o in 0..outputs_dim {
                        let shifted = I::V::load(&outputs[at(o)]) - largest;
                        let target = I::V::load(&targets[at(o)]);
                        let exponential = shifted.exp();
                        total = total + exponential;
                        target_sum = target_sum + target;
                        product = product + target * shifted;
                        exponential.store(&mut w.d_output[at(o)]);
                    }
                    let mut logarithm = Lanes::ZERO;
                    total.store(&mut logarithm);
                    for x in &mut logarithm.0 {
                        *x = x.ln();
                    }
                    ((I::V::load(&logarithm) * target_sum - product) * weight).store(&mut loss);
                    for o in 0..outputs_dim {
                        let d = &mut w.d_output[at(o)];
                        let probability = I::V::load(d) / total;
                        (weight * (probability * target_sum - I::V::load(&targets[at(o)])))
                            .store(d);
                    }
                }
            }
            sum += f64::from(loss.sum());
        }
        w.loss += sum;
    }

    #[inline(always)]
    fn clear_gradients<C: Cell, I: Isa>(&self, w: &mut Workspace) {
        let a = self.architecture;
        let (vectors, trials) = (w.vectors, w.vectors * LANES);
        let gate_rows = C::GATES * a.units;
        let (unit_stride, input_stride) = (stride(a.units), stride(a.inputs));
        let columns = a.recurrent_columns();
        w.block = steps_in_block(gate_rows + columns);
        sized(&mut w.d_recurrent_gates, w.block * gate_rows * vectors);
        sized(&mut w.rates_by_trial, w.block * trials * unit_stride);
        if !C::GATES_ADD {
            sized(&mut w.d_input_gates, w.block * gate_rows * vectors);
        }
        if C::HAS_LAYER {
            sized(&mut w.d_hidden, columns * vectors);
            sized(&mut w.d_hidden_argument, w.block * columns * vectors);
            sized(&mut w.hidden_by_trial, w.block * trials * stride(columns));
            zeroed(&mut w.d_hidden_weights, a.hidden * unit_stride);
            zeroed(&mut w.d_hidden_unit, self.layout.hidden_unit.len());
        }
        zeroed(&mut w.d_rate, a.units * vectors);
        zeroed(&mut w.d_state, a.state_dim() * vectors);
        sized(&mut w.d_previous, a.state_dim() * vectors);
        zeroed(&mut w.d_recurrent, gate_rows * stride(columns));
        zeroed(&mut w.d_readout, a.outputs * unit_stride);
        if a.inputs > MOST_INPUTS_BY_LANE {
            zeroed(&mut w.d_input, gate_rows * input_stride);
        }
        let by_lane = inputs_by_lane(a.inputs) + 1;
        sized(&mut w.block_inputs, w.block * vectors * by_lane);
        zeroed(&mut w.d_input_lanes, gate_rows * by_lane);
        zeroed(&mut w.d_unit, C::UNIT_PARAMETERS.len() * a.units);
        zeroed(&mut w.d_readout_bias, a.outputs);
        // Without forcing, the rates after one step are those before the next, and transposed once: the last
        // ones go where the first step of the first block looks for them.
        if self.forcing().is_some() {
            sized(&mut w.rates_after_by_trial, trials * unit_stride);
        } else {
            let last = at_mut(&mut w.rates_by_trial, w.block - 1, trials * unit_stride);
            let rates = if C::RATE_IS_STATE {
                &w.states
            } else {
                &w.rates
            };
            let rows = if C::RATE_IS_STATE {
                a.state_dim()
            } else {
                a.units
            };
            let rates = at(rates, self.job.trials.steps(), rows * vectors);
            transpose::<I>(a.units, vectors, &rates[..a.units * vectors], last);
        }
    }

    /// Step t backwards: `d_state` holds dL/d(state at t + 1) from later steps; afterwards it holds
    /// dL/d(state at t). What the gradients of the weights need of it is left as step `in_block` of the block.
    #[inline(always)]
    fn step_backward<C: Cell, I: Isa>(&self, t: usize, in_block: usize, w: &mut Workspace) {
        let a = self.architecture;
        let (vectors, trials) = (w.vectors, w.vectors * LANES);
        let state_length = a.state_dim() * vectors;
        let rate_length = a.units * vectors;
        let columns = a.recurrent_columns();
        let layer_length = columns * vectors;
        let gate_rows = C::GATES * a.units;
        let unit_stride = stride(a.units);
        let forcing = self.forcing();

        let after = at(&w.states, t + 1, state_length);
        let rates_after = if C::RATE_IS_STATE {
            &after[..rate_length]
        } else {
            at(&w.rates, t + 1, rate_length)
        };
        let before = match forcing {
            Some(_) => at(&w.forced, t, state_length),
            None => at(&w.states, t, state_length),
        };
        let rates_before = match (C::RATE_IS_STATE, forcing.is_some()) {
            (true, _) => &before[..rate_length],
            (false, true) => at(&w.forced_rates, t, rate_length),
            (false, false) => at(&w.rates, t, rate_length),
        };

        // Readout: dR += dy r', dd += dy, dr = R' dy
        if a.readout == Readout::Identity {
            let observed = a.outputs * vectors;
            if C::RATE_IS_STATE {
                for (sum, d) in w.d_state[..observed].iter_mut().zip(&w.d_output) {
                    add(I::V::load(d), sum);
                }
            } else {
                w.d_rate.fill(Lanes::ZERO);
                w.d_rate[..observed].copy_from_slice(&w.d_output);
                self.rate_backward::<C, I>(
                    after,
                    rates_after,
                    &w.d_rate,
                    &mut w.d_state,
                    &mut w.d_unit,
                );
            }
        } else {
            let rates = if forcing.is_some() {
                transpose::<I>(a.units, vectors, rates_after, &mut w.rates_after_by_trial);
                &w.rates_after_by_trial
            } else {
                let later = (in_block + w.block - 1) % w.block;
                at(&w.rates_by_trial, later, trials * unit_stride)
            };
            let term = Term {
                k: trials,
                a: numbers(&w.d_output),
                b: rates,
            };
            multiply::<I>(
                Start::Add,
                &[term],
                a.outputs,
                unit_stride,
                &mut w.d_readout,
            );
            let term = Term {
                k: a.outputs,
                a: &self.prepared.readout_transposed,
                b: &w.d_output,
            };
            self.through_rates::<C, I>(
                term,
                after,
                rates_after,
                &mut w.d_rate,
                &mut w.d_state,
                &mut w.d_unit,
            );
            let rows = w.d_output.chunks_exact(vectors);
            for (sum, row) in w.d_readout_bias.iter_mut().zip(rows) {
                for d in row {
                    add(I::V::load(d), sum);
                }
            }
        }
        // Cell
        let unit_trained = self.prepared.unit_trained;
        let tape = at(&w.tape, t, C::TAPE * rate_length);
        let d_recurrent_gates = at_mut(&mut w.d_recurrent_gates, in_block, gate_rows * vectors);
        for i in 0..a.units {
            let p = self.unit_parameters::<C, I::V>(i);
            let mut dp_sum = [I::V::splat(0.0); MAX_SLOTS];
            for v in 0..vectors {
                let s = gather::<I::V>(before, C::STATES, a.units, i, vectors, v);
                let h = gather::<I::V>(after, C::STATES, a.units, i, vectors, v);
                let kept = gather::<I::V>(tape, C::TAPE, a.units, i, vectors, v);
                let dh = gather::<I::V>(&w.d_state, C::STATES, a.units, i, vectors, v);
                let mut ds = [I::V::splat(0.0); MAX_SLOTS];
                let mut dzr = [I::V::splat(0.0); MAX_SLOTS];
                let mut dzx = [I::V::splat(0.0); MAX_SLOTS];
                let mut dp = [I::V::splat(0.0); MAX_SLOTS];
                C::update_vjp(
                    &s[..C::STATES],
                    &h[..C::STATES],
                    &kept[..C::TAPE],
                    &p[..C::UNIT_PARAMETERS.len()],
                    &dh[..C::STATES],
                    &mut ds[..C::STATES],
                    &mut dzr[..C::GATES],
                    &mut dzx[..C::GATES],
                    &mut dp[..C::UNIT_PARAMETERS.len()],
                );
                scatter(&ds, &mut w.d_previous, C::STATES, a.units, i, vectors, v);
                scatter(&dzr, d_recurrent_gates, C::GATES, a.units, i, vectors, v);
                if !C::GATES_ADD {
                    let to = at_mut(&mut w.d_input_gates, in_block, gate_rows * vectors);
                    scatter(&dzx, to, C::GATES, a.units, i, vectors, v);
                }
                if unit_trained {
                    for (sum, dp) in dp_sum.iter_mut().zip(dp).take(C::UNIT_PARAMETERS.len()) {
                        *sum = *sum + dp;
                    }
                }
            }
            if unit_trained {
                for (k, sum) in dp_sum
                    .into_iter()
                    .take(C::UNIT_PARAMETERS.len())
                    .enumerate()
                {
                    add(sum, &mut w.d_unit[k * a.units + i]);
                }
            }
        }
        transpose::<I>(
            a.units,
            vectors,
            rates_before,
            at_mut(&mut w.rates_by_trial, in_block, trials * unit_stride),
        );
        // dq = W' dzr, and with hidden units dr = Wh' dg
        let recurrent = Term {
            k: gate_rows,
            a: &self.prepared.recurrent_transposed,
            b: d_recurrent_gates,
        };
        let to_rates = if C::HAS_LAYER {
            multiply::<I>(Start::Zero, &[recurrent], columns, vectors, &mut w.d_hidden);
            let arguments = at(&w.hidden_arguments, t, layer_length);
            let d_arguments = at_mut(&mut w.d_hidden_argument, in_block, layer_length);
            self.layer_backward::<C, I>(
                arguments,
                &w.d_hidden,
                vectors,
                &mut w.hidden_values,
                d_arguments,
                &mut w.d_hidden_unit,
            );
            let to = at_mut(&mut w.hidden_by_trial, in_block, trials * stride(columns));
            transpose::<I>(columns, vectors, &w.hidden_values, to);
            if C::HAS_HIDDEN {
                Some(Term {
                    k: a.hidden,
                    a: &self.prepared.hidden_transposed,
                    b: d_arguments,
                })
            } else {
                self.unit_arguments_backward::<C, I>(d_arguments, vectors, &mut w.d_previous);
                None
            }
        } else {
            Some(recurrent)
        };
        if let Some(to_rates) = to_rates {
            self.through_rates::<C, I>(
                to_rates,
                before,
                rates_before,
                &mut w.d_rate,
                &mut w.d_previous,
                &mut w.d_unit,
            );
        }
        // Through the forcing: dz = (1 - alpha) dz~ on the forced units; z_data is a constant.
        if let Some(forcing) = forcing.filter(|forcing| forcing.acts_before(t)) {
            let keep = I::V::splat(1.0 - forcing.alpha);
            for d in &mut w.d_previous[..forcing.forced_units(a) * vectors] {
                (keep * I::V::load(d)).store(d);
            }
        }
        std::mem::swap(&mut w.d_state, &mut w.d_previous);
    }

    /// Adds what comes back through the rates, dr = the product `term`, to the derivative by the state.
    #[inline(always)]
    fn through_rates<C: Cell, I: Isa>(
        &self,
        term: Term,
        state: &[Lanes],
        rates: &[Lanes],
        d_rate: &mut [Lanes],
        d_state: &mut [Lanes],
        d_unit: &mut [Lanes],
    ) {
        let units = self.architecture.units;
        let vectors = d_rate.len() / units;
        if C::RATE_IS_STATE {
            multiply::<I>(Start::Add, &[term], units, vectors, d_state);
        } else {
            multiply::<I>(Start::Zero, &[term], units, vectors, d_rate);
            self.rate_backward::<C, I>(state, rates, d_rate, d_state, d_unit);
        }
    }

    /// Adds the derivative through the rates to the derivative by the state (and by the unit parameters).
    #[inline(always)]
    fn rate_backward<C: Cell, I: Isa>(
        &self,
        state: &[Lanes],
        rates: &[Lanes],
        d_rate: &[Lanes],
        d_state: &mut [Lanes],
        d_unit: &mut [Lanes],
    ) {
        let units = self.architecture.units;
        let vectors = d_rate.len() / units;
        for i in 0..units {
            let p = self.unit_parameters::<C, I::V>(i);
            for v in 0..vectors {
                let s = gather::<I::V>(state, C::STATES, units, i, vectors, v);
                let mut ds = [I::V::splat(0.0); MAX_SLOTS];
                let mut dp = [I::V::splat(0.0); MAX_SLOTS];
                C::rate_vjp(
                    &s[..C::STATES],
                    &[I::V::load(&rates[i * vectors + v])],
                    &p[..C::UNIT_PARAMETERS.len()],
                    &[I::V::load(&d_rate[i * vectors + v])],
                    &mut ds[..C::STATES],
                    &mut dp[..C::UNIT_PARAMETERS.len()],
                );
                for k in 0..C::STATES {
                    add(ds[k], &mut d_state[(k * units + i) * vectors + v]);
                }
                for k in 0..C::UNIT_PARAMETERS.len() {
                    add(dp[k], &mut d_unit[k * units + i]);
                }
            }
        }
    }

    /// Adds the steps of a block to the gradients of the weights: dW += dzr q', dWh += dg r', dU += dzx x',
    /// db += dzx, summed over steps and trials. `first` is the earliest step, the last of the block.
    #[inline(always)]
    fn weights_of_block<C: Cell, I: Isa>(&self, first: usize, steps: usize, w: &mut Workspace) {
        let a = self.architecture;
        let (vectors, trials) = (w.vectors, w.vectors * LANES);
        let gate_rows = C::GATES * a.units;
        let gate_length = gate_rows * vectors;
        let columns = a.recurrent_columns();
        let (rate_length, layer_length) = (trials * stride(a.units), trials * stride(columns));
        let d_input_gates = if C::GATES_ADD {
            &w.d_recurrent_gates
        } else {
            &w.d_input_gates
        };
        let inputs_at = |step: usize| first + steps - 1 - step;

        let rates = |step| at(&w.rates_by_trial, step, rate_length);
        let terms = if C::HAS_LAYER {
            let values = |step| at(&w.hidden_by_trial, step, layer_length);
            by_step(steps, trials, &w.d_recurrent_gates, gate_length, values)
        } else {
            by_step(steps, trials, &w.d_recurrent_gates, gate_length, rates)
        };
        multiply::<I>(
            Start::Add,
            &terms[..steps],
            gate_rows,
            stride(columns),
            &mut w.d_recurrent,
        );
        if C::HAS_HIDDEN {
            let length = a.hidden * vectors;
            let terms = by_step(steps, trials, &w.d_hidden_argument, length, rates);
            let d_hidden = &mut w.d_hidden_weights;
            multiply::<I>(
                Start::Add,
                &terms[..steps],
                a.hidden,
                stride(a.units),
                d_hidden,
            );
        }
        if a.inputs > MOST_INPUTS_BY_LANE {
            let length = trials * stride(a.inputs);
            let inputs = |step| at(&w.inputs_by_trial, inputs_at(step), length);
            let terms = by_step(steps, trials, d_input_gates, gate_length, inputs);
            let (terms, columns) = (&terms[..steps], stride(a.inputs));
            multiply::<I>(Start::Add, terms, gate_rows, columns, &mut w.d_input);
        }
        // The bias is the weight of an input that is always 1, the last.
        let columns = inputs_by_lane(a.inputs) + 1;
        for step in 0..steps {
            let inputs = at(&w.inputs, inputs_at(step), a.inputs * vectors);
            for v in 0..vectors {
                let row = at_mut(&mut w.block_inputs, step * vectors + v, columns);
                for (i, x) in row[..columns - 1].iter_mut().enumerate() {
                    *x = inputs[i * vectors + v];
                }
                row[columns - 1] = Lanes([1.0; LANES]);
            }
        }
        for first in (0..columns).step_by(4) {
            let by_lane = ByLane {
                d: d_input_gates,
                inputs: &w.block_inputs,
                columns,
                first,
                steps,
                vectors,
            };
            match columns - first {
                1 => by_lane.add_to::<I::V, 1>(&mut w.d_input_lanes),
                2 => by_lane.add_to::<I::V, 2>(&mut w.d_input_lanes),
                3 => by_lane.add_to::<I::V, 3>(&mut w.d_input_lanes),
                _ => by_lane.add_to::<I::V, 4>(&mut w.d_input_lanes),
            }
        }
    }

    /// Adds the gradients of the sequence, padded or separate by lane, to the flat vector.
    fn collect_gradients(&self, w: &mut Workspace) {
        let a = self.architecture;
        let gradient = &mut w.gradient;
        let mut add_matrix = |padded: &[Lanes], columns: usize, range: &std::ops::Range<usize>| {
            let stride = columns.div_ceil(LANES);
            if range.is_empty() {
                return;
            }
            let rows = gradient[range.clone()].chunks_exact_mut(columns);
            for (row, padded) in rows.zip(padded.chunks_exact(stride)) {
                for (out, d) in row.iter_mut().zip(numbers(padded)) {
                    *out += d;
                }
            }
        };
        add_matrix(
            &w.d_recurrent,
            a.recurrent_columns(),
            &self.layout.recurrent,
        );
        add_matrix(&w.d_hidden_weights, a.units, &self.layout.hidden);
        if a.inputs > MOST_INPUTS_BY_LANE {
            add_matrix(&w.d_input, a.inputs, &self.layout.input);
        }
        add_matrix(&w.d_readout, a.units, &self.layout.readout);
        let mut add_lanes = |lanes: &[Lanes], range: &std::ops::Range<usize>| {
            for (out, d) in gradient[range.clone()].iter_mut().zip(lanes) {
                *out += d.sum();
            }
        };
        add_lanes(&w.d_unit, &self.layout.unit);
        add_lanes(&w.d_hidden_unit, &self.layout.hidden_unit);
        add_lanes(&w.d_readout_bias, &self.layout.readout_bias);
        let by_lane = inputs_by_lane(a.inputs);
        for (row, sums) in w.d_input_lanes.chunks_exact(by_lane + 1).enumerate() {
            if by_lane > 0 {
                let input = &mut gradient[self.layout.input.clone()][row * by_lane..];
                for (out, d) in input.iter_mut().zip(&sums[..by_lane]) {
                    *out += d.sum();
                }
            }
            if let Some(bias) = gradient[self.layout.bias.clone()].get_mut(row) {
                *bias += sums[by_lane].sum();
            }
        }
    }
}
/// Inputs whose weights get their gradient lane by lane.
fn inputs_by_lane(inputs: usize) -> usize {
    if inputs > MOST_INPUTS_BY_LANE {
        0
    } else {
        inputs
    }
}

/// A group of columns of the gradient of the input weights, still separate by lane.
struct ByLane<'a> {
    /// Derivatives by the gates, [step][gate row][vector].
    d: &'a [Lanes],
    /// Inputs, [step][vector][column].
    inputs: &'a [Lanes],
    columns: usize,
    /// The first column of the group.
    first: usize,
    steps: usize,
    vectors: usize,
}

impl ByLane<'_> {
    /// Adds d x of every step and vector to N columns of `sums` [gate row][column], which stay in registers.
    #[inline(always)]
    fn add_to<V: Vector, const N: usize>(&self, sums: &mut [Lanes]) {
        let gate_rows = sums.len() / self.columns;
        let mut rows = [&self.d[..0]; MOST_STEPS_IN_BLOCK];
        for (step, rows) in rows.iter_mut().take(self.steps).enumerate() {
            *rows = at(self.d, step, gate_rows * self.vectors);
        }
        for (row, sums) in sums.chunks_exact_mut(self.columns).enumerate() {
            let sums = &mut sums[self.first..][..N];
            let mut group = [V::splat(0.0); N];
            for (sum, from) in group.iter_mut().zip(&*sums) {
                *sum = V::load(from);
            }
            let mut inputs = self.inputs.chunks_exact(self.columns);
            for rows in &rows[..self.steps] {
                let d = &rows[row * self.vectors..][..self.vectors];
                for (d, inputs) in d.iter().zip(&mut inputs) {
                    let d = V::load(d);
                    for (sum, x) in group.iter_mut().zip(&inputs[self.first..][..N]) {
                        *sum = d.multiply_add(V::load(x), *sum);
                    }
                }
            }
            for (sum, to) in group.iter().zip(sums) {
                sum.store(to);
            }
        }
    }
}

/// C = start + the sum of `terms`, C [rows, vectors], on an instruction set; see
/// [`crate::engine::kernels::product`].
#[inline(always)]
pub(super) fn multiply<I: Isa>(
    start: Start,
    terms: &[Term],
    rows: usize,
    vectors: usize,
    c: &mut [Lanes],
) {
    // SAFETY: a pass runs on an instruction set only after `Instructions::detect` has found it.
    unsafe { I::product(start, terms, rows, vectors, c) }
}

/// See [`crate::engine::kernels::transpose`].
#[inline(always)]
fn transpose<I: Isa>(rows: usize, vectors: usize, from: &[Lanes], to: &mut [Lanes]) {
    // SAFETY: as in `multiply`.
    unsafe { I::transpose(rows, vectors, from, to) }
}

/// A bias as what a sum starts from: an absent one is zero.
fn start_from(bias: &[f32]) -> Start<'_> {
    if bias.is_empty() {
        Start::Zero
    } else {
        Start::Rows(bias)
    }
}

/// The terms of a sum over the steps of a block, of which the first `steps` count: the rows of `a` of each step
/// times what `b` gives for it, summed over trials.
fn by_step<'a>(
    steps: usize,
    trials: usize,
    a: &'a [Lanes],
    length: usize,
    b: impl Fn(usize) -> &'a [Lanes],
) -> [Term<'a>; MOST_STEPS_IN_BLOCK] {
    std::array::from_fn(|step| {
        let step = step.min(steps - 1);
        Term {
            k: trials,
            a: numbers(at(a, step, length)),
            b: b(step),
        }
    })
}

/// sum += x
#[inline(always)]
pub(super) fn add<V: Vector>(x: V, sum: &mut Lanes) {
    (V::load(sum) + x).store(sum);
}

/// The `count` numbers of unit `i` from [slot][unit][vector].
#[inline(always)]
fn gather<V: Vector>(
    from: &[Lanes],
    count: usize,
    units: usize,
    i: usize,
    vectors: usize,
    v: usize,
) -> [V; MAX_SLOTS] {
    let mut out = [V::splat(0.0); MAX_SLOTS];
    for (k, out) in out.iter_mut().take(count).enumerate() {
        *out = V::load(&from[(k * units + i) * vectors + v]);
    }
    out
}

/// The reverse of [`gather`].
#[inline(always)]
fn scatter<V: Vector>(
    from: &[V; MAX_SLOTS],
    to: &mut [Lanes],
    count: usize,
    units: usize,
    i: usize,
    vectors: usize,
    v: usize,
) {
    for (k, value) in from.iter().take(count).enumerate() {
        value.store(&mut to[(k * units + i) * vectors + v]);
    }
}
