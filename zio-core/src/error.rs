//! Errors: what went wrong, where, and how bad it is beside another one (spec 1.12, 9).

use std::fmt;
use std::sync::Arc;

use crate::types::VdevId;

/// What went wrong.
///
/// [`ErrorKind::severity`] gives the order used when several children fail:
/// success < [`DeviceGone`](Self::DeviceGone) < [`Checksum`](Self::Checksum) <
/// [`Io`](Self::Io) < anything else < [`TimedOut`](Self::TimedOut), which must not be hidden by
/// another: the device may still be at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// ENXIO: the device is not there, maybe for a while.
    DeviceGone,
    /// ECKSUM: the data is not what was written.
    Checksum,
    /// EIO: the device failed, or answered short.
    Io,
    /// ENOSPC.
    NoSpace,
    /// EINVAL: the request itself is wrong: alignment, range, a pointer that fails its check.
    Invalid,
    /// ENOTSUP: the device or this build cannot do it.
    Unsupported,
    /// EACCES: a key is missing, or the device is read-only.
    Access,
    /// EBUSY: somebody else holds it.
    Busy,
    /// ENOENT: claim or free of an extent in the wrong state.
    NotFound,
    /// EAGAIN: try later.
    Again,
    /// ECANCELED.
    Cancelled,
    /// ETIMEDOUT: the device has not answered in time.
    TimedOut,
    /// The pipeline is closed, or was closed while this I/O was under way.
    Closed,
    /// The zio was dropped without being finished: a stage panicked or lost it.
    Lost,
}

impl ErrorKind {
    /// Badness: the higher wins (spec 1.12).
    pub const fn severity(self) -> u8 {
        match self {
            Self::DeviceGone => 1,
            Self::Checksum => 2,
            Self::Io => 3,
            Self::TimedOut => 5,
            _ => 4,
        }
    }

    /// The classic error name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeviceGone => "ENXIO",
            Self::Checksum => "ECKSUM",
            Self::Io => "EIO",
            Self::NoSpace => "ENOSPC",
            Self::Invalid => "EINVAL",
            Self::Unsupported => "ENOTSUP",
            Self::Access => "EACCES",
            Self::Busy => "EBUSY",
            Self::NotFound => "ENOENT",
            Self::Again => "EAGAIN",
            Self::Cancelled => "ECANCELED",
            Self::TimedOut => "ETIMEDOUT",
            Self::Closed => "closed",
            Self::Lost => "lost",
        }
    }
}

/// Where it went wrong. Every part is optional: a logical error has no device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Top-level vdev.
    pub vdev: Option<VdevId>,
    /// Leaf within it, where it has several.
    pub leaf: Option<u32>,
    /// Offset in bytes, within the vdev's data area.
    pub offset_bytes: Option<u64>,
    /// Length in bytes.
    pub len_bytes: Option<u64>,
}

/// An error of the I/O layer: kind, place, and the cause beneath.
///
/// It is one pointer wide, so that carrying "no error" costs nothing; it is
/// cheap to clone, because several parents inherit the same one.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    place: Place,
    what: Option<Box<str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with nothing known but its kind.
    pub fn new(kind: ErrorKind) -> Self {
        Self::build(kind, Place::default(), None, None)
    }

    /// An error that says in words what was wrong.
    pub fn msg(kind: ErrorKind, what: impl Into<Box<str>>) -> Self {
        Self::build(kind, Place::default(), Some(what.into()), None)
    }

    /// An error with the error beneath it as its cause.
    pub fn because<E>(kind: ErrorKind, source: E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        Self::build(kind, Place::default(), None, Some(Box::new(source)))
    }

    fn build(
        kind: ErrorKind,
        place: Place,
        what: Option<Box<str>>,
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { kind, place, what, source }))
    }

    /// The same error with its place. A place already known is kept: the
    /// layer nearest to the device knows best.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.place = Place {
                vdev: inner.place.vdev.or(place.vdev),
                leaf: inner.place.leaf.or(place.leaf),
                offset_bytes: inner.place.offset_bytes.or(place.offset_bytes),
                len_bytes: inner.place.len_bytes.or(place.len_bytes),
            };
        }
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where.
    pub fn place(&self) -> Place {
        self.0.place
    }

    /// The worse of two outcomes, `None` being success (spec 1.12). Of two
    /// equally bad ones the first stays.
    pub fn worst(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (None, other) => other,
            (some, None) => some,
            (Some(a), Some(b)) => {
                Some(if b.kind().severity() > a.kind().severity() { b } else { a })
            }
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind.name())?;
        if let Some(vdev) = self.0.place.vdev {
            write!(f, " on {vdev}")?;
        }
        if let Some(leaf) = self.0.place.leaf {
            write!(f, ", leaf {leaf}")?;
        }
        if let Some(offset) = self.0.place.offset_bytes {
            write!(f, " at offset {offset:#x}")?;
        }
        if let Some(len) = self.0.place.len_bytes {
            write!(f, " for {len} bytes")?;
        }
        if let Some(what) = &self.0.what {
            write!(f, ": {what}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| &**s as &(dyn std::error::Error + 'static))
    }
}

impl PartialEq for Error {
    /// Two errors are equal when they say the same kind and place.
    fn eq(&self, other: &Self) -> bool {
        self.0.kind == other.0.kind && self.0.place == other.0.place
    }
}
