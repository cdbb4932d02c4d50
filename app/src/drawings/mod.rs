//! The figures of a run: from results to [`Figure`] values. One file and one line of [`FIGURES`] each; the
//! painters are in the crate `nullcline-figures`.

mod alpha;
mod attractor;
mod axes;
mod basins;
mod continuation;
mod cycles;
mod delay_space;
mod fixed_points_on_attractor;
mod fixed_points_over_training;
mod generated;
mod gradient_growth;
mod lesions;
mod lyapunov;
mod mode_overlaps;
mod periodic_orbits;
mod perturbations;
mod plane;
mod poincare;
mod power_spectrum;
mod reconstruction_over_training;
mod reconstruction_series;
mod recording;
mod regions_visited;
mod saturation;
mod spectrum;
mod spectrum_path;
mod speed_landscape;
mod state_space;
mod timescales;
mod training_curve;
mod trial;

use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_tables::Table;

/// A figure as the command line names it.
pub struct FigureKind {
    /// The name: of the file, of `--only NAME`.
    pub name: &'static str,
    /// One line for lists.
    pub summary: &'static str,
    /// The tables and arrays that it is drawn from.
    pub needs: &'static [&'static str],
    /// Builds it; `None` where the results it shows are not there (yet).
    pub build: fn(&Results) -> Result<Option<Figure>>,
}

/// Every figure.
pub static FIGURES: &[FigureKind] = &[
    training_curve::KIND,
    trial::KIND,
    state_space::KIND,
    spectrum::KIND,
    mode_overlaps::KIND,
    spectrum_path::KIND,
    saturation::KIND,
    cycles::KIND,
    speed_landscape::KIND,
    basins::KIND,
    lyapunov::KIND,
    continuation::KIND,
    fixed_points_over_training::KIND,
    timescales::KIND,
    power_spectrum::KIND,
    poincare::KIND,
    generated::KIND,
    delay_space::KIND,
    attractor::KIND,
    reconstruction_series::KIND,
    reconstruction_over_training::KIND,
    lesions::KIND,
    perturbations::KIND,
    alpha::KIND,
    gradient_growth::KIND,
    regions_visited::KIND,
    fixed_points_on_attractor::KIND,
    periodic_orbits::KIND,
];

/// The figure of this name.
pub fn kind(name: &str) -> Option<&'static FigureKind> {
    FIGURES.iter().find(|kind| kind.name == name)
}

/// The rows of a table that belong to one network, by the column `network`.
fn rows_of_network(table: &Table, network: u64) -> Result<Vec<usize>> {
    let networks = table.u64_column("network")?;
    Ok((0..networks.len())
        .filter(|&i| networks[i] == network)
        .collect())
}

/// Some rows of a column as numbers.
fn pick(table: &Table, column: &str, rows: &[usize]) -> Result<Vec<f64>> {
    let values = table.f64_column(column)?;
    Ok(rows
        .iter()
        .filter_map(|&i| values.get(i).copied())
        .collect())
}

/// The network that figures of a single network show.
fn shown_network(results: &Results) -> u64 {
    results.experiment.figures.count("network") as u64
}

/// A channel's name as an axis shows it: `bit_1` as Bit 1, `mlii_lag_20` as *x*(*t* + 20 steps), a single letter, as of a
/// variable in an equation, in italics.
fn channel_label(name: &str) -> String {
    match name.rsplit_once("_lag_") {
        Some((_, "0")) => return "*x*(*t*)".to_owned(),
        Some((_, lag)) => return format!("*x*(*t* + {lag})"),
        None => {}
    }
    if name.chars().count() == 1 && name.chars().all(char::is_alphabetic) {
        return format!("*{name}*");
    }
    let text = name.replace('_', " ");
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => "Output".to_owned(),
    }
}

/// The range of two signals together, with a margin of 5 %: both on one scale, or a weak copy would look like
/// a good one.
fn common_range(a: &[f64], b: &[f64]) -> (f64, f64) {
    let finite = || a.iter().chain(b).copied().filter(|x| x.is_finite());
    let (low, high) = (
        finite().fold(f64::INFINITY, f64::min),
        finite().fold(f64::NEG_INFINITY, f64::max),
    );
    let margin = 0.05 * (high - low).max(1e-12);
    (low - margin, high + margin)
}
