//! How the task suffers as a perturbation grows.

use super::FigureKind;
use super::training_curve::loss_name;
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Marker, Panel, Plane, Role, Scale, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "perturbations",
    summary: "relative accuracy or loss over the relative norm of perturbations of weights and time constants, and of noise",
    needs: &["perturbations"],
    build,
};

fn build(results: &Results) -> Result<Option<Figure>> {
    let Some(table) = results.table("perturbations") else {
        return Ok(None);
    };
    let groups = table.text_column("group")?;
    let norms = table.f64_column("relative_norm")?;
    // The first measure that has numbers; the level of the intact network, and of chance.
    let losses = Axis::new("Loss", loss_name(results)).scale(Scale::Log);
    let mut shown = None;
    for (column, name, axis) in [
        (
            "relative_accuracy",
            "Accuracy above chance, relative to the intact network",
            Axis::new("Relative accuracy", "fraction"),
        ),
        ("loss", "Loss", losses),
        (
            "trajectory_distance",
            "Distance of the trajectories from those of the intact network",
            Axis::new("Distance", "spreads"),
        ),
    ] {
        if table.column(column).is_none() {
            continue;
        }
        let values = table.f64_column(column)?;
        if values.iter().any(|y| y.is_finite()) {
            shown = Some((column, name, axis, values));
            break;
        }
    }
    let Some((column, name, axis, values)) = shown else {
        return Ok(None);
    };
    let levels: Vec<(f64, &str)> = match column {
        "relative_accuracy" => vec![(1.0, "intact"), (0.0, "chance")],
        "loss" => {
            let before = table.f64_column("loss_before")?;
            let finite: Vec<f64> = before.into_iter().filter(|y| y.is_finite()).collect();
            vec![(mean(&finite), "intact")]
        }
        _ => Vec::new(),
    };
    let mut plane = Plane::new(
        Axis::new("Relative norm of the perturbation", "fraction").scale(Scale::Log),
        axis,
    );
    for (k, (level, label)) in levels.into_iter().enumerate() {
        if level.is_finite() {
            let rule = Series::horizontal_rule(level, Role::Guide);
            plane = plane.with(if k == 0 { rule.label(label) } else { rule });
        }
    }
    let mut lines = Vec::new();
    for (k, (group, label)) in [
        ("recurrent", "recurrent weights"),
        ("time_constants", "time constants"),
        ("all", "all parameters"),
        ("noise", "noise on the state"),
    ]
    .into_iter()
    .enumerate()
    {
        let Some((x, low, middle, high)) = curve(&groups, &norms, &values, group) else {
            continue;
        };
        plane = plane.with(Series::band(x.clone(), low, high, Role::Category(k)));
        lines.push(Series::line(x.clone(), middle.clone(), Role::Category(k)).label(label));
        let marker = [
            Marker::Disc,
            Marker::Square,
            Marker::Triangle,
            Marker::Diamond,
        ][k];
        let style = Style::from(Role::Category(k)).marker(marker).size(2.5);
        lines.push(Series::points(x, middle, style));
    }
    if lines.is_empty() {
        return Ok(None);
    }
    for series in lines {
        plane = plane.with(series);
    }
    let networks = table.u64_column("network")?;
    let networks = networks.iter().max().map_or(0, |last| last + 1);
    let caption = format!(
        "{name}, over the norm of a perturbation relative to that of what is perturbed (of noise: to the spread of the trajectories). \
         Mean (line) and range (shaded) over random directions{}.",
        match networks {
            1 => String::new(),
            count => format!(" and {count} networks"),
        }
    );
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::plane(plane).aspect(0.66)),
    ))
}

/// Relative norms that are on a logarithmic axis, with the least, mean and largest value at each.
type Curve = (Vec<f64>, Vec<f64>, Vec<f64>, Vec<f64>);

/// The curve of one group over repeats and networks; `None` where it has no numbers.
fn curve(groups: &[Option<&str>], norms: &[f64], values: &[f64], group: &str) -> Option<Curve> {
    let rows: Vec<usize> = (0..values.len())
        .filter(|&row| groups[row] == Some(group) && norms[row] > 0.0 && values[row].is_finite())
        .collect();
    let mut levels: Vec<f64> = rows.iter().map(|&row| norms[row]).collect();
    levels.sort_by(f64::total_cmp);
    levels.dedup();
    let mut curve: Curve = Default::default();
    for level in levels {
        let at = rows.iter().filter(|&&row| norms[row] == level);
        let at: Vec<f64> = at.map(|&row| values[row]).collect();
        curve.0.push(level);
        curve
            .1
            .push(at.iter().copied().fold(f64::INFINITY, f64::min));
        curve.2.push(mean(&at));
        curve
            .3
            .push(at.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    }
    (!curve.0.is_empty()).then_some(curve)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_holds_the_mean_and_range_of_its_group_at_every_norm() {
        let groups = [
            Some("noise"),
            Some("noise"),
            Some("all"),
            Some("noise"),
            Some("noise"),
        ];
        let norms = [0.1, 0.1, 0.1, 0.0, 0.01];
        let values = [1.0, 3.0, 9.0, 7.0, f64::NAN];
        let curve_of = |group| curve(&groups, &norms, &values, group);
        let expected = (vec![0.1], vec![1.0], vec![2.0], vec![3.0]);
        assert_eq!(curve_of("noise"), Some(expected));
        assert_eq!(curve_of("recurrent"), None);
    }
}
