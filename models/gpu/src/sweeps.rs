//! The kernels that run through time: one workgroup per network and tile of trials, all steps of a chunk inside.
//!
//! A thread holds a block of `rows` units, all their gates, times one quad of trials. Its part of a matrix
//! product is `rows` x gates x 4 accumulators in registers, fed by one vector of weights per gate and one quad
//! of the operand for every column. Weights and operands lie in workgroup memory where they fit, else they
//! are read from their buffers through the cache.

use crate::layout::{Places, Problem, QUAD};
use crate::text::{cell_functions, component, declarations, vector, writes};
use nullcline_models::architecture::Readout;
use std::fmt::Write;

/// How the kernels cut their work. The order of every sum does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Quads of trials in a workgroup.
    pub quads: usize,
    /// Units in a thread's block: 1, 2, 4 or 8.
    pub rows: usize,
    /// Quads of trials in a thread's block: 1, or 2 where tiles are whole.
    pub columns: usize,
    /// Threads of a workgroup.
    pub threads: usize,
    /// What fits in workgroup memory forwards.
    pub forward: Placement,
    /// What fits in workgroup memory backwards.
    pub backward: Placement,
}

impl Tiling {
    /// Blocks of a tile with so many rows.
    pub fn blocks(&self, padded_rows: usize) -> usize {
        padded_rows.div_ceil(self.rows) * self.quads / self.columns
    }
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

/// Addresses inside one network's part, and the constants of a problem: with these in the text instead of in
/// memory, divisions by them are multiplications and most of an address is known before the first step.
pub(crate) fn constants(places: &Places) -> String {
    let Places {
        problem,
        layout,
        packed,
        history,
        trials,
        sums,
        ..
    } = places;
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
    constant("STEPS", places.steps);
    constant("BATCH", places.batch);
    constant("QUADS", places.quads);
    constant("HISTORY_STRIDE", history.stride);
    constant("STATES_AT", history.states);
    constant("RATES_AT", history.rates);
    constant("FORCED_AT", history.forced);
    constant("FORCED_RATES_AT", history.forced_rates);
    constant("TAPE_AT", history.tape);
    constant("TAPE_ROWS", history.tape_rows);
    constant("HIDDEN_ARGUMENTS_AT", history.hidden_arguments);
    constant("HIDDEN_VALUES_AT", history.hidden_values);
    constant("OUTPUTS_AT", history.outputs);
    constant("D_STATE_AT", history.d_state);
    constant("D_UNIT_AT", history.d_unit);
    constant("D_HIDDEN_UNIT_AT", history.d_hidden_unit);
    constant("LEFT_AT", history.left);
    constant("RIGHT_AT", history.right);
    constant("TRIAL_STRIDE", trials.stride);
    constant("INPUTS_AT", trials.inputs);
    constant("TARGETS_AT", trials.targets);
    constant("WEIGHTS_AT", trials.weights);
    constant("INITIAL_AT", trials.initial);
    constant("SCALE_AT", trials.scale);
    constant("SUMS_STRIDE", sums.stride);
    constant("SLICES", sums.slices);
    constant("INITIAL_SLICES", sums.initial_slices);
    constant("GRADIENT_AT", sums.gradient);
    constant("LOSSES_AT", sums.losses);
    constant("NORMS_AT", sums.norms);
    constant("GRADIENT_BLOCKS", sums.blocks);
    out
}

/// The functions that find a number of the network at hand.
pub(crate) const ADDRESSES: &str = "
var<private> history_rows: u32;
var<private> trial_rows: u32;
var<private> parameter_base: u32;
var<private> packed_base: u32;
fn history_at(section: u32, rows: u32, time: u32, row: u32, quad: u32) -> u32 {
    return (history_rows + section + time * rows + row) * QUADS + quad;
}
fn trial_at(section: u32, rows: u32, time: u32, row: u32, quad: u32) -> u32 {
    return (trial_rows + section + time * rows + row) * QUADS + quad;
}
var<private> network: u32;
// The network at a place of the dispatch, which may not begin with the first.
fn open_network(place: u32) {
    network = run.first_network + place;
    history_rows = network * HISTORY_STRIDE;
    trial_rows = (run.first_set + table[run.sets_at + network]) * TRIAL_STRIDE;
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
        (true, false) => ("STATES_AT", "STATE_ROWS"),
        (true, true) => ("FORCED_AT", "UNITS"),
        (false, false) => ("RATES_AT", "UNITS"),
        (false, true) => ("FORCED_RATES_AT", "UNITS"),
    }
}

/// Where the rates of unforced states lie.
pub(crate) fn rates_of_states(problem: &Problem) -> (&'static str, &'static str) {
    if problem.architecture.cell.shape().rate_is_state {
        ("STATES_AT", "STATE_ROWS")
    } else {
        ("RATES_AT", "UNITS")
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
    /// The problem, and where everything lies.
    pub places: &'a Places,
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

/// What a thread reads before the first step and keeps, or in every step where it has several blocks.
const HELD: usize = 32;

impl Sweeps<'_> {
    fn header(&self, written: u8, local: &[(&str, String)]) -> String {
        let mut out = declarations(written, self.width(), "vec4<f32>");
        out.push_str(&cell_functions(self.problem().architecture.cell));
        out.push_str(&constants(self.places));
        let _ = writeln!(
            out,
            "const THREADS: u32 = {}u;\nconst TILE: u32 = {}u;\nconst ROWS: u32 = {}u;\nconst ACROSS: u32 = {}u;\nconst WIDTH: u32 = {}u;",
            self.tiling.threads,
            self.tiling.quads,
            self.tiling.rows,
            self.tiling.quads / self.tiling.columns,
            self.width(),
        );
        out.push_str(ADDRESSES);
        for (name, kind) in local {
            let _ = writeln!(out, "var<workgroup> {name}: {kind};");
        }
        out
    }

    fn problem(&self) -> &Problem {
        &self.places.problem
    }

    /// Numbers that are read at once of the weights of a thread's rows.
    fn width(&self) -> usize {
        self.tiling.rows.min(4)
    }

    /// Row `i` of what was read of packed weights, as vectors of [`Self::width`], under this name.
    fn weight(&self, name: &str, i: usize) -> String {
        let width = self.width();
        component(&format!("{name}_{}", i / width), width, i % width)
    }

    /// Reads the weights of a thread's rows from `first`, an expression of floats, as `name_0`, `name_1`.
    fn read_packed(&self, name: &str, first: &str) -> String {
        (0..self.tiling.rows / self.width())
            .map(|v| {
                format!(
                    "\n            let {name}_{v} = packed[(packed_base + {first}) / WIDTH + block_row * {}u + {v}u];",
                    self.tiling.rows / self.width()
                )
            })
            .collect()
    }

    /// Text for every row of a thread's block.
    fn rows(&self, f: impl Fn(usize) -> String) -> String {
        (0..self.tiling.rows).map(f).collect()
    }

    /// Text for every row and quad of a thread's block.
    fn block(&self, f: impl Fn(usize, usize) -> String) -> String {
        let columns = self.tiling.columns;
        self.rows(|i| (0..columns).map(|c| f(i, c)).collect())
    }

    /// Text for every quad of a thread's block.
    fn columns(&self, f: impl Fn(usize) -> String) -> String {
        (0..self.tiling.columns).map(f).collect()
    }

    /// Whether so many rows fill all blocks, without padding.
    fn is_whole(&self, count: usize) -> bool {
        count.is_multiple_of(QUAD) && count.is_multiple_of(self.tiling.rows)
    }

    /// `text` where `first + i` is one of `count` rows.
    fn within(&self, i: usize, count: usize, name: &str, text: &str) -> String {
        if self.is_whole(count) {
            format!("\n            {{{text}\n            }}")
        } else {
            format!("\n            if (first + {i}u < {name}) {{{text}\n            }}")
        }
    }

    /// Whether every thread has one block of this many rows at most, which it keeps from step to step.
    fn single(&self, padded_rows: usize) -> bool {
        self.tiling.blocks(padded_rows) <= self.tiling.threads
    }

    /// Copies ranges of the packed weights to workgroup memory.
    fn load_weights(&self, ranges: &[(usize, usize)]) -> String {
        let width = self.width();
        let mut out = String::new();
        let mut local = 0;
        for &(start, count) in ranges.iter().filter(|(_, count)| *count > 0) {
            let _ = write!(
                out,
                "
    for (var index = thread; index < {}u; index += THREADS) {{
        weights[{}u + index] = packed[(packed_base + {start}u) / WIDTH + index];
    }}",
                count / width,
                local / width,
            );
            local += count;
        }
        out
    }

    /// sum_g_i_c += sum_k W[g][i][k] x[k]_c; `operand` gives x[k]_c for an expression k and a quad c.
    fn product(
        &self,
        p: &Product,
        weights_local: bool,
        operand: &dyn Fn(&str, usize) -> String,
    ) -> String {
        let width = self.width();
        let vectors = self.tiling.rows / width;
        // The weights of one column, and what they are called.
        let read = |k: &str, declare: &str, name: &dyn Fn(usize, usize) -> String| -> String {
            let mut out = String::new();
            for gate in 0..p.gates {
                for v in 0..vectors {
                    let index = format!(
                        "{}u + ({k}) * {}u + block_row * {vectors}u + {v}u",
                        gate * p.depth * p.outputs / width,
                        p.outputs / width
                    );
                    let weight = if weights_local {
                        format!("weights[{}u + {index}]", p.local / width)
                    } else {
                        format!("packed[packed_base / WIDTH + {}u + {index}]", p.packed / width)
                    };
                    let _ = write!(out, " {declare}{} = {weight};", name(gate, v));
                }
            }
            out
        };
        let add = |name: &dyn Fn(usize, usize) -> String| -> String {
            let mut out = String::new();
            for gate in 0..p.gates {
                out += &self.block(|i, c| {
                    let weight = component(&name(gate, i / width), width, i % width);
                    format!(" {}_{gate}_{i}_{c} += {weight} * x_{c};", p.sum)
                });
            }
            out
        };
        let operands =
            |k: &str| -> String { self.columns(|c| format!(" let x_{c} = {};", operand(k, c))) };
        let mut out = String::new();
        if weights_local {
            let _ = write!(out, "\n            for (var k = 0u; k < {}u; k += 4u) {{", p.depth);
            for step in 0..4 {
                let k = format!("k + {step}u");
                let name = |gate, v| format!("w_{gate}_{v}");
                let _ = write!(
                    out,
                    "\n                {{{}{}{} }}",
                    operands(&k),
                    read(&k, "let ", &name),
                    add(&name)
                );
            }
            out.push_str("\n            }");
            return out;
        }
        // From memory, weights take hundreds of cycles: those of the next columns are asked for before these are used.
        for step in 0..4 {
            let name = |gate, v| format!("next_{step}_{gate}_{v}");
            out.push_str("\n           ");
            out += &read(&format!("{step}u"), "var ", &name);
        }
        let _ = write!(out, "\n            for (var k = 0u; k < {}u; k += 4u) {{", p.depth);
        for step in 0..4 {
            out.push_str("\n               ");
            for gate in 0..p.gates {
                for v in 0..vectors {
                    let _ = write!(out, " let w_{step}_{gate}_{v} = next_{step}_{gate}_{v};");
                }
            }
        }
        let _ = write!(out, "\n                let after = min(k + 4u, {}u);", p.depth - 4);
        for step in 0..4 {
            let name = |gate, v| format!("next_{step}_{gate}_{v}");
            out.push_str("\n               ");
            out += &read(&format!("after + {step}u"), "", &name);
        }
        for step in 0..4 {
            let name = |gate, v| format!("w_{step}_{gate}_{v}");
            let _ = write!(
                out,
                "\n                {{{}{} }}",
                operands(&format!("k + {step}u")),
                add(&name)
            );
        }
        out.push_str("\n            }");
        out
    }

    /// Declares the accumulators of a product.
    fn sums(&self, prefix: &str, gates: usize) -> String {
        (0..gates)
            .map(|gate| {
                self.block(|i, c| format!("\n            var {prefix}_{gate}_{i}_{c} = Quad(0.0);"))
            })
            .collect()
    }

    /// Where a thread's block of number `block` lies.
    fn place_of_block(&self) -> String {
        let mut out = String::from(
            "
            let block_row = block / ACROSS;
            let first = block_row * ROWS;",
        );
        out += &self.columns(|c| {
            format!(
                "
            let local_{c} = block % ACROSS + {c}u * ACROSS;
            let quad_{c} = first_quad + local_{c};"
            )
        });
        out
    }

    /// `body` for a thread's blocks of rows.
    fn blocks(&self, padded_rows: usize, body: &str) -> String {
        let count = self.tiling.blocks(padded_rows);
        // The last tile may reach beyond the batch.
        let whole = self.places.quads.is_multiple_of(self.tiling.quads);
        let place = self.place_of_block();
        if self.single(padded_rows) {
            let mut conditions = Vec::new();
            if count < self.tiling.threads {
                conditions.push(format!("thread < {count}u"));
            }
            if !whole {
                conditions.push("first_quad + thread % ACROSS < QUADS".to_owned());
            }
            let guard = if conditions.is_empty() {
                String::new()
            } else {
                format!("if ({}) ", conditions.join(" && "))
            };
            return format!(
                "
        {guard}{{
            let block = thread;{place}{body}
        }}"
            );
        }
        let beyond = if whole {
            ""
        } else {
            "\n            if (quad_0 >= QUADS) { continue; }"
        };
        format!(
            "
        for (var block = thread; block < {count}u; block += THREADS) {{{place}{beyond}{body}
        }}"
        )
    }

    /// Reads what belongs to a thread's only block, before the first step.
    fn before_steps(&self, padded_rows: usize, body: &str) -> String {
        // Threads without a block read what the last one has, and a tile beyond the batch the last quad.
        format!(
            "
    let block = min(thread, {}u);{}{body}",
            self.tiling.blocks(padded_rows) - 1,
            self.place_of_block()
                .replace("= first_quad + local_0", "= min(first_quad + local_0, QUADS - 1u)")
        )
    }

    fn units_of_block(&self) -> String {
        self.rows(|i| {
            if self.is_whole(self.problem().architecture.units) {
                format!("\n            let unit_{i} = first + {i}u;")
            } else {
                format!("\n            let unit_{i} = min(first + {i}u, UNITS - 1u);")
            }
        })
    }

    /// The parameters of a block's units, as numbers `p_k_i`.
    fn unit_parameters(&self) -> String {
        (0..self.problem().architecture.cell.shape().unit_parameters.len())
            .map(|k| {
                self.rows(|i| {
                    format!(
                        "\n            let p_{k}_{i} = parameters[parameter_base + UNIT_PARAMETERS + {k}u * UNITS + unit_{i}];"
                    )
                })
            })
            .collect()
    }

    /// `p_k_i` as the argument of a cell's function.
    fn unit_argument(&self, i: usize) -> String {
        quads(
            self.problem().architecture.cell.shape().unit_parameters.len(),
            |k| format!("Quad(p_{k}_{i})"),
        )
    }

    fn hidden_parameters(&self, row: &str) -> String {
        quads(
            self.problem().architecture.cell.shape().hidden_parameters.len(),
            |k| {
                format!(
                    "Quad(parameters[parameter_base + HIDDEN_PARAMETERS + {k}u * HIDDEN + {row}])"
                )
            },
        )
    }

    /// Variable `k` of the state before the step at `time`, forced where there is forcing, from memory.
    fn state_before(&self, k: usize, time: &str, unit: &str, c: usize) -> String {
        if k == 0 && self.problem().forcing {
            format!("history[history_at(FORCED_AT, UNITS, {time}, {unit}, quad_{c})]")
        } else {
            format!(
                "history[history_at(STATES_AT, STATE_ROWS, {time}, {k}u * UNITS + {unit}, quad_{c})]"
            )
        }
    }

    /// Floats of workgroup memory that operands and weights take forwards.
    pub fn forward_floats(places: &Places, quads: usize) -> (usize, usize) {
        let hidden = places.problem.architecture.cell.shape().has_hidden;
        let buffers = if hidden { 1 } else { 2 };
        let packed = &places.packed;
        (
            (buffers * packed.units + packed.hidden) * quads * 4,
            Self::weight_floats(places),
        )
    }

    /// Floats of workgroup memory that operands and weights take backwards.
    pub fn backward_floats(places: &Places, quads: usize) -> (usize, usize) {
        let gates = places.problem.architecture.cell.shape().gates;
        let packed = &places.packed;
        (
            (gates * packed.units + packed.hidden) * quads * 4,
            Self::weight_floats(places),
        )
    }

    fn weight_floats(places: &Places) -> usize {
        let packed = &places.packed;
        places.problem.architecture.cell.shape().gates * packed.columns * packed.units
            + packed.units * packed.hidden
    }

    /// Iterations of a loop over a thread's blocks, `inner` in each.
    fn block_iterations(&self, padded_rows: usize, inner: usize) -> usize {
        let blocks = self.tiling.blocks(padded_rows);
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
            once += iterations((weights / self.width()).div_ceil(threads), 0) + 2;
        }
        once
    }

    /// Loop iterations of an invocation of the forward kernel: once, and for every step.
    pub fn forward_iterations(&self) -> (usize, usize) {
        let a = &self.problem().architecture;
        let p = &self.places.packed;
        let floats = Self::forward_floats(self.places, self.tiling.quads);
        let forcing = if self.problem().forcing && self.problem().inverts_readout() {
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
        let a = &self.problem().architecture;
        let gates = a.cell.shape().gates;
        let p = &self.places.packed;
        let floats = Self::backward_floats(self.places, self.tiling.quads);
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
            let width = self.width();
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
        let problem = self.problem();
        let a = &problem.architecture;
        let shape = a.cell.shape();
        let p = &self.places.packed;
        let placement = self.tiling.forward;
        let (operands, weights) = Self::forward_floats(self.places, self.tiling.quads);
        let mut out = self.header(
            writes::HISTORY,
            &self.workgroup_variables(operands, weights, placement),
        );
        let tile = self.tiling.quads;
        // Rates are read from one half and written to the other, unless a hidden layer stands between.
        let hidden_at = p.units * tile * if shape.has_hidden { 1 } else { 2 };
        let (section, rows) = rates_before(problem);
        let single = self.single(p.units);

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
        if (row < UNITS && quad < QUADS) {{ value = history[history_at({section}, {rows}, run.begin, row, quad)]; }}
        operands[index] = value;
    }}
    workgroupBarrier();",
                operands / 4
            );
        } else if placement.weights {
            body += "\n    workgroupBarrier();";
        }
        // What a block needs in every step.
        let mut constants = self.units_of_block();
        constants += &self.unit_parameters();
        constants += &self.input_constants();
        if single {
            // The state stays where it is, in a thread's registers.
            for k in (0..shape.states).filter(|&k| !self.state_is_operand(k, placement)) {
                constants += &self.block(|i, c| {
                    format!(
                        "\n            var state_{k}_{i}_{c} = {};",
                        self.state_before(k, "run.begin", &format!("unit_{i}"), c)
                    )
                });
            }
            body += &self.before_steps(p.units, &constants);
        }
        let rate = |k: &str, c: usize| {
            if placement.operands {
                format!("operands[source + ({k}) * TILE + local_{c}]")
            } else {
                format!("history[history_at({section}, {rows}, time, min({k}, UNITS - 1u), quad_{c})]")
            }
        };
        let hidden_value = |k: &str, c: usize| {
            if placement.operands {
                format!("operands[{hidden_at}u + ({k}) * TILE + local_{c}]")
            } else {
                format!(
                    "history[history_at(HIDDEN_VALUES_AT, HIDDEN, time, min({k}, HIDDEN - 1u), quad_{c})]"
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
                let mut text = format!(
                    "
                let row = first + {i}u;
                let parameters_of_row = {};",
                    self.hidden_parameters("row")
                );
                text += &self.columns(|c| {
                    let mut text = format!(
                        "
                let q_{c} = cell_hidden(array<Quad, 1>(g_0_{i}_{c}), parameters_of_row);
                history[history_at(HIDDEN_VALUES_AT, HIDDEN, time, row, quad_{c})] = q_{c};"
                    );
                    if problem.backward {
                        let _ = write!(
                            text,
                            "\n                history[history_at(HIDDEN_ARGUMENTS_AT, HIDDEN, time, row, quad_{c})] = g_0_{i}_{c};"
                        );
                    }
                    if placement.operands {
                        let _ = write!(
                            text,
                            "\n                operands[{hidden_at}u + row * TILE + local_{c}] = q_{c};"
                        );
                    }
                    text
                });
                stage += &self.within(i, a.hidden, "HIDDEN", &text);
            }
            body += &self.blocks(p.hidden, &stage);
            body += Self::barrier(placement);
        }
        // zr = W q, zx = U x + b, s' = update(s, zr, zx, p)
        // What is read from memory is asked for before the product, so that it is there after it.
        let mut stage = String::new();
        if !single {
            stage += &constants;
            for k in (0..shape.states).filter(|&k| !self.state_is_operand(k, placement)) {
                stage += &self.block(|i, c| {
                    format!(
                        "\n            var state_{k}_{i}_{c} = {};",
                        self.state_before(k, "time", &format!("unit_{i}"), c)
                    )
                });
            }
        }
        stage += &self.inputs_of_step();
        stage += &self.sums("zr", shape.gates);
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
        stage += &self.input_part();
        stage += &self.forcing_part();
        for i in 0..self.tiling.rows {
            let text = self.columns(|c| self.update_part(i, c, placement));
            stage += &self.within(i, a.units, "UNITS", &text);
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

    /// Whether a state variable before a step is its own rate in workgroup memory.
    fn state_is_operand(&self, k: usize, placement: Placement) -> bool {
        k == 0 && placement.operands && self.problem().architecture.cell.shape().rate_is_state
    }

    /// Whether the weights of the inputs are few enough to be read once.
    fn holds_inputs(&self) -> bool {
        let a = &self.problem().architecture;
        a.inputs * self.tiling.rows * a.cell.shape().gates <= HELD
    }

    /// Biases and, where they are few, input weights of a block.
    fn input_constants(&self) -> String {
        let a = &self.problem().architecture;
        let mut out = String::new();
        for gate in 0..a.cell.shape().gates {
            if a.bias {
                out += &self.rows(|i| {
                    format!(
                        "\n            let bias_{gate}_{i} = parameters[parameter_base + BIAS + {gate}u * UNITS + unit_{i}];"
                    )
                });
            }
            if self.holds_inputs() {
                for j in 0..a.inputs {
                    out += &self.rows(|i| {
                        format!(
                            "\n            let u_{gate}_{i}_{j} = {};",
                            Self::input_weight(gate, i, &format!("{j}u"))
                        )
                    });
                }
            }
        }
        out
    }

    fn input_weight(gate: usize, i: usize, j: &str) -> String {
        format!(
            "parameters[parameter_base + INPUT_WEIGHTS + ({gate}u * UNITS + unit_{i}) * INPUTS + {j}]"
        )
    }

    /// The inputs at this step, where their weights are held.
    fn inputs_of_step(&self) -> String {
        if !self.holds_inputs() {
            return String::new();
        }
        (0..self.problem().architecture.inputs)
            .map(|j| {
                self.columns(|c| {
                    format!(
                        "\n            let input_{j}_{c} = trials[trial_at(INPUTS_AT, INPUTS, time, {j}u, quad_{c})];"
                    )
                })
            })
            .collect()
    }

    /// U x + b: added to the recurrent part where the gates only ever add, else as variables `zx`.
    fn input_part(&self) -> String {
        let a = &self.problem().architecture;
        let shape = a.cell.shape();
        let mut out = String::new();
        let prefix = if shape.gates_add {
            "zr"
        } else {
            out += &self.sums("zx", shape.gates);
            "zx"
        };
        for gate in 0..shape.gates {
            if a.bias {
                out += &self.block(|i, c| {
                    format!("\n            {prefix}_{gate}_{i}_{c} += Quad(bias_{gate}_{i});")
                });
            }
            if self.holds_inputs() {
                for j in 0..a.inputs {
                    out += &self.block(|i, c| {
                        format!(
                            "\n            {prefix}_{gate}_{i}_{c} += u_{gate}_{i}_{j} * input_{j}_{c};"
                        )
                    });
                }
            }
        }
        if !self.holds_inputs() {
            out += "\n            for (var j = 0u; j < INPUTS; j += 1u) {";
            out += &self.columns(|c| {
                format!(
                    "\n                let x_{c} = trials[trial_at(INPUTS_AT, INPUTS, time, j, quad_{c})];"
                )
            });
            for gate in 0..shape.gates {
                out += &self.rows(|i| {
                    let mut text = format!(
                        "\n                let u_{gate}_{i} = {};",
                        Self::input_weight(gate, i, "j")
                    );
                    text += &self.columns(|c| {
                        format!(" {prefix}_{gate}_{i}_{c} += u_{gate}_{i} * x_{c};")
                    });
                    text
                });
            }
            out += "\n            }";
        }
        out
    }

    /// z_data of the units of a block: pinv(R) (x - d), the observation being the target of this step.
    fn forcing_part(&self) -> String {
        if !self.problem().forcing {
            return String::new();
        }
        let mut out = String::new();
        if self.problem().inverts_readout() {
            out += &self.read_packed("offset", "OFFSET");
            out += &self.block(|i, c| {
                format!(
                    "\n            var data_{i}_{c} = Quad({});",
                    self.weight("offset", i)
                )
            });
            out += "\n            for (var o = 0u; o < OUTPUTS; o += 1u) {";
            out += &self.columns(|c| {
                format!(
                    "\n            let x_{c} = trials[trial_at(TARGETS_AT, OUTPUTS, time, o, quad_{c})];"
                )
            });
            out += &self.read_packed("w", "INVERSE + o * PADDED_UNITS");
            out += &self.block(|i, c| {
                format!(
                    "\n            data_{i}_{c} += {} * x_{c};",
                    self.weight("w", i)
                )
            });
            out += "\n            }";
        } else {
            out += &self.block(|i, c| {
                format!(
                    "\n            let data_{i}_{c} = trials[trial_at(TARGETS_AT, OUTPUTS, time, min(unit_{i}, OUTPUTS - 1u), quad_{c})];"
                )
            });
        }
        out
    }

    /// The pointwise part of unit `first + i` in quad `c`, and where its results go.
    fn update_part(&self, i: usize, c: usize, placement: Placement) -> String {
        let problem = self.problem();
        let shape = problem.architecture.cell.shape();
        let unit = format!("unit_{i}");
        let state = |k: usize| {
            if self.state_is_operand(k, placement) {
                format!("operands[source + {unit} * TILE + local_{c}]")
            } else {
                format!("state_{k}_{i}_{c}")
            }
        };
        let parameters = self.unit_argument(i);
        let mut out = format!(
            "
                {{
                let updated = cell_update({}, {}, {}, {parameters});",
            quads(shape.states, state),
            quads(shape.gates, |g| format!("zr_{g}_{i}_{c}")),
            quads(shape.gates, |g| if shape.gates_add {
                "Quad(0.0)".into()
            } else {
                format!("zx_{g}_{i}_{c}")
            }),
        );
        for k in 0..shape.states {
            let _ = write!(
                out,
                "\n                history[history_at(STATES_AT, STATE_ROWS, time + 1u, {k}u * UNITS + {unit}, quad_{c})] = updated.h[{k}];"
            );
        }
        if problem.backward {
            for k in 0..shape.tape {
                let _ = write!(
                    out,
                    "\n                history[history_at(TAPE_AT, TAPE_ROWS, time, {k}u * UNITS + {unit}, quad_{c})] = updated.tape[{k}];"
                );
            }
        }
        // y = R rate(s'): the readout sees the state before forcing.
        if !shape.rate_is_state {
            let _ = write!(
                out,
                "
                let rate = cell_rate(updated.h, {parameters});
                history[history_at(RATES_AT, UNITS, time + 1u, {unit}, quad_{c})] = rate;"
            );
        }
        let mut next_state = "updated.h";
        let mut next_rate = if shape.rate_is_state {
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
                if ({unit} < OBSERVED_UNITS) {{ forced[0] = (1.0 - run.alpha) * forced[0] + run.alpha * data_{i}_{c}; }}
                if (time + 1u < STEPS) {{ history[history_at(FORCED_AT, UNITS, time + 1u, {unit}, quad_{c})] = forced[0]; }}"
            );
            next_state = "forced";
            next_rate = "forced[0]";
            if !shape.rate_is_state {
                let _ = write!(
                    out,
                    "
                let forced_rate = cell_rate(forced, {parameters});
                if (time + 1u < STEPS) {{ history[history_at(FORCED_RATES_AT, UNITS, time + 1u, {unit}, quad_{c})] = forced_rate; }}"
                );
                next_rate = "forced_rate";
            }
        }
        for k in (0..shape.states).filter(|&k| !self.state_is_operand(k, placement)) {
            let _ = write!(out, "\n                state_{k}_{i}_{c} = {next_state}[{k}];");
        }
        if placement.operands {
            let _ = write!(
                out,
                "\n                operands[destination + {unit} * TILE + local_{c}] = {next_rate};"
            );
        }
        out + "\n                }"
    }

    /// The backward kernel: from the derivative by the states at time `run.end` to that by those at `run.begin`.
    pub fn backward(&self) -> Kernel {
        let problem = self.problem();
        let a = &problem.architecture;
        let shape = a.cell.shape();
        let p = &self.places.packed;
        let placement = self.tiling.backward;
        let (operands, weights) = Self::backward_floats(self.places, self.tiling.quads);
        let tile = self.tiling.quads;
        let mut out = self.header(
            writes::HISTORY,
            &self.workgroup_variables(operands, weights, placement),
        );
        let hidden_at = shape.gates * p.units * tile;
        let single = self.single(p.units);
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
        // What a block needs in every step, and what it carries from one to the next: the derivative by its states,
        // and the sums of that by its parameters.
        let mut constants = self.units_of_block();
        constants += &self.unit_parameters();
        let carried = |i: usize, f: &dyn Fn(String, String) -> String| -> String {
            let sections = [
                ("ds", "D_STATE_AT", shape.states),
                ("dp", "D_UNIT_AT", problem.unit_gradients()),
            ];
            let mut out = String::new();
            for (name, section, count) in sections {
                for k in 0..count {
                    out += &self.columns(|c| {
                        let at = format!("history_at({section}, 0u, 0u, {k}u * UNITS + unit_{i}, quad_{c})");
                        f(format!("{name}_{k}_{i}_{c}"), format!("history[{at}]"))
                    });
                }
            }
            out
        };
        let take_up = self.rows(|i| carried(i, &|name, at| format!("\n            var {name} = {at};")));
        // Rows beyond the last unit have nothing to put down.
        let put_down = self.rows(|i| {
            let text = carried(i, &|name, at| format!("\n            {at} = {name};"));
            self.within(i, a.units, "UNITS", &text)
        });
        if single {
            body += &self.before_steps(p.units, &(constants.clone() + &take_up + &self.readout_constants()));
        }
        body += "
    for (var count = run.begin; count < run.end; count += 1u) {
        let time = run.end + run.begin - 1u - count;";
        // Readout and cell.
        let mut stage = String::new();
        if !single {
            stage += &constants;
            stage += &take_up;
            stage += &self.readout_constants();
        }
        stage += &self.readout_part();
        for i in 0..self.tiling.rows {
            let text = self.columns(|c| self.update_vjp_part(i, c, placement));
            stage += &self.within(i, a.units, "UNITS", &text);
        }
        if !single {
            stage += &put_down;
        }
        body += &self.blocks(p.units, &stage);
        body += Self::barrier(placement);
        // dq = W' dzr
        let gate_derivative = |k: &str, c: usize| {
            // The rows are [gate, padded unit]; those of the buffer are [gate, unit].
            if placement.operands {
                format!("operands[({k}) * TILE + local_{c}]")
            } else {
                format!(
                    "history[history_at(TAPE_AT, TAPE_ROWS, time, (({k}) / PADDED_UNITS) * UNITS + min(({k}) % PADDED_UNITS, UNITS - 1u), quad_{c})]"
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
                let mut text = format!(
                    "
                let row = first + {i}u;
                let parameters_of_row = {};",
                    self.hidden_parameters("row")
                );
                text += &self.columns(|c| {
                    let mut text = format!(
                        "
                {{
                let at = history_at(HIDDEN_ARGUMENTS_AT, HIDDEN, time, row, quad_{c});
                let value = history[history_at(HIDDEN_VALUES_AT, HIDDEN, time, row, quad_{c})];
                let vjp = cell_hidden_vjp(array<Quad, 1>(history[at]), array<Quad, 1>(value), parameters_of_row, array<Quad, 1>(dq_0_{i}_{c}));
                history[at] = vjp.dg[0];"
                    );
                    for k in 0..shape.hidden_parameters.len() {
                        let _ = write!(
                            text,
                            "\n                history[history_at(D_HIDDEN_UNIT_AT, 0u, 0u, {k}u * HIDDEN + row, quad_{c})] += vjp.dc[{k}];"
                        );
                    }
                    if placement.operands {
                        let _ = write!(
                            text,
                            "\n                operands[{hidden_at}u + row * TILE + local_{c}] = vjp.dg[0];"
                        );
                    }
                    text + "\n                }"
                });
                stage += &self.within(i, a.hidden, "HIDDEN", &text);
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
                &|k, c| {
                    if placement.operands {
                        format!("operands[{hidden_at}u + ({k}) * TILE + local_{c}]")
                    } else {
                        format!(
                            "history[history_at(HIDDEN_ARGUMENTS_AT, HIDDEN, time, min({k}, HIDDEN - 1u), quad_{c})]"
                        )
                    }
                },
            );
        }
        if !single {
            stage += &constants;
            stage += &take_up;
        }
        for i in 0..self.tiling.rows {
            let text = self.columns(|c| self.state_vjp_part(i, c));
            stage += &self.within(i, a.units, "UNITS", &text);
        }
        if !single {
            stage += &put_down;
        }
        body += &self.blocks(p.units, &stage);
        // With a hidden layer two barriers stand between this stage and the next writing of what it read.
        if !shape.has_hidden {
            body += Self::barrier(placement);
        }
        body += "\n    }";
        if single {
            body += &self.blocks(p.units, &put_down);
        }
        out += &main(&body);
        Kernel {
            label: "backward",
            source: out,
            writes: writes::HISTORY,
            trusted: true,
        }
    }

    /// Whether the readout's weights are few enough to be read once.
    fn holds_readout(&self) -> bool {
        let a = &self.problem().architecture;
        a.readout != Readout::Identity && a.outputs * self.tiling.rows <= HELD
    }

    fn readout_constants(&self) -> String {
        if !self.holds_readout() {
            return String::new();
        }
        (0..self.problem().architecture.outputs)
            .map(|o| self.read_packed(&format!("r_{o}"), &format!("READOUT_ROWS + {o}u * PADDED_UNITS")))
            .collect()
    }

    /// dr = R' dy, for the units of a block.
    fn readout_part(&self) -> String {
        let outputs = self.problem().architecture.outputs;
        let mut out = self.block(|i, c| format!("\n            var dr_{i}_{c} = Quad(0.0);"));
        let derivative = |o: &str, c: usize| {
            format!("history[history_at(OUTPUTS_AT, OUTPUTS, time, {o}, quad_{c})]")
        };
        if self.problem().architecture.readout == Readout::Identity {
            out += &self.block(|i, c| {
                format!(
                    "\n            if (first + {i}u < OUTPUTS) {{ dr_{i}_{c} = {}; }}",
                    derivative(&format!("first + {i}u"), c)
                )
            });
        } else if self.holds_readout() {
            for o in 0..outputs {
                out += &self.columns(|c| {
                    format!("\n            let dy_{o}_{c} = {};", derivative(&format!("{o}u"), c))
                });
            }
            for o in 0..outputs {
                out += &self.block(|i, c| {
                    format!(
                        "\n            dr_{i}_{c} += {} * dy_{o}_{c};",
                        self.weight(&format!("r_{o}"), i)
                    )
                });
            }
        } else {
            out += "\n            for (var o = 0u; o < OUTPUTS; o += 1u) {";
            out += &self.columns(|c| format!("\n            let dy_{c} = {};", derivative("o", c)));
            out += &self.read_packed("w", "READOUT_ROWS + o * PADDED_UNITS");
            out += &self.block(|i, c| {
                format!("\n            dr_{i}_{c} += {} * dy_{c};", self.weight("w", i))
            });
            out += "\n            }";
        }
        out
    }

    /// Adds the derivative by the unit parameters, trial by trial.
    fn add_unit_parameters(&self, i: usize, c: usize, dp: &str) -> String {
        (0..self.problem().unit_gradients())
            .map(|k| format!("\n                dp_{k}_{i}_{c} += {dp}[{k}];"))
            .collect()
    }

    fn update_vjp_part(&self, i: usize, c: usize, placement: Placement) -> String {
        let shape = self.problem().architecture.cell.shape();
        let unit = format!("unit_{i}");
        let parameters = self.unit_argument(i);
        let mut out = format!(
            "
                {{
                let h = {};
                var dh = {};",
            quads(shape.states, |k| format!(
                "history[history_at(STATES_AT, STATE_ROWS, time + 1u, {k}u * UNITS + {unit}, quad_{c})]"
            )),
            quads(shape.states, |k| format!("ds_{k}_{i}_{c}")),
        );
        if shape.rate_is_state {
            let _ = write!(out, "\n                dh[0] += dr_{i}_{c};");
        } else {
            let _ = write!(
                out,
                "
                let rate = history[history_at(RATES_AT, UNITS, time + 1u, {unit}, quad_{c})];
                let read = cell_rate_vjp(h, array<Quad, 1>(rate), {parameters}, array<Quad, 1>(dr_{i}_{c}));"
            );
            for k in 0..shape.states {
                let _ = write!(out, "\n                dh[{k}] += read.ds[{k}];");
            }
            out += &self.add_unit_parameters(i, c, "read.dp");
        }
        let _ = write!(
            out,
            "
                let s = {};
                let tape = {};
                let vjp = cell_update_vjp(s, h, tape, {parameters}, dh);",
            quads(shape.states, |k| self.state_before(k, "time", &unit, c)),
            quads(shape.tape, |k| format!(
                "history[history_at(TAPE_AT, TAPE_ROWS, time, {k}u * UNITS + {unit}, quad_{c})]"
            )),
        );
        for k in 0..shape.states {
            let _ = write!(out, "\n                ds_{k}_{i}_{c} = vjp.ds[{k}];");
        }
        for g in 0..shape.gates {
            let _ = write!(
                out,
                "\n                history[history_at(TAPE_AT, TAPE_ROWS, time, {g}u * UNITS + {unit}, quad_{c})] = vjp.dzr[{g}];"
            );
            if placement.operands {
                let _ = write!(
                    out,
                    "\n                operands[({g}u * PADDED_UNITS + {unit}) * TILE + local_{c}] = vjp.dzr[{g}];"
                );
            }
        }
        for (g, &row) in self.problem().input_gate_rows.iter().enumerate() {
            if row >= shape.gates {
                let _ = write!(
                    out,
                    "\n                history[history_at(TAPE_AT, TAPE_ROWS, time, {row}u * UNITS + {unit}, quad_{c})] = vjp.dzx[{g}];"
                );
            }
        }
        out += &self.add_unit_parameters(i, c, "vjp.dp");
        out + "\n                }"
    }

    /// The derivative through the rates before the step, and through the forcing.
    fn state_vjp_part(&self, i: usize, c: usize) -> String {
        let problem = self.problem();
        let shape = problem.architecture.cell.shape();
        let unit = format!("unit_{i}");
        let mut out = String::from("\n                {");
        if shape.rate_is_state {
            let _ = write!(out, "\n                ds_0_{i}_{c} += dq_0_{i}_{c};");
        } else {
            let (section, rows) = rates_before(problem);
            let _ = write!(
                out,
                "
                let rate = history[history_at({section}, {rows}, time, {unit}, quad_{c})];
                let vjp = cell_rate_vjp({}, array<Quad, 1>(rate), {}, array<Quad, 1>(dq_0_{i}_{c}));",
                quads(shape.states, |k| self.state_before(k, "time", &unit, c)),
                self.unit_argument(i),
            );
            for k in 0..shape.states {
                let _ = write!(out, "\n                ds_{k}_{i}_{c} += vjp.ds[{k}];");
            }
            out += &self.add_unit_parameters(i, c, "vjp.dp");
        }
        if problem.forcing {
            // dz = (1 - alpha) dz~ on the forced units; z_data is a constant.
            let _ = write!(
                out,
                "\n                if (time > 0u && {unit} < OBSERVED_UNITS) {{ ds_0_{i}_{c} *= 1.0 - run.alpha; }}"
            );
        }
        out + "\n                }"
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
