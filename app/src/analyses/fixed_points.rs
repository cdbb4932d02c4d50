//! Fixed points of every network under a constant input, with a verdict on every candidate.

use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::s;
use nullcline_analysis::fixed_points::{
    FixedPointSearch, FixedPointSettings, Rejection, Verdict, find_fixed_points, typical_speed,
};
use nullcline_analysis::starts::sample_starts;
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "fixed_points",
    summary: "fixed and slow points by Newton's method from visited states, fixed ones proved, and how complete the search is",
    by_default: true,
    keys: &[
        Key {
            name: "starts",
            kind: Kind::Integer {
                min: 1,
                max: 10_000_000,
            },
            default: Preset::Integer(1024),
            unit: "",
            doc: "Starts of the search: visited states, every second one moved towards another.",
        },
        Key {
            name: "trials",
            kind: Kind::Integer {
                min: 1,
                max: 100_000,
            },
            default: Preset::Integer(64),
            unit: "trials",
            doc: "Held-out trials whose states the starts are drawn from.",
        },
        Key {
            name: "noise",
            kind: Kind::Number { min: 0.0, max: 1e6 },
            default: Preset::Number(0.1),
            unit: "units of the state",
            doc: "Standard deviation of the Gaussian noise added to each start.",
        },
        Key {
            name: "input",
            kind: Kind::Numbers {
                min: -1e9,
                max: 1e9,
            },
            default: Preset::Absent,
            unit: "",
            doc: "The constant input, one number per channel; not set: the task's input at rest.",
        },
        Key {
            name: "tolerance",
            kind: Kind::Number { min: 0.0, max: 1.0 },
            default: Preset::Number(1e-12),
            unit: "units of the state",
            doc: "Largest residual |x - F(x, u)| of a fixed point, in the maximum norm.",
        },
        Key {
            name: "slow_speed",
            kind: Kind::Number { min: 0.0, max: 1e9 },
            default: Preset::Number(1e-4),
            unit: "units of the state, squared",
            doc: "Largest speed q = 1/2 |x - F(x, u)|^2 of a slow point; faster minima are rejected, and kept as such.",
        },
        Key {
            name: "outside_distance",
            kind: Kind::Number { min: 0.0, max: 1e9 },
            default: Preset::Absent,
            unit: "mean distances",
            doc: "Reject points farther from the mean of the starts than so many of their mean distances; not set: none.",
        },
    ],
    tables: &[
        TableDoc {
            name: "fixed_points",
            rows: "a row for every candidate, kept or not",
            columns: &[
                ("network", "the network, from 0"),
                ("id", "the candidate, from 0 in every network"),
                ("input_*", "the constant input"),
                ("state_*", "the state x"),
                ("speed", "q = 1/2 |x - F(x, u)|^2"),
                ("residual", "|x - F(x, u)| in the maximum norm"),
                (
                    "verdict",
                    "fixed: proved to exist; slow: a minimum of the speed, or a point that could not be proved; rejected",
                ),
                (
                    "rejected_by",
                    "the rule that rejected it, such as duplicate_of_3",
                ),
                (
                    "relative_speed",
                    "q over the median q of the network at work",
                ),
                (
                    "certified",
                    "whether existence and uniqueness are proved; empty where there was nothing to prove",
                ),
                (
                    "existence_radius",
                    "a fixed point lies this near, in the maximum norm",
                ),
                ("uniqueness_radius", "and no other lies within this"),
                ("not_certified_because", "what the proof failed at"),
                ("n_unstable", "eigenvalues beyond the unit circle"),
                ("spectral_radius", "modulus of the largest eigenvalue"),
                ("condition", "condition number of I - J"),
                ("index", "sign det(I - J)"),
                ("found_from", "starts that led here"),
                ("iterations", "Newton steps of the first of them"),
            ],
        },
        TableDoc {
            name: "fixed_points_search",
            rows: "a row for every network: how complete the search is",
            columns: &[
                ("network", "the network, from 0"),
                ("starts", "starts of the search"),
                ("index_sum", "sum of the indices of the points found"),
                (
                    "topology",
                    "complete: the indices add up as they must; missing: they do not; undecided: nothing is known of what they must be",
                ),
                (
                    "unseen_mass",
                    "part of all starts that would lead to points not found yet, by Good and Turing",
                ),
                ("trajectory_speed", "median q of the network at work"),
            ],
        },
        TableDoc {
            name: "fixed_points_saturation",
            rows: "a row for some numbers of starts",
            columns: &[
                ("network", "the network, from 0"),
                ("starts", "so many starts"),
                (
                    "fixed_points",
                    "would have been expected to find so many points",
                ),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &[],
    run,
};

/// About how many visited states the speed of the trajectories is taken from.
const SPEEDS: usize = 1000;

/// The constant input of the search: the one asked for, or the task's at rest.
pub fn constant_input(context: &Context) -> Vec<f64> {
    let settings = context.experiment.analysis("fixed_points");
    match settings.and_then(|settings| settings.optional_numbers("input")) {
        Some(input) => input.to_vec(),
        None => context.task.rest_input(),
    }
}

/// How the search works, from the settings of this analysis.
pub fn search_settings(settings: &Settings) -> FixedPointSettings {
    FixedPointSettings {
        tolerance: settings.number("tolerance"),
        slow_speed: settings.number("slow_speed"),
        outside_distance: settings.optional_number("outside_distance"),
        ..FixedPointSettings::default()
    }
}

fn run(context: &mut Context) -> Outcome<()> {
    let input = constant_input(context);
    let settings = search_settings(context.settings);
    let mut searches = Vec::new();
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let seed = context.seed(network);
        let states = context.visited_states(network, 3, context.settings.count("trials"))?;
        let mut random = Random::new(seed, Stream::STARTS, 0);
        let starts = sample_starts(
            states.view(),
            context.settings.count("starts"),
            context.settings.number("noise"),
            &mut random,
        )
        .map_err(|error| failed("starts of the fixed-point search", error))?;
        // Slow is what is slow beside the network at work, not beside noisy starts.
        let every = (states.nrows() / SPEEDS).max(1) as isize;
        let speed = typical_speed(&map, states.slice(s![..;every, ..]), &input)
            .map_err(|error| failed("speed of the trajectories", error))?;
        let settings = FixedPointSettings {
            trajectory_speed: speed.is_finite().then_some(speed),
            ..settings.clone()
        };
        let search = find_fixed_points(&map, starts.view(), &input, &settings)
            .map_err(|error| failed("fixed-point search", error))?;
        searches.push((network as u64, search));
    }
    let table = table(&searches, &input, context.ensemble.architecture.state_dim())?;
    context.add_table("fixed_points", table);
    context.add_table("fixed_points_search", completeness(&searches)?);
    context.add_table("fixed_points_saturation", saturation(&searches)?);
    Ok(())
}

/// What every search says of its own completeness.
fn completeness(searches: &[(u64, FixedPointSearch)]) -> nullcline_data::Result<Table> {
    let mut table = Table::new();
    let of = |(network, _): &(u64, FixedPointSearch)| *network;
    table.add("network", "", searches.iter().map(of).collect::<Vec<_>>())?;
    table.add(
        "starts",
        "",
        searches
            .iter()
            .map(|(_, search)| search.led_to.len() as u64)
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "index_sum",
        "",
        searches
            .iter()
            .map(|(_, search)| search.index_sum)
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "topology",
        "",
        searches
            .iter()
            .map(|(_, search)| search.topology().name())
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "unseen_mass",
        "",
        searches
            .iter()
            .map(|(_, search)| search.unseen_mass())
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "trajectory_speed",
        "units of the state, squared",
        searches
            .iter()
            .map(|(_, search)| search.trajectory_speed)
            .collect::<Vec<_>>(),
    )?;
    Ok(table)
}

/// How many distinct fixed points fewer starts would have been expected to find.
fn saturation(searches: &[(u64, FixedPointSearch)]) -> nullcline_data::Result<Table> {
    let rows: Vec<(u64, usize, f64)> = searches
        .iter()
        .flat_map(|(network, search)| {
            let curve = search.saturation().into_iter();
            curve.map(|(starts, points)| (*network, starts, points))
        })
        .collect();
    let mut table = Table::new();
    table.add("network", "", rows.iter().map(|r| r.0).collect::<Vec<_>>())?;
    table.add(
        "starts",
        "",
        rows.iter().map(|r| r.1 as u64).collect::<Vec<_>>(),
    )?;
    table.add(
        "fixed_points",
        "",
        rows.iter().map(|r| r.2).collect::<Vec<_>>(),
    )?;
    Ok(table)
}

/// One row per candidate of every network, the rejected ones too.
fn table(
    searches: &[(u64, FixedPointSearch)],
    input: &[f64],
    state_dim: usize,
) -> nullcline_data::Result<Table> {
    let points: Vec<_> = searches
        .iter()
        .flat_map(|(network, search)| search.points.iter().map(move |point| (*network, point)))
        .collect();
    let mut table = Table::new();
    table.add(
        "network",
        "",
        points
            .iter()
            .map(|(network, _)| *network)
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "id",
        "",
        points.iter().map(|(_, p)| p.id as u64).collect::<Vec<_>>(),
    )?;
    for (i, u) in input.iter().enumerate() {
        table.add(&format!("input_{i}"), "", vec![*u; points.len()])?;
    }
    for i in 0..state_dim {
        table.add(
            &format!("state_{i}"),
            "",
            points.iter().map(|(_, p)| p.state[i]).collect::<Vec<_>>(),
        )?;
    }
    table.add(
        "speed",
        "",
        points.iter().map(|(_, p)| p.speed).collect::<Vec<_>>(),
    )?;
    table.add(
        "residual",
        "",
        points.iter().map(|(_, p)| p.residual).collect::<Vec<_>>(),
    )?;
    table.add(
        "verdict",
        "",
        points
            .iter()
            .map(|(_, p)| p.verdict.name())
            .collect::<Vec<_>>(),
    )?;
    let rejected_by: Vec<Option<String>> = points
        .iter()
        .map(|(_, p)| match p.verdict {
            Verdict::Rejected(Rejection::DuplicateOf(id)) => Some(format!("duplicate_of_{id}")),
            Verdict::Rejected(reason) => Some(reason.name().to_owned()),
            _ => None,
        })
        .collect();
    table.add("rejected_by", "", rejected_by)?;
    table.add(
        "relative_speed",
        "",
        points
            .iter()
            .map(|(_, p)| p.relative_speed)
            .collect::<Vec<_>>(),
    )?;
    // Nothing stands where there was nothing to prove.
    table.add(
        "certified",
        "",
        points
            .iter()
            .map(|(_, p)| p.proof.as_ref().map(|proof| proof.is_ok()))
            .collect::<Vec<Option<bool>>>(),
    )?;
    table.add(
        "existence_radius",
        "",
        points
            .iter()
            .map(|(_, p)| p.certificate().map(|proof| proof.existence))
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "uniqueness_radius",
        "",
        points
            .iter()
            .map(|(_, p)| p.certificate().map(|proof| proof.uniqueness))
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "not_certified_because",
        "",
        points
            .iter()
            .map(|(_, p)| match &p.proof {
                Some(Err(refusal)) => Some(refusal.name().to_owned()),
                _ => None,
            })
            .collect::<Vec<Option<String>>>(),
    )?;
    let counts: Vec<Option<i64>> = points
        .iter()
        .map(|(_, p)| p.n_unstable.map(|n| n as i64))
        .collect();
    table.add("n_unstable", "", counts)?;
    table.add(
        "spectral_radius",
        "",
        points
            .iter()
            .map(|(_, p)| p.spectral_radius)
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "condition",
        "",
        points.iter().map(|(_, p)| p.condition).collect::<Vec<_>>(),
    )?;
    table.add(
        "index",
        "",
        points
            .iter()
            .map(|(_, p)| p.index.map(i64::from))
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "found_from",
        "starts",
        points
            .iter()
            .map(|(_, p)| p.found_from as u64)
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "iterations",
        "",
        points
            .iter()
            .map(|(_, p)| p.iterations as u64)
            .collect::<Vec<_>>(),
    )?;
    Ok(table)
}

/// A fixed or slow point, read back from the table.
pub struct Point {
    /// Network, from 0.
    pub network: u64,
    /// Its id within the network.
    pub id: u64,
    /// The state x.
    pub state: Vec<f64>,
    /// `fixed` or `slow`.
    pub verdict: String,
    /// Number of eigenvalues beyond the unit circle, where they are known.
    pub n_unstable: Option<u64>,
}

/// The fixed and slow points of the table, without the rejected ones.
pub fn kept_points(table: &Table) -> nullcline_data::Result<Vec<Point>> {
    let networks = table.u64_column("network")?;
    let ids = table.u64_column("id")?;
    let verdicts = table.text_column("verdict")?;
    let unstable = table.f64_column("n_unstable")?;
    let states: Vec<Vec<f64>> = (0..)
        .map(|i| format!("state_{i}"))
        .take_while(|name| table.column(name).is_some())
        .map(|name| table.f64_column(&name))
        .collect::<nullcline_data::Result<_>>()?;
    Ok((0..networks.len())
        .filter_map(|row| {
            let verdict = verdicts.get(row).copied().flatten()?;
            (verdict != "rejected").then(|| Point {
                network: networks[row],
                id: ids[row],
                state: states.iter().map(|column| column[row]).collect(),
                verdict: verdict.to_owned(),
                n_unstable: (!unstable[row].is_nan()).then_some(unstable[row] as u64),
            })
        })
        .collect())
}
