//! The queue itself.

use std::sync::Arc;

use slab::Slab;
use smallvec::smallvec;

use crate::aggregate;
use crate::arrivals::Arrivals;
use crate::class::{Class, ClassSet, Order, PerClass};
use crate::config::{Aggregation, Config, ConfigError, HeadPosition};
use crate::issue::{DeviceIo, Issue, Member, Members, Ticket};
use crate::load::Load;
use crate::queued::Queued;
use crate::request::{Flags, Id, Request};
use crate::slots::{Choice, Slots};
use crate::stats::{ClassStats, Counters};
use crate::sweep::{Entry, Key, Place, Sweep};

/// The I/O scheduler of one device.
///
/// Inputs:
///
/// 1. [`enqueue`](Self::enqueue) (or [`try_bypass`](Self::try_bypass)) when a request arrives,
/// 2. [`complete`](Self::complete) when the device has finished an I/O,
/// 3. [`cancel`](Self::cancel), [`reprioritise`](Self::reprioritise) while a request is queued,
/// 4. [`set_load`](Self::set_load), [`set_config`](Self::set_config) now and then.
///
/// Output: after each input, [`poll_issue`](Self::poll_issue) until it returns `None`. Then
/// nothing that may be issued is left in the queue, and nothing becomes issuable before the next
/// input: time alone never does it, so there is no timer to keep.
///
/// `now_ns` is any clock that does not run backwards; where it does (stamps taken by several
/// threads), the latest time seen so far is used instead.
#[derive(Debug)]
pub struct Queue<T> {
    config: Config,
    load: Load,
    slots: Slots,
    queued: Slab<Queued<T>>,
    arrivals: PerClass<Arrivals>,
    /// Used by the classes of [`Order::Offset`].
    sweeps: PerClass<Sweep>,
    /// Classes with something queued.
    waiting: ClassSet,
    /// Where the elevator stands.
    last_offset_bytes: u64,
    next_id: u64,
    now_ns: u64,
    /// Nothing is overdue before; may be too early.
    next_deadline_ns: u64,
    counters: Arc<Counters>,
}

/// What [`Queue::reprioritise`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reprioritised {
    /// The request now waits in another class, with its age.
    Moved {
        /// The class it left.
        from: Class,
        /// The class it is in: the one asked for, fitted to the kind of the request.
        to: Class,
    },
    /// It waits, and was in that class already.
    Unchanged,
    /// It does not wait here: issued, cancelled, or never enqueued.
    NotQueued,
}

impl<T> Queue<T> {
    /// An empty queue.
    ///
    /// # Errors
    /// The relation that `config` breaks.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let load = Load::default();
        Ok(Self {
            slots: Slots::new(&config, load),
            config,
            load,
            queued: Slab::new(),
            arrivals: PerClass::default(),
            sweeps: PerClass::default(),
            waiting: ClassSet::default(),
            last_offset_bytes: 0,
            next_id: 0,
            now_ns: 0,
            next_deadline_ns: u64::MAX,
            counters: Arc::new(Counters::new()),
        })
    }

    /// Takes a request in. It stays until [`poll_issue`](Self::poll_issue) hands it out or
    /// [`cancel`](Self::cancel) takes it back.
    pub fn enqueue(&mut self, request: Request, payload: T, now_ns: u64) -> Id {
        let id = self.draw_id();
        self.enqueue_as(id, request, payload, now_ns);
        id
    }

    /// The same as `enqueue` followed by `poll_issue`, where that would hand out this very
    /// request at once: nothing else is queued and the limits allow it. It costs a few
    /// comparisons, and the I/O is counted like any other.
    ///
    /// # Errors
    /// Hands the payload back where the request has to be enqueued.
    pub fn try_bypass(&mut self, request: Request, payload: T, now_ns: u64) -> Result<Issue<T>, T> {
        if !self.may_bypass(&request) {
            return Err(payload);
        }
        let id = self.draw_id();
        Ok(self.bypass_as(id, request, payload, now_ns))
    }

    /// The next thing to do, if there is one. To be called until `None`.
    pub fn poll_issue(&mut self, now_ns: u64) -> Option<Issue<T>> {
        if self.waiting.is_empty() {
            return None;
        }
        self.advance(now_ns);
        let choice = self.choose()?;
        let class = choice.class;
        let members = match class.order() {
            Order::Arrival => {
                let (slot, _) = self.arrivals[class].oldest()?;
                smallvec![self.take(slot)]
            }
            Order::Offset => {
                let place = self.pick(choice)?;
                self.take_run(class, place)
            }
        };
        Some(self.issue(choice, members))
    }

    /// Takes the report that the device has finished an I/O of this queue, well or badly.
    pub fn complete(&mut self, ticket: Ticket, now_ns: u64) {
        self.advance(now_ns);
        let something_waits = !self.waiting.is_empty();
        self.slots.measure(&self.config, self.now_ns, ticket.len_bytes, something_waits);
        let since = |ns: u64| self.now_ns.saturating_sub(ns);
        let (service_ns, total_ns) = (since(ticket.issued_ns), since(ticket.enqueued_ns));
        self.slots.completed(&self.config, ticket.class, ticket.alone_mark, service_ns);
        let counters = self.counters.of(ticket.class);
        counters.completed(ticket.kind, ticket.len_bytes, service_ns, total_ns);
    }

    /// Takes a queued request back. `None`: it is not queued (any more); if it was issued, the
    /// device will answer.
    pub fn cancel(&mut self, id: Id) -> Option<T> {
        let slot = self.find(id)?;
        let member = self.take(slot);
        self.counters.of(member.request.class()).cancelled_total.add(1);
        Some(member.payload)
    }

    /// Takes all queued requests back, oldest first. What is at the device stays there.
    pub fn cancel_all(&mut self) -> Vec<Member<T>> {
        self.cancel_arrived_until(u64::MAX)
    }

    /// Takes the queued requests back that arrived at `until_ns` or before, oldest first: the
    /// device does not seem to get to them.
    pub fn cancel_arrived_until(&mut self, until_ns: u64) -> Vec<Member<T>> {
        let all = Class::ALL.iter().flat_map(|&class| self.arrivals[class].slots());
        let mut slots: Vec<u32> =
            all.filter(|&slot| self.queued[slot as usize].arrived_ns <= until_ns).collect();
        slots.sort_unstable_by_key(|&slot| self.queued[slot as usize].id);
        let members: Vec<_> = slots.into_iter().map(|slot| self.take(slot)).collect();
        for member in &members {
            self.counters.of(member.request.class()).cancelled_total.add(1);
        }
        members
    }

    /// Moves a queued request to another class, or to the nearest that fits its kind (see
    /// [`Class::fit`]). It keeps its age.
    pub fn reprioritise(&mut self, id: Id, class: Class) -> Reprioritised {
        let Some(slot) = self.find(id) else {
            return Reprioritised::NotQueued;
        };
        let request = self.queued[slot as usize].request;
        let (from, to) = (request.class(), class.fit(request.kind()));
        if from == to {
            return Reprioritised::Unchanged;
        }
        self.unlink(slot);
        self.queued[slot as usize].request = request.reclassified(to);
        self.link(slot);
        Reprioritised::Moved { from, to }
    }

    /// Takes the present load into account, from the next choice on.
    pub fn set_load(&mut self, load: Load) {
        self.load = load;
        self.slots.adjust(&self.config, load);
    }

    /// Takes new settings, from the next choice on. What is at the device stays there, even
    /// above a lowered limit.
    ///
    /// # Errors
    /// The relation that `config` breaks; the old settings then stay.
    pub fn set_config(&mut self, config: Config) -> Result<(), ConfigError> {
        config.validate()?;
        let batches_changed = config.elevator.batch_ns_log2 != self.config.elevator.batch_ns_log2;
        self.config = config;
        self.slots.adjust(&self.config, self.load);
        self.next_deadline_ns = 0;
        if batches_changed {
            self.sort_again();
        }
        Ok(())
    }

    /// The settings in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The load last told.
    pub fn load(&self) -> Load {
        self.load
    }

    /// Requests waiting.
    pub fn len(&self) -> usize {
        self.queued.len()
    }

    /// True if nothing waits. Something may be at the device.
    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// I/Os at the device.
    pub fn active(&self) -> u32 {
        self.slots.active_total()
    }

    /// I/Os of `class` that may be at the device under the present load and company.
    pub fn active_max(&self, class: Class) -> u32 {
        self.slots.max_now(&self.config, self.waiting, class)
    }

    /// I/Os that may be at the device now, all classes together: the setting, or what was found
    /// by measuring (see [`Depth`](crate::Depth)).
    pub fn depth(&self) -> u32 {
        self.slots.depth()
    }

    /// Counters of one class.
    pub fn stats(&self, class: Class) -> ClassStats {
        self.counters.stats(class)
    }

    /// The counters of all classes. Another thread may keep them and read them while this one
    /// works with the queue.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }
}

/// The steps, also used by the queue for many submitters.
impl<T> Queue<T> {
    pub(crate) fn enqueue_as(&mut self, id: Id, request: Request, payload: T, now_ns: u64) {
        self.advance(now_ns);
        self.counters.of(request.class()).enqueued_total.add(1);
        let slot = self.queued.insert(Queued { id, request, arrived_ns: self.now_ns, payload });
        // A slab of 2^32 requests would fill 200 GiB.
        self.link(slot as u32);
    }

    pub(crate) fn may_bypass(&self, request: &Request) -> bool {
        self.waiting.is_empty()
            && self.slots.has_room(&self.config, request.class())
            && !request.flags().contains(Flags::NODATA)
    }

    pub(crate) fn bypass_as(
        &mut self,
        id: Id,
        request: Request,
        payload: T,
        now_ns: u64,
    ) -> Issue<T> {
        self.advance(now_ns);
        self.counters.of(request.class()).enqueued_total.add(1);
        let now_ns = self.now_ns;
        self.counters.of(request.class()).waited(0);
        let members = smallvec![Member { id, request, enqueued_ns: now_ns, payload }];
        let choice = Choice { class: request.class(), overdue: false };
        Issue::Io(self.send(choice, &request, request.end_bytes(), now_ns, members))
    }

    fn draw_id(&mut self) -> Id {
        let id = Id(self.next_id);
        self.next_id += 1;
        id
    }

    fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    fn choose(&mut self) -> Option<Choice> {
        let mut overdue = ClassSet::default();
        if self.now_ns >= self.next_deadline_ns {
            self.next_deadline_ns = u64::MAX;
            for class in self.waiting.iter() {
                let deadline_ns = self.deadline_ns(class).unwrap_or(u64::MAX);
                self.next_deadline_ns = self.next_deadline_ns.min(deadline_ns);
                if self.now_ns >= deadline_ns {
                    overdue.insert(class);
                }
            }
        }
        self.slots.choose(&self.config, self.waiting, overdue)
    }

    /// When the oldest request of a class is overdue; `None`: never.
    fn deadline_ns(&self, class: Class) -> Option<u64> {
        let (_, arrived_ns) = self.arrivals[class].oldest()?;
        Some(arrived_ns.saturating_add(self.config.classes[class].deadline_ns?))
    }

    /// The request of an offset-ordered class whose turn it is.
    fn pick(&self, choice: Choice) -> Option<Place> {
        let class = choice.class;
        let sweep = &self.sweeps[class];
        let batch_ns_log2 = self.config.elevator.batch_ns_log2;
        if choice.overdue && batch_ns_log2.is_none() {
            // One endless sweep could pass by the oldest for ever.
            let (slot, _) = self.arrivals[class].oldest()?;
            return sweep.seek(self.queued[slot as usize].sweep_key(None)?);
        }
        let first = sweep.first()?;
        let batch = sweep.get(first).key.batch;
        let ahead = match self.config.elevator.head {
            HeadPosition::EndOfLast => Some(self.last_offset_bytes),
            HeadPosition::StartOfLast => self.last_offset_bytes.checked_add(1),
        };
        let ahead = ahead
            .and_then(|offset_bytes| sweep.seek(Key { batch, offset_bytes, id: 0 }))
            .filter(|&place| sweep.get(place).key.batch == batch);
        Some(ahead.unwrap_or(first))
    }

    /// Takes the picked request out, and the neighbours that go with it.
    fn take_run(&mut self, class: Class, picked: Place) -> Members<T> {
        let sweep = &self.sweeps[class];
        let slot = sweep.get(picked).slot;
        let Aggregation::On(limits) = self.config.aggregation else {
            return smallvec![self.take_at(picked, slot)];
        };
        let run = aggregate::find_run(sweep, &self.queued, limits, picked);
        if let Some(obliged) = run.obliged_slot {
            self.queued[obliged as usize].request.set_mandatory();
        }
        if run.members == 1 {
            return smallvec![self.take_at(picked, slot)];
        }
        let first = sweep.get(run.first).key;
        let mut members = Members::with_capacity(run.members);
        while members.len() < run.members
            && let Some(place) = self.sweeps[class].seek(first)
        {
            let slot = self.sweeps[class].get(place).slot;
            members.push(self.take_at(place, slot));
        }
        members
    }

    fn issue(&mut self, choice: Choice, mut members: Members<T>) -> Issue<T> {
        let counters = self.counters.of(choice.class);
        let (first, end_bytes) = match members.as_slice() {
            [only] if only.request.flags().contains(Flags::NODATA) => {
                counters.unneeded_total.add(1);
                return Issue::Unneeded(members.remove(0));
            }
            [first, .., last] => (first.request, last.request.end_bytes()),
            [only] => (only.request, only.request.end_bytes()),
            [] => unreachable!("an issue has the picked request at least"),
        };
        let mut enqueued_ns = u64::MAX;
        for member in &members {
            enqueued_ns = enqueued_ns.min(member.enqueued_ns);
            counters.waited(self.now_ns.saturating_sub(member.enqueued_ns));
        }
        Issue::Io(self.send(choice, &first, end_bytes, enqueued_ns, members))
    }

    /// Hands an I/O out that begins with `first`, the request of its first member.
    fn send(
        &mut self,
        choice: Choice,
        first: &Request,
        end_bytes: u64,
        enqueued_ns: u64,
        members: Members<T>,
    ) -> DeviceIo<T> {
        self.slots.issued(choice);
        let alone_mark = self.slots.alone_mark();
        self.counters.of(choice.class).issued(members.len());
        let (offset_bytes, class, kind) = (first.offset_bytes(), choice.class, first.kind());
        self.last_offset_bytes = match self.config.elevator.head {
            HeadPosition::StartOfLast => offset_bytes,
            HeadPosition::EndOfLast => end_bytes,
        };
        let len_bytes = end_bytes - offset_bytes;
        DeviceIo {
            ticket: Ticket {
                class,
                kind,
                enqueued_ns,
                issued_ns: self.now_ns,
                len_bytes,
                alone_mark,
            },
            kind,
            offset_bytes,
            len_bytes,
            members,
        }
    }

    fn find(&self, id: Id) -> Option<u32> {
        self.waiting.iter().find_map(|class| self.arrivals[class].find(id.0))
    }

    /// Enters the request of `slot` into the order of its class.
    fn link(&mut self, slot: u32) {
        let queued = &self.queued[slot as usize];
        let class = queued.class();
        self.arrivals[class].insert(queued.id.0, queued.arrived_ns, slot);
        if let Some(age_ns) = self.config.classes[class].deadline_ns {
            let deadline_ns = queued.arrived_ns.saturating_add(age_ns);
            self.next_deadline_ns = self.next_deadline_ns.min(deadline_ns);
        }
        if let Some(key) = queued.sweep_key(self.config.elevator.batch_ns_log2) {
            self.sweeps[class].insert(Entry { key, slot });
        }
        self.waiting.insert(class);
        self.counters.of(class).queued.add(1);
    }

    /// The reverse of `link`.
    fn unlink(&mut self, slot: u32) {
        let queued = &self.queued[slot as usize];
        let class = queued.class();
        if let Some(key) = queued.sweep_key(self.config.elevator.batch_ns_log2)
            && let Some(place) = self.sweeps[class].seek(key)
        {
            self.sweeps[class].remove(place);
        }
        self.unlink_arrival(class, slot);
    }

    fn unlink_arrival(&mut self, class: Class, slot: u32) {
        self.arrivals[class].remove(self.queued[slot as usize].id.0);
        self.counters.of(class).queued.subtract(1);
        if self.arrivals[class].is_empty() {
            self.waiting.remove(class);
        }
    }

    fn take(&mut self, slot: u32) -> Member<T> {
        self.unlink(slot);
        self.queued.remove(slot as usize).into_member()
    }

    /// `take` where the place in the sweep is known.
    fn take_at(&mut self, place: Place, slot: u32) -> Member<T> {
        let class = self.queued[slot as usize].class();
        self.sweeps[class].remove(place);
        self.unlink_arrival(class, slot);
        self.queued.remove(slot as usize).into_member()
    }

    fn sort_again(&mut self) {
        for class in Class::ALL {
            let sweep = &mut self.sweeps[class];
            sweep.clear();
            for slot in self.arrivals[class].slots() {
                let queued = &self.queued[slot as usize];
                if let Some(key) = queued.sweep_key(self.config.elevator.batch_ns_log2) {
                    sweep.insert(Entry { key, slot });
                }
            }
        }
    }
}
