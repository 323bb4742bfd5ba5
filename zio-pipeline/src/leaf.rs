//! A leaf: one device behind its queue.
//!
//! The queue decides what goes to the device when; this file carries its
//! decisions out. What is at the device is a [`Flight`]. When one lands, the queue hears of
//! it first, so that the device gets its next I/O before this thread turns to
//! the results.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use vdev_queue::{
    Class, Config, ConfigError, Id, Issue, Issues, Kind, Load, PerClass, SharedQueue, Ticket,
};
use zio_core::{
    Buffer, BufferPool, Control, Flags, Geometry, Holding, Priority, Token, Vdev, VdevDone,
    VdevError, VdevErrorKind, VdevId, VdevIo, VdevOp, Zio, ZioType,
};

use crate::builder::LABELS_END_BYTES;
use crate::clock::Clock;
use crate::events::{Event, EventKind, Events, SLOW_IO_NS};
use crate::flight::{Flight, InFlight, pieces_of};
use crate::health::Health;
use crate::stats::{ClassReport, LeafCounters, LeafStats, OpKind};

/// A write in more pieces than data and padding is not merged with others:
/// 512 members at most (see [`vdev_queue::AggregationLimits`]) of two pieces
/// each are what the system takes in one call.
const MERGED_PIECES_MAX: usize = 2;

/// A device of the pool.
pub(crate) struct Leaf {
    place: LeafPlace,
    vdev: Arc<dyn Vdev>,
    geometry: Geometry,
    data_start_bytes: u64,
    data_bytes: u64,
    ashift: u32,
    queue: SharedQueue<VdevIo>,
    clock: Clock,
    buffers: BufferPool,
    /// Those that wait for their next I/O.
    idle_flights: Mutex<Vec<Arc<Flight>>>,
    /// All there are: as many as have ever been at the device at once.
    all_flights: Mutex<Vec<Arc<Flight>>>,
    /// The device said that it has no write cache to flush.
    flush_unsupported: AtomicBool,
    /// I/Os started and not answered; counted for leaves of a mirror only.
    load: AtomicU32,
    health: Health,
    counters: LeafCounters,
    /// Who is told of trouble.
    events: Arc<Events>,
    /// No I/O is started any more.
    closed: AtomicBool,
    /// Flights that were given up and are still with the device.
    orphans: AtomicU32,
}

impl Leaf {
    pub(crate) fn new(
        place: LeafPlace,
        vdev: Arc<dyn Vdev>,
        space: LeafSpace,
        queue: Config,
        clock: Clock,
        buffers: BufferPool,
        events: Arc<Events>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            place,
            geometry: vdev.geometry(),
            vdev,
            data_start_bytes: space.data_start_bytes,
            data_bytes: space.data_bytes,
            ashift: space.ashift,
            queue: SharedQueue::new(queue)?,
            clock,
            buffers,
            idle_flights: Mutex::default(),
            all_flights: Mutex::default(),
            flush_unsupported: AtomicBool::new(false),
            load: AtomicU32::new(0),
            health: Health::default(),
            counters: LeafCounters::default(),
            events,
            closed: AtomicBool::new(false),
            orphans: AtomicU32::new(0),
        })
    }

    pub(crate) fn place(&self) -> LeafPlace {
        self.place
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.geometry.read_only
    }

    /// What it has to do, for the choice between the leaves of a mirror.
    pub(crate) fn load(&self) -> u32 {
        self.load.load(Ordering::Relaxed)
    }

    /// The device has answered an I/O.
    pub(crate) fn answered(&self) {
        if self.place.leaf.is_some() {
            self.load.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Bytes that blocks can stand in.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Where blocks stand, in bytes of the device.
    pub(crate) fn data_area(&self) -> Range<u64> {
        self.data_start_bytes..self.data_start_bytes + self.data_bytes
    }

    /// Where labels stand: before the blocks and behind them.
    pub(crate) fn label_areas(&self) -> [Range<u64>; 2] {
        let Range { start, end } = self.data_area();
        [0..start, end..end + LABELS_END_BYTES]
    }

    pub(crate) fn ashift(&self) -> u32 {
        self.ashift
    }

    /// Unit of allocation and of block I/O.
    pub(crate) fn unit_bytes(&self) -> u64 {
        1 << self.ashift
    }

    /// The units that so many bytes at this offset of the data area stand in: what they are written as.
    pub(crate) fn units(&self, offset_bytes: u64, len_bytes: usize) -> Range<u64> {
        units(offset_bytes, len_bytes, self.unit_bytes())
    }

    pub(crate) fn sector_bytes(&self) -> u64 {
        u64::from(self.geometry.sector_bytes)
    }

    /// Can the device read or write this piece of memory, as part of a whole?
    pub(crate) fn takes_piece(&self, piece: &[u8]) -> bool {
        let (sector, align) = (self.geometry.sector_bytes, self.geometry.memory_align_bytes);
        piece.len().is_multiple_of(sector as usize)
            && piece.as_ptr().addr().is_multiple_of(align as usize)
    }

    pub(crate) fn flush_is_unsupported(&self) -> bool {
        self.flush_unsupported.load(Ordering::Relaxed)
    }

    /// Remembers that the device has nothing to flush.
    pub(crate) fn set_flush_unsupported(&self) {
        self.flush_unsupported.store(true, Ordering::Relaxed);
    }

    /// What it has done so far; `number` is what it is within its vdev.
    pub(crate) fn stats(&self, number: usize) -> LeafStats {
        let queue = self.queue.counters();
        let service_ns = self.health.service_ns();
        let mut stats = LeafStats {
            vdev: self.place.vdev,
            leaf: number,
            errors: self.health.errors().so_far(),
            healed: self.health.heal().so_far(),
            read_ns_smoothed: (service_ns > 0).then_some(service_ns),
            is_dead: self.health.is_dead(),
            missing: self.health.missing(),
            classes: PerClass::from_fn(|class| ClassReport {
                counts: queue.stats(class),
                took: queue.latencies(class),
            }),
            ..LeafStats::default()
        };
        self.counters.tell(&mut stats);
        stats
    }

    /// # Errors
    /// The relation that `config` breaks.
    pub(crate) fn set_queue(self: &Arc<Self>, config: Config) -> Result<(), ConfigError> {
        let issues = self.queue.set_config(config)?;
        self.carry_out(issues, self.clock.now_ns());
        Ok(())
    }

    pub(crate) fn set_load(self: &Arc<Self>, load: Load) {
        self.carry_out(self.queue.set_load(load), self.clock.now_ns());
    }

    /// Says what the queue is to know of a zio's I/O. The client's hand on it, if there is one,
    /// learns where it is going to wait.
    pub(crate) fn announce(self: &Arc<Self>, zio: &mut Zio) -> IoAbout {
        let about = IoAbout::of(zio, self.queue.reserve_id());
        if let Some(control) = &about.control {
            zio.entered = Some(control.enter(Arc::clone(self) as Arc<_>, about.id.number()));
        }
        about
    }

    /// Sends an announced I/O to the device: `op` at the offset of the zio. `token` is whose
    /// answer it is.
    pub(crate) fn start(self: &Arc<Self>, about: &IoAbout, op: VdevOp, token: Token) {
        if self.place.leaf.is_some() {
            self.load.fetch_add(1, Ordering::Relaxed);
        }
        let offset_bytes = match about.physical {
            true => about.offset_bytes,
            false => about.offset_bytes.saturating_add(self.data_start_bytes),
        };
        let io = VdevIo::new(op, offset_bytes, token);
        let changes = OpKind::of(io.op()).changes();
        if changes && self.is_haunted(offset_bytes..offset_bytes.saturating_add(io.len_bytes())) {
            // Two writes to one place, and nobody knows which one comes last.
            let words = "an I/O that was given up may still change this place";
            io.finish(Err(VdevError::msg(VdevErrorKind::TimedOut, words)));
            return;
        }
        let Some((class, kind)) = about.class.zip(about.kind) else {
            self.counters.around_started();
            let io = self.flight().load_alone(self, io, self.clock.now_ns());
            self.depart(io);
            return;
        };
        let request = vdev_queue::Request::new(
            kind,
            class,
            offset_bytes,
            io.len_bytes(),
            vdev_queue::Flags::empty(),
        );
        match request {
            Ok(request) => {
                let request = request.with_flavour(about.flavour);
                let alone = about.alone || pieces_of(io.op()) > MERGED_PIECES_MAX;
                let request = if alone { request.alone() } else { request };
                let (now_ns, mut issues) = (self.clock.now_ns(), Issues::new());
                self.queue.submit_into(about.id, request, io, now_ns, &mut issues);
                self.carry_out(issues, now_ns);
                if let Some(control) = &about.control {
                    self.listen_again(about, (class, kind), control);
                }
                if self.closed.load(Ordering::SeqCst) {
                    self.close(&VdevError::new(VdevErrorKind::Closed));
                }
            }
            Err(error) => {
                io.finish(Err(VdevError::msg(VdevErrorKind::Invalid, error.to_string())));
            }
        }
    }

    /// What the client said while the I/O was on its way into the queue found nothing there.
    fn listen_again(
        self: &Arc<Self>,
        about: &IoAbout,
        (class, kind): (Class, Kind),
        control: &Control,
    ) {
        if control.is_cancelled() {
            Arc::clone(self).cancel(about.id.number());
        } else if let Some(priority) = control.priority()
            && class_of(priority).is_some_and(|asked| asked.fit(kind) != class)
        {
            Arc::clone(self).reprioritise(about.id.number(), priority);
        }
    }

    /// Starts what the queue issued. A device that answers inside `start`
    /// makes the queue issue more; that joins this thread's list instead of
    /// deepening the stack.
    fn carry_out(self: &Arc<Self>, issues: impl IntoIterator<Item = Issue<VdevIo>>, now_ns: u64) {
        ISSUING.with(|list| {
            let Some(_turn) = list.begin() else {
                let waiting = issues.into_iter().map(|issue| (Arc::clone(self), issue, now_ns));
                list.waiting.borrow_mut().extend(waiting);
                return;
            };
            for issue in issues {
                self.take_off(issue, now_ns);
                loop {
                    let next = list.waiting.borrow_mut().pop();
                    match next {
                        Some((leaf, issue, now_ns)) => leaf.take_off(issue, now_ns),
                        None => break,
                    }
                }
            }
        });
    }

    fn take_off(self: &Arc<Self>, issue: Issue<VdevIo>, now_ns: u64) {
        match issue {
            Issue::Io(io) if self.closed.load(Ordering::SeqCst) => {
                for member in io.members {
                    member.payload.finish(Err(VdevError::new(VdevErrorKind::Closed)));
                }
                self.carry_out(self.queue.complete(io.ticket, now_ns), now_ns);
            }
            Issue::Io(io) => {
                let io = self.flight().load(self, io, now_ns);
                self.depart(io);
            }
            Issue::Unneeded(member) => member.payload.finish(Ok(())),
        }
    }

    /// Gives an I/O to the device. Whoever closes the leaf at this moment has not seen it.
    fn depart(&self, io: VdevIo) {
        self.vdev.start(io);
        if self.closed.load(Ordering::SeqCst) {
            self.give_up_flights(u64::MAX, &VdevError::new(VdevErrorKind::Closed));
        }
    }

    /// The device has answered.
    pub(crate) fn land(
        self: &Arc<Self>,
        ticket: Option<Ticket>,
        (kind, len_bytes): (OpKind, u64),
        start_ns: u64,
        done: &VdevDone,
    ) {
        let now_ns = self.clock.now_ns();
        let took_ns = now_ns.saturating_sub(start_ns);
        if self.place.leaf.is_some() && matches!(done.op, Some(VdevOp::Read(_))) {
            self.health.served(took_ns, now_ns);
        }
        if took_ns >= SLOW_IO_NS {
            let (place, took) = (self.place.place(), Duration::from_nanos(took_ns));
            self.post(EventKind::SlowIo, || Event::SlowIo { place, took });
        }
        if let Err(error) = &done.result
            && error.kind() != VdevErrorKind::Unsupported
        {
            self.counters.failed();
        }
        let Some(ticket) = ticket else {
            self.counters.around_ended(kind, len_bytes);
            return;
        };
        let issues = self.queue.complete(ticket, now_ns);
        if !issues.is_empty() {
            self.carry_out(issues, now_ns);
        }
    }

    fn flight(&self) -> Arc<Flight> {
        let idle = self.idle_flights.lock().pop();
        idle.unwrap_or_else(|| {
            let fresh = Arc::new(Flight::default());
            self.all_flights.lock().push(Arc::clone(&fresh));
            fresh
        })
    }

    /// Takes a flight back whose I/O has been answered.
    pub(crate) fn keep(&self, flight: Arc<Flight>) {
        self.idle_flights.lock().push(flight);
    }

    /// Memory for bytes between two reads, which nobody asked for.
    pub(crate) fn gap_buffer(&self, len_bytes: usize) -> Buffer {
        self.buffers.take(len_bytes)
    }

    pub(crate) fn post(&self, kind: EventKind, make: impl FnOnce() -> Event) {
        self.events.post(kind, make);
    }

    /// What a probe has found, or a deadline. News of it are told.
    pub(crate) fn found(&self, readable: bool, writable: bool) {
        let was_dead = self.health.is_dead();
        self.health.found(readable, writable, self.clock.now_ns());
        let place = self.place.place();
        match (was_dead, self.health.is_dead()) {
            (false, true) => self.post(EventKind::LeafDead, || Event::LeafDead { place }),
            (true, false) => self.post(EventKind::LeafAlive, || Event::LeafAlive { place }),
            _ => {}
        }
    }

    /// An I/O of this kind went well.
    pub(crate) fn proved(&self, write: bool) {
        if self.health.proved(write) {
            let place = self.place.place();
            self.post(EventKind::LeafAlive, || Event::LeafAlive { place });
        }
    }

    // -- When the device does not answer. --

    /// What the device has not answered.
    pub(crate) fn in_flight(&self) -> Vec<InFlight> {
        self.all_flights.lock().iter().filter_map(|flight| flight.look()).collect()
    }

    /// Fails the requests whose I/O the device has had since `before_ns`. Returns how many.
    pub(crate) fn give_up_flights(&self, before_ns: u64, error: &VdevError) -> usize {
        let all = self.all_flights.lock().clone();
        all.iter().map(|flight| flight.give_up(before_ns, error)).sum()
    }

    pub(crate) fn orphaned(&self) {
        self.orphans.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn orphan_came_home(&self) {
        self.orphans.fetch_sub(1, Ordering::SeqCst);
    }

    /// Does the device still have I/O that nobody waits for any more?
    pub(crate) fn hangs(&self) -> bool {
        self.orphans.load(Ordering::SeqCst) > 0
    }

    /// May an I/O that was given up still write to this part of the data area?
    pub(crate) fn is_haunted_at(&self, place: &Range<u64>) -> bool {
        let first = self.data_start_bytes;
        self.is_haunted(place.start.saturating_add(first)..place.end.saturating_add(first))
    }

    /// The same for a part of the device.
    fn is_haunted(&self, place: Range<u64>) -> bool {
        let touches = |io: &InFlight| {
            io.given_up
                && io.changes
                && io.offset_bytes < place.end
                && place.start < io.offset_bytes.saturating_add(io.len_bytes)
        };
        self.hangs() && self.in_flight().iter().any(touches)
    }

    /// Fails the requests that have waited in the queue since `before_ns`. Returns how many.
    pub(crate) fn give_up_waiting(self: &Arc<Self>, before_ns: u64, error: &VdevError) -> usize {
        let (waiting, issues) = self.queue.cancel_arrived_until(before_ns);
        let count = waiting.len();
        for member in waiting {
            member.payload.finish(Err(error.clone()));
        }
        self.carry_out(issues, self.clock.now_ns());
        count
    }

    /// May it be written to? Trusted, or it is time to try; not while it hangs.
    pub(crate) fn may_write(&self) -> bool {
        !self.hangs() && self.health.may_write(self.clock.now_ns())
    }

    /// Is it time to try a read, although it is not trusted with reads?
    pub(crate) fn begin_read_trial(&self) -> bool {
        !self.hangs() && self.health.begin_read_trial(self.clock.now_ns())
    }

    /// Fails all its requests, and starts nothing for those that come.
    pub(crate) fn close(self: &Arc<Self>, error: &VdevError) {
        self.closed.store(true, Ordering::SeqCst);
        self.give_up_waiting(u64::MAX, error);
        self.give_up_flights(u64::MAX, error);
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaf")
            .field("place", &self.place)
            .field("vdev", &self.vdev)
            .field("data_bytes", &self.data_bytes)
            .finish_non_exhaustive()
    }
}

impl Holding for Leaf {
    fn cancel(self: Arc<Self>, ticket: u64) {
        let (io, issues) = self.queue.cancel(Id::from_number(ticket));
        if let Some(io) = io {
            io.finish(Err(VdevError::new(VdevErrorKind::Cancelled)));
        }
        self.carry_out(issues, self.clock.now_ns());
    }

    fn reprioritise(self: Arc<Self>, ticket: u64, priority: Priority) {
        // NOW is for what is never queued; this is.
        let Some(class) = class_of(priority) else { return };
        let (_, issues) = self.queue.reprioritise(Id::from_number(ticket), class);
        self.carry_out(issues, self.clock.now_ns());
    }
}

/// The whole units that so many bytes at an offset of the data area stand in.
pub(crate) fn units(offset_bytes: u64, len_bytes: usize, unit_bytes: u64) -> Range<u64> {
    let whole_bytes = (len_bytes as u64).next_multiple_of(unit_bytes);
    offset_bytes..offset_bytes.saturating_add(whole_bytes)
}

/// Which leaf it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafPlace {
    pub(crate) vdev: VdevId,
    /// Number within a mirror; none where the vdev is this one device.
    pub(crate) leaf: Option<u32>,
}

impl LeafPlace {
    /// The same for an error or an event.
    pub(crate) fn place(self) -> zio_core::error::Place {
        let (vdev, leaf) = (Some(self.vdev), self.leaf);
        zio_core::error::Place { vdev, leaf, ..Default::default() }
    }
}

/// Where blocks stand on a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeafSpace {
    pub(crate) data_start_bytes: u64,
    pub(crate) data_bytes: u64,
    pub(crate) ashift: u32,
}

/// What the queue is told about an I/O.
pub(crate) struct IoAbout {
    offset_bytes: u64,
    /// The offset is the device's, not that of its data area.
    physical: bool,
    class: Option<Class>,
    kind: Option<Kind>,
    flavour: u16,
    alone: bool,
    id: Id,
    control: Option<Control>,
}

impl IoAbout {
    /// Of a zio for a device. Priority NOW and DONT_QUEUE go around the queue.
    fn of(zio: &Zio, id: Id) -> Self {
        let around = zio.flags().contains(Flags::DONT_QUEUE);
        let kind = match zio.ty() {
            ZioType::Read => Some(Kind::Read),
            ZioType::Write => Some(Kind::Write),
            ZioType::Trim => Some(Kind::Trim),
            _ => None,
        };
        Self {
            offset_bytes: zio.offset_bytes,
            physical: zio.flags().contains(Flags::PHYSICAL),
            class: if around { None } else { class_of(zio.class().fit(zio.ty())) },
            kind,
            flavour: (zio.flags() & Flags::AGGREGATE_INHERIT).bits() as u16,
            alone: zio.flags().contains(Flags::DONT_AGGREGATE),
            id,
            control: zio.control.clone(),
        }
    }
}

fn class_of(priority: Priority) -> Option<Class> {
    match priority {
        Priority::SyncRead => Some(Class::SyncRead),
        Priority::SyncWrite => Some(Class::SyncWrite),
        Priority::AsyncRead => Some(Class::AsyncRead),
        Priority::AsyncWrite => Some(Class::AsyncWrite),
        Priority::Scrub => Some(Class::Scrub),
        Priority::Removal => Some(Class::Removal),
        Priority::Initializing => Some(Class::Initializing),
        Priority::Trim => Some(Class::Trim),
        Priority::Rebuild => Some(Class::Rebuild),
        Priority::Now => None,
    }
}

/// What a leaf's queue has issued: which leaf's, what, and when.
type Pending = (Arc<Leaf>, Issue<VdevIo>, u64);

/// What this thread still has to hand to devices.
struct Issuing {
    active: Cell<bool>,
    waiting: RefCell<Vec<Pending>>,
}

impl Issuing {
    /// The right to hand over on this thread; `None` while somebody further
    /// up the stack has it.
    fn begin(&self) -> Option<IssuingTurn<'_>> {
        (!self.active.replace(true)).then_some(IssuingTurn(self))
    }
}

/// Given back also when a device panics.
struct IssuingTurn<'a>(&'a Issuing);

impl Drop for IssuingTurn<'_> {
    fn drop(&mut self) {
        self.0.active.set(false);
        if std::thread::panicking() {
            // Nobody else would; dropped, they are answered as lost.
            let left = std::mem::take(&mut *self.0.waiting.borrow_mut());
            drop(left);
        }
    }
}

thread_local! {
    static ISSUING: Issuing =
        const { Issuing { active: Cell::new(false), waiting: RefCell::new(Vec::new()) } };
}
