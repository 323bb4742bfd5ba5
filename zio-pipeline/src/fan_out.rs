//! Large hashes on all CPUs.
//!
//! One block is one task, and its hash is most of the work where it is BLAKE3 over megabytes.
//! Such a zio leaves the lane: the hash is handed to threads of their own, and the zio comes
//! back to its task queue when that is done. So it keeps no worker from the tasks behind it.

use std::sync::OnceLock;

use checksum::Algorithm;
use taskq::FanOut;
use zio_core::task::Place;
use zio_core::{Engine, QueueKind, Zio, ZioBox};

/// Bytes from which on a block is worth it: below, two wake-ups take as long as is gained.
const FAN_OUT_BYTES_MIN: usize = 2 << 20;

/// Niceness of the threads that hash for those who wait, and for the background.
const NICE: [u8; 2] = [0, 19];

/// Threads for large hashes, made when the first one comes.
pub(crate) struct Fan {
    threads: usize,
    /// For interactive I/O, and for the background. `None`: the system refused the threads.
    pools: [OnceLock<Option<FanOut>>; 2],
}

impl Fan {
    /// With so many threads; with less than two everything stays where it is.
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads, pools: Default::default() }
    }

    /// Hashes elsewhere, if this zio's data is worth it, and lets the zio go on from its next
    /// stage in a lane of this kind.
    ///
    /// # Errors
    /// The zio, where it is to be hashed here.
    pub(crate) fn hash(
        &self,
        zio: ZioBox,
        kind: QueueKind,
        work: impl FnOnce(&mut Zio) + Send + 'static,
    ) -> Result<(), ZioBox> {
        let is_large =
            zio.data.len() >= FAN_OUT_BYTES_MIN && zio.bp.checksum_id() == Algorithm::Blake3.id();
        let Some(pool) = is_large.then(|| self.pool(&zio)).flatten() else { return Err(zio) };
        pool.run(
            move || {
                let mut zio = zio;
                work(&mut zio);
                zio
            },
            move |hashed| {
                // One whose work panicked has told its parents when it was dropped.
                if let Ok(zio) = hashed {
                    Engine::dispatch(zio, kind, Place::Back);
                }
            },
        );
        Ok(())
    }

    fn pool(&self, zio: &Zio) -> Option<&FanOut> {
        if self.threads < 2 {
            return None;
        }
        let which = usize::from(zio.class().is_background());
        let name = ["zio-hash", "zio-hash-back"][which];
        self.pools[which].get_or_init(|| FanOut::new(name, self.threads, NICE[which]).ok()).as_ref()
    }
}
