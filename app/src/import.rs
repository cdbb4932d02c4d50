//! (placeholder while this file is being written)
use crate::session::Outcome;
use std::path::Path;
pub fn import(_w: &Path, _m: Option<&Path>, _nonlinearity: &str, _out: &Path) -> Outcome<Vec<String>> { Ok(vec![]) }
