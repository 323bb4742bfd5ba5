//! Zero-length encoding (spec 7.6).
//!
//! A stream of runs. A run's first byte below [`LITERAL_MAX`] says how many literal bytes follow,
//! less one; from [`LITERAL_MAX`] on it says how many zeros the run stands for, and nothing follows.

use crate::bytes::load_u64;
use crate::error::{DecodeError, Format};

/// The format's parameter: the longest literal run, and the first byte value that means zeros.
const LITERAL_MAX: usize = 64;
/// The longest run of zeros one byte can say.
const ZEROS_MAX: usize = 256 - LITERAL_MAX;

const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// Compresses `src` into `dst`; `None` if it does not fit.
pub(crate) fn compress(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    let mut rest = src;
    let mut out = 0;
    while let Some(&first) = rest.first() {
        if first == 0 {
            let run = zero_run(&rest[..rest.len().min(ZEROS_MAX)]);
            *dst.get_mut(out)? = u8::try_from(LITERAL_MAX + run - 1).ok()?;
            out += 1;
            rest = &rest[run..];
        } else {
            // The limit is the format's, not this run's: a full run's room must be left.
            let room = dst.get_mut(out..)?;
            if room.len() <= LITERAL_MAX {
                return None;
            }
            let run = literal_run(&rest[..rest.len().min(LITERAL_MAX)]);
            room[0] = u8::try_from(run - 1).ok()?;
            match (rest.first_chunk::<LITERAL_MAX>(), room[1..].first_chunk_mut::<LITERAL_MAX>()) {
                // Copying a whole run's worth costs four vector moves; what is too much is
                // overwritten by the next run.
                (Some(from), Some(to)) => *to = *from,
                _ => room[1..=run].copy_from_slice(&rest[..run]),
            }
            out += 1 + run;
            rest = &rest[run..];
        }
    }
    Some(out)
}

/// Length of the run of zeros at the front of `window`.
fn zero_run(window: &[u8]) -> usize {
    let (words, tail) = window.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        if word != 0 {
            return index * 8 + (word.trailing_zeros() / 8) as usize;
        }
    }
    words.len() * 8 + tail.iter().take_while(|&&byte| byte == 0).count()
}

/// Length of the literal run at the front of `window`, whose first byte is not zero: up to two
/// zeros in a row, or up to the end of the window, where a lone zero is left to the next run.
fn literal_run(window: &[u8]) -> usize {
    let mut at = 0;
    // Words overlap by one byte, so that a pair of zeros is always inside one of them.
    while at + 8 <= window.len() {
        let word = load_u64(window, at);
        let is_zero = !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS);
        let pair_starts = is_zero & (is_zero >> 8);
        if pair_starts != 0 {
            return at + (pair_starts.trailing_zeros() / 8) as usize;
        }
        at += 7;
    }
    while at + 1 < window.len() {
        if window[at] == 0 && window[at + 1] == 0 {
            return at;
        }
        at += 1;
    }
    window.len() - usize::from(window.last() == Some(&0))
}

/// Expands `src` until `dst` is full.
pub(crate) fn decompress(src: &[u8], dst: &mut [u8]) -> Result<(), DecodeError> {
    let mut at = 0;
    let mut out = 0;
    while out < dst.len() {
        let ends = |at_byte, produced_bytes| DecodeError::InputEnds {
            format: Format::Zle,
            at_byte,
            produced_bytes,
            wanted_bytes: dst.len(),
        };
        let control = usize::from(*src.get(at).ok_or_else(|| ends(at, out))?);
        let is_literal = control < LITERAL_MAX;
        let run = if is_literal { control + 1 } else { control - LITERAL_MAX + 1 };
        let room_bytes = dst.len() - out;
        if run > room_bytes {
            return Err(DecodeError::RunTooLong {
                format: Format::Zle,
                at_byte: at,
                run_bytes: run,
                room_bytes,
            });
        }
        at += 1;
        if is_literal {
            let bytes = src.get(at..at + run).ok_or_else(|| ends(src.len(), out))?;
            dst[out..out + run].copy_from_slice(bytes);
            at += run;
        } else {
            dst[out..out + run].fill(0);
        }
        out += run;
    }
    Ok(())
}
