//! Taking an input apart.

/// What is left of an input. Beyond its end stand zeros, so that no input is too short.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        let mut out = [0; N];
        out[..head.len()].copy_from_slice(head);
        out
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// The next two bytes, little-endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next eight bytes, little-endian.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// The next two bytes as a length. Most formats show all they have in short blocks, and those
    /// are quick; but whole ones belong to it.
    ///
    /// | two highest bits | length |
    /// |---|---|
    /// | 00, 01 | the twelve lowest bits |
    /// | 10 | up to 16 KiB in sectors of 512 bytes |
    /// | 11 | up to 128 KiB in sectors |
    pub fn length_bytes(&mut self) -> usize {
        let word = usize::from(self.u16());
        match word >> 14 {
            0 | 1 => word % 4096,
            2 => word % 33 * 512,
            _ => word % 257 * 512,
        }
    }

    /// Everything that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// `len` bytes: `pattern` over and over, zeros if it is empty.
pub fn repeated(pattern: &[u8], len: usize) -> Vec<u8> {
    if pattern.is_empty() {
        vec![0; len]
    } else {
        pattern.iter().copied().cycle().take(len).collect()
    }
}
