//! Faults put into a pipeline, for the tests of those who use it (spec 1.18, 1.19).
//!
//! | to try | put in |
//! |---|---|
//! | a leaf that fails before an I/O, or does nothing and says it did | [`DeviceFault`] with [`Fail`](DeviceAction::Fail), [`Ignore`](DeviceAction::Ignore) |
//! | one that gives wrong data, or takes its time | [`DeviceFault`] with [`Corrupt`](DeviceAction::Corrupt), [`Delay`](DeviceAction::Delay) |
//! | labels that cannot be read | [`DeviceFault`] on their [`range`](DeviceFault::range) |
//! | writes that are ignored from some group on | [`StageFault`] at VDEV_IO_START with [`Ignore`](Action::Ignore), [`since_txg`](StageFault::since_txg) |
//! | a block that cannot be read, whatever its copies say | [`StageFault`] at VDEV_IO_ASSESS with [`Fail`](Action::Fail), [`of_leaves(false)`](StageFault::of_leaves) |
//! | a checksum that does not match | the same at CHECKSUM_VERIFY |
//! | one that cannot be decrypted | the same at DONE, with [`ErrorKind::Access`](zio_core::ErrorKind::Access) |
//! | parents that wait long for a pointer | [`StageFault`] at READY with [`Delay`](Action::Delay) |
//! | a bug | [`StageFault`] anywhere with [`Panic`](Action::Panic) |
//!
//! What holds an I/O back holds no thread. A delayed *device* is one that is slow: the queue counts the I/O
//! as active, the deadman may give it up. A delayed *stage* holds the request alone, and a
//! [`Control`](crate::Control) that cancels it ends the delay.
//!
//! A pipeline that was built without injections has none of this on its path.

mod delays;
mod device;
mod stage;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
pub use zio_core::{VdevErrorKind, ZioType};

use delays::Alarm;
pub(crate) use delays::Delays;
pub use device::{DeviceAction, DeviceFault};
pub use stage::{Action, StageFault};

/// A fault of either kind.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// At a stage.
    Stage(StageFault),
    /// Of a device.
    Device(DeviceFault),
}

impl From<StageFault> for Fault {
    fn from(fault: StageFault) -> Self {
        Self::Stage(fault)
    }
}

impl From<DeviceFault> for Fault {
    fn from(fault: DeviceFault) -> Self {
        Self::Device(fault)
    }
}

/// How often a fault hits those it fits.
#[derive(Clone, Debug)]
struct Frequency {
    skip: u64,
    every: u64,
    times: u64,
    met: u64,
    hits: u64,
}

impl Frequency {
    const ONCE: Self = Self { skip: 0, every: 1, times: 1, met: 0, hits: 0 };

    /// One more that the fault fits. Does it hit?
    fn takes(&mut self) -> bool {
        if self.hits >= self.times {
            return false;
        }
        self.met += 1;
        let takes = self.met > self.skip && (self.met - self.skip - 1).is_multiple_of(self.every);
        self.hits += u64::from(takes);
        takes
    }
}

/// The faults of a pipeline. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Injections(Arc<List>);

#[derive(Default)]
struct List {
    faults: Mutex<Vec<Fault>>,
    alarm: Option<Alarm>,
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&*self.faults.lock()).finish()
    }
}

impl Injections {
    /// None yet. Delays are ended by a thread, which is started for the first one.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet. Delays are ended by whoever is behind `alarm`, which has to call what it gets after so
    /// long, not at once: a simulated machine. To be used with a [clock](crate::Builder::clock)
    /// of the caller's.
    pub fn with_alarm(
        alarm: impl Fn(Duration, Box<dyn FnOnce() + Send>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(List { faults: Mutex::default(), alarm: Some(Arc::new(alarm)) }))
    }

    /// Adds a fault; the number is for [`hits`](Self::hits). The first one that fits acts.
    pub fn add(&self, fault: impl Into<Fault>) -> usize {
        let mut faults = self.0.faults.lock();
        faults.push(fault.into());
        faults.len() - 1
    }

    /// How often a fault has hit.
    pub fn hits(&self, number: usize) -> u64 {
        self.0.faults.lock().get(number).map_or(0, |fault| match fault {
            Fault::Stage(fault) => fault.frequency.hits,
            Fault::Device(fault) => fault.frequency.hits,
        })
    }

    /// Takes all faults away. What is held back goes on in its own time.
    pub fn clear(&self) {
        self.0.faults.lock().clear();
    }

    /// What the first fault says that has something to say.
    fn first<T>(&self, ask: impl FnMut(&mut Fault) -> Option<T>) -> Option<T> {
        self.0.faults.lock().iter_mut().find_map(ask)
    }

    fn alarm(&self) -> Option<Alarm> {
        self.0.alarm.clone()
    }
}
