//! Pictures of results: what the panels show, made on a worker's thread.

use crate::drawings::FIGURES;
use crate::results::Results;
use nullcline_data::settings::Value;
use nullcline_figures::Figure;
use nullcline_tables::Table;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Results as the panels show them: figures, and the fixed points of the network that is shown.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What it was made from, to make it again for another network.
    pub results: Arc<Results>,
    /// The network that figures of a single network and the table show, from 0.
    pub network: u64,
    /// The figures that there are results for, by name.
    pub figures: BTreeMap<&'static str, Arc<Figure>>,
    /// The candidates of the fixed-point search on that network, the rejected ones too, by id.
    pub points: Vec<FixedPointRow>,
    /// Figures and tables that could not be made, and why.
    pub faults: Vec<String>,
}

/// A fixed or slow point, or a rejected candidate, as the table shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedPointRow {
    /// Its id within the network.
    pub id: u64,
    /// `fixed`, `slow` or `rejected`.
    pub verdict: String,
    /// Why it was rejected.
    pub rejected_by: Option<String>,
    /// Unstable directions; `None` where the linearisation failed.
    pub n_unstable: Option<u64>,
    /// The largest modulus of an eigenvalue.
    pub spectral_radius: f64,
    /// Maximum norm of x - F(x, u).
    pub residual: f64,
    /// q = 1/2 |x - F(x, u)|^2.
    pub speed: f64,
    /// Condition number of the Jacobian of x - F(x, u).
    pub condition: f64,
    /// Starts that led here.
    pub found_from: u64,
    /// Its place, to find it again among the points of a later search.
    pub state: Vec<f64>,
    /// Its eigenvalues, the largest modulus first.
    pub modes: Vec<Mode>,
}

impl FixedPointRow {
    /// Whether every mode decays.
    pub fn is_stable(&self) -> bool {
        self.n_unstable == Some(0)
    }
}

/// An eigenvalue of the linearisation with its times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// Real part.
    pub re: f64,
    /// Imaginary part.
    pub im: f64,
    /// |lambda|.
    pub modulus: f64,
    /// Time constant in steps; NaN where there is none.
    pub time_constant: f64,
    /// Period in steps; NaN for a real positive eigenvalue.
    pub period: f64,
}

impl Snapshot {
    /// Draws all figures that the results allow, for one network.
    pub fn new(results: Arc<Results>, network: u64) -> Snapshot {
        let network = network.min((results.experiment.networks() as u64).saturating_sub(1));
        let results = if results.experiment.figures.count("network") as u64 == network {
            results
        } else {
            let mut other = Results::clone(&results);
            // The key takes any index of a network, and there is no negative one.
            let _ = other
                .experiment
                .figures
                .set("network", Value::Integer(network.cast_signed()));
            Arc::new(other)
        };
        let mut figures = BTreeMap::new();
        let mut faults = Vec::new();
        for kind in FIGURES {
            match (kind.build)(&results) {
                Ok(Some(figure)) => {
                    figures.insert(kind.name, Arc::new(figure));
                }
                Ok(None) => {}
                Err(error) => faults.push(format!("figure {}: {error}", kind.name)),
            }
        }
        let points = fixed_points(&results, network).unwrap_or_else(|error| {
            faults.push(format!("table of fixed points: {error}"));
            Vec::new()
        });
        Snapshot {
            results,
            network,
            figures,
            points,
            faults,
        }
    }

    /// The row of a fixed point.
    pub fn point(&self, id: u64) -> Option<&FixedPointRow> {
        self.points.iter().find(|point| point.id == id)
    }

    /// The fixed or slow point that is nearest to a state, by Euclidean distance.
    pub fn nearest(&self, state: &[f64]) -> Option<u64> {
        let distance = |point: &FixedPointRow| {
            point
                .state
                .iter()
                .zip(state)
                .map(|(a, b)| (a - b) * (a - b))
                .sum::<f64>()
        };
        self.points
            .iter()
            .filter(|point| point.verdict != "rejected" && point.state.len() == state.len())
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .map(|point| point.id)
    }
}

/// The rows of one network.
fn fixed_points(results: &Results, network: u64) -> nullcline_data::Result<Vec<FixedPointRow>> {
    let Some(table) = results.table("fixed_points") else {
        return Ok(Vec::new());
    };
    let networks = table.u64_column("network")?;
    let ids = table.u64_column("id")?;
    let verdicts = table.text_column("verdict")?;
    let reasons = table.text_column("rejected_by")?;
    let unstable = table.f64_column("n_unstable")?;
    let radius = table.f64_column("spectral_radius")?;
    let residual = table.f64_column("residual")?;
    let speed = table.f64_column("speed")?;
    let condition = table.f64_column("condition")?;
    let found_from = table.u64_column("found_from")?;
    let states: Vec<Vec<f64>> = (0..)
        .map(|i| format!("state_{i}"))
        .take_while(|name| table.column(name).is_some())
        .map(|name| table.f64_column(&name))
        .collect::<nullcline_data::Result<_>>()?;
    let mut modes = match results.table("linearization") {
        Some(table) => modes(table, network)?,
        None => BTreeMap::new(),
    };
    // All columns of a table are equally long.
    let text = |column: &[Option<&str>], row: usize| column[row].map(str::to_owned);
    let mut rows: Vec<FixedPointRow> = (0..networks.len())
        .filter(|&row| networks[row] == network)
        .map(|row| FixedPointRow {
            id: ids[row],
            verdict: text(&verdicts, row).unwrap_or_default(),
            rejected_by: text(&reasons, row),
            n_unstable: unstable[row].is_finite().then_some(unstable[row] as u64),
            spectral_radius: radius[row],
            residual: residual[row],
            speed: speed[row],
            condition: condition[row],
            found_from: found_from[row],
            state: states.iter().map(|column| column[row]).collect(),
            modes: modes.remove(&ids[row]).unwrap_or_default(),
        })
        .collect();
    rows.sort_by_key(|row| row.id);
    Ok(rows)
}

/// The eigenvalues of one network by fixed point, the largest modulus first.
fn modes(table: &Table, network: u64) -> nullcline_data::Result<BTreeMap<u64, Vec<Mode>>> {
    let networks = table.u64_column("network")?;
    let points = table.u64_column("fixed_point")?;
    let (re, im) = (table.f64_column("re")?, table.f64_column("im")?);
    let modulus = table.f64_column("modulus")?;
    let (time_constant, period) = (
        table.f64_column("time_constant")?,
        table.f64_column("period")?,
    );
    let mut modes: BTreeMap<u64, Vec<Mode>> = BTreeMap::new();
    for row in (0..networks.len()).filter(|&row| networks[row] == network) {
        modes.entry(points[row]).or_default().push(Mode {
            re: re[row],
            im: im[row],
            modulus: modulus[row],
            time_constant: time_constant[row],
            period: period[row],
        });
    }
    for list in modes.values_mut() {
        list.sort_by(|a, b| b.modulus.total_cmp(&a.modulus));
    }
    Ok(modes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;

    fn results() -> Results {
        let mut table = Table::new();
        table.add("network", "", vec![0u64, 1, 1]).unwrap();
        table.add("id", "", vec![0u64, 4, 2]).unwrap();
        table.add("state_0", "", vec![0.0, 1.0, -1.0]).unwrap();
        table.add("speed", "", vec![0.0, 1e-30, 1e-31]).unwrap();
        table.add("residual", "", vec![0.0, 1e-15, 1e-15]).unwrap();
        table
            .add("verdict", "", vec!["fixed", "fixed", "rejected"])
            .unwrap();
        table
            .add(
                "rejected_by",
                "",
                vec![None, None, Some("speed".to_owned())],
            )
            .unwrap();
        table
            .add("n_unstable", "", vec![Some(0i64), Some(1), None])
            .unwrap();
        table
            .add("spectral_radius", "", vec![0.5, 1.5, f64::NAN])
            .unwrap();
        table.add("condition", "", vec![1.0, 2.0, 3.0]).unwrap();
        table.add("found_from", "starts", vec![3u64, 5, 1]).unwrap();
        let mut linearization = Table::new();
        linearization.add("network", "", vec![1u64, 1]).unwrap();
        linearization.add("fixed_point", "", vec![4u64, 4]).unwrap();
        for (name, values) in [
            ("re", [0.3, 1.5]),
            ("im", [0.0, 0.0]),
            ("modulus", [0.3, 1.5]),
            ("time_constant", [0.8, -2.4]),
            ("period", [f64::NAN, f64::NAN]),
        ] {
            linearization.add(name, "", values.to_vec()).unwrap();
        }
        let mut experiment = Experiment::defaults("flip_flop", "leaky").unwrap();
        experiment.top.set("networks", Value::Integer(2)).unwrap();
        let mut results = Results::new(experiment);
        results.tables.insert("fixed_points".into(), table);
        results.tables.insert("linearization".into(), linearization);
        results
    }

    #[test]
    fn rows_are_those_of_the_shown_network_by_id() {
        let snapshot = Snapshot::new(Arc::new(results()), 1);
        assert_eq!(
            snapshot
                .points
                .iter()
                .map(|point| point.id)
                .collect::<Vec<_>>(),
            [2, 4]
        );
        assert_eq!(snapshot.point(4).unwrap().n_unstable, Some(1));
        assert!(!snapshot.point(4).unwrap().is_stable());
        assert_eq!(snapshot.point(4).unwrap().modes[0].modulus, 1.5);
        assert_eq!(
            snapshot.point(2).unwrap().rejected_by.as_deref(),
            Some("speed")
        );
        assert_eq!(snapshot.results.experiment.figures.count("network"), 1);
        // Rejected candidates are no fixed points to find again.
        assert_eq!(snapshot.nearest(&[-1.0]), Some(4));
        assert_eq!(snapshot.nearest(&[0.0, 0.0]), None);
    }

    #[test]
    fn a_network_beyond_the_last_is_the_last() {
        assert_eq!(Snapshot::new(Arc::new(results()), 9).network, 1);
    }

    #[test]
    fn a_damaged_table_is_a_fault_and_no_panic() {
        let mut results = results();
        let mut damaged = Table::new();
        damaged.add("network", "", vec![0u64]).unwrap();
        results.tables.insert("fixed_points".into(), damaged);
        let snapshot = Snapshot::new(Arc::new(results), 0);
        assert!(snapshot.points.is_empty());
        assert!(
            snapshot
                .faults
                .iter()
                .any(|fault| fault.starts_with("table of fixed points")),
            "{:?}",
            snapshot.faults
        );
    }
}
