//! NumPy's files: one array (`.npy`) and several named ones (`.npz`).
//!
//! The formats are those of NEP 1 and numpy.lib.format. Reading takes every real number type in either
//! byte order and both memory layouts, and widens to f64; integers beyond 2^53 are rounded to the nearest.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::Path;

use ndarray::{ArrayBase, ArrayD, ArrayViewD, Data, Dimension, IxDyn, ShapeBuilder};
use ndarray_npy::npy::header::Header;
use ndarray_npy::{NpzWriter, WritableElement, WriteNpyExt};

use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use crate::zip_archive;

/// Reads the array of a `.npy` file.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is no such
/// file, is cut short or holds something other than real numbers.
pub fn read_npy(path: &Path) -> Result<ArrayD<f64>> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    decode(path, "the array", &bytes)
}

/// Reads every array of a `.npz` file, in the file's order, under its name without `.npy`.
///
/// # Errors
/// As [`read_npy`].
pub fn read_npz(path: &Path) -> Result<Vec<(String, ArrayD<f64>)>> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    let corrupt = |error: &dyn std::fmt::Display| {
        Error::format(path, "the archive", error.to_string(), "an npz file")
    };
    let mut archive = zip_archive::open(bytes).map_err(|error| corrupt(&error))?;
    let mut arrays = Vec::with_capacity(archive.len());
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| corrupt(&error))?;
        let name = entry
            .name()
            .strip_suffix(".npy")
            .unwrap_or(entry.name())
            .to_owned();
        let size = entry.size();
        let mut content = Vec::new();
        // An archive may claim less than it unpacks to; one byte more than the claim is proof enough.
        entry
            .take(size.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(|error| corrupt(&error))?;
        if content.len() as u64 != size {
            return Err(corrupt(&format!(
                "an entry {name:?} that is not of its stated size"
            )));
        }
        let array = decode(path, &format!("the array {name:?}"), &content)?;
        arrays.push((name, array));
    }
    Ok(arrays)
}

/// Writes an array as a `.npy` file, whole or not at all.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_npy<S, D>(path: &Path, array: &ArrayBase<S, D>) -> Result<()>
where
    S: Data,
    S::Elem: WritableElement,
    D: Dimension,
{
    let mut bytes = Vec::new();
    array
        .write_npy(&mut bytes)
        .map_err(|error| Error::write(path, io::Error::other(error)))?;
    write_atomically(path, &bytes)
}

/// Writes named arrays as an uncompressed `.npz` file, whole or not at all. The same arrays give the same
/// bytes.
///
/// # Errors
/// [`Error::Argument`] if two arrays have the same name; [`Error::Io`] if the file cannot be written.
pub fn write_npz<T: WritableElement>(path: &Path, arrays: &[(&str, ArrayViewD<T>)]) -> Result<()> {
    for (position, (name, _)) in arrays.iter().enumerate() {
        if arrays
            .iter()
            .take(position)
            .any(|(earlier, _)| earlier == name)
        {
            return Err(Error::argument(
                "an array's name",
                format!("{name:?} twice"),
                "each name once",
            ));
        }
    }
    // By way of memory: an archive that meets a full disk prints a line of its own when it is dropped.
    let mut bytes = Cursor::new(Vec::new());
    let failed = |error| Error::write(path, io::Error::other(error));
    let mut archive = NpzWriter::new(&mut bytes);
    for (name, array) in arrays {
        archive.add_array(*name, array).map_err(failed)?;
    }
    archive.finish().map_err(failed)?;
    write_atomically(path, bytes.get_ref())
}

/// The array that the bytes of a `.npy` file hold; `what` names it in errors.
fn decode(path: &Path, what: &str, bytes: &[u8]) -> Result<ArrayD<f64>> {
    let header_fault = |found: String| {
        Error::format(
            path,
            format!("the header of {what}"),
            found,
            "what numpy.save writes",
        )
    };
    // A dictionary of three entries has a handful of brackets. The parser descends once for each, so that
    // a header made of brackets would exhaust the stack.
    let header = match bytes {
        [_, _, _, _, _, _, 1, _, a, b, rest @ ..] => {
            rest.get(..usize::from(u16::from_le_bytes([*a, *b])))
        }
        [_, _, _, _, _, _, _, _, a, b, c, d, rest @ ..] => {
            usize::try_from(u32::from_le_bytes([*a, *b, *c, *d]))
                .ok()
                .and_then(|length| rest.get(..length))
        }
        _ => None,
    };
    let Some(header) = header else {
        return Err(header_fault("the end of the file".to_owned()));
    };
    if header.iter().filter(|byte| b"([{".contains(byte)).count() > 16 {
        return Err(header_fault("too many brackets".to_owned()));
    }
    let mut rest = bytes;
    let header = Header::from_reader(&mut rest).map_err(|error| header_fault(error.to_string()))?;

    let descriptor = header.type_descriptor.to_string();
    let descriptor = descriptor.trim_matches(['\'', '"']);
    let (order, element) = match descriptor.as_bytes() {
        [order @ (b'<' | b'>' | b'|' | b'='), ..] => (*order, &descriptor[1..]),
        _ => (b'=', descriptor),
    };
    let big_endian = match order {
        b'>' => true,
        b'=' => cfg!(target_endian = "big"),
        _ => false,
    };
    let Some((size, widen)) = widening(element) else {
        return Err(Error::format(
            path,
            format!("the number type of {what}"),
            format!("{descriptor:?}"),
            "f4, f8, i1, i2, i4, i8, u1, u2, u4, u8 or b1",
        ));
    };
    let length = header
        .shape
        .iter()
        .try_fold(1_usize, |product, &n| product.checked_mul(n));
    let stated = length.and_then(|length| length.checked_mul(size));
    if stated != Some(rest.len()) {
        return Err(Error::format(
            path,
            what,
            format!("{} bytes of numbers", rest.len()),
            format!(
                "the {size} bytes times the shape {:?} that the header states",
                header.shape
            ),
        ));
    }
    let mut word = [0; 8];
    let values: Vec<f64> = rest
        .chunks_exact(size)
        .map(|chunk| {
            let word = &mut word[..size];
            word.copy_from_slice(chunk);
            if big_endian {
                word.reverse();
            }
            widen(word)
        })
        .collect();
    let shape = IxDyn(&header.shape).set_f(header.layout.is_fortran());
    ArrayD::from_shape_vec(shape, values).map_err(|error| header_fault(error.to_string()))
}

/// From the little-endian bytes of a number to f64.
type Widen = fn(&[u8]) -> f64;

/// The size of a NumPy number type in bytes and its widening to f64.
fn widening(element: &str) -> Option<(usize, Widen)> {
    macro_rules! widen {
        ($number:ty) => {
            (size_of::<$number>(), |bytes| {
                let mut word = [0; size_of::<$number>()];
                word.copy_from_slice(bytes);
                <$number>::from_le_bytes(word) as f64
            })
        };
    }
    Some(match element {
        "f4" => widen!(f32),
        "f8" => widen!(f64),
        "i1" => widen!(i8),
        "i2" => widen!(i16),
        "i4" => widen!(i32),
        "i8" => widen!(i64),
        "u1" | "b1" => widen!(u8),
        "u2" => widen!(u16),
        "u4" => widen!(u32),
        "u8" => widen!(u64),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, Array1, Array2, array};
    use proptest::prelude::*;

    fn round_trip<T: WritableElement + Clone>(array: &ArrayD<T>) -> ArrayD<f64> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_npy(&path, array).unwrap();
        read_npy(&path).unwrap()
    }

    /// A file as NumPy writes it: `numpy.save` of a Fortran-ordered, big-endian 2 x 3 array of i2.
    #[test]
    fn fortran_order_and_big_endian() {
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let mut header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }".to_owned();
        header.push_str(&" ".repeat(0x75 - header.len()));
        bytes.extend(header.bytes().chain([b'\n']));
        for column in [[1_i16, 4], [2, 5], [3, -6]] {
            for value in column {
                bytes.extend(value.to_be_bytes());
            }
        }
        let array = decode(Path::new("a.npy"), "the array", &bytes).unwrap();
        assert_eq!(array, array![[1.0, 2.0, 3.0], [4.0, 5.0, -6.0]].into_dyn());
    }

    #[test]
    fn every_number_type() {
        macro_rules! check {
            ($($number:ty),*) => { $(
                let values = [<$number>::MIN, 0 as $number, 1 as $number, <$number>::MAX];
                let read = round_trip(&Array1::from_vec(values.to_vec()).into_dyn());
                assert_eq!(read, Array1::from_vec(values.map(|x| x as f64).to_vec()).into_dyn());
            )* };
        }
        check!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);
        assert_eq!(
            round_trip(&array![true, false].into_dyn()),
            array![1.0, 0.0].into_dyn()
        );
    }

    #[test]
    fn scalars_and_empty_arrays() {
        assert_eq!(
            round_trip(&ndarray::arr0(2.5).into_dyn()),
            ndarray::arr0(2.5).into_dyn()
        );
        let empty = Array2::<f64>::zeros((0, 3)).into_dyn();
        assert_eq!(round_trip(&empty).shape(), [0, 3]);
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_npy(&path, &array![[1.0, 2.0], [3.0, 4.0]]).unwrap();
        let npy = fs::read(&path).unwrap();
        for length in 0..npy.len() {
            let error = decode(&path, "the array", &npy[..length]).unwrap_err();
            assert!(matches!(error, Error::Format { .. }), "{length}: {error}");
        }
        let path = folder.path().join("a.npz");
        write_npz(&path, &[("x", array![1.0, 2.0].view().into_dyn())]).unwrap();
        let npz = fs::read(&path).unwrap();
        for length in 0..npz.len() {
            fs::write(&path, &npz[..length]).unwrap();
            assert!(read_npz(&path).is_err(), "{length}");
        }
    }

    #[test]
    fn hostile_headers_are_errors() {
        let npy = |dictionary: &str| {
            let mut bytes = b"\x93NUMPY\x02\x00".to_vec();
            bytes.extend((dictionary.len() as u32 + 1).to_le_bytes());
            bytes.extend(dictionary.bytes().chain([b'\n']));
            bytes.extend([0; 8]);
            decode(Path::new("a.npy"), "the array", &bytes)
        };
        assert!(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }").is_ok());
        for bad in [
            "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999999999), }",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
            "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': 'é8', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': [('x', '<f8')], 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f8', 'shape': (1,), }",
            "",
            &"(".repeat(60_000),
            &format!("\n{}", "[".repeat(60_000)),
        ] {
            assert!(matches!(npy(bad), Err(Error::Format { .. })), "{bad:.80}");
        }
    }

    #[test]
    fn npz_keeps_names_order_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.npz"), folder.path().join("b.npz"));
        let (x, y) = (array![[1.0, 2.0]].into_dyn(), array![3.0].into_dyn());
        for path in [&a, &b] {
            write_npz(path, &[("y", y.view()), ("x", x.view())]).unwrap();
        }
        assert_eq!(
            read_npz(&a).unwrap(),
            [("y".to_owned(), y.clone()), ("x".to_owned(), x)]
        );
        assert_eq!(fs::read(a).unwrap(), fs::read(&b).unwrap());
        assert!(matches!(
            write_npz(&b, &[("y", y.view()), ("y", y.view())]),
            Err(Error::Argument { .. })
        ));
    }

    proptest! {
        #[test]
        fn arrays_survive(shape in prop::collection::vec(0_usize..5, 0..4), seed: u64) {
            let mut random = crate::random::Random::new(seed, crate::random::Stream::NOISE, 0);
            let array = Array::from_shape_simple_fn(IxDyn(&shape), || random.standard_normal());
            prop_assert_eq!(round_trip(&array), array.clone());
            let transposed = array.t().to_owned();
            prop_assert_eq!(round_trip(&transposed), transposed);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, position in 0_usize..200, value: u8) {
            let _ = decode(Path::new("x.npy"), "the array", &bytes);
            let mut npy = Vec::new();
            array![1.0, 2.0].write_npy(&mut npy).unwrap();
            if let Some(byte) = npy.get_mut(position) {
                *byte = value;
            }
            let _ = decode(Path::new("x.npy"), "the array", &npy);
        }
    }
}
