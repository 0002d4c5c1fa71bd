//! The gateway's shell: a reverse proxy that counts by bundle and tenant.
