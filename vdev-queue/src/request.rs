//! What is asked of the device: a request, its flags, and the name it has while it is queued.

use crate::class::{Class, Kind};

bitflags::bitflags! {
    /// How a request may be treated.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Flags: u8 {
        /// Never merge this request with a neighbour. Set on a second try, so that one bad
        /// sector fails one request.
        const DONT_AGGREGATE = 1;
        /// Padding: worth writing only where it joins two other requests into one I/O.
        const OPTIONAL = 2;
        /// A write that carries no buffer and stands for zeros. Left alone it needs no I/O.
        const NODATA = 4;
    }
}

/// Name of a request, unique in its queue. Smaller means earlier.
///
/// It serves to cancel or to re-prioritise the request while it is queued; afterwards it names
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub(crate) u64);

impl Id {
    /// The name as a number, for those who keep names of many kinds.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The name of this [number](Self::number).
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// One request to a device: a range of bytes, what to do with it, and how urgently.
///
/// Valid by construction: the range is not empty and does not run past `u64::MAX`, the class
/// fits the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    offset_bytes: u64,
    len_bytes: u64,
    flavour: u16,
    kind: Kind,
    class: Class,
    flags: Flags,
}

/// Why a [`Request`] cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A request for no bytes.
    #[error("{kind:?} of 0 bytes at offset {offset_bytes}")]
    Empty {
        /// What was asked.
        kind: Kind,
        /// Where.
        offset_bytes: u64,
    },
    /// The end of the range is not a 64-bit number.
    #[error("{kind:?} of {len_bytes} bytes at offset {offset_bytes} ends past 2^64")]
    PastEnd {
        /// What was asked.
        kind: Kind,
        /// Where.
        offset_bytes: u64,
        /// How much.
        len_bytes: u64,
    },
    /// I/Os of this kind do not belong to that class.
    #[error("a {kind:?} cannot be of class {class:?}; the nearest class is {nearest:?}")]
    ClassMisfit {
        /// What was asked.
        kind: Kind,
        /// The class it came with.
        class: Class,
        /// What [`Class::fit`] would make of it.
        nearest: Class,
    },
    /// [`Flags::NODATA`] on something that is not a write.
    #[error("NODATA stands for zeros to be written, and this is a {kind:?}")]
    NodataNotWrite {
        /// What was asked.
        kind: Kind,
    },
}

impl Request {
    /// A request for `len_bytes` from `offset_bytes` on.
    ///
    /// A caller whose class is only a wish passes `class.fit(kind)`.
    ///
    /// # Errors
    /// See [`RequestError`]: an empty or overflowing range, a class that does not hold this
    /// kind, `NODATA` on a read or trim.
    pub const fn new(
        kind: Kind,
        class: Class,
        offset_bytes: u64,
        len_bytes: u64,
        flags: Flags,
    ) -> Result<Self, RequestError> {
        if len_bytes == 0 {
            return Err(RequestError::Empty { kind, offset_bytes });
        }
        if offset_bytes.checked_add(len_bytes).is_none() {
            return Err(RequestError::PastEnd { kind, offset_bytes, len_bytes });
        }
        let nearest = class.fit(kind);
        if nearest as u8 != class as u8 {
            return Err(RequestError::ClassMisfit { kind, class, nearest });
        }
        if flags.contains(Flags::NODATA) && !matches!(kind, Kind::Write) {
            return Err(RequestError::NodataNotWrite { kind });
        }
        Ok(Self { offset_bytes, len_bytes, flavour: 0, kind, class, flags })
    }

    /// A read.
    ///
    /// # Errors
    /// As [`Request::new`].
    pub const fn read(class: Class, offset_bytes: u64, len: u64) -> Result<Self, RequestError> {
        Self::new(Kind::Read, class, offset_bytes, len, Flags::empty())
    }

    /// A write.
    ///
    /// # Errors
    /// As [`Request::new`].
    pub const fn write(class: Class, offset_bytes: u64, len: u64) -> Result<Self, RequestError> {
        Self::new(Kind::Write, class, offset_bytes, len, Flags::empty())
    }

    /// A trim.
    ///
    /// # Errors
    /// As [`Request::new`].
    pub const fn trim(offset_bytes: u64, len_bytes: u64) -> Result<Self, RequestError> {
        Self::new(Kind::Trim, Class::Trim, offset_bytes, len_bytes, Flags::empty())
    }

    /// The same request with a flavour: any number of the caller's. Only requests of equal
    /// flavour are merged, so it holds whatever the merged I/O must have in common (say, "part
    /// of a resilver").
    #[must_use]
    pub const fn with_flavour(mut self, flavour: u16) -> Self {
        self.flavour = flavour;
        self
    }

    /// The same request, never to be merged: what a caller enqueues again after a merged I/O
    /// failed.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.flags = self.flags.union(Flags::DONT_AGGREGATE);
        self
    }

    /// First byte.
    pub const fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// Number of bytes, at least 1.
    pub const fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// First byte after the range.
    pub const fn end_bytes(&self) -> u64 {
        self.offset_bytes + self.len_bytes
    }

    /// What to do.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// How urgently.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// How it may be treated. A queue clears [`Flags::OPTIONAL`] of a request on which an
    /// earlier merged write relied for being continued (spec 4.5, stretch).
    pub const fn flags(&self) -> Flags {
        self.flags
    }

    /// See [`Request::with_flavour`].
    pub const fn flavour(&self) -> u16 {
        self.flavour
    }

    pub(crate) const fn reclassified(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    pub(crate) const fn set_mandatory(&mut self) {
        self.flags = self.flags.difference(Flags::OPTIONAL);
    }
}
