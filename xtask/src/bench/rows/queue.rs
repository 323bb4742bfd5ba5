//! The device queue with 32 requests waiting: one comes, one is chosen, one is done.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use vdev_queue::{Class, Config, Issue, Queue, Request};

use super::Bench;
use crate::bench::contest::Contender;
use crate::bench::random::Random;
use crate::bench::report::Unit;

pub(super) const NAME: &str = "queue-push-pop";

const WAITING: usize = 32;
const BLOCK_BYTES: u64 = 8192;
/// Of the device: so many that neighbours, which would be merged, are rare.
const BLOCKS: u64 = 1 << 27;
/// Requests between two looks at the clock.
const BATCH: usize = 256;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    let (ours, baseline) = (ours()?, tree());
    bench.row(NAME, Unit::NsPerOp, "Mutex<BTreeMap>", ours, Some(baseline))
}

fn ours() -> Result<Contender<'static>> {
    let mut queue: Queue<u64> = Queue::new(Config::default())?;
    let mut random = Random::new(3);
    let mut now_ns = 0;
    let mut push = move |queue: &mut Queue<u64>, now_ns| -> Result<()> {
        let block = random.below(BLOCKS);
        let request = Request::read(Class::AsyncRead, block * BLOCK_BYTES, BLOCK_BYTES)?;
        queue.enqueue(request, block, now_ns);
        Ok(())
    };
    for _ in 0..WAITING {
        push(&mut queue, now_ns)?;
    }
    Ok(Box::new(move |round| {
        loop {
            for _ in 0..BATCH {
                now_ns += 100;
                push(&mut queue, now_ns)?;
                if let Some(Issue::Io(io)) = queue.poll_issue(now_ns) {
                    black_box(&io.members);
                    queue.complete(io.ticket, now_ns);
                }
            }
            // Two neighbours leave as one, now and then.
            while queue.len() < WAITING {
                push(&mut queue, now_ns)?;
            }
            if !round.count(BATCH) {
                ensure!(queue.len() == WAITING, "{} requests wait", queue.len());
                return Ok(());
            }
        }
    }))
}

/// The least that has an order: a tree by offset behind a mutex.
fn tree() -> Contender<'static> {
    let tree = Mutex::new(BTreeMap::new());
    let mut random = Random::new(3);
    let mut number = 0_u64;
    let mut push = move |tree: &Mutex<BTreeMap<(u64, u64), u64>>| {
        let block = random.below(BLOCKS);
        number += 1;
        let mut tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
        tree.insert((block * BLOCK_BYTES, number), block);
    };
    for _ in 0..WAITING {
        push(&tree);
    }
    Box::new(move |round| {
        loop {
            for _ in 0..BATCH {
                push(&tree);
                let first = tree.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
                black_box(first);
            }
            if !round.count(BATCH) {
                return Ok(());
            }
        }
    })
}
