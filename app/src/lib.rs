//! Nullcline, the program: command line, desktop, figures and the run that ties them together.
//!
//! Numerics live in the crates below this one; here stands what a user touches.

pub mod analyses;
pub mod bench;
pub mod command_line;
pub mod desktop;
pub mod devices;
pub mod drawings;
pub mod examples;
pub mod experiment;
pub mod export;
pub mod import;
pub mod progress;
pub mod refinement;
pub mod results;
pub mod session;
pub mod show;
