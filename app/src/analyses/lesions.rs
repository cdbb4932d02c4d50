//! Units silenced, clamped or given another input, one set after the other: what becomes of the task, of the trajectories
//! and of the fixed points.

use super::fixed_points::{Point, constant_input, kept_points, search_settings};
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::{Fault, Outcome};
use ndarray::{Array2, Array3, ArrayView3, s};
use nullcline_analysis::fixed_points::FixedPointSettings;
use nullcline_analysis::lesions::{
    Fate, FixedPointChange, KnownPoint, Response, fixed_points_after, mean_rates, respond,
    trajectory_distance,
};
use nullcline_analysis::starts::sample_starts;
use nullcline_data::Error;
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_models::network::{Lesion, Network};
use nullcline_tables::Table;
use nullcline_tasks::{Loss, Split, Task, Trials};

// Columns that lesions and perturbations have in common.
pub(super) const LOSS: (&str, &str) = ("loss", "the loss of training, without its penalties");
pub(super) const LOSS_BEFORE: (&str, &str) = (
    "loss_before",
    "that of the intact network on the same trials",
);
pub(super) const RELATIVE_ACCURACY: (&str, &str) = (
    "relative_accuracy",
    "(accuracy - 1/2) / (accuracy before - 1/2), where the task has an accuracy",
);
pub(super) const TRAJECTORY_DISTANCE: (&str, &str) = (
    "trajectory_distance",
    "root mean square distance of the states from those of the intact network, over the spread of these; empty where it is no number",
);

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "lesions",
    summary: "every unit silenced, clamped or given another input: the task, the trajectories and the fixed points before and after",
    by_default: false,
    keys: &[
        Key {
            name: "what",
            kind: Kind::Choice(&["silence", "clamp_mean", "clamp", "scale_input"]),
            default: Preset::Text("silence"),
            unit: "",
            doc: "What is done to a unit: its rate held at 0, at its mean on the trials, at `value`; or its external input times `factor`.",
        },
        Key {
            name: "value",
            kind: Kind::Number {
                min: -1e9,
                max: 1e9,
            },
            default: Preset::Number(0.0),
            unit: "units of the rate",
            doc: "Rate that clamped units are held at.",
        },
        Key {
            name: "factor",
            kind: Kind::Number {
                min: -1e9,
                max: 1e9,
            },
            default: Preset::Number(0.0),
            unit: "",
            doc: "Factor on the external input of units with scaled input.",
        },
        Key {
            name: "units",
            kind: Kind::Texts,
            default: Preset::Absent,
            unit: "",
            doc: "Sets of units, each lesioned together, such as [\"3\", \"0, 5\", \"8-11\"]; not set: every unit by itself.",
        },
        Key {
            name: "trials",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(64),
            unit: "trials",
            doc: "Held-out trials that the networks are run on, the first ones of those of performance.",
        },
        Key {
            name: "fixed_points",
            kind: Kind::Flag,
            default: Preset::Flag(true),
            unit: "",
            doc: "Whether fixed points are searched for after every lesion.",
        },
        Key {
            name: "starts",
            kind: Kind::Integer {
                min: 1,
                max: 10_000_000,
            },
            default: Preset::Integer(256),
            unit: "",
            doc: "Starts of each search beside the fixed points before: states of the lesioned network on the trials, every second one moved towards another.",
        },
    ],
    tables: &[
        TableDoc {
            name: "lesions",
            rows: "a row for every network and lesion",
            columns: &[
                ("network", "the network, from 0"),
                ("lesion", "the lesion, from 0 in every network"),
                ("units", "the lesioned units, from 0"),
                ("unit", "the unit, where it is a single one"),
                ("what", "what is done to it, as the key `what`"),
                (
                    "value",
                    "the rate that it is held at, or the factor; empty where every unit of a set has its own",
                ),
                LOSS,
                LOSS_BEFORE,
                RELATIVE_ACCURACY,
                TRAJECTORY_DISTANCE,
                ("n_fixed", "fixed points"),
                ("n_fixed_before", "fixed points of the intact network"),
                ("n_stable", "stable fixed points"),
                (
                    "n_stable_before",
                    "stable fixed points of the intact network",
                ),
                ("n_lost", "fixed points that were there before only"),
                ("n_new", "fixed points that are there after only"),
                (
                    "n_stability_changed",
                    "fixed points kept with another number of unstable directions",
                ),
                (
                    "*",
                    "the task's own measures, such as accuracy, and with `_before` those of the intact network",
                ),
            ],
        },
        TableDoc {
            name: "lesions_fixed_points",
            rows: "a row for every fixed point before or after every lesion",
            columns: &[
                ("network", "the network, from 0"),
                ("lesion", "the lesion in lesions"),
                (
                    "fixed_point",
                    "id of the point in fixed_points; empty for a new one",
                ),
                (
                    "fate",
                    "kept; stability_changed: kept with another number of unstable directions; lost: its path ends before the lesion is whole, or joins another; new",
                ),
                (
                    "displacement",
                    "distance between the point before and after, in units of the state",
                ),
                (
                    "n_unstable_before",
                    "eigenvalues beyond the unit circle before",
                ),
                ("n_unstable", "eigenvalues beyond the unit circle after"),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &["fixed_points"],
    run,
};

/// The loss of training and the task's metrics; `None` for what is no number.
#[derive(Clone, Debug)]
pub(super) struct Performance {
    pub loss: Option<f64>,
    pub metrics: Vec<Option<f64>>,
}

/// A network to which something was done, beside the intact one.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub before: Performance,
    pub after: Performance,
    pub trajectory_distance: Option<f64>,
}

/// A network to which nothing was done yet, with what it does on held-out trials, in f64.
pub(super) struct Intact<'a> {
    pub network: Network,
    pub response: Response,
    pub inputs: Array3<f64>,
    /// The states before the first step, from which the engine starts, too.
    pub initial: Array2<f64>,
    task: &'a dyn Task,
    loss: Loss,
    trials: Trials,
    performance: Performance,
}

impl<'a> Intact<'a> {
    /// Runs a network on as many trials as the key `trials` says; `None` beyond the last network.
    pub fn new(context: &Context<'a>, network: usize) -> Outcome<Option<Self>> {
        let Some(map) = context.ensemble.network(network) else {
            return Ok(None);
        };
        // Index 1: the trials of performance.
        let count = context.settings.count("trials");
        let seed = context.seed(network);
        let trials = context.task.trials(Split::HeldOut, seed, 1, count);
        let inputs = trials.inputs.mapv(f64::from);
        let mut initial = Array2::zeros((trials.batch(), map.state_dim()));
        if let Some(observations) = &trials.initial {
            for (observation, mut state) in observations.rows().into_iter().zip(initial.rows_mut())
            {
                let implied = map.state_from_observation(&observation.mapv(f64::from).to_vec());
                for (to, x) in state.iter_mut().zip(implied) {
                    *to = x;
                }
            }
        }
        let response = respond(&map, inputs.view(), initial.view())
            .map_err(|error| failed("response of the intact network", error))?;
        let (task, loss) = (context.task, context.objective.loss);
        Ok(Some(Intact {
            performance: performance(task, loss, response.outputs.view(), &trials),
            network: map,
            response,
            inputs,
            initial,
            task,
            loss,
            trials,
        }))
    }

    /// What another response on the same trials is worth.
    pub fn compare(&self, response: &Response) -> Outcome<Comparison> {
        let distance = trajectory_distance(self.response.states.view(), response.states.view())
            .map_err(|error| failed("distance of trajectories", error))?;
        let outputs = response.outputs.view();
        Ok(Comparison {
            before: self.performance.clone(),
            after: performance(self.task, self.loss, outputs, &self.trials),
            trajectory_distance: distance,
        })
    }
}

fn performance(
    task: &dyn Task,
    loss: Loss,
    outputs: ArrayView3<f64>,
    trials: &Trials,
) -> Performance {
    let number = |x: f64| x.is_finite().then_some(x);
    let metrics = task.metrics(outputs.mapv(|y| y as f32).view(), trials);
    Performance {
        loss: number(loss.mean(outputs, trials)),
        metrics: metrics.into_iter().map(|(_, x)| number(x)).collect(),
    }
}

/// Adds the columns of comparisons, a row each.
pub(super) fn add_comparisons(
    table: &mut Table,
    task: &dyn Task,
    rows: &[&Comparison],
) -> nullcline_data::Result<()> {
    let column = |pick: &dyn Fn(&Comparison) -> Option<f64>| -> Vec<Option<f64>> {
        rows.iter().map(|row| pick(row)).collect()
    };
    let metric = |of: &Performance, k: usize| of.metrics.get(k).copied().flatten();
    table.add("loss", "", column(&|row| row.after.loss))?;
    table.add("loss_before", "", column(&|row| row.before.loss))?;
    for (k, name) in task.metric_names().iter().enumerate() {
        table.add(name, "", column(&|row| metric(&row.after, k)))?;
        let before = column(&|row| metric(&row.before, k));
        table.add(&format!("{name}_before"), "", before)?;
        if *name == "accuracy" {
            // Khajehabdollahi et al. 2024: 1 as good as before, 0 at the chance of a coin.
            let relative = column(&|row| {
                let ratio = (metric(&row.after, k)? - 0.5) / (metric(&row.before, k)? - 0.5);
                ratio.is_finite().then_some(ratio)
            });
            table.add("relative_accuracy", "", relative)?;
        }
    }
    table.add(
        "trajectory_distance",
        "spreads of the trajectories before",
        column(&|row| row.trajectory_distance),
    )
}

/// What was found of one lesion.
struct Row {
    network: u64,
    lesion: u64,
    units: Vec<usize>,
    value: Option<f64>,
    comparison: Comparison,
    change: Option<Change>,
}

/// The fixed points before and after a lesion.
struct Change {
    /// Id in the table of fixed points, and n_unstable.
    before: Vec<(u64, Option<usize>)>,
    found: FixedPointChange,
}

fn run(context: &mut Context) -> Outcome<()> {
    let sets = sets_of_units(
        context.settings.optional_texts("units"),
        context.ensemble.architecture.units,
    )?;
    let what = context.settings.text("what").to_owned();
    let points = match context.settings.flag("fixed_points") {
        true => Some(kept_points(context.needed("fixed_points")?)?),
        false => None,
    };
    let mut rows = Vec::new();
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(intact) = Intact::new(context, network)? else {
            continue;
        };
        let means = mean_rates(&intact.network, intact.response.states.view())
            .map_err(|error| failed("mean rates", error))?;
        let search = points
            .as_ref()
            .map(|points| Search::new(context, network, points));
        for (number, units) in sets.iter().enumerate() {
            if !context.watch(network)(number as f64 / sets.len() as f64) {
                return Err(Fault::Stopped);
            }
            let amount = |unit: usize| match &what[..] {
                "silence" => 0.0,
                "clamp_mean" => means[unit],
                "clamp" => context.settings.number("value"),
                _ => context.settings.number("factor"),
            };
            let lesion = units
                .iter()
                .fold(Lesion::new(), |lesion, &unit| match &what[..] {
                    "scale_input" => lesion.scale_input(unit, amount(unit)),
                    _ => lesion.hold(unit, amount(unit)),
                });
            let lesioned = intact.network.with_lesion(&lesion)?;
            let response = respond(&lesioned, intact.inputs.view(), intact.initial.view())
                .map_err(|error| failed("response of the lesioned network", error))?;
            let change = match &search {
                Some(search) => {
                    Some(search.after(&intact.network, &lesioned, &response, number)?)
                }
                None => None,
            };
            rows.push(Row {
                network: network as u64,
                lesion: number as u64,
                units: units.clone(),
                value: match (&what[..], &units[..]) {
                    ("clamp_mean", [_, _, ..]) => None,
                    _ => units.first().map(|&unit| amount(unit)),
                },
                comparison: intact.compare(&response)?,
                change,
            });
        }
    }
    let table = table(&rows, &what, context.task)?;
    context.add_table("lesions", table);
    context.add_table("lesions_fixed_points", fixed_point_table(&rows)?);
    Ok(())
}

/// The search for fixed points after every lesion of one network.
struct Search {
    before: Vec<KnownPoint>,
    ids: Vec<u64>,
    input: Vec<f64>,
    settings: FixedPointSettings,
    starts: usize,
    noise: f64,
    seed: u64,
}

impl Search {
    fn new(context: &Context, network: usize, points: &[Point]) -> Self {
        let of_network = || {
            points
                .iter()
                .filter(|point| point.network == network as u64 && point.verdict == "fixed")
        };
        let keys = context.experiment.analysis("fixed_points");
        Search {
            before: of_network()
                .map(|point| KnownPoint {
                    state: point.state.clone(),
                    n_unstable: point.n_unstable.map(|n| n as usize),
                })
                .collect(),
            ids: of_network().map(|point| point.id).collect(),
            input: constant_input(context),
            settings: keys.map_or_else(FixedPointSettings::default, search_settings),
            starts: context.settings.count("starts"),
            noise: keys.map_or(0.0, |keys| keys.number("noise")),
            seed: context.seed(network),
        }
    }

    fn after(
        &self,
        intact: &Network,
        lesioned: &Network,
        response: &Response,
        lesion: usize,
    ) -> Outcome<Change> {
        // What leaves the finite numbers leads nowhere.
        let visited = response.states.slice(s![.., 1.., ..]);
        let finite: Vec<f64> = visited
            .rows()
            .into_iter()
            .filter(|state| state.iter().all(|x| x.is_finite()))
            .flat_map(|state| state.to_vec())
            .collect();
        let dim = lesioned.state_dim();
        let visited =
            Array2::from_shape_fn((finite.len() / dim, dim), |(row, i)| finite[row * dim + i]);
        let count = match visited.nrows() {
            0 => 0,
            _ => self.starts,
        };
        // Indices below are those of the searches that see one network only.
        let mut random = Random::new(self.seed, Stream::STARTS, 1 << 32 | lesion as u64);
        let starts = sample_starts(visited.view(), count, self.noise, &mut random)
            .map_err(|error| failed("starts of the search after a lesion", error))?;
        let found = fixed_points_after(
            intact,
            lesioned,
            &self.before,
            starts.view(),
            &self.input,
            &self.settings,
        )
        .map_err(|error| failed("fixed points after a lesion", error))?;
        let unstable = self.before.iter().map(|point| point.n_unstable);
        Ok(Change {
            before: self.ids.iter().copied().zip(unstable).collect(),
            found,
        })
    }
}

fn table(rows: &[Row], what: &str, task: &dyn Task) -> nullcline_data::Result<Table> {
    let mut table = Table::new();
    table.add(
        "network",
        "",
        rows.iter().map(|r| r.network).collect::<Vec<_>>(),
    )?;
    table.add(
        "lesion",
        "",
        rows.iter().map(|r| r.lesion).collect::<Vec<_>>(),
    )?;
    table.add(
        "units",
        "",
        rows.iter().map(|r| in_words(&r.units)).collect::<Vec<_>>(),
    )?;
    let single = |row: &Row| match row.units[..] {
        [unit] => Some(unit as u64),
        _ => None,
    };
    table.add("unit", "", rows.iter().map(single).collect::<Vec<_>>())?;
    table.add("what", "", vec![what; rows.len()])?;
    table.add(
        "value",
        "",
        rows.iter().map(|r| r.value).collect::<Vec<_>>(),
    )?;
    let comparisons: Vec<&Comparison> = rows.iter().map(|row| &row.comparison).collect();
    add_comparisons(&mut table, task, &comparisons)?;
    let mut count = |name: &str, of: &dyn Fn(&Change) -> usize| {
        let counts = rows
            .iter()
            .map(|row| row.change.as_ref().map(|c| of(c) as u64));
        table.add(name, "", counts.collect::<Vec<Option<u64>>>())
    };
    count("n_fixed", &|change| change.found.after.len())?;
    count("n_fixed_before", &|change| change.before.len())?;
    count("n_stable", &|change| {
        let stable = |point: &&KnownPoint| point.n_unstable == Some(0);
        change.found.after.iter().filter(stable).count()
    })?;
    count("n_stable_before", &|change| {
        change.before.iter().filter(|(_, n)| *n == Some(0)).count()
    })?;
    count("n_lost", &|change| change.found.count(Fate::Lost))?;
    count("n_new", &|change| change.found.count(Fate::New))?;
    count("n_stability_changed", &|change| {
        change.found.count(Fate::StabilityChanged)
    })?;
    Ok(table)
}

fn fixed_point_table(rows: &[Row]) -> nullcline_data::Result<Table> {
    let pairs: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row, row.change.as_ref()?)))
        .flat_map(|(row, change)| {
            change
                .found
                .pairs
                .iter()
                .map(move |pair| (row, change, pair))
        })
        .collect();
    let before = |(_, change, pair): &(_, &Change, &nullcline_analysis::lesions::Pair)| {
        pair.before.and_then(|i| change.before.get(i).copied())
    };
    let mut table = Table::new();
    table.add(
        "network",
        "",
        pairs.iter().map(|p| p.0.network).collect::<Vec<_>>(),
    )?;
    table.add(
        "lesion",
        "",
        pairs.iter().map(|p| p.0.lesion).collect::<Vec<_>>(),
    )?;
    let ids = pairs.iter().map(|p| before(p).map(|(id, _)| id));
    table.add("fixed_point", "", ids.collect::<Vec<Option<u64>>>())?;
    table.add(
        "fate",
        "",
        pairs.iter().map(|p| p.2.fate.name()).collect::<Vec<_>>(),
    )?;
    table.add(
        "displacement",
        "units of the state",
        pairs.iter().map(|p| p.2.displacement).collect::<Vec<_>>(),
    )?;
    let unstable_before = pairs.iter().map(|p| Some(before(p)?.1? as u64));
    table.add(
        "n_unstable_before",
        "",
        unstable_before.collect::<Vec<Option<u64>>>(),
    )?;
    let unstable = pairs
        .iter()
        .map(|p| Some(p.1.found.after.get(p.2.after?)?.n_unstable? as u64));
    table.add("n_unstable", "", unstable.collect::<Vec<Option<u64>>>())?;
    Ok(table)
}

/// Rising units as the key `units` takes them: `3`, or `0, 5, 8-11`.
fn in_words(units: &[usize]) -> String {
    let runs = units.chunk_by(|a, b| a + 1 == *b);
    let words: Vec<String> = runs
        .flat_map(|run| match run {
            [first, _, .., last] => vec![format!("{first}-{last}")],
            _ => run.iter().map(usize::to_string).collect(),
        })
        .collect();
    words.join(", ")
}

/// The sets of the key `units`: all units one by one where it is not set.
fn sets_of_units(
    texts: Option<&[String]>,
    units: usize,
) -> nullcline_data::Result<Vec<Vec<usize>>> {
    match texts {
        None => Ok((0..units).map(|unit| vec![unit]).collect()),
        Some(texts) => texts.iter().map(|text| set_of_units(text, units)).collect(),
    }
}

/// `0, 5` and `8-11`, and both together; rising, each unit once.
fn set_of_units(text: &str, units: usize) -> nullcline_data::Result<Vec<usize>> {
    let refused = || {
        Error::argument(
            "analysis.lesions.units",
            format!("\"{text}\""),
            format!(
                "units from 0 to {} and ranges of them, such as \"0, 5\" or \"8-11\"",
                units.saturating_sub(1)
            ),
        )
    };
    let unit = |word: &str| {
        let unit: usize = word.trim().parse().map_err(|_| refused())?;
        if unit < units {
            Ok(unit)
        } else {
            Err(refused())
        }
    };
    let mut set = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            None => set.push(unit(part)?),
            Some((first, last)) => {
                let (first, last) = (unit(first)?, unit(last)?);
                if first > last {
                    return Err(refused());
                }
                set.extend(first..=last);
            }
        }
    }
    set.sort_unstable();
    set.dedup();
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_units_are_read_and_what_is_none_is_refused() {
        let read = |text: &str| set_of_units(text, 12).map_err(|error| error.to_string());
        assert_eq!(read("3"), Ok(vec![3]));
        assert_eq!(read("5, 0,5"), Ok(vec![0, 5]));
        assert_eq!(read(" 8-11 , 2"), Ok(vec![2, 8, 9, 10, 11]));
        assert_eq!(sets_of_units(None, 3).unwrap(), [[0], [1], [2]]);
        for text in ["3", "0, 5", "2, 3", "2, 8-11", "0-11"] {
            assert_eq!(in_words(&read(text).unwrap()), text);
        }
        for text in [
            "",
            "12",
            "0-12",
            "-1",
            "4-2",
            "a",
            "1,,2",
            "1-2-3",
            "99999999999999999999",
        ] {
            let error = read(text).unwrap_err();
            assert!(
                error.contains(&format!("found \"{text}\"")) && error.contains("from 0 to 11"),
                "{error}"
            );
        }
    }
}
