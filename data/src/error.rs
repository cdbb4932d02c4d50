//! What can go wrong between a user's files and the program, as one type.
//!
//! Every variant carries what a reader needs to mend the fault: the file, the line and the key where
//! there is one, what was found and what is allowed. `Display` writes it as one paragraph without a
//! final full stop, so that a caller may put it after a prefix of its own.

use std::fmt;
use std::io;
use std::path::Path;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What the program tried to do with a file when the operating system refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reading a file or listing a folder.
    Read,
    /// Writing, creating, renaming or locking a file or folder.
    Write,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Read => "read",
            Action::Write => "write",
        })
    }
}

/// An error of the lower floors: settings, files, the run folder.
///
/// Kept below 128 bytes, since every `Result` carries it: hence some boxed texts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key whose value is missing, of the wrong type or out of range.
    #[error("{}, key \"{key}\": found {found}; allowed: {allowed}{}", place(file, *line), after("; ", hint))]
    Setting {
        /// The file that holds the key, or `--set` for an assignment on the command line.
        file: String,
        /// The line of the key, counted from 1; absent for a key that is not in the file.
        line: Option<usize>,
        /// The key with the tables around it: `training.updates`.
        key: String,
        /// What was found, as a noun phrase: `the integer -3`, `nothing`.
        found: Box<str>,
        /// What is allowed, as a noun phrase: `an integer from 1 to 100`.
        allowed: Box<str>,
        /// Advice that goes beyond what is allowed.
        hint: Option<Box<str>>,
    },
    /// A key or table that no schema knows.
    #[error("{}, key \"{key}\": unknown key; {}", place(file, *line), suggestion(nearest, known))]
    UnknownKey {
        /// The file that holds the key, or `--set` for an assignment on the command line.
        file: String,
        /// The line of the key, counted from 1.
        line: Option<usize>,
        /// The unknown key with the tables around it.
        key: String,
        /// The known key that is spelled most alike, if any is near.
        nearest: Option<String>,
        /// All keys that are known in this place.
        known: Vec<String>,
    },
    /// Text that is not valid TOML or JSON.
    #[error("{}: {message}", place(file, *line))]
    Syntax {
        /// The file, or `--set` for an assignment on the command line.
        file: String,
        /// The line of the fault, counted from 1.
        line: Option<usize>,
        /// What the parser says.
        message: String,
    },
    /// A data file whose content is not what its format demands.
    #[error("{file}: {what}: found {found}; allowed: {allowed}")]
    Format {
        /// The file.
        file: String,
        /// The part of the file: `line 3, column "lead"`, `the header`.
        what: String,
        /// What was found there.
        found: String,
        /// What is allowed there.
        allowed: String,
    },
    /// A file or folder, or a part of one, that should be there and is not.
    #[error("{file}: missing {what}")]
    Missing {
        /// The file or folder.
        file: String,
        /// What is missing.
        what: String,
    },
    /// A value given to a function or on the command line that it cannot take.
    #[error("{what}: found {found}; allowed: {allowed}")]
    Argument {
        /// The name of the value.
        what: String,
        /// What was given.
        found: String,
        /// What is allowed.
        allowed: String,
    },
    /// The run folder is in use by another process.
    #[error(
        "{folder}: another process is at work in this run folder; wait for it or choose another folder"
    )]
    Busy {
        /// The run folder.
        folder: String,
    },
    /// A compute device that is not there, or that failed at its work.
    #[error("device {device}: {what}")]
    Device {
        /// The device as the user named it, or its own name.
        device: String,
        /// What failed, and what can be done about it.
        what: String,
    },
    /// The operating system refused to read or write.
    #[error("{file}: cannot {action}: {source}")]
    Io {
        /// The file or folder.
        file: String,
        /// What was tried.
        action: Action,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl Error {
    /// Whether the fault lies in what the user gave (exit status 2, nothing written) rather than in
    /// the work itself (exit status 1: the disk is full, a folder cannot be written).
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Setting { .. }
            | Error::UnknownKey { .. }
            | Error::Syntax { .. }
            | Error::Format { .. }
            | Error::Missing { .. }
            | Error::Argument { .. } => true,
            Error::Busy { .. } | Error::Device { .. } => false,
            Error::Io { action, .. } => *action == Action::Read,
        }
    }

    /// A failed read of `path`; a file that does not exist becomes [`Error::Missing`].
    pub fn read(path: &Path, source: io::Error) -> Self {
        let file = path.display().to_string();
        if source.kind() == io::ErrorKind::NotFound {
            Error::Missing {
                file,
                what: "file: it does not exist".into(),
            }
        } else {
            Error::Io {
                file,
                action: Action::Read,
                source,
            }
        }
    }

    /// A failed write to `path`.
    pub fn write(path: &Path, source: io::Error) -> Self {
        Error::Io {
            file: path.display().to_string(),
            action: Action::Write,
            source,
        }
    }

    /// Content of `path` that its format does not allow.
    pub fn format(
        path: &Path,
        what: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Error::Format {
            file: path.display().to_string(),
            what: what.into(),
            found: found.into(),
            allowed: allowed.into(),
        }
    }

    /// Something that should be in `path` and is not.
    pub fn missing(path: &Path, what: impl Into<String>) -> Self {
        Error::Missing {
            file: path.display().to_string(),
            what: what.into(),
        }
    }

    /// A failure of the compute device `device`.
    pub fn device(device: impl Into<String>, what: impl Into<String>) -> Self {
        Error::Device {
            device: device.into(),
            what: what.into(),
        }
    }

    /// A value named `what` that cannot be taken.
    pub fn argument(
        what: impl Into<String>,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Error::Argument {
            what: what.into(),
            found: found.into(),
            allowed: allowed.into(),
        }
    }
}

/// `file` or `file, line N`.
fn place(file: &str, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{file}, line {line}"),
        None => file.to_owned(),
    }
}

/// `prefix` and the text, or nothing.
fn after(prefix: &str, text: &Option<Box<str>>) -> String {
    text.as_ref()
        .map(|text| format!("{prefix}{text}"))
        .unwrap_or_default()
}

/// The nearest known key where one is near, the list of known keys otherwise.
fn suggestion(nearest: &Option<String>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("did you mean \"{nearest}\"?"),
        None if known.is_empty() => "none is known here".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_file_line_key_found_and_allowed() {
        let error = Error::UnknownKey {
            file: "flip_flop.toml".into(),
            line: Some(7),
            key: "training.updatez".into(),
            nearest: Some("training.updates".into()),
            known: vec!["training.updates".into()],
        };
        assert_eq!(
            error.to_string(),
            "flip_flop.toml, line 7, key \"training.updatez\": unknown key; did you mean \"training.updates\"?"
        );
        let error = Error::Setting {
            file: "a.toml".into(),
            line: None,
            key: "task.bits".into(),
            found: "nothing".into(),
            allowed: "an integer from 1 to 8".into(),
            hint: Some("give one".into()),
        };
        assert_eq!(
            error.to_string(),
            "a.toml, key \"task.bits\": found nothing; allowed: an integer from 1 to 8; give one"
        );
    }

    #[test]
    fn only_what_the_user_gave_is_bad_input() {
        let path = Path::new("x.npy");
        assert!(Error::read(path, io::ErrorKind::NotFound.into()).is_bad_input());
        assert!(Error::read(path, io::ErrorKind::PermissionDenied.into()).is_bad_input());
        assert!(Error::format(path, "header", "nothing", "a header").is_bad_input());
        assert!(!Error::write(path, io::ErrorKind::StorageFull.into()).is_bad_input());
        assert!(
            !Error::Busy {
                folder: "run".into()
            }
            .is_bad_input()
        );
        assert!(matches!(
            Error::read(path, io::ErrorKind::NotFound.into()),
            Error::Missing { .. }
        ));
    }
}
