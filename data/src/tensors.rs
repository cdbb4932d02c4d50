//! Named tensors on disk: safetensors, the format of checkpoints and of imported weights.
//!
//! The format (Hugging Face, safetensors) is eight bytes with the length of a header, the header in JSON
//! (for each tensor its number type, shape and place), then the numbers in little-endian order.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use safetensors::{Dtype, SafeTensors};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::atomic::write_atomically_with;
use crate::error::{Error, Result};

/// The numbers of one tensor, in one of the four types that are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// 32-bit floating point: weights, moments of the optimiser.
    F32(ArrayD<f32>),
    /// 64-bit floating point.
    F64(ArrayD<f64>),
    /// 64-bit signed integers.
    I64(ArrayD<i64>),
    /// 64-bit unsigned integers: counters.
    U64(ArrayD<u64>),
}

impl Tensor {
    /// The size along each axis.
    pub fn shape(&self) -> &[usize] {
        match self {
            Tensor::F32(array) => array.shape(),
            Tensor::F64(array) => array.shape(),
            Tensor::I64(array) => array.shape(),
            Tensor::U64(array) => array.shape(),
        }
    }

    /// The name of the number type in the file: `F32`.
    pub fn number_type(&self) -> &'static str {
        match self {
            Tensor::F32(_) => "F32",
            Tensor::F64(_) => "F64",
            Tensor::I64(_) => "I64",
            Tensor::U64(_) => "U64",
        }
    }

    fn element_size(&self) -> usize {
        match self {
            Tensor::F32(_) => 4,
            Tensor::F64(_) | Tensor::I64(_) | Tensor::U64(_) => 8,
        }
    }

    /// Writes the numbers in row-major, little-endian order.
    fn write(&self, file: &mut impl Write) -> io::Result<()> {
        match self {
            Tensor::F32(array) => array
                .iter()
                .try_for_each(|x| file.write_all(&x.to_le_bytes())),
            Tensor::F64(array) => array
                .iter()
                .try_for_each(|x| file.write_all(&x.to_le_bytes())),
            Tensor::I64(array) => array
                .iter()
                .try_for_each(|x| file.write_all(&x.to_le_bytes())),
            Tensor::U64(array) => array
                .iter()
                .try_for_each(|x| file.write_all(&x.to_le_bytes())),
        }
    }
}

/// Named tensors with a few words about them (`metadata`), as a file holds them.
///
/// Two are equal if they hold the same tensors in the same order with the same metadata, whatever their
/// source.
#[derive(Clone, Debug, Default)]
pub struct Tensors {
    source: String,
    entries: Vec<(String, Tensor)>,
    /// What the tensors are, as text by key.
    pub metadata: BTreeMap<String, String>,
}

impl PartialEq for Tensors {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries && self.metadata == other.metadata
    }
}

impl Tensors {
    /// No tensors yet.
    pub fn new() -> Tensors {
        Tensors::default()
    }

    /// No tensors yet, to be filled from a file: errors about them name it.
    pub fn of_file(path: &Path) -> Tensors {
        Tensors {
            source: path.display().to_string(),
            ..Tensors::default()
        }
    }

    /// The file that the tensors were read from, `""` for tensors made by the program.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Adds a tensor at the end, or replaces the one of that name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        let name = name.into();
        match self.entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, slot)) => *slot = tensor,
            None => self.entries.push((name, tensor)),
        }
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, tensor)| tensor)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// The tensors with their names, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A tensor of 32-bit floating point.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such tensor; [`Error::Format`] if it is of another number type.
    pub fn f32(&self, name: &str) -> Result<&ArrayD<f32>> {
        match self.require(name)? {
            Tensor::F32(array) => Ok(array),
            other => Err(self.other_type(name, other, "F32")),
        }
    }

    /// A tensor of 64-bit floating point.
    ///
    /// # Errors
    /// As [`f32`](Self::f32).
    pub fn f64(&self, name: &str) -> Result<&ArrayD<f64>> {
        match self.require(name)? {
            Tensor::F64(array) => Ok(array),
            other => Err(self.other_type(name, other, "F64")),
        }
    }

    /// A tensor of 64-bit signed integers.
    ///
    /// # Errors
    /// As [`f32`](Self::f32).
    pub fn i64(&self, name: &str) -> Result<&ArrayD<i64>> {
        match self.require(name)? {
            Tensor::I64(array) => Ok(array),
            other => Err(self.other_type(name, other, "I64")),
        }
    }

    /// A tensor of 64-bit unsigned integers.
    ///
    /// # Errors
    /// As [`f32`](Self::f32).
    pub fn u64(&self, name: &str) -> Result<&ArrayD<u64>> {
        match self.require(name)? {
            Tensor::U64(array) => Ok(array),
            other => Err(self.other_type(name, other, "U64")),
        }
    }

    /// A tensor of floating point, 64-bit numbers rounded to 32: for weights written by another program.
    ///
    /// # Errors
    /// As [`f32`](Self::f32).
    pub fn to_f32(&self, name: &str) -> Result<ArrayD<f32>> {
        match self.require(name)? {
            Tensor::F32(array) => Ok(array.clone()),
            Tensor::F64(array) => Ok(array.mapv(|x| x as f32)),
            other => Err(self.other_type(name, other, "F16, BF16, F32 or F64")),
        }
    }

    fn require(&self, name: &str) -> Result<&Tensor> {
        self.get(name).ok_or_else(|| Error::Missing {
            file: self.place().to_owned(),
            what: format!("tensor \"{name}\""),
        })
    }

    fn other_type(&self, name: &str, found: &Tensor, allowed: &str) -> Error {
        Error::Format {
            file: self.place().to_owned(),
            what: format!("the number type of tensor \"{name}\""),
            found: found.number_type().to_owned(),
            allowed: allowed.to_owned(),
        }
    }

    fn place(&self) -> &str {
        if self.source.is_empty() {
            "tensors"
        } else {
            &self.source
        }
    }
}

/// The JSON header of a file: for each tensor its number type, shape and place, and the metadata.
struct Header<'a> {
    entries: &'a [(&'a str, &'a Tensor)],
    metadata: &'a BTreeMap<String, String>,
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Entry<'a> {
            dtype: &'a str,
            shape: &'a [usize],
            data_offsets: [usize; 2],
        }
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry("__metadata__", self.metadata)?;
        }
        let mut start = 0;
        for (name, tensor) in self.entries {
            let end = start + tensor.shape().iter().product::<usize>() * tensor.element_size();
            let dtype = tensor.number_type();
            let entry = Entry {
                dtype,
                shape: tensor.shape(),
                data_offsets: [start, end],
            };
            map.serialize_entry(name, &entry)?;
            start = end;
        }
        map.end()
    }
}

/// Writes tensors as a safetensors file, whole or not at all. The same tensors give the same bytes.
///
/// Tensors of 64-bit numbers come first, so that every tensor is aligned; apart from that their order is
/// kept. The `safetensors` crate's own writer is not used because it takes the metadata from a hash map,
/// whose order changes from run to run.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_safetensors(path: &Path, tensors: &Tensors) -> Result<()> {
    let mut entries: Vec<(&str, &Tensor)> = tensors.iter().collect();
    entries.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.element_size()));
    write_atomically_with(path, |file| {
        let header = Header {
            entries: &entries,
            metadata: &tensors.metadata,
        };
        let mut header = serde_json::to_vec(&header).map_err(io::Error::other)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        entries
            .iter()
            .try_for_each(|(_, tensor)| tensor.write(file))
    })
}

/// Reads a safetensors file, its tensors in the order of the file.
///
/// Half precision (F16, BF16) is widened to F32, integers and truth values to I64 or U64.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is no such file,
/// is cut short or holds another number type.
pub fn read_safetensors(path: &Path) -> Result<Tensors> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    let corrupt =
        |found: String| Error::format(path, "the file", found, "a whole safetensors file");
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| corrupt(error.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| corrupt(error.to_string()))?;
    let mut tensors = Tensors {
        source: path.display().to_string(),
        entries: Vec::with_capacity(file.len()),
        metadata: header
            .metadata()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    };
    for name in header.offset_keys() {
        let view = file
            .tensor(&name)
            .map_err(|error| corrupt(error.to_string()))?;
        let shape = IxDyn(view.shape());
        let data = view.data();
        macro_rules! decode {
            ($number:ty, $kind:ident, $convert:expr) => {{
                let values = data.chunks_exact(size_of::<$number>()).map(|chunk| {
                    let mut word = [0; size_of::<$number>()];
                    word.copy_from_slice(chunk);
                    $convert(<$number>::from_le_bytes(word))
                });
                ArrayD::from_shape_vec(shape, values.collect()).map(Tensor::$kind)
            }};
        }
        let tensor = match view.dtype() {
            Dtype::F16 => decode!(half::f16, F32, f32::from),
            Dtype::BF16 => decode!(half::bf16, F32, f32::from),
            Dtype::F32 => decode!(f32, F32, f32::from),
            Dtype::F64 => decode!(f64, F64, f64::from),
            Dtype::I8 => decode!(i8, I64, i64::from),
            Dtype::I16 => decode!(i16, I64, i64::from),
            Dtype::I32 => decode!(i32, I64, i64::from),
            Dtype::I64 => decode!(i64, I64, i64::from),
            Dtype::BOOL | Dtype::U8 => decode!(u8, U64, u64::from),
            Dtype::U16 => decode!(u16, U64, u64::from),
            Dtype::U32 => decode!(u32, U64, u64::from),
            Dtype::U64 => decode!(u64, U64, u64::from),
            other => {
                return Err(Error::format(
                    path,
                    format!("the number type of tensor \"{name}\""),
                    format!("{other:?}"),
                    "F16, BF16, F32, F64, integers or truth values",
                ));
            }
        };
        let tensor = tensor.map_err(|error| corrupt(format!("tensor \"{name}\": {error}")))?;
        tensors.entries.push((name, tensor));
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, array};
    use proptest::prelude::*;

    fn example() -> Tensors {
        let mut tensors = Tensors::new();
        tensors.insert("counter", Tensor::U64(array![u64::MAX, 7].into_dyn()));
        tensors.insert("step", Tensor::I64(ndarray::arr0(i64::MIN).into_dyn()));
        tensors.insert(
            "loss",
            Tensor::F64(array![f64::MIN_POSITIVE, -0.0].into_dyn()),
        );
        tensors.insert("w", Tensor::F32(array![[1.0_f32, -2.5, 3e-40]].into_dyn()));
        tensors.insert("none", Tensor::F32(Array1::zeros(0).into_dyn()));
        for key in ["format", "a", "z", "kind \"quoted\""] {
            tensors.metadata.insert(key.into(), "värde".into());
        }
        tensors
    }

    #[test]
    fn tensors_survive_and_the_bytes_are_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        write_safetensors(&path, &example()).unwrap();
        let bytes = fs::read(&path).unwrap();
        let read = read_safetensors(&path).unwrap();
        assert_eq!(read, example());
        assert_eq!(read.source(), path.display().to_string());
        write_safetensors(&path, &read).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        let n = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(n % 8, 0, "the numbers are aligned");
    }

    /// The crate's own reader is the judge of what is written.
    #[test]
    fn the_layout_is_that_of_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let mut tensors = Tensors::new();
        tensors.insert("w", Tensor::F32(array![[1.0_f32, 2.0, 3.0]].into_dyn()));
        tensors.insert("n", Tensor::U64(array![5_u64].into_dyn()));
        write_safetensors(&path, &tensors).unwrap();
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let w = file.tensor("w").unwrap();
        assert_eq!((w.dtype(), w.shape()), (Dtype::F32, &[1, 3][..]));
        assert_eq!(w.data(), [1.0_f32, 2.0, 3.0].map(f32::to_le_bytes).concat());
        assert_eq!(file.tensor("n").unwrap().data(), 5_u64.to_le_bytes());
    }

    #[test]
    fn half_precision_and_small_integers_are_widened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let half = [1.5, -65504.0, 6e-8].map(half::f16::from_f32);
        let brain = [1.5, -3e38].map(half::bf16::from_f32);
        let half: Vec<u8> = half.iter().flat_map(|x| x.to_le_bytes()).collect();
        let brain: Vec<u8> = brain.iter().flat_map(|x| x.to_le_bytes()).collect();
        let view =
            |dtype, n, data| safetensors::tensor::TensorView::new(dtype, vec![n], data).unwrap();
        let views = [
            ("half", view(Dtype::F16, 3, &half)),
            ("brain", view(Dtype::BF16, 2, &brain)),
            ("byte", view(Dtype::I8, 1, &[0xff])),
            ("truth", view(Dtype::BOOL, 2, &[0, 1])),
        ];
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let read = read_safetensors(&path).unwrap();
        let expected = array![1.5, -65504.0, 5.960_464_5e-8].into_dyn();
        assert_eq!(read.f32("half").unwrap(), expected);
        assert_eq!(read.f32("brain").unwrap()[[0]], 1.5);
        assert!((read.f32("brain").unwrap()[[1]] / -3e38 - 1.0).abs() < 0.01);
        assert_eq!(read.i64("byte").unwrap(), array![-1].into_dyn());
        assert_eq!(read.u64("truth").unwrap(), array![0, 1].into_dyn());
    }

    #[test]
    fn getters_say_what_is_wrong() {
        let tensors = example();
        assert_eq!(tensors.len(), 5);
        assert!(!tensors.is_empty());
        assert_eq!(tensors.names().last(), Some("none"));
        assert_eq!(tensors.to_f32("loss").unwrap().shape(), [2]);
        assert!(matches!(tensors.f32("v"), Err(Error::Missing { .. })));
        let error = tensors.f32("loss").unwrap_err().to_string();
        assert_eq!(
            error,
            "tensors: the number type of tensor \"loss\": found F64; allowed: F32"
        );
        assert!(tensors.to_f32("counter").is_err());
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        write_safetensors(&path, &example()).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(
                matches!(read_safetensors(&path), Err(Error::Format { .. })),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(changes in prop::collection::vec((0_usize..500, any::<u8>()), 1..4)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.safetensors");
            write_safetensors(&path, &example()).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            for (position, value) in changes {
                if let Some(byte) = bytes.get_mut(position) {
                    *byte = value;
                }
            }
            fs::write(&path, bytes).unwrap();
            let _ = read_safetensors(&path);
        }
    }
}
