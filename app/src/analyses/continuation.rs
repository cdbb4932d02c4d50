//! Fixed points of every network as one of its parameters varies, and the bifurcations on the way.

use super::fixed_points::{constant_input, kept_points};
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array2, ArrayView2};
use nullcline_analysis::continuation::{
    Branch, BranchPoint, ContinuationSettings, NetworkFamily, NetworkParameter, PointKind,
    continue_branches,
};
use nullcline_analysis::pca::PrincipalComponents;
use nullcline_data::Error;
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_models::architecture::Architecture;
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "continuation",
    summary: "fixed points followed through a parameter: input, weights, leak; folds, flips, Neimark-Sacker and branch points",
    by_default: false,
    keys: &[
        Key {
            name: "parameter",
            kind: Kind::Text,
            default: Preset::Absent,
            unit: "",
            doc: "What varies: an input channel by name or as input.0; a tensor's scale such as recurrent.scale; the leak of all units; an element such as bias[3] or recurrent[3,5]. Not set: the first input channel, else recurrent.scale.",
        },
        Key {
            name: "from",
            kind: Kind::Number {
                min: -1e9,
                max: 1e9,
            },
            default: Preset::Absent,
            unit: "units of the parameter",
            doc: "Its least value; not set: 0 for scales, 0.02 for the leak, else 1 below its own value.",
        },
        Key {
            name: "to",
            kind: Kind::Number {
                min: -1e9,
                max: 1e9,
            },
            default: Preset::Absent,
            unit: "units of the parameter",
            doc: "Its largest value; not set: 2 for scales, 1 for the leak, else 1 above its own value.",
        },
        Key {
            name: "max_step",
            kind: Kind::Number {
                min: 1e-6,
                max: 1.0,
            },
            default: Preset::Number(0.02),
            unit: "",
            doc: "Longest step along a branch: of the root mean square of the states, and of the parameter as part of its range, together.",
        },
        Key {
            name: "max_points",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(1000),
            unit: "points",
            doc: "Points in each direction after which a branch is left.",
        },
        Key {
            name: "largest_state",
            kind: Kind::Number {
                min: 1e-6,
                max: 1e12,
            },
            default: Preset::Number(1e3),
            unit: "units of the state",
            doc: "A branch is left where the state grows beyond this, in the maximum norm.",
        },
    ],
    tables: &[
        TableDoc {
            name: "continuation",
            rows: "a row for every point of every branch, in order along it",
            columns: &[
                ("network", "the network, from 0"),
                ("branch", "the branch, from 0 in every network"),
                ("point", "the point, from 0 in every branch"),
                (
                    "kind",
                    "start: a point of fixed_points; regular; fold, flip, neimark_sacker, branch_point or border_collision; end",
                ),
                ("parameter_name", "what varies"),
                ("parameter", "its value p"),
                (
                    "arclength",
                    "length along the branch, in the units of max_step",
                ),
                ("state_*", "the state x"),
                ("output_*", "the output of this channel there"),
                (
                    "pc_1",
                    "place along the first principal component of the trajectories",
                ),
                ("n_unstable", "eigenvalues beyond the unit circle"),
                ("spectral_radius", "modulus of the largest eigenvalue"),
                (
                    "critical_re",
                    "real part of the eigenvalue nearest to the unit circle, at a bifurcation of the one that passes it",
                ),
                ("critical_im", "its imaginary part, not negative"),
                ("residual", "|x - F(x, p)| in the maximum norm"),
                (
                    "from_fixed_point",
                    "id of the point in fixed_points that this is; empty elsewhere",
                ),
                (
                    "ended_by",
                    "at the ends of a branch: parameter: its limit; state: larger than allowed; points: as many as allowed; stalled; closed: back at its beginning",
                ),
            ],
        },
        TableDoc {
            name: "continuation_bifurcations",
            rows: "a row for every bifurcation that was located",
            columns: &[
                ("network", "the network, from 0"),
                ("branch", "the branch in continuation"),
                ("point", "the point in continuation"),
                (
                    "kind",
                    "fold; flip: period doubling; neimark_sacker; branch_point: transcritical or pitchfork; border_collision: eigenvalues jump at the border of two linear regions",
                ),
                ("parameter_name", "what varies"),
                ("parameter", "its value at the bifurcation"),
                (
                    "bracket",
                    "the parameters of the two points between which it was located differ by so much",
                ),
                ("turns", "whether the branch turns back here"),
                (
                    "n_unstable_before",
                    "unstable eigenvalues before it, along the branch",
                ),
                ("n_unstable_after", "after it"),
                (
                    "critical_re",
                    "real part of the eigenvalue that passes the unit circle",
                ),
                ("critical_im", "its imaginary part"),
                ("angle", "|arg lambda| of it"),
                (
                    "period",
                    "2 pi / angle; infinite for a real positive eigenvalue",
                ),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &["fixed_points"],
    run,
};

/// Trials whose states the principal component is fitted to.
const TRIALS: usize = 64;

/// A point of a branch with what it belongs to.
struct Row<'a> {
    network: u64,
    branch: u64,
    point: u64,
    values: &'a BranchPoint,
    outputs: Vec<f64>,
    pc_1: f64,
    fixed_point: Option<u64>,
    ended_by: Option<&'static str>,
}

/// The branches of a network, with the ids of the points that they were begun from.
struct Continued {
    network: u64,
    branches: Vec<Branch>,
    ids: Vec<u64>,
    family: NetworkFamily,
    component: FirstComponent,
}

fn run(context: &mut Context) -> Outcome<()> {
    let input = constant_input(context);
    let points = kept_points(context.needed("fixed_points")?)?;
    let architecture = &context.ensemble.architecture;
    let channels = context.task.input_names();
    let name = match context.settings.optional_text("parameter") {
        Some(name) => name.to_owned(),
        None => match channels.first() {
            Some(channel) => channel.clone(),
            None => "recurrent.scale".to_owned(),
        },
    };
    let parameter = parameter(&name, &channels, architecture)?;
    let mut continued = Vec::new();
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let component = FirstComponent::of(context, network)?;
        let (family, value) = NetworkFamily::new(map, &input, &parameter).map_err(|error| {
            Error::argument(
                "parameter of [analysis.continuation]",
                format!("\"{name}\" of network {network}"),
                error.to_string(),
            )
        })?;
        let settings = settings(context, &name, &parameter, value)?;
        let (ids, states): (Vec<u64>, Vec<&[f64]>) = points
            .iter()
            .filter(|point| point.network == network as u64 && point.verdict == "fixed")
            .map(|point| (point.id, &point.state[..]))
            .unzip();
        let starts = Array2::from_shape_fn((states.len(), architecture.state_dim()), |(k, i)| {
            states[k][i]
        });
        let found = continue_branches(
            &family,
            starts.view(),
            value,
            &settings,
            &mut context.watch(network),
        )
        .map_err(|error| failed("continuation", error))?;
        continued.push(Continued {
            network: network as u64,
            branches: found.branches,
            ids,
            family,
            component,
        });
    }
    let unit = match parameter {
        NetworkParameter::Input(_) => context.task.input_unit().to_owned(),
        _ => String::new(),
    };
    let rows = rows(&continued)?;
    let dims = (architecture.state_dim(), architecture.outputs);
    let table = branch_table(&rows, &name, &unit, dims)?;
    context.add_table("continuation", table);
    let table = bifurcation_table(&continued, &name, &unit)?;
    context.add_table("continuation_bifurcations", table);
    Ok(())
}

/// The parameter that a text names.
fn parameter(
    text: &str,
    channels: &[String],
    architecture: &Architecture,
) -> Result<NetworkParameter, Error> {
    let wrong = || {
        Error::argument(
            "parameter of [analysis.continuation]",
            format!("\"{text}\""),
            allowed(channels, architecture),
        )
    };
    if let Some(channel) = channels.iter().position(|name| name == text) {
        return Ok(NetworkParameter::Input(channel));
    }
    if let Some(channel) = text.strip_prefix("input.").and_then(|n| n.parse().ok()) {
        return if channel < architecture.inputs {
            Ok(NetworkParameter::Input(channel))
        } else {
            Err(wrong())
        };
    }
    let tensor = |name: &str| {
        let tensors = moving_tensors(architecture).into_iter();
        tensors
            .map(|(name, shape)| (name, shape.to_vec()))
            .find(|(known, _)| known == name)
            .ok_or_else(wrong)
    };
    if let Some(name) = text.strip_suffix(".scale") {
        return Ok(NetworkParameter::Scale(tensor(name)?.0));
    }
    if let Some((name, places)) = text.strip_suffix(']').and_then(|text| text.split_once('[')) {
        let (name, shape) = tensor(name)?;
        let places: Option<Vec<usize>> = places
            .split(',')
            .map(|place| place.trim().parse().ok())
            .collect();
        let places = places
            .filter(|places| {
                places.len() == shape.len() && places.iter().zip(&shape).all(|(p, size)| p < size)
            })
            .ok_or_else(wrong)?;
        let place = places
            .iter()
            .zip(&shape)
            .fold(0, |at, (place, size)| at * size + place);
        return Ok(NetworkParameter::Element(name, place));
    }
    let (name, _) = tensor(text)?;
    if architecture.cell.shape().unit_parameters.contains(&text) {
        Ok(NetworkParameter::Value(name))
    } else {
        Err(wrong())
    }
}

/// Names and shapes of the tensors that a step depends on.
fn moving_tensors(architecture: &Architecture) -> Vec<(String, Vec<usize>)> {
    architecture
        .tensors()
        .into_iter()
        .filter(|tensor| !["readout", "readout_bias", "initial"].contains(&tensor.name.as_str()))
        .map(|tensor| (tensor.name, tensor.shape))
        .collect()
}

/// The texts that name a parameter.
fn allowed(channels: &[String], architecture: &Architecture) -> String {
    let mut words: Vec<String> = channels.to_vec();
    words.extend((0..channels.len()).map(|channel| format!("input.{channel}")));
    let tensors = moving_tensors(architecture);
    words.extend(tensors.iter().map(|(name, _)| format!("{name}.scale")));
    let of_units = architecture.cell.shape().unit_parameters.iter();
    words.extend(of_units.map(|name| (*name).to_owned()));
    words.extend(tensors.iter().map(|(name, shape)| {
        let last: Vec<String> = shape.iter().map(|size| (size - 1).to_string()).collect();
        let first = vec!["0"; shape.len()];
        format!("{name}[{}] to {name}[{}]", first.join(","), last.join(","))
    }));
    words.join(", ")
}

/// Limits and steps, and that the parameter's own value lies within them.
fn settings(
    context: &Context,
    name: &str,
    parameter: &NetworkParameter,
    value: f64,
) -> Result<ContinuationSettings, Error> {
    let (low, high) = match parameter {
        NetworkParameter::Scale(_) => (0.0, 2.0),
        NetworkParameter::Value(tensor) | NetworkParameter::Element(tensor, _)
            if tensor == "leak" =>
        {
            (0.02, 1.0)
        }
        _ => (value - 1.0, value + 1.0),
    };
    let from = context.settings.optional_number("from").unwrap_or(low);
    let to = context.settings.optional_number("to").unwrap_or(high);
    if !(from < to && (from..=to).contains(&value)) {
        return Err(Error::argument(
            "from and to of [analysis.continuation]",
            format!("{from} to {to}"),
            format!("a range that holds the network's own value of {name}, {value}"),
        ));
    }
    Ok(ContinuationSettings {
        max_step: context.settings.number("max_step"),
        max_points: context.settings.count("max_points"),
        largest_state: context.settings.number("largest_state"),
        ..ContinuationSettings::new(from, to)
    })
}

/// The first principal component of the states that a network visits: the axis of a bifurcation diagram.
pub(super) struct FirstComponent(PrincipalComponents);

impl FirstComponent {
    pub(super) fn of(context: &mut Context, network: usize) -> Outcome<Self> {
        let states = context.visited_states(network, 3, TRIALS)?;
        let fitted = PrincipalComponents::fit(states.view(), 1);
        Ok(FirstComponent(
            fitted.map_err(|error| failed("principal components", error))?,
        ))
    }

    pub(super) fn place(&self, state: &[f64]) -> Outcome<f64> {
        let view = ArrayView2::from_shape((1, state.len()), state)
            .map_err(|error| Error::argument("a state", error.to_string(), "a row of numbers"))?;
        let place = self.0.transform(view);
        let place = place.map_err(|error| failed("principal components", error))?;
        Ok(place[[0, 0]])
    }
}

fn rows(continued: &[Continued]) -> Outcome<Vec<Row<'_>>> {
    let mut rows = Vec::new();
    for of in continued {
        for (b, branch) in of.branches.iter().enumerate() {
            let last = branch.points.len().saturating_sub(1);
            for (k, values) in branch.points.iter().enumerate() {
                rows.push(Row {
                    network: of.network,
                    branch: b as u64,
                    point: k as u64,
                    values,
                    outputs: of.family.at(values.parameter).0.readout(&values.state),
                    pc_1: of.component.place(&values.state)?,
                    fixed_point: values.start.and_then(|start| of.ids.get(start).copied()),
                    ended_by: match k {
                        0 => Some(branch.ends[0].name()),
                        k if k == last => Some(branch.ends[1].name()),
                        _ => None,
                    },
                });
            }
        }
    }
    Ok(rows)
}

fn branch_table(
    rows: &[Row],
    name: &str,
    unit: &str,
    (state_dim, outputs): (usize, usize),
) -> nullcline_data::Result<Table> {
    let mut table = Table::new();
    let integers = |of: &dyn Fn(&Row) -> u64| rows.iter().map(of).collect::<Vec<u64>>();
    let numbers = |of: &dyn Fn(&Row) -> f64| rows.iter().map(of).collect::<Vec<f64>>();
    table.add("network", "", integers(&|row| row.network))?;
    table.add("branch", "", integers(&|row| row.branch))?;
    table.add("point", "", integers(&|row| row.point))?;
    let kinds: Vec<&str> = rows.iter().map(|row| row.values.kind.name()).collect();
    table.add("kind", "", kinds)?;
    table.add("parameter_name", "", vec![name; rows.len()])?;
    table.add("parameter", unit, numbers(&|row| row.values.parameter))?;
    table.add("arclength", "", numbers(&|row| row.values.arclength))?;
    for i in 0..state_dim {
        table.add(
            &format!("state_{i}"),
            "",
            numbers(&|row| row.values.state[i]),
        )?;
    }
    for i in 0..outputs {
        table.add(&format!("output_{i}"), "", numbers(&|row| row.outputs[i]))?;
    }
    table.add("pc_1", "", numbers(&|row| row.pc_1))?;
    table.add(
        "n_unstable",
        "",
        integers(&|row| row.values.n_unstable as u64),
    )?;
    table.add(
        "spectral_radius",
        "",
        numbers(&|row| row.values.spectral_radius),
    )?;
    table.add("critical_re", "", numbers(&|row| row.values.critical.re))?;
    table.add("critical_im", "", numbers(&|row| row.values.critical.im))?;
    table.add("residual", "", numbers(&|row| row.values.residual))?;
    let ids: Vec<Option<u64>> = rows.iter().map(|row| row.fixed_point).collect();
    table.add("from_fixed_point", "", ids)?;
    let ends: Vec<Option<&str>> = rows.iter().map(|row| row.ended_by).collect();
    table.add("ended_by", "", ends)?;
    Ok(table)
}

fn bifurcation_table(
    continued: &[Continued],
    name: &str,
    unit: &str,
) -> nullcline_data::Result<Table> {
    let mut table = Table::new();
    let rows: Vec<_> = continued
        .iter()
        .flat_map(|of| {
            of.branches
                .iter()
                .enumerate()
                .map(move |(b, branch)| (of.network, b, branch))
        })
        .flat_map(|(network, b, branch)| {
            let bifurcations = branch.bifurcations.iter();
            bifurcations.map(move |found| (network, b as u64, &branch.points[found.point], found))
        })
        .collect();
    table.add("network", "", rows.iter().map(|r| r.0).collect::<Vec<_>>())?;
    table.add("branch", "", rows.iter().map(|r| r.1).collect::<Vec<_>>())?;
    let points: Vec<u64> = rows.iter().map(|r| r.3.point as u64).collect();
    table.add("point", "", points)?;
    let kinds: Vec<&str> = rows
        .iter()
        .map(|r| PointKind::Bifurcation(r.3.kind).name())
        .collect();
    table.add("kind", "", kinds)?;
    table.add("parameter_name", "", vec![name; rows.len()])?;
    let at: Vec<f64> = rows.iter().map(|r| r.2.parameter).collect();
    table.add("parameter", unit, at)?;
    let brackets: Vec<f64> = rows.iter().map(|r| r.3.bracket).collect();
    table.add("bracket", unit, brackets)?;
    let turns: Vec<bool> = rows.iter().map(|r| r.3.turns).collect();
    table.add("turns", "", turns)?;
    let before: Vec<u64> = rows.iter().map(|r| r.3.n_unstable_before as u64).collect();
    table.add("n_unstable_before", "", before)?;
    let after: Vec<u64> = rows.iter().map(|r| r.3.n_unstable_after as u64).collect();
    table.add("n_unstable_after", "", after)?;
    let re: Vec<f64> = rows.iter().map(|r| r.3.critical.re).collect();
    table.add("critical_re", "", re)?;
    let im: Vec<f64> = rows.iter().map(|r| r.3.critical.im).collect();
    table.add("critical_im", "", im)?;
    let angles: Vec<f64> = rows.iter().map(|r| r.3.angle()).collect();
    table.add("angle", "rad", angles)?;
    let periods: Vec<f64> = rows.iter().map(|r| r.3.period()).collect();
    table.add("period", "steps", periods)?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nullcline_models::architecture::{CellKind, Readout};

    fn parsed(text: &str) -> Result<NetworkParameter, String> {
        let architecture = Architecture {
            cell: CellKind::LeakyRateTanh,
            inputs: 2,
            units: 4,
            hidden: 0,
            outputs: 1,
            bias: true,
            readout: Readout::Linear,
            train_leak: false,
        };
        let channels = ["pulse_1".to_owned(), "pulse_2".to_owned()];
        parameter(text, &channels, &architecture).map_err(|error| error.to_string())
    }

    #[test]
    fn a_text_names_a_parameter() {
        use NetworkParameter::{Element, Input, Scale, Value};
        for (text, expected) in [
            ("pulse_2", Input(1)),
            ("input.0", Input(0)),
            ("input.scale", Scale("input".into())),
            ("recurrent.scale", Scale("recurrent".into())),
            ("leak", Value("leak".into())),
            ("leak.scale", Scale("leak".into())),
            ("bias[3]", Element("bias".into(), 3)),
            ("recurrent[2,1]", Element("recurrent".into(), 9)),
            ("input[3, 1]", Element("input".into(), 7)),
        ] {
            assert_eq!(parsed(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_names_none_is_told_what_would() {
        for text in [
            "",
            "pulse_3",
            "input.2",
            "input.x",
            "recurrent",
            "readout.scale",
            "recurrent[4,0]",
            "recurrent[0]",
            "bias[-1]",
            "bias[]",
            "[0]",
            "bias[0",
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
            for allowed in ["pulse_1", "input.1", "recurrent.scale", "leak", "bias[3]"] {
                assert!(error.contains(allowed), "{text}: {error}");
            }
        }
    }
}
