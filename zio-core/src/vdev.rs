//! Devices: the [`Vdev`] trait, the I/O that is handed to one, and the one-shot
//! token that brings it back (spec 4.9).
//!
//! A device moves bytes. It never verifies, compresses or retries.

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::segment::{Buffers, Data};

/// What a device is. All sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Usable size; every I/O lies below it.
    pub size_bytes: u64,
    /// Smallest unit of I/O: offsets and lengths are multiples of it. A power of two.
    pub sector_bytes: u32,
    /// Unit the device writes best in (physical sector, flash page). A power of two, at least `sector_bytes`.
    pub physical_bytes: u32,
    /// Alignment the device wants of memory. A power of two, at most
    /// [`BUFFER_ALIGN_BYTES`](crate::segment::BUFFER_ALIGN_BYTES).
    pub memory_align_bytes: u32,
    /// Does a seek cost time?
    pub rotational: bool,
    /// Refuses writes.
    pub read_only: bool,
}

impl Geometry {
    /// Is this range aligned to the sector and inside the device?
    pub fn admits(&self, offset_bytes: u64, len_bytes: u64) -> bool {
        let sector = u64::from(self.sector_bytes);
        offset_bytes.is_multiple_of(sector)
            && len_bytes.is_multiple_of(sector)
            && offset_bytes.checked_add(len_bytes).is_some_and(|end| end <= self.size_bytes)
    }
}

/// What a device is asked to do. The payload is owned by the operation and
/// comes back with its completion.
#[derive(Debug)]
pub enum VdevOp {
    /// Fill the buffers, in order, from the offset on.
    Read(Buffers),
    /// Store the segments, in order, from the offset on.
    Write(Data),
    /// Make durable everything that completed before this was started. The offset is ignored.
    Flush,
    /// The range's content is no longer needed.
    Trim {
        /// Length of the range.
        len_bytes: u64,
    },
}

impl VdevOp {
    /// Length of the range in bytes; 0 for a flush.
    pub fn len_bytes(&self) -> u64 {
        match self {
            Self::Read(buffers) => buffers.iter().map(|b| b.len() as u64).sum(),
            Self::Write(data) => data.len() as u64,
            Self::Flush => 0,
            Self::Trim { len_bytes } => *len_bytes,
        }
    }
}

/// One I/O on its way to a device.
///
/// Whoever holds it owes an answer: [`VdevIo::finish`]. One that is dropped
/// answers for itself, with [`VdevErrorKind::Lost`]; nothing waits for ever.
#[derive(Debug)]
pub struct VdevIo {
    op: VdevOp,
    offset_bytes: u64,
    token: Token,
}

impl VdevIo {
    /// An I/O whose answer goes to `token`.
    pub fn new(op: VdevOp, offset_bytes: u64, token: Token) -> Self {
        Self { op, offset_bytes, token }
    }

    /// What is to be done.
    pub fn op(&self) -> &VdevOp {
        &self.op
    }

    /// What is to be done, with its buffers writable: for devices that copy.
    pub fn op_mut(&mut self) -> &mut VdevOp {
        &mut self.op
    }

    /// Where, in bytes from the device's start.
    pub fn offset_bytes(&self) -> u64 {
        self.offset_bytes
    }

    /// Length of the range in bytes; 0 for a flush.
    pub fn len_bytes(&self) -> u64 {
        self.op.len_bytes()
    }

    /// Splits the I/O, so that payload and token can be kept apart until the end.
    pub fn into_parts(self) -> (VdevOp, u64, Token) {
        (self.op, self.offset_bytes, self.token)
    }

    /// Answers, and gives the payload back.
    pub fn finish(self, result: Result<(), VdevError>) {
        self.token.finish(VdevDone { op: Some(self.op), result });
    }

    /// Checks the request against a geometry: range, alignment, read-only.
    /// Every device calls this before it touches anything.
    ///
    /// # Errors
    /// [`VdevErrorKind::Invalid`] or [`VdevErrorKind::ReadOnly`], in words.
    pub fn check(&self, geometry: &Geometry) -> Result<(), VdevError> {
        let writes = !matches!(self.op, VdevOp::Read(_) | VdevOp::Flush);
        if writes && geometry.read_only {
            return Err(VdevError::new(VdevErrorKind::ReadOnly));
        }
        let sector = u64::from(geometry.sector_bytes);
        let whole_sectors = |len: usize| (len as u64).is_multiple_of(sector);
        let pieces_fit = match &self.op {
            VdevOp::Read(buffers) => buffers.iter().all(|b| whole_sectors(b.len())),
            VdevOp::Write(data) => data.chunks().all(|c| whole_sectors(c.len())),
            VdevOp::Flush => return Ok(()),
            VdevOp::Trim { .. } => true,
        };
        if pieces_fit && geometry.admits(self.offset_bytes, self.len_bytes()) {
            return Ok(());
        }
        Err(VdevError::msg(
            VdevErrorKind::Invalid,
            format!(
                "{} bytes at {:#x} on a device of {} bytes with sectors of {sector}",
                self.len_bytes(),
                self.offset_bytes,
                geometry.size_bytes
            ),
        ))
    }
}

/// The answer of a device: the payload comes back with the result. It is
/// `None` only when the I/O was lost.
#[derive(Debug)]
pub struct VdevDone {
    /// What was asked, with its buffers.
    pub op: Option<VdevOp>,
    /// How it went. A short transfer is an error.
    pub result: Result<(), VdevError>,
}

/// Receives the answer to an I/O. Called exactly once for each token, on any thread.
pub trait Complete: Send + Sync {
    /// `ticket` is the number the token was made with.
    fn complete(self: Arc<Self>, ticket: u64, done: VdevDone);
}

/// One-shot right to complete: finishing consumes it, so an I/O cannot be
/// completed twice. A token that is dropped completes as lost.
#[must_use = "a token is an owed answer"]
pub struct Token {
    to: Option<Arc<dyn Complete>>,
    ticket: u64,
}

impl Token {
    /// A right to complete `ticket` at `to`.
    pub fn new(to: Arc<dyn Complete>, ticket: u64) -> Self {
        Self { to: Some(to), ticket }
    }

    /// Delivers the answer.
    pub fn finish(mut self, done: VdevDone) {
        if let Some(to) = self.to.take() {
            to.complete(self.ticket, done);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(to) = self.to.take() {
            let result = Err(VdevError::new(VdevErrorKind::Lost));
            to.complete(self.ticket, VdevDone { op: None, result });
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.ticket)
    }
}

/// What a device can answer besides "done" (spec 4.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VdevErrorKind {
    /// ENXIO, ENODEV, ENOMEDIUM …: the device is gone.
    Gone,
    /// EIO and everything not named here; short transfers too.
    Io,
    /// ENOTSUP, EOPNOTSUPP, ENOTTY: this device cannot do that.
    Unsupported,
    /// ENOSPC, EDQUOT: the file system beneath is full.
    NoSpace,
    /// Out of range or misaligned; refused before it reached the device.
    Invalid,
    /// A write to a read-only device.
    ReadOnly,
    /// The I/O was dropped without an answer.
    Lost,
    /// The I/O was taken back before a device had it.
    Cancelled,
    /// The device has not answered in time; it may still be at it.
    TimedOut,
    /// The pipeline gave up all its I/O.
    Closed,
}

/// A device's error, with the system's number and words where there are any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?}{}{}{}",
    if os_error.is_some() || what.is_some() { ": " } else { "" },
    what.as_deref().unwrap_or(""),
    os_error.map(|n| format!(" ({})", std::io::Error::from_raw_os_error(n))).unwrap_or_default())]
pub struct VdevError {
    kind: VdevErrorKind,
    os_error: Option<i32>,
    what: Option<Box<str>>,
}

impl VdevError {
    /// An error with nothing known but its kind.
    pub fn new(kind: VdevErrorKind) -> Self {
        Self { kind, os_error: None, what: None }
    }

    /// An error in words.
    pub fn msg(kind: VdevErrorKind, what: impl Into<Box<str>>) -> Self {
        Self { kind, os_error: None, what: Some(what.into()) }
    }

    /// An error of the operating system, already sorted into a kind.
    pub fn os(kind: VdevErrorKind, os_error: i32) -> Self {
        Self { kind, os_error: Some(os_error), what: None }
    }

    /// Fewer bytes than asked.
    pub fn short(got_bytes: u64, wanted_bytes: u64) -> Self {
        Self::msg(VdevErrorKind::Io, format!("{got_bytes} of {wanted_bytes} bytes transferred"))
    }

    /// Its kind.
    pub fn kind(&self) -> VdevErrorKind {
        self.kind
    }

    /// The system's error number, if it came from there.
    pub fn os_error(&self) -> Option<i32> {
        self.os_error
    }
}

impl From<VdevError> for Error {
    fn from(error: VdevError) -> Self {
        let kind = match error.kind {
            VdevErrorKind::Gone => ErrorKind::DeviceGone,
            VdevErrorKind::Io => ErrorKind::Io,
            VdevErrorKind::Unsupported => ErrorKind::Unsupported,
            VdevErrorKind::NoSpace => ErrorKind::NoSpace,
            VdevErrorKind::Invalid => ErrorKind::Invalid,
            VdevErrorKind::ReadOnly => ErrorKind::Access,
            VdevErrorKind::Lost => ErrorKind::Lost,
            VdevErrorKind::Cancelled => ErrorKind::Cancelled,
            VdevErrorKind::TimedOut => ErrorKind::TimedOut,
            VdevErrorKind::Closed => ErrorKind::Closed,
        };
        Self::because(kind, error)
    }
}

/// A device: a file, a block device, memory, a simulated disk.
///
/// Contract (spec 4.9): every I/O is answered exactly once, on any thread,
/// possibly before [`Vdev::start`] returns; there is no order between I/Os;
/// the payload stays untouched by others until the answer; a flush covers
/// everything that completed before it was started.
pub trait Vdev: Send + Sync + fmt::Debug {
    /// Size and units. Constant while the device is open.
    fn geometry(&self) -> Geometry;

    /// Starts an I/O. Never blocks for the device, never fails: errors come
    /// as the answer.
    fn start(&self, io: VdevIo);

    /// Who must be driven for answers to arrive. `None`: answers arrive by
    /// themselves, on the device's own threads or inside [`Vdev::start`].
    fn reactor(&self) -> Option<Arc<dyn Reactor>> {
        None
    }
}

/// A source of completions that somebody's thread must drive: an io_uring, or
/// a simulated machine. Several devices may share one.
///
/// [`Reactor::turn`] is called by one thread at a time (the holder of the
/// reaper role); [`Reactor::submit`] and [`Reactor::wake`] by any.
pub trait Reactor: Send + Sync {
    /// Hands started I/O to the device, then handles answers that are there, all
    /// or a few of them, on this thread. With [`Wait::Block`] and none there, sleeps until
    /// one arrives or [`Reactor::wake`] is called. New I/O that is started while
    /// answers are handled goes to the device in small groups; a few of it may still
    /// be with the reactor on return.
    ///
    /// Returns the number of answers handled.
    fn turn(&self, wait: Wait) -> usize;

    /// Hands started I/O to the device now.
    fn submit(&self);

    /// Makes a sleeping [`Reactor::turn`], or else the next one, return.
    fn wake(&self);

    /// I/O started and not yet answered.
    fn in_flight(&self) -> usize;
}

/// May [`Reactor::turn`] sleep?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Handle what is there.
    Poll,
    /// Sleep until there is something.
    Block,
}
