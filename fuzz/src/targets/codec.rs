//! What every codec owes, whatever it is given.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | bit 0: decode or encode; bit 1: how much room an encoder has; bit 7: what the block to encode is made of; bits 2 to 7 choose a level |
//! | 1, 2 | length of the block ([`Input::length_bytes`]) |
//! | rest | the payload to decode; or the pattern that a block to encode repeats, or the seed of its noise |

use std::io::{Write as _, sink};

use transform::{Compression, DecodeError, Scratch, compress, decompress};

use crate::input::{Input, repeated};
use crate::mutate::Random;

/// A plain decoder: payload and wanted length in, the whole block out.
pub(super) type Model = fn(&[u8], usize) -> Option<Vec<u8>>;

/// A codec under test.
pub(super) struct Codec {
    /// The function at one of its levels, and the longest block to try it on.
    pub(super) at_level: fn(u8) -> (Compression, usize),
    /// A plain decoder beside it.
    pub(super) model: Option<Model>,
    /// Does it refuse only what the model refuses? LZ4's library also wants blocks to end as its
    /// encoder ends them.
    pub(super) model_is_exact: bool,
    /// Does a payload know where it ends? Then it decodes to one length alone; else to all
    /// shorter ones too.
    pub(super) ends_itself: bool,
}

/// Bytes on either side of an output that nobody may touch.
const GUARD_BYTES: usize = 64;

/// An output between guards, filled with what a codec would hardly write by chance.
struct Output {
    bytes: Vec<u8>,
    fill: u8,
}

impl Output {
    fn new(len: usize, fill: u8) -> Self {
        Self { bytes: vec![fill; len + 2 * GUARD_BYTES], fill }
    }

    fn middle(&mut self) -> &mut [u8] {
        let end = self.bytes.len() - GUARD_BYTES;
        &mut self.bytes[GUARD_BYTES..end]
    }

    /// The output, once the guards have been found as they were.
    fn finish(self) -> Vec<u8> {
        let end = self.bytes.len() - GUARD_BYTES;
        let guards = self.bytes[..GUARD_BYTES].iter().chain(&self.bytes[end..]);
        assert!(guards.copied().all(|byte| byte == self.fill), "wrote outside the output");
        self.bytes[GUARD_BYTES..end].to_vec()
    }
}

/// Runs one input.
pub(super) fn run(codec: &Codec, data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let block_bytes = input.length_bytes();
    let (compression, block_bytes_max) = (codec.at_level)(choice >> 2);
    if choice & 1 == 0 {
        decode(codec, compression, input.rest(), block_bytes);
    } else {
        let block_bytes = block_bytes.min(block_bytes_max);
        let block = if choice & 0x80 == 0 {
            repeated(input.rest(), block_bytes)
        } else {
            Random::new(input.u64()).bytes(block_bytes)
        };
        encode(compression, &block, choice & 2 == 0);
    }
}

fn decoded(
    compression: Compression,
    payload: &[u8],
    len: usize,
    fill: u8,
    scratch: &mut Scratch,
) -> Result<Vec<u8>, DecodeError> {
    let mut output = Output::new(len, fill);
    let answer = decompress(compression, payload, output.middle(), scratch);
    let bytes = output.finish();
    answer.map(|()| bytes)
}

fn decode(codec: &Codec, compression: Compression, payload: &[u8], len: usize) {
    let first = decoded(compression, payload, len, 0xa5, &mut Scratch::new());

    // Another fill and a scratch with a past: nothing of either shows.
    let mut used = Scratch::new();
    let cut = &payload[..payload.len() - payload.len() / 3];
    let _ = decoded(compression, cut, len / 2 + 1, 0xff, &mut used);
    let second = decoded(compression, payload, len, 0x5a, &mut used);
    assert_eq!(first, second, "the answer depends on the scratch or the output's old contents");

    if let Some(model) = codec.model {
        let expected = model(payload, len);
        if first.is_ok() || codec.model_is_exact {
            assert_eq!(first.as_ref().ok(), expected.as_ref(), "not what the model says");
        }
    }
    match first {
        Ok(block) => decodes(codec, compression, payload, &block, &mut used),
        Err(error) => write!(sink(), "{error} {error:?}").expect("a sink takes everything"),
    }
}

/// What else is true of a payload that decodes to `block`.
fn decodes(
    codec: &Codec,
    compression: Compression,
    payload: &[u8],
    block: &[u8],
    used: &mut Scratch,
) {
    let padded = [payload, &[0xff; 37]].concat();
    let again = decoded(compression, &padded, block.len(), 0, used);
    assert_eq!(again.as_deref(), Ok(block), "padding was looked at");

    let Some(shorter) = block.len().checked_sub(1) else { return };
    let short = decoded(compression, payload, shorter, 0, used);
    if codec.ends_itself {
        assert!(short.is_err(), "decodes to {} bytes and to {shorter}", block.len());
        let long = decoded(compression, payload, block.len() + 1, 0, used);
        assert!(long.is_err(), "decodes to {} bytes and to one more", block.len());
    } else if let Ok(short) = short {
        assert_eq!(short, block[..shorter], "a shorter output is not the beginning");
    }
}

/// Room in which every encoder is content.
fn ample_bytes(len: usize) -> usize {
    len + len / 8 + 256
}

fn encoded(
    compression: Compression,
    block: &[u8],
    limit: usize,
    scratch: &mut Scratch,
) -> Option<Vec<u8>> {
    let mut output = Output::new(limit, 0xa5);
    let answer = compress(compression, block, output.middle(), scratch);
    let mut bytes = output.finish();
    bytes.truncate(answer?);
    Some(bytes)
}

fn encode(compression: Compression, block: &[u8], tight: bool) {
    let mut used = Scratch::new();
    let limit = if tight { block.len() - block.len() / 8 } else { ample_bytes(block.len()) };
    let payload = encoded(compression, block, limit, &mut used);
    assert!(payload.is_some() || tight || block.is_empty(), "room enough, and yet refused");

    let fresh = same_payload(compression, block, &mut used);
    if payload.is_none() {
        // Given up half-way, and then a block of another kind.
        let stairs: Vec<u8> = (0..block.len().max(512)).map(|at| (at / 64) as u8).collect();
        encoded(compression, block, limit, &mut used);
        same_payload(compression, &stairs, &mut used);
    }

    for payload in payload.iter().chain(&fresh) {
        let back = decoded(compression, payload, block.len(), 0xa5, &mut used);
        assert_eq!(back.as_deref(), Ok(block), "our own payload does not decode back");
    }
}

/// The payload of a block that has room, whatever the scratch was used for before.
fn same_payload(compression: Compression, block: &[u8], used: &mut Scratch) -> Option<Vec<u8>> {
    let limit = ample_bytes(block.len());
    let fresh = encoded(compression, block, limit, &mut Scratch::new());
    let payload = encoded(compression, block, limit, used);
    assert_eq!(payload, fresh, "the payload depends on the scratch");
    fresh
}
