//! Classes of space (D4): which write asks for which, where it goes when that is full, what
//! nobody else gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use metaslab::Metaslabs;
use vdev_disk::Memory;
use zio_pipeline::{
    BlockPointer, BuildError, Builder, Checksum, Compression, DATA_START_BYTES, ErrorKind, LogSeed,
    Pipeline, SpaceClass, VdevId, Write,
};

use crate::common::{Gated, MIB, Sim, compressible, noise};

/// Bytes of blocks on a device of this size.
fn data_bytes(size_bytes: u64) -> u64 {
    size_bytes - DATA_START_BYTES - MIB / 2
}

fn memory(size_bytes: u64) -> Arc<Memory> {
    Arc::new(Memory::new(size_bytes, 512))
}

/// An ordinary vdev 0, then one for each of these classes.
fn builder(classes: &[SpaceClass]) -> Builder {
    let ordinary = Pipeline::builder().vdev(memory(32 * MIB));
    classes.iter().fold(ordinary, |builder, &class| builder.for_class(class).vdev(memory(8 * MIB)))
}

/// Special is vdev 1, the log is 2, dedup is 3.
fn of_all_classes() -> Pipeline {
    builder(&[SpaceClass::Special, SpaceClass::Log, SpaceClass::Dedup]).build().unwrap()
}

const SPECIAL: u32 = 1;
const LOG: u32 = 2;
const DEDUP: u32 = 3;

fn vdevs(bp: &BlockPointer) -> Vec<u32> {
    bp.dvas().map(|dva| dva.vdev().0).collect()
}

fn on(write: Write) -> u32 {
    let vdevs = vdevs(&write.wait().unwrap());
    assert!(vdevs.iter().all(|vdev| *vdev == vdevs[0]), "{vdevs:?}");
    vdevs[0]
}

/// Writes until this class's vdevs are used up: the first block that went elsewhere.
fn fill(write: impl Fn(u64) -> Write, vdev: u32) -> (Vec<BlockPointer>, BlockPointer) {
    let mut written = Vec::new();
    for seed in 0.. {
        let bp = write(seed).wait().unwrap();
        if vdevs(&bp) != [vdev] {
            return (written, bp);
        }
        written.push(bp);
    }
    unreachable!()
}

#[test]
fn every_write_asks_for_its_class() {
    let pipeline = of_all_classes();
    let write = || pipeline.write(noise(1, 8192));
    assert_eq!(on(write()), 0);
    assert_eq!(on(write().metadata(0)), SPECIAL);
    assert_eq!(on(write().level(1)), SPECIAL);
    // Types: a file's contents, a directory, a volume, the dedup table, two that say it themselves.
    for (object_type, vdev) in
        [(19, 0), (20, SPECIAL), (23, 0), (42, DEDUP), (0xc1, SPECIAL), (0x81, 0)]
    {
        assert_eq!(on(write().object_type(object_type)), vdev, "type {object_type}");
    }
    assert_eq!(on(write().object_type(42).level(1)), DEDUP);
    assert_eq!(on(write().checksum(Checksum::Sha256).dedup(true)), DEDUP);
    assert_eq!(on(write().small_blocks(8191)), 0);
    assert_eq!(on(write().small_blocks(8192)), SPECIAL);
    // As stored, not as written.
    let shrinks = || pipeline.write(compressible(1, 16_384)).compression(Compression::Lz4);
    let stored = shrinks().wait().unwrap().psize_bytes();
    assert!(stored < 16_384);
    assert_eq!(on(shrinks().small_blocks(stored as u32)), SPECIAL);
    for (number, class) in
        [SpaceClass::Normal, SpaceClass::Special, SpaceClass::Log, SpaceClass::Dedup]
            .into_iter()
            .enumerate()
    {
        assert_eq!(on(write().level(2).space_class(class)), number as u32);
    }
    let seed = LogSeed { chain: [1, 2], objset: 3, sequence: 4 };
    assert_eq!(vdevs(&pipeline.allocate_log(8192, seed).unwrap()), [LOG]);
}

#[test]
fn a_builder_says_which_blocks_are_small() {
    let pipeline = builder(&[SpaceClass::Special]).small_blocks(4096).build().unwrap();
    assert_eq!(on(pipeline.write(noise(1, 4096))), SPECIAL);
    assert_eq!(on(pipeline.write(noise(1, 4608))), 0);
    assert_eq!(on(pipeline.write(noise(1, 4096)).small_blocks(0)), 0);
}

/// The check of row D4.
#[test]
fn metadata_spills_to_ordinary_vdevs_when_special_ones_are_full() {
    let pipeline = builder(&[SpaceClass::Special]).build().unwrap();
    let metadata = |seed| pipeline.write(noise(seed, 65_536)).metadata(0).copies(1);
    let (written, spilt) = fill(metadata, SPECIAL);
    assert_eq!(written.len() as u64, data_bytes(8 * MIB) / 65_536);
    assert_eq!(vdevs(&spilt), [0]);
    assert!(!spilt.is_gang());
    assert!(pipeline.read(&spilt).wait().unwrap() == noise(written.len() as u64, 65_536));
    // Ordinary blocks notice nothing, and what is given back is metadata's again.
    assert_eq!(on(pipeline.write(noise(1, 8192))), 0);
    pipeline.free(&written[3]).wait().unwrap();
    assert_eq!(vdevs(&metadata(9).wait().unwrap()), [SPECIAL]);
    // To the very end: no error but the last, which tells of both.
    let mut last = metadata(1).wait();
    while last.is_ok() {
        last = metadata(1).wait();
    }
    assert_eq!(last.unwrap_err().kind(), ErrorKind::NoSpace);
    assert!(pipeline.free_bytes() < 65_536 + 4096);
}

#[test]
fn each_class_falls_back_in_its_order() {
    let pipeline = of_all_classes();
    let of = |class| {
        let pipeline = &pipeline;
        move |seed| pipeline.write(noise(seed, 65_536)).space_class(class)
    };
    let (_, spilt) = fill(of(SpaceClass::Dedup), DEDUP);
    assert_eq!(vdevs(&spilt), [SPECIAL]);
    let (_, spilt) = fill(of(SpaceClass::Log), LOG);
    assert_eq!(vdevs(&spilt), [SPECIAL]);
    let (_, spilt) = fill(of(SpaceClass::Special), SPECIAL);
    assert_eq!(vdevs(&spilt), [0]);
    for class in SpaceClass::ALL {
        assert_eq!(on(of(class)(1)), 0, "{class:?}");
    }
    let seed = LogSeed { chain: [1, 2], objset: 3, sequence: 4 };
    assert_eq!(vdevs(&pipeline.allocate_log(8192, seed).unwrap()), [0]);
}

#[test]
fn space_set_apart_is_not_promised_to_ordinary_blocks() {
    let pipeline = of_all_classes();
    let (ordinary, apart) = (data_bytes(32 * MIB), data_bytes(8 * MIB));
    assert_eq!(pipeline.free_bytes(), ordinary);
    assert_eq!(pipeline.free_bytes_of(SpaceClass::Special), ordinary + apart);
    assert_eq!(pipeline.free_bytes_of(SpaceClass::Log), ordinary + 2 * apart);
    assert_eq!(pipeline.free_bytes_of(SpaceClass::Dedup), ordinary + 2 * apart);
    let (mut written, mut bytes) = (Vec::new(), 0);
    let error = loop {
        match pipeline.write(noise(1, 131_072)).wait() {
            Ok(bp) => {
                assert!(bp.dvas().all(|dva| dva.vdev() == VdevId(0)));
                bytes += bp.asize_bytes();
                written.push(bp);
            }
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(pipeline.allocated_bytes(), bytes, "the refused one left nothing");
    assert!(pipeline.free_bytes() < 131_072 + 4096);
    // For metadata there still is some.
    assert_eq!(on(pipeline.write(noise(1, 131_072)).metadata(0)), SPECIAL);
    for bp in written {
        pipeline.free(&bp).wait().unwrap();
    }
    assert_eq!(pipeline.free_bytes(), ordinary);
}

#[test]
fn contents_leave_the_last_quarter_of_special_vdevs_to_metadata() {
    let pipeline = builder(&[SpaceClass::Special]).small_blocks(65_536).build().unwrap();
    let (small, spilt) = fill(|seed| pipeline.write(noise(seed, 65_536)), SPECIAL);
    let apart = data_bytes(8 * MIB);
    let left = apart - small.len() as u64 * 65_536;
    assert!((apart / 4..apart / 4 + 65_536).contains(&left), "{left}");
    assert_eq!(vdevs(&spilt), [0]);
    let metadata = |seed| pipeline.write(noise(seed, 65_536)).level(1);
    let (written, _) = fill(metadata, SPECIAL);
    assert_eq!(written.len() as u64, left / 65_536);
}

/// Blocks found by the dedup table are many and large: those that have no room beside the table
/// do not crowd metadata out.
#[test]
fn blocks_with_dedup_do_not_go_to_special_vdevs() {
    let classes = [SpaceClass::Special, SpaceClass::Log, SpaceClass::Dedup];
    let shared = |pipeline: &Pipeline, seed| {
        pipeline.write(noise(seed, 65_536)).checksum(Checksum::Sha256).dedup(true)
    };
    let pipeline = builder(&classes).build().unwrap();
    let (written, spilt) = fill(|seed| shared(&pipeline, seed), DEDUP);
    assert_eq!(vdevs(&spilt), [0]);
    let left = data_bytes(8 * MIB) - written.len() as u64 * 65_536;
    assert!(left >= data_bytes(8 * MIB) / 4);
    let pipeline = builder(&classes[..2]).build().unwrap();
    assert_eq!(on(shared(&pipeline, 1)), 0);
}

/// Pieces follow their leader, one by one to where there is room.
#[test]
fn gangs_of_metadata_take_what_is_left_of_special_vdevs() {
    let pipeline = builder(&[SpaceClass::Special]).build().unwrap();
    // Holes of 4 KiB in both, and nothing else.
    let unit = |seed, class| pipeline.write(noise(seed, 4096)).space_class(class);
    let mut written: BTreeMap<u32, Vec<BlockPointer>> = BTreeMap::new();
    let mut class = SpaceClass::Special;
    loop {
        match unit(1, class).wait() {
            Ok(bp) => written.entry(vdevs(&bp)[0]).or_default().push(bp),
            Err(_) if class == SpaceClass::Normal => break,
            Err(_) => class = SpaceClass::Normal,
        }
    }
    for (vdev, holes) in [(SPECIAL, 8), (0, 64)] {
        for bp in written[&vdev].iter().step_by(2).take(holes) {
            pipeline.free(bp).wait().unwrap();
        }
    }
    let data = noise(7, 65_536);
    let bp = pipeline.write(&data).level(1).wait().unwrap();
    assert!(bp.is_gang());
    assert!(pipeline.read(&bp).wait().unwrap() == data);
    // All eight holes are used before the ordinary ones: for its header, and its pieces.
    assert_eq!(pipeline.free_bytes_of(SpaceClass::Special), pipeline.free_bytes());
    // An ordinary block has ordinary holes, and as many as it needs or none.
    pipeline.free(&bp).wait().unwrap();
    let ordinary = pipeline.write(&data).wait().unwrap();
    assert!(ordinary.is_gang());
    assert_eq!(pipeline.free_bytes_of(SpaceClass::Special), pipeline.free_bytes() + 8 * 4096);
    let large = pipeline.write(noise(1, 262_144)).wait().unwrap_err();
    assert_eq!(large.kind(), ErrorKind::NoSpace);
    for bp in written[&SPECIAL].iter().skip(20).take(64) {
        pipeline.free(bp).wait().unwrap();
    }
    let large = pipeline.write(noise(1, 262_144)).wait().unwrap_err();
    assert_eq!(large.kind(), ErrorKind::NoSpace, "special space does not count for it");
}

/// A log block can be had on a pool without any other extent of its size.
#[test]
fn a_region_of_logs_is_kept_on_a_pool_in_pieces() {
    let sim = Sim::new(1, 1);
    let config = metaslab::Config {
        defer_txgs: 0,
        shards: Some(1),
        region_bytes_min: MIB,
        slop_divisor: 32,
        ..metaslab::Config::default()
    };
    let space = Arc::new(Metaslabs::new(config));
    space.add_vdev(VdevId(0), data_bytes(64 * MIB), 12).unwrap();
    let given = Arc::clone(&space);
    let pipeline = sim.builder().allocator(given).build().unwrap();
    let mut written = Vec::new();
    while let Ok(bp) = pipeline.write(noise(1, 4096)).wait() {
        written.push(bp);
    }
    // What makes space may go on, in what is held back, but not where the logs are.
    let of_logs = space.class_space(SpaceClass::Normal).free_of_logs_bytes;
    assert!(of_logs >= MIB);
    while pipeline.free_bytes() > of_logs {
        written.push(pipeline.write(noise(1, 4096)).uses_slop().wait().unwrap());
    }
    written.iter().step_by(2).take(64).for_each(|bp| pipeline.free(bp).wait().unwrap());
    let seed = |sequence| LogSeed { chain: [1, 2], objset: 3, sequence };
    for sequence in 0..of_logs / 131_072 {
        pipeline.allocate_log(131_072, seed(sequence)).unwrap();
        // Ordinary blocks meanwhile get along with pieces.
        if sequence < 3 {
            let bp = pipeline.write(noise(2, 16_384)).uses_slop().wait().unwrap();
            assert!(bp.is_gang(), "{bp}");
        }
    }
    assert_eq!(pipeline.allocate_log(131_072, seed(0)).unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn claims_frees_and_trims_know_no_class() {
    let disks = [32, 8, 8].map(|mib| memory(mib * MIB));
    let open = || {
        let [ordinary, special, log] = disks.clone();
        let builder = Pipeline::builder().vdev(ordinary).for_class(SpaceClass::Special);
        let builder = builder.vdev(special).for_class(SpaceClass::Log).vdev(log);
        builder.defer_frees(2).build().unwrap()
    };
    let first = open();
    let metadata = first.write(noise(1, 8192)).metadata(0).wait().unwrap();
    let log = first.allocate_log(8192, LogSeed { chain: [1, 2], objset: 3, sequence: 4 }).unwrap();
    drop(first);
    let second = open();
    for bp in [metadata, log] {
        second.claim(&bp).wait().unwrap();
        assert_eq!(second.claim(&bp).wait().unwrap_err().kind(), ErrorKind::NotFound);
        let dva = bp.dva(0).unwrap();
        let trim = second.trim(dva.vdev(), dva.offset_bytes(), dva.asize_bytes());
        assert_eq!(trim.wait().unwrap_err().kind(), ErrorKind::NotFound);
        second.free(&bp).wait().unwrap();
    }
    (0..3).for_each(|_| _ = second.end_txg());
    assert_eq!(second.allocated_bytes(), 0);
    second.trim(VdevId(2), 0, MIB).wait().unwrap();
    (0..3).for_each(|_| _ = second.end_txg());
    assert_eq!(second.allocated_bytes(), 0);
}

/// Metadata that waits for a special device that does not answer holds no other block up.
#[test]
fn each_class_waits_for_its_own_devices() {
    let special = Gated::new(64 * MIB);
    let pipeline = Pipeline::builder()
        .vdev(memory(64 * MIB))
        .for_class(SpaceClass::Special)
        .vdev(Arc::clone(&special) as Arc<_>)
        .build()
        .unwrap();
    let metadata = |seed| pipeline.write(noise(seed, 1 << 20)).level(1).start().unwrap();
    let waiting: Vec<_> = (0..40).map(metadata).collect();
    while pipeline.stats().throttle.waiting == 0 {
        std::thread::yield_now();
    }
    for seed in 0..40 {
        assert_eq!(on(pipeline.write(noise(seed, 1 << 20))), 0);
    }
    special.open();
    for write in waiting {
        assert_eq!(vdevs(&write.wait().unwrap()), [SPECIAL]);
    }
}

#[test]
fn a_pool_needs_an_ordinary_vdev() {
    let builder = Pipeline::builder().for_class(SpaceClass::Log).vdev(memory(32 * MIB));
    assert!(matches!(builder.build(), Err(BuildError::NoNormalDevice)));
}
