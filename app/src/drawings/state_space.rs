//! State space in three principal components: trajectories, fixed points by stability, unstable modes.

use super::{FigureKind, pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Role, Series, Space, Style};

pub const KIND: FigureKind = FigureKind {
    name: "state_space",
    summary: "trajectories, fixed points by stability and unstable modes in three principal components",
    needs: &["state_space", "state_space_points", "state_space_modes"],
    build,
};

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(trajectories), Some(points), Some(modes)) = (
        results.table("state_space"),
        results.table("state_space_points"),
        results.table("state_space_modes"),
    ) else {
        return Ok(None);
    };
    let network = shown_network(results);
    let rows = rows_of_network(trajectories, network)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut space = Space::new([
        Axis::new("PC 1", "a.u."),
        Axis::new("PC 2", "a.u."),
        Axis::new("PC 3", "a.u."),
    ])
    .view(-38.0, 24.0);

    // One line for all trajectories, with a gap between them.
    let trials = pick(trajectories, "trial", &rows)?;
    let axes: Vec<Vec<f64>> = ["pc_1", "pc_2", "pc_3"]
        .iter()
        .map(|name| pick(trajectories, name, &rows))
        .collect::<Result<_>>()?;
    let mut line: [Vec<f64>; 3] = Default::default();
    for i in 0..rows.len() {
        if i > 0 && trials[i] != trials[i - 1] {
            line.iter_mut().for_each(|axis| axis.push(f64::NAN));
        }
        for (axis, values) in line.iter_mut().zip(&axes) {
            axis.push(values[i]);
        }
    }
    let [x, y, z] = line;
    space = space.with(
        Series::line_3d(x, y, z, Style::from(Role::Trajectory).opacity(0.45)).label("trajectories"),
    );

    let mode_rows = rows_of_network(modes, network)?;
    if !mode_rows.is_empty() {
        let ends = |prefix: &str| -> Result<Vec<[f64; 3]>> {
            let x = pick(modes, &format!("{prefix}_pc_1"), &mode_rows)?;
            let y = pick(modes, &format!("{prefix}_pc_2"), &mode_rows)?;
            let z = pick(modes, &format!("{prefix}_pc_3"), &mode_rows)?;
            Ok((0..x.len()).map(|i| [x[i], y[i], z[i]]).collect())
        };
        space = space.with(
            Series::segments_3d(ends("from")?, ends("to")?, Role::UnstableMode)
                .label("unstable modes"),
        );
    }

    let point_rows = rows_of_network(points, network)?;
    let verdicts = points.text_column("verdict")?;
    let unstable = points.f64_column("n_unstable")?;
    let ids = points.u64_column("fixed_point")?;
    let mut caption_counts = Vec::new();
    for (role, label, belongs) in [
        (
            Role::Unstable,
            "unstable fixed points",
            Box::new(|row: usize| verdicts[row] == Some("fixed") && unstable[row] > 0.0)
                as Box<dyn Fn(usize) -> bool>,
        ),
        (
            Role::Stable,
            "stable fixed points",
            Box::new(|row: usize| verdicts[row] == Some("fixed") && unstable[row] == 0.0),
        ),
        (
            Role::Slow,
            "slow points",
            Box::new(|row: usize| verdicts[row] == Some("slow")),
        ),
    ] {
        let chosen: Vec<usize> = point_rows
            .iter()
            .copied()
            .filter(|&row| belongs(row))
            .collect();
        if chosen.is_empty() {
            continue;
        }
        caption_counts.push(format!("{} {label}", chosen.len()));
        let series = Series::points_3d(
            pick(points, "pc_1", &chosen)?,
            pick(points, "pc_2", &chosen)?,
            pick(points, "pc_3", &chosen)?,
            role,
        )
        .ids(chosen.iter().map(|&row| ids[row]).collect());
        space = space.with(series.label(label));
    }
    let variance: f64 = results
        .array("state_space", "explained_variance_ratio")
        .and_then(|ratios| {
            ratios
                .outer_iter()
                .nth(network as usize)
                .map(|row| row.sum())
        })
        .unwrap_or(f64::NAN);
    let caption = format!(
        "State space in three principal components of the trajectories ({:.0} % of their variance): {}.",
        100.0 * variance,
        if caption_counts.is_empty() {
            "no fixed points".to_owned()
        } else {
            caption_counts.join(", ")
        }
    );
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::space(space).aspect(0.85)),
    ))
}
