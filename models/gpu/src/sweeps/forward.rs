//! Forward through time: states, tapes, and what the hidden layer and the forcing leave.

use super::{HELD, Kernel, Placement, Product, Sweeps, iterations, main, quads, rates_before};
use crate::layout::Places;
use crate::text::writes;
use std::fmt::Write;

impl Sweeps<'_> {
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
        (self.filling_iterations(floats, self.tiling.placement), step)
    }

    /// The forward kernel: from the states at time `run.begin` to those at `run.end`.
    pub fn forward(&self) -> Kernel {
        let problem = self.problem();
        let a = &problem.architecture;
        let shape = a.cell.shape();
        let p = &self.places.packed;
        let placement = self.tiling.placement;
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
                constants += &self.rows(|i| {
                    format!(
                        "\n            var state_{k}_{i} = {};",
                        self.state_before(k, "run.begin", &format!("unit_{i}"))
                    )
                });
            }
            body += &self.before_steps(p.units, &constants);
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
                    "history[history_at(HIDDEN_VALUES_AT, HIDDEN, time, min({k}, HIDDEN - 1u), quad)]"
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
            // q = hidden(Wh r)
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
                let q = cell_hidden(array<Quad, 1>(g_0_{i}), {});
                history[history_at(HIDDEN_VALUES_AT, HIDDEN, time, row, quad)] = q;",
                    self.hidden_parameters("row")
                );
                if problem.backward {
                    let _ = write!(
                        text,
                        "\n                history[history_at(HIDDEN_ARGUMENTS_AT, HIDDEN, time, row, quad)] = g_0_{i};"
                    );
                }
                if placement.operands {
                    let _ = write!(
                        text,
                        "\n                operands[{hidden_at}u + row * TILE + local] = q;"
                    );
                }
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
                stage += &self.rows(|i| {
                    format!(
                        "\n            var state_{k}_{i} = {};",
                        self.state_before(k, "time", &format!("unit_{i}"))
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
            let text = self.update_part(i, placement);
            stage += &self.within(i, a.units, "UNITS", &text);
        }
        body += &self.blocks(p.units, &stage);
        body += Self::barrier(placement);
        body += "\n    }";
        out += &main(&body);
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
                format!(
                    "\n            let input_{j} = trials[trial_at(INPUTS_AT, INPUTS, time, {j}u, quad)];"
                )
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
                out += &self.rows(|i| {
                    format!("\n            {prefix}_{gate}_{i} += Quad(bias_{gate}_{i});")
                });
            }
            if self.holds_inputs() {
                for j in 0..a.inputs {
                    out += &self.rows(|i| {
                        format!(
                            "\n            {prefix}_{gate}_{i} += u_{gate}_{i}_{j} * input_{j};"
                        )
                    });
                }
            }
        }
        if !self.holds_inputs() {
            out += "
            for (var j = 0u; j < INPUTS; j += 1u) {
                let x = trials[trial_at(INPUTS_AT, INPUTS, time, j, quad)];";
            for gate in 0..shape.gates {
                out += &self.rows(|i| {
                    let weight = Self::input_weight(gate, i, "j");
                    format!("\n                {prefix}_{gate}_{i} += {weight} * x;")
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
            out += &self.rows(|i| {
                format!(
                    "\n            var data_{i} = Quad({});",
                    self.weight("offset", i)
                )
            });
            out += "
            for (var o = 0u; o < OUTPUTS; o += 1u) {
            let x = trials[trial_at(TARGETS_AT, OUTPUTS, time, o, quad)];";
            out += &self.read_packed("w", "INVERSE + o * PADDED_UNITS");
            out +=
                &self.rows(|i| format!("\n            data_{i} += {} * x;", self.weight("w", i)));
            out += "\n            }";
        } else {
            out += &self.rows(|i| {
                format!(
                    "\n            let data_{i} = trials[trial_at(TARGETS_AT, OUTPUTS, time, min(unit_{i}, OUTPUTS - 1u), quad)];"
                )
            });
        }
        out
    }

    /// The pointwise part of unit `first + i`, and where its results go.
    fn update_part(&self, i: usize, placement: Placement) -> String {
        let problem = self.problem();
        let shape = problem.architecture.cell.shape();
        let unit = format!("unit_{i}");
        let state = |k: usize| {
            if self.state_is_operand(k, placement) {
                format!("operands[source + {unit} * TILE + local]")
            } else {
                format!("state_{k}_{i}")
            }
        };
        let parameters = self.unit_argument(i);
        let mut out = format!(
            "
                let updated = cell_update({}, {}, {}, {parameters});",
            quads(shape.states, state),
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
                "\n                history[history_at(STATES_AT, STATE_ROWS, time + 1u, {k}u * UNITS + {unit}, quad)] = updated.h[{k}];"
            );
        }
        if problem.backward {
            for k in 0..shape.tape {
                let _ = write!(
                    out,
                    "\n                history[history_at(TAPE_AT, TAPE_ROWS, time, {k}u * UNITS + {unit}, quad)] = updated.tape[{k}];"
                );
            }
        }
        // y = R rate(s'): the readout sees the state before forcing.
        if !shape.rate_is_state {
            let _ = write!(
                out,
                "
                let rate = cell_rate(updated.h, {parameters});
                history[history_at(RATES_AT, UNITS, time + 1u, {unit}, quad)] = rate;"
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
                if ({unit} < FORCED_UNITS && (time + 1u) % FORCING_INTERVAL == 0u) {{
                    forced[0] = (1.0 - alpha) * forced[0] + alpha * data_{i};
                }}
                if (time + 1u < STEPS) {{ history[history_at(FORCED_AT, UNITS, time + 1u, {unit}, quad)] = forced[0]; }}"
            );
            next_state = "forced";
            next_rate = "forced[0]";
            if !shape.rate_is_state {
                let _ = write!(
                    out,
                    "
                let forced_rate = cell_rate(forced, {parameters});
                if (time + 1u < STEPS) {{ history[history_at(FORCED_RATES_AT, UNITS, time + 1u, {unit}, quad)] = forced_rate; }}"
                );
                next_rate = "forced_rate";
            }
        }
        for k in (0..shape.states).filter(|&k| !self.state_is_operand(k, placement)) {
            let _ = write!(out, "\n                state_{k}_{i} = {next_state}[{k}];");
        }
        if placement.operands {
            let _ = write!(
                out,
                "\n                operands[destination + {unit} * TILE + local] = {next_rate};"
            );
        }
        out
    }
}
