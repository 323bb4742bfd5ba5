//! Everything at once, from a seed: gangs, mirrors, copies, dedup and encryption on disks that
//! fail and an allocator that does, against a model that is a list.
//!
//! The disks say so when they fail, and at most one copy of a block is bad at a time. So
//! whatever happened: no read gives other data than was written, no failed operation leaves a
//! trace in space or references, and when the disks are well again every block is there.

use std::collections::HashMap;
use std::sync::Arc;

use vdev_sim::{DiskConfig, FaultProfile, Rng, SimAllocator, SimAllocatorConfig};
use zio_core::{Allocator, Vdev};
use zio_pipeline::{
    BlockPointer, Builder, Checksum, Compression, Data, Error, ErrorKind, Mirror, Pipeline,
    Priority, Started,
};

use crate::common::{MIB, Sim, compressible};

struct Pool {
    sim: Sim,
    space: Arc<SimAllocator>,
    pipeline: Pipeline,
    /// Leaves of each vdev.
    sides: usize,
}

impl Pool {
    fn new(seed: u64, rng: &mut Rng) -> Self {
        let (vdevs, sides) = [(1, 1), (3, 1), (1, 2), (2, 2), (2, 3)][rng.index(5)];
        let sim = Sim::with(seed, vdevs * sides, DiskConfig::fixed(16 * MIB, 1000));
        let ashift = [9, 12][rng.index(2)];
        let space = SimAllocator::new(SimAllocatorConfig {
            unit_bytes: 1 << ashift,
            contiguous_bytes_max: (1 << ashift) << rng.below(5),
            fail_permille: [0, 10, 50][rng.index(3)],
            reserve_bytes_max: [u64::MAX, 16_384][rng.index(2)],
            ..SimAllocatorConfig::new(seed, &vec![11 * MIB; vdevs])
        });
        let machine = sim.machine.clone();
        let bare =
            Pipeline::builder().task_queue(sim.machine.queue()).clock(move || machine.now_ns());
        let vdev = |disk: &Arc<vdev_sim::SimDisk>| Arc::clone(disk) as Arc<dyn Vdev>;
        let builder = sim.disks.chunks(sides).fold(bare, |builder: Builder, leaves| {
            builder.mirror(leaves.iter().map(vdev).fold(Mirror::new(), Mirror::vdev))
        });
        let builder = builder.ashift(ashift).allocator(Arc::clone(&space) as Arc<dyn Allocator>);
        let builder = if rng.coin() { builder.large_gang_headers() } else { builder };
        let pipeline = with_keys(builder, rng).build().unwrap();
        Self { sim, space, pipeline, sides }
    }

    /// Each disk's own mixture of errors, or none; now and then one is gone.
    fn sicken(&self, rng: &mut Rng) {
        for disk in &self.sim.disks {
            disk.set_faults(FaultProfile::draw(rng, 60, false));
        }
        if rng.chance(100) {
            self.sim.disks[rng.index(self.sim.disks.len())].offline();
        }
    }

    fn cure(&self) {
        for disk in &self.sim.disks {
            disk.set_faults(FaultProfile::none());
            disk.online();
        }
    }

    /// Spoils one place of a block that has another.
    fn spoil(&self, bp: &BlockPointer, rng: &mut Rng) {
        let copies = bp.copies();
        if copies == 0 || (copies == 1 && self.sides == 1) {
            return;
        }
        let dva = bp.dva(rng.index(copies)).unwrap();
        let disk = dva.vdev().0 as usize * self.sides + rng.index(self.sides);
        let at = zio_pipeline::DATA_START_BYTES + dva.offset_bytes();
        self.sim.disks[disk].corrupt(at, 512);
    }
}

#[cfg(feature = "crypt")]
fn with_keys(builder: Builder, rng: &mut Rng) -> Builder {
    use zio_pipeline::{DatasetKeys, Suite};
    let keys = DatasetKeys::new(Suite::Aes128Gcm, &[1; 16]).unwrap().hmac(&[2; 64]).unwrap();
    let mut own = Rng::new(rng.next_u64());
    let own = parking_lot::Mutex::new(move |bytes: &mut [u8]| own.fill(bytes));
    builder.keys(keys).entropy(move |bytes| own.lock()(bytes))
}

#[cfg(not(feature = "crypt"))]
fn with_keys(builder: Builder, _: &mut Rng) -> Builder {
    builder
}

fn write(pipeline: &Pipeline, data: &[u8], rng: &mut Rng) -> Started<BlockPointer> {
    let checksum = [Checksum::Sha256, Checksum::Blake3][rng.index(2)];
    let write = pipeline.write(data).checksum(checksum);
    let write = if rng.coin() { write } else { write.priority(Priority::SyncWrite) };
    let write = write.compression([Compression::Off, Compression::Lz4][rng.index(2)]);
    let write = match rng.below(3) {
        0 => write.copies(1 + rng.below(3) as u8).dedup(true),
        #[cfg(feature = "crypt")]
        1 => {
            let object_type = [19, 1][rng.index(2)];
            write.copies(1 + rng.below(2) as u8).encrypt(true).object_type(object_type)
        }
        _ => write.copies(1 + rng.below(3) as u8).checksum(Checksum::Fletcher4),
    };
    write.start().unwrap()
}

fn read(pipeline: &Pipeline, bp: &BlockPointer, rng: &mut Rng) -> Started<Data> {
    let read = pipeline.read(bp).repair(!rng.chance(100));
    let read = if rng.chance(300) { read.every_copy() } else { read };
    read.start().unwrap()
}

struct Block {
    bp: BlockPointer,
    data: Vec<u8>,
}

enum Step {
    Write(Started<BlockPointer>, Vec<u8>),
    Read(Started<Data>, Block),
    Free(Started<()>, Block),
}

/// What a disk or the allocator may cause, and nothing else.
fn is_expected(error: &Error) -> bool {
    use ErrorKind::{Checksum, DeviceGone, Io, NoSpace};
    matches!(error.kind(), Io | Checksum | NoSpace | DeviceGone)
}

impl Step {
    /// Some of everything, on a block of its own.
    fn draw(pool: &Pool, blocks: &mut Vec<Block>, rng: &mut Rng) -> Self {
        let what = rng.below(10);
        if what < 4 || blocks.is_empty() {
            // Few contents, so that some are equal.
            let len = 512 * (1 + rng.below(60)) as usize;
            let data = compressible(rng.below(4), len - len % [512, 8192][rng.index(2)].min(len));
            return Self::Write(write(&pool.pipeline, &data, rng), data);
        }
        let block = blocks.swap_remove(rng.index(blocks.len()));
        if what < 8 {
            if rng.chance(300) {
                pool.spoil(&block.bp, rng);
            }
            return Self::Read(read(&pool.pipeline, &block.bp, rng), block);
        }
        Self::Free(pool.pipeline.free(&block.bp).start().unwrap(), block)
    }

    /// The block that is live afterwards.
    fn conclude(self) -> Option<Block> {
        match self {
            Self::Write(write, data) => match write.wait() {
                Ok(bp) => Some(Block { bp, data }),
                Err(error) if is_expected(&error) => None,
                Err(error) => panic!("a write: {error}"),
            },
            Self::Read(read, block) => {
                match read.wait() {
                    Ok(data) => assert!(data == block.data, "other data: {}", block.bp),
                    Err(error) => assert!(is_expected(&error), "a read: {error}"),
                }
                Some(block)
            }
            Self::Free(free, block) => match free.wait() {
                Ok(()) => None,
                // A header that could not be read: nothing has changed.
                Err(error) => {
                    assert!(block.bp.is_gang() && is_expected(&error), "a free: {error}");
                    Some(block)
                }
            },
        }
    }
}

/// Space and references are those of the live blocks, shared ones once.
fn check_books(pool: &Pool, blocks: &[Block], seed: u64) {
    pool.space.settle(u64::MAX);
    let shared = blocks.iter().filter(|block| block.bp.is_dedup()).count() as u64;
    let asizes: HashMap<_, _> =
        blocks.iter().map(|block| (block.bp.dva(0), block.bp.asize_bytes())).collect();
    let taken: u64 = pool.space.taken().iter().map(|(_, range)| range.end - range.start).sum();
    let books = (pool.pipeline.allocated_bytes(), taken, pool.pipeline.dedup_references());
    let said = asizes.values().sum();
    assert_eq!(books, (said, said, shared), "seed {seed}");
    assert_eq!(pool.pipeline.live(), 0, "seed {seed}");
}

#[test]
fn whatever_happens_is_told_and_leaves_no_trace() {
    let (mut gangs, mut healed) = (0, 0);
    for seed in 0..30 {
        let mut rng = Rng::new(seed);
        let pool = Pool::new(seed, &mut rng);
        let mut blocks: Vec<Block> = Vec::new();
        for _ in 0..12 {
            pool.sicken(&mut rng);
            let steps: Vec<_> = (0..10).map(|_| Step::draw(&pool, &mut blocks, &mut rng)).collect();
            blocks.extend(steps.into_iter().filter_map(Step::conclude));
            pool.pipeline.wait_idle();
            check_books(&pool, &blocks, seed);
            // No block is spoilt twice.
            pool.cure();
            for block in &blocks {
                let data = pool.pipeline.read(&block.bp).every_copy().wait();
                let data =
                    data.unwrap_or_else(|error| panic!("seed {seed}, {}: {error}", block.bp));
                assert!(data == block.data, "seed {seed}: {}", block.bp);
            }
        }
        gangs += blocks.iter().filter(|block| block.bp.is_gang()).count();
        healed += pool.pipeline.healed().copies;
        for block in &blocks {
            let bp = BlockPointer::from_bytes(&block.bp.to_bytes());
            let bp = pool.pipeline.check(&bp).unwrap();
            pool.pipeline.free(&bp).wait().unwrap();
        }
        check_books(&pool, &[], seed);
    }
    assert!(gangs > 100 && healed > 100, "{gangs} gangs, {healed} healed");
}
