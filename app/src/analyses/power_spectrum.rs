//! Power spectra of what every network does by itself, and of the recording that it learned.

use super::fixed_points::constant_input;
use super::free_run::{Driving, TRANSIENT};
use super::{AnalysisKind, Context, TableDoc, failed, visited_state};
use crate::session::Outcome;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, s};
use nullcline_analysis::free_run::{FreeRunSettings, RunInput, free_run};
use nullcline_analysis::power_spectrum::{PowerSpectrum, WelchSettings, welch};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;
use nullcline_tasks::{Recording, Split};

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "power_spectrum",
    summary: "power spectral densities of what the network does by itself, and of the recording",
    by_default: true,
    keys: &[
        Key {
            name: "steps",
            kind: Kind::Integer {
                min: 2,
                max: 100_000_000,
            },
            default: Preset::Integer(20_000),
            unit: "steps",
            doc: "Length of the free run, after the transient. A network with inputs receives those of the recording, where \
                  there is one, and both together last no longer than they.",
        },
        TRANSIENT,
        Key {
            name: "segment",
            kind: Kind::Integer {
                min: 2,
                max: 100_000_000,
            },
            default: Preset::Integer(2048),
            unit: "steps",
            doc: "Length of the segments whose spectra are averaged, but no more than a quarter of the signal: \
                  frequencies are one over this apart.",
        },
        Key {
            name: "overlap",
            kind: Kind::Number {
                min: 0.0,
                max: 0.95,
            },
            default: Preset::Number(0.5),
            unit: "segments",
            doc: "By how much a segment overlaps the next.",
        },
    ],
    tables: &[TableDoc {
        name: "power_spectrum",
        rows: "a row for every frequency of every signal that fluctuates",
        columns: &[
            ("network", "the network, from 0; empty for the recording"),
            (
                "signal",
                "name of the output, or population: the sum over all state variables",
            ),
            ("frequency", "cycles in a step"),
            (
                "frequency_hz",
                "the same in Hz; empty where the duration of a step is not known",
            ),
            (
                "density",
                "one-sided power spectral density; its sum times the distance of two frequencies is the variance",
            ),
        ],
    }],
    applies: |_, _| true,
    needs: &[],
    run,
};

/// A standard deviation below this part of the largest value is none: a network at rest, or nearly there.
const AT_REST: f64 = 1e-6;

fn run(context: &mut Context) -> Outcome<()> {
    let recording = context.task.recording(Split::HeldOut).cloned();
    let transient = context.settings.count("transient");
    let steps = transient.saturating_add(context.settings.count("steps"));
    let names = context.task.output_names();
    let mut spectra = Spectra {
        segment: context.settings.count("segment"),
        overlap: context.settings.number("overlap"),
        seconds_per_step: match &recording {
            Some(recording) => recording.seconds_per_step,
            None => context.task.seconds_per_step(),
        },
        ..Spectra::default()
    };
    if let Some(recording) = &recording {
        let values = in_its_unit(recording, recording.values.mapv(f64::from));
        spectra.add(None, &recording.names, values.view(), 0)?;
    }
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let run = match &recording {
            Some(recording) => {
                let first = recording.values.row(0).mapv(f64::from).to_vec();
                let start = map.state_from_observation(&first);
                let driving = Driving::new(context.task, recording, steps);
                let settings = FreeRunSettings::new(driving.steps);
                free_run(&map, &start, driving.input(), &settings)
            }
            None => {
                let start = visited_state(context, network)?;
                let input = constant_input(context);
                let settings = FreeRunSettings::new(steps);
                free_run(&map, &start, RunInput::Constant(&input), &settings)
            }
        }
        .map_err(|error| failed("free run", error))?;
        // A network that does not stay bounded has no spectrum.
        if run.stop.is_some() {
            continue;
        }
        let mut outputs = map.readouts(run.states.view());
        if let Some(recording) = &recording {
            outputs = in_its_unit(recording, outputs);
        }
        spectra.add(Some(network as u64), &names, outputs.view(), transient)?;
        spectra.add_population(network as u64, run.states.view(), transient)?;
    }
    let unit = match &recording {
        Some(recording) => recording.unit.clone(),
        None => context.task.output_unit().to_owned(),
    };
    context.add_table("power_spectrum", spectra.table(unit)?);
    Ok(())
}

/// Signals of a recording, `[time, dimension]`, as they were before they were standardised.
fn in_its_unit(recording: &Recording, mut values: Array2<f64>) -> Array2<f64> {
    for (dimension, mut column) in values.columns_mut().into_iter().enumerate() {
        if dimension < recording.mean.len() {
            column.mapv_inplace(|x| recording.restore(dimension, x));
        }
    }
    values
}

/// The columns of the table, and how they are made.
#[derive(Default)]
struct Spectra {
    segment: usize,
    overlap: f64,
    seconds_per_step: Option<f64>,
    networks: Vec<Option<u64>>,
    signals: Vec<String>,
    frequencies: Vec<f64>,
    densities: Vec<f64>,
}

impl Spectra {
    fn welch(&self, signals: ArrayView2<f64>) -> Outcome<PowerSpectrum> {
        let settings = WelchSettings {
            overlap: self.overlap,
            ..WelchSettings::new(self.segment.min(signals.nrows() / 4).max(2))
        };
        welch(signals, &settings).map_err(|error| failed("power spectrum", error))
    }

    /// Every signal `[time, signal]` that fluctuates after the transient.
    fn add(
        &mut self,
        network: Option<u64>,
        names: &[String],
        signals: ArrayView2<f64>,
        transient: usize,
    ) -> Outcome<()> {
        let kept = signals.slice(s![transient.min(signals.nrows()).., ..]);
        if kept.nrows() < 2 {
            return Ok(());
        }
        let spectrum = self.welch(kept)?;
        for (k, name) in names.iter().enumerate().take(signals.ncols()) {
            if !comes_to_rest(signals.slice(s![.., k..k + 1]), transient) {
                self.push(network, name, &spectrum, spectrum.density.column(k));
            }
        }
        Ok(())
    }

    /// The sum over all state variables, `[time, state]`.
    fn add_population(
        &mut self,
        network: u64,
        states: ArrayView2<f64>,
        transient: usize,
    ) -> Outcome<()> {
        let kept = states.slice(s![transient.min(states.nrows()).., ..]);
        if kept.nrows() < 2 || comes_to_rest(states, transient) {
            return Ok(());
        }
        let spectrum = self.welch(kept)?;
        let sum = spectrum.density.sum_axis(Axis(1));
        self.push(Some(network), POPULATION, &spectrum, sum.view());
        Ok(())
    }

    fn push(
        &mut self,
        network: Option<u64>,
        name: &str,
        spectrum: &PowerSpectrum,
        density: ArrayView1<f64>,
    ) {
        self.networks.extend(density.iter().map(|_| network));
        self.signals.extend(density.iter().map(|_| name.to_owned()));
        self.frequencies.extend(&spectrum.frequencies);
        self.densities.extend(density);
    }

    fn table(self, unit: String) -> nullcline_data::Result<Table> {
        let hertz = |frequency: &f64| Some(frequency / self.seconds_per_step?);
        let hertz: Vec<Option<f64>> = self.frequencies.iter().map(hertz).collect();
        let mut table = Table::new();
        table.metadata.insert("signal_unit".to_owned(), unit);
        table.add("network", "", self.networks)?;
        table.add("signal", "", self.signals)?;
        table.add("frequency", "1/step", self.frequencies)?;
        table.add("frequency_hz", "Hz", hertz)?;
        let density_unit = "units of the signal, squared, times steps";
        table.add("density", density_unit, self.densities)?;
        Ok(table)
    }
}

/// The signal that stands for the whole state.
pub const POPULATION: &str = "population";

/// Whether signals `[time, signal]` together do not fluctuate after the transient, beside what they have been.
pub(super) fn comes_to_rest(signals: ArrayView2<f64>, transient: usize) -> bool {
    let largest = signals
        .iter()
        .fold(0.0f64, |largest, x| largest.max(x.abs()));
    let kept = signals.slice(s![transient.., ..]);
    let deviation = |column: ArrayView1<f64>| {
        let mean = column.sum() / column.len() as f64;
        column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / column.len() as f64
    };
    let variance: f64 = kept.columns().into_iter().map(deviation).sum();
    variance.sqrt() <= AT_REST * largest
}
