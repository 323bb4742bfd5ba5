//! What comes out of the queue: an I/O for the device, its members, and the right to report
//! its end.

use smallvec::SmallVec;

use crate::class::{Class, Kind};
use crate::request::{Flags, Id, Request};

/// The right, and the duty, to tell the queue that one issued I/O has ended.
///
/// It cannot be copied, so an I/O cannot be completed twice. It belongs to the queue that made
/// it. Dropped, it leaves its slot of the device taken for good.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a ticket that is not given back to `complete` takes up a slot of the device for ever"]
pub struct Ticket {
    pub(crate) class: Class,
    pub(crate) kind: Kind,
    /// When the first of its requests came.
    pub(crate) enqueued_ns: u64,
    pub(crate) issued_ns: u64,
    pub(crate) len_bytes: u64,
    /// See `Slots::alone_mark`.
    pub(crate) alone_mark: Option<u32>,
}

impl Ticket {
    /// Class in which the I/O counts as active.
    pub const fn class(&self) -> Class {
        self.class
    }

    /// When it was issued, on the caller's clock.
    pub const fn issued_ns(&self) -> u64 {
        self.issued_ns
    }
}

/// A request that left the queue, with the payload that came with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Member<T> {
    /// Its name while it was queued.
    pub id: Id,
    /// What was asked.
    pub request: Request,
    /// When it was enqueued, on the caller's clock.
    pub enqueued_ns: u64,
    /// The caller's.
    pub payload: T,
}

/// The members of one I/O: one without the heap, more with one allocation.
pub type Members<T> = SmallVec<[Member<T>; 1]>;

/// One I/O for the device.
///
/// It covers one or more members in ascending order, which do not overlap. Their own buffers are
/// meant to be the pieces of one vectored read or write; [`DeviceIo::segments`] lists the pieces
/// with the gaps between them.
#[derive(Debug, PartialEq, Eq)]
pub struct DeviceIo<T> {
    /// To be given back to `complete`.
    pub ticket: Ticket,
    /// What to do.
    pub kind: Kind,
    /// First byte.
    pub offset_bytes: u64,
    /// Number of bytes, gaps included.
    pub len_bytes: u64,
    /// The requests it serves, at least one.
    pub members: Members<T>,
}

/// A piece of a [`DeviceIo`], in ascending order, without holes.
#[derive(Debug, PartialEq, Eq)]
pub enum Segment<'a, T> {
    /// The member's own bytes.
    Data(&'a Member<T>),
    /// Zeros, written on behalf of a member that has no buffer ([`Flags::NODATA`]).
    Zeros(&'a Member<T>),
    /// Bytes between two reads that nobody asked for: read into a scratch page, thrown away.
    /// Writes have none.
    Gap {
        /// First byte.
        offset_bytes: u64,
        /// Number of bytes.
        len_bytes: u64,
    },
}

/// An element of the vectored call that carries a [`DeviceIo`] out.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a, T> {
    /// The member's own buffer.
    Data(&'a Member<T>),
    /// So many bytes from the page of zeros.
    Zeros {
        /// At most a page.
        len_bytes: u64,
    },
    /// So many bytes to the scratch page, whose content nobody reads.
    Scratch {
        /// At most a page.
        len_bytes: u64,
    },
}

impl<T> DeviceIo<T> {
    /// True if more than one request is served.
    pub fn is_aggregate(&self) -> bool {
        self.members.len() > 1
    }

    /// The pieces from `offset_bytes` to its end: together exactly `len_bytes`.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_, T>> {
        let mut at = self.offset_bytes;
        self.members.iter().flat_map(move |member| {
            let start = member.request.offset_bytes();
            let gap =
                (start > at).then(|| Segment::Gap { offset_bytes: at, len_bytes: start - at });
            at = member.request.end_bytes();
            let piece = if member.request.flags().contains(Flags::NODATA) {
                Segment::Zeros(member)
            } else {
                Segment::Data(member)
            };
            gap.into_iter().chain([piece])
        })
    }
}

impl<T> DeviceIo<T> {
    /// The segments as elements of one vectored call for a caller with one page of zeros and one
    /// scratch page of `page_bytes` each: longer padding and gaps come as several pieces of the
    /// same page. Nothing is copied, however the requests lie.
    ///
    /// # Panics
    /// If `page_bytes` is 0.
    pub fn pieces(&self, page_bytes: u64) -> impl Iterator<Item = Piece<'_, T>> {
        assert!(page_bytes > 0, "a page of no bytes holds nothing");
        self.segments().flat_map(move |segment| {
            let (data, len_bytes, is_gap) = match segment {
                Segment::Data(member) => (Some(Piece::Data(member)), 0, false),
                Segment::Zeros(member) => (None, member.request.len_bytes(), false),
                Segment::Gap { len_bytes, .. } => (None, len_bytes, true),
            };
            let cuts = (0..len_bytes.div_ceil(page_bytes)).map(move |page| {
                let len_bytes = page_bytes.min(len_bytes - page * page_bytes);
                if is_gap { Piece::Scratch { len_bytes } } else { Piece::Zeros { len_bytes } }
            });
            data.into_iter().chain(cuts)
        })
    }
}

/// What the caller is to do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an issued I/O that is not carried out never ends"]
pub enum Issue<T> {
    /// Give this to the device, and its ticket to `complete` when the device has finished.
    Io(DeviceIo<T>),
    /// An optional request that no neighbour needed: it has succeeded without I/O, and has no
    /// ticket.
    Unneeded(Member<T>),
}

impl<T> Issue<T> {
    /// The I/O, if one is to be made.
    pub fn io(self) -> Option<DeviceIo<T>> {
        match self {
            Self::Io(io) => Some(io),
            Self::Unneeded(_) => None,
        }
    }
}
