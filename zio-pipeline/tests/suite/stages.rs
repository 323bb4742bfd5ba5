//! A2: which stages each operation passes, against `tests/golden/traces.md`.
//!
//! `GOLDEN=write cargo test` writes the file anew, to be read before it is kept.

use std::fmt::Write as _;
use std::path::Path;

use vdev_sim::{Effect, Fault, OpKind};
use zio_core::{Stages, VdevErrorKind};
use zio_pipeline::{
    BlockPointer, Checksum, Compression, ErrorKind, Outcome, Pending, Pipeline, VdevId, Write,
};

use crate::common::{MIB, Sim, compressible, noise};
use crate::dedup_verify::colliding;
use crate::gangs::Fragmented;

/// Runs one request to its end.
fn traced<T: Outcome>(pipeline: &Pipeline, pending: Pending<T>) -> (Stages, Option<ErrorKind>, T) {
    let completions = pipeline.completions();
    pending.send_to(&completions, 7).unwrap();
    let (tag, finished) = completions.next().unwrap();
    assert_eq!(tag, 7);
    let error = finished.result().err().map(|error| error.kind());
    (finished.get().traced(), error, T::of(finished))
}

struct Table(String);

impl Table {
    fn new() -> Self {
        Self(
            "# Stages of each operation\n\n| operation | ends in | stages |\n|---|---|---|\n"
                .into(),
        )
    }

    fn row<T: Outcome>(
        &mut self,
        name: &str,
        pipeline: &Pipeline,
        pending: Pending<T>,
    ) -> (Stages, T) {
        let (stages, error, outcome) = traced(pipeline, pending);
        let names: Vec<_> = stages.ordered().map(Stages::name).collect();
        let end = error.map_or("success", ErrorKind::name);
        writeln!(self.0, "| {name} | {end} | {} |", names.join(" ")).unwrap();
        (stages, outcome)
    }
}

fn dedup(pipeline: &Pipeline, bytes: &[u8]) -> Write {
    pipeline.write(bytes).checksum(Checksum::Sha256).dedup(true)
}

/// Blocks whose checksum is that of another one.
fn collisions(table: &mut Table, sim: &Sim, pipeline: &Pipeline) {
    let weak = |variant| {
        let bytes = colliding(7, variant, 8192);
        pipeline.write(bytes).checksum(Checksum::Fletcher2).dedup(true)
    };
    let first = weak(0).wait().unwrap();
    let (stages, same) = table.row("write, dedup, weak, same", pipeline, weak(0));
    assert_eq!(stages, Stages::DDT_WRITE_PIPELINE);
    let (stages, other) = table.row("write, dedup, weak, another", pipeline, weak(1));
    assert_eq!(stages, Stages::DDT_WRITE_PIPELINE);

    let strong = || dedup(pipeline, &noise(8, 8192)).dedup_verify(true);
    let lost = strong().wait().unwrap();
    sim.corrupt(&lost, 0);
    let (stages, alone) = table.row("write, dedup, strong, another", pipeline, strong());
    assert_eq!(stages, Stages::WRITE | Stages::DDT_WRITE);
    for bp in [first, same, other, lost, alone] {
        pipeline.free(&bp).wait().unwrap();
    }
}

#[test]
fn traces_are_golden() {
    let sim = Sim::new(1, 2);
    let pipeline = sim.pipeline();
    let mut table = Table::new();
    let (hole, head) =
        (Stages::INTERLOCK | Stages::READ_BP_INIT, Stages::REWRITE - Stages::WRITE_PHYS);

    // The child verifies, so the parent does not (spec 1.15).
    let read = Stages::READ - Stages::CHECKSUM_VERIFY;
    let (stages, plain) = table.row("write", &pipeline, pipeline.write(noise(1, 8192)));
    assert_eq!(stages, Stages::WRITE);
    let packed = pipeline.write(compressible(1, 65536)).compression(Compression::Lz4);
    let (stages, packed) = table.row("write, compressed", &pipeline, packed);
    assert_eq!(stages, Stages::WRITE);
    assert!(packed.psize_bytes() < packed.lsize_bytes());
    let tiny = pipeline.write(&[5; 16384]).compression(Compression::Lz4);
    let (stages, tiny) = table.row("write, embedded", &pipeline, tiny);
    assert!(tiny.is_embedded() && !stages.intersects(Stages::DVA_ALLOCATE | Stages::VDEV_IO_START));
    let zeros = pipeline.write(&[0; 16384]).compression(Compression::Lz4);
    let (stages, zeros) = table.row("write, zeros", &pipeline, zeros);
    assert!(zeros.is_hole() && stages.contains(Stages::WRITE_COMPRESS));
    assert!(!stages.intersects(Stages::CHECKSUM_GENERATE | Stages::VDEV_IO_START));
    let (stages, lead) =
        table.row("write, dedup, first", &pipeline, dedup(&pipeline, &noise(2, 8192)));
    assert_eq!(stages, Stages::DDT_WRITE_PIPELINE);
    let (stages, share) =
        table.row("write, dedup, again", &pipeline, dedup(&pipeline, &noise(2, 8192)));
    assert_eq!(stages, Stages::DDT_WRITE_PIPELINE);
    assert!(lead.same_block(&share));
    let none = pipeline.write(noise(2, 8192)).checksum(Checksum::Off).dedup(true);
    let (stages, _) = table.row("write, dedup, no checksum", &pipeline, none);
    assert_eq!(stages, Stages::INTERLOCK | Stages::WRITE_BP_INIT);
    collisions(&mut table, &sim, &pipeline);
    assert!(head.contains(Stages::WRITE_BP_INIT));

    replacing(&mut table, &pipeline, &plain);

    let (stages, _) = table.row("read", &pipeline, pipeline.read(&plain));
    assert_eq!(stages, read);
    assert_eq!(table.row("read, compressed", &pipeline, pipeline.read(&packed)).0, read);
    assert_eq!(table.row("read, embedded", &pipeline, pipeline.read(&tiny)).0, hole);
    assert_eq!(table.row("read, hole", &pipeline, pipeline.read(&zeros)).0, hole);
    let (stages, _) =
        table.row("read, never written", &pipeline, pipeline.read(&BlockPointer::EMPTY));
    assert_eq!(stages, hole);
    assert_eq!(table.row("read, dedup", &pipeline, pipeline.read(&lead)).0, Stages::DDT_READ);

    table.row("flush", &pipeline, pipeline.flush());
    let (stages, ()) = table.row("trim", &pipeline, pipeline.trim(VdevId(0), 32 * MIB, MIB));
    assert_eq!(stages, Stages::TRIM);
    let (stages, ()) = table.row("trim, allocated", &pipeline, pipeline.trim(VdevId(0), 0, MIB));
    assert_eq!(stages, Stages::TRIM);
    let group = pipeline.root();
    let inside = pipeline.read(&plain).under(group.parent());
    inside.nowait(|result| assert!(result.is_ok()));
    let (stages, ()) = table.row("group", &pipeline, group.into_pending());
    assert_eq!(stages, Stages::ROOT);

    failures(&mut table, &sim, &pipeline, &plain);

    let freed = [(&plain, "free", Stages::FREE), (&tiny, "free, embedded", Stages::FREE)];
    for (bp, name, expected) in freed {
        assert_eq!(table.row(name, &pipeline, pipeline.free(bp)).0, expected);
    }
    let (stages, ()) = table.row("free, hole", &pipeline, pipeline.free(&zeros));
    assert_eq!(stages, Stages::FREE);
    let (stages, ()) = table.row("free, dedup, shared", &pipeline, pipeline.free(&share));
    assert_eq!(stages, Stages::DDT_FREE_PIPELINE);
    let (stages, ()) = table.row("free, dedup, last", &pipeline, pipeline.free(&lead));
    assert_eq!(stages, Stages::DDT_FREE_PIPELINE);
    let (stages, ()) = table.row("free, again", &pipeline, pipeline.free(&plain));
    assert_eq!(stages, Stages::FREE);

    for (bp, name) in [(&plain, "claim"), (&lead, "claim, dedup"), (&share, "claim, dedup, again")]
    {
        assert_eq!(table.row(name, &pipeline, pipeline.claim(bp)).0, Stages::CLAIM);
    }
    let (stages, ()) = table.row("claim, taken", &pipeline, pipeline.claim(&plain));
    assert_eq!(stages, Stages::CLAIM);
    compare(&table.0, "traces.md");
}

/// Writes that replace a block, come with their form, or wait for others.
fn replacing(table: &mut Table, pipeline: &Pipeline, plain: &BlockPointer) {
    let strong = || {
        let write = pipeline.write(noise(5, 8192)).checksum(Checksum::Sha256);
        write.compression(Compression::Lz4)
    };
    let old = strong().wait().unwrap();
    let (stages, new) = table.row("write, equal to the old", pipeline, strong().over(&old));
    let kept = Stages::INTERLOCK | Stages::NOP_WRITE | (Stages::REWRITE - Stages::VDEV_CHILD);
    assert!(new == old && stages == kept);
    let other = pipeline.write(noise(6, 8192)).checksum(Checksum::Sha256);
    let other = other.compression(Compression::Lz4).over(&old);
    let (stages, _) = table.row("write, other than the old", pipeline, other);
    assert_eq!(stages, Stages::WRITE | Stages::NOP_WRITE);
    let in_place = pipeline.write(noise(1, 8192)).over(plain).sync_pass(2);
    let (stages, new) = table.row("write, in place", pipeline, in_place);
    assert!(new == *plain && stages == Stages::REWRITE);
    let commit = strong().already_written(&old);
    let (stages, new) = table.row("write, already written", pipeline, commit);
    assert!(new == old && stages == Stages::INTERLOCK | Stages::WRITE_BP_INIT);
    let raw = pipeline.write_raw(noise(5, 8192), &old);
    assert_eq!(table.row("write, raw", pipeline, raw).0, Stages::WRITE);
    let parent = pipeline.write(&[0; 512]).level(1).on_children_ready(|_| 1);
    let child = pipeline.write(noise(7, 8192)).under(&parent.as_parent().unwrap());
    drop(child.start().unwrap());
    assert_eq!(table.row("write, parent", pipeline, parent).0, Stages::WRITE);
}

/// Operations that fail at a device.
fn failures(table: &mut Table, sim: &Sim, pipeline: &Pipeline, plain: &BlockPointer) {
    let broken = Fault::new(Effect::Fail(VdevErrorKind::Io));
    let (disk, _) = sim.place(plain, 0);
    disk.inject(broken.clone().on(OpKind::Read));
    let (stages, _) = table.row("read, second try", pipeline, pipeline.read(plain));
    assert_eq!(stages, Stages::READ - Stages::CHECKSUM_VERIFY);
    disk.inject(broken.clone().on(OpKind::Read).times(2));
    table.row("read, both tries fail", pipeline, pipeline.read(plain));
    for disk in &sim.disks {
        disk.inject(broken.clone().on(OpKind::Write).times(2));
    }
    let (stages, _) =
        table.row("write, both tries fail", pipeline, pipeline.write(noise(3, 8192)).copies(2));
    assert_eq!(stages, Stages::WRITE);
    sim.disks[0].inject(broken.on(OpKind::Flush));
    table.row("flush, one device fails", pipeline, pipeline.flush());
    let huge: Vec<_> = (0..7).map(|i| pipeline.write(noise(i, 16 << 20)).wait()).collect();
    let (stages, _) = table.row("write, no space", pipeline, pipeline.write(noise(9, 16 << 20)));
    assert!(!stages.contains(Stages::VDEV_IO_START));
    for bp in huge.into_iter().flatten() {
        pipeline.free(&bp).wait().unwrap();
    }
    sim.disks.iter().for_each(|disk| disk.heal_all());
}

/// Blocks in pieces: read, freed and claimed as one.
#[test]
fn traces_of_gangs_are_golden() {
    let pool = Fragmented::new(1, 1, 9, 1024);
    let pipeline = pool.pipeline(9);
    let mut table = Table::new();
    let (stages, gang) = table.row("write", &pipeline, pipeline.write(noise(1, 8192)));
    assert!(gang.is_gang());
    // Nothing of it goes to a device but through its pieces.
    assert_eq!(stages, (Stages::WRITE - Stages::VDEV_CHILD) | Stages::DONE);
    let in_place = pipeline.write(noise(1, 8192)).over(&gang).sync_pass(2);
    let (stages, again) = table.row("write, in place", &pipeline, in_place);
    let road = Stages::INTERLOCK | Stages::GANG | (Stages::REWRITE - Stages::VDEV_CHILD);
    assert!(again == gang && stages == road);
    let (stages, lead) = table.row("write, dedup", &pipeline, dedup(&pipeline, &noise(2, 8192)));
    assert_eq!(stages, Stages::DDT_WRITE_PIPELINE);
    let (stages, _) = table.row("read", &pipeline, pipeline.read(&gang));
    let read = Stages::INTERLOCK | Stages::READ_BP_INIT | Stages::GANG | Stages::CHECKSUM_VERIFY;
    assert_eq!(stages, read);
    table.row("read, dedup", &pipeline, pipeline.read(&lead));
    table.row("claim, taken", &pipeline, pipeline.claim(&gang));
    let (stages, ()) = table.row("free", &pipeline, pipeline.free(&gang));
    let ends = Stages::INTERLOCK | Stages::FREE_BP_INIT | Stages::ISSUE_ASYNC | Stages::GANG;
    assert_eq!(stages, ends);
    let (stages, ()) = table.row("free, dedup, last", &pipeline, pipeline.free(&lead));
    assert_eq!(stages, Stages::DDT_FREE_PIPELINE);
    pool.space.settle(u64::MAX);
    let (stages, ()) = table.row("claim", &pipeline, pipeline.claim(&gang));
    assert_eq!(stages, Stages::INTERLOCK | Stages::GANG);
    pool.sim.corrupt_header(&gang);
    let (stages, _) = table.row("read, bad header", &pipeline, pipeline.read(&gang));
    assert!(!stages.contains(Stages::GANG_ISSUE));
    let (stages, ()) = table.row("free, bad header", &pipeline, pipeline.free(&gang));
    assert!(!stages.contains(Stages::GANG_ISSUE));
    compare(&table.0, "traces-gang.md");
}

/// Compares with a file of `tests/golden`.
pub(crate) fn compare(found: &str, golden: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(golden);
    if std::env::var_os("GOLDEN").is_some_and(|word| word == "write") {
        std::fs::write(&path, found).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found, golden, "GOLDEN=write writes {} anew", path.display());
}
