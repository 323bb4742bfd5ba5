//! Many threads, one table.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;

use ddt::{Copies, Decision, FreeOutcome, Key, Phys, SharedTable};

/// How a waiting writer is told: where its block is, or that the leader failed.
type Writer = mpsc::Sender<Option<Phys>>;

fn key(n: u64) -> Key {
    Key::new([n, 1, 2, 3], 8192, 8192, 2, false).unwrap()
}

struct Disk {
    writes: AtomicUsize,
    failures_left: AtomicUsize,
    next: AtomicU64,
}

impl Disk {
    fn new(failures: usize) -> Self {
        Self {
            writes: AtomicUsize::new(0),
            failures_left: AtomicUsize::new(failures),
            next: AtomicU64::new(1),
        }
    }

    fn write(&self) -> Option<Phys> {
        thread::yield_now();
        let fails = |n: usize| n.checked_sub(1);
        if self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fails).is_ok() {
            return None;
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        let offset = self.next.fetch_add(1, Ordering::Relaxed);
        Some(Phys::new([[16, offset], [0, 0], [0, 0]], 1).unwrap())
    }
}

/// Writes one block, again and again until it is stored, as a pipeline would.
fn write(table: &SharedTable<Writer>, disk: &Disk, key: &Key) -> Phys {
    loop {
        let (sender, receiver) = mpsc::channel();
        match table.lookup_write(key, Copies::One, sender) {
            Decision::Share { phys, .. } => return phys,
            Decision::Wait => {
                if let Some(phys) = receiver.recv().expect("an answer") {
                    return phys;
                }
            }
            Decision::Lead { token, .. } => {
                let answer = disk.write();
                let waiters = match answer {
                    Some(phys) => table.complete(token, phys).unwrap().waiters,
                    None => table.fail(token).unwrap(),
                };
                for waiter in waiters {
                    waiter.send(answer).unwrap();
                }
                if let Some(phys) = answer {
                    return phys;
                }
            }
            Decision::Full { .. } => panic!("no limit was set"),
        }
    }
}

fn same_block_at_once(failures: usize) {
    const THREADS: usize = 64;
    let table = Arc::new(SharedTable::<Writer>::new(16));
    let disk = Arc::new(Disk::new(failures));
    let barrier = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (table, disk, barrier) = (table.clone(), disk.clone(), barrier.clone());
            thread::spawn(move || {
                barrier.wait();
                write(&table, &disk, &key(1))
            })
        })
        .collect();
    let found: Vec<Phys> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert!(found.iter().all(|phys| *phys == found[0]));
    assert_eq!(disk.writes.load(Ordering::Relaxed), 1);
    assert_eq!(table.references(&key(1), found[0].identity()), Some(THREADS as u64));
    assert_eq!(table.in_flight(), 0);
}

#[test]
fn the_same_block_at_once_is_written_once() {
    for _ in 0..20 {
        same_block_at_once(0);
    }
}

#[test]
fn the_same_block_at_once_survives_failing_leads() {
    for failures in 1..20 {
        same_block_at_once(failures);
    }
}

/// Writers and freers of few keys: what is on the disk at the end is what pointers point at.
#[test]
fn references_are_conserved() {
    let table = Arc::new(SharedTable::<Writer>::new(4));
    let disk = Arc::new(Disk::new(50));
    let freed = Arc::new(Mutex::new(Vec::new()));
    let threads: Vec<_> = (0..8u64)
        .map(|seed| {
            let (table, disk, freed) = (table.clone(), disk.clone(), freed.clone());
            thread::spawn(move || {
                let mut random = seed + 1;
                let mut mine: Vec<(Key, Phys)> = Vec::new();
                for _ in 0..2000 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
                    let key = key(random >> 33 & 7);
                    if random >> 60 < 8 || mine.is_empty() {
                        mine.push((key, write(&table, &disk, &key)));
                    } else {
                        let at = (random >> 40) as usize % mine.len();
                        let (key, phys) = mine.swap_remove(at);
                        let identity = phys.identity();
                        match table.free(&key, identity.dva0, identity.birth_txg) {
                            FreeOutcome::StillReferenced { .. } => {}
                            FreeOutcome::LastReference { phys } => freed.lock().unwrap().push(phys),
                            FreeOutcome::NotFound => panic!("freed under a pointer"),
                        }
                    }
                }
                mine
            })
        })
        .collect();
    let live: Vec<(Key, Phys)> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();

    assert_eq!(table.totals().references, live.len() as u64);
    for block in table.shard_blocks().flatten() {
        let pointers = live.iter().filter(|&&(key, phys)| (key, phys) == (block.key, block.phys));
        assert_eq!(pointers.count() as u64, block.references);
    }
    let written = disk.writes.load(Ordering::Relaxed) as u64;
    assert_eq!(written, table.totals().blocks + freed.lock().unwrap().len() as u64);
}
