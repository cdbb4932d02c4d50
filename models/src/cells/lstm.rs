//! Long short-term memory (Hochreiter & Schmidhuber 1997; Gers et al. 2000) in torch's convention
//! (`nn.LSTM`).

crate::cell! {
    /// State variables: h, then c. Gates in torch's order: input i, forget f, cell g, output o.
    ///
    /// ```text
    /// i, f, o = sigma(W h + U x + b)        b = b_ih + b_hh of torch
    /// g = tanh(W_g h + U_g x + b_g)
    /// c' = f c + i g
    /// h' = o tanh(c')
    /// ```
    pub struct Lstm {
        states: 2, gates: 4, tape: 5,
        unit_parameters: [],
        rate_is_state: true, gates_add: true,
    }
    rate(s, p) -> (r) { r[0] = s[0]; }
    rate_vjp(s, r, p, dr) -> (ds, dp) {
        ds[0] = dr[0];
        ds[1] = constant(0.0);
    }
    update(s, zr, zx, p) -> (h, tape) {
        tape[0] = sigmoid(zr[0] + zx[0]);
        tape[1] = sigmoid(zr[1] + zx[1]);
        tape[2] = tanh(zr[2] + zx[2]);
        tape[3] = sigmoid(zr[3] + zx[3]);
        h[1] = tape[1] * s[1] + tape[0] * tape[2];
        tape[4] = tanh(h[1]);
        h[0] = tape[3] * tape[4];
    }
    update_vjp(s, h, tape, p, dh) -> (ds, dzr, dzx, dp) {
        let dc = dh[1] + dh[0] * tape[3] * tanh_slope(tape[4]);
        let di = dc * tape[2] * sigmoid_slope(tape[0]);
        let df = dc * s[1] * sigmoid_slope(tape[1]);
        let dg = dc * tape[0] * tanh_slope(tape[2]);
        let do_ = dh[0] * tape[4] * sigmoid_slope(tape[3]);
        ds[0] = constant(0.0);
        ds[1] = dc * tape[1];
        dzr[0] = di;
        dzx[0] = di;
        dzr[1] = df;
        dzx[1] = df;
        dzr[2] = dg;
        dzx[2] = dg;
        dzr[3] = do_;
        dzx[3] = do_;
    }
}
