//! Backward through time: derivatives by the gates, and by the state before the first step.

use super::gathering::swizzled;
use super::{HELD, Kernel, Placement, Product, Sweeps, iterations, main, quads, rates_before};
use crate::layout::Places;
use crate::text::writes;
use nullcline_models::architecture::Readout;
use std::fmt::Write;

impl Sweeps<'_> {
    /// Floats of workgroup memory that operands and weights take backwards.
    pub fn backward_floats(places: &Places, quads: usize) -> (usize, usize) {
        let gates = places.problem.architecture.cell.shape().gates;
        let packed = &places.packed;
        (
            (gates * packed.units + packed.hidden) * quads * 4,
            Self::weight_floats(places),
        )
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
        if self.tiling.gathers {
            // The tile's quads, and the inputs.
            step += iterations(self.tiling.quads, 0) + 2 + self.problem().input_columns();
        }
        (self.filling_iterations(floats, self.tiling.placement), step)
    }

    /// The backward kernel: from the derivative by the states at time `run.end` to that by those at `run.begin`.
    pub fn backward(&self) -> Kernel {
        let problem = self.problem();
        let a = &problem.architecture;
        let shape = a.cell.shape();
        let p = &self.places.packed;
        let placement = self.tiling.placement;
        let (operands, weights) = Self::backward_floats(self.places, self.tiling.quads);
        let tile = self.tiling.quads;
        let gathers = self.tiling.gathers;
        let mut variables = self.workgroup_variables(operands, weights, placement);
        let mut written = writes::HISTORY;
        if gathers {
            variables.extend(self.gathered_variables());
            written |= writes::SUMS;
        }
        let mut out = self.header(written, &variables);
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
        if gathers {
            body += &self.take_up_gathered();
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
                    let at =
                        format!("history_at({section}, 0u, 0u, {k}u * UNITS + unit_{i}, quad)");
                    out += &f(format!("{name}_{k}_{i}"), format!("history[{at}]"));
                }
            }
            out
        };
        let take_up =
            self.rows(|i| carried(i, &|name, at| format!("\n            var {name} = {at};")));
        // Rows beyond the last unit have nothing to put down.
        let put_down = self.rows(|i| {
            let text = carried(i, &|name, at| format!("\n            {at} = {name};"));
            self.within(i, a.units, "UNITS", &text)
        });
        if single {
            body += &self.before_steps(
                p.units,
                &(constants.clone() + &take_up + &self.readout_constants()),
            );
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
            let text = self.update_vjp_part(i, placement);
            stage += &self.within(i, a.units, "UNITS", &text);
        }
        if !single {
            stage += &put_down;
        }
        body += &self.blocks(p.units, &stage);
        if gathers {
            body += &self.inputs_to_gather();
        }
        body += Self::barrier(placement);
        // dq = W' dzr
        let gate_derivative = |k: &str| {
            // The rows are [gate, padded unit]; those of the buffer are [gate, unit].
            if gathers {
                format!("operands[{}]", swizzled(k, "local"))
            } else if placement.operands {
                format!("operands[({k}) * TILE + local]")
            } else {
                format!(
                    "history[history_at(TAPE_AT, TAPE_ROWS, time, (({k}) / PADDED_UNITS) * UNITS + min(({k}) % PADDED_UNITS, UNITS - 1u), quad)]"
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
                let at = history_at(HIDDEN_ARGUMENTS_AT, HIDDEN, time, row, quad);
                let value = history[history_at(HIDDEN_VALUES_AT, HIDDEN, time, row, quad)];
                let vjp = cell_hidden_vjp(array<Quad, 1>(history[at]), array<Quad, 1>(value), {}, array<Quad, 1>(dq_0_{i}));
                history[at] = vjp.dg[0];",
                    self.hidden_parameters("row")
                );
                for k in 0..shape.hidden_parameters.len() {
                    let _ = write!(
                        text,
                        "\n                history[history_at(D_HIDDEN_UNIT_AT, 0u, 0u, {k}u * HIDDEN + row, quad)] += vjp.dc[{k}];"
                    );
                }
                if placement.operands {
                    let _ = write!(
                        text,
                        "\n                operands[{hidden_at}u + row * TILE + local] = vjp.dg[0];"
                    );
                }
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
                &|k| {
                    if placement.operands {
                        format!("operands[{hidden_at}u + ({k}) * TILE + local]")
                    } else {
                        format!(
                            "history[history_at(HIDDEN_ARGUMENTS_AT, HIDDEN, time, min({k}, HIDDEN - 1u), quad)]"
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
            let text = self.state_vjp_part(i);
            stage += &self.within(i, a.units, "UNITS", &text);
        }
        if !single {
            stage += &put_down;
        }
        body += &self.blocks(p.units, &stage);
        if gathers {
            body += &self.gather();
        }
        // With a hidden layer two barriers stand between this stage and the next writing of what it read.
        if !shape.has_hidden {
            body += Self::barrier(placement);
        }
        body += "\n    }";
        if single {
            body += &self.blocks(p.units, &put_down);
        }
        if gathers {
            body += &self.put_down_gathered();
        }
        out += &main(&body);
        Kernel {
            label: "backward",
            source: out,
            writes: written,
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
            .map(|o| {
                self.read_packed(
                    &format!("r_{o}"),
                    &format!("READOUT_ROWS + {o}u * PADDED_UNITS"),
                )
            })
            .collect()
    }

    /// dr = R' dy, for the units of a block.
    fn readout_part(&self) -> String {
        let outputs = self.problem().architecture.outputs;
        let mut out = self.rows(|i| format!("\n            var dr_{i} = Quad(0.0);"));
        let derivative =
            |o: &str| format!("history[history_at(OUTPUTS_AT, OUTPUTS, time, {o}, quad)]");
        if self.problem().architecture.readout == Readout::Identity {
            out += &self.rows(|i| {
                format!(
                    "\n            if (first + {i}u < OUTPUTS) {{ dr_{i} = {}; }}",
                    derivative(&format!("first + {i}u"))
                )
            });
        } else if self.holds_readout() {
            for o in 0..outputs {
                let _ = write!(
                    out,
                    "\n            let dy_{o} = {};",
                    derivative(&format!("{o}u"))
                );
            }
            for o in 0..outputs {
                out += &self.rows(|i| {
                    format!(
                        "\n            dr_{i} += {} * dy_{o};",
                        self.weight(&format!("r_{o}"), i)
                    )
                });
            }
        } else {
            out += "\n            for (var o = 0u; o < OUTPUTS; o += 1u) {";
            out += &format!("\n            let dy = {};", derivative("o"));
            out += &self.read_packed("w", "READOUT_ROWS + o * PADDED_UNITS");
            out += &self.rows(|i| format!("\n            dr_{i} += {} * dy;", self.weight("w", i)));
            out += "\n            }";
        }
        out
    }

    /// Adds the derivative by the unit parameters, trial by trial.
    fn add_unit_parameters(&self, i: usize, dp: &str) -> String {
        (0..self.problem().unit_gradients())
            .map(|k| format!("\n                dp_{k}_{i} += {dp}[{k}];"))
            .collect()
    }

    fn update_vjp_part(&self, i: usize, placement: Placement) -> String {
        let shape = self.problem().architecture.cell.shape();
        let unit = format!("unit_{i}");
        let parameters = self.unit_argument(i);
        let mut out = format!(
            "
                let h = {};
                var dh = {};",
            quads(shape.states, |k| format!(
                "history[history_at(STATES_AT, STATE_ROWS, time + 1u, {k}u * UNITS + {unit}, quad)]"
            )),
            quads(shape.states, |k| format!("ds_{k}_{i}")),
        );
        if shape.rate_is_state {
            let _ = write!(out, "\n                dh[0] += dr_{i};");
        } else {
            let _ = write!(
                out,
                "
                let rate = history[history_at(RATES_AT, UNITS, time + 1u, {unit}, quad)];
                let read = cell_rate_vjp(h, array<Quad, 1>(rate), {parameters}, array<Quad, 1>(dr_{i}));"
            );
            for k in 0..shape.states {
                let _ = write!(out, "\n                dh[{k}] += read.ds[{k}];");
            }
            out += &self.add_unit_parameters(i, "read.dp");
        }
        let _ = write!(
            out,
            "
                let s = {};
                let tape = {};
                let vjp = cell_update_vjp(s, h, tape, {parameters}, dh);",
            quads(shape.states, |k| self.state_before(k, "time", &unit)),
            quads(shape.tape, |k| format!(
                "history[history_at(TAPE_AT, TAPE_ROWS, time, {k}u * UNITS + {unit}, quad)]"
            )),
        );
        for k in 0..shape.states {
            let _ = write!(out, "\n                ds_{k}_{i} = vjp.ds[{k}];");
        }
        if self.tiling.gathers {
            // One gate: its derivative, and the rate before the step, stay in workgroup memory.
            let rate = if shape.rate_is_state {
                "s[0]".to_owned()
            } else {
                let (section, rows) = rates_before(self.problem());
                format!("history[history_at({section}, {rows}, time, {unit}, quad)]")
            };
            let at = swizzled(&unit, "local");
            let _ = write!(
                out,
                "
                operands[{at}] = vjp.dzr[0];
                rates[{at}] = {rate};"
            );
            out += &self.add_unit_parameters(i, "vjp.dp");
            return out;
        }
        for g in 0..shape.gates {
            let _ = write!(
                out,
                "\n                history[history_at(TAPE_AT, TAPE_ROWS, time, {g}u * UNITS + {unit}, quad)] = vjp.dzr[{g}];"
            );
            if placement.operands {
                let _ = write!(
                    out,
                    "\n                operands[({g}u * PADDED_UNITS + {unit}) * TILE + local] = vjp.dzr[{g}];"
                );
            }
        }
        for (g, &row) in self.problem().input_gate_rows.iter().enumerate() {
            if row >= shape.gates {
                let _ = write!(
                    out,
                    "\n                history[history_at(TAPE_AT, TAPE_ROWS, time, {row}u * UNITS + {unit}, quad)] = vjp.dzx[{g}];"
                );
            }
        }
        out += &self.add_unit_parameters(i, "vjp.dp");
        out
    }

    /// The derivative through the rates before the step, and through the forcing.
    fn state_vjp_part(&self, i: usize) -> String {
        let problem = self.problem();
        let shape = problem.architecture.cell.shape();
        let unit = format!("unit_{i}");
        let mut out = String::new();
        if shape.rate_is_state {
            let _ = write!(out, "\n                ds_0_{i} += dq_0_{i};");
        } else {
            let (section, rows) = rates_before(problem);
            let _ = write!(
                out,
                "
                let rate = history[history_at({section}, {rows}, time, {unit}, quad)];
                let vjp = cell_rate_vjp({}, array<Quad, 1>(rate), {}, array<Quad, 1>(dq_0_{i}));",
                quads(shape.states, |k| self.state_before(k, "time", &unit)),
                self.unit_argument(i),
            );
            for k in 0..shape.states {
                let _ = write!(out, "\n                ds_{k}_{i} += vjp.ds[{k}];");
            }
            out += &self.add_unit_parameters(i, "vjp.dp");
        }
        if problem.forcing {
            // dz = (1 - alpha) dz~ on the forced units; z_data is a constant.
            let _ = write!(
                out,
                "
                if (time > 0u && {unit} < FORCED_UNITS && time % FORCING_INTERVAL == 0u) {{ ds_0_{i} *= 1.0 - alpha; }}"
            );
        }
        out
    }
}
