//! Requests that are under way together.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use vdev_sim::Rng;
use zio_core::Parent;
use zio_pipeline::{
    BlockPointer, Bookmark, Checksum, Compression, Control, Data, Error, GzipLevel, Pending,
    Pipeline, Priority, Txg, VdevId, Write, ZstdLevel,
};

use super::content::Content;
use super::history::History;
use super::judge::Live;

/// One request of a group.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write(Content),
    /// In the place of a block that is there.
    Over {
        old: Live,
        content: Content,
        /// Its space may be used again at once.
        in_place: bool,
    },
    /// A block that is there already.
    Commit(Live),
    /// The same block once more, as it is stored.
    Raw(Live, Stored),
    /// A block that is filled in when those under it are ready, and those.
    Tree(Content, Vec<Content>),
    Read(Live),
    Free(Live),
    Flush,
    Trim,
}

/// Stored bytes of a block.
#[derive(Clone)]
pub(super) struct Stored(Data);

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Its result.
pub(super) enum Outcome {
    Written(Result<BlockPointer, Error>),
    Read(Result<Data, Error>),
    Simple(Result<(), Error>),
}

impl Outcome {
    pub(super) fn error(&self) -> Option<&Error> {
        match self {
            Self::Written(result) => result.as_ref().err(),
            Self::Read(result) => result.as_ref().err(),
            Self::Simple(result) => result.as_ref().err(),
        }
    }
}

/// Where callbacks leave their results; each place is filled exactly once.
#[derive(Default)]
struct Results {
    places: Mutex<Vec<Option<Outcome>>>,
    /// Of the group as a whole.
    whole: Mutex<Vec<Result<(), Error>>>,
    missing: AtomicUsize,
}

impl Results {
    fn place(self: &Arc<Self>) -> (usize, Arc<Self>) {
        self.missing.fetch_add(1, Ordering::Relaxed);
        let mut places = self.places.lock();
        places.push(None);
        (places.len() - 1, Arc::clone(self))
    }

    fn put(&self, place: usize, outcome: Outcome) {
        let before = self.places.lock()[place].replace(outcome);
        assert!(before.is_none(), "request {place} finished twice");
        self.missing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that was sent: what may become of it.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) op: Op,
    pub(super) must_succeed: bool,
    pub(super) controlled: bool,
}

/// A group that is under way.
pub(super) struct Group {
    pub(super) sent: Vec<Sent>,
    /// Parents and their children, by their numbers.
    pub(super) trees: Vec<Range<usize>>,
    pub(super) controls: Vec<Control>,
    results: Arc<Results>,
}

impl Group {
    pub(super) fn is_done(&self) -> bool {
        self.results.missing.load(Ordering::Relaxed) == 0 && !self.results.whole.lock().is_empty()
    }

    /// Those that have not ended.
    pub(super) fn unfinished(&self) -> Vec<&Sent> {
        let places = self.results.places.lock();
        self.sent.iter().zip(&*places).filter(|(_, end)| end.is_none()).map(|(s, _)| s).collect()
    }

    /// All results, and that of the group.
    pub(super) fn finish(&self) -> (Vec<Outcome>, Option<Error>) {
        let places = std::mem::take(&mut *self.results.places.lock());
        let outcomes = places.into_iter().zip(&self.sent);
        let outcomes = outcomes
            .map(|(outcome, sent)| outcome.unwrap_or_else(|| panic!("{sent:?} never finished")))
            .collect();
        let mut whole = std::mem::take(&mut *self.results.whole.lock());
        assert_eq!(whole.len(), 1, "the group did not end once");
        (outcomes, whole.remove(0).err())
    }
}

impl History {
    pub(super) fn draw_ops(&mut self, pipeline: &Pipeline) -> Vec<Op> {
        let mut free_from: Vec<Live> = self.live.clone();
        let count = 1 + self.rng.below(24);
        let mut ops = Vec::new();
        // What is freed or written over in this group is not read in it.
        let mut changed = Vec::new();
        for _ in 0..count {
            let pick = self.rng.index(free_from.len().max(1));
            let picked = free_from.get(pick).copied();
            let sure = picked.filter(|live| !self.may_be_stale(live));
            let whole = sure.filter(|live| !live.shaken && !live.ruined);
            ops.push(match (self.rng.below(28), picked, sure, whole) {
                (0..=6, ..) => Op::Write(Content::draw(&mut self.rng, 9)),
                (7..=12, Some(live), ..) => Op::Read(live),
                (13..=15, _, Some(live), _) => {
                    free_from.swap_remove(pick);
                    changed.push(Op::Free(live));
                    continue;
                }
                (16..=19, _, _, Some(old)) => {
                    free_from.swap_remove(pick);
                    let content = match self.rng.below(3) {
                        0 => old.content,
                        1 => old.content.of_the_same_size(&mut self.rng),
                        _ => Content::draw(&mut self.rng, 7),
                    };
                    changed.push(Op::Over { old, content, in_place: false });
                    continue;
                }
                (20, _, _, Some(live)) => {
                    free_from.swap_remove(pick);
                    changed.push(Op::Commit(live));
                    continue;
                }
                (21, Some(live), ..) => {
                    let raw = pipeline.read(&live.bp).raw();
                    match self.ask(pipeline, raw) {
                        Ok(data) => Op::Raw(live, Stored(data)),
                        Err(_) => continue,
                    }
                }
                (22, ..) => {
                    let children = 1 + self.rng.below(4);
                    let mut draw = || Content::draw(&mut self.rng, 6);
                    Op::Tree(draw(), (0..children).map(|_| draw()).collect())
                }
                (23..=25, ..) => Op::Flush,
                (26, ..) => Op::Trim,
                _ => Op::Write(Content::draw(&mut self.rng, 5)),
            });
        }
        let is_changed = |live: &Live| {
            changed.iter().any(|op| match op {
                Op::Free(gone) | Op::Over { old: gone, .. } | Op::Commit(gone) => {
                    gone.bp == live.bp
                }
                _ => false,
            })
        };
        ops.retain(|op| !matches!(op, Op::Read(live) if is_changed(live)));
        ops.extend(changed);
        self.rng.shuffle(&mut ops);
        ops
    }

    /// Starts them all.
    pub(super) fn start_group(&mut self, pipeline: &Pipeline, ops: Vec<Op>) -> Group {
        let mut group = Group {
            sent: Vec::new(),
            trees: Vec::new(),
            controls: (0..2).map(|_| Control::new()).collect(),
            results: Arc::default(),
        };
        let root = pipeline.root();
        // Some requests stand in groups within the group.
        let subgroups: Vec<_> = (0..self.rng.below(4)).map(|_| pipeline.root()).collect();
        let mut parents: Vec<Parent> = vec![root.parent().clone()];
        parents.extend(subgroups.iter().map(|group| group.parent().clone()));
        for op in ops {
            self.start(pipeline, op, &parents, &mut group);
        }
        for subgroup in subgroups {
            subgroup.into_pending().under(&parents[0]).nowait(|_| {});
        }
        let results = Arc::clone(&group.results);
        root.into_pending().nowait(move |result| results.whole.lock().push(result));
        group
    }

    fn start(&mut self, pipeline: &Pipeline, op: Op, parents: &[Parent], group: &mut Group) {
        match op {
            Op::Write(content) => {
                let write = self.with_properties(pipeline.write(content.bytes()));
                self.send(write, op, parents, group, Outcome::Written);
            }
            Op::Over { old, content, .. } => {
                self.tally.over += 1;
                let pass = [1, 1, 2, 3, 8][self.rng.index(5)];
                let in_place = pass > 1 && is_of(&old.bp, pipeline.txg());
                let write = self.with_properties(pipeline.write(content.bytes()));
                let write = write.over(&old.bp).sync_pass(pass).nop_write(self.rng.chance(800));
                let op = Op::Over { old, content, in_place };
                self.send(write, op, parents, group, Outcome::Written);
            }
            Op::Commit(live) => {
                let write = self.with_properties(pipeline.write(live.content.bytes()));
                let write = write.already_written(&live.bp);
                self.send(write, op, parents, group, Outcome::Written);
            }
            Op::Raw(live, ref stored) => {
                self.tally.raw += 1;
                let write = pipeline.write_raw(stored.0.clone(), &live.bp);
                let write = write.copies(1 + self.rng.below(2) as u8);
                self.send(write, op, parents, group, Outcome::Written);
            }
            Op::Tree(content, children) => {
                self.start_tree(pipeline, content, children, parents, group)
            }
            Op::Read(live) => {
                self.tally.reads += 1;
                let read = pipeline.read(&live.bp);
                let read = if self.rng.chance(200) { read.every_copy() } else { read };
                self.send(read, op, parents, group, Outcome::Read);
            }
            Op::Free(live) => {
                self.tally.frees += 1;
                self.send(pipeline.free(&live.bp), op, parents, group, Outcome::Simple);
            }
            Op::Flush => {
                self.tally.flushes += 1;
                self.send(pipeline.flush(), op, parents, group, Outcome::Simple);
            }
            Op::Trim => {
                self.tally.trims += 1;
                let vdev = VdevId(self.rng.index(self.world.vdevs()) as u32);
                let (offset, len) = (self.rng.below(40) << 16, (1 + self.rng.below(8)) << 16);
                let trim = pipeline.trim(vdev, offset, len);
                self.send(trim, op, parents, group, Outcome::Simple);
            }
        }
    }

    /// A parent and its children; it is filled in when all of them have their pointers.
    fn start_tree(
        &mut self,
        pipeline: &Pipeline,
        content: Content,
        children: Vec<Content>,
        parents: &[Parent],
        group: &mut Group,
    ) {
        self.tally.trees += 1;
        let (ready, count) = (Arc::new(AtomicUsize::new(0)), children.len());
        let seen = Arc::clone(&ready);
        let parent = pipeline.write(vec![0; content.len_bytes]).level(1);
        let parent = self.with_properties(parent).encrypt(false).on_children_ready(move |data| {
            assert_eq!(seen.load(Ordering::Relaxed), count, "filled in too early");
            data.copy_from_slice(&content.bytes());
            count as u64
        });
        let first = group.sent.len();
        let above = parent.as_parent().expect("a parent that could be made");
        for child in children {
            let write = self.with_properties(pipeline.write(child.bytes()));
            let ready = Arc::clone(&ready);
            let write =
                write.under(&above).on_ready(move |_| _ = ready.fetch_add(1, Ordering::Relaxed));
            self.send(write, Op::Write(child), parents, group, Outcome::Written);
        }
        self.send(parent, Op::Write(content), parents, group, Outcome::Written);
        // What becomes of a child becomes of it.
        let controlled = group.sent[first..].iter().any(|sent| sent.controlled);
        if let Some(parent) = group.sent.last_mut() {
            (parent.must_succeed, parent.controlled) = (false, controlled);
        }
        group.trees.push(first..group.sent.len());
    }

    fn send<T: zio_pipeline::Outcome>(
        &mut self,
        pending: Pending<T>,
        op: Op,
        parents: &[Parent],
        group: &mut Group,
        outcome: fn(Result<T, Error>) -> Outcome,
    ) {
        let (place, results) = group.results.place();
        let first = self.rng.index(parents.len());
        let second = self.rng.index(parents.len());
        let mut pending = pending.under(&parents[first]);
        if first != second && self.rng.coin() {
            pending = pending.under(&parents[second]);
        }
        let is_write = !matches!(op, Op::Read(_) | Op::Free(_) | Op::Flush | Op::Trim);
        self.tally.writes += u64::from(is_write);
        // What waits until it has succeeded must be able to.
        let can_succeed = match &op {
            Op::Read(live) => !self.may_be_lost(live),
            Op::Over { .. } => false,
            _ => is_write,
        };
        let must_succeed = can_succeed && self.rng.chance(100);
        if must_succeed {
            pending = pending.must_succeed();
        }
        let controlled = (is_write || matches!(op, Op::Read(_))) && self.rng.chance(300);
        if controlled {
            pending = pending.control(&group.controls[self.rng.index(group.controls.len())]);
        }
        group.sent.push(Sent { op, must_succeed, controlled });
        pending.nowait(move |result| results.put(place, outcome(result)));
    }

    /// One request by itself, whatever happens meanwhile.
    pub(super) fn ask<T: zio_pipeline::Outcome>(
        &mut self,
        pipeline: &Pipeline,
        pending: Pending<T>,
    ) -> Result<T, Error> {
        let slot = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&slot);
        pending.nowait(move |result| *answer.lock() = Some(result));
        let ended = self.drive(pipeline, &[], &|| slot.lock().is_some());
        assert!(ended, "a request is stuck: {pipeline:?}");
        let answer = slot.lock().take();
        answer.expect("driven until it was there")
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
        write = write.compression(compression(rng));
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
}

fn compression(rng: &mut Rng) -> Compression {
    match rng.below(6) {
        0 | 1 => Compression::Lz4,
        2 => Compression::Zstd(ZstdLevel::DEFAULT),
        3 => Compression::Zle,
        4 => Compression::Gzip(GzipLevel::new(1 + rng.below(9) as u8).unwrap_or_default()),
        _ => Compression::Off,
    }
}

/// May a later pass of this group's sync write over it?
fn is_of(bp: &BlockPointer, txg: Txg) -> bool {
    bp.copies() > 0 && bp.birth() == txg && bp.physical_birth() == txg && !bp.is_dedup()
}
