//! Adaptive generalized teacher forcing: the strength of the forcing, estimated from the data during training.
//!
//! Under forcing by alpha the Jacobian product that carries gradients back in time is
//!
//!   dz_t / dz_r = (1 - alpha)^(t - r) prod_{k = r + 1..t} J~_k,
//!
//! and stays bounded for alpha = 1 - 1 / sigma, where sigma is the largest singular value of the Jacobians that the
//! network meets (Hess et al. 2023, Proposition 2). Algorithm 1 replaces sigma by an estimate kappa, taken from the
//! Jacobians at the states that the data of a batch imply: every few updates
//!
//!   alpha_new = max(0, 1 - 1 / kappa),
//!   alpha <- alpha_new                               where alpha_new > alpha: up at once,
//!   alpha <- gamma alpha + (1 - gamma) alpha_new     otherwise: down slowly.
//!
//! The estimates differ in what they make of the Jacobians J_1, ..., J_T of a sequence; kappa is the largest over
//! the sequences of the batch. States are the forcing signals of times 1 to T, those that steps 2 to T + 1 start
//! from, had they been forced completely; units that the data imply nothing about are zero.

use crate::architecture::{Architecture, CellKind, Readout};
use crate::cells::Layer;
use crate::linear::{add_products, transposed};
use crate::matrix_functions::{complex_norm, logarithm, spectral_norm, spectral_norms};
use crate::network::Network;
use nalgebra::{Complex, DMatrix};
use ndarray::{Array2, ArrayView2, Axis, s};
use nullcline_data::vectorised;
use nullcline_tasks::Trials;
use std::ops::Range;

/// What is made of the Jacobians of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimator {
    /// The geometric mean over time of the spectral norms ||J_t||: an upper bound of the product's norm per step.
    ProductUpperBound,
    /// The spectral norm of the mean of the Jacobians.
    ArithmeticMean,
    /// The spectral norm of exp(mean of log J_t), matrix exponential and principal matrix logarithm.
    ExpLog,
    /// The largest spectral norm.
    BatchMaximum,
    /// A bound on every Jacobian of a PLRNN, whatever the state: max |A_ii| + ||W1|| ||W2|| for the shallow one.
    JacobianUpperBound,
}

impl Estimator {
    /// The names written in experiment files; `constant` is none of them.
    pub const NAMES: &'static [&'static str] = &[
        "constant",
        "product_upper_bound",
        "arithmetic_mean",
        "explog",
        "batch_maximum",
        "jacobian_upper_bound",
    ];

    /// The estimator of this name; `None` for `constant`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "product_upper_bound" => Some(Estimator::ProductUpperBound),
            "arithmetic_mean" => Some(Estimator::ArithmeticMean),
            "explog" => Some(Estimator::ExpLog),
            "batch_maximum" => Some(Estimator::BatchMaximum),
            "jacobian_upper_bound" => Some(Estimator::JacobianUpperBound),
            _ => None,
        }
    }
}

/// How the strength of the forcing changes during training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Strength {
    /// Not at all.
    #[default]
    Constant,
    /// Geometrically from `start` before the first update to `end` after the last of `updates`: forcing that is strong
    /// while the network knows nothing, and weak at last, when it has to go on by itself from data that carry noise.
    Geometric {
        /// Before the first update, above 0.
        start: f64,
        /// After the last, above 0.
        end: f64,
        /// Updates of the training.
        updates: u64,
    },
    /// With its estimate.
    Adaptive(Adaptation),
}

impl Strength {
    /// alpha of an update, counted from 0, where that does not depend on the network.
    pub fn of_update(&self, update: u64) -> Option<f32> {
        match *self {
            Strength::Geometric {
                start,
                end,
                updates,
            } => {
                let fraction = update as f64 / updates.max(1) as f64;
                Some((start * (end / start).powf(fraction)) as f32)
            }
            Strength::Constant | Strength::Adaptive(_) => None,
        }
    }
}

/// How alpha follows its estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adaptation {
    /// The estimate.
    pub estimator: Estimator,
    /// gamma: the share of alpha that a lower estimate leaves.
    pub decay: f64,
    /// Updates between estimates, at least 1; the first is before update 0.
    pub every: u64,
}

impl Adaptation {
    /// Whether alpha is estimated before this update, counted from 0.
    pub fn acts_before(&self, update: u64) -> bool {
        update.is_multiple_of(self.every.max(1))
    }

    /// The alpha that follows `alpha` where the estimate is `kappa`. An estimate that is not a number, as of
    /// Jacobians without a logarithm, leaves alpha as it is.
    pub fn next(&self, alpha: f32, kappa: f64) -> f32 {
        if kappa.is_nan() {
            return alpha;
        }
        let alpha = f64::from(alpha);
        let estimate = (1.0 - 1.0 / kappa).max(0.0);
        let next = if estimate > alpha {
            estimate
        } else {
            self.decay * alpha + (1.0 - self.decay) * estimate
        };
        next as f32
    }

    /// alpha after looking at the trials of an update, with the parameters before it.
    pub fn adapt(
        &self,
        alpha: f32,
        architecture: &Architecture,
        parameters: &[f32],
        trials: &Trials,
    ) -> f32 {
        self.next(
            alpha,
            kappa(self.estimator, architecture, parameters, trials),
        )
    }
}

/// States whose Jacobians are formed side by side: the arithmetic of one after the other would wait for itself.
const TOGETHER: usize = 8;

/// One number of each of them.
type Lanes = [f64; TOGETHER];

/// The estimate of the largest singular value, from a batch of trials that start from an observation.
///
/// Operations: T Jacobians per trial, each of 2 M^2 l with M units and l hidden units whose slope is not zero; and for
/// the spectral norm of each some 14 M^3.
pub fn kappa(
    estimator: Estimator,
    architecture: &Architecture,
    parameters: &[f32],
    trials: &Trials,
) -> f64 {
    let mut linearised = Linearised::new(architecture, parameters);
    if estimator == Estimator::JacobianUpperBound {
        return linearised.bound();
    }
    let dim = architecture.state_dim();
    let steps = trials.steps();
    let mut jacobians = vec![[0.0; TOGETHER]; dim * dim];
    let mut largest = f64::NEG_INFINITY;
    for trial in 0..trials.batch() {
        let mut sequence = Sequence::new(estimator, dim);
        let states = linearised.signals(trials.targets.index_axis(Axis(0), trial));
        // What the observation after step t implies is what the next step would start from, with its input.
        let inputs = trials.inputs.index_axis(Axis(0), trial);
        for first in (0..steps).step_by(TOGETHER) {
            let times = first..(first + TOGETHER).min(steps);
            linearised.jacobians(&states, inputs, times.clone(), &mut jacobians);
            sequence.add(&jacobians, times.len());
        }
        // `max` would pass over an estimate that is not a number.
        let of_sequence = sequence.estimate();
        if of_sequence.is_nan() {
            return f64::NAN;
        }
        largest = largest.max(of_sequence);
    }
    largest
}

/// A network, and what its Jacobians at forcing signals need.
struct Linearised {
    network: Network,
    next: Vec<f64>,
    jacobian: Vec<f64>,
    states: Vec<Lanes>,
    /// Hidden units whose slope is not zero at every one of the states, with their slopes.
    sloped: Vec<(usize, Lanes)>,
    /// W' [recurrent columns, gate rows].
    recurrent_transposed: Vec<f64>,
}

impl Linearised {
    fn new(architecture: &Architecture, parameters: &[f32]) -> Self {
        let network = Network::new(architecture.clone(), parameters);
        let layout = architecture.layout();
        let of = |range: &Range<usize>| &network.parameters()[range.clone()];
        let recurrent_transposed =
            transposed(of(&layout.recurrent), architecture.recurrent_columns());
        Linearised {
            next: vec![0.0; architecture.state_dim()],
            jacobian: vec![0.0; architecture.state_dim().pow(2)],
            states: vec![[0.0; TOGETHER]; architecture.state_dim()],
            sloped: Vec::new(),
            recurrent_transposed,
            network,
        }
    }

    /// The states [time, state] that observations [time, output] force towards; zeros stand where they imply nothing,
    /// while the start of a free run takes a learned map of them.
    fn signals(&self, observations: ArrayView2<f32>) -> Array2<f64> {
        let a = self.network.architecture();
        let observations = observations.mapv(f64::from);
        let mut states = self.network.states_from_observations(observations.view());
        if a.readout == Readout::Identity {
            states.slice_mut(s![.., a.outputs.min(a.units)..]).fill(0.0);
        }
        states
    }

    /// The Jacobians, row-major, at the states of these times, at most [`TOGETHER`], each with the input of the next time.
    fn jacobians(
        &mut self,
        states: &Array2<f64>,
        inputs: ArrayView2<f32>,
        times: Range<usize>,
        jacobians: &mut [Lanes],
    ) {
        let clipped = match self.network.architecture().cell {
            CellKind::ShallowPlrnn => false,
            CellKind::ClippedShallowPlrnn => true,
            _ => {
                let last = inputs.nrows().saturating_sub(1);
                for (k, t) in times.enumerate() {
                    let input = inputs.row((t + 1).min(last)).mapv(f64::from).to_vec();
                    let state = states.row(t).to_vec();
                    let (next, jacobian) = (&mut self.next, &mut self.jacobian);
                    self.network
                        .step_with_jacobian(&state, &input, next, jacobian);
                    for (lanes, x) in jacobians.iter_mut().zip(jacobian) {
                        lanes[k] = *x;
                    }
                }
                return;
            }
        };
        for (k, t) in times.enumerate() {
            for (lanes, x) in self.states.iter_mut().zip(states.row(t)) {
                lanes[k] = *x;
            }
        }
        let layout = self.network.architecture().layout();
        let of = |range: &Range<usize>| &self.network.parameters()[range.clone()];
        let shallow = Shallow {
            a: of(&layout.unit),
            hidden: of(&layout.hidden),
            thresholds: of(&layout.hidden_unit),
            recurrent_transposed: &self.recurrent_transposed,
            clipped,
        };
        shallow_jacobians(&shallow, &self.states, &mut self.sloped, jacobians);
    }

    /// max |A_ii| + ||W|| s, s being a bound on the norm of what stands before W: ||W2|| of a hidden layer, whose slopes
    /// are at most 1 in size, sum |alpha_b| of basis functions, 1 of functions of the units themselves.
    fn bound(&self) -> f64 {
        let a = self.network.architecture();
        let layout = a.layout();
        let of = |range: &Range<usize>| &self.network.parameters()[range.clone()];
        let diagonal = of(&layout.unit)
            .iter()
            .fold(0.0f64, |largest, a| largest.max(a.abs()));
        // ||W1|| is that of its transpose, whose Gram matrix is the smaller one.
        let recurrent = spectral_norm(&self.recurrent_transposed, a.units);
        let functions = match a.cell.shape().layer {
            Layer::Hidden => spectral_norm(of(&layout.hidden), a.units),
            // sum |alpha_b|
            Layer::Bases => a.tensor("alphas").map_or(f64::NAN, |tensor| {
                of(&tensor.range).iter().map(|x| x.abs()).sum()
            }),
            // Taking off the mean is a projection.
            Layer::Absent | Layer::Units | Layer::CentredUnits => 1.0,
        };
        diagonal + recurrent * functions
    }
}

/// A shallow PLRNN.
struct Shallow<'a> {
    /// [unit]
    a: &'a [f64],
    /// W2 [hidden, unit].
    hidden: &'a [f64],
    /// h2 [hidden].
    thresholds: &'a [f64],
    /// W1' [hidden, unit].
    recurrent_transposed: &'a [f64],
    clipped: bool,
}

vectorised! {
    /// J = diag(a) + W1 diag(slopes) W2, [to, from], at states [unit] side by side: the same as the network's own, many
    /// times as fast, because few slopes of the clipped cell differ from zero, the same ones in states that follow each
    /// other. Those go to `sloped`.
    fn shallow_jacobians(
        network: &Shallow<'_>,
        states: &[Lanes],
        sloped: &mut Vec<(usize, Lanes)>,
        jacobians: &mut [Lanes],
    ) {
        let units = network.a.len();
        let above = |x: f64| if x > 0.0 { 1.0 } else { 0.0 };
        sloped.clear();
        let hidden = network.hidden.chunks_exact(units).zip(network.thresholds);
        for (l, (from, h)) in hidden.enumerate() {
            let mut g = [0.0; TOGETHER];
            for (w, z) in from.iter().zip(states) {
                add_products(&mut g, &[*w; TOGETHER], z);
            }
            let slopes: Lanes = std::array::from_fn(|k| {
                above(g[k] + h) - if network.clipped { above(g[k]) } else { 0.0 }
            });
            if slopes != [0.0; TOGETHER] {
                sloped.push((l, slopes));
            }
        }
        for (i, row) in jacobians.chunks_exact_mut(units).enumerate() {
            for (j, out) in row.iter_mut().enumerate() {
                let mut sum = [if i == j { network.a[i] } else { 0.0 }; TOGETHER];
                for (l, slopes) in sloped.iter() {
                    let (to, from) = (l * units + i, l * units + j);
                    let weight = network.recurrent_transposed[to] * network.hidden[from];
                    add_products(&mut sum, slopes, &[weight; TOGETHER]);
                }
                *out = sum;
            }
        }
    }
}

/// What is kept of the Jacobians of one sequence.
struct Sequence {
    estimator: Estimator,
    dim: usize,
    steps: usize,
    /// Sum of the logarithms of the norms, or their largest.
    norms: f64,
    /// Sum of the Jacobians.
    sum: Vec<f64>,
    /// Sum of their logarithms.
    logarithms: DMatrix<Complex<f64>>,
}

impl Sequence {
    fn new(estimator: Estimator, dim: usize) -> Self {
        Sequence {
            estimator,
            dim,
            steps: 0,
            norms: match estimator {
                Estimator::BatchMaximum => f64::NEG_INFINITY,
                _ => 0.0,
            },
            sum: vec![0.0; dim * dim],
            logarithms: DMatrix::zeros(dim, dim),
        }
    }

    /// Adds the first `count` of Jacobians that stand side by side.
    fn add(&mut self, jacobians: &[Lanes], count: usize) {
        self.steps += count;
        match self.estimator {
            Estimator::ProductUpperBound => {
                let norms = spectral_norms(jacobians, self.dim);
                self.norms += norms[..count].iter().map(|norm| norm.ln()).sum::<f64>();
            }
            Estimator::BatchMaximum => {
                let norms = spectral_norms(jacobians, self.dim);
                self.norms = norms[..count].iter().copied().fold(self.norms, f64::max);
            }
            Estimator::ArithmeticMean => {
                for (sum, j) in self.sum.iter_mut().zip(jacobians) {
                    *sum += j[..count].iter().sum::<f64>();
                }
            }
            Estimator::ExpLog => {
                for k in 0..count {
                    let entries = jacobians.iter().map(|j| Complex::new(j[k], 0.0));
                    let matrix = DMatrix::from_row_iterator(self.dim, self.dim, entries);
                    self.logarithms += logarithm(&matrix);
                }
            }
            // Needs no Jacobians.
            Estimator::JacobianUpperBound => {}
        }
    }

    fn estimate(self) -> f64 {
        let steps = self.steps as f64;
        match self.estimator {
            Estimator::ProductUpperBound => (self.norms / steps).exp(),
            Estimator::BatchMaximum | Estimator::JacobianUpperBound => self.norms,
            Estimator::ArithmeticMean => {
                let mean: Vec<f64> = self.sum.iter().map(|x| x / steps).collect();
                spectral_norm(&mean, self.dim)
            }
            Estimator::ExpLog => complex_norm(&(self.logarithms / Complex::new(steps, 0.0)).exp()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nullcline_data::random::{Random, Stream};

    fn architecture(
        cell: CellKind,
        units: usize,
        outputs: usize,
        readout: Readout,
    ) -> Architecture {
        Architecture {
            cell,
            inputs: 1,
            units,
            hidden: if cell.takes_hidden() { 11 } else { 0 },
            outputs,
            bias: true,
            readout,
            train_leak: false,
        }
    }

    fn parameters(architecture: &Architecture, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, Stream::WEIGHTS, 0);
        (0..architecture.parameter_count())
            .map(|_| 0.8 * random.standard_normal() as f32)
            .collect()
    }

    fn trials(batch: usize, steps: usize, outputs: usize, seed: u64) -> Trials {
        let mut random = Random::new(seed, Stream::TRIALS, 0);
        let mut numbers = |dim: usize| {
            ndarray::Array3::from_shape_simple_fn((batch, steps, dim), || {
                random.standard_normal() as f32
            })
        };
        Trials {
            inputs: numbers(1),
            targets: numbers(outputs),
            mask: None,
            initial: Some(ndarray::Array2::zeros((batch, outputs))),
        }
    }

    /// Every estimate as its definition says, by the network's own Jacobians and nalgebra's decompositions.
    fn by_definition(
        estimator: Estimator,
        architecture: &Architecture,
        parameters: &[f32],
        trials: &Trials,
    ) -> f64 {
        let network = Network::new(architecture.clone(), parameters);
        let norm = |m: &DMatrix<f64>| m.singular_values().max();
        let units = architecture.units;
        let per_sequence = (0..trials.batch()).map(|b| {
            let jacobians: Vec<DMatrix<f64>> = (0..trials.steps())
                .map(|t| {
                    let x: Vec<f64> = trials.targets.slice(s![b, t, ..]).mapv(f64::from).to_vec();
                    let mut state = network.state_from_observation(&x);
                    if architecture.readout == Readout::Identity {
                        state[architecture.outputs..].fill(0.0);
                    }
                    let at = (t + 1).min(trials.steps() - 1);
                    let input = trials.inputs.slice(s![b, at, ..]).mapv(f64::from).to_vec();
                    let (mut next, mut j) = (vec![0.0; units], vec![0.0; units * units]);
                    network.step_with_jacobian(&state, &input, &mut next, &mut j);
                    DMatrix::from_row_slice(units, units, &j)
                })
                .collect();
            let count = jacobians.len() as f64;
            match estimator {
                Estimator::ProductUpperBound => jacobians
                    .iter()
                    .map(norm)
                    .product::<f64>()
                    .powf(1.0 / count),
                Estimator::ArithmeticMean => {
                    norm(&(jacobians.iter().sum::<DMatrix<f64>>() / count))
                }
                _ => jacobians.iter().map(norm).fold(0.0, f64::max),
            }
        });
        per_sequence.fold(0.0, f64::max)
    }

    #[test]
    fn estimates_are_their_definitions() {
        let cells = [
            CellKind::ShallowPlrnn,
            CellKind::ClippedShallowPlrnn,
            CellKind::VanillaTanh,
        ];
        for cell in cells {
            for (units, outputs, readout) in [
                (3, 5, Readout::LinearWithoutBias),
                (4, 2, Readout::Identity),
                (4, 4, Readout::Linear),
            ] {
                let architecture = architecture(cell, units, outputs, readout);
                let parameters = parameters(&architecture, units as u64);
                // Whole groups of states, and a part of one.
                let trials = trials(3, 19, outputs, 5);
                for estimator in [
                    Estimator::ProductUpperBound,
                    Estimator::ArithmeticMean,
                    Estimator::BatchMaximum,
                ] {
                    let found = kappa(estimator, &architecture, &parameters, &trials);
                    let defined = by_definition(estimator, &architecture, &parameters, &trials);
                    assert!(
                        (found / defined - 1.0).abs() < 1e-4,
                        "{cell:?} {readout:?} {estimator:?}: {found}, by definition {defined}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_data_free_bound_holds_for_every_jacobian() {
        let plrnns = CellKind::ALL.iter().filter(|cell| cell.is_plrnn());
        for &cell in plrnns {
            let architecture = architecture(cell, 3, 3, Readout::Identity);
            let parameters = parameters(&architecture, 9);
            let trials = trials(4, 30, 3, 2);
            let largest = kappa(Estimator::BatchMaximum, &architecture, &parameters, &trials);
            let bound = kappa(
                Estimator::JacobianUpperBound,
                &architecture,
                &parameters,
                &trials,
            );
            assert!(largest <= bound && bound < 40.0 * largest, "{cell:?}");
        }
    }

    /// A network that is linear has the same Jacobian A everywhere, and every estimate but the bound is ||A||.
    #[test]
    fn all_estimates_of_a_linear_map_are_its_norm() {
        let architecture = architecture(CellKind::ShallowPlrnn, 3, 3, Readout::Identity);
        let mut parameters = vec![0.0f32; architecture.parameter_count()];
        parameters[architecture.layout().unit].copy_from_slice(&[0.5, 1.25, -0.75]);
        let trials = trials(2, 5, 3, 1);
        for name in &Estimator::NAMES[1..] {
            let estimator = Estimator::from_name(name).unwrap();
            let found = kappa(estimator, &architecture, &parameters, &trials);
            assert!((found - 1.25).abs() < 1e-6, "{name}: {found}");
        }
        assert_eq!(Estimator::from_name("constant"), None);
    }

    #[test]
    fn alpha_falls_geometrically() {
        let strength = Strength::Geometric {
            start: 0.4,
            end: 0.1,
            updates: 100,
        };
        assert_eq!(strength.of_update(0), Some(0.4));
        assert!((strength.of_update(50).unwrap() - 0.2).abs() < 1e-7);
        assert!((strength.of_update(100).unwrap() - 0.1).abs() < 1e-7);
        assert_eq!(Strength::Constant.of_update(3), None);
    }

    #[test]
    fn alpha_jumps_up_and_decays() {
        let adaptation = Adaptation {
            estimator: Estimator::ArithmeticMean,
            decay: 0.9,
            every: 5,
        };
        assert_eq!(adaptation.next(0.1, 2.0), 0.5);
        // 0.9 x 0.5 + 0.1 x 0.2
        assert!((adaptation.next(0.5, 1.25) - 0.47).abs() < 1e-7);
        // A contracting network needs no forcing: the estimate is 0, not below it.
        assert!((adaptation.next(0.5, 0.5) - 0.45).abs() < 1e-7);
        assert_eq!(adaptation.next(0.5, f64::NAN), 0.5);
        assert_eq!(adaptation.next(0.5, f64::INFINITY), 1.0);
        assert!(adaptation.acts_before(0) && adaptation.acts_before(5));
        assert!(!adaptation.acts_before(4));
    }
}
