//! The circuit of Chua with a cubic diode: two scrolls, three variables.

use std::sync::Arc;

use nullcline_data::random::Random;
use nullcline_data::settings::{Key, Settings};

use super::{System, task};
use crate::TaskKind;

/// The registry's entry.
pub const KIND: TaskKind = TaskKind {
    name: "chua",
    summary: "generate the double scroll of Chua's circuit: three variables, predicted from an observation on",
    keys: &KEYS,
    build: |settings| {
        let system = Arc::new(Chua::from_settings(settings));
        Ok(Box::new(task::generate(settings, system)?))
    },
};

const KEYS: [Key; 4 + task::COMMON] = task::keys(
    [
        task::parameter(
            "alpha",
            10.0,
            [0.0, 100.0],
            "",
            "Ratio of the two capacitances: how fast x is.",
        ),
        task::parameter(
            "beta",
            100.0 / 7.0,
            [0.0, 1000.0],
            "",
            "How strongly the inductor pulls y back.",
        ),
        task::parameter(
            "cubic",
            2.0 / 7.0,
            [0.0, 100.0],
            "",
            "Cubic coefficient of the diode's characteristic.",
        ),
        task::parameter(
            "linear",
            -1.0 / 7.0,
            [-100.0, 100.0],
            "",
            "Linear coefficient of it; the origin is one of three fixed points where it is negative.",
        ),
    ],
    task::Defaults {
        dt: 0.02,
        longest_dt: 2.0,
        time_unit: "time units",
        transient: 200.0,
    },
);

/// dx/dt = alpha (y - f(x)), dy/dt = x - y + z, dz/dt = -beta y, with the smooth diode f(x) = cubic x^3 + linear x.
///
/// The circuit is that of L. O. Chua, M. Komuro and T. Matsumoto, "The double scroll family", *IEEE Trans. Circuits
/// Syst.* 33 (1986), whose diode is piecewise linear; the cubic one, f(x) = (2 x^3 - x) / 7 with alpha = 10 and
/// beta = 100/7, is that of T. T. Hartley and F. Mossayebi, "Control of Chua's circuit", *J. Circuits Syst. Comput.* 3
/// (1993). It has the same double scroll and a Jacobian everywhere. The interval of 0.02 between samples is our choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Chua {
    /// Ratio of the capacitances.
    pub alpha: f64,
    /// Strength of the inductor.
    pub beta: f64,
    /// Cubic coefficient of the diode.
    pub cubic: f64,
    /// Linear coefficient of the diode.
    pub linear: f64,
}

impl Default for Chua {
    /// The parameters of Hartley and Mossayebi.
    fn default() -> Self {
        Chua {
            alpha: 10.0,
            beta: 100.0 / 7.0,
            cubic: 2.0 / 7.0,
            linear: -1.0 / 7.0,
        }
    }
}

impl Chua {
    /// The system of checked settings.
    pub fn from_settings(settings: &Settings) -> Self {
        Chua {
            alpha: settings.number("alpha"),
            beta: settings.number("beta"),
            cubic: settings.number("cubic"),
            linear: settings.number("linear"),
        }
    }

    /// df/dx of the diode.
    fn slope(&self, x: f64) -> f64 {
        3.0 * self.cubic * x * x + self.linear
    }
}

impl System for Chua {
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
        velocity[0] = self.alpha * (y - (self.cubic * x * x + self.linear) * x);
        velocity[1] = x - y + z;
        velocity[2] = -self.beta * y;
    }

    fn jacobian(&self, state: &[f64], jacobian: &mut [f64]) {
        jacobian.copy_from_slice(&[
            -self.alpha * self.slope(state[0]),
            self.alpha,
            0.0,
            1.0,
            -1.0,
            1.0,
            0.0,
            -self.beta,
            0.0,
        ]);
    }

    fn tangent_velocity(&self, state: &[f64], tangent: &[f64], image: &mut [f64]) {
        let [u, v, w] = [tangent[0], tangent[1], tangent[2]];
        image[0] = self.alpha * (v - self.slope(state[0]) * u);
        image[1] = u - v + w;
        image[2] = -self.beta * v;
    }

    /// Two steps for samples 0.02 apart, which keep the error of a sample below 1e-11.
    fn longest_step(&self) -> f64 {
        0.01
    }

    /// Uniform in -0.2 to 0.2 in every variable, around the saddle at the origin.
    fn random_state(&self, random: &mut Random) -> Vec<f64> {
        (0..3).map(|_| 0.4 * random.uniform() - 0.2).collect()
    }
}
