//! A network that has learned a recording, left to itself: does it stay bounded, and does it do what the
//! recording does?

use super::{AnalysisKind, Context, failed};
use crate::session::Outcome;
use ndarray::{Array2, ArrayView2, s};
use nullcline_analysis::free_run::{FreeRunSettings, RunInput, Stop, free_run};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;
use nullcline_tasks::Split;

pub const KIND: AnalysisKind = AnalysisKind {
    name: "free_run",
    summary: "the signal that a network generates by itself, for how long it stays bounded, how often it peaks",
    keys: &[
        Key {
            name: "steps",
            kind: Kind::Integer {
                min: 1,
                max: 100_000_000,
            },
            default: Preset::Integer(100_000),
            unit: "steps",
            doc: "Length of the free run, which starts from the first observation of the test part.",
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
    applies: |task| task.recording(Split::HeldOut).is_some(),
    needs: &[],
    run,
};

fn run(context: &mut Context) -> Outcome<()> {
    let Some(recording) = context.task.recording(Split::HeldOut) else {
        return Ok(());
    };
    let recorded = recording.values.mapv(f64::from);
    let level = PeakLevel::of(recorded.view());
    let steps = context.settings.count("steps");
    let settings = FreeRunSettings {
        steps,
        bound: context.settings.number("bound"),
        keep_every: 1,
    };
    let names = recording.names.clone();
    let input = context.task.rest_input();

    let (mut networks, mut made, mut bounded) = (Vec::new(), Vec::new(), Vec::new());
    let (mut largest, mut peaks, mut intervals) = (Vec::new(), Vec::new(), Vec::new());
    let mut moments: Vec<(Vec<f64>, Vec<f64>)> = vec![(Vec::new(), Vec::new()); names.len()];
    let mut arrays = Vec::new();
    let mut push =
        |network: Option<u64>, signal: ArrayView2<f64>, stop: Option<Stop>, largest_state: f64| {
            networks.push(network);
            made.push(signal.nrows() as u64);
            bounded.push(stop.is_none());
            largest.push(largest_state);
            let times = level.peaks(signal);
            peaks.push(1000.0 * times.len() as f64 / signal.nrows().max(1) as f64);
            intervals.push(median_interval(&times));
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
        let run = free_run(&map, &start, RunInput::Constant(&input), &settings)
            .map_err(|error| failed("free run", error))?;
        let outputs: Array2<f64> = map.readouts(run.states.view());
        push(Some(network as u64), outputs.view(), run.stop, run.largest);
        let kept = context.settings.count("kept").min(outputs.nrows());
        let tail = outputs.slice(s![outputs.nrows() - kept.., ..]).to_owned();
        // [time, output]
        arrays.push((format!("network_{network}"), tail.into_dyn()));
    }
    let mut table = Table::new();
    table.add("network", "", networks)?;
    table.add("steps", "steps", made)?;
    table.add("bounded", "", bounded)?;
    table.add("largest_state", "", largest)?;
    table.add("peaks_per_1000_steps", "", peaks)?;
    table.add("median_peak_interval", "steps", intervals)?;
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

/// When a signal's first dimension counts as peaking: at an upward crossing of half the way from the
/// recording's median to its 99.5th percentile, if it has been below a quarter of the way since the last.
struct PeakLevel {
    rearm: f64,
    fire: f64,
}

impl PeakLevel {
    fn of(recorded: ArrayView2<f64>) -> Self {
        let mut first: Vec<f64> = recorded.column(0).to_vec();
        first.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            first
                .get(((first.len().max(1) - 1) as f64 * q) as usize)
                .copied()
                .unwrap_or(0.0)
        };
        let (median, top) = (quantile(0.5), quantile(0.995));
        PeakLevel {
            rearm: median + 0.25 * (top - median),
            fire: median + 0.5 * (top - median),
        }
    }

    fn peaks(&self, signal: ArrayView2<f64>) -> Vec<usize> {
        let mut armed = false;
        let mut times = Vec::new();
        for (t, row) in signal.rows().into_iter().enumerate() {
            let x = row[0];
            if x < self.rearm {
                armed = true;
            } else if armed && x >= self.fire {
                armed = false;
                times.push(t);
            }
        }
        times
    }
}

fn median_interval(times: &[usize]) -> Option<f64> {
    let mut intervals: Vec<usize> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    intervals.sort_unstable();
    intervals
        .get(intervals.len() / 2)
        .map(|&interval| interval as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_of_a_sine_are_its_periods() {
        let wave = |period: f64| {
            Array2::from_shape_fn((1000, 1), |(t, _)| {
                (std::f64::consts::TAU * t as f64 / period).sin()
            })
        };
        let level = PeakLevel::of(wave(50.0).view());
        let times = level.peaks(wave(50.0).view());
        assert_eq!(times.len(), 20);
        assert_eq!(median_interval(&times), Some(50.0));
        assert_eq!(level.peaks(wave(25.0).view()).len(), 40);
        assert_eq!(level.peaks((wave(25.0) * 0.2).view()).len(), 0);
    }
}
