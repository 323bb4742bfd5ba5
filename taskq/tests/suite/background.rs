//! The lane for background work.

use std::sync::{Arc, Mutex};

use crate::common::{ROUTE, ask, eventually, thread_name};
use taskq::{Background, Config, Inline, Job, Lane, Mode, Taskq};
use zio_core::{Priority, QueueKind, Route, TaskQueue, ZioType};

const CLASSES: [Priority; 10] = [
    Priority::SyncRead,
    Priority::SyncWrite,
    Priority::AsyncRead,
    Priority::AsyncWrite,
    Priority::Scrub,
    Priority::Removal,
    Priority::Initializing,
    Priority::Trim,
    Priority::Rebuild,
    Priority::Now,
];

#[test]
fn background_classes_of_all_routes_share_the_lane_and_no_others_do() {
    let queue = Taskq::<Job>::new(Config::zfs(2));
    for class in CLASSES {
        for ty in ZioType::ALL {
            for kind in QueueKind::ALL {
                let route = Route { class, ..Route::back(ty, kind) };
                let inner = Arc::clone(&queue);
                let (name, lane, role) =
                    ask(&queue, route, move || (thread_name(), inner.lane(), inner.on_worker()));
                if class.is_background() {
                    assert!(name.starts_with("zio-bg-"), "{route:?} ran on {name}");
                    assert_eq!(lane, Some(Lane::Background));
                    assert_eq!(role, Some((ZioType::Null, QueueKind::Issue)));
                } else {
                    assert!(!name.starts_with("zio-bg-"), "{route:?} ran on {name}");
                    assert_ne!(lane, Some(Lane::Background));
                }
            }
        }
    }
    assert_eq!(queue.lane(), None, "this is no worker");
}

#[test]
fn without_a_lane_they_go_with_the_others() {
    let queue = Taskq::<Job>::new(Config::zfs(2).without_background());
    let scrub =
        Route { class: Priority::Scrub, ..Route::back(ZioType::Read, QueueKind::Interrupt) };
    assert!(ask(&queue, scrub, thread_name).starts_with("zio-read-int"));
}

#[test]
fn a_full_lane_holds_up_nobody_else() {
    let queue = Taskq::<Job>::new(Config::small(1));
    let gate = crate::common::Gate::default();
    for _ in 0..10 {
        let held = gate.clone();
        let route = Route { class: Priority::Rebuild, ..ROUTE };
        queue.dispatch(Job::new(move || held.pass()), route);
    }
    for _ in 0..10 {
        ask(&queue, ROUTE, || ());
    }
    gate.open();
}

#[test]
fn inline_knows_the_lane_too() {
    let queue = Arc::new(Inline::new());
    let seen = Arc::new(Mutex::new(None));
    let (inner, answer) = (Arc::clone(&queue), Arc::clone(&seen));
    let job = Job::new(move || *answer.lock().unwrap() = inner.lane());
    queue.dispatch(job, Route { class: Priority::Trim, ..ROUTE });
    queue.run_until_idle();
    assert_eq!(*seen.lock().unwrap(), Some(Lane::Background));
    assert_eq!(queue.lane(), None);
}

/// The kernel's own record of a thread of this process, by name.
#[cfg(target_os = "linux")]
fn nice_of(thread: &str) -> Option<i32> {
    std::fs::read_dir("/proc/self/task").unwrap().flatten().find_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        // Fields are numbered from 1; the rest begins with the third, niceness is the 19th.
        (name == thread).then(|| rest.split_whitespace().nth(16)?.parse().ok())?
    })
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_knows_how_weak_each_thread_is() {
    let config = Config::empty(2)
        .named("weak")
        .queue(ZioType::Read, QueueKind::Interrupt, Mode::Percent(50))
        .queue(ZioType::Write, QueueKind::Issue, Mode::Batch)
        .queue(ZioType::Free, QueueKind::Issue, Mode::Sync { allocators: 1 })
        .background(Background { nice: 7, ..Background::default() });
    let queue = Taskq::<Job>::new(config);
    queue.start();
    eventually(|| queue.workers().len() == queue.threads());
    let workers = queue.workers();
    let plain = nice_of("weak-read-int-0").expect("the thread is there");
    let expected = [
        ("weak-read-int-0", Lane::Normal, 0),
        ("weak-write-iss0", Lane::Batch, 1),
        ("weak-free-iss-0", Lane::Batch, 1),
        ("weak-bg-0", Lane::Background, 7),
        ("weak-bg-1", Lane::Background, 7),
    ];
    for (worker, (thread, lane, steps)) in workers.iter().zip(expected) {
        let nice = Some((plain + steps).min(19));
        assert_eq!((worker.thread.as_str(), worker.lane), (thread, lane));
        assert_eq!((worker.nice, nice_of(thread)), (nice, nice), "{thread}");
    }
    assert_eq!(workers.len(), expected.len());
    let roles: Vec<_> = workers.iter().map(|worker| (worker.ty, worker.kind)).collect();
    assert_eq!(roles[0], (ZioType::Read, QueueKind::Issue), "it serves both sides");
    assert_eq!(workers[3].queue, "weak-bg");
    queue.shutdown();
    assert!(queue.workers().is_empty());
}
