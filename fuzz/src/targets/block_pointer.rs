//! `block_pointer`: 128 bytes that say where a block is.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | bit 0: writer's byte order; the others choose the pool |
//! | 1 … 128 | the pointer |

use std::io::{Write as _, sink};

use zio_core::bp::{
    BLOCK_POINTER_BYTES, ByteOrder, DVAS_MAX, Dva, EMBEDDED_PAYLOAD_BYTES_MAX, Embedded, PoolShape,
    RawPointer, SECTOR_BYTES,
};
use zio_core::segment::BLOCK_BYTES_MAX;
use zio_core::{BlockPointer, Error, VdevId};

use crate::input::Input;

/// The vdevs of each pool: how many data bytes, and the unit of allocation. From one like the
/// fixtures' to one that has every address there is, and one without a device.
pub const POOLS: [&[(u64, u64)]; 6] = [
    &[(62_390_272, 512)],
    &[(1 << 30, 4096), (1 << 40, 512), (3 << 20, 65_536)],
    &[(u64::MAX, 512), (u64::MAX - 1, 1 << 16)],
    &[(0, 512), (512, 512), (1 << 63, 1), (1 << 62, 0)],
    &[(1 << 24, 3 * 512); 300],
    &[],
];

/// One of [`POOLS`].
pub(super) struct Pool(&'static [(u64, u64)]);

impl Pool {
    /// The pool that a byte chooses.
    pub(super) fn nth(choice: u8) -> Self {
        Self(POOLS[usize::from(choice) % POOLS.len()])
    }

    fn get(&self, vdev: VdevId) -> Option<&(u64, u64)> {
        self.0.get(usize::try_from(vdev.0).ok()?)
    }
}

impl PoolShape for Pool {
    fn data_bytes(&self, vdev: VdevId) -> Option<u64> {
        self.get(vdev).map(|&(data_bytes, _)| data_bytes)
    }

    fn unit_bytes(&self, vdev: VdevId) -> u64 {
        self.get(vdev).map_or(512, |&(_, unit_bytes)| unit_bytes)
    }
}

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let order = if choice & 1 == 0 { ByteOrder::Little } else { ByteOrder::Big };
    let pool = &Pool::nth(choice >> 1);
    let bytes: [u8; BLOCK_POINTER_BYTES] = input.array();

    let raw = RawPointer::from_bytes(&bytes, order);
    write!(sink(), "{raw:?}").expect("a sink takes everything");
    match raw.check(pool) {
        Ok(bp) => {
            assert_eq!(bp.to_bytes_in(order), bytes, "{bp}");
            assert_eq!(BlockPointer::from_bytes(&bp.to_bytes()), raw, "{bp}");
            lies_within(&bp, pool);
            ask_everything(&bp);
            change_everything(bp, pool);
        }
        Err(bad) => {
            let error = Error::from(bad);
            write!(sink(), "{bad} {bad:?} {error}").expect("a sink takes everything");
        }
    }
}

/// Nothing that passed leads outside a device, or to a block larger than any.
pub(super) fn lies_within(bp: &BlockPointer, pool: &Pool) {
    assert!(bp.lsize_bytes() <= BLOCK_BYTES_MAX as u64, "{bp}");
    assert!(bp.is_hole() || bp.psize_bytes() <= BLOCK_BYTES_MAX as u64, "{bp}");
    assert!(bp.is_hole() || bp.is_embedded() || bp.copies() > 0, "{bp} has no address");
    for dva in bp.dvas() {
        let data_bytes = pool.data_bytes(dva.vdev()).expect("a vdev that is there");
        let unit_bytes = pool.unit_bytes(dva.vdev()).max(SECTOR_BYTES);
        let span_bytes = if dva.is_gang() { unit_bytes } else { dva.asize_bytes() };
        let end = u128::from(dva.offset_bytes()) + u128::from(span_bytes);
        assert!(end <= u128::from(data_bytes), "{dva} ends beyond {data_bytes}");
        assert_eq!(dva.offset_bytes() % unit_bytes, 0, "{dva}");
        assert_eq!(span_bytes % unit_bytes, 0, "{dva}");
        assert!(dva.is_gang() || dva.asize_bytes() >= bp.psize_bytes(), "{bp} does not fit {dva}");
        assert_eq!(dva.is_gang(), bp.is_gang(), "{bp} is both");
    }
}

fn ask_everything(bp: &BlockPointer) {
    write!(sink(), "{bp} {bp:?} {:?}", bp.properties()).expect("a sink takes everything");
    assert_eq!(bp.asize_bytes(), bp.dvas().map(Dva::asize_bytes).sum::<u64>());
    assert_eq!(bp.copies(), bp.dvas().count());
    assert!(bp.same_block(bp));
    assert_eq!(bp.dva(DVAS_MAX), None);
    assert!(!(bp.is_embedded() && (bp.is_hole() || bp.is_gang() || bp.is_dedup())));
    for dva in (0..DVAS_MAX).filter_map(|index| bp.dva(index)) {
        assert_eq!(Dva::from_words(dva.words()), dva);
        write!(sink(), "{dva} {dva:?}").expect("a sink takes everything");
    }
    let Some(payload) = bp.embedded_payload() else { return };
    let payload_bytes = usize::try_from(bp.psize_bytes()).expect("a length");
    assert!(payload_bytes <= EMBEDDED_PAYLOAD_BYTES_MAX, "{bp}");
    let about = Embedded {
        lsize_bytes: bp.lsize_bytes(),
        compression: bp.compression(),
        object_type: bp.object_type(),
        level: bp.level(),
        birth: bp.birth(),
    };
    let again = BlockPointer::embed(&about, &payload[..payload_bytes]).expect("it was one");
    let payload_again = again.embedded_payload().expect("embedded data");
    assert_eq!(payload_again[..payload_bytes], payload[..payload_bytes]);
    assert_eq!(BlockPointer::from_bytes(&again.to_bytes()).check(&Pool(&[])), Ok(again));
}

/// The setters take what the getters gave, and the pointer stays as good as it was.
fn change_everything(bp: BlockPointer, pool: &Pool) {
    let mut same = bp;
    for index in 0..DVAS_MAX {
        same.set_dva(index, bp.dva(index).expect("there are three"));
    }
    same.set_checksum(bp.checksum());
    assert_eq!(same, bp);
    if bp.is_embedded() {
        return;
    }
    same.set_birth(bp.birth(), bp.physical_birth());
    same.set_fill(bp.fill());
    same.set_dedup(bp.is_dedup());
    assert!(same.same_block(&bp), "{same} is not {bp}");
    assert_eq!(same.fill(), bp.fill());
    same.set_properties(&bp.properties());
    assert_eq!(same.properties(), bp.properties());
    let checked = BlockPointer::from_bytes(&same.to_bytes()).check(pool);
    assert_eq!(checked, Ok(same), "{bp} was good");
}
