

@compute @workgroup_size(BLOCK)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = run.begin * BLOCKu + id.x;
    let network = run.first_network + id.y;
    if (index >= PARAMETERS) { return; }
    let state = network * TRAINING_STRIDE;
    let control = state + CONTROL;
    let at = network * PARAMETER_STRIDE + index;
    let action = training[control + ACTION];
    if (action == NOTHING) { return; }
    if (action == RESTORE) {
        parameters[at] = training[state + 2u * PARAMETER_STRIDE + index];
        return;
    }
    var p = parameters[at];
    training[state + 2u * PARAMETER_STRIDE + index] = p;
    if (table[run.trainable_at + index] == 0u) {
        CLAMP
        parameters[at] = p;
        return;
    }
CONSTANTS
    let factors = run.factors_at + (run.update_in_block * run.networks + network) * 8u;
    let step = bitcast<f32>(table[factors]);
    let root2 = bitcast<f32>(table[factors + 1u]);
    let rectified_step = bitcast<f32>(table[factors + 2u]);
    let rate = bitcast<f32>(table[factors + 3u]);
    let shrink = bitcast<f32>(table[factors + 4u]);
    let rectified = table[factors + 5u] != 0u;
    let first_update = table[factors + 6u] != 0u;
    var g = sums[network * SUMS_STRIDE + GRADIENT_AT + index] * training[control + SCALE] * training[control + FACTOR];
    var m = training[state + index];
    var v = training[state + PARAMETER_STRIDE + index];
    DECAY
    RULE
    CLAMP
    training[state + index] = m;
    training[state + PARAMETER_STRIDE + index] = v;
    parameters[at] = p;
}
