//! Encryption (C12): nothing readable is stored, nothing changed is believed, each object set
//! has its key, and whoever has none may carry the blocks about all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use checksum::{ByteOrder as Order, Context, Salt};
use transform::crypt::{HmacKey, MasterKey};
use vdev_sim::{DiskConfig, SimAllocator, SimAllocatorConfig};
use zio_core::Allocator;
use zio_core::bp::CryptWords;
use zio_pipeline::{
    BlockPointer, Bookmark, Builder, Checksum, Compression, DatasetKeys, ErrorKind, Pipeline,
    Suite, Write,
};

use crate::common::{MIB, Sim, compressible, noise};

/// Object types: encrypted (file contents), and authenticated only (an object directory).
const CONTENTS: u8 = 19;
const DIRECTORY: u8 = 1;

const HMAC: [u8; 64] = [9; 64];

const CHECKSUMS: [Checksum; 8] = [
    Checksum::Off,
    Checksum::Fletcher2,
    Checksum::Fletcher4,
    Checksum::Sha256,
    Checksum::Sha512_256,
    Checksum::Skein,
    Checksum::Edonr,
    Checksum::Blake3,
];

fn keys(seed: u8) -> DatasetKeys {
    DatasetKeys::new(Suite::Aes256Gcm, &[seed; 32]).unwrap().hmac(&HMAC).unwrap()
}

fn with_keys(sim: &Sim) -> Pipeline {
    sim.builder().keys(keys(1)).build().unwrap()
}

fn of_objset(objset: u64) -> Bookmark {
    Bookmark { objset, ..Bookmark::default() }
}

fn write(pipeline: &Pipeline, data: &[u8], object_type: u8) -> BlockPointer {
    pipeline.write(data).encrypt(true).object_type(object_type).wait().unwrap()
}

/// What stands on the disk.
fn stored(sim: &Sim, bp: &BlockPointer, copy: usize) -> Vec<u8> {
    let (disk, at) = sim.place(bp, copy);
    disk.peek(at, bp.psize_bytes() as usize)
}

/// No data, and this kind of error.
fn refuses(pipeline: &Pipeline, bp: &BlockPointer, kind: ErrorKind) {
    let error = pipeline.read(bp).wait().map(|data| data.len()).unwrap_err();
    assert_eq!(error.kind(), kind, "{bp}: {error}");
}

#[test]
fn what_is_encrypted_comes_back_by_its_key() {
    let suites = [
        Suite::Aes128Ccm,
        Suite::Aes192Ccm,
        Suite::Aes256Ccm,
        Suite::Aes128Gcm,
        Suite::Aes192Gcm,
        Suite::Aes256Gcm,
    ];
    for suite in suites {
        let sim = Sim::new(1, 2);
        let keys = DatasetKeys::new(suite, &vec![3; suite.key_bytes()]).unwrap();
        let pipeline = sim.builder().keys(keys.hmac(&HMAC).unwrap()).build().unwrap();
        for (number, checksum) in CHECKSUMS.into_iter().enumerate() {
            let data = compressible(number as u64, 16_384);
            for (object_type, compression) in
                [(CONTENTS, 1), (CONTENTS, 0), (DIRECTORY, 1), (DIRECTORY, 0)]
            {
                let compression = [Compression::Off, Compression::Lz4][compression];
                let write = pipeline.write(&data).encrypt(true).object_type(object_type);
                let write = write.checksum(checksum).compression(compression).copies(2);
                let bp = write.wait().unwrap();
                assert_eq!((bp.is_crypt(), bp.copies(), bp.fill()), (true, 2, 1));
                assert_eq!(bp.is_encrypted(), object_type == CONTENTS);
                assert_eq!(bp.psize_bytes() < 16_384, compression != Compression::Off);
                let bp = pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
                assert!(pipeline.read(&bp).wait().unwrap() == data, "{bp}");
                words_are_those_of_the_format(&sim, &bp, checksum);
                let plain = stored(&sim, &bp, 0)[..64] == data[..64];
                let in_plain = object_type == DIRECTORY && compression == Compression::Off;
                assert_eq!(plain, in_plain, "{bp}");
            }
        }
    }
}

/// Words 0 and 1 are the checksum of what is stored, folded where it is not
/// strong; words 2 and 3 are a MAC (spec 7.1).
fn words_are_those_of_the_format(sim: &Sim, bp: &BlockPointer, checksum: Checksum) {
    let stored = stored(sim, bp, 0);
    let context = Context::new(checksum, Some(&Salt([0; 32]))).unwrap();
    let [a, b, c, d] = context.compute(Order::Little, [&stored[..]]).0;
    let strong = matches!(
        checksum,
        Checksum::Sha256 | Checksum::Sha512_256 | Checksum::Skein | Checksum::Blake3
    );
    let expected = if strong { [a, b] } else { [a ^ c, b ^ d] };
    assert_eq!(bp.checksum()[..2], expected, "{bp}");
    if !bp.is_encrypted() {
        let mac = HmacKey::new(&HMAC).unwrap().authenticate([&stored[..]]);
        let words = mac.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        assert!(words.eq(bp.mac_words()), "{bp}");
    }
}

#[test]
fn nothing_changed_is_believed() {
    let sim = Sim::new(2, 1);
    let pipeline = with_keys(&sim);
    for object_type in [CONTENTS, DIRECTORY] {
        let bp = write(&pipeline, &noise(1, 8192), object_type);
        for bit in [0, 63, 64, 127] {
            let mut words = bp.checksum();
            words[2 + bit / 64] ^= 1 << (bit % 64);
            let mut mac = bp;
            mac.set_checksum(words);
            refuses(&pipeline, &mac, ErrorKind::Io);
            let mut words = bp.checksum();
            words[bit / 64] ^= 1 << (bit % 64);
            let mut sum = bp;
            sum.set_checksum(words);
            refuses(&pipeline, &sum, ErrorKind::Checksum);
        }
        sim.corrupt(&bp, 0);
        refuses(&pipeline, &bp, ErrorKind::Checksum);
    }
    let bp = write(&pipeline, &noise(1, 8192), CONTENTS);
    let words = bp.crypt_words();
    for words in [
        CryptWords { salt: words.salt ^ 1, ..words },
        CryptWords { iv: words.iv ^ (1 << 63), ..words },
        CryptWords { iv_tail: words.iv_tail ^ 1, ..words },
    ] {
        let mut changed = bp;
        changed.set_crypt_words(words);
        refuses(&pipeline, &changed, ErrorKind::Io);
    }
    assert!(pipeline.read(&bp).wait().unwrap() == noise(1, 8192));
}

#[test]
fn each_object_set_has_its_key_and_its_salt() {
    let sim = Sim::new(3, 1);
    let builder = sim.builder().keys(keys(1)).keys_of(7, keys(7)).keys_of(8, keys(8));
    let pipeline = builder.build().unwrap();
    let data = noise(1, 4096);
    let write =
        |objset| pipeline.write(&data).encrypt(true).bookmark(of_objset(objset)).wait().unwrap();
    // Object sets 1 and 2 have the key of all.
    let blocks = [1, 2, 7, 8, 7].map(|objset| (objset, write(objset)));
    for (objset, bp) in &blocks {
        for other in [1, 2, 7, 8] {
            let read = pipeline.read(bp).bookmark(of_objset(other)).wait();
            if other == *objset || (other < 7 && *objset < 7) {
                assert!(read.unwrap() == data);
            } else {
                assert_eq!(read.map(|data| data.len()).unwrap_err().kind(), ErrorKind::Io);
            }
        }
    }
    let salts = blocks.map(|(_, bp)| bp.crypt_words().salt);
    assert!(salts[0] == salts[1] && salts[2] == salts[4]);
    assert!(salts[0] != salts[2] && salts[2] != salts[3] && salts[0] != salts[3]);
    // Never the same IV twice, and so never the same bytes.
    let stored = blocks.map(|(_, bp)| stored(&sim, &bp, 0));
    for (number, bytes) in stored.iter().enumerate() {
        assert!(stored[..number].iter().all(|earlier| earlier != bytes));
    }
}

#[test]
fn salts_and_ivs_are_those_that_the_caller_draws() {
    let sim = Sim::new(4, 1);
    let drawn = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&drawn);
    let fill = move |bytes: &mut [u8]| bytes.fill(1 + count.fetch_add(1, Ordering::Relaxed) as u8);
    let pipeline = sim.builder().keys(keys(1)).entropy(fill).build().unwrap();
    for number in 2..5 {
        let CryptWords { salt, iv, iv_tail } =
            write(&pipeline, &noise(1, 4096), CONTENTS).crypt_words();
        let bytes = |byte: u8| u64::from_le_bytes([byte; 8]);
        assert_eq!((salt, iv), (bytes(1), bytes(number)));
        assert_eq!(u64::from(iv_tail), bytes(number) >> 32);
    }
    // What stays in plain, is a hole, or is not encrypted draws nothing.
    write(&pipeline, &noise(1, 4096), DIRECTORY);
    pipeline.write(noise(1, 4096)).wait().unwrap();
    let zeros = pipeline.write(vec![0; 4096]).encrypt(true).compression(Compression::Lz4);
    assert!(zeros.wait().unwrap().is_hole());
    assert_eq!(drawn.load(Ordering::Relaxed), 4);
    // The block is what these words and the key make of it.
    let bp = write(&pipeline, &noise(1, 4096), CONTENTS);
    let key = MasterKey::new(Suite::Aes256Gcm, &[1; 32]).unwrap().derive(&[1; 8]);
    let mut cipher = noise(1, 4096);
    let mac = key.seal_in_place(&[5; 12], &[], &mut cipher).unwrap();
    assert!(stored(&sim, &bp, 0) == cipher);
    assert!(mac.as_chunks::<8>().0.iter().map(|w| u64::from_le_bytes(*w)).eq(bp.mac_words()));
}

#[test]
fn without_a_key_blocks_can_be_carried_about_and_not_read() {
    let sim = Sim::new(5, 2);
    let data = compressible(1, 16_384);
    let small = [3; 4096];
    let blocks: Vec<_> = {
        let pipeline = with_keys(&sim);
        let write = |object_type, data: &[u8]| {
            let write = pipeline.write(data).encrypt(true).object_type(object_type);
            write.copies(2).compression(Compression::Lz4).wait().unwrap()
        };
        // The last would fit into its pointer, in plain.
        vec![write(CONTENTS, &data), write(DIRECTORY, &data), write(CONTENTS, &small)]
    };
    assert!(blocks.iter().all(|bp| !bp.is_embedded()));
    let keyless = sim.pipeline();
    for bp in &blocks {
        keyless.claim(bp).wait().unwrap();
        refuses(&keyless, bp, ErrorKind::Access);
        let raw = keyless.read(bp).raw().wait().unwrap().to_vec();
        assert!(raw == stored(&sim, bp, 0));
        // Healing wants no key either.
        sim.corrupt(bp, 0);
        assert!(keyless.read(bp).raw().every_copy().wait().unwrap() == raw);
        assert!(stored(&sim, bp, 0) == raw);
    }
    assert_eq!(keyless.healed().copies, 3);
    for object_type in [CONTENTS, DIRECTORY] {
        let write = keyless.write(&data).encrypt(true).object_type(object_type);
        assert_eq!(write.wait().unwrap_err().kind(), ErrorKind::Access);
    }
    // A key to encrypt with, and none to authenticate with.
    let half = DatasetKeys::new(Suite::Aes256Gcm, &[1; 32]).unwrap();
    let half = sim.builder().keys(half).build().unwrap();
    assert!(half.read(&blocks[0]).wait().unwrap() == data);
    refuses(&half, &blocks[1], ErrorKind::Access);
    // Another key.
    let wrong = sim.builder().keys(keys(2)).build().unwrap();
    refuses(&wrong, &blocks[0], ErrorKind::Io);
    for bp in &blocks {
        keyless.free(bp).wait().unwrap();
    }
    assert_eq!(keyless.allocated_bytes(), 0);
}

#[test]
fn a_gang_is_encrypted_as_a_whole_and_leaves_the_third_address_alone() {
    let sim = Sim::with(6, 3, DiskConfig::fixed(24 * MIB, 1000));
    let space = SimAllocator::new(SimAllocatorConfig {
        unit_bytes: 512,
        contiguous_bytes_max: 1024,
        ..SimAllocatorConfig::new(6, &[19 * MIB; 3])
    });
    let given = Arc::clone(&space) as Arc<dyn Allocator>;
    let builder: Builder = sim.builder().ashift(9).allocator(given).keys(keys(1));
    let pipeline = builder.build().unwrap();
    let data = compressible(1, 32_768);
    for (object_type, copies, headers) in
        [(CONTENTS, 1, 2), (CONTENTS, 2, 2), (DIRECTORY, 1, 2), (DIRECTORY, 2, 3)]
    {
        for checksum in [Checksum::Fletcher4, Checksum::Edonr, Checksum::Blake3] {
            let write = pipeline.write(&data).encrypt(true).object_type(object_type);
            let write = write.copies(copies).checksum(checksum).compression(Compression::Lz4);
            let bp = write.wait().unwrap();
            let bp = pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
            assert!(bp.is_gang() && bp.copies() == headers, "{bp}");
            // Gangs within it are of no encrypted type, and may have a header more than it.
            assert_eq!(pipeline.allocated_bytes(), bp.asize_bytes(), "{bp}");
            assert!(pipeline.read(&bp).wait().unwrap() == data);
            let raw = pipeline.read(&bp).raw().wait().unwrap();
            assert_eq!(raw.len() as u64, bp.psize_bytes());
            assert!(raw.to_vec()[..64] != data[..64]);
            // The first header is lost, and a MAC that is not the block's.
            sim.corrupt(&changed_size(&bp), 0);
            assert!(pipeline.read(&bp).wait().unwrap() == data);
            let mut other = bp;
            other.set_mac_words([1, 2]);
            refuses(&pipeline, &other, ErrorKind::Io);
            pipeline.free(&bp).wait().unwrap();
            space.settle(u64::MAX);
            assert_eq!((pipeline.allocated_bytes(), pipeline.live()), (0, 0));
        }
    }
}

/// The same place, of one sector: that of a header.
fn changed_size(bp: &BlockPointer) -> BlockPointer {
    let (mut header, mut properties) = (*bp, bp.properties());
    (properties.psize_bytes, properties.crypt) = (512, false);
    header.set_properties(&properties);
    header
}

#[test]
fn what_the_format_has_no_room_for_is_refused() {
    let sim = Sim::new(7, 3);
    let pipeline = with_keys(&sim);
    let write = || pipeline.write(noise(1, 4096)).encrypt(true).checksum(Checksum::Sha256);
    let refused: [(Write, ErrorKind); 6] = [
        (write().copies(3), ErrorKind::Invalid),
        (write().dedup(true), ErrorKind::Unsupported),
        (write().level(1), ErrorKind::Unsupported),
        (write().object_type(9), ErrorKind::Unsupported),
        (write().object_type(10), ErrorKind::Unsupported),
        (write().object_type(11), ErrorKind::Unsupported),
    ];
    for (write, kind) in refused {
        assert_eq!(write.wait().unwrap_err().kind(), kind);
    }
    assert_eq!((pipeline.allocated_bytes(), sim.disks[0].counters().writes), (0, 0));
}

/// As OpenZFS writes them, the pieces of an encrypted block have its encryption bit as well, no
/// MAC of their own, and so half a checksum.
#[test]
fn pieces_may_carry_the_bit_of_the_whole() {
    let sim = Sim::with(7, 1, DiskConfig::fixed(24 * MIB, 1000));
    let space = SimAllocator::new(SimAllocatorConfig {
        unit_bytes: 512,
        contiguous_bytes_max: 4096,
        ..SimAllocatorConfig::new(7, &[19 * MIB])
    });
    let given = Arc::clone(&space) as Arc<dyn Allocator>;
    let pipeline = sim.builder().ashift(9).allocator(given).keys(keys(1)).build().unwrap();
    for checksum in [Checksum::Fletcher4, Checksum::Sha256] {
        let data = noise(1, 12_288);
        let bp = pipeline.write(&data).encrypt(true).checksum(checksum).wait().unwrap();
        assert!(bp.is_gang());
        let dva = bp.dva(0).unwrap();
        let (disk, at) = sim.place(&bp, 0);
        let mut header = disk.peek(at, 512);
        for slot in header.as_chunks_mut::<128>().0.iter_mut().take(3) {
            let mut member = pipeline.check(&BlockPointer::from_bytes(slot)).unwrap();
            let [a, b] = checksum.truncate_for_mac(checksum::Checksum(member.checksum()));
            member.set_crypt(true);
            member.set_checksum([a, b, 0, 0]);
            *slot = member.to_bytes();
        }
        let verifier = checksum::embedded::Verifier::GangHeader {
            vdev: 0,
            offset_bytes: dva.offset_bytes(),
            birth_txg: bp.physical_birth(),
        };
        checksum::embedded::seal(&mut header, &verifier, Order::Little).unwrap();
        disk.poke(at, &header);
        assert!(pipeline.read(&bp).wait().unwrap() == data);
        // A block that is not encrypted has no such pieces.
        let mut plain = bp;
        plain.set_crypt(false);
        refuses(&pipeline, &plain, ErrorKind::Invalid);
        pipeline.free(&bp).wait().unwrap();
    }
}
