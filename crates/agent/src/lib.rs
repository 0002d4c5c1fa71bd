//! The host agent's shell: files, commands, health, the way home.
