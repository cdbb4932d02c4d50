//! The initial state of trials that start from an observation, forwards and backwards.

use super::pass::{Pass, add, multiply};
use super::workspace::Workspace;
use crate::architecture::Readout;
use crate::engine::kernels::{Start, Term};
use crate::simd::{Isa, LANES, Lanes, Vector};

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
        let a = self.architecture;
        let vectors = w.vectors;
        if self.job.trials.initial.is_none() {
            return;
        }
        let (units, outputs) = (a.units, a.outputs);
        let parameters = self.job.parameters;
        let lane = |data: &[Lanes], row: usize, trial: usize| {
            f64::from(data[row * vectors + trial / LANES].0[trial % LANES])
        };
        let mut d_matrix = vec![
            0.0f64;
            if a.readout == Readout::Identity {
                self.layout.initial.len()
            } else {
                outputs * units
            }
        ];
        let mut d_bias = vec![0.0f64; self.layout.readout_bias.len()];
        let inverse = &self.prepared.readout_inverse;
        let readout: Vec<f64> = parameters[self.layout.readout.clone()]
            .iter()
            .map(|&x| f64::from(x))
            .collect();
        let bias = &parameters[self.layout.readout_bias.clone()];
        for trial in 0..vectors * LANES {
            let g: Vec<f64> = (0..units).map(|i| lane(&w.d_state, i, trial)).collect();
            if g.iter().all(|&g| g == 0.0) {
                continue;
            }
            let x: Vec<f64> = (0..outputs)
                .map(|o| {
                    lane(&w.initial, o, trial) - f64::from(bias.get(o).copied().unwrap_or(0.0))
                })
                .collect();
            if a.readout == Readout::Identity {
                // Unobserved units: z = L x.
                for (row, g) in d_matrix
                    .chunks_exact_mut(outputs)
                    .zip(&g[outputs.min(units)..])
                {
                    for (d, x) in row.iter_mut().zip(&x) {
                        *d += g * x;
                    }
                }
                continue;
            }
            let by_row = |m: &[f64], x: &[f64], rows: usize| -> Vec<f64> {
                m.chunks_exact(m.len() / rows)
                    .map(|r| r.iter().zip(x).map(|(m, x)| m * x).sum())
                    .collect()
            };
            let by_column = |m: &[f64], x: &[f64], rows: usize| -> Vec<f64> {
                let columns = m.len() / rows;
                (0..columns)
                    .map(|j| (0..rows).map(|i| m[i * columns + j] * x[i]).sum())
                    .collect()
            };
            let z = by_row(inverse, &x, units);
            let pg = by_column(inverse, &g, units);
            let ppg = by_row(inverse, &pg, units);
            let pz = by_column(inverse, &z, units);
            let rz = by_row(&readout, &z, outputs);
            let rpg = by_column(&readout, &pg, outputs);
            for o in 0..outputs {
                for i in 0..units {
                    d_matrix[o * units + i] +=
                        -pg[o] * z[i] + (x[o] - rz[o]) * ppg[i] + pz[o] * (g[i] - rpg[i]);
                }
                if let Some(d) = d_bias.get_mut(o) {
                    *d -= pg[o];
                }
            }
        }
        let range = if a.readout == Readout::Identity {
            &self.layout.initial
        } else {
            &self.layout.readout
        };
        for (out, d) in w.gradient[range.clone()].iter_mut().zip(&d_matrix) {
            *out = *d as f32;
        }
        for (out, d) in w.gradient[self.layout.readout_bias.clone()]
            .iter_mut()
            .zip(&d_bias)
        {
            *out = *d as f32;
        }
    }
}
