//! The ring engine: one io_uring for many devices.
//!
//! An I/O passes three places. *Waiting*: more were started than the ring is
//! deep; a queue in memory, first in, first out. *Flights*: at most `depth`,
//! described to the kernel and owned here until its answer. *Finishing*: taken
//! out by the reaper, being answered.
//!
//! Neither of the kernel's queues can overflow: the submission queue has an
//! entry for every flight and one for a wake-up, the completion queue twice as many.

mod files;
mod flights;
mod kernel;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;
use rustix::io::Errno;
use zio_core::{Reactor, VdevIo, Wait};

use crate::error::RingError;
use crate::file::File;
pub(crate) use files::Attached;
use files::FileTable;
use flights::{Flight, Flights, Landed};
use kernel::{CqKey, Cqe, Kernel, SqKey};

/// Deepest possible ring: the kernel's largest submission queue, less the
/// entry kept for a wake-up.
pub const RING_DEPTH_MAX: u32 = 32_767;

/// Started I/O goes to the kernel in groups of this size. One at a time costs
/// a system call each; a whole batch of answers at a time leaves the device
/// idle meanwhile. Four was measured best, with little difference from three to eight.
const SUBMIT_GROUP: u32 = 4;

/// Answers that one turn delivers at most. They come about 32 at a time; whoever
/// keeps the device busy from one thread is to put the next group in before the
/// last of them is handled, or the device idles (at depth 32 and 128: 0.92 and 0.97
/// of a bare ring's reads instead of 0.87 and 0.87).
const ANSWERS_PER_TURN: usize = SUBMIT_GROUP as usize;

/// One io_uring, shared by any number of devices and driven through [`Reactor`].
///
/// Starting an I/O queues it; the fourth one queued, [`Reactor::submit`], or
/// any [`Reactor::turn`] hands all of them to the kernel; while a turn sleeps, each
/// goes at once. More I/Os than
/// the depth may be started: the rest wait their turn here.
///
/// Dropping the last reference waits for everything in flight and delivers
/// the answers on the dropping thread.
pub struct Ring {
    kernel: Arc<Kernel>,
    depth: u32,
    submission: Mutex<Submission>,
    /// Held by the thread inside `turn`; nobody ever waits for it.
    reaper: Mutex<Reaper>,
    files: Arc<FileTable>,
    /// Answers the reaper has taken and not delivered. Written by the reaper alone.
    finishing: AtomicUsize,
    /// A wake-up is on its way to the reaper.
    wake_pending: AtomicBool,
}

struct Submission {
    sq: SqKey,
    flights: Flights,
    waiting: VecDeque<Flight>,
    /// Queued, and not claimed by a thread that is handing them over.
    unsubmitted: u32,
    /// The reaper sleeps, or is about to: it will not hand over what is queued
    /// from here on, and may be waiting for just that.
    reaper_sleeps: bool,
}

struct Reaper {
    cq: CqKey,
    answers: Vec<Cqe>,
    landed: Vec<(Flight, Result<u64, Errno>)>,
}

impl Submission {
    fn start(&mut self, flight: Flight, kernel: &Kernel) {
        if self.flights.has_room() && self.waiting.is_empty() {
            self.admit(flight, kernel);
        } else {
            self.waiting.push_back(flight);
        }
    }

    fn admit(&mut self, flight: Flight, kernel: &Kernel) {
        self.flights.admit(flight, kernel, &mut self.sq);
        self.unsubmitted += 1;
    }

    /// Fills the room that landed flights have left.
    fn admit_waiting(&mut self, kernel: &Kernel) {
        while self.flights.has_room() {
            let Some(flight) = self.waiting.pop_front() else { return };
            self.admit(flight, kernel);
        }
    }

    /// How much must be unsubmitted before whoever starts an I/O hands over.
    fn group(&self) -> u32 {
        if self.reaper_sleeps { 1 } else { SUBMIT_GROUP }
    }

    /// Everything unsubmitted, if it is at least this much. Whoever claims
    /// owes an [`Ring::enter`] for it.
    fn claim(&mut self, at_least: u32) -> u32 {
        if self.unsubmitted >= at_least { std::mem::take(&mut self.unsubmitted) } else { 0 }
    }
}

impl Ring {
    /// A ring that keeps up to `depth` I/Os in the kernel's hands at once.
    ///
    /// # Errors
    /// [`RingError::Refused`] where the system has no io_uring for this
    /// process; [`RingError::Depth`] for 0 or more than [`RING_DEPTH_MAX`].
    pub fn new(depth: u32) -> Result<Arc<Self>, RingError> {
        if !(1..=RING_DEPTH_MAX).contains(&depth) {
            return Err(RingError::Depth { depth, max: RING_DEPTH_MAX });
        }
        let (kernel, sq, cq) = Kernel::new(depth).map_err(RingError::setup)?;
        let kernel = Arc::new(kernel);
        let files = FileTable::new(Arc::clone(&kernel));
        let capacity = depth as usize;
        Ok(Arc::new(Self {
            kernel,
            depth,
            submission: Mutex::new(Submission {
                sq,
                flights: Flights::new(capacity),
                waiting: VecDeque::new(),
                unsubmitted: 0,
                reaper_sleeps: false,
            }),
            reaper: Mutex::new(Reaper {
                cq,
                answers: Vec::with_capacity(ANSWERS_PER_TURN),
                landed: Vec::with_capacity(ANSWERS_PER_TURN),
            }),
            files,
            finishing: AtomicUsize::new(0),
            wake_pending: AtomicBool::new(false),
        }))
    }

    /// I/Os it keeps in the kernel's hands at most.
    pub fn depth(&self) -> u32 {
        self.depth
    }

    /// Makes a file known to the ring.
    pub(crate) fn attach(&self, file: File) -> Arc<Attached> {
        self.files.attach(file)
    }

    /// Queues a checked I/O.
    pub(crate) fn start(&self, io: VdevIo, file: &Arc<Attached>) {
        let flight = Flight::new(io, Arc::clone(file));
        let claimed = {
            let mut submission = self.submission.lock();
            submission.start(flight, &self.kernel);
            let group = submission.group();
            submission.claim(group)
        };
        self.hand_over(claimed, SUBMIT_GROUP);
    }

    /// Hands over what was claimed, and goes on while at least a group is unsubmitted.
    fn hand_over(&self, mut claimed: u32, group: u32) {
        while claimed > 0 {
            self.enter(claimed, false);
            claimed = self.submission.lock().claim(group);
        }
    }

    /// One system call: hands over, and sleeps until there is an answer. What
    /// the kernel does not take becomes unsubmitted again, for the next try.
    fn enter(&self, claimed: u32, sleep: bool) {
        let (taken, errno) = match self.kernel.enter(claimed, sleep) {
            Ok(taken) => (taken, None),
            Err(errno) => (0, Some(errno)),
        };
        if taken < claimed {
            self.submission.lock().unsubmitted += claimed - taken;
        }
        // EAGAIN, EBUSY: the kernel is short of memory, for a moment.
        if errno.is_some_and(|errno| errno != Errno::INTR) {
            thread::yield_now();
        }
    }

    /// Delivers the answers that are there. Returns their number, and whether
    /// a wake-up was among them.
    fn reap(&self, reaper: &mut Reaper) -> (usize, bool) {
        let Reaper { cq, answers, landed } = reaper;
        self.kernel.drain(cq, answers, ANSWERS_PER_TURN);
        if answers.is_empty() {
            return (0, false);
        }
        let mut woken = false;
        let claimed = {
            let mut guard = self.submission.lock();
            let Submission { sq, flights, unsubmitted, .. } = &mut *guard;
            for answer in answers.drain(..) {
                match flights.land(answer, &self.kernel, sq) {
                    Landed::Flight(flight, result) => landed.push((flight, result)),
                    Landed::Requeued => *unsubmitted += 1,
                    Landed::Wake => woken = true,
                    Landed::Stray => {}
                }
            }
            guard.reaper_sleeps = false;
            guard.admit_waiting(&self.kernel);
            self.finishing.store(landed.len(), Ordering::Relaxed);
            guard.claim(SUBMIT_GROUP)
        };
        if woken {
            // A swap, so that whoever found a wake-up pending has published what it was for.
            self.wake_pending.swap(false, Ordering::AcqRel);
        }
        // The device works on what waited while the answers are being handled.
        self.hand_over(claimed, SUBMIT_GROUP);

        let count = landed.len();
        let finishing = Finishing(&self.finishing);
        for (left, (flight, result)) in (0..count).rev().zip(landed.drain(..)) {
            flight.finish(result);
            finishing.0.store(left, Ordering::Relaxed);
        }
        (count, woken)
    }
}

/// Zeroes the count also when an answer's receiver panics: the answers behind
/// it are dropped then, and so delivered as lost.
struct Finishing<'a>(&'a AtomicUsize);

impl Drop for Finishing<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Reactor for Ring {
    fn turn(&self, wait: Wait) -> usize {
        let Some(mut reaper) = self.reaper.try_lock() else { return 0 };
        loop {
            let sleep = wait == Wait::Block && !self.kernel.ready(&mut reaper.cq);
            let claimed = {
                let mut submission = self.submission.lock();
                submission.reaper_sleeps = sleep;
                submission.claim(1)
            };
            if claimed > 0 || sleep {
                self.enter(claimed, sleep);
            }
            let (answered, woken) = self.reap(&mut reaper);
            if answered > 0 || woken || wait == Wait::Poll {
                return answered;
            }
        }
    }

    fn submit(&self) {
        let claimed = self.submission.lock().claim(1);
        self.hand_over(claimed, 1);
    }

    fn wake(&self) {
        // One that is on its way does for both.
        if self.wake_pending.swap(true, Ordering::AcqRel) {
            return;
        }
        let claimed = {
            let mut submission = self.submission.lock();
            let submission = &mut *submission;
            self.kernel.push_wake(&mut submission.sq);
            submission.unsubmitted += 1;
            submission.claim(1)
        };
        self.hand_over(claimed, 1);
    }

    fn in_flight(&self) -> usize {
        let submission = self.submission.lock();
        submission.flights.len() + submission.waiting.len() + self.finishing.load(Ordering::Relaxed)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut panicked = None;
        while self.in_flight() > 0 {
            // A receiver that panics must not keep the others from their answers.
            let turned = catch_unwind(AssertUnwindSafe(|| self.turn(Wait::Block)));
            panicked = panicked.or(turned.err());
        }
        if let (Some(panic), false) = (panicked, thread::panicking()) {
            resume_unwind(panic);
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("depth", &self.depth)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
