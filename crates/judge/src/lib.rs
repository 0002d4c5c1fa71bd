//! Decides from counts whether a release does harm.
