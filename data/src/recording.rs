//! Numeric recordings from a user's file: one row per time step, one column per signal.

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayD, Axis, Ix2};

use crate::error::{Error, Result};
use crate::npy::{read_npy, read_npz};

/// A recording: values by time and column, and the columns' names.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// The values, [time, column].
    pub values: Array2<f64>,
    /// The name of each column; `column_1`, `column_2`, ... where the file gives none.
    pub columns: Vec<String>,
}

/// Reads a recording; the extension tells the format.
///
/// - `.npy`: one dimension is one column, two are [time, column].
/// - `.npz`: the only array, or the one named after the file: `recording.npz:lead`.
/// - `.csv`, `.tsv`: cells of numbers apart by commas or tabs. A first line with any cell that is no number
///   is taken for the columns' names; lines that begin with `#` are left out.
///
/// Values that are not finite are read as they are: whether they may be is for the reader to say.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Io`] if the file cannot be read, [`Error::Format`] if its content is not
/// what the format demands or it has no values, [`Error::Argument`] for another extension.
pub fn read_matrix(path: &Path) -> Result<Matrix> {
    let (file, array) = split_array_name(path);
    let extension = file
        .extension()
        .map(|extension| extension.to_string_lossy().to_lowercase());
    let matrix = match extension.as_deref() {
        Some("npy") => from_array(path, read_npy(&file)?)?,
        Some("npz") => from_array(path, choose(&file, array.as_deref(), read_npz(&file)?)?)?,
        Some("csv") => read_separated(path, b',')?,
        Some("tsv") => read_separated(path, b'\t')?,
        _ => {
            return Err(Error::argument(
                "a recording",
                format!("the file {}", path.display()),
                "a file whose name ends in .npy, .npz, .csv or .tsv",
            ));
        }
    };
    if matrix.values.is_empty() {
        return Err(Error::format(
            path,
            "the recording",
            format!(
                "{} rows and {} columns",
                matrix.values.nrows(),
                matrix.values.ncols()
            ),
            "at least one value",
        ));
    }
    Ok(matrix)
}

/// `recording.npz:lead` as the file `recording.npz` and the array `lead`; the file that a recording is in.
pub fn split_array_name(path: &Path) -> (PathBuf, Option<String>) {
    if let Some(text) = path.to_str()
        && let Some((file, array)) = text.rsplit_once(".npz:")
    {
        return (PathBuf::from(format!("{file}.npz")), Some(array.to_owned()));
    }
    (path.to_owned(), None)
}

fn choose(
    path: &Path,
    name: Option<&str>,
    arrays: Vec<(String, ArrayD<f64>)>,
) -> Result<ArrayD<f64>> {
    let names: Vec<String> = arrays.iter().map(|(name, _)| name.clone()).collect();
    let mut chosen = arrays
        .into_iter()
        .filter(|(found, _)| name.is_none_or(|name| found == name))
        .map(|(_, array)| array);
    match (chosen.next(), chosen.next()) {
        (Some(array), None) => Ok(array),
        _ => Err(Error::format(
            path,
            "the choice of an array",
            name.map_or("no name".to_owned(), |name| format!("{name:?}")),
            format!("FILE.npz:NAME with one of the names {}", names.join(", ")),
        )),
    }
}

fn from_array(path: &Path, array: ArrayD<f64>) -> Result<Matrix> {
    let shape = array.shape().to_vec();
    let values = match shape.len() {
        1 => array.insert_axis(Axis(1)).into_dimensionality::<Ix2>(),
        _ => array.into_dimensionality::<Ix2>(),
    };
    let values = values.map_err(|_| {
        Error::format(
            path,
            "the array",
            format!("the shape {shape:?}"),
            "[time] or [time, column]",
        )
    })?;
    let columns = (1..=values.ncols())
        .map(|column| format!("column_{column}"))
        .collect();
    Ok(Matrix { values, columns })
}

fn read_separated(path: &Path, separator: u8) -> Result<Matrix> {
    let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(bytes.as_slice());
    let mut columns: Option<Vec<String>> = None;
    let mut values = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            Error::format(
                path,
                format!("line {line}"),
                error.to_string(),
                "text in UTF-8",
            )
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let columns = match &columns {
            Some(columns) => columns,
            None => {
                let header = record.iter().any(|cell| cell.parse::<f64>().is_err());
                let names = record.iter().enumerate().map(|(index, cell)| match cell {
                    cell if header && !cell.is_empty() => cell.to_owned(),
                    _ => format!("column_{}", index + 1),
                });
                let names = &*columns.insert(names.collect());
                if header {
                    continue;
                }
                names
            }
        };
        if record.len() != columns.len() {
            return Err(Error::format(
                path,
                format!("line {line}"),
                format!("{} cells", record.len()),
                format!("{}, as in the first line", columns.len()),
            ));
        }
        for (cell, column) in record.iter().zip(columns) {
            let value: f64 = cell.parse().map_err(|_| {
                let found = if cell.is_empty() {
                    "nothing".to_owned()
                } else {
                    format!("{cell:?}")
                };
                Error::format(
                    path,
                    format!("line {line}, column \"{column}\""),
                    found,
                    "a number",
                )
            })?;
            values.push(value);
        }
    }
    let columns = columns.unwrap_or_default();
    let rows = values.len().checked_div(columns.len()).unwrap_or(0);
    let values = Array2::from_shape_vec((rows, columns.len()), values)
        .map_err(|error| Error::format(path, "the table", error.to_string(), "full rows"))?;
    Ok(Matrix { values, columns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::npy::{write_npy, write_npz};
    use ndarray::{Array3, array};
    use proptest::prelude::*;

    fn read(name: &str, text: &str) -> Result<Matrix> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        read_matrix(&path)
    }

    #[test]
    fn csv_with_and_without_a_header() {
        let named = read("a.csv", "time, lead\n# note\n0,1.5\n1,-2e-3\n").unwrap();
        assert_eq!(named.columns, ["time", "lead"]);
        assert_eq!(named.values, array![[0.0, 1.5], [1.0, -2e-3]]);
        let bare = read("a.tsv", "0\t1.5\r\n1\tnan\r\n").unwrap();
        assert_eq!(bare.columns, ["column_1", "column_2"]);
        assert!(bare.values[[1, 1]].is_nan());
        assert_eq!(
            read("a.csv", ",0\n1,2\n").unwrap().columns,
            ["column_1", "0"]
        );
    }

    #[test]
    fn a_bad_cell_is_named_by_line_and_column() {
        let message = |text| read("a.csv", text).unwrap_err().to_string();
        let bad = message("time,lead\n0,1\n1,x\n");
        assert!(
            bad.contains("line 3, column \"lead\": found \"x\"; allowed: a number"),
            "{bad}"
        );
        let empty = message("time,lead\n0,\n");
        assert!(
            empty.contains("line 2, column \"lead\": found nothing"),
            "{empty}"
        );
        let short = message("1,2\n3\n");
        assert!(
            short.contains("line 2: found 1 cells; allowed: 2"),
            "{short}"
        );
    }

    #[test]
    fn nothing_to_read_is_an_error() {
        for text in ["", "time,lead\n", "# only a comment\n", "\n\n"] {
            assert!(
                matches!(read("a.csv", text), Err(Error::Format { .. })),
                "{text:?}"
            );
        }
        assert!(matches!(read("a.txt", "1"), Err(Error::Argument { .. })));
        assert!(matches!(
            read_matrix(Path::new("/no/such.csv")),
            Err(Error::Missing { .. })
        ));
        assert!(matches!(read("a.npy", "1,2"), Err(Error::Format { .. })));
        assert!(matches!(read("a.npz", "1,2"), Err(Error::Format { .. })));
    }

    #[test]
    fn npy_of_one_or_two_dimensions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_npy(&path, &array![1_i16, 2, 3]).unwrap();
        assert_eq!(
            read_matrix(&path).unwrap().values,
            array![[1.0], [2.0], [3.0]]
        );
        write_npy(&path, &array![[1.0_f32, 2.0]]).unwrap();
        assert_eq!(read_matrix(&path).unwrap().values, array![[1.0, 2.0]]);
        write_npy(&path, &Array3::<f64>::zeros((1, 1, 1))).unwrap();
        assert!(
            read_matrix(&path)
                .unwrap_err()
                .to_string()
                .contains("the shape [1, 1, 1]")
        );
    }

    #[test]
    fn npz_by_name_or_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let (x, y) = (array![1.0].into_dyn(), array![[2.0, 3.0]].into_dyn());
        write_npz(&path, &[("x", x.view())]).unwrap();
        assert_eq!(read_matrix(&path).unwrap().values, array![[1.0]]);
        write_npz(&path, &[("x", x.view()), ("y", y.view())]).unwrap();
        let named = |name: &str| PathBuf::from(format!("{}:{name}", path.display()));
        assert_eq!(read_matrix(&named("y")).unwrap().values, array![[2.0, 3.0]]);
        for path in [path.clone(), named("z"), named("")] {
            let error = read_matrix(&path).unwrap_err().to_string();
            assert!(error.contains("one of the names x, y"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9a,\"\n\r#. \té-]{0,60}") {
            let _ = read("a.csv", &text);
        }
    }
}
