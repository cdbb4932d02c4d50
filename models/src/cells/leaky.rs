//! Leaky network (discretised continuous-time network), in both forms the field uses. The leak
//! a = dt / tau is a parameter per unit, 0 < a <= 1; a = 1 is the vanilla network.

macro_rules! leaky_rate {
    ($(#[$doc:meta])* $name:ident, $phi:ident, $slope:ident) => {
        crate::cell! {
            $(#[$doc])*
            pub struct $name {
                states: 1, gates: 1, tape: 1,
                unit_parameters: ["leak"],
                rate_is_state: true, gates_add: true,
            }
            rate(s, p) -> (r) { r[0] = s[0]; }
            rate_vjp(s, r, p, dr) -> (ds, dp) {
                ds[0] = dr[0];
                dp[0] = constant(0.0);
            }
            update(s, zr, zx, p) -> (h, tape) {
                tape[0] = $phi(zr[0] + zx[0]);
                h[0] = one_minus(p[0]) * s[0] + p[0] * tape[0];
            }
            update_vjp(s, h, tape, p, dh) -> (ds, dzr, dzx, dp) {
                let dz = dh[0] * p[0] * $slope(tape[0]);
                ds[0] = dh[0] * one_minus(p[0]);
                dzr[0] = dz;
                dzx[0] = dz;
                dp[0] = dh[0] * (tape[0] - s[0]);
            }
        }
    };
}

macro_rules! leaky_current {
    ($(#[$doc:meta])* $name:ident, $phi:ident, $slope:ident) => {
        crate::cell! {
            $(#[$doc])*
            pub struct $name {
                states: 1, gates: 1, tape: 1,
                unit_parameters: ["leak"],
                rate_is_state: false, gates_add: true,
            }
            rate(s, p) -> (r) { r[0] = $phi(s[0]); }
            rate_vjp(s, r, p, dr) -> (ds, dp) {
                ds[0] = dr[0] * $slope(r[0]);
                dp[0] = constant(0.0);
            }
            update(s, zr, zx, p) -> (h, tape) {
                tape[0] = zr[0] + zx[0];
                h[0] = one_minus(p[0]) * s[0] + p[0] * tape[0];
            }
            update_vjp(s, h, tape, p, dh) -> (ds, dzr, dzx, dp) {
                let dz = dh[0] * p[0];
                ds[0] = dh[0] * one_minus(p[0]);
                dzr[0] = dz;
                dzx[0] = dz;
                dp[0] = dh[0] * (tape[0] - s[0]);
            }
        }
    };
}

leaky_rate!(
    /// Rate form: r' = (1 - a) r + a tanh(W r + U x + b); the state is the rate.
    LeakyRateTanh, tanh, tanh_slope
);
leaky_rate!(
    /// Rate form: r' = (1 - a) r + a relu(W r + U x + b); the state is the rate.
    LeakyRateRelu, relu, relu_slope
);
leaky_current!(
    /// Current form: h' = (1 - a) h + a (W tanh(h) + U x + b); the readout sees tanh(h).
    LeakyCurrentTanh, tanh, tanh_slope
);
leaky_current!(
    /// Current form: h' = (1 - a) h + a (W relu(h) + U x + b); the readout sees relu(h).
    LeakyCurrentRelu, relu, relu_slope
);
