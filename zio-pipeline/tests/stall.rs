//! A3: what waits holds no thread. Alone in its process, because it counts threads.

use std::sync::Arc;

use taskq::{Config, Taskq};
use vdev_sim::{DiskConfig, Machine, Rng};
use zio_core::Vdev;
use zio_pipeline::Pipeline;

const READS: u64 = 10_000;
const BLOCKS: u64 = 64;

fn content(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    Rng::new(number).fill(&mut bytes);
    bytes
}

fn threads() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    line.trim().parse().unwrap()
}

/// Ten thousand reads behind a disk that does not answer, with one worker.
/// `at_device` of them are let through by the queue.
fn stall(queue: vdev_queue::Config, at_device: usize) {
    let machine = Machine::new(1);
    let disk = machine.disk(DiskConfig { strict: true, ..DiskConfig::fixed(64 << 20, 1000) });
    let pipeline = Pipeline::builder()
        .vdev(Arc::clone(&disk) as Arc<dyn Vdev>)
        .task_queue(Taskq::new(Config::single("worker", 1)))
        .queue(queue)
        .ashift(9)
        .build()
        .unwrap();
    let write = |number| pipeline.write(content(number)).wait().unwrap();
    let blocks: Vec<_> = (0..BLOCKS).map(write).collect();

    let completions = pipeline.completions();
    disk.hold();
    let mut threads_seen = Vec::new();
    for number in 0..READS {
        let bp = &blocks[(number % BLOCKS) as usize];
        pipeline.read(bp).send_to(&completions, number).unwrap();
        if number % 1000 == 0 {
            threads_seen.push(threads());
        }
    }
    threads_seen.push(threads());
    assert_eq!(completions.outstanding(), READS as usize);
    assert_eq!(disk.in_flight(), at_device);
    // Every read is a zio and its child, and none of them has moved.
    assert_eq!(pipeline.live(), 2 * READS as usize);
    assert!(completions.try_next().is_none());
    assert!(threads_seen.iter().all(|&seen| seen == threads_seen[0]), "{threads_seen:?}");

    disk.release();
    let mut seen = vec![0; READS as usize];
    while let Some((number, mut finished)) = completions.next() {
        finished.result().unwrap();
        assert!(finished.take_data() == content(number % BLOCKS));
        seen[number as usize] += 1;
    }
    assert!(seen.iter().all(|&times| times == 1));
    assert_eq!(pipeline.live(), 0);
    assert_eq!(threads(), threads_seen[0]);
}

#[test]
fn ten_thousand_reads_wait_without_a_thread() {
    stall(vdev_queue::Config::bypass(20_000), READS as usize);
    // ZFS's classes let ten synchronous reads through and keep the rest.
    stall(vdev_queue::Config::default(), 10);
}
