//! The transaction groups that dirty data belongs to: one open, at most one quiescing, at most one syncing
//! (spec 8.5).

use zio_core::Txg;

#[derive(Clone, Copy, Debug)]
struct Open {
    txg: Txg,
    since_ns: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Closed {
    txg: Txg,
    bytes: u64,
}

/// Where the bytes of a transaction group stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody has begun to write them.
    Waiting,
    Syncing,
    Synced,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Txgs {
    open: Open,
    quiescing: Option<Closed>,
    syncing: Option<Closed>,
    /// Somebody waits for this one.
    asked: Option<Txg>,
}

impl Txgs {
    pub(super) fn new(txg: Txg, now_ns: u64) -> Self {
        let open = Open { txg, since_ns: now_ns, bytes: 0 };
        Self { open, quiescing: None, syncing: None, asked: None }
    }

    pub(super) fn open_txg(&self) -> Txg {
        self.open.txg
    }

    pub(super) fn open_bytes(&self) -> u64 {
        self.open.bytes
    }

    pub(super) fn syncing_bytes(&self) -> u64 {
        self.syncing.map_or(0, |closed| closed.bytes)
    }

    pub(super) fn open_since_ns(&self) -> u64 {
        self.open.since_ns
    }

    pub(super) fn can_close(&self) -> bool {
        self.quiescing.is_none()
    }

    pub(super) fn admit(&mut self, bytes: u64) -> Txg {
        self.open.bytes += bytes;
        self.open.txg
    }

    /// Bytes of this one are not dirty any more.
    pub(super) fn end(&mut self, txg: Txg, bytes: u64) -> Stage {
        let closed = |of: &Option<Closed>| of.is_some_and(|closed| closed.txg == txg);
        if txg == self.open.txg {
            self.open.bytes = self.open.bytes.saturating_sub(bytes);
            return Stage::Waiting;
        }
        let (stage, of) = match closed(&self.quiescing) {
            true => (Stage::Waiting, &mut self.quiescing),
            false if closed(&self.syncing) => (Stage::Syncing, &mut self.syncing),
            false => return Stage::Synced,
        };
        of.iter_mut().for_each(|closed| closed.bytes = closed.bytes.saturating_sub(bytes));
        stage
    }

    /// The open one takes nothing more; the next one does. `None` while another one is quiescing.
    pub(super) fn close(&mut self, now_ns: u64) -> Option<Txg> {
        if !self.can_close() {
            return None;
        }
        let Open { txg, bytes, .. } = self.open;
        self.quiescing = Some(Closed { txg, bytes });
        self.open = Open { txg: txg + 1, since_ns: now_ns, bytes: 0 };
        Some(txg)
    }

    /// Returns the one that is being written now, and its bytes.
    pub(super) fn begin_sync(&mut self) -> Option<(Txg, u64)> {
        if self.syncing.is_some() {
            return None;
        }
        self.syncing = self.quiescing.take();
        self.syncing.map(|closed| (closed.txg, closed.bytes))
    }

    pub(super) fn end_sync(&mut self) -> Option<Txg> {
        let synced = self.syncing.take()?.txg;
        self.asked = self.asked.filter(|asked| *asked > synced);
        Some(synced)
    }

    pub(super) fn ask(&mut self) -> Txg {
        *self.asked.insert(self.open.txg)
    }

    /// Does somebody wait for the open one?
    pub(super) fn open_is_asked_for(&self) -> bool {
        self.asked == Some(self.open.txg)
    }

    /// Does somebody wait for any?
    pub(super) fn is_asked_for(&self) -> bool {
        self.asked.is_some()
    }
}
