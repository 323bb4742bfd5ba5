//! Embedded data: a pointer that *is* the block (spec 2.2).

use super::{
    BlockPointer, COMPRESSION, EMBEDDED, Field, LEVEL, ORDER, TYPE, WORD_BIRTH, WORD_PROPS,
};
use crate::types::Txg;

/// Bytes of payload a pointer can hold: fourteen words.
pub const EMBEDDED_PAYLOAD_BYTES_MAX: usize = 112;

/// Embedded kind 0: data.
pub(super) const KIND_DATA: u8 = 0;

/// Embedded kinds known; a kind is below this.
pub(super) const KINDS: u8 = 3;

const LSIZE_BYTES: Field = Field { low: 0, bits: 25 };
const PSIZE_BYTES: Field = Field { low: 25, bits: 7 };

/// Words that carry payload, in order: all but properties and birth.
const PAYLOAD_WORDS: [usize; 14] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14, 15];

pub(super) const fn lsize_bytes(props: u64) -> u64 {
    LSIZE_BYTES.get(props) + 1
}

pub(super) const fn psize_bytes(props: u64) -> u64 {
    PSIZE_BYTES.get(props) + 1
}

/// What an embedded pointer says besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Logical size in bytes, 1 … 32 MiB.
    pub lsize_bytes: u64,
    /// Compression id of the payload.
    pub compression: u8,
    /// Object type.
    pub object_type: u8,
    /// Level.
    pub level: u8,
    /// Birth txg.
    pub birth: Txg,
}

impl BlockPointer {
    /// A pointer that holds `payload`, or `None` if it is empty or longer
    /// than [`EMBEDDED_PAYLOAD_BYTES_MAX`], or if the logical size is out of range.
    pub fn embed(about: &Embedded, payload: &[u8]) -> Option<Self> {
        if payload.is_empty() || payload.len() > EMBEDDED_PAYLOAD_BYTES_MAX {
            return None;
        }
        if !(1..=1 << LSIZE_BYTES.bits).contains(&about.lsize_bytes) {
            return None;
        }
        let mut word = LSIZE_BYTES.set(0, about.lsize_bytes - 1);
        word = PSIZE_BYTES.set(word, payload.len() as u64 - 1);
        word = COMPRESSION.set(word, u64::from(about.compression));
        word = EMBEDDED.set(word, 1);
        word = TYPE.set(word, u64::from(about.object_type));
        word = LEVEL.set(word, u64::from(about.level));
        word = ORDER.set(word, u64::from(cfg!(target_endian = "little")));
        let mut words = [0; 16];
        words[WORD_PROPS] = word;
        words[WORD_BIRTH] = about.birth;
        for (index, chunk) in PAYLOAD_WORDS.iter().zip(payload.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            words[*index] = u64::from_le_bytes(bytes);
        }
        Some(Self::from_words(words))
    }

    /// The payload of an embedded data pointer: the first
    /// [`psize_bytes`](Self::psize_bytes) of the returned array. `None` for every other pointer.
    pub fn embedded_payload(&self) -> Option<[u8; EMBEDDED_PAYLOAD_BYTES_MAX]> {
        if !self.is_embedded() || self.checksum_id() != KIND_DATA {
            return None;
        }
        let mut out = [0; EMBEDDED_PAYLOAD_BYTES_MAX];
        for (chunk, index) in out.chunks_exact_mut(8).zip(PAYLOAD_WORDS) {
            chunk.copy_from_slice(&self.words()[index].to_le_bytes());
        }
        Some(out)
    }
}
