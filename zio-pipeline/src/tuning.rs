//! Settings of the device queues, changed under load.

use vdev_queue::{Config, ConfigError, Load};
use zio_core::{Error, ErrorKind, VdevId};

use crate::pipeline::Pipeline;

impl Pipeline {
    /// Gives the queue of a leaf new limits, from its next choice on. Nothing that waits is lost, and
    /// what is at the device above a lowered limit stays there.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceGone`]: no such device. [`ErrorKind::Invalid`], because of a
    /// [`ConfigError`] that says which relation is broken; the old limits then stay.
    pub fn set_queue(&self, vdev: VdevId, leaf: usize, config: Config) -> Result<(), Error> {
        let invalid = |error: ConfigError| Error::because(ErrorKind::Invalid, error);
        self.leaf(vdev, leaf)?.set_queue(config).map_err(invalid)?;
        self.engine().submit();
        Ok(())
    }

    /// Tells all queues how much write-back there is to do, by which they give asynchronous writes
    /// more or less of their devices (spec 4.3).
    pub fn set_load(&self, load: Load) {
        for leaf in self.shared().leaves() {
            leaf.set_load(load);
        }
        self.engine().submit();
    }
}
