//! What the tests share: simulated pools whose disks stay while pipelines come and go.

use std::sync::Arc;

use vdev_sim::{DiskConfig, Machine, Rng, SimDisk};
use zio_core::{Reactor, Vdev, Wait};
use zio_pipeline::{BlockPointer, Builder, DATA_START_BYTES, Mirror, Pipeline};

pub(crate) const MIB: u64 = 1 << 20;

/// Bytes without any pattern.
pub(crate) fn noise(seed: u64, len_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; len_bytes];
    Rng::new(seed).fill(&mut bytes);
    bytes
}

/// The disks of a pool on a simulated machine.
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) disks: Vec<Arc<SimDisk>>,
    /// The disks of each vdev, by number: one, or the leaves of a mirror.
    pub(crate) vdevs: Vec<Vec<usize>>,
}

impl World {
    /// One vdev for each number: that many leaves.
    pub(crate) fn new(machine: &Machine, leaves: &[usize]) -> Self {
        Self::with(machine, leaves, &DiskConfig::fixed(64 * MIB, 10_000))
    }

    pub(crate) fn with(machine: &Machine, leaves: &[usize], config: &DiskConfig) -> Self {
        machine.set_steps_max(20_000_000);
        let (mut disks, mut vdevs) = (Vec::new(), Vec::new());
        for count in leaves {
            let first = disks.len();
            let disk = |_| machine.disk(DiskConfig { strict: true, ..config.clone() });
            disks.extend((0..*count).map(disk));
            vdevs.push((first..disks.len()).collect());
        }
        Self { machine: machine.clone(), disks, vdevs }
    }

    /// One to three vdevs, each a disk or a mirror.
    pub(crate) fn draw(machine: &Machine, rng: &mut Rng) -> Self {
        let leaves: Vec<usize> = (0..1 + rng.index(3)).map(|_| 1 + rng.index(3)).collect();
        Self::new(machine, &leaves)
    }

    pub(crate) fn builder(&self) -> Builder {
        let machine = self.machine.clone();
        let builder =
            Pipeline::builder().task_queue(self.machine.queue()).clock(move || machine.now_ns());
        let disk = |number: &usize| Arc::clone(&self.disks[*number]) as Arc<dyn Vdev>;
        self.vdevs.iter().fold(builder, |builder, leaves| match leaves.as_slice() {
            [one] => builder.vdev(disk(one)),
            leaves => builder.mirror(leaves.iter().map(disk).fold(Mirror::new(), Mirror::vdev)),
        })
    }

    pub(crate) fn pipeline(&self) -> Pipeline {
        self.builder().build().unwrap()
    }

    /// Every place where a copy of the block stands: disk and offset on it.
    pub(crate) fn places(&self, bp: &BlockPointer) -> Vec<(&SimDisk, u64)> {
        bp.dvas()
            .flat_map(|dva| {
                let leaves = &self.vdevs[dva.vdev().0 as usize];
                leaves
                    .iter()
                    .map(move |leaf| (&*self.disks[*leaf], DATA_START_BYTES + dva.offset_bytes()))
            })
            .collect()
    }

    /// What stands at each of its places.
    pub(crate) fn contents(&self, bp: &BlockPointer) -> Vec<Vec<u8>> {
        let content = |(disk, at): (&SimDisk, u64)| disk.peek(at, bp.psize_bytes() as usize);
        self.places(bp).into_iter().map(content).collect()
    }

    /// Lets one thing happen, if anything can.
    pub(crate) fn turn(&self) {
        self.machine.turn(Wait::Poll);
    }

    /// Power off and on again. What was not flushed is kept, torn or lost.
    pub(crate) fn power_cycle(&self) {
        self.machine.power_cut();
        self.machine.run_until_idle();
        self.disks.iter().for_each(|disk| disk.online());
    }
}
