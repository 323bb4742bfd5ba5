//! Dirty data as a value.

use std::fmt;
use std::sync::Arc;

use zio_core::Txg;

use super::line::Inner;

/// Bytes that were let in and are not written yet. It moves with the data, in parts if need be; dropped,
/// when the write is done or will not be, the bytes are dirty no more.
#[must_use = "dropped at once, it limits nothing"]
pub struct Dirty {
    inner: Arc<Inner>,
    txg: Txg,
    bytes: u64,
}

impl Dirty {
    pub(super) fn new(inner: Arc<Inner>, txg: Txg, bytes: u64) -> Self {
        Self { inner, txg, bytes }
    }

    /// So many.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The transaction group that the data belongs to.
    pub fn txg(&self) -> Txg {
        self.txg
    }

    /// Takes so many bytes out as a value of their own, all of them at most: a block that is written by itself.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self::new(Arc::clone(&self.inner), self.txg, bytes)
    }
}

impl Drop for Dirty {
    fn drop(&mut self) {
        let Self { txg, bytes, .. } = *self;
        if bytes > 0 {
            self.inner.change(|state, now_ns| state.throttle.end(txg, bytes, now_ns));
        }
    }
}

impl fmt::Debug for Dirty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dirty({} bytes of txg {})", self.bytes, self.txg)
    }
}
