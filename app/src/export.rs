//! The networks of a run for other programs.

use crate::experiment::Experiment;
use crate::session::{Outcome, trained_without_task};
use ndarray::ArrayViewD;
use nullcline_data::Error;
use nullcline_data::atomic::write_atomically_with;
use nullcline_data::npy::write_npz;
use nullcline_data::run_folder::RunFolder;
use nullcline_data::tensors::{Tensor, Tensors, write_safetensors};
use nullcline_models::ensemble::Ensemble;
use nullcline_models::torch;
use nullcline_models::training::ensemble_tensors;
use std::io::Write;
use std::path::Path;

/// Writes the networks of the run folder `dir` to a file of the format that its extension names.
///
/// - `.safetensors` and `.npz`: a single network of a cell that torch has under torch's names, so that
///   `load_state_dict` takes it: the keys of `nn.RNN`, `nn.GRU` or `nn.LSTM` itself if the units are the
///   outputs, else of a module with the attributes `rnn` and `readout` (an `nn.Linear`). Other networks under
///   this program's names, each array [networks, shape of the parameter]. `import` reads the former.
/// - `.csv`: one row for each number, with the columns network, tensor, row, column, value, under this program's
///   names; a vector is a matrix of one column.
///
/// # Errors
/// A folder that is no run or not trained, another extension, a file that cannot be written.
pub fn export(dir: &Path, to: &Path) -> Outcome<()> {
    let write: fn(&Path, &Ensemble) -> nullcline_data::Result<()> = match to
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .as_deref()
    {
        Some("safetensors") => |to, ensemble| write_safetensors(to, &tensors(ensemble)),
        Some("npz") => |to, ensemble| write_arrays(to, &tensors(ensemble)),
        Some("csv") => write_csv,
        _ => {
            let found = format!("\"{}\"", to.display());
            return Err(Error::argument("--to", found, "a file .safetensors, .npz or .csv").into());
        }
    };
    let folder = RunFolder::open(dir)?;
    let ensemble = trained_without_task(&folder, &Experiment::of_run(&folder)?)?;
    Ok(write(to, &ensemble)?)
}

/// The networks as named tensors, under torch's names where it can take them.
fn tensors(ensemble: &Ensemble) -> Tensors {
    match &ensemble.parameters[..] {
        [parameters] => torch::export(&ensemble.architecture, parameters),
        _ => None,
    }
    .unwrap_or_else(|| ensemble_tensors(ensemble))
}

fn write_arrays(to: &Path, tensors: &Tensors) -> nullcline_data::Result<()> {
    let arrays: Vec<(&str, ArrayViewD<f32>)> = tensors
        .iter()
        .filter_map(|(name, tensor)| match tensor {
            Tensor::F32(array) => Some((name, array.view())),
            // Parameters are f32 throughout.
            _ => None,
        })
        .collect();
    write_npz(to, &arrays)
}

fn write_csv(to: &Path, ensemble: &Ensemble) -> nullcline_data::Result<()> {
    write_atomically_with(to, |file| {
        writeln!(file, "network,tensor,row,column,value")?;
        for (network, parameters) in ensemble.parameters.iter().enumerate() {
            for tensor in ensemble.architecture.tensors() {
                let columns = tensor.shape.get(1).copied().unwrap_or(1).max(1);
                let name = &tensor.name;
                for (k, value) in parameters[tensor.range].iter().enumerate() {
                    // The shortest digits that read back to the same bits.
                    writeln!(
                        file,
                        "{network},{name},{},{},{value:?}",
                        k / columns,
                        k % columns
                    )?;
                }
            }
        }
        Ok(())
    })
}
