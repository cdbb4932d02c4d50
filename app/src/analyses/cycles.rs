//! Short cycles of every network under a constant input: of piecewise-linear ones by their linear regions, of others by
//! Newton's method from recurrences of free runs.

use super::fixed_points::constant_input;
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array2, Array3, Axis, s};
use nullcline_analysis::Error;
use nullcline_analysis::cycles::{self, Cycle, Rejection, Verdict, recurrences};
use nullcline_analysis::free_run::{FreeRunSettings, RunInput, free_run};
use nullcline_analysis::linear_regions;
use nullcline_analysis::starts::sample_starts;
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_models::network::Network;
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "cycles",
    summary: "short cycles with their Floquet multipliers, proved: of piecewise-linear networks by linear regions, of others from recurrences of free runs",
    by_default: true,
    keys: &[
        Key {
            name: "order",
            kind: Kind::Integer { min: 1, max: 1000 },
            default: Preset::Integer(4),
            unit: "steps",
            doc: "Longest cycles that are searched for; those of one step are the fixed points.",
        },
        Key {
            name: "starts",
            kind: Kind::Integer {
                min: 1,
                max: 10_000_000,
            },
            default: Preset::Integer(4096),
            unit: "",
            doc: "Piecewise linear: visited states, and points between them, whose linear regions the search begins with.",
        },
        Key {
            name: "noise",
            kind: Kind::Number { min: 0.0, max: 1e6 },
            default: Preset::Number(0.5),
            unit: "units of the state",
            doc: "Piecewise linear: standard deviation of the Gaussian noise added to each of them.",
        },
        Key {
            name: "exhaustive",
            kind: Kind::Integer {
                min: 0,
                max: 1_000_000_000,
            },
            default: Preset::Integer(200_000),
            unit: "sequences",
            doc: "Piecewise linear: sequences of regions up to which all are tried; where there are more, random ones are followed.",
        },
        Key {
            name: "restarts",
            kind: Kind::Integer {
                min: 1,
                max: 100_000_000,
            },
            default: Preset::Integer(100),
            unit: "",
            doc: "Piecewise linear: random sequences in a row that lead to nothing new before the search ends.",
        },
        Key {
            name: "trajectories",
            kind: Kind::Integer {
                min: 1,
                max: 100_000,
            },
            default: Preset::Integer(16),
            unit: "",
            doc: "Smooth: free runs, each from a visited state, that are looked through for recurrences.",
        },
        Key {
            name: "transient",
            kind: Kind::Integer {
                min: 0,
                max: 100_000_000,
            },
            default: Preset::Integer(100),
            unit: "steps",
            doc: "Smooth: first steps of every run that are left out.",
        },
        Key {
            name: "steps",
            kind: Kind::Integer {
                min: 1,
                max: 100_000_000,
            },
            default: Preset::Integer(1000),
            unit: "steps",
            doc: "Smooth: steps of every run after them.",
        },
        Key {
            name: "guesses",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(8),
            unit: "",
            doc: "Smooth: the closest recurrences of every run, for each order, from which Newton's method begins.",
        },
    ],
    tables: &[
        TableDoc {
            name: "cycles",
            rows: "a row for every state of every candidate, kept or not",
            columns: &[
                ("network", "the network, from 0"),
                ("order", "steps of the cycle; 1 for a fixed point"),
                ("id", "the candidate among those of its order, from 0"),
                ("step", "place of the state in the cycle, from 0"),
                ("state_*", "the state"),
                (
                    "verdict",
                    "fixed: proved to exist; unproved: closes at rounding level without a proof; rejected",
                ),
                (
                    "rejected_by",
                    "the rule that rejected it: duplicate_of_N, lower_period_P (listed under its own order), not_converged, not_finite",
                ),
                (
                    "certified",
                    "whether existence, uniqueness and period are proved; empty where there was nothing to prove",
                ),
                (
                    "existence_radius",
                    "all states of a cycle lie this near, in the maximum norm",
                ),
                (
                    "uniqueness_radius",
                    "and no other has all its states within this",
                ),
                (
                    "not_certified_because",
                    "what the proof failed at; too_large: none was tried",
                ),
                ("n_unstable", "Floquet multipliers beyond the unit circle"),
                ("spectral_radius", "modulus of the largest of them"),
                (
                    "residual",
                    "largest |x_j+1 - F(x_j)| of the steps, in the maximum norm",
                ),
                (
                    "found_from",
                    "recurrences, or sequences of regions, that led here",
                ),
            ],
        },
        TableDoc {
            name: "cycles_multipliers",
            rows: "a row for every Floquet multiplier of every cycle that is kept",
            columns: &[
                ("network", "the network, from 0"),
                ("order", "steps of the cycle"),
                ("id", "the cycle among those of its order"),
                ("index", "rank of the multiplier by modulus, from 0"),
                (
                    "re",
                    "real part of the multiplier, an eigenvalue of the Jacobian of all steps",
                ),
                ("im", "imaginary part"),
                ("modulus", "modulus"),
            ],
        },
        TableDoc {
            name: "cycles_searches",
            rows: "a row for every network and order",
            columns: &[
                ("network", "the network, from 0"),
                ("order", "steps of the cycles searched for"),
                (
                    "method",
                    "regions, of a piecewise-linear network, or recurrences",
                ),
                ("cycles", "how many were found"),
                ("guesses", "recurrences that Newton's method began from"),
                ("regions", "linear regions that were visited"),
                ("solved", "sequences of regions that were solved"),
                ("exhaustive", "whether these were all there are"),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &[],
    run,
};

/// The cycles of one order of one network, and how they were searched for.
struct Search {
    network: u64,
    order: usize,
    cycles: Vec<Cycle>,
    /// Of recurrences.
    guesses: Option<usize>,
    /// Of regions: how many were met, sequences solved, whether these were all.
    regions: Option<(usize, usize, bool)>,
}

fn run(context: &mut Context) -> Outcome<()> {
    let input = constant_input(context);
    let state_dim = context.ensemble.architecture.state_dim();
    let mut searches = Vec::new();
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let is_piecewise_linear = map.linear_region(&vec![0.0; state_dim], &input).is_some();
        searches.extend(if is_piecewise_linear {
            by_regions(context, network, &map, &input)?
        } else {
            by_recurrences(context, network, &map, &input)?
        });
    }
    let table = table(&searches, state_dim)?;
    context.add_table("cycles", table);
    context.add_table("cycles_multipliers", multipliers(&searches)?);
    context.add_table("cycles_searches", search_table(&searches)?);
    Ok(())
}

/// The cycles of a piecewise-linear network.
fn by_regions(
    context: &mut Context,
    network: usize,
    map: &Network,
    input: &[f64],
) -> Outcome<Vec<Search>> {
    let states = context.visited_states(network, 3, 16)?;
    let mut random = Random::new(context.seed(network), Stream::STARTS, 2);
    let pool = sample_starts(
        states.view(),
        context.settings.count("starts"),
        context.settings.number("noise"),
        &mut random,
    )
    .map_err(|error| failed("starts of the search for cycles", error))?;
    let (exhaustive, restarts) = (
        context.settings.count("exhaustive"),
        context.settings.count("restarts"),
    );
    let longest = context.settings.count("order");
    let mut watch = context.watch(network);
    (1..=longest)
        .map(|order| {
            let settings = linear_regions::CycleSettings {
                exhaustive,
                restarts,
                ..linear_regions::CycleSettings::new(order)
            };
            let before = (order - 1) as f64;
            let found = linear_regions::find_cycles(
                map,
                pool.view(),
                input,
                &settings,
                &mut random,
                &mut |done| watch((before + done) / longest as f64),
            )
            .map_err(|error| failed("search for cycles", error))?;
            Ok(Search {
                network: network as u64,
                order,
                cycles: found.cycles,
                guesses: None,
                regions: Some((found.regions, found.solved, found.exhaustive)),
            })
        })
        .collect()
}

/// The cycles that free runs of a network come near.
fn by_recurrences(
    context: &mut Context,
    network: usize,
    map: &Network,
    input: &[f64],
) -> Outcome<Vec<Search>> {
    let visited = context.visited_states(network, 3, 16)?;
    let count = context.settings.count("trajectories").min(visited.nrows());
    let transient = context.settings.count("transient");
    let settings = FreeRunSettings::new(transient + context.settings.count("steps"));
    let mut trajectories = Vec::with_capacity(count);
    for k in 0..count {
        context.control.check()?;
        // Evenly over all trials and times.
        let start = visited.row((2 * k + 1) * visited.nrows() / (2 * count));
        let run = free_run(map, &start.to_vec(), RunInput::Constant(input), &settings)
            .map_err(|error| failed("free runs for cycles", error))?;
        let settled = transient.min(run.states.nrows());
        trajectories.push(run.states.slice_move(s![settled.., ..]));
    }
    let per_run = context.settings.count("guesses");
    let longest = context.settings.count("order");
    let mut watch = context.watch(network);
    let mut searches = Vec::with_capacity(longest);
    // What turns out to be a shorter cycle is a guess of one: the longest are searched for first.
    let mut shorter: Vec<Vec<Array2<f64>>> = vec![Vec::new(); longest + 1];
    for order in (1..=longest).rev() {
        let failed = |error| failed("search for cycles", error);
        let mut guesses = Array3::zeros((0, order, map.state_dim()));
        for trajectory in &trajectories {
            let closest = recurrences(trajectory.view(), order, per_run).map_err(failed)?;
            append(&mut guesses, closest)?;
        }
        for states in shorter[order].drain(..) {
            append(&mut guesses, states.insert_axis(Axis(0)))?;
        }
        let before = (longest - order) as f64;
        let found = cycles::find_cycles(
            map,
            guesses.view(),
            input,
            &cycles::CycleSettings::default(),
            &mut |done| watch((before + done) / longest as f64),
        )
        .map_err(failed)?;
        for cycle in &found.cycles {
            if let Verdict::Rejected(Rejection::LowerPeriod(period)) = cycle.verdict {
                shorter[period].push(cycle.states.slice(s![..period, ..]).to_owned());
            }
        }
        searches.push(Search {
            network: network as u64,
            order,
            cycles: found.cycles,
            guesses: Some(guesses.len_of(Axis(0))),
            regions: None,
        });
    }
    searches.reverse();
    Ok(searches)
}

/// Adds guesses of the same order.
fn append(guesses: &mut Array3<f64>, more: Array3<f64>) -> Outcome<()> {
    let expected = guesses.len_of(Axis(1));
    let found = more.len_of(Axis(1));
    guesses.append(Axis(0), more.view()).map_err(|_| {
        let error = Error::Shape {
            what: "guesses, steps",
            expected,
            found,
        };
        failed("search for cycles", error)
    })
}

/// One row for every state of every candidate.
fn table(searches: &[Search], state_dim: usize) -> nullcline_data::Result<Table> {
    let mut rows = Vec::new();
    for search in searches {
        for (id, cycle) in search.cycles.iter().enumerate() {
            rows.extend((0..cycle.order()).map(|step| (search.network, id as u64, cycle, step)));
        }
    }
    let of = |value: fn(&Cycle) -> Option<f64>| -> Vec<Option<f64>> {
        rows.iter().map(|row| value(row.2)).collect()
    };
    let text = |value: fn(&Cycle) -> Option<String>| -> Vec<Option<String>> {
        rows.iter().map(|row| value(row.2)).collect()
    };
    let count =
        |value: fn(&Cycle) -> u64| -> Vec<u64> { rows.iter().map(|row| value(row.2)).collect() };
    let mut table = Table::new();
    table.add("network", "", rows.iter().map(|r| r.0).collect::<Vec<_>>())?;
    table.add("order", "steps", count(|cycle| cycle.order() as u64))?;
    table.add("id", "", rows.iter().map(|r| r.1).collect::<Vec<_>>())?;
    let steps: Vec<u64> = rows.iter().map(|r| r.3 as u64).collect();
    table.add("step", "steps", steps)?;
    for k in 0..state_dim {
        let column: Vec<f64> = rows.iter().map(|r| r.2.states[[r.3, k]]).collect();
        table.add(&format!("state_{k}"), "", column)?;
    }
    let verdict = |cycle: &Cycle| Some(cycle.verdict.name().to_owned());
    table.add("verdict", "", text(verdict))?;
    let rejected_by = |cycle: &Cycle| match cycle.verdict {
        Verdict::Rejected(reason) => Some(reason.name()),
        _ => None,
    };
    table.add("rejected_by", "", text(rejected_by))?;
    // Nothing stands where there was nothing to prove.
    let certified: Vec<Option<bool>> = rows
        .iter()
        .map(|r| r.2.proof.as_ref().map(Result::is_ok))
        .collect();
    table.add("certified", "", certified)?;
    let existence = |cycle: &Cycle| cycle.certificate().map(|proof| proof.existence);
    table.add("existence_radius", "", of(existence))?;
    let uniqueness = |cycle: &Cycle| cycle.certificate().map(|proof| proof.uniqueness);
    table.add("uniqueness_radius", "", of(uniqueness))?;
    let refusal = |cycle: &Cycle| match &cycle.proof {
        Some(Err(refusal)) => Some(refusal.name().to_owned()),
        _ => None,
    };
    table.add("not_certified_because", "", text(refusal))?;
    let unstable: Vec<Option<u64>> = rows
        .iter()
        .map(|r| r.2.n_unstable.map(|n| n as u64))
        .collect();
    table.add("n_unstable", "", unstable)?;
    table.add("spectral_radius", "", of(Cycle::spectral_radius))?;
    table.add("residual", "", of(|cycle| Some(cycle.residual)))?;
    table.add("found_from", "", count(|cycle| cycle.found_from as u64))?;
    Ok(table)
}

fn multipliers(searches: &[Search]) -> nullcline_data::Result<Table> {
    let (mut of, mut orders, mut ids, mut indices) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut re, mut im, mut moduli) = (Vec::new(), Vec::new(), Vec::new());
    for search in searches {
        for (id, cycle) in search.cycles.iter().enumerate() {
            for (index, multiplier) in cycle.multipliers.iter().enumerate() {
                of.push(search.network);
                orders.push(search.order as u64);
                ids.push(id as u64);
                indices.push(index as u64);
                re.push(multiplier.re);
                im.push(multiplier.im);
                moduli.push(multiplier.norm());
            }
        }
    }
    let mut table = Table::new();
    table.add("network", "", of)?;
    table.add("order", "steps", orders)?;
    table.add("id", "", ids)?;
    table.add("index", "", indices)?;
    table.add("re", "", re)?;
    table.add("im", "", im)?;
    table.add("modulus", "", moduli)?;
    Ok(table)
}

fn search_table(searches: &[Search]) -> nullcline_data::Result<Table> {
    let count = |value: fn(&Search) -> Option<usize>| -> Vec<Option<u64>> {
        let values = searches.iter().map(value);
        values.map(|value| value.map(|n| n as u64)).collect()
    };
    let mut table = Table::new();
    let of: Vec<u64> = searches.iter().map(|search| search.network).collect();
    table.add("network", "", of)?;
    table.add("order", "steps", count(|search| Some(search.order)))?;
    let methods: Vec<&str> = searches
        .iter()
        .map(|search| match search.regions {
            Some(_) => "regions",
            None => "recurrences",
        })
        .collect();
    table.add("method", "", methods)?;
    let kept = |search: &Search| {
        let kept = search.cycles.iter().filter(|c| c.verdict.is_kept());
        Some(kept.count())
    };
    table.add("cycles", "", count(kept))?;
    table.add("guesses", "", count(|search| search.guesses))?;
    let regions = |search: &Search| search.regions.map(|(regions, ..)| regions);
    table.add("regions", "", count(regions))?;
    let solved = |search: &Search| search.regions.map(|(_, solved, _)| solved);
    table.add("solved", "sequences", count(solved))?;
    let exhaustive: Vec<Option<bool>> = searches
        .iter()
        .map(|search| search.regions.map(|(.., exhaustive)| exhaustive))
        .collect();
    table.add("exhaustive", "", exhaustive)?;
    Ok(table)
}
