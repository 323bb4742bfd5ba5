//! A scrub beside people, on simulated devices in virtual time: they hardly notice it, it always
//! gets on, and alone it has the device.

#![cfg(not(loom))]

mod bed;

use bed::{Bed, Stream};
use vdev_queue::{Class, Config, Depth};
use vdev_sim::DiskConfig;

const READERS: Stream = Stream { class: Class::SyncRead, outstanding: 4, len_bytes: 8 << 10 };
const SCRUB: Stream = Stream { class: Class::Scrub, outstanding: 100, len_bytes: 128 << 10 };

fn devices() -> [(&'static str, DiskConfig, u64); 4] {
    [
        ("hard disk", DiskConfig::hdd(4 << 40), 6_000),
        ("SATA", DiskConfig::sata_ssd(1 << 40), 20_000),
        ("NVMe", DiskConfig::nvme(1 << 40), 20_000),
        ("network volume", DiskConfig::cloud_volume(1 << 40), 20_000),
    ]
}

fn p99_ns(latencies_ns: &[u64]) -> u64 {
    let mut sorted = latencies_ns.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) * 99 / 100]
}

/// A reader's 99th percentile at most doubles, and the scrub goes on all the while. Its I/Os are
/// small here: one of 128 KiB takes the link of a SATA drive for twice as long as a read.
#[test]
fn readers_hardly_notice_a_scrub() {
    for (name, device, requests) in devices() {
        let mut alone = Bed::new(1, device.clone(), Config::default());
        let (outcomes, _) = alone.run(&[READERS], 200, requests);
        let alone_ns = p99_ns(&outcomes[0].latencies_ns);
        let mut both = Bed::new(1, device, Config::default());
        let scrub = Stream { len_bytes: 16 << 10, ..SCRUB };
        let (outcomes, _) = both.run(&[READERS, scrub], 200, requests);
        let beside_ns = p99_ns(&outcomes[0].latencies_ns);
        assert!(beside_ns <= 2 * alone_ns, "{name}: p99 {beside_ns} ns, {alone_ns} ns alone");
        let (reads, scrubbed) = (outcomes[0].ended, outcomes[1].ended);
        assert!(scrubbed * 20 >= reads, "{name}: {scrubbed} scrubbed beside {reads} reads");
    }
}

/// Readers who want more than the device has leave the scrub its minimum.
#[test]
fn a_flood_of_readers_does_not_stop_a_scrub() {
    for (name, device, requests) in devices() {
        let flood = Stream { outstanding: 200, ..READERS };
        let mut bed = Bed::new(2, device, Config::default());
        let (outcomes, _) = bed.run(&[flood, SCRUB], 200, requests);
        let (reads, scrubbed) = (outcomes[0].ended, outcomes[1].ended);
        assert!(scrubbed * 100 >= reads, "{name}: {scrubbed} scrubbed beside {reads} reads");
        bed.drain();
        assert!(bed.queue.is_empty());
    }
}

/// Nobody else is there: at least nine tenths of what the device can do for it.
#[test]
fn a_scrub_alone_has_the_device() {
    for (name, device, requests) in devices() {
        let rate = |config| {
            let mut bed = Bed::new(3, device.clone(), config);
            let (_, ns) = bed.run(&[SCRUB], requests / 4, requests);
            requests as f64 * 1e9 / ns as f64
        };
        let mut unlimited =
            Config { background: None, active_max: 32, depth: Depth::Fixed, ..Config::default() };
        unlimited.classes[Class::Scrub].active_max = 32;
        let (ours, best) = (rate(Config::default()), rate(unlimited));
        assert!(ours >= 0.9 * best, "{name}: {ours:.0} per second of {best:.0}");
    }
}
