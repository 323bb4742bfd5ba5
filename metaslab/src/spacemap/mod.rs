//! Space maps: allocator state as a log of what was allocated and freed, in ZFS's format.
//!
//! A map says of one device which units are allocated, without saying it again in each
//! transaction group: each appends what it has changed, and to load a map is to
//! replay it in order.
//!
//! ```text
//! txg 1: allocate 0..100      txg 2: free 20..30      txg 3: allocate 25..27, 100..120
//!
//!        0        20   25 27  30                    100     120
//! 1      ███████████████████████████████████████████
//! 2      ██████████           ██████████████████████
//! 3      ██████████   ███     ██████████████████████████████
//! ```
//!
//! So a map grows with what happens, not with what there is. When it is more than twice as long as
//! need be, and longer than a block, it is [condensed](SpaceMap::condense): written anew as the
//! extents that are allocated, and nothing else.
//!
//! # Example
//!
//! An allocator that is told to [keeps changes](crate::ExtentsConfig::keeps_changes) until they are
//! asked for, which is when a transaction group is written. After a crash what the map says is
//! the state to go on from.
//!
//! ```
//! use metaslab::spacemap::SpaceMap;
//! use metaslab::{Extent, Extents, ExtentsConfig};
//!
//! let config = ExtentsConfig { keeps_changes: true, ..ExtentsConfig::for_ashift(12) };
//! let mut space = Extents::new(1000, config);
//! let mut map = SpaceMap::new(1000, 512);
//!
//! let first = space.allocate(100, 1).expect("all is free");
//! for changes in space.take_changes(1) {
//!     map.append(&changes, 1)?;                   // and write map.words() somewhere
//! }
//! space.free(Extent::new(first + 20, 10), 2)?;
//! space.allocate(50, 3).expect("there is plenty");
//! for changes in space.take_changes(2) {
//!     map.append(&changes, 1)?;
//! }
//! // Group 3 was never written. Here the lights go out.
//! let words = map.words().to_vec();
//! assert_eq!(words.len(), 4);                     // a stamp and a range, twice
//!
//! let map = SpaceMap::load(1000, 512, words)?;
//! let extents: Vec<_> = map.allocated().collect();
//! assert_eq!(extents, [Extent::new(0, 20), Extent::new(30, 70)]);
//! let space = Extents::load(&map, config);
//! assert_eq!(space.free_units(), 910);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Metaslabs`](crate::Metaslabs) has the same for a pool:
//! [`take_changes`](crate::Metaslabs::take_changes) and [`load_vdev`](crate::Metaslabs::load_vdev).
//!
//! # What is never so
//!
//! * A panic from any words. A map that does not make sense, by an allocation of what is allocated or
//!   a free of what is free, is [`Corrupt`], which says where. ZFS stops the machine then; here
//!   who loads decides, and until then nothing of the device is handed out: doubt leaks.
//! * An entry of two words in two blocks: blocks can be written and read one by one.
//! * A change that is half in the map: what does not fit the state is refused as a whole.
//!
//! # Sources
//!
//! Spec 8.5, "Space maps", with its worked examples.

mod map;
mod word;

use thiserror::Error;

pub use map::{Entries, SpaceMap, bytes_of, words_of};
pub use word::{Change, Entry, PADDING};

use crate::extent::Extent;

/// What is wrong with a map, or with what it is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Corrupt {
    /// An allocation of units some of which are allocated.
    #[error("word {at_word}: allocation of {extent}, which are not free")]
    NotFree {
        /// Number of the entry's first word in the map.
        at_word: usize,
        /// The units.
        extent: Extent,
    },
    /// A free of units some of which are free.
    #[error("word {at_word}: free of {extent}, which are not allocated")]
    NotAllocated {
        /// Number of the entry's first word in the map.
        at_word: usize,
        /// The units.
        extent: Extent,
    },
    /// No units, or units beyond the device.
    #[error("word {at_word}: {extent} of a device of {device_units} units")]
    Outside {
        /// Number of the entry's first word in the map.
        at_word: usize,
        /// The units.
        extent: Extent,
        /// Units of the device.
        device_units: u64,
    },
    /// The first word of two is the last one of its block, or of the map.
    #[error("word {at_word}: the second half of the entry is missing")]
    Cut {
        /// Number of the word in the map.
        at_word: usize,
    },
    /// Bits that nobody sets are set.
    #[error("word {at_word}: {word:#018x} is no entry")]
    Reserved {
        /// Number of the word in the map.
        at_word: usize,
        /// The word.
        word: u64,
    },
    /// A transaction group or a pass that no stamp can say.
    #[error("word {at_word}: no stamp for pass {pass} of txg {txg}")]
    Stamp {
        /// Number that the word would have in the map.
        at_word: usize,
        /// The pass.
        pass: u16,
        /// The transaction group.
        txg: zio_core::Txg,
    },
    /// Bytes that are no whole words.
    #[error("{len_bytes} bytes are no whole words")]
    Bytes {
        /// How many there are.
        len_bytes: usize,
    },
}
