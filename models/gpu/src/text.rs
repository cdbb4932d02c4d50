//! The parts of a shader that come from the cell's own bodies, and what all shaders share.

use nullcline_models::architecture::CellKind;
use nullcline_models::cells::Layer;
use nullcline_models::scalar::WGSL_PRELUDE;
use std::fmt::Write;

/// What WGSL makes of a cell: its bodies as functions on quads of trials.
///
/// The bodies are text that is valid for any number type on which the prelude's functions are defined, so the
/// prelude is lifted from `f32` to quads and the bodies stay as they are.
pub fn cell_functions(cell: CellKind) -> String {
    let shape = cell.shape();
    let bodies = cell.bodies();
    let array = |count: usize| format!("array<Quad, {}>", count.max(1));
    let (s, g, t) = (array(shape.states), array(shape.gates), array(shape.tape));
    let (p, c, one) = (
        array(shape.unit_parameters.len()),
        array(shape.hidden_parameters.len()),
        array(1),
    );
    let body = |text: &str| replace_identifier(text, "tanh", "safe_tanh");
    let mut out = lifted_prelude();
    let _ = write!(
        out,
        "struct Updated {{ h: {s}, tape: {t} }}
struct UpdateVjp {{ ds: {s}, dzr: {g}, dzx: {g}, dp: {p} }}
struct RateVjp {{ ds: {s}, dp: {p} }}
fn cell_rate(s: {s}, p: {p}) -> Quad {{
    var r: {one};
    {}
    return r[0];
}}
fn cell_rate_vjp(s: {s}, r: {one}, p: {p}, dr: {one}) -> RateVjp {{
    var ds: {s};
    var dp: {p};
    {}
    return RateVjp(ds, dp);
}}
fn cell_update(s: {s}, zr: {g}, zx: {g}, p: {p}) -> Updated {{
    var h: {s};
    var tape: {t};
    {}
    return Updated(h, tape);
}}
fn cell_update_vjp(s: {s}, h: {s}, tape: {t}, p: {p}, dh: {s}) -> UpdateVjp {{
    var ds: {s};
    var dzr: {g};
    var dzx: {g};
    var dp: {p};
    {}
    return UpdateVjp(ds, dzr, dzx, dp);
}}
",
        body(bodies.rate),
        body(bodies.rate_vjp),
        body(bodies.update),
        body(bodies.update_vjp),
    );
    if shape.layer != Layer::Absent {
        let _ = write!(
            out,
            "struct HiddenVjp {{ dg: {one}, dc: {c} }}
fn cell_hidden(g: {one}, c: {c}) -> Quad {{
    var q: {one};
    {}
    return q[0];
}}
fn cell_hidden_vjp(g: {one}, q: {one}, c: {c}, dq: {one}) -> HiddenVjp {{
    var dg: {one};
    var dc: {c};
    {}
    return HiddenVjp(dg, dc);
}}
",
            body(bodies.hidden),
            body(bodies.hidden_vjp),
        );
    }
    out
}

/// The prelude of the bodies on quads: every function of the prelude on numbers, under another name, and one
/// of its own name that applies it to the four trials.
fn lifted_prelude() -> String {
    let names: Vec<&str> = WGSL_PRELUDE
        .lines()
        .filter_map(|line| line.strip_prefix("fn ")?.split('(').next())
        .collect();
    let mut scalar = WGSL_PRELUDE.to_owned();
    for name in &names {
        scalar = replace_identifier(&scalar, name, &format!("number_{name}"));
    }
    let mut out = String::from("alias Quad = vec4<f32>;\n");
    out.push_str(&scalar);
    for name in names {
        let _ = if name == "constant" {
            writeln!(out, "fn constant(x: f32) -> Quad {{ return Quad(x); }}")
        } else {
            writeln!(
                out,
                "fn {name}(x: Quad) -> Quad {{ return Quad(number_{name}(x.x), number_{name}(x.y), \
                 number_{name}(x.z), number_{name}(x.w)); }}"
            )
        };
    }
    out
}

/// Replaces calls of a function: the name where no longer identifier holds it.
fn replace_identifier(text: &str, name: &str, by: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, found) = rest.split_at(at);
        let after = &found[name.len()..];
        out.push_str(before);
        let inside = out.ends_with(is_part) || after.starts_with(is_part);
        out.push_str(if inside { name } else { by });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// For each gate, the row of gate derivatives that holds its derivative by the input part: the same as that by
/// the recurrent part wherever the cell's body assigns both the same expression, else a row of its own.
pub fn input_gate_rows(cell: CellKind) -> Vec<usize> {
    let gates = cell.shape().gates;
    let body: String = cell
        .bodies()
        .update_vjp
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    let assigned = |name: &str, gate: usize| {
        let left = format!("{name}[{gate}]=");
        body.split(';')
            .find_map(|statement| statement.strip_prefix(left.as_str()))
    };
    let mut next = gates;
    (0..gates)
        .map(|gate| {
            let recurrent = assigned("dzr", gate);
            if recurrent.is_some() && recurrent == assigned("dzx", gate) {
                gate
            } else {
                next += 1;
                next - 1
            }
        })
        .collect()
}

/// The buffers of every kernel, in the order of their bindings after the uniform one.
pub const BUFFERS: [&str; 8] = [
    "parameters",
    "packed",
    "trials",
    "history",
    "sums",
    "training",
    "table",
    "values",
];

/// Bits of `BUFFERS`, for the set that a kernel writes.
pub mod writes {
    /// Parameters.
    pub const PARAMETERS: u8 = 1;
    /// Packed weights.
    pub const PACKED: u8 = 2;
    /// Trials.
    pub const TRIALS: u8 = 4;
    /// History.
    pub const HISTORY: u8 = 8;
    /// Sums.
    pub const SUMS: u8 = 16;
    /// Trained state.
    pub const TRAINING: u8 = 32;
}

/// The element type of a vector of so many numbers.
pub fn vector(width: usize) -> String {
    if width == 1 {
        "f32".into()
    } else {
        format!("vec{width}<f32>")
    }
}

/// Component `i` of a vector of `width` numbers.
pub fn component(value: &str, width: usize, i: usize) -> String {
    if width == 1 {
        value.into()
    } else {
        format!("{value}.{}", ["x", "y", "z", "w"][i % 4])
    }
}

/// The declarations of the buffers, of which the kernel writes some.
pub fn declarations(written: u8, packed: usize, trials: &str) -> String {
    let mut out = String::from(crate::launch::RUN_WGSL);
    out.push_str("@group(0) @binding(0) var<uniform> run: Run;\n");
    for (k, name) in BUFFERS.iter().enumerate() {
        let access = if written >> k & 1 == 1 {
            "read_write"
        } else {
            "read"
        };
        let element = match *name {
            "packed" => vector(packed),
            "trials" => trials.into(),
            "history" => "vec4<f32>".into(),
            "table" => "u32".into(),
            _ => "f32".into(),
        };
        let _ = writeln!(
            out,
            "@group(0) @binding({}) var<storage, {access}> {name}: array<{element}>;",
            k + 1
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_identifiers_are_replaced() {
        assert_eq!(
            replace_identifier("x=tanh(a)+atanh(b)-tanh_slope(c);(tanh (d)", "tanh", "t"),
            "x=t(a)+atanh(b)-tanh_slope(c);(t (d)"
        );
    }

    #[test]
    fn only_the_gated_recurrent_unit_keeps_a_derivative_apart() {
        for &cell in CellKind::ALL {
            let expected: Vec<usize> = if cell == CellKind::Gru {
                vec![0, 1, 3]
            } else {
                (0..cell.shape().gates).collect()
            };
            assert_eq!(input_gate_rows(cell), expected, "{}", cell.name());
        }
    }
}
