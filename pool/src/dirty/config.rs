//! Limits of dirty data, and how those who bring it are slowed down.

use super::curve::Curve;

/// Limits of dirty data, and how those who bring it are slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Bytes accepted and not yet written, at most; one request that is larger passes when it is alone.
    pub dirty_bytes_max: u64,
    /// How requests are slowed down before that.
    pub mode: Mode,
    /// A transaction group is open so long at most. 5 s: as spec 8.5.
    pub open_ns_max: u64,
    /// It is pushed at so many bytes: by [`Mode::Curve`] always, by [`Mode::Measured`] while the devices are
    /// unknown, and never earlier. 64 MiB (spec 3.10), an eighth of `dirty_bytes_max` if that is less.
    pub push_bytes_min: u64,
}

impl Config {
    /// The defaults for so many bytes. ZFS takes a tenth of the memory, 4 GiB at most (spec 3.10).
    pub fn new(dirty_bytes_max: u64) -> Self {
        Self {
            dirty_bytes_max,
            mode: Mode::default(),
            open_ns_max: 5_000_000_000,
            push_bytes_min: (64 << 20).min(dirty_bytes_max / 8).max(1),
        }
    }

    /// The same with the fixed curve of ZFS.
    #[must_use]
    pub fn curve(mut self, curve: Curve) -> Self {
        self.mode = Mode::Curve(curve);
        self
    }

    pub(super) fn check(self) -> Result<Self, ConfigError> {
        let Self { dirty_bytes_max, push_bytes_min, .. } = self;
        if dirty_bytes_max < DIRTY_BYTES_LEAST {
            return Err(ConfigError::TooLittle { dirty_bytes_max });
        }
        if push_bytes_min > dirty_bytes_max / 4 {
            return Err(ConfigError::PushTooLate { push_bytes_min, dirty_bytes_max });
        }
        match self.mode {
            Mode::Curve(Curve { min_percent, .. }) if min_percent >= 100 => {
                Err(ConfigError::Percent { min_percent })
            }
            _ => Ok(self),
        }
    }
}

/// Less than this is not worth a name: a few blocks.
const DIRTY_BYTES_LEAST: u64 = 64 << 10;

/// How requests are slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// By how fast the devices are seen to be.
    Measured {
        /// Time that the devices should take to write one transaction group of a busy pool: its size follows
        /// from their speed, and so does how much dirty data there is. 5 s, as long as it may be open.
        sync_ns_target: u64,
    },
    /// By the fixed curve of ZFS, that knows the fill alone.
    Curve(Curve),
}

impl Default for Mode {
    fn default() -> Self {
        Self::Measured { sync_ns_target: 5_000_000_000 }
    }
}

/// Limits that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is hardly room for a block.
    #[error("{dirty_bytes_max} bytes of dirty data; {DIRTY_BYTES_LEAST} are the least")]
    TooLittle {
        /// What was asked for.
        dirty_bytes_max: u64,
    },
    /// Two transaction groups being written and one that is open would not fit.
    #[error("a push at {push_bytes_min} bytes is above a quarter of {dirty_bytes_max}")]
    PushTooLate {
        /// What was asked for.
        push_bytes_min: u64,
        /// A quarter of this is allowed.
        dirty_bytes_max: u64,
    },
    /// The curve begins where it ends.
    #[error("a delay from {min_percent} % on; it goes up to 100 %")]
    Percent {
        /// What was asked for.
        min_percent: u32,
    },
}
