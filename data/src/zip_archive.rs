//! Opening zip archives, which npz files and torch's files are.

use std::io::Cursor;

use zip::ZipArchive;

/// How many records of each kind that ends an archive a file may seem to have. It has one; numbers look like
/// another once in four billion bytes.
const MAX_ENDS: usize = 16;

/// Opens an archive that lies in memory, or says what is wrong with it.
///
/// The reader of the zip crate tries every record that could be the end of the archive, each with a search of its
/// own. A file made of such records (500 kB of them took half a minute) would keep it busy for as long as the
/// file's author likes, so they are counted first.
pub(crate) fn open<T: AsRef<[u8]>>(bytes: T) -> Result<ZipArchive<Cursor<T>>, String> {
    // The end of the directory, its 64-bit form, and the pointer to that.
    for signature in [*b"PK\x05\x06", *b"PK\x06\x06", *b"PK\x06\x07"] {
        let seen = bytes
            .as_ref()
            .windows(4)
            .filter(|window| *window == signature);
        if seen.take(MAX_ENDS + 1).count() > MAX_ENDS {
            return Err("more ends of an archive than one file has".into());
        }
    }
    ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Without the count, the first of these took minutes.
    #[test]
    fn files_of_many_ends_are_refused_at_once() {
        let end = |fields: [u8; 18]| [b"PK\x05\x06".as_slice(), &fields].concat();
        // Zero entries; one entry of 46 bytes; all fields in the 64-bit record; and that record and its pointer.
        let one = end([0, 0, 0, 0, 1, 0, 1, 0, 46, 0, 0, 0, 0, 0, 0, 0, 255, 255]);
        let large = end([
            0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0,
        ]);
        let pointer = [b"PK\x06\x07".as_slice(), &[0; 16]].concat();
        let record = [b"PK\x06\x06".as_slice(), &44_u64.to_le_bytes(), &[0; 44]].concat();
        for (what, bytes) in [
            ("ends", one.repeat(100_000)),
            (
                "pointers and ends",
                [&pointer[..], &large].concat().repeat(100_000),
            ),
            (
                "records before one end",
                [&record.repeat(100_000)[..], &pointer, &large].concat(),
            ),
            (
                "pointers before one end",
                [&pointer.repeat(100_000)[..], &large].concat(),
            ),
        ] {
            let started = Instant::now();
            let error = open(&bytes).unwrap_err();
            assert_eq!(error, "more ends of an archive than one file has", "{what}");
            assert!(started.elapsed() < Duration::from_secs(5), "{what}");
        }
        // As many as are let through cost no more than a moment.
        let started = Instant::now();
        let filler = vec![0; 4 << 20];
        assert!(open([&filler[..], &one.repeat(MAX_ENDS)].concat()).is_err());
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
