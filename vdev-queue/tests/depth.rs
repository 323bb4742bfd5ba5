//! The depth that is measured, on simulated devices in virtual time: a hard disk, a SATA and an
//! NVMe drive, and a network volume. Nothing is tuned for any of them.

#![cfg(not(loom))]

mod bed;

use bed::{Bed, Stream};
use vdev_queue::{Class, Config, Depth, DepthRules};
use vdev_sim::DiskConfig;

/// All classes alike, so that nothing but the device's depth decides.
fn fixed(depth: u32) -> Config {
    let mut config = Config { active_max: depth, depth: Depth::Fixed, ..Config::default() };
    for class in Class::ALL {
        config.classes[class].active_min = 1;
        config.classes[class].active_max = depth;
        config.classes[class].deadline_ns = None;
    }
    config
}

/// I/Os per second, and the depth that the queue has arrived at.
fn rate(device: &DiskConfig, config: Config, stream: Stream, requests: u64) -> (f64, u32) {
    let mut bed = Bed::new(1, device.clone(), config);
    let (_, ns) = bed.run(&[stream], requests / 20, requests);
    (requests as f64 * 1e9 / ns as f64, bed.queue.depth())
}

/// The measured depth, from its first I/O on, is as good as the best fixed one, and not much
/// above the smallest that is nearly as good.
fn as_good_as_the_best_fixed(device: &DiskConfig, class: Class, len_bytes: u64, requests: u64) {
    let stream = Stream { class, outstanding: 300, len_bytes };
    // Writes are as fast without; the simulation is faster.
    let device = &DiskConfig { cache_bytes_max: 0, ..device.clone() };
    let ladder = [2, 4, 8, 16, 32, 64, 256];
    let fixed = ladder.map(|depth| (depth, rate(device, fixed(depth), stream, requests).0));
    let best = fixed.iter().map(|&(_, rate)| rate).fold(0.0, f64::max);
    let (knee, _) = fixed.into_iter().find(|&(_, rate)| rate >= 0.95 * best).expect("the best");

    let (measured, depth) = rate(device, Config::default(), stream, requests);
    assert!(
        measured >= 0.95 * best,
        "{class:?}: {measured:.0} per second, best fixed depth {best:.0} ({fixed:?})"
    );
    // On a hard disk each little bit helps, and the limit is the time that an I/O may take.
    let in_a_quarter_second = (measured * 1.1 / 4.0) as u32;
    let bound = (4 * knee).max(in_a_quarter_second.min(64));
    assert!(depth <= bound, "{class:?}: depth {depth}, and {knee} would do");
}

#[test]
fn a_hard_disk_finds_its_depth() {
    let device = DiskConfig::hdd(4 << 40);
    as_good_as_the_best_fixed(&device, Class::SyncRead, 8 << 10, 20_000);
    as_good_as_the_best_fixed(&device, Class::AsyncWrite, 4 << 10, 20_000);
    as_good_as_the_best_fixed(&device, Class::Scrub, 128 << 10, 15_000);
}

#[test]
fn a_sata_drive_finds_its_depth() {
    let device = DiskConfig::sata_ssd(1 << 40);
    as_good_as_the_best_fixed(&device, Class::SyncRead, 8 << 10, 20_000);
    as_good_as_the_best_fixed(&device, Class::AsyncWrite, 4 << 10, 20_000);
    as_good_as_the_best_fixed(&device, Class::Scrub, 128 << 10, 15_000);
}

#[test]
fn an_nvme_drive_finds_its_depth() {
    let device = DiskConfig::nvme(1 << 40);
    as_good_as_the_best_fixed(&device, Class::SyncRead, 8 << 10, 50_000);
    as_good_as_the_best_fixed(&device, Class::AsyncWrite, 4 << 10, 20_000);
    as_good_as_the_best_fixed(&device, Class::Scrub, 128 << 10, 15_000);
}

#[test]
fn a_network_volume_finds_its_depth() {
    let device = DiskConfig::cloud_volume(1 << 40);
    as_good_as_the_best_fixed(&device, Class::SyncRead, 8 << 10, 20_000);
    as_good_as_the_best_fixed(&device, Class::AsyncWrite, 4 << 10, 20_000);
    as_good_as_the_best_fixed(&device, Class::Scrub, 128 << 10, 15_000);
}

/// A load too small to fill the depth that is tried next is no reason to stay where nothing can
/// be measured: 16 readers are more than a network volume needs.
#[test]
fn a_small_load_still_finds_a_small_depth() {
    let device = DiskConfig::cloud_volume(1 << 40);
    let stream = Stream { class: Class::SyncRead, outstanding: 16, len_bytes: 8192 };
    let (measured, depth) = rate(&device, Config::default(), stream, 40_000);
    assert!((4..=12).contains(&depth), "{depth}");
    let (best, _) = rate(&device, fixed(16), stream, 10_000);
    assert!(measured >= 0.95 * best, "{measured:.0} of {best:.0}");
}

/// What one load needed is not kept for the next.
#[test]
fn the_depth_follows_the_load() {
    let mut bed = Bed::new(3, DiskConfig::nvme(1 << 40), Config::default());
    let small = Stream { class: Class::SyncRead, outstanding: 300, len_bytes: 8 << 10 };
    let large = Stream { len_bytes: 128 << 10, ..small };
    bed.run(&[small], 0, 50_000);
    let deep = bed.queue.depth();
    bed.drain();
    bed.run(&[large], 0, 50_000);
    let shallow = bed.queue.depth();
    bed.drain();
    bed.run(&[small], 0, 50_000);
    let deep_again = bed.queue.depth();
    assert!(deep >= 50 && deep_again >= 50, "{deep} and {deep_again} for 64 channels");
    assert!(shallow <= 16, "{shallow} where the link takes one in 20 µs");
}

/// Without pressure there is nothing to learn, and the device's depth stays what it is.
#[test]
fn an_idle_device_learns_nothing() {
    let mut bed = Bed::new(4, DiskConfig::nvme(1 << 40), Config::default());
    let few = Stream { class: Class::SyncRead, outstanding: 4, len_bytes: 8192 };
    bed.run(&[few], 0, 20_000);
    assert_eq!(bed.queue.depth(), 10);
}

#[test]
fn the_depth_keeps_to_its_limits() {
    let stream = Stream { class: Class::SyncRead, outstanding: 300, len_bytes: 8192 };
    let nvme = DiskConfig::nvme(1 << 40);
    let capped = Config { active_max: 20, ..Config::default() };
    let mut bed = Bed::new(5, nvme, capped.clone());
    bed.run(&[stream], 0, 20_000);
    assert!(bed.active_max_seen <= 20, "{} at the device", bed.active_max_seen);
    assert!(bed.queue.depth() >= 18, "{}", bed.queue.depth());
    // Lowered under load: from the next choice on.
    let lower = Config { active_max: 12, ..capped };
    bed.queue.set_config(lower).expect("valid");
    assert!(bed.queue.depth() <= 12);
    bed.drain();
    bed.active_max_seen = 0;
    bed.run(&[stream], 0, 5_000);
    assert!(bed.active_max_seen <= 12, "{} at the device", bed.active_max_seen);

    let rules = DepthRules { min: 7, ..DepthRules::SHIPPED };
    let floor = Config { depth: Depth::Measured(rules), ..Config::default() };
    let large = Stream { len_bytes: 128 << 10, ..stream };
    let (_, depth) = rate(&DiskConfig::sata_ssd(1 << 40), floor, large, 20_000);
    assert_eq!(depth, 7, "one would do");
}
