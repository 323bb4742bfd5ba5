//! The command line.

use anyhow::{Context, Result, bail};
use zio_pipeline::{Builder, DatasetKeys, Suite};

use crate::list::{List, from_hex};

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

    /// Gives the builder the keys of the encrypted blocks, if there are any.
    pub(crate) fn keys(&self, list: &List, builder: Builder) -> Result<Builder> {
        let listed = list.master_key();
        let Some(hex) = self.key.as_deref().or(listed.map(|(_, hex)| hex)) else {
            return Ok(builder);
        };
        let key = from_hex(hex).context("the master key")?;
        let suite = match (&self.suite, listed) {
            (Some(name), _) => suite(name).with_context(|| format!("no suite {name}"))?,
            (None, Some((listed, _))) if listed.key_bytes() == key.len() => listed,
            _ => (Suite::ALL.into_iter().rev())
                .find(|suite| suite.key_bytes() == key.len())
                .with_context(|| format!("a master key of {} bytes", key.len()))?,
        };
        let keys = DatasetKeys::new(suite, &key)?;
        let keys = match list.text("enc_hmac_key") {
            Some(hex) => keys.hmac(&from_hex(hex).context("enc_hmac_key")?)?,
            None => keys,
        };
        Ok(builder.keys(keys))
    }
}

/// A suite by its name, with or without dashes: `aes-256-gcm`, `aes256gcm`.
pub(crate) fn suite(name: &str) -> Option<Suite> {
    let plain = |name: &str| name.replace('-', "").to_lowercase();
    Suite::ALL.into_iter().find(|suite| plain(suite.name()) == plain(name))
}
