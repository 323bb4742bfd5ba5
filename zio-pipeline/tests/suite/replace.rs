//! Writes that replace a block: kept where it is equal (C5), written over within its sync (C4)
//! whose passes converge (C3), or a hole with a birth (B3).

use std::sync::Arc;

use checksum::{ByteOrder as Order, Context, Salt};
use parking_lot::Mutex;
use vdev_sim::{Effect, Fault, OpKind};
use zio_core::{Flags, VdevErrorKind};
use zio_pipeline::{
    BlockPointer, Checksum, Compression, ErrorKind, NO_COMPRESSION_PASS_MIN, Pipeline,
    REWRITE_PASS_MIN, Write, ZstdLevel,
};

use crate::common::{MIB, Sim, compressible, noise, on_memory};
use crate::gangs::Fragmented;

const STRONG: [Checksum; 5] =
    [Checksum::Sha256, Checksum::Sha512_256, Checksum::Skein, Checksum::Edonr, Checksum::Blake3];

const ZSTD: Compression = Compression::Zstd(ZstdLevel::DEFAULT);

fn strong(pipeline: &Pipeline, data: &[u8]) -> Write {
    pipeline.write(data).checksum(Checksum::Sha256).compression(Compression::Lz4)
}

fn writes(sim: &Sim) -> usize {
    sim.take_log(OpKind::Write).len()
}

#[test]
fn an_equal_block_is_kept() {
    let sim = Sim::new(1, 3);
    let pipeline = sim.pipeline();
    for checksum in STRONG {
        for compression in [Compression::Empty, Compression::Lz4, ZSTD] {
            for (data, copies) in [(compressible(1, 65_536), 1), (noise(2, 8192), 3)] {
                let write = || {
                    let write = pipeline.write(&data).copies(copies).checksum(checksum);
                    write.compression(compression).object_type(20)
                };
                let old = write().wait().unwrap();
                pipeline.end_txg();
                let (held, _) = (pipeline.allocated_bytes(), writes(&sim));
                let ready = Arc::new(Mutex::new(None));
                let seen = Arc::clone(&ready);
                let new = write().over(&old).on_ready(move |bp| *seen.lock() = Some(*bp));
                let new = new.wait().unwrap();
                assert_eq!(new, old);
                assert!(new.birth() < pipeline.txg());
                assert_eq!(*ready.lock(), Some(old));
                assert_eq!((writes(&sim), pipeline.allocated_bytes()), (0, held));
                assert!(!old.is_replaced_by(&new));
                assert!(pipeline.read(&new).wait().unwrap() == data);
            }
        }
    }
}

#[test]
fn whatever_differs_is_written() {
    let sim = Sim::new(2, 3);
    let pipeline = sim.pipeline();
    let data = compressible(1, 65_536);
    // What an eighth cannot be saved of is stored alike with every compression.
    let plain = noise(1, 65_536);
    let mut other = data.clone();
    other[65_535] ^= 1;
    type Make<'a> = Box<dyn Fn() -> Write + 'a>;
    let make = |write: fn(&Pipeline, &[u8]) -> Write, data| -> Make<'_> {
        let pipeline = &pipeline;
        Box::new(move || write(pipeline, data))
    };
    let strong_of = |data| make(strong, data);
    let cases: Vec<(&str, Make<'_>, Make<'_>)> = vec![
        ("contents", strong_of(&data), strong_of(&other)),
        (
            "weak checksum",
            { make(|p, data| p.write(data).compression(Compression::Lz4), &data) },
            make(|p, data| p.write(data).compression(Compression::Lz4), &data),
        ),
        ("checksum", strong_of(&data), {
            make(|p, data| strong(p, data).checksum(Checksum::Blake3), &data)
        }),
        ("compression", strong_of(&data), {
            make(|p, data| strong(p, data).compression(Compression::Lzjb), &data)
        }),
        ("no compression", strong_of(&plain), {
            make(|p, data| strong(p, data).compression(Compression::Off), &plain)
        }),
        ("more copies", strong_of(&data), make(|p, data| strong(p, data).copies(2), &data)),
        ("fewer copies", make(|p, data| strong(p, data).copies(3), &data), {
            make(|p, data| strong(p, data).copies(2), &data)
        }),
        ("type", strong_of(&data), make(|p, data| strong(p, data).object_type(20), &data)),
        ("level", strong_of(&data), make(|p, data| strong(p, data).level(1), &data)),
        ("parents", make(|p, data| strong(p, data).level(1), &data), {
            make(|p, data| strong(p, data).level(1), &data)
        }),
        ("dedup", strong_of(&data), make(|p, data| strong(p, data).dedup(true), &data)),
        ("no dedup", make(|p, data| strong(p, data).dedup(true), &data), strong_of(&data)),
        ("not wanted", strong_of(&data), {
            make(|p, data| strong(p, data).nop_write(false), &data)
        }),
        ("was embedded", make(|p, _| strong(p, &[5; 65_536]), &data), strong_of(&data)),
        ("was a hole", make(|p, _| strong(p, &[0; 65_536]), &data), strong_of(&data)),
    ];
    for (what, before, after) in cases {
        let old = before().wait().unwrap();
        let was = pipeline.read(&old).wait().unwrap().to_vec();
        let txg = pipeline.end_txg() + 1;
        writes(&sim);
        let new = after().over(&old).wait().unwrap();
        assert!(!new.same_block(&old) && writes(&sim) > 0, "{what}");
        assert_eq!((new.birth(), new.physical_birth()), (txg, txg), "{what}");
        assert!(old.copies() == 0 || old.is_replaced_by(&new), "{what}");
        assert!(pipeline.read(&old).wait().unwrap() == was, "{what}");
        let is = if what == "contents" { &other } else { &data };
        let is = if what == "no compression" { &plain } else { is };
        assert!(pipeline.read(&new).wait().unwrap() == *is, "{what}");
        for bp in [&old, &new] {
            pipeline.free(bp).wait().unwrap();
        }
        assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), (0, 0), "{what}");
    }
    // Equal, and not said to replace anything.
    let old = strong(&pipeline, &data).wait().unwrap();
    assert!(strong(&pipeline, &data).wait().unwrap().dva(0) != old.dva(0));
}

/// Its MAC, which is not taken for a checksum, is all that proves an authenticated block.
#[cfg(feature = "crypt")]
#[test]
fn a_block_with_a_mac_is_never_kept() {
    use zio_pipeline::{DatasetKeys, Suite};
    let sim = Sim::new(3, 1);
    let keys = DatasetKeys::new(Suite::Aes256Gcm, &[1; 32]).unwrap().hmac(&[2; 64]).unwrap();
    let pipeline = sim.builder().keys(keys).build().unwrap();
    for object_type in [1, 19] {
        let data = compressible(1, 65_536);
        let write = || strong(&pipeline, &data).encrypt(true).object_type(object_type);
        let old = write().wait().unwrap();
        let new = write().over(&old).wait().unwrap();
        assert!(old.is_replaced_by(&new), "type {object_type}");
        // Within a sync it is written over like any other, with an IV of its own.
        let newer = write().over(&new).sync_pass(2).wait().unwrap();
        assert!(!new.is_replaced_by(&newer));
        assert_eq!(new.crypt_words() == newer.crypt_words(), object_type == 1);
        assert!(pipeline.read(&newer).wait().unwrap() == data);
    }
}

/// Addresses count headers: one more than copies, unless there are three.
#[test]
fn a_gang_is_kept_where_it_has_as_many_headers_as_copies() {
    let pool = Fragmented::new(3, 3, 9, 4096);
    let pipeline = pool.pipeline(9);
    for copies in 1..=3 {
        let write = || strong(&pipeline, &noise(1, 65_536)).copies(copies);
        let old = write().wait().unwrap();
        assert!(old.is_gang());
        let held = pipeline.allocated_bytes();
        let new = write().over(&old).wait().unwrap();
        assert_eq!(old.is_replaced_by(&new), copies < 3);
        assert_eq!(pipeline.allocated_bytes() == held, copies == 3);
        assert!(pipeline.read(&new).wait().unwrap() == noise(1, 65_536));
    }
}

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

/// What whoever looks at the finished request can tell.
#[test]
fn a_finished_write_says_that_it_kept_or_wrote_over() {
    let sim = Sim::new(10, 1);
    let pipeline = sim.pipeline();
    let old = strong(&pipeline, &noise(1, 8192)).wait().unwrap();
    let both = Flags::NOPWRITE | Flags::IO_REWRITE;
    for (seed, pass, expected) in [
        (1, 1, Flags::NOPWRITE),
        (2, 1, Flags::empty()),
        (2, 2, Flags::IO_REWRITE),
        (2, 3, Flags::empty()),
    ] {
        let completions = pipeline.completions();
        let write = strong(&pipeline, &noise(seed, 8192)).over(&old);
        let write = if pass == 3 { write.copies(2) } else { write.sync_pass(pass) };
        write.send_to(&completions, 0).unwrap();
        let (_, finished) = completions.next().unwrap();
        assert_eq!(finished.get().flags() & both, expected, "contents {seed}, pass {pass}");
    }
}

/// Same space, same births, one reference more.
#[test]
fn a_shared_block_that_replaces_its_equal_leaves_one_to_be_freed() {
    let sim = Sim::new(11, 1);
    let pipeline = sim.pipeline();
    let write = || strong(&pipeline, &noise(1, 8192)).dedup(true);
    let old = write().wait().unwrap();
    let new = write().over(&old).wait().unwrap();
    assert!(new == old && pipeline.dedup_references() == 2);
    assert!(old.is_replaced_by(&new));
    pipeline.free(&old).wait().unwrap();
    assert!(pipeline.read(&new).wait().unwrap() == noise(1, 8192));
    pipeline.free(&new).wait().unwrap();
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
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

#[test]
fn zeros_of_every_length_are_a_hole() {
    let sim = Sim::new(8, 1);
    let pipeline = sim.builder().txg(7).build().unwrap();
    let lens = (1..=256).chain([2048, 32_767, 32_768]).map(|sectors| sectors * 512);
    for (number, len) in lens.enumerate() {
        let compression = [Compression::Empty, Compression::Lz4, ZSTD][number % 3];
        let write = pipeline.write(vec![0; len]).compression(compression);
        let bp = write.object_type(20).level(1).copies(3).wait().unwrap();
        assert_eq!(bp, BlockPointer::hole(len as u64, 20, 1, 7));
        assert!(bp.is_hole() && bp.birth() == 7 && bp.lsize_bytes() == len as u64);
        let checked = pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
        let data = pipeline.read(&checked).wait().unwrap();
        assert!(data.len() == len && data.chunks().flatten().all(|byte| *byte == 0));
    }
    assert_eq!((sim.disks[0].counters().writes, pipeline.allocated_bytes()), (0, 0));
}

#[test]
fn one_byte_anywhere_is_no_hole() {
    let pipeline = on_memory(64 * MIB);
    let mut data = vec![0; 1536];
    for at in 0..data.len() {
        data[at] = 1 << (at % 8);
        let bp = pipeline.write(&data).compression(Compression::Empty).wait().unwrap();
        assert!(!bp.is_hole() && pipeline.read(&bp).wait().unwrap() == data, "byte {at}");
        pipeline.free(&bp).wait().unwrap();
        data[at] = 0;
    }
}

#[test]
fn a_hole_says_when_its_block_went_away() {
    let sim = Sim::new(9, 1);
    let pipeline = sim.pipeline();
    let old = pipeline.write(noise(1, 8192)).wait().unwrap();
    let txg = pipeline.end_txg() + 1;
    let zeros = || {
        let write = pipeline.write(vec![0; 8192]).compression(Compression::Lz4);
        write.object_type(20).level(2)
    };
    let hole = zeros().over(&old).wait().unwrap();
    assert_eq!(hole, BlockPointer::hole(8192, 20, 2, txg));
    assert!(old.is_replaced_by(&hole));
    pipeline.end_txg();
    assert_eq!(zeros().over(&hole).wait().unwrap().birth(), txg + 1);
    // Nothing went away: still never written.
    let nothing = zeros().over(&BlockPointer::EMPTY).wait().unwrap();
    assert_eq!(nothing, BlockPointer::EMPTY);
    let data = pipeline.read(&nothing).size_if_never_written(8192).wait().unwrap();
    assert!(data == vec![0; 8192]);
    // A block where nothing was.
    let first = pipeline.write(noise(1, 8192)).over(&BlockPointer::EMPTY).wait().unwrap();
    assert!(pipeline.read(&first).wait().unwrap() == noise(1, 8192));
}
