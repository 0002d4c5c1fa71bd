//! The control plane as a pure machine: decide, evolve, due, wake_at.
