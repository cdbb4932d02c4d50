//! How much a network bears: parameters perturbed by a relative norm, and noise on the state.

use super::lesions::{
    Comparison, Intact, LOSS, LOSS_BEFORE, RELATIVE_ACCURACY, TRAJECTORY_DISTANCE, add_comparisons,
};
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::{Fault, Outcome};
use nullcline_analysis::lesions::{
    Direction, ParameterGroup, perturbed_parameters, respond, respond_with_noise, spread,
};
use nullcline_data::Error;
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_models::architecture::Architecture;
use nullcline_models::network::Network;
use nullcline_tables::Table;
use nullcline_tasks::TRIALS_PER_INDEX;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "perturbations",
    summary: "the task and the trajectories under random perturbations of the weights, of the time constants, and under noise",
    by_default: false,
    keys: &[
        Key {
            name: "groups",
            kind: Kind::Texts,
            default: Preset::Texts(&["recurrent", "time_constants", "noise"]),
            unit: "",
            doc: "What is perturbed, one at a time: recurrent (weights), time_constants (left out where the cell has none), all (parameters that are trained), noise (on the state, at every step).",
        },
        Key {
            name: "relative_norms",
            kind: Kind::Numbers { min: 0.0, max: 1e6 },
            default: Preset::Numbers(&[0.01, 0.0215, 0.0464, 0.1, 0.215, 0.464, 1.0]),
            unit: "",
            doc: "Euclidean norm of the perturbation over that of the parameters of the group; of noise, its root mean square over the spread of the trajectories.",
        },
        Key {
            name: "repeats",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(10),
            unit: "",
            doc: "Random directions, or noises; each is scaled to all relative norms.",
        },
        Key {
            name: "time_constant_direction",
            kind: Kind::Choice(&["one_sided", "two_sided"]),
            default: Preset::Text("one_sided"),
            unit: "",
            doc: "One_sided: time constants grow, as published; two_sided: they grow and shrink, but not below one step.",
        },
        Key {
            name: "trials",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(64),
            unit: "trials",
            doc: "Held-out trials that the networks are run on, the first ones of those of performance.",
        },
    ],
    tables: &[TableDoc {
        name: "perturbations",
        rows: "a row for every network, group, relative norm and repeat",
        columns: &[
            ("network", "the network, from 0"),
            ("group", "what is perturbed, as the key `groups`"),
            (
                "relative_norm",
                "norm of the perturbation over that of what is perturbed",
            ),
            ("repeat", "the direction or noise, from 0"),
            (
                "noise_sd",
                "standard deviation of the noise; empty for other groups",
            ),
            LOSS,
            LOSS_BEFORE,
            RELATIVE_ACCURACY,
            TRAJECTORY_DISTANCE,
            (
                "*",
                "the task's own measures, such as accuracy, and with `_before` those of the intact network",
            ),
        ],
    }],
    applies: |_, _| true,
    needs: &[],
    run,
};

/// The group of the key `groups` that is no group of parameters.
const NOISE: &str = "noise";

/// What is perturbed.
#[derive(Clone, Copy)]
enum Perturbed {
    Parameters(ParameterGroup),
    Noise,
}

impl Perturbed {
    fn name(self) -> &'static str {
        match self {
            Self::Parameters(group) => group.name(),
            Self::Noise => NOISE,
        }
    }

    /// The random stream's index of a repeat: a number for ever.
    fn index(self, repeat: u64) -> u64 {
        let group = match self {
            Self::Parameters(ParameterGroup::Recurrent) => 0,
            Self::Parameters(ParameterGroup::TimeConstants) => 1,
            Self::Parameters(ParameterGroup::Trained) => 2,
            Self::Noise => return repeat * TRIALS_PER_INDEX,
        };
        group << 32 | repeat
    }
}

/// The groups of the key that the network has.
fn groups(names: &[String], architecture: &Architecture) -> nullcline_data::Result<Vec<Perturbed>> {
    let known: Vec<Perturbed> = ParameterGroup::ALL
        .map(Perturbed::Parameters)
        .into_iter()
        .chain([Perturbed::Noise])
        .collect();
    let refused = |found: String, of: &[Perturbed]| {
        let allowed: Vec<&str> = of.iter().map(|group| group.name()).collect();
        Error::argument("analysis.perturbations.groups", found, allowed.join(", "))
    };
    let mut chosen = Vec::new();
    for name in names {
        let group = known.iter().copied().find(|group| group.name() == name);
        chosen.push(group.ok_or_else(|| refused(format!("\"{name}\""), &known))?);
    }
    let applies = |group: &Perturbed| match group {
        Perturbed::Parameters(group) => group.applies(architecture),
        Perturbed::Noise => true,
    };
    chosen.retain(applies);
    if chosen.is_empty() {
        let applying: Vec<Perturbed> = known.into_iter().filter(applies).collect();
        let found = format!("nothing that the cell \"{}\" has", architecture.cell.name());
        return Err(refused(found, &applying));
    }
    Ok(chosen)
}

struct Row {
    network: u64,
    group: &'static str,
    relative_norm: f64,
    repeat: u64,
    noise_sd: Option<f64>,
    comparison: Comparison,
}

fn run(context: &mut Context) -> Outcome<()> {
    let architecture = &context.ensemble.architecture;
    let groups = groups(context.settings.texts("groups"), architecture)?;
    let norms = context.settings.numbers("relative_norms").to_vec();
    let repeats = context.settings.count("repeats") as u64;
    let one_sided = context.settings.text("time_constant_direction") == "one_sided";
    let mut rows = Vec::new();
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(intact) = Intact::new(context, network)? else {
            continue;
        };
        let seed = context.seed(network);
        // Noise of relative norm 1 is as long, in root mean square, as the trajectories are spread.
        let spread = spread(intact.response.states.view())
            .map_err(|error| failed("spread of the trajectories", error))?;
        let unit_sd = spread / (intact.network.state_dim() as f64).sqrt();
        let all = (groups.len() as u64 * repeats) as f64;
        for (number, &group) in groups.iter().enumerate() {
            for repeat in 0..repeats {
                let done = (number as u64 * repeats + repeat) as f64 / all;
                if !context.watch(network)(done) {
                    return Err(Fault::Stopped);
                }
                for &relative_norm in &norms {
                    let (inputs, initial) = (intact.inputs.view(), intact.initial.view());
                    let index = group.index(repeat);
                    let noise_sd = relative_norm * unit_sd;
                    let response = match group {
                        Perturbed::Noise => {
                            let stream =
                                |trial| Random::new(seed, Stream::NOISE, index + trial as u64);
                            respond_with_noise(&intact.network, inputs, initial, noise_sd, stream)
                        }
                        Perturbed::Parameters(group) => {
                            let time_constants = group == ParameterGroup::TimeConstants;
                            let direction = match time_constants && one_sided {
                                true => Direction::OneSided,
                                false => Direction::TwoSided,
                            };
                            let mut random = Random::new(seed, Stream::PERTURBATIONS, index);
                            perturbed_parameters(
                                &intact.network,
                                group,
                                relative_norm,
                                direction,
                                &mut random,
                            )
                            .and_then(|parameters| {
                                let map = Network::from_f64(architecture.clone(), parameters);
                                respond(&map, inputs, initial)
                            })
                        }
                    }
                    .map_err(|error| failed("response of the perturbed network", error))?;
                    rows.push(Row {
                        network: network as u64,
                        group: group.name(),
                        relative_norm,
                        repeat,
                        noise_sd: matches!(group, Perturbed::Noise).then_some(noise_sd),
                        comparison: intact.compare(&response)?,
                    });
                }
            }
        }
    }
    let mut table = Table::new();
    table.add(
        "network",
        "",
        rows.iter().map(|r| r.network).collect::<Vec<_>>(),
    )?;
    table.add(
        "group",
        "",
        rows.iter().map(|r| r.group).collect::<Vec<_>>(),
    )?;
    let norms = rows.iter().map(|r| r.relative_norm);
    table.add("relative_norm", "", norms.collect::<Vec<_>>())?;
    table.add(
        "repeat",
        "",
        rows.iter().map(|r| r.repeat).collect::<Vec<_>>(),
    )?;
    let sds = rows.iter().map(|r| r.noise_sd);
    table.add("noise_sd", "units of the state", sds.collect::<Vec<_>>())?;
    let comparisons: Vec<&Comparison> = rows.iter().map(|row| &row.comparison).collect();
    add_comparisons(&mut table, context.task, &comparisons)?;
    context.add_table("perturbations", table);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nullcline_models::architecture::{CellKind, Readout};

    #[test]
    fn groups_that_a_cell_lacks_are_left_out_and_unknown_ones_refused() {
        let chosen = |cell: CellKind, names: &[&str]| {
            let architecture = Architecture {
                cell,
                inputs: 1,
                units: 3,
                hidden: 0,
                outputs: 1,
                bias: true,
                readout: Readout::Linear,
                train_leak: false,
            };
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let names_of = |groups: Vec<Perturbed>| {
                let names = groups.iter().map(|group| group.name());
                names.collect::<Vec<_>>()
            };
            groups(&names, &architecture)
                .map(names_of)
                .map_err(|error| error.to_string())
        };
        let default = ["recurrent", "time_constants", "noise"];
        assert_eq!(
            chosen(CellKind::LeakyRateTanh, &default),
            Ok(default.to_vec())
        );
        assert_eq!(
            chosen(CellKind::Gru, &default),
            Ok(vec!["recurrent", "noise"])
        );
        assert_eq!(
            chosen(CellKind::Gru, &["weights"]),
            Err("analysis.perturbations.groups: found \"weights\"; allowed: recurrent, time_constants, all, noise".to_owned())
        );
        let none = chosen(CellKind::Gru, &["time_constants"]).unwrap_err();
        assert!(none.contains("\"gru\"") && none.contains("recurrent, all, noise"));
    }
}
