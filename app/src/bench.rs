//! How fast training is: whole updates (forward, loss, backward, optimiser) on made-up trials.

use crate::devices::Devices;
use crate::session::Outcome;
use nullcline_data::Error;
use nullcline_models::engine::Engine;
use nullcline_models::workload::{Size, Workload};
use std::time::Instant;

/// What to measure.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BenchOptions {
    /// `model.kind`.
    pub cell: String,
    /// Recurrent units (of a shallow PLRNN: hidden units, with 5 latent ones).
    pub hidden: usize,
    /// Trials.
    pub batch: usize,
    /// Steps of each.
    pub steps: usize,
    /// Networks.
    pub networks: usize,
    /// As `--device`; of a [`Measurement`], the engine's name. `auto` is the CPU: nothing is tried.
    pub device: String,
}

/// Most numbers that the states of all trials of a network may be.
const MOST_STATES: f64 = 1e9;
/// Most weights of all networks.
const MOST_WEIGHTS: f64 = 1e9;
/// Least time measured, in seconds, after one update that is not.
const MEASURED_SECONDS: f64 = 1.0;

/// Longest span of updates made at a time for its own sake, in seconds.
const LONGEST_SPAN: f64 = 1.0;

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Measurement {
    /// As asked for.
    #[serde(flatten)]
    pub options: BenchOptions,
    /// CPU threads.
    pub threads: usize,
    /// The smallest over all spans of updates made, in seconds; an update is one of every network.
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
    let states = options.hidden as f64 * options.batch as f64 * options.steps as f64;
    if states > MOST_STATES {
        return Err(Error::argument(
            "--hidden x --batch x --steps",
            format!("{states:.1e} numbers"),
            format!("at most {MOST_STATES:.0e}: the states are kept in memory"),
        )
        .into());
    }
    let weights = options.hidden as f64 * options.hidden as f64 * options.networks as f64;
    if weights > MOST_WEIGHTS {
        return Err(Error::argument(
            "--hidden x --hidden x --networks",
            format!("{weights:.1e} weights"),
            format!("at most {MOST_WEIGHTS:.0e}: they are kept in memory"),
        )
        .into());
    }
    let mut work = Workload::new(&Size {
        cell: options.cell.clone(),
        hidden: options.hidden,
        batch: options.batch,
        steps: options.steps,
        networks: options.networks,
        reconstruction: None,
    })?;
    let mut seconds = Vec::new();
    let mut updates = 1;
    let mut before = 0.0;
    let begun = Instant::now();
    while seconds.len() < 4 || begun.elapsed().as_secs_f64() < MEASURED_SECONDS {
        let started = Instant::now();
        work.advance(engine, updates)?;
        let elapsed = started.elapsed().as_secs_f64();
        seconds.push(elapsed / updates as f64);
        // As in training: more updates at a time where they are short, or where a span costs so much in itself that
        // more are made faster.
        let rate = updates as f64 / elapsed.max(1e-9);
        if elapsed < 0.05 || rate > 1.2 * before && elapsed < LONGEST_SPAN {
            updates *= 2;
        }
        before = rate;
    }
    // The first update touches fresh memory.
    let best = seconds
        .iter()
        .skip(1)
        .copied()
        .fold(f64::INFINITY, f64::min);
    let gflops = work.operations() / best / 1e9;
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
