//! The forms a function is named in.
//!
//! ```text
//! [arn:PARTITION:lambda:] [REGION:] [ACCOUNT:] [function:] NAME [:QUALIFIER]
//! ```
//!
//! Every bracket may be absent, each on its own. A part that could be two things is the leftmost of
//! them, if the rest allows it, as in the model's pattern: `function:NAME` has no qualifier, and a
//! bare `function` is a name.

#[cfg(test)]
mod tests;

/// The widest pattern for function names; [`parse`] accepts what it matches.
pub(super) const PATTERN: &str = concat!(
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?",
    r"(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?",
);

/// As many parts as the longest form has.
const PARTS_MAX: usize = 8;

/// A function as a caller names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionIdentifier {
    pub region: Option<String>,
    pub account: Option<String>,
    pub name: String,
    pub qualifier: Option<String>,
}

/// The text has none of the forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a function name, partial ARN or ARN")]
pub struct Malformed;

/// A [`FunctionIdentifier`] that borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    pub region: Option<&'a str>,
    pub account: Option<&'a str>,
    pub name: &'a str,
    pub qualifier: Option<&'a str>,
}

/// Reads any form. Lengths, and the narrower alphabet that some operations ask for, are the model's
/// matter.
///
/// # Errors
///
/// [`Malformed`] exactly if `NamespacedFunctionName` does not match.
pub fn parse(text: &str) -> Result<FunctionIdentifier, Malformed> {
    let Parts { region, account, name, qualifier } = parts(text).ok_or(Malformed)?;
    Ok(FunctionIdentifier {
        region: region.map(str::to_owned),
        account: account.map(str::to_owned),
        name: name.to_owned(),
        qualifier: qualifier.map(str::to_owned),
    })
}

/// [`parse`] without allocation.
pub fn parts(text: &str) -> Option<Parts<'_>> {
    let mut parts = [""; PARTS_MAX];
    let mut len = 0;
    for part in text.split(':') {
        *parts.get_mut(len)? = part;
        len += 1;
    }
    after_arn(&parts[..len])
}

/// Each step takes its part if it can and what follows still reads, and leaves it otherwise.
fn after_arn<'a>(parts: &[&'a str]) -> Option<Parts<'a>> {
    match parts {
        ["arn", partition, "lambda", rest @ ..] if is_partition(partition) => after_region(rest),
        _ => None,
    }
    .or_else(|| after_region(parts))
}

fn after_region<'a>(parts: &[&'a str]) -> Option<Parts<'a>> {
    match parts {
        [region, rest @ ..] if is_region(region) => {
            after_account(rest).map(|found| Parts { region: Some(region), ..found })
        }
        _ => None,
    }
    .or_else(|| after_account(parts))
}

fn after_account<'a>(parts: &[&'a str]) -> Option<Parts<'a>> {
    match parts {
        [account, rest @ ..] if is_account(account) => {
            after_function(rest).map(|found| Parts { account: Some(account), ..found })
        }
        _ => None,
    }
    .or_else(|| after_function(parts))
}

fn after_function<'a>(parts: &[&'a str]) -> Option<Parts<'a>> {
    match parts {
        ["function", rest @ ..] => name(rest),
        _ => None,
    }
    .or_else(|| name(parts))
}

fn name<'a>(parts: &[&'a str]) -> Option<Parts<'a>> {
    let (name, qualifier) = match *parts {
        [name] => (name, None),
        [name, qualifier] if is_qualifier(qualifier) => (name, Some(qualifier)),
        _ => return None,
    };
    let named = !name.is_empty() && name.bytes().all(|byte| is_word(byte) || byte == b'.');
    named.then_some(Parts { region: None, account: None, name, qualifier })
}

/// `(aws[a-zA-Z-]*)?`
fn is_partition(part: &str) -> bool {
    let tail = part.strip_prefix("aws");
    let wild = |tail: &str| tail.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    part.is_empty() || tail.is_some_and(wild)
}

/// `(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}`
fn is_region(part: &str) -> bool {
    let mut words = part.strip_prefix("eusc-").unwrap_or(part).split('-');
    let (country, number) = (words.next(), words.next_back());
    let (first, second, third) = (words.next(), words.next(), words.next());
    let lower = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let isolated =
        |word: &str| word == "gov" || (word.starts_with("iso") && word.len() <= 4 && lower(word));
    country.is_some_and(|word| word.len() == 2 && lower(word))
        && number.is_some_and(|word| matches!(word.as_bytes(), [b'0'..=b'9']))
        && match (first, second, third) {
            (Some(place), None, None) => lower(place),
            (Some(kind), Some(place), None) => isolated(kind) && lower(place),
            _ => false,
        }
}

fn is_account(part: &str) -> bool {
    part.len() == 12 && part.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_qualifier(part: &str) -> bool {
    matches!(part, "$LATEST" | "$LATEST.PUBLISHED")
        || (!part.is_empty() && part.bytes().all(is_word))
}

/// `[a-zA-Z0-9-_]`
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}
