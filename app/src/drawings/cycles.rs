//! Cycles in the plane of two principal components, and their Floquet multipliers with the unit circle.

use super::{FigureKind, common_range, pick, rows_of_network, shown_network};
use crate::results::Results;
use nullcline_data::Result;
use nullcline_figures::Figure;
use nullcline_figures::figure::{Axis, Panel, Plane, Role, Series, Style};
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: FigureKind = FigureKind {
    name: "cycles",
    summary: "cycles in two principal components of the trajectories, and their Floquet multipliers with the unit circle",
    needs: &["cycles", "cycles_multipliers", "state_space"],
    build,
};

/// Colours of the orders of cycles, apart from those of trajectories and stability; longer cycles share the last.
const COLORS: [Role; 4] = [
    Role::Category(1),
    Role::Category(2),
    Role::Category(4),
    Role::Guide,
];
/// Most states of trajectories drawn: more would be an area.
const TRAJECTORY_STEPS: usize = 500;

/// A cycle of the table that was kept.
struct Shown {
    /// Rows of its states, in order.
    rows: Vec<usize>,
    is_stable: bool,
}

fn build(results: &Results) -> Result<Option<Figure>> {
    let (Some(table), Some(multipliers)) =
        (results.table("cycles"), results.table("cycles_multipliers"))
    else {
        return Ok(None);
    };
    let network = shown_network(results);
    let cycles = kept(table, network)?;
    if cycles.is_empty() {
        return Ok(None);
    }
    let Some(view) = View::of(results, table, network)? else {
        return Ok(None);
    };
    let mut plane = Plane::new(view.x, view.y);
    if let Some((low, high)) = view.diagonal {
        let line = Series::line(vec![low, high], vec![low, high], Role::Guide);
        plane = plane.with(line.label("no change"));
    }
    if let Some((x, y)) = view.trajectories {
        let style = Style::from(Role::Trajectory).opacity(0.3).width(0.4);
        plane = plane.with(Series::line(x, y, style).label("trajectories"));
    }
    let mut orders: Vec<usize> = cycles.iter().map(|cycle| cycle.rows.len()).collect();
    orders.sort_unstable();
    orders.dedup();
    // Round every cycle and back to its first state, with a gap after each.
    let paths: Vec<usize> = orders.iter().copied().filter(|&order| order > 1).collect();
    for (k, (&order, role)) in paths.iter().zip(COLORS).enumerate() {
        let shares = k + 1 == COLORS.len() && paths.len() > COLORS.len();
        let (mut x, mut y) = (Vec::new(), Vec::new());
        let members = cycles.iter().filter(|cycle| {
            let steps = cycle.rows.len();
            steps == order || (shares && steps > order)
        });
        for cycle in members {
            for row in cycle.rows.iter().chain(cycle.rows.first()) {
                x.push(view.places[*row][0]);
                y.push(view.places[*row][1]);
            }
            x.push(f64::NAN);
            y.push(f64::NAN);
        }
        let label = match (k, shares) {
            (_, true) => format!("{order} or more"),
            (0, false) => format!("cycle of {order} steps"),
            (_, false) => format!("of {order}"),
        };
        let style = Style::from(role).width(0.8);
        plane = plane.with(Series::line(x, y, style).label(label));
    }
    for (role, label, stable) in [
        (Role::Unstable, "unstable", false),
        (Role::Stable, "stable", true),
    ] {
        let members = cycles.iter().filter(|cycle| cycle.is_stable == stable);
        let (x, y): (Vec<f64>, Vec<f64>) = members
            .flat_map(|cycle| &cycle.rows)
            .map(|&row| (view.places[row][0], view.places[row][1]))
            .unzip();
        if !x.is_empty() {
            plane = plane.with(Series::points(x, y, Style::from(role).size(3.0)).label(label));
        }
    }

    let mut circle = Plane::new(
        Axis::new("|*μ*|^{1/*k*} cos arg *μ*", "per step"),
        Axis::new("|*μ*|^{1/*k*} sin arg *μ*", "per step"),
    )
    .equal_aspect()
    .with(Series::circle((0.0, 0.0), 1.0, Role::Guide).label("unit circle"));
    let rows = rows_of_network(multipliers, network)?;
    let steps = pick(multipliers, "order", &rows)?;
    let re = pick(multipliers, "re", &rows)?;
    let im = pick(multipliers, "im", &rows)?;
    for (role, label, outside) in [
        (Role::Stable, "|*μ*| < 1", false),
        (Role::Unstable, "|*μ*| > 1", true),
    ] {
        let (x, y): (Vec<f64>, Vec<f64>) = (0..rows.len())
            .filter(|&i| (re[i].hypot(im[i]) > 1.0) == outside)
            .map(|i| {
                let growth = re[i].hypot(im[i]).powf(1.0 / steps[i]);
                let angle = im[i].atan2(re[i]);
                (growth * angle.cos(), growth * angle.sin())
            })
            .unzip();
        if !x.is_empty() {
            let style = Style::from(role).size(2.5).opacity(0.7);
            circle = circle.with(Series::points(x, y, style).label(label));
        }
    }
    let counts: Vec<String> = orders
        .iter()
        .map(|&order| {
            let count = cycles.iter().filter(|c| c.rows.len() == order).count();
            match (order, count) {
                (1, 1) => "1 fixed point".to_owned(),
                (1, _) => format!("{count} fixed points"),
                _ => format!("{count} of {order} steps"),
            }
        })
        .collect();
    let caption = format!(
        "Cycles found: {}. (a) Their states {}. (b) Their Floquet multipliers μ, at the angle of μ and, for a cycle of k \
         steps, at the growth in one, |μ|^(1/k). A cycle is stable where every |μ| < 1.",
        counts.join(", "),
        view.words
    );
    Ok(Some(
        Figure::new(KIND.name)
            .caption(caption)
            .panel(Panel::plane(plane).aspect(0.75))
            .panel(Panel::plane(circle).aspect(0.8))
            .lettered(),
    ))
}

/// The cycles of a network that were not rejected.
fn kept(table: &Table, network: u64) -> Result<Vec<Shown>> {
    let rows = rows_of_network(table, network)?;
    let (orders, ids) = (table.u64_column("order")?, table.u64_column("id")?);
    let verdicts = table.text_column("verdict")?;
    let unstable = table.f64_column("n_unstable")?;
    let mut cycles: Vec<Shown> = Vec::new();
    let mut last = None;
    for row in rows {
        if verdicts[row] == Some("rejected") {
            continue;
        }
        if last == Some((orders[row], ids[row]))
            && let Some(cycle) = cycles.last_mut()
        {
            cycle.rows.push(row);
            continue;
        }
        last = Some((orders[row], ids[row]));
        cycles.push(Shown {
            rows: vec![row],
            is_stable: unstable[row] == 0.0,
        });
    }
    Ok(cycles)
}

/// Where states are drawn.
struct View {
    x: Axis,
    y: Axis,
    /// Of every row of the table.
    places: Vec<[f64; 2]>,
    /// Those of the figure of the state space, where there is one.
    trajectories: Option<(Vec<f64>, Vec<f64>)>,
    /// Of a single state: the ends of the line on which it is fixed.
    diagonal: Option<(f64, f64)>,
    words: &'static str,
}

impl View {
    /// The first two principal components; of a single state, it and the next; where the components are not known, the
    /// first two states.
    fn of(results: &Results, table: &Table, network: u64) -> Result<Option<Self>> {
        let states: Vec<Vec<f64>> = (0..)
            .map(|k| format!("state_{k}"))
            .take_while(|name| table.column(name).is_some())
            .map(|name| table.f64_column(&name))
            .collect::<Result<_>>()?;
        let count = table.row_count();
        match &states[..] {
            [] => return Ok(None),
            [only] => {
                let (steps, orders) = (table.u64_column("step")?, table.u64_column("order")?);
                let next = |row: usize| match steps[row] + 1 == orders[row] {
                    true => (row + 1).saturating_sub(orders[row] as usize),
                    false => row + 1,
                };
                return Ok(Some(View {
                    x: Axis::new("*x*(*t*)", "a.u."),
                    y: Axis::new("*x*(*t* + 1)", "a.u."),
                    places: (0..count)
                        .map(|row| [only[row], only.get(next(row)).copied().unwrap_or(f64::NAN)])
                        .collect(),
                    trajectories: None,
                    diagonal: Some(common_range(only, &[])),
                    words: "against the next",
                }));
            }
            _ => {}
        }
        let of_network = |name: &str| {
            let array = results.array("state_space", name)?;
            array.outer_iter().nth(network as usize)
        };
        let (Some(mean), Some(components)) = (of_network("mean"), of_network("components")) else {
            return Ok(Some(View {
                x: Axis::new("*x*_{1}", "a.u."),
                y: Axis::new("*x*_{2}", "a.u."),
                places: (0..count)
                    .map(|row| [states[0][row], states[1][row]])
                    .collect(),
                trajectories: None,
                diagonal: None,
                words: "in the first two coordinates",
            }));
        };
        let along = |row: usize, axis: usize| -> f64 {
            let Some(component) = components.outer_iter().nth(axis) else {
                return f64::NAN;
            };
            let terms = states.iter().zip(component.iter().zip(mean.iter()));
            terms.map(|(x, (c, mean))| (x[row] - mean) * c).sum()
        };
        Ok(Some(View {
            x: Axis::new("PC 1", "a.u."),
            y: Axis::new("PC 2", "a.u."),
            places: (0..count)
                .map(|row| [along(row, 0), along(row, 1)])
                .collect(),
            trajectories: trajectories(results, network)?,
            diagonal: None,
            words: "in the first two principal components of the trajectories",
        }))
    }
}

/// The trajectories of the state space as one line with gaps.
fn trajectories(results: &Results, network: u64) -> Result<Option<(Vec<f64>, Vec<f64>)>> {
    let Some(table) = results.table("state_space") else {
        return Ok(None);
    };
    let rows = rows_of_network(table, network)?;
    let trials = pick(table, "trial", &rows)?;
    let (pc_1, pc_2) = (pick(table, "pc_1", &rows)?, pick(table, "pc_2", &rows)?);
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for i in 0..rows.len().min(TRAJECTORY_STEPS) {
        if i > 0 && trials[i] != trials[i - 1] {
            x.push(f64::NAN);
            y.push(f64::NAN);
        }
        x.push(pc_1[i]);
        y.push(pc_2[i]);
    }
    Ok(Some((x, y)))
}
