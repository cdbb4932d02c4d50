//! Speed and direction of the dynamics on a plane through the state space.

use super::fixed_points::{constant_input, kept_points};
use super::plane::{self, arrays, networks, points_table, stacked};
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use nullcline_analysis::speed_landscape::{speeds, vector_field};
use nullcline_data::settings::{Key, Kind, Preset};

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "speed_landscape",
    summary: "speed and vector field on a plane through the state space, of the network that figures show",
    by_default: true,
    keys: &[
        plane::THROUGH,
        plane::EXTENT,
        Key {
            name: "grid",
            kind: Kind::Integer { min: 2, max: 2000 },
            default: Preset::Integer(120),
            unit: "points",
            doc: "Grid points along each side of the plane at which the speed is taken.",
        },
        Key {
            name: "vectors",
            kind: Kind::Integer { min: 2, max: 500 },
            default: Preset::Integer(20),
            unit: "points",
            doc: "Grid points along each side at which the direction is taken.",
        },
        plane::EVERY_NETWORK,
    ],
    tables: &[
        TableDoc {
            name: "speed_landscape.npz",
            rows: "the plane, and what was found on its grid",
            columns: &[
                plane::OF_NETWORKS,
                plane::ORIGIN,
                plane::DIRECTIONS,
                plane::RANGES,
                plane::THROUGH_POINTS,
                (
                    "speeds",
                    "[network, row, column] q = 1/2 |x - F(x, u)|^2 in the middle of each cell, rows along the second direction from its lower end",
                ),
                (
                    "vectors",
                    "[network, row, column, axis] the part of F(x, u) - x in the plane, on the coarser grid",
                ),
                (
                    "leaving",
                    "[network, row, column] the length of the part that leaves the plane over the whole length",
                ),
            ],
        },
        TableDoc {
            name: "speed_landscape_points",
            rows: "a row for every fixed and slow point",
            columns: plane::POINT_COLUMNS,
        },
    ],
    applies: |_, _| true,
    needs: &["fixed_points", "state_space"],
    run,
};

fn run(context: &mut Context) -> Outcome<()> {
    let input = constant_input(context);
    let points = kept_points(context.needed("fixed_points")?)?;
    let coarse = context.settings.count("vectors");
    let mut planes = Vec::new();
    let (mut all_speeds, mut vectors, mut leaving) = (Vec::new(), Vec::new(), Vec::new());
    for network in networks(context) {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let plane = plane::plane(context, network, &points)?;
        let fault = |error| failed("speed landscape", error);
        let mut watch = context.watch(network);
        let found = speeds(&map, &plane, &input, &mut watch).map_err(fault)?;
        all_speeds.push(found.into_dyn());
        // On a line there is room for all.
        let field = match plane.axes() {
            1 => vector_field(&map, &plane, &input, &mut watch),
            _ => vector_field(&map, &plane.clone().with_points(coarse), &input, &mut watch),
        };
        let field = field.map_err(fault)?;
        vectors.push(field.vectors.into_dyn());
        leaving.push(field.leaving.into_dyn());
        drop(watch);
        planes.push((network, plane));
    }
    if planes.is_empty() {
        return Ok(());
    }
    let mut found = arrays(context, &planes)?;
    found.push(("speeds".into(), stacked(all_speeds)?));
    found.push(("vectors".into(), stacked(vectors)?));
    found.push(("leaving".into(), stacked(leaving)?));
    context.add_arrays("speed_landscape", found);
    context.add_table("speed_landscape_points", points_table(&planes, &points)?);
    Ok(())
}
