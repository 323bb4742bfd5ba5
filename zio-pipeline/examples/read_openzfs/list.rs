//! The list of pointers.

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zio_pipeline::{BlockPointer, ByteOrder, Data, Pipeline, RawPointer, Suite};

use crate::args::suite;
use crate::table::Verdict;

/// A pool and its blocks.
#[derive(Deserialize)]
pub(crate) struct List {
    pub(crate) ashift: u32,
    #[serde(default)]
    cksum_salt: Option<String>,
    pub(crate) blocks: Vec<Block>,
    /// Everything else, keys among it.
    #[serde(flatten)]
    pub(crate) more: serde_json::Map<String, serde_json::Value>,
}

/// One block.
#[derive(Deserialize)]
pub(crate) struct Block {
    #[serde(rename = "i")]
    pub(crate) index: usize,
    pub(crate) len: usize,
    logical_sha256: String,
    bp: String,
}

impl List {
    pub(crate) fn read(path: &str) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| path.to_owned())?;
        let list: Self = serde_json::from_slice(&text).with_context(|| path.to_owned())?;
        if list.more.get("nparity").and_then(serde_json::Value::as_u64).unwrap_or(0) > 0 {
            let layout = list.text("layout").unwrap_or("with parity");
            bail!("{path}: a pool laid out as {layout:?}; plain devices and mirrors can be read");
        }
        Ok(list)
    }

    /// Are the images sides of a mirror, or devices by themselves?
    pub(crate) fn is_mirror(&self) -> bool {
        self.text("layout").is_none_or(|layout| layout.starts_with("mirror"))
    }

    /// A string of the list, by name.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.more.get(name).and_then(serde_json::Value::as_str)
    }

    /// The master key that the list brings, and its suite, which the name tells.
    pub(crate) fn master_key(&self) -> Option<(Suite, &str)> {
        self.more.iter().find_map(|(name, value)| {
            let suite = suite(name.strip_prefix("enc_master_key_")?)?;
            Some((suite, value.as_str()?))
        })
    }

    /// Salt of the keyed checksums; zeros if the list has none.
    pub(crate) fn salt(&self) -> Result<[u8; 32]> {
        let Some(hex) = &self.cksum_salt else { return Ok([0; 32]) };
        let salt = from_hex(hex).context("cksum_salt")?;
        salt.try_into().map_err(|salt: Vec<u8>| anyhow!("cksum_salt of {} bytes", salt.len()))
    }
}

impl Block {
    /// The pointer, checked against the pool. It stands in the order of its writer,
    /// which it names itself; one without that bit set is a hole, or big-endian.
    pub(crate) fn pointer(&self, pipeline: &Pipeline) -> Result<BlockPointer> {
        let bytes = from_hex(&self.bp).context("bp")?;
        let bytes: [u8; 128] = bytes
            .try_into()
            .map_err(|bytes: Vec<u8>| anyhow!("a pointer of {} bytes", bytes.len()))?;
        let read = |order| pipeline.check(&RawPointer::from_bytes(&bytes, order));
        let little = read(ByteOrder::Little);
        match &little {
            Ok(bp) if bp.is_hole() || bp.order() == ByteOrder::Little => {}
            _ => match read(ByteOrder::Big) {
                Ok(bp) if bp.is_hole() || bp.order() == ByteOrder::Big => return Ok(bp),
                _ => {}
            },
        }
        Ok(little?)
    }

    /// Is this what was written?
    pub(crate) fn judge(&self, data: &Data) -> Verdict {
        // Blocks have whole sectors; what was written need not.
        if data.len() != self.len.next_multiple_of(512) {
            return Verdict::Wrong(format!("{} bytes instead of {}", data.len(), self.len));
        }
        let mut hash = Sha256::new();
        data.slice(0..self.len).chunks().for_each(|chunk| hash.update(chunk));
        let hash = to_hex(&hash.finalize());
        if hash == self.logical_sha256 {
            Verdict::Good
        } else {
            Verdict::Wrong(format!("SHA-256 {hash} instead of {}", self.logical_sha256))
        }
    }
}

pub(crate) fn from_hex(hex: &str) -> Result<Vec<u8>> {
    let digits = hex.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        bail!("an odd number of hex digits");
    }
    let digit = |d: u8| char::from(d).to_digit(16).with_context(|| format!("{:?}", char::from(d)));
    pairs.iter().map(|[a, b]| Ok((digit(*a)? * 16 + digit(*b)?) as u8)).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
