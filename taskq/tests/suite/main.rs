//! Behaviour of the crate through its public face.

mod background;
mod common;
mod dynamic;
#[cfg(feature = "rayon")]
mod fan;
mod inline;
mod life;
mod order;
mod routes;
mod service;
mod steal;
mod table;
mod track;
