//! The kernels that run through time: one workgroup per network and tile of trials, all steps of a chunk inside.
//!
//! A thread holds a block of `rows` units, all their gates, times one quad of trials. Its part of a matrix
//! product is `rows` x gates x 4 accumulators in registers, fed by one vector of weights per gate and one quad
//! of the operand for every column. Weights and operands lie in workgroup memory where they fit, else they
//! are read from their buffers through the cache.

use crate::layout::{Packed, Problem};
use crate::text::{cell_functions, component, declarations, vector, writes};
use nullcline_models::architecture::{Layout, Readout};
use std::fmt::Write;

/// How the kernels cut their work. The result does not depend on it, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Quads of trials in a workgroup.
    pub quads: usize,
    /// Units in a thread's block: 1, 2 or 4.
    pub rows: usize,
    /// Threads of a workgroup.
    pub threads: usize,
    /// What fits in workgroup memory forwards.
    pub forward: Placement,
    /// What fits in workgroup memory backwards.
    pub backward: Placement,
}

/// What lies in workgroup memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Rates, or gate derivatives, of the step at hand.
    pub operands: bool,
    /// The recurrent weights.
    pub weights: bool,
}

/// A shader and the buffers that it writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Name, for error messages.
    pub label: &'static str,
    /// WGSL text with one entry point, `main`.
    pub source: String,
    /// Bits of [`writes`].
    pub writes: u8,
    /// Whether it may run without the checks of its indices and loops: all but those with a task's own text.
    pub trusted: bool,
}

/// Addresses inside one network's part, and the constants of a problem.
pub(crate) fn constants(problem: &Problem, layout: &Layout, packed: &Packed) -> String {
    let a = &problem.architecture;
    let shape = a.cell.shape();
    let mut out = String::new();
    let mut constant = |name: &str, value: usize| {
        let _ = writeln!(out, "const {name}: u32 = {value}u;");
    };
    constant("UNITS", a.units);
    constant("INPUTS", a.inputs);
    constant("OUTPUTS", a.outputs);
    constant("HIDDEN", if shape.has_hidden { a.hidden } else { 0 });
    constant("STATE_ROWS", a.state_dim());
    constant("COLUMNS", a.recurrent_columns());
    constant("PARAMETERS", layout.total);
    constant("PARAMETER_STRIDE", crate::layout::padded(layout.total));
    constant("RECURRENT", layout.recurrent.start);
    constant("HIDDEN_WEIGHTS", layout.hidden.start);
    constant("INPUT_WEIGHTS", layout.input.start);
    constant("BIAS", layout.bias.start);
    constant("UNIT_PARAMETERS", layout.unit.start);
    constant("HIDDEN_PARAMETERS", layout.hidden_unit.start);
    constant("READOUT", layout.readout.start);
    constant("READOUT_BIAS", layout.readout_bias.start);
    constant("INITIAL", layout.initial.start);
    constant("PADDED_UNITS", packed.units);
    constant("PADDED_COLUMNS", packed.columns);
    constant("PADDED_HIDDEN", packed.hidden);
    constant("PADDED_OUTPUTS", packed.outputs);
    constant("PACKED_STRIDE", packed.stride);
    constant("RECURRENT_FORWARD", packed.recurrent_forward);
    constant("RECURRENT_BACKWARD", packed.recurrent_backward);
    constant("HIDDEN_FORWARD", packed.hidden_forward);
    constant("HIDDEN_BACKWARD", packed.hidden_backward);
    constant("READOUT_ROWS", packed.readout_rows);
    constant("READOUT_COLUMNS", packed.readout_columns);
    constant("INVERSE", packed.inverse);
    constant("OFFSET", packed.offset);
    constant("ORTHOGONAL", packed.orthogonal);
    constant("TRIANGULAR", packed.triangular);
    constant("COPIED", packed.copied());
    constant("OBSERVED_UNITS", problem.observed_units());
    out
}

/// The functions that find a number of the network at hand.
pub(crate) const ADDRESSES: &str = "
var<private> history_rows: u32;
var<private> trial_rows: u32;
var<private> parameter_base: u32;
var<private> packed_base: u32;
fn history_at(section: u32, rows: u32, time: u32, row: u32, quad: u32) -> u32 {
    return (history_rows + section + time * rows + row) * run.quads + quad;
}
fn trial_at(section: u32, rows: u32, time: u32, row: u32, quad: u32) -> u32 {
    return (trial_rows + section + time * rows + row) * run.quads + quad;
}
var<private> network: u32;
// The network at a place of the dispatch, which may not begin with the first.
fn open_network(place: u32) {
    network = run.first_network + place;
    history_rows = network * run.history_stride;
    trial_rows = (run.first_set + table[run.sets_at + network]) * run.trial_stride;
    parameter_base = network * PARAMETER_STRIDE;
    packed_base = network * PACKED_STRIDE;
}
";

/// Where the rates before a step lie: section and rows.
pub(crate) fn rates_before(problem: &Problem) -> (&'static str, &'static str) {
    match (
        problem.architecture.cell.shape().rate_is_state,
        problem.forcing,
    ) {
        (true, false) => ("run.states_at", "STATE_ROWS"),
        (true, true) => ("run.forced_at", "UNITS"),
        (false, false) => ("run.rates_at", "UNITS"),
        (false, true) => ("run.forced_rates_at", "UNITS"),
    }
}

/// Where the rates of unforced states lie.
pub(crate) fn rates_of_states(problem: &Problem) -> (&'static str, &'static str) {
    if problem.architecture.cell.shape().rate_is_state {
        ("run.states_at", "STATE_ROWS")
    } else {
        ("run.rates_at", "UNITS")
    }
}

/// What a loop of `count` turns costs of the iterations that an invocation has, `inner` of them in each turn. The
/// turn that finds the end counts too.
pub(crate) fn iterations(count: usize, inner: usize) -> usize {
    count * (1 + inner) + 1
}

/// A list `name[0..count]` of the expressions of `f`, as an array of quads.
fn quads(count: usize, f: impl Fn(usize) -> String) -> String {
    let items: Vec<String> = if count == 0 {
        vec!["Quad(0.0)".into()]
    } else {
        (0..count).map(f).collect()
    };
    format!("array<Quad, {}>({})", items.len(), items.join(", "))
}

/// Writes the kernels of one problem under one tiling.
pub struct Sweeps<'a> {
    /// The problem.
    pub problem: &'a Problem,
    /// Its flat parameter vector.
    pub layout: &'a Layout,
    /// Its packed weights.
    pub packed: &'a Packed,
    /// How it is cut.
    pub tiling: Tiling,
}

/// One matrix product of a sweep: `gates` outputs for each of a thread's rows.
struct Product {
    /// Prefix of the accumulators.
    sum: &'static str,
    gates: usize,
    /// Padded rows of the operand.
    depth: usize,
    /// First weight in workgroup memory and in the packed buffer.
    local: usize,
    packed: usize,
    /// Padded number of outputs, the innermost axis of the weights.
    outputs: usize,
}

impl Sweeps<'_> {
    fn header(&self, written: u8, local: &[(&str, String)]) -> String {
        let mut out = declarations(written, self.tiling.rows, "vec4<f32>");
        out.push_str(&cell_functions(self.problem.architecture.cell));
        out.push_str(&constants(self.problem, self.layout, self.packed));
        let _ = writeln!(
            out,
            "const THREADS: u32 = {}u;\nconst TILE: u32 = {}u;\nconst ROWS: u32 = {}u;",
            self.tiling.threads, self.tiling.quads, self.tiling.rows
        );
        out.push_str(ADDRESSES);
        for (name, kind) in local {
            let _ = writeln!(out, "var<workgroup> {name}: {kind};");
        }
        out
    }

    /// Copies ranges of the packed weights to workgroup memory.
    fn load_weights(&self, ranges: &[(usize, usize)]) -> String {
        let width = self.tiling.rows;
        let mut out = String::new();
        let mut local = 0;
        for &(start, count) in ranges.iter().filter(|(_, count)| *count > 0) {
            let _ = write!(
                out,
                "
    for (var index = thread; index < {}u; index += THREADS) {{
        weights[{}u + index] = packed[packed_base / ROWS + {}u + index];
    }}",
                count / width,
                local / width,
                start / width,
            );
            local += count;
        }
        out
    }

    /// sum_g_i += sum_k W[g][i][k] x[k]; `operand` gives x[k] for an expression k.
    fn product(
        &self,
        p: &Product,
        weights_local: bool,
        operand: &dyn Fn(&str) -> String,
    ) -> String {
        let width = self.tiling.rows;
        let mut out = format!(
            "
            for (var k = 0u; k < {}u; k += 4u) {{",
            p.depth
        );
        for step in 0..4 {
            let k = format!("k + {step}u");
            let _ = write!(out, "\n                {{ let x = {};", operand(&k));
            for gate in 0..p.gates {
                let index = format!(
                    "{}u + ({k}) * {}u + block_row",
                    gate * p.depth * p.outputs / width,
                    p.outputs / width
                );
                let weight = if weights_local {
                    format!("weights[{}u + {index}]", p.local / width)
                } else {
                    format!(
                        "packed[packed_base / ROWS + {}u + {index}]",
                        p.packed / width
                    )
                };
                let _ = write!(out, " let w{gate} = {weight};");
                for i in 0..width {
                    let _ = write!(
                        out,
                        " {}_{gate}_{i} += {} * x;",
                        p.sum,
                        component(&format!("w{gate}"), width, i)
                    );
                }
            }
            out.push_str(" }");
        }
        out.push_str("\n            }");
        out
    }

    /// Declares the accumulators of a product.
    fn sums(&self, prefix: &str, gates: usize) -> String {
        let mut out = String::new();
        for gate in 0..gates {
            for i in 0..self.tiling.rows {
                let _ = write!(out, "\n            var {prefix}_{gate}_{i} = Quad(0.0);");
            }
        }
        out
    }

    /// The loop over a thread's blocks of `rows` rows.
    fn blocks(&self, padded_rows: usize, body: &str) -> String {
        format!(
            "
        for (var block = thread; block < {}u; block += THREADS) {{
            let block_row = block / TILE;
            let local = block % TILE;
            let quad = first_quad + local;
            if (quad >= run.quads) {{ continue; }}
            let first = block_row * ROWS;{body}
        }}",
            padded_rows / self.tiling.rows * self.tiling.quads
        )
    }

    /// The parameters of a unit as an array.
    fn unit_parameters(&self, unit: &str) -> String {
        quads(
            self.problem.architecture.cell.shape().unit_parameters.len(),
            |k| {
                format!(
                    "Quad(parameters[parameter_base + UNIT_PARAMETERS + {k}u * UNITS + {unit}])"
                )
            },
        )
    }

    fn hidden_parameters(&self, row: &str) -> String {
        quads(
            self.problem
                .architecture
                .cell
                .shape()
                .hidden_parameters
                .len(),
            |k| {
                format!(
                    "Quad(parameters[parameter_base + HIDDEN_PARAMETERS + {k}u * HIDDEN + {row}])"
                )
            },
        )
    }

    /// The state before the step at `time`, forced where there is forcing.
    fn state_before(&self, time: &str, unit: &str) -> String {
        quads(self.problem.architecture.cell.shape().states, |k| {
            if k == 0 && self.problem.forcing {
                format!("history[history_at(run.forced_at, UNITS, {time}, {unit}, quad)]")
            } else {
                format!(
                    "history[history_at(run.states_at, STATE_ROWS, {time}, {k}u * UNITS + {unit}, quad)]"
                )
            }
        })
    }

    /// Floats of workgroup memory that operands and weights take forwards.
    pub fn forward_floats(problem: &Problem, packed: &Packed, quads: usize) -> (usize, usize) {
        let hidden = problem.architecture.cell.shape().has_hidden;
        let buffers = if hidden { 1 } else { 2 };
        (
            (buffers * packed.units + packed.hidden) * quads * 4,
            Self::weight_floats(problem, packed),
        )
    }

    /// Floats of workgroup memory that operands and weights take backwards.
    pub fn backward_floats(problem: &Problem, packed: &Packed, quads: usize) -> (usize, usize) {
        let gates = problem.architecture.cell.shape().gates;
        (
            (gates * packed.units + packed.hidden) * quads * 4,
            Self::weight_floats(problem, packed),
        )
    }

    fn weight_floats(problem: &Problem, packed: &Packed) -> usize {
        problem.architecture.cell.shape().gates * packed.columns * packed.units
            + packed.units * packed.hidden
    }

    /// Iterations of a loop over a thread's blocks, `inner` in each.
    fn block_iterations(&self, padded_rows: usize, inner: usize) -> usize {
        let blocks = padded_rows / self.tiling.rows * self.tiling.quads;
        iterations(blocks.div_ceil(self.tiling.threads), inner)
    }

    /// Iterations before the first step: filling workgroup memory.
    fn filling_iterations(
        &self,
        (operands, weights): (usize, usize),
        placement: Placement,
    ) -> usize {
        let threads = self.tiling.threads;
        let mut once = 8;
        if placement.operands {
            once += iterations((operands / 4).div_ceil(threads), 0);
        }
        if placement.weights {
            // Two ranges at most.
            once += iterations((weights / self.tiling.rows).div_ceil(threads), 0) + 2;
        }
        once
    }

    /// Loop iterations of an invocation of the forward kernel: once, and for every step.
    pub fn forward_iterations(&self) -> (usize, usize) {
        let a = &self.problem.architecture;
        let p = self.packed;
        let floats = Self::forward_floats(self.problem, p, self.tiling.quads);
        let forcing = if self.problem.forcing && self.problem.inverts_readout() {
            a.outputs
        } else {
            0
        };
        let inner = iterations(p.columns / 4, 0) + iterations(a.inputs, 0) + iterations(forcing, 0);
        let mut step = 1 + self.block_iterations(p.units, inner);
        if p.hidden > 0 {
            step += self.block_iterations(p.hidden, iterations(p.units / 4, 0));
        }
        (self.filling_iterations(floats, self.tiling.forward), step)
    }

    /// Loop iterations of an invocation of the backward kernel: once, and for every step.
    pub fn backward_iterations(&self) -> (usize, usize) {
        let a = &self.problem.architecture;
        let gates = a.cell.shape().gates;
        let p = self.packed;
        let floats = Self::backward_floats(self.problem, p, self.tiling.quads);
        let transposed = iterations(gates * p.units / 4, 0);
        let mut step = 1 + self.block_iterations(p.units, iterations(a.outputs, 0));
        if p.hidden > 0 {
            step += self.block_iterations(p.hidden, transposed);
            step += self.block_iterations(p.units, iterations(p.hidden / 4, 0));
        } else {
            step += self.block_iterations(p.columns, transposed);
        }
        (self.filling_iterations(floats, self.tiling.backward), step)
    }

    fn workgroup_variables(
        &self,
        operands: usize,
        weights: usize,
        placement: Placement,
    ) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        if placement.operands {
            out.push(("operands", format!("array<Quad, {}>", operands / 4)));
        }
        if placement.weights {
            let width = self.tiling.rows;
            out.push((
                "weights",
                format!("array<{}, {}>", vector(width), weights / width),
            ));
        }
        out
    }

    fn barrier(placement: Placement) -> &'static str {
        if placement.operands {
            "\n        workgroupBarrier();"
        } else {
            "\n        storageBarrier();"
        }
    }

    /// The forward kernel: from the states at time `run.begin` to those at `run.end`.
    pub fn forward(&self) -> Kernel {
        let problem = self.problem;
        let a = &problem.architecture;
        let shape = a.cell.shape();
        let p = self.packed;
        let placement = self.tiling.forward;
        let (operands, weights) = Self::forward_floats(problem, p, self.tiling.quads);
        let mut out = self.header(
            writes::HISTORY,
            &self.workgroup_variables(operands, weights, placement),
        );
        let tile = self.tiling.quads;
        // Rates are read from one half and written to the other, unless a hidden layer stands between.
        let hidden_at = p.units * tile * if shape.has_hidden { 1 } else { 2 };
        let (section, rows) = rates_before(problem);

        let mut body = String::new();
        if placement.weights {
            body += &self.load_weights(&[
                (p.recurrent_forward, shape.gates * p.columns * p.units),
                (p.hidden_forward, p.units * p.hidden),
            ]);
        }
        if placement.operands {
            let _ = write!(
                body,
                "
    for (var index = thread; index < {}u; index += THREADS) {{
        let row = index / TILE;
        let quad = first_quad + index % TILE;
        var value = Quad(0.0);
        if (row < UNITS && quad < run.quads) {{ value = history[history_at({section}, {rows}, run.begin, row, quad)]; }}
        operands[index] = value;
    }}
    workgroupBarrier();",
                operands / 4
            );
        } else if placement.weights {
            body += "\n    workgroupBarrier();";
        }
        let rate = |k: &str| {
            if placement.operands {
                format!("operands[source + ({k}) * TILE + local]")
            } else {
                format!("history[history_at({section}, {rows}, time, min({k}, UNITS - 1u), quad)]")
            }
        };
        let hidden_value = |k: &str| {
            if placement.operands {
                format!("operands[{hidden_at}u + ({k}) * TILE + local]")
            } else {
                format!(
                    "history[history_at(run.hidden_values_at, HIDDEN, time, min({k}, HIDDEN - 1u), quad)]"
                )
            }
        };
        body += "\n    for (var time = run.begin; time < run.end; time += 1u) {";
        if shape.has_hidden {
            body += "\n        let source = 0u;\n        let destination = 0u;";
        } else {
            let _ = write!(
                body,
                "
        let source = ((time - run.begin) & 1u) * {0}u;
        let destination = {0}u - source;",
                p.units * tile
            );
        }
        if shape.has_hidden {
            // q = hidden(Wh r, c)
            let mut stage = self.sums("g", 1);
            stage += &self.product(
                &Product {
                    sum: "g",
                    gates: 1,
                    depth: p.units,
                    local: shape.gates * p.columns * p.units,
                    packed: p.hidden_forward,
                    outputs: p.hidden,
                },
                placement.weights,
                &rate,
            );
            for i in 0..self.tiling.rows {
                let _ = write!(
                    stage,
                    "
            if (first + {i}u < HIDDEN) {{
                let row = first + {i}u;
                let q = cell_hidden(array<Quad, 1>(g_0_{i}), {});
                history[history_at(run.hidden_values_at, HIDDEN, time, row, quad)] = q;{}{}
            }}",
                    self.hidden_parameters("row"),
                    if problem.backward {
                        format!(
                            "\n                history[history_at(run.hidden_arguments_at, HIDDEN, time, row, quad)] = g_0_{i};"
                        )
                    } else {
                        String::new()
                    },
                    if placement.operands {
                        format!(
                            "\n                operands[{hidden_at}u + row * TILE + local] = q;"
                        )
                    } else {
                        String::new()
                    },
                );
            }
            body += &self.blocks(p.hidden, &stage);
            body += Self::barrier(placement);
        }
        // zr = W q, zx = U x + b, s' = update(s, zr, zx, p)
        // Where the gates only ever add, the input part is where the sum starts. What is read from memory is asked
        // for before the product, so that it is there after it.
        let mut stage = String::new();
        for i in 0..self.tiling.rows {
            let _ = write!(
                stage,
                "
            let unit_{i} = min(first + {i}u, UNITS - 1u);
            let state_{i} = {};",
                self.state_before("time", &format!("unit_{i}"))
            );
        }
        if shape.gates_add {
            stage += &self.input_part("zr");
        } else {
            stage += &self.sums("zr", shape.gates);
        }
        let product = Product {
            sum: "zr",
            gates: shape.gates,
            depth: p.columns,
            local: 0,
            packed: p.recurrent_forward,
            outputs: p.units,
        };
        stage += &if shape.has_hidden {
            self.product(&product, placement.weights, &hidden_value)
        } else {
            self.product(&product, placement.weights, &rate)
        };
        if !shape.gates_add {
            stage += &self.input_part("zx");
        }
        stage += &self.forcing_part();
        for i in 0..self.tiling.rows {
            stage += &format!(
                "\n            if (first + {i}u < UNITS) {{{}\n            }}",
                self.update_part(i, placement)
            );
        }
        body += &self.blocks(p.units, &stage);
        body += Self::barrier(placement);
        body += "\n    }";
        let _ = write!(out, "{}", main(&body));
        Kernel {
            label: "forward",
            source: out,
            writes: writes::HISTORY,
            trusted: true,
        }
    }

    /// U x + b, as variables of this prefix.
    fn input_part(&self, prefix: &str) -> String {
        let a = &self.problem.architecture;
        let gates = a.cell.shape().gates;
        let mut out = String::new();
        for gate in 0..gates {
            for i in 0..self.tiling.rows {
                let bias = if a.bias {
                    format!("parameters[parameter_base + BIAS + {gate}u * UNITS + unit_{i}]")
                } else {
                    "0.0".into()
                };
                let _ = write!(out, "\n            var {prefix}_{gate}_{i} = Quad({bias});");
            }
        }
        if a.inputs > 0 {
            out += "
            for (var j = 0u; j < INPUTS; j += 1u) {
                let x = trials[trial_at(run.inputs_at, INPUTS, time, j, quad)];";
            for gate in 0..gates {
                for i in 0..self.tiling.rows {
                    let _ = write!(
                        out,
                        "\n                {prefix}_{gate}_{i} += parameters[parameter_base + INPUT_WEIGHTS + ({gate}u * UNITS + unit_{i}) * INPUTS + j] * x;"
                    );
                }
            }
            out += "\n            }";
        }
        out
    }

    /// z_data of the units of a block: pinv(R) (x - d), the observation being the target of this step.
    fn forcing_part(&self) -> String {
        if !self.problem.forcing {
            return String::new();
        }
        let width = self.tiling.rows;
        let mut out = String::new();
        if self.problem.inverts_readout() {
            let _ = write!(
                out,
                "\n            let offset = packed[packed_base / ROWS + OFFSET / ROWS + block_row];"
            );
            for i in 0..width {
                let _ = write!(
                    out,
                    "\n            var data_{i} = Quad({});",
                    component("offset", width, i)
                );
            }
            out += "
            for (var o = 0u; o < OUTPUTS; o += 1u) {
                let x = trials[trial_at(run.targets_at, OUTPUTS, time, o, quad)];
                let w = packed[packed_base / ROWS + (INVERSE + o * PADDED_UNITS) / ROWS + block_row];";
            for i in 0..width {
                let _ = write!(
                    out,
                    "\n                data_{i} += {} * x;",
                    component("w", width, i)
                );
            }
            out += "\n            }";
        } else {
            for i in 0..width {
                let _ = write!(
                    out,
                    "\n            let data_{i} = trials[trial_at(run.targets_at, OUTPUTS, time, min(unit_{i}, OUTPUTS - 1u), quad)];"
                );
            }
        }
        out
    }

    /// The pointwise part of unit `first + i`, and where its results go.
    fn update_part(&self, i: usize, placement: Placement) -> String {
        let problem = self.problem;
        let shape = problem.architecture.cell.shape();
        let unit = format!("unit_{i}");
        let mut out = format!(
            "
                let p = {};
                let updated = cell_update(state_{i}, {}, {}, p);",
            self.unit_parameters(&unit),
            quads(shape.gates, |g| format!("zr_{g}_{i}")),
            quads(shape.gates, |g| if shape.gates_add {
                "Quad(0.0)".into()
            } else {
                format!("zx_{g}_{i}")
            }),
        );
        for k in 0..shape.states {
            let _ = write!(
                out,
                "\n                history[history_at(run.states_at, STATE_ROWS, time + 1u, {k}u * UNITS + {unit}, quad)] = updated.h[{k}];"
            );
        }
        if problem.backward {
            for k in 0..shape.tape {
                let _ = write!(
                    out,
                    "\n                history[history_at(run.tape_at, run.tape_rows, time, {k}u * UNITS + {unit}, quad)] = updated.tape[{k}];"
                );
            }
        }
        // y = R rate(s'): the readout sees the state before forcing.
        if !shape.rate_is_state {
            let _ = write!(
                out,
                "
                let rate = cell_rate(updated.h, p);
                history[history_at(run.rates_at, UNITS, time + 1u, {unit}, quad)] = rate;"
            );
        }
        let mut next = if shape.rate_is_state {
            "updated.h[0]"
        } else {
            "rate"
        };
        if problem.forcing {
            // z~ = (1 - alpha) z + alpha z_data
            let _ = write!(
                out,
                "
                var forced = updated.h;
                if ({unit} < OBSERVED_UNITS) {{ forced[0] = (1.0 - run.alpha) * forced[0] + run.alpha * data_{i}; }}
                if (time + 1u < run.steps) {{ history[history_at(run.forced_at, UNITS, time + 1u, {unit}, quad)] = forced[0]; }}"
            );
            next = "forced[0]";
            if !shape.rate_is_state {
                let _ = write!(
                    out,
                    "
                let forced_rate = cell_rate(forced, p);
                if (time + 1u < run.steps) {{ history[history_at(run.forced_rates_at, UNITS, time + 1u, {unit}, quad)] = forced_rate; }}"
                );
                next = "forced_rate";
            }
        }
        if placement.operands {
            let _ = write!(
                out,
                "\n                operands[destination + {unit} * TILE + local] = {next};"
            );
        }
        out
    }

    /// The backward kernel: from the derivative by the states at time `run.end` to that by those at `run.begin`.
    pub fn backward(&self) -> Kernel {
        let problem = self.problem;
        let a = &problem.architecture;
        let shape = a.cell.shape();
        let p = self.packed;
        let placement = self.tiling.backward;
        let (operands, weights) = Self::backward_floats(problem, p, self.tiling.quads);
        let tile = self.tiling.quads;
        let mut out = self.header(
            writes::HISTORY,
            &self.workgroup_variables(operands, weights, placement),
        );
        let hidden_at = shape.gates * p.units * tile;
        let mut body = String::new();
        if placement.weights {
            body += &self.load_weights(&[
                (p.recurrent_backward, shape.gates * p.columns * p.units),
                (p.hidden_backward, p.units * p.hidden),
            ]);
        }
        if placement.operands {
            let _ = write!(
                body,
                "
    for (var index = thread; index < {}u; index += THREADS) {{ operands[index] = Quad(0.0); }}",
                operands / 4
            );
        }
        if placement.operands || placement.weights {
            body += "\n    workgroupBarrier();";
        }
        body += "
    for (var count = run.begin; count < run.end; count += 1u) {
        let time = run.end + run.begin - 1u - count;";
        // Readout and cell.
        let mut stage = self.readout_part();
        for i in 0..self.tiling.rows {
            let _ = write!(
                stage,
                "\n            if (first + {i}u < UNITS) {{{}\n            }}",
                self.update_vjp_part(i, placement)
            );
        }
        body += &self.blocks(p.units, &stage);
        body += Self::barrier(placement);
        // dq = W' dzr
        let gate_derivative = |k: &str| {
            // The rows are [gate, padded unit]; those of the buffer are [gate, unit].
            if placement.operands {
                format!("operands[({k}) * TILE + local]")
            } else {
                format!(
                    "history[history_at(run.tape_at, run.tape_rows, time, (({k}) / PADDED_UNITS) * UNITS + min(({k}) % PADDED_UNITS, UNITS - 1u), quad)]"
                )
            }
        };
        let transposed = Product {
            sum: "dq",
            gates: 1,
            depth: shape.gates * p.units,
            local: 0,
            packed: p.recurrent_backward,
            outputs: p.columns,
        };
        let mut stage = self.sums("dq", 1);
        stage += &self.product(&transposed, placement.weights, &gate_derivative);
        if shape.has_hidden {
            for i in 0..self.tiling.rows {
                let _ = write!(
                    stage,
                    "
            if (first + {i}u < HIDDEN) {{
                let row = first + {i}u;
                let at = history_at(run.hidden_arguments_at, HIDDEN, time, row, quad);
                let value = history[history_at(run.hidden_values_at, HIDDEN, time, row, quad)];
                let vjp = cell_hidden_vjp(array<Quad, 1>(history[at]), array<Quad, 1>(value), {}, array<Quad, 1>(dq_0_{i}));
                history[at] = vjp.dg[0];",
                    self.hidden_parameters("row"),
                );
                for k in 0..shape.hidden_parameters.len() {
                    let _ = write!(
                        stage,
                        "\n                history[history_at(run.d_hidden_unit_at, 0u, 0u, {k}u * HIDDEN + row, quad)] += vjp.dc[{k}];"
                    );
                }
                if placement.operands {
                    let _ = write!(
                        stage,
                        "\n                operands[{hidden_at}u + row * TILE + local] = vjp.dg[0];"
                    );
                }
                stage += "\n            }";
            }
            body += &self.blocks(p.hidden, &stage);
            body += Self::barrier(placement);
            // dr = Wh' dg
            stage = self.sums("dq", 1);
            stage += &self.product(
                &Product {
                    sum: "dq",
                    gates: 1,
                    depth: p.hidden,
                    local: shape.gates * p.columns * p.units,
                    packed: p.hidden_backward,
                    outputs: p.units,
                },
                placement.weights,
                &|k| {
                    if placement.operands {
                        format!("operands[{hidden_at}u + ({k}) * TILE + local]")
                    } else {
                        format!(
                            "history[history_at(run.hidden_arguments_at, HIDDEN, time, min({k}, HIDDEN - 1u), quad)]"
                        )
                    }
                },
            );
        }
        for i in 0..self.tiling.rows {
            let _ = write!(
                stage,
                "\n            if (first + {i}u < UNITS) {{{}\n            }}",
                self.state_vjp_part(i)
            );
        }
        body += &self.blocks(p.units, &stage);
        // With a hidden layer two barriers stand between this stage and the next writing of what it read.
        if !shape.has_hidden {
            body += Self::barrier(placement);
        }
        body += "\n    }";
        out += &main(&body);
        Kernel {
            label: "backward",
            source: out,
            writes: writes::HISTORY,
            trusted: true,
        }
    }

    /// dr = R' dy, for the units of a block.
    fn readout_part(&self) -> String {
        let width = self.tiling.rows;
        let mut out = String::new();
        for i in 0..width {
            let _ = write!(out, "\n            var dr_{i} = Quad(0.0);");
        }
        if self.problem.architecture.readout == Readout::Identity {
            for i in 0..width {
                let _ = write!(
                    out,
                    "\n            if (first + {i}u < OUTPUTS) {{ dr_{i} = history[history_at(run.outputs_at, OUTPUTS, time, first + {i}u, quad)]; }}"
                );
            }
            return out;
        }
        out += "
            for (var o = 0u; o < OUTPUTS; o += 1u) {
                let dy = history[history_at(run.outputs_at, OUTPUTS, time, o, quad)];
                let w = packed[packed_base / ROWS + (READOUT_ROWS + o * PADDED_UNITS) / ROWS + block_row];";
        for i in 0..width {
            let _ = write!(
                out,
                "\n                dr_{i} += {} * dy;",
                component("w", width, i)
            );
        }
        out += "\n            }";
        out
    }

    /// Adds the derivative by the unit parameters, trial by trial.
    fn add_unit_parameters(&self, dp: &str) -> String {
        (0..self.problem.unit_gradients())
            .map(|k| {
                format!(
                    "\n                history[history_at(run.d_unit_at, 0u, 0u, {k}u * UNITS + unit, quad)] += {dp}[{k}];"
                )
            })
            .collect()
    }

    fn update_vjp_part(&self, i: usize, placement: Placement) -> String {
        let shape = self.problem.architecture.cell.shape();
        let mut out = format!(
            "
                let unit = first + {i}u;
                let p = {};
                let h = {};
                var dh = {};",
            self.unit_parameters("unit"),
            quads(shape.states, |k| format!(
                "history[history_at(run.states_at, STATE_ROWS, time + 1u, {k}u * UNITS + unit, quad)]"
            )),
            quads(shape.states, |k| format!(
                "history[history_at(run.d_state_at, 0u, 0u, {k}u * UNITS + unit, quad)]"
            )),
        );
        if shape.rate_is_state {
            let _ = write!(out, "\n                dh[0] += dr_{i};");
        } else {
            let _ = write!(
                out,
                "
                let rate = history[history_at(run.rates_at, UNITS, time + 1u, unit, quad)];
                let read = cell_rate_vjp(h, array<Quad, 1>(rate), p, array<Quad, 1>(dr_{i}));"
            );
            for k in 0..shape.states {
                let _ = write!(out, "\n                dh[{k}] += read.ds[{k}];");
            }
            out += &self.add_unit_parameters("read.dp");
        }
        let _ = write!(
            out,
            "
                let s = {};
                let tape = {};
                let vjp = cell_update_vjp(s, h, tape, p, dh);",
            self.state_before("time", "unit"),
            quads(shape.tape, |k| format!(
                "history[history_at(run.tape_at, run.tape_rows, time, {k}u * UNITS + unit, quad)]"
            )),
        );
        for k in 0..shape.states {
            let _ = write!(
                out,
                "\n                history[history_at(run.d_state_at, 0u, 0u, {k}u * UNITS + unit, quad)] = vjp.ds[{k}];"
            );
        }
        for g in 0..shape.gates {
            let _ = write!(
                out,
                "\n                history[history_at(run.tape_at, run.tape_rows, time, {g}u * UNITS + unit, quad)] = vjp.dzr[{g}];"
            );
            if placement.operands {
                let _ = write!(
                    out,
                    "\n                operands[({g}u * PADDED_UNITS + unit) * TILE + local] = vjp.dzr[{g}];"
                );
            }
        }
        for (g, &row) in self.problem.input_gate_rows.iter().enumerate() {
            if row >= shape.gates {
                let _ = write!(
                    out,
                    "\n                history[history_at(run.tape_at, run.tape_rows, time, {row}u * UNITS + unit, quad)] = vjp.dzx[{g}];"
                );
            }
        }
        out += &self.add_unit_parameters("vjp.dp");
        out
    }

    /// The derivative through the rates before the step, and through the forcing.
    fn state_vjp_part(&self, i: usize) -> String {
        let problem = self.problem;
        let shape = problem.architecture.cell.shape();
        let mut out = format!(
            "
                let unit = first + {i}u;
                var ds = {};",
            quads(shape.states, |k| format!(
                "history[history_at(run.d_state_at, 0u, 0u, {k}u * UNITS + unit, quad)]"
            )),
        );
        if shape.rate_is_state {
            let _ = write!(out, "\n                ds[0] += dq_0_{i};");
        } else {
            let (section, rows) = rates_before(problem);
            let _ = write!(
                out,
                "
                let rate = history[history_at({section}, {rows}, time, unit, quad)];
                let vjp = cell_rate_vjp({}, array<Quad, 1>(rate), {}, array<Quad, 1>(dq_0_{i}));",
                self.state_before("time", "unit"),
                self.unit_parameters("unit"),
            );
            for k in 0..shape.states {
                let _ = write!(out, "\n                ds[{k}] += vjp.ds[{k}];");
            }
            out += &self.add_unit_parameters("vjp.dp");
        }
        if problem.forcing {
            // dz = (1 - alpha) dz~ on the forced units; z_data is a constant.
            out += "\n                if (time > 0u && unit < OBSERVED_UNITS) { ds[0] *= 1.0 - run.alpha; }";
        }
        for k in 0..shape.states {
            let _ = write!(
                out,
                "\n                history[history_at(run.d_state_at, 0u, 0u, {k}u * UNITS + unit, quad)] = ds[{k}];"
            );
        }
        out
    }
}

/// The entry point of a sweep.
fn main(body: &str) -> String {
    format!(
        "
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {{
    open_network(group.y);
    let first_quad = group.x * TILE;{body}
}}
"
    )
}
