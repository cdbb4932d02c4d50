//! The plane that basins and speeds are shown on: its keys, how it is laid, and what lies on it.

use super::fixed_points::Point;
use super::{Context, failed};
use crate::results::Arrays;
use crate::session::Outcome;
use ndarray::{Array1, Array2, ArrayD, Axis, s, stack};
use nullcline_analysis::plane::Plane;
use nullcline_data::Error;
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;

pub(super) const THROUGH: Key = Key {
    name: "through",
    kind: Kind::Integers {
        min: 0,
        max: 1_000_000_000,
    },
    default: Preset::Absent,
    unit: "",
    doc: "Ids of three fixed points that the plane goes through; not set: the first two principal components of state_space, \
          of states of one or two dimensions their own axes.",
};
pub(super) const EXTENT: Key = Key {
    name: "extent",
    kind: Kind::Number {
        min: 0.01,
        max: 1000.0,
    },
    default: Preset::Number(1.2),
    unit: "",
    doc: "Side of the square shown, over that of the one which holds the visited states, and the three points, as seen in the plane.",
};
pub(super) const EVERY_NETWORK: Key = Key {
    name: "every_network",
    kind: Kind::Flag,
    default: Preset::Flag(false),
    unit: "",
    doc: "Whether it is done for every network of an ensemble, not only for the one that figures show.",
};

/// Arrays that say where the plane lies, as their reference has them.
pub(super) const ORIGIN: (&str, &str) = ("origin", "[network, state] the origin of the plane");
pub(super) const DIRECTIONS: (&str, &str) = (
    "directions",
    "[network, axis, state] its orthonormal directions: two, or one where the state has one dimension",
);
pub(super) const RANGES: (&str, &str) = (
    "ranges",
    "[network, axis, end] lower and upper end along each",
);
pub(super) const THROUGH_POINTS: (&str, &str) = (
    "through",
    "[network, 3] ids of the fixed points that it goes through; NaN where it goes through none",
);
pub(super) const OF_NETWORKS: (&str, &str) = ("network", "[network] the networks");

/// Columns of a table of fixed points beside the plane.
pub(super) const POINT_COLUMNS: &[(&str, &str)] = &[
    ("network", "the network, from 0"),
    ("fixed_point", "id of the point in fixed_points"),
    (
        "axis_*",
        "place of the nearest point of the plane, along its directions",
    ),
    ("distance", "distance from the plane"),
    ("verdict", "fixed or slow"),
    ("n_unstable", "eigenvalues beyond the unit circle"),
];

/// Held-out trials whose states the plane is fitted to.
const TRIALS: usize = 16;

/// The networks that are looked at: the one that figures show, or all.
pub(super) fn networks(context: &Context) -> Vec<usize> {
    let all = context.ensemble.len();
    if context.settings.flag("every_network") {
        (0..all).collect()
    } else {
        let shown = context.experiment.figures.count("network");
        (0..all).filter(|&network| network == shown).collect()
    }
}

/// The plane of a network with its grid, by the keys of the analysis.
pub(super) fn plane(context: &mut Context, network: usize, points: &[Point]) -> Outcome<Plane> {
    let grid = context.settings.count("grid");
    let dim = context.ensemble.architecture.state_dim();
    let through = through(context, network, points)?;
    let plane = match &through {
        Some(corners) => Plane::through(corners.map(|point| &point.state[..]), grid),
        None if dim <= 2 => Plane::whole(dim, grid),
        None => {
            let (Some(means), Some(components)) = (
                context.results.array("state_space", "mean"),
                context.results.array("state_space", "components"),
            ) else {
                return Err(no_components(network));
            };
            let fits = means.ndim() == 2
                && components.ndim() == 3
                && network < means.len_of(Axis(0)).min(components.len_of(Axis(0)))
                && components.len_of(Axis(1)) >= 2;
            if !fits {
                return Err(no_components(network));
            }
            let mean = means.slice(s![network, ..]).to_vec();
            let axes = components.slice(s![network, ..2, ..]);
            Plane::new(&mean, axes, grid)
        }
    };
    let plane = plane.map_err(|error| match (&through, error) {
        (Some(_), nullcline_analysis::Error::Setting { .. }) => key_error(
            context,
            "three points on one line".to_owned(),
            "three fixed points that span a plane".to_owned(),
        ),
        (_, error) => failed("the plane", error),
    })?;
    let mut shown = context.visited_states(network, 3, TRIALS)?;
    for point in through.iter().flatten() {
        shown
            .push_row(Array1::from(point.state.clone()).view())
            .map_err(|_| no_components(network))?;
    }
    plane
        .fitted(shown.view(), context.settings.number("extent"))
        .map_err(|error| failed("the plane", error))
}

fn no_components(network: usize) -> crate::session::Fault {
    Error::argument(
        "the plane",
        format!("no principal components of network {network}"),
        "results of \"state_space\" for these networks; run it first",
    )
    .into()
}

fn key_error(context: &Context, found: String, allowed: String) -> crate::session::Fault {
    let key = format!("key \"analysis.{}.through\"", context.name);
    Error::argument(key, found, allowed).into()
}

/// The three points that the plane is asked to go through.
fn through<'a>(
    context: &Context,
    network: usize,
    points: &'a [Point],
) -> Outcome<Option<[&'a Point; 3]>> {
    let Some(ids) = context.settings.optional_integers("through") else {
        return Ok(None);
    };
    let ids = <[i64; 3]>::try_from(ids).map_err(|_| {
        let found = format!("{} of them", ids.len());
        key_error(context, found, "ids of three fixed points".to_owned())
    })?;
    if context.ensemble.architecture.state_dim() < 2 {
        let found = "three points, for a state of one dimension";
        let allowed = "no such key, as there is a line, but no plane";
        return Err(key_error(context, found.to_owned(), allowed.to_owned()));
    }
    let known = |id: i64| {
        let mut own = points
            .iter()
            .filter(|point| point.network == network as u64);
        own.find(|point| i64::try_from(point.id) == Ok(id))
            .ok_or_else(|| {
                key_error(
                    context,
                    format!("{id}, which network {network} has no point of"),
                    "ids of its fixed and slow points, as in fixed_points".to_owned(),
                )
            })
    };
    Ok(Some([known(ids[0])?, known(ids[1])?, known(ids[2])?]))
}

/// The arrays that say where the planes of these networks lie.
pub(super) fn arrays(context: &Context, planes: &[(usize, Plane)]) -> Outcome<Arrays> {
    let ids: Vec<f64> = match context.settings.optional_integers("through") {
        Some(ids) => ids.iter().map(|&id| id as f64).collect(),
        None => vec![f64::NAN; 3],
    };
    let ranges = |plane: &Plane| {
        Array2::from_shape_fn((plane.axes(), 2), |(axis, end)| {
            let (low, high) = plane.ranges()[axis];
            if end == 0 { low } else { high }
        })
    };
    let of = |make: &dyn Fn(&Plane) -> ArrayD<f64>| {
        stacked(planes.iter().map(|(_, plane)| make(plane)).collect())
    };
    let networks = Array1::from_iter(planes.iter().map(|(network, _)| *network as f64));
    Ok(vec![
        (OF_NETWORKS.0.into(), networks.into_dyn()),
        (
            ORIGIN.0.into(),
            of(&|plane| Array1::from(plane.origin().to_vec()).into_dyn())?,
        ),
        (
            DIRECTIONS.0.into(),
            of(&|plane| plane.directions().to_owned().into_dyn())?,
        ),
        (RANGES.0.into(), of(&|plane| ranges(plane).into_dyn())?),
        (
            THROUGH_POINTS.0.into(),
            of(&|_| Array1::from(ids.clone()).into_dyn())?,
        ),
    ])
}

/// Arrays of one shape behind each other along a new first axis, `[network, ...]`.
pub(super) fn stacked(arrays: Vec<ArrayD<f64>>) -> Outcome<ArrayD<f64>> {
    let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
    stack(Axis(0), &views).map_err(|error| {
        Error::argument("the planes", error.to_string(), "arrays of one shape").into()
    })
}

/// Names of the columns that hold places along the directions of the planes: `axis_1`, `axis_2`.
pub(super) fn axis_columns(axes: usize) -> impl Iterator<Item = String> {
    (1..=axes).map(|axis| format!("axis_{axis}"))
}

/// A row for every fixed and slow point of the networks: where it lies beside the plane.
pub(super) fn points_table(
    planes: &[(usize, Plane)],
    points: &[Point],
) -> nullcline_data::Result<Table> {
    let rows: Vec<(&Point, Vec<f64>, f64)> = planes
        .iter()
        .flat_map(|(network, plane)| {
            let own = points
                .iter()
                .filter(|point| point.network == *network as u64);
            own.map(|point| {
                let (place, distance) = plane.place(&point.state);
                (point, place, distance)
            })
        })
        .collect();
    let mut table = Table::new();
    table.add(
        "network",
        "",
        rows.iter().map(|r| r.0.network).collect::<Vec<_>>(),
    )?;
    table.add(
        "fixed_point",
        "",
        rows.iter().map(|r| r.0.id).collect::<Vec<_>>(),
    )?;
    let axes = planes.first().map_or(0, |(_, plane)| plane.axes());
    for (axis, name) in axis_columns(axes).enumerate() {
        let places: Vec<f64> = rows.iter().map(|r| r.1[axis]).collect();
        table.add(&name, "units of the state", places)?;
    }
    let distances: Vec<f64> = rows.iter().map(|r| r.2).collect();
    table.add("distance", "units of the state", distances)?;
    let verdicts: Vec<String> = rows.iter().map(|r| r.0.verdict.clone()).collect();
    table.add("verdict", "", verdicts)?;
    let unstable: Vec<Option<i64>> = rows
        .iter()
        .map(|r| r.0.n_unstable.map(|n| n as i64))
        .collect();
    table.add("n_unstable", "", unstable)?;
    Ok(table)
}
