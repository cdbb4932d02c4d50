//! The equation of Kuramoto and Sivashinsky on a ring: chaos in space and time.

use std::f64::consts::TAU;
use std::fmt;
use std::sync::Arc;

use nullcline_data::Result;
use nullcline_data::random::Random;
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::{Flow, System, task};
use crate::TaskKind;
use crate::windows::error;

/// The registry's entry.
pub const KIND: TaskKind = TaskKind {
    name: "kuramoto_sivashinsky",
    summary: "generate the spatiotemporal chaos of the Kuramoto-Sivashinsky equation on a ring, predicted from an \
              observation on",
    keys: &KEYS,
    build: |settings| {
        let system = Arc::new(KuramotoSivashinsky::from_settings(settings)?);
        Ok(Box::new(task::generate(settings, system)?))
    },
};

const KEYS: [Key; 2 + task::COMMON] = task::keys(
    [
        task::parameter(
            "domain",
            22.0,
            [1.0, 200.0],
            "units of length",
            "Circumference of the ring. The state of rest is unstable above 2 pi; 22 is the smallest of the well studied \
             chaotic ones.",
        ),
        Key {
            name: "points",
            kind: Kind::Integer { min: 8, max: 512 },
            default: Preset::Integer(64),
            unit: "",
            doc: "Points of the grid on the ring, an even number, of which every one is a variable. A third of them in \
                  wave numbers is kept free of aliasing, so three for a unit of length are enough.",
        },
    ],
    task::Defaults {
        dt: 0.25,
        longest_dt: 25.0,
        time_unit: "time units",
        transient: 500.0,
    },
);

/// u_t = - u u_x - u_xx - u_xxxx on a ring of circumference `domain`, in `points` points x_j = j domain / points.
///
/// Y. Kuramoto (1978), *Prog. Theor. Phys. Suppl.* 64, and G. I. Sivashinsky (1977), *Acta Astronautica* 4, in the form of
/// Kassam & Trefethen (2005); domain 22 as in P. Cvitanovic, R. L. Davidchack and E. Siminos, *SIAM J. Appl. Dyn. Syst.*
/// 9 (2010). With u(x) = sum_k u_k exp(i q k x), q = 2 pi / domain,
///
/// du_k/dt = (q^2 k^2 - q^4 k^4) u_k - (i q k / 2) (u^2)_k.
///
/// The mean u_0 never changes. Products make wave numbers that the grid takes for others (aliasing): u^2 is only used,
/// and u only taken into it, where |k| < points / 3 (the two-thirds rule), as then none of them is a wrong one. Higher
/// wave numbers decay by themselves, so that an orbit lies in a space of 2 floor((points - 1) / 3) + 1 dimensions and
/// all but the leading Lyapunov exponents are those of decaying waves.
#[derive(Clone)]
pub struct KuramotoSivashinsky {
    domain: f64,
    points: usize,
    forward: Arc<dyn RealToComplex<f64>>,
    backward: Arc<dyn ComplexToReal<f64>>,
    /// q^2 k^2 - q^4 k^4 for k = 0, ..., points / 2.
    growth: Vec<f64>,
}

impl fmt::Debug for KuramotoSivashinsky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KuramotoSivashinsky")
            .field("domain", &self.domain)
            .field("points", &self.points)
            .finish()
    }
}

impl KuramotoSivashinsky {
    /// The equation on a ring of circumference `domain` in `points` points.
    ///
    /// # Panics
    /// If `points` is odd or below 8.
    pub fn new(domain: f64, points: usize) -> Self {
        assert!(points >= 8 && points.is_multiple_of(2), "{points} points");
        let mut planner = RealFftPlanner::new();
        let wave = |k: usize| TAU / domain * k as f64;
        KuramotoSivashinsky {
            domain,
            points,
            forward: planner.plan_fft_forward(points),
            backward: planner.plan_fft_inverse(points),
            growth: (0..=points / 2)
                .map(|k| wave(k).powi(2) - wave(k).powi(4))
                .collect(),
        }
    }

    /// The system of checked settings.
    ///
    /// # Errors
    /// For an odd number of points.
    pub fn from_settings(settings: &Settings) -> Result<Self> {
        let points = settings.count("points");
        if !points.is_multiple_of(2) {
            return Err(error(
                settings,
                "points",
                points.to_string(),
                "an even number",
            ));
        }
        Ok(Self::new(settings.number("domain"), points))
    }

    /// Wave numbers of which products are free of aliasing: k = 0, ..., this - 1.
    fn kept(&self) -> usize {
        (self.points - 1) / 3 + 1
    }

    /// The coefficients of a real signal, divided by the number of points: u_k for k = 0, ..., points / 2. `signal` is
    /// used up.
    fn transform(&self, signal: &mut [f64], spectrum: &mut [Complex<f64>], scratch: &mut Scratch) {
        // Lengths are those of the plan, the only error there is.
        let done = self
            .forward
            .process_with_scratch(signal, spectrum, &mut scratch.forward);
        debug_assert!(done.is_ok());
        let scale = 1.0 / self.points as f64;
        for u in spectrum {
            *u *= scale;
        }
    }

    /// The real signal of coefficients, which are used up.
    fn signal(&self, spectrum: &mut [Complex<f64>], signal: &mut [f64], scratch: &mut Scratch) {
        // The coefficients of the mean and of the highest wave number are real.
        if let [first, .., last] = spectrum {
            first.im = 0.0;
            last.im = 0.0;
        }
        let done = self
            .backward
            .process_with_scratch(spectrum, signal, &mut scratch.backward);
        debug_assert!(done.is_ok());
    }

    /// The values of the wave numbers of `spectrum` that are kept: `values`, `[points]`.
    fn filtered(&self, spectrum: &[Complex<f64>], values: &mut [f64], scratch: &mut Scratch) {
        let mut low = std::mem::take(&mut scratch.spectrum);
        low.copy_from_slice(spectrum);
        low[self.kept()..].fill(Complex::ZERO);
        self.signal(&mut low, values, scratch);
        scratch.spectrum = low;
    }

    /// The nonlinear part for a pair of signals of kept wave numbers, `factor` (- i q k) (a b)_k: of u itself with 1/2, of
    /// its derivative along v with (u, v) and 1.
    fn advection(
        &self,
        factor: f64,
        a: &[f64],
        b: &[f64],
        out: &mut [Complex<f64>],
        scratch: &mut Scratch,
    ) {
        let mut product = std::mem::take(&mut scratch.product);
        for ((p, a), b) in product.iter_mut().zip(a).zip(b) {
            *p = a * b;
        }
        self.transform(&mut product, out, scratch);
        scratch.product = product;
        let q = TAU / self.domain;
        for (k, u) in out.iter_mut().enumerate() {
            *u = if k < self.kept() {
                *u * Complex::new(0.0, -factor * q * k as f64)
            } else {
                Complex::ZERO
            };
        }
    }

    /// f(u), or its derivative at u along `tangent`, on the grid.
    fn right_hand_side(&self, state: &[f64], tangent: Option<&[f64]>, out: &mut [f64]) {
        let scratch = &mut Scratch::new(self);
        let waves = self.growth.len();
        let mut spectrum = vec![Complex::ZERO; waves];
        let mut nonlinear = vec![Complex::ZERO; waves];
        let mut values = state.to_vec();
        let mut u = vec![0.0; self.points];
        self.transform(&mut values, &mut spectrum, scratch);
        self.filtered(&spectrum, &mut u, scratch);
        match tangent {
            None => self.advection(0.5, &u, &u, &mut nonlinear, scratch),
            Some(tangent) => {
                let mut v = vec![0.0; self.points];
                values.copy_from_slice(tangent);
                self.transform(&mut values, &mut spectrum, scratch);
                self.filtered(&spectrum, &mut v, scratch);
                self.advection(1.0, &u, &v, &mut nonlinear, scratch);
            }
        }
        for ((n, u), growth) in nonlinear.iter_mut().zip(&spectrum).zip(&self.growth) {
            *n += u * growth;
        }
        self.signal(&mut nonlinear, out, scratch);
    }
}

/// Memory that transforms need.
struct Scratch {
    forward: Vec<Complex<f64>>,
    backward: Vec<Complex<f64>>,
    spectrum: Vec<Complex<f64>>,
    product: Vec<f64>,
}

impl Scratch {
    fn new(system: &KuramotoSivashinsky) -> Self {
        Scratch {
            forward: system.forward.make_scratch_vec(),
            backward: system.backward.make_scratch_vec(),
            spectrum: vec![Complex::ZERO; system.growth.len()],
            product: vec![0.0; system.points],
        }
    }
}

impl System for KuramotoSivashinsky {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn variables(&self) -> Vec<String> {
        (1..=self.points).map(|j| format!("u_{j}")).collect()
    }

    fn dimension(&self) -> usize {
        self.points
    }

    fn velocity(&self, state: &[f64], velocity: &mut [f64]) {
        self.right_hand_side(state, None, velocity);
    }

    fn jacobian(&self, state: &[f64], jacobian: &mut [f64]) {
        let n = self.points;
        let (mut unit, mut column) = (vec![0.0; n], vec![0.0; n]);
        for j in 0..n {
            unit[j] = 1.0;
            self.tangent_velocity(state, &unit, &mut column);
            unit[j] = 0.0;
            for (i, x) in column.iter().enumerate() {
                jacobian[i * n + j] = *x;
            }
        }
    }

    fn tangent_velocity(&self, state: &[f64], tangent: &[f64], image: &mut [f64]) {
        self.right_hand_side(state, Some(tangent), image);
    }

    /// Five steps for samples 0.25 apart, which keep the error of a sample below 5e-6 where the standard deviation is 1.2:
    /// the stiff waves make more accuracy dear.
    fn longest_step(&self) -> f64 {
        0.05
    }

    fn flow(&self, dt: f64) -> Box<dyn Flow + '_> {
        let steps = (dt.abs() / self.longest_step() * (1.0 - 1e-12)).ceil();
        Box::new(Etdrk4::new(self, dt, (steps as usize).max(1)))
    }

    /// The four longest waves with independent standard Gaussian coefficients; the mean is 0.
    fn random_state(&self, random: &mut Random) -> Vec<f64> {
        let waves: Vec<[f64; 2]> = (0..4)
            .map(|_| [random.standard_normal(), random.standard_normal()])
            .collect();
        let at = |j: usize| {
            let angle = TAU * j as f64 / self.points as f64;
            let wave = |(k, [a, b]): (usize, &[f64; 2])| {
                let (sin, cos) = ((k + 1) as f64 * angle).sin_cos();
                a * cos + b * sin
            };
            waves.iter().enumerate().map(wave).sum()
        };
        (0..self.points).map(at).collect()
    }
}

/// Exponential time differencing of fourth order, which solves the stiff linear part exactly, in equal steps.
///
/// The scheme is the one of S. Krogstad, "Generalized integrating factor methods for stiff PDEs", *J. Comput. Phys.* 203
/// (2005), ETDRK4-B: at the same cost it is closer than that of Cox & Matthews (2002), whose order drops to three at
/// these steps. Its coefficients are had as A.-K. Kassam and L. N. Trefethen, "Fourth-order time-stepping for stiff PDEs",
/// *SIAM J. Sci. Comput.* 26 (2005), have theirs.
pub struct Etdrk4<'a> {
    system: &'a KuramotoSivashinsky,
    steps: usize,
    coefficients: Vec<Coefficients>,
}

/// What a step of length h does to a wave number that grows at the rate c.
#[derive(Clone, Copy)]
struct Coefficients {
    /// exp(c h / 2) and exp(c h).
    growth: [f64; 2],
    /// The weight of N(u) in a.
    first: f64,
    /// The weights of N(u) and N(a) in b.
    second: [f64; 2],
    /// The weights of N(u) and N(b) in c.
    third: [f64; 2],
    /// The weights of N(u), of N(a) + N(b) and of N(c) in the result.
    result: [f64; 3],
}

impl Coefficients {
    /// With z = c h, phi_1 = (exp(z) - 1) / z, phi_2 = (phi_1 - 1) / z, phi_3 = (phi_2 - 1/2) / z and, of z / 2 instead,
    /// psi_1 and psi_2:
    ///
    /// a = exp(z/2) u + h psi_1 / 2 N(u),
    /// b = exp(z/2) u + h (psi_1 / 2 - psi_2) N(u) + h psi_2 N(a),
    /// c = exp(z) u + h (phi_1 - 2 phi_2) N(u) + 2 h phi_2 N(b),
    /// u' = exp(z) u + h (phi_1 - 3 phi_2 + 4 phi_3) N(u) + h (2 phi_2 - 4 phi_3) (N(a) + N(b))
    ///      + h (4 phi_3 - phi_2) N(c).
    fn new(rate: f64, h: f64) -> Self {
        let z = rate * h;
        let [phi_1, phi_2, phi_3] = phi(z);
        let [psi_1, psi_2, _] = phi(z / 2.0);
        Coefficients {
            growth: [(z / 2.0).exp(), z.exp()],
            first: h * psi_1 / 2.0,
            second: [h * (psi_1 / 2.0 - psi_2), h * psi_2],
            third: [h * (phi_1 - 2.0 * phi_2), 2.0 * h * phi_2],
            result: [
                h * (phi_1 - 3.0 * phi_2 + 4.0 * phi_3),
                h * (2.0 * phi_2 - 4.0 * phi_3),
                h * (4.0 * phi_3 - phi_2),
            ],
        }
    }
}

/// phi_1, phi_2 and phi_3 at a real number.
///
/// Near 0 their quotients lose every digit, so each is had as its mean over a circle around z (Cauchy's integral
/// formula): 64 points of radius 1, of which those above the real line suffice as z is real.
fn phi(z: f64) -> [f64; 3] {
    const POINTS: usize = 32;
    let mut sums = [0.0; 3];
    for point in 0..POINTS {
        let angle = TAU * (point as f64 + 0.5) / (2 * POINTS) as f64;
        let z = Complex::new(z + angle.cos(), angle.sin());
        let first = (z.exp() - 1.0) / z;
        let second = (first - 1.0) / z;
        let third = (second - 0.5) / z;
        for (sum, value) in sums.iter_mut().zip([first, second, third]) {
            *sum += value.re;
        }
    }
    sums.map(|sum| sum / POINTS as f64)
}

impl<'a> Etdrk4<'a> {
    /// The flow over a time `dt` in `steps` equal steps.
    ///
    /// # Panics
    /// If `steps` is 0.
    pub fn new(system: &'a KuramotoSivashinsky, dt: f64, steps: usize) -> Self {
        assert!(steps > 0, "no steps");
        let h = dt / steps as f64;
        Etdrk4 {
            system,
            steps,
            coefficients: system
                .growth
                .iter()
                .map(|&rate| Coefficients::new(rate, h))
                .collect(),
        }
    }
}

/// A spectrum on its way through a step.
struct Stages {
    /// At the beginning of the step.
    now: Vec<Complex<f64>>,
    /// Where the nonlinear part is evaluated.
    at: Vec<Complex<f64>>,
    /// The nonlinear part at the beginning.
    start: Vec<Complex<f64>>,
    /// The nonlinear part at the last stage.
    nonlinear: Vec<Complex<f64>>,
    /// The state after the step, as far as it is known.
    next: Vec<Complex<f64>>,
    /// `at` on the grid, without the wave numbers that are not kept.
    values: Vec<f64>,
}

impl Stages {
    fn new(system: &KuramotoSivashinsky) -> Self {
        let spectrum = || vec![Complex::ZERO; system.growth.len()];
        Stages {
            now: spectrum(),
            at: spectrum(),
            start: spectrum(),
            nonlinear: spectrum(),
            next: spectrum(),
            values: vec![0.0; system.points],
        }
    }

    /// After stage `stage` of four, whose nonlinear part is known: the point of the next one and the share in the result.
    fn advance(&mut self, stage: usize, coefficients: &[Coefficients]) {
        for (k, c) in coefficients.iter().enumerate() {
            let (u, n) = (self.now[k], self.nonlinear[k]);
            let [half, whole] = c.growth;
            match stage {
                0 => {
                    self.start[k] = n;
                    self.next[k] = u * whole + n * c.result[0];
                    self.at[k] = u * half + n * c.first;
                }
                1 => {
                    self.next[k] += n * c.result[1];
                    self.at[k] = u * half + self.start[k] * c.second[0] + n * c.second[1];
                }
                2 => {
                    self.next[k] += n * c.result[1];
                    self.at[k] = u * whole + self.start[k] * c.third[0] + n * c.third[1];
                }
                _ => {
                    self.next[k] += n * c.result[2];
                    self.now[k] = self.next[k];
                    self.at[k] = self.next[k];
                }
            }
        }
    }
}

impl Flow for Etdrk4<'_> {
    fn dimension(&self) -> usize {
        self.system.points
    }

    fn advance_tangents(&self, state: &mut [f64], tangents: &mut [f64]) {
        let system = self.system;
        let scratch = &mut Scratch::new(system);
        let mut open = |values: &mut [f64]| {
            let mut stages = Stages::new(system);
            system.transform(values, &mut stages.now, scratch);
            stages.at.copy_from_slice(&stages.now);
            stages
        };
        let mut base = open(state);
        let mut vectors: Vec<Stages> = tangents
            .chunks_exact_mut(system.points)
            .map(&mut open)
            .collect();
        for _ in 0..self.steps {
            for stage in 0..4 {
                system.filtered(&base.at, &mut base.values, scratch);
                let u = &base.values;
                system.advection(0.5, u, u, &mut base.nonlinear, scratch);
                // The derivative of N(u) = - (u^2)_x / 2 along v is - (u v)_x.
                for vector in &mut vectors {
                    system.filtered(&vector.at, &mut vector.values, scratch);
                    let v = &vector.values;
                    system.advection(1.0, u, v, &mut vector.nonlinear, scratch);
                    vector.advance(stage, &self.coefficients);
                }
                base.advance(stage, &self.coefficients);
            }
        }
        system.signal(&mut base.now, state, scratch);
        for (vector, tangent) in vectors
            .iter_mut()
            .zip(tangents.chunks_exact_mut(system.points))
        {
            system.signal(&mut vector.now, tangent, scratch);
        }
    }
}
