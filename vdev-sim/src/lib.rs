//! vdev-sim
