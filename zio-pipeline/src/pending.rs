//! What `pipeline.read(..)` and its siblings return: a request that starts
//! when it is waited for, awaited, sent off, or started.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use zio_core::{
    BlockPointer, Bookmark, Completions, Control, Data, Error, ErrorKind, Finished, Flags, Handle,
    Parent, Priority, Request, Trace, Zio, ZioType,
};

/// What a finished zio means to the client.
pub trait Outcome: Sized + Send + 'static {
    /// Takes the result out of a zio that finished without error.
    fn of(finished: Finished) -> Self;
}

impl Outcome for () {
    fn of(_: Finished) -> Self {}
}

impl Outcome for Data {
    fn of(mut finished: Finished) -> Self {
        finished.take_data()
    }
}

impl Outcome for BlockPointer {
    fn of(finished: Finished) -> Self {
        finished.get().bp
    }
}

/// A request that has not been started. It ends in a `T`: [`Data`] for a read,
/// [`BlockPointer`] for a write, nothing for the others.
///
/// Exactly one of these starts it: [`wait`](Self::wait), `.await`,
/// [`nowait`](Self::nowait), [`start`](Self::start), [`send_to`](Self::send_to).
#[must_use = "a request does nothing until it is waited for, awaited or started"]
pub struct Pending<T> {
    request: Result<Request, Error>,
    outcome: PhantomData<fn() -> T>,
}

impl<T: Outcome> Pending<T> {
    pub(crate) fn new(request: Result<Request, Error>) -> Self {
        Self { request, outcome: PhantomData }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Zio) -> Result<(), Error>) -> Self {
        if let Ok(request) = &mut self.request
            && let Err(error) = change(request.zio())
        {
            self.request = Err(error);
        }
        self
    }

    /// Sets the class: who wants it. Reads are [`Priority::SyncRead`] and writes
    /// [`Priority::AsyncWrite`] unless told otherwise.
    pub fn priority(self, priority: Priority) -> Self {
        self.with(|zio| {
            zio.priority = priority;
            Ok(())
        })
    }

    /// Do not take an error of the devices for an answer: the request is suspended until
    /// [`Pipeline::resume`](crate::Pipeline::resume), however often it takes, whatever the
    /// [fail mode](crate::Builder::fail_mode). Errors that no device could mend come back all the same: no space, a
    /// bad pointer, a key that is missing. Flushes, trims, raw ranges and groups are refused.
    pub fn must_succeed(self) -> Self {
        self.with(|zio| {
            if zio.vdev.is_some() || matches!(zio.ty(), ZioType::Ioctl | ZioType::Null) {
                let words = "a block's I/O can be suspended, and nothing else";
                return Err(Error::msg(ErrorKind::Invalid, words));
            }
            zio.remove_flags(Flags::CANFAIL);
            zio.must_succeed = true;
            Ok(())
        })
    }

    /// Puts it into a hand: its owner can cancel it, or change its class, while it is under way.
    /// Several requests can be in the same hand.
    pub fn control(self, control: &Control) -> Self {
        self.with(|zio| {
            zio.control = Some(control.clone());
            Ok(())
        })
    }

    /// Writes its story down: which stages it and the I/Os it makes run, when, on which device, and
    /// how they end.
    ///
    /// ```
    /// # let disk = std::sync::Arc::new(vdev_disk::Memory::new(16 << 20, 512));
    /// # let pipeline = zio_pipeline::Pipeline::builder().vdev(disk).build()?;
    /// let trace = pipeline.trace();
    /// let bp = pipeline.write(vec![7; 4096]).trace(&trace).wait()?;
    /// println!("{trace}");
    /// # assert!(trace.to_string().contains("DVA_ALLOCATE"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn trace(self, trace: &Trace) -> Self {
        self.with(|zio| {
            zio.write_down(trace);
            Ok(())
        })
    }

    /// Says whose block it is, for order and error reports.
    pub fn bookmark(self, bookmark: Bookmark) -> Self {
        self.with(|zio| {
            zio.bookmark = bookmark;
            Ok(())
        })
    }

    /// Makes it part of a group: the group is done after it, and inherits its
    /// error, also that of a request that could not even be made.
    ///
    /// # Panics
    /// When the group is already done, or is of another pipeline.
    pub fn under(mut self, group: &Parent) -> Self {
        self.request = match self.request {
            Ok(request) => Ok(request.under(group)),
            Err(error) => {
                group.inherit(&error);
                Err(error)
            }
        };
        self
    }

    /// The request as a group for others.
    ///
    /// # Errors
    /// Why the request could not be made.
    pub fn as_parent(&self) -> Result<Parent, Error> {
        self.request.as_ref().map(Request::as_parent).map_err(Clone::clone)
    }

    /// Starts it and waits on this thread, which drives the devices meanwhile.
    ///
    /// # Errors
    /// What went wrong, where. Called from a completion callback, where waiting
    /// would wait for itself, it says so; the I/O is started all the same.
    pub fn wait(self) -> Result<T, Error> {
        self.request?.wait().map(T::of)
    }

    /// Starts it; the I/O is with its device when this returns. The handle can
    /// be waited for, awaited, or dropped.
    ///
    /// # Errors
    /// Why the request could not be made; errors of the I/O come from the handle.
    pub fn start(self) -> Result<Started<T>, Error> {
        Ok(Started { handle: self.request?.start(), outcome: PhantomData })
    }

    /// Starts it; `callback` gets the result on whatever thread finishes it.
    /// The callback may start further I/O but must not block.
    pub fn nowait(self, callback: impl FnOnce(Result<T, Error>) + Send + 'static) {
        match self.request {
            Ok(request) => request.nowait(Box::new(move |finished: Finished| {
                callback(finished.result().map(|()| T::of(finished)));
            })),
            Err(error) => callback(Err(error)),
        }
    }

    /// Starts it; the finished zio is collected under `tag`. Allocates nothing.
    ///
    /// # Errors
    /// Why the request could not be made; then nothing is collected.
    pub fn send_to(self, completions: &Completions, tag: u64) -> Result<(), Error> {
        let request = self.request?;
        request.send_to(completions.expect_one(), tag);
        Ok(())
    }
}

impl<T> std::fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pending").field(&self.request).finish()
    }
}

impl<T: Outcome> IntoFuture for Pending<T> {
    type Output = Result<T, Error>;
    type IntoFuture = Awaited<T>;

    fn into_future(self) -> Awaited<T> {
        Awaited(self.start())
    }
}

/// A request that is under way. Dropped, it goes on and its result is thrown away.
#[must_use = "dropping a handle throws the result away"]
pub struct Started<T> {
    handle: Handle,
    outcome: PhantomData<fn() -> T>,
}

impl<T: Outcome> Started<T> {
    /// Waits on this thread, which drives the devices meanwhile.
    ///
    /// # Errors
    /// What went wrong, where.
    pub fn wait(self) -> Result<T, Error> {
        self.handle.wait().map(T::of)
    }

    /// Is the result there?
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }
}

impl<T: Outcome> Future for Started<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(cx).map(|result| result.map(T::of))
    }
}

impl<T> std::fmt::Debug for Started<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.handle.fmt(f)
    }
}

/// The future of a [`Pending`]; made by `.await`.
#[derive(Debug)]
pub struct Awaited<T>(Result<Started<T>, Error>);

impl<T: Outcome> Future for Awaited<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Ok(started) => Pin::new(started).poll(cx),
            Err(error) => Poll::Ready(Err(error.clone())),
        }
    }
}
