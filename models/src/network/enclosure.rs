//! A network over boxes of states: enclosures of the step and of its Jacobian, for proofs.

use super::{Network, Number, Slots, Step, hidden_value};
use crate::architecture::with_cell;
use crate::cells::{Cell, Layer, MAX_SLOTS};
use crate::interval::{Interval, rounding, underflow};

/// Half the width of the first box that is tried as a trap: states of bounded cells are below 1.
const FIRST_TRAP: f64 = 1.5;
/// How often the box is doubled where a unit leaves it.
const DOUBLINGS: usize = 32;
/// Pieces of a unit's gates that are looked at before it counts as leaving the box.
const PIECES: usize = 2000;
/// Halvings of a hidden unit's argument towards a kink.
const HALVINGS: usize = 50;

/// A matrix of intervals as two of numbers, row-major: every entry is within its radius of its midpoint.
struct Enclosed {
    midpoint: Vec<f64>,
    radius: Vec<f64>,
}

/// Intervals as midpoints and radii.
fn split(intervals: &[Interval]) -> (Vec<f64>, Vec<f64>) {
    intervals.iter().map(|x| x.midpoint_radius()).unzip()
}

impl Network {
    /// Encloses F(x, `input`) for every state x of the box `state`: `next`, `[state]`.
    ///
    /// Weights, input and the ends of the box are exact; every rounding error is covered.
    pub fn enclose_step(&self, state: &[Interval], input: &[f64], next: &mut [Interval]) {
        with_cell!(self.architecture.cell, C => self.step_of::<C, Interval>(state, input, next, None));
    }

    /// Encloses F and its slopes over the box `state`.
    ///
    /// `next` as for [`enclose_step`](Self::enclose_step). `midpoint` and `radius`, row-major `[to, from]`, enclose
    /// matrices A with F(x) - F(y) = A (x - y), one for every x and y of the box: where F is smooth these are its
    /// Jacobians; at a kink of relu the slope is anything between 0 and 1. An entry that is no number has a radius
    /// that is infinite or NaN.
    ///
    /// The radii are computed as in S. M. Rump, Fast and parallel interval arithmetic (BIT 39, 1999): ordinary matrix
    /// products, and a bound of all their rounding errors added at the end.
    pub fn enclose_jacobian(
        &self,
        state: &[Interval],
        input: &[f64],
        next: &mut [Interval],
        midpoint: &mut [f64],
        radius: &mut [f64],
    ) {
        let step = self.step_with_slopes(state, input, next);
        let shape = self.architecture.cell.shape();
        let (units, dim) = (self.architecture.units, self.state_dim());
        let through_hidden = match shape.layer {
            Layer::Absent => None,
            Layer::Hidden => Some(self.recurrent_through_hidden_enclosed(&step.hidden_slopes)),
            _ => Some(self.recurrent_through_units_enclosed(&step.hidden_slopes)),
        };
        let weights = match &through_hidden {
            Some(product) => &product.midpoint[..],
            None => &self.parameters[self.layout.recurrent.clone()],
        };
        // A row of zeros serves every row of exact weights.
        let exact = vec![0.0; units];
        let weight_radius = |row: usize| match &through_hidden {
            Some(product) => &product.radius[row * units..][..units],
            None => &exact[..],
        };
        let Step {
            rate_slopes,
            by_state,
            by_recurrent,
            ..
        } = &step;
        let (rate_middle, rate_radius) = split(rate_slopes);
        midpoint.fill(0.0);
        radius.fill(0.0);
        // A term is a product of three numbers, and an entry a sum of a term for each gate and one more.
        let gamma = rounding(shape.gates + 4);
        let grow = 1.0 + 2.0 * rounding(shape.gates + 12);
        let tiny = underflow(4 * shape.gates + 4);
        for k in 0..shape.states {
            for i in 0..units {
                let at = (k * units + i) * dim;
                let (row, row_radius) = (&mut midpoint[at..][..dim], &mut radius[at..][..dim]);
                for g in 0..shape.gates {
                    let slope = by_recurrent[(k * shape.gates + g) * units + i];
                    if slope == Interval::point(0.0) {
                        continue;
                    }
                    let (middle, slack) = slope.midpoint_radius();
                    let (size, most) = (middle.abs(), middle.abs() + slack);
                    let weights = &weights[(g * units + i) * units..][..units];
                    let weight_radius = weight_radius(g * units + i);
                    for m in 0..shape.states {
                        let columns = m * units..(m + 1) * units;
                        let out = row[columns.clone()].iter_mut();
                        let out = out.zip(&mut row_radius[columns.clone()]);
                        let rates = rate_middle[columns.clone()].iter();
                        let rates = rates.zip(&rate_radius[columns]);
                        let weights = weights.iter().zip(weight_radius);
                        for (((out, out_radius), (w, dw)), (r, dr)) in out.zip(weights).zip(rates) {
                            *out += middle * w * r;
                            // (s + ds)(w + dw)(r + dr) - s w r, and the rounding of s w r
                            let (w, r) = (w.abs(), r.abs());
                            *out_radius += gamma * (size * w * r)
                                + slack * w * r
                                + most * (w * dr + dw * (r + dr));
                        }
                    }
                }
                for m in 0..shape.states {
                    let slope = by_state[(k * shape.states + m) * units + i];
                    let (middle, slack) = slope.midpoint_radius();
                    let own = m * units + i;
                    row[own] += middle;
                    row_radius[own] += slack + gamma * middle.abs();
                }
                for r in row_radius {
                    *r = *r * grow + tiny;
                }
            }
        }
    }

    /// A box |x_i| < `half_width_i` that F(., `input`) maps into its interior, `[state]`; `None` where none is found.
    ///
    /// By Brouwer's theorem such a box holds a fixed point, and by the Lefschetz-Hopf theorem the indices of all in it,
    /// sign det(I - J) where that is not 0, sum to one. Boxes are doubled in the directions in which they are left. That a
    /// unit stays inside is proved by interval evaluation of its update, its gates bisected where the whole is too wide:
    /// (1 - z) n + z h is a weighted mean only where both its z are the same. Cells with tanh have a box unless a gate
    /// saturates to the last bit; those with relu where the leak outweighs the weights.
    pub fn trapping_box(&self, input: &[f64]) -> Option<Vec<f64>> {
        with_cell!(self.architecture.cell, C => self.trapping_box_of::<C>(input))
    }

    fn trapping_box_of<C: Cell>(&self, input: &[f64]) -> Option<Vec<f64>> {
        let units = self.architecture.units;
        let mut half_widths = vec![FIRST_TRAP; self.state_dim()];
        for _ in 0..DOUBLINGS {
            let state: Vec<Interval> = half_widths.iter().map(|&r| Interval::new(-r, r)).collect();
            let rates: Vec<Interval> = (0..units)
                .map(|i| self.rate_of::<C, Interval>(&state, i))
                .collect();
            let zeros = |count: usize| vec![Interval::point(0.0); count];
            let mut presynaptic = zeros(self.architecture.recurrent_columns());
            self.presynaptic::<C, Interval>(&rates, &mut presynaptic, None, hidden_range::<C>);
            let mut recurrent = zeros(C::GATES * units);
            let mut from_input = zeros(C::GATES * units);
            self.gates::<Interval>(&presynaptic, input, &mut recurrent, &mut from_input);
            let pick = |from: &[Interval], count: usize, i: usize| {
                let mut slots = [Interval::point(0.0); MAX_SLOTS];
                for (k, slot) in slots.iter_mut().take(count).enumerate() {
                    *slot = from[k * units + i];
                }
                slots
            };
            let mut trapped = true;
            for i in 0..units {
                let unit = Trap::<C> {
                    s: pick(&state, C::STATES, i),
                    zx: pick(&from_input, C::GATES, i),
                    p: self.unit_parameters::<C, Interval>(i),
                    cell: std::marker::PhantomData,
                };
                let leaves = unit.leaves(pick(&recurrent, C::GATES, i));
                for k in 0..C::STATES {
                    if leaves[k] {
                        trapped = false;
                        half_widths[k * units + i] *= 2.0;
                    }
                }
            }
            if trapped {
                return Some(half_widths);
            }
        }
        None
    }

    /// M = W diag(q') or, of units less their mean, W diag(q') (1 - 1 1' / units), `[gates * units, units]`, with q' known
    /// to lie in intervals.
    fn recurrent_through_units_enclosed(&self, slopes: &[Interval]) -> Enclosed {
        let units = self.architecture.units;
        let centred = self.architecture.cell.shape().layer == Layer::CentredUnits;
        let w = &self.parameters[self.layout.recurrent.clone()];
        let mut product = Vec::with_capacity(w.len());
        for weights in w.chunks_exact(units.max(1)) {
            let weights = weights.iter().zip(slopes);
            let row = weights.map(|(&w, &slope)| Interval::point(w) * slope);
            if centred {
                let row: Vec<Interval> = row.collect();
                let zero = Interval::point(0.0);
                let sum = row.iter().fold(zero, |sum, &entry| sum + entry);
                let mean = sum / Interval::point(units as f64);
                product.extend(row.into_iter().map(|entry| entry - mean));
            } else {
                product.extend(row);
            }
        }
        let (midpoint, radius) = split(&product);
        Enclosed { midpoint, radius }
    }

    /// M = W diag(q') Wh, `[gates * units, units]`, with q' known to lie in intervals.
    fn recurrent_through_hidden_enclosed(&self, hidden_slopes: &[Interval]) -> Enclosed {
        let units = self.architecture.units;
        let gate_rows = self.architecture.cell.shape().gates * units;
        let hidden = self.architecture.hidden;
        let w = &self.parameters[self.layout.recurrent.clone()];
        let wh = &self.parameters[self.layout.hidden.clone()];
        let (middle, slack) = split(hidden_slopes);
        let gamma = rounding(hidden + 3);
        let mut product = Enclosed {
            midpoint: vec![0.0; gate_rows * units],
            radius: vec![0.0; gate_rows * units],
        };
        let rows = product.midpoint.chunks_exact_mut(units);
        let rows = rows.zip(product.radius.chunks_exact_mut(units));
        for ((row, row_radius), weights) in rows.zip(w.chunks_exact(hidden)) {
            let slopes = middle.iter().zip(&slack);
            for ((weight, (q, dq)), from) in weights.iter().zip(slopes).zip(wh.chunks_exact(units))
            {
                let factor = weight * q;
                let most = weight.abs() * (dq + gamma * q.abs());
                // Many hidden units are off, and their slope is exactly nothing.
                if *q == 0.0 && *dq == 0.0 {
                    continue;
                }
                for ((out, out_radius), x) in row.iter_mut().zip(&mut *row_radius).zip(from) {
                    *out += factor * x;
                    *out_radius += most * x.abs();
                }
            }
            let grow = 1.0 + 2.0 * rounding(hidden + 8);
            for r in row_radius {
                *r = *r * grow + underflow(3 * hidden);
            }
        }
        product
    }
}

/// The values of a hidden unit over an interval of its argument, to about a rounding error: halved towards the kinks,
/// with the mean value form where the slope hardly varies.
fn hidden_range<C: Cell>(g: Interval, c: &[Interval]) -> Interval {
    let value = |g: Interval| hidden_value::<C, Interval>(g, c);
    let mut range: Option<Interval> = None;
    let mut pieces = vec![(g, 0)];
    while let Some((g, halvings)) = pieces.pop() {
        let (middle, radius) = g.midpoint_radius();
        let q = value(g);
        let slope = Interval::hidden_slope::<C>(g, q, c);
        if slope.width() > 1e-9 && halvings < HALVINGS && g.low < middle && middle < g.high {
            pieces.push((Interval::new(g.low, middle), halvings + 1));
            pieces.push((Interval::new(middle, g.high), halvings + 1));
            continue;
        }
        let centred = value(Interval::point(middle)) + slope * Interval::new(-radius, radius);
        // Both hold all values, so that their common part does.
        let low = q.low.max(centred.low);
        let high = q.high.min(centred.high);
        range = Some(match range {
            Some(range) => Interval::new(range.low.min(low), range.high.max(high)),
            None => Interval::new(low, high),
        });
    }
    range.unwrap_or(Interval::WHOLE)
}

/// One unit whose state is to stay in its part of a box, `s`.
struct Trap<C> {
    s: Slots<Interval>,
    zx: Slots<Interval>,
    p: Slots<Interval>,
    cell: std::marker::PhantomData<C>,
}

impl<C: Cell> Trap<C> {
    fn update(&self, zr: &Slots<Interval>) -> Slots<Interval> {
        let mut h = [Interval::point(0.0); MAX_SLOTS];
        let mut tape = h;
        C::update(
            &self.s[..C::STATES],
            &zr[..C::GATES],
            &self.zx[..C::GATES],
            &self.p[..C::UNIT_PARAMETERS.len()],
            &mut h[..C::STATES],
            &mut tape[..C::TAPE],
        );
        h
    }

    /// By how much each state variable may leave the box, at most; below 0 where it surely stays inside.
    fn overshoot(&self, zr: &Slots<Interval>) -> Slots<f64> {
        let h = self.update(zr);
        let mut over = [f64::NEG_INFINITY; MAX_SLOTS];
        for k in 0..C::STATES {
            over[k] = if h[k].is_inside(self.s[k]) {
                -1.0
            } else {
                // Infinite where nothing is known; never below 0.
                let above = (h[k].high - self.s[k].high).max(self.s[k].low - h[k].low);
                above.max(0.0)
            };
        }
        over
    }

    /// Which state variables cannot be shown to stay inside while the recurrent gates are in the box `zr`.
    fn leaves(&self, zr: Slots<Interval>) -> [bool; MAX_SLOTS] {
        let mut leaves = [false; MAX_SLOTS];
        let mut pieces = vec![zr];
        for _ in 0..PIECES {
            let Some(zr) = pieces.pop() else {
                return leaves;
            };
            let over = self.overshoot(&zr);
            if over.iter().all(|&over| over < 0.0) {
                continue;
            }
            // Where it leaves at a single value of the gates, it leaves.
            let at_middle = self.overshoot(&zr.map(|z| Interval::point(z.midpoint_radius().0)));
            let mut lost = false;
            for k in 0..C::STATES {
                if at_middle[k] >= 0.0 || over[k].is_nan() {
                    leaves[k] = true;
                    lost = true;
                }
            }
            if lost {
                return leaves;
            }
            // The gate whose halving helps most.
            let halves = |g: usize| {
                let middle = zr[g].midpoint_radius().0;
                let (mut low, mut high) = (zr, zr);
                low[g] = Interval::new(zr[g].low, middle);
                high[g] = Interval::new(middle, zr[g].high);
                (low, high)
            };
            let cost = |g: &usize| {
                let (low, high) = halves(*g);
                let worst = |over: Slots<f64>| over.iter().copied().fold(-1.0, f64::max);
                worst(self.overshoot(&low)) + worst(self.overshoot(&high))
            };
            let best = (0..C::GATES).min_by(|a, b| cost(a).total_cmp(&cost(b)));
            if let Some(best) = best {
                let (low, high) = halves(best);
                pieces.push(low);
                pieces.push(high);
            }
        }
        // Not decided: take all as leaving.
        leaves[..C::STATES].fill(true);
        leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{Architecture, CellKind, Readout};
    use proptest::prelude::*;

    fn network(cell: CellKind, units: usize, numbers: &[f64]) -> Network {
        let architecture = Architecture {
            cell,
            inputs: 2,
            units,
            hidden: if cell.takes_hidden() { units + 2 } else { 0 },
            outputs: 1,
            bias: true,
            readout: Readout::Linear,
            train_leak: false,
        };
        let count = architecture.parameter_count();
        let parameters = numbers.iter().copied().cycle().take(count).collect();
        Network::from_f64(architecture, parameters)
    }

    #[test]
    fn every_bounded_cell_has_a_trap_and_an_unstable_one_has_none() {
        let numbers: Vec<f64> = (0..97).map(|k| (1.7 * f64::from(k)).sin()).collect();
        for &cell in CellKind::ALL {
            let mut network = network(cell, 4, &numbers);
            for (k, name) in cell.shape().unit_parameters.iter().enumerate() {
                let start = network.layout.unit.start + 4 * k;
                let value = if *name == "recurrent_bias" { 0.1 } else { 0.6 };
                network.parameters[start..start + 4].fill(value);
            }
            let trap = network.trapping_box(&[0.5, -0.5]);
            let name = cell.name();
            let clipped = name.starts_with("clipped");
            let bounded = !name.ends_with("relu") && (clipped || !cell.is_plrnn());
            if bounded {
                assert!(trap.is_some(), "{name}");
            }
            let Some(trap) = trap else { continue };
            // Corners and centre come back inside.
            let dim = network.state_dim();
            let mut next = vec![0.0; dim];
            for corner in 0..1 << dim {
                let state: Vec<f64> = (0..dim)
                    .map(|i| {
                        if corner >> i & 1 == 1 {
                            trap[i]
                        } else {
                            -trap[i]
                        }
                    })
                    .collect();
                network.step(&state, &[0.5, -0.5], &mut next);
                assert!(next.iter().zip(&trap).all(|(x, r)| x.abs() < *r), "{name}");
            }
        }
        // z' = 1.1 z + ... grows for ever.
        let mut growing = network(CellKind::ClippedShallowPlrnn, 3, &numbers);
        let unit = growing.layout.unit.clone();
        growing.parameters[unit].fill(1.1);
        assert_eq!(growing.trapping_box(&[0.0, 0.0]), None);
    }

    proptest! {
        #[test]
        fn steps_and_slopes_of_every_cell_are_enclosed(
            units in 1usize..5,
            numbers in prop::collection::vec(-1.5f64..1.5, 97),
            centre in prop::collection::vec(-1.5f64..1.5, 8),
            inside in prop::collection::vec((-1.0f64..1.0, -1.0f64..1.0), 8),
            size in prop::sample::select(vec![1e-12, 1e-3, 1.0]),
        ) {
            let input = [0.3, -0.7];
            for &cell in CellKind::ALL {
                let network = network(cell, units, &numbers);
                let dim = network.state_dim();
                let state: Vec<Interval> = centre[..dim].iter().map(|&x| Interval::around(x, size)).collect();
                let at = |pick: fn(&(f64, f64)) -> f64| -> Vec<f64> {
                    centre[..dim].iter().zip(&inside).map(|(x, t)| x + size * pick(t)).collect()
                };
                let (x, y) = (at(|t| t.0), at(|t| t.1));
                let (mut next, mut again) = (vec![Interval::WHOLE; dim], vec![Interval::WHOLE; dim]);
                let (mut midpoint, mut radius) = (vec![f64::NAN; dim * dim], vec![f64::NAN; dim * dim]);
                network.enclose_jacobian(&state, &input, &mut next, &mut midpoint, &mut radius);
                network.enclose_step(&state, &input, &mut again);
                prop_assert_eq!(&next, &again);
                let (mut fx, mut fy) = (vec![0.0; dim], vec![0.0; dim]);
                let mut jacobian = vec![0.0; dim * dim];
                network.step_with_jacobian(&x, &input, &mut fx, &mut jacobian);
                network.step(&y, &input, &mut fy);
                for i in 0..dim {
                    prop_assert!(next[i].contains(fx[i]) && next[i].contains(fy[i]), "{}", cell.name());
                    // Both F(x) - F(y) = A (x - y) with A from the enclosure, and the Jacobian inside it.
                    let (mut middle, mut slack) = (0.0, 1e-14 * dim as f64);
                    for j in 0..dim {
                        let (m, r) = (midpoint[i * dim + j], radius[i * dim + j]);
                        middle += m * (x[j] - y[j]);
                        slack += r * (x[j] - y[j]).abs();
                        prop_assert!((jacobian[i * dim + j] - m).abs() <= r + 1e-14, "{} {i} {j}", cell.name());
                    }
                    prop_assert!((fx[i] - fy[i] - middle).abs() <= slack, "{} {i}", cell.name());
                }
                // A narrow box away from the kinks is enclosed narrowly.
                if size == 1e-12 && !format!("{cell:?}").contains("lu") && !cell.is_plrnn() {
                    prop_assert!(radius.iter().all(|&r| r < 1e-10), "{}", cell.name());
                }
            }
        }
    }
}
