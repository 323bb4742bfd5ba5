//! Gang blocks (B6): written where no extent is long enough, read, freed and
//! claimed as one block; a header that cannot be read changes nothing.

use std::sync::Arc;

use vdev_disk::Memory;
use vdev_sim::{DiskConfig, Effect, Fault, OpKind, Rng, SimAllocator, SimAllocatorConfig};
use zio_core::{Allocator, VdevErrorKind};
use zio_pipeline::{BlockPointer, Checksum, Compression, DATA_START_BYTES, ErrorKind, Pipeline};

use crate::common::{MIB, Sim, compressible, noise};

const UNIT: u64 = 512;

/// A pool whose allocator has no extent longer than `contiguous_bytes_max`.
pub(crate) struct Fragmented {
    pub(crate) sim: Sim,
    pub(crate) space: Arc<SimAllocator>,
}

impl Fragmented {
    pub(crate) fn new(seed: u64, disks: usize, ashift: u32, contiguous_bytes_max: u64) -> Self {
        let sim = Sim::with(seed, disks, DiskConfig::fixed(24 * MIB, 1000));
        let data_bytes = 24 * MIB - 4 * MIB - MIB / 2;
        let space = SimAllocator::new(SimAllocatorConfig {
            unit_bytes: 1 << ashift,
            contiguous_bytes_max,
            fail_permille: 0,
            ..SimAllocatorConfig::new(seed, &vec![data_bytes; disks])
        });
        Self { sim, space }
    }

    pub(crate) fn pipeline(&self, ashift: u32) -> Pipeline {
        self.builder(ashift).build().unwrap()
    }

    pub(crate) fn builder(&self, ashift: u32) -> zio_pipeline::Builder {
        self.sim.builder().ashift(ashift).allocator(Arc::clone(&self.space) as Arc<dyn Allocator>)
    }
}

/// The pointer, as it would come back from a disk.
fn checked(pipeline: &Pipeline, bp: &BlockPointer) -> BlockPointer {
    pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap()
}

#[test]
fn a_block_in_pieces_is_a_block() {
    for (ashift, large) in [(9, false), (12, false), (12, true), (13, true)] {
        let pool = Fragmented::new(1, 2, ashift, 4096.max(1 << ashift));
        let builder = pool.builder(ashift);
        let builder = if large { builder.large_gang_headers() } else { builder };
        let pipeline = builder.build().unwrap();
        let mut written = Vec::new();
        for (seed, len) in [(1, 8192 << (ashift - 9).min(2)), (2, 131_072), (3, MIB as usize)] {
            for copies in 1..=3 {
                let data = compressible(seed, len);
                let write = pipeline.write(&data).copies(copies);
                let write = match copies {
                    2 => write.compression(Compression::Lz4).checksum(Checksum::Sha256),
                    _ => write,
                };
                let bp = checked(&pipeline, &write.wait().unwrap());
                assert!(bp.is_gang() && bp.dvas().all(|dva| dva.is_gang()), "{bp}");
                assert!(bp.copies() >= usize::from(copies), "{bp}");
                assert!(pipeline.read(&bp).wait().unwrap() == data, "{bp}");
                written.push(bp);
            }
        }
        // What the addresses say is what was taken, to the byte.
        let said: u64 = written.iter().map(BlockPointer::asize_bytes).sum();
        assert_eq!(pipeline.allocated_bytes(), said, "ashift {ashift}");
        for bp in &written {
            pipeline.free(bp).wait().unwrap();
        }
        pool.space.settle(u64::MAX);
        assert_eq!((pipeline.allocated_bytes(), pipeline.live()), (0, 0));
    }
}

#[test]
fn what_is_whole_stays_whole() {
    let pool = Fragmented::new(2, 1, 9, 4096);
    let pipeline = pool.pipeline(9);
    let bp = pipeline.write(noise(1, 4096)).wait().unwrap();
    assert!(!bp.is_gang());
    // One unit cannot be divided.
    pool.space.set_contiguous_bytes_max(0);
    assert_eq!(pipeline.write(noise(1, 512)).wait().unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(pipeline.write(noise(1, 4096)).wait().unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(pipeline.allocated_bytes(), 4096);
}

#[test]
fn another_life_claims_a_gang_whole() {
    let pool = Fragmented::new(3, 2, 9, 2048);
    let data = noise(1, 100 * 512);
    let (bp, allocated) = {
        let pipeline = pool.pipeline(9);
        let bp = pipeline.write(&data).copies(2).wait().unwrap();
        pipeline.flush().wait().unwrap();
        (bp, pipeline.allocated_bytes())
    };
    let again = Fragmented { sim: pool.sim, space: Fragmented::new(4, 2, 9, 2048).space };
    let pipeline = again.pipeline(9);
    let bp = checked(&pipeline, &bp);
    pipeline.claim(&bp).wait().unwrap();
    assert_eq!(pipeline.allocated_bytes(), allocated);
    // No piece of it is free for somebody else, and it cannot be claimed twice.
    assert_eq!(pipeline.claim(&bp).wait().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(pipeline.allocated_bytes(), allocated);
    assert!(pipeline.read(&bp).wait().unwrap() == data);
    let others: Vec<_> =
        (0..100).map(|seed| pipeline.write(noise(seed, 2048)).wait().unwrap()).collect();
    assert!(pipeline.read(&bp).wait().unwrap() == data);
    for other in &others {
        pipeline.free(other).wait().unwrap();
    }
    pipeline.free(&bp).wait().unwrap();
    again.space.settle(u64::MAX);
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn an_unreadable_header_changes_nothing() {
    let pool = Fragmented::new(5, 1, 9, 1024);
    let pipeline = pool.pipeline(9);
    let bp = pipeline.write(noise(1, 65_536)).wait().unwrap();
    let before = pipeline.allocated_bytes();
    // All headers but those on top: they are found behind the first ones.
    for copy in 0..bp.copies() {
        let (disk, at) = pool.sim.place(&bp, copy);
        disk.corrupt(at, UNIT);
    }
    for error in
        [pipeline.free(&bp).wait(), pipeline.claim(&bp).wait(), pipeline.read(&bp).wait().map(drop)]
            .map(Result::unwrap_err)
    {
        assert_eq!(error.kind(), ErrorKind::Checksum, "{error}");
        assert!(error.place().vdev.is_some(), "{error}");
    }
    assert_eq!(pipeline.allocated_bytes(), before);
}

#[test]
fn a_bad_copy_of_a_header_or_a_piece_is_healed() {
    let pool = Fragmented::new(6, 3, 9, 1024);
    let pipeline = pool.pipeline(9);
    let data = noise(1, 8192);
    let bp = pipeline.write(&data).copies(2).wait().unwrap();
    let (disk, at) = pool.sim.place(&bp, 0);
    disk.corrupt(at, UNIT);
    assert!(pipeline.read(&bp).wait().unwrap() == data);
    assert_eq!(pipeline.healed().copies, 1);
    assert!(pipeline.read(&bp).wait().unwrap() == data);
    assert_eq!((pipeline.healed().copies, pipeline.healed().failed), (1, 0));
}

#[test]
fn a_header_is_good_in_its_place_and_for_its_birth_only() {
    let pool = Fragmented::new(7, 1, 9, 1024);
    let pipeline = pool.pipeline(9);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    // The same address, written in another txg.
    let mut younger = bp;
    younger.set_birth(bp.birth() + 1, bp.birth() + 1);
    // The same header, in another place.
    let mut moved = bp;
    let (disk, at) = pool.sim.place(&bp, 0);
    let header = disk.peek(at, UNIT as usize);
    let free = noise(9, 512);
    let elsewhere = pipeline.write(&free).wait().unwrap();
    let (_, there) = pool.sim.place(&elsewhere, 0);
    disk.poke(there, &header);
    for index in 0..3 {
        moved.set_dva(index, zio_core::Dva::EMPTY);
    }
    moved.set_dva(0, elsewhere.dva(0).unwrap().with_gang(true));
    for stale in [younger, moved] {
        let error = pipeline.read(&checked(&pipeline, &stale)).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checksum, "{error}");
    }
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
}

#[test]
fn a_failed_write_gives_every_piece_back() {
    let (mut failed, mut written) = (0, 0);
    for seed in 0..60 {
        let pool = Fragmented::new(seed, 2, 9, 1024);
        let pipeline = pool.pipeline(9);
        let kept = pipeline.write(noise(1, 4096)).wait().unwrap();
        let before = pipeline.allocated_bytes();
        // From some write on, one disk takes no more.
        let mut rng = Rng::new(seed);
        let fault = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write);
        pool.sim.disks[rng.index(2)].inject(fault.skip(rng.below(80)).always());
        match pipeline.write(noise(2, 16_384)).copies(1 + (seed % 3) as u8).wait() {
            Ok(bp) => {
                written += 1;
                assert!(pipeline.read(&bp).wait().unwrap() == noise(2, 16_384));
                pipeline.free(&bp).wait().unwrap();
            }
            Err(error) => {
                failed += 1;
                assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            }
        }
        pool.space.settle(u64::MAX);
        assert_eq!((pipeline.allocated_bytes(), pipeline.live()), (before, 0), "seed {seed}");
        assert!(pipeline.read(&kept).wait().unwrap() == noise(1, 4096));
    }
    assert!(failed > 5 && written > 5, "{failed} failed, {written} did not");
}

#[test]
fn gangs_are_shared_and_freed_like_other_blocks() {
    let pool = Fragmented::new(8, 2, 9, 1024);
    let pipeline = pool.pipeline(9);
    let data = noise(1, 16_384);
    let write = || pipeline.write(&data).checksum(Checksum::Sha256).dedup(true).wait().unwrap();
    let first = write();
    let allocated = pipeline.allocated_bytes();
    let second = write();
    assert!(first.is_gang() && second.is_gang() && first.dva(0) == second.dva(0));
    assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), (allocated, 2));
    assert!(pipeline.read(&second).wait().unwrap() == data);
    pipeline.free(&first).wait().unwrap();
    assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), (allocated, 1));
    assert!(pipeline.read(&second).wait().unwrap() == data);

    // The last reference stays as long as the headers cannot be read.
    let saved: Vec<_> = (0..second.copies())
        .map(|copy| {
            let (disk, at) = pool.sim.place(&second, copy);
            let bytes = disk.peek(at, UNIT as usize);
            disk.corrupt(at, UNIT);
            (disk, at, bytes)
        })
        .collect();
    assert_eq!(pipeline.free(&second).wait().unwrap_err().kind(), ErrorKind::Checksum);
    assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), (allocated, 1));
    for (disk, at, bytes) in saved {
        disk.poke(at, &bytes);
    }
    pipeline.free(&second).wait().unwrap();
    pool.space.settle(u64::MAX);
    assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), (0, 0));
}

#[test]
fn what_cannot_be_divided_is_no_gang() {
    let pool = Fragmented::new(16, 1, 9, 4096);
    let pipeline = pool.pipeline(9);
    pool.space.set_fail_permille(500);
    let (mut written, mut refused) = (0, 0);
    for seed in 0..100 {
        match pipeline.write(noise(seed, 512)).wait() {
            Ok(bp) => {
                assert!(!bp.is_gang(), "{bp}");
                written += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace);
                refused += 1;
            }
        }
    }
    assert!(written > 20 && refused > 20, "{written} written, {refused} refused");
}

#[test]
fn a_header_less_is_better_than_no_block() {
    let pool = Fragmented::new(15, 2, 9, 4096);
    let pipeline = pool.pipeline(9);
    let mut by_headers = [0; 4];
    for seed in 0..300 {
        // Every other wish is refused, though there is space.
        pool.space.set_fail_permille(500);
        let written = pipeline.write(noise(seed, 8192)).wait();
        pool.space.set_fail_permille(0);
        match written {
            Ok(bp) if bp.is_gang() => {
                by_headers[bp.copies()] += 1;
                assert_eq!(pipeline.allocated_bytes(), bp.asize_bytes());
                assert!(pipeline.read(&bp).wait().unwrap() == noise(seed, 8192));
                pipeline.free(&bp).wait().unwrap();
            }
            Ok(bp) => panic!("{bp} is in one piece"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace),
        }
        pool.space.settle(u64::MAX);
        assert_eq!(pipeline.allocated_bytes(), 0);
    }
    assert!(by_headers[1] > 5 && by_headers[2] > 5, "{by_headers:?}");
}

#[test]
fn a_claimed_gang_is_shared_by_writes_of_as_many_copies() {
    for copies in 1..=3 {
        let pool = Fragmented::new(9, 3, 9, 1024);
        let data = noise(1, 8192);
        let write = |pipeline: &Pipeline, copies| {
            let write = pipeline.write(&data).checksum(Checksum::Sha256).dedup(true);
            write.copies(copies).wait().unwrap()
        };
        let bp = write(&pool.pipeline(9), copies);
        let again = Fragmented { sim: pool.sim, space: Fragmented::new(10, 3, 9, 1024).space };
        let pipeline = again.pipeline(9);
        pipeline.claim(&checked(&pipeline, &bp)).wait().unwrap();
        pipeline.claim(&checked(&pipeline, &bp)).wait().unwrap();
        let mut live = vec![bp, bp];
        for wanted in 1..=3 {
            let twin = write(&pipeline, wanted);
            assert_eq!(twin.dva(0) == bp.dva(0), wanted == copies, "{wanted} for {copies}");
            live.push(twin);
        }
        assert_eq!(pipeline.dedup_references(), 5);
        for bp in &live {
            assert!(pipeline.read(bp).wait().unwrap() == data);
            pipeline.free(bp).wait().unwrap();
        }
        again.space.settle(u64::MAX);
        assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), (0, 0));
    }
}

#[test]
fn a_twin_of_a_later_birth_finds_the_headers() {
    let pool = Fragmented::new(11, 2, 9, 1024);
    let pipeline = pool.pipeline(9);
    let data = noise(1, 16_384);
    let write = || pipeline.write(&data).checksum(Checksum::Sha256).dedup(true).wait().unwrap();
    let first = write();
    (0..3).for_each(|_| _ = pipeline.end_txg());
    let second = checked(&pipeline, &write());
    assert!(second.birth() > first.birth() && second.dva(0) == first.dva(0));
    pipeline.free(&first).wait().unwrap();
    assert!(pipeline.read(&second).wait().unwrap() == data);
    pipeline.free(&second).wait().unwrap();
    pool.space.settle(u64::MAX);
    assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), (0, 0));
}

#[test]
fn a_gang_that_fails_after_all_is_written_gives_everything_back() {
    let pool = Fragmented::new(12, 2, 9, 1024);
    let pipeline = pool.pipeline(9);
    for dedup in [false, true] {
        let write = pipeline.write(noise(1, 16_384)).checksum(Checksum::Sha256).dedup(dedup);
        let write = write.copies(2).on_ready(|_| panic!("no"));
        assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::Lost);
        pipeline.wait_idle();
        pool.space.settle(u64::MAX);
        assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), (0, 0));
    }
}

#[test]
fn what_a_read_is_told_holds_for_headers_and_pieces() {
    let pool = Fragmented::new(13, 3, 9, 1024);
    let pipeline = pool.pipeline(9);
    let data = noise(1, 8192);
    let dedup = pipeline.write(&data).copies(2).checksum(Checksum::Sha256).dedup(true);
    for bp in [pipeline.write(&data).copies(2).wait().unwrap(), dedup.wait().unwrap()] {
        // All that the first disk has of it.
        let before = pipeline.healed().copies;
        let taken = pool.space.taken();
        for (_, range) in taken.iter().filter(|(vdev, _)| vdev.0 == 0) {
            let at = DATA_START_BYTES + range.start;
            pool.sim.disks[0].corrupt(at, range.end - range.start);
        }
        assert!(pipeline.read(&bp).every_copy().repair(false).wait().unwrap() == data);
        assert_eq!(pipeline.healed().copies, before);
        assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data);
        let healed = pipeline.healed().copies;
        assert!(healed >= before + 5, "{healed}");
        assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data);
        assert_eq!(pipeline.healed().copies, healed);
        pipeline.free(&bp).wait().unwrap();
        pool.space.settle(u64::MAX);
    }
}

#[test]
fn many_threads_write_read_and_free_gangs() {
    let space = SimAllocator::new(SimAllocatorConfig {
        unit_bytes: 512,
        contiguous_bytes_max: 1024,
        fail_permille: 2,
        reserve_bytes_max: 65_536,
        ..SimAllocatorConfig::new(14, &[11 * MIB])
    });
    let given = Arc::clone(&space) as Arc<dyn Allocator>;
    let disk = Arc::new(Memory::new(16 * MIB, 512));
    let pipeline = Pipeline::builder().vdev(disk).ashift(9).allocator(given).build().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let pipeline = &pipeline;
            scope.spawn(move || {
                for round in 0..60 {
                    // Some contents are everybody's.
                    let data = noise(round % 7, 24_576);
                    let write = pipeline.write(&data).checksum(Checksum::Sha256);
                    match write.dedup((thread + round) % 2 == 0).wait() {
                        Ok(bp) => {
                            assert!(pipeline.read(&bp).wait().unwrap() == data);
                            pipeline.free(&bp).wait().unwrap();
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}"),
                    }
                }
            });
        }
    });
    pipeline.wait_idle();
    space.settle(u64::MAX);
    assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), (0, 0));
}
