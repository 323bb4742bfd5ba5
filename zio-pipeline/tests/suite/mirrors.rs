//! Mirrors: any leaf serves a read, a bad one is healed from a good one, a
//! good one is never written by a repair (C6).

use std::sync::Arc;

use vdev_disk::Memory;
use vdev_sim::{Effect, Fault, LogEntry, OpKind, Rng, SimDisk};
use zio_core::{Dva, Vdev, VdevErrorKind};
use zio_pipeline::{
    BlockPointer, BuildError, Checksum, Compression, DATA_START_BYTES, ErrorKind, Healed, Mirror,
    Pipeline, VdevId,
};

use crate::common::{MIB, Sim, compressible, noise};

/// One mirror of all disks.
fn mirror_of(sim: &Sim) -> Pipeline {
    sim.mirror().build().unwrap()
}

/// Where a copy of a block stands, on every leaf.
fn place(bp: &BlockPointer, copy: usize) -> u64 {
    DATA_START_BYTES + bp.dvas().nth(copy).unwrap().offset_bytes()
}

fn content(disk: &SimDisk, bp: &BlockPointer, copy: usize) -> Vec<u8> {
    disk.peek(place(bp, copy), bp.psize_bytes() as usize)
}

#[test]
fn every_leaf_has_every_block() {
    let sim = Sim::new(1, 3);
    let pipeline = mirror_of(&sim);
    let data = compressible(1, 65_536);
    let bp = pipeline.write(&data).copies(2).compression(Compression::Lz4).wait().unwrap();
    assert!(bp.dvas().all(|dva| dva.vdev() == VdevId(0)));
    for copy in 0..2 {
        let first = content(&sim.disks[0], &bp, copy);
        assert!(sim.disks.iter().all(|disk| content(disk, &bp, copy) == first));
    }
    // A mirror is one vdev: it has the space of one leaf.
    assert_eq!(pipeline.allocated_bytes(), bp.asize_bytes());

    // Each leaf by itself is the pool.
    for disk in &sim.disks {
        let alone = sim.machine.clone();
        let pipeline = Pipeline::builder()
            .task_queue(sim.machine.queue())
            .clock(move || alone.now_ns())
            .vdev(Arc::clone(disk) as Arc<dyn Vdev>)
            .build()
            .unwrap();
        let bp = pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
        assert!(pipeline.read(&bp).wait().unwrap() == data);
    }
}

#[test]
fn reads_are_spread_over_the_leaves() {
    let sim = Sim::new(2, 2);
    let pipeline = mirror_of(&sim);
    let blocks: Vec<_> =
        (0..64).map(|seed| pipeline.write(noise(seed, 131_072)).wait().unwrap()).collect();
    let reads = |disk: &SimDisk| disk.take_log().iter().filter(|e| e.op == OpKind::Read).count();
    sim.disks.iter().for_each(|disk| _ = reads(disk));
    let started: Vec<_> = blocks.iter().map(|bp| pipeline.read(bp).start().unwrap()).collect();
    for (seed, read) in started.into_iter().enumerate() {
        assert!(read.wait().unwrap() == noise(seed as u64, 131_072));
    }
    let counts: Vec<_> = sim.disks.iter().map(|disk| reads(disk)).collect();
    assert_eq!(counts.iter().sum::<usize>(), 64);
    assert!(counts.iter().all(|count| *count >= 24), "{counts:?}");
}

#[test]
fn a_bad_leaf_is_healed_and_a_good_one_is_left_alone() {
    for (seed, leaves) in [(3, 2), (4, 3), (5, 16)] {
        let sim = Sim::new(seed, leaves);
        let pipeline = mirror_of(&sim);
        let data = noise(seed, 8192);
        let bp = pipeline.write(&data).wait().unwrap();
        let mut rng = Rng::new(seed);
        for _ in 0..20 {
            // All but one.
            let good = rng.index(leaves);
            for (number, disk) in sim.disks.iter().enumerate() {
                if number != good {
                    disk.corrupt(place(&bp, 0), 8192);
                }
                disk.take_log();
            }
            let before = pipeline.healed();
            assert!(pipeline.read(&bp).wait().unwrap() == data);
            let writes = |disk: &SimDisk| {
                disk.take_log().iter().filter(|entry| entry.op == OpKind::Write).count() as u64
            };
            let mut healed = 0;
            for (number, disk) in sim.disks.iter().enumerate() {
                let writes = writes(disk);
                assert!(number != good || writes == 0, "the good copy was written");
                healed += writes;
            }
            let after = pipeline.healed();
            assert_eq!((after.copies - before.copies, after.failed), (healed, 0));
            assert_eq!(after.bytes - before.bytes, healed * 8192);
            // What the read met on its way is good again; one of every copy meets the rest.
            let found = leaves as u64 - 1 - healed;
            assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data);
            assert_eq!(pipeline.healed().copies - after.copies, found);
            assert!(sim.disks.iter().all(|disk| content(disk, &bp, 0) == data));
        }
    }
}

#[test]
fn a_second_read_is_clean() {
    let sim = Sim::new(6, 3);
    let pipeline = mirror_of(&sim);
    let data = compressible(1, 65_536);
    let write = pipeline.write(&data).copies(2).compression(Compression::Lz4);
    let bp = write.checksum(Checksum::Sha256).wait().unwrap();
    // One side has lost everything.
    sim.disks[1].corrupt(place(&bp, 0), bp.psize_bytes());
    sim.disks[1].corrupt(place(&bp, 1), bp.psize_bytes());
    assert!(pipeline.read(&bp).every_copy().repair(false).wait().unwrap() == data);
    assert_eq!(pipeline.healed(), Healed::default());
    assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data);
    let healed = Healed { copies: 2, bytes: 2 * bp.psize_bytes(), failed: 0 };
    assert_eq!(pipeline.healed(), healed);
    assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data);
    assert_eq!(pipeline.healed(), healed);
    for copy in 0..2 {
        assert!(content(&sim.disks[1], &bp, copy) == content(&sim.disks[0], &bp, copy));
    }
}

#[test]
fn copies_heal_each_other_across_vdevs() {
    let sim = Sim::new(7, 3);
    let pipeline = sim.pipeline();
    let data = compressible(1, 65_536);
    let write = pipeline.write(&data).copies(3).compression(Compression::Lz4);
    let bp = write.checksum(Checksum::Blake3).wait().unwrap();
    sim.corrupt(&bp, 0);
    sim.corrupt(&bp, 1);
    assert!(pipeline.read(&bp).repair(false).wait().unwrap() == data);
    assert_eq!(pipeline.healed(), Healed::default());
    assert!(pipeline.read(&bp).wait().unwrap() == data);
    let healed = pipeline.healed();
    assert_eq!((healed.copies, healed.bytes), (2, 2 * bp.psize_bytes()));
    // Nothing is left to heal, and each copy alone gives the block.
    for lost in [[0, 1], [0, 2], [1, 2]] {
        let saved = lost.map(|copy| {
            let (disk, at) = sim.place(&bp, copy);
            let bytes = disk.peek(at, bp.psize_bytes() as usize);
            disk.corrupt(at, bp.psize_bytes());
            (disk, at, bytes)
        });
        assert!(pipeline.read(&bp).repair(false).wait().unwrap() == data);
        saved.into_iter().for_each(|(disk, at, bytes)| disk.poke(at, &bytes));
    }
    assert_eq!(pipeline.healed(), healed);
}

#[test]
fn no_good_copy_is_an_error_and_no_repair() {
    let sim = Sim::new(8, 2);
    let pipeline = mirror_of(&sim);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    for disk in &sim.disks {
        disk.corrupt(place(&bp, 0), 8192);
        disk.take_log();
    }
    let error = pipeline.read(&bp).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checksum);
    assert_eq!((error.place().vdev, error.place().leaf.is_some()), (Some(VdevId(0)), true));
    assert!(error.to_string().contains("leaf"), "{error}");
    assert_eq!(pipeline.healed(), Healed::default());
    let log: Vec<_> = sim.disks.iter().flat_map(|disk| disk.take_log()).collect();
    // Each leaf was asked twice, and none was written.
    assert_eq!(log.len(), 4);
    let error = pipeline.read(&bp).every_copy().wait().map(|data| data.len()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checksum);
    let log: Vec<_> = log.into_iter().chain(sim.take_log(OpKind::Write)).collect();
    assert!(log.iter().all(|entry| entry.op == OpKind::Read));
}

#[test]
fn a_pointer_whose_addresses_overlap_repairs_nothing() {
    let sim = Sim::new(12, 1);
    let pipeline = sim.pipeline();
    let data = noise(1, 8192);
    let mut bp = pipeline.write(&data).wait().unwrap();
    let first = bp.dva(0).unwrap();
    // Half of the second copy would lie in the first.
    bp.set_dva(1, Dva::new(first.vdev(), first.offset_bytes() + 4096, 8192));
    for _ in 0..2 {
        assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data);
    }
    assert_eq!(pipeline.healed(), Healed::default());
}

#[test]
fn a_place_that_cannot_be_read_is_written_anew() {
    let sim = Sim::new(13, 2);
    let pipeline = mirror_of(&sim);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    for (number, disk) in sim.disks.iter().enumerate() {
        disk.take_log();
        disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Read));
        assert!(pipeline.read(&bp).every_copy().wait().unwrap() == noise(1, 8192));
        assert_eq!(pipeline.healed().copies, number as u64 + 1);
        // But for the probe in the label areas.
        let data = |e: &&LogEntry| (DATA_START_BYTES..60 * MIB).contains(&e.offset_bytes);
        let log = disk.take_log();
        let ops: Vec<_> = log.iter().filter(data).map(|e| (e.op, e.offset_bytes)).collect();
        assert_eq!(ops, [OpKind::Read, OpKind::Write].map(|op| (op, place(&bp, 0))));
    }
}

#[test]
fn a_second_try_repairs_only_what_it_met_itself() {
    let sim = Sim::new(11, 3);
    let pipeline = mirror_of(&sim);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    for disk in &sim.disks {
        disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Read));
        disk.take_log();
    }
    // No leaf answers at first; then the first one that is asked does.
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
    let log: Vec<_> = sim.disks.iter().flat_map(|disk| disk.take_log()).collect();
    assert_eq!(log.iter().filter(|entry| entry.offset_bytes == place(&bp, 0)).count(), 4);
    assert!(log.iter().all(|entry| entry.op == OpKind::Read), "a good copy was written");
    assert_eq!(pipeline.healed(), Healed::default());
}

#[test]
fn a_leaf_that_is_gone_or_cannot_be_written_is_not_repaired() {
    let sim = Sim::new(9, 2);
    let pipeline = mirror_of(&sim);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.disks[0].offline();
    for _ in 0..4 {
        assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
    }
    assert_eq!(pipeline.healed(), Healed::default());
    sim.disks[0].online();

    // Some leaf must take a write.
    for disk in &sim.disks {
        disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).always());
    }
    assert_eq!(pipeline.write(noise(2, 8192)).wait().unwrap_err().kind(), ErrorKind::DeviceGone);
    sim.disks.iter().for_each(|disk| disk.heal_all());
    pipeline.resume();
    assert_eq!(pipeline.allocated_bytes(), 8192);

    // A repair that fails does not fail the read.
    for disk in &sim.disks {
        disk.corrupt(place(&bp, 0), 8192);
        disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).always());
        for _ in 0..4 {
            assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
        }
        disk.heal_all();
        disk.poke(place(&bp, 0), &noise(1, 8192));
    }
    assert_eq!(pipeline.healed().copies, 0);
}

#[test]
fn a_power_cut_during_a_repair_costs_no_good_copy() {
    for seed in 0..50 {
        let sim = Sim::new(seed, 3);
        let data = noise(seed, 8192);
        let bp = {
            let pipeline = mirror_of(&sim);
            let bp = pipeline.write(&data).wait().unwrap();
            pipeline.flush().wait().unwrap();
            sim.disks[1].corrupt(place(&bp, 0), 8192);
            sim.disks[2].corrupt(place(&bp, 0), 8192);
            assert!(pipeline.read(&bp).wait().unwrap() == data);
            bp
        };
        // What was repaired was not flushed: any part of it may be lost or torn.
        let mut rng = Rng::new(seed);
        for disk in &sim.disks {
            disk.power_cut(&mut rng);
            disk.online();
        }
        let pipeline = mirror_of(&sim);
        assert!(pipeline.read(&bp).wait().unwrap() == data, "seed {seed}");
    }
}

#[test]
fn flushes_and_trims_go_to_every_leaf() {
    let sim = Sim::new(10, 3);
    let pipeline = mirror_of(&sim);
    sim.disks.iter().for_each(|disk| _ = disk.take_log());
    pipeline.flush().wait().unwrap();
    pipeline.trim(VdevId(0), 0, MIB).wait().unwrap();
    for disk in &sim.disks {
        let ops: Vec<_> = disk.take_log().iter().map(|entry| entry.op).collect();
        assert_eq!(ops, [OpKind::Flush, OpKind::Trim]);
    }
    for disk in &sim.disks {
        disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Flush));
    }
    assert_eq!(pipeline.flush().wait().unwrap_err().kind(), ErrorKind::Io);
    // What was trimmed is free space all the same.
    assert_eq!(pipeline.allocated_bytes(), 0);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    assert_eq!(
        pipeline.trim(VdevId(0), 0, 16 * MIB).wait().unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
}

#[test]
fn a_mirror_is_as_small_as_its_smallest_leaf_and_has_some() {
    let memory = |mib| Arc::new(Memory::new(mib * MIB, 512)) as Arc<dyn Vdev>;
    let mirror = Mirror::new().vdev(memory(64)).vdev(memory(32)).vdev(memory(48));
    let pipeline = Pipeline::builder().mirror(mirror).build().unwrap();
    let small = Pipeline::builder().vdev(memory(32)).build().unwrap();
    assert_eq!(pipeline.free_bytes(), small.free_bytes());
    for leaves in [0, 17] {
        let mirror = (0..leaves).fold(Mirror::new(), |m, _| m.vdev(memory(32)));
        let refused = Pipeline::builder().mirror(mirror).build().unwrap_err();
        assert!(
            matches!(refused, BuildError::Mirror { leaves: n, .. } if n == leaves),
            "{refused}"
        );
    }
}
