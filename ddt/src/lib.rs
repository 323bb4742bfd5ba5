//! ddt
