//! Pools that OpenZFS wrote: every block comes back as it was written, from a plain device
//! and from a mirror, whole or one side of it, and damage is healed or told.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use zio_pipeline::{
    BlockPointer, Builder, Checksum, DATA_START_BYTES, DatasetKeys, ErrorKind, Healed, Mirror,
    Pipeline, Suite,
};

/// An unpacked pool.
struct Fixture {
    dir: tempfile::TempDir,
    name: &'static str,
    list: Value,
}

struct Block {
    bp: BlockPointer,
    len: usize,
    sha256: String,
}

impl Fixture {
    fn new(name: &'static str, images: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        for number in 0..images {
            let packed = File::open(here.join(format!("{name}-{number}.img.zst"))).unwrap();
            let mut image = File::create(dir.path().join(number.to_string())).unwrap();
            zstd::stream::copy_decode(packed, &mut image).unwrap();
        }
        let list = std::fs::read(here.join(format!("{name}.json"))).unwrap();
        Self { dir, name, list: serde_json::from_slice(&list).unwrap() }
    }

    fn image(&self, number: usize) -> PathBuf {
        self.dir.path().join(number.to_string())
    }

    /// A builder that knows the pool's sector, salt and keys.
    fn builder(&self) -> Builder {
        let hex = |name: &str| from_hex(self.list[name].as_str().unwrap());
        let keys = DatasetKeys::new(Suite::Aes256Gcm, &hex("enc_master_key_aes256gcm")).unwrap();
        Pipeline::builder()
            .ashift(self.list["ashift"].as_u64().unwrap() as u32)
            .salt(hex("cksum_salt").try_into().unwrap())
            .keys(keys.hmac(&hex("enc_hmac_key")).unwrap())
    }

    fn one(&self, number: usize) -> Pipeline {
        self.builder().file(self.image(number)).build().unwrap()
    }

    fn mirror(&self) -> Pipeline {
        let sides = Mirror::new().file(self.image(0)).file(self.image(1));
        self.builder().mirror(sides).build().unwrap()
    }

    fn blocks(&self, pipeline: &Pipeline) -> Vec<Block> {
        let blocks = self.list["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), 89, "{}", self.name);
        blocks
            .iter()
            .map(|block| {
                let bytes = from_hex(block["bp"].as_str().unwrap()).try_into().unwrap();
                Block {
                    bp: pipeline.check(&BlockPointer::from_bytes(&bytes)).unwrap(),
                    len: block["len"].as_u64().unwrap() as usize,
                    sha256: block["logical_sha256"].as_str().unwrap().to_owned(),
                }
            })
            .collect()
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_all(pipeline: &Pipeline, blocks: &[Block], every_copy: bool) {
    for (number, block) in blocks.iter().enumerate() {
        let read = pipeline.read(&block.bp).size_if_never_written(block.len);
        let read = if every_copy { read.every_copy() } else { read };
        let data = read.wait().unwrap_or_else(|error| panic!("{number} {}: {error}", block.bp));
        assert_eq!(data.len(), block.len, "{number} {}", block.bp);
        assert_eq!(sha256(&data.to_vec()), block.sha256, "{number} {}", block.bp);
    }
}

/// Flips one bit in an image, `at` in its data area.
fn flip(image: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(image).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, DATA_START_BYTES + at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], DATA_START_BYTES + at).unwrap();
}

/// The blocks that stand on a device under a checksum, of which no other one has the place.
fn verifiable(blocks: &[Block]) -> impl Iterator<Item = &Block> {
    let mut seen = std::collections::HashSet::new();
    blocks.iter().filter(move |block| {
        block.bp.copies() > 0
            && block.bp.checksum_id() != Checksum::Off.id()
            && seen.insert(block.bp.dva(0).unwrap())
    })
}

#[test]
fn a_plain_pool() {
    let fixture = Fixture::new("single", 1);
    let pipeline = fixture.one(0);
    let blocks = fixture.blocks(&pipeline);
    read_all(&pipeline, &blocks, false);
    read_all(&pipeline, &blocks, true);
    assert_eq!(pipeline.healed(), Healed::default());

    // All of it can be claimed, and given back to the last byte.
    let live: Vec<_> = blocks.iter().map(|block| &block.bp).collect();
    live.iter().for_each(|bp| pipeline.claim(bp).wait().unwrap());
    let allocated: u64 = {
        let mut once = std::collections::HashSet::new();
        let fresh = |bp: &&&BlockPointer| once.insert(bp.dva(0));
        live.iter().filter(|bp| bp.copies() > 0).filter(fresh).map(|bp| bp.asize_bytes()).sum()
    };
    assert_eq!(pipeline.allocated_bytes(), allocated);
    live.iter().for_each(|bp| pipeline.free(bp).wait().unwrap());
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn a_mirror_and_each_side_of_it() {
    let fixture = Fixture::new("mirror2", 2);
    for number in 0..2 {
        let pipeline = fixture.one(number);
        read_all(&pipeline, &fixture.blocks(&pipeline), false);
    }
    let pipeline = fixture.mirror();
    let blocks = fixture.blocks(&pipeline);
    read_all(&pipeline, &blocks, false);
    read_all(&pipeline, &blocks, true);
    assert_eq!(pipeline.healed(), Healed::default());
}

#[test]
fn a_side_with_a_flipped_bit_in_every_block_is_repaired() {
    let fixture = Fixture::new("mirror2", 2);
    for bad in 0..2 {
        let whole = std::fs::read(fixture.image(bad)).unwrap();
        let damaged = {
            let pipeline = fixture.one(bad);
            let blocks = fixture.blocks(&pipeline);
            let mut damaged = 0;
            for block in verifiable(&blocks) {
                for dva in block.bp.dvas() {
                    // Of a gang, a header; its members follow.
                    let len = if dva.is_gang() { 512 } else { block.bp.psize_bytes() };
                    flip(&fixture.image(bad), dva.offset_bytes() + len * 5 / 8);
                    damaged += 1;
                    if dva.is_gang() {
                        flip(&fixture.image(bad), dva.offset_bytes() + dva.asize_bytes() - 77);
                        damaged += 1;
                    }
                }
            }
            damaged
        };
        let pipeline = fixture.mirror();
        let blocks = fixture.blocks(&pipeline);
        read_all(&pipeline, &blocks, true);
        let healed = pipeline.healed();
        assert_eq!((healed.copies, healed.failed), (damaged, 0));
        read_all(&pipeline, &blocks, true);
        assert_eq!(pipeline.healed(), healed);
        drop(pipeline);
        assert!(std::fs::read(fixture.image(bad)).unwrap() == whole, "side {bad} is not as it was");
    }
}

#[test]
fn without_another_copy_damage_is_told_and_no_data_given() {
    let fixture = Fixture::new("single", 1);
    let pipeline = fixture.one(0);
    let blocks = fixture.blocks(&pipeline);
    for block in verifiable(&blocks) {
        let dvas: Vec<_> = block.bp.dvas().collect();
        let len = if block.bp.is_gang() { 512 } else { block.bp.psize_bytes() };
        let flip_all = || {
            for dva in &dvas {
                flip(&fixture.image(0), dva.offset_bytes() + len / 3);
            }
        };
        flip_all();
        let error = pipeline.read(&block.bp).wait().map(|data| data.len()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checksum, "{}: {error}", block.bp);
        assert_eq!(error.place().vdev, Some(dvas[0].vdev()), "{error}");
        let offset = error.place().offset_bytes.unwrap();
        assert!(dvas.iter().any(|dva| dva.offset_bytes() == offset), "{error}");
        let told = error.to_string();
        assert!(told.contains("expected") && told.contains("actual"), "{told}");
        flip_all();
        let data = pipeline.read(&block.bp).wait().unwrap();
        assert_eq!(sha256(&data.to_vec()), block.sha256);
    }
}

#[test]
fn encrypted_blocks_want_their_key_and_raw_ones_none() {
    let fixture = Fixture::new("single", 1);
    let keyless = Pipeline::builder().ashift(9).file(fixture.image(0)).build().unwrap();
    let blocks = fixture.blocks(&keyless);
    let encrypted: Vec<_> = blocks.iter().filter(|block| block.bp.is_encrypted()).collect();
    assert_eq!(encrypted.len(), 4);
    let mut raw = Vec::new();
    for block in &encrypted {
        assert_eq!(keyless.read(&block.bp).wait().unwrap_err().kind(), ErrorKind::Access);
        let stored = keyless.read(&block.bp).raw().wait().unwrap().to_vec();
        assert_eq!(stored.len() as u64, block.bp.psize_bytes());
        raw.push(stored);
    }
    drop(keyless);
    // Another key is a good checksum and a bad MAC.
    let keys = DatasetKeys::new(Suite::Aes256Gcm, &[1; 32]).unwrap();
    let wrong = Pipeline::builder().ashift(9).keys(keys).file(fixture.image(0)).build().unwrap();
    for (block, raw) in encrypted.iter().zip(&raw) {
        let error = wrong.read(&block.bp).wait().map(|data| data.len()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains("aes-256-gcm"), "{error}");
        assert!(wrong.read(&block.bp).raw().wait().unwrap() == *raw);
    }
}

#[test]
fn an_image_that_is_cut_short_or_empty_is_refused_or_told() {
    let fixture = Fixture::new("single", 1);
    let image = fixture.image(0);
    let whole = File::options().write(true).open(&image).unwrap();
    for len in [0, 1, 512, 4 << 20, (4 << 20) + (512 << 10)] {
        whole.set_len(len).unwrap();
        assert!(fixture.builder().file(&image).build().is_err(), "{len} bytes");
    }
    // Half of it: what is there verifies as what is not (zeros), and is told.
    let fixture = Fixture::new("single", 1);
    let image = fixture.image(0);
    File::options().write(true).open(&image).unwrap().set_len(8 << 20).unwrap();
    let pipeline = fixture.one(0);
    let blocks = fixture.list["blocks"].as_array().unwrap();
    let mut refused = 0;
    for block in blocks {
        let bytes = from_hex(block["bp"].as_str().unwrap()).try_into().unwrap();
        match pipeline.check(&BlockPointer::from_bytes(&bytes)) {
            Ok(bp) => {
                let len = block["len"].as_u64().unwrap() as usize;
                match pipeline.read(&bp).size_if_never_written(len).wait() {
                    Ok(data) => {
                        let sha256 = sha256(&data.to_vec());
                        assert_eq!(sha256, block["logical_sha256"].as_str().unwrap());
                    }
                    // A header that is there, of members that are not.
                    Err(error) => {
                        assert!(bp.is_gang() && error.kind() == ErrorKind::Invalid, "{error}");
                        refused += 1;
                    }
                }
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10 && refused < 89, "{refused} refused");
}

/// The four labels of each image: the configuration and the ring of uberblocks (spec 8.5).
#[test]
fn labels_verify_in_their_places() {
    let fixture = Fixture::new("mirror2", 2);
    let pipeline = fixture.mirror();
    let size_bytes = std::fs::metadata(fixture.image(0)).unwrap().len();
    for leaf in 0..2 {
        let device = pipeline.physical(zio_pipeline::VdevId(0), leaf).unwrap();
        for label in [0, 256 << 10, size_bytes - (512 << 10), size_bytes - (256 << 10)] {
            device.read_label_block(label + (16 << 10), 112 << 10).wait().unwrap();
            let mut found = 0;
            for slot in 0..128 {
                let at = label + (128 << 10) + (slot << 10);
                let raw = device.read_labels(at, 1024).wait().unwrap().to_vec();
                if raw[..8] != 0x00ba_b10c_u64.to_le_bytes() {
                    continue;
                }
                found += 1;
                assert!(device.read_label_block(at, 1024).wait().unwrap() == raw);
            }
            assert!(found > 1, "{found} uberblocks in the label at {label:#x}");
        }
    }
}
