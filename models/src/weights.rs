//! Networks that were trained elsewhere: from named arrays to an architecture with its parameters.
//!
//! A file that torch wrote says by its keys what it holds ([`crate::torch`]). For any other, a model file
//! (`MODEL.toml`) gives the cell and says which array is which parameter:
//!
//! ```toml
//! kind = "leaky"              # the keys of [model] in an experiment, at the top level
//! form = "current"
//! leak = 0.1                  # for every unit, where no array gives it
//!
//! [arrays]                    # parameter = "array in the weights file"
//! recurrent = "W_rec"         # matrices are [to, from]
//! input = "W_in"
//! bias = "b"
//! readout = "W_out"
//! ```
//!
//! A parameter that `[arrays]` leaves out is looked for under its own name, and for the shallow PLRNN under
//! the name in the literature (A, W1, W2, h1, h2, C, B).

use crate::architecture::{Architecture, CellKind, ParameterTensor, Readout};
use crate::registry::{self, MODELS, ModelKind};
use crate::torch;
use nullcline_data::settings::{Document, Key, Kind, Preset, Settings, Value};
use nullcline_data::tensors::Tensors;
use nullcline_data::{Error, Result};
use std::sync::LazyLock;

/// A network as it was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The cell's name in experiment files.
    pub kind: &'static str,
    /// The keys of that cell: building them with the architecture's inputs and outputs gives the
    /// architecture again.
    pub settings: Settings,
    /// Cell, sizes and readout.
    pub architecture: Architecture,
    /// The flat parameter vector; numbers in 64 bits were rounded to 32.
    pub parameters: Vec<f32>,
    /// What was taken for what, one line each, for the user to check.
    pub understood: Vec<String>,
    /// Tensors of the file that were not used.
    pub ignored: Vec<String>,
}

const MODEL_KIND: &[Key] = &[Key {
    name: "kind",
    kind: Kind::Text,
    default: Preset::Required,
    unit: "",
    doc: "The cell; `nullcline list cells` names them all.",
}];

/// The array names that are looked for besides a parameter's own, for the shallow PLRNN (Hess et al. 2023:
/// z' = A z + W1 relu(W2 z + h2) + h1 + C x, observed as B z).
const PLRNN_NAMES: &[(&str, &str)] = &[
    ("a", "A"),
    ("recurrent", "W1"),
    ("hidden", "W2"),
    ("bias", "h1"),
    ("input", "C"),
    ("readout", "B"),
];

/// The keys of `[arrays]` for each cell: the names of its parameters.
static ARRAY_KEYS: LazyLock<Vec<(CellKind, Vec<Key>)>> = LazyLock::new(|| {
    CellKind::ALL
        .iter()
        .map(|&cell| (cell, array_keys(cell)))
        .collect()
});

fn array_keys(cell: CellKind) -> Vec<Key> {
    let mut names: Vec<&'static str> = vec!["recurrent", "hidden", "input", "bias"];
    let shape = cell.shape();
    if !shape.has_hidden {
        names.retain(|name| *name != "hidden");
    }
    names.extend(shape.unit_parameters);
    names.extend(shape.hidden_parameters);
    names.extend(["readout", "readout_bias", "initial"]);
    if shape.has_hidden {
        // Their observation model has no bias.
        names.retain(|name| *name != "readout_bias");
    }
    names
        .into_iter()
        .map(|name| Key {
            name,
            kind: Kind::Text,
            default: Preset::Absent,
            unit: "",
            doc: "The array of the weights file that holds this parameter.",
        })
        .collect()
}

/// Understands the tensors of a weights file, with the model file if the user gave one.
///
/// Without a model file, or with one that names torch's cell and not the array `recurrent`, torch's keys are
/// looked for; see [`torch::import`]. A model file may then still choose the nonlinearity of `nn.RNN` and
/// the readout (`[arrays] readout = "decoder"`). Otherwise the sizes follow from the arrays: units from
/// `recurrent`, inputs from `input` (none: 0), outputs from `readout`. Without a readout array the
/// first units are the outputs: `outputs` of them, all where that is not given. Arrays may have further axes
/// of length 1. `leak` may be a single number, and a parameter per unit may be given as a diagonal matrix.
/// `relu` is [`torch::Choices::relu`] where no model file says it. A model file's table `[task]` is not looked
/// at here.
///
/// # Errors
/// What is missing, of the wrong shape or not finite, and keys of the model file that contradict the arrays.
pub fn import(
    tensors: &Tensors,
    model: Option<&Document>,
    relu: Option<bool>,
    outputs: Option<usize>,
) -> Result<Imported> {
    let Some(document) = model else {
        return torch::import(
            tensors,
            &torch::Choices {
                relu,
                readout: None,
            },
        );
    };
    document.check_tables(&["arrays", "task"])?;
    let names: Vec<&str> = MODELS.iter().map(|kind| kind.name).collect();
    let name = document.choice("kind", &names)?;
    let Some(kind) = registry::kind(&name) else {
        // `choice` has admitted the names of the registry only.
        return Err(Error::argument("key \"kind\"", name, names.join(", ")));
    };
    let mut schema = vec![MODEL_KIND];
    schema.extend(kind.keys);
    let settings = document.section("", &schema)?;
    let cell = kind.cell(&settings);
    let keys = ARRAY_KEYS
        .iter()
        .find(|(known, _)| *known == cell)
        .map_or(&[][..], |(_, keys)| keys);
    let arrays = document.section("arrays", &[keys])?;
    if torch::module_of(cell).is_some()
        && !arrays.is_set("recurrent")
        && torch::is_recognised(tensors)
    {
        let choices = torch::Choices {
            relu: document
                .line("nonlinearity")
                .map(|_| cell == CellKind::VanillaRelu)
                .or(relu),
            readout: arrays.optional_text("readout"),
        };
        let mut imported = torch::import(tensors, &choices)?;
        if imported.kind != kind.name {
            return Err(contradiction(
                document,
                "kind",
                &settings,
                imported.kind,
                tensors,
            ));
        }
        imported.settings = agreed(settings, document, &imported.settings, tensors)?;
        return Ok(imported);
    }
    Arrays {
        tensors,
        document,
        arrays: &arrays,
        cell,
    }
    .import(kind, settings, outputs)
}

/// The user's settings with those that the tensors imply, which must not contradict each other.
fn agreed(
    mut settings: Settings,
    document: &Document,
    implied: &Settings,
    tensors: &Tensors,
) -> Result<Settings> {
    for (key, value) in implied.iter() {
        let Some(value) = value else { continue };
        let given = document.line(key.name).is_some();
        if !IMPLIED.contains(&key.name) || settings.value(key.name) == Some(value) {
            continue;
        }
        if given {
            return Err(contradiction(
                document,
                key.name,
                &settings,
                &value.to_toml(),
                tensors,
            ));
        }
        settings.set(key.name, value.clone())?;
    }
    Ok(settings)
}

/// The keys whose values the tensors imply.
const IMPLIED: &[&str] = &[
    "units",
    "hidden",
    "nonlinearity",
    "bias",
    "readout",
    "observation",
];

fn contradiction(
    document: &Document,
    key: &str,
    settings: &Settings,
    implied: &str,
    tensors: &Tensors,
) -> Error {
    Error::Setting {
        file: document.name().into(),
        line: document.line(key),
        key: key.into(),
        found: settings
            .value(key)
            .map_or("nothing".into(), |value| value.to_toml())
            .into(),
        allowed: format!("{implied}, which is what {} holds", place(tensors)).into(),
        hint: None,
    }
}

/// Where tensors come from, in words.
pub(crate) fn place(tensors: &Tensors) -> &str {
    if tensors.source().is_empty() {
        "the weights"
    } else {
        tensors.source()
    }
}

/// A tensor that is not what it should be.
pub(crate) fn fault(
    tensors: &Tensors,
    what: impl Into<String>,
    found: impl Into<String>,
    allowed: impl Into<String>,
) -> Error {
    Error::Format {
        file: place(tensors).into(),
        what: what.into(),
        found: found.into(),
        allowed: allowed.into(),
    }
}

/// The numbers of a tensor in row-major order, all finite.
///
/// # Errors
/// If the tensor is missing, holds integers, or a number that is not finite.
pub(crate) fn finite(tensors: &Tensors, name: &str) -> Result<Vec<f32>> {
    let values: Vec<f32> = tensors.to_f32(name)?.iter().copied().collect();
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(position) => Err(fault(
            tensors,
            format!("tensor \"{name}\", number {position} in row-major order"),
            values[position].to_string(),
            "finite numbers",
        )),
    }
}

/// The names of tensors as a list in words.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names
        .into_iter()
        .map(|name| format!("\"{name}\""))
        .collect();
    if names.is_empty() {
        "none".into()
    } else {
        names.join(", ")
    }
}

/// The tensors that are not in `used`, with a line about them.
pub(crate) fn leftovers(
    tensors: &Tensors,
    used: &[&str],
    understood: &mut Vec<String>,
) -> Vec<String> {
    let ignored: Vec<String> = tensors
        .names()
        .filter(|name| !used.contains(name))
        .map(str::to_owned)
        .collect();
    if !ignored.is_empty() {
        understood.push(format!(
            "not used: {}",
            listed(ignored.iter().map(String::as_str))
        ));
    }
    ignored
}

/// The line that says what a network is.
pub(crate) fn summary(architecture: &Architecture) -> String {
    let hidden = match architecture.hidden {
        0 => String::new(),
        hidden => format!(", {hidden} hidden units"),
    };
    format!(
        "cell {}: {} units{hidden}, inputs {}, outputs {}",
        architecture.cell.name(),
        architecture.units,
        architecture.inputs,
        architecture.outputs
    )
}

/// A weights file whose arrays a model file names.
struct Arrays<'a> {
    tensors: &'a Tensors,
    document: &'a Document,
    arrays: &'a Settings,
    cell: CellKind,
}

impl Arrays<'_> {
    fn import(
        &self,
        kind: &'static ModelKind,
        settings: Settings,
        outputs: Option<usize>,
    ) -> Result<Imported> {
        let shape = self.cell.shape();
        let recurrent = self.required("recurrent")?;
        let found = self.shape(recurrent)?;
        let (rows, columns) = match *found {
            [rows, columns] => (rows, columns),
            [1, rows, columns] => (rows, columns),
            [] | [1] => (1, 1),
            _ => return Err(self.misshapen("recurrent", recurrent, "a matrix [to, from]")),
        };
        let gates = shape.gates;
        let gate_rows = if gates == 1 {
            "units".into()
        } else {
            format!("{gates} * units")
        };
        let from = if shape.has_hidden { "hidden" } else { "units" };
        if rows == 0
            || columns == 0
            || !rows.is_multiple_of(gates)
            || !shape.has_hidden && rows != gates * columns
        {
            return Err(self.misshapen("recurrent", recurrent, &format!("[{gate_rows}, {from}]")));
        }
        let units = rows / gates;

        // A vector of the other side's length is a matrix with one row or column.
        let inputs = match self.name_of("input")? {
            Some(name) => match self.shape(name)?.iter().product::<usize>() / rows {
                0 => return Err(self.misshapen("input", name, &format!("[{rows}, inputs]"))),
                inputs => inputs,
            },
            None => 0,
        };
        let plrnn = shape.has_hidden;
        let readout_key = if plrnn { "observation" } else { "readout" };
        let given = self.document.line(readout_key).is_some();
        let (linear, linear_without_bias) = if plrnn {
            ("affine", "affine")
        } else {
            ("linear", "linear_without_bias")
        };
        let identity = given && settings.text(readout_key) == "identity";
        let (outputs, readout) = match self.name_of("readout")?.filter(|_| !identity) {
            Some(name) => {
                let outputs = self.shape(name)?.iter().product::<usize>() / units;
                if outputs == 0 {
                    return Err(self.misshapen("readout", name, &format!("[outputs, {units}]")));
                }
                let biased = !plrnn && self.name_of("readout_bias")?.is_some();
                (outputs, if biased { linear } else { linear_without_bias })
            }
            None if given && !identity => return Err(self.missing("readout")),
            None => (outputs.unwrap_or(units), "identity"),
        };

        let mut implied = settings.clone();
        let mut imply = |key: &str, value: Value| {
            if implied.keys().any(|known| known.name == key) {
                implied.set(key, value)
            } else {
                Ok(())
            }
        };
        let size = |n: usize| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
        imply("units", size(units))?;
        imply("hidden", size(columns))?;
        imply("bias", Value::Flag(self.name_of("bias")?.is_some()))?;
        imply(readout_key, Value::Text(readout.into()))?;
        let settings = agreed(settings, self.document, &implied, self.tensors)?;
        let (architecture, initialisation) = kind.build(&settings, inputs, outputs)?;

        let mut understood = vec![summary(&architecture)];
        if architecture.readout == Readout::Identity {
            understood.push(format!(
                "readout: none, the first {outputs} units are the outputs"
            ));
        }
        let mut parameters = vec![0.0; architecture.parameter_count()];
        let mut used = Vec::new();
        for tensor in architecture.tensors() {
            let target = &mut parameters[tensor.range.clone()];
            if let Some(name) = self.name_of(&tensor.name)? {
                target.copy_from_slice(&self.values(&tensor, name)?);
                understood.push(format!(
                    "{} {:?} from \"{name}\"",
                    tensor.name, tensor.shape
                ));
                used.push(name);
                continue;
            }
            match tensor.name.as_str() {
                "leak" => {
                    target.fill(initialisation.leak as f32);
                    understood.push(format!(
                        "leak {} for every unit, from the key \"leak\"",
                        initialisation.leak
                    ));
                }
                // Only torch's GRU has this bias, and only forced training this map.
                "recurrent_bias" | "initial" => {
                    understood.push(format!("{} {:?}: no array, 0", tensor.name, tensor.shape));
                }
                other => return Err(self.missing(other)),
            }
        }
        let ignored = leftovers(self.tensors, &used, &mut understood);
        Ok(Imported {
            kind: kind.name,
            settings,
            architecture,
            parameters,
            understood,
            ignored,
        })
    }

    /// The array that holds a parameter: the one that the model file names, else the one of the parameter's
    /// own or the literature's name.
    fn name_of(&self, parameter: &str) -> Result<Option<&str>> {
        if !self.arrays.keys().any(|key| key.name == parameter) {
            return Ok(None);
        }
        if let Some(name) = self.arrays.optional_text(parameter) {
            if self.tensors.get(name).is_some() {
                return Ok(Some(name));
            }
            let key = format!("arrays.{parameter}");
            return Err(Error::Setting {
                file: self.document.name().into(),
                line: self.document.line(&key),
                key,
                found: format!("the text \"{name}\"").into(),
                allowed: format!(
                    "an array of {}: {}",
                    place(self.tensors),
                    listed(self.tensors.names())
                )
                .into(),
                hint: None,
            });
        }
        let literature = PLRNN_NAMES.iter().filter(|_| self.cell.shape().has_hidden);
        let candidates = literature
            .filter(|(known, _)| *known == parameter)
            .map(|(_, name)| *name);
        Ok(std::iter::once(parameter)
            .chain(candidates)
            .find_map(|name| self.tensors.names().find(|known| *known == name)))
    }

    fn required(&self, parameter: &str) -> Result<&str> {
        self.name_of(parameter)?
            .ok_or_else(|| self.missing(parameter))
    }

    fn missing(&self, parameter: &str) -> Error {
        Error::Missing {
            file: place(self.tensors).into(),
            what: format!(
                "an array for the parameter \"{parameter}\" of cell {}: [arrays] of {} names none; the file \
                 holds {}",
                self.cell.name(),
                self.document.name(),
                listed(self.tensors.names())
            ),
        }
    }

    fn shape(&self, name: &str) -> Result<&[usize]> {
        self.tensors
            .get(name)
            .map(|tensor| tensor.shape())
            .ok_or_else(|| Error::Missing {
                file: place(self.tensors).into(),
                what: format!("array \"{name}\""),
            })
    }

    fn misshapen(&self, parameter: &str, name: &str, allowed: &str) -> Error {
        let found = self.shape(name).unwrap_or_default();
        fault(
            self.tensors,
            format!("the shape of array \"{name}\", parameter \"{parameter}\""),
            format!("{found:?}"),
            allowed,
        )
    }

    /// The numbers of a parameter from an array of its shape, up to axes of length 1. A leak may be a single
    /// number, a parameter per unit a diagonal matrix.
    fn values(&self, tensor: &ParameterTensor, name: &str) -> Result<Vec<f32>> {
        let long_axes =
            |shape: &[usize]| -> Vec<usize> { shape.iter().copied().filter(|&n| n != 1).collect() };
        let found = self.shape(name)?;
        let values = finite(self.tensors, name)?;
        if long_axes(found) == long_axes(&tensor.shape) {
            return Ok(values);
        }
        if let [n] = *tensor.shape {
            if let ("leak", [value]) = (tensor.name.as_str(), &values[..]) {
                return Ok(vec![*value; n]);
            }
            let off_diagonal = |position: usize| position / n != position % n;
            if *found == [n, n]
                && values
                    .iter()
                    .enumerate()
                    .all(|(p, &x)| x == 0.0 || !off_diagonal(p))
            {
                return Ok(values.into_iter().step_by(n + 1).collect());
            }
        }
        let transposed: Vec<usize> = found.iter().rev().copied().collect();
        let hint = if transposed == tensor.shape {
            "; it seems to be transposed"
        } else {
            ""
        };
        Err(self.misshapen(
            &tensor.name,
            name,
            &format!("{:?}, [to, from]{hint}", tensor.shape),
        ))
    }
}
