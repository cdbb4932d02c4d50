
// The pseudo-inverse of the readout by way of M = Q T with orthonormal columns in Q and T triangular, M being R
// or its transpose, whichever is tall: for M = R' pinv(R) = Q inv(T)', for M = R pinv(R) = inv(T) Q'. Either way
// row e of Q gives one column or row x of the inverse by T x = q_e. Single precision loses the condition number
// of R here, not its square as the normal equations would.
fn orthogonal_at(column: u32, row: u32) -> u32 { return packed_base + ORTHOGONAL + column * LONG + row; }
fn triangular_at(row: u32, column: u32) -> u32 { return packed_base + TRIANGULAR + row * SHORT + column; }
