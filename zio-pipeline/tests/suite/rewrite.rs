//! Writes over a block in place (C4), and the passes of a sync, which converge by them (C3).

use std::sync::Arc;

use checksum::{ByteOrder as Order, Context, Salt};
use vdev_sim::{Effect, Fault, OpKind};
use zio_core::VdevErrorKind;
use zio_pipeline::{
    BlockPointer, Checksum, Compression, ErrorKind, NO_COMPRESSION_PASS_MIN, Pipeline,
    REWRITE_PASS_MIN,
};

use crate::common::{Sim, compressible, noise};
use crate::gangs::Fragmented;
use crate::replace::{strong, writes};

/// Gangs within gangs, in units of any size: every piece and every header stays where it is.
#[test]
fn a_gang_of_this_sync_is_written_over() {
    for (ashift, largest, len) in [(9, 1024, 131_072), (9, 4096, 8192), (12, 8192, 262_144)] {
        let pool = Fragmented::new(4, 3, ashift, largest);
        let pipeline = pool.pipeline(ashift);
        for copies in 1..=3 {
            let (before, after) = (noise(1, len), noise(2, len));
            let old = pipeline.write(&before).copies(copies).wait().unwrap();
            assert!(old.is_gang());
            let held = pool.space.taken();
            let write = || pipeline.write(&after).over(&old).sync_pass(2);
            let write_again = || write().copies(copies).checksum(Checksum::Blake3);
            let new = write_again().wait().unwrap();
            assert!(old.same_block(&new) && new.checksum() != old.checksum());
            assert_eq!(pool.space.taken(), held);
            let checked = pipeline.check(&BlockPointer::from_bytes(&new.to_bytes())).unwrap();
            assert!(pipeline.read(&checked).wait().unwrap() == after);
            header_proves_its_members(&pool, &pipeline, &new, &after);
            // Each header of the outermost gang.
            for copy in 0..new.copies() {
                let (disk, at) = pool.sim.place(&new, copy);
                disk.corrupt(at, 512);
                if copy + 1 < new.copies() {
                    let read = pipeline.read(&new).repair(false).wait();
                    assert!(read.unwrap() == after, "header {copy}");
                }
            }
            // None is left: what else there is of the gang is not known.
            assert_eq!(write_again().wait().unwrap_err().kind(), ErrorKind::Checksum);
            assert_eq!(pool.space.taken(), held);
        }
    }
}

/// Each member, be it a gang itself, has the checksum of its part of the block.
fn header_proves_its_members(
    pool: &Fragmented,
    pipeline: &Pipeline,
    bp: &BlockPointer,
    data: &[u8],
) {
    let (disk, at) = pool.sim.place(bp, 0);
    let header = disk.peek(at, 512);
    let context = Context::new(Checksum::Blake3, Some(&Salt([0; 32]))).unwrap();
    let mut rest = data;
    for place in header.as_chunks::<128>().0.iter().take(3) {
        let member = pipeline.check(&BlockPointer::from_bytes(place)).unwrap();
        if member == BlockPointer::EMPTY {
            continue;
        }
        let (piece, more) = rest.split_at(member.psize_bytes() as usize);
        assert_eq!(member.checksum_id(), Checksum::Blake3.id());
        assert_eq!(member.checksum(), context.compute(Order::Little, [piece]).0);
        rest = more;
    }
    assert!(rest.is_empty());
}

/// There are as many copies of a gang as of its pieces, whatever its headers.
#[test]
fn a_gang_of_other_copies_goes_elsewhere() {
    let pool = Fragmented::new(5, 3, 9, 4096);
    let pipeline = pool.pipeline(9);
    for (before, after) in [(1, 2), (2, 3), (2, 1), (3, 2)] {
        let old = pipeline.write(noise(1, 16_384)).copies(before).wait().unwrap();
        let write = pipeline.write(noise(2, 16_384)).copies(after).over(&old).sync_pass(2);
        let new = write.wait().unwrap();
        assert!(new.is_gang() && old.is_replaced_by(&new));
        assert!(pipeline.read(&old).wait().unwrap() == noise(1, 16_384));
        assert!(pipeline.read(&new).wait().unwrap() == noise(2, 16_384));
        for bp in [old, new] {
            pipeline.free(&bp).wait().unwrap();
        }
        pool.space.settle(u64::MAX);
        assert_eq!(pipeline.allocated_bytes(), 0);
    }
}

#[test]
fn a_write_over_a_gang_that_fails_leaves_its_space_alone() {
    let pool = Fragmented::new(6, 1, 9, 4096);
    let pipeline = pool.pipeline(9);
    let old = pipeline.write(noise(1, 16_384)).wait().unwrap();
    let held = pool.space.taken();
    let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).always();
    pool.sim.disks[0].inject(fault.skip(2));
    let write = || pipeline.write(noise(2, 16_384)).over(&old).sync_pass(2);
    assert_eq!(write().wait().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(pool.space.taken(), held);
    pool.sim.disks[0].heal_all();
    // What was written in part is written whole the next time.
    let new = write().wait().unwrap();
    assert!(old.same_block(&new) && pipeline.read(&new).wait().unwrap() == noise(2, 16_384));
    // One that has to go elsewhere, whole this time, gives its new space back and nothing else.
    pool.space.set_contiguous_bytes_max(u64::MAX);
    let held = pool.space.taken();
    let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).always();
    pool.sim.disks[0].inject(fault);
    assert_eq!(write().copies(2).wait().unwrap_err().kind(), ErrorKind::Io);
    pool.space.settle(u64::MAX);
    assert_eq!(pool.space.taken(), held);
    assert!(pipeline.read(&new).wait().unwrap() == noise(2, 16_384));
    pipeline.free(&new).wait().unwrap();
    pool.space.settle(u64::MAX);
    assert_eq!((pipeline.allocated_bytes(), pipeline.live()), (0, 0));
}

#[test]
fn a_block_of_this_sync_is_written_over() {
    let sim = Sim::new(4, 2);
    let pipeline = sim.pipeline();
    for (copies, compression, checksum) in [
        (1, Compression::Off, Checksum::Fletcher4),
        (2, Compression::Lz4, Checksum::Fletcher4),
        (3, Compression::Lz4, Checksum::Sha256),
    ] {
        let (before, after) = (compressible(1, 65_536), compressible(2, 65_536));
        let write = |data: &[u8]| {
            let write = pipeline.write(data).copies(copies).checksum(checksum);
            write.compression(compression)
        };
        let old = write(&before).wait().unwrap();
        let (held, _) = (pipeline.allocated_bytes(), writes(&sim));
        let new = write(&after).over(&old).sync_pass(REWRITE_PASS_MIN).wait().unwrap();
        assert!(old.same_block(&new) && !old.is_replaced_by(&new), "{old} {new}");
        assert!(old.checksum() != new.checksum());
        assert_eq!(pipeline.allocated_bytes(), held);
        assert_eq!(writes(&sim), usize::from(copies));
        for alone in 0..usize::from(copies) {
            (0..usize::from(copies)).filter(|copy| *copy != alone).for_each(|copy| {
                sim.corrupt(&new, copy);
            });
            let read = pipeline.read(&new).every_copy();
            assert!(read.wait().unwrap() == after, "copy {alone}");
        }
        assert_eq!(
            pipeline.read(&old).wait().map(|data| data.len()).unwrap_err().kind(),
            ErrorKind::Checksum
        );
        pipeline.free(&new).wait().unwrap();
        assert_eq!(pipeline.allocated_bytes(), 0);
    }
}

#[test]
fn all_else_goes_elsewhere() {
    let sim = Sim::new(5, 3);
    let pipeline = sim.pipeline();
    let (data, other) = (noise(1, 8192), noise(2, 8192));
    let old = pipeline.write(&data).wait().unwrap();
    let shared = pipeline.write(&data).checksum(Checksum::Sha256).dedup(true).wait().unwrap();
    let written = || pipeline.write(&other).sync_pass(2);
    let cases = [
        ("pass 1", pipeline.write(&other).over(&old)),
        ("size", pipeline.write(noise(2, 4096)).over(&old).sync_pass(2)),
        ("stored size", {
            let packed = pipeline.write(compressible(2, 16_384)).compression(Compression::Lz4);
            packed.over(&old).sync_pass(2)
        }),
        ("copies", written().copies(2).over(&old)),
        ("shared from now on", written().over(&old).checksum(Checksum::Sha256).dedup(true)),
        ("shared", written().over(&shared)),
        ("another txg", written().over(&old).txg(pipeline.txg() + 1)),
        ("a hole", {
            let hole = BlockPointer::hole(8192, 19, 0, pipeline.txg());
            written().over(&hole)
        }),
    ];
    for (what, write) in cases {
        let new = write.wait().unwrap();
        assert!(old.is_replaced_by(&new) && shared.is_replaced_by(&new), "{what}");
        assert!(pipeline.read(&old).wait().unwrap() == data, "{what}");
        assert!(pipeline.read(&shared).wait().unwrap() == data, "{what}");
    }
    pipeline.end_txg();
    assert!(old.is_replaced_by(&written().over(&old).wait().unwrap()));
    // Committed in this group, and yet from an earlier one.
    let committed = pipeline.write(&data).already_written(&old).wait().unwrap();
    assert_eq!(committed.birth(), pipeline.txg());
    assert!(committed.is_replaced_by(&written().over(&committed).wait().unwrap()));
    assert!(pipeline.read(&old).wait().unwrap() == data);
    assert_eq!(pipeline.write(&data).sync_pass(0).wait().unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_write_over_a_block_that_fails_leaves_its_space_alone() {
    let sim = Sim::new(6, 1);
    let pipeline = sim.pipeline();
    let old = pipeline.write(noise(1, 8192)).wait().unwrap();
    let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).times(2);
    sim.disks[0].inject(fault);
    let write = pipeline.write(noise(2, 8192)).over(&old).sync_pass(2);
    assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(pipeline.allocated_bytes(), 8192);
    // A new block's space goes back, also when it was to replace another one.
    let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).times(2);
    sim.disks[0].inject(fault);
    let write = pipeline.write(noise(2, 8192)).over(&old);
    assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(pipeline.allocated_bytes(), 8192);
    pipeline.free(&old).wait().unwrap();
    assert_eq!(pipeline.allocated_bytes(), 0);
}

/// C3: each pass changes what the block holds and how well it compresses.
#[test]
fn the_passes_of_a_sync_converge() {
    let sim = Sim::new(7, 1);
    let pipeline = sim.pipeline();
    let contents = |pass: u32| {
        let mut data = noise(u64::from(pass), 65_536);
        data[..4096 * (16 - pass as usize)].fill(1);
        data
    };
    for sync in 0..2 {
        let older = strong(&pipeline, &contents(1)).wait().unwrap();
        pipeline.end_txg();
        let (mut last, mut moved) = (older, Vec::new());
        for pass in 1..=10 {
            let data = contents(pass);
            let write = strong(&pipeline, &data).over(&last).sync_pass(pass).nop_write(false);
            let bp = write.wait().unwrap();
            let packed = bp.compression() != Compression::Off.id();
            assert_eq!(packed, pass < NO_COMPRESSION_PASS_MIN, "sync {sync}, pass {pass}: {bp}");
            assert!(pipeline.read(&bp).wait().unwrap() == data);
            if last.is_replaced_by(&bp) {
                moved.push(pass);
                pipeline.free(&last).wait().unwrap();
            }
            last = bp;
        }
        // From then on nothing is allocated any more, and there is nothing left to sync.
        assert_eq!(moved.last(), Some(&NO_COMPRESSION_PASS_MIN), "{moved:?}");
        assert_eq!(pipeline.allocated_bytes(), 65_536);
        pipeline.free(&last).wait().unwrap();
    }
    // Late in the sync, and not again: compressed.
    let old = strong(&pipeline, &contents(1)).wait().unwrap();
    pipeline.end_txg();
    for write in [strong(&pipeline, &contents(2)), strong(&pipeline, &contents(2)).over(&old)] {
        let bp = write.sync_pass(NO_COMPRESSION_PASS_MIN + 1).wait().unwrap();
        assert_eq!(bp.compression(), Compression::Lz4.id());
    }
}

/// Salt and IV of an encrypted block stand where a gang has its third address.
#[cfg(feature = "crypt")]
#[test]
fn an_encrypted_block_does_not_fit_over_a_gang_of_three_addresses() {
    use zio_pipeline::{DatasetKeys, Suite};
    let pool = Fragmented::new(8, 2, 9, 4096);
    let keys = DatasetKeys::new(Suite::Aes256Gcm, &[1; 32]).unwrap();
    let builder = pool.sim.builder().ashift(9).allocator(Arc::clone(&pool.space) as _);
    let pipeline = builder.keys(keys).build().unwrap();
    let (before, after) = (noise(1, 16_384), noise(2, 16_384));
    let old = pipeline.write(&before).copies(2).wait().unwrap();
    assert!(old.is_gang() && old.copies() == 3);
    let write = pipeline.write(&after).copies(2).encrypt(true);
    let new = write.over(&old).sync_pass(REWRITE_PASS_MIN).wait().unwrap();
    assert!(new.is_encrypted() && old.is_replaced_by(&new));
    assert!(pipeline.read(&old).wait().unwrap() == before);
    assert!(pipeline.read(&new).wait().unwrap() == after);
    for bp in [&old, &new] {
        pipeline.free(bp).wait().unwrap();
    }
    pool.space.settle(u64::MAX);
    assert_eq!(pipeline.allocated_bytes(), 0);
}
