//! Three disks, one transaction group after the other: where blocks go, when
//! freed space comes back, and what a full pool says.
//!
//! `cargo run -p metaslab --example life_of_an_extent`

use metaslab::{Config, Metaslabs};
use zio_core::{Allocator, Dvas, VdevId, Want};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let space = Metaslabs::new(Config::default());
    for (disk, size_bytes, ashift) in [(0, 64 * MIB, 12), (1, 64 * MIB, 12), (2, 256 * MIB, 9)] {
        space.add_vdev(VdevId(disk), size_bytes, ashift)?;
    }
    let block = |copies, txg| Want { size_bytes: 100 * KIB, copies, txg, ..Want::default() };

    println!("one block, three copies (vdev:offset:size, hexadecimal):");
    for dva in space.allocate(&block(3, 1))? {
        println!("  {dva}");
    }

    // A write reserves before it allocates, and holds the reservation until it is on disk.
    let slots = space.reserve(100 * KIB);
    println!("under way: {} KiB", space.reserved_bytes() / KIB);
    drop(slots);

    let mut blocks: Vec<Dvas> = Vec::new();
    let no_space = loop {
        match space.allocate(&block(1, 1)) {
            Ok(dvas) => blocks.push(dvas),
            Err(no_space) => break no_space,
        }
    };
    println!("{} blocks later: {no_space}", blocks.len());

    for dva in blocks.iter().step_by(2).flatten() {
        space.free(*dva, 2)?;
    }
    for txg in 2..=4 {
        space.end_of_txg(txg);
        println!(
            "end of txg {txg}: {} MiB free, {} MiB held back",
            space.free_bytes() / MIB,
            space.deferred_bytes() / MIB
        );
    }
    for disk in [0, 1, 2].map(VdevId) {
        let share = space.vdev_fragmentation_permille(disk, 128 * KIB).unwrap_or(0);
        println!("{disk}: {share} ‰ of the free space cannot take a block of 128 KiB in one piece");
    }
    Ok(())
}
