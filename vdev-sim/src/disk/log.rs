//! What a disk saw.

use zio_core::{VdevErrorKind, VdevOp};

use super::fault::Effect;

/// The four operations, without their payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// [`VdevOp::Read`].
    Read,
    /// [`VdevOp::Write`].
    Write,
    /// [`VdevOp::Flush`].
    Flush,
    /// [`VdevOp::Trim`].
    Trim,
}

impl OpKind {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Flush, Self::Trim];

    /// The kind of an operation.
    pub fn of(op: &VdevOp) -> Self {
        match op {
            VdevOp::Read(_) => Self::Read,
            VdevOp::Write(_) => Self::Write,
            VdevOp::Flush => Self::Flush,
            VdevOp::Trim { .. } => Self::Trim,
        }
    }

    /// Does it change what is stored?
    pub fn changes(self) -> bool {
        matches!(self, Self::Write | Self::Trim)
    }
}

/// One I/O that a disk saw. The log is in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// What was asked.
    pub op: OpKind,
    /// Where, in bytes; as the caller gave it for a flush.
    pub offset_bytes: u64,
    /// Length in bytes; 0 for a flush.
    pub len_bytes: u64,
    /// Number of segments or buffers of the payload.
    pub pieces: u32,
    /// When it arrived.
    pub start_ns: u64,
    /// When it was answered, and how. `None` while it is in flight.
    pub answer: Option<Answer>,
    /// What the disk did to it besides its work.
    pub effect: Option<Effect>,
    /// By how much it was slowed down; 1 is normal.
    pub slow_factor: u32,
}

/// When and how an I/O was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Virtual time of the answer.
    pub end_ns: u64,
    /// What the caller was told.
    pub result: Result<(), VdevErrorKind>,
}

/// Sums over a disk's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads that arrived, refused ones not counted.
    pub reads: u64,
    /// Writes that arrived, refused ones not counted.
    pub writes: u64,
    /// Flushes that arrived.
    pub flushes: u64,
    /// Trims that arrived, refused ones not counted.
    pub trims: u64,
    /// Bytes of answered reads.
    pub read_bytes: u64,
    /// Bytes of answered writes.
    pub write_bytes: u64,
    /// Answers with an error, refusals included.
    pub errors: u64,
    /// I/Os out of range, misaligned, or writes to a read-only geometry:
    /// refused, never executed. A correct caller keeps this at 0.
    pub refused: u64,
    /// Pieces of payload that do not meet the geometry's memory alignment.
    pub unaligned_memory: u64,
    /// I/Os that something was done to.
    pub faults: u64,
    /// Most I/Os in flight at a time.
    pub in_flight_max: usize,
}

impl Counters {
    pub(super) fn arrived(&mut self, op: OpKind) {
        match op {
            OpKind::Read => self.reads += 1,
            OpKind::Write => self.writes += 1,
            OpKind::Flush => self.flushes += 1,
            OpKind::Trim => self.trims += 1,
        }
    }

    pub(super) fn answered(&mut self, op: OpKind, len_bytes: u64, ok: bool) {
        match op {
            _ if !ok => self.errors += 1,
            OpKind::Read => self.read_bytes += len_bytes,
            OpKind::Write => self.write_bytes += len_bytes,
            OpKind::Flush | OpKind::Trim => {}
        }
    }
}

/// The log with entries still in flight.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: Vec<LogEntry>,
    /// Number of the first entry kept.
    first: u64,
    pub(super) off: bool,
}

impl Log {
    /// Files an arrival; returns its number.
    pub(super) fn push(&mut self, entry: LogEntry) -> u64 {
        let number = self.first + self.entries.len() as u64;
        if !self.off {
            self.entries.push(entry);
        }
        number
    }

    /// Files the answer to an arrival, if its entry is still here.
    pub(super) fn answer(&mut self, number: u64, answer: Answer, effect: Option<Effect>) {
        let at = number.checked_sub(self.first).map(|at| at as usize);
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at))
            && entry.answer.is_none()
        {
            entry.answer = Some(answer);
            entry.effect = effect;
        }
    }

    pub(super) fn entries(&self) -> &[LogEntry] {
        &self.entries
    }

    pub(super) fn take(&mut self) -> Vec<LogEntry> {
        self.first += self.entries.len() as u64;
        std::mem::take(&mut self.entries)
    }
}
