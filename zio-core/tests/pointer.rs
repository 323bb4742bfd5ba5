//! Block pointers: B1 (spec 2.1, 2.2), B2 (spec 2.3).

mod support {
    pub(crate) mod rng;
}

use proptest::prelude::*;
use support::rng::Rng;
use zio_core::bp::{
    BadPointer, ByteOrder, DVAS_MAX, EMBEDDED_PAYLOAD_BYTES_MAX, Embedded, PoolShape, Properties,
    RawPointer, SECTOR_BYTES,
};
use zio_core::segment::BLOCK_BYTES_MAX;
use zio_core::{BlockPointer, Dva, VdevId};

const LITTLE: ByteOrder = ByteOrder::Little;

/// Vdevs by size of the data area and unit.
struct Shape(&'static [(u64, u64)]);

impl PoolShape for Shape {
    fn data_bytes(&self, vdev: VdevId) -> Option<u64> {
        self.0.get(vdev.0 as usize).map(|vdev| vdev.0)
    }

    fn unit_bytes(&self, vdev: VdevId) -> u64 {
        self.0[vdev.0 as usize].1
    }
}

/// The pools of the fixtures: a file of 64 MiB less the labels, ashift 9.
const FIXTURE: Shape = Shape(&[((64 << 20) - (4 << 20) - (512 << 10), 512)]);

/// No limit that a pointer could break, but that of 64 bits.
struct Boundless;

impl PoolShape for Boundless {
    fn data_bytes(&self, _vdev: VdevId) -> Option<u64> {
        Some(u64::MAX)
    }

    fn unit_bytes(&self, _vdev: VdevId) -> u64 {
        SECTOR_BYTES
    }
}

fn raw(words: [u64; 16]) -> RawPointer {
    let mut bytes = [0; 128];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    RawPointer::from_bytes(&bytes, LITTLE)
}

/// Spec 2.1: 128 KiB logical, 4 KiB physical, lz4, sha256, type 19, level 0, little endian.
const SPEC: Properties = Properties {
    lsize_bytes: 128 << 10,
    psize_bytes: 4 << 10,
    compression: 15,
    checksum: 8,
    object_type: 19,
    level: 0,
    crypt: false,
    dedup: false,
    order: LITTLE,
};

#[test]
fn golden_words() {
    let mut bp = BlockPointer::with_properties(&SPEC);
    assert_eq!(bp.words()[6], 0x8013_080f_0007_00ff);
    let dva = Dva::new(VdevId(1), 0x40000, 8192).with_gang(true);
    assert_eq!(dva.words(), [0x0000_0001_0000_0010, 0x8000_0000_0000_0200]);
    bp.set_dva(1, dva);
    assert_eq!(bp.words()[2..4], dva.words());

    let about =
        Embedded { lsize_bytes: 16384, compression: 15, object_type: 19, level: 0, birth: 6 };
    let payload: Vec<u8> = (1..=40).collect();
    let embedded = BlockPointer::embed(&about, &payload).unwrap();
    assert_eq!(embedded.words()[6], 0x8013_008f_4e00_3fff);
    assert_eq!(embedded.words()[0], 0x0807_0605_0403_0201, "little-endian within each word");
    assert_eq!(embedded.words()[4..6], [0x2827_2625_2423_2221, 0], "40 bytes end in word 4");
}

#[test]
fn every_field_stands_where_the_spec_says() {
    // Field by field, all others zero (sizes are stored less one).
    let zero = Properties {
        lsize_bytes: 512,
        psize_bytes: 512,
        compression: 0,
        checksum: 0,
        object_type: 0,
        level: 0,
        crypt: false,
        dedup: false,
        order: ByteOrder::Big,
    };
    for (properties, low, bits) in [
        (Properties { lsize_bytes: 32 << 20, ..zero }, 0, 16),
        (Properties { psize_bytes: 32 << 20, ..zero }, 16, 16),
        (Properties { compression: 127, ..zero }, 32, 7),
        (Properties { checksum: 255, ..zero }, 40, 8),
        (Properties { object_type: 255, ..zero }, 48, 8),
        (Properties { level: 31, ..zero }, 56, 5),
        (Properties { crypt: true, ..zero }, 61, 1),
        (Properties { dedup: true, ..zero }, 62, 1),
        (Properties { order: LITTLE, ..zero }, 63, 1),
    ] {
        let bp = BlockPointer::with_properties(&properties);
        assert_eq!(bp.words()[6], ((1_u64 << bits) - 1) << low, "{properties:?}");
        assert_eq!(bp.properties(), properties);
    }
    let mut bp = BlockPointer::EMPTY;
    bp.set_birth(7, 5);
    bp.set_fill(9);
    bp.set_checksum([1, 2, 3, 4]);
    bp.set_dva(2, Dva::new(VdevId(0xff_ffff), 0, Dva::ASIZE_BYTES_MAX));
    let words = bp.words();
    assert_eq!((words[9], words[10], words[11]), (5, 7, 9));
    assert_eq!(words[12..], [1, 2, 3, 4]);
    assert_eq!(words[4], 0x00ff_ffff_00ff_ffff, "bits 24 to 31 and 56 to 63 are unused");
}

#[test]
fn births() {
    let mut bp = BlockPointer::with_properties(&SPEC);
    bp.set_birth(7, 7);
    assert_eq!(bp.words()[9], 0, "equal births are stored as physical 0");
    assert_eq!((bp.birth(), bp.physical_birth()), (7, 7));
    bp.set_birth(9, 7);
    assert_eq!((bp.birth(), bp.physical_birth()), (9, 7), "a dedup hit");
    let mut other = bp;
    assert!(bp.same_block(&other));
    other.set_checksum([1; 4]);
    other.set_fill(3);
    assert!(bp.same_block(&other), "checksum and fill are no part of the identity");
    other.set_birth(9, 8);
    assert!(!bp.same_block(&other));
    other = bp;
    other.set_dva(2, Dva::new(VdevId(0), 512, 512));
    assert!(!bp.same_block(&other));
}

#[test]
fn an_encrypted_pointer_keeps_its_iv_when_the_fill_changes() {
    let mut bp = BlockPointer::with_properties(&Properties { crypt: true, ..SPEC });
    bp.set_dva(2, Dva::from_words([0x1122_3344_5566_7788, 0x99aa_bbcc_ddee_ff00]));
    assert_eq!(bp.copies(), 0, "salt and IV are no address");
    let mut words = *bp.words();
    words[0] = 8;
    words[10] = 1;
    words[11] = 0xcafe_f00d_0000_0001;
    let mut bp = raw(words).check(&FIXTURE).unwrap();
    bp.set_fill(5);
    assert_eq!(bp.words()[11], 0xcafe_f00d_0000_0005);
    assert_eq!(bp.fill(), 5);
}

#[test]
fn embedding_has_limits() {
    let about = Embedded { lsize_bytes: 512, compression: 15, object_type: 19, level: 0, birth: 6 };
    assert_eq!(BlockPointer::embed(&about, &[]), None);
    assert_eq!(BlockPointer::embed(&about, &[0; EMBEDDED_PAYLOAD_BYTES_MAX + 1]), None);
    for lsize_bytes in [0, (32 << 20) + 1] {
        assert_eq!(BlockPointer::embed(&Embedded { lsize_bytes, ..about }, &[1]), None);
    }
    let longest = Embedded { lsize_bytes: 32 << 20, ..about };
    let bp = BlockPointer::embed(&longest, &[1; EMBEDDED_PAYLOAD_BYTES_MAX]).unwrap();
    assert_eq!((bp.lsize_bytes(), bp.psize_bytes()), (32 << 20, 112));
    assert!(matches!(
        BlockPointer::from_bytes(&bp.to_bytes()).check(&FIXTURE),
        Err(BadPointer::Size { bytes: 33_554_432, .. })
    ));
}

// -- Pointers of real pools. --

struct Fixture {
    name: String,
    kind: String,
    checksum: u8,
    compression: u8,
    copies: usize,
    encrypted: bool,
    dedup: bool,
    len: u64,
    sizes: Option<(u64, u64)>,
    dvas: Vec<Dva>,
    bytes: [u8; 128],
}

fn fixtures() -> Vec<Fixture> {
    let lines = include_str!("data/pointers.txt").lines().filter(|line| !line.starts_with('#'));
    let fixtures: Vec<_> = lines
        .map(|line| {
            let f: Vec<&str> = line.split(" | ").collect();
            let dva = |dva: &str| {
                let n: Vec<u64> = dva.split(':').map(|n| n.parse().unwrap()).collect();
                Dva::new(VdevId(n[0] as u32), n[1], n[2]).with_gang(n[3] == 1)
            };
            let mut bytes = [0; 128];
            for (byte, i) in bytes.iter_mut().zip((0..).step_by(2)) {
                *byte = u8::from_str_radix(&f[11][i..i + 2], 16).unwrap();
            }
            Fixture {
                name: f[0].to_owned(),
                kind: f[1].to_owned(),
                checksum: f[2].parse().unwrap(),
                compression: f[3].parse().unwrap(),
                copies: f[4].parse().unwrap(),
                encrypted: f[5] == "1",
                dedup: f[6] == "1",
                len: f[7].parse().unwrap(),
                sizes: (f[8] != "-").then(|| (f[8].parse().unwrap(), f[9].parse().unwrap())),
                dvas: f[10].split(' ').filter(|d| *d != "-").map(dva).collect(),
                bytes,
            }
        })
        .collect();
    assert_eq!(fixtures.len(), 55);
    fixtures
}

#[test]
fn pointers_of_real_pools_are_understood() {
    for f in fixtures() {
        let bp = BlockPointer::from_bytes(&f.bytes).check(&FIXTURE);
        let bp = bp.unwrap_or_else(|bad| panic!("{}: {bad}", f.name));
        assert_eq!(bp.to_bytes(), f.bytes, "{}", f.name);
        assert_eq!(bp.is_hole(), f.kind == "hole", "{}", f.name);
        assert_eq!(bp.is_embedded(), f.kind == "embedded", "{}", f.name);
        assert_eq!(bp.is_gang(), f.kind == "gang", "{}", f.name);
        assert_eq!(bp.dvas().collect::<Vec<_>>(), f.dvas, "{}", f.name);
        if bp.is_hole() {
            assert_eq!(bp, BlockPointer::EMPTY, "{}", f.name);
            continue;
        }
        assert_eq!((bp.object_type(), bp.level(), bp.order()), (19, 0, LITTLE), "{}", f.name);
        assert_eq!(bp.lsize_bytes(), f.len, "{}", f.name);
        assert_eq!(bp.compression(), f.compression, "{}", f.name);
        assert_eq!(bp.birth(), if f.dedup { 7 } else { 6 }, "{}", f.name);
        assert_eq!(bp.physical_birth(), bp.birth(), "{}", f.name);
        if bp.is_embedded() {
            assert_eq!(bp.embedded_payload().map(|p| p.len()), Some(112), "{}", f.name);
            assert!((1..=112).contains(&bp.psize_bytes()), "{}", f.name);
            continue;
        }
        assert_eq!(Some((bp.lsize_bytes(), bp.psize_bytes())), f.sizes, "{}", f.name);
        assert_eq!(bp.checksum_id(), f.checksum, "{}", f.name);
        assert_eq!(bp.copies(), f.copies, "{}", f.name);
        assert_eq!(bp.is_crypt(), f.encrypted, "{}", f.name);
        assert_eq!(bp.is_encrypted(), f.encrypted, "{}", f.name);
        assert_eq!(bp.is_dedup(), f.dedup, "{}", f.name);
        let asize: u64 = f.dvas.iter().map(|dva| dva.asize_bytes()).sum();
        assert_eq!(bp.asize_bytes(), asize, "{}", f.name);
    }
}

#[test]
fn pointers_of_real_pools_survive_the_other_byte_order() {
    for f in fixtures() {
        let bp = BlockPointer::from_bytes(&f.bytes).check(&FIXTURE).unwrap();
        let mut swapped = f.bytes;
        swapped.chunks_exact_mut(8).for_each(<[u8]>::reverse);
        assert_eq!(bp.to_bytes_in(ByteOrder::Big), swapped, "{}", f.name);
        assert_eq!(RawPointer::from_bytes(&swapped, ByteOrder::Big).check(&FIXTURE), Ok(bp));
    }
}

#[test]
fn a_pool_that_is_too_small_refuses_the_pointers_of_a_larger_one() {
    let half = Shape(&[(16 << 20, 512)]);
    let coarse = Shape(&[(u64::MAX, 1 << 16)]);
    let (mut out_of_range, mut misaligned) = (0, 0);
    for f in fixtures() {
        let raw = BlockPointer::from_bytes(&f.bytes);
        let reaches = |dva: &Dva| dva.offset_bytes() + dva.asize_bytes() > 16 << 20;
        match raw.check(&half) {
            Err(BadPointer::OutOfRange { index, dva, data_bytes: 0x100_0000 }) => {
                assert_eq!(f.dvas[index], dva);
                assert!(reaches(&dva), "{}", f.name);
                out_of_range += 1;
            }
            result => assert!(result.is_ok() && !f.dvas.iter().any(reaches), "{}", f.name),
        }
        misaligned += usize::from(matches!(raw.check(&coarse), Err(BadPointer::Misaligned { .. })));
        if !f.dvas.is_empty() {
            assert!(matches!(raw.check(&Shape(&[])), Err(BadPointer::NoVdev { index: 0, .. })));
        }
    }
    assert!(out_of_range >= 5 && misaligned >= 30, "{out_of_range} {misaligned}");
}

// -- What passes the check may be used. --

/// What one may rely on of a pointer that passed, worked out from its words alone.
fn assert_usable(words: &[u64; 16], pool: &Shape) {
    let field = |low: u32, bits: u32| (words[6] >> low) & ((1 << bits) - 1);
    if words == &[0; 16] {
        return;
    }
    let (lsize, psize, kind, compression) = if field(39, 1) == 1 {
        (field(0, 25) + 1, field(25, 7) + 1, field(40, 8), field(32, 7))
    } else {
        ((field(0, 16) + 1) * 512, (field(16, 16) + 1) * 512, field(40, 8), field(32, 7))
    };
    assert!(lsize <= BLOCK_BYTES_MAX as u64);
    let object_type = field(48, 8);
    assert!(object_type < 54 || (object_type & 0x80 != 0 && object_type & 0x1f < 10));
    if field(39, 1) == 1 {
        assert!(kind < 3 && psize <= 112, "an embedded pointer");
        assert_eq!(field(61, 2), 0, "neither encrypted nor dedup");
        if kind == 0 {
            assert!((2..17).contains(&compression) && (compression != 2 || lsize == psize));
        }
        return;
    }
    if words[0] == 0 && words[1] == 0 {
        assert_eq!(words[2..6], [0; 4], "a hole has no address at all");
        return;
    }
    assert!(psize <= BLOCK_BYTES_MAX as u64);
    assert!((2..15).contains(&kind) && (2..17).contains(&compression));
    assert!(compression != 2 || lsize == psize);
    assert_ne!(words[10], 0, "birth");
    let data_type = object_type & 0x80 != 0 && object_type & 0x20 != 0
        || [9, 10, 39, 40].contains(&object_type)
        || (17..=27).contains(&object_type)
        || (33..=36).contains(&object_type)
        || (44..=47).contains(&object_type);
    let encrypted = field(61, 1) == 1 && field(56, 5) == 0 && data_type;
    let mut ended = false;
    for pair in words[..if encrypted { 4 } else { 6 }].chunks_exact(2) {
        ended |= pair == [0, 0];
        if ended {
            assert_eq!(pair, [0, 0], "no address behind the last");
            continue;
        }
        let asize = u128::from(pair[0] & 0xff_ffff) * 512;
        let offset = u128::from(pair[1] & !(1 << 63)) * 512;
        let gang = pair[1] >> 63;
        assert_eq!(gang, words[1] >> 63, "all gang or none");
        let (data, unit) = pool.0[(pair[0] >> 32 & 0xff_ffff) as usize];
        let span = if gang == 1 { u128::from(unit) } else { asize };
        assert!(asize > 0 && offset + span <= u128::from(data), "inside the vdev");
        assert_eq!((offset % u128::from(unit), span % u128::from(unit)), (0, 0), "aligned");
        assert!(gang == 1 || asize >= u128::from(psize), "room for the data");
    }
}

/// Uses everything a pointer says; nothing may panic.
fn use_all(bp: &BlockPointer) {
    let said = (bp.properties(), bp.birth(), bp.physical_birth(), bp.fill(), bp.asize_bytes());
    let more = (bp.is_gang(), bp.is_hole(), bp.is_encrypted(), bp.copies(), bp.embedded_payload());
    let dvas: Vec<_> = (0..=DVAS_MAX).map(|i| bp.dva(i)).collect();
    std::hint::black_box((said, more, dvas, bp.to_string()));
}

#[test]
fn whatever_passes_the_check_is_in_range_and_aligned() {
    const POOLS: [Shape; 4] = [
        FIXTURE,
        Shape(&[(1 << 40, 4096), (1 << 20, 512), (1 << 30, 65536)]),
        Shape(&[(u64::MAX, 512), (0, 512)]),
        Shape(&[(123_456_789, 512)]),
    ];
    let seeds: Vec<[u64; 16]> = fixtures()
        .iter()
        .map(|f| *BlockPointer::from_bytes(&f.bytes).check(&FIXTURE).unwrap().words())
        .collect();
    let mut rng = Rng(1);
    let (mut passed, mut refused) = (0_u32, 0_u32);
    for round in 0..300_000_usize {
        let mut words = [0; 16];
        if round % 4 == 0 {
            // Random, of several densities, so that short and empty fields occur.
            for word in &mut words {
                *word = rng.next() & if rng.below(2) == 0 { rng.next() & rng.next() } else { !0 };
                *word = if rng.below(3) == 0 { 0 } else { *word };
            }
        } else {
            words = seeds[rng.below(seeds.len())];
            for _ in 0..1 + rng.below(round % 4 * 2) {
                match rng.below(8) {
                    0 => words[rng.below(16)] = rng.next(),
                    1 => words[rng.below(6)] = seeds[rng.below(seeds.len())][rng.below(6)],
                    _ => words[rng.below(16)] ^= 1 << rng.below(64),
                }
            }
        }
        let pointer = raw(words);
        for pool in &POOLS {
            match pointer.check(pool) {
                Ok(bp) => {
                    assert_eq!(bp.words(), &words, "a check changes nothing");
                    assert_usable(&words, pool);
                    use_all(&bp);
                    passed += 1;
                }
                Err(bad) => {
                    refused += 1;
                    if round % 64 == 0 {
                        std::hint::black_box(bad.to_string());
                    }
                }
            }
        }
    }
    assert!(passed > 50_000 && refused > 50_000, "{passed} passed, {refused} refused");
}

/// Each reason to refuse, from a pointer that passes but for one thing.
#[test]
fn every_reason_to_refuse() {
    let pool = Shape(&[(1 << 30, 4096)]);
    let good = {
        let mut bp = BlockPointer::with_properties(&SPEC);
        bp.set_dva(0, Dva::new(VdevId(0), 8192, 4096));
        bp.set_birth(6, 6);
        bp
    };
    assert_eq!(raw(*good.words()).check(&pool), Ok(good));
    let check = |change: &dyn Fn(&mut [u64; 16])| {
        let mut words = *good.words();
        change(&mut words);
        raw(words).check(&pool).unwrap_err()
    };
    let props = |p: Properties| BlockPointer::with_properties(&p).words()[6];
    let dva = |offset, asize| Dva::new(VdevId(0), offset, asize);
    let set = |words: &mut [u64; 16], i: usize, dva: Dva| {
        [words[2 * i], words[2 * i + 1]] = dva.words();
    };

    use BadPointer as Bad;
    for object_type in [54, 127, 0x80 | 10, 0xff] {
        let bad = check(&|w| w[6] = props(Properties { object_type, ..SPEC }));
        assert_eq!(bad, Bad::ObjectType(object_type));
    }
    for checksum in [0, 1, 15, 255] {
        let bad = check(&|w| w[6] = props(Properties { checksum, ..SPEC }));
        assert_eq!(bad, Bad::Checksum(checksum));
    }
    for compression in [0, 1, 17, 127] {
        let bad = check(&|w| w[6] = props(Properties { compression, ..SPEC }));
        assert_eq!(bad, Bad::Compression(compression));
    }
    let bad = check(&|w| w[6] = props(Properties { lsize_bytes: (16 << 20) + 512, ..SPEC }));
    assert!(matches!(bad, Bad::Size { which: "logical size", bytes: 16_777_728 }));
    let bad = check(&|w| w[6] = props(Properties { psize_bytes: 32 << 20, ..SPEC }));
    assert!(matches!(bad, Bad::Size { which: "physical size", .. }));
    let bad = check(&|w| w[6] = props(Properties { compression: 2, ..SPEC }));
    assert!(matches!(bad, Bad::Uncompressed { lsize_bytes: 131_072, psize_bytes: 4096 }));
    assert_eq!(check(&|w| w[10] = 0), Bad::NoBirth);

    assert!(matches!(check(&|w| w[0] = 0), Bad::Dva { index: 0, .. }), "no size");
    assert!(matches!(check(&|w| set(w, 2, dva(0, 4096))), Bad::Dva { index: 2, .. }), "a gap");
    assert!(matches!(check(&|w| w[3] = 1), Bad::Dva { index: 1, .. }), "an offset alone");
    let bad = check(&|w| set(w, 1, dva(0, 4096).with_gang(true)));
    assert_eq!(bad, Bad::MixedGang);
    let bad = check(&|w| set(w, 0, Dva::new(VdevId(1), 0, 4096)));
    assert!(matches!(bad, Bad::NoVdev { index: 0, .. }));
    let last = (1 << 30) - 4096;
    assert!(matches!(check(&|w| set(w, 0, dva(last, 8192))), Bad::OutOfRange { .. }));
    let bad = check(&|w| w[1] = (1 << 63) - 1);
    assert!(matches!(bad, Bad::OutOfRange { .. }), "an offset of more than 64 bits");
    assert!(matches!(check(&|w| set(w, 0, dva(512, 4096))), Bad::Misaligned { .. }));
    assert!(matches!(check(&|w| set(w, 0, dva(0, 4608))), Bad::Misaligned { .. }));
    let larger = Properties { psize_bytes: 4608, ..SPEC };
    assert!(matches!(check(&|w| w[6] = props(larger)), Bad::TooSmall { psize_bytes: 4608, .. }));
    let hole = check(&|w| (w[0], w[1], w[2]) = (0, 0, 8));
    assert!(matches!(hole, Bad::Dva { index: 1, .. }), "a hole with an address");
    let crypt = Properties { crypt: true, ..SPEC };
    let bad = check(&|w| (w[0], w[1], w[6]) = (0, 1, props(crypt)));
    assert!(matches!(bad, Bad::Dva { index: 0, .. }));

    let about =
        Embedded { lsize_bytes: 4096, compression: 15, object_type: 19, level: 0, birth: 6 };
    let embedded = *BlockPointer::embed(&about, &[7; 100]).unwrap().words();
    let check = |word: u64| {
        let mut words = embedded;
        words[6] = word;
        raw(words).check(&pool).unwrap_err()
    };
    assert_eq!(check(embedded[6] | 3 << 40), Bad::EmbeddedKind(3));
    assert_eq!(check(embedded[6] | 127 << 25), Bad::EmbeddedSize(128));
    assert_eq!(check(embedded[6] | 1 << 61), Bad::EmbeddedFlags);
    assert_eq!(check(embedded[6] | 1 << 62), Bad::EmbeddedFlags);
    assert_eq!(check(embedded[6] | 127 << 32), Bad::Compression(127));
    let uncompressed = embedded[6] & !(127 << 32) | 2 << 32;
    assert!(matches!(check(uncompressed), Bad::Uncompressed { psize_bytes: 100, .. }));
}

#[test]
fn a_gang_address_covers_its_header_only() {
    let pool = Shape(&[(1 << 20, 4096)]);
    let mut bp = BlockPointer::with_properties(&Properties { psize_bytes: 1 << 20, ..SPEC });
    // The allocated size counts the members too, wherever they are.
    bp.set_dva(0, Dva::new(VdevId(0), (1 << 20) - 4096, 4 << 20).with_gang(true));
    bp.set_birth(6, 6);
    assert_eq!(raw(*bp.words()).check(&pool), Ok(bp));
    bp.set_dva(0, Dva::new(VdevId(0), 1 << 20, 4 << 20).with_gang(true));
    assert!(matches!(raw(*bp.words()).check(&pool), Err(BadPointer::OutOfRange { .. })));
}

// -- Round trips. --

prop_compose! {
    fn properties()(
        sectors in (1_u64..=1 << 15, 1_u64..=1 << 15),
        ids in (3_u8..17, 2_u8..15, 0_u8..54, 0_u8..32),
        flags in any::<(bool, bool, bool)>(),
    ) -> Properties {
        Properties {
            lsize_bytes: sectors.0 * 512,
            psize_bytes: sectors.1 * 512,
            compression: ids.0,
            checksum: ids.1,
            object_type: ids.2,
            level: ids.3,
            crypt: flags.0,
            dedup: flags.1,
            order: if flags.2 { LITTLE } else { ByteOrder::Big },
        }
    }
}

fn orders() -> impl Strategy<Value = ByteOrder> {
    prop_oneof![Just(LITTLE), Just(ByteOrder::Big)]
}

proptest! {
    #[test]
    fn plain_pointers_round_trip(
        properties in properties(),
        copies in 1_usize..=3,
        vdev in 0_u32..1 << 24,
        sector in 0_u64..1 << 50,
        gang in any::<bool>(),
        births in (1_u64.., any::<u64>()),
        rest in any::<([u64; 4], u64)>(),
        order in orders(),
    ) {
        let mut bp = BlockPointer::with_properties(&properties);
        let copies = if bp.is_encrypted() { copies.min(2) } else { copies };
        for i in 0..copies {
            let dva = Dva::new(VdevId(vdev), (sector + i as u64) * 512, 32 << 20);
            bp.set_dva(i, dva.with_gang(gang));
        }
        bp.set_birth(births.0, births.1);
        bp.set_checksum(rest.0);
        bp.set_fill(rest.1);
        let bytes = bp.to_bytes_in(order);
        let back = RawPointer::from_bytes(&bytes, order).check(&Boundless).unwrap();
        prop_assert_eq!(back, bp);
        prop_assert_eq!(back.properties(), properties);
        prop_assert_eq!(back.copies(), copies);
        prop_assert_eq!(back.is_gang(), gang);
        prop_assert_eq!(back.birth(), births.0);
        let physical = if births.1 == 0 { births.0 } else { births.1 };
        prop_assert_eq!(back.physical_birth(), physical);
        prop_assert_eq!(back.checksum(), rest.0);
        for dva in back.dvas() {
            prop_assert_eq!((dva.vdev(), dva.is_gang()), (VdevId(vdev), gang));
            prop_assert_eq!(dva.asize_bytes(), 32 << 20);
            prop_assert!(dva.offset_bytes() / 512 - sector < 3);
        }
    }

    #[test]
    fn embedded_pointers_round_trip(
        payload in proptest::collection::vec(any::<u8>(), 1..=EMBEDDED_PAYLOAD_BYTES_MAX),
        lsize_bytes in 1_u64..=1 << 24,
        compression in 3_u8..17,
        level in 0_u8..32,
        birth in any::<u64>(),
        order in orders(),
    ) {
        let about = Embedded { lsize_bytes, compression, object_type: 19, level, birth };
        let bp = BlockPointer::embed(&about, &payload).unwrap();
        let bytes = bp.to_bytes_in(order);
        let back = RawPointer::from_bytes(&bytes, order).check(&Shape(&[])).unwrap();
        prop_assert_eq!(back, bp);
        prop_assert!(back.is_embedded() && !back.is_hole() && !back.is_gang());
        prop_assert_eq!((back.copies(), back.asize_bytes(), back.fill()), (0, 0, 1));
        prop_assert_eq!(back.lsize_bytes(), lsize_bytes);
        prop_assert_eq!(back.psize_bytes(), payload.len() as u64);
        prop_assert_eq!((back.compression(), back.level()), (compression, level));
        prop_assert_eq!((back.birth(), back.physical_birth()), (birth, birth));
        let stored = back.embedded_payload().unwrap();
        prop_assert_eq!(&stored[..payload.len()], &payload[..]);
        prop_assert!(stored[payload.len()..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn holes_round_trip(
        sectors in 1_u64..=1 << 15,
        object_type in 0_u8..54,
        level in 0_u8..32,
        birth in any::<u64>(),
        order in orders(),
    ) {
        let bp = BlockPointer::hole(sectors * 512, object_type, level, birth);
        let back = RawPointer::from_bytes(&bp.to_bytes_in(order), order).check(&Shape(&[])).unwrap();
        prop_assert_eq!(back, bp);
        prop_assert!(back.is_hole() && back.copies() == 0);
        prop_assert_eq!((back.lsize_bytes(), back.birth()), (sectors * 512, birth));
        prop_assert_eq!((back.object_type(), back.level()), (object_type, level));
    }
}
