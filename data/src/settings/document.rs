//! A parsed TOML file that remembers where each key stood.

use std::fs;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Key, Kind, Settings, Value, dotted, nearest, one_of};
use crate::error::{Error, Result};

/// How an assignment on the command line is named in an error, in place of a file.
const COMMAND_LINE: &str = "--set";

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// A line of the file, counted from 1.
    Line(usize),
    /// An assignment on the command line.
    CommandLine,
}

/// A value of the file with its origin.
#[derive(Clone, Debug)]
struct Node {
    origin: Origin,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Value(Value),
    /// Something that no key can hold (a date, a list of mixed types, an integer beyond 64 bits), named
    /// as a noun phrase.
    Other(String),
    Table(Table),
}

/// The entries of a table in the order of the file.
type Table = Vec<(String, Node)>;

/// A TOML file with its name and line numbers, and the assignments of the command line laid over it.
#[derive(Clone, Debug)]
pub struct Document {
    name: String,
    /// The folder that relative paths start from.
    folder: PathBuf,
    root: Table,
}

impl Document {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Io`] if it cannot be read, [`Error::Syntax`] if it is not valid TOML.
    pub fn read(path: &Path) -> Result<Document> {
        let bytes = fs::read(path).map_err(|source| Error::read(path, source))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
            Error::format(
                path,
                format!("line {line}"),
                "bytes that are not UTF-8",
                "text in UTF-8",
            )
        })?;
        let mut document = Document::parse(&path.display().to_string(), &text)?;
        document.folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(document)
    }

    /// Parses text; `name` stands for the file in errors. Relative paths start from the working folder.
    ///
    /// # Errors
    /// [`Error::Syntax`] if it is not valid TOML.
    pub fn parse(name: &str, text: &str) -> Result<Document> {
        let table = DeTable::parse(text).map_err(|error| Error::Syntax {
            file: name.to_owned(),
            line: error.span().map(|span| line_of(text, span.start)),
            message: error.message().to_owned(),
        })?;
        let origin = |start| Origin::Line(line_of(text, start));
        Ok(Document {
            name: name.to_owned(),
            folder: PathBuf::new(),
            root: convert_table(table.get_ref(), &origin),
        })
    }

    /// The file's name as errors give it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lays an assignment of the command line over the file: `training.updates=100`.
    ///
    /// The left side is a dotted key; tables are made as needed. The right side is a TOML value; what is
    /// no TOML value is taken as a text, so that words and paths need no quotation marks.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is no `=`, a part of the key is empty, or the key leads through
    /// something that is no table; [`Error::Syntax`] if the value opens a quotation, list or table and is
    /// not valid TOML.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let wrong = |found: String| {
            Error::argument(
                COMMAND_LINE,
                found,
                "an assignment such as training.updates=100",
            )
        };
        let (key, value) = assignment
            .split_once('=')
            .ok_or_else(|| wrong(format!("{assignment:?} without \"=\"")))?;
        let parts: Vec<&str> = key.split('.').map(str::trim).collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(wrong(format!(
                "the key {:?}, which has an empty part",
                key.trim()
            )));
        }
        let value = value.trim();
        if value.is_empty() {
            return Err(wrong(format!("no value for {:?}", key.trim())));
        }
        let content = match DeValue::parse(value) {
            Ok(parsed) => convert(parsed.get_ref(), &|_| Origin::CommandLine),
            Err(error) if value.starts_with(['"', '\'', '[', '{']) => {
                return Err(Error::Syntax {
                    file: format!("{COMMAND_LINE} {assignment}"),
                    line: None,
                    message: error.message().to_owned(),
                });
            }
            Err(_) => Content::Value(Value::Text(value.to_owned())),
        };
        let Some((last, tables)) = parts.split_last() else {
            return Ok(());
        };
        let mut table = &mut self.root;
        for part in tables {
            let node = entry(table, part);
            table = match &mut node.content {
                Content::Table(inner) => inner,
                _ => return Err(wrong(format!("{:?}, but {part:?} is no table", key.trim()))),
            };
        }
        *entry(table, last) = Node {
            origin: Origin::CommandLine,
            content,
        };
        Ok(())
    }

    /// The text at a dotted key, before any schema is known: `task.kind`. None if there is no such key.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is one and it is no text.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.node(key) {
            None => Ok(None),
            Some(Node {
                content: Content::Value(Value::Text(text)),
                ..
            }) => Ok(Some(text)),
            Some(node) => Err(self.fault(key, node, "a text in quotation marks", None)),
        }
    }

    /// The text at a dotted key, which must be there and be one of `allowed`.
    ///
    /// # Errors
    /// [`Error::Setting`] that names the line, what was found, what is allowed and the nearest of it.
    pub fn choice(&self, key: &str, allowed: &[&str]) -> Result<String> {
        let Some(node) = self.node(key) else {
            return Err(self.absent(key, one_of(allowed)));
        };
        match &node.content {
            Content::Value(Value::Text(text)) if allowed.contains(&text.as_str()) => {
                Ok(text.clone())
            }
            Content::Value(Value::Text(text)) => {
                let hint = nearest(text, allowed.iter().copied())
                    .map(|word| format!("did you mean \"{word}\"?"));
                Err(self.fault(key, node, &one_of(allowed), hint))
            }
            _ => Err(self.fault(key, node, &one_of(allowed), None)),
        }
    }

    /// Checks one table against its schema and fills in every default.
    ///
    /// `name` is the table's dotted name, `""` for the top level, whose sub-tables are other sections and
    /// not looked at here; see [`check_tables`](Self::check_tables) for those. A table that is not in the
    /// file has all its defaults. A relative path given by `--set` that leads to something from the
    /// working folder is made absolute, so that the shell's completion can be trusted; any other path
    /// is left as it is, for [`resolve`](Self::resolve).
    ///
    /// # Errors
    /// [`Error::UnknownKey`] with the nearest known key, or [`Error::Setting`] for a required key that is
    /// missing and a value of the wrong type, out of range or not finite; the first in the file's order.
    pub fn section(&self, name: &str, schema: &[&'static [Key]]) -> Result<Settings> {
        let mut settings = Settings::from_defaults(name, schema);
        let nothing = Table::new();
        let table = if name.is_empty() {
            &self.root
        } else {
            match self.node(name) {
                None => &nothing,
                Some(Node {
                    content: Content::Table(table),
                    ..
                }) => table,
                Some(node) => return Err(self.fault(name, node, "a table", None)),
            }
        };
        for (key, node) in table {
            let full = dotted(name, key);
            let Some((known, slot)) = settings
                .entries
                .iter_mut()
                .find(|(known, _)| known.name == key)
            else {
                if name.is_empty() && matches!(node.content, Content::Table(_)) {
                    continue;
                }
                let known: Vec<&str> = settings.keys().map(|key| key.name).collect();
                return Err(self.unknown(name, key, node, &known));
            };
            let Content::Value(value) = &node.content else {
                return Err(self.fault(&full, node, &known.kind.allowed(), None));
            };
            match known.kind.admit(value.clone()) {
                Some(value) => *slot = Some(from_working_folder(known.kind, value, node.origin)),
                None => {
                    let hint = known.kind.hint(value);
                    return Err(self.fault(&full, node, &known.kind.allowed(), hint));
                }
            }
        }
        for (key, value) in &settings.entries {
            if value.is_none() && key.default == super::Preset::Required {
                return Err(self.absent(&dotted(name, key.name), key.kind.allowed()));
            }
        }
        Ok(settings)
    }

    /// The names of the tables inside a table (`""` for the top level), in the file's order.
    pub fn tables(&self, prefix: &str) -> Vec<String> {
        let table = if prefix.is_empty() {
            &self.root
        } else {
            match self.node(prefix) {
                Some(Node {
                    content: Content::Table(table),
                    ..
                }) => table,
                _ => return Vec::new(),
            }
        };
        let is_table = |node: &Node| matches!(node.content, Content::Table(_));
        table
            .iter()
            .filter(|(_, node)| is_table(node))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Checks that the file has no other tables than `allowed`, which are dotted names of sections: with
    /// `analysis.fixed_points` allowed, `[analysis]` may be there and hold that table, but no keys of its
    /// own. What a section or the top level holds is for [`section`](Self::section) to check.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] for the first other table or such key, with the nearest that is allowed.
    pub fn check_tables(&self, allowed: &[&str]) -> Result<()> {
        self.check_inside("", &self.root, allowed)
    }

    fn check_inside(&self, prefix: &str, table: &Table, allowed: &[&str]) -> Result<()> {
        for (key, node) in table {
            let name = dotted(prefix, key);
            if allowed.contains(&name.as_str()) {
                continue;
            }
            let inner = match &node.content {
                Content::Table(inner) => Some(inner),
                _ if prefix.is_empty() => continue,
                _ => None,
            };
            let leads_on = |full: &&str| {
                full.strip_prefix(&name)
                    .is_some_and(|rest| rest.starts_with('.'))
            };
            let Some(inner) = inner.filter(|_| allowed.iter().any(leads_on)) else {
                // The names that could stand in this place.
                let known: Vec<&str> = allowed
                    .iter()
                    .filter_map(|full| match prefix {
                        "" => Some(*full),
                        _ => full
                            .strip_prefix(prefix)
                            .and_then(|rest| rest.strip_prefix('.')),
                    })
                    .filter_map(|rest| rest.split('.').next())
                    .fold(Vec::new(), |mut known, name| {
                        if !known.contains(&name) {
                            known.push(name);
                        }
                        known
                    });
                return Err(self.unknown(prefix, key, node, &known));
            };
            self.check_inside(&name, inner, allowed)?;
        }
        Ok(())
    }

    /// The line of a dotted key or table, counted from 1; none if it is not there or was given by
    /// `--set`.
    pub fn line(&self, key: &str) -> Option<usize> {
        match self.node(key)?.origin {
            Origin::Line(line) => Some(line),
            Origin::CommandLine => None,
        }
    }

    /// A path as the file means it: relative to the file's own folder, unless it is absolute.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Puts file and line into an error of something that was built from this file's settings, which know
    /// neither: sizes that contradict each other, a recording that is too short.
    ///
    /// The line is that of the key whose dotted name is what the error is about, or stands in it in
    /// quotation marks.
    pub fn locate(&self, error: Error) -> Error {
        match error {
            Error::Argument {
                what,
                found,
                allowed,
            } => {
                let key = what.split('"').nth(1).unwrap_or(&what);
                let (file, line) = match self.node(key) {
                    Some(node) => self.place(node),
                    None => (self.name.clone(), None),
                };
                let place = line.map_or(file.clone(), |line| format!("{file}, line {line}"));
                Error::Argument {
                    what: format!("{place}, {what}"),
                    found,
                    allowed,
                }
            }
            other => other,
        }
    }

    fn node(&self, key: &str) -> Option<&Node> {
        let mut parts = key.split('.');
        let mut node = find(&self.root, parts.next()?)?;
        for part in parts {
            match &node.content {
                Content::Table(table) => node = find(table, part)?,
                _ => return None,
            }
        }
        Some(node)
    }

    /// The file and line to name in an error about a node.
    fn place(&self, node: &Node) -> (String, Option<usize>) {
        match node.origin {
            Origin::Line(line) => (self.name.clone(), Some(line)),
            Origin::CommandLine => (COMMAND_LINE.to_owned(), None),
        }
    }

    fn fault(&self, key: &str, node: &Node, allowed: &str, hint: Option<String>) -> Error {
        let (file, line) = self.place(node);
        let found = match &node.content {
            Content::Value(value) => value.found(),
            Content::Other(noun) => noun.clone(),
            Content::Table(_) => "a table".to_owned(),
        };
        Error::Setting {
            file,
            line,
            key: key.to_owned(),
            found: found.into(),
            allowed: allowed.into(),
            hint: hint.map(Into::into),
        }
    }

    fn absent(&self, key: &str, allowed: String) -> Error {
        // The line of the table that should hold the key, where the file has it.
        let line = key.rsplit_once('.').and_then(|(table, _)| self.line(table));
        Error::Setting {
            file: self.name.clone(),
            line,
            key: key.to_owned(),
            found: "nothing".into(),
            allowed: allowed.into(),
            hint: Some("this key has no default".into()),
        }
    }

    fn unknown(&self, section: &str, key: &str, node: &Node, known: &[&str]) -> Error {
        let (file, line) = self.place(node);
        Error::UnknownKey {
            file,
            line,
            key: dotted(section, key),
            nearest: nearest(key, known.iter().copied()).map(|near| dotted(section, near)),
            known: known.iter().map(|known| dotted(section, known)).collect(),
        }
    }
}

fn find<'a>(table: &'a Table, name: &str) -> Option<&'a Node> {
    table
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, node)| node)
}

/// The entry of a table by name; if it is not there, the command line makes it as an empty table.
fn entry<'a>(table: &'a mut Table, name: &str) -> &'a mut Node {
    let position = match table.iter().position(|(key, _)| key == name) {
        Some(position) => position,
        None => {
            let content = Content::Table(Table::new());
            table.push((
                name.to_owned(),
                Node {
                    origin: Origin::CommandLine,
                    content,
                },
            ));
            table.len() - 1
        }
    };
    &mut table[position].1
}

/// A path given by `--set` that leads to something from the working folder, made absolute.
fn from_working_folder(kind: Kind, value: Value, origin: Origin) -> Value {
    match (kind, origin, value) {
        (Kind::Path, Origin::CommandLine, Value::Text(path)) if Path::new(&path).exists() => {
            let absolute = std::path::absolute(&path).ok();
            Value::Text(
                absolute
                    .and_then(|path| path.to_str().map(str::to_owned))
                    .unwrap_or(path),
            )
        }
        (_, _, value) => value,
    }
}

/// The line of a byte of the text, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|&byte| byte == b'\n')
        .count()
}

fn convert_table(table: &DeTable<'_>, origin: &impl Fn(usize) -> Origin) -> Table {
    let mut entries: Vec<_> = table
        .iter()
        .map(|(key, value)| {
            let node = Node {
                origin: origin(key.span().start),
                content: convert(value.get_ref(), origin),
            };
            (key.span().start, (key.get_ref().to_string(), node))
        })
        .collect();
    entries.sort_by_key(|(start, _)| *start);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn convert(value: &DeValue<'_>, origin: &impl Fn(usize) -> Origin) -> Content {
    match value {
        DeValue::String(text) => Content::Value(Value::Text(text.to_string())),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Content::Value(Value::Integer(integer)),
            Err(_) => Content::Other(format!("{integer}, which does not fit 64 bits")),
        },
        DeValue::Float(float) => match float.as_str().parse() {
            Ok(float) => Content::Value(Value::Number(float)),
            Err(_) => Content::Other(format!("{float}, which is no number")),
        },
        DeValue::Boolean(flag) => Content::Value(Value::Flag(*flag)),
        DeValue::Datetime(date) => Content::Other(format!("the date {date}")),
        DeValue::Table(table) => Content::Table(convert_table(table, origin)),
        DeValue::Array(array) => {
            let items: Vec<Content> = array.iter().map(|x| convert(x.get_ref(), origin)).collect();
            list(&items)
        }
    }
}

/// A list of values of one type; integers among numbers become numbers.
fn list(items: &[Content]) -> Content {
    let values: Option<Vec<&Value>> = items
        .iter()
        .map(|item| match item {
            Content::Value(value) => Some(value),
            _ => None,
        })
        .collect();
    let Some(values) = values else {
        return Content::Other("a list of something else".to_owned());
    };
    let integers = values.iter().map(|v| {
        if let Value::Integer(x) = v {
            Some(*x)
        } else {
            None
        }
    });
    if let Some(integers) = integers.collect() {
        return Content::Value(Value::Integers(integers));
    }
    let numbers = values.iter().map(|value| match value {
        Value::Integer(x) => Some(*x as f64),
        Value::Number(x) => Some(*x),
        _ => None,
    });
    if let Some(numbers) = numbers.collect() {
        return Content::Value(Value::Numbers(numbers));
    }
    let texts = values.iter().map(|v| {
        if let Value::Text(x) = v {
            Some(x.clone())
        } else {
            None
        }
    });
    if let Some(texts) = texts.collect() {
        return Content::Value(Value::Texts(texts));
    }
    let items: Vec<String> = values.iter().map(|value| value.to_toml()).collect();
    Content::Other(format!("the list [{}]", items.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Preset;

    static TRAINING: [Key; 4] = [
        Key {
            name: "updates",
            kind: Kind::Integer { min: 1, max: 1000 },
            default: Preset::Integer(100),
            unit: "updates",
            doc: "How many updates.",
        },
        Key {
            name: "learning_rate",
            kind: Kind::Number { min: 0.0, max: 1.0 },
            default: Preset::Number(1e-3),
            unit: "",
            doc: "Learning rate.",
        },
        Key {
            name: "optimizer",
            kind: Kind::Choice(&["adam", "sgd"]),
            default: Preset::Text("adam"),
            unit: "",
            doc: "Optimiser.",
        },
        Key {
            name: "betas",
            kind: Kind::Numbers { min: 0.0, max: 1.0 },
            default: Preset::Numbers(&[0.9, 0.999]),
            unit: "",
            doc: "Decays of the moments.",
        },
    ];
    static TASK: [Key; 2] = [
        Key {
            name: "kind",
            kind: Kind::Text,
            default: Preset::Required,
            unit: "",
            doc: "The task.",
        },
        Key {
            name: "path",
            kind: Kind::Path,
            default: Preset::Absent,
            unit: "",
            doc: "A file.",
        },
    ];

    fn training(text: &str) -> Result<Settings> {
        Document::parse("a.toml", text)
            .unwrap()
            .section("training", &[&TRAINING])
    }

    fn message(text: &str) -> String {
        training(text).unwrap_err().to_string()
    }

    #[test]
    fn a_section_is_checked_and_filled() {
        let settings =
            training("# note\n[training]\nlearning_rate = 1\nbetas = [0, 0.5]\n").unwrap();
        assert_eq!(settings.integer("updates"), 100);
        assert_eq!(settings.number("learning_rate"), 1.0);
        assert_eq!(settings.numbers("betas"), [0.0, 0.5]);
        assert_eq!(
            training("").unwrap(),
            Settings::from_defaults("training", &[&TRAINING])
        );
        assert_eq!(
            training("training.updates = 0x10")
                .unwrap()
                .integer("updates"),
            16
        );
        assert_eq!(
            training("training.betas = []").unwrap().numbers("betas"),
            [0.0; 0]
        );
    }

    #[test]
    fn errors_name_line_key_found_and_allowed() {
        for (text, expected) in [
            (
                "[training]\n\nupdatez = 1",
                "a.toml, line 3, key \"training.updatez\": unknown key; did you mean \"training.updates\"?",
            ),
            (
                "[training]\nzebra = 1",
                "a.toml, line 2, key \"training.zebra\": unknown key; known here: training.updates, \
                 training.learning_rate, training.optimizer, training.betas",
            ),
            (
                "[training]\nupdates = -3",
                "a.toml, line 2, key \"training.updates\": found the integer -3; allowed: an integer from 1 to 1000",
            ),
            (
                "[training]\nupdates = 1.0",
                "a.toml, line 2, key \"training.updates\": found the number 1.0; allowed: an integer from 1 to 1000",
            ),
            (
                "[training]\nlearning_rate = nan",
                "a.toml, line 2, key \"training.learning_rate\": found the number nan; allowed: a finite number from 0 to 1",
            ),
            (
                "[training]\noptimizer = \"adma\"",
                "a.toml, line 2, key \"training.optimizer\": found the text \"adma\"; allowed: \"adam\" or \"sgd\"; \
                 did you mean \"adam\"?",
            ),
            (
                "[training]\nbetas = [0.9, \"x\"]",
                "a.toml, line 2, key \"training.betas\": found the list [0.9, \"x\"]; allowed: a list of finite numbers from 0 to 1",
            ),
            (
                "[training]\nupdates = 99999999999999999999",
                "a.toml, line 2, key \"training.updates\": found 99999999999999999999, which does not fit 64 bits; \
                 allowed: an integer from 1 to 1000",
            ),
            (
                "[training]\nupdates = 2026-11-20",
                "a.toml, line 2, key \"training.updates\": found the date 2026-11-20; allowed: an integer from 1 to 1000",
            ),
            (
                "[training.updates]\nx = 1",
                "a.toml, line 1, key \"training.updates\": found a table; allowed: an integer from 1 to 1000",
            ),
            (
                "training = 3",
                "a.toml, line 1, key \"training\": found the integer 3; allowed: a table",
            ),
            (
                "[[training]]\nupdates = 3",
                "a.toml, line 1, key \"training\": found a list of something else; allowed: a table",
            ),
        ] {
            assert_eq!(message(text), expected, "{text}");
        }
    }

    #[test]
    fn syntax_errors_name_the_line() {
        for (text, line) in [("a = 1\nb = = 2", 2), ("a = 1\na = 2", 2), ("[x\n", 1)] {
            match Document::parse("a.toml", text) {
                Err(Error::Syntax {
                    file, line: found, ..
                }) => {
                    assert_eq!((file.as_str(), found), ("a.toml", Some(line)), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_required_key_must_be_there() {
        let document = Document::parse("a.toml", "\n[task]\n").unwrap();
        assert_eq!(
            document.section("task", &[&TASK]).unwrap_err().to_string(),
            "a.toml, line 2, key \"task.kind\": found nothing; allowed: a text in quotation marks; \
             this key has no default"
        );
        let error = document
            .choice("task.kind", &["series", "flip_flop"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("found nothing; allowed: \"series\" or \"flip_flop\""),
            "{error}"
        );
    }

    #[test]
    fn choices_before_the_schema_is_known() {
        let document = Document::parse("a.toml", "[task]\nkind = \"flipflop\"\nn = 1").unwrap();
        assert_eq!(document.text("task.kind").unwrap(), Some("flipflop"));
        assert_eq!(document.text("task.no").unwrap(), None);
        assert_eq!(document.text("no.kind").unwrap(), None);
        assert!(document.text("task.n").is_err() && document.text("task").is_err());
        assert_eq!(
            document
                .choice("task.kind", &["series", "flipflop"])
                .unwrap(),
            "flipflop"
        );
        assert_eq!(
            document
                .choice("task.kind", &["series", "flip_flop"])
                .unwrap_err()
                .to_string(),
            "a.toml, line 2, key \"task.kind\": found the text \"flipflop\"; allowed: \"series\" or \"flip_flop\"; \
             did you mean \"flip_flop\"?"
        );
    }

    #[test]
    fn assignments_lie_over_the_file() {
        let mut document = Document::parse("a.toml", "[training]\nupdates = 1\n").unwrap();
        for assignment in [
            "training.updates=7",
            "training.learning_rate = 1e-2",
            "training.optimizer=sgd",
            "training.betas=[0.5, 0.6]",
            "task.kind=\"flip_flop\"",
            "task.path=data/a=b.npy",
        ] {
            document.set(assignment).unwrap();
        }
        let settings = document.section("training", &[&TRAINING]).unwrap();
        assert_eq!(settings.integer("updates"), 7);
        assert_eq!(settings.number("learning_rate"), 0.01);
        assert_eq!(settings.text("optimizer"), "sgd");
        assert_eq!(settings.numbers("betas"), [0.5, 0.6]);
        let task = document.section("task", &[&TASK]).unwrap();
        assert_eq!(
            (task.text("kind"), task.text("path")),
            ("flip_flop", "data/a=b.npy")
        );
        assert_eq!(document.line("training.updates"), None);
        document.set("training.updates=many").unwrap();
        let error = document
            .section("training", &[&TRAINING])
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("--set, key \"training.updates\": found the text \"many\""),
            "{error}"
        );
    }

    #[test]
    fn bad_assignments_are_errors() {
        let mut document = Document::parse("a.toml", "name = \"x\"\n").unwrap();
        for bad in [
            "",
            "training.updates",
            "=1",
            "a..b=1",
            ".=1",
            "a=",
            "a= ",
            "name.x=1",
            "a=[1",
            "a=\"x",
        ] {
            let error = document.set(bad).unwrap_err();
            assert!(
                error.is_bad_input() && error.to_string().starts_with("--set"),
                "{bad}: {error}"
            );
        }
        assert_eq!(
            document
                .section("training", &[&TRAINING])
                .unwrap()
                .integer("updates"),
            100
        );
        assert_eq!(document.text("name").unwrap(), Some("x"));
    }

    #[test]
    fn tables_are_listed_and_checked() {
        let text = "seed = 1\n[task]\n[analysis.pca]\n[analysis.fixed_points]\n[figurs]\n";
        let document = Document::parse("a.toml", text).unwrap();
        assert_eq!(document.tables(""), ["task", "analysis", "figurs"]);
        assert_eq!(document.tables("analysis"), ["pca", "fixed_points"]);
        assert_eq!(document.tables("no"), [""; 0]);
        let check = |allowed: &[&str]| match document.check_tables(allowed) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        let known = ["task", "analysis.pca", "analysis.fixed_points", "figurs"];
        assert_eq!(check(&known), "");
        assert_eq!(
            check(&["task", "analysis.pca", "analysis.fixed_points", "figures"]),
            "a.toml, line 5, key \"figurs\": unknown key; did you mean \"figures\"?"
        );
        assert_eq!(
            check(&["task", "analysis.pca", "analysis.fixed_point", "figurs"]),
            "a.toml, line 4, key \"analysis.fixed_points\": unknown key; did you mean \"analysis.fixed_point\"?"
        );
        // A table in a section is a key with the wrong content, which is for `section` to say.
        let inside = Document::parse("a.toml", "[task]\n[task.bits]\n").unwrap();
        inside.check_tables(&["task"]).unwrap();
        // A table that only holds sections has no keys.
        let loose = Document::parse("a.toml", "[analysis]\nstarts = 1\n").unwrap();
        let error = loose.check_tables(&["analysis.pca"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a.toml, line 2, key \"analysis.starts\": unknown key; known here: analysis.pca"
        );
        // Tables at the top level are not its keys; keys are.
        static TOP: [Key; 0] = [];
        let error = document.section("", &[&TOP]).unwrap_err().to_string();
        assert_eq!(
            error,
            "a.toml, line 1, key \"seed\": unknown key; none is known here"
        );
    }

    #[test]
    fn errors_of_what_is_built_are_located() {
        let mut document = Document::parse("a.toml", "[model]\nunits = 1\n").unwrap();
        let located = |document: &Document, what: &str| {
            document.locate(Error::argument(what, "1", "2")).to_string()
        };
        for (what, expected) in [
            ("model.units", "a.toml, line 2, model.units: "),
            (
                "key \"model.units\" here",
                "a.toml, line 2, key \"model.units\" here: ",
            ),
            ("task.steps", "a.toml, task.steps: "),
            ("the file \"\"", "a.toml, the file \"\": "),
        ] {
            let message = located(&document, what);
            assert_eq!(message, format!("{expected}found 1; allowed: 2"));
        }
        document.set("model.units=1").unwrap();
        assert!(located(&document, "model.units").starts_with("--set, model.units: "));
        let other = Error::missing(Path::new("a.npy"), "file");
        assert_eq!(document.locate(other).to_string(), "a.npy: missing file");
    }

    #[test]
    fn files_are_read_and_paths_resolved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "seed = 1\n").unwrap();
        let document = Document::read(&path).unwrap();
        assert_eq!(document.name(), path.display().to_string());
        assert_eq!(document.line("seed"), Some(1));
        assert_eq!(document.resolve("b.npy"), folder.path().join("b.npy"));
        let absolute = folder.path().join("c.npy");
        assert_eq!(document.resolve(absolute.to_str().unwrap()), absolute);
        assert!(matches!(
            Document::read(&folder.path().join("no")),
            Err(Error::Missing { .. })
        ));
        fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
        assert!(
            Document::read(&path)
                .unwrap_err()
                .to_string()
                .contains("line 2: found bytes")
        );
    }

    /// A file may stand in the working folder and beside the experiment under the same relative name.
    #[test]
    fn a_path_of_the_command_line_starts_from_the_working_folder() {
        let mut document =
            Document::parse("a.toml", "task.kind = \"x\"\ntask.path = \"Cargo.toml\"").unwrap();
        let path = |document: &Document| {
            document
                .section("task", &[&TASK])
                .unwrap()
                .text("path")
                .to_owned()
        };
        assert_eq!(path(&document), "Cargo.toml");
        document.set("task.path=Cargo.toml").unwrap();
        assert_eq!(
            Path::new(&path(&document)),
            std::path::absolute("Cargo.toml").unwrap()
        );
        document.set("task.path=no/such/file").unwrap();
        assert_eq!(path(&document), "no/such/file");
    }
}
