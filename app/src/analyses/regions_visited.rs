//! The linear regions that every piecewise-linear network visits by itself, under a constant input.

use super::fixed_points::constant_input;
use super::free_run::{TRANSIENT, free_run_steps};
use super::{AnalysisKind, Context, TableDoc, failed, visited_state};
use crate::session::Outcome;
use ndarray::{Array1, Array2};
use nullcline_analysis::pca::PrincipalComponents;
use nullcline_analysis::regions_visited::{VisitSettings, regions_visited};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_models::architecture::Architecture;
use nullcline_models::network::Network;
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "regions_visited",
    summary: "linear regions that a piecewise-linear network visits by itself: how often, for how long, in what order, and what is linear there",
    by_default: false,
    keys: &[
        free_run_steps(20_000),
        TRANSIENT,
        Key {
            name: "described",
            kind: Kind::Integer {
                min: 0,
                max: 100_000_000,
            },
            default: Preset::Integer(200),
            unit: "",
            doc: "Regions whose linear map is described, the most visited ones.",
        },
    ],
    tables: &[
        TableDoc {
            name: "regions_visited",
            rows: "a row for every region that a network visits",
            columns: &[
                ("network", "the network, from 0"),
                ("region", "the region, from 0, by occupancy falling"),
                ("visits", "states of the run in it"),
                ("occupancy", "that over all states of the run"),
                (
                    "stays",
                    "times that the run entered it, its beginning included",
                ),
                ("mean_stay", "visits over stays"),
                ("longest_stay", "the longest stay"),
                (
                    "first_visit",
                    "the first state of the run in it, after the transient",
                ),
                (
                    "n_active",
                    "rectified units that are active; a clipped PLRNN has two of them per hidden unit",
                ),
                (
                    "spectral_radius",
                    "of the region's Jacobian; empty for regions that are not described, as all that follows",
                ),
                ("n_unstable", "eigenvalues of it beyond the unit circle"),
                (
                    "fixed_point_inside",
                    "whether the fixed point of the region's linear map lies in it, and so is one of the network",
                ),
                (
                    "fixed_point_distance",
                    "from the mean of the run to that fixed point, in root mean squared distances of the run; empty where there is none",
                ),
            ],
        },
        TableDoc {
            name: "regions_transitions",
            rows: "a row for every pair of different regions that follow each other",
            columns: &[
                ("network", "the network, from 0"),
                ("from", "the region left"),
                ("to", "the region entered"),
                ("count", "how often"),
                (
                    "probability",
                    "that over all times that the region was left",
                ),
            ],
        },
        TableDoc {
            name: "regions_visited.npz",
            rows: "the runs, and where they are drawn",
            columns: &[
                ("states_*", "[time, state] the run of this network"),
                ("regions_*", "[time] the region of each state"),
                (
                    "places_*",
                    "[time, axis] the run in its own principal components, up to three",
                ),
                (
                    "explained_variance_ratio_*",
                    "[axis] part of its variance along each",
                ),
            ],
        },
    ],
    applies: |_, architecture| is_piecewise_linear(architecture),
    needs: &[],
    run,
};

/// Axes of the picture.
const AXES: usize = 3;

/// Whether networks of this architecture are, whatever their parameters.
fn is_piecewise_linear(architecture: &Architecture) -> bool {
    let network = Network::from_f64(
        architecture.clone(),
        vec![0.0; architecture.parameter_count()],
    );
    let (state, input) = (
        vec![0.0; architecture.state_dim()],
        vec![0.0; architecture.inputs],
    );
    network.linear_region(&state, &input).is_some()
}

fn run(context: &mut Context) -> Outcome<()> {
    let input = constant_input(context);
    let settings = VisitSettings {
        transient: context.settings.count("transient"),
        described: context.settings.count("described"),
        ..VisitSettings::new(context.settings.count("steps"))
    };
    let mut rows = Rows::default();
    let mut transitions = Transitions::default();
    let mut arrays = Vec::new();
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let start = visited_state(context, network)?;
        let found = regions_visited(&map, &start, &input, &settings, &mut context.watch(network))
            .map_err(|error| failed("linear regions of the free run", error))?;
        // What leaves its bounds on the way to an attractor, or on it, has none.
        if found.stop.is_some() || found.states.nrows() < 2 {
            continue;
        }
        let fitted = PrincipalComponents::fit(found.states.view(), AXES)
            .map_err(|error| failed("principal components of the free run", error))?;
        let radius = fitted_radius(&found.states, &fitted.mean);
        for (region, visited) in found.regions.iter().enumerate() {
            rows.network.push(network as u64);
            rows.region.push(region as u64);
            rows.visits.push(visited.visits as u64);
            rows.occupancy.push(visited.occupancy);
            rows.stays.push(visited.stays as u64);
            rows.mean_stay.push(visited.mean_stay());
            rows.longest_stay.push(visited.longest_stay as u64);
            rows.first_visit.push(visited.first_visit as u64);
            rows.n_active.push(visited.n_active() as u64);
            let map = visited.map.as_ref();
            rows.spectral_radius
                .push(map.map(|map| map.spectral_radius()));
            rows.n_unstable.push(map.map(|map| map.n_unstable() as u64));
            rows.inside.push(map.map(|map| map.fixed_point_inside));
            let point = map
                .and_then(|map| map.fixed_point.clone())
                .map(Array1::from);
            rows.distance
                .push(point.map(|point| distance(&point, &fitted.mean) / radius));
        }
        for transition in &found.transitions {
            transitions.network.push(network as u64);
            transitions.from.push(transition.from as u64);
            transitions.to.push(transition.to as u64);
            transitions.count.push(transition.count as u64);
            transitions.probability.push(transition.probability);
        }
        let places = (&found.states - &fitted.mean).dot(&fitted.components.t());
        let regions: Array1<f64> = found.sequence.iter().map(|region| *region as f64).collect();
        let variance = fitted.explained_variance_ratio.clone();
        // [time, state], [time], [time, axis], [axis]
        for (name, array) in [
            ("states", found.states.into_dyn()),
            ("regions", regions.into_dyn()),
            ("places", places.into_dyn()),
            ("explained_variance_ratio", variance.into_dyn()),
        ] {
            arrays.push((format!("{name}_{network}"), array));
        }
    }
    let mut table = Table::new();
    table.add("network", "", rows.network)?;
    table.add("region", "", rows.region)?;
    table.add("visits", "steps", rows.visits)?;
    table.add("occupancy", "", rows.occupancy)?;
    table.add("stays", "", rows.stays)?;
    table.add("mean_stay", "steps", rows.mean_stay)?;
    table.add("longest_stay", "steps", rows.longest_stay)?;
    table.add("first_visit", "steps", rows.first_visit)?;
    table.add("n_active", "", rows.n_active)?;
    table.add("spectral_radius", "", rows.spectral_radius)?;
    table.add("n_unstable", "", rows.n_unstable)?;
    table.add("fixed_point_inside", "", rows.inside)?;
    table.add("fixed_point_distance", "", rows.distance)?;
    context.add_table("regions_visited", table);
    let mut table = Table::new();
    table.add("network", "", transitions.network)?;
    table.add("from", "", transitions.from)?;
    table.add("to", "", transitions.to)?;
    table.add("count", "", transitions.count)?;
    table.add("probability", "", transitions.probability)?;
    context.add_table("regions_transitions", table);
    context.add_arrays("regions_visited", arrays);
    Ok(())
}

/// The root of the mean squared distance of states `[time, state]` from their mean.
fn fitted_radius(states: &Array2<f64>, mean: &Array1<f64>) -> f64 {
    let squares = (states - mean).mapv(|x| x * x).sum();
    (squares / states.nrows().max(1) as f64).sqrt()
}

fn distance(a: &Array1<f64>, b: &Array1<f64>) -> f64 {
    (a - b).mapv(|x| x * x).sum().sqrt()
}

/// The columns of the table of regions.
#[derive(Default)]
struct Rows {
    network: Vec<u64>,
    region: Vec<u64>,
    visits: Vec<u64>,
    occupancy: Vec<f64>,
    stays: Vec<u64>,
    mean_stay: Vec<f64>,
    longest_stay: Vec<u64>,
    first_visit: Vec<u64>,
    n_active: Vec<u64>,
    spectral_radius: Vec<Option<f64>>,
    n_unstable: Vec<Option<u64>>,
    inside: Vec<Option<bool>>,
    distance: Vec<Option<f64>>,
}

/// The columns of the table of transitions.
#[derive(Default)]
struct Transitions {
    network: Vec<u64>,
    from: Vec<u64>,
    to: Vec<u64>,
    count: Vec<u64>,
    probability: Vec<f64>,
}
