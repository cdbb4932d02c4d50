//! The kernels that run through time: one workgroup per network and tile of trials, all steps of a chunk inside.
//!
//! A thread holds a block of `rows` units, all their gates, times one quad of trials. Its part of a matrix
//! product is `rows` x gates x 4 accumulators in registers, fed by one vector of weights per gate and one quad
//! of the operand for every column. Weights and operands lie in workgroup memory where they fit, else they
//! are read from their buffers through the cache.

use crate::layout::{Places, Problem, QUAD};
use crate::text::{cell_functions, component, declarations, vector};
use nullcline_models::cells::Layer;
use std::fmt::Write;

mod backward;
mod forward;
mod gathering;

pub(crate) use gathering::gathered_slices;

/// How the kernels cut their work. The order of a sum depends on nothing of it but whether it is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Quads of trials in a workgroup.
    pub quads: usize,
    /// Units in a thread's block: 1, 2, 4 or 8.
    pub rows: usize,
    /// Threads of a workgroup.
    pub threads: usize,
    /// What lies in workgroup memory.
    pub placement: Placement,
    /// Backwards: whether threads gather the gradients of W, U and b in their registers on the way. Else the
    /// derivatives by the gates are stored, and products over all steps follow.
    pub gathers: bool,
}

impl Tiling {
    /// Blocks of a tile with so many rows.
    pub fn blocks(&self, padded_rows: usize) -> usize {
        padded_rows.div_ceil(self.rows) * self.quads
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
    let mut out = String::new();
    let mut constant = |name: &str, value: usize| {
        let _ = writeln!(out, "const {name}: u32 = {value}u;");
    };
    constant("UNITS", a.units);
    constant("INPUTS", a.inputs);
    constant("OUTPUTS", a.outputs);
    constant("HIDDEN", problem.layer_rows());
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

/// Most weights of inputs, or of the readout, that a thread reads once and keeps in registers.
const HELD: usize = 32;

impl Sweeps<'_> {
    fn header(&self, written: u8, local: &[(&str, String)]) -> String {
        let mut out = declarations(written, self.width(), "vec4<f32>");
        out.push_str(&cell_functions(self.problem().architecture.cell));
        out.push_str(&constants(self.places));
        let _ = writeln!(
            out,
            "const THREADS: u32 = {}u;\nconst TILE: u32 = {}u;\nconst ROWS: u32 = {}u;\nconst WIDTH: u32 = {}u;",
            self.tiling.threads,
            self.tiling.quads,
            self.tiling.rows,
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

    /// sum_g_i += sum_k W[g][i][k] x[k]; `operand` gives x[k] for an expression k.
    fn product(
        &self,
        p: &Product,
        weights_local: bool,
        operand: &dyn Fn(&str) -> String,
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
                        format!(
                            "packed[packed_base / WIDTH + {}u + {index}]",
                            p.packed / width
                        )
                    };
                    let _ = write!(out, " {declare}{} = {weight};", name(gate, v));
                }
            }
            out
        };
        let add = |name: &dyn Fn(usize, usize) -> String| -> String {
            let mut out = String::new();
            for gate in 0..p.gates {
                out += &self.rows(|i| {
                    let weight = component(&name(gate, i / width), width, i % width);
                    format!(" {}_{gate}_{i} += {weight} * x;", p.sum)
                });
            }
            out
        };
        let operands = |k: &str| -> String { format!(" let x = {};", operand(k)) };
        let mut out = String::new();
        if weights_local {
            let _ = write!(
                out,
                "\n            for (var k = 0u; k < {}u; k += 4u) {{",
                p.depth
            );
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
        let _ = write!(
            out,
            "\n            for (var k = 0u; k < {}u; k += 4u) {{",
            p.depth
        );
        for step in 0..4 {
            out.push_str("\n               ");
            for gate in 0..p.gates {
                for v in 0..vectors {
                    let _ = write!(out, " let w_{step}_{gate}_{v} = next_{step}_{gate}_{v};");
                }
            }
        }
        let _ = write!(
            out,
            "\n                let after = min(k + 4u, {}u);",
            p.depth - 4
        );
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
                self.rows(|i| format!("\n            var {prefix}_{gate}_{i} = Quad(0.0);"))
            })
            .collect()
    }

    /// Adds to the accumulators of a sum the unit itself or, where the layer takes their mean from them, x - mean(x);
    /// `value` reads a unit. Backwards it is the same.
    fn of_units(&self, sum: &str, value: &impl Fn(&str) -> String) -> String {
        let centred = self.problem().architecture.cell.shape().layer == Layer::CentredUnits;
        let (mut out, less) = (String::new(), if centred { " - mean" } else { "" });
        if centred {
            let _ = write!(
                out,
                "
            var mean = Quad(0.0);
            for (var k = 0u; k < UNITS; k += 1u) {{ mean += {}; }}
            mean *= 1.0 / f32(UNITS);",
                value("k")
            );
        }
        out += &self.rows(|i| {
            let unit = value(&format!("first + {i}u"));
            format!("\n            {sum}_0_{i} = {unit}{less};")
        });
        out
    }

    /// Where a thread's block of number `block` lies.
    fn place_of_block() -> &'static str {
        "
            let block_row = block / TILE;
            let first = block_row * ROWS;
            let local = block % TILE;
            let quad = first_quad + local;"
    }

    /// `body` for a thread's blocks of rows.
    fn blocks(&self, padded_rows: usize, body: &str) -> String {
        let count = self.tiling.blocks(padded_rows);
        // The last tile may reach beyond the batch.
        let whole = self.places.quads.is_multiple_of(self.tiling.quads);
        let place = Self::place_of_block();
        if self.single(padded_rows) {
            let mut conditions = Vec::new();
            if count < self.tiling.threads {
                conditions.push(format!("thread < {count}u"));
            }
            if !whole {
                conditions.push("first_quad + thread % TILE < QUADS".to_owned());
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
            "\n            if (quad >= QUADS) { continue; }"
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
            Self::place_of_block().replace(
                "= first_quad + local",
                "= min(first_quad + local, QUADS - 1u)"
            )
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
            self.problem()
                .architecture
                .cell
                .shape()
                .unit_parameters
                .len(),
            |k| format!("Quad(p_{k}_{i})"),
        )
    }

    fn hidden_parameters(&self, row: &str) -> String {
        quads(
            self.problem()
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

    /// Variable `k` of the state before the step at `time`, forced where there is forcing, from memory.
    fn state_before(&self, k: usize, time: &str, unit: &str) -> String {
        if k == 0 && self.problem().forcing {
            format!("history[history_at(FORCED_AT, UNITS, {time}, {unit}, quad)]")
        } else {
            format!(
                "history[history_at(STATES_AT, STATE_ROWS, {time}, {k}u * UNITS + {unit}, quad)]"
            )
        }
    }

    fn weight_floats(places: &Places) -> usize {
        let packed = &places.packed;
        places.problem.architecture.cell.shape().gates * packed.columns * packed.units
            + packed.hidden_weights
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
