//! Starting a zio and waiting for it: the caller's side (spec 1.9).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use crate::engine::{Context, Engine};
use crate::error::{Error, ErrorKind};
use crate::node::{Node, Waiter};
use crate::zio::{Deliver, DoneCallback, Finished, Parent, Sink, Zio, ZioBox};

/// A zio that has not been started. It does nothing until one of the methods
/// that consume it is called.
#[must_use = "a request does nothing until it is started"]
#[derive(Debug)]
pub struct Request(ZioBox);

impl Request {
    /// A request for this zio.
    pub fn new(zio: ZioBox) -> Self {
        Self(zio)
    }

    /// The zio, to be set up.
    pub fn zio(&mut self) -> &mut Zio {
        &mut self.0
    }

    /// Makes it a child of `parent`: the parent is done only after it.
    pub fn under(mut self, parent: &Parent) -> Self {
        parent.add(&mut self.0);
        self
    }

    /// As a parent for others. A request stays open for children until it is done.
    pub fn as_parent(&self) -> Parent {
        self.0.as_parent()
    }

    /// Starts it and waits on this thread, which drives the devices meanwhile.
    ///
    /// # Errors
    /// The zio's error; [`ErrorKind::Invalid`] when called from a completion,
    /// where waiting would wait for itself (the zio is started all the same).
    pub fn wait(mut self) -> Result<Finished, Error> {
        if Context::is_executing() {
            drop(self.start());
            return Err(would_deadlock());
        }
        self.0.deliver = Deliver::Handle;
        let handle = Handle(Some(Arc::clone(&self.0.node)));
        Engine::run_and_wait(self.0);
        wait_for(&handle)
    }

    /// Starts it and returns a handle to wait on later. The I/O is with its
    /// device when this returns.
    pub fn start(mut self) -> Handle {
        self.0.deliver = Deliver::Handle;
        let handle = Handle(Some(Arc::clone(&self.0.node)));
        Engine::run(self.0);
        handle
    }

    /// Starts it; `callback` gets the result, on whatever thread finishes it.
    /// The callback must not block.
    pub fn nowait(mut self, callback: DoneCallback) {
        self.0.deliver = Deliver::Callback(callback);
        let engine = Arc::clone(self.0.engine());
        if self.0.node.detach() {
            engine.reaping.detached();
        }
        Engine::run(self.0);
    }

    /// Starts it; the result goes to `sink` with `tag`. Nothing is allocated.
    /// I/O may stay unsubmitted until somebody calls [`Engine::submit`] or
    /// waits: the sink's owner does.
    pub fn send_to(mut self, sink: Arc<dyn Sink>, tag: u64) {
        self.0.deliver = Deliver::Sink(sink, tag);
        Engine::run_and_wait(self.0);
    }
}

fn would_deadlock() -> Error {
    Error::msg(ErrorKind::Invalid, "wait() inside a completion would wait for itself")
}

fn wait_for(handle: &Handle) -> Result<Finished, Error> {
    let Some(node) = &handle.0 else { return Err(Error::new(ErrorKind::Closed)) };
    let engine = node.engine();
    let mut zio = node.take_finished();
    if zio.is_some() {
        // No turn is coming that would hand over what was started besides.
        engine.submit();
    } else {
        let found = std::cell::Cell::new(None);
        engine.wait_until(|me| {
            let finished = node.take_or_register(Waiter::Thread(me.clone()));
            let over = finished.is_some();
            found.set(finished);
            over
        });
        zio = found.into_inner();
    }
    let finished = zio.map(Finished::new).ok_or_else(|| Error::new(ErrorKind::Lost))?;
    finished.result().map(|()| finished)
}

/// A started zio.
///
/// * [`Handle::wait`] blocks this thread, which drives the devices meanwhile.
/// * It is a `Future` for any executor.
/// * Dropped, the zio goes on and its result is thrown away.
#[must_use = "dropping a handle throws the result away"]
pub struct Handle(Option<Arc<Node>>);

impl Handle {
    /// Waits for the result.
    ///
    /// # Errors
    /// The zio's error; [`ErrorKind::Invalid`] when called from a completion,
    /// where waiting would wait for itself.
    pub fn wait(self) -> Result<Finished, Error> {
        if Context::is_executing() && !self.is_finished() {
            return Err(would_deadlock());
        }
        wait_for(&self)
    }

    /// Is the result there? Asking drives no device.
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_some_and(|node| node.is_finished())
    }
}

impl Future for Handle {
    type Output = Result<Finished, Error>;

    /// Polled again after its result, it says [`ErrorKind::Closed`].
    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Some(node) = &self.0 else {
            return Poll::Ready(Err(Error::new(ErrorKind::Closed)));
        };
        match node.take_or_register(Waiter::Waker(cx.waker().clone())) {
            Some(zio) => {
                self.0 = None;
                let finished = Finished::new(zio);
                Poll::Ready(finished.result().map(|()| finished))
            }
            None => {
                if node.detach() {
                    node.engine().reaping.detached();
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(node) = self.0.take() else { return };
        if let Some(zio) = node.drop_handle() {
            Engine::recycle(zio);
        } else if node.detach() {
            node.engine().reaping.detached();
        }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle(finished: {})", self.is_finished())
    }
}
