//! Packs a block of text by every function and prints what each makes of it.
//!
//! `cargo run -p transform --example ratios`

use transform::{BlockRules, Compression, Packed, Scratch, compress_block, decompress};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = include_str!("../src/lib.rs").as_bytes();
    let block: Vec<u8> = text.iter().copied().cycle().take(128 << 10).collect();
    let mut stored = vec![0; block.len()];
    let mut back = vec![0; block.len()];
    let mut scratch = Scratch::new();
    let rules = BlockRules { unit_shift: 12, may_embed: false };

    for id in 2..=16 {
        let compression = Compression::from_id(id)?;
        let name = compression.to_string();
        match compress_block(compression, &block, &mut stored, rules, &mut scratch) {
            Packed::Compressed { payload_bytes, psize_bytes } => {
                decompress(compression, &stored[..psize_bytes], &mut back, &mut scratch)?;
                assert_eq!(back, block);
                println!("{name:>8}: {payload_bytes:6} bytes in {psize_bytes:6}");
            }
            other => println!("{name:>8}: {other:?}"),
        }
    }
    Ok(())
}
