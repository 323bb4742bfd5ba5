//! Two lanes: light work is not held up by heavy work, and everything is done at the end.
//!
//! `cargo run -p taskq --example lanes`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use taskq::{Config, Job, Taskq};
use zio_core::{QueueKind, Route, TaskQueue, ZioType};

fn main() {
    let queue = Taskq::<Job>::new(Config::default());
    let heavy = Route::back(ZioType::Write, QueueKind::Issue);
    let light = Route::back(ZioType::Read, QueueKind::Interrupt);
    let sum = Arc::new(AtomicU64::new(0));

    for block in 0..100_u64 {
        let sum = Arc::clone(&sum);
        let compress = move || {
            let work = (0..1_000_000).fold(block, |hash, n| (hash ^ n).rotate_left(5));
            sum.fetch_add(work, Ordering::Relaxed);
        };
        queue.dispatch(Job::new(compress), heavy);
    }
    let start = Instant::now();
    for read in 0..5 {
        queue
            .dispatch(Job::new(move || println!("read {read} after {:?}", start.elapsed())), light);
    }
    queue.shutdown();
    println!("all {} done after {:?}", queue.stats().run, start.elapsed());
    println!("{:?}", queue.stats_of(heavy));
}
