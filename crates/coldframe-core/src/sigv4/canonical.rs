//! The one form of a request that both sides hash.

use super::Request;

/// `path` comes from [`path`], `signed` from the signature: `;` between lower-case names.
pub(super) fn request(
    request: &Request<'_>,
    path: &str,
    signed: &str,
    body_sha256: &str,
) -> String {
    let mut text = format!("{}\n{path}\n{}\n", request.method, query(request.query));
    for name in signed.split(';') {
        text.push_str(name);
        text.push(':');
        let values = request.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        for (index, (_, value)) in values.enumerate() {
            if index > 0 {
                text.push(',');
            }
            for (index, word) in value.split_ascii_whitespace().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                text.push_str(word);
            }
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(signed);
    text.push('\n');
    text.push_str(body_sha256);
    text
}

/// Encoded once more, without dots and empty segments; for S3 as it is.
pub(super) fn path(raw: &str, is_s3: bool) -> String {
    if raw.is_empty() {
        return "/".to_owned();
    }
    if is_s3 { raw.to_owned() } else { encode(&normalized(raw), b"/") }
}

/// As it came, encoded once more: what clients that don't normalise sign.
pub(super) fn path_as_sent(raw: &str) -> String {
    encode(if raw.is_empty() { "/" } else { raw }, b"/")
}

fn normalized(raw: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let end = if raw.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{end}", kept.join("/"))
}

/// Sorted by encoded name, then value, whatever encoding they came in; without the signature.
fn query(raw: &str) -> String {
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encode_decoded(name), encode_decoded(value))
        })
        .filter(|(name, _)| name != "X-Amz-Signature")
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn encode_decoded(raw: &str) -> String {
    encode_bytes(&decode(raw), b"")
}

/// Undoes percent-encoding; `+` is a blank. A `%` before anything but two digits stands for itself.
pub(super) fn decode(raw: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let digits = tail.first_chunk::<2>().filter(|_| *first == b'%');
        match digits.and_then(|digits| byte(*digits)) {
            Some(byte) => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            None => decoded.push(if *first == b'+' { b' ' } else { *first }),
        }
    }
    decoded
}

/// Of two hex digits.
pub(super) fn byte([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

pub(super) fn encode(text: &str, kept: &[u8]) -> String {
    encode_bytes(text.as_bytes(), kept)
}

fn encode_bytes(bytes: &[u8], kept: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || kept.contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}
