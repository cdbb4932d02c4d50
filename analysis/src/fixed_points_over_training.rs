//! Fixed points followed through snapshots of a network in training: which are born, which die, which lose or gain
//! their stability, and when.

use nalgebra::Complex;
use rayon::prelude::*;

use crate::continuation::{
    BifurcationKind, Branch, BranchPoint, ContinuationSettings, Directions, Family,
    continue_branch, is_same,
};
use crate::{Error, Watch};

/// Points that are followed between two looks at the watch.
const AT_ONCE: usize = 16;

/// A fixed point of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackedPoint {
    /// The snapshot, from 0.
    pub snapshot: usize,
    /// The track that it lies on.
    pub track: usize,
    /// The state, `[state]`.
    pub state: Vec<f64>,
    /// Its place among the points that were given for the snapshot; `None` where only a branch led to it.
    pub given: Option<usize>,
    /// Eigenvalues beyond the unit circle; `None` where the point could not be followed at all.
    pub n_unstable: Option<usize>,
    /// The largest |lambda|.
    pub spectral_radius: Option<f64>,
}

/// How a track begins or ends between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// At a turn of its branch, together with the other track that meets it there.
    Bifurcation(BifurcationKind),
    /// The branch could not be followed any further.
    Lost,
}

impl Cause {
    /// The name in tables: that of the bifurcation, or `lost`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bifurcation(kind) => kind.name(),
            Self::Lost => "lost",
        }
    }
}

/// What happens to a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackEventKind {
    /// It begins.
    Birth(Cause),
    /// It ends.
    Death(Cause),
    /// An eigenvalue passes the unit circle, and it goes on.
    Stability(BifurcationKind),
}

/// Something that happens to a track between two snapshots.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackEvent {
    /// The snapshot before it.
    pub snapshot: usize,
    /// The part of the way to the next snapshot, from 0 to 1.
    pub part: f64,
    /// The track.
    pub track: usize,
    /// What happens.
    pub kind: TrackEventKind,
    /// The track that is born or dies with it.
    pub partner: Option<usize>,
    /// Where, `[state]`.
    pub state: Vec<f64>,
    /// Unstable eigenvalues before it; `None` at a birth.
    pub n_unstable_before: Option<usize>,
    /// Unstable eigenvalues after it; `None` at a death.
    pub n_unstable_after: Option<usize>,
    /// The eigenvalue that passes the unit circle, where one does.
    pub critical: Option<Complex<f64>>,
}

/// Fixed points through all snapshots.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracking {
    /// Every fixed point of every snapshot, by snapshot and track.
    pub points: Vec<TrackedPoint>,
    /// What happens between them, by snapshot and part.
    pub events: Vec<TrackEvent>,
    /// How many tracks there are; they are numbered in the order of their beginnings.
    pub tracks: usize,
}

/// Follows fixed points from every snapshot to the next.
///
/// Returns the points of every snapshot, each on its track through time, with the births, deaths and changes of stability
/// on the way. Two tracks that a fold connects are two tracks: in time, one point does not become the other.
///
/// # Arguments
/// - `families`: for every two consecutive snapshots the family that leads from one, at p = 0, to the next, at p = 1; see
///   [`NetworkFamily::between`](crate::continuation::NetworkFamily::between).
/// - `given`: for every snapshot, one more than there are families, the states of its fixed points, as a search found
///   them.
/// - `settings`: how branches are followed; limits and directions are set here.
/// - `watch`: asked between groups of points.
///
/// # Method
/// Every point of a snapshot is continued forwards, every point of the next one that no branch came to is continued
/// backwards (see [`continue_branch`]). Where a branch ends at a fixed point that was not given, this is added, and
/// continued as well, until nothing is new. Branches are then cut where p turns: of the two pieces at a turn, both are
/// born there if they lead to larger p, and both die there otherwise. Pieces of consecutive intervals that share a
/// fixed point are one track.
///
/// What happens between two snapshots is what happens on the straight line between their parameters, along which training
/// did not go; that a point was born between them holds for every way, but not that the stability came and went.
///
/// # Errors
/// [`Error::Shape`] where the numbers of snapshots, families and elements do not fit each other; those of
/// [`continue_branch`].
pub fn follow_fixed_points<F: Family>(
    families: &[F],
    given: &[Vec<Vec<f64>>],
    settings: &ContinuationSettings,
    watch: Watch,
) -> Result<Tracking, Error> {
    Error::check_shape("snapshots", families.len() + 1, given.len())?;
    let settings = ContinuationSettings {
        from: 0.0,
        to: 1.0,
        ..settings.clone()
    };
    let mut intervals = Intervals::new(given);
    loop {
        let mut is_new = false;
        for (interval, family) in families.iter().enumerate() {
            let done = interval as f64 / families.len() as f64;
            Error::check_watch(watch, done)?;
            for side in [Side::Before, Side::After] {
                is_new |= intervals.follow(interval, side, family, &settings, &mut || {
                    Error::check_watch(watch, done)
                })?;
            }
        }
        if !is_new {
            return Ok(intervals.tracking());
        }
    }
}

/// An end of an interval between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// A fixed point of a snapshot.
struct Node {
    state: Vec<f64>,
    given: Option<usize>,
    n_unstable: Option<usize>,
    spectral_radius: Option<f64>,
    /// Whether a branch goes from it into the interval before its snapshot and into that after it.
    is_followed: [bool; 2],
}

/// A fixed point at an end of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeAt {
    side: Side,
    index: usize,
}

/// A branch in an interval, from the fixed point that it was followed from.
struct Followed {
    branch: Branch,
    from: NodeAt,
    /// `None` where it was lost.
    to: Option<NodeAt>,
}

struct Intervals {
    /// By snapshot.
    nodes: Vec<Vec<Node>>,
    /// By interval.
    branches: Vec<Vec<Followed>>,
}

/// A piece of a branch on which p rises or falls, as it goes in time.
struct Piece {
    low: PieceEnd,
    high: PieceEnd,
    /// Bifurcations without a turn: their places in the branch.
    inner: Vec<usize>,
    rises: bool,
}

struct PieceEnd {
    meets: Meets,
    /// Place in the branch's points.
    point: usize,
    /// Unstable eigenvalues of the piece next to it.
    n_unstable: usize,
}

#[derive(Clone, Copy)]
enum Meets {
    Node(usize),
    /// A turn: the bifurcation's place, and the other piece's.
    Turn(usize, usize),
    Nothing,
}

impl Intervals {
    fn new(given: &[Vec<Vec<f64>>]) -> Self {
        let nodes: Vec<Vec<Node>> = given
            .iter()
            .map(|states| {
                let nodes = states.iter().enumerate().map(|(place, state)| Node {
                    state: state.clone(),
                    given: Some(place),
                    n_unstable: None,
                    spectral_radius: None,
                    is_followed: [false; 2],
                });
                nodes.collect()
            })
            .collect();
        let branches = (1..nodes.len()).map(|_| Vec::new()).collect();
        Intervals { nodes, branches }
    }

    fn node(&mut self, interval: usize, at: NodeAt) -> &mut Node {
        let snapshot = interval + usize::from(at.side == Side::After);
        &mut self.nodes[snapshot][at.index]
    }

    /// Follows what has not been followed from one side of an interval; whether there was anything.
    fn follow<F: Family>(
        &mut self,
        interval: usize,
        side: Side,
        family: &F,
        settings: &ContinuationSettings,
        check: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<bool, Error> {
        // The interval is the one after its first snapshot, and the one before its second.
        let (snapshot, way, parameter, directions) = match side {
            Side::Before => (interval, 1, 0.0, Directions::Rising),
            Side::After => (interval + 1, 0, 1.0, Directions::Falling),
        };
        let settings = ContinuationSettings {
            directions,
            ..settings.clone()
        };
        let open: Vec<usize> = (0..self.nodes[snapshot].len())
            .filter(|&index| !self.nodes[snapshot][index].is_followed[way])
            .collect();
        for group in open.chunks(AT_ONCE) {
            check()?;
            let branches: Vec<Result<Branch, Error>> = group
                .par_iter()
                .map(|&index| {
                    let state = &self.nodes[snapshot][index].state;
                    continue_branch(family, state, parameter, &settings, &mut |_| true)
                })
                .collect();
            for (&index, branch) in group.iter().zip(branches) {
                let from = NodeAt { side, index };
                // A branch that was followed before may have come here.
                if std::mem::replace(&mut self.node(interval, from).is_followed[way], true) {
                    continue;
                }
                match branch {
                    Ok(branch) => self.add(interval, from, branch),
                    Err(Error::NotConverged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(!open.is_empty())
    }

    fn add(&mut self, interval: usize, from: NodeAt, branch: Branch) {
        let Some(last) = branch.points.last() else {
            return;
        };
        describe(self.node(interval, from), &branch.points[0]);
        let side = match last.parameter {
            0.0 => Some(Side::Before),
            1.0 => Some(Side::After),
            _ => None,
        };
        let to = side.filter(|_| branch.points.len() > 1).and_then(|side| {
            let (snapshot, way) = match side {
                Side::Before => (interval, 1),
                Side::After => (interval + 1, 0),
            };
            let nodes = &mut self.nodes[snapshot];
            let index = match nodes
                .iter()
                .position(|node| is_same(&node.state, &last.state))
            {
                // Two branches cannot come to one point: one of them has jumped.
                Some(index) if nodes[index].is_followed[way] => return None,
                Some(index) => index,
                None => {
                    nodes.push(Node {
                        state: last.state.clone(),
                        given: None,
                        n_unstable: None,
                        spectral_radius: None,
                        is_followed: [false; 2],
                    });
                    nodes.len() - 1
                }
            };
            nodes[index].is_followed[way] = true;
            describe(&mut nodes[index], last);
            Some(NodeAt { side, index })
        });
        self.branches[interval].push(Followed { branch, from, to });
    }

    /// Puts the pieces together.
    fn tracking(&self) -> Tracking {
        let mut tracks = 0;
        let mut new_track = || {
            tracks += 1;
            tracks - 1
        };
        let mut events = Vec::new();
        let mut tracks_of: Vec<Vec<Option<usize>>> = self
            .nodes
            .iter()
            .map(|nodes| vec![None; nodes.len()])
            .collect();
        if let Some(first) = tracks_of.first_mut() {
            first
                .iter_mut()
                .for_each(|track| *track = Some(new_track()));
        }
        for (interval, branches) in self.branches.iter().enumerate() {
            let cut: Vec<(&Branch, Vec<Piece>)> = branches
                .iter()
                .map(|followed| (&followed.branch, pieces(followed)))
                .collect();
            // Tracks that are there come first, then those that are born, in order of time.
            let mut order: Vec<(usize, usize)> = Vec::new();
            for (b, (_, pieces)) in cut.iter().enumerate() {
                order.extend((0..pieces.len()).map(|p| (b, p)));
            }
            let begins = |&(b, p): &(usize, usize)| {
                let (branch, pieces) = &cut[b];
                branch.points[pieces[p].low.point].parameter
            };
            order.sort_by(|x, y| begins(x).total_cmp(&begins(y)).then(x.cmp(y)));
            let mut track_of: Vec<Vec<usize>> = cut
                .iter()
                .map(|(_, pieces)| vec![0; pieces.len()])
                .collect();
            for &(b, p) in &order {
                let piece = &cut[b].1[p];
                let known = match piece.low.meets {
                    Meets::Node(index) => tracks_of[interval][index],
                    _ => None,
                };
                let track = known.unwrap_or_else(&mut new_track);
                track_of[b][p] = track;
                if let Meets::Node(index) = piece.high.meets {
                    tracks_of[interval + 1][index] = Some(track);
                }
            }
            for &(b, p) in &order {
                let (branch, pieces) = &cut[b];
                let of = |piece: usize| track_of[b][piece];
                push_events(branch, &pieces[p], interval, of(p), &of, &mut events);
            }
            // What no branch leads to appears with the snapshot.
            for (index, track) in tracks_of[interval + 1].iter_mut().enumerate() {
                if track.is_none() {
                    let born = new_track();
                    *track = Some(born);
                    let node = &self.nodes[interval + 1][index];
                    events.push(TrackEvent {
                        snapshot: interval,
                        part: 1.0,
                        track: born,
                        kind: TrackEventKind::Birth(Cause::Lost),
                        partner: None,
                        state: node.state.clone(),
                        n_unstable_before: None,
                        n_unstable_after: node.n_unstable,
                        critical: None,
                    });
                }
            }
            // What no branch leads away from is lost at once.
            let followed: Vec<usize> = branches
                .iter()
                .flat_map(|followed| [Some(followed.from), followed.to])
                .flatten()
                .filter(|at| at.side == Side::Before)
                .map(|at| at.index)
                .collect();
            for (index, node) in self.nodes[interval].iter().enumerate() {
                if let (false, Some(track)) =
                    (followed.contains(&index), tracks_of[interval][index])
                {
                    events.push(TrackEvent {
                        snapshot: interval,
                        part: 0.0,
                        track,
                        kind: TrackEventKind::Death(Cause::Lost),
                        partner: None,
                        state: node.state.clone(),
                        n_unstable_before: node.n_unstable,
                        n_unstable_after: None,
                        critical: None,
                    });
                }
            }
        }
        events.sort_by(|a, b| {
            let parts = a.part.total_cmp(&b.part);
            a.snapshot
                .cmp(&b.snapshot)
                .then(parts)
                .then(a.track.cmp(&b.track))
        });
        let mut points: Vec<TrackedPoint> = Vec::new();
        for (snapshot, nodes) in self.nodes.iter().enumerate() {
            for (node, track) in nodes.iter().zip(&tracks_of[snapshot]) {
                if let Some(track) = *track {
                    points.push(TrackedPoint {
                        snapshot,
                        track,
                        state: node.state.clone(),
                        given: node.given,
                        n_unstable: node.n_unstable,
                        spectral_radius: node.spectral_radius,
                    });
                }
            }
        }
        points.sort_by_key(|point| (point.snapshot, point.track));
        Tracking {
            points,
            events,
            tracks,
        }
    }
}

fn describe(node: &mut Node, point: &BranchPoint) {
    node.n_unstable = Some(point.n_unstable);
    node.spectral_radius = Some(point.spectral_radius);
}

/// Cuts a branch where p turns.
fn pieces(followed: &Followed) -> Vec<Piece> {
    let branch = &followed.branch;
    let last = branch.points.len() - 1;
    let mut turns: Vec<usize> = (0..branch.bifurcations.len())
        .filter(|&b| branch.bifurcations[b].turns)
        .collect();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rises = followed.from.side == Side::Before;
    let mut begin = (Meets::Node(followed.from.index), 0);
    turns.push(usize::MAX);
    for (p, &turn) in turns.iter().enumerate() {
        let end = match (branch.bifurcations.get(turn), followed.to) {
            (Some(bifurcation), _) => (Meets::Turn(turn, p + 1), bifurcation.point),
            (None, Some(node)) if (node.side == Side::After) == rises => {
                (Meets::Node(node.index), last)
            }
            (None, _) => (Meets::Nothing, last),
        };
        // Next to a turn, which itself belongs to both pieces.
        let end_of = |(meets, point): (Meets, usize), at_end: bool| PieceEnd {
            meets,
            point,
            n_unstable: match meets {
                Meets::Turn(b, _) if at_end => branch.bifurcations[b].n_unstable_before,
                Meets::Turn(b, _) => branch.bifurcations[b].n_unstable_after,
                _ => branch.points[point].n_unstable,
            },
        };
        let (first, second) = (end_of(begin, false), end_of(end, true));
        let (low, high) = if rises {
            (first, second)
        } else {
            (second, first)
        };
        pieces.push(Piece {
            inner: (0..branch.bifurcations.len())
                .filter(|&b| {
                    let bifurcation = &branch.bifurcations[b];
                    !bifurcation.turns && (begin.1..=end.1).contains(&bifurcation.point)
                })
                .collect(),
            low,
            high,
            rises,
        });
        if let Meets::Turn(turn, _) = end.0 {
            begin = (Meets::Turn(turn, p), end.1);
        }
        rises = !rises;
    }
    pieces
}

fn push_events(
    branch: &Branch,
    piece: &Piece,
    snapshot: usize,
    track: usize,
    track_of: &dyn Fn(usize) -> usize,
    events: &mut Vec<TrackEvent>,
) {
    let mut push = |kind, point: usize, partner, unstable: [Option<usize>; 2], critical| {
        let point = &branch.points[point];
        events.push(TrackEvent {
            snapshot,
            part: point.parameter,
            track,
            kind,
            partner,
            state: point.state.clone(),
            n_unstable_before: unstable[0],
            n_unstable_after: unstable[1],
            critical,
        });
    };
    for (end, is_birth) in [(&piece.low, true), (&piece.high, false)] {
        let (cause, partner, critical) = match end.meets {
            Meets::Node(_) => continue,
            Meets::Turn(turn, other) => {
                let bifurcation = &branch.bifurcations[turn];
                let cause = Cause::Bifurcation(bifurcation.kind);
                (cause, Some(track_of(other)), Some(bifurcation.critical))
            }
            Meets::Nothing => (Cause::Lost, None, None),
        };
        let (kind, unstable) = if is_birth {
            (TrackEventKind::Birth(cause), [None, Some(end.n_unstable)])
        } else {
            (TrackEventKind::Death(cause), [Some(end.n_unstable), None])
        };
        push(kind, end.point, partner, unstable, critical);
    }
    for &inner in &piece.inner {
        let bifurcation = &branch.bifurcations[inner];
        let mut unstable = [
            Some(bifurcation.n_unstable_before),
            Some(bifurcation.n_unstable_after),
        ];
        if !piece.rises {
            unstable.reverse();
        }
        let kind = TrackEventKind::Stability(bifurcation.kind);
        push(
            kind,
            bifurcation.point,
            None,
            unstable,
            Some(bifurcation.critical),
        );
    }
}
