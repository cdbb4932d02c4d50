//! The CPU engine.
//!
//! The batch is cut into shards of at most [`SHARD_VECTORS`] x 16 trials, the same whatever the number of
//! threads; a shard runs its whole sequence forward and backward on one thread, and the gradients of the
//! shards are added in order: one join per update. Within a shard every array is [time][row][trial] with
//! trials side by side in [`Lanes`], so that a row of a matrix product and the pointwise part of a cell are
//! both plain vector code. Operations per step, trial and network: 2 m n for each matrix of the cell forward,
//! 4 m n backward.

use super::kernels::{numbers, transpose};
use super::{Engine, Gradient, Job, Objective, Response};
use crate::architecture::{Architecture, Layout, Readout, with_cell};
use crate::cells::{Cell, MAX_SLOTS};
use crate::linear::pseudo_inverse;
use crate::scalar::Scalar;
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Instructions, Isa, LANES, Lanes, Portable, Vector};
use ndarray::{Array3, ArrayView3};
use nullcline_tasks::Loss;
use rayon::prelude::*;

/// Vectors of sixteen trials in a shard.
const SHARD_VECTORS: usize = 2;

/// Trains on the processor's cores, with the widest vector instructions that it has.
#[derive(Debug)]
pub struct CpuEngine {
    instructions: Instructions,
    workspaces: Vec<Workspace>,
}

impl Default for CpuEngine {
    fn default() -> Self {
        CpuEngine::new()
    }
}

impl CpuEngine {
    /// An engine for this processor. Threads are those of the rayon pool it is called in.
    pub fn new() -> Self {
        CpuEngine::with_instructions(Instructions::detect())
    }

    /// An engine that uses one instruction set, for tests and benchmarks. A set that this processor lacks
    /// is replaced by what it has.
    pub fn with_instructions(instructions: Instructions) -> Self {
        let available = Instructions::available();
        let usable = if available.contains(&instructions) {
            instructions
        } else {
            available[0]
        };
        CpuEngine {
            instructions: usable,
            workspaces: Vec::new(),
        }
    }

    /// Runs every shard of every job and leaves the results in the workspaces, job by job.
    /// Returns the number of shards of each job.
    fn run(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
        backward: bool,
    ) -> Vec<usize> {
        let prepared: Vec<Prepared> = jobs
            .iter()
            .map(|job| Prepared::new(architecture, objective, job))
            .collect();
        let shards: Vec<(usize, usize)> = prepared
            .iter()
            .enumerate()
            .flat_map(|(j, p)| (0..p.shards).map(move |s| (j, s)))
            .collect();
        self.workspaces
            .resize_with(self.workspaces.len().max(shards.len()), Workspace::default);
        let instructions = self.instructions;
        self.workspaces[..shards.len()]
            .par_iter_mut()
            .zip(&shards)
            .for_each(|(workspace, &(j, shard))| {
                let pass = Pass {
                    architecture,
                    layout: &prepared[j].layout,
                    objective,
                    job: &jobs[j],
                    prepared: &prepared[j],
                    shard,
                    backward,
                };
                pass.run(instructions, workspace);
            });
        prepared.iter().map(|p| p.shards).collect()
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> String {
        format!("cpu ({})", self.instructions.name())
    }

    fn gradients(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        jobs: &[Job],
    ) -> Vec<Gradient> {
        let shards = self.run(architecture, objective, jobs, true);
        let mut workspaces = self.workspaces.iter();
        shards
            .into_iter()
            .map(|count| {
                let mut total = Gradient {
                    loss: 0.0,
                    gradient: vec![0.0; architecture.parameter_count()],
                };
                for workspace in workspaces.by_ref().take(count) {
                    total.loss += workspace.loss;
                    for (sum, g) in total.gradient.iter_mut().zip(&workspace.gradient) {
                        *sum += g;
                    }
                }
                total
            })
            .collect()
    }

    fn respond(
        &mut self,
        architecture: &Architecture,
        objective: &Objective,
        job: &Job,
    ) -> Response {
        let shards = self.run(architecture, objective, std::slice::from_ref(job), false)[0];
        let (batch, steps) = (job.trials.batch(), job.trials.steps());
        let mut response = Response {
            loss: 0.0,
            outputs: Array3::zeros((batch, steps, architecture.outputs)),
            states: Array3::zeros((batch, steps + 1, architecture.state_dim())),
        };
        for (s, workspace) in self.workspaces[..shards].iter().enumerate() {
            response.loss += workspace.loss;
            let first = s * SHARD_VECTORS * LANES;
            from_lanes(
                &workspace.outputs,
                workspace.vectors,
                first,
                &mut response.outputs,
            );
            from_lanes(
                &workspace.states,
                workspace.vectors,
                first,
                &mut response.states,
            );
        }
        response
    }
}

/// Copies [batch, time, dim] of the trials from `first` on into [time][dim][lane]. Lanes beyond the batch repeat
/// the last trial: they have no weight in the loss, but what overflowed there would be 0 x inf in it.
fn to_lanes(from: ArrayView3<f32>, vectors: usize, first: usize, to: &mut Vec<Lanes>) {
    let (batch, steps, dim) = from.dim();
    to.clear();
    to.resize(steps * dim * vectors, Lanes::ZERO);
    for trial in 0..vectors * LANES {
        let b = (first + trial).min(batch - 1);
        let (v, lane) = (trial / LANES, trial % LANES);
        for t in 0..steps {
            for d in 0..dim {
                to[(t * dim + d) * vectors + v].0[lane] = from[[b, t, d]];
            }
        }
    }
}

/// The reverse of [`to_lanes`].
fn from_lanes(from: &[Lanes], vectors: usize, first: usize, to: &mut Array3<f32>) {
    let (batch, steps, dim) = to.dim();
    for b in first..batch.min(first + vectors * LANES) {
        let (v, lane) = ((b - first) / LANES, (b - first) % LANES);
        for t in 0..steps {
            for d in 0..dim {
                to[[b, t, d]] = from[(t * dim + d) * vectors + v].0[lane];
            }
        }
    }
}

/// What all shards of one network share: transposed matrices, the inverse of the readout, the loss's scale.
struct Prepared {
    layout: Layout,
    shards: usize,
    /// W' [recurrent columns, gate rows].
    recurrent_transposed: Vec<f32>,
    /// Wh' [units, hidden].
    hidden_transposed: Vec<f32>,
    /// R' [units, outputs].
    readout_transposed: Vec<f32>,
    /// pinv(R) [units, outputs] where trials start from an observation.
    readout_inverse: Vec<f64>,
    readout_inverse_f32: Vec<f32>,
    /// - pinv(R) d [units].
    observation_offset: Vec<f32>,
    /// 1 / (sum of the weights of all steps, times outputs for the mean squared error).
    scale: f64,
}

impl Prepared {
    fn new(architecture: &Architecture, objective: &Objective, job: &Job) -> Self {
        let layout = architecture.layout();
        let trials = job.trials;
        assert_eq!(
            job.parameters.len(),
            layout.total,
            "length of the parameter vector"
        );
        assert_eq!(
            trials.inputs.dim().2,
            architecture.inputs,
            "input dimensions"
        );
        assert_eq!(
            trials.targets.dim().2,
            architecture.outputs,
            "output dimensions"
        );
        let of = |range: &std::ops::Range<usize>| &job.parameters[range.clone()];
        let columns = architecture.recurrent_columns();
        let (units, outputs) = (architecture.units, architecture.outputs);
        let readout_inverse = if trials.initial.is_some() && !layout.readout.is_empty() {
            let readout: Vec<f64> = of(&layout.readout).iter().map(|&x| f64::from(x)).collect();
            pseudo_inverse(&readout, outputs, units)
        } else {
            Vec::new()
        };
        let weight: f64 = match &trials.mask {
            Some(mask) => mask.iter().map(|&m| f64::from(m)).sum(),
            None => (trials.batch() * trials.steps()) as f64,
        };
        let count = match objective.loss {
            Loss::MeanSquaredError => weight * outputs as f64,
            Loss::CrossEntropy => weight,
        };
        Prepared {
            shards: trials.batch().div_ceil(SHARD_VECTORS * LANES),
            recurrent_transposed: transposed(of(&layout.recurrent), columns),
            hidden_transposed: transposed(of(&layout.hidden), units),
            readout_transposed: transposed(of(&layout.readout), units),
            observation_offset: if readout_inverse.is_empty() {
                Vec::new()
            } else {
                let bias = of(&layout.readout_bias);
                let offset = |row: &[f64]| -> f64 {
                    row.iter().zip(bias).map(|(p, &d)| p * f64::from(d)).sum()
                };
                readout_inverse
                    .chunks_exact(outputs)
                    .map(|row| -offset(row) as f32)
                    .collect()
            },
            readout_inverse_f32: readout_inverse.iter().map(|&x| x as f32).collect(),
            readout_inverse,
            // A task without any weighted step (`noise`) has loss 0, not 0 / 0.
            scale: if count > 0.0 { 1.0 / count } else { 0.0 },
            layout,
        }
    }
}

fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    let mut out = vec![0.0; matrix.len()];
    for i in 0..rows {
        for j in 0..columns {
            out[j * rows + i] = matrix[i * columns + j];
        }
    }
    out
}

/// The buffers of one shard, kept from update to update. Layout [time][row][vector] unless said otherwise.
#[derive(Debug, Default)]
struct Workspace {
    /// Vectors of sixteen trials in this shard.
    vectors: usize,
    inputs: Vec<Lanes>,
    targets: Vec<Lanes>,
    /// Weight of each step, 0 for the lanes beyond the batch.
    weights: Vec<Lanes>,
    /// First observation [output][vector].
    initial: Vec<Lanes>,
    /// States before forcing; time 0 is the initial state.
    states: Vec<Lanes>,
    /// States after forcing, only where there is forcing; time t is what step t starts from.
    forced: Vec<Lanes>,
    /// Rates of `states` from time 0, where they are not the states themselves.
    rates: Vec<Lanes>,
    /// Rates of `forced`, likewise.
    forced_rates: Vec<Lanes>,
    /// Arguments and values of the hidden layer.
    hidden_arguments: Vec<Lanes>,
    hidden_values: Vec<Lanes>,
    tape: Vec<Lanes>,
    outputs: Vec<Lanes>,
    /// Sum of losses, already scaled.
    loss: f64,
    gradient: Vec<f32>,
    /// Scratch of one step.
    recurrent_gates: Vec<Lanes>,
    input_gates: Vec<Lanes>,
    d_recurrent_gates: Vec<Lanes>,
    d_input_gates: Vec<Lanes>,
    d_output: Vec<Lanes>,
    d_rate: Vec<Lanes>,
    d_hidden: Vec<Lanes>,
    d_hidden_argument: Vec<Lanes>,
    /// Derivative by the state after the step at hand, and by the state before it.
    d_state: Vec<Lanes>,
    d_previous: Vec<Lanes>,
    /// Trial by trial: rates (two of them, taken in turn) and hidden values.
    rates_by_trial: Vec<Lanes>,
    next_rates_by_trial: Vec<Lanes>,
    hidden_by_trial: Vec<Lanes>,
    /// Gradients with rows padded to whole vectors.
    d_recurrent: Vec<Lanes>,
    d_hidden_weights: Vec<Lanes>,
    d_readout: Vec<Lanes>,
    /// Gradients still separate by lane: [gate row][input], [gate row], [parameter][unit], [output].
    d_input: Vec<Lanes>,
    d_bias: Vec<Lanes>,
    d_unit: Vec<Lanes>,
    d_hidden_unit: Vec<Lanes>,
    d_readout_bias: Vec<Lanes>,
}

/// Makes a buffer the given length, all zero.
fn zeroed(buffer: &mut Vec<Lanes>, length: usize) {
    buffer.clear();
    buffer.resize(length, Lanes::ZERO);
}

/// One shard of one network.
struct Pass<'a> {
    architecture: &'a Architecture,
    layout: &'a Layout,
    objective: &'a Objective,
    job: &'a Job<'a>,
    prepared: &'a Prepared,
    shard: usize,
    backward: bool,
}

impl Pass<'_> {
    fn run(&self, instructions: Instructions, workspace: &mut Workspace) {
        match instructions {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an engine only holds instruction sets that were detected on this processor.
            Instructions::Avx512 => unsafe { self.run_avx512(workspace) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Instructions::Avx2 => unsafe { self.run_avx2(workspace) },
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

    #[inline(always)]
    fn run_cell<C: Cell, I: Isa>(&self, w: &mut Workspace) {
        self.load::<C, I>(w);
        for t in 0..self.job.trials.steps() {
            self.step_forward::<C, I>(t, w);
        }
        if !self.backward {
            for t in 0..self.job.trials.steps() {
                self.loss_of_step::<I>(t, w);
            }
            return;
        }
        self.clear_gradients::<C>(w);
        for t in (0..self.job.trials.steps()).rev() {
            self.loss_of_step::<I>(t, w);
            self.step_backward::<C, I>(t, w);
        }
        self.initial_backward(w);
        self.collect_gradients(w);
    }

    fn forcing(&self) -> Option<f32> {
        self.objective
            .forcing
            .filter(|_| self.job.trials.initial.is_some())
    }

    /// Brings the trials in and sizes the buffers.
    fn load<C: Cell, I: Isa>(&self, w: &mut Workspace) {
        let a = self.architecture;
        let trials = self.job.trials;
        let first = self.shard * SHARD_VECTORS * LANES;
        let (batch, steps) = (trials.batch(), trials.steps());
        let vectors = (batch - first).div_ceil(LANES).min(SHARD_VECTORS);
        w.vectors = vectors;
        w.loss = 0.0;
        to_lanes(trials.inputs.view(), vectors, first, &mut w.inputs);
        to_lanes(trials.targets.view(), vectors, first, &mut w.targets);
        zeroed(&mut w.weights, steps * vectors);
        for b in first..batch.min(first + vectors * LANES) {
            let (v, lane) = ((b - first) / LANES, (b - first) % LANES);
            for t in 0..steps {
                w.weights[t * vectors + v].0[lane] =
                    trials.mask.as_ref().map_or(1.0, |m| m[[b, t]]);
            }
        }
        let state_rows = a.state_dim();
        zeroed(&mut w.states, (steps + 1) * state_rows * vectors);
        if !C::RATE_IS_STATE {
            zeroed(&mut w.rates, (steps + 1) * a.units * vectors);
        }
        zeroed(&mut w.tape, steps * C::TAPE * a.units * vectors);
        zeroed(&mut w.outputs, steps * a.outputs * vectors);
        zeroed(&mut w.recurrent_gates, C::GATES * a.units * vectors);
        zeroed(&mut w.input_gates, C::GATES * a.units * vectors);
        if C::HAS_HIDDEN {
            zeroed(&mut w.hidden_arguments, steps * a.hidden * vectors);
            zeroed(&mut w.hidden_values, steps * a.hidden * vectors);
        }
        if let Some(initial) = &trials.initial {
            let view = initial.view().insert_axis(ndarray::Axis(1));
            let mut lanes = std::mem::take(&mut w.initial);
            to_lanes(view, vectors, first, &mut lanes);
            w.initial = lanes;
            let mut state = std::mem::take(&mut w.states);
            self.state_from_observation::<I>(&w.initial, vectors, &mut state[..a.units * vectors]);
            if a.readout == Readout::Identity {
                let map = &self.job.parameters[self.layout.initial.clone()];
                let rows = &mut state[a.outputs * vectors..a.units * vectors];
                for (row, weights) in rows
                    .chunks_exact_mut(vectors)
                    .zip(map.chunks_exact(a.outputs))
                {
                    for (v, out) in row.iter_mut().enumerate() {
                        for (o, weight) in weights.iter().enumerate() {
                            add(
                                I::V::splat(*weight) * I::V::load(&w.initial[o * vectors + v]),
                                out,
                            );
                        }
                    }
                }
            }
            w.states = state;
        }
        if self.forcing().is_some() {
            zeroed(&mut w.forced, steps * state_rows * vectors);
            if !C::RATE_IS_STATE {
                zeroed(&mut w.forced_rates, steps * a.units * vectors);
            }
        }
        self.rates_of::<C, I>(
            &w.states[..state_rows * vectors],
            vectors,
            w.rates.get_mut(..a.units * vectors),
        );
    }

    /// The state that an observation [output][vector] implies, into the observed units of `state`:
    /// pinv(R) (x - d), or the observation itself for the identity readout.
    fn state_from_observation<I: Isa>(
        &self,
        observation: &[Lanes],
        vectors: usize,
        state: &mut [Lanes],
    ) {
        let a = self.architecture;
        if a.readout == Readout::Identity {
            let observed = a.outputs.min(a.units) * vectors;
            state[..observed].copy_from_slice(&observation[..observed]);
            return;
        }
        for (row, offset) in state
            .chunks_exact_mut(vectors)
            .zip(&self.prepared.observation_offset)
        {
            row.fill(Lanes([*offset; LANES]));
        }
        let inverse = &self.prepared.readout_inverse_f32;
        multiply::<I>(
            true,
            a.units,
            a.outputs,
            vectors,
            inverse,
            observation,
            state,
        );
    }

    /// Units that forcing acts on: all of them, or the observed ones for the identity readout.
    fn forced_units(&self) -> usize {
        let a = self.architecture;
        if a.readout == Readout::Identity {
            a.outputs.min(a.units)
        } else {
            a.units
        }
    }

    /// Rates of a state [state][vector]; nothing to do where the rate is the state.
    #[inline(always)]
    fn rates_of<C: Cell, I: Isa>(
        &self,
        state: &[Lanes],
        vectors: usize,
        rates: Option<&mut [Lanes]>,
    ) {
        let (Some(rates), false) = (rates, C::RATE_IS_STATE) else {
            return;
        };
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

    #[inline(always)]
    fn hidden_parameters<C: Cell, V: Vector>(&self, l: usize) -> [V; MAX_SLOTS] {
        let values = &self.job.parameters[self.layout.hidden_unit.clone()];
        let mut c = [V::splat(0.0); MAX_SLOTS];
        for (k, c) in c.iter_mut().take(C::HIDDEN_PARAMETERS.len()).enumerate() {
            *c = V::splat(values[k * self.architecture.hidden + l]);
        }
        c
    }

    /// Step t: from the state at time t (forced, if there is forcing) to the state at t + 1 and its output.
    #[inline(always)]
    fn step_forward<C: Cell, I: Isa>(&self, t: usize, w: &mut Workspace) {
        let a = self.architecture;
        let vectors = w.vectors;
        let parameters = self.job.parameters;
        let state_length = a.state_dim() * vectors;
        let rate_length = a.units * vectors;
        let gate_rows = C::GATES * a.units;

        if let Some(alpha) = self.forcing() {
            self.force::<C, I>(t, alpha, w);
        }
        let (before, after) = w.states.split_at_mut((t + 1) * state_length);
        let forcing = self.forcing().is_some();
        let previous = if forcing {
            &w.forced[t * state_length..]
        } else {
            &before[t * state_length..]
        };
        let rates = match (C::RATE_IS_STATE, forcing) {
            (true, _) => &previous[..rate_length],
            (false, true) => &w.forced_rates[t * rate_length..][..rate_length],
            (false, false) => &w.rates[t * rate_length..][..rate_length],
        };

        // q = hidden(Wh r, c)
        let presynaptic = if C::HAS_HIDDEN {
            let arguments = &mut w.hidden_arguments[t * a.hidden * vectors..][..a.hidden * vectors];
            let weights = &parameters[self.layout.hidden.clone()];
            multiply::<I>(false, a.hidden, a.units, vectors, weights, rates, arguments);
            let values = &mut w.hidden_values[t * a.hidden * vectors..][..a.hidden * vectors];
            for l in 0..a.hidden {
                let c = self.hidden_parameters::<C, I::V>(l);
                for v in 0..vectors {
                    let mut q = [I::V::splat(0.0)];
                    C::hidden(
                        &[I::V::load(&arguments[l * vectors + v])],
                        &c[..C::HIDDEN_PARAMETERS.len()],
                        &mut q,
                    );
                    q[0].store(&mut values[l * vectors + v]);
                }
            }
            &*values
        } else {
            rates
        };
        // zr = W q
        let columns = a.recurrent_columns();
        multiply::<I>(
            false,
            gate_rows,
            columns,
            vectors,
            &parameters[self.layout.recurrent.clone()],
            presynaptic,
            &mut w.recurrent_gates,
        );
        // zx = U x + b
        let bias = &parameters[self.layout.bias.clone()];
        for (row, gates) in w.input_gates.chunks_exact_mut(vectors).enumerate() {
            gates.fill(Lanes([bias.get(row).copied().unwrap_or(0.0); LANES]));
        }
        if a.inputs > 0 {
            let inputs = &w.inputs[t * a.inputs * vectors..];
            multiply::<I>(
                true,
                gate_rows,
                a.inputs,
                vectors,
                &parameters[self.layout.input.clone()],
                inputs,
                &mut w.input_gates,
            );
        }
        // s' = update(s, zr, zx, p)
        let tape = &mut w.tape[t * C::TAPE * rate_length..][..C::TAPE * rate_length];
        let next = &mut after[..state_length];
        for i in 0..a.units {
            let p = self.unit_parameters::<C, I::V>(i);
            for v in 0..vectors {
                let s = gather::<I::V>(previous, C::STATES, a.units, i, vectors, v);
                let zr = gather::<I::V>(&w.recurrent_gates, C::GATES, a.units, i, vectors, v);
                let zx = gather::<I::V>(&w.input_gates, C::GATES, a.units, i, vectors, v);
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
            let rates = &mut w.rates[(t + 1) * rate_length..][..rate_length];
            self.rates_of::<C, I>(next, vectors, Some(&mut *rates));
            rates
        };
        let outputs = &mut w.outputs[t * a.outputs * vectors..][..a.outputs * vectors];
        if a.readout == Readout::Identity {
            outputs.copy_from_slice(&rates[..a.outputs * vectors]);
        } else {
            let bias = &parameters[self.layout.readout_bias.clone()];
            for (row, out) in outputs.chunks_exact_mut(vectors).enumerate() {
                out.fill(Lanes([bias.get(row).copied().unwrap_or(0.0); LANES]));
            }
            multiply::<I>(
                true,
                a.outputs,
                a.units,
                vectors,
                &parameters[self.layout.readout.clone()],
                rates,
                outputs,
            );
        }
    }

    /// Writes the state that step t starts from: z~ = (1 - alpha) z + alpha z_data. The initial state
    /// comes from the data already.
    #[inline(always)]
    fn force<C: Cell, I: Isa>(&self, t: usize, alpha: f32, w: &mut Workspace) {
        let a = self.architecture;
        let vectors = w.vectors;
        let length = a.state_dim() * vectors;
        let forced = &mut w.forced[t * length..][..length];
        let state = &w.states[t * length..][..length];
        if t > 0 {
            let observation = &w.targets[(t - 1) * a.outputs * vectors..][..a.outputs * vectors];
            let count = self.forced_units() * vectors;
            self.state_from_observation::<I>(observation, vectors, &mut forced[..count]);
            let (keep, take) = (I::V::splat(1.0 - alpha), I::V::splat(alpha));
            for (out, z) in forced[..count].iter_mut().zip(state) {
                (keep * I::V::load(z) + take * I::V::load(out)).store(out);
            }
            forced[count..].copy_from_slice(&state[count..]);
        } else {
            forced.copy_from_slice(state);
        }
        let rate_length = a.units * vectors;
        let rates = w
            .forced_rates
            .get_mut(t * rate_length..(t + 1) * rate_length);
        self.rates_of::<C, I>(&w.forced[t * length..][..length], vectors, rates);
    }

    /// Adds the loss of step t and leaves its derivative by the output in `d_output`.
    #[inline(always)]
    fn loss_of_step<I: Isa>(&self, t: usize, w: &mut Workspace) {
        let outputs_dim = self.architecture.outputs;
        let vectors = w.vectors;
        let length = outputs_dim * vectors;
        zeroed(&mut w.d_output, length);
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

    fn clear_gradients<C: Cell>(&self, w: &mut Workspace) {
        let a = self.architecture;
        let vectors = w.vectors;
        let gate_rows = C::GATES * a.units;
        let unit_stride = a.units.div_ceil(LANES);
        let trials = vectors * LANES;
        zeroed(&mut w.d_recurrent_gates, gate_rows * vectors);
        zeroed(&mut w.d_input_gates, gate_rows * vectors);
        zeroed(&mut w.d_rate, a.units * vectors);
        zeroed(&mut w.d_state, a.state_dim() * vectors);
        zeroed(&mut w.d_previous, a.state_dim() * vectors);
        zeroed(&mut w.rates_by_trial, trials * unit_stride);
        zeroed(&mut w.next_rates_by_trial, trials * unit_stride);
        zeroed(
            &mut w.d_recurrent,
            gate_rows * a.recurrent_columns().div_ceil(LANES),
        );
        zeroed(&mut w.d_readout, a.outputs * unit_stride);
        zeroed(&mut w.d_input, gate_rows * a.inputs);
        zeroed(&mut w.d_bias, gate_rows);
        zeroed(&mut w.d_unit, C::UNIT_PARAMETERS.len() * a.units);
        zeroed(&mut w.d_readout_bias, a.outputs);
        if C::HAS_HIDDEN {
            zeroed(&mut w.d_hidden, a.hidden * vectors);
            zeroed(&mut w.d_hidden_argument, a.hidden * vectors);
            zeroed(&mut w.hidden_by_trial, trials * a.hidden.div_ceil(LANES));
            zeroed(&mut w.d_hidden_weights, a.hidden * unit_stride);
            zeroed(&mut w.d_hidden_unit, C::HIDDEN_PARAMETERS.len() * a.hidden);
        }
    }

    /// Step t backwards: `d_state` holds dL/d(state at t + 1) from later steps; afterwards it holds
    /// dL/d(state at t).
    #[inline(always)]
    fn step_backward<C: Cell, I: Isa>(&self, t: usize, w: &mut Workspace) {
        let a = self.architecture;
        let vectors = w.vectors;
        let trials = vectors * LANES;
        let state_length = a.state_dim() * vectors;
        let rate_length = a.units * vectors;
        let gate_rows = C::GATES * a.units;
        let columns = a.recurrent_columns();
        let unit_stride = a.units.div_ceil(LANES);
        let forcing = self.forcing();

        let after = &w.states[(t + 1) * state_length..][..state_length];
        let rates_after = if C::RATE_IS_STATE {
            &after[..rate_length]
        } else {
            &w.rates[(t + 1) * rate_length..][..rate_length]
        };
        let before = match forcing {
            Some(_) => &w.forced[t * state_length..][..state_length],
            None => &w.states[t * state_length..][..state_length],
        };
        let rates_before = match (C::RATE_IS_STATE, forcing.is_some()) {
            (true, _) => &before[..rate_length],
            (false, true) => &w.forced_rates[t * rate_length..][..rate_length],
            (false, false) => &w.rates[t * rate_length..][..rate_length],
        };

        // Readout: dR += dy r', dr = R' dy
        if a.readout == Readout::Identity {
            w.d_rate.fill(Lanes::ZERO);
            w.d_rate[..a.outputs * vectors].copy_from_slice(&w.d_output);
        } else {
            transpose(a.units, vectors, rates_after, &mut w.next_rates_by_trial);
            multiply::<I>(
                true,
                a.outputs,
                trials,
                unit_stride,
                numbers(&w.d_output),
                &w.next_rates_by_trial,
                &mut w.d_readout,
            );
            multiply::<I>(
                false,
                a.units,
                a.outputs,
                vectors,
                &self.prepared.readout_transposed,
                &w.d_output,
                &mut w.d_rate,
            );
            for (sum, row) in w
                .d_readout_bias
                .iter_mut()
                .zip(w.d_output.chunks_exact(vectors))
            {
                for d in row {
                    add(I::V::load(d), sum);
                }
            }
        }
        self.rate_backward::<C, I>(
            after,
            rates_after,
            vectors,
            &w.d_rate,
            &mut w.d_state,
            &mut w.d_unit,
        );

        // Cell
        let tape = &w.tape[t * C::TAPE * rate_length..][..C::TAPE * rate_length];
        for i in 0..a.units {
            let p = self.unit_parameters::<C, I::V>(i);
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
                scatter(
                    &dzr,
                    &mut w.d_recurrent_gates,
                    C::GATES,
                    a.units,
                    i,
                    vectors,
                    v,
                );
                scatter(&dzx, &mut w.d_input_gates, C::GATES, a.units, i, vectors, v);
                for k in 0..C::UNIT_PARAMETERS.len() {
                    add(dp[k], &mut w.d_unit[k * a.units + i]);
                }
            }
        }
        // dU += dzx x', db += dzx, separate by lane
        let inputs = &w.inputs[t * a.inputs * vectors..][..a.inputs * vectors];
        for (row, d) in w.d_input_gates.chunks_exact(vectors).enumerate() {
            for (v, d) in d.iter().enumerate() {
                let d = I::V::load(d);
                add(d, &mut w.d_bias[row]);
                for i in 0..a.inputs {
                    add(
                        d * I::V::load(&inputs[i * vectors + v]),
                        &mut w.d_input[row * a.inputs + i],
                    );
                }
            }
        }
        // dW += dzr q', dq = W' dzr, and with a hidden layer dWh += dg r', dr = Wh' dg
        transpose(a.units, vectors, rates_before, &mut w.rates_by_trial);
        let rates_by_trial = &w.rates_by_trial[..];
        let presynaptic = if C::HAS_HIDDEN {
            let values = &w.hidden_values[t * a.hidden * vectors..][..a.hidden * vectors];
            transpose(a.hidden, vectors, values, &mut w.hidden_by_trial);
            &w.hidden_by_trial[..]
        } else {
            rates_by_trial
        };
        multiply::<I>(
            true,
            gate_rows,
            trials,
            columns.div_ceil(LANES),
            numbers(&w.d_recurrent_gates),
            presynaptic,
            &mut w.d_recurrent,
        );
        let d_presynaptic = if C::HAS_HIDDEN {
            &mut w.d_hidden
        } else {
            &mut w.d_rate
        };
        multiply::<I>(
            false,
            columns,
            gate_rows,
            vectors,
            &self.prepared.recurrent_transposed,
            &w.d_recurrent_gates,
            d_presynaptic,
        );
        if C::HAS_HIDDEN {
            let arguments = &w.hidden_arguments[t * a.hidden * vectors..][..a.hidden * vectors];
            let values = &w.hidden_values[t * a.hidden * vectors..][..a.hidden * vectors];
            for l in 0..a.hidden {
                let c = self.hidden_parameters::<C, I::V>(l);
                for v in 0..vectors {
                    let at = l * vectors + v;
                    let mut dg = [I::V::splat(0.0)];
                    let mut dc = [I::V::splat(0.0); MAX_SLOTS];
                    C::hidden_vjp(
                        &[I::V::load(&arguments[at])],
                        &[I::V::load(&values[at])],
                        &c[..C::HIDDEN_PARAMETERS.len()],
                        &[I::V::load(&w.d_hidden[at])],
                        &mut dg,
                        &mut dc[..C::HIDDEN_PARAMETERS.len()],
                    );
                    dg[0].store(&mut w.d_hidden_argument[at]);
                    for k in 0..C::HIDDEN_PARAMETERS.len() {
                        add(dc[k], &mut w.d_hidden_unit[k * a.hidden + l]);
                    }
                }
            }
            multiply::<I>(
                true,
                a.hidden,
                trials,
                unit_stride,
                numbers(&w.d_hidden_argument),
                rates_by_trial,
                &mut w.d_hidden_weights,
            );
            multiply::<I>(
                false,
                a.units,
                a.hidden,
                vectors,
                &self.prepared.hidden_transposed,
                &w.d_hidden_argument,
                &mut w.d_rate,
            );
        }
        self.rate_backward::<C, I>(
            before,
            rates_before,
            vectors,
            &w.d_rate,
            &mut w.d_previous,
            &mut w.d_unit,
        );
        // Through the forcing: dz = (1 - alpha) dz~ on the forced units; z_data is a constant.
        if let (Some(alpha), true) = (forcing, t > 0) {
            let keep = I::V::splat(1.0 - alpha);
            for d in &mut w.d_previous[..self.forced_units() * vectors] {
                (keep * I::V::load(d)).store(d);
            }
        }
        std::mem::swap(&mut w.d_state, &mut w.d_previous);
    }

    /// Adds the derivative through the rates to the derivative by the state (and by the unit parameters).
    #[inline(always)]
    fn rate_backward<C: Cell, I: Isa>(
        &self,
        state: &[Lanes],
        rates: &[Lanes],
        vectors: usize,
        d_rate: &[Lanes],
        d_state: &mut [Lanes],
        d_unit: &mut [Lanes],
    ) {
        let units = self.architecture.units;
        if C::RATE_IS_STATE {
            for (sum, d) in d_state.iter_mut().zip(d_rate) {
                add(I::V::load(d), sum);
            }
            return;
        }
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

    /// Gradient through the initial state, where it comes from an observation. With P = pinv(R),
    /// x = x_1 - d, z = P x and g = dL/dz, the differential of the pseudo-inverse of a full-rank matrix
    /// (Golub & Pereyra 1973)
    ///
    ///   dP = - P dR P + P P' dR' (I - R P) + (I - P R) dR' P' P
    ///
    /// gives dL/dR = - (P' g) z' + (x - R z) (P P' g)' + (P' z) (g - R' P' g)' and dL/dd = - P' g.
    fn initial_backward(&self, w: &mut Workspace) {
        let a = self.architecture;
        let vectors = w.vectors;
        w.gradient.clear();
        w.gradient.resize(self.layout.total, 0.0);
        if self.job.trials.initial.is_none() {
            return;
        }
        let (units, outputs) = (a.units, a.outputs);
        let parameters = self.job.parameters;
        let lane = |data: &[Lanes], row: usize, trial: usize| {
            f64::from(data[row * vectors + trial / LANES].0[trial % LANES])
        };
        let mut d_matrix = vec![
            0.0f64;
            if a.readout == Readout::Identity {
                self.layout.initial.len()
            } else {
                outputs * units
            }
        ];
        let mut d_bias = vec![0.0f64; self.layout.readout_bias.len()];
        let inverse = &self.prepared.readout_inverse;
        let readout: Vec<f64> = parameters[self.layout.readout.clone()]
            .iter()
            .map(|&x| f64::from(x))
            .collect();
        let bias = &parameters[self.layout.readout_bias.clone()];
        for trial in 0..vectors * LANES {
            let g: Vec<f64> = (0..units).map(|i| lane(&w.d_state, i, trial)).collect();
            if g.iter().all(|&g| g == 0.0) {
                continue;
            }
            let x: Vec<f64> = (0..outputs)
                .map(|o| {
                    lane(&w.initial, o, trial) - f64::from(bias.get(o).copied().unwrap_or(0.0))
                })
                .collect();
            if a.readout == Readout::Identity {
                // Unobserved units: z = L x.
                for (row, g) in d_matrix
                    .chunks_exact_mut(outputs)
                    .zip(&g[outputs.min(units)..])
                {
                    for (d, x) in row.iter_mut().zip(&x) {
                        *d += g * x;
                    }
                }
                continue;
            }
            let by_row = |m: &[f64], x: &[f64], rows: usize| -> Vec<f64> {
                m.chunks_exact(m.len() / rows)
                    .map(|r| r.iter().zip(x).map(|(m, x)| m * x).sum())
                    .collect()
            };
            let by_column = |m: &[f64], x: &[f64], rows: usize| -> Vec<f64> {
                let columns = m.len() / rows;
                (0..columns)
                    .map(|j| (0..rows).map(|i| m[i * columns + j] * x[i]).sum())
                    .collect()
            };
            let z = by_row(inverse, &x, units);
            let pg = by_column(inverse, &g, units);
            let ppg = by_row(inverse, &pg, units);
            let pz = by_column(inverse, &z, units);
            let rz = by_row(&readout, &z, outputs);
            let rpg = by_column(&readout, &pg, outputs);
            for o in 0..outputs {
                for i in 0..units {
                    d_matrix[o * units + i] +=
                        -pg[o] * z[i] + (x[o] - rz[o]) * ppg[i] + pz[o] * (g[i] - rpg[i]);
                }
                if let Some(d) = d_bias.get_mut(o) {
                    *d -= pg[o];
                }
            }
        }
        let range = if a.readout == Readout::Identity {
            &self.layout.initial
        } else {
            &self.layout.readout
        };
        for (out, d) in w.gradient[range.clone()].iter_mut().zip(&d_matrix) {
            *out = *d as f32;
        }
        for (out, d) in w.gradient[self.layout.readout_bias.clone()]
            .iter_mut()
            .zip(&d_bias)
        {
            *out = *d as f32;
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
        add_matrix(&w.d_readout, a.units, &self.layout.readout);
        let mut add_lanes = |lanes: &[Lanes], range: &std::ops::Range<usize>| {
            for (out, d) in gradient[range.clone()].iter_mut().zip(lanes) {
                *out += d.sum();
            }
        };
        add_lanes(&w.d_input, &self.layout.input);
        add_lanes(&w.d_bias, &self.layout.bias);
        add_lanes(&w.d_unit, &self.layout.unit);
        add_lanes(&w.d_hidden_unit, &self.layout.hidden_unit);
        add_lanes(&w.d_readout_bias, &self.layout.readout_bias);
    }
}

/// C = A B or C += A B on an instruction set; see [`super::kernels::product`].
#[inline(always)]
fn multiply<I: Isa>(
    accumulate: bool,
    m: usize,
    k: usize,
    vectors: usize,
    a: &[f32],
    b: &[Lanes],
    c: &mut [Lanes],
) {
    // SAFETY: a pass runs on an instruction set only after `Instructions::detect` has found it.
    unsafe { I::product(accumulate, m, k, vectors, a, b, c) }
}

/// sum += x
#[inline(always)]
fn add<V: Vector>(x: V, sum: &mut Lanes) {
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
