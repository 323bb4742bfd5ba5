//! Schedules writes and reads of a plain file, without any pool: the queue decides, this
//! program does.
//!
//! `cargo run -p vdev-queue --example elevator`

use std::error::Error;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::time::Instant;

use vdev_queue::{Class, Config, DeviceIo, Flags, Issue, Kind, Queue, Request, Segment};

const BLOCK_BYTES: u64 = 4096;
/// All padding is written from here.
static ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];

/// A plain file in the place of a device.
struct Device {
    file: File,
    /// What lies between two reads lands here, and nobody looks at it.
    scratch: Vec<u8>,
    start: Instant,
}

impl Device {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Does one I/O in one vectored call on the requests' own buffers.
    fn carry_out(&mut self, io: &mut DeviceIo<Vec<u8>>) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(io.offset_bytes))?;
        let done_bytes = match io.kind {
            Kind::Read => self.read(io)?,
            Kind::Write => self.write(io)?,
            Kind::Trim => io.len_bytes as usize,
        };
        if done_bytes as u64 == io.len_bytes { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
    }

    fn read(&mut self, io: &mut DeviceIo<Vec<u8>>) -> io::Result<usize> {
        let (mut pieces, mut scratch) = (Vec::new(), &mut self.scratch[..]);
        let mut at = io.offset_bytes;
        for member in &mut io.members {
            let gap_bytes = (member.request.offset_bytes() - at) as usize;
            at = member.request.end_bytes();
            if gap_bytes > 0 {
                let (gap, rest) = scratch.split_at_mut(gap_bytes);
                pieces.push(IoSliceMut::new(gap));
                scratch = rest;
            }
            pieces.push(IoSliceMut::new(&mut member.payload));
        }
        self.file.read_vectored(&mut pieces)
    }

    fn write(&mut self, io: &DeviceIo<Vec<u8>>) -> io::Result<usize> {
        let pieces: Vec<IoSlice<'_>> = io
            .segments()
            .filter_map(|segment| match segment {
                Segment::Data(member) => Some(IoSlice::new(&member.payload)),
                Segment::Zeros(_) => Some(IoSlice::new(&ZEROS)),
                Segment::Gap { .. } => None, // writes have none
            })
            .collect();
        self.file.write_vectored(&pieces)
    }
}

/// Issues until nothing waits; returns the buffers of the reads.
fn run(queue: &mut Queue<Vec<u8>>, device: &mut Device) -> io::Result<Vec<Vec<u8>>> {
    let mut buffers = Vec::new();
    while let Some(issue) = queue.poll_issue(device.now_ns()) {
        let Issue::Io(mut io) = issue else { continue };
        println!(
            "  {:?} {:>4} KiB at {:>6} KiB for {:>2} requests ({:?})",
            io.kind,
            io.len_bytes / 1024,
            io.offset_bytes / 1024,
            io.members.len(),
            io.ticket.class(),
        );
        device.carry_out(&mut io)?;
        queue.complete(io.ticket, device.now_ns());
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
    let mut device = Device { file, scratch: vec![0; 128 << 10], start: Instant::now() };
    let mut queue = Queue::new(Config::default())?;

    println!("256 blocks written in a bad order leave in a good one:");
    for number in 0..256u64 {
        let block = number * 101 % 256;
        // A stranger between: every 64th block is far away.
        let far_bytes = if block % 64 == 63 { 32 << 20 } else { 0 };
        let offset_bytes = block * BLOCK_BYTES + far_bytes;
        let request = Request::write(Class::AsyncWrite, offset_bytes, BLOCK_BYTES)?;
        queue.enqueue(request, vec![block as u8; BLOCK_BYTES as usize], device.now_ns());
        if far_bytes > 0 {
            // Padding in its place, worth writing because a neighbour follows.
            let flags = Flags::OPTIONAL | Flags::NODATA;
            let (class, offset_bytes) = (Class::AsyncWrite, block * BLOCK_BYTES);
            let padding = Request::new(Kind::Write, class, offset_bytes, BLOCK_BYTES, flags)?;
            queue.enqueue(padding, Vec::new(), device.now_ns());
        }
    }
    run(&mut queue, &mut device)?;

    println!("A prefetch of every second block, and a user who wants one of another place first:");
    for block in (0..32u64).step_by(2) {
        let request = Request::read(Class::AsyncRead, block * BLOCK_BYTES, BLOCK_BYTES)?;
        queue.enqueue(request, vec![0; BLOCK_BYTES as usize], device.now_ns());
    }
    let request = Request::read(Class::SyncRead, 200 * BLOCK_BYTES, BLOCK_BYTES)?;
    queue.enqueue(request, vec![0; BLOCK_BYTES as usize], device.now_ns());
    let buffers = run(&mut queue, &mut device)?;
    assert_eq!(buffers.len(), 17);
    assert_eq!(buffers[0], vec![200; BLOCK_BYTES as usize]);
    for (buffer, block) in buffers[1..].iter().zip((0..32u8).step_by(2)) {
        assert_eq!(*buffer, vec![block; BLOCK_BYTES as usize]);
    }
    println!("Everything read is what was written.");

    for class in [Class::AsyncWrite, Class::AsyncRead, Class::SyncRead] {
        let stats = queue.stats(class);
        let waited = queue.counters().latencies(class).queue.percentile_ns(50.0);
        println!(
            "{class:?}: {} I/Os, {} requests rode along, half waited {} µs at most",
            stats.issued_total,
            stats.merged_total,
            waited.unwrap_or(0) / 1000,
        );
    }
    Ok(())
}
