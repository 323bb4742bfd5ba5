//! Space: claims, frees, trims, transaction groups, a full pool (C8, C9, C11, D7).

use std::error::Error as _;
use std::sync::Arc;

use metaslab::Metaslabs;
use vdev_disk::Memory;
use vdev_sim::{OpKind, SimAllocator, SimAllocatorConfig};
use zio_core::{Allocator, Dva, Dvas, NoSpace, Slots, SpaceError, Txg, Want};
use zio_pipeline::{BlockPointer, DATA_START_BYTES, ErrorKind, Pipeline, VdevId};

use crate::common::{Gated, MIB, Sim, noise, on_memory};

/// Bytes of blocks on a device of this size.
fn data_bytes(size_bytes: u64) -> u64 {
    size_bytes - DATA_START_BYTES - MIB / 2
}

#[test]
fn a_claim_that_fails_changes_nothing() {
    let disks: Vec<_> = (0..2).map(|_| Arc::new(Memory::new(32 * MIB, 512))).collect();
    for defer_txgs in [0, 2] {
        let open = || {
            let vdevs = disks.iter().map(|disk| Arc::clone(disk) as Arc<_>);
            let builder = Pipeline::builder().defer_frees(defer_txgs);
            vdevs.fold(builder, zio_pipeline::Builder::vdev).build().unwrap()
        };
        let first = open();
        let bp = first.write(noise(1, 8192)).copies(2).wait().unwrap();
        drop(first);

        let second = open();
        // The second copy's place is taken.
        let mut half = bp;
        half.set_dva(0, bp.dva(1).unwrap());
        half.set_dva(1, Dva::EMPTY);
        second.claim(&half).wait().unwrap();
        let error = second.claim(&bp).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(second.allocated_bytes(), 8192);
        second.claim(&half).wait().unwrap_err();
        second.free(&half).wait().unwrap();
        (0..3).for_each(|_| _ = second.end_txg());
        second.claim(&bp).wait().unwrap();
        assert_eq!(second.allocated_bytes(), 16384);

        // Two addresses of one pointer that overlap.
        let mut twice = bp;
        twice.set_dva(0, bp.dva(0).unwrap());
        twice.set_dva(1, bp.dva(0).unwrap());
        let third = open();
        let error = third.claim(&twice).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(third.allocated_bytes(), 0);
    }
}

/// Says that any claim could succeed, as if somebody else claimed in between, and hands out
/// one extent less than is wanted, where no more than `scarce_bytes` are.
#[derive(Debug)]
struct Liar<A> {
    space: A,
    scarce_bytes: u64,
}

impl<A: Allocator> Allocator for Liar<A> {
    fn check_claim(&self, _: Dva) -> Result<(), SpaceError> {
        Ok(())
    }
    fn allocate(&self, want: &Want) -> Result<Dvas, NoSpace> {
        let mut dvas = self.space.allocate(want)?;
        if want.size_bytes <= self.scarce_bytes
            && let Some(kept) = dvas.pop()
        {
            self.space.unallocate(kept, want.txg).unwrap();
        }
        Ok(dvas)
    }
    fn free(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.space.free(dva, txg)
    }
    fn unallocate(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.space.unallocate(dva, txg)
    }
    fn claim(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.space.claim(dva, txg)
    }
    fn reserve(&self, bytes: u64) -> Option<Slots> {
        self.space.reserve(bytes)
    }
    fn largest_bytes(&self) -> u64 {
        self.space.largest_bytes()
    }
    fn free_bytes(&self) -> u64 {
        self.space.free_bytes()
    }
    fn allocated_bytes(&self) -> u64 {
        self.space.allocated_bytes()
    }
}

#[test]
fn an_allocator_that_gives_less_than_it_says_gets_it_back() {
    // Blocks, and the headers of gangs, for which there is no room whole.
    for (scarce_bytes, contiguous_bytes_max, len) in [(4096, u64::MAX, 4096), (512, 4096, 8192)] {
        let space = SimAllocator::new(SimAllocatorConfig {
            contiguous_bytes_max,
            unit_bytes: 512,
            ..SimAllocatorConfig::new(1, &[data_bytes(32 * MIB)])
        });
        let space = Arc::new(Liar { space: Arc::into_inner(space).unwrap(), scarce_bytes });
        let disk = Arc::new(Memory::new(32 * MIB, 512));
        let builder = Pipeline::builder().vdev(disk).ashift(9).allocator(space);
        let pipeline = builder.build().unwrap();
        for copies in 1..=3 {
            let write = pipeline.write(noise(1, len)).copies(copies);
            assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::NoSpace);
            assert_eq!(pipeline.allocated_bytes(), 0);
        }
    }
}

#[test]
fn a_claim_that_somebody_else_overtakes_changes_nothing() {
    for defer_txgs in [0, 2] {
        let config = metaslab::Config { defer_txgs, ..metaslab::Config::default() };
        let space = Metaslabs::new(config);
        space.add_vdev(VdevId(0), data_bytes(32 * MIB), 12).unwrap();
        let (disk, space) =
            (Arc::new(Memory::new(32 * MIB, 512)), Arc::new(Liar { space, scarce_bytes: 0 }));
        let given = Arc::clone(&space);
        let pipeline = Pipeline::builder().vdev(disk).allocator(given).build().unwrap();
        let taken = pipeline.write(noise(1, 8192)).wait().unwrap();
        let mut bp = taken;
        bp.set_dva(0, Dva::new(VdevId(0), MIB, 8192));
        bp.set_dva(1, Dva::new(VdevId(0), 2 * MIB, 8192));
        bp.set_dva(2, taken.dva(0).unwrap());
        assert_eq!(pipeline.claim(&bp).wait().unwrap_err().kind(), ErrorKind::NotFound);
        (1..5).for_each(|txg| space.space.end_of_txg(txg));
        assert_eq!(pipeline.allocated_bytes(), 8192);
    }
}

#[test]
fn a_free_of_what_is_not_allocated_is_an_error() {
    let pipeline = on_memory(32 * MIB);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    pipeline.free(&bp).wait().unwrap();
    assert_eq!(pipeline.free(&bp).wait().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(pipeline.free_bytes(), data_bytes(32 * MIB));
    pipeline.free(&BlockPointer::EMPTY).wait().unwrap();
}

#[test]
fn new_blocks_are_younger_than_claimed_ones() {
    let disk = Arc::new(Memory::new(32 * MIB, 512));
    let open =
        |txg| Pipeline::builder().vdev(Arc::clone(&disk) as Arc<_>).txg(txg).build().unwrap();
    let old = open(70).write(noise(1, 512)).wait().unwrap();
    assert_eq!(old.birth(), 70);
    let pipeline = open(1);
    pipeline.claim(&old).wait().unwrap();
    let new = pipeline.write(noise(2, 512)).wait().unwrap();
    assert!(new.birth() > 70);

    // The end of time: nothing wraps around to "never written".
    let pipeline = open(u64::MAX);
    let last = pipeline.write(noise(3, 512)).wait().unwrap();
    assert_eq!(pipeline.end_txg(), u64::MAX);
    assert_eq!(pipeline.txg(), u64::MAX);
    drop(pipeline);
    // Nobody wrote that: a damaged pointer must not carry the pool there.
    let pipeline = open(1);
    assert_eq!(pipeline.claim(&last).wait().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!((pipeline.txg(), pipeline.allocated_bytes()), (1, 0));
}

#[test]
fn a_write_gives_its_place_in_the_throttle_back_before_its_children_are_done() {
    let pipeline = Arc::new(on_memory(64 * MIB));
    let write = pipeline.write(noise(1, 16 << 20));
    let (parent, inner) = (write.as_parent().unwrap(), Arc::clone(&pipeline));
    let write = write.on_ready(move |_| {
        inner.write(noise(2, 8192)).under(&parent).nowait(|result| assert!(result.is_ok()));
    });
    write.wait().unwrap();
    assert_eq!(pipeline.allocated_bytes(), (16 << 20) + 8192);
}

#[test]
fn a_write_that_fails_never_says_that_its_pointer_is_ready() {
    let pipeline = on_memory(8 * MIB);
    let write = pipeline.write(noise(1, 8 << 20)).on_ready(|bp| panic!("{bp} is not ready"));
    assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn addresses_that_overlap_are_not_freed() {
    let pipeline = on_memory(64 * MIB);
    let mut bp = pipeline.write(noise(1, 8192)).copies(2).wait().unwrap();
    let held = pipeline.allocated_bytes();
    bp.set_dva(1, bp.dva(0).unwrap());
    assert_eq!(pipeline.free(&bp).wait().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(pipeline.allocated_bytes(), held);
}

#[test]
fn freed_space_is_kept_back_as_told() {
    let disk = Arc::new(Memory::new(32 * MIB, 512));
    let pipeline = Pipeline::builder().vdev(disk).defer_frees(2).build().unwrap();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    pipeline.free(&bp).wait().unwrap();
    for _ in 0..2 {
        pipeline.end_txg();
        assert_eq!(pipeline.allocated_bytes(), 8192);
    }
    pipeline.end_txg();
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn a_failed_write_leaks_nothing_even_when_its_txg_ends_before_it() {
    for defer_txgs in [0, 2] {
        let disk = Gated::new(32 * MIB);
        let vdev = Arc::clone(&disk) as Arc<_>;
        let pipeline = Pipeline::builder().vdev(vdev).defer_frees(defer_txgs).build().unwrap();
        let write = pipeline.write(noise(1, 8192)).start().unwrap();
        assert_eq!(pipeline.allocated_bytes(), 8192);
        pipeline.end_txg();
        let failing = std::thread::spawn(move || write.wait());
        for _ in 0..2 {
            disk.wait_for_write();
            disk.fail();
        }
        let error = failing.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        (0..3).for_each(|_| _ = pipeline.end_txg());
        assert_eq!(pipeline.allocated_bytes(), 0);
        disk.open();
        pipeline.write(noise(1, 8192)).wait().unwrap();
    }
}

#[test]
fn a_trim_keeps_to_free_space() {
    for defer_txgs in [0, 2] {
        let sim = Sim::new(3, 1);
        let pipeline = sim.builder().defer_frees(defer_txgs).build().unwrap();
        let bytes = noise(1, 65536);
        let bp = pipeline.write(&bytes).wait().unwrap();
        let dva = bp.dvas().next().unwrap();
        let error =
            pipeline.trim(dva.vdev(), dva.offset_bytes(), dva.asize_bytes()).wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(sim.take_log(OpKind::Trim).is_empty());

        pipeline.trim(VdevId(0), 16 * MIB, MIB).wait().unwrap();
        let log = sim.take_log(OpKind::Trim);
        let ranges: Vec<_> =
            log.iter().map(|entry| (entry.offset_bytes, entry.len_bytes)).collect();
        assert_eq!(ranges, [(DATA_START_BYTES + 16 * MIB, MIB)]);
        (0..3).for_each(|_| _ = pipeline.end_txg());
        assert_eq!(pipeline.allocated_bytes(), 65536);
        assert!(pipeline.read(&bp).wait().unwrap() == bytes);

        // The label areas, half units, nothing, too much, nowhere.
        let end = data_bytes(64 * MIB);
        for (vdev, offset, len) in [
            (0, end, 4096),
            (0, end - 4096, 8192),
            (0, 512, 4096),
            (0, 4096, 512),
            (0, 4096, 0),
            (0, 0, 1 << 62),
            (0, u64::MAX - 4095, 4096),
            (7, 0, 4096),
        ] {
            let error = pipeline.trim(VdevId(vdev), offset, len).wait().unwrap_err();
            let told = [ErrorKind::Invalid, ErrorKind::DeviceGone];
            assert!(told.contains(&error.kind()), "{error}");
        }
        assert!(sim.take_log(OpKind::Trim).is_empty());
        pipeline.trim(VdevId(0), end - 4096, 4096).wait().unwrap();
    }
}

#[test]
fn a_range_under_trim_is_not_allocated() {
    let sim = Sim::new(4, 1);
    let pipeline = sim.pipeline();
    sim.disks[0].hold();
    let trim = pipeline.trim(VdevId(0), 0, 32 * MIB).start().unwrap();
    let write = pipeline.write(noise(1, 8192)).start().unwrap();
    sim.disks[0].release();
    let bp = write.wait().unwrap();
    trim.wait().unwrap();
    assert!(bp.dvas().all(|dva| dva.offset_bytes() >= 32 * MIB));
    assert_eq!(pipeline.allocated_bytes(), 8192);
}

#[test]
fn many_writers_fill_a_pool_to_the_last_byte() {
    let size_bytes = 16 * MIB;
    let pipeline = on_memory(size_bytes);
    let block = noise(1, 8192);
    let write_until_full = || {
        let mut written = Vec::new();
        loop {
            match pipeline.write(&block).wait() {
                Ok(bp) => written.push(bp),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                    let why = error.source().and_then(|e| e.downcast_ref::<NoSpace>()).unwrap();
                    assert_eq!((why.size_bytes, why.copies), (8192, 1));
                    assert!(why.largest_bytes < 8192, "{why}");
                    return written;
                }
            }
        }
    };
    let written: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..64).map(|_| scope.spawn(write_until_full)).collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(written.len() as u64, data_bytes(size_bytes) / 8192);
    assert_eq!(pipeline.free_bytes(), 0);

    // Full, and everything else works: reads, flushes, what takes no space, deletion.
    assert!(pipeline.read(&written[0]).wait().unwrap() == block);
    pipeline.flush().wait().unwrap();
    let lz4 = zio_pipeline::Compression::Lz4;
    assert!(pipeline.write(&[0; 8192]).compression(lz4).wait().unwrap().is_hole());
    assert!(pipeline.write(&[1; 8192]).compression(lz4).wait().unwrap().is_embedded());
    let dedup = pipeline.write(&block).checksum(zio_pipeline::Checksum::Sha256).dedup(true);
    assert_eq!(dedup.wait().unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(pipeline.dedup_references(), 0);
    pipeline.free(&written[0]).wait().unwrap();
    pipeline.free(&written[1]).wait().unwrap();
    // Two holes of 8 KiB that need not touch: one block of 8 KiB fits for certain.
    let again = pipeline.write(&block).wait().unwrap();
    assert!(pipeline.read(&again).wait().unwrap() == block);
    for bp in written[2..].iter().chain([&again]) {
        pipeline.free(bp).wait().unwrap();
    }
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn copies_stand_on_different_devices_or_apart() {
    let sim = Sim::new(5, 3);
    let pipeline = sim.pipeline();
    let bp = pipeline.write(noise(1, 8192)).copies(3).wait().unwrap();
    let mut vdevs: Vec<_> = bp.dvas().map(|dva| dva.vdev()).collect();
    vdevs.sort_unstable();
    assert_eq!(vdevs, [VdevId(0), VdevId(1), VdevId(2)]);

    let single = on_memory(64 * MIB);
    let bp = single.write(noise(1, 8192)).copies(3).wait().unwrap();
    let mut offsets: Vec<_> = bp.dvas().map(|dva| dva.offset_bytes()).collect();
    offsets.sort_unstable();
    let apart = data_bytes(64 * MIB) / 8;
    assert!(offsets.windows(2).all(|pair| pair[1] - pair[0] >= apart), "{offsets:?}");
}
