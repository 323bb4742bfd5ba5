//! The scheduler: one thing at a time, drawn from the seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vdev_sim::{Client, DiskConfig, Effect, Fault, Machine, OpKind, explore};
use zio_core::{Reactor, Vdev, VdevErrorKind, VdevOp, Wait};

/// The words of a panic.
fn panic_of(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("it should have panicked");
    match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(_) => panic!("a panic without words"),
    }
}

#[test]
fn the_clock_moves_only_to_what_happens() {
    let machine = Machine::new(1);
    let disk = machine.disk(DiskConfig::fixed(1 << 20, 5000));
    let client = Client::new(disk);
    assert_eq!(machine.now_ns(), 0);
    client.write(0, &[1; 512]).unwrap();
    assert_eq!(machine.now_ns(), 5000);
    client.read(0, 512).unwrap();
    assert_eq!(machine.now_ns(), 10_000);
    assert_eq!(machine.steps(), 2);
}

#[test]
fn a_turn_lets_one_thing_happen() {
    let machine = Machine::new(1);
    let client = Client::new(machine.disk(DiskConfig::fixed(1 << 20, 100)));
    assert_eq!(machine.turn(Wait::Poll), 0);
    for i in 0..5 {
        client.start_read(i * 512, &[512]);
    }
    for left in (0..5).rev() {
        assert_eq!(machine.turn(Wait::Block), 1);
        assert_eq!(machine.in_flight(), left);
    }
    assert_eq!(machine.turn(Wait::Poll), 0);
    assert_eq!(client.answers(), 5);
}

#[test]
fn a_deadlock_panics_with_the_seed() {
    let machine = Machine::new(4711);
    let disk = machine.disk(DiskConfig::fixed(1 << 20, 100));
    let client = Client::new(Arc::clone(&disk) as Arc<dyn Vdev>);
    disk.hold();
    client.start_read(0, &[512]);
    let words = panic_of(|| {
        machine.turn(Wait::Block);
    });
    assert!(words.contains("stuck") && words.contains("seed 4711"), "{words}");
    assert!(words.contains("1 I/Os are held"), "{words}");
    // Nothing is broken by that.
    disk.release();
    assert_eq!(machine.turn(Wait::Block), 1);
    assert_eq!(client.answers(), 1);
}

#[test]
fn a_wake_lets_one_blocking_turn_return() {
    let machine = Machine::new(1);
    machine.wake();
    assert_eq!(machine.turn(Wait::Poll), 0, "polling does not use the wake up");
    assert_eq!(machine.turn(Wait::Block), 0);
    panic_of(|| {
        machine.turn(Wait::Block);
    });
}

#[test]
fn a_livelock_ends() {
    let machine = Machine::new(99);
    machine.set_steps_max(1000);
    fn again(machine: Machine) {
        let next = machine.clone();
        machine.after(10, move || again(next));
    }
    again(machine.clone());
    let words = panic_of(|| {
        machine.run_until_idle();
    });
    assert!(words.contains("1000 steps") && words.contains("seed 99"), "{words}");
}

#[test]
fn timers_fire_in_time_and_run_for_stops_the_clock() {
    let machine = Machine::new(1);
    let fired = Arc::new(AtomicU64::new(0));
    for delay_ns in [300, 100, 200] {
        let (fired, at) = (Arc::clone(&fired), machine.clone());
        machine.after(delay_ns, move || {
            assert_eq!(at.now_ns(), delay_ns);
            fired.fetch_add(1, Ordering::Relaxed);
        });
    }
    assert_eq!(machine.run_for(250), 2);
    assert_eq!((fired.load(Ordering::Relaxed), machine.now_ns()), (2, 250));
    assert!(machine.run_until(|| fired.load(Ordering::Relaxed) == 3));
    assert!(!machine.run_until(|| fired.load(Ordering::Relaxed) == 4));
    assert_eq!(machine.now_ns(), 300);
}

#[test]
fn all_disks_of_a_machine_share_one_reactor() {
    let machine = Machine::new(1);
    let disks = [1, 2].map(|i| machine.disk(DiskConfig::fixed(i << 20, 1)));
    let reactors = disks.each_ref().map(|d| d.reactor().unwrap());
    assert!(Arc::ptr_eq(&reactors[0], &reactors[1]));
    assert!(Arc::ptr_eq(&reactors[0], &machine.reactor()));
}

/// A workload with every kind of chance in it; returns all that was seen.
fn history(seed: u64) -> String {
    let machine = Machine::new(seed);
    let config = DiskConfig {
        faults: vdev_sim::FaultProfile::lying(30),
        inline_permille: 100,
        ..DiskConfig::hdd(1 << 24)
    };
    let disk = machine.disk(config);
    disk.inject(Fault::new(Effect::Stall).on(OpKind::Read).skip(5));
    let client = Client::new(Arc::clone(&disk) as Arc<dyn Vdev>);
    for round in 0..20u64 {
        for i in 0..20 {
            client.start_write((round * 37 + i * 11) % 4096 * 4096, &[(round + i) as u8; 4096]);
            client.start_read((round * 17 + i * 29) % 4096 * 4096, &[4096]);
        }
        client.start(VdevOp::Flush, 0);
        machine.run_for(20_000_000);
    }
    machine.power_cut();
    disk.release();
    machine.run_until_idle();
    let digest = disk
        .peek(0, 1 << 24)
        .chunks(8)
        .fold(0u64, |sum, word| sum.rotate_left(5) ^ u64::from_le_bytes(word.try_into().unwrap()));
    format!("{:?} {digest:x} {:?} {}", disk.log(), disk.counters(), machine.now_ns())
}

#[test]
fn the_same_seed_gives_the_same_history_bit_for_bit() {
    for seed in 0..5 {
        assert_eq!(history(seed), history(seed));
    }
}

#[test]
fn different_seeds_give_different_histories() {
    let histories: std::collections::BTreeSet<_> = (0..20).map(history).collect();
    assert_eq!(histories.len(), 20);
}

#[test]
fn a_dropped_disk_answers_what_it_had_as_lost() {
    let machine = Machine::new(1);
    let client = Client::new(machine.disk(DiskConfig::fixed(1 << 20, 100)));
    let (ticket, other) = (client.start_read(0, &[512]), client.start_read(512, &[512]));
    assert_eq!(machine.in_flight(), 2);
    client.drop_vdev().wait_all(&[ticket, other]).unwrap();
    assert_eq!(machine.in_flight(), 0);
    assert_eq!(machine.run_until_idle(), 0);
}

#[test]
fn explore_runs_every_seed_and_lets_the_panic_through() {
    let seen = parking_lot::Mutex::new(Vec::new());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        explore(3..9, |machine| {
            seen.lock().push(machine.seed());
            assert!(machine.seed() < 6, "as ordered");
        });
    }));
    assert!(panicked.is_err());
    assert_eq!(*seen.lock(), [3, 4, 5, 6]);
}

#[test]
fn hundreds_of_seeds_reach_many_orders_of_answers() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let machine = Machine::new(seed);
        let client = Client::new(machine.disk(DiskConfig::fixed(1 << 20, 100)));
        let tickets: Vec<_> = (0..4).map(|i| client.start_read(i * 512, &[512])).collect();
        let mut order = Vec::new();
        while machine.turn(Wait::Poll) > 0 {
            let known = tickets.iter().position(|&t| client.poll(t).is_some());
            order.extend(known);
        }
        orders.insert(order);
    }
    assert_eq!(orders.len(), 24, "all permutations of four answers due at the same moment");
}

#[test]
fn an_unplugged_disk_says_gone_and_comes_back() {
    let machine = Machine::new(3);
    let disk = machine.disk(DiskConfig::fixed(1 << 20, 100));
    let client = Client::new(Arc::clone(&disk) as Arc<dyn Vdev>);
    client.write(0, &[5; 512]).unwrap();
    disk.hold();
    let held = client.start_read(0, &[512]);
    machine.run_until_idle();
    disk.offline();
    assert!(!disk.is_online());
    let refused = client.read(0, 512).unwrap_err();
    assert_eq!(refused.kind(), VdevErrorKind::Gone);
    let done = client.wait(held).unwrap();
    assert_eq!(done.result.unwrap_err().kind(), VdevErrorKind::Gone);
    disk.online();
    disk.release();
    assert_eq!(client.read(0, 512).unwrap(), [5; 512], "an unplugged disk keeps its cache");
}

#[test]
fn an_answer_that_was_overtaken_does_not_answer_the_next_io() {
    let machine = Machine::new(1);
    let disk = machine.disk(DiskConfig::fixed(1 << 20, 1000));
    let client = Client::new(Arc::clone(&disk) as Arc<dyn Vdev>);
    let before = client.start_read(0, &[512]);
    machine.run_for(600);
    disk.offline();
    assert!(client.wait(before).unwrap().result.is_err());
    disk.online();
    // The slot of the first one is free again, and its event still to come.
    client.read(0, 512).unwrap();
    let ends: Vec<_> = disk.log().iter().map(|e| e.answer.unwrap().end_ns).collect();
    assert_eq!(ends, [600, 1600]);
}
