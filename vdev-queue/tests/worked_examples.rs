//! The worked examples of spec 4.6 and the table of 4.3, in seed settings.

use vdev_queue::{Class, Config, DeviceIo, Flags, Issue, Kind, Load, Queue, Request, Segment};

const KIB: u64 = 1024;
const GIB: u64 = 1024 * 1024 * KIB;
const PADDING: Flags = Flags::OPTIONAL.union(Flags::NODATA);

fn seed_queue() -> Queue<()> {
    Queue::new(Config::seed()).expect("valid")
}

fn request(kind: Kind, class: Class, start_kib: u64, len_kib: u64, flags: Flags) -> Request {
    Request::new(kind, class, start_kib * KIB, len_kib * KIB, flags).expect("valid")
}

fn async_read(start_kib: u64, len_kib: u64) -> Request {
    request(Kind::Read, Class::AsyncRead, start_kib, len_kib, Flags::empty())
}

fn async_write(start_kib: u64, len_kib: u64) -> Request {
    request(Kind::Write, Class::AsyncWrite, start_kib, len_kib, Flags::empty())
}

fn padding(start_kib: u64, len_kib: u64) -> Request {
    request(Kind::Write, Class::AsyncWrite, start_kib, len_kib, PADDING)
}

/// Issues one at a time, each completed before the next, as (start, end) in KiB.
fn issue_serially(queue: &mut Queue<()>) -> Vec<(u64, u64)> {
    let mut issued = Vec::new();
    while let Some(issue) = queue.poll_issue(0) {
        if let Issue::Io(io) = issue {
            issued.push(range_kib(&io));
            queue.complete(io.ticket, 0);
        }
    }
    issued
}

fn range_kib(io: &DeviceIo<()>) -> (u64, u64) {
    (io.offset_bytes / KIB, (io.offset_bytes + io.len_bytes) / KIB)
}

fn next_io(queue: &mut Queue<()>) -> DeviceIo<()> {
    queue.poll_issue(0).and_then(Issue::io).expect("an I/O to issue")
}

/// Puts the elevator at `start_kib` by an I/O of one KiB.
fn move_head(queue: &mut Queue<()>, start_kib: u64) {
    queue.enqueue(request(Kind::Read, Class::SyncRead, start_kib, 1, Flags::empty()), (), 0);
    let io = next_io(queue);
    queue.complete(io.ticket, 0);
}

#[test]
fn example_1_minimums_before_maximums() {
    let mut queue = seed_queue();
    queue.set_load(Load { dirty_bytes: 20, dirty_bytes_max: 100, sync_task_pending: false });
    let classes =
        [Class::SyncRead, Class::SyncWrite, Class::AsyncRead, Class::AsyncWrite, Class::Scrub];
    let enqueue = |queue: &mut Queue<()>, class: Class, count: u64| {
        let kind = if class.fit(Kind::Read) == class { Kind::Read } else { Kind::Write };
        for number in 0..count {
            // Far from each other: nothing to merge.
            let start_kib = (class as u64 * 100 + number) * 1000;
            queue.enqueue(request(kind, class, start_kib, 4, Flags::empty()), (), 0);
        }
    };
    for (class, active) in classes.into_iter().zip([10, 4, 0, 1, 0]) {
        enqueue(&mut queue, class, active);
    }
    let mut at_device = Vec::new();
    while let Some(io) = queue.poll_issue(0).and_then(Issue::io) {
        at_device.push(io.ticket);
    }
    assert_eq!(at_device.len(), 15);

    for (class, queued) in classes.into_iter().zip([5, 0, 2, 3, 1]) {
        enqueue(&mut queue, class, queued);
    }
    let mut order = Vec::new();
    while let Some(io) = queue.poll_issue(0).and_then(Issue::io) {
        order.push(io.ticket.class());
        at_device.push(io.ticket);
    }
    assert_eq!(order, [Class::AsyncRead, Class::Scrub, Class::AsyncRead]);
    assert_eq!(queue.stats(Class::SyncRead).queued, 5);
    assert_eq!(queue.stats(Class::AsyncWrite).queued, 3);
}

#[test]
fn example_2_the_elevator_wraps() {
    let mut queue = seed_queue();
    move_head(&mut queue, 300);
    for start_kib in [100, 300, 500] {
        queue.enqueue(async_read(start_kib, 4), (), 0);
    }
    assert_eq!(issue_serially(&mut queue), [(500, 504), (100, 104), (300, 304)]);
}

#[test]
fn example_2_from_the_end_of_the_last() {
    let mut config = Config::seed();
    config.elevator.head = vdev_queue::HeadPosition::EndOfLast;
    let mut queue = Queue::new(config).expect("valid");
    move_head(&mut queue, 299);
    for start_kib in [100, 300, 500] {
        queue.enqueue(async_read(start_kib, 4), (), 0);
    }
    assert_eq!(issue_serially(&mut queue), [(300, 304), (500, 504), (100, 104)]);
}

#[test]
fn example_3_reads_bridge_gaps_of_32_kib() {
    let mut queue = seed_queue();
    for start_kib in [0, 16, 56, 96, 136] {
        queue.enqueue(async_read(start_kib, 8), (), 0);
    }
    let io = next_io(&mut queue);
    assert_eq!(range_kib(&io), (0, 104));
    assert_eq!(io.members.len(), 4);
    let pieces: Vec<(bool, u64)> = io
        .segments()
        .map(|segment| match segment {
            Segment::Data(member) => (true, member.request.len_bytes() / KIB),
            Segment::Gap { len_bytes, .. } => (false, len_bytes / KIB),
            Segment::Zeros(_) => panic!("nothing was padded"),
        })
        .collect();
    let (data, gap) = (true, false);
    assert_eq!(
        pieces,
        [(data, 8), (gap, 8), (data, 8), (gap, 32), (data, 8), (gap, 32), (data, 8)]
    );
    assert_eq!(range_kib(&next_io(&mut queue)), (136, 144));
}

#[test]
fn example_3_a_gap_of_33_kib_is_not_bridged() {
    let mut queue = seed_queue();
    queue.enqueue(async_read(0, 8), (), 0);
    queue.enqueue(async_read(41, 8), (), 0);
    assert_eq!(issue_serially(&mut queue), [(41, 49), (0, 8)]);
    queue.enqueue(async_read(0, 8), (), 0);
    queue.enqueue(async_read(40, 8), (), 0);
    assert_eq!(issue_serially(&mut queue), [(0, 48)]);
}

#[test]
fn example_4_writes_merge_only_without_gaps() {
    let mut queue = seed_queue();
    for start_kib in [0, 4, 12] {
        queue.enqueue(async_write(start_kib, 4), (), 0);
    }
    assert_eq!(issue_serially(&mut queue), [(0, 8), (12, 16)]);
}

#[test]
fn example_4_padding_joins_writes() {
    let mut queue = seed_queue();
    for start_kib in [0, 4, 12] {
        queue.enqueue(async_write(start_kib, 4), (), 0);
    }
    queue.enqueue(padding(8, 4), (), 0);
    let io = next_io(&mut queue);
    assert_eq!(range_kib(&io), (0, 16));
    let zeros: Vec<u64> = io
        .segments()
        .filter_map(|segment| match segment {
            Segment::Zeros(member) => Some(member.request.offset_bytes() / KIB),
            Segment::Data(_) | Segment::Gap { .. } => None,
        })
        .collect();
    assert_eq!(zeros, [8]);
    assert!(queue.is_empty());
}

#[test]
fn example_5_a_write_stretches_to_meet_the_next() {
    let mut queue = seed_queue();
    queue.enqueue(async_write(0, 124), (), 0);
    queue.enqueue(padding(124, 4), (), 0);
    queue.enqueue(async_write(128, 4), (), 0);
    assert_eq!(issue_serially(&mut queue), [(0, 128), (128, 132)]);
}

#[test]
fn example_5_two_blocks_of_padding_are_too_many() {
    let mut queue = seed_queue();
    // The elevator is past all of them: it begins anew at the lowest.
    move_head(&mut queue, 1000);
    queue.enqueue(async_write(0, 120), (), 0);
    queue.enqueue(padding(120, 4), (), 0);
    queue.enqueue(padding(124, 4), (), 0);
    queue.enqueue(async_write(128, 4), (), 0);
    // The tail is cut, and then itself picked, with the write behind it as its neighbour.
    assert_eq!(issue_serially(&mut queue), [(0, 120), (120, 132)]);
}

#[test]
fn padding_that_leads_nowhere_is_cut_at_both_ends() {
    let mut queue = seed_queue();
    move_head(&mut queue, 6);
    for start_kib in [0, 12] {
        queue.enqueue(padding(start_kib, 4), (), 0);
    }
    for start_kib in [4, 8] {
        queue.enqueue(async_write(start_kib, 4), (), 0);
    }
    assert_eq!(range_kib(&next_io(&mut queue)), (4, 12));
    assert_eq!(issue_serially(&mut queue), []);
    assert_eq!(queue.stats(Class::AsyncWrite).unneeded_total, 2);
}

/// A full-length write has no room for the padding behind it, but because a write follows that,
/// the padding has to be written with it, also by an I/O that finds it walking backwards.
#[test]
fn a_stretch_obliges_the_next_range_to_begin_with_the_padding() {
    for obliged in [true, false] {
        let mut queue = seed_queue();
        move_head(&mut queue, 1000);
        if obliged {
            queue.enqueue(async_write(0, 128), (), 0);
        }
        queue.enqueue(padding(128, 4), (), 0);
        queue.enqueue(async_write(132, 4), (), 0);
        if obliged {
            let io = next_io(&mut queue);
            assert_eq!(range_kib(&io), (0, 128));
            queue.complete(io.ticket, 0);
        }
        // The elevator lands on the write.
        queue.enqueue(request(Kind::Read, Class::SyncRead, 130, 1, Flags::empty()), (), 0);
        assert_eq!(range_kib(&next_io(&mut queue)), (130, 131));
        let expected = if obliged { (128, 136) } else { (132, 136) };
        assert_eq!(range_kib(&next_io(&mut queue)), expected);
    }
}

#[test]
fn example_6_lonely_padding_needs_no_io() {
    let mut queue = seed_queue();
    move_head(&mut queue, 1000);
    queue.enqueue(padding(0, 4), (), 0);
    queue.enqueue(async_write(900, 4), (), 0);
    let Some(Issue::Unneeded(member)) = queue.poll_issue(0) else {
        panic!("the padding ends first");
    };
    assert_eq!(member.request.offset_bytes(), 0);
    assert_eq!(queue.active(), 0);
    assert_eq!(range_kib(&next_io(&mut queue)), (900, 904));
}

#[test]
fn example_7_the_walk_goes_back_behind_the_elevator() {
    let mut queue = seed_queue();
    move_head(&mut queue, 70);
    for start_kib in [64, 80, 96] {
        queue.enqueue(async_read(start_kib, 16), (), 0);
    }
    let io = next_io(&mut queue);
    assert_eq!(range_kib(&io), (64, 112));
    // The elevator now stands at 64 KiB: of these two, the one at 65 KiB is ahead.
    queue.enqueue(async_read(10, 1), (), 0);
    queue.enqueue(async_read(65, 1), (), 0);
    assert_eq!(range_kib(&next_io(&mut queue)), (65, 66));
}

#[test]
fn example_8_flavours_do_not_mix() {
    let mut queue = seed_queue();
    // The elevator begins with the lowest; were the middle one to leave first, the other two
    // could bridge its place.
    move_head(&mut queue, 1000);
    for (start_kib, flavour) in [(0, 0), (4, 1), (8, 0)] {
        queue.enqueue(async_read(start_kib, 4).with_flavour(flavour), (), 0);
    }
    assert_eq!(issue_serially(&mut queue), [(0, 4), (4, 8), (8, 12)]);
}

#[test]
fn a_second_try_goes_alone() {
    let mut queue = seed_queue();
    for start_kib in [0, 4, 8] {
        queue.enqueue(async_read(start_kib, 4), (), 0);
    }
    let merged = next_io(&mut queue);
    assert_eq!(merged.members.len(), 3);
    // The device failed it: each member tries again by itself.
    queue.complete(merged.ticket, 0);
    for member in merged.members {
        queue.enqueue(member.request.alone(), (), 0);
    }
    assert_eq!(issue_serially(&mut queue).len(), 3);
}

#[test]
fn overlapping_requests_stay_apart() {
    let mut queue = seed_queue();
    queue.enqueue(async_write(0, 8), (), 0);
    queue.enqueue(async_write(4, 8), (), 0);
    queue.enqueue(async_write(4, 8), (), 0);
    assert_eq!(issue_serially(&mut queue).len(), 3);
}

#[test]
fn dirty_data_raises_the_limit_of_async_writes() {
    let mut queue = seed_queue();
    let mut limit = |percent: u64, sync_task_pending| {
        let dirty_bytes = 4 * GIB * percent / 100;
        queue.set_load(Load { dirty_bytes, dirty_bytes_max: 4 * GIB, sync_task_pending });
        queue.active_max(Class::AsyncWrite)
    };
    let table = [
        (0, 1),
        (30, 1),
        (32, 1),
        (35, 2),
        (40, 4),
        (45, 5),
        (50, 7),
        (55, 8),
        (59, 9),
        (61, 10),
        (100, 10),
        (150, 10),
    ];
    for (percent, expected) in table {
        assert_eq!(limit(percent, false), expected, "{percent} % dirty");
    }
    assert_eq!(limit(0, true), 10);

    let mut at = |dirty_bytes| {
        queue.set_load(Load { dirty_bytes, dirty_bytes_max: 4 * GIB, sync_task_pending: false });
        queue.active_max(Class::AsyncWrite)
    };
    let (low, high) = (4 * GIB * 30 / 100, 4 * GIB * 60 / 100);
    assert_eq!([at(low - 1), at(low), at(high - 1), at(high), at(high + 1)], [1, 1, 9, 10, 10]);
    assert_eq!(at(u64::MAX), 10);
}

#[test]
fn an_unknown_load_does_not_throttle() {
    assert_eq!(seed_queue().active_max(Class::AsyncWrite), 10);
}
