//! Tables of Nullcline: named, typed columns in parquet and csv.
//!
//! A crate of its own because polars, which reads and writes the files, takes long to build: only the
//! application links it. A [`Table`] is plain data; polars is used at the files and nowhere else.
//!
//! Units: parquet has no place for a unit in a column, so the file's key-value metadata holds one entry per
//! column that has one, `unit:COLUMN` = `steps`. In csv the unit stands in the column's title:
//! `time_constant [steps]`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Cursor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use nullcline_data::{Error, Result, write_atomically};
use polars::prelude::{
    CsvReadOptions, CsvWriter, DataFrame, DataType, KeyValueMetadata, NamedFrom, ParquetReader,
    ParquetWriter, PolarsResult, SerReader, SerWriter, Series,
};

/// What stands before a column's name in the key of its unit in a parquet file's metadata.
const UNIT: &str = "unit:";
/// The key under which Arrow's schema is stored in a parquet file's metadata; it is no one's metadata.
const ARROW_SCHEMA: &str = "ARROW:schema";

/// The values of a column; `None` where a row has no value.
///
/// Made from a list by `into()`: `vec![1.0, 2.0].into()`, `vec![Some("a"), None].into()`.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Signed integers.
    I64(Vec<Option<i64>>),
    /// Unsigned integers.
    U64(Vec<Option<u64>>),
    /// Numbers; NaN is a value, and differs from none.
    F64(Vec<Option<f64>>),
    /// Truth values.
    Bool(Vec<Option<bool>>),
    /// Texts.
    Text(Vec<Option<String>>),
}

macro_rules! values_from {
    ($($kind:ident: $item:ty),* $(,)?) => { $(
        impl From<Vec<$item>> for Values {
            fn from(values: Vec<$item>) -> Values {
                Values::$kind(values.into_iter().map(|value| Some(value.into())).collect())
            }
        }
        impl From<Vec<Option<$item>>> for Values {
            fn from(values: Vec<Option<$item>>) -> Values {
                Values::$kind(values.into_iter().map(|value| value.map(Into::into)).collect())
            }
        }
    )* };
}

values_from!(I64: i64, I64: i32, U64: u64, U64: u32, F64: f64, F64: f32, Bool: bool, Text: String, Text: &str);

impl From<Vec<usize>> for Values {
    fn from(values: Vec<usize>) -> Values {
        Values::U64(values.into_iter().map(|value| Some(value as u64)).collect())
    }
}

impl Values {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Values::I64(values) => values.len(),
            Values::U64(values) => values.len(),
            Values::F64(values) => values.len(),
            Values::Bool(values) => values.len(),
            Values::Text(values) => values.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type in words.
    pub fn type_name(&self) -> &'static str {
        match self {
            Values::I64(_) => "integers",
            Values::U64(_) => "unsigned integers",
            Values::F64(_) => "numbers",
            Values::Bool(_) => "truth values",
            Values::Text(_) => "texts",
        }
    }

    fn append(&mut self, other: &Values) -> bool {
        match (self, other) {
            (Values::I64(mine), Values::I64(other)) => mine.extend_from_slice(other),
            (Values::U64(mine), Values::U64(other)) => mine.extend_from_slice(other),
            (Values::F64(mine), Values::F64(other)) => mine.extend_from_slice(other),
            (Values::Bool(mine), Values::Bool(other)) => mine.extend_from_slice(other),
            (Values::Text(mine), Values::Text(other)) => mine.extend_from_slice(other),
            _ => return false,
        }
        true
    }

    fn to_series(&self, name: &str) -> Series {
        match self {
            Values::I64(values) => Series::new(name.into(), values.as_slice()),
            Values::U64(values) => Series::new(name.into(), values.as_slice()),
            Values::F64(values) => Series::new(name.into(), values.as_slice()),
            Values::Bool(values) => Series::new(name.into(), values.as_slice()),
            Values::Text(values) => Series::new(name.into(), values.as_slice()),
        }
    }

    /// The values of a series, or none if its type is not one of ours.
    fn of_series(series: &Series) -> PolarsResult<Option<Values>> {
        Ok(Some(match series.dtype() {
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Values::I64(series.cast(&DataType::Int64)?.i64()?.iter().collect())
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Values::U64(series.cast(&DataType::UInt64)?.u64()?.iter().collect())
            }
            DataType::Float32 | DataType::Float64 => {
                Values::F64(series.cast(&DataType::Float64)?.f64()?.iter().collect())
            }
            DataType::Boolean => Values::Bool(series.bool()?.iter().collect()),
            DataType::String => Values::Text(
                series
                    .str()?
                    .iter()
                    .map(|text| text.map(str::to_owned))
                    .collect(),
            ),
            // A column without a single value has no type of its own.
            DataType::Null => Values::Text(vec![None; series.len()]),
            _ => return Ok(None),
        }))
    }
}

/// A column of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The name, in snake_case.
    pub name: String,
    /// The unit, `""` for none.
    pub unit: String,
    /// One value, or none, for each row.
    pub values: Values,
}

/// Columns of equal length, each with a name, a type and a unit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    source: String,
    columns: Vec<Column>,
    /// What the table is, as text by key; kept in parquet, not in csv.
    pub metadata: BTreeMap<String, String>,
}

impl Table {
    /// A table without columns.
    pub fn new() -> Table {
        Table::default()
    }

    /// Adds a column; `unit` is `""` for none.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is a column of that name or the number of rows differs from the others'.
    pub fn add(&mut self, name: &str, unit: &str, values: impl Into<Values>) -> Result<()> {
        let values = values.into();
        if self.column(name).is_some() {
            return Err(Error::argument(
                "a column",
                format!("{name:?} twice"),
                "each name once",
            ));
        }
        if !self.columns.is_empty() && values.len() != self.row_count() {
            return Err(Error::argument(
                format!("the column {name:?}"),
                format!("{} rows", values.len()),
                format!("{}, as in the columns before it", self.row_count()),
            ));
        }
        self.columns.push(Column {
            name: name.to_owned(),
            unit: unit.to_owned(),
            values,
        });
        Ok(())
    }

    /// The number of rows.
    pub fn row_count(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }

    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// A column of numbers; integers are widened, and rows without a value are NaN.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such column, [`Error::Format`] if it holds no numbers.
    pub fn f64_column(&self, name: &str) -> Result<Vec<f64>> {
        Ok(match self.require(name)? {
            Values::F64(values) => values.iter().map(|x| x.unwrap_or(f64::NAN)).collect(),
            Values::I64(values) => values
                .iter()
                .map(|x| x.map_or(f64::NAN, |x| x as f64))
                .collect(),
            Values::U64(values) => values
                .iter()
                .map(|x| x.map_or(f64::NAN, |x| x as f64))
                .collect(),
            other => return Err(self.other_type(name, other.type_name(), "numbers")),
        })
    }

    /// A column of signed integers without gaps.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such column, [`Error::Format`] if it holds something else, a number
    /// that does not fit, or a row has no value.
    pub fn i64_column(&self, name: &str) -> Result<Vec<i64>> {
        let values: Option<Vec<i64>> = match self.require(name)? {
            Values::I64(values) => values.iter().copied().collect(),
            Values::U64(values) => values
                .iter()
                .map(|x| x.and_then(|x| x.try_into().ok()))
                .collect(),
            other => return Err(self.other_type(name, other.type_name(), "integers")),
        };
        values.ok_or_else(|| self.gap(name))
    }

    /// A column of unsigned integers without gaps.
    ///
    /// # Errors
    /// As [`i64_column`](Self::i64_column).
    pub fn u64_column(&self, name: &str) -> Result<Vec<u64>> {
        let values: Option<Vec<u64>> = match self.require(name)? {
            Values::U64(values) => values.iter().copied().collect(),
            Values::I64(values) => values
                .iter()
                .map(|x| x.and_then(|x| x.try_into().ok()))
                .collect(),
            other => return Err(self.other_type(name, other.type_name(), "unsigned integers")),
        };
        values.ok_or_else(|| self.gap(name))
    }

    /// A column of truth values without gaps.
    ///
    /// # Errors
    /// As [`i64_column`](Self::i64_column).
    pub fn bool_column(&self, name: &str) -> Result<Vec<bool>> {
        match self.require(name)? {
            Values::Bool(values) => values
                .iter()
                .copied()
                .collect::<Option<_>>()
                .ok_or_else(|| self.gap(name)),
            other => Err(self.other_type(name, other.type_name(), "truth values")),
        }
    }

    /// A column of texts; `None` where a row has no value.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such column, [`Error::Format`] if it holds no texts.
    pub fn text_column(&self, name: &str) -> Result<Vec<Option<&str>>> {
        match self.require(name)? {
            Values::Text(values) => Ok(values.iter().map(Option::as_deref).collect()),
            other => Err(self.other_type(name, other.type_name(), "texts")),
        }
    }

    /// Adds the rows of another table with the same columns in the same order.
    ///
    /// A table without columns takes those of the other. Metadata of the other is added where a key is new.
    ///
    /// # Errors
    /// [`Error::Argument`] if a name, unit or type differs; this table is then as it was.
    pub fn concat(&mut self, other: &Table) -> Result<()> {
        if self.columns.is_empty() {
            self.columns.clone_from(&other.columns);
        } else {
            let titles = |table: &Table| -> Vec<String> {
                let title = |c: &Column| format!("{} ({})", title(c), c.values.type_name());
                table.columns.iter().map(title).collect()
            };
            let (mine, theirs) = (titles(self), titles(other));
            if mine != theirs {
                return Err(Error::argument(
                    "the columns of a table to add",
                    theirs.join(", "),
                    mine.join(", "),
                ));
            }
            for (mine, theirs) in self.columns.iter_mut().zip(&other.columns) {
                // The types are the same, as has just been checked.
                let same = mine.values.append(&theirs.values);
                debug_assert!(same);
            }
        }
        for (key, value) in &other.metadata {
            self.metadata
                .entry(key.clone())
                .or_insert_with(|| value.clone());
        }
        Ok(())
    }

    /// Writes a parquet file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write_parquet(&self, path: &Path) -> Result<()> {
        let units = self
            .columns
            .iter()
            .filter(|column| !column.unit.is_empty())
            .map(|column| (format!("{UNIT}{}", column.name), column.unit.clone()));
        let metadata = self
            .metadata
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()));
        let metadata = KeyValueMetadata::from_static(units.chain(metadata).collect());
        let mut frame = self
            .to_frame(|column| column.name.clone())
            .map_err(|e| failed(path, e))?;
        // By way of memory, since polars buries what the operating system says of a file in a text of its own.
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes)
            .with_key_value_metadata(Some(metadata))
            .set_parallel(false)
            .finish(&mut frame)
            .map_err(|e| failed(path, e))?;
        write_atomically(path, &bytes)
    }

    /// Reads a parquet file.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Io`] if it cannot be read; [`Error::Format`] if it is no parquet file, is
    /// cut short or damaged, or has a column of another type. (A file that is whole but altered in its
    /// counts can make polars ask for more memory than there is, which ends the program.)
    pub fn read_parquet(path: &Path) -> Result<Table> {
        let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
        read_frame(path, "a whole parquet file", || {
            let mut reader = ParquetReader::new(Cursor::new(bytes));
            let metadata = reader.get_metadata()?.key_value_metadata().clone();
            let mut table = Table::of_frame(path, &reader.finish()?)?;
            for entry in metadata.into_iter().flatten() {
                let value = entry.value.unwrap_or_default();
                match entry.key.strip_prefix(UNIT) {
                    Some(name) => {
                        if let Some(column) = table.columns.iter_mut().find(|c| c.name == name) {
                            column.unit = value;
                        }
                    }
                    None if entry.key == ARROW_SCHEMA => {}
                    None => {
                        table.metadata.insert(entry.key, value);
                    }
                }
            }
            Ok(table)
        })
    }

    /// Writes a csv file, whole or not at all: titles with units in the first line, no text for a row
    /// without a value, numbers in the shortest form that reads back to the same bits.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write_csv(&self, path: &Path) -> Result<()> {
        let mut frame = self.to_frame(title).map_err(|e| failed(path, e))?;
        let mut bytes = Vec::new();
        CsvWriter::new(&mut bytes)
            .n_threads(1)
            .finish(&mut frame)
            .map_err(|e| failed(path, e))?;
        write_atomically(path, &bytes)
    }

    /// Reads a csv file with titles in its first line. The types are read off the values: whole numbers,
    /// numbers, `true` and `false`, else texts.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Io`] if it cannot be read; [`Error::Format`] if its rows are not of
    /// equal length or a title occurs twice.
    pub fn read_csv(path: &Path) -> Result<Table> {
        let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
        read_frame(path, "rows of equal length below a line of titles", || {
            let reader = CsvReadOptions::default()
                .with_infer_schema_length(None)
                .with_n_threads(Some(1))
                .into_reader_with_file_handle(Cursor::new(bytes));
            let mut table = Table::of_frame(path, &reader.finish()?)?;
            for column in &mut table.columns {
                let split = column
                    .name
                    .strip_suffix(']')
                    .and_then(|title| title.rsplit_once(" ["));
                if let Some((name, unit)) = split.map(|(a, b)| (a.to_owned(), b.to_owned())) {
                    (column.name, column.unit) = (name, unit);
                }
            }
            Ok(table)
        })
    }

    fn to_frame(&self, title: impl Fn(&Column) -> String) -> PolarsResult<DataFrame> {
        let columns = self
            .columns
            .iter()
            .map(|c| c.values.to_series(&title(c)).into())
            .collect();
        DataFrame::new(self.row_count(), columns)
    }

    fn of_frame(path: &Path, frame: &DataFrame) -> std::result::Result<Table, Fault> {
        let mut table = Table {
            source: path.display().to_string(),
            ..Table::new()
        };
        for column in frame.columns() {
            let series = column.as_materialized_series();
            let name = series.name().to_string();
            let Some(values) = Values::of_series(series)? else {
                return Err(Fault::Known(Error::format(
                    path,
                    format!("the type of column {name:?}"),
                    series.dtype().to_string(),
                    "integers, numbers, truth values or texts",
                )));
            };
            table.add(&name, "", values).map_err(Fault::Known)?;
        }
        Ok(table)
    }

    fn require(&self, name: &str) -> Result<&Values> {
        self.column(name)
            .map(|column| &column.values)
            .ok_or_else(|| Error::Missing {
                file: self.place().to_owned(),
                what: format!("column \"{name}\""),
            })
    }

    fn other_type(&self, name: &str, found: &str, allowed: &str) -> Error {
        Error::Format {
            file: self.place().to_owned(),
            what: format!("column \"{name}\""),
            found: found.to_owned(),
            allowed: allowed.to_owned(),
        }
    }

    fn gap(&self, name: &str) -> Error {
        self.other_type(
            name,
            "a row without a value, or a value out of range",
            "a value in each row",
        )
    }

    fn place(&self) -> &str {
        if self.source.is_empty() {
            "table"
        } else {
            &self.source
        }
    }
}

/// The title of a column in csv: `time_constant [steps]`.
fn title(column: &Column) -> String {
    match column.unit.as_str() {
        "" => column.name.clone(),
        unit => format!("{} [{unit}]", column.name),
    }
}

/// A table that polars cannot hold: nothing that a file could cause, so reported as a failed write.
fn failed(path: &Path, error: polars::error::PolarsError) -> Error {
    Error::write(path, io::Error::other(error))
}

/// Why a file could not be read: an error of ours, or of polars.
enum Fault {
    Known(Error),
    Polars(polars::error::PolarsError),
}

impl From<polars::error::PolarsError> for Fault {
    fn from(error: polars::error::PolarsError) -> Fault {
        Fault::Polars(error)
    }
}

/// Runs a reader of polars on a user's file. Its parquet reader panics on some damaged files; that too is
/// an error in the file and not a reason to end the program.
fn read_frame(
    path: &Path,
    allowed: &str,
    read: impl FnOnce() -> std::result::Result<Table, Fault>,
) -> Result<Table> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(table)) => Ok(table),
        Ok(Err(Fault::Known(error))) => Err(error),
        Ok(Err(Fault::Polars(error))) => {
            Err(Error::format(path, "the table", error.to_string(), allowed))
        }
        Err(_) => Err(Error::format(path, "the table", "a damaged file", allowed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> Table {
        let mut table = Table::new();
        table.add("network", "", vec![0_u64, 0, 1]).unwrap();
        table
            .add("shift", "", vec![Some(-1_i64), None, Some(i64::MIN)])
            .unwrap();
        table
            .add(
                "time_constant",
                "steps",
                vec![Some(1.5), None, Some(1e-300)],
            )
            .unwrap();
        table.add("certified", "", vec![true, false, true]).unwrap();
        table
            .add("verdict", "", vec![Some("fixed"), None, Some("a,\"b\" é")])
            .unwrap();
        table
            .metadata
            .insert("analysis".into(), "linearization".into());
        table
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn parquet_keeps_everything() {
        let folder = folder();
        let path = folder.path().join("a.parquet");
        example().write_parquet(&path).unwrap();
        let read = Table::read_parquet(&path).unwrap();
        assert_eq!(read.columns(), example().columns());
        assert_eq!(read.metadata, example().metadata);
        let bytes = fs::read(&path).unwrap();
        read.write_parquet(&path).unwrap();
        assert_eq!(
            fs::read(&path).unwrap(),
            bytes,
            "the same table gives the same bytes"
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary is left"
        );
    }

    #[test]
    fn csv_has_units_in_titles() {
        let folder = folder();
        let path = folder.path().join("a.csv");
        example().write_csv(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text.lines().next(),
            Some("network,shift,time_constant [steps],certified,verdict")
        );
        let read = Table::read_csv(&path).unwrap();
        assert_eq!(
            read.column("time_constant"),
            example().column("time_constant")
        );
        assert_eq!(read.column("verdict"), example().column("verdict"));
        assert_eq!(read.bool_column("certified").unwrap(), [true, false, true]);
        assert_eq!(read.u64_column("network").unwrap(), [0, 0, 1]);
    }

    #[test]
    fn a_table_without_rows_keeps_its_columns() {
        let folder = folder();
        let path = folder.path().join("a.parquet");
        let mut table = Table::new();
        table.add("x", "steps", Vec::<f64>::new()).unwrap();
        table.add("name", "", Vec::<String>::new()).unwrap();
        table.write_parquet(&path).unwrap();
        assert_eq!(
            Table::read_parquet(&path).unwrap().columns(),
            table.columns()
        );
        assert_eq!(table.row_count(), 0);
    }

    #[test]
    fn columns_are_checked() {
        let mut table = example();
        for (name, rows) in [("network", 3), ("other", 2)] {
            let error = table.add(name, "", vec![0.0; rows]).unwrap_err();
            assert!(matches!(error, Error::Argument { .. }), "{error}");
        }
        assert_eq!(table, example());
        assert_eq!(Values::from(vec![1_usize]), Values::from(vec![1_u64]));
        assert!(Values::from(Vec::<bool>::new()).is_empty());
    }

    #[test]
    fn getters_widen_and_say_what_is_wrong() {
        let table = example();
        assert_eq!(table.row_count(), 3);
        assert_eq!(table.f64_column("network").unwrap(), [0.0, 0.0, 1.0]);
        assert!(table.f64_column("time_constant").unwrap()[1].is_nan());
        assert_eq!(table.i64_column("network").unwrap(), [0, 0, 1]);
        assert_eq!(
            table.text_column("verdict").unwrap()[..2],
            [Some("fixed"), None]
        );
        assert!(matches!(table.f64_column("no"), Err(Error::Missing { .. })));
        for error in [
            table.f64_column("verdict").unwrap_err(),
            table.i64_column("shift").unwrap_err(),
            table.i64_column("time_constant").unwrap_err(),
            table.u64_column("shift").unwrap_err(),
            table.bool_column("network").unwrap_err(),
            table.text_column("network").unwrap_err(),
        ] {
            assert!(matches!(error, Error::Format { .. }), "{error}");
        }
    }

    #[test]
    fn rows_are_added() {
        let mut table = Table::new();
        table.concat(&example()).unwrap();
        table.concat(&example()).unwrap();
        assert_eq!(table.row_count(), 6);
        assert_eq!(table.u64_column("network").unwrap(), [0, 0, 1, 0, 0, 1]);
        assert_eq!(table.metadata, example().metadata);
        let mut other = Table::new();
        other.add("network", "", vec![1.0]).unwrap();
        let before = table.clone();
        assert!(matches!(table.concat(&other), Err(Error::Argument { .. })));
        assert_eq!(table, before);
    }

    #[test]
    fn what_is_no_table_is_an_error() {
        let folder = folder();
        let path = folder.path().join("a.parquet");
        assert!(matches!(
            Table::read_parquet(&path),
            Err(Error::Missing { .. })
        ));
        assert!(matches!(Table::read_csv(&path), Err(Error::Missing { .. })));
        example().write_parquet(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(7) {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(
                matches!(Table::read_parquet(&path), Err(Error::Format { .. })),
                "{length}"
            );
        }
        fs::write(&path, "a,b\n1,2,3\n").unwrap();
        assert!(matches!(Table::read_csv(&path), Err(Error::Format { .. })));
        fs::write(&path, "").unwrap();
        assert!(matches!(Table::read_csv(&path), Err(Error::Format { .. })));
    }

    /// Each byte in turn is lost. What the rest says may still be a table, but never ends the program.
    #[test]
    fn a_file_with_a_lost_byte_does_not_panic() {
        let folder = folder();
        let path = folder.path().join("a.parquet");
        example().write_parquet(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut refused = 0;
        for position in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[position] = 0;
            fs::write(&path, bytes).unwrap();
            match Table::read_parquet(&path) {
                Ok(_) => {}
                Err(Error::Format { .. }) => refused += 1,
                Err(other) => panic!("{position}: {other}"),
            }
        }
        assert!(refused > 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_number_survives(values: Vec<Option<f64>>, integers: Vec<Option<u64>>) {
            let folder = folder();
            let path = folder.path().join("a.parquet");
            for values in [Values::F64(values), Values::U64(integers)] {
                let mut table = Table::new();
                table.add("x", "", values).unwrap();
                table.write_parquet(&path).unwrap();
                let read = Table::read_parquet(&path).unwrap();
                prop_assert_eq!(format!("{:?}", read.columns()), format!("{:?}", table.columns()));
            }
        }
    }
}
