//! Piecewise-linear RNNs without hidden units of their own: z' = A z + W q + h + C x, with A diagonal and q a
//! piecewise-linear function of each unit.
//!
//! ```text
//! PLRNN           q = relu(z)                                       Durstewitz, PLoS Comput Biol 13 (2017)
//! mean-centred    q = relu(z - mean(z))                             Brenner et al., ICML 2022
//! dendritic       q_i = sum_b alpha_b relu(z_i - H_ib)              Brenner et al., ICML 2022
//!   clipped       q_i = sum_b alpha_b [relu(z_i - H_ib) - relu(z_i)]
//! almost linear   q = z in the first units, relu(z) in the last     Brenner et al., NeurIPS 2024
//! ```
//!
//! Here A is the parameter `a`, W the recurrent matrix, h the bias, C the input matrix. W has no diagonal in the
//! PLRNN and the mean-centred one: [`crate::architecture::Architecture::trainable`].

macro_rules! plrnn {
    (
        $(#[$doc:meta])* $name:ident, $layer:ident, [$($parameter:literal),*],
        |$g:ident, $c:ident| $q:expr, |$dq:ident, $dg:ident, $dc:ident| { $($vjp:tt)* }
    ) => {
        crate::cell! {
            $(#[$doc])*
            pub struct $name {
                states: 1, gates: 1, tape: 0,
                unit_parameters: ["a"],
                rate_is_state: true, gates_add: true,
            }
            rate(s, p) -> (r) { r[0] = s[0]; }
            rate_vjp(s, r, p, dr) -> (ds, dp) {
                ds[0] = dr[0];
                dp[0] = constant(0.0);
            }
            layer: $layer, hidden_parameters: [$($parameter),*],
            hidden($g, $c) -> (q) { q[0] = $q; }
            hidden_vjp($g, q, $c, $dq) -> ($dg, $dc) { $($vjp)* }
            update(s, zr, zx, p) -> (h, tape) { h[0] = p[0] * s[0] + zr[0] + zx[0]; }
            update_vjp(s, h, tape, p, dh) -> (ds, dzr, dzx, dp) {
                ds[0] = dh[0] * p[0];
                dzr[0] = dh[0];
                dzx[0] = dh[0];
                dp[0] = dh[0] * s[0];
            }
        }
    };
}

plrnn!(
    /// z' = A z + W relu(z) + h + C x, W without a diagonal.
    Plrnn, Units, [],
    |g, c| relu(g[0]),
    |dq, dg, dc| { dg[0] = dq[0] * heaviside(g[0]); }
);
plrnn!(
    /// z' = A z + W relu(z - mean(z)) + h + C x, the mean over the units; W without a diagonal.
    MeanCentredPlrnn, CentredUnits, [],
    |g, c| relu(g[0]),
    |dq, dg, dc| { dg[0] = dq[0] * heaviside(g[0]); }
);
plrnn!(
    /// z' = A z + W sum_b alpha_b relu(z - H_b) + h + C x: every unit has the same slopes alpha, at thresholds of its
    /// own.
    DendriticPlrnn, Bases, ["thresholds", "alphas"],
    |g, c| c[1] * relu(g[0] - c[0]),
    |dq, dg, dc| {
        dg[0] = dq[0] * c[1] * heaviside(g[0] - c[0]);
        dc[0] = -dq[0] * c[1] * heaviside(g[0] - c[0]);
        dc[1] = dq[0] * relu(g[0] - c[0]);
    }
);
plrnn!(
    /// z' = A z + W sum_b alpha_b [relu(z - H_b) - relu(z)] + h + C x: orbits are bounded where every |A_ii| < 1.
    ClippedDendriticPlrnn, Bases, ["thresholds", "alphas"],
    |g, c| c[1] * (relu(g[0] - c[0]) - relu(g[0])),
    |dq, dg, dc| {
        dg[0] = dq[0] * c[1] * (heaviside(g[0] - c[0]) - heaviside(g[0]));
        dc[0] = -dq[0] * c[1] * heaviside(g[0] - c[0]);
        dc[1] = dq[0] * (relu(g[0] - c[0]) - relu(g[0]));
    }
);
plrnn!(
    /// z' = A z + W q + h + C x with q = z in units of slope 1 and q = relu(z) in those of slope 0. The slopes are
    /// fixed; W is full.
    // c g + (1 - c) relu(g) is exact for both slopes, in intervals too, which do not know that g is the same twice.
    AlmostLinearRnn, Units, ["slope"],
    |g, c| c[0] * g[0] + one_minus(c[0]) * relu(g[0]),
    |dq, dg, dc| {
        dg[0] = dq[0] * (c[0] + one_minus(c[0]) * heaviside(g[0]));
        dc[0] = dq[0] * (g[0] - relu(g[0]));
    }
);
