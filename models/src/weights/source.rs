//! The arrays of a weights file, found by a model file and brought into this program's orientation and order.

use super::model_file::FileKind;
use super::report::{Report, role};
use super::{fault, listed, place};
use crate::architecture::CellKind;
use nullcline_data::settings::{Document, Settings};
use nullcline_data::tensors::{Tensor, Tensors};
use nullcline_data::{Error, Result};

/// A weights file with the model file that explains it.
pub(super) struct Source<'a> {
    pub(super) tensors: &'a Tensors,
    pub(super) document: &'a Document,
    pub(super) kind: &'static FileKind,
    /// The top level of the model file.
    pub(super) settings: &'a Settings,
    /// Its table `[arrays]`.
    pub(super) arrays: &'a Settings,
    pub(super) cell: CellKind,
}

/// A matrix [to, from] in row-major order.
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) values: Vec<f64>,
    /// How it was read, for the report.
    pub(super) details: Vec<String>,
}

/// The gates of a cell and their order in the file.
pub(super) struct Gates {
    /// For each gate of the file, its place in this program's order.
    places: Vec<usize>,
    /// The names of the file's gates; empty for a cell without gates.
    names: Vec<String>,
    /// For each gate of this program, whether its rows are negated.
    negated: Vec<bool>,
}

/// The names of this program's gates, each with what else it is called.
const GRU_GATES: &[&[&str]] = &[&["r"], &["z", "u"], &["n", "h", "c"]];
const LSTM_GATES: &[&[&str]] = &[&["i"], &["f"], &["g", "c", "j"], &["o"]];

impl<'a> Source<'a> {
    /// The arrays that hold a parameter: those that the model file names, else one of the parameter's own or
    /// its usual name; none if there is none.
    pub(super) fn names(&self, parameter: &str) -> Result<Vec<&'a str>> {
        let find = |name: &str| self.tensors.names().find(|known| *known == name);
        if !self.arrays.keys().any(|key| key.name == parameter) {
            return Ok(Vec::new());
        }
        if let Some(names) = self.arrays.optional_texts(parameter) {
            let key = format!("arrays.{parameter}");
            if names.is_empty() {
                return Err(self.setting(&key, "an empty list", "the name of at least one array"));
            }
            return names
                .iter()
                .map(|name| {
                    find(name).ok_or_else(|| {
                        let all = listed(self.tensors.names());
                        let allowed = format!("an array of {}: {all}", place(self.tensors));
                        self.setting(&key, &format!("the text \"{name}\""), &allowed)
                    })
                })
                .collect();
        }
        let usual = self
            .kind
            .aliases
            .iter()
            .find(|(known, _)| *known == parameter);
        let aliases = usual.map_or(&[][..], |(_, aliases)| aliases);
        Ok(std::iter::once(&parameter)
            .chain(aliases)
            .find_map(|name| find(name))
            .into_iter()
            .collect())
    }

    /// The one array that holds a parameter.
    pub(super) fn name(&self, parameter: &str) -> Result<Option<&'a str>> {
        match self.names(parameter)?[..] {
            [] => Ok(None),
            [name] => Ok(Some(name)),
            ref names => Err(self.wrong_count(parameter, names.len(), "one array")),
        }
    }

    /// Whether the model file itself names the array of a parameter.
    pub(super) fn is_named(&self, parameter: &str) -> bool {
        self.arrays.keys().any(|key| key.name == parameter) && self.arrays.is_set(parameter)
    }

    /// Whether the model file gives a key.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.document.line(key).is_some()
    }

    /// An error about a key of the model file.
    pub(super) fn setting(&self, key: &str, found: &str, allowed: &str) -> Error {
        Error::Setting {
            file: self.document.name().into(),
            line: self.document.line(key),
            key: key.into(),
            found: found.into(),
            allowed: allowed.into(),
            hint: None,
        }
    }

    pub(super) fn wrong_count(&self, parameter: &str, found: usize, allowed: &str) -> Error {
        self.setting(
            &format!("arrays.{parameter}"),
            &format!("{found} arrays"),
            allowed,
        )
    }

    /// An array that the cell needs and the file does not have.
    pub(super) fn missing(&self, parameter: &str) -> Error {
        Error::Missing {
            file: place(self.tensors).into(),
            what: format!(
                "an array for the parameter \"{parameter}\" of cell {}: [arrays] of {} names none; the file holds {}",
                self.kind.name,
                self.document.name(),
                listed(self.tensors.names())
            ),
        }
    }

    pub(super) fn shape(&self, name: &str) -> &'a [usize] {
        self.tensors.get(name).map_or(&[], Tensor::shape)
    }

    pub(super) fn misshapen(&self, parameter: &str, name: &str, allowed: &str) -> Error {
        fault(
            self.tensors,
            format!("the shape of array \"{name}\", parameter \"{parameter}\""),
            format!("{:?}", self.shape(name)),
            allowed,
        )
    }

    /// The numbers of an array in row-major order, all finite also in 32 bits.
    fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let single = super::finite(self.tensors, name)?;
        Ok(match self.tensors.get(name) {
            Some(Tensor::F64(array)) => array.iter().copied().collect(),
            _ => single.into_iter().map(f64::from).collect(),
        })
    }

    /// Whether the matrix of a parameter is [from, to] in the file.
    fn is_from_to(&self, parameter: &str) -> bool {
        let exception = self
            .settings
            .texts("transposed")
            .iter()
            .any(|name| name == parameter);
        (self.settings.text("orientation") == "from_to") != exception
    }

    /// Checks that `transposed` names matrices.
    pub(super) fn check_transposed(&self) -> Result<()> {
        const MATRICES: [&str; 8] = [
            "recurrent",
            "hidden",
            "input",
            "input_and_recurrent",
            "a_and_recurrent",
            "thresholds",
            "readout",
            "initial",
        ];
        let known: Vec<&str> = self
            .arrays
            .keys()
            .map(|key| key.name)
            .filter(|name| MATRICES.contains(name))
            .collect();
        match self
            .settings
            .texts("transposed")
            .iter()
            .find(|name| !known.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(name) => {
                Err(self.setting("transposed", &format!("\"{name}\""), &known.join(", ")))
            }
        }
    }

    /// An array as a matrix [to, from], whatever its orientation in the file.
    ///
    /// `fits` says of rows and columns whether they can be right, `words` what they should be. Axes of length 1
    /// do not count, and a vector is a matrix of one row or column, whichever fits.
    pub(super) fn matrix(
        &self,
        parameter: &str,
        name: &str,
        words: [&str; 2],
        fits: impl Fn(usize, usize) -> bool,
    ) -> Result<Matrix> {
        let from_to = self.is_from_to(parameter);
        let shape = self.shape(name);
        let long: Vec<usize> = shape.iter().copied().filter(|&n| n != 1).collect();
        let whole = |rows, columns, values| {
            Ok(Matrix {
                rows,
                columns,
                values,
                details: Vec::new(),
            })
        };
        let mut hint = "";
        match (shape, &long[..]) {
            // One row or column is the same numbers either way round.
            (_, [] | [_]) => {
                let length = long.first().copied().unwrap_or(1);
                let (rows, columns) = match (shape, from_to) {
                    ([rows, columns], false) | ([columns, rows], true) => (*rows, *columns),
                    _ => (length, 1),
                };
                for (rows, columns) in [(rows, columns), (columns, rows)] {
                    if fits(rows, columns) {
                        return whole(rows, columns, self.numbers(name)?);
                    }
                }
            }
            (_, &[first, second]) => {
                let (rows, columns) = if from_to {
                    (second, first)
                } else {
                    (first, second)
                };
                if fits(rows, columns) {
                    let values = self.numbers(name)?;
                    let mut details = Vec::new();
                    let values = if from_to {
                        details.push("transposed".to_owned());
                        (0..rows * columns)
                            .map(|place| values[place % columns * rows + place / columns])
                            .collect()
                    } else {
                        values
                    };
                    if rows == columns {
                        let order = if from_to { "[from, to]" } else { "[to, from]" };
                        let who = if from_to || self.is_given("orientation") {
                            "as the model file says"
                        } else {
                            "assumed"
                        };
                        details.push(format!("square: {order} {who}, its shape cannot tell"));
                    }
                    return Ok(Matrix {
                        rows,
                        columns,
                        values,
                        details,
                    });
                }
                if fits(columns, rows) {
                    hint =
                        "; it seems to be transposed: see the keys `orientation` and `transposed`";
                }
            }
            _ => {}
        }
        let (order, [first, second]) = if from_to {
            ("[from, to]", [words[1], words[0]])
        } else {
            ("[to, from]", words)
        };
        Err(self.misshapen(
            parameter,
            name,
            &format!("[{first}, {second}], {order}{hint}"),
        ))
    }

    /// A vector of this length, up to axes of length 1.
    pub(super) fn vector(&self, parameter: &str, name: &str, length: usize) -> Result<Vec<f64>> {
        let mut long = self.shape(name).iter().filter(|&&n| n != 1);
        let found = long.next().copied().unwrap_or(1);
        if found != length || long.next().is_some() {
            return Err(self.misshapen(parameter, name, &format!("[{length}]")));
        }
        self.numbers(name)
    }

    /// A vector of this length, a diagonal matrix of it, or, where that is allowed, one number for all.
    pub(super) fn per_unit(
        &self,
        parameter: &str,
        name: &str,
        length: usize,
        may_be_single: bool,
    ) -> Result<Vec<f64>> {
        let shape = self.shape(name);
        if may_be_single && shape.iter().product::<usize>() == 1 {
            return Ok(vec![self.numbers(name)?[0]; length]);
        }
        let long: Vec<usize> = shape.iter().copied().filter(|&n| n != 1).collect();
        if long != [length, length] || length == 1 {
            return self.vector(parameter, name, length);
        }
        let values = self.numbers(name)?;
        let is_diagonal = |place: usize| place / length == place % length;
        match values
            .iter()
            .enumerate()
            .find(|(place, value)| **value != 0.0 && !is_diagonal(*place))
        {
            None => Ok(values.into_iter().step_by(length + 1).collect()),
            Some((place, value)) => Err(fault(
                self.tensors,
                format!(
                    "array \"{name}\", parameter \"{parameter}\", row {}, column {}",
                    place / length,
                    place % length
                ),
                format!("{value}"),
                format!("[{length}], or a diagonal matrix"),
            )),
        }
    }

    /// The gates of the cell in the file's order.
    pub(super) fn gates(&self) -> Result<Gates> {
        let count = self.cell.shape().gates;
        let known = match self.cell {
            CellKind::Gru => GRU_GATES,
            CellKind::Lstm => LSTM_GATES,
            _ => {
                return Ok(Gates {
                    places: (0..count).collect(),
                    names: Vec::new(),
                    negated: vec![false; count],
                });
            }
        };
        let names = self.settings.texts("gates");
        let place = |name: &String| {
            known
                .iter()
                .position(|words| words.iter().any(|word| name.eq_ignore_ascii_case(word)))
        };
        let places: Option<Vec<usize>> = names.iter().map(place).collect();
        let complete = |places: &Vec<usize>| {
            places.len() == count && (0..count).all(|gate| places.contains(&gate))
        };
        let Some(places) = places.filter(complete) else {
            let found: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
            let words: Vec<String> = known.iter().map(|words| words.join(" or ")).collect();
            return Err(self.setting(
                "gates",
                &format!("the list [{}]", found.join(", ")),
                &format!("in the order of the file, each once: {}", words.join("; ")),
            ));
        };
        let mut negated = vec![false; count];
        if self.cell == CellKind::Gru {
            if self.settings.text("reset") == "before" {
                return Err(self.setting(
                    "reset",
                    "\"before\"",
                    "\"after\": with the reset gate before the recurrent product, W (r h), the network is another \
                     one, and no cell here computes it; its weights would not do what they did",
                ));
            }
            negated[1] = self.settings.text("update_gate") == "new";
        }
        Ok(Gates {
            places,
            names: names.to_vec(),
            negated,
        })
    }

    /// The matrices of all gates one below the other in this program's order, from one stacked array or one
    /// array for each gate; `fits` and `words` are of a single gate. `None` if there is no array.
    pub(super) fn stacked(
        &self,
        parameter: &str,
        gates: &Gates,
        words: [&str; 2],
        fits: impl Fn(usize, usize) -> bool,
        report: &mut Report,
    ) -> Result<Option<Matrix>> {
        let names = self.names(parameter)?;
        let count = gates.places.len();
        let role = role(parameter, self.cell);
        let mut whole = match names[..] {
            [] => return Ok(None),
            [name] => {
                let rows = match count {
                    1 => words[0].to_owned(),
                    _ => format!("{count} * {}", words[0]),
                };
                let matrix = self.matrix(parameter, name, [&rows, words[1]], |rows, columns| {
                    rows.is_multiple_of(count) && fits(rows / count, columns)
                })?;
                let mut details = matrix.details.clone();
                details.extend(gates.order());
                report.array(name, &role, &details);
                matrix
            }
            _ if names.len() == count => {
                let mut whole: Option<Matrix> = None;
                for (name, gate) in names.iter().zip(&gates.names) {
                    let matrix = self.matrix(parameter, name, words, |rows, columns| {
                        fits(rows, columns)
                            && whole.as_ref().is_none_or(|first| first.columns == columns)
                    })?;
                    report.array(name, &format!("{role} of gate {gate}"), &matrix.details);
                    match &mut whole {
                        None => whole = Some(matrix),
                        Some(whole) => {
                            whole.rows += matrix.rows;
                            whole.values.extend(matrix.values);
                        }
                    }
                }
                match whole {
                    Some(whole) => whole,
                    None => return Ok(None),
                }
            }
            _ => {
                let allowed = match count {
                    1 => "one array".to_owned(),
                    _ => format!("one stacked array, or {count}, one for each gate"),
                };
                return Err(self.wrong_count(parameter, names.len(), &allowed));
            }
        };
        whole.values = gates.arranged(&whole.values);
        Ok(Some(whole))
    }

    /// The vectors of all gates one behind the other in this program's order, from one array or one for each.
    pub(super) fn stacked_vector(
        &self,
        parameter: &str,
        names: &[&str],
        gates: &Gates,
        units: usize,
        role: &str,
        report: &mut Report,
    ) -> Result<Vec<f64>> {
        let mut values = Vec::new();
        match names {
            [name] => {
                values = self.vector(parameter, name, gates.places.len() * units)?;
                report.array(name, role, &gates.order());
            }
            _ => {
                for (name, gate) in names.iter().zip(&gates.names) {
                    values.extend(self.vector(parameter, name, units)?);
                    report.array(name, &format!("{role} of gate {gate}"), &[]);
                }
            }
        }
        Ok(gates.arranged(&values))
    }

    /// The numbers of an array of two rows, [2, length].
    pub(super) fn two_rows(&self, name: &str, length: usize) -> Result<Option<[Vec<f64>; 2]>> {
        let shape = self.shape(name);
        if shape != [2, length] {
            return Ok(None);
        }
        let mut first = self.numbers(name)?;
        let second = first.split_off(length);
        Ok(Some([first, second]))
    }
}

impl Gates {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.places.len()
    }

    /// Whether a gate has the opposite sense in the file.
    pub(super) fn any_negated(&self) -> bool {
        self.negated.contains(&true)
    }

    /// Blocks of the file's order in this program's, with the sign of each.
    pub(super) fn arranged(&self, values: &[f64]) -> Vec<f64> {
        let block = values.len() / self.places.len();
        let mut arranged = vec![0.0; values.len()];
        for (gate, place) in self.places.iter().enumerate() {
            let source = &values[gate * block..(gate + 1) * block];
            let sign = if self.negated[*place] { -1.0 } else { 1.0 };
            for (target, value) in arranged[place * block..(place + 1) * block]
                .iter_mut()
                .zip(source)
            {
                *target = sign * value;
            }
        }
        arranged
    }

    /// The order as a detail of a stacked array.
    pub(super) fn order(&self) -> Vec<String> {
        match &self.names[..] {
            [] => Vec::new(),
            names => vec![format!("gates {}", names.join(", "))],
        }
    }
}
