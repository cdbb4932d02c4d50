//! How many networks go through at a time.

use crate::layout::Bytes;
use nullcline_data::{Error, Result};

/// What a device has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes of one buffer.
    pub binding_bytes: u64,
    /// Networks in a dispatch.
    pub networks: usize,
    /// Bytes of all buffers of a group of more than one network: below what memory has run out with before.
    pub group_bytes: u64,
}

/// Bytes of trials that are drawn ahead of the updates that need them.
const AHEAD_BYTES: u64 = 64 << 20;

/// Updates whose trials are drawn ahead, at most.
const AHEAD: u64 = 16;

/// Networks in a group, of `networks` in all. `sets_per_network` is 1 where every network has trials of its own,
/// 0 where all share one set. Groups are as equal as they can be.
///
/// # Errors
/// If one network by itself has no room.
pub fn group_size(
    bytes: &Bytes,
    networks: usize,
    sets_per_network: u64,
    room: &Room,
) -> Result<usize> {
    let per_network = bytes
        .largest_per_network
        .max(bytes.per_set * sets_per_network)
        .max(1);
    let most = (room.binding_bytes / per_network).min(room.networks as u64) as usize;
    if most == 0 || bytes.per_set > room.binding_bytes {
        return Err(Error::argument(
            "one network with its batch of trials on a graphics card",
            format!(
                "a buffer of {} MiB",
                per_network.max(bytes.per_set).div_ceil(1 << 20)
            ),
            format!(
                "at most {} MiB on this device: a smaller batch, shorter trials, or the CPU",
                room.binding_bytes >> 20
            ),
        ));
    }
    let remembered = (room.group_bytes / together(bytes, sets_per_network)).max(1);
    let most = most.min(usize::try_from(remembered).unwrap_or(usize::MAX));
    let groups = networks.div_ceil(most).max(1);
    Ok(networks.div_ceil(groups).max(1))
}

/// Bytes of all buffers that a network of a group takes, with its trials where it has its own.
pub fn together(bytes: &Bytes, sets_per_network: u64) -> u64 {
    (bytes.per_network + bytes.per_set * sets_per_network).max(1)
}

/// For how many updates the trials of `sets` sets are drawn at once.
pub fn updates_ahead(per_set: u64, sets: usize, room: &Room) -> usize {
    let per_update = (per_set * sets as u64).max(1);
    let most = AHEAD.min(room.networks as u64 / sets.max(1) as u64).max(1);
    (AHEAD_BYTES.min(room.binding_bytes) / per_update).clamp(1, most) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(per_network: u64, per_set: u64) -> Bytes {
        Bytes {
            largest_per_network: per_network,
            per_network,
            per_set,
        }
    }

    const ROOM: Room = Room {
        binding_bytes: 1000,
        networks: 50,
        group_bytes: u64::MAX,
    };

    #[test]
    fn groups_are_equal_and_fit() {
        assert_eq!(group_size(&bytes(100, 10), 7, 1, &ROOM).unwrap(), 7);
        assert_eq!(group_size(&bytes(100, 10), 11, 1, &ROOM).unwrap(), 6);
        assert_eq!(group_size(&bytes(1, 1), 101, 1, &ROOM).unwrap(), 34);
        assert_eq!(group_size(&bytes(100, 500), 8, 1, &ROOM).unwrap(), 2);
        assert_eq!(group_size(&bytes(100, 500), 8, 0, &ROOM).unwrap(), 8);
    }

    #[test]
    fn what_memory_has_run_out_with_is_not_tried_again() {
        let room = Room {
            group_bytes: 220,
            ..ROOM
        };
        assert_eq!(group_size(&bytes(100, 10), 7, 1, &room).unwrap(), 2);
        // What half of eight have run out with is remembered as four, whether they share their trials or not.
        for sets in [0, 1] {
            let bytes = bytes(10, 100);
            let room = Room {
                group_bytes: 4 * together(&bytes, sets),
                ..ROOM
            };
            assert_eq!(group_size(&bytes, 8, sets, &room).unwrap(), 4);
        }
        // One network has to be tried all the same.
        assert_eq!(group_size(&bytes(500, 10), 7, 1, &room).unwrap(), 1);
    }

    #[test]
    fn what_fits_in_no_group_is_refused() {
        assert!(group_size(&bytes(1001, 1), 1, 1, &ROOM).is_err());
        assert!(group_size(&bytes(1, 1001), 1, 0, &ROOM).is_err());
    }

    proptest! {
        #[test]
        fn every_group_fits(
            per_network in 1u64..1000, per_set in 1u64..1000, networks in 1usize..500, sets in 0u64..2
        ) {
            let size = group_size(&bytes(per_network, per_set), networks, sets, &ROOM).unwrap();
            prop_assert!(size >= 1 && size <= networks);
            prop_assert!(size as u64 * per_network <= ROOM.binding_bytes);
            prop_assert!(size as u64 * per_set * sets <= ROOM.binding_bytes);
            let sets = if sets == 0 { 1 } else { size };
            let ahead = updates_ahead(per_set, sets, &ROOM) as u64;
            prop_assert!(ahead >= 1 && (ahead == 1 || ahead * sets as u64 * per_set <= ROOM.binding_bytes));
        }
    }
}
