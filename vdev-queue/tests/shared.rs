//! The queue of many threads: nothing lost, nothing twice, no limit passed, nobody waits.

#![cfg(not(loom))]

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};

use vdev_queue::shared::{Event, Issues};
use vdev_queue::{Class, Config, Flags, Issue, Kind, Reprioritised, Request, SharedQueue, Ticket};

fn request(class: Class, offset_bytes: u64) -> Request {
    let kind = if class.fit(Kind::Read) == class { Kind::Read } else { Kind::Write };
    Request::new(kind, class, offset_bytes, 512, Flags::empty()).expect("valid")
}

/// A device that is shared by threads, each of which carries out what its calls return.
struct Device {
    queue: SharedQueue<usize>,
    /// How often each payload came out.
    out: Vec<AtomicU32>,
    left: AtomicUsize,
    active: AtomicU32,
    active_max_seen: AtomicU32,
    /// I/Os that have not ended yet.
    tickets: Mutex<Vec<Ticket>>,
}

impl Device {
    fn new(config: Config, payloads: usize) -> Self {
        Self {
            queue: SharedQueue::new(config).expect("valid"),
            out: (0..payloads).map(|_| AtomicU32::new(0)).collect(),
            left: AtomicUsize::new(payloads),
            active: AtomicU32::new(0),
            active_max_seen: AtomicU32::new(0),
            tickets: Mutex::new(Vec::new()),
        }
    }

    fn came_out(&self, payload: usize) {
        self.out[payload].fetch_add(1, Ordering::Relaxed);
        self.left.fetch_sub(1, Ordering::SeqCst);
    }

    fn carry_out(&self, issues: Issues<usize>) {
        for issue in issues {
            match issue {
                Issue::Unneeded(member) => self.came_out(member.payload),
                Issue::Io(io) => {
                    let active = self.active.fetch_add(1, Ordering::SeqCst) + 1;
                    self.active_max_seen.fetch_max(active, Ordering::SeqCst);
                    for member in &io.members {
                        self.came_out(member.payload);
                    }
                    self.tickets.lock().expect("not poisoned").push(io.ticket);
                }
            }
        }
    }

    fn finish_one(&self) -> bool {
        let ticket = self.tickets.lock().expect("not poisoned").pop();
        let Some(ticket) = ticket else { return false };
        self.active.fetch_sub(1, Ordering::SeqCst);
        self.carry_out(self.queue.complete(ticket, 0));
        true
    }

    /// Ends what is at the device until nothing is left anywhere. Each event has been applied
    /// by somebody before the call that brought it returned, so no call of ours is needed to
    /// wake the queue up.
    fn drain(&self) {
        while self.finish_one() {}
        assert_eq!(self.left.load(Ordering::SeqCst), 0, "requests were left lying");
        assert!(self.out.iter().all(|times| times.load(Ordering::Relaxed) == 1));
        let (stats, issues) = self.queue.stats();
        assert!(issues.is_empty());
        assert!(stats.iter().all(|(_, stats)| stats.queued == 0 && stats.active == 0));
    }
}

fn tight() -> Config {
    Config { active_max: 3, ..Config::default() }
}

#[test]
fn many_threads_lose_nothing() {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    for config in [Config::seed(), Config::bypass(8), tight()] {
        let active_max = config.active_max;
        let device = Device::new(config, THREADS * EACH);
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (device, start) = (&device, &start);
                scope.spawn(move || {
                    start.wait();
                    for number in 0..EACH {
                        let payload = thread * EACH + number;
                        let class = Class::ALL[payload % 5];
                        let offset_bytes = (payload as u64 * 7919) % 10_007 * 512;
                        device.carry_out(device.queue.submit(
                            request(class, offset_bytes),
                            payload,
                            0,
                        ));
                        if number % 3 == 0 {
                            device.finish_one();
                            device.finish_one();
                        }
                    }
                });
            }
        });
        device.drain();
        assert!(device.active_max_seen.load(Ordering::SeqCst) <= active_max);
    }
}

/// Cancelling, re-prioritising, changing settings and reading counters while others submit.
#[test]
fn rare_calls_take_part() {
    const EACH: usize = 3_000;
    let device = Device::new(tight(), 2 * EACH);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let device = &device;
            scope.spawn(move || {
                for number in 0..EACH {
                    let payload = thread * EACH + number;
                    let id = device.queue.reserve_id();
                    let request = request(Class::Scrub, payload as u64 * 1_000_000);
                    device.carry_out(device.queue.submit_as(id, request, payload, 0));
                    let issues = match number % 4 {
                        0 => {
                            let (cancelled, issues) = device.queue.cancel(id);
                            if let Some(back) = cancelled {
                                assert_eq!(back, payload);
                                device.came_out(back);
                            }
                            issues
                        }
                        1 => device.queue.reprioritise(id, Class::SyncRead).1,
                        2 => device.queue.stats().1,
                        _ => device.queue.set_config(tight()).expect("valid"),
                    };
                    device.carry_out(issues);
                    device.finish_one();
                }
            });
        }
    });
    device.drain();
}

#[test]
fn a_reserved_name_serves_to_cancel() {
    let queue = SharedQueue::new(tight()).expect("valid");
    let ids: Vec<_> = (0..10).map(|_| queue.reserve_id()).collect();
    let mut issued = 0;
    for (number, &id) in ids.iter().enumerate() {
        let request = request(Class::Initializing, number as u64 * 1_000_000);
        issued += queue.submit_as(id, request, number, 0).len();
    }
    assert_eq!(issued, 1);
    assert_eq!(queue.cancel(ids[0]).0, None);
    assert_eq!(queue.cancel(ids[7]).0, Some(7));
    let (moved, issues) = queue.reprioritise(ids[9], Class::SyncRead);
    assert!(matches!(moved, Reprioritised::Moved { .. }));
    assert!(matches!(&issues[..], [Issue::Io(io)] if io.members[0].payload == 9));
    let (rest, issues) = queue.cancel_all();
    assert!(issues.is_empty());
    let rest: Vec<usize> = rest.into_iter().map(|member| member.payload).collect();
    assert_eq!(rest, [1, 2, 3, 4, 5, 6, 8]);
}

/// A batch is chosen from as a whole: the best class first, although it came last.
#[test]
fn a_batch_is_applied_before_it_is_chosen_from() {
    let mut config = Config::seed();
    config.active_max = 27;
    let queue = SharedQueue::new(config).expect("valid");
    let mut events: Vec<Event<usize>> = [Class::Scrub, Class::SyncRead]
        .into_iter()
        .enumerate()
        .map(|(payload, class)| Event::Submit {
            id: queue.reserve_id(),
            request: request(class, 0),
            payload,
            now_ns: 5,
        })
        .collect();
    let mut order = Vec::new();
    for io in queue.apply(&mut events).into_iter().filter_map(Issue::io) {
        order.push(io.members[0].payload);
        events.push(Event::Complete { ticket: io.ticket, now_ns: 9 });
    }
    assert_eq!(order, [1, 0]);
    assert!(queue.apply(&mut events).is_empty());
    assert!(events.is_empty());
    let (stats, _) = queue.stats();
    assert_eq!(stats[Class::SyncRead].service_ns_total, 4);
}

/// A load that falls while writes wait, and one that rises.
#[test]
fn a_rising_load_issues_more_writes() {
    let queue = SharedQueue::new(Config::seed()).expect("valid");
    let load = |dirty_bytes| vdev_queue::Load {
        dirty_bytes,
        dirty_bytes_max: 100,
        sync_task_pending: false,
    };
    assert!(queue.set_load(load(0)).is_empty());
    let mut issued = 0;
    for number in 0..12 {
        issued += queue.submit(request(Class::AsyncWrite, number * 1_000_000), (), 0).len();
    }
    assert_eq!(issued, 1);
    assert_eq!(queue.set_load(load(90)).len(), 9);
}
