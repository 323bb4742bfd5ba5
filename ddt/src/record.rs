//! The record of an entry: one cache line.

use crate::key::{Key, PROPS_BITS};
use crate::phys::{Dva, Phys};

/// An entry as kept in memory.
///
/// Nearly every entry is one block, stored once, with one address and a handful of references: that
/// fits the record. What does not (several stored blocks, several addresses, a write in flight, very
/// many references) is *wide*, and the record says where the rest is.
#[derive(Clone, Copy)]
pub(crate) struct Record {
    checksum: [u64; 4],
    /// The key's property word below, the references (or [`WIDE`]) above.
    props_and_references: u64,
    dva0: Dva,
    birth_txg: u64,
}

const _: () = assert!(size_of::<Record>() == 64);

/// In place of the references: the first address word is the number of the wide entry.
const WIDE: u64 = u64::MAX >> PROPS_BITS;
/// The most references a record can count.
pub(crate) const REFERENCES_MAX: u64 = WIDE - 1;

const PROPS_MASK: u64 = (1 << PROPS_BITS) - 1;

/// What a record holds.
pub(crate) enum Body {
    /// A block with one address, written as one copy.
    Plain { phys: Phys, references: u64 },
    /// The wide entry of this number.
    Wide { wide: usize },
}

impl Record {
    pub(crate) fn new(key: &Key, body: &Body) -> Self {
        let mut record = Self {
            checksum: key.checksum(),
            props_and_references: key.props(),
            dva0: [0; 2],
            birth_txg: 0,
        };
        record.set_body(body);
        record
    }

    pub(crate) fn key(&self) -> Key {
        Key::rebuilt(self.checksum, self.props_and_references & PROPS_MASK)
    }

    pub(crate) fn has_key(&self, key: &Key) -> bool {
        self.checksum == key.checksum() && self.props_and_references & PROPS_MASK == key.props()
    }

    pub(crate) fn body(&self) -> Body {
        match self.props_and_references >> PROPS_BITS {
            WIDE => Body::Wide { wide: self.dva0[0] as usize },
            references => {
                Body::Plain { phys: Phys::rebuilt(self.dva0, self.birth_txg), references }
            }
        }
    }

    pub(crate) fn set_body(&mut self, body: &Body) {
        let references = match *body {
            Body::Plain { phys, references } => {
                self.dva0 = phys.identity().dva0;
                self.birth_txg = phys.birth_txg();
                references
            }
            Body::Wide { wide } => {
                self.dva0 = [wide as u64, 0];
                self.birth_txg = 0;
                WIDE
            }
        };
        self.props_and_references =
            (self.props_and_references & PROPS_MASK) | references << PROPS_BITS;
    }
}
