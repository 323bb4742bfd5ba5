//! When devices are gone: fail, wait for them, or stop (spec 1.12), and the end of all waiting.
//!
//! A block's zio whose devices are gone is *suspended* at the place where it failed: it keeps its
//! pointer, its space and its children's results, and goes on from there when the pipeline is
//! resumed. Nothing is done twice, and nobody above it notices but for the time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use zio_core::task::Place;
use zio_core::{
    Engine, Error, ErrorKind, Flags, Holding, Priority, QueueKind, Stages, Zio, ZioBox,
};

use crate::events::{Event, EventKind, Events};

/// What becomes of a request whose devices are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailMode {
    /// It ends with the error. Requests that [must succeed](crate::Pending::must_succeed)
    /// are suspended all the same.
    #[default]
    Continue,
    /// It is suspended until [`Pipeline::resume`](crate::Pipeline::resume). Scrubs
    /// ([`every_copy`](crate::Read::every_copy)) end with the error, so that they get to their end.
    Wait,
    /// The process is aborted.
    Panic,
}

/// What is suspended in a pipeline.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Suspended {
    /// How many blocks' I/O.
    pub requests: usize,
    /// The error of the first of them.
    pub reason: Option<Error>,
}

/// The suspended zios of a pipeline.
pub(crate) struct Suspension {
    mode: FailMode,
    events: Arc<Events>,
    parked: Mutex<Parked>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Parked {
    zios: BTreeMap<u64, ZioBox>,
    /// Number of the next one.
    next: u64,
    reason: Option<Error>,
    /// Nobody will resume them: they end with their error.
    refused: bool,
}

/// Could the same I/O go well later, with nothing changed but the devices?
fn may_pass(error: &Error) -> bool {
    use ErrorKind::{Checksum, DeviceGone, Io, TimedOut};
    matches!(error.kind(), DeviceGone | TimedOut | Io | Checksum)
}

/// A device is gone that was there: a pointer to none at all is a bad pointer, and time will not
/// mend it.
fn is_gone(error: &Error) -> bool {
    let gone = matches!(error.kind(), ErrorKind::DeviceGone | ErrorKind::TimedOut);
    gone && error.place().vdev.is_some()
}

/// A zio that was suspended ends with its error.
fn end(mut zio: ZioBox) {
    zio.entered = None;
    zio.become_interlock();
    Engine::dispatch(zio, QueueKind::Interrupt, Place::Back);
}

impl Suspension {
    pub(crate) fn new(mode: FailMode, events: Arc<Events>) -> Arc<Self> {
        Arc::new(Self { mode, events, parked: Mutex::default(), closed: AtomicBool::new(false) })
    }

    /// Has the pipeline given up all I/O?
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn look(&self) -> Suspended {
        let parked = self.parked.lock();
        Suspended { requests: parked.zios.len(), reason: parked.reason.clone() }
    }

    fn wants(&self, zio: &Zio, error: &Error) -> bool {
        if zio.is_cancelled() {
            return false;
        }
        let scans = Flags::SCAN_THREAD | Flags::SCRUB | Flags::SPECULATIVE;
        let waits = self.mode != FailMode::Continue && !zio.flags().intersects(scans);
        (waits && is_gone(error))
            || (zio.must_succeed && may_pass(error) && error.place().vdev.is_some())
    }

    /// Takes a zio of a block in that has failed for good with its own error, if it is to wait for
    /// better times; gives it back otherwise.
    pub(crate) fn take_in(self: &Arc<Self>, mut zio: ZioBox) -> Option<ZioBox> {
        let Some(error) = zio.error.clone().filter(|error| self.wants(&zio, error)) else {
            return Some(zio);
        };
        if self.mode == FailMode::Panic && is_gone(&error) {
            eprintln!("zio: devices are gone, and the pipeline is told to stop then: {error}");
            std::process::abort();
        }
        let mut parked = self.parked.lock();
        if parked.refused {
            return Some(zio);
        }
        let is_first = parked.reason.is_none();
        parked.reason.get_or_insert_with(|| error.clone());
        if self.mode == FailMode::Continue {
            // Others need not wait for this one's devices.
            zio.slots = None;
        }
        let (number, control) = (parked.next, zio.control.clone());
        parked.next += 1;
        if let Some(control) = &control {
            zio.entered = Some(control.enter(Arc::clone(self) as Arc<_>, number));
        }
        parked.zios.insert(number, zio);
        drop(parked);
        if control.is_some_and(|control| control.is_cancelled()) {
            Arc::clone(self).cancel(number);
        }
        if is_first {
            self.events.post(EventKind::Suspended, || Event::Suspended { reason: error });
        }
        None
    }

    /// All go on from where they failed. Returns how many.
    pub(crate) fn resume(&self) -> usize {
        let zios = {
            let mut parked = self.parked.lock();
            parked.reason = None;
            std::mem::take(&mut parked.zios)
        };
        let count = zios.len();
        for mut zio in zios.into_values() {
            zio.entered = None;
            zio.error = None;
            zio.tried = 0;
            zio.bad = 0;
            zio.remove_flags(Flags::IO_RETRY);
            zio.rerun_from(Stages::VDEV_IO_START);
            Engine::dispatch(zio, QueueKind::Issue, Place::Front);
        }
        count
    }

    /// Whoever is suspended ends with its error, and nobody is suspended any more.
    pub(crate) fn refuse(&self) {
        let zios = {
            let mut parked = self.parked.lock();
            parked.refused = true;
            parked.reason = None;
            std::mem::take(&mut parked.zios)
        };
        zios.into_values().for_each(end);
    }

    /// No I/O is started any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

impl Holding for Suspension {
    fn cancel(self: Arc<Self>, ticket: u64) {
        let found = self.parked.lock().zios.remove(&ticket);
        if let Some(mut zio) = found {
            zio.error = Some(Error::new(ErrorKind::Cancelled));
            end(zio);
        }
    }

    /// Its class is looked at when it goes on.
    fn reprioritise(self: Arc<Self>, _ticket: u64, _priority: Priority) {}
}

impl std::fmt::Debug for Suspension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Suspension")
            .field("mode", &self.mode)
            .field("suspended", &self.look())
            .field("closed", &self.is_closed())
            .finish()
    }
}
