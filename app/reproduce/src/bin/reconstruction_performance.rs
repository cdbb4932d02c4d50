//! How fast generalized teacher forcing is, beside PyTorch and JAX on the same work in the same run; writes the section
//! "Reconstruction" of docs/performance.md.
//!
//! ```text
//! cargo run --release -p nullcline-reproduce --bin reconstruction_performance -- [--python PYTHON]
//! ```
//! PYTHON is an interpreter with `torch`, `jax[cpu]` and `optax` (default `python3`); what it lacks is left out, and said
//! so. Takes some two minutes on one core.

use nullcline_data::write_atomically;
use nullcline_models::engine::CpuEngine;
use nullcline_models::workload::{Reconstruction, Size, Workload};
use nullcline_reproduce::{peers, with_section};
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How often ours and the peers are measured in turn; the best of each counts.
const ROUNDS: usize = 3;
/// In a round ours and the peers are measured so often, each time for so long; the best mean counts.
const REPEATS: usize = 3;
const MEASURED: Duration = Duration::from_secs(1);
/// Updates made at a time, as in training.
const SPAN: u64 = 50;
const BATCH: usize = 16;
/// Of the published trainings.
const UPDATES: f64 = 250_000.0;

/// One piece of work: a shallow PLRNN whose observation is learned too.
struct Work {
    name: &'static str,
    latent: usize,
    hidden: usize,
    dimensions: usize,
    steps: usize,
    /// Updates a second that we hold ourselves to.
    target: f64,
}

const WORK: [Work; 3] = [
    Work {
        name: "Lorenz-63",
        latent: 3,
        hidden: 50,
        dimensions: 3,
        steps: 200,
        target: 3000.0,
    },
    Work {
        name: "ECG",
        latent: 5,
        hidden: 250,
        dimensions: 5,
        steps: 200,
        target: 500.0,
    },
    Work {
        name: "EEG",
        latent: 16,
        hidden: 512,
        dimensions: 64,
        steps: 50,
        target: 900.0,
    },
];

const PEERS: [&str; 2] = ["torch", "jax"];

/// Updates a second, the best of all rounds.
#[derive(Default)]
struct Rates {
    ours: f64,
    peers: [Option<f64>; PEERS.len()],
}

fn main() -> Result<()> {
    let python = peers::python(std::env::args().skip(1))?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = folder.join("peers/bench_gtf.py");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut rates: [Rates; WORK.len()] = Default::default();
    for round in 1..=ROUNDS {
        for (work, rates) in WORK.iter().zip(&mut rates) {
            println!("round {round} of {ROUNDS}: {}", work.name);
            rates.ours = rates.ours.max(pool.install(|| ours(work))?);
            for (library, rate) in PEERS.iter().zip(&mut rates.peers) {
                let new = peer(&python, &script, library, work);
                *rate = [*rate, new].into_iter().flatten().reduce(f64::max);
            }
        }
    }
    let versions = PEERS.map(|library| {
        peers::version(&python, library).unwrap_or_else(|| "not at hand".to_owned())
    });
    let path = folder.join("../../docs/performance.md");
    let page = std::fs::read_to_string(&path)?;
    let page = with_section(&page, "Reconstruction", &section(&rates, &versions)?);
    write_atomically(&path, page.as_bytes())?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Updates a second, the best mean.
fn ours(work: &Work) -> Result<f64> {
    let mut workload = Workload::new(&Size {
        cell: "shallow_plrnn".to_owned(),
        hidden: work.hidden,
        batch: BATCH,
        steps: work.steps,
        networks: 1,
        reconstruction: Some(Reconstruction {
            units: work.latent,
            outputs: work.dimensions,
            observation: "affine",
        }),
    })?;
    let mut engine = CpuEngine::new();
    workload.advance(&mut engine, SPAN)?;
    let mut best = 0.0f64;
    for _ in 0..REPEATS {
        let begun = Instant::now();
        let mut updates = 0;
        while begun.elapsed() < MEASURED {
            workload.advance(&mut engine, SPAN)?;
            updates += SPAN;
        }
        best = best.max(updates as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Updates a second of a peer; `None`, said aloud, where it fails.
fn peer(python: &str, script: &Path, library: &str, work: &Work) -> Option<f64> {
    let numbers = peers::options(&[
        ("--latent", work.latent),
        ("--hidden", work.hidden),
        ("--obs", work.dimensions),
        ("--T", work.steps),
        ("--batch", BATCH),
        ("--threads", 1),
        ("--repeat", REPEATS),
    ]);
    let mut arguments = vec!["--lib".to_owned(), library.to_owned()];
    arguments.extend(numbers);
    Some(
        peers::run(python, script, &arguments)?["min_s"]
            .as_f64()?
            .recip(),
    )
}

fn section(rates: &[Rates], [torch, jax]: &[String; PEERS.len()]) -> Result<String> {
    let mut text = format!(
        "## Reconstruction\n\n\
         Generalized teacher forcing with RAdam of a shallow PLRNN and its observation, whole updates in f32, batch {BATCH}, one\n\
         thread. Ours and the peers in turn, {ROUNDS} rounds of {REPEATS} times a second, the best mean of each; torch is a loop\n\
         over the steps, JAX `lax.scan` under `jit`. PyTorch: {torch}. JAX: {jax}.\n\
         The targets were set where torch made 41, 36 and 106 updates a second and JAX 425, 190 and 394. A published training is\n\
         250,000 updates. This section is written by\n\n\
         ```\ncargo run --release -p nullcline-reproduce --bin reconstruction_performance -- --python PYTHON\n```\n\n\
         | sizes of | latent | hidden | dimensions | steps | updates/s | torch | ours / torch | JAX | ours / JAX | a published training |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for (work, rates) in WORK.iter().zip(rates) {
        write!(
            text,
            "| {} | {} | {} | {} | {} | {:.0} (target {}) ",
            work.name,
            work.latent,
            work.hidden,
            work.dimensions,
            work.steps,
            rates.ours,
            work.target
        )?;
        for rate in rates.peers {
            match rate {
                Some(rate) => write!(text, "| {rate:.0} | {:.1} ", rates.ours / rate)?,
                None => write!(text, "| not at hand | - ")?,
            }
        }
        writeln!(text, "| {:.0} s |", UPDATES / rates.ours)?;
    }
    text.push('\n');
    Ok(text)
}
