
// Right factors z, P P'g and g - R'P'g [section][unit]. Threads: (unit, quad), network.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let unit = id.x / QUADS;
    let quad = id.x % QUADS;
    if (unit >= UNITS) { return; }
    open_network(id.y);
    var ppg = Quad(0.0);
    var rest = history[history_at(D_STATE_AT, 0u, 0u, unit, quad)];
    for (var o = 0u; o < OUTPUTS; o += 1u) {
        let pg = -history[history_at(LEFT_AT, OUTPUTS, 0u, o, quad)];
        ppg += packed[packed_base + INVERSE + o * PADDED_UNITS + unit] * pg;
        rest -= parameters[parameter_base + READOUT + o * UNITS + unit] * pg;
    }
    history[history_at(RIGHT_AT, UNITS, 0u, unit, quad)] =
        history[history_at(STATES_AT, STATE_ROWS, 0u, unit, quad)];
    history[history_at(RIGHT_AT, UNITS, 1u, unit, quad)] = ppg;
    history[history_at(RIGHT_AT, UNITS, 2u, unit, quad)] = rest;
}
