//! Growth of gradients through time under forcing of several strengths.

use super::{FigureKind, common_range, pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, ColorMap, Dash, Panel, Plane, Role, Series, Style};
use nullcline_figures::palette::{INK, map_color};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "gradient_growth",
    summary: "norm of the gradient through time under forcing of several strengths, and its growth in a step against the strength",
    needs: &[
        "gradient_growth",
        "gradient_growth_rates",
        "gradient_growth_bounds",
    ],
    build,
};

/// A gradient so many decades below its beginning is nothing beside it in double precision; further down nothing is shown.
const LOWEST: f64 = -16.0;
/// The part of the colour map that is dark enough for thin lines on white.
const DARKEST_PART: f64 = 0.88;
/// Most ticks of the axis of norms.
const TICKS: f64 = 9.0;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(curves), Some(rates), Some(bounds)) = (
        results.table("gradient_growth"),
        results.table("gradient_growth_rates"),
        results.table("gradient_growth_bounds"),
    ) else {
        return Ok(None);
    };
    let network = shown_network(results);
    let rate_rows = rows_of_network(rates, network)?;
    let alphas = pick(rates, "alpha", &rate_rows)?;
    if alphas.is_empty() {
        return Ok(None);
    }
    let all_trained = rates.bool_column("trained")?;
    let trained: Vec<bool> = rate_rows.iter().map(|&row| all_trained[row]).collect();
    let color = |k: usize| {
        let place = k as f64 / (alphas.len() - 1).max(1) as f64;
        map_color(ColorMap::Viridis, DARKEST_PART * place)
    };

    let rows = rows_of_network(curves, network)?;
    let of = pick(curves, "alpha", &rows)?;
    let time = pick(curves, "time", &rows)?;
    let [low, median, high] = ["log10_norm_low", "log10_norm", "log10_norm_high"]
        .map(|column| pick(curves, column, &rows));
    let (low, median, high) = (low?, median?, high?);
    let in_view = |values: &[f64]| -> Vec<f64> {
        values
            .iter()
            .map(|x| x.max(LOWEST))
            .filter(|x| x.is_finite())
            .collect()
    };
    let (bottom, top) = common_range(&in_view(&median), &in_view(&high));
    let mut growth = Plane::new(
        Axis::new("Time *t*", "steps"),
        Axis::new("|∂*z*_{*t*} / ∂*z*_{1}|", "")
            .range(bottom, top)
            .ticks(decades(bottom, top)),
    )
    .with(Series::horizontal_rule(0.0, Role::Guide));
    let own = |alpha: f64, values: &[f64]| -> Vec<f64> {
        let pairs = values.iter().zip(&of);
        pairs
            .filter(|(_, a)| **a == alpha)
            .map(|(x, _)| *x)
            .collect()
    };
    for (k, &alpha) in alphas.iter().enumerate() {
        let style = Style::from(Role::Category(0)).color(color(k));
        // What lies below the frame would break the band.
        let floor = |values: Vec<f64>| values.into_iter().map(|x| x.max(bottom)).collect();
        growth = growth.with(Series::band(
            own(alpha, &time),
            floor(own(alpha, &low)),
            floor(own(alpha, &high)),
            style,
        ));
    }
    for (k, &alpha) in alphas.iter().enumerate() {
        let style = Style::from(Role::Category(0)).color(color(k)).width(1.0);
        let rounded = (1e4 * alpha).round() / 1e4;
        let (style, label) = match trained[k] {
            true => (
                style.dash(Dash::Dashed),
                format!("*α* = {rounded} (trained)"),
            ),
            false => (style, format!("*α* = {rounded}")),
        };
        let line = Series::line(own(alpha, &time), own(alpha, &median), style);
        growth = growth.with(line.label(label));
    }

    let factor = |column: &str| -> Result<Vec<f64>> {
        let logarithms = pick(rates, column, &rate_rows)?;
        Ok(logarithms.into_iter().map(|x| 10f64.powf(x)).collect())
    };
    let (least, middle, most) = (
        factor("log10_growth_low")?,
        factor("log10_growth")?,
        factor("log10_growth_high")?,
    );
    let mut per_step = Plane::new(
        Axis::new("Forcing *α*", ""),
        Axis::new("Growth", "factor per step"),
    )
    .with(Series::horizontal_rule(1.0, Role::Guide));
    let ends = |values: &[f64]| -> Vec<[f64; 2]> {
        alphas.iter().zip(values).map(|(a, y)| [*a, *y]).collect()
    };
    let bound_rows = rows_of_network(bounds, network)?;
    let bound_alphas = pick(bounds, "alpha", &bound_rows)?;
    let estimates = bounds.text_column("estimate")?;
    let reach = alphas.iter().copied().fold(0.0, f64::max);
    let mut listed = Vec::new();
    for (k, (&row, &alpha)) in bound_rows.iter().zip(&bound_alphas).enumerate() {
        let name = estimates[row].unwrap_or_default().replace('_', " ");
        if alpha.is_finite() {
            listed.push(format!("{name} {alpha:.3}"));
        }
        if alpha > 0.0 && alpha <= reach {
            let style = Style::from(Role::Category(k)).dash(Dash::Dotted).width(1.0);
            per_step = per_step.with(Series::vertical_rule(alpha, style).label(name));
        }
    }
    per_step = per_step
        .with(Series::line(
            alphas.clone(),
            middle.clone(),
            Style::from(Role::Guide).width(0.7),
        ))
        .with(Series::segments(
            &ends(&least),
            &ends(&most),
            Style::from(Role::StableMode).color(INK).width(0.7),
        ));
    for (k, (&alpha, &y)) in alphas.iter().zip(&middle).enumerate() {
        let style = Style::from(Role::Stable).color(color(k)).size(4.5);
        per_step = per_step.with(Series::points(vec![alpha], vec![y], style));
    }

    let partial = match (
        pick(bounds, "forced", &bound_rows)?.first(),
        pick(bounds, "states", &bound_rows)?.first(),
    ) {
        (Some(forced), Some(states)) if forced < states => format!(
            " Forcing acts on {forced} of {states} state variables; what the others carry it does not damp."
        ),
        _ => String::new(),
    };
    let bound = match listed.is_empty() {
        true => String::new(),
        false => format!(
            " The forcing that would bound it, by {}.",
            listed.join(", by ")
        ),
    };
    let caption = format!(
        "Spectral norm of the gradient through time under teacher forcing of strength α along the training data, median \
         and range over starts; and the geometric mean of its growth in a step.{bound}{partial}"
    );
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::plane(growth).aspect(0.62))
            .panel(Panel::plane(per_step).aspect(0.5))
            .lettered(),
    ))
}

/// Ticks at powers of ten between two exponents.
fn decades(low: f64, high: f64) -> Vec<(f64, String)> {
    let step = [
        1.0, 2.0, 4.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0,
    ]
    .into_iter()
    .find(|step| (high - low) / step <= TICKS)
    .unwrap_or(2000.0);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last)
        .map(|k| {
            let exponent = k as f64 * step;
            let text = match exponent == 0.0 {
                true => "1".to_owned(),
                false => format!("10^{{{exponent}}}"),
            };
            (exponent, text)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_ten() {
        let texts = |low, high| -> Vec<String> {
            decades(low, high)
                .into_iter()
                .map(|(_, text)| text)
                .collect()
        };
        assert_eq!(texts(-1.2, 2.0), ["10^{-1}", "1", "10^{1}", "10^{2}"]);
        assert_eq!(
            texts(-16.5, 8.0),
            [
                "10^{-16}", "10^{-12}", "10^{-8}", "10^{-4}", "1", "10^{4}", "10^{8}"
            ]
        );
        assert_eq!(texts(-0.3, 0.3), ["1"]);
        assert!(texts(-1e5, 1e5).len() < 200);
    }
}
