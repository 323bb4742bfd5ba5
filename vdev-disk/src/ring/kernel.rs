//! The border to the kernel: the only place that touches the shared queues.
//!
//! Two keys stand for the right to touch them: [`SqKey`] for the submission
//! queue, [`CqKey`] for the completion queue. There is one of each per ring,
//! and the functions want them by `&mut`, so exclusion is checked by the
//! compiler. A [`Cqe`] cannot be made or copied outside this module: holding one is
//! the proof that the kernel has finished with the I/O it names.
#![expect(unsafe_code, reason = "the queues are memory shared with the kernel")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{EnterFlags, IoUring, opcode, squeue};
use rustix::io::Errno;

/// Right to touch the submission queue.
pub(super) struct SqKey(());

/// Right to touch the completion queue.
pub(super) struct CqKey(());

/// The number that a wake-up brings back; no I/O has it.
const WAKE: u64 = u64::MAX;

/// The kernel's last word on one submission.
pub(super) struct Cqe {
    user_data: u64,
    result: i32,
}

impl Cqe {
    /// Whose answer: the number of the flight, or `None` for a wake-up.
    pub(super) fn flight(&self) -> Option<usize> {
        (self.user_data != WAKE).then_some(self.user_data as usize)
    }

    /// Bytes transferred, or what failed.
    pub(super) fn result(&self) -> Result<u64, Errno> {
        match u64::try_from(self.result) {
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(Errno::from_raw_os_error(-self.result)),
        }
    }
}

pub(super) struct Kernel {
    uring: IoUring,
    #[cfg(test)]
    pub(super) faults: parking_lot::Mutex<std::collections::VecDeque<Fault>>,
}

/// What the next [`Kernel::enter`] does instead of its duty.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Fails without taking anything.
    Fails(Errno),
    /// Takes no more than this many, and does not wait.
    TakesAtMost(u32),
}

impl Kernel {
    /// A ring with room for `depth` submissions and one wake-up in the
    /// submission queue, and twice that in the completion queue, so that
    /// neither can be full.
    pub(super) fn new(depth: u32) -> io::Result<(Self, SqKey, CqKey)> {
        let entries = (depth + 1).next_power_of_two();
        let uring = match IoUring::builder().setup_submit_all().build(entries) {
            // Before Linux 5.18.
            Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                IoUring::new(entries)?
            }
            other => other?,
        };
        let kernel = Self {
            uring,
            #[cfg(test)]
            faults: parking_lot::Mutex::default(),
        };
        Ok((kernel, SqKey(()), CqKey(())))
    }

    /// An empty table of registered files; an error before Linux 5.19.
    pub(super) fn make_file_table(&self, slots: u32) -> io::Result<()> {
        self.uring.submitter().register_files_sparse(slots)
    }

    /// Puts a file into the table, or takes one out.
    pub(super) fn set_file(&self, slot: u32, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
        self.uring.submitter().register_files_update(slot, &[fd]).map(|_| ())
    }

    /// Queues one submission.
    ///
    /// # Safety
    /// All memory that `entry` names must stay valid, and untouched by others
    /// as far as the kernel writes it, until a [`Cqe`] with `flight` has come
    /// back, or for ever if none does.
    pub(super) unsafe fn push(&self, _: &mut SqKey, entry: squeue::Entry, flight: usize) {
        self.push_entry(entry.user_data(flight as u64));
    }

    /// Queues a submission that does nothing but come back.
    pub(super) fn push_wake(&self, _: &mut SqKey) {
        self.push_entry(opcode::Nop::new().build().user_data(WAKE));
    }

    fn push_entry(&self, entry: squeue::Entry) {
        // SAFETY: the callers hold the one SqKey by &mut, so no other SubmissionQueue exists.
        let mut sq = unsafe { self.uring.submission_shared() };
        // SAFETY: the memory the entry names stays valid by the contract of Kernel::push; a
        // wake-up names none.
        let pushed = unsafe { sq.push(&entry) };
        pushed.expect("the submission queue has more entries than flights and a wake-up");
    }

    /// Hands over up to `to_submit` submissions, and with `sleep` waits until
    /// there is an answer. Returns how many the kernel took. When it took
    /// fewer than asked it did not wait.
    pub(super) fn enter(&self, to_submit: u32, sleep: bool) -> Result<u32, Errno> {
        #[cfg(test)]
        let (to_submit, sleep) = match self.faults.lock().pop_front() {
            None => (to_submit, sleep),
            Some(Fault::Fails(errno)) => return Err(errno),
            Some(Fault::TakesAtMost(most)) => (to_submit.min(most), false),
        };
        let flags = if sleep { EnterFlags::GETEVENTS } else { EnterFlags::empty() };
        let wanted = u32::from(sleep);
        // SAFETY: no argument is passed by pointer, and the flags are known ones. The kernel reads
        // only submissions that were published by a push before.
        let taken =
            unsafe { self.uring.submitter().enter::<()>(to_submit, wanted, flags.bits(), None) };
        taken.map(|n| n as u32).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
    }

    /// Is there an answer?
    pub(super) fn ready(&self, _: &mut CqKey) -> bool {
        // SAFETY: the caller holds the one CqKey by &mut, so no other CompletionQueue exists.
        !unsafe { self.uring.completion_shared() }.is_empty()
    }

    /// Takes the answers that are there, `most` of them at most.
    pub(super) fn drain(&self, _: &mut CqKey, out: &mut Vec<Cqe>, most: usize) {
        // SAFETY: the caller holds the one CqKey by &mut, so no other CompletionQueue exists.
        let cq = unsafe { self.uring.completion_shared() };
        out.extend(cq.take(most).map(|e| Cqe { user_data: e.user_data(), result: e.result() }));
    }
}
