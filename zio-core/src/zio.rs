//! The zio: one I/O request on its way through the stages (spec 1.1).
//!
//! A zio is owned by exactly one party at a time: a thread that executes it,
//! its own node (it waits for children or for a device), a task queue, or the
//! client that will start it. **Ownership is the right to execute**; that is
//! why stage, pipeline, flags, buffers and pointer have no lock.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::alloc::{Slots, SpaceClass};
use crate::bp::{BlockPointer, ByteOrder, COMPRESSION_OFF};
use crate::control::{Control, Entered};
use crate::engine::Engine;
use crate::error::{Error, Place};
use crate::flags::Flags;
use crate::node::Node;
use crate::segment::Data;
use crate::stages::Stages;
use crate::task::Task;
use crate::trace::{Trace, Traced};
use crate::types::{ChildSet, ChildType, Priority, Txg, VdevId, WaitType, ZioType};
use crate::vdev::{Token, VdevDone};

/// The owned zio. The box is recycled by its [`Engine`], not freed.
pub type ZioBox = Box<Zio>;

/// What a stage answers: the zio to run next, the same or another one; or
/// `None` when the zio was handed to somebody else.
pub type Next = Option<ZioBox>;

/// Who the block belongs to, for errors and for order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark {
    /// Set of objects.
    pub objset: u64,
    /// Object within the set.
    pub object: u64,
    /// Level within the object; 0 is data.
    pub level: u8,
    /// Block number within the level.
    pub block: u64,
}

/// How a block is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteProps {
    /// Checksum id (spec 7.1).
    pub checksum: u8,
    /// Compression id (spec 7.5).
    pub compression: u8,
    /// Id of the compression's level, where it has levels; 0 is its default.
    pub compression_level: u8,
    /// Object type.
    pub object_type: u8,
    /// Level of the block in its object; 0 is data.
    pub level: u8,
    /// Copies, 1 to 3.
    pub copies: u8,
    /// Share equal blocks through the dedup table.
    pub dedup: bool,
    /// Compare bytes before sharing.
    pub dedup_verify: bool,
    /// Encrypt it, or authenticate it where its type stays in plain.
    pub encrypt: bool,
    /// The pointer it starts with is that of the block it replaces, which may be "never written".
    pub replaces: bool,
    /// Keep the block it replaces if that is equal.
    pub nop_write: bool,
    /// Pass of the transaction group's sync, from 1.
    pub sync_pass: u32,
    /// May take the space that is held back for what makes space.
    pub uses_slop: bool,
    /// Class of space; `None`: by what the block is.
    pub class: Option<SpaceClass>,
    /// Of such a class, leaves a reserve to others: see [`Want::leaves_reserve`](crate::Want::leaves_reserve).
    pub leaves_reserve: bool,
    /// Contents that take up to this, as they are stored, are small: they go with the metadata.
    pub small_block_bytes_max: u32,
    /// Byte order of the block's content.
    pub order: ByteOrder,
}

impl Default for WriteProps {
    /// fletcher4, uncompressed, one copy, object type 19 (plain file contents).
    fn default() -> Self {
        Self {
            checksum: 7,
            compression: COMPRESSION_OFF,
            compression_level: 0,
            object_type: 19,
            level: 0,
            copies: 1,
            dedup: false,
            dedup_verify: false,
            encrypt: false,
            replaces: false,
            nop_write: true,
            sync_pass: 1,
            uses_slop: false,
            class: None,
            leaves_reserve: false,
            small_block_bytes_max: 0,
            order: ByteOrder::NATIVE,
        }
    }
}

/// Undoes one transform: gets the zio and its current data, returns the data
/// one layer up (spec 1.14). Pure CPU work.
pub type Undo = fn(zio: &Zio, current: Data, size_bytes: usize) -> Result<Data, Error>;

struct Transform {
    saved: Data,
    size_bytes: usize,
    undo: Option<Undo>,
}

/// Called once when the zio's pointer is final.
pub type ReadyCallback = Box<dyn FnOnce(&BlockPointer) + Send>;

/// Called once when the zio is finished.
pub type DoneCallback = Box<dyn FnOnce(Finished) + Send>;

/// A place where finished zios are collected, without a closure per zio.
pub trait Sink: Send + Sync {
    /// Takes a finished zio; `tag` is what it was sent off with. Runs on the
    /// thread that finished the zio and must not block.
    fn deliver(&self, tag: u64, finished: Finished);
}

/// Where a zio goes when it is finished.
pub(crate) enum Deliver {
    /// Nowhere: it is recycled.
    Nobody,
    /// Into its own node, for the handle's owner.
    Handle,
    /// To its first parent, for the parent's stage to look at.
    Parent,
    /// To a closure.
    Callback(DoneCallback),
    /// To a collection of finished zios.
    Sink(Arc<dyn Sink>, u64),
}

/// The part of a zio that only the executor and named methods change.
struct Flow {
    stage: Stages,
    pipeline: Stages,
    pipeline_at_birth: Stages,
    traced: Stages,
    flags: Flags,
}

/// One I/O request.
pub struct Zio {
    pub(crate) node: Arc<Node>,
    ty: ZioType,
    child_type: ChildType,
    flow: Flow,
    transforms: SmallVec<[Transform; 2]>,
    pub(crate) deliver: Deliver,
    pub(crate) ready: Option<ReadyCallback>,
    pub(crate) finished_children: Option<ZioBox>,
    pub(crate) link: Option<ZioBox>,
    pub(crate) finished: bool,
    traced_in: Option<Traced>,

    /// Class: who wants it.
    pub priority: Priority,
    /// Transaction group, 0 for none.
    pub txg: Txg,
    /// Who the block belongs to.
    pub bookmark: Bookmark,
    /// Its own error.
    pub error: Option<Error>,
    /// The block pointer; of a write, what it becomes.
    pub bp: BlockPointer,
    /// The pointer as it was when the zio was made.
    pub bp_before: BlockPointer,
    /// Current form of the data.
    pub data: Data,
    /// Size in bytes of the current form; the data itself may not be there yet.
    pub size_bytes: usize,
    /// Size in bytes of the form the client knows.
    pub lsize_bytes: usize,
    /// How to write.
    pub props: WriteProps,
    /// Device of a vdev child.
    pub vdev: Option<VdevId>,
    /// Which leaf of that device, where it has several.
    pub leaf: Option<u32>,
    /// Offset in bytes within the device's data area.
    pub offset_bytes: u64,
    /// The device's answer, until a stage takes it.
    pub answer: Option<VdevDone>,
    /// Reservation of the allocation throttle.
    pub slots: Option<Slots>,
    /// Index of this child among its siblings (DVA number, gang slot).
    pub slot: u32,
    /// Bit set of the places of the block already tried.
    pub tried: u64,
    /// Those of them that did not give the block.
    pub bad: u64,
    /// Its errors are not taken for an answer as long as better devices could help; the same
    /// goes for its children.
    pub must_succeed: bool,
    /// The client's hand on it; its children have it too.
    pub control: Option<Control>,
    /// Its entry there, while it is in a device's queue.
    pub entered: Option<Entered>,
    /// Held back for a test before the stage that it runs next, until then.
    pub delayed_until_ns: Option<u64>,
    /// What is to be reported when the zio gets to an end.
    pub evidence: Option<Box<dyn Any + Send>>,
    /// Of a block in pieces: places that did not give their piece.
    pub bad_inside: u32,
    /// Private state of a family of stages.
    pub attachment: Option<Box<dyn Any + Send>>,
}

impl Zio {
    pub(crate) fn with_node(node: Arc<Node>) -> ZioBox {
        Box::new(Self {
            node,
            ty: ZioType::Null,
            child_type: ChildType::Logical,
            flow: Flow {
                stage: Stages::OPEN,
                pipeline: Stages::INTERLOCK,
                pipeline_at_birth: Stages::INTERLOCK,
                traced: Stages::empty(),
                flags: Flags::empty(),
            },
            transforms: SmallVec::new(),
            deliver: Deliver::Nobody,
            ready: None,
            finished_children: None,
            link: None,
            finished: true,
            traced_in: None,
            priority: Priority::Now,
            txg: 0,
            bookmark: Bookmark::default(),
            error: None,
            bp: BlockPointer::EMPTY,
            bp_before: BlockPointer::EMPTY,
            data: Data::new(),
            size_bytes: 0,
            lsize_bytes: 0,
            props: WriteProps::default(),
            vdev: None,
            leaf: None,
            offset_bytes: 0,
            answer: None,
            slots: None,
            slot: 0,
            tried: 0,
            bad: 0,
            must_succeed: false,
            control: None,
            entered: None,
            delayed_until_ns: None,
            evidence: None,
            bad_inside: 0,
            attachment: None,
        })
    }

    /// Sets a fresh or recycled zio up at stage OPEN; with a device it is that
    /// device's (spec 1.3).
    pub(crate) fn open(
        &mut self,
        ty: ZioType,
        flags: Flags,
        pipeline: Stages,
        vdev: Option<VdevId>,
    ) {
        self.ty = ty;
        self.vdev = vdev;
        self.child_type = if vdev.is_some() {
            ChildType::Vdev
        } else if flags.contains(Flags::GANG_CHILD) {
            ChildType::Gang
        } else if flags.contains(Flags::DDT_CHILD) {
            ChildType::Ddt
        } else {
            ChildType::Logical
        };
        self.flow = Flow {
            stage: Stages::OPEN,
            pipeline,
            pipeline_at_birth: pipeline,
            traced: Stages::empty(),
            flags,
        };
        self.finished = false;
    }

    /// Gives the finished children back that nobody asked for.
    pub(crate) fn release_children(&mut self) {
        while let Some(child) = self.take_finished_child() {
            drop(child);
        }
    }

    /// Drops everything that belongs to the finished request, keeping capacity.
    pub(crate) fn clear(&mut self) {
        self.deliver = Deliver::Nobody;
        self.ready = None;
        self.transforms.clear();
        self.traced_in = None;
        self.priority = Priority::Now;
        self.txg = 0;
        self.bookmark = Bookmark::default();
        self.error = None;
        self.bp = BlockPointer::EMPTY;
        self.bp_before = BlockPointer::EMPTY;
        self.data = Data::new();
        self.size_bytes = 0;
        self.lsize_bytes = 0;
        self.props = WriteProps::default();
        self.vdev = None;
        self.leaf = None;
        self.offset_bytes = 0;
        self.answer = None;
        self.slots = None;
        self.slot = 0;
        self.tried = 0;
        self.bad = 0;
        self.must_succeed = false;
        self.control = None;
        self.entered = None;
        self.delayed_until_ns = None;
        self.evidence = None;
        self.bad_inside = 0;
        self.attachment = None;
    }

    /// The engine it runs on.
    pub fn engine(&self) -> &Arc<Engine> {
        self.node.engine()
    }

    /// What it does.
    pub fn ty(&self) -> ZioType {
        self.ty
    }

    /// What it is to its parent.
    pub fn child_type(&self) -> ChildType {
        self.child_type
    }

    /// The stage it is at.
    pub fn stage(&self) -> Stages {
        self.flow.stage
    }

    /// The stages it has and had to run.
    pub fn pipeline(&self) -> Stages {
        self.flow.pipeline
    }

    /// The stages it has run so far.
    pub fn traced(&self) -> Stages {
        self.flow.traced
    }

    /// Its flags.
    pub fn flags(&self) -> Flags {
        self.flow.flags
    }

    /// Adds flags.
    pub fn add_flags(&mut self, flags: Flags) {
        self.flow.flags |= flags;
    }

    /// Removes flags.
    pub fn remove_flags(&mut self, flags: Flags) {
        self.flow.flags -= flags;
    }

    /// Did it set out to allocate (spec 1.6)?
    pub fn is_allocating(&self) -> bool {
        self.flow.pipeline_at_birth.contains(Stages::DVA_ALLOCATE)
    }

    /// Its class: what it was made with, or what its client has said since. Never changed
    /// for [`Priority::Now`].
    pub fn class(&self) -> Priority {
        match &self.control {
            Some(control) if self.priority != Priority::Now => {
                control.priority().unwrap_or(self.priority)
            }
            _ => self.priority,
        }
    }

    /// Has its client cancelled it?
    pub fn is_cancelled(&self) -> bool {
        self.control.as_ref().is_some_and(Control::is_cancelled)
    }

    /// Place of the zio's I/O, for errors.
    pub fn place(&self) -> Place {
        Place {
            vdev: self.vdev,
            leaf: self.leaf,
            offset_bytes: self.vdev.map(|_| self.offset_bytes),
            len_bytes: (self.size_bytes > 0).then_some(self.size_bytes as u64),
        }
    }

    /// Copies that a read met and that did not hold what they should, those of the pieces
    /// of a gang included.
    pub fn bad_copies(&self) -> u32 {
        self.bad.count_ones() + self.bad_inside
    }

    /// Records an error with this zio's place; a worse one already there stays.
    pub fn fail(&mut self, error: Error) {
        let error = error.at(self.place());
        self.error = Error::worst(self.error.take(), Some(error));
    }

    // -- The road: the only ways a stage may change it (spec 1.5). --

    /// Nothing left to do but to synchronise: holes, embedded data, errors, no-op writes.
    pub fn become_interlock(&mut self) {
        self.flow.pipeline = Stages::INTERLOCK;
    }

    /// Another road from here on: dedup read, dedup write, dedup free, rewrite.
    pub fn become_pipeline(&mut self, pipeline: Stages) {
        self.flow.pipeline = pipeline;
    }

    /// A stage that has become necessary: a gang pair, NOP_WRITE, ISSUE_ASYNC.
    pub fn add_stages(&mut self, stages: Stages) {
        self.flow.pipeline |= stages;
    }

    /// A stage that somebody else does: verification by the vdev child, the
    /// device stages of an allocation without data.
    pub fn drop_stages(&mut self, stages: Stages) {
        self.flow.pipeline -= stages;
    }

    /// Goes back so that `stage` runs (again): a retry, a wait.
    pub fn rerun_from(&mut self, stage: Stages) {
        let before = (stage.bits() >> 1).max(Stages::OPEN.bits());
        self.flow.stage = Stages::from_bits_retain(before);
    }

    /// The next stage of the road.
    pub(crate) fn next_stage(&self) -> Option<Stages> {
        self.flow.pipeline.next_after(self.flow.stage)
    }

    pub(crate) fn enter_stage(&mut self, stage: Stages) {
        self.flow.stage = stage;
        self.flow.traced |= stage;
        if let Some(traced) = &self.traced_in {
            traced.stage(stage, self.place());
        }
    }

    /// Writes its story down, and that of the children it is going to make. To be called before
    /// it starts.
    pub fn write_down(&mut self, trace: &Trace) {
        self.traced_in = Some(trace.follow(self, None));
    }

    /// Its story ends here.
    pub(crate) fn end_story(&self, error: Option<&Error>) {
        if let Some(traced) = &self.traced_in {
            traced.end(error);
        }
    }

    // -- Transforms (spec 1.14). --

    /// Remembers the current data and size, to be restored by `undo` when the
    /// zio is done; the caller then installs the new ones. Without `undo` the
    /// remembered data itself comes back.
    pub fn push_transform(&mut self, undo: Option<Undo>) {
        let saved = self.data.clone();
        self.transforms.push(Transform { saved, size_bytes: self.size_bytes, undo });
    }

    /// The data of a write as the client gave it, below all transforms.
    pub fn original_data(&self) -> &Data {
        self.transforms.first().map_or(&self.data, |transform| &transform.saved)
    }

    /// Undoes all transforms, last first. Once there is an error nothing is
    /// computed any more: there is no data to give.
    pub fn pop_transforms(&mut self) {
        while let Some(transform) = self.transforms.pop() {
            let current = std::mem::take(&mut self.data);
            match transform.undo {
                None => self.data = transform.saved,
                Some(undo) if self.error.is_none() => {
                    match undo(self, current, transform.size_bytes) {
                        Ok(data) => self.data = data,
                        Err(error) => self.fail(error),
                    }
                }
                Some(_) => {}
            }
            self.size_bytes = transform.size_bytes;
        }
    }

    // -- Waiting. --

    /// Waits for children: goes on with the zio when none of the named types
    /// has an unreached `wait`; otherwise parks it in its node, to run the
    /// same stage again when the awaited counter reaches zero, and returns `None`.
    pub fn wait_children(mut self: Box<Self>, set: ChildSet, wait: WaitType) -> Next {
        if self.node.children_reached(set, wait, &mut self.finished_children) {
            return Some(self);
        }
        let stage = self.flow.stage;
        self.rerun_from(stage);
        let node = Arc::clone(&self.node);
        let mut zio = node.park_or_go_on(self, set, wait)?;
        zio.flow.stage = stage;
        Some(zio)
    }

    /// Parks the zio until a device answers. The token is the only way to wake
    /// it, and works once.
    pub fn park_for_device(self: Box<Self>) -> Token {
        let node = Arc::clone(&self.node);
        node.park_for_device(self)
    }

    /// The next finished child that was delivered to this zio, last come first.
    pub fn take_finished_child(&mut self) -> Option<Finished> {
        let mut child = self.finished_children.take()?;
        self.finished_children = child.link.take();
        Some(Finished::new(child))
    }

    // -- Children and delivery. --

    /// The worst error that logical children have told so far. DONE inherits it.
    pub fn child_error(&self) -> Option<Error> {
        self.node.child_error(ChildType::Logical)
    }

    /// A handle on the node, to make this zio a parent.
    pub fn as_parent(&self) -> Parent {
        Parent(Arc::clone(&self.node))
    }

    /// Makes `child` a child of this zio that comes back to it when finished
    /// (see [`Zio::take_finished_child`]), in the same client's hand and the same trace.
    ///
    /// # Panics
    /// As [`Parent::add`].
    pub fn adopt(&self, child: &mut Zio) {
        child.deliver = Deliver::Parent;
        child.control.clone_from(&self.control);
        child.must_succeed = self.must_succeed;
        if let Some(traced) = &self.traced_in {
            child.traced_in = Some(traced.child(child));
        }
        self.node.link_child(child, true);
    }

    /// Calls `ready` when the pointer is final.
    pub fn on_ready(&mut self, ready: ReadyCallback) {
        self.ready = Some(ready);
    }

    /// Starts it: executes on this thread until it is finished or waits
    /// elsewhere. The result goes to parents and callback only.
    pub fn start(self: Box<Self>) {
        Engine::run(self);
    }
}

impl Drop for Zio {
    /// A zio that is dropped unfinished (it was never started, or a stage
    /// panicked or lost it) still tells parents and waiters, so that nobody
    /// waits for ever.
    fn drop(&mut self) {
        // Lists one by one: dropped as nested boxes, a long one would exhaust the stack.
        for list in [self.link.take(), self.finished_children.take()] {
            let mut rest = list;
            while let Some(mut zio) = rest {
                rest = zio.link.take();
            }
        }
        if !self.finished {
            crate::done::abandon(self);
        }
    }
}

impl fmt::Debug for Zio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zio")
            .field("ty", &self.ty)
            .field("child_type", &self.child_type)
            .field("stage", &self.flow.stage.name())
            .field("pipeline", &self.flow.pipeline)
            .field("flags", &self.flow.flags)
            .field("error", &self.error)
            .field("bp", &self.bp)
            .finish_non_exhaustive()
    }
}

impl Task for ZioBox {
    fn run(self) {
        Engine::run(self);
    }

    fn link(&mut self) -> &mut Option<Self> {
        &mut self.link
    }
}

/// A zio seen as a parent: children can be added until it is done.
///
/// Add to a zio that has not been started, or from one of its own stages, or
/// while an unfinished child of it is in the same hands: another one might be
/// finishing at this very moment.
#[derive(Clone)]
pub struct Parent(pub(crate) Arc<Node>);

impl Parent {
    /// Makes `child` a child: this parent's DONE waits for it and inherits its error.
    ///
    /// # Panics
    /// When the parent is already done, of a lower child type (spec 1.3), of
    /// another engine, or the child itself.
    pub fn add(&self, child: &mut Zio) {
        self.0.link_child(child, false);
    }

    /// Lets the parent inherit the error of a logical child that could not
    /// even be made.
    pub fn inherit(&self, error: &Error) {
        self.0.inherit(ChildType::Logical, error);
    }
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parent")
    }
}

/// A finished zio: its result, its data, its pointer. The zio itself goes back
/// to its engine when this is dropped.
pub struct Finished(Option<ZioBox>);

impl Finished {
    pub(crate) fn new(zio: ZioBox) -> Self {
        Self(Some(zio))
    }

    fn zio(&self) -> &Zio {
        self.0.as_deref().expect("a finished zio is there until it is dropped")
    }

    /// How it went.
    ///
    /// # Errors
    /// The zio's error, its children's included.
    pub fn result(&self) -> Result<(), Error> {
        self.zio().error.clone().map_or(Ok(()), Err)
    }

    /// The zio, to look at.
    pub fn get(&self) -> &Zio {
        self.zio()
    }

    /// Takes the data out.
    pub fn take_data(&mut self) -> Data {
        self.0.as_mut().map(|zio| std::mem::take(&mut zio.data)).unwrap_or_default()
    }

    /// Takes out what it has to report.
    pub fn take_evidence(&mut self) -> Option<Box<dyn Any + Send>> {
        self.0.as_mut().and_then(|zio| zio.evidence.take())
    }

    /// Takes the error out.
    pub fn take_error(&mut self) -> Option<Error> {
        self.0.as_mut().and_then(|zio| zio.error.take())
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        if let Some(zio) = self.0.take() {
            Engine::recycle(zio);
        }
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Finished").field(self.zio()).finish()
    }
}
