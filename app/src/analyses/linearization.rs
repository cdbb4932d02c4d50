//! The linear dynamics about every fixed and slow point: eigenvalues with their times, eigenvectors.

use super::fixed_points::kept_points;
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array1, Array3};
use nullcline_analysis::linearization::{linearize, period, time_constant};
use nullcline_tables::Table;

pub const KIND: AnalysisKind = AnalysisKind {
    name: "linearization",
    summary: "eigenvalues, right and left eigenvectors, time constants and periods at every fixed point",
    by_default: true,
    keys: &[],
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
            ],
        },
        TableDoc {
            name: "linearization.npz",
            rows: "the eigenvectors",
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
    let (mut network, mut point_column, mut index) = (Vec::new(), Vec::new(), Vec::new());
    let (mut re, mut im, mut modulus) = (Vec::new(), Vec::new(), Vec::new());
    let (mut time_constants, mut periods) = (Vec::new(), Vec::new());
    let (mut residuals, mut conditions) = (Vec::new(), Vec::new());
    let mut vectors: [Array3<f64>; 4] =
        std::array::from_fn(|_| Array3::zeros((points.len(), dim, dim)));
    for (k, point) in points.iter().enumerate() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(point.network as usize) else {
            continue;
        };
        let linear = linearize(&map, &point.state, &point.input)
            .map_err(|error| failed("linearization", error))?;
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
    context.add_table("linearization", table);
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
        ],
    );
    Ok(())
}
