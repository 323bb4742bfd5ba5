//! LZJB (spec 7.7).
//!
//! Groups of a control byte and up to eight items; bit *i* of the control byte, lowest first, says
//! whether item *i* is a match (two bytes) or a literal (one).

use crate::bytes::copy_match;
use crate::error::{DecodeError, Format};

const ITEMS_PER_GROUP: usize = 8;
const MATCH_MIN: usize = 3;
/// Six bits of length above [`MATCH_MIN`].
const MATCH_MAX: usize = MATCH_MIN + 63;
/// Zero is no distance.
const DISTANCE_BITS: u32 = 10;
/// Room a group may need: its control byte and eight matches.
const GROUP_BYTES_MAX: usize = 1 + 2 * ITEMS_PER_GROUP;

const SLOTS: usize = 1024;

/// The encoder's table: where three bytes with a given hash were seen last.
///
/// A slot nobody wrote says 0. That is no lie that shows: were the three bytes at 0 those looked
/// for, their slot would have been written when the search began, with 0.
pub(crate) struct Table([u32; SLOTS]);

impl Default for Table {
    fn default() -> Self {
        Self([0; SLOTS])
    }
}

/// Compresses `src` into `dst`; `None` if it does not fit.
pub(crate) fn compress(src: &[u8], dst: &mut [u8], table: &mut Table) -> Option<usize> {
    // Positions are u32; no block is that long.
    u32::try_from(src.len()).ok()?;
    table.0.fill(0);
    let (mut at, mut out) = (0, 0);
    while at < src.len() {
        let group = dst.get_mut(out..)?.first_chunk_mut::<GROUP_BYTES_MAX>()?;
        let mut len = 1;
        let mut control = 0;
        for bit in 0..ITEMS_PER_GROUP {
            let Some(&literal) = src.get(at) else { break };
            if let Some((distance, match_len)) = find_match(src, at, table) {
                control |= 1 << bit;
                // `find_match` keeps length and distance to their six and ten bits.
                let word = ((match_len - MATCH_MIN) << 10) | distance;
                group[len] = (word >> 8) as u8;
                group[len + 1] = (word & 0xff) as u8;
                len += 2;
                at += match_len;
            } else {
                group[len] = literal;
                len += 1;
                at += 1;
            }
        }
        group[0] = control;
        out += len;
    }
    Some(out)
}

/// Looks up the three bytes at `at`, leaves `at` in the table, and returns distance and length of
/// the match found.
#[inline]
fn find_match(src: &[u8], at: usize, table: &mut Table) -> Option<(usize, usize)> {
    // Near the end everything is literal, so a match never looks past the input.
    let window = src.get(at..)?.first_chunk::<MATCH_MAX>()?;
    let word = three_bytes(window);
    let mut hash = word;
    hash += hash >> 9;
    hash += hash >> 5;
    let slot = &mut table.0[hash as usize % SLOTS];
    let seen = std::mem::replace(slot, at as u32) as usize;
    let earlier = src.get(seen..)?.first_chunk::<MATCH_MAX>()?;
    let distance = at - seen;
    // One branch for "near enough" and "the same bytes", in whole words lest the compiler make two
    // of it: on noise the first answer alone is a toss-up.
    if (distance >> DISTANCE_BITS) | (three_bytes(earlier) ^ word) as usize != 0 {
        return None;
    }
    // The very first position finds itself.
    if distance == 0 {
        return None;
    }
    Some((distance, common_prefix(window, earlier)))
}

/// The first three bytes, the first one on top.
#[inline]
fn three_bytes(window: &[u8; MATCH_MAX]) -> u32 {
    let [a, b, c, d, ..] = *window;
    u32::from_be_bytes([a, b, c, d]) >> 8
}

/// How many bytes agree, given that the first [`MATCH_MIN`] do.
#[inline]
fn common_prefix(a: &[u8; MATCH_MAX], b: &[u8; MATCH_MAX]) -> usize {
    let (a_words, a_rest) = a[MATCH_MIN..].as_chunks::<8>();
    let (b_words, b_rest) = b[MATCH_MIN..].as_chunks::<8>();
    let mut len = MATCH_MIN;
    for (x, y) in a_words.iter().zip(b_words) {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            return len + (difference.trailing_zeros() / 8) as usize;
        }
        len += 8;
    }
    len + a_rest.iter().zip(b_rest).take_while(|(x, y)| x == y).count()
}

/// Expands `src` until `dst` is full.
pub(crate) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), DecodeError> {
    let wanted_bytes = dst.len();
    let (mut at, mut out) = (0, 0);
    let ends = |at_byte, produced_bytes| DecodeError::InputEnds {
        format: Format::Lzjb,
        at_byte,
        produced_bytes,
        wanted_bytes,
    };
    while out < wanted_bytes {
        let control = *src.get(at).ok_or_else(|| ends(at, out))?;
        at += 1;
        if control == 0 {
            let literals = src.get(at..).and_then(|rest| rest.first_chunk::<ITEMS_PER_GROUP>());
            let room = dst.get_mut(out..).and_then(|rest| rest.first_chunk_mut());
            if let (Some(literals), Some(room)) = (literals, room) {
                *room = *literals;
                at += ITEMS_PER_GROUP;
                out += ITEMS_PER_GROUP;
                continue;
            }
        }
        for bit in 0..ITEMS_PER_GROUP {
            if out == wanted_bytes {
                break;
            }
            if control & (1 << bit) == 0 {
                dst[out] = *src.get(at).ok_or_else(|| ends(at, out))?;
                at += 1;
                out += 1;
                continue;
            }
            let [high, low] =
                *src.get(at..).and_then(|s| s.first_chunk()).ok_or_else(|| ends(src.len(), out))?;
            let len = MATCH_MIN + usize::from(high >> 2);
            let distance = (usize::from(high & 3) << 8) | usize::from(low);
            if distance == 0 || distance > out {
                return Err(DecodeError::MatchBeforeStart {
                    format: Format::Lzjb,
                    at_byte: at,
                    distance_bytes: distance,
                    produced_bytes: out,
                });
            }
            at += 2;
            let len = len.min(wanted_bytes - out);
            copy_match(dst, out, distance, len);
            out += len;
        }
    }
    Ok(())
}
