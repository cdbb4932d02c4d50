//! Networks that were trained elsewhere: from named arrays to an architecture with its parameters.
//!
//! A file that torch wrote says by its keys what it holds ([`crate::torch`]). For any other, a model file
//! (`MODEL.toml`) gives the cell, the conventions in which the other program differs, and says which array is
//! which parameter:
//!
//! ```toml
//! kind = "leaky"              # the keys of [model] in an experiment, at the top level
//! form = "current"
//! tau = 100                   # for every unit, where no array gives it
//! dt = 10
//! orientation = "from_to"     # x W, as JAX writes it
//!
//! [arrays]                    # parameter = "array in the weights file"
//! recurrent = "W_rec"
//! input = "W_in"
//! bias = "b"
//! readout = "W_out"
//! ```
//!
//! [`model_file_keys`] are all its keys; docs/import.md is the reference for users, with the conventions of the
//! usual packages. A parameter that `[arrays]` leaves out is looked for under its own name, and for PLRNNs under
//! the name in the literature (A, W, h; A, W1, W2, h1, h2; C, B).
//!
//! What differs is brought into this program's form only where that is exact in real numbers; anything else is
//! refused.

mod model_file;
mod parameters;
mod plrnn;
mod report;
mod source;

pub use model_file::model_file_keys;
pub(crate) use report::Report;

use crate::architecture::{Architecture, CellKind};
use crate::registry::ModelKind;
use crate::torch;
use model_file::{FILE_KINDS, Family};
use nullcline_data::settings::{Document, Settings, Value};
use nullcline_data::tensors::Tensors;
use nullcline_data::{Error, Result};
use report::role;
use source::Source;

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

/// Understands the tensors of a weights file, with the model file if the user gave one.
///
/// Without a model file, or with one that names torch's cell and not the array `recurrent`, torch's keys are
/// looked for; see [`torch::import`]. A model file may then still choose the nonlinearity of `nn.RNN` and
/// the readout (`[arrays] readout = "decoder"`). Otherwise the sizes follow from the arrays: units from
/// `recurrent`, inputs from `input` (none: 0), outputs from `readout`. Without a readout array the
/// first units are the outputs: `outputs` of them, all where that is not given. Axes of length 1 do not count, and
/// a parameter per unit may be given as a diagonal matrix. `relu` is [`torch::Choices::relu`] where no model file
/// says it. A model file's table `[task]` is not looked at here.
///
/// # Errors
/// What is missing, of the wrong shape or not finite, keys of the model file that contradict the arrays, and
/// conventions that no cell here can express.
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
    let names: Vec<&str> = FILE_KINDS.iter().map(|kind| kind.name).collect();
    let name = document.choice("kind", &names)?;
    let Some(kind) = FILE_KINDS.iter().find(|kind| kind.name == name) else {
        // `choice` has admitted the known names only.
        return Err(Error::argument("key \"kind\"", name, names.join(", ")));
    };
    let settings = document.section("", &[&kind.keys])?;
    let arrays = document.section("arrays", &[&kind.arrays])?;
    // The keys that an experiment has as well.
    let mut of_model = Settings::from_defaults("model", kind.model.keys);
    for (key, value) in settings.iter() {
        if let Some(value) = value.filter(|_| of_model.keys().any(|known| known.name == key.name)) {
            of_model.set(key.name, value.clone())?;
        }
    }
    let cell = kind.model.cell(&of_model);
    let source = Source {
        tensors,
        document,
        kind,
        settings: &settings,
        arrays: &arrays,
        cell,
    };
    let recurrent_is_named = ["recurrent", "input_and_recurrent"]
        .iter()
        .any(|name| source.is_named(name));
    if torch::module_of(cell).is_some() && !recurrent_is_named && torch::is_recognised(tensors) {
        return of_torch(&source, of_model, relu);
    }
    source.check_transposed()?;
    by_model_file(&source, of_model, outputs)
}

/// A file with torch's names, about which the model file says what torch does not.
fn of_torch(source: &Source, settings: Settings, relu: Option<bool>) -> Result<Imported> {
    let (document, cell) = (source.document, source.cell);
    const LAYOUT: &str = "nothing: the arrays have torch's names, so that all but the readout is known; to read them \
                          otherwise name each in [arrays], \"recurrent\" too";
    for key in source.kind.keys.iter() {
        let of_model = key.name == "kind" || settings.keys().any(|known| known.name == key.name);
        if !of_model && source.is_given(key.name) {
            let found = source
                .settings
                .value(key.name)
                .map_or("nothing".into(), Value::to_toml);
            return Err(source.setting(key.name, &found, LAYOUT));
        }
    }
    if let Some((key, _)) = source
        .arrays
        .iter()
        .find(|(key, value)| value.is_some() && key.name != "readout")
    {
        return Err(source.setting(&format!("arrays.{}", key.name), "an array", LAYOUT));
    }
    let readout = match source.arrays.optional_texts("readout") {
        None => None,
        // With or without `.weight`.
        Some([layer]) => Some(&layer[..]),
        Some(layers) => return Err(source.wrong_count("readout", layers.len(), "one array")),
    };
    let choices = torch::Choices {
        relu: document
            .line("nonlinearity")
            .map(|_| cell == CellKind::VanillaRelu)
            .or(relu),
        readout,
    };
    let mut imported = torch::import(source.tensors, &choices)?;
    if imported.kind != source.kind.name {
        let found = Value::Text(source.kind.name.into());
        return Err(contradiction(source, "kind", &found, imported.kind));
    }
    let implied: Vec<(&str, Value)> = imported
        .settings
        .iter()
        .filter(|(key, _)| ["units", "nonlinearity", "bias", "readout"].contains(&key.name))
        .filter_map(|(key, value)| value.map(|value| (key.name, value.clone())))
        .collect();
    imported.settings = agreed(source, settings, implied)?;
    Ok(imported)
}

/// A file whose arrays the model file explains.
fn by_model_file(source: &Source, settings: Settings, outputs: Option<usize>) -> Result<Imported> {
    let mut report = Report::default();
    let mut parameters = match source.kind.family {
        Family::Cell => parameters::of_cell(source, &mut report)?,
        Family::Plrnn | Family::Dendritic => plrnn::parameters(source, &mut report)?,
    };
    let units = parameters.units;
    let model = parameters.model.unwrap_or(source.kind.model);
    let settings = of_model(model, source, settings)?;
    let plrnn = source.cell.is_plrnn();
    let readout_key = if plrnn { "observation" } else { "readout" };
    let given = source.is_given(readout_key);
    let identity = given && settings.text(readout_key) == "identity";
    let (outputs, readout) = match source.name("readout")?.filter(|_| !identity) {
        Some(name) => {
            let from = units.to_string();
            let matrix = source.matrix("readout", name, ["outputs", &from], |rows, columns| {
                rows > 0 && columns == units
            })?;
            report.array(name, &role("readout", source.cell), &matrix.details);
            parameters.values.insert("readout", matrix.values);
            let bias = source.name("readout_bias")?;
            if let Some(bias) = bias {
                let values = source.vector("readout_bias", bias, matrix.rows)?;
                report.array(bias, &role("readout_bias", source.cell), &[]);
                parameters.values.insert("readout_bias", values);
            }
            let word = match (plrnn, bias) {
                (true, _) => "affine",
                (false, Some(_)) => "linear",
                (false, None) => "linear_without_bias",
            };
            (matrix.rows, word)
        }
        None if given && !identity => return Err(source.missing("readout")),
        None => (outputs.unwrap_or(units), "identity"),
    };

    let size = |n: usize| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
    let mut implied = vec![("units", size(units))];
    if plrnn {
        // Of those, the one that the cell has.
        implied.push(("hidden", size(parameters.hidden)));
        implied.push(("bases", size(parameters.hidden)));
        implied.extend(parameters.relu_units.map(|n| ("relu_units", size(n))));
    } else {
        implied.push(("bias", Value::Flag(parameters.values.contains_key("bias"))));
    }
    implied.push((readout_key, Value::Text(readout.into())));
    let mut settings = agreed(source, settings, implied)?;
    if let Some(leak) = parameters.leak {
        // A leak below the key's range is in the weights all the same.
        let _ = settings.set("leak", Value::Number(leak));
    }
    let (architecture, _) = model
        .build(&settings, parameters.inputs, outputs)
        .map_err(|error| source.document.locate(error))?;

    let mut flat = vec![0.0; architecture.parameter_count()];
    for tensor in architecture.tensors() {
        let name = &tensor.name[..];
        if name == "initial"
            && let Some(array) = source.name(name)?
        {
            let words = [tensor.shape[0].to_string(), tensor.shape[1].to_string()];
            let matrix = source.matrix(name, array, [&words[0], &words[1]], |rows, columns| {
                [rows, columns] == tensor.shape[..]
            })?;
            report.array(
                array,
                "initial state of the units that are not observed",
                &matrix.details,
            );
            parameters.values.insert("initial", matrix.values);
        }
        match parameters.values.get(name) {
            Some(values) if values.len() == tensor.range.len() => {
                flat[tensor.range].copy_from_slice(&parameters::narrowed(source, name, values)?);
            }
            // Only a GRU has this bias, and only forced training this map.
            None if matches!(name, "recurrent_bias" | "initial") => {}
            _ => return Err(source.missing(name)),
        }
    }
    let (understood, ignored) = report.finish(source.tensors, &architecture);
    Ok(Imported {
        kind: model.name,
        settings,
        architecture,
        parameters: flat,
        understood,
        ignored,
    })
}

/// The user's settings as those of the cell that was found in the arrays.
fn of_model(model: &ModelKind, source: &Source, settings: Settings) -> Result<Settings> {
    if model.name == source.kind.model.name {
        return Ok(settings);
    }
    let mut of_model = Settings::from_defaults("model", model.keys);
    for (key, value) in settings.iter() {
        if let Some(value) = value.filter(|_| of_model.keys().any(|known| known.name == key.name)) {
            of_model.set(key.name, value.clone())?;
        }
    }
    // A shallow PLRNN is clipped where nothing is said.
    if of_model.keys().any(|key| key.name == "clipped") && source.kind.family == Family::Plrnn {
        of_model.set("clipped", Value::Flag(false))?;
    }
    Ok(of_model)
}

/// The user's settings with those that the arrays imply, which must not contradict each other.
fn agreed(
    source: &Source,
    mut settings: Settings,
    implied: Vec<(&str, Value)>,
) -> Result<Settings> {
    for (key, value) in implied {
        if !settings.keys().any(|known| known.name == key) {
            continue;
        }
        match settings.value(key) {
            Some(known) if *known == value => {}
            Some(known) if source.is_given(key) => {
                return Err(contradiction(source, key, known, &value.to_toml()));
            }
            _ => settings
                .set(key, value)
                .map_err(|error| source.document.locate(error))?,
        }
    }
    Ok(settings)
}

/// A key of the model file that is not what the arrays imply.
fn contradiction(source: &Source, key: &str, found: &Value, implied: &str) -> Error {
    let allowed = format!("{implied}, which is what {} holds", place(source.tensors));
    source.setting(key, &found.to_toml(), &allowed)
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
