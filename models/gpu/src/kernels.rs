//! The kernels beside the sweeps through time: copies of the weights, the pseudo-inverse, initial states, readout
//! and loss, gradient products, the optimiser.

use crate::layout::{BLOCK, DEPTH, MORE, Places, action, control};
use crate::sweeps::{
    ADDRESSES, Kernel, constants, gathered_slices, iterations, rates_before, rates_of_states,
};
use crate::text::{cell_functions, declarations, writes};
use nullcline_models::architecture::Readout;
use nullcline_models::optimisers::{Optimiser, Rule};
use nullcline_tasks::Loss;
use std::fmt::Write;

/// Threads of the kernels that have nothing to choose.
pub const THREADS: usize = 64;

/// Threads that share the losses of one step.
pub const LOSS_THREADS: usize = 32;

fn header(places: &Places, written: u8, packed: usize) -> String {
    let mut out = declarations(written, packed, "vec4<f32>");
    out.push_str(&cell_functions(places.problem.architecture.cell));
    out.push_str(&constants(places));
    out.push_str(ADDRESSES);
    out
}

fn kernel(label: &'static str, places: &Places, written: u8, packed: usize, body: &str) -> Kernel {
    let mut source = header(places, written, packed);
    source.push_str(body);
    Kernel {
        label,
        source,
        writes: written,
        trusted: true,
    }
}

/// Copies every matrix into the orders and paddings that the sweeps read. Workgroups: floats / 256, network.
pub fn copy(places: &Places) -> Kernel {
    kernel(
        "copy",
        places,
        writes::PACKED,
        1,
        include_str!("shaders/copy.wgsl"),
    )
}

/// The steps of the pseudo-inverse of the readout, one workgroup per network.
pub fn inverse(places: &Places) -> [Kernel; 3] {
    let a = &places.problem.architecture;
    let wide = a.outputs <= a.units;
    let (long, short) = (a.units.max(a.outputs), a.units.min(a.outputs));
    let shared = format!(
        "const LONG: u32 = {long}u;\nconst SHORT: u32 = {short}u;\n{}",
        if wide {
            "// M = R': rows are units.
fn matrix_at(row: u32, column: u32) -> f32 { return parameters[parameter_base + READOUT + column * UNITS + row]; }
fn inverse_at(long: u32, short: u32) -> u32 { return packed_base + INVERSE + short * PADDED_UNITS + long; }
"
        } else {
            "// M = R: rows are outputs.
fn matrix_at(row: u32, column: u32) -> f32 { return parameters[parameter_base + READOUT + row * UNITS + column]; }
fn inverse_at(long: u32, short: u32) -> u32 { return packed_base + INVERSE + long * PADDED_UNITS + short; }
"
        }
    );
    let make = |label, body: &str| {
        kernel(
            label,
            places,
            writes::PACKED,
            1,
            &format!("{shared}{}{body}", include_str!("shaders/inverse.wgsl")),
        )
    };
    [
        make("orthogonalise", include_str!("shaders/orthogonalise.wgsl")),
        make("substitute", include_str!("shaders/substitute.wgsl")),
        make(
            "offset",
            &include_str!("shaders/offset.wgsl").replace(
                "BIAS_OF_OUTPUT",
                if a.readout == Readout::Linear {
                    "parameters[parameter_base + READOUT_BIAS + o]"
                } else {
                    "0.0"
                },
            ),
        ),
    ]
}

/// Loop iterations of one column of the decomposition.
pub fn orthogonalise_iterations(places: &Places) -> usize {
    let a = &places.problem.architecture;
    let (long, short) = (a.units.max(a.outputs), a.units.min(a.outputs));
    let (rows, columns) = (long.div_ceil(THREADS), short.div_ceil(THREADS));
    let turn = iterations(columns, iterations(long, 0)) + iterations(rows, iterations(short, 0));
    // Besides the two turns: three loops over rows, two sums of all threads.
    1 + iterations(2, turn) + 3 * iterations(rows, 0) + 2 * iterations(6, 0)
}

/// Initial states and their rates, and zeros for what the backward pass adds to. Workgroups: blocks of (unit,
/// quad), network.
pub fn start(places: &Places) -> Kernel {
    let problem = &places.problem;
    let a = &problem.architecture;
    let shape = a.cell.shape();
    let mut body = String::from(
        "
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x / QUADS;
    let quad = id.x % QUADS;
    open_network(id.y);
",
    );
    if problem.backward {
        body += "    if (row < STATE_ROWS) { history[history_at(D_STATE_AT, 0u, 0u, row, quad)] = Quad(0.0); }\n";
        let _ = writeln!(
            body,
            "    if (row < {}u * UNITS) {{ history[history_at(D_UNIT_AT, 0u, 0u, row, quad)] = Quad(0.0); }}
    if (row < {}u * HIDDEN) {{ history[history_at(D_HIDDEN_UNIT_AT, 0u, 0u, row, quad)] = Quad(0.0); }}",
            problem.unit_gradients(),
            shape.hidden_parameters.len()
        );
    }
    body += "    if (row >= STATE_ROWS) { return; }\n    var z = Quad(0.0);\n";
    if problem.observed {
        if problem.inverts_readout() {
            // z = pinv(R) (x - d)
            body += "    if (row < UNITS) {
        z = Quad(packed[packed_base + OFFSET + row]);
        for (var o = 0u; o < OUTPUTS; o += 1u) {
            z += packed[packed_base + INVERSE + o * PADDED_UNITS + row] * trials[trial_at(INITIAL_AT, 0u, 0u, o, quad)];
        }
    }
";
        } else {
            // The observed units are the observation, the others a linear map of it.
            body += "    if (row < OBSERVED_UNITS) {
        z = trials[trial_at(INITIAL_AT, 0u, 0u, row, quad)];
    } else if (row < UNITS) {
        for (var o = 0u; o < OUTPUTS; o += 1u) {
            z += parameters[parameter_base + INITIAL + (row - OBSERVED_UNITS) * OUTPUTS + o]
                * trials[trial_at(INITIAL_AT, 0u, 0u, o, quad)];
        }
    }
";
        }
    }
    body += "    history[history_at(STATES_AT, STATE_ROWS, 0u, row, quad)] = z;\n";
    if problem.forcing {
        body +=
            "    if (row < UNITS) { history[history_at(FORCED_AT, UNITS, 0u, row, quad)] = z; }\n";
    }
    if !shape.rate_is_state {
        // A cell whose rate is not its state has one state variable.
        let parameters: Vec<String> = (0..shape.unit_parameters.len().max(1))
            .map(|k| {
                if k < shape.unit_parameters.len() {
                    format!(
                        "Quad(parameters[parameter_base + UNIT_PARAMETERS + {k}u * UNITS + row])"
                    )
                } else {
                    "Quad(0.0)".into()
                }
            })
            .collect();
        let states: Vec<&str> = (0..shape.states)
            .map(|k| if k == 0 { "z" } else { "Quad(0.0)" })
            .collect();
        let _ = writeln!(
            body,
            "    if (row < UNITS) {{
        let rate = cell_rate(array<Quad, {}>({}), array<Quad, {}>({}));
        history[history_at(RATES_AT, UNITS, 0u, row, quad)] = rate;{}
    }}",
            states.len(),
            states.join(", "),
            parameters.len(),
            parameters.join(", "),
            if problem.forcing {
                "\n        history[history_at(FORCED_RATES_AT, UNITS, 0u, row, quad)] = rate;"
            } else {
                ""
            }
        );
    }
    body += "}\n";
    kernel("start", places, writes::HISTORY, 1, &body)
}

/// y = R rate(s') + d of every step. Workgroups: blocks of (quads of outputs, quad), step, network.
pub fn readout(places: &Places) -> Kernel {
    let a = &places.problem.architecture;
    let (section, rows) = rates_of_states(&places.problem);
    let value = if a.readout == Readout::Identity {
        format!(
            "
    for (var i = 0u; i < 4u && 4u * block + i < OUTPUTS; i += 1u) {{
        history[history_at(OUTPUTS_AT, OUTPUTS, time, 4u * block + i, quad)] =
            history[history_at({section}, {rows}, time + 1u, 4u * block + i, quad)];
    }}"
        )
    } else {
        let mut out = String::new();
        for i in 0..4 {
            let bias = if a.readout == Readout::Linear {
                format!(
                    "parameters[parameter_base + READOUT_BIAS + min(4u * block + {i}u, OUTPUTS - 1u)]"
                )
            } else {
                "0.0".into()
            };
            let _ = write!(out, "\n    var y{i} = Quad({bias});");
        }
        let _ = write!(
            out,
            "
    for (var unit = 0u; unit < UNITS; unit += 1u) {{
        let w = packed[packed_base / 4u + (READOUT_COLUMNS + unit * PADDED_OUTPUTS) / 4u + block];
        let r = history[history_at({section}, {rows}, time + 1u, unit, quad)];
        y0 += w.x * r; y1 += w.y * r; y2 += w.z * r; y3 += w.w * r;
    }}"
        );
        for i in 0..4 {
            let _ = write!(
                out,
                "\n    if (4u * block + {i}u < OUTPUTS) {{ history[history_at(OUTPUTS_AT, OUTPUTS, time, 4u * block + {i}u, quad)] = y{i}; }}"
            );
        }
        out
    };
    let body = format!(
        "
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    let block = id.x / QUADS;
    let quad = id.x % QUADS;
    let time = run.begin + id.y;
    if (4u * block >= OUTPUTS) {{ return; }}
    open_network(id.z);{value}
}}
"
    );
    kernel("readout", places, writes::HISTORY, 4, &body)
}

/// Loss of every step, and its derivative by the outputs in the place of these where the gradient is wanted.
/// Workgroups: step, network.
pub fn loss(places: &Places) -> Kernel {
    let backward = places.problem.backward;
    let store = |value: &str| {
        if backward {
            format!("\n            history[at] = {value};")
        } else {
            String::new()
        }
    };
    let body = match places.problem.loss {
        // L = sum w (y - target)^2 / (outputs sum w)
        Loss::MeanSquaredError => format!(
            "
        var squares = Quad(0.0);
        for (var o = 0u; o < OUTPUTS; o += 1u) {{
            let at = history_at(OUTPUTS_AT, OUTPUTS, time, o, quad);
            let error = history[at] - trials[trial_at(TARGETS_AT, OUTPUTS, time, o, quad)];
            squares += error * error;{}
        }}
        sum += squares * weight;",
            store("(weight + weight) * error")
        ),
        // L = - sum w target . log softmax(y) / sum w
        Loss::CrossEntropy => {
            let mut out = String::from(
                "
        var largest = history[history_at(OUTPUTS_AT, OUTPUTS, time, 0u, quad)];
        for (var o = 1u; o < OUTPUTS; o += 1u) {
            largest = max(largest, history[history_at(OUTPUTS_AT, OUTPUTS, time, o, quad)]);
        }
        var total = Quad(0.0);
        var target_sum = Quad(0.0);
        var product = Quad(0.0);
        for (var o = 0u; o < OUTPUTS; o += 1u) {
            let shifted = history[history_at(OUTPUTS_AT, OUTPUTS, time, o, quad)] - largest;
            let wanted = trials[trial_at(TARGETS_AT, OUTPUTS, time, o, quad)];
            total += exp(shifted);
            target_sum += wanted;
            product += wanted * shifted;
        }
        sum += (log(total) * target_sum - product) * weight;",
            );
            if backward {
                out += "
        for (var o = 0u; o < OUTPUTS; o += 1u) {
            let at = history_at(OUTPUTS_AT, OUTPUTS, time, o, quad);
            let wanted = trials[trial_at(TARGETS_AT, OUTPUTS, time, o, quad)];
            history[at] = weight * (exp(history[at] - largest) / total * target_sum - wanted);
        }";
            }
            out
        }
    };
    let body = format!(
        "
var<workgroup> partial: array<f32, {LOSS_THREADS}>;
@compute @workgroup_size({LOSS_THREADS})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {{
    open_network(group.y);
    let time = run.begin + group.x;
    let scale = trials[trial_at(SCALE_AT, 0u, 0u, 0u, 0u)].x;
    var sum = Quad(0.0);
    for (var quad = thread; quad < QUADS; quad += {LOSS_THREADS}u) {{
        let weight = trials[trial_at(WEIGHTS_AT, 1u, time, 0u, quad)] * scale;{body}
    }}
    partial[thread] = (sum.x + sum.y) + (sum.z + sum.w);
    workgroupBarrier();
    for (var half = {}u; half > 0u; half /= 2u) {{
        if (thread < half) {{ partial[thread] += partial[thread + half]; }}
        workgroupBarrier();
    }}
    if (thread == 0u) {{ sums[network * SUMS_STRIDE + LOSSES_AT + time] = partial[0]; }}
}}
",
        LOSS_THREADS / 2
    );
    kernel("loss", places, writes::HISTORY | writes::SUMS, 1, &body)
}

/// Loop iterations of an invocation of the loss kernel.
pub fn loss_iterations(places: &Places) -> usize {
    let outputs = 3 * iterations(places.problem.architecture.outputs, 0);
    iterations(places.quads.div_ceil(LOSS_THREADS), outputs) + iterations(5, 0)
}

/// The factors of the readout's gradient through the initial state, in two steps. With P = pinv(R), x the
/// observation less d, z = P x and g = dL/dz, the differential of the pseudo-inverse of a full-rank matrix
/// (Golub & Pereyra 1973) gives
///
/// ```text
/// dL/dR = - (P'g) z' + (x - R z) (P P'g)' + (P'z) (g - R'P'g)'
/// dL/dd = - P'g
/// ```
pub fn initial_factors(places: &Places) -> [Kernel; 2] {
    let bias = if places.problem.architecture.readout == Readout::Linear {
        "parameters[parameter_base + READOUT_BIAS + o]"
    } else {
        "0.0"
    };
    let left = include_str!("shaders/initial_left.wgsl").replace("BIAS_OF_OUTPUT", bias);
    [
        kernel("initial_left", places, writes::HISTORY, 1, &left),
        kernel(
            "initial_right",
            places,
            writes::HISTORY,
            1,
            include_str!("shaders/initial_right.wgsl"),
        ),
    ]
}

/// How large a gradient product is.
pub struct ProductSize {
    /// Workgroups along its tiles.
    pub tiles: usize,
    /// Slices of (time, trial), and quads of each.
    pub slices: (usize, usize),
    /// Multiplications of one network for each step and trial.
    pub work: usize,
}

/// What one gradient product is made of. Operands are expressions of `time`, `quad` and `row` or `column`.
struct ProductText {
    label: &'static str,
    rows: usize,
    columns: usize,
    left: String,
    right: String,
    /// Place of (row, column) in the flat gradient.
    place: String,
    /// A few more columns, which would take a tile of their own: those of the inputs, and of the ones that a bias
    /// is multiplied by.
    more: Option<MoreColumns>,
    over: Over,
}

struct MoreColumns {
    count: usize,
    right: String,
    place: String,
}

/// What a product sums over.
#[derive(Clone, Copy, PartialEq)]
enum Over {
    /// All steps and trials.
    TimeAndTrials,
    /// The trials of one section, in the first of the slices.
    Trials,
    /// The trials of so many sections that belong to the initial state, in slices of their own.
    Initial(usize),
}

/// All gradient products of a problem: dP[m][n] = sum over (time, trial) of left[m] right[n]; those of
/// W, U and b are not among them where the sweep has gathered them.
pub fn products(places: &Places, gathered: bool) -> Vec<(Kernel, ProductSize)> {
    let problem = &places.problem;
    let a = &problem.architecture;
    let shape = a.cell.shape();
    let hidden = if shape.has_hidden { a.hidden } else { 0 };
    let gate_rows = shape.gates * a.units;
    let (before, before_rows) = rates_before(problem);
    let (after, after_rows) = rates_of_states(problem);
    let gates = "history[history_at(TAPE_AT, TAPE_ROWS, time, row, quad)]";
    let mut texts = Vec::new();
    // dU = dzx x', db = dzx 1
    let apart = problem
        .input_gate_rows
        .iter()
        .enumerate()
        .any(|(gate, &row)| gate != row);
    let inputs_and_bias = MoreColumns {
        count: problem.input_columns(),
        right: with_ones(
            a.inputs,
            "trials[trial_at(INPUTS_AT, INPUTS, time, column, quad)]",
        ),
        place: "select(BIAS + row, INPUT_WEIGHTS + row * INPUTS + column, column < INPUTS)".into(),
    };
    let (with_recurrent, by_itself) = match inputs_and_bias.count {
        _ if gathered => (None, None),
        0 => (None, None),
        1..=MORE if !apart => (Some(inputs_and_bias), None),
        _ => (None, Some(inputs_and_bias)),
    };
    // dW = dzr q'
    texts.push(ProductText {
        label: "recurrent_gradient",
        rows: if gathered { 0 } else { gate_rows },
        columns: a.recurrent_columns(),
        left: gates.into(),
        right: if shape.has_hidden {
            "history[history_at(HIDDEN_VALUES_AT, HIDDEN, time, column, quad)]".into()
        } else {
            format!("history[history_at({before}, {before_rows}, time, column, quad)]")
        },
        place: "RECURRENT + row * COLUMNS + column".into(),
        more: with_recurrent,
        over: Over::TimeAndTrials,
    });
    // dWh = dg r'
    texts.push(ProductText {
        label: "hidden_gradient",
        rows: hidden,
        columns: a.units,
        left: "history[history_at(HIDDEN_ARGUMENTS_AT, HIDDEN, time, row, quad)]".into(),
        right: format!("history[history_at({before}, {before_rows}, time, column, quad)]"),
        place: "HIDDEN_WEIGHTS + row * UNITS + column".into(),
        more: None,
        over: Over::TimeAndTrials,
    });
    if let Some(columns) = by_itself {
        let mut chosen = format!("{}u", problem.input_gate_rows.len());
        for (gate, row) in problem.input_gate_rows.iter().enumerate() {
            chosen = format!("select({chosen}, {row}u, row / UNITS == {gate}u)");
        }
        texts.push(ProductText {
            label: "input_gradient",
            rows: gate_rows,
            columns: columns.count,
            left: format!(
                "history[history_at(TAPE_AT, TAPE_ROWS, time, {chosen} * UNITS + row % UNITS, quad)]"
            ),
            right: columns.right,
            place: columns.place,
            more: None,
            over: Over::TimeAndTrials,
        });
    }
    let ones = |place: &str| {
        (a.readout == Readout::Linear).then(|| MoreColumns {
            count: 1,
            right: "Quad(1.0)".into(),
            place: place.to_owned(),
        })
    };
    // dR = dy r', dd = dy 1
    if a.readout != Readout::Identity {
        texts.push(ProductText {
            label: "readout_gradient",
            rows: a.outputs,
            columns: a.units,
            left: "history[history_at(OUTPUTS_AT, OUTPUTS, time, row, quad)]".into(),
            right: format!("history[history_at({after}, {after_rows}, time + 1u, column, quad)]"),
            place: "READOUT + row * UNITS + column".into(),
            more: ones("READOUT_BIAS + row"),
            over: Over::TimeAndTrials,
        });
    }
    // What the sweep has added up trial by trial.
    texts.push(ProductText {
        label: "unit_gradient",
        rows: problem.unit_gradients() * a.units,
        columns: 1,
        left: "history[history_at(D_UNIT_AT, 0u, 0u, row, quad)]".into(),
        right: "Quad(1.0)".into(),
        place: "UNIT_PARAMETERS + row".into(),
        more: None,
        over: Over::Trials,
    });
    texts.push(ProductText {
        label: "hidden_unit_gradient",
        rows: shape.hidden_parameters.len() * hidden,
        columns: 1,
        left: "history[history_at(D_HIDDEN_UNIT_AT, 0u, 0u, row, quad)]".into(),
        right: "Quad(1.0)".into(),
        place: "HIDDEN_PARAMETERS + row".into(),
        more: None,
        over: Over::Trials,
    });
    if problem.inverts_readout() {
        let mut bias = ones("READOUT_BIAS + row");
        if let Some(bias) = &mut bias {
            // Of the three sections, the first alone has a part in the bias.
            bias.right = "select(Quad(0.0), Quad(1.0), time == 0u)".into();
        }
        texts.push(ProductText {
            label: "initial_readout_gradient",
            rows: a.outputs,
            columns: a.units,
            left: "history[history_at(LEFT_AT, OUTPUTS, time, row, quad)]".into(),
            right: "history[history_at(RIGHT_AT, UNITS, time, column, quad)]".into(),
            place: "READOUT + row * UNITS + column".into(),
            more: bias,
            over: Over::Initial(3),
        });
    } else if problem.observed {
        texts.push(ProductText {
            label: "initial_gradient",
            rows: a.units - a.outputs.min(a.units),
            columns: a.outputs,
            left: "history[history_at(D_STATE_AT, 0u, 0u, OBSERVED_UNITS + row, quad)]".into(),
            right: "trials[trial_at(INITIAL_AT, 0u, 0u, column, quad)]".into(),
            place: "INITIAL + row * OUTPUTS + column".into(),
            more: None,
            over: Over::Initial(1),
        });
    }
    texts
        .iter()
        .filter(|text| text.rows > 0 && text.columns > 0)
        .map(|text| product(places, text))
        .collect()
}

/// A right operand of `count` columns, and one column of ones after them.
fn with_ones(count: usize, operand: &str) -> String {
    if count == 0 {
        "Quad(1.0)".into()
    } else {
        // `select` would read beyond the array.
        let clamped = operand.replace("column,", &format!("min(column, {}u),", count - 1));
        format!("select(Quad(1.0), {clamped}, column < {count}u)")
    }
}

/// How a product is cut: a thread sums `m` x `n` numbers, and `tm` x `tn` threads share a tile.
struct Tile {
    m: usize,
    n: usize,
    tm: usize,
    tn: usize,
}

/// The largest blocks of a thread that leave two warps of threads to a tile of up to 64 rows and columns: every
/// operand that a thread reads from workgroup memory is used `m` or `n` times.
fn tile(rows: usize, columns: usize) -> Tile {
    let along = |count: usize, each: usize| count.div_ceil(each).next_power_of_two().min(64 / each);
    let whole = |count: usize| count.next_power_of_two();
    let blocks: &[(usize, usize)] = match (rows, columns) {
        // A few rows or columns are all of one thread's.
        (..=4, _) => &[(whole(rows), 1), (1, 1)],
        (_, ..=4) => &[(1, whole(columns)), (1, 1)],
        _ => &[(8, 4), (4, 4), (4, 2), (2, 2), (2, 1), (1, 1)],
    };
    let of = |&(m, n): &(usize, usize)| Tile {
        m,
        n,
        tm: along(rows, m),
        tn: along(columns, n),
    };
    let mut tiles = blocks.iter().map(of);
    let smallest = tiles.next_back();
    tiles
        .find(|tile| tile.tm * tile.tn >= 64)
        .or(smallest)
        .unwrap_or(Tile {
            m: 1,
            n: 1,
            tm: along(rows, 1),
            tn: along(columns, 1),
        })
}

fn product(places: &Places, text: &ProductText) -> (Kernel, ProductSize) {
    let Tile { m, n, tm, tn } = tile(text.rows, text.columns);
    let threads = tm * tn;
    let (tile_m, tile_n) = (m * tm, n * tn);
    let tiles_n = text.columns.div_ceil(tile_n);
    let tiles = text.rows.div_ceil(tile_m) * tiles_n;
    let s = &places.sums;
    let (first_slice, slices, slice_quads, total) = match text.over {
        Over::TimeAndTrials => (0, s.slices, s.slice_quads, places.steps * places.quads),
        Over::Trials => (0, s.slices, s.slice_quads, places.quads),
        Over::Initial(sections) => (
            s.slices,
            s.initial_slices,
            s.initial_slice_quads,
            sections * places.quads,
        ),
    };
    let more = text.more.as_ref().map_or(0, |more| more.count);
    // An operand is a tile of rows or columns, `DEPTH` quads deep. Neighbouring threads read neighbouring quads; the
    // stride of the tile in workgroup memory is odd, so that they write to different banks.
    struct Operand<'a> {
        name: &'static str,
        index: &'static str,
        first: &'static str,
        count: usize,
        limit: usize,
        value: &'a str,
    }
    let mut operands = vec![
        Operand {
            name: "left",
            index: "row",
            first: "first_row",
            count: tile_m,
            limit: text.rows,
            value: &text.left,
        },
        Operand {
            name: "right",
            index: "column",
            first: "first_column",
            count: tile_n,
            limit: text.columns,
            value: &text.right,
        },
    ];
    if let Some(columns) = &text.more {
        operands.push(Operand {
            name: "more",
            index: "column",
            first: "0u",
            count: columns.count,
            limit: columns.count,
            value: &columns.right,
        });
    }
    let mut body = String::new();
    let (mut load, mut store) = (String::new(), String::new());
    for operand in &operands {
        let Operand {
            name,
            index,
            first,
            count,
            limit,
            value,
        } = operand;
        let stride = count + 1;
        let _ = write!(
            body,
            "
var<workgroup> {name}: array<Quad, {}>;
// Nothing beyond the last row or column, nor beyond the end of the slice.
fn load_{name}(place: u32, q: u32, end: u32) -> Quad {{
    let {index} = min(place, {}u);
    let within = min(q, {}u);
    let time = within / QUADS;
    let quad = within % QUADS;
    return select(Quad(0.0), {value}, q < end && place < {limit}u);
}}",
            stride * DEPTH,
            limit - 1,
            total.max(1) - 1,
        );
        for e in 0..(count * DEPTH).div_ceil(threads) {
            let at = format!("(thread + {}u)", e * threads);
            let _ = write!(
                load,
                "\n        {name}_{e} = load_{name}({first} + {at} / {DEPTH}u, next + {at} % {DEPTH}u, end);"
            );
            let _ = write!(
                store,
                "\n        if ({at} < {}u) {{ {name}[{at} % {DEPTH}u * {stride}u + {at} / {DEPTH}u] = {name}_{e}; }}",
                count * DEPTH
            );
        }
    }
    let _ = write!(
        body,
        "
@compute @workgroup_size({threads})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {{
    open_network(group.z);
    let first_row = group.x / {tiles_n}u * {tile_m}u;
    let first_column = group.x % {tiles_n}u * {tile_n}u;
    let slice = run.begin + group.y;
    let begin = slice * {slice_quads}u;
    let end = min(begin + {slice_quads}u, {total}u);
    let thread_row = thread / {tn}u;
    let thread_column = thread % {tn}u;"
    );
    for operand in &operands {
        for e in 0..(operand.count * DEPTH).div_ceil(threads) {
            let _ = write!(body, "\n    var {}_{e} = Quad(0.0);", operand.name);
        }
    }
    for i in 0..m {
        for j in 0..n {
            let _ = write!(body, "\n    var sum_{i}_{j} = 0.0;");
        }
    }
    // The sums of the further columns go round among the threads of the first tile of columns.
    let rounds = (tile_m * more).div_ceil(threads);
    for round in 0..rounds {
        let _ = write!(body, "\n    var more_sum_{round} = 0.0;");
    }
    // What the next chunk needs is asked for before the work on this one.
    let _ = write!(
        body,
        "
    var next = begin;
    if (begin < end) {{{load}
    }}
    for (var chunk = begin; chunk < end; chunk += {DEPTH}u) {{{store}
        workgroupBarrier();
        next = chunk + {DEPTH}u;{load}
        for (var depth = 0u; depth < {DEPTH}u; depth += 1u) {{"
    );
    for i in 0..m {
        let _ = write!(
            body,
            "\n            let l{i} = left[depth * {}u + thread_row + {}u];",
            tile_m + 1,
            i * tm
        );
    }
    for j in 0..n {
        let _ = write!(
            body,
            "\n            let r{j} = right[depth * {}u + thread_column + {}u];",
            tile_n + 1,
            j * tn
        );
    }
    for i in 0..m {
        for j in 0..n {
            // Four multiply-adds: `dot` would be a multiplication and an addition more.
            for x in ["x", "y", "z", "w"] {
                let _ = write!(body, "\n            sum_{i}_{j} += l{i}.{x} * r{j}.{x};");
            }
        }
    }
    if more > 0 {
        body += "\n            if (first_column == 0u) {";
        for round in 0..rounds {
            let item = format!("min(thread + {}u, {}u)", round * threads, tile_m * more - 1);
            let _ = write!(
                body,
                "\n                more_sum_{round} += dot(left[depth * {}u + {item} / {more}u], more[depth * {}u + {item} % {more}u]);",
                tile_m + 1,
                more + 1,
            );
        }
        body += "\n            }";
    }
    body += "
        }
        workgroupBarrier();
    }";
    let _ = write!(
        body,
        "\n    let partial = network * SUMS_STRIDE + ({first_slice}u + slice) * PARAMETER_STRIDE;"
    );
    for i in 0..m {
        for j in 0..n {
            let _ = write!(
                body,
                "
    {{
        let row = first_row + thread_row + {}u;
        let column = first_column + thread_column + {}u;
        if (row < {}u && column < {}u) {{ sums[partial + {}] = sum_{i}_{j}; }}
    }}",
                i * tm,
                j * tn,
                text.rows,
                text.columns,
                text.place
            );
        }
    }
    if let Some(columns) = &text.more {
        for round in 0..rounds {
            let _ = write!(
                body,
                "
    {{
        let item = thread + {}u;
        let row = first_row + item / {more}u;
        let column = item % {more}u;
        if (first_column == 0u && item < {}u && row < {}u) {{ sums[partial + {}] = more_sum_{round}; }}
    }}",
                round * threads,
                tile_m * more,
                text.rows,
                columns.place
            );
        }
    }
    body += "\n}\n";
    (
        kernel(text.label, places, writes::SUMS, 1, &body),
        ProductSize {
            tiles,
            slices: (slices, slice_quads),
            work: text.rows * (text.columns + more),
        },
    )
}

/// Adds the partial gradients of all slices, in order, and leaves the largest magnitude and the scaled sum of
/// squares of each block of parameters. Workgroups: block, network.
pub fn reduce(places: &Places, trains: bool, gathered: bool) -> Kernel {
    let layout = &places.layout;
    // Only these have a part in the slices of the initial state.
    let initial = [&layout.readout, &layout.readout_bias, &layout.initial]
        .iter()
        .filter(|range| !range.is_empty())
        .map(|range| format!("(index >= {}u && index < {}u)", range.start, range.end))
        .collect::<Vec<_>>();
    let with_initial = if places.problem.observed && !initial.is_empty() {
        format!(
            "
        if ({}) {{
            for (var slice = 0u; slice < INITIAL_SLICES; slice += 1u) {{
                value += sums[base + (SLICES + slice) * PARAMETER_STRIDE + index];
            }}
        }}",
            initial.join(" || ")
        )
    } else {
        String::new()
    };
    // The map from an observation to hidden units has no part in the other slices, and unit parameters that are
    // not trained have none anywhere.
    let absent = |range: &std::ops::Range<usize>| {
        format!("(index < {}u || index >= {}u)", range.start, range.end)
    };
    let mut in_slices = vec!["true".to_owned()];
    if !layout.initial.is_empty() {
        in_slices.push(absent(&layout.initial));
    }
    if places.problem.unit_gradients() == 0 && !layout.unit.is_empty() {
        in_slices.push(absent(&layout.unit));
    }
    let slices = if gathered {
        let ranges = [&layout.recurrent, &layout.input, &layout.bias];
        let among: Vec<String> = ranges
            .iter()
            .filter(|range| !range.is_empty())
            .map(|range| format!("(index >= {}u && index < {}u)", range.start, range.end))
            .collect();
        format!(
            "select(SLICES, {}u, {})",
            gathered_slices(places),
            among.join(" || ")
        )
    } else {
        "SLICES".to_owned()
    };
    let only_trained = if trains {
        "
        let pull = run.pulls_at + 2u * index;
        let p = parameters[(run.first_network + group.y) * PARAMETER_STRIDE + index];
        value += bitcast<f32>(table[pull]) * p - bitcast<f32>(table[pull + 1u]);
        if (table[run.trainable_at + index] == 0u) { value = 0.0; }"
    } else {
        ""
    };
    let body = include_str!("shaders/reduce.wgsl")
        .replace("WITH_INITIAL", &with_initial)
        .replace("IN_SLICES", &in_slices.join(" && "))
        .replace("COUNT_OF_SLICES", &slices)
        .replace("ONLY_TRAINED", only_trained)
        .replace("BLOCK", &BLOCK.to_string());
    kernel("reduce", places, writes::SUMS, 1, &body)
}

/// Where the trained state of a network lies, and what its control words say.
fn control_words(places: &Places) -> String {
    let mut out = String::new();
    for (name, at) in [
        ("TRAINING_STRIDE", places.training.stride()),
        ("CONTROL", places.training.control()),
        ("TRAINS", control::TRAINS),
        ("FACTOR", control::FACTOR),
        ("ACTION", control::ACTION),
        ("MADE", control::MADE),
        ("SCALE", control::SCALE),
    ] {
        let _ = writeln!(out, "const {name}: u32 = {at}u;");
    }
    for (name, value) in [
        ("NOTHING", action::NOTHING),
        ("APPLY", action::APPLY),
        ("RESTORE", action::RESTORE),
    ] {
        let _ = writeln!(out, "const {name}: f32 = {value:?};");
    }
    out
}

/// The loss of the batch, the norm of the gradient, and whether the update is made. One workgroup per network.
pub fn decide(places: &Places) -> Kernel {
    kernel(
        "decide",
        places,
        writes::TRAINING,
        1,
        &(control_words(places) + include_str!("shaders/decide.wgsl")),
    )
}

/// The optimiser's rule for every parameter. Workgroups: block, network.
pub fn update(
    places: &Places,
    optimiser: &Optimiser,
    leak: Option<&std::ops::Range<usize>>,
) -> Kernel {
    let nesterov = optimiser.nesterov;
    let rule = match optimiser.rule {
        Rule::Sgd => format!(
            "
    m = select(momentum * m + g, g, first_update);
    p -= rate * {};",
            if nesterov { "(g + momentum * m)" } else { "m" }
        ),
        Rule::Adam | Rule::AdamW => "
    m += rest1 * (g - m);
    v = beta2 * v + rest2 * g * g;
    p -= step * m / (sqrt(v) * root2 + epsilon);"
            .into(),
        Rule::RAdam => "
    m += rest1 * (g - m);
    v = beta2 * v + rest2 * g * g;
    if (rectified) {
        p -= rectified_step * m / (sqrt(v) + epsilon);
    } else {
        p -= step * m;
    }"
        .into(),
    };
    let decay = if optimiser.rule == Rule::AdamW {
        "p *= shrink;"
    } else {
        "g += decay * p;"
    };
    let clamp = match leak {
        // dt / tau: beyond these bounds a leak has no meaning.
        Some(leak) => format!(
            "if (index >= {}u && index < {}u) {{ p = clamp(p, 1e-6, 1.0); }}",
            leak.start, leak.end
        ),
        None => String::new(),
    };
    // Rounded after the subtraction: 1 - 0.999 in f32 is wrong in its fifth digit.
    let constants = [
        ("rest1", (1.0 - optimiser.beta1) as f32),
        ("rest2", (1.0 - optimiser.beta2) as f32),
        ("beta2", optimiser.beta2 as f32),
        ("epsilon", optimiser.epsilon as f32),
        ("decay", optimiser.weight_decay as f32),
        ("momentum", optimiser.momentum as f32),
    ]
    .iter()
    .map(|(name, value)| format!("    let {name} = bitcast<f32>({}u);\n", value.to_bits()))
    .collect::<String>();
    let body = (control_words(places) + include_str!("shaders/update.wgsl"))
        .replace("CONSTANTS", &constants)
        .replace("DECAY", decay)
        .replace("RULE", &rule)
        .replace("CLAMP", &clamp)
        .replace("BLOCK", &BLOCK.to_string());
    kernel(
        "update",
        places,
        writes::PARAMETERS | writes::TRAINING,
        1,
        &body,
    )
}
