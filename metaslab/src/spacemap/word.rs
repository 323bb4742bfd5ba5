//! The words of a space map, as ZFS writes them (spec 8.5).

use smallvec::{SmallVec, smallvec};
use zio_core::{Txg, VdevId};

use super::Corrupt;
use crate::extent::Extent;

/// Units that a one-word entry can say.
pub(super) const SHORT_UNITS_MAX: u64 = 1 << 15;

/// Offsets that a one-word entry can say are below this.
pub(super) const SHORT_OFFSET_END: u64 = 1 << 47;

/// Units that an entry can say at all.
pub(super) const LONG_UNITS_MAX: u64 = 1 << 36;

/// Offsets that an entry can say at all are below this.
pub(super) const OFFSET_END: u64 = 1 << 63;

const VDEV_END: u64 = 1 << 24;
const TXG_END: u64 = 1 << 50;
const PASS_END: u64 = 1 << 10;

/// A word that says nothing. It fills a block up when the next entry does not fit.
pub const PADDING: u64 = PREFIX_STAMP << PREFIX_SHIFT;

const PREFIX_SHIFT: u32 = 62;
const PREFIX_STAMP: u64 = 0b10;
const PREFIX_LONG: u64 = 0b11;

/// What became of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// They were free.
    Allocate,
    /// They were allocated.
    Free,
}

impl Change {
    const fn bit(self) -> u64 {
        match self {
            Self::Allocate => 0,
            Self::Free => 1,
        }
    }

    const fn of_bit(bit: u64) -> Self {
        match bit & 1 {
            0 => Self::Allocate,
            _ => Self::Free,
        }
    }
}

/// One entry of a space map: one word or two.
///
/// ```text
/// bits        63  62 61 60  59 … 50  49 … 24  23 … 16 15 14 … 0
/// one word    0   offset ─────────────────────────────┤ c│ units − 1
/// two words   1   1  0  0   units − 1 ─────┤ vdev ─────────────
///             c   offset ──────────────────────────────────────
/// stamp       1   0  c  c   pass ─┤ txg ───────────────────────     c: 0 allocated, 1 freed
/// ```
///
/// ```
/// use metaslab::Extent;
/// use metaslab::spacemap::{Change, Entry};
/// use zio_core::VdevId;
///
/// let short = Entry::Range { change: Change::Free, extent: Extent::new(0x100, 8), vdev: None };
/// assert_eq!(short.encode().unwrap()[..], [0x0100_8007]);
/// let named = Entry::Range {
///     change: Change::Free,
///     extent: Extent::new(0x1_2345_6789, 1 << 20),
///     vdev: Some(VdevId(3)),
/// };
/// assert_eq!(named.encode().unwrap()[..], [0xc000_0fff_ff00_0003, 0x8000_0001_2345_6789]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Units that were allocated or freed.
    Range {
        /// Which of the two.
        change: Change,
        /// The units, at least one.
        extent: Extent,
        /// Their vdev. One word has no room for it: `None` where there is one. Two words always
        /// name one; the map of one device names 0, and who reads it does not look.
        vdev: Option<VdevId>,
    },
    /// Where and when what follows comes from, for those who look into a map. No unit changes.
    Stamp {
        /// What the entries behind it say.
        change: Change,
        /// Pass of the transaction group's sync.
        pass: u16,
        /// The transaction group; 0 in [`PADDING`].
        txg: Txg,
    },
}

impl Entry {
    /// The entry as words. Two where one has no room: for a named vdev, for more than 2^15
    /// units, for offsets from 2^47 on.
    ///
    /// `None` for what cannot be said: no units or more than 2^36, an offset from 2^63 on, a vdev
    /// from 2^24 on, a group from 2^50 on, a pass from 2^10 on.
    pub fn encode(&self) -> Option<SmallVec<[u64; 2]>> {
        match *self {
            Self::Range { change, extent: Extent { offset_units, size_units }, vdev } => {
                let (run, vdev_number) =
                    (size_units.checked_sub(1)?, u64::from(vdev.map_or(0, |v| v.0)));
                if run >= LONG_UNITS_MAX || offset_units >= OFFSET_END || vdev_number >= VDEV_END {
                    return None;
                }
                if vdev.is_none() && is_short(offset_units, size_units) {
                    return Some(smallvec![offset_units << 16 | change.bit() << 15 | run]);
                }
                let first = PREFIX_LONG << PREFIX_SHIFT | run << 24 | vdev_number;
                Some(smallvec![first, change.bit() << 63 | offset_units])
            }
            Self::Stamp { change, pass, txg } => {
                let pass = u64::from(pass);
                (pass < PASS_END && txg < TXG_END).then(|| {
                    smallvec![PREFIX_STAMP << PREFIX_SHIFT | change.bit() << 60 | pass << 50 | txg]
                })
            }
        }
    }

    /// The first entry of `words`, which stand at `at_word` of their map; and how many words it takes.
    pub(super) fn decode(words: &[u64], at_word: usize) -> Result<(Self, usize), Corrupt> {
        let Some(&word) = words.first() else { return Err(Corrupt::Cut { at_word }) };
        match word >> PREFIX_SHIFT {
            PREFIX_STAMP => {
                let (action, pass) = (word >> 60 & 0b11, (word >> 50 & (PASS_END - 1)) as u16);
                if action > 1 {
                    return Err(Corrupt::Reserved { at_word, word });
                }
                let change = Change::of_bit(action);
                Ok((Self::Stamp { change, pass, txg: word & (TXG_END - 1) }, 1))
            }
            PREFIX_LONG => {
                let Some(&second) = words.get(1) else { return Err(Corrupt::Cut { at_word }) };
                if word >> 60 & 0b11 != 0 {
                    return Err(Corrupt::Reserved { at_word, word });
                }
                let size_units = (word >> 24 & (LONG_UNITS_MAX - 1)) + 1;
                let extent = Extent::new(second & (OFFSET_END - 1), size_units);
                let vdev = Some(VdevId((word & (VDEV_END - 1)) as u32));
                Ok((Self::Range { change: Change::of_bit(second >> 63), extent, vdev }, 2))
            }
            _ => {
                let extent = Extent::new(word >> 16, (word & (SHORT_UNITS_MAX - 1)) + 1);
                Ok((Self::Range { change: Change::of_bit(word >> 15), extent, vdev: None }, 1))
            }
        }
    }
}

/// Does one word do for these units?
pub(super) const fn is_short(offset_units: u64, size_units: u64) -> bool {
    size_units <= SHORT_UNITS_MAX && offset_units < SHORT_OFFSET_END
}
