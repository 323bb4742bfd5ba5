//! Behaviour of the crate through its public face.

mod common;
mod inline;
mod life;
mod order;
mod routes;
mod service;
mod table;
