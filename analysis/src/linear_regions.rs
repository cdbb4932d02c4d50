//! All fixed points and cycles of piecewise-linear maps, region by region.
//!
//! Within a linear region the map is z' = J z + c, so that along a sequence of k regions a cycle can only be
//!
//! ```text
//! z = (I - J_k ... J_1)^-1 (c_k + J_k c_k-1 + ... + J_k ... J_2 c_1)
//! ```
//!
//! and it is one if its states lie in the regions assumed; else it is virtual. In small systems every sequence of
//! regions is tried. In large ones the search goes on from a virtual cycle with the regions that its states do lie in,
//! which finds cycles after far fewer regions than chance would (L. Eisenmann, Z. Monfared, N. Goring & D. Durstewitz,
//! NeurIPS 2023).

use std::collections::{HashMap, HashSet};

use ndarray::{Array2, ArrayView2};
use rand::{Rng, RngExt};

use crate::cycles::{self, Cycle, settle};
use crate::dense::{Left, Lu, product};
use crate::{Dynamics, Error, Watch};

/// Sequences of regions between two looks at whether to go on.
const WATCHED: usize = 64;

/// How cycles are searched for.
#[derive(Clone, Debug, PartialEq)]
pub struct CycleSettings {
    /// Steps of a cycle, at least 1; 1 for fixed points.
    pub order: usize,
    /// Sequences of regions up to which all are tried. Default 200,000.
    pub exhaustive: usize,
    /// Else: random sequences of regions in a row that lead to nothing new before the search ends. Default 100.
    pub restarts: usize,
    /// And virtual cycles that are followed from each. Default 500.
    pub follow: usize,
}

impl CycleSettings {
    /// Cycles of `order` steps, with the defaults.
    pub fn new(order: usize) -> Self {
        Self {
            order,
            exhaustive: 200_000,
            restarts: 100,
            follow: 500,
        }
    }
}

/// What a search found, and how thorough it was.
#[derive(Clone, Debug, PartialEq)]
pub struct CycleSearch {
    /// The cycles, in the order of discovery. Each has exactly the order asked for, not a divisor of it; `found_from`
    /// counts the sequences of regions that led to it.
    pub cycles: Vec<Cycle>,
    /// Different regions that were met, those of the states given included.
    pub regions: usize,
    /// Sequences of regions that were solved.
    pub solved: usize,
    /// Whether every sequence of these regions was: then no cycle is missing whose states lie in them, unless I - J is
    /// singular along it.
    pub exhaustive: bool,
}

/// z' = J z + c.
struct Piece {
    jacobian: Vec<f64>,
    offset: Vec<f64>,
}

/// The map with what has been learned of its pieces.
struct Pieces<'a, D: ?Sized> {
    dynamics: &'a D,
    input: &'a [f64],
    known: Vec<Piece>,
    by_region: HashMap<Vec<bool>, usize>,
}

impl<D: Dynamics + ?Sized> Pieces<'_, D> {
    /// The piece that a state lies in.
    fn of(&mut self, state: &[f64]) -> Result<usize, Error> {
        let region = self
            .dynamics
            .linear_region(state, self.input)
            .ok_or(Error::NotPiecewiseLinear)?;
        if let Some(&known) = self.by_region.get(&region) {
            return Ok(known);
        }
        let dim = state.len();
        let mut offset = vec![0.0; dim];
        let mut jacobian = vec![0.0; dim * dim];
        self.dynamics
            .step_with_jacobian(state, self.input, &mut offset, &mut jacobian);
        for (c, row) in offset.iter_mut().zip(jacobian.chunks_exact(dim)) {
            *c -= row.iter().zip(state).map(|(j, z)| j * z).sum::<f64>();
        }
        self.known.push(Piece { jacobian, offset });
        self.by_region.insert(region, self.known.len() - 1);
        Ok(self.known.len() - 1)
    }

    /// The state at which a sequence of pieces would close; `None` where I - J is singular.
    fn close(&self, sequence: &[usize], lu: &mut Lu) -> Option<Vec<f64>> {
        let dim = self.dynamics.state_dim();
        let mut jacobian: Vec<f64> = (0..dim * dim)
            .map(|k| if k % (dim + 1) == 0 { 1.0 } else { 0.0 })
            .collect();
        let mut offset = vec![0.0; dim];
        let mut next = vec![0.0; dim * dim];
        for &piece in sequence {
            let piece = &self.known[piece];
            let left = Left {
                values: &piece.jacobian,
                row: dim,
                column: 1,
            };
            product(left, &jacobian, dim, dim, &mut next);
            std::mem::swap(&mut jacobian, &mut next);
            offset = piece
                .offset
                .iter()
                .zip(piece.jacobian.chunks_exact(dim))
                .map(|(c, row)| c + row.iter().zip(&offset).map(|(j, x)| j * x).sum::<f64>())
                .collect();
        }
        let system: Vec<f64> = jacobian
            .iter()
            .enumerate()
            .map(|(k, j)| if k % (dim + 1) == 0 { 1.0 - j } else { -j })
            .collect();
        if !lu.factor(&system) {
            return None;
        }
        lu.solve(&mut offset);
        offset.iter().all(|z| z.is_finite()).then_some(offset)
    }

    /// The states of `order` steps from `state`, `[step, state]`, and their pieces.
    fn roll(&mut self, state: &[f64], order: usize) -> Result<(Vec<f64>, Vec<usize>), Error> {
        let dim = state.len();
        let mut states = state.to_vec();
        let mut pieces = vec![self.of(state)?];
        let mut next = vec![0.0; dim];
        for step in 1..order {
            let last = &states[(step - 1) * dim..];
            self.dynamics.step(last, self.input, &mut next);
            states.extend_from_slice(&next);
            pieces.push(self.of(&next)?);
        }
        Ok((states, pieces))
    }
}

/// Searches for the cycles of a piecewise-linear map under a constant input.
///
/// `pool`, `[point, state]`, are states whose regions the search begins with: visited ones, or points of a box. All
/// sequences of their regions, and of those that virtual cycles lead to, are tried where they are few; else random ones,
/// each followed through the regions of the virtual cycles that it leads to. What is found is polished, proved and
/// described as all cycles are, see [`cycles`].
///
/// # Errors
/// [`Error::Shape`] and [`Error::TooFew`] where states or input do not fit the map, or there are none;
/// [`Error::NotPiecewiseLinear`]; [`Error::Setting`] for an order of 0; [`Error::Stopped`] where `watch` says so.
pub fn find_cycles<D: Dynamics + ?Sized>(
    dynamics: &D,
    pool: ArrayView2<'_, f64>,
    input: &[f64],
    settings: &CycleSettings,
    random: &mut impl Rng,
    watch: Watch,
) -> Result<CycleSearch, Error> {
    let dim = dynamics.state_dim();
    let order = settings.order;
    Error::check_shape("pool, columns", dim, pool.ncols())?;
    Error::check_shape("input", dynamics.input_dim(), input.len())?;
    if order == 0 {
        return Err(Error::Setting {
            what: "order",
            found: "0".to_owned(),
            allowed: "an integer, at least 1",
        });
    }
    let mut pieces = Pieces {
        dynamics,
        input,
        known: Vec::new(),
        by_region: HashMap::new(),
    };
    for state in pool.rows() {
        pieces.of(&state.to_vec())?;
    }
    if pieces.known.is_empty() {
        return Err(Error::TooFew {
            what: "pool of states",
            needed: 1,
            found: 0,
        });
    }
    let mut found = Found {
        cycles: Vec::new(),
        sequences: HashMap::new(),
        lu: Lu::new(dim),
        solved: 0,
    };
    // Virtual cycles lead to regions that were not known: with those it begins again.
    let mut tried = 0;
    let exhaustive = loop {
        let regions = pieces.known.len();
        if tried == regions {
            break true;
        }
        let sequences = u32::try_from(order)
            .ok()
            .and_then(|order| regions.checked_pow(order));
        let Some(sequences) = sequences.filter(|&count| count <= settings.exhaustive) else {
            break false;
        };
        for number in 0..sequences {
            if number.is_multiple_of(WATCHED) {
                Error::check_watch(watch, number as f64 / sequences as f64)?;
            }
            let mut rest = number;
            let sequence: Vec<usize> = (0..order)
                .map(|_| {
                    let piece = rest % regions;
                    rest /= regions;
                    piece
                })
                .collect();
            // Not again, and not the same cycle from another of its states.
            if sequence.iter().any(|&piece| piece >= tried) && first_rotation(&sequence) == sequence
            {
                found.try_sequence(&mut pieces, &sequence)?;
            }
        }
        tried = regions;
    };
    if !exhaustive {
        let regions = pieces.known.len();
        let mut fruitless = 0;
        while fruitless < settings.restarts {
            Error::check_watch(watch, fruitless as f64 / settings.restarts as f64)?;
            fruitless += 1;
            let mut sequence: Vec<usize> = (0..order)
                .map(|_| random.random_range(0..regions))
                .collect();
            let mut seen = HashSet::new();
            for _ in 0..settings.follow {
                if !seen.insert(sequence.clone()) {
                    break;
                }
                match found.try_sequence(&mut pieces, &sequence)? {
                    Closed::Cycle => {
                        fruitless = 0;
                        break;
                    }
                    Closed::Virtual(next) => sequence = next,
                    Closed::Nothing => break,
                }
            }
        }
    }
    Ok(CycleSearch {
        cycles: found.cycles,
        regions: pieces.known.len(),
        solved: found.solved,
        exhaustive,
    })
}

/// What became of a sequence of regions.
enum Closed {
    /// A cycle that was not known.
    Cycle,
    /// The regions that its states lie in.
    Virtual(Vec<usize>),
    /// A cycle that was known, one of fewer steps, or none.
    Nothing,
}

struct Found {
    cycles: Vec<Cycle>,
    /// Sequences of the cycles, each from its first rotation, and which cycle that is.
    sequences: HashMap<Vec<usize>, usize>,
    lu: Lu,
    solved: usize,
}

impl Found {
    fn try_sequence<D: Dynamics + ?Sized>(
        &mut self,
        pieces: &mut Pieces<'_, D>,
        sequence: &[usize],
    ) -> Result<Closed, Error> {
        self.solved += 1;
        let order = sequence.len();
        let Some(state) = pieces.close(sequence, &mut self.lu) else {
            return Ok(Closed::Nothing);
        };
        let dim = state.len();
        let (states, visited) = pieces.roll(&state, order)?;
        if !states.iter().all(|z| z.is_finite()) {
            return Ok(Closed::Nothing);
        }
        if visited != sequence {
            return Ok(Closed::Virtual(visited));
        }
        // Regions that repeat within the sequence are those of a cycle of fewer steps.
        let repeats = (1..order)
            .filter(|&part| order.is_multiple_of(part))
            .any(|part| (part..order).all(|k| sequence[k] == sequence[k - part]));
        if repeats {
            return Ok(Closed::Nothing);
        }
        let first = first_rotation(sequence);
        if let Some(&known) = self.sequences.get(&first) {
            self.cycles[known].found_from += 1;
            return Ok(Closed::Nothing);
        }
        self.sequences.insert(first, self.cycles.len());
        let states = Array2::from_shape_fn((order, dim), |(step, k)| states[step * dim + k]);
        let settings = cycles::CycleSettings::default();
        self.cycles
            .push(settle(pieces.dynamics, states, pieces.input, &settings));
        Ok(Closed::Cycle)
    }
}

/// The rotation of a sequence that comes first.
fn first_rotation(sequence: &[usize]) -> Vec<usize> {
    (0..sequence.len())
        .map(|k| [&sequence[k..], &sequence[..k]].concat())
        .min()
        .unwrap_or_default()
}
