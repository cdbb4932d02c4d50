//! The atmosphere on a circle of latitude of Lorenz (1996), any number of variables.

use std::sync::Arc;

use nullcline_data::random::Random;
use nullcline_data::settings::{Key, Kind, Preset, Settings};

use super::{System, task};
use crate::TaskKind;

/// The registry's entry.
pub const KIND: TaskKind = TaskKind {
    name: "lorenz_96",
    summary: "generate the chaotic waves of Lorenz (1996) on a ring of variables, predicted from an observation on",
    keys: &KEYS,
    build: |settings| {
        let system = Arc::new(Lorenz96::from_settings(settings));
        Ok(Box::new(task::generate(settings, system)?))
    },
};

const KEYS: [Key; 2 + task::COMMON] = task::keys(
    [
        Key {
            name: "dimension",
            kind: Kind::Integer { min: 4, max: 1000 },
            default: Preset::Integer(20),
            unit: "variables",
            doc: "Number of variables on the ring; 20 is the benchmark of Hess et al. (2023), 36 and 40 are Lorenz's own.",
        },
        task::parameter(
            "forcing",
            8.0,
            [-100.0, 100.0],
            "",
            "Constant forcing F of every variable. 8 is Lorenz's value for chaos; the state of rest, all variables F, is \
             stable near 0.",
        ),
    ],
    task::Defaults {
        // Recordings published for this system do not say their interval; 0.01 is what is mostly used for it.
        dt: 0.01,
        longest_dt: 1.0,
        time_unit: "time units",
        transient: 100.0,
    },
);

/// dx_k/dt = (x_{k+1} - x_{k-2}) x_{k-1} - x_k + F, indices modulo the dimension.
///
/// E. N. Lorenz, "Predictability: a problem partly solved", *Proc. Seminar on Predictability*, ECMWF (1996), equation 1.
/// The quadratic part conserves the energy, the sum of x_k^2; the divergence is minus the dimension everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Lorenz96 {
    /// Number of variables, at least 4.
    pub dimension: usize,
    /// The forcing F.
    pub forcing: f64,
}

impl Default for Lorenz96 {
    /// Twenty variables with Lorenz's forcing of 8.
    fn default() -> Self {
        Lorenz96 {
            dimension: 20,
            forcing: 8.0,
        }
    }
}

impl Lorenz96 {
    /// The system of checked settings.
    pub fn from_settings(settings: &Settings) -> Self {
        Lorenz96 {
            dimension: settings.count("dimension"),
            forcing: settings.number("forcing"),
        }
    }

    /// The neighbours k + 1, k - 2 and k - 1 on the ring.
    fn neighbours(&self, k: usize) -> [usize; 3] {
        let n = self.dimension;
        let below = |k: usize, by: usize| if k >= by { k - by } else { k + n - by };
        [if k + 1 == n { 0 } else { k + 1 }, below(k, 2), below(k, 1)]
    }
}

impl System for Lorenz96 {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn variables(&self) -> Vec<String> {
        (1..=self.dimension).map(|k| format!("x_{k}")).collect()
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn velocity(&self, state: &[f64], velocity: &mut [f64]) {
        for (k, velocity) in velocity.iter_mut().enumerate() {
            let [next, second, last] = self.neighbours(k);
            *velocity = (state[next] - state[second]) * state[last] - state[k] + self.forcing;
        }
    }

    fn jacobian(&self, state: &[f64], jacobian: &mut [f64]) {
        jacobian.fill(0.0);
        for (k, row) in jacobian.chunks_exact_mut(self.dimension).enumerate() {
            let [next, second, last] = self.neighbours(k);
            // On a ring of at least four all of them differ.
            row[next] = state[last];
            row[second] = -state[last];
            row[last] = state[next] - state[second];
            row[k] = -1.0;
        }
    }

    fn tangent_velocity(&self, state: &[f64], tangent: &[f64], image: &mut [f64]) {
        for (k, image) in image.iter_mut().enumerate() {
            let [next, second, last] = self.neighbours(k);
            *image = (tangent[next] - tangent[second]) * state[last]
                + (state[next] - state[second]) * tangent[last]
                - tangent[k];
        }
    }

    /// Two steps for samples 0.01 apart, which keep the error of a sample below 2e-9 where standard deviations are 3.6.
    fn longest_step(&self) -> f64 {
        0.005
    }

    /// Independent standard Gaussian numbers around the state of rest, F in every variable.
    fn random_state(&self, random: &mut Random) -> Vec<f64> {
        (0..self.dimension)
            .map(|_| self.forcing + random.standard_normal())
            .collect()
    }
}
