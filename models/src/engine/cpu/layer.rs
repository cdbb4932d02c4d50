//! What stands between the rates and W, [`Layer`], forwards and backwards: functions of hidden units, of units, or of
//! the basis functions of every unit. The matrix Wh of hidden units is multiplied elsewhere.

use super::pass::{Pass, add};
use crate::cells::{Cell, Layer, MAX_SLOTS};
use crate::simd::{Isa, Lanes, Vector};

impl Pass<'_> {
    /// Basis functions of a unit, 1 where there are none: a constant then.
    #[inline(always)]
    fn bases<C: Cell>(&self) -> usize {
        match C::LAYER {
            Layer::Bases => self.architecture.bases(),
            _ => 1,
        }
    }

    /// Where parameter `k` of function `b` of row `i` lies, `functions` in all; see
    /// [`Architecture::layer_parameter`](crate::architecture::Architecture::layer_parameter).
    #[inline(always)]
    fn layer_parameter<C: Cell>(&self, k: usize, i: usize, b: usize, functions: usize) -> usize {
        match C::LAYER {
            Layer::Bases if k > 0 => k * functions + b,
            Layer::Bases => i * self.architecture.bases() + b,
            _ => k * functions + i,
        }
    }

    /// The parameters of function `b` of row `i`, from those of the layer.
    #[inline(always)]
    fn layer_parameters<C: Cell, V: Vector>(
        &self,
        parameters: &[f32],
        i: usize,
        b: usize,
        functions: usize,
    ) -> [V; MAX_SLOTS] {
        let mut c = [V::splat(0.0); MAX_SLOTS];
        for (k, c) in c.iter_mut().take(C::HIDDEN_PARAMETERS.len()).enumerate() {
            *c = V::splat(parameters[self.layer_parameter::<C>(k, i, b, functions)]);
        }
        c
    }

    /// The arguments of a layer without a matrix, g = r or g = r - mean(r), [unit][vector].
    #[inline(always)]
    pub(super) fn unit_arguments<C: Cell, I: Isa>(
        &self,
        rates: &[Lanes],
        vectors: usize,
        arguments: &mut [Lanes],
    ) {
        arguments.copy_from_slice(rates);
        if matches!(C::LAYER, Layer::CentredUnits) {
            self.centre::<I>(vectors, arguments);
        }
    }

    /// x - mean(x) over the units, in place of x: the derivative goes back through it in the same way.
    #[inline(always)]
    fn centre<I: Isa>(&self, vectors: usize, rows: &mut [Lanes]) {
        let share = I::V::splat(1.0 / self.architecture.units as f32);
        for v in 0..vectors {
            let mut sum = I::V::splat(0.0);
            for x in rows.iter().skip(v).step_by(vectors) {
                sum = sum + I::V::load(x);
            }
            let mean = sum * share;
            for x in rows.iter_mut().skip(v).step_by(vectors) {
                (I::V::load(x) - mean).store(x);
            }
        }
    }

    /// q = the sum of the functions of each argument g, both [column of W][vector].
    #[inline(always)]
    pub(super) fn layer_values<C: Cell, I: Isa>(
        &self,
        arguments: &[Lanes],
        vectors: usize,
        values: &mut [Lanes],
    ) {
        let (bases, functions) = (self.bases::<C>(), self.architecture.layer_functions());
        let names = C::HIDDEN_PARAMETERS.len();
        let parameters = &self.job.parameters[self.layout.hidden_unit.clone()];
        let rows = arguments
            .chunks_exact(vectors)
            .zip(values.chunks_exact_mut(vectors));
        for (i, (arguments, values)) in rows.enumerate() {
            let first = self.layer_parameters::<C, I::V>(parameters, i, 0, functions);
            for (g, value) in arguments.iter().zip(values) {
                let g = [I::V::load(g)];
                let mut sum = [I::V::splat(0.0)];
                C::hidden(&g, &first[..names], &mut sum);
                for b in 1..bases {
                    let c = self.layer_parameters::<C, I::V>(parameters, i, b, functions);
                    let mut q = [I::V::splat(0.0)];
                    C::hidden(&g, &c[..names], &mut q);
                    sum[0] = sum[0] + q[0];
                }
                sum[0].store(value);
            }
        }
    }

    /// q again, dg from dq, all [column of W][vector], and the derivative by the parameters, added to `d_parameters`.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn layer_backward<C: Cell, I: Isa>(
        &self,
        arguments: &[Lanes],
        d_values: &[Lanes],
        vectors: usize,
        values: &mut [Lanes],
        d_arguments: &mut [Lanes],
        d_parameters: &mut [Lanes],
    ) {
        let (bases, functions) = (self.bases::<C>(), self.architecture.layer_functions());
        let names = C::HIDDEN_PARAMETERS.len();
        let parameters = &self.job.parameters[self.layout.hidden_unit.clone()];
        // q, dg and dc of one function.
        let derivative = |g: &Lanes, dq: &Lanes, c: &[I::V]| {
            let (g, dq) = ([I::V::load(g)], [I::V::load(dq)]);
            let mut q = [I::V::splat(0.0)];
            C::hidden(&g, c, &mut q);
            let mut dg = [I::V::splat(0.0)];
            let mut dc = [I::V::splat(0.0); MAX_SLOTS];
            C::hidden_vjp(&g, &q, c, &dq, &mut dg, &mut dc[..names]);
            (q[0], dg[0], dc)
        };
        let from = arguments
            .chunks_exact(vectors)
            .zip(d_values.chunks_exact(vectors));
        let to = values
            .chunks_exact_mut(vectors)
            .zip(d_arguments.chunks_exact_mut(vectors));
        for (i, ((arguments, d_values), (values, d_arguments))) in from.zip(to).enumerate() {
            let from = arguments.iter().zip(d_values);
            let places = from.zip(values.iter_mut().zip(d_arguments));
            if matches!(C::LAYER, Layer::Bases) {
                // Functions inside, so that the sums of q and dg stay in registers.
                for ((g, dq), (to_q, to_dg)) in places {
                    let mut sum_of_q = I::V::splat(0.0);
                    let mut sum_of_dg = I::V::splat(0.0);
                    for b in 0..bases {
                        let c = self.layer_parameters::<C, I::V>(parameters, i, b, functions);
                        let (q, dg, dc) = derivative(g, dq, &c[..names]);
                        sum_of_q = sum_of_q + q;
                        sum_of_dg = sum_of_dg + dg;
                        for (k, dc) in dc.iter().enumerate().take(names) {
                            let place = self.layer_parameter::<C>(k, i, b, functions);
                            add(*dc, &mut d_parameters[place]);
                        }
                    }
                    sum_of_q.store(to_q);
                    sum_of_dg.store(to_dg);
                }
                continue;
            }
            let c = self.layer_parameters::<C, I::V>(parameters, i, 0, functions);
            let mut dc_sum = [I::V::splat(0.0); MAX_SLOTS];
            for ((g, dq), (to_q, to_dg)) in places {
                let (q, dg, dc) = derivative(g, dq, &c[..names]);
                q.store(to_q);
                dg.store(to_dg);
                for (sum, dc) in dc_sum.iter_mut().zip(&dc).take(names) {
                    *sum = *sum + *dc;
                }
            }
            for (k, sum) in dc_sum.iter().enumerate().take(names) {
                let place = self.layer_parameter::<C>(k, i, 0, functions);
                add(*sum, &mut d_parameters[place]);
            }
        }
    }

    /// Adds the derivative by the arguments of a layer without a matrix to that by the rates, which are the states.
    #[inline(always)]
    pub(super) fn unit_arguments_backward<C: Cell, I: Isa>(
        &self,
        d_arguments: &mut [Lanes],
        vectors: usize,
        d_state: &mut [Lanes],
    ) {
        const { assert!(C::RATE_IS_STATE || C::HAS_HIDDEN || !C::HAS_LAYER) };
        if matches!(C::LAYER, Layer::CentredUnits) {
            self.centre::<I>(vectors, d_arguments);
        }
        for (d, sum) in d_arguments.iter().zip(d_state) {
            add(I::V::load(d), sum);
        }
    }
}
