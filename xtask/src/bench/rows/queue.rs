//! The device queue with a number of requests waiting: one comes, one is chosen, one is done; and
//! the queue of many threads.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, ensure};
use crossbeam_channel::{Receiver, Sender};
use vdev_queue::shared::{Event, Issues};
use vdev_queue::{Class, Config, Issue, Queue, Request, SharedQueue};

use super::Bench;
use crate::bench::contest::{Contender, Round};
use crate::bench::random::Random;
use crate::bench::report::Unit;

const SHALLOW: &str = "queue-push-pop-d1";
/// With 32 waiting.
const NAME: &str = "queue-push-pop";
const DEEP: &str = "queue-push-pop-d1024";
const CONTENDED: &str = "queue-contended";
pub(super) const NAMES: [&str; 4] = [SHALLOW, NAME, DEEP, CONTENDED];

const BLOCK_BYTES: u64 = 8192;
/// Of the device: so many that neighbours, which would be merged, are rare.
const BLOCKS: u64 = 1 << 27;
/// Requests between two looks at the clock.
const BATCH: usize = 256;

pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    for (name, waiting) in [(SHALLOW, 1), (NAME, 32), (DEEP, 1024)] {
        if bench.wants(name) {
            let (ours, baseline) = (ours(waiting)?, tree(waiting));
            bench.row(name, Unit::NsPerOp, "Mutex<BTreeMap>", ours, Some(baseline))?;
        }
    }
    if bench.wants(CONTENDED) {
        let queue = SharedQueue::new(Config::default())?;
        let (sender, receiver) = crossbeam_channel::unbounded();
        let ours: Contender<'_> = Box::new(|round| submitters(round, || Scheduled::new(&queue)));
        let baseline: Contender<'_> =
            Box::new(|round| submitters(round, || Passed { sender: &sender, receiver: &receiver }));
        bench.row(CONTENDED, Unit::NsPerOp, "crossbeam_channel", ours, Some(baseline))?;
    }
    Ok(())
}

fn ours(waiting: usize) -> Result<Contender<'static>> {
    let mut queue: Queue<u64> = Queue::new(Config::default())?;
    let mut random = Random::new(3);
    let mut now_ns = 0;
    let mut push = move |queue: &mut Queue<u64>, now_ns| -> Result<()> {
        let block = random.below(BLOCKS);
        let request = Request::read(Class::AsyncRead, block * BLOCK_BYTES, BLOCK_BYTES)?;
        queue.enqueue(request, block, now_ns);
        Ok(())
    };
    for _ in 0..waiting {
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
            while queue.len() < waiting {
                push(&mut queue, now_ns)?;
            }
            if !round.count(BATCH) {
                ensure!(queue.len() == waiting, "{} requests wait", queue.len());
                return Ok(());
            }
        }
    }))
}

/// The least that has an order: a tree by offset behind a mutex.
fn tree(waiting: usize) -> Contender<'static> {
    let tree = Mutex::new(BTreeMap::new());
    let mut random = Random::new(3);
    let mut number = 0_u64;
    let mut push = move |tree: &Mutex<BTreeMap<(u64, u64), u64>>| {
        let block = random.below(BLOCKS);
        number += 1;
        let mut tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
        tree.insert((block * BLOCK_BYTES, number), block);
    };
    for _ in 0..waiting {
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

const SUBMITTERS: usize = 8;
/// A submitter waits while so many of its requests are under way.
const OUTSTANDING_MAX: u64 = 32;
/// Requests of each submitter between two looks at the clock.
const SUBMITTED: u64 = 20_000;

/// A submitter's way through: its request goes in, and some request, perhaps another's, comes out
/// and is done. The device takes no time.
trait Way {
    /// Sends a request of this submitter in, and reports each that comes out.
    fn pass(&mut self, request: Request, submitter: usize, out: impl FnMut(usize));

    /// Leaves nothing behind. What comes out meanwhile may be another's, who waits for it.
    fn finish(&mut self, out: impl FnMut(usize));
}

/// Through the queue: what was issued is reported done together with the next request, as a
/// thread does that reaps and submits in one go.
struct Scheduled<'a> {
    queue: &'a SharedQueue<usize>,
    events: Vec<Event<usize>>,
    issues: Issues<usize>,
}

impl<'a> Scheduled<'a> {
    fn new(queue: &'a SharedQueue<usize>) -> Self {
        Self { queue, events: Vec::new(), issues: Issues::new() }
    }

    fn settle(&mut self, mut out: impl FnMut(usize)) {
        self.queue.apply_into(&mut self.events, &mut self.issues);
        for io in self.issues.drain(..).filter_map(Issue::io) {
            io.members.iter().for_each(|member| out(member.payload));
            self.events.push(Event::Complete { ticket: io.ticket, now_ns: 0 });
        }
    }
}

impl Way for Scheduled<'_> {
    fn pass(&mut self, request: Request, submitter: usize, out: impl FnMut(usize)) {
        let id = self.queue.reserve_id();
        self.events.push(Event::Submit { id, request, payload: submitter, now_ns: 0 });
        self.settle(out);
    }

    fn finish(&mut self, mut out: impl FnMut(usize)) {
        while !self.events.is_empty() {
            self.settle(&mut out);
        }
    }
}

/// Through a channel.
struct Passed<'a> {
    sender: &'a Sender<(Request, usize)>,
    receiver: &'a Receiver<(Request, usize)>,
}

impl Way for Passed<'_> {
    fn pass(&mut self, request: Request, submitter: usize, mut out: impl FnMut(usize)) {
        if self.sender.send((request, submitter)).is_ok()
            && let Ok((request, submitter)) = self.receiver.recv()
        {
            black_box(request);
            out(submitter);
        }
    }

    fn finish(&mut self, _: impl FnMut(usize)) {}
}

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Ended(AtomicU64);

/// Eight threads at once, each on its way.
fn submitters<W: Way>(round: &mut Round, way: impl Fn() -> W + Sync) -> Result<()> {
    loop {
        let ended: [Ended; SUBMITTERS] = Default::default();
        thread::scope(|scope| {
            for (submitter, own) in ended.iter().enumerate() {
                let (way, ended) = (&way, &ended);
                scope.spawn(move || {
                    let out =
                        |submitter: usize| _ = ended[submitter].0.fetch_add(1, Ordering::Relaxed);
                    let (mut way, mut random) = (way(), Random::new(submitter as u64));
                    for number in 1..=SUBMITTED {
                        let offset_bytes = random.below(BLOCKS) * BLOCK_BYTES;
                        // Not empty, not past the end, and reads may be synchronous.
                        let Ok(request) = Request::read(Class::SyncRead, offset_bytes, BLOCK_BYTES)
                        else {
                            return;
                        };
                        way.pass(request, submitter, out);
                        while number - own.0.load(Ordering::Relaxed) >= OUTSTANDING_MAX {
                            // A thread that waits has nothing in its hands that others wait for.
                            way.finish(out);
                            thread::yield_now();
                        }
                    }
                    way.finish(out);
                });
            }
        });
        if !round.count(SUBMITTERS * SUBMITTED as usize) {
            return Ok(());
        }
    }
}
