//! Injected delays (A18): they last as long as they are to, hold no thread, and can be cut short.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vdev_sim::DiskConfig;
use zio_core::{Stages, ZioType};
use zio_pipeline::inject::{Action, DeviceAction, DeviceFault, Injections, StageFault};
use zio_pipeline::{BlockPointer, Builder, Control, ErrorKind, Pipeline, VdevId};

use crate::common::{MIB, Sim, noise, on_memory_with, write};

/// What a simulated disk takes for an I/O.
const DISK_NS: u64 = 10_000;

const SECOND: Duration = Duration::from_secs(1);

fn sim(disks: usize) -> Sim {
    Sim::with(5, disks, DiskConfig::fixed(64 * MIB, DISK_NS))
}

/// Faults whose delays the machine ends.
fn on_machine(sim: &Sim) -> Injections {
    let machine = sim.machine.clone();
    Injections::with_alarm(move |delay, ring| machine.after(delay.as_nanos() as u64, ring))
}

fn open(sim: &Sim, faults: &Injections) -> Pipeline {
    sim.builder().inject(faults).build().unwrap()
}

fn delayed_reads(delay: Duration) -> DeviceFault {
    DeviceFault::new(DeviceAction::Delay(delay)).on(ZioType::Read).always()
}

/// By the machine's clock.
fn read_ns(sim: &Sim, pipeline: &Pipeline, bp: &BlockPointer) -> u64 {
    let start_ns = sim.machine.now_ns();
    pipeline.read(bp).wait().unwrap();
    sim.machine.now_ns() - start_ns
}

#[test]
fn an_answer_comes_after_its_time_and_no_later_than_the_devices() {
    let sim = sim(1);
    let faults = on_machine(&sim);
    let pipeline = open(&sim, &faults);
    let bp = write(&pipeline, 1);
    let undelayed_ns = read_ns(&sim, &pipeline, &bp);
    for delay_ns in [0, 1, 999, DISK_NS - 1, DISK_NS, DISK_NS + 1, 1_000_000, 3_600_000_000_000] {
        faults.clear();
        let number = faults.add(delayed_reads(Duration::from_nanos(delay_ns)));
        let took_ns = read_ns(&sim, &pipeline, &bp);
        assert!(took_ns >= delay_ns, "{took_ns} of {delay_ns}");
        assert!(took_ns <= undelayed_ns.max(delay_ns) + DISK_NS, "{took_ns} of {delay_ns}");
        assert_eq!((faults.hits(number), pipeline.delayed(), pipeline.live()), (1, 0, 0));
    }
}

/// Each stage of each kind of request, held back by nothing, by less than any tick, and by more.
#[test]
fn no_delay_of_a_stage_is_too_short_to_end() {
    let sim = sim(2);
    let faults = on_machine(&sim);
    let pipeline = open(&sim, &faults);
    let mut hits = 0;
    for delay_ns in [0, 1, 999_999, 1_000_001] {
        for stage in Stages::all().iter().filter(|stage| *stage != Stages::OPEN) {
            let delay = Action::Delay(Duration::from_nanos(delay_ns));
            let number = faults.add(StageFault::new(stage, delay).always());
            let start_ns = sim.machine.now_ns();
            let bp = pipeline.write(noise(2, 9216)).copies(2).wait().unwrap();
            assert!(pipeline.read(&bp).wait().unwrap() == noise(2, 9216), "{stage:?}");
            pipeline.flush().wait().unwrap();
            pipeline.free(&bp).wait().unwrap();
            pipeline.trim(VdevId(0), 0, MIB).wait().unwrap_or_default();
            let hit = faults.hits(number);
            faults.clear();
            hits += hit;
            let took_ns = sim.machine.now_ns() - start_ns;
            assert!(hit == 0 || took_ns >= delay_ns, "{stage:?}: {took_ns} of {delay_ns}");
            assert_eq!((pipeline.delayed(), pipeline.live()), (0, 0), "{stage:?}");
        }
    }
    assert!(hits > 100, "{hits}");
}

/// An alarm that knows only whole milliseconds, and cuts off what is more.
#[test]
fn an_alarm_that_comes_early_is_set_again() {
    let sim = sim(1);
    let machine = sim.machine.clone();
    let rung = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&rung);
    let faults = Injections::with_alarm(move |delay, ring| {
        count.fetch_add(1, Ordering::Relaxed);
        machine.after((delay.as_millis() as u64 * 1_000_000).max(400_000), ring);
    });
    let pipeline = open(&sim, &faults);
    let bp = write(&pipeline, 1);
    let delay = Duration::from_nanos(2_999_999);
    faults.add(delayed_reads(delay));
    let took_ns = read_ns(&sim, &pipeline, &bp);
    assert!(took_ns >= delay.as_nanos() as u64, "{took_ns}");
    assert!(rung.load(Ordering::Relaxed) > 1, "it was late enough at once");
}

#[test]
fn a_thousand_delays_hold_no_thread() {
    let sim = sim(1);
    let faults = on_machine(&sim);
    let pipeline = open(&sim, &faults);
    let (held, other) = (write(&pipeline, 1), write(&pipeline, 2));
    let stage = StageFault::new(Stages::VDEV_IO_START, Action::Delay(SECOND)).on(ZioType::Read);
    faults.add(stage.of_leaves(false).of_object(7, 7).always());
    let bookmark = zio_pipeline::Bookmark { objset: 7, object: 7, ..Default::default() };
    let reads: Vec<_> =
        (0..1000).map(|_| pipeline.read(&held).bookmark(bookmark).start().unwrap()).collect();
    // This thread is the only one there is.
    assert_eq!(pipeline.delayed(), 1000);
    assert!(read_ns(&sim, &pipeline, &other) < 1_000_000_000, "others are not held back");
    for read in reads {
        assert!(read.wait().unwrap() == noise(1, 4096));
    }
    assert_eq!((pipeline.delayed(), pipeline.live()), (0, 0));
}

#[test]
fn a_delayed_answer_is_given_up_as_that_of_any_slow_device() {
    let sim = sim(2);
    let machine = sim.machine.clone();
    let faults = on_machine(&sim);
    let pipeline = sim.mirror().inject(&faults).build().unwrap();
    let bp = write(&pipeline, 1);
    faults.add(delayed_reads(SECOND * 10));
    let read = pipeline.read(&bp).start().unwrap();
    machine.run_for(1_000_000_000);
    assert_eq!((pipeline.delayed(), pipeline.overdue(SECOND / 2).len()), (1, 1));
    // The other leaf is as slow, and so is the second try.
    let mut given_up = 0;
    while pipeline.live() > 0 {
        given_up += pipeline.give_up_overdue(SECOND / 2);
        machine.run_for(1_000_000_000);
    }
    assert_eq!(read.wait().unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(given_up > 1, "{given_up}");
    assert_eq!(pipeline.delayed(), given_up);
    faults.clear();
    // The answers come, and are nobody's.
    machine.run_until_idle();
    assert_eq!((pipeline.delayed(), pipeline.memory().lent()), (0, 0));
    pipeline.resume();
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 4096));
}

#[test]
fn who_is_cancelled_is_held_back_no_longer() {
    let sim = sim(1);
    let faults = on_machine(&sim);
    let pipeline = open(&sim, &faults);
    let bp = write(&pipeline, 1);
    let hold = |ty| StageFault::new(Stages::VDEV_IO_START, Action::Delay(SECOND)).on(ty).always();
    faults.add(hold(ZioType::Read));
    faults.add(hold(ZioType::Write));
    let start_ns = sim.machine.now_ns();
    let control = Control::new();
    let read = pipeline.read(&bp).control(&control).start().unwrap();
    let write = pipeline.write(noise(3, 4096)).control(&control).start().unwrap();
    sim.machine.run_for(1000);
    assert_eq!(pipeline.delayed(), 2);
    control.cancel();
    assert_eq!(pipeline.delayed(), 0);
    assert_eq!(read.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    // Cancelled before it comes there, it is not held back at all.
    let late = pipeline.read(&bp).control(&control).wait().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Cancelled);
    assert!(sim.machine.now_ns() - start_ns < 500_000_000);
    assert_eq!((pipeline.live(), pipeline.allocated_bytes()), (0, 4096));
}

#[test]
fn a_pipeline_that_is_closed_at_once_waits_for_no_delay() {
    let sim = sim(1);
    let faults = on_machine(&sim);
    let pipeline = open(&sim, &faults);
    let bp = write(&pipeline, 1);
    faults.add(StageFault::new(Stages::VDEV_IO_START, Action::Delay(SECOND)).of_leaves(true));
    let at_stage = pipeline.read(&bp).start().unwrap();
    faults.add(delayed_reads(SECOND));
    let at_device = pipeline.read(&bp).start().unwrap();
    sim.machine.run_for(2 * DISK_NS);
    assert_eq!(pipeline.delayed(), 2);
    let start_ns = sim.machine.now_ns();
    pipeline.close_now();
    for read in [at_stage, at_device] {
        assert_eq!(read.wait().unwrap_err().kind(), ErrorKind::Closed);
    }
    assert!(sim.machine.now_ns() - start_ns < 500_000_000);
    // An answer that nobody waits for any more keeps nothing from being closed.
    let memory = pipeline.memory().clone();
    assert_eq!((pipeline.delayed(), memory.lent()), (0, 0));
    drop(pipeline);
}

#[test]
fn what_a_device_holds_back_for_ever_ends_with_the_pipeline() {
    let sim = sim(1);
    let faults = on_machine(&sim);
    let pipeline = open(&sim, &faults);
    let bp = write(&pipeline, 1);
    faults.add(delayed_reads(Duration::MAX));
    let read = pipeline.read(&bp).start().unwrap();
    while pipeline.live() > 0 {
        sim.machine.run_for(1_000_000_000);
        pipeline.give_up_overdue(SECOND / 2);
    }
    assert_eq!(read.wait().unwrap_err().kind(), ErrorKind::TimedOut);
    let memory = pipeline.memory().clone();
    assert!(pipeline.delayed() > 0 && memory.lent() > 0);
    drop(pipeline);
    assert_eq!(memory.lent(), 0);
}

#[test]
fn dropping_a_pipeline_waits_for_what_is_held_back() {
    let sim = sim(1);
    let faults = on_machine(&sim);
    let pipeline = open(&sim, &faults);
    faults.add(StageFault::new(Stages::DONE, Action::Delay(SECOND)).on(ZioType::Write));
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    pipeline.write(noise(1, 4096)).nowait(move |result| {
        count.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
    });
    drop(pipeline);
    assert_eq!(written.load(Ordering::Relaxed), 1);
    assert!(sim.machine.now_ns() >= 1_000_000_000);
}

/// Whoever waits for a pointer waits for it; the data may be on its device long before.
#[test]
fn a_pointer_may_be_late() {
    let sim = sim(1);
    let faults = on_machine(&sim);
    let pipeline = open(&sim, &faults);
    faults.add(StageFault::new(Stages::READY, Action::Delay(SECOND)).on(ZioType::Write));
    let ready_ns = Arc::new(AtomicU64::new(0));
    let (seen, machine) = (Arc::clone(&ready_ns), sim.machine.clone());
    let write = pipeline.write(noise(1, 4096));
    let bp =
        write.on_ready(move |_| seen.store(machine.now_ns(), Ordering::Relaxed)).wait().unwrap();
    assert!(ready_ns.load(Ordering::Relaxed) >= 1_000_000_000);
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 4096));
}

#[test]
fn delays_can_be_ended_by_hand() {
    let sim = sim(1);
    let faults = on_machine(&sim);
    let pipeline = open(&sim, &faults);
    let bp = write(&pipeline, 1);
    faults.add(delayed_reads(Duration::MAX));
    let reads: Vec<_> = (0..3).map(|_| pipeline.read(&bp).start().unwrap()).collect();
    sim.machine.run_for(1_000_000_000);
    // Merged, they are one I/O of the device; apart, three.
    let held = pipeline.delayed();
    assert!((1..=3).contains(&held), "{held}");
    faults.clear();
    assert_eq!(pipeline.end_delays(), held);
    for read in reads {
        assert!(read.wait().unwrap() == noise(1, 4096));
    }
}

/// Without an alarm a thread of the pipeline's own ends them, by the system's clock.
#[test]
fn a_thread_ends_delays_where_nobody_else_does() {
    let faults = Injections::new();
    let pipeline = on_memory_with(64 * MIB, |builder: Builder| builder.inject(&faults));
    let bp = write(&pipeline, 1);
    for delay in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(20)] {
        let device = faults.add(delayed_reads(delay));
        let stage =
            faults.add(StageFault::new(Stages::CHECKSUM_VERIFY, Action::Delay(delay)).always());
        let start = Instant::now();
        let reads: Vec<_> = (0..20).map(|_| pipeline.read(&bp).start().unwrap()).collect();
        for read in reads {
            assert!(read.wait().unwrap() == noise(1, 4096));
        }
        assert!(start.elapsed() >= delay * 2);
        assert_eq!(pipeline.delayed(), 0);
        assert!(faults.hits(device) > 0 && faults.hits(stage) > 0);
        faults.clear();
    }
}
