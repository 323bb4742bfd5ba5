//! One device queue for many threads.
//!
//! A thread that finds the queue free works in it. A thread that finds it taken does not wait:
//! it leaves its event in the *inbox* and goes on, and the thread inside, the *combiner*, takes
//! the event along before it leaves. So an event is always applied by somebody at once, and the
//! issues that follow from it come out of the call of whoever applied it.
//!
//! ```text
//!  submit ──try──► free ──────────────► apply inbox, own event ► poll ► leave ► look again ─┐
//!             └──► taken ► inbox ► try again ► taken: go on with no issues       ▲          │
//!                                              free: ────────────────────────────┴──────────┘
//! ```
//!
//! **Why nothing is left lying.** A thread raises the inbox's flag and then tries the lock; a
//! combiner lets the lock go and then reads the flag. Both touch the flag by a read-modify-write,
//! and these have one order: if the combiner's came first, the thread's has seen it, and with it
//! that the lock is free; if it came second, it has seen the flag.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use crate::class::{Class, PerClass};
use crate::config::{Config, ConfigError};
use crate::issue::{Issue, Member, Ticket};
use crate::load::Load;
use crate::queue::{Queue, Reprioritised};
use crate::request::{Id, Request};
use crate::stats::{ClassStats, Counters};
use crate::sync::{AtomicBool, AtomicU64, Guard, Lock};

/// What the caller has to carry out, in order. Few without the heap.
///
/// It may be empty although something was submitted, and may hold other threads' requests.
pub type Issues<T> = SmallVec<[Issue<T>; 2]>;

/// Something that happened, for [`SharedQueue::apply`].
#[derive(Debug)]
pub enum Event<T> {
    /// A request arrived.
    Submit {
        /// From [`SharedQueue::reserve_id`].
        id: Id,
        /// What is asked.
        request: Request,
        /// The caller's.
        payload: T,
        /// When.
        now_ns: u64,
    },
    /// The device finished an I/O.
    Complete {
        /// The I/O's.
        ticket: Ticket,
        /// When.
        now_ns: u64,
    },
}

/// A [`Queue`] shared by threads. Every call returns what is to be issued and never calls out;
/// [`submit`](Self::submit) and [`complete`](Self::complete) never wait for another thread's
/// turn in the queue.
#[derive(Debug)]
pub struct SharedQueue<T> {
    core: Lock<Core<T>>,
    inbox: Inbox<T>,
    counters: Arc<Counters>,
    next_id: Apart<AtomicU64>,
}

/// On cache lines of its own: what other threads write does not slow its readers down.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<V>(V);

#[derive(Debug)]
#[repr(align(128))]
struct Inbox<T> {
    /// True if `events` may hold something that nobody has taken. Raised after `events` was
    /// filled, lowered before it is emptied.
    is_filled: AtomicBool,
    events: Lock<Vec<Event<T>>>,
}

#[derive(Debug)]
struct Core<T> {
    queue: Queue<T>,
    /// Changes places with the inbox, so both keep their memory.
    taken: Vec<Event<T>>,
}

impl<T> SharedQueue<T> {
    /// An empty queue.
    ///
    /// # Errors
    /// The relation that `config` breaks.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let queue = Queue::new(config)?;
        Ok(Self {
            counters: Arc::clone(queue.counters()),
            core: Lock::new(Core { queue, taken: Vec::new() }),
            inbox: Inbox { is_filled: AtomicBool::new(false), events: Lock::new(Vec::new()) },
            next_id: Apart(AtomicU64::new(0)),
        })
    }

    /// A name for a request that is to be submitted with [`submit_as`](Self::submit_as). It is
    /// made before, because afterwards the payload, which has to remember it, is gone.
    pub fn reserve_id(&self) -> Id {
        Id(self.next_id.0.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a request in.
    #[must_use = "these I/Os are not carried out by themselves"]
    pub fn submit(&self, request: Request, payload: T, now_ns: u64) -> Issues<T> {
        self.submit_as(self.reserve_id(), request, payload, now_ns)
    }

    /// Takes a request in under a name from [`reserve_id`](Self::reserve_id), by which it can
    /// be cancelled or re-prioritised. A name serves once.
    #[must_use = "these I/Os are not carried out by themselves"]
    pub fn submit_as(&self, id: Id, request: Request, payload: T, now_ns: u64) -> Issues<T> {
        let mut issues = Issues::new();
        self.submit_into(id, request, payload, now_ns, &mut issues);
        issues
    }

    /// The same as [`submit_as`](Self::submit_as) with room of the caller's for what is to be
    /// carried out: it is added to `issues`, and need not be moved.
    pub fn submit_into(
        &self,
        id: Id,
        request: Request,
        payload: T,
        now_ns: u64,
        issues: &mut Issues<T>,
    ) {
        if let Some(mut core) = self.core.try_lock() {
            self.take_inbox(&mut core, issues);
            core.submit(id, request, payload, now_ns, issues);
            drop(core);
            self.leave_turn(issues);
        } else {
            self.leave_events([Event::Submit { id, request, payload, now_ns }], issues);
        }
    }

    /// Takes the report that the device has finished an I/O.
    #[must_use = "these I/Os are not carried out by themselves"]
    pub fn complete(&self, ticket: Ticket, now_ns: u64) -> Issues<T> {
        let mut issues = Issues::new();
        if let Some(mut core) = self.core.try_lock() {
            self.take_inbox(&mut core, &mut issues);
            core.complete(ticket, now_ns, &mut issues);
            drop(core);
            self.leave_turn(&mut issues);
        } else {
            self.leave_events([Event::Complete { ticket, now_ns }], &mut issues);
        }
        issues
    }

    /// Takes many events in, in order, in one turn: what a thread does that reaped a batch.
    /// `events` is left empty and keeps its memory.
    #[must_use = "these I/Os are not carried out by themselves"]
    pub fn apply(&self, events: &mut Vec<Event<T>>) -> Issues<T> {
        let mut issues = Issues::new();
        self.apply_into(events, &mut issues);
        issues
    }

    /// The same as [`apply`](Self::apply), adding to `issues`.
    pub fn apply_into(&self, events: &mut Vec<Event<T>>, issues: &mut Issues<T>) {
        if events.is_empty() && !self.inbox.is_filled.load(Ordering::Relaxed) {
            return;
        }
        if let Some(mut core) = self.core.try_lock() {
            self.take_inbox(&mut core, issues);
            core.apply(events, issues);
            drop(core);
            self.leave_turn(issues);
        } else {
            self.leave_events(events.drain(..), issues);
        }
    }

    /// Takes a queued request back; see [`Queue::cancel`]. Waits for its turn.
    #[must_use = "these I/Os are not carried out by themselves"]
    pub fn cancel(&self, id: Id) -> (Option<T>, Issues<T>) {
        self.in_turn(|queue| queue.cancel(id))
    }

    /// Takes all queued requests back; see [`Queue::cancel_all`]. Waits for its turn.
    #[must_use = "these I/Os are not carried out by themselves"]
    pub fn cancel_all(&self) -> (Vec<Member<T>>, Issues<T>) {
        self.in_turn(Queue::cancel_all)
    }

    /// Takes the requests back that have waited since `until_ns`; see
    /// [`Queue::cancel_arrived_until`]. Waits for its turn.
    #[must_use = "these I/Os are not carried out by themselves"]
    pub fn cancel_arrived_until(&self, until_ns: u64) -> (Vec<Member<T>>, Issues<T>) {
        self.in_turn(|queue| queue.cancel_arrived_until(until_ns))
    }

    /// Moves a queued request to another class; see [`Queue::reprioritise`]. Waits for its turn.
    #[must_use = "these I/Os are not carried out by themselves"]
    pub fn reprioritise(&self, id: Id, class: Class) -> (Reprioritised, Issues<T>) {
        self.in_turn(|queue| queue.reprioritise(id, class))
    }

    /// Tells the present load; see [`Queue::set_load`]. Waits for its turn.
    #[must_use = "these I/Os are not carried out by themselves"]
    pub fn set_load(&self, load: Load) -> Issues<T> {
        self.in_turn(|queue| queue.set_load(load)).1
    }

    /// Takes new settings; see [`Queue::set_config`]. Waits for its turn.
    ///
    /// # Errors
    /// The relation that `config` breaks; the old settings then stay.
    pub fn set_config(&self, config: Config) -> Result<Issues<T>, ConfigError> {
        config.validate()?;
        let (result, issues) = self.in_turn(|queue| queue.set_config(config));
        result.map(|()| issues)
    }

    /// Counters and latencies of all classes as they are, without a turn: nobody waits, and no
    /// I/Os come out. A request that lies in the inbox is not counted yet.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Counters of all classes at one moment. Waits for its turn, and like every turn may
    /// find events in the inbox and issues to be carried out.
    #[must_use = "these I/Os are not carried out by themselves"]
    pub fn stats(&self) -> (PerClass<ClassStats>, Issues<T>) {
        self.in_turn(|queue| PerClass::from_fn(|class| queue.stats(class)))
    }
}

impl<T> SharedQueue<T> {
    /// The way in for what is rare and wants an answer.
    fn in_turn<R>(&self, step: impl FnOnce(&mut Queue<T>) -> R) -> (R, Issues<T>) {
        let mut issues = Issues::new();
        let mut core = self.core.lock();
        self.take_inbox(&mut core, &mut issues);
        let answer = step(&mut core.queue);
        core.poll(&mut issues);
        drop(core);
        self.leave_turn(&mut issues);
        (answer, issues)
    }

    /// To be called after each turn, when the queue is free again.
    fn leave_turn(&self, issues: &mut Issues<T>) {
        if self.inbox.is_filled.fetch_or(false, Ordering::AcqRel) {
            self.help(issues);
        }
    }

    /// Leaves events with whoever is inside, and sees to it that they are not left lying.
    fn leave_events(&self, new: impl IntoIterator<Item = Event<T>>, issues: &mut Issues<T>) {
        self.inbox.events.lock().extend(new);
        self.inbox.is_filled.swap(true, Ordering::AcqRel);
        self.help(issues);
    }

    /// Takes the inbox along, if nobody else is there to do it.
    fn help(&self, issues: &mut Issues<T>) {
        loop {
            let Some(mut core) = self.core.try_lock() else {
                return;
            };
            self.take_inbox(&mut core, issues);
            drop(core);
            if !self.inbox.is_filled.fetch_or(false, Ordering::AcqRel) {
                return;
            }
        }
    }

    fn take_inbox(&self, core: &mut Guard<'_, Core<T>>, issues: &mut Issues<T>) {
        if !self.inbox.is_filled.load(Ordering::Relaxed) {
            return;
        }
        // The flag first: what arrives from now on raises it again. A read-modify-write, so that
        // the one order of all of them is not broken.
        self.inbox.is_filled.swap(false, Ordering::AcqRel);
        let mut taken = std::mem::take(&mut core.taken);
        std::mem::swap(&mut *self.inbox.events.lock(), &mut taken);
        core.apply(&mut taken, issues);
        core.taken = taken;
    }
}

impl<T> Core<T> {
    fn submit(
        &mut self,
        id: Id,
        request: Request,
        payload: T,
        now_ns: u64,
        issues: &mut Issues<T>,
    ) {
        if self.queue.may_bypass(&request) {
            issues.push(self.queue.bypass_as(id, request, payload, now_ns));
        } else {
            self.queue.enqueue_as(id, request, payload, now_ns);
            self.poll(issues);
        }
    }

    fn complete(&mut self, ticket: Ticket, now_ns: u64, issues: &mut Issues<T>) {
        self.queue.complete(ticket, now_ns);
        self.poll(issues);
    }

    /// All events first, then the choice among all of them.
    fn apply(&mut self, events: &mut Vec<Event<T>>, issues: &mut Issues<T>) {
        let mut events = events.drain(..);
        while let Some(event) = events.next() {
            match event {
                Event::Submit { id, request, payload, now_ns } if events.len() == 0 => {
                    return self.submit(id, request, payload, now_ns, issues);
                }
                Event::Submit { id, request, payload, now_ns } => {
                    self.queue.enqueue_as(id, request, payload, now_ns);
                }
                Event::Complete { ticket, now_ns } => self.queue.complete(ticket, now_ns),
            }
        }
        self.poll(issues);
    }

    fn poll(&mut self, issues: &mut Issues<T>) {
        // The clock stays where the last event put it.
        while let Some(issue) = self.queue.poll_issue(0) {
            issues.push(issue);
        }
    }
}
