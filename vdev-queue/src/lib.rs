//! vdev-queue
