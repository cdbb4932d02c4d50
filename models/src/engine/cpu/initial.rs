//! The initial state of trials that start from an observation, forwards and backwards.

use super::pass::{Pass, add, multiply};
use super::workspace::Workspace;
use crate::architecture::Readout;
use crate::engine::kernels::{Start, Term, numbers};
use crate::simd::{Isa, LANES, Lanes, Vector};
use nalgebra::DMatrix;
use std::ops::Range;

impl Pass<'_> {
    /// Writes the state before the first step, [state][vector] of zeros, where trials start from an
    /// observation [output][vector].
    #[inline(always)]
    pub(super) fn initial_state<I: Isa>(
        &self,
        observation: &[Lanes],
        vectors: usize,
        state: &mut [Lanes],
    ) {
        let a = self.architecture;
        self.state_from_observation::<I>(observation, vectors, &mut state[..a.units * vectors]);
        if a.readout == Readout::Identity {
            let map = &self.job.parameters[self.layout.initial.clone()];
            let rows = &mut state[a.outputs * vectors..a.units * vectors];
            for (row, weights) in rows
                .chunks_exact_mut(vectors)
                .zip(map.chunks_exact(a.outputs))
            {
                for (v, out) in row.iter_mut().enumerate() {
                    for (o, weight) in weights.iter().enumerate() {
                        add(
                            I::V::splat(*weight) * I::V::load(&observation[o * vectors + v]),
                            out,
                        );
                    }
                }
            }
        }
    }

    /// The state that an observation [output][vector] implies, into the observed units of `state`:
    /// pinv(R) (x - d), or the observation itself for the identity readout.
    #[inline(always)]
    pub(super) fn state_from_observation<I: Isa>(
        &self,
        observation: &[Lanes],
        vectors: usize,
        state: &mut [Lanes],
    ) {
        let a = self.architecture;
        if a.readout == Readout::Identity {
            let observed = a.outputs.min(a.units) * vectors;
            state[..observed].copy_from_slice(&observation[..observed]);
            return;
        }
        let inverse = Term {
            k: a.outputs,
            a: &self.prepared.readout_inverse_f32,
            b: observation,
        };
        let offset = Start::Rows(&self.prepared.observation_offset);
        multiply::<I>(offset, &[inverse], a.units, vectors, state);
    }

    /// Gradient through the initial state, where it comes from an observation. With P = pinv(R),
    /// x = x_1 - d, z = P x and g = dL/dz, the differential of the pseudo-inverse of a full-rank matrix
    /// (Golub & Pereyra 1973)
    ///
    ///   dP = - P dR P + P P' dR' (I - R P) + (I - P R) dR' P' P
    ///
    /// gives dL/dR = - (P' g) z' + (x - R z) (P P' g)' + (P' z) (g - R' P' g)' and dL/dd = - P' g.
    pub(super) fn initial_backward(&self, w: &mut Workspace) {
        if self.job.trials.initial.is_none() {
            return;
        }
        let a = self.architecture;
        let (units, outputs, trials) = (a.units, a.outputs, w.vectors * LANES);
        // [row, trial]; trials beyond the batch have g = 0 and count for nothing.
        let by_trial = |lanes: &[Lanes], rows: usize| {
            let numbers = numbers(lanes).iter().map(|&x| f64::from(x));
            DMatrix::from_row_iterator(rows, trials, numbers.take(rows * trials))
        };
        let g = by_trial(&w.d_state, units);
        let mut x = by_trial(&w.initial, outputs);
        let mut give = |range: &Range<usize>, d: &DMatrix<f64>| {
            for (out, d) in w.gradient[range.clone()]
                .iter_mut()
                .zip(d.transpose().iter())
            {
                *out = *d as f32;
            }
        };
        if a.readout == Readout::Identity {
            // Unobserved units: z = L x.
            let observed = outputs.min(units);
            let d_map = g.rows(observed, units - observed) * x.transpose();
            give(&self.layout.initial, &d_map);
            return;
        }
        let parameters = self.job.parameters;
        let bias = &parameters[self.layout.readout_bias.clone()];
        for (mut x, &d) in x.row_iter_mut().zip(bias) {
            x.add_scalar_mut(-f64::from(d));
        }
        let readout = &parameters[self.layout.readout.clone()];
        let r = DMatrix::from_row_iterator(outputs, units, readout.iter().map(|&r| f64::from(r)));
        let p = DMatrix::from_row_slice(units, outputs, &self.prepared.readout_inverse);
        let p_transposed = p.transpose();
        let z = &p * &x;
        let pg = &p_transposed * &g;
        let ppg = &p * &pg;
        let pz = p_transposed * &z;
        let residual = x - &r * &z;
        let remainder = g - r.transpose() * &pg;
        let d_readout =
            residual * ppg.transpose() + pz * remainder.transpose() - &pg * z.transpose();
        give(&self.layout.readout, &d_readout);
        let d_bias = -DMatrix::from_columns(&[pg.column_sum()]);
        give(&self.layout.readout_bias, &d_bias);
    }
}
