//! Vanilla (Elman) network, torch's `nn.RNN`: h' = phi(W h + U x + b).

macro_rules! vanilla {
    ($(#[$doc:meta])* $name:ident, $phi:ident, $slope:ident) => {
        crate::cell! {
            $(#[$doc])*
            pub struct $name {
                states: 1, gates: 1, tape: 0,
                unit_parameters: [],
                rate_is_state: true, gates_add: true,
            }
            rate(s, p) -> (r) { r[0] = s[0]; }
            rate_vjp(s, r, p, dr) -> (ds, dp) { ds[0] = dr[0]; }
            update(s, zr, zx, p) -> (h, tape) { h[0] = $phi(zr[0] + zx[0]); }
            update_vjp(s, h, tape, p, dh) -> (ds, dzr, dzx, dp) {
                let dz = dh[0] * $slope(h[0]);
                ds[0] = constant(0.0);
                dzr[0] = dz;
                dzx[0] = dz;
            }
        }
    };
}

vanilla!(
    /// h' = tanh(W h + U x + b).
    VanillaTanh, tanh, tanh_slope
);
vanilla!(
    /// h' = relu(W h + U x + b).
    VanillaRelu, relu, relu_slope
);
