//! All fixed points and short cycles of piecewise-linear networks under a constant input.

use super::fixed_points::constant_input;
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use nullcline_analysis::linear_regions::{CycleSettings, find_cycles};
use nullcline_analysis::starts::sample_starts;
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_models::architecture::CellKind;
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "cycles",
    summary: "all fixed points and short cycles of a piecewise-linear network, by its linear regions",
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
            doc: "Visited states, and points between them, whose linear regions the search begins with.",
        },
        Key {
            name: "noise",
            kind: Kind::Number { min: 0.0, max: 1e6 },
            default: Preset::Number(0.5),
            unit: "units of the state",
            doc: "Standard deviation of the Gaussian noise added to each of them.",
        },
        Key {
            name: "exhaustive",
            kind: Kind::Integer {
                min: 0,
                max: 1_000_000_000,
            },
            default: Preset::Integer(200_000),
            unit: "sequences",
            doc: "Sequences of regions up to which all are tried; where there are more, random ones are followed.",
        },
        Key {
            name: "restarts",
            kind: Kind::Integer {
                min: 1,
                max: 100_000_000,
            },
            default: Preset::Integer(100),
            unit: "",
            doc: "Random sequences in a row that lead to nothing new before the search ends.",
        },
    ],
    tables: &[
        TableDoc {
            name: "cycles",
            rows: "a row for every state of every cycle",
            columns: &[
                ("network", "the network, from 0"),
                ("order", "steps of the cycle; 1 for a fixed point"),
                ("id", "the cycle among those of its order, from 0"),
                ("step", "place of the state in the cycle, from 0"),
                ("state_*", "the state"),
                ("n_unstable", "Floquet multipliers beyond the unit circle"),
                ("spectral_radius", "modulus of the largest of them"),
                ("residual", "|x - F^k(x)| in the maximum norm"),
            ],
        },
        TableDoc {
            name: "cycles_searches",
            rows: "a row for every network and order",
            columns: &[
                ("network", "the network, from 0"),
                ("order", "steps of the cycles searched for"),
                ("cycles", "how many were found"),
                ("regions", "linear regions that were visited"),
                ("solved", "sequences of regions that were solved"),
                ("exhaustive", "whether these were all there are"),
            ],
        },
    ],
    applies: |_, architecture| {
        matches!(
            architecture.cell,
            CellKind::VanillaRelu
                | CellKind::LeakyRateRelu
                | CellKind::LeakyCurrentRelu
                | CellKind::ShallowPlrnn
                | CellKind::ClippedShallowPlrnn
        )
    },
    needs: &[],
    run,
};

fn run(context: &mut Context) -> Outcome<()> {
    let input = constant_input(context);
    let state_dim = context.ensemble.architecture.state_dim();
    let mut cycles = Vec::new();
    let (mut of, mut orders, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    let (mut regions, mut solved, mut exhaustive) = (Vec::new(), Vec::new(), Vec::new());
    for network in 0..context.ensemble.len() {
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let seed = context.seed(network);
        let states = context.visited_states(network, 3, 16)?;
        let mut random = Random::new(seed, Stream::STARTS, 2);
        let pool = sample_starts(
            states.view(),
            context.settings.count("starts"),
            context.settings.number("noise"),
            &mut random,
        )
        .map_err(|error| failed("starts of the search for cycles", error))?;
        for order in 1..=context.settings.count("order") {
            context.control.check()?;
            let settings = CycleSettings {
                exhaustive: context.settings.count("exhaustive"),
                restarts: context.settings.count("restarts"),
                ..CycleSettings::new(order)
            };
            let search = find_cycles(&map, pool.view(), &input, &settings, &mut random)
                .map_err(|error| failed("search for cycles", error))?;
            of.push(network as u64);
            orders.push(order as u64);
            counts.push(search.cycles.len() as u64);
            regions.push(search.regions as u64);
            solved.push(search.solved as u64);
            exhaustive.push(search.exhaustive);
            for (id, cycle) in search.cycles.into_iter().enumerate() {
                cycles.push((network as u64, id as u64, cycle));
            }
        }
    }
    // One row for every state of every cycle.
    let rows: Vec<_> = cycles
        .iter()
        .flat_map(|(network, id, cycle)| {
            (0..cycle.states.nrows()).map(move |step| (*network, *id, cycle, step))
        })
        .collect();
    let mut table = Table::new();
    table.add("network", "", rows.iter().map(|r| r.0).collect::<Vec<_>>())?;
    table.add(
        "order",
        "steps",
        rows.iter()
            .map(|r| r.2.states.nrows() as u64)
            .collect::<Vec<_>>(),
    )?;
    table.add("id", "", rows.iter().map(|r| r.1).collect::<Vec<_>>())?;
    table.add(
        "step",
        "steps",
        rows.iter().map(|r| r.3 as u64).collect::<Vec<_>>(),
    )?;
    for k in 0..state_dim {
        let column: Vec<f64> = rows.iter().map(|r| r.2.states[[r.3, k]]).collect();
        table.add(&format!("state_{k}"), "", column)?;
    }
    let unstable = |r: &(u64, u64, &nullcline_analysis::linear_regions::Cycle, usize)| {
        r.2.multipliers.iter().filter(|m| m.norm() > 1.0).count() as u64
    };
    table.add(
        "n_unstable",
        "",
        rows.iter().map(unstable).collect::<Vec<_>>(),
    )?;
    table.add(
        "spectral_radius",
        "",
        rows.iter()
            .map(|r| r.2.multipliers.first().map_or(f64::NAN, |m| m.norm()))
            .collect::<Vec<_>>(),
    )?;
    table.add(
        "residual",
        "",
        rows.iter().map(|r| r.2.residual).collect::<Vec<_>>(),
    )?;
    context.add_table("cycles", table);
    let mut searches = Table::new();
    searches.add("network", "", of)?;
    searches.add("order", "steps", orders)?;
    searches.add("cycles", "", counts)?;
    searches.add("regions", "", regions)?;
    searches.add("solved", "sequences", solved)?;
    searches.add("exhaustive", "", exhaustive)?;
    context.add_table("cycles_searches", searches);
    Ok(())
}
