//! H3: bytes are compared before a block is shared, where the checksum is too weak to tell, or the
//! writer does not believe it.

use std::sync::Arc;

use checksum::{ByteOrder, Context};
use vdev_sim::{OpKind, Rng};
use zio_pipeline::{
    BlockPointer, Checksum, Class, Compression, Pipeline, Priority, Started, Write,
};

use crate::common::{Gated, MIB, Sim, compressible, noise, on_memory};
use crate::gangs::Fragmented;

/// Blocks that fletcher2 cannot tell apart: the highest bits of two words of one lane cancel
/// out in the first sum, and in the second if the words are an even number of places apart.
pub(crate) fn colliding(seed: u64, variant: usize, len_bytes: usize) -> Vec<u8> {
    let mut bytes = noise(seed, len_bytes);
    if variant > 0 {
        // The most significant byte of the even words of pairs 0 and 2 × variant.
        bytes[7] ^= 0x80;
        bytes[variant * 32 + 7] ^= 0x80;
    }
    bytes
}

fn fletcher2(pipeline: &Pipeline, bytes: &[u8]) -> Write {
    pipeline.write(bytes).checksum(Checksum::Fletcher2).dedup(true)
}

fn sha256(pipeline: &Pipeline, bytes: &[u8]) -> Write {
    pipeline.write(bytes).checksum(Checksum::Sha256).dedup(true).dedup_verify(true)
}

fn checksum_of(bp: &BlockPointer) -> Checksum {
    Checksum::from_id(bp.checksum_id()).unwrap()
}

#[test]
fn these_blocks_collide() {
    let context = Context::new(Checksum::Fletcher2, None).unwrap();
    let sum = |variant| context.compute(ByteOrder::NATIVE, [&colliding(1, variant, 4096)[..]]);
    for variant in 1..100 {
        assert_eq!(sum(variant), sum(0));
        assert_ne!(colliding(1, variant, 4096), colliding(1, 0, 4096));
    }
    assert_ne!(context.compute(ByteOrder::NATIVE, [&noise(2, 4096)[..]]), sum(0));
}

#[test]
fn a_weak_checksum_that_collides_costs_no_data() {
    let pipeline = on_memory(64 * MIB);
    let first = fletcher2(&pipeline, &colliding(1, 0, 4096)).wait().unwrap();
    assert_eq!((checksum_of(&first), first.is_dedup()), (Checksum::Fletcher2, true));
    let again = fletcher2(&pipeline, &colliding(1, 0, 4096)).wait().unwrap();
    assert!(again.same_block(&first));

    // Another block of the same checksum is told apart by a strong one, and shared by that.
    let mut others = Vec::new();
    for variant in 1..20 {
        let other = fletcher2(&pipeline, &colliding(1, variant, 4096)).wait().unwrap();
        assert_eq!((checksum_of(&other), other.is_dedup()), (Checksum::Sha256, true));
        let twin = fletcher2(&pipeline, &colliding(1, variant, 4096)).wait().unwrap();
        assert!(twin.same_block(&other));
        others.extend([(other, variant), (twin, variant)]);
    }
    assert_eq!(pipeline.allocated_bytes(), 20 * 4096);
    assert_eq!(pipeline.dedup_references(), 40);
    for (bp, variant) in [(first, 0), (again, 0)].into_iter().chain(others) {
        assert!(pipeline.read(&bp).wait().unwrap() == colliding(1, variant, 4096));
        pipeline.free(&bp).wait().unwrap();
    }
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
}

/// What is compared is what the client wrote, not what is stored.
#[test]
fn compressed_blocks_are_compared_as_they_were() {
    let pipeline = on_memory(64 * MIB);
    let bytes = compressible(1, 65_536);
    for checksum in [Checksum::Sha256, Checksum::Fletcher4] {
        let write = || {
            let write = pipeline.write(&bytes).checksum(checksum).compression(Compression::Lz4);
            write.dedup(true).dedup_verify(true)
        };
        let first = write().wait().unwrap();
        let second = write().wait().unwrap();
        assert!(first.psize_bytes() < first.lsize_bytes());
        assert!(second.same_block(&first) && second.is_dedup());
        assert_eq!(checksum_of(&second), checksum);
        assert!(pipeline.read(&second).wait().unwrap() == bytes);
    }
    assert_eq!(pipeline.dedup_references(), 4);
}

/// A strong checksum that agrees with a block which cannot be read: nobody will ever know, so the
/// new block stands by itself.
#[test]
fn a_stored_block_that_cannot_be_read_is_not_shared() {
    let sim = Sim::new(1, 1);
    let pipeline = sim.pipeline();
    for compression in [Compression::Off, Compression::Lz4] {
        let bytes = compressible(2, 16_384);
        let write = || sha256(&pipeline, &bytes).compression(compression);
        let first = write().wait().unwrap();
        sim.corrupt(&first, 0);
        let second = write().wait().unwrap();
        assert!(!second.is_dedup() && !second.same_block(&first), "{second}");
        assert_eq!(second.physical_birth(), second.birth());
        assert!(pipeline.read(&second).wait().unwrap() == bytes);
        assert_eq!(pipeline.dedup_references(), 1);
        // Without verification it is shared all the same.
        let trusting = pipeline.write(&bytes).checksum(Checksum::Sha256).dedup(true);
        let third = trusting.compression(compression).wait().unwrap();
        assert!(third.same_block(&first));
        for bp in [&first, &second, &third] {
            pipeline.free(bp).wait().unwrap();
        }
        assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
    }
    // The failed comparison is nobody's error: a weak one starts over, and shares by SHA-256.
    let bytes = noise(3, 8192);
    let first = fletcher2(&pipeline, &bytes).wait().unwrap();
    sim.corrupt(&first, 0);
    let second = fletcher2(&pipeline, &bytes).wait().unwrap();
    assert_eq!((checksum_of(&second), second.is_dedup()), (Checksum::Sha256, true));
    assert!(pipeline.read(&second).wait().unwrap() == bytes);
}

/// Twins of a write in flight are compared with what it was given.
#[test]
fn writes_in_flight_are_compared_as_well() {
    let disk = Gated::new(32 * MIB);
    let pipeline = Pipeline::builder().vdev(Arc::clone(&disk) as Arc<_>).build().unwrap();
    let write = |variant| fletcher2(&pipeline, &colliding(4, variant, 8192)).start().unwrap();
    let lead = write(0);
    disk.wait_for_write();
    let waiting: Vec<(usize, Started<BlockPointer>)> =
        [0, 1, 0, 2, 1, 3, 0].into_iter().map(|variant| (variant, write(variant))).collect();
    disk.open();
    let lead = lead.wait().unwrap();
    let mut all = vec![(0, lead)];
    for (variant, write) in waiting {
        let bp = write.wait().unwrap();
        assert_eq!(bp.same_block(&lead), variant == 0);
        let expected = if variant == 0 { Checksum::Fletcher2 } else { Checksum::Sha256 };
        assert_eq!((checksum_of(&bp), bp.is_dedup()), (expected, true));
        all.push((variant, bp));
    }
    assert_eq!((disk.writes(), pipeline.allocated_bytes()), (4, 4 * 8192));
    assert_eq!(pipeline.dedup_references(), 8);
    for (variant, bp) in all {
        assert!(pipeline.read(&bp).wait().unwrap() == colliding(4, variant, 8192));
        pipeline.free(&bp).wait().unwrap();
    }
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
}

/// While the stored block is read, its last pointer is freed: it stays as long as it is looked at.
#[test]
fn a_block_freed_while_it_is_compared_stays_until_then() {
    let sim = Sim::new(5, 1);
    let pipeline = sim.pipeline();
    let disk = &sim.disks[0];
    for variant in [0, 1] {
        let first = fletcher2(&pipeline, &colliding(5, 0, 8192)).wait().unwrap();
        disk.hold();
        let second = fletcher2(&pipeline, &colliding(5, variant, 8192)).start().unwrap();
        pipeline.free(&first).wait().unwrap();
        // Neither free nor forgotten, and nobody gets the space.
        assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (1, 8192));
        let third = pipeline.write(noise(6, 8192)).start().unwrap();
        disk.release();
        let (second, third) = (second.wait().unwrap(), third.wait().unwrap());
        assert_eq!(second.dva(0) == first.dva(0), variant == 0);
        // Of the one that differed, the space has gone back with the last reference.
        assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (1, 2 * 8192));
        assert!(pipeline.read(&second).wait().unwrap() == colliding(5, variant, 8192));
        assert!(pipeline.read(&third).wait().unwrap() == noise(6, 8192));
        pipeline.free(&second).wait().unwrap();
        pipeline.free(&third).wait().unwrap();
        assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
    }
}

/// Verification costs one read of the stored block, and no write.
#[test]
fn a_verified_twin_costs_a_read() {
    let sim = Sim::new(7, 1);
    let pipeline = sim.pipeline();
    let bytes = noise(7, 8192);
    sha256(&pipeline, &bytes).wait().unwrap();
    sim.take_log(OpKind::Write);
    sha256(&pipeline, &bytes).wait().unwrap();
    let log = sim.disks[0].take_log();
    let kinds: Vec<_> = log.iter().map(|entry| (entry.op, entry.len_bytes)).collect();
    assert_eq!(kinds, [(OpKind::Read, 8192)]);
    // It is read for whoever waits for the write, or for nobody in particular.
    for (write, read) in
        [(Class::SyncWrite, Class::SyncRead), (Class::AsyncWrite, Class::AsyncRead)]
    {
        let reads = || pipeline.stats().leaves[0].classes[read].counts.issued_total;
        let before = reads();
        let priority =
            if write == Class::SyncWrite { Priority::SyncWrite } else { Priority::AsyncWrite };
        sha256(&pipeline, &bytes).priority(priority).wait().unwrap();
        assert_eq!(reads(), before + 1, "{write:?}");
    }
}

/// Collisions everywhere, several at once, in one piece and in many, with one to three copies: each
/// block reads back its own bytes, and in the end there is nothing left.
#[test]
fn any_history_of_collisions_keeps_every_block() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let pool = Fragmented::new(seed, 3, 9, 512 << rng.below(5));
        let pipeline = pool.pipeline(9);
        let mut live: Vec<(BlockPointer, Vec<u8>)> = Vec::new();
        for _ in 0..12 {
            let mut writes = Vec::new();
            for _ in 0..rng.below(12) {
                let bytes = colliding(rng.below(2), rng.index(3), 4096);
                let write = fletcher2(&pipeline, &bytes).copies(1 + rng.below(3) as u8);
                let write =
                    if rng.chance(200) { write.checksum(Checksum::Fletcher4) } else { write };
                writes.push((write.start().unwrap(), bytes));
            }
            let mut frees = Vec::new();
            for _ in 0..rng.below(10) {
                if !live.is_empty() {
                    let (bp, _) = live.swap_remove(rng.index(live.len()));
                    frees.push(pipeline.free(&bp).start().unwrap());
                }
            }
            for (write, bytes) in writes {
                live.push((write.wait().unwrap(), bytes));
            }
            for free in frees {
                free.wait().unwrap();
            }
            pipeline.wait_idle();
            for (bp, bytes) in &live {
                assert!(pipeline.read(bp).wait().unwrap() == *bytes, "seed {seed}: {bp}");
            }
            assert_eq!(pipeline.dedup_references(), live.len() as u64, "seed {seed}");
            let pointers: Vec<_> = live.iter().map(|(bp, _)| *bp).collect();
            assert_eq!(pipeline.dedup_recount(pointers).unwrap(), [], "seed {seed}");
        }
        for (bp, _) in live {
            pipeline.free(&bp).wait().unwrap();
        }
        pipeline.wait_idle();
        pool.space.settle(u64::MAX);
        assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0), "{seed}");
    }
}
