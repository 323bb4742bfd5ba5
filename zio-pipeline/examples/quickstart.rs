//! Write, flush, read, and open again: the pipeline in thirty lines.
//!
//! `cargo run --example quickstart -- [FILE]`; without a file it makes a temporary one.

use std::error::Error;

use zio_pipeline::{BlockPointer, Checksum, Compression, Pipeline};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map_or_else(
        || std::env::temp_dir().join(format!("zio-quickstart-{}.img", std::process::id())),
        Into::into,
    );
    let text = b"All stages run to the end, or give the thread back. ".repeat(158)[..8192].to_vec();

    // Write three blocks at once, make them durable, keep their pointers.
    let pipeline = Pipeline::builder().create(&path, 64 << 20).build()?;
    let plain = pipeline.write(&text).start()?;
    let packed = pipeline.write(&text).compression(Compression::Lz4).start()?;
    let strong = pipeline.write(&text).checksum(Checksum::Sha256).copies(2).start()?;
    let pointers = [plain.wait()?, packed.wait()?, strong.wait()?];
    pipeline.flush().wait()?;
    let saved: Vec<[u8; 128]> = pointers.iter().map(BlockPointer::to_bytes).collect();
    drop(pipeline);

    // Another day: claim what is live, so that nobody writes over it; then read.
    let pipeline = Pipeline::builder().file(&path).build()?;
    for bytes in &saved {
        let bp = pipeline.check(&BlockPointer::from_bytes(bytes))?;
        pipeline.claim(&bp).wait()?;
        let data = pipeline.read(&bp).wait()?;
        assert!(data == text);
        println!("{bp}");
    }

    // A third of it is not needed any more.
    let gone = pipeline.check(&BlockPointer::from_bytes(&saved[2]))?;
    pipeline.free(&gone).wait()?;
    println!("{} bytes allocated", pipeline.allocated_bytes());
    drop(pipeline);
    std::fs::remove_file(&path)?;
    Ok(())
}
