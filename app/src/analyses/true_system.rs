//! The true system behind a recording, where its equations are known: its fixed points and Lyapunov exponents, beside those
//! of the networks that reconstruct it.

use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array2, ArrayView2, Axis, s};
use nullcline_analysis::flow::{Equilibrium, EquilibriumSettings, find_equilibria, match_points};
use nullcline_analysis::free_run::RunInput;
use nullcline_analysis::lyapunov::{LyapunovSettings, lyapunov_spectrum};
use nullcline_analysis::pca::PrincipalComponents;
use nullcline_analysis::starts::starts_in_box;
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_models::network::Network;
use nullcline_tables::Table;
use nullcline_tasks::Split;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "true_system",
    summary: "fixed points and Lyapunov exponents of the true system behind a recording, and the fixed points of every network beside them",
    by_default: true,
    keys: &[
        Key {
            name: "starts",
            kind: Kind::Integer {
                min: 1,
                max: 10_000_000,
            },
            default: Preset::Integer(512),
            unit: "",
            doc: "Starts of the search for fixed points: half of them samples of the test part, half of them in the box of three times its extent.",
        },
        Key {
            name: "steps",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000_000,
            },
            default: Preset::Integer(50_000),
            unit: "steps",
            doc: "Samples over which the exponents are averaged.",
        },
        Key {
            name: "transient",
            kind: Kind::Integer {
                min: 0,
                max: 1_000_000_000,
            },
            default: Preset::Integer(1000),
            unit: "steps",
            doc: "Samples before them, in which the tangent vectors come to their directions.",
        },
        Key {
            name: "exponents",
            kind: Kind::Integer {
                min: 0,
                max: 1_000_000,
            },
            default: Preset::Integer(20),
            unit: "",
            doc: "How many exponents, the largest ones, where there are more variables than that; 0: all.",
        },
    ],
    tables: &[
        TableDoc {
            name: "true_fixed_points",
            rows: "a row for every fixed point of the true system",
            columns: &[
                ("id", "the point, from 0"),
                ("state_*", "where, in the coordinates of the task"),
                ("original_*", "where, in the variables of the system"),
                ("residual", "|dx/dt| there, in the maximum norm"),
                ("n_unstable", "eigenvalues with positive real part"),
                (
                    "isolated",
                    "whether no eigenvalue is zero: else the point may be one of a continuum",
                ),
                ("found_from", "starts that led here"),
                ("axis_*", "where on this axis of the picture"),
            ],
        },
        TableDoc {
            name: "true_eigenvalues",
            rows: "a row for every eigenvalue of every fixed point of the true system",
            columns: &[
                ("fixed_point", "the point"),
                ("index", "rank of the eigenvalue by real part, from 0"),
                ("re", "real part"),
                ("im", "imaginary part"),
                (
                    "map_re",
                    "real part of exp(lambda dt), as a network has it that is the map over a step",
                ),
                ("map_im", "imaginary part of it"),
                ("map_modulus", "modulus of it"),
            ],
        },
        TableDoc {
            name: "true_lyapunov",
            rows: "a row for every Lyapunov exponent of the true system",
            columns: &[
                ("index", "rank of the exponent, from 0"),
                ("exponent", "per unit of time"),
                (
                    "exponent_per_step",
                    "per step of a network, to compare with its own",
                ),
                (
                    "kaplan_yorke_dimension",
                    "of the attractor; empty where more exponents would be needed",
                ),
            ],
        },
        TableDoc {
            name: "true_system_matches",
            rows: "a row for every fixed point of the true system and every network, and for every fixed point of a network that has no partner",
            columns: &[
                ("network", "the network, from 0"),
                (
                    "true_fixed_point",
                    "the true point; empty for one of a network alone",
                ),
                (
                    "fixed_point",
                    "the network's point; empty where it has none left",
                ),
                (
                    "distance",
                    "between the true point and what the network shows at its own; pairs are those with the least sum of distances",
                ),
                ("true_n_unstable", "unstable directions of the true point"),
                ("n_unstable", "unstable directions of the network's point"),
                (
                    "axis_*",
                    "where the network's point lies on this axis of the picture",
                ),
            ],
        },
        TableDoc {
            name: "true_system.npz",
            rows: "the attractor to draw",
            columns: &[("attractor", "[time, axis] the test part, or its beginning")],
        },
    ],
    applies: |task, _| task.system().is_some(),
    needs: &["fixed_points"],
    run,
};

/// Axes of the picture.
const AXES: usize = 3;
/// Samples of the picture.
pub(super) const SAMPLES: usize = 6000;

fn run(context: &mut Context) -> Outcome<()> {
    let task = context.task;
    let (Some(generator), Some(recording)) = (task.system(), task.recording(Split::HeldOut)) else {
        return Ok(());
    };
    let values = recording.values.mapv(f64::from);
    let dim = generator.dimension();
    let control = context.control;
    let mut go_on = |_: f64| !control.is_stopped();

    let starts = starts(context, values.view())?;
    let points = find_equilibria(
        &generator,
        starts.view(),
        &EquilibriumSettings::default(),
        &mut go_on,
    )
    .map_err(|error| failed("fixed points of the true system", error))?;

    let settings = LyapunovSettings {
        transient: context.settings.count("transient"),
        exponents: match context.settings.count("exponents") {
            0 => None,
            count => Some(count.min(dim)),
        },
        ..LyapunovSettings::new(context.settings.count("steps"))
    };
    let flow = generator.flow();
    let spectrum = lyapunov_spectrum(
        &flow,
        &values.row(0).to_vec(),
        RunInput::Constant(&[]),
        &settings,
        &mut Random::new(context.experiment.seed(), Stream::STARTS, 2),
        &mut go_on,
    )
    .map_err(|error| failed("Lyapunov exponents of the true system", error))?;

    let picture = Picture::new(values.view())?;
    let unit = task.output_unit();
    let time_unit = generator.system.time_unit();
    let per_time = format!("1/{time_unit}");
    let states = Array2::from_shape_fn((points.len(), dim), |(k, i)| points[k].state[i]);
    let places = picture.places(states.view());
    let mut table = Table::new();
    table.add("id", "", (0..points.len()).collect::<Vec<_>>())?;
    for (i, column) in states.columns().into_iter().enumerate() {
        table.add(&format!("state_{i}"), unit, column.to_vec())?;
    }
    for i in 0..dim {
        let original = points.iter().map(|point| {
            let mut state = point.state.clone();
            generator.restore(&mut state);
            state[i]
        });
        table.add(
            &format!("original_{i}"),
            &recording.unit,
            original.collect::<Vec<_>>(),
        )?;
    }
    let column = |of: fn(&Equilibrium) -> f64| points.iter().map(of).collect::<Vec<f64>>();
    table.add("residual", &per_time, column(|point| point.residual))?;
    let n_unstable = |point: &Equilibrium| point.n_unstable() as u64;
    let unstable: Vec<u64> = points.iter().map(n_unstable).collect();
    table.add("n_unstable", "", unstable.clone())?;
    let isolated: Vec<bool> = points.iter().map(|point| point.isolated).collect();
    table.add("isolated", "", isolated)?;
    let found_from: Vec<u64> = points.iter().map(|point| point.found_from as u64).collect();
    table.add("found_from", "", found_from)?;
    add_places(&mut table, &rows(places.view()), picture.axes())?;
    table.metadata.insert(
        "axes".to_owned(),
        picture.names(&recording.names).join("\n"),
    );
    table
        .metadata
        .insert("system".to_owned(), generator.system.name().to_owned());
    table
        .metadata
        .insert("variance".to_owned(), picture.variance.to_string());
    context.add_table("true_fixed_points", table);
    context.add_table(
        "true_eigenvalues",
        eigenvalues(&points, generator.dt, &per_time)?,
    );

    let mut table = Table::new();
    let exponents = &spectrum.exponents;
    table.add("index", "", (0..exponents.len()).collect::<Vec<_>>())?;
    let rates: Vec<f64> = exponents.iter().map(|e| e / generator.dt).collect();
    table.add("exponent", &per_time, rates)?;
    table.add("exponent_per_step", "1/step", exponents.clone())?;
    let dimension = vec![spectrum.kaplan_yorke; exponents.len()];
    table.add("kaplan_yorke_dimension", "", dimension)?;
    table
        .metadata
        .insert("step".to_owned(), generator.dt.to_string());
    table
        .metadata
        .insert("time_unit".to_owned(), time_unit.to_owned());
    context.add_table("true_lyapunov", table);

    let matches = matches(context, states.view(), &unstable, &picture)?;
    let mut table = Table::new();
    table.add("network", "", matches.network)?;
    table.add("true_fixed_point", "", matches.true_point)?;
    table.add("fixed_point", "", matches.point)?;
    table.add("distance", unit, matches.distance)?;
    table.add("true_n_unstable", "", matches.true_unstable)?;
    table.add("n_unstable", "", matches.unstable)?;
    add_places(&mut table, &matches.places, picture.axes())?;
    context.add_table("true_system_matches", table);

    let shown = values.slice(s![..values.nrows().min(SAMPLES), ..]);
    let attractor = picture.places(shown);
    context.add_arrays(
        "true_system",
        vec![("attractor".to_owned(), attractor.into_dyn())],
    );
    Ok(())
}

/// Where the search starts, `[start, variable]`: samples, and points of a box about them.
fn starts(context: &Context, values: ArrayView2<f64>) -> Outcome<Array2<f64>> {
    let count = context.settings.count("starts");
    let samples = count.div_ceil(2);
    let every = (values.nrows() / samples).max(1);
    let visited = values.slice(s![..;every as isize, ..]);
    let visited = visited.slice(s![..samples.min(visited.nrows()), ..]);
    let ends: Vec<(f64, f64)> = values
        .columns()
        .into_iter()
        .map(|column| {
            let low = column.iter().copied().fold(f64::INFINITY, f64::min);
            let high = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (low - (high - low), high + (high - low))
        })
        .collect();
    let (low, high): (Vec<f64>, Vec<f64>) = ends.into_iter().unzip();
    let mut random = Random::new(context.experiment.seed(), Stream::STARTS, 3);
    // A variable that stays has no box.
    match starts_in_box(&low, &high, count - count.div_ceil(2), &mut random) {
        Ok(about) => Ok(ndarray::concatenate![Axis(0), visited, about]),
        Err(_) => Ok(visited.to_owned()),
    }
}

/// The axes on which the attractor is drawn: its variables, or where there are more than three, its principal components.
pub(super) struct Picture {
    components: Option<PrincipalComponents>,
    dim: usize,
    /// Part of the variance in view.
    variance: f64,
}

impl Picture {
    pub(super) fn new(values: ArrayView2<f64>) -> Outcome<Self> {
        let dim = values.ncols();
        let components = match dim > AXES {
            true => Some(
                PrincipalComponents::fit(values, AXES)
                    .map_err(|error| failed("principal components of the recording", error))?,
            ),
            false => None,
        };
        let variance = components
            .as_ref()
            .map_or(1.0, |fitted| fitted.explained_variance_ratio.sum());
        Ok(Picture {
            components,
            dim,
            variance,
        })
    }

    fn axes(&self) -> usize {
        self.dim.min(AXES)
    }

    /// `[point, axis]` of points `[point, variable]`.
    pub(super) fn places(&self, points: ArrayView2<f64>) -> Array2<f64> {
        match &self.components {
            Some(fitted) => (&points - &fitted.mean).dot(&fitted.components.t()),
            None => points.to_owned(),
        }
    }

    pub(super) fn names(&self, variables: &[String]) -> Vec<String> {
        match self.components {
            Some(_) => (1..=AXES).map(|k| format!("PC {k}")).collect(),
            None => variables.to_vec(),
        }
    }
}

/// What the table of matches holds.
#[derive(Default)]
struct Matches {
    network: Vec<u64>,
    true_point: Vec<Option<u64>>,
    point: Vec<Option<u64>>,
    distance: Vec<Option<f64>>,
    true_unstable: Vec<Option<u64>>,
    unstable: Vec<Option<u64>>,
    /// Of the network's point, `[axis]`.
    places: Vec<Option<Vec<f64>>>,
}

/// A fixed point of a network.
struct Point {
    id: u64,
    n_unstable: u64,
    /// What the readout shows of it.
    shown: Vec<f64>,
}

/// The fixed points of every network beside the true ones `[point, variable]`.
fn matches(
    context: &Context,
    truth: ArrayView2<f64>,
    true_unstable: &[u64],
    picture: &Picture,
) -> Outcome<Matches> {
    let mut matches = Matches::default();
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let points = fixed_points(context, network as u64, &map)?;
        let shown =
            Array2::from_shape_fn((points.len(), truth.ncols()), |(k, i)| points[k].shown[i]);
        let places = picture.places(shown.view());
        let pairs = match_points(truth, shown.view())
            .map_err(|error| failed("pairs of fixed points", error))?;
        let mut push = |true_point: Option<usize>, point: Option<usize>, distance: Option<f64>| {
            matches.network.push(network as u64);
            matches.true_point.push(true_point.map(|k| k as u64));
            matches.point.push(point.map(|k| points[k].id));
            matches.distance.push(distance);
            matches
                .true_unstable
                .push(true_point.map(|k| true_unstable[k]));
            matches.unstable.push(point.map(|k| points[k].n_unstable));
            matches.places.push(point.map(|k| places.row(k).to_vec()));
        };
        for (k, pair) in pairs.iter().enumerate() {
            push(
                Some(k),
                pair.map(|(j, _)| j),
                pair.map(|(_, distance)| distance),
            );
        }
        let has_partner = |j: usize| pairs.iter().flatten().any(|(partner, _)| *partner == j);
        for j in (0..points.len()).filter(|j| !has_partner(*j)) {
            push(None, Some(j), None);
        }
    }
    Ok(matches)
}

/// The fixed points of a network as the analysis of that name left them, where the readout is finite.
fn fixed_points(context: &Context, network: u64, map: &Network) -> Outcome<Vec<Point>> {
    let table = context.needed("fixed_points")?;
    let networks = table.u64_column("network")?;
    let ids = table.u64_column("id")?;
    let verdicts = table.text_column("verdict")?;
    let unstable = table.f64_column("n_unstable")?;
    let states: Vec<Vec<f64>> = (0..map.state_dim())
        .map(|k| table.f64_column(&format!("state_{k}")))
        .collect::<nullcline_data::Result<_>>()?;
    let own = |row: &usize| networks[*row] == network && verdicts[*row] == Some("fixed");
    Ok((0..networks.len())
        .filter(own)
        .map(|row| {
            let state: Vec<f64> = states.iter().map(|column| column[row]).collect();
            Point {
                id: ids[row],
                n_unstable: unstable[row] as u64,
                shown: map.readout(&state),
            }
        })
        .filter(|point| point.shown.iter().all(|x| x.is_finite()))
        .collect())
}

fn eigenvalues(points: &[Equilibrium], dt: f64, per_time: &str) -> nullcline_data::Result<Table> {
    let rows: Vec<_> = points
        .iter()
        .enumerate()
        .flat_map(|(id, point)| {
            let eigenvalues = point.eigenvalues.iter().enumerate();
            eigenvalues.map(move |(index, lambda)| (id, index, *lambda, (*lambda * dt).exp()))
        })
        .collect();
    let mut table = Table::new();
    table.add(
        "fixed_point",
        "",
        rows.iter().map(|row| row.0).collect::<Vec<_>>(),
    )?;
    table.add(
        "index",
        "",
        rows.iter().map(|row| row.1).collect::<Vec<_>>(),
    )?;
    table.add(
        "re",
        per_time,
        rows.iter().map(|row| row.2.re).collect::<Vec<_>>(),
    )?;
    table.add(
        "im",
        per_time,
        rows.iter().map(|row| row.2.im).collect::<Vec<_>>(),
    )?;
    table.add(
        "map_re",
        "",
        rows.iter().map(|row| row.3.re).collect::<Vec<_>>(),
    )?;
    table.add(
        "map_im",
        "",
        rows.iter().map(|row| row.3.im).collect::<Vec<_>>(),
    )?;
    let moduli: Vec<f64> = rows.iter().map(|row| row.3.norm()).collect();
    table.add("map_modulus", "", moduli)?;
    Ok(table)
}

/// The rows of a matrix, each there.
fn rows(matrix: ArrayView2<f64>) -> Vec<Option<Vec<f64>>> {
    matrix
        .rows()
        .into_iter()
        .map(|row| Some(row.to_vec()))
        .collect()
}

/// The columns `axis_*`.
fn add_places(
    table: &mut Table,
    places: &[Option<Vec<f64>>],
    axes: usize,
) -> nullcline_data::Result<()> {
    for axis in 0..axes {
        let column: Vec<Option<f64>> = places
            .iter()
            .map(|place| place.as_ref().and_then(|place| place.get(axis).copied()))
            .collect();
        table.add(&format!("axis_{}", axis + 1), "", column)?;
    }
    Ok(())
}
