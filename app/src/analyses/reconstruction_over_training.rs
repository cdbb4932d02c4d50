//! How every network came to reconstruct a recording: the measures of [`super::reconstruction`] at each snapshot of
//! training.

use super::reconstruction::{self, Data, MeasureColumns};
use super::{AnalysisKind, Context, TableDoc};
use crate::session::Outcome;
use ndarray::s;
use nullcline_data::Error;
use nullcline_data::settings::{Key, Kind, Preset, Value};
use nullcline_models::ensemble::Ensemble;
use nullcline_tables::Table;
use nullcline_tasks::Split;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "reconstruction_over_training",
    summary: "the measures of reconstruction at every snapshot of training, and a short orbit of each; with the keys of reconstruction",
    by_default: false,
    keys: &[Key {
        name: "kept",
        kind: Kind::Integer {
            min: 1,
            max: 100_000_000,
        },
        default: Preset::Integer(2000),
        unit: "steps",
        doc: "Steps of data and of the orbit of every snapshot that are kept for figures.",
    }],
    tables: &[
        TableDoc {
            name: "reconstruction_over_training",
            rows: "a row for every snapshot of every network, the trained network being the last",
            columns: &[
                ("network", "the network, from 0"),
                ("update", "updates that the snapshot has had"),
                (
                    "d_stsp_training",
                    "D_stsp against the training part, as reconstruction measures it with against = \"training\"",
                ),
                (
                    "selected",
                    "whether that is the least of this network's snapshots: the one that would be chosen by the training part alone",
                ),
                ("against", "as in reconstruction"),
                ("orbit_length", "as in reconstruction"),
                ("diverged", "as in reconstruction"),
                ("d_stsp", "as in reconstruction"),
                ("d_stsp_method", "as in reconstruction"),
                ("d_stsp_standard_error", "as in reconstruction"),
                ("d_hellinger", "as in reconstruction"),
                ("prediction_error", "as in reconstruction"),
                ("prediction_steps", "as in reconstruction"),
                ("valid_prediction_steps_mean", "as in reconstruction"),
                ("valid_prediction_steps_median", "as in reconstruction"),
                ("valid_prediction_steps_first", "as in reconstruction"),
                ("valid_prediction_time_mean", "as in reconstruction"),
                ("valid_prediction_time_median", "as in reconstruction"),
                ("still_valid", "as in reconstruction"),
                ("starts", "as in reconstruction"),
            ],
        },
        TableDoc {
            name: "reconstruction_over_training.npz",
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
                    "network_*",
                    "[time, output] as network_0_update_100: this network after so many updates, after the transient; \
                     not there where it diverges before",
                ),
            ],
        },
    ],
    applies: |task, _| task.recording(Split::HeldOut).is_some(),
    needs: &[],
    run,
};

fn run(context: &mut Context) -> Outcome<()> {
    let updates = context.snapshots.updates();
    if updates.len() < 2 {
        return Err(Error::argument(
            KIND.name,
            "no snapshots of training",
            "a run trained with at least one, such as snapshots = [0, 100, 200] in [training]",
        )
        .into());
    }
    let experiment = context.experiment;
    let Some(settings) = experiment.analysis(reconstruction::KIND.name) else {
        return Ok(());
    };
    let mut of_training = settings.clone();
    of_training.set("against", Value::Text("training".to_owned()))?;
    let (Some(data), Some(training)) = (
        Data::of(context.task, settings),
        Data::of(context.task, &of_training),
    ) else {
        return Ok(());
    };
    let kept = context.settings.count("kept");
    let architecture = &context.ensemble.architecture;
    let ensembles: Vec<Ensemble> = updates
        .iter()
        .map(|&update| context.snapshots.read(update, architecture))
        .collect::<Outcome<_>>()?;
    let (mut networks, mut at) = (Vec::new(), Vec::new());
    let (mut divergences, mut selected) = (Vec::new(), Vec::new());
    let mut measures = MeasureColumns::default();
    let mut arrays = data.arrays(kept);
    for network in 0..context.ensemble.len() {
        let seed = context.seed(network);
        let first = divergences.len();
        for (k, (ensemble, &update)) in ensembles.iter().zip(&updates).enumerate() {
            context.control.check()?;
            let Some(map) = ensemble.network(network) else {
                return Err(Error::argument(
                    "snapshots",
                    format!("{} networks", ensemble.len()),
                    format!("{}, as there are now", context.ensemble.len()),
                )
                .into());
            };
            let divergence = training.divergence(&map, seed)?;
            divergences.push(divergence.map(|divergence| divergence.value));
            let orbit = data.orbit(&map)?;
            measures.0.push(data.measures(&map, &orbit, seed)?);
            if let Some(compared) = orbit.compared() {
                let shown = kept.min(compared.nrows());
                let shown = compared.slice(s![..shown, ..]).to_owned();
                let name = format!("network_{network}_update_{update}");
                arrays.push((name, shown.into_dyn()));
            }
            networks.push(network as u64);
            at.push(update);
            // Whether to go on is asked at the beginning of the next one.
            context.watch(network)((k + 1) as f64 / updates.len() as f64);
        }
        let of_network = &divergences[first..];
        let least = of_network.iter().flatten().copied().reduce(f64::min);
        let nearest = of_network
            .iter()
            .position(|divergence| divergence.is_some() && *divergence == least);
        selected.extend((0..of_network.len()).map(|k| Some(k) == nearest));
    }
    let mut table = Table::new();
    table.metadata.extend(data.metadata());
    table.add("network", "", networks)?;
    table.add("update", "updates", at)?;
    table.add("d_stsp_training", "nats", divergences)?;
    table.add("selected", "", selected)?;
    measures.add_to(&mut table, &data)?;
    context.add_table(KIND.name, table);
    context.add_arrays(KIND.name, arrays);
    Ok(())
}
