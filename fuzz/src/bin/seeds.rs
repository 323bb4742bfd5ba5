//! Makes `seeds/`: from blocks that OpenZFS wrote, and from our own encoders.
//!
//! `cargo run --release --features seeds --bin seeds -- FIXTURES`, where FIXTURES has
//! `single.json`, `mirror2.json` and `single-0.img.zst`.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use checksum::embedded::{Verifier, seal};
use checksum::{ByteOrder, Checksum};
use fuzz::block_pointer;
use fuzz::input::Input;
use fuzz::mutate::Random;
use serde_json::Value;
use transform::{Compression, Scratch, ZstdLevel, compress};
use zio_core::bp::{Properties, SECTOR_BYTES};
use zio_core::{BlockPointer, Dva, VdevId};

/// Larger payloads would only slow the fuzzer down.
const PAYLOAD_BYTES_MAX: usize = 4608;

/// Where the data area begins in an image.
const DATA_AT: usize = 4 << 20;

/// Target and name of a seed, and the seed.
type Seeds = BTreeMap<(&'static str, String), Vec<u8>>;

fn main() -> Result<(), Box<dyn Error>> {
    let fixtures = std::env::args().nth(1).ok_or("usage: seeds FIXTURES")?;
    let fixtures = Path::new(&fixtures);
    let single = blocks(&fixtures.join("single.json"))?;
    let mirror = blocks(&fixtures.join("mirror2.json"))?;
    let image = zstd::decode_all(fs::File::open(fixtures.join("single-0.img.zst"))?)?;

    let mut seeds = Seeds::new();
    pointers(&mut seeds, "single", &single)?;
    pointers(&mut seeds, "mirror2", &mirror)?;
    pointers_to_the_edge(&mut seeds);
    payloads_of_openzfs(&mut seeds, &single, &image)?;
    payloads_of_ours(&mut seeds);
    incompressible(&mut seeds)?;
    self_checksummed(&mut seeds)?;
    labels_of_openzfs(&mut seeds, &image)?;
    gang_headers_of_openzfs(&mut seeds, &single, &image)?;
    dedup_keys(&mut seeds);

    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    for ((target, name), seed) in &seeds {
        let folder = root.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), seed)?;
    }
    let bytes: usize = seeds.values().map(Vec::len).sum();
    println!("{} seeds, {bytes} bytes", seeds.len());
    Ok(())
}

fn blocks(path: &Path) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut all: Value = serde_json::from_slice(&fs::read(path)?)?;
    match all["blocks"].take() {
        Value::Array(blocks) => Ok(blocks),
        _ => Err("no blocks".into()),
    }
}

fn pointer(block: &Value) -> Result<Vec<u8>, Box<dyn Error>> {
    let hex = block["bp"].as_str().ok_or("no bp")?;
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| Ok(u8::try_from(pair[0] << 4 | pair[1])?)).collect()
}

/// One pointer of each kind, and its words in the other order.
fn pointers(seeds: &mut Seeds, pool: &str, blocks: &[Value]) -> Result<(), Box<dyn Error>> {
    let mut kinds = Vec::new();
    for block in blocks {
        let bytes = pointer(block)?;
        // The upper half of the properties: compression, checksum, type, level, flags.
        let kind = (bytes[52..56].to_vec(), block["gang"].clone(), block["hole"].clone());
        if kinds.contains(&kind) {
            continue;
        }
        kinds.push(kind);
        let swapped: Vec<u8> =
            bytes.chunks(8).flat_map(|word| word.iter().rev().copied()).collect();
        let index = &block["i"];
        let name = |order| ("block_pointer", format!("{pool}-{index}-{order}"));
        seeds.insert(name("little"), [&[0][..], &bytes].concat());
        if kinds.len() % 4 == 1 {
            seeds.insert(name("big"), [&[1][..], &swapped].concat());
        }
    }
    Ok(())
}

/// Pointers to the last unit of each pool's first vdev, and one unit beyond. Chance does not often
/// get so near to an edge.
fn pointers_to_the_edge(seeds: &mut Seeds) {
    for (index, pool) in (0_u8..).zip(&block_pointer::POOLS) {
        let Some(&(data_bytes, unit_bytes)) = pool.first() else { continue };
        let unit_bytes = unit_bytes.max(SECTOR_BYTES);
        let last = (data_bytes / unit_bytes).saturating_sub(1) * unit_bytes;
        let places = [("last", last, false), ("gang", last, true)];
        let beyond = last.checked_add(unit_bytes).map(|offset| ("beyond", offset, false));
        for (name, offset_bytes, gang) in places.into_iter().chain(beyond) {
            let mut bp = BlockPointer::with_properties(&Properties::plain(SECTOR_BYTES));
            bp.set_dva(0, Dva::new(VdevId(0), offset_bytes, unit_bytes).with_gang(gang));
            bp.set_birth(6, 6);
            let seed = [&[index << 1][..], &bp.to_bytes()].concat();
            seeds.insert(("block_pointer", format!("edge-{index}-{name}")), seed);
        }
    }
}

/// The two bytes that say a length.
fn length(bytes: usize) -> Result<[u8; 2], Box<dyn Error>> {
    (0..=u16::MAX)
        .map(u16::to_le_bytes)
        .find(|word| Input::new(word).length_bytes() == bytes)
        .ok_or_else(|| format!("no input says {bytes} bytes").into())
}

fn target_of(compression: &str) -> Option<&'static str> {
    ["lzjb", "zle", "lz4", "zstd", "gzip"].into_iter().find(|name| compression.starts_with(name))
}

fn payloads_of_openzfs(
    seeds: &mut Seeds,
    blocks: &[Value],
    image: &[u8],
) -> Result<(), Box<dyn Error>> {
    let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    for block in blocks {
        let (Some(lsize), Some(psize)) = (number(&block["lsize"]), number(&block["psize"])) else {
            continue;
        };
        let compression = block["want"]["comp"].as_str().unwrap_or_default();
        let Some(target) = target_of(compression) else { continue };
        let encrypted = block["want"]["enc"] != 0;
        if psize > PAYLOAD_BYTES_MAX || psize == lsize || encrypted || block["gang"] != 0 {
            continue;
        }
        let at = DATA_AT + number(&block["dvas"][0]["offset"]).ok_or("no offset")?;
        let payload = &image[at..at + psize];
        let used = payload.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let seed = [&[0][..], &length(lsize)?, &payload[..used]].concat();
        seeds.insert((target, format!("openzfs-{}", block["i"])), seed);
    }
    Ok(())
}

/// A little of everything a format can say: runs, matches near and far, noise.
fn motley(len: usize) -> Vec<u8> {
    let mut random = Random::new(42);
    let mut out = Vec::new();
    while out.len() < len {
        let run = 1 + random.below(24);
        let back = random.below(out.len());
        match random.below(4) {
            0 => out.resize(out.len() + run, 0),
            1 => out.extend(random.bytes(run)),
            2 => out.extend_from_within(back..(back + run).min(out.len())),
            _ => out.extend_from_slice(b"the pool "),
        }
    }
    out.truncate(len);
    out
}

fn payloads_of_ours(seeds: &mut Seeds) {
    let codecs = [
        ("lzjb", Compression::Lzjb),
        ("zle", Compression::Zle),
        ("lz4", Compression::Lz4),
        ("gzip", Compression::Gzip(Default::default())),
        ("zstd", Compression::Zstd(ZstdLevel::DEFAULT)),
    ];
    for (target, compression) in codecs {
        for len in [1_u16, 40, 300, 1500] {
            let block = motley(usize::from(len));
            let mut payload = vec![0; block.len() * 2 + 300];
            let done = compress(compression, &block, &mut payload, &mut Scratch::new());
            payload.truncate(done.unwrap_or(0));
            let decode = [&[0][..], &len.to_le_bytes(), &payload].concat();
            seeds.insert((target, format!("ours-{len}")), decode);
            // Encode: with room, and at another level; and with little room.
            let [choice, tight] = [(len % 8) as u8 * 4 + 3, 1];
            seeds.insert(
                (target, format!("encode-{len}")),
                [&[choice][..], &(2 * len).to_le_bytes(), &block[..block.len().min(300)]].concat(),
            );
            seeds.insert(
                (target, format!("encode-tight-{len}")),
                [&[tight][..], &len.to_le_bytes(), &block[..block.len().min(100)]].concat(),
            );
        }
    }
}

/// Noise, for encoders to give up on half-way. (The choice is gzip's level 1, which remembered:
/// see `transform`'s `gzip.rs`.)
fn incompressible(seeds: &mut Seeds) -> Result<(), Box<dyn Error>> {
    for target in ["lzjb", "zle", "lz4", "gzip", "zstd"] {
        for len in [2000, 64 << 10] {
            let seed = [&[0x91][..], &length(len)?, b"noise"].concat();
            seeds.insert((target, format!("encode-noise-{len}")), seed);
        }
    }
    Ok(())
}

/// Good blocks of each kind and order, to be judged as they are, and the same to be sealed.
fn self_checksummed(seeds: &mut Seeds) -> Result<(), Box<dyn Error>> {
    let words = [1_u64, 0x20_0000, 77, 0];
    let kinds = [
        ("gang", 0, Verifier::GangHeader { vdev: 1, offset_bytes: 0x20_0000, birth_txg: 77 }),
        ("zilog", 1, Verifier::Zilog(Checksum(words))),
        ("zilog2", 2, Verifier::Zilog2(Checksum(words))),
        ("label", 3, Verifier::Label { offset_bytes: 1 }),
    ];
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let order_bit = u8::from(order == ByteOrder::Big);
        for (name, kind, verifier) in &kinds {
            for block_bytes in [512, 4096] {
                let mut block = vec![0; block_bytes];
                block[..128].copy_from_slice(&motley(128));
                let used = match order {
                    ByteOrder::Little => 300_u64.to_le_bytes(),
                    ByteOrder::Big => 300_u64.to_be_bytes(),
                };
                block[136..144].copy_from_slice(&used);
                let ready = block.clone();
                if seal(&mut block, verifier, order).is_err() {
                    continue; // a log block of one sector: too short for what it covers
                }
                for (verb, block, seal_bit) in [("judge", &block, 0), ("seal", &ready, 1)] {
                    let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                    let choice = kind | order_bit << 2 | seal_bit << 3;
                    let head = [&[choice][..], &length(block_bytes)?, &[9, 0], &words].concat();
                    let name = format!("{verb}-{name}-{order:?}-{block_bytes}");
                    seeds.insert(("embedded", name), [&head[..], block].concat());
                }
            }
        }
        for block_bytes in [64, 1024] {
            let mut block = motley(block_bytes);
            let ready = block.clone();
            let offset_bytes = 131_072_u64;
            seal(&mut block, &Verifier::Label { offset_bytes }, order)?;
            for (verb, block, seal_bit) in [("judge", &block, 0), ("seal", &ready, 1)] {
                let choice = order_bit | seal_bit << 1;
                let place = offset_bytes.to_le_bytes();
                let head = [&[choice][..], &length(block_bytes)?, &[9, 0], &place].concat();
                let name = format!("{verb}-{order:?}-{block_bytes}");
                seeds.insert(("label", name), [&head[..], block].concat());
            }
        }
    }
    Ok(())
}

/// Some uberblock slots of the first label of a real pool: 128 KiB of them, behind 128 KiB of other
/// things, each 1 KiB.
fn labels_of_openzfs(seeds: &mut Seeds, image: &[u8]) -> Result<(), Box<dyn Error>> {
    const SLOT_BYTES: usize = 1024;
    let slots = (128 << 10..256 << 10).step_by(SLOT_BYTES);
    let is_sealed = |at: &usize| {
        let verifier = Verifier::Label { offset_bytes: *at as u64 };
        checksum::embedded::check(&image[*at..*at + SLOT_BYTES], &verifier).is_ok()
    };
    for at in slots.filter(is_sealed).take(3) {
        let slot = &image[at..at + SLOT_BYTES];
        let head = [&[0][..], &length(SLOT_BYTES)?, &[0; 2]].concat();
        let seed = [&head[..], &(at as u64).to_le_bytes(), slot].concat();
        seeds.insert(("label", format!("openzfs-{at}")), seed);
    }
    Ok(())
}

/// Headers of real gangs, flat and nested, and their pointers in the other order.
fn gang_headers_of_openzfs(
    seeds: &mut Seeds,
    blocks: &[Value],
    image: &[u8],
) -> Result<(), Box<dyn Error>> {
    for block in blocks.iter().filter(|block| block["gang"] == 1) {
        let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        let at = DATA_AT + number(&block["dvas"][0]["offset"]).ok_or("no offset")?;
        let sectors = number(&block["psize"]).ok_or("no psize")? / 512 - 1;
        let size = u16::try_from(sectors)?.to_le_bytes();
        let header = &image[at..at + 512];
        let swapped: Vec<u8> =
            header.chunks(8).flat_map(|word| word.iter().rev().copied()).collect();
        for (choice, order, header) in [(0, "little", header), (1, "big", &swapped)] {
            let seed = [&[choice][..], &size, &length(512)?, header].concat();
            seeds.insert(("gang_header", format!("openzfs-{}-{order}", block["i"])), seed);
        }
    }
    Ok(())
}

fn dedup_keys(seeds: &mut Seeds) {
    for (name, lsize, psize, crypt) in [("small", 512, 512, false), ("large", 32 << 20, 4096, true)]
    {
        if let Ok(key) = ddt::Key::new([1, 2, 3, u64::MAX], lsize, psize, 15, crypt) {
            seeds.insert(("dedup_key", name.to_owned()), key.to_bytes().to_vec());
        }
    }
    seeds.insert(("dedup_key", "bad".to_owned()), vec![0xff; ddt::Key::BYTES]);
}
