//! Resilver: a leaf of a mirror gets what it has missed, and nothing else is read.
//!
//! A leaf that was away, or failed, has [missed](Pipeline::missing) the blocks of some transaction groups.
//! A resilver visits the blocks of a [`Source`] that were born in one of these, reads every copy, and
//! writes the bad ones anew: a [scrub] of a part. When *all* of that part is good on the leaf, and
//! durable there, it tells the pipeline so ([`Pipeline::resilvered`]).
//!
//! It is not told, and the groups stay missing, if
//!
//! * a block could not be had, or a copy of one is still bad,
//! * the leaf did not answer a read: what it holds there is not known,
//! * a flush failed, on this leaf or on all,
//! * the leaf missed anything while the resilver went on.
//!
//! From then on no checkpoint comes either; the last one is good for another try.
//!
//! Only groups that are closed when it begins are resilvered: of the open one there may be more blocks
//! than the source knows. Blocks that no source brings (those of a log that is being written) are not looked
//! at; a leaf may be called whole without them, and reads find them on the others.

use std::fmt;

use zio_pipeline::{BlockPointer, Error, Pipeline, Txg, TxgRanges, VdevId};

use crate::scrub::{self, Config, Control, Event, Scrub, Source, State, Stats};

/// How far a resilver has come: to be kept wherever it survives a crash, and given to
/// [`Resilver::resume`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint<P> {
    /// What the leaf had missed when it began.
    pub missing: TxgRanges,
    /// Up to where all of that is good on the leaf, durably.
    pub scrub: scrub::Checkpoint<P>,
}

/// How a resilver ended, or that it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// As the scrub beneath it: it goes on, waits, or was stopped. Never [`State::Done`].
    Unfinished(State),
    /// The leaf has all of it, durably, and the pipeline knows.
    Resilvered,
    /// All was visited, and something is not good: the groups stay missing.
    Incomplete(Trouble),
}

/// Why a leaf cannot be said to have everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Blocks could not be had, or copies are still bad.
    StillBad,
    /// The leaf did not answer a read.
    Unread,
    /// A flush failed on every leaf.
    FlushFailed,
    /// The leaf missed something meanwhile: a write, or what a flush was to make durable.
    MissedMore,
}

/// Who hears of checkpoints.
type Listener<'a, P> = Box<dyn FnMut(&Checkpoint<P>) + 'a>;

/// A resilver of one leaf. Run like a [`Scrub`]: [`run`](Self::run), or [`step`](Self::step).
///
/// ```
/// use pool::resilver::{Progress, Resilver};
/// use pool::scrub::{Block, Config};
/// use zio_pipeline::{Mirror, Pipeline, TxgRanges, VdevId};
///
/// # let dir = tempfile::tempdir()?;
/// # let (one, other) = (dir.path().join("one"), dir.path().join("other"));
/// let mirror = Mirror::new().create(&one, 64 << 20).create(&other, 64 << 20);
/// let pipeline = Pipeline::builder().mirror(mirror).build()?;
/// let block = pipeline.write(&[7; 8192]).wait()?;
/// pipeline.end_txg();
/// // The second leaf has been away, as its owner remembers.
/// pipeline.set_missing(VdevId(0), 1, &TxgRanges::from_iter([1..=1]))?;
///
/// let source = [block].into_iter().enumerate().map(|(n, bp)| Block::new(n, bp));
/// let mut resilver = Resilver::new(&pipeline, VdevId(0), 1, source, Config::default())?;
/// assert_eq!(resilver.run(), Progress::Resilvered);
/// # drop(resilver);
/// assert!(pipeline.missing(VdevId(0), 1)?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Resilver<'a, S: Source> {
    pipeline: &'a Pipeline,
    vdev: VdevId,
    leaf: usize,
    scrub: Scrub<'a, S>,
    listener: Option<Listener<'a, S::Position>>,
    checkpoint: Checkpoint<S::Position>,
    /// Of checkpoints that the scrub has passed, blocks and pointers without a visit included.
    passed: Stats,
    /// What was counted before it began.
    unread_before: u64,
    times_missed_before: u64,
    trouble: Option<Trouble>,
}

impl<'a, S: Source> Resilver<'a, S> {
    /// A resilver of what the leaf misses now. [`Config::only`] is set by it, and so is [`Config::repair`].
    ///
    /// # Errors
    /// [`DeviceGone`](zio_pipeline::ErrorKind::DeviceGone): no such device.
    pub fn new(
        pipeline: &'a Pipeline,
        vdev: VdevId,
        leaf: usize,
        source: S,
        config: Config,
    ) -> Result<Self, Error> {
        let txg_max = pipeline.txg();
        let mut missing = pipeline.missing(vdev, leaf)?;
        missing.remove(txg_max..=Txg::MAX);
        let scrub = scrub::Checkpoint { txg_max, position: None, stats: Stats::default() };
        Self::resume(pipeline, vdev, leaf, source, config, Checkpoint { missing, scrub })
    }

    /// Goes on with a resilver that ended early, also in another process whose pipeline
    /// [was told](Pipeline::set_missing) what is missing. The source begins behind the checkpoint's position.
    ///
    /// # Errors
    /// [`DeviceGone`](zio_pipeline::ErrorKind::DeviceGone): no such device.
    pub fn resume(
        pipeline: &'a Pipeline,
        vdev: VdevId,
        leaf: usize,
        source: S,
        mut config: Config,
        checkpoint: Checkpoint<S::Position>,
    ) -> Result<Self, Error> {
        config.repair = true;
        config.only = Some(checkpoint.missing.clone());
        // Counted before the first read: what happens from here on counts.
        let times_missed_before = pipeline.times_missed(vdev, leaf)?;
        let unread_before = pipeline.leaf_errors(vdev, leaf)?.read;
        Ok(Self {
            pipeline,
            vdev,
            leaf,
            scrub: Scrub::resume(pipeline, source, config, checkpoint.scrub.clone())
                .flush_every_batch(),
            listener: None,
            passed: checkpoint.scrub.stats,
            checkpoint,
            unread_before,
            times_missed_before,
            trouble: None,
        })
    }

    /// Calls `listener` for what the scrub meets, but for its checkpoints, which are not the resilver's.
    #[must_use]
    pub fn on_event(mut self, mut listener: impl FnMut(Event<'_, S::Position>) + 'a) -> Self {
        self.scrub = self.scrub.on_event(move |event| {
            if !matches!(event, Event::Checkpoint(_)) {
                listener(event);
            }
        });
        self
    }

    /// Calls `listener` for each checkpoint.
    #[must_use]
    pub fn on_checkpoint(mut self, listener: impl FnMut(&Checkpoint<S::Position>) + 'a) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// A hand on it, for other threads.
    pub fn control(&self) -> Control {
        self.scrub.control()
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.scrub.stats()
    }

    /// How far it has come.
    pub fn checkpoint(&self) -> &Checkpoint<S::Position> {
        &self.checkpoint
    }

    /// A block is freed; see [`Scrub::forget`].
    #[must_use = "a block that is being read must not be freed"]
    pub fn forget(&mut self, bp: &BlockPointer) -> bool {
        self.scrub.forget(bp)
    }

    /// Runs until there is nothing to do, driving the devices on this thread.
    pub fn run(&mut self) -> Progress {
        loop {
            match self.step() {
                Progress::Unfinished(State::Working) if self.scrub.wait() => {}
                over => return over,
            }
        }
    }

    /// Starts what there is room for, and returns. It drives no device and never waits.
    pub fn step(&mut self) -> Progress {
        let state = self.scrub.step();
        self.pass();
        match state {
            State::Done => self.end(),
            other => Progress::Unfinished(other),
        }
    }

    /// What is wrong so far. The order of the looks does not matter: nothing that went wrong is
    /// ever right again.
    fn trouble(&mut self, stats: &Stats) -> Option<Trouble> {
        let unread = self.pipeline.leaf_errors(self.vdev, self.leaf).map(|errors| errors.read);
        let times_missed = self.pipeline.times_missed(self.vdev, self.leaf);
        let now = if stats.unrecoverable > 0 || stats.repaired < stats.bad_copies {
            Some(Trouble::StillBad)
        } else if stats.failed_flushes > 0 {
            Some(Trouble::FlushFailed)
        } else if unread.ok() != Some(self.unread_before) {
            Some(Trouble::Unread)
        } else if times_missed.ok() != Some(self.times_missed_before) {
            Some(Trouble::MissedMore)
        } else {
            None
        };
        self.trouble = self.trouble.or(now);
        self.trouble
    }

    /// The scrub's checkpoint is ours as long as nothing is wrong up to there.
    fn pass(&mut self) {
        let scrub = self.scrub.checkpoint();
        if scrub.position.is_none() || scrub.stats == self.passed {
            return;
        }
        let scrub = scrub.clone();
        self.passed = scrub.stats;
        if self.trouble(&scrub.stats).is_some() {
            return;
        }
        self.checkpoint.scrub = scrub;
        if let Some(listener) = &mut self.listener {
            listener(&self.checkpoint);
        }
    }

    /// All was visited.
    fn end(&mut self) -> Progress {
        let stats = self.scrub.stats();
        if let Some(trouble) = self.trouble(&stats) {
            return Progress::Incomplete(trouble);
        }
        match self.pipeline.resilvered(self.vdev, self.leaf, &self.checkpoint.missing) {
            Ok(()) => Progress::Resilvered,
            Err(_) => Progress::Incomplete(Trouble::Unread),
        }
    }
}

impl<S: Source> fmt::Debug for Resilver<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilver")
            .field("vdev", &self.vdev)
            .field("leaf", &self.leaf)
            .field("missing", &self.checkpoint.missing)
            .field("trouble", &self.trouble)
            .field("scrub", &self.scrub)
            .finish()
    }
}
