//! The implementors that a pipeline is made of keep the contracts it relies on.

use std::cell::Cell;
use std::sync::Arc;

use metaslab::Metaslabs;
use taskq::{Config, Taskq};
use vdev_disk::{Disk, Memory, OpenOptions};
use vdev_sim::conformance::{self, AllocatorFixture, Fixture, QueueFixture};
use vdev_sim::{DiskConfig, Latency, Machine};
use zio_core::{QueueKind, VdevId, ZioType};

use crate::common::MIB;

fn file(options: OpenOptions) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::open(dir.path().join("disk"), &options.create(8 * MIB)).unwrap();
    Fixture::new(Arc::new(disk)).keep(dir)
}

#[test]
fn a_file_on_a_ring() {
    conformance::run(|| file(OpenOptions::new()));
}

#[test]
fn a_file_on_threads() {
    conformance::run(|| file(OpenOptions::new().threads(4)));
}

#[test]
fn memory() {
    conformance::run(|| Fixture::new(Arc::new(Memory::new(8 * MIB, 512))));
    conformance::run(|| Fixture::new(Arc::new(Memory::new(8 * MIB, 4096))));
    conformance::run(|| Fixture::new(Arc::new(Memory::new(8 * MIB, 512).read_only())));
}

#[test]
fn a_simulated_disk() {
    let config = DiskConfig { latency: Latency::shuffled(), ..DiskConfig::fixed(8 * MIB, 1000) };
    conformance::run(|| Fixture::new(Machine::new(1).disk(config.clone())));
}

#[test]
fn the_allocator() {
    // The suite wants freed space kept back until it says so; with 0 it is not.
    for (defer_txgs, ashift) in [(1, 9), (2, 9), (2, 12)] {
        conformance::allocator(|| {
            let config = metaslab::Config { defer_txgs, ..metaslab::Config::default() };
            let space = Arc::new(Metaslabs::new(config));
            let vdevs = [(VdevId(0), 16 * MIB), (VdevId(1), 8 * MIB)];
            for (vdev, size_bytes) in vdevs {
                space.add_vdev(vdev, size_bytes, ashift).unwrap();
            }
            // What was freed in a txg counts from the first that has not ended.
            let (ending, next) = (Arc::clone(&space), Cell::new(1));
            AllocatorFixture::new(space, &vdevs).settle(move |txg| {
                let first = next.get().max(txg);
                (first..=first + defer_txgs).for_each(|txg| ending.end_of_txg(txg));
                next.set(first + defer_txgs + 1);
            })
        });
    }
}

#[test]
fn the_task_queues() {
    conformance::task_queue(|| {
        QueueFixture::new(Taskq::new(Config::zfs(2))).serial(ZioType::Null, QueueKind::Issue)
    });
}
