//! Decoders in the plainest words, to compare with the fast ones: the whole output, or `None`.
//!
//! They grow a vector byte by byte; where one says `None` the fast one must refuse as well.

/// ZLE (spec 7.6): a control byte below 64 and that many literals plus one, or zeros.
pub fn zle(src: &[u8], wanted_bytes: usize) -> Option<Vec<u8>> {
    let mut src = src.iter();
    let mut out = Vec::new();
    while out.len() < wanted_bytes {
        let control = *src.next()?;
        if control < 64 {
            for _ in 0..=control {
                out.push(*src.next()?);
            }
        } else {
            out.resize(out.len() + usize::from(control - 63), 0);
        }
    }
    (out.len() == wanted_bytes).then_some(out)
}

/// LZJB (spec 7.7): the last match is cut where the output ends.
pub fn lzjb(src: &[u8], wanted_bytes: usize) -> Option<Vec<u8>> {
    let mut src = src.iter();
    let mut out = Vec::new();
    let mut items = 0..0;
    let mut control = 0;
    while out.len() < wanted_bytes {
        let Some(item) = items.next() else {
            control = *src.next()?;
            items = 0..8;
            continue;
        };
        if control >> item & 1 == 0 {
            out.push(*src.next()?);
            continue;
        }
        let word = usize::from(*src.next()?) << 8 | usize::from(*src.next()?);
        copy_back(&mut out, word & 0x3ff, (word >> 10) + 3)?;
    }
    out.truncate(wanted_bytes);
    Some(out)
}

/// LZ4 behind its big-endian length.
pub fn lz4(src: &[u8], wanted_bytes: usize) -> Option<Vec<u8>> {
    let (length, body) = src.split_first_chunk::<4>()?;
    let mut src = body.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?.iter();
    let mut out = Vec::new();
    loop {
        let token = usize::from(*src.next()?);
        for _ in 0..lz4_length(token >> 4, &mut src)? {
            out.push(*src.next()?);
        }
        if src.len() == 0 {
            break;
        }
        let distance = usize::from(*src.next()?) | usize::from(*src.next()?) << 8;
        let match_bytes = lz4_length(token & 15, &mut src)? + 4;
        if match_bytes > wanted_bytes {
            return None;
        }
        if distance == 0 {
            // No encoder writes it. The library takes it for zeros, always the same ones.
            out.resize(out.len() + match_bytes, 0);
        } else {
            copy_back(&mut out, distance, match_bytes)?;
        }
    }
    (out.len() == wanted_bytes).then_some(out)
}

fn lz4_length(nibble: usize, src: &mut std::slice::Iter<'_, u8>) -> Option<usize> {
    let mut length = nibble;
    let mut last = if nibble == 15 { u8::MAX } else { 0 };
    while last == u8::MAX {
        last = *src.next()?;
        length += usize::from(last);
    }
    Some(length)
}

fn copy_back(out: &mut Vec<u8>, distance: usize, len: usize) -> Option<()> {
    for _ in 0..len {
        let from = out.len().checked_sub(distance).filter(|_| distance > 0)?;
        out.push(out[from]);
    }
    Some(())
}
