//! Closed orbits of networks that learned a recording, and beside them those of the true system where it is known.

use super::fixed_points::constant_input;
use super::free_run::{TRANSIENT, free_run_steps};
use super::power_spectrum::comes_to_rest;
use super::true_system::{Picture, SAMPLES};
use super::{AnalysisKind, Context, TableDoc, failed};
use crate::session::Outcome;
use ndarray::{Array2, s};
use nullcline_analysis::free_run::{FreeRunSettings, RunInput, free_run};
use nullcline_analysis::periodic_orbits::{
    PeriodicOrbit, PeriodicOrbitSettings, SeenOrbit, find_periodic_orbits, match_orbits,
};
use nullcline_data::settings::{Key, Kind, Preset};
use nullcline_tables::Table;
use nullcline_tasks::Split;

/// The registry's entry.
pub const KIND: AnalysisKind = AnalysisKind {
    name: "periodic_orbits",
    summary: "periodic orbits of networks that learned a recording, stable and unstable, beside those of the true system where it is known; under the input at rest",
    by_default: true,
    keys: &[
        free_run_steps(50_000),
        TRANSIENT,
        Key {
            name: "longest",
            kind: Kind::Integer {
                min: 3,
                max: 1_000_000,
            },
            default: Preset::Integer(1000),
            unit: "steps",
            doc: "Longest period that is searched for.",
        },
        Key {
            name: "orbits",
            kind: Kind::Integer {
                min: 1,
                max: 100_000,
            },
            default: Preset::Integer(20),
            unit: "",
            doc: "The search goes from short periods to long ones and ends once it has found so many orbits. Where the true system is known, this holds for it, and networks are searched up to the same period.",
        },
        Key {
            name: "near",
            kind: Kind::Number {
                min: 1e-6,
                max: 0.5,
            },
            default: Preset::Number(0.1),
            unit: "",
            doc: "Where the free run comes back as near as this to where it was, after it was twice as far, the search begins; as a part of its root mean square distance from its mean.",
        },
        Key {
            name: "returns",
            kind: Kind::Integer { min: 1, max: 1000 },
            default: Preset::Integer(4),
            unit: "",
            doc: "Such returns that are followed for every number of steps, the nearest ones.",
        },
    ],
    tables: &[
        TableDoc {
            name: "periodic_orbits",
            rows: "a row for every closed orbit of every network and of the true system",
            columns: &[
                ("network", "the network, from 0; empty for the true system"),
                ("orbit", "the orbit, from 0, by period"),
                ("period", "in steps, a real number"),
                (
                    "period_in_time",
                    "in the time of the system or the recording",
                ),
                (
                    "residual",
                    "how far the orbit is from closed, in the maximum norm",
                ),
                (
                    "n_unstable",
                    "multipliers beyond the unit circle, without the trivial one",
                ),
                (
                    "multiplier_re",
                    "real part of the largest multiplier but the trivial one: growth over a period",
                ),
                ("multiplier_im", "imaginary part of it"),
                (
                    "along",
                    "the trivial multiplier, that along the orbit, taken to be the real one nearest to 1: 1 for a flow; how far it is from that says how well the map is a smooth flow, and its multipliers defined: those of piecewise-linear networks change from region to region",
                ),
                ("found_from", "returns that led here"),
                (
                    "true_orbit",
                    "of a network's orbit, the true one that is its partner; empty where there is none",
                ),
                (
                    "distance",
                    "mean distance of the two from each other, in the coordinates of the task",
                ),
            ],
        },
        TableDoc {
            name: "periodic_orbits.npz",
            rows: "the orbits to draw, the first point again at the end",
            columns: &[
                ("recorded", "[time, axis] the test part, or its beginning"),
                ("true_*", "[point, axis] this orbit of the true system"),
                (
                    "network_*",
                    "[point, axis] the orbit of a network: its number, an underscore, and that of the orbit",
                ),
            ],
        },
    ],
    applies: |task, _| task.recording(Split::HeldOut).is_some(),
    needs: &[],
    run,
};

/// How much longer than the longest true orbit those of a network may be, as a part of it.
const BEYOND: f64 = 1.02;
/// How many times as many orbits a network may have up to that period.
const MORE: usize = 5;

/// The columns of the table.
#[derive(Default)]
struct Rows {
    network: Vec<Option<u64>>,
    orbit: Vec<u64>,
    period: Vec<f64>,
    residual: Vec<f64>,
    n_unstable: Vec<u64>,
    multiplier: [Vec<Option<f64>>; 2],
    along: Vec<Option<f64>>,
    found_from: Vec<u64>,
    partner: Vec<Option<u64>>,
    distance: Vec<Option<f64>>,
}

impl Rows {
    fn push(
        &mut self,
        network: Option<u64>,
        index: usize,
        orbit: &PeriodicOrbit,
        partner: Option<(usize, f64)>,
    ) {
        self.network.push(network);
        self.orbit.push(index as u64);
        self.period.push(orbit.period);
        self.residual.push(orbit.residual);
        self.n_unstable.push(orbit.n_unstable() as u64);
        let largest = orbit.multipliers.first();
        let [re, im] = &mut self.multiplier;
        re.push(largest.map(|multiplier| multiplier.re));
        im.push(largest.map(|multiplier| multiplier.im));
        self.along.push(orbit.along);
        self.found_from.push(orbit.found_from as u64);
        self.partner.push(partner.map(|(k, _)| k as u64));
        self.distance.push(partner.map(|(_, distance)| distance));
    }
}

fn run(context: &mut Context) -> Outcome<()> {
    let task = context.task;
    let Some(recording) = task.recording(Split::HeldOut) else {
        return Ok(());
    };
    let values = recording.values.mapv(f64::from);
    let steps = context.settings.count("steps");
    let settings = PeriodicOrbitSettings {
        longest: context.settings.count("longest"),
        near: context.settings.number("near"),
        returns: context.settings.count("returns"),
        orbits: context.settings.count("orbits"),
        ..PeriodicOrbitSettings::default()
    };
    let picture = Picture::new(values.view())?;
    let shown = values.slice(s![..values.nrows().min(SAMPLES), ..]);
    let mut arrays = vec![("recorded".to_owned(), picture.places(shown).into_dyn())];
    let mut rows = Rows::default();

    let mut truth = Vec::new();
    if let Some(generator) = task.system() {
        let control = context.control;
        let seen = values.slice(s![..values.nrows().min(steps), ..]);
        truth = find_periodic_orbits(&generator.flow(), &[], seen, &settings, &mut |_| {
            !control.is_stopped()
        })
        .map_err(|error| failed("closed orbits of the true system", error))?;
        for (k, orbit) in truth.iter().enumerate() {
            rows.push(None, k, orbit, None);
            let places = picture.places(orbit.points.view());
            arrays.push((format!("true_{k}"), places.into_dyn()));
        }
    }

    // Two lists that end at different periods cannot be compared.
    let of_networks = match truth.last() {
        Some(last) if truth.len() == settings.orbits => PeriodicOrbitSettings {
            longest: settings.longest.min((BEYOND * last.period).ceil() as usize),
            orbits: MORE * settings.orbits,
            ..settings.clone()
        },
        _ => settings.clone(),
    };
    let input = constant_input(context);
    let transient = context.settings.count("transient");
    for network in 0..context.ensemble.len() {
        context.control.check()?;
        let Some(map) = context.ensemble.network(network) else {
            continue;
        };
        let start = map.state_from_observation(&values.row(0).to_vec());
        let length = FreeRunSettings::new(transient.saturating_add(steps));
        let run = free_run(&map, &start, RunInput::Constant(&input), &length)
            .map_err(|error| failed("free run", error))?;
        if run.stop.is_some() || comes_to_rest(run.states.view(), transient) {
            continue;
        }
        let orbits = find_periodic_orbits(
            &map,
            &input,
            run.states.slice(s![transient.., ..]),
            &of_networks,
            &mut context.watch(network),
        )
        .map_err(|error| failed("closed orbits of a network", error))?;
        let seen: Vec<Array2<f64>> = orbits
            .iter()
            .map(|orbit| map.readouts(orbit.points.view()))
            .collect();
        let pairs = match_orbits(&as_seen(&orbits, &seen), &as_seen_themselves(&truth))
            .map_err(|error| failed("pairs of closed orbits", error))?;
        for (k, ((orbit, seen), pair)) in orbits.iter().zip(&seen).zip(pairs).enumerate() {
            rows.push(Some(network as u64), k, orbit, pair);
            let places = picture.places(seen.view());
            arrays.push((format!("network_{network}_{k}"), places.into_dyn()));
        }
    }

    let step = task.time_per_step();
    let (dt, time_unit) = match &step {
        Some(step) => (step.duration, step.unit),
        None => (f64::NAN, ""),
    };
    let in_time: Vec<f64> = rows.period.iter().map(|period| dt * period).collect();
    let unit = task.output_unit();
    let mut table = Table::new();
    let names = picture.names(&recording.names).join("\n");
    table.metadata.insert("axes".to_owned(), names);
    table.metadata.insert("unit".to_owned(), unit.to_owned());
    table.add("network", "", rows.network)?;
    table.add("orbit", "", rows.orbit)?;
    table.add("period", "steps", rows.period)?;
    table.add("period_in_time", time_unit, in_time)?;
    table.add("residual", "units of the state", rows.residual)?;
    table.add("n_unstable", "", rows.n_unstable)?;
    let [re, im] = rows.multiplier;
    table.add("multiplier_re", "", re)?;
    table.add("multiplier_im", "", im)?;
    table.add("along", "", rows.along)?;
    table.add("found_from", "", rows.found_from)?;
    table.add("true_orbit", "", rows.partner)?;
    table.add("distance", unit, rows.distance)?;
    context.add_table("periodic_orbits", table);
    context.add_arrays("periodic_orbits", arrays);
    Ok(())
}

/// Orbits of a network with what the readout shows of each.
fn as_seen<'a>(orbits: &[PeriodicOrbit], seen: &'a [Array2<f64>]) -> Vec<SeenOrbit<'a>> {
    let pairs = orbits.iter().zip(seen);
    pairs
        .map(|(orbit, points)| SeenOrbit {
            period: orbit.period,
            points: points.view(),
        })
        .collect()
}

/// Orbits of the system, whose state is what is seen.
fn as_seen_themselves(orbits: &[PeriodicOrbit]) -> Vec<SeenOrbit<'_>> {
    orbits
        .iter()
        .map(|orbit| SeenOrbit {
            period: orbit.period,
            points: orbit.points.view(),
        })
        .collect()
}
