//! Devices that do not answer (spec 1.18).
//!
//! An I/O that its device has had for too long can be given up: the requests it serves end with
//! [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut), or are served from another leaf; so do those that
//! have waited as long behind it. The I/O
//! itself stays with the device, buffers and all; whenever the answer comes, it is nobody's. What a
//! write that was given up may yet write to is not used again by this pipeline.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use taskq::{Service, Woken};
use zio_core::{VdevError, VdevErrorKind, VdevId};

use crate::shared::Shared;

/// When to take a device for hung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadman {
    /// An I/O that takes so long is given up.
    pub after: Duration,
    /// How often to look.
    pub every: Duration,
}

impl Default for Deadman {
    /// Given up after five minutes, looked for every minute.
    fn default() -> Self {
        Self { after: Duration::from_secs(300), every: Duration::from_secs(60) }
    }
}

/// An I/O that its device has not answered for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Vdev.
    pub vdev: VdevId,
    /// Leaf within it.
    pub leaf: u32,
    /// Offset on the device.
    pub offset_bytes: u64,
    /// Length; 0 for a flush.
    pub len_bytes: u64,
    /// How long the device has had it.
    pub age: Duration,
    /// The requests it serves have been told that it failed.
    pub given_up: bool,
}

pub(crate) fn overdue(shared: &Shared, after: Duration) -> Vec<Overdue> {
    let mut found = Vec::new();
    for leaf in shared.leaves() {
        let now_ns = leaf.now_ns();
        let place = leaf.place();
        for io in leaf.in_flight() {
            let age = Duration::from_nanos(now_ns.saturating_sub(io.start_ns));
            if age >= after {
                found.push(Overdue {
                    vdev: place.vdev,
                    leaf: place.leaf.unwrap_or(0),
                    offset_bytes: io.offset_bytes,
                    len_bytes: io.len_bytes,
                    age,
                    given_up: io.given_up,
                });
            }
        }
    }
    found
}

pub(crate) fn give_up_overdue(shared: &Shared, after: Duration) -> usize {
    let after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
    let words = format!("no answer for {after:?}");
    let error = VdevError::msg(VdevErrorKind::TimedOut, words);
    shared
        .leaves()
        .filter_map(|leaf| {
            let before_ns = leaf.now_ns().checked_sub(after_ns)?;
            let given_up = leaf.give_up_flights(before_ns, &error);
            // A device that hangs does not get to those behind either.
            let waiting = if leaf.hangs() { leaf.give_up_waiting(before_ns, &error) } else { 0 };
            Some(given_up + waiting)
        })
        .sum()
}

/// Looks again and again, on a thread of its own.
pub(crate) fn watch(deadman: Deadman, shared: &Arc<Shared>) -> io::Result<Service> {
    let shared: Weak<Shared> = Arc::downgrade(shared);
    Service::spawn("zio-deadman", move |stop| {
        while stop.wait_timeout(deadman.every) != Woken::Stop {
            let Some(shared) = shared.upgrade() else { return };
            give_up_overdue(&shared, deadman.after);
        }
    })
}
