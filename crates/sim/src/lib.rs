//! Engine and nodes on a simulated network, by seed.
