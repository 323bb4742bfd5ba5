//! The writer that is going to be killed.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use vdev_sim::{Rng, SimAllocator};
use zio_pipeline::{ErrorKind, Pipeline};

use super::content::Content;
use super::log::{Appender, Live, Log};
use super::pool::{Layout, Leaves, Pool};

/// Bytes of blocks that are live at a time, about.
const LIVE_BYTES_MAX: usize = 24 << 20;

/// Bytes of blocks that are written at a time, about.
const BATCH_BYTES_MAX: u64 = 2 << 20;

/// What the parent tells the writer.
#[derive(Debug, clap::Args)]
pub struct ChildArgs {
    /// The directory of the pool.
    dir: PathBuf,
    /// Its vdevs.
    layout: Layout,
    /// Where chance comes from.
    seed: u64,
}

struct Writer {
    pipeline: Pipeline,
    /// Where space comes in small pieces.
    pieces: Option<Arc<SimAllocator>>,
    log: Appender,
    live: Vec<Live>,
    rng: Rng,
}

/// Writes, flushes, records, frees, until it is killed.
///
/// # Errors
/// Anything that goes wrong before that.
pub fn run_child(args: &ChildArgs) -> Result<()> {
    let pool = Pool::new(&args.dir, args.layout);
    let live = Log::read(&pool.log())?.live;
    let mut rng = Rng::new(args.seed);
    let (pipeline, pieces) = if rng.chance(250) {
        let (pipeline, pieces) = pool.open_in_pieces(&live, rng.next_u64())?;
        (pipeline, Some(pieces))
    } else {
        (pool.open(Leaves::All, &live)?, None)
    };
    let log = Appender::open(&pool.log())?;
    let mut writer = Writer { pipeline, pieces, log, live, rng };
    loop {
        match writer.rng.below(10) {
            0..=5 => writer.write()?,
            6..=7 => writer.free()?,
            _ => writer.read()?,
        }
        while writer.live_bytes() > LIVE_BYTES_MAX {
            writer.free()?;
        }
    }
}

impl Writer {
    /// Many at once, some of them over others; recorded once they are durable.
    fn write(&mut self) -> Result<()> {
        let completions = self.pipeline.completions();
        let mut sent = Vec::new();
        let mut bytes_left = 1 + self.rng.below(BATCH_BYTES_MAX);
        while bytes_left > 0 {
            let old = self.rng.chance(250).then(|| self.pick()).flatten();
            let content = match &old {
                Some(old) if self.rng.coin() => old.content,
                _ => Content::draw(&mut self.rng),
            };
            let bytes = content.bytes();
            bytes_left = bytes_left.saturating_sub(bytes.len() as u64);
            let write = content.properties(self.pipeline.write(bytes));
            let write = match &old {
                Some(old) => write.over(&old.bp),
                None => write,
            };
            write.send_to(&completions, sent.len() as u64)?;
            sent.push((content, old));
        }
        let (mut written, mut gone) = (Vec::new(), Vec::new());
        while let Some((tag, finished)) = completions.next() {
            let (content, old) = sent[tag as usize];
            match finished.result() {
                Ok(()) => {
                    let bp = finished.get().bp;
                    match old {
                        Some(kept) if !kept.bp.is_replaced_by(&bp) => self.live.push(kept),
                        _ => {
                            written.push(Live { bp, content });
                            gone.extend(old);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::NoSpace => self.live.extend(old),
                Err(error) => return Err(error).context("writing a block"),
            }
        }
        self.pipeline.flush().wait().context("flushing")?;
        self.log.written(&written)?;
        self.live.extend(written);
        self.forget(&gone)
    }

    fn free(&mut self) -> Result<()> {
        let count = 1 + self.rng.below(16);
        let gone: Vec<_> = (0..count).map_while(|_| self.pick()).collect();
        self.forget(&gone)
    }

    /// Recorded first: what is freed may be written over at once.
    fn forget(&mut self, gone: &[Live]) -> Result<()> {
        self.log.freed(gone)?;
        let group = self.pipeline.root();
        for block in gone {
            self.pipeline.free(&block.bp).under(group.parent()).nowait(drop);
        }
        group.wait().context("freeing blocks")?;
        if let Some(pieces) = &self.pieces {
            pieces.settle(u64::MAX);
        }
        Ok(())
    }

    /// Nothing is repaired: what is bad on one leaf is to be found by the parent.
    fn read(&mut self) -> Result<()> {
        for _ in 0..self.rng.below(4) {
            if self.live.is_empty() {
                break;
            }
            let block = self.live[self.rng.index(self.live.len())];
            let data = self.pipeline.read(&block.bp).repair(false).wait()?;
            ensure!(data == block.content.bytes(), "wrong data in {block:?}");
        }
        Ok(())
    }

    /// A block that is not live any more.
    fn pick(&mut self) -> Option<Live> {
        let count = self.live.len();
        (count > 0).then(|| self.live.swap_remove(self.rng.index(count)))
    }

    fn live_bytes(&self) -> usize {
        self.live.iter().map(|block| block.bp.lsize_bytes() as usize).sum()
    }
}
