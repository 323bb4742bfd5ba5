//! Writing the log.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use zio_core::Txg;
use zio_pipeline::{BlockPointer, Error, ErrorKind, LogSeed, Pipeline};

use super::commit::{Commit, NotDurable, Promise};
use super::record::{Record, fill_block, frame_bytes, room_bytes};
use super::sizes::Sizes;

/// Which log, and how large things may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Names the chain: random, so that no other log of the pool, past or future, has the same. A
    /// block of another one that still stands in a place must not pass for one of ours.
    pub chain: [u64; 2],
    /// The set of objects that the log is for.
    pub objset: u64,
    /// Bytes of a block at most, rounded down to a multiple of 4 KiB. No record is longer.
    pub block_bytes_max: usize,
    /// Bytes of records that wait for a commit at most.
    pub waiting_bytes_max: usize,
}

impl Config {
    /// The usual limits: blocks of 128 KiB, 64 MiB of records that wait.
    pub fn new(chain: [u64; 2], objset: u64) -> Self {
        Self { chain, objset, block_bytes_max: 128 << 10, waiting_bytes_max: 64 << 20 }
    }
}

/// A record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// It does not fit into any block.
    #[error("a record of {payload_bytes} bytes; a block has room for {max_bytes}")]
    TooLong {
        /// Its length.
        payload_bytes: usize,
        /// The longest there is.
        max_bytes: usize,
    },
    /// Too much waits for a commit.
    #[error("{waiting_bytes} bytes of records wait for a commit already")]
    Full {
        /// So much.
        waiting_bytes: usize,
    },
}

/// A log being written. See the [module](crate::log) for its life with transaction groups.
///
/// Any number of threads may append and commit; what is appended before a commit is part
/// of it. Dropped, what is under way goes on, and the chain stays where it is: it is the log.
///
/// ```
/// use std::sync::Arc;
/// use pool::log::{Claimed, Config, Log};
/// use zio_pipeline::{BlockPointer, Pipeline};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("disk");
/// let pipeline = Arc::new(Pipeline::builder().create(&path, 64 << 20).build()?);
/// let log = Log::new(Arc::clone(&pipeline), Config::new([0x5eed, 0xfeed], 1));
/// let head = log.head_at(1);             // stored as part of txg 1 …
/// let stored = head.to_bytes();
/// log.synced(1)?;                        // … which is durable
///
/// log.append(2, b"so long, and thanks")?;
/// log.commit()?;                         // durable, though txg 2 is not
/// # drop(log);
/// # drop(pipeline);
///
/// let pipeline = Pipeline::builder().file(&path).build()?;
/// let head = pipeline.check(&BlockPointer::from_bytes(&stored))?;
/// let log = Claimed::claim(&pipeline, &head, 1)?;
/// let records: Vec<_> = log.replay(&pipeline).collect::<Result<_, _>>()?;
/// assert_eq!(records[0].payload, b"so long, and thanks");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    pipeline: Arc<Pipeline>,
    config: Config,
    state: Mutex<State>,
}

/// A block of the chain that was written, or is being written.
struct LogBlock {
    bp: BlockPointer,
    /// Highest transaction group of its records; 0: it has none.
    txg_max: Txg,
}

/// Why nothing is committed at the moment, and until when.
struct Stall {
    /// Highest transaction group of the records that are lost.
    lost_txg: Txg,
    /// From this transaction group on there is nothing left that the log would have to hold.
    until: Txg,
    /// The chain is broken, or there is none: a new one begins then.
    new_chain: bool,
    why: Error,
}

/// A head that was given out to be stored.
#[derive(Clone, Copy)]
struct Stored {
    txg: Txg,
    head: BlockPointer,
}

struct State {
    sizes: Sizes,
    waiting: VecDeque<Record>,
    waiting_bytes: usize,
    /// Of the last record.
    record_sequence: u64,
    /// Of the last block that was placed.
    block_sequence: u64,
    /// Oldest first.
    chain: VecDeque<LogBlock>,
    /// Placed, and not written: where the chain goes on.
    tail: Option<BlockPointer>,
    /// The beginning of a new chain, until it is stored.
    fresh: Option<BlockPointer>,
    /// How many blocks at the end of the chain are being written; 0: no round is under way.
    under_way: usize,
    /// Highest transaction group of their records.
    under_way_txg: Txg,
    promises: Vec<Promise>,
    stall: Option<Stall>,
    stored: Option<Stored>,
}

/// A block to be written.
struct Planned {
    bp: BlockPointer,
    next: BlockPointer,
    records: Vec<Record>,
}

/// What is to be done next, outside the lock.
enum Work {
    Nothing,
    Keep(Vec<Promise>, Result<(), NotDurable>),
    Write(Vec<Planned>, Vec<Promise>),
    /// Records were lost before anything was written; these places go back.
    Lost(Vec<BlockPointer>),
}

impl Log {
    /// A log without a chain: its first [head](Self::head_at) begins one.
    pub fn new(pipeline: Arc<Pipeline>, config: Config) -> Self {
        let state = State {
            sizes: Sizes::new(config.block_bytes_max),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            record_sequence: 0,
            block_sequence: 0,
            chain: VecDeque::new(),
            tail: None,
            fresh: None,
            under_way: 0,
            under_way_txg: 0,
            promises: Vec::new(),
            stall: Some(Stall {
                lost_txg: 0,
                until: 0,
                new_chain: true,
                why: Error::msg(ErrorKind::Again, "the head of the log has not been stored yet"),
            }),
            stored: None,
        };
        Self { inner: Arc::new(Inner { pipeline, config, state: Mutex::new(state) }) }
    }

    /// Adds a record, in memory; returns its number. It becomes durable with the next
    /// [commit](Self::commit), or with transaction group `txg`, whichever is first.
    ///
    /// # Errors
    /// [`AppendError`]; the record is not part of the log then.
    pub fn append(&self, txg: Txg, payload: &[u8]) -> Result<u64, AppendError> {
        let mut state = self.inner.state.lock();
        let bytes = frame_bytes(payload.len());
        let max_bytes = room_bytes(state.sizes.block_bytes_max()) - frame_bytes(0);
        if payload.len() > max_bytes {
            return Err(AppendError::TooLong { payload_bytes: payload.len(), max_bytes });
        }
        if state.waiting_bytes.saturating_add(bytes) > self.inner.config.waiting_bytes_max {
            return Err(AppendError::Full { waiting_bytes: state.waiting_bytes });
        }
        state.record_sequence += 1;
        state.waiting_bytes += bytes;
        let sequence = state.record_sequence;
        state.waiting.push_back(Record { txg, sequence, payload: payload.to_vec() });
        Ok(sequence)
    }

    /// Makes everything durable that was appended before, and waits for it on this thread, which drives
    /// the devices meanwhile.
    ///
    /// # Errors
    /// [`NotDurable`]: what to do instead.
    pub fn commit(&self) -> Result<(), NotDurable> {
        self.start_commit().wait()
    }

    /// The same, without waiting. Those who come while a round is under way share the next one.
    pub fn start_commit(&self) -> Commit {
        let commit_txg = self.inner.state.lock().not_durable_txg();
        let (promise, commit) = Promise::new(&self.inner.pipeline, commit_txg);
        self.inner.state.lock().promises.push(promise);
        self.inner.go_on();
        commit
    }

    /// The head to be stored as part of transaction group `txg`: the first block with records of later
    /// ones. To be called when no more records of `txg` or before it come;
    /// [`BlockPointer::EMPTY`] when there is no log, because not even one block could be placed.
    pub fn head_at(&self, txg: Txg) -> BlockPointer {
        let inner = &self.inner;
        let mut state = inner.state.lock();
        let begins = |stall: &Stall| stall.new_chain && txg >= stall.until;
        let head = if state.stall.as_ref().is_some_and(begins) && state.under_way == 0 {
            match state.fresh.map_or_else(|| inner.place(&mut state, 0, 0), Ok) {
                Ok(fresh) => *state.fresh.insert(fresh),
                Err(_) => BlockPointer::EMPTY,
            }
        } else {
            state.head_behind(txg)
        };
        state.stored = Some(Stored { txg, head });
        head
    }

    /// Transaction group `txg` is durable, with the head that [`head_at`](Self::head_at) gave for it:
    /// the blocks before that head go back, and a log that had failed may go on. Not to be
    /// called in a callback.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: no head was given out for `txg` last. Or that of a free: what
    /// could not be freed is leaked.
    pub fn synced(&self, txg: Txg) -> Result<(), Error> {
        let gone = {
            let mut state = self.inner.state.lock();
            let Some(stored) = state.stored.take_if(|stored| stored.txg == txg) else {
                let words = format!("the head for txg {txg} was not asked for");
                return Err(Error::msg(ErrorKind::Invalid, words));
            };
            state.forget_records(txg);
            state.begin_at(stored)
        };
        let freed = free_all(&self.inner.pipeline, &gone);
        self.inner.go_on();
        freed
    }

    /// Gives the whole chain back. To be called when no stored head leads to it any more; the log is as
    /// new then. Not to be called in a callback.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] while a commit is under way; or that of a free.
    pub fn destroy(self) -> Result<(), Error> {
        let gone: Vec<_> = {
            let mut state = self.inner.state.lock();
            if state.under_way > 0 {
                return Err(Error::msg(ErrorKind::Busy, "a commit is under way"));
            }
            let unwritten = [state.tail.take(), state.fresh.take()].into_iter().flatten();
            state.chain.drain(..).map(|block| block.bp).chain(unwritten).collect()
        };
        free_all(&self.inner.pipeline, &gone)
    }

    /// Bytes of the pool that the log takes.
    pub fn allocated_bytes(&self) -> u64 {
        let state = self.inner.state.lock();
        let unwritten = [state.tail, state.fresh].into_iter().flatten();
        state.chain.iter().map(|block| block.bp).chain(unwritten).map(|bp| bp.asize_bytes()).sum()
    }
}

pub(super) fn free_all(pipeline: &Pipeline, blocks: &[BlockPointer]) -> Result<(), Error> {
    blocks.iter().map(|bp| pipeline.free(bp).wait()).fold(Ok(()), Result::and)
}

impl State {
    /// Highest transaction group of all records that are not durable in the log.
    fn not_durable_txg(&self) -> Txg {
        let waiting = self.waiting.iter().map(|record| record.txg);
        waiting.chain([self.under_way_txg]).max().unwrap_or(0)
    }

    /// The first block with records of groups after `txg`, or that is being written.
    fn head_behind(&self, txg: Txg) -> BlockPointer {
        let settled = self.chain.len() - self.under_way;
        let needed = |(number, block): &(usize, &LogBlock)| {
            *number >= settled || block.txg_max > txg || self.chain_is_broken()
        };
        let first = self.chain.iter().enumerate().find(needed).map(|(_, block)| block.bp);
        first.or(self.tail).unwrap_or(BlockPointer::EMPTY)
    }

    fn chain_is_broken(&self) -> bool {
        self.stall.as_ref().is_some_and(|stall| stall.new_chain)
    }

    /// The stored head is where the log begins now. Returns the blocks before it.
    fn begin_at(&mut self, Stored { txg, head }: Stored) -> Vec<BlockPointer> {
        let mut gone = Vec::new();
        if self.fresh.is_some_and(|fresh| fresh == head) {
            gone.extend(self.chain.drain(..).map(|block| block.bp).chain(self.tail));
            self.tail = self.fresh.take();
            self.stall = None;
        } else if LogSeed::of(&head).is_some() {
            while let Some(block) = self.chain.front()
                && block.bp != head
            {
                gone.push(block.bp);
                self.chain.pop_front();
            }
        }
        if self.stall.as_ref().is_some_and(|stall| !stall.new_chain && txg >= stall.until) {
            self.stall = None;
        }
        gone
    }

    /// Records up to `txg` are durable without the log.
    fn forget_records(&mut self, txg: Txg) {
        self.waiting.retain(|record| record.txg > txg);
        self.waiting_bytes = self.waiting.iter().map(Record::frame_bytes).sum();
    }

    /// No commit succeeds until what was lost is durable by other means.
    fn lose(&mut self, lost_txg: Txg, new_chain: bool, why: Error) {
        let in_chain = self.chain.iter().map(|block| block.txg_max).max().unwrap_or(0);
        let until = if new_chain { lost_txg.max(in_chain) } else { lost_txg };
        self.stall = Some(Stall { lost_txg, until, new_chain, why });
    }
}

impl Inner {
    fn seed(&self, sequence: u64) -> LogSeed {
        LogSeed { chain: self.config.chain, objset: self.config.objset, sequence }
    }

    /// Places the next block: for so many bytes of records, or, if that much is not to be had, for
    /// as little as goes.
    fn place(
        &self,
        state: &mut State,
        records_bytes: usize,
        first_bytes: usize,
    ) -> Result<BlockPointer, Error> {
        let seed = self.seed(state.block_sequence + 1);
        let place = |bytes| self.pipeline.allocate_log(bytes, seed);
        let bp = place(state.sizes.block_for(records_bytes))
            .or_else(|error| place(state.sizes.block_for(first_bytes.max(1))).map_err(|_| error))?;
        state.block_sequence += 1;
        Ok(bp)
    }

    /// Does what there is to do, until a round is under way or nobody waits.
    fn go_on(self: &Arc<Self>) {
        loop {
            let work = self.next_work(&mut self.state.lock());
            match work {
                Work::Nothing => return,
                Work::Keep(promises, result) => {
                    promises.into_iter().for_each(|promise| promise.keep(result.clone()));
                }
                Work::Write(blocks, promises) => return self.write(blocks, promises),
                Work::Lost(places) => {
                    for bp in places {
                        // Nothing was written there; a free that fails leaks the place.
                        self.pipeline.free(&bp).nowait(|_| {});
                    }
                }
            }
        }
    }

    fn next_work(&self, state: &mut State) -> Work {
        if state.under_way > 0 || state.promises.is_empty() {
            return Work::Nothing;
        }
        if let Some(Stall { lost_txg, why, .. }) = &state.stall {
            let not_durable = NotDurable { commit_txg: *lost_txg, source: why.clone() };
            return Work::Keep(std::mem::take(&mut state.promises), Err(not_durable));
        }
        if state.waiting.is_empty() {
            return Work::Keep(std::mem::take(&mut state.promises), Ok(()));
        }
        let txg_max = state.not_durable_txg();
        let sequence_before = state.block_sequence;
        match self.plan(state) {
            Ok(blocks) => {
                state.under_way = blocks.len();
                state.under_way_txg = txg_max;
                state.tail = blocks.last().map(|block| block.next);
                state.chain.extend(blocks.iter().map(|block| LogBlock {
                    bp: block.bp,
                    txg_max: block.records.iter().map(|record| record.txg).max().unwrap_or(0),
                }));
                Work::Write(blocks, std::mem::take(&mut state.promises))
            }
            Err((places, error)) => {
                // The numbers were not used: the chain goes on without a gap.
                state.block_sequence = sequence_before;
                state.lose(txg_max, false, error);
                Work::Lost(places)
            }
        }
    }

    /// Packs all records that wait into blocks, each with a place for the one behind it.
    ///
    /// # Errors
    /// Why a block could not be placed, and those that were; the records are gone.
    fn plan(&self, state: &mut State) -> Result<Vec<Planned>, (Vec<BlockPointer>, Error)> {
        let mut records = std::mem::take(&mut state.waiting);
        let mut rest_bytes = std::mem::take(&mut state.waiting_bytes);
        state.sizes.note(rest_bytes);
        let mut blocks: Vec<Planned> = Vec::new();
        let Some(mut bp) = state.tail else {
            return Err((Vec::new(), Error::msg(ErrorKind::Lost, "a log without a tail")));
        };
        loop {
            let mut room = room_bytes(bp.psize_bytes() as usize);
            let mut inside = Vec::new();
            while records.front().is_some_and(|next| next.frame_bytes() <= room)
                && let Some(record) = records.pop_front()
            {
                room -= record.frame_bytes();
                rest_bytes -= record.frame_bytes();
                inside.push(record);
            }
            let first_bytes = records.front().map_or(0, Record::frame_bytes);
            match self.place(state, rest_bytes, first_bytes) {
                Ok(next) => blocks.push(Planned { bp, next, records: inside }),
                Err(error) => return Err((blocks.iter().map(|b| b.next).collect(), error)),
            }
            if records.is_empty() {
                return Ok(blocks);
            }
            bp = blocks.last().map_or(bp, |block| block.next);
        }
    }

    /// Writes blocks, then flushes, then keeps the promises. Nobody is told before.
    fn write(self: &Arc<Self>, blocks: Vec<Planned>, promises: Vec<Promise>) {
        let round = self.pipeline.root();
        for Planned { bp, next, records } in &blocks {
            let mut buffer = self.pipeline.buffer(bp.psize_bytes() as usize);
            fill_block(&mut buffer, next, records);
            self.pipeline.write_log(bp, buffer).under(round.parent()).nowait(|_| {});
        }
        let log = Arc::clone(self);
        round.into_pending().nowait(move |written| match written {
            Ok(()) => {
                let flushing = Arc::clone(&log);
                flushing.pipeline.flush().nowait(move |flushed| log.written(promises, flushed));
            }
            Err(error) => log.written(promises, Err(error)),
        });
    }

    /// A round has ended.
    fn written(self: &Arc<Self>, promises: Vec<Promise>, result: Result<(), Error>) {
        let outcome = {
            let mut state = self.state.lock();
            let txg_max = std::mem::take(&mut state.under_way_txg);
            state.under_way = 0;
            result.map_err(|source| {
                state.lose(txg_max, true, source.clone());
                NotDurable { commit_txg: txg_max, source }
            })
        };
        promises.into_iter().for_each(|promise| promise.keep(outcome.clone()));
        self.go_on();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.lock();
        f.debug_struct("Log")
            .field("config", &self.inner.config)
            .field("blocks", &state.chain.len())
            .field("waiting", &state.waiting.len())
            .field("stalled", &state.stall.is_some())
            .finish_non_exhaustive()
    }
}
