//! Entries of either shape, and how one becomes the other.

use smallvec::SmallVec;

use crate::key::Key;
use crate::phys::{Copies, Identity, Phys};
use crate::record::Body;
use crate::table::Table;
use crate::totals::StoredBlock;

/// One stored block of a wide entry.
#[derive(Clone, Copy)]
pub(super) struct Stored {
    pub(super) phys: Phys,
    pub(super) references: u64,
    pub(super) copies: Copies,
}

/// Extra copies of an entry with very many references. No pointer leads to them.
pub(super) struct Ditto {
    pub(super) phys: Phys,
    pub(super) copies: Copies,
    /// Who reads them: they stay as long.
    pub(super) readers: u32,
}

/// What a write in flight is to become.
#[derive(Clone, Copy)]
pub(crate) enum Slot {
    /// The entry's extra copies.
    Ditto,
    /// Its block of so many copies.
    Of(Copies),
}

impl Slot {
    const COUNT: usize = 4;

    pub(super) const fn index(self) -> usize {
        match self {
            Self::Ditto => 0,
            Self::Of(copies) => copies.get() as usize,
        }
    }
}

/// What does not fit a record: a write in flight, several stored blocks, several addresses.
#[derive(Default)]
pub(super) struct Wide {
    pub(super) stored: SmallVec<[Stored; 1]>,
    pub(super) ditto: Option<Box<Ditto>>,
    /// Numbers of the writes in flight, by [`Slot`].
    pub(super) flights: [Option<u32>; Slot::COUNT],
}

impl<W> Table<W> {
    pub(super) fn blocks_of(&self, key: Key, body: Body) -> impl Iterator<Item = StoredBlock> {
        let (plain, wide): (_, &[Stored]) = match body {
            Body::Plain { phys, references } => {
                (Some(StoredBlock { key, copies: Copies::One, phys, references }), &[])
            }
            Body::Wide { wide } => (None, &self.wides[wide].stored),
        };
        plain.into_iter().chain(wide.iter().map(move |s| StoredBlock {
            key,
            copies: s.copies,
            phys: s.phys,
            references: s.references,
        }))
    }

    /// A new entry with nothing in it: the caller fills it. It has been admitted.
    pub(super) fn insert_wide(&mut self, key: &Key) -> Option<(u32, usize)> {
        let wide = self.wides.insert(Wide::default());
        let at = self.entries.insert(key, &Body::Wide { wide });
        if at.is_none() {
            self.wides.remove(wide);
            self.quota.release(1);
        }
        at.map(|at| (at, wide))
    }

    pub(super) fn remove_entry(&mut self, at: u32) {
        self.entries.remove(at);
        self.quota.release(1);
    }

    /// Makes the entry wide, and returns the number of its wide part.
    pub(super) fn widen(&mut self, at: u32, body: &Body) -> usize {
        match *body {
            Body::Wide { wide } => wide,
            Body::Plain { phys, references } => {
                let mut entry = Wide::default();
                entry.stored.push(Stored { phys, references, copies: Copies::One });
                let wide = self.wides.insert(entry);
                self.entries.set_body(at, &Body::Wide { wide });
                wide
            }
        }
    }

    /// Gives a wide entry back if a record will do, or nothing at all.
    pub(super) fn narrow(&mut self, at: u32, wide: usize) {
        let entry = &self.wides[wide];
        if entry.ditto.is_some() || entry.flights.iter().any(Option::is_some) {
            return;
        }
        match *entry.stored {
            [] => self.remove_entry(at),
            [Stored { phys, references, copies: Copies::One }] => {
                let Some(plain) = Body::plain(phys, references) else { return };
                self.entries.set_body(at, &plain);
            }
            _ => return,
        }
        self.wides.remove(wide);
    }

    /// Counts references to a stored block of the entry, new or known, and returns its sum.
    pub(super) fn add_stored(
        &mut self,
        at: u32,
        key: &Key,
        copies: Copies,
        phys: Phys,
        count: u64,
    ) -> u64 {
        let body = self.entries.body(at);
        let wide = self.widen(at, &body);
        let stored = &mut self.wides[wide].stored;
        let identity = phys.identity();
        let (before, after) = match stored.iter_mut().find(|s| s.phys.identity() == identity) {
            Some(known) => {
                let before = known.references;
                known.references += count;
                (before, known.references)
            }
            None => {
                stored.push(Stored { phys, references: count, copies });
                (0, count)
            }
        };
        self.narrow(at, wide);
        self.account(key, identity, before, after);
        after
    }

    pub(super) fn account(&mut self, key: &Key, identity: Identity, before: u64, after: u64) {
        self.classes.change(key, before, after);
        if let Some(changes) = &mut self.changes {
            *changes.entry((*key, identity)).or_default() += i128::from(after) - i128::from(before);
        }
    }
}
