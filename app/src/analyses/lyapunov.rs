//! Lyapunov exponents of every network under a constant input, along the trajectory that it comes to by itself.

use super::fixed_points::constant_input;
use super::{AnalysisKind, Context, TableDoc, failed, visited_state};
use crate::session::Outcome;
use nullcline_analysis::free_run::RunInput;
use nullcline_analysis::lyapunov::{LyapunovSettings, lyapunov_spectrum};
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "lyapunov",
    summary: "Lyapunov exponents of the free network, their convergence, the Kaplan-Yorke dimension",
    by_default: true,
    keys: &[
        Key {
            name: "steps",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000_000,
            },
            default: Preset::Integer(10_000),
            unit: "steps",
            doc: "Steps over which the exponents are averaged.",
        },
        Key {
            name: "transient",
            kind: Kind::Integer {
                min: 0,
                max: 1_000_000_000,
            },
            default: Preset::Integer(1000),
            unit: "steps",
            doc: "Steps before them, in which the state comes to the attractor.",
        },
        Key {
            name: "every",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(1),
            unit: "steps",
            doc: "Steps between two orthonormalisations of the tangent vectors.",
        },
        Key {
            name: "exponents",
            kind: Kind::Integer {
                min: 0,
                max: 1_000_000,
            },
            default: Preset::Integer(20),
            unit: "",
            doc: "How many exponents, the largest ones, where there are more states than that; 0: all.",
        },
    ],
    tables: &[
        TableDoc {
            name: "lyapunov",
            rows: "a row for every exponent of every network",
            columns: &[
                ("network", "the network, from 0"),
                ("index", "rank of the exponent, from 0"),
                (
                    "exponent",
                    "mean logarithm of growth in a step; empty where the network is not bounded",
                ),
                (
                    "kaplan_yorke_dimension",
                    "of the attractor; empty where more exponents would be needed",
                ),
                ("bounded", "whether the trajectory stayed finite"),
            ],
        },
        TableDoc {
            name: "lyapunov_convergence",
            rows: "a row for every exponent at some of the steps",
            columns: &[
                ("network", "the network, from 0"),
                ("step", "steps after the transient"),
                ("index", "rank of the exponent, from 0"),
                ("exponent", "its average up to this step"),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &[],
    run,
};

fn run(context: &mut Context) -> Outcome<()> {
    let input = constant_input(context);
    let state_dim = context.ensemble.architecture.state_dim();
    let settings = LyapunovSettings {
        transient: context.settings.count("transient"),
        every: context.settings.count("every"),
        exponents: match context.settings.count("exponents") {
            0 => None,
            count => Some(count.min(state_dim)),
        },
        ..LyapunovSettings::new(context.settings.count("steps"))
    };
    let (mut of, mut indices, mut exponents) = (Vec::new(), Vec::new(), Vec::new());
    let (mut dimensions, mut bounded) = (Vec::new(), Vec::new());
    let (mut curve_of, mut curve_steps) = (Vec::new(), Vec::new());
    let (mut curve_indices, mut curve_exponents) = (Vec::new(), Vec::new());
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let seed = context.seed(network);
        let start = visited_state(context, network)?;
        let measured = lyapunov_spectrum(
            &map,
            &start,
            RunInput::Constant(&input),
            &settings,
            &mut Random::new(seed, Stream::STARTS, 1),
            &mut context.watch(network),
        );
        let spectrum = match measured {
            Ok(spectrum) => spectrum,
            // A network that leaves the finite numbers has no exponents, which is a result.
            Err(nullcline_analysis::Error::NotFinite { .. }) => {
                of.push(network as u64);
                indices.push(0);
                exponents.push(None);
                dimensions.push(None);
                bounded.push(false);
                continue;
            }
            Err(error) => return Err(failed("Lyapunov exponents", error)),
        };
        for (index, exponent) in spectrum.exponents.iter().enumerate() {
            of.push(network as u64);
            indices.push(index as u64);
            exponents.push(Some(*exponent));
            dimensions.push(spectrum.kaplan_yorke);
            bounded.push(true);
        }
        for (step, row) in spectrum.curve_steps.iter().zip(spectrum.curve.rows()) {
            for (index, exponent) in row.iter().enumerate() {
                curve_of.push(network as u64);
                curve_steps.push(*step as u64);
                curve_indices.push(index as u64);
                curve_exponents.push(*exponent);
            }
        }
    }
    let mut table = Table::new();
    table.add("network", "", of)?;
    table.add("index", "", indices)?;
    table.add("exponent", "1/step", exponents)?;
    table.add("kaplan_yorke_dimension", "", dimensions)?;
    table.add("bounded", "", bounded)?;
    context.add_table("lyapunov", table);
    let mut curve = Table::new();
    curve.add("network", "", curve_of)?;
    curve.add("step", "steps", curve_steps)?;
    curve.add("index", "", curve_indices)?;
    curve.add("exponent", "1/step", curve_exponents)?;
    context.add_table("lyapunov_convergence", curve);
    Ok(())
}
