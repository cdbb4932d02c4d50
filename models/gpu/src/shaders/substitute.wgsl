
// Entries run.end - 1 down to run.begin of every T x = q_e, one thread for each e.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let e = id.x;
    if (e >= LONG) { return; }
    open_network(id.y);
    for (var count = run.begin; count < run.end; count += 1u) {
        let k = run.end + run.begin - 1u - count;
        var value = packed[orthogonal_at(k, e)];
        for (var j = k + 1u; j < SHORT; j += 1u) {
            value -= packed[triangular_at(k, j)] * packed[inverse_at(e, j)];
        }
        packed[inverse_at(e, k)] = value / packed[triangular_at(k, k)];
    }
}
