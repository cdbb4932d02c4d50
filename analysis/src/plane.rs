//! A plane through the state space, with a grid on it; of a state of one dimension, a line.

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::Error;

/// What is left of a direction after those before it, over its length, below which it counts as along them.
const LEAST_PART: f64 = 1e-9;

/// A plane through the state space, or a line, with a square grid of points on it.
///
/// A place on it is given by its coordinates along the directions, in units of the state, from the origin. The grid
/// points are the middles of equal cells that fill the ranges: rows run along the second direction, from its lower end
/// up, columns along the first. A line has a grid of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    origin: Vec<f64>,
    /// Orthonormal, `[axis, state]`, one row or two.
    directions: Array2<f64>,
    ranges: Vec<(f64, f64)>,
    points: usize,
}

impl Plane {
    /// The plane, or line, from `origin`, `[state]`, along one or two `directions`, `[axis, state]`, which need be neither
    /// of unit length nor orthogonal: the second is made so by taking the first off it. Its ranges are -1 to 1, with
    /// `points` grid points along each.
    ///
    /// # Errors
    /// [`Error::Shape`] where the widths differ; [`Error::Setting`] where there are no or more than two directions, they
    /// are along each other, or there are no grid points; [`Error::NotFinite`].
    pub fn new(
        origin: &[f64],
        directions: ArrayView2<'_, f64>,
        points: usize,
    ) -> Result<Self, Error> {
        Error::check_shape("directions, columns", origin.len(), directions.ncols())?;
        if !(1..=2).contains(&directions.nrows()) {
            return Err(Error::Setting {
                what: "directions",
                found: directions.nrows().to_string(),
                allowed: "1 or 2",
            });
        }
        if points == 0 {
            return Err(Error::Setting {
                what: "points",
                found: "0".to_owned(),
                allowed: "at least 1",
            });
        }
        if !origin.iter().chain(&directions).all(|x| x.is_finite()) {
            return Err(Error::NotFinite { what: "the plane" });
        }
        let mut orthonormal = directions.to_owned();
        for axis in 0..directions.nrows() {
            let whole = norm(orthonormal.row(axis));
            // Twice, so that rounding leaves no part along the first.
            for _ in 0..2 * axis {
                let first = orthonormal.row(0).to_owned();
                let along = first.dot(&orthonormal.row(axis));
                orthonormal.row_mut(axis).scaled_add(-along, &first);
            }
            let left = norm(orthonormal.row(axis));
            if left.is_nan() || left <= LEAST_PART * whole {
                return Err(Error::Setting {
                    what: "directions",
                    found: "two along each other, or one without length".to_owned(),
                    allowed: "directions that span a plane",
                });
            }
            orthonormal.row_mut(axis).mapv_inplace(|x| x / left);
        }
        Ok(Self {
            origin: origin.to_vec(),
            ranges: vec![(-1.0, 1.0); orthonormal.nrows()],
            directions: orthonormal,
            points,
        })
    }

    /// The plane through three states, `[state]`: from the first, its first direction to the second, the third at a
    /// positive place along its second.
    ///
    /// # Errors
    /// As [`new`](Self::new): the three must not lie on a line.
    pub fn through(states: [&[f64]; 3], points: usize) -> Result<Self, Error> {
        let dim = states[0].len();
        for state in states {
            Error::check_shape("states of the plane", dim, state.len())?;
        }
        let directions =
            Array2::from_shape_fn((2, dim), |(axis, i)| states[axis + 1][i] - states[0][i]);
        Self::new(states[0], directions.view(), points)
    }

    /// The whole state space of one or two dimensions, along its own axes.
    ///
    /// # Errors
    /// [`Error::Setting`] for other dimensions, or without grid points.
    pub fn whole(dim: usize, points: usize) -> Result<Self, Error> {
        Self::new(&vec![0.0; dim], Array2::eye(dim).view(), points)
    }

    /// With ranges of one length on both axes that hold all `states`, `[sample, state]`, as seen in the plane, `extent`
    /// times over; those that are not finite do not count.
    ///
    /// # Errors
    /// [`Error::Shape`] where the width differs from that of the plane's states, [`Error::TooFew`] without any finite
    /// state.
    pub fn fitted(mut self, states: ArrayView2<'_, f64>, extent: f64) -> Result<Self, Error> {
        Error::check_shape("states, columns", self.state_dim(), states.ncols())?;
        let mut ends = vec![(f64::INFINITY, f64::NEG_INFINITY); self.axes()];
        for state in states.rows() {
            let (place, _) = self.place(&state.to_vec());
            if place.iter().all(|x| x.is_finite()) {
                for ((low, high), x) in ends.iter_mut().zip(place) {
                    (*low, *high) = (low.min(x), high.max(x));
                }
            }
        }
        let half = ends
            .iter()
            .map(|(low, high)| (high - low) / 2.0)
            .fold(f64::NEG_INFINITY, f64::max);
        if !half.is_finite() {
            return Err(Error::TooFew {
                what: "finite states",
                needed: 1,
                found: 0,
            });
        }
        // States that all coincide leave a range of one.
        let half = if half > 0.0 { extent * half } else { 0.5 };
        self.ranges = ends
            .iter()
            .map(|(low, high)| {
                let middle = low / 2.0 + high / 2.0;
                (middle - half, middle + half)
            })
            .collect();
        Ok(self)
    }

    /// With these ranges, one per direction, each rising.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of them, [`Error::Setting`] where one does not rise or is not finite.
    pub fn with_ranges(mut self, ranges: &[(f64, f64)]) -> Result<Self, Error> {
        Error::check_shape("ranges", self.axes(), ranges.len())?;
        for (low, high) in ranges {
            if !(low.is_finite() && high.is_finite() && low < high) {
                return Err(Error::Setting {
                    what: "ranges",
                    found: format!("{low} to {high}"),
                    allowed: "finite numbers, the first below the second",
                });
            }
        }
        self.ranges = ranges.to_vec();
        Ok(self)
    }

    /// The same with another number of grid points along each direction, at least 1.
    #[must_use]
    pub fn with_points(mut self, points: usize) -> Self {
        self.points = points.max(1);
        self
    }

    /// The origin, `[state]`.
    pub fn origin(&self) -> &[f64] {
        &self.origin
    }

    /// The orthonormal directions, `[axis, state]`.
    pub fn directions(&self) -> ArrayView2<'_, f64> {
        self.directions.view()
    }

    /// Lower and upper end along each direction.
    pub fn ranges(&self) -> &[(f64, f64)] {
        &self.ranges
    }

    /// Number of directions: 2, or 1 for a line.
    pub fn axes(&self) -> usize {
        self.directions.nrows()
    }

    /// Number of elements of a state.
    pub fn state_dim(&self) -> usize {
        self.origin.len()
    }

    /// Rows of the grid: 1 on a line.
    pub fn rows(&self) -> usize {
        if self.axes() == 1 { 1 } else { self.points }
    }

    /// Columns of the grid.
    pub fn columns(&self) -> usize {
        self.points
    }

    /// The grid point of this index, counted row by row, as a place on the plane, `[axis]`.
    pub fn grid_place(&self, index: usize) -> Vec<f64> {
        let at = [index % self.points, index / self.points];
        self.ranges
            .iter()
            .zip(at)
            .map(|((low, high), k)| low + (high - low) * (k as f64 + 0.5) / self.points as f64)
            .collect()
    }

    /// The grid point of this index as a state.
    pub fn grid_state(&self, index: usize) -> Vec<f64> {
        self.state(&self.grid_place(index))
    }

    /// The state at a place, `[axis]`.
    pub fn state(&self, place: &[f64]) -> Vec<f64> {
        let mut state = self.origin.clone();
        for (direction, along) in self.directions.rows().into_iter().zip(place) {
            for (x, d) in state.iter_mut().zip(direction) {
                *x += along * d;
            }
        }
        state
    }

    /// The place on the plane nearest to a state, `[axis]`, and the distance of the state from it.
    pub fn place(&self, state: &[f64]) -> (Vec<f64>, f64) {
        let offset: Vec<f64> = state.iter().zip(&self.origin).map(|(x, o)| x - o).collect();
        let along = self.along(&offset);
        let mut rest = 0.0;
        for (i, offset) in offset.iter().enumerate() {
            let inside: f64 = along
                .iter()
                .zip(self.directions.column(i))
                .map(|(a, d)| a * d)
                .sum();
            rest += (offset - inside).powi(2);
        }
        (along, rest.sqrt())
    }

    /// The part of a difference of states that lies in the plane, `[axis]`.
    pub fn along(&self, vector: &[f64]) -> Vec<f64> {
        let rows = self.directions.rows().into_iter();
        rows.map(|direction| direction.iter().zip(vector).map(|(d, x)| d * x).sum())
            .collect()
    }
}

fn norm(vector: ArrayView1<'_, f64>) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}
