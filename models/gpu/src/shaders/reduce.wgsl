
// What brings a large number into the middle of the range.
fn scale_of(largest: f32) -> f32 { return select(1.0, 0x1p-64f, largest > 0x1p64f); }

var<workgroup> partial: array<f32, BLOCK>;

@compute @workgroup_size(BLOCK)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let base = (run.first_network + group.y) * SUMS_STRIDE;
    let block = run.begin + group.x;
    let index = block * BLOCKu + thread;
    var value = 0.0;
    if (index < PARAMETERS) {
        if (IN_SLICES) {
            let slices = COUNT_OF_SLICES;
            for (var slice = 0u; slice < slices; slice += 1u) {
                value += sums[base + slice * PARAMETER_STRIDE + index];
            }
        }WITH_INITIALONLY_TRAINED
        sums[base + GRADIENT_AT + index] = value;
    }
    // Scaled by the largest magnitude, the squares of finite numbers neither overflow nor vanish. A value that
    // is not finite, all ones in its exponent, becomes the largest magnitude itself.
    let magnitude = abs(value);
    let finite = (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
    partial[thread] = select(bitcast<f32>(run.infinity), magnitude, finite);
    workgroupBarrier();
    for (var half = BLOCKu / 2u; half > 0u; half /= 2u) {
        if (thread < half) { partial[thread] = max(partial[thread], partial[thread + half]); }
        workgroupBarrier();
    }
    let largest = partial[0];
    workgroupBarrier();
    // Cards may divide by what is beyond 2^126 as by infinity.
    let small = scale_of(largest);
    let scaled = select(0.0, (value * small) / (largest * small), largest > 0.0 && finite);
    partial[thread] = scaled * scaled;
    workgroupBarrier();
    for (var half = BLOCKu / 2u; half > 0u; half /= 2u) {
        if (thread < half) { partial[thread] += partial[thread + half]; }
        workgroupBarrier();
    }
    if (thread == 0u) {
        sums[base + NORMS_AT + 2u * block] = largest;
        sums[base + NORMS_AT + 2u * block + 1u] = partial[0];
    }
}
