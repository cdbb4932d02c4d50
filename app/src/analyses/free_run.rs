//! A network that has learned a recording, left to itself: does it stay bounded, and does it do what the
//! recording does?

use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array1, Array2, ArrayView2, s};
use nullcline_analysis::free_run::{FreeRunSettings, RunInput, Stop, free_run};
use nullcline_analysis::peaks::{PeakLevel, interval_percentiles};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;
use nullcline_tasks::{Recording, Split, Task};

/// The key of analyses of a free run that comes to the attractor first: how long it then is.
pub(super) const fn free_run_steps(default: i64) -> Key {
    Key {
        name: "steps",
        kind: Kind::Integer {
            min: 2,
            max: 100_000_000,
        },
        default: Preset::Integer(default),
        unit: "steps",
        doc: "Length of the free run, after the transient.",
    }
}

/// The key of the same analyses for what goes before.
pub(super) const TRANSIENT: Key = Key {
    name: "transient",
    kind: Kind::Integer {
        min: 0,
        max: 100_000_000,
    },
    default: Preset::Integer(1000),
    unit: "steps",
    doc: "Steps before it, in which the state comes to the attractor.",
};

pub const KIND: AnalysisKind = AnalysisKind {
    name: "free_run",
    summary: "the signal that a network generates by itself, for how long it stays bounded, how often it peaks",
    by_default: true,
    keys: &[
        Key {
            name: "steps",
            kind: Kind::Integer {
                min: 1,
                max: 100_000_000,
            },
            default: Preset::Integer(100_000),
            unit: "steps",
            doc: "Length of the free run, which starts from the first observation of the test part. A network with inputs \
                  receives those of the recording and runs for no longer than they last.",
        },
        Key {
            name: "kept",
            kind: Kind::Integer {
                min: 1,
                max: 100_000_000,
            },
            default: Preset::Integer(20_000),
            unit: "steps",
            doc: "Steps at the end of the run whose outputs are kept, in free_run.npz.",
        },
        Key {
            name: "bound",
            kind: Kind::Number {
                min: 0.0,
                max: 1e300,
            },
            default: Preset::Number(1e3),
            unit: "units of the state",
            doc: "A state with a larger absolute value counts as unbounded and ends the run.",
        },
    ],
    tables: &[
        TableDoc {
            name: "free_run",
            rows: "a row for the recording, without a network, and one for every network",
            columns: &[
                ("network", "the network, from 0; empty for the recording"),
                ("steps", "steps that were made"),
                ("bounded", "whether the run went to its end"),
                ("largest_state", "the largest absolute value of any state"),
                ("peaks_per_1000_steps", "peaks of the first output"),
                (
                    "peak_interval_10_percent",
                    "steps between two peaks, the 10th percentile",
                ),
                (
                    "median_peak_interval",
                    "steps between two peaks, the median",
                ),
                (
                    "peak_interval_90_percent",
                    "steps between two peaks, the 90th percentile",
                ),
                ("mean_*", "mean of this output"),
                ("standard_deviation_*", "standard deviation of this output"),
            ],
        },
        TableDoc {
            name: "free_run.npz",
            rows: "the signals themselves",
            columns: &[
                (
                    "recorded",
                    "[time, output] the recording, as the task prepared it",
                ),
                ("mean", "[output] what was taken off the recording"),
                ("standard_deviation", "[output] what it was divided by"),
                (
                    "seconds_per_step",
                    "[1] seconds of a step, NaN where they are not known",
                ),
                (
                    "network_*",
                    "[time, output] the end of the run of this network",
                ),
            ],
        },
    ],
    applies: |task, _| task.recording(Split::HeldOut).is_some(),
    needs: &[],
    run,
};

/// What a network receives that runs by itself from the first observation of a recording, and for how long it can.
pub(super) struct Driving {
    /// Steps that can be made.
    pub steps: usize,
    /// The recorded inputs of the steps, `[time, input]`; none where the system runs by itself.
    recorded: Option<Array2<f64>>,
    rest: Vec<f64>,
}

impl Driving {
    /// For a run of `steps` steps: as many as there are recorded inputs where the system was driven.
    pub(super) fn new(task: &dyn Task, recording: &Recording, steps: usize) -> Self {
        let recorded = recording
            .is_driven()
            .then(|| recording.inputs_after(0).mapv(f64::from));
        Driving {
            steps: recorded
                .as_ref()
                .map_or(steps, |inputs| steps.min(inputs.nrows())),
            recorded,
            rest: task.rest_input(),
        }
    }

    /// The input of every step.
    pub(super) fn input(&self) -> RunInput<'_> {
        match &self.recorded {
            Some(inputs) => RunInput::Sequence(inputs.view()),
            None => RunInput::Constant(&self.rest),
        }
    }
}

fn run(context: &mut Context) -> Outcome<()> {
    let Some(recording) = context.task.recording(Split::HeldOut) else {
        return Ok(());
    };
    let recorded = recording.values.mapv(f64::from);
    let level = PeakLevel::of(recorded.column(0));
    let steps = context.settings.count("steps");
    let driving = Driving::new(context.task, recording, steps);
    let settings = FreeRunSettings {
        steps: driving.steps,
        bound: context.settings.number("bound"),
        keep_every: 1,
    };
    let names = recording.names.clone();

    let (mut networks, mut made, mut bounded) = (Vec::new(), Vec::new(), Vec::new());
    let (mut largest, mut peaks) = (Vec::new(), Vec::new());
    let mut intervals: [Vec<Option<f64>>; 3] = Default::default();
    let mut moments: Vec<(Vec<f64>, Vec<f64>)> = vec![(Vec::new(), Vec::new()); names.len()];
    let kept = |signal: usize| context.settings.count("kept").min(signal);
    // The recording too, as the task prepared it: figures are drawn from results alone.
    let shown = kept(recorded.nrows());
    let of_recording = |values: &[f64]| Array1::from(values.to_vec()).into_dyn();
    let mut arrays = vec![
        (
            "recorded".to_owned(),
            recorded.slice(s![..shown, ..]).to_owned().into_dyn(),
        ),
        ("mean".to_owned(), of_recording(&recording.mean)),
        (
            "standard_deviation".to_owned(),
            of_recording(&recording.standard_deviation),
        ),
        (
            "seconds_per_step".to_owned(),
            of_recording(&[recording.seconds_per_step.unwrap_or(f64::NAN)]),
        ),
    ];
    let unit = recording.unit.clone();
    let mut push =
        |network: Option<u64>, signal: ArrayView2<f64>, stop: Option<Stop>, largest_state: f64| {
            networks.push(network);
            made.push(signal.nrows() as u64);
            bounded.push(stop.is_none());
            largest.push(largest_state);
            let times = level.peaks(signal.column(0));
            peaks.push(1000.0 * times.len() as f64 / signal.nrows().max(1) as f64);
            let percentiles = interval_percentiles(&times);
            for (k, column) in intervals.iter_mut().enumerate() {
                column.push(percentiles.map(|p| p[k]));
            }
            for (column, (means, deviations)) in signal.columns().into_iter().zip(&mut moments) {
                let mean = column.mean().unwrap_or(f64::NAN);
                means.push(mean);
                let variance = column.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
                deviations.push((variance / (column.len().max(2) - 1) as f64).sqrt());
            }
        };
    // The recording's own numbers in the first row, without a network, to compare with.
    push(None, recorded.view(), None, f64::NAN);
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let start = map.state_from_observation(&recorded.row(0).to_vec());
        let run = free_run(&map, &start, driving.input(), &settings)
            .map_err(|error| failed("free run", error))?;
        let outputs: Array2<f64> = map.readouts(run.states.view());
        push(Some(network as u64), outputs.view(), run.stop, run.largest);
        let tail = outputs
            .slice(s![outputs.nrows() - kept(outputs.nrows()).., ..])
            .to_owned();
        // [time, output]
        arrays.push((format!("network_{network}"), tail.into_dyn()));
    }
    let mut table = Table::new();
    table
        .metadata
        .insert("recording_names".to_owned(), names.join("\n"));
    table.metadata.insert("recording_unit".to_owned(), unit);
    table.add("network", "", networks)?;
    table.add("steps", "steps", made)?;
    table.add("bounded", "", bounded)?;
    table.add("largest_state", "", largest)?;
    table.add("peaks_per_1000_steps", "", peaks)?;
    let [short, median, long] = intervals;
    table.add("peak_interval_10_percent", "steps", short)?;
    table.add("median_peak_interval", "steps", median)?;
    table.add("peak_interval_90_percent", "steps", long)?;
    for (name, (means, deviations)) in names.iter().zip(moments) {
        table.add(&format!("mean_{name}"), context.task.output_unit(), means)?;
        table.add(
            &format!("standard_deviation_{name}"),
            context.task.output_unit(),
            deviations,
        )?;
    }
    context.add_table("free_run", table);
    context.add_arrays("free_run", arrays);
    Ok(())
}
