//! One of several allocators that share the vdevs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use zio_core::{Share, Slots, SpaceClass};

use crate::rotor::Rotor;
use crate::vdevs::Vdevs;

/// Part of the clients' limit that background writes have for themselves.
const BACKGROUND_DIVISOR: u64 = 8;

/// What a shard has for itself, on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Shard {
    /// The same vdevs in every shard. Whoever works on space holds the lock of
    /// some shard to read; with all of them to write one is alone.
    pub(crate) vdevs: RwLock<Vdevs>,
    of_class: [OfClass; SpaceClass::ALL.len()],
}

/// What it has for each class: devices of one do not wait for those of another.
#[derive(Default)]
struct OfClass {
    rotor: Rotor,
    client_bytes: Arc<AtomicU64>,
    background_bytes: Arc<AtomicU64>,
}

impl Shard {
    /// Whose turn it is among the vdevs of a class.
    pub(crate) fn rotor(&self, class: SpaceClass) -> &Rotor {
        &self.of_class[class as usize].rotor
    }

    /// `bytes_max` is the limit for clients.
    pub(crate) fn reserve(
        &self,
        class: SpaceClass,
        share: Share,
        bytes_max: u64,
        bytes: u64,
    ) -> Option<Slots> {
        let used = &self.of_class[class as usize];
        let (used_bytes, bytes_max) = match share {
            Share::Client => (&used.client_bytes, bytes_max),
            Share::Background => (&used.background_bytes, bytes_max / BACKGROUND_DIVISOR),
        };
        // One at least gets in.
        Slots::take(used_bytes, bytes_max.max(1), bytes)
    }

    /// Bytes under reservation now.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        let of = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        let accounts = self.of_class.iter().flat_map(|c| [&c.client_bytes, &c.background_bytes]);
        accounts.map(|bytes| of(bytes)).fold(0, u64::saturating_add)
    }
}
