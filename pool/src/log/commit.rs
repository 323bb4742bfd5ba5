//! Waiting for a commit.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use zio_core::Txg;
use zio_pipeline::{Error, ErrorKind, Pending, Pipeline, Started};

/// Records are not durable in the log. They are once their transaction group is: commit it
/// instead, which is slow and always right.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("not durable in the log: commit txg {commit_txg} instead")]
pub struct NotDurable {
    /// Once this transaction group is durable, so is everything that was to be committed.
    pub commit_txg: Txg,
    /// Why.
    pub source: Error,
}

type Outcome = Arc<OnceLock<Result<(), NotDurable>>>;

/// A promise to those who wait, and its end: a request that is started when it is kept, and a
/// group that ends with it.
pub(super) struct Promise {
    request: Pending<()>,
    outcome: Outcome,
    commit_txg: Txg,
}

impl Promise {
    /// Of records that `commit_txg` makes durable too.
    pub(super) fn new(pipeline: &Pipeline, commit_txg: Txg) -> (Self, Commit) {
        let outcome = Outcome::default();
        let group = pipeline.root();
        let request = pipeline.root().into_pending().under(group.parent());
        let promise = Self { request, outcome: Arc::clone(&outcome), commit_txg };
        (promise, Commit { started: group.into_pending().start(), outcome, commit_txg })
    }

    /// Lets those who wait go on. Not under a lock: they may run right here. Behind records
    /// that are lost, what came before is not durable either.
    pub(super) fn keep(self, result: Result<(), NotDurable>) {
        let outcome = result.map_err(|NotDurable { commit_txg, source }| NotDurable {
            commit_txg: commit_txg.max(self.commit_txg),
            source,
        });
        // Nobody else has this promise.
        _ = self.outcome.set(outcome);
        self.request.nowait(|_| {});
    }
}

/// A commit that is under way; made by [`Log::start_commit`](crate::log::Log::start_commit). Wait
/// for it, await it, or look at it now and then. Dropped, it goes on.
#[must_use = "what was committed is durable only when this says so"]
#[derive(Debug)]
pub struct Commit {
    started: Result<Started<()>, Error>,
    outcome: Outcome,
    commit_txg: Txg,
}

impl Commit {
    /// Waits on this thread, which drives the devices meanwhile.
    ///
    /// # Errors
    /// [`NotDurable`]. Called in a callback, where waiting would wait for itself, it says so; the commit goes on.
    pub fn wait(self) -> Result<(), NotDurable> {
        let ended = self.started.and_then(Started::wait);
        result_of(&self.outcome, self.commit_txg, ended)
    }

    /// Has it ended?
    pub fn is_finished(&self) -> bool {
        self.started.as_ref().map_or(true, Started::is_finished)
    }
}

fn result_of(
    outcome: &Outcome,
    commit_txg: Txg,
    ended: Result<(), Error>,
) -> Result<(), NotDurable> {
    match (outcome.get(), ended) {
        (Some(outcome), _) => outcome.clone(),
        (None, Err(source)) => Err(NotDurable { commit_txg, source }),
        // The promise went without being kept.
        (None, Ok(())) => Err(NotDurable { commit_txg, source: Error::new(ErrorKind::Lost) }),
    }
}

impl Future for Commit {
    type Output = Result<(), NotDurable>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = match &mut self.started {
            Ok(started) => std::task::ready!(Pin::new(started).poll(cx)),
            Err(error) => Err(error.clone()),
        };
        Poll::Ready(result_of(&self.outcome, self.commit_txg, ended))
    }
}
