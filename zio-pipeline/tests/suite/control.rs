//! A client's hand on what is under way: cancel what waits, change who wants it (A15, A16).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vdev_sim::{OpKind, Rng};
use zio_pipeline::{BlockPointer, Control, ErrorKind, Pipeline, Priority, VdevId};

use crate::common::{Sim, noise};

const BLOCKS: u64 = 1000;

/// Blocks that are never merged, since each second one between them is another's.
fn spread_blocks(pipeline: &Pipeline) -> Vec<BlockPointer> {
    (0..2 * BLOCKS)
        .map(|seed| pipeline.write(noise(seed, 65_536)).wait().unwrap())
        .step_by(2)
        .collect()
}

fn slow_queue(sim: &Sim) -> Pipeline {
    sim.builder().queue(vdev_queue::Config::seed()).build().unwrap()
}

fn sim(seed: u64) -> Sim {
    Sim::with(seed, 1, vdev_sim::DiskConfig::fixed(256 << 20, 10_000))
}

#[test]
fn cancelled_prefetches_never_reach_the_device() {
    let sim = sim(1);
    let pipeline = slow_queue(&sim);
    let blocks = spread_blocks(&pipeline);
    sim.take_log(OpKind::Read);

    let control = Control::new();
    let ended = Arc::new(AtomicUsize::new(0));
    let group = pipeline.root();
    for bp in &blocks {
        let ended = Arc::clone(&ended);
        let read = pipeline.read(bp).priority(Priority::AsyncRead).control(&control);
        read.under(group.parent()).nowait(move |result| {
            if let Err(error) = result {
                assert_eq!(error.kind(), ErrorKind::Cancelled);
            }
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    control.cancel();
    assert!(control.is_cancelled());
    // The group hears of it, and nobody waits for ever.
    assert_eq!(group.wait().unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(ended.load(Ordering::Relaxed), blocks.len());
    // Three were with the device before; prefetches may be three.
    assert_eq!(sim.take_log(OpKind::Read).len(), 3);
    // Started afterwards, it does not get far either.
    let late = pipeline.read(&blocks[9]).control(&control).wait().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Cancelled);
    assert_eq!(sim.take_log(OpKind::Read).len(), 0);
    assert_eq!(pipeline.live(), 0);
    // The queue has room again.
    assert!(pipeline.read(&blocks[9]).wait().unwrap() == noise(18, 65_536));
    let stats = pipeline.stats().leaves.remove(0).classes;
    let cancelled: u64 = stats.iter().map(|(_, class)| class.counts.cancelled_total).sum();
    assert_eq!(cancelled, BLOCKS - 3);
}

#[test]
fn a_cancelled_write_gives_its_space_back() {
    let sim = sim(2);
    let pipeline = slow_queue(&sim);
    let control = Control::new();
    let writes: Vec<_> = (0..BLOCKS)
        .map(|seed| {
            let write = pipeline.write(noise(seed, 4096)).control(&control);
            let alone = write.priority(Priority::SyncWrite);
            alone.start().unwrap()
        })
        .collect();
    control.cancel();
    let mut written = 0;
    for write in writes {
        match write.wait() {
            Ok(bp) => {
                written += 1;
                pipeline.free(&bp).wait().unwrap();
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
        }
    }
    assert_eq!(written, 10, "what the device had");
    assert_eq!((pipeline.allocated_bytes(), pipeline.live()), (0, 0));
}

#[test]
fn a_demand_read_overtakes_the_scrub_it_finds() {
    let sim = sim(3);
    let pipeline = slow_queue(&sim);
    let blocks = spread_blocks(&pipeline);
    sim.take_log(OpKind::Read);

    let wanted = 700;
    let control = Control::new();
    let mut demand = None;
    let mut others = Vec::new();
    for (number, bp) in blocks.iter().enumerate() {
        let read = pipeline.read(bp).priority(Priority::Scrub);
        if number == wanted {
            demand = Some(read.control(&control).start().unwrap());
        } else {
            others.push(read.start().unwrap());
        }
    }
    let before = sim.take_log(OpKind::Read).len();
    assert_eq!(before, 2, "what scrub may have at the device");
    control.set_priority(Priority::SyncRead);
    assert!(demand.unwrap().wait().unwrap() == noise(2 * wanted as u64, 65_536));
    let log = sim.take_log(OpKind::Read);
    let place = sim.place(&blocks[wanted], 0).1;
    let at = |offset_bytes: u64| log.iter().filter(|e| e.offset_bytes == offset_bytes).count();
    // It was issued next, and once.
    assert_eq!(log[0].offset_bytes, place, "{:?}", &log[..2]);
    assert_eq!(at(place), 1);
    for other in others {
        other.wait().unwrap();
    }
    assert_eq!(sim.take_log(OpKind::Read).iter().filter(|e| e.offset_bytes == place).count(), 0);
}

#[test]
fn limits_change_under_load_and_nothing_is_lost() {
    let sim = sim(4);
    let pipeline = slow_queue(&sim);
    let blocks = spread_blocks(&pipeline);
    sim.take_log(OpKind::Read);
    let reads: Vec<_> = blocks
        .iter()
        .map(|bp| pipeline.read(bp).priority(Priority::Scrub).start().unwrap())
        .collect();
    assert_eq!(sim.take_log(OpKind::Read).len(), 2);
    let mut wider = vdev_queue::Config::seed();
    wider.classes[vdev_queue::Class::Scrub].active_max = 50;
    pipeline.set_queue(VdevId(0), 0, wider.clone()).unwrap();
    assert_eq!(sim.take_log(OpKind::Read).len(), 48);

    wider.classes[vdev_queue::Class::Scrub].active_max = 0;
    let refused = pipeline.set_queue(VdevId(0), 0, wider).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.to_string().contains("Scrub"), "{refused}");
    for (read, seed) in reads.into_iter().zip((0..).step_by(2)) {
        assert!(read.wait().unwrap() == noise(seed, 65_536));
    }

    // The more write-back there is, the more of it at once.
    let at_once = |dirty_bytes: u64| {
        let load = vdev_queue::Load { dirty_bytes, dirty_bytes_max: 100, ..Default::default() };
        pipeline.set_load(load);
        sim.take_log(OpKind::Write);
        let writes: Vec<_> =
            (0..20).map(|n| pipeline.write(noise(n, 65_536)).start().unwrap()).collect();
        let count = sim.take_log(OpKind::Write).len();
        writes.into_iter().for_each(|write| _ = write.wait().unwrap());
        count
    };
    let (few, many) = (at_once(0), at_once(90));
    assert!(few < many, "{few} {many}");
}

/// Cancelled and re-classed from other threads at any moment: everything ends once.
#[test]
fn any_moment_will_do() {
    for seed in 0..20 {
        let memory = Arc::new(vdev_disk::Memory::new(64 << 20, 512));
        let pipeline =
            Pipeline::builder().vdev(memory).queue(vdev_queue::Config::seed()).build().unwrap();
        let blocks: Vec<_> =
            (0..64).map(|n| pipeline.write(noise(n, 4096)).wait().unwrap()).collect();
        let controls: Vec<_> = (0..8).map(|_| Control::new()).collect();
        let ended = Arc::new(AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let (controls, pipeline, blocks) = (&controls, &pipeline, &blocks);
                let ended = Arc::clone(&ended);
                scope.spawn(move || {
                    for round in 0..100_usize {
                        let control = &controls[round % 8];
                        let ended = Arc::clone(&ended);
                        let expected = noise(round as u64 % 64, 4096);
                        let read = pipeline.read(&blocks[round % 64]).control(control);
                        read.priority(Priority::Scrub).nowait(move |result| {
                            match result {
                                Ok(data) => assert!(data == expected),
                                Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
                            }
                            ended.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
            scope.spawn(|| {
                let mut rng = Rng::new(seed);
                for _ in 0..50 {
                    let control = &controls[rng.index(8)];
                    if rng.chance(100) {
                        control.cancel();
                    } else {
                        control.set_priority(Priority::ALL[rng.index(Priority::ALL.len())]);
                    }
                }
            });
        });
        pipeline.wait_idle();
        assert_eq!(ended.load(Ordering::Relaxed), 200);
        assert_eq!(pipeline.live(), 0);
    }
}
