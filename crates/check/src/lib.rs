//! Checks what people write before any host sees it: plimsoll.toml, pure.
