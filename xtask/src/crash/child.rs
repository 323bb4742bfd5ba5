//! The writer that is going to be killed.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use vdev_sim::Rng;
use zio_pipeline::{ErrorKind, Pipeline};

use super::content::Content;
use super::log::{Appender, Live, Log};
use super::{claim_all, open};

/// Blocks that are live at a time, about.
const LIVE_MAX: usize = 400;

/// What the parent tells the writer.
#[derive(Debug, clap::Args)]
pub struct ChildArgs {
    /// The file with the blocks.
    path: PathBuf,
    /// The file with the pointers.
    log: PathBuf,
    /// Where chance comes from.
    seed: u64,
}

struct Writer {
    pipeline: Pipeline,
    log: Appender,
    live: Vec<Live>,
    rng: Rng,
}

/// Writes, flushes, records, frees, until it is killed.
///
/// # Errors
/// Anything that goes wrong before that.
pub fn run_child(args: &ChildArgs) -> Result<()> {
    let live = Log::read(&args.log)?.live;
    let pipeline = open(&args.path)?;
    claim_all(&pipeline, &live)?;
    let log = Appender::open(&args.log)?;
    let mut writer = Writer { pipeline, log, live, rng: Rng::new(args.seed) };
    loop {
        match writer.rng.below(10) {
            0..=5 => writer.write()?,
            6..=7 => writer.free()?,
            _ => writer.read()?,
        }
        while writer.live.len() > LIVE_MAX {
            writer.free()?;
        }
    }
}

impl Writer {
    /// Many at once; recorded once they are durable.
    fn write(&mut self) -> Result<()> {
        let completions = self.pipeline.completions();
        for _ in 0..1 + self.rng.below(24) {
            let content = Content::draw(&mut self.rng);
            let write = content.properties(self.pipeline.write(content.bytes()));
            write.send_to(&completions, content.0)?;
        }
        let mut written = Vec::new();
        while let Some((tag, finished)) = completions.next() {
            match finished.result() {
                Ok(()) => written.push(Live { bp: finished.get().bp, content: Content(tag) }),
                Err(error) if error.kind() == ErrorKind::NoSpace => {}
                Err(error) => return Err(error).context("writing a block"),
            }
        }
        self.pipeline.flush().wait().context("flushing")?;
        self.log.written(&written)?;
        self.live.extend(written);
        Ok(())
    }

    /// Recorded first: what is freed may be written over at once.
    fn free(&mut self) -> Result<()> {
        let mut gone = Vec::new();
        for _ in 0..1 + self.rng.below(16) {
            if !self.live.is_empty() {
                gone.push(self.live.swap_remove(self.rng.index(self.live.len())));
            }
        }
        self.log.freed(&gone)?;
        let group = self.pipeline.root();
        for block in &gone {
            self.pipeline.free(&block.bp).under(group.parent()).nowait(drop);
        }
        group.wait().context("freeing blocks")
    }

    fn read(&mut self) -> Result<()> {
        for _ in 0..self.rng.below(4) {
            if self.live.is_empty() {
                break;
            }
            let block = self.live[self.rng.index(self.live.len())];
            let data = self.pipeline.read(&block.bp).wait()?;
            ensure!(data == block.content.bytes(), "wrong data in {block:?}");
        }
        Ok(())
    }
}
