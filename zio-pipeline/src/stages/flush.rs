//! Flush of every leaf, and what a failed one means (spec 8.3; a failed flush is never swallowed).
//!
//! A vdev is flushed when one of its leaves is that has all there is to make durable. A leaf of a mirror
//! that failed beside such a one may have lost what was written since its last flush: those groups are missing on it
//! from now on.
//!
//! Flushes go in *rounds*, one at a time: whoever comes while one is under way waits for the next, which
//! is for all of them. That is cheaper, and it leaves no doubt which flush has to answer for which write: a
//! system tells a lost write to one caller only.

use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::SmallVec;
use zio_core::task::Place;
use zio_core::{Engine, Error, ErrorKind, Next, QueueKind, Stages, VdevId, Zio, ZioBox};

use crate::health::Unflushed;
use crate::leaf::{Leaf, LeafPlace};
use crate::shared::Shared;
use crate::stages::copies::is_of_device;
use crate::top_vdev::TopVdev;

/// Whose turn it is to flush.
#[derive(Default)]
pub(crate) struct Flushes(Mutex<Turns>);

#[derive(Default)]
struct Turns {
    under_way: bool,
    /// For the next round.
    waiting: Vec<ZioBox>,
}

/// One round: attachment of the flush that leads it.
struct Round {
    shared: Arc<Shared>,
    /// They hear what the leader hears.
    followers: Vec<ZioBox>,
    /// What the leaves are to make durable.
    noted: Vec<(Arc<Leaf>, Unflushed)>,
}

/// Lets a flush go ahead as the leader of a round, or keeps it for the next one.
pub(crate) fn enter(shared: &Arc<Shared>, mut zio: ZioBox) -> Next {
    if zio.attachment.is_none() {
        let mut turns = shared.flushes.0.lock();
        if turns.under_way {
            turns.waiting.push(zio);
            return None;
        }
        turns.under_way = true;
        drop(turns);
        lead(shared, &mut zio, Vec::new());
    }
    if let Some(round) = zio.attachment.as_mut().and_then(|it| it.downcast_mut::<Round>()) {
        let note = |leaf: &Arc<Leaf>| (Arc::clone(leaf), leaf.health().begin_flush());
        round.noted = shared.leaves().map(note).collect();
    }
    Some(zio)
}

fn lead(shared: &Arc<Shared>, zio: &mut Zio, followers: Vec<ZioBox>) {
    let shared = Arc::clone(shared);
    zio.attachment = Some(Box::new(Round { shared, followers, noted: Vec::new() }));
}

impl Round {
    fn end(&mut self, error: Option<&Error>) {
        for mut follower in self.followers.drain(..) {
            if let Some(error) = error {
                follower.fail(error.clone());
            }
            follower.become_interlock();
            Engine::dispatch(follower, QueueKind::Interrupt, Place::Back);
        }
    }
}

impl Drop for Round {
    /// The next round begins. If this one did not come to its end, its leader being lost,
    /// nothing was made durable.
    fn drop(&mut self) {
        for (leaf, unflushed) in self.noted.drain(..) {
            leaf.health().put_back(&unflushed);
        }
        self.end(Some(&ErrorKind::Lost.into()));
        let mut turns = self.shared.flushes.0.lock();
        let mut waiting = std::mem::take(&mut turns.waiting);
        turns.under_way = !waiting.is_empty();
        drop(turns);
        if let Some(mut leader) = waiting.pop() {
            lead(&self.shared, &mut leader, waiting);
            leader.rerun_from(Stages::VDEV_IO_START);
            Engine::dispatch(leader, QueueKind::Issue, Place::Front);
        }
    }
}

/// The leaves that could not be flushed.
struct Failed(SmallVec<[(LeafPlace, Error); 2]>);

impl Failed {
    fn error_of(&self, leaf: &Leaf) -> Option<&Error> {
        self.0.iter().find(|(place, _)| *place == leaf.place()).map(|(_, error)| error)
    }
}

/// Looks at the children that came home, and ends the round.
pub(crate) fn assess(zio: &mut Zio) {
    let mut failed = Failed(SmallVec::new());
    while let Some(mut child) = zio.take_finished_child() {
        if let Some(error) = child.take_error() {
            let Zio { vdev, leaf, .. } = *child.get();
            failed.0.push((LeafPlace { vdev: vdev.unwrap_or_default(), leaf }, error));
        }
    }
    // Of a leaf, it has no children and leads nothing.
    let Some(Ok(mut round)) = zio.attachment.take().map(|it| it.downcast::<Round>()) else {
        return;
    };
    for (leaf, unflushed) in &round.noted {
        let Some(error) = failed.error_of(leaf) else { continue };
        let vdev = leaf.place().vdev;
        if is_of_device(error) && has_all_elsewhere(&round, vdev, unflushed, &failed) {
            leaf.health().flush_failed(unflushed);
        } else {
            leaf.health().put_back(unflushed);
            zio.fail(error.clone());
        }
    }
    round.noted.clear();
    round.end(zio.error.as_ref());
}

/// Has a leaf that is flushed all that one that is not was to make durable? One that has missed
/// any of it, when the flush began or meanwhile, does not count.
fn has_all_elsewhere(round: &Round, vdev: VdevId, lost: &Unflushed, failed: &Failed) -> bool {
    if lost.physical || !round.shared.vdev(vdev).is_ok_and(TopVdev::is_mirror) {
        return false;
    }
    let siblings = round.noted.iter().filter(|(leaf, _)| leaf.place().vdev == vdev);
    siblings.filter(|(leaf, _)| failed.error_of(leaf).is_none()).any(|(leaf, at_begin)| {
        let now = leaf.health().missing();
        let meets = |range: std::ops::RangeInclusive<_>| {
            at_begin.missing.intersects(range.clone()) || now.intersects(range)
        };
        !lost.groups.iter().any(meets)
    })
}
