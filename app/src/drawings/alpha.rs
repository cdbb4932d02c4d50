//! The strength of teacher forcing over training, where it changes.

use super::FigureKind;
use super::training_curve::quantiles;
use crate::results::{Results, TRAINING};
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "alpha",
    summary: "strength of teacher forcing that adapts or falls over the updates, of every network and their median",
    needs: &[TRAINING],
    build,
};

fn build(results: &Results) -> Result<Option<Figure>> {
    let Some(table) = results
        .table(TRAINING)
        .filter(|table| table.column("alpha").is_some())
    else {
        return Ok(None);
    };
    let updates = table.f64_column("update")?;
    let networks = table.u64_column("network")?;
    let alphas = table.f64_column("alpha")?;
    let finite: Vec<f64> = alphas.iter().copied().filter(|a| a.is_finite()).collect();
    let high = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let low = finite.iter().copied().fold(f64::INFINITY, f64::min);
    // A strength that stays is told by a number; there is nothing to draw.
    if high <= low {
        return Ok(None);
    }
    let mut names = networks.clone();
    names.sort_unstable();
    names.dedup();
    let mut plane = Plane::new(
        Axis::new("Update", "count"),
        Axis::new("Forcing *α*", "").range(0.0, 1.05 * high),
    );
    let alone = names.len() == 1;
    for &network in &names {
        let (x, y): (Vec<f64>, Vec<f64>) = (0..updates.len())
            .filter(|&i| networks[i] == network && alphas[i].is_finite())
            .map(|i| (updates[i], alphas[i]))
            .unzip();
        let style = if alone {
            Style::from(Role::Category(0)).width(1.0)
        } else {
            Style::from(Role::Category(0)).width(0.4).opacity(0.5)
        };
        let mut line = Series::line(x, y, style);
        if !alone && network == names[0] {
            line = line.label("networks");
        }
        plane = plane.with(line);
    }
    if !alone {
        let (x, _, median, _) = quantiles(&updates, &alphas);
        let style = Style::from(Role::Category(3)).width(1.2);
        plane = plane.with(Series::line(x, median, style).label("median"));
    }
    let caption = match names.len() {
        1 => "Strength of the teacher forcing over training.".to_owned(),
        count => format!(
            "Strength of the teacher forcing over training, of {count} networks (thin) and their median (thick)."
        ),
    };
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::plane(plane).aspect(0.62)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;
    use nullcline_data::settings::Document;
    use nullcline_tables::Table;

    fn results(alphas: Option<Vec<f64>>) -> Results {
        let text = "name = \"a\"\n[task]\nkind = \"flip_flop\"\n[model]\nkind = \"leaky\"\n";
        let document = Document::parse("a.toml", text).unwrap();
        let experiment = Experiment::from_document(&document).unwrap();
        let mut results = Results::new(experiment);
        let mut table = Table::new();
        table.add("update", "", vec![0.0, 0.0, 5.0, 5.0]).unwrap();
        table.add("network", "", vec![0u64, 1, 0, 1]).unwrap();
        if let Some(alphas) = alphas {
            table.add("alpha", "", alphas).unwrap();
        }
        results.tables.insert(TRAINING.to_owned(), table);
        results
    }

    #[test]
    fn only_a_strength_that_changes_is_drawn() {
        assert_eq!(build(&results(None)).unwrap(), None);
        assert_eq!(build(&results(Some(vec![f64::NAN; 4]))).unwrap(), None);
        assert_eq!(build(&results(Some(vec![0.1; 4]))).unwrap(), None);
        let drawn = build(&results(Some(vec![1.0, 1.0, 0.5, 0.7])))
            .unwrap()
            .unwrap();
        drawn.check().unwrap();
        // Two networks and their median.
        assert_eq!(drawn.panels[0].series().len(), 3);
    }
}
