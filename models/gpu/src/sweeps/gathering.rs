//! The gradients of W, U and b of a small network, gathered in registers while the backward sweep runs.
//!
//! After every step each thread adds dW[i][j] += sum over the tile's trials of dz[i] q[j] for its block of numbers,
//! from operands that lie in workgroup memory: the derivatives by the gates are neither written to memory nor read
//! from it again. The sums of every tile go into a slice of their own, which the reduction adds up in order.

use super::Sweeps;
use crate::layout::{GATHERED_QUADS, Places};
use std::fmt::Write;

/// A thread's block of dW is `m` x `n` numbers; `tm` x `tn` threads have one.
struct Blocks {
    m: usize,
    n: usize,
    tm: usize,
    tn: usize,
}

/// The smallest blocks for which there are threads enough.
fn blocks(units: usize, threads: usize) -> Option<Blocks> {
    [(1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4)]
        .into_iter()
        .map(|(m, n)| Blocks {
            m,
            n,
            tm: units.div_ceil(m),
            tn: units.div_ceil(n),
        })
        .find(|blocks| blocks.tm * blocks.tn <= threads)
}

/// Where quad `quad` of row `row` of an operand lies. Threads that read one quad of neighbouring rows read from
/// different banks.
pub fn swizzled(row: &str, quad: &str) -> String {
    format!(
        "({row}) * TILE + (({quad}) ^ (({row}) & {}u))",
        GATHERED_QUADS - 1
    )
}

impl Sweeps<'_> {
    /// Whether threads can gather: whole tiles of [`GATHERED_QUADS`], a block for every number, every operand in
    /// workgroup memory.
    pub fn can_gather(&self, workgroup_bytes: usize) -> bool {
        let places = self.places;
        let (operands, weights) = Self::backward_floats(places, self.tiling.quads);
        let more = 4 * self.tiling.quads * places.problem.input_columns();
        places.problem.gathers()
            && self.tiling.quads == GATHERED_QUADS
            && self.single(places.packed.units)
            && blocks(places.problem.architecture.units, self.tiling.threads).is_some()
            && 4 * (2 * operands + more + weights) <= workgroup_bytes
    }

    fn gathered_blocks(&self) -> Blocks {
        let units = self.problem().architecture.units;
        blocks(units, self.tiling.threads).unwrap_or(Blocks {
            m: units,
            n: units,
            tm: 1,
            tn: 1,
        })
    }

    /// Rounds of the threads over the numbers of dU and db.
    fn rounds(&self) -> usize {
        let problem = self.problem();
        (problem.architecture.units * problem.input_columns()).div_ceil(self.tiling.threads)
    }

    /// The operands in workgroup memory beside those of the sweep: the rates, the inputs and the ones.
    pub(super) fn gathered_variables(&self) -> Vec<(&'static str, String)> {
        let count = |rows: usize| format!("array<Quad, {}>", rows * self.tiling.quads);
        let mut out = vec![("rates", count(self.places.packed.units))];
        let columns = self.problem().input_columns();
        if columns > 0 {
            out.push(("more", count(columns)));
        }
        out
    }

    /// Every number of a thread's: variable, whether the thread has it, and its place in the sums.
    fn numbers(&self, f: impl Fn(&str, &str, &str) -> String) -> String {
        let Blocks { m, n, tm, tn } = self.gathered_blocks();
        let mut out = String::new();
        for i in 0..m {
            for j in 0..n {
                let (row, column) = (
                    format!("(gathered_row + {}u)", i * tm),
                    format!("(gathered_column + {}u)", j * tn),
                );
                out += &f(
                    &format!("dw_{i}_{j}"),
                    &format!("thread < {}u && {row} < UNITS && {column} < UNITS", tm * tn),
                    &format!("partial + RECURRENT + {row} * COLUMNS + {column}"),
                );
            }
        }
        let columns = self.problem().input_columns();
        for round in 0..self.rounds() {
            let item = format!("(thread + {}u)", round * self.tiling.threads);
            let (row, column) = (
                format!("({item} / {columns}u)"),
                format!("({item} % {columns}u)"),
            );
            out += &f(
                &format!("dm_{round}"),
                &format!("{item} < {columns}u * UNITS"),
                &format!(
                    "partial + select(BIAS + {row}, INPUT_WEIGHTS + {row} * INPUTS + {column}, {column} < INPUTS)"
                ),
            );
        }
        out
    }

    /// Before the first step: zeros, or what the steps after these have left.
    pub(super) fn take_up_gathered(&self) -> String {
        let Blocks { tn, .. } = self.gathered_blocks();
        let mut out = format!(
            "
    for (var index = thread; index < {}u; index += THREADS) {{ rates[index] = Quad(0.0); }}
    let gathered_row = thread / {tn}u;
    let gathered_column = thread % {tn}u;
    let partial = network * SUMS_STRIDE + group.x * PARAMETER_STRIDE;",
            self.places.packed.units * self.tiling.quads
        );
        out += &self.numbers(|name, has, at| {
            format!("\n    var {name} = 0.0;\n    if (run.end < STEPS && {has}) {{ {name} = sums[{at}]; }}")
        });
        out
    }

    /// The inputs of this step, and ones, to workgroup memory.
    pub(super) fn inputs_to_gather(&self) -> String {
        let a = &self.problem().architecture;
        let columns = self.problem().input_columns();
        if columns == 0 {
            return String::new();
        }
        let value = if a.inputs == 0 {
            "Quad(1.0)".to_owned()
        } else {
            "select(Quad(1.0), trials[trial_at(INPUTS_AT, INPUTS, time, min(column, INPUTS - 1u), min(quad, QUADS - 1u))], column < INPUTS)"
                .to_owned()
        };
        format!(
            "
        for (var index = thread; index < {}u; index += THREADS) {{
            let column = index / TILE;
            let quad = first_quad + index % TILE;
            more[index] = select(Quad(0.0), {value}, quad < QUADS);
        }}",
            columns * self.tiling.quads
        )
    }

    /// dW += dz q', dU += dz x', db += dz 1
    pub(super) fn gather(&self) -> String {
        let Blocks { m, n, tm, tn } = self.gathered_blocks();
        let last = self.places.packed.units - 1;
        // Blocks at the edge may reach beyond the padding.
        let within = |row: String, count: usize| {
            if count > last + 1 {
                format!("min({row}, {last}u)")
            } else {
                row
            }
        };
        let add = |sum: String, left: String, right: String| -> String {
            ["x", "y", "z", "w"]
                .iter()
                .map(|x| format!("\n                {sum} += {left}.{x} * {right}.{x};"))
                .collect()
        };
        let mut out = format!(
            "
        for (var at = 0u; at < TILE; at += 1u) {{
            if (thread < {}u) {{",
            tm * tn
        );
        for i in 0..m {
            let row = within(format!("gathered_row + {}u", i * tm), tm * m);
            let _ = write!(
                out,
                "\n                let dz_{i} = operands[{}];",
                swizzled(&row, "at")
            );
        }
        for j in 0..n {
            let row = within(format!("gathered_column + {}u", j * tn), tn * n);
            let _ = write!(
                out,
                "\n                let q_{j} = rates[{}];",
                swizzled(&row, "at")
            );
        }
        for i in 0..m {
            for j in 0..n {
                out += &add(format!("dw_{i}_{j}"), format!("dz_{i}"), format!("q_{j}"));
            }
        }
        out += "\n            }";
        let columns = self.problem().input_columns();
        for round in 0..self.rounds() {
            let item = format!(
                "min(thread + {}u, {columns}u * UNITS - 1u)",
                round * self.tiling.threads
            );
            let _ = write!(
                out,
                "
            {{
                let item = {item};
                let row = item / {columns}u;
                let dz = operands[{}];
                let x = more[item % {columns}u * TILE + at];{}
            }}",
                swizzled("row", "at"),
                add(format!("dm_{round}"), "dz".into(), "x".into())
            );
        }
        out + "\n        }"
    }

    /// After the last step: the sums to the tile's slice.
    pub(super) fn put_down_gathered(&self) -> String {
        self.numbers(|name, has, at| format!("\n    if ({has}) {{ sums[{at}] = {name}; }}"))
    }
}

/// Slices that hold gathered sums: one for every tile.
pub fn gathered_slices(places: &Places) -> usize {
    places.quads.div_ceil(GATHERED_QUADS)
}
