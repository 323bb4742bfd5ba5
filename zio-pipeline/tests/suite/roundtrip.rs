//! C1, B5, B7: what is written is read, whatever its size, form and number of
//! copies; reopened pipelines know what they are told; space is exact.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use vdev_disk::Memory;
use vdev_sim::DiskConfig;
use zio_core::bp::ByteOrder;
use zio_core::bp::RawPointer;
use zio_pipeline::{
    BlockPointer, Builder, Checksum, Compression, Data, GzipLevel, Pipeline, Write, ZstdLevel,
};

use crate::common::{MIB, Sim, compressible, noise, on_memory};

const CHECKSUMS: [Checksum; 6] = [
    Checksum::Off,
    Checksum::Fletcher2,
    Checksum::Fletcher4,
    Checksum::Sha256,
    Checksum::Sha512_256,
    Checksum::Blake3,
];

fn compressions() -> Vec<Compression> {
    let zstd = |n| Compression::Zstd(ZstdLevel::new(n).unwrap());
    let gzip = |n| Compression::Gzip(GzipLevel::new(n).unwrap());
    vec![
        Compression::Off,
        Compression::Empty,
        Compression::Lz4,
        Compression::Lzjb,
        Compression::Zle,
        zstd(1),
        zstd(3),
        zstd(9),
        Compression::Zstd(ZstdLevel::fast(10).unwrap()),
        gzip(1),
        gzip(6),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Zeros,
    Noise,
    Half,
    /// One byte repeated: fits into the pointer.
    Dull,
}

#[derive(Clone, Copy, Debug)]
struct Content {
    seed: u64,
    sectors: usize,
    kind: Kind,
}

impl Content {
    fn bytes(self) -> Vec<u8> {
        let len_bytes = self.sectors * 512;
        match self.kind {
            Kind::Zeros => vec![0; len_bytes],
            Kind::Noise => noise(self.seed, len_bytes),
            Kind::Half => compressible(self.seed, len_bytes),
            Kind::Dull => vec![self.seed as u8 | 1; len_bytes],
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct How {
    checksum: Checksum,
    compression: Compression,
    copies: u8,
    dedup: bool,
}

impl How {
    fn apply(self, write: Write) -> Write {
        let strong = [Checksum::Sha256, Checksum::Sha512_256, Checksum::Blake3];
        write
            .dedup(self.dedup && strong.contains(&self.checksum))
            .checksum(self.checksum)
            .compression(self.compression)
            .copies(self.copies)
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Write(Content, How),
    Read(usize),
    Free(usize),
    EndTxg,
    Reopen,
}

fn contents() -> impl Strategy<Value = Content> {
    let sectors = prop_oneof![
        6 => 1..=16_usize,
        4 => 1..=256_usize,
        1 => 256..=2048_usize,
    ];
    let kind =
        prop_oneof![Just(Kind::Zeros), Just(Kind::Noise), Just(Kind::Half), Just(Kind::Dull)];
    // Few seeds and few sizes now and then, so that dedup has something to find.
    let any = (0..1000_u64, sectors, kind.clone());
    let again = (0..3_u64, Just(16), kind);
    prop_oneof![2 => any, 1 => again].prop_map(|(seed, sectors, kind)| Content {
        seed,
        sectors,
        kind,
    })
}

fn hows() -> impl Strategy<Value = How> {
    let checksum = proptest::sample::select(CHECKSUMS.to_vec());
    let compression = proptest::sample::select(compressions());
    (checksum, compression, 1..=3_u8, any::<bool>()).prop_map(
        |(checksum, compression, copies, dedup)| How { checksum, compression, copies, dedup },
    )
}

fn ops(count: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (contents(), hows()).prop_map(|(content, how)| Op::Write(content, how)),
        6 => any::<prop::sample::Index>().prop_map(|i| Op::Read(i.index(1 << 20))),
        3 => any::<prop::sample::Index>().prop_map(|i| Op::Free(i.index(1 << 20))),
        1 => Just(Op::EndTxg),
        1 => Just(Op::Reopen),
    ];
    proptest::collection::vec(op, count..2 * count)
}

/// Pipelines come and go, the devices stay.
struct Model {
    open: Box<dyn Fn() -> Builder>,
    defer_txgs: u64,
    pipeline: Option<Pipeline>,
    live: Vec<(BlockPointer, Content)>,
}

impl Model {
    fn new(open: impl Fn() -> Builder + 'static, defer_txgs: u64) -> Self {
        let mut model = Self { open: Box::new(open), defer_txgs, pipeline: None, live: Vec::new() };
        model.reopen();
        model
    }

    fn pipeline(&self) -> &Pipeline {
        self.pipeline.as_ref().unwrap()
    }

    /// Space held is that of the live pointers, each extent once.
    fn check_space(&self) {
        let pipeline = self.pipeline();
        for _ in 0..=self.defer_txgs {
            pipeline.end_txg();
        }
        let extents: BTreeSet<_> = self.live.iter().flat_map(|(bp, _)| bp.dvas()).collect();
        let held: u64 = extents.iter().map(|dva| dva.asize_bytes()).sum();
        assert_eq!(pipeline.allocated_bytes(), held);
        let shared = self.live.iter().filter(|(bp, _)| bp.is_dedup()).count() as u64;
        assert_eq!(pipeline.dedup_references(), shared);
        assert_eq!(pipeline.live(), 0);
    }

    /// Another life: what is live is claimed from its bytes.
    fn reopen(&mut self) {
        self.pipeline = None;
        let pipeline = (self.open)().defer_frees(self.defer_txgs).build().unwrap();
        for (number, (bp, _)) in self.live.iter_mut().enumerate() {
            let order = if number % 2 == 0 { ByteOrder::Little } else { ByteOrder::Big };
            let raw = RawPointer::from_bytes(&bp.to_bytes_in(order), order);
            let checked = pipeline.check(&raw).unwrap();
            assert_eq!(checked, *bp);
            pipeline.claim(&checked).wait().unwrap();
        }
        self.pipeline = Some(pipeline);
        self.check_space();
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Write(content, how) => {
                let bytes = content.bytes();
                let bp = how.apply(self.pipeline().write(&bytes)).wait().unwrap();
                assert_eq!(bp.lsize_bytes(), bytes.len() as u64);
                assert!(bp.is_hole() || bp.is_embedded() || bp.copies() == usize::from(how.copies));
                self.live.push((bp, content));
            }
            Op::Read(at) if !self.live.is_empty() => {
                let (bp, content) = self.live[at % self.live.len()];
                let data = self.pipeline().read(&bp).wait().unwrap();
                assert!(data == content.bytes(), "{bp} is not {content:?}");
            }
            Op::Free(at) if !self.live.is_empty() => {
                let (bp, _) = self.live.swap_remove(at % self.live.len());
                self.pipeline().free(&bp).wait().unwrap();
            }
            Op::EndTxg => {
                let ended = self.pipeline().end_txg();
                assert_eq!(self.pipeline().txg(), ended + 1);
            }
            Op::Reopen => {
                self.pipeline().flush().wait().unwrap();
                self.reopen();
            }
            Op::Read(_) | Op::Free(_) => {}
        }
    }

    fn run(mut self, ops: &[Op]) {
        for op in ops {
            self.step(*op);
        }
        for at in 0..self.live.len() {
            self.step(Op::Read(at));
        }
        self.check_space();
        while !self.live.is_empty() {
            self.step(Op::Free(0));
        }
        self.check_space();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn on_memory_of_any_unit(ops in ops(40), ashift in 9..=13_u32, disks in 1..=3_usize, defer in 0..=2_u64) {
        let disks: Vec<_> = (0..disks).map(|_| Arc::new(Memory::new(96 * MIB, 512))).collect();
        let open = move || {
            let vdevs = disks.iter().map(|disk| Arc::clone(disk) as Arc<_>);
            vdevs.fold(Pipeline::builder().ashift(ashift), Builder::vdev)
        };
        Model::new(open, defer).run(&ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]

    #[test]
    fn on_files(ops in ops(30), threads in any::<bool>()) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = ["a", "b"].iter().map(|name| dir.path().join(name)).collect();
        let open = move || {
            let builder = paths.iter().fold(Pipeline::builder(), |b, path| b.create(path, 96 * MIB));
            if threads { builder.threads() } else { builder }
        };
        Model::new(open, 0).run(&ops);
    }
}

#[test]
fn the_largest_block_in_every_form() {
    let pipeline = on_memory(256 * MIB);
    let bytes = compressible(3, 16 << 20);
    for compression in [Compression::Off, Compression::Lz4, Compression::Zstd(ZstdLevel::DEFAULT)] {
        for checksum in [Checksum::Fletcher4, Checksum::Blake3] {
            let write = pipeline.write(&bytes).compression(compression).checksum(checksum);
            let bp = write.wait().unwrap();
            assert!(pipeline.read(&bp).wait().unwrap() == bytes);
            pipeline.free(&bp).wait().unwrap();
        }
    }
    assert_eq!(pipeline.allocated_bytes(), 0);
}

#[test]
fn every_checksum_with_every_compression() {
    let pipeline = on_memory(64 * MIB);
    for checksum in CHECKSUMS {
        for compression in compressions() {
            for len in [512, 4096, 9 * 512, 65536] {
                for bytes in [compressible(1, len), noise(2, len), vec![0; len], vec![7; len]] {
                    let write = pipeline.write(&bytes).checksum(checksum).compression(compression);
                    let bp = write.wait().unwrap();
                    let checked =
                        pipeline.check(&BlockPointer::from_bytes(&bp.to_bytes())).unwrap();
                    assert_eq!(checked, bp);
                    assert!(pipeline.read(&checked).wait().unwrap() == bytes, "{checksum} {bp}");
                    pipeline.free(&bp).wait().unwrap();
                }
            }
        }
    }
    assert_eq!(pipeline.allocated_bytes(), 0);
}

/// A block in pieces of these lengths, again and again, each so many bytes
/// behind an aligned address.
fn in_pieces(pipeline: &Pipeline, bytes: &[u8], lens: &[usize], shift: usize) -> Data {
    let mut data = Data::new();
    let mut rest = bytes;
    for len in lens.iter().cycle() {
        let (piece, more) = rest.split_at((*len).min(rest.len()));
        let mut buffer = pipeline.buffer(piece.len() + shift);
        buffer[shift..].copy_from_slice(piece);
        data.push(buffer.freeze().slice(shift..shift + piece.len()));
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    data
}

#[test]
fn pieces_of_any_size_are_one_block() {
    let dir = tempfile::tempdir().unwrap();
    let on_file = Pipeline::builder().create(dir.path().join("disk"), 64 * MIB).build().unwrap();
    // Limits and merging of a hard disk.
    let sim = Sim::with(1, 1, DiskConfig::hdd(64 * MIB));
    for pipeline in [on_file, on_memory(64 * MIB), sim.pipeline()] {
        for len in [512, 8192, 200 * 512, 1 << 20] {
            let bytes = compressible(4, len);
            for (lens, shift) in [
                (&[1, 3, 700, 0, 5000, 512, 8192][..], 3),
                (&[512], 0),
                (&[4096], 0),
                (&[4096], 1),
                (&[len], 7),
            ] {
                let data = in_pieces(&pipeline, &bytes, lens, shift);
                assert!(data == bytes);
                for compression in [Compression::Off, Compression::Lz4] {
                    for checksum in CHECKSUMS {
                        let write = pipeline.write(data.clone()).checksum(checksum);
                        let bp = write.compression(compression).copies(2).wait().unwrap();
                        assert!(pipeline.read(&bp).wait().unwrap() == bytes);
                        pipeline.free(&bp).wait().unwrap();
                    }
                }
            }
        }
        assert_eq!(pipeline.allocated_bytes(), 0);
    }
    assert_eq!(sim.disks[0].counters().unaligned_memory, 0);
}

#[test]
fn devices_of_different_units_serve_one_pool() {
    let disks = [(512, 512), (4096, 4096), (512, 4096)];
    let mut builder = Pipeline::builder();
    for (sector, _) in disks {
        builder = builder.vdev(Arc::new(Memory::new(32 * MIB, sector)));
    }
    let pipeline = builder.build().unwrap();
    for sectors in [1, 7, 8, 9, 33] {
        let bytes = compressible(sectors as u64, sectors * 512);
        for compression in [Compression::Off, Compression::Lz4] {
            let bp = pipeline.write(&bytes).compression(compression).copies(3).wait().unwrap();
            assert!(pipeline.read(&bp).wait().unwrap() == bytes);
            pipeline.free(&bp).wait().unwrap();
        }
    }
    assert_eq!(pipeline.allocated_bytes(), 0);
}
