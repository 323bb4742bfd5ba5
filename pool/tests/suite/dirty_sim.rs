//! Dirty data in front of a whole pipeline, on a simulated machine (D8).

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use pool::dirty::{Admission, Config, Dirty, DirtyData, Mode};
use vdev_sim::{DiskConfig, Effect, Fault, Latency, Machine, OpKind};
use zio_pipeline::{BlockPointer, Pipeline};

use crate::common::{MIB, World};

const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;

/// So large that the queues merge none of them.
const BLOCK_BYTES: usize = 128 << 10;
/// 20 MB/s, one at a time.
const WRITE_NS: u64 = BLOCK_BYTES as u64 * 1000 / 20;

struct Store {
    world: World,
    pipeline: Arc<Pipeline>,
    dirty_data: DirtyData,
    line: VecDeque<Admission>,
    /// Admitted and not yet being written.
    kept: Vec<Dirty>,
    written: Arc<Mutex<Vec<BlockPointer>>>,
    /// Writes of the syncing group that are under way; its flush.
    under_way: Arc<AtomicU64>,
    flushing: bool,
    syncs: bool,
    admitted: Vec<u64>,
    in_flight_most: Cell<usize>,
    timer_ns: u64,
}

impl Store {
    fn new() -> Self {
        let machine = Machine::new(1);
        let latency = Latency { served_max: 1, flush_ns: MS, ..Latency::fixed(WRITE_NS) };
        let disk = DiskConfig { latency, ..DiskConfig::fixed(1 << 30, 0) };
        let world = World::with(&machine, &[1], &disk);
        let queue = vdev_queue::Config { depth: vdev_queue::Depth::Fixed, ..Default::default() };
        let pipeline = Arc::new(world.builder().queue(queue).build().unwrap());
        let mut config = Config::new(64 * MIB);
        config.push_bytes_min = 2 * MIB;
        config.mode = Mode::Measured { sync_ns_target: S / 2 };
        let clock = machine.clone();
        let dirty_data = DirtyData::with_clock(config, 1, move || clock.now_ns()).unwrap();
        Self {
            dirty_data: dirty_data.tell(&pipeline),
            world,
            pipeline,
            line: VecDeque::new(),
            kept: Vec::new(),
            written: Arc::default(),
            under_way: Arc::default(),
            flushing: false,
            syncs: false,
            admitted: Vec::new(),
            in_flight_most: Cell::new(0),
            timer_ns: 0,
        }
    }

    fn now_ns(&self) -> u64 {
        self.world.machine.now_ns()
    }

    /// Writers who come in such numbers, for so long.
    fn run_for(&mut self, writers: usize, ns: u64) {
        let end = self.now_ns() + ns;
        self.in_flight_most.set(0);
        self.world.machine.after(ns, || ());
        while self.now_ns() < end {
            while self.line.len() < writers {
                self.line.push_back(self.dirty_data.admit(BLOCK_BYTES as u64));
            }
            while let Some(first) = self.line.front_mut()
                && let Some(dirty) = first.try_take()
            {
                self.line.pop_front();
                self.admitted.push(self.now_ns());
                self.kept.push(dirty.unwrap());
                if self.line.len() < writers {
                    self.line.push_back(self.dirty_data.admit(BLOCK_BYTES as u64));
                }
            }
            self.sync();
            let next_ns = self.dirty_data.next_ns().unwrap_or(u64::MAX);
            let next_ns = next_ns.min(self.dirty_data.push_ns());
            if self.timer_ns != next_ns {
                self.timer_ns = next_ns;
                let delay_ns = next_ns.saturating_sub(self.now_ns());
                let dirty_data = self.dirty_data.clone();
                self.world.machine.after(delay_ns, move || dirty_data.turn());
            }
            self.world.turn();
            let in_flight = self.world.disks[0].in_flight();
            self.in_flight_most.set(self.in_flight_most.get().max(in_flight));
        }
    }

    fn sync(&mut self) {
        if self.dirty_data.push().is_some() {
            self.dirty_data.close_txg().unwrap();
        }
        if self.syncs && self.under_way.load(Ordering::SeqCst) == 0 {
            if !self.flushing {
                self.flushing = true;
                self.start(self.pipeline.flush(), |()| ());
                return;
            }
            (self.flushing, self.syncs) = (false, false);
            self.pipeline.end_txg();
            self.dirty_data.end_sync().unwrap();
            // Nobody wants what was written; its place is for others.
            for bp in self.written.lock().drain(..) {
                self.pipeline.free(&bp).nowait(|freed| freed.unwrap());
            }
        }
        if let Some(txg) = self.dirty_data.begin_sync() {
            self.syncs = true;
            for dirty in self.kept.extract_if(.., |dirty| dirty.txg() == txg).collect::<Vec<_>>() {
                let written = Arc::clone(&self.written);
                let write = self.pipeline.write(vec![7; dirty.bytes() as usize]);
                self.start(write, move |bp| {
                    written.lock().push(bp);
                    drop(dirty);
                });
            }
        }
    }

    fn start<T: zio_pipeline::Outcome>(
        &self,
        request: zio_pipeline::Pending<T>,
        then: impl FnOnce(T) + Send + 'static,
    ) {
        let under_way = Arc::clone(&self.under_way);
        under_way.fetch_add(1, Ordering::SeqCst);
        request.nowait(move |result| {
            then(result.unwrap());
            under_way.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// Blocks let in since then, per second.
    fn rate_since(&self, since_ns: u64) -> f64 {
        let count = self.admitted.iter().filter(|at| **at >= since_ns).count();
        count as f64 * S as f64 / (self.now_ns() - since_ns) as f64
    }
}

#[test]
fn writers_go_as_fast_as_the_disk_also_when_it_changes() {
    let mut store = Store::new();
    for factor in [1, 4, 1] {
        store.world.disks[0].heal_all();
        let slow = Fault::new(Effect::Slow { factor }).on(OpKind::Write).always();
        store.world.disks[0].inject(slow);
        let changed_ns = store.now_ns();
        store.run_for(3, 20 * S);
        let settled_ns = store.now_ns();
        store.run_for(3, 10 * S);
        let rate = store.rate_since(settled_ns) * (WRITE_NS * u64::from(factor)) as f64 / S as f64;
        assert!((0.95..=1.05).contains(&rate), "{rate} of the disk's, {factor} times as slow");
        let times: Vec<_> = store.admitted.iter().filter(|at| **at >= changed_ns).collect();
        let stall_ns = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(stall_ns <= 101 * MS, "nobody let in for {stall_ns} ns, {factor} times as slow");
        // The queue knows that there is much to do.
        assert!(store.in_flight_most.get() >= 8, "{} at the disk", store.in_flight_most.get());
    }
    // All who wait give up, all that is dirty is written: nothing is left.
    store.line.clear();
    store.run_for(0, 20 * S);
    assert_eq!((store.dirty_data.dirty_bytes(), store.dirty_data.waiting()), (0, 0));
    // A trickle: the queue takes its time.
    for _ in 0..10 {
        store.run_for(1, S / 10);
        store.line.clear();
        store.run_for(0, 10 * S);
    }
    let load = store.dirty_data.load();
    assert!(load.dirty_bytes * 100 / load.dirty_bytes_max < 30);
    assert_eq!(store.dirty_data.dirty_bytes(), 0);
}
