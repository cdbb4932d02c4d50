
var<workgroup> partial: array<f32, 256>;

fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

fn total(thread: u32, value: f32) -> f32 {
    partial[thread] = value;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if (thread < half) { partial[thread] += partial[thread + half]; }
        workgroupBarrier();
    }
    let sum = partial[0];
    workgroupBarrier();
    return sum;
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    open_network(group.y);
    let base = network * run.sums_stride;
    var value = 0.0;
    for (var time = thread; time < run.steps; time += 256u) { value += sums[base + run.losses_at + time]; }
    let loss = total(thread, value);
    // norm = largest sqrt(sum over blocks of squares (block's largest / largest)^2)
    var largest = 0.0;
    for (var block = thread; block < run.blocks; block += 256u) {
        largest = max(largest, sums[base + run.norms_at + 2u * block]);
    }
    partial[thread] = largest;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if (thread < half) { partial[thread] = max(partial[thread], partial[thread + half]); }
        workgroupBarrier();
    }
    largest = partial[0];
    workgroupBarrier();
    let finite = is_finite(largest);
    value = 0.0;
    for (var block = thread; block < run.blocks; block += 256u) {
        let ratio = select(0.0, sums[base + run.norms_at + 2u * block] / largest, finite && largest > 0.0);
        value += sums[base + run.norms_at + 2u * block + 1u] * ratio * ratio;
    }
    // In units of the largest magnitude where it is large: the norm itself may be beyond the largest number.
    let unit = max(largest, 1.0);
    let norm = largest / unit * sqrt(total(thread, value));
    if (thread != 0u) { return; }
    let control = network * TRAINING_STRIDE + CONTROL;
    training[run.record_at + run.update * run.networks + network] = loss;
    var action = NOTHING;
    if (training[control + TRAINS] != 0.0) {
        if (finite && is_finite(loss)) {
            action = APPLY;
        } else {
            // It does not train any more; `update` puts back the parameters before the last update.
            action = RESTORE;
            training[control + TRAINS] = 0.0;
            training[control + MADE] = f32(run.update);
        }
    }
    let factor = run.clip / unit / (norm + 1e-6 / unit);
    training[control + FACTOR] = select(1.0, factor, run.clip > 0.0 && factor < 1.0);
    training[control + ACTION] = action;
}
