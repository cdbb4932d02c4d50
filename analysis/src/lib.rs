//! Analyses of trained networks: pure functions from networks and arrays to typed results.
//!
//! Everything here is f64, reads and writes no files, and draws nothing. A network enters as a
//! discrete-time map, [`Dynamics`]; one analysis is one module. Work is spread over rayon's
//! current thread pool, and no result depends on how many threads that pool has.

pub mod assignment;
pub mod attraction;
pub mod basins;
pub mod certificates;
pub mod continuation;
pub mod cycles;
mod dense;
pub mod dynamics;
mod error;
pub mod evolution_strategy;
pub mod fixed_points;
pub mod fixed_points_over_training;
pub mod flow;
mod fourier;
pub mod free_run;
pub mod gradient_growth;
pub mod lesions;
pub mod linear_regions;
pub mod linearization;
pub mod lyapunov;
mod network;
mod non_normality;
pub mod pca;
pub mod peaks;
pub mod periodic_orbits;
pub mod plane;
pub mod poincare;
pub mod power_spectrum;
pub mod power_spectrum_distance;
pub mod prediction_error;
pub mod regions_visited;
mod schur;
pub mod speed_landscape;
pub mod starts;
pub mod state_space_divergence;
pub mod timescales;
pub mod trajectory_linearization;
pub mod valid_prediction_time;

pub use dynamics::{Dynamics, Enclosure, Observed};
pub use error::{Error, Watch};
