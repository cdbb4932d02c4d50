//! Networks and their training: cells, ensembles, engines.
//!
//! A network is an [`architecture::Architecture`] and a flat vector of parameters; an
//! [`ensemble::Ensemble`] is many of them. [`training::Trainer`] trains an ensemble on a task through an
//! [`engine::Engine`], in f32. [`network::Network`] is one of them in f64, with exact Jacobians, for analysis.
//! The cells themselves are written once, see [`cells`].

pub mod adaptive_forcing;
pub mod architecture;
pub mod cells;
pub mod engine;
pub mod ensemble;
pub mod initialisers;
pub mod interval;
pub mod linear;
pub mod matrix_functions;
pub mod network;
pub mod optimisers;
pub mod registry;
pub mod regularisers;
pub mod scalar;
pub mod simd;
pub mod torch;
pub mod training;
pub mod weights;
pub mod workload;
