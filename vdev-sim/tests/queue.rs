//! Simulated task queues.

use std::sync::Arc;

use parking_lot::Mutex;
use vdev_sim::conformance::Job as SuiteJob;
use vdev_sim::conformance::{self, QueueFixture};
use vdev_sim::{Machine, SimQueue};
use zio_core::{QueueKind, Reactor, Route, Task, TaskQueue, Wait, ZioType};

const ISSUE: (ZioType, QueueKind) = (ZioType::Write, QueueKind::Issue);

type Work = Box<dyn FnOnce() + Send>;

struct Job(Box<(Option<Job>, Work)>);

impl Job {
    fn new(work: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new((None, Box::new(work))))
    }
}

impl Task for Job {
    fn run(self) {
        (self.0.1)();
    }

    fn link(&mut self) -> &mut Option<Self> {
        &mut self.0.0
    }
}

/// A queue whose tasks leave their number.
struct Bench {
    machine: Machine,
    queue: Arc<SimQueue<Job>>,
    ran: Arc<Mutex<Vec<u32>>>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let machine = Machine::new(seed);
        Self { queue: machine.queue(), machine, ran: Arc::default() }
    }

    fn send(&self, number: u32, route: Route) {
        let ran = Arc::clone(&self.ran);
        self.queue.dispatch(Job::new(move || ran.lock().push(number)), route);
    }

    fn back(&self, number: u32) {
        self.send(number, Route::back(ISSUE.0, ISSUE.1));
    }

    fn order(&self) -> Vec<u32> {
        self.machine.run_until_idle();
        std::mem::take(&mut self.ran.lock())
    }
}

#[test]
fn it_conforms() {
    for seed in 0..20 {
        conformance::task_queue(|| {
            let machine = Machine::new(seed);
            let queue = machine.queue();
            queue.set_workers(ISSUE.0, ISSUE.1, 1);
            QueueFixture::new(queue).serial(ISSUE.0, ISSUE.1).driven_by(move || {
                machine.turn(Wait::Poll);
            })
        });
    }
}

#[test]
fn front_goes_before_back_and_in_order() {
    for seed in 0..50 {
        let bench = Bench::new(seed);
        (10..20).for_each(|n| bench.back(n));
        (0..5).for_each(|n| bench.send(n, Route::front(ISSUE.0, ISSUE.1)));
        let order = bench.order();
        assert_eq!(order[..5], [0, 1, 2, 3, 4]);
        assert_eq!(order.len(), 15);
    }
}

#[test]
fn one_worker_is_a_fifo_and_several_are_not() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let bench = Bench::new(seed);
        bench.queue.set_workers(ISSUE.0, ISSUE.1, 1);
        (0..20).for_each(|n| bench.back(n));
        assert_eq!(bench.order(), Vec::from_iter(0..20));
        bench.queue.set_workers(ISSUE.0, ISSUE.1, 4);
        (0..20).for_each(|n| bench.back(n));
        let order = bench.order();
        assert!(order[0] < 4, "the first of 4 workers takes one of the first 4 tasks: {order:?}");
        orders.insert(order);
    }
    assert!(orders.len() > 40, "{} different orders", orders.len());
}

#[test]
fn types_and_kinds_interleave_by_the_seed() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let bench = Bench::new(seed);
        for (n, ty) in [ZioType::Read, ZioType::Write, ZioType::Free].into_iter().enumerate() {
            bench.send(n as u32, Route::back(ty, QueueKind::Interrupt));
        }
        orders.insert(bench.order());
    }
    assert_eq!(orders.len(), 6, "all orders of three tasks");
}

#[test]
fn a_stalled_queue_runs_nothing_and_counts() {
    let bench = Bench::new(1);
    bench.queue.stall();
    (0..3).for_each(|n| bench.back(n));
    bench.send(9, Route::front(ISSUE.0, ISSUE.1));
    assert_eq!(bench.order(), []);
    assert_eq!((bench.queue.queued(), bench.machine.queued()), (4, 4));
    let dispatches = bench.queue.dispatches(ISSUE.0, ISSUE.1);
    assert_eq!((dispatches.front, dispatches.back), (1, 3));
    assert_eq!(bench.queue.dispatches_total(), 4);
    bench.queue.unstall();
    assert_eq!(bench.order().len(), 4);
    assert_eq!(bench.queue.queued(), 0);
}

#[test]
fn a_task_that_drives_the_machine_keeps_its_worker() {
    let bench = Bench::new(1);
    bench.queue.set_workers(ISSUE.0, ISSUE.1, 1);
    let (machine, ran) = (bench.machine.clone(), Arc::clone(&bench.ran));
    let nested = Job::new(move || {
        assert_eq!(machine.turn(Wait::Poll), 0, "the only worker is busy");
        ran.lock().push(0);
    });
    bench.queue.dispatch(nested, Route::back(ISSUE.0, ISSUE.1));
    bench.back(1);
    assert_eq!(bench.order(), [0, 1]);
}

#[test]
fn a_panicking_task_gives_its_worker_back() {
    let bench = Bench::new(1);
    bench.queue.set_workers(ISSUE.0, ISSUE.1, 1);
    bench.queue.dispatch(Job::new(|| panic!("as ordered")), Route::back(ISSUE.0, ISSUE.1));
    bench.back(1);
    let turn = || bench.machine.turn(Wait::Poll);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(turn)).is_err());
    assert_eq!(bench.queue.on_worker(), None);
    assert_eq!(bench.order(), [1]);
}

#[test]
fn after_the_shutdown_tasks_are_dropped_and_counted() {
    let bench = Bench::new(1);
    bench.back(1);
    bench.queue.stall();
    bench.queue.shutdown();
    assert_eq!(bench.order(), [1]);
    bench.back(2);
    assert_eq!(bench.order(), []);
    assert_eq!(bench.queue.refused(), 1);
}

#[test]
fn a_dropped_queue_leaves_the_machine_idle() {
    let bench = Bench::new(1);
    bench.back(1);
    let Bench { machine, queue, .. } = bench;
    drop(queue);
    assert_eq!((machine.queued(), machine.run_until_idle()), (0, 0));
}

#[test]
fn a_device_may_overtake_a_slow_worker() {
    let overtaken = |permille| {
        (0..200)
            .filter(|&seed| {
                let bench = Bench::new(seed);
                bench.machine.set_overtake_permille(permille);
                let ran = Arc::clone(&bench.ran);
                bench.machine.after(1000, move || ran.lock().push(7));
                bench.back(1);
                bench.order() == [7, 1]
            })
            .count()
    };
    assert_eq!(overtaken(0), 0);
    assert!((50..150).contains(&overtaken(500)));
    assert_eq!(overtaken(1000), 200);
}

/// Ways for [`Broken`] to break its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    DropsSome,
    KeepsSome,
    IgnoresFront,
    EveryoneIsAWorker,
    NobodyIsAWorker,
    WrongSide,
    ShutsDownAtOnce,
    LeavesLink,
}

struct Broken {
    sound: Arc<SimQueue<SuiteJob>>,
    flaw: Flaw,
    sent: Mutex<u64>,
    kept: Mutex<Vec<SuiteJob>>,
}

impl TaskQueue<SuiteJob> for Broken {
    fn dispatch(&self, task: SuiteJob, mut route: Route) {
        let sent = {
            let mut sent = self.sent.lock();
            *sent += 1;
            *sent
        };
        match self.flaw {
            Flaw::DropsSome if sent.is_multiple_of(500) => return drop(task),
            Flaw::KeepsSome if sent.is_multiple_of(500) => return self.kept.lock().push(task),
            Flaw::IgnoresFront => route = Route::back(route.ty, route.kind),
            Flaw::LeavesLink if sent.is_multiple_of(2) => {
                if let Some(mut other) = self.kept.lock().pop() {
                    *other.link() = Some(task);
                    return other.run();
                }
                return self.kept.lock().push(task);
            }
            _ => {}
        }
        self.sound.dispatch(task, route);
    }

    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        match (self.flaw, self.sound.on_worker()) {
            (Flaw::EveryoneIsAWorker, None) => Some(ISSUE),
            (Flaw::NobodyIsAWorker, Some(_)) => None,
            (Flaw::WrongSide, Some((ty, QueueKind::Interrupt))) => Some((ty, QueueKind::Issue)),
            (_, found) => found,
        }
    }

    fn shutdown(&self) {
        if self.flaw != Flaw::ShutsDownAtOnce {
            self.sound.shutdown();
        }
    }
}

#[test]
fn the_suite_finds_every_flaw() {
    let flaws = [
        (Flaw::DropsSome, "every task of every route runs once"),
        (Flaw::KeepsSome, "every task of every route runs once"),
        (Flaw::IgnoresFront, "front goes before back"),
        (Flaw::EveryoneIsAWorker, "a worker knows"),
        (Flaw::NobodyIsAWorker, "a worker knows"),
        (Flaw::WrongSide, "a worker knows"),
        (Flaw::ShutsDownAtOnce, "a shutdown runs"),
        (Flaw::LeavesLink, "every task of every route runs once"),
    ];
    for (flaw, check) in flaws {
        let outcome = conformance::check_task_queue(|| {
            let machine = Machine::new(1);
            let sound = machine.queue();
            sound.set_workers(ISSUE.0, ISSUE.1, 1);
            let broken = Broken { sound, flaw, sent: Mutex::new(0), kept: Mutex::default() };
            QueueFixture::new(Arc::new(broken))
                .serial(ISSUE.0, ISSUE.1)
                .patience(std::time::Duration::from_millis(50))
                .driven_by(move || {
                    machine.turn(Wait::Poll);
                })
        });
        match outcome {
            Ok(()) => panic!("{flaw:?} was not found"),
            Err(v) => assert!(v.check.contains(check), "{flaw:?} was found as: {v}"),
        }
    }
}
