//! The queue against the slow, obvious one: random lives, and every small state.

mod reference;

use std::collections::HashMap;

use proptest::prelude::*;
use reference::{Out, Reference};
use vdev_queue::{
    Aggregation, AggregationLimits, BackgroundRules, Class, Config, Depth, DepthRules, Elevator,
    Flags, HeadPosition, Id, Issue, Kind, Load, MinPass, Queue, Reprioritised, Request, Ticket,
};

const KIB: u64 = 1024;

#[derive(Clone, Debug)]
enum Op {
    Enqueue { request: Request },
    Bypass { request: Request },
    Complete { nth: usize },
    Cancel { nth: usize },
    CancelAll,
    Reprioritise { nth: usize, class: Class },
    SetLoad { dirty_percent: u64, sync_task_pending: bool },
    SetConfig { nth: usize },
    Pass { ns: u64 },
}

/// Settings under which every rule binds now and then.
fn configs() -> Vec<Config> {
    let mut tight = Config { active_max: 3, ..Config::default() };
    let mut tight_seed = Config::seed();
    for class in Class::ALL {
        tight_seed.classes[class].active_min = 1;
        tight_seed.classes[class].active_max = 2;
    }
    tight_seed.active_max = 9;
    let mut hasty = Config {
        active_max: 4,
        elevator: Elevator { head: HeadPosition::EndOfLast, batch_ns_log2: Some(3) },
        ..Config::default()
    };
    for class in Class::ALL {
        hasty.classes[class].deadline_ns = Some(5 + 3 * class as u64);
    }
    let mut hasty_unbatched = Config {
        elevator: Elevator { head: HeadPosition::StartOfLast, batch_ns_log2: None },
        min_pass: MinPass::RoundRobin,
        ..hasty.clone()
    };
    let mut few = Config::seed();
    few.classes[Class::AsyncWrite].active_max = 1;
    few.classes[Class::AsyncRead].active_max = 1;
    few.aggregation = Aggregation::On(AggregationLimits {
        len_bytes_max: 20 * KIB,
        read_gap_bytes_max: 8 * KIB,
        write_gap_bytes_max: 4 * KIB,
        members_max: 3,
    });
    few.background = Some(BackgroundRules { delay: 2, credit: 2, budget: None });
    // Starts low: some hundred I/Os move it.
    let mut measured = Config::default();
    let rules = DepthRules { start: 2, min: 1, ..DepthRules::SHIPPED };
    (measured.depth, measured.active_max) = (Depth::Measured(rules), 12);
    let mut plain = tight_seed.clone();
    plain.aggregation = Aggregation::Off;
    for config in [&mut tight, &mut hasty, &mut hasty_unbatched, &mut measured] {
        *config = credit_alone(config.clone());
    }
    let all = vec![
        Config::seed(),
        credit_alone(Config::default()),
        Config::bypass(4),
        tight,
        tight_seed,
        hasty,
        hasty_unbatched,
        few,
        plain,
        measured,
    ];
    for config in &all {
        config.validate().expect("valid");
    }
    all
}

/// Without the measured share of the background, which has tests of its own (`budget.rs`).
fn credit_alone(config: Config) -> Config {
    let background = config.background.map(|rules| BackgroundRules { budget: None, ..rules });
    Config { background, ..config }
}

fn class() -> impl Strategy<Value = Class> {
    (0..Class::COUNT).prop_map(|nth| Class::ALL[nth])
}

/// Requests so close to each other that most have neighbours.
fn request() -> impl Strategy<Value = Request> {
    let kind = prop_oneof![4 => Just(Kind::Read), 5 => Just(Kind::Write), 1 => Just(Kind::Trim)];
    let flags = prop_oneof![
        6 => Just(Flags::empty()),
        3 => Just(Flags::OPTIONAL | Flags::NODATA),
        1 => Just(Flags::OPTIONAL),
        1 => Just(Flags::DONT_AGGREGATE),
    ];
    // Mostly of the classes that are merged.
    let class = prop_oneof![class(), Just(Class::AsyncRead), Just(Class::AsyncWrite)];
    let flavour = prop_oneof![5 => Just(0u16), 1 => Just(1u16)];
    (kind, class, 0u64..48, 1u64..4, flags, flavour).prop_map(
        |(kind, class, offset, len, mut flags, flavour)| {
            if kind != Kind::Write {
                flags.remove(Flags::NODATA);
            }
            Request::new(kind, class.fit(kind), offset * 4 * KIB, len * 4 * KIB, flags)
                .expect("valid")
                .with_flavour(flavour)
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let nth = 0usize..1000;
    prop_oneof![
        30 => request().prop_map(|request| Op::Enqueue { request }),
        2 => request().prop_map(|request| Op::Bypass { request }),
        18 => nth.clone().prop_map(|nth| Op::Complete { nth }),
        2 => nth.clone().prop_map(|nth| Op::Cancel { nth }),
        1 => (0usize..20).prop_map(|nth| if nth == 0 { Op::CancelAll } else { Op::Pass { ns: 1 } }),
        3 => (nth.clone(), class()).prop_map(|(nth, class)| Op::Reprioritise { nth, class }),
        1 => (0u64..100, any::<bool>()).prop_map(|(dirty_percent, pending)| Op::SetLoad {
            dirty_percent,
            sync_task_pending: pending && dirty_percent < 20,
        }),
        1 => nth.prop_map(|nth| Op::SetConfig { nth }),
        5 => (0u64..12).prop_map(|ns| Op::Pass { ns }),
    ]
}

/// The queue and the reference, fed alike.
struct Pair {
    queue: Queue<u64>,
    reference: Reference,
    at_device: Vec<Ticket>,
    ids: HashMap<u64, Id>,
    /// How often each payload came out, by its number.
    out: Vec<u32>,
    now_ns: u64,
}

impl Pair {
    fn new(config: Config) -> Self {
        Self {
            queue: Queue::new(config.clone()).expect("valid"),
            reference: Reference::new(config),
            at_device: Vec::new(),
            ids: HashMap::new(),
            out: Vec::new(),
            now_ns: 0,
        }
    }

    fn enqueue(&mut self, request: Request) {
        let number = self.out.len() as u64;
        self.out.push(0);
        let id = self.queue.enqueue(request, number, self.now_ns);
        self.ids.insert(number, id);
        self.reference.enqueue(number, request, self.now_ns);
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Enqueue { request } => self.enqueue(request),
            Op::Bypass { request } => self.bypass(request),
            Op::Complete { nth } => {
                if !self.at_device.is_empty() {
                    let ticket = self.at_device.swap_remove(nth % self.at_device.len());
                    self.reference.complete(ticket.class(), self.now_ns);
                    self.queue.complete(ticket, self.now_ns);
                }
            }
            Op::Cancel { nth } => self.cancel(nth),
            Op::CancelAll => {
                let numbers: Vec<u64> =
                    self.queue.cancel_all().into_iter().map(|member| member.payload).collect();
                let mut expected: Vec<u64> =
                    self.reference.waiting.drain(..).map(|waiting| waiting.id).collect();
                expected.sort_unstable();
                assert_eq!(numbers, expected);
                for number in numbers {
                    self.came_out(number);
                }
            }
            Op::Reprioritise { nth, class } => {
                if !self.out.is_empty() {
                    let number = (nth % self.out.len()) as u64;
                    let moved = self.reference.reprioritise(number, class);
                    let answer = self
                        .ids
                        .get(&number)
                        .map_or(Reprioritised::NotQueued, |&id| self.queue.reprioritise(id, class));
                    assert_eq!(matches!(answer, Reprioritised::Moved { .. }), moved);
                }
            }
            Op::SetLoad { dirty_percent, sync_task_pending } => {
                let load = Load {
                    dirty_bytes: dirty_percent * 100,
                    dirty_bytes_max: 10_000,
                    sync_task_pending,
                };
                self.queue.set_load(load);
                self.reference.load = load;
            }
            Op::SetConfig { nth } => {
                let all = configs();
                let config = all[nth % all.len()].clone();
                self.queue.set_config(config.clone()).expect("valid");
                self.reference.config = config;
            }
            Op::Pass { ns } => self.now_ns += ns,
        }
        self.poll_all();
        self.check_limits_and_counts();
    }

    /// The queue measures, the reference is told.
    fn tell_depth(&mut self) {
        let depth = self.queue.depth();
        match self.queue.config().depth {
            Depth::Fixed => assert_eq!(depth, self.queue.config().active_max),
            Depth::Measured(rules) => assert!(depth >= rules.min.min(depth)),
        }
        assert!(depth <= self.queue.config().active_max);
        self.reference.depth = depth;
    }

    /// A bypass is an enqueue and a poll.
    fn bypass(&mut self, request: Request) {
        self.tell_depth();
        let number = self.out.len() as u64;
        match self.queue.try_bypass(request, number, self.now_ns) {
            Err(number_back) => {
                assert_eq!(number_back, number);
                self.enqueue(request);
            }
            Ok(issue) => {
                self.out.push(0);
                self.reference.enqueue(number, request, self.now_ns);
                let expected = self.reference.poll(self.now_ns);
                assert_eq!(Some(self.take(issue)), expected);
            }
        }
    }

    fn cancel(&mut self, nth: usize) {
        if self.out.is_empty() {
            return;
        }
        let number = (nth % self.out.len()) as u64;
        let cancelled = self.ids.get(&number).and_then(|&id| self.queue.cancel(id));
        assert_eq!(cancelled.is_some(), self.reference.cancel(number));
        if let Some(payload) = cancelled {
            assert_eq!(payload, number);
            self.came_out(payload);
        }
    }

    fn came_out(&mut self, number: u64) {
        self.out[number as usize] += 1;
    }

    fn take(&mut self, issue: Issue<u64>) -> Out {
        match issue {
            Issue::Unneeded(member) => {
                self.came_out(member.payload);
                Out::Unneeded { id: member.payload }
            }
            Issue::Io(io) => {
                let ids: Vec<u64> = io.members.iter().map(|member| member.payload).collect();
                for &number in &ids {
                    self.came_out(number);
                }
                check_pieces(&io);
                let out = Out::Io {
                    class: io.ticket.class(),
                    kind: io.kind,
                    offset_bytes: io.offset_bytes,
                    len_bytes: io.len_bytes,
                    ids,
                };
                self.at_device.push(io.ticket);
                out
            }
        }
    }

    fn poll_all(&mut self) {
        self.tell_depth();
        loop {
            let issue = self.queue.poll_issue(self.now_ns);
            let ours = issue.map(|issue| self.take(issue));
            let expected = self.reference.poll(self.now_ns);
            assert_eq!(ours, expected);
            if ours.is_none() {
                return;
            }
        }
    }

    fn check_limits_and_counts(&self) {
        assert_eq!(self.queue.len(), self.reference.waiting.len());
        assert_eq!(self.queue.active() as usize, self.at_device.len());
        let (mut entered, mut left) = (0, 0);
        for class in Class::ALL {
            let stats = self.queue.stats(class);
            assert_eq!(stats.active, self.reference.active_of(class));
            let waiting = self.reference.waiting.iter().filter(|w| w.class == class).count();
            assert_eq!(stats.queued, waiting);
            assert_eq!(stats.issued_total, stats.completed_total + u64::from(stats.active));
            assert_eq!(self.queue.active_max(class), self.reference.limits(class).1);
            entered += stats.enqueued_total;
            left += stats.queued as u64
                + stats.issued_total
                + stats.merged_total
                + stats.unneeded_total
                + stats.cancelled_total;
            // Work-conserving: what still waits has no room.
            if waiting > 0 {
                assert!(
                    self.queue.active() >= self.queue.depth()
                        || stats.active >= self.queue.active_max(class),
                    "{class:?} waits and has room"
                );
            }
        }
        assert_eq!(entered, left);
        assert_eq!(entered, self.out.len() as u64);
    }
}

/// The segments cover the I/O exactly, in order.
fn check_pieces(io: &vdev_queue::DeviceIo<u64>) {
    use vdev_queue::Segment;
    let mut at = io.offset_bytes;
    for segment in io.segments() {
        let (start, len) = match segment {
            Segment::Data(member) => {
                assert!(!member.request.flags().contains(Flags::NODATA));
                (member.request.offset_bytes(), member.request.len_bytes())
            }
            Segment::Zeros(member) => {
                assert!(member.request.flags().contains(Flags::NODATA));
                (member.request.offset_bytes(), member.request.len_bytes())
            }
            Segment::Gap { offset_bytes, len_bytes } => {
                assert_eq!(io.kind, Kind::Read);
                (offset_bytes, len_bytes)
            }
        };
        assert_eq!(start, at);
        at += len;
    }
    assert_eq!(at, io.offset_bytes + io.len_bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Any life gives the reference's decisions, keeps the limits, leaves no slot idle, and
    /// hands out each payload once.
    #[test]
    fn random_lives(config in 0usize..10, ops in prop::collection::vec(op(), 1..200)) {
        let mut pair = Pair::new(configs()[config].clone());
        for op in ops {
            pair.apply(op);
        }
        // Let everything end.
        while !pair.at_device.is_empty() {
            pair.apply(Op::Complete { nth: 0 });
        }
        prop_assert!(pair.queue.is_empty());
        prop_assert!(pair.out.iter().all(|&times| times == 1));
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Lives long enough for the measured depth to move, and its limits with it.
    #[test]
    fn measured_lives(ops in prop::collection::vec(op(), 500..2000)) {
        let mut pair = Pair::new(configs()[9].clone());
        for op in ops {
            if !matches!(op, Op::SetConfig { .. }) {
                pair.apply(op);
            }
        }
    }

    /// A long queue, so that the sweep has many chunks: filled while the device is full, then
    /// thinned out and drained.
    #[test]
    fn long_queues(
        requests in prop::collection::vec((0u64..100_000, 1u64..3, any::<bool>()), 500..1500),
        cancelled in prop::collection::vec(0usize..1500, 0..700),
        config in 0usize..10,
    ) {
        let mut pair = Pair::new(configs()[config].clone());
        for (offset, len, read) in requests {
            let (kind, class) =
                if read { (Kind::Read, Class::Scrub) } else { (Kind::Write, Class::AsyncWrite) };
            let request = Request::new(kind, class, offset * 512, len * 512, Flags::empty());
            pair.enqueue(request.expect("valid"));
        }
        for nth in cancelled {
            pair.cancel(nth);
        }
        pair.poll_all();
        while !pair.at_device.is_empty() {
            pair.apply(Op::Complete { nth: 0 });
        }
        prop_assert!(pair.out.iter().all(|&times| times == 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    /// Writes and padding side by side, with the elevator thrown about by reads: what is cut,
    /// stretched, obliged and dropped is the reference's.
    #[test]
    fn dense_writes(
        blocks in prop::collection::vec((0u64..24, 0u8..10, 0u8..8), 8..40),
        heads in prop::collection::vec(0u64..26, 40),
        length_kib in prop_oneof![Just(12u64), Just(20), Just(128)],
        write_gap_kib in prop_oneof![Just(4u64), Just(8)],
        members_max in prop_oneof![Just(3usize), Just(512)],
    ) {
        let mut config = Config::seed();
        config.classes[Class::AsyncWrite].active_max = 1;
        config.aggregation = Aggregation::On(AggregationLimits {
            len_bytes_max: length_kib * KIB,
            read_gap_bytes_max: 8 * KIB,
            write_gap_bytes_max: write_gap_kib * KIB,
            members_max,
        });
        let mut pair = Pair::new(config);
        for (block, padding, flavour) in blocks {
            let flags = if padding < 5 { Flags::OPTIONAL | Flags::NODATA } else { Flags::empty() };
            let offset_bytes = block * 4 * KIB;
            let request =
                Request::new(Kind::Write, Class::AsyncWrite, offset_bytes, 4 * KIB, flags)
                    .expect("valid")
                    .with_flavour(u16::from(flavour == 0));
            pair.enqueue(request);
        }
        for head in heads {
            let read = Request::read(Class::SyncRead, head * 4 * KIB + 1, 1).expect("valid");
            pair.enqueue(read);
            pair.poll_all();
            while !pair.at_device.is_empty() {
                let ticket = pair.at_device.remove(0);
                pair.reference.complete(ticket.class(), 0);
                pair.queue.complete(ticket, 0);
            }
        }
        pair.poll_all();
        pair.check_limits_and_counts();
    }
}

/// Every state of the five classes with up to 3 active and 0, 1 or 3 queued in each: the whole
/// sequence of issues is the reference's.
#[test]
fn all_small_states() {
    let five = &Class::ALL[..5];
    let mut config = Config::seed();
    config.aggregation = Aggregation::Off;
    config.active_max = 9;
    let limits = [(1, 3), (2, 2), (1, 2), (1, 3), (1, 1)];
    for (&class, (active_min, active_max)) in five.iter().zip(limits) {
        config.classes[class].active_min = active_min;
        config.classes[class].active_max = active_max;
    }
    for &class in &Class::ALL[5..] {
        config.classes[class].active_min = 0;
    }
    let mut generous = config.clone();
    generous.active_max = 1000;
    for &class in five {
        generous.classes[class].active_max = 100;
    }
    let load = Load { dirty_bytes: 45, dirty_bytes_max: 100, sync_task_pending: false };

    let digits = |mut number: usize, base: usize| {
        [(); 5].map(|()| {
            let digit = number % base;
            number /= base;
            digit
        })
    };
    for active in (0..4usize.pow(5)).map(|number| digits(number, 4)) {
        for queued in
            (0..3usize.pow(5)).map(|number| digits(number, 3).map(|digit| [0, 1, 3][digit]))
        {
            let mut queue = Queue::new(generous.clone()).expect("valid");
            let mut reference = Reference::new(generous.clone());
            for (&class, count) in five.iter().zip(active) {
                for number in 0..count {
                    let request = small_request(class, number as u64);
                    queue.enqueue(request, 0, 0);
                    // Tickets are not given back: these I/Os stay at the device.
                    assert!(queue.poll_issue(0).is_some());
                    reference.enqueue(0, request, 0);
                    assert!(reference.poll(0).is_some());
                }
            }
            queue.set_config(config.clone()).expect("valid");
            queue.set_load(load);
            reference.config.clone_from(&config);
            reference.depth = config.active_max;
            reference.load = load;
            let mut number = 0;
            for (&class, count) in five.iter().zip(queued) {
                for _ in 0..count {
                    let request = small_request(class, 10 + number);
                    queue.enqueue(request, number, 0);
                    reference.enqueue(number, request, 0);
                    number += 1;
                }
            }
            loop {
                let ours = queue.poll_issue(0).and_then(Issue::io).map(|io| io.members[0].payload);
                let expected = reference.poll(0).map(|out| match out {
                    Out::Io { ids, .. } => ids[0],
                    Out::Unneeded { id } => id,
                });
                assert_eq!(ours, expected, "active {active:?}, queued {queued:?}");
                if ours.is_none() {
                    break;
                }
            }
        }
    }
}

fn small_request(class: Class, number: u64) -> Request {
    let kind = if class.fit(Kind::Read) == class { Kind::Read } else { Kind::Write };
    Request::new(kind, class, number * 4 * KIB, 4 * KIB, Flags::empty()).expect("valid")
}
