//! One network in f64, for analysis: steps, exact Jacobians, readout.
//!
//! Training is f32 and lives in [`crate::engine`]; this is the same cell evaluated in f64, and in intervals where
//! something is to be proved. Local derivatives come from the cell's own bodies, so that a new cell needs nothing
//! here: in f64 from its vector-Jacobian product, which takes what the step has computed already; in intervals from
//! dual numbers through the step itself, so that a proof rests on nothing but the step.

mod directional;
mod enclosure;
mod lesion;

pub use lesion::Lesion;

use crate::architecture::{Architecture, CellKind, Layout, Readout, with_cell};
use crate::cells::{Cell, Layer, MAX_SLOTS};
use crate::interval::{self, Interval};
use crate::linear::{add_product_by_columns, add_product_by_rows, pseudo_inverse, transposed};
use crate::scalar::{Dual, Scalar};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, ArrayViewMut1, Axis, s};
use smallvec::SmallVec;

/// A network with its parameters in f64.
#[derive(Clone, Debug)]
pub struct Network {
    architecture: Architecture,
    layout: Layout,
    parameters: Vec<f64>,
    /// W, Wh and U transposed, [from, to]: products by columns run over contiguous memory without
    /// reordering a sum, which the compiler may not do for us.
    recurrent_columns: Vec<f64>,
    hidden_columns: Vec<f64>,
    /// With the factors of a lesion.
    input_columns: Vec<f64>,
    /// The rate that a unit is held at, [unit]; empty without a lesion.
    held: Vec<Option<f64>>,
    /// What the external input of a unit is multiplied by, [unit]; empty without a lesion. The columns of U have it in
    /// them.
    input_factors: Vec<f64>,
}

/// What one step computes on the way, kept for the Jacobian.
struct Step<T> {
    /// Derivative of the rate of each unit by its state variables, [variable, unit].
    rate_slopes: Vec<T>,
    /// Derivative of what W multiplies by its argument, for each hidden unit or, where there are none, each unit.
    hidden_slopes: Vec<T>,
    /// Derivative of the new state by the old of the same unit, [to variable, from variable, unit].
    by_state: Vec<T>,
    /// Derivative of the new state by the recurrent gates, [variable, gate, unit].
    by_recurrent: Vec<T>,
    /// Derivative of the new state by the input gates, [variable, gate, unit].
    by_input: Vec<T>,
}

/// One number per slot of a unit.
type Slots<T> = [T; MAX_SLOTS];

/// What `update` took and gave for one unit; only the cell's first slots of each mean something.
struct Unit<T> {
    s: Slots<T>,
    zr: Slots<T>,
    zx: Slots<T>,
    p: Slots<T>,
    h: Slots<T>,
    tape: Slots<T>,
}

/// The derivatives of one unit: of its rate and of its new state variables, by what they depend on.
struct Slopes<T> {
    /// By state variable.
    rate: Slots<T>,
    /// Of each state variable by each of the old.
    by_state: [Slots<T>; MAX_SLOTS],
    /// Of each state variable by each recurrent gate.
    by_recurrent: [Slots<T>; MAX_SLOTS],
    /// Of each state variable by each input gate.
    by_input: [Slots<T>; MAX_SLOTS],
}

impl<T: Scalar> Slopes<T> {
    fn zero() -> Self {
        let zero = [T::constant(0.0); MAX_SLOTS];
        Slopes {
            rate: zero,
            by_state: [zero; MAX_SLOTS],
            by_recurrent: [zero; MAX_SLOTS],
            by_input: [zero; MAX_SLOTS],
        }
    }
}

/// The derivative of a unit's rate by each of its state variables `s`, with parameters `p`.
#[inline(always)]
fn rate_slopes<C: Cell>(s: &[f64], p: &[f64]) -> Slots<f64> {
    let (mut r, mut ds, mut dp) = ([0.0], [0.0; MAX_SLOTS], [0.0; MAX_SLOTS]);
    C::rate(s, p, &mut r);
    C::rate_vjp(s, &r, p, &[1.0], &mut ds[..s.len()], &mut dp[..p.len()]);
    ds
}

/// q = hidden(g, c).
fn hidden_value<C: Cell, T: Scalar>(g: T, c: &[T]) -> T {
    let mut q = [T::constant(0.0)];
    C::hidden(&[g], c, &mut q);
    q[0]
}

/// A column of no more than this fills no vector registers, and what it is added to waits for the column before it.
const FEW_ROWS: usize = 16;

/// What a step computes on its way lies on the stack where it is no more than this: an allocation takes as long as the
/// arithmetic of a small network.
const ON_STACK: usize = 1024;

/// A number type in which a whole network can be stepped: the weights are f64, the state is not.
trait Number: Scalar {
    /// y += M x with M given by columns.
    fn add_product(columns: &[f64], x: &[Self], y: &mut [Self]);
    /// The same with M given by rows too, which may suit the number better.
    fn add_product_of(_rows: &[f64], columns: &[f64], x: &[Self], y: &mut [Self]) {
        Self::add_product(columns, x, y);
    }
    /// dq / dg of a hidden unit with parameters `c`.
    fn hidden_slope<C: Cell>(g: Self, q: Self, c: &[Self]) -> Self;
    /// The derivatives of a unit that has been updated.
    fn slopes<C: Cell>(unit: &Unit<Self>) -> Slopes<Self>;
}

impl Number for f64 {
    fn add_product(columns: &[f64], x: &[f64], y: &mut [f64]) {
        add_product_by_columns(columns, x, y);
    }

    fn add_product_of(rows: &[f64], columns: &[f64], x: &[f64], y: &mut [f64]) {
        if y.len() <= FEW_ROWS && y.len() < x.len() {
            add_product_by_rows(rows, x, y);
        } else {
            add_product_by_columns(columns, x, y);
        }
    }

    #[inline(always)]
    fn hidden_slope<C: Cell>(g: f64, q: f64, c: &[f64]) -> f64 {
        let (mut dg, mut dc) = ([0.0], [0.0; MAX_SLOTS]);
        C::hidden_vjp(
            &[g],
            &[q],
            c,
            &[1.0],
            &mut dg,
            &mut dc[..C::HIDDEN_PARAMETERS.len()],
        );
        dg[0]
    }

    #[inline(always)]
    fn slopes<C: Cell>(unit: &Unit<f64>) -> Slopes<f64> {
        let (states, gates) = (C::STATES, C::GATES);
        let mut slopes = Slopes::zero();
        let s = &unit.s[..states];
        let p = &unit.p[..C::UNIT_PARAMETERS.len()];
        let mut dp = [0.0; MAX_SLOTS];
        let dp = &mut dp[..C::UNIT_PARAMETERS.len()];
        slopes.rate = rate_slopes::<C>(s, p);
        for k in 0..states {
            let mut dh = [0.0; MAX_SLOTS];
            dh[k] = 1.0;
            C::update_vjp(
                s,
                &unit.h[..states],
                &unit.tape[..C::TAPE],
                p,
                &dh[..states],
                &mut slopes.by_state[k][..states],
                &mut slopes.by_recurrent[k][..gates],
                &mut slopes.by_input[k][..gates],
                dp,
            );
        }
        slopes
    }
}

impl Number for Interval {
    fn add_product(columns: &[f64], x: &[Interval], y: &mut [Interval]) {
        interval::add_product(columns, x, y);
    }

    fn hidden_slope<C: Cell>(g: Interval, _q: Interval, c: &[Interval]) -> Interval {
        let mut duals = [Dual::fixed(Interval::point(0.0)); MAX_SLOTS];
        for (dual, c) in duals.iter_mut().zip(c) {
            *dual = Dual::fixed(*c);
        }
        let mut q = [Dual::fixed(Interval::point(0.0))];
        C::hidden(&[Dual::varying(g)], &duals[..c.len()], &mut q);
        q[0].derivative
    }

    fn slopes<C: Cell>(unit: &Unit<Interval>) -> Slopes<Interval> {
        let (states, gates) = (C::STATES, C::GATES);
        let mut slopes = Slopes::zero();
        let p = unit.p.map(Dual::fixed);
        let p = &p[..C::UNIT_PARAMETERS.len()];
        let [s, zr, zx] = [unit.s, unit.zr, unit.zx].map(|x| x.map(Dual::fixed));
        let along = |x: &Slots<Dual<Interval>>, k: usize| {
            let mut x = *x;
            x[k] = Dual::varying(x[k].value);
            x
        };
        let update = |s: &Slots<_>, zr: &Slots<_>, zx: &Slots<_>| {
            let mut h = [Dual::fixed(Interval::point(0.0)); MAX_SLOTS];
            let mut tape = h;
            C::update(
                &s[..states],
                &zr[..gates],
                &zx[..gates],
                p,
                &mut h[..states],
                &mut tape[..C::TAPE],
            );
            h.map(|h| h.derivative)
        };
        for m in 0..states {
            let s = along(&s, m);
            let mut r = [Dual::fixed(Interval::point(0.0))];
            C::rate(&s[..states], p, &mut r);
            slopes.rate[m] = r[0].derivative;
            let h = update(&s, &zr, &zx);
            for k in 0..states {
                slopes.by_state[k][m] = h[k];
            }
        }
        // Proofs hold the input constant: of its slopes nothing is claimed.
        slopes.by_input = [[Interval::WHOLE; MAX_SLOTS]; MAX_SLOTS];
        for g in 0..gates {
            let by_recurrent = update(&s, &along(&zr, g), &zx);
            for k in 0..states {
                slopes.by_recurrent[k][g] = by_recurrent[k];
            }
        }
        slopes
    }
}

impl Network {
    /// A network from its architecture and the flat parameter vector of one network of an ensemble.
    ///
    /// # Panics
    /// If `parameters` has not the architecture's length.
    pub fn new(architecture: Architecture, parameters: &[f32]) -> Self {
        Self::from_f64(
            architecture,
            parameters.iter().map(|&p| f64::from(p)).collect(),
        )
    }

    /// The same from parameters in f64.
    ///
    /// # Panics
    /// If `parameters` has not the architecture's length.
    pub fn from_f64(architecture: Architecture, parameters: Vec<f64>) -> Self {
        let layout = architecture.layout();
        assert_eq!(
            parameters.len(),
            layout.total,
            "length of the parameter vector"
        );
        let of = |range: &std::ops::Range<usize>| &parameters[range.clone()];
        Network {
            recurrent_columns: transposed(of(&layout.recurrent), architecture.recurrent_columns()),
            hidden_columns: transposed(of(&layout.hidden), architecture.units),
            input_columns: transposed(of(&layout.input), architecture.inputs),
            held: Vec::new(),
            input_factors: Vec::new(),
            architecture,
            layout,
            parameters,
        }
    }

    /// Cell, sizes and readout.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The flat parameter vector.
    pub fn parameters(&self) -> &[f64] {
        &self.parameters
    }

    /// Dimensions of the state.
    pub fn state_dim(&self) -> usize {
        self.architecture.state_dim()
    }

    /// next = F(state, input).
    pub fn step(&self, state: &[f64], input: &[f64], next: &mut [f64]) {
        with_cell!(self.architecture.cell, C => self.step_of::<C, f64>(state, input, next, None));
    }

    /// next = F(state, input) and jacobian = dF/dstate, row-major [to, from].
    pub fn step_with_jacobian(
        &self,
        state: &[f64],
        input: &[f64],
        next: &mut [f64],
        jacobian: &mut [f64],
    ) {
        let step = self.step_with_slopes(state, input, next);
        let shape = self.architecture.cell.shape();
        let (units, dim) = (self.architecture.units, self.state_dim());
        let through_hidden;
        let recurrent = if shape.layer == Layer::Absent {
            &self.parameters[self.layout.recurrent.clone()]
        } else {
            through_hidden = self.recurrent_through_layer(&step.hidden_slopes);
            &through_hidden[..]
        };
        // d h_k(i) / d s_m(j) = sum_g (d h_k / d zr_g)(i) M[g i, j] (d r / d s_m)(j)  +  [i = j] d h_k / d s_m
        jacobian.fill(0.0);
        for k in 0..shape.states {
            for i in 0..units {
                let row = &mut jacobian[(k * units + i) * dim..][..dim];
                for g in 0..shape.gates {
                    let slope = step.by_recurrent[(k * shape.gates + g) * units + i];
                    if slope == 0.0 {
                        continue;
                    }
                    let weights = &recurrent[(g * units + i) * units..][..units];
                    for m in 0..shape.states {
                        let rate_slopes = &step.rate_slopes[m * units..][..units];
                        let block = &mut row[m * units..][..units];
                        for ((out, w), rate_slope) in block.iter_mut().zip(weights).zip(rate_slopes)
                        {
                            *out += slope * w * rate_slope;
                        }
                    }
                }
                for m in 0..shape.states {
                    row[m * units + i] += step.by_state[(k * shape.states + m) * units + i];
                }
            }
        }
    }

    /// dF/dinput, row-major [state, input].
    pub fn input_jacobian(&self, state: &[f64], input: &[f64], jacobian: &mut [f64]) {
        let mut next = vec![0.0; self.state_dim()];
        let step = self.step_with_slopes(state, input, &mut next);
        let shape = self.architecture.cell.shape();
        let (units, inputs) = (self.architecture.units, self.architecture.inputs);
        jacobian.fill(0.0);
        for k in 0..shape.states {
            for i in 0..units {
                let row = &mut jacobian[(k * units + i) * inputs..][..inputs];
                for g in 0..shape.gates {
                    let slope = step.by_input[(k * shape.gates + g) * units + i];
                    let columns = self.input_columns.chunks_exact(shape.gates * units);
                    for (out, column) in row.iter_mut().zip(columns) {
                        *out += slope * column[g * units + i];
                    }
                }
            }
        }
    }

    /// The linear region of a piecewise-linear map that a state lies in: which of its rectified units are active, one
    /// after the other; of a clipped PLRNN first those with a threshold, then those without; of a dendritic one every
    /// basis function of every unit. `None` for cells that are not piecewise linear.
    pub fn linear_region(&self, state: &[f64], input: &[f64]) -> Option<Vec<bool>> {
        let a = &self.architecture;
        let of = |range: &std::ops::Range<usize>| &self.parameters[range.clone()];
        let active = |x: f64| x > 0.0;
        // Rows of M x, M given by columns.
        let product = |columns: &[f64], x: &[f64], mut y: Vec<f64>| {
            f64::add_product(columns, x, &mut y);
            y
        };
        match a.cell {
            // The recurrent and the input part, as `step` sums them.
            CellKind::VanillaRelu | CellKind::LeakyRateRelu => {
                let rates = self.rates(state);
                let recurrent = product(&self.recurrent_columns, &rates, vec![0.0; a.units]);
                let bias = of(&self.layout.bias);
                let bias = if a.bias {
                    bias.to_vec()
                } else {
                    vec![0.0; a.units]
                };
                let driven = product(&self.input_columns, input, bias);
                let sums = recurrent.iter().zip(&driven);
                Some(sums.map(|(r, x)| active(r + x)).collect())
            }
            CellKind::LeakyCurrentRelu => {
                // A held unit is seen alike on both sides of its kink.
                let units = state.iter().enumerate();
                Some(
                    units
                        .map(|(i, &h)| active(h) && self.held_rate(i).is_none())
                        .collect(),
                )
            }
            CellKind::ShallowPlrnn | CellKind::ClippedShallowPlrnn => {
                let rates = self.rates(state);
                let arguments = product(&self.hidden_columns, &rates, vec![0.0; a.hidden]);
                let thresholds = of(&self.layout.hidden_unit);
                let mut region: Vec<bool> = arguments
                    .iter()
                    .zip(thresholds)
                    .map(|(g, h)| active(g + h))
                    .collect();
                if a.cell == CellKind::ClippedShallowPlrnn {
                    region.extend(arguments.iter().map(|&g| active(g)));
                }
                Some(region)
            }
            CellKind::Plrnn | CellKind::MeanCentredPlrnn => {
                let mut arguments = vec![0.0; a.units];
                self.layer_arguments(&self.rates(state), &mut arguments);
                Some(arguments.into_iter().map(active).collect())
            }
            CellKind::AlmostLinearRnn => {
                let slopes = of(&self.layout.hidden_unit);
                let rates = self.rates(state);
                // A linear unit has no kink.
                let rectified = rates.iter().zip(slopes).filter(|&(_, &slope)| slope != 1.0);
                Some(rectified.map(|(&z, _)| active(z)).collect())
            }
            CellKind::DendriticPlrnn | CellKind::ClippedDendriticPlrnn => {
                let rates = self.rates(state);
                let thresholds = of(&self.layout.hidden_unit).chunks_exact(a.bases());
                let mut region: Vec<bool> = rates
                    .iter()
                    .zip(thresholds)
                    .flat_map(|(z, thresholds)| thresholds.iter().map(move |h| active(z - h)))
                    .collect();
                if a.cell == CellKind::ClippedDendriticPlrnn {
                    region.extend(rates.iter().map(|&z| active(z)));
                }
                Some(region)
            }
            _ => None,
        }
    }

    /// The rates of a state: what the readout and the other units see, one per unit.
    pub fn rates(&self, state: &[f64]) -> Vec<f64> {
        with_cell!(self.architecture.cell, C => {
            (0..self.architecture.units).map(|i| self.rate_of::<C, f64>(state, i)).collect()
        })
    }

    /// y, the output at a state.
    pub fn readout(&self, state: &[f64]) -> Vec<f64> {
        let mut rates = self.rates(state);
        let outputs = self.architecture.outputs;
        if self.architecture.readout == Readout::Identity {
            rates.truncate(outputs);
            return rates;
        }
        let weights = &self.parameters[self.layout.readout.clone()];
        let bias = &self.parameters[self.layout.readout_bias.clone()];
        (0..outputs)
            .map(|o| {
                let row = &weights[o * rates.len()..][..rates.len()];
                let product: f64 = row.iter().zip(&rates).map(|(w, r)| w * r).sum();
                product + bias.get(o).copied().unwrap_or(0.0)
            })
            .collect()
    }

    /// dy/dstate, the derivative of the output at a state, row-major [output, state].
    pub fn readout_jacobian(&self, state: &[f64], jacobian: &mut [f64]) {
        with_cell!(self.architecture.cell, C => self.readout_jacobian_of::<C>(state, jacobian));
    }

    fn readout_jacobian_of<C: Cell>(&self, state: &[f64], jacobian: &mut [f64]) {
        let (units, dim) = (self.architecture.units, self.state_dim());
        let identity = self.architecture.readout == Readout::Identity;
        let weights = &self.parameters[self.layout.readout.clone()];
        jacobian.fill(0.0);
        // d y_o / d s_m(i) = R[o, i] (d r / d s_m)(i), with R the first rows of the identity where there is none
        for i in (0..units).filter(|&i| self.held_rate(i).is_none()) {
            let p = self.unit_parameters::<C, f64>(i);
            let slopes = rate_slopes::<C>(
                &self.state_of_unit::<C, f64>(state, i)[..C::STATES],
                &p[..C::UNIT_PARAMETERS.len()],
            );
            for (o, row) in jacobian.chunks_exact_mut(dim).enumerate() {
                let weight = match identity {
                    true => f64::from(u8::from(o == i)),
                    false => weights[o * units + i],
                };
                for (m, slope) in slopes[..C::STATES].iter().enumerate() {
                    row[m * units + i] = weight * slope;
                }
            }
        }
    }

    /// The state that an observation implies, as forced training takes it (reference: Hess et al. 2023):
    /// pinv(R) (x - d) for a linear readout; the observation itself, then the learned map of it, for the
    /// identity. State variables beyond the first are zero.
    pub fn state_from_observation(&self, observation: &[f64]) -> Vec<f64> {
        let mut state = Array1::zeros(self.state_dim());
        let observation = ArrayView1::from(observation);
        self.imply_state(&self.inverse_readout(), observation, state.view_mut());
        state.to_vec()
    }

    /// The states [time, state] that observations [time, output] imply: row by row
    /// [`state_from_observation`](Self::state_from_observation), with the readout inverted once.
    ///
    /// # Panics
    /// If the observations have not as many columns as there are outputs.
    pub fn states_from_observations(&self, observations: ArrayView2<f64>) -> Array2<f64> {
        let inverse = self.inverse_readout();
        let mut states = Array2::zeros((observations.nrows(), self.state_dim()));
        for (observation, state) in observations.rows().into_iter().zip(states.rows_mut()) {
            self.imply_state(&inverse, observation, state);
        }
        states
    }

    /// pinv(R), row-major [unit, output]; empty for the identity, which needs none.
    fn inverse_readout(&self) -> Vec<f64> {
        match self.architecture.readout {
            Readout::Identity => Vec::new(),
            Readout::Linear | Readout::LinearWithoutBias => pseudo_inverse(
                &self.parameters[self.layout.readout.clone()],
                self.architecture.outputs,
                self.architecture.units,
            ),
        }
    }

    /// Writes the state that an observation implies over zeros.
    fn imply_state(
        &self,
        inverse: &[f64],
        observation: ArrayView1<f64>,
        state: ArrayViewMut1<f64>,
    ) {
        let (units, outputs) = (self.architecture.units, self.architecture.outputs);
        if self.architecture.readout == Readout::Identity {
            let observed = outputs.min(units);
            let (mut first, rest) = state.split_at(Axis(0), observed);
            first.assign(&observation.slice(s![..observed]));
            let map = &self.parameters[self.layout.initial.clone()];
            for (state, row) in rest.into_iter().zip(map.chunks_exact(outputs)) {
                *state = row.iter().zip(observation).map(|(l, x)| l * x).sum();
            }
            return;
        }
        let bias = &self.parameters[self.layout.readout_bias.clone()];
        for (state, row) in state.into_iter().zip(inverse.chunks_exact(outputs)) {
            *state = row
                .iter()
                .zip(observation)
                .enumerate()
                .map(|(o, (p, x))| p * (x - bias.get(o).copied().unwrap_or(0.0)))
                .sum();
        }
    }

    /// States [time + 1, state] from an initial state under inputs [time, input]; row 0 is the initial state.
    pub fn run(&self, initial: &[f64], inputs: ArrayView2<f64>) -> Array2<f64> {
        let dim = self.state_dim();
        let mut states = Array2::zeros((inputs.nrows() + 1, dim));
        let mut state = initial.to_vec();
        let mut next = vec![0.0; dim];
        for (i, x) in state.iter().enumerate() {
            states[[0, i]] = *x;
        }
        for (t, input) in inputs.rows().into_iter().enumerate() {
            self.step(&state, &input.to_vec(), &mut next);
            std::mem::swap(&mut state, &mut next);
            for (i, x) in state.iter().enumerate() {
                states[[t + 1, i]] = *x;
            }
        }
        states
    }

    /// Outputs [time, output] of states [time, state].
    pub fn readouts(&self, states: ArrayView2<f64>) -> Array2<f64> {
        let mut outputs = Array2::zeros((states.nrows(), self.architecture.outputs));
        for (state, mut row) in states.rows().into_iter().zip(outputs.rows_mut()) {
            for (out, y) in row.iter_mut().zip(self.readout(&state.to_vec())) {
                *out = y;
            }
        }
        outputs
    }

    fn unit_parameters<C: Cell, T: Scalar>(&self, i: usize) -> Slots<T> {
        let mut p = [T::constant(0.0); MAX_SLOTS];
        for (k, value) in p.iter_mut().take(C::UNIT_PARAMETERS.len()).enumerate() {
            let at = self.layout.unit.start + k * self.architecture.units + i;
            *value = T::constant(self.parameters[at]);
        }
        p
    }

    /// The parameters of function `l` of the layer before W.
    fn hidden_parameters<C: Cell, T: Scalar>(&self, l: usize) -> Slots<T> {
        let mut c = [T::constant(0.0); MAX_SLOTS];
        for (k, value) in c.iter_mut().take(C::HIDDEN_PARAMETERS.len()).enumerate() {
            let at = self.layout.hidden_unit.start + self.architecture.layer_parameter(k, l);
            *value = T::constant(self.parameters[at]);
        }
        c
    }

    /// Writes the arguments g of the layer before W, [column of W], over zeros: Wh r, r, or r - mean(r).
    fn layer_arguments<T: Number>(&self, rates: &[T], g: &mut [T]) {
        match self.architecture.cell.shape().layer {
            Layer::Hidden => {
                T::add_product(&self.hidden_columns, rates, g);
            }
            Layer::CentredUnits => {
                let sum = rates.iter().fold(T::constant(0.0), |sum, &rate| sum + rate);
                let mean = sum / T::constant(rates.len() as f64);
                for (g, &rate) in g.iter_mut().zip(rates) {
                    *g = rate - mean;
                }
            }
            Layer::Absent | Layer::Units | Layer::Bases => g.copy_from_slice(rates),
        }
    }

    /// Writes q, what W multiplies, [column of W], over zeros: the sum of the layer's functions of each argument, by
    /// `function`, which is given an argument and parameters; and with `slopes` the derivative of each q by its argument.
    fn presynaptic<C: Cell, T: Number>(
        &self,
        rates: &[T],
        q: &mut [T],
        mut slopes: Option<&mut [T]>,
        function: impl Fn(T, &[T]) -> T,
    ) {
        self.layer_arguments(rates, q);
        if !C::HAS_LAYER {
            return;
        }
        let bases = self.architecture.bases();
        for (i, value) in q.iter_mut().enumerate() {
            let g = *value;
            for b in 0..bases {
                let c = self.hidden_parameters::<C, T>(i * bases + b);
                let c = &c[..C::HIDDEN_PARAMETERS.len()];
                let term = function(g, c);
                // Not added to zero: that would widen an interval.
                let sum = |sum: T, term: T| if b == 0 { term } else { sum + term };
                *value = sum(*value, term);
                if let Some(slopes) = slopes.as_deref_mut() {
                    slopes[i] = sum(slopes[i], T::hidden_slope::<C>(g, term, c));
                }
            }
        }
    }

    fn state_of_unit<C: Cell, T: Scalar>(&self, state: &[T], i: usize) -> Slots<T> {
        let mut s = [T::constant(0.0); MAX_SLOTS];
        for (k, value) in s.iter_mut().take(C::STATES).enumerate() {
            *value = state[k * self.architecture.units + i];
        }
        s
    }

    /// The rate that a lesion holds unit `i` at.
    fn held_rate(&self, i: usize) -> Option<f64> {
        self.held.get(i).copied().flatten()
    }

    fn rate_of<C: Cell, T: Scalar>(&self, state: &[T], i: usize) -> T {
        if let Some(rate) = self.held_rate(i) {
            return T::constant(rate);
        }
        let mut r = [T::constant(0.0)];
        C::rate(
            &self.state_of_unit::<C, T>(state, i)[..C::STATES],
            &self.unit_parameters::<C, T>(i)[..C::UNIT_PARAMETERS.len()],
            &mut r,
        );
        r[0]
    }

    fn step_with_slopes<T: Number>(&self, state: &[T], input: &[f64], next: &mut [T]) -> Step<T> {
        let shape = self.architecture.cell.shape();
        let units = self.architecture.units;
        let zeros = |count: usize| vec![T::constant(0.0); count];
        let mut step = Step {
            rate_slopes: zeros(shape.states * units),
            hidden_slopes: match shape.layer {
                Layer::Absent => Vec::new(),
                _ => zeros(self.architecture.recurrent_columns()),
            },
            by_state: zeros(shape.states * shape.states * units),
            by_recurrent: zeros(shape.states * shape.gates * units),
            by_input: zeros(shape.states * shape.gates * units),
        };
        with_cell!(self.architecture.cell, C => self.step_of::<C, T>(state, input, next, Some(&mut step)));
        step
    }

    /// Writes zr and zx, [gate, unit], over zeros, from what stands before W and from the input.
    fn gates<T: Number>(
        &self,
        presynaptic: &[T],
        input: &[f64],
        recurrent: &mut [T],
        from_input: &mut [T],
    ) {
        let rows = &self.parameters[self.layout.recurrent.clone()];
        T::add_product_of(rows, &self.recurrent_columns, presynaptic, recurrent);
        let bias = &self.parameters[self.layout.bias.clone()];
        for (z, &bias) in from_input.iter_mut().zip(bias) {
            *z = T::constant(bias);
        }
        let input: SmallVec<[T; 16]> = input.iter().map(|&u| T::constant(u)).collect();
        T::add_product(&self.input_columns, &input, from_input);
    }

    /// The step, and with `slopes` its local derivatives.
    fn step_of<C: Cell, T: Number>(
        &self,
        state: &[T],
        input: &[f64],
        next: &mut [T],
        mut slopes: Option<&mut Step<T>>,
    ) {
        let units = self.architecture.units;
        let (states, gates) = (C::STATES, C::GATES);
        let zero = T::constant(0.0);
        let columns = self.architecture.recurrent_columns();
        // `from_elem` would be copied as a whole.
        let mut on_the_way: SmallVec<[T; ON_STACK]> = SmallVec::new();
        on_the_way.resize(units + columns + 2 * gates * units, zero);
        let (rates, rest) = on_the_way.split_at_mut(units);
        let (presynaptic, rest) = rest.split_at_mut(columns);
        let (recurrent, from_input) = rest.split_at_mut(gates * units);
        for (i, rate) in rates.iter_mut().enumerate() {
            *rate = self.rate_of::<C, T>(state, i);
        }
        let of_layer = slopes
            .as_deref_mut()
            .map(|step| &mut step.hidden_slopes[..]);
        self.presynaptic::<C, T>(rates, presynaptic, of_layer, hidden_value::<C, T>);
        self.gates::<T>(presynaptic, input, recurrent, from_input);
        for i in 0..units {
            let mut unit = Unit {
                s: [zero; MAX_SLOTS],
                zr: [zero; MAX_SLOTS],
                zx: [zero; MAX_SLOTS],
                p: self.unit_parameters::<C, T>(i),
                h: [zero; MAX_SLOTS],
                tape: [zero; MAX_SLOTS],
            };
            for k in 0..states {
                unit.s[k] = state[k * units + i];
            }
            for g in 0..gates {
                unit.zr[g] = recurrent[g * units + i];
                unit.zx[g] = from_input[g * units + i];
            }
            C::update(
                &unit.s[..states],
                &unit.zr[..gates],
                &unit.zx[..gates],
                &unit.p[..C::UNIT_PARAMETERS.len()],
                &mut unit.h[..states],
                &mut unit.tape[..C::TAPE],
            );
            for k in 0..states {
                next[k * units + i] = unit.h[k];
            }
            if let Some(step) = slopes.as_deref_mut() {
                let mut of_unit = T::slopes::<C>(&unit);
                if self.held_rate(i).is_some() {
                    of_unit.rate = [zero; MAX_SLOTS];
                }
                for k in 0..states {
                    step.rate_slopes[k * units + i] = of_unit.rate[k];
                    for m in 0..states {
                        step.by_state[(k * states + m) * units + i] = of_unit.by_state[k][m];
                    }
                    for g in 0..gates {
                        let at = (k * gates + g) * units + i;
                        step.by_recurrent[at] = of_unit.by_recurrent[k][g];
                        step.by_input[at] = of_unit.by_input[k][g];
                    }
                }
            }
        }
    }

    /// M = W diag(q') dg/dr, row-major [gates * units, units], with dg/dr = Wh, 1, or 1 - 1 1' / units.
    fn recurrent_through_layer(&self, hidden_slopes: &[f64]) -> Vec<f64> {
        let units = self.architecture.units;
        let shape = self.architecture.cell.shape();
        let gate_rows = shape.gates * units;
        let w = &self.parameters[self.layout.recurrent.clone()];
        if !shape.has_hidden {
            let mut out = w.to_vec();
            for row in out.chunks_exact_mut(units) {
                for (out, slope) in row.iter_mut().zip(hidden_slopes) {
                    *out *= slope;
                }
                if shape.layer == Layer::CentredUnits {
                    let mean = row.iter().sum::<f64>() / units as f64;
                    row.iter_mut().for_each(|out| *out -= mean);
                }
            }
            return out;
        }
        let wh = &self.parameters[self.layout.hidden.clone()];
        let mut out = vec![0.0; gate_rows * units];
        for (row, weights) in out
            .chunks_exact_mut(units)
            .zip(w.chunks_exact(self.architecture.hidden))
        {
            for ((weight, slope), hidden_row) in weights
                .iter()
                .zip(hidden_slopes)
                .zip(wh.chunks_exact(units))
            {
                let factor = weight * slope;
                if factor != 0.0 {
                    for (out, x) in row.iter_mut().zip(hidden_row) {
                        *out += factor * x;
                    }
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nullcline_data::random::{Random, Stream};

    /// A network with parameters about 0.7 in size, and a state in [-1, 1].
    fn network_and_state(cell: CellKind, readout: Readout, seed: u64) -> (Network, Vec<f64>) {
        let architecture = Architecture {
            cell,
            inputs: 2,
            units: 5,
            hidden: if cell.takes_hidden() { 7 } else { 0 },
            outputs: 3,
            bias: true,
            readout,
            train_leak: false,
        };
        let mut random = Random::new(seed, Stream::WEIGHTS, 0);
        let parameters = (0..architecture.parameter_count())
            .map(|_| 0.7 * random.standard_normal())
            .collect();
        let state = (0..architecture.state_dim())
            .map(|_| 2.0 * random.uniform() - 1.0)
            .collect();
        (Network::from_f64(architecture, parameters), state)
    }

    /// The shallow PLRNN that does what a PLRNN without hidden units of its own does, its matrix Wh written out; other
    /// networks as they are.
    ///
    /// ```text
    /// relu(z_i)                      Wh = 1
    /// relu(z_i - mean(z))            Wh = 1 - 1 1'/M
    /// alpha_b relu(z_i - H_ib)       Wh = 1 for each b, h2 = -H_b, W1 = W alpha_b
    /// s z_i + (1 - s) relu(z_i)      = relu(z_i) - s relu(-z_i)
    /// ```
    pub(super) fn shallow_equivalent(network: &Network) -> Network {
        let a = &network.architecture;
        let shape = a.cell.shape();
        if shape.has_hidden || shape.layer == Layer::Absent {
            return network.clone();
        }
        let units = a.units;
        let of = |name: &str| &network.parameters[a.tensor(name).unwrap().range];
        // (row of Wh, h2, factor on W) of each hidden unit, and the unit that W sees in it.
        let mut hidden: Vec<(Vec<f64>, f64, f64, usize)> = Vec::new();
        for i in 0..units {
            let row = |sign: f64| {
                let mut row = vec![0.0; units];
                row[i] = sign;
                if shape.layer == Layer::CentredUnits {
                    row.iter_mut().for_each(|x| *x -= sign / units as f64);
                }
                row
            };
            match shape.layer {
                Layer::Bases => {
                    for (b, &alpha) in of("alphas").iter().enumerate() {
                        let threshold = of("thresholds")[i * a.bases() + b];
                        hidden.push((row(1.0), -threshold, alpha, i));
                    }
                }
                _ => {
                    hidden.push((row(1.0), 0.0, 1.0, i));
                    if a.cell == CellKind::AlmostLinearRnn {
                        hidden.push((row(-1.0), 0.0, -of("slope")[i], i));
                    }
                }
            }
        }
        let architecture = Architecture {
            cell: match a.cell {
                CellKind::ClippedDendriticPlrnn => CellKind::ClippedShallowPlrnn,
                _ => CellKind::ShallowPlrnn,
            },
            hidden: hidden.len(),
            ..a.clone()
        };
        let mut parameters = vec![0.0; architecture.parameter_count()];
        for tensor in architecture.tensors() {
            let values = &mut parameters[tensor.range];
            match tensor.name.as_str() {
                "recurrent" => {
                    let w = of("recurrent");
                    for (k, value) in values.iter_mut().enumerate() {
                        let (to, (_, _, factor, from)) =
                            (k / hidden.len(), &hidden[k % hidden.len()]);
                        *value = factor * w[to * units + from];
                    }
                }
                "hidden" => {
                    for (to, unit) in values.chunks_exact_mut(units).zip(&hidden) {
                        to.copy_from_slice(&unit.0);
                    }
                }
                "h2" => {
                    for (value, unit) in values.iter_mut().zip(&hidden) {
                        *value = unit.1;
                    }
                }
                name => values.copy_from_slice(of(name)),
            }
        }
        Network::from_f64(architecture, parameters)
    }

    #[test]
    fn plrnns_are_the_shallow_ones_that_they_can_be_written_as() {
        for &cell in CellKind::ALL.iter().filter(|cell| cell.is_plrnn()) {
            for seed in 0..20 {
                let (network, state) = network_and_state(cell, Readout::LinearWithoutBias, seed);
                let same = shallow_equivalent(&network);
                let all = |network: &Network| {
                    let (mut next, mut jacobian) = (vec![0.0; 5], vec![0.0; 25]);
                    network.step_with_jacobian(&state, &[0.3, -0.6], &mut next, &mut jacobian);
                    [next, jacobian].concat()
                };
                for (k, (ours, theirs)) in all(&network).iter().zip(all(&same)).enumerate() {
                    assert!((ours - theirs).abs() < 1e-14, "{cell:?} {seed} {k}");
                }
            }
        }
    }

    #[test]
    fn a_step_and_a_region_by_hand() {
        let network = |cell, hidden, parameters: &[f64]| {
            let architecture = Architecture {
                cell,
                inputs: 0,
                units: 2,
                hidden,
                outputs: 2,
                bias: true,
                readout: Readout::Identity,
                train_leak: false,
            };
            Network::from_f64(architecture, parameters.to_vec())
        };
        // W = [[0, 2], [-1, 0]], h = [0.5, 0.25], A = [0.9, 0.8].
        let common = [0.0, 2.0, -1.0, 0.0, 0.5, 0.25, 0.9, 0.8];
        let state = [-1.0, 3.0];
        // H of unit 1: 0 and -2, of unit 2: 1 and 4; alpha = [1, -0.5].
        let bases = [&common[..], &[0.0, -2.0, 1.0, 4.0, 1.0, -0.5]].concat();
        let linear = [&common[..], &[1.0, 0.0]].concat();
        let step = |network: &Network| {
            let mut next = [0.0; 2];
            network.step(&state, &[], &mut next);
            (next, network.linear_region(&state, &[]).unwrap())
        };
        // What W sees of the state: q, and A z + h = [-0.4, 2.65].
        let expected = |q: [f64; 2]| [-0.4 + 2.0 * q[1], 2.65 - q[0]];
        let close = |(next, region): ([f64; 2], Vec<bool>), q: [f64; 2], want: &[bool]| {
            for (got, want) in next.iter().zip(expected(q)) {
                assert!((got - want).abs() < 1e-15, "{got} and {want}");
            }
            assert_eq!(region, want);
        };
        use CellKind::{
            AlmostLinearRnn, ClippedDendriticPlrnn, DendriticPlrnn, MeanCentredPlrnn, Plrnn,
        };
        let off_on = &[false, true];
        close(step(&network(Plrnn, 0, &common)), [0.0, 3.0], off_on);
        let centred = step(&network(MeanCentredPlrnn, 0, &common));
        close(centred, [0.0, 2.0], off_on);
        let almost_linear = step(&network(AlmostLinearRnn, 0, &linear));
        close(almost_linear, [-1.0, 3.0], &[true]);
        // Unit 1: relu(-1) - 0.5 relu(1); unit 2: relu(2) - 0.5 relu(-1).
        let dendritic = step(&network(DendriticPlrnn, 2, &bases));
        close(dendritic, [-0.5, 2.0], &[false, true, true, false]);
        // Less (1 - 0.5) relu(z).
        let clipped = step(&network(ClippedDendriticPlrnn, 2, &bases));
        let region = &[false, true, true, false, false, true];
        close(clipped, [-0.5, 0.5], region);
    }

    /// The readout of a state of dual numbers, from the cell's `rate` alone: its derivative is one column.
    fn column_by_duals(network: &Network, state: &[f64], along: usize) -> Vec<f64> {
        let duals: Vec<Dual> = state
            .iter()
            .enumerate()
            .map(|(k, &x)| match k == along {
                true => Dual::varying(x),
                false => Dual::fixed(x),
            })
            .collect();
        let a = network.architecture();
        let slopes: Vec<f64> = with_cell!(a.cell, C => {
            (0..a.units).map(|i| network.rate_of::<C, Dual>(&duals, i).derivative).collect()
        });
        let weights = &network.parameters[network.layout.readout.clone()];
        match a.readout {
            Readout::Identity => slopes[..a.outputs].to_vec(),
            _ => weights
                .chunks_exact(a.units)
                .map(|row| row.iter().zip(&slopes).map(|(w, s)| w * s).sum())
                .collect(),
        }
    }

    #[test]
    fn the_readout_jacobian_is_exact() {
        for &cell in CellKind::ALL {
            for readout in [
                Readout::Linear,
                Readout::LinearWithoutBias,
                Readout::Identity,
            ] {
                for seed in 0..10 {
                    let (network, state) = network_and_state(cell, readout, seed);
                    let dim = state.len();
                    let mut jacobian = vec![f64::NAN; 3 * dim];
                    network.readout_jacobian(&state, &mut jacobian);
                    for along in 0..dim {
                        let exact = column_by_duals(&network, &state, along);
                        let moved = |by: f64| {
                            let mut state = state.clone();
                            state[along] += by;
                            network.readout(&state)
                        };
                        let (above, below) = (moved(1e-6), moved(-1e-6));
                        for o in 0..3 {
                            let found = jacobian[o * dim + along];
                            assert!((found - exact[o]).abs() < 1e-14, "{cell:?} {readout:?}");
                            let difference = (above[o] - below[o]) / 2e-6;
                            assert!((found - difference).abs() < 1e-8, "{cell:?} {readout:?}");
                        }
                    }
                }
            }
        }
    }
}
