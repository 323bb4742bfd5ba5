//! The throttle for many threads.

use std::fmt;
use std::sync::Arc;

use zio_core::Txg;
use zio_pipeline::{Load, Pipeline};

use super::admission::Admission;
use super::config::{Config, ConfigError};
use super::line::{Inner, Place};
use super::sync::Instant;
use super::throttle::{Push, Throttle, Ticket};

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
        Ok(Self { inner: Arc::new(Inner::new(throttle, Box::new(now_ns))) })
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
        Admission::new(Arc::clone(&self.inner), ticket, bytes)
    }

    /// Takes somebody's place in the line away: it gets [`Refused::Cancelled`](crate::dirty::Refused::Cancelled). `false` if it has been let in already.
    pub fn cancel(&self, ticket: Ticket) -> bool {
        self.inner.change(|state, _| state.refuse(ticket))
    }

    /// Lets nobody in any more; who waits gets [`Refused::Closed`](crate::dirty::Refused::Closed). What is dirty stays so until it is written.
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
