//! The table worked out: which shards there are, and where each route leads.

use std::ops::Range;

use zio_core::{QueueKind, Route, ZioType};

use crate::config::name::thread_name;
use crate::config::{Config, Lane, Threads};

/// The shards of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Index of the first one in [`Plan::shards`].
    pub(crate) first: usize,
    /// How many there are, side by side.
    pub(crate) shards: usize,
    /// An urgent route on a queue that is not: to the front.
    pub(crate) front: bool,
}

impl Target {
    pub(crate) const fn range(self) -> Range<usize> {
        self.first..self.first + self.shards
    }
}

/// What one shard is made of.
#[derive(Clone, Debug)]
pub(crate) struct ShardPlan {
    /// What its workers say they are.
    pub(crate) role: (ZioType, QueueKind),
    pub(crate) lane: Lane,
    /// Name of the queue it belongs to.
    pub(crate) queue: String,
    /// The shards of that queue, this one among them.
    pub(crate) siblings: Range<usize>,
    /// Number of threads, at most.
    pub(crate) workers: usize,
    /// Starts with one thread and grows by need; otherwise with all.
    pub(crate) dynamic: bool,
    /// Number, within the queue, of its first thread.
    pub(crate) number: usize,
    /// Threads of the whole queue, at most, and one more for the keeper.
    pub(crate) seats: usize,
}

impl ShardPlan {
    /// Name of the thread in a slot.
    pub(crate) fn thread_name(&self, slot: usize) -> String {
        thread_name(&self.queue, self.number + slot)
    }

    /// Where the keeper sits when it has to run tasks itself.
    pub(crate) const fn keeper_seat(&self) -> usize {
        self.seats - 1
    }
}

pub(crate) struct Plan {
    pub(crate) shards: Vec<ShardPlan>,
    targets: Cells,
    background: Option<Target>,
}

impl Plan {
    pub(crate) fn new(config: &Config) -> Self {
        let mut shards = Vec::new();
        let mut own = [[None; QueueKind::COUNT]; ZioType::COUNT];
        for ty in ZioType::ALL {
            for kind in QueueKind::ALL {
                let Some(threads) = config.threads(ty, kind) else { continue };
                let mode = config.mode(ty, kind);
                let name = config.queue_name(ty, kind);
                let target = add(&mut shards, threads, &name, (ty, kind), mode.lane());
                for shard in &mut shards[target.range()] {
                    shard.dynamic = mode.is_dynamic();
                }
                own[ty.index()][kind.index()] = Some(target);
            }
        }
        let mut targets = own;
        for ty in ZioType::ALL {
            for kind in QueueKind::ALL {
                let target = nearest(&own, ty, kind);
                targets[ty.index()][kind.index()] = target;
                if let Some(target) = target
                    && !kind.is_interrupt()
                {
                    for shard in &mut shards[target.range()] {
                        shard.role.1 = on_issue_side(shard.role.1);
                    }
                }
            }
        }
        let background = config.background_threads().map(|threads| {
            // It serves both sides, so it says issue.
            let role = (ZioType::Null, QueueKind::Issue);
            let name = config.background_name();
            add(&mut shards, threads, &name, role, Lane::Background)
        });
        Self { shards, targets, background }
    }

    pub(crate) fn target(&self, route: &Route) -> Option<Target> {
        match self.background {
            Some(lane) if route.class.is_background() => {
                let urgent = matches!(route.kind, QueueKind::IssueHigh | QueueKind::InterruptHigh);
                Some(Target { front: urgent, ..lane })
            }
            _ => self.targets[route.ty.index()][route.kind.index()],
        }
    }
}

fn add(
    shards: &mut Vec<ShardPlan>,
    threads: Threads,
    queue: &str,
    role: (ZioType, QueueKind),
    lane: Lane,
) -> Target {
    let target = Target { first: shards.len(), shards: threads.queues, front: false };
    shards.extend((0..threads.queues).map(|number| ShardPlan {
        role,
        lane,
        queue: queue.to_owned(),
        siblings: target.range(),
        workers: threads.threads,
        dynamic: true,
        number: number * threads.threads,
        seats: threads.total() + 1,
    }));
    target
}

type Cells = [[Option<Target>; QueueKind::COUNT]; ZioType::COUNT];

/// The rules that [`Config`] tells.
fn nearest(own: &Cells, ty: ZioType, kind: QueueKind) -> Option<Target> {
    let of = |ty: ZioType, kind: QueueKind| side(own, ty, kind);
    of(ty, kind)
        .or_else(|| of(ZioType::Null, kind))
        .or_else(|| of(ty, other_side(kind)))
        .or_else(|| of(ZioType::Null, other_side(kind)))
        .or_else(|| own.iter().flatten().find_map(|&target| target))
}

/// The queue of this kind, or its plain or urgent sister.
fn side(own: &Cells, ty: ZioType, kind: QueueKind) -> Option<Target> {
    let row = &own[ty.index()];
    let (sister, front) = match kind {
        QueueKind::Issue => (QueueKind::IssueHigh, false),
        QueueKind::IssueHigh => (QueueKind::Issue, true),
        QueueKind::Interrupt => (QueueKind::InterruptHigh, false),
        QueueKind::InterruptHigh => (QueueKind::Interrupt, true),
    };
    row[kind.index()].or_else(|| row[sister.index()].map(|target| Target { front, ..target }))
}

const fn other_side(kind: QueueKind) -> QueueKind {
    match kind {
        QueueKind::Issue => QueueKind::Interrupt,
        QueueKind::IssueHigh => QueueKind::InterruptHigh,
        QueueKind::Interrupt => QueueKind::Issue,
        QueueKind::InterruptHigh => QueueKind::IssueHigh,
    }
}

const fn on_issue_side(kind: QueueKind) -> QueueKind {
    if kind.is_interrupt() { other_side(kind) } else { kind }
}
