//! The built binary as real processes.
