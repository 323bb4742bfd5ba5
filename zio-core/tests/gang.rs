//! Gang headers and the words of encrypted pointers (spec 2.1, 2.5).

mod support {
    pub(crate) mod rng;
}

use support::rng::Rng;
use zio_core::bp::{
    BadGang, BadPointer, ByteOrder, CryptWords, GANG_HEADER_BYTES, PoolShape, Properties,
    encode_gang_header, gang_slots,
};
use zio_core::{BlockPointer, Dva, VdevId};

/// Two vdevs of 1 GiB, in units of 512 bytes and of 4 KiB.
struct Shape;

impl PoolShape for Shape {
    fn data_bytes(&self, vdev: VdevId) -> Option<u64> {
        (vdev.0 < 2).then_some(1 << 30)
    }

    fn unit_bytes(&self, vdev: VdevId) -> u64 {
        [512, 4096][vdev.0 as usize]
    }
}

fn properties(size_bytes: u64) -> Properties {
    Properties {
        lsize_bytes: size_bytes,
        psize_bytes: size_bytes,
        compression: 2,
        checksum: 7,
        object_type: 0,
        level: 0,
        crypt: false,
        dedup: false,
        order: ByteOrder::Little,
    }
}

fn piece(offset_bytes: u64, size_bytes: u64) -> BlockPointer {
    let mut bp = BlockPointer::with_properties(&properties(size_bytes));
    bp.set_dva(0, Dva::new(VdevId(0), offset_bytes, size_bytes));
    bp.set_birth(7, 7);
    bp.set_checksum([offset_bytes, 1, 2, 3]);
    bp
}

fn leader(size_bytes: u64) -> BlockPointer {
    let mut bp = piece(1 << 20, size_bytes);
    bp.set_dva(0, Dva::new(VdevId(0), 1 << 20, size_bytes + 512).with_gang(true));
    bp
}

fn header(members: &[BlockPointer], order: ByteOrder) -> Vec<u8> {
    let mut header = vec![0xee; GANG_HEADER_BYTES];
    encode_gang_header(members, &mut header, order);
    header
}

fn members(leader: &BlockPointer, members: &[BlockPointer]) -> Result<Vec<BlockPointer>, BadGang> {
    let little = ByteOrder::Little;
    leader.gang_members(&header(members, little), little, &Shape)
}

#[test]
fn members_come_back_in_order_in_both_byte_orders() {
    let all = [piece(0, 4096), piece(8192, 512), piece(4096, 1024)];
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let header = header(&all, order);
        assert_eq!(leader(5632).gang_members(&header, order, &Shape).unwrap(), all);
        assert!(header[384..].iter().all(|byte| *byte == 0));
        // Read in the other order, it is nothing that could be followed.
        let other = if order == ByteOrder::Little { ByteOrder::Big } else { ByteOrder::Little };
        leader(5632).gang_members(&header, other, &Shape).unwrap_err();
    }
    // Slots that are not used are left out.
    assert_eq!(members(&leader(4608), &all[..2]).unwrap(), all[..2]);
    let gap = [all[0], BlockPointer::EMPTY, all[1]];
    assert_eq!(members(&leader(4608), &gap).unwrap(), all[..2]);
}

#[test]
fn a_header_is_as_large_as_its_smallest_unit() {
    let on = |vdevs: &[u32]| {
        let mut bp = leader(8192);
        for (index, vdev) in vdevs.iter().enumerate() {
            bp.set_dva(index, Dva::new(VdevId(*vdev), 1 << 20, 8704).with_gang(true));
        }
        bp.gang_header_bytes(&Shape)
    };
    assert_eq!([on(&[0]), on(&[1]), on(&[1, 0]), on(&[1, 1, 1])], [512, 4096, 512, 4096]);
    assert_eq!([512, 4096, 8192, 65_536].map(gang_slots), [3, 31, 63, 511]);
}

#[test]
fn what_does_not_make_up_the_block_is_refused() {
    let (a, b) = (piece(0, 4096), piece(8192, 512));
    let sum = |members_bytes, psize_bytes| BadGang::Sum { members_bytes, psize_bytes };
    assert_eq!(members(&leader(4096), &[a, b]).unwrap_err(), sum(4608, 4096));
    assert_eq!(members(&leader(5120), &[a, b]).unwrap_err(), sum(4608, 5120));
    assert_eq!(members(&leader(512), &[]).unwrap_err(), sum(0, 512));

    let not_plain = |change: fn(&mut BlockPointer)| {
        let mut changed = b;
        change(&mut changed);
        match members(&leader(4608), &[a, changed]).unwrap_err() {
            BadGang::NotPlain { slot: 1, what } => what,
            other => panic!("{other}"),
        }
    };
    assert_eq!(not_plain(|bp| bp.set_dedup(true)), "shared through the dedup table");
    let compressed = Properties { compression: 15, ..properties(512) };
    assert_eq!(
        not_plain(|bp| bp.set_properties(&Properties { compression: 15, ..properties(512) })),
        "compressed"
    );
    assert_eq!(compressed.psize_bytes, 512);
    assert_eq!(
        not_plain(|bp| {
            let about = zio_core::bp::Embedded {
                lsize_bytes: 512,
                compression: 15,
                object_type: 0,
                level: 0,
                birth: 7,
            };
            *bp = BlockPointer::embed(&about, &[1; 100]).unwrap();
        }),
        "embedded data"
    );
    // A gang in a gang is smaller than it, so that following them ends.
    let mut itself = leader(4608);
    assert_eq!(
        members(&leader(4608), &[itself]).unwrap_err(),
        BadGang::NotPlain { slot: 0, what: "a gang as large as the block itself" }
    );
    itself = leader(512);
    assert!(members(&leader(4608), &[a, itself]).unwrap()[1].is_gang());

    // What leads out of the devices.
    let outside = piece(1 << 30, 512);
    let refused = members(&leader(4608), &[a, outside]).unwrap_err();
    assert!(
        matches!(refused, BadGang::Member { slot: 1, bad: BadPointer::OutOfRange { .. } }),
        "{refused}"
    );
    let short = leader(4608).gang_members(&[0; 167], ByteOrder::Little, &Shape);
    assert_eq!(short.unwrap_err(), BadGang::Length(167));
}

#[test]
#[should_panic(expected = "4 gang members for 3 slots")]
fn more_members_than_slots_are_a_mistake() {
    header(&[piece(0, 512); 4], ByteOrder::Little);
}

#[test]
fn a_damaged_header_never_leads_astray() {
    let all = [piece(0, 4096), piece(8192, 512), leader(1024)];
    let good = header(&all, ByteOrder::Little);
    let mut rng = Rng(1);
    let mut passed = 0;
    for round in 0..200_000 {
        let mut header = good.clone();
        if round % 10 == 0 {
            header.iter_mut().for_each(|byte| *byte = rng.below(256) as u8);
        } else {
            for _ in 0..=rng.below(3) {
                header[rng.below(384)] ^= 1 << rng.below(8);
            }
        }
        let Ok(found) = leader(5632).gang_members(&header, ByteOrder::Little, &Shape) else {
            continue;
        };
        passed += 1;
        assert_eq!(found.iter().map(BlockPointer::psize_bytes).sum::<u64>(), 5632);
        for dva in found.iter().flat_map(|bp| bp.dvas()) {
            let data_bytes = Shape.data_bytes(dva.vdev()).unwrap();
            let len = if dva.is_gang() { 512 } else { dva.asize_bytes() };
            assert!(dva.offset_bytes() + len <= data_bytes);
        }
    }
    assert!(passed > 1000, "{passed} passed: too few to tell");
}

#[test]
fn salt_iv_and_mac_have_words_of_their_own() {
    let mut bp = BlockPointer::with_properties(&Properties {
        object_type: 19,
        crypt: true,
        ..properties(4096)
    });
    bp.set_dva(0, Dva::new(VdevId(0), 0, 4096));
    bp.set_birth(7, 7);
    bp.set_fill(3);
    let words = CryptWords { salt: 0x0102, iv: 0x0304, iv_tail: 0x0506_0708 };
    bp.set_crypt_words(words);
    bp.set_checksum([1, 2, 3, 4]);
    bp.set_mac_words([5, 6]);
    assert_eq!((bp.crypt_words(), bp.fill(), bp.copies()), (words, 3, 1));
    assert_eq!(
        (bp.words()[4], bp.words()[5], bp.words()[11]),
        (0x0102, 0x0304, 0x0506_0708_0000_0003)
    );
    assert_eq!((bp.checksum(), bp.mac_words()), ([1, 2, 5, 6], [5, 6]));
    bp.set_fill(9);
    assert_eq!((bp.crypt_words(), bp.fill()), (words, 9));
    assert!(bp.is_encrypted() && !bp.is_authenticated() && bp.has_mac());

    // Directory contents are encrypted; a pool's object directory stays in plain.
    let with = |object_type, level, crypt| {
        BlockPointer::with_properties(&Properties { object_type, level, crypt, ..properties(512) })
    };
    let kind = |bp: BlockPointer| (bp.is_encrypted(), bp.is_authenticated(), bp.has_mac());
    assert_eq!(kind(with(20, 0, true)), (true, false, true));
    assert_eq!(kind(with(1, 0, true)), (false, true, true));
    assert_eq!(kind(with(19, 1, true)), (false, false, true));
    assert_eq!(kind(with(11, 0, true)), (false, true, false));
    assert_eq!(kind(with(19, 0, false)), (false, false, false));
    let mut bp = with(19, 0, false);
    bp.set_crypt(true);
    assert!(bp.is_encrypted());
}
