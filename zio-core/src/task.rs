//! Task queues: the [`TaskQueue`] trait and what travels through one (spec 5.1).

use crate::flags::Flags;
use crate::types::{Priority, ZioType};

/// Work that can be queued without allocating: it brings its own link.
///
/// A queue threads tasks through [`Task::link`], so that dispatch never
/// allocates and never fails.
pub trait Task: Sized + Send + 'static {
    /// Does the work, on the thread that took it from the queue.
    fn run(self);

    /// The task's own link field; `None` whenever the task is not in a queue.
    fn link(&mut self) -> &mut Option<Self>;
}

/// The four kinds of queue each zio type has (spec 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QueueKind {
    /// Work on its way to the device.
    Issue,
    /// The same, urgent.
    IssueHigh,
    /// Work that a completion set off.
    Interrupt,
    /// The same, urgent.
    InterruptHigh,
}

impl QueueKind {
    /// Number of kinds.
    pub const COUNT: usize = 4;

    /// All kinds in table order.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Issue, Self::IssueHigh, Self::Interrupt, Self::InterruptHigh];

    /// Position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Completion side?
    pub const fn is_interrupt(self) -> bool {
        matches!(self, Self::Interrupt | Self::InterruptHigh)
    }
}

/// Where in a queue a task enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Before everything queued at the back; first in, first out among its like.
    Front,
    /// After everything queued.
    Back,
}

/// Where a task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Row of the table.
    pub ty: ZioType,
    /// Column of the table.
    pub kind: QueueKind,
    /// Front or back.
    pub place: Place,
    /// Tasks with equal affinity like the same shard. Only a hint.
    pub affinity: u32,
    /// Who wants it. Queues may serve background classes on a lane of their own
    /// ([`Priority::is_background`]).
    pub class: Priority,
}

impl Route {
    /// To the back of a queue, with no affinity, of no background class.
    pub const fn back(ty: ZioType, kind: QueueKind) -> Self {
        Self { ty, kind, place: Place::Back, affinity: 0, class: Priority::Now }
    }

    /// To the front of a queue, with no affinity, of no background class.
    pub const fn front(ty: ZioType, kind: QueueKind) -> Self {
        Self { place: Place::Front, ..Self::back(ty, kind) }
    }

    /// The queue of a zio (spec 5.1), with no affinity. Whoever writes the configuration, and
    /// whoever probes a device, goes through the queues of the null type: the workers of its own
    /// type may all be waiting for it. A write that somebody waits for takes the urgent kind, for
    /// which queues without one make room at the front.
    pub fn of_zio(
        ty: ZioType,
        class: Priority,
        flags: Flags,
        kind: QueueKind,
        place: Place,
    ) -> Self {
        let aside = flags.intersects(Flags::CONFIG_WRITER | Flags::PROBE);
        let ty = if aside { ZioType::Null } else { ty };
        let kind = match (class, kind) {
            (Priority::SyncWrite, QueueKind::Issue) => QueueKind::IssueHigh,
            (Priority::SyncWrite, QueueKind::Interrupt) => QueueKind::InterruptHigh,
            (_, kind) => kind,
        };
        Self { place, class, ..Self::back(ty, kind) }
    }
}

/// Runs tasks on other threads, or, in tests, on this one in an order drawn from a seed.
pub trait TaskQueue<T: Task>: Send + Sync {
    /// Queues a task. Never blocks, allocates or fails; every task
    /// dispatched before shutdown is run exactly once.
    fn dispatch(&self, task: T, route: Route);

    /// Is the current thread a worker of this set of queues, and of which kind? O(1).
    fn on_worker(&self) -> Option<(ZioType, QueueKind)>;

    /// Runs or waits for everything queued, then stops. Called from outside the workers.
    fn shutdown(&self);
}
