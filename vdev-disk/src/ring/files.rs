//! Registered files: the kernel knows a device by its place in a table, and
//! spares itself the look-up for each I/O.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use parking_lot::Mutex;

use super::kernel::Kernel;
use crate::file::File;

/// Places in the table; devices beyond are known by their descriptor.
const SLOTS: u32 = 64;

/// A ring's table and its free places.
pub(super) struct FileTable {
    kernel: Arc<Kernel>,
    free: Mutex<Vec<u32>>,
}

impl FileTable {
    /// An empty table, with no places where the kernel cannot have one.
    pub(super) fn new(kernel: Arc<Kernel>) -> Arc<Self> {
        let slots = if kernel.make_file_table(SLOTS).is_ok() { SLOTS } else { 0 };
        Arc::new(Self { kernel, free: Mutex::new((0..slots).rev().collect()) })
    }

    /// Makes a file known to the kernel.
    pub(super) fn attach(self: &Arc<Self>, file: File) -> Arc<Attached> {
        let mut slot = self.free.lock().pop();
        if let Some(free) = slot
            && self.kernel.set_file(free, Some(file.as_fd())).is_err()
        {
            self.free.lock().push(free);
            slot = None;
        }
        Arc::new(Attached { file, slot, table: Arc::clone(self) })
    }
}

/// A file and its place in a table. Every flight holds one, so the place is
/// not given to another file before the last of them is back.
pub(crate) struct Attached {
    pub(crate) file: File,
    slot: Option<u32>,
    table: Arc<FileTable>,
}

impl Attached {
    /// What the kernel knows the file by, and whether that is a place in the
    /// table or else a descriptor.
    pub(super) fn target(&self) -> (RawFd, bool) {
        match self.slot {
            Some(slot) => (slot as RawFd, true),
            None => (self.file.fd.as_raw_fd(), false),
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        // A place that cannot be cleared keeps the old file, so it is not given out again.
        if self.table.kernel.set_file(slot, None).is_ok() {
            self.table.free.lock().push(slot);
        }
    }
}
