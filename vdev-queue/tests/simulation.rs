//! Ten thousand short lives of a queue in front of a device that takes its time, each from a
//! seed: no limit is ever passed, no slot is idle while something could be issued, and nothing
//! that is past its deadline is passed by more often than by each other class and its due.
//!
//! `QUEUE_SEEDS=100000 cargo test -p vdev-queue --test simulation` for more of them;
//! `QUEUE_SEED=n` for one.

#![cfg(not(loom))]

use std::collections::BTreeMap;

use vdev_queue::{
    Aggregation, BackgroundRules, Class, Config, Depth, DepthRules, Flags, Id, Issue, Kind,
    LatencyBudget, Load, Member, MinPass, PerClass, Queue, Request, Ticket,
};
use vdev_sim::Rng;

const US: u64 = 1000;
const SEEDS: u64 = 10_000;
/// Events of a life.
const STEPS: u64 = 120;
/// One life of so many is long enough for what is measured to change …
const LONG_ONE_OF: u64 = 50;
/// … several times.
const LONG_STEPS: u64 = 4000;
/// Requests that wait; nobody comes beyond.
const WAITING_MAX: usize = 400;

/// A device and its clients.
struct Life {
    queue: Queue<Class>,
    rng: Rng,
    now_ns: u64,
    /// When each I/O ends.
    at_device: BTreeMap<(u64, u64), Ticket>,
    issued_total: u64,
    /// No I/O takes longer without a background I/O beside it.
    service_ns_max: u64,
    /// So many times as long with one.
    slowdown: u64,
    /// When each waiting request came, oldest first.
    waiting: PerClass<BTreeMap<Id, u64>>,
    /// I/Os of others issued while the class was overdue and had room.
    passed_by: PerClass<u32>,
}

/// Settings at random, but such as somebody could have.
fn config(rng: &mut Rng) -> Config {
    let mut config = match rng.below(4) {
        0 => Config::seed(),
        1 => Config::bypass(1 + rng.below(16) as u32),
        _ => Config::default(),
    };
    for class in Class::ALL {
        let limits = &mut config.classes[class];
        limits.active_max += rng.below(4) as u32;
        limits.deadline_ns = Some((1 + rng.below(20)) * 100 * US);
    }
    if rng.chance(500) && config.min_pass == MinPass::RoundRobin {
        config.active_max = 1 + rng.below(12) as u32;
    }
    if let Depth::Measured(_) = config.depth {
        let start = 1 + rng.below(12) as u32;
        config.depth = Depth::Measured(DepthRules { start, min: 1, ..DepthRules::SHIPPED });
    }
    if rng.chance(300) {
        config.aggregation = Aggregation::Off;
    }
    config.background = background(rng, config.background);
    config
}

/// The same rules with another budget, or none.
fn background(rng: &mut Rng, rules: Option<BackgroundRules>) -> Option<BackgroundRules> {
    let budget = LatencyBudget {
        slowdown_permille: 1001 + rng.below(2000) as u32,
        spacing_max: rng.below(40) as u32,
        extra_max: rng.below(5) as u32,
    };
    let budget = rng.chance(800).then_some(budget);
    rules.map(|rules| BackgroundRules { budget, ..rules })
}

fn request(rng: &mut Rng, class: Class) -> Request {
    let kind = match class {
        Class::Trim => Kind::Trim,
        _ if class.fit(Kind::Read) == class => Kind::Read,
        _ => Kind::Write,
    };
    let optional = kind == Kind::Write && rng.chance(100);
    let flags = if optional { Flags::OPTIONAL | Flags::NODATA } else { Flags::empty() };
    Request::new(kind, class, rng.below(64) * 4096, (1 + rng.below(3)) * 4096, flags)
        .expect("valid")
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let queue = Queue::new(config(&mut rng)).expect("valid");
        let (service_ns_max, slowdown) = ((1 + rng.below(100)) * US, 1 + rng.below(4));
        Self {
            queue,
            rng,
            slowdown,
            now_ns: 0,
            at_device: BTreeMap::new(),
            issued_total: 0,
            service_ns_max,
            waiting: PerClass::default(),
            passed_by: PerClass::default(),
        }
    }

    /// Lets something happen.
    fn step(&mut self) {
        match self.rng.below(10) {
            // Bursts, often of one class: a flood of readers, a scrub.
            0..=4 if self.queue.len() < WAITING_MAX => {
                let class = Class::ALL[self.rng.below(9) as usize];
                for _ in 0..1 + self.rng.below(8) {
                    let request = request(&mut self.rng, class);
                    let id = self.queue.enqueue(request, class, self.now_ns);
                    self.waiting[class].insert(id, self.now_ns);
                }
            }
            0..=8 => self.end_one(),
            _ if self.rng.chance(100) => {
                let mut config = self.queue.config().clone();
                config.background = background(&mut self.rng, config.background);
                self.queue.set_config(config).expect("valid");
            }
            _ => self.queue.set_load(Load {
                dirty_bytes: self.rng.below(100),
                dirty_bytes_max: 100,
                sync_task_pending: self.rng.chance(100),
            }),
        }
        self.issue();
        self.check();
    }

    /// The clock goes on to the next end.
    fn end_one(&mut self) {
        if let Some(((end_ns, _), ticket)) = self.at_device.pop_first() {
            self.now_ns = end_ns;
            self.queue.complete(ticket, end_ns);
        }
    }

    fn issue(&mut self) {
        loop {
            let overdue = self.overdue();
            let Some(issue) = self.queue.poll_issue(self.now_ns) else { return };
            let io = match issue {
                Issue::Unneeded(member) => {
                    self.leaves(&member);
                    continue;
                }
                Issue::Io(io) => io,
            };
            io.members.iter().for_each(|member| self.leaves(member));
            self.count_passed_by(io.ticket.class(), &overdue);
            self.issued_total += 1;
            let mut classes = Class::ALL.iter().filter(|class| class.is_background());
            let is_disturbed = classes.any(|&class| self.queue.stats(class).active > 0);
            let slowdown = if is_disturbed { self.slowdown } else { 1 };
            let end_ns = self.now_ns + 1 + self.rng.below(self.service_ns_max) * slowdown;
            self.at_device.insert((end_ns, self.issued_total), io.ticket);
        }
    }

    fn leaves(&mut self, member: &Member<Class>) {
        assert_eq!(member.payload, member.request.class());
        let arrived_ns = self.waiting[member.payload].remove(&member.id);
        assert_eq!(arrived_ns, Some(member.enqueued_ns), "{:?} came out twice", member.id);
    }

    /// Classes whose oldest request is past its deadline, and which have room.
    fn overdue(&self) -> Vec<Class> {
        let is_overdue = |&class: &Class| {
            let deadline_ns = self.queue.config().classes[class].deadline_ns.expect("set");
            let oldest_ns = self.waiting[class].values().next();
            oldest_ns.is_some_and(|oldest_ns| oldest_ns + deadline_ns <= self.now_ns)
                && self.queue.stats(class).active < self.queue.active_max(class)
        };
        Class::ALL.into_iter().filter(is_overdue).collect()
    }

    /// An overdue class with room waits for the other overdue ones, each of which is followed
    /// by one I/O of the ordinary choice; not for more.
    fn count_passed_by(&mut self, issued: Class, overdue: &[Class]) {
        for class in Class::ALL {
            let passed_by = &mut self.passed_by[class];
            *passed_by = match overdue.contains(&class) && class != issued {
                true => *passed_by + 1,
                false => 0,
            };
            assert!(*passed_by <= 2 * Class::COUNT as u32, "{class:?} is overdue and starves");
        }
    }

    fn check(&self) {
        let queue = &self.queue;
        let config = queue.config();
        assert_eq!(queue.active() as usize, self.at_device.len());
        assert!(queue.active() <= config.active_max && queue.depth() <= config.active_max);
        for class in Class::ALL {
            let stats = queue.stats(class);
            if config.depth == Depth::Fixed {
                let limit = config.classes[class].active_max;
                assert!(stats.active <= limit, "{class:?}: {} of {limit}", stats.active);
            }
            let has_room = queue.active() < queue.depth() && stats.active < queue.active_max(class);
            assert!(stats.queued == 0 || !has_room, "{class:?} waits and has room");
        }
    }

    /// Nobody comes any more; what is there ends, without any help by the clock.
    fn finish(&mut self) {
        while !self.at_device.is_empty() {
            self.end_one();
            self.issue();
            self.check();
        }
        assert!(self.queue.is_empty(), "{} left lying", self.queue.len());
    }
}

fn live(seed: u64) {
    let mut life = Life::new(seed);
    let is_long = seed.is_multiple_of(LONG_ONE_OF);
    for _ in 0..if is_long { LONG_STEPS } else { STEPS } {
        life.step();
    }
    life.finish();
}

#[test]
fn ten_thousand_lives() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seeds = match number("QUEUE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUEUE_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| live(seed)) {
            eprintln!("again: QUEUE_SEED={seed} cargo test -p vdev-queue --test simulation");
            std::panic::resume_unwind(panic);
        }
    }
}
