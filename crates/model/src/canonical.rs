//! The canonical encoding: JSON with sorted keys, no white space and no
//! floating-point numbers, so that equal values have equal bytes on every
//! machine and in every version.
//!
//! It is the subset of RFC 8785 (JSON Canonicalization Scheme) in which numbers
//! are integers of at most 64 bits; keys sort by their UTF-8 bytes.

use serde::Serialize;
use serde_json::Value;

use crate::Digest;

/// A value that has no canonical encoding.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// The value can't be written as JSON at all.
    #[error("not representable as JSON")]
    Json(#[source] serde_json::Error),
    /// A number with a fraction or an exponent.
    #[error("{0} is not an integer")]
    Float(serde_json::Number),
}

/// The canonical bytes of `value`.
///
/// # Errors
/// When `value` holds a floating-point number or isn't JSON (a map with keys that aren't text).
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value).map_err(CanonicalError::Json)?;
    let mut bytes = Vec::new();
    write(&value, &mut bytes)?;
    Ok(bytes)
}

/// The digest of the canonical bytes of `value`.
///
/// # Errors
/// As [`encode`].
pub fn digest<T: Serialize + ?Sized>(value: &T) -> Result<Digest, CanonicalError> {
    Ok(Digest::of(&encode(value)?))
}

fn write(value: &Value, bytes: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Null => bytes.extend_from_slice(b"null"),
        Value::Bool(true) => bytes.extend_from_slice(b"true"),
        Value::Bool(false) => bytes.extend_from_slice(b"false"),
        Value::Number(number) if number.is_f64() => {
            return Err(CanonicalError::Float(number.clone()));
        }
        Value::Number(number) => bytes.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_text(text, bytes)?,
        Value::Array(items) => {
            bytes.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                write(item, bytes)?;
            }
            bytes.push(b']');
        }
        Value::Object(map) => {
            // Sorted here rather than trusting the map's type: another crate in the
            // build may switch serde_json's maps to insertion order.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_bytes());
            bytes.push(b'{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                write_text(key, bytes)?;
                bytes.push(b':');
                write(item, bytes)?;
            }
            bytes.push(b'}');
        }
    }
    Ok(())
}

fn write_text(text: &str, bytes: &mut Vec<u8>) -> Result<(), CanonicalError> {
    serde_json::to_writer(bytes, text).map_err(CanonicalError::Json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sorted_tight_and_without_floats() {
        let value = serde_json::json!({"b": [1, null, true], "a": {"z": "ä\n", "y": -3}});
        let text = String::from_utf8(encode(&value).unwrap()).unwrap();
        assert_eq!(text, r#"{"a":{"y":-3,"z":"ä\n"},"b":[1,null,true]}"#);
        assert!(matches!(encode(&0.5), Err(CanonicalError::Float(_))));
    }

    proptest! {
        #[test]
        fn key_order_does_not_matter(map in proptest::collection::btree_map(".*", any::<i64>(), 0..8)) {
            let forward: serde_json::Map<_, _> =
                map.iter().map(|(k, v)| (k.clone(), Value::from(*v))).collect();
            let backward: serde_json::Map<_, _> =
                map.iter().rev().map(|(k, v)| (k.clone(), Value::from(*v))).collect();
            prop_assert_eq!(encode(&forward).unwrap(), encode(&backward).unwrap());
            let back: Value = serde_json::from_slice(&encode(&forward).unwrap()).unwrap();
            prop_assert_eq!(back, Value::Object(forward));
        }
    }
}
