//! The linear dynamics about every fixed and slow point: eigenvalues with their times, eigenvectors, what kicks a mode
//! and what shows it, and how far the whole is from normal.

use super::fixed_points::kept_points;
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::{Fault, Outcome};
use ndarray::{Array1, Array2, Array3};
use nullcline_analysis::linearization::{Linearization, linearize, period, time_constant};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_models::network::Network;
use nullcline_tables::Table;

pub const KIND: AnalysisKind = AnalysisKind {
    name: "linearization",
    summary: "eigenvalues, eigenvectors, their overlaps with inputs and outputs, and non-normality at every fixed point",
    by_default: true,
    keys: &[Key {
        name: "growth_steps",
        kind: Kind::Integer {
            min: 0,
            max: 1_000_000,
        },
        default: Preset::Integer(200),
        unit: "steps",
        doc: "Steps within which the largest transient growth at a stable point is looked for.",
    }],
    tables: &[
        TableDoc {
            name: "linearization",
            rows: "a row for every eigenvalue of every fixed and slow point, by modulus falling",
            columns: &[
                ("network", "the network, from 0"),
                ("fixed_point", "id of the point in fixed_points"),
                ("index", "place of the eigenvalue, from 0"),
                ("re", "real part of the eigenvalue lambda"),
                ("im", "imaginary part"),
                ("modulus", "|lambda|; the mode grows where it is beyond 1"),
                (
                    "time_constant",
                    "-1 / ln |lambda|, negative for growing modes",
                ),
                (
                    "period",
                    "2 pi / |arg lambda|, infinite where the mode does not turn",
                ),
                (
                    "eigen_residual",
                    "|J v - lambda v|, how far to trust the mode",
                ),
                (
                    "eigenvalue_condition",
                    "|w| |v| / |w^H v|, how far lambda moves for a change of J; infinite for defective modes",
                ),
                (
                    "input_overlap_*",
                    "|w^H b| / (|w| |b|), how strongly this input kicks the mode, from 0 to 1; b is the column of dF/du, and there is no overlap where it is 0",
                ),
                (
                    "readout_overlap_*",
                    "|c v| / (|c| |v|), how strongly the mode shows in this output, from 0 to 1; c is the row of dy/dx, and there is no overlap where it is 0",
                ),
            ],
        },
        TableDoc {
            name: "linearization_points",
            rows: "a row for every fixed and slow point",
            columns: &[
                ("network", "the network, from 0"),
                ("fixed_point", "id of the point in fixed_points"),
                ("n_unstable", "eigenvalues beyond the unit circle"),
                ("spectral_radius", "modulus of the largest eigenvalue"),
                (
                    "slowest_stable_time_constant",
                    "the largest time constant of a decaying mode; empty where none decays",
                ),
                (
                    "henrici",
                    "Henrici's departure from normality, sqrt(|J|_F^2 - sum |lambda|^2) / |J|_F: 0 for normal J, at most 1",
                ),
                (
                    "largest_singular_value",
                    "|J|_2, by how much one step stretches at most",
                ),
                (
                    "smallest_singular_value",
                    "by how much one step stretches at least",
                ),
                (
                    "transient_growth",
                    "the largest |J^k|_2 over the steps k, 1 where nothing grows on its way to decay; empty at unstable points, where growth need not end",
                ),
                (
                    "transient_growth_step",
                    "the k where it is reached first, 0 where nothing grows",
                ),
                (
                    "transient_growth_settled",
                    "whether it is proved that nothing larger comes later; false where growth_steps were too few for that",
                ),
                (
                    "eigenvector_condition",
                    "condition number of the matrix of eigenvectors: 1 for normal J, infinite or about 1e16 for defective J",
                ),
            ],
        },
        TableDoc {
            name: "linearization.npz",
            rows: "the eigenvectors and singular values",
            columns: &[
                ("network", "[point] the network"),
                ("fixed_point", "[point] id of the point in fixed_points"),
                (
                    "right_re",
                    "[point, mode, state] right eigenvectors v, J v = lambda v, of length 1",
                ),
                ("right_im", "[point, mode, state] their imaginary parts"),
                (
                    "left_re",
                    "[point, mode, state] left eigenvectors w, w^H J = lambda w^H, with w^H v = 1",
                ),
                ("left_im", "[point, mode, state] their imaginary parts"),
                (
                    "singular_values",
                    "[point, state] singular values of the Jacobian, falling",
                ),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &["fixed_points"],
    run,
};

fn run(context: &mut Context) -> Outcome<()> {
    let points = kept_points(context.needed("fixed_points")?)?;
    let dim = context.ensemble.architecture.state_dim();
    let growth_steps = context.settings.count("growth_steps");
    let mut overlaps = Overlaps::new(context);
    let mut summaries = Summaries::default();
    let (mut network, mut point_column, mut index) = (Vec::new(), Vec::new(), Vec::new());
    let (mut re, mut im, mut modulus) = (Vec::new(), Vec::new(), Vec::new());
    let (mut time_constants, mut periods) = (Vec::new(), Vec::new());
    let (mut residuals, mut conditions) = (Vec::new(), Vec::new());
    let mut vectors: [Array3<f64>; 4] =
        std::array::from_fn(|_| Array3::zeros((points.len(), dim, dim)));
    let mut singular_values = Array2::zeros((points.len(), dim));
    for (k, point) in points.iter().enumerate() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(point.network as usize) else {
            continue;
        };
        let linear = linearize(&map, &point.state, &point.input).map_err(fault)?;
        overlaps.push(&map, &point.state, &point.input, &linear)?;
        summaries.push(point.network, point.id, &linear, growth_steps)?;
        for (column, value) in linear.singular_values.iter().enumerate() {
            singular_values[[k, column]] = *value;
        }
        for (i, lambda) in linear.eigenvalues.iter().enumerate() {
            network.push(point.network);
            point_column.push(point.id);
            index.push(i as u64);
            re.push(lambda.re);
            im.push(lambda.im);
            modulus.push(lambda.norm());
            time_constants.push(time_constant(*lambda));
            periods.push(period(*lambda));
            residuals.push(linear.eigen_residuals[i]);
            conditions.push(linear.eigenvalue_conditions[i]);
            for j in 0..dim {
                let (right, left) = (
                    linear.right_eigenvectors[[i, j]],
                    linear.left_eigenvectors[[i, j]],
                );
                for (array, value) in vectors
                    .iter_mut()
                    .zip([right.re, right.im, left.re, left.im])
                {
                    array[[k, i, j]] = value;
                }
            }
        }
    }
    let mut table = Table::new();
    table.add("network", "", network)?;
    table.add("fixed_point", "", point_column)?;
    table.add("index", "", index)?;
    table.add("re", "", re)?;
    table.add("im", "", im)?;
    table.add("modulus", "", modulus)?;
    table.add("time_constant", "steps", time_constants)?;
    table.add("period", "steps", periods)?;
    table.add("eigen_residual", "", residuals)?;
    table.add("eigenvalue_condition", "", conditions)?;
    for (name, column) in overlaps.columns {
        table.add(&name, "", column)?;
    }
    context.add_table("linearization", table);
    context.add_table("linearization_points", summaries.table()?);
    let [right_re, right_im, left_re, left_im] = vectors;
    let numbers = |of: &dyn Fn(usize) -> u64| {
        Array1::from_iter((0..points.len()).map(|k| of(k) as f64)).into_dyn()
    };
    context.add_arrays(
        "linearization",
        vec![
            ("network".into(), numbers(&|k| points[k].network)),
            ("fixed_point".into(), numbers(&|k| points[k].id)),
            // [point, mode, state]
            ("right_re".into(), right_re.into_dyn()),
            ("right_im".into(), right_im.into_dyn()),
            ("left_re".into(), left_re.into_dyn()),
            ("left_im".into(), left_im.into_dyn()),
            // [point, state]
            ("singular_values".into(), singular_values.into_dyn()),
        ],
    );
    Ok(())
}

fn fault(error: nullcline_analysis::Error) -> Fault {
    failed("linearization", error)
}

/// Columns of the overlaps of modes with inputs, then with outputs; a row for every mode.
struct Overlaps {
    columns: Vec<(String, Vec<Option<f64>>)>,
    inputs: usize,
    outputs: usize,
}

impl Overlaps {
    fn new(context: &Context) -> Self {
        let (inputs, outputs) = (context.task.input_names(), context.task.output_names());
        let names = inputs.iter().map(|name| format!("input_overlap_{name}"));
        let names = names.chain(outputs.iter().map(|name| format!("readout_overlap_{name}")));
        Overlaps {
            columns: names.map(|name| (name, Vec::new())).collect(),
            inputs: inputs.len(),
            outputs: outputs.len(),
        }
    }

    /// Adds all modes of a point.
    fn push(
        &mut self,
        map: &Network,
        state: &[f64],
        input: &[f64],
        linear: &Linearization,
    ) -> Outcome<()> {
        let dim = state.len();
        let mut by_input = vec![0.0; dim * self.inputs];
        map.input_jacobian(state, input, &mut by_input);
        let by_input =
            Array2::from_shape_fn((dim, self.inputs), |(i, j)| by_input[i * self.inputs + j]);
        let mut readout = vec![0.0; self.outputs * dim];
        map.readout_jacobian(state, &mut readout);
        let readout = Array2::from_shape_fn((self.outputs, dim), |(o, i)| readout[o * dim + i]);
        let inputs = linear.input_overlaps(by_input.view()).map_err(fault)?;
        let outputs = linear.readout_overlaps(readout.view()).map_err(fault)?;
        let new = inputs.columns().into_iter().chain(outputs.columns());
        for ((_, column), new) in self.columns.iter_mut().zip(new) {
            column.extend(new.iter().map(|x| x.is_finite().then_some(*x)));
        }
        Ok(())
    }
}

/// The columns of `linearization_points`.
#[derive(Default)]
struct Summaries {
    network: Vec<u64>,
    fixed_point: Vec<u64>,
    n_unstable: Vec<usize>,
    spectral_radius: Vec<f64>,
    slowest: Vec<Option<f64>>,
    henrici: Vec<f64>,
    largest: Vec<Option<f64>>,
    smallest: Vec<Option<f64>>,
    growth: Vec<Option<f64>>,
    growth_step: Vec<Option<u64>>,
    growth_settled: Vec<Option<bool>>,
    condition: Vec<f64>,
}

impl Summaries {
    fn push(
        &mut self,
        network: u64,
        fixed_point: u64,
        linear: &Linearization,
        growth_steps: usize,
    ) -> Outcome<()> {
        let growth = linear.transient_growth(growth_steps).map_err(fault)?;
        self.network.push(network);
        self.fixed_point.push(fixed_point);
        self.n_unstable.push(linear.n_unstable());
        self.spectral_radius.push(linear.spectral_radius());
        self.slowest.push(linear.slowest_stable_time_constant());
        self.henrici.push(linear.henrici);
        self.largest.push(linear.singular_values.first().copied());
        self.smallest.push(linear.singular_values.last().copied());
        self.growth.push(growth.map(|growth| growth.growth));
        self.growth_step
            .push(growth.map(|growth| growth.step as u64));
        self.growth_settled
            .push(growth.map(|growth| growth.settled));
        self.condition.push(linear.eigenvector_condition);
        Ok(())
    }

    fn table(self) -> nullcline_data::Result<Table> {
        let mut table = Table::new();
        table.add("network", "", self.network)?;
        table.add("fixed_point", "", self.fixed_point)?;
        table.add("n_unstable", "", self.n_unstable)?;
        table.add("spectral_radius", "", self.spectral_radius)?;
        table.add("slowest_stable_time_constant", "steps", self.slowest)?;
        table.add("henrici", "", self.henrici)?;
        table.add("largest_singular_value", "", self.largest)?;
        table.add("smallest_singular_value", "", self.smallest)?;
        table.add("transient_growth", "", self.growth)?;
        table.add("transient_growth_step", "steps", self.growth_step)?;
        table.add("transient_growth_settled", "", self.growth_settled)?;
        table.add("eigenvector_condition", "", self.condition)?;
        Ok(table)
    }
}
