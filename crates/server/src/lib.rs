//! The control plane's shell: HTTP API, journal loop, workers.
