//! What must be so between the groups.

use zio_core::bp::{ByteOrder, RawPointer};
use zio_pipeline::{BlockPointer, Pipeline};

use super::history::History;
use super::judge::Live;
use super::world::Honesty;

impl History {
    /// Such a gang does not read: the whole does not verify. Whoever may have lost writes looks
    /// before he claims or frees it.
    fn is_gone(&self, pipeline: &Pipeline, live: &Live) -> bool {
        self.may_be_stale(live) && pipeline.read(&live.bp).repair(false).wait().is_err()
    }

    pub(super) fn claim_all(&mut self, pipeline: &Pipeline) {
        for live in std::mem::take(&mut self.live) {
            let raw = BlockPointer::from_bytes(&live.bp.to_bytes());
            let bp = pipeline.check(&raw).unwrap_or_else(|bad| panic!("{}: {bad}", live.bp));
            assert_eq!(bp, live.bp);
            if self.is_gone(pipeline, &live) {
                continue;
            }
            self.tally.claims += 1;
            match pipeline.claim(&bp).wait() {
                Ok(()) => self.live.push(live),
                // A gang whose headers are gone is gone itself.
                Err(error) => {
                    assert!(bp.is_gang() && self.may_fail(&live), "claim of {bp}: {error}");
                }
            }
        }
        self.check_books(pipeline);
    }

    pub(super) fn read_all(&mut self, pipeline: &Pipeline) {
        for live in &self.live {
            self.tally.reads += 1;
            let result = pipeline.read(&live.bp).wait();
            self.judge_read(live, result);
        }
    }

    pub(super) fn free_all(&mut self, pipeline: &Pipeline) {
        for live in std::mem::take(&mut self.live) {
            if self.is_gone(pipeline, &live) {
                self.live.push(live);
                continue;
            }
            self.tally.frees += 1;
            if let Err(error) = pipeline.free(&live.bp).wait() {
                let headers_gone = live.bp.is_gang() && self.may_fail(&live);
                assert!(headers_gone, "free of {}: {error}", live.bp);
                self.live.push(live);
            }
        }
        self.check_books(pipeline);
        let gone = !self.live.is_empty();
        let left = pipeline.allocated_bytes() - pipeline.leaked_bytes();
        assert!(gone || left == 0, "space is left over");
        assert!(gone || pipeline.dedup_references() == 0, "references are left over");
    }

    /// Allocator = live pointers, no zio left, dedup references = live pointers with the bit.
    pub(super) fn check_books(&self, pipeline: &Pipeline) {
        pipeline.wait_idle();
        self.world.end_txg();
        assert_eq!(pipeline.live(), 0, "zios are left over");
        assert_eq!(pipeline.suspended().requests, 0, "something is suspended");
        assert_eq!(self.world.reserved_bytes(), 0, "reservations are left over");
        let mut extents: Vec<_> = self.live.iter().flat_map(|live| live.bp.dvas()).collect();
        extents.sort_unstable();
        extents.dedup();
        let held: u64 = extents.iter().map(|dva| dva.asize_bytes()).sum();
        let (allocated, leaked) = (pipeline.allocated_bytes(), pipeline.leaked_bytes());
        assert_eq!(
            allocated,
            held + leaked,
            "bytes are allocated; live pointers hold {held}, {leaked} are leaked to devices that hung"
        );
        let shared = self.live.iter().filter(|live| live.bp.is_dedup()).count() as u64;
        assert_eq!(pipeline.dedup_references(), shared, "dedup references and pointers differ");
    }

    // -- Leaves of mirrors. --

    /// A copy that differs between the leaves of a mirror is one that somebody is known to lack.
    fn gaps_are_known(&self, pipeline: &Pipeline) {
        // Caches that lost their power differ without anybody knowing, and so do leaves on which
        // a repair has failed.
        if self.tally.power_cuts > 0 || self.repairs_failed || self.world.honesty == Honesty::Lying
        {
            return;
        }
        for live in self.live.iter().filter(|live| !self.may_be_lost(live) && !live.bp.is_gang()) {
            let Some(what) = self.world.differing(&live.bp) else { continue };
            let birth = live.bp.physical_birth();
            let mut leaves = self.world.mirror_leaves();
            let known = leaves.any(|(vdev, leaf)| {
                pipeline.missing(vdev, leaf).is_ok_and(|missing| missing.contains(birth))
            });
            assert!(known, "nobody is known to lack a block, and yet {what} differ");
        }
    }

    /// Reads every copy of all blocks. Then all leaves have all of them, whatever they have missed.
    pub(super) fn resilver(&mut self, pipeline: &Pipeline) {
        self.repairs_failed |= pipeline.healed().failed > 0;
        self.gaps_are_known(pipeline);
        for live in &self.live {
            let read = pipeline.read(&live.bp).every_copy().wait();
            self.judge_read(live, read);
        }
        if self.world.honesty == Honesty::Lying {
            return;
        }
        pipeline.flush().wait().expect("a flush of sound disks");
        let sure: Vec<_> = self.live.iter().filter(|live| !self.may_be_lost(live)).collect();
        let count = sure.len() as u64;
        for live in sure {
            if let Some(what) = self.world.differing(&live.bp) {
                panic!("every copy was read, and yet {what} differ");
            }
        }
        self.tally.compared += count;
        if self.live.iter().any(|live| self.may_be_lost(live)) {
            return;
        }
        for (vdev, leaf) in self.world.mirror_leaves() {
            let missing = pipeline.missing(vdev, leaf).expect("a leaf");
            self.tally.missed += u64::from(!missing.is_empty());
            pipeline.resilvered(vdev, leaf, &missing).expect("a leaf");
            assert!(pipeline.missing(vdev, leaf).expect("a leaf").is_empty());
        }
        self.repairs_failed = false;
    }

    /// What a pipeline's owner keeps for the next one.
    pub(super) fn keep_missing(&mut self, pipeline: &Pipeline) {
        self.repairs_failed |= pipeline.healed().failed > 0;
        let of = |(vdev, leaf)| (vdev, leaf, pipeline.missing(vdev, leaf).expect("a leaf"));
        self.missing = self.world.mirror_leaves().map(of).collect();
    }

    // -- Pointers nobody wrote. --

    /// A clear answer each, and no I/O outside a device (the disks are strict and would panic).
    pub(super) fn hostile_pointers(&mut self, pipeline: &Pipeline) {
        for _ in 0..20 {
            let mut bytes = [0; 128];
            match self.live.get(self.rng.index(self.live.len().max(1))) {
                Some(live) if self.rng.chance(800) => {
                    bytes = live.bp.to_bytes();
                    for _ in 0..1 + self.rng.below(3) {
                        bytes[self.rng.index(128)] ^= 1 << self.rng.below(8);
                    }
                }
                _ => self.rng.fill(&mut bytes),
            }
            self.tally.hostile += 1;
            let Ok(bp) = pipeline.check(&RawPointer::from_bytes(&bytes, ByteOrder::Little)) else {
                continue;
            };
            // What comes back is as good as its checksum; it must come back.
            // Nothing is repaired: what such a pointer names may be another block.
            let _ = pipeline.read(&bp).repair(false).wait();
            if pipeline.claim(&bp).wait().is_ok() {
                pipeline.free(&bp).wait().expect("what was claimed can be freed");
            }
        }
    }
}
