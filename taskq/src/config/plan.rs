//! The table worked out: which shards there are, and where each of the 28 routes leads.

use zio_core::{QueueKind, ZioType};

use crate::config::Config;
use crate::config::name::thread_name;

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

/// What one shard is made of.
#[derive(Clone, Debug)]
pub(crate) struct ShardPlan {
    /// What its workers say they are.
    pub(crate) role: (ZioType, QueueKind),
    /// Name of the queue it belongs to.
    pub(crate) queue: String,
    /// Number of threads.
    pub(crate) workers: usize,
    /// Number, within the queue, of its first thread.
    pub(crate) number: usize,
}

impl ShardPlan {
    /// Name of the thread in a slot.
    pub(crate) fn thread_name(&self, slot: usize) -> String {
        thread_name(&self.queue, self.number + slot)
    }
}

pub(crate) struct Plan {
    pub(crate) shards: Vec<ShardPlan>,
    targets: [[Option<Target>; QueueKind::COUNT]; ZioType::COUNT],
}

impl Plan {
    pub(crate) fn new(config: &Config) -> Self {
        let mut shards = Vec::new();
        let mut own = [[None; QueueKind::COUNT]; ZioType::COUNT];
        for ty in ZioType::ALL {
            for kind in QueueKind::ALL {
                let Some(threads) = config.threads(ty, kind) else { continue };
                own[ty.index()][kind.index()] =
                    Some(Target { first: shards.len(), shards: threads.queues, front: false });
                shards.extend((0..threads.queues).map(|queue| ShardPlan {
                    role: (ty, kind),
                    queue: config.queue_name(ty, kind),
                    workers: threads.threads,
                    number: queue * threads.threads,
                }));
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
                    for shard in &mut shards[target.first..target.first + target.shards] {
                        shard.role.1 = on_issue_side(shard.role.1);
                    }
                }
            }
        }
        Self { shards, targets }
    }

    pub(crate) const fn target(&self, ty: ZioType, kind: QueueKind) -> Option<Target> {
        self.targets[ty.index()][kind.index()]
    }
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
