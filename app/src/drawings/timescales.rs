//! Autocorrelations of some units with the curves fitted to them, and the timescales of all.

use super::{FigureKind, pick, rows_of_network, shown_network};
use crate::results::Results;
use ndarray::s;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Dash, Marker, Panel, Plane, Role, Scale, Series, Style};

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "timescales",
    summary: "autocorrelations of some units with the exponentials fitted to them, and the timescales of all units",
    needs: &["timescales"],
    build,
};

/// Units whose autocorrelations are shown.
const CURVES: usize = 4;
/// The lowest autocorrelation shown: less is noise in most recordings of practical length.
const LOWEST: f64 = 1e-3;
/// Timescales below a step are left out of the histogram, as the literature does: of them only lag 0 tells.
const SHORTEST: f64 = 1.0;

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(table), Some(autocorrelation), Some(population)) = (
        results.table("timescales"),
        results.array("timescales", "autocorrelation"),
        results.array("timescales", "population"),
    ) else {
        return Ok(None);
    };
    let network = shown_network(results) as usize;
    // The last row of a network is that of the whole state.
    let rows = rows_of_network(table, network as u64)?;
    let states = rows.len().saturating_sub(1);
    let fits = Fits::of(table, &rows)?;
    let same = autocorrelation.ndim() == 3
        && population.ndim() == 2
        && network < autocorrelation.shape()[0].min(population.shape()[0])
        && autocorrelation.shape()[1] == states;
    if !same || fits.tau.iter().all(|tau| tau.is_nan()) {
        return Ok(None);
    }
    let fitted_lags = results
        .array("timescales", "fitted_lags")
        .and_then(|lags| lags.first().copied())
        .map_or(0, |lags| lags as usize)
        .min(autocorrelation.shape()[2].saturating_sub(1));

    // The whole state at the back, then a few units.
    let mut shown: Vec<(usize, Role, f64, Vec<f64>)> = Vec::new();
    if fits.tau[states].is_finite() {
        let values = population.slice(s![network, ..]).to_vec();
        shown.push((states, Role::Recorded, 1.6, values));
    }
    for (n, &k) in fits.some_units(states).iter().enumerate() {
        let values = autocorrelation.slice(s![network, k, ..]).to_vec();
        shown.push((k, Role::Category(n), 0.8, values));
    }
    // As far as the fits go, down to the lowest point there is.
    let mut lowest = 1.0f64;
    for (_, _, _, values) in &mut shown {
        values.truncate(fitted_lags + 1);
        let above = values.iter().copied().filter(|r| *r >= LOWEST);
        lowest = above.fold(lowest, f64::min);
    }
    let floor = 0.8 * lowest;
    let mut curves = Plane::new(
        Axis::new("Lag", "steps"),
        Axis::new("Autocorrelation", "")
            .scale(Scale::Log)
            .range(floor, 1.3),
    );
    for (k, role, width, values) in shown {
        let (x, y): (Vec<f64>, Vec<f64>) = (0..values.len())
            .filter(|&lag| values[lag] >= floor)
            .map(|lag| (lag as f64, values[lag]))
            .unzip();
        let points = Style::from(role)
            .marker(Marker::Disc)
            .size(2.0 + width - 0.8);
        curves = curves.with(Series::points(x, y, points));
        let (x, y): (Vec<f64>, Vec<f64>) = (1..=4 * fitted_lags)
            .map(|quarter| quarter as f64 / 4.0)
            .map(|lag| (lag, fits.at(k, lag)))
            .filter(|(_, value)| *value >= floor)
            .unzip();
        let name = if k == states {
            "whole state".to_owned()
        } else {
            fits.name(k)
        };
        let line = Style::from(role).width(width).dash(Dash::Solid);
        let label = format!("{name}: {} steps", rounded(fits.tau[k]));
        curves = curves.with(Series::line(x, y, line).label(label));
    }

    let leaks = pick(table, "leak_time_constant", &rows)?;
    let validated = pick(table, "tau_validated", &rows)?;
    let kept = |values: &[f64]| -> Vec<f64> {
        let above = values.iter().take(states).copied();
        above.filter(|tau| *tau > SHORTEST).collect()
    };
    let tau = kept(&fits.tau);
    let histogram = histogram(&tau, &kept(&validated), &kept(&leaks));
    let kept = tau.len();
    let doubles = fits
        .double
        .iter()
        .take(states)
        .filter(|double| **double)
        .count();
    let caption = format!(
        "Autocorrelation of some units (points) with the fitted exponentials (lines); timescales of the {kept} of {states} \
         state variables whose timescale is above one step. Akaike's criterion prefers two exponentials for {doubles} of \
         them: theirs is the longer one."
    );
    let mut figure = Figure::new(KIND.name)
        .caption(caption)
        .panel(Panel::plane(curves).aspect(0.6));
    if let Some(histogram) = histogram {
        figure = figure.panel(Panel::plane(histogram).aspect(0.45));
    }
    Ok(Some(figure.lettered()))
}

/// The rows of one network.
struct Fits {
    unit: Vec<f64>,
    variable: Vec<f64>,
    tau: Vec<f64>,
    a: Vec<f64>,
    c: Vec<f64>,
    t1: Vec<f64>,
    t2: Vec<f64>,
    double: Vec<bool>,
}

impl Fits {
    fn of(table: &nullcline_tables::Table, rows: &[usize]) -> Result<Self> {
        let column = |name: &str| pick(table, name, rows);
        let model = table.text_column("model")?;
        Ok(Fits {
            unit: column("unit")?,
            variable: column("variable")?,
            tau: column("tau")?,
            a: column("a")?,
            c: column("c")?,
            t1: column("t1")?,
            t2: column("t2")?,
            double: rows
                .iter()
                .map(|&row| model[row] == Some("double"))
                .collect(),
        })
    }

    /// The curve at a lag above 0.
    fn at(&self, k: usize, lag: f64) -> f64 {
        let decay = |timescale: f64| (-lag / timescale).exp();
        if self.double[k] {
            self.a[k] * (self.c[k] * decay(self.t1[k]) + (1.0 - self.c[k]) * decay(self.t2[k]))
        } else {
            self.a[k] * decay(self.t1[k])
        }
    }

    /// A few, from the shortest timescale to the longest.
    fn some_units(&self, states: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..states).filter(|&k| self.tau[k].is_finite()).collect();
        order.sort_by(|&a, &b| self.tau[a].total_cmp(&self.tau[b]));
        let last = order.len().saturating_sub(1);
        let count = order.len().min(CURVES);
        (0..count)
            .map(|n| order[n * last / count.saturating_sub(1).max(1)])
            .collect()
    }

    fn name(&self, k: usize) -> String {
        let several = self.variable.iter().any(|variable| *variable > 0.0);
        if several {
            format!("unit {}, variable {}", self.unit[k], self.variable[k])
        } else {
            format!("unit {}", self.unit[k])
        }
    }
}

/// Three significant digits; what is nothing beside a step is 0.
fn rounded(x: f64) -> String {
    if x < 0.001 {
        return "0".to_owned();
    }
    let digits = (2.0 - x.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{x:.digits$}")
}

/// How many state variables have which timescale by either method, and the time constants of their leaks.
fn histogram(tau: &[f64], validated: &[f64], leaks: &[f64]) -> Option<Plane> {
    if tau.is_empty() {
        return None;
    }
    let all = || tau.iter().chain(validated).chain(leaks).copied();
    let (low, high) = (
        all().fold(f64::INFINITY, f64::min),
        all().fold(0.0, f64::max),
    );
    let log = high > 10.0 * low;
    let place = |x: f64| if log { x.ln() } else { x };
    let back = |x: f64| if log { x.exp() } else { x };
    let count = (2.0 * (tau.len() as f64).cbrt()).ceil().clamp(8.0, 24.0);
    // All alike are a bin of some width.
    let width = ((place(high) - place(low)) / count).max(1e-2 * place(high).abs().max(0.1));
    let first = place(low) - 0.5 * width;
    let bins = ((place(high) - first) / width) as usize + 1;
    let edge = |bin: usize| back(first + bin as f64 * width);
    let counts = |values: &[f64]| {
        let mut counts = vec![0.0; bins];
        for x in values {
            let bin = ((place(*x) - first) / width) as usize;
            counts[bin.min(bins - 1)] += 1.0;
        }
        counts
    };
    let outline = |counts: &[f64]| {
        let (mut x, mut y) = (vec![edge(0)], vec![0.0]);
        for (bin, count) in counts.iter().enumerate() {
            x.extend([edge(bin), edge(bin + 1)]);
            y.extend([*count, *count]);
        }
        x.push(edge(bins));
        y.push(0.0);
        (x, y)
    };
    let chosen = counts(tau);
    let validated = counts(validated);
    let highest = chosen.iter().chain(&validated).copied().fold(0.0, f64::max);
    let scale = if log { Scale::Log } else { Scale::Linear };
    let mut plane = Plane::new(
        Axis::new("Timescale *τ*", "steps")
            .scale(scale)
            .range(back(first - width), back(first + (bins + 1) as f64 * width)),
        Axis::new("State variables", "count").range(0.0, 1.1 * highest),
    );
    for (bin, count) in chosen.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        let ends = vec![edge(bin), edge(bin + 1)];
        plane = plane.with(Series::band(
            ends,
            vec![0.0; 2],
            vec![*count; 2],
            Role::Category(0),
        ));
    }
    // Dashed, as both are often the same.
    for (counts, role, dash, label) in [
        (
            chosen,
            Role::Category(0),
            Dash::Solid,
            "by Akaike's criterion",
        ),
        (
            validated,
            Role::Category(3),
            Dash::Dashed,
            "by cross-validation",
        ),
    ] {
        if counts.iter().any(|count| *count > 0.0) {
            let (x, y) = outline(&counts);
            let style = Style::from(role).width(0.8).dash(dash);
            plane = plane.with(Series::line(x, y, style).label(label));
        }
    }
    let leak = |at: f64| Series::vertical_rule(at, Style::from(Role::Guide).dash(Dash::Dotted));
    match leaks {
        [] => {}
        [first, rest @ ..] if rest.iter().all(|leak| leak == first) => {
            plane = plane.with(leak(*first).label("1 / leak"));
        }
        _ => {
            let (x, y) = outline(&counts(leaks));
            let style = Style::from(Role::Guide).width(0.8).dash(Dash::Dotted);
            plane.y = plane
                .y
                .range(0.0, 1.1 * y.iter().copied().fold(highest, f64::max));
            plane = plane.with(Series::line(x, y, style).label("1 / leak"));
        }
    }
    Some(plane)
}
