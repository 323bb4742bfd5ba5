//! What is held back, and when it goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use taskq::{Service, Woken};
use zio_core::task::Place;
use zio_core::{Engine, Holding, Priority, QueueKind, Stages, ZioBox};

use crate::clock::Clock;
use crate::inject::Injections;

/// Calls a function after so long, not at once.
pub(super) type Alarm = Arc<dyn Fn(Duration, Box<dyn FnOnce() + Send>) + Send + Sync>;

/// How something goes on.
type Then = Box<dyn FnOnce() + Send>;

/// When something goes on, and its number.
type Key = (u64, u64);

#[derive(Default)]
struct Held {
    last_number: u64,
    waiting: BTreeMap<Key, Then>,
    /// Calls [`Delays::end_due`] where no alarm was given.
    service: Option<Service>,
}

/// What one pipeline holds back. Holds no thread for it.
pub(crate) struct Delays {
    clock: Clock,
    alarm: Option<Alarm>,
    held: Mutex<Held>,
}

impl Delays {
    pub(crate) fn new(injections: &Injections, clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, alarm: injections.alarm(), held: Mutex::default() })
    }

    /// A time that is so far away, by the pipeline's clock.
    pub(super) fn target_ns(&self, delay: Duration) -> u64 {
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.clock.now_ns().saturating_add(delay_ns)
    }

    /// How much is held back.
    pub(crate) fn len(&self) -> usize {
        self.held.lock().waiting.len()
    }

    /// Calls `then` at this time or later: at once, on this thread, if the time has come.
    pub(super) fn hold(self: &Arc<Self>, target_ns: u64, then: Then) {
        if self.clock.now_ns() >= target_ns {
            then();
        } else {
            let number = self.next_number();
            self.insert((target_ns, number), then);
        }
    }

    /// Runs the zio at this stage again at this time, or when it is cancelled before.
    pub(super) fn hold_zio(self: &Arc<Self>, target_ns: u64, stage: Stages, mut zio: ZioBox) {
        let key = (target_ns, self.next_number());
        let control = zio.control.clone();
        zio.delayed_until_ns = Some(target_ns);
        zio.entered = control.as_ref().map(|control| control.enter(Arc::clone(self) as _, key.1));
        zio.rerun_from(stage);
        self.insert(
            key,
            Box::new(move || {
                zio.entered = None;
                Engine::dispatch(zio, QueueKind::Issue, Place::Front);
            }),
        );
        if control.is_some_and(|control| control.is_cancelled()) {
            self.end(|other| *other == key);
        }
    }

    fn next_number(&self) -> u64 {
        let mut held = self.held.lock();
        held.last_number += 1;
        held.last_number
    }

    fn insert(self: &Arc<Self>, key: Key, then: Then) {
        let mut held = self.held.lock();
        held.waiting.insert(key, then);
        if self.alarm.is_some() {
            drop(held);
            self.set_alarm(key);
            return;
        }
        if held.service.is_none() {
            held.service = self.spawn();
        }
        match &held.service {
            Some(service) => service.notify(),
            // Without a thread nobody would ever end it.
            None => {
                drop(held);
                self.end(|other| *other == key);
            }
        }
    }

    /// An alarm may come early; then it is set again.
    fn set_alarm(self: &Arc<Self>, key: Key) {
        let Some(alarm) = &self.alarm else { return };
        let left_ns = key.0.saturating_sub(self.clock.now_ns()).max(1);
        let me = Arc::downgrade(self);
        let ring = move || {
            let Some(me) = me.upgrade() else { return };
            me.end_due();
            if me.held.lock().waiting.contains_key(&key) {
                me.set_alarm(key);
            }
        };
        alarm(Duration::from_nanos(left_ns), Box::new(ring));
    }

    fn spawn(self: &Arc<Self>) -> Option<Service> {
        let me: Weak<Self> = Arc::downgrade(self);
        let body = move |stop: taskq::StopFlag| {
            loop {
                let Some(delays) = me.upgrade() else { return };
                let left = delays.end_due();
                drop(delays);
                let woken = match left {
                    Some(left) => stop.wait_timeout(left),
                    None => stop.wait(),
                };
                if woken == Woken::Stop {
                    return;
                }
            }
        };
        Service::spawn("zio-delays", body).ok()
    }

    /// Ends those whose time has come. Returns how long the next one has.
    fn end_due(&self) -> Option<Duration> {
        let now_ns = self.clock.now_ns();
        self.end(|(target_ns, _)| *target_ns <= now_ns);
        let held = self.held.lock();
        let (target_ns, _) = held.waiting.first_key_value()?.0;
        Some(Duration::from_nanos(target_ns.saturating_sub(self.clock.now_ns()).max(1)))
    }

    /// Ends those of which `which` says so, whether their time has come or not. Returns how many.
    pub(crate) fn end(&self, which: impl Fn(&Key) -> bool) -> usize {
        let mut held = self.held.lock();
        let all = std::mem::take(&mut held.waiting);
        let (ended, left): (BTreeMap<_, _>, _) = all.into_iter().partition(|(key, _)| which(key));
        held.waiting = left;
        drop(held);
        let count = ended.len();
        // In order, and without a lock: each goes wherever it goes.
        ended.into_values().for_each(|then| then());
        count
    }
}

/// A zio that is held back can be cancelled; a delay knows no classes.
impl Holding for Delays {
    fn cancel(self: Arc<Self>, ticket: u64) {
        self.end(|(_, number)| *number == ticket);
    }

    fn reprioritise(self: Arc<Self>, _: u64, _: Priority) {}
}
