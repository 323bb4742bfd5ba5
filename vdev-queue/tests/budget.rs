//! What background I/O may cost those who wait: the share follows their time at the device.

#![cfg(not(loom))]

mod bed;

use std::collections::VecDeque;

use bed::{Bed, Stream};
use vdev_queue::{
    BackgroundRules, Class, Config, ConfigError, Depth, DeviceIo, Issue, LatencyBudget, Queue,
    Request,
};
use vdev_sim::DiskConfig;

const READERS: Stream = Stream { class: Class::SyncRead, outstanding: 4, len_bytes: 8 << 10 };
const SCRUB: Stream = Stream { class: Class::Scrub, outstanding: 64, len_bytes: 128 << 10 };

fn with_budget(budget: Option<LatencyBudget>) -> Config {
    let config = Config::default();
    let background = config.background.map(|rules| BackgroundRules { budget, ..rules });
    Config { background, ..config }
}

/// Reads and background I/Os that ended, and the mean time of a read.
fn beside(device: &DiskConfig, config: Config, streams: &[Stream]) -> (u64, u64, u64) {
    let mut bed = Bed::new(7, device.clone(), config);
    let (outcomes, _) = bed.run(streams, 6_000, 12_000);
    bed.drain();
    assert!(bed.queue.is_empty());
    let reads = &outcomes[0];
    let mean_ns = reads.latencies_ns.iter().sum::<u64>() / reads.ended;
    (reads.ended, outcomes.get(1).map_or(0, |scrub| scrub.ended), mean_ns)
}

fn devices() -> [(&'static str, DiskConfig); 4] {
    [
        ("hard disk", DiskConfig::hdd(4 << 40)),
        ("SATA", DiskConfig::sata_ssd(1 << 40)),
        ("NVMe", DiskConfig::nvme(1 << 40)),
        ("network volume", DiskConfig::cloud_volume(1 << 40)),
    ]
}

/// On every device a read beside a scrub takes about half as long again as without, at most; by
/// credit alone it is more on some.
#[test]
fn readers_keep_their_time_on_every_device() {
    let mut exceeded = 0;
    for (name, device) in devices() {
        let (_, _, alone_ns) = beside(&device, Config::default(), &[READERS]);
        let (_, scrubbed, held_ns) = beside(&device, Config::default(), &[READERS, SCRUB]);
        let (_, _, credit_ns) = beside(&device, with_budget(None), &[READERS, SCRUB]);
        // The share moves in steps, and the quiet is part of the mean.
        assert!(held_ns * 10 <= alone_ns * 17, "{name}: {held_ns} ns, {alone_ns} ns alone");
        assert!(scrubbed > 200, "{name}: {scrubbed} scrubbed");
        exceeded += u32::from(credit_ns * 10 > alone_ns * 17);
    }
    assert!(exceeded > 0, "nothing here needs a budget");
}

/// Where readers do not mind, the background has more than its minimum.
#[test]
fn what_costs_nothing_is_given() {
    let device = DiskConfig::cloud_volume(1 << 40);
    let small = Stream { len_bytes: 8 << 10, ..SCRUB };
    let (reads, scrubbed, _) = beside(&device, Config::default(), &[READERS, small]);
    let (reads_before, scrubbed_before, _) = beside(&device, with_budget(None), &[READERS, small]);
    let share = |scrubbed: u64, reads: u64| scrubbed as f64 / reads as f64;
    let (now, before) = (share(scrubbed, reads), share(scrubbed_before, reads_before));
    assert!(now > 1.5 * before, "{now:.3} background I/Os for each read, {before:.3} by credit");
}

fn read(class: Class, number: u64) -> Request {
    Request::read(class, number << 20, 8192).expect("valid")
}

fn issues(queue: &mut Queue<()>, now_ns: u64) -> Vec<DeviceIo<()>> {
    std::iter::from_fn(|| queue.poll_issue(now_ns)).filter_map(Issue::io).collect()
}

/// A device with two slots, of which a stream always has one.
struct TwoSlots {
    queue: Queue<()>,
    now_ns: u64,
    /// I/Os of the stream that have ended since a background I/O did.
    since: u32,
}

impl TwoSlots {
    fn new(budget: LatencyBudget) -> Self {
        let config = Config { active_max: 2, depth: Depth::Fixed, ..with_budget(Some(budget)) };
        Self { queue: Queue::new(config).expect("valid"), now_ns: 0, since: 0 }
    }

    /// So many I/Os of a stream of `class`, each of which takes so long beside a background I/O, or
    /// without: how many end between a background I/O's end and the next one's start.
    fn run(&mut self, ios: u64, class: Class, alone_ns: u64, beside_ns: u64) -> Vec<u32> {
        let mut distances = Vec::new();
        for number in 0..ios {
            if self.queue.stats(Class::Scrub).queued == 0 {
                self.queue.enqueue(read(Class::Scrub, number % 1000), (), self.now_ns);
            }
            self.step(number, class, alone_ns, beside_ns, &mut distances);
        }
        distances
    }

    /// The same without a background I/O that waits.
    fn run_alone(&mut self, ios: u64, class: Class, alone_ns: u64) {
        self.queue.cancel_all();
        let mut distances = Vec::new();
        (0..ios).for_each(|number| self.step(number, class, alone_ns, 0, &mut distances));
        assert!(distances.is_empty());
    }

    fn step(
        &mut self,
        number: u64,
        class: Class,
        alone_ns: u64,
        beside_ns: u64,
        distances: &mut Vec<u32>,
    ) {
        self.queue.enqueue(read(class, number % 1000), (), self.now_ns);
        let mut ios = issues(&mut self.queue, self.now_ns);
        let background = ios.iter().position(|io| io.ticket.class() == Class::Scrub);
        let background = background.map(|at| ios.remove(at));
        self.now_ns += if background.is_some() { beside_ns } else { alone_ns };
        if let Some(io) = background {
            distances.push(self.since);
            self.queue.complete(io.ticket, self.now_ns);
            self.since = 0;
        }
        self.since += u32::from(!ios.is_empty());
        ios.into_iter().for_each(|io| self.queue.complete(io.ticket, self.now_ns));
    }
}

fn distances(budget: LatencyBudget, class: Class, alone_ns: u64, beside_ns: u64) -> Vec<u32> {
    TwoSlots::new(budget).run(40_000, class, alone_ns, beside_ns)
}

fn mean(distances: &[u32]) -> f64 {
    let last = &distances[distances.len() / 2..];
    last.iter().map(|&distance| f64::from(distance)).sum::<f64>() / last.len() as f64
}

/// One that makes an I/O five times as slow may touch every eighth, for a budget of half as much
/// again.
#[test]
fn the_distance_is_what_the_budget_allows() {
    let near = distances(LatencyBudget::SHIPPED, Class::SyncRead, 100_000, 120_000);
    let far = distances(LatencyBudget::SHIPPED, Class::SyncRead, 100_000, 500_000);
    assert!(mean(&near) < 2.0, "{} apart, though they cost little", mean(&near));
    assert!((6.0..14.0).contains(&mean(&far)), "{} apart", mean(&far));
}

/// However dear it is, the background gets on: a budget that cannot be kept leaves it its least
/// share.
#[test]
fn the_background_always_gets_on() {
    let budget = LatencyBudget { slowdown_permille: 1001, spacing_max: 10, extra_max: 0 };
    let distances = distances(budget, Class::SyncRead, 1_000, 1_000_000);
    // The quiet that begins a window comes on top.
    assert!(distances.iter().all(|&distance| distance <= 10 + 64 + 1), "{distances:?}");
    assert!((10.0..13.0).contains(&mean(&distances)), "{} apart", mean(&distances));
}

/// Nobody waits for asynchronous reads: they hold the background up no longer than the quiet.
#[test]
fn who_nobody_waits_for_sets_no_budget() {
    let budget = LatencyBudget { extra_max: 0, ..LatencyBudget::SHIPPED };
    let distances = distances(budget, Class::AsyncRead, 100_000, 5_000_000);
    assert!(distances.iter().all(|&distance| distance <= 64 + 1), "{distances:?}");
    assert!(distances.len() > 20_000, "{} background I/Os", distances.len());
}

/// … also when somebody waited before them.
#[test]
fn a_distance_is_given_up_when_nobody_waits_any_more() {
    let mut device = TwoSlots::new(LatencyBudget::SHIPPED);
    let far = device.run(40_000, Class::SyncRead, 100_000, 500_000);
    assert!(mean(&far) > 6.0, "{} apart", mean(&far));
    let near = device.run(10_000, Class::AsyncRead, 100_000, 500_000);
    assert!(mean(&near) < 2.0, "{} apart, though nobody waits", mean(&near));
}

/// A scrub that pauses begins again where it was, not at the expense of the readers.
#[test]
fn a_time_without_background_tells_nothing() {
    let mut device = TwoSlots::new(LatencyBudget::SHIPPED);
    let before = device.run(40_000, Class::SyncRead, 100_000, 500_000);
    device.run_alone(10_000, Class::SyncRead, 100_000);
    let after = device.run(1_000, Class::SyncRead, 100_000, 500_000);
    assert!(mean(&after) > mean(&before) / 2.0, "{}, {} before", mean(&after), mean(&before));
}

/// A memory's I/Os take some hundred ns.
#[test]
fn what_is_cheap_again_is_noticed_on_the_fastest_device() {
    let mut device = TwoSlots::new(LatencyBudget::SHIPPED);
    let far = device.run(40_000, Class::SyncRead, 200, 1_000);
    let near = device.run(10_000, Class::SyncRead, 200, 220);
    assert!(mean(&far) > 6.0 && mean(&near) < 2.0, "{}, then {}", mean(&far), mean(&near));
}

/// Where readers do not mind, more background I/Os than the minimum are beside them; when they
/// leave, it does not become fewer.
#[test]
fn company_that_leaves_takes_no_slot_along() {
    let config = Config { depth: Depth::Fixed, ..with_budget(Some(LatencyBudget::SHIPPED)) };
    let mut queue = Queue::new(config).expect("valid");
    let mut at_device = VecDeque::new();
    for number in 0..4_000 {
        let now_ns = number * 100;
        queue.enqueue(read(Class::SyncRead, number), (), now_ns);
        while queue.stats(Class::Scrub).queued < 8 {
            queue.enqueue(read(Class::Scrub, number), (), now_ns);
        }
        at_device.extend(issues(&mut queue, now_ns));
        let beside = queue.stats(Class::Scrub).active;
        let of_readers = |io: &DeviceIo<()>| io.ticket.class() == Class::SyncRead;
        if beside > 1 {
            let (reads, _scrubs): (Vec<_>, Vec<_>) = at_device.into_iter().partition(of_readers);
            reads.into_iter().for_each(|io| queue.complete(io.ticket, now_ns));
            assert!(queue.active_max(Class::Scrub) >= beside, "{beside} beside reads");
            return;
        }
        // Two readers all the time, and each I/O takes as long as two of these rounds.
        while at_device.iter().filter(|io| of_readers(io)).count() > 1 {
            queue.complete(at_device.pop_front().expect("one").ticket, now_ns + 100);
        }
    }
    panic!("never more than the minimum");
}

/// A scrub without company is not held.
#[test]
fn alone_there_is_nothing_to_hold() {
    let mut queue = Queue::new(Config::default()).expect("valid");
    queue.enqueue(read(Class::SyncRead, 1), (), 0);
    let reader = issues(&mut queue, 0).remove(0);
    queue.enqueue(read(Class::Scrub, 2), (), 0);
    assert!(issues(&mut queue, 0).is_empty(), "a window begins quietly");
    queue.complete(reader.ticket, 100);
    assert_eq!(issues(&mut queue, 100).len(), 1);
}

#[test]
fn a_budget_of_nothing_is_refused() {
    let budget = LatencyBudget { slowdown_permille: 1000, ..LatencyBudget::SHIPPED };
    let refusal = Queue::<()>::new(with_budget(Some(budget))).expect_err("not a budget");
    assert_eq!(refusal, ConfigError::BudgetOfNothing { slowdown_permille: 1000 });
}

/// A read that shared the device with a background I/O from before the quiet says nothing of what
/// reads take alone.
#[test]
fn what_overlaps_the_background_is_not_alone() {
    let budget = LatencyBudget { extra_max: 0, ..LatencyBudget::SHIPPED };
    let config = Config { active_max: 2, depth: Depth::Fixed, ..with_budget(Some(budget)) };
    let mut queue = Queue::new(config).expect("valid");
    let (mut now_ns, mut background, mut distances, mut since) = (0, None, Vec::new(), 0);
    for number in 0..40_000 {
        queue.enqueue(read(Class::SyncRead, number % 1000), (), now_ns);
        if queue.stats(Class::Scrub).queued == 0 {
            queue.enqueue(read(Class::Scrub, number % 1000), (), now_ns);
        }
        for io in issues(&mut queue, now_ns) {
            if io.ticket.class() == Class::Scrub {
                distances.push(since);
                background = Some((io.ticket, 0));
            } else {
                // Five times as slow while the background I/O is there, for 30 reads.
                now_ns += if background.is_some() { 500_000 } else { 100_000 };
                queue.complete(io.ticket, now_ns);
                since += 1;
            }
        }
        background = match background.take() {
            Some((ticket, 30)) => {
                queue.complete(ticket, now_ns);
                since = 0;
                None
            }
            Some((ticket, reads)) => Some((ticket, reads + 1)),
            None => None,
        };
    }
    // 30 slow ones among so many are a budget of half as much again only far apart.
    assert!(mean(&distances) > 25.0, "{} apart", mean(&distances));
}
