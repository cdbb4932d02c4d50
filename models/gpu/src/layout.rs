//! Where everything lies in the buffers of the device.
//!
//! Arrays over time are [network, section, time, row, trial] with trials innermost, padded to whole *quads* of
//! four, so that neighbouring threads touch neighbouring memory and a quad is one `vec4`. The order does not
//! depend on how a batch is cut into tiles or an ensemble into groups, and neither does any sum over it but one, that
//! of gradients gathered in registers, which is made by tiles of one size.

use nullcline_models::architecture::{Architecture, Layout, Readout};
use nullcline_tasks::Loss;

/// Trials in a quad.
pub const QUAD: usize = 4;

/// Parameters that one workgroup of the update reduces.
pub const BLOCK: usize = 256;

/// Depth in quads of a tile of the gradient products: tiles of 64 rows and columns then fit in the 16 KiB of workgroup
/// memory that every device has.
pub const DEPTH: usize = 4;

/// Quads of a tile whose threads gather gradients in registers. The sums depend on it, so that it is one number.
pub const GATHERED_QUADS: usize = 8;

/// Most columns, of inputs and ones, that are added to a gradient product's own.
pub const MORE: usize = 8;

/// The loop iterations that one invocation may spend in a dispatch. Mesa's lavapipe ends an invocation in
/// silence after 65,535; what stays below that is also far from the two seconds of other drivers' watchdogs.
pub const ITERATIONS: usize = 59_000;

/// `x` rounded up to whole quads.
pub fn padded(x: usize) -> usize {
    x.next_multiple_of(QUAD)
}

/// What is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The networks' architecture.
    pub architecture: Architecture,
    /// The loss.
    pub loss: Loss,
    /// Whether states are forced towards the data.
    pub forcing: bool,
    /// Steps from one forced step to the next; 1 where there is no forcing.
    pub forcing_interval: usize,
    /// The first so many units are forced; 0 where there is no forcing.
    pub forced_units: usize,
    /// Whether trials start from an observation.
    pub observed: bool,
    /// Whether the gradient is wanted, or the response alone.
    pub backward: bool,
    /// For each gate, the row of gate derivatives that holds its derivative by the input part. The first rows
    /// hold those by the recurrent part.
    pub input_gate_rows: Vec<usize>,
}

impl Problem {
    /// The rows of gate derivatives per unit.
    pub fn gate_rows(&self) -> usize {
        let gates = self.architecture.cell.shape().gates;
        self.input_gate_rows
            .iter()
            .map(|row| row + 1)
            .max()
            .unwrap_or(0)
            .max(gates)
    }

    /// Columns of the inputs, and of the ones that biases are multiplied by.
    pub fn input_columns(&self) -> usize {
        self.architecture.inputs + usize::from(self.architecture.bias)
    }

    /// Whether the gradients of W, U and b may be gathered in registers: one gate, a single matrix product per step,
    /// and so few units that the numbers of a thread's share are few.
    pub fn gathers(&self) -> bool {
        let shape = self.architecture.cell.shape();
        self.backward
            && shape.gates == 1
            && !shape.has_hidden
            && (16..=80).contains(&self.architecture.units)
            && self.input_columns() <= MORE
            // The derivative by the input part is that by the recurrent part.
            && self.input_gate_rows == [0]
    }

    /// Parameters per unit whose gradient is formed: all, or none where none is trained, which is the usual case
    /// of a leak. Its gradient is then left at zero, as the CPU engine leaves it.
    pub fn unit_gradients(&self) -> usize {
        let names = self.architecture.cell.shape().unit_parameters;
        let trained = self
            .architecture
            .tensors()
            .iter()
            .any(|tensor| tensor.trainable && names.contains(&tensor.name.as_str()));
        if trained { names.len() } else { 0 }
    }

    /// Whether the initial state is the pseudo-inverse of the readout times an observation.
    pub fn inverts_readout(&self) -> bool {
        self.observed && self.architecture.readout != Readout::Identity
    }

    /// Units that an observation determines: all, or the observed ones of the identity readout.
    pub fn observed_units(&self) -> usize {
        let a = &self.architecture;
        if a.readout == Readout::Identity {
            a.outputs.min(a.units)
        } else {
            a.units
        }
    }
}

/// Weights as the kernels read them, in floats from the start of one network's part. Rows and columns are padded
/// to quads with zeros, so that no loop over them needs a bound of its own.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Packed {
    /// Units, presynaptic units, hidden units and outputs, padded.
    pub units: usize,
    /// Padded columns of W.
    pub columns: usize,
    /// Padded hidden units.
    pub hidden: usize,
    /// Padded outputs.
    pub outputs: usize,
    /// W as [gate, column, unit].
    pub recurrent_forward: usize,
    /// W as [gate, unit, column].
    pub recurrent_backward: usize,
    /// Wh as [unit, hidden].
    pub hidden_forward: usize,
    /// Wh as [hidden, unit].
    pub hidden_backward: usize,
    /// R as [output, unit].
    pub readout_rows: usize,
    /// R as [unit, output].
    pub readout_columns: usize,
    /// pinv(R) as [output, unit].
    pub inverse: usize,
    /// - pinv(R) d [unit].
    pub offset: usize,
    /// Q of the decomposition of the readout, [column, row], its long side inside.
    pub orthogonal: usize,
    /// T of that decomposition, [row, column].
    pub triangular: usize,
    /// Floats of one network.
    pub stride: usize,
}

impl Packed {
    /// The places for a problem.
    pub fn new(problem: &Problem) -> Self {
        let a = &problem.architecture;
        let shape = a.cell.shape();
        let (units, columns) = (padded(a.units), padded(a.recurrent_columns()));
        let hidden = if shape.has_hidden {
            padded(a.hidden)
        } else {
            0
        };
        let outputs = padded(a.outputs);
        let mut next = 0;
        let mut take = |count: usize| {
            let at = next;
            next += padded(count);
            at
        };
        let linear = a.readout != Readout::Identity;
        let readout = usize::from(linear);
        let inverse = usize::from(problem.inverts_readout());
        let (long, short) = (a.units.max(a.outputs), a.units.min(a.outputs));
        Packed {
            units,
            columns,
            hidden,
            outputs,
            recurrent_forward: take(shape.gates * columns * units),
            recurrent_backward: take(shape.gates * units * columns),
            hidden_forward: take(units * hidden),
            hidden_backward: take(hidden * units),
            readout_rows: take(readout * a.outputs * units),
            readout_columns: take(readout * units * outputs),
            inverse: take(inverse * a.outputs * units),
            offset: take(inverse * units),
            orthogonal: take(inverse * short * long),
            triangular: take(inverse * short * short),
            stride: next.max(QUAD),
        }
    }

    /// Floats that the copy kernel writes: everything before the pseudo-inverse.
    pub fn copied(&self) -> usize {
        self.inverse
    }
}

/// What the passes write over time, in rows from the start of one network's part. A row holds the batch.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct History {
    /// States [time + 1][variable, unit], before forcing.
    pub states: usize,
    /// Rates of the states [time + 1][unit], where they are not the states.
    pub rates: usize,
    /// First state variable after forcing [time][unit].
    pub forced: usize,
    /// Its rates [time][unit].
    pub forced_rates: usize,
    /// What `update` left [time][entry, unit]; the backward pass puts the gate derivatives in its place.
    pub tape: usize,
    /// Rows per step of `tape`.
    pub tape_rows: usize,
    /// Arguments of the hidden layer [time][hidden]; the backward pass puts their derivatives in their place.
    pub hidden_arguments: usize,
    /// Values of the hidden layer [time][hidden].
    pub hidden_values: usize,
    /// Outputs [time][output]; the loss puts its derivative in their place.
    pub outputs: usize,
    /// Derivative by the state at hand [variable, unit].
    pub d_state: usize,
    /// Derivative by the unit parameters, trial by trial [parameter, unit].
    pub d_unit: usize,
    /// Derivative by the parameters of hidden units [parameter, hidden].
    pub d_hidden_unit: usize,
    /// Left factors of the readout's gradient through the initial state [3][output].
    pub left: usize,
    /// Right factors [3][unit].
    pub right: usize,
    /// Rows of one network.
    pub stride: usize,
}

impl History {
    /// The places for a problem of `steps` steps.
    pub fn new(problem: &Problem, steps: usize) -> Self {
        let a = &problem.architecture;
        let shape = a.cell.shape();
        let mut next = 0;
        let mut take = |count: usize| {
            let at = next;
            next += count;
            at
        };
        let backward = usize::from(problem.backward);
        let rates = usize::from(!shape.rate_is_state);
        let forcing = usize::from(problem.forcing);
        let hidden = if shape.has_hidden { a.hidden } else { 0 };
        let tape_rows = if problem.backward {
            shape.tape.max(problem.gate_rows()) * a.units
        } else {
            0
        };
        let inverse = backward * usize::from(problem.inverts_readout());
        History {
            states: take((steps + 1) * a.state_dim()),
            rates: take((steps + 1) * a.units * rates),
            forced: take(steps * a.units * forcing),
            forced_rates: take(steps * a.units * forcing * rates),
            tape: take(steps * tape_rows),
            tape_rows,
            hidden_arguments: take(backward * steps * hidden),
            hidden_values: take(steps * hidden),
            outputs: take(steps * a.outputs),
            d_state: take(backward * a.state_dim()),
            d_unit: take(backward * problem.unit_gradients() * a.units),
            d_hidden_unit: take(backward * shape.hidden_parameters.len() * hidden),
            left: take(inverse * 3 * a.outputs),
            right: take(inverse * 3 * a.units),
            stride: next,
        }
    }
}

/// A set of trials, in rows.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TrialRows {
    /// Inputs [time][input].
    pub inputs: usize,
    /// Targets [time][output].
    pub targets: usize,
    /// Weights [time].
    pub weights: usize,
    /// First observations [output].
    pub initial: usize,
    /// The loss's scale, in the first number of a row.
    pub scale: usize,
    /// Rows of one set.
    pub stride: usize,
}

impl TrialRows {
    /// The places for a problem of `steps` steps.
    pub fn new(problem: &Problem, steps: usize) -> Self {
        let a = &problem.architecture;
        let inputs = 0;
        let targets = inputs + steps * a.inputs;
        let weights = targets + steps * a.outputs;
        let initial = weights + steps;
        let scale = initial + if problem.observed { a.outputs } else { 0 };
        TrialRows {
            inputs,
            targets,
            weights,
            initial,
            scale,
            stride: scale + 1,
        }
    }
}

/// Sums over time and trials, in floats from the start of one network's part.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Sums {
    /// Slices of (time, trial) that gradient products are cut into; their partial gradients come first.
    pub slices: usize,
    /// Quads of a slice.
    pub slice_quads: usize,
    /// Slices of the products that belong to the initial state: three sections of a batch at most.
    pub initial_slices: usize,
    /// Quads of such a slice.
    pub initial_slice_quads: usize,
    /// The gradient.
    pub gradient: usize,
    /// Loss of each step.
    pub losses: usize,
    /// Largest magnitude and scaled sum of squares of each block of the gradient.
    pub norms: usize,
    /// Blocks of the gradient.
    pub blocks: usize,
    /// Floats of one network.
    pub stride: usize,
}

impl Sums {
    /// The places for a problem of `steps` steps and `quads` quads of trials. The slices depend on nothing but
    /// the shape, so that neither do the sums.
    pub fn new(problem: &Problem, steps: usize, quads: usize) -> Self {
        let count = problem.architecture.parameter_count();
        let parameters = padded(count);
        let (slices, slice_quads) = if problem.backward {
            slices(steps * quads, count)
        } else {
            (0, 0)
        };
        let (initial_slices, initial_slice_quads) = if problem.backward && problem.observed {
            slices_of_initial(quads)
        } else {
            (0, 0)
        };
        // Gathered sums have a slice for every tile.
        let slices = if problem.gathers() {
            slices.max(quads.div_ceil(GATHERED_QUADS))
        } else {
            slices
        };
        let gradient = (slices + initial_slices) * parameters;
        let losses = gradient + if problem.backward { parameters } else { 0 };
        let norms = losses + steps;
        let blocks = count.div_ceil(BLOCK);
        Sums {
            slices,
            slice_quads,
            initial_slices,
            initial_slice_quads,
            gradient,
            losses,
            norms,
            blocks,
            stride: padded(norms + 2 * blocks),
        }
    }
}

/// Iterations of a product kernel for each `DEPTH` quads: one, and a loop over the depth with the turn that finds
/// its end.
pub const ITERATIONS_PER_DEPTH: usize = 2 + DEPTH;

/// Number and length in quads of the slices of a sum over `total` quads: five hundred numbers each where the
/// partial gradients stay small, and never more than an invocation may iterate over.
fn slices(total: usize, parameters: usize) -> (usize, usize) {
    let most = (ITERATIONS / ITERATIONS_PER_DEPTH) * DEPTH / 2;
    let affordable = ((1 << 22) / parameters.max(1)).clamp(1, 32);
    let count = (total / 128).clamp(1, affordable).max(total.div_ceil(most));
    let length = total.div_ceil(count).next_multiple_of(DEPTH);
    (total.div_ceil(length).max(1), length)
}

fn slices_of_initial(quads: usize) -> (usize, usize) {
    slices(3 * quads, usize::MAX)
}

/// The table of numbers that the host writes for every block of updates, in words.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Table {
    /// Whether each parameter is trained, 0 or 1.
    pub trainable: usize,
    /// What the penalties add to the derivative by each parameter p: [factor, offset] of factor p - offset.
    pub pulls: usize,
    /// Which set of trials each network sees.
    pub sets: usize,
    /// Seed (two words) and first trial's index (two words) of each set, for every update.
    pub seeds: usize,
    /// Factors of the optimiser and the strength of the forcing, [update][network][`FACTORS`].
    pub factors: usize,
    /// Words in all.
    pub words: usize,
}

/// Numbers that say how a network is trained in one update: factors of the optimiser, strength of the forcing.
pub const FACTORS: usize = 8;

impl Table {
    /// The places for `networks` networks, `sets` sets of trials and `updates` updates.
    pub fn new(parameters: usize, networks: usize, sets: usize, updates: usize) -> Self {
        let trainable = 0;
        let pulls = trainable + parameters;
        let sets_at = pulls + 2 * parameters;
        let seeds = sets_at + networks;
        let factors = seeds + 4 * sets * updates;
        Table {
            trainable,
            pulls,
            sets: sets_at,
            seeds,
            factors,
            words: (factors + FACTORS * networks * updates).max(QUAD),
        }
    }
}

/// Numbers of the trained state of one network: first moment, second moment, previous parameters, control.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Training {
    /// Padded parameters.
    pub parameters: usize,
}

/// Control words of one network, behind its trained state.
pub mod control {
    /// Whether it still trains: 1.0 or 0.0.
    pub const TRAINS: usize = 0;
    /// The factor of clipping, to be applied after [`SCALE`].
    pub const FACTOR: usize = 1;
    /// What the update at hand does, of [`super::action`].
    pub const ACTION: usize = 2;
    /// Updates of the call that were made before the network diverged.
    pub const MADE: usize = 3;
    /// What brings a large gradient into the middle of the range before it is clipped.
    pub const SCALE: usize = 4;
    /// Words in all.
    pub const WORDS: usize = 5;
}

/// What an update does with a network.
pub mod action {
    /// It has diverged before.
    pub const NOTHING: f32 = 0.0;
    /// The optimiser's step.
    pub const APPLY: f32 = 1.0;
    /// It has diverged now: the parameters before the last update are put back.
    pub const RESTORE: f32 = 2.0;
}

/// Updates of a network whose losses are kept on the device before they are brought to the host, at most.
pub const RECORDS: usize = 4096;

impl Training {
    /// Floats of one network.
    pub fn stride(self) -> usize {
        self.control() + control::WORDS
    }
    /// Where the control words lie.
    pub fn control(self) -> usize {
        3 * self.parameters
    }
}

/// The bytes that each buffer takes for one network, for one set of trials, and for the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// Largest buffer share of one network.
    pub largest_per_network: u64,
    /// All buffers of one network together, without its trials.
    pub per_network: u64,
    /// One set of trials.
    pub per_set: u64,
}

/// All places of a problem with a batch of trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Places {
    /// The problem.
    pub problem: Problem,
    /// The flat parameter vector.
    pub layout: Layout,
    /// Steps of a trial.
    pub steps: usize,
    /// Trials of a batch.
    pub batch: usize,
    /// Quads of a batch.
    pub quads: usize,
    /// Packed weights.
    pub packed: Packed,
    /// Passes over time.
    pub history: History,
    /// Trials.
    pub trials: TrialRows,
    /// Sums.
    pub sums: Sums,
    /// Trained state.
    pub training: Training,
}

impl Places {
    /// The places of a problem.
    pub fn new(problem: Problem, steps: usize, batch: usize) -> Self {
        let quads = batch.div_ceil(QUAD).max(1);
        let layout = problem.architecture.layout();
        Places {
            packed: Packed::new(&problem),
            history: History::new(&problem, steps),
            trials: TrialRows::new(&problem, steps),
            sums: Sums::new(&problem, steps, quads),
            training: Training {
                parameters: padded(layout.total),
            },
            layout,
            steps,
            batch,
            quads,
            problem,
        }
    }

    /// What a network and a set of trials take, with the optimiser's state where it trains on the device.
    pub fn bytes(&self, trains: bool) -> Bytes {
        let floats = |n: usize| 4 * n as u64;
        let history = floats(self.history.stride * self.quads * QUAD);
        let sums = floats(self.sums.stride);
        let packed = floats(self.packed.stride);
        let parameters = floats(self.training.parameters);
        let training = if trains {
            floats(self.training.stride() + RECORDS)
        } else {
            0
        };
        let parts = [history, sums, packed, parameters, training];
        Bytes {
            largest_per_network: parts.into_iter().max().unwrap_or(0),
            per_network: parts.into_iter().sum(),
            per_set: floats(self.trials.stride * self.quads * QUAD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slices_cover_a_sum_and_stay_within_the_iterations_of_an_invocation(
            total in 1usize..40_000_000, parameters in 1usize..4_000_000
        ) {
            let (count, length) = slices(total, parameters);
            prop_assert!(count * length >= total);
            prop_assert!((count - 1) * length < total, "no slice is empty");
            prop_assert_eq!(length % DEPTH, 0);
            prop_assert!(length / DEPTH * ITERATIONS_PER_DEPTH < ITERATIONS);
        }
    }
}
