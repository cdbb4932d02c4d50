//! How fast training is: whole updates (forward, loss, backward, optimiser) on made-up trials.

use crate::devices::Devices;
use crate::session::Outcome;
use ndarray::{Array3, ArrayView3};
use nullcline_data::Error;
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Settings, Value};
use nullcline_models::architecture::Architecture;
use nullcline_models::engine::{Engine, Learner, Objective, Plan};
use nullcline_models::ensemble::Ensemble;
use nullcline_models::optimisers::{Moments, Optimiser, Rule};
use nullcline_models::registry::{self, MODELS};
use nullcline_tasks::{Loss, Split, Task, Trials};
use std::time::Instant;

/// What to measure.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BenchOptions {
    /// `model.kind`.
    pub cell: String,
    /// Recurrent units (of a PLRNN: hidden units, with 5 latent ones).
    pub hidden: usize,
    /// Trials.
    pub batch: usize,
    /// Steps of each.
    pub steps: usize,
    /// Networks.
    pub networks: usize,
    /// `auto`, `cpu` or `gpu`.
    pub device: String,
}

/// Most numbers that the states of all trials may be.
const MOST_STATES: f64 = 1e9;
/// Inputs and outputs, as of the 3-bit flip-flop.
const CHANNELS: usize = 3;
/// Least time measured, in seconds, after one update that is not.
const MEASURED_SECONDS: f64 = 1.0;

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Measurement {
    /// As asked for.
    #[serde(flatten)]
    pub options: BenchOptions,
    /// CPU threads.
    pub threads: usize,
    /// The smallest of all updates made, in seconds; an update is one of every network.
    pub seconds_per_update: f64,
    /// Updates of single networks in a second.
    pub network_updates_per_second: f64,
    /// Operations of the matrix products, in 10^9 a second.
    pub gflops: f64,
}

impl std::fmt::Display for Measurement {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let options = &self.options;
        writeln!(
            f,
            "{} {} units, batch {}, {} steps, {} network(s), {} thread(s) on {}",
            options.cell,
            options.hidden,
            options.batch,
            options.steps,
            options.networks,
            self.threads,
            options.device,
        )?;
        writeln!(
            f,
            "{:.3} ms per update, {:.0} network-updates/s, {:.1} GFLOP/s",
            self.seconds_per_update * 1e3,
            self.network_updates_per_second,
            self.gflops,
        )
    }
}

/// Measures whole updates on the device that `options` asks for.
///
/// # Errors
/// An unknown cell or device, or a size of 0.
pub fn bench(options: &BenchOptions) -> Outcome<Measurement> {
    let mut engine = Devices::parse(&options.device)?.open()?;
    bench_on(options, &mut *engine)
}

/// Measures whole updates on an engine, whose name takes the place of the device asked for.
///
/// # Errors
/// An unknown cell, or a size of 0.
pub fn bench_on(options: &BenchOptions, engine: &mut dyn Engine) -> Outcome<Measurement> {
    // The ranges of an experiment's keys; together no more than memory is likely to hold.
    for (name, value, most) in [
        ("--hidden", options.hidden, 100_000),
        ("--batch", options.batch, 1_000_000),
        ("--steps", options.steps, 100_000),
        ("--networks", options.networks, 1_000_000),
    ] {
        if !(1..=most).contains(&value) {
            let allowed = format!("an integer from 1 to {most}");
            return Err(Error::argument(name, value.to_string(), allowed).into());
        }
    }
    let states = options.hidden as f64
        * options.batch as f64
        * options.steps as f64
        * options.networks as f64;
    if states > MOST_STATES {
        return Err(Error::argument(
            "--hidden x --batch x --steps x --networks",
            format!("{states:.1e} numbers"),
            format!("at most {MOST_STATES:.0e}: the states are kept in memory"),
        )
        .into());
    }
    let kind = registry::kind(&options.cell).ok_or_else(|| {
        let known: Vec<&str> = MODELS.iter().map(|kind| kind.name).collect();
        Error::argument("--cell", &options.cell, known.join(", "))
    })?;
    let mut settings = Settings::from_defaults("model", kind.keys);
    let plrnn = settings.keys().any(|key| key.name == "hidden");
    settings
        .set(
            if plrnn { "hidden" } else { "units" },
            Value::Integer(options.hidden as i64),
        )
        .map_err(|_| {
            Error::argument(
                "--hidden",
                options.hidden.to_string(),
                "an integer from 1 to 100000",
            )
        })?;
    let (architecture, initialisation) = kind.build(&settings, CHANNELS, CHANNELS)?;
    let mut ensemble = Ensemble::new(architecture, &initialisation, options.networks, 1);
    let architecture = ensemble.architecture.clone();
    let mut random = Random::new(1, Stream::TRIALS, 0);
    let mut numbers = |dim| {
        Array3::from_shape_simple_fn((options.batch, options.steps, dim), || {
            2.0 * random.uniform_f32() - 1.0
        })
    };
    let task = SameTrials(Trials {
        inputs: numbers(CHANNELS),
        targets: numbers(CHANNELS),
        mask: None,
        initial: None,
    });
    let count = architecture.parameter_count();
    let mut plan = Plan {
        architecture: &architecture,
        objective: Objective {
            loss: Loss::MeanSquaredError,
            forcing: None,
        },
        optimiser: Optimiser {
            rule: Rule::Adam,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            momentum: 0.0,
            nesterov: false,
        },
        clip: 0.0,
        trainable: &vec![true; count],
        leak: None,
        task: &task,
        batch: options.batch,
        updates: 0..1,
    };
    let mut moments = vec![Moments::new(count); options.networks];
    let mut previous = ensemble.parameters.clone();
    let mut seconds = Vec::new();
    let begun = Instant::now();
    while seconds.len() < 4 || begun.elapsed().as_secs_f64() < MEASURED_SECONDS {
        let mut learners: Vec<Learner> = ensemble
            .parameters
            .iter_mut()
            .zip(&mut moments)
            .zip(&mut previous)
            .map(|((parameters, moments), previous)| Learner {
                parameters,
                moments,
                previous,
                trial_seed: 1,
                learning_rates: plan.updates.clone().map(|_| 1e-4).collect(),
            })
            .collect();
        let started = Instant::now();
        engine.advance(&plan, &mut learners)?;
        let made = plan.updates.end - plan.updates.start;
        let elapsed = started.elapsed().as_secs_f64();
        seconds.push(elapsed / made as f64);
        // Several updates at a time where they are short, as in training.
        let next = if elapsed < 0.05 { 2 * made } else { made };
        plan.updates = plan.updates.end..plan.updates.end + next;
    }
    // The first update touches fresh memory.
    let best = seconds
        .iter()
        .skip(1)
        .copied()
        .fold(f64::INFINITY, f64::min);
    let operations =
        operations(&architecture, options.batch, options.steps) * options.networks as f64;
    let gflops = operations / best / 1e9;
    let rate = options.networks as f64 / best;
    Ok(Measurement {
        options: BenchOptions {
            device: engine.name(),
            ..options.clone()
        },
        threads: rayon::current_num_threads(),
        seconds_per_update: best,
        network_updates_per_second: rate,
        gflops,
    })
}

/// A task that always gives the same trials: what is measured is training, not the drawing of trials.
struct SameTrials(Trials);

impl Task for SameTrials {
    fn kind(&self) -> &'static str {
        "same_trials"
    }
    fn input_names(&self) -> Vec<String> {
        (1..=CHANNELS).map(|i| format!("input_{i}")).collect()
    }
    fn output_names(&self) -> Vec<String> {
        (1..=CHANNELS).map(|i| format!("output_{i}")).collect()
    }
    fn loss(&self) -> Loss {
        Loss::MeanSquaredError
    }
    fn trials(&self, _split: Split, _seed: u64, _index: u64, _batch: usize) -> Trials {
        self.0.clone()
    }
    fn metrics(&self, _outputs: ArrayView3<f32>, _trials: &Trials) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
    fn metric_names(&self) -> &'static [&'static str] {
        &[]
    }
}

/// Floating-point operations of the matrix products of one update: 2 per weight, step and trial forward,
/// 4 backward. Pointwise work is not counted, as is customary.
fn operations(architecture: &Architecture, batch: usize, steps: usize) -> f64 {
    let layout = architecture.layout();
    let weights =
        layout.recurrent.len() + layout.hidden.len() + layout.input.len() + layout.readout.len();
    6.0 * weights as f64 * (batch * steps) as f64
}
