//! Devices that go away, come back, or do not answer (A12, A13, A17, C7, C8, C15, C16).

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use vdev_sim::{DiskConfig, Effect, Fault, OpKind, SimDisk};
use zio_core::VdevErrorKind;
use zio_pipeline::{
    Checksum, Compression, DATA_START_BYTES, Error, ErrorKind, FailMode, Pipeline, Priority,
    TxgRanges, VdevId,
};

use crate::common::{MIB, Sim, noise};
use crate::gangs::Fragmented;

const SECOND_NS: u64 = 1_000_000_000;

fn mirror_of(sim: &Sim) -> Pipeline {
    sim.mirror().build().unwrap()
}

fn eio(op: OpKind) -> Fault {
    Fault::new(Effect::Fail(VdevErrorKind::Io)).on(op)
}

fn fail_always(disk: &SimDisk, op: OpKind) {
    disk.inject(eio(op).always());
}

/// Fails a write to the data area, and its second try.
fn fail_a_write(disk: &SimDisk) {
    disk.inject(eio(OpKind::Write).range(DATA_START_BYTES, 32 * MIB).times(2));
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.err().expect("an error").kind()
}

fn ranges(of: &TxgRanges) -> Vec<std::ops::RangeInclusive<u64>> {
    of.iter().collect()
}

/// Leaves free space in pieces of eight KiB alone.
fn cut_into_pieces(pipeline: &Pipeline) {
    let mut small = Vec::new();
    while let Ok(bp) = pipeline.write(noise(9, 8192)).priority(Priority::SyncWrite).wait() {
        if bp.is_gang() {
            pipeline.free(&bp).wait().unwrap();
            break;
        }
        small.push(bp);
    }
    for bp in small.iter().step_by(2).take(20) {
        pipeline.free(bp).wait().unwrap();
    }
}

// -- Suspended. --

#[test]
fn a_write_without_devices_waits_for_them() {
    let sim = Sim::new(1, 2);
    let pipeline = sim.builder().fail_mode(FailMode::Wait).build().unwrap();
    sim.disks.iter().for_each(|disk| disk.offline());
    let data = noise(1, 65_536);
    let write = pipeline.write(&data).copies(2).checksum(Checksum::Sha256).start().unwrap();
    sim.machine.run_until_idle();
    assert!(!write.is_finished());
    let suspended = pipeline.suspended();
    assert_eq!((suspended.requests, suspended.reason.unwrap().kind()), (1, ErrorKind::DeviceGone));

    // Resumed too early, it is suspended again.
    assert_eq!(pipeline.resume(), 1);
    sim.machine.run_until_idle();
    assert!(!write.is_finished());
    assert_eq!(pipeline.suspended().requests, 1);

    sim.disks.iter().for_each(|disk| disk.online());
    assert_eq!(pipeline.resume(), 1);
    let bp = write.wait().unwrap();
    assert_eq!((pipeline.suspended().requests, pipeline.allocated_bytes()), (0, 2 * 65_536));
    assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data);
    assert_eq!(pipeline.healed().copies, 0);
}

#[test]
fn a_read_without_devices_waits_although_it_may_fail() {
    let sim = Sim::new(2, 1);
    let pipeline = sim.builder().fail_mode(FailMode::Wait).build().unwrap();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.disks[0].offline();
    let read = pipeline.read(&bp).start().unwrap();
    sim.machine.run_until_idle();
    assert!(!read.is_finished());
    // A scrub does not wait: it has to get to its end.
    assert_eq!(kind(pipeline.read(&bp).every_copy().wait()), ErrorKind::DeviceGone);
    sim.disks[0].online();
    assert_eq!(pipeline.resume(), 1);
    assert!(read.wait().unwrap() == noise(1, 8192));
}

#[test]
fn unless_told_otherwise_errors_come_back() {
    let sim = Sim::new(3, 1);
    let pipeline = sim.pipeline();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.disks[0].offline();
    assert_eq!(kind(pipeline.read(&bp).wait()), ErrorKind::DeviceGone);
    assert_eq!(kind(pipeline.write(noise(2, 8192)).wait()), ErrorKind::DeviceGone);
    assert_eq!(pipeline.suspended().requests, 0);

    // Whoever must succeed waits all the same, for whatever a device does wrong.
    let read = pipeline.read(&bp).must_succeed().start().unwrap();
    sim.machine.run_until_idle();
    assert!(!read.is_finished());
    sim.disks[0].online();
    fail_always(&sim.disks[0], OpKind::Write);
    let write = pipeline.write(noise(3, 8192)).must_succeed().start().unwrap();
    sim.machine.run_until_idle();
    assert_eq!(pipeline.suspended().requests, 2);
    sim.disks[0].heal_all();
    pipeline.resume();
    assert!(read.wait().unwrap() == noise(1, 8192));
    let bp = write.wait().unwrap();
    assert!(pipeline.read(&bp).wait().unwrap() == noise(3, 8192));
    // Not for what no device can mend.
    let much = pipeline.write(noise(4, 16 << 20));
    assert_eq!(
        kind(
            much.copies(3)
                .must_succeed()
                .priority(Priority::SyncWrite)
                .wait()
                .and_then(|_| pipeline.write(noise(5, 16 << 20)).copies(3).must_succeed().wait())
        ),
        ErrorKind::NoSpace
    );
}

#[test]
fn a_gang_write_is_suspended_in_the_middle() {
    for offline_after in 0..6 {
        let sim = Sim::with(4, 1, DiskConfig::fixed(16 * MIB, 10_000));
        let pipeline = sim.builder().ashift(9).fail_mode(FailMode::Wait).build().unwrap();
        cut_into_pieces(&pipeline);
        let before = pipeline.allocated_bytes();
        // Some of its writes go well before the device is gone.
        sim.disks[0].inject(
            Fault::new(Effect::Fail(VdevErrorKind::Gone))
                .on(OpKind::Write)
                .skip(offline_after)
                .always(),
        );
        let data = noise(1, 64 << 10);
        let write = pipeline.write(&data).start().unwrap();
        sim.machine.run_until_idle();
        assert!(!write.is_finished());
        assert!(pipeline.suspended().requests > 0);
        sim.disks[0].heal_all();
        while !write.is_finished() {
            assert!(pipeline.resume() > 0);
            sim.machine.run_until_idle();
        }
        let bp = write.wait().unwrap();
        assert!(bp.is_gang());
        assert!(pipeline.read(&bp).wait().unwrap() == data);
        // Nothing was allocated twice.
        pipeline.free(&bp).wait().unwrap();
        assert_eq!(pipeline.allocated_bytes(), before);
    }
}

#[test]
fn twins_wait_for_a_suspended_leader() {
    let sim = Sim::new(5, 1);
    let pipeline = sim.builder().fail_mode(FailMode::Wait).build().unwrap();
    sim.disks[0].offline();
    let writes: Vec<_> = (0..16)
        .map(|_| {
            let write = pipeline.write(noise(1, 8192)).checksum(Checksum::Sha256).dedup(true);
            write.start().unwrap()
        })
        .collect();
    sim.machine.run_until_idle();
    assert_eq!(pipeline.suspended().requests, 1);
    sim.disks[0].online();
    pipeline.resume();
    let blocks: Vec<_> = writes.into_iter().map(|write| write.wait().unwrap()).collect();
    assert!(blocks.iter().all(|bp| bp.dva(0) == blocks[0].dva(0)));
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (16, 8192));
}

/// Run by the test below in a process of its own.
#[test]
#[ignore = "started by another test"]
fn lose_every_device_and_panic() {
    let sim = Sim::new(6, 1);
    let pipeline = sim.builder().fail_mode(FailMode::Panic).build().unwrap();
    sim.disks[0].offline();
    _ = pipeline.write(noise(1, 8192)).wait();
}

#[test]
fn panic_means_the_whole_process() {
    let me = std::env::current_exe().unwrap();
    let arguments = ["--ignored", "--exact", "outages::lose_every_device_and_panic", "--nocapture"];
    let output = Command::new(me).args(arguments).output().unwrap();
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("devices are gone") && words.contains("ENXIO"), "{words}");
}

// -- Closed. --

#[test]
fn a_suspended_pipeline_can_be_closed_at_once() {
    let sim = Sim::new(7, 1);
    let pipeline = sim.builder().fail_mode(FailMode::Wait).build().unwrap();
    sim.disks[0].offline();
    let write = pipeline.write(noise(1, 8192)).start().unwrap();
    sim.machine.run_until_idle();
    sim.disks[0].online();
    sim.take_log(OpKind::Write);

    let start_ns = sim.machine.now_ns();
    pipeline.close_now();
    // It ends with what was wrong; nothing more is accepted.
    assert_eq!(kind(write.wait()), ErrorKind::DeviceGone);
    assert_eq!(kind(pipeline.write(noise(2, 8192)).wait()), ErrorKind::Closed);
    assert_eq!(kind(pipeline.flush().wait()), ErrorKind::Closed);
    assert_eq!((pipeline.live(), pipeline.allocated_bytes()), (0, 0));
    drop(pipeline);
    assert!(sim.machine.now_ns() - start_ns < SECOND_NS);
    sim.machine.run_until_idle();
    assert_eq!(sim.take_log(OpKind::Write).len(), 0);
}

#[test]
fn dropping_a_suspended_pipeline_does_not_wait_for_devices() {
    let sim = Sim::new(8, 1);
    let pipeline = sim.builder().fail_mode(FailMode::Wait).build().unwrap();
    sim.disks[0].offline();
    let write = pipeline.write(noise(1, 8192)).start().unwrap();
    sim.machine.run_until_idle();
    drop(pipeline);
    assert_eq!(kind(write.wait()), ErrorKind::DeviceGone);
}

#[test]
fn devices_that_hang_do_not_keep_a_pipeline_open() {
    let sim = Sim::new(9, 2);
    let pipeline = sim.builder().queue(vdev_queue::Config::seed()).build().unwrap();
    let blocks: Vec<_> =
        (0..64).map(|seed| pipeline.write(noise(seed, 8192)).wait().unwrap()).collect();
    sim.disks.iter().for_each(|disk| disk.hold());
    // More than the devices take at a time: some wait in the queues.
    let reads: Vec<_> = blocks.iter().map(|bp| pipeline.read(bp).start().unwrap()).collect();
    let writes: Vec<_> =
        (0..64).map(|seed| pipeline.write(noise(seed, 8192)).copies(2).start().unwrap()).collect();
    let flush = pipeline.flush().start().unwrap();
    assert_eq!(
        pipeline.overdue(Duration::ZERO).len(),
        sim.disks.iter().map(|d| d.in_flight()).sum::<usize>()
    );

    pipeline.close_now();
    assert!(reads.into_iter().all(|read| kind(read.wait()) == ErrorKind::Closed));
    assert!(writes.into_iter().all(|write| kind(write.wait()) == ErrorKind::Closed));
    assert_eq!(kind(flush.wait()), ErrorKind::Closed);
    assert_eq!(pipeline.live(), 0);
    assert!(pipeline.overdue(Duration::ZERO).iter().all(|io| io.given_up));
    sim.disks.iter().for_each(|disk| _ = disk.take_log());
    drop(pipeline);
    // The devices wake up: the answers are nobody's, and nothing follows.
    sim.disks.iter().for_each(|disk| disk.release());
    sim.machine.run_until_idle();
    assert_eq!(sim.take_log(OpKind::Write).len() + sim.take_log(OpKind::Read).len(), 0);
}

// -- No answer. --

#[test]
fn an_answer_after_the_deadman_is_nobodys() {
    let sim = Sim::new(10, 1);
    let pipeline = sim.pipeline();
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    let stall = Fault::new(Effect::Stall);
    sim.disks[0].inject(stall.on(OpKind::Read).times(2));
    let read = pipeline.read(&bp).start().unwrap();
    sim.machine.run_for(10 * SECOND_NS);
    assert_eq!(pipeline.give_up_overdue(Duration::from_secs(60)), 0);
    let overdue = pipeline.overdue(Duration::from_secs(5));
    assert_eq!(overdue.len(), 1);
    assert!(!overdue[0].given_up && overdue[0].len_bytes == 8192);

    assert_eq!(pipeline.give_up_overdue(Duration::from_secs(5)), 1);
    // Once more at the logical level, which hangs as well.
    sim.machine.run_for(10 * SECOND_NS);
    assert!(!read.is_finished());
    assert_eq!(pipeline.give_up_overdue(Duration::from_secs(5)), 1);
    sim.machine.run_for(SECOND_NS);
    assert_eq!(kind(read.wait()), ErrorKind::TimedOut);
    assert_eq!(pipeline.live(), 0);

    // Late answers do no harm, and the flights serve again.
    sim.disks[0].release();
    sim.machine.run_until_idle();
    assert_eq!(pipeline.overdue(Duration::ZERO), []);
    for _ in 0..10 {
        assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
    }
}

#[test]
fn what_a_hung_write_may_yet_write_to_is_not_used_again() {
    let sim = Sim::new(11, 1);
    let pipeline = sim.pipeline();
    sim.disks[0].inject(Fault::new(Effect::Stall).on(OpKind::Write));
    let write = pipeline.write(noise(1, 8192)).start().unwrap();
    sim.machine.run_for(2 * SECOND_NS);
    assert_eq!(pipeline.give_up_overdue(Duration::from_secs(1)), 1);
    // Not tried once more: two writes to one place, and nobody knows which one comes last.
    assert_eq!(kind(write.wait()), ErrorKind::TimedOut);
    let blocks: Vec<_> =
        (10..30).map(|seed| pipeline.write(noise(seed, 8192)).wait().unwrap()).collect();
    // The device wakes up and writes after all.
    sim.disks[0].release();
    sim.machine.run_until_idle();
    for (bp, seed) in blocks.iter().zip(10..) {
        assert!(pipeline.read(bp).wait().unwrap() == noise(seed, 8192));
    }
}

#[test]
fn a_hung_trim_keeps_its_range() {
    let sim = Sim::new(13, 1);
    let pipeline = sim.pipeline();
    let all = pipeline.free_bytes();
    sim.disks[0].inject(Fault::new(Effect::Stall).on(OpKind::Trim));
    let trim = pipeline.trim(VdevId(0), 0, MIB).start().unwrap();
    sim.machine.run_for(2 * SECOND_NS);
    assert_eq!(pipeline.give_up_overdue(Duration::from_secs(1)), 1);
    assert_eq!(kind(trim.wait()), ErrorKind::TimedOut);
    assert_eq!(pipeline.free_bytes(), all - MIB);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.disks[0].release();
    sim.machine.run_until_idle();
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
}

#[test]
fn a_leaf_that_only_reads_is_written_to_again_one_day() {
    let sim = Sim::new(14, 2);
    let pipeline = mirror_of(&sim);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    fail_always(&sim.disks[0], OpKind::Write);
    for seed in 2..5 {
        pipeline.write(noise(seed, 8192)).wait().unwrap();
    }
    assert!(pipeline.is_dead(VdevId(0), 0).unwrap());
    // A trim, a flush: the other leaf is enough.
    pipeline.trim(VdevId(0), 32 * MIB, MIB).wait().unwrap();
    pipeline.flush().wait().unwrap();
    sim.disks[0].heal_all();
    // It is read from all the time.
    for _ in 0..40 {
        sim.machine.run_for(SECOND_NS / 10);
        assert!(pipeline.read(&bp).every_copy().wait().unwrap() == noise(1, 8192));
        pipeline.write(noise(1, 8192)).wait().unwrap();
    }
    assert!(!pipeline.is_dead(VdevId(0), 0).unwrap());
}

#[test]
fn a_hung_leaf_of_a_mirror_costs_nobody_their_data() {
    let sim = Sim::new(12, 2);
    let pipeline = mirror_of(&sim);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.disks[0].hold();
    let read = pipeline.read(&bp).every_copy().start().unwrap();
    let write = pipeline.write(noise(2, 8192)).start().unwrap();
    sim.machine.run_for(2 * SECOND_NS);
    assert!(!read.is_finished() && !write.is_finished());
    assert_eq!(pipeline.give_up_overdue(Duration::from_secs(1)), 2);
    sim.machine.run_for(SECOND_NS / 2);
    assert!(read.wait().unwrap() == noise(1, 8192));
    let bp = write.wait().unwrap();
    assert!(pipeline.is_dead(VdevId(0), 0).unwrap());
    assert_eq!(ranges(&pipeline.missing(VdevId(0), 0).unwrap()), [1..=1]);
    assert!(pipeline.read(&bp).wait().unwrap() == noise(2, 8192));
    sim.disks[0].release();
}

/// What was written to a place while a write that was given up was still to come would be gone
/// when it comes.
#[test]
fn nothing_is_written_where_a_hung_write_may_come_later() {
    let sim = Sim::with(13, 2, DiskConfig::fixed(6 * MIB, 10_000));
    let pipeline = mirror_of(&sim);
    sim.disks[0].inject(Fault::new(Effect::Stall).on(OpKind::Write));
    let write = pipeline.write(noise(1, 8192)).start().unwrap();
    sim.machine.run_for(2 * SECOND_NS);
    assert_eq!(pipeline.give_up_overdue(Duration::from_secs(1)), 1);
    // The other leaf has it; a repair of this one has to wait.
    let bp = write.wait().unwrap();
    sim.machine.run_for(2 * SECOND_NS);
    assert!(pipeline.read(&bp).every_copy().wait().unwrap() == noise(1, 8192));
    assert_eq!((pipeline.healed().copies, pipeline.healed().failed), (0, 1));
    // Freed, its place is nobody's, on either leaf.
    pipeline.free(&bp).wait().unwrap();
    let mut blocks = Vec::new();
    while let Ok(bp) = pipeline.write(noise(10, 8192)).wait() {
        blocks.push(bp);
    }
    assert!(blocks.iter().filter(|bp| !bp.is_gang()).all(|other| other.dva(0) != bp.dva(0)));
    sim.disks[0].release();
    sim.machine.run_until_idle();
    sim.machine.run_for(2 * SECOND_NS);
    for bp in &blocks {
        assert!(pipeline.read(bp).every_copy().wait().unwrap() == noise(10, 8192));
    }
}

/// A parent whose child hangs has nothing to do with the child's space, and none of its own at stake.
#[test]
fn a_parent_of_a_hung_write_gives_back_what_it_has() {
    let sim = Sim::new(14, 1);
    let pipeline = sim.pipeline();
    let shared =
        |seed: u64| pipeline.write(noise(seed, 8192)).checksum(Checksum::Sha256).dedup(true);
    shared(1).wait().unwrap();
    let held = pipeline.allocated_bytes();
    for dedup in [true, false] {
        let parent = if dedup { shared(1) } else { pipeline.write(noise(2, 8192)) };
        sim.disks[0].inject(Fault::new(Effect::Stall).on(OpKind::Write));
        let child = pipeline.write(noise(3, 4096)).under(&parent.as_parent().unwrap());
        let child = child.start().unwrap();
        let parent = parent.start().unwrap();
        sim.machine.run_for(2 * SECOND_NS);
        assert_eq!(pipeline.give_up_overdue(Duration::from_secs(1)), 1);
        assert_eq!(kind(child.wait()), ErrorKind::TimedOut);
        assert_eq!(kind(parent.wait()), ErrorKind::TimedOut);
    }
    // But for what the two children may still be written to.
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (1, held + 2 * 4096));
    sim.disks[0].release();
}

/// A read whose last device I/O the end has answered looked for another copy, for ever.
#[test]
fn a_read_with_places_left_ends_when_all_ends() {
    let sim = Sim::new(15, 2);
    let pipeline = mirror_of(&sim);
    let bp = pipeline.write(noise(1, 8192)).copies(2).wait().unwrap();
    sim.disks.iter().for_each(|disk| disk.hold());
    let reads: Vec<_> = (0..8).map(|_| pipeline.read(&bp).start().unwrap()).collect();
    pipeline.close_now();
    assert!(reads.into_iter().all(|read| kind(read.wait()) == ErrorKind::Closed));
    // Also one that only now gets to its devices.
    assert_eq!(kind(pipeline.read(&bp).wait()), ErrorKind::Closed);
    sim.disks.iter().for_each(|disk| disk.release());
}

// -- Leaves of a mirror. --

/// One leaf has not got the block, and the other could not make it durable.
#[test]
fn a_flush_needs_a_leaf_that_has_everything() {
    let sim = Sim::new(26, 2);
    let pipeline = mirror_of(&sim);
    let fail = |disk: usize, op| sim.disks[disk].inject(eio(op));
    sim.disks[0].offline();
    pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.disks[0].online();
    fail(1, OpKind::Flush);
    assert_eq!(kind(pipeline.flush().wait()), ErrorKind::Io);
    assert!(pipeline.missing(VdevId(0), 1).unwrap().is_empty());
    // It is not forgotten what that was to make durable.
    fail(1, OpKind::Flush);
    assert_eq!(kind(pipeline.flush().wait()), ErrorKind::Io);
    // Nor by the next ones: the first, and the round of the other two.
    sim.disks[1].inject(eio(OpKind::Flush).times(2));
    let flushes: Vec<_> = (0..3).map(|_| pipeline.flush().start().unwrap()).collect();
    assert!(flushes.into_iter().all(|flush| kind(flush.wait()) == ErrorKind::Io));
    pipeline.flush().wait().unwrap();
    // Nothing is left to answer for, and the first leaf is back.
    sim.machine.run_for(2 * SECOND_NS);
    fail(1, OpKind::Flush);
    pipeline.flush().wait().unwrap();
}

/// Each has failed a flush, and may lack what is in that group; a gang of that group is there all the same.
#[test]
fn leaves_that_may_lack_something_are_asked_when_there_is_nobody_else() {
    let sim = Sim::new(27, 2);
    let space = Fragmented::new(27, 1, 12, 8192).space;
    let builder = sim.mirror().ashift(12).allocator(Arc::clone(&space) as _);
    let pipeline = builder.build().unwrap();
    let bp = pipeline.write(noise(1, 65_536)).wait().unwrap();
    assert!(bp.is_gang());
    let lacks = TxgRanges::from_iter([1..=1]);
    for leaf in 0..2 {
        pipeline.set_missing(VdevId(0), leaf, &lacks).unwrap();
    }
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 65_536));
    assert!(pipeline.read(&bp).every_copy().wait().unwrap() == noise(1, 65_536));
    pipeline.free(&bp).wait().unwrap();
    space.settle(u64::MAX);
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn what_a_leaf_has_missed_is_remembered_and_made_good() {
    let sim = Sim::new(20, 2);
    let pipeline = sim.mirror().defer_frees(2).build().unwrap();
    let mut blocks = Vec::new();
    let mut write = |seed: u64| {
        let write = pipeline.write(noise(seed, 8192)).compression(Compression::Lz4);
        blocks.push((seed, write.wait().unwrap()));
        pipeline.flush().wait().unwrap();
        pipeline.end_txg();
    };
    (1..=5).for_each(&mut write);
    fail_always(&sim.disks[1], OpKind::Write);
    (6..=15).for_each(&mut write);
    sim.disks[1].heal_all();
    sim.machine.run_for(2 * SECOND_NS);
    (16..=20).for_each(&mut write);

    // Exactly the ten groups, and exactly on that leaf.
    let missing = pipeline.missing(VdevId(0), 1).unwrap();
    assert_eq!(ranges(&missing), [6..=15]);
    assert!(pipeline.missing(VdevId(0), 0).unwrap().is_empty());
    // Nobody is sent there for them.
    for (seed, bp) in &blocks {
        assert!(pipeline.read(bp).wait().unwrap() == noise(*seed, 8192));
    }
    assert_eq!(pipeline.healed().copies, 0);

    // A resilver: every copy of the blocks born then.
    sim.take_log(OpKind::Write);
    for (seed, bp) in blocks.iter().filter(|(_, bp)| missing.contains(bp.physical_birth())) {
        assert!(pipeline.read(bp).every_copy().wait().unwrap() == noise(*seed, 8192));
    }
    assert_eq!((pipeline.healed().copies, sim.take_log(OpKind::Write).len()), (10, 10));
    // Every place was known, and all have been written to: it lacks nothing any more.
    assert!(pipeline.missing(VdevId(0), 1).unwrap().is_empty());
    for (seed, bp) in &blocks {
        let at = DATA_START_BYTES + bp.dva(0).unwrap().offset_bytes();
        assert!(sim.disks.iter().all(|disk| disk.peek(at, 8192) == noise(*seed, 8192)));
    }
}

#[test]
fn a_set_from_an_earlier_life_is_believed_until_it_is_resilvered() {
    let sim = Sim::new(21, 2);
    let (bp, missing) = {
        let pipeline = mirror_of(&sim);
        sim.disks[0].offline();
        let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
        pipeline.flush().wait().unwrap();
        (bp, pipeline.missing(VdevId(0), 0).unwrap())
    };
    sim.disks[0].online();
    let pipeline = mirror_of(&sim);
    pipeline.set_missing(VdevId(0), 0, &missing).unwrap();
    for _ in 0..8 {
        assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
    }
    assert_eq!(pipeline.healed().copies, 0);
    assert!(pipeline.read(&bp).every_copy().wait().unwrap() == noise(1, 8192));
    assert_eq!(pipeline.healed().copies, 1);
    assert_eq!(pipeline.missing(VdevId(0), 0).unwrap(), missing);
    pipeline.resilvered(VdevId(0), 0, &missing).unwrap();
    assert!(pipeline.missing(VdevId(0), 0).unwrap().is_empty());
    assert_eq!(kind(pipeline.missing(VdevId(0), 2)), ErrorKind::DeviceGone);
}

#[test]
fn a_flush_that_fails_on_one_leaf_costs_that_leaf_alone() {
    let sim = Sim::new(22, 2);
    let pipeline = mirror_of(&sim);
    pipeline.flush().wait().unwrap();
    pipeline.write(noise(1, 8192)).wait().unwrap();
    pipeline.end_txg();
    sim.disks[0].inject(eio(OpKind::Flush));
    // Durable: on the other one.
    pipeline.flush().wait().unwrap();
    assert_eq!(ranges(&pipeline.missing(VdevId(0), 0).unwrap()), [1..=1]);
    assert!(pipeline.missing(VdevId(0), 1).unwrap().is_empty());

    // On none: an error, and the next flush has to answer for it as well.
    pipeline.write(noise(2, 8192)).wait().unwrap();
    for disk in &sim.disks {
        disk.inject(eio(OpKind::Flush));
    }
    assert_eq!(kind(pipeline.flush().wait()), ErrorKind::Io);
    sim.disks[1].inject(eio(OpKind::Flush));
    pipeline.flush().wait().unwrap();
    assert_eq!(ranges(&pipeline.missing(VdevId(0), 1).unwrap()), [2..=2]);
}

#[test]
fn a_block_that_is_durable_nowhere_fails_the_flush() {
    let sim = Sim::new(26, 2);
    let pipeline = mirror_of(&sim);
    pipeline.flush().wait().unwrap();
    // It is on the first leaf alone, and that one fails to make it durable.
    fail_a_write(&sim.disks[1]);
    pipeline.write(noise(1, 8192)).wait().unwrap();
    assert_eq!(ranges(&pipeline.missing(VdevId(0), 1).unwrap()), [1..=1]);
    let flush = eio(OpKind::Flush);
    sim.disks[0].inject(flush.times(2));
    assert_eq!(kind(pipeline.flush().wait()), ErrorKind::Io);
    // What came before is not forgotten, also not by a write of a later group.
    pipeline.end_txg();
    pipeline.write(noise(2, 8192)).wait().unwrap();
    assert_eq!(kind(pipeline.flush().wait()), ErrorKind::Io);
    pipeline.flush().wait().unwrap();
}

/// A flush that is under way has taken upon itself what a second one is about; both have to answer for it.
#[test]
fn of_two_flushes_at_once_none_succeeds_for_a_block_that_is_durable_nowhere() {
    let sim = Sim::new(27, 2);
    let pipeline = mirror_of(&sim);
    pipeline.flush().wait().unwrap();
    fail_a_write(&sim.disks[0]);
    pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.disks[1].inject(eio(OpKind::Flush).times(2));
    let (first, second) = (pipeline.flush().start().unwrap(), pipeline.flush().start().unwrap());
    assert_eq!((kind(first.wait()), kind(second.wait())), (ErrorKind::Io, ErrorKind::Io));
    // Nothing of that is left over once it is durable.
    pipeline.flush().wait().unwrap();
    sim.disks[1].inject(eio(OpKind::Flush));
    pipeline.flush().wait().unwrap();
    assert!(pipeline.missing(VdevId(0), 1).unwrap().is_empty());
}

#[test]
fn one_bad_sector_does_not_make_a_dead_leaf() {
    let sim = Sim::new(23, 2);
    let pipeline = mirror_of(&sim);
    let probed = |disk: &SimDisk| {
        let log = disk.take_log();
        let end = DATA_START_BYTES + 56 * MIB;
        let outside =
            log.iter().filter(|e| e.offset_bytes < DATA_START_BYTES || e.offset_bytes >= end);
        outside.filter(|e| e.op == OpKind::Write).count()
    };
    sim.disks[1].take_log();
    let at = DATA_START_BYTES..DATA_START_BYTES + MIB;
    let bad = eio(OpKind::Write);
    sim.disks[1].inject(bad.range(at.start, MIB).always());
    pipeline.write(noise(1, 8192)).wait().unwrap();
    assert!(!pipeline.is_dead(VdevId(0), 1).unwrap());
    // A probe for each try, of three places.
    assert_eq!(probed(&sim.disks[1]), 6);
    assert_eq!(ranges(&pipeline.missing(VdevId(0), 1).unwrap()), [1..=1]);
    let errors = pipeline.leaf_errors(VdevId(0), 1).unwrap();
    assert_eq!((errors.read, errors.write, errors.checksum), (0, 1, 0), "the second try counts");
}

#[test]
fn a_dead_leaf_is_left_alone_until_it_proves_alive() {
    let sim = Sim::new(24, 3);
    let pipeline = mirror_of(&sim);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    sim.disks[2].offline();
    for seed in 2..50 {
        pipeline.write(noise(seed, 8192)).wait().unwrap();
        assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
    }
    assert!(pipeline.is_dead(VdevId(0), 2).unwrap());
    // Two tries of one write, each with its probe: no more than that ever went there.
    let asked = sim.disks[2].take_log().iter().filter(|e| e.start_ns > 0).count();
    assert!(asked < 20, "{asked}");
    sim.disks[2].online();
    sim.machine.run_for(2 * SECOND_NS);
    for seed in 50..60 {
        pipeline.write(noise(seed, 8192)).wait().unwrap();
        assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
        sim.machine.run_for(2 * SECOND_NS);
    }
    assert!(!pipeline.is_dead(VdevId(0), 2).unwrap());
}

#[test]
fn a_slow_leaf_sits_reads_out() {
    let sim = Sim::new(25, 3);
    let pipeline = mirror_of(&sim);
    let blocks: Vec<_> =
        (0..32).map(|seed| pipeline.write(noise(seed, 8192)).wait().unwrap()).collect();
    let slow = sim.disks[1].inject(Fault::new(Effect::Slow { factor: 20 * 5 }).always());
    let reads = |disk: &SimDisk| disk.take_log().iter().filter(|e| e.op == OpKind::Read).count();
    let run = |rounds: usize| {
        // Four at a time, so that there is something to choose.
        for round in 0..rounds / 4 {
            let number = |read: usize| (4 * round + read) % 32;
            let start = |read| pipeline.read(&blocks[number(read)]).start().unwrap();
            let reads: Vec<_> = (0..4).map(start).collect();
            for (read, started) in reads.into_iter().enumerate() {
                assert!(started.wait().unwrap() == noise(number(read) as u64, 8192));
            }
        }
    };
    run(1000);
    sim.disks.iter().for_each(|disk| _ = reads(disk));
    let start_ns = sim.machine.now_ns();
    run(1000);
    let seconds = (sim.machine.now_ns() - start_ns).div_ceil(SECOND_NS) as usize;
    let (of_slow, of_fast) = (reads(&sim.disks[1]), reads(&sim.disks[0]));
    assert!(of_slow <= seconds + 1, "{of_slow} in {seconds} s");
    assert!(of_fast > 400, "{of_fast}");

    // Once it is quick again it is found out, a read a second.
    sim.disks[1].heal(slow);
    for _ in 0..60 {
        sim.machine.run_for(SECOND_NS);
        run(8);
    }
    reads(&sim.disks[1]);
    run(900);
    assert!(reads(&sim.disks[1]) > 200);
}

// -- What a review found. --

#[test]
fn those_who_wait_behind_a_hung_device_are_given_up_as_well() {
    for mirrored in [false, true] {
        let sim = Sim::new(30, if mirrored { 2 } else { 1 });
        let pipeline = if mirrored { mirror_of(&sim) } else { sim.pipeline() };
        sim.disks[0].hold();
        // More than a device gets at a time, and never next to each other.
        let writes: Vec<_> = (0..80)
            .map(|n| pipeline.write(noise(n, 8192)).copies(1 + (n % 3) as u8).start().unwrap())
            .collect();
        let mut rounds = 0;
        while writes.iter().any(|write| !write.is_finished()) {
            sim.machine.run_for(2 * SECOND_NS);
            pipeline.give_up_overdue(Duration::from_secs(1));
            sim.machine.run_for(SECOND_NS / 10);
            rounds += 1;
            assert!(rounds < 20, "somebody waits for ever");
        }
        for write in writes {
            assert_eq!(write.wait().is_ok(), mirrored);
        }
        assert_eq!(pipeline.live(), 0);
        drop(pipeline);
        sim.disks[0].release();
    }
}

#[test]
fn a_hung_write_haunts_its_place_whatever_became_of_its_block() {
    let sim = Sim::new(31, 1);
    let pipeline = sim.pipeline();
    sim.disks[0].inject(Fault::new(Effect::Stall).on(OpKind::Write));
    let write = pipeline.write(noise(1, 8192)).copies(2).start().unwrap();
    sim.machine.run_for(2 * SECOND_NS);
    assert_eq!(pipeline.give_up_overdue(Duration::from_secs(1)), 1);
    sim.machine.run_for(SECOND_NS);
    assert_eq!(kind(write.wait()), ErrorKind::TimedOut);
    // The copy that hangs keeps its place, the other one does not.
    assert_eq!(pipeline.allocated_bytes(), 8192);
    let blocks: Vec<_> =
        (10..30).map(|seed| pipeline.write(noise(seed, 8192)).wait().unwrap()).collect();
    sim.disks[0].release();
    sim.machine.run_until_idle();
    for (bp, seed) in blocks.iter().zip(10..) {
        assert!(pipeline.read(bp).wait().unwrap() == noise(seed, 8192));
        pipeline.free(bp).wait().unwrap();
    }
    assert_eq!(pipeline.allocated_bytes(), 8192);
}

#[test]
fn a_hung_repair_haunts_its_place() {
    let sim = Sim::new(32, 2);
    let pipeline = mirror_of(&sim);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    let at = DATA_START_BYTES + bp.dva(0).unwrap().offset_bytes();
    sim.disks[1].corrupt(at, 8192);
    sim.disks[1].inject(Fault::new(Effect::Stall).on(OpKind::Write));
    let read = pipeline.read(&bp).every_copy().start().unwrap();
    sim.machine.run_for(2 * SECOND_NS);
    assert_eq!(pipeline.give_up_overdue(Duration::from_secs(1)), 1);
    sim.machine.run_for(SECOND_NS / 2);
    assert!(read.wait().unwrap() == noise(1, 8192));
    pipeline.free(&bp).wait().unwrap();
    let other = pipeline.write(noise(2, 8192)).wait().unwrap();
    assert_ne!(other.dva(0), bp.dva(0));
    sim.disks[1].release();
}

#[test]
fn a_label_is_on_its_own_leaf_and_no_other_answers_for_it() {
    let sim = Sim::new(33, 2);
    let pipeline = mirror_of(&sim);
    pipeline.flush().wait().unwrap();
    let leaf = pipeline.physical(VdevId(0), 0).unwrap();
    leaf.write_labels(16 << 10, vec![7; 4096]).wait().unwrap();
    sim.disks[0].inject(eio(OpKind::Flush).times(2));
    assert_eq!(kind(pipeline.flush().wait()), ErrorKind::Io);
    assert_eq!(kind(pipeline.flush().wait()), ErrorKind::Io);
    pipeline.flush().wait().unwrap();
    // Nothing is left to answer for.
    sim.disks[0].inject(eio(OpKind::Flush));
    pipeline.flush().wait().unwrap();
}

#[test]
fn flushes_go_in_rounds() {
    let sim = Sim::new(34, 2);
    let pipeline = mirror_of(&sim);
    sim.take_log(OpKind::Flush);
    sim.disks.iter().for_each(|disk| disk.hold());
    let first = pipeline.flush().start().unwrap();
    let rest: Vec<_> = (0..10).map(|_| pipeline.flush().start().unwrap()).collect();
    sim.disks.iter().for_each(|disk| disk.release());
    first.wait().unwrap();
    rest.into_iter().for_each(|flush| flush.wait().unwrap());
    // Two rounds on two leaves.
    assert_eq!(sim.take_log(OpKind::Flush).len(), 4);

    // A round that fails fails for all of it, and the next one is another.
    for disk in &sim.disks {
        disk.inject(eio(OpKind::Flush).skip(1));
    }
    sim.disks.iter().for_each(|disk| disk.hold());
    let first = pipeline.flush().start().unwrap();
    let second: Vec<_> = (0..5).map(|_| pipeline.flush().start().unwrap()).collect();
    sim.disks.iter().for_each(|disk| disk.release());
    first.wait().unwrap();
    let third = pipeline.flush();
    assert!(second.into_iter().all(|flush| kind(flush.wait()) == ErrorKind::Io));
    third.wait().unwrap();
    assert_eq!(pipeline.live(), 0);
}

#[test]
fn a_flush_that_fails_while_a_write_is_tried_again_leaves_it_a_failure() {
    let sim = Sim::new(35, 2);
    let pipeline = mirror_of(&sim);
    pipeline.write(noise(1, 8192)).wait().unwrap();
    pipeline.flush().wait().unwrap();
    // The block is on the first leaf; the second one fails it twice, and slowly.
    fail_a_write(&sim.disks[1]);
    sim.disks[1].inject(Fault::new(Effect::Slow { factor: 1000 }).on(OpKind::Read).always());
    let write = pipeline.write(noise(2, 8192)).start().unwrap();
    sim.machine.run_for(200_000);
    assert!(!write.is_finished());
    sim.disks[0].inject(eio(OpKind::Flush));
    let flush = pipeline.flush().start().unwrap();
    let (flush, write) = (flush.wait(), write.wait());
    // Whoever is told that all is well finds the block on a leaf that answers for it.
    if flush.is_ok() {
        assert!(write.is_err(), "durable nowhere, and both went well");
    }
}

#[test]
fn a_gang_is_read_from_a_leaf_that_may_have_missed_it_when_there_is_no_other() {
    let sim = Sim::with(36, 2, DiskConfig::fixed(16 * MIB, 10_000));
    let pipeline = sim.mirror().ashift(9).build().unwrap();
    cut_into_pieces(&pipeline);
    let data = noise(1, 64 << 10);
    let bp = pipeline.write(&data).wait().unwrap();
    assert!(bp.is_gang());
    // Both may have missed anything of this group, for all that is known.
    let all = TxgRanges::from_iter([1..=u64::MAX]);
    for leaf in 0..2 {
        pipeline.set_missing(VdevId(0), leaf, &all).unwrap();
    }
    assert!(pipeline.read(&bp).wait().unwrap() == data);
    assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data);
}

#[test]
fn what_is_suspended_can_be_cancelled() {
    let sim = Sim::new(37, 1);
    let pipeline = sim.builder().fail_mode(FailMode::Wait).build().unwrap();
    sim.disks[0].offline();
    let control = zio_pipeline::Control::new();
    let write = pipeline.write(noise(1, 8192)).control(&control).start().unwrap();
    let other = pipeline.write(noise(2, 8192)).start().unwrap();
    sim.machine.run_until_idle();
    assert_eq!(pipeline.suspended().requests, 2);
    control.cancel();
    assert_eq!(kind(write.wait()), ErrorKind::Cancelled);
    assert_eq!(pipeline.suspended().requests, 1);
    sim.disks[0].online();
    pipeline.resume();
    other.wait().unwrap();
    assert_eq!(pipeline.allocated_bytes(), 8192);
}

#[test]
fn who_must_succeed_does_not_hold_up_the_others() {
    let sim = Sim::new(38, 2);
    let pipeline = sim.pipeline();
    sim.disks[0].offline();
    let waits: Vec<_> = (0..80)
        .map(|n| pipeline.write(noise(n, 1 << 20)).copies(2).must_succeed().start().unwrap())
        .collect();
    sim.machine.run_until_idle();
    assert!(pipeline.suspended().requests > 0);
    let bounded = pipeline.write(noise(99, 8192)).copies(2).start().unwrap();
    sim.machine.run_until_idle();
    assert_eq!(kind(bounded.wait()), ErrorKind::DeviceGone);
    sim.disks[0].online();
    while waits.iter().any(|write| !write.is_finished()) {
        pipeline.resume();
        sim.machine.run_until_idle();
    }
}

#[test]
fn a_leaf_left_alone_is_a_writes_last_hope() {
    let sim = Sim::new(39, 2);
    let pipeline = mirror_of(&sim);
    sim.disks[0].offline();
    pipeline.write(noise(1, 8192)).wait().unwrap();
    assert!(pipeline.is_dead(VdevId(0), 0).unwrap());
    // Healthy again before anybody has looked, and now the other one fails.
    sim.disks[0].online();
    fail_always(&sim.disks[1], OpKind::Write);
    let bp = pipeline.write(noise(2, 8192)).wait().unwrap();
    assert!(pipeline.read(&bp).wait().unwrap() == noise(2, 8192));
}

#[test]
fn only_what_can_be_suspended_must_succeed() {
    let sim = Sim::new(40, 1);
    let pipeline = sim.pipeline();
    assert_eq!(kind(pipeline.flush().must_succeed().wait()), ErrorKind::Invalid);
    assert_eq!(kind(pipeline.trim(VdevId(0), 0, MIB).must_succeed().wait()), ErrorKind::Invalid);
}

#[test]
fn a_pointer_to_no_device_waits_for_none() {
    let two = Sim::new(41, 2);
    let pipeline = two.pipeline();
    let blocks = [write_on(&pipeline, VdevId(0)), write_on(&pipeline, VdevId(1))];
    let one = Sim::new(41, 1);
    let pipeline = one.builder().fail_mode(FailMode::Wait).build().unwrap();
    for must_succeed in [false, true] {
        let read = pipeline.read(&blocks[1]);
        let read = if must_succeed { read.must_succeed() } else { read };
        assert_eq!(kind(read.wait()), ErrorKind::DeviceGone);
    }
}

/// A block whose only copy is on this device.
fn write_on(pipeline: &Pipeline, vdev: VdevId) -> zio_pipeline::BlockPointer {
    (0..)
        .map(|seed| pipeline.write(noise(seed, 128 << 10)).wait().unwrap())
        .find(|bp| bp.dva(0).is_some_and(|dva| dva.vdev() == vdev))
        .unwrap()
}

/// A block of a whole unit was missed; a gang's header, which is shorter, is written in its place.
#[test]
fn a_short_block_fills_the_gap_of_a_long_one() {
    let sim = Sim::with(42, 2, DiskConfig::fixed(16 * MIB, 10_000));
    let pipeline = sim.mirror().ashift(12).build().unwrap();
    let fault = eio(OpKind::Write);
    sim.disks[0].inject(fault.range(DATA_START_BYTES, 8 * MIB).times(2));
    let long = pipeline.write(noise(1, 4096)).wait().unwrap();
    assert!(!pipeline.missing(VdevId(0), 0).unwrap().is_empty());
    pipeline.free(&long).wait().unwrap();
    let mut blocks = Vec::new();
    while blocks.iter().all(|bp: &zio_pipeline::BlockPointer| bp.dva(0) != long.dva(0)) {
        blocks.push(pipeline.write(noise(2, 512)).wait().unwrap());
    }
    assert!(pipeline.missing(VdevId(0), 0).unwrap().is_empty());
}

/// An earlier header of the same place and birth verifies; a leaf that has missed the later one has it.
#[test]
fn a_stale_gang_header_is_not_believed() {
    let sim = Sim::with(43, 2, DiskConfig::fixed(16 * MIB, 10_000));
    let pipeline = sim.mirror().ashift(9).build().unwrap();
    cut_into_pieces(&pipeline);
    let first = pipeline.write(noise(1, 64 << 10)).wait().unwrap();
    assert!(first.is_gang());
    pipeline.free(&first).wait().unwrap();
    fail_always(&sim.disks[0], OpKind::Write);
    let mut seed = 2;
    let second = loop {
        let bp = pipeline.write(noise(seed, 64 << 10)).wait().unwrap();
        if bp.dva(0) == first.dva(0) {
            break bp;
        }
        pipeline.free(&bp).wait().unwrap();
        seed += 1;
        assert!(seed < 500, "the place does not come back");
    };
    sim.disks[0].heal_all();
    for _ in 0..4 {
        assert!(
            pipeline.read(&second).every_copy().repair(false).wait().unwrap()
                == noise(seed, 64 << 10)
        );
    }
    assert!(pipeline.read(&second).every_copy().wait().unwrap() == noise(seed, 64 << 10));
    assert!(pipeline.missing(VdevId(0), 0).is_ok());
}
