//! What is in a run folder, as text or JSON.

use crate::experiment::Experiment;
use crate::results::{Results, TRAINING};
use crate::session::Outcome;
use nullcline_data::run_folder::RunFolder;
use nullcline_tables::Table;
use serde_json::{Value, json};
use std::fmt::Write;

/// One network's numbers.
struct Network {
    network: u64,
    update: u64,
    loss: Option<f64>,
    held_out_loss: Option<f64>,
    /// Fixed points by number of unstable directions, from 0.
    fixed_by_unstable: Vec<u64>,
    slow: u64,
    rejected: u64,
    /// Fixed points whose existence is proved; `None` in tables of earlier versions.
    proved: Option<u64>,
    largest_residual: Option<f64>,
    index_sum: i64,
    /// What the indices say of the completeness of the search.
    topology: Option<String>,
    /// Constant inputs that were searched under.
    inputs: usize,
}

/// Describes a run folder: experiment, training, analyses, figures.
///
/// # Errors
/// If a file of the folder cannot be read.
pub fn show(folder: &RunFolder, experiment: &Experiment, as_json: bool) -> Outcome<String> {
    let results = Results::load(folder)?;
    let networks = networks(&results)?;
    let provenance = folder.read_provenance()?;
    let trained = folder.checkpoint_path().exists();
    if as_json {
        let value = json!({
            "folder": folder.path().display().to_string(),
            "name": experiment.name(),
            "task": experiment.task.text("kind"),
            "cell": experiment.model.text("kind"),
            "networks": experiment.networks(),
            "trained": trained,
            "finished": provenance.as_ref().and_then(|p| p.finished.clone()),
            "device": provenance.as_ref().map(|p| p.device.clone()),
            "results": networks.iter().map(Network::json).collect::<Vec<Value>>(),
            "performance": results.table("performance").map(rows).transpose()?,
            "free_run": results.table("free_run").map(rows).transpose()?,
            "reconstruction": results.table("reconstruction").map(rows).transpose()?,
            "tables": folder.tables(),
            "figures": folder.figures(),
        });
        return Ok(format!("{value}\n"));
    }
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}: {} on {}, {} network{}",
        experiment.name(),
        experiment.model.text("kind"),
        experiment.task.text("kind"),
        experiment.networks(),
        if experiment.networks() == 1 { "" } else { "s" },
    );
    if !trained {
        let _ = writeln!(text, "not trained yet");
    }
    for network in &networks {
        network.describe(&mut text);
    }
    for name in ["performance", "free_run"] {
        if let Some(table) = results.table(name) {
            let _ = writeln!(text, "{name}:");
            text += &aligned(table)?;
        }
    }
    if let Some(table) = results.table("reconstruction") {
        let _ = writeln!(text, "reconstruction:");
        text += &aligned(&only(table, RECONSTRUCTION)?)?;
    }
    let list = |names: Vec<String>| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let _ = writeln!(text, "tables: {}", list(folder.tables()));
    let _ = writeln!(text, "figures: {}", list(folder.figures()));
    Ok(text)
}

impl Network {
    fn json(&self) -> Value {
        json!({
            "network": self.network,
            "update": self.update,
            "loss": self.loss,
            "held_out_loss": self.held_out_loss,
            "fixed_points": self.fixed_by_unstable.iter().sum::<u64>(),
            "fixed_points_by_unstable_directions": self.fixed_by_unstable,
            "slow_points": self.slow,
            "rejected_candidates": self.rejected,
            "proved": self.proved,
            "largest_residual": self.largest_residual,
            "index_sum": self.index_sum,
            "topology": self.topology,
        })
    }

    fn describe(&self, text: &mut String) {
        let number = |x: Option<f64>| x.map_or("-".to_owned(), short);
        let _ = writeln!(
            text,
            "network {}: {} updates, loss {}, held-out loss {}",
            self.network,
            self.update,
            number(self.loss),
            number(self.held_out_loss)
        );
        let total: u64 = self.fixed_by_unstable.iter().sum();
        if total + self.slow + self.rejected > 0 {
            let kinds: Vec<String> = self
                .fixed_by_unstable
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .map(|(unstable, count)| match unstable {
                    0 => format!("{count} stable"),
                    _ => format!("{count} with {unstable} unstable"),
                })
                .collect();
            let _ = writeln!(
                text,
                "  {total} fixed point{} ({}){}, largest residual {}, {}; {} slow, {} rejected",
                if total == 1 { "" } else { "s" },
                if kinds.is_empty() {
                    "none".to_owned()
                } else {
                    kinds.join(", ")
                },
                match self.proved {
                    Some(proved) if proved == total && total > 0 => ", all proved".to_owned(),
                    Some(proved) => format!(", {proved} proved"),
                    None => String::new(),
                },
                number(self.largest_residual),
                match (self.inputs, self.topology.as_deref()) {
                    (0 | 1, Some("complete")) => format!(
                        "indices sum to {}, as all of a map that keeps to a box must",
                        self.index_sum
                    ),
                    (0 | 1, Some("missing")) =>
                        format!("indices sum to {}: points are missing", self.index_sum),
                    (0 | 1, _) => format!("indices sum to {}", self.index_sum),
                    (inputs, Some("missing")) =>
                        format!("under {inputs} inputs: points are missing"),
                    (inputs, _) => format!("under {inputs} inputs"),
                },
                self.slow,
                self.rejected
            );
        }
    }
}

fn networks(results: &Results) -> Outcome<Vec<Network>> {
    let mut networks: Vec<Network> = (0..results.experiment.networks() as u64)
        .map(|network| Network {
            network,
            update: 0,
            loss: None,
            held_out_loss: None,
            fixed_by_unstable: Vec::new(),
            slow: 0,
            rejected: 0,
            proved: None,
            largest_residual: None,
            index_sum: 0,
            topology: None,
            inputs: 0,
        })
        .collect();
    if let Some(table) = results.table(TRAINING) {
        let (updates, numbers) = (table.u64_column("update")?, table.u64_column("network")?);
        let (losses, held_out) = (
            table.f64_column("loss")?,
            table.f64_column("held_out_loss")?,
        );
        for row in 0..updates.len() {
            let Some(network) = networks.get_mut(numbers[row] as usize) else {
                continue;
            };
            network.update = updates[row];
            network.loss = Some(losses[row]);
            if !held_out[row].is_nan() {
                network.held_out_loss = Some(held_out[row]);
            }
        }
    }
    if let Some(table) = results.table("fixed_points") {
        let numbers = table.u64_column("network")?;
        let verdicts = table.text_column("verdict")?;
        let unstable = table.f64_column("n_unstable")?;
        let residuals = table.f64_column("residual")?;
        let indices = table.f64_column("index")?;
        let proofs = table.f64_column("existence_radius").ok();
        for row in 0..numbers.len() {
            let Some(network) = networks.get_mut(numbers[row] as usize) else {
                continue;
            };
            match verdicts[row] {
                Some("fixed") => {
                    let directions = if unstable[row].is_nan() {
                        0
                    } else {
                        unstable[row] as usize
                    };
                    if network.fixed_by_unstable.len() <= directions {
                        network.fixed_by_unstable.resize(directions + 1, 0);
                    }
                    network.fixed_by_unstable[directions] += 1;
                    if let Some(proofs) = &proofs {
                        let proved = network.proved.get_or_insert(0);
                        *proved += u64::from(proofs[row].is_finite());
                    }
                    network.largest_residual =
                        Some(network.largest_residual.unwrap_or(0.0).max(residuals[row]));
                    if !indices[row].is_nan() {
                        network.index_sum += indices[row] as i64;
                    }
                }
                Some("slow") => network.slow += 1,
                _ => network.rejected += 1,
            }
        }
    }
    if let Some(table) = results.table("fixed_points_search") {
        let numbers = table.u64_column("network")?;
        for (number, topology) in numbers.iter().zip(table.text_column("topology")?) {
            if let Some(network) = networks.get_mut(*number as usize) {
                network.inputs += 1;
                // Of several inputs, the one whose points are missing counts.
                if network.topology.as_deref() != Some("missing") {
                    network.topology = topology.map(str::to_owned);
                }
            }
        }
    }
    Ok(networks)
}

/// A cell of a table as JSON.
fn cell(table: &Table, column: &str, row: usize) -> Outcome<Value> {
    use nullcline_tables::Values;
    let Some(found) = table.column(column) else {
        return Ok(Value::Null);
    };
    Ok(match &found.values {
        Values::Bool(_) => {
            // Rows without a value are not told apart here; tables shown have none.
            json!(table.bool_column(column)?.get(row))
        }
        Values::Text(_) => json!(table.text_column(column)?.get(row).copied().flatten()),
        Values::I64(_) | Values::U64(_) => {
            let value = table
                .f64_column(column)?
                .get(row)
                .copied()
                .unwrap_or(f64::NAN);
            if value.is_nan() {
                Value::Null
            } else {
                json!(value as i64)
            }
        }
        Values::F64(_) => json!(
            table
                .f64_column(column)?
                .get(row)
                .copied()
                .filter(|x| x.is_finite())
        ),
    })
}

/// The rows of a small table as JSON objects.
fn rows(table: &Table) -> Outcome<Value> {
    let mut rows = Vec::new();
    for row in 0..table.row_count() {
        let mut object = serde_json::Map::new();
        for column in table.columns() {
            object.insert(column.name.clone(), cell(table, &column.name, row)?);
        }
        rows.push(Value::Object(object));
    }
    Ok(Value::Array(rows))
}

/// A number in few digits: 0.4681, 2.000e-4.
fn short(x: f64) -> String {
    if x == 0.0 || (1e-3..1e5).contains(&x.abs()) {
        format!("{x:.4}")
    } else {
        format!("{x:.3e}")
    }
}

/// What is shown of the measures of reconstruction as text.
const RECONSTRUCTION: &[&str] = &[
    "network",
    "model",
    "orbit_length",
    "diverged",
    "d_stsp",
    "d_hellinger",
    "prediction_error",
    "valid_prediction_steps_mean",
];

/// Some columns of a table.
fn only(table: &Table, names: &[&str]) -> Outcome<Table> {
    let mut some = Table::new();
    for column in names.iter().filter_map(|name| table.column(name)) {
        some.add(&column.name, &column.unit, column.values.clone())?;
    }
    Ok(some)
}

/// A small table in aligned columns.
fn aligned(table: &Table) -> Outcome<String> {
    let mut lines = vec![Vec::new(); table.row_count() + 1];
    for column in table.columns() {
        let title = if column.unit.is_empty() {
            column.name.clone()
        } else {
            format!("{} [{}]", column.name, column.unit)
        };
        let mut cells = vec![title];
        for row in 0..table.row_count() {
            cells.push(match cell(table, &column.name, row)? {
                Value::Null => "-".to_owned(),
                Value::String(text) => text,
                Value::Number(number) if number.is_f64() => {
                    short(number.as_f64().unwrap_or(f64::NAN))
                }
                other => other.to_string(),
            });
        }
        let width = cells
            .iter()
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0);
        for (line, cell) in lines.iter_mut().zip(cells) {
            line.push(format!("{cell:>width$}"));
        }
    }
    Ok(lines
        .into_iter()
        .map(|line| format!("  {}\n", line.join("  ")))
        .collect())
}
