//! How the fixed points of every network came about: followed from each snapshot of training to the next.

use super::continuation::FirstComponent;
use super::fixed_points::{Search, constant_input};
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use nullcline_analysis::certificates::certify;
use nullcline_analysis::continuation::{ContinuationSettings, NetworkFamily};
use nullcline_analysis::fixed_points_over_training::{
    TrackEvent, TrackEventKind, TrackedPoint, follow_fixed_points,
};
use nullcline_data::Error;
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_models::ensemble::Ensemble;
use nullcline_tables::Table;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "fixed_points_over_training",
    summary: "fixed points followed through the snapshots of training: births, deaths, changes of stability",
    by_default: false,
    keys: &[
        Key {
            name: "max_step",
            kind: Kind::Number {
                min: 1e-6,
                max: 1.0,
            },
            default: Preset::Number(0.1),
            unit: "",
            doc: "Longest step along a branch: of the root mean square of the states, and of the way between two snapshots, together.",
        },
        Key {
            name: "max_points",
            kind: Kind::Integer {
                min: 1,
                max: 1_000_000,
            },
            default: Preset::Integer(1000),
            unit: "points",
            doc: "Points after which a branch between two snapshots is lost.",
        },
        Key {
            name: "largest_state",
            kind: Kind::Number {
                min: 1e-6,
                max: 1e12,
            },
            default: Preset::Number(1e3),
            unit: "units of the state",
            doc: "A branch is lost where the state grows beyond this, in the maximum norm.",
        },
    ],
    tables: &[
        TableDoc {
            name: "fixed_points_over_training",
            rows: "a row for every fixed point of every snapshot, the trained network being the last",
            columns: &[
                ("network", "the network, from 0"),
                ("update", "updates that the snapshot has had"),
                (
                    "branch",
                    "the same for one point through time, from 0 in every network in the order of birth",
                ),
                ("state_*", "the state x"),
                (
                    "pc_1",
                    "place along the first principal component of the trained network's trajectories",
                ),
                ("n_unstable", "eigenvalues beyond the unit circle"),
                ("spectral_radius", "modulus of the largest eigenvalue"),
                ("certified", "whether existence and uniqueness are proved"),
                (
                    "found_by_search",
                    "whether the search at this snapshot found it; elsewhere a branch led here",
                ),
            ],
        },
        TableDoc {
            name: "fixed_points_over_training_events",
            rows: "a row for every branch that is born, dies or changes its stability between two snapshots",
            columns: &[
                ("network", "the network, from 0"),
                (
                    "update",
                    "when, on the straight line between the parameters of the two snapshots",
                ),
                ("after_update", "the snapshot before it"),
                ("before_update", "the snapshot after it"),
                ("branch", "the branch in fixed_points_over_training"),
                (
                    "kind",
                    "birth, death; or of a branch that goes on flip, neimark_sacker, branch_point, border_collision",
                ),
                (
                    "cause",
                    "of a birth or death: fold, branch_point, border_collision, or lost where the branch could not be followed",
                ),
                ("partner", "the branch that is born or dies with it"),
                (
                    "n_unstable_before",
                    "unstable eigenvalues before it; empty at a birth",
                ),
                ("n_unstable_after", "after it; empty at a death"),
                (
                    "critical_re",
                    "real part of the eigenvalue that passes the unit circle",
                ),
                ("critical_im", "its imaginary part, not negative"),
                ("state_*", "the state x"),
                ("pc_1", "place along the first principal component"),
            ],
        },
    ],
    applies: |_, _| true,
    needs: &[],
    run,
};

/// A fixed point of a snapshot.
struct PointRow {
    network: u64,
    update: u64,
    point: TrackedPoint,
    pc_1: f64,
    certified: bool,
}

/// Something that happens between two snapshots.
struct EventRow {
    network: u64,
    after: u64,
    before: u64,
    event: TrackEvent,
    pc_1: f64,
}

impl EventRow {
    fn update(&self) -> f64 {
        self.after as f64 + self.event.part * (self.before - self.after) as f64
    }
}

fn run(context: &mut Context) -> Outcome<()> {
    let updates = context.snapshots.updates();
    if updates.len() < 2 {
        return Err(Error::argument(
            KIND.name,
            "no snapshots of training",
            "a run trained with at least one, such as snapshots = [0, 100, 200] in [training]",
        )
        .into());
    }
    let input = constant_input(context);
    let experiment = context.experiment;
    let Some(search_settings) = experiment.analysis(super::fixed_points::KIND.name) else {
        return Ok(());
    };
    let settings = ContinuationSettings {
        max_step: context.settings.number("max_step"),
        max_points: context.settings.count("max_points"),
        largest_state: context.settings.number("largest_state"),
        ..ContinuationSettings::new(0.0, 1.0)
    };
    let architecture = &context.ensemble.architecture;
    let ensembles: Vec<Ensemble> = updates
        .iter()
        .map(|&update| context.snapshots.read(update, architecture))
        .collect::<Outcome<_>>()?;
    let (mut points, mut events) = (Vec::new(), Vec::new());
    for network in 0..context.ensemble.len() {
        let component = FirstComponent::of(context, network)?;
        let mut maps = Vec::with_capacity(ensembles.len());
        let mut given = Vec::with_capacity(ensembles.len());
        let mut proofs: Vec<Vec<bool>> = Vec::with_capacity(ensembles.len());
        for ensemble in &ensembles {
            let search = Search::new(context, search_settings, ensemble, network)?;
            let (Some(map), Some(search)) = (ensemble.network(network), search) else {
                return Err(Error::argument(
                    "snapshots",
                    format!("{} networks", ensemble.len()),
                    format!("{}, as there are now", context.ensemble.len()),
                )
                .into());
            };
            let mut watch = context.watch(network);
            let found = search.run(&input, &mut |done| {
                // The searches are the larger half.
                watch(0.5 * (maps.len() as f64 + done) / ensembles.len() as f64)
            })?;
            proofs.push(found.fixed().map(|p| p.certificate().is_some()).collect());
            given.push(found.fixed().map(|p| p.state.clone()).collect());
            maps.push(map);
        }
        let families: Vec<NetworkFamily> = maps
            .windows(2)
            .map(|pair| NetworkFamily::between(pair[0].clone(), &pair[1], &input))
            .collect::<Result<_, _>>()
            .map_err(|error| failed("continuation between snapshots", error))?;
        let mut watch = context.watch(network);
        let tracking = follow_fixed_points(&families, &given, &settings, &mut |part| {
            watch(0.5 + 0.5 * part)
        })
        .map_err(|error| failed("continuation between snapshots", error))?;
        drop(watch);
        for point in tracking.points {
            let certified = match point.given {
                Some(given) => proofs[point.snapshot][given],
                None => certify(&maps[point.snapshot], &point.state, &input)
                    .map_err(|error| failed("proof of a fixed point", error))?
                    .is_ok(),
            };
            points.push(PointRow {
                network: network as u64,
                update: updates[point.snapshot],
                pc_1: component.place(&point.state)?,
                point,
                certified,
            });
        }
        for event in tracking.events {
            events.push(EventRow {
                network: network as u64,
                after: updates[event.snapshot],
                before: updates[event.snapshot + 1],
                pc_1: component.place(&event.state)?,
                event,
            });
        }
    }
    let state_dim = architecture.state_dim();
    context.add_table(KIND.name, point_table(&points, state_dim)?);
    context.add_table(
        "fixed_points_over_training_events",
        event_table(&events, state_dim)?,
    );
    Ok(())
}

fn point_table(rows: &[PointRow], state_dim: usize) -> nullcline_data::Result<Table> {
    let mut table = Table::new();
    let integers = |of: &dyn Fn(&PointRow) -> u64| rows.iter().map(of).collect::<Vec<u64>>();
    let numbers = |of: &dyn Fn(&PointRow) -> f64| rows.iter().map(of).collect::<Vec<f64>>();
    table.add("network", "", integers(&|row| row.network))?;
    table.add("update", "updates", integers(&|row| row.update))?;
    table.add("branch", "", integers(&|row| row.point.track as u64))?;
    for i in 0..state_dim {
        let column = numbers(&|row| row.point.state[i]);
        table.add(&format!("state_{i}"), "", column)?;
    }
    table.add("pc_1", "", numbers(&|row| row.pc_1))?;
    let unstable: Vec<Option<u64>> = rows
        .iter()
        .map(|row| row.point.n_unstable.map(|n| n as u64))
        .collect();
    table.add("n_unstable", "", unstable)?;
    let radii: Vec<Option<f64>> = rows.iter().map(|row| row.point.spectral_radius).collect();
    table.add("spectral_radius", "", radii)?;
    let certified: Vec<bool> = rows.iter().map(|row| row.certified).collect();
    table.add("certified", "", certified)?;
    let found: Vec<bool> = rows.iter().map(|row| row.point.given.is_some()).collect();
    table.add("found_by_search", "", found)?;
    Ok(table)
}

fn event_table(rows: &[EventRow], state_dim: usize) -> nullcline_data::Result<Table> {
    let mut table = Table::new();
    let integers = |of: &dyn Fn(&EventRow) -> u64| rows.iter().map(of).collect::<Vec<u64>>();
    let counts = |of: &dyn Fn(&EventRow) -> Option<usize>| -> Vec<Option<u64>> {
        rows.iter().map(|row| of(row).map(|n| n as u64)).collect()
    };
    table.add("network", "", integers(&|row| row.network))?;
    let updates: Vec<f64> = rows.iter().map(EventRow::update).collect();
    table.add("update", "updates", updates)?;
    table.add("after_update", "updates", integers(&|row| row.after))?;
    table.add("before_update", "updates", integers(&|row| row.before))?;
    table.add("branch", "", integers(&|row| row.event.track as u64))?;
    let kinds: Vec<&str> = rows
        .iter()
        .map(|row| match row.event.kind {
            TrackEventKind::Birth(_) => "birth",
            TrackEventKind::Death(_) => "death",
            TrackEventKind::Stability(kind) => kind.name(),
        })
        .collect();
    table.add("kind", "", kinds)?;
    let causes: Vec<Option<&str>> = rows
        .iter()
        .map(|row| match row.event.kind {
            TrackEventKind::Birth(cause) | TrackEventKind::Death(cause) => Some(cause.name()),
            TrackEventKind::Stability(_) => None,
        })
        .collect();
    table.add("cause", "", causes)?;
    table.add("partner", "", counts(&|row| row.event.partner))?;
    table.add(
        "n_unstable_before",
        "",
        counts(&|row| row.event.n_unstable_before),
    )?;
    table.add(
        "n_unstable_after",
        "",
        counts(&|row| row.event.n_unstable_after),
    )?;
    let re: Vec<Option<f64>> = rows
        .iter()
        .map(|row| row.event.critical.map(|c| c.re))
        .collect();
    table.add("critical_re", "", re)?;
    let im: Vec<Option<f64>> = rows
        .iter()
        .map(|row| row.event.critical.map(|c| c.im))
        .collect();
    table.add("critical_im", "", im)?;
    for i in 0..state_dim {
        let column: Vec<f64> = rows.iter().map(|row| row.event.state[i]).collect();
        table.add(&format!("state_{i}"), "", column)?;
    }
    let places: Vec<f64> = rows.iter().map(|row| row.pc_1).collect();
    table.add("pc_1", "", places)?;
    Ok(table)
}
