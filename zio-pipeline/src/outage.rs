//! Life with failing devices: what is suspended, what leaves have missed, and the way out.

use std::sync::Arc;
use std::time::Duration;

use zio_core::{Error, ErrorKind, VdevError, VdevErrorKind, VdevId};

use crate::deadman::{self, Overdue};
use crate::events::{EventCount, EventKind};
use crate::leaf::Leaf;
use crate::pipeline::Pipeline;
use crate::suspend::Suspended;
use crate::txg_ranges::TxgRanges;

/// Errors of one leaf since the pipeline was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeafErrors {
    /// Reads that failed.
    pub read: u64,
    /// Writes that failed.
    pub write: u64,
    /// Blocks that did not verify.
    pub checksum: u64,
}

impl LeafErrors {
    /// Errors since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            read: self.read.saturating_sub(earlier.read),
            write: self.write.saturating_sub(earlier.write),
            checksum: self.checksum.saturating_sub(earlier.checksum),
        }
    }
}

impl Pipeline {
    /// What is suspended: waits for devices to come back.
    pub fn suspended(&self) -> Suspended {
        self.shared().suspension.look()
    }

    /// Goes on with everything that is suspended, where it failed. What fails again is suspended
    /// again. Leaves that were thought dead are tried as if nothing had been. Returns how many
    /// requests go on.
    pub fn resume(&self) -> usize {
        for leaf in self.shared().leaves() {
            leaf.found(true, true);
        }
        let count = self.shared().suspension.resume();
        self.engine().submit();
        count
    }

    /// Ends everything, now: what is suspended, what waits in queues, and what devices have not
    /// answered fails with [`ErrorKind::Closed`], and so does whatever is asked for later. No I/O
    /// is started any more. The way out of a pipeline whose devices hang; drop it afterwards.
    ///
    /// What a device already has, it may still do, whenever that is; its buffers stay with it until then.
    pub fn close_now(&self) {
        let error = VdevError::new(VdevErrorKind::Closed);
        self.shared().suspension.close();
        self.shared().suspension.refuse();
        for leaf in self.shared().leaves() {
            leaf.close(&error);
        }
        self.shared().end_delays();
        self.engine().submit();
    }

    /// Ends what [injected](crate::inject) delays hold back, before its time. Returns how much that was.
    pub fn end_delays(&self) -> usize {
        let ended = self.shared().end_delays();
        self.engine().submit();
        ended
    }

    /// I/O and requests that [injected](crate::inject) delays hold back.
    pub fn delayed(&self) -> usize {
        self.shared().delays.as_ref().map_or(0, |delays| delays.len())
    }

    /// I/O that devices have had for so long without answering.
    pub fn overdue(&self, after: Duration) -> Vec<Overdue> {
        deadman::overdue(self.shared(), after)
    }

    /// Fails the requests whose I/O a device has had for so long, with
    /// [`ErrorKind::TimedOut`] where no other leaf can serve them. Returns how many there were.
    /// [`Builder::deadman`](crate::Builder::deadman) does this by itself.
    pub fn give_up_overdue(&self, after: Duration) -> usize {
        let count = deadman::give_up_overdue(self.shared(), after);
        self.engine().submit();
        count
    }

    /// How many events of a kind there were, and how many of them were told.
    pub fn event_count(&self, kind: EventKind) -> EventCount {
        self.shared().events.count(kind)
    }

    /// Bytes that stay allocated although nobody has them: they were freed while a device that hung might still
    /// write there, or are of a shared gang that nobody wants and whose headers cannot be read. They are free again in the pipeline's next life.
    pub fn leaked_bytes(&self) -> u64 {
        self.shared().leaked_bytes()
    }

    // -- Leaves of mirrors. --

    pub(crate) fn leaf(&self, vdev: VdevId, leaf: usize) -> Result<&Arc<Leaf>, Error> {
        let none = || Error::msg(ErrorKind::DeviceGone, format!("no leaf {leaf} of {vdev}"));
        let found = self.shared().vdev(vdev)?.leaves().get(leaf);
        found.ok_or_else(none)
    }

    /// Birth groups of the blocks that a leaf of a mirror has missed: its writes failed, or a flush after
    /// them, and other leaves have them. Empty for a vdev that is one device: there, a write that
    /// fails fails its block.
    ///
    /// Keep it durably with your own state: a pipeline built again starts with an empty set, and tells
    /// a stale copy only by its checksum, when it meets it. [`set_missing`](Self::set_missing) gives it back. Look at it
    /// before a flush and keep it after: a repair takes a place out of it as soon as it is written.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`]: no such device.
    pub fn missing(&self, vdev: VdevId, leaf: usize) -> Result<TxgRanges, Error> {
        Ok(self.leaf(vdev, leaf)?.health().missing())
    }

    /// How often something was noted as missing on a leaf since the pipeline was built. The set alone does
    /// not tell that a group in it was missed once more; what does is that this number has changed.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`]: no such device.
    pub fn times_missed(&self, vdev: VdevId, leaf: usize) -> Result<u64, Error> {
        Ok(self.leaf(vdev, leaf)?.health().times_missed())
    }

    /// Tells what a leaf has missed in an earlier life. Reads go to other leaves for blocks of
    /// these groups.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`]: no such device.
    pub fn set_missing(&self, vdev: VdevId, leaf: usize, missing: &TxgRanges) -> Result<(), Error> {
        self.leaf(vdev, leaf)?.health().change_missing(|all| all.insert_somewhere(missing));
        Ok(())
    }

    /// Tells that every block of these groups has been written to the leaf again: a resilver
    /// has read [every copy](crate::Read::every_copy) of all of them, without an error, and flushed, and
    /// nothing was [missed](Self::times_missed) since it began.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`]: no such device.
    pub fn resilvered(&self, vdev: VdevId, leaf: usize, done: &TxgRanges) -> Result<(), Error> {
        self.leaf(vdev, leaf)?.health().change_missing(|all| all.subtract(done));
        Ok(())
    }

    /// Is a leaf taken for dead, after a probe that failed? A leaf of a mirror is then left alone but for
    /// one I/O a second, which may prove the contrary.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`]: no such device.
    pub fn is_dead(&self, vdev: VdevId, leaf: usize) -> Result<bool, Error> {
        Ok(self.leaf(vdev, leaf)?.health().is_dead())
    }

    /// Errors of one leaf. An error of a first try that is going to be repeated does not count
    /// (spec 1.13), nor does one of an I/O that nobody counted on.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`]: no such device.
    pub fn leaf_errors(&self, vdev: VdevId, leaf: usize) -> Result<LeafErrors, Error> {
        Ok(self.leaf(vdev, leaf)?.health().errors().so_far())
    }
}
