//! Piecewise-linear networks without a hidden layer as shallow ones, whose step is
//! z' = A z + W1 relu(W2 z + h2) + h1 + C x.
//!
//! ```text
//! PLRNN           z' = A z + W relu(z) + h                       W1 = W          W2 = 1         h2 = 0
//! linear units    relu(z_i) - relu(-z_i) = z_i                   W1 = [w, -w]    W2 = [e, -e]   h2 = 0
//! dendritic       z' = A z + W sum_b alpha_b relu(z - H_b) + h   W1 = [alpha_b W]  W2 = [1]     h2 = [-H_b]
//! clipped         relu(z - H_b) - relu(z) in the sum             the same, in the clipped shallow PLRNN
//! mean-centred    relu of z - mean(z)                            W2 (1 - 1 1^T / M)
//! ```
//!
//! Everywhere A is diagonal, h1 = h.

use super::model_file::Family;
use super::parameters::{MEAN_CENTRED, Parameters, centre};
use super::report::Report;
use super::source::Source;
use nullcline_data::Result;
use std::collections::BTreeMap;

/// The parameters of the shallow PLRNN that a PLRNN is.
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

    // A hidden unit is relu(sign z_unit + h2), and W weighs it with the factor.
    let mut hidden_units: Vec<HiddenUnit> = Vec::new();
    match source.kind.family {
        Family::Dendritic => dendrites(source, units, &mut hidden_units, report)?,
        _ => {
            let linear = source.settings.count("linear_units");
            if linear > units {
                let found = linear.to_string();
                return Err(source.setting(
                    "linear_units",
                    &found,
                    &format!("at most {units}, the units"),
                ));
            }
            for unit in 0..units {
                hidden_units.push(HiddenUnit {
                    unit,
                    sign: 1.0,
                    factor: 1.0,
                    h2: 0.0,
                });
                if unit < linear {
                    hidden_units.push(HiddenUnit {
                        unit,
                        sign: -1.0,
                        factor: -1.0,
                        h2: 0.0,
                    });
                }
            }
            let linear = match linear {
                0 => String::new(),
                linear => {
                    format!(", the first {linear} units without relu: z = relu(z) - relu(-z)")
                }
            };
            report.note(format!(
                "plrnn: z' = A z + W relu(z) + h + C x{linear}; the same as a shallow PLRNN with W1 = W, W2 = 1, \
                 h1 = h, h2 = 0"
            ));
        }
    }
    let hidden = hidden_units.len();
    let mut w1 = vec![0.0; units * hidden];
    let mut w2 = vec![0.0; hidden * units];
    for (
        column,
        HiddenUnit {
            unit, sign, factor, ..
        },
    ) in hidden_units.iter().enumerate()
    {
        for to in 0..units {
            w1[to * hidden + column] = factor * w[to * units + unit];
        }
        w2[column * units + unit] = *sign;
    }
    if source.settings.flag("mean_centred") {
        centre(&mut w2, units);
        report.note(MEAN_CENTRED);
    }
    let inputs = input.as_ref().map_or(0, |matrix| matrix.columns);
    Ok(Parameters {
        units,
        hidden,
        inputs,
        values: BTreeMap::from([
            ("a", a),
            ("recurrent", w1),
            ("hidden", w2),
            ("h2", hidden_units.iter().map(|unit| unit.h2).collect()),
            ("bias", bias),
            ("input", input.map_or_else(Vec::new, |matrix| matrix.values)),
        ]),
        leak: None,
    })
}

struct HiddenUnit {
    unit: usize,
    sign: f64,
    factor: f64,
    h2: f64,
}

/// A hidden unit for every basis function of every unit.
fn dendrites(
    source: &Source,
    units: usize,
    hidden_units: &mut Vec<HiddenUnit>,
    report: &mut Report,
) -> Result<()> {
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
    let plus = source.settings.text("threshold_sign") == "plus";
    for (basis, factor) in alphas.into_iter().enumerate() {
        for unit in 0..units {
            let threshold = matrix.values[unit * bases + basis];
            let h2 = if plus { threshold } else { -threshold };
            hidden_units.push(HiddenUnit {
                unit,
                sign: 1.0,
                factor,
                h2,
            });
        }
    }
    let sign = if plus { "+" } else { "-" };
    let (clip, cell) = if source.settings.flag("clipped") {
        (" - relu(z)", "clipped shallow")
    } else {
        ("", "shallow")
    };
    report.note(format!(
        "dendritic_plrnn: z' = A z + W sum_b alpha_b [relu(z {sign} H_b){clip}] + h + C x, {bases} basis functions; the \
         same as a {cell} PLRNN with W1 = [alpha_b W], W2 = [1], h1 = h, h2 = [{}H_b]",
        if plus { "" } else { "-" }
    ));
    Ok(())
}
