//! Where a run came from: what is needed to make it again and to tell whether its inputs have changed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The content of a run's `provenance.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The program's name.
    pub program: String,
    /// The program's version.
    pub version: String,
    /// The commit that the program was built from, where that is known.
    pub commit: Option<String>,
    /// The command line, word by word.
    pub command: Vec<String>,
    /// The device that trained, by name.
    pub device: String,
    /// How many CPU threads were allowed. Results do not depend on it.
    pub threads: usize,
    /// The seeds of all random streams.
    pub seeds: Vec<u64>,
    /// Every file that was read, with its checksum.
    pub inputs: Vec<InputFile>,
    /// When the run began, in RFC 3339, UTC.
    pub started: String,
    /// How often it was taken up again after an interruption, and how; oldest first.
    #[serde(default)]
    pub resumed: Vec<Resumption>,
    /// When it was done, in RFC 3339, UTC; absent while it is not.
    pub finished: Option<String>,
}

/// A run taken up again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Recorded")]
pub struct Resumption {
    /// When, in RFC 3339, UTC.
    pub time: String,
    /// The device that trained from here on, by name; empty where it was not written down.
    pub device: String,
    /// The command line, word by word.
    pub command: Vec<String>,
}

/// A [`Resumption`] as a file may hold it: the first version of this program wrote the time alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Recorded {
    Time(String),
    Whole {
        time: String,
        device: String,
        command: Vec<String>,
    },
}

impl From<Recorded> for Resumption {
    fn from(recorded: Recorded) -> Self {
        match recorded {
            Recorded::Time(time) => Resumption {
                time,
                device: String::new(),
                command: Vec::new(),
            },
            Recorded::Whole {
                time,
                device,
                command,
            } => Resumption {
                time,
                device,
                command,
            },
        }
    }
}

/// A file that a run has read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The path as the run was given it.
    pub path: String,
    /// The SHA-256 of the content, 64 hexadecimal digits.
    pub sha256: String,
}

impl InputFile {
    /// The record of a file as it is now.
    ///
    /// # Errors
    /// As [`sha256_file`].
    pub fn of(path: &Path) -> Result<InputFile> {
        Ok(InputFile {
            path: path.display().to_string(),
            sha256: sha256_file(path)?,
        })
    }
}

/// The SHA-256 of a file's content as 64 hexadecimal digits.
///
/// # Errors
/// [`Error::Missing`] or [`Error::Io`] if the file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    let failed = |source: io::Error| Error::read(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(format!("{:x}", hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The time now in RFC 3339, UTC, to the second: `2026-11-20T13:38:48Z`.
pub fn now() -> String {
    // A clock before 1970 is not set; the epoch says so as well as anything.
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    rfc3339(since_epoch.as_secs())
}

/// A time in RFC 3339, UTC, from seconds since 1970-01-01T00:00:00Z (leap seconds not counted).
///
/// The date is found in the proleptic Gregorian calendar from the day's number within its era of 400 years
/// (146,097 days), counting years from 1 March, so that the leap day is the last of a year: the method of
/// H. Hinnant, "chrono-compatible low-level date algorithms" (2013).
pub fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // 1970-01-01 is day 719,468 since 0000-03-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 31, 30, 31, 30, 31 days in turn: 153 days in five months.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        for (seconds, time) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (1_234_567_890, "2009-02-13T23:31:30Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), time);
        }
        assert_eq!(now().len(), 20);
    }

    #[test]
    fn the_first_version_wrote_times_alone() {
        let old = "[\"2026-11-20T16:00:00Z\", {\"time\": \"t\", \"device\": \"cpu\", \"command\": [\"a\"]}]";
        let read: Vec<Resumption> = serde_json::from_str(old).unwrap();
        assert_eq!(read[0].time, "2026-11-20T16:00:00Z");
        assert_eq!((read[0].device.as_str(), read[0].command.len()), ("", 0));
        assert_eq!(read[1].device, "cpu");
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(
            serde_json::from_str::<Vec<Resumption>>(&written).unwrap(),
            read
        );
    }

    /// The examples of FIPS 180-4, and one longer than a buffer.
    #[test]
    fn known_checksums() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        for (content, checksum) in [
            (
                vec![],
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            (
                b"abc".to_vec(),
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                vec![b'a'; 1_000_000],
                "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
            ),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(sha256_file(&path).unwrap(), checksum);
        }
        assert_eq!(
            InputFile::of(&path).unwrap().path,
            path.display().to_string()
        );
        assert!(
            sha256_file(&folder.path().join("no"))
                .unwrap_err()
                .is_bad_input()
        );
    }

    proptest! {
        /// Each day is one more than the day before, month and year turning where the calendar does.
        #[test]
        fn days_follow_each_other(day in 0_u64..100_000) {
            let fields = |day: u64| {
                let text = rfc3339(day * 86_400);
                let part = |from: usize, to: usize| text[from..to].parse::<u64>().unwrap();
                (part(0, 4), part(5, 7), part(8, 10))
            };
            let ((y, m, d), next) = (fields(day), fields(day + 1));
            let leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
            let length = match m {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let expected = match (m, d == length) {
                (_, false) => (y, m, d + 1),
                (12, true) => (y + 1, 1, 1),
                (_, true) => (y, m + 1, 1),
            };
            prop_assert_eq!(next, expected);
        }
    }
}
