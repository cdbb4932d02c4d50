//! The band of Roessler (1976), three variables.

use std::sync::Arc;

use nullcline_data::random::Random;
use nullcline_data::settings::{Key, Settings};

use super::{System, task};
use crate::TaskKind;

/// The registry's entry.
pub const KIND: TaskKind = TaskKind {
    name: "roessler",
    summary: "generate the chaotic band of Roessler (1976): three variables, predicted from an observation on",
    keys: &KEYS,
    build: |settings| {
        let system = Arc::new(Roessler::from_settings(settings));
        Ok(Box::new(task::generate(settings, system)?))
    },
};

const KEYS: [Key; 3 + task::COMMON] = task::keys(
    [
        task::parameter(
            "a",
            0.2,
            [-10.0, 10.0],
            "",
            "How fast the spiral in the plane of x and y opens.",
        ),
        task::parameter(
            "b",
            0.2,
            [-10.0, 10.0],
            "",
            "What feeds z where x is below c.",
        ),
        task::parameter(
            "c",
            5.7,
            [-100.0, 100.0],
            "",
            "The value of x above which z grows. At a = b = 0.2 the orbit doubles its period several times from 2.8 on and \
             is chaotic at 5.7.",
        ),
    ],
    task::Defaults {
        dt: 0.08,
        longest_dt: 8.0,
        time_unit: "time units",
        transient: 1000.0,
    },
);

/// dx/dt = -y - z, dy/dt = x + a y, dz/dt = b + z (x - c).
///
/// O. E. Roessler, "An equation for continuous chaos", *Phys. Lett. A* 57 (1976), with his a = b = 0.2 and c = 5.7.
#[derive(Clone, Debug, PartialEq)]
pub struct Roessler {
    /// How fast the spiral opens.
    pub a: f64,
    /// What feeds z.
    pub b: f64,
    /// The value of x above which z grows.
    pub c: f64,
}

impl Default for Roessler {
    /// The parameters of Roessler.
    fn default() -> Self {
        Roessler {
            a: 0.2,
            b: 0.2,
            c: 5.7,
        }
    }
}

impl Roessler {
    /// The system of checked settings.
    pub fn from_settings(settings: &Settings) -> Self {
        Roessler {
            a: settings.number("a"),
            b: settings.number("b"),
            c: settings.number("c"),
        }
    }
}

impl System for Roessler {
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
        velocity[0] = -y - z;
        velocity[1] = x + self.a * y;
        velocity[2] = self.b + z * (x - self.c);
    }

    fn jacobian(&self, state: &[f64], jacobian: &mut [f64]) {
        let [x, _, z] = [state[0], state[1], state[2]];
        jacobian.copy_from_slice(&[0.0, -1.0, -1.0, 1.0, self.a, 0.0, z, 0.0, x - self.c]);
    }

    fn tangent_velocity(&self, state: &[f64], tangent: &[f64], image: &mut [f64]) {
        let [x, _, z] = [state[0], state[1], state[2]];
        let [u, v, w] = [tangent[0], tangent[1], tangent[2]];
        image[0] = -v - w;
        image[1] = u + self.a * v;
        image[2] = z * u + (x - self.c) * w;
    }

    /// Eight steps for samples 0.08 apart, which keep the error of a sample below 1e-9.
    fn longest_step(&self) -> f64 {
        0.01
    }

    /// Uniform in -3 to 3 for x and y, 0 to 1 for z: within the basin of the attractor.
    fn random_state(&self, random: &mut Random) -> Vec<f64> {
        let mut inner = || 6.0 * random.uniform() - 3.0;
        let (x, y) = (inner(), inner());
        vec![x, y, random.uniform()]
    }
}
