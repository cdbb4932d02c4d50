//! Continuation: fixed points followed through a parameter, and the bifurcations that they meet.
//!
//! A [`Family`] is a map with one parameter, x' = F(x, p). [`continue_branch`] follows a fixed point of it in both
//! directions, [`continue_branches`] follows many and leaves out those that lie on a branch found before. A trained
//! network becomes a family as a [`NetworkFamily`].

mod curve;
mod network_family;

use std::f64::consts::TAU;

use nalgebra::Complex;
use ndarray::ArrayView2;

use crate::dense::{infinity_distance, infinity_norm};
use crate::{Error, Watch};
use curve::{Curve, Item, Place};
pub use network_family::{NetworkFamily, NetworkParameter};

/// Two states that are nearer than this fraction of max(1, |x|_inf) are one.
const SAME_STATE: f64 = 1e-6;

/// A discrete-time map x' = F(x, p) with one parameter p, and its derivatives, which are exact.
///
/// Slices have the lengths named below; an implementation overwrites every element of its outputs.
pub trait Family: Sync {
    /// Number of elements of the state x.
    fn state_dim(&self) -> usize;

    /// `next` = F(`state`, `parameter`), `[state]`; `jacobian` = dF/dx, row-major `[to, from]`; `by_parameter` = dF/dp,
    /// `[state]`.
    fn step_with_derivatives(
        &self,
        state: &[f64],
        parameter: f64,
        next: &mut [f64],
        jacobian: &mut [f64],
        by_parameter: &mut [f64],
    );

    /// Whether the derivatives jump: branches then have corners, and eigenvalues may jump over the unit circle.
    fn is_piecewise_smooth(&self) -> bool {
        false
    }
}

/// The ways in which a branch is followed from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// Both.
    Both,
    /// The one in which the parameter rises at the start.
    Rising,
    /// The one in which it falls.
    Falling,
}

/// How a branch is followed.
///
/// Lengths along a branch are those of ds^2 = |dx|^2 / n + (dp / (`to` - `from`))^2 for states of n elements.
#[derive(Clone, Debug, PartialEq)]
pub struct ContinuationSettings {
    /// The least parameter.
    pub from: f64,
    /// The largest parameter.
    pub to: f64,
    /// The ways to go. Default both.
    pub directions: Directions,
    /// The longest step. Default 0.02.
    pub max_step: f64,
    /// Largest angle between the tangents at two points that follow each other, in radians; steps are shortened until it
    /// holds. Default 0.2.
    pub max_angle: f64,
    /// Points of a branch in each direction after which it is left. Default 1000.
    pub max_points: usize,
    /// A branch is left where |x|_inf is larger. Default 1e3.
    pub largest_state: f64,
    /// Largest residual |x - F(x, p)|_inf of a point. Default 1e-12; 16 eps max(1, |x|_inf) where that is larger.
    pub tolerance: f64,
}

impl ContinuationSettings {
    /// Over the parameters `from` to `to`, with the defaults.
    pub fn new(from: f64, to: f64) -> Self {
        Self {
            from,
            to,
            directions: Directions::Both,
            max_step: 0.02,
            max_angle: 0.2,
            max_points: 1000,
            largest_state: 1e3,
            tolerance: 1e-12,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |what, found: f64, allowed| {
            Err(Error::Setting {
                what,
                found: found.to_string(),
                allowed,
            })
        };
        if !(self.from.is_finite() && self.to.is_finite() && self.from < self.to) {
            return wrong("to", self.to, "a finite number above `from`");
        }
        for (what, value) in [
            ("max_step", self.max_step),
            ("largest_state", self.largest_state),
            ("tolerance", self.tolerance),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return wrong(what, value, "a finite number above 0");
            }
        }
        if !(self.max_angle > 0.0 && self.max_angle <= 1.0) {
            return wrong("max_angle", self.max_angle, "a number above 0, up to 1");
        }
        Ok(())
    }
}

/// What happens to a fixed point at a bifurcation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BifurcationKind {
    /// The branch turns back and a real eigenvalue passes 1: two fixed points meet and vanish.
    Fold,
    /// A real eigenvalue passes -1: period doubling.
    Flip,
    /// A complex pair passes the unit circle: a closed invariant curve is born.
    NeimarkSacker,
    /// A real eigenvalue comes to 1 where the branch does not end: another branch crosses, at a transcritical or a
    /// pitchfork bifurcation.
    BranchPoint,
    /// The branch meets the border of two pieces of a piecewise smooth map, and eigenvalues jump over the unit circle.
    BorderCollision,
}

impl BifurcationKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Fold,
        Self::Flip,
        Self::NeimarkSacker,
        Self::BranchPoint,
        Self::BorderCollision,
    ];

    /// The name in tables: `fold`, `flip`, `neimark_sacker`, `branch_point`, `border_collision`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fold => "fold",
            Self::Flip => "flip",
            Self::NeimarkSacker => "neimark_sacker",
            Self::BranchPoint => "branch_point",
            Self::BorderCollision => "border_collision",
        }
    }
}

/// What a point of a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointKind {
    /// Where the branch was begun, or another start that lies on it.
    Start,
    /// One point of many.
    Regular,
    /// A bifurcation.
    Bifurcation(BifurcationKind),
    /// The first or last point.
    End,
}

impl PointKind {
    /// The name in tables: `start`, `regular`, `end`, or that of the bifurcation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Regular => "regular",
            Self::Bifurcation(kind) => kind.name(),
            Self::End => "end",
        }
    }
}

/// Why a branch ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At `from` or `to`.
    Parameter,
    /// The state is larger than allowed.
    State,
    /// After as many points as are allowed.
    Points,
    /// No step was short enough for the corrector.
    Stalled,
    /// The branch has come back to its start.
    Closed,
    /// This way was not asked for: the end is the start.
    NotFollowed,
}

impl End {
    /// The name in tables: `parameter`, `state`, `points`, `stalled`, `closed`, `not_followed`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parameter => "parameter",
            Self::State => "state",
            Self::Points => "points",
            Self::Stalled => "stalled",
            Self::Closed => "closed",
            Self::NotFollowed => "not_followed",
        }
    }
}

/// A fixed point on a branch.
#[derive(Clone, Debug, PartialEq)]
pub struct BranchPoint {
    /// What it is.
    pub kind: PointKind,
    /// Of the starts, the one that this is; see [`continue_branches`].
    pub start: Option<usize>,
    /// The state x, `[state]`.
    pub state: Vec<f64>,
    /// The parameter p.
    pub parameter: f64,
    /// Length of the branch from its first point to this one; see [`ContinuationSettings`].
    pub arclength: f64,
    /// |x - F(x, p)|_inf.
    pub residual: f64,
    /// dx/ds, `[state]`, along the branch.
    pub tangent: Vec<f64>,
    /// dp/ds.
    pub parameter_tangent: f64,
    /// Eigenvalues of dF/dx beyond the unit circle.
    pub n_unstable: usize,
    /// The largest |lambda|.
    pub spectral_radius: f64,
    /// The eigenvalue nearest to the unit circle, at a bifurcation the one that passes it; im >= 0.
    pub critical: Complex<f64>,
}

/// A bifurcation on a branch.
#[derive(Clone, Debug, PartialEq)]
pub struct Bifurcation {
    /// Its place in [`Branch::points`].
    pub point: usize,
    /// What it is.
    pub kind: BifurcationKind,
    /// The eigenvalue that passes the unit circle, im >= 0; where eigenvalues jump, the one nearest to it.
    pub critical: Complex<f64>,
    /// Unstable eigenvalues before it, along the branch.
    pub n_unstable_before: usize,
    /// Unstable eigenvalues after it.
    pub n_unstable_after: usize,
    /// Whether the parameter turns back here.
    pub turns: bool,
    /// It was located between two points whose parameters differ by so much.
    pub bracket: f64,
}

impl Bifurcation {
    /// |arg lambda| of the critical eigenvalue, in radians.
    pub fn angle(&self) -> f64 {
        self.critical.arg().abs()
    }

    /// Steps in which the critical mode turns once, 2 pi / angle; infinite for a real positive eigenvalue.
    pub fn period(&self) -> f64 {
        TAU / self.angle()
    }
}

/// A branch of fixed points.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// Its points in order. The parameter rises at the start where both ways were followed; where one was, the start
    /// comes first.
    pub points: Vec<BranchPoint>,
    /// The bifurcations in order.
    pub bifurcations: Vec<Bifurcation>,
    /// Why it ends at its first and at its last point.
    pub ends: [End; 2],
}

impl Branch {
    /// Whether it closes on itself: its first point is its last.
    pub fn is_closed(&self) -> bool {
        self.ends[1] == End::Closed
    }
}

/// Follows the fixed point of `family` beside `state` through the parameter, from `parameter` on.
///
/// Returns the branch: its points, each a fixed point with what its eigenvalues say, and the bifurcations, each of them
/// one of the points.
///
/// # Arguments
/// - `family`: the map, with exact derivatives.
/// - `state`: a fixed point, `[state]`, or a state from which Newton's method comes to one.
/// - `parameter`: the parameter that it belongs to, from `settings.from` to `settings.to`.
/// - `settings`: limits and steps; lengths as explained at [`ContinuationSettings`].
/// - `watch`: asked after every step.
///
/// # Method
/// Pseudo-arclength continuation of G(x, p) = F(x, p) - x = 0 (H. B. Keller): from a point y = (x, p) with unit tangent t,
/// G_y t = 0, the next is predicted at y + h t and corrected by Newton's method on G(z) = 0, t . (z - y - h t) = 0, which
/// does not mind that dx/dp is infinite at a fold. A step is halved until the corrector converges near by and the tangent
/// has turned little, and grows after steps that were easy.
///
/// Between two points the branch has bifurcated if dp/ds changes its sign, or one of the parities of the real eigenvalues
/// above 1 and below -1, or the number of unstable eigenvalues. The piece of the branch is then bisected, the point in
/// the middle being converged each time, and both halves are looked at in the same way, which tells apart several
/// bifurcations in one step; until the piece is about 1e-11 long, 1e-7 at a fold, where the parameter is exact to the square
/// of that. What changes there names the bifurcation: dp/ds and
/// an eigenvalue through 1 a fold; only one of these a branch point; an eigenvalue through -1 a flip; a pair
/// Neimark-Sacker. Two bifurcations that undo each other within one step, as two folds of a very narrow fold-back,
/// are not seen; shorter steps see them.
///
/// Where the map is piecewise smooth, branches have corners and sharp turns at the borders. A corner is stepped over; where
/// it turns the branch back, the tangent beyond the border is tried.
///
/// # Errors
/// [`Error::Setting`] for settings out of range or a parameter outside them, [`Error::Shape`] where the state does not
/// fit, [`Error::NotConverged`] where there is no fixed point beside the state, [`Error::Stopped`].
///
/// # Reference
/// H. B. Keller, Numerical solution of bifurcation and nonlinear eigenvalue problems (1977); Yu. A. Kuznetsov, Elements of
/// Applied Bifurcation Theory, chapters 4 and 10; for border collisions M. di Bernardo et al., Piecewise-smooth
/// Dynamical Systems (2008), chapter 3.
pub fn continue_branch<F: Family + ?Sized>(
    family: &F,
    state: &[f64],
    parameter: f64,
    settings: &ContinuationSettings,
    watch: Watch,
) -> Result<Branch, Error> {
    let mut curve = Curve::new(family, settings)?;
    let start = start_of(&mut curve, settings, state, parameter)?;
    let (items, ends) = both_ways(&mut curve, start, settings, watch)?;
    Ok(branch_of(&curve, &items, ends, &[]))
}

/// Branches through many fixed points of one family, every branch once.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// The branches, in the order of the starts that they were begun from.
    pub branches: Vec<Branch>,
    /// The branch that a start lies on, `[start]`; `None` where there is no fixed point beside it.
    pub branch_of: Vec<Option<usize>>,
}

/// Follows many fixed points of `family` at one parameter; one that lies on a branch of an earlier one is not followed
/// again.
///
/// Returns the branches, and which of them every start lies on. A start is a point of its branch, of kind
/// [`PointKind::Start`] unless it is a bifurcation or an end, with [`BranchPoint::start`] set.
///
/// # Arguments
/// As for [`continue_branch`], with `starts`, `[start, state]`.
///
/// # Method
/// [`continue_branch`] from one start after the other. Where a branch passes `parameter` again, the fixed point there is
/// converged; starts within 1e-6 max(1, |x|_inf) of it lie on this branch.
///
/// # Errors
/// As [`continue_branch`], but that a start without a fixed point beside it has no branch.
pub fn continue_branches<F: Family + ?Sized>(
    family: &F,
    starts: ArrayView2<'_, f64>,
    parameter: f64,
    settings: &ContinuationSettings,
    watch: Watch,
) -> Result<Continuation, Error> {
    Error::check_shape("starts, columns", family.state_dim(), starts.ncols())?;
    let mut curve = Curve::new(family, settings)?;
    let mut places = Vec::with_capacity(starts.nrows());
    for row in starts.rows() {
        places.push(
            match start_of(&mut curve, settings, &row.to_vec(), parameter) {
                Ok(place) => Some(place),
                Err(Error::NotConverged { .. }) => None,
                Err(error) => return Err(error),
            },
        );
    }
    let mut branches = Vec::new();
    let mut branch_of_start = vec![None; places.len()];
    for (first, start) in places.iter().enumerate() {
        let Some(start) = start.clone().filter(|_| branch_of_start[first].is_none()) else {
            continue;
        };
        let part_done = |part: f64| (first as f64 + part) / places.len() as f64;
        let (mut items, ends) = both_ways(&mut curve, start, settings, &mut |part| {
            watch(part_done(part))
        })?;
        let mut on_branch = Vec::new();
        for at in curve.cut_at(&mut items, parameter) {
            for (other, place) in places.iter().enumerate() {
                if let (Some(place), None) = (place, branch_of_start[other])
                    && is_same(curve.state(place), curve.state(&items[at].place))
                {
                    branch_of_start[other] = Some(branches.len());
                    on_branch.push((at, other));
                }
            }
        }
        branches.push(branch_of(&curve, &items, ends, &on_branch));
    }
    Ok(Continuation {
        branches,
        branch_of: branch_of_start,
    })
}

/// Whether two states are one.
pub(crate) fn is_same(a: &[f64], b: &[f64]) -> bool {
    infinity_distance(a, b) <= SAME_STATE * infinity_norm(a).max(1.0)
}

fn start_of<F: Family + ?Sized>(
    curve: &mut Curve<F>,
    settings: &ContinuationSettings,
    state: &[f64],
    parameter: f64,
) -> Result<Place, Error> {
    Error::check_shape("state", curve.state_dim(), state.len())?;
    if !(settings.from..=settings.to).contains(&parameter) {
        return Err(Error::Setting {
            what: "parameter",
            found: parameter.to_string(),
            allowed: "a number between `from` and `to`",
        });
    }
    curve
        .start(state, parameter)
        .ok_or(Error::NotConverged { what: "the start" })
}

/// The branch through a start in the directions asked for, as one list.
fn both_ways<F: Family + ?Sized>(
    curve: &mut Curve<F>,
    start: Place,
    settings: &ContinuationSettings,
    watch: Watch,
) -> Result<(Vec<Item>, [End; 2]), Error> {
    let away = match settings.directions {
        Directions::Falling => start.reversed(),
        _ => start.clone(),
    };
    let parts = if settings.directions == Directions::Both {
        0.5
    } else {
        1.0
    };
    let (forward, last) = curve.follow(&away, &mut |part| watch(parts * part))?;
    let (backward, first) = match settings.directions {
        _ if last == End::Closed => (Vec::new(), End::Closed),
        Directions::Both => curve.follow(&start.reversed(), &mut |part| watch(0.5 + 0.5 * part))?,
        _ => (Vec::new(), End::NotFollowed),
    };
    let mut items: Vec<Item> = backward.into_iter().rev().map(Item::reversed).collect();
    items.push(Item {
        place: away,
        event: None,
        is_start: true,
    });
    items.extend(forward);
    Ok((items, [first, last]))
}

/// A list of places as a branch; `starts` are pairs of a place in the list and the start that it is.
fn branch_of<F: Family + ?Sized>(
    curve: &Curve<F>,
    items: &[Item],
    ends: [End; 2],
    starts: &[(usize, usize)],
) -> Branch {
    let mut points: Vec<BranchPoint> = Vec::with_capacity(items.len());
    let mut bifurcations = Vec::new();
    let mut arclength = 0.0;
    for (at, item) in items.iter().enumerate() {
        if let Some(before) = at.checked_sub(1) {
            arclength += curve.distance(&items[before].place, &item.place);
        }
        let place = &item.place;
        let start = starts.iter().find(|(place, _)| *place == at);
        let kind = match &item.event {
            Some(event) => PointKind::Bifurcation(event.kind),
            None if at == 0 || at + 1 == items.len() => PointKind::End,
            None if item.is_start || start.is_some() => PointKind::Start,
            None => PointKind::Regular,
        };
        if let Some(event) = &item.event {
            bifurcations.push(Bifurcation {
                point: at,
                kind: event.kind,
                critical: event.critical,
                n_unstable_before: event.unstable[0],
                n_unstable_after: event.unstable[1],
                turns: event.turns,
                bracket: event.bracket,
            });
        }
        let (tangent, parameter_tangent) = curve.tangent(place);
        points.push(BranchPoint {
            kind,
            start: start.map(|(_, start)| *start),
            state: curve.state(place).to_vec(),
            parameter: curve.parameter(place),
            arclength,
            residual: place.residual,
            tangent,
            parameter_tangent,
            n_unstable: place.n_unstable,
            spectral_radius: place.spectral_radius(),
            critical: item
                .event
                .as_ref()
                .map_or_else(|| place.critical(), |event| event.critical),
        });
    }
    Branch {
        points,
        bifurcations,
        ends,
    }
}
