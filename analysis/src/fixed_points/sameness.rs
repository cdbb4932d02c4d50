//! Which candidates are one and the same point: those in a ball in which a fixed point is proved to be the only one, and
//! those that cannot be told apart.

use rayon::prelude::*;

use super::by_coordinates;
use super::from_start::{Ball, Candidate, Outcome, ball_around};
use crate::Dynamics;
use crate::certificates::{Certificate, Refusal, prove};
use crate::dense::{infinity_distance, infinity_norm};

/// Two fixed points this many uncertainties apart are two.
const SEPARATION: f64 = 8.0;

/// The fixed points that have been proved so far.
#[derive(Default)]
pub(super) struct Proved {
    /// Where no other fixed point is.
    pub(super) balls: Vec<Ball>,
    certificates: Vec<Certificate>,
    /// The start whose end was proved.
    starts: Vec<usize>,
}

impl Proved {
    /// Proves what has converged since, and lets every converged candidate in a ball join the point there.
    ///
    /// The result does not depend on the order of the candidates: they are taken in the order of their coordinates.
    pub(super) fn add<D: Dynamics + ?Sized>(
        &mut self,
        dynamics: &D,
        input: &[f64],
        candidates: &mut [Candidate],
        merge_tolerance: f64,
    ) {
        if dynamics.enclosure().is_none() {
            return;
        }
        let mut new: Vec<usize> = (0..candidates.len())
            .filter(|&start| kind(&candidates[start]) == Kind::Fixed)
            .collect();
        new.sort_by(|&a, &b| by_coordinates(&candidates[a].state, &candidates[b].state));
        // What is near one that has been seen is left to its proof: many starts converge to few points.
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for start in new {
            let candidate = &candidates[start];
            let near = |leader: &Candidate| {
                let radius = uncertainty_radius(leader, merge_tolerance);
                let pairs = leader.state.iter().zip(&candidate.state);
                pairs.clone().all(|(a, b)| (a - b).abs() <= radius)
            };
            match groups.iter_mut().find(|group| near(&candidates[group[0]])) {
                Some(group) => group.push(start),
                None => groups.push(vec![start]),
            }
        }
        let attempts: Vec<_> = groups
            .par_iter()
            .map(|members| {
                let state = &candidates[members[0]].state;
                match ball_around(&self.balls, state) {
                    Some(_) => None,
                    None => Some(prove(dynamics, state, input)),
                }
            })
            .collect();
        for (members, attempt) in groups.iter().zip(attempts) {
            let leader = members[0];
            match attempt {
                Some(Ok(certificate)) => {
                    let state = &candidates[leader].state;
                    let point = self.same_point(state, &certificate).unwrap_or_else(|| {
                        self.balls.push(Ball {
                            centre: state.clone(),
                            radius: certificate.uniqueness,
                        });
                        self.certificates.push(certificate);
                        self.starts.push(leader);
                        self.balls.len() - 1
                    });
                    candidates[leader].outcome = Outcome::Joined(point);
                }
                Some(Err(refusal)) => {
                    for &member in members {
                        candidates[member].refusal = Some(refusal);
                    }
                }
                None => {}
            }
        }
        for start in groups.into_iter().flatten() {
            let candidate = &mut candidates[start];
            if candidate.outcome == Outcome::Converged
                && let Some(ball) = ball_around(&self.balls, &candidate.state)
            {
                candidate.outcome = Outcome::Joined(ball);
            }
        }
    }

    /// The point that a certificate proves once more: the ball in which that point exists lies in the ball in which this
    /// one is unique, or the other way round. Where the balls of existence merely overlap nothing is decided; then too
    /// they count as one, so that no point is counted twice.
    fn same_point(&self, centre: &[f64], certificate: &Certificate) -> Option<usize> {
        let known = self.balls.iter().zip(&self.certificates);
        known.enumerate().find_map(|(point, (ball, known))| {
            let apart = infinity_distance(&ball.centre, centre);
            let reach = (known.existence + certificate.existence)
                .max(known.uniqueness - certificate.existence)
                .max(certificate.uniqueness - known.existence);
            (apart <= reach).then_some(point)
        })
    }

    /// For each proved point the starts that led to it, the one whose end it is first.
    pub(super) fn members(&self, candidates: &[Candidate]) -> Vec<Vec<usize>> {
        let mut members: Vec<Vec<usize>> = self.starts.iter().map(|&start| vec![start]).collect();
        for (start, candidate) in candidates.iter().enumerate() {
            if let Outcome::Joined(point) = candidate.outcome
                && self.starts[point] != start
            {
                members[point].push(start);
            }
        }
        members
    }

    /// What became of the proof for the point that `candidate` stands for; `None` where none was tried.
    pub(super) fn proof_of(&self, candidate: &Candidate) -> Option<Result<Certificate, Refusal>> {
        match candidate.outcome {
            Outcome::Joined(point) => Some(Ok(self.certificates[point])),
            Outcome::Converged => Some(Err(candidate.refusal.unwrap_or(Refusal::NoEnclosure))),
            _ => None,
        }
    }
}

/// The candidates that are one and the same point, as lists of starts, the kept one first.
pub(super) fn group(candidates: &[Candidate], merge_tolerance: f64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..candidates.len())
        .filter(|&start| !matches!(candidates[start].outcome, Outcome::Joined(_)))
        .collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&candidates[a], &candidates[b]);
        let kind = kind(a).cmp(&kind(b));
        kind.then_with(|| by_coordinates(&a.state, &b.state))
    });
    let sorted: Vec<&Candidate> = order.iter().map(|&start| &candidates[start]).collect();
    let radii: Vec<f64> = sorted
        .iter()
        .map(|candidate| match kind(candidate) {
            Kind::Fixed => uncertainty_radius(candidate, merge_tolerance),
            Kind::Slow => merge_radius(candidate, merge_tolerance),
            Kind::Other => 0.0,
        })
        .collect();
    let widest = radii.iter().copied().fold(0.0, f64::max);

    // Connected components: `parent` leads from each candidate to the first of its group.
    let mut parent: Vec<usize> = (0..sorted.len()).collect();
    for (i, a) in sorted.iter().enumerate() {
        if kind(a) == Kind::Other {
            continue;
        }
        for (j, b) in sorted.iter().enumerate().skip(i + 1) {
            // Sorted by the first coordinate, so nothing near comes after the first gap.
            if kind(b) != kind(a) || b.state[0] - a.state[0] > widest {
                break;
            }
            let (root_a, root_b) = (root(&mut parent, i), root(&mut parent, j));
            if root_a != root_b && infinity_distance(&a.state, &b.state) <= radii[i].max(radii[j]) {
                parent[root_a.max(root_b)] = root_a.min(root_b);
            }
        }
    }

    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of_root = vec![usize::MAX; sorted.len()];
    for (i, &start) in order.iter().enumerate() {
        let root = root(&mut parent, i);
        if root == i {
            group_of_root[i] = groups.len();
            groups.push(vec![start]);
            continue;
        }
        let members = &mut groups[group_of_root[root]];
        members.push(start);
        if sorted[i].speed < candidates[members[0]].speed {
            let last = members.len() - 1;
            members.swap(0, last);
        }
    }
    groups
}

/// The first of the group of `i`, with the way there halved for the next time.
fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

/// What candidates may be the same as each other by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Told apart by their uncertainty.
    Fixed,
    /// Told apart by the merge tolerance: minima of the speed, and what converged but could not be proved.
    Slow,
    /// Each for itself.
    Other,
}

fn kind(candidate: &Candidate) -> Kind {
    match candidate.outcome {
        Outcome::Converged if candidate.refusal.is_none() => Kind::Fixed,
        Outcome::Converged | Outcome::Stationary => Kind::Slow,
        _ => Kind::Other,
    }
}

fn uncertainty_radius(candidate: &Candidate, merge_tolerance: f64) -> f64 {
    (SEPARATION * candidate.uncertainty).min(merge_radius(candidate, merge_tolerance))
}

fn merge_radius(candidate: &Candidate, merge_tolerance: f64) -> f64 {
    merge_tolerance * infinity_norm(&candidate.state).max(1.0)
}
