//! The record of an entry: 56 bytes, of which the key's checksum takes 32.

use crate::key::{Key, PROPS_BITS};
use crate::phys::Phys;

/// An entry as kept in memory.
///
/// Nearly every entry is one block, stored once, with one address of a pool of usual size and a
/// handful of references: that fits the record. What does not (several stored blocks, several
/// addresses, a write in flight, very many references, numbers beyond these fields) is *wide*, and
/// the record says where the rest is.
///
/// ```text
///        63            48 47         40 39                            0
///   [0]  |  birth, bits 0–23           | the key's property word       |
///   [1]  | references     | first word of the address                  |
///   [2]  | birth, 24–39   | second word of the address                 |
/// ```
#[derive(Clone, Copy)]
pub(crate) struct Record {
    checksum: [u64; 4],
    words: [u64; 3],
}

const _: () = assert!(size_of::<Record>() == 56);

/// In place of the references: the first address word is the number of the wide entry.
const WIDE: u64 = 0xffff;
/// The most references a record can count.
pub(crate) const REFERENCES_MAX: u64 = WIDE - 1;

/// Bits of each address word: vdevs up to 65535, offsets up to 2^48 sectors.
const DVA_BITS: u32 = 48;
/// Bits of the birth: at a thousand groups a second enough for 34 years.
const BIRTH_BITS: u32 = 40;
const BIRTH_LOW_BITS: u32 = u64::BITS - PROPS_BITS;

/// What a record holds.
pub(crate) enum Body {
    /// A block with one address, written as one copy, that [fits](Body::plain).
    Plain { phys: Phys, references: u64 },
    /// The wide entry of this number.
    Wide { wide: usize },
}

impl Body {
    /// The block as a record of its own, if it fits one.
    pub(crate) fn plain(phys: Phys, references: u64) -> Option<Self> {
        let [first, second] = phys.identity().dva0;
        let fits = phys.has_one_address()
            && first >> DVA_BITS == 0
            && second >> DVA_BITS == 0
            && phys.birth_txg() >> BIRTH_BITS == 0
            && references <= REFERENCES_MAX;
        fits.then_some(Self::Plain { phys, references })
    }
}

const fn low(word: u64, bits: u32) -> u64 {
    word & ((1 << bits) - 1)
}

impl Record {
    pub(crate) fn new(key: &Key, body: &Body) -> Self {
        let mut record = Self { checksum: key.checksum(), words: [key.props(), 0, 0] };
        record.set_body(body);
        record
    }

    fn props(&self) -> u64 {
        low(self.words[0], PROPS_BITS)
    }

    pub(crate) fn key(&self) -> Key {
        Key::rebuilt(self.checksum, self.props())
    }

    pub(crate) fn has_key(&self, key: &Key) -> bool {
        self.checksum == key.checksum() && self.props() == key.props()
    }

    pub(crate) fn body(&self) -> Body {
        let [of_key, first, second] = self.words;
        match first >> DVA_BITS {
            WIDE => Body::Wide { wide: low(first, DVA_BITS) as usize },
            references => {
                let birth = of_key >> PROPS_BITS | second >> DVA_BITS << BIRTH_LOW_BITS;
                let dva0 = [low(first, DVA_BITS), low(second, DVA_BITS)];
                Body::Plain { phys: Phys::rebuilt(dva0, birth), references }
            }
        }
    }

    pub(crate) fn set_body(&mut self, body: &Body) {
        let ([first, second], birth, references) = match *body {
            Body::Plain { phys, references } => {
                (phys.identity().dva0, phys.birth_txg(), references)
            }
            Body::Wide { wide } => ([wide as u64, 0], 0, WIDE),
        };
        self.words = [
            self.props() | birth << PROPS_BITS,
            first | references << DVA_BITS,
            second | birth >> BIRTH_LOW_BITS << DVA_BITS,
        ];
    }
}
