//! The history of a seed, and the model that judges it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vdev_sim::Rng;
use zio_core::Parent;
use zio_core::bp::ByteOrder;
use zio_core::bp::RawPointer;
use zio_pipeline::{
    BlockPointer, Bookmark, Checksum, Compression, Data, Error, ErrorKind, GzipLevel, Pipeline,
    Priority, VdevId, Write, ZstdLevel,
};

use super::content::Content;
use super::world::{Honesty, World};

/// What happened, for the closing line.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    writes: u64,
    reads: u64,
    frees: u64,
    claims: u64,
    flushes: u64,
    trims: u64,
    errors: u64,
    power_cuts: u64,
    hostile: u64,
    gangs: u64,
    healed: u64,
    steps: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.writes += other.writes;
        self.reads += other.reads;
        self.frees += other.frees;
        self.claims += other.claims;
        self.flushes += other.flushes;
        self.trims += other.trims;
        self.errors += other.errors;
        self.power_cuts += other.power_cuts;
        self.hostile += other.hostile;
        self.gangs += other.gangs;
        self.healed += other.healed;
        self.steps += other.steps;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes ({} gangs), {} reads ({} copies healed), {} frees, {} claims, {} flushes, \
             {} trims, {} hostile pointers, {} power cuts, {} errors reported, {} machine steps",
            self.writes,
            self.gangs,
            self.reads,
            self.healed,
            self.frees,
            self.claims,
            self.flushes,
            self.trims,
            self.hostile,
            self.power_cuts,
            self.errors,
            self.steps
        )
    }
}

/// A block the client holds a pointer to.
#[derive(Clone, Copy, Debug)]
struct Live {
    bp: BlockPointer,
    content: Content,
    /// A flush that started after the write was done has succeeded.
    durable: bool,
    /// It was not durable when the power failed: it may be gone.
    shaken: bool,
}

/// One request of a group.
#[derive(Clone, Copy, Debug)]
enum Op {
    Write(Content),
    Read(Live),
    Free(Live),
    Flush,
    Trim,
}

/// Its result.
enum Outcome {
    Written(Result<BlockPointer, Error>),
    Read(Result<Data, Error>),
    Simple(Result<(), Error>),
}

impl Outcome {
    fn error(&self) -> Option<&Error> {
        match self {
            Self::Written(result) => result.as_ref().err(),
            Self::Read(result) => result.as_ref().err(),
            Self::Simple(result) => result.as_ref().err(),
        }
    }
}

/// Where callbacks leave their results; each place is filled exactly once.
#[derive(Default)]
struct Results(parking_lot::Mutex<Vec<Option<Outcome>>>);

impl Results {
    fn place(self: &Arc<Self>) -> (usize, Arc<Self>) {
        let mut results = self.0.lock();
        results.push(None);
        (results.len() - 1, Arc::clone(self))
    }

    fn put(&self, place: usize, outcome: Outcome) {
        let before = self.0.lock()[place].replace(outcome);
        assert!(before.is_none(), "request {place} finished twice");
    }
}

pub(super) struct History {
    rng: Rng,
    world: World,
    live: Vec<Live>,
    tally: Tally,
    tell: bool,
    faults_are_on: bool,
}

impl History {
    pub(super) fn new(seed: u64, tell: bool) -> Self {
        let mut rng = Rng::stream(seed, 0x7a10);
        let world = World::draw(seed, &mut rng);
        let me = Self {
            rng,
            world,
            live: Vec::new(),
            tally: Tally::default(),
            tell,
            faults_are_on: false,
        };
        me.say(|| format!("{:?} disks: {}", me.world.honesty, me.world));
        me
    }

    fn say(&self, words: impl Fn() -> String) {
        if self.tell {
            println!("{:>12} ns  {}", self.world.machine.now_ns(), words());
        }
    }

    pub(super) fn run(mut self) -> Tally {
        let lives = 1 + self.rng.below(3);
        for life in 0..lives {
            let txg = 1 + life;
            let pipeline = self.world.open(&mut self.rng, txg);
            self.claim_all(&pipeline);
            self.faults(true);
            for _ in 0..4 + self.rng.below(12) {
                self.one_group(&pipeline);
            }
            self.hostile_pointers(&pipeline);
            let cut = self.rng.coin() && life + 1 < lives;
            if cut {
                self.power_cut(&pipeline);
            }
            self.faults(false);
            if !cut {
                self.read_all(&pipeline);
            }
            self.check_books(&pipeline);
            self.tally.healed += pipeline.healed().copies;
            drop(pipeline);
            self.world.disks.iter().for_each(|disk| disk.online());
            // A client forgets pointers it had not made durable. Here most are
            // kept, to see that they give the right data or none; but a shared
            // block that may be gone must not be claimed, or others would share it.
            self.live.retain(|live| !(live.shaken && live.bp.is_dedup()));
        }
        let pipeline = self.world.open(&mut self.rng, 100);
        self.claim_all(&pipeline);
        self.read_all(&pipeline);
        self.free_all(&pipeline);
        drop(pipeline);
        self.tally.steps = self.world.machine.steps();
        self.tally
    }

    fn faults(&mut self, on: bool) {
        self.faults_are_on = on && self.world.honesty != Honesty::Sound;
        if on {
            self.world.faults_on();
        } else {
            self.world.faults_off();
        }
    }

    // -- A group of requests, and its judgement. --

    fn one_group(&mut self, pipeline: &Pipeline) {
        let ops = self.draw_ops();
        let results = Arc::new(Results::default());
        let root = pipeline.root();
        // Some requests stand in groups within the group.
        let subgroups: Vec<_> = (0..self.rng.below(4)).map(|_| pipeline.root()).collect();
        let mut parents: Vec<Parent> = vec![root.parent().clone()];
        parents.extend(subgroups.iter().map(|group| group.parent().clone()));
        for op in &ops {
            self.start(pipeline, op, &parents, &results);
        }
        for group in subgroups {
            let above = parents[0].clone();
            group.into_pending().under(&above).nowait(|_| {});
        }
        let whole = root.wait();
        self.judge(&ops, &results, whole.err());
    }

    fn draw_ops(&mut self) -> Vec<Op> {
        let mut free_from: Vec<Live> = self.live.clone();
        let count = 1 + self.rng.below(24);
        let mut ops = Vec::new();
        let mut freed = Vec::new();
        for _ in 0..count {
            let pick = self.rng.index(free_from.len().max(1));
            ops.push(match self.rng.below(20) {
                0..=8 => Op::Write(Content::draw(&mut self.rng, 9)),
                9..=14 if !free_from.is_empty() => Op::Read(free_from[pick]),
                15..=16 if !free_from.is_empty() && !self.may_be_stale(&free_from[pick]) => {
                    let gone = free_from.swap_remove(pick);
                    freed.push(gone);
                    continue;
                }
                17..=18 => Op::Flush,
                19 => Op::Trim,
                _ => Op::Write(Content::draw(&mut self.rng, 5)),
            });
        }
        // What is freed in this group is not read in it.
        let is_freed = |live: &Live| freed.iter().any(|gone: &Live| gone.bp == live.bp);
        ops.retain(|op| !matches!(op, Op::Read(live) if is_freed(live)));
        ops.extend(freed.into_iter().map(Op::Free));
        self.rng.shuffle(&mut ops);
        ops
    }

    fn start(&mut self, pipeline: &Pipeline, op: &Op, parents: &[Parent], results: &Arc<Results>) {
        let (place, results) = results.place();
        let first = self.rng.index(parents.len());
        let second = self.rng.index(parents.len());
        let two = first != second && self.rng.coin();
        macro_rules! send {
            ($pending:expr, $outcome:path) => {{
                let mut pending = $pending.under(&parents[first]);
                if two {
                    pending = pending.under(&parents[second]);
                }
                pending.nowait(move |result| results.put(place, $outcome(result)));
            }};
        }
        match op {
            Op::Write(content) => {
                let write = self.with_properties(pipeline.write(content.bytes()));
                self.tally.writes += 1;
                send!(write, Outcome::Written);
            }
            Op::Read(live) => {
                self.tally.reads += 1;
                let read = pipeline.read(&live.bp);
                let read = if self.rng.chance(200) { read.every_copy() } else { read };
                send!(read, Outcome::Read);
            }
            Op::Free(live) => {
                self.tally.frees += 1;
                send!(pipeline.free(&live.bp), Outcome::Simple);
            }
            Op::Flush => {
                self.tally.flushes += 1;
                send!(pipeline.flush(), Outcome::Simple);
            }
            Op::Trim => {
                self.tally.trims += 1;
                let vdev = VdevId(self.rng.index(self.world.vdevs()) as u32);
                let (offset, len) = (self.rng.below(40) << 16, (1 + self.rng.below(8)) << 16);
                send!(pipeline.trim(vdev, offset, len), Outcome::Simple);
            }
        }
    }

    fn with_properties(&mut self, write: Write) -> Write {
        let rng = &mut self.rng;
        let mut write = write.copies(1 + rng.below(3) as u8).bookmark(Bookmark {
            object: rng.below(3),
            block: rng.below(100),
            ..Bookmark::default()
        });
        write = match rng.below(4) {
            0 => write.checksum(Checksum::Sha256),
            1 => write.checksum(Checksum::Blake3),
            2 => write.checksum(Checksum::Fletcher2),
            _ => write,
        };
        let gzip = GzipLevel::new(1 + rng.below(9) as u8).unwrap_or_default();
        write = match rng.below(6) {
            0 => write.compression(Compression::Lz4),
            1 => write.compression(Compression::Zstd(ZstdLevel::DEFAULT)),
            2 => write.compression(Compression::Zle),
            3 => write.compression(Compression::Lzjb),
            4 => write.compression(Compression::Gzip(gzip)),
            _ => write,
        };
        write = match rng.below(3) {
            0 => write.priority(Priority::SyncWrite),
            1 => write.priority(Priority::Rebuild),
            _ => write,
        };
        if rng.chance(300) {
            write = write.checksum(Checksum::Sha256).dedup(true);
        } else if rng.chance(200) {
            write = write.encrypt(true).copies(1 + rng.below(2) as u8);
        }
        write
    }

    fn judge(&mut self, ops: &[Op], results: &Results, whole: Option<Error>) {
        let results = std::mem::take(&mut *results.0.lock());
        assert_eq!(results.len(), ops.len());
        // A flush covers what was live before its group began.
        let flushed = ops.iter().zip(&results).any(|(op, r)| {
            matches!(op, Op::Flush) && r.as_ref().is_some_and(|r| r.error().is_none())
        });
        if flushed {
            self.live.iter_mut().for_each(|live| live.durable = true);
        }
        let mut worst: Option<Error> = None;
        for (op, outcome) in ops.iter().zip(results) {
            let outcome = outcome.unwrap_or_else(|| panic!("{op:?} never finished"));
            self.say(|| format!("{op:?} -> {:?}", outcome.error()));
            if let Some(error) = outcome.error() {
                self.tally.errors += 1;
                worst = Error::worst(worst, Some(error.clone()));
            }
            self.judge_one(op, outcome);
        }
        let severity = |error: &Option<Error>| error.as_ref().map(|e| e.kind().severity());
        assert_eq!(
            severity(&whole),
            severity(&worst),
            "the group says {whole:?}, the worst is {worst:?}"
        );
    }

    fn judge_one(&mut self, op: &Op, outcome: Outcome) {
        match (op, outcome) {
            (Op::Write(content), Outcome::Written(Ok(bp))) => {
                self.tally.gangs += u64::from(bp.is_gang());
                self.live.push(Live { bp, content: *content, durable: false, shaken: false });
            }
            (Op::Write(_), Outcome::Written(Err(error))) => {
                let full = error.kind() == ErrorKind::NoSpace;
                assert!(full || self.faults_are_on, "a write failed on sound disks: {error}");
            }
            (Op::Read(live), Outcome::Read(result)) => self.judge_read(live, result),
            (Op::Free(gone), Outcome::Simple(Err(error))) => {
                // A gang whose headers cannot be read stays as it is.
                assert!(gone.bp.is_gang() && self.may_fail(gone), "free of {}: {error}", gone.bp);
            }
            (Op::Free(gone), Outcome::Simple(Ok(()))) => {
                let at = self.live.iter().position(|live| live.bp == gone.bp);
                self.live.swap_remove(at.expect("only live blocks are freed"));
            }
            (Op::Flush, Outcome::Simple(Err(error))) => {
                assert!(self.faults_are_on, "a flush failed on sound disks: {error}");
            }
            (Op::Trim, Outcome::Simple(Err(error))) => {
                let told = [ErrorKind::NotFound, ErrorKind::Invalid, ErrorKind::Unsupported];
                let refused = told.contains(&error.kind());
                assert!(refused || self.faults_are_on, "a trim failed on sound disks: {error}");
            }
            (Op::Flush | Op::Trim, Outcome::Simple(Ok(()))) => {}
            (op, _) => panic!("{op:?} ended as something else"),
        }
    }

    fn judge_read(&self, live: &Live, result: Result<Data, Error>) {
        match result {
            Ok(data) => {
                assert!(data == live.content.bytes(), "WRONG DATA for {}: {live:?}", live.bp);
            }
            Err(error) => {
                assert!(self.may_fail(live), "{} is lost: {error} ({live:?})", live.bp);
            }
        }
    }

    /// May what is read of this block be gone, or not be readable now?
    fn may_fail(&self, live: &Live) -> bool {
        self.faults_are_on || self.world.honesty == Honesty::Lying || live.shaken
    }

    /// Is this a gang of which the disk may know another header? A header is proven by its place
    /// and birth; where freed space is used again in the same group, a disk that lost a write, by a
    /// lie or by a power cut, gives an older one of the same place and birth, and so other pieces.
    fn may_be_stale(&self, live: &Live) -> bool {
        live.bp.is_gang() && (live.shaken || self.world.honesty == Honesty::Lying)
    }

    /// Such a gang does not read: the whole does not verify. Whoever may have lost writes looks
    /// before he claims or frees it.
    fn is_gone(&self, pipeline: &Pipeline, live: &Live) -> bool {
        self.may_be_stale(live) && pipeline.read(&live.bp).repair(false).wait().is_err()
    }

    // -- Between the groups. --

    fn claim_all(&mut self, pipeline: &Pipeline) {
        for live in std::mem::take(&mut self.live) {
            let raw = BlockPointer::from_bytes(&live.bp.to_bytes());
            let bp = pipeline.check(&raw).unwrap_or_else(|bad| panic!("{}: {bad}", live.bp));
            assert_eq!(bp, live.bp);
            if self.is_gone(pipeline, &live) {
                continue;
            }
            self.tally.claims += 1;
            match pipeline.claim(&bp).wait() {
                Ok(()) => self.live.push(live),
                // A gang whose headers are gone is gone itself.
                Err(error) => {
                    assert!(bp.is_gang() && self.may_fail(&live), "claim of {bp}: {error}");
                }
            }
        }
        self.check_books(pipeline);
    }

    fn read_all(&mut self, pipeline: &Pipeline) {
        for live in &self.live {
            self.tally.reads += 1;
            let result = pipeline.read(&live.bp).wait();
            self.judge_read(live, result);
        }
    }

    fn free_all(&mut self, pipeline: &Pipeline) {
        for live in std::mem::take(&mut self.live) {
            if self.is_gone(pipeline, &live) {
                self.live.push(live);
                continue;
            }
            self.tally.frees += 1;
            if let Err(error) = pipeline.free(&live.bp).wait() {
                let headers_gone = live.bp.is_gang() && self.may_fail(&live);
                assert!(headers_gone, "free of {}: {error}", live.bp);
                self.live.push(live);
            }
        }
        self.check_books(pipeline);
        let gone = !self.live.is_empty();
        assert!(gone || pipeline.allocated_bytes() == 0, "space is left over");
        assert!(gone || pipeline.dedup_references() == 0, "references are left over");
    }

    /// Allocator = live pointers, no zio left, dedup references = live pointers with the bit.
    fn check_books(&self, pipeline: &Pipeline) {
        pipeline.wait_idle();
        self.world.end_txg();
        assert_eq!(pipeline.live(), 0, "zios are left over");
        let mut extents: Vec<_> = self.live.iter().flat_map(|live| live.bp.dvas()).collect();
        extents.sort_unstable();
        extents.dedup();
        let held: u64 = extents.iter().map(|dva| dva.asize_bytes()).sum();
        assert_eq!(pipeline.allocated_bytes(), held, "allocator and live pointers differ");
        let shared = self.live.iter().filter(|live| live.bp.is_dedup()).count() as u64;
        assert_eq!(pipeline.dedup_references(), shared, "dedup references and pointers differ");
    }

    /// The power fails while a group is under way. Its requests still end,
    /// each once; what was not durable may be gone.
    fn power_cut(&mut self, pipeline: &Pipeline) {
        self.tally.power_cuts += 1;
        let ops = self.draw_ops();
        let ops: Vec<_> = ops.into_iter().filter(|op| !matches!(op, Op::Free(_))).collect();
        let results = Arc::new(Results::default());
        let root = pipeline.root();
        let parents = vec![root.parent().clone()];
        for op in &ops {
            self.start(pipeline, op, &parents, &results);
        }
        let seen = Arc::new(AtomicU64::new(0));
        let group = root.into_pending();
        let counted = Arc::clone(&seen);
        group.nowait(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        for _ in 0..self.rng.below(200) {
            self.world.machine.run_for(self.rng.below(100_000));
        }
        self.say(|| "power cut".to_owned());
        self.world.machine.power_cut();
        self.world.faults_off();
        pipeline.wait_idle();
        assert_eq!(seen.load(Ordering::Relaxed), 1, "the group did not end once");
        let results = std::mem::take(&mut *results.0.lock());
        let was_on = std::mem::replace(&mut self.faults_are_on, true);
        for (op, outcome) in ops.iter().zip(results) {
            let outcome = outcome.unwrap_or_else(|| panic!("{op:?} never finished"));
            self.judge_one(op, outcome);
        }
        self.faults_are_on = was_on;
        for live in &mut self.live {
            live.shaken |= !live.durable && live.bp.copies() > 0;
        }
    }

    /// Pointers nobody wrote: a clear answer each, and no I/O outside a device
    /// (the disks are strict and would panic).
    fn hostile_pointers(&mut self, pipeline: &Pipeline) {
        for _ in 0..20 {
            let mut bytes = [0; 128];
            match self.live.get(self.rng.index(self.live.len().max(1))) {
                Some(live) if self.rng.chance(800) => {
                    bytes = live.bp.to_bytes();
                    for _ in 0..1 + self.rng.below(3) {
                        bytes[self.rng.index(128)] ^= 1 << self.rng.below(8);
                    }
                }
                _ => self.rng.fill(&mut bytes),
            }
            self.tally.hostile += 1;
            let Ok(bp) = pipeline.check(&RawPointer::from_bytes(&bytes, ByteOrder::Little)) else {
                continue;
            };
            // What comes back is as good as its checksum; it must come back.
            // Nothing is repaired: what such a pointer names may be another block.
            let _ = pipeline.read(&bp).repair(false).wait();
            if pipeline.claim(&bp).wait().is_ok() {
                pipeline.free(&bp).wait().expect("what was claimed can be freed");
            }
        }
    }
}
