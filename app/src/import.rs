//! Networks that were trained elsewhere: from a weights file to a run folder that can be analysed.

use crate::experiment::{Experiment, task_settings};
use crate::session::{Outcome, new_provenance, prepare};
use nullcline_data::Error;
use nullcline_data::npy::read_npz;
use nullcline_data::settings::{Document, Settings, Value};
use nullcline_data::tensors::{Tensor, Tensors, read_safetensors};
use nullcline_data::torch_archive::read_torch;
use nullcline_models::architecture::CellKind;
use nullcline_models::ensemble::Ensemble;
use nullcline_models::training::Trainer;
use nullcline_models::weights::{self, Imported};
use std::path::Path;

/// Makes a run folder at `out` of the network in `weights` (.pt, .pth, .safetensors or .npz).
///
/// Returns what was understood of the weights, line by line. Cell and sizes are recognised from torch's names;
/// for other names `model`, a `MODEL.toml`, says which array is which parameter (see
/// [`nullcline_models::weights`]). The experiment has the model file's `[task]`, or the task `noise` with the
/// network's inputs and outputs. The checkpoint counts as trained, so that `train` leaves it as it is.
///
/// `nonlinearity` is that of an `nn.RNN`, `relu` or `tanh`; `None`: what the model file or an export of this
/// program says of itself, else tanh, as torch.
///
/// # Errors
/// Weights that cannot be read or understood, a task that does not fit the network, a folder that holds
/// something else already. Nothing is written before all of that is checked.
pub fn import(
    weights: &Path,
    model: Option<&Path>,
    nonlinearity: Option<&str>,
    out: &Path,
) -> Outcome<Vec<String>> {
    let relu = match nonlinearity {
        None => None,
        Some("relu") => Some(true),
        Some("tanh") => Some(false),
        Some(other) => {
            return Err(
                Error::argument("--nonlinearity", format!("\"{other}\""), "tanh or relu").into(),
            );
        }
    };
    let tensors = read_weights(weights)?;
    let document = model.map(Document::read).transpose()?;
    let task = match &document {
        Some(document) if document.tables("").iter().any(|table| table == "task") => {
            Some(task_settings(document)?)
        }
        _ => None,
    };
    let outputs = task.as_ref().map(output_count).transpose()?;
    let imported = weights::import(&tensors, document.as_ref(), relu, outputs)?;
    if let Some(told) = nonlinearity
        && !matches!(
            imported.architecture.cell,
            CellKind::VanillaRelu | CellKind::VanillaTanh
        )
    {
        return Err(Error::argument(
            "--nonlinearity",
            format!(
                "\"{told}\" for the cell {}",
                imported.architecture.cell.name()
            ),
            "an nn.RNN's weights; for other cells the key \"nonlinearity\" of a model file",
        )
        .into());
    }
    let experiment = experiment(weights, &imported, task)?;
    let built = experiment.build()?;
    for (what, task, network) in [
        (
            "inputs",
            built.architecture.inputs,
            imported.architecture.inputs,
        ),
        (
            "outputs",
            built.architecture.outputs,
            imported.architecture.outputs,
        ),
    ] {
        if task != network {
            return Err(Error::argument(
                format!("{what} of the task \"{}\"", built.task.kind()),
                task.to_string(),
                format!("{network}, as the network in {} has", weights.display()),
            )
            .into());
        }
    }
    let mut trainer = Trainer::new(
        &*built.task,
        built.architecture.clone(),
        &built.initialisation,
        built.training.clone(),
        experiment.networks(),
        experiment.seed(),
    )?;
    trainer.adopt(Ensemble {
        architecture: imported.architecture,
        parameters: vec![imported.parameters],
    })?;
    let checkpoint = trainer.checkpoint();

    let inputs = std::iter::once(weights)
        .chain(model)
        .map(Path::to_owned)
        .chain(experiment.input_files())
        .collect();
    let command: Vec<String> = std::env::args().collect();
    let device = "none: imported, not trained here".to_owned();
    let mut provenance = new_provenance(&experiment, device, &command, inputs)?;
    provenance.finished = Some(provenance.started.clone());
    let folder = prepare(out, &experiment)?;
    let _lock = folder.lock()?;
    match folder.read_checkpoint()? {
        // The same import again, or one that was killed before it had written all.
        Some(present) if !is_same(&present, &checkpoint) => {
            return Err(Error::argument(
                format!("{}", folder.path().display()),
                "a run folder with a network of its own",
                "a new folder, or that of the same import",
            )
            .into());
        }
        Some(_) => {}
        None => folder.write_checkpoint(&checkpoint)?,
    }
    folder.write_provenance(&provenance)?;
    Ok(imported.understood)
}

/// Whether two checkpoints hold the same; a file does not keep the order of its tensors.
fn is_same(a: &Tensors, b: &Tensors) -> bool {
    a.metadata == b.metadata
        && a.len() == b.len()
        && a.iter().all(|(name, tensor)| b.get(name) == Some(tensor))
}

/// Reads a weights file by its extension.
fn read_weights(path: &Path) -> Outcome<Tensors> {
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("safetensors") => Ok(read_safetensors(path)?),
        Some("npz") => {
            let mut tensors = Tensors::of_file(path);
            for (name, array) in read_npz(path)? {
                tensors.insert(name, Tensor::F64(array));
            }
            Ok(tensors)
        }
        Some("pt" | "pth") => Ok(read_torch(path)?),
        Some("bin" | "ckpt" | "pkl") => Err(Error::format(
            path,
            "the file",
            "a pickle of an unknown kind, by its extension",
            ".pt, .pth, .safetensors or .npz; in Python: torch.save(model.state_dict(), \"weights.pt\")",
        )
        .into()),
        _ => Err(Error::format(
            path,
            "the extension of the file",
            found(extension),
            ".pt, .pth, .safetensors or .npz",
        )
        .into()),
    }
}

fn found(extension: Option<String>) -> String {
    extension.map_or_else(|| "none".into(), |extension| format!(".{extension}"))
}

/// Outputs of a task.
fn output_count(task: &Settings) -> Outcome<usize> {
    let name = task.text("kind");
    let kind = nullcline_tasks::kind(name)
        .ok_or_else(|| Error::argument("key \"task.kind\"", name, "a name of the registry"))?;
    Ok((kind.build)(task)?.output_names().len())
}

/// The experiment of an imported network.
fn experiment(weights: &Path, imported: &Imported, task: Option<Settings>) -> Outcome<Experiment> {
    let task_name = task
        .as_ref()
        .map_or("noise", |task| task.text("kind"))
        .to_owned();
    let mut experiment = Experiment::defaults(&task_name, imported.kind).ok_or_else(|| {
        Error::argument(
            "task and cell",
            format!("{task_name}, {}", imported.kind),
            "names of the registries",
        )
    })?;
    experiment
        .top
        .set("name", Value::Text(folder_name(weights)))?;
    match task {
        Some(task) => experiment.task = task,
        None => {
            let size = |n: usize| Value::Integer(i64::try_from(n).unwrap_or(i64::MAX));
            experiment
                .task
                .set("inputs", size(imported.architecture.inputs))?;
            experiment
                .task
                .set("outputs", size(imported.architecture.outputs))?;
        }
    }
    for (key, value) in imported.settings.iter() {
        if let Some(value) = value {
            experiment.model.set(key.name, value.clone())?;
        }
    }
    Ok(experiment)
}

/// A file's name without extension, as an experiment may be called.
fn folder_name(weights: &Path) -> String {
    let stem = weights
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name: String = stem
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() {
        "imported".into()
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_becomes_a_folders() {
        for (file, name) in [
            ("a/gru 3.safetensors", "gru_3"),
            (".weights.npz", "weights"),
            ("épée-1.2.npz", "épée-1.2"),
            ("..npz", "imported"),
        ] {
            assert_eq!(folder_name(Path::new(file)), name);
        }
    }
}
