//! Records, and how they stand in a block.
//!
//! The block's head is the format's; what stands behind it is ours:
//!
//! ```text
//! | length u64 | txg u64 | sequence u64 | payload … | zeros up to a multiple of 8 |
//! ```
//!
//! in the byte order of the block's writer; the length is that of the payload.

use checksum::embedded::LOG_HEAD_BYTES;
use zio_core::Txg;
use zio_core::bp::{BLOCK_POINTER_BYTES, ByteOrder, RawPointer};
use zio_pipeline::BlockPointer;

/// Bytes of a record before its payload.
const RECORD_HEAD_BYTES: usize = 24;

/// Records begin at multiples of this.
const RECORD_ALIGN_BYTES: usize = 8;

const NEXT_AT: usize = 8;
const USED_AT: usize = NEXT_AT + BLOCK_POINTER_BYTES;

/// What was to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The transaction group that makes it superfluous.
    pub txg: Txg,
    /// Its number in the log. They rise; some may be missing, which a
    /// [synced](crate::log::Log::synced) transaction group had made superfluous.
    pub sequence: u64,
    /// The record itself.
    pub payload: Vec<u8>,
}

impl Record {
    /// What it takes in a block.
    pub(super) fn frame_bytes(&self) -> usize {
        frame_bytes(self.payload.len())
    }
}

/// What a payload of this length takes in a block.
pub(super) fn frame_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEAD_BYTES + payload_bytes).next_multiple_of(RECORD_ALIGN_BYTES)
}

/// Room for records in a block.
pub(super) fn room_bytes(block_bytes: usize) -> usize {
    block_bytes.saturating_sub(LOG_HEAD_BYTES)
}

/// Fills a block with a pointer to the next one and records, which have room there. The
/// pipeline seals it.
pub(super) fn fill_block(block: &mut [u8], next: &BlockPointer, records: &[Record]) {
    block.fill(0);
    let mut at = LOG_HEAD_BYTES;
    for record in records {
        let words = [record.payload.len() as u64, record.txg, record.sequence];
        for (word, place) in words.iter().zip(block[at..].as_chunks_mut::<8>().0) {
            *place = word_bytes(*word);
        }
        let payload_at = at + RECORD_HEAD_BYTES;
        block[payload_at..payload_at + record.payload.len()].copy_from_slice(&record.payload);
        at += record.frame_bytes();
    }
    block[NEXT_AT..USED_AT].copy_from_slice(&next.to_bytes_in(ByteOrder::NATIVE));
    block[USED_AT..USED_AT + 8].copy_from_slice(&word_bytes(at as u64));
}

const fn word_bytes(word: u64) -> [u8; 8] {
    match ByteOrder::NATIVE {
        ByteOrder::Little => word.to_le_bytes(),
        ByteOrder::Big => word.to_be_bytes(),
    }
}

/// What a block that has verified holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// The next block, as the writer says; nothing of it is believed.
    pub(super) next: RawPointer,
    pub(super) records: Vec<Record>,
    /// Something stands behind these records that is none.
    pub(super) is_malformed: bool,
}

/// Takes a block apart. `None`: not even a head.
pub(super) fn parse_block(block: &[u8]) -> Option<Contents> {
    let head = block.get(..LOG_HEAD_BYTES)?;
    let magic: &[u8; 8] = head[USED_AT + 8..].first_chunk()?;
    let order = match u64::from_le_bytes(*magic) == checksum::embedded::MAGIC {
        true => ByteOrder::Little,
        false => ByteOrder::Big,
    };
    let next = RawPointer::from_bytes(head[NEXT_AT..].first_chunk()?, order);
    let used = usize::try_from(word(head, USED_AT, order)?).ok()?;
    let mut rest = block.get(LOG_HEAD_BYTES..used)?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let Some((record, behind)) = parse_record(rest, order) else {
            return Some(Contents { next, records, is_malformed: true });
        };
        records.push(record);
        rest = behind;
    }
    Some(Contents { next, records, is_malformed: false })
}

fn parse_record(bytes: &[u8], order: ByteOrder) -> Option<(Record, &[u8])> {
    let payload_bytes = usize::try_from(word(bytes, 0, order)?).ok()?;
    let end = RECORD_HEAD_BYTES.checked_add(payload_bytes)?;
    let payload = bytes.get(RECORD_HEAD_BYTES..end)?;
    let behind = bytes.get(end.checked_next_multiple_of(RECORD_ALIGN_BYTES)?..)?;
    let (txg, sequence) = (word(bytes, 8, order)?, word(bytes, 16, order)?);
    Some((Record { txg, sequence, payload: payload.to_vec() }, behind))
}

fn word(bytes: &[u8], at: usize, order: ByteOrder) -> Option<u64> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(match order {
        ByteOrder::Little => u64::from_le_bytes(*word),
        ByteOrder::Big => u64::from_be_bytes(*word),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A block as the pipeline would leave it, in either byte order.
    fn sealed(block: &mut [u8]) {
        block[USED_AT + 8..USED_AT + 16].copy_from_slice(&word_bytes(checksum::embedded::MAGIC));
    }

    fn record() -> impl Strategy<Value = Record> {
        (any::<u64>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(txg, sequence, payload)| Record { txg, sequence, payload })
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(records in prop::collection::vec(record(), 0..15)) {
            let mut block = vec![0xff; 4096];
            let next = BlockPointer::hole(512, 9, 0, 77);
            let taken: usize = records.iter().map(Record::frame_bytes).sum();
            prop_assume!(taken <= room_bytes(block.len()));
            fill_block(&mut block, &next, &records);
            sealed(&mut block);
            let contents = parse_block(&block).unwrap();
            prop_assert_eq!(&contents.records, &records);
            prop_assert!(!contents.is_malformed);
            let raw = RawPointer::from_bytes(&next.to_bytes(), ByteOrder::Little);
            prop_assert_eq!(contents.next, raw);
        }

        /// Whatever stands there: an answer, and no record that reaches out of the used part.
        #[test]
        fn no_block_makes_it_panic(
            mut block in prop::collection::vec(any::<u8>(), 0..600),
            used in prop_oneof![0..700u64, any::<u64>()],
            lengths in prop::collection::vec(prop_oneof![0..300u64, any::<u64>()], 1..4),
        ) {
            if block.len() >= LOG_HEAD_BYTES {
                sealed(&mut block);
                block[USED_AT..USED_AT + 8].copy_from_slice(&word_bytes(used));
                for (n, len) in lengths.into_iter().enumerate() {
                    let at = LOG_HEAD_BYTES + 40 * n;
                    if let Some(place) = block.get_mut(at..at + 8) {
                        place.copy_from_slice(&word_bytes(len));
                    }
                }
            }
            if let Some(contents) = parse_block(&block) {
                let taken: usize = contents.records.iter().map(Record::frame_bytes).sum();
                prop_assert!(LOG_HEAD_BYTES + taken <= used as usize);
            }
        }
    }
}
