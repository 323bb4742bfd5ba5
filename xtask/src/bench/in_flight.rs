//! Keeping a number of operations in flight from one thread, the same way on
//! both sides: a new one for each that is done.

use std::time::Instant;

use anyhow::Result;
use vdev_disk::baseline::{Op, RawRing};
use zio_core::Finished;
use zio_pipeline::{Completions, Pipeline};

use super::contest::Round;

/// Requests of a pipeline in flight.
pub(super) struct InFlight {
    done: Completions,
    /// By slot.
    begun: Vec<Instant>,
}

impl InFlight {
    pub(super) fn new(pipeline: &Pipeline, depth: usize) -> Self {
        Self { done: pipeline.completions(), begun: vec![Instant::now(); depth] }
    }

    /// One round. `start` sends a request off under the slot's number; `end`
    /// gets it back.
    pub(super) fn round(
        &mut self,
        round: &mut Round,
        mut start: impl FnMut(&Completions, u64) -> Result<()>,
        mut end: impl FnMut(Finished) -> Result<()>,
    ) -> Result<()> {
        for (slot, begun) in self.begun.iter_mut().enumerate() {
            *begun = Instant::now();
            start(&self.done, slot as u64)?;
        }
        while let Some((slot, finished)) = self.done.next() {
            finished.result()?;
            end(finished)?;
            let begun = &mut self.begun[slot as usize];
            let now = round.finished(*begun);
            if round.is_open(now) {
                *begun = now;
                start(&self.done, slot)?;
            }
        }
        Ok(())
    }
}

/// I/Os of a bare ring in flight.
pub(super) struct RawInFlight {
    ring: RawRing,
    op: Op,
    begun: Vec<Instant>,
}

impl RawInFlight {
    pub(super) fn new(ring: RawRing, op: Op, depth: usize) -> Self {
        Self { ring, op, begun: vec![Instant::now(); depth] }
    }

    /// One round. `next` says where the next I/O goes, and fills its block if
    /// it is a write.
    pub(super) fn round(
        &mut self,
        round: &mut Round,
        mut next: impl FnMut(&mut [u8]) -> u64,
    ) -> Result<()> {
        let begun = &mut self.begun;
        self.ring.run(self.op, |slot, block, finished| {
            let now = if finished { round.finished(begun[slot]) } else { Instant::now() };
            if finished && !round.is_open(now) {
                return None;
            }
            begun[slot] = now;
            Some(next(block))
        })?;
        Ok(())
    }
}
