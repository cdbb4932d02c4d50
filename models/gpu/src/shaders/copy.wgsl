
// Number `index` of a padded [outer][rows][columns] as the transposed or plain part of a matrix, or 0 in the
// padding.
fn padded(index: u32, columns: u32) -> vec2<u32> {
    return vec2<u32>(index / columns, index % columns);
}

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let index = id.x;
    if (index >= COPIED) { return; }
    open_network(id.y);
    var value = 0.0;
    if (index < RECURRENT_BACKWARD) {
        // [gate, column, unit]
        let at = padded(index - RECURRENT_FORWARD, PADDED_UNITS);
        let gate = at.x / PADDED_COLUMNS;
        let column = at.x % PADDED_COLUMNS;
        if (column < COLUMNS && at.y < UNITS) {
            value = parameters[parameter_base + RECURRENT + (gate * UNITS + at.y) * COLUMNS + column];
        }
    } else if (index < HIDDEN_FORWARD) {
        // [gate, unit, column]
        let at = padded(index - RECURRENT_BACKWARD, PADDED_COLUMNS);
        let gate = at.x / PADDED_UNITS;
        let unit = at.x % PADDED_UNITS;
        if (unit < UNITS && at.y < COLUMNS) {
            value = parameters[parameter_base + RECURRENT + (gate * UNITS + unit) * COLUMNS + at.y];
        }
    } else if (index < HIDDEN_BACKWARD) {
        // [unit, hidden]
        let at = padded(index - HIDDEN_FORWARD, max(PADDED_HIDDEN, 1u));
        if (at.x < UNITS && at.y < HIDDEN) {
            value = parameters[parameter_base + HIDDEN_WEIGHTS + at.y * UNITS + at.x];
        }
    } else if (index < READOUT_ROWS) {
        // [hidden, unit]
        let at = padded(index - HIDDEN_BACKWARD, PADDED_UNITS);
        if (at.x < HIDDEN && at.y < UNITS) {
            value = parameters[parameter_base + HIDDEN_WEIGHTS + at.x * UNITS + at.y];
        }
    } else if (index < READOUT_COLUMNS) {
        // [output, unit]
        let at = padded(index - READOUT_ROWS, PADDED_UNITS);
        if (at.x < OUTPUTS && at.y < UNITS) {
            value = parameters[parameter_base + READOUT + at.x * UNITS + at.y];
        }
    } else {
        // [unit, output]
        let at = padded(index - READOUT_COLUMNS, PADDED_OUTPUTS);
        if (at.x < UNITS && at.y < OUTPUTS) {
            value = parameters[parameter_base + READOUT + at.y * UNITS + at.x];
        }
    }
    packed[packed_base + index] = value;
}
