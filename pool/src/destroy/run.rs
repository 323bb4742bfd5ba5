//! The destroy itself.

use std::fmt;

use slab::Slab;
use zio_pipeline::{BlockPointer, Bookmark, Completions, Error, ErrorKind, Pipeline, Txg};

use super::{Checkpoint, Config, Event, NotFreed, Stats};
use crate::scrub::control::Wish;
use crate::scrub::{Block, Control, Found, Source};

/// Pointers taken between two looks at the time. A free takes a microsecond or less.
const PORTION_COUNT: usize = 256;

/// What a destroy is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is more to free in this transaction group, or frees are under way.
    Working,
    /// This transaction group has had its part: the rest waits for the next one.
    Spent,
    /// The source has nothing at the moment.
    Starved,
    /// It was paused.
    Paused,
    /// It was cancelled.
    Cancelled,
    /// All blocks were freed, or told.
    Done,
}

/// The space of a pool that hands out freed space at once would be written over while an older state, that
/// leads to it, is what a crash goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "freed space is not kept back: a pool to destroy blocks in defers frees by a transaction group or more"
)]
pub struct NotDeferred;

/// What one transaction group may still do.
#[derive(Clone, Copy, Debug, Default)]
struct Allowance {
    txg: Txg,
    pointers: u64,
    bytes_max: u64,
    bytes: u64,
    until_ns: u64,
}

impl Allowance {
    /// Lets so many more bytes through; a block above the limit when it is the first.
    fn take_bytes(&mut self, bytes: u64) -> bool {
        let fits = self.bytes == 0 || self.bytes.saturating_add(bytes) <= self.bytes_max;
        if fits {
            self.bytes = self.bytes.saturating_add(bytes);
        }
        fits
    }
}

type Listener<'a, P> = Box<dyn FnMut(Event<'_, P>) + 'a>;

/// Frees all blocks of a source, a bounded part in each transaction group.
///
/// ```
/// use pool::destroy::{Block, Config, Destroy, State};
/// use zio_pipeline::Pipeline;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("disk");
/// let pipeline = Pipeline::builder().create(&path, 64 << 20).defer_frees(2).build()?;
/// let blocks: Vec<_> =
///     (0..100).map(|n| pipeline.write(&[n; 4096]).wait()).collect::<Result<_, _>>()?;
///
/// let mut config = Config::default();
/// config.txg_pointers_max = 40;
/// let source = blocks.iter().enumerate().map(|(n, bp)| Block::new(n, *bp));
/// let mut destroy = Destroy::new(&pipeline, source, config)?;
/// let start = std::time::Instant::now();
/// let now_ns = || start.elapsed().as_nanos() as u64;
/// loop {
///     destroy.begin_txg(now_ns());
///     let state = destroy.run(now_ns);
///     let checkpoint = destroy.end_txg()?;
///     // Here the checkpoint is stored together with the rest of the transaction group.
///     pipeline.flush().wait()?;
///     pipeline.end_txg();
///     if state == State::Done {
///         assert_eq!((checkpoint.stats.blocks, checkpoint.stats.txgs), (100, 3));
///         break;
///     }
///     assert_eq!(state, State::Spent);
/// }
/// (0..2).for_each(|_| _ = pipeline.end_txg());
/// assert_eq!(pipeline.allocated_bytes(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Destroy<'a, S: Source> {
    pipeline: &'a Pipeline,
    source: S,
    source_ended: bool,
    /// Was taken from the source, and did not fit into this transaction group.
    held: Option<Block<S::Position>>,
    config: Config,
    control: Control,
    listener: Option<Listener<'a, S::Position>>,

    allowance: Allowance,
    answers: Completions,
    flights: Slab<(Bookmark, BlockPointer)>,

    position: Option<S::Position>,
    stats: Stats,
    not_freed: Vec<NotFreed>,
}

impl<'a, S: Source> Destroy<'a, S> {
    /// A destroy of all blocks of the source. Nothing happens before the first [`begin_txg`](Self::begin_txg).
    ///
    /// # Errors
    /// [`NotDeferred`]. An [allocator of the caller's](zio_pipeline::Builder::allocator) is believed to defer.
    pub fn new(pipeline: &'a Pipeline, source: S, config: Config) -> Result<Self, NotDeferred> {
        let checkpoint = Checkpoint { position: None, done: false, stats: Stats::default() };
        Self::resume(pipeline, source, config, checkpoint)
    }

    /// Goes on with one that ended early, also in another process. The source begins behind the checkpoint's
    /// position.
    ///
    /// # Errors
    /// [`NotDeferred`].
    pub fn resume(
        pipeline: &'a Pipeline,
        source: S,
        config: Config,
        checkpoint: Checkpoint<S::Position>,
    ) -> Result<Self, NotDeferred> {
        if pipeline.frees_deferred_txgs() == Some(0) {
            return Err(NotDeferred);
        }
        Ok(Self {
            pipeline,
            source,
            source_ended: checkpoint.done,
            held: None,
            config,
            control: Control::default(),
            listener: None,
            allowance: Allowance::default(),
            answers: pipeline.completions(),
            flights: Slab::new(),
            position: checkpoint.position,
            stats: checkpoint.stats,
            not_freed: Vec::new(),
        })
    }

    /// Calls `listener` for everything worth telling, on the thread that runs it.
    #[must_use]
    pub fn on_event(mut self, listener: impl FnMut(Event<'_, S::Position>) + 'a) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// A hand on it, for other threads. One that is cancelled stays where it is: what it has not freed is
    /// allocated, and reachable from its checkpoint on.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What was done so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The blocks that could not be freed since this was asked last: the source of another destroy, once what
    /// was in the way is gone.
    pub fn take_not_freed(&mut self) -> Vec<NotFreed> {
        std::mem::take(&mut self.not_freed)
    }

    // -- Transaction groups. --

    /// The pipeline's current transaction group may free its part from now on. `now_ns` is of any clock, the same as
    /// in [`step`](Self::step).
    pub fn begin_txg(&mut self, now_ns: u64) {
        self.allowance = Allowance {
            txg: self.pipeline.txg(),
            pointers: self.config.txg_pointers_max,
            bytes_max: self.config.txg_bytes_max,
            bytes: 0,
            until_ns: now_ns.saturating_add(self.config.txg_ns_max),
        };
        self.stats.txgs += 1;
    }

    /// Nothing more in this transaction group. What this returns is to be stored as part of it, of this one and
    /// no other; the pipeline's [`end_txg`](Pipeline::end_txg) comes after that is durable.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while frees are under way: [`run`](Self::run) waits for them.
    pub fn end_txg(&mut self) -> Result<Checkpoint<S::Position>, Error> {
        self.take_answers();
        if !self.flights.is_empty() {
            let words =
                format!("{} frees of this transaction group are under way", self.flights.len());
            return Err(Error::msg(ErrorKind::Busy, words));
        }
        self.allowance = Allowance::default();
        let checkpoint =
            Checkpoint { position: self.position.clone(), done: self.is_done(), stats: self.stats };
        self.tell(Event::Checkpoint(&checkpoint));
        Ok(checkpoint)
    }

    // -- Running. --

    /// Runs until there is nothing to do in this transaction group, driving the devices on this thread. It never
    /// returns [`State::Working`], but in a callback, where waiting would wait for itself.
    pub fn run(&mut self, mut now_ns: impl FnMut() -> u64) -> State {
        loop {
            self.take_answers();
            let state = self.go_on(now_ns());
            if self.flights.is_empty() && state != State::Working {
                return state;
            }
            // Nothing more can be started before something comes back.
            if (self.is_full() || state != State::Working) && !self.wait() {
                return State::Working;
            }
        }
    }

    /// Frees one portion, and returns. It drives no device: somebody who waits for something does, or
    /// [`wait`](Self::wait).
    pub fn step(&mut self, now_ns: u64) -> State {
        self.take_answers();
        let state = self.go_on(now_ns);
        self.answers.submit();
        if self.flights.is_empty() { state } else { State::Working }
    }

    /// Waits for a free if any is under way, driving the devices meanwhile. `false` in a callback, where that
    /// cannot be.
    pub fn wait(&mut self) -> bool {
        if let Some((tag, finished)) = self.answers.next() {
            self.landed(tag, finished.result());
            return true;
        }
        self.flights.is_empty()
    }

    fn is_done(&self) -> bool {
        self.source_ended && self.held.is_none() && self.flights.is_empty()
    }

    fn is_full(&self) -> bool {
        self.flights.len() >= self.config.in_flight_max.max(1)
    }

    /// One portion; what is under way does not count.
    fn go_on(&mut self, now_ns: u64) -> State {
        match self.control.wish() {
            Wish::Cancel => return State::Cancelled,
            Wish::Pause if !self.is_done() => return State::Paused,
            _ => {}
        }
        if now_ns >= self.allowance.until_ns {
            self.allowance.pointers = 0;
        }
        for _ in 0..PORTION_COUNT {
            if self.source_ended && self.held.is_none() {
                return State::Done;
            }
            // Another transaction group is not the one that the checkpoint will be stored with.
            if self.allowance.pointers == 0 || self.allowance.txg != self.pipeline.txg() {
                return State::Spent;
            }
            if self.is_full() {
                break;
            }
            let found = self.held.take().map_or_else(|| self.source.next_block(), Found::Block);
            match found {
                Found::Block(block) => {
                    if !self.allowance.take_bytes(block.bp.asize_bytes()) {
                        self.held = Some(block);
                        return State::Spent;
                    }
                    self.free(block);
                }
                Found::NotYet => return State::Starved,
                Found::End => self.source_ended = true,
            }
        }
        State::Working
    }

    fn free(&mut self, Block { position, bookmark, bp }: Block<S::Position>) {
        self.allowance.pointers -= 1;
        self.stats.pointers += 1;
        self.position = Some(position);
        if bp.is_hole() || bp.is_embedded() {
            self.stats.without_block += 1;
            return;
        }
        if let Some(freed) = self.pipeline.free_at_once(&bp) {
            return self.freed(bookmark, bp, freed);
        }
        self.stats.by_request += 1;
        let tag = self.flights.insert((bookmark, bp));
        let free = self.pipeline.free(&bp).bookmark(bookmark);
        if let Err(error) = free.send_to(&self.answers, tag as u64) {
            self.landed(tag as u64, Err(error));
        }
    }

    fn take_answers(&mut self) {
        while let Some((tag, finished)) = self.answers.try_next() {
            self.landed(tag, finished.result());
        }
    }

    fn landed(&mut self, tag: u64, freed: Result<(), Error>) {
        let (bookmark, bp) = self.flights.remove(tag as usize);
        self.freed(bookmark, bp, freed);
    }

    fn freed(&mut self, bookmark: Bookmark, bp: BlockPointer, freed: Result<(), Error>) {
        let bytes = bp.asize_bytes();
        let Err(error) = freed else {
            self.stats.blocks += 1;
            self.stats.bytes += bytes;
            return;
        };
        self.stats.not_freed += 1;
        self.stats.not_freed_bytes += bytes;
        let not_freed = NotFreed { bookmark, bp, error };
        self.tell(Event::NotFreed(&not_freed));
        if self.not_freed.len() < self.config.not_freed_max {
            self.not_freed.push(not_freed);
        }
    }

    fn tell(&mut self, event: Event<'_, S::Position>) {
        if let Some(listener) = &mut self.listener {
            listener(event);
        }
    }
}

impl<S: Source> fmt::Debug for Destroy<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Destroy")
            .field("stats", &self.stats)
            .field("under_way", &self.flights.len())
            .field("allowance", &self.allowance)
            .finish_non_exhaustive()
    }
}
