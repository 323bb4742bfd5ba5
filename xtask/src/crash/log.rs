//! The writer's own memory: a file of records, appended and made durable.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use zio_core::VdevId;
use zio_core::bp::{BlockPointer, PoolShape};

use super::content::Content;

/// Kind, number, pointer, sum.
const RECORD_BYTES: usize = 1 + 8 + 128 + 8;

const WRITTEN: u8 = b'W';
const FREED: u8 = b'F';

/// A block the log says is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) bp: BlockPointer,
    pub(super) content: Content,
}

/// What a log says.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) live: Vec<Live>,
    pub(super) records: u64,
}

/// The writer died while it appended: the last record may be a part, never a wrong one.
impl Log {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            read => read.context("reading the log")?,
        };
        let mut log = Self::default();
        let (records, _torn) = bytes.as_chunks::<RECORD_BYTES>();
        for record in records {
            log.apply(record).with_context(|| format!("record {}", log.records))?;
            log.records += 1;
        }
        Ok(log)
    }

    fn apply(&mut self, record: &[u8; RECORD_BYTES]) -> Result<()> {
        let (body, sum) = record.split_at(RECORD_BYTES - 8);
        ensure!(sum == sum_of(body), "the sum does not match");
        let (number, pointer) = body[1..].split_at(8);
        let number = u64::from_le_bytes(number.try_into()?);
        let bp = BlockPointer::from_bytes(pointer.try_into()?).check(&AnyPool)?;
        let block = Live { bp, content: Content(number) };
        match body[0] {
            WRITTEN => self.live.push(block),
            FREED => {
                let at = self.live.iter().position(|live| *live == block);
                self.live.swap_remove(at.context("freed, but not live")?);
            }
            other => bail!("kind {other:#x}"),
        }
        Ok(())
    }
}

/// The log's end.
pub(super) struct Appender(File);

impl Appender {
    /// Opens the log and cuts off what is no whole record.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let len_bytes = file.metadata()?.len();
        file.set_len(len_bytes - len_bytes % RECORD_BYTES as u64)?;
        Ok(Self(file))
    }

    /// Durable when it returns.
    pub(super) fn written(&mut self, blocks: &[Live]) -> Result<()> {
        self.append(WRITTEN, blocks)
    }

    /// Durable when it returns.
    pub(super) fn freed(&mut self, blocks: &[Live]) -> Result<()> {
        self.append(FREED, blocks)
    }

    fn append(&mut self, kind: u8, blocks: &[Live]) -> Result<()> {
        let mut bytes = Vec::with_capacity(blocks.len() * RECORD_BYTES);
        for block in blocks {
            let from = bytes.len();
            bytes.push(kind);
            bytes.extend(block.content.0.to_le_bytes());
            bytes.extend(block.bp.to_bytes());
            let sum = sum_of(&bytes[from..]);
            bytes.extend(sum);
        }
        self.0.write_all(&bytes).context("appending to the log")?;
        self.0.sync_data().context("making the log durable")
    }
}

/// FNV-1a.
fn sum_of(bytes: &[u8]) -> [u8; 8] {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step).to_le_bytes()
}

/// The log believes its own pointers; the pipeline checks them against its devices.
struct AnyPool;

impl PoolShape for AnyPool {
    fn data_bytes(&self, _: VdevId) -> Option<u64> {
        Some(u64::MAX)
    }

    fn unit_bytes(&self, _: VdevId) -> u64 {
        512
    }
}
