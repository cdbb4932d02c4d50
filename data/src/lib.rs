//! Floor 1 of Nullcline: random streams, settings, file formats and the run folder on disk.
//!
//! Nothing here knows about networks. This is the only part of the program that touches files; every
//! file is written beside its place and renamed into it.

pub mod atomic;
pub mod error;
pub mod memory;
pub mod npy;
pub mod provenance;
pub mod random;
pub mod recording;
pub mod run_folder;
pub mod settings;
pub mod tensors;
pub mod torch_archive;
mod vectorised;
mod zip_archive;

pub use atomic::{write_atomically, write_atomically_with};
pub use error::{Error, Result};
pub use npy::{read_npy, read_npz, write_npy, write_npz};
pub use provenance::{InputFile, Provenance, sha256_file};
pub use random::{Random, Stream};
pub use recording::{Matrix, read_matrix};
pub use run_folder::{RunFolder, RunLock};
pub use settings::{Document, Key, Kind, Preset, Settings, Value, write_toml};
pub use tensors::{Tensor, Tensors, read_safetensors, write_safetensors};
pub use torch_archive::read_torch;
