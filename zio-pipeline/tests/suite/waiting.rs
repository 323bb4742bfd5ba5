//! The ways to ask for something and to hear of its end.

use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use vdev_disk::Memory;
use vdev_sim::{Effect, Fault, OpKind, Rng};
use zio_core::VdevErrorKind;
use zio_pipeline::{
    BlockPointer, Bookmark, Checksum, Compression, Error, ErrorKind, Pipeline, Priority,
};

use crate::common::{Gated, MIB, Sim, noise, on_memory};

/// Something that ought to happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pipeline on a temporary file.
struct OnFile {
    pipeline: Pipeline,
    _dir: tempfile::TempDir,
}

impl OnFile {
    fn new(threads: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let builder = Pipeline::builder().create(dir.path().join("disk"), 128 * MIB);
        let builder = if threads { builder.threads() } else { builder };
        Self { pipeline: builder.build().unwrap(), _dir: dir }
    }
}

/// Does the same on every kind of device.
fn everywhere(test: impl Fn(&Pipeline)) {
    for threads in [false, true] {
        let file = OnFile::new(threads);
        test(&file.pipeline);
        file.pipeline.wait_idle();
        assert_eq!(file.pipeline.live(), 0);
    }
    let memory = on_memory(128 * MIB);
    test(&memory);
    assert_eq!(memory.live(), 0);
}

fn write(pipeline: &Pipeline, seed: u64) -> BlockPointer {
    pipeline.write(noise(seed, 4096)).wait().unwrap()
}

// -- Futures. --

struct Unpark(thread::Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// An executor of one page: polls again when woken.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let woken = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        while !woken.1.swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }
}

/// All of them, at once.
fn join_all<F: Future + Unpin>(futures: Vec<F>) -> impl Future<Output = Vec<F::Output>> {
    let mut waiting: Vec<_> = futures.into_iter().map(|f| (Some(f), None)).collect();
    std::future::poll_fn(move |cx| {
        for (future, output) in &mut waiting {
            if let Some(pending) = future
                && let Poll::Ready(value) = Pin::new(pending).poll(cx)
            {
                (*future, *output) = (None, Some(value));
            }
        }
        if waiting.iter().any(|(future, _)| future.is_some()) {
            return Poll::Pending;
        }
        Poll::Ready(waiting.iter_mut().filter_map(|(_, output)| output.take()).collect())
    })
}

#[test]
fn a_request_can_be_awaited() {
    everywhere(|pipeline| {
        block_on(async {
            let bp = pipeline.write(noise(1, 8192)).await.unwrap();
            pipeline.flush().await.unwrap();
            assert!(pipeline.read(&bp).await.unwrap() == noise(1, 8192));
            pipeline.free(&bp).await.unwrap();
            assert_eq!(pipeline.write(&[1; 3]).await.unwrap_err().kind(), ErrorKind::Invalid);
            let group = pipeline.root();
            let inside = pipeline.write(noise(2, 8192)).under(group.parent()).into_future();
            group.into_pending().await.unwrap();
            inside.await.unwrap();
        });
    });
}

#[test]
fn many_futures_make_progress_together() {
    everywhere(|pipeline| {
        let writes = (0..200).map(|seed| pipeline.write(noise(seed, 4096)).into_future());
        let written = block_on(join_all(writes.collect()));
        let reads = written.iter().map(|bp| pipeline.read(bp.as_ref().unwrap()).into_future());
        let read = block_on(join_all(reads.collect()));
        for (seed, data) in read.into_iter().enumerate() {
            assert!(data.unwrap() == noise(seed as u64, 4096));
        }
        // Each on a thread of its own, each with an executor of its own.
        thread::scope(|scope| {
            for (seed, bp) in written.iter().enumerate().take(16) {
                scope.spawn(move || {
                    for _ in 0..20 {
                        let data = block_on(pipeline.read(bp.as_ref().unwrap()).into_future());
                        assert!(data.unwrap() == noise(seed as u64, 4096));
                    }
                });
            }
        });
    });
}

#[test]
fn a_future_that_is_dropped_or_polled_for_nothing_does_no_harm() {
    let disk = Gated::new(32 * MIB);
    let pipeline = Pipeline::builder().vdev(Arc::clone(&disk) as Arc<_>).build().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let mut kept = pipeline.write(noise(1, 4096)).into_future();
    let mut dropped = pipeline.write(noise(2, 4096)).into_future();
    for _ in 0..5 {
        assert!(Pin::new(&mut kept).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut dropped).poll(&mut cx).is_pending());
    }
    drop(dropped);
    let gate = Arc::clone(&disk);
    let opener = thread::spawn(move || gate.open());
    let bp = block_on(&mut kept).unwrap();
    opener.join().unwrap();
    pipeline.wait_idle();
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 4096));
    // The dropped one was written all the same; nobody knows where.
    assert_eq!(pipeline.allocated_bytes(), 8192);
    // Polled after its end: an error, no panic.
    assert!(matches!(Pin::new(&mut kept).poll(&mut cx), Poll::Ready(Err(_))));
}

// -- Handles. --

#[test]
fn a_handle_can_be_waited_for_asked_and_dropped() {
    everywhere(|pipeline| {
        let handle = pipeline.write(noise(1, 4096)).start().unwrap();
        let bp = handle.wait().unwrap();
        let before = pipeline.allocated_bytes();
        for seed in 0..50 {
            drop(pipeline.write(noise(seed, 4096)).start().unwrap());
        }
        let read = pipeline.read(&bp).start().unwrap();
        pipeline.wait_idle();
        assert!(read.is_finished());
        assert!(read.wait().unwrap() == noise(1, 4096));
        assert_eq!(pipeline.allocated_bytes(), before + 50 * 4096);
        // Another thread may wait for it.
        let read = pipeline.read(&bp).start().unwrap();
        let data = thread::scope(|scope| scope.spawn(|| read.wait()).join().unwrap());
        assert!(data.unwrap() == noise(1, 4096));
    });
}

#[test]
fn a_request_that_is_not_started_does_nothing() {
    let pipeline = on_memory(32 * MIB);
    drop(pipeline.write(noise(1, 4096)));
    drop(pipeline.root());
    let group = pipeline.root();
    drop(pipeline.write(noise(1, 4096)).under(group.parent()));
    group.wait().unwrap();
    assert_eq!((pipeline.live(), pipeline.allocated_bytes()), (0, 0));
}

// -- Callbacks. --

/// Writes, reads, frees and begins again, from callback to callback.
fn chain(pipeline: &Arc<Pipeline>, left: u32, done: mpsc::Sender<()>) {
    let bytes = noise(u64::from(left), 4096);
    let next = Arc::clone(pipeline);
    pipeline.write(&bytes).nowait(move |written| {
        let (bp, then) = (written.unwrap(), Arc::clone(&next));
        next.read(&bp).nowait(move |read| {
            assert!(read.unwrap() == bytes);
            let last = Arc::clone(&then);
            then.free(&bp).nowait(move |freed| {
                freed.unwrap();
                match left {
                    0 => done.send(()).unwrap(),
                    _ => chain(&last, left - 1, done),
                }
            });
        });
    });
}

#[test]
fn callbacks_start_more_while_nobody_waits() {
    let file = || {
        let dir = tempfile::tempdir().unwrap();
        let builder = Pipeline::builder().create(dir.path().join("disk"), 64 * MIB);
        (Arc::new(builder.build().unwrap()), Some(dir))
    };
    for (pipeline, _dir) in [file(), (Arc::new(on_memory(64 * MIB)), None)] {
        let (done, ended) = mpsc::channel();
        for _ in 0..4 {
            chain(&pipeline, 2000, done.clone());
        }
        for _ in 0..4 {
            ended.recv_timeout(PATIENCE).unwrap();
        }
        pipeline.wait_idle();
        assert_eq!((pipeline.live(), pipeline.allocated_bytes()), (0, 0));
    }
}

#[test]
fn waiting_inside_a_callback_is_an_error_and_not_a_deadlock() {
    everywhere(|pipeline| {
        let bp = write(pipeline, 1);
        let (told, heard) = mpsc::channel();
        thread::scope(|scope| {
            // What the callback needs is made outside, and started inside.
            let inner = pipeline.read(&bp);
            let other = pipeline.read(&bp);
            let handle = pipeline.write(noise(2, 4096));
            scope.spawn(move || {
                pipeline.read(&bp).nowait(move |result| {
                    result.unwrap();
                    let waited = inner.wait().map(|_| ()).unwrap_err().kind();
                    let started = handle.start().unwrap();
                    let finished = started.is_finished();
                    let handle = started.wait().map(|_| ());
                    other.nowait(move |result| {
                        result.unwrap();
                        told.send((waited, finished, handle)).unwrap();
                    });
                });
            });
        });
        let (waited, finished, handle) = heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!(waited, ErrorKind::Invalid);
        assert!(finished || handle.is_err_and(|error| error.kind() == ErrorKind::Invalid));
    });
}

#[test]
fn a_callback_that_panics_hurts_nobody_else() {
    for threads in [false, true] {
        let file = OnFile::new(threads);
        let pipeline = &file.pipeline;
        let bp = write(pipeline, 1);
        let (told, heard) = mpsc::channel();
        for number in 0..20 {
            let told = told.clone();
            pipeline.read(&bp).nowait(move |result| {
                told.send(result.is_ok()).unwrap();
                if number % 5 == 0 {
                    // A panic without the message.
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
            });
        }
        for _ in 0..20 {
            assert!(heard.recv_timeout(PATIENCE).unwrap());
        }
        pipeline.wait_idle();
        // Counted when the panic has come through to the executor.
        while pipeline.stats().panics.get() < 4 {
            thread::yield_now();
        }
        assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 4096));
    }
}

#[test]
fn the_pointer_is_final_before_the_data_is_on_the_device() {
    let disk = Gated::new(32 * MIB);
    let pipeline = Pipeline::builder().vdev(Arc::clone(&disk) as Arc<_>).build().unwrap();
    let (told, heard) = mpsc::channel();
    let write = pipeline.write(noise(1, 4096)).on_ready(move |bp| told.send(*bp).unwrap());
    let handle = write.start().unwrap();
    let ready = heard.recv_timeout(PATIENCE).unwrap();
    assert!(!handle.is_finished());
    disk.open();
    assert_eq!(handle.wait().unwrap(), ready);
    assert!(heard.try_recv().is_err(), "told twice");
}

// -- Collections. --

#[test]
fn ten_thousand_are_outstanding() {
    everywhere(|pipeline| {
        let blocks: Vec<_> = (0..100).map(|seed| write(pipeline, seed)).collect();
        let completions = pipeline.completions();
        for tag in 0..10_000 {
            let read = pipeline.read(&blocks[tag % 100]);
            read.send_to(&completions, tag as u64).unwrap();
        }
        assert_eq!(completions.outstanding(), 10_000);
        let mut seen = vec![false; 10_000];
        while let Some((tag, mut finished)) = completions.next() {
            finished.result().unwrap();
            assert!(finished.take_data() == noise(tag % 100, 4096));
            assert!(!std::mem::replace(&mut seen[tag as usize], true));
        }
        assert!(seen.iter().all(|&seen| seen));
    });
}

#[test]
fn several_threads_take_from_one_collection() {
    everywhere(|pipeline| {
        let bp = write(pipeline, 1);
        let completions = pipeline.completions();
        let taken = AtomicUsize::new(0);
        for tag in 0..2000 {
            pipeline.read(&bp).send_to(&completions, tag).unwrap();
        }
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some((_, finished)) = completions.next() {
                        finished.result().unwrap();
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 2000);
    });
}

#[test]
fn a_collection_that_is_dropped_throws_results_away() {
    everywhere(|pipeline| {
        let bp = write(pipeline, 1);
        let completions = pipeline.completions();
        for tag in 0..100 {
            pipeline.read(&bp).send_to(&completions, tag).unwrap();
        }
        drop(completions);
    });
}

// -- Groups. --

#[test]
fn a_group_ends_after_all_it_holds_with_the_worst_error() {
    let sim = Sim::new(1, 1);
    let pipeline = sim.pipeline();
    let blocks: Vec<_> = (0..3).map(|seed| write(&pipeline, seed)).collect();
    let group = pipeline.root();
    let nested = pipeline.root();
    let ends = Arc::new(AtomicUsize::new(0));
    let (disk, at) = sim.place(&blocks[1], 0);
    disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Read).range(at, 1).times(2));
    sim.corrupt(&blocks[2], 0);
    for (bp, parent) in blocks.iter().zip([group.parent(), nested.parent(), nested.parent()]) {
        let counted = Arc::clone(&ends);
        pipeline.read(bp).under(parent).nowait(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
    }
    let counted = Arc::clone(&ends);
    let nested = nested.into_pending().under(group.parent());
    nested.nowait(move |result| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Io);
        assert!(counted.fetch_add(1, Ordering::SeqCst) >= 2);
    });
    assert_eq!(group.wait().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(ends.load(Ordering::SeqCst), 4);
}

#[test]
fn a_deep_chain_of_groups_ends_on_a_small_stack() {
    let body = || {
        let pipeline = on_memory(32 * MIB);
        let top = pipeline.root();
        let mut above = top.parent().clone();
        let mut groups = Vec::new();
        for _ in 0..5000 {
            let group = pipeline.root();
            let parent = group.parent().clone();
            groups.push(group.into_pending().under(&above));
            above = parent;
        }
        let leaf = pipeline.write(noise(1, 4096)).under(&above);
        groups.into_iter().for_each(|group| group.nowait(|result| result.unwrap()));
        leaf.nowait(|result| _ = result.unwrap());
        top.wait().unwrap();
        assert_eq!(pipeline.live(), 0);
    };
    let small = thread::Builder::new().stack_size(64 << 10).spawn(body).unwrap();
    small.join().unwrap();
}

#[test]
fn one_request_in_two_groups_ends_both() {
    everywhere(|pipeline| {
        let (a, b) = (pipeline.root(), pipeline.root());
        pipeline.write(noise(1, 4096)).under(a.parent()).under(b.parent()).nowait(|_| {});
        a.wait().unwrap();
        b.wait().unwrap();
        pipeline.root().wait().unwrap();
    });
}

#[test]
fn a_request_is_a_group_for_others() {
    let pipeline = on_memory(32 * MIB);
    let parent = pipeline.write(noise(1, 4096));
    let child = pipeline.write(&[0; 511]).under(&parent.as_parent().unwrap());
    assert!(child.wait().is_err());
    // Its own block was written; it fails for its child.
    assert_eq!(parent.wait().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!((pipeline.live(), pipeline.allocated_bytes()), (0, 0));
}

// -- Threads. --

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
                    let stats = pipeline.queue_stats(zio_pipeline::VdevId(0)).unwrap();
                    let issued: u64 = stats.iter().map(|(_, class)| class.issued_total).sum();
                    let completed: u64 = stats.iter().map(|(_, class)| class.completed_total).sum();
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
            _ = pipeline.queue_stats(zio_pipeline::VdevId(0));
        }
    });
    let stats = pipeline.queue_stats(zio_pipeline::VdevId(0)).unwrap();
    let (queued, active): (usize, u32) =
        stats.iter().fold((0, 0), |sum, (_, c)| (sum.0 + c.queued, sum.1 + c.active));
    assert_eq!((queued, active), (0, 0));
    assert!(pipeline.queue_stats(zio_pipeline::VdevId(1)).is_none());
}

#[test]
fn writes_that_wait_for_the_throttle_all_end() {
    let space = metaslab::Metaslabs::new(metaslab::Config {
        defer_txgs: 0,
        reserve_bytes_max: Some(4096),
        ..metaslab::Config::default()
    });
    space.add_vdev(zio_pipeline::VdevId(0), 64 * MIB, 12).unwrap();
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
