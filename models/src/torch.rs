//! Weights in torch's layout: `nn.RNN`, `nn.GRU`, `nn.LSTM` (and their `...Cell` forms) with a linear readout.
//!
//! torch keeps for a layer, after any prefix,
//!
//! ```text
//! weight_ih_l0 [gates * units, inputs]    U, gates one below the other
//! weight_hh_l0 [gates * units, units]     W
//! bias_ih_l0, bias_hh_l0 [gates * units]  two biases that are added; both absent with bias=False
//! ```
//!
//! in the order and orientation of this program's own parameters, so that weights pass unchanged and the
//! biases are added. Only the GRU's new gate keeps its two biases apart, because the reset gate multiplies
//! one of them:
//!
//! ```text
//! bias = bias_ih + bias_hh, for the new gate bias_ih alone;   recurrent_bias = bias_hh of the new gate
//! ```
//!
//! The number of gates is read from the shape of `weight_hh` (1: RNN, 3: GRU, 4: LSTM), which also gives away
//! a transposed matrix of a gated cell. The one matrix of `nn.RNN` is square: should another program have
//! written it [from, to] under torch's name, nothing in the file shows it.
//!
//! Equinox keeps its cells under the same names and in the same layout, but for the biases: `bias`, and for the
//! candidate of the GRU `bias_n`, which are `bias` and `recurrent_bias` here. They are recognised too.

use crate::architecture::{Architecture, CellKind, Readout};
use crate::registry;
use crate::weights::{Imported, Report, fault, finite, listed, place};
use ndarray::{ArrayD, IxDyn};
use nullcline_data::settings::{Settings, Value};
use nullcline_data::tensors::{Tensor, Tensors};
use nullcline_data::{Error, Result};

/// The beginnings of the names that torch gives a recurrent layer's tensors.
const PARTS: [&str; 5] = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"];

/// What readouts are often called, before `.weight` or `_weight`.
const READOUT_NAMES: [&str; 12] = [
    "readout",
    "fc",
    "out",
    "output",
    "outputs",
    "linear",
    "decoder",
    "head",
    "proj",
    "projection",
    "dense",
    "h2o",
];

/// Words that say of an array that it is a weight, not what the layer is.
const WEIGHT_WORDS: [&str; 4] = ["weight", "weights", "kernel", "w"];

/// The metadata key under which [`export`] notes the nonlinearity, which torch's own files do not.
const NONLINEARITY: &str = "nonlinearity";

/// What a user may say about a file that does not say it itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices<'a> {
    /// Whether an `nn.RNN` has relu. `None`: as the file's metadata say, else tanh, torch's default.
    pub relu: Option<bool>,
    /// The readout's weight, with or without `.weight`. `None`: found by its shape.
    pub readout: Option<&'a str>,
}

/// A tensor's name taken apart: `encoder.rnn.weight_hh_l0` is `encoder.rnn.`, `weight_hh`, `_l0`.
struct Name<'a> {
    prefix: &'a str,
    part: &'a str,
    suffix: &'a str,
}

/// Takes a name apart; `None` if it is not of a recurrent layer.
fn parse(name: &str) -> Option<Name<'_>> {
    let start = name.rfind('.').map_or(0, |dot| dot + 1);
    let (prefix, last) = name.split_at(start);
    let part = PARTS.into_iter().find(|part| last.starts_with(part))?;
    let suffix = last.strip_prefix(part)?;
    let number = suffix
        .strip_suffix("_reverse")
        .unwrap_or(suffix)
        .strip_prefix("_l");
    let is_layer = number
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    (suffix.is_empty() || is_layer).then_some(Name {
        prefix,
        part,
        suffix,
    })
}

/// Whether there are tensors with the names of a recurrent layer of torch.
pub fn is_recognised(tensors: &Tensors) -> bool {
    tensors.names().any(|name| parse(name).is_some())
}

/// The module of torch that a cell is, without `torch.`; `None` for cells that torch does not have.
pub fn module_of(cell: CellKind) -> Option<&'static str> {
    match cell {
        CellKind::VanillaTanh | CellKind::VanillaRelu => Some("nn.RNN"),
        CellKind::Gru => Some("nn.GRU"),
        CellKind::Lstm => Some("nn.LSTM"),
        _ => None,
    }
}

/// Recognises a network in a state dictionary of torch.
///
/// Returns the network with one recurrent layer that the names and shapes show. The readout is the one other
/// matrix with a column per unit whose name says that it is a weight (`value.weight`); of several the one with a
/// usual name (`readout`, `fc`, `out`, `output`, `linear`, `decoder`, `head`, `proj`...); without any the units are
/// the outputs. Everything else, such as a layer before the recurrent one or states kept beside the weights, is
/// listed as ignored: the network's inputs are those of the recurrent layer.
///
/// # Errors
/// No recurrent layer or several, more than one layer, a bidirectional or projected one (`proj_size`), a
/// missing tensor, a shape that does not fit, numbers that are not finite, a readout that is not clear.
pub fn import(tensors: &Tensors, choices: &Choices) -> Result<Imported> {
    let names: Vec<(&str, Name)> = tensors
        .names()
        .filter_map(|name| parse(name).map(|parsed| (name, parsed)))
        .collect();
    let Some((_, first)) = names.first() else {
        return Err(fault(
            tensors,
            "the names of the tensors",
            listed(tensors.names()),
            "torch's of a recurrent layer, such as \"weight_hh_l0\"; or a model file (--model MODEL.toml) that \
             says which array is which",
        ));
    };
    for (name, parsed) in &names {
        let refuse = |found: &str| {
            let what = format!("tensor \"{name}\"");
            Err(fault(
                tensors,
                what,
                found,
                "a recurrent layer in one direction, without layers above it",
            ))
        };
        if parsed.suffix.ends_with("_reverse") {
            return refuse("a bidirectional layer, which no step from state to state describes");
        }
        if parsed.part == "weight_hr" {
            return refuse("an LSTM with a projection (proj_size), which is not supported");
        }
        if !matches!(parsed.suffix, "" | "_l0") {
            return refuse("a second layer (num_layers), which is not supported");
        }
        if (parsed.prefix, parsed.suffix) != (first.prefix, first.suffix) {
            let weights = names
                .iter()
                .filter(|(_, parsed)| parsed.part == "weight_hh")
                .map(|(name, _)| *name);
            return Err(fault(
                tensors,
                "the recurrent layers",
                listed(weights),
                "one recurrent layer",
            ));
        }
    }
    let key = |part: &str| format!("{}{part}{}", first.prefix, first.suffix);
    let (weight_hh, weight_ih) = (key("weight_hh"), key("weight_ih"));
    let (gates, units) = gates_and_units(tensors, &weight_hh)?;
    let rows = gates * units;
    let inputs = match *shape(tensors, &weight_ih)? {
        [found_rows, inputs] if found_rows == rows => inputs,
        ref found => {
            return Err(fault(
                tensors,
                format!("the shape of \"{weight_ih}\""),
                format!("{found:?}"),
                format!("[{rows}, inputs] beside \"{weight_hh}\" [{rows}, {units}]"),
            ));
        }
    };
    let relu = choices.relu.unwrap_or(
        tensors
            .metadata
            .get(NONLINEARITY)
            .is_some_and(|word| word == "relu"),
    );
    let (kind_name, module) = match gates {
        1 => ("vanilla", "nn.RNN"),
        3 => ("gru", "nn.GRU"),
        _ => ("lstm", "nn.LSTM"),
    };

    let biases = Biases::find(tensors, &key, gates, units)?;

    let mut own = names.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    if let Some(biases) = &biases {
        own.extend(biases.names.iter().map(|name| &name[..]));
    }
    let readout = find_readout(tensors, choices.readout, units, &own)?;
    let outputs = readout.as_ref().map_or(units, |readout| readout.outputs);

    let kind = registry::kind(kind_name)
        .ok_or_else(|| Error::argument("cell", kind_name, "a known cell"))?;
    let mut settings = Settings::from_defaults("model", kind.keys);
    settings.set(
        "units",
        Value::Integer(i64::try_from(units).unwrap_or(i64::MAX)),
    )?;
    settings.set("bias", Value::Flag(biases.is_some()))?;
    let readout_kind = match &readout {
        Some(Affine { bias: Some(_), .. }) => "linear",
        Some(_) => "linear_without_bias",
        None => "identity",
    };
    settings.set("readout", Value::Text(readout_kind.into()))?;
    if gates == 1 {
        settings.set(
            "nonlinearity",
            Value::Text(if relu { "relu" } else { "tanh" }.into()),
        )?;
    }
    let (architecture, _) = kind.build(&settings, inputs, outputs)?;

    let mut report = Report::default();
    let order: &[String] = match gates {
        1 => &[],
        3 => &["gates r, z, n".to_owned()],
        _ => &["gates i, f, g, o".to_owned()],
    };
    report.array(&weight_ih, "U, input", order);
    report.array(&weight_hh, "W, recurrent", order);
    if let Some(biases) = &biases {
        for (name, role) in biases.names.iter().zip(biases.roles) {
            report.array(name, role, &[]);
        }
    }
    if let Some(readout) = &readout {
        report.array(readout.weight, "R, readout", &[]);
        if let Some(bias) = readout.bias {
            report.array(bias, "d, readout bias", &[]);
        }
    }
    report.note(match &biases {
        Some(_) => format!("recurrent layer: {module}"),
        None => format!("recurrent layer: {module} without bias"),
    });
    if gates == 1 && choices.relu.is_none() && !tensors.metadata.contains_key(NONLINEARITY) {
        report.note(
            "nonlinearity: tanh, torch's default; the file does not say (--nonlinearity relu if it is relu)",
        );
    }

    let layout = architecture.layout();
    let mut parameters = vec![0.0; layout.total];
    parameters[layout.recurrent].copy_from_slice(&finite(tensors, &weight_hh)?);
    parameters[layout.input].copy_from_slice(&finite(tensors, &weight_ih)?);
    if let Some(biases) = biases {
        parameters[layout.bias].copy_from_slice(&biases.added);
        if gates == 3 {
            parameters[layout.unit].copy_from_slice(&biases.of_candidate);
        }
    }
    if let Some(readout) = &readout {
        parameters[layout.readout].copy_from_slice(&finite(tensors, readout.weight)?);
        if let Some(bias) = readout.bias {
            parameters[layout.readout_bias].copy_from_slice(&vector(tensors, bias, outputs)?);
        }
    }
    let (understood, ignored) = report.finish(tensors, &architecture);
    Ok(Imported {
        kind: kind.name,
        settings,
        architecture,
        parameters,
        understood,
        ignored,
    })
}

/// The biases of a recurrent layer.
struct Biases {
    names: Vec<String>,
    /// What each is, in words.
    roles: &'static [&'static str],
    /// [gates * units]: their sum, for the candidate of a GRU that of the inputs alone.
    added: Vec<f32>,
    /// [units]: the recurrent bias of a GRU's candidate; empty for other cells.
    of_candidate: Vec<f32>,
}

impl Biases {
    /// torch's two, or Equinox's; `None` if there are none. `key` makes a name of its beginning.
    fn find(
        tensors: &Tensors,
        key: &impl Fn(&str) -> String,
        gates: usize,
        units: usize,
    ) -> Result<Option<Biases>> {
        let rows = gates * units;
        let (bias_ih, bias_hh) = (key("bias_ih"), key("bias_hh"));
        // Both or none: torch writes them together.
        match (tensors.get(&bias_ih), tensors.get(&bias_hh)) {
            (None, None) => {}
            (Some(_), Some(_)) => {
                let mut added = vector(tensors, &bias_ih, rows)?;
                let mut hh = vector(tensors, &bias_hh, rows)?;
                // The candidate, the last gate, keeps bias_hh for itself.
                let of_candidate = hh.split_off(if gates == 3 { 2 * units } else { rows });
                added.iter_mut().zip(hh).for_each(|(bias, hh)| *bias += hh);
                let roles = match gates {
                    3 => &[
                        "b, bias",
                        "recurrent bias: added to b, for the candidate n it is c",
                    ],
                    _ => &["b, bias", "recurrent bias, added to b"],
                };
                return Ok(Some(Biases {
                    names: vec![bias_ih, bias_hh],
                    roles,
                    added,
                    of_candidate,
                }));
            }
            (present, _) => {
                let (there, absent) = if present.is_some() {
                    (&bias_ih, &bias_hh)
                } else {
                    (&bias_hh, &bias_ih)
                };
                return Err(Error::Missing {
                    file: place(tensors).into(),
                    what: format!("tensor \"{absent}\": torch writes it beside \"{there}\""),
                });
            }
        }
        let (bias, bias_n) = (key("bias"), key("bias_n"));
        if tensors.get(&bias).is_none() {
            return Ok(None);
        }
        let added = vector(tensors, &bias, rows)?;
        if gates != 3 {
            let names = vec![bias];
            return Ok(Some(Biases {
                names,
                roles: &["b, bias"],
                added,
                of_candidate: Vec::new(),
            }));
        }
        let of_candidate = vector(tensors, &bias_n, units)?;
        let roles = &["b, bias", "c, recurrent bias of the candidate"];
        Ok(Some(Biases {
            names: vec![bias, bias_n],
            roles,
            added,
            of_candidate,
        }))
    }
}

fn shape<'a>(tensors: &'a Tensors, name: &str) -> Result<&'a [usize]> {
    tensors
        .get(name)
        .map(Tensor::shape)
        .ok_or_else(|| Error::Missing {
            file: place(tensors).into(),
            what: format!("tensor \"{name}\""),
        })
}

/// Gates and units from the shape of W [gates * units, units].
fn gates_and_units(tensors: &Tensors, weight_hh: &str) -> Result<(usize, usize)> {
    let found = shape(tensors, weight_hh)?;
    if let [rows, units] = *found {
        for gates in [1, 3, 4] {
            if units > 0 && rows == gates * units {
                return Ok((gates, units));
            }
        }
    }
    let hint = match *found {
        [units, columns] if units > 0 && (columns == 3 * units || columns == 4 * units) => {
            "; it seems to be transposed"
        }
        _ => "",
    };
    Err(fault(
        tensors,
        format!("the shape of \"{weight_hh}\""),
        format!("{found:?}"),
        format!("[gates * units, units] with 1 (RNN), 3 (GRU) or 4 (LSTM) gates{hint}"),
    ))
}

/// The numbers of a tensor that must be a vector of this length.
fn vector(tensors: &Tensors, name: &str, length: usize) -> Result<Vec<f32>> {
    let found = shape(tensors, name)?;
    if found != [length] {
        let what = format!("the shape of \"{name}\"");
        return Err(fault(
            tensors,
            what,
            format!("{found:?}"),
            format!("[{length}]"),
        ));
    }
    finite(tensors, name)
}

/// A linear layer in the file.
struct Affine<'a> {
    weight: &'a str,
    bias: Option<&'a str>,
    outputs: usize,
}

/// The words of a name, in lower case and without numbers at their end: `readout.0.weight`, `fc2_weight`.
fn words(name: &str) -> impl Iterator<Item = String> {
    name.split(|c: char| !c.is_alphanumeric())
        .map(|word| {
            word.trim_end_matches(|c: char| c.is_ascii_digit())
                .to_lowercase()
        })
        .filter(|word| !word.is_empty() && word != "layer")
}

/// Whether a name says that the array is a weight.
fn is_weight(name: &str) -> bool {
    words(name).any(|word| WEIGHT_WORDS.contains(&&word[..]))
}

/// Whether a name is one that readouts usually have: the last word besides `weight` says so.
fn is_usual(name: &str) -> bool {
    let last = words(name)
        .filter(|word| !WEIGHT_WORDS.contains(&&word[..]))
        .last();
    last.is_some_and(|last| READOUT_NAMES.contains(&&last[..]))
}

/// The linear layer that reads the units, apart from the recurrent layer's `own` tensors.
fn find_readout<'a>(
    tensors: &'a Tensors,
    chosen: Option<&str>,
    units: usize,
    own: &[&str],
) -> Result<Option<Affine<'a>>> {
    let candidates: Vec<(&str, usize)> = tensors
        .iter()
        .filter(|(name, _)| !own.contains(name))
        .filter_map(|(name, tensor)| match *tensor.shape() {
            [outputs, columns] if columns == units && outputs > 0 => Some((name, outputs)),
            _ => None,
        })
        .filter(|(name, _)| chosen.is_some() || is_usual(name) || is_weight(name))
        .collect();
    let all = || listed(candidates.iter().map(|(name, _)| *name));
    let (weight, outputs) = if let Some(chosen) = chosen {
        let with_suffix = format!("{chosen}.weight");
        match candidates
            .iter()
            .find(|(name, _)| *name == chosen || *name == with_suffix)
        {
            Some(found) => *found,
            None => {
                let allowed = format!("a matrix [outputs, {units}] of the file: {}", all());
                return Err(fault(
                    tensors,
                    "the readout that was asked for",
                    format!("\"{chosen}\""),
                    allowed,
                ));
            }
        }
    } else {
        let usual: Vec<(&str, usize)> = candidates
            .iter()
            .copied()
            .filter(|(name, _)| is_usual(name))
            .collect();
        match (&candidates[..], &usual[..]) {
            ([], _) => return Ok(None),
            ([only], _) | (_, [only]) => *only,
            _ => {
                return Err(fault(
                    tensors,
                    "the readout",
                    format!("several matrices with {units} columns: {}", all()),
                    "one, or a model file (--model MODEL.toml) that names it: [arrays] readout = \"...\"",
                ));
            }
        }
    };
    let stem = ["weight", "kernel"]
        .into_iter()
        .find_map(|word| weight.strip_suffix(word));
    let bias_name = match stem {
        Some(prefix) => format!("{prefix}bias"),
        None => format!("{weight}_bias"),
    };
    let bias = tensors.names().find(|name| *name == bias_name);
    Ok(Some(Affine {
        weight,
        bias,
        outputs,
    }))
}

/// A network under torch's names, for `load_state_dict`.
///
/// With the identity readout of all units these are the keys of `nn.RNN`, `nn.GRU` or `nn.LSTM` itself; with a
/// linear readout those of a module with the attributes `rnn` and `readout` (an `nn.Linear`). `bias_hh` is
/// zero but for the GRU's new gate: the sum of the two biases is all that the network knows. The metadata say
/// the module and, for `nn.RNN`, the nonlinearity, which [`import`] reads.
///
/// `None` if torch has no such cell, or no place for a readout of some of the units.
///
/// # Panics
/// If `parameters` has not the architecture's length.
pub fn export(architecture: &Architecture, parameters: &[f32]) -> Option<Tensors> {
    let module = module_of(architecture.cell)?;
    let layout = architecture.layout();
    assert_eq!(
        parameters.len(),
        layout.total,
        "length of the parameter vector"
    );
    let (units, inputs, outputs) = (
        architecture.units,
        architecture.inputs,
        architecture.outputs,
    );
    let identity = architecture.readout == Readout::Identity;
    if identity && outputs != units {
        return None;
    }
    let rows = architecture.cell.shape().gates * units;
    let mut tensors = Tensors::new();
    tensors
        .metadata
        .insert("module".into(), format!("torch.{module}"));
    if module == "nn.RNN" {
        let relu = architecture.cell == CellKind::VanillaRelu;
        tensors.metadata.insert(
            NONLINEARITY.into(),
            if relu { "relu" } else { "tanh" }.into(),
        );
    }
    let prefix = if identity { "" } else { "rnn." };
    let mut insert = |name: String, shape: &[usize], values: Vec<f32>| -> Option<()> {
        tensors.insert(
            name,
            Tensor::F32(ArrayD::from_shape_vec(IxDyn(shape), values).ok()?),
        );
        Some(())
    };
    insert(
        format!("{prefix}weight_ih_l0"),
        &[rows, inputs],
        parameters[layout.input].to_vec(),
    )?;
    insert(
        format!("{prefix}weight_hh_l0"),
        &[rows, units],
        parameters[layout.recurrent].to_vec(),
    )?;
    let recurrent_bias = &parameters[layout.unit];
    if architecture.bias || recurrent_bias.iter().any(|&bias| bias != 0.0) {
        let mut bias_ih = parameters[layout.bias].to_vec();
        bias_ih.resize(rows, 0.0);
        let mut bias_hh = vec![0.0; rows];
        bias_hh[rows - recurrent_bias.len()..].copy_from_slice(recurrent_bias);
        insert(format!("{prefix}bias_ih_l0"), &[rows], bias_ih)?;
        insert(format!("{prefix}bias_hh_l0"), &[rows], bias_hh)?;
    }
    if !identity {
        insert(
            "readout.weight".into(),
            &[outputs, units],
            parameters[layout.readout].to_vec(),
        )?;
    }
    if architecture.readout == Readout::Linear {
        insert(
            "readout.bias".into(),
            &[outputs],
            parameters[layout.readout_bias].to_vec(),
        )?;
    }
    Some(tensors)
}
