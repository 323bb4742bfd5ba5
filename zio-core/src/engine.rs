//! The executor: runs any zio, stage by stage (spec 1.8).
//!
//! * One loop, flat: a stage returns the next zio, so neither a long chain of
//!   parents nor a device that answers inside `start` deepens the stack. What
//!   becomes runnable while a thread is already executing joins that thread's
//!   run list.
//! * A panic of a stage or callback hurts its own zio alone: that one becomes
//!   [`Lost`](crate::ErrorKind::Lost), the rest of the run list is executed, and
//!   only then does the panic go on to whoever entered the executor. It never
//!   unwinds into a device or a reactor; there it is counted.
//! * The engine recycles zios and nodes: in the steady state none is allocated.
//! * It never blocks. Who wants to wait does so through a handle.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::flags::Flags;
use crate::node::{Node, Waiter};
use crate::segment::BufferPool;
use crate::stage::Stage;
use crate::stages::{STAGE_COUNT, Stages};
use crate::stats::EngineStats;
use crate::sync::{AtomicBool, AtomicUsize, Mutex, Thread, thread_local};
use crate::task::{Place, QueueKind, Route, TaskQueue};
use crate::types::{VdevId, ZioType};
use crate::vdev::Reactor;
use crate::wait::Reaping;
use crate::zio::{Zio, ZioBox};

/// Most zios kept for reuse.
const KEPT_ZIOS_MAX: usize = 4096;

/// Where the executor was entered from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Context {
    /// A client's own thread, starting a zio.
    #[default]
    Submit,
    /// A thread that handles the answer of a device.
    Completion,
    /// A worker of a task queue.
    Task,
}

impl Context {
    /// The context of the innermost executor on this thread.
    pub fn current() -> Self {
        RUN.with(|run| run.context.get())
    }

    /// Is this thread inside an executor now?
    pub fn is_executing() -> bool {
        RUN.with(|run| run.active.get())
    }
}

/// What this thread still has to execute: a FIFO linked through the zios.
#[derive(Default)]
struct RunList {
    active: Cell<bool>,
    context: Cell<Context>,
    /// Newest first.
    inbox: RefCell<Option<ZioBox>>,
    /// Oldest first.
    outbox: RefCell<Option<ZioBox>>,
}

impl RunList {
    fn push(&self, mut zio: ZioBox) {
        let mut inbox = self.inbox.borrow_mut();
        zio.link = inbox.take();
        *inbox = Some(zio);
    }

    fn pop(&self) -> Option<ZioBox> {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.is_none() {
            let mut inbox = self.inbox.borrow_mut().take();
            while let Some(mut zio) = inbox {
                inbox = zio.link.take();
                zio.link = outbox.take();
                *outbox = Some(zio);
            }
        }
        let mut zio = outbox.take()?;
        *outbox = zio.link.take();
        Some(zio)
    }
}

thread_local! {
    static RUN: RunList = RunList::default();
}

/// What an engine is made of.
pub struct Parts {
    /// One object for each stage the pipelines use.
    pub stages: Vec<Arc<dyn Stage>>,
    /// Where ISSUE_ASYNC and resumed parents go.
    pub queue: Arc<dyn TaskQueue<ZioBox>>,
    /// Whose thread must be driven for devices to answer; the first one is
    /// driven by waiters.
    pub reactors: Vec<Arc<dyn Reactor>>,
    /// Memory for blocks.
    pub buffers: BufferPool,
    /// What the stages share, for their functions without a `self`.
    pub shared: Arc<dyn Any + Send + Sync>,
    /// Run a resumed parent right where its last child finished (`true`), or
    /// always queue it: a switch for measurements.
    pub hand_over: bool,
}

/// The executor with everything its zios share.
pub struct Engine {
    stages: [Option<Arc<dyn Stage>>; STAGE_COUNT],
    queue: Arc<dyn TaskQueue<ZioBox>>,
    reactors: SmallVec<[Arc<dyn Reactor>; 1]>,
    buffers: BufferPool,
    shared: Arc<dyn Any + Send + Sync>,
    hand_over: bool,
    pub(crate) reaping: Reaping,
    free: Mutex<Vec<ZioBox>>,
    live: AtomicUsize,
    closed: AtomicBool,
    idle_waiters: Mutex<SmallVec<[Thread; 2]>>,
    stats: EngineStats,
}

impl Engine {
    /// An engine.
    ///
    /// # Panics
    /// When a stage object names no single stage.
    pub fn new(parts: Parts) -> Arc<Self> {
        let mut stages = std::array::from_fn(|_| None);
        for stage in parts.stages {
            let bit = stage.stage();
            assert!(bit.bits().is_power_of_two(), "a stage object is one stage, not {bit:?}");
            stages[bit.index()] = Some(stage);
        }
        let reactors: SmallVec<[_; 1]> = parts.reactors.into_iter().collect();
        Arc::new(Self {
            stages,
            queue: parts.queue,
            reaping: Reaping::new(reactors.first().cloned()),
            reactors,
            buffers: parts.buffers,
            shared: parts.shared,
            hand_over: parts.hand_over,
            free: Mutex::new(Vec::new()),
            live: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            idle_waiters: Mutex::new(SmallVec::new()),
            stats: EngineStats::default(),
        })
    }

    // -- Making zios. --

    /// A new logical (or, by flags, gang or DDT) zio at stage OPEN. It does
    /// nothing until started.
    pub fn make(self: &Arc<Self>, ty: ZioType, flags: Flags, pipeline: Stages) -> ZioBox {
        self.open(ty, flags, pipeline, None)
    }

    fn open(
        self: &Arc<Self>,
        ty: ZioType,
        flags: Flags,
        pipeline: Stages,
        vdev: Option<VdevId>,
    ) -> ZioBox {
        let mut zio = self.blank();
        zio.open(ty, flags, pipeline, vdev);
        zio.node.reset(zio.child_type(), !pipeline.contains(Stages::READY));
        self.live.fetch_add(1, Ordering::Relaxed);
        self.stats.zios.add(1);
        zio
    }

    /// A child of `parent` for a device: flags inherited, READY reached at
    /// birth, comes back to the parent when finished.
    pub fn make_vdev_child(
        parent: &Zio,
        ty: ZioType,
        vdev: VdevId,
        offset_bytes: u64,
        pipeline: Stages,
    ) -> ZioBox {
        // The children of a device's zio are for devices inside that device.
        let flags = parent.flags().for_vdev_child(parent.vdev.is_none());
        let mut child = parent.engine().open(ty, flags, pipeline, Some(vdev));
        child.offset_bytes = offset_bytes;
        child.priority = parent.class();
        child.txg = parent.txg;
        child.bookmark = parent.bookmark;
        parent.adopt(&mut child);
        child
    }

    /// A zio for a device that is nobody's child yet: flush, trim, raw ranges.
    /// Its errors reach the parent it will be given.
    pub fn make_on_vdev(
        self: &Arc<Self>,
        ty: ZioType,
        vdev: VdevId,
        offset_bytes: u64,
        flags: Flags,
        pipeline: Stages,
    ) -> ZioBox {
        let mut zio = self.open(ty, flags, pipeline, Some(vdev));
        zio.offset_bytes = offset_bytes;
        zio
    }

    /// A recycled zio, or a fresh one.
    pub(crate) fn blank(self: &Arc<Self>) -> ZioBox {
        let recycled = self.free.lock().pop();
        match recycled {
            Some(mut zio) => {
                if Arc::get_mut(&mut zio.node).is_none() {
                    // Somebody still holds the old node (a token, a handle being
                    // dropped); it may keep it.
                    zio.node = Node::new(Arc::clone(self));
                }
                zio
            }
            None => Zio::with_node(Node::new(Arc::clone(self))),
        }
    }

    /// Takes a finished zio back.
    pub(crate) fn recycle(mut zio: ZioBox) {
        zio.release_children();
        zio.clear();
        let engine = Arc::clone(zio.engine());
        let mut free = engine.free.lock();
        if free.len() < KEPT_ZIOS_MAX && !engine.closed.load(Ordering::Relaxed) {
            free.push(zio);
        } else {
            drop(free);
            drop(zio);
        }
    }

    // -- Executing. --

    /// Executes a zio on this thread, or adds it to what this thread already
    /// executes. A zio that a client starts and that leaves work for a device
    /// is submitted before this returns.
    pub(crate) fn run(zio: ZioBox) {
        let context = match zio.engine().queue.on_worker() {
            Some(_) => Context::Task,
            None => Context::Submit,
        };
        Self::enter(zio, context, true);
    }

    /// As [`Engine::run`], for a client that is going to wait: its wait
    /// submits, in the same system call.
    pub(crate) fn run_and_wait(zio: ZioBox) {
        Self::enter(zio, Context::Submit, false);
    }

    /// Goes on with a zio whose device has answered.
    pub(crate) fn resume(zio: ZioBox) {
        Self::enter(zio, Context::Completion, true);
    }

    fn enter(zio: ZioBox, context: Context, submit: bool) {
        let nested = RUN.with(|run| run.active.get());
        if nested {
            RUN.with(|run| run.push(zio));
            return;
        }
        let engine = Arc::clone(zio.engine());
        let entries = match context {
            Context::Submit => &engine.stats.entries_submit,
            Context::Completion => &engine.stats.entries_completion,
            Context::Task => &engine.stats.entries_task,
        };
        entries.add(1);
        RUN.with(|run| {
            run.active.set(true);
            run.context.set(context);
        });
        let mut panicked = None;
        let mut next = Some(zio);
        while let Some(zio) = next {
            // Of another engine: started by a callback of a zio of this one.
            let other = (!Arc::ptr_eq(zio.engine(), &engine)).then(|| Arc::clone(zio.engine()));
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                Self::execute(zio);
                if let Some(other) = other {
                    other.submit_started();
                }
            }));
            if let Err(panic) = outcome {
                engine.stats.panics.add(1);
                panicked.get_or_insert(panic);
            }
            next = RUN.with(RunList::pop);
        }
        RUN.with(|run| {
            run.active.set(false);
            run.context.set(Context::Submit);
        });
        if submit {
            engine.submit_started();
        }
        if let Some(panic) = panicked
            && context != Context::Completion
        {
            resume_unwind(panic);
        }
    }

    /// Runs stages until the zio, and whatever it hands over to, has gone.
    fn execute(zio: ZioBox) {
        let engine = Arc::clone(zio.engine());
        let mut zio = zio;
        loop {
            let Some(stage) = zio.next_stage() else {
                debug_assert!(false, "a zio ran past DONE");
                return;
            };
            if Stages::BLOCKING.contains(stage) && zio.vdev.is_none() && engine.on_interrupt() {
                let cut_in_line = stage == Stages::VDEV_IO_START;
                let place = if cut_in_line { Place::Front } else { Place::Back };
                Self::dispatch(zio, QueueKind::Issue, place);
                return;
            }
            zio.enter_stage(stage);
            let Some(object) = &engine.stages[stage.index()] else {
                // A stage nobody implements is a stage with nothing to do.
                continue;
            };
            match object.run(zio) {
                Some(next) => zio = next,
                None => return,
            }
        }
    }

    fn on_interrupt(&self) -> bool {
        self.queue.on_worker().is_some_and(|(_, kind)| kind.is_interrupt())
    }

    /// Queues a zio to the task queue of its type.
    pub fn dispatch(zio: ZioBox, kind: QueueKind, place: Place) {
        let engine = Arc::clone(zio.engine());
        engine.stats.dispatches.add(1);
        let route = Route::of_zio(zio.ty(), zio.class(), zio.flags(), kind, place);
        let affinity = (zio.bookmark.objset ^ zio.bookmark.object.rotate_left(7)) as u32;
        engine.queue.dispatch(zio, Route { affinity, ..route });
    }

    /// Hands everything started to the devices.
    pub fn submit(&self) {
        for reactor in &self.reactors {
            reactor.submit();
        }
    }

    /// The same, except that a reactor inside its turn submits by itself, in groups.
    fn submit_started(&self) {
        let turning = usize::from(self.reaping.is_turning_here());
        for reactor in self.reactors.iter().skip(turning) {
            reactor.submit();
        }
    }

    // -- What finished zios leave behind. --

    /// Leaves a finished zio at `node` for the owner of its handle. The node is
    /// let go before the owner is woken, so that it can be used again.
    pub(crate) fn leave_for_handle(&self, node: Arc<Node>, zio: ZioBox) {
        let left = node.leave_finished(zio);
        drop(node);
        match left {
            Ok(Some(Waiter::Thread(thread))) => self.reaping.wake(&thread),
            Ok(Some(Waiter::Waker(waker))) => waker.wake(),
            Ok(None) => {}
            Err(zio) => Self::recycle(zio),
        }
    }

    pub(crate) fn one_less(&self, detached: bool) {
        if detached {
            self.reaping.attached();
        }
        if self.live.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waiters = std::mem::take(&mut *self.idle_waiters.lock());
            for thread in waiters {
                self.reaping.wake(&thread);
            }
        }
    }

    /// Blocks this thread, driving the devices, until `done` says so. `done`
    /// gets this thread and arranges for [`Engine::wake`] to be called on it. It
    /// is asked until it has said yes once.
    pub fn wait_until(&self, done: impl Fn(&Thread) -> bool) {
        // The first reactor is submitted by whoever turns it.
        for reactor in self.further_reactors() {
            reactor.submit();
        }
        self.reaping.wait(done);
    }

    /// Makes a thread in [`Engine::wait_until`] ask again.
    pub fn wake(&self, thread: &Thread) {
        self.reaping.wake(thread);
    }

    // -- Looking at it. --

    /// Zios made and not yet finished.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// What the executor has done.
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Memory for blocks.
    pub fn buffers(&self) -> &BufferPool {
        &self.buffers
    }

    /// What the stages share, if it is a `T`.
    pub fn shared<T: Any>(&self) -> Option<&T> {
        self.shared.downcast_ref()
    }

    pub(crate) fn hands_over(&self) -> bool {
        self.hand_over
    }

    /// Is there a device whose answers somebody's thread must fetch?
    pub fn has_reactor(&self) -> bool {
        !self.reactors.is_empty()
    }

    /// The reactors beyond the first: each needs a thread of its own that
    /// calls [`Reactor::turn`].
    pub fn further_reactors(&self) -> &[Arc<dyn Reactor>] {
        self.reactors.get(1..).unwrap_or_default()
    }

    /// The life of a background reaper: drives the first reactor while
    /// callbacks or futures are outstanding and no client waits; sleeps
    /// otherwise. Returns when `stop` says so, after [`Engine::wake_background`].
    /// One thread per engine does this.
    pub fn reap_in_background(&self, stop: &dyn Fn() -> bool) {
        self.reaping.background(stop);
    }

    /// Wakes the background reaper to look at its `stop`.
    pub fn wake_background(&self) {
        self.reaping.wake_background();
    }

    // -- Closing. --

    /// Waits on this thread until no zio is live, driving the devices.
    pub fn wait_idle(&self) {
        self.wait_until(|me| {
            if self.live() == 0 {
                return true;
            }
            let mut waiters = self.idle_waiters.lock();
            if !waiters.iter().any(|t| t.id() == me.id()) {
                waiters.push(me.clone());
            }
            drop(waiters);
            self.live() == 0
        });
    }

    /// Waits for everything, stops the task queue and lets recycled memory go.
    /// To be called once, last.
    pub fn close(&self) {
        self.wait_idle();
        self.queue.shutdown();
        self.closed.store(true, Ordering::SeqCst);
        let kept = std::mem::take(&mut *self.free.lock());
        drop(kept);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("live", &self.live())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
