//! Trials on the device: brought from the host, or drawn there by the task's own shader.

use crate::layout::{Places, QUAD};
use crate::sweeps::{ADDRESSES, Kernel, constants};
use crate::text::{declarations, writes};
use ndarray::{Array2, Array3, CowArray, Ix2};
use nullcline_data::random::WGSL;
use nullcline_tasks::{Loss, Split, TRIALS_PER_INDEX, TrialShader, Trials};
use rayon::prelude::*;

/// 1 / (sum of the weights of all steps, times outputs for the mean squared error). A set of trials without any
/// weight has loss 0, not 0 / 0.
pub fn scale(loss: Loss, weight: f64, outputs: usize) -> f32 {
    let count = match loss {
        Loss::MeanSquaredError => weight * outputs as f64,
        Loss::CrossEntropy => weight,
    };
    if count > 0.0 {
        (1.0 / count) as f32
    } else {
        0.0
    }
}

/// The sum of the weights of all steps.
pub fn weight(trials: &Trials) -> f64 {
    match &trials.mask {
        Some(mask) => mask.iter().map(|&m| f64::from(m)).sum(),
        None => (trials.batch() * trials.steps()) as f64,
    }
}

/// Rows that are copied side by side: as many as numbers in a line of the cache, which each of them reads or writes
/// one number of.
const LINE: usize = 16;

/// to[i][j] = from[j][i] for all rows i of `to`, of `to_stride` numbers, and `columns` columns j; the rows of `from`
/// have `from_stride` numbers.
fn transpose(from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize, columns: usize) {
    if to.is_empty() {
        return;
    }
    to.par_chunks_mut(LINE * to_stride)
        .enumerate()
        .for_each(|(k, to)| {
            let first = k * LINE;
            let last = first + to.len() / to_stride;
            for (j, from) in from.chunks(from_stride).take(columns).enumerate() {
                for (to, value) in to
                    .iter_mut()
                    .skip(j)
                    .step_by(to_stride)
                    .zip(&from[first..last])
                {
                    *to = *value;
                }
            }
        });
}

/// Writes a set of trials as [`crate::layout::TrialRows`] says. Trials beyond the batch repeat the last one: they
/// have no weight, but what overflowed there would be 0 x inf in the sums.
pub fn pack(places: &Places, trials: &Trials, out: &mut [f32]) {
    let lanes = places.quads * QUAD;
    let rows = &places.trials;
    let (batch, steps) = (trials.batch(), trials.steps());
    let mut fill = |section: usize, values: CowArray<f32, Ix2>, beyond: Option<f32>| {
        let count = values.dim().1;
        let out = &mut out[section * lanes..][..count * lanes];
        let values = values.as_standard_layout();
        transpose(
            values.as_slice().unwrap_or_default(),
            count,
            out,
            lanes,
            batch,
        );
        for row in out.chunks_exact_mut(lanes) {
            let (inside, outside) = row.split_at_mut(batch);
            outside.fill(beyond.unwrap_or(inside[batch - 1]));
        }
    };
    fill(rows.inputs, by_trial(&trials.inputs), None);
    fill(rows.targets, by_trial(&trials.targets), None);
    let weights = match &trials.mask {
        Some(mask) => CowArray::from(mask),
        None => CowArray::from(Array2::ones((batch, steps))),
    };
    fill(rows.weights, weights, Some(0.0));
    if let Some(initial) = &trials.initial {
        fill(rows.initial, CowArray::from(initial), None);
    }
    out[rows.scale * lanes..][..lanes].fill(scale(
        places.problem.loss,
        weight(trials),
        trials.targets.dim().2,
    ));
}

/// [batch, time, dim] as [batch, (time, dim)].
fn by_trial(values: &Array3<f32>) -> CowArray<'_, f32, Ix2> {
    let (batch, steps, dimension) = values.dim();
    values
        .to_shape((batch, steps * dimension))
        .unwrap_or_else(|_| unreachable!("as many numbers in another shape"))
}

/// [row][lane] of one network or set as [batch, time, dim].
pub fn unpack(rows: &[f32], places: &Places, steps: usize, dimension: usize) -> Array3<f32> {
    let mut out = Array3::zeros((places.batch, steps, dimension));
    if let Some(numbers) = out.as_slice_mut() {
        let count = steps * dimension;
        transpose(rows, places.quads * QUAD, numbers, count, count);
    }
    out
}

/// The kernel that draws sets of trials, one thread a trial. Workgroups: trials / 64, set.
pub fn draw(places: &Places, shader: &TrialShader) -> Kernel {
    let a = &places.problem.architecture;
    let batch_weight = (places.batch * places.steps) as f64;
    let scale = scale(places.problem.loss, batch_weight, a.outputs);
    let mut source = declarations(writes::TRIALS, 1, "f32");
    source.push_str("alias Quad = vec4<f32>;\n");
    source.push_str(&constants(places));
    source.push_str(ADDRESSES);
    source.push_str(WGSL);
    source.push_str(&format!(
        "
var<private> trial_lane: u32;
var<private> trial_weight: f32;
fn trial_number(section: u32, row: u32) -> u32 {{
    return (trial_rows + section + row) * QUADS * 4u + trial_lane;
}}
fn set_input(step: u32, input: u32, value: f32) {{
    trials[trial_number(INPUTS_AT, step * INPUTS + input)] = value;
}}
fn set_target(step: u32, output: u32, value: f32) {{
    trials[trial_number(TARGETS_AT, step * OUTPUTS + output)] = value;
}}
fn set_initial(output: u32, value: f32) {{
    trials[trial_number(INITIAL_AT, output)] = value;
}}
fn task_value(index: u32) -> f32 {{ return values[index]; }}
{}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    if (id.x >= QUADS * 4u) {{ return; }}
    trial_lane = id.x;
    let place = run.first_set + id.y;
    trial_rows = place * TRIAL_STRIDE;
    let trial = min(id.x, BATCH - 1u);
    let seed = run.seeds_at + 4u * place;
    // The index of an update's first trial is a multiple of the trials that an update has room for.
    random_open(
        vec2<u32>(table[seed], table[seed + 1u]),
        {}u,
        vec2<u32>(table[seed + 2u] + trial, table[seed + 3u]),
    );
    draw_trial();
    let weight = select(0.0, 1.0, id.x < BATCH);
    for (var step = 0u; step < STEPS; step += 1u) {{
        trials[trial_number(WEIGHTS_AT, step)] = weight;
    }}
    trials[trial_number(SCALE_AT, 0u)] = bitcast<f32>({}u);
}}
",
        shader.source,
        Split::Training.stream().0,
        scale.to_bits(),
    ));
    Kernel {
        label: "draw",
        source,
        writes: writes::TRIALS,
        trusted: false,
    }
}

/// The words of a set's seed and of its first trial's index.
pub fn seed_words(seed: u64, update: u64) -> [u32; 4] {
    let first = update.wrapping_mul(TRIALS_PER_INDEX);
    [
        seed as u32,
        (seed >> 32) as u32,
        first as u32,
        (first >> 32) as u32,
    ]
}
