
// - pinv(R) d, and zeros in the padding of the inverse.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let unit = id.x;
    if (unit >= PADDED_UNITS) { return; }
    open_network(id.y);
    var sum = 0.0;
    for (var o = 0u; o < OUTPUTS; o += 1u) {
        let at = packed_base + INVERSE + o * PADDED_UNITS + unit;
        if (unit >= UNITS) { packed[at] = 0.0; }
        sum -= packed[at] * BIAS_OF_OUTPUT;
    }
    packed[packed_base + OFFSET + unit] = sum;
}
