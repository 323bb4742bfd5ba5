//! The throttle for many threads, and dirty data as a value.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use zio_core::Txg;
use zio_pipeline::{Load, Pipeline};

use super::config::{Config, ConfigError};
use super::throttle::{Push, Throttle, Ticket};

/// A request was not let in, and will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Its owner, or somebody else who had its ticket, did not want it any more.
    #[error("the request was cancelled before its turn came")]
    Cancelled,
    /// Nothing more is let in.
    #[error("no more dirty data is accepted")]
    Closed,
}

/// The dirty data of a pool: who brings some waits here for its turn. See the [module](crate::dirty).
///
/// Clones are the same thing. Nothing waits in here but who [says so](Admission::wait); with a completion of a
/// write, and with everything else that happens, those whose turn has come are let in.
///
/// ```
/// use std::sync::Arc;
/// use pool::dirty::{Config, DirtyData};
/// use zio_pipeline::Pipeline;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("disk");
/// let pipeline = Arc::new(Pipeline::builder().create(&path, 64 << 20).build()?);
/// let dirty_data = DirtyData::new(Config::new(16 << 20), pipeline.txg())?.tell(&pipeline);
///
/// // Writers, any number of threads: admitted first, kept in memory, written later.
/// let mut open = Vec::new();
/// for n in 0..20 {
///     let dirty = dirty_data.admit(8192).wait()?;
///     open.push((vec![n; 8192], dirty));
/// }
///
/// // The thread that syncs, now and then:
/// dirty_data.ask();                                   // or when `push` says so by itself
/// if dirty_data.push().is_some() {
///     dirty_data.close_txg();
///     dirty_data.begin_sync();
///     let group = pipeline.root();
///     for (block, dirty) in open.drain(..) {
///         let write = pipeline.write(&block).under(group.parent());
///         write.nowait(move |_written| drop(dirty));  // not dirty any more
///     }
///     group.wait()?;
///     pipeline.flush().wait()?;
///     pipeline.end_txg();
///     dirty_data.end_sync();
/// }
/// assert_eq!(dirty_data.dirty_bytes(), 0);
/// assert!(dirty_data.drain_bytes_per_s().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DirtyData {
    inner: Arc<Inner>,
}

type Clock = Box<dyn Fn() -> u64 + Send + Sync>;
type Listener = Box<dyn Fn(Load) + Send + Sync>;

struct Inner {
    clock: Clock,
    state: Mutex<State>,
    /// Who hears of the load, and what it was told last.
    listener: Mutex<Option<(Listener, Option<Load>)>>,
    /// Something has changed since.
    untold: AtomicBool,
}

struct State {
    throttle: Throttle,
    /// Whose admissions have not been taken yet.
    places: BTreeMap<Ticket, Place>,
    timekeeper: Option<Timekeeper>,
    closed: bool,
    /// To be woken once the lock is free. A waker is not dropped under it either: it may be the last of something
    /// that holds dirty data.
    to_wake: Vec<Waker>,
}

/// What became of a request.
enum Place {
    Waiting {
        waker: Option<Waker>,
        /// It blocks a thread, which can keep the time.
        blocks: bool,
    },
    Admitted(Txg),
    Cancelled,
}

/// Of all threads that wait one wakes up in time, for the first of the line.
#[derive(Clone, Copy)]
struct Timekeeper {
    ticket: Ticket,
    /// Until then it sleeps.
    until_ns: u64,
}

impl DirtyData {
    /// Nothing is dirty, and `txg` is open. Time is that of the system.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: Config, txg: Txg) -> Result<Self, ConfigError> {
        let start = Instant::now();
        let now_ns = move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Self::with_clock(config, txg, now_ns)
    }

    /// The same with a clock of the caller's, in ns, that never goes backwards. [`Admission::wait`] is for
    /// clocks that go as fast as the system's.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn with_clock(
        config: Config,
        txg: Txg,
        now_ns: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        let throttle = Throttle::new(config, txg, now_ns())?;
        let state = State {
            throttle,
            places: BTreeMap::new(),
            timekeeper: None,
            closed: false,
            to_wake: Vec::new(),
        };
        let inner = Inner {
            clock: Box::new(now_ns),
            state: Mutex::new(state),
            listener: Mutex::new(None),
            untold: AtomicBool::new(false),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Tells the device queues of a pipeline how much there is to be written, whenever that has changed by a
    /// percent: with little, asynchronous writes leave the devices to others (spec 4.3).
    #[must_use]
    pub fn tell(self, pipeline: &Arc<Pipeline>) -> Self {
        let pipeline = Arc::downgrade(pipeline);
        self.on_load(move |load| {
            if let Some(pipeline) = pipeline.upgrade() {
                pipeline.set_load(load);
            }
        })
    }

    /// Tells `listener` instead. Never two at a time.
    #[must_use]
    pub fn on_load(self, listener: impl Fn(Load) + Send + Sync + 'static) -> Self {
        *self.inner.listener.lock() = Some((Box::new(listener), None));
        self
    }

    // -- Requests. --

    /// Asks for room for so many bytes, at the end of the line.
    pub fn admit(&self, bytes: u64) -> Admission {
        let ticket = self.inner.change(|state, now_ns| {
            let ticket = state.throttle.enqueue(bytes, now_ns);
            let place = match state.closed {
                false => Place::Waiting { waker: None, blocks: false },
                true => {
                    state.throttle.cancel(ticket);
                    Place::Cancelled
                }
            };
            state.places.insert(ticket, place);
            ticket
        });
        Admission { inner: Arc::clone(&self.inner), ticket, bytes, over: false }
    }

    /// Takes somebody's place in the line away: it gets [`Refused::Cancelled`]. `false` if it has been let in already.
    pub fn cancel(&self, ticket: Ticket) -> bool {
        self.inner.change(|state, _| state.refuse(ticket))
    }

    /// Lets nobody in any more; who waits gets [`Refused::Closed`]. What is dirty stays so until it is written.
    pub fn close(&self) {
        self.inner.change(|state, _| {
            state.closed = true;
            let all: Vec<_> = state.places.keys().copied().collect();
            for ticket in all {
                state.refuse(ticket);
            }
        });
    }

    /// Lets those in whose time has come: to be called at [`next_ns`](Self::next_ns) by whoever runs futures,
    /// which have no timer of their own. Threads that wait need nobody.
    pub fn turn(&self) {
        self.inner.change(|_, _| ());
    }

    /// When somebody has to be let in, if nothing happens before.
    pub fn next_ns(&self) -> Option<u64> {
        self.inner.state.lock().throttle.next_ns()
    }

    // -- Transaction groups. --

    /// Is the open transaction group to be closed now, and why?
    pub fn push(&self) -> Option<Push> {
        self.inner.look(Throttle::push)
    }

    /// When it will have been open long enough, in ns of the clock.
    pub fn push_ns(&self) -> u64 {
        self.inner.look(|throttle, _| throttle.push_ns())
    }

    /// Somebody waits for what is in the open transaction group; returns its number. It is to be
    /// [pushed](Self::push), and the device queues hurry until it is synced.
    pub fn ask(&self) -> Txg {
        self.inner.change(|state, _| state.throttle.ask())
    }

    /// Closes the open transaction group, which is quiescing then; returns its number. `None` while another one is.
    pub fn close_txg(&self) -> Option<Txg> {
        self.inner.change(|state, now_ns| state.throttle.close_txg(now_ns))
    }

    /// The quiescing transaction group is being written from now on. `None` if there is none, or one is being
    /// written already.
    pub fn begin_sync(&self) -> Option<Txg> {
        self.inner.change(|state, now_ns| state.throttle.begin_sync(now_ns))
    }

    /// The syncing transaction group is durable.
    pub fn end_sync(&self) -> Option<Txg> {
        self.inner.change(|state, now_ns| state.throttle.end_sync(now_ns))
    }

    // -- Looking at it. --

    /// The open transaction group.
    pub fn open_txg(&self) -> Txg {
        self.inner.look(|throttle, _| throttle.open_txg())
    }

    /// Bytes accepted and not yet written.
    pub fn dirty_bytes(&self) -> u64 {
        self.inner.look(|throttle, _| throttle.dirty_bytes())
    }

    /// Requests in the line.
    pub fn waiting(&self) -> usize {
        self.inner.look(|throttle, _| throttle.waiting())
    }

    /// What the devices take, as measured; `None` before they have taken anything.
    pub fn drain_bytes_per_s(&self) -> Option<u64> {
        self.inner.look(Throttle::drain_bytes_per_s)
    }

    /// What the device queues are told.
    pub fn load(&self) -> Load {
        self.inner.look(Throttle::load)
    }
}

impl Inner {
    fn look<R>(&self, of: impl FnOnce(&Throttle, u64) -> R) -> R {
        let state = self.state.lock();
        of(&state.throttle, (self.clock)())
    }

    /// Does something, lets in whose turn has come then, and wakes those who have to know.
    fn change<R>(&self, act: impl FnOnce(&mut State, u64) -> R) -> R {
        let (result, wakers) = {
            let mut state = self.state.lock();
            let now_ns = (self.clock)();
            let result = act(&mut state, now_ns);
            state.let_in(now_ns);
            state.wake_timekeeper();
            (result, std::mem::take(&mut state.to_wake))
        };
        wakers.into_iter().for_each(Waker::wake);
        self.tell();
        result
    }

    /// Tells the load, if it has changed. Whoever comes while another one is telling leaves it to that one, which
    /// may be itself, further up: a device may complete a write right where it is told.
    fn tell(&self) {
        self.untold.store(true, Ordering::SeqCst);
        while self.untold.load(Ordering::SeqCst) {
            let Some(mut listener) = self.listener.try_lock() else { return };
            let Some((listener, told)) = &mut *listener else { return };
            while self.untold.swap(false, Ordering::SeqCst) {
                let load = self.look(Throttle::load);
                if told.is_none_or(|told| differ(told, load)) {
                    *told = Some(load);
                    listener(load);
                }
            }
        }
    }
}

/// By what a queue would notice.
fn differ(one: Load, other: Load) -> bool {
    let percent =
        |load: Load| u128::from(load.dirty_bytes) * 100 / u128::from(load.dirty_bytes_max.max(1));
    one.sync_task_pending != other.sync_task_pending || percent(one) != percent(other)
}

impl State {
    fn let_in(&mut self, now_ns: u64) {
        while let Some(admitted) = self.throttle.poll(now_ns) {
            self.settle(admitted.ticket, Place::Admitted(admitted.txg));
        }
    }

    /// `false` if it does not wait any more.
    fn refuse(&mut self, ticket: Ticket) -> bool {
        let waits = self.throttle.cancel(ticket);
        if waits {
            self.settle(ticket, Place::Cancelled);
        }
        waits
    }

    fn settle(&mut self, ticket: Ticket, place: Place) {
        if let Some(Place::Waiting { waker: Some(waker), .. }) = self.places.insert(ticket, place) {
            self.to_wake.push(waker);
        }
    }

    /// Somebody has to know when the first one's time has come: whoever keeps the time, if that one
    /// sleeps for longer; or another thread, if nobody does.
    fn wake_timekeeper(&mut self) {
        let Some(next_ns) = self.throttle.next_ns() else { return };
        let waker = match self.timekeeper() {
            Some(keeper) if keeper.until_ns <= next_ns => None,
            Some(keeper) => self.places.get(&keeper.ticket).and_then(Place::blocked),
            None => self.places.values().find_map(Place::blocked),
        };
        self.to_wake.extend(waker.cloned());
    }

    /// Unless it has gone.
    fn timekeeper(&self) -> Option<Timekeeper> {
        self.timekeeper
            .filter(|keeper| matches!(self.places.get(&keeper.ticket), Some(Place::Waiting { .. })))
    }

    /// Until when a thread with this place may sleep: it keeps the time, unless somebody else does.
    fn sleeps_until(&mut self, ticket: Ticket) -> Option<u64> {
        if self.timekeeper().is_some_and(|keeper| keeper.ticket != ticket) {
            return None;
        }
        let next_ns = self.throttle.next_ns();
        self.timekeeper = Some(Timekeeper { ticket, until_ns: next_ns.unwrap_or(u64::MAX) });
        next_ns
    }

    /// What has become of it, if it does not wait any more; it is forgotten then. Else whom to wake.
    fn take_or_wait(
        &mut self,
        ticket: Ticket,
        waker: Option<&Waker>,
        blocks: bool,
    ) -> Option<Place> {
        match self.places.remove(&ticket)? {
            Place::Waiting { waker: before, .. } => {
                self.to_wake.extend(
                    before.filter(|before| waker.is_none_or(|waker| !waker.will_wake(before))),
                );
                self.places.insert(ticket, Place::Waiting { waker: waker.cloned(), blocks });
                None
            }
            over => Some(over),
        }
    }
}

impl Place {
    /// Whom to wake, if a thread sleeps in this place.
    fn blocked(&self) -> Option<&Waker> {
        match self {
            Self::Waiting { waker, blocks: true } => waker.as_ref(),
            _ => None,
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A place in the line, made by [`DirtyData::admit`]: wait for it, await it, or look at it now and then. Dropped,
/// it is given up.
#[must_use = "nothing may be made dirty before this says so"]
pub struct Admission {
    inner: Arc<Inner>,
    ticket: Ticket,
    bytes: u64,
    /// Nothing is to be given back.
    over: bool,
}

impl Admission {
    /// To [cancel](DirtyData::cancel) it by, from elsewhere.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Blocks this thread until its turn has come. Not to be called where completions run: they make the room
    /// that it waits for.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn wait(mut self) -> Result<Dirty, Refused> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            if let Some(result) = self.look(Some(&waker), true) {
                return result;
            }
            let inner = &self.inner;
            let until_ns = inner.state.lock().sleeps_until(self.ticket);
            match until_ns.map(|until_ns| until_ns.saturating_sub((inner.clock)())) {
                None => std::thread::park(),
                Some(0) => {}
                Some(ns) => std::thread::park_timeout(Duration::from_nanos(ns)),
            }
        }
    }

    /// What has become of it; `None` while it waits. Not to be called again after anything else.
    pub fn try_take(&mut self) -> Option<Result<Dirty, Refused>> {
        self.look(None, false)
    }

    fn look(&mut self, waker: Option<&Waker>, blocks: bool) -> Option<Result<Dirty, Refused>> {
        if self.over {
            return Some(Err(Refused::Cancelled));
        }
        let ticket = self.ticket;
        let (place, closed) = self.inner.change(|state, now_ns| {
            state.let_in(now_ns);
            (state.take_or_wait(ticket, waker, blocks), state.closed)
        });
        let result = match place? {
            Place::Admitted(txg) => {
                Ok(Dirty { inner: Arc::clone(&self.inner), txg, bytes: self.bytes })
            }
            _ if closed => Err(Refused::Closed),
            _ => Err(Refused::Cancelled),
        };
        self.over = true;
        Some(result)
    }
}

impl Future for Admission {
    type Output = Result<Dirty, Refused>;

    /// Ready as soon as somebody lets it in: a completion, a thread that waits, or
    /// [`DirtyData::turn`].
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.look(Some(cx.waker()), false).map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (ticket, bytes) = (self.ticket, self.bytes);
        self.inner.change(|state, now_ns| {
            state.refuse(ticket);
            if let Some(Place::Admitted(txg)) = state.places.remove(&ticket) {
                state.throttle.end(txg, bytes, now_ns);
            }
        });
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admission({} bytes, {:?})", self.bytes, self.ticket)
    }
}

/// Bytes that were let in and are not written yet. It moves with the data, in parts if need be; dropped,
/// when the write is done or will not be, the bytes are dirty no more.
#[must_use = "dropped at once, it limits nothing"]
pub struct Dirty {
    inner: Arc<Inner>,
    txg: Txg,
    bytes: u64,
}

impl Dirty {
    /// So many.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The transaction group that the data belongs to.
    pub fn txg(&self) -> Txg {
        self.txg
    }

    /// Takes so many bytes out as a value of their own, all of them at most: a block that is written by itself.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { inner: Arc::clone(&self.inner), txg: self.txg, bytes }
    }
}

impl Drop for Dirty {
    fn drop(&mut self) {
        let Self { txg, bytes, .. } = *self;
        if bytes > 0 {
            self.inner.change(|state, now_ns| state.throttle.end(txg, bytes, now_ns));
        }
    }
}

impl fmt::Debug for Dirty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dirty({} bytes of txg {})", self.bytes, self.txg)
    }
}

impl fmt::Debug for DirtyData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.lock();
        f.debug_struct("DirtyData")
            .field("dirty_bytes", &state.throttle.dirty_bytes())
            .field("waiting", &state.throttle.waiting())
            .field("open_txg", &state.throttle.open_txg())
            .finish_non_exhaustive()
    }
}
