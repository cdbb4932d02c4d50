//! The spectrum along a trial: eigenvalues in the complex plane, coloured by time, above what came in and how far the
//! spectrum and one step reached.

use super::{FigureKind, channel_label, common_range, pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, ColorScale, Panel, Plane, Role, Series, Style};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "spectrum_path",
    summary: "eigenvalues along a trial in the complex plane, with spectral radius and largest singular value over time",
    needs: &["trajectory_linearization", "trajectory_linearization_modes"],
    build,
};

/// Signals beyond this many would be too thin to read.
const MOST_SIGNALS: usize = 6;
/// Eigenvalues a step beyond this many would hide each other.
const MOST_MODES: usize = 12;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(steps), Some(modes)) = (
        results.table("trajectory_linearization"),
        results.table("trajectory_linearization_modes"),
    ) else {
        return Ok(None);
    };
    let network = shown_network(results);
    let rows = rows_of_trial(steps, network)?;
    let (mode_rows, least) = outer_part(modes, rows_of_trial(modes, network)?, rows.len())?;
    if rows.is_empty() || mode_rows.is_empty() {
        return Ok(None);
    }
    let time = pick(steps, "step", &rows)?;
    let interval = time.get(1).map_or(1.0, |second| second - time[0]);
    let radius = pick(steps, "spectral_radius", &rows)?;
    let stretch = pick(steps, "largest_singular_value", &rows)?;
    // One, which parts what shrinks from what may grow, is always in view.
    let (low, high) = common_range(&[&radius[..], &stretch].concat(), &[1.0]);
    let reach = Plane::new(
        Axis::new("Time", "steps"),
        Axis::new("Factor", "per step").range(low, high),
    )
    .with(Series::horizontal_rule(1.0, Role::Guide))
    // The wider below: where J is normal the two are one.
    .with(
        Series::line(
            time.clone(),
            stretch,
            Style::from(Role::Category(1)).width(1.2),
        )
        .label("largest stretch |*J*|_{2}"),
    )
    .with(
        Series::line(
            time.clone(),
            radius,
            Style::from(Role::Category(0)).width(0.7),
        )
        .label("spectral radius"),
    );
    let which = least.map_or(String::new(), |least| {
        format!("those of modulus {least:.2} or more, ")
    });
    let caption = format!(
        "Eigenvalues of the Jacobian at every step of a held-out trial, under the input of that step, {which}coloured by \
         time, with the unit circle. Below, over time: the signals, each about its middle and all on one scale; the \
         spectral radius and the largest singular value.",
    );
    let (signals, height) = signals(steps, &rows, &time, interval)?;
    let figure = Figure::new(KIND.name)
        .caption(caption)
        .panel(Panel::plane(complex_plane(modes, &mode_rows, interval)?).aspect(0.9))
        .panel(Panel::plane(signals.shares_x()).aspect(height))
        .panel(Panel::plane(reach).aspect(0.35));
    Ok(Some(figure.lettered()))
}

/// The rows of the network's first trial.
fn rows_of_trial(table: &Table, network: u64) -> Result<Vec<usize>> {
    let trials = table.u64_column("trial")?;
    let mut rows = rows_of_network(table, network)?;
    rows.retain(|&row| trials[row] == 0);
    Ok(rows)
}

/// Of these rows those with the largest moduli, [`MOST_MODES`] a step on average, and the least of these moduli; `None`
/// where that is all of them. By modulus, because it keeps complex pairs whole.
fn outer_part(
    modes: &Table,
    mut rows: Vec<usize>,
    steps: usize,
) -> Result<(Vec<usize>, Option<f64>)> {
    let modulus = modes.f64_column("modulus")?;
    let most = MOST_MODES.saturating_mul(steps);
    let mut moduli: Vec<f64> = rows.iter().map(|&row| modulus[row]).collect();
    moduli.sort_by(|a, b| b.total_cmp(a));
    let least = moduli
        .get(most.wrapping_sub(1))
        .copied()
        .filter(|_| moduli.len() > most);
    if let Some(least) = least {
        rows.retain(|&row| modulus[row] >= least);
    }
    Ok((rows, least))
}

/// Every mode's path, coloured by time; `interval` steps from one Jacobian to the next.
fn complex_plane(modes: &Table, rows: &[usize], interval: f64) -> Result<Plane> {
    let index = modes.u64_column("index")?;
    let mut rows = rows.to_vec();
    // Mode by mode; the sort is stable, so that steps stay in order.
    rows.sort_by_key(|&row| index[row]);
    let (re, im) = (pick(modes, "re", &rows)?, pick(modes, "im", &rows)?);
    let time = pick(modes, "step", &rows)?;
    // One line for all paths, with a gap between them, and where a mode was out of sight.
    let mut line: [Vec<f64>; 3] = Default::default();
    for k in 0..rows.len() {
        if k > 0 && (index[rows[k]] != index[rows[k - 1]] || time[k] > time[k - 1] + interval) {
            line.iter_mut().for_each(|values| values.push(f64::NAN));
        }
        for (values, value) in line.iter_mut().zip([re[k], im[k], time[k]]) {
            values.push(value);
        }
    }
    let [x, y, at] = line;
    // What moves is seen best close by: of the circle, the part where stability is decided is enough.
    let left = re.iter().copied().fold(0.9, f64::min);
    let right = re.iter().copied().fold(1.0, f64::max);
    let height = im.iter().map(|im| im.abs()).fold(0.1, f64::max);
    let margin = 0.05 * (right - left).max(2.0 * height);
    let scale = || ColorScale::new("Time", "steps");
    let style = || Style::from(Role::Trajectory);
    Ok(Plane::new(
        Axis::new("Re *λ*", "per step").range(left - margin, right + margin),
        Axis::new("Im *λ*", "per step").range(-height - margin, height + margin),
    )
    .equal_aspect()
    .with(Series::circle((0.0, 0.0), 1.0, Role::Guide).label("unit circle"))
    .with(Series::line(x, y, style().width(0.3).opacity(0.5)).colored_by(at, scale()))
    .with(Series::points(re, im, style().size(1.5)).colored_by(time, scale())))
}

/// What came in, one signal above the other on a common scale; of a network that runs by itself, what came out. Also the
/// height that the panel needs.
fn signals(steps: &Table, rows: &[usize], time: &[f64], interval: f64) -> Result<(Plane, f64)> {
    let named = |prefix: &str| -> Vec<(String, String)> {
        let columns = steps.columns().iter();
        columns
            .filter_map(|column| {
                let name = column.name.strip_prefix(prefix)?;
                Some((column.name.clone(), channel_label(name)))
            })
            .take(MOST_SIGNALS)
            .collect()
    };
    let (mut shown, mut role, mut label) = (named("input_"), Role::Input, "Input");
    if shown.is_empty() {
        (shown, role, label) = (named("output_"), Role::Output, "Output");
    }
    let mut values: Vec<Vec<f64>> = shown
        .iter()
        .map(|(column, _)| pick(steps, column, rows))
        .collect::<Result<_>>()?;
    let middles: Vec<f64> = values.iter().map(|values| middle(values)).collect();
    let spread = values.iter().zip(&middles).flat_map(|(values, middle)| {
        values
            .iter()
            .map(move |x| (x - middle).abs())
            .filter(|x| x.is_finite())
    });
    let half = spread.fold(0.0, f64::max).max(1e-12);
    let mut ticks = Vec::new();
    for (k, (values, (_, name))) in values.iter_mut().zip(&shown).enumerate() {
        let level = -(k as f64);
        for x in values.iter_mut() {
            *x = level + 0.42 * (*x - middles[k]) / half;
        }
        ticks.push((level, name.clone()));
    }
    let lowest = 1.0 - shown.len().max(1) as f64;
    let mut plane = Plane::new(
        Axis::new("Time", "steps"),
        Axis::new(label, "").range(lowest - 0.5, 0.5).ticks(ticks),
    );
    for values in values {
        let (x, y) = match role {
            Role::Input => held(time, &values, interval),
            _ => (time.to_vec(), values),
        };
        plane = plane.with(Series::line(x, y, role));
    }
    Ok((plane, (0.075 * shown.len() as f64).max(0.15)))
}

/// Every value held until the next one, as an input is for its step.
fn held(time: &[f64], values: &[f64], interval: f64) -> (Vec<f64>, Vec<f64>) {
    let pieces = time.iter().zip(values);
    pieces
        .flat_map(|(&from, &value)| [(from, value), (from + interval, value)])
        .unzip()
}

/// Half way between the least and the largest of some numbers; 0 where none is finite.
fn middle(values: &[f64]) -> f64 {
    let finite = || values.iter().copied().filter(|x| x.is_finite());
    let least = finite().fold(f64::INFINITY, f64::min);
    let largest = finite().fold(f64::NEG_INFINITY, f64::max);
    if least <= largest {
        0.5 * (least + largest)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_held_until_the_next_one() {
        let (x, y) = held(&[0.0, 3.0], &[5.0, -1.0], 3.0);
        assert_eq!(x, [0.0, 3.0, 3.0, 6.0]);
        assert_eq!(y, [5.0, 5.0, -1.0, -1.0]);
    }

    #[test]
    fn the_outer_part_keeps_pairs_whole() {
        // Fifteen eigenvalues at one step: reals of modulus 1 to 0.7, then pairs.
        let mut modulus: Vec<f64> = (0..11).map(|k| 1.0 - 0.03 * f64::from(k)).collect();
        modulus.extend([0.5, 0.5, 0.4, 0.4]);
        let mut table = Table::new();
        table.add("modulus", "", modulus).unwrap();
        let (rows, least) = outer_part(&table, (0..15).collect(), 1).unwrap();
        assert_eq!((rows, least), ((0..13).collect(), Some(0.5)));
        let (rows, least) = outer_part(&table, (0..12).collect(), 1).unwrap();
        assert_eq!((rows.len(), least), (12, None));
        assert_eq!(outer_part(&table, vec![], 0).unwrap(), (vec![], None));
    }
}
