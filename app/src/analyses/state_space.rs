//! The state space in three principal components: trajectories, fixed points, unstable modes.

use super::fixed_points::kept_points;
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::{Fault, Outcome};
use ndarray::{Array2, Array3, ArrayD, ArrayView1, ArrayView2, Axis, s};
use nullcline_analysis::pca::PrincipalComponents;
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;
use nullcline_tasks::Split;

pub const KIND: AnalysisKind = AnalysisKind {
    name: "state_space",
    summary: "trajectories, fixed points and unstable modes in three principal components of the trajectories",
    by_default: true,
    keys: &[
        Key {
            name: "trials",
            kind: Kind::Integer {
                min: 1,
                max: 100_000,
            },
            default: Preset::Integer(64),
            unit: "trials",
            doc: "Held-out trials of double length that the components are fitted to.",
        },
        Key {
            name: "shown",
            kind: Kind::Integer { min: 1, max: 1000 },
            default: Preset::Integer(8),
            unit: "trials",
            doc: "How many of these trajectories are kept for the figure.",
        },
    ],
    tables: &[
        TableDoc {
            name: "state_space",
            rows: "a row for every step of every trajectory shown",
            columns: &[
                ("network", "the network, from 0"),
                ("trial", "the trial, from 0"),
                ("step", "the step, from 1"),
                ("pc_*", "place along this principal component"),
            ],
        },
        TableDoc {
            name: "state_space_points",
            rows: "a row for every fixed and slow point",
            columns: &[
                ("network", "the network, from 0"),
                ("fixed_point", "id of the point in fixed_points"),
                ("pc_*", "place along this principal component"),
                ("verdict", "fixed or slow"),
                ("n_unstable", "eigenvalues beyond the unit circle"),
            ],
        },
        TableDoc {
            name: "state_space_modes",
            rows: "a row for every unstable mode, as a segment",
            columns: &[
                ("network", "the network, from 0"),
                ("fixed_point", "id of the point in fixed_points"),
                ("index", "the eigenvalue's in linearization"),
                ("from_pc_*", "one end along this principal component"),
                ("to_pc_*", "the other end"),
            ],
        },
        TableDoc {
            name: "state_space.npz",
            rows: "the principal components themselves",
            columns: &[
                ("mean", "[network, state] mean of the trajectories"),
                ("components", "[network, component, state] unit vectors"),
                (
                    "explained_variance_ratio",
                    "[network, component] part of the variance",
                ),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &["fixed_points", "linearization"],
    run,
};

/// Axes of the figure.
const AXES: usize = 3;
/// Half the length of a mode of |lambda| = 1, as a fraction of the largest extent of the trajectories.
const MODE_LENGTH: f64 = 0.1;

fn run(context: &mut Context) -> Outcome<()> {
    let points = kept_points(context.needed("fixed_points")?)?;
    let dim = context.ensemble.architecture.state_dim();
    let networks = context.ensemble.len();
    let mut means = Array2::zeros((networks, dim));
    let mut components = Array3::zeros((networks, AXES, dim));
    let mut ratios = Array2::zeros((networks, AXES));
    let mut trajectories = Columns::new(&["network", "trial", "step"]);
    let mut places = Columns::new(&["network", "fixed_point"]);
    let (mut verdicts, mut unstable) = (Vec::new(), Vec::new());
    let mut modes = Columns::new(&["network", "fixed_point", "index"]);
    let linearization = context.needed("linearization")?.clone();
    for network in 0..networks {
        context.control.check()?;
        let trials = context.task.trials(
            Split::Long,
            context.seed(network),
            4,
            context.settings.count("trials"),
        );
        let response = context.respond(network, &trials)?;
        let (batch, times, _) = response.states.dim();
        let states = response.states.mapv(f64::from);
        // Time 0 is the network's initial state, the same on every trial, and no part of its dynamics.
        let visited = Array2::from_shape_fn((batch * (times - 1), dim), |(row, i)| {
            states[[row / (times - 1), 1 + row % (times - 1), i]]
        });
        let pca = PrincipalComponents::fit(visited.view(), AXES.min(dim)).map_err(fault)?;
        means.row_mut(network).assign(&pca.mean);
        for (axis, row) in pca.components.rows().into_iter().enumerate() {
            components.slice_mut(s![network, axis, ..]).assign(&row);
            ratios[[network, axis]] = pca.explained_variance_ratio[axis];
        }
        let axes = Axes(pca);
        let visited_at = axes.places(visited.view())?;
        let extent = visited_at
            .iter()
            .fold(0.0f64, |extent, x| extent.max(x.abs()));
        for trial in 0..context.settings.count("shown").min(batch) {
            for step in 1..times {
                let at = visited_at.row(trial * (times - 1) + step - 1);
                trajectories.push(&[network as u64, trial as u64, step as u64], &at.to_vec());
            }
        }
        for point in points
            .iter()
            .filter(|point| point.network == network as u64)
        {
            places.push(&[point.network, point.id], &axes.place(&point.state)?);
            verdicts.push(point.verdict.clone());
            unstable.push(point.n_unstable.map(|n| n as i64));
        }
        push_modes(
            context,
            &linearization,
            network as u64,
            &points,
            &axes,
            extent,
            &mut modes,
        )?;
    }
    let trajectory_table = trajectories.table(&["pc_1", "pc_2", "pc_3"])?;
    context.add_table("state_space", trajectory_table);
    let mut place_table = places.table(&["pc_1", "pc_2", "pc_3"])?;
    place_table.add("verdict", "", verdicts)?;
    place_table.add("n_unstable", "", unstable)?;
    context.add_table("state_space_points", place_table);
    let mode_table = modes.table(&[
        "from_pc_1",
        "from_pc_2",
        "from_pc_3",
        "to_pc_1",
        "to_pc_2",
        "to_pc_3",
    ])?;
    context.add_table("state_space_modes", mode_table);
    context.add_arrays(
        "state_space",
        vec![
            ("mean".into(), means.into_dyn()),
            ("components".into(), components.into_dyn()),
            ("explained_variance_ratio".into(), ratios.into_dyn()),
        ],
    );
    Ok(())
}

/// The principal components as three axes; a state of fewer dimensions lies at 0 on those it has not.
struct Axes(PrincipalComponents);

impl Axes {
    /// Places [sample, axis] of states [sample, state].
    fn places(&self, states: ArrayView2<f64>) -> Outcome<Array2<f64>> {
        Ok(padded(self.0.transform(states).map_err(fault)?))
    }

    fn place(&self, state: &[f64]) -> Outcome<Vec<f64>> {
        let state = ArrayView1::from(state).insert_axis(Axis(0));
        Ok(self.places(state)?.into_raw_vec_and_offset().0)
    }

    /// A direction along the axes: the mean is not taken off.
    fn direction(&self, vector: &[f64]) -> Outcome<Vec<f64>> {
        let vector = ArrayView1::from(vector).insert_axis(Axis(0));
        let along = self.0.transform_directions(vector).map_err(fault)?;
        Ok(padded(along).into_raw_vec_and_offset().0)
    }
}

fn fault(error: nullcline_analysis::Error) -> Fault {
    failed("principal components", error)
}

fn padded(places: Array2<f64>) -> Array2<f64> {
    Array2::from_shape_fn((places.nrows(), AXES), |(row, axis)| {
        places.get([row, axis]).copied().unwrap_or(0.0)
    })
}

/// Segments along the unstable eigenvectors, of length proportional to |lambda|. A complex pair spans a plane:
/// its first vector gives the real part, its second the imaginary part.
fn push_modes(
    context: &Context,
    linearization: &Table,
    network: u64,
    points: &[super::fixed_points::Point],
    axes: &Axes,
    extent: f64,
    modes: &mut Columns,
) -> Outcome<()> {
    let networks = linearization.u64_column("network")?;
    let ids = linearization.u64_column("fixed_point")?;
    let indices = linearization.u64_column("index")?;
    let modulus = linearization.f64_column("modulus")?;
    let imaginary = linearization.f64_column("im")?;
    let part = |name| context.results.array("linearization", name);
    let (Some(of_network), Some(of_point), Some(real_parts), Some(imaginary_parts)) = (
        part("network"),
        part("fixed_point"),
        part("right_re"),
        part("right_im"),
    ) else {
        return Ok(());
    };
    for row in (0..ids.len()).filter(|&row| networks[row] == network) {
        if modulus[row] <= 1.0 {
            continue;
        }
        let Some(k) = points
            .iter()
            .position(|p| p.network == network && p.id == ids[row])
        else {
            continue;
        };
        let vectors = if imaginary[row] < 0.0 {
            imaginary_parts
        } else {
            real_parts
        };
        // By name, not by position: the arrays may be those of an earlier search.
        let (mode, same) = (
            indices[row] as usize,
            |of: &ArrayD<f64>, i: usize, x: u64| of[[i]] == x as f64,
        );
        let Some(place) = (0..of_point.len())
            .find(|&i| same(of_network, i, network) && same(of_point, i, ids[row]))
            .filter(|_| vectors.ndim() == 3 && mode < vectors.len_of(Axis(1)))
        else {
            continue;
        };
        let vector = vectors.slice(s![place, mode, ..]).to_vec();
        let (at, along) = (axes.place(&points[k].state)?, axes.direction(&vector)?);
        let length = MODE_LENGTH * extent * modulus[row];
        let end = |sign: f64| -> [f64; AXES] {
            std::array::from_fn(|axis| at[axis] + sign * length * along[axis])
        };
        let (from, to) = (end(-1.0), end(1.0));
        modes.push(
            &[network, ids[row], indices[row]],
            &[from[0], from[1], from[2], to[0], to[1], to[2]],
        );
    }
    Ok(())
}

/// Rows of keys and numbers, turned into a table at the end.
struct Columns {
    names: Vec<&'static str>,
    keys: Vec<Vec<u64>>,
    values: Vec<Vec<f64>>,
}

impl Columns {
    fn new(names: &[&'static str]) -> Self {
        Columns {
            names: names.to_vec(),
            keys: vec![Vec::new(); names.len()],
            values: Vec::new(),
        }
    }

    fn push(&mut self, keys: &[u64], values: &[f64]) {
        self.values.resize_with(values.len(), Vec::new);
        for (column, key) in self.keys.iter_mut().zip(keys) {
            column.push(*key);
        }
        for (column, value) in self.values.iter_mut().zip(values) {
            column.push(*value);
        }
    }

    fn table(&self, value_names: &[&str]) -> nullcline_data::Result<Table> {
        let mut table = Table::new();
        for (name, column) in self.names.iter().zip(&self.keys) {
            let unit = if *name == "step" { "steps" } else { "" };
            table.add(name, unit, column.clone())?;
        }
        for (k, name) in value_names.iter().enumerate() {
            table.add(name, "", self.values.get(k).cloned().unwrap_or_default())?;
        }
        Ok(table)
    }
}
