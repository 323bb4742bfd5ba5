//! Raw blocks (C12): what was stored in one pool is stored in another, as it is, by somebody
//! who need not have its key.

use zio_core::bp::Properties;
use zio_pipeline::{
    BlockPointer, ByteOrder, Checksum, Compression, ErrorKind, GzipLevel, Pipeline, Write,
    ZstdLevel,
};

use crate::common::{MIB, Sim, compressible, noise, on_memory};

fn compressions() -> [Compression; 5] {
    let gzip = Compression::Gzip(GzipLevel::new(6).unwrap());
    let zstd = Compression::Zstd(ZstdLevel::DEFAULT);
    [Compression::Lz4, Compression::Lzjb, Compression::Zle, zstd, gzip]
}

fn on(sim: &Sim, ashift: u32) -> Pipeline {
    sim.builder().ashift(ashift).build().unwrap()
}

/// From one pool to the other.
fn copy(from: &Pipeline, to: &Pipeline, bp: &BlockPointer) -> Write {
    let read = from.read(bp).raw();
    let read = if *bp == BlockPointer::EMPTY { read.size_if_never_written(8192) } else { read };
    to.write_raw(read.wait().unwrap(), bp)
}

fn checked(pipeline: &Pipeline, bp: &BlockPointer) -> BlockPointer {
    pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap()
}

fn stored(sim: &Sim, bp: &BlockPointer) -> Vec<u8> {
    let (disk, at) = sim.place(bp, 0);
    disk.peek(at, bp.psize_bytes() as usize)
}

fn kind_of(write: Write) -> ErrorKind {
    write.wait().map(|bp| bp.to_string()).unwrap_err().kind()
}

#[test]
fn a_block_arrives_as_it_was_stored() {
    let (here, there) = (Sim::new(1, 1), Sim::new(2, 2));
    let (from, to) = (on(&here, 9), on(&there, 9));
    to.end_txg();
    for checksum in [Checksum::Fletcher4, Checksum::Sha256, Checksum::Blake3] {
        for compression in compressions() {
            // The last compresses once more, were it tried.
            for data in [compressible(256, 65_536), noise(2, 8192), vec![7; 131_072]] {
                let write = from.write(&data).checksum(checksum).compression(compression);
                let bp = write.object_type(20).level(1).wait().unwrap();
                let write = copy(&from, &to, &bp).copies(2);
                // The form is what it is, whatever is asked.
                let write = write.compression(Compression::Lz4).object_type(19).level(0);
                let arrived = checked(&to, &write.wait().unwrap());
                assert_eq!(arrived.properties(), bp.properties());
                assert_eq!(arrived.checksum(), bp.checksum());
                assert_eq!((arrived.copies(), arrived.birth(), arrived.fill()), (2, 2, 1));
                assert!(stored(&there, &arrived) == stored(&here, &bp), "{bp}");
                assert!(to.read(&arrived).wait().unwrap() == data, "{bp}");
                to.free(&arrived).wait().unwrap();
                from.free(&bp).wait().unwrap();
            }
        }
    }
    assert_eq!(to.allocated_bytes(), 0);
    // With another checksum, where that is wanted.
    let bp = from.write(compressible(1, 65_536)).compression(Compression::Lz4).wait().unwrap();
    let arrived = copy(&from, &to, &bp).checksum(Checksum::Sha256).wait().unwrap();
    let direct = from.write(compressible(1, 65_536)).compression(Compression::Lz4);
    assert_eq!(arrived.checksum(), direct.checksum(Checksum::Sha256).wait().unwrap().checksum());
    assert!(to.read(&arrived).wait().unwrap() == compressible(1, 65_536));
}

#[test]
fn a_larger_unit_pads_what_is_compressed() {
    let (here, there) = (Sim::new(3, 1), Sim::new(4, 1));
    let (from, to) = (on(&here, 9), on(&there, 12));
    for compression in compressions() {
        // Runs of zeros, for the sake of zle. 18 sectors or so become 3 units of 8 sectors each.
        let data = compressible(256, 16_384);
        let bp = from.write(&data).compression(compression).wait().unwrap();
        assert!(!bp.psize_bytes().is_multiple_of(4096), "{bp}");
        let arrived = checked(&to, &copy(&from, &to, &bp).wait().unwrap());
        assert_eq!(arrived.psize_bytes(), bp.psize_bytes().next_multiple_of(4096));
        assert_eq!(arrived.compression(), bp.compression());
        assert_eq!(arrived.asize_bytes(), arrived.psize_bytes());
        assert!(to.read(&arrived).wait().unwrap() == data, "{arrived}");
        // And no further on the way back.
        let back = copy(&to, &from, &arrived).wait().unwrap();
        assert_eq!(back.psize_bytes(), arrived.psize_bytes());
        assert!(from.read(&back).wait().unwrap() == data);
        // Padded it would be as large as the block.
        let data = compressible(256, 4096);
        let bp = from.write(&data).compression(compression).wait().unwrap();
        let arrived = copy(&from, &to, &bp).wait().unwrap();
        assert_eq!(arrived.psize_bytes(), bp.psize_bytes());
        assert_eq!(arrived.asize_bytes(), 4096);
        assert!(to.read(&arrived).wait().unwrap() == data, "{arrived}");
    }
}

#[test]
fn what_is_nowhere_but_in_its_pointer_stays_there() {
    let (here, there) = (Sim::new(5, 1), Sim::new(6, 1));
    let (from, to) = (on(&here, 12), on(&there, 12));
    to.end_txg();
    for data in [vec![5; 16_384], vec![0; 16_384]] {
        let write = from.write(&data).compression(Compression::Lz4).object_type(20);
        let bp = write.wait().unwrap();
        let arrived = checked(&to, &copy(&from, &to, &bp).wait().unwrap());
        assert_eq!((arrived.is_hole(), arrived.is_embedded()), (bp.is_hole(), bp.is_embedded()));
        assert_eq!((arrived.birth(), arrived.object_type()), (2, 20));
        assert!(to.read(&arrived).wait().unwrap() == data);
    }
    let nothing = copy(&from, &to, &BlockPointer::EMPTY).wait().unwrap();
    assert_eq!(nothing, BlockPointer::EMPTY);
    assert_eq!((to.allocated_bytes(), there.disks[0].counters().writes), (0, 0));
}

/// Zeros that are stored as such are what somebody stored: they may be authentic.
#[test]
fn zeros_are_not_looked_for_but_in_dnodes() {
    let (here, there) = (Sim::new(7, 1), Sim::new(8, 1));
    let (from, to) = (on(&here, 12), on(&there, 12));
    for (object_type, level, hole) in [(19, 0, false), (10, 0, true), (10, 1, false)] {
        let write = from.write(vec![0; 16_384]).object_type(object_type).level(level);
        let bp = write.wait().unwrap();
        assert!(!bp.is_hole());
        let arrived = copy(&from, &to, &bp).wait().unwrap();
        assert_eq!(arrived.is_hole(), hole, "type {object_type} level {level}");
        assert_eq!(arrived.lsize_bytes(), 16_384);
        assert!(to.read(&arrived).wait().unwrap() == vec![0; 16_384]);
        // One byte is enough.
        let mut data = vec![0; 16_384];
        data[16_383] = 1;
        let bp = from.write(&data).object_type(object_type).level(level).wait().unwrap();
        assert!(!copy(&from, &to, &bp).wait().unwrap().is_hole());
    }
}

#[test]
fn a_raw_block_replaces_and_is_shared_like_any_other() {
    let (here, there) = (Sim::new(9, 1), Sim::new(10, 1));
    let (from, to) = (on(&here, 12), on(&there, 12));
    let data = compressible(1, 65_536);
    let write = from.write(&data).compression(Compression::Lz4).checksum(Checksum::Sha256);
    let bp = write.wait().unwrap();
    let first = copy(&from, &to, &bp).wait().unwrap();
    to.end_txg();
    assert_eq!(copy(&from, &to, &bp).over(&first).wait().unwrap(), first);
    let shared = [0; 2].map(|_| copy(&from, &to, &bp).dedup(true).wait().unwrap());
    assert!(shared[0] == shared[1] && shared[0].is_dedup());
    assert_eq!(to.dedup_references(), 2);
    assert!(to.read(&shared[0]).wait().unwrap() == data);
    // The very block that a write of the data would share.
    let write = to.write(&data).compression(Compression::Lz4).checksum(Checksum::Sha256);
    assert_eq!(write.dedup(true).wait().unwrap(), shared[0]);
}

#[test]
fn the_writer_of_another_byte_order_keeps_it() {
    let sim = Sim::new(11, 1);
    let pipeline = on(&sim, 12);
    let data = noise(1, 8192);
    let like = BlockPointer::with_properties(&Properties {
        order: ByteOrder::Big,
        ..Properties::plain(8192)
    });
    let mut at = like;
    at.set_dva(0, zio_core::Dva::new(zio_pipeline::VdevId(0), 0, 8192));
    let bp = pipeline.write_raw(&data, &at).wait().unwrap();
    assert_eq!(bp.order(), ByteOrder::Big);
    let native = pipeline.write(&data).wait().unwrap();
    assert!(bp.checksum() != native.checksum());
    assert!(pipeline.read(&bp).wait().unwrap() == data);
}

#[test]
fn what_cannot_be_stored_like_that_is_refused() {
    let sim = Sim::new(12, 3);
    let pipeline = on(&sim, 9);
    let bp = pipeline.write(noise(1, 8192)).wait().unwrap();
    let stored = || pipeline.read(&bp).raw().wait().unwrap();
    assert_eq!(kind_of(pipeline.write_raw(noise(1, 4096), &bp)), ErrorKind::Invalid);
    assert_eq!(kind_of(pipeline.write_raw(noise(1, 8704), &bp)), ErrorKind::Invalid);
    let with = |change: fn(&mut Properties)| {
        let (mut like, mut properties) = (bp, bp.properties());
        change(&mut properties);
        like.set_properties(&properties);
        like
    };
    let log = with(|properties| properties.checksum = Checksum::Zilog2.id());
    assert_eq!(kind_of(pipeline.write_raw(stored(), &log)), ErrorKind::Unsupported);
    let encrypted = with(|properties| properties.crypt = true);
    let write = || pipeline.write_raw(stored(), &encrypted);
    assert_eq!(kind_of(write().copies(3)), ErrorKind::Invalid);
    let write = write().checksum(Checksum::Sha256).dedup(true);
    assert_eq!(kind_of(write), ErrorKind::Unsupported);
    assert_eq!(pipeline.allocated_bytes(), 8192);
}

#[cfg(feature = "crypt")]
mod encrypted {
    use std::sync::Arc;

    use vdev_sim::{DiskConfig, SimAllocator, SimAllocatorConfig};
    use zio_core::Allocator;
    use zio_pipeline::{DatasetKeys, Suite};

    use super::*;
    use crate::common::MIB;

    fn keys() -> DatasetKeys {
        DatasetKeys::new(Suite::Aes256Gcm, &[1; 32]).unwrap().hmac(&[2; 64]).unwrap()
    }

    #[test]
    fn a_receiver_without_keys_stores_what_their_owner_reads() {
        for ashift in [9, 12, 13] {
            let (here, there) = (Sim::new(13, 1), Sim::new(14, 2));
            let from = here.builder().ashift(9).keys(keys()).build().unwrap();
            let (keyless, to) = (on(&here, 9), on(&there, ashift));
            let owner = there.builder().ashift(ashift).keys(keys()).build().unwrap();
            for checksum in [Checksum::Fletcher4, Checksum::Sha256, Checksum::Edonr] {
                for compression in [Compression::Off, Compression::Lz4, Compression::Zle] {
                    for (object_type, len) in [(19, 16_384), (1, 16_384), (19, 512), (20, 1536)] {
                        let data = compressible(1, len);
                        let write = from.write(&data).checksum(checksum).compression(compression);
                        let write = write.encrypt(true).object_type(object_type);
                        let bp = write.wait().unwrap();
                        let arrived = copy(&keyless, &to, &bp).copies(2).wait().unwrap();
                        let arrived = checked(&to, &arrived);
                        // All of it: with a byte more the MAC would be another one.
                        assert_eq!(arrived.properties(), bp.properties());
                        assert_eq!(arrived.checksum(), bp.checksum());
                        assert_eq!(arrived.fill(), 1);
                        if arrived.is_encrypted() {
                            assert_eq!(arrived.crypt_words(), bp.crypt_words());
                        }
                        assert!(stored(&there, &arrived) == stored(&here, &bp));
                        assert!(arrived.asize_bytes().is_multiple_of(2 << ashift));
                        assert!(owner.read(&arrived).wait().unwrap() == data, "{bp}");
                        let refused = to.read(&arrived).wait().map(|data| data.len());
                        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Access);
                    }
                }
            }
        }
    }

    /// What this crate does not encrypt itself it can still pass on.
    #[test]
    fn parents_roots_and_dnodes_pass_as_well() {
        let (here, there) = (Sim::new(15, 1), Sim::new(16, 1));
        let (from, to) = (on(&here, 12), on(&there, 12));
        for (object_type, level) in [(10, 0), (9, 0), (11, 0), (19, 1), (10, 2)] {
            let data = noise(1, 8192);
            let plain = from.write(&data).object_type(object_type).level(level);
            let mut like = plain.wait().unwrap();
            like.set_crypt(true);
            if like.has_mac() {
                let [a, b] =
                    Checksum::Fletcher4.truncate_for_mac(checksum::Checksum(like.checksum()));
                like.set_checksum([a, b, 77, 78]);
            }
            let arrived = copy(&from, &to, &like).wait().unwrap();
            assert_eq!(arrived.checksum(), like.checksum(), "type {object_type} level {level}");
            assert_eq!(arrived.properties(), like.properties());
            assert!(to.read(&arrived).raw().wait().unwrap() == data);
        }
    }

    #[test]
    fn a_gang_is_only_another_way_to_store_it() {
        let here = Sim::new(17, 1);
        let from = here.builder().ashift(9).keys(keys()).build().unwrap();
        let there = Sim::with(18, 1, DiskConfig::fixed(24 * MIB, 1000));
        let space = SimAllocator::new(SimAllocatorConfig {
            unit_bytes: 512,
            contiguous_bytes_max: 1024,
            ..SimAllocatorConfig::new(6, &[19 * MIB])
        });
        let builder = there.builder().ashift(9).keys(keys());
        let to = builder.allocator(space as Arc<dyn Allocator>).build().unwrap();
        let data = compressible(1, 32_768);
        for copies in [1, 2] {
            let write = from.write(&data).encrypt(true).compression(Compression::Lz4);
            let bp = write.wait().unwrap();
            let arrived = checked(&to, &copy(&from, &to, &bp).copies(copies).wait().unwrap());
            assert!(arrived.is_gang() && arrived.checksum() == bp.checksum());
            assert!(to.read(&arrived).wait().unwrap() == data);
            // And back, whole.
            let back = copy(&to, &from, &arrived).wait().unwrap();
            assert!(!back.is_gang() && from.read(&back).wait().unwrap() == data);
        }
    }
}

/// A pointer whose payload is no data: somebody has taken the data out, and it cannot be written again.
#[test]
fn an_embedded_pointer_without_data_is_refused() {
    let pipeline = on_memory(64 * MIB);
    let bp = pipeline.write(vec![7; 4096]).compression(Compression::Lz4).wait().unwrap();
    assert!(bp.is_embedded());
    let stored = pipeline.read(&bp).raw().wait().unwrap();
    let copy = pipeline.write_raw(stored.clone(), &bp).wait().unwrap();
    assert!(pipeline.read(&copy).wait().unwrap() == vec![7; 4096]);
    // The kind of payload stands where others have their checksum: bits 40 to 47.
    let mut bytes = bp.to_bytes();
    bytes[48 + 5] = 2;
    let without = pipeline.check(&BlockPointer::from_bytes(&bytes)).unwrap();
    assert!(without.embedded_payload().is_none());
    let error = pipeline.write_raw(stored, &without).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}
