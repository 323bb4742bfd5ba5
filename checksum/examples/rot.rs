//! Checksums a block of three segments, verifies it, lets one bit rot, and
//! shows what the mismatch reports. Run with
//! `cargo run -p checksum --example rot`.

use checksum::{
    Algorithm, ByteOrder, Context, Salt,
    embedded::{self, Verifier},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let salt = Salt(*b"an example has no better entropy");
    let mut segments = [vec![1u8; 4096], vec![2u8; 1000], vec![3u8; 3096]];

    for algorithm in [Algorithm::Fletcher4, Algorithm::Sha256, Algorithm::Blake3] {
        let context = Context::new(algorithm, Some(&salt))?;
        let sum = context.compute(ByteOrder::NATIVE, segments.iter().map(Vec::as_slice));
        context.verify(ByteOrder::NATIVE, segments.iter().map(Vec::as_slice), &sum)?;
        println!("{algorithm:>9}  {sum}");

        segments[1][500] ^= 0x10;
        match context.verify(ByteOrder::NATIVE, segments.iter().map(Vec::as_slice), &sum) {
            Err(mismatch) => println!("           {mismatch}"),
            Ok(()) => return Err("a flipped bit went unnoticed".into()),
        }
        segments[1][500] ^= 0x10;
    }

    // A block that carries its own checksum is good in one place only.
    let mut uberblock = [0u8; 1024];
    embedded::seal(&mut uberblock, &Verifier::Label { offset_bytes: 131_072 }, ByteOrder::NATIVE)?;
    let elsewhere = embedded::check(&uberblock, &Verifier::Label { offset_bytes: 132_096 });
    println!("    label  {}", elsewhere.map_or_else(|e| e.to_string(), |_| "valid".into()));
    Ok(())
}
