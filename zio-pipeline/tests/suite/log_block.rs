//! Log blocks: placed first, written later, verified by their seed (C10).

use std::sync::Arc;

use parking_lot::Mutex;
use vdev_sim::{Effect, Fault, OpKind, SimAllocator, SimAllocatorConfig};
use zio_core::{
    Allocator, Dva, Dvas, NoSpace, Slots, SpaceClass, SpaceError, Txg, VdevErrorKind, Want,
};
use zio_pipeline::{BlockPointer, ByteOrder, Data, ErrorKind, LogSeed, Pipeline};

use crate::common::{MIB, Sim, noise, on_memory};

const SEED: LogSeed = LogSeed { chain: [11, 12], objset: 5, sequence: 7 };

/// A word as this machine writes it.
fn native(word: u64) -> [u8; 8] {
    match ByteOrder::NATIVE {
        ByteOrder::Little => word.to_le_bytes(),
        ByteOrder::Big => word.to_be_bytes(),
    }
}

/// A block of 8 KiB with so many used bytes, which points at `next`.
fn content(next: &BlockPointer, used_bytes: u64) -> Vec<u8> {
    let mut block = noise(used_bytes, 8192);
    block[8..136].copy_from_slice(&next.to_bytes_in(ByteOrder::NATIVE));
    block[136..144].copy_from_slice(&native(used_bytes));
    block
}

fn chain_of_two(pipeline: &Pipeline) -> [BlockPointer; 2] {
    [7, 8].map(|sequence| pipeline.allocate_log(8192, LogSeed { sequence, ..SEED }).unwrap())
}

#[test]
fn what_is_written_is_read_by_the_pointer_made_before() {
    let pipeline = on_memory(32 * MIB);
    let [bp, next] = chain_of_two(&pipeline);
    assert_eq!((LogSeed::of(&bp), bp.copies(), bp.birth()), (Some(SEED), 1, pipeline.txg()));
    assert_eq!(LogSeed::of(&next).unwrap().sequence, 8);
    assert_eq!(pipeline.allocated_bytes(), 16_384);
    // It is a pointer like any other: it passes the check on its way in.
    assert_eq!(pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())), Ok(bp));

    let mine = Data::from(pipeline.buffer(8192));
    assert!(pipeline.write_log(&bp, mine).wait().is_err(), "a head of noise says nonsense");
    let block = content(&next, 5000);
    let mut buffer = pipeline.buffer(8192);
    buffer.copy_from_slice(&block);
    let mine = Data::from(buffer);
    pipeline.write_log(&bp, mine.clone()).wait().unwrap();
    assert!(mine == block, "the caller's data has changed");
    let read = pipeline.read(&bp).wait().unwrap().to_vec();
    assert!(read[..144] == block[..144] && read[184..] == block[184..]);
    // Nothing stands at the next one yet.
    let nothing = pipeline.read(&next).speculative().wait().unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Checksum);
    for bp in [bp, next] {
        pipeline.free(&bp).wait().unwrap();
    }
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn a_block_of_another_chain_or_number_does_not_verify() {
    let pipeline = on_memory(32 * MIB);
    let [bp, next] = chain_of_two(&pipeline);
    pipeline.write_log(&bp, content(&next, 184)).wait().unwrap();
    for word in 0..4 {
        let (mut other, mut words) = (bp, bp.checksum());
        words[word] += 1;
        other.set_checksum(words);
        assert_eq!(pipeline.read(&other).wait().unwrap_err().kind(), ErrorKind::Checksum);
    }
    pipeline.read(&bp).wait().unwrap();
}

#[test]
fn only_what_was_placed_is_written_and_only_in_its_size() {
    let pipeline = on_memory(32 * MIB);
    let [bp, next] = chain_of_two(&pipeline);
    let plain = pipeline.write(noise(1, 8192)).wait().unwrap();
    assert_eq!(LogSeed::of(&plain), None);
    let block = content(&next, 184);
    for (bp, data) in [
        (plain, &block[..]),
        (BlockPointer::EMPTY, &block[..]),
        (BlockPointer::hole(8192, 9, 0, 1), &block[..]),
        (bp, &block[..4096]),
        (bp, &[]),
    ] {
        assert_eq!(pipeline.write_log(&bp, data).wait().unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert!(pipeline.read(&plain).wait().unwrap() == noise(1, 8192));
    for size_bytes in [0, 512, 4095, 6144, (16 << 20) + 4096] {
        let refused = pipeline.allocate_log(size_bytes, SEED).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{size_bytes}");
    }
    while pipeline.allocate_log(1 << 20, SEED).is_ok() {}
    assert_eq!(pipeline.allocate_log(1 << 20, SEED).unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn a_failed_write_of_a_log_block_keeps_its_place() {
    let sim = Sim::new(1, 2);
    let pipeline = sim.pipeline();
    let [bp, next] = chain_of_two(&pipeline);
    let (disk, _) = sim.place(&bp, 0);
    disk.inject(Fault::new(Effect::Fail(VdevErrorKind::Io)).on(OpKind::Write).always());
    let before = pipeline.allocated_bytes();
    let failed = pipeline.write_log(&bp, content(&next, 184)).wait().unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Io);
    assert_eq!(pipeline.allocated_bytes(), before);
    pipeline.free(&bp).wait().unwrap();
}

/// An allocator that remembers what it was asked for.
#[derive(Debug)]
struct Asked {
    inner: Arc<SimAllocator>,
    wants: Mutex<Vec<Want>>,
}

impl Allocator for Asked {
    fn allocate(&self, want: &Want) -> Result<Dvas, NoSpace> {
        self.wants.lock().push(want.clone());
        self.inner.allocate(want)
    }
    fn free(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.inner.free(dva, txg)
    }
    fn unallocate(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.inner.unallocate(dva, txg)
    }
    fn claim(&self, dva: Dva, txg: Txg) -> Result<(), SpaceError> {
        self.inner.claim(dva, txg)
    }
    fn check_claim(&self, dva: Dva) -> Result<(), SpaceError> {
        self.inner.check_claim(dva)
    }
    fn reserve(&self, bytes: u64) -> Option<Slots> {
        self.inner.reserve(bytes)
    }
    fn largest_bytes(&self) -> u64 {
        self.inner.largest_bytes()
    }
    fn free_bytes(&self) -> u64 {
        self.inner.free_bytes()
    }
    fn allocated_bytes(&self) -> u64 {
        self.inner.allocated_bytes()
    }
}

#[test]
fn space_for_a_log_is_asked_for_as_such() {
    let sim = Sim::new(2, 1);
    let inner = SimAllocator::new(SimAllocatorConfig::new(2, &[59 * MIB]));
    let asked = Arc::new(Asked { inner, wants: Mutex::default() });
    let allocator = Arc::clone(&asked) as Arc<dyn Allocator>;
    let pipeline = sim.builder().allocator(allocator).txg(6).build().unwrap();
    pipeline.allocate_log(8192, SEED).unwrap();
    pipeline.write(noise(1, 4096)).wait().unwrap();
    let wants = std::mem::take(&mut *asked.wants.lock());
    let classes: Vec<_> = wants.iter().map(|want| want.class).collect();
    assert_eq!(classes, [SpaceClass::Log, SpaceClass::Normal]);
    let log = &wants[0];
    assert_eq!((log.size_bytes, log.copies, log.txg, log.affinity), (8192, 1, 6, 5));
}
