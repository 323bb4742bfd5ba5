//! After a crash: claiming the chain, and reading it.

use std::collections::VecDeque;
use std::fmt;

use zio_core::{Dva, Txg};
use zio_pipeline::{
    BlockPointer, DATA_START_BYTES, Error, ErrorKind, LogSeed, Pipeline, Priority, VdevId,
};

use super::record::{Contents, Record, parse_block};
use super::writer::free_all;

/// Why a chain could not be claimed. Nothing of it is claimed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The head is no pointer to a log block.
    #[error("{0} is not the head of a log")]
    Head(Box<BlockPointer>),
    /// A block verifies nowhere, and not every leaf that may have it has answered: this may be the end, or
    /// not. To be tried again when the leaf is back; or see [`Claimed::claim_what_is_left`].
    #[error("block {sequence} of the log cannot be read: {missing}")]
    Unreadable {
        /// Its number.
        sequence: u64,
        /// Who did not answer.
        missing: MissingLeaf,
        /// What that leaf said.
        source: Error,
    },
    /// A block's space belongs to somebody already, the log itself if it was claimed before.
    #[error("block {sequence} of the log cannot be claimed")]
    Claim {
        /// Its number.
        sequence: u64,
        /// Why.
        source: Error,
    },
    /// The caller did not want a record.
    #[error("record {sequence}")]
    Record {
        /// Its number.
        sequence: u64,
        /// What the caller said.
        source: Error,
    },
}

/// A leaf that may have a block and did not give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingLeaf {
    /// The vdev that the block is on.
    pub vdev: VdevId,
    /// Number of the leaf in it; `None` when all of them answer again.
    pub leaf: Option<usize>,
}

impl fmt::Display for MissingLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leaf {
            Some(leaf) => write!(f, "leaf {leaf} of {} does not answer", self.vdev),
            None => write!(f, "a leaf of {} did not answer for a moment", self.vdev),
        }
    }
}

/// How a chain ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum End {
    /// The next block does not verify: it was never written, or not whole. That is how a chain
    /// ends. Every leaf of its mirror has been read, and has answered: an acknowledged block may be on one alone.
    NotWritten(Error),
    /// The next block may be on a leaf that does not answer, and the caller
    /// [wanted what is left](Claimed::claim_what_is_left).
    LeafMissing(MissingLeaf, Error),
    /// The next pointer is none of this chain's, in this pool.
    NoPointer,
    /// The next block was placed before the log's first transaction group.
    BornBefore(Txg),
    /// There is no head: the pool has no log.
    NoLog,
    /// Something in the last block is no record, though the block verifies. What stands before it is good.
    Malformed,
}

/// A chain that was found and is allocated now.
#[derive(Debug)]
#[must_use = "its space stays allocated until it is freed"]
pub struct Claimed {
    blocks: Vec<BlockPointer>,
    end: End,
}

impl Claimed {
    /// Walks the chain from its stored head, while its blocks verify and were born in `claim_txg` or
    /// later, and claims each. To be called before anything is allocated, and not in a callback.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn claim(
        pipeline: &Pipeline,
        head: &BlockPointer,
        claim_txg: Txg,
    ) -> Result<Self, ClaimError> {
        Self::claim_with(pipeline, head, claim_txg, |_| Ok(()))
    }

    /// The same; `on_record` sees each record on the way and claims what blocks it points at. What it
    /// has claimed is its own to give back when the claim fails.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn claim_with(
        pipeline: &Pipeline,
        head: &BlockPointer,
        claim_txg: Txg,
        on_record: impl FnMut(&Record) -> Result<(), Error>,
    ) -> Result<Self, ClaimError> {
        Self::claim_or(pipeline, head, claim_txg, on_record, |sequence, missing, source| {
            Err(ClaimError::Unreadable { sequence, missing, source })
        })
    }

    /// The same for an owner who gives up leaves that do not answer, at his own risk: the chain ends at the
    /// first block that may be on them, and acknowledged records behind it are lost. [`End::LeafMissing`]
    /// says so; any other end has lost nothing. If the leaf comes back before another head is stored, a claim
    /// finds them again: then what was replayed without them is to be thrown away.
    ///
    /// # Errors
    /// [`ClaimError`], but for [`ClaimError::Unreadable`].
    pub fn claim_what_is_left(
        pipeline: &Pipeline,
        head: &BlockPointer,
        claim_txg: Txg,
        on_record: impl FnMut(&Record) -> Result<(), Error>,
    ) -> Result<Self, ClaimError> {
        Self::claim_or(pipeline, head, claim_txg, on_record, |_, missing, source| {
            Ok(End::LeafMissing(missing, source))
        })
    }

    fn claim_or(
        pipeline: &Pipeline,
        head: &BlockPointer,
        claim_txg: Txg,
        on_record: impl FnMut(&Record) -> Result<(), Error>,
        unread: impl FnOnce(u64, MissingLeaf, Error) -> Result<End, ClaimError>,
    ) -> Result<Self, ClaimError> {
        let mut log = Self { blocks: Vec::new(), end: End::NoLog };
        if *head == BlockPointer::EMPTY {
            return Ok(log);
        }
        match log.walk(pipeline, head, claim_txg, on_record, unread) {
            Ok(end) => {
                log.end = end;
                Ok(log)
            }
            Err(error) => {
                // Whatever this says, the first error is the one to tell.
                _ = log.free(pipeline);
                Err(error)
            }
        }
    }

    fn walk(
        &mut self,
        pipeline: &Pipeline,
        head: &BlockPointer,
        claim_txg: Txg,
        mut on_record: impl FnMut(&Record) -> Result<(), Error>,
        unread: impl FnOnce(u64, MissingLeaf, Error) -> Result<End, ClaimError>,
    ) -> Result<End, ClaimError> {
        let mut seed = LogSeed::of(head).ok_or_else(|| ClaimError::Head(Box::new(*head)))?;
        let mut bp = *head;
        let mut last = 0;
        loop {
            let sequence = seed.sequence;
            if bp.birth() < claim_txg {
                return Ok(End::BornBefore(bp.birth()));
            }
            let contents = match look(pipeline, &bp) {
                Look::Block(contents) => contents,
                Look::NotWritten(error) => return Ok(End::NotWritten(error)),
                Look::Unread(missing, error) => return unread(sequence, missing, error),
            };
            pipeline.claim(&bp).wait().map_err(|source| ClaimError::Claim { sequence, source })?;
            self.blocks.push(bp);
            for record in &contents.records {
                if record.sequence <= last {
                    return Ok(End::Malformed);
                }
                last = record.sequence;
                let refused = |source| ClaimError::Record { sequence: last, source };
                on_record(record).map_err(refused)?;
            }
            if contents.is_malformed {
                return Ok(End::Malformed);
            }
            seed.sequence = seed.sequence.wrapping_add(1);
            match pipeline.check(&contents.next) {
                Ok(next) if LogSeed::of(&next) == Some(seed) => bp = next,
                _ => return Ok(End::NoPointer),
            }
        }
    }

    /// The blocks of the chain, in order.
    pub fn blocks(&self) -> &[BlockPointer] {
        &self.blocks
    }

    /// How it ended.
    pub fn end(&self) -> &End {
        &self.end
    }

    /// The records, in order, none twice. Those of transaction groups that are durable are among
    /// them, and for the caller to skip. Not to be used in a callback.
    pub fn replay<'a>(&'a self, pipeline: &'a Pipeline) -> Replay<'a> {
        Replay { pipeline, blocks: self.blocks.iter(), records: VecDeque::new(), last: 0 }
    }

    /// Gives the chain back. To be called when what was replayed is durable, and no stored head
    /// leads here any more. Not to be called in a callback.
    ///
    /// # Errors
    /// The first free that failed; that block is leaked.
    pub fn free(self, pipeline: &Pipeline) -> Result<(), Error> {
        free_all(pipeline, &self.blocks)
    }
}

/// What a look for the next block has found.
enum Look {
    Block(Contents),
    /// Every leaf has answered, and none has it.
    NotWritten(Error),
    /// None has it, of those that answered.
    Unread(MissingLeaf, Error),
}

/// Looks for a block of a chain on every leaf that can have it: an acknowledged one may be on one alone, and
/// is on all of them afterwards.
fn look(pipeline: &Pipeline, bp: &BlockPointer) -> Look {
    let read = pipeline.read(bp).speculative().every_copy().priority(Priority::SyncRead);
    let answers = pipeline.completions();
    let vdev = bp.dvas().next().map_or_else(VdevId::default, Dva::vdev);
    let in_callback = || Error::msg(ErrorKind::Busy, "a log cannot be claimed in a callback");
    let answer = read.send_to(&answers, 0).and_then(|()| answers.next().ok_or_else(in_callback));
    let mut finished = match answer {
        Ok((_, finished)) => finished,
        Err(error) => return Look::Unread(MissingLeaf { vdev, leaf: None }, error),
    };
    let Some(error) = finished.take_error() else {
        let parsed = parse(bp, &finished.take_data().to_vec());
        return parsed.map_or_else(Look::NotWritten, Look::Block);
    };
    // The worst error is that of a copy that does not verify also when another leaf is gone; but then
    // not every leaf has a bad copy.
    let bad = finished.get().bad_copies() as usize;
    let leaves = (0..).map_while(|leaf| pipeline.physical(vdev, leaf).ok());
    if error.kind() == ErrorKind::Checksum && bad == leaves.count() {
        return Look::NotWritten(error);
    }
    let (leaf, source) = who_is_missing(pipeline, bp, vdev).unzip();
    Look::Unread(MissingLeaf { vdev, leaf }, source.unwrap_or(error))
}

/// The first leaf that does not answer.
fn who_is_missing(pipeline: &Pipeline, bp: &BlockPointer, vdev: VdevId) -> Option<(usize, Error)> {
    let at = DATA_START_BYTES + bp.dvas().next()?.offset_bytes();
    (0..).map_while(|leaf| Some((leaf, pipeline.physical(vdev, leaf).ok()?))).find_map(
        |(leaf, device)| Some((leaf, device.read(at, bp.psize_bytes() as usize).wait().err()?)),
    )
}

fn parse(bp: &BlockPointer, bytes: &[u8]) -> Result<Contents, Error> {
    parse_block(bytes)
        .ok_or_else(|| Error::msg(ErrorKind::Checksum, format!("{bp} is too short for a head")))
}

/// Reads a block of a chain, on whatever leaf it is good.
fn read(pipeline: &Pipeline, bp: &BlockPointer) -> Result<Contents, Error> {
    let data = pipeline.read(bp).speculative().priority(Priority::SyncRead).wait()?;
    parse(bp, &data.to_vec())
}

/// The records of a chain, block by block.
pub struct Replay<'a> {
    pipeline: &'a Pipeline,
    blocks: std::slice::Iter<'a, BlockPointer>,
    records: VecDeque<Record>,
    last: u64,
}

impl Iterator for Replay<'_> {
    type Item = Result<Record, Error>;

    /// The next record; an error when a block that was good cannot be read now. What follows it must not
    /// be replayed then, and is not given.
    fn next(&mut self) -> Option<Self::Item> {
        while self.records.is_empty() {
            match read(self.pipeline, self.blocks.next()?) {
                Ok(contents) => self.records = contents.records.into(),
                Err(error) => {
                    self.blocks = [].iter();
                    return Some(Err(error));
                }
            }
        }
        let record = self.records.pop_front()?;
        if record.sequence <= self.last {
            // The claim ended here too.
            self.blocks = [].iter();
            self.records.clear();
            return None;
        }
        self.last = record.sequence;
        Some(Ok(record))
    }
}

impl fmt::Debug for Replay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("last", &self.last).finish_non_exhaustive()
    }
}
