//! Writes that replace a block: kept where it is equal (C5), or a hole with a birth (B3).

use std::sync::Arc;

use parking_lot::Mutex;
use vdev_sim::OpKind;
use zio_core::Flags;
use zio_pipeline::{BlockPointer, Checksum, Compression, Pipeline, Write, ZstdLevel};

use crate::common::{MIB, Sim, compressible, noise, on_memory};
use crate::gangs::Fragmented;

const STRONG: [Checksum; 5] =
    [Checksum::Sha256, Checksum::Sha512_256, Checksum::Skein, Checksum::Edonr, Checksum::Blake3];

const ZSTD: Compression = Compression::Zstd(ZstdLevel::DEFAULT);

pub(crate) fn strong(pipeline: &Pipeline, data: &[u8]) -> Write {
    pipeline.write(data).checksum(Checksum::Sha256).compression(Compression::Lz4)
}

pub(crate) fn writes(sim: &Sim) -> usize {
    sim.take_log(OpKind::Write).len()
}

#[test]
fn an_equal_block_is_kept() {
    let sim = Sim::new(1, 3);
    let pipeline = sim.pipeline();
    for checksum in STRONG {
        for compression in [Compression::Empty, Compression::Lz4, ZSTD] {
            for (data, copies) in [(compressible(1, 65_536), 1), (noise(2, 8192), 3)] {
                let write = || {
                    let write = pipeline.write(&data).copies(copies).checksum(checksum);
                    write.compression(compression).object_type(20)
                };
                let old = write().wait().unwrap();
                pipeline.end_txg();
                let (held, _) = (pipeline.allocated_bytes(), writes(&sim));
                let ready = Arc::new(Mutex::new(None));
                let seen = Arc::clone(&ready);
                let new = write().over(&old).on_ready(move |bp| *seen.lock() = Some(*bp));
                let new = new.wait().unwrap();
                assert_eq!(new, old);
                assert!(new.birth() < pipeline.txg());
                assert_eq!(*ready.lock(), Some(old));
                assert_eq!((writes(&sim), pipeline.allocated_bytes()), (0, held));
                assert!(!old.is_replaced_by(&new));
                assert!(pipeline.read(&new).wait().unwrap() == data);
            }
        }
    }
}

#[test]
fn whatever_differs_is_written() {
    let sim = Sim::new(2, 3);
    let pipeline = sim.pipeline();
    let data = compressible(1, 65_536);
    // What an eighth cannot be saved of is stored alike with every compression.
    let plain = noise(1, 65_536);
    let mut other = data.clone();
    other[65_535] ^= 1;
    type Make<'a> = Box<dyn Fn() -> Write + 'a>;
    let make = |write: fn(&Pipeline, &[u8]) -> Write, data| -> Make<'_> {
        let pipeline = &pipeline;
        Box::new(move || write(pipeline, data))
    };
    let strong_of = |data| make(strong, data);
    let cases: Vec<(&str, Make<'_>, Make<'_>)> = vec![
        ("contents", strong_of(&data), strong_of(&other)),
        (
            "weak checksum",
            { make(|p, data| p.write(data).compression(Compression::Lz4), &data) },
            make(|p, data| p.write(data).compression(Compression::Lz4), &data),
        ),
        ("checksum", strong_of(&data), {
            make(|p, data| strong(p, data).checksum(Checksum::Blake3), &data)
        }),
        ("compression", strong_of(&data), {
            make(|p, data| strong(p, data).compression(Compression::Lzjb), &data)
        }),
        ("no compression", strong_of(&plain), {
            make(|p, data| strong(p, data).compression(Compression::Off), &plain)
        }),
        ("more copies", strong_of(&data), make(|p, data| strong(p, data).copies(2), &data)),
        ("fewer copies", make(|p, data| strong(p, data).copies(3), &data), {
            make(|p, data| strong(p, data).copies(2), &data)
        }),
        ("type", strong_of(&data), make(|p, data| strong(p, data).object_type(20), &data)),
        ("level", strong_of(&data), make(|p, data| strong(p, data).level(1), &data)),
        ("parents", make(|p, data| strong(p, data).level(1), &data), {
            make(|p, data| strong(p, data).level(1), &data)
        }),
        ("dedup", strong_of(&data), make(|p, data| strong(p, data).dedup(true), &data)),
        ("no dedup", make(|p, data| strong(p, data).dedup(true), &data), strong_of(&data)),
        ("not wanted", strong_of(&data), {
            make(|p, data| strong(p, data).nop_write(false), &data)
        }),
        ("was embedded", make(|p, _| strong(p, &[5; 65_536]), &data), strong_of(&data)),
        ("was a hole", make(|p, _| strong(p, &[0; 65_536]), &data), strong_of(&data)),
    ];
    for (what, before, after) in cases {
        let old = before().wait().unwrap();
        let was = pipeline.read(&old).wait().unwrap().to_vec();
        let txg = pipeline.end_txg() + 1;
        writes(&sim);
        let new = after().over(&old).wait().unwrap();
        assert!(!new.same_block(&old) && writes(&sim) > 0, "{what}");
        assert_eq!((new.birth(), new.physical_birth()), (txg, txg), "{what}");
        assert!(old.copies() == 0 || old.is_replaced_by(&new), "{what}");
        assert!(pipeline.read(&old).wait().unwrap() == was, "{what}");
        let is = if what == "contents" { &other } else { &data };
        let is = if what == "no compression" { &plain } else { is };
        assert!(pipeline.read(&new).wait().unwrap() == *is, "{what}");
        for bp in [&old, &new] {
            pipeline.free(bp).wait().unwrap();
        }
        assert_eq!((pipeline.allocated_bytes(), pipeline.dedup_references()), (0, 0), "{what}");
    }
    // Equal, and not said to replace anything.
    let old = strong(&pipeline, &data).wait().unwrap();
    assert!(strong(&pipeline, &data).wait().unwrap().dva(0) != old.dva(0));
}

/// Its MAC, which is not taken for a checksum, is all that proves an authenticated block.
#[cfg(feature = "crypt")]
#[test]
fn a_block_with_a_mac_is_never_kept() {
    use zio_pipeline::{DatasetKeys, Suite};
    let sim = Sim::new(3, 1);
    let keys = DatasetKeys::new(Suite::Aes256Gcm, &[1; 32]).unwrap().hmac(&[2; 64]).unwrap();
    let pipeline = sim.builder().keys(keys).build().unwrap();
    for object_type in [1, 19] {
        let data = compressible(1, 65_536);
        let write = || strong(&pipeline, &data).encrypt(true).object_type(object_type);
        let old = write().wait().unwrap();
        let new = write().over(&old).wait().unwrap();
        assert!(old.is_replaced_by(&new), "type {object_type}");
        // Within a sync it is written over like any other, with an IV of its own.
        let newer = write().over(&new).sync_pass(2).wait().unwrap();
        assert!(!new.is_replaced_by(&newer));
        assert_eq!(new.crypt_words() == newer.crypt_words(), object_type == 1);
        assert!(pipeline.read(&newer).wait().unwrap() == data);
    }
}

/// Addresses count headers: one more than copies, unless there are three.
#[test]
fn a_gang_is_kept_where_it_has_as_many_headers_as_copies() {
    let pool = Fragmented::new(3, 3, 9, 4096);
    let pipeline = pool.pipeline(9);
    for copies in 1..=3 {
        let write = || strong(&pipeline, &noise(1, 65_536)).copies(copies);
        let old = write().wait().unwrap();
        assert!(old.is_gang());
        let held = pipeline.allocated_bytes();
        let new = write().over(&old).wait().unwrap();
        assert_eq!(old.is_replaced_by(&new), copies < 3);
        assert_eq!(pipeline.allocated_bytes() == held, copies == 3);
        assert!(pipeline.read(&new).wait().unwrap() == noise(1, 65_536));
    }
}

/// What whoever looks at the finished request can tell.
#[test]
fn a_finished_write_says_that_it_kept_or_wrote_over() {
    let sim = Sim::new(10, 1);
    let pipeline = sim.pipeline();
    let old = strong(&pipeline, &noise(1, 8192)).wait().unwrap();
    let both = Flags::NOPWRITE | Flags::IO_REWRITE;
    for (seed, pass, expected) in [
        (1, 1, Flags::NOPWRITE),
        (2, 1, Flags::empty()),
        (2, 2, Flags::IO_REWRITE),
        (2, 3, Flags::empty()),
    ] {
        let completions = pipeline.completions();
        let write = strong(&pipeline, &noise(seed, 8192)).over(&old);
        let write = if pass == 3 { write.copies(2) } else { write.sync_pass(pass) };
        write.send_to(&completions, 0).unwrap();
        let (_, finished) = completions.next().unwrap();
        assert_eq!(finished.get().flags() & both, expected, "contents {seed}, pass {pass}");
    }
}

/// Same space, same births, one reference more.
#[test]
fn a_shared_block_that_replaces_its_equal_leaves_one_to_be_freed() {
    let sim = Sim::new(11, 1);
    let pipeline = sim.pipeline();
    let write = || strong(&pipeline, &noise(1, 8192)).dedup(true);
    let old = write().wait().unwrap();
    let new = write().over(&old).wait().unwrap();
    assert!(new == old && pipeline.dedup_references() == 2);
    assert!(old.is_replaced_by(&new));
    pipeline.free(&old).wait().unwrap();
    assert!(pipeline.read(&new).wait().unwrap() == noise(1, 8192));
    pipeline.free(&new).wait().unwrap();
    assert_eq!((pipeline.dedup_references(), pipeline.allocated_bytes()), (0, 0));
}

#[test]
fn zeros_of_every_length_are_a_hole() {
    let sim = Sim::new(8, 1);
    let pipeline = sim.builder().txg(7).build().unwrap();
    let lens = (1..=256).chain([2048, 32_767, 32_768]).map(|sectors| sectors * 512);
    for (number, len) in lens.enumerate() {
        let compression = [Compression::Empty, Compression::Lz4, ZSTD][number % 3];
        let write = pipeline.write(vec![0; len]).compression(compression);
        let bp = write.object_type(20).level(1).copies(3).wait().unwrap();
        assert_eq!(bp, BlockPointer::hole(len as u64, 20, 1, 7));
        assert!(bp.is_hole() && bp.birth() == 7 && bp.lsize_bytes() == len as u64);
        let checked = pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
        let data = pipeline.read(&checked).wait().unwrap();
        assert!(data.len() == len && data.chunks().flatten().all(|byte| *byte == 0));
    }
    assert_eq!((sim.disks[0].counters().writes, pipeline.allocated_bytes()), (0, 0));
}

#[test]
fn one_byte_anywhere_is_no_hole() {
    let pipeline = on_memory(64 * MIB);
    let mut data = vec![0; 1536];
    for at in 0..data.len() {
        data[at] = 1 << (at % 8);
        let bp = pipeline.write(&data).compression(Compression::Empty).wait().unwrap();
        assert!(!bp.is_hole() && pipeline.read(&bp).wait().unwrap() == data, "byte {at}");
        pipeline.free(&bp).wait().unwrap();
        data[at] = 0;
    }
}

#[test]
fn a_hole_says_when_its_block_went_away() {
    let sim = Sim::new(9, 1);
    let pipeline = sim.pipeline();
    let old = pipeline.write(noise(1, 8192)).wait().unwrap();
    let txg = pipeline.end_txg() + 1;
    let zeros = || {
        let write = pipeline.write(vec![0; 8192]).compression(Compression::Lz4);
        write.object_type(20).level(2)
    };
    let hole = zeros().over(&old).wait().unwrap();
    assert_eq!(hole, BlockPointer::hole(8192, 20, 2, txg));
    assert!(old.is_replaced_by(&hole));
    pipeline.end_txg();
    assert_eq!(zeros().over(&hole).wait().unwrap().birth(), txg + 1);
    // Nothing went away: still never written.
    let nothing = zeros().over(&BlockPointer::EMPTY).wait().unwrap();
    assert_eq!(nothing, BlockPointer::EMPTY);
    let data = pipeline.read(&nothing).size_if_never_written(8192).wait().unwrap();
    assert!(data == vec![0; 8192]);
    // A block where nothing was.
    let first = pipeline.write(noise(1, 8192)).over(&BlockPointer::EMPTY).wait().unwrap();
    assert!(pipeline.read(&first).wait().unwrap() == noise(1, 8192));
}
