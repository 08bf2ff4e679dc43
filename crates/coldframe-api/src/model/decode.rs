//! Percent-decoding of path segments and queries.

use super::RouteError;

#[cfg(test)]
mod tests;

/// The pairs of a raw query in their order, repeated names included.
///
/// # Errors
///
/// [`RouteError::MalformedEncoding`] if a name or value is not UTF-8 when decoded.
pub fn query_pairs(raw: &str) -> Result<Vec<(String, String)>, RouteError> {
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, b' ')?, decode(value, b' ')?))
        })
        .collect()
}

/// A path segment: `+` stands for itself.
pub(super) fn segment(raw: &str) -> Result<String, RouteError> {
    decode(raw, b'+')
}

/// A `%` before anything but two hexadecimal digits stands for itself; no client means an error by
/// it.
fn decode(raw: &str, plus: u8) -> Result<String, RouteError> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        (rest, _) = match (first, tail) {
            (b'%', [high, low, tail @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (tail, decoded.push(digit(*high) << 4 | digit(*low)))
            }
            (b'+', _) => (tail, decoded.push(plus)),
            _ => (tail, decoded.push(*first)),
        };
    }
    String::from_utf8(decoded).map_err(|_| RouteError::MalformedEncoding)
}

/// Of an ASCII hexadecimal digit.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}
