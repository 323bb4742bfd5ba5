//! Rules beyond the seed: turns, background classes, deadlines, batches, changes under load,
//! and what is refused.

use vdev_queue::{
    Aggregation, AggregationLimits, BackgroundRules, Class, Config, ConfigError, Depth, DepthRules,
    DirtyCurve, Elevator, Flags, HeadPosition, Issue, Kind, Load, MinPass, Queue, Reprioritised,
    Request, RequestError, Ticket,
};

fn at(class: Class, offset_bytes: u64) -> Request {
    let kind = Class::fit(class, Kind::Read);
    let kind = match class {
        Class::Trim => Kind::Trim,
        _ if kind == class => Kind::Read,
        _ => Kind::Write,
    };
    Request::new(kind, class, offset_bytes, 1, Flags::empty()).expect("valid")
}

/// The next I/O's class and payload; its ticket goes to `tickets`.
fn issue<T>(queue: &mut Queue<T>, now_ns: u64, tickets: &mut Vec<Ticket>) -> Option<(Class, T)> {
    let mut io = queue.poll_issue(now_ns)?.io()?;
    let class = io.ticket.class();
    tickets.push(io.ticket);
    Some((class, io.members.remove(0).payload))
}

#[test]
fn with_three_slots_all_classes_progress() {
    let mut config = Config { active_max: 3, ..Config::default() };
    for class in Class::ALL {
        config.classes[class].deadline_ns = None;
    }
    let mut queue = Queue::new(config).expect("valid");
    let mut tickets = Vec::new();
    for number in 0..400 {
        for class in Class::ALL {
            queue.enqueue(at(class, 1_000_000 * number), (), 0);
        }
    }
    for _ in 0..1000 {
        while issue(&mut queue, 0, &mut tickets).is_some() {}
        assert!(tickets.len() <= 3);
        queue.complete(tickets.remove(0), 0);
    }
    for class in Class::ALL {
        assert!(queue.stats(class).issued_total >= 50, "{class:?} {:?}", queue.stats(class));
    }
}

/// Golden trace of the credit (spec 4.8) with one interactive and one background class.
#[test]
fn background_yields_and_comes_back() {
    let mut config = Config {
        background: Some(BackgroundRules { delay: 5, credit: 5, budget: None }),
        ..Config::default()
    };
    config.classes[Class::Scrub].active_max = 3;
    let mut queue = Queue::new(config).expect("valid");
    let (mut reads, mut scrubs) = (Vec::new(), Vec::new());
    let scrub_limit = |queue: &Queue<()>| queue.active_max(Class::Scrub);
    for number in 0..100 {
        queue.enqueue(at(Class::Scrub, 1_000_000 * number), (), 0);
    }
    // A quiet device: one at a time, until five have ended.
    for ended in 0..5 {
        assert_eq!(scrub_limit(&queue), 1, "after {ended}");
        assert!(issue(&mut queue, 0, &mut scrubs).is_some());
        assert!(issue(&mut queue, 0, &mut scrubs).is_none());
        queue.complete(scrubs.remove(0), 0);
    }
    assert_eq!(scrub_limit(&queue), 3);
    for _ in 0..3 {
        assert!(issue(&mut queue, 0, &mut scrubs).is_some());
    }
    // Somebody reads: credit 1, and three are too many already.
    queue.enqueue(at(Class::SyncRead, 7), (), 0);
    assert_eq!(issue(&mut queue, 0, &mut reads), Some((Class::SyncRead, ())));
    assert_eq!(scrub_limit(&queue), 1);
    assert!(issue(&mut queue, 0, &mut scrubs).is_none());
    for ticket in scrubs.drain(..) {
        queue.complete(ticket, 0);
    }
    // The one credit is spent …
    assert!(issue(&mut queue, 0, &mut scrubs).is_some());
    queue.complete(scrubs.remove(0), 0);
    assert_eq!(scrub_limit(&queue), 0);
    assert!(issue(&mut queue, 0, &mut scrubs).is_none());
    // … until a read ends while another is still there: five more, one at a time.
    queue.enqueue(at(Class::SyncRead, 8), (), 0);
    assert!(issue(&mut queue, 0, &mut reads).is_some());
    queue.complete(reads.remove(0), 0);
    for _ in 0..5 {
        assert!(issue(&mut queue, 0, &mut scrubs).is_some());
        queue.complete(scrubs.remove(0), 0);
    }
    assert!(issue(&mut queue, 0, &mut scrubs).is_none());
    // The last read ends: the count begins anew.
    queue.complete(reads.remove(0), 0);
    assert_eq!(scrub_limit(&queue), 1);
    assert!(issue(&mut queue, 0, &mut scrubs).is_some());
}

/// Against an endless stream of synchronous reads on a device with one slot and best-first
/// choice, everything else is issued soon after its deadline.
#[test]
fn nothing_starves_past_its_deadline() {
    let mut config = Config {
        active_max: 1,
        min_pass: MinPass::BestFirst,
        background: None,
        dirty_curve: None,
        aggregation: Aggregation::Off,
        ..Config::default()
    };
    for class in Class::ALL {
        config.classes[class].active_min = 0;
        config.classes[class].deadline_ns = Some(1000);
    }
    config.classes[Class::SyncRead].deadline_ns = None;
    let mut queue: Queue<u64> = Queue::new(config.clone()).expect("valid");
    let mut worst_wait = 0;
    let mut tickets = Vec::new();
    for now_ns in 0..20_000u64 {
        queue.enqueue(at(Class::SyncRead, now_ns % 977), now_ns, now_ns);
        if now_ns % 50 == 0 {
            let class = Class::ALL[1 + (now_ns / 50) as usize % 8];
            queue.enqueue(at(class, (now_ns * 7919) % 100_003), now_ns, now_ns);
        }
        if let Some((class, enqueued_ns)) = issue(&mut queue, now_ns, &mut tickets)
            && class != Class::SyncRead
        {
            worst_wait = worst_wait.max(now_ns - enqueued_ns);
        }
        for ticket in tickets.drain(..) {
            queue.complete(ticket, now_ns);
        }
    }
    // Eight classes may be overdue together, and each second issue is theirs.
    assert!((1000..=1000 + 2 * 8 + 1).contains(&worst_wait), "{worst_wait}");
    for &class in &Class::ALL[1..] {
        assert!(queue.stats(class).issued_total >= 20, "{class:?}");
    }

    // Without deadlines the same stream lets nobody else through.
    for class in Class::ALL {
        config.classes[class].deadline_ns = None;
    }
    let mut queue: Queue<u64> = Queue::new(config).expect("valid");
    queue.enqueue(at(Class::Scrub, 0), 0, 0);
    for now_ns in 0..5_000 {
        queue.enqueue(at(Class::SyncRead, 0), now_ns, now_ns);
        let (class, _) = issue(&mut queue, now_ns, &mut tickets).expect("work");
        assert_eq!(class, Class::SyncRead);
        queue.complete(tickets.remove(0), now_ns);
    }
}

/// Of two issues in a row at most one is made by deadline, however much is overdue.
#[test]
fn overdue_work_takes_turns_with_the_rest() {
    let mut config = Config {
        active_max: 1,
        background: None,
        min_pass: MinPass::BestFirst,
        dirty_curve: None,
        ..Config::default()
    };
    for class in Class::ALL {
        config.classes[class].active_min = 0;
    }
    config.classes[Class::SyncRead].deadline_ns = None;
    let mut queue = Queue::new(config).expect("valid");
    for number in 0..100 {
        queue.enqueue(at(Class::Scrub, 1_000_000 * number), (), 0);
        queue.enqueue(at(Class::SyncRead, number), (), 0);
    }
    let (late, mut tickets) = (10_000_000_000, Vec::new());
    let mut classes = Vec::new();
    for _ in 0..100 {
        classes.push(issue(&mut queue, late, &mut tickets).expect("work").0);
        queue.complete(tickets.remove(0), late);
    }
    let scrubs = classes.iter().filter(|&&class| class == Class::Scrub).count();
    assert_eq!(scrubs, 50);
    assert!(classes.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn an_older_batch_is_swept_before_a_younger_one() {
    let mut config = Config {
        elevator: Elevator { head: HeadPosition::EndOfLast, batch_ns_log2: Some(10) },
        aggregation: Aggregation::Off,
        active_max: 1,
        ..Config::default()
    };
    let mut queue = Queue::new(config.clone()).expect("valid");
    let mut tickets = Vec::new();
    let offsets = [(50, 0), (10, 1000), (60, 1024), (20, 1030), (70, 1023)];
    let mut sorted = offsets;
    sorted.sort_by_key(|&(_, now_ns)| now_ns);
    for (offset, now_ns) in sorted {
        queue.enqueue(at(Class::AsyncRead, offset), offset, now_ns);
    }
    let mut order = Vec::new();
    while let Some((_, offset)) = issue(&mut queue, 1030, &mut tickets) {
        order.push(offset);
        queue.complete(tickets.remove(0), 1030);
    }
    assert_eq!(order, [10, 50, 70, 20, 60]);

    // Settings changed while they wait: one batch, one sweep from the head at 61.
    for (offset, now_ns) in [(50, 2048), (10, 3000), (80, 4000), (20, 5000), (70, 6000)] {
        queue.enqueue(at(Class::AsyncRead, offset), offset, now_ns);
    }
    config.elevator.batch_ns_log2 = None;
    queue.set_config(config).expect("valid");
    let mut order = Vec::new();
    while let Some((_, offset)) = issue(&mut queue, 6000, &mut tickets) {
        order.push(offset);
        queue.complete(tickets.remove(0), 6000);
    }
    assert_eq!(order, [70, 80, 10, 20, 50]);
}

#[test]
fn limits_change_under_load() {
    let mut config = Config::seed();
    let mut queue = Queue::new(config.clone()).expect("valid");
    let mut tickets = Vec::new();
    for number in 0..100 {
        queue.enqueue(at(Class::SyncRead, number), number, 0);
    }
    let mut expected = 0;
    for (active_max, more) in [(10, 10), (25, 15), (5, 0)] {
        config.classes[Class::SyncRead].active_min = 1;
        config.classes[Class::SyncRead].active_max = active_max;
        queue.set_config(config.clone()).expect("valid");
        for _ in 0..more {
            assert_eq!(issue(&mut queue, 0, &mut tickets), Some((Class::SyncRead, expected)));
            expected += 1;
        }
        assert_eq!(issue(&mut queue, 0, &mut tickets), None);
    }
    // Above the lowered limit nothing is issued until enough has ended.
    for _ in 0..20 {
        queue.complete(tickets.pop().expect("active"), 0);
        assert_eq!(issue(&mut queue, 0, &mut tickets), None);
    }
    queue.complete(tickets.pop().expect("active"), 0);
    assert_eq!(issue(&mut queue, 0, &mut tickets), Some((Class::SyncRead, expected)));
}

#[test]
fn a_demand_read_overtakes_the_scrub() {
    let mut queue = Queue::new(Config::default()).expect("valid");
    let mut tickets = Vec::new();
    let ids: Vec<_> = (0..1000)
        .map(|number| queue.enqueue(at(Class::Scrub, number * 1_000_000), number, 0))
        .collect();
    while issue(&mut queue, 0, &mut tickets).is_some() {}
    let moved = queue.reprioritise(ids[777], Class::SyncRead);
    assert_eq!(moved, Reprioritised::Moved { from: Class::Scrub, to: Class::SyncRead });
    assert_eq!(issue(&mut queue, 0, &mut tickets), Some((Class::SyncRead, 777)));
    // Once issued it has no place in the queue any more.
    assert_eq!(queue.reprioritise(ids[777], Class::Scrub), Reprioritised::NotQueued);
    assert_eq!(queue.cancel(ids[777]), None);
    assert_eq!(queue.reprioritise(ids[500], Class::Scrub), Reprioritised::Unchanged);
    // A class that holds no reads: the nearest.
    let moved = queue.reprioritise(ids[500], Class::AsyncWrite);
    assert_eq!(moved, Reprioritised::Moved { from: Class::Scrub, to: Class::AsyncRead });
}

#[test]
fn a_moved_request_keeps_its_age() {
    let mut config = Config::seed();
    config.classes[Class::SyncRead].active_max = 1;
    config.classes[Class::SyncRead].active_min = 1;
    config.classes[Class::AsyncRead].active_max = 1;
    let mut queue = Queue::new(config).expect("valid");
    let mut tickets = Vec::new();
    queue.enqueue(at(Class::SyncRead, 0), 0, 0);
    queue.enqueue(at(Class::AsyncRead, 0), 1, 0);
    while issue(&mut queue, 0, &mut tickets).is_some() {}
    queue.enqueue(at(Class::SyncRead, 0), 2, 0);
    let prefetch = queue.enqueue(at(Class::AsyncRead, 0), 3, 0);
    queue.enqueue(at(Class::SyncRead, 0), 4, 0);
    queue.reprioritise(prefetch, Class::SyncRead);
    queue.reprioritise(prefetch, Class::AsyncRead);
    queue.reprioritise(prefetch, Class::SyncRead);
    let mut order = Vec::new();
    while let Some(nth) = tickets.iter().position(|ticket| ticket.class() == Class::SyncRead) {
        queue.complete(tickets.remove(nth), 0);
        order.extend(issue(&mut queue, 0, &mut tickets).map(|(_, number)| number));
    }
    assert_eq!(order, [2, 3, 4]);
}

#[test]
fn a_request_that_came_back_is_found_again() {
    let mut queue = Queue::new(Config::seed()).expect("valid");
    let mut tickets = Vec::new();
    let ids: Vec<_> = (0..20).map(|n| queue.enqueue(at(Class::SyncRead, 0), n, 0)).collect();
    for _ in 0..3 {
        for &id in &ids[5..15] {
            queue.reprioritise(id, Class::Scrub);
            queue.reprioritise(id, Class::SyncRead);
        }
    }
    for (number, &id) in ids.iter().enumerate().skip(5).take(10) {
        assert_eq!(queue.cancel(id), Some(number));
    }
    assert_eq!(queue.stats(Class::SyncRead).queued, 10);
    let mut order = Vec::new();
    while let Some((_, number)) = issue(&mut queue, 0, &mut tickets) {
        order.push(number);
    }
    assert_eq!(order, [0, 1, 2, 3, 4, 15, 16, 17, 18, 19]);
}

#[test]
fn cancelled_requests_never_reach_the_device() {
    let mut queue = Queue::new(Config::default()).expect("valid");
    let mut tickets = Vec::new();
    let ids: Vec<_> = (0..1000)
        .map(|number| queue.enqueue(at(Class::AsyncRead, (number * 7919) % 1009), number, 0))
        .collect();
    for (number, &id) in ids.iter().enumerate() {
        assert_eq!(queue.cancel(id), Some(number as u64));
        assert_eq!(queue.cancel(id), None);
    }
    assert!(queue.is_empty());
    assert_eq!(issue(&mut queue, 0, &mut tickets), None);
    assert_eq!(queue.stats(Class::AsyncRead).cancelled_total, 1000);
}

#[test]
fn bypass_takes_what_the_limits_allow_and_counts_it() {
    let mut queue = Queue::new(Config::bypass(2)).expect("valid");
    let request = at(Class::Scrub, 0);
    let first = queue.try_bypass(request, 'a', 0).expect("idle").io().expect("an I/O");
    let second = queue.try_bypass(request, 'b', 0).expect("room").io().expect("an I/O");
    assert_eq!(queue.active(), 2);
    assert_eq!(queue.stats(Class::Scrub).active, 2);
    assert_eq!(queue.try_bypass(request, 'c', 0), Err('c'));
    let waiting = queue.enqueue(request, 'c', 0);
    queue.complete(first.ticket, 0);
    // There is room, but somebody waits.
    assert_eq!(queue.try_bypass(request, 'd', 0), Err('d'));
    assert_eq!(queue.cancel(waiting), Some('c'));
    assert!(queue.try_bypass(request, 'd', 0).is_ok());
    queue.complete(second.ticket, 0);
    // Padding is never an I/O of its own.
    let padding =
        Request::new(Kind::Write, Class::AsyncWrite, 0, 1, Flags::OPTIONAL | Flags::NODATA);
    assert_eq!(queue.try_bypass(padding.expect("valid"), 'e', 0), Err('e'));
}

#[test]
fn times_are_summed() {
    let mut queue = Queue::new(Config::seed()).expect("valid");
    queue.enqueue(at(Class::SyncRead, 0), (), 100);
    let Some(Issue::Io(io)) = queue.poll_issue(130) else { panic!("idle device") };
    assert_eq!(io.ticket.issued_ns(), 130);
    assert_eq!(io.members[0].enqueued_ns, 100);
    queue.complete(io.ticket, 1000);
    let stats = queue.stats(Class::SyncRead);
    assert_eq!((stats.wait_ns_total, stats.service_ns_total), (30, 870));
}

#[test]
fn a_clock_that_runs_backwards_is_held() {
    let mut queue = Queue::new(Config::default()).expect("valid");
    queue.enqueue(at(Class::SyncRead, 0), (), 1000);
    queue.enqueue(at(Class::SyncRead, 0), (), 10);
    let Some(Issue::Io(io)) = queue.poll_issue(0) else { panic!("idle device") };
    queue.complete(io.ticket, 0);
    let Some(Issue::Io(io)) = queue.poll_issue(0) else { panic!("idle device") };
    assert_eq!(io.members[0].enqueued_ns, 1000);
    assert_eq!(queue.stats(Class::SyncRead).service_ns_total, 0);
}

#[test]
fn bad_requests_are_refused() {
    let error = |kind, class, offset, len, flags| {
        Request::new(kind, class, offset, len, flags).expect_err("refused")
    };
    let none = Flags::empty();
    assert!(matches!(error(Kind::Read, Class::Scrub, 7, 0, none), RequestError::Empty { .. }));
    let past_end = error(Kind::Write, Class::SyncWrite, u64::MAX, 1, none);
    assert!(matches!(past_end, RequestError::PastEnd { .. }));
    assert!(Request::read(Class::SyncRead, u64::MAX - 1, 1).is_ok());
    let misfit = error(Kind::Write, Class::Scrub, 0, 1, none);
    let expected = RequestError::ClassMisfit {
        kind: Kind::Write,
        class: Class::Scrub,
        nearest: Class::AsyncWrite,
    };
    assert_eq!(misfit, expected);
    let nodata = error(Kind::Read, Class::Scrub, 0, 1, Flags::NODATA);
    assert!(matches!(nodata, RequestError::NodataNotWrite { .. }));
}

/// The ends of the offset space neither overflow nor lose a request.
#[test]
fn requests_at_the_edge_of_the_offset_space() {
    for config in [Config::seed(), Config::default()] {
        let mut queue = Queue::new(config).expect("valid");
        let mut tickets = Vec::new();
        for (offset, len) in
            [(u64::MAX - 1, 1), (0, u64::MAX), (u64::MAX - 3, 1), (0, 1), (u64::MAX - 2, 2)]
        {
            queue.enqueue(
                Request::read(Class::AsyncRead, offset, len).expect("valid"),
                (),
                u64::MAX,
            );
        }
        let mut members = 0;
        while let Some(issue) = queue.poll_issue(u64::MAX) {
            let io = issue.io().expect("reads are never unneeded");
            members += io.members.len();
            tickets.push(io.ticket);
            for ticket in tickets.drain(..) {
                queue.complete(ticket, u64::MAX);
            }
        }
        assert_eq!(members, 5);
    }
}

#[test]
fn broken_settings_are_named() {
    let refusal = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        let mut queue = Queue::<()>::new(Config::seed()).expect("valid");
        let error = queue.set_config(config).expect_err("refused");
        assert_eq!(*queue.config(), Config::seed(), "the old settings stay");
        error
    };
    let limits = |change: fn(&mut AggregationLimits)| {
        let mut limits = AggregationLimits::SHIPPED;
        change(&mut limits);
        let config = Config { aggregation: Aggregation::On(limits), ..Config::default() };
        config.validate().expect_err("refused")
    };
    let scrub = Class::Scrub;
    assert_eq!(refusal(|c| c.active_max = 0), ConfigError::NothingActive);
    assert_eq!(
        refusal(|c| c.classes[Class::Scrub].active_max = 0),
        ConfigError::ClassNeverActive { class: scrub }
    );
    assert_eq!(
        refusal(|c| c.classes[Class::Scrub].active_min = 4),
        ConfigError::MinAboveMax { class: scrub, active_min: 4, active_max: 3 }
    );
    assert_eq!(
        refusal(|c| c.classes[Class::Scrub].active_min = 0),
        ConfigError::BackgroundMinZero { class: scrub }
    );
    assert_eq!(
        refusal(|c| c.classes[Class::Scrub].deadline_ns = Some(0)),
        ConfigError::DeadlineZero { class: scrub }
    );
    assert_eq!(
        refusal(|c| c.classes[Class::AsyncWrite].active_min = 0),
        ConfigError::AsyncWriteMinZero
    );
    assert_eq!(
        refusal(|c| {
            c.min_pass = MinPass::BestFirst;
            c.active_max = 27;
        }),
        ConfigError::MinsAboveDevice { sum: 28, active_max: 27 }
    );
    assert_eq!(
        refusal(|c| c.dirty_curve = Some(DirtyCurve { low_percent: 60, high_percent: 60 })),
        ConfigError::DirtyCurve { low_percent: 60, high_percent: 60 }
    );
    assert_eq!(
        refusal(|c| c.background = Some(BackgroundRules { delay: 1, credit: 0, budget: None })),
        ConfigError::BackgroundCreditZero
    );
    assert_eq!(
        refusal(|c| c.depth = Depth::Measured(DepthRules { min: 11, ..DepthRules::SHIPPED })),
        ConfigError::Depth { min: 11, start: 10 }
    );
    assert_eq!(
        refusal(|c| c.elevator.batch_ns_log2 = Some(64)),
        ConfigError::BatchTooLong { batch_ns_log2: 64 }
    );
    assert_eq!(limits(|l| l.members_max = 1), ConfigError::MembersTooFew { members_max: 1 });
    assert_eq!(
        limits(|l| l.read_gap_bytes_max = l.len_bytes_max),
        ConfigError::GapAboveLength { gap_bytes_max: 128 * 1024, len_bytes_max: 128 * 1024 }
    );
    for config in [Config::seed(), Config::default(), Config::bypass(1)] {
        config.validate().expect("shipped settings");
    }
}

#[test]
fn load_is_remembered_across_settings() {
    let mut queue = Queue::<()>::new(Config::seed()).expect("valid");
    queue.set_load(Load { dirty_bytes: 0, dirty_bytes_max: 100, sync_task_pending: false });
    let mut config = Config::seed();
    config.classes[Class::AsyncWrite].active_min = 3;
    queue.set_config(config).expect("valid");
    assert_eq!(queue.active_max(Class::AsyncWrite), 3);
}
