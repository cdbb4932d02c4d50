//! Gated recurrent unit (Cho et al. 2014) in torch's convention (`nn.GRU`): the reset gate acts after the
//! recurrent product, so the new gate keeps a recurrent bias of its own.

crate::cell! {
    /// Gates in torch's order: reset r, update z, new n.
    ///
    /// ```text
    /// r = sigma(W_r h + U_r x + b_r)        b_r = b_ir + b_hr of torch
    /// z = sigma(W_z h + U_z x + b_z)        b_z = b_iz + b_hz
    /// n = tanh(U_n x + b_n + r (W_n h + b_hn))
    /// h' = (1 - z) n + z h
    /// ```
    pub struct Gru {
        states: 1, gates: 3, tape: 4,
        unit_parameters: ["recurrent_bias"],
        rate_is_state: true, gates_add: false,
    }
    rate(s, p) -> (r) { r[0] = s[0]; }
    rate_vjp(s, r, p, dr) -> (ds, dp) {
        ds[0] = dr[0];
        dp[0] = constant(0.0);
    }
    update(s, zr, zx, p) -> (h, tape) {
        tape[0] = sigmoid(zr[0] + zx[0]);
        tape[1] = sigmoid(zr[1] + zx[1]);
        tape[3] = zr[2] + p[0];
        tape[2] = tanh(zx[2] + tape[0] * tape[3]);
        h[0] = one_minus(tape[1]) * tape[2] + tape[1] * s[0];
    }
    update_vjp(s, h, tape, p, dh) -> (ds, dzr, dzx, dp) {
        let dn = dh[0] * one_minus(tape[1]) * tanh_slope(tape[2]);
        let dz = dh[0] * (s[0] - tape[2]) * sigmoid_slope(tape[1]);
        let dr = dn * tape[3] * sigmoid_slope(tape[0]);
        ds[0] = dh[0] * tape[1];
        dzr[0] = dr;
        dzx[0] = dr;
        dzr[1] = dz;
        dzx[1] = dz;
        dzr[2] = dn * tape[0];
        dzx[2] = dn;
        dp[0] = dn * tape[0];
    }
}
