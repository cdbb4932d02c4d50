//! How fast analyses are, beside numpy, PyTorch and JAX on the same networks in the same run; writes the section
//! "Analyses" of docs/performance.md.
//!
//! ```text
//! cargo run --release -p nullcline-reproduce --bin analysis_performance -- [--python PYTHON]
//! ```
//! PYTHON is an interpreter with `numpy`, and with `torch` and `jax[cpu]`, which are left out where it lacks them
//! (default `python3`). Takes some three minutes on one core.

use ndarray::{ArrayD, ArrayView2, Ix2};
use nullcline_analysis::fixed_points::{FixedPointSearch, FixedPointSettings, find_fixed_points};
use nullcline_analysis::free_run::RunInput;
use nullcline_analysis::lyapunov::{LyapunovSettings, lyapunov_spectrum};
use nullcline_data::npy::read_npz;
use nullcline_data::random::{Random, Stream};
use nullcline_data::tensors::{Tensor, Tensors};
use nullcline_data::write_atomically;
use nullcline_models::architecture::{Architecture, CellKind, Readout};
use nullcline_models::network::Network;
use nullcline_models::weights;
use nullcline_reproduce::{peers, with_section};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How often ours and the peers are measured in turn; the best of each counts.
const ROUNDS: usize = 3;

/// Arrays of an npz file by name.
type Arrays = BTreeMap<String, ArrayD<f64>>;

fn arrays(path: &Path) -> Result<Arrays> {
    Ok(read_npz(path)?.into_iter().collect())
}

fn array<'a>(arrays: &'a Arrays, name: &str) -> Result<&'a ArrayD<f64>> {
    Ok(arrays.get(name).ok_or_else(|| format!("no array {name}"))?)
}

fn matrix<'a>(arrays: &'a Arrays, name: &str) -> Result<ArrayView2<'a, f64>> {
    Ok(array(arrays, name)?.view().into_dimensionality::<Ix2>()?)
}

/// A leaky network from the peers' arrays, in f64.
fn leaky(arrays: &Arrays) -> Result<Network> {
    let w = matrix(arrays, "w")?;
    let architecture = Architecture {
        cell: CellKind::LeakyRateTanh,
        inputs: 0,
        units: w.nrows(),
        hidden: 0,
        outputs: 1,
        bias: arrays.contains_key("b"),
        readout: Readout::LinearWithoutBias,
        train_leak: false,
    };
    let layout = architecture.layout();
    let mut parameters = vec![0.0; layout.total];
    let fill = |to: &mut [f64], from: &ArrayD<f64>| {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    };
    fill(&mut parameters[layout.recurrent], array(arrays, "w")?);
    if let Some(b) = arrays.get("b") {
        fill(&mut parameters[layout.bias], b);
    }
    let leak = array(arrays, "leak")?.first().copied().ok_or("no leak")?;
    parameters[layout.unit].fill(leak);
    Ok(Network::from_f64(architecture, parameters))
}

/// One of the trained flip-flops of torch, as it is imported.
fn imported(path: &Path) -> Result<Network> {
    let mut tensors = Tensors::of_file(path);
    for (name, array) in read_npz(path)? {
        tensors.insert(name, Tensor::F64(array));
    }
    let imported = weights::import(&tensors, None, None, None)?;
    Ok(Network::new(imported.architecture, &imported.parameters))
}

/// Ours and the peers' best times, in seconds, and what came out.
struct Row {
    work: String,
    ours: f64,
    result: String,
    target: Option<f64>,
    /// Name, seconds where it ran, what came out.
    peers: Vec<(&'static str, f64, String)>,
}

/// A peer's run: seconds, and what came out; `None` where it failed.
type Peer<'a> = &'a dyn Fn() -> Option<(f64, String)>;

/// Runs a peer's script once; `None`, said aloud, where it fails.
fn peer(python: &str, script: &Path, arguments: &[&str]) -> Option<serde_json::Value> {
    let once = ["--repeat", "1"].iter().chain(arguments);
    let arguments: Vec<String> = once.map(|argument| (*argument).to_owned()).collect();
    peers::run(python, script, &arguments)
}

/// Measures ours and the peers in turn.
fn measure(
    work: &str,
    target: Option<f64>,
    ours: &mut dyn FnMut() -> Result<String>,
    peers: &[(&'static str, Peer)],
) -> Result<Row> {
    println!("{work}");
    let mut row = Row {
        work: work.to_owned(),
        ours: f64::INFINITY,
        result: ours()?,
        target,
        peers: Vec::new(),
    };
    for _ in 0..ROUNDS {
        // Ours is short: several times a round.
        for _ in 0..5 {
            let begun = Instant::now();
            row.result = ours()?;
            row.ours = row.ours.min(begun.elapsed().as_secs_f64());
        }
        for (name, run) in peers {
            let Some((seconds, result)) = run() else {
                continue;
            };
            match row.peers.iter_mut().find(|(known, ..)| known == name) {
                Some((_, best, _)) => *best = best.min(seconds),
                None => row.peers.push((name, seconds, result)),
            }
        }
    }
    Ok(row)
}

/// What a search found, in words.
fn found(search: &FixedPointSearch) -> String {
    let fixed = search.fixed().count();
    let proved = search.fixed().filter(|p| p.certificate().is_some()).count();
    let led = search
        .led_to
        .iter()
        .filter(|&&id| search.fixed().any(|point| point.id == id));
    format!(
        "{fixed} points, {proved} proved, {:.1} % of starts",
        100.0 * led.count() as f64 / search.led_to.len().max(1) as f64
    )
}

/// What a peer's search found.
fn peer_found(value: &serde_json::Value) -> String {
    format!(
        "{} points, {:.1} % of starts, below q = 1e-12; {} at any q",
        value["points"],
        100.0 * value["converged"].as_f64().unwrap_or(f64::NAN),
        value["distinct"],
    )
}

fn seconds(value: &serde_json::Value) -> f64 {
    value["min_s"].as_f64().unwrap_or(f64::NAN)
}

fn search(network: &Network, starts: ArrayView2<f64>) -> Result<String> {
    let input = vec![0.0; network.architecture().inputs];
    let settings = FixedPointSettings::default();
    let search = find_fixed_points(network, starts, &input, &settings, &mut |_| true)?;
    Ok(found(&search))
}

fn main() -> Result<()> {
    let python = peers::python(std::env::args().skip(1))?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = folder.join("peers");
    let fixtures = folder.join("../../analysis/tests/fixtures");
    let scratch = tempfile::tempdir()?;
    let made = Command::new(&python)
        .arg(scripts.join("networks.py"))
        .args([scratch.path(), &fixtures])
        .status()?;
    if !made.success() {
        return Err(format!("{python} has no numpy, which writes the networks").into());
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let rows = pool.install(|| rows(&python, &scripts, &fixtures, scratch.path()))?;

    let path = folder.join("../../docs/performance.md");
    let page = std::fs::read_to_string(&path)?;
    let text = with_section(&page, "Analyses", &section(&rows)?);
    write_atomically(&path, text.as_bytes())?;
    println!("wrote {}", path.display());
    Ok(())
}

fn rows(python: &str, scripts: &Path, fixtures: &Path, networks: &Path) -> Result<Vec<Row>> {
    let fixed_points = scripts.join("bench_fixed_points.py");
    let of = |name: &str| networks.join(name).display().to_string();
    let mut rows = Vec::new();

    let arrays_of_patterns = arrays(&networks.join("patterns.npz"))?;
    let network = leaky(&arrays_of_patterns)?;
    let starts = matrix(&arrays_of_patterns, "starts")?;
    let patterns = of("patterns.npz");
    let run = |lib: &str, dtype: &str| {
        let arguments = ["--lib", lib, "--dtype", dtype, "--network", &patterns];
        let value = peer(python, &fixed_points, &arguments)?;
        Some((seconds(&value), peer_found(&value)))
    };
    rows.push(measure(
        "fixed points, 64 units, 1,024 starts",
        Some(0.2),
        &mut || search(&network, starts),
        &[
            ("torch, Adam, f32", &|| run("torch", "float32")),
            ("JAX, Newton, f32", &|| run("jax", "float32")),
            ("JAX, Newton, f64", &|| run("jax", "float64")),
            ("numpy, Newton, f64", &|| run("numpy", "float64")),
        ],
    )?);

    for (cell, name) in [("tanh", "nn.RNN"), ("gru", "nn.GRU")] {
        let file = fixtures.join(format!("flip_flop_{cell}16.npz"));
        let network = imported(&file)?;
        let arrays = arrays(&networks.join(format!("starts_{cell}.npz")))?;
        let starts = matrix(&arrays, "starts")?;
        let (weights, from) = (
            file.display().to_string(),
            of(&format!("starts_{cell}.npz")),
        );
        let run = || {
            let arguments = ["--network", &weights, "--starts", &from];
            let more = ["--iterations", "1000"];
            let value = peer(python, &fixed_points, &[&arguments[..], &more].concat())?;
            Some((seconds(&value), peer_found(&value)))
        };
        rows.push(measure(
            &format!("fixed points, trained 3-bit flip-flop ({name}, 16 units), 1,024 starts"),
            (cell == "tanh").then_some(0.03),
            &mut || search(&network, starts),
            &[("torch, Adam, f32", &run)],
        )?);
    }

    let arrays_of_chaos = arrays(&networks.join("chaos.npz"))?;
    let network = leaky(&arrays_of_chaos)?;
    let start: Vec<f64> = array(&arrays_of_chaos, "start")?.iter().copied().collect();
    let lyapunov = scripts.join("bench_lyapunov.py");
    let chaos = of("chaos.npz");
    for (every, target) in [(1, Some(0.4)), (10, None)] {
        let run = |lib: &str| {
            let every = every.to_string();
            let arguments = ["--lib", lib, "--network", &chaos, "--every", &every];
            let value = peer(python, &lyapunov, &arguments)?;
            let largest = value["largest"].as_f64().unwrap_or(f64::NAN);
            Some((seconds(&value), format!("largest {largest:.4}")))
        };
        let settings = LyapunovSettings {
            transient: 0,
            every,
            ..LyapunovSettings::new(10_000)
        };
        let mut ours = || {
            let spectrum = lyapunov_spectrum(
                &network,
                &start,
                RunInput::Constant(&[]),
                &settings,
                &mut Random::new(1, Stream::STARTS, 0),
                &mut |_| true,
            )?;
            let largest = spectrum.exponents.first().copied().unwrap_or(f64::NAN);
            Ok(format!("largest {largest:.4}"))
        };
        let how = if every == 1 { "each" } else { "every tenth" };
        rows.push(measure(
            &format!("Lyapunov exponents, all 64, 10,000 steps, QR at {how}"),
            target,
            &mut ours,
            &[("numpy", &|| run("numpy")), ("JAX, f64", &|| run("jax"))],
        )?);
    }
    Ok(rows)
}

fn section(rows: &[Row]) -> Result<String> {
    let mut text = format!(
        "## Analyses\n\n\
         One thread, f64; ours with every proof. Ours and the peers on the same networks and starts, {ROUNDS} rounds in turn,\n\
         the smallest time of each. \"torch, Adam\" is the loop of FixedPointFinder (learning rate 1, lowered on plateaus, at\n\
         most 5,000 iterations, 1,000 for the flip-flops). Of the peers' results those that differ by 1e-3 are counted, with\n\
         q = 1/2 |x - F(x)|^2 below 1e-12 and, as FixedPointFinder does by default, at any q. This section is written by\n\n\
         ```\ncargo run --release -p nullcline-reproduce --bin analysis_performance -- --python PYTHON\n```\n\n\
         | work | ours, ms | found | peer | peer, ms | peer / ours | found |\n|---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let target = row
            .target
            .map_or(String::new(), |s| format!(" (target {:.0})", 1e3 * s));
        let (mut work, mut ours) = (
            row.work.as_str(),
            format!("{:.1}{target} | {}", 1e3 * row.ours, row.result),
        );
        for (name, seconds, result) in &row.peers {
            writeln!(
                text,
                "| {work} | {ours} | {name} | {:.0} | {:.1} | {result} |",
                1e3 * seconds,
                seconds / row.ours
            )?;
            (work, ours) = ("", " | ".to_owned());
        }
        if row.peers.is_empty() {
            writeln!(text, "| {work} | {ours} | - | - | - | - |")?;
        }
    }
    text.push('\n');
    Ok(text)
}
