//! The convection of Lorenz (1963), three variables.

use std::sync::Arc;

use nullcline_data::random::Random;
use nullcline_data::settings::{Key, Settings};

use super::{System, task};
use crate::TaskKind;

/// The registry's entry.
pub const KIND: TaskKind = TaskKind {
    name: "lorenz_63",
    summary: "generate the chaotic attractor of Lorenz (1963): three variables, predicted from an observation on",
    keys: &KEYS,
    build: |settings| {
        let system = Arc::new(Lorenz63::from_settings(settings));
        Ok(Box::new(task::generate(settings, system)?))
    },
};

const KEYS: [Key; 3 + task::COMMON] = task::keys(
    [
        task::parameter(
            "sigma",
            10.0,
            [0.0, 1e3],
            "",
            "Prandtl number: how fast the convection follows the temperatures.",
        ),
        task::parameter(
            "rho",
            28.0,
            [0.0, 1e3],
            "",
            "Rayleigh number over its critical value. The origin is stable below 1; at the default sigma and beta, chaos \
             attracts from 24.06 on.",
        ),
        task::parameter(
            "beta",
            8.0 / 3.0,
            [0.0, 1e3],
            "",
            "Geometric factor of the convection cell.",
        ),
    ],
    task::Defaults {
        dt: 0.01,
        longest_dt: 1.0,
        time_unit: "time units",
        transient: 100.0,
    },
);

/// dx/dt = sigma (y - x), dy/dt = x (rho - z) - y, dz/dt = x y - beta z.
///
/// E. N. Lorenz, "Deterministic nonperiodic flow", *J. Atmos. Sci.* 20 (1963), equations 25 to 27, where sigma = 10,
/// rho = 28 and beta = 8/3. The divergence is -(sigma + 1 + beta) everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Lorenz63 {
    /// Prandtl number.
    pub sigma: f64,
    /// Relative Rayleigh number.
    pub rho: f64,
    /// Geometric factor.
    pub beta: f64,
}

impl Default for Lorenz63 {
    /// The parameters of Lorenz.
    fn default() -> Self {
        Lorenz63 {
            sigma: 10.0,
            rho: 28.0,
            beta: 8.0 / 3.0,
        }
    }
}

impl Lorenz63 {
    /// The system of checked settings.
    pub fn from_settings(settings: &Settings) -> Self {
        Lorenz63 {
            sigma: settings.number("sigma"),
            rho: settings.number("rho"),
            beta: settings.number("beta"),
        }
    }
}

impl System for Lorenz63 {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn variables(&self) -> Vec<String> {
        ["x", "y", "z"].map(str::to_owned).to_vec()
    }

    fn dimension(&self) -> usize {
        3
    }

    fn velocity(&self, state: &[f64], velocity: &mut [f64]) {
        let [x, y, z] = [state[0], state[1], state[2]];
        velocity[0] = self.sigma * (y - x);
        velocity[1] = x * (self.rho - z) - y;
        velocity[2] = x * y - self.beta * z;
    }

    fn jacobian(&self, state: &[f64], jacobian: &mut [f64]) {
        let [x, y, z] = [state[0], state[1], state[2]];
        jacobian.copy_from_slice(&[
            -self.sigma,
            self.sigma,
            0.0,
            self.rho - z,
            -1.0,
            -x,
            y,
            x,
            -self.beta,
        ]);
    }

    fn tangent_velocity(&self, state: &[f64], tangent: &[f64], image: &mut [f64]) {
        let [x, y, z] = [state[0], state[1], state[2]];
        let [u, v, w] = [tangent[0], tangent[1], tangent[2]];
        image[0] = self.sigma * (v - u);
        image[1] = (self.rho - z) * u - v - x * w;
        image[2] = y * u + x * v - self.beta * w;
    }

    /// Four steps for samples 0.01 apart, which keep the error of a sample below 2e-9 where standard deviations are 8.
    fn longest_step(&self) -> f64 {
        0.0025
    }

    /// Independent Gaussian numbers of standard deviation 8, around (0, 0, 25): about where the attractor is.
    fn random_state(&self, random: &mut Random) -> Vec<f64> {
        [0.0, 0.0, 25.0]
            .map(|centre| centre + 8.0 * random.standard_normal())
            .to_vec()
    }
}
