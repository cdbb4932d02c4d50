//! What is proved of fixed points, against closed forms and against arithmetic of 200 bits.

mod common;

use astro_float::{BigFloat, Consts, RoundingMode};
use common::{flip_flop_gru, flip_flop_tanh, henon, random_network, tanh_network, visited_states};
use nullcline_analysis::certificates::{Certificate, Refusal, certify};
use nullcline_analysis::fixed_points::{FixedPointSettings, find_fixed_points};
use nullcline_analysis::starts::sample_starts;
use nullcline_analysis::{Dynamics, Error};
use nullcline_models::architecture::CellKind;
use nullcline_models::interval::FUNCTION_STEPS;
use nullcline_models::network::Network;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

fn proof(network: &Network, state: &[f64]) -> Result<Certificate, Refusal> {
    let input = vec![0.0; Dynamics::input_dim(network)];
    certify(network, state, &input).unwrap()
}

/// Newton's method for one unit, x = tanh(w x + b).
fn scalar_fixed_point(w: f64, b: f64, mut x: f64) -> f64 {
    for _ in 0..60 {
        let y = (w * x + b).tanh();
        x -= (x - y) / (1.0 - w * (1.0 - y * y));
    }
    x
}

#[test]
fn a_pair_of_units_has_the_nine_points_of_its_pitchforks() {
    // Two units that do not see each other: x = tanh(2 x) has 0 and +-0.957504024077...
    let outer = 0.957_504_024_077_268_8;
    let network = tanh_network(&[2.0, 0.0, 0.0, 2.0], &[0.0, 0.0]);
    for x in [-outer, 0.0, outer] {
        for y in [-outer, 0.0, outer] {
            let certificate = proof(&network, &[x, y]).unwrap();
            assert!(certificate.existence < 1e-14, "{certificate:?}");
            // The next point lies `outer` away.
            assert!(certificate.uniqueness > 0.05 && certificate.uniqueness < outer);
            let saddles = i32::from(x == 0.0) + i32::from(y == 0.0);
            assert_eq!(certificate.index, Some(if saddles == 1 { -1 } else { 1 }));
        }
    }
}

#[test]
fn a_pitchfork_is_refused_where_it_happens() {
    // x' = tanh(w x): 0 is fixed for every w, and degenerate at w = 1.
    for (w, expected) in [
        (0.9, Some(1)),
        (1.0 - 1e-6, Some(1)),
        (1.0, None),
        (1.0 + 1e-6, Some(-1)),
        (1.1, Some(-1)),
    ] {
        match proof(&tanh_network(&[w], &[0.0]), &[0.0]) {
            Ok(certificate) => {
                assert_eq!(certificate.index, expected, "{w}");
                // The outer points are at +-sqrt(3 (w - 1)) for w just above 1.
                if w > 1.0 && w < 1.01 {
                    let outer = (3.0 * (w - 1.0)).sqrt();
                    assert!(certificate.uniqueness < outer, "{certificate:?}");
                }
            }
            Err(refusal) => assert_eq!((expected, refusal), (None, Refusal::Singular)),
        }
    }
}

#[test]
fn a_saddle_node_is_refused_once_its_points_are_gone() {
    // x = tanh(2 x + b) has a double root at x = -sqrt(1/2), b = 2 sqrt(1/2) - atanh(sqrt(1/2)); below that b two
    // roots x, to first order sqrt((b* - b) / (2 sqrt(1/2))) apart from it, above none.
    let root = 0.5_f64.sqrt();
    let fold = 2.0 * root - root.atanh();
    for gap in [1e-2, 1e-4, 1e-6, 1e-8, 1e-10] {
        let apart = (gap / (2.0 * root)).sqrt();
        let before = tanh_network(&[2.0], &[fold - gap]);
        for side in [-1.0, 1.0] {
            let x = scalar_fixed_point(2.0, fold - gap, -root + side * apart);
            let certificate = proof(&before, &[x]).unwrap();
            assert_eq!(certificate.index, Some(if side < 0.0 { 1 } else { -1 }));
            assert!(certificate.uniqueness < 2.1 * apart, "{certificate:?}");
            assert!(certificate.existence < 0.01 * apart, "{certificate:?}");
        }
        let after = tanh_network(&[2.0], &[fold + gap]);
        for x in [-root - apart, -root, -root + apart] {
            assert!(proof(&after, &[x]).is_err(), "{gap} {x}");
        }
    }
    assert!(proof(&tanh_network(&[2.0], &[fold]), &[-root]).is_err());
}

#[test]
fn a_slow_point_is_refused_however_slow() {
    // The ghost of that saddle-node: the residual falls to 1e-15, below any tolerance.
    let root = 0.5_f64.sqrt();
    let fold = 2.0 * root - root.atanh();
    for gap in [1e-3, 1e-6, 1e-9, 1e-12, 4e-15] {
        let network = tanh_network(&[2.0], &[fold + gap]);
        let mut rng = SmallRng::seed_from_u64(3);
        for _ in 0..200 {
            let x = -root + 2.0 * gap.sqrt() * rng.random_range(-1.0..1.0);
            assert!(proof(&network, &[x]).is_err(), "{gap} {x}");
        }
    }
}

#[test]
fn the_linear_solution_of_a_region_is_exact() {
    // z' = a z + w relu(z + h) + b: one unit, both regions solved by hand.
    // a = 1/2, w = -1, h = 0, b = 1: z > 0 gives 1.5 z = 1; z <= 0 gives z = 2, not in its region.
    let network = |parameters: Vec<f64>| {
        let architecture = common::architecture(CellKind::ShallowPlrnn, 0, 1, 1);
        let layout = architecture.layout();
        let mut flat = vec![0.0; layout.total];
        for (range, value) in [
            layout.recurrent,
            layout.hidden,
            layout.bias,
            layout.unit,
            layout.hidden_unit,
        ]
        .into_iter()
        .zip(parameters)
        {
            flat[range].fill(value);
        }
        Network::from_f64(architecture, flat)
    };
    let certificate = proof(&network(vec![-1.0, 1.0, 1.0, 0.5, 0.0]), &[2.0 / 3.0]).unwrap();
    // Sixteen units in the last place of 2/3, of which half is the error of the f64 nearest to it.
    assert!(certificate.existence < 16.0 * 1.2e-16, "{certificate:?}");
    assert_eq!(certificate.index, Some(1));
    // Slopes of x - F go from 1/2 to 3/2, all regular: unique beyond the kink as well, here without bound.
    assert!(certificate.uniqueness > 1e5, "{certificate:?}");
    // w = 1: x - F has slope 1/2 below the kink and -1/2 above it. b = -1/4 puts points at -1/2 and 1/2.
    let two = network(vec![1.0, 1.0, -0.25, 0.5, 0.0]);
    for (z, index) in [(-0.5, 1), (0.5, -1)] {
        let certificate = proof(&two, &[z]).unwrap();
        assert_eq!(certificate.index, Some(index));
        assert!(certificate.uniqueness > 0.4 && certificate.uniqueness < 1.0);
    }
    // On the kink itself, b = 0, slopes of both signs meet: the point at 0 is the two of them, merged.
    let kink = network(vec![1.0, 1.0, 0.0, 0.5, 0.0]);
    assert_eq!(proof(&kink, &[0.0]), Err(Refusal::NoContraction));
}

#[test]
fn both_flip_flops_are_certified() {
    for (network, points) in [flip_flop_tanh(), flip_flop_gru()] {
        let mut index_sum = 0;
        for point in points.rows() {
            let certificate = proof(&network, &point.to_vec()).unwrap();
            assert!(certificate.existence < 1e-11, "{certificate:?}");
            assert!(certificate.uniqueness > 1e-4, "{certificate:?}");
            index_sum += i32::from(certificate.index.unwrap());
        }
        assert_eq!(index_sum, 1);
    }
}

#[test]
fn what_cannot_be_tried_is_refused_by_name() {
    assert_eq!(
        certify(&henon(), &[0.0, 0.0], &[]).unwrap(),
        Err(Refusal::NoEnclosure)
    );
    let network = tanh_network(&[2.0], &[0.0]);
    assert_eq!(proof(&network, &[f64::NAN]), Err(Refusal::NotFinite));
    let overflow = tanh_network(&[f64::MAX], &[0.0]);
    assert!(proof(&overflow, &[0.5]).is_err());
    assert!(matches!(
        certify(&network, &[0.0, 0.0], &[]),
        Err(Error::Shape { what: "state", .. })
    ));
    assert!(matches!(
        certify(&network, &[0.0], &[1.0]),
        Err(Error::Shape { what: "input", .. })
    ));
}

const BITS: usize = 200;
const TO_NEAREST: RoundingMode = RoundingMode::ToEven;

/// Arithmetic of 200 bits.
struct Big(Consts);

impl Big {
    fn from(&self, x: f64) -> BigFloat {
        BigFloat::from_f64(x, BITS)
    }
    fn add(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.add(b, BITS, TO_NEAREST)
    }
    fn sub(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.sub(b, BITS, TO_NEAREST)
    }
    fn mul(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.mul(b, BITS, TO_NEAREST)
    }
    fn div(&self, a: &BigFloat, b: &BigFloat) -> BigFloat {
        a.div(b, BITS, TO_NEAREST)
    }
    fn tanh(&mut self, x: &BigFloat) -> BigFloat {
        x.tanh(BITS, TO_NEAREST, &mut self.0)
    }
    fn sigmoid(&mut self, x: &BigFloat) -> BigFloat {
        let half = self.from(0.5);
        let tanh = self.tanh(&self.mul(&half, x));
        self.add(&half, &self.mul(&half, &tanh))
    }
    fn relu(&self, x: &BigFloat) -> BigFloat {
        if x.is_negative() {
            self.from(0.0)
        } else {
            x.clone()
        }
    }
    /// M x, M row-major and exact.
    fn product(&self, matrix: &[f64], x: &[BigFloat]) -> Vec<BigFloat> {
        matrix
            .chunks_exact(x.len())
            .map(|row| {
                row.iter().zip(x).fold(self.from(0.0), |sum, (w, x)| {
                    self.add(&sum, &self.mul(&self.from(*w), x))
                })
            })
            .collect()
    }

    /// One step of a network without input, from the equations in the cells' documentation.
    fn step(&mut self, network: &Network, x: &[BigFloat]) -> Vec<BigFloat> {
        let architecture = network.architecture();
        let (layout, n) = (architecture.layout(), architecture.units);
        let of = |range: &std::ops::Range<usize>| &network.parameters()[range.clone()];
        let h = &x[..n];
        let bias: Vec<BigFloat> = of(&layout.bias).iter().map(|&b| self.from(b)).collect();
        let unit: Vec<BigFloat> = of(&layout.unit).iter().map(|&p| self.from(p)).collect();
        let one = self.from(1.0);
        use CellKind::*;
        let cell = architecture.cell;
        let presynaptic: Vec<BigFloat> = match cell {
            LeakyCurrentTanh => h.iter().map(|h| self.tanh(h)).collect(),
            LeakyCurrentRelu => h.iter().map(|h| self.relu(h)).collect(),
            ShallowPlrnn | ClippedShallowPlrnn => {
                let g = self.product(of(&layout.hidden), h);
                g.iter()
                    .zip(of(&layout.hidden_unit))
                    .map(|(g, &c)| {
                        let on = self.relu(&self.add(g, &self.from(c)));
                        match cell {
                            ShallowPlrnn => on,
                            _ => self.sub(&on, &self.relu(g)),
                        }
                    })
                    .collect()
            }
            Plrnn => h.iter().map(|z| self.relu(z)).collect(),
            MeanCentredPlrnn => {
                let sum = h[1..].iter().fold(h[0].clone(), |sum, z| self.add(&sum, z));
                let mean = self.div(&sum, &self.from(n as f64));
                h.iter().map(|z| self.relu(&self.sub(z, &mean))).collect()
            }
            DendriticPlrnn | ClippedDendriticPlrnn => {
                let (thresholds, alphas) =
                    of(&layout.hidden_unit).split_at(n * architecture.bases());
                h.iter()
                    .zip(thresholds.chunks_exact(architecture.bases()))
                    .map(|(z, thresholds)| {
                        let mut sum = self.from(0.0);
                        for (&threshold, &alpha) in thresholds.iter().zip(alphas) {
                            let mut on = self.relu(&self.sub(z, &self.from(threshold)));
                            if cell == ClippedDendriticPlrnn {
                                on = self.sub(&on, &self.relu(z));
                            }
                            sum = self.add(&sum, &self.mul(&self.from(alpha), &on));
                        }
                        sum
                    })
                    .collect()
            }
            AlmostLinearRnn => h
                .iter()
                .zip(of(&layout.hidden_unit))
                .map(|(z, &slope)| {
                    let (slope, on) = (self.from(slope), self.relu(z));
                    self.add(&self.mul(&slope, &self.sub(z, &on)), &on)
                })
                .collect(),
            _ => h.to_vec(),
        };
        let w = self.product(of(&layout.recurrent), &presynaptic);
        let z = |big: &Big, g: usize, i: usize| big.add(&w[g * n + i], &bias[g * n + i]);
        let leaky = |big: &Big, i: usize, to: &BigFloat| {
            let stay = big.mul(&big.sub(&one, &unit[i]), &h[i]);
            big.add(&stay, &big.mul(&unit[i], to))
        };
        let mut second = Vec::new();
        let mut next: Vec<BigFloat> = (0..n)
            .map(|i| match cell {
                VanillaTanh => self.tanh(&z(self, 0, i)),
                VanillaRelu => self.relu(&z(self, 0, i)),
                LeakyRateTanh => {
                    let to = self.tanh(&z(self, 0, i));
                    leaky(self, i, &to)
                }
                LeakyRateRelu => leaky(self, i, &self.relu(&z(self, 0, i))),
                LeakyCurrentTanh | LeakyCurrentRelu => leaky(self, i, &z(self, 0, i)),
                ShallowPlrnn
                | ClippedShallowPlrnn
                | Plrnn
                | MeanCentredPlrnn
                | DendriticPlrnn
                | ClippedDendriticPlrnn
                | AlmostLinearRnn => self.add(&self.mul(&unit[i], &h[i]), &z(self, 0, i)),
                Gru => {
                    let (r, u) = (self.sigmoid(&z(self, 0, i)), self.sigmoid(&z(self, 1, i)));
                    let through = self.mul(&r, &self.add(&w[2 * n + i], &unit[i]));
                    let new = self.tanh(&self.add(&bias[2 * n + i], &through));
                    let kept = self.mul(&u, &h[i]);
                    self.add(&self.mul(&self.sub(&one, &u), &new), &kept)
                }
                Lstm => {
                    let [input, forget, output] = [0, 1, 3].map(|g| self.sigmoid(&z(self, g, i)));
                    let new = self.tanh(&z(self, 2, i));
                    let c = self.add(&self.mul(&forget, &x[n + i]), &self.mul(&input, &new));
                    let tanh = self.tanh(&c);
                    let h = self.mul(&output, &tanh);
                    second.push(c);
                    h
                }
            })
            .collect();
        next.append(&mut second);
        next
    }

    /// The fixed point near `state` to some 190 bits, by chord steps with the f64 inverse of I - J, and how far from
    /// `state` it lies; `None` where they do not converge.
    fn distance_to_fixed_point(&mut self, network: &Network, state: &[f64]) -> Option<f64> {
        let dim = state.len();
        let (mut next, mut jacobian) = (vec![0.0; dim], vec![0.0; dim * dim]);
        network.step_with_jacobian(state, &[], &mut next, &mut jacobian);
        let inverse = (nalgebra::DMatrix::identity(dim, dim)
            - nalgebra::DMatrix::from_row_slice(dim, dim, &jacobian))
        .try_inverse()?;
        let rows: Vec<f64> = inverse.transpose().as_slice().to_vec();
        let mut x: Vec<BigFloat> = state.iter().map(|&x| self.from(x)).collect();
        for _ in 0..60 {
            let next = self.step(network, &x);
            let f: Vec<BigFloat> = x.iter().zip(&next).map(|(x, y)| self.sub(x, y)).collect();
            let correction = self.product(&rows, &f);
            let small = self.from(1e-55);
            let done = correction.iter().all(|d| d.abs() < small);
            x = x
                .iter()
                .zip(&correction)
                .map(|(x, d)| self.sub(x, d))
                .collect();
            if done {
                let distance = x.iter().zip(state).map(|(x, &s)| {
                    let d = self.sub(x, &self.from(s)).abs();
                    d.to_string().parse::<f64>().unwrap()
                });
                return Some(distance.fold(0.0, f64::max));
            }
        }
        None
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What every proof rests on: that the library's functions are within [`FUNCTION_STEPS`] steps of the truth, on the
    /// platform that runs this, with half of them to spare.
    #[test]
    fn the_functions_of_this_platform_are_as_exact_as_intervals_take_them_to_be(
        x in prop_oneof![-25.0_f64..25.0, -1.0_f64..1.0, -1e-3_f64..1e-3],
    ) {
        let mut big = Big(Consts::new().unwrap());
        let exact = [big.tanh(&big.from(x)), big.from(x).exp(BITS, TO_NEAREST, &mut big.0)];
        for (exact, value) in exact.iter().zip([x.tanh(), x.exp()]) {
            let (mut low, mut high) = (value, value);
            for _ in 0..FUNCTION_STEPS / 2 {
                (low, high) = (low.next_down(), high.next_up());
            }
            prop_assert!(big.from(low) <= *exact && *exact <= big.from(high), "{x} {value}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn certificates_hold_in_arithmetic_of_200_bits(
        units in 1_usize..6, gain in 0.3_f64..3.0, seed in any::<u64>(), off in -15.0_f64..-2.0,
    ) {
        let mut big = Big(Consts::new().unwrap());
        for &cell in CellKind::ALL {
            let network = random_network(cell, 0, units, 2 * units, gain, seed);
            let dim = network.state_dim();
            let mut rng = SmallRng::seed_from_u64(seed);
            let visited = visited_states(&network, 20, seed);
            let starts = sample_starts(visited.view(), 24, 0.5, &mut rng).unwrap();
            let found = find_fixed_points(&network, starts.view(), &[], &FixedPointSettings::default(), &mut |_| true).unwrap();
            for point in &found.points {
                // The candidate, and one beside it.
                for size in [0.0, 10_f64.powf(off)] {
                    let state: Vec<f64> =
                        point.state.iter().map(|x| x + size * rng.random_range(-1.0..1.0)).collect();
                    let Ok(certificate) = proof(&network, &state) else { continue };
                    prop_assert!(certificate.existence <= certificate.uniqueness);
                    let distance = big.distance_to_fixed_point(&network, &state);
                    prop_assert!(
                        distance.is_some_and(|d| d <= certificate.existence),
                        "{} {dim}: {distance:?} {certificate:?}", cell.name()
                    );
                }
            }
        }
    }

    #[test]
    fn a_certificate_does_not_survive_other_weights(
        units in 1_usize..8, gain in 0.3_f64..2.0, seed in any::<u64>(), size in -9.0_f64..-3.0,
    ) {
        for &cell in CellKind::ALL {
            let network = random_network(cell, 0, units, 2 * units, gain, seed);
            let mut rng = SmallRng::seed_from_u64(seed ^ 1);
            let starts = visited_states(&network, 30, seed);
            let settings = FixedPointSettings::default();
            let found = find_fixed_points(&network, starts.view(), &[], &settings, &mut |_| true).unwrap();
            let layout = network.architecture().layout();
            let mut parameters = network.parameters().to_vec();
            for p in &mut parameters[layout.bias] {
                *p += 10_f64.powf(size) * rng.random_range(0.5..1.0);
            }
            let other = Network::from_f64(network.architecture().clone(), parameters);
            for point in found.fixed() {
                let Ok(before) = proof(&network, &point.state) else { continue };
                // Where it is fixed no longer, what is proved there holds a point beside it, never the old ball.
                let mut next = vec![0.0; point.state.len()];
                other.step(&point.state, &[], &mut next);
                let moved = point.state.iter().zip(&next).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
                if moved < 1e-10 {
                    continue;
                }
                if let Ok(after) = proof(&other, &point.state) {
                    // |f(x)| <= |f'| |x - x*|, with |f'| below 1 + |J|, some tens here.
                    prop_assert!(after.existence > moved / 1e3, "{} {after:?} {moved}", cell.name());
                    prop_assert!(after.existence > before.existence);
                }
            }
        }
    }
}

#[test]
fn random_networks_of_every_cell_are_certified() {
    for &cell in CellKind::ALL {
        let (mut certified, mut fixed) = (0, 0);
        for seed in 0..20 {
            let network = random_network(cell, 2, 12, 24, 0.9, seed);
            let visited = visited_states(&network, 50, seed);
            let settings = FixedPointSettings::default();
            let found =
                find_fixed_points(&network, visited.view(), &[0.0; 2], &settings, &mut |_| {
                    true
                })
                .unwrap();
            for point in found.fixed() {
                fixed += 1;
                certified += usize::from(proof(&network, &point.state).is_ok());
            }
        }
        assert!(fixed >= 10, "{}: {fixed}", cell.name());
        assert_eq!(certified, fixed, "{}", cell.name());
    }
}
