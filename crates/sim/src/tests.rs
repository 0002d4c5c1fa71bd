//! Laws that can fail, and runs that don't.
