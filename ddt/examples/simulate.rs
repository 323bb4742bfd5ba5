//! A million writes with many repeats: what deduplication saves, and what the table costs.
//!
//! `cargo run --release -p ddt --example simulate`

use std::time::Instant;

use ddt::{Copies, Decision, Histogram, Key, Phys, Table};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const WRITES: u64 = 1_000_000;
    let mut table = Table::new();
    let mut random = 1u64;
    let started = Instant::now();
    for write in 0..WRITES {
        // Two of three blocks are new; the others are drawn from a thousand popular ones.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let contents = if random >> 62 == 0 { random >> 32 & 1023 } else { 1024 + write };
        let word = contents.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = Key::new([word, word.rotate_left(13), !word, contents], 8192, 4096, 15, false)?;
        match table.lookup_write(&key, Copies::One, write) {
            Decision::Lead { token, .. } => {
                let phys = Phys::new([[8, write], [0; 2], [0; 2]], 1 + write / 1000)?;
                for waiter in table.complete(token, phys)?.waiters {
                    println!("write {waiter} shares {phys:?}");
                }
            }
            Decision::Share { .. } | Decision::Wait | Decision::Full { .. } => {}
        }
    }
    let ns = started.elapsed().as_nanos() as f64 / WRITES as f64;

    let histogram: Histogram = table.iter().collect();
    println!("{WRITES} writes, {} blocks, {ns:.0} ns a write", table.totals().blocks);
    println!("ratio {} %", table.totals().ratio_percent());
    println!("{:.1} bytes an entry", table.heap_bytes() as f64 / table.len() as f64);
    for (log2, bucket) in histogram.buckets().iter().enumerate().filter(|(_, b)| b.blocks > 0) {
        println!("2^{log2:<2} references: {:7} blocks", bucket.blocks);
    }
    Ok(())
}
