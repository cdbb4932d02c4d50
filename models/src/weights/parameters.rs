//! From arrays to the parameters of a cell: one array, or several, for each.

use super::report::{Report, role};
use super::source::{Gates, Source};
use super::{fault, place};
use crate::architecture::CellKind;
use crate::registry::ModelKind;
use nullcline_data::{Error, Result};
use std::collections::BTreeMap;

/// The parameters of a network by name, in this program's order, and the sizes that they have.
pub(super) struct Parameters {
    pub(super) units: usize,
    /// Units of the hidden layer, or basis functions of each unit; 0 without either.
    pub(super) hidden: usize,
    pub(super) inputs: usize,
    pub(super) values: BTreeMap<&'static str, Vec<f64>>,
    /// The leak of all units, where a key of the model file gives it.
    pub(super) leak: Option<f64>,
    /// The cell they are of, where it is not that of the model file's kind.
    pub(super) model: Option<&'static ModelKind>,
    /// Units with a relu, of an almost-linear RNN.
    pub(super) relu_units: Option<usize>,
}

/// The parameters of a cell that the file holds as they are, up to conventions.
pub(super) fn of_cell(source: &Source, report: &mut Report) -> Result<Parameters> {
    let shape = source.cell.shape();
    let gates = source.gates()?;
    let mut values = BTreeMap::new();
    let (recurrent, units, columns, input, inputs);
    if let Some(name) = source.name("input_and_recurrent")? {
        for other in ["recurrent", "input"] {
            if source.is_named(other) {
                let key = format!("arrays.{other}");
                return Err(source.setting(
                    &key,
                    "an array",
                    "nothing beside arrays.input_and_recurrent",
                ));
            }
        }
        let count = gates.count();
        let rows = if count == 1 {
            "units".to_owned()
        } else {
            format!("{count} * units")
        };
        let joint = source.matrix(
            "input_and_recurrent",
            name,
            [&rows, "inputs + units"],
            |rows, columns| rows > 0 && rows.is_multiple_of(count) && columns >= rows / count,
        )?;
        let mut details = joint.details;
        details.extend(gates.order());
        report.array(name, "U and W, input and recurrent", &details);
        units = joint.rows / count;
        columns = units;
        inputs = joint.columns - units;
        let side = |from: usize, to: usize| -> Vec<f64> {
            joint
                .values
                .chunks_exact(joint.columns)
                .flat_map(|row| &row[from..to])
                .copied()
                .collect()
        };
        input = gates.arranged(&side(0, inputs));
        recurrent = gates.arranged(&side(inputs, joint.columns));
    } else {
        let (words, square) = if shape.has_hidden {
            (["units", "hidden"], false)
        } else {
            (["units", "units"], true)
        };
        // A matrix between units and hidden units fits either way round; a vector tells.
        let told = if square {
            None
        } else {
            vector_length(source, &["a", "bias"])?
        };
        let matrix = source
            .stacked(
                "recurrent",
                &gates,
                words,
                |rows, columns| {
                    rows > 0
                        && columns > 0
                        && (!square || rows == columns)
                        && told.is_none_or(|told| rows == told)
                },
                report,
            )?
            .ok_or_else(|| source.missing("recurrent"))?;
        units = matrix.rows / gates.count();
        columns = matrix.columns;
        recurrent = matrix.values;
        let to = units.to_string();
        let matrix = source.stacked(
            "input",
            &gates,
            [&to, "inputs"],
            |rows, columns| rows == units && columns > 0,
            report,
        )?;
        inputs = matrix.as_ref().map_or(0, |matrix| matrix.columns);
        input = matrix.map_or_else(Vec::new, |matrix| matrix.values);
    }
    values.insert("recurrent", recurrent);
    values.insert("input", input);
    if gates.any_negated() {
        report.note(
            "update gate: z multiplies the new state in the file and the old one here; its weights and bias are \
             negated, as sigma(-a) = 1 - sigma(a)",
        );
    }
    biases(source, &gates, units, &mut values, report)?;

    let mut leak = None;
    if shape.unit_parameters.contains(&"leak") {
        let leaks = leaks(source, units, report)?;
        unscaled_drive(source, &leaks.values, &mut values, report)?;
        leak = leaks.key;
        values.insert("leak", leaks.values);
    }
    if shape.has_hidden {
        let name = source
            .name("hidden")?
            .ok_or_else(|| source.missing("hidden"))?;
        let words = [columns.to_string(), units.to_string()];
        let matrix = source.matrix("hidden", name, [&words[0], &words[1]], |rows, found| {
            (rows, found) == (columns, units)
        })?;
        report.array(name, &role("hidden", source.cell), &matrix.details);
        let mut hidden = matrix.values;
        if source.settings.flag("mean_centred") {
            centre(&mut hidden, units);
            report.note(MEAN_CENTRED);
        }
        values.insert("hidden", hidden);
    }
    for (parameter, length) in shape
        .unit_parameters
        .iter()
        .map(|name| (*name, units))
        .chain(shape.hidden_parameters.iter().map(|name| (*name, columns)))
        .filter(|(name, _)| !matches!(*name, "leak" | "recurrent_bias"))
    {
        if let Some(name) = source.name(parameter)? {
            report.array(name, &role(parameter, source.cell), &[]);
            values.insert(parameter, source.per_unit(parameter, name, length, false)?);
        }
    }
    Ok(Parameters {
        units,
        hidden: if shape.has_hidden { columns } else { 0 },
        inputs,
        values,
        leak,
        model: None,
        relu_units: None,
    })
}

/// What the lines say about the mean.
pub(super) const MEAN_CENTRED: &str =
    "mean_centred: the mean over all units is taken from z before relu; it is part of W2";

/// Takes from each number of each row the mean of the row: (W M) z = W (z - mean(z)), M = 1 - 1 1^T / n.
pub(super) fn centre(matrix: &mut [f64], columns: usize) {
    for row in matrix.chunks_exact_mut(columns) {
        let mean = row.iter().sum::<f64>() / columns as f64;
        row.iter_mut().for_each(|value| *value -= mean);
    }
}

/// The length of the first of these parameters that is there as a vector or a square matrix.
fn vector_length(source: &Source, parameters: &[&str]) -> Result<Option<usize>> {
    for parameter in parameters {
        if let [name] = source.names(parameter)?[..] {
            let long: Vec<usize> = source
                .shape(name)
                .iter()
                .copied()
                .filter(|&n| n != 1)
                .collect();
            match long[..] {
                [] => return Ok(Some(1)),
                [length] => return Ok(Some(length)),
                [first, second] if first == second => return Ok(Some(first)),
                _ => {}
            }
        }
    }
    Ok(None)
}

/// The biases: those of the inputs and of the recurrent product are added, apart from the candidate of a GRU,
/// whose recurrent bias the reset gate multiplies; and the forget gate's constant.
fn biases(
    source: &Source,
    gates: &Gates,
    units: usize,
    values: &mut BTreeMap<&'static str, Vec<f64>>,
    report: &mut Report,
) -> Result<()> {
    let count = gates.count();
    let rows = count * units;
    let keeps_apart = source
        .cell
        .shape()
        .unit_parameters
        .contains(&"recurrent_bias");
    let b = role("bias", source.cell);
    let second_role = if keeps_apart {
        "recurrent bias: added to b, for the candidate n it is c"
    } else {
        "recurrent bias, added to b"
    };
    let names = source.names("bias")?;
    let second_names = source.names("recurrent_bias")?;
    let (mut first, mut second) = (None, None);
    match names[..] {
        [] => {}
        [name] => match source.two_rows(name, rows)? {
            Some([of_inputs, of_units]) => {
                let text = format!("{b}, and in the second row the {second_role}");
                report.array(name, &text, &gates.order());
                first = Some(gates.arranged(&of_inputs));
                second = Some(gates.arranged(&of_units));
            }
            None => first = Some(source.stacked_vector("bias", &names, gates, units, &b, report)?),
        },
        _ if names.len() == count && count > 1 => {
            first = Some(source.stacked_vector("bias", &names, gates, units, &b, report)?);
        }
        [of_inputs, of_units] => {
            first = Some(source.stacked_vector("bias", &[of_inputs], gates, units, &b, report)?);
            second = Some(source.stacked_vector(
                "bias",
                &[of_units],
                gates,
                units,
                second_role,
                report,
            )?);
        }
        _ => {
            let allowed = match count {
                1 => "one array, or two that are added".to_owned(),
                _ => {
                    format!("one stacked array, two that are added, or {count}, one for each gate")
                }
            };
            return Err(source.wrong_count("bias", names.len(), &allowed));
        }
    }
    let candidate = if keeps_apart { units } else { 0 };
    match second_names[..] {
        [] => {}
        // An array of this name is a further one only if it is named.
        _ if second.is_some() && !source.is_named("recurrent_bias") => {}
        _ if second.is_some() => {
            let found = format!("a second bias beside those of \"{}\"", names.join("\", \""));
            return Err(source.setting(
                "arrays.recurrent_bias",
                &found,
                "nothing, or one array in arrays.bias",
            ));
        }
        [name] if keeps_apart && source.shape(name).iter().product::<usize>() == units => {
            let own = source.vector("recurrent_bias", name, units)?;
            report.array(name, "c, recurrent bias of the candidate", &[]);
            values.insert("recurrent_bias", own);
        }
        _ if second_names.len() == 1 || second_names.len() == count => {
            second = Some(source.stacked_vector(
                "recurrent_bias",
                &second_names,
                gates,
                units,
                second_role,
                report,
            )?);
        }
        _ => {
            let allowed = format!("one array or {count}, one for each gate");
            return Err(source.wrong_count("recurrent_bias", second_names.len(), &allowed));
        }
    }
    if let Some(mut second) = second {
        if keeps_apart {
            values.insert("recurrent_bias", second.split_off(rows - candidate));
        }
        let first = first.get_or_insert_with(|| vec![0.0; rows]);
        first
            .iter_mut()
            .zip(second)
            .for_each(|(bias, more)| *bias += more);
    }
    if source.cell == CellKind::Lstm {
        let constant = source.settings.number("forget_bias");
        if constant != 0.0 {
            let first = first.get_or_insert_with(|| vec![0.0; rows]);
            first[units..2 * units]
                .iter_mut()
                .for_each(|bias| *bias += constant);
            report.note(format!("forget_bias: {constant} is added to b of gate f"));
        }
    }
    if let Some(first) = first {
        values.insert("bias", first);
    }
    Ok(())
}

/// The leak of each unit, and of all where a key gives it.
struct Leaks {
    values: Vec<f64>,
    key: Option<f64>,
}

/// What a number says about the leak a.
#[derive(Clone, Copy)]
enum Meaning {
    Leak,
    Decay,
    Euler { dt: f64 },
    Exponential { dt: f64 },
}

impl Meaning {
    /// The leak, which must be over 0, also in the 32 bits that it is kept in, and at most 1.
    fn leak(self, value: f64) -> std::result::Result<f64, String> {
        let a = match self {
            Meaning::Leak => value,
            Meaning::Decay => 1.0 - value,
            Meaning::Euler { dt } => dt / value,
            Meaning::Exponential { dt } => -(-dt / value).exp_m1(),
        };
        if a <= 1.0 && a as f32 > 0.0 {
            return Ok(a);
        }
        Err(match self {
            Meaning::Leak => format!("{value}"),
            _ => format!("{value}, so that a = {a}"),
        })
    }

    fn rule(self) -> Option<String> {
        match self {
            Meaning::Leak => None,
            Meaning::Decay => Some("a = 1 - decay".to_owned()),
            Meaning::Euler { dt } => Some(format!("a = dt / tau, dt = {dt}")),
            Meaning::Exponential { dt } => Some(format!("a = 1 - exp(-dt / tau), dt = {dt}")),
        }
    }
}

/// The leak a of each unit: an array's, else a key's; as it is, or by 1 - a, or by tau and dt.
fn leaks(source: &Source, units: usize, report: &mut Report) -> Result<Leaks> {
    const ALLOWED: &str = "a leak a over 0 and at most 1";
    const ONE: &str = "one of leak, decay, tau";
    let only_one = |table: &str, is_there: &dyn Fn(&str) -> bool| {
        let mut given = ["leak", "decay", "tau"]
            .into_iter()
            .filter(|name| is_there(name));
        match (given.next(), given.next()) {
            (Some(first), Some(second)) => {
                let found = format!("both {first} and {second}");
                Err(source.setting(&format!("{table}{second}"), &found, ONE))
            }
            (first, _) => Ok(first),
        }
    };
    let named = only_one("arrays.", &|name| source.is_named(name))?;
    let key = only_one("", &|name| source.is_given(name))?;
    if let (Some(named), Some(key)) = (named, key)
        && named != key
    {
        let found = format!("both {key} and arrays.{named}");
        return Err(source.setting(&format!("arrays.{named}"), &found, ONE));
    }
    let dt = source.settings.optional_number("dt");
    // An array that is not named counts where no key contradicts it.
    let mut array = named;
    for (parameter, counts) in [
        ("leak", matches!(key, None | Some("leak"))),
        ("tau", matches!(key, None | Some("tau")) && dt.is_some()),
    ] {
        if array.is_none() && counts && source.name(parameter)?.is_some() {
            array = Some(parameter);
        }
    }
    let Some(parameter) = array.or(key) else {
        let allowed = "a number, or decay, or tau with dt, or an array of one of these";
        return Err(source.setting("leak", "nothing", allowed));
    };
    let meaning = match (parameter, dt) {
        ("tau", Some(dt)) if source.settings.text("discretisation") == "exponential" => {
            Meaning::Exponential { dt }
        }
        ("tau", Some(dt)) => Meaning::Euler { dt },
        ("tau", None) => {
            let allowed = "the duration of a step, in the unit of tau";
            return Err(source.setting("dt", "nothing", allowed));
        }
        (_, Some(dt)) => {
            let allowed = "nothing without tau: the leak follows from tau and dt";
            return Err(source.setting("dt", &format!("{dt}"), allowed));
        }
        ("decay", None) => Meaning::Decay,
        _ => Meaning::Leak,
    };
    if array.is_some() {
        let name = source
            .name(parameter)?
            .ok_or_else(|| source.missing(parameter))?;
        let given = source.per_unit(parameter, name, units, true)?;
        let leak_of = |(unit, &value): (usize, &f64)| {
            meaning.leak(value).map_err(|found| {
                let what = format!("array \"{name}\", parameter \"{parameter}\", unit {unit}");
                fault(source.tensors, what, found, ALLOWED)
            })
        };
        let values = given
            .iter()
            .enumerate()
            .map(leak_of)
            .collect::<Result<_>>()?;
        let role = match meaning.rule() {
            None => "a, leak".to_owned(),
            Some(rule) => format!("{parameter}: {rule}"),
        };
        let is_single = units > 1 && source.shape(name).iter().product::<usize>() == 1;
        let detail = is_single.then(|| "the same for every unit".to_owned());
        report.array(name, &role, detail.as_slice());
        return Ok(Leaks { values, key: None });
    }
    let given = source.settings.number(parameter);
    let a = meaning
        .leak(given)
        .map_err(|found| source.setting(parameter, &found, ALLOWED))?;
    report.note(match meaning.rule() {
        None => format!("leak: a = {a} for every unit, as the model file says"),
        Some(rule) => format!("leak: a = {a} for every unit, from {parameter} = {given}: {rule}"),
    });
    Ok(Leaks {
        values: vec![a; units],
        key: Some(a),
    })
}

/// x' = (1 - a) x + W r + U x + b as x' = (1 - a) x + a ((W r + U x + b) / a).
fn unscaled_drive(
    source: &Source,
    leaks: &[f64],
    values: &mut BTreeMap<&'static str, Vec<f64>>,
    report: &mut Report,
) -> Result<()> {
    if source.settings.text("drive") == "scaled" {
        return Ok(());
    }
    if source.cell == CellKind::LeakyRateTanh {
        return Err(source.setting(
            "drive",
            "\"unscaled\" with form \"rate\" and nonlinearity \"tanh\"",
            "\"scaled\"; (1 - a) r + tanh(...) is not (1 - a) r + a tanh(...) with any weights",
        ));
    }
    for name in ["recurrent", "input", "bias"] {
        if let Some(values) = values.get_mut(name) {
            let columns = values.len() / leaks.len();
            for (row, leak) in values.chunks_exact_mut(columns.max(1)).zip(leaks) {
                row.iter_mut().for_each(|value| *value /= leak);
            }
        }
    }
    report.note("drive: unscaled in the file, x' = (1 - a) x + (...); W, U and b are divided by a");
    Ok(())
}

/// Parameters as the 32 bits in which a network is kept.
pub(super) fn narrowed(source: &Source, parameter: &str, values: &[f64]) -> Result<Vec<f32>> {
    let narrow: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    match narrow.iter().position(|value| !value.is_finite()) {
        None => Ok(narrow),
        Some(number) => Err(Error::Format {
            file: place(source.tensors).into(),
            what: format!(
                "parameter \"{parameter}\", number {number} as it follows from arrays and model file"
            ),
            found: format!("{}", values[number]),
            allowed: "a number that 32 bits can hold".into(),
        }),
    }
}
