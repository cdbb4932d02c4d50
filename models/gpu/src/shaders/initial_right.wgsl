
// Right factors z, P P'g and g - R'P'g [section][unit]. Threads: (unit, quad), network.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let unit = id.x / run.quads;
    let quad = id.x % run.quads;
    if (unit >= UNITS) { return; }
    open_network(id.y);
    var ppg = Quad(0.0);
    var rest = history[history_at(run.d_state_at, 0u, 0u, unit, quad)];
    for (var o = 0u; o < OUTPUTS; o += 1u) {
        let pg = -history[history_at(run.left_at, OUTPUTS, 0u, o, quad)];
        ppg += packed[packed_base + INVERSE + o * PADDED_UNITS + unit] * pg;
        rest -= parameters[parameter_base + READOUT + o * UNITS + unit] * pg;
    }
    history[history_at(run.right_at, UNITS, 0u, unit, quad)] =
        history[history_at(run.states_at, STATE_ROWS, 0u, unit, quad)];
    history[history_at(run.right_at, UNITS, 1u, unit, quad)] = ppg;
    history[history_at(run.right_at, UNITS, 2u, unit, quad)] = rest;
}
