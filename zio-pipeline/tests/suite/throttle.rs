//! The throttle and who gets what: reservations that come back, order, shares, slow devices,
//! full pools (D5, D7).

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use metaslab::Metaslabs;
use vdev_sim::{DiskConfig, FaultProfile, Latency, Rng, SimAllocator, SimAllocatorConfig};
use zio_core::{Allocator, Bookmark, NoSpace};
use zio_pipeline::{
    BlockPointer, Builder, DATA_START_BYTES, ErrorKind, Pipeline, Priority, Started, VdevId,
};

use crate::common::{Gated, MIB, PATIENCE, Sim, noise};

const MS: u64 = 1_000_000;

/// Bytes of blocks on a device of this size.
fn data_bytes(size_bytes: u64) -> u64 {
    size_bytes - DATA_START_BYTES - MIB / 2
}

/// Space of disks of this size, for a pipeline on the same machine.
fn space(sim: &Sim, disk_bytes: u64, config: metaslab::Config) -> Arc<Metaslabs> {
    let machine = sim.machine.clone();
    let space = Metaslabs::with_clock(config, move || machine.now_ns());
    for vdev in 0..sim.disks.len() {
        space.add_vdev(VdevId(vdev as u32), data_bytes(disk_bytes), 12).unwrap();
    }
    Arc::new(space)
}

fn bookmark(object: u64, block: u64) -> Bookmark {
    Bookmark { object, block, ..Bookmark::default() }
}

// -- Slow devices. --

/// What a disk is like.
#[derive(Clone, Copy, Debug)]
enum Disk {
    /// So long for each write, 64 at a time.
    Latency(u64),
    /// So many bytes a second, one after the other.
    Bandwidth(u64),
}

impl Disk {
    fn times(self, slower: u64) -> Self {
        match self {
            Self::Latency(ns) => Self::Latency(ns * slower),
            Self::Bandwidth(bytes) => Self::Bandwidth(bytes / slower),
        }
    }

    fn config(self) -> DiskConfig {
        let size_bytes = 128 * MIB;
        match self {
            Self::Latency(ns) => DiskConfig::fixed(size_bytes, ns),
            Self::Bandwidth(bytes_per_s) => DiskConfig {
                latency: Latency { bytes_per_s, ..Latency::fixed(10_000) },
                ..DiskConfig::fixed(size_bytes, 0)
            },
        }
    }
}

const LATENCY: Disk = Disk::Latency(5 * MS);
const BANDWIDTH: Disk = Disk::Bandwidth(40_000_000);

/// Keeps `in_flight` writes of one object under way for a while, and returns the bytes that
/// each vdev then had written. What it does before the devices are known does not count.
fn written_in_time(seed: u64, disks: &[Disk], in_flight: u64, block_bytes: usize) -> Vec<u64> {
    let mut sim = Sim::new(seed, 0);
    sim.disks = disks.iter().map(|disk| sim.machine.disk(disk.config())).collect();
    let pipeline = sim.pipeline();
    let completions = pipeline.completions();
    let data = pipeline.buffer(block_bytes);
    let data = zio_pipeline::Data::from(data);
    let start = |block: u64| {
        let write = pipeline.write(data.clone()).bookmark(bookmark(1, block));
        write.send_to(&completions, block).unwrap();
    };
    (0..in_flight).for_each(start);
    let mut written = vec![0; disks.len()];
    for next in in_flight.. {
        let (_, finished) = completions.next().unwrap();
        let now_ns = sim.machine.now_ns();
        if now_ns > 450 * MS {
            break;
        }
        finished.result().unwrap();
        let dva = finished.get().bp.dva(0).unwrap();
        if now_ns > 150 * MS {
            written[dva.vdev().0 as usize] += dva.asize_bytes();
        }
        start(next);
    }
    while completions.next().is_some() {}
    written
}

#[test]
fn a_slow_device_does_not_hold_a_fast_one_up() {
    // Few writes and many, small and large ones, more than the throttle lets in at a time.
    for (seed, kind, in_flight, block_bytes) in [
        (1, LATENCY, 32, 8192),
        (2, LATENCY, 64, 8192),
        (3, BANDWIDTH, 32, 8192),
        (4, BANDWIDTH, 256, 8192),
        (5, BANDWIDTH, 64, 65_536),
        (6, BANDWIDTH, 600, 65_536),
    ] {
        let alone = written_in_time(seed, &[kind], in_flight, block_bytes)[0];
        for (fast, disks) in [(0, [kind, kind.times(10)]), (1, [kind.times(10), kind])] {
            let written = written_in_time(seed, &disks, in_flight, block_bytes);
            let what =
                format!("{disks:?}, {in_flight} of {block_bytes}: {written:?}, {alone} alone");
            assert!(written[fast] * 10 >= alone * 8, "{what}");
            // And the slow one is used.
            assert!(written[1 - fast] > 0, "{what}");
        }
    }
}

#[test]
fn equal_devices_get_equal_parts() {
    for (kind, in_flight, block_bytes) in
        [(LATENCY, 64, 8192), (BANDWIDTH, 256, 8192), (BANDWIDTH, 600, 65_536)]
    {
        let written = written_in_time(3, &[kind; 2], in_flight, block_bytes);
        let (most, least) = (written[0].max(written[1]), written[0].min(written[1]));
        assert!(least * 10 >= most * 7, "{kind:?}, {in_flight} of {block_bytes}: {written:?}");
    }
}

// -- Reservations. --

/// Random writes, frees and sync writes on disks that fail.
fn random_writes(pipeline: &Pipeline, rng: &mut Rng, writes: u64) {
    let mut started: Vec<Started<BlockPointer>> = Vec::new();
    let mut live: Vec<BlockPointer> = Vec::new();
    for _ in 0..writes {
        let priority = [Priority::AsyncWrite, Priority::SyncWrite, Priority::Rebuild][rng.index(3)];
        let write = pipeline
            .write(noise(rng.below(1000), 512 << rng.below(6)))
            .copies(1 + rng.below(3) as u8)
            .priority(priority)
            .bookmark(bookmark(rng.below(5), rng.below(1 << 22)));
        started.push(write.start().unwrap());
        while started.len() > 40 {
            live.extend(started.swap_remove(rng.index(started.len())).wait().ok());
        }
        while live.len() > 100 {
            pipeline.free(&live.swap_remove(rng.index(live.len()))).wait().unwrap();
        }
        if rng.chance(20) {
            pipeline.end_txg();
        }
    }
    live.extend(started.into_iter().filter_map(|write| write.wait().ok()));
    live.iter().for_each(|bp| pipeline.free(bp).wait().unwrap());
}

#[test]
fn no_reservation_is_left_over_after_writes_that_fail() {
    for (seed, shards, reserve_bytes_max) in [(1, 1, 1), (2, 1, 20_000), (3, 3, 60_000)] {
        let sim = Sim::with(seed, 2, DiskConfig::fixed(16 * MIB, 1000));
        let config = metaslab::Config {
            defer_txgs: 0,
            shards: Some(shards),
            reserve_bytes_max: Some(reserve_bytes_max),
            region_bytes_min: MIB,
            ..metaslab::Config::default()
        };
        let space = space(&sim, 16 * MIB, config);
        let given = Arc::clone(&space) as Arc<dyn Allocator>;
        let pipeline = sim.builder().allocator(given).build().unwrap();
        let mut rng = Rng::new(seed);
        for _ in 0..10 {
            for disk in &sim.disks {
                disk.set_faults(FaultProfile::draw(&mut rng, 60, false));
            }
            if rng.chance(300) {
                sim.disks[rng.index(2)].offline();
            }
            random_writes(&pipeline, &mut rng, 400);
            sim.disks.iter().for_each(|disk| disk.online());
            pipeline.wait_idle();
            assert_eq!(space.reserved_bytes(), 0);
            assert_eq!(space.allocated_bytes(), 0);
            for vdev in 0..2 {
                assert_eq!(space.vdev_sent_bytes(VdevId(vdev)), Some(0));
            }
        }
    }
}

/// An allocator that counts all reservations together: who waits in one lane is let in by a
/// reservation that ends in another.
#[test]
fn lanes_that_are_counted_together_wait_for_each_other() {
    let sim = Sim::new(5, 1);
    let space = SimAllocator::new(SimAllocatorConfig {
        reserve_bytes_max: 1,
        ..SimAllocatorConfig::new(5, &[data_bytes(64 * MIB)])
    });
    let pipeline = sim.builder().allocator(space).build().unwrap();
    random_writes(&pipeline, &mut Rng::new(5), 500);
    pipeline.wait_idle();
    assert_eq!(pipeline.live(), 0);
}

// -- Order and shares. --

#[test]
fn who_waits_is_let_in_in_logical_order() {
    let sim = Sim::new(7, 1);
    let config = metaslab::Config {
        shards: Some(1),
        reserve_bytes_max: Some(8192),
        ..metaslab::Config::default()
    };
    let space = space(&sim, 64 * MIB, config);
    let pipeline = sim.builder().allocator(space).build().unwrap();
    sim.disks[0].hold();
    let first = pipeline.write(noise(0, 8192)).start().unwrap();
    let mut rng = Rng::new(7);
    let mut waiting: Vec<_> = (0..100_u64)
        .map(|i| Bookmark { objset: i % 2, object: i / 2 % 5, level: (i / 10 % 3) as u8, block: i })
        .collect();
    rng.shuffle(&mut waiting);
    let writes: Vec<_> = waiting
        .iter()
        .map(|&at| pipeline.write(noise(at.block, 8192)).bookmark(at).start().unwrap())
        .collect();
    sim.machine.run_until_idle();
    assert_eq!(pipeline.allocated_bytes(), 8192, "only the first is under way");
    sim.disks[0].release();
    first.wait().unwrap();
    let mut written: Vec<(u64, Bookmark)> = writes
        .into_iter()
        .zip(waiting)
        .map(|(write, at)| (write.wait().unwrap().dva(0).unwrap().offset_bytes(), at))
        .collect();
    written.sort_unstable();
    assert!(written.is_sorted_by_key(|(_, at)| *at), "{written:?}");
}

#[test]
fn neither_clients_nor_background_shut_the_other_out() {
    for (many, few) in [
        (Priority::AsyncWrite, Priority::Rebuild),
        (Priority::Rebuild, Priority::AsyncWrite),
        (Priority::AsyncWrite, Priority::SyncWrite),
    ] {
        let sim = Sim::new(9, 1);
        let pipeline = sim.pipeline();
        sim.disks[0].hold();
        let start = |seed, priority| {
            pipeline.write(noise(seed, 65_536)).priority(priority).start().unwrap()
        };
        let crowd: Vec<_> = (0..512).map(|seed| start(seed, many)).collect();
        sim.machine.run_until_idle();
        let under_way = pipeline.allocated_bytes();
        assert!(under_way < 512 * 65_536, "some of them wait");
        let other = start(1, few);
        sim.machine.run_until_idle();
        assert_eq!(pipeline.allocated_bytes(), under_way + 65_536, "{few:?} among {many:?}");
        sim.disks[0].release();
        other.wait().unwrap();
        crowd.into_iter().for_each(|write| _ = write.wait().unwrap());
    }
}

#[test]
fn blocks_of_one_object_stand_together_and_objects_are_spread_over_the_shards() {
    let sim = Sim::new(11, 1);
    let config = metaslab::Config {
        shards: Some(4),
        region_bytes_min: 4 * MIB,
        ..metaslab::Config::default()
    };
    let space = space(&sim, 64 * MIB, config);
    let pipeline = sim.builder().allocator(space).build().unwrap();
    let place = |object, block| {
        let write = pipeline.write(noise(block, 8192)).bookmark(bookmark(object, block));
        write.wait().unwrap().dva(0).unwrap().offset_bytes()
    };
    let mut regions: Vec<u64> = Vec::new();
    for object in 0..20 {
        let first = place(object, 0);
        for block in 1..10 {
            assert_eq!(place(object, block), first + block * 8192);
        }
        regions.push(first / (4 * MIB));
    }
    regions.sort_unstable();
    regions.dedup();
    assert_eq!(regions.len(), 4);
}

// -- Full pools. --

#[test]
fn a_write_without_room_says_so_before_it_waits() {
    let disk = Gated::new(32 * MIB);
    let pipeline = Pipeline::builder().vdev(Arc::clone(&disk) as Arc<_>).build().unwrap();
    // All that may be reserved, and more than half of the pool.
    let first = pipeline.write(noise(1, 16 << 20)).start().unwrap();
    disk.wait_for_write();
    let waits = pipeline.write(noise(2, 8 << 20)).start().unwrap();
    let refused = pipeline.write(noise(3, 16 << 20)).start().unwrap();
    let (since, mut early) = (Instant::now(), false);
    while !early && since.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
        early = refused.is_finished();
    }
    let waited = !waits.is_finished();
    disk.open();
    assert!(early && waited, "refused at once: {early}, the other waited: {waited}");
    assert_eq!(refused.wait().unwrap_err().kind(), ErrorKind::NoSpace);
    first.wait().unwrap();
    waits.wait().unwrap();
    assert_eq!(pipeline.allocated_bytes(), 24 << 20);
}

fn with_slop(divisor: u64) -> Pipeline {
    let disk = Arc::new(vdev_disk::Memory::new(16 * MIB, 512));
    Builder::slop(Pipeline::builder(), divisor).vdev(disk).build().unwrap()
}

#[test]
fn what_is_held_back_is_for_those_who_say_so() {
    let pipeline = with_slop(32);
    let size = data_bytes(16 * MIB);
    // The pool is small: an eighth.
    let slop = size / 8;
    let block = noise(1, 8192);
    let write_until_full = |uses_slop: bool| {
        let mut written = Vec::new();
        loop {
            let write = pipeline.write(&block);
            let write = if uses_slop { write.uses_slop() } else { write };
            match write.wait() {
                Ok(bp) => written.push(bp),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                    let source = std::error::Error::source(&error).unwrap();
                    assert!(source.downcast_ref::<NoSpace>().is_some());
                    return written;
                }
            }
        }
    };
    let fill = |uses_slop| {
        thread::scope(|scope| {
            let writers: Vec<_> =
                (0..64).map(|_| scope.spawn(move || write_until_full(uses_slop))).collect();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
        })
    };
    let mut written = fill(false);
    // Who had been let in at the same moment may take a block of it each.
    let free = pipeline.free_bytes();
    assert!((slop.saturating_sub(64 * 8192)..slop + 8192).contains(&free), "{free} of {slop}");
    written.extend(fill(true));
    assert_eq!(pipeline.free_bytes(), 0);
    // Full to the last byte; deletion is always possible.
    for bp in &written {
        pipeline.free(bp).wait().unwrap();
    }
    assert_eq!(pipeline.allocated_bytes(), 0);
    pipeline.write(&block).wait().unwrap();
}
