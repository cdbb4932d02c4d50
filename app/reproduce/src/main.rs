//! The long suite: runs what docs/reproduction.md reports and writes that page.
//!
//! ```text
//! cargo run --release -p nullcline-reproduce
//! ```
//! Takes some minutes on two cores. Every row is made by the same code as `nullcline run`.

use nullcline::analyses::fixed_points::kept_points;
use nullcline::devices::{Devices, list};
use nullcline::examples::example;
use nullcline::experiment::Experiment;
use nullcline::results::{Results, TRAINING};
use nullcline::session::{self, Control};
use nullcline_data::settings::Value;
use nullcline_data::write_atomically;
use nullcline_models::engine::{CpuEngine, Engine};
use nullcline_reproduce::sections_beginning;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Trains and analyses an example with some keys replaced.
fn run(
    name: &str,
    assignments: &[(&str, &str, Value)],
    device: &str,
    engine: &mut dyn Engine,
) -> Result<(Results, f64)> {
    let mut experiment: Experiment = example(name).ok_or("no such example")?.experiment()?;
    for (table, key, value) in assignments {
        let settings = match *table {
            "" => &mut experiment.top,
            "task" => &mut experiment.task,
            "model" => &mut experiment.model,
            _ => &mut experiment.training,
        };
        settings.set(key, value.clone())?;
    }
    let folder = tempfile::tempdir()?;
    let started = Instant::now();
    let run = session::prepare(&folder.path().join("run"), &experiment)?;
    let control = Control::default();
    session::train(
        &run,
        &experiment,
        &Devices::parse(device)?,
        &[],
        &control,
        &mut |_| {},
    )?;
    let seconds = started.elapsed().as_secs_f64();
    session::analyze(&run, &experiment, engine, &[], &control, &mut |_| {})?;
    Ok((Results::load(&run)?, seconds))
}

fn main() -> Result<()> {
    let mut engine = CpuEngine::new();
    let mut page = String::from(
        "# Reproduction\n\n\
         What is claimed, what this program gives, and the command. This page is written by\n\n\
         ```\ncargo run --release -p nullcline-reproduce\n```\n\n",
    );
    flip_flop(&mut page, &mut engine)?;
    bits(&mut page, &mut engine)?;
    devices(&mut page, &mut engine)?;
    heartbeat(&mut page, &mut engine)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reproduction.md");
    // Those that another program writes stay.
    if path.exists() {
        page += &sections_beginning(&std::fs::read_to_string(&path)?, "Reconstruction: ");
    }
    write_atomically(&path, page.as_bytes())?;
    println!("wrote {}", path.display());
    Ok(())
}

/// The first seed of assets/experiments/flip_flop.toml on every device there is.
fn devices(page: &mut String, engine: &mut dyn Engine) -> Result<()> {
    const AT: [u64; 6] = [1, 10, 100, 500, 1000, 1500];
    writeln!(
        page,
        "## The same training on other devices\n\n\
         The first of these seeds again, on every device of this machine. Trials and initial weights are the same\n\
         bits; arithmetic is rounded in another order, so the losses of the training batches part slowly.\n\n\
         | device | loss at update {} | updates | fixed points |\n|---|{}---|---|",
        AT.map(|update| update.to_string()).join(" | "),
        "---|".repeat(AT.len()),
    )?;
    for (name, _) in list() {
        let (results, seconds) = run("flip_flop", &[], &name, engine)?;
        let training = results.table(TRAINING).ok_or("no training table")?;
        let (updates, losses) = (training.u64_column("update")?, training.f64_column("loss")?);
        let loss = |at: u64| {
            let row = updates.iter().position(|&update| update == at);
            row.map_or("-".to_owned(), |row| format!("{:.6e}", losses[row]))
        };
        let table = results.table("fixed_points").ok_or("no fixed points")?;
        let points = kept_points(table)?
            .iter()
            .filter(|point| point.verdict == "fixed")
            .count();
        writeln!(
            page,
            "| {name} | {} | {} | {points} |",
            AT.map(loss).join(" | "),
            updates.last().copied().unwrap_or(0)
        )?;
        println!("flip-flop on {name}: {points} fixed points, {seconds:.1} s");
    }
    page.push('\n');
    Ok(())
}

/// Ten seeds of assets/experiments/flip_flop.toml.
fn flip_flop(page: &mut String, engine: &mut dyn Engine) -> Result<()> {
    writeln!(
        page,
        "## 3-bit flip-flop: a cube of 27 fixed points\n\n\
         `assets/experiments/flip_flop.toml` as it ships, seeds 1 to 10; the search for fixed points makes 1,024\n\
         starts. A network of this mechanism has 8 stable points, 12 with one, 6 with two and 1 with three\n\
         unstable directions (Sussillo & Barak 2013; FixedPointFinder's example); their indices sum to one.\n\n\
         | seed | updates | held-out loss | accuracy, double length | fixed points | stable / 1 / 2 / 3 unstable | largest residual | indices |\n\
         |---|---|---|---|---|---|---|---|"
    )?;
    let mut exact = 0;
    for seed in 1..=10 {
        let (results, seconds) = run(
            "flip_flop",
            &[("", "seed", Value::Integer(seed))],
            "cpu",
            engine,
        )?;
        let training = results.table(TRAINING).ok_or("no training table")?;
        let updates = training.u64_column("update")?.last().copied().unwrap_or(0);
        let held_out = training
            .f64_column("held_out_loss")?
            .into_iter()
            .rfind(|x| !x.is_nan())
            .unwrap_or(f64::NAN);
        let accuracy = results
            .table("performance")
            .ok_or("no performance")?
            .f64_column("accuracy")?
            .last()
            .copied()
            .unwrap_or(f64::NAN);
        let cube = Cube::of(&results)?;
        exact += usize::from(cube.is_whole(3));
        writeln!(
            page,
            "| {seed} | {updates} | {held_out:.2e} | {accuracy:.4} | {} | {} | {:.1e} | {} |",
            cube.points(),
            cube.counts(),
            cube.residual,
            cube.index_sum,
        )?;
        println!(
            "flip-flop seed {seed}: {} fixed points, {seconds:.1} s",
            cube.points()
        );
    }
    writeln!(
        page,
        "\nExactly 27 points, 8 / 12 / 6 / 1, all proved, residual below 1e-12: **{exact} of 10 seeds**.\n"
    )?;
    Ok(())
}

/// The fixed points of the first network, as the corners, edges, faces ... of a cube.
struct Cube {
    /// Points by the number of their unstable directions.
    by_unstable: Vec<usize>,
    /// Whether each of them is proved.
    certified: bool,
    /// The largest residual.
    residual: f64,
    index_sum: f64,
    /// Starts that the search made.
    starts: u64,
}

impl Cube {
    fn of(results: &Results) -> Result<Cube> {
        let table = results.table("fixed_points").ok_or("no fixed points")?;
        let verdicts = table.text_column("verdict")?;
        let fixed: Vec<usize> = (0..verdicts.len())
            .filter(|&row| verdicts[row] == Some("fixed"))
            .collect();
        let unstable = table.f64_column("n_unstable")?;
        let mut by_unstable = vec![0; 1];
        for &row in &fixed {
            let n = unstable[row] as usize;
            by_unstable.resize(by_unstable.len().max(n + 1), 0);
            by_unstable[n] += 1;
        }
        let (residuals, indices) = (table.f64_column("residual")?, table.f64_column("index")?);
        // Of every proved point there is a radius, of others none.
        let radii = table.f64_column("existence_radius")?;
        let search = results.table("fixed_points_search").ok_or("no search")?;
        Ok(Cube {
            by_unstable,
            certified: fixed.iter().all(|&row| radii[row].is_finite()),
            residual: fixed.iter().map(|&row| residuals[row]).fold(0.0, f64::max),
            index_sum: fixed.iter().map(|&row| indices[row]).sum(),
            starts: search.u64_column("starts")?.first().copied().unwrap_or(0),
        })
    }

    fn points(&self) -> usize {
        self.by_unstable.iter().sum()
    }

    fn counts(&self) -> String {
        let counts: Vec<String> = self.by_unstable.iter().map(ToString::to_string).collect();
        counts.join(" / ")
    }

    /// Whether it has all 3^bits points, C(bits, k) 2^(bits - k) of them with k unstable directions, all proved, with
    /// indices that sum to one.
    fn is_whole(&self, bits: usize) -> bool {
        let mut binomial = 1;
        let expected: Vec<usize> = (0..=bits)
            .map(|k| {
                let here = binomial << (bits - k);
                binomial = binomial * (bits - k) / (k + 1);
                here
            })
            .collect();
        self.by_unstable == expected
            && self.certified
            && self.residual < 1e-12
            && self.index_sum == 1.0
    }
}

/// Ten seeds of flip-flops of one to five bits.
fn bits(page: &mut String, engine: &mut dyn Engine) -> Result<()> {
    writeln!(
        page,
        "## Flip-flops of one to five bits: 3^bits fixed points\n\n\
         The same experiment with `task.bits` from 1 to 5, seeds 1 to 10 each. Whole: exactly 3^bits points, as many with\n\
         k unstable directions as a cube of that dimension has parts of dimension k, every one proved to exist and to be\n\
         the only one in its ball, residuals below 1e-12, indices that sum to one. The search begins with 1,024 starts and\n\
         doubles them where the indices say that points are missing or a point was found from one start only.\n\n\
         | bits | points, whole | by unstable directions | whole, of 10 seeds | starts, most |\n\
         |---|---|---|---|---|"
    )?;
    for bits in 1..=5 {
        let (mut whole, mut starts, mut counts) = (0, 0, String::new());
        for seed in 1..=10 {
            let keys = [
                ("", "seed", Value::Integer(seed)),
                ("task", "bits", Value::Integer(bits)),
            ];
            let (results, seconds) = run("flip_flop", &keys, "cpu", engine)?;
            let cube = Cube::of(&results)?;
            starts = starts.max(cube.starts);
            if cube.is_whole(bits as usize) {
                whole += 1;
                counts = cube.counts();
            }
            println!(
                "flip-flop of {bits} bits, seed {seed}: {} fixed points, {seconds:.1} s",
                cube.points()
            );
        }
        writeln!(
            page,
            "| {bits} | {} | {counts} | **{whole}** | {starts} |",
            3_i64.pow(bits as u32)
        )?;
    }
    page.push('\n');
    Ok(())
}

/// assets/experiments/ecg.toml, free running.
fn heartbeat(page: &mut String, engine: &mut dyn Engine) -> Result<()> {
    writeln!(
        page,
        "## A human heartbeat\n\n\
         `assets/experiments/ecg.toml` as it ships, seeds 1 to 3: the trained network runs freely for 100,000 steps\n\
         from the first observation of the test part. Peaks are upward crossings of half the recording's typical\n\
         height; the interval between them is the beat. The published measures of this system are not part of\n\
         this comparison.\n\n\
         | | bounded | largest state | peaks per 1,000 steps | interval, steps: 10 / 50 / 90 % | sd of the signal, s.d. of the recording |\n\
         |---|---|---|---|---|---|"
    )?;
    for seed in 1..=3 {
        let (results, seconds) = run("ecg", &[("", "seed", Value::Integer(seed))], "cpu", engine)?;
        let table = results.table("free_run").ok_or("no free run")?;
        let number = |column: &str, row: usize| -> Result<f64> {
            Ok(table
                .f64_column(column)?
                .get(row)
                .copied()
                .unwrap_or(f64::NAN))
        };
        let spread = table
            .columns()
            .iter()
            .find(|column| column.name.starts_with("standard_deviation_"))
            .map(|column| column.name.clone())
            .ok_or("no standard deviation")?;
        for row in if seed == 1 { 0..2 } else { 1..2 } {
            writeln!(
                page,
                "| {} | {} | {} | {:.2} | {:.0} / {:.0} / {:.0} | {:.2} |",
                if row == 0 {
                    "the recording, test part".to_owned()
                } else {
                    format!("network, seed {seed}")
                },
                table.bool_column("bounded")?[row],
                // A recording has no state.
                if row == 0 {
                    "-".to_owned()
                } else {
                    format!("{:.2}", number("largest_state", row)?)
                },
                number("peaks_per_1000_steps", row)?,
                number("peak_interval_10_percent", row)?,
                number("median_peak_interval", row)?,
                number("peak_interval_90_percent", row)?,
                number(&spread, row)?,
            )?;
        }
        println!("heartbeat seed {seed}: {seconds:.1} s");
    }
    writeln!(
        page,
        "\nWhere they differ, and why: record 208 mixes normal and ectopic (broad) beats irregularly. The networks\n\
         generate both kinds, but a deterministic map of ten units settles into an order of its own: compare the spread\n\
         of the intervals."
    )?;
    Ok(())
}
