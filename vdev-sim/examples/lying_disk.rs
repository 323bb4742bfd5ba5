//! A tiny commit protocol, and the bug that only a power cut finds.
//!
//! A record is a block of data and then a header that says the data is there.
//! With a flush between the two, a header that survives proves its data. Without
//! it the disk may keep the header and drop the data.
//!
//! `cargo run -p vdev-sim --example lying_disk`

use std::sync::Arc;

use vdev_sim::{Client, DiskConfig, Machine};
use zio_core::{Vdev, VdevError};

fn commit(client: &Client, value: u8, flush_between: bool) -> Result<(), VdevError> {
    client.write(4096, &[value; 4096])?;
    if flush_between {
        client.flush()?;
    }
    client.write(0, &[value; 512])?;
    client.flush()
}

/// Cuts the power at a random moment of the commit. True when the disk then
/// holds a header without its data.
fn broken_after_power_cut(seed: u64, flush_between: bool) -> Result<bool, VdevError> {
    let machine = Machine::new(seed);
    let disk = machine.disk(DiskConfig::fixed(1 << 20, 1000));
    let client = Client::new(Arc::clone(&disk) as Arc<dyn Vdev>);
    let victim = machine.clone();
    machine.after(500 + seed % 4 * 1000, move || victim.power_cut());
    // The power may fail before the end; then the commit says so.
    let committed = commit(&client, 7, flush_between).is_ok();
    machine.run_until_idle();
    disk.online();
    let header = client.read(0, 512)?;
    let data = client.read(4096, 4096)?;
    Ok((committed || header[0] == 7) && data != [7; 4096])
}

fn main() -> Result<(), VdevError> {
    for flush_between in [false, true] {
        let mut broken = 0;
        for seed in 0..1000 {
            broken += u32::from(broken_after_power_cut(seed, flush_between)?);
        }
        println!("flush between data and header: {flush_between}; broken: {broken} of 1000");
    }
    Ok(())
}
