//! Which modes inputs kick and outputs see: overlaps of the eigenvectors at the fixed points, by modulus.

use super::{FigureKind, channel_label, common_range, pick, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Marker, Panel, Plane, Role, Series, Style};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "mode_overlaps",
    summary: "how strongly inputs kick and outputs show each mode at the fixed points, against the modulus of its eigenvalue",
    needs: &["linearization", "fixed_points"],
    build,
};

/// Channels with a colour each; where there are more, every mode stands at its strongest one.
const MOST_CHANNELS: usize = 6;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(table), Some(points)) = (
        results.table("linearization"),
        results.table("fixed_points"),
    ) else {
        return Ok(None);
    };
    let network = shown_network(results);
    let networks = table.u64_column("network")?;
    let ids = table.u64_column("fixed_point")?;
    let rows_at = |verdict: &str| -> Result<Vec<usize>> {
        let verdicts = points.text_column("verdict")?;
        let (of, candidates) = (points.u64_column("network")?, points.u64_column("id")?);
        let chosen: Vec<u64> = (0..candidates.len())
            .filter(|&row| of[row] == network && verdicts[row] == Some(verdict))
            .map(|row| candidates[row])
            .collect();
        Ok((0..ids.len())
            .filter(|&row| networks[row] == network && chosen.contains(&ids[row]))
            .collect())
    };
    // Slow points speak where no fixed point does, as along a line attractor.
    let fixed = rows_at("fixed")?;
    let (rows, kind) = match fixed.is_empty() {
        false => (fixed, "fixed"),
        true => (rows_at("slow")?, "slow"),
    };
    let modes = Modes {
        modulus: pick(table, "modulus", &rows)?,
        ids: rows.iter().map(|&row| ids[row]).collect(),
        rows,
    };
    let kicks = modes.channels(table, "input_overlap_")?;
    let shows = modes.channels(table, "readout_overlap_")?;
    let all = kicks
        .iter()
        .chain(&shows)
        .flat_map(|(_, overlaps)| overlaps);
    let top = all.copied().fold(0.0, f64::max);
    let labels = ["Overlap with input", "Overlap with output"];
    let planes: Vec<Plane> = labels
        .into_iter()
        .zip([kicks, shows])
        .filter(|(_, channels)| !channels.is_empty())
        .map(|(label, channels)| modes.plane(label, channels, top))
        .collect();
    if planes.is_empty() {
        return Ok(None);
    }
    let caption = format!(
        "Modes at the {kind} points: overlap of the left eigenvector with each input's direction, and of the right \
         eigenvector with each output's, against the modulus of the eigenvalue. Rings: |λ| > 1.",
    );
    let mut figure = Figure::new(KIND.name).caption(caption);
    let (count, lowest) = (planes.len(), planes.len() - 1);
    for (k, plane) in planes.into_iter().enumerate() {
        let plane = if k < lowest { plane.shares_x() } else { plane };
        figure = figure.panel(Panel::plane(plane).aspect(0.5));
    }
    Ok(Some(if count > 1 { figure.lettered() } else { figure }))
}

/// The modes shown.
struct Modes {
    rows: Vec<usize>,
    modulus: Vec<f64>,
    ids: Vec<u64>,
}

impl Modes {
    /// Names and overlaps of the channels whose columns begin with `prefix`; none where no mode has an overlap.
    fn channels(&self, table: &Table, prefix: &str) -> Result<Vec<(String, Vec<f64>)>> {
        let mut channels = Vec::new();
        for column in table.columns() {
            if let Some(name) = column.name.strip_prefix(prefix) {
                let overlaps = pick(table, &column.name, &self.rows)?;
                channels.push((channel_label(name), overlaps));
            }
        }
        if channels
            .iter()
            .all(|(_, overlaps)| overlaps.iter().all(|x| x.is_nan()))
        {
            channels.clear();
        }
        Ok(channels)
    }

    /// The overlaps of every mode by its modulus.
    fn plane(&self, label: &str, mut channels: Vec<(String, Vec<f64>)>, top: f64) -> Plane {
        let mut label = label.to_owned();
        if channels.len() > MOST_CHANNELS {
            label = format!("Largest {}", label.to_lowercase());
            let largest = |k: usize| {
                let of_mode = channels.iter().map(|(_, overlaps)| overlaps[k]);
                of_mode.fold(f64::NAN, f64::max)
            };
            let largest = (0..self.rows.len()).map(largest).collect();
            channels = vec![(String::new(), largest)];
        }
        let (low, high) = common_range(&self.modulus, &[1.0]);
        // From below 0 on, so that the many modes without overlap are not cut in half.
        let mut plane = Plane::new(
            Axis::new("|*λ*|", "per step").range(low, high),
            Axis::new(label, "").range(-0.04 * top.max(0.1), 1.05 * top.max(0.1)),
        )
        .with(Series::vertical_rule(1.0, Role::Guide));
        let single = channels.len() == 1;
        for (k, (name, overlaps)) in channels.into_iter().enumerate() {
            let mut labelled = single;
            for unstable in [false, true] {
                let chosen: Vec<usize> = (0..self.rows.len())
                    .filter(|&i| (self.modulus[i] > 1.0) == unstable && overlaps[i].is_finite())
                    .collect();
                if chosen.is_empty() {
                    continue;
                }
                // One channel needs no colour of its own: black and red say what is stable.
                let role = match (single, unstable) {
                    (false, _) => Role::Category(k),
                    (true, false) => Role::Stable,
                    (true, true) => Role::Unstable,
                };
                let (marker, size, opacity) = match unstable {
                    true => (Marker::Ring, 3.5, 0.9),
                    false => (Marker::Disc, 2.0, 0.6),
                };
                let mut series = Series::points(
                    chosen.iter().map(|&i| self.modulus[i]).collect(),
                    chosen.iter().map(|&i| overlaps[i]).collect(),
                    Style::from(role).marker(marker).size(size).opacity(opacity),
                )
                .ids(chosen.iter().map(|&i| self.ids[i]).collect());
                if !labelled {
                    series = series.label(name.clone());
                    labelled = true;
                }
                plane = plane.with(series);
            }
        }
        plane
    }
}
