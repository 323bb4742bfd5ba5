//! The write throttle on a virtual clock: writers who never stop, devices that change (D8).

use pool::dirty::{Config, Curve, Mode, Throttle};
use vdev_sim::Rng;

const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;
const MB: u64 = 1_000_000;

/// A device, and what is being written to it.
#[derive(Clone, Copy)]
struct Device {
    bytes_per_s: u64,
    /// Bytes that are written together; all of a transaction group if this is larger.
    lump_bytes: u64,
    /// What a commit takes beyond its blocks.
    commit_ns: u64,
}

#[derive(Clone, Copy)]
struct Sync {
    txg: u64,
    left_bytes: u64,
    /// The next lump, and when it is written; of no bytes at last: the commit.
    lump_bytes: u64,
    at_ns: u64,
}

struct Admission {
    at_ns: u64,
    bytes: u64,
    waited_ns: u64,
}

/// Writers that always have some requests in the line, a txg thread, and a device.
struct Pool {
    throttle: Throttle,
    device: Device,
    now_ns: u64,
    rng: Rng,
    /// When each request in the line came.
    came_ns: std::collections::VecDeque<u64>,
    writers: usize,
    request_bytes_max: u64,
    sync: Option<Sync>,
    admitted: Vec<Admission>,
    drained: Vec<(u64, u64)>,
    dirty_bytes_most: u64,
    txgs: Vec<u64>,
}

impl Pool {
    fn new(config: Config, device: Device, writers: usize, request_bytes_max: u64) -> Self {
        Self {
            throttle: Throttle::new(config, 1, 0).unwrap(),
            device,
            now_ns: 0,
            rng: Rng::new(1),
            came_ns: std::collections::VecDeque::new(),
            writers,
            request_bytes_max,
            sync: None,
            admitted: Vec::new(),
            drained: Vec::new(),
            dirty_bytes_most: 0,
            txgs: Vec::new(),
        }
    }

    fn run_for(&mut self, ns: u64) {
        let until = self.now_ns + ns;
        while self.now_ns < until {
            self.write();
            self.sync();
            let next = [self.throttle.next_ns(), self.sync.map(|sync| sync.at_ns)];
            let next = next.into_iter().flatten().chain([self.throttle.push_ns()]);
            let later = next.filter(|at| *at > self.now_ns).min().unwrap_or(until);
            self.now_ns = later.min(until);
        }
    }

    fn write(&mut self) {
        loop {
            while self.came_ns.len() < self.writers {
                let bytes = 512 * (1 + self.rng.below(self.request_bytes_max / 512));
                self.throttle.enqueue(bytes, self.now_ns);
                self.came_ns.push_back(self.now_ns);
            }
            let Some(admitted) = self.throttle.poll(self.now_ns) else { break };
            let waited_ns = self.now_ns - self.came_ns.pop_front().unwrap();
            self.admitted.push(Admission { at_ns: self.now_ns, bytes: admitted.bytes, waited_ns });
            self.dirty_bytes_most = self.dirty_bytes_most.max(self.throttle.dirty_bytes());
        }
    }

    fn sync(&mut self) {
        if let Some(sync) = self.sync.filter(|sync| sync.at_ns <= self.now_ns) {
            self.throttle.end(sync.txg, sync.lump_bytes, self.now_ns);
            self.drained.push((self.now_ns, sync.lump_bytes));
            if sync.left_bytes == 0 && sync.lump_bytes == 0 {
                self.sync = None;
                assert_eq!(self.throttle.end_sync(self.now_ns), Some(sync.txg));
            } else {
                self.sync = Some(self.lump(sync.txg, sync.left_bytes));
            }
        }
        if self.throttle.push(self.now_ns).is_some() {
            self.throttle.close_txg(self.now_ns).unwrap();
        }
        if self.sync.is_none() {
            let before = self.throttle.open_txg();
            if let Some(txg) = self.throttle.begin_sync(self.now_ns) {
                assert!(txg < before);
                let bytes = self.throttle.syncing_bytes();
                self.txgs.push(bytes);
                self.sync = Some(self.lump(txg, bytes));
            }
        }
    }

    fn lump(&self, txg: u64, left_bytes: u64) -> Sync {
        let lump_bytes = left_bytes.min(self.device.lump_bytes);
        let takes = match lump_bytes {
            0 => self.device.commit_ns,
            bytes => {
                (u128::from(bytes) * u128::from(S) / u128::from(self.device.bytes_per_s)) as u64
            }
        };
        let at_ns = self.now_ns + takes.max(1);
        Sync { txg, left_bytes: left_bytes - lump_bytes, lump_bytes, at_ns }
    }

    /// What came in and went out since then, in bytes per second.
    fn rates_since(&self, since_ns: u64) -> (f64, f64) {
        let seconds = (self.now_ns - since_ns) as f64 / S as f64;
        let came: u64 = self.admitted.iter().filter(|a| a.at_ns >= since_ns).map(|a| a.bytes).sum();
        let went: u64 = self.drained.iter().filter(|d| d.0 >= since_ns).map(|d| d.1).sum();
        (came as f64 / seconds, went as f64 / seconds)
    }

    /// The longest time without an admission since then.
    fn longest_stall_ns(&self, since_ns: u64) -> u64 {
        let times = self.admitted.iter().map(|a| a.at_ns).filter(|at| *at >= since_ns);
        let times: Vec<u64> = [since_ns].into_iter().chain(times).chain([self.now_ns]).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    }

    /// Of the waits since then, the one that a thousandth exceeds.
    fn p999_ns(&self, since_ns: u64) -> u64 {
        let since = self.admitted.iter().filter(|a| a.at_ns >= since_ns);
        let mut waits: Vec<u64> = since.map(|a| a.waited_ns).collect();
        waits.sort_unstable();
        waits[waits.len() * 999 / 1000]
    }

    /// Least and most that came in in a stretch of this length, in bytes per second.
    fn swing(&self, since_ns: u64, stretch_ns: u64) -> (f64, f64) {
        let count = ((self.now_ns - since_ns) / stretch_ns) as usize;
        let mut came = vec![0; count];
        for admission in self.admitted.iter().filter(|a| a.at_ns >= since_ns) {
            let stretch = ((admission.at_ns - since_ns) / stretch_ns) as usize;
            if let Some(came) = came.get_mut(stretch) {
                *came += admission.bytes;
            }
        }
        let per_s = |bytes: u64| bytes as f64 * S as f64 / stretch_ns as f64;
        let (least, most) = (came.iter().min().unwrap(), came.iter().max().unwrap());
        (per_s(*least), per_s(*most))
    }
}

/// 256 MiB of dirty data, syncs of half a second.
fn small() -> Config {
    let mut config = Config::new(256 << 20);
    config.push_bytes_min = 8 << 20;
    config.mode = Mode::Measured { sync_ns_target: S / 2 };
    config
}

/// One by one, in lumps, all at the end.
const LUMPS: [u64; 3] = [128 << 10, 8 << 20, u64::MAX];

fn device(bytes_per_s: u64, lump_bytes: u64) -> Device {
    Device { bytes_per_s, lump_bytes, commit_ns: 5 * MS }
}

#[test]
fn what_comes_in_is_what_the_device_takes_whatever_its_speed_becomes() {
    for lump_bytes in LUMPS {
        for writers in [1, 16] {
            let mut pool = Pool::new(small(), device(100 * MB, lump_bytes), writers, 128 << 10);
            let mut before = 0.0;
            for (phase, mb_per_s) in [100, 25, 100, 400, 100].into_iter().enumerate() {
                let what = format!("lumps of {lump_bytes}, {writers} writers, phase {phase}");
                pool.device.bytes_per_s = mb_per_s * MB;
                let changed_ns = pool.now_ns;
                pool.run_for(30 * S);
                let settled_ns = pool.now_ns;
                pool.run_for(30 * S);
                // The commit's own time is not the device's fault.
                let (came, went) = pool.rates_since(settled_ns);
                let device = (mb_per_s * MB) as f64;
                assert!((0.95..=1.0).contains(&(went / device)), "{what}: {went} out");
                assert!((0.95..=1.03).contains(&(came / device)), "{what}: {came} in");
                // In every second of them, too: no teeth.
                let (least, most) = pool.swing(settled_ns, S);
                assert!(least > 0.85 * device, "{what}: {least} at least");
                assert!(most < 1.15 * device, "{what}: {most} at most");
                // And while it changed nobody stood still.
                let stall_ns = pool.longest_stall_ns(changed_ns);
                assert!(stall_ns <= 100 * MS, "{what}: stood still for {stall_ns} ns");
                // Half of what the device takes is the least, also where there is too much.
                let (least, _) = pool.swing(changed_ns, S);
                let slower = device.min(before);
                assert!(least > 0.4 * slower, "{what}: {least} at least, while it changed");
                before = device;
                // 128 KiB for each who waits, at half the speed of the device.
                let turn_ns = writers as u64 * (128 << 10) * 1000 / mb_per_s;
                let p999_ns = pool.p999_ns(settled_ns);
                assert!(p999_ns <= 2 * turn_ns, "{what}: {p999_ns} ns, of {turn_ns}");
            }
            assert!(pool.dirty_bytes_most <= 256 << 20);
        }
    }
}

#[test]
fn a_change_is_noticed_before_the_sync_ends() {
    let mut throttle = Throttle::new(small(), 1, 0).unwrap();
    let mut now_ns = 0;
    let mut begin = |throttle: &mut Throttle, takes_ns| {
        throttle.enqueue(20 * MB, now_ns);
        let txg = throttle.poll(now_ns).unwrap().txg;
        throttle.close_txg(now_ns);
        throttle.begin_sync(now_ns);
        now_ns += takes_ns;
        (txg, now_ns)
    };
    for _ in 0..4 {
        let (txg, end_ns) = begin(&mut throttle, S / 5);
        throttle.end(txg, 20 * MB, end_ns);
        throttle.end_sync(end_ns);
    }
    let (txg, late_ns) = begin(&mut throttle, S / 5);
    let rate = |throttle: &Throttle, at| throttle.drain_bytes_per_s(at).unwrap();
    // It is not over, and that says nothing as long as it could be.
    assert_eq!(rate(&throttle, late_ns), 100 * MB);
    // Ten times as slow as it should be: at best as much as if it ended now.
    let slow = rate(&throttle, late_ns + 9 * S / 5);
    assert!(slow < 50 * MB, "{slow}");
    throttle.end(txg, 20 * MB, late_ns);
    throttle.end_sync(late_ns);
    // Ten times as fast, and not over: at least what is done already.
    let (txg, early_ns) = begin(&mut throttle, S / 50);
    throttle.end(txg, 19 * MB, early_ns);
    let fast = rate(&throttle, early_ns);
    assert!(fast > 110 * MB, "{fast}");
}

/// A transaction group of so many bytes, which go out at the end of its sync. Returns when that is.
fn sync_one(throttle: &mut Throttle, bytes: u64, now_ns: u64, takes_ns: u64) -> u64 {
    throttle.enqueue(bytes, now_ns);
    let txg = throttle.poll(now_ns).unwrap().txg;
    throttle.close_txg(now_ns);
    throttle.begin_sync(now_ns);
    let end_ns = now_ns + takes_ns;
    throttle.end(txg, bytes, end_ns);
    throttle.end_sync(end_ns);
    end_ns
}

#[test]
fn writers_are_let_in_before_the_devices_run_dry() {
    let mut throttle = Throttle::new(small(), 1, 0).unwrap();
    let mut now_ns = 0;
    for (bytes, takes_ns) in [(20 * MB, S / 5), (20 * MB, S / 5), (100 * MB, S)] {
        now_ns = sync_one(&mut throttle, bytes, now_ns, takes_ns) + 2 * S;
    }
    // 150 MB are the limit; of 100 MB that go out at once 54 are levelled. Nothing is left to write, so writers get
    // in faster than at the drain rate, by which it would be 20 MB in a fifth of a second.
    throttle.enqueue(100 * MB, now_ns);
    let txg = throttle.poll(now_ns).unwrap().txg;
    throttle.close_txg(now_ns);
    throttle.begin_sync(now_ns);
    throttle.end(txg, 100 * MB, now_ns + S);
    let (mut at_ns, end_ns) = (now_ns + S, now_ns + 6 * S / 5);
    while at_ns < end_ns {
        throttle.enqueue(128 << 10, at_ns);
        while throttle.poll(at_ns).is_none() {
            at_ns = throttle.next_ns().unwrap();
        }
    }
    assert!(throttle.dirty_bytes() > 40 * MB, "{}", throttle.dirty_bytes());
}

#[test]
fn before_the_limit_it_goes_slower_and_never_stops() {
    // Forty times as slow, and in lumps: the next one comes after seconds, and nobody knows.
    for writers in [1, 16] {
        let mut pool = Pool::new(small(), device(400 * MB, u64::MAX), writers, 128 << 10);
        pool.run_for(10 * S);
        pool.device.bytes_per_s = 10 * MB;
        let changed_ns = pool.now_ns;
        pool.run_for(60 * S);
        let stall_ns = pool.longest_stall_ns(changed_ns);
        assert!(stall_ns <= 100 * MS, "{stall_ns}");
        assert!(pool.dirty_bytes_most <= 256 << 20);
    }
}

#[test]
fn a_stranger_begins_small() {
    // Nothing is known of it, and the first it says is a lump after seconds.
    let mut pool = Pool::new(small(), device(4 * MB, u64::MAX), 4, 128 << 10);
    pool.run_for(20 * S);
    assert!(pool.longest_stall_ns(0) <= 100 * MS);
    assert!(pool.dirty_bytes_most <= 128 << 20, "{}", pool.dirty_bytes_most);
}

#[test]
fn a_transaction_group_is_as_large_as_can_be_written_in_time() {
    for mb_per_s in [25, 50, 100] {
        let mut pool = Pool::new(small(), device(mb_per_s * MB, 128 << 10), 4, 128 << 10);
        pool.run_for(40 * S);
        let half_a_second = (mb_per_s * MB / 2).max(8 << 20);
        let sizes = &pool.txgs[pool.txgs.len() - 8..];
        let mean = sizes.iter().sum::<u64>() / 8;
        assert!((half_a_second * 7 / 10..=half_a_second * 13 / 10).contains(&mean), "{sizes:?}");
        // The limit of dirty data follows.
        assert!(pool.throttle.dirty_bytes() < 3 * half_a_second);
    }
    // A fast one has all the memory there is, and a third of it for each.
    let mut pool = Pool::new(small(), device(1000 * MB, 128 << 10), 4, 128 << 10);
    pool.run_for(10 * S);
    assert_eq!(pool.throttle.push_bytes(pool.now_ns), (256 << 20) / 3);
    assert_eq!(pool.throttle.limit_bytes(pool.now_ns), (256 << 20) / 3 * 3);
}

#[test]
fn flushes_of_an_idle_pool_do_not_make_its_device_slow() {
    let mut throttle = Throttle::new(small(), 1, 0).unwrap();
    let mut now_ns = 0;
    let mut txg = |bytes, takes_ns| {
        now_ns = sync_one(&mut throttle, bytes, now_ns, takes_ns) + 5 * S;
        throttle.drain_bytes_per_s(now_ns).unwrap()
    };
    assert_eq!((0..4).map(|_| txg(100 * MB / 5, S / 5)).last(), Some(100 * MB));
    // A block now and then, and a commit of 50 ms for it.
    assert_eq!((0..1000).map(|_| txg(8192, 50 * MS)).last(), Some(100 * MB));
    // What is large enough says something.
    assert!(txg(100 * MB / 5, S) < 80 * MB);
}

#[test]
fn with_the_curve_of_zfs_lumps_make_a_saw() {
    // What all this is for: the same pool, the same lumps.
    let swing = |config| {
        let mut pool = Pool::new(config, device(100 * MB, u64::MAX), 16, 128 << 10);
        pool.run_for(30 * S);
        let since = pool.now_ns;
        pool.run_for(30 * S);
        let (least, most) = pool.swing(since, S / 4);
        most / least.max(1.0)
    };
    let (curve, measured) = (swing(small().curve(Curve::default())), swing(small()));
    assert!(measured < 1.5 && curve > 3.0 * measured, "{measured} against {curve}");
}
