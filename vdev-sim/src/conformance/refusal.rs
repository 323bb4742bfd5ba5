//! What a device must refuse, and how.

use zio_core::{Buffers, Data, VdevErrorKind, VdevOp};

use super::ensure;
use super::vdev::{Fixture, read, same, wait, write};
use crate::client::Client;

fn buffers(client: &Client, lens: &[usize]) -> Buffers {
    lens.iter().map(|&len| client.pool().take(len)).collect()
}

fn data(client: &Client, lens: &[usize]) -> Data {
    let mut data = Data::new();
    for &len in lens {
        data.append(client.pool().copy_of(&vec![0xee; len]).into());
    }
    data
}

fn expect(
    client: &Client,
    op: VdevOp,
    offset: u64,
    kinds: &[VdevErrorKind],
    what: &str,
) -> Result<(), String> {
    let len = op.len_bytes();
    let name = match &op {
        VdevOp::Read(_) => "read",
        VdevOp::Write(_) => "write",
        VdevOp::Flush => "flush",
        VdevOp::Trim { .. } => "trim",
    };
    let done = wait(client, client.start(op, offset))?;
    let error = done.result.err();
    ensure!(
        error.as_ref().is_some_and(|e| kinds.contains(&e.kind())),
        "{name} of {len} bytes at {offset:#x} ({what}) was answered with {}, expected {kinds:?}",
        error.map_or("success".to_owned(), |e| format!("\"{e}\""))
    );
    Ok(())
}

pub(super) fn refused(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let geometry = client.vdev().geometry();
    let (sector, size) = (geometry.sector_bytes as usize, geometry.size_bytes);
    let region = 16 * sector;
    let tail = size - region as u64;
    let pattern: Vec<u8> = (0..region).map(|i| (i / 7) as u8).collect();
    if !geometry.read_only {
        write(&client, 0, &pattern)?;
        write(&client, tail, &pattern)?;
    }
    let before = (read(&client, 0, region)?, read(&client, tail, region)?);
    let half = sector / 2;
    let ranges: [(u64, &[usize], &str); 9] = [
        (size, &[sector], "from the end on"),
        (size - sector as u64, &[2 * sector], "across the end"),
        (size + sector as u64, &[sector], "beyond the end"),
        (u64::MAX - u64::MAX % sector as u64, &[sector], "at the end of all offsets"),
        (half as u64, &[sector], "misaligned offset"),
        (1, &[sector], "odd offset"),
        (0, &[half], "half a sector"),
        (0, &[sector, half, half], "sum aligned, pieces not"),
        (0, &[sector, 1], "one byte too many"),
    ];
    for (offset, lens, what) in ranges {
        let invalid = [VdevErrorKind::Invalid];
        expect(&client, VdevOp::Read(buffers(&client, lens)), offset, &invalid, what)?;
        let kinds = [VdevErrorKind::Invalid, VdevErrorKind::ReadOnly];
        let kinds = if geometry.read_only { &kinds[..] } else { &kinds[..1] };
        expect(&client, VdevOp::Write(data(&client, lens)), offset, kinds, what)?;
    }
    let trims = [
        (size, sector as u64, "from the end on"),
        (0, size + sector as u64, "more than all"),
        (sector as u64, u64::MAX - (sector as u64 - 1), "end beyond all offsets"),
        (half as u64, sector as u64, "misaligned offset"),
        (0, half as u64, "half a sector"),
    ];
    for (offset, len_bytes, what) in trims {
        let kinds = [VdevErrorKind::Invalid, VdevErrorKind::Unsupported, VdevErrorKind::ReadOnly];
        let kinds = if geometry.read_only { &kinds[..] } else { &kinds[..2] };
        expect(&client, VdevOp::Trim { len_bytes }, offset, kinds, what)?;
    }
    same(&read(&client, 0, region)?, &before.0, "the device's start after refusals")?;
    same(&read(&client, tail, region)?, &before.1, "the device's end after refusals")
}

pub(super) fn read_only(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let geometry = client.vdev().geometry();
    if !geometry.read_only {
        return Ok(());
    }
    let sector = geometry.sector_bytes as usize;
    let before = read(&client, 0, sector)?;
    let refusal = [VdevErrorKind::ReadOnly];
    expect(&client, VdevOp::Write(data(&client, &[sector])), 0, &refusal, "read-only")?;
    let refusal = [VdevErrorKind::ReadOnly, VdevErrorKind::Unsupported];
    expect(&client, VdevOp::Trim { len_bytes: sector as u64 }, 0, &refusal, "read-only")?;
    same(&read(&client, 0, sector)?, &before, "a sector after a refused write")
}

/// Whatever the answer is, it comes.
pub(super) fn empty(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let size = client.vdev().geometry().size_bytes;
    for offset in [0, size] {
        wait(&client, client.start(VdevOp::Read(Buffers::new()), offset))?;
        wait(&client, client.start(VdevOp::Write(Data::new()), offset))?;
        wait(&client, client.start(VdevOp::Trim { len_bytes: 0 }, offset))?;
    }
    Ok(())
}

pub(super) fn never_started(fixture: Fixture) -> Result<(), String> {
    let client = fixture.client();
    let (ticket, io) = client.prepare(VdevOp::Flush, 0);
    drop(io);
    let done = wait(&client, ticket)?;
    let kind = done.result.err().map(|e| e.kind());
    ensure!(kind == Some(VdevErrorKind::Lost), "a dropped I/O was answered with {kind:?}");
    Ok(())
}
