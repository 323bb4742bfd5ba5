//! Where tasks go: the table, its gaps, the shards, and what a worker says it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::{ask, thread_name};
use taskq::{Config, Job, ManualClock, Mode, Taskq};
use zio_core::{QueueKind, Route, TaskQueue, ZioType};

const ONE: Mode = Mode::Fixed { threads: 1, queues: 1 };

/// Dispatches along every route and notes queue (by thread name) and role.
fn map(config: Config) -> BTreeMap<(ZioType, QueueKind), (String, (ZioType, QueueKind))> {
    let queue = Taskq::<Job>::new(config);
    let mut map = BTreeMap::new();
    for ty in ZioType::ALL {
        for kind in QueueKind::ALL {
            let inner = Arc::clone(&queue);
            let answer = ask(&queue, Route::back(ty, kind), move || {
                (thread_name(), inner.on_worker().expect("a worker"))
            });
            map.insert((ty, kind), answer);
        }
    }
    map
}

#[test]
fn every_route_of_the_server_table_has_its_queue() {
    use QueueKind::{Interrupt, InterruptHigh, Issue, IssueHigh};
    // On 4 CPUs each queue is one shard.
    let config = Config::zfs(4).queue(ZioType::Free, Issue, ONE);
    for ((ty, kind), (thread, role)) in map(config) {
        let (part, plain) = match kind {
            Issue | IssueHigh => ("iss", Issue),
            Interrupt | InterruptHigh => ("int", Interrupt),
        };
        let name = format!("zio-{}-{part}-", ty.name());
        assert!(thread.starts_with(&name), "{ty:?} {kind:?} ran on {thread}");
        assert_eq!(role, (ty, plain));
    }
}

#[test]
fn a_gap_goes_to_the_nearest_queue_of_the_same_side() {
    for ((ty, kind), (thread, role)) in map(Config::small(2)) {
        let expected = match (ty, kind.is_interrupt()) {
            (_, true) => ("zio-null-int-0", (ZioType::Null, QueueKind::Interrupt)),
            (ZioType::Write, false) => ("zio-write-iss-0", (ZioType::Write, QueueKind::Issue)),
            (_, false) => ("zio-null-iss-0", (ZioType::Null, QueueKind::Issue)),
        };
        assert_eq!((thread.as_str(), role), expected, "{ty:?} {kind:?}");
    }
}

#[test]
fn one_queue_serves_all_and_says_issue() {
    for (_, (thread, role)) in map(Config::single("work", 1)) {
        assert_eq!(thread, "work-0");
        assert_eq!(role, (ZioType::Null, QueueKind::Issue));
    }
    let interrupt_only = Config::empty(2).queue(ZioType::Read, QueueKind::InterruptHigh, ONE);
    for (_, (thread, role)) in map(interrupt_only) {
        assert_eq!(thread, "zio-read-inh-0");
        assert_eq!(role, (ZioType::Read, QueueKind::IssueHigh), "no worker to flee from");
    }
}

#[test]
fn urgent_queues_are_used_where_they_exist() {
    let config = Config::small(2).queue(ZioType::Write, QueueKind::IssueHigh, ONE);
    let map = map(config);
    let thread = |ty, kind| map[&(ty, kind)].0.clone();
    assert_eq!(thread(ZioType::Write, QueueKind::IssueHigh), "zio-write-ish-0");
    assert_eq!(thread(ZioType::Write, QueueKind::Issue), "zio-write-iss-0");
    assert_eq!(thread(ZioType::Read, QueueKind::IssueHigh), "zio-null-iss-0");
}

#[test]
fn an_empty_table_runs_tasks_where_they_are_dispatched() {
    let queue = Taskq::<Job>::new(Config::empty(4));
    let here = std::thread::current().id();
    let inner = Arc::clone(&queue);
    let (thread, worker) =
        ask(&queue, crate::common::ROUTE, move || (std::thread::current().id(), inner.on_worker()));
    assert_eq!((thread, worker), (here, None));
    assert_eq!(queue.stats().overflow, 1);
}

fn sharded() -> Arc<Taskq<Job>> {
    let mode = Mode::Fixed { threads: 1, queues: 4 };
    // By this clock no shard is ever stuck, so nobody helps out.
    let config = Config::empty(4).queue(ZioType::Read, QueueKind::Issue, mode);
    Taskq::new(config.clock(&ManualClock::new()))
}

#[test]
fn equal_affinities_share_a_shard_and_different_ones_spread() {
    let queue = sharded();
    let mut used = BTreeSet::new();
    for affinity in 1..=8 {
        let route = Route { affinity, ..crate::common::ROUTE };
        let threads: BTreeSet<_> = (0..5).map(|_| ask(&queue, route, thread_name)).collect();
        assert_eq!(threads.len(), 1, "affinity {affinity} ran on {threads:?}");
        used.extend(threads);
    }
    assert_eq!(used.len(), 4, "{used:?}");
}

#[test]
fn tasks_without_affinity_use_all_shards() {
    let queue = sharded();
    let used: BTreeSet<_> =
        (0..4).map(|_| ask(&queue, crate::common::ROUTE, thread_name)).collect();
    let all = ["zio-read-iss-0", "zio-read-iss-1", "zio-read-iss-2", "zio-read-iss-3"];
    assert_eq!(used, all.map(str::to_owned).into());
}

#[test]
fn names_fit_the_kernel_and_keep_their_number() {
    for (prefix, expected) in [
        ("zio", "zio-write-inh-0"),
        ("tank", "tank-write-inh0"),
        ("a-long-pool-name", "a-long-pool-na0"),
        ("ein-großer-großer", "ein-großer-gr0"),
        ("nul\0in", "nulin-write-in0"),
        ("", "-write-inh-0"),
    ] {
        let config =
            Config::empty(1).named(prefix).queue(ZioType::Write, QueueKind::InterruptHigh, ONE);
        let queue = Taskq::<Job>::new(config);
        assert_eq!(ask(&queue, crate::common::ROUTE, thread_name), expected);
    }
    let many = Taskq::<Job>::new(Config::single("zio-write-int", 12));
    let names: BTreeSet<_> = {
        // All twelve at once: each waits until all have told their names.
        let barrier = Arc::new(std::sync::Barrier::new(12));
        let (sender, receiver) = std::sync::mpsc::channel();
        for _ in 0..12 {
            let (barrier, sender) = (Arc::clone(&barrier), sender.clone());
            let job = Job::new(move || {
                sender.send(thread_name()).unwrap();
                barrier.wait();
            });
            many.dispatch(job, crate::common::ROUTE);
        }
        receiver.into_iter().take(12).collect()
    };
    let expected = (0..12)
        .map(|n| if n < 10 { format!("zio-write-int-{n}") } else { format!("zio-write-int{n}") });
    assert_eq!(names, expected.collect());
}
