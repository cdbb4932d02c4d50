
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
    let base = network * SUMS_STRIDE;
    var value = 0.0;
    for (var time = thread; time < STEPS; time += 256u) { value += sums[base + LOSSES_AT + time]; }
    let loss = total(thread, value);
    // norm = largest sqrt(sum over blocks of squares (block's largest / largest)^2)
    var largest = 0.0;
    for (var block = thread; block < GRADIENT_BLOCKS; block += 256u) {
        largest = max(largest, sums[base + NORMS_AT + 2u * block]);
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
    // A large norm may be beyond the largest number, the factor that clips it below the smallest, and cards may
    // divide by what is beyond 2^126 as by infinity: then all is brought into the middle of the range.
    let scale = select(1.0, 0x1p-64f, largest > 0x1p64f);
    value = 0.0;
    for (var block = thread; block < GRADIENT_BLOCKS; block += 256u) {
        let of_block = sums[base + NORMS_AT + 2u * block];
        let ratio = select(0.0, (of_block * scale) / (largest * scale), finite && largest > 0.0);
        value += sums[base + NORMS_AT + 2u * block + 1u] * ratio * ratio;
    }
    let norm = largest * scale * sqrt(total(thread, value));
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
    // min(1, clip / (norm + 1e-6)), in two factors.
    let clips = run.clip > 0.0 && run.clip * scale < norm + 1e-6 * scale;
    training[control + FACTOR] = select(1.0, run.clip / (norm + 1e-6 * scale), clips);
    training[control + SCALE] = select(1.0, scale, clips);
    training[control + ACTION] = action;
}
