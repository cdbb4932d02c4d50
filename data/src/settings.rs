//! Documented keys and checked settings.
//!
//! A part of the program that can be configured (a task, a cell, the training, an analysis) states its
//! keys once, as a list of [`Key`]s with type, range, default, unit and a line of documentation. From
//! that list come the check of an experiment file ([`Document::section`]), the commented example that
//! `nullcline new` writes ([`write_toml`]) and the form in the window.

mod document;

pub use document::Document;

use crate::error::{Error, Result};

/// The type and range of a key's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number from `min` to `max`, both included.
    Integer {
        /// The least value allowed.
        min: i64,
        /// The greatest value allowed.
        max: i64,
    },
    /// A finite number from `min` to `max`, both included; an integer is taken as a number.
    Number {
        /// The least value allowed; negative infinity where there is none.
        min: f64,
        /// The greatest value allowed; infinity where there is none.
        max: f64,
    },
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A list of whole numbers, each from `min` to `max`.
    Integers {
        /// The least value allowed.
        min: i64,
        /// The greatest value allowed.
        max: i64,
    },
    /// A list of finite numbers, each from `min` to `max`.
    Numbers {
        /// The least value allowed; negative infinity where there is none.
        min: f64,
        /// The greatest value allowed; infinity where there is none.
        max: f64,
    },
    /// A list of texts.
    Texts,
    /// A text or a list of texts; the value is a list.
    TextOrTexts,
    /// The path of a file, relative to the experiment file; see [`Document::resolve`].
    Path,
}

impl Kind {
    /// What is allowed, as a noun phrase: `an integer from 1 to 8`.
    pub fn allowed(&self) -> String {
        match self {
            Kind::Integer { min, max } => format!("an integer{}", integer_range(*min, *max)),
            Kind::Number { min, max } => format!("a finite number{}", number_range(*min, *max)),
            Kind::Flag => "true or false".to_owned(),
            Kind::Text => "a text in quotation marks".to_owned(),
            Kind::Choice(words) => one_of(words),
            Kind::Integers { min, max } => {
                format!("a list of integers{}", integer_range(*min, *max))
            }
            Kind::Numbers { min, max } => {
                format!("a list of finite numbers{}", number_range(*min, *max))
            }
            Kind::Texts => "a list of texts".to_owned(),
            Kind::TextOrTexts => "a text in quotation marks, or a list of such".to_owned(),
            Kind::Path => "the path of a file, in quotation marks".to_owned(),
        }
    }

    /// The value as this kind holds it (integers widened to numbers), if it is allowed.
    fn admit(&self, value: Value) -> Option<Value> {
        let finite_within = |x: f64, min: f64, max: f64| x.is_finite() && min <= x && x <= max;
        let value = match (self, value) {
            (Kind::Number { .. }, Value::Integer(x)) => Value::Number(x as f64),
            (Kind::Numbers { .. }, Value::Integers(x)) => {
                Value::Numbers(x.into_iter().map(|x| x as f64).collect())
            }
            // An empty list has no type of its own.
            (Kind::Integers { .. }, Value::Numbers(x)) if x.is_empty() => Value::Integers(vec![]),
            (Kind::Integers { .. }, Value::Texts(x)) if x.is_empty() => Value::Integers(vec![]),
            (Kind::Numbers { .. }, Value::Texts(x)) if x.is_empty() => Value::Numbers(vec![]),
            (Kind::Texts | Kind::TextOrTexts, Value::Integers(x)) if x.is_empty() => {
                Value::Texts(vec![])
            }
            (Kind::Texts | Kind::TextOrTexts, Value::Numbers(x)) if x.is_empty() => {
                Value::Texts(vec![])
            }
            (Kind::TextOrTexts, Value::Text(x)) => Value::Texts(vec![x]),
            (_, value) => value,
        };
        let allowed = match (self, &value) {
            (Kind::Integer { min, max }, Value::Integer(x)) => min <= x && x <= max,
            (Kind::Number { min, max }, Value::Number(x)) => finite_within(*x, *min, *max),
            (Kind::Flag, Value::Flag(_)) => true,
            (Kind::Text | Kind::Path, Value::Text(_)) => true,
            (Kind::Choice(words), Value::Text(x)) => words.contains(&x.as_str()),
            (Kind::Integers { min, max }, Value::Integers(x)) => {
                x.iter().all(|x| min <= x && x <= max)
            }
            (Kind::Numbers { min, max }, Value::Numbers(x)) => {
                x.iter().all(|x| finite_within(*x, *min, *max))
            }
            (Kind::Texts | Kind::TextOrTexts, Value::Texts(_)) => true,
            _ => false,
        };
        allowed.then_some(value)
    }

    /// Advice for a text that is not one of a few words.
    fn hint(&self, value: &Value) -> Option<String> {
        match (self, value) {
            (Kind::Choice(words), Value::Text(text)) => {
                nearest(text, words.iter().copied()).map(|word| format!("did you mean \"{word}\"?"))
            }
            _ => None,
        }
    }

    /// Some value of this kind, as TOML: what a commented-out line shows for a key that is not set.
    fn example(&self) -> String {
        match self {
            Kind::Integer { min, max } => 0.clamp(*min, (*max).max(*min)).to_string(),
            Kind::Number { min, max } => Value::Number(0_f64.max(*min).min(*max)).to_toml(),
            Kind::Flag => "false".to_owned(),
            Kind::Text | Kind::Path => "\"\"".to_owned(),
            Kind::Choice(words) => quoted(words.first().copied().unwrap_or_default()),
            Kind::Integers { .. } | Kind::Numbers { .. } | Kind::Texts | Kind::TextOrTexts => {
                "[]".to_owned()
            }
        }
    }
}

/// What a key is worth when an experiment file does not mention it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Preset {
    /// The file must give the key.
    Required,
    /// The key may stay unset; read it with one of the `optional_` getters.
    Absent,
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A text, a word of a choice or a path.
    Text(&'static str),
    /// A list of whole numbers.
    Integers(&'static [i64]),
    /// A list of numbers.
    Numbers(&'static [f64]),
    /// A list of texts.
    Texts(&'static [&'static str]),
}

impl Preset {
    /// The default as a value; none for a key that is required or may be absent.
    pub fn value(&self) -> Option<Value> {
        match self {
            Preset::Required | Preset::Absent => None,
            Preset::Integer(x) => Some(Value::Integer(*x)),
            Preset::Number(x) => Some(Value::Number(*x)),
            Preset::Flag(x) => Some(Value::Flag(*x)),
            Preset::Text(x) => Some(Value::Text((*x).to_owned())),
            Preset::Integers(x) => Some(Value::Integers(x.to_vec())),
            Preset::Numbers(x) => Some(Value::Numbers(x.to_vec())),
            Preset::Texts(x) => Some(Value::Texts(x.iter().map(|x| (*x).to_owned()).collect())),
        }
    }
}

/// One documented key of an experiment file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// The name, in snake_case, the same in file, command line and window.
    pub name: &'static str,
    /// Type and range.
    pub kind: Kind,
    /// The value where the file gives none.
    pub default: Preset,
    /// The unit, `""` for a pure number, a word or a text.
    pub unit: &'static str,
    /// What the key does, in one or two sentences.
    pub doc: &'static str,
}

impl Key {
    /// Type, range, unit and default in one line, as a comment and a tool tip show them.
    pub fn summary(&self) -> String {
        let unit = if self.unit.is_empty() {
            String::new()
        } else {
            format!("; unit: {}", self.unit)
        };
        let default = match (self.default, self.default.value()) {
            (Preset::Required, _) => "required".to_owned(),
            (_, Some(value)) => format!("default: {}", value.to_toml()),
            (_, None) => "default: not set".to_owned(),
        };
        format!("{}{unit}; {default}", self.kind.allowed())
    }
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// `true` or `false`.
    Flag(bool),
    /// A text, a word of a choice or a path.
    Text(String),
    /// A list of whole numbers.
    Integers(Vec<i64>),
    /// A list of numbers.
    Numbers(Vec<f64>),
    /// A list of texts.
    Texts(Vec<String>),
}

impl Value {
    /// The value as TOML writes it; numbers in the shortest form that reads back to the same bits.
    pub fn to_toml(&self) -> String {
        fn list<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
            format!(
                "[{}]",
                items.iter().map(write).collect::<Vec<_>>().join(", ")
            )
        }
        match self {
            Value::Integer(x) => x.to_string(),
            Value::Number(x) => number(*x),
            Value::Flag(x) => x.to_string(),
            Value::Text(x) => quoted(x),
            Value::Integers(x) => list(x, i64::to_string),
            Value::Numbers(x) => list(x, |x| number(*x)),
            Value::Texts(x) => list(x, |x| quoted(x)),
        }
    }

    /// What the value is, as a noun phrase for an error: `the integer -3`.
    fn found(&self) -> String {
        let noun = match self {
            Value::Integer(_) => "the integer",
            Value::Number(_) => "the number",
            Value::Flag(_) => "the flag",
            Value::Text(_) => "the text",
            Value::Integers(_) | Value::Numbers(_) | Value::Texts(_) => "the list",
        };
        format!("{noun} {}", self.to_toml())
    }
}

/// A number as TOML writes it: the shortest form that reads back to the same bits.
fn number(x: f64) -> String {
    if x.is_nan() {
        "nan".to_owned()
    } else {
        format!("{x:?}")
    }
}

/// A text in quotation marks, escaped as TOML demands.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// One checked table of an experiment: every key of its schema, in the schema's order, with its value or
/// known to be absent.
///
/// The getters panic for a key that the schema lacks, that is of another kind, or that is absent: each is
/// a mistake in the program that no experiment file can provoke, since a file is checked against the
/// same schema. Keys whose default is [`Preset::Absent`] are read with the `optional_` getters.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    section: String,
    entries: Vec<(&'static Key, Option<Value>)>,
}

impl Settings {
    /// Every key of `schema` at its default; required keys and those without a default stay unset until
    /// [`set`](Self::set). `section` is the dotted name of the table, `""` for the top level.
    pub fn from_defaults(section: &str, schema: &[&'static [Key]]) -> Settings {
        let entries = schema
            .iter()
            .flat_map(|keys| keys.iter())
            .map(|key| (key, key.default.value()))
            .collect();
        Settings {
            section: section.to_owned(),
            entries,
        }
    }

    /// The dotted name of the table, `""` for the top level.
    pub fn section(&self) -> &str {
        &self.section
    }

    /// The keys with their values, in the schema's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Key, Option<&Value>)> {
        self.entries
            .iter()
            .map(|(key, value)| (*key, value.as_ref()))
    }

    /// The keys, in the schema's order.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.entries.iter().map(|(key, _)| *key)
    }

    /// Whether the key has a value, its own or its default.
    pub fn is_set(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] if the schema lacks the key; [`Error::Argument`] if the value is of another
    /// kind or out of range.
    pub fn set(&mut self, key: &str, value: Value) -> Result<()> {
        let name = dotted(&self.section, key);
        let section = &self.section;
        let Some((known, slot)) = self.entries.iter_mut().find(|(known, _)| known.name == key)
        else {
            return Err(Error::UnknownKey {
                file: "settings".to_owned(),
                line: None,
                key: name,
                nearest: nearest(key, self.entries.iter().map(|(key, _)| key.name))
                    .map(|near| dotted(section, near)),
                known: self
                    .entries
                    .iter()
                    .map(|(key, _)| dotted(section, key.name))
                    .collect(),
            });
        };
        let found = value.found();
        match known.kind.admit(value) {
            Some(value) => {
                *slot = Some(value);
                Ok(())
            }
            None => Err(Error::argument(name, found, known.kind.allowed())),
        }
    }

    /// Puts a key back to its default, which for some keys is to be unset.
    ///
    /// # Panics
    /// If the schema lacks the key.
    pub fn reset(&mut self, key: &str) {
        match self.entries.iter_mut().find(|(known, _)| known.name == key) {
            Some((known, slot)) => *slot = known.default.value(),
            None => panic!("{}", self.no_key(key)),
        }
    }

    /// The whole number of a key.
    pub fn integer(&self, key: &str) -> i64 {
        self.optional_integer(key)
            .unwrap_or_else(|| self.unset(key))
    }

    /// The whole number of a key that its schema keeps from being negative, as a size.
    pub fn count(&self, key: &str) -> usize {
        let integer = self.integer(key);
        usize::try_from(integer).unwrap_or_else(|_| panic!("{key} = {integer} is no count"))
    }

    /// The number of a key.
    pub fn number(&self, key: &str) -> f64 {
        self.optional_number(key).unwrap_or_else(|| self.unset(key))
    }

    /// The flag of a key.
    pub fn flag(&self, key: &str) -> bool {
        match self.value(key) {
            Some(Value::Flag(x)) => *x,
            Some(other) => self.other_kind(key, other),
            None => self.unset(key),
        }
    }

    /// The text, the chosen word or the path of a key.
    pub fn text(&self, key: &str) -> &str {
        self.optional_text(key).unwrap_or_else(|| self.unset(key))
    }

    /// The list of whole numbers of a key.
    pub fn integers(&self, key: &str) -> &[i64] {
        self.optional_integers(key)
            .unwrap_or_else(|| self.unset(key))
    }

    /// The list of numbers of a key.
    pub fn numbers(&self, key: &str) -> &[f64] {
        self.optional_numbers(key)
            .unwrap_or_else(|| self.unset(key))
    }

    /// The list of texts of a key.
    pub fn texts(&self, key: &str) -> &[String] {
        self.optional_texts(key).unwrap_or_else(|| self.unset(key))
    }

    /// The whole number of a key that may be absent.
    pub fn optional_integer(&self, key: &str) -> Option<i64> {
        match self.value(key)? {
            Value::Integer(x) => Some(*x),
            other => self.other_kind(key, other),
        }
    }

    /// The number of a key that may be absent.
    pub fn optional_number(&self, key: &str) -> Option<f64> {
        match self.value(key)? {
            Value::Number(x) => Some(*x),
            other => self.other_kind(key, other),
        }
    }

    /// The text, the chosen word or the path of a key that may be absent.
    pub fn optional_text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(x) => Some(x),
            other => self.other_kind(key, other),
        }
    }

    /// The list of whole numbers of a key that may be absent.
    pub fn optional_integers(&self, key: &str) -> Option<&[i64]> {
        match self.value(key)? {
            Value::Integers(x) => Some(x),
            other => self.other_kind(key, other),
        }
    }

    /// The list of numbers of a key that may be absent.
    pub fn optional_numbers(&self, key: &str) -> Option<&[f64]> {
        match self.value(key)? {
            Value::Numbers(x) => Some(x),
            other => self.other_kind(key, other),
        }
    }

    /// The list of texts of a key that may be absent.
    pub fn optional_texts(&self, key: &str) -> Option<&[String]> {
        match self.value(key)? {
            Value::Texts(x) => Some(x),
            other => self.other_kind(key, other),
        }
    }

    /// The value of a key, if it is set.
    ///
    /// # Panics
    /// If the schema lacks the key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        match self.entries.iter().find(|(known, _)| known.name == key) {
            Some((_, value)) => value.as_ref(),
            None => panic!("{}", self.no_key(key)),
        }
    }

    fn no_key(&self, key: &str) -> String {
        format!("the schema of [{}] has no key {key}", self.section)
    }

    fn unset<T>(&self, key: &str) -> T {
        panic!("the key {key} of [{}] is not set", self.section)
    }

    fn other_kind<T>(&self, key: &str, value: &Value) -> T {
        panic!(
            "the key {key} of [{}] holds {}",
            self.section,
            value.found()
        )
    }
}

/// Writes checked tables as a TOML file that reads back to the same settings, each default written out.
///
/// `sections` are pairs of a table's dotted name (`""` for the top level, which is written first) and its
/// settings. With `comments`, each key has above it what it does, its type, range, unit and default, and a
/// key that is not set is shown as a commented-out line; without, such keys are left out.
pub fn write_toml(sections: &[(&str, &Settings)], comments: bool) -> String {
    let mut text = String::new();
    let (top, tables): (Vec<_>, Vec<_>) = sections.iter().partition(|(name, _)| name.is_empty());
    for (name, settings) in top.into_iter().chain(tables) {
        if !text.is_empty() {
            text.push('\n');
        }
        if !name.is_empty() {
            text.push_str(&format!("[{name}]\n"));
        }
        for (key, value) in settings.iter() {
            if comments {
                for line in key.doc.lines().chain([key.summary().as_str()]) {
                    text.push_str(&format!("# {line}\n"));
                }
            }
            match value {
                Some(value) => text.push_str(&format!("{} = {}\n", key.name, value.to_toml())),
                None if comments => {
                    text.push_str(&format!("# {} = {}\n", key.name, key.kind.example()));
                }
                None => {}
            }
        }
    }
    text
}

/// What is wrong with a schema, for the tests of whoever writes one: a name that is not snake_case or
/// occurs twice, a key without documentation, a range that holds nothing, a default that its own key
/// does not allow. Empty when all is well.
pub fn schema_faults(schema: &[&'static [Key]]) -> Vec<String> {
    let keys: Vec<&Key> = schema.iter().flat_map(|keys| keys.iter()).collect();
    let mut faults = Vec::new();
    for (position, key) in keys.iter().enumerate() {
        let name = key.name;
        let snake_case = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !snake_case {
            faults.push(format!("the name {name:?} is not snake_case"));
        }
        if keys
            .iter()
            .take(position)
            .any(|earlier| earlier.name == name)
        {
            faults.push(format!("{name} occurs twice"));
        }
        if key.doc.trim().is_empty() {
            faults.push(format!("{name} has no documentation"));
        }
        let empty = match key.kind {
            Kind::Integer { min, max } | Kind::Integers { min, max } => min > max,
            Kind::Number { min, max } | Kind::Numbers { min, max } => {
                min.is_nan() || max.is_nan() || min > max
            }
            Kind::Choice(words) => words.is_empty(),
            Kind::Flag | Kind::Text | Kind::Texts | Kind::TextOrTexts | Kind::Path => false,
        };
        if empty {
            faults.push(format!("{name} allows nothing"));
        }
        if let Some(value) = key.default.value()
            && key.kind.admit(value.clone()).as_ref() != Some(&value)
        {
            faults.push(format!(
                "{name} does not allow its default {}",
                value.to_toml()
            ));
        }
    }
    faults
}

/// The candidate that is spelled most alike `word`, if one is near: at most a third of its letters, and
/// never fewer than two allowed, inserted, left out, replaced or swapped with their neighbour.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| {
            let letters = candidate.chars().count();
            *distance <= 2.max(letters / 3) && *distance < letters
        })
        .map(|(_, candidate)| candidate)
}

/// The Damerau-Levenshtein distance in its restricted form (optimal string alignment): the least number
/// of insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`, no letter
/// being edited twice.
fn edit_distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut two_above: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substitution = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substitution.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(two_above[j - 2] + 1);
            }
        }
        two_above = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// `section.key`, or `key` at the top level.
fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

/// `"tanh" or "relu"`.
fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [] => "nothing".to_owned(),
        [word] => word.clone(),
        [words @ .., last] => format!("{} or {last}", words.join(", ")),
    }
}

fn integer_range(min: i64, max: i64) -> String {
    match (min, max) {
        (i64::MIN, i64::MAX) => String::new(),
        (min, i64::MAX) => format!(" of at least {min}"),
        (i64::MIN, max) => format!(" of at most {max}"),
        (min, max) => format!(" from {min} to {max}"),
    }
}

fn number_range(min: f64, max: f64) -> String {
    match (min.is_finite(), max.is_finite()) {
        (false, false) => String::new(),
        (true, false) => format!(" of at least {min}"),
        (false, true) => format!(" of at most {max}"),
        (true, true) => format!(" from {min} to {max}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    static KEYS: [Key; 10] = [
        Key {
            name: "bits",
            kind: Kind::Integer { min: 1, max: 8 },
            default: Preset::Integer(3),
            unit: "",
            doc: "Bits to hold.",
        },
        Key {
            name: "noise",
            kind: Kind::Number {
                min: 0.0,
                max: f64::INFINITY,
            },
            default: Preset::Number(0.1),
            unit: "standard deviation",
            doc: "Noise on the inputs.\nOn every step.",
        },
        Key {
            name: "cue",
            kind: Kind::Flag,
            default: Preset::Flag(true),
            unit: "",
            doc: "Whether a cue is shown.",
        },
        Key {
            name: "title",
            kind: Kind::Text,
            default: Preset::Text("a"),
            unit: "",
            doc: "A title.",
        },
        Key {
            name: "loss",
            kind: Kind::Choice(&["mean_squared_error", "cross_entropy"]),
            default: Preset::Text("mean_squared_error"),
            unit: "",
            doc: "The loss.",
        },
        Key {
            name: "lags",
            kind: Kind::Integers { min: 0, max: 1000 },
            default: Preset::Integers(&[0, 5]),
            unit: "steps",
            doc: "Lags.",
        },
        Key {
            name: "scales",
            kind: Kind::Numbers {
                min: -1.0,
                max: 1.0,
            },
            default: Preset::Numbers(&[]),
            unit: "",
            doc: "Scales.",
        },
        Key {
            name: "columns",
            kind: Kind::Texts,
            default: Preset::Texts(&["x", "y"]),
            unit: "",
            doc: "Columns.",
        },
        Key {
            name: "path",
            kind: Kind::Path,
            default: Preset::Absent,
            unit: "",
            doc: "A recording.",
        },
        Key {
            name: "steps",
            kind: Kind::Integer {
                min: 1,
                max: i64::MAX,
            },
            default: Preset::Absent,
            unit: "steps",
            doc: "Steps.",
        },
    ];

    static REQUIRED: [Key; 1] = [Key {
        name: "kind",
        kind: Kind::Text,
        default: Preset::Required,
        unit: "",
        doc: "Which one.",
    }];

    #[test]
    fn defaults_and_getters() {
        let settings = Settings::from_defaults("task", &[&KEYS, &REQUIRED]);
        assert_eq!(settings.integer("bits"), 3);
        assert_eq!(settings.count("bits"), 3);
        assert_eq!(settings.number("noise"), 0.1);
        assert!(settings.flag("cue"));
        assert_eq!(settings.text("title"), "a");
        assert_eq!(settings.text("loss"), "mean_squared_error");
        assert_eq!(settings.integers("lags"), [0, 5]);
        assert_eq!(settings.numbers("scales"), [0.0; 0]);
        assert_eq!(settings.texts("columns"), ["x", "y"]);
        assert_eq!(settings.optional_text("path"), None);
        assert_eq!(settings.optional_integer("steps"), None);
        assert_eq!(settings.optional_number("noise"), Some(0.1));
        assert!(!settings.is_set("kind"));
        assert_eq!(settings.keys().count(), 11);
        assert_eq!(settings.section(), "task");
    }

    #[test]
    #[should_panic(expected = "no key widht")]
    fn a_key_that_the_schema_lacks_is_a_programmers_error() {
        Settings::from_defaults("task", &[&KEYS]).integer("widht");
    }

    #[test]
    fn set_is_checked() {
        let mut settings = Settings::from_defaults("task", &[&KEYS]);
        settings.set("noise", Value::Integer(2)).unwrap();
        assert_eq!(settings.number("noise"), 2.0);
        settings.set("steps", Value::Integer(9)).unwrap();
        assert_eq!(settings.optional_integer("steps"), Some(9));
        settings.reset("steps");
        assert!(!settings.is_set("steps"));
        for (key, value) in [
            ("bits", Value::Integer(9)),
            ("bits", Value::Number(1.0)),
            ("noise", Value::Number(-0.1)),
            ("noise", Value::Number(f64::NAN)),
            ("noise", Value::Number(f64::INFINITY)),
            ("loss", Value::Text("hinge".into())),
            ("lags", Value::Integers(vec![1, -1])),
            ("scales", Value::Numbers(vec![0.0, f64::NAN])),
            ("cue", Value::Text("true".into())),
        ] {
            let before = settings.clone();
            assert!(
                matches!(settings.set(key, value), Err(Error::Argument { .. })),
                "{key}"
            );
            assert_eq!(settings, before);
        }
        let error = settings.set("bit", Value::Integer(1)).unwrap_err();
        assert!(
            error.to_string().contains("did you mean \"task.bits\"?"),
            "{error}"
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut settings = Settings::from_defaults("task", &[&KEYS]);
        settings
            .set("title", Value::Text("quote \" back \\ line\nend é".into()))
            .unwrap();
        settings.set("noise", Value::Number(1e-300)).unwrap();
        let top = Settings::from_defaults("", &[&KEYS]);
        for comments in [false, true] {
            let text = write_toml(&[("task", &settings), ("", &top)], comments);
            let document = Document::parse("written.toml", &text).unwrap();
            assert_eq!(
                document.section("task", &[&KEYS]).unwrap(),
                settings,
                "{text}"
            );
            assert_eq!(document.section("", &[&KEYS]).unwrap(), top, "{text}");
        }
    }

    #[test]
    fn comments_document_each_key_and_show_the_unset_ones() {
        let settings = Settings::from_defaults("task", &[&KEYS]);
        let text = write_toml(&[("task", &settings)], true);
        assert!(text.starts_with(
            "[task]\n# Bits to hold.\n# an integer from 1 to 8; default: 3\nbits = 3\n"
        ));
        assert!(text.contains(
            "# Noise on the inputs.\n# On every step.\n\
             # a finite number of at least 0; unit: standard deviation; default: 0.1\nnoise = 0.1\n"
        ));
        assert!(text.contains("# steps = 1\n"));
        let uncommented = text
            .replace("# steps = 1", "steps = 1")
            .replace("# path = ", "path = ");
        let document = Document::parse("a.toml", &uncommented).unwrap();
        let settings = document.section("task", &[&KEYS]).unwrap();
        assert_eq!(settings.optional_integer("steps"), Some(1));
    }

    #[test]
    fn a_text_is_a_list_of_one_where_both_are_allowed() {
        static EITHER: [Key; 1] = [Key {
            name: "arrays",
            kind: Kind::TextOrTexts,
            default: Preset::Absent,
            unit: "",
            doc: "A name or several.",
        }];
        for (text, expected) in [
            ("arrays = \"a\"", Some(&["a"][..])),
            ("arrays = [\"a\", \"b\"]", Some(&["a", "b"])),
            ("arrays = []", Some(&[])),
            ("", None),
        ] {
            let settings = Document::parse("a.toml", text)
                .unwrap()
                .section("", &[&EITHER])
                .unwrap();
            let found = settings
                .optional_texts("arrays")
                .map(|names| names.to_vec());
            assert_eq!(
                found,
                expected.map(|names| names.iter().map(|&name| name.to_owned()).collect())
            );
        }
        let error = Document::parse("a.toml", "arrays = 1")
            .unwrap()
            .section("", &[&EITHER])
            .unwrap_err();
        assert!(
            error.to_string().contains(
                "found the integer 1; allowed: a text in quotation marks, or a list of such"
            ),
            "{error}"
        );
    }

    #[test]
    fn schema_faults_are_found() {
        static BAD: [Key; 3] = [
            Key {
                name: "Bad Name",
                kind: Kind::Flag,
                default: Preset::Absent,
                unit: "",
                doc: "",
            },
            Key {
                name: "a",
                kind: Kind::Integer { min: 2, max: 1 },
                default: Preset::Integer(3),
                unit: "",
                doc: "A.",
            },
            Key {
                name: "a",
                kind: Kind::Flag,
                default: Preset::Text("x"),
                unit: "",
                doc: "A.",
            },
        ];
        assert_eq!(schema_faults(&[&BAD]).len(), 6);
        assert_eq!(schema_faults(&[&KEYS, &REQUIRED]), Vec::<String>::new());
    }

    #[test]
    fn the_nearest_word() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("ab", "ba"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(nearest("updatez", ["batch", "updates"]), Some("updates"));
        assert_eq!(
            nearest("leanring_rate", ["learning_rate", "loss"]),
            Some("learning_rate")
        );
        assert_eq!(nearest("zebra", ["batch", "updates"]), None);
        assert_eq!(nearest("x", ["a", "b"]), None);
        assert_eq!(nearest("x", []), None);
    }

    proptest! {
        #[test]
        fn every_finite_number_and_text_survives_the_file(
            x in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
            text: String,
            list: Vec<i64>,
        ) {
            static ANY: [Key; 3] = [
                Key {
                    name: "x",
                    kind: Kind::Number { min: f64::NEG_INFINITY, max: f64::INFINITY },
                    default: Preset::Required,
                    unit: "",
                    doc: "A number.",
                },
                Key { name: "text", kind: Kind::Text, default: Preset::Required, unit: "", doc: "A text." },
                Key {
                    name: "list",
                    kind: Kind::Integers { min: i64::MIN, max: i64::MAX },
                    default: Preset::Required,
                    unit: "",
                    doc: "A list.",
                },
            ];
            let mut settings = Settings::from_defaults("s", &[&ANY]);
            settings.set("x", Value::Number(x)).unwrap();
            settings.set("text", Value::Text(text)).unwrap();
            settings.set("list", Value::Integers(list)).unwrap();
            let written = write_toml(&[("s", &settings)], true);
            let document = Document::parse("s.toml", &written).unwrap();
            prop_assert_eq!(document.section("s", &[&ANY]).unwrap(), settings);
        }

        #[test]
        fn parsing_and_checking_never_panics(text in "[a-z\\[\\]=\\.\"0-9 \n-]{0,60}") {
            if let Ok(document) = Document::parse("x.toml", &text) {
                let _ = document.section("", &[&KEYS]);
                let _ = document.check_tables(&["a"]);
                let _ = document.resolve(Path::new(&text).to_str().unwrap());
            }
            let mut document = Document::parse("x.toml", "").unwrap();
            let _ = document.set(&text);
        }

        #[test]
        fn edit_distance_is_symmetric(a in "[abc]{0,8}", b in "[abc]{0,8}") {
            prop_assert_eq!(edit_distance(&a, &b), edit_distance(&b, &a));
            prop_assert_eq!(edit_distance(&a, &a), 0);
        }
    }
}
