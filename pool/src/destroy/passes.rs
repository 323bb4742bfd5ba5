//! Frees of the passes of a sync.

use zio_pipeline::{BlockPointer, Bookmark, Error, Pipeline};

use super::NotFreed;

/// From this pass on frees wait for the next transaction group (spec 3.4).
pub const DEFER_PASS_MIN: u32 = 2;

/// What the sync of one transaction group frees, pass after pass.
///
/// A sync repeats until nothing changes any more; but a free changes the books of space, which are written by the
/// sync. So from [`DEFER_PASS_MIN`] on a free is only noted, and done in the first pass of the next
/// transaction group.
///
/// ```
/// use pool::destroy::{DEFER_PASS_MIN, SyncFrees};
/// use zio_pipeline::Pipeline;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("disk");
/// let pipeline = Pipeline::builder().create(&path, 64 << 20).defer_frees(2).build()?;
/// let [early, late] = [pipeline.write(&[1; 4096]).wait()?, pipeline.write(&[2; 4096]).wait()?];
///
/// let mut frees = SyncFrees::new();
/// frees.free(&pipeline, 1, &early)?;
/// frees.free(&pipeline, DEFER_PASS_MIN, &late)?;
/// assert_eq!(frees.deferred(), [late]);            // stored with this transaction group
/// pipeline.end_txg();
/// assert!(frees.begin_txg(&pipeline).is_empty());  // now it is freed; nothing was left over
/// assert!(frees.deferred().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What is deferred is no longer reachable in the transaction group that deferred it, and not free yet. Who keeps the
/// books of space on disk stores [`deferred`](Self::deferred) with them, and gives it to [`restored`](Self::restored)
/// after a crash. Who rebuilds the books by claiming what is reachable begins with none: it is free already.
#[derive(Debug)]
pub struct SyncFrees {
    deferred: Vec<BlockPointer>,
    deferred_max: usize,
}

impl Default for SyncFrees {
    fn default() -> Self {
        Self::new()
    }
}

impl SyncFrees {
    /// Nothing is deferred; 65,536 blocks can be, which are 8 MiB.
    pub fn new() -> Self {
        Self { deferred: Vec::new(), deferred_max: 1 << 16 }
    }

    /// The same with another limit. Beyond it a free is done at once, in whatever pass: the sync then takes a
    /// pass more.
    pub fn with_limit(deferred_max: usize) -> Self {
        Self { deferred_max, ..Self::new() }
    }

    /// After a crash: these were deferred in the last durable transaction group, and are allocated.
    pub fn restored(deferred: impl IntoIterator<Item = BlockPointer>) -> Self {
        Self { deferred: deferred.into_iter().collect(), ..Self::new() }
    }

    /// Frees a block in this pass of the sync, counted from 1; waits for the I/O that a gang needs, so not
    /// in a callback. Returns whether it is done; it is deferred if not.
    ///
    /// # Errors
    /// That of the free: the block is still allocated.
    pub fn free(
        &mut self,
        pipeline: &Pipeline,
        pass: u32,
        bp: &BlockPointer,
    ) -> Result<bool, Error> {
        let at_once = pass < DEFER_PASS_MIN || self.deferred.len() >= self.deferred_max;
        match at_once {
            true => free_now(pipeline, bp)?,
            false => self.deferred.push(*bp),
        }
        Ok(at_once)
    }

    /// What was deferred in the transaction group before is freed in this one. Returns what could not be.
    pub fn begin_txg(&mut self, pipeline: &Pipeline) -> Vec<NotFreed> {
        let due = std::mem::take(&mut self.deferred);
        let not_freed = |bp: BlockPointer| {
            let error = free_now(pipeline, &bp).err()?;
            Some(NotFreed { bookmark: Bookmark::default(), bp, error })
        };
        due.into_iter().filter_map(not_freed).collect()
    }

    /// What is deferred, in order.
    pub fn deferred(&self) -> &[BlockPointer] {
        &self.deferred
    }
}

fn free_now(pipeline: &Pipeline, bp: &BlockPointer) -> Result<(), Error> {
    pipeline.free_at_once(bp).unwrap_or_else(|| pipeline.free(bp).wait())
}
