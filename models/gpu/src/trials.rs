//! Trials on the device: brought from the host, or drawn there by the task's own shader.

use crate::layout::{Places, QUAD};
use crate::sweeps::{ADDRESSES, Kernel, constants};
use crate::text::{declarations, writes};
use nullcline_data::random::WGSL;
use nullcline_tasks::{Loss, Split, TRIALS_PER_INDEX, TrialShader, Trials};

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

/// Writes a set of trials as [`crate::layout::TrialRows`] says. Trials beyond the batch repeat the last one: they
/// have no weight, but what overflowed there would be 0 x inf in the sums.
pub fn pack(places: &Places, trials: &Trials, out: &mut [f32]) {
    let lanes = places.quads * QUAD;
    let rows = &places.trials;
    let (batch, steps) = (trials.batch(), trials.steps());
    let mut fill =
        |section: usize, dimension: usize, value: &dyn Fn(usize, usize, usize) -> f32| {
            for t in 0..steps {
                for d in 0..dimension {
                    let row = &mut out[(section + t * dimension + d) * lanes..][..lanes];
                    for (lane, out) in row.iter_mut().enumerate() {
                        *out = value(lane.min(batch - 1), t, d);
                    }
                }
            }
        };
    fill(rows.inputs, trials.inputs.dim().2, &|b, t, d| {
        trials.inputs[[b, t, d]]
    });
    fill(rows.targets, trials.targets.dim().2, &|b, t, d| {
        trials.targets[[b, t, d]]
    });
    for t in 0..steps {
        let row = &mut out[(rows.weights + t) * lanes..][..lanes];
        for (lane, out) in row.iter_mut().enumerate() {
            *out = if lane >= batch {
                0.0
            } else {
                trials.mask.as_ref().map_or(1.0, |mask| mask[[lane, t]])
            };
        }
    }
    if let Some(initial) = &trials.initial {
        for d in 0..initial.dim().1 {
            let row = &mut out[(rows.initial + d) * lanes..][..lanes];
            for (lane, out) in row.iter_mut().enumerate() {
                *out = initial[[lane.min(batch - 1), d]];
            }
        }
    }
    out[rows.scale * lanes..][..lanes].fill(scale(
        places.problem.loss,
        weight(trials),
        trials.targets.dim().2,
    ));
}

/// The kernel that draws sets of trials, one thread a trial. Workgroups: trials / 64, set.
pub fn draw(places: &Places, shader: &TrialShader) -> Kernel {
    let a = &places.problem.architecture;
    let batch_weight = (places.batch * places.steps) as f64;
    let scale = scale(places.problem.loss, batch_weight, a.outputs);
    let mut source = declarations(writes::TRIALS, 1, "f32");
    source.push_str("alias Quad = vec4<f32>;\n");
    source.push_str(&constants(&places.problem, &places.layout, &places.packed));
    source.push_str(ADDRESSES);
    source.push_str(WGSL);
    source.push_str(&format!(
        "
var<private> trial_lane: u32;
var<private> trial_weight: f32;
fn trial_number(section: u32, row: u32) -> u32 {{
    return (trial_rows + section + row) * run.quads * 4u + trial_lane;
}}
fn set_input(step: u32, input: u32, value: f32) {{
    trials[trial_number(run.inputs_at, step * INPUTS + input)] = value;
}}
fn set_target(step: u32, output: u32, value: f32) {{
    trials[trial_number(run.targets_at, step * OUTPUTS + output)] = value;
}}
fn set_initial(output: u32, value: f32) {{
    trials[trial_number(run.initial_at, output)] = value;
}}
fn task_value(index: u32) -> f32 {{ return values[index]; }}
{}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    if (id.x >= run.quads * 4u) {{ return; }}
    trial_lane = id.x;
    trial_rows = id.y * run.trial_stride;
    let trial = min(id.x, run.batch - 1u);
    let seed = run.seeds_at + 4u * id.y;
    // The index of an update's first trial is a multiple of the trials that an update has room for.
    random_open(
        vec2<u32>(table[seed], table[seed + 1u]),
        {}u,
        vec2<u32>(table[seed + 2u] + trial, table[seed + 3u]),
    );
    draw_trial();
    let weight = select(0.0, 1.0, id.x < run.batch);
    for (var step = 0u; step < run.steps; step += 1u) {{
        trials[trial_number(run.weights_at, step)] = weight;
    }}
    trials[trial_number(run.scale_at, 0u)] = bitcast<f32>({}u);
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
