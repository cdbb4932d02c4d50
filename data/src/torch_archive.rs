//! torch's files of weights, `.pt` and `.pth`: the zip archives that `torch.save` writes since version 1.6.
//!
//! ```text
//! NAME/data.pkl      a pickle: the dict, with views in place of tensors
//! NAME/data/0, 1...  the numbers of each storage, uncompressed
//! NAME/byteorder     little or big; NAME/version and more, which say nothing about the numbers
//! ```
//!
//! A pickle can call any function of Python. This one is read as data by a small reader of our own, which
//! knows what a state dict is made of and refuses everything else by name. Sizes are taken from what the
//! file holds and never from what it claims, so that reading costs memory and time in proportion to the file.

mod pickle;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{Cursor, Read};
use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use zip::{CompressionMethod, ZipArchive};

use crate::error::{Error, Result};
use crate::tensors::{Tensor, Tensors};
use crate::zip_archive;
use pickle::{Element, Pickle, Value, View};

/// Entries that an archive may have: one for each storage and a handful more.
const MAX_ENTRIES: usize = 50_000;
/// Tensors that a file may name, those of an optimiser included.
const MAX_TENSORS: usize = 20_000;
/// Keys of dicts that are looked at, one that is reached twice counted twice.
const MAX_KEYS: usize = 200_000;
/// Dicts inside dicts.
const MAX_DEPTH: usize = 16;
/// Bytes of a tensor's name with those of the dicts around it, and of a text kept as metadata.
const MAX_NAME: usize = 1000;
/// How many times the numbers of the file its tensors may hold together: tied weights are one storage under
/// several names.
const MAX_REPETITION: usize = 16;

/// What a file must be, for errors.
const ALLOWED: &str =
    "an archive that torch.save wrote of model.state_dict(), or of a dict that contains one";

/// The keys under which training programs keep the weights beside the rest of a checkpoint.
const STATE_DICT_NAMES: [&str; 8] = [
    "model_state_dict",
    "state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "weights",
    "params",
];

/// The metadata key with the dicts around the tensors, `model_state_dict`; absent where the file is the state
/// dict itself.
pub const STATE_DICT: &str = "state_dict";

/// Reads the tensors of a state dict from a torch archive, in the file's order. Nothing in the file is executed.
///
/// The file is a state dict, or a dict that contains one at any depth, as checkpoints do: where there are several
/// dicts with tensors, an optimiser's are left out and one with a usual name (`model_state_dict`, `state_dict`,
/// `model`...) is taken; without such a name all are kept, their names joined by dots. [`STATE_DICT`] in the
/// metadata says which dict it was, and numbers and texts beside it (`epoch`) are kept there as text. Names are
/// those of the file, `module.` of a `DataParallel` included.
///
/// F16 and BF16 are widened to F32, integers to I64, U8 and truth values to U64. Views that are not contiguous
/// come out in row-major order.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Io`] if the file cannot be read. [`Error::Format`] with the advice that helps for
/// a whole model (`torch.save(model)`), a TorchScript archive, the format before torch 1.6, an object of any other
/// class, another number type; and for an archive that is damaged or crafted: compressed, overlapping or doubled
/// entries, names that lead elsewhere, a storage that is not of its claimed size, a view that leaves its storage or
/// reads a number twice (`expand`), dicts that are too deep or hold themselves.
pub fn read_torch(path: &Path) -> Result<Tensors> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    let mut archive = Archive::open(path, &bytes)?;
    let big_endian = archive.is_big_endian()?;
    let content = archive.read("data.pkl")?;
    let pickle = pickle::read(&content)
        .map_err(|fault| Error::format(path, "data.pkl", fault.found, fault.allowed))?;
    let dict = StateDict::find(path, &pickle)?;

    let mut tensors = Tensors::of_file(path);
    tensors.metadata = dict.metadata;
    let mut storages: HashMap<&str, Vec<u8>> = HashMap::new();
    let mut total = 0_usize;
    for (name, view) in dict.entries {
        let what = || format!("tensor \"{}\"", pickle::shortened(&name));
        let key = view.storage.key.as_str();
        let storage = match storages.get(key) {
            Some(storage) => storage,
            None => {
                let storage = archive.read(&format!("data/{key}"))?;
                storages.entry(key).or_insert(storage)
            }
        };
        let claimed = usize::try_from(view.storage.length)
            .ok()
            .and_then(|length| length.checked_mul(view.storage.element.size()));
        if claimed != Some(storage.len()) {
            return Err(Error::format(
                path,
                what(),
                format!(
                    "a storage \"{key}\" of {} bytes, said to be {} numbers of {} bytes",
                    storage.len(),
                    view.storage.length,
                    view.storage.element.size()
                ),
                "a storage of the size that is stated",
            ));
        }
        let shape = check_view(view)
            .map_err(|(found, allowed)| Error::format(path, what(), found, allowed))?;
        let count: usize = shape.iter().product();
        total = total.saturating_add(count.saturating_mul(view.storage.element.size()));
        if total > bytes.len().saturating_mul(MAX_REPETITION) {
            return Err(Error::format(
                path,
                what(),
                "storages that are used again and again",
                format!("tensors of at most {MAX_REPETITION} times the size of the file together"),
            ));
        }
        let tensor = gather(storage, view, &shape, big_endian).map_err(|error| {
            Error::format(path, what(), error.to_string(), "a shape that can be held")
        })?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// An archive whose entries have been checked: stored as they are, apart from each other, each name once.
struct Archive<'a> {
    path: &'a Path,
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// What the names of all entries begin with: `weights/`.
    root: String,
}

impl<'a> Archive<'a> {
    fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Archive<'a>> {
        let refuse =
            |found: String, allowed: &str| Err(Error::format(path, "the archive", found, allowed));
        // torch's older format is a pickle from its first byte, and before that it was a tar archive.
        if bytes.first() == Some(&0x80) || bytes.get(257..262) == Some(b"ustar") {
            return refuse(
                "torch's format before version 1.6, or another pickle, not a zip archive".into(),
                "a zip archive; in Python: torch.save(torch.load(FILE, weights_only=True), \"weights.pt\")",
            );
        }
        let mut zip = match zip_archive::open(bytes) {
            Ok(zip) => zip,
            Err(found) => return refuse(found, ALLOWED),
        };
        if zip.len() > MAX_ENTRIES {
            return refuse(
                format!("{} entries", zip.len()),
                &format!("at most {MAX_ENTRIES}"),
            );
        }
        // The zip crate keeps the last of several entries of one name, other readers the first: a file that
        // shows different weights to different programs.
        let listed = central_directory(bytes, zip.central_directory_start());
        let mut seen = HashSet::new();
        if let Some(twice) = listed.iter().find(|name| !seen.insert(**name)) {
            let name = String::from_utf8_lossy(twice);
            return refuse(
                format!("the entry {:?} twice", pickle::shortened(&name)),
                "each entry once",
            );
        }
        if listed.len() != zip.len() {
            return refuse(
                format!(
                    "{} entries, {} of them of one name",
                    listed.len(),
                    zip.len()
                ),
                "each entry once",
            );
        }
        let is_code = |name: &str| {
            name.split_once('/')
                .is_some_and(|(_, rest)| rest == "constants.pkl" || rest.starts_with("code/"))
        };
        if zip.file_names().any(is_code) {
            return refuse(
                "a TorchScript archive, which holds code".into(),
                "weights alone; in Python: torch.save(torch.jit.load(FILE).state_dict(), \"weights.pt\")",
            );
        }
        let mut ranges = Vec::with_capacity(zip.len());
        let mut roots = Vec::new();
        for index in 0..zip.len() {
            let entry = match zip.by_index(index) {
                Ok(entry) => entry,
                Err(error) => return refuse(error.to_string(), ALLOWED),
            };
            let name = entry.name();
            let quoted = || format!("the entry {:?}", pickle::shortened(name));
            // No entry is ever unpacked to a file; a name that leads elsewhere is refused for what it is.
            let strays = name.contains(['\\', '\0', ':'])
                || name.split('/').any(|part| matches!(part, "" | "." | ".."));
            if strays {
                return refuse(quoted(), "names inside the archive");
            }
            if entry.compression() != CompressionMethod::Stored {
                return refuse(
                    format!("{}, compressed ({})", quoted(), entry.compression()),
                    "entries stored as they are, as torch.save writes them",
                );
            }
            if entry.size() != entry.compressed_size() {
                return refuse(
                    format!(
                        "{} of {} bytes, said to be {}",
                        quoted(),
                        entry.compressed_size(),
                        entry.size()
                    ),
                    "entries stored as they are, as torch.save writes them",
                );
            }
            let start = entry.data_start();
            match start.checked_add(entry.size()) {
                Some(end) if end <= bytes.len() as u64 => ranges.push((start, end)),
                _ => return refuse(format!("{}, cut short", quoted()), "a whole archive"),
            }
            if let Some((root, "data.pkl")) = name.split_once('/') {
                roots.push(format!("{root}/"));
            }
        }
        ranges.sort_unstable();
        if ranges
            .iter()
            .zip(ranges.iter().skip(1))
            .any(|(a, b)| a.1 > b.0)
        {
            return refuse(
                "entries that overlap".into(),
                "entries apart from each other",
            );
        }
        match &roots[..] {
            [root] => Ok(Archive {
                path,
                root: root.clone(),
                zip,
            }),
            _ => refuse(
                format!("{} entries \"data.pkl\" in a folder", roots.len()),
                ALLOWED,
            ),
        }
    }

    /// The bytes of an entry, its checksum verified.
    fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        let full = format!("{}{name}", self.root);
        let Some(index) = self.zip.index_for_name(&full) else {
            return Err(Error::missing(self.path, format!("the entry {full:?}")));
        };
        let corrupt = |found: String| {
            Error::format(
                self.path,
                format!("the entry {full:?}"),
                found,
                "a whole entry",
            )
        };
        let mut entry = self
            .zip
            .by_index(index)
            .map_err(|error| corrupt(error.to_string()))?;
        let mut content = Vec::new();
        entry
            .read_to_end(&mut content)
            .map_err(|error| corrupt(error.to_string()))?;
        Ok(content)
    }

    fn is_big_endian(&mut self) -> Result<bool> {
        if self
            .zip
            .index_for_name(&format!("{}byteorder", self.root))
            .is_none()
        {
            // torch before 2.1 does not say, and is little-endian wherever it runs.
            return Ok(false);
        }
        match &self.read("byteorder")?[..] {
            b"little" => Ok(false),
            b"big" => Ok(true),
            other => Err(Error::format(
                self.path,
                "the entry \"byteorder\"",
                format!("{:?}", pickle::shortened(&String::from_utf8_lossy(other))),
                "\"little\" or \"big\"",
            )),
        }
    }
}

/// The names in the central directory of an archive, one for each of its headers.
fn central_directory(bytes: &[u8], start: u64) -> Vec<&[u8]> {
    let mut names = Vec::new();
    let mut rest = usize::try_from(start)
        .ok()
        .and_then(|start| bytes.get(start..))
        .unwrap_or_default();
    // Signature, 24 bytes, the lengths of name, extra field and comment, 12 bytes; then those three.
    while rest.starts_with(b"PK\x01\x02") {
        let length = |at: usize| match rest.get(at..at + 2) {
            Some(&[low, high]) => usize::from(u16::from_le_bytes([low, high])),
            _ => 0,
        };
        let [name, extra, comment] = [28, 30, 32].map(length);
        let Some(found) = rest.get(46..46 + name) else {
            break;
        };
        names.push(found);
        rest = rest.get(46 + name + extra + comment..).unwrap_or_default();
    }
    names
}

/// The tensors that were chosen, with their names, and what stands beside them.
struct StateDict<'a> {
    entries: Vec<(String, &'a View)>,
    metadata: BTreeMap<String, String>,
}

impl<'a> StateDict<'a> {
    fn find(path: &Path, pickle: &'a Pickle) -> Result<StateDict<'a>> {
        let refuse = |found: String, allowed: &str| Error::format(path, "data.pkl", found, allowed);
        let Value::Dict(root) = pickle.root() else {
            return Err(refuse(pickle.describe(pickle.root()), ALLOWED));
        };
        let mut search = Search {
            pickle,
            above: Vec::new(),
            found: Vec::new(),
            keys: 0,
        };
        search
            .collect(root, Vec::new())
            .map_err(|(found, allowed)| refuse(found, &allowed))?;
        let mut found = search.found;
        if found.is_empty() {
            return Err(refuse("a dict without tensors".into(), ALLOWED));
        }

        // Down into the one dict that holds the weights, as long as there is one.
        let mut around: Vec<String> = Vec::new();
        loop {
            let depth = around.len();
            if found.iter().any(|(names, _)| names.len() == depth + 1) {
                break;
            }
            let mut inner: Vec<&str> = Vec::new();
            for (names, _) in &found {
                // Every name is longer than `depth`: one that is as long belongs to no dict below it.
                if let Some(name) = names.get(depth)
                    && inner.last() != Some(&name.as_str())
                {
                    inner.push(name);
                }
            }
            let weights: Vec<&str> = inner
                .iter()
                .copied()
                .filter(|name| !is_optimiser(name))
                .collect();
            let kept = if weights.is_empty() { inner } else { weights };
            let usual: Vec<&str> = kept
                .iter()
                .copied()
                .filter(|name| STATE_DICT_NAMES.contains(name))
                .collect();
            let chosen: Vec<String> = match (&kept[..], &usual[..]) {
                ([only], _) | (_, [only]) => vec![(*only).to_owned()],
                _ => kept.iter().map(|name| (*name).to_owned()).collect(),
            };
            found.retain(|(names, _)| names.get(depth).is_some_and(|name| chosen.contains(name)));
            match &chosen[..] {
                [only] => around.push(only.clone()),
                _ => break,
            }
        }

        let mut metadata = BTreeMap::new();
        let mut dict = Some(root);
        for name in std::iter::once(None).chain(around.iter().map(Some)) {
            if let Some(name) = name {
                dict = dict.and_then(|dict| inner_dict(pickle, dict, name));
            }
            for (key, value) in dict.map(|dict| pickle.dict(dict)).unwrap_or_default() {
                if let (Some(key), Some(text)) = (key_name(pickle, *key), scalar(pickle, *value)) {
                    metadata.insert(key, text);
                }
            }
        }
        if !around.is_empty() {
            metadata.insert(STATE_DICT.into(), around.join("."));
        }

        let mut entries = Vec::with_capacity(found.len());
        let mut seen = HashSet::new();
        for (names, view) in found {
            let name = names.get(around.len()..).unwrap_or_default().join(".");
            if !seen.insert(name.clone()) {
                return Err(refuse(
                    format!("the tensor \"{}\" twice", pickle::shortened(&name)),
                    "each name once",
                ));
            }
            entries.push((name, view));
        }
        Ok(StateDict { entries, metadata })
    }
}

/// Whether a dict of this name holds what belongs to the training.
fn is_optimiser(name: &str) -> bool {
    let name = name.to_lowercase();
    name == "opt"
        || name.starts_with("opt_")
        || ["optim", "scheduler", "scaler"]
            .iter()
            .any(|word| name.contains(word))
}

/// A key of a dict as part of a name; none for keys that are neither text nor integer, and long ones.
fn key_name(pickle: &Pickle, key: Value) -> Option<String> {
    match key {
        Value::Text(index) => Some(pickle.text(index))
            .filter(|text| text.len() <= MAX_NAME)
            .map(str::to_owned),
        Value::Integer(x) => Some(x.to_string()),
        _ => None,
    }
}

/// A number or a short text as metadata keep it.
fn scalar(pickle: &Pickle, value: Value) -> Option<String> {
    match value {
        Value::Flag(x) => Some(x.to_string()),
        Value::Integer(x) => Some(x.to_string()),
        Value::Float(x) => Some(x.to_string()),
        Value::Text(index) => Some(pickle.text(index))
            .filter(|text| text.len() <= MAX_NAME)
            .map(str::to_owned),
        _ => None,
    }
}

/// The dict of a name in a dict.
fn inner_dict(pickle: &Pickle, dict: usize, name: &str) -> Option<usize> {
    pickle
        .dict(dict)
        .iter()
        .find_map(|(key, value)| match value {
            Value::Dict(inner) if key_name(pickle, *key).as_deref() == Some(name) => Some(*inner),
            _ => None,
        })
}

/// Every tensor inside dicts, with the keys that lead to it.
struct Search<'a> {
    pickle: &'a Pickle,
    /// The dicts around the one that is looked at.
    above: Vec<usize>,
    found: Vec<(Vec<String>, &'a View)>,
    keys: usize,
}

impl Search<'_> {
    fn collect(
        &mut self,
        dict: usize,
        names: Vec<String>,
    ) -> std::result::Result<(), (String, String)> {
        if self.above.contains(&dict) {
            return Err(("a dict that contains itself".into(), ALLOWED.into()));
        }
        if self.above.len() >= MAX_DEPTH {
            return Err((
                format!("dicts nested deeper than {MAX_DEPTH}"),
                ALLOWED.into(),
            ));
        }
        self.above.push(dict);
        for (key, value) in self.pickle.dict(dict) {
            self.keys += 1;
            if self.keys > MAX_KEYS {
                return Err((
                    format!(
                        "more than {MAX_KEYS} keys, a dict that is reached twice counted twice"
                    ),
                    format!("at most {MAX_KEYS}"),
                ));
            }
            let (Value::Tensor(_) | Value::Dict(_)) = value else {
                continue;
            };
            let Some(name) = key_name(self.pickle, *key) else {
                // What a reader cannot name cannot be asked for; a tuple as key is no weight's name.
                continue;
            };
            let mut inner = names.clone();
            inner.push(name);
            if inner.iter().map(String::len).sum::<usize>() > MAX_NAME {
                return Err((
                    format!("a name of more than {MAX_NAME} bytes"),
                    "shorter names".into(),
                ));
            }
            match value {
                Value::Dict(index) => self.collect(*index, inner)?,
                Value::Tensor(index) => {
                    if let Some(view) = self.pickle.tensor(*index) {
                        self.found.push((inner, view));
                    }
                    if self.found.len() > MAX_TENSORS {
                        return Err((
                            format!("more than {MAX_TENSORS} tensors"),
                            format!("at most {MAX_TENSORS}"),
                        ));
                    }
                }
                _ => {}
            }
        }
        self.above.pop();
        Ok(())
    }
}

/// Checks that a view stays inside its storage and reads no number twice, and returns its shape.
///
/// The second follows where each stride, in order of size, is larger than all the smaller ones reach together:
/// true of transposed, sliced and permuted tensors, not of `expand`, by which a few bytes become as many numbers
/// as a file likes to claim.
fn check_view(view: &View) -> std::result::Result<Vec<usize>, (String, String)> {
    let shape: Option<Vec<usize>> = view
        .sizes
        .iter()
        .map(|&size| usize::try_from(size).ok())
        .collect();
    let description = || {
        format!(
            "a view of shape {:?} with strides {:?} at offset {} in a storage of {} numbers",
            view.sizes, view.strides, view.offset, view.storage.length
        )
    };
    let outside = || Err((description(), "a view inside its storage".into()));
    let Some(shape) = shape else {
        return outside();
    };
    if view.sizes.contains(&0) {
        // No number is read, but the sizes of the other axes must still have a product.
        let others = shape.iter().filter(|&&size| size > 0);
        return match others.copied().try_fold(1_usize, usize::checked_mul) {
            Some(_) => Ok(shape),
            None => outside(),
        };
    }
    let mut axes: Vec<(u64, u64)> = view
        .strides
        .iter()
        .copied()
        .zip(view.sizes.iter().copied())
        .filter(|&(_, size)| size > 1)
        .collect();
    axes.sort_unstable();
    let mut reach = 0_u64;
    for (stride, size) in axes {
        if stride <= reach {
            return Err((
                description(),
                "a view that reads each number once; in Python: tensor.clone()".into(),
            ));
        }
        let Some(further) = (size - 1)
            .checked_mul(stride)
            .and_then(|more| reach.checked_add(more))
        else {
            return outside();
        };
        reach = further;
    }
    match view.offset.checked_add(reach) {
        Some(last) if last < view.storage.length => Ok(shape),
        _ => outside(),
    }
}

/// The numbers of a view in row-major order, as a tensor. The view has been checked against the storage.
fn gather(
    storage: &[u8],
    view: &View,
    shape: &[usize],
    big_endian: bool,
) -> std::result::Result<Tensor, ndarray::ShapeError> {
    let offset = as_size(view.offset);
    let count: usize = shape.iter().product();
    macro_rules! decode {
        ($number:ty, $kind:ident, $convert:expr) => {{
            const SIZE: usize = size_of::<$number>();
            let (numbers, _) = storage.as_chunks::<SIZE>();
            let convert = |bytes: &[u8; SIZE]| {
                $convert(if big_endian {
                    <$number>::from_be_bytes(*bytes)
                } else {
                    <$number>::from_le_bytes(*bytes)
                })
            };
            let values = if count == 0 {
                Vec::new()
            } else if is_contiguous(view) {
                let numbers = numbers.iter().skip(offset).take(count);
                numbers.map(convert).collect()
            } else {
                // Checked positions are all inside; `filter_map` only spares an index that could panic.
                positions(view, shape)
                    .into_iter()
                    .filter_map(|position| numbers.get(position).map(convert))
                    .collect()
            };
            ArrayD::from_shape_vec(IxDyn(shape), values).map(Tensor::$kind)
        }};
    }
    match view.storage.element {
        Element::F16 => decode!(half::f16, F32, f32::from),
        Element::BF16 => decode!(half::bf16, F32, f32::from),
        Element::F32 => decode!(f32, F32, f32::from),
        Element::F64 => decode!(f64, F64, f64::from),
        Element::I8 => decode!(i8, I64, i64::from),
        Element::I16 => decode!(i16, I64, i64::from),
        Element::I32 => decode!(i32, I64, i64::from),
        Element::I64 => decode!(i64, I64, i64::from),
        Element::U8 | Element::Bool => decode!(u8, U64, u64::from),
    }
}

fn as_size(x: u64) -> usize {
    usize::try_from(x).unwrap_or(usize::MAX)
}

/// Whether the numbers of a checked view follow each other in row-major order.
fn is_contiguous(view: &View) -> bool {
    let mut expected = 1_u64;
    let mut axes = view.sizes.iter().zip(&view.strides).rev();
    axes.all(|(&size, &stride)| {
        let fits = size == 1 || stride == expected;
        expected = expected.saturating_mul(size);
        fits
    })
}

/// Where the numbers of a checked view stand in its storage, in row-major order.
fn positions(view: &View, shape: &[usize]) -> Vec<usize> {
    let mut positions = vec![as_size(view.offset)];
    for (&size, &stride) in shape.iter().zip(&view.strides) {
        if size > 1 {
            let stride = as_size(stride);
            positions = positions
                .iter()
                .flat_map(|&start| (0..size).map(move |k| start + k * stride))
                .collect();
        }
    }
    positions
}

#[cfg(test)]
mod tests;
