//! A network left to itself: long iteration of its map.

use ndarray::{Array2, ArrayView2};

use crate::{Dynamics, Error};

/// The input during a free run.
#[derive(Clone, Copy, Debug)]
pub enum RunInput<'a> {
    /// The same input at every step, `[input]`.
    Constant(&'a [f64]),
    /// One input per step, `[time, input]`; step t, from state t to state t + 1, takes row t.
    Sequence(ArrayView2<'a, f64>),
}

impl RunInput<'_> {
    /// That there is an input of `dim` numbers for each of `steps` steps.
    pub(crate) fn check(&self, dim: usize, steps: usize) -> Result<(), Error> {
        let width = match self {
            RunInput::Constant(input) => input.len(),
            RunInput::Sequence(inputs) => {
                if inputs.nrows() < steps {
                    return Err(Error::Shape {
                        what: "inputs, rows",
                        expected: steps,
                        found: inputs.nrows(),
                    });
                }
                inputs.ncols()
            }
        };
        Error::check_shape("input", dim, width)
    }

    /// The input at a step; a row of a sequence is copied to `current`.
    pub(crate) fn at<'b>(&'b self, step: usize, current: &'b mut [f64]) -> &'b [f64] {
        match self {
            RunInput::Constant(input) => input,
            RunInput::Sequence(inputs) => {
                for (current, &v) in current.iter_mut().zip(inputs.row(step)) {
                    *current = v;
                }
                current
            }
        }
    }
}

/// How long a free run goes on, and what is kept of it.
#[derive(Clone, Debug, PartialEq)]
pub struct FreeRunSettings {
    /// Number of steps.
    pub steps: usize,
    /// The run stops at the first state with |x|_inf above this. Infinity for no bound. Default
    /// 1e6.
    pub bound: f64,
    /// Every how many steps a state is kept, at least 1. Default 1.
    pub keep_every: usize,
}

impl FreeRunSettings {
    /// `steps` steps, with the defaults.
    pub fn new(steps: usize) -> Self {
        Self {
            steps,
            bound: 1e6,
            keep_every: 1,
        }
    }
}

/// Why a free run ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// The state after this many steps is not finite.
    NotFinite {
        /// The step, counted from 1; 0 is the start itself.
        step: usize,
    },
    /// The state after this many steps lies beyond the bound.
    BeyondBound {
        /// The step, counted from 1; 0 is the start itself.
        step: usize,
    },
}

/// A free run.
#[derive(Clone, Debug, PartialEq)]
pub struct FreeRun {
    /// States `[time, state]`: the start, then every `keep_every`-th state within the bound. Row r
    /// is the state after r * `keep_every` steps.
    pub states: Array2<f64>,
    /// The largest |x|_inf of any state within the bound, kept or not; 0 where there was none.
    pub largest: f64,
    /// Why and where the run stopped early; `None` where it went to its end.
    pub stop: Option<Stop>,
}

/// Iterates x' = F(x, u) from `start`.
///
/// Returns the states, the largest modulus reached and, where the run left the bound or the finite
/// numbers, at which step.
///
/// # Errors
/// [`Error::Shape`] where `start` or `input` does not fit the map, or a sequence has fewer rows
/// than steps; [`Error::Setting`] where `keep_every` is 0 or `bound` is NaN or negative.
pub fn free_run<D: Dynamics + ?Sized>(
    dynamics: &D,
    start: &[f64],
    input: RunInput<'_>,
    settings: &FreeRunSettings,
) -> Result<FreeRun, Error> {
    let dim = dynamics.state_dim();
    Error::check_shape("start", dim, start.len())?;
    input.check(dynamics.input_dim(), settings.steps)?;
    if settings.keep_every == 0 {
        return Err(Error::Setting {
            what: "keep_every",
            found: "0".to_owned(),
            allowed: "an integer, at least 1",
        });
    }
    if settings.bound.is_nan() || settings.bound < 0.0 {
        return Err(Error::Setting {
            what: "bound",
            found: settings.bound.to_string(),
            allowed: "a number, at least 0, or infinity",
        });
    }

    let mut kept = Vec::new();
    let mut rows = 0;
    let mut largest = 0.0_f64;
    let mut stop = None;
    let mut state = start.to_vec();
    let mut next = vec![0.0; dim];
    let mut current = vec![0.0; dynamics.input_dim()];
    for step in 0..=settings.steps {
        if !state.iter().all(|v| v.is_finite()) {
            stop = Some(Stop::NotFinite { step });
            break;
        }
        let size = state.iter().fold(0.0_f64, |size, v| size.max(v.abs()));
        if size > settings.bound {
            stop = Some(Stop::BeyondBound { step });
            break;
        }
        largest = largest.max(size);
        if step % settings.keep_every == 0 {
            kept.extend_from_slice(&state);
            rows += 1;
        }
        if step == settings.steps {
            break;
        }
        dynamics.step(&state, input.at(step, &mut current), &mut next);
        std::mem::swap(&mut state, &mut next);
    }
    let states = Array2::from_shape_fn((rows, dim), |(r, c)| kept[r * dim + c]);
    Ok(FreeRun {
        states,
        largest,
        stop,
    })
}
