//! Penalties on parameters, added to the gradient of the loss; the loss that is reported is without them.
//!
//! - latent (Hess et al. 2023): lambda sum (p - p0)^2 over the parameters of the recurrent part, W1, W2, h1, h2, C, with
//!   p0 = 0, and the diagonal A with p0 = 1;
//! - observation: lambda (1 - s_max / (s_min + 1e-8))^2 of the singular values of an affine observation matrix, whose
//!   pseudo-inverse is then well conditioned; lambda |L|^2 of the map to the units that the identity does not observe;
//! - manifold attractor (Schmidt et al. 2021): lambda (sum (1 - A_ii)^2 + sum W_ij^2 + sum h_i^2) over the rows i of the
//!   last units, which are thereby drawn to remember: A_ii = 1, no input, no bias.

use crate::architecture::{Architecture, Readout};
use nalgebra::DMatrix;
use std::ops::Range;

/// Strengths of the penalties; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Regularisation {
    /// Latent.
    pub latent: f64,
    /// Observation.
    pub observation: f64,
    /// Manifold attractor.
    pub manifold: f64,
    /// Share of the units, the last ones, that the manifold-attractor penalty acts on, rounded down.
    pub manifold_fraction: f64,
}

/// lambda (p - target)^2 for the parameters of a range of the flat vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Pull {
    /// Which parameters.
    pub range: Range<usize>,
    /// lambda.
    pub strength: f64,
    /// What they are drawn to.
    pub target: f64,
}

/// What keeps s_max / s_min from a division by zero.
const LEAST_SINGULAR_VALUE: f64 = 1e-8;

impl Regularisation {
    /// Whether there is nothing to add.
    pub fn is_none(&self) -> bool {
        self.latent == 0.0 && self.observation == 0.0 && self.manifold == 0.0
    }

    /// Whether the condition of an affine observation matrix is penalised: the only penalty that is no sum over
    /// parameters.
    pub fn acts_on_condition(&self, architecture: &Architecture) -> bool {
        self.observation != 0.0 && architecture.readout != Readout::Identity
    }

    /// The penalties that are sums over parameters. A parameter may be in several.
    pub fn pulls(&self, architecture: &Architecture) -> Vec<Pull> {
        let layout = architecture.layout();
        let units = architecture.units;
        let mut pulls = Vec::new();
        let mut pull = |range: Range<usize>, strength: f64, target: f64| {
            if strength != 0.0 && !range.is_empty() {
                pulls.push(Pull {
                    range,
                    strength,
                    target,
                });
            }
        };
        for tensor in architecture.tensors() {
            match tensor.name.as_str() {
                // A leak is a time constant, no weight; the readout has a penalty of its own.
                "leak" | "readout" | "readout_bias" => {}
                "initial" => pull(tensor.range, self.observation, 0.0),
                "a" => pull(tensor.range, self.latent, 1.0),
                _ => pull(tensor.range, self.latent, 0.0),
            }
        }
        let last = (self.manifold_fraction * units as f64).floor() as usize;
        let first = units - last.min(units);
        let columns = architecture.recurrent_columns();
        let gates = architecture.cell.shape().gates;
        for gate in 0..gates {
            let rows = gate * units + first..(gate + 1) * units;
            let recurrent = layout.recurrent.start;
            pull(
                recurrent + rows.start * columns..recurrent + rows.end * columns,
                self.manifold,
                0.0,
            );
            if !layout.bias.is_empty() {
                let bias = layout.bias.start;
                pull(bias + rows.start..bias + rows.end, self.manifold, 0.0);
            }
        }
        if let Some(a) = architecture.tensor("a") {
            pull(a.range.start + first..a.range.end, self.manifold, 1.0);
        }
        pulls
    }

    /// Adds the derivative of the penalties by every parameter: 2 lambda (p - p0), and for the condition number
    /// c = s_max / (s_min + eps)
    ///
    ///   d/dB lambda (1 - c)^2 = 2 lambda (c - 1) [u_max v_max' - c u_min v_min'] / (s_min + eps).
    pub fn add_gradient(
        &self,
        architecture: &Architecture,
        parameters: &[f32],
        gradient: &mut [f32],
    ) {
        if self.is_none() {
            return;
        }
        for pull in self.pulls(architecture) {
            let (strength, target) = (pull.strength as f32, pull.target as f32);
            for (g, p) in gradient[pull.range.clone()]
                .iter_mut()
                .zip(&parameters[pull.range])
            {
                *g += 2.0 * strength * (p - target);
            }
        }
        if self.acts_on_condition(architecture) {
            let range = architecture.layout().readout;
            let readout = parameters[range.clone()].iter().map(|&x| f64::from(x));
            let matrix =
                DMatrix::from_row_iterator(architecture.outputs, architecture.units, readout);
            for (g, d) in gradient[range]
                .iter_mut()
                .zip(self.condition_gradient(matrix).transpose().iter())
            {
                *g += *d as f32;
            }
        }
    }

    /// The sum of the penalties.
    pub fn penalty(&self, architecture: &Architecture, parameters: &[f32]) -> f64 {
        let mut sum: f64 = self
            .pulls(architecture)
            .iter()
            .flat_map(|pull| {
                parameters[pull.range.clone()]
                    .iter()
                    .map(|&p| pull.strength * (f64::from(p) - pull.target).powi(2))
            })
            .sum();
        if self.acts_on_condition(architecture) {
            let range = architecture.layout().readout;
            let readout = parameters[range].iter().map(|&x| f64::from(x));
            let values =
                DMatrix::from_row_iterator(architecture.outputs, architecture.units, readout)
                    .singular_values();
            let condition = values.max() / (values.min() + LEAST_SINGULAR_VALUE);
            sum += self.observation * (1.0 - condition).powi(2);
        }
        sum
    }

    /// The derivative of the penalty on the condition number; not finite where the matrix is not.
    fn condition_gradient(&self, matrix: DMatrix<f64>) -> DMatrix<f64> {
        let (rows, columns) = matrix.shape();
        let nothing = || DMatrix::from_element(rows, columns, f64::NAN);
        if matrix.iter().any(|x| !x.is_finite()) {
            return nothing();
        }
        let svd = matrix.svd(true, true);
        let (Some(u), Some(v)) = (&svd.u, &svd.v_t) else {
            return nothing();
        };
        let (largest, smallest) = (svd.singular_values.imax(), svd.singular_values.imin());
        let below = svd.singular_values[smallest] + LEAST_SINGULAR_VALUE;
        let condition = svd.singular_values[largest] / below;
        let along = |k: usize| u.column(k) * v.row(k);
        (along(largest) - along(smallest) * condition)
            * (2.0 * self.observation * (condition - 1.0) / below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::CellKind;
    use nullcline_data::random::{Random, Stream};

    const ALL: Regularisation = Regularisation {
        latent: 0.03,
        observation: 0.02,
        manifold: 0.5,
        manifold_fraction: 0.4,
    };

    fn network(cell: CellKind, readout: Readout, outputs: usize) -> (Architecture, Vec<f32>) {
        let architecture = Architecture {
            cell,
            inputs: 2,
            units: 5,
            hidden: if cell.takes_hidden() { 7 } else { 0 },
            outputs,
            bias: true,
            readout,
            train_leak: true,
        };
        let mut random = Random::new(3, Stream::WEIGHTS, 0);
        let parameters = (0..architecture.parameter_count())
            .map(|_| random.standard_normal() as f32)
            .collect();
        (architecture, parameters)
    }

    #[test]
    fn the_gradient_is_that_of_the_penalty() {
        for &cell in CellKind::ALL {
            for (readout, outputs) in [
                (Readout::Identity, 3),
                (Readout::LinearWithoutBias, 3),
                (Readout::Linear, 8),
            ] {
                let (architecture, mut parameters) = network(cell, readout, outputs);
                let mut gradient = vec![0.0; parameters.len()];
                ALL.add_gradient(&architecture, &parameters, &mut gradient);
                for k in 0..parameters.len() {
                    let p = parameters[k];
                    let h = 1e-2;
                    parameters[k] = p + h;
                    let above = ALL.penalty(&architecture, &parameters);
                    parameters[k] = p - h;
                    let below = ALL.penalty(&architecture, &parameters);
                    parameters[k] = p;
                    let difference = (above - below) / (2.0 * f64::from(h));
                    let error = (f64::from(gradient[k]) - difference).abs();
                    assert!(
                        error < 2e-3 * (1.0 + difference.abs()),
                        "{cell:?} {readout:?} {k}: {} {difference}",
                        gradient[k]
                    );
                }
            }
        }
    }

    #[test]
    fn penalties_of_a_shallow_plrnn_by_hand() {
        let (architecture, parameters) = network(CellKind::ShallowPlrnn, Readout::Identity, 3);
        let squares = |name: &str, target: f32| -> f64 {
            let range = architecture.tensor(name).unwrap().range;
            parameters[range]
                .iter()
                .map(|p| f64::from(p - target).powi(2))
                .sum()
        };
        let latent = Regularisation {
            latent: 0.1,
            ..Regularisation::default()
        };
        let sum = squares("a", 1.0)
            + ["recurrent", "hidden", "input", "bias", "h2"]
                .map(|name| squares(name, 0.0))
                .iter()
                .sum::<f64>();
        assert!((latent.penalty(&architecture, &parameters) - 0.1 * sum).abs() < 1e-6);
        let observation = Regularisation {
            observation: 0.1,
            ..Regularisation::default()
        };
        let map = squares("initial", 0.0);
        assert!((observation.penalty(&architecture, &parameters) - 0.1 * map).abs() < 1e-6);
        // The last 0.4 x 5 = 2 units: rows 3 and 4 of W1, and of h1, and A.
        let manifold = Regularisation {
            manifold: 0.1,
            manifold_fraction: 0.4,
            ..Regularisation::default()
        };
        let last = |name: &str, target: f32| -> f64 {
            let tensor = architecture.tensor(name).unwrap();
            let values = &parameters[tensor.range];
            values[values.len() * 3 / 5..]
                .iter()
                .map(|p| f64::from(p - target).powi(2))
                .sum()
        };
        let sum = last("a", 1.0) + last("recurrent", 0.0) + last("bias", 0.0);
        assert!((manifold.penalty(&architecture, &parameters) - 0.1 * sum).abs() < 1e-6);
        assert!(Regularisation::default().is_none() && !manifold.is_none());
    }

    #[test]
    fn an_observation_matrix_of_condition_one_is_left_alone() {
        let (architecture, mut parameters) =
            network(CellKind::ClippedShallowPlrnn, Readout::LinearWithoutBias, 5);
        let readout = architecture.layout().readout;
        for (k, p) in parameters[readout].iter_mut().enumerate() {
            *p = if k % 6 == 0 { 0.7 } else { 0.0 };
        }
        let observation = Regularisation {
            observation: 10.0,
            ..Regularisation::default()
        };
        let mut gradient = vec![0.0; parameters.len()];
        observation.add_gradient(&architecture, &parameters, &mut gradient);
        assert!(observation.penalty(&architecture, &parameters) < 1e-10);
        assert!(gradient.iter().all(|g| g.abs() < 1e-4));
    }
}
