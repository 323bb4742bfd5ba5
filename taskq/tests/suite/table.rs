//! Golden figures of the table: how many queues and threads each mode makes (spec 5.2).

use taskq::{Config, Mode, Threads};
use zio_core::task::Place;
use zio_core::{Flags, Priority, QueueKind, Route, ZioType};

const CPUS: [usize; 7] = [4, 8, 16, 32, 64, 128, 256];

fn of(queues: usize, threads: usize) -> Option<Threads> {
    Some(Threads { queues, threads })
}

#[test]
fn scale_is_the_published_table() {
    let expected = [(1, 3), (2, 3), (3, 4), (5, 5), (7, 7), (10, 10), (14, 15)];
    for (cpus, (queues, threads)) in CPUS.into_iter().zip(expected) {
        let mode = Mode::Scale { threads_min: 0 };
        assert_eq!(mode.threads(cpus), of(queues, threads), "{cpus} CPUs");
    }
}

#[test]
fn scale_keeps_its_minimum_on_small_machines() {
    let expected = [(2, 16), (2, 16), (4, 8), (5, 6), (7, 7), (10, 10), (14, 15)];
    for (cpus, (queues, threads)) in CPUS.into_iter().zip(expected) {
        let mode = Mode::Scale { threads_min: 32 };
        assert_eq!(mode.threads(cpus), of(queues, threads), "{cpus} CPUs");
    }
}

#[test]
fn sync_has_a_queue_per_sixteen_threads_and_whole_allocators() {
    for (cpus, allocators, queues, threads) in [
        (8, 2, 1, 6),
        (32, 4, 1, 25),
        (64, 4, 2, 25),
        (128, 4, 4, 25),
        // Six would do, but three divides.
        (128, 3, 3, 34),
        (256, 9, 9, 23),
        (256, 7, 7, 28),
        // Five queues are wanted and allowed; eight allocators divide by four.
        (112, 8, 4, 22),
    ] {
        let mode = Mode::Sync { allocators };
        assert_eq!(mode.threads(cpus), of(queues, threads), "{cpus} CPUs, {allocators}");
    }
}

#[test]
fn percent_rounds_down_to_one_at_least() {
    for (percent, cpus, threads) in [(75, 1, 1), (75, 2, 1), (75, 4, 3), (75, 64, 48), (1, 8, 1)] {
        assert_eq!(Mode::Percent(percent).threads(cpus), of(1, threads));
    }
}

#[test]
fn fixed_is_fixed_and_null_is_none() {
    assert_eq!(Mode::Fixed { threads: 12, queues: 8 }.threads(2), of(8, 12));
    assert_eq!(Mode::Fixed { threads: 0, queues: 0 }.threads(2), of(1, 1));
    assert_eq!(Mode::Null.threads(256), None);
}

#[test]
fn no_mode_fails_on_strange_numbers() {
    for number in [0, 1, 2, 3, 5, 7, 1000, usize::MAX] {
        // The scaled modes search for a divisor or a square, in time that grows with the machine.
        for cpus in [0, 1, 2, 3, 5, 6, 7, 100, 4096] {
            for mode in [
                Mode::Fixed { threads: number, queues: number },
                Mode::Percent(number),
                Mode::Scale { threads_min: number.min(1 << 20) },
                Mode::Sync { allocators: number },
            ] {
                let threads = mode.threads(cpus).unwrap();
                assert!(threads.queues >= 1 && threads.threads >= 1, "{mode:?} on {cpus}");
            }
        }
    }
}

/// One line a cell: type, kind, queues × threads.
fn print(config: &Config) -> String {
    let mut lines = String::new();
    for ty in ZioType::ALL {
        for kind in QueueKind::ALL {
            if let Some(Threads { queues, threads }) = config.threads(ty, kind) {
                lines += &format!("{} {kind:?} {queues}x{threads}\n", ty.name());
            }
        }
    }
    if let Some(Threads { queues, threads }) = config.background_threads() {
        lines += &format!("background {queues}x{threads}\n");
    }
    lines + &format!("total {}\n", config.threads_max())
}

#[test]
fn table_of_a_server() {
    assert_eq!(
        print(&Config::zfs(64)),
        "null Issue 1x1\nnull Interrupt 1x1\n\
         read Issue 1x8\nread Interrupt 7x7\n\
         write Issue 2x25\nwrite Interrupt 7x7\n\
         free Issue 7x7\nfree Interrupt 1x1\n\
         claim Issue 1x1\nclaim Interrupt 1x1\n\
         ioctl Issue 1x1\nioctl Interrupt 1x1\n\
         trim Issue 1x4\ntrim Interrupt 1x1\n\
         background 1x64\ntotal 281\n"
    );
}

#[test]
fn table_of_a_laptop() {
    for (cpus, write, interrupt) in [(0, 1, 1), (1, 1, 1), (2, 1, 1), (4, 3, 2), (8, 6, 4)] {
        assert_eq!(
            print(&Config::small(cpus)),
            format!(
                "null Issue 1x1\nnull Interrupt 1x{interrupt}\nwrite Issue 1x{write}\n\
                 background 1x{}\ntotal {}\n",
                cpus.max(1),
                1 + interrupt + write + cpus.max(1)
            ),
            "{cpus} CPUs"
        );
    }
}

#[test]
fn a_cell_can_be_changed_and_emptied() {
    let config = Config::zfs(8).queue(ZioType::Trim, QueueKind::Issue, Mode::Null).queue(
        ZioType::Claim,
        QueueKind::IssueHigh,
        Mode::Fixed { threads: 2, queues: 1 },
    );
    assert_eq!(config.threads(ZioType::Trim, QueueKind::Issue), None);
    assert_eq!(config.threads(ZioType::Claim, QueueKind::IssueHigh), of(1, 2));
}

#[test]
fn batch_is_three_quarters_of_the_cpus() {
    let expected = [3, 6, 12, 24, 48, 96, 192];
    for (cpus, threads) in CPUS.into_iter().zip(expected) {
        assert_eq!(Mode::Batch.threads(cpus), of(1, threads), "{cpus} CPUs");
    }
    assert_eq!(Mode::Batch.threads(1), of(1, 1));
}

#[test]
fn table_of_2018() {
    assert_eq!(
        print(&Config::zfs_2018(16)),
        "null Issue 1x1\nnull Interrupt 1x1\n\
         read Issue 1x8\nread Interrupt 8x12\n\
         write Issue 1x12\nwrite IssueHigh 1x5\nwrite Interrupt 8x12\nwrite InterruptHigh 1x5\n\
         free Issue 8x12\nfree Interrupt 1x1\n\
         claim Issue 1x1\nclaim Interrupt 1x1\n\
         ioctl Issue 1x1\nioctl Interrupt 1x1\n\
         total 325\n"
    );
}

/// One line for each choice that differs from the one above it in more than the row.
fn choices(config: &Config) -> String {
    let mut lines = String::new();
    for (ty, class, flags) in [
        (ZioType::Read, Priority::SyncRead, Flags::empty()),
        (ZioType::Read, Priority::Scrub, Flags::CANFAIL),
        (ZioType::Read, Priority::Now, Flags::PROBE),
        (ZioType::Write, Priority::AsyncWrite, Flags::empty()),
        (ZioType::Write, Priority::SyncWrite, Flags::empty()),
        (ZioType::Write, Priority::SyncWrite, Flags::CONFIG_WRITER),
        (ZioType::Free, Priority::Now, Flags::empty()),
        (ZioType::Trim, Priority::Trim, Flags::empty()),
    ] {
        for kind in [QueueKind::Issue, QueueKind::Interrupt] {
            let route = Route::of_zio(ty, class, flags, kind, Place::Back);
            let (queue, front) = config.destination(&route).expect("a queue");
            let place = if front { " front" } else { "" };
            lines += &format!("{} {class:?} {flags:?} {kind:?}: {queue}{place}\n", ty.name());
        }
    }
    lines
}

#[test]
fn type_priority_and_flags_choose_the_queue() {
    assert_eq!(
        choices(&Config::zfs(16)),
        "read SyncRead Flags(0x0) Issue: zio-read-iss\n\
         read SyncRead Flags(0x0) Interrupt: zio-read-int\n\
         read Scrub Flags(CANFAIL) Issue: zio-bg\n\
         read Scrub Flags(CANFAIL) Interrupt: zio-bg\n\
         read Now Flags(PROBE) Issue: zio-null-iss\n\
         read Now Flags(PROBE) Interrupt: zio-null-int\n\
         write AsyncWrite Flags(0x0) Issue: zio-write-iss\n\
         write AsyncWrite Flags(0x0) Interrupt: zio-write-int\n\
         write SyncWrite Flags(0x0) Issue: zio-write-iss front\n\
         write SyncWrite Flags(0x0) Interrupt: zio-write-int front\n\
         write SyncWrite Flags(CONFIG_WRITER) Issue: zio-null-iss front\n\
         write SyncWrite Flags(CONFIG_WRITER) Interrupt: zio-null-int front\n\
         free Now Flags(0x0) Issue: zio-free-iss\n\
         free Now Flags(0x0) Interrupt: zio-free-int\n\
         trim Trim Flags(0x0) Issue: zio-bg\n\
         trim Trim Flags(0x0) Interrupt: zio-bg\n"
    );
    assert_eq!(
        choices(&Config::zfs_2018(16)),
        "read SyncRead Flags(0x0) Issue: zio-read-iss\n\
         read SyncRead Flags(0x0) Interrupt: zio-read-int\n\
         read Scrub Flags(CANFAIL) Issue: zio-read-iss\n\
         read Scrub Flags(CANFAIL) Interrupt: zio-read-int\n\
         read Now Flags(PROBE) Issue: zio-null-iss\n\
         read Now Flags(PROBE) Interrupt: zio-null-int\n\
         write AsyncWrite Flags(0x0) Issue: zio-write-iss\n\
         write AsyncWrite Flags(0x0) Interrupt: zio-write-int\n\
         write SyncWrite Flags(0x0) Issue: zio-write-ish\n\
         write SyncWrite Flags(0x0) Interrupt: zio-write-inh\n\
         write SyncWrite Flags(CONFIG_WRITER) Issue: zio-null-iss front\n\
         write SyncWrite Flags(CONFIG_WRITER) Interrupt: zio-null-int front\n\
         free Now Flags(0x0) Issue: zio-free-iss\n\
         free Now Flags(0x0) Interrupt: zio-free-int\n\
         trim Trim Flags(0x0) Issue: zio-null-iss\n\
         trim Trim Flags(0x0) Interrupt: zio-null-int\n"
    );
    assert_eq!(Config::empty(4).destination(&Route::back(ZioType::Read, QueueKind::Issue)), None);
}
