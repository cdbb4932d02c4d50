//! The method of Dormand and Prince with equal steps, for states and tangents.

use super::{Flow, System};

/// The flow of a system over a fixed time by the Runge-Kutta method of fifth order of J. R. Dormand and P. J. Prince, "A
/// family of embedded Runge-Kutta formulae", *J. Comput. Appl. Math.* 6 (1980), table 2, in equal steps of at most the
/// system's [`longest_step`](System::longest_step).
///
/// Tangents v obey dv/dt = df/dx(x(t)) v and go through the same stages, so that their images are the exact derivative of
/// the discrete map, not of the flow that it approximates.
#[derive(Debug)]
pub struct RungeKutta<'a, S: System + ?Sized> {
    system: &'a S,
    step: f64,
    steps: usize,
}

impl<'a, S: System + ?Sized> RungeKutta<'a, S> {
    /// The flow over a time `dt`, in as few steps as the system allows, at least one.
    pub fn new(system: &'a S, dt: f64) -> Self {
        // The ratio of 0.01 and 0.001 may round to a hair above 10.
        let steps = ((dt.abs() / system.longest_step()) * (1.0 - 1e-12)).ceil();
        Self::with_steps(system, dt, (steps as usize).max(1))
    }

    /// The flow over a time `dt` in `steps` equal steps.
    ///
    /// # Panics
    /// If `steps` is 0.
    pub fn with_steps(system: &'a S, dt: f64, steps: usize) -> Self {
        assert!(steps > 0, "no steps");
        RungeKutta {
            system,
            step: dt / steps as f64,
            steps,
        }
    }

    /// Number of steps that the integrator makes.
    pub fn steps(&self) -> usize {
        self.steps
    }
}

/// Row s: the slopes that lead to stage s + 1, in steps; its last row leads to the end of the step.
const TABLEAU: [[f64; 6]; 6] = [
    [1.0 / 5.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [3.0 / 40.0, 9.0 / 40.0, 0.0, 0.0, 0.0, 0.0],
    [44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0, 0.0, 0.0, 0.0],
    [
        19372.0 / 6561.0,
        -25360.0 / 2187.0,
        64448.0 / 6561.0,
        -212.0 / 729.0,
        0.0,
        0.0,
    ],
    [
        9017.0 / 3168.0,
        -355.0 / 33.0,
        46732.0 / 5247.0,
        49.0 / 176.0,
        -5103.0 / 18656.0,
        0.0,
    ],
    [
        35.0 / 384.0,
        0.0,
        500.0 / 1113.0,
        125.0 / 192.0,
        -2187.0 / 6784.0,
        11.0 / 84.0,
    ],
];

impl<S: System + ?Sized> Flow for RungeKutta<'_, S> {
    fn dimension(&self) -> usize {
        self.system.dimension()
    }

    /// k_s = f(x + h sum_r a_sr k_r), x' = x + h sum_s b_s k_s; with tangents, the same with the pair (x, v) and its
    /// velocity (f(x), df/dx(x) v).
    fn advance_tangents(&self, state: &mut [f64], tangents: &mut [f64]) {
        let n = self.dimension();
        // State and tangents in one array: [1 + vectors, dimension].
        let size = n + tangents.len();
        let mut scratch = vec![0.0; 8 * size];
        let (now, rest) = scratch.split_at_mut(size);
        let (at, slopes) = rest.split_at_mut(size);
        now[..n].copy_from_slice(state);
        now[n..].copy_from_slice(tangents);
        at.copy_from_slice(now);
        for _ in 0..self.steps {
            for (stage, row) in TABLEAU.iter().enumerate() {
                let slope = &mut slopes[stage * size..(stage + 1) * size];
                let (x, vectors) = at.split_at(n);
                let (velocity, images) = slope.split_at_mut(n);
                self.system.velocity(x, velocity);
                for (vector, image) in vectors.chunks_exact(n).zip(images.chunks_exact_mut(n)) {
                    self.system.tangent_velocity(x, vector, image);
                }
                let weights = &row[..=stage];
                for (k, (at, now)) in at.iter_mut().zip(&*now).enumerate() {
                    let sum: f64 = weights
                        .iter()
                        .enumerate()
                        .map(|(s, weight)| weight * slopes[s * size + k])
                        .sum();
                    *at = now + self.step * sum;
                }
            }
            now.copy_from_slice(at);
        }
        state.copy_from_slice(&now[..n]);
        tangents.copy_from_slice(&now[n..]);
    }
}
