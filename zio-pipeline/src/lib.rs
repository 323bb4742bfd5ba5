//! zio-pipeline
