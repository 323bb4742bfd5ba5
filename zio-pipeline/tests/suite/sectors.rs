//! Sectors (B7): with units of 2^9 to 2^16 bytes, equal or mixed, every device I/O is made of
//! whole units, a block takes as many as its formula says, and what pads it is zeros.

use std::sync::Arc;

use vdev_sim::{DiskConfig, Machine, OpKind, SimAllocator, SimAllocatorConfig, SimDisk};
use zio_core::Vdev;
use zio_pipeline::{
    BlockPointer, Builder, Compression, DATA_START_BYTES, ErrorKind, Mirror, Pipeline,
};

use crate::common::{MIB, compressible, noise};

/// Strict disks, which panic on an I/O that is not of whole sectors.
struct Disks {
    machine: Machine,
    disks: Vec<Arc<SimDisk>>,
}

impl Disks {
    fn new(sectors: &[(u32, u32)], size_bytes: u64) -> Self {
        let machine = Machine::new(1);
        machine.set_steps_max(50_000_000);
        let disk = |&(sector_bytes, physical_bytes): &(u32, u32)| {
            let strict = DiskConfig { strict: true, ..DiskConfig::fixed(size_bytes, 1000) };
            machine.disk(DiskConfig { sector_bytes, physical_bytes, ..strict })
        };
        let disks = sectors.iter().map(disk).collect();
        Self { machine, disks }
    }

    fn bare(&self) -> Builder {
        let machine = self.machine.clone();
        Pipeline::builder().task_queue(self.machine.queue()).clock(move || machine.now_ns())
    }

    fn vdevs(&self) -> impl Iterator<Item = Arc<dyn Vdev>> {
        self.disks.iter().map(|disk| Arc::clone(disk) as Arc<dyn Vdev>)
    }

    fn builder(&self) -> Builder {
        self.vdevs().fold(self.bare(), Builder::vdev)
    }

    /// Every I/O since the last look was of whole units of its device.
    fn all_io_is_aligned(&self, unit_of: impl Fn(usize) -> u64) {
        for (number, disk) in self.disks.iter().enumerate() {
            let unit = unit_of(number);
            for entry in disk.take_log().iter().filter(|entry| entry.op != OpKind::Flush) {
                let from_start = entry.offset_bytes - DATA_START_BYTES;
                assert!(from_start.is_multiple_of(unit) && entry.len_bytes.is_multiple_of(unit));
                assert!(entry.len_bytes >= unit, "{entry:?}");
            }
            assert_eq!(disk.counters().refused, 0);
        }
    }
}

const LENS: [usize; 9] = [512, 1024, 1536, 4096, 4608, 12_800, 65_536, 66_048, 131_072];

/// Writes blocks of all lengths and forms, and reads them back.
fn blocks(pipeline: &Pipeline, unit_min: u64) -> Vec<(BlockPointer, Vec<u8>)> {
    let mut blocks = Vec::new();
    for (number, len) in LENS.into_iter().enumerate() {
        for compression in [Compression::Off, Compression::Lz4] {
            let data = compressible(number as u64 + 1, len);
            let write = pipeline.write(&data).compression(compression);
            let bp = write.copies(1 + (number % 3) as u8).wait().unwrap();
            let packed = bp.compression() == Compression::Lz4.id();
            assert_eq!(bp.psize_bytes() == len as u64, !packed);
            assert!(!packed || bp.psize_bytes().is_multiple_of(unit_min), "{bp}");
            assert!(!packed || bp.psize_bytes() < len as u64 * 7 / 8 + unit_min, "{bp}");
            blocks.push((bp, data));
        }
    }
    // A little more than half of 128 KiB is two units of 64 KiB, and nothing won.
    let packed = blocks.iter().filter(|(bp, _)| bp.psize_bytes() < bp.lsize_bytes());
    assert_eq!(packed.count() > 0, unit_min < 65_536);
    for (bp, data) in &blocks {
        let checked = pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
        assert!(pipeline.read(&checked).wait().unwrap() == *data, "{bp}");
        assert!(pipeline.read(bp).every_copy().wait().unwrap() == *data, "{bp}");
    }
    blocks
}

fn free_all(pipeline: &Pipeline, blocks: &[(BlockPointer, Vec<u8>)]) {
    for (bp, _) in blocks {
        pipeline.free(bp).wait().unwrap();
    }
}

#[test]
fn every_unit_on_every_sector_it_can_stand_on() {
    for ashift in 9..=16 {
        for sector in [512, 4096, 65_536] {
            let unit = 1 << ashift;
            let disks = Disks::new(&[(sector, sector)], 64 * MIB);
            let built = disks.builder().ashift(ashift).build();
            if u64::from(sector) > unit {
                built.unwrap_err();
                continue;
            }
            let pipeline = built.unwrap();
            let blocks = blocks(&pipeline, unit);
            for (bp, _) in &blocks {
                let asize = bp.psize_bytes().next_multiple_of(unit);
                assert!(bp.dvas().all(|dva| dva.asize_bytes() == asize), "ashift {ashift}: {bp}");
                for dva in bp.dvas() {
                    let at = DATA_START_BYTES + dva.offset_bytes() + bp.psize_bytes();
                    let padding = disks.disks[0].peek(at, (asize - bp.psize_bytes()) as usize);
                    assert!(padding.iter().all(|byte| *byte == 0), "{bp}");
                }
            }
            let said: u64 = blocks.iter().map(|(bp, _)| bp.asize_bytes()).sum();
            assert_eq!(pipeline.allocated_bytes(), said);
            disks.all_io_is_aligned(|_| unit);
            free_all(&pipeline, &blocks);
            assert_eq!(pipeline.allocated_bytes(), 0);
        }
    }
}

#[test]
fn mixed_units_each_by_its_own_rule() {
    // Units of 4, 8 and 64 KiB: what the devices write best in.
    let disks = Disks::new(&[(512, 512), (512, 8192), (4096, 65_536)], 64 * MIB);
    let units = [4096, 8192, 65_536];
    let pipeline = disks.builder().build().unwrap();
    let blocks = blocks(&pipeline, 4096);
    let mut seen = [false; 3];
    for (bp, _) in &blocks {
        for dva in bp.dvas() {
            let vdev = dva.vdev().0 as usize;
            assert_eq!(dva.asize_bytes(), bp.psize_bytes().next_multiple_of(units[vdev]), "{bp}");
            seen[vdev] = true;
        }
    }
    assert_eq!(seen, [true; 3]);
    disks.all_io_is_aligned(|number| units[number]);
    free_all(&pipeline, &blocks);
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn a_mirror_has_the_largest_unit_of_its_leaves() {
    let disks = Disks::new(&[(512, 512), (4096, 16_384)], 64 * MIB);
    let mirror = disks.vdevs().fold(Mirror::new(), Mirror::vdev);
    let pipeline = disks.bare().mirror(mirror).build().unwrap();
    let blocks = blocks(&pipeline, 16_384);
    for (bp, _) in &blocks {
        let asize = bp.psize_bytes().next_multiple_of(16_384);
        assert!(bp.dvas().all(|dva| dva.asize_bytes() == asize));
    }
    disks.all_io_is_aligned(|_| 16_384);
    // A repair is of whole units too.
    for (bp, data) in &blocks {
        let at = DATA_START_BYTES + bp.dva(0).unwrap().offset_bytes();
        disks.disks[0].corrupt(at, 512);
        assert!(pipeline.read(bp).every_copy().wait().unwrap() == *data);
    }
    assert_eq!(pipeline.healed().copies, blocks.len() as u64);
    disks.all_io_is_aligned(|_| 16_384);
}

#[test]
fn gangs_of_every_unit() {
    for ashift in 9..=16 {
        let unit: u64 = 1 << ashift;
        let disks = Disks::new(&[(512, 512); 2], 64 * MIB);
        let space = SimAllocator::new(SimAllocatorConfig {
            unit_bytes: unit,
            contiguous_bytes_max: unit,
            ..SimAllocatorConfig::new(1, &[59 * MIB; 2])
        });
        for large in [false, true] {
            let builder = disks.builder().ashift(ashift).allocator(Arc::clone(&space) as Arc<_>);
            let builder = if large { builder.large_gang_headers() } else { builder };
            let pipeline = builder.build().unwrap();
            let mut written = Vec::new();
            for len in [unit as usize + 512, 5 * unit as usize, 512 * 40] {
                let data = noise(1, len);
                let bp = pipeline.write(&data).copies(2).wait().unwrap();
                assert_eq!(bp.is_gang(), len as u64 > unit);
                assert!(pipeline.read(&bp).wait().unwrap() == data, "{bp}");
                written.push((bp, data));
            }
            let said: u64 = written.iter().map(|(bp, _)| bp.asize_bytes()).sum();
            assert_eq!(pipeline.allocated_bytes(), said);
            disks.all_io_is_aligned(|_| unit);
            // Either pipeline reads what the other wrote; a repaired header is a whole one.
            let other = disks.builder().ashift(ashift).allocator(Arc::clone(&space) as Arc<_>);
            let other = other.build().unwrap();
            for (bp, data) in &written {
                let dva = bp.dva(0).unwrap();
                let disk = &disks.disks[dva.vdev().0 as usize];
                disk.corrupt(DATA_START_BYTES + dva.offset_bytes(), 512);
                assert!(other.read(bp).every_copy().wait().unwrap() == *data);
            }
            assert_eq!(other.healed().copies, written.len() as u64);
            disks.all_io_is_aligned(|_| unit);
            free_all(&pipeline, &written);
            space.settle(u64::MAX);
            assert_eq!(pipeline.allocated_bytes(), 0);
        }
    }
}

#[test]
fn gangs_over_mixed_units() {
    for large in [false, true] {
        let disks = Disks::new(&[(512, 4096), (4096, 16_384)], 16 * MIB);
        let builder = disks.builder();
        let builder = if large { builder.large_gang_headers() } else { builder };
        let pipeline = builder.build().unwrap();
        // Full of small blocks, of which every other one goes.
        let mut small = Vec::new();
        loop {
            match pipeline.write(noise(1, 8192)).wait() {
                Ok(bp) => small.push(bp),
                Err(error) => break assert_eq!(error.kind(), ErrorKind::NoSpace),
            }
        }
        for bp in small.iter().step_by(2) {
            pipeline.free(bp).wait().unwrap();
        }
        let before = pipeline.allocated_bytes();
        let mut gangs = 0;
        for copies in [1, 2, 1, 2] {
            let data = noise(2, 131_072);
            let bp = pipeline.write(&data).copies(copies).wait().unwrap();
            gangs += usize::from(bp.is_gang());
            let bp = pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
            assert!(pipeline.read(&bp).every_copy().wait().unwrap() == data, "{bp}");
            assert_eq!(pipeline.allocated_bytes() - before, bp.asize_bytes(), "{bp}");
            pipeline.free(&bp).wait().unwrap();
            assert_eq!(pipeline.allocated_bytes(), before);
        }
        assert!(gangs > 0);
        disks.all_io_is_aligned(|number| [4096, 16_384][number]);
    }
}
