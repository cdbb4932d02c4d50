//! What can go wrong in an analysis.

/// Why an analysis could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An array does not have the size that the network or another array asks for.
    #[error("{what}: expected size {expected}, found {found}")]
    Shape {
        /// The array and its axis, in words.
        what: &'static str,
        /// The size it must have.
        expected: usize,
        /// The size it has.
        found: usize,
    },
    /// An array that must be finite holds a NaN or an infinity.
    #[error("{what} is not finite")]
    NotFinite {
        /// The array, in words.
        what: &'static str,
    },
    /// There are too few samples for the quantity asked for.
    #[error("{what}: at least {needed} needed, found {found}")]
    TooFew {
        /// The samples, in words.
        what: &'static str,
        /// The least number that suffices.
        needed: usize,
        /// The number there is.
        found: usize,
    },
    /// The map is not piecewise linear, and the analysis is for maps that are.
    #[error("the network is not piecewise linear: its units are not rectified ones")]
    NotPiecewiseLinear,
    /// An eigenvalue iteration did not converge within its budget.
    #[error("the eigenvalue iteration did not converge")]
    EigenvaluesNotConverged,
    /// An iteration for singular values did not converge within its budget.
    #[error("the iteration for the singular values did not converge")]
    SingularValuesNotConverged,
    /// Newton's method did not come to a fixed point.
    #[error("{what}: no fixed point beside it")]
    NotConverged {
        /// Where it began, in words.
        what: &'static str,
    },
    /// Whoever watches the analysis wants it to end.
    #[error("stopped")]
    Stopped,
    /// A setting lies outside its range.
    #[error("{what}: found {found}, allowed is {allowed}")]
    Setting {
        /// The setting's name.
        what: &'static str,
        /// Its value.
        found: String,
        /// The range that is allowed.
        allowed: &'static str,
    },
}

/// Whoever waits for a long analysis: called now and then, on the calling thread, with the part that is done, from 0
/// to 1; the analysis ends with [`Error::Stopped`] where the answer is `false`.
///
/// `&mut |_| true` for who neither looks nor stops.
pub type Watch<'a> = &'a mut dyn FnMut(f64) -> bool;

impl Error {
    /// `Ok` where the watch lets the analysis go on.
    pub(crate) fn check_watch(watch: Watch, done: f64) -> Result<(), Self> {
        if watch(done) {
            Ok(())
        } else {
            Err(Self::Stopped)
        }
    }

    /// `Ok` where `found` equals `expected`, a [`Shape`](Self::Shape) error elsewhere.
    pub(crate) fn check_shape(
        what: &'static str,
        expected: usize,
        found: usize,
    ) -> Result<(), Self> {
        if expected == found {
            Ok(())
        } else {
            Err(Self::Shape {
                what,
                expected,
                found,
            })
        }
    }
}
