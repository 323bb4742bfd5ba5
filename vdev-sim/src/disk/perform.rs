//! What one I/O does to the bytes, and what a fault makes of it.

use zio_core::{Buffers, Data, VdevError, VdevErrorKind, VdevIo, VdevOp};

use super::Flip;
use super::config::Trimmed;
use super::fault::Effect;
use super::store::{Filler, Store};
use crate::rng::Rng;

/// What a failed read leaves in its buffers.
const SCRIBBLE: u8 = 0xa5;

/// Number of pieces of a payload, and how many of them stand in memory at an
/// address that is not a multiple of `align_bytes`.
pub(super) fn count_pieces(op: &VdevOp, align_bytes: usize) -> (u32, u64) {
    let off = |bytes: &[u8]| !bytes.as_ptr().addr().is_multiple_of(align_bytes);
    let (pieces, unaligned) = match op {
        VdevOp::Read(buffers) => (buffers.len(), buffers.iter().filter(|b| off(b)).count()),
        VdevOp::Write(data) => {
            (data.segments().len(), data.chunks().filter(|chunk| off(chunk)).count())
        }
        VdevOp::Flush | VdevOp::Trim { .. } => (0, 0),
    };
    (pieces as u32, unaligned as u64)
}

/// Draws so many different bits of a range, in order.
pub(super) fn draw_flips(rng: &mut Rng, len_bytes: u64, bits: u32) -> Vec<Flip> {
    let all = len_bytes * 8;
    let mut chosen = std::collections::BTreeSet::new();
    while (chosen.len() as u64) < u64::from(bits).min(all) {
        chosen.insert(rng.below(all));
    }
    chosen.iter().map(|bit| Flip { offset_bytes: bit / 8, bit: (bit % 8) as u8 }).collect()
}

pub(super) fn flip(bytes: &mut [u8], flips: &[Flip]) {
    for flip in flips {
        bytes[flip.offset_bytes as usize] ^= 1 << flip.bit;
    }
}

/// The parts of a disk that an I/O works on.
pub(super) struct Work<'a> {
    pub(super) store: &'a mut Store,
    pub(super) rng: &'a mut Rng,
    /// Changes answered so far.
    pub(super) changes: &'a mut u64,
    pub(super) sector_bytes: usize,
    pub(super) trimmed: Trimmed,
}

impl Work<'_> {
    /// Does the I/O's work, with what is done to it. A flush makes durable
    /// the first `covers` changes.
    pub(super) fn perform(
        &mut self,
        io: &mut VdevIo,
        covers: u64,
        effect: Option<Effect>,
    ) -> Result<(), VdevError> {
        let offset_bytes = match effect {
            Some(Effect::Misdirect { other_bytes: Some(there) }) => there,
            _ => io.offset_bytes(),
        };
        match io.op_mut() {
            VdevOp::Read(buffers) => self.read(offset_bytes, buffers, effect),
            VdevOp::Write(data) => self.write(offset_bytes, data, effect),
            VdevOp::Flush => self.flush(covers, effect),
            VdevOp::Trim { len_bytes } => self.trim(offset_bytes, *len_bytes, effect),
        }
    }

    fn read(
        &mut self,
        offset_bytes: u64,
        buffers: &mut Buffers,
        effect: Option<Effect>,
    ) -> Result<(), VdevError> {
        if let Some(Effect::Fail(kind)) = effect {
            buffers.iter_mut().for_each(|b| b.fill(SCRIBBLE));
            return Err(injected(kind));
        }
        let wanted: usize = buffers.iter().map(|b| b.len()).sum();
        let got = if effect == Some(Effect::Short) { self.some_sectors(wanted) } else { wanted };
        let mut done = 0;
        for buffer in buffers.iter_mut() {
            let take = buffer.len().min(got - done);
            self.store.read(offset_bytes + done as u64, &mut buffer[..take]);
            done += take;
        }
        if let Some(Effect::Rot { bits }) = effect {
            for one in draw_flips(self.rng, wanted as u64, bits) {
                flip_in(buffers, one);
            }
        }
        if got < wanted { Err(VdevError::short(got as u64, wanted as u64)) } else { Ok(()) }
    }

    fn write(
        &mut self,
        offset_bytes: u64,
        data: &Data,
        effect: Option<Effect>,
    ) -> Result<(), VdevError> {
        let wanted = data.len();
        match effect {
            Some(Effect::Fail(kind)) => return Err(injected(kind)),
            Some(Effect::Lost) => {}
            Some(Effect::Short) if wanted > 0 => {
                let got = self.some_sectors(wanted);
                self.store_data(offset_bytes, &data.slice(0..got));
                return Err(VdevError::short(got as u64, wanted as u64));
            }
            Some(Effect::Torn { acknowledged }) => {
                self.store_torn(offset_bytes, &data.to_vec());
                return if acknowledged { Ok(()) } else { Err(injected(VdevErrorKind::Io)) };
            }
            Some(Effect::Rot { bits }) => {
                let mut bytes = data.to_vec();
                flip(&mut bytes, &draw_flips(self.rng, wanted as u64, bits));
                self.store_bytes(offset_bytes, &bytes);
            }
            _ => self.store_data(offset_bytes, data),
        }
        Ok(())
    }

    fn flush(&mut self, covers: u64, effect: Option<Effect>) -> Result<(), VdevError> {
        match effect {
            Some(Effect::Fail(kind)) => return Err(injected(kind)),
            Some(Effect::Lost) => {}
            _ => self.store.flush(covers),
        }
        Ok(())
    }

    fn trim(
        &mut self,
        offset_bytes: u64,
        len_bytes: u64,
        effect: Option<Effect>,
    ) -> Result<(), VdevError> {
        let filler = match (effect, self.trimmed) {
            (Some(Effect::Fail(kind)), _) => return Err(injected(kind)),
            (Some(Effect::Lost), _) | (_, Trimmed::Kept | Trimmed::Unsupported) => return Ok(()),
            (_, Trimmed::Zeros) => Filler::Zeros,
            (_, Trimmed::Garbage) => Filler::Garbage(self.rng.next_u64()),
        };
        let answered = self.count_change();
        self.store.fill(answered, offset_bytes..offset_bytes + len_bytes, filler);
        Ok(())
    }

    fn count_change(&mut self) -> u64 {
        *self.changes += 1;
        *self.changes - 1
    }

    pub(super) fn store_data(&mut self, offset_bytes: u64, data: &Data) {
        let answered = self.count_change();
        self.store.write(answered, offset_bytes, data.chunks());
    }

    fn store_bytes(&mut self, offset_bytes: u64, bytes: &[u8]) {
        let answered = self.count_change();
        self.store.write(answered, offset_bytes, [bytes].into_iter());
    }

    /// Some sectors land and at least one does not.
    pub(super) fn store_torn(&mut self, offset_bytes: u64, bytes: &[u8]) {
        let sectors = bytes.len() / self.sector_bytes;
        let missing = self.rng.index(sectors);
        for (i, sector) in bytes.chunks(self.sector_bytes).enumerate() {
            if i != missing && self.rng.coin() {
                self.store_bytes(offset_bytes + (i * self.sector_bytes) as u64, sector);
            }
        }
    }

    /// Part of a transfer, in bytes: whole sectors, fewer than all.
    fn some_sectors(&mut self, wanted: usize) -> usize {
        self.rng.index(wanted / self.sector_bytes) * self.sector_bytes
    }
}

fn flip_in(buffers: &mut Buffers, one: Flip) {
    let mut at = one.offset_bytes as usize;
    for buffer in buffers {
        if at < buffer.len() {
            buffer[at] ^= 1 << one.bit;
            return;
        }
        at -= buffer.len();
    }
}

fn injected(kind: VdevErrorKind) -> VdevError {
    VdevError::msg(kind, "injected fault")
}
