//! What is counted (A19): exact on scripted runs, and the device's own log agrees.

use std::sync::Arc;

use vdev_sim::{Effect, Fault, LogEntry, OpKind, Rng, SimDisk};
use zio_core::{Vdev, VdevErrorKind};
use zio_pipeline::{
    BlockPointer, Builder, Checksum, Class, ErrorKind, Healed, LeafErrors, LeafStats, Mirror,
    Pipeline, PipelineStats, Priority, Stages, Traffic, VdevId,
};

use crate::common::{MIB, Sim, noise};

fn mirror(sim: &Sim) -> Builder {
    let machine = sim.machine.clone();
    let side = |mirror: Mirror, disk: &Arc<SimDisk>| mirror.vdev(Arc::clone(disk) as Arc<dyn Vdev>);
    let sides = sim.disks.iter().fold(Mirror::new(), side);
    let builder = Builder::default().mirror(sides);
    builder.task_queue(sim.machine.queue()).clock(move || machine.now_ns())
}

fn traffic_of(log: &[LogEntry], op: OpKind) -> Traffic {
    let of_this = log.iter().filter(|entry| entry.op == op);
    let sizes: Vec<u64> = of_this.map(|entry| entry.len_bytes).collect();
    Traffic { ios: sizes.len() as u64, bytes: sizes.iter().sum() }
}

/// What the leaf says is what its disk has seen.
fn agrees(leaf: &LeafStats, log: &[LogEntry]) {
    assert_eq!(leaf.reads, traffic_of(log, OpKind::Read));
    assert_eq!(leaf.writes, traffic_of(log, OpKind::Write));
    assert_eq!(leaf.trims, traffic_of(log, OpKind::Trim));
    assert_eq!(leaf.flushes, traffic_of(log, OpKind::Flush).ios);
    let failed = log.iter().filter(|entry| entry.answer.is_some_and(|it| it.result.is_err()));
    assert_eq!(leaf.failed, failed.count() as u64);
    assert_eq!(leaf.in_flight, 0);
    for (class, report) in leaf.classes.iter() {
        let (counts, took) = (&report.counts, &report.took);
        assert_eq!((counts.queued, counts.active), (0, 0), "{class:?}");
        assert_eq!(counts.completed_total, counts.issued_total, "{class:?}");
        let kinds = counts.reads.ios + counts.writes.ios + counts.trims.ios;
        assert_eq!(kinds, counts.completed_total, "{class:?}");
        assert_eq!(took.device.count(), counts.completed_total, "{class:?}");
        assert_eq!(took.total.count(), counts.completed_total, "{class:?}");
        assert_eq!(took.queue.count(), counts.issued_total + counts.merged_total, "{class:?}");
    }
}

#[test]
fn a_scripted_run_is_counted_exactly() {
    let sim = Sim::new(1, 1);
    let pipeline = sim.pipeline();
    let write = |seed| pipeline.write(noise(seed, 8192)).wait().unwrap();
    let blocks: Vec<BlockPointer> = (0..5).map(write).collect();
    for bp in &blocks {
        pipeline.read(bp).wait().unwrap();
    }
    pipeline.read(&blocks[0]).priority(Priority::Scrub).wait().unwrap();
    pipeline.flush().wait().unwrap();
    pipeline.trim(VdevId(0), 32 * MIB, 65_536).wait().unwrap();

    let stats = pipeline.stats();
    let leaf = stats.leaf(VdevId(0), 0).unwrap();
    assert_eq!(leaf.reads, Traffic { ios: 6, bytes: 6 * 8192 });
    assert_eq!(leaf.writes, Traffic { ios: 5, bytes: 5 * 8192 });
    assert_eq!(leaf.trims, Traffic { ios: 1, bytes: 65_536 });
    assert_eq!(leaf.flushes, 1);
    let of = |class: Class| leaf.classes[class].counts;
    assert_eq!(of(Class::SyncRead).reads, Traffic { ios: 5, bytes: 5 * 8192 });
    assert_eq!(of(Class::AsyncWrite).writes, Traffic { ios: 5, bytes: 5 * 8192 });
    assert_eq!(of(Class::Scrub).reads, Traffic { ios: 1, bytes: 8192 });
    assert_eq!(of(Class::Trim).trims, Traffic { ios: 1, bytes: 65_536 });
    // The disk takes 10 µs for each, and nobody had to wait.
    let took = &leaf.classes[Class::SyncRead].took;
    assert!((10_000..=12_500).contains(&took.total.percentile_ns(99.9).unwrap()));
    assert_eq!(took.queue.percentile_ns(99.9), Some(0));
    // Writes: a block and its child each; so do reads; a flush, one; a trim is the leaf's own.
    assert_eq!(stats.engine.zios, 2 * (5 + 6 + 1) + 1);
    assert_eq!(stats.engine.panics, 0);
    assert_eq!((stats.live, stats.suspended, stats.throttle.waiting), (0, 0, 0));
    assert_eq!(stats.space.allocated_bytes, 5 * 8192);
    assert_eq!(stats.over_ns, sim.machine.now_ns());
    assert!(stats.stages.is_empty(), "nobody asked for them");
    let log = sim.disks[0].take_log();
    agrees(leaf, &log);
    assert!(pipeline.stats().leaf(VdevId(0), 1).is_none());
}

#[test]
fn errors_and_repairs_are_those_of_their_leaf() {
    let sim = Sim::new(2, 2);
    let pipeline = mirror(&sim).build().unwrap();
    let bp = pipeline.write(noise(1, 8192)).checksum(Checksum::Sha256).wait().unwrap();
    let (_, at) = sim.place(&bp, 0);
    sim.disks[1].corrupt(at, 8192);
    pipeline.read(&bp).every_copy().wait().unwrap();
    let stats = pipeline.stats();
    let [good, bad] = &stats.leaves[..] else { panic!("{} leaves", stats.leaves.len()) };
    assert_eq!((good.errors, good.healed), (LeafErrors::default(), Healed::default()));
    assert_eq!(bad.errors, LeafErrors { read: 0, write: 0, checksum: 1 });
    assert_eq!(bad.healed, Healed { copies: 1, bytes: 8192, failed: 0 });
    assert_eq!(pipeline.healed(), bad.healed);
    assert_eq!((bad.failed, bad.is_dead, good.is_dead), (0, false, false));

    sim.disks[1].offline();
    pipeline.write(noise(2, 8192)).wait().unwrap();
    let dead = pipeline.stats().since(&stats);
    assert!(dead.leaves[1].is_dead && !dead.leaves[1].missing.is_empty());
    // Both tries, and three reads of a probe after each, which are nobody's errors.
    assert_eq!((dead.leaves[1].failed, dead.leaves[1].errors.write), (2 * (1 + 3), 2));
    assert_eq!(dead.leaves[1].healed, Healed::default(), "that was before");
    assert_eq!(dead.leaves[0].failed, 0);
    for (leaf, disk) in pipeline.stats().leaves.iter().zip(&sim.disks) {
        agrees(leaf, &disk.take_log());
    }
}

/// The first EIO of a read is tried again and not counted as an error, but the device failed it.
#[test]
fn what_a_device_fails_is_not_yet_an_error() {
    let sim = Sim::new(3, 1);
    let pipeline = sim.pipeline();
    let bp = pipeline.write(noise(1, 4096)).wait().unwrap();
    let broken = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Read);
    sim.disks[0].inject(broken.clone());
    pipeline.read(&bp).wait().unwrap();
    let once = pipeline.stats();
    assert_eq!((once.leaves[0].failed, once.leaves[0].errors.read), (1, 0));
    sim.disks[0].inject(broken.times(2));
    assert_eq!(pipeline.read(&bp).wait().unwrap_err().kind(), ErrorKind::Io);
    let twice = pipeline.stats().since(&once);
    assert_eq!((twice.leaves[0].failed, twice.leaves[0].errors.read), (2, 1));
    agrees(&pipeline.stats().leaves[0], &sim.disks[0].take_log());
}

#[test]
fn what_is_under_way_is_seen() {
    let sim = Sim::new(4, 1);
    let space = metaslab::Metaslabs::new(metaslab::Config {
        reserve_bytes_max: Some(4096),
        ..metaslab::Config::default()
    });
    space.add_vdev(VdevId(0), 32 * MIB, 12).unwrap();
    let pipeline = sim.builder().allocator(Arc::new(space)).build().unwrap();
    let bp = pipeline.write(noise(0, 4096)).wait().unwrap();
    sim.disks[0].hold();
    let flush = pipeline.flush().start().unwrap();
    let reads: Vec<_> = (0..3).map(|_| pipeline.read(&bp).start().unwrap()).collect();
    let writes: Vec<_> =
        (0..3).map(|seed| pipeline.write(noise(seed, 8192)).copies(1).start().unwrap()).collect();
    sim.machine.run_until_idle();
    let stats = pipeline.stats();
    // One write is let in, however large; the others wait for its place.
    assert_eq!((stats.throttle.waiting, stats.throttle.waiting_bytes), (2, 2 * 8192));
    assert_eq!((stats.live, stats.leaves[0].in_flight), (2 * (1 + 3 + 1) + 2, 1 + 3 + 1));
    assert_eq!(stats.leaves[0].classes[Class::SyncRead].counts.active, 3);
    sim.disks[0].release();
    reads.into_iter().for_each(|read| assert!(read.wait().is_ok()));
    writes.into_iter().for_each(|write| assert!(write.wait().is_ok()));
    flush.wait().unwrap();
    let stats = pipeline.stats();
    assert_eq!((stats.live, stats.leaves[0].in_flight, stats.throttle.waiting), (0, 0, 0));
    assert_eq!(stats.throttle.waited_total, 2);
    agrees(&stats.leaves[0], &sim.disks[0].take_log());
}

/// A mixed load on two disks, some of it merged, some of it failing, and a snapshot after each step.
fn mixed_load(seed: u64) -> (Sim, Pipeline, Vec<PipelineStats>) {
    let sim = Sim::new(seed, 2);
    let pipeline = sim.builder().count_stages().build().unwrap();
    let mut rng = Rng::new(seed);
    let mut blocks: Vec<BlockPointer> = Vec::new();
    let mut snapshots = vec![pipeline.stats()];
    for _ in 0..20 {
        let writes: Vec<_> = (0..1 + rng.below(40))
            .map(|_| {
                let size_bytes = 4096 << rng.below(4);
                pipeline.write(noise(rng.next_u64(), size_bytes)).start().unwrap()
            })
            .collect();
        let classes = [Priority::SyncRead, Priority::AsyncRead, Priority::Scrub];
        let reads: Vec<_> = (0..rng.below(40))
            .filter_map(|_| {
                let (bp, class) = (blocks.get(rng.index(blocks.len()))?, rng.index(3));
                Some(pipeline.read(bp).priority(classes[class]).start().unwrap())
            })
            .collect();
        if rng.chance(300) {
            pipeline.flush().wait().unwrap();
        }
        if rng.chance(300) {
            let broken = Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Read);
            sim.disks[rng.index(2)].inject(broken);
        }
        snapshots.push(pipeline.stats());
        blocks.extend(writes.into_iter().map(|write| write.wait().unwrap()));
        reads.into_iter().for_each(|read| assert!(read.wait().is_ok()));
        snapshots.push(pipeline.stats());
    }
    pipeline.wait_idle();
    snapshots.push(pipeline.stats());
    (sim, pipeline, snapshots)
}

/// The totals of a snapshot, in some order.
fn totals(stats: &PipelineStats) -> Vec<u64> {
    let engine = &stats.engine;
    let mut all = vec![engine.zios, engine.dispatches, engine.handovers, stats.over_ns];
    all.push(stats.throttle.waited_total);
    all.extend(stats.stages.iter().flat_map(|stage| [stage.runs, stage.errors]));
    for leaf in &stats.leaves {
        all.extend([leaf.reads, leaf.writes].iter().flat_map(|it| [it.ios, it.bytes]));
        all.extend([leaf.flushes, leaf.failed, leaf.errors.read, leaf.healed.copies]);
        for (_, class) in leaf.classes.iter() {
            let counts = &class.counts;
            all.extend([counts.enqueued_total, counts.issued_total, counts.completed_total]);
            all.extend([counts.merged_total, counts.wait_ns_total, counts.service_ns_total]);
            let took = &class.took;
            all.extend([took.queue.count(), took.device.count(), took.total.count()]);
            for percent in [50.0, 99.0, 99.9] {
                // Not a total, but the same wherever the histogram is.
                all.push(took.total.percentile_ns(percent).map_or(0, |_| took.total.count()));
            }
        }
    }
    all
}

#[test]
fn totals_only_grow_and_differences_add_up() {
    let mut merged = 0;
    for seed in 0..8 {
        let (sim, pipeline, snapshots) = mixed_load(seed);
        let last = snapshots.last().unwrap();
        let mut sums = totals(&last.since(last));
        assert!(sums.iter().all(|sum| *sum == 0), "nothing happens between now and now");
        for pair in snapshots.windows(2) {
            let (before, after) = (totals(&pair[0]), totals(&pair[1]));
            assert!(
                before.iter().zip(&after).all(|(before, after)| before <= after),
                "seed {seed}"
            );
            let step = totals(&pair[1].since(&pair[0]));
            sums.iter_mut().zip(step).for_each(|(sum, step)| *sum += step);
        }
        assert_eq!(sums, totals(last), "seed {seed}");
        for (leaf, disk) in last.leaves.iter().zip(&sim.disks) {
            agrees(leaf, &disk.take_log());
        }
        let all = last.classes();
        let async_writes = &all[Class::AsyncWrite];
        let each =
            last.leaves.iter().map(|leaf| leaf.classes[Class::AsyncWrite].took.total.count());
        assert_eq!(async_writes.took.total.count(), each.sum::<u64>());
        merged += async_writes.counts.merged_total;
        assert_eq!(pipeline.stats().live, 0);
    }
    assert!(merged > 0, "no write was ever merged: the load is too light for this test");
}

#[test]
fn stages_are_counted_where_that_is_asked_for() {
    let sim = Sim::new(5, 1);
    let pipeline = sim.builder().count_stages().build().unwrap();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    let before = pipeline.stats();
    pipeline.read(&bp).wait().unwrap();
    let runs = |stats: &PipelineStats| -> Vec<(&'static str, u64, u64)> {
        let ran = stats.stages.iter().filter(|stage| stage.runs > 0);
        ran.map(|stage| (stage.stage.name(), stage.runs, stage.errors)).collect()
    };
    let read = pipeline.stats().since(&before);
    // VDEV_IO_DONE: the block's waits there, so it comes twice; its child once.
    let expected = [
        ("READ_BP_INIT", 1, 0),
        ("READY", 1, 0),
        ("VDEV_IO_START", 2, 0),
        ("VDEV_IO_DONE", 3, 0),
        ("VDEV_IO_ASSESS", 2, 0),
        ("CHECKSUM_VERIFY", 1, 0),
        ("DONE", 2, 0),
    ];
    assert_eq!(runs(&read), expected);
    let order: Vec<_> = read.stages.iter().map(|stage| stage.stage.index()).collect();
    assert!(order.is_sorted());

    sim.corrupt(&bp, 0);
    let before = pipeline.stats();
    pipeline.read(&bp).wait().unwrap_err();
    let failed = pipeline.stats().since(&before);
    let of = |stage: Stages| failed.stages.iter().find(|it| it.stage == stage).unwrap();
    // Both tries.
    assert_eq!(of(Stages::CHECKSUM_VERIFY).errors, 2);
    assert_eq!(of(Stages::VDEV_IO_START).errors, 0);
}
