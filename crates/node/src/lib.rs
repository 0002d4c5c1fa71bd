//! One host as a pure machine: the commit-confirmed protocol.
