//! A piece of one device, and what can be wrong with it.

use std::fmt;

use thiserror::Error;

/// A piece of one device, counted in allocation units of `2^ashift` bytes.
///
/// Any values may be named, also absurd ones: [`Extents`](crate::Extents)
/// checks them before use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extent {
    /// First unit.
    pub offset_units: u64,
    /// Number of units.
    pub size_units: u64,
}

impl Extent {
    /// An extent of `size_units` units from `offset_units` on.
    pub const fn new(offset_units: u64, size_units: u64) -> Self {
        Self { offset_units, size_units }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} units at {}", self.size_units, self.offset_units)
    }
}

/// An extent that does not fit the state it is used against. Whoever returns
/// it has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExtentError {
    /// Claim of units that are allocated, deferred, or none at all.
    #[error("{extent}: not free")]
    NotFree {
        /// The extent in question.
        extent: Extent,
    },
    /// Free of units that are free already, deferred, or none at all; or an
    /// undo of what this transaction group did not allocate.
    #[error("{extent}: not allocated")]
    NotAllocated {
        /// The extent in question.
        extent: Extent,
    },
    /// The extent reaches beyond the device.
    #[error("{extent}: outside a device of {device_units} units")]
    Outside {
        /// The extent in question.
        extent: Extent,
        /// Size of the device.
        device_units: u64,
    },
}
