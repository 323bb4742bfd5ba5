//! How fast dirty data is let in, by how fast it goes out.
//!
//! ```text
//!  admitted :  ▲│
//!  drained     ││
//!            2 ┤ ╲
//!              │  ╲
//!            1 ┤   `-.          two transaction groups under way and most of an open one
//!          1/2 ┤      `·--______________  while there is room below the hard limit
//!              └────┬───┬────┬──────────▶ dirty, % of the limit
//!                  30  66   100
//! ```
//!
//! Whatever the drain rate is believed to be, the fill settles where as much comes in as goes out: the belief
//! decides where on the curve that is, and with a good one it is 66 %.
//!
//! The fill that counts is a level one: a lump that goes out at once, at the end of a transaction group, is
//! taken off it as if it went out at the drain rate. That is what keeps the teeth off the saw.

use super::Curve;

/// Percent of the limit up to which nobody waits. The device queues begin to give writes more there (spec 4.3).
const FREE_PERCENT: u128 = 30;
/// Percent at which as much comes in as goes out. Writes have all of the devices from 60 % on (spec 4.3), and a fill
/// that settles there would be below it half of the time: a tenth of the bandwidth, as measured.
const LEVEL_PERCENT: u128 = 66;
/// Of the drain rate, if the limit is passed and the hard one is not near.
const SLOWEST_PERCENT: u128 = 50;
/// The longest step, whatever the speed: then somebody is let in.
const STEP_NS_MAX: u64 = 100_000_000;
/// A lump is levelled this much faster than it would drain, so that it is gone when the next one comes.
const LEVELLING_PERCENT: u128 = 106;

/// What has gone out in a lump and is not taken off yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    lump_bytes: u64,
    at_ns: u64,
}

impl Level {
    /// So many bytes have gone out. What is levelled is bounded: with nothing left to write, and writers at the drain
    /// rate because of what is behind them, devices would run dry.
    pub(super) fn drained(&mut self, bytes: u64, now_ns: u64, rate: Option<u64>, limit_bytes: u64) {
        let most = u128::from(limit_bytes) * (LEVEL_PERCENT - FREE_PERCENT) / 100;
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        self.lump_bytes = self.lump_bytes(now_ns, rate).saturating_add(bytes).min(most);
        self.at_ns = now_ns;
    }

    /// What is left of the lump. One of unknown speed is none.
    pub(super) fn lump_bytes(&self, now_ns: u64, bytes_per_s: Option<u64>) -> u64 {
        let ns = u128::from(now_ns.saturating_sub(self.at_ns));
        let out = bytes_per_s.map_or(u128::MAX, |rate| {
            u128::from(rate) * ns * LEVELLING_PERCENT / 100 / 1_000_000_000
        });
        self.lump_bytes.saturating_sub(u64::try_from(out).unwrap_or(u64::MAX))
    }
}

/// What the pace depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    pub(super) dirty_bytes: u64,
    /// The same with lumps levelled.
    pub(super) level_bytes: u64,
    /// The limit that follows the devices.
    pub(super) limit_bytes: u64,
    pub(super) hard_limit_bytes: u64,
    pub(super) drain_bytes_per_s: Option<u64>,
}

impl Fill {
    /// How long the next request waits after one of so many bytes.
    pub(super) fn step_ns(&self, bytes: u64) -> u64 {
        let Some(drain) = self.drain_bytes_per_s else {
            return Curve::default().delay_ns(self.dirty_bytes, self.limit_bytes);
        };
        let Some(percent) = self.percent() else { return 0 };
        let per_s = u128::from(drain) * percent / 100;
        let ns = (u128::from(bytes) * 1_000_000_000).checked_div(per_s).unwrap_or(u128::MAX);
        // At most the longest, a u64.
        ns.min(u128::from(STEP_NS_MAX)) as u64
    }

    /// What may come in, in percent of the drain rate; `None`: anything.
    fn percent(&self) -> Option<u128> {
        let of_limit = follows(self.level_bytes, self.limit_bytes)?.max(SLOWEST_PERCENT);
        // Squared, the room that is left shrinks with 1/t and not with e^-t, if devices stop for a while.
        let left = room(self.dirty_bytes, self.hard_limit_bytes);
        Some(of_limit.min(left * left / 100))
    }
}

/// The curve above, without its floor.
fn follows(level_bytes: u64, limit_bytes: u64) -> Option<u128> {
    let (level, limit) = (u128::from(level_bytes), u128::from(limit_bytes));
    let above = (level * 100).checked_sub(limit * FREE_PERCENT).filter(|above| *above > 0)?;
    // 1 at LEVEL, 0 at the limit, and without bound at FREE.
    let shape = room(level_bytes, limit_bytes) * limit * (LEVEL_PERCENT - FREE_PERCENT);
    Some(shape / above)
}

/// Percent of the drain rate by the room that is left: 100 at LEVEL, 0 when there is none.
fn room(bytes: u64, limit_bytes: u64) -> u128 {
    let (left, limit) = (limit_bytes.saturating_sub(bytes), u128::from(limit_bytes.max(1)));
    u128::from(left) * 100 * 100 / (limit * (100 - LEVEL_PERCENT))
}
