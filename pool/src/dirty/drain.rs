//! How fast the devices take what they are given, over several transaction groups.

/// A sync that is going on.
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    since_ns: u64,
    drained_bytes: u64,
    /// What is still to be written, as far as is known.
    left_bytes: u64,
}

/// Bytes written over the time of the syncs that wrote them: the last two or three of a busy pool.
///
/// ```text
///                   ┌─ over: B bytes in T ns ─┐┌─ running: d of S bytes in e ns
///  at most  (B + S)/(T + e)   if it ended right now
///  before    B     / T        kept, unless it lies outside
///  at least (B + d)/(T + e)   if it did nothing more until now
/// ```
///
/// So it does not matter whether completions come one by one or all at the end; and a sync that takes longer
/// than it should is noticed before it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    window_bytes: u64,
    /// Fewer say nothing against the devices: the time of such a sync is that of its flushes.
    telling_bytes: u64,
    bytes: u64,
    busy_ns: u64,
    running: Option<Running>,
}

impl Drain {
    /// What was before counts half after so many bytes.
    pub(super) fn new(window_bytes: u64, telling_bytes: u64) -> Self {
        Self { window_bytes, telling_bytes, bytes: 0, busy_ns: 0, running: None }
    }

    pub(super) fn begin(&mut self, left_bytes: u64, now_ns: u64) {
        self.running = Some(Running { since_ns: now_ns, drained_bytes: 0, left_bytes });
    }

    pub(super) fn drained(&mut self, bytes: u64) {
        if let Some(running) = &mut self.running {
            running.drained_bytes += bytes;
            running.left_bytes = running.left_bytes.saturating_sub(bytes);
        }
    }

    /// The sync is over: all of it is written.
    pub(super) fn end(&mut self, now_ns: u64) {
        let Some(Running { since_ns, drained_bytes, left_bytes }) = self.running.take() else {
            return;
        };
        let (bytes, took_ns) = (drained_bytes + left_bytes, now_ns.saturating_sub(since_ns).max(1));
        let says_more = |known| rate(bytes, took_ns) > known;
        if bytes > 0 && (bytes >= self.telling_bytes || self.before().is_none_or(says_more)) {
            self.bytes = self.bytes.saturating_add(bytes);
            self.busy_ns = self.busy_ns.saturating_add(took_ns);
        }
        while self.bytes >= self.window_bytes {
            self.bytes /= 2;
            self.busy_ns = (self.busy_ns / 2).max(1);
        }
    }

    /// By the syncs that are over.
    fn before(&self) -> Option<u64> {
        (self.busy_ns > 0).then(|| rate(self.bytes, self.busy_ns))
    }

    /// Bytes per second, at least 1; `None` before anything was written.
    pub(super) fn bytes_per_s(&self, now_ns: u64) -> Option<u64> {
        let Some(Running { since_ns, drained_bytes, left_bytes }) = self.running else {
            return self.before();
        };
        let busy_ns = self.busy_ns + now_ns.saturating_sub(since_ns).max(1);
        let least = self.bytes + drained_bytes;
        let most = least + left_bytes;
        match self.before() {
            Some(before) => Some(before.max(rate(least, busy_ns)).min(rate(most, busy_ns))),
            None => (drained_bytes > 0).then(|| rate(least, busy_ns)),
        }
    }
}

fn rate(bytes: u64, ns: u64) -> u64 {
    let per_s = u128::from(bytes) * 1_000_000_000 / u128::from(ns.max(1));
    u64::try_from(per_s).unwrap_or(u64::MAX).max(1)
}
