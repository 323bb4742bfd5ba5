//! Slots whose blocks replace each other in every way there is, against what they should hold:
//! contents are right, and space is that of the live pointers, to the byte.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use vdev_disk::Memory;
use zio_pipeline::{BlockPointer, Builder, Checksum, Compression, Pipeline, Write};

use crate::common::{MIB, compressible, noise};
use crate::gangs::Fragmented;

const SLOTS: usize = 3;

#[derive(Clone, Copy, Debug)]
struct How {
    seed: u8,
    sectors: usize,
    copies: u8,
    strong: bool,
    compression: usize,
    dedup: bool,
    nop_write: bool,
    sync_pass: u32,
    raw: bool,
}

impl How {
    /// Few contents, so that equal ones meet.
    fn data(self) -> Vec<u8> {
        let len = self.sectors * 512;
        match self.seed {
            0 => vec![0; len],
            1 => vec![7; len],
            seed if seed % 2 == 0 => noise(u64::from(seed), len),
            seed => compressible(u64::from(seed), len),
        }
    }

    fn apply(self, write: Write) -> Write {
        let checksum = if self.strong { Checksum::Sha256 } else { Checksum::Fletcher4 };
        let compressions = [Compression::Off, Compression::Lz4, Compression::Lzjb];
        write
            .copies(self.copies)
            .checksum(checksum)
            .compression(compressions[self.compression])
            .dedup(self.dedup && self.strong)
            .nop_write(self.nop_write)
            .sync_pass(self.sync_pass)
    }

    fn write(self, pipeline: &Pipeline, old: &BlockPointer) -> Write {
        if self.raw {
            // By way of a block that somebody else stored.
            let elsewhere = self.apply(pipeline.write(self.data())).wait().unwrap();
            let stored = pipeline.read(&elsewhere).raw().wait().unwrap();
            let write = pipeline.write_raw(stored, &elsewhere).copies(self.copies).over(old);
            pipeline.free(&elsewhere).wait().unwrap();
            return write.sync_pass(self.sync_pass).nop_write(self.nop_write);
        }
        self.apply(pipeline.write(self.data())).over(old)
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Replace(usize, How),
    /// Written ahead, so many groups before its commit.
    Commit(usize, How, u8),
    EndTxg,
}

fn hows() -> impl Strategy<Value = How> {
    let form =
        (0..5_u8, prop_oneof![4 => Just(16_usize), 1 => 1..=40_usize], 1..=3_u8, any::<bool>());
    let road = (0..3_usize, prop::bool::weighted(0.4), prop::bool::weighted(0.8));
    let pass = prop_oneof![Just(1), Just(2), Just(8)];
    (form, road, pass, prop::bool::weighted(0.2)).prop_map(|(form, road, sync_pass, raw)| {
        let ((seed, sectors, copies, strong), (compression, dedup, nop_write)) = (form, road);
        How { seed, sectors, copies, strong, compression, dedup, nop_write, sync_pass, raw }
    })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0..SLOTS, hows()).prop_map(|(slot, how)| Op::Replace(slot, how)),
        3 => (0..SLOTS, hows(), 0..2_u8).prop_map(|(slot, how, txgs)| Op::Commit(slot, how, txgs)),
        1 => Just(Op::EndTxg),
    ];
    proptest::collection::vec(op, 40..80)
}

struct Model<'a> {
    pipeline: &'a Pipeline,
    /// What lets freed space be counted as free.
    settle: &'a dyn Fn(),
    slots: [(BlockPointer, Vec<u8>); SLOTS],
}

impl Model<'_> {
    fn link_in(&mut self, slot: usize, new: BlockPointer, data: Vec<u8>) {
        let (old, _) = std::mem::replace(&mut self.slots[slot], (new, data));
        if old.is_replaced_by(&new) {
            self.pipeline.free(&old).wait().unwrap();
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Replace(slot, how) => {
                let new = how.write(self.pipeline, &self.slots[slot].0).wait().unwrap();
                let copies = usize::from(how.copies);
                let is_plain = new.copies() > 0 && !new.is_gang();
                assert!(!is_plain || new.copies() == copies, "{new} in {copies} copies");
                self.link_in(slot, new, how.data());
            }
            Op::Commit(slot, how, txgs) => {
                let old = self.slots[slot].0;
                // Ahead of the sync there is no second pass of it, nor dedup.
                let ahead = How { sync_pass: 1, dedup: false, raw: false, ..how };
                let ahead = ahead.write(self.pipeline, &old).wait().unwrap();
                (0..txgs).for_each(|_| _ = self.pipeline.end_txg());
                let commit = How { raw: false, ..how }.write(self.pipeline, &old);
                let new = commit.already_written(&ahead).wait().unwrap();
                if new.is_dedup() && !ahead.is_dedup() {
                    self.pipeline.free(&ahead).wait().unwrap();
                }
                self.link_in(slot, new, how.data());
            }
            Op::EndTxg => _ = self.pipeline.end_txg(),
        }
        self.check();
    }

    fn check(&self) {
        (self.settle)();
        for (number, (bp, data)) in self.slots.iter().enumerate() {
            let read = self.pipeline.read(bp);
            let read = match data.len() {
                0 => continue,
                len => read.size_if_never_written(len),
            };
            assert!(read.wait().unwrap() == *data, "slot {number}: {bp}");
        }
        let extents: BTreeSet<_> = self.slots.iter().flat_map(|(bp, _)| bp.dvas()).collect();
        let held: u64 = extents.iter().map(|dva| dva.asize_bytes()).sum();
        assert_eq!(self.pipeline.allocated_bytes(), held);
        let shared = self.slots.iter().filter(|(bp, _)| bp.is_dedup()).count() as u64;
        assert_eq!((self.pipeline.dedup_references(), self.pipeline.live()), (shared, 0));
    }
}

fn run(pipeline: &Pipeline, settle: &dyn Fn(), ops: &[Op]) {
    let slots = std::array::from_fn(|_| (BlockPointer::EMPTY, Vec::new()));
    let mut model = Model { pipeline, settle, slots };
    ops.iter().for_each(|op| model.step(*op));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whole(ops in ops(), ashift in 9..=13_u32, disks in 1..=3_usize) {
        let disks = (0..disks).map(|_| Arc::new(Memory::new(32 * MIB, 512)) as Arc<_>);
        let builder = disks.fold(Pipeline::builder().ashift(ashift), Builder::vdev);
        run(&builder.build().unwrap(), &|| (), &ops);
    }

    #[test]
    fn in_pieces(ops in ops(), ashift in 9..=10_u32) {
        let pool = Fragmented::new(1, 2, ashift, 2048);
        run(&pool.pipeline(ashift), &|| pool.space.settle(u64::MAX), &ops);
    }
}
