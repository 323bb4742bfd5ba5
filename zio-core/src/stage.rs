//! The [`Stage`] trait and the stages every pipeline has: ISSUE_ASYNC, READY
//! and DONE (spec 1.11, 1.15).

use crate::done;
use crate::engine::{Context, Engine};
use crate::stages::Stages;
use crate::task::{Place, QueueKind};
use crate::types::{ChildSet, WaitType};
use crate::zio::{Next, Zio, ZioBox};

/// One step on the road of a zio.
///
/// A stage gets the zio and returns the zio to run next: the same one to go
/// on, another one to hand over, or `None` when it gave the zio to somebody
/// else (its node, a task queue). It never sleeps, and it holds no lock when
/// it returns.
pub trait Stage: Send + Sync {
    /// Which stage this is: exactly one bit.
    fn stage(&self) -> Stages;

    /// Runs it.
    fn run(&self, zio: ZioBox) -> Next;
}

/// ISSUE_ASYNC: over to the task queue, so that CPU-heavy work spreads over
/// the cores and never runs where completions are handled.
///
/// Work that `light` calls cheap stays on the thread of the client that
/// submits it: a hop would cost more than the work.
#[derive(Debug)]
pub struct IssueAsync {
    light: fn(&Zio) -> bool,
}

impl IssueAsync {
    /// With a judge of what is light.
    pub fn new(light: fn(&Zio) -> bool) -> Self {
        Self { light }
    }
}

impl Stage for IssueAsync {
    fn stage(&self) -> Stages {
        Stages::ISSUE_ASYNC
    }

    fn run(&self, zio: ZioBox) -> Next {
        if Context::current() == Context::Submit && (self.light)(&zio) {
            return Some(zio);
        }
        Engine::dispatch(zio, QueueKind::Issue, Place::Back);
        None
    }
}

/// READY: the pointer is final (spec 1.11).
#[derive(Debug, Default)]
pub struct Ready;

impl Stage for Ready {
    fn stage(&self) -> Stages {
        Stages::READY
    }

    fn run(&self, zio: ZioBox) -> Next {
        let zio = zio.wait_children(ChildSet::GANG | ChildSet::DDT, WaitType::Ready)?;
        Some(done::ready(zio))
    }
}

/// DONE: everything is over (spec 1.11).
#[derive(Debug, Default)]
pub struct Done;

impl Stage for Done {
    fn stage(&self) -> Stages {
        Stages::DONE
    }

    fn run(&self, zio: ZioBox) -> Next {
        let mut zio = zio.wait_children(ChildSet::all(), WaitType::Done)?;
        done::settle(&mut zio);
        done::finish(zio)
    }
}
