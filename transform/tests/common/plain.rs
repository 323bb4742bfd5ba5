//! lzjb and zle the slow, obvious way, a byte at a time: the model of the tests and the baseline of
//! the bench.

/// Spec 7.7.
pub(crate) fn lzjb_compress(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    let mut seen = [None; 1024];
    let (mut at, mut out) = (0, 0);
    while at < src.len() {
        if dst.len() - out < 17 {
            return None;
        }
        let control_at = out;
        dst[control_at] = 0;
        out += 1;
        for bit in 0..8 {
            if at == src.len() {
                break;
            }
            // The last 66 bytes are literals.
            let mut found = None;
            if at + 66 <= src.len() {
                let byte = |i: usize| u32::from(src[at + i]);
                let mut hash = (byte(0) << 16) + (byte(1) << 8) + byte(2);
                hash += hash >> 9;
                hash += hash >> 5;
                let earlier = seen[(hash & 1023) as usize].replace(at);
                found = earlier.filter(|&earlier| {
                    at - earlier <= 1023 && src[earlier..earlier + 3] == src[at..at + 3]
                });
            }
            if let Some(earlier) = found {
                let mut len = 3;
                while len < 66 && src[earlier + len] == src[at + len] {
                    len += 1;
                }
                dst[control_at] |= 1 << bit;
                dst[out] = (((len - 3) << 2) | ((at - earlier) >> 8)) as u8;
                dst[out + 1] = (at - earlier) as u8;
                out += 2;
                at += len;
            } else {
                dst[out] = src[at];
                out += 1;
                at += 1;
            }
        }
    }
    Some(out)
}

/// Spec 7.7; `None` if the payload is malformed.
pub(crate) fn lzjb_decompress(src: &[u8], dst: &mut [u8]) -> Option<()> {
    let mut input = src.iter().map(|&byte| usize::from(byte));
    let mut out = 0;
    while out < dst.len() {
        let control = input.next()?;
        for bit in 0..8 {
            if out == dst.len() {
                break;
            }
            if control & (1 << bit) == 0 {
                dst[out] = input.next()? as u8;
                out += 1;
                continue;
            }
            let (high, low) = (input.next()?, input.next()?);
            let distance = ((high & 3) << 8) | low;
            if distance == 0 || distance > out {
                return None;
            }
            for _ in 0..(3 + (high >> 2)).min(dst.len() - out) {
                dst[out] = dst[out - distance];
                out += 1;
            }
        }
    }
    Some(())
}

/// Spec 7.6.
pub(crate) fn zle_compress(src: &[u8], dst: &mut [u8]) -> Option<usize> {
    let (mut at, mut out) = (0, 0);
    while at < src.len() {
        let start = at;
        if src[at] == 0 {
            while at < src.len() && at - start < 192 && src[at] == 0 {
                at += 1;
            }
            *dst.get_mut(out)? = (63 + at - start) as u8;
            out += 1;
            continue;
        }
        if dst.len() - out < 65 {
            return None;
        }
        let end = src.len().min(start + 64);
        // A zero stays among the literals if something else follows it in the run.
        while at < end && (src[at] != 0 || (at + 1 < end && src[at + 1] != 0)) {
            at += 1;
        }
        dst[out] = (at - start - 1) as u8;
        dst[out + 1..=out + at - start].copy_from_slice(&src[start..at]);
        out += 1 + at - start;
    }
    Some(out)
}

/// Spec 7.6; `None` if the payload is malformed.
pub(crate) fn zle_decompress(src: &[u8], dst: &mut [u8]) -> Option<()> {
    let mut input = src.iter();
    let mut out = 0;
    while out < dst.len() {
        let control = usize::from(*input.next()?);
        let run = if control < 64 { control + 1 } else { control - 63 };
        for _ in 0..run {
            *dst.get_mut(out)? = if control < 64 { *input.next()? } else { 0 };
            out += 1;
        }
    }
    Some(())
}
