//! The scrub itself.

use std::collections::VecDeque;
use std::fmt;

use slab::Slab;
use zio_core::Finished;
use zio_pipeline::{BlockPointer, Completions, Error, Pipeline, Priority, Txg};

use super::batch::{Batch, BlockKey, Waiting};
use super::budget::Budget;
use super::control::Wish;
use super::met::Met;
use super::{Block, Checkpoint, Config, Control, Event, Found, Source, Stats};

/// Pointers taken from the source at a time, so that a step stays short.
const COLLECT_COUNT: usize = 256;

/// What a scrub is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Something is under way, or there is more to start.
    Working,
    /// Nothing is under way, and the source has nothing at the moment.
    Starved,
    /// Nothing is under way, because it was paused.
    Paused,
    /// It was cancelled, and nothing is under way any more.
    Cancelled,
    /// All blocks were visited.
    Done,
}

/// What an answer is about.
enum Flight {
    /// A block of the batch with this number, read for the first time.
    Read { batch: u64, block: Waiting },
    /// Read again after a repair; so many copies were bad before.
    ReadAgain { batch: u64, block: Waiting, bad: u32 },
    /// The flush after the repairs of the oldest batch.
    Flush,
}

/// Who hears of events.
type Listener<'a, P> = Box<dyn FnMut(Event<'_, P>) + 'a>;

/// A scrub of the blocks of a source.
///
/// Two ways to run it: [`run`](Self::run) drives the devices on this thread until there is
/// nothing left to do; [`step`](Self::step) does what can be done now and never waits.
/// Dropped, it leaves what is under way to itself.
///
/// ```
/// use pool::scrub::{Block, Config, Scrub, State};
/// use zio_pipeline::Pipeline;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("disk");
/// let pipeline = Pipeline::builder().create(&path, 64 << 20).build()?;
/// let blocks: Vec<_> =
///     (0..100).map(|n| pipeline.write(&[n; 4096]).copies(2).wait()).collect::<Result<_, _>>()?;
///
/// let source = blocks.iter().enumerate().map(|(n, bp)| Block::new(n, *bp));
/// let mut scrub = Scrub::new(&pipeline, source, Config::default());
/// assert_eq!(scrub.run(), State::Done);
/// assert_eq!((scrub.stats().blocks, scrub.stats().bad_copies), (100, 0));
/// assert_eq!(scrub.checkpoint().position, Some(99));
/// # drop(scrub);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scrub<'a, S: Source> {
    pipeline: &'a Pipeline,
    source: S,
    source_ended: bool,
    config: Config,
    control: Control,
    listener: Option<Listener<'a, S::Position>>,

    collecting: Batch<S::Position>,
    /// Closed ones, oldest first. Only the last one may have blocks that wait.
    batches: VecDeque<Batch<S::Position>>,
    /// Number of the first of them.
    oldest: u64,
    budget: Budget,
    met: Met,
    /// Memory for the blocks that are started together.
    round: Vec<Waiting>,

    answers: Completions,
    flights: Slab<Flight>,
    flushing: bool,
    flush_every_batch: bool,

    /// Of all that is behind us.
    passed: Stats,
    checkpoint: Checkpoint<S::Position>,
    /// A flush has failed: nothing that comes is behind a checkpoint any more.
    checkpoint_stays: bool,
}

impl<'a, S: Source> Scrub<'a, S> {
    /// A scrub of all blocks of the source that were born up to now.
    pub fn new(pipeline: &'a Pipeline, source: S, config: Config) -> Self {
        let txg_max = pipeline.txg();
        let checkpoint = Checkpoint { txg_max, position: None, stats: Stats::default() };
        Self::resume(pipeline, source, config, checkpoint)
    }

    /// Goes on with a scrub that ended early, also in another process. The source begins behind
    /// the checkpoint's position.
    pub fn resume(
        pipeline: &'a Pipeline,
        source: S,
        config: Config,
        checkpoint: Checkpoint<S::Position>,
    ) -> Self {
        Self {
            pipeline,
            source,
            source_ended: false,
            control: Control::default(),
            listener: None,
            collecting: Batch::new(),
            batches: VecDeque::new(),
            oldest: 0,
            budget: Budget::new(&config),
            met: Met::new(config.shared_bytes_max),
            config,
            round: Vec::new(),
            answers: pipeline.completions(),
            flights: Slab::new(),
            flushing: false,
            flush_every_batch: false,
            passed: checkpoint.stats,
            checkpoint,
            checkpoint_stays: false,
        }
    }

    /// Flushes after each batch, repaired or not: what is found good may have been repaired by somebody
    /// else, who has not flushed it.
    pub(crate) fn flush_every_batch(mut self) -> Self {
        self.flush_every_batch = true;
        self
    }

    /// Calls `listener` for everything worth telling, on the thread that runs the scrub. A block
    /// is reported before the checkpoint that it stands before.
    #[must_use]
    pub fn on_event(mut self, listener: impl FnMut(Event<'_, S::Position>) + 'a) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// A hand on it, for other threads.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What was done so far; what is under way is not in it.
    pub fn stats(&self) -> Stats {
        let mut stats = self.passed;
        for batch in self.batches.iter().chain([&self.collecting]) {
            stats += batch.stats;
        }
        stats
    }

    /// How far it has come.
    pub fn checkpoint(&self) -> &Checkpoint<S::Position> {
        &self.checkpoint
    }

    /// Runs until there is nothing to do, driving the devices on this thread. It never
    /// returns [`State::Working`], but in a callback, where waiting would wait for itself.
    pub fn run(&mut self) -> State {
        loop {
            // Waiting hands over what was started, in the same system call.
            match self.go_on() {
                State::Working if self.wait() => {}
                over => return over,
            }
        }
    }

    /// Waits for an answer if anything is under way, driving the devices meanwhile. `false` in a
    /// callback, where that cannot be.
    pub fn wait(&mut self) -> bool {
        if let Some((tag, finished)) = self.answers.next() {
            self.answered(tag, finished);
            return true;
        }
        self.flights.is_empty()
    }

    /// Takes the answers that are there, starts what there is room for, and returns. It
    /// drives no device: somebody who waits for something does, or [`wait`](Self::wait).
    pub fn step(&mut self) -> State {
        let state = self.go_on();
        self.answers.submit();
        state
    }

    fn go_on(&mut self) -> State {
        while let Some((tag, finished)) = self.answers.try_next() {
            self.answered(tag, finished);
        }
        let wish = self.control.wish();
        let mut starved = false;
        match wish {
            Wish::Run => {
                starved = self.collect();
                self.issue();
            }
            Wish::Pause => {}
            Wish::Cancel => self.give_up(),
        }
        self.settle();
        match wish {
            Wish::Run => self.state(starved),
            _ if !self.flights.is_empty() => State::Working,
            Wish::Cancel => State::Cancelled,
            Wish::Pause if self.is_done() => State::Done,
            Wish::Pause => State::Paused,
        }
    }

    fn state(&self, starved: bool) -> State {
        if self.is_done() {
            State::Done
        } else if starved && self.flights.is_empty() {
            State::Starved
        } else {
            State::Working
        }
    }

    fn is_done(&self) -> bool {
        self.source_ended
            && self.collecting.is_empty()
            && self.batches.is_empty()
            && self.flights.is_empty()
    }

    /// A block is freed: the scrub will not read it, which could
    /// [repair it over whoever gets the space](Pipeline::free). To be called before the free;
    /// `false` says that the block is being read just now: ask again when the scrub has gone on.
    /// The source does not bring it any more either.
    ///
    /// Of a block that is shared, only when its last pointer goes.
    #[must_use = "a block that is being read must not be freed"]
    pub fn forget(&mut self, bp: &BlockPointer) -> bool {
        for batch in self.batches.iter_mut().chain([&mut self.collecting]) {
            batch.stats.forgotten += u64::from(batch.remove(bp));
        }
        self.met.forget(bp);
        let key = BlockKey::of(bp);
        !self.flights.iter().any(|(_, flight)| match flight {
            Flight::Read { block, .. } | Flight::ReadAgain { block, .. } => {
                BlockKey::of(&block.bp) == key
            }
            Flight::Flush => false,
        })
    }

    // -- From the source into batches. --

    fn has_room_to_collect(&self) -> bool {
        !self.source_ended && self.collecting.has_room(self.config.collect_bytes_max / 2)
    }

    /// Does a batch still have blocks that wait?
    fn has_waiting(&self) -> bool {
        self.batches.back().is_some_and(Batch::has_waiting)
    }

    /// Takes some pointers from the source, and closes the batch when it is full. Says whether
    /// the source has nothing at the moment.
    fn collect(&mut self) -> bool {
        let mut starved = false;
        for _ in 0..COLLECT_COUNT {
            if !self.has_room_to_collect() {
                break;
            }
            match self.source.next_block() {
                Found::Block(block) => self.take_in(block),
                Found::NotYet => {
                    starved = true;
                    break;
                }
                Found::End => self.source_ended = true,
            }
        }
        // What is collected does not wait for a source that takes its time.
        let is_full = !self.has_room_to_collect() || starved;
        if is_full && !self.collecting.is_empty() && !self.has_waiting() {
            let mut full = std::mem::replace(&mut self.collecting, Batch::new());
            full.to_be_flushed = self.flush_every_batch;
            self.batches.push_back(full);
            return false;
        }
        starved && !self.has_waiting()
    }

    fn take_in(&mut self, Block { position, bookmark, bp }: Block<S::Position>) {
        self.collecting.reach(position);
        let born = bp.physical_birth();
        let asked_for = |txg: Txg| self.config.only.as_ref().is_none_or(|only| only.contains(txg));
        let has_block = !bp.is_hole() && !bp.is_embedded();
        let in_time = born <= self.checkpoint.txg_max;
        let visit = has_block && in_time && asked_for(born);
        if visit
            && !(bp.is_dedup() && self.met.again(&bp))
            && self.collecting.add(Waiting { bookmark, bp })
        {
            return;
        }
        let stats = &mut self.collecting.stats;
        let skipped = match (has_block, in_time, visit) {
            (false, ..) => &mut stats.without_block,
            (_, false, _) => &mut stats.born_later,
            (_, _, false) => &mut stats.not_asked_for,
            _ => &mut stats.met_before,
        };
        *skipped += 1;
    }

    /// Nothing that waits will be read.
    fn give_up(&mut self) {
        self.source_ended = true;
        self.collecting = Batch::new();
        self.batches.iter_mut().for_each(Batch::give_up);
    }

    // -- To the devices and back. --

    /// Starts as many blocks as there is room for.
    fn issue(&mut self) {
        let mut round = std::mem::take(&mut self.round);
        while let Some(batch) = self.batches.back_mut() {
            let (budget, pipeline) = (&mut self.budget, self.pipeline);
            batch.take_round(&mut round, |block| budget.take(pipeline, &block.bp));
            if round.is_empty() {
                break;
            }
            batch.under_way += round.len();
            let number = self.oldest + self.batches.len() as u64 - 1;
            for block in round.drain(..) {
                self.read(Flight::Read { batch: number, block }, &block, self.config.repair);
            }
        }
        self.round = round;
    }

    fn read(&mut self, flight: Flight, block: &Waiting, repair: bool) {
        let tag = self.flights.insert(flight);
        let read = self.pipeline.read(&block.bp).every_copy().raw().repair(repair);
        let read = read.priority(Priority::Scrub).bookmark(block.bookmark);
        if let Err(error) = read.send_to(&self.answers, tag as u64) {
            self.landed(tag, Err(error));
        }
    }

    fn answered(&mut self, tag: u64, finished: Finished) {
        let result = finished.result().map(|()| finished.get().bad_copies());
        self.landed(tag as usize, result);
    }

    /// A flight is over; of a block that was read, so many copies were bad.
    fn landed(&mut self, tag: usize, result: Result<u32, Error>) {
        match (self.flights.remove(tag), result) {
            (Flight::Flush, result) => self.flushed(result.map(drop)),
            (Flight::Read { batch, block }, Ok(bad)) if bad > 0 && self.config.repair => {
                if let Some(batch) = self.batch_mut(batch) {
                    batch.to_be_flushed = true;
                }
                self.read(Flight::ReadAgain { batch, block, bad }, &block, false);
            }
            (Flight::Read { batch, block }, result) => {
                let bad = result.as_ref().map_or(0, |bad| *bad);
                self.visited(batch, &block, bad, result);
            }
            (Flight::ReadAgain { batch, block, bad }, result) => {
                self.visited(batch, &block, bad, result);
            }
        }
    }

    /// A block has had its turn: `bad` copies were found, and so many are bad still.
    fn visited(&mut self, batch: u64, block: &Waiting, bad: u32, still_bad: Result<u32, Error>) {
        let Waiting { bookmark, bp } = block;
        self.budget.give_back(bp);
        let mut stats = Stats::default();
        match still_bad {
            Ok(still_bad) => {
                let repaired = bad.saturating_sub(still_bad);
                stats.blocks = 1;
                stats.bytes = bp.psize_bytes() * bp.copies() as u64;
                stats.bad_copies = u64::from(bad);
                stats.repaired = u64::from(repaired);
                if bad > 0 {
                    self.tell(Event::BadCopies { bookmark: *bookmark, bp, bad, repaired });
                }
            }
            Err(error) => {
                stats.unrecoverable = 1;
                self.tell(Event::Unrecoverable { bookmark: *bookmark, bp, error: &error });
            }
        }
        if let Some(batch) = self.batch_mut(batch) {
            batch.under_way -= 1;
            batch.stats += stats;
        }
    }

    fn batch_mut(&mut self, number: u64) -> Option<&mut Batch<S::Position>> {
        self.batches.get_mut(usize::try_from(number.checked_sub(self.oldest)?).ok()?)
    }

    fn tell(&mut self, event: Event<'_, S::Position>) {
        if let Some(listener) = &mut self.listener {
            listener(event);
        }
    }

    // -- The checkpoint. --

    /// Batches that are over, from the oldest, move the checkpoint, those to be flushed after that.
    fn settle(&mut self) {
        while let Some(oldest) = self.batches.front() {
            if oldest.has_waiting() || oldest.under_way > 0 || self.flushing {
                return;
            }
            if oldest.to_be_flushed {
                self.flushing = true;
                let tag = self.flights.insert(Flight::Flush);
                if let Err(error) = self.pipeline.flush().send_to(&self.answers, tag as u64) {
                    self.landed(tag, Err(error));
                }
                return;
            }
            let Some(oldest) = self.batches.pop_front() else { return };
            self.oldest += 1;
            self.passed += oldest.stats;
            if let Some(end) = oldest.into_end() {
                self.pass(end);
            }
        }
    }

    fn flushed(&mut self, result: Result<(), Error>) {
        self.flushing = false;
        if let Some(oldest) = self.batches.front_mut() {
            oldest.to_be_flushed = false;
        }
        if let Err(error) = result {
            self.passed.failed_flushes += 1;
            self.checkpoint_stays = true;
            self.tell(Event::FlushFailed(&error));
        }
    }

    /// All up to `end` is verified.
    fn pass(&mut self, end: S::Position) {
        if self.checkpoint_stays {
            return;
        }
        self.checkpoint.position = Some(end);
        self.checkpoint.stats = self.passed;
        let checkpoint = self.checkpoint.clone();
        self.tell(Event::Checkpoint(&checkpoint));
    }
}

impl<S: Source> fmt::Debug for Scrub<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrub")
            .field("stats", &self.stats())
            .field("under_way", &self.flights.len())
            .field("batches", &self.batches.len())
            .finish_non_exhaustive()
    }
}
