#![deny(unsafe_code)]
//! x
pub mod fletcher;
mod order; mod value; mod algorithm;
pub use order::*; pub use value::*; pub use algorithm::*;
