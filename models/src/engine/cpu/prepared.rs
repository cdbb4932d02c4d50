//! What all shards of one network share.

use super::SHARD_VECTORS;
use crate::architecture::{Architecture, Layout};
use crate::engine::{Job, Objective};
use crate::linear::{pseudo_inverse, transposed};
use crate::simd::LANES;
use nullcline_tasks::Loss;
use std::ops::Range;

/// What all shards of one network share: transposed matrices, the inverse of the readout, the loss's scale.
pub(super) struct Prepared {
    pub(super) layout: Layout,
    pub(super) shards: usize,
    /// Whether any parameter per unit is trained: the others need no gradient.
    pub(super) unit_trained: bool,
    /// W' [recurrent columns, gate rows].
    pub(super) recurrent_transposed: Vec<f32>,
    /// Wh' [units, hidden].
    pub(super) hidden_transposed: Vec<f32>,
    /// R' [units, outputs].
    pub(super) readout_transposed: Vec<f32>,
    /// pinv(R) [units, outputs] where trials start from an observation.
    pub(super) readout_inverse: Vec<f64>,
    pub(super) readout_inverse_f32: Vec<f32>,
    /// - pinv(R) d [units].
    pub(super) observation_offset: Vec<f32>,
    /// 1 / (sum of the weights of all steps, times outputs for the mean squared error).
    pub(super) scale: f64,
}

impl Prepared {
    pub(super) fn new(architecture: &Architecture, objective: &Objective, job: &Job) -> Self {
        let layout = architecture.layout();
        let trials = job.trials;
        assert_eq!(
            job.parameters.len(),
            layout.total,
            "length of the parameter vector"
        );
        assert_eq!(
            trials.inputs.dim().2,
            architecture.inputs,
            "input dimensions"
        );
        assert_eq!(
            trials.targets.dim().2,
            architecture.outputs,
            "output dimensions"
        );
        let of = |range: &Range<usize>| &job.parameters[range.clone()];
        let columns = architecture.recurrent_columns();
        let (units, outputs) = (architecture.units, architecture.outputs);
        let readout_inverse = if trials.initial.is_some() && !layout.readout.is_empty() {
            let readout: Vec<f64> = of(&layout.readout).iter().map(|&x| f64::from(x)).collect();
            pseudo_inverse(&readout, outputs, units)
        } else {
            Vec::new()
        };
        let weight: f64 = match &trials.mask {
            Some(mask) => mask.iter().map(|&m| f64::from(m)).sum(),
            None => (trials.batch() * trials.steps()) as f64,
        };
        let count = match objective.loss {
            Loss::MeanSquaredError => weight * outputs as f64,
            Loss::CrossEntropy => weight,
        };
        let per_unit =
            |range: &Range<usize>| layout.unit.start <= range.start && range.end <= layout.unit.end;
        Prepared {
            unit_trained: architecture
                .tensors()
                .iter()
                .any(|tensor| tensor.trainable && per_unit(&tensor.range)),
            shards: trials.batch().div_ceil(SHARD_VECTORS * LANES),
            recurrent_transposed: transposed(of(&layout.recurrent), columns),
            hidden_transposed: transposed(of(&layout.hidden), units),
            readout_transposed: transposed(of(&layout.readout), units),
            observation_offset: if readout_inverse.is_empty() {
                Vec::new()
            } else {
                let bias = of(&layout.readout_bias);
                let offset = |row: &[f64]| -> f64 {
                    row.iter().zip(bias).map(|(p, &d)| p * f64::from(d)).sum()
                };
                readout_inverse
                    .chunks_exact(outputs)
                    .map(|row| -offset(row) as f32)
                    .collect()
            },
            readout_inverse_f32: readout_inverse.iter().map(|&x| x as f32).collect(),
            readout_inverse,
            // A task without any weighted step (`noise`) has loss 0, not 0 / 0.
            scale: if count > 0.0 { 1.0 / count } else { 0.0 },
            layout,
        }
    }
}
