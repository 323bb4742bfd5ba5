//! The stories of requests, as they are printed.

use std::sync::Arc;

use vdev_sim::SimDisk;
use zio_core::Vdev;
use zio_pipeline::{Builder, Checksum, Compression, ErrorKind, Mirror, Trace};

use crate::common::{Sim, compressible, noise};
use crate::stages::compare;

/// Each zio of a story has ended, after its stages, which it ran in order of time.
fn is_whole(trace: &Trace) {
    for (number, zio) in trace.zios().iter().enumerate() {
        let times: Vec<u64> = zio.stages.iter().map(|(_, ns)| *ns).collect();
        assert!(times.is_sorted() && !times.is_empty());
        assert!(zio.end.as_ref().is_some_and(|(end_ns, _)| times.last() <= Some(end_ns)));
        assert!(zio.parent.is_none_or(|parent| parent < number));
    }
}

#[test]
fn a_read_that_heals_tells_its_story() {
    let sim = Sim::new(1, 2);
    let machine = sim.machine.clone();
    let side = |mirror: Mirror, disk: &Arc<SimDisk>| mirror.vdev(Arc::clone(disk) as Arc<dyn Vdev>);
    let builder = Builder::default().mirror(sim.disks.iter().fold(Mirror::new(), side));
    let builder = builder.task_queue(sim.machine.queue()).clock(move || machine.now_ns());
    let pipeline = builder.build().unwrap();
    let write = pipeline.write(noise(1, 8192)).checksum(Checksum::Sha256);
    let bp = write.wait().unwrap();
    for disk in &sim.disks[..1] {
        disk.corrupt(sim.place(&bp, 0).1, 8192);
    }
    let trace = pipeline.trace();
    assert!(pipeline.read(&bp).every_copy().trace(&trace).wait().unwrap() == noise(1, 8192));
    is_whole(&trace);
    compare(&trace.to_string(), "trace-heal.txt");
    // It was one request's: the next one is not in it.
    let length = trace.zios().len();
    pipeline.read(&bp).wait().unwrap();
    assert_eq!(trace.zios().len(), length);
}

#[test]
fn writes_and_failures_tell_theirs() {
    let sim = Sim::new(2, 2);
    let pipeline = sim.pipeline();
    let trace = pipeline.trace();
    let write = pipeline.write(compressible(1, 65_536)).compression(Compression::Lz4).copies(2);
    let bp = write.trace(&trace).wait().unwrap();
    pipeline.flush().trace(&trace).wait().unwrap();
    sim.corrupt(&bp, 0);
    sim.corrupt(&bp, 1);
    let error = pipeline.read(&bp).trace(&trace).wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checksum);
    is_whole(&trace);
    compare(&trace.to_string(), "trace-write.txt");
}
