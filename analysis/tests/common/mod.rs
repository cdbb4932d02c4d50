//! Maps with hand-written Jacobians that the tests share.
#![allow(dead_code, reason = "each test binary uses some of these")]

use std::path::Path;

use ndarray::{Array1, Array2};
use ndarray_npy::NpzReader;
use nullcline_analysis::Dynamics;
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::network::Network;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use rand_distr::StandardNormal;

/// x' = tanh(W x + U u + b), torch's `nn.RNN`.
#[derive(Clone, Debug)]
pub struct TanhNetwork {
    pub recurrent: Array2<f64>,
    pub input: Array2<f64>,
    pub bias: Array1<f64>,
}

impl TanhNetwork {
    /// Weights of standard deviation `gain` / sqrt(dim), two inputs.
    pub fn random(dim: usize, gain: f64, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut normal = |scale: f64| scale * rng.sample::<f64, _>(StandardNormal);
        let scale = gain / (dim as f64).sqrt();
        Self {
            recurrent: Array2::from_shape_simple_fn((dim, dim), || normal(scale)),
            input: Array2::from_shape_simple_fn((dim, 2), || normal(1.0)),
            bias: Array1::from_shape_simple_fn(dim, || normal(0.2)),
        }
    }
}

impl Dynamics for TanhNetwork {
    fn state_dim(&self) -> usize {
        self.recurrent.nrows()
    }

    fn input_dim(&self) -> usize {
        self.input.ncols()
    }

    fn step(&self, state: &[f64], input: &[f64], next: &mut [f64]) {
        for (i, next) in next.iter_mut().enumerate() {
            let mut z = self.bias[i];
            for (w, x) in self.recurrent.row(i).iter().zip(state) {
                z += w * x;
            }
            for (w, u) in self.input.row(i).iter().zip(input) {
                z += w * u;
            }
            *next = z.tanh();
        }
    }

    fn step_with_jacobian(
        &self,
        state: &[f64],
        input: &[f64],
        next: &mut [f64],
        jacobian: &mut [f64],
    ) {
        self.step(state, input, next);
        for (i, row) in jacobian.chunks_exact_mut(state.len()).enumerate() {
            let slope = 1.0 - next[i] * next[i];
            for (j, w) in row.iter_mut().zip(self.recurrent.row(i)) {
                *j = slope * w;
            }
        }
    }

    fn input_jacobian(&self, state: &[f64], input: &[f64], jacobian: &mut [f64]) {
        let mut next = vec![0.0; state.len()];
        self.step(state, input, &mut next);
        for (i, row) in jacobian.chunks_exact_mut(input.len()).enumerate() {
            for (j, w) in row.iter_mut().zip(self.input.row(i)) {
                *j = (1.0 - next[i] * next[i]) * w;
            }
        }
    }
}

/// torch's `nn.GRU`: gates r, z, n stacked in this order.
#[derive(Clone, Debug)]
pub struct Gru {
    pub recurrent: Array2<f64>,
    pub input: Array2<f64>,
    pub recurrent_bias: Array1<f64>,
    pub input_bias: Array1<f64>,
}

/// One unit of a GRU: r, z, n, and the recurrent part m of n's argument.
struct Gates {
    r: f64,
    z: f64,
    n: f64,
    m: f64,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Gru {
    fn gates(&self, state: &[f64], input: &[f64], unit: usize) -> Gates {
        let dim = state.len();
        let recurrent = |gate: usize| {
            let row = gate * dim + unit;
            let products = self.recurrent.row(row).into_iter().zip(state);
            self.recurrent_bias[row] + products.map(|(w, h)| w * h).sum::<f64>()
        };
        let input = |gate: usize| {
            let row = gate * dim + unit;
            let products = self.input.row(row).into_iter().zip(input);
            self.input_bias[row] + products.map(|(w, u)| w * u).sum::<f64>()
        };
        let r = sigmoid(recurrent(0) + input(0));
        let z = sigmoid(recurrent(1) + input(1));
        let m = recurrent(2);
        let n = (input(2) + r * m).tanh();
        Gates { r, z, n, m }
    }
}

impl Dynamics for Gru {
    fn state_dim(&self) -> usize {
        self.recurrent.ncols()
    }

    fn input_dim(&self) -> usize {
        self.input.ncols()
    }

    fn step(&self, state: &[f64], input: &[f64], next: &mut [f64]) {
        for (unit, next) in next.iter_mut().enumerate() {
            let Gates { z, n, .. } = self.gates(state, input, unit);
            *next = (1.0 - z) * n + z * state[unit];
        }
    }

    fn step_with_jacobian(
        &self,
        state: &[f64],
        input: &[f64],
        next: &mut [f64],
        jacobian: &mut [f64],
    ) {
        let dim = state.len();
        self.step(state, input, next);
        for (unit, row) in jacobian.chunks_exact_mut(dim).enumerate() {
            let Gates { r, z, n, m } = self.gates(state, input, unit);
            // h' = (1 - z) n + z h, n = tanh(a + r m)
            let dn = (1.0 - z) * (1.0 - n * n);
            let (by_r, by_z, by_m) = (
                dn * m * r * (1.0 - r),
                (state[unit] - n) * z * (1.0 - z),
                dn * r,
            );
            for (from, j) in row.iter_mut().enumerate() {
                *j = by_r * self.recurrent[[unit, from]]
                    + by_z * self.recurrent[[dim + unit, from]]
                    + by_m * self.recurrent[[2 * dim + unit, from]];
            }
            row[unit] += z;
        }
    }

    fn input_jacobian(&self, state: &[f64], input: &[f64], jacobian: &mut [f64]) {
        let dim = state.len();
        for (unit, row) in jacobian.chunks_exact_mut(input.len()).enumerate() {
            let Gates { r, z, n, m } = self.gates(state, input, unit);
            let dn = (1.0 - z) * (1.0 - n * n);
            let (by_r, by_z) = (dn * m * r * (1.0 - r), (state[unit] - n) * z * (1.0 - z));
            for (from, j) in row.iter_mut().enumerate() {
                *j = by_r * self.input[[unit, from]]
                    + by_z * self.input[[dim + unit, from]]
                    + dn * self.input[[2 * dim + unit, from]];
            }
        }
    }
}

/// A map without input, from a function that returns x' and, row by row, its Jacobian.
pub struct Map<const N: usize, F>(pub F);

impl<const N: usize, F: Fn([f64; N]) -> ([f64; N], [[f64; N]; N]) + Sync> Dynamics for Map<N, F> {
    fn state_dim(&self) -> usize {
        N
    }

    fn input_dim(&self) -> usize {
        0
    }

    fn step(&self, state: &[f64], _input: &[f64], next: &mut [f64]) {
        next.copy_from_slice(&(self.0)(state.try_into().unwrap()).0);
    }

    fn step_with_jacobian(
        &self,
        state: &[f64],
        _input: &[f64],
        next: &mut [f64],
        jacobian: &mut [f64],
    ) {
        let (value, derivative) = (self.0)(state.try_into().unwrap());
        next.copy_from_slice(&value);
        jacobian.copy_from_slice(derivative.as_flattened());
    }

    fn input_jacobian(&self, _state: &[f64], _input: &[f64], jacobian: &mut [f64]) {
        assert!(jacobian.is_empty());
    }
}

/// The Hénon map with a = 1.4, b = 0.3.
pub fn henon() -> impl Dynamics {
    Map(|[x, y]: [f64; 2]| {
        (
            [1.0 - 1.4 * x * x + y, 0.3 * x],
            [[-2.8 * x, 1.0], [0.3, 0.0]],
        )
    })
}

/// The fixed points of [`henon`] in closed form: x = (-(1-b) -+ sqrt((1-b)^2 + 4a)) / (2a).
pub fn henon_fixed_points() -> [[f64; 2]; 2] {
    let root = (0.7_f64 * 0.7 + 4.0 * 1.4).sqrt();
    [-0.7 - root, -0.7 + root].map(|x| [x / 2.8, 0.3 * x / 2.8])
}

fn fixture(name: &str) -> NpzReader<std::fs::File> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    NpzReader::new(std::fs::File::open(path).unwrap()).unwrap()
}

/// The trained tanh network of the fixtures, with its fixed points `[point, state]`.
pub fn reference_tanh() -> (TanhNetwork, Array2<f64>) {
    let mut npz = fixture("flip_flop_tanh16.npz");
    let mut matrix = |name: &str| {
        npz.by_name::<ndarray::OwnedRepr<f32>, ndarray::Ix2>(name)
            .unwrap()
            .mapv(f64::from)
    };
    let (recurrent, input) = (matrix("weight_hh_l0.npy"), matrix("weight_ih_l0.npy"));
    let mut vector = |name: &str| {
        npz.by_name::<ndarray::OwnedRepr<f32>, ndarray::Ix1>(name)
            .unwrap()
            .mapv(f64::from)
    };
    let bias = vector("bias_ih_l0.npy") + vector("bias_hh_l0.npy");
    let points = npz.by_name("fixed_points.npy").unwrap();
    (
        TanhNetwork {
            recurrent,
            input,
            bias,
        },
        points,
    )
}

/// The trained GRU of the fixtures, with its fixed points `[point, state]`.
pub fn reference_gru() -> (Gru, Array2<f64>) {
    let mut npz = fixture("flip_flop_gru16.npz");
    let gru = Gru {
        recurrent: npz.by_name("weight_hh_l0.npy").unwrap(),
        input: npz.by_name("weight_ih_l0.npy").unwrap(),
        recurrent_bias: npz.by_name("bias_hh_l0.npy").unwrap(),
        input_bias: npz.by_name("bias_ih_l0.npy").unwrap(),
    };
    (gru, npz.by_name("fixed_points.npy").unwrap())
}

/// States that a flip-flop network visits under random pulses, `[sample, state]`.
pub fn visited_states(dynamics: &impl Dynamics, steps: usize, seed: u64) -> Array2<f64> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut states = Array2::zeros((steps, dynamics.state_dim()));
    let mut state = vec![0.0; dynamics.state_dim()];
    let mut next = state.clone();
    for mut row in states.rows_mut() {
        let input: Vec<f64> = (0..dynamics.input_dim())
            .map(|_| match rng.random_range(0..20) {
                0 => 1.0,
                1 => -1.0,
                _ => 0.0,
            })
            .collect();
        dynamics.step(&state, &input, &mut next);
        std::mem::swap(&mut state, &mut next);
        for (row, x) in row.iter_mut().zip(&state) {
            *row = *x;
        }
    }
    states
}

/// An architecture without readout bias, for maps of states alone; `hidden` counts for cells that have such a layer.
pub fn architecture(cell: CellKind, inputs: usize, units: usize, hidden: usize) -> Architecture {
    Architecture {
        cell,
        inputs,
        units,
        hidden: if cell.takes_hidden() { hidden } else { 0 },
        outputs: 1,
        bias: true,
        readout: Readout::LinearWithoutBias,
        train_leak: false,
    }
}

/// A network of any cell: recurrent weights of standard deviation `gain` / sqrt(columns), inputs of 1, biases of 0.2,
/// leaks from 0.1 to 0.9, diagonals of the PLRNN from -0.9 to 0.9, hidden thresholds of 0.5.
pub fn random_network(
    cell: CellKind,
    inputs: usize,
    units: usize,
    hidden: usize,
    gain: f64,
    seed: u64,
) -> Network {
    let architecture = architecture(cell, inputs, units, hidden);
    let layout = architecture.layout();
    let mut parameters = vec![0.0; layout.total];
    let mut rng = SmallRng::seed_from_u64(seed);
    let shape = cell.shape();
    let recurrent = gain / (architecture.recurrent_columns() as f64).sqrt();
    for (range, scale) in [
        (layout.recurrent, recurrent),
        (layout.hidden, 1.0 / (units as f64).sqrt()),
        (layout.input, 1.0),
        (layout.bias, 0.2),
        (layout.hidden_unit, 0.5),
    ] {
        for p in &mut parameters[range] {
            *p = scale * rng.sample::<f64, _>(StandardNormal);
        }
    }
    for (k, name) in shape.unit_parameters.iter().enumerate() {
        let (low, high) = match *name {
            "leak" => (0.1, 0.9),
            "a" => (-0.9, 0.9),
            _ => (-0.2, 0.2),
        };
        let start = layout.unit.start + k * units;
        for p in &mut parameters[start..start + units] {
            *p = rng.random_range(low..high);
        }
    }
    Network::from_f64(architecture, parameters)
}

/// x' = tanh(W x + b), row by row.
pub fn tanh_network(weights: &[f64], bias: &[f64]) -> Network {
    let architecture = architecture(CellKind::VanillaTanh, 0, bias.len(), 0);
    let layout = architecture.layout();
    let mut parameters = vec![0.0; layout.total];
    parameters[layout.recurrent].copy_from_slice(weights);
    parameters[layout.bias].copy_from_slice(bias);
    Network::from_f64(architecture, parameters)
}

/// [`reference_tanh`] as a network of the program.
pub fn flip_flop_tanh() -> (Network, Array2<f64>) {
    let (reference, points) = reference_tanh();
    let architecture = architecture(CellKind::VanillaTanh, 3, 16, 0);
    let layout = architecture.layout();
    let mut parameters = vec![0.0; layout.total];
    fill(&mut parameters[layout.recurrent], &reference.recurrent);
    fill(&mut parameters[layout.input], &reference.input);
    fill(&mut parameters[layout.bias], &reference.bias);
    (Network::from_f64(architecture, parameters), points)
}

/// [`reference_gru`] as a network of the program.
pub fn flip_flop_gru() -> (Network, Array2<f64>) {
    let (reference, points) = reference_gru();
    let architecture = architecture(CellKind::Gru, 3, 16, 0);
    let layout = architecture.layout();
    let mut parameters = vec![0.0; layout.total];
    fill(&mut parameters[layout.recurrent], &reference.recurrent);
    fill(&mut parameters[layout.input], &reference.input);
    // Reset and update gates see the sum of both biases, the new gate keeps them apart.
    let mut bias = reference.input_bias.clone();
    for k in 0..32 {
        bias[k] += reference.recurrent_bias[k];
    }
    fill(&mut parameters[layout.bias], &bias);
    let new_gate = reference.recurrent_bias.slice(ndarray::s![32..]).to_owned();
    fill(&mut parameters[layout.unit], &new_gate);
    (Network::from_f64(architecture, parameters), points)
}

fn fill<D: ndarray::Dimension>(to: &mut [f64], from: &ndarray::Array<f64, D>) {
    assert_eq!(to.len(), from.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
