//! Ensembles: networks of one architecture, side by side. A single network is an ensemble of one.

use crate::architecture::{Architecture, CellKind, Readout};
use crate::initialisers::Initialiser;
use crate::network::Network;
use nullcline_data::random::{Random, Stream};

/// How the parameters of a network start.
#[derive(Clone, Debug, PartialEq)]
pub struct Initialisation {
    /// W and, where there is one, the hidden matrix. Not of PLRNNs without hidden units but the almost-linear one:
    /// their W is the rest of the matrix that A is the diagonal of.
    pub recurrent: Initialiser,
    /// Factor on W as drawn.
    pub recurrent_gain: f64,
    /// U.
    pub input: Initialiser,
    /// Factor on U as drawn.
    pub input_gain: f64,
    /// R.
    pub readout: Initialiser,
    /// Factor on R as drawn.
    pub readout_gain: f64,
    /// The leak of every unit.
    pub leak: f64,
    /// Units of an almost-linear RNN, the first, that are linear.
    pub linear_units: usize,
}

/// Networks of one architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct Ensemble {
    /// What all of them are made of.
    pub architecture: Architecture,
    /// One flat parameter vector per network.
    pub parameters: Vec<Vec<f32>>,
}

impl Ensemble {
    /// Draws `networks` networks. Network k is a function of `seed + k` alone, so that the third network of
    /// an ensemble is the single network of its seed.
    pub fn new(
        architecture: Architecture,
        initialisation: &Initialisation,
        networks: usize,
        seed: u64,
    ) -> Self {
        let parameters = (0..networks)
            .map(|k| draw(&architecture, initialisation, seed.wrapping_add(k as u64)))
            .collect();
        Ensemble {
            architecture,
            parameters,
        }
    }

    /// Number of networks.
    pub fn len(&self) -> usize {
        self.parameters.len()
    }

    /// True for an ensemble without networks.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    /// One of the networks in f64, for analysis; `None` beyond the last.
    pub fn network(&self, k: usize) -> Option<Network> {
        self.parameters
            .get(k)
            .map(|p| Network::new(self.architecture.clone(), p))
    }
}

/// The parameters of one network.
fn draw(architecture: &Architecture, initialisation: &Initialisation, seed: u64) -> Vec<f32> {
    let mut parameters = vec![0.0f32; architecture.parameter_count()];
    let shape = architecture.cell.shape();
    let piecewise_linear = architecture.cell.is_plrnn();
    let one_matrix = matches!(
        architecture.cell,
        CellKind::Plrnn
            | CellKind::MeanCentredPlrnn
            | CellKind::DendriticPlrnn
            | CellKind::ClippedDendriticPlrnn
    );
    for tensor in architecture.tensors() {
        let mut random = Random::new(seed, Stream::WEIGHTS, stream_index(&tensor.name));
        let values = &mut parameters[tensor.range.clone()];
        let uniform = |values: &mut [f32], bound: f64, random: &mut Random| {
            for value in values {
                *value = ((2.0 * random.uniform() - 1.0) * bound) as f32;
            }
        };
        let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
        match tensor.name.as_str() {
            // Hess et al. 2023: A is the diagonal of a matrix, W the rest.
            "recurrent" if one_matrix => {
                let mut random = Random::new(seed, Stream::WEIGHTS, stream_index("a"));
                let units = architecture.units;
                let matrix = TalathiVartak::new(units, &mut random);
                for (k, value) in values.iter_mut().enumerate() {
                    let (i, j) = (k / units, k % units);
                    *value = if i == j { 0.0 } else { matrix.at(i, j) as f32 };
                }
            }
            "recurrent" | "hidden" => {
                // Each gate is a matrix of its own.
                let rows = tensor.shape[0]
                    / if tensor.name == "hidden" {
                        1
                    } else {
                        shape.gates
                    };
                for gate in values.chunks_exact_mut(rows * columns) {
                    initialisation.recurrent.fill(
                        gate,
                        rows,
                        columns,
                        architecture.units,
                        &mut random,
                    );
                }
                scale(values, initialisation.recurrent_gain);
            }
            "input" => {
                let rows = tensor.shape[0] / shape.gates;
                for gate in values.chunks_exact_mut(rows * columns) {
                    initialisation
                        .input
                        .fill(gate, rows, columns, architecture.units, &mut random);
                }
                scale(values, initialisation.input_gain);
            }
            "readout" => {
                let rows = tensor.shape[0];
                initialisation
                    .readout
                    .fill(values, rows, columns, architecture.units, &mut random);
                scale(values, initialisation.readout_gain);
            }
            // torch draws the biases of recurrent layers and of the readout like the weights. The PLRNN
            // literature starts h1 at zero.
            "bias" if piecewise_linear => {}
            "recurrent_bias" if !architecture.bias => {}
            "bias" | "recurrent_bias" | "readout_bias" => {
                if initialisation.recurrent == Initialiser::Torch {
                    uniform(
                        values,
                        1.0 / (architecture.units as f64).sqrt(),
                        &mut random,
                    );
                }
            }
            "leak" => values.fill(initialisation.leak as f32),
            // Hess et al. 2023: h2 uniform for the clipped cell, zero for the plain one.
            "h2" => {
                if architecture.cell == CellKind::ClippedShallowPlrnn {
                    uniform(
                        values,
                        1.0 / (architecture.hidden as f64).sqrt(),
                        &mut random,
                    );
                }
            }
            "a" => {
                let matrix = TalathiVartak::new(values.len(), &mut random);
                for (i, value) in values.iter_mut().enumerate() {
                    *value = matrix.at(i, i) as f32;
                }
            }
            // Hess et al. 2023 for observations through a matrix. Where the first units are the observations, theirs
            // are uniform in the range of the data, which a network does not know; that of data of unit variance is
            // much the same.
            "thresholds" => values
                .iter_mut()
                .for_each(|value| *value = random.standard_normal() as f32),
            "alphas" => uniform(
                values,
                1.0 / (architecture.bases() as f64).sqrt(),
                &mut random,
            ),
            "slope" => {
                let linear = initialisation.linear_units.min(values.len());
                values[..linear].fill(1.0);
            }
            // Learned map to the unobserved units.
            "initial" => Initialiser::GlorotUniform.fill(
                values,
                tensor.shape[0],
                columns,
                architecture.units,
                &mut random,
            ),
            other => unreachable!("no initialisation for the parameter {other}"),
        }
    }
    debug_assert!(
        architecture.readout != Readout::Identity || architecture.layout().readout.is_empty()
    );
    parameters
}

/// The random stream's index of a parameter, the same in every architecture: a network with a bias has the
/// weights of the one without. Never to be changed: seeds are published.
fn stream_index(name: &str) -> u64 {
    match name {
        "recurrent" => 0,
        "input" => 1,
        "bias" => 2,
        "leak" | "a" | "recurrent_bias" => 3,
        "readout" => 4,
        "readout_bias" => 5,
        "hidden" => 6,
        "h2" => 7,
        "initial" => 8,
        "thresholds" => 9,
        "alphas" => 10,
        // Not drawn.
        "slope" => 11,
        other => unreachable!("no random stream for the parameter {other}"),
    }
}

fn scale(values: &mut [f32], gain: f64) {
    if gain != 1.0 {
        values
            .iter_mut()
            .for_each(|value| *value = (f64::from(*value) * gain) as f32);
    }
}

/// K / lambda_max(K), K = R' R / M + I with R an M x M Gaussian matrix (Talathi & Vartak 2015, as Hess et al. 2023 use
/// it): symmetric, with all eigenvalues in (0, 1], so that the linear part of a network that it starts is stable.
struct TalathiVartak {
    /// M.
    size: usize,
    /// R, row-major.
    r: Vec<f64>,
    /// lambda_max(K).
    largest: f64,
}

impl TalathiVartak {
    fn new(size: usize, random: &mut Random) -> Self {
        let r: Vec<f64> = (0..size * size).map(|_| random.standard_normal()).collect();
        // Largest eigenvalue by power iteration, K v = R' (R v) / M + v; K is positive definite.
        let mut v = vec![1.0; size];
        let mut largest = 1.0;
        for _ in 0..1000 {
            let mut w = v.clone();
            for row in r.chunks_exact(size) {
                let product: f64 = row.iter().zip(&v).map(|(r, v)| r * v).sum();
                for (w, r) in w.iter_mut().zip(row) {
                    *w += r * product / size as f64;
                }
            }
            let norm = w.iter().map(|w| w * w).sum::<f64>().sqrt();
            let converged = (norm - largest).abs() < 1e-14 * norm;
            largest = norm;
            v = w.into_iter().map(|w| w / norm).collect();
            if converged {
                break;
            }
        }
        TalathiVartak { size, r, largest }
    }

    /// An entry.
    fn at(&self, i: usize, j: usize) -> f64 {
        let rows = self.r.chunks_exact(self.size);
        let product = rows.map(|row| row[i] * row[j]).sum::<f64>() / self.size as f64;
        (product + if i == j { 1.0 } else { 0.0 }) / self.largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initialisation() -> Initialisation {
        Initialisation {
            recurrent: Initialiser::Torch,
            recurrent_gain: 1.0,
            input: Initialiser::Torch,
            input_gain: 1.0,
            readout: Initialiser::Torch,
            readout_gain: 1.0,
            leak: 0.5,
            linear_units: 4,
        }
    }

    fn architecture(cell: CellKind) -> Architecture {
        Architecture {
            cell,
            inputs: 2,
            units: 9,
            hidden: if cell.takes_hidden() { 12 } else { 0 },
            outputs: 3,
            bias: true,
            readout: Readout::Linear,
            train_leak: false,
        }
    }

    #[test]
    fn a_network_depends_on_its_own_seed_alone() {
        for &cell in CellKind::ALL {
            let many = Ensemble::new(architecture(cell), &initialisation(), 4, 10);
            let one = Ensemble::new(architecture(cell), &initialisation(), 1, 13);
            assert_eq!(many.parameters[3], one.parameters[0]);
            assert_ne!(many.parameters[2], one.parameters[0]);
            assert!(one.parameters[0].iter().all(|p| p.is_finite()));
        }
    }

    #[test]
    fn leaving_a_parameter_out_does_not_change_the_others() {
        for &cell in CellKind::ALL {
            let with = architecture(cell);
            let without = Architecture {
                bias: false,
                inputs: 0,
                readout: Readout::LinearWithoutBias,
                ..with.clone()
            };
            let draw = |a: &Architecture| {
                Ensemble::new(a.clone(), &initialisation(), 1, 5)
                    .parameters
                    .remove(0)
            };
            let (p, q) = (draw(&with), draw(&without));
            for tensor in without.tensors() {
                let ours = &q[tensor.range.clone()];
                if tensor.name == "recurrent_bias" {
                    assert!(!tensor.trainable && ours.iter().all(|&b| b == 0.0));
                    continue;
                }
                let same = with.tensor(&tensor.name).unwrap();
                assert_eq!(&p[same.range], ours, "{} {}", cell.name(), tensor.name);
            }
        }
    }

    #[test]
    fn torch_initialisation_stays_within_its_bound_and_fills_it() {
        let mut a = architecture(CellKind::Gru);
        a.units = 64;
        let p = &Ensemble::new(a.clone(), &initialisation(), 1, 1).parameters[0];
        let largest = p.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        assert!(largest <= 0.125 && largest > 0.1249, "{largest}");
    }

    #[test]
    fn the_matrix_of_the_plrnn_is_stable_and_positive() {
        for seed in 0..20 {
            let random = &mut Random::new(seed, Stream::WEIGHTS, 0);
            let matrix = TalathiVartak::new(7, random);
            let a: Vec<f64> = (0..7).map(|i| matrix.at(i, i)).collect();
            assert!(a.iter().all(|&a| a > 0.0 && a <= 1.0), "{a:?}");
            // |K x| <= |x|, and x' K x > 0.
            let x: Vec<f64> = (0..7).map(|_| random.standard_normal()).collect();
            let row = |i: usize| (0..7).map(|j| matrix.at(i, j) * x[j]).sum::<f64>();
            let product: Vec<f64> = (0..7).map(row).collect();
            let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
            assert!(dot(&product, &product) <= dot(&x, &x) * (1.0 + 1e-12));
            assert!(dot(&product, &x) > 0.0);
        }
    }

    #[test]
    fn a_and_w_of_a_plrnn_are_one_matrix_and_the_others_start_as_published() {
        let drawn = |cell: CellKind, units: usize, hidden: usize| {
            let architecture = Architecture {
                cell,
                inputs: 0,
                units,
                hidden,
                ..architecture(CellKind::Plrnn)
            };
            let parameters = Ensemble::new(architecture.clone(), &initialisation(), 1, 3)
                .parameters
                .remove(0);
            move |name: &str| parameters[architecture.tensor(name).unwrap().range].to_vec()
        };
        let seed = 3;
        let matrix = TalathiVartak::new(9, &mut Random::new(seed, Stream::WEIGHTS, 3));
        for cell in [
            CellKind::Plrnn,
            CellKind::MeanCentredPlrnn,
            CellKind::DendriticPlrnn,
        ] {
            let of = drawn(cell, 9, 5);
            for (k, &w) in of("recurrent").iter().enumerate() {
                let (i, j) = (k / 9, k % 9);
                let want = if i == j { 0.0 } else { matrix.at(i, j) as f32 };
                assert_eq!(w, want);
                assert_eq!(of("a")[i], matrix.at(i, i) as f32);
            }
            assert!(of("bias").iter().all(|&h| h == 0.0));
        }
        let of = drawn(CellKind::ClippedDendriticPlrnn, 9, 400);
        let largest = |values: &[f32]| values.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        // Uniform in +-1/sqrt(B), and normal.
        let alphas = largest(&of("alphas"));
        assert!(alphas <= 0.05 && alphas > 0.049, "{alphas}");
        let squares = of("thresholds").iter().map(|h| h * h).sum::<f32>() / 3600.0;
        assert!((squares - 1.0).abs() < 0.1, "{squares}");
        let of = drawn(CellKind::AlmostLinearRnn, 9, 0);
        assert_eq!(of("slope"), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
