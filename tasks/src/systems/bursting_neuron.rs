//! A neuron that bursts: membrane potential, a fast and a slow potassium current.

use std::sync::Arc;

use nullcline_data::random::Random;
use nullcline_data::settings::{Key, Settings};

use super::{System, task};
use crate::TaskKind;

/// The registry's entry.
pub const KIND: TaskKind = TaskKind {
    name: "bursting_neuron",
    summary: "generate the bursts of a conductance-based neuron (Durstewitz 2009): potential and two gates, predicted from \
              an observation on",
    keys: &KEYS,
    build: |settings| {
        let system = Arc::new(BurstingNeuron::from_settings(settings));
        Ok(Box::new(task::generate(settings, system)?))
    },
};

const KEYS: [Key; 8 + task::COMMON] = task::keys(
    [
        task::parameter(
            "capacitance",
            6.0,
            [1e-3, 1e3],
            "uF",
            "Capacitance of the membrane.",
        ),
        task::parameter("g_leak", 8.0, [0.0, 1e3], "mS", "Conductance of the leak."),
        task::parameter(
            "g_na",
            20.0,
            [0.0, 1e3],
            "mS",
            "Conductance of the fast sodium current.",
        ),
        task::parameter(
            "g_k",
            10.0,
            [0.0, 1e3],
            "mS",
            "Conductance of the delayed-rectifier potassium current.",
        ),
        task::parameter(
            "g_m",
            25.0,
            [0.0, 1e3],
            "mS",
            "Conductance of the slow potassium current, of type M, which ends the bursts.",
        ),
        task::parameter(
            "g_nmda",
            10.2,
            [0.0, 1e3],
            "mS",
            "Conductance of the NMDA current: the parameter that leads from bursts over chaos to regular spikes.",
        ),
        task::parameter(
            "tau_n",
            1.0,
            [1e-2, 1e4],
            "ms",
            "Time constant of the delayed rectifier.",
        ),
        task::parameter(
            "tau_h",
            200.0,
            [1e-2, 1e5],
            "ms",
            "Time constant of the slow potassium current.",
        ),
    ],
    task::Defaults {
        dt: 0.25,
        longest_dt: 50.0,
        time_unit: "ms",
        transient: 2000.0,
    },
);

/// C dV/dt = - g_leak (V - E_leak) - g_na m(V) (V - E_na) - (g_k n + g_m h) (V - E_k) - g_nmda s(V) (V - E_nmda),
/// dn/dt = (n(V) - n) / tau_n, dh/dt = (h(V) - h) / tau_h.
///
/// The gates open as x(V) = 1 / (1 + exp((V_x - V) / k_x)), x = m, n, h, and the magnesium block of the NMDA current as
/// s(V) = 1 / (1 + 0.33 exp(-0.0625 V)). V is in mV, time in ms.
///
/// D. Durstewitz, "Implications of synaptic biophysics for recurrent network dynamics and active memory", *Neural Networks*
/// 22 (2009), as used for reconstruction by Brenner et al. (2022), *ICML*, arXiv 2207.02542. The three equations without
/// NMDA, and with them the half-activations V_m = -20, V_n = -25 mV, the slopes k = 15, 5, 5 mV, the reversal potentials
/// -80, 60 and -90 mV and g = 8, 20 mS, are the persistent-sodium model of E. M. Izhikevich, *Dynamical Systems in
/// Neuroscience* (2007), section 9.1. C = 6, g_k = 10, g_m = 25, g_nmda = 10.2, V_h = -15 mV, tau_n = 1 and
/// tau_h = 200 ms are understood to be those papers' values for bursting, but have not been compared with their text;
/// that the neuron then bursts, and spikes regularly with a little more NMDA, is tested. The interval of 0.25 ms between
/// samples is our choice.
#[derive(Clone, Debug, PartialEq)]
pub struct BurstingNeuron {
    /// C in uF.
    pub capacitance: f64,
    /// Conductance of the leak in mS.
    pub g_leak: f64,
    /// Conductance of the sodium current in mS.
    pub g_na: f64,
    /// Conductance of the fast potassium current in mS.
    pub g_k: f64,
    /// Conductance of the slow potassium current in mS.
    pub g_m: f64,
    /// Conductance of the NMDA current in mS.
    pub g_nmda: f64,
    /// Time constant of n in ms.
    pub tau_n: f64,
    /// Time constant of h in ms.
    pub tau_h: f64,
}

/// Reversal potentials in mV.
const E_LEAK: f64 = -80.0;
const E_NA: f64 = 60.0;
const E_K: f64 = -90.0;
const E_NMDA: f64 = 0.0;

/// Half-activation and slope of a gate in mV.
struct Gate {
    half: f64,
    slope: f64,
}

const M: Gate = Gate {
    half: -20.0,
    slope: 15.0,
};
const N: Gate = Gate {
    half: -25.0,
    slope: 5.0,
};
const H: Gate = Gate {
    half: -15.0,
    slope: 5.0,
};

impl Gate {
    /// Activation and its derivative by V: p = 1 / (1 + exp((half - V) / k)), dp/dV = p (1 - p) / k.
    fn at(&self, v: f64) -> [f64; 2] {
        let p = 1.0 / (1.0 + ((self.half - v) / self.slope).exp());
        [p, p * (1.0 - p) / self.slope]
    }
}

/// The part of NMDA channels without magnesium, s = 1 / (1 + 0.33 exp(-0.0625 V)), and its derivative
/// 0.0625 s (1 - s).
fn unblocked(v: f64) -> [f64; 2] {
    let s = 1.0 / (1.0 + 0.33 * (-0.0625 * v).exp());
    [s, 0.0625 * s * (1.0 - s)]
}

impl Default for BurstingNeuron {
    /// The bursting regime.
    fn default() -> Self {
        BurstingNeuron {
            capacitance: 6.0,
            g_leak: 8.0,
            g_na: 20.0,
            g_k: 10.0,
            g_m: 25.0,
            g_nmda: 10.2,
            tau_n: 1.0,
            tau_h: 200.0,
        }
    }
}

impl BurstingNeuron {
    /// The system of checked settings.
    pub fn from_settings(settings: &Settings) -> Self {
        BurstingNeuron {
            capacitance: settings.number("capacitance"),
            g_leak: settings.number("g_leak"),
            g_na: settings.number("g_na"),
            g_k: settings.number("g_k"),
            g_m: settings.number("g_m"),
            g_nmda: settings.number("g_nmda"),
            tau_n: settings.number("tau_n"),
            tau_h: settings.number("tau_h"),
        }
    }

    /// The derivatives of dV/dt by V, n and h, of dn/dt by V, of dh/dt by V.
    fn slopes(&self, state: &[f64]) -> ([f64; 3], f64, f64) {
        let [v, n, h] = [state[0], state[1], state[2]];
        let [m, dm] = M.at(v);
        let [s, ds] = unblocked(v);
        let by_v = -(self.g_leak
            + self.g_na * (m + dm * (v - E_NA))
            + self.g_k * n
            + self.g_m * h
            + self.g_nmda * (s + ds * (v - E_NMDA)));
        let row =
            [by_v, -self.g_k * (v - E_K), -self.g_m * (v - E_K)].map(|x| x / self.capacitance);
        (row, N.at(v)[1] / self.tau_n, H.at(v)[1] / self.tau_h)
    }
}

impl System for BurstingNeuron {
    fn name(&self) -> &'static str {
        KIND.name
    }

    /// Membrane potential in mV and the two gates.
    fn variables(&self) -> Vec<String> {
        ["v", "n", "h"].map(str::to_owned).to_vec()
    }

    fn dimension(&self) -> usize {
        3
    }

    fn time_unit(&self) -> &'static str {
        "ms"
    }

    fn seconds_per_time(&self) -> Option<f64> {
        Some(1e-3)
    }

    fn velocity(&self, state: &[f64], velocity: &mut [f64]) {
        let [v, n, h] = [state[0], state[1], state[2]];
        let current = self.g_leak * (v - E_LEAK)
            + self.g_na * M.at(v)[0] * (v - E_NA)
            + (self.g_k * n + self.g_m * h) * (v - E_K)
            + self.g_nmda * unblocked(v)[0] * (v - E_NMDA);
        velocity[0] = -current / self.capacitance;
        velocity[1] = (N.at(v)[0] - n) / self.tau_n;
        velocity[2] = (H.at(v)[0] - h) / self.tau_h;
    }

    fn jacobian(&self, state: &[f64], jacobian: &mut [f64]) {
        let (row, n, h) = self.slopes(state);
        jacobian.copy_from_slice(&[
            row[0],
            row[1],
            row[2],
            n,
            -1.0 / self.tau_n,
            0.0,
            h,
            0.0,
            -1.0 / self.tau_h,
        ]);
    }

    fn tangent_velocity(&self, state: &[f64], tangent: &[f64], image: &mut [f64]) {
        let (row, n, h) = self.slopes(state);
        let [u, v, w] = [tangent[0], tangent[1], tangent[2]];
        image[0] = row[0] * u + row[1] * v + row[2] * w;
        image[1] = n * u - v / self.tau_n;
        image[2] = h * u - w / self.tau_h;
    }

    /// Five steps for samples 0.25 ms apart, which keep the error of a sample below 2e-7 mV where the standard deviation is
    /// 17 mV.
    fn longest_step(&self) -> f64 {
        0.05
    }

    /// V uniform in -70 to -20 mV, the gates uniform in 0 to 0.2.
    fn random_state(&self, random: &mut Random) -> Vec<f64> {
        vec![
            -70.0 + 50.0 * random.uniform(),
            0.2 * random.uniform(),
            0.2 * random.uniform(),
        ]
    }
}
