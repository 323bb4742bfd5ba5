//! Pools of the other byte order (B8): an encoder written out here, word by word, makes blocks
//! as a host of either order would, and both read back.

use checksum::{ByteOrder as Order, Context};
use sha2::{Digest, Sha256};
use transform::Scratch;
use transform::crypt::{HmacKey, MasterKey};
use vdev_sim::OpKind;
use zio_pipeline::{
    BlockPointer, ByteOrder, Checksum, Compression, DATA_START_BYTES, DatasetKeys, ErrorKind,
    Pipeline, RawPointer, Suite,
};

use crate::common::{Sim, compressible, noise};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Big, ByteOrder::Little];
const BIRTH: u64 = 3;
const MAGIC: u64 = 0x0210_da7a_b10c_7a11;

/// A writer with a byte order of its own.
struct Writer {
    sim: Sim,
    pipeline: Pipeline,
    order: ByteOrder,
}

impl Writer {
    fn new(order: ByteOrder) -> Self {
        let sim = Sim::new(1, 1);
        let keys = DatasetKeys::new(Suite::Aes256Gcm, &[1; 32]).unwrap().hmac(&[2; 64]).unwrap();
        let pipeline = sim.builder().ashift(9).keys(keys).build().unwrap();
        Self { sim, pipeline, order }
    }

    fn put(&self, word: u64) -> [u8; 8] {
        match self.order {
            ByteOrder::Big => word.to_be_bytes(),
            ByteOrder::Little => word.to_le_bytes(),
        }
    }

    fn get(&self, bytes: [u8; 8]) -> u64 {
        match self.order {
            ByteOrder::Big => u64::from_be_bytes(bytes),
            ByteOrder::Little => u64::from_le_bytes(bytes),
        }
    }

    /// The pointer in the writer's order, 128 bytes.
    fn bytes(&self, words: &[u64; 16]) -> Vec<u8> {
        words.iter().flat_map(|word| self.put(*word)).collect()
    }

    /// What a reader makes of it.
    fn check(&self, pointer: &[u8]) -> BlockPointer {
        let raw = RawPointer::from_bytes(pointer.try_into().unwrap(), self.order);
        self.pipeline.check(&raw).unwrap()
    }

    /// Word 6 of a block.
    fn properties(&self, lsize: u64, psize: u64, compression: u64, checksum: u64) -> u64 {
        let little = u64::from(self.order == ByteOrder::Little);
        (lsize / 512 - 1)
            | (psize / 512 - 1) << 16
            | compression << 32
            | checksum << 40
            | 19 << 48
            | little << 63
    }

    /// A pointer to `stored`, put on the disk at both addresses.
    fn pointer(&self, lsize: usize, stored: &[u8], compression: u64, checksum: u64) -> [u64; 16] {
        let mut words = [0; 16];
        for (copy, sector) in [64, 4096].into_iter().enumerate() {
            self.sim.disks[0].poke(DATA_START_BYTES + sector * 512, stored);
            words[copy * 2] = stored.len() as u64 / 512;
            words[copy * 2 + 1] = sector;
        }
        words[6] = self.properties(lsize as u64, stored.len() as u64, compression, checksum);
        (words[10], words[11]) = (BIRTH, 1);
        words
    }

    fn fletcher4(&self, bytes: &[u8]) -> [u64; 4] {
        let order = self.order;
        bytes.as_chunks::<4>().0.iter().fold([0_u64; 4], |[a, b, c, d], word| {
            let word = match order {
                ByteOrder::Big => u32::from_be_bytes(*word),
                ByteOrder::Little => u32::from_le_bytes(*word),
            };
            let a = a.wrapping_add(u64::from(word));
            let b = b.wrapping_add(a);
            let c = c.wrapping_add(b);
            [a, b, c, d.wrapping_add(c)]
        })
    }

    fn fletcher2(&self, bytes: &[u8]) -> [u64; 4] {
        bytes.as_chunks::<16>().0.iter().fold([0_u64; 4], |[a0, a1, b0, b1], pair| {
            let (even, odd) = pair.split_at(8);
            let a0 = a0.wrapping_add(self.get(even.try_into().unwrap()));
            let a1 = a1.wrapping_add(self.get(odd.try_into().unwrap()));
            [a0, a1, b0.wrapping_add(a0), b1.wrapping_add(a1)]
        })
    }

    /// Magic and verifier at `at`; then over these the hash of what is covered.
    fn seal(
        &self,
        block: &mut [u8],
        at: usize,
        covered: usize,
        verifier: [u64; 4],
        hash: impl Fn(&[u8]) -> [u64; 4],
    ) {
        block[at..at + 8].copy_from_slice(&self.put(MAGIC));
        let write = |words: [u64; 4], block: &mut [u8]| {
            block[at + 8..at + 40].copy_from_slice(&words.map(|w| self.put(w)).concat());
        };
        write(verifier, block);
        let sum = hash(&block[..covered]);
        write(sum, block);
    }

    /// It reads back; a bad first copy is healed; a byte of both is an error.
    fn reads_back(&self, words: &[u64; 16], expected: &[u8]) {
        let bp = self.check(&self.bytes(words));
        assert_eq!(bp.order(), self.order);
        assert!(self.pipeline.read(&bp).wait().unwrap() == expected, "{:?}: {bp}", self.order);
        let (disk, at) = self.sim.place(&bp, 0);
        let before = disk.peek(at, 512);
        self.sim.corrupt(&bp, 0);
        assert!(self.pipeline.read(&bp).wait().unwrap() == expected, "{:?}: {bp}", self.order);
        assert!(disk.peek(at, 512) == before, "{bp}");
        disk.corrupt(at, 512);
        let (_, second) = self.sim.place(&bp, 1);
        disk.corrupt(second, 512);
        let error = self.pipeline.read(&bp).wait().map(|data| data.len()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checksum, "{bp}");
    }
}

/// The four big-endian words of a SHA-256.
fn sha256(bytes: &[u8]) -> [u64; 4] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|word| u64::from_be_bytes(digest[word * 8..][..8].try_into().unwrap()))
}

fn packed(compression: Compression, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; data.len()];
    let len = transform::compress(compression, data, &mut out, &mut Scratch::new()).unwrap();
    out.truncate(len.next_multiple_of(512));
    out[len..].fill(0);
    out
}

#[test]
fn blocks_under_every_checksum() {
    for order in ORDERS {
        let writer = Writer::new(order);
        let data = noise(1, 8192);
        let own: [(Checksum, [u64; 4]); 3] = [
            (Checksum::Fletcher2, writer.fletcher2(&data)),
            (Checksum::Fletcher4, writer.fletcher4(&data)),
            (Checksum::Sha256, sha256(&data)),
        ];
        // Digests as words of the writer.
        let salt = checksum::Salt([0; 32]);
        let digests = [Checksum::Sha512_256, Checksum::Skein, Checksum::Edonr, Checksum::Blake3]
            .map(|checksum| {
                let context = Context::new(checksum, Some(&salt)).unwrap();
                let digest = context.compute(Order::Little, [&data[..]]).0.map(u64::to_le_bytes);
                (checksum, digest.map(|bytes| writer.get(bytes)))
            });
        for (checksum, sum) in own.into_iter().chain(digests) {
            let mut words = writer.pointer(8192, &data, 2, u64::from(checksum.id()));
            words[12..].copy_from_slice(&sum);
            writer.reads_back(&words, &data);
        }
    }
}

#[test]
fn compressed_blocks_and_the_old_head_of_zstd() {
    for order in ORDERS {
        let writer = Writer::new(order);
        let data = compressible(1, 16_384);
        let zstd = packed(Compression::Zstd(Default::default()), &data);
        let mut old = zstd.clone();
        // Length, level, version of three bytes: the old hosts had the level last.
        old[4..8].rotate_left(1);
        for (id, stored) in [
            (Compression::Lz4.id(), packed(Compression::Lz4, &data)),
            (Compression::Zle.id(), packed(Compression::Zle, &compressible(0, 16_384))),
            (16, zstd),
            (16, old),
        ] {
            let data =
                if id == Compression::Zle.id() { compressible(0, 16_384) } else { data.clone() };
            let mut words = writer.pointer(16_384, &stored, u64::from(id), 7);
            words[12..].copy_from_slice(&writer.fletcher4(&stored));
            writer.reads_back(&words, &data);
        }
    }
}

#[test]
fn data_in_the_pointer() {
    for order in ORDERS {
        let writer = Writer::new(order);
        let data = vec![5; 16_384];
        let mut out = vec![0; 16_384];
        let mut scratch = Scratch::new();
        let len = transform::compress(Compression::Lz4, &data, &mut out, &mut scratch).unwrap();
        assert!(len <= 112);
        let mut words = [0; 16];
        let places = (0..16).filter(|word| ![6, 10].contains(word));
        for (place, bytes) in places.zip(out[..112].as_chunks::<8>().0) {
            // Whatever the host, the first byte is the lowest.
            words[place] = u64::from_le_bytes(*bytes);
        }
        let little = u64::from(order == ByteOrder::Little);
        words[6] = 16_383 | (len as u64 - 1) << 25 | 15 << 32 | 1 << 39 | 19 << 48 | little << 63;
        words[10] = BIRTH;
        let bp = writer.check(&writer.bytes(&words));
        assert!(writer.pipeline.read(&bp).wait().unwrap() == data);
        assert!(writer.pipeline.read(&bp).raw().wait().unwrap() == out[..len]);
        // Kinds 1 and 2 hold no data; and they take no space.
        for kind in [1, 2] {
            let mut other = words;
            other[6] |= kind << 40;
            let bp = writer.check(&writer.bytes(&other));
            for read in [writer.pipeline.read(&bp), writer.pipeline.read(&bp).raw()] {
                assert_eq!(read.wait().unwrap_err().kind(), ErrorKind::Unsupported);
            }
            writer.pipeline.claim(&bp).wait().unwrap();
            writer.pipeline.free(&bp).wait().unwrap();
        }
        assert_eq!(writer.sim.take_log(OpKind::Read).len(), 0);
    }
}

#[test]
fn gang_blocks() {
    for order in ORDERS {
        let writer = Writer::new(order);
        let data = noise(1, 2048);
        let header_at = 1 << 15;
        let member = |sector: u64, piece: &[u8]| {
            writer.sim.disks[0].poke(DATA_START_BYTES + sector * 512, piece);
            let mut words = [0; 16];
            (words[0], words[1]) = (piece.len() as u64 / 512, sector);
            words[6] = writer.properties(piece.len() as u64, piece.len() as u64, 2, 7);
            words[10] = BIRTH;
            words[12..].copy_from_slice(&writer.fletcher4(piece));
            writer.bytes(&words)
        };
        let mut header = [member(100, &data[..1024]), member(200, &data[1024..])].concat();
        header.resize(512, 0);
        writer.seal(&mut header, 472, 512, [0, header_at * 512, BIRTH, 0], sha256);
        let mut words = writer.pointer(2048, &[0; 2048], 2, 8);
        for (copy, sector) in [header_at, header_at + 1].into_iter().enumerate() {
            writer.sim.disks[0].poke(DATA_START_BYTES + sector * 512, &header);
            (words[copy * 2], words[copy * 2 + 1]) = (5, sector | 1 << 63);
        }
        words[12..].copy_from_slice(&sha256(&data));
        let bp = writer.check(&writer.bytes(&words));
        writer.pipeline.claim(&bp).wait().unwrap();
        assert_eq!(writer.pipeline.allocated_bytes(), 2 * 512 + 2048);
        let (disk, at) = writer.sim.place(&bp, 0);
        for _ in 0..2 {
            assert!(writer.pipeline.read(&bp).wait().unwrap() == data);
            assert!(disk.peek(at, 512) == header);
            disk.corrupt(at, 512);
        }
        writer.pipeline.free(&bp).wait().unwrap();
        assert_eq!(writer.pipeline.allocated_bytes(), 0);
    }
}

#[test]
fn encrypted_and_authenticated_blocks() {
    for order in ORDERS {
        for object_type in [19, 1] {
            let writer = Writer::new(order);
            let data = compressible(1, 8192);
            let mut stored = packed(Compression::Lz4, &data);
            let (salt, iv) =
                ([1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
            let mac = if object_type == 19 {
                let key = MasterKey::new(Suite::Aes256Gcm, &[1; 32]).unwrap().derive(&salt);
                key.seal_in_place(&iv, &[], &mut stored).unwrap()
            } else {
                HmacKey::new(&[2; 64]).unwrap().authenticate([&stored[..]])
            };
            let mut words = writer.pointer(8192, &stored, 15, 7);
            words[6] = words[6] & !(0xff << 48) | object_type << 48 | 1 << 61;
            let [a, b, c, d] = writer.fletcher4(&stored);
            (words[12], words[13]) = (a ^ c, b ^ d);
            // Salt, IV and MAC are bytes, and stand in the pointer as they are.
            let mut pointer = writer.bytes(&words);
            pointer[112..].copy_from_slice(&mac);
            if object_type == 19 {
                pointer[32..40].copy_from_slice(&salt);
                pointer[40..48].copy_from_slice(&iv[..8]);
                let (fill, iv_tail) = (1_u32, iv[8..].try_into().unwrap());
                let word = match order {
                    ByteOrder::Big => u64::from(u32::from_be_bytes(iv_tail)) << 32,
                    ByteOrder::Little => u64::from(u32::from_le_bytes(iv_tail)) << 32,
                };
                pointer[88..96].copy_from_slice(&writer.put(word | u64::from(fill)));
            }
            let words: Vec<_> =
                pointer.as_chunks::<8>().0.iter().map(|word| writer.get(*word)).collect();
            writer.reads_back(&words.try_into().unwrap(), &data);
        }
    }
}

#[test]
fn blocks_of_a_log_prove_themselves() {
    for order in ORDERS {
        let writer = Writer::new(order);
        // What the pointer calls a checksum is what binds a block to its place in the log.
        let (seed, other) = ([71, 72, 5, 9], [71, 72, 5, 10]);
        let (old, new) = (Checksum::Zilog.id(), Checksum::Zilog2.id());
        for id in [old, new] {
            let mut block = noise(1, 16_384);
            if id == old {
                let at = block.len() - 40;
                writer.seal(&mut block, at, 16_384, seed, |bytes| writer.fletcher2(bytes));
            } else {
                block[136..144].copy_from_slice(&writer.put(5000));
                writer.seal(&mut block, 144, 8192, seed, |bytes| writer.fletcher4(bytes));
            }
            let mut words = writer.pointer(16_384, &block, 2, u64::from(id));
            words[6] = words[6] & !(0xff << 48) | 9 << 48;
            words[12..].copy_from_slice(&other);
            let stale = writer.check(&writer.bytes(&words));
            let error = writer.pipeline.read(&stale).wait().map(|data| data.len()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Checksum, "{error}");
            words[12..].copy_from_slice(&seed);
            writer.reads_back(&words, &block);
        }
        // One of an encrypted dataset: the sum is folded, and a MAC stands behind it.
        let mut block = noise(1, 16_384);
        block[136..144].copy_from_slice(&writer.put(5000));
        writer.seal(&mut block, 144, 8192, seed, |bytes| {
            let [a, b, c, d] = writer.fletcher4(bytes);
            [a ^ c, b ^ d, 21, 22]
        });
        let mut words = writer.pointer(16_384, &block, 2, u64::from(new));
        words[6] = words[6] & !(0xff << 48) | 9 << 48 | 1 << 61;
        words[12..].copy_from_slice(&seed);
        let bp = writer.check(&writer.bytes(&words));
        assert!(writer.pipeline.read(&bp).raw().wait().unwrap() == block);
        assert_eq!(writer.pipeline.read(&bp).wait().unwrap_err().kind(), ErrorKind::Unsupported);
        for (disk, at) in [writer.sim.place(&bp, 0), writer.sim.place(&bp, 1)] {
            disk.corrupt(at + 4096, 512);
        }
        assert_eq!(writer.pipeline.read(&bp).raw().wait().unwrap_err().kind(), ErrorKind::Checksum);

        // Labels and headers are no blocks that a pointer names.
        for id in [Checksum::Label.id(), Checksum::GangHeader.id()] {
            let words = writer.pointer(4096, &[0; 4096], 2, u64::from(id));
            let bp = writer.check(&writer.bytes(&words));
            let error = writer.pipeline.read(&bp).wait().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
    }
}
