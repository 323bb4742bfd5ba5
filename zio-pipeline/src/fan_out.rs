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

    /// The threads that the hash of this zio's data is worth; `None`: it is hashed where it is.
    pub(crate) fn for_hash_of(&self, zio: &Zio) -> Option<&FanOut> {
        let is_large =
            zio.data.len() >= FAN_OUT_BYTES_MIN && zio.bp.checksum_id() == Algorithm::Blake3.id();
        if !is_large || self.threads < 2 {
            return None;
        }
        let which = usize::from(zio.class().is_background());
        let name = ["zio-hash", "zio-hash-back"][which];
        self.pools[which].get_or_init(|| FanOut::new(name, self.threads, NICE[which]).ok()).as_ref()
    }
}

/// Has `work` done on these threads; then the zio goes on from its next stage, in a lane of this kind.
pub(crate) fn hash(
    fan: &FanOut,
    zio: ZioBox,
    kind: QueueKind,
    work: impl FnOnce(&mut Zio) + Send + 'static,
) {
    fan.run(
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
}
