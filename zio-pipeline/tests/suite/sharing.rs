//! Many threads on one pipeline, and its end.

use std::future::IntoFuture;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use vdev_disk::Memory;
use vdev_sim::Rng;
use zio_pipeline::{
    BlockPointer, Bookmark, Checksum, Compression, Error, Pipeline, Priority, VdevId,
};

use crate::common::{MIB, PATIENCE, block_on, everywhere, noise, on_memory, write};

/// A thread's own blocks, written, read and freed in any order and any style.
fn client(pipeline: &Pipeline, seed: u64, steps: u32) {
    let mut rng = Rng::new(seed);
    let mut live: Vec<(BlockPointer, u64)> = Vec::new();
    for _ in 0..steps {
        let number = rng.below(1000);
        match rng.below(10) {
            0..=3 => {
                let bytes = noise(number, 4096);
                let write = pipeline.write(&bytes).bookmark(Bookmark {
                    object: seed,
                    block: number,
                    ..Bookmark::default()
                });
                let write = match rng.below(4) {
                    0 => write.compression(Compression::Lz4).priority(Priority::SyncWrite),
                    1 => write.checksum(Checksum::Sha256).dedup(true),
                    2 => write.copies(2),
                    _ => write,
                };
                live.push((write.wait().unwrap(), number));
            }
            4..=7 if !live.is_empty() => {
                let (bp, number) = live[rng.index(live.len())];
                let data = match rng.below(3) {
                    0 => pipeline.read(&bp).wait(),
                    1 => pipeline.read(&bp).start().unwrap().wait(),
                    _ => block_on(pipeline.read(&bp).into_future()),
                };
                assert!(data.unwrap() == noise(number, 4096));
            }
            8 if !live.is_empty() => {
                let (bp, _) = live.swap_remove(rng.index(live.len()));
                pipeline.free(&bp).wait().unwrap();
            }
            9 if rng.chance(100) => pipeline.flush().wait().unwrap(),
            _ => {}
        }
    }
    for (bp, _) in live {
        pipeline.free(&bp).wait().unwrap();
    }
}

#[test]
fn many_threads_use_one_pipeline() {
    everywhere(|pipeline| {
        thread::scope(|scope| {
            for seed in 0..16 {
                scope.spawn(move || client(pipeline, seed, 200));
            }
            // Meanwhile somebody looks, and somebody uses callbacks.
            scope.spawn(move || {
                for _ in 0..200 {
                    let stats = pipeline.stats().leaves.remove(0).classes;
                    let issued: u64 =
                        stats.iter().map(|(_, class)| class.counts.issued_total).sum();
                    let completed: u64 =
                        stats.iter().map(|(_, class)| class.counts.completed_total).sum();
                    assert!(completed <= issued);
                    pipeline.write(noise(1, 512)).compression(Compression::Lz4).nowait(|r| _ = r);
                    thread::yield_now();
                }
            });
        });
        pipeline.wait_idle();
        assert_eq!(pipeline.dedup_references(), 0);
    });
}

#[test]
fn looking_at_a_queue_loses_nothing_that_passes_it() {
    let pipeline = on_memory(32 * MIB);
    let bp = write(&pipeline, 1);
    let readers_left = AtomicUsize::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5000 {
                    assert!(pipeline.read(&bp).wait().is_ok());
                }
                readers_left.fetch_sub(1, Ordering::SeqCst);
            });
        }
        while readers_left.load(Ordering::SeqCst) > 0 {
            _ = pipeline.stats();
        }
    });
    let stats = pipeline.stats().leaves.remove(0).classes;
    let (queued, active): (usize, u32) =
        stats.iter().fold((0, 0), |sum, (_, c)| (sum.0 + c.counts.queued, sum.1 + c.counts.active));
    assert_eq!((queued, active), (0, 0));
    assert!(pipeline.stats().leaf(VdevId(1), 0).is_none());
}

#[test]
fn writes_that_wait_for_the_throttle_all_end() {
    let space = metaslab::Metaslabs::new(metaslab::Config {
        defer_txgs: 0,
        reserve_bytes_max: Some(4096),
        ..metaslab::Config::default()
    });
    space.add_vdev(VdevId(0), 64 * MIB, 12).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let builder = Pipeline::builder().create(dir.path().join("disk"), 128 * MIB);
    let pipeline = builder.allocator(Arc::new(space)).build().unwrap();
    thread::scope(|scope| {
        let pipeline = &pipeline;
        for seed in 0..8 {
            scope.spawn(move || client(pipeline, seed, 100));
        }
    });
    let completions = pipeline.completions();
    for tag in 0..500 {
        pipeline.write(noise(tag, 4096)).send_to(&completions, tag).unwrap();
    }
    while let Some((tag, finished)) = completions.next() {
        finished.result().unwrap();
        let bp = finished.get().bp;
        assert!(pipeline.read(&bp).wait().unwrap() == noise(tag, 4096));
        pipeline.free(&bp).wait().unwrap();
    }
    assert_eq!((pipeline.live(), pipeline.allocated_bytes()), (0, 0));
}

// -- The end. --

#[test]
fn a_pipeline_that_is_dropped_waits_for_what_was_started() {
    for threads in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let builder = Pipeline::builder().create(dir.path().join("disk"), 64 * MIB);
        let builder = if threads { builder.threads() } else { builder };
        let pipeline = builder.build().unwrap();
        let ended = Arc::new(AtomicUsize::new(0));
        for seed in 0..200 {
            let counted = Arc::clone(&ended);
            pipeline.write(noise(seed, 4096)).nowait(move |result: Result<_, Error>| {
                result.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
            });
        }
        let handle = pipeline.write(noise(1, 4096)).start().unwrap();
        drop(pipeline);
        assert_eq!(ended.load(Ordering::SeqCst), 200);
        // What was left behind can still be picked up.
        assert!(handle.is_finished());
        handle.wait().unwrap();
    }
}

#[test]
fn results_outlive_their_pipeline() {
    let pipeline = on_memory(32 * MIB);
    let bp = write(&pipeline, 1);
    let completions = pipeline.completions();
    pipeline.read(&bp).send_to(&completions, 3).unwrap();
    let data = pipeline.read(&bp).wait().unwrap();
    drop(pipeline);
    assert!(data == noise(1, 4096));
    let (tag, mut finished) = completions.next().unwrap();
    assert!(tag == 3 && finished.take_data() == noise(1, 4096));
}

#[test]
fn a_pipeline_can_be_dropped_by_its_own_callback() {
    let file = |threads: bool| {
        let dir = tempfile::tempdir().unwrap();
        let builder = Pipeline::builder().create(dir.path().join("disk"), 64 * MIB);
        let builder = if threads { builder.threads() } else { builder };
        (builder.build().unwrap(), Some(dir))
    };
    for (pipeline, _dir) in [file(false), file(true), (on_memory(64 * MIB), None)] {
        let pipeline = Arc::new(pipeline);
        let (told, heard) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let last = Arc::clone(&pipeline);
        let write = pipeline.write(noise(1, 4096));
        let starter = thread::spawn(move || {
            write.nowait(move |result| {
                result.unwrap();
                // Until the other owner has let go.
                gone.recv().unwrap_err();
                assert_eq!(Arc::strong_count(&last), 1);
                drop(last);
                told.send(()).unwrap();
            });
        });
        drop(pipeline);
        drop(go);
        heard.recv_timeout(PATIENCE).unwrap();
        starter.join().unwrap();
    }
}

#[test]
fn many_pipelines_come_and_go() {
    for _ in 0..50 {
        let pipeline =
            Pipeline::builder().vdev(Arc::new(Memory::new(32 * MIB, 512))).build().unwrap();
        write(&pipeline, 1);
        pipeline.read(&write(&pipeline, 2)).nowait(|result| assert!(result.is_ok()));
    }
}
