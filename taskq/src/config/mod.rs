//! What a set of queues looks like: [`Config`], the table of spec 5.2 as data.

mod mode;
mod name;
mod plan;

use std::sync::Arc;
use std::{fmt, thread};

use zio_core::{QueueKind, ZioType};

use crate::trouble::{Report, Trouble};

pub use mode::{Mode, Threads};
pub(crate) use name::plain_name;
pub(crate) use plan::{Plan, Target};

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
/// workers would move it in a circle.
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
    spin_rounds_max: u32,
    stack_bytes: Option<usize>,
    report: Report,
}

const ONE: Mode = Mode::Fixed { threads: 1, queues: 1 };

impl Config {
    /// No queues at all, for a machine of `cpus` CPUs: the start of a table of one's own.
    pub fn empty(cpus: usize) -> Self {
        Self {
            name: "zio".to_owned(),
            plain: false,
            cpus: cpus.max(1),
            table: [[Mode::Null; QueueKind::COUNT]; ZioType::COUNT],
            spin_rounds_max: 0,
            stack_bytes: None,
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
    /// The number of allocators is cpus/4, between 1 and 4.
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
    }

    /// For a process in userspace that runs light work where it arises and queues only what is
    /// heavy: write issue (compression, checksums) on 75 % of the CPUs, all completions on half
    /// of them, everything else on one thread. On 2 CPUs that makes three threads, each of which
    /// exists once it is needed.
    pub fn small(cpus: usize) -> Self {
        Self::empty(cpus)
            .queue(ZioType::Null, QueueKind::Issue, ONE)
            .queue(ZioType::Null, QueueKind::Interrupt, Mode::Percent(50))
            .queue(ZioType::Write, QueueKind::Issue, Mode::Percent(75))
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
        self.table[ty.index()][kind.index()].threads(self.cpus)
    }

    /// Threads of all cells together: as many as there can ever be.
    pub fn threads_max(&self) -> usize {
        let cells = self.table.iter().flatten();
        cells.filter_map(|mode| mode.threads(self.cpus)).map(Threads::total).sum()
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
            .field("spin_rounds_max", &self.spin_rounds_max)
            .field("stack_bytes", &self.stack_bytes)
            .finish_non_exhaustive()
    }
}
