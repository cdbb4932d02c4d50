//! The classical method of Runge and Kutta, for states and tangents.

use super::{Flow, System};

/// The flow of a system over a fixed time by the classical method of Runge and Kutta (Kutta 1901), of fourth order, in
/// equal steps of at most the system's [`longest_step`](System::longest_step).
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

/// A stage: where it is evaluated, in steps from the stage before, and its weight in the sum over 6.
const STAGES: [(f64, f64); 4] = [(0.0, 1.0), (0.5, 2.0), (0.5, 2.0), (1.0, 1.0)];

impl<S: System + ?Sized> Flow for RungeKutta<'_, S> {
    fn dimension(&self) -> usize {
        self.system.dimension()
    }

    /// k1 = f(x), k2 = f(x + h/2 k1), k3 = f(x + h/2 k2), k4 = f(x + h k3), x' = x + h/6 (k1 + 2 k2 + 2 k3 + k4); with
    /// tangents, the same with the pair (x, v) and its velocity (f(x), df/dx(x) v).
    fn advance_tangents(&self, state: &mut [f64], tangents: &mut [f64]) {
        let n = self.dimension();
        // State and tangents in one array: [1 + vectors, dimension].
        let size = n + tangents.len();
        let mut scratch = vec![0.0; 4 * size];
        let (now, rest) = scratch.split_at_mut(size);
        let (at, rest) = rest.split_at_mut(size);
        let (slope, sum) = rest.split_at_mut(size);
        now[..n].copy_from_slice(state);
        now[n..].copy_from_slice(tangents);
        for _ in 0..self.steps {
            sum.copy_from_slice(now);
            for (fraction, weight) in STAGES {
                if fraction == 0.0 {
                    at.copy_from_slice(now);
                } else {
                    for ((at, now), slope) in at.iter_mut().zip(&*now).zip(&*slope) {
                        *at = now + fraction * self.step * slope;
                    }
                }
                let (x, vectors) = at.split_at(n);
                let (velocity, images) = slope.split_at_mut(n);
                self.system.velocity(x, velocity);
                for (vector, image) in vectors.chunks_exact(n).zip(images.chunks_exact_mut(n)) {
                    self.system.tangent_velocity(x, vector, image);
                }
                for (sum, slope) in sum.iter_mut().zip(&*slope) {
                    *sum += weight * self.step / 6.0 * slope;
                }
            }
            now.copy_from_slice(sum);
        }
        state.copy_from_slice(&now[..n]);
        tangents.copy_from_slice(&now[n..]);
    }
}
