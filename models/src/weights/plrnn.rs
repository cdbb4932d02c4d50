//! Piecewise-linear networks without a hidden layer, z' = A z + W q + h + C x: as such where this program has the cell,
//! else as shallow ones, whose step is z' = A z + W1 relu(W2 z + h2) + h1 + C x.
//!
//! ```text
//! q = relu(z), W without a diagonal             plrnn
//! the same of z - mean(z)                       mean_centred_plrnn
//! q = relu(z), of the first units z; any W      almost_linear_rnn
//! q = sum_b alpha_b relu(z - H_b), or clipped   dendritic_plrnn
//! anything else of z - mean(z)                  shallow_plrnn:
//!
//! relu(z)                            W1 = W           W2 = 1         h2 = 0
//! relu(z_i) - relu(-z_i) = z_i       W1 = [w, -w]     W2 = [e, -e]   h2 = 0
//! alpha_b relu(z - H_b)              W1 = [alpha_b W] W2 = [1]       h2 = [-H_b]
//! relu(z - H_b) - relu(z)            the same, in the clipped shallow PLRNN
//! of z - mean(z)                     W2 (1 - 1 1^T / M)
//! ```
//!
//! Everywhere A is diagonal, h1 = h.

use super::model_file::Family;
use super::parameters::{MEAN_CENTRED, Parameters, centre};
use super::report::Report;
use super::source::Source;
use crate::registry;
use nullcline_data::Result;
use std::collections::BTreeMap;

/// The parameters of a PLRNN, of the cell that says them with the fewest numbers.
pub(super) fn parameters(source: &Source, report: &mut Report) -> Result<Parameters> {
    let gates = source.gates()?;
    let square = |rows: usize, columns: usize| rows == columns && rows > 0;
    let (units, w, a);
    let joint = match source.is_named("recurrent") {
        true => None,
        false => source.name("a_and_recurrent")?,
    };
    if let Some(name) = joint {
        let mut matrix = source.matrix("a_and_recurrent", name, ["units", "units"], square)?;
        report.array(name, "A, its diagonal, and W, the rest", &matrix.details);
        units = matrix.rows;
        let diagonal = matrix.values.iter_mut().step_by(units + 1);
        a = diagonal.map(std::mem::take).collect();
        w = matrix.values;
    } else {
        let name = source
            .name("recurrent")?
            .ok_or_else(|| source.missing("recurrent"))?;
        let matrix = source.matrix("recurrent", name, ["units", "units"], square)?;
        report.array(name, "W, recurrent", &matrix.details);
        units = matrix.rows;
        w = matrix.values;
        let name = source.name("a")?.ok_or_else(|| source.missing("a"))?;
        report.array(name, "A", &[]);
        a = source.per_unit("a", name, units, false)?;
    }
    let to = units.to_string();
    let input = source.stacked(
        "input",
        &gates,
        [&to, "inputs"],
        |rows, columns| rows == units && columns > 0,
        report,
    )?;
    let name = source.name("bias")?.ok_or_else(|| source.missing("bias"))?;
    report.array(name, "h, bias", &[]);
    let bias = source.vector("bias", name, units)?;

    let inputs = input.as_ref().map_or(0, |matrix| matrix.columns);
    let mut parameters = Parameters {
        units,
        hidden: 0,
        inputs,
        values: BTreeMap::from([
            ("a", a),
            ("bias", bias),
            ("input", input.map_or_else(Vec::new, |matrix| matrix.values)),
        ]),
        leak: None,
        model: None,
        relu_units: None,
    };
    let mean_centred = match source.kind.name {
        "mean_centred_plrnn" => true,
        "almost_linear_rnn" => false,
        _ => source.settings.flag("mean_centred"),
    };
    if source.kind.family == Family::Dendritic {
        let dendrites = Dendrites::read(source, units, report)?;
        if mean_centred {
            parameters.hidden_layer(&w, &dendrites.hidden_units(units), report);
        } else {
            parameters.hidden = dendrites.alphas.len();
            parameters.values.insert("recurrent", w);
            parameters.values.insert("alphas", dendrites.alphas);
            parameters.values.insert("thresholds", dendrites.thresholds);
        }
        return Ok(parameters);
    }
    let slopes = slopes(source, units, report)?;
    let rectified = slopes.iter().all(|&slope| slope == 0.0);
    let has_diagonal = w.iter().step_by(units + 1).any(|&w| w != 0.0);
    if mean_centred && (has_diagonal || !rectified) {
        let units = slopes.iter().enumerate().flat_map(|(unit, &slope)| {
            let part = |sign: f64, factor| HiddenUnit {
                unit,
                sign,
                factor,
                h2: 0.0,
            };
            [part(1.0, 1.0), part(-1.0, -slope)]
        });
        let units: Vec<HiddenUnit> = units.filter(|unit| unit.factor != 0.0).collect();
        report.note(
            "z' = A z + W relu(z) + h + C x, W with a diagonal or some units without relu, z = relu(z) - relu(-z): as a \
             shallow PLRNN with W1 = W, W2 = 1, h1 = h, h2 = 0",
        );
        parameters.hidden_layer(&w, &units, report);
        return Ok(parameters);
    }
    parameters.values.insert("recurrent", w);
    parameters.model = registry::kind(match (mean_centred, rectified && !has_diagonal) {
        (true, _) => "mean_centred_plrnn",
        (false, true) if source.kind.name == "plrnn" => "plrnn",
        (false, _) => {
            if has_diagonal && source.kind.name == "plrnn" {
                report.note(
                    "W has a diagonal of its own: an almost-linear RNN, of which no plrnn has one",
                );
            }
            parameters.relu_units = Some(slopes.iter().filter(|&&slope| slope != 1.0).count());
            parameters.values.insert("slope", slopes);
            "almost_linear_rnn"
        }
    });
    Ok(parameters)
}

/// The slope below zero of what W sees of each unit: 1 of linear units, 0 of those with a relu.
fn slopes(source: &Source, units: usize, report: &mut Report) -> Result<Vec<f64>> {
    if let Some(name) = source.name("slope")? {
        report.array(
            name,
            "slope of each unit below zero, 1 where it is linear",
            &[],
        );
        return source.vector("slope", name, units);
    }
    let (key, linear) = match source.kind.name {
        "plrnn" => ("linear_units", Some(source.settings.count("linear_units"))),
        "almost_linear_rnn" => {
            let rectified = source.settings.count("relu_units");
            ("relu_units", units.checked_sub(rectified))
        }
        _ => ("", Some(0)),
    };
    match linear {
        Some(linear) if linear <= units => {
            if key == "linear_units" && linear > 0 {
                report.note(format!("the first {linear} units have no relu"));
            }
            Ok((0..units)
                .map(|unit| if unit < linear { 1.0 } else { 0.0 })
                .collect())
        }
        _ => {
            let found = source.settings.count(key).to_string();
            Err(source.setting(key, &found, &format!("at most {units}, the units")))
        }
    }
}

impl Parameters {
    /// Makes them those of a shallow PLRNN of z - mean(z): W1 from W, W2 and h2 from the hidden units.
    fn hidden_layer(&mut self, w: &[f64], hidden_units: &[HiddenUnit], report: &mut Report) {
        let (units, hidden) = (self.units, hidden_units.len());
        let mut w1 = vec![0.0; units * hidden];
        let mut w2 = vec![0.0; hidden * units];
        for (column, hidden_unit) in hidden_units.iter().enumerate() {
            for to in 0..units {
                w1[to * hidden + column] = hidden_unit.factor * w[to * units + hidden_unit.unit];
            }
            w2[column * units + hidden_unit.unit] = hidden_unit.sign;
        }
        centre(&mut w2, units);
        report.note(MEAN_CENTRED);
        self.hidden = hidden;
        self.model = registry::kind("shallow_plrnn");
        let h2 = hidden_units.iter().map(|unit| unit.h2).collect();
        self.values
            .extend([("recurrent", w1), ("hidden", w2), ("h2", h2)]);
    }
}

/// relu(sign z_unit + h2), which W weighs with the factor.
struct HiddenUnit {
    unit: usize,
    sign: f64,
    factor: f64,
    h2: f64,
}

/// The basis functions of a dendritic PLRNN: slopes alpha, `[bases]`, and thresholds H, `[units, bases]`, of
/// relu(z - H).
struct Dendrites {
    alphas: Vec<f64>,
    thresholds: Vec<f64>,
}

impl Dendrites {
    fn read(source: &Source, units: usize, report: &mut Report) -> Result<Self> {
        let name = source
            .name("thresholds")?
            .ok_or_else(|| source.missing("thresholds"))?;
        let to = units.to_string();
        let alphas_name = source
            .name("alphas")?
            .ok_or_else(|| source.missing("alphas"))?;
        let bases = source.shape(alphas_name).iter().product::<usize>();
        let from = bases.to_string();
        let matrix = source.matrix("thresholds", name, [&to, &from], |rows, columns| {
            (rows, columns) == (units, bases)
        })?;
        let alphas = source.vector("alphas", alphas_name, bases)?;
        report.array(alphas_name, "alpha, of each basis function", &[]);
        report.array(name, "H, thresholds", &matrix.details);
        let mut thresholds = matrix.values;
        if source.settings.text("threshold_sign") == "plus" {
            thresholds
                .iter_mut()
                .for_each(|threshold| *threshold = -*threshold);
            report.note("threshold_sign: relu(z + H) in the file, relu(z - H) here; H is negated");
        }
        Ok(Dendrites { alphas, thresholds })
    }

    /// A hidden unit for every basis function of every unit.
    fn hidden_units(&self, units: usize) -> Vec<HiddenUnit> {
        let bases = self.alphas.len();
        let of_basis = |(basis, &factor): (usize, &f64)| {
            let thresholds = self.thresholds[basis..].iter().step_by(bases);
            let hidden_unit = move |(unit, &threshold): (usize, &f64)| HiddenUnit {
                unit,
                sign: 1.0,
                factor,
                h2: -threshold,
            };
            thresholds.take(units).enumerate().map(hidden_unit)
        };
        self.alphas.iter().enumerate().flat_map(of_basis).collect()
    }
}
