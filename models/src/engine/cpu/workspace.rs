//! The memory a shard works in.

use crate::simd::{LANES, Lanes};

/// Most steps in a block, see [`Workspace::block`].
pub(super) const MOST_STEPS_IN_BLOCK: usize = 8;
/// Rows of gate derivatives and presynaptic rates, over all steps of a block, that a second-level cache holds
/// beside the gradient they are added to.
const ROWS_IN_BLOCK: usize = 1280;

/// The buffers of one shard, kept from update to update. Layout [time][row][vector] unless said otherwise.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// Vectors of sixteen trials in this shard.
    pub(super) vectors: usize,
    pub(super) inputs: Vec<Lanes>,
    /// [time][trial][input], rows padded to whole vectors; only where there are many inputs.
    pub(super) inputs_by_trial: Vec<Lanes>,
    pub(super) targets: Vec<Lanes>,
    /// Weight of each step, 0 for the lanes beyond the batch.
    pub(super) weights: Vec<Lanes>,
    /// First observation [output][vector].
    pub(super) initial: Vec<Lanes>,
    /// States before forcing; time 0 is the initial state.
    pub(super) states: Vec<Lanes>,
    /// States after forcing, only where there is forcing; time t is what step t starts from.
    pub(super) forced: Vec<Lanes>,
    /// Rates of `states` from time 0, where they are not the states themselves.
    pub(super) rates: Vec<Lanes>,
    /// Rates of `forced`, likewise.
    pub(super) forced_rates: Vec<Lanes>,
    /// Arguments of the hidden layer.
    pub(super) hidden_arguments: Vec<Lanes>,
    pub(super) tape: Vec<Lanes>,
    pub(super) outputs: Vec<Lanes>,
    /// Sum of losses, already scaled.
    pub(super) loss: f64,
    pub(super) gradient: Vec<f32>,
    /// Scratch of one step. Where gates add, `recurrent_gates` holds the sum and `input_gates` nothing.
    pub(super) recurrent_gates: Vec<Lanes>,
    pub(super) input_gates: Vec<Lanes>,
    /// Values of the hidden layer: computed again on the way back, which costs less than to keep those of all steps.
    pub(super) hidden_values: Vec<Lanes>,
    pub(super) d_output: Vec<Lanes>,
    pub(super) d_rate: Vec<Lanes>,
    pub(super) d_hidden: Vec<Lanes>,
    /// Derivative by the state after the step at hand, and by the state before it.
    pub(super) d_state: Vec<Lanes>,
    pub(super) d_previous: Vec<Lanes>,
    /// Steps whose derivatives are kept before they enter the gradients, all at once: a sum over several
    /// steps loads and stores its gradient once. The buffers of a block are [step of the block][row][..].
    pub(super) block: usize,
    pub(super) d_recurrent_gates: Vec<Lanes>,
    pub(super) d_input_gates: Vec<Lanes>,
    pub(super) d_hidden_argument: Vec<Lanes>,
    /// Inputs and the constant 1, [step of the block][vector][input].
    pub(super) block_inputs: Vec<Lanes>,
    /// Trial by trial, [step of the block][trial][row], rows padded to whole vectors.
    pub(super) rates_by_trial: Vec<Lanes>,
    pub(super) hidden_by_trial: Vec<Lanes>,
    /// Unforced rates after the step at hand, trial by trial; only where there is forcing.
    pub(super) rates_after_by_trial: Vec<Lanes>,
    /// Gradients with rows padded to whole vectors.
    pub(super) d_recurrent: Vec<Lanes>,
    pub(super) d_hidden_weights: Vec<Lanes>,
    pub(super) d_input: Vec<Lanes>,
    pub(super) d_readout: Vec<Lanes>,
    /// Gradients still separate by lane: [gate row][input, then the bias], [parameter][unit], [output].
    pub(super) d_input_lanes: Vec<Lanes>,
    pub(super) d_unit: Vec<Lanes>,
    pub(super) d_hidden_unit: Vec<Lanes>,
    pub(super) d_readout_bias: Vec<Lanes>,
}

/// Steps in a block for so many rows of derivatives and rates.
pub(super) fn steps_in_block(rows: usize) -> usize {
    (ROWS_IN_BLOCK / rows.max(1)).clamp(1, MOST_STEPS_IN_BLOCK)
}

/// Makes a buffer the given length, all zero.
pub(super) fn zeroed(buffer: &mut Vec<Lanes>, length: usize) {
    buffer.clear();
    buffer.resize(length, Lanes::ZERO);
}

/// Makes a buffer the given length; what it holds is left over from earlier work.
pub(super) fn sized(buffer: &mut Vec<Lanes>, length: usize) {
    buffer.resize(length, Lanes::ZERO);
}

/// Row `index` of a buffer of rows of `length`.
#[inline(always)]
pub(super) fn at(buffer: &[Lanes], index: usize, length: usize) -> &[Lanes] {
    &buffer[index * length..][..length]
}

/// As [`at`], to be changed.
#[inline(always)]
pub(super) fn at_mut(buffer: &mut [Lanes], index: usize, length: usize) -> &mut [Lanes] {
    &mut buffer[index * length..][..length]
}

/// Vectors that hold a row of so many numbers.
pub(super) fn stride(numbers: usize) -> usize {
    numbers.div_ceil(LANES)
}
