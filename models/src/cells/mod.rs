//! Cells: the map from one state to the next.
//!
//! Every cell of this crate has the same skeleton, and differs only in pointwise mathematics:
//!
//! ```text
//! r  = rate(s, p)                     what the other units see of the state, per unit
//! q  = layer(r, c)                    what stands between the rates and W, see `Layer`: nothing, hidden units of
//!                                     their own (shallow PLRNN), or a function of each unit (the other PLRNNs)
//! zr = W q   (W r where nothing stands between)   G gates per unit
//! zx = U x + b                                 G gates per unit, kept apart from zr (GRU)
//! s' = update(s, zr, zx, p)           per unit
//! y  = R rate(s') + d                 the readout, see `Architecture`
//! ```
//!
//! s has S variables per unit (LSTM: h and c), p are parameters per unit (leak, diagonal of A), c are
//! parameters of the layer. A cell is written once, by the [`cell!`](crate::cell) macro: its bodies are
//! Rust functions generic over [`Scalar`] and, as text, WGSL. Beside each body stands
//! its vector-Jacobian product, checked in this module's tests against dual numbers and, as WGSL, by naga.
//! `update` leaves what its vector-Jacobian product needs on a `tape`, so that nothing is computed twice.

use crate::scalar::Scalar;

mod gru;
mod leaky;
mod lstm;
mod plrnn;
mod shallow_plrnn;
mod vanilla;

pub use gru::Gru;
pub use leaky::{LeakyCurrentRelu, LeakyCurrentTanh, LeakyRateRelu, LeakyRateTanh};
pub use lstm::Lstm;
pub use plrnn::{AlmostLinearRnn, ClippedDendriticPlrnn, DendriticPlrnn, MeanCentredPlrnn, Plrnn};
pub use shallow_plrnn::{ClippedShallowPlrnn, ShallowPlrnn};
pub use vanilla::{VanillaRelu, VanillaTanh};

/// The largest number of state variables, gates, tape entries or parameters per unit of any cell:
/// the size of the scratch arrays of a pointwise call.
pub const MAX_SLOTS: usize = 8;

/// What stands between the rates r and W. The function `hidden` is the cell's, c its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// Nothing: zr = W r.
    Absent,
    /// Hidden units of their own: q = hidden(Wh r, c).
    Hidden,
    /// A function of each unit: q = hidden(r, c).
    Units,
    /// The same of what is left without the mean over the units: q = hidden(r - mean(r), c).
    CentredUnits,
    /// A sum over basis functions b of each unit i: q_i = sum_b hidden(r_i, c_ib), in which c_ib is a number for each
    /// unit and basis function, then one for each basis function that all units share.
    Bases,
}

/// The texts of a cell's bodies, which are WGSL statements as they stand.
#[derive(Clone, Copy, Debug)]
pub struct Bodies {
    /// Body of `rate`, in terms of `s`, `p`; assigns `r`.
    pub rate: &'static str,
    /// Body of `rate_vjp`, in terms of `s`, `r`, `p`, `dr`; assigns `ds`, `dp`.
    pub rate_vjp: &'static str,
    /// Body of `hidden`, in terms of `g`, `c`; assigns `q`.
    pub hidden: &'static str,
    /// Body of `hidden_vjp`, in terms of `g`, `q`, `c`, `dq`; assigns `dg`, `dc`.
    pub hidden_vjp: &'static str,
    /// Body of `update`, in terms of `s`, `zr`, `zx`, `p`; assigns `h`, `tape`.
    pub update: &'static str,
    /// Body of `update_vjp`, in terms of `s`, `h`, `tape`, `p`, `dh`; assigns `ds`, `dzr`, `dzx`, `dp`.
    pub update_vjp: &'static str,
}

/// The pointwise mathematics of a cell. Implemented by the [`cell!`](crate::cell) macro only.
///
/// Slices have the lengths of the constants: `s`, `h`, `ds`, `dh`: `STATES`; `zr`, `zx`: `GATES`;
/// `tape`: `TAPE`; `p`, `dp`: `UNIT_PARAMETERS.len()`; `c`, `dc`: `HIDDEN_PARAMETERS.len()`;
/// `r`, `g`, `q` and their derivatives: 1. Derivatives are assigned, not accumulated.
#[allow(clippy::too_many_arguments)]
pub trait Cell: Copy + Default + Send + Sync + 'static {
    /// State variables per unit.
    const STATES: usize;
    /// Gates per unit: rows of W and U per unit.
    const GATES: usize;
    /// Numbers per unit that `update` keeps for `update_vjp`.
    const TAPE: usize;
    /// Names of the parameters per unit.
    const UNIT_PARAMETERS: &'static [&'static str];
    /// What stands between the rates and W.
    const LAYER: Layer;
    /// Whether hidden units of their own do, with the matrix Wh.
    const HAS_HIDDEN: bool = matches!(Self::LAYER, Layer::Hidden);
    /// Whether anything does.
    const HAS_LAYER: bool = !matches!(Self::LAYER, Layer::Absent);
    /// Names of the parameters of the layer, per unit of it; for [`Layer::Bases`] that of each unit and basis
    /// function, then that of each basis function.
    const HIDDEN_PARAMETERS: &'static [&'static str];
    /// True where `rate` is the first state variable itself, so that engines need not copy it.
    const RATE_IS_STATE: bool;
    /// True where `update` sees zr and zx only as zr + zx, so that engines form one sum and one derivative.
    const GATES_ADD: bool;
    /// The bodies as text.
    const BODIES: Bodies;

    /// r = rate(s, p).
    fn rate<T: Scalar>(s: &[T], p: &[T], r: &mut [T]);
    /// (ds, dp) = dr . d rate / d (s, p).
    fn rate_vjp<T: Scalar>(s: &[T], r: &[T], p: &[T], dr: &[T], ds: &mut [T], dp: &mut [T]);
    /// q = hidden(g, c).
    fn hidden<T: Scalar>(g: &[T], c: &[T], q: &mut [T]);
    /// (dg, dc) = dq . d hidden / d (g, c).
    fn hidden_vjp<T: Scalar>(g: &[T], q: &[T], c: &[T], dq: &[T], dg: &mut [T], dc: &mut [T]);
    /// h = update(s, zr, zx, p).
    fn update<T: Scalar>(s: &[T], zr: &[T], zx: &[T], p: &[T], h: &mut [T], tape: &mut [T]);
    /// (ds, dzr, dzx, dp) = dh . d update / d (s, zr, zx, p).
    fn update_vjp<T: Scalar>(
        s: &[T],
        h: &[T],
        tape: &[T],
        p: &[T],
        dh: &[T],
        ds: &mut [T],
        dzr: &mut [T],
        dzx: &mut [T],
        dp: &mut [T],
    );
}

/// Writes a cell: see the module's documentation. The bodies use `let`, arithmetic, indexing by a literal,
/// and the free functions of [`crate::scalar`]; a number is written `constant(0.5)` and stands to the right of
/// an operator. That subset is both Rust and WGSL.
#[macro_export]
macro_rules! cell {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            states: $states:literal, gates: $gates:literal, tape: $tape_len:literal,
            unit_parameters: [$($unit:literal),*],
            rate_is_state: $rate_is_state:literal, gates_add: $gates_add:literal $(,)?
        }
        rate($rs:ident, $rp:ident) -> ($rr:ident) { $($rate:tt)* }
        rate_vjp($vs:ident, $vr:ident, $vp:ident, $vdr:ident) -> ($vds:ident, $vdp:ident) { $($rate_vjp:tt)* }
        $(
            layer: $layer:ident, hidden_parameters: [$($hidden_parameter:literal),*],
            hidden($hg:ident, $hc:ident) -> ($hq:ident) { $($hidden:tt)* }
            hidden_vjp($wg:ident, $wq:ident, $wc:ident, $wdq:ident) -> ($wdg:ident, $wdc:ident) { $($hidden_vjp:tt)* }
        )?
        update($us:ident, $uzr:ident, $uzx:ident, $up:ident) -> ($uh:ident, $utape:ident) { $($update:tt)* }
        update_vjp($xs:ident, $xh:ident, $xtape:ident, $xp:ident, $xdh:ident)
            -> ($xds:ident, $xdzr:ident, $xdzx:ident, $xdp:ident) { $($update_vjp:tt)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name;

        #[allow(unused_imports, unused_variables)]
        const _: () = {
            use $crate::cells::{Bodies, Cell, Layer};
            use $crate::scalar::*;
            impl Cell for $name {
                const STATES: usize = $states;
                const GATES: usize = $gates;
                const TAPE: usize = $tape_len;
                const UNIT_PARAMETERS: &'static [&'static str] = &[$($unit),*];
                const LAYER: Layer = {
                    let layer = Layer::Absent;
                    $( let layer = Layer::$layer; )?
                    layer
                };
                const HIDDEN_PARAMETERS: &'static [&'static str] = &[$($($hidden_parameter),*)?];
                const RATE_IS_STATE: bool = $rate_is_state;
                const GATES_ADD: bool = $gates_add;
                const BODIES: Bodies = Bodies {
                    rate: stringify!($($rate)*),
                    rate_vjp: stringify!($($rate_vjp)*),
                    hidden: concat!("", $(stringify!($($hidden)*))?),
                    hidden_vjp: concat!("", $(stringify!($($hidden_vjp)*))?),
                    update: stringify!($($update)*),
                    update_vjp: stringify!($($update_vjp)*),
                };
                #[inline(always)]
                fn rate<T: Scalar>($rs: &[T], $rp: &[T], $rr: &mut [T]) { $($rate)* }
                #[inline(always)]
                fn rate_vjp<T: Scalar>(
                    $vs: &[T], $vr: &[T], $vp: &[T], $vdr: &[T], $vds: &mut [T], $vdp: &mut [T],
                ) { $($rate_vjp)* }
                #[inline(always)]
                fn hidden<T: Scalar>(_g: &[T], _c: &[T], _q: &mut [T]) {
                    $( let ($hg, $hc, $hq) = (_g, _c, _q); $($hidden)* )?
                }
                #[inline(always)]
                fn hidden_vjp<T: Scalar>(
                    _g: &[T], _q: &[T], _c: &[T], _dq: &[T], _dg: &mut [T], _dc: &mut [T],
                ) {
                    $(
                        let ($wg, $wq, $wc, $wdq, $wdg, $wdc) = (_g, _q, _c, _dq, _dg, _dc);
                        $($hidden_vjp)*
                    )?
                }
                #[inline(always)]
                fn update<T: Scalar>(
                    $us: &[T], $uzr: &[T], $uzx: &[T], $up: &[T], $uh: &mut [T], $utape: &mut [T],
                ) { $($update)* }
                #[inline(always)]
                fn update_vjp<T: Scalar>(
                    $xs: &[T], $xh: &[T], $xtape: &[T], $xp: &[T], $xdh: &[T],
                    $xds: &mut [T], $xdzr: &mut [T], $xdzx: &mut [T], $xdp: &mut [T],
                ) { $($update_vjp)* }
            }
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{CellKind, with_cell};
    use crate::scalar::{Dual, WGSL_PRELUDE};
    use proptest::prelude::*;

    /// The derivative of a body's outputs by every input, by dual numbers, against its vector-Jacobian
    /// product for random upstream derivatives `d`.
    fn vjp_matches_duals<C: Cell>(
        x: &[f64; MAX_SLOTS * 4],
        d: &[f64; MAX_SLOTS],
    ) -> Result<(), String> {
        let (states, gates) = (C::STATES, C::GATES);
        let (units, hiddens) = (C::UNIT_PARAMETERS.len(), C::HIDDEN_PARAMETERS.len());
        let (s, rest) = x.split_at(states);
        let (zr, rest) = rest.split_at(gates);
        let (zx, rest) = rest.split_at(gates);
        let p = &rest[..units];
        let c = &rest[..hiddens];
        let close = |what: &str, got: f64, want: f64| {
            if (got - want).abs() < 1e-12 * (1.0 + want.abs()) {
                Ok(())
            } else {
                Err(format!("{what}: vjp {got}, dual numbers {want}"))
            }
        };
        let lift = |x: &[f64], varying: Option<usize>| -> Vec<Dual> {
            x.iter()
                .enumerate()
                .map(|(k, &v)| {
                    if Some(k) == varying {
                        Dual::varying(v)
                    } else {
                        Dual::fixed(v)
                    }
                })
                .collect()
        };
        let contract = |h: &[Dual]| -> f64 { h.iter().zip(d).map(|(h, d)| h.derivative * d).sum() };

        // update
        let mut h = vec![0.0; states];
        let mut tape = vec![0.0; C::TAPE];
        C::update(s, zr, zx, p, &mut h, &mut tape);
        let (mut ds, mut dp) = (vec![f64::NAN; states], vec![f64::NAN; units]);
        let (mut dzr, mut dzx) = (vec![f64::NAN; gates], vec![f64::NAN; gates]);
        C::update_vjp(
            s,
            &h,
            &tape,
            p,
            &d[..states],
            &mut ds,
            &mut dzr,
            &mut dzx,
            &mut dp,
        );
        let along = |i: [Option<usize>; 4]| {
            let mut h = vec![Dual::fixed(0.0); states];
            let mut tape = vec![Dual::fixed(0.0); C::TAPE];
            C::update(
                &lift(s, i[0]),
                &lift(zr, i[1]),
                &lift(zx, i[2]),
                &lift(p, i[3]),
                &mut h,
                &mut tape,
            );
            contract(&h)
        };
        if C::GATES_ADD {
            let sum: Vec<f64> = zr.iter().zip(zx).map(|(a, b)| a + b).collect();
            let mut of_sum = vec![0.0; states];
            C::update(s, &sum, &vec![0.0; gates], p, &mut of_sum, &mut tape);
            for k in 0..states {
                close("update of zr + zx", of_sum[k], h[k])?;
            }
            if dzr != dzx {
                return Err("GATES_ADD, but the derivatives by zr and zx differ".into());
            }
        }
        for k in 0..states {
            close("update by s", ds[k], along([Some(k), None, None, None]))?;
        }
        for k in 0..gates {
            close("update by zr", dzr[k], along([None, Some(k), None, None]))?;
            close("update by zx", dzx[k], along([None, None, Some(k), None]))?;
        }
        for k in 0..units {
            close("update by p", dp[k], along([None, None, None, Some(k)]))?;
        }

        // rate
        let mut r = [0.0];
        C::rate(s, p, &mut r);
        ds.fill(f64::NAN);
        dp.fill(f64::NAN);
        C::rate_vjp(s, &r, p, &d[..1], &mut ds, &mut dp);
        let along = |i: Option<usize>, j: Option<usize>| {
            let mut r = [Dual::fixed(0.0)];
            C::rate(&lift(s, i), &lift(p, j), &mut r);
            contract(&r)
        };
        for k in 0..states {
            close("rate by s", ds[k], along(Some(k), None))?;
        }
        for k in 0..units {
            close("rate by p", dp[k], along(None, Some(k)))?;
        }
        if C::RATE_IS_STATE && r[0] != s[0] {
            return Err("RATE_IS_STATE is not true".into());
        }

        // hidden
        if C::HAS_LAYER {
            let g = &zr[..1];
            let (mut q, mut dg, mut dc) = ([0.0], [f64::NAN], vec![f64::NAN; hiddens]);
            C::hidden(g, c, &mut q);
            C::hidden_vjp(g, &q, c, &d[..1], &mut dg, &mut dc);
            let along = |i: Option<usize>, j: Option<usize>| {
                let mut q = [Dual::fixed(0.0)];
                C::hidden(&lift(g, i), &lift(c, j), &mut q);
                contract(&q)
            };
            close("hidden by g", dg[0], along(Some(0), None))?;
            for k in 0..hiddens {
                close("hidden by c", dc[k], along(None, Some(k)))?;
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_vector_jacobian_product_is_exact(
            x in prop::array::uniform32(-2.0f64..2.0), d in prop::array::uniform8(-1.0f64..1.0)
        ) {
            for &kind in CellKind::ALL {
                let result = with_cell!(kind, C => vjp_matches_duals::<C>(&x, &d));
                prop_assert!(result.is_ok(), "{}: {}", kind.name(), result.unwrap_err());
            }
        }
    }

    #[test]
    fn every_body_is_a_valid_shader() {
        for &kind in CellKind::ALL {
            let shape = kind.shape();
            let bodies = kind.bodies();
            let array = |name: &str, length: usize| {
                format!("    var {name}: array<f32, {}>;\n", length.max(1))
            };
            let function =
                |name: &str, inputs: &[(&str, usize)], outputs: &[(&str, usize)], body: &str| {
                    let variables: String = inputs
                        .iter()
                        .chain(outputs)
                        .map(|(name, length)| array(name, *length))
                        .collect();
                    format!(
                        "fn {name}() {{\n{variables}{}\n}}\n",
                        body.replace(" tanh(", " safe_tanh(")
                    )
                };
            let (s, g, t) = (shape.states, shape.gates, shape.tape);
            let (p, c) = (shape.unit_parameters.len(), shape.hidden_parameters.len());
            let shader = [
                WGSL_PRELUDE.to_string(),
                function("rate", &[("s", s), ("p", p)], &[("r", 1)], bodies.rate),
                function(
                    "rate_vjp",
                    &[("s", s), ("r", 1), ("p", p), ("dr", 1)],
                    &[("ds", s), ("dp", p)],
                    bodies.rate_vjp,
                ),
                function("hidden", &[("g", 1), ("c", c)], &[("q", 1)], bodies.hidden),
                function(
                    "hidden_vjp",
                    &[("g", 1), ("q", 1), ("c", c), ("dq", 1)],
                    &[("dg", 1), ("dc", c)],
                    bodies.hidden_vjp,
                ),
                function(
                    "update",
                    &[("s", s), ("zr", g), ("zx", g), ("p", p)],
                    &[("h", s), ("tape", t)],
                    bodies.update,
                ),
                function(
                    "update_vjp",
                    &[("s", s), ("h", s), ("tape", t), ("p", p), ("dh", s)],
                    &[("ds", s), ("dzr", g), ("dzx", g), ("dp", p)],
                    bodies.update_vjp,
                ),
                "@compute @workgroup_size(1) fn main() { rate(); rate_vjp(); hidden(); hidden_vjp(); update(); update_vjp(); }\n"
                    .to_string(),
            ]
            .concat();
            let module = naga::front::wgsl::parse_str(&shader).unwrap_or_else(|e| {
                panic!("{}: {}\n{shader}", kind.name(), e.emit_to_string(&shader))
            });
            naga::valid::Validator::new(
                naga::valid::ValidationFlags::all(),
                naga::valid::Capabilities::empty(),
            )
            .validate(&module)
            .unwrap_or_else(|e| panic!("{}: {e:?}\n{shader}", kind.name()));
        }
    }
}
