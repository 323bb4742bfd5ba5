//! The models of time are what they say, by the virtual clock.

use std::sync::Arc;

use vdev_sim::{Client, DiskConfig, Machine, OpKind, Rng};
use zio_core::Vdev;

/// I/Os per second of virtual time, at a depth, and the mean latency in ns.
fn load(config: DiskConfig, depth: usize, len: usize, sequential: bool) -> (u64, u64) {
    const IOS: u64 = 2000;
    let machine = Machine::new(7);
    let blocks = config.size_bytes / len as u64;
    let disk = machine.disk(config);
    let client = Client::new(Arc::clone(&disk) as Arc<dyn Vdev>);
    let mut rng = Rng::new(1);
    for i in 0..IOS {
        let block = if sequential { i } else { rng.below(blocks) };
        client.start_read(block * len as u64, &[len]);
        machine.run_until(|| disk.in_flight() < depth);
    }
    machine.run_until_idle();
    let log = disk.log();
    assert!(log.iter().all(|e| e.op == OpKind::Read && e.answer.is_some()));
    let total: u64 = log.iter().map(|e| e.answer.unwrap().end_ns - e.start_ns).sum();
    (IOS * 1_000_000_000 / machine.now_ns(), total / IOS)
}

#[test]
fn a_hard_disk_seeks_and_gains_by_choosing() {
    let disk = || DiskConfig::hdd(4 << 40);
    let (alone, latency_ns) = load(disk(), 1, 8192, false);
    assert!((60..110).contains(&alone), "{alone} random reads per second");
    assert!((9_000_000..16_000_000).contains(&latency_ns), "{latency_ns} ns");
    let (deep, _) = load(disk(), 32, 8192, false);
    assert!(deep > alone * 3 / 2, "{deep} per second at depth 32, {alone} at 1");
    let (blind, _) = load(DiskConfig { queue_depth: 1, ..disk() }, 32, 8192, false);
    assert!(blind < alone * 6 / 5, "{blind} per second without a choice, {alone} at depth 1");
    let (stream, _) = load(disk(), 1, 131_072, true);
    let mb_per_s = stream * 131_072 / 1_000_000;
    assert!((180..205).contains(&mb_per_s), "{mb_per_s} MB/s in sequence");
}

#[test]
fn flash_is_fast_at_once_and_faster_in_parallel() {
    let (alone, latency_ns) = load(DiskConfig::nvme(1 << 40), 1, 8192, false);
    assert!((65_000..80_000).contains(&latency_ns), "{latency_ns} ns");
    let (deep, _) = load(DiskConfig::nvme(1 << 40), 32, 8192, false);
    assert!(deep > 25 * alone, "{deep} at depth 32, {alone} at 1");
    let (sata, _) = load(DiskConfig::sata_ssd(1 << 40), 32, 8192, false);
    assert!((50_000..70_000).contains(&sata), "{sata} per second over 540 MB/s");
}

#[test]
fn a_cloud_volume_has_a_ceiling() {
    let (alone, latency_ns) = load(DiskConfig::cloud_volume(1 << 40), 1, 8192, false);
    assert!((12_000..15_500).contains(&alone), "{alone} per second at depth 1");
    assert!((62_000..80_000).contains(&latency_ns), "{latency_ns} ns");
    for depth in [32, 128] {
        let (deep, _) = load(DiskConfig::cloud_volume(1 << 40), depth, 8192, false);
        assert!((50_000..=61_500).contains(&deep), "{deep} per second at depth {depth}");
    }
}

#[test]
fn fixed_latency_is_exact() {
    let (per_second, latency_ns) = load(DiskConfig::fixed(1 << 30, 20_000), 10, 4096, false);
    assert_eq!((per_second, latency_ns), (500_000, 20_000));
}
