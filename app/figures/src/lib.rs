//! Figures as values, and the painters that draw them.
//!
//! A [`figure::Figure`] holds what is drawn. [`scene::Scene`] lays it out once for all painters, with ticks,
//! legends, projection and clipping; [`export`] writes the scene as SVG, PDF and PNG, [`screen`] shows it in an
//! egui window, where it can be turned, zoomed and clicked.

pub mod export;
pub mod figure;
pub mod geometry;
mod layout;
pub mod markup;
pub mod palette;
mod plane;
pub mod scale;
pub mod scene;
pub mod screen;
mod space;
mod subset;
pub mod text;
pub mod ticks;

pub use figure::{Figure, FigureError};
