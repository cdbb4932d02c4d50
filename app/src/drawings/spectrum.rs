//! Eigenvalues of the linearised dynamics at every fixed point, with the unit circle.

use super::{FigureKind, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Series, Style};

pub const KIND: FigureKind = FigureKind {
    name: "spectrum",
    summary: "eigenvalues at the fixed points in the complex plane, with the unit circle",
    needs: &["linearization", "fixed_points"],
    build,
};

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(table), Some(points)) = (
        results.table("linearization"),
        results.table("fixed_points"),
    ) else {
        return Ok(None);
    };
    let network = shown_network(results);
    let networks = table.u64_column("network")?;
    let fixed_point = table.u64_column("fixed_point")?;
    let (re, im) = (table.f64_column("re")?, table.f64_column("im")?);
    let modulus = table.f64_column("modulus")?;
    // Slow points have spectra too, but the unit circle decides nothing for them.
    let verdicts = points.text_column("verdict")?;
    let (point_networks, ids) = (points.u64_column("network")?, points.u64_column("id")?);
    let fixed: Vec<u64> = (0..ids.len())
        .filter(|&row| point_networks[row] == network && verdicts[row] == Some("fixed"))
        .map(|row| ids[row])
        .collect();
    let rows: Vec<usize> = (0..re.len())
        .filter(|&row| networks[row] == network && fixed.contains(&fixed_point[row]))
        .collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let mut plane = Plane::new(
        Axis::new("Re *λ*", "per step"),
        Axis::new("Im *λ*", "per step"),
    )
    .equal_aspect()
    .with(Series::circle((0.0, 0.0), 1.0, Role::Guide).label("unit circle"));
    for (role, label, outside) in [
        (Role::Stable, "|*λ*| < 1", false),
        (Role::Unstable, "|*λ*| > 1", true),
    ] {
        let chosen: Vec<usize> = rows
            .iter()
            .copied()
            .filter(|&row| (modulus[row] > 1.0) == outside)
            .collect();
        if chosen.is_empty() {
            continue;
        }
        let series = Series::points(
            chosen.iter().map(|&row| re[row]).collect(),
            chosen.iter().map(|&row| im[row]).collect(),
            Style::from(role).size(2.5).opacity(0.7),
        )
        .ids(chosen.iter().map(|&row| fixed_point[row]).collect());
        plane = plane.with(series.label(label));
    }
    let caption = format!(
        "Eigenvalues of the Jacobian at {} fixed points. A map is stable where every |λ| < 1.",
        fixed.len()
    );
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::plane(plane).aspect(0.9)),
    ))
}
