
var<workgroup> partial: array<f32, 64>;

fn total(thread: u32, value: f32) -> f32 {
    partial[thread] = value;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (thread < half) { partial[thread] += partial[thread + half]; }
        workgroupBarrier();
    }
    let sum = partial[0];
    workgroupBarrier();
    return sum;
}

// Columns run.begin to run.end of Q and T by Gram and Schmidt, each column taken twice: that is enough for
// orthogonality to rounding (Giraud, Langou & Rozloznik 2005).
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    open_network(group.y);
    for (var column = run.begin; column < run.end; column += 1u) {
        var squares = 0.0;
        for (var row = thread; row < LONG; row += 64u) {
            let value = matrix_at(row, column);
            packed[orthogonal_at(column, row)] = value;
            squares += value * value;
        }
        let before = sqrt(total(thread, squares));
        storageBarrier();
        for (var turn = 0u; turn < 2u; turn += 1u) {
            // The coefficients along the columns so far, kept in the lower triangle, which is not used otherwise.
            for (var k = thread; k < column; k += 64u) {
                var product = 0.0;
                for (var row = 0u; row < LONG; row += 1u) {
                    product += packed[orthogonal_at(k, row)] * packed[orthogonal_at(column, row)];
                }
                packed[triangular_at(column, k)] = product;
                let sum = select(product, packed[triangular_at(k, column)] + product, turn == 1u);
                packed[triangular_at(k, column)] = sum;
            }
            storageBarrier();
            for (var row = thread; row < LONG; row += 64u) {
                var value = packed[orthogonal_at(column, row)];
                for (var k = 0u; k < column; k += 1u) {
                    value -= packed[triangular_at(column, k)] * packed[orthogonal_at(k, row)];
                }
                packed[orthogonal_at(column, row)] = value;
            }
            storageBarrier();
        }
        squares = 0.0;
        for (var row = thread; row < LONG; row += 64u) {
            let value = packed[orthogonal_at(column, row)];
            squares += value * value;
        }
        var length = sqrt(total(thread, squares));
        // What is left of a column at the level of rounding: the readout has lost its rank and has no such
        // inverse, which the loss shows by not being a number.
        if (length <= 1.2e-7 * f32(LONG) * before) { length = bitcast<f32>(run.not_a_number); }
        for (var row = thread; row < LONG; row += 64u) {
            packed[orthogonal_at(column, row)] = packed[orthogonal_at(column, row)] / length;
        }
        if (thread == 0u) { packed[triangular_at(column, column)] = length; }
        storageBarrier();
    }
}
