//! The patterns of the model, which are Java's, on an engine without look-around and Unicode
//! classes.
//!
//! A pattern must match the whole value, as `String.matches` asks. What the engine lacks:
//!
//! | in the model | here |
//! |---|---|
//! | `(?!…)` at the start, `(?<!…)` at the end | a second expression that must not match |
//! | `(?!…)` before the qualifier of a function URL | an equal expression without it, by hand |
//! | the characters of a tag | a predicate |
//! | the forms of a function name in an invocation | [`name::parts`], as it is on the warm path |

use std::sync::OnceLock;

use regex_lite::Regex;

use super::name;

#[cfg(test)]
mod tests;

/// Tag keys and values.
const TAG: &str = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)";

/// A qualifier that is not a number, and the same without look-ahead: one character of it is no
/// digit.
const NOT_A_NUMBER: [&str; 2] =
    [r"(?!\d+$)[0-9a-zA-Z-_]+", r"[0-9a-zA-Z-_]*[a-zA-Z-_][0-9a-zA-Z-_]*"];

/// Java's `.`: anything but the ends of lines.
const DOT: &str = "[^\n\r\u{85}\u{2028}\u{2029}]";

/// A pattern of the model. It is compiled at its first use.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    matcher: OnceLock<Option<Matcher>>,
}

#[derive(Debug)]
enum Matcher {
    Regex {
        must: Regex,
        must_not: Option<Regex>,
    },
    /// Characters of Unicode's categories L, Z and N, and a few signs. L is taken as `Alphabetic`,
    /// which has some combining marks besides: a tag with these is accepted here, and refused by
    /// AWS.
    Tag,
    FunctionName,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.to_owned(), matcher: OnceLock::new() }
    }

    /// As the model writes it, for messages.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether all of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        match self.matcher() {
            Some(Matcher::Regex { must, must_not }) => {
                must.is_match(value)
                    && !must_not.as_ref().is_some_and(|regex| regex.is_match(value))
            }
            Some(Matcher::Tag) => value.chars().all(|char| {
                char.is_alphanumeric() || is_separator(char) || "_.:/=+-@".contains(char)
            }),
            Some(Matcher::FunctionName) => name::parts(value).is_some(),
            // A test compiles all patterns; should one slip through, better accept too much than
            // fail.
            None => true,
        }
    }

    fn matcher(&self) -> Option<&Matcher> {
        self.matcher.get_or_init(|| compile(&self.text)).as_ref()
    }
}

/// Unicode's category Z.
fn is_separator(char: char) -> bool {
    matches!(
        char,
        ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

fn compile(text: &str) -> Option<Matcher> {
    match text {
        TAG => Some(Matcher::Tag),
        name::PATTERN => Some(Matcher::FunctionName),
        _ => compile_regex(text),
    }
}

fn compile_regex(text: &str) -> Option<Matcher> {
    let [ahead, equal] = NOT_A_NUMBER;
    let text = text.replacen(&format!("({ahead})"), &format!("({equal})"), 1);
    let (must, must_not) = if let Some((before, inner, after)) = cut(&text, "(?!") {
        // Before it may only be what takes no character, so that it looks at the start of the
        // value.
        let start = before.chars().all(|char| matches!(char, '(' | '^'));
        (format!("{before}{after}"), Some(start.then(|| format!("^(?:{inner})"))?))
    } else if let Some((before, inner, after)) = cut(&text, "(?<!") {
        (before.to_owned(), Some(after.is_empty().then(|| format!("(?:{inner})$"))?))
    } else {
        (text, None)
    };
    let must = Regex::new(&format!("^(?:{})$", java_dots(&must))).ok()?;
    let must_not = match must_not {
        Some(must_not) => Some(Regex::new(&java_dots(&must_not)).ok()?),
        None => None,
    };
    Some(Matcher::Regex { must, must_not })
}

/// What is before, in and after the group that starts with `open`. Patterns escape parentheses
/// nowhere in such a group.
fn cut<'a>(text: &'a str, open: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (before, group) = text.split_once(open)?;
    let mut depth = 1;
    for (index, byte) in group.bytes().enumerate() {
        depth += match byte {
            b'(' => 1,
            b')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return Some((before, &group[..index], &group[index + 1..]));
        }
    }
    None
}

/// `text` with every `.` that stands for a character replaced by [`DOT`].
fn java_dots(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escaped = false;
    let mut class = false;
    for char in text.chars() {
        match char {
            '.' if !escaped && !class => out.push_str(DOT),
            _ => out.push(char),
        }
        match char {
            '[' if !escaped => class = true,
            ']' if !escaped => class = false,
            _ => {}
        }
        escaped = char == '\\' && !escaped;
    }
    out
}
