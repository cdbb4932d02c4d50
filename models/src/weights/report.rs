//! What was understood of a weights file, in lines for the user to check.

use super::place;
use crate::architecture::{Architecture, CellKind, Readout};
use crate::cells::Layer;
use nullcline_data::tensors::Tensors;

/// Arrays that are not used are listed by name up to this many.
const MAX_UNUSED: usize = 20;

/// What has been taken for what, in the order of the parameters.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<(String, String)>,
    notes: Vec<String>,
}

impl Report {
    /// An array with what it was taken for; details follow behind semicolons.
    pub(crate) fn array(&mut self, name: &str, role: &str, details: &[String]) {
        let mut text = role.to_owned();
        for detail in details {
            text.push_str("; ");
            text.push_str(detail);
        }
        self.rows.push((name.to_owned(), text));
    }

    /// A line about something that no array holds.
    pub(crate) fn note(&mut self, line: impl Into<String>) {
        self.notes.push(line.into());
    }

    /// All lines, and the names of the arrays that were not used.
    ///
    /// The network first: cell, sizes, equations. Then a row for every array of the file, then the notes.
    pub(crate) fn finish(
        self,
        tensors: &Tensors,
        architecture: &Architecture,
    ) -> (Vec<String>, Vec<String>) {
        let ignored: Vec<String> = tensors
            .names()
            .filter(|name| self.rows.iter().all(|(used, _)| used != name))
            .map(str::to_owned)
            .collect();
        let mut table = vec![(
            "array".to_owned(),
            "shape".to_owned(),
            "taken for".to_owned(),
        )];
        let unused = ignored
            .iter()
            .take(MAX_UNUSED)
            .map(|name| (name.clone(), "not used".to_owned()));
        for (name, role) in self.rows.into_iter().chain(unused) {
            let shape = tensors
                .get(&name)
                .map_or(String::new(), |tensor| format!("{:?}", tensor.shape()));
            table.push((name, shape, role));
        }
        let width = |text: fn(&(String, String, String)) -> &String| {
            table
                .iter()
                .map(|row| text(row).chars().count())
                .max()
                .unwrap_or(0)
        };
        let (name_width, shape_width) = (width(|row| &row.0), width(|row| &row.1));

        let mut lines = vec![summary(architecture)];
        if let Some((_, step, _)) = EQUATIONS
            .iter()
            .find(|(cell, _, _)| *cell == architecture.cell)
        {
            lines.push(format!("step:    {step}"));
        }
        lines.push(format!("readout: {}", readout(architecture)));
        lines.push(String::new());
        for (name, shape, role) in &table {
            lines.push(format!("{name:name_width$}  {shape:shape_width$}  {role}"));
        }
        if ignored.len() > MAX_UNUSED {
            let more = ignored.len() - MAX_UNUSED;
            lines.push(format!(
                "and {more} more arrays of {}, not used",
                place(tensors)
            ));
        }
        if !self.notes.is_empty() {
            lines.push(String::new());
            lines.extend(self.notes);
        }
        (lines, ignored)
    }
}

/// The line that says what a network is.
fn summary(architecture: &Architecture) -> String {
    let hidden = match (architecture.cell.shape().layer, architecture.hidden) {
        (Layer::Hidden, hidden) => format!(", {hidden} hidden units"),
        (Layer::Bases, bases) => format!(", {bases} basis functions"),
        _ => String::new(),
    };
    format!(
        "cell {}: {} units{hidden}, inputs {}, outputs {}",
        architecture.cell.name(),
        architecture.units,
        architecture.inputs,
        architecture.outputs
    )
}

/// A step of each cell, and what the readout sees, in the symbols of [`symbol`].
const EQUATIONS: &[(CellKind, &str, &str)] = &[
    (CellKind::VanillaTanh, "h' = tanh(W h + U x + b)", "h"),
    (CellKind::VanillaRelu, "h' = relu(W h + U x + b)", "h"),
    (
        CellKind::LeakyRateTanh,
        "r' = (1 - a) r + a tanh(W r + U x + b)",
        "r",
    ),
    (
        CellKind::LeakyRateRelu,
        "r' = (1 - a) r + a relu(W r + U x + b)",
        "r",
    ),
    (
        CellKind::LeakyCurrentTanh,
        "h' = (1 - a) h + a (W tanh(h) + U x + b)",
        "tanh(h)",
    ),
    (
        CellKind::LeakyCurrentRelu,
        "h' = (1 - a) h + a (W relu(h) + U x + b)",
        "relu(h)",
    ),
    (
        CellKind::Gru,
        "r, z = sigma(W h + U x + b);  n = tanh(U x + b + r (W h + c));  h' = (1 - z) n + z h",
        "h",
    ),
    (
        CellKind::Lstm,
        "i, f, o = sigma(W h + U x + b);  g = tanh(W h + U x + b);  c' = f c + i g;  h' = o tanh(c')",
        "h",
    ),
    (
        CellKind::ShallowPlrnn,
        "z' = A z + W1 relu(W2 z + h2) + h1 + C x",
        "z",
    ),
    (
        CellKind::ClippedShallowPlrnn,
        "z' = A z + W1 [relu(W2 z + h2) - relu(W2 z)] + h1 + C x",
        "z",
    ),
    (CellKind::Plrnn, "z' = A z + W relu(z) + h + C x", "z"),
    (
        CellKind::MeanCentredPlrnn,
        "z' = A z + W relu(z - mean(z)) + h + C x",
        "z",
    ),
    (
        CellKind::DendriticPlrnn,
        "z' = A z + W sum_b alpha_b relu(z - H_b) + h + C x",
        "z",
    ),
    (
        CellKind::ClippedDendriticPlrnn,
        "z' = A z + W sum_b alpha_b [relu(z - H_b) - relu(z)] + h + C x",
        "z",
    ),
    (
        CellKind::AlmostLinearRnn,
        "z' = A z + W [z, relu(z)] + h + C x, relu in the last units alone",
        "z",
    ),
];

/// How the output is read.
fn readout(architecture: &Architecture) -> String {
    let known = EQUATIONS
        .iter()
        .find(|(cell, _, _)| *cell == architecture.cell);
    let rate = known.map_or("the rates", |(_, _, rate)| rate);
    let matrix = symbol("readout", architecture.cell);
    match architecture.readout {
        Readout::Linear => format!("y = {matrix} {rate} + d"),
        Readout::LinearWithoutBias => format!("y = {matrix} {rate}"),
        Readout::Identity if architecture.outputs == architecture.units => {
            "none, the units are the outputs".into()
        }
        Readout::Identity => format!(
            "none, the first {} units are the outputs",
            architecture.outputs
        ),
    }
}

/// The symbol of a parameter: PLRNNs have those of their literature.
pub(crate) fn symbol(parameter: &str, cell: CellKind) -> &'static str {
    let shallow = cell.shape().has_hidden;
    match (parameter, cell.is_plrnn()) {
        ("recurrent", _) => {
            if shallow {
                "W1"
            } else {
                "W"
            }
        }
        ("hidden", _) => "W2",
        ("input", false) => "U",
        ("input", true) => "C",
        ("bias", false) => "b",
        ("bias", true) => {
            if shallow {
                "h1"
            } else {
                "h"
            }
        }
        ("alphas", _) => "alpha",
        ("thresholds", _) => "H",
        ("recurrent_bias", _) => "c",
        ("leak", _) => "a",
        ("a", _) => "A",
        ("h2", _) => "h2",
        ("readout", false) => "R",
        ("readout", true) => "B",
        ("readout_bias", _) => "d",
        _ => "",
    }
}

/// What a parameter is called in the lines: `U, input`.
pub(crate) fn role(parameter: &str, cell: CellKind) -> String {
    let words = parameter.replace('_', " ");
    match symbol(parameter, cell) {
        "" => words,
        symbol if symbol == words => words,
        symbol => format!("{symbol}, {words}"),
    }
}
