//! zio-core
