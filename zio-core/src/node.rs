//! The node: what others may touch of a zio (spec 1.3, 1.4, 1.10).
//!
//! A node counts the children that have not reached READY and DONE, keeps the
//! worst error per child type, knows the parents, and holds the zio itself
//! while it waits. **Waiting is moving the box into one's own node**: whoever
//! ends the wait takes it out under the same lock, so a resume can neither
//! overtake the park nor happen twice.
//!
//! Lock order: parent before child. No other lock is taken under a node's
//! lock, and nothing is called that could run a zio.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use smallvec::SmallVec;

use crate::engine::Engine;
use crate::error::Error;
use crate::sync::{AtomicBool, Mutex, Thread};
use crate::types::{ChildSet, ChildType, WaitType};
use crate::vdev::{Complete, Token, VdevDone};
use crate::zio::{Next, Zio, ZioBox};

/// What a parked zio waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Children(ChildType, WaitType),
    Device(u64),
}

/// Who wants to know that a zio with a handle is finished.
pub(crate) enum Waiter {
    Thread(Thread),
    Waker(Waker),
}

struct Shared {
    /// What the zio is to its own parents; its children are at most that.
    child_type: ChildType,
    /// Children that have not reached a wait type, per child type.
    pending: [[u32; WaitType::COUNT]; ChildType::COUNT],
    child_errors: [Option<Error>; ChildType::COUNT],
    reached: [bool; WaitType::COUNT],
    parents: SmallVec<[Arc<Node>; 2]>,
    parked: Option<(ZioBox, Until)>,
    /// Finished children on their way back to this zio, linked through `Zio::link`.
    finished_children: Option<ZioBox>,
    /// Number of the last wait for a device.
    ticket: u64,
    handle: HandleState,
}

impl Shared {
    fn new() -> Self {
        Self {
            child_type: ChildType::Logical,
            pending: Default::default(),
            child_errors: Default::default(),
            reached: [false; WaitType::COUNT],
            parents: SmallVec::new(),
            parked: None,
            finished_children: None,
            ticket: 0,
            handle: HandleState::default(),
        }
    }

    /// Takes the finished children home, before those that `home` has already.
    fn bring_home(&mut self, home: &mut Option<ZioBox>) {
        let Some(mut newest) = self.finished_children.take() else { return };
        if let Some(earlier) = home.take() {
            let mut last = &mut newest;
            while last.link.is_some() {
                last = last.link.as_mut().expect("just seen");
            }
            last.link = Some(earlier);
        }
        *home = Some(newest);
    }

    /// The first child type of `set` with a child that has not reached `wait`.
    fn awaited(&self, set: ChildSet, wait: WaitType) -> Option<ChildType> {
        ChildType::ALL
            .into_iter()
            .find(|child| set.has(*child) && self.pending[child.index()][wait.index()] > 0)
    }
}

/// The handle's side of a zio.
#[derive(Default)]
struct HandleState {
    finished: Option<ZioBox>,
    waiter: Option<Waiter>,
    /// The handle is gone; nobody will come for the result.
    dropped: bool,
    /// Counted as work that must go on although nobody waits for it.
    detached: bool,
}

/// The shared record of one zio.
pub(crate) struct Node {
    engine: Arc<Engine>,
    /// Has had a child, or inherited from one. Most zios never do, and need not
    /// take the lock to know that there is nothing to wait for.
    family: AtomicBool,
    shared: Mutex<Shared>,
}

impl Node {
    pub(crate) fn new(engine: Arc<Engine>) -> Arc<Self> {
        Arc::new(Self { engine, family: AtomicBool::new(false), shared: Mutex::new(Shared::new()) })
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Ready for the next zio; tickets go on counting. Only the box that owns the node may call this,
    /// when nobody else holds it. `ready` says that READY needs no reaching:
    /// the pipeline lacks it.
    pub(crate) fn reset(&self, child_type: ChildType, ready: bool) {
        let mut shared = self.shared.lock();
        shared.child_type = child_type;
        shared.reached = [ready, false];
        shared.parents.clear();
        shared.parked = None;
        shared.handle = HandleState::default();
        if self.family.swap(false, Ordering::Relaxed) {
            shared.pending = Default::default();
            shared.child_errors = Default::default();
            shared.finished_children = None;
        }
    }

    /// Makes `child` a child of this node's zio. The first parent is the one a
    /// child comes home to.
    pub(crate) fn link_child(self: &Arc<Self>, child: &Zio, first: bool) {
        assert!(!Arc::ptr_eq(self, &child.node), "a zio as a child of its own");
        assert!(Arc::ptr_eq(&self.engine, child.engine()), "a child of another engine");
        let mut parent = self.shared.lock();
        assert!(!parent.reached[WaitType::Done.index()], "a child for a zio that is done");
        assert!(
            child.child_type() <= parent.child_type,
            "a {:?} child for a {:?} zio",
            child.child_type(),
            parent.child_type
        );
        self.family.store(true, Ordering::Release);
        let mut own = child.node.shared.lock();
        let row = &mut parent.pending[child.child_type().index()];
        for (count, reached) in row.iter_mut().zip(own.reached) {
            *count += u32::from(!reached);
        }
        let at = if first { 0 } else { own.parents.len() };
        own.parents.insert(at, Arc::clone(self));
    }

    /// True when no child of `set` has still to reach `wait`; then the finished
    /// children that came home are handed out.
    pub(crate) fn children_reached(
        &self,
        set: ChildSet,
        wait: WaitType,
        home: &mut Option<ZioBox>,
    ) -> bool {
        if !self.has_family() {
            return true;
        }
        let mut shared = self.shared.lock();
        let reached = shared.awaited(set, wait).is_none();
        if reached {
            shared.bring_home(home);
        }
        reached
    }

    /// Parks the zio if a child of `set` has not reached `wait`; otherwise
    /// gives it back, with the finished children that came home.
    pub(crate) fn park_or_go_on(&self, mut zio: ZioBox, set: ChildSet, wait: WaitType) -> Next {
        let mut shared = self.shared.lock();
        match shared.awaited(set, wait) {
            Some(child) => {
                shared.parked = Some((zio, Until::Children(child, wait)));
                None
            }
            None => {
                shared.bring_home(&mut zio.finished_children);
                Some(zio)
            }
        }
    }

    /// Parks the zio until the returned token is finished.
    pub(crate) fn park_for_device(self: Arc<Self>, zio: ZioBox) -> Token {
        let ticket = {
            let mut shared = self.shared.lock();
            shared.ticket += 1;
            let ticket = shared.ticket;
            shared.parked = Some((zio, Until::Device(ticket)));
            ticket
        };
        Token::new(self, ticket)
    }

    /// A child has reached `wait`. Returns this node's zio if that was what it
    /// waited for.
    pub(crate) fn notify(
        &self,
        child: ChildType,
        wait: WaitType,
        error: Option<&Error>,
        finished: Option<ZioBox>,
    ) -> Next {
        let mut shared = self.shared.lock();
        if let Some(error) = error {
            let worst = &mut shared.child_errors[child.index()];
            *worst = Error::worst(worst.take(), Some(error.clone()));
        }
        if let Some(mut zio) = finished {
            zio.link = shared.finished_children.take();
            shared.finished_children = Some(zio);
        }
        let count = &mut shared.pending[child.index()][wait.index()];
        debug_assert!(*count > 0, "a child told its parent twice");
        *count = count.saturating_sub(1);
        let waits_for_this = *count == 0
            && shared.parked.as_ref().is_some_and(|p| p.1 == Until::Children(child, wait));
        if waits_for_this { shared.parked.take().map(|parked| parked.0) } else { None }
    }

    /// A child that could not even be made.
    pub(crate) fn inherit(&self, child: ChildType, error: &Error) {
        let mut shared = self.shared.lock();
        self.family.store(true, Ordering::Release);
        let worst = &mut shared.child_errors[child.index()];
        *worst = Error::worst(worst.take(), Some(error.clone()));
    }

    /// Has there been a child, or the error of one?
    fn has_family(&self) -> bool {
        self.family.load(Ordering::Acquire)
    }

    /// The worst error of the children of one type so far.
    pub(crate) fn child_error(&self, child: ChildType) -> Option<Error> {
        if !self.has_family() {
            return None;
        }
        self.shared.lock().child_errors[child.index()].clone()
    }

    /// Takes the worst error of the children of one type.
    pub(crate) fn take_child_error(&self, child: ChildType) -> Option<Error> {
        if !self.has_family() {
            return None;
        }
        self.shared.lock().child_errors[child.index()].take()
    }

    /// Marks READY as reached and returns the parents of this moment: those
    /// that come later have counted us as ready.
    pub(crate) fn reach_ready(&self) -> SmallVec<[Arc<Self>; 2]> {
        let mut shared = self.shared.lock();
        if std::mem::replace(&mut shared.reached[WaitType::Ready.index()], true) {
            return SmallVec::new();
        }
        shared.parents.clone()
    }

    /// Marks DONE as reached and takes the parents, with whether READY had
    /// been reached before and whether the zio was counted as detached.
    pub(crate) fn reach_done(&self) -> Farewell {
        let mut shared = self.shared.lock();
        let was_ready = std::mem::replace(&mut shared.reached[WaitType::Ready.index()], true);
        shared.reached[WaitType::Done.index()] = true;
        Farewell {
            parents: std::mem::take(&mut shared.parents),
            was_ready,
            detached: shared.handle.detached,
        }
    }

    // -- The handle's side. --

    /// Leaves the finished zio for its handle; returns who waits for it, or
    /// the zio if nobody will come.
    pub(crate) fn leave_finished(&self, zio: ZioBox) -> Result<Option<Waiter>, ZioBox> {
        let mut shared = self.shared.lock();
        if shared.handle.dropped {
            return Err(zio);
        }
        shared.handle.finished = Some(zio);
        Ok(shared.handle.waiter.take())
    }

    /// The finished zio, if it is there.
    pub(crate) fn take_finished(&self) -> Option<ZioBox> {
        self.shared.lock().handle.finished.take()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.shared.lock().handle.finished.is_some()
    }

    /// Takes the finished zio, or registers who is to be told.
    pub(crate) fn take_or_register(&self, waiter: Waiter) -> Option<ZioBox> {
        let mut shared = self.shared.lock();
        let finished = shared.handle.finished.take();
        shared.handle.waiter = finished.is_none().then_some(waiter);
        finished
    }

    /// Counts the zio as work that must go on although nobody waits. Returns
    /// false when it is counted already, or finished.
    pub(crate) fn detach(&self) -> bool {
        let mut shared = self.shared.lock();
        let over = shared.reached[WaitType::Done.index()];
        !over && !std::mem::replace(&mut shared.handle.detached, true)
    }

    /// The handle is gone. Returns the finished zio if it lay there.
    pub(crate) fn drop_handle(&self) -> Option<ZioBox> {
        let mut shared = self.shared.lock();
        shared.handle.dropped = true;
        shared.handle.waiter = None;
        shared.handle.finished.take()
    }
}

/// What a zio leaves behind at DONE.
pub(crate) struct Farewell {
    pub(crate) parents: SmallVec<[Arc<Node>; 2]>,
    pub(crate) was_ready: bool,
    pub(crate) detached: bool,
}

impl Complete for Node {
    /// The device's answer. A late one, for a wait that is over, finds no
    /// matching ticket and is dropped.
    fn complete(self: Arc<Self>, ticket: u64, done: VdevDone) {
        let parked = {
            let mut shared = self.shared.lock();
            let expected = shared.parked.as_ref().is_some_and(|p| p.1 == Until::Device(ticket));
            if expected { shared.parked.take() } else { None }
        };
        match parked {
            Some((mut zio, _)) => {
                zio.answer = Some(done);
                drop(self);
                Engine::resume(zio);
            }
            None => self.engine.stats().late_answers.add(1),
        }
    }
}
