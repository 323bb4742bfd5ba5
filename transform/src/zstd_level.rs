//! zstd levels and the byte that names them in a payload's header.

use std::fmt;

/// A zstd level: 1 to 19, or fast 1 to 10, 20, 30 … 100, 500, 1000.
///
/// The payload's header names it by one byte ([`id`](Self::id)), so that compressing the same
/// block again, for a second-level cache or a raw send, gives the same bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ZstdLevel {
    /// As the zstd library counts: fast levels are negative.
    level: i16,
}

/// Id of fast level 1; the other fast levels follow in the order of [`FAST_LEVELS`].
const ID_FAST_1: u8 = 103;

/// The fast levels that have an id.
const FAST_LEVELS: [u16; 21] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 500, 1000];

impl ZstdLevel {
    /// Level 3.
    pub const DEFAULT: Self = Self { level: 3 };

    /// Level `n`, or `None` unless `1 <= n <= 19`.
    pub const fn new(n: u8) -> Option<Self> {
        // The range makes the cast exact.
        if matches!(n, 1..=19) { Some(Self { level: n as i16 }) } else { None }
    }

    /// Fast level `n` (a larger number is faster and saves less), or `None` if `n` is none of 1 to
    /// 10, 20, 30 … 100, 500, 1000.
    pub fn fast(n: u16) -> Option<Self> {
        if !FAST_LEVELS.contains(&n) {
            return None;
        }
        i16::try_from(n).ok().map(|n| Self { level: -n })
    }

    /// The byte that names the level on disk.
    pub fn id(self) -> u8 {
        match u8::try_from(self.level) {
            Ok(level) => level,
            Err(_) => {
                let fast = self.level.unsigned_abs();
                (ID_FAST_1..).zip(FAST_LEVELS).find(|&(_, n)| n == fast).map_or(0, |(id, _)| id)
            }
        }
    }

    /// The level an on-disk byte names, or `None` if no level has it.
    pub fn from_id(id: u8) -> Option<Self> {
        match id.checked_sub(ID_FAST_1) {
            None => Self::new(id),
            Some(index) => FAST_LEVELS.get(usize::from(index)).and_then(|&n| Self::fast(n)),
        }
    }

    /// The level as the zstd library counts: 1 to 19, or -1 to -1000.
    pub fn level(self) -> i32 {
        i32::from(self.level)
    }
}

impl Default for ZstdLevel {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for ZstdLevel {
    /// `3`, `fast-10`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.level < 0 {
            write!(f, "fast-{}", self.level.unsigned_abs())
        } else {
            write!(f, "{}", self.level)
        }
    }
}
