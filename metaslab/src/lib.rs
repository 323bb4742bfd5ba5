//! metaslab
