//! The yardstick: io_uring over one file with nothing around it.
//!
//! One thread, one ring, one buffer per slot. No device, no token, no queue,
//! no checksum: what is left is what the kernel and the disk cost. `cargo xtask
//! bench` runs this loop in turns with the pipeline, on the same file.
#![expect(unsafe_code, reason = "the kernel is given addresses of buffers")]

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use io_uring::{IoUring, opcode, squeue, types};
use rustix::fs::OFlags;
use zio_core::{Buffer, BufferPool};

/// Entries per system call. The same as the ring's own: three to eight are
/// alike, one and "all that were reaped" are worse.
const SUBMIT_GROUP: u32 = 4;

/// What the loop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads blocks.
    Read,
    /// Writes blocks.
    Write,
}

/// One step of a slot: called with the slot's number and its block, before the
/// first I/O (`finished` is false) and after each one (true). It returns the
/// offset in bytes of the slot's next I/O, or `None` to let the slot rest.
///
/// After a read the block holds what was read; before a write it is to be
/// filled.
pub trait Step: FnMut(usize, &mut [u8], bool) -> Option<u64> {}

impl<F: FnMut(usize, &mut [u8], bool) -> Option<u64>> Step for F {}

/// A file, a ring, and as many blocks as I/Os are kept in flight.
///
/// ```no_run
/// use vdev_disk::baseline::{Op, RawRing};
///
/// let mut ring = RawRing::open("/tmp/disk".as_ref(), true, 32, 8192)?;
/// let mut left = 1000;
/// ring.run(Op::Read, |_slot, _block, _finished| {
///     left -= 1;
///     (left >= 0).then_some(left as u64 * 8192)
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct RawRing {
    uring: IoUring,
    file: File,
    /// A slot's memory belongs to the kernel from its submission to its answer.
    blocks: Vec<Buffer>,
    in_flight: usize,
}

impl RawRing {
    /// Opens an existing file for reading and writing, past the page cache if
    /// `direct`, with a ring for `depth` blocks of `block_bytes`.
    ///
    /// # Errors
    /// What the system says: no such file, no io_uring, no direct I/O.
    pub fn open(path: &Path, direct: bool, depth: u32, block_bytes: usize) -> io::Result<Self> {
        let flags = if direct { OFlags::DIRECT } else { OFlags::empty() };
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let file = File::options().read(true).write(true).custom_flags(flags).open(path)?;
        let pool = BufferPool::new();
        Ok(Self {
            uring: IoUring::new(depth.max(1).next_power_of_two())?,
            file,
            blocks: (0..depth.max(1)).map(|_| pool.take(block_bytes)).collect(),
            in_flight: 0,
        })
    }

    /// Keeps every slot busy until `step` lets all of them rest. Returns the
    /// number of I/Os.
    ///
    /// # Errors
    /// The first I/O that failed, or did less than its block; the others in
    /// flight are waited for.
    pub fn run(&mut self, op: Op, mut step: impl Step) -> io::Result<u64> {
        let outcome = self.drive(op, &mut step);
        self.drain()?;
        outcome
    }

    fn drive(&mut self, op: Op, step: &mut impl Step) -> io::Result<u64> {
        let Self { uring, file, blocks, in_flight } = self;
        let (submitter, mut sq, mut cq) = uring.split();
        let (mut pushed, mut count) = (0, 0);
        let mut begun = 0;
        loop {
            // First of all each slot once, then the slots whose I/O is done.
            let (slot, finished) = if begun < blocks.len() {
                begun += 1;
                (begun - 1, false)
            } else if let Some(cqe) = cq.next() {
                *in_flight -= 1;
                let slot = cqe.user_data() as usize;
                let bytes = u32::try_from(cqe.result())
                    .map_err(|_| io::Error::from_raw_os_error(-cqe.result()))?;
                if bytes as usize != blocks[slot].len() {
                    let words = format!("{op:?} did {bytes} of {} bytes", blocks[slot].len());
                    return Err(io::Error::other(words));
                }
                count += 1;
                (slot, true)
            } else if *in_flight > 0 {
                sq.sync();
                ignore_interrupt(submitter.submit_and_wait(1))?;
                pushed = 0;
                // What the kernel took, and what it answered.
                sq.sync();
                cq.sync();
                continue;
            } else {
                return Ok(count);
            };
            let Some(offset_bytes) = step(slot, &mut blocks[slot], finished) else { continue };
            let entry = entry(op, file, &mut blocks[slot], offset_bytes);
            // SAFETY: the block lives in `self`, which waits for everything in flight before it
            // gives its memory up; until the answer nobody here touches the slot.
            unsafe { sq.push(&entry.user_data(slot as u64)) }.map_err(io::Error::other)?;
            *in_flight += 1;
            pushed += 1;
            if pushed == SUBMIT_GROUP {
                sq.sync();
                ignore_interrupt(submitter.submit())?;
                pushed = 0;
                sq.sync();
            }
        }
    }

    /// Waits for whatever an error or a panic left in flight.
    fn drain(&mut self) -> io::Result<()> {
        while self.in_flight > 0 {
            ignore_interrupt(self.uring.submit_and_wait(1))?;
            self.in_flight -= self.uring.completion().count();
        }
        Ok(())
    }
}

impl Drop for RawRing {
    fn drop(&mut self) {
        if self.drain().is_err() {
            // The kernel may still write there: better lost than reused.
            self.blocks.drain(..).for_each(mem::forget);
        }
    }
}

impl std::fmt::Debug for RawRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawRing").field("file", &self.file).finish_non_exhaustive()
    }
}

fn entry(op: Op, file: &File, block: &mut Buffer, offset_bytes: u64) -> squeue::Entry {
    let fd = types::Fd(file.as_raw_fd());
    let len_bytes = block.len() as u32;
    match op {
        Op::Read => {
            opcode::Read::new(fd, block.as_mut_ptr(), len_bytes).offset(offset_bytes).build()
        }
        Op::Write => opcode::Write::new(fd, block.as_ptr(), len_bytes).offset(offset_bytes).build(),
    }
}

fn ignore_interrupt(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK_BYTES: usize = 4096;

    fn file_of(blocks: usize) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len((blocks * BLOCK_BYTES) as u64).unwrap();
        file
    }

    #[test]
    fn what_it_writes_it_reads() {
        let file = file_of(64);
        let mut ring = RawRing::open(file.path(), false, 7, BLOCK_BYTES).unwrap();
        let mut next = 0_u8;
        let written = ring.run(Op::Write, |_, block, _| {
            let n = next;
            next += 1;
            block.fill(n);
            (n < 64).then_some(u64::from(n) * BLOCK_BYTES as u64)
        });
        assert_eq!(written.unwrap(), 64);

        let mut expected = [None; 7];
        let (mut next, mut seen) = (64_u8, 0);
        let read = ring.run(Op::Read, |slot, block, finished| {
            assert_eq!(finished, expected[slot].is_some());
            if let Some(n) = expected[slot].take() {
                assert!(block.iter().all(|b| *b == n));
                seen += 1;
            }
            next = next.checked_sub(1)?;
            expected[slot] = Some(next);
            Some(u64::from(next) * BLOCK_BYTES as u64)
        });
        assert_eq!((read.unwrap(), seen), (64, 64));
    }

    #[test]
    fn any_depth_goes() {
        let file = file_of(4);
        for depth in [1, 2, 3, 4, 5, 8, 33] {
            let mut ring = RawRing::open(file.path(), false, depth, BLOCK_BYTES).unwrap();
            let mut left = 200;
            let read = ring.run(Op::Read, |slot, _, _| {
                left -= 1;
                (left >= 0).then_some((slot % 4 * BLOCK_BYTES) as u64)
            });
            assert_eq!(read.unwrap(), 200, "depth {depth}");
        }
    }

    #[test]
    fn a_block_beyond_the_end_is_an_error_and_the_rest_is_waited_for() {
        let file = file_of(8);
        let mut ring = RawRing::open(file.path(), false, 4, BLOCK_BYTES).unwrap();
        let mut next = 6;
        let read = ring.run(Op::Read, |_, _, _| {
            next += 1;
            Some((next - 1) * BLOCK_BYTES as u64)
        });
        assert!(read.unwrap_err().to_string().contains("did 0 of 4096 bytes"));
        assert_eq!(ring.in_flight, 0);
    }
}
