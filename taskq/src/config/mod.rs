//! What a set of queues looks like: [`Config`], the table of spec 5.2 as data.

mod lane;
mod mode;
mod name;
mod plan;

use std::sync::Arc;
use std::{fmt, thread};

use zio_core::{QueueKind, Route, ZioType};

use crate::clock::{Clock, ManualClock};
use crate::trouble::{Report, Trouble};

pub use lane::{Background, Lane};
pub use mode::{Mode, Threads};
pub(crate) use name::plain_name;
pub(crate) use plan::{Plan, ShardPlan};

/// A table of queues, one cell for each type and kind, and what all of them share.
///
/// A cell with [`Mode::Null`] has no queue; its tasks go to the nearest one that exists, tried in
/// this order:
///
/// 1. urgent kinds: the plain kind of the same side (issue, interrupt) and type, **at the front**;
/// 2. plain kinds: the urgent kind of the same side and type;
/// 3. the same side of the null type, by the same two rules;
/// 4. the other side of the same type, then of the null type, by the same rules;
/// 5. the first queue of the table; and where the table is empty, the dispatching thread.
///
/// A queue of the interrupt side that has to serve tasks of an issue kind reports itself as an
/// issue queue (`on_worker`): otherwise a pipeline that moves work from interrupt to issue
/// workers would move it in a circle. For the same reason the [`Background`] lane, to which tasks
/// of background classes go before any of these rules, says issue.
///
/// ```
/// use taskq::{Config, Mode, Threads};
/// use zio_core::{QueueKind, ZioType};
///
/// let config = Config::zfs(16).queue(ZioType::Free, QueueKind::Issue, Mode::Percent(50));
/// let reads = config.threads(ZioType::Read, QueueKind::Interrupt);
/// assert_eq!(reads, Some(Threads { queues: 3, threads: 4 }));
/// ```
#[derive(Clone)]
pub struct Config {
    name: String,
    /// One queue for everything is named by the set alone.
    plain: bool,
    cpus: usize,
    table: [[Mode; QueueKind::COUNT]; ZioType::COUNT],
    background: Option<Background>,
    spin_rounds_max: u32,
    stack_bytes: Option<usize>,
    clock: Clock,
    report: Report,
}

const ONE: Mode = Mode::Fixed { threads: 1, queues: 1 };

/// Twelve threads in each of eight queues.
const WIDE: Mode = Mode::Fixed { threads: 12, queues: 8 };
const FIVE: Mode = Mode::Fixed { threads: 5, queues: 1 };

impl Config {
    /// No queues at all, for a machine of `cpus` CPUs: the start of a table of one's own.
    pub fn empty(cpus: usize) -> Self {
        Self {
            name: "zio".to_owned(),
            plain: false,
            cpus: cpus.max(1),
            table: [[Mode::Null; QueueKind::COUNT]; ZioType::COUNT],
            background: None,
            spin_rounds_max: 0,
            stack_bytes: None,
            clock: Clock::default(),
            report: Report::default(),
        }
    }

    /// The table of spec 5.2 in its later, scaled form: what a server with many CPUs and many
    /// disks uses.
    ///
    /// | type | issue | issue, high | interrupt | interrupt, high |
    /// |---|---|---|---|---|
    /// | null | 1 | – | 1 | – |
    /// | read | 8 | – | scale | – |
    /// | write | sync | – | scale | – |
    /// | free | scale, at least 32 | – | 1 | – |
    /// | claim | 1 | – | 1 | – |
    /// | ioctl | 1 | – | 1 | – |
    /// | trim | 4 | – | 1 | – |
    ///
    /// The number of allocators is cpus/4, between 1 and 4. There is a [`Background`] lane.
    pub fn zfs(cpus: usize) -> Self {
        use QueueKind::{Interrupt, Issue};
        let allocators = (cpus / 4).clamp(1, 4);
        let mut config = Self::empty(cpus);
        for ty in ZioType::ALL {
            config = config.queue(ty, Issue, ONE).queue(ty, Interrupt, ONE);
        }
        config
            .queue(ZioType::Read, Issue, Mode::Fixed { threads: 8, queues: 1 })
            .queue(ZioType::Read, Interrupt, Mode::Scale { threads_min: 0 })
            .queue(ZioType::Write, Issue, Mode::Sync { allocators })
            .queue(ZioType::Write, Interrupt, Mode::Scale { threads_min: 0 })
            .queue(ZioType::Free, Issue, Mode::Scale { threads_min: 32 })
            .queue(ZioType::Trim, Issue, Mode::Fixed { threads: 4, queues: 1 })
            .background(Background::default())
    }

    /// The table of spec 5.2 as it was in 2018, the seed's: whatever the machine, but for the
    /// batch of write issue.
    ///
    /// | type | issue | issue, high | interrupt | interrupt, high |
    /// |---|---|---|---|---|
    /// | null | 1 | – | 1 | – |
    /// | read | 8 | – | 12 in each of 8 | – |
    /// | write | batch | 5 | 12 in each of 8 | 5 |
    /// | free | 12 in each of 8 | – | 1 | – |
    /// | claim | 1 | – | 1 | – |
    /// | ioctl | 1 | – | 1 | – |
    ///
    /// Trims come later and go to the null queues; so do background classes, which have no lane.
    pub fn zfs_2018(cpus: usize) -> Self {
        use QueueKind::{Interrupt, InterruptHigh, Issue, IssueHigh};
        let mut config = Self::empty(cpus);
        for ty in ZioType::ALL.into_iter().filter(|&ty| ty != ZioType::Trim) {
            config = config.queue(ty, Issue, ONE).queue(ty, Interrupt, ONE);
        }
        config
            .queue(ZioType::Read, Issue, Mode::Fixed { threads: 8, queues: 1 })
            .queue(ZioType::Read, Interrupt, WIDE)
            .queue(ZioType::Write, Issue, Mode::Batch)
            .queue(ZioType::Write, IssueHigh, FIVE)
            .queue(ZioType::Write, Interrupt, WIDE)
            .queue(ZioType::Write, InterruptHigh, FIVE)
            .queue(ZioType::Free, Issue, WIDE)
    }

    /// For a process in userspace that runs light work where it arises and queues only what is
    /// heavy: write issue (compression, checksums) on 75 % of the CPUs, all completions on half
    /// of them, everything else on one thread. On 2 CPUs that makes three threads, and two of the
    /// [`Background`] lane, each of which exists once it is needed.
    pub fn small(cpus: usize) -> Self {
        Self::empty(cpus)
            .queue(ZioType::Null, QueueKind::Issue, ONE)
            .queue(ZioType::Null, QueueKind::Interrupt, Mode::Percent(50))
            .queue(ZioType::Write, QueueKind::Issue, Mode::Percent(75))
            .background(Background::default())
    }

    /// One queue with `threads` threads (0 counts as 1) that all routes share. Its threads are
    /// called `name-0`, `name-1`, …; urgent kinds go to its front; it reports itself as the issue
    /// queue of the null type.
    pub fn single(name: impl Into<String>, threads: usize) -> Self {
        let mut config = Self::empty(1).named(name).queue(
            ZioType::Null,
            QueueKind::Issue,
            Mode::Fixed { threads, queues: 1 },
        );
        config.plain = true;
        config
    }

    /// First part of the threads' names, `zio` unless told. Names are cut to 15 bytes.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Staffs one cell of the table.
    #[must_use]
    pub fn queue(mut self, ty: ZioType, kind: QueueKind, mode: Mode) -> Self {
        self.plain = false;
        self.table[ty.index()][kind.index()] = mode;
        self
    }

    /// Gives background classes a lane of their own.
    #[must_use]
    pub fn background(mut self, lane: Background) -> Self {
        self.background = Some(lane);
        self
    }

    /// Background classes go where all others of their type and kind go.
    #[must_use]
    pub fn without_background(mut self) -> Self {
        self.background = None;
        self
    }

    /// Goes by a clock that is moved by hand, for tests.
    #[must_use]
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Clock::Manual(clock.clone());
        self
    }

    /// How often a worker looks for new work before it sleeps; 0, the default, is not at all.
    ///
    /// A round is one spin hint, some 10 to 50 ns. Spinning hides the price of waking a thread
    /// (20 to 30 µs across cores) where tasks arrive that often and a core is to spare; with few
    /// cores it takes from those who would have made the next task.
    #[must_use]
    pub fn spin_rounds_max(mut self, rounds: u32) -> Self {
        self.spin_rounds_max = rounds;
        self
    }

    /// Stack of each thread; without it the standard library's choice (2 MiB, or
    /// `RUST_MIN_STACK`).
    #[must_use]
    pub fn stack_bytes(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Whom to tell about tasks that panic and threads that cannot be started; by default a line
    /// goes to stderr. It is called on the thread concerned and should be quick.
    #[must_use]
    pub fn on_trouble(mut self, report: impl Fn(&Trouble<'_>) + Send + Sync + 'static) -> Self {
        self.report = Report::new(Arc::new(report));
        self
    }

    /// Queues and threads of a cell, `None` where it has no queue of its own.
    pub fn threads(&self, ty: ZioType, kind: QueueKind) -> Option<Threads> {
        self.mode(ty, kind).threads(self.cpus)
    }

    /// Queues and threads of the background lane, `None` without one.
    pub fn background_threads(&self) -> Option<Threads> {
        self.background.and_then(|lane| lane.threads.threads(self.cpus))
    }

    /// Threads of all cells and of the background lane together: as many workers as there can ever
    /// be. (One more thread, the keeper, starts and dismisses them.)
    pub fn threads_max(&self) -> usize {
        let cells = self.table.iter().flatten().filter_map(|mode| mode.threads(self.cpus));
        cells.chain(self.background_threads()).map(Threads::total).sum()
    }

    /// The queue that a route leads to, and whether to the front of it: the rules above at work.
    /// `None` where tasks run on the thread that dispatches.
    ///
    /// ```
    /// use taskq::Config;
    /// use zio_core::{Priority, QueueKind, Route, ZioType};
    ///
    /// let config = Config::zfs(4);
    /// let route = Route::back(ZioType::Write, QueueKind::IssueHigh);
    /// assert_eq!(config.destination(&route), Some(("zio-write-iss".to_owned(), true)));
    /// let scrub = Route { class: Priority::Scrub, ..Route::back(ZioType::Read, QueueKind::Interrupt) };
    /// assert_eq!(config.destination(&scrub), Some(("zio-bg".to_owned(), false)));
    /// ```
    pub fn destination(&self, route: &Route) -> Option<(String, bool)> {
        let plan = Plan::new(self);
        let target = plan.target(route)?;
        let front = target.front || route.place == zio_core::task::Place::Front;
        Some((plan.shards[target.first].queue.clone(), front))
    }

    fn mode(&self, ty: ZioType, kind: QueueKind) -> Mode {
        self.table[ty.index()][kind.index()]
    }

    /// The number of CPUs the table is for.
    pub(crate) fn cpus(&self) -> usize {
        self.cpus
    }

    /// First part of all names.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn lane(&self) -> Option<Background> {
        self.background
    }

    pub(crate) fn time(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn spin(&self) -> u32 {
        self.spin_rounds_max
    }

    pub(crate) fn stack(&self) -> Option<usize> {
        self.stack_bytes
    }

    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    fn background_name(&self) -> String {
        format!("{}-bg", self.name)
    }

    fn queue_name(&self, ty: ZioType, kind: QueueKind) -> String {
        if self.plain { self.name.clone() } else { name::queue_name(&self.name, ty, kind) }
    }
}

impl Default for Config {
    /// [`Config::small`] for the CPUs this process may use.
    fn default() -> Self {
        Self::small(thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("cpus", &self.cpus)
            .field("table", &self.table)
            .field("background", &self.background)
            .field("spin_rounds_max", &self.spin_rounds_max)
            .field("stack_bytes", &self.stack_bytes)
            .finish_non_exhaustive()
    }
}
