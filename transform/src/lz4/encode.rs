//! The LZ4 block encoder: greedy, one hash table, and an output limit it never passes.
//!
//! A block is a list of sequences: a token (literal count in the high four bits, match length − 4
//! in the low four; 15 means "more bytes follow, each added, until one is not 255"), the literals,
//! the match's distance (two bytes, little-endian). The last sequence has literals only. The format
//! asks that the last five bytes be literals and that no match start in the last twelve.

use std::ops::Range;

use crate::bytes::{common_prefix, load_u32, load_u64};

const HASH_BITS: u32 = 12;
const SLOTS: usize = 1 << HASH_BITS;
/// 2^64 / golden ratio, odd: spreads the bits below into the product's high bits.
const HASH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// A hash covers this many bytes; five find fewer but longer matches than four.
const HASHED_BYTES: u32 = 5;

const MATCH_MIN: usize = 4;
const DISTANCE_MAX: u32 = 0xffff;
/// No match starts within this many bytes of the end.
const TAIL_BYTES: usize = 12;
/// No match reaches into this many bytes at the end.
const LITERAL_TAIL_BYTES: usize = 5;
/// A nibble's value that means "more bytes follow".
const NIBBLE_MORE: usize = 15;
/// After every 2^this misses in a row the search steps one byte wider, and so on: data that does
/// not compress is skimmed.
const SKIP_SHIFT: u32 = 5;
/// Up to this many literals are copied in one go.
const SHORT_COPY_BYTES: usize = 16;

/// Where bytes with a given hash were seen last.
///
/// Positions are counted on from call to call, with a gap of more than [`DISTANCE_MAX`] between
/// two inputs. An entry an earlier call left is thereby too far away to be a match: the table is
/// as good as empty, and need not be cleared.
pub(crate) struct Table {
    seen: [u32; SLOTS],
    next_base: u32,
}

const FIRST_BASE: u32 = DISTANCE_MAX + 1;

impl Default for Table {
    fn default() -> Self {
        Self { seen: [0; SLOTS], next_base: FIRST_BASE }
    }
}

impl Table {
    /// The number of the first byte of an input of `len` bytes.
    fn begin(&mut self, len: u32) -> Option<u32> {
        let after = |base: u32| base.checked_add(len)?.checked_add(FIRST_BASE);
        let base = if after(self.next_base).is_some() {
            self.next_base
        } else {
            self.seen.fill(0);
            FIRST_BASE
        };
        self.next_base = after(base)?;
        Some(base)
    }

    /// Leaves `position` under the hash of `word` and returns what stood there.
    #[inline]
    fn replace(&mut self, word: u64, position: u32) -> u32 {
        let hash = (word << (64 - 8 * HASHED_BYTES)).wrapping_mul(HASH_FACTOR) >> (64 - HASH_BITS);
        std::mem::replace(&mut self.seen[hash as usize % SLOTS], position)
    }
}

/// Writes `src` as one LZ4 block into `dst`; `None` if it does not fit.
pub(crate) fn encode(src: &[u8], dst: &mut [u8], table: &mut Table) -> Option<usize> {
    let base = table.begin(u32::try_from(src.len()).ok()?)?;
    let mut out = Output { dst, len: 0 };
    let mut literals_from = 0;
    if src.len() > TAIL_BYTES {
        let mut at = 0;
        while let Some(found) = search(src, at, literals_from, base, table, &out)? {
            out.sequence(src, literals_from..found.at, Some(found))?;
            at = found.at + found.len;
            literals_from = at;
            if at + TAIL_BYTES <= src.len() {
                table.replace(load_u64(src, at - 2), base + (at - 2) as u32);
            }
        }
    }
    out.sequence(src, literals_from..src.len(), None)?;
    Some(out.len)
}

/// A match: `len` bytes at `at` repeat those `distance` before.
#[derive(Clone, Copy)]
struct Match {
    at: usize,
    len: usize,
    distance: u16,
}

/// Looks for the next match, starting at `from`. `Some(None)`: none before the tail. `None`: what is
/// literal so far already exceeds the room.
#[inline]
fn search(
    src: &[u8],
    from: usize,
    literals_from: usize,
    base: u32,
    table: &mut Table,
    out: &Output<'_>,
) -> Option<Option<Match>> {
    let mut tries: usize = 1 << SKIP_SHIFT;
    // No match reaches back beyond here, so the bytes before are literals for certain.
    let mut floor = literals_from;
    let Some(last) = src.len().checked_sub(TAIL_BYTES) else { return Some(None) };
    let mut here = from;
    while here <= last {
        let word = load_u64(src, here);
        let position = base + here as u32;
        let distance = position - table.replace(word, position);
        // Positions of this input begin at `base`, so a distance in range never passes the start.
        if distance <= DISTANCE_MAX {
            let earlier = here - distance as usize;
            if load_u32(src, earlier) == word as u32 {
                return Some(Some(extend(src, earlier, here, floor)));
            }
        }
        here += tries >> SKIP_SHIFT;
        tries += 1;
        if tries.is_multiple_of(1 << SKIP_SHIFT) {
            floor = here;
            if floor - literals_from > out.room() {
                return None;
            }
        }
    }
    Some(None)
}

/// Grows a match of four bytes in both directions, back no further than `floor`.
#[inline]
fn extend(src: &[u8], mut earlier: usize, mut at: usize, floor: usize) -> Match {
    let distance = at - earlier;
    let end = at
        + MATCH_MIN
        + common_prefix(src, earlier + MATCH_MIN, at + MATCH_MIN, src.len() - LITERAL_TAIL_BYTES);
    while at > floor && earlier > 0 && src[at - 1] == src[earlier - 1] {
        at -= 1;
        earlier -= 1;
    }
    // `search` admits no distance above 0xffff.
    Match { at, len: end - at, distance: distance as u16 }
}

struct Output<'a> {
    dst: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    #[inline]
    fn room(&self) -> usize {
        self.dst.len() - self.len
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.dst[self.len] = byte;
        self.len += 1;
    }

    /// Appends one sequence; `None`, with nothing of use written, if it does not fit.
    #[inline]
    fn sequence(&mut self, src: &[u8], literals: Range<usize>, found: Option<Match>) -> Option<()> {
        let literal_bytes = literals.len();
        let match_more = found.map_or(0, |m| m.len - MATCH_MIN);
        let match_bytes = if found.is_some() { 2 + length_bytes(match_more) } else { 0 };
        if self.room() < 1 + length_bytes(literal_bytes) + literal_bytes + match_bytes {
            return None;
        }
        let literal_nibble = literal_bytes.min(NIBBLE_MORE);
        self.push(((literal_nibble << 4) | match_more.min(NIBBLE_MORE)) as u8);
        self.more_length(literal_bytes);
        self.copy_literals(src, literals);
        if let Some(found) = found {
            let [low, high] = found.distance.to_le_bytes();
            self.push(low);
            self.push(high);
            self.more_length(match_more);
        }
        Some(())
    }

    /// Few literals are the rule: a copy of fixed width, where there is room for it, saves a call.
    #[inline]
    fn copy_literals(&mut self, src: &[u8], literals: Range<usize>) {
        let literal_bytes = literals.len();
        let from = &src[literals.start..];
        let to = &mut self.dst[self.len..];
        match (from.first_chunk::<SHORT_COPY_BYTES>(), to.first_chunk_mut::<SHORT_COPY_BYTES>()) {
            (Some(from), Some(to)) if literal_bytes <= SHORT_COPY_BYTES => *to = *from,
            _ => to[..literal_bytes].copy_from_slice(&from[..literal_bytes]),
        }
        self.len += literal_bytes;
    }

    #[inline]
    fn more_length(&mut self, value: usize) {
        if let Some(mut more) = value.checked_sub(NIBBLE_MORE) {
            while more >= 255 {
                self.push(255);
                more -= 255;
            }
            self.push(more as u8);
        }
    }
}

/// Bytes a length takes beyond its nibble.
#[inline]
fn length_bytes(value: usize) -> usize {
    value.checked_sub(NIBBLE_MORE).map_or(0, |more| more / 255 + 1)
}
