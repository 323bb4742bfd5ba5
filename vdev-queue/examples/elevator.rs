//! Schedules writes and reads of a plain file, without any pool: the queue decides, this
//! program does.
//!
//! `cargo run -p vdev-queue --example elevator`

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use vdev_queue::{Class, Config, DeviceIo, Issue, Kind, Queue, Request, Segment};

const BLOCK_BYTES: usize = 4096;

/// Does one I/O. A real device would take the pieces in one vectored call.
fn carry_out(file: &File, io: &mut DeviceIo<Vec<u8>>) -> io::Result<()> {
    for member in &mut io.members {
        let offset_bytes = member.request.offset_bytes();
        match io.kind {
            Kind::Read => file.read_exact_at(&mut member.payload, offset_bytes)?,
            Kind::Write => file.write_all_at(&member.payload, offset_bytes)?,
            Kind::Trim => {}
        }
    }
    Ok(())
}

/// Issues until nothing waits; returns the buffers of the reads.
fn run(queue: &mut Queue<Vec<u8>>, file: &File, start: Instant) -> io::Result<Vec<Vec<u8>>> {
    let now_ns = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut buffers = Vec::new();
    while let Some(issue) = queue.poll_issue(now_ns()) {
        let Issue::Io(mut io) = issue else { continue };
        let gaps = io.segments().filter(|piece| matches!(piece, Segment::Gap { .. })).count();
        println!(
            "{:?} {:>6} KiB at {:>6} KiB for {} requests, {} gaps ({:?})",
            io.kind,
            io.len_bytes / 1024,
            io.offset_bytes / 1024,
            io.members.len(),
            gaps,
            io.ticket.class(),
        );
        carry_out(file, &mut io)?;
        queue.complete(io.ticket, now_ns());
        if io.kind == Kind::Read {
            buffers.extend(io.members.into_iter().map(|member| member.payload));
        }
    }
    Ok(buffers)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("elevator-{}.bin", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    // The name goes, the file stays until we close it.
    std::fs::remove_file(&path)?;
    file.set_len(64 << 20)?;
    let start = Instant::now();
    let mut queue = Queue::new(Config::default())?;

    println!("256 blocks written in a bad order leave in a good one:");
    for number in 0..256u64 {
        let block = number * 101 % 256;
        // A stranger between: every 64th block is far away.
        let far_bytes = if block % 64 == 63 { 32 << 20 } else { 0 };
        let offset_bytes = block * BLOCK_BYTES as u64 + far_bytes;
        let request = Request::write(Class::AsyncWrite, offset_bytes, BLOCK_BYTES as u64)?;
        queue.enqueue(request, vec![block as u8; BLOCK_BYTES], 0);
    }
    run(&mut queue, &file, start)?;

    println!("A prefetch of every second block, and a user who wants one of another place first:");
    for block in (0..32u64).step_by(2) {
        let request =
            Request::read(Class::AsyncRead, block * BLOCK_BYTES as u64, BLOCK_BYTES as u64)?;
        queue.enqueue(request, vec![0; BLOCK_BYTES], 0);
    }
    let request = Request::read(Class::SyncRead, 200 * BLOCK_BYTES as u64, BLOCK_BYTES as u64)?;
    queue.enqueue(request, vec![0; BLOCK_BYTES], 0);
    let buffers = run(&mut queue, &file, start)?;
    assert_eq!(buffers.len(), 17);
    assert_eq!(buffers[0], vec![200; BLOCK_BYTES]);
    for (buffer, block) in buffers[1..].iter().zip((0..32u8).step_by(2)) {
        assert_eq!(*buffer, vec![block; BLOCK_BYTES]);
    }
    println!("everything read is what was written");
    Ok(())
}
