//! The unfinished unit between two segments.

/// Up to `UNIT` − 1 bytes that began a unit and wait for the rest of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carry<const UNIT: usize> {
    bytes: [u8; UNIT],
    len: usize,
}

impl<const UNIT: usize> Carry<UNIT> {
    pub(crate) const EMPTY: Self = Self { bytes: [0; UNIT], len: 0 };

    /// Feeds one segment: `whole` gets every run of whole units in order, and
    /// what does not fill a unit stays here.
    #[inline]
    pub(crate) fn feed(&mut self, mut segment: &[u8], mut whole: impl FnMut(&[u8])) {
        if self.len > 0 {
            let taken = segment.len().min(UNIT - self.len);
            let (head, rest) = segment.split_at(taken);
            self.bytes[self.len..self.len + taken].copy_from_slice(head);
            self.len += taken;
            segment = rest;
            if self.len < UNIT {
                return;
            }
            whole(&self.bytes);
        }
        let (units, rest) = segment.split_at(segment.len() - segment.len() % UNIT);
        if !units.is_empty() {
            whole(units);
        }
        self.bytes[..rest.len()].copy_from_slice(rest);
        self.len = rest.len();
    }

    /// The unfinished unit as it is, perhaps empty.
    #[inline]
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The unfinished unit filled up with zeros, if there is one.
    pub(crate) fn padded(mut self) -> Option<[u8; UNIT]> {
        if self.len == 0 {
            return None;
        }
        self.bytes[self.len..].fill(0);
        Some(self.bytes)
    }
}
