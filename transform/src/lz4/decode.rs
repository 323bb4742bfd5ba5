//! The LZ4 block decoder. Every length is checked before it is used; fixed-width copies are taken
//! only where both sides have room for them.

use crate::bytes::copy_match;
use crate::error::{DecodeError, Format};

const MATCH_MIN: usize = 4;
/// A nibble's value that means "more bytes follow".
const NIBBLE_MORE: usize = 15;
/// Runs up to this long are copied by one move of this width, where there is room.
const WIDE_BYTES: usize = 32;
/// A token, up to 16 literals (14 count), a distance.
const SHORT_INPUT_BYTES: usize = 1 + 16 + 2;
/// Up to 14 literals, then a wide copy.
const SHORT_OUTPUT_BYTES: usize = 14 + WIDE_BYTES;

/// Expands one LZ4 block to exactly fill `dst`.
pub(super) fn decode(block: &[u8], dst: &mut [u8]) -> Result<(), DecodeError> {
    let mut input = Input { block, at: 0, wanted_bytes: dst.len() };
    let mut out = 0;
    loop {
        while short_sequence(block, &mut input.at, dst, &mut out) {}
        let token_at = input.at;
        let token = usize::from(input.byte(out)?);

        let literal_bytes = input.length(token >> 4, out)?;
        check_room(token_at, literal_bytes, dst.len() - out)?;
        copy_literals(input.literals(literal_bytes, out)?, literal_bytes, &mut dst[out..]);
        input.at += literal_bytes;
        out += literal_bytes;

        // Only the last sequence has no match.
        if input.at == block.len() {
            break;
        }
        let match_at = input.at;
        let distance = usize::from(u16::from_le_bytes([input.byte(out)?, input.byte(out)?]));
        if distance == 0 || distance > out {
            return Err(DecodeError::MatchBeforeStart {
                format: Format::Lz4,
                at_byte: match_at,
                distance_bytes: distance,
                produced_bytes: out,
            });
        }
        let match_bytes = input.length(token & NIBBLE_MORE, out)?.saturating_add(MATCH_MIN);
        check_room(token_at, match_bytes, dst.len() - out)?;
        copy_back(dst, out, distance, match_bytes);
        out += match_bytes;
    }
    if out == dst.len() {
        Ok(())
    } else {
        Err(DecodeError::WrongLength {
            format: Format::Lz4,
            produced_bytes: out,
            wanted_bytes: dst.len(),
        })
    }
}

/// Takes one sequence if both its lengths fit their nibbles, its match does not overlap itself and
/// there is room on both sides for copies of fixed width; else changes nothing that counts. Most
/// sequences of most blocks are like this.
#[inline]
fn short_sequence(block: &[u8], at: &mut usize, dst: &mut [u8], out: &mut usize) -> bool {
    let Some(input) = block.get(*at..).and_then(|rest| rest.first_chunk::<SHORT_INPUT_BYTES>())
    else {
        return false;
    };
    let literal_bytes = usize::from(input[0] >> 4);
    let match_nibble = usize::from(input[0]) & NIBBLE_MORE;
    if literal_bytes == NIBBLE_MORE
        || match_nibble == NIBBLE_MORE
        || *out + SHORT_OUTPUT_BYTES > dst.len()
    {
        return false;
    }
    let [_, literals @ .., _, _] = input;
    dst[*out..*out + literals.len()].copy_from_slice(literals);

    let match_from = *out + literal_bytes;
    let match_bytes = match_nibble + MATCH_MIN;
    let distance =
        usize::from(u16::from_le_bytes([input[1 + literal_bytes], input[2 + literal_bytes]]));
    if distance < match_bytes || distance > match_from {
        return false;
    }
    let from = match_from - distance;
    dst.copy_within(from..from + WIDE_BYTES, match_from);
    *at += 1 + literal_bytes + 2;
    *out = match_from + match_bytes;
    true
}

#[inline]
fn check_room(at_byte: usize, run_bytes: usize, room_bytes: usize) -> Result<(), DecodeError> {
    if run_bytes <= room_bytes {
        Ok(())
    } else {
        Err(DecodeError::RunTooLong { format: Format::Lz4, at_byte, run_bytes, room_bytes })
    }
}

struct Input<'a> {
    block: &'a [u8],
    at: usize,
    wanted_bytes: usize,
}

impl<'a> Input<'a> {
    #[cold]
    fn ends(&self, produced_bytes: usize) -> DecodeError {
        DecodeError::InputEnds {
            format: Format::Lz4,
            at_byte: self.block.len(),
            produced_bytes,
            wanted_bytes: self.wanted_bytes,
        }
    }

    #[inline]
    fn byte(&mut self, produced_bytes: usize) -> Result<u8, DecodeError> {
        let byte = *self.block.get(self.at).ok_or_else(|| self.ends(produced_bytes))?;
        self.at += 1;
        Ok(byte)
    }

    /// A length that begins in a token's nibble.
    #[inline]
    fn length(&mut self, nibble: usize, produced_bytes: usize) -> Result<usize, DecodeError> {
        let mut length = nibble;
        if nibble == NIBBLE_MORE {
            loop {
                let more = self.byte(produced_bytes)?;
                length = length.saturating_add(usize::from(more));
                if more != u8::MAX {
                    break;
                }
            }
        }
        Ok(length)
    }

    /// The rest of the input, which has at least `len` bytes.
    #[inline]
    fn literals(&self, len: usize, produced_bytes: usize) -> Result<&'a [u8], DecodeError> {
        match self.block.get(self.at..) {
            Some(rest) if rest.len() >= len => Ok(rest),
            _ => Err(self.ends(produced_bytes)),
        }
    }
}

/// Copies the first `len` bytes; both slices have them.
#[inline]
fn copy_literals(from: &[u8], len: usize, to: &mut [u8]) {
    match (from.first_chunk::<WIDE_BYTES>(), to.first_chunk_mut::<WIDE_BYTES>()) {
        (Some(from), Some(to)) if len <= WIDE_BYTES => *to = *from,
        _ => to[..len].copy_from_slice(&from[..len]),
    }
}

/// Copies `len` bytes from `distance` back; the caller has checked both.
#[inline]
fn copy_back(dst: &mut [u8], out: usize, distance: usize, len: usize) {
    if len <= WIDE_BYTES && len <= distance && out + WIDE_BYTES <= dst.len() {
        // What is copied beyond `len` is overwritten by what follows.
        let from = out - distance;
        dst.copy_within(from..from + WIDE_BYTES, out);
        return;
    }
    copy_match(dst, out, distance, len);
}
