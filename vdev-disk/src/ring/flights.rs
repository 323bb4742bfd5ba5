//! I/O in flight: owned here from the moment the kernel may see it until the
//! kernel has said its last word.
#![expect(unsafe_code, reason = "addresses of owned buffers are handed to the kernel")]

use std::mem;
use std::sync::Arc;

use io_uring::{opcode, squeue, types};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use slab::Slab;
use zio_core::{Token, VdevDone, VdevIo, VdevOp};

use super::files::Attached;
use super::kernel::{Cqe, Kernel, SqKey};
use crate::answer::transferred;

/// `BLOCK_URING_CMD_DISCARD`: `_IO(0x12, 0)`, Linux 6.12.
const BLOCK_URING_CMD_DISCARD: u32 = 0x1200;

/// Segments of one I/O that need no allocation even before the ring is warm.
const SEGMENTS_READY: usize = 16;

/// One I/O: payload, right to answer, and the file, which stays open meanwhile.
pub(super) struct Flight {
    op: VdevOp,
    offset_bytes: u64,
    wanted_bytes: u64,
    token: Token,
    file: Arc<Attached>,
    /// A trim of a block device goes as a discard first, and as a hole where that is not known.
    discard: bool,
}

impl Flight {
    /// A checked I/O.
    pub(super) fn new(io: VdevIo, file: Arc<Attached>) -> Self {
        let (op, offset_bytes, token) = io.into_parts();
        let (wanted_bytes, discard) = match op {
            VdevOp::Read(_) | VdevOp::Write(_) => (op.len_bytes(), false),
            VdevOp::Flush => (0, false),
            VdevOp::Trim { .. } => (0, file.file.block_device),
        };
        Self { op, offset_bytes, wanted_bytes, token, file, discard }
    }

    /// Delivers the answer.
    pub(super) fn finish(self, result: Result<u64, Errno>) {
        let result = transferred(result, self.wanted_bytes);
        self.token.finish(VdevDone { op: Some(self.op), result });
    }

    /// Describes the I/O to the kernel. The entry names the payload's memory and `iovecs`.
    fn describe(&mut self, iovecs: &mut Vec<IoVec>) -> squeue::Entry {
        let (target, registered) = self.file.target();
        let (at, fd) = (self.offset_bytes, types::Fd(target));
        iovecs.clear();
        let entry = match &mut self.op {
            VdevOp::Read(buffers) => match buffers.as_mut_slice() {
                [one] => {
                    opcode::Read::new(fd, one.as_mut_ptr(), one.len() as u32).offset(at).build()
                }
                many => {
                    iovecs.extend(many.iter_mut().map(|b| IoVec::new(b.as_mut_ptr(), b.len())));
                    let (base, count) = (iovecs.as_ptr().cast(), iovecs.len() as u32);
                    opcode::Readv::new(fd, base, count).offset(at).build()
                }
            },
            VdevOp::Write(data) => match data.segments() {
                [one] => opcode::Write::new(fd, one.as_ptr(), one.len() as u32).offset(at).build(),
                many => {
                    iovecs.extend(many.iter().map(|s| IoVec::new(s.as_ptr().cast_mut(), s.len())));
                    let (base, count) = (iovecs.as_ptr().cast(), iovecs.len() as u32);
                    opcode::Writev::new(fd, base, count).offset(at).build()
                }
            },
            VdevOp::Flush => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
            VdevOp::Trim { len_bytes } if self.discard => {
                // The length stands in addr3, which is where the command's own 16 bytes begin.
                let mut command = [0; 16];
                command[..8].copy_from_slice(&kernel_bytes(*len_bytes));
                opcode::UringCmd16::new(fd, BLOCK_URING_CMD_DISCARD)
                    .addr(Some(at))
                    .cmd(command)
                    .build()
            }
            VdevOp::Trim { len_bytes } => {
                let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                opcode::Fallocate::new(fd, *len_bytes).offset(at).mode(mode.bits() as i32).build()
            }
        };
        if registered { entry.flags(squeue::Flags::FIXED_FILE) } else { entry }
    }
}

#[expect(clippy::host_endian_bytes, reason = "read by the kernel of this host, never stored")]
fn kernel_bytes(number: u64) -> [u8; 8] {
    number.to_ne_bytes()
}

/// The kernel's `struct iovec`.
#[repr(C)]
struct IoVec {
    base: *mut u8,
    len_bytes: usize,
}

impl IoVec {
    fn new(base: *mut u8, len_bytes: usize) -> Self {
        Self { base, len_bytes }
    }
}

// SAFETY: an IoVec is an address and a length for the kernel to read; no thread follows it.
unsafe impl Send for IoVec {}

/// The I/Os the kernel may see, at most `depth` of them.
pub(super) struct Flights {
    /// Never holds more than the capacity it was made with, so entries do not move.
    slab: Slab<Flight>,
    /// One list for each place in the slab, kept for reuse.
    iovecs: Box<[Vec<IoVec>]>,
}

impl Flights {
    pub(super) fn new(depth: usize) -> Self {
        let iovecs = (0..depth).map(|_| Vec::with_capacity(SEGMENTS_READY)).collect();
        Self { slab: Slab::with_capacity(depth), iovecs }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.slab.len() < self.iovecs.len()
    }

    /// Takes an I/O in and queues it.
    ///
    /// # Panics
    /// Without room: see [`Flights::has_room`].
    pub(super) fn admit(&mut self, flight: Flight, kernel: &Kernel, sq: &mut SqKey) {
        assert!(self.has_room(), "more than {} I/Os in flight", self.iovecs.len());
        let key = self.slab.insert(flight);
        self.push(key, kernel, sq);
    }

    fn push(&mut self, key: usize, kernel: &Kernel, sq: &mut SqKey) {
        let entry = self.slab[key].describe(&mut self.iovecs[key]);
        // SAFETY: the entry names (1) the bytes of buffers and segments that the flight owns. They
        // live on the heap behind the flight, so nothing moves them; a buffer is unique and the
        // flight is not touched while in the slab, so nobody else reads what the kernel writes,
        // and a segment's bytes are never written again. (2) The list of iovecs of this place,
        // which is touched next when the place is used again. Both happen only after the flight
        // is removed or described again, which consumes its Cqe. A slab that is dropped with
        // flights in it is leaked instead, with the lists.
        unsafe { kernel.push(sq, entry, key) };
    }

    /// Takes the I/O out that this is the answer to. A discard that the kernel
    /// or the device does not know is queued once more instead, as a hole.
    pub(super) fn land(&mut self, answer: Cqe, kernel: &Kernel, sq: &mut SqKey) -> Landed {
        let Some(key) = answer.flight() else { return Landed::Wake };
        let result = answer.result();
        if let Some(flight) = self.slab.get_mut(key)
            && flight.discard
            && matches!(result, Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY))
        {
            flight.discard = false;
            self.push(key, kernel, sq);
            return Landed::Requeued;
        }
        match self.slab.try_remove(key) {
            Some(flight) => Landed::Flight(flight, result),
            None => Landed::Stray,
        }
    }
}

/// What came back.
pub(super) enum Landed {
    /// An I/O, with bytes transferred or what failed.
    Flight(Flight, Result<u64, Errno>),
    /// An I/O that was queued once more.
    Requeued,
    /// A wake-up.
    Wake,
    /// The answer to nothing that is in flight.
    Stray,
}

impl Drop for Flights {
    fn drop(&mut self) {
        if !self.slab.is_empty() {
            // The kernel may still write to these buffers: give them up rather than free them.
            mem::forget(mem::take(&mut self.slab));
            mem::forget(mem::take(&mut self.iovecs));
        }
    }
}
