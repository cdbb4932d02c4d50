//! Analyses of trained networks: pure functions from networks and arrays to typed results.
//!
//! Everything here is f64, reads and writes no files, and draws nothing. A network enters as a
//! discrete-time map, [`Dynamics`]; one analysis is one module. Work is spread over rayon's
//! current thread pool, and no result depends on how many threads that pool has.

pub mod certificates;
mod dense;
pub mod dynamics;
mod error;
pub mod fixed_points;
mod fourier;
pub mod free_run;
pub mod linear_regions;
pub mod linearization;
pub mod lyapunov;
mod network;
pub mod pca;
pub mod peaks;
pub mod poincare;
pub mod power_spectrum;
mod schur;
pub mod starts;
pub mod timescales;

pub use dynamics::{Dynamics, Enclosure};
pub use error::{Error, Watch};
