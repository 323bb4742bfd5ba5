//! Who reaps: a waiting thread drives the devices itself.
//!
//! There is one reaper role per engine. A waiter that finds the role free takes
//! it and turns the reactor until its own zio is finished, then hands the role
//! to the next waiter. The others sleep; whoever finishes their zio wakes them.
//! A background thread takes the role only while nobody waits and something
//! must go on all the same (callbacks, futures).
//!
//! No wake-up is lost: sleeping threads use the thread's park token, and a
//! leader that sleeps in its reactor is woken through [`Reactor::wake`], which
//! is remembered until the next turn.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::sync::{AtomicUsize, Mutex, Thread, current, park, thread_local};
use crate::vdev::{Reactor, Wait};

thread_local! {
    /// Address of the [`Reaping`] whose reactor this thread is turning; 0 for none.
    static TURNING: Cell<usize> = Cell::default();
}

/// This thread is inside a turn; of what it was turning before, if turns nest.
struct Turning {
    before: usize,
}

impl Drop for Turning {
    fn drop(&mut self) {
        TURNING.with(|turning| turning.set(self.before));
    }
}

/// Gives up role and place in the queue, also when a turn panics.
struct Leaving<'a> {
    reaping: &'a Reaping,
    me: &'a Thread,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.reaping.leave(self.me);
    }
}

#[derive(Default)]
struct Role {
    leader: Option<Thread>,
    /// The leader is the background reaper.
    background_leads: bool,
    /// Waiters without the role, longest wait first.
    followers: Vec<Thread>,
    background: Option<Thread>,
}

pub(crate) struct Reaping {
    reactor: Option<Arc<dyn Reactor>>,
    role: Mutex<Role>,
    /// Zios that must go on although no thread waits for them.
    detached: AtomicUsize,
}

impl Reaping {
    pub(crate) fn new(reactor: Option<Arc<dyn Reactor>>) -> Self {
        Self { reactor, role: Mutex::new(Role::default()), detached: AtomicUsize::new(0) }
    }

    pub(crate) fn is_turning_here(&self) -> bool {
        TURNING.with(Cell::get) == self.address()
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn turn(&self, reactor: &dyn Reactor) {
        let _turning = Turning { before: TURNING.with(|turning| turning.replace(self.address())) };
        reactor.turn(Wait::Block);
    }

    /// Blocks this thread until `done` says so. `done` is asked again after
    /// every wake-up until it has said yes once, and must arrange for [`Reaping::wake`] on this thread.
    pub(crate) fn wait(&self, done: impl Fn(&Thread) -> bool) {
        let me = current();
        let Some(reactor) = &self.reactor else {
            while !done(&me) {
                park();
            }
            return;
        };
        let _leaving = Leaving { reaping: self, me: &me };
        // `done` may hand something over when it says yes: it is never asked again after that.
        while !done(&me) {
            if self.try_lead(&me) {
                while !done(&me) {
                    self.turn(&**reactor);
                }
                return;
            }
            reactor.submit();
            if done(&me) {
                return;
            }
            if !self.leads(&me) {
                park();
            }
        }
    }

    /// Takes the role if it is free or already handed to this thread;
    /// otherwise joins the followers.
    fn try_lead(&self, me: &Thread) -> bool {
        let mut role = self.role.lock();
        match &role.leader {
            None => {
                role.leader = Some(me.clone());
                role.followers.retain(|t| t.id() != me.id());
                true
            }
            Some(leader) if leader.id() == me.id() => true,
            Some(_) => {
                if !role.followers.iter().any(|t| t.id() == me.id()) {
                    role.followers.push(me.clone());
                }
                let ask_background = role.background_leads;
                drop(role);
                if ask_background && let Some(reactor) = &self.reactor {
                    reactor.wake();
                }
                false
            }
        }
    }

    fn leads(&self, me: &Thread) -> bool {
        self.role.lock().leader.as_ref().is_some_and(|t| t.id() == me.id())
    }

    /// Gives up role and place in the queue.
    fn leave(&self, me: &Thread) {
        let mut role = self.role.lock();
        role.followers.retain(|t| t.id() != me.id());
        if role.leader.as_ref().is_some_and(|t| t.id() == me.id()) {
            self.pass_on(role);
        }
    }

    /// The role goes to the longest waiter, or lies free; then the background
    /// reaper is told if there is work for it.
    fn pass_on(&self, mut role: impl std::ops::DerefMut<Target = Role>) {
        role.background_leads = false;
        role.leader = if role.followers.is_empty() { None } else { Some(role.followers.remove(0)) };
        let nobody = role.leader.is_none();
        let wake = match &role.leader {
            Some(next) => Some(next.clone()),
            None if self.detached.load(Ordering::SeqCst) > 0 => role.background.clone(),
            None => None,
        };
        drop(role);
        if nobody && let Some(reactor) = &self.reactor {
            // No turn is coming that would hand over what the last one started.
            reactor.submit();
        }
        if let Some(thread) = wake {
            thread.unpark();
        }
    }

    /// Wakes a thread that waits in [`Reaping::wait`], wherever it sleeps.
    pub(crate) fn wake(&self, thread: &Thread) {
        if thread.id() == current().id() {
            return;
        }
        if let Some(reactor) = &self.reactor
            && self.leads(thread)
        {
            reactor.wake();
        }
        thread.unpark();
    }

    // -- Work nobody waits for. --

    /// One more zio must go on by itself.
    pub(crate) fn detached(&self) {
        if self.detached.fetch_add(1, Ordering::SeqCst) > 0 && self.is_turning_here() {
            return;
        }
        let background = {
            let role = self.role.lock();
            if role.leader.is_none() { role.background.clone() } else { None }
        };
        if let Some(thread) = background {
            thread.unpark();
        }
    }

    /// One less.
    pub(crate) fn attached(&self) {
        self.detached.fetch_sub(1, Ordering::SeqCst);
    }

    /// See [`Engine::reap_in_background`](crate::Engine::reap_in_background).
    pub(crate) fn background(&self, stop: &dyn Fn() -> bool) {
        let me = current();
        self.role.lock().background = Some(me.clone());
        while !stop() {
            if !self.try_lead_in_background(&me) {
                park();
                continue;
            }
            let _leaving = Leaving { reaping: self, me: &me };
            while !stop() && self.background_is_needed() {
                if let Some(reactor) = &self.reactor {
                    self.turn(&**reactor);
                }
            }
        }
        self.role.lock().background = None;
    }

    fn try_lead_in_background(&self, me: &Thread) -> bool {
        if self.reactor.is_none() || self.detached.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let mut role = self.role.lock();
        if role.leader.is_some() {
            return false;
        }
        role.leader = Some(me.clone());
        role.background_leads = true;
        true
    }

    fn background_is_needed(&self) -> bool {
        self.detached.load(Ordering::SeqCst) > 0 && self.role.lock().followers.is_empty()
    }

    pub(crate) fn wake_background(&self) {
        let (thread, leads) = {
            let role = self.role.lock();
            (role.background.clone(), role.background_leads)
        };
        if leads && let Some(reactor) = &self.reactor {
            reactor.wake();
        }
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}
