//! How faithfully every network has learned a recording: whether it visits the same states, fluctuates at the same
//! frequencies, and predicts what comes next.

use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array1, Array2, ArrayView2, s};
use nullcline_analysis::free_run::{FreeRunSettings, RunInput, free_run};
use nullcline_analysis::lyapunov::{LyapunovSettings, lyapunov_spectrum};
use nullcline_analysis::power_spectrum_distance::power_spectrum_distance;
use nullcline_analysis::prediction_error::prediction_error;
use nullcline_analysis::state_space_divergence::{
    BinRange, BinSettings, Divergence, DivergenceMethod, MixtureSettings, state_space_divergence,
};
use nullcline_analysis::valid_prediction_time::{PredictionTimeSettings, valid_prediction_times};
use nullcline_data::random::{Random, Stream};
use nullcline_data::settings::{Key, Kind, Preset, Settings};
use nullcline_models::network::Network;
use nullcline_tables::Table;
use nullcline_tasks::{Recording, Split, Task};

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "reconstruction",
    summary: "distances of what a network generates from the recording it learned, in state space and in frequency, and how far it predicts",
    by_default: true,
    keys: &[
        Key {
            name: "against",
            kind: Kind::Choice(&["test", "training"]),
            default: Preset::Text("test"),
            unit: "",
            doc: "The part of the recording that the network is compared with, and from whose first observation it starts.",
        },
        Key {
            name: "length",
            kind: Kind::Integer {
                min: 10,
                max: 100_000_000,
            },
            default: Preset::Absent,
            unit: "steps",
            doc: "How much of that part is compared, from its beginning, and with an orbit of as many steps; all of it \
                  where left out or longer. Distances of different lengths cannot be compared.",
        },
        Key {
            name: "transient",
            kind: Kind::Number {
                min: 0.0,
                max: 10.0,
            },
            default: Preset::Number(0.25),
            unit: "lengths",
            doc: "Steps that are made before the orbit that is compared, in which the state comes to the attractor. None \
                  where recorded inputs drive the network.",
        },
        Key {
            name: "method",
            kind: Kind::Choice(&["published", "bins", "mixture"]),
            default: Preset::Text("published"),
            unit: "",
            doc: "How distributions of states are described for D_stsp: by histograms or by mixtures of Gaussians; as \
                  published, by histograms below six dimensions.",
        },
        Key {
            name: "bins",
            kind: Kind::Integer {
                min: 1,
                max: 10_000,
            },
            default: Preset::Integer(30),
            unit: "bins",
            doc: "Bins of a histogram in every dimension.",
        },
        Key {
            name: "bin_range",
            kind: Kind::Choice(&["margin", "two_deviations", "extremes"]),
            default: Preset::Text("margin"),
            unit: "",
            doc: "What the bins divide: from the smallest to the largest value of the data with a margin of a tenth of \
                  their standard deviation; two standard deviations to either side of 0, as dendritic PLRNN publications \
                  take it; or from the smallest to the largest value, as Python versions do.",
        },
        Key {
            name: "variance",
            kind: Kind::Number {
                min: 1e-9,
                max: 1e9,
            },
            default: Preset::Number(1.0),
            unit: "s.d.^2",
            doc: "Variance of the Gaussians of a mixture, for data that are standardised.",
        },
        Key {
            name: "symmetric",
            kind: Kind::Flag,
            default: Preset::Flag(false),
            unit: "",
            doc: "Whether the divergence of mixtures is averaged over both directions, as in dendritic PLRNN publications.",
        },
        Key {
            name: "smoothing",
            kind: Kind::Number {
                min: 0.0,
                max: 10_000.0,
            },
            default: Preset::Number(20.0),
            unit: "frequencies",
            doc: "Standard deviation of the Gaussian that power spectra are smoothed with for D_H.",
        },
        Key {
            name: "prediction_steps",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(20),
            unit: "steps",
            doc: "How far ahead the prediction error is measured, from every observation; no further than there are data.",
        },
        Key {
            name: "threshold",
            kind: Kind::Number {
                min: 1e-9,
                max: 1e9,
            },
            default: Preset::Number(0.5),
            unit: "s.d.",
            doc: "Error of a prediction, root mean square over the dimensions, at which it is no longer valid.",
        },
        Key {
            name: "horizon",
            kind: Kind::Integer {
                min: 1,
                max: 10_000_000,
            },
            default: Preset::Integer(1000),
            unit: "steps",
            doc: "How long a prediction is followed at most, but no longer than half of the data.",
        },
        Key {
            name: "starts",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(100),
            unit: "predictions",
            doc: "Predictions, at even distances, over which the valid prediction time is averaged.",
        },
        Key {
            name: "lyapunov_time",
            kind: Kind::Number {
                min: 1e-12,
                max: 1e12,
            },
            default: Preset::Absent,
            unit: "time",
            doc: "One over the largest Lyapunov exponent of the recorded system, in the time that a step is known to take, \
                  else in steps; where left out, that of the equations of a known system. Prediction times are also given \
                  in multiples of it.",
        },
        Key {
            name: "bound",
            kind: Kind::Number {
                min: 1e-9,
                max: 1e300,
            },
            default: Preset::Number(1e6),
            unit: "s.d.",
            doc: "An output further from the mean of the data than this has diverged.",
        },
        Key {
            name: "kept",
            kind: Kind::Integer {
                min: 1,
                max: 100_000_000,
            },
            default: Preset::Integer(4000),
            unit: "steps",
            doc: "Steps of data and orbits that are kept for figures, in reconstruction.npz.",
        },
    ],
    tables: &[
        TableDoc {
            name: "reconstruction",
            rows: "a row for every network; and, without a network, one for the other part of the recording, one for the \
                   prediction that nothing changes, one for that of the mean: what a network should come near to, and \
                   what it should beat",
            columns: &[
                (
                    "network",
                    "the network, from 0; empty for what is compared with it",
                ),
                ("model", "network, other_part, persistence or mean"),
                ("against", "test or training: the part that is compared"),
                (
                    "orbit_length",
                    "steps compared, on which d_stsp and above all d_hellinger depend",
                ),
                (
                    "diverged",
                    "whether the orbit left the bound or the finite numbers; it has no distances then",
                ),
                (
                    "d_stsp",
                    "Kullback-Leibler divergence of the states visited from those of the data",
                ),
                ("d_stsp_method", "bins or mixture"),
                (
                    "d_stsp_standard_error",
                    "of the samples that the divergence of mixtures is had from; 0 for bins",
                ),
                (
                    "d_hellinger",
                    "Hellinger distance of the power spectra, mean over the outputs; empty where an output is at rest",
                ),
                (
                    "prediction_error",
                    "mean squared error of the prediction prediction_steps ahead, over all observations",
                ),
                ("prediction_steps", "how far ahead"),
                (
                    "valid_prediction_steps_mean",
                    "steps for which predictions are valid, mean over the starts",
                ),
                ("valid_prediction_steps_median", "the same, median"),
                (
                    "valid_prediction_steps_first",
                    "the same for the prediction from the first observation",
                ),
                (
                    "valid_prediction_time_mean",
                    "the mean in Lyapunov times; empty where the Lyapunov time is not known",
                ),
                (
                    "valid_prediction_time_median",
                    "the median in Lyapunov times",
                ),
                (
                    "still_valid",
                    "predictions valid as long as they were followed; mean and median are lower bounds then",
                ),
                ("starts", "predictions that were made"),
            ],
        },
        TableDoc {
            name: "reconstruction.npz",
            rows: "the beginnings of the signals that were compared",
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
                    "start_*",
                    "[time, output] this network from the first observation on, up to where it diverges",
                ),
                (
                    "orbit_*",
                    "[time, output] the same after the transient; not there where it diverges before",
                ),
            ],
        },
    ],
    applies: |task, _| task.recording(Split::HeldOut).is_some(),
    needs: &[],
    run,
};

fn run(context: &mut Context) -> Outcome<()> {
    let Some(data) = Data::of(context.task, context.settings) else {
        return Ok(());
    };
    let kept = context.settings.count("kept");
    let mut rows = Rows::default();
    let mut arrays = data.arrays(kept);
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let orbit = data.orbit(&map)?;
        let measures = data.measures(&map, &orbit, context.seed(network))?;
        let beginning = |signal: ArrayView2<f64>| {
            let shown = kept.min(signal.nrows());
            signal.slice(s![..shown, ..]).to_owned().into_dyn()
        };
        arrays.push((format!("start_{network}"), beginning(orbit.start())));
        if let Some(compared) = orbit.compared() {
            arrays.push((format!("orbit_{network}"), beginning(compared)));
        }
        rows.push(Some(network as u64), "network", measures);
        // Whether to go on is asked at the beginning of the next one.
        context.watch(network)(1.0);
    }
    for (model, measures) in data.references(context.seed(0))? {
        rows.push(None, model, measures);
    }
    let mut table = Table::new();
    table.metadata.extend(data.metadata());
    table.add("network", "", rows.networks)?;
    table.add("model", "", rows.models)?;
    rows.measures.add_to(&mut table, &data)?;
    context.add_table(KIND.name, table);
    context.add_arrays(KIND.name, arrays);
    Ok(())
}

/// The rows of the table, column by column.
#[derive(Default)]
struct Rows {
    networks: Vec<Option<u64>>,
    models: Vec<&'static str>,
    measures: MeasureColumns,
}

impl Rows {
    fn push(&mut self, network: Option<u64>, model: &'static str, measures: Measures) {
        self.networks.push(network);
        self.models.push(model);
        self.measures.0.push(measures);
    }
}

/// A recording that networks are compared with, and how.
pub(crate) struct Data<'a> {
    settings: &'a Settings,
    recording: Recording,
    /// What is compared, `[time, output]`.
    values: Array2<f64>,
    /// The part of the recording that is not compared, `[time, output]`.
    other: Array2<f64>,
    /// Mean and standard deviation of every output.
    moments: Vec<(f64, f64)>,
    /// Row t is the input of the step from time t to time t + 1; no columns where the recording has none.
    inputs: Array2<f64>,
    task: &'a dyn Task,
    /// The input of a network where the recording has none.
    rest: Vec<f64>,
    method: DivergenceMethod,
    /// Unit of the values, after standardisation.
    unit: String,
}

/// What a network generates by itself.
pub(super) struct Orbit {
    /// Every output from the first observation on, up to where it diverges, `[time, output]`.
    outputs: Array2<f64>,
    transient: usize,
    /// Whether it left the bound or the finite numbers.
    diverged: bool,
}

impl Orbit {
    /// From the first observation on, `[time, output]`.
    pub(super) fn start(&self) -> ArrayView2<'_, f64> {
        self.outputs.view()
    }

    /// What is left after the transient, `[time, output]`; `None` where it diverges before.
    pub(super) fn compared(&self) -> Option<ArrayView2<'_, f64>> {
        (self.outputs.nrows() > self.transient)
            .then(|| self.outputs.slice(s![self.transient.., ..]))
    }
}

/// The measures of one network; `None` for what is not defined.
#[derive(Clone, Debug, Default)]
pub(super) struct Measures {
    orbit_length: Option<u64>,
    diverged: bool,
    divergence: Option<Divergence>,
    d_hellinger: Option<f64>,
    prediction_error: Option<f64>,
    times: Option<Times>,
}

/// Valid prediction times, in steps.
#[derive(Clone, Debug)]
struct Times {
    mean: f64,
    median: f64,
    first: u64,
    still_valid: u64,
    starts: u64,
}

impl<'a> Data<'a> {
    /// The recording of a task as the settings of this analysis ask; `None` for a task without one, or with a single
    /// observation, after which there is nothing to predict.
    pub(crate) fn of(task: &'a dyn Task, settings: &'a Settings) -> Option<Self> {
        let (part, other) = match settings.text("against") {
            "training" => (Split::Training, Split::HeldOut),
            _ => (Split::HeldOut, Split::Training),
        };
        let (recording, other) = (task.recording(part)?, task.recording(other)?);
        let rows = recording.values.nrows();
        let length = settings
            .optional_integer("length")
            .map_or(rows, |length| length.unsigned_abs() as usize)
            .min(rows);
        if length < 2 {
            return None;
        }
        let values = recording.values.slice(s![..length, ..]).mapv(f64::from);
        let moments = values
            .columns()
            .into_iter()
            .map(|column| (column.mean().unwrap_or(0.0), column.std(1.0)))
            .collect();
        let shared = length.min(other.values.nrows());
        Some(Data {
            method: method(settings, values.ncols()),
            other: other.values.slice(s![..shared, ..]).mapv(f64::from),
            inputs: recorded_inputs(recording, length),
            task,
            rest: task.rest_input(),
            unit: task.output_unit().to_owned(),
            recording: recording.clone(),
            settings,
            values,
            moments,
        })
    }

    pub(crate) fn length(&self) -> usize {
        self.values.nrows()
    }

    /// How far ahead the prediction error is measured: no further than there are data.
    fn prediction_steps(&self) -> usize {
        let steps = self.settings.count("prediction_steps");
        steps.min(self.length() - 1).max(1)
    }

    fn is_driven(&self) -> bool {
        self.inputs.ncols() > 0
    }

    fn input(&self) -> RunInput<'_> {
        if self.is_driven() {
            RunInput::Sequence(self.inputs.view())
        } else {
            RunInput::Constant(&self.rest)
        }
    }

    /// Whether every output fluctuates: a constant one has neither a range nor a spectrum to compare.
    fn fluctuates(&self) -> bool {
        varies(self.values.view())
    }

    /// Lets a network run from the state that the first observation implies: through the transient, then for as many
    /// steps as there are data; driven by recorded inputs, for those steps alone.
    pub(super) fn orbit(&self, map: &Network) -> Outcome<Orbit> {
        self.orbit_from(map, 0)
    }

    /// [`Self::orbit`] from the observation of another time, which recorded inputs do not have.
    fn orbit_from(&self, map: &Network, time: usize) -> Outcome<Orbit> {
        let transient = if self.is_driven() {
            0
        } else {
            (self.settings.number("transient") * self.length() as f64).round() as usize
        };
        let time = if self.is_driven() { 0 } else { time };
        let start = map.state_from_observation(&self.values.row(time).to_vec());
        let settings = FreeRunSettings {
            bound: f64::INFINITY,
            ..FreeRunSettings::new(transient + self.length() - 1)
        };
        let run = free_run(map, &start, self.input(), &settings)
            .map_err(|error| failed("free run", error))?;
        let outputs = map.readouts(run.states.view());
        let bound = self.settings.number("bound");
        let is_bounded = |row: ndarray::ArrayView1<f64>| {
            let mut outputs = row.iter().zip(&self.moments);
            // Of a constant output, the bound is as many units; what is not a number is not within.
            outputs.all(|(y, (mean, deviation))| {
                let scale = if *deviation > 0.0 { *deviation } else { 1.0 };
                (y - mean).abs() <= bound * scale
            })
        };
        let bounded = outputs
            .outer_iter()
            .position(|row| !is_bounded(row))
            .unwrap_or(outputs.nrows());
        Ok(Orbit {
            diverged: run.stop.is_some() || bounded < outputs.nrows(),
            outputs: outputs.slice(s![..bounded, ..]).to_owned(),
            transient,
        })
    }

    /// All measures of a network and its orbit. `seed` gives the samples of mixtures.
    pub(super) fn measures(&self, map: &Network, orbit: &Orbit, seed: u64) -> Outcome<Measures> {
        let prediction_error = self.prediction_error(map, self.length())?;
        let mut measures = Measures {
            orbit_length: Some(self.length() as u64),
            diverged: orbit.diverged,
            prediction_error: prediction_error.is_finite().then_some(prediction_error),
            times: self.times(map)?,
            ..Measures::default()
        };
        if let (Some(compared), false) = (orbit.compared(), orbit.diverged) {
            (measures.divergence, measures.d_hellinger) =
                self.distances(self.values.view(), compared, seed)?;
        }
        Ok(measures)
    }

    /// PE(n) from the first `rows` observations, all of them or less.
    pub(crate) fn prediction_error(&self, map: &Network, rows: usize) -> Outcome<f64> {
        let values = self.values.slice(s![..rows.min(self.length()), ..]);
        prediction_error(map, values, self.input(), self.prediction_steps())
            .map_err(|error| failed("prediction error", error))
    }

    /// D_stsp of the orbit of a network; `None` where it diverges, or the data are constant.
    pub(super) fn divergence(&self, map: &Network, seed: u64) -> Outcome<Option<Divergence>> {
        self.divergence_from(map, 0, seed)
    }

    /// [`Self::divergence`] of an orbit from the observation of another time.
    pub(crate) fn divergence_from(
        &self,
        map: &Network,
        time: usize,
        seed: u64,
    ) -> Outcome<Option<Divergence>> {
        let orbit = self.orbit_from(map, time)?;
        match orbit.compared() {
            Some(compared) if !orbit.diverged && self.fluctuates() => {
                self.divergence_of(self.values.view(), compared, seed)
            }
            _ => Ok(None),
        }
    }

    fn divergence_of(
        &self,
        data: ArrayView2<f64>,
        generated: ArrayView2<f64>,
        seed: u64,
    ) -> Outcome<Option<Divergence>> {
        let mut random = Random::new(seed, Stream::SAMPLES, 0);
        state_space_divergence(data, generated, &self.method, &mut random)
            .map_err(|error| failed("D_stsp", error))
    }

    /// D_stsp and D_H of two signals of one length.
    fn distances(
        &self,
        data: ArrayView2<f64>,
        generated: ArrayView2<f64>,
        seed: u64,
    ) -> Outcome<(Option<Divergence>, Option<f64>)> {
        if !self.fluctuates() {
            return Ok((None, None));
        }
        let divergence = self.divergence_of(data, generated, seed)?;
        let smoothing = self.settings.number("smoothing");
        let distance = power_spectrum_distance(data, generated, smoothing)
            .map_err(|error| failed("D_H", error))?
            .mean;
        Ok((divergence, distance.is_finite().then_some(distance)))
    }

    fn times(&self, map: &Network) -> Outcome<Option<Times>> {
        let horizon = self.settings.count("horizon").min(self.length() / 2);
        if !self.fluctuates() {
            return Ok(None);
        }
        let settings = PredictionTimeSettings {
            threshold: self.settings.number("threshold"),
            starts: self.settings.count("starts"),
            ..PredictionTimeSettings::new(horizon)
        };
        let times = valid_prediction_times(map, self.values.view(), self.input(), &settings)
            .map_err(|error| failed("valid prediction time", error))?;
        Ok(Some(Times {
            mean: times.mean(),
            median: times.median(),
            first: times.steps.first().map_or(0, |steps| *steps as u64),
            still_valid: times.censored as u64,
            starts: times.starts.len() as u64,
        }))
    }

    /// What networks are to be seen beside: the distances between the two parts of the recording, over the steps that both
    /// have, and the errors of two predictions that know nothing of the dynamics.
    fn references(&self, seed: u64) -> Outcome<Vec<(&'static str, Measures)>> {
        let shared = self.other.nrows();
        let mut other_part = Measures {
            orbit_length: Some(shared as u64),
            ..Measures::default()
        };
        let data = self.values.slice(s![..shared, ..]);
        if varies(data) && shared > 1 {
            (other_part.divergence, other_part.d_hellinger) =
                self.distances(data, self.other.view(), seed)?;
        }
        let steps = self.prediction_steps();
        let ahead = self.values.slice(s![steps.., ..]);
        let mean = Array1::from_iter(self.moments.iter().map(|(mean, _)| *mean));
        let error = |guess: Array2<f64>| {
            let error = (&ahead - &guess).mapv(|x| x * x).mean();
            Measures {
                prediction_error: error,
                ..Measures::default()
            }
        };
        let now = self.values.slice(s![..ahead.nrows(), ..]).to_owned();
        let always = Array2::from_shape_fn(ahead.dim(), |(_, d)| mean[d]);
        Ok(vec![
            ("other_part", other_part),
            ("persistence", error(now)),
            ("mean", error(always)),
        ])
    }

    /// The Lyapunov time of the recorded system in steps: as the experiment gives it, or that of the equations where they
    /// are known and the largest exponent is positive.
    fn lyapunov_steps(&self) -> Option<f64> {
        if let Some(time) = self.settings.optional_number("lyapunov_time") {
            return Some(time / self.task.time_per_step().map_or(1.0, |step| step.duration));
        }
        let flow = self.task.system()?.flow();
        let measured = LyapunovSettings {
            exponents: Some(1),
            ..LyapunovSettings::new(EXPONENT_STEPS)
        };
        let spectrum = lyapunov_spectrum(
            &flow,
            &self.values.row(0).to_vec(),
            RunInput::Constant(&[]),
            &measured,
            &mut Random::new(0, Stream::STARTS, 3),
            &mut |_| true,
        )
        .ok()?;
        let largest = *spectrum.exponents.first()?;
        (largest > 0.0).then(|| largest.recip())
    }

    /// The data themselves and their scale, for figures, which are drawn from results alone.
    pub(super) fn arrays(&self, kept: usize) -> crate::results::Arrays {
        let list = |values: &[f64]| Array1::from(values.to_vec()).into_dyn();
        let shown = kept.min(self.length());
        let seconds = self.recording.seconds_per_step.unwrap_or(f64::NAN);
        let recorded = self.values.slice(s![..shown, ..]).to_owned().into_dyn();
        vec![
            ("recorded".to_owned(), recorded),
            ("mean".to_owned(), list(&self.recording.mean)),
            (
                "standard_deviation".to_owned(),
                list(&self.recording.standard_deviation),
            ),
            ("seconds_per_step".to_owned(), list(&[seconds])),
        ]
    }

    /// Names and unit of the outputs, for figures.
    pub(super) fn metadata(&self) -> [(String, String); 2] {
        [
            (
                "recording_names".to_owned(),
                self.recording.names.join("\n"),
            ),
            ("recording_unit".to_owned(), self.recording.unit.clone()),
        ]
    }
}

/// Whether every column of `[time, dimension]` takes more than one value.
fn varies(signal: ArrayView2<f64>) -> bool {
    let mut columns = signal.columns().into_iter();
    columns.all(|column| column.iter().any(|x| Some(x) != column.first()))
}

/// What drives the recorded system, a row for every step between two of `length` observations; no columns where nothing is
/// recorded of it.
fn recorded_inputs(recording: &Recording, length: usize) -> Array2<f64> {
    let inputs = recording.inputs_after(0);
    let steps = inputs.nrows().min(length.saturating_sub(1));
    inputs.slice(s![..steps, ..]).mapv(f64::from)
}

/// Samples over which the largest exponent of a known system is measured: 3 % of that of Lorenz-63.
const EXPONENT_STEPS: usize = 20_000;

fn method(settings: &Settings, dimensions: usize) -> DivergenceMethod {
    let bins = DivergenceMethod::Bins(BinSettings {
        bins: settings.count("bins"),
        range: match settings.text("bin_range") {
            "two_deviations" => BinRange::TwoDeviations,
            "extremes" => BinRange::Extremes,
            _ => BinRange::Margin,
        },
        ..BinSettings::default()
    });
    let mixture = DivergenceMethod::Mixture(MixtureSettings {
        variance: settings.number("variance"),
        symmetric: settings.flag("symmetric"),
        ..MixtureSettings::default()
    });
    match settings.text("method") {
        "bins" => bins,
        "mixture" => mixture,
        _ if DivergenceMethod::published(dimensions).name() == bins.name() => bins,
        _ => mixture,
    }
}

/// Measures, a row each.
#[derive(Default)]
pub(super) struct MeasureColumns(pub(super) Vec<Measures>);

impl MeasureColumns {
    /// Adds them to a table, a column for every measure.
    ///
    /// # Errors
    /// If the table has another number of rows.
    pub(super) fn add_to(&self, table: &mut Table, data: &Data) -> nullcline_data::Result<()> {
        let rows = &self.0;
        let numbers =
            |of: &dyn Fn(&Measures) -> Option<f64>| rows.iter().map(of).collect::<Vec<_>>();
        let counts =
            |of: &dyn Fn(&Measures) -> Option<u64>| rows.iter().map(of).collect::<Vec<_>>();
        let times = |of: &dyn Fn(&Times) -> f64| numbers(&|row| row.times.as_ref().map(of));
        let lyapunov_steps = data.lyapunov_steps();
        let in_lyapunov_times = |of: &dyn Fn(&Times) -> f64| {
            numbers(&|row| Some(row.times.as_ref().map(of)? / lyapunov_steps?))
        };
        let steps = data.prediction_steps() as u64;
        table.add(
            "against",
            "",
            vec![data.settings.text("against"); rows.len()],
        )?;
        table.add("orbit_length", "steps", counts(&|row| row.orbit_length))?;
        let diverged: Vec<bool> = rows.iter().map(|row| row.diverged).collect();
        table.add("diverged", "", diverged)?;
        table.add(
            "d_stsp",
            "nats",
            numbers(&|row| Some(row.divergence?.value)),
        )?;
        let methods: Vec<Option<&str>> = rows
            .iter()
            .map(|row| row.orbit_length.map(|_| data.method.name()))
            .collect();
        table.add("d_stsp_method", "", methods)?;
        table.add(
            "d_stsp_standard_error",
            "nats",
            numbers(&|row| Some(row.divergence?.standard_error)),
        )?;
        table.add("d_hellinger", "", numbers(&|row| row.d_hellinger))?;
        table.add(
            "prediction_error",
            &format!("{}^2", data.unit),
            numbers(&|row| row.prediction_error),
        )?;
        table.add(
            "prediction_steps",
            "steps",
            counts(&|row| row.prediction_error.map(|_| steps)),
        )?;
        table.add("valid_prediction_steps_mean", "steps", times(&|t| t.mean))?;
        table.add(
            "valid_prediction_steps_median",
            "steps",
            times(&|t| t.median),
        )?;
        table.add(
            "valid_prediction_steps_first",
            "steps",
            counts(&|row| row.times.as_ref().map(|t| t.first)),
        )?;
        table.add(
            "valid_prediction_time_mean",
            "Lyapunov times",
            in_lyapunov_times(&|t| t.mean),
        )?;
        table.add(
            "valid_prediction_time_median",
            "Lyapunov times",
            in_lyapunov_times(&|t| t.median),
        )?;
        table.add(
            "still_valid",
            "predictions",
            counts(&|row| row.times.as_ref().map(|t| t.still_valid)),
        )?;
        table.add(
            "starts",
            "predictions",
            counts(&|row| row.times.as_ref().map(|t| t.starts)),
        )
    }
}
