//! The end of a zio, by concern: inherit errors, restore the data, tell the
//! parents, deliver (spec 1.10, 1.11).
//!
//! A pipeline that has more to do at DONE (give back space, repair) puts its
//! own stage there and calls these in order.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind};
use crate::flags::Flags;
use crate::stages::Stages;
use crate::task::QueueKind;
use crate::types::{ChildType, WaitType};
use crate::zio::{Deliver, Finished, Next, Zio, ZioBox};

/// The work of READY once its children are: callback (of a pointer that is
/// good), short-cut on error, parents. Parents that can go on go to a task queue, never into this thread:
/// they may have heavy work before them.
pub fn ready(mut zio: ZioBox) -> ZioBox {
    if let Some(callback) = zio.ready.take()
        && zio.error.is_none()
        && contain(|| callback(&zio.bp)).is_some()
    {
        zio.engine().stats().panics.add(1);
        zio.fail(Error::msg(ErrorKind::Lost, "the ready callback panicked"));
    }
    if zio.error.is_some() {
        zio.become_interlock();
        zio.slots = None;
    }
    let error = propagated(&zio);
    let child = zio.child_type();
    for parent in zio.node.reach_ready() {
        if let Some(parent) = parent.notify(child, WaitType::Ready, error.as_ref(), None) {
            dispatch_resumed(parent);
        }
    }
    if zio.flags().contains(Flags::NODATA) && zio.bp.is_gang() {
        // The headers of a gang are written all the same.
        zio.remove_flags(Flags::NODATA);
    } else if zio.flags().contains(Flags::NODATA) {
        zio.drop_stages(Stages::VDEV_IO_START | Stages::VDEV_IO_DONE | Stages::VDEV_IO_ASSESS);
    }
    zio
}

/// The first half of DONE: the zio's own error or else its children's, then
/// the transforms, then the errors of logical children (kept apart until now,
/// so that a failed child is not taken for damage of this block).
pub fn settle(zio: &mut Zio) {
    if !zio.flags().contains(Flags::GODFATHER) {
        for child in [ChildType::Vdev, ChildType::Gang, ChildType::Ddt] {
            if zio.error.is_none() {
                zio.error = zio.node.take_child_error(child);
            }
        }
    }
    zio.pop_transforms();
    if !zio.flags().contains(Flags::GODFATHER) {
        let inherited = zio.node.take_child_error(ChildType::Logical);
        zio.error = Error::worst(zio.error.take(), inherited);
    }
    zio.slots = None;
}

/// The last half of DONE: deliver, and tell the parents. Returns the first
/// parent that can go on; further ones go to task queues.
pub fn finish(mut zio: ZioBox) -> Next {
    zio.finished = true;
    zio.end_story(zio.error.as_ref());
    // Nobody can ask for them any more; kept, a deep tree would travel to its root.
    zio.release_children();
    let farewell = zio.node.reach_done();
    let engine = Arc::clone(zio.engine());
    let child = zio.child_type();
    let error = propagated(&zio);

    // Who gets the zio, before and after the parents are told.
    let (mut to_parent, mut to_handle, mut panicked) = (None, None, None);
    match std::mem::replace(&mut zio.deliver, Deliver::Nobody) {
        Deliver::Nobody => Engine::recycle(zio),
        Deliver::Handle => to_handle = Some(zio),
        Deliver::Parent => to_parent = Some(zio),
        Deliver::Callback(callback) => panicked = contain(|| callback(Finished::new(zio))),
        Deliver::Sink(sink, tag) => panicked = contain(|| sink.deliver(tag, Finished::new(zio))),
    }

    let mut next = None;
    for parent in farewell.parents {
        if !farewell.was_ready
            && let Some(resumed) = parent.notify(child, WaitType::Ready, None, None)
        {
            dispatch_resumed(resumed);
        }
        let resumed = parent.notify(child, WaitType::Done, error.as_ref(), to_parent.take());
        match resumed {
            Some(parent) if next.is_none() && engine.hands_over() => {
                engine.stats().handovers.add(1);
                next = Some(parent);
            }
            Some(parent) => dispatch_resumed(parent),
            None => {}
        }
    }
    if let Some(zio) = to_parent {
        Engine::recycle(zio);
    }
    // Counted before the handle's owner knows, so that it finds the count right.
    engine.one_less(farewell.detached);
    if let Some(zio) = to_handle {
        panicked = contain(|| engine.leave_for_handle(Arc::clone(&zio.node), zio));
    }
    match panicked {
        None => next,
        Some(panic) => {
            if let Some(parent) = next {
                dispatch_resumed(parent);
            }
            resume_unwind(panic)
        }
    }
}

/// Runs what others wrote; a panic of theirs must not keep the parents waiting.
fn contain(f: impl FnOnce()) -> Option<Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f)).err()
}

/// The error the parents are to inherit.
fn propagated(zio: &Zio) -> Option<Error> {
    if zio.flags().contains(Flags::DONT_PROPAGATE) { None } else { zio.error.clone() }
}

/// A parent that became runnable and is not handed over goes to a task queue:
/// the ISSUE side while it is on its way to the device, else the completion side.
fn dispatch_resumed(zio: ZioBox) {
    let before_device = zio.stage().bits() < Stages::VDEV_IO_START.bits();
    let kind = if before_device { QueueKind::Issue } else { QueueKind::Interrupt };
    Engine::dispatch(zio, kind, crate::task::Place::Back);
}

/// A zio is being dropped before its end. Parents and the handle hear
/// [`ErrorKind::Lost`]; parents of one that was never started hear nothing but
/// that it is over.
pub(crate) fn abandon(zio: &mut Zio) {
    zio.finished = true;
    let engine = Arc::clone(zio.engine());
    let farewell = zio.node.reach_done();
    let started = !zio.traced().is_empty();
    let error = started.then(|| Error::new(ErrorKind::Lost).at(zio.place()));
    zio.end_story(error.as_ref());
    let child = zio.child_type();
    for parent in farewell.parents {
        if !farewell.was_ready
            && let Some(resumed) = parent.notify(child, WaitType::Ready, None, None)
        {
            dispatch_resumed(resumed);
        }
        if let Some(resumed) = parent.notify(child, WaitType::Done, error.as_ref(), None) {
            dispatch_resumed(resumed);
        }
    }
    // The box itself is going away; its successor carries the news.
    let mut messenger = engine.blank();
    messenger.finished = true;
    messenger.error = error;
    let (node, deliver) =
        (Arc::clone(&zio.node), std::mem::replace(&mut zio.deliver, Deliver::Nobody));
    // A second panic while the first one unwinds would end the process.
    let deliver = || match deliver {
        Deliver::Nobody | Deliver::Parent => Engine::recycle(messenger),
        Deliver::Callback(callback) => callback(Finished::new(messenger)),
        Deliver::Sink(sink, tag) => sink.deliver(tag, Finished::new(messenger)),
        Deliver::Handle => engine.leave_for_handle(node, messenger),
    };
    engine.one_less(farewell.detached);
    if contain(deliver).is_some() {
        engine.stats().panics.add(1);
    }
}
