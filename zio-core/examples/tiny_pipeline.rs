//! A pipeline of three stages over a device in memory: a block is read through a
//! child for the device, and a read beyond the device's end fails.

use std::sync::{Arc, Mutex};

use zio_core::{
    BufferPool, Buffers, ChildSet, Data, Done, Engine, Error, ErrorKind, Flags, Geometry, Next,
    Parts, QueueKind, Ready, Request, Route, Stage, Stages, Task, TaskQueue, Vdev, VdevDone,
    VdevError, VdevErrorKind, VdevId, VdevIo, VdevOp, WaitType, ZioBox, ZioType,
};

/// A device: bytes, and an answer before `start` returns.
#[derive(Debug)]
struct Memory(Mutex<Vec<u8>>);

impl Vdev for Memory {
    fn geometry(&self) -> Geometry {
        Geometry {
            size_bytes: self.0.lock().map_or(0, |bytes| bytes.len() as u64),
            sector_bytes: 512,
            physical_bytes: 4096,
            memory_align_bytes: 1,
            rotational: false,
            read_only: false,
        }
    }

    fn start(&self, mut io: VdevIo) {
        if let Err(error) = io.check(&self.geometry()) {
            return io.finish(Err(error));
        }
        let mut at = io.offset_bytes() as usize;
        let result = match (self.0.lock(), io.op_mut()) {
            (Ok(bytes), VdevOp::Read(buffers)) => {
                for buffer in buffers {
                    let end = at + buffer.len();
                    buffer.copy_from_slice(&bytes[at..end]);
                    at = end;
                }
                Ok(())
            }
            (Ok(mut bytes), VdevOp::Write(data)) => {
                let end = at + data.len();
                data.copy_to(&mut bytes[at..end]);
                Ok(())
            }
            (Ok(_), VdevOp::Flush | VdevOp::Trim { .. }) => Ok(()),
            (Err(_), _) => Err(VdevError::new(VdevErrorKind::Gone)),
        };
        io.finish(result);
    }
}

/// The block's zio makes a child for the device; the child goes there.
struct ToDevice(Memory);

impl Stage for ToDevice {
    fn stage(&self) -> Stages {
        Stages::VDEV_IO_START
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        if zio.vdev.is_none() {
            let (ty, at, road) = (zio.ty(), zio.offset_bytes, Stages::VDEV_CHILD);
            let mut child = Engine::make_vdev_child(&zio, ty, VdevId(0), at, road);
            child.data = zio.data.clone();
            child.size_bytes = zio.size_bytes;
            child.start();
            return Some(zio);
        }
        let op = if zio.ty() == ZioType::Write {
            VdevOp::Write(std::mem::take(&mut zio.data))
        } else {
            VdevOp::Read(Buffers::from_iter([zio.engine().buffers().take(zio.size_bytes)]))
        };
        let offset_bytes = zio.offset_bytes;
        let token = zio.park_for_device();
        self.0.start(VdevIo::new(op, offset_bytes, token));
        None
    }
}

/// The child takes the device's answer.
struct FromDevice;

impl Stage for FromDevice {
    fn stage(&self) -> Stages {
        Stages::VDEV_IO_DONE
    }

    fn run(&self, mut zio: ZioBox) -> Next {
        let Some(VdevDone { op, result }) = zio.answer.take() else { return Some(zio) };
        if let Err(error) = result {
            zio.fail(error.into());
        } else if let Some(VdevOp::Read(buffers)) = op {
            zio.data = Data::from_buffers(buffers);
        }
        Some(zio)
    }
}

/// The block's zio waits for its child, and takes its data or its error.
struct FromChild;

impl Stage for FromChild {
    fn stage(&self) -> Stages {
        Stages::VDEV_IO_ASSESS
    }

    fn run(&self, zio: ZioBox) -> Next {
        // Until the child is done, the zio lies in its node, and this returns.
        let mut zio = zio.wait_children(ChildSet::VDEV, WaitType::Done)?;
        while let Some(mut child) = zio.take_finished_child() {
            zio.data = child.take_data();
            if let Some(error) = child.take_error() {
                zio.fail(error);
            }
        }
        Some(zio)
    }
}

/// A task queue without threads: tasks run where they are dispatched.
struct Here;

impl TaskQueue<ZioBox> for Here {
    fn dispatch(&self, task: ZioBox, _route: Route) {
        task.run();
    }

    fn on_worker(&self) -> Option<(ZioType, QueueKind)> {
        None
    }

    fn shutdown(&self) {}
}

fn main() -> Result<(), Error> {
    let memory = Memory(Mutex::new(vec![0; 1 << 20]));
    let engine = Engine::new(Parts {
        stages: vec![
            Arc::new(ToDevice(memory)),
            Arc::new(FromDevice),
            Arc::new(FromChild),
            Arc::new(Ready),
            Arc::new(Done),
        ],
        queue: Arc::new(Here),
        reactors: Vec::new(),
        buffers: BufferPool::new(),
        shared: Arc::new(()),
        hand_over: true,
    });
    let request = |ty, road, offset_bytes, size_bytes| {
        let mut zio = engine.make(ty, Flags::CANFAIL, road);
        (zio.offset_bytes, zio.size_bytes) = (offset_bytes, size_bytes);
        Request::new(zio)
    };

    let mut write = request(ZioType::Write, Stages::WRITE_PHYS, 8192, 512);
    write.zio().data = engine.buffers().copy_of(&[7; 512]).into();
    write.wait()?;

    // Two reads under one root: it is done when both are.
    let root = Request::new(engine.make(ZioType::Null, Flags::empty(), Stages::ROOT));
    let parent = root.as_parent();
    let read = request(ZioType::Read, Stages::READ_PHYS, 8192, 512).under(&parent).start();
    let beyond = request(ZioType::Read, Stages::READ_PHYS, 1 << 20, 512).under(&parent).start();

    let finished = read.wait()?;
    assert!(finished.get().data == [7; 512]);
    println!("read back what was written; stages passed: {:?}", finished.get().traced());
    for (name, error) in [("read", beyond.wait().err()), ("root", root.wait().err())] {
        let error = error.expect("there is nothing beyond the end");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        println!("{name} failed: {error}");
    }
    drop(finished);
    engine.close();
    Ok(())
}
