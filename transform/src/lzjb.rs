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
/// Ten bits of distance; zero is no distance.
const DISTANCE_MAX: usize = 1023;
/// Room a group may need: its control byte and eight matches.
const GROUP_BYTES_MAX: usize = 1 + 2 * ITEMS_PER_GROUP;

const SLOTS: usize = 1024;
/// Marks a slot that holds no position yet.
const NO_POSITION: u32 = u32::MAX;

/// The encoder's table: where three bytes with a given hash were seen last.
pub(crate) struct Table([u32; SLOTS]);

impl Default for Table {
    fn default() -> Self {
        Self([NO_POSITION; SLOTS])
    }
}

/// Compresses `src` into `dst`; `None` if it does not fit.
pub(crate) fn compress(src: &[u8], dst: &mut [u8], table: &mut Table) -> Option<usize> {
    // Positions are u32; no block is that long.
    u32::try_from(src.len()).ok()?;
    table.0.fill(NO_POSITION);
    let (mut at, mut out) = (0, 0);
    while at < src.len() {
        if dst.len() - out < GROUP_BYTES_MAX {
            return None;
        }
        let control_at = out;
        out += 1;
        let mut control = 0;
        for bit in 0..ITEMS_PER_GROUP {
            let Some(&literal) = src.get(at) else { break };
            if let Some((distance, len)) = find_match(src, at, table) {
                control |= 1 << bit;
                // `find_match` keeps length and distance to their six and ten bits.
                let word = ((len - MATCH_MIN) << 10) | distance;
                dst[out] = (word >> 8) as u8;
                dst[out + 1] = (word & 0xff) as u8;
                out += 2;
                at += len;
            } else {
                dst[out] = literal;
                out += 1;
                at += 1;
            }
        }
        dst[control_at] = control;
    }
    Some(out)
}

/// Looks up the three bytes at `at`, leaves `at` in the table, and returns distance and length of
/// the match found.
#[inline]
fn find_match(src: &[u8], at: usize, table: &mut Table) -> Option<(usize, usize)> {
    // Near the end everything is literal, so a match never looks past the input.
    let window = src.get(at..at + MATCH_MAX)?;
    let mut hash =
        (u32::from(window[0]) << 16) + (u32::from(window[1]) << 8) + u32::from(window[2]);
    hash += hash >> 9;
    hash += hash >> 5;
    let slot = &mut table.0[hash as usize % SLOTS];
    let seen = std::mem::replace(slot, u32::try_from(at).ok()?);
    if seen == NO_POSITION {
        return None;
    }
    let distance = at - seen as usize;
    if !(1..=DISTANCE_MAX).contains(&distance) {
        return None;
    }
    let earlier = &src[at - distance..at - distance + MATCH_MAX];
    if earlier[..MATCH_MIN] != window[..MATCH_MIN] {
        return None;
    }
    let more = earlier[MATCH_MIN..].iter().zip(&window[MATCH_MIN..]).take_while(|(a, b)| a == b);
    Some((distance, MATCH_MIN + more.count()))
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
