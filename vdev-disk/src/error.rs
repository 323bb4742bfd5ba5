//! What can go wrong before the first I/O.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why a device could not be opened. Every variant names the path, and where
/// something was compared, both sides.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A system call failed.
    #[error("{}: {call}: {source}", path.display())]
    System {
        /// The device.
        path: PathBuf,
        /// Name of the call.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else has it open, in this process or another one.
    #[error("{}: in use: {by}", path.display())]
    InUse {
        /// The device.
        path: PathBuf,
        /// What showed it: an advisory lock, or the kernel's own claim on a block device.
        by: &'static str,
    },
    /// A directory, a pipe, a socket, a character device.
    #[error("{}: neither a regular file nor a block device", path.display())]
    NotADevice {
        /// The device.
        path: PathBuf,
    },
    /// Direct I/O was required (as it always is of a block device) and refused.
    #[error("{}: direct I/O refused", path.display())]
    NotDirect {
        /// The device.
        path: PathBuf,
    },
    /// The size is not a whole number of sectors.
    #[error("{}: {size_bytes} bytes are not a multiple of the sector of {sector_bytes}", path.display())]
    SizeNotSectors {
        /// The device.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// Its sector.
        sector_bytes: u32,
    },
    /// The device is smaller than it should be: truncated, or the wrong one.
    #[error("{}: {size_bytes} bytes, expected at least {expected_bytes}", path.display())]
    TooSmall {
        /// The device.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// The size it should have at least.
        expected_bytes: u64,
    },
    /// The sector size asked for is no power of two, or smaller than the device's own.
    #[error("{}: a sector of {asked_bytes} bytes asked for, the device has {device_bytes}", path.display())]
    SectorRefused {
        /// The device.
        path: PathBuf,
        /// The sector asked for.
        asked_bytes: u32,
        /// The device's own.
        device_bytes: u32,
    },
    /// The disk's own ring could not be set up, although this system has io_uring.
    #[error("{}: no ring", path.display())]
    NoRing {
        /// The device.
        path: PathBuf,
        /// Why there is no ring.
        source: RingError,
    },
}

impl OpenError {
    pub(crate) fn system(path: &Path, call: &'static str, errno: Errno) -> Self {
        Self::System { path: path.into(), call, source: errno.into() }
    }
}

/// Why there is no ring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The kernel has no io_uring, or keeps it from this process
    /// (`io_uring_disabled`, seccomp): use threads.
    #[error("io_uring is not to be had here: {0}")]
    Refused(#[source] io::Error),
    /// A depth of 0, or more than [`crate::RING_DEPTH_MAX`].
    #[error("a ring of depth {depth}: 1 to {max} are possible")]
    Depth {
        /// The depth asked for.
        depth: u32,
        /// The deepest possible.
        max: u32,
    },
    /// Setting it up failed for another reason: no memory, no file descriptors.
    #[error("setting up io_uring: {0}")]
    System(#[source] io::Error),
}

impl RingError {
    /// Would another attempt fail as well, so that threads must do?
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    pub(crate) fn setup(source: io::Error) -> Self {
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        match errno {
            Some(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => Self::Refused(source),
            _ => Self::System(source),
        }
    }
}
