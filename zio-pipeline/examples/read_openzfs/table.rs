//! What is printed.

use zio_pipeline::{BlockPointer, Checksum, Compression, Pipeline};

use crate::list::Block;

/// What came of reading a block.
pub(crate) enum Verdict {
    /// It is what was written.
    Good,
    /// It verified, and yet is something else.
    Wrong(String),
    /// There is no data, and this is why.
    Unreadable(String),
}

/// Rows and their count.
#[derive(Default)]
pub(crate) struct Table {
    good: usize,
    wrong: usize,
    unreadable: usize,
    bytes: u64,
}

impl Table {
    /// Prints the head.
    pub(crate) fn new() -> Self {
        println!(
            "{:>5} {:>9} {:>9}  {:<10} {:<9} {:<24} verdict",
            "index", "lsize", "psize", "checksum", "compress", "flags"
        );
        Self::default()
    }

    /// Prints a row.
    pub(crate) fn row(&mut self, block: &Block, bp: Option<&BlockPointer>, verdict: &Verdict) {
        let (index, len) = (block.index, block.len);
        let [psize, checksum, compression, flags] = bp.map_or_else(Default::default, columns);
        let verdict = match verdict {
            Verdict::Good => {
                self.good += 1;
                self.bytes += len as u64;
                "good".to_owned()
            }
            Verdict::Wrong(why) => {
                self.wrong += 1;
                format!("WRONG DATA: {why}")
            }
            Verdict::Unreadable(why) => {
                self.unreadable += 1;
                format!("ERROR: {why}")
            }
        };
        println!(
            "{index:>5} {len:>9} {psize:>9}  {checksum:<10} {compression:<9} {flags:<24} {verdict}"
        );
    }

    /// Prints the sums.
    pub(crate) fn summary(&self, pipeline: &Pipeline) {
        let blocks = self.good + self.wrong + self.unreadable;
        println!(
            "\n{blocks} blocks: {} good ({} bytes), {} wrong, {} unreadable",
            self.good, self.bytes, self.wrong, self.unreadable
        );
        let healed = pipeline.healed();
        if healed.copies + healed.failed > 0 {
            println!(
                "repaired {} bad copies ({} bytes); {} could not be",
                healed.copies, healed.bytes, healed.failed
            );
        }
    }

    /// Is every block what was written?
    pub(crate) fn all_good(&self) -> bool {
        self.wrong + self.unreadable == 0
    }
}

/// Stored size, checksum, compression, flags.
fn columns(bp: &BlockPointer) -> [String; 4] {
    let compression = || Compression::from_id(bp.compression()).map_or("?".into(), name_of);
    if bp.is_hole() {
        return ["0".into(), "-".into(), "-".into(), "hole".into()];
    }
    let psize = bp.psize_bytes().to_string();
    if bp.is_embedded() {
        return [psize, "-".into(), compression(), "embedded".into()];
    }
    let checksum = Checksum::from_id(bp.checksum_id()).map_or("?".into(), |c| c.name().to_owned());
    let mut flags = Vec::new();
    if bp.copies() > 1 {
        flags.push(format!("copies={}", bp.copies()));
    }
    for (is_so, name) in [
        (bp.is_gang(), "gang"),
        (bp.is_dedup(), "dedup"),
        (bp.is_encrypted(), "encrypted"),
        (bp.is_authenticated(), "authenticated"),
        (bp.level() > 0, "indirect"),
        (bp.order() != zio_pipeline::ByteOrder::NATIVE, "byteswapped"),
    ] {
        if is_so {
            flags.push(name.to_owned());
        }
    }
    [psize, checksum, compression(), flags.join(",")]
}

/// The level of zstd stands in the block, not in its pointer.
fn name_of(compression: Compression) -> String {
    match compression {
        Compression::Zstd(_) => "zstd".to_owned(),
        other => other.to_string(),
    }
}
