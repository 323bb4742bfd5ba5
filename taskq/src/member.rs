//! Who the current thread is: one thread-local, so that "am I a worker of this set?" costs a load
//! and a comparison (spec 5.3 tells of the time when it was a search, and a hot spot).

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use zio_core::{QueueKind, ZioType};

use crate::config::Lane;
use crate::sync::thread_local;

/// Distinguishes sets of queues within the process. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetId(u64);

impl SetId {
    pub(crate) fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a thread is doing for a set of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is one of the set's workers (or plays one, in `Inline`).
    Worker(ZioType, QueueKind, Lane),
    /// It is a stranger that runs tasks which no worker will run any more.
    Helper,
}

thread_local! {
    static CURRENT: Cell<Option<(SetId, Role)>> = const { Cell::new(None) };
}

/// The current thread's role in `set`, if it has one.
pub(crate) fn role_in(set: SetId) -> Option<Role> {
    // During the destruction of a thread's locals it has no role any more.
    match CURRENT.try_with(Cell::get) {
        Ok(Some((id, role))) if id == set => Some(role),
        _ => None,
    }
}

/// The current thread's place in the table of `set`, if it is a worker there.
pub(crate) fn worker_in(set: SetId) -> Option<(ZioType, QueueKind)> {
    match role_in(set) {
        Some(Role::Worker(ty, kind, _)) => Some((ty, kind)),
        Some(Role::Helper) | None => None,
    }
}

/// The current thread's lane, if it is a worker in `set`.
pub(crate) fn lane_in(set: SetId) -> Option<Lane> {
    match role_in(set) {
        Some(Role::Worker(_, _, lane)) => Some(lane),
        Some(Role::Helper) | None => None,
    }
}

/// The role lasts until this is dropped; then the one before it holds again.
pub(crate) struct Membership {
    before: Option<(SetId, Role)>,
}

impl Membership {
    pub(crate) fn enter(set: SetId, role: Role) -> Self {
        Self { before: CURRENT.with(|current| current.replace(Some((set, role)))) }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(self.before));
    }
}
