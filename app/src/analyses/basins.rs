//! Basins of attraction on a plane through the state space, under a constant input.

use super::fixed_points::{constant_input, kept_points};
use super::plane::{self, arrays, axis_columns, networks, points_table, stacked};
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array2, ArrayD};
use nullcline_analysis::basins::{BasinSettings, Basins, KnownPoint, basin_entropy, find_basins};
use nullcline_analysis::plane::Plane;
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "basins",
    summary: "basins of attraction on a plane through the state space, and how large they are, of the network that figures show",
    by_default: false,
    keys: &[
        plane::THROUGH,
        plane::EXTENT,
        Key {
            name: "grid",
            kind: Kind::Integer { min: 2, max: 2000 },
            default: Preset::Integer(200),
            unit: "points",
            doc: "Grid points along each side of the plane that are followed.",
        },
        Key {
            name: "steps",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000_000,
            },
            default: Preset::Integer(5000),
            unit: "steps",
            doc: "Steps after which a point is given up.",
        },
        Key {
            name: "arrival",
            kind: Kind::Number {
                min: 1e-9,
                max: 1e9,
            },
            default: Preset::Number(0.01),
            unit: "units of the state",
            doc: "A state has arrived at a stable fixed point where it is this near, in the maximum norm, and convergence is sure.",
        },
        Key {
            name: "bound",
            kind: Kind::Number {
                min: 1e-9,
                max: 1e300,
            },
            default: Preset::Number(1e6),
            unit: "units of the state",
            doc: "A state with an element beyond this has escaped.",
        },
        plane::EVERY_NETWORK,
    ],
    tables: &[
        TableDoc {
            name: "basins",
            rows: "a row for everything that points of the plane come to",
            columns: &[
                ("network", "the network, from 0"),
                ("attractor", "its label in basins.npz, from 0"),
                (
                    "kind",
                    "fixed_point, cycle, aperiodic (chaotic or quasi-periodic), escaped, undecided (still on the way)",
                ),
                ("fixed_point", "id of the point in fixed_points"),
                (
                    "attracting",
                    "whether all that is near comes to it; false for saddles, and for one of a continuum, of which all of one period count as one",
                ),
                ("period", "steps after which it repeats itself"),
                ("fraction", "part of the grid points that come to it"),
                ("mean_steps", "mean steps until that was known"),
            ],
        },
        TableDoc {
            name: "basins_attractors",
            rows: "a row for every state of an attractor: all of a cycle, a sample of an aperiodic one",
            columns: &[
                ("network", "the network, from 0"),
                ("attractor", "its label"),
                ("step", "place of the state in it, from 0"),
                (
                    "axis_*",
                    "place of the nearest point of the plane, along its directions",
                ),
                ("distance", "distance from the plane"),
                ("state_*", "the state"),
            ],
        },
        TableDoc {
            name: "basins_entropy",
            rows: "a row for every network: how finely its basins are interwoven",
            columns: &[
                ("network", "the network, from 0"),
                (
                    "basin_entropy",
                    "mean entropy of the labels in boxes of 5 x 5 grid points; empty where none fits",
                ),
                (
                    "boundary_basin_entropy",
                    "the same over boxes with more than one label; beyond log 2 = 0.693 the boundary is fractal",
                ),
            ],
        },
        TableDoc {
            name: "basins_points",
            rows: "a row for every fixed and slow point",
            columns: plane::POINT_COLUMNS,
        },
        TableDoc {
            name: "basins.npz",
            rows: "the plane, and what was found on its grid",
            columns: &[
                plane::OF_NETWORKS,
                plane::ORIGIN,
                plane::DIRECTIONS,
                plane::RANGES,
                plane::THROUGH_POINTS,
                (
                    "labels",
                    "[network, row, column] the attractor of the middle of each cell, rows along the second direction from its lower end",
                ),
                (
                    "steps",
                    "[network, row, column] steps until that was known; to a stable fixed point, until within `arrival`",
                ),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &["fixed_points", "state_space"],
    run,
};

/// Side of the boxes of the basin entropy, as in its reference.
const BOX: usize = 5;

/// The basins of one network.
struct Found {
    network: usize,
    plane: Plane,
    basins: Basins,
    /// Ids of the fixed points that were known.
    ids: Vec<u64>,
}

fn run(context: &mut Context) -> Outcome<()> {
    let input = constant_input(context);
    let table = context.needed("fixed_points")?;
    let points = kept_points(table)?;
    let existence = existence_radii(table)?;
    let settings = BasinSettings {
        steps: context.settings.count("steps"),
        arrival: context.settings.number("arrival"),
        bound: context.settings.number("bound"),
    };
    let mut all = Vec::new();
    for network in networks(context) {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let plane = plane::plane(context, network, &points)?;
        let fixed = points
            .iter()
            .filter(|point| point.network == network as u64 && point.verdict == "fixed");
        let (ids, known): (Vec<u64>, Vec<KnownPoint>) = fixed
            .map(|point| {
                let radius = existence
                    .iter()
                    .find(|(network, id, _)| (*network, *id) == (point.network, point.id));
                let known = KnownPoint {
                    state: point.state.clone(),
                    existence: radius.map_or(0.0, |(.., radius)| *radius),
                };
                (point.id, known)
            })
            .unzip();
        let basins = find_basins(
            &map,
            plane.rows() * plane.columns(),
            |index| plane.grid_state(index),
            &input,
            &known,
            &settings,
            &mut context.watch(network),
        )
        .map_err(|error| failed("basins", error))?;
        all.push(Found {
            network,
            plane,
            basins,
            ids,
        });
    }
    if all.is_empty() {
        return Ok(());
    }
    context.add_table("basins", shares(&all)?);
    context.add_table("basins_attractors", states(&all)?);
    context.add_table("basins_entropy", entropies(&all)?);
    let planes: Vec<(usize, Plane)> = all
        .iter()
        .map(|found| (found.network, found.plane.clone()))
        .collect();
    context.add_table("basins_points", points_table(&planes, &points)?);
    let mut found = arrays(context, &planes)?;
    let gridded = |of: fn(&Basins) -> &[usize]| -> Vec<ArrayD<f64>> {
        let one = |found: &Found| {
            let columns = found.plane.columns();
            let values = of(&found.basins);
            Array2::from_shape_fn((found.plane.rows(), columns), |(row, column)| {
                values[row * columns + column] as f64
            })
            .into_dyn()
        };
        all.iter().map(one).collect()
    };
    found.push(("labels".into(), stacked(gridded(|basins| &basins.labels))?));
    found.push(("steps".into(), stacked(gridded(|basins| &basins.steps))?));
    context.add_arrays("basins", found);
    Ok(())
}

/// Network, id and radius of every fixed point that was proved.
fn existence_radii(table: &Table) -> nullcline_data::Result<Vec<(u64, u64, f64)>> {
    let networks = table.u64_column("network")?;
    let ids = table.u64_column("id")?;
    let radii = table.f64_column("existence_radius")?;
    let rows = networks.into_iter().zip(ids).zip(radii);
    Ok(rows
        .filter(|(_, radius)| radius.is_finite())
        .map(|((network, id), radius)| (network, id, radius))
        .collect())
}

/// A row for every attractor.
fn shares(all: &[Found]) -> nullcline_data::Result<Table> {
    let rows: Vec<_> = all
        .iter()
        .flat_map(|found| {
            let attractors = found.basins.attractors.iter().enumerate();
            attractors.map(move |(label, attractor)| (found, label, attractor))
        })
        .collect();
    let mut table = Table::new();
    table.add(
        "network",
        "",
        rows.iter().map(|r| r.0.network as u64).collect::<Vec<_>>(),
    )?;
    table.add(
        "attractor",
        "",
        rows.iter().map(|r| r.1 as u64).collect::<Vec<_>>(),
    )?;
    table.add(
        "kind",
        "",
        rows.iter().map(|r| r.2.end.name()).collect::<Vec<_>>(),
    )?;
    let ids: Vec<Option<i64>> = rows
        .iter()
        .map(|r| Some(*r.0.ids.get(r.2.known?)? as i64))
        .collect();
    table.add("fixed_point", "", ids)?;
    table.add(
        "attracting",
        "",
        rows.iter()
            .map(|r| r.2.attracting)
            .collect::<Vec<Option<bool>>>(),
    )?;
    let periods: Vec<Option<i64>> = rows
        .iter()
        .map(|r| r.2.period().map(|period| period as i64))
        .collect();
    table.add("period", "steps", periods)?;
    let fractions: Vec<f64> = rows
        .iter()
        .map(|r| r.2.starts as f64 / r.0.basins.labels.len() as f64)
        .collect();
    table.add("fraction", "", fractions)?;
    let mean_steps: Vec<Option<f64>> = rows
        .iter()
        .map(|(found, label, attractor)| {
            let own = found.basins.labels.iter().zip(&found.basins.steps);
            let sum: usize = own
                .filter(|(l, _)| *l == label)
                .map(|(_, steps)| steps)
                .sum();
            (attractor.starts > 0).then(|| sum as f64 / attractor.starts as f64)
        })
        .collect();
    table.add("mean_steps", "steps", mean_steps)?;
    Ok(table)
}

/// A row for every state of every attractor.
fn states(all: &[Found]) -> nullcline_data::Result<Table> {
    let (mut networks, mut labels, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    let (mut places, mut distances, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for found in all {
        for (label, attractor) in found.basins.attractors.iter().enumerate() {
            for (step, state) in attractor.states.rows().into_iter().enumerate() {
                let state = state.to_vec();
                let (place, distance) = found.plane.place(&state);
                networks.push(found.network as u64);
                labels.push(label as u64);
                steps.push(step as u64);
                places.push(place);
                distances.push(distance);
                states.push(state);
            }
        }
    }
    let mut table = Table::new();
    table.add("network", "", networks)?;
    table.add("attractor", "", labels)?;
    table.add("step", "steps", steps)?;
    let column = |of: &[Vec<f64>], k: usize| of.iter().map(|row| row[k]).collect::<Vec<f64>>();
    let axes = all.first().map_or(0, |found| found.plane.axes());
    for (axis, name) in axis_columns(axes).enumerate() {
        table.add(&name, "units of the state", column(&places, axis))?;
    }
    table.add("distance", "units of the state", distances)?;
    let dim = all.first().map_or(0, |found| found.plane.state_dim());
    for i in 0..dim {
        table.add(&format!("state_{i}"), "", column(&states, i))?;
    }
    Ok(table)
}

fn entropies(all: &[Found]) -> nullcline_data::Result<Table> {
    // A grid that is too small for a box, or a line, has none.
    let entropies: Vec<_> = all
        .iter()
        .map(|found| basin_entropy(&found.basins.labels, found.plane.columns(), BOX).ok())
        .collect();
    let mut table = Table::new();
    table.add(
        "network",
        "",
        all.iter()
            .map(|found| found.network as u64)
            .collect::<Vec<_>>(),
    )?;
    let whole: Vec<Option<f64>> = entropies.iter().map(|e| e.map(|e| e.entropy)).collect();
    table.add("basin_entropy", "nats", whole)?;
    let boundary: Vec<Option<f64>> = entropies
        .iter()
        .map(|e| e.and_then(|e| e.boundary_entropy))
        .collect();
    table.add("boundary_basin_entropy", "nats", boundary)?;
    Ok(table)
}
