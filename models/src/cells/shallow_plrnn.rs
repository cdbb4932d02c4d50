//! Shallow piecewise-linear RNN (Hess, Monfared, Brenner & Durstewitz, ICML 2023): a linear map plus one
//! hidden layer of rectified units, two chained matrix products per step.

macro_rules! shallow_plrnn {
    ($(#[$doc:meta])* $name:ident, |$g:ident, $c:ident| $q:expr, |$dq:ident| $dg:expr, $dc:expr) => {
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
            layer: Hidden, hidden_parameters: ["h2"],
            hidden($g, $c) -> (q) { q[0] = $q; }
            hidden_vjp($g, q, $c, $dq) -> (dg, dc) {
                dg[0] = $dg;
                dc[0] = $dc;
            }
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

shallow_plrnn!(
    /// z' = A z + W1 relu(W2 z + h2) + h1 + C x, A diagonal. Here W1 is the recurrent matrix, W2 the hidden
    /// one, h1 the bias, C the input matrix.
    ShallowPlrnn,
    |g, c| relu(g[0] + c[0]),
    |dq| dq[0] * heaviside(g[0] + c[0]),
    dq[0] * heaviside(g[0] + c[0])
);
shallow_plrnn!(
    /// z' = A z + W1 [relu(W2 z + h2) - relu(W2 z)] + h1 + C x: orbits are bounded where every |A_ii| < 1.
    ClippedShallowPlrnn,
    |g, c| relu(g[0] + c[0]) - relu(g[0]),
    |dq| dq[0] * (heaviside(g[0] + c[0]) - heaviside(g[0])),
    dq[0] * heaviside(g[0] + c[0])
);
