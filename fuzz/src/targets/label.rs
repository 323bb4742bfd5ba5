//! `label`: parts of a label and uberblock slots, anywhere on a device.
//!
//! | bytes | meaning |
//! |---|---|
//! | 0 | bit 0: writer's byte order; bit 1: judge the block as it came, or seal it first |
//! | 1, 2 | length of the block ([`Input::length_bytes`]: from less than a trailer to all of a label's pairs) |
//! | 3, 4 | where a sealed block is damaged |
//! | 5 … 12 | where on the device it stands |
//! | rest | the *end* of the block, where the trailer is; zeros stand before it |

use checksum::ByteOrder;
use checksum::embedded::Verifier;

use super::embedded::{judge, seal_and_damage};
use crate::input::Input;

/// Runs one input.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let block_bytes = input.length_bytes();
    let damage_at = usize::from(input.u16());
    let verifier = Verifier::Label { offset_bytes: input.u64() };
    let order = if choice & 1 == 0 { ByteOrder::Little } else { ByteOrder::Big };
    let tail = input.rest();
    let tail = &tail[..tail.len().min(block_bytes)];
    let mut block = vec![0; block_bytes - tail.len()];
    block.extend_from_slice(tail);
    if choice & 2 == 0 {
        judge(&block, &verifier);
    } else {
        seal_and_damage(&mut block, &verifier, order, damage_at);
    }
}
