//! Fixed points of every network under a constant input, with a verdict on every candidate.

use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array2, s};
use nullcline_analysis::Watch;
use nullcline_analysis::fixed_points::{
    FixedPoint, FixedPointSearch, FixedPointSettings, Rejection, Verdict, find_fixed_points,
    typical_speed,
};
use nullcline_analysis::starts::{sample_starts, starts_in_box};
use nullcline_data::Error;
use nullcline_data::random::{Random, Stream};
use nullcline_data::recording::read_matrix;
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use nullcline_models::ensemble::Ensemble;
use nullcline_models::network::Network;
use nullcline_tables::Table;
use std::path::Path;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "fixed_points",
    summary: "fixed and slow points by Newton's method from visited states, fixed ones proved, and how complete the search is",
    by_default: true,
    keys: &[
        Key {
            name: "from",
            kind: Kind::Choice(&["visited", "box", "file"]),
            default: Preset::Text("visited"),
            unit: "",
            doc: "Where the search starts: states visited on held-out trials and points between them, a box, or the states of a file.",
        },
        Key {
            name: "box_low",
            kind: Kind::Number {
                min: -1e9,
                max: 1e9,
            },
            default: Preset::Number(-1.0),
            unit: "units of the state",
            doc: "The lower end of the box, the same for every variable; starts are drawn uniformly.",
        },
        Key {
            name: "box_high",
            kind: Kind::Number {
                min: -1e9,
                max: 1e9,
            },
            default: Preset::Number(1.0),
            unit: "units of the state",
            doc: "The upper end of the box.",
        },
        Key {
            name: "file",
            kind: Kind::Path,
            default: Preset::Absent,
            unit: "",
            doc: "States to start from, [state, variable], as npy, npz (FILE.npz:ARRAY), csv or tsv; all of them, without noise.",
        },
        Key {
            name: "starts",
            kind: Kind::Integer {
                min: 1,
                max: 10_000_000,
            },
            default: Preset::Integer(1024),
            unit: "",
            doc: "Starts of the search; of visited states every second one is moved towards another.",
        },
        Key {
            name: "most_starts",
            kind: Kind::Integer {
                min: 1,
                max: 100_000_000,
            },
            default: Preset::Integer(16_384),
            unit: "",
            doc: "Where points are missing by their indices, or one was found from a single start, twice as many starts are made, up to this.",
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
            doc: "Standard deviation of the Gaussian noise added to each visited state.",
        },
        Key {
            name: "input",
            kind: Kind::Numbers {
                min: -1e9,
                max: 1e9,
            },
            default: Preset::Absent,
            unit: "",
            doc: "The constant input, one number per channel, or several inputs one after the other; not set: the task's input at rest.",
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
            rows: "a row for every network and input: how complete the search is",
            columns: &[
                ("network", "the network, from 0"),
                ("input_*", "the constant input"),
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
                ("input_*", "the constant input"),
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

/// The constant inputs of the search: those asked for, or the task's at rest. That they fit was checked with the
/// experiment.
fn constant_inputs(context: &Context) -> Vec<Vec<f64>> {
    let channels = context.ensemble.architecture.inputs;
    let settings = context.experiment.analysis("fixed_points");
    match settings.and_then(|settings| settings.optional_numbers("input")) {
        Some(asked) if channels > 0 => asked.chunks(channels).map(<[f64]>::to_vec).collect(),
        _ => vec![context.task.rest_input()],
    }
}

/// The constant input of the analyses that take one: the first of the search's.
pub fn constant_input(context: &Context) -> Vec<f64> {
    constant_inputs(context)
        .into_iter()
        .next()
        .unwrap_or_default()
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

/// The search of one network under one input.
struct Searched {
    network: u64,
    input: Vec<f64>,
    /// The id of its first point: ids go on over the inputs of a network.
    first: usize,
    search: FixedPointSearch,
}

fn run(context: &mut Context) -> Outcome<()> {
    let inputs = constant_inputs(context);
    let (settings, ensemble) = (context.settings, context.ensemble);
    let mut searches: Vec<Searched> = Vec::new();
    for network in 0..ensemble.len() {
        let Some(search) = Search::new(context, settings, ensemble, network)? else {
            continue;
        };
        let mut watch = context.watch(network);
        let mut first = 0;
        for (k, input) in inputs.iter().enumerate() {
            let search = search.run(input, &mut |done| {
                watch((k as f64 + done) / inputs.len() as f64)
            })?;
            let points = search.points.len();
            searches.push(Searched {
                network: network as u64,
                input: input.clone(),
                first,
                search,
            });
            first += points;
        }
    }
    let channels = ensemble.architecture.inputs;
    let state_dim = ensemble.architecture.state_dim();
    context.add_table("fixed_points", table(&searches, channels, state_dim)?);
    context.add_table("fixed_points_search", completeness(&searches, channels)?);
    context.add_table("fixed_points_saturation", saturation(&searches, channels)?);
    Ok(())
}

/// The states of the key `file`, `[state, variable]`.
fn states_of_file(settings: &Settings, state_dim: usize) -> Outcome<Array2<f64>> {
    let Some(path) = settings.optional_text("file") else {
        return Err(Error::argument(
            "key \"analysis.fixed_points.file\"",
            "not set",
            "a file of states, where analysis.fixed_points.from is \"file\"",
        )
        .into());
    };
    let path = Path::new(path);
    let states = read_matrix(path)?.values;
    if states.ncols() != state_dim {
        return Err(Error::format(
            path,
            "columns",
            states.ncols().to_string(),
            format!("{state_dim}, one per state variable"),
        )
        .into());
    }
    if let Some(bad) = states.iter().find(|x| !x.is_finite()) {
        return Err(Error::format(path, "the states", bad.to_string(), "finite numbers").into());
    }
    Ok(states)
}

/// The search for the fixed points of one network, by the settings of this analysis.
pub struct Search<'a> {
    settings: &'a Settings,
    map: Network,
    seed: u64,
    /// States of held-out trials, `[sample, state]`.
    visited: Array2<f64>,
    /// States of a file, which are then the only starts.
    given: Option<Array2<f64>>,
}

impl<'a> Search<'a> {
    /// The search in a network of `ensemble`, the trained one or an earlier one; `None` if there is no such network.
    ///
    /// # Errors
    /// If the engine's device fails, or a file of starts cannot be read or does not fit.
    pub fn new(
        context: &mut Context,
        settings: &'a Settings,
        ensemble: &Ensemble,
        network: usize,
    ) -> Outcome<Option<Self>> {
        let Some(map) = ensemble.network(network) else {
            return Ok(None);
        };
        Ok(Some(Search {
            settings,
            seed: context.seed(network),
            visited: context.visited_states_of(ensemble, network, 3, settings.count("trials"))?,
            given: match settings.text("from") {
                "file" => Some(states_of_file(settings, map.state_dim())?),
                _ => None,
            },
            map,
        }))
    }

    /// So many starts; the first of a longer list are those of a shorter one.
    fn starts(&self, count: usize) -> Outcome<Array2<f64>> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        let mut random = Random::new(self.seed, Stream::STARTS, 0);
        let settings = self.settings;
        let starts = if settings.text("from") == "box" {
            let ends = ["box_low", "box_high"];
            let [low, high] = ends.map(|key| vec![settings.number(key); self.map.state_dim()]);
            starts_in_box(&low, &high, count, &mut random)
        } else {
            let noise = settings.number("noise");
            sample_starts(self.visited.view(), count, noise, &mut random)
        };
        starts.map_err(|error| failed("starts of the fixed-point search", error))
    }

    /// Searches under a constant input, from more and more starts until nothing says that points are missing.
    ///
    /// # Errors
    /// If `input` does not fit, or the user wants it to end.
    pub fn run(&self, input: &[f64], watch: Watch) -> Outcome<FixedPointSearch> {
        // Slow is what is slow beside the network at work, not beside noisy starts.
        let every = (self.visited.nrows() / SPEEDS).max(1) as isize;
        let speed = typical_speed(&self.map, self.visited.slice(s![..;every, ..]), input)
            .map_err(|error| failed("speed of the trajectories", error))?;
        let settings = FixedPointSettings {
            trajectory_speed: speed.is_finite().then_some(speed),
            ..search_settings(self.settings)
        };
        let most = self.settings.count("most_starts");
        let mut count = self.settings.count("starts");
        loop {
            let starts = self.starts(count)?;
            let search = find_fixed_points(&self.map, starts.view(), input, &settings, watch)
                .map_err(|error| failed("fixed-point search", error))?;
            if search.is_exhausted() || count >= most || self.given.is_some() {
                return Ok(search);
            }
            count = (2 * count).min(most);
        }
    }
}

/// The columns `input_*` of rows that each belong to a search.
fn add_inputs<'a>(
    table: &mut Table,
    inputs: usize,
    of_rows: impl Iterator<Item = &'a Searched> + Clone,
) -> nullcline_data::Result<()> {
    for i in 0..inputs {
        let column: Vec<f64> = of_rows.clone().map(|searched| searched.input[i]).collect();
        table.add(&format!("input_{i}"), "", column)?;
    }
    Ok(())
}

/// What every search says of its own completeness.
fn completeness(searches: &[Searched], inputs: usize) -> nullcline_data::Result<Table> {
    let mut table = Table::new();
    let networks: Vec<u64> = searches.iter().map(|searched| searched.network).collect();
    table.add("network", "", networks)?;
    add_inputs(&mut table, inputs, searches.iter())?;
    table.add(
        "starts",
        "",
        searches
            .iter()
            .map(|searched| searched.search.led_to.len() as u64)
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "index_sum",
        "",
        searches
            .iter()
            .map(|searched| searched.search.index_sum)
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "topology",
        "",
        searches
            .iter()
            .map(|searched| searched.search.topology().name())
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "unseen_mass",
        "",
        searches
            .iter()
            .map(|searched| searched.search.unseen_mass())
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "trajectory_speed",
        "units of the state, squared",
        searches
            .iter()
            .map(|searched| searched.search.trajectory_speed)
            .collect::<Vec<_>>(),
    )?;
    Ok(table)
}

/// How many distinct fixed points fewer starts would have been expected to find.
fn saturation(searches: &[Searched], inputs: usize) -> nullcline_data::Result<Table> {
    let rows: Vec<(&Searched, usize, f64)> = searches
        .iter()
        .flat_map(|searched| {
            let curve = searched.search.saturation().into_iter();
            curve.map(move |(starts, points)| (searched, starts, points))
        })
        .collect();
    let mut table = Table::new();
    let networks: Vec<u64> = rows.iter().map(|r| r.0.network).collect();
    table.add("network", "", networks)?;
    add_inputs(&mut table, inputs, rows.iter().map(|r| r.0))?;
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
fn table(searches: &[Searched], inputs: usize, state_dim: usize) -> nullcline_data::Result<Table> {
    let points: Vec<(&Searched, &FixedPoint)> = searches
        .iter()
        .flat_map(|searched| {
            let points = searched.search.points.iter();
            points.map(move |point| (searched, point))
        })
        .collect();
    let mut table = Table::new();
    table.add(
        "network",
        "",
        points
            .iter()
            .map(|(searched, _)| searched.network)
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "id",
        "",
        points
            .iter()
            .map(|(searched, p)| (searched.first + p.id) as u64)
            .collect::<Vec<_>>(),
    )?;
    add_inputs(
        &mut table,
        inputs,
        points.iter().map(|(searched, _)| *searched),
    )?;
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
        .map(|(searched, p)| match p.verdict {
            Verdict::Rejected(Rejection::DuplicateOf(id)) => {
                Some(format!("duplicate_of_{}", searched.first + id))
            }
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
    /// The constant input u.
    pub input: Vec<f64>,
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
    let numbered = |of: &str| -> nullcline_data::Result<Vec<Vec<f64>>> {
        (0..)
            .map(|i| format!("{of}_{i}"))
            .take_while(|name| table.column(name).is_some())
            .map(|name| table.f64_column(&name))
            .collect()
    };
    let (inputs, states) = (numbered("input")?, numbered("state")?);
    Ok((0..networks.len())
        .filter_map(|row| {
            let verdict = verdicts.get(row).copied().flatten()?;
            (verdict != "rejected").then(|| Point {
                network: networks[row],
                id: ids[row],
                input: inputs.iter().map(|column| column[row]).collect(),
                state: states.iter().map(|column| column[row]).collect(),
                verdict: verdict.to_owned(),
                n_unstable: (!unstable[row].is_nan()).then_some(unstable[row] as u64),
            })
        })
        .collect())
}
