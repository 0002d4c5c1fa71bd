//! What travels between the parts: API types, signed orders, the HTTP client, bundle packing.
