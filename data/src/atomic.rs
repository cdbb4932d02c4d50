//! Files that are written whole or not at all.
//!
//! A file is written under a temporary name in its own folder, flushed to the disk and renamed into its
//! place, which the operating system does in one step. A reader, or a program killed at any instant,
//! sees the old file or the new one, never a part of it.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// What stands between the name of a file and the process in the name of its temporary:
/// `.NAME.tmp-PID-COUNT`.
const MARK: &str = ".tmp-";

/// Writes a file whole or not at all; see [`write_atomically_with`].
///
/// # Errors
/// [`Error::Io`] if the file cannot be written; the old file, if any, is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

/// Writes a file whole or not at all: `write` fills a temporary file beside it, which is flushed to the
/// disk and renamed into place. If anything fails, the temporary is removed and `path` is as it was.
///
/// # Errors
/// [`Error::Io`] with the reason that `write` or the operating system gave.
pub fn write_atomically_with(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    let failed = |source| Error::write(path, source);
    let temporary = Temporary::beside(path).map_err(failed)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary.path)
        .map_err(failed)?;
    let mut writer = BufWriter::new(file);
    write(&mut writer).map_err(failed)?;
    let file = writer
        .into_inner()
        .map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    // Windows does not rename a file that is open.
    drop(file);
    temporary.rename_to(path).map_err(failed)
}

/// A temporary file that is removed when dropped, unless it has been renamed into place.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    fn beside(path: &Path) -> io::Result<Temporary> {
        // Two threads may write the same file at once; each gets a temporary of its own.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let Some(name) = path.file_name() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path names no file",
            ));
        };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".{}{MARK}{}-{count}", name.to_string_lossy(), process::id());
        Ok(Temporary {
            path: path.with_file_name(name),
            renamed: false,
        })
    }

    fn rename_to(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.renamed = true;
        // The new name itself lasts through a power cut only once the folder is on the disk. Not every
        // file system can do that to a folder, and the file is whole either way.
        #[cfg(unix)]
        if let Some(folder) = path.parent() {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that led here is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a file name is that of a temporary which [`write_atomically_with`] makes.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let Some((file, process)) = name.rsplit_once(MARK) else {
        return false;
    };
    file.len() > 1
        && file.starts_with('.')
        && process.split('-').count() == 2
        && process
            .split('-')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes the temporaries in a folder, left behind by a process that was killed while writing. Call it
/// only when no other process can be writing there. What cannot be removed stays: it does no harm.
pub(crate) fn remove_temporaries(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if is_temporary(&entry.file_name()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_made_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, b"old").unwrap();
        let error = write_atomically_with(&path, |file| {
            file.write_all(&[0; 100_000])?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert!(!error.is_bad_input());
        assert!(error.to_string().contains("a.txt"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_panic_while_writing_leaves_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let write = || write_atomically_with(&path, |_| panic!("while writing"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(write)).is_err());
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write_atomically(&folder.path().join("no/such/a.txt"), b"").is_err());
        assert!(write_atomically(Path::new("/"), b"").is_err());
    }

    #[test]
    fn only_temporaries_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "a.txt",
            ".hidden",
            ".a.tmp-",
            ".a.tmp-12-x",
            "a.tmp-1-2",
            ".a.txt.tmp-12-0",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        remove_temporaries(folder.path());
        assert_eq!(
            names(folder.path()),
            [".a.tmp-", ".a.tmp-12-x", ".hidden", "a.tmp-1-2", "a.txt"]
        );
    }

    /// Threads that write the same file at once each succeed, and one of them wins.
    #[test]
    fn writers_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::thread::scope(|scope| {
            for letter in b'a'..b'e' {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..10 {
                        write_atomically(path, &[letter; 5000]).unwrap();
                    }
                });
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes, [bytes[0]; 5000]);
        assert_eq!(names(folder.path()), ["a.txt"]);
    }
}
