//! The linear regions that an orbit of a piecewise-linear map visits: which, for how long, and in what order.
//!
//! Within a region the map is z' = J z + c. Where the orbit stays in one region it does what that linear map does: it
//! turns about, and comes to or leaves, the fixed point z* = (I - J)^-1 c, which is one of the whole map only where it
//! lies in the region itself; elsewhere it is virtual, and pulls or pushes the orbit without ever being met. How few
//! regions carry how much of an attractor says how much nonlinearity it needs (M. Brenner, C. J. Hemmer, Z. Monfared &
//! D. Durstewitz, "Almost-Linear RNNs Yield Highly Interpretable Symbolic Codes in Dynamical Systems Reconstruction",
//! NeurIPS 2024).

use std::collections::{BTreeMap, HashMap};

use nalgebra::{Complex, DMatrix};
use ndarray::Array2;
use rayon::prelude::*;

use crate::dense::{Lu, identity_minus};
use crate::free_run::Stop;
use crate::linearization::{eigenvalues, falling};
use crate::{Dynamics, Error, Watch};

/// Steps between two looks at the watch.
const WATCHED: usize = 256;

/// How an orbit is followed through the regions.
#[derive(Clone, Debug, PartialEq)]
pub struct VisitSettings {
    /// States of the orbit that are looked at.
    pub steps: usize,
    /// Steps before them, in which the state comes to the attractor. Default 1000.
    pub transient: usize,
    /// The orbit ends at the first state with |x|_inf above this. Default 1e6.
    pub bound: f64,
    /// Regions whose linear map is described, the most visited ones. Default 200.
    pub described: usize,
}

impl VisitSettings {
    /// `steps` states, with the defaults.
    pub fn new(steps: usize) -> Self {
        Self {
            steps,
            transient: 1000,
            bound: 1e6,
            described: 200,
        }
    }
}

/// The linear map of a region.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionMap {
    /// The eigenvalues of J, by modulus falling.
    pub eigenvalues: Vec<Complex<f64>>,
    /// z* = (I - J)^-1 c; `None` where I - J is singular.
    pub fixed_point: Option<Vec<f64>>,
    /// Whether z* lies in the region: it is then a fixed point of the whole map.
    pub fixed_point_inside: bool,
}

impl RegionMap {
    /// The largest modulus of an eigenvalue.
    pub fn spectral_radius(&self) -> f64 {
        self.eigenvalues.first().map_or(0.0, |lambda| lambda.norm())
    }

    /// Eigenvalues beyond the unit circle.
    pub fn n_unstable(&self) -> usize {
        let moduli = self.eigenvalues.iter().map(|lambda| lambda.norm());
        moduli.filter(|modulus| *modulus > 1.0).count()
    }
}

/// A region that the orbit visits.
#[derive(Clone, Debug, PartialEq)]
pub struct VisitedRegion {
    /// Which rectified units are active, see [`Dynamics::linear_region`].
    pub pattern: Vec<bool>,
    /// States of the orbit in the region.
    pub visits: usize,
    /// `visits` over all states of the orbit.
    pub occupancy: f64,
    /// Times that the orbit entered the region, its beginning included.
    pub stays: usize,
    /// The longest stay, in steps. The first and the last stay of the orbit may be cut off.
    pub longest_stay: usize,
    /// The first state of the orbit that lies in it.
    pub first_visit: usize,
    /// The linear map; `None` for regions that are not among those described.
    pub map: Option<RegionMap>,
}

impl VisitedRegion {
    /// Rectified units that are active.
    pub fn n_active(&self) -> usize {
        self.pattern.iter().filter(|active| **active).count()
    }

    /// The mean stay, in steps.
    pub fn mean_stay(&self) -> f64 {
        self.visits as f64 / self.stays as f64
    }
}

/// From one region to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// The region left.
    pub from: usize,
    /// The region entered, another one.
    pub to: usize,
    /// How often.
    pub count: usize,
    /// `count` over all times that `from` was left.
    pub probability: f64,
}

/// An orbit and its regions.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionsVisited {
    /// The regions, by occupancy falling; of equals the one visited first.
    pub regions: Vec<VisitedRegion>,
    /// Transitions between different regions, by `from`, then `to`.
    pub transitions: Vec<Transition>,
    /// The states after the transient, `[time, state]`.
    pub states: Array2<f64>,
    /// The region of each state, a place in `regions`, `[time]`.
    pub sequence: Vec<usize>,
    /// Why the orbit ended early, steps counted from the start; `None` where it went to its end.
    pub stop: Option<Stop>,
}

/// What is counted while an orbit goes on.
struct Counted {
    pattern: Vec<bool>,
    visits: usize,
    stays: usize,
    stay: usize,
    longest_stay: usize,
    first_visit: usize,
}

/// Follows the free orbit of x' = F(x, u) from `start` under a constant input through the linear regions of the map.
///
/// Returns the regions visited with their occupancies, stays and linear maps, the transitions between them, and the orbit
/// with the region of each state; see [`RegionsVisited`].
///
/// # Arguments
/// - `dynamics`: a piecewise-linear map.
/// - `start`, `[state]`, and `input`, `[input]`.
/// - `settings`: lengths, and how many regions are described.
/// - `watch`: whoever waits.
///
/// # Errors
/// [`Error::NotPiecewiseLinear`]; [`Error::Shape`] where start or input do not fit the map;
/// [`Error::EigenvaluesNotConverged`]; [`Error::Stopped`].
///
/// # Reference
/// Brenner et al. 2024; L. Eisenmann, Z. Monfared, N. Goring & D. Durstewitz, NeurIPS 2023, for the fixed points of
/// regions.
pub fn regions_visited<D: Dynamics + ?Sized>(
    dynamics: &D,
    start: &[f64],
    input: &[f64],
    settings: &VisitSettings,
    watch: Watch,
) -> Result<RegionsVisited, Error> {
    let dim = dynamics.state_dim();
    Error::check_shape("start", dim, start.len())?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    let total = settings.transient.saturating_add(settings.steps);
    let mut counted: Vec<Counted> = Vec::new();
    let mut known: HashMap<Vec<bool>, usize> = HashMap::new();
    let mut changes: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    let mut sequence: Vec<usize> = Vec::new();
    let mut kept: Vec<f64> = Vec::new();
    let mut stop = None;
    let mut state = start.to_vec();
    let mut next = vec![0.0; dim];
    for step in 0..total {
        if step.is_multiple_of(WATCHED) {
            Error::check_watch(watch, step as f64 / total as f64)?;
        }
        if !state.iter().all(|x| x.is_finite()) {
            stop = Some(Stop::NotFinite { step });
            break;
        }
        if state.iter().any(|x| x.abs() > settings.bound) {
            stop = Some(Stop::BeyondBound { step });
            break;
        }
        if step >= settings.transient {
            let pattern = dynamics
                .linear_region(&state, input)
                .ok_or(Error::NotPiecewiseLinear)?;
            let time = sequence.len();
            let region = *known.entry(pattern).or_insert_with_key(|pattern| {
                counted.push(Counted {
                    pattern: pattern.clone(),
                    visits: 0,
                    stays: 0,
                    stay: 0,
                    longest_stay: 0,
                    first_visit: time,
                });
                counted.len() - 1
            });
            let last = sequence.last().copied();
            let own = &mut counted[region];
            own.visits += 1;
            if last != Some(region) {
                own.stays += 1;
                own.stay = 0;
                if let Some(last) = last {
                    *changes.entry((last, region)).or_default() += 1;
                }
            }
            own.stay += 1;
            own.longest_stay = own.longest_stay.max(own.stay);
            sequence.push(region);
            kept.extend_from_slice(&state);
        }
        dynamics.step(&state, input, &mut next);
        std::mem::swap(&mut state, &mut next);
    }

    let mut order: Vec<usize> = (0..counted.len()).collect();
    // Stable: of equals the one visited first.
    order.sort_by_key(|&region| std::cmp::Reverse(counted[region].visits));
    let mut rank = vec![0; order.len()];
    for (place, &region) in order.iter().enumerate() {
        rank[region] = place;
    }
    let states = Array2::from_shape_fn((sequence.len(), dim), |(t, k)| kept[t * dim + k]);
    let regions = order
        .par_iter()
        .enumerate()
        .map(|(place, &region)| {
            let own = &counted[region];
            let map = if place < settings.described {
                let inside = states.row(own.first_visit).to_vec();
                Some(describe(dynamics, &inside, input, &own.pattern)?)
            } else {
                None
            };
            Ok(VisitedRegion {
                pattern: own.pattern.clone(),
                visits: own.visits,
                occupancy: own.visits as f64 / sequence.len() as f64,
                stays: own.stays,
                longest_stay: own.longest_stay,
                first_visit: own.first_visit,
                map,
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let mut left = vec![0usize; order.len()];
    for ((from, _), count) in &changes {
        left[*from] += count;
    }
    let mut transitions: Vec<Transition> = changes
        .into_iter()
        .map(|((from, to), count)| Transition {
            from: rank[from],
            to: rank[to],
            count,
            probability: count as f64 / left[from] as f64,
        })
        .collect();
    transitions.sort_by_key(|transition| (transition.from, transition.to));
    sequence
        .iter_mut()
        .for_each(|region| *region = rank[*region]);
    Ok(RegionsVisited {
        regions,
        transitions,
        states,
        sequence,
        stop,
    })
}

/// The linear map of the region that a state lies in.
fn describe<D: Dynamics + ?Sized>(
    dynamics: &D,
    state: &[f64],
    input: &[f64],
    pattern: &[bool],
) -> Result<RegionMap, Error> {
    let dim = state.len();
    let mut offset = vec![0.0; dim];
    let mut jacobian = vec![0.0; dim * dim];
    dynamics.step_with_jacobian(state, input, &mut offset, &mut jacobian);
    // c = F(z) - J z
    for (c, row) in offset.iter_mut().zip(jacobian.chunks_exact(dim)) {
        *c -= row.iter().zip(state).map(|(j, z)| j * z).sum::<f64>();
    }
    let mut eigenvalues = eigenvalues(&DMatrix::from_row_slice(dim, dim, &jacobian))?;
    eigenvalues.sort_by(falling);
    let mut lu = Lu::new(dim);
    let solvable = identity_minus(&mut jacobian, dim) && lu.factor(&jacobian);
    let fixed_point = solvable.then(|| {
        lu.solve(&mut offset);
        offset
    });
    let fixed_point = fixed_point.filter(|z| z.iter().all(|z| z.is_finite()));
    let region = fixed_point
        .as_ref()
        .and_then(|z| dynamics.linear_region(z, input));
    Ok(RegionMap {
        eigenvalues,
        fixed_point_inside: region.as_deref() == Some(pattern),
        fixed_point,
    })
}
