//! Poincare section of what every network does by itself, and the map of its successive maxima.

use super::fixed_points::constant_input;
use super::free_run::{TRANSIENT, free_run_steps};
use super::power_spectrum::comes_to_rest;
use super::{AnalysisKind, Context, TableDoc, failed, visited_state};
use crate::session::Outcome;
use ndarray::{Array2, ArrayView1, ArrayView2, s};
use nullcline_analysis::free_run::{FreeRunSettings, RunInput, free_run};
use nullcline_analysis::pca::PrincipalComponents;
use nullcline_analysis::poincare::{
    Direction, Hyperplane, Interpolation, poincare_section, successive_maxima,
};
use nullcline_data::Error;
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "poincare",
    summary: "Poincare section of the free network, its return map, and the map of successive maxima",
    by_default: false,
    keys: &[
        free_run_steps(50_000),
        TRANSIENT,
        Key {
            name: "component",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(1),
            unit: "",
            doc: "The plane is normal to this principal component of the run, counted from 1.",
        },
        Key {
            name: "state",
            kind: Kind::Integer {
                min: 0,
                max: 1_000_000,
            },
            default: Preset::Absent,
            unit: "",
            doc: "The plane is normal to this state variable, counted from 0, in place of a principal component.",
        },
        Key {
            name: "level",
            kind: Kind::Number {
                min: -1e9,
                max: 1e9,
            },
            default: Preset::Absent,
            unit: "units of the state",
            doc: "Where the plane cuts its normal through the origin; not set: at the mean of the run.",
        },
        Key {
            name: "direction",
            kind: Kind::Choice(&["rising", "falling", "both"]),
            default: Preset::Text("rising"),
            unit: "",
            doc: "Which crossings count, by the state along the normal.",
        },
        Key {
            name: "interpolation",
            kind: Kind::Choice(&["linear", "cubic"]),
            default: Preset::Text("cubic"),
            unit: "",
            doc: "Between steps; cubic for runs that are smooth at the scale of a step.",
        },
    ],
    tables: &[
        TableDoc {
            name: "poincare",
            rows: "a row for every crossing of every network",
            columns: &[
                ("network", "the network, from 0"),
                ("crossing", "the crossing, from 0"),
                (
                    "step",
                    "when, in steps after the transient, in between them",
                ),
                ("rising", "whether the state along the normal grew"),
                (
                    "interval",
                    "steps to the next crossing; empty for the last one",
                ),
                (
                    "section_*",
                    "where in the plane, along this principal component of the crossings, from the origin",
                ),
            ],
        },
        TableDoc {
            name: "poincare_maxima",
            rows: "a row for every local maximum of the state along the plane's normal",
            columns: &[
                ("network", "the network, from 0"),
                ("maximum", "the maximum, from 0"),
                (
                    "step",
                    "when, in steps after the transient, in between them",
                ),
                ("value", "the state along the normal"),
            ],
        },
        TableDoc {
            name: "poincare.npz",
            rows: "the planes and the states in them",
            columns: &[
                ("normal", "[network, state] the normal, of length 1"),
                (
                    "level",
                    "[network] the plane holds the x with normal . x = level",
                ),
                (
                    "network_*",
                    "[crossing, state] the states at the crossings of this network",
                ),
                (
                    "axes_*",
                    "[axis, state] the axes of the section of this network",
                ),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &[],
    run,
};

/// Axes of the section that are kept.
const AXES: usize = 2;

fn run(context: &mut Context) -> Outcome<()> {
    let dim = context.ensemble.architecture.state_dim();
    let component = context.settings.count("component");
    let state = context
        .settings
        .optional_integer("state")
        .map(|state| state as usize);
    let beyond = |key: &str, found: usize, allowed: String| {
        Error::argument(
            format!("key \"analysis.poincare.{key}\""),
            found.to_string(),
            allowed,
        )
    };
    match state {
        Some(state) if state >= dim => {
            return Err(beyond("state", state, format!("0 to {}", dim - 1)).into());
        }
        None if component > dim => {
            return Err(beyond("component", component, format!("1 to {dim}")).into());
        }
        _ => {}
    }
    let direction = match context.settings.text("direction") {
        "falling" => Direction::Falling,
        "both" => Direction::Both,
        _ => Direction::Rising,
    };
    let interpolation = match context.settings.text("interpolation") {
        "linear" => Interpolation::Linear,
        _ => Interpolation::Cubic,
    };
    let input = constant_input(context);
    let transient = context.settings.count("transient");
    let steps = transient.saturating_add(context.settings.count("steps"));
    let networks = context.ensemble.len();
    let mut crossings = Crossings::default();
    let (mut maxima_of, mut maxima_index) = (Vec::new(), Vec::new());
    let (mut maxima_steps, mut maxima_values) = (Vec::new(), Vec::new());
    let mut normals = Array2::from_elem((networks, dim), f64::NAN);
    let mut levels = ndarray::Array1::from_elem(networks, f64::NAN);
    let mut arrays = Vec::new();
    for network in 0..networks {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let start = visited_state(context, network)?;
        let settings = FreeRunSettings::new(steps);
        let run = free_run(&map, &start, RunInput::Constant(&input), &settings)
            .map_err(|error| failed("free run", error))?;
        // What does not stay bounded, or comes to rest, crosses nothing but by rounding.
        if run.stop.is_some() || comes_to_rest(run.states.view(), transient) {
            continue;
        }
        let states = run.states.slice(s![transient.., ..]);
        let normal = match state {
            Some(state) => (0..dim).map(|i| f64::from(u8::from(i == state))).collect(),
            None => PrincipalComponents::fit(states, component)
                .map_err(|error| failed("principal components of the free run", error))?
                .components
                .row(component - 1)
                .to_vec(),
        };
        let along = states.dot(&ArrayView1::from(&normal));
        let mean = along.sum() / along.len() as f64;
        let level = context.settings.optional_number("level").unwrap_or(mean);
        normals.row_mut(network).assign(&ArrayView1::from(&normal));
        levels[network] = level;
        let maxima =
            successive_maxima(along.view()).map_err(|error| failed("successive maxima", error))?;
        for (k, (time, value)) in maxima.times.iter().zip(&maxima.values).enumerate() {
            maxima_of.push(network as u64);
            maxima_index.push(k as u64);
            maxima_steps.push(*time);
            maxima_values.push(*value);
        }
        let plane = Hyperplane { normal, level };
        let section = poincare_section(states, &plane, direction, interpolation)
            .map_err(|error| failed("Poincare section", error))?;
        let axes = section_axes(section.states.view())?;
        let places = section.states.dot(&axes.t());
        let intervals = section.intervals();
        for (k, time) in section.times.iter().enumerate() {
            crossings.network.push(network as u64);
            crossings.crossing.push(k as u64);
            crossings.step.push(*time);
            crossings.rising.push(section.rising[k]);
            crossings.interval.push(intervals.get(k).copied());
            for (axis, column) in crossings.section.iter_mut().enumerate() {
                column.push(places[[k, axis]]);
            }
        }
        // [crossing, state], [axis, state]
        arrays.push((format!("network_{network}"), section.states.into_dyn()));
        arrays.push((format!("axes_{network}"), axes.into_dyn()));
    }
    arrays.push(("normal".to_owned(), normals.into_dyn()));
    arrays.push(("level".to_owned(), levels.into_dyn()));
    let mut table = Table::new();
    table.add("network", "", crossings.network)?;
    table.add("crossing", "", crossings.crossing)?;
    table.add("step", "steps", crossings.step)?;
    table.add("rising", "", crossings.rising)?;
    table.add("interval", "steps", crossings.interval)?;
    for (axis, column) in crossings.section.into_iter().enumerate() {
        let name = format!("section_{}", axis + 1);
        table.add(&name, "units of the state", column)?;
    }
    context.add_table("poincare", table);
    let mut maxima = Table::new();
    maxima.add("network", "", maxima_of)?;
    maxima.add("maximum", "", maxima_index)?;
    maxima.add("step", "steps", maxima_steps)?;
    maxima.add("value", "units of the state", maxima_values)?;
    context.add_table("poincare_maxima", maxima);
    context.add_arrays("poincare", arrays);
    Ok(())
}

/// The first principal components of the crossings, `[axis, state]`; zero where there are not so many.
fn section_axes(states: ArrayView2<f64>) -> Outcome<Array2<f64>> {
    let mut axes = Array2::zeros((AXES, states.ncols()));
    if states.nrows() >= 2 {
        let fitted = PrincipalComponents::fit(states, AXES)
            .map_err(|error| failed("principal components of the section", error))?;
        for (mut axis, component) in axes.rows_mut().into_iter().zip(fitted.components.rows()) {
            axis.assign(&component);
        }
    }
    Ok(axes)
}

/// The columns of the table.
#[derive(Default)]
struct Crossings {
    network: Vec<u64>,
    crossing: Vec<u64>,
    step: Vec<f64>,
    rising: Vec<bool>,
    interval: Vec<Option<f64>>,
    section: [Vec<f64>; AXES],
}
