
// Left factors -P'g, x - R z and P'z [section][output]. Threads: (output, quad), network.
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let o = id.x / QUADS;
    let quad = id.x % QUADS;
    if (o >= OUTPUTS) { return; }
    open_network(id.y);
    var pg = Quad(0.0);
    var pz = Quad(0.0);
    var rest = trials[trial_at(INITIAL_AT, 0u, 0u, o, quad)] - Quad(BIAS_OF_OUTPUT);
    for (var unit = 0u; unit < UNITS; unit += 1u) {
        let inverse = packed[packed_base + INVERSE + o * PADDED_UNITS + unit];
        let z = history[history_at(STATES_AT, STATE_ROWS, 0u, unit, quad)];
        pg += inverse * history[history_at(D_STATE_AT, 0u, 0u, unit, quad)];
        pz += inverse * z;
        rest -= parameters[parameter_base + READOUT + o * UNITS + unit] * z;
    }
    history[history_at(LEFT_AT, OUTPUTS, 0u, o, quad)] = -pg;
    history[history_at(LEFT_AT, OUTPUTS, 1u, o, quad)] = rest;
    history[history_at(LEFT_AT, OUTPUTS, 2u, o, quad)] = pz;
}
