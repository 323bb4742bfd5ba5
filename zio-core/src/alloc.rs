//! Space: the [`Allocator`] trait (spec 3.7, 3.8, 8.5).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use crate::bp::Dva;
use crate::types::{Txg, VdevId};

/// The DVAs of one block, at most three.
pub type Dvas = SmallVec<[Dva; 3]>;

/// What a vdev is for, and which space a block asks for.
///
/// A class that has no vdev, or none with room, is no reason to refuse a block: each falls back
/// in its [order](Self::order).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpaceClass {
    /// Blocks of the pool.
    #[default]
    Normal,
    /// Blocks of a log chain.
    Log,
    /// Metadata, and small blocks: what is read often and is little in all.
    Special,
    /// The dedup table, and blocks found by it.
    Dedup,
}

impl SpaceClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Log, Self::Special, Self::Dedup];

    /// Whose vdevs a block of this class may stand on, the dearest first (spec 3.8).
    ///
    /// ```
    /// use zio_core::SpaceClass::{Dedup, Log, Normal, Special};
    ///
    /// assert_eq!(Log.order(), [Log, Special, Normal]);
    /// assert_eq!(Dedup.order(), [Dedup, Special, Normal]);
    /// assert_eq!(Normal.order(), [Normal]); // what is set apart stays apart
    /// ```
    pub const fn order(self) -> &'static [Self] {
        match self {
            Self::Normal => &[Self::Normal],
            Self::Log => &[Self::Log, Self::Special, Self::Normal],
            Self::Special => &[Self::Special, Self::Normal],
            Self::Dedup => &[Self::Dedup, Self::Special, Self::Normal],
        }
    }
}

/// A wish for space.
#[derive(Clone, Debug, Default)]
pub struct Want {
    /// Bytes of payload; each copy's extent is this, rounded up to the vdev's unit.
    pub size_bytes: u64,
    /// Copies, 1 to 3, on distinct vdevs or, on one vdev, an eighth of it apart.
    pub copies: u8,
    /// Transaction group that allocates.
    pub txg: Txg,
    /// Class of space.
    pub class: SpaceClass,
    /// Contents that may do with ordinary space as well: they leave a reserve of the vdevs set
    /// apart for their class to those who do not say so, and fall back to
    /// [`SpaceClass::Normal`] at once.
    pub leaves_reserve: bool,
    /// Blocks with equal affinity like to stand together (allocator shard). A hint.
    pub affinity: u32,
    /// Vdevs to prefer (gang members stay with their leader). A hint.
    pub prefer: Option<VdevId>,
    /// May take what is held back for the work that makes space: see [`Allocator::admit`].
    pub uses_slop: bool,
}

impl Want {
    /// Bytes of payload of all copies.
    pub fn all_bytes(&self) -> u64 {
        self.size_bytes.saturating_mul(self.copies.into())
    }

    /// Whose vdevs the block may stand on, the dearest first.
    pub const fn classes(&self) -> &'static [SpaceClass] {
        match self.class {
            SpaceClass::Dedup if self.leaves_reserve => &[SpaceClass::Dedup, SpaceClass::Normal],
            class => class.order(),
        }
    }
}

/// Whose reservations are counted together. Each has a limit of its own, so
/// that neither can shut the other out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Share {
    /// Writes somebody asked for.
    #[default]
    Client,
    /// Writes of scrub, removal, rebuild and their like.
    Background,
}

/// No extent large enough anywhere: what was asked, and what there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no extent of {size_bytes} bytes for {copies} copies: {free_bytes} bytes free, largest extent {largest_bytes}"
)]
pub struct NoSpace {
    /// Bytes asked for, per copy.
    pub size_bytes: u64,
    /// Copies asked for.
    pub copies: u8,
    /// Bytes free where the block may stand.
    pub free_bytes: u64,
    /// Largest free extent there.
    pub largest_bytes: u64,
}

/// A free or claim that does not fit the state of the space it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// Claim of space that is not free (ENOENT).
    #[error("{dva} is not free")]
    NotFree {
        /// The extent in question.
        dva: Dva,
    },
    /// Free of space that is not allocated. Nothing was changed: leak rather than reuse.
    #[error("{dva} is not allocated")]
    NotAllocated {
        /// The extent in question.
        dva: Dva,
    },
    /// No such vdev, or outside it (ENXIO).
    #[error("{dva} lies outside every device")]
    Outside {
        /// The extent in question.
        dva: Dva,
    },
}

/// Hands out extents, takes them back, and marks given ones as taken.
pub trait Allocator: Send + Sync + fmt::Debug {
    /// Allocates `want.copies` extents, all or none.
    ///
    /// # Errors
    /// [`NoSpace`]; then nothing is allocated.
    fn allocate(&self, want: &Want) -> Result<Dvas, NoSpace>;

    /// Gives an extent back in `txg`. It may be handed out again once the
    /// allocator's deferral says so.
    ///
    /// # Errors
    /// [`SpaceError`]; then nothing is changed.
    fn free(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError>;

    /// Takes back an allocation of this same `txg` at once: nothing can have
    /// been written there that anybody knows of.
    ///
    /// # Errors
    /// [`SpaceError`]; then nothing is changed.
    fn unallocate(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError>;

    /// Marks a given extent as allocated.
    ///
    /// # Errors
    /// [`SpaceError`]; then nothing is changed.
    fn claim(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError>;

    /// Could [`Allocator::claim`] succeed? Changes nothing.
    ///
    /// # Errors
    /// What a claim would say.
    fn check_claim(&self, dva: Dva) -> Result<(), SpaceError>;

    /// Reserves the right to have `bytes` of allocation under way, or `None`
    /// when the devices are far enough behind (spec 3.7). The reservation ends
    /// when it is dropped.
    fn reserve(&self, bytes: u64) -> Option<Slots>;

    /// The same from the share and the shard of whoever asks. Unless told
    /// otherwise all are one.
    fn reserve_from(&self, _share: Share, _affinity: u32, bytes: u64) -> Option<Slots> {
        self.reserve(bytes)
    }

    /// The same for what is wanted, so that those who wait for the devices of one class do not
    /// hold those of another up. Unless told otherwise all are one.
    fn reserve_for(&self, share: Share, want: &Want) -> Option<Slots> {
        self.reserve_from(share, want.affinity, want.all_bytes())
    }

    /// Shards that allocations and reservations are divided into, at least
    /// one; an affinity belongs to the shard of its remainder.
    fn shards(&self) -> usize {
        1
    }

    /// Says that `bytes` are on their way to a device, until the value is
    /// dropped. From that an allocator learns how fast each vdev is. `None`: it does not care.
    fn sent(&self, _vdev: VdevId, _bytes: u64) -> Option<Slots> {
        None
    }

    /// Is there likely to be room, with what is held back left alone? Asked
    /// before a write waits or takes anything, so that a full pool says so at once. Free and claim
    /// never ask.
    ///
    /// # Errors
    /// [`NoSpace`].
    fn admit(&self, _want: &Want) -> Result<(), NoSpace> {
        Ok(())
    }

    /// Largest extent that [`Allocator::allocate`] could hand out now, of [`SpaceClass::Normal`].
    fn largest_bytes(&self) -> u64;

    /// Bytes not allocated and not deferred, whatever they are for.
    fn free_bytes(&self) -> u64;

    /// Bytes that a block like this may have, in as many pieces as it takes. With space
    /// that is for others left out; unless told otherwise there is none.
    fn free_bytes_for(&self, _want: &Want) -> u64 {
        self.free_bytes()
    }

    /// Bytes allocated, deferred frees included.
    fn allocated_bytes(&self) -> u64;
}

/// Called when a reservation ends, so that the next waiter can be let in.
pub trait Released: Send + Sync {
    /// A reservation of so many bytes ended; they are already given back.
    fn released(&self, bytes: u64);
}

/// A reservation of the allocation throttle: move-only, ends when dropped, so
/// it can neither leak nor be returned twice.
pub struct Slots {
    used_bytes: Arc<AtomicU64>,
    bytes: u64,
    then: Option<Arc<dyn Released>>,
}

impl Slots {
    /// Takes `bytes` from a counter while it stands below `max_bytes`. The
    /// last one in may overshoot, so that a block larger than the limit gets through.
    pub fn take(used_bytes: &Arc<AtomicU64>, max_bytes: u64, bytes: u64) -> Option<Self> {
        used_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
                (used < max_bytes).then_some(used + bytes)
            })
            .ok()
            .map(|_| Self { used_bytes: Arc::clone(used_bytes), bytes, then: None })
    }

    /// Whom to tell when the reservation ends.
    pub fn on_release(&mut self, then: Arc<dyn Released>) {
        self.then = Some(then);
    }

    /// Bytes reserved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.used_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        if let Some(then) = self.then.take() {
            then.released(self.bytes);
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slots({} bytes)", self.bytes)
    }
}
