//! How fast training is, beside PyTorch, JAX and hand-written C on the same work in the same run; writes
//! docs/performance.md.
//!
//! ```text
//! cargo run --release -p nullcline-reproduce --bin performance -- [--python PYTHON] [--gpu-only]
//! ```
//! PYTHON is an interpreter with `torch`, `jax[cpu]` and `optax` (default `python3`); what it lacks is left out, and
//! said so. `gcc` compiles the C, `nvcc` the CUDA. Takes some six minutes, and two more with a graphics card. Without a
//! card the page keeps what it says of the last one; `--gpu-only` measures the card alone and keeps the rest.

use nullcline::bench::{BenchOptions, Measurement, bench_on};
use nullcline_data::write_atomically;
use nullcline_gpu::{GpuEngine, Request};
use nullcline_models::engine::{CpuEngine, Engine};
use nullcline_models::simd::Instructions;
use nullcline_models::workload::{Size, Workload};
use nullcline_reproduce::peers;
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How often ours and the peers are measured in turn; the best of each counts.
const ROUNDS: usize = 2;

/// One piece of work.
struct Work {
    cell: &'static str,
    hidden: usize,
    steps: usize,
    networks: usize,
    threads: usize,
    /// torch's way of doing it.
    torch: &'static str,
    /// The least ratios to torch and JAX that we hold ourselves to, 0 for none, and GFLOP/s a core where the
    /// multiply-add units peak at 187.
    targets: (f64, f64, f64),
}

const fn work(
    cell: &'static str,
    hidden: usize,
    steps: usize,
    torch: &'static str,
    targets: (f64, f64, f64),
) -> Work {
    Work {
        cell,
        hidden,
        steps,
        networks: 1,
        threads: 1,
        torch,
        targets,
    }
}

const BATCH: usize = 64;

const WORK: &[Work] = &[
    work("leaky", 16, 100, "leaky", (0.0, 0.0, 0.0)),
    work("leaky", 64, 100, "leaky", (7.0, 3.5, 100.0)),
    work("leaky", 64, 500, "leaky", (0.0, 0.0, 85.0)),
    work("leaky", 128, 100, "leaky", (3.3, 2.5, 100.0)),
    work("leaky", 256, 100, "leaky", (2.1, 3.0, 100.0)),
    work("leaky", 512, 100, "leaky", (0.0, 0.0, 100.0)),
    work("gru", 64, 100, "gru", (4.0, 2.5, 0.0)),
    work("gru", 256, 100, "gru", (1.8, 0.0, 0.0)),
    work("lstm", 64, 100, "lstm", (4.0, 2.5, 0.0)),
    work("lstm", 256, 100, "lstm", (1.8, 0.0, 0.0)),
    Work {
        networks: 32,
        ..work("leaky", 64, 100, "leaky_bmm", (0.0, 0.0, 0.0))
    },
    Work {
        networks: 32,
        threads: 2,
        ..work("leaky", 64, 100, "leaky_bmm", (0.0, 0.0, 0.0))
    },
    Work {
        networks: 32,
        ..work("leaky", 16, 100, "leaky_bmm", (0.0, 0.0, 0.0))
    },
];

/// Where the page goes over from training to the sections that other programs write, and which are kept:
/// `analysis_performance` this one, `reconstruction_performance` the next.
const ANALYSES: &str = "## Analyses\n\n";
/// Where the page goes over from the processor to the graphics card.
const CARD: &str = "## GPU\n\n";
/// What follows is written by hand, and kept.
const REMARKS: &str = "### Remarks\n";
const NO_CARD: &str = "No card was at hand: no number is claimed.\n";

/// Seconds per update of one piece of work: the best of all rounds, where there is one.
#[derive(Default)]
struct Times {
    /// Operations of the matrix products of one update of all networks.
    operations: f64,
    ours: Option<f64>,
    avx2: Option<f64>,
    torch: Option<f64>,
    jax: Option<f64>,
    c: Option<f64>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut python, mut gpu_only) = ("python3".to_owned(), false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--python" => python = arguments.next().ok_or("--python wants a path")?,
            "--gpu-only" => gpu_only = true,
            other => {
                let known = "there are --python PATH and --gpu-only";
                return Err(format!("{other}: not known; {known}").into());
            }
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = folder.join("peers");
    let build = tempfile::tempdir()?;
    let path = folder.join("../../docs/performance.md");
    let has = |module: &str| peers::version(&python, module);
    let torch = has("torch");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let (of_processor, of_card) = before.split_once(CARD).unwrap_or((&before, NO_CARD));
    let of_analyses = of_processor
        .find(ANALYSES)
        .map_or("", |at| &of_processor[at..]);
    // What was written by hand of the card stays.
    let (tables, remarks) = of_card
        .find(REMARKS)
        .map_or((of_card, ""), |at| of_card.split_at(at));
    let cuda = compile_cuda(&scripts.join("fused_leaky.cu"), build.path());
    let script = scripts.join("bench_torch.py");
    let measured = on_gpu(&python, &script, torch.as_deref(), cuda.as_deref())?;
    if gpu_only && measured.is_none() {
        return Err("--gpu-only: there is no graphics card".into());
    }
    let of_card = measured.as_deref().unwrap_or(tables).to_owned() + remarks;
    if gpu_only {
        let page = format!("{of_processor}{CARD}{of_card}");
        write_atomically(&path, page.as_bytes())?;
        println!("wrote {}", path.display());
        return Ok(());
    }
    let c = compile(&scripts.join("fused_leaky.c"), build.path());
    let jax = has("jax");
    let peak = pool(1)?.install(|| CpuEngine::new().peak(2.0)) / 1e9;
    let mut times: Vec<Times> = WORK.iter().map(|_| Times::default()).collect();
    for round in 1..=ROUNDS {
        for (work, times) in WORK.iter().zip(&mut times) {
            println!(
                "round {round} of {ROUNDS}: {} {} units, {} steps, {} network(s), {} thread(s)",
                work.cell, work.hidden, work.steps, work.networks, work.threads
            );
            let best = |time: &mut Option<f64>, new: Option<f64>| {
                *time = [*time, new].into_iter().flatten().reduce(f64::min);
            };
            let measured = ours(work, Instructions::detect())?;
            times.operations = measured.gflops * 1e9 * measured.seconds_per_update;
            best(&mut times.ours, Some(measured.seconds_per_update));
            if Instructions::detect() == Instructions::Avx512 {
                let measured = ours(work, Instructions::Avx2)?;
                best(&mut times.avx2, Some(measured.seconds_per_update));
            }
            if torch.is_some() {
                let script = scripts.join("bench_torch.py");
                best(&mut times.torch, peer(&python, &script, work, work.torch));
            }
            if jax.is_some() {
                let script = scripts.join("bench_jax.py");
                best(&mut times.jax, peer(&python, &script, work, work.cell));
            }
            // The C program works on thirty-two units at a time.
            if let (Some(c), "leaky", 0) = (&c, work.cell, work.hidden % 32) {
                best(&mut times.c, anchor(c, work));
            }
        }
    }
    let page = page(
        peak,
        &times,
        torch.as_deref(),
        jax.as_deref(),
        c.is_some(),
        &format!("{of_analyses}{CARD}{of_card}"),
    )?;
    write_atomically(&path, page.as_bytes())?;
    println!("wrote {}", path.display());
    Ok(())
}

fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    Ok(rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?)
}

fn ours(work: &Work, instructions: Instructions) -> Result<Measurement> {
    pool(work.threads)?.install(|| {
        let mut engine = CpuEngine::with_instructions(instructions);
        measure(work, &mut engine).map_err(|error| error.to_string().into())
    })
}

/// Measures ours on an engine.
fn measure(work: &Work, engine: &mut dyn Engine) -> std::result::Result<Measurement, String> {
    let options = BenchOptions {
        cell: work.cell.to_owned(),
        hidden: work.hidden,
        batch: BATCH,
        steps: work.steps,
        networks: work.networks,
        device: "cpu".to_owned(),
    };
    bench_on(&options, engine).map_err(|fault| fault.to_string())
}

/// Runs a peer's script; `None`, said aloud, where it fails.
fn peer(python: &str, script: &Path, work: &Work, cell: &str) -> Option<f64> {
    peer_with(python, script, work, cell, &[])
}

/// As [`peer`], with more arguments.
fn peer_with(python: &str, script: &Path, work: &Work, cell: &str, extra: &[&str]) -> Option<f64> {
    let numbers = peers::options(&[
        ("--repeat", 3),
        ("--hidden", work.hidden),
        ("--batch", BATCH),
        ("--T", work.steps),
        ("--ens", work.networks),
        ("--threads", work.threads),
    ]);
    let mut arguments = vec!["--cell".to_owned(), cell.to_owned()];
    arguments.extend(numbers);
    arguments.extend(extra.iter().map(|argument| (*argument).to_owned()));
    peers::run(python, script, &arguments)?["min_s"].as_f64()
}

fn compile(source: &Path, folder: &Path) -> Option<PathBuf> {
    let program = folder.join("fused_leaky");
    let flags = [
        "-O3",
        "-march=native",
        "-mprefer-vector-width=512",
        "-ffast-math",
        "-o",
    ];
    let compiled = Command::new("gcc")
        .args(flags)
        .arg(&program)
        .arg(source)
        .args(["-lm", "-lpthread"])
        .status()
        .is_ok_and(|status| status.success());
    compiled.then_some(program)
}

fn compile_cuda(source: &Path, folder: &Path) -> Option<PathBuf> {
    let program = folder.join("fused_leaky_cuda");
    let compiled = Command::new("nvcc")
        .args(["-O3", "-std=c++17", "-arch=native", "-DUSE_CUBLAS", "-o"])
        .arg(&program)
        .arg(source)
        .arg("-lcublas")
        .status()
        .is_ok_and(|status| status.success());
    compiled.then_some(program)
}

/// Seconds per update of the CUDA program, which checks its own gradients; `None`, said aloud, where it fails.
fn cuda_anchor(program: &Path, hidden: usize, networks: usize) -> Option<f64> {
    let output = Command::new(program)
        .args([hidden, 100, networks, 10].map(|n| n.to_string()))
        .output()
        .ok()?;
    let line = String::from_utf8_lossy(&output.stdout);
    let value: serde_json::Value = serde_json::from_str(line.trim()).unwrap_or_default();
    let seconds = value.get("min_s").and_then(serde_json::Value::as_f64);
    if !output.status.success() || seconds.is_none() {
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("{} failed: {line}{errors}", program.display());
        return None;
    }
    seconds
}

/// The C program on one network per thread, whatever the number of networks asked for: it works on one at a
/// time.
fn anchor(program: &Path, work: &Work) -> Option<f64> {
    let repeats = if work.hidden * work.steps > 20_000 {
        10
    } else {
        60
    };
    let output = Command::new(program)
        .args([work.hidden, BATCH, work.steps, repeats, work.threads].map(|n| n.to_string()))
        .output()
        .ok()?;
    let line = String::from_utf8_lossy(&output.stdout);
    let value: serde_json::Value = serde_json::from_str(line.trim()).ok()?;
    let seconds = value.get("min_s")?.as_f64()?;
    Some(seconds * work.networks as f64 / work.threads as f64)
}

/// The processor's name as the operating system gives it.
fn processor() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let field = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name))?;
                Some(line.split_once(':')?.1.trim().to_owned())
            };
            Some(format!(
                "{} (family {}, model {})",
                field("model name")?,
                field("cpu family")?,
                field("model\t")?
            ))
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Networks of so many units, so many at a time, on a graphics card.
const ON_GPU: &[(usize, usize)] = &[
    (64, 1),
    (64, 100),
    (64, 1000),
    (128, 500),
    (256, 100),
    (512, 50),
];

/// The tables of the graphics card, where there is one: ours beside the best that torch does on the same card and
/// beside hand-written CUDA, and where the time of ours goes.
fn on_gpu(
    python: &str,
    script: &Path,
    torch: Option<&str>,
    cuda: Option<&Path>,
) -> Result<Option<String>> {
    let mut engine = match GpuEngine::open(Request::Best) {
        Ok(engine) => engine,
        Err(error) => {
            println!("no graphics card is measured: {error}");
            return Ok(None);
        }
    };
    let mut table = format!(
        "{}. Leaky cell, 100 steps, batch {BATCH}. PyTorch: {}; the fastest of `nn.RNN` with cuDNN, a compiled loop, and\n\
         `torch.baddbmm` over all networks. CUDA C: `app/reproduce/peers/fused_leaky.cu`{}.\n\n\
         | units | networks | network-updates/s | GFLOP/s | torch, network-updates/s | ours / torch | CUDA C, network-updates/s | ours / CUDA C |\n\
         |---|---|---|---|---|---|---|---|\n",
        engine.name(),
        torch.unwrap_or("not at hand, not measured"),
        if cuda.is_some() {
            ""
        } else {
            ", no nvcc at hand, not measured"
        },
    );
    let mut shares = String::from(
        "\nWhere the time goes, in ms of an update, by the card's own clock:\n\n| units | networks | kernels |\n|---|---|---|\n",
    );
    for &(hidden, networks) in ON_GPU {
        println!("{}: {hidden} units, {networks} network(s)", engine.name());
        let size = Work {
            networks,
            ..work("leaky", hidden, 100, "leaky_bmm", (0.0, 0.0, 0.0))
        };
        let alone = Work {
            networks: 1,
            ..work("leaky", hidden, 100, "rnn", (0.0, 0.0, 0.0))
        };
        let (mut ours, mut gflops) = (f64::INFINITY, 0.0f64);
        let (mut theirs, mut anchor) = (0.0f64, 0.0f64);
        for _ in 0..ROUNDS {
            let measured = measure(&size, &mut engine)?;
            ours = ours.min(measured.seconds_per_update);
            gflops = gflops.max(measured.gflops);
            for (work, cell) in [
                (&alone, "rnn"),
                (&alone, "leaky_compile"),
                (&size, "leaky_bmm"),
            ] {
                let extra = ["--device", "cuda"];
                let seconds = torch.and_then(|_| peer_with(python, script, work, cell, &extra));
                theirs = theirs.max(seconds.map_or(0.0, |s| work.networks as f64 / s));
            }
            let seconds = cuda.and_then(|program| cuda_anchor(program, hidden, networks));
            anchor = anchor.max(seconds.map_or(0.0, |s| networks as f64 / s));
        }
        let rate = networks as f64 / ours;
        let beside = |other: f64| {
            if other > 0.0 {
                format!("{other:.0} | {:.2}", rate / other)
            } else {
                "- | -".to_owned()
            }
        };
        writeln!(
            table,
            "| {hidden} | {networks} | {rate:.0} | {gflops:.0} | {} | {} |",
            beside(theirs),
            beside(anchor)
        )?;
        if engine.watch() {
            let updates = 8;
            let mut work = Workload::new(&Size {
                cell: "leaky".to_owned(),
                hidden,
                batch: BATCH,
                steps: 100,
                networks,
                reconstruction: None,
            })?;
            work.advance(&mut engine, updates)?;
            let mut times: Vec<(&str, f64)> = engine
                .times()
                .iter()
                .map(|(name, time)| (*name, time.seconds / updates as f64 * 1e3))
                .collect();
            times.sort_by(|a, b| b.1.total_cmp(&a.1));
            let all: f64 = times.iter().map(|(_, ms)| ms).sum();
            let parts: Vec<String> = times
                .iter()
                .filter(|(_, ms)| *ms > 0.02 * all)
                .map(|(name, ms)| format!("{} {ms:.3}", name.replace('_', " ")))
                .collect();
            writeln!(
                shares,
                "| {hidden} | {networks} | {all:.3}: {} |",
                parts.join(", ")
            )?;
        }
    }
    Ok(Some(table + &shares + "\n"))
}

fn page(
    peak: f64,
    times: &[Times],
    torch: Option<&str>,
    jax: Option<&str>,
    c: bool,
    rest: &str,
) -> Result<String> {
    let mut page = String::new();
    writeln!(
        page,
        "# Performance\n\n\
         Training, whole updates in f32: forward, mean squared error of a linear readout at every step, backward,\n\
         Adam; three inputs, three outputs, batch {BATCH}. Every piece of work is measured in {ROUNDS} rounds, ours and the\n\
         peers' in turn, and the smallest time of each counts; ratios last longer than times. This page is written by\n\n\
         ```\ncargo run --release -p nullcline-reproduce --bin performance -- --python PYTHON\n```\n\n\
         Processor: {}, {} threads. Engine: {}. The multiply-add units of one core gave {peak:.0} GFLOP/s at most\n\
         (the engine's own product on operands in first-level cache): % is the share of that, per thread.\n\
         PyTorch: {}. JAX: {}. C: {}.\n",
        processor(),
        std::thread::available_parallelism()?,
        CpuEngine::new().name(),
        torch.unwrap_or("not at hand, not measured"),
        jax.unwrap_or("not at hand, not measured"),
        if c {
            "`app/reproduce/peers/fused_leaky.c`, hand-written for AVX-512"
        } else {
            "no gcc or no AVX-512 at hand, not measured"
        },
    )?;
    writeln!(
        page,
        "| cell | units | steps | networks | threads | ms per update | network-updates/s | GFLOP/s | % | torch / ours | JAX / ours | C / ours | AVX2 / AVX-512 |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for (work, times) in WORK.iter().zip(times) {
        let ours = times.ours.unwrap_or(f64::NAN);
        let gflops = times.operations / ours / 1e9;
        // What no f32 engine can go below here: every product at the peak, and nothing else done.
        let least = times.operations / (peak * 1e9 * work.threads as f64);
        let ratio = |time: Option<f64>, target: f64| match time {
            Some(time) if target > 0.0 => {
                let (ratio, most) = (time / ours, time / least);
                format!("{ratio:.1} (target {target}, at most {most:.1})")
            }
            Some(time) => format!("{:.1}", time / ours),
            None => "-".to_owned(),
        };
        let (torch, jax, share) = work.targets;
        let wanted = if share > 0.0 {
            format!(" (target {:.0})", 100.0 * share / 187.0)
        } else {
            String::new()
        };
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {:.2} | {:.0} | {gflops:.0} | {:.0}{wanted} | {} | {} | {} | {} |",
            work.cell,
            work.hidden,
            work.steps,
            work.networks,
            work.threads,
            ours * 1e3,
            work.networks as f64 / ours,
            100.0 * gflops / peak / work.threads as f64,
            ratio(times.torch, torch),
            ratio(times.jax, jax),
            ratio(times.c, 0.0),
            times
                .avx2
                .map_or("-".to_owned(), |avx2| format!("{:.2}", avx2 / ours)),
        )?;
    }
    writeln!(
        page,
        "\ntorch is a loop over the steps for the leaky cell (`leaky`), `nn.GRU` and `nn.LSTM` for the gated ones, and\n\
         `torch.baddbmm` over all networks for ensembles; JAX is `lax.scan` under `jit`, with `vmap` for ensembles.\n\
         Targets in GFLOP/s were set on a processor whose multiply-add units peak at 187; they are given here as\n\
         shares of the peak. \"At most\" is the ratio that an engine would reach whose products all run at the peak and\n\
         which does nothing else: where a target lies near it or beyond, the peers are faster on this processor, in\n\
         relation to its peak, than on the one the targets were set on.\n\n\
         ## Where the rest goes\n\n\
         Samples of `perf record` while one core trains 64 leaky units (batch 64, 100 steps) on an AMD EPYC of family\n\
         25, model 17: matrix products 78 % of the time, at 98 % of the peak; the pointwise part, forward and backward,\n\
         with the gradient of the input weights 14 %; transposes for the gradient of W 3 %; the rest (loading trials,\n\
         the optimiser, the operating system) 5 %. The pointwise part is arithmetic too, some 40 operations per unit,\n\
         step and trial, on the same units as the products; it is not counted in GFLOP/s. With 256 units: 88 %, 7 % and 2 %.\n\
         Ensembles of 16 units, where a thread takes one network after the other through all updates of a span: products\n\
         53 %, pointwise 31 %, transposes 6 %, the optimiser, calls and the operating system together 8 %.\n"
    )?;
    page.push_str(rest);
    Ok(page)
}
