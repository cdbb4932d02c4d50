//! What follows training where `training.refinement` asks for it: the neighbourhood of a network that learned a recording
//! is searched for one that generates what was recorded.
//!
//! Teacher forcing teaches a network the next step. What it generates by itself follows from a million of them, and of
//! two networks that predict equally well one may stay on a cycle of which the other leaves nothing unvisited. Gradients
//! do not reach that far: the product of so many Jacobians of a chaotic orbit says nothing. A search without gradients
//! does, where few directions are searched:
//!
//! ```text
//! W_i. <- (1 + x_i) W_i.,     b_i <- b_i + 0.01 x_i',     a_i <- (1 + x_i'') a_i
//! ```
//!
//! for every row of the recurrent weights, every bias and every parameter of a unit but leaks. What is minimised is
//!
//! ```text
//! D_stsp(training part, orbit) + 10 max(0, PE(n) / PE(n of the trained network) - 1 - tolerance)
//! ```
//!
//! Every generation of candidates starts from another observation: a network that comes to a cycle from almost
//! everywhere may wander for long from one start, and would win by it. Of the best candidates, the mean of the last
//! generation and the network as it was trained, the one is taken that is the nearest on average over several starts.
//! The test part has no say in any of it.

use crate::analyses::failed;
use crate::analyses::reconstruction::{self, Data};
use crate::experiment::{Built, Experiment};
use crate::session::Outcome;
use nullcline_analysis::Watch;
use nullcline_analysis::evolution_strategy::{EvolutionSettings, minimise};
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::Value;
use nullcline_models::architecture::Architecture;
use nullcline_models::network::Network;
use rayon::prelude::*;

/// Standard deviation of the first candidates in every direction.
const SPREAD: f64 = 3e-3;
/// Of a bias, for states of about unit variance, which change by some hundredths in a step.
const SHIFT: f64 = 0.01;
/// Weight of a prediction error beyond what is tolerated.
const WEIGHT: f64 = 10.0;
/// Candidates that are measured again in the end, and starts of every one of them.
const KEPT: usize = 8;
const STARTS: usize = 8;
/// The prediction error is that of the beginning of the recording: one part in so many, no less than so many steps.
const PART: usize = 20;
const LEAST: usize = 2000;

/// What a search came to.
pub struct Refined {
    /// The parameters, `[parameter]`.
    pub parameters: Vec<f32>,
    /// D_stsp of the training part before and after, mean over several starts; infinite where the network diverges.
    pub divergence: [f64; 2],
    /// Its prediction error before and after.
    pub prediction_error: [f64; 2],
}

/// Searches the neighbourhood of a network, `parameters`, of an experiment; `None` where it finds nothing better, or where
/// there is no recording.
///
/// # Errors
/// [`Fault::Stopped`](crate::session::Fault::Stopped) where `watch` ends it.
pub fn refine(
    experiment: &Experiment,
    built: &Built,
    parameters: &[f32],
    seed: u64,
    watch: Watch<'_>,
) -> Outcome<Option<Refined>> {
    let Some(settings) = experiment.analysis(reconstruction::KIND.name) else {
        return Ok(None);
    };
    let mut settings = settings.clone();
    settings.set("against", Value::Text("training".to_owned()))?;
    let Some(data) = Data::of(&*built.task, &settings) else {
        return Ok(None);
    };
    let refinement = built.training.refinement;
    let directions = Directions::of(&built.architecture);
    let network = |parameters: &[f32]| Network::new(built.architecture.clone(), parameters);
    // A candidate that cannot be measured is one that is infinitely far.
    let divergence = |map: &Network, time: usize| {
        let found = data.divergence_from(map, time, seed).ok().flatten();
        found.map_or(f64::INFINITY, |found| found.value)
    };
    let beginning = (data.length() / PART).max(LEAST);
    let error = |map: &Network| {
        data.prediction_error(map, beginning)
            .unwrap_or(f64::INFINITY)
    };
    let error_before = error(&network(parameters));
    let penalty = |error: f64| {
        let beyond = error / error_before - 1.0 - refinement.tolerance;
        WEIGHT * beyond.max(0.0)
    };
    let objective = |x: &[f64], generation: usize| {
        let map = network(&directions.moved(parameters, x));
        let time = Random::new(seed, Stream::STARTS, generation as u64).below(data.length());
        match divergence(&map, time) {
            finite if finite.is_finite() => finite + penalty(error(&map)),
            diverged => diverged,
        }
    };
    let mut random = Random::new(seed, Stream::SAMPLES, 1);
    let settings = EvolutionSettings {
        evaluations: refinement.evaluations,
        spread: SPREAD,
        kept: KEPT,
    };
    let start = vec![0.0; directions.len()];
    let found = minimise(&start, &settings, &mut random, objective, watch)
        .map_err(|error| failed("refinement", error))?;
    let candidates: Vec<Vec<f32>> = [start, found.mean]
        .into_iter()
        .chain(found.best.into_iter().map(|(point, _)| point))
        .map(|point| directions.moved(parameters, &point))
        .collect();
    let measured: Vec<(f64, f64)> = candidates
        .par_iter()
        .map(|candidate| {
            let map = network(candidate);
            let starts = (0..STARTS).map(|k| divergence(&map, k * data.length() / STARTS));
            (starts.sum::<f64>() / STARTS as f64, error(&map))
        })
        .collect();
    let total = |k: &usize| measured[*k].0 + penalty(measured[*k].1);
    let chosen = (0..candidates.len())
        .min_by(|a, b| total(a).total_cmp(&total(b)))
        .unwrap_or(0);
    // The first is the network as it was trained.
    if chosen == 0 {
        return Ok(None);
    }
    Ok(Some(Refined {
        divergence: [measured[0].0, measured[chosen].0],
        prediction_error: [measured[0].1, measured[chosen].1],
        parameters: candidates[chosen].clone(),
    }))
}

/// The directions of the search, in the flat vector of parameters.
struct Directions {
    /// First parameter and length of what has one factor.
    factors: Vec<(usize, usize)>,
    /// What is shifted.
    shifts: Vec<usize>,
}

impl Directions {
    fn of(architecture: &Architecture) -> Self {
        let layout = architecture.layout();
        let columns = architecture.recurrent_columns().max(1);
        let rows = layout.recurrent.step_by(columns).map(|at| (at, columns));
        // Leaks have bounds, and are not always trained.
        let units = match architecture.tensor("leak") {
            Some(_) => 0..0,
            None => layout.unit,
        };
        Directions {
            factors: rows.chain(units.map(|at| (at, 1))).collect(),
            shifts: layout.bias.collect(),
        }
    }

    fn len(&self) -> usize {
        self.factors.len() + self.shifts.len()
    }

    /// The parameters at a point of the search.
    fn moved(&self, parameters: &[f32], x: &[f64]) -> Vec<f32> {
        let mut moved = parameters.to_vec();
        let (factors, shifts) = x.split_at(self.factors.len());
        for (&(first, length), x) in self.factors.iter().zip(factors) {
            for parameter in moved.iter_mut().skip(first).take(length) {
                *parameter = (f64::from(*parameter) * (1.0 + x)) as f32;
            }
        }
        for (&at, x) in self.shifts.iter().zip(shifts) {
            if let Some(parameter) = moved.get_mut(at) {
                *parameter = (f64::from(*parameter) + SHIFT * x) as f32;
            }
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nullcline_models::architecture::{CellKind, Readout};

    #[test]
    fn directions_are_rows_biases_and_parameters_of_units() {
        let architecture = Architecture {
            cell: CellKind::ClippedShallowPlrnn,
            inputs: 1,
            units: 2,
            hidden: 3,
            outputs: 2,
            bias: true,
            readout: Readout::Identity,
            train_leak: false,
        };
        let directions = Directions::of(&architecture);
        // Two rows of W1, two A; two h1.
        assert_eq!((directions.factors.len(), directions.shifts.len()), (4, 2));
        let parameters = vec![2.0f32; architecture.parameter_count()];
        assert_eq!(directions.moved(&parameters, &[0.0; 6]), parameters);
        let moved = directions.moved(&parameters, &[0.0, 0.5, 0.0, -0.25, 0.0, 100.0]);
        let of = |name: &str| {
            let tensor = architecture.tensor(name).unwrap();
            moved[tensor.range].to_vec()
        };
        assert_eq!(of("recurrent"), [2.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
        assert_eq!(of("a"), [2.0, 1.5]);
        assert_eq!(of("bias"), [2.0, 3.0]);
        assert_eq!(of("hidden"), [2.0; 6]);
    }
}
