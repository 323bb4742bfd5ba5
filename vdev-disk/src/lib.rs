//! vdev-disk
