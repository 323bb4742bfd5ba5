//! Extra copies of what very many pointers share (spec 6.4 step 3).
//!
//! One bad block would cost all of its pointers their data. From *D* references on an entry is to
//! have two copies in all, from *D*² on three; those that its blocks do not have by themselves are
//! its ditto block. No pointer leads there: it is read when all else fails, and given back when
//! the references have become too few for it.

use crate::flight::{DittoToken, Flight, LeadToken, Waiters};
use crate::key::Key;
use crate::phys::{Copies, Phys};
use crate::record::Body;
use crate::table::Table;
use crate::table::entry::{Ditto, Slot, Wide};

/// The least *D*; spec 6.4.
pub const DITTO_REFERENCES_MIN: u64 = 100;

impl<W> Table<W> {
    /// From so many references on, at least [`DITTO_REFERENCES_MIN`], a block is to have extra
    /// copies. They are off until this is called; what exists already is looked at when next
    /// touched.
    pub fn set_ditto_references(&mut self, references: u64) {
        self.ditto_references = Some(references.max(DITTO_REFERENCES_MIN));
    }

    /// Copies that references ask for and the entry's own blocks do not have.
    fn missing_copies(&self, references: u64, present: u64) -> u8 {
        let Some(first) = self.ditto_references else { return 0 };
        let wanted = match references {
            0 => 0,
            n if n >= first.saturating_mul(first) => 3,
            n if n >= first => 2,
            _ => 1,
        };
        u64::saturating_sub(wanted, present) as u8
    }

    fn missing_of(&self, wide: &Wide) -> u8 {
        let references = wide.stored.iter().map(|stored| stored.references).sum();
        let present = wide.stored.iter().map(|stored| u64::from(stored.copies.get())).sum();
        self.missing_copies(references, present)
    }

    /// If the block has so many references by now that it lacks copies, and nobody writes them:
    /// the duty to. To be asked after each new reference; costs a look at the entry.
    pub fn lead_ditto(&mut self, key: &Key) -> Option<DittoToken> {
        self.ditto_references?;
        self.settle_abandoned();
        let at = self.entries.find(key)?;
        let body = self.entries.body(at);
        let missing = match body {
            Body::Plain { references, .. } => self.missing_copies(references, 1),
            Body::Wide { wide } => {
                let entry = &self.wides[wide];
                let there = entry.ditto.as_ref().map_or(0, |ditto| ditto.copies.get());
                let in_flight = entry.flights[Slot::Ditto.index()].is_some();
                let missing = self.missing_of(entry);
                if in_flight || missing <= there { 0 } else { missing }
            }
        };
        let copies = Copies::new(missing)?;
        let wide = self.widen(at, &body);
        let flight = Flight { key: *key, slot: Slot::Ditto, waiters: Waiters::new() };
        // Fewer flights than entries: the number fits.
        let flight = self.flights.insert(flight) as u32;
        self.wides[wide].flights[Slot::Ditto.index()] = Some(flight);
        Some(DittoToken(LeadToken::new(*key, copies, flight, &self.abandoned)))
    }

    /// The extra copies have been written, to `phys`. Returns a block that is to be freed: older
    /// and fewer copies, or these very ones, if they are not wanted any more.
    ///
    /// # Errors
    ///
    /// The token, if it is another table's.
    pub fn complete_ditto(
        &mut self,
        token: DittoToken,
        phys: Phys,
    ) -> Result<Option<Phys>, DittoToken> {
        let copies = token.copies();
        let flight = self.land(token.0).map_err(|foreign| DittoToken(foreign.token))?;
        let Some((at, wide)) = self.find_wide(&flight.key) else { return Ok(Some(phys)) };
        let is_wanted = self.missing_of(&self.wides[wide]) > 0;
        let ditto = &mut self.wides[wide].ditto;
        let is_read = ditto.as_ref().is_some_and(|ditto| ditto.readers > 0);
        let released = if is_wanted && !is_read {
            let new = Box::new(Ditto { phys, copies, readers: 0 });
            ditto.replace(new).map(|older| older.phys)
        } else {
            Some(phys)
        };
        self.narrow(at, wide);
        Ok(released)
    }

    /// The extra copies could not be written. The next reference asks for them again.
    ///
    /// # Errors
    ///
    /// The token, if it is another table's.
    pub fn fail_ditto(&mut self, token: DittoToken) -> Result<(), DittoToken> {
        let flight = self.land(token.0).map_err(|foreign| DittoToken(foreign.token))?;
        self.settle(&flight.key);
        Ok(())
    }

    /// Extra copies that the block has too few references for, to be freed by the caller. To be
    /// asked after each reference that is given back.
    pub fn release_ditto(&mut self, key: &Key) -> Option<Phys> {
        let (at, wide) = self.find_wide(key)?;
        let entry = &self.wides[wide];
        if entry.ditto.as_ref()?.readers > 0 || self.missing_of(entry) > 0 {
            return None;
        }
        let ditto = self.wides[wide].ditto.take()?;
        self.narrow(at, wide);
        Some(ditto.phys)
    }

    /// The extra copies of a block, to be read. They stay until [`let_go_ditto`](Self::let_go_ditto).
    pub fn hold_ditto(&mut self, key: &Key) -> Option<Phys> {
        let (_, wide) = self.find_wide(key)?;
        let ditto = self.wides[wide].ditto.as_mut()?;
        ditto.readers += 1;
        Some(ditto.phys)
    }

    /// The extra copies have been read. As [`release_ditto`](Self::release_ditto), returns them if
    /// they are to be freed now.
    pub fn let_go_ditto(&mut self, key: &Key) -> Option<Phys> {
        let (_, wide) = self.find_wide(key)?;
        let ditto = self.wides[wide].ditto.as_mut()?;
        ditto.readers = ditto.readers.saturating_sub(1);
        self.release_ditto(key)
    }

    /// Number of copies of extra copies an entry has.
    pub fn ditto_copies(&self, key: &Key) -> Option<Copies> {
        let (_, wide) = self.find_wide(key)?;
        self.wides[wide].ditto.as_ref().map(|ditto| ditto.copies)
    }

    pub(super) fn find_wide(&self, key: &Key) -> Option<(u32, usize)> {
        let at = self.entries.find(key)?;
        match self.entries.body(at) {
            Body::Wide { wide } => Some((at, wide)),
            Body::Plain { .. } => None,
        }
    }
}
