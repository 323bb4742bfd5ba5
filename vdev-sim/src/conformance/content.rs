//! What the bytes do.

use zio_core::{Buffers, Data, VdevOp};

use super::ensure;
use super::vdev::{Fixture, bytes_of, done_or_unsupported, no_answer, read, same, wait, write};
use crate::client::Client;
use crate::rng::Rng;

/// Sectors of the region that the checks work in.
const SECTORS: u64 = 64;

fn sector(client: &Client) -> usize {
    client.vdev().geometry().sector_bytes as usize
}

fn writable(client: &Client) -> bool {
    !client.vdev().geometry().read_only
}

fn random_bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

/// A first sector and a count that fit into the region.
fn random_range(rng: &mut Rng) -> (u64, usize) {
    let first = rng.below(SECTORS);
    let count = 1 + rng.below((SECTORS - first).min(12));
    (first, count as usize)
}

/// Random writes and reads against a model, one after the other; in the end
/// the whole region is as the model says.
pub(super) fn round_trip(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    if !writable(&client) {
        return Ok(());
    }
    let sector = sector(&client);
    let mut rng = Rng::new(1);
    let mut model = random_bytes(&mut rng, SECTORS as usize * sector);
    write(&client, 0, &model)?;
    for _ in 0..100 {
        let (first, count) = random_range(&mut rng);
        let at = first as usize * sector;
        if rng.coin() {
            let bytes = random_bytes(&mut rng, count * sector);
            write(&client, at as u64, &bytes)?;
            model[at..at + bytes.len()].copy_from_slice(&bytes);
        } else {
            let found = read(&client, at as u64, count * sector)?;
            same(&found, &model[at..at + count * sector], &format!("read at {at:#x}"))?;
        }
    }
    same(&read(&client, 0, model.len())?, &model, "the whole region in the end")
}

pub(super) fn both_ends(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let sector = sector(&client);
    let last = client.vdev().geometry().size_bytes - sector as u64;
    if !writable(&client) {
        read(&client, 0, sector)?;
        return read(&client, last, sector).map(drop);
    }
    let mut rng = Rng::new(2);
    let (head, tail) = (random_bytes(&mut rng, sector), random_bytes(&mut rng, sector));
    write(&client, 0, &head)?;
    write(&client, last, &tail)?;
    same(&read(&client, 0, sector)?, &head, "the first sector")?;
    same(&read(&client, last, sector)?, &tail, "the last sector")
}

/// Cuts a length into whole sectors at random.
fn cut(rng: &mut Rng, sectors: usize, sector: usize) -> Vec<usize> {
    let mut pieces = Vec::new();
    let mut left = sectors;
    while left > 0 {
        let take = 1 + rng.index(left.min(5));
        pieces.push(take * sector);
        left -= take;
    }
    pieces
}

pub(super) fn split_anyhow(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    if !writable(&client) {
        return Ok(());
    }
    let sector = sector(&client);
    let mut rng = Rng::new(3);
    for _ in 0..30 {
        let (first, count) = random_range(&mut rng);
        let at = first * sector as u64;
        let bytes = random_bytes(&mut rng, count * sector);
        // Every other write cuts one buffer up; the others bring a buffer for each piece.
        let whole: Data = client.pool().copy_of(&bytes).into();
        let shared = rng.coin();
        let mut data = Data::new();
        let mut from = 0;
        for len in cut(&mut rng, count, sector) {
            if shared {
                data.append(whole.slice(from..from + len));
            } else {
                data.append(client.pool().copy_of(&bytes[from..from + len]).into());
            }
            from += len;
        }
        let pieces = data.segments().len();
        let done = wait(&client, client.start(VdevOp::Write(data), at))?;
        done.result.map_err(|e| format!("write of {pieces} segments: {e}"))?;
        let lens = cut(&mut rng, count, sector);
        let found = bytes_of(wait(&client, client.start_read(at, &lens))?)?;
        same(&found, &bytes, &format!("{pieces} segments read into {} buffers", lens.len()))?;
    }
    Ok(())
}

fn addresses(buffers: &Buffers) -> Vec<(usize, usize)> {
    buffers.iter().map(|b| (b.as_ptr().addr(), b.len())).collect()
}

fn segment_addresses(data: &Data) -> Vec<(usize, usize)> {
    data.chunks().map(|c| (c.as_ptr().addr(), c.len())).collect()
}

/// The very same buffers, in the same order, and a write's bytes unchanged.
pub(super) fn payload_comes_back(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let sector = sector(&client);
    let buffers: Buffers =
        [1, 3, 2].iter().map(|sectors| client.pool().take(sectors * sector)).collect();
    let before = addresses(&buffers);
    let done = wait(&client, client.start(VdevOp::Read(buffers), 0))?;
    done.result.map_err(|e| format!("read: {e}"))?;
    match done.op {
        Some(VdevOp::Read(buffers)) => {
            ensure!(addresses(&buffers) == before, "a read came back with other buffers");
        }
        other => return Err(format!("a read came back with {other:?}")),
    }
    if writable(&client) {
        let bytes = random_bytes(&mut Rng::new(4), 4 * sector);
        let whole: Data = client.pool().copy_of(&bytes).into();
        let mut data = whole.slice(0..sector);
        data.append(whole.slice(sector..4 * sector));
        let before = segment_addresses(&data);
        let done = wait(&client, client.start(VdevOp::Write(data), 0))?;
        done.result.map_err(|e| format!("write: {e}"))?;
        match done.op {
            Some(VdevOp::Write(data)) => {
                ensure!(segment_addresses(&data) == before, "a write came back with other memory");
                same(&data.to_vec(), &bytes, "the payload of a finished write")?;
            }
            other => return Err(format!("a write came back with {other:?}")),
        }
    }
    // Also when the answer is an error.
    let outside = client.vdev().geometry().size_bytes;
    let done = wait(&client, client.start_read(outside, &[sector]))?;
    ensure!(
        matches!(&done.op, Some(VdevOp::Read(buffers)) if buffers.len() == 1),
        "a refused read came back with {:?}",
        done.op
    );
    Ok(())
}

/// Writers and readers on one range at a time. Nobody promises who wins, but
/// all are answered, and no byte comes from nowhere.
pub(super) fn overlap(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    if !writable(&client) {
        return Ok(());
    }
    let sector = sector(&client);
    let len = 16 * sector;
    write(&client, 0, &vec![0; len])?;
    let mut rng = Rng::new(5);
    let mut tickets = Vec::new();
    for writer in 1..=200u8 {
        let first = rng.index(16);
        let count = 1 + rng.index(16 - first);
        let at = (first * sector) as u64;
        tickets.push(client.start_write(at, &vec![writer; count * sector]));
        tickets.push(client.start_read(at, &[count * sector]));
    }
    client.wait_all(&tickets).map_err(no_answer)?;
    for ticket in tickets {
        wait(&client, ticket)?.result.map_err(|e| format!("overlapping I/O: {e}"))?;
    }
    let found = read(&client, 0, len)?;
    let stray = found.iter().position(|&byte| byte > 200);
    ensure!(stray.is_none(), "byte {stray:?} was written by nobody");
    Ok(())
}

pub(super) fn trim(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    if !writable(&client) {
        return Ok(());
    }
    let sector = sector(&client);
    let bytes = random_bytes(&mut Rng::new(6), 48 * sector);
    write(&client, 0, &bytes)?;
    let range = 8 * sector..40 * sector;
    let op = VdevOp::Trim { len_bytes: range.len() as u64 };
    let trimmed =
        done_or_unsupported(&wait(&client, client.start(op, range.start as u64))?, "trim")?;
    let found = read(&client, 0, bytes.len())?;
    same(&found[..range.start], &bytes[..range.start], "before the trimmed range")?;
    same(&found[range.end..], &bytes[range.end..], "after the trimmed range")?;
    if !trimmed {
        same(&found, &bytes, "after a trim that is not supported")?;
    }
    write(&client, range.start as u64, &bytes[range.clone()])?;
    same(&read(&client, 0, bytes.len())?, &bytes, "written again after a trim")
}

pub(super) fn flush(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let sector = sector(&client);
    let flush = |client: &Client, offset| {
        done_or_unsupported(&wait(client, client.start(VdevOp::Flush, offset))?, "flush")
    };
    flush(&client, 0)?;
    // The offset of a flush means nothing.
    flush(&client, u64::MAX)?;
    if writable(&client) {
        let bytes = random_bytes(&mut Rng::new(7), 4 * sector);
        write(&client, 0, &bytes)?;
        flush(&client, 0)?;
        same(&read(&client, 0, bytes.len())?, &bytes, "after a flush")?;
        // In the middle of traffic.
        let mut tickets = Vec::new();
        for i in 0..50u64 {
            tickets.push(client.start_write(i % 16 * sector as u64, &vec![9; sector]));
            tickets.push(client.start(VdevOp::Flush, 0));
        }
        client.wait_all(&tickets).map_err(no_answer)?;
        for ticket in tickets {
            done_or_unsupported(&wait(&client, ticket)?, "flush among writes")?;
        }
    }
    Ok(())
}
