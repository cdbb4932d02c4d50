//! What figures of a plane through the state space have in common: its axes, and the points beside it.

use super::{pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::figure::{Axis, Role, Series, Style};
use nullcline_figures::palette::PAPER;
use nullcline_tables::Table;

/// Points farther from the plane than this part of its side are drawn faint.
const OFF: f64 = 0.05;

/// The plane of the network that figures show.
pub(super) struct ShownPlane {
    /// Its place in the arrays.
    pub index: usize,
    /// The network.
    pub network: u64,
    /// Lower and upper end along each of its one or two directions.
    pub ranges: Vec<(f64, f64)>,
    /// Ids of the three fixed points that it goes through.
    pub through: Option<[u64; 3]>,
    /// Number of elements of a state.
    state_dim: usize,
}

impl ShownPlane {
    /// The plane in the arrays of a file; `None` where they are not there, or without that network.
    pub fn of(results: &Results, file: &str) -> Option<Self> {
        let network = shown_network(results);
        let networks = results.array(file, "network")?;
        let index = networks.iter().position(|n| *n == network as f64)?;
        let row = |name: &str| {
            Some(
                results
                    .array(file, name)?
                    .outer_iter()
                    .nth(index)?
                    .to_owned(),
            )
        };
        let (directions, ends, through) = (row("directions")?, row("ranges")?, row("through")?);
        let ranges = ends
            .outer_iter()
            .map(|ends| Some((*ends.iter().next()?, *ends.iter().nth(1)?)))
            .collect::<Option<Vec<_>>>()?;
        let ids: Vec<u64> = through
            .iter()
            .filter(|id| id.is_finite())
            .map(|id| *id as u64)
            .collect();
        let state_dim = directions.len() / ranges.len().max(1);
        (!ranges.is_empty()).then_some(Self {
            index,
            network,
            ranges,
            through: ids.try_into().ok(),
            state_dim,
        })
    }

    /// The axis along one of its directions, over its whole range.
    pub fn axis(&self, direction: usize) -> Axis {
        let label = match self.through {
            Some([a, b, _]) if direction == 0 => format!("From point {a} towards {b}"),
            Some([_, _, c]) => format!("Across, towards point {c}"),
            None if self.state_dim == 1 => "*x*".to_owned(),
            None if self.state_dim == 2 => format!("*x*_{{{}}}", direction + 1),
            None => format!("PC {}", direction + 1),
        };
        let (low, high) = self.ranges.get(direction).copied().unwrap_or((0.0, 1.0));
        Axis::new(label, "a.u.").range(low, high)
    }

    /// What the plane is, for a caption.
    pub fn description(&self) -> String {
        match self.through {
            Some([a, b, c]) => format!("the plane through the fixed points {a}, {b} and {c}"),
            None if self.is_whole() => "the state space".to_owned(),
            None => "the plane of the first two principal components through the mean".to_owned(),
        }
    }

    /// Whether the plane is all there is.
    pub fn is_whole(&self) -> bool {
        self.state_dim <= 2
    }

    /// The fixed and slow points in view as series, with a sentence on the faint ones, which lie off the plane; on a line
    /// they stand at the height `at`.
    pub fn points(&self, table: &Table, at: f64) -> Result<(Vec<Series>, String)> {
        let rows = rows_of_network(table, self.network)?;
        let x = pick(table, "axis_1", &rows)?;
        let y = match self.ranges.len() {
            1 => vec![at; x.len()],
            _ => pick(table, "axis_2", &rows)?,
        };
        let distances = pick(table, "distance", &rows)?;
        let unstable = pick(table, "n_unstable", &rows)?;
        let ids = table.u64_column("fixed_point")?;
        let verdicts = table.text_column("verdict")?;
        let inside = |at: f64, range: Option<&(f64, f64)>| {
            range.is_none_or(|(low, high)| (*low..=*high).contains(&at))
        };
        let side = self
            .ranges
            .iter()
            .map(|(low, high)| high - low)
            .fold(0.0, f64::max);
        let (mut series, mut faint) = (Vec::new(), 0);
        // The faint ones behind the others, each kind with one entry in the legend.
        let mut named = Vec::new();
        for near in [false, true] {
            for (role, label) in [
                (Role::Slow, "slow points"),
                (Role::Unstable, "unstable fixed points"),
                (Role::Stable, "stable fixed points"),
            ] {
                let chosen: Vec<usize> = (0..rows.len())
                    .filter(|&i| {
                        let is = match (verdicts[rows[i]], unstable[i] > 0.0) {
                            (Some("fixed"), true) => Role::Unstable,
                            (Some("fixed"), false) => Role::Stable,
                            _ => Role::Slow,
                        };
                        let seen =
                            inside(x[i], self.ranges.first()) && inside(y[i], self.ranges.get(1));
                        is == role && seen && (distances[i] <= OFF * side) == near
                    })
                    .collect();
                if chosen.is_empty() {
                    continue;
                }
                let places = |of: &[f64]| chosen.iter().map(|&i| of[i]).collect::<Vec<f64>>();
                let opacity = if near { 1.0 } else { 0.35 };
                if near {
                    // A light rim parts the points from dark ground.
                    let rim = Style::from(Role::Stable).color(PAPER).size(6.2);
                    series.push(Series::points(places(&x), places(&y), rim));
                } else {
                    faint += chosen.len();
                }
                let style = Style::from(role).opacity(opacity);
                let points = Series::points(places(&x), places(&y), style)
                    .ids(chosen.iter().map(|&i| ids[rows[i]]).collect());
                named.push((series.len(), label, near));
                series.push(points);
            }
        }
        for &(place, label, near) in &named {
            // The full one speaks for both.
            let full = named
                .iter()
                .any(|(_, other, near)| *other == label && *near);
            if near || !full {
                series[place].label = Some(label.to_owned());
            }
        }
        let note = match faint {
            0 => String::new(),
            1 => " The faint point lies off the plane, by more than 5 % of its side.".to_owned(),
            n => format!(" The {n} faint points lie off the plane, by more than 5 % of its side."),
        };
        Ok((series, note))
    }
}
