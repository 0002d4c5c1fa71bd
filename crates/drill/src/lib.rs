//! Drills: real processes, real faults, and the service they happen to.
