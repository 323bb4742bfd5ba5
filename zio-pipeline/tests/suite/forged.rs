//! Gang headers that verify and lie (B2, B6): somebody with a valid checksum may write
//! what he likes. He gets no I/O outside the devices, no space of others, no endless
//! walk, and no data of another length than the pointer says.

use checksum::embedded::{self, Verifier};
use checksum::{Algorithm, ByteOrder as Order, Context};
use vdev_sim::Rng;
use zio_core::bp::{Embedded, Properties};
use zio_core::{Dva, VdevId};
use zio_pipeline::{BlockPointer, ByteOrder, DATA_START_BYTES, ErrorKind, Pipeline};

use crate::common::{Sim, noise};

const BIRTH: u64 = 5;

/// Where headers stand; pieces stand behind, in units.
const HEADERS_AT: u64 = 1 << 20;

struct Forge {
    sim: Sim,
    pipeline: Pipeline,
    unit: u64,
}

impl Forge {
    fn new(ashift: u32) -> Self {
        let sim = Sim::new(1, 1);
        let pipeline = sim.builder().ashift(ashift).build().unwrap();
        Self { sim, pipeline, unit: 1 << ashift }
    }

    fn poke(&self, at: u64, bytes: &[u8]) {
        self.sim.disks[0].poke(DATA_START_BYTES + at, bytes);
    }

    /// A pointer to `data`, which stands nowhere yet.
    fn pointer(&self, dva: Dva, data: &[u8]) -> BlockPointer {
        let mut bp = BlockPointer::with_properties(&properties(data.len() as u64));
        bp.set_dva(0, dva);
        bp.set_birth(BIRTH, BIRTH);
        let sum = Context::new(Algorithm::Fletcher4, None).unwrap().compute(Order::Little, [data]);
        bp.set_checksum(sum.0);
        bp
    }

    /// A piece that is there, `number` units behind the headers.
    fn piece(&self, number: u64, data: &[u8]) -> BlockPointer {
        let (at, len) = (2 * HEADERS_AT + number * self.unit, data.len() as u64);
        self.poke(at, data);
        self.pointer(Dva::new(VdevId(0), at, len.next_multiple_of(self.unit)), data)
    }

    /// A gang of these members, whose header is number `header`.
    fn gang(&self, header: u64, members: &[BlockPointer], data: &[u8]) -> BlockPointer {
        self.gang_with(header, 512, members, data)
    }

    fn gang_with(
        &self,
        header: u64,
        header_bytes: usize,
        members: &[BlockPointer],
        data: &[u8],
    ) -> BlockPointer {
        let members: Vec<_> = members.iter().map(BlockPointer::to_bytes).collect();
        self.gang_of(header, header_bytes, &members, data)
    }

    /// The same of anything, pointers or not.
    fn gang_of(
        &self,
        header: u64,
        header_bytes: usize,
        members: &[[u8; 128]],
        data: &[u8],
    ) -> BlockPointer {
        let offset_bytes = HEADERS_AT + header * self.unit;
        let mut bytes = members.concat();
        bytes.resize(header_bytes, 0);
        let verifier = Verifier::GangHeader { vdev: 0, offset_bytes, birth_txg: BIRTH };
        embedded::seal(&mut bytes, &verifier, Order::Little).unwrap();
        self.poke(offset_bytes, &bytes);
        let asize = self.unit + (data.len() as u64).next_multiple_of(self.unit);
        let dva = Dva::new(VdevId(0), offset_bytes, asize).with_gang(true);
        self.pointer(dva, data)
    }

    /// Reading, freeing and claiming fail, and change nothing.
    fn refused(&self, bp: &BlockPointer, why: &str) {
        let bp = self.pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
        let before = self.pipeline.allocated_bytes();
        let read = self.pipeline.read(&bp).wait().map(|data| data.len()).unwrap_err();
        assert_eq!(read.kind(), ErrorKind::Invalid, "{why}: {read}");
        for error in [self.pipeline.free(&bp).wait(), self.pipeline.claim(&bp).wait()] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Invalid, "{why}");
        }
        assert_eq!((self.pipeline.allocated_bytes(), self.pipeline.live()), (before, 0), "{why}");
    }

    /// It can be read, and neither claimed nor freed: its extents lie over each other.
    fn read_only(&self, bp: &BlockPointer, data: &[u8]) {
        assert!(self.pipeline.read(bp).wait().unwrap() == data);
        let before = self.pipeline.allocated_bytes();
        for error in [self.pipeline.claim(bp).wait(), self.pipeline.free(bp).wait()] {
            assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert_eq!(self.pipeline.allocated_bytes(), before);
    }
}

fn properties(size_bytes: u64) -> Properties {
    Properties {
        lsize_bytes: size_bytes,
        psize_bytes: size_bytes,
        compression: 2,
        checksum: Algorithm::Fletcher4.id(),
        object_type: 0,
        level: 0,
        crypt: false,
        dedup: false,
        order: ByteOrder::Little,
    }
}

fn changed(bp: &BlockPointer, change: impl FnOnce(&mut Properties)) -> BlockPointer {
    let (mut bp, mut properties) = (*bp, bp.properties());
    change(&mut properties);
    bp.set_properties(&properties);
    bp
}

#[test]
fn what_is_made_well_is_read() {
    for (ashift, header_bytes, slots) in [(9, 512, 3), (12, 512, 3), (12, 4096, 31)] {
        let forge = Forge::new(ashift);
        let data = noise(1, slots * forge.unit as usize);
        let pieces: Vec<_> = data
            .chunks(forge.unit as usize)
            .enumerate()
            .map(|(number, piece)| forge.piece(number as u64, piece))
            .collect();
        let bp = forge.gang_with(0, header_bytes, &pieces, &data);
        assert!(forge.pipeline.read(&bp).wait().unwrap() == data);
        forge.pipeline.claim(&bp).wait().unwrap();
        assert_eq!(forge.pipeline.allocated_bytes(), bp.asize_bytes());
        forge.pipeline.free(&bp).wait().unwrap();
        assert_eq!(forge.pipeline.allocated_bytes(), 0);
    }
}

#[test]
fn members_that_are_no_pieces_of_the_block_are_refused() {
    let forge = Forge::new(12);
    let data = noise(1, 12_288);
    let (a, b) = (forge.piece(0, &data[..4096]), forge.piece(1, &data[4096..]));
    assert!(forge.pipeline.read(&forge.gang(0, &[a, b], &data)).wait().unwrap() == data);

    let moved = |dva: Dva| {
        let mut bp = b;
        bp.set_dva(0, dva);
        bp
    };
    let end = (64 << 20) - (4 << 20) - (512 << 10);
    let about =
        Embedded { lsize_bytes: 8192, compression: 15, object_type: 0, level: 0, birth: BIRTH };
    let mut unborn = b;
    unborn.set_birth(0, 0);
    let liars = [
        ("too much", vec![a, b, a]),
        ("too little", vec![a]),
        ("nothing", vec![]),
        ("embedded", vec![a, BlockPointer::embed(&about, &[1; 100]).unwrap()]),
        ("compressed", vec![a, changed(&b, |p| p.compression = 15)]),
        ("shared", vec![a, changed(&b, |p| p.dedup = true)]),
        ("a checksum of a header", vec![a, changed(&b, |p| p.checksum = 4)]),
        ("a checksum of a label", vec![a, changed(&b, |p| p.checksum = 3)]),
        ("encrypted", vec![a, changed(&b, |p| (p.crypt, p.object_type) = (true, 19))]),
        ("unborn", vec![a, unborn]),
        ("beyond the device", vec![a, moved(Dva::new(VdevId(0), end - 4096, 8192))]),
        ("far beyond it", vec![a, moved(Dva::from_words([16, u64::MAX >> 1]))]),
        ("another device", vec![a, moved(Dva::new(VdevId(1), 0, 8192))]),
        ("between units", vec![a, moved(Dva::new(VdevId(0), 512, 8192))]),
        ("without room", vec![a, moved(Dva::new(VdevId(0), 0, 4096))]),
    ];
    for (why, members) in liars {
        forge.refused(&forge.gang(0, &members, &data), why);
    }
}

#[test]
fn pieces_that_are_good_in_the_wrong_order_are_a_bad_block() {
    let forge = Forge::new(9);
    let data = noise(1, 1024);
    let (a, b) = (forge.piece(0, &data[..512]), forge.piece(1, &data[512..]));
    let bp = forge.gang(0, &[b, a], &data);
    let error = forge.pipeline.read(&bp).wait().map(|data| data.len()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checksum, "{error}");
}

#[test]
fn what_stands_behind_a_small_header_is_no_part_of_it() {
    let forge = Forge::new(12);
    let data = noise(1, 8192);
    let (a, b) = (forge.piece(0, &data[..4096]), forge.piece(1, &data[4096..]));
    let bp = forge.gang(0, &[a, b], &data);
    // It could be taken for a third piece.
    forge.poke(HEADERS_AT + 512, &a.to_bytes().repeat(28));
    assert!(forge.pipeline.read(&bp).wait().unwrap() == data);
}

#[test]
fn a_header_that_leads_to_itself_leads_nowhere() {
    let forge = Forge::new(9);
    let data = noise(1, 2048);
    let a = forge.piece(0, &data[..512]);
    // As large as the block, and smaller than it.
    let own = |len: usize| {
        let dva = Dva::new(VdevId(0), HEADERS_AT, 4096).with_gang(true);
        forge.pointer(dva, &data[..len])
    };
    forge.refused(&forge.gang(0, &[own(2048)], &data), "itself");
    forge.refused(&forge.gang(0, &[a, own(1536)], &data), "itself, smaller");
    // Two that lead to each other.
    let dva = Dva::new(VdevId(0), HEADERS_AT + 512, 4096).with_gang(true);
    let other = forge.pointer(dva, &data[..1536]);
    let first = forge.gang(0, &[a, other], &data);
    forge.gang(1, &[a, own(1024)], &data[..1536]);
    forge.refused(&first, "each other");
}

#[test]
fn extents_that_lie_over_each_other_are_neither_claimed_nor_freed() {
    let forge = Forge::new(9);
    let data = [7; 2048];
    let piece = forge.piece(0, &data[..1024]);
    // The same piece twice.
    forge.read_only(&forge.gang(0, &[piece, piece], &data), &data);
    // Two pieces that share half of it.
    let second = forge.piece(1, &data[..1024]);
    forge.read_only(&forge.gang(0, &[piece, second], &data), &data);
    // The same gang twice.
    let inner = forge.gang(1, &[piece], &data[..1024]);
    forge.read_only(&forge.gang(0, &[inner, inner], &data), &data);
    // A piece on the header itself: what it holds is the header.
    let bp = forge.gang(0, &[forge.piece(4, &data[..512])], &data[..512]);
    let mut on_header = changed(&bp, |p| p.checksum = Algorithm::Off.id());
    on_header.set_dva(0, Dva::new(VdevId(0), HEADERS_AT, 512));
    let bp = changed(&forge.gang(0, &[on_header], &data[..512]), |p| p.checksum = 2);
    forge.read_only(&bp, &forge.sim.disks[0].peek(DATA_START_BYTES + HEADERS_AT, 512));
}

#[test]
fn a_long_chain_of_headers_comes_to_its_end() {
    let forge = Forge::new(9);
    let chain = |levels: usize| {
        let data = noise(1, (levels + 1) * 512);
        let piece = |number: usize| forge.piece(number as u64, &data[number * 512..][..512]);
        let chain = (0..levels).rev().fold(piece(levels), |rest, number| {
            forge.gang(number as u64, &[piece(number), rest], &data[number * 512..])
        });
        (chain, data)
    };
    let (longest, data) = chain(64);
    assert!(forge.pipeline.read(&longest).wait().unwrap() == data);
    forge.pipeline.claim(&longest).wait().unwrap();
    assert_eq!(forge.pipeline.allocated_bytes(), 129 * 512);
    forge.pipeline.free(&longest).wait().unwrap();
    assert_eq!(forge.pipeline.allocated_bytes(), 0);
    // One more, or as many as it takes to keep a reader busy for long.
    for levels in [65, 300] {
        forge.refused(&chain(levels).0, "a chain");
    }
}

#[test]
fn no_header_whatever_does_harm() {
    let forge = Forge::new(9);
    let mut rng = Rng::new(3);
    let data = noise(1, 4096);
    let pieces = [forge.piece(0, &data[..2048]), forge.piece(4, &data[2048..3072])];
    let inner = forge.gang(1, &[forge.piece(6, &data[3072..])], &data[3072..]);
    let (mut read, mut claimed) = (0, 0);
    for round in 0..4000 {
        let mut members = [pieces[0], pieces[1], inner].map(|bp| bp.to_bytes());
        for _ in 0..rng.below(3) {
            // Checksums are left alone: those of pieces fail before they do harm.
            let (member, byte) = (rng.index(3), rng.index(96));
            members[member][byte] ^= 1 << rng.index(8);
        }
        let bp = forge.gang_of(0, 512, &members, &data);
        if let Ok(found) = forge.pipeline.read(&bp).wait() {
            assert!(found == data, "round {round}");
            read += 1;
        }
        if forge.pipeline.claim(&bp).wait().is_ok() {
            claimed += 1;
            forge.pipeline.free(&bp).wait().unwrap();
        }
        assert_eq!((forge.pipeline.allocated_bytes(), forge.pipeline.live()), (0, 0), "{round}");
    }
    assert!(read > 1000 && claimed > 1000 && read < 3900, "{read} read, {claimed} claimed");
}
