//! The ways to ask for something and to hear of its end.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use zio_pipeline::{ErrorKind, Pipeline};

use crate::common::{Gated, MIB, OnFile, PATIENCE, block_on, everywhere, noise, on_memory, write};

// -- Futures. --

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
        while pipeline.stats().engine.panics < 4 {
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
