//! Dynamical systems whose equations are known, in f64: what networks are asked to reconstruct, and the truth that their
//! reconstructions are compared with.
//!
//! A [`System`] is a vector field dx/dt = f(x) with its exact Jacobian; its [`Flow`] over a time dt is the map that a
//! network which reproduces samples dt apart has to become. [`Generator`] is that map in the coordinates of a task, whose
//! recordings are standardised. Each system is one file of this folder and one line of [`TASKS`](crate::TASKS).
//!
//! Integrators have fixed steps: a flow is then a smooth map, the same on every machine that rounds as IEEE 754 asks,
//! whose derivative is had exactly by carrying tangents through the same stages. Systems say how long their integrator's
//! step may be; a flow over a longer time makes several of them, of equal length.

pub mod bursting_neuron;
pub mod chua;
pub mod kuramoto_sivashinsky;
pub mod lorenz_63;
pub mod lorenz_96;
pub mod roessler;
mod runge_kutta;
mod task;
#[cfg(test)]
mod tests;

use std::fmt::Debug;

use nullcline_data::random::Random;

pub use runge_kutta::RungeKutta;

/// A dynamical system in continuous time, dx/dt = f(x).
pub trait System: Debug + Send + Sync {
    /// Its name, that of the task made from it: `lorenz_63`.
    fn name(&self) -> &'static str;

    /// One name per variable.
    fn variables(&self) -> Vec<String>;

    /// Number of variables.
    fn dimension(&self) -> usize;

    /// The unit that the system counts time in: `ms`, or `time units` where it has none.
    fn time_unit(&self) -> &'static str {
        "time units"
    }

    /// The unit of time in seconds, where it has one.
    fn seconds_per_time(&self) -> Option<f64> {
        None
    }

    /// `velocity` = f(`state`), both `[dimension]`.
    fn velocity(&self, state: &[f64], velocity: &mut [f64]);

    /// `jacobian` = df/dx at `state`, exact but for rounding, row-major `[to, from]`.
    fn jacobian(&self, state: &[f64], jacobian: &mut [f64]);

    /// `image` = df/dx(`state`) `tangent`, both `[dimension]`: one column of a product with the Jacobian.
    fn tangent_velocity(&self, state: &[f64], tangent: &[f64], image: &mut [f64]);

    /// The longest step of the integrator, in units of time.
    fn longest_step(&self) -> f64;

    /// The map that takes a state over a time `dt`, prepared once for many states: by default by the method of
    /// Dormand and Prince with equal steps of at most [`longest_step`](Self::longest_step).
    fn flow(&self, dt: f64) -> Box<dyn Flow + '_> {
        Box::new(RungeKutta::new(self, dt))
    }

    /// Takes `state` over a time `dt`. Where many states or steps follow, [`flow`](Self::flow) prepares the work once.
    fn advance(&self, state: &mut [f64], dt: f64) {
        self.flow(dt).advance(state);
    }

    /// A random state to start from, not yet on the attractor.
    fn random_state(&self, random: &mut Random) -> Vec<f64>;
}

/// The flow of a system over a fixed time, as its integrator makes it: a smooth map.
pub trait Flow: Send + Sync {
    /// Number of variables.
    fn dimension(&self) -> usize;

    /// Replaces `state`, `[dimension]`, by where it is after the time of the flow.
    fn advance(&self, state: &mut [f64]) {
        self.advance_tangents(state, &mut []);
    }

    /// [`advance`](Self::advance), and carries tangents with it by the exact derivative of this map: `tangents` holds any
    /// number of vectors one after the other, row-major `[vector, dimension]`, each replaced by its image.
    fn advance_tangents(&self, state: &mut [f64], tangents: &mut [f64]);

    /// [`advance`](Self::advance), and the derivative of the map at `state` as it was: `jacobian` row-major `[to, from]`.
    fn advance_with_jacobian(&self, state: &mut [f64], jacobian: &mut [f64]) {
        let n = self.dimension();
        // Tangent j starts as the unit vector e_j and becomes column j.
        jacobian.fill(0.0);
        for j in 0..n {
            jacobian[j * n + j] = 1.0;
        }
        self.advance_tangents(state, jacobian);
        for i in 0..n {
            for j in 0..i {
                jacobian.swap(i * n + j, j * n + i);
            }
        }
    }
}

/// The true system behind the recordings of a task, in the task's coordinates: x = (u - mean) / standard deviation, where
/// u is the state of the system.
#[derive(Clone, Copy, Debug)]
pub struct Generator<'a> {
    /// The system, whose variables are the outputs of the task, all of them and in this order.
    pub system: &'a dyn System,
    /// Time of the system from one sample to the next.
    pub dt: f64,
    /// What was subtracted from each variable, `[dimension]`.
    pub mean: &'a [f64],
    /// What each variable was then divided by, `[dimension]`; 1 where a recording is not standardised.
    pub standard_deviation: &'a [f64],
}

impl<'a> Generator<'a> {
    /// Number of variables.
    pub fn dimension(&self) -> usize {
        self.system.dimension()
    }

    /// Replaces a state of the system by its coordinates in the task.
    pub fn standardise(&self, state: &mut [f64]) {
        for ((x, mean), sd) in state.iter_mut().zip(self.mean).zip(self.standard_deviation) {
            *x = (*x - mean) / sd;
        }
    }

    /// Replaces coordinates of the task by the state of the system: the inverse of [`standardise`](Self::standardise).
    pub fn restore(&self, state: &mut [f64]) {
        for ((x, mean), sd) in state.iter_mut().zip(self.mean).zip(self.standard_deviation) {
            *x = mean + sd * *x;
        }
    }

    /// The velocity dx/dt in the task's coordinates, per unit of the system's time.
    pub fn velocity(&self, state: &[f64], velocity: &mut [f64]) {
        let mut u = state.to_vec();
        self.restore(&mut u);
        self.system.velocity(&u, velocity);
        for (v, sd) in velocity.iter_mut().zip(self.standard_deviation) {
            *v /= sd;
        }
    }

    /// The derivative of [`velocity`](Self::velocity), row-major `[to, from]`: of the same eigenvalues as the system's.
    pub fn jacobian(&self, state: &[f64], jacobian: &mut [f64]) {
        let mut u = state.to_vec();
        self.restore(&mut u);
        self.system.jacobian(&u, jacobian);
        self.scale(jacobian);
    }

    /// The map from one sample to the next in the task's coordinates, prepared once for many states.
    pub fn flow(&self) -> GeneratorFlow<'a> {
        GeneratorFlow {
            generator: *self,
            flow: self.system.flow(self.dt),
        }
    }

    /// A Jacobian of the system in the task's coordinates: J[to, from] sd[from] / sd[to].
    fn scale(&self, jacobian: &mut [f64]) {
        let sd = self.standard_deviation;
        for (row, to) in jacobian.chunks_exact_mut(sd.len().max(1)).zip(sd) {
            for (value, from) in row.iter_mut().zip(sd) {
                *value *= from / to;
            }
        }
    }
}

/// The map from one sample of a task to the next, in the task's coordinates.
pub struct GeneratorFlow<'a> {
    generator: Generator<'a>,
    flow: Box<dyn Flow + 'a>,
}

impl Flow for GeneratorFlow<'_> {
    fn dimension(&self) -> usize {
        self.flow.dimension()
    }

    fn advance(&self, state: &mut [f64]) {
        self.generator.restore(state);
        self.flow.advance(state);
        self.generator.standardise(state);
    }

    fn advance_tangents(&self, state: &mut [f64], tangents: &mut [f64]) {
        let sd = self.generator.standard_deviation;
        let n = sd.len().max(1);
        self.generator.restore(state);
        for tangent in tangents.chunks_exact_mut(n) {
            for (v, sd) in tangent.iter_mut().zip(sd) {
                *v *= sd;
            }
        }
        self.flow.advance_tangents(state, tangents);
        for tangent in tangents.chunks_exact_mut(n) {
            for (v, sd) in tangent.iter_mut().zip(sd) {
                *v /= sd;
            }
        }
        self.generator.standardise(state);
    }
}
