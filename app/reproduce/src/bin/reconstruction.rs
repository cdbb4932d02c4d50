//! Chaotic reconstruction beside what is published: trains networks by several recipes, measures them, and writes a section
//! of docs/reproduction.md for each recording.
//!
//! ```text
//! cargo run --release -p nullcline-reproduce --bin reconstruction -- RECORDING... [--recipes NAME,NAME] [--networks N] [--data DIR]
//!     [--runs DIR]
//! ```
//! RECORDING is `lorenz_63`, `ecg`, `eeg` or all of them; the last two are read from DIR (`ecg_train.npy`, `ecg_test.npy`,
//! `eeg.npy`) and left out, in print, where they are not there. `--recipes` runs some of the recipes, by the names of their
//! folders; rows of the others stay as the page has them, and the section says which it has none of. Runs are kept in
//! `--runs` (default `target/reconstruction`): what was interrupted goes on, and what is done is only measured. Hours on two
//! cores for everything.

use ndarray::{Array2, Ix2};
use nullcline::devices::Devices;
use nullcline::experiment::Experiment;
use nullcline::results::Results;
use nullcline::session::{self, Control};
use nullcline_analysis::power_spectrum_distance::power_spectrum_distance;
use nullcline_analysis::state_space_divergence::{DivergenceMethod, state_space_divergence};
use nullcline_data::npy::read_npy;
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Document, Value};
use nullcline_data::write_atomically;
use nullcline_models::engine::CpuEngine;
use nullcline_reproduce::{sections_beginning, with_section};
use nullcline_tables::Table;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A key with its table, and its value.
type Assignment = (&'static str, &'static str, Value);

/// What is reported of one recording.
struct Recording {
    name: &'static str,
    heading: &'static str,
    /// What stands above the table.
    text: &'static str,
    /// The experiment that the recipes change.
    experiment: &'static str,
    /// Files, by the key that names them.
    files: &'static [(&'static str, &'static str)],
    /// The largest Lyapunov exponent per unit of time, and the duration of a step, where they are known.
    exponent: Option<(f64, f64)>,
    /// Beginnings of the test file that are measured as what repeats them would be, in steps, by what they are.
    repeated: &'static [(&'static str, usize)],
    recipes: fn() -> Vec<Recipe>,
}

/// One way to train.
struct Recipe {
    /// Of its run folder.
    name: &'static str,
    /// In the table.
    label: &'static str,
    /// What it changes, where that is not the recording's experiment.
    experiment: Option<&'static str>,
    changes: Vec<Assignment>,
    /// Keys that the recipe removes.
    removes: &'static [(&'static str, &'static str)],
    /// Published D_stsp, D_H and PE(20).
    published: &'static str,
    /// From which update on snapshots are kept, of which the one nearest to the training part is measured too.
    snapshots: Option<i64>,
}

/// The analysis of snapshots.
const OVER_TRAINING: &str = "reconstruction_over_training";
/// Updates from one snapshot to the next.
const SNAPSHOT_EVERY: usize = 5000;

impl Recipe {
    fn new(
        name: &'static str,
        label: &'static str,
        published: &'static str,
        changes: Vec<Assignment>,
    ) -> Self {
        Recipe {
            name,
            label,
            experiment: None,
            changes,
            removes: &[],
            published,
            snapshots: None,
        }
    }
}

/// A recipe whose alpha does not fall to `end_alpha`.
fn not_annealed(
    name: &'static str,
    label: &'static str,
    published: &'static str,
    changes: Vec<Assignment>,
) -> Recipe {
    Recipe {
        removes: &[("training", "end_alpha")],
        ..Recipe::new(name, label, published, changes)
    }
}

fn number(key: &'static str, value: f64) -> Assignment {
    ("training", key, Value::Number(value))
}

fn text(key: &'static str, value: &str) -> Assignment {
    ("training", key, Value::Text(value.to_owned()))
}

fn integer(table: &'static str, key: &'static str, value: i64) -> Assignment {
    (table, key, Value::Integer(value))
}

const RECORDINGS: &[Recording] = &[
    Recording {
        name: "lorenz_63",
        heading: "Reconstruction: Lorenz-63",
        text: "`assets/experiments/lorenz_63.toml`: 3 latent and 50 hidden units, 100,000 samples with 5 % noise. Measured \
               against 100,000 noise-free samples from another start, on orbits of as many steps after a transient of \
               25,000; the exponent over 100,000 steps. The published values are those of a leaderboard and of the \
               authors' own network; two noise-free orbits of the equations are 0.134 and 0.050 apart. A network has one of the \
               periodic orbits of the equations where it has one of the same period within a tenth no farther than 0.05 \
               standard deviations away on average.",
        experiment: include_str!("../../../../assets/experiments/lorenz_63.toml"),
        files: &[],
        exponent: Some((0.906, 0.01)),
        repeated: &[],
        recipes: || {
            vec![
                Recipe::new("annealed", "GTF, alpha falls from 0.2 to 0.08", "-", vec![]),
                not_annealed(
                    "constant",
                    "GTF, alpha 0.1",
                    "0.26 / 0.081 / -",
                    vec![number("alpha", 0.1)],
                ),
                not_annealed(
                    "adaptive",
                    "adaptive GTF, product upper bound",
                    "0.26 / 0.081 / -",
                    vec![
                        number("alpha", 1.0),
                        text("alpha_estimator", "product_upper_bound"),
                    ],
                ),
                not_annealed(
                    "sparse",
                    "sparse forcing, every 76 steps (ln 2 / exponent)",
                    "-",
                    vec![
                        text("method", "sparse_forcing"),
                        integer("training", "forcing_interval", 76),
                    ],
                ),
                not_annealed(
                    "sparse_16",
                    "sparse forcing, every 16 steps (the default of published code)",
                    "-",
                    vec![
                        text("method", "sparse_forcing"),
                        integer("training", "forcing_interval", 16),
                    ],
                ),
            ]
        },
    },
    Recording {
        name: "ecg",
        heading: "Reconstruction: electrocardiogram",
        text: "`assets/experiments/hess_2023/ecg.toml`: 5 latent and 250 hidden units, affine observation. Measured against the \
               test part, on orbits of its length, 100,000 steps, after a transient of 25,000. The training part itself is \
               0.29 and 0.060 away from the test part. What repeats a single beat is about as far from it as published \
               networks are: what is nearer has beats that differ.",
        experiment: include_str!("../../../../assets/experiments/hess_2023/ecg.toml"),
        files: &[("file", "ecg_train.npy"), ("test_file", "ecg_test.npy")],
        exponent: None,
        repeated: &[
            ("the first beat of the test part, repeated", 711),
            ("its first four, repeated", 4 * 711),
            ("its first fourteen, repeated", 14 * 711),
        ],
        recipes: || {
            vec![
                Recipe::new(
                    "constant",
                    "GTF, alpha 0.3",
                    "4.3 ± 0.6 / 0.34 ± 0.02 / (2.4 ± 0.1)e-3",
                    vec![],
                ),
                Recipe {
                    snapshots: Some(50_000),
                    ..Recipe::new(
                        "improved",
                        "GTF, alpha 0.3, learning rate from 1e-2 to 1e-5, 125,000 updates",
                        "-",
                        vec![
                            number("learning_rate", 1e-2),
                            number("end_learning_rate", 1e-5),
                            integer("training", "updates", 125_000),
                        ],
                    )
                },
                Recipe {
                    experiment: Some(include_str!(
                        "../../../../assets/experiments/hess_2023/ecg_refined.toml"
                    )),
                    ..Recipe::new(
                        "refined",
                        "GTF, alpha 0.3, learning rate from 3e-3 to 1e-5, 50,000 updates, then 1,500 candidates of refinement",
                        "-",
                        vec![],
                    )
                },
                Recipe::new(
                    "adaptive",
                    "adaptive GTF, product upper bound",
                    "4.5 ± 0.4 / 0.34 ± 0.02 / (2.4 ± 0.2)e-3",
                    vec![
                        number("alpha", 1.0),
                        text("alpha_estimator", "product_upper_bound"),
                        number("latent_regularisation", 1e-5),
                        number("observation_regularisation", 1e-6),
                    ],
                ),
                Recipe::new(
                    "sparse",
                    "windows of 221 steps without forcing",
                    "7.1 ± 1.8 / 0.38 ± 0.03 / (5 ± 2)e-3",
                    vec![
                        number("alpha", 0.0),
                        integer("task", "window", 221),
                        number("latent_regularisation", 1e-5),
                        number("observation_regularisation", 1e-6),
                    ],
                ),
            ]
        },
    },
    Recording {
        name: "eeg",
        heading: "Reconstruction: electroencephalogram",
        text: "`assets/experiments/hess_2023/eeg.toml`: 64 electrodes, 16 latent and 512 hidden units. As published, networks \
               are measured on the recording that they were trained on, 9,640 samples; and, below, on its second half after \
               training on the first, 4,820 samples. The first half itself, in a network's place, is 3.5 and 0.075 away from \
               the second; 20 steps ahead, who repeats the last sample errs by 0.98 and who says the mean by 1.04, less than \
               networks that have not seen the half. Distances of different lengths cannot be compared.",
        experiment: include_str!("../../../../assets/experiments/hess_2023/eeg.toml"),
        files: &[("file", "eeg.npy"), ("test_file", "eeg.npy")],
        exponent: None,
        repeated: &[],
        recipes: || {
            vec![
                Recipe::new(
                    "constant",
                    "GTF, alpha 0.1, test on the training data",
                    "2.1 ± 0.2 / 0.11 ± 0.01 / (5.5 ± 0.1)e-1",
                    vec![],
                ),
                Recipe {
                    removes: &[("task", "test_file")],
                    ..Recipe::new(
                        "held_out",
                        "GTF, alpha 0.1, second half held out",
                        "-",
                        vec![("task", "train_fraction", Value::Number(0.5))],
                    )
                },
            ]
        },
    },
];

fn main() -> Result<()> {
    let mut chosen = Vec::new();
    let mut networks: i64 = 20;
    let mut recipes: Option<Vec<String>> = None;
    let mut data = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data"));
    let mut runs = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/reconstruction"
    ));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--recipes" => recipes = Some(value()?.split(',').map(str::to_owned).collect()),
            "--networks" => networks = value()?.parse()?,
            "--data" => data = PathBuf::from(value()?),
            "--runs" => runs = PathBuf::from(value()?),
            name => chosen.push(
                RECORDINGS
                    .iter()
                    .find(|recording| recording.name == name)
                    .ok_or(format!(
                        "no recording {name}: there are lorenz_63, ecg and eeg"
                    ))?,
            ),
        }
    }
    if chosen.is_empty() {
        chosen.extend(RECORDINGS);
    }
    for recording in chosen {
        let missing = recording
            .files
            .iter()
            .find(|(_, file)| !data.join(file).exists());
        if let Some((_, file)) = missing {
            println!(
                "{}: left out, there is no {}",
                recording.name,
                data.join(file).display()
            );
            continue;
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reproduction.md");
        let mut rows = BTreeMap::new();
        for recipe in (recording.recipes)() {
            let wanted = |names: &[String]| names.iter().any(|name| name == recipe.name);
            if recipes.as_deref().is_none_or(wanted) {
                let measured = measured(recording, &recipe, networks, &data, &runs)?;
                rows.insert(recipe.name, measured);
                println!("{} {}: done", recording.name, recipe.name);
            }
        }
        let page = std::fs::read_to_string(&path)?;
        let section = section(recording, rows, &data, &page)?;
        write_atomically(
            &path,
            with_section(&page, recording.heading, &section).as_bytes(),
        )?;
        println!("wrote {} to {}", recording.heading, path.display());
    }
    Ok(())
}

/// The section of a recording: the rows of recipes that were measured now, by their names, and of the others as the page has
/// them.
fn section(
    recording: &Recording,
    mut measured: BTreeMap<&str, String>,
    data: &Path,
    page: &str,
) -> Result<String> {
    let before = sections_beginning(page, recording.heading);
    let mut section = format!("## {}\n\n{}\n\n", recording.heading, recording.text);
    writeln!(
        section,
        "Networks of seeds 1, 2 and so on, as many as the last column says; median ± median absolute deviation, where what is\n\
         not finite counts as infinitely far. What a training takes is in performance.md, \"Reconstruction\". Written by\n\n\
         ```\ncargo run --release -p nullcline-reproduce --bin reconstruction -- {}\n```\n",
        recording.name
    )?;
    let exponent = if recording.exponent.is_some() {
        (
            "| largest exponent per time | within 5 % of 0.906 | of the 20 shortest periodic orbits ",
            "|---|---|---",
        )
    } else {
        ("", "")
    };
    writeln!(
        section,
        "| training | D_stsp | D_H | PE(20) | published {}| finite |",
        exponent.0
    )?;
    writeln!(section, "|---|---|---|---|---{}|---|", exponent.1)?;
    let mut missing = Vec::new();
    for recipe in (recording.recipes)() {
        let rows = measured
            .remove(recipe.name)
            .or_else(|| rows_of(&before, recipe.label));
        match rows {
            Some(rows) => section.push_str(&rows),
            None => missing.push(recipe.label),
        }
    }
    section.push_str(&repetitions(recording, data)?);
    if !missing.is_empty() {
        writeln!(section, "\nNot run yet: {}.", missing.join("; "))?;
    }
    section.push('\n');
    Ok(section)
}

/// How the row of selected snapshots begins, below that of its recipe.
const SELECTED: &str = "| the same;";

/// The rows of a recipe in a section, with its line ends.
fn rows_of(section: &str, label: &str) -> Option<String> {
    let start = format!("| {label} |");
    let mut lines = section.lines().skip_while(|line| !line.starts_with(&start));
    let first = lines.next()?;
    let further = lines.take_while(|line| line.starts_with(SELECTED));
    Some(
        std::iter::once(first)
            .chain(further)
            .fold(String::new(), |rows, line| rows + line + "\n"),
    )
}

/// Trains and measures a recipe: its row, and that of its selected snapshots where it keeps some.
fn measured(
    recording: &Recording,
    recipe: &Recipe,
    networks: i64,
    data: &Path,
    runs: &Path,
) -> Result<String> {
    let mut rows = String::new();
    let results = run(recording, recipe, networks, data, runs)?;
    let table = results.table("reconstruction").ok_or("no measures")?;
    let models = table.text_column("model")?;
    let is_network = |row: usize| models[row] == Some("network");
    let (row, finite) = measures(table, networks, is_network)?;
    write!(rows, "| {} {row}| {} ", recipe.label, recipe.published)?;
    if let Some((known, dt)) = recording.exponent {
        let table = results.table("lyapunov").ok_or("no exponents")?;
        let (indices, values) = (table.u64_column("index")?, table.f64_column("exponent")?);
        let first = indices.iter().min().copied().unwrap_or(0);
        let largest: Vec<f64> = (0..values.len())
            .filter(|&row| indices[row] == first)
            .map(|row| values[row] / dt)
            .collect();
        let near = largest
            .iter()
            .filter(|&x| (x / known - 1.0).abs() <= 0.05)
            .count();
        write!(
            rows,
            "| {} | **{near} of {networks}** | {} ",
            spread(&largest, |x| format!("{x:.3}")),
            spread(&orbits_found(&results, networks)?, |x| format!("{x:.0}")),
        )?;
    }
    writeln!(rows, "| {finite} of {networks} |")?;
    if let (Some(first), Some(table)) = (recipe.snapshots, results.table(OVER_TRAINING)) {
        let selected = table.bool_column("selected")?;
        let (row, finite) = measures(table, networks, |row| selected[row])?;
        writeln!(
            rows,
            "{SELECTED} of the states after {first} and every further {SNAPSHOT_EVERY} updates the one nearest to the training \
             part {row}| - | {finite} of {networks} |"
        )?;
    }
    Ok(rows)
}

/// How far beginnings of the test file, repeated to its length, are from it: what a network would come to that generates
/// nothing else.
fn repetitions(recording: &Recording, data: &Path) -> Result<String> {
    let mut rows = String::new();
    for &(label, steps) in recording.repeated {
        let file = recording.files.iter().find(|(key, _)| *key == "test_file");
        let (_, file) = file.ok_or("no test file")?;
        let test = read_npy(&data.join(file))?.into_dimensionality::<Ix2>()?;
        let repeated = Array2::from_shape_fn(test.raw_dim(), |(t, d)| test[[t % steps, d]]);
        let method = DivergenceMethod::published(test.ncols());
        let mut random = Random::new(0, Stream::STARTS, 0);
        let divergence =
            state_space_divergence(test.view(), repeated.view(), &method, &mut random)?;
        let divergence = divergence.ok_or("no point in the range of the data")?.value;
        let spectra = power_spectrum_distance(test.view(), repeated.view(), SMOOTHING)?;
        writeln!(
            rows,
            "| *{label}* | {divergence:.2} | {:.3} | - | - | - |",
            spectra.mean
        )?;
    }
    Ok(rows)
}

/// As published: standard deviation, in frequencies, of what smooths spectra for D_H.
const SMOOTHING: f64 = 20.0;

/// D_stsp, D_H and PE(20) over the rows of a table that say something of `networks` networks as cells, and in how many all
/// are finite. A network without a row is as one that diverges.
fn measures(
    table: &Table,
    networks: i64,
    wanted: impl Fn(usize) -> bool,
) -> Result<(String, usize)> {
    let of = |column: &str| -> Result<Vec<f64>> {
        let values = table.f64_column(column)?;
        let rows = (0..values.len()).filter(|&row| wanted(row));
        let mut values: Vec<f64> = rows.map(|row| values[row]).collect();
        values.resize(networks as usize, f64::INFINITY);
        Ok(values)
    };
    let (d_stsp, d_h, error) = (of("d_stsp")?, of("d_hellinger")?, of("prediction_error")?);
    let finite = (0..d_stsp.len())
        .filter(|&k| d_stsp[k].is_finite() && d_h[k].is_finite() && error[k].is_finite())
        .count();
    let cells = format!(
        "| {} | {} | {} ",
        spread(&d_stsp, |x| format!("{x:.2}")),
        spread(&d_h, |x| format!("{x:.3}")),
        spread(&error, |x| format!("{x:.1e}")),
    );
    Ok((cells, finite))
}

/// A network has a true periodic orbit where it has one of nearly the same period no farther from it than this, in standard
/// deviations.
const SAME_ORBIT: f64 = 0.05;

/// How many of the true periodic orbits every network has.
fn orbits_found(results: &Results, networks: i64) -> Result<Vec<f64>> {
    let table = results.table("periodic_orbits").ok_or("no orbits")?;
    let (of, distances) = (table.f64_column("network")?, table.f64_column("distance")?);
    let count = |network: i64| {
        let rows = 0..of.len();
        rows.filter(|&row| of[row] == network as f64 && distances[row] <= SAME_ORBIT)
            .count() as f64
    };
    Ok((0..networks).map(count).collect())
}

/// Trains and measures a recipe, or goes on where it was left.
fn run(
    recording: &Recording,
    recipe: &Recipe,
    networks: i64,
    data: &Path,
    runs: &Path,
) -> Result<Results> {
    let name = format!("{}.toml", recording.name);
    let mut text = recipe.experiment.unwrap_or(recording.experiment).to_owned();
    for (_, key) in recipe.removes {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with(&format!("{key} =")));
        text = lines.fold(String::new(), |text, line| text + line + "\n");
    }
    let mut experiment = Experiment::from_document(&Document::parse(&name, &text)?)?;
    experiment.top.set("networks", Value::Integer(networks))?;
    for (key, file) in recording.files {
        if !recipe.removes.contains(&("task", *key)) {
            let path = data.join(file).canonicalize()?;
            let path = path.to_str().ok_or("a path that is no text")?.to_owned();
            experiment.task.set(key, Value::Text(path))?;
        }
    }
    for (table, key, value) in &recipe.changes {
        let settings = match *table {
            "task" => &mut experiment.task,
            "model" => &mut experiment.model,
            _ => &mut experiment.training,
        };
        settings.set(key, value.clone())?;
    }
    if let Some(first) = recipe.snapshots {
        let last = experiment.training.integer("updates");
        let updates = (first..=last).step_by(SNAPSHOT_EVERY).collect();
        experiment
            .training
            .set("snapshots", Value::Integers(updates))?;
    }
    let exponents = experiment
        .analyses
        .iter_mut()
        .find(|(name, _)| *name == "lyapunov");
    if let Some((_, settings)) = exponents {
        for (key, value) in [("steps", 100_000), ("transient", 10_000), ("exponents", 1)] {
            settings.set(key, Value::Integer(value))?;
        }
    }
    let folder = runs
        .join(recording.name)
        .join(format!("{}_{networks}", recipe.name));
    let run = session::prepare(&folder, &experiment)?;
    let control = Control::default();
    session::train(
        &run,
        &experiment,
        &Devices::parse("cpu")?,
        &[],
        &control,
        &mut |_| {},
    )?;
    let mut only = vec!["reconstruction".to_owned()];
    if recording.exponent.is_some() {
        only.extend(["lyapunov", "periodic_orbits"].map(str::to_owned));
    }
    if recipe.snapshots.is_some() {
        only.push(OVER_TRAINING.to_owned());
    }
    let mut engine = CpuEngine::new();
    session::analyze(&run, &experiment, &mut engine, &only, &control, &mut |_| {})?;
    Ok(Results::load(&run)?)
}

/// Median ± median absolute deviation; what is not finite counts as infinite.
fn spread(values: &[f64], show: impl Fn(f64) -> String) -> String {
    let infinite = |x: &f64| if x.is_finite() { *x } else { f64::INFINITY };
    let values: Vec<f64> = values.iter().map(infinite).collect();
    let middle = median(values.clone());
    let deviation = median(values.iter().map(|x| (x - middle).abs()).collect());
    match middle.is_finite() && deviation.is_finite() {
        true => format!("{} ± {}", show(middle), show(deviation)),
        false => "not finite".to_owned(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}
