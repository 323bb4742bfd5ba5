//! Behaviour of the crate through its public face.

mod background;
mod common;
mod dynamic;
mod inline;
mod life;
mod order;
mod routes;
mod service;
mod steal;
mod table;
mod track;
