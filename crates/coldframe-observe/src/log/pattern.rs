//! Filter patterns of CloudWatch Logs ("Filter pattern syntax"): terms, JSON selectors, fields.
//!
//! ```text
//! ERROR "not found"     every term                 { $.level = "ERROR" && $.ms > 100 }
//! ?ERROR ?WARN          one of them                [ip, user, status = 4*, ...]
//! ERROR -Timeout        without that               %[45]\d\d%        a regular expression
//! ```

use regex_lite::Regex;
use serde_json::Value;

/// A pattern, read.
#[derive(Debug)]
pub(crate) enum Pattern {
    Everything,
    Terms { all: Vec<Term>, any: Vec<Term>, none: Vec<Term> },
    Json(Condition),
    Fields(Vec<Field>),
}

/// What the pattern lacks, in a sentence.
#[derive(Debug, PartialEq)]
pub(crate) struct Invalid(pub(crate) String);

#[derive(Debug)]
pub(crate) enum Term {
    Text(String),
    Regex(Regex),
}

#[derive(Debug)]
pub(crate) enum Condition {
    All(Vec<Self>),
    Any(Vec<Self>),
    /// A selector, or the name of a field.
    Test(Vec<Step>, Test),
}

#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
    Each,
}

#[derive(Debug)]
pub(crate) enum Test {
    Compare(Operator, Operand),
    IsNull,
    NotExists,
    Is(bool),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
}

#[derive(Debug)]
pub(crate) enum Operand {
    Number(f64, String),
    /// With `*` for anything.
    Text(String),
    Regex(Regex),
}

#[derive(Debug)]
pub(crate) enum Field {
    Any,
    /// Any number of fields.
    Rest,
    Test(Condition),
}

/// Conditions within one another: more are refused rather than the stack be overrun.
const DEPTH_MAX: usize = 32;

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let mut parser = Parser { rest: text, depth: 0 };
        if text.is_empty() {
            return Ok(Self::Everything);
        }
        if parser.take("{") {
            let condition = parser.any(true)?;
            if !parser.take("}") || !parser.rest.is_empty() {
                return Err(parser.unexpected());
            }
            return Ok(Self::Json(condition));
        }
        if parser.take("[") {
            return parser.fields().map(Self::Fields);
        }
        parser.terms()
    }

    pub(crate) fn matches(&self, message: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Terms { all, any, none } => {
                let found = |term: &Term| term.is_in(message);
                // AWS ignores `?` beside terms that must be there.
                let any = all.is_empty() && !any.is_empty() && !any.iter().any(found);
                !any && all.iter().all(found) && !none.iter().any(found)
            }
            Self::Json(condition) => {
                let value = serde_json::from_str::<Value>(message);
                value.is_ok_and(|value| value.is_object() && condition.holds(&value))
            }
            Self::Fields(fields) => fields_match(fields, &split(message)),
        }
    }
}

impl Term {
    fn is_in(&self, message: &str) -> bool {
        match self {
            Self::Text(text) => message.contains(text.as_str()),
            Self::Regex(regex) => regex.is_match(message),
        }
    }
}

impl Condition {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Self::All(all) => all.iter().all(|condition| condition.holds(value)),
            Self::Any(any) => any.iter().any(|condition| condition.holds(value)),
            Self::Test(steps, test) => {
                let mut found = Vec::new();
                select(value, steps, &mut found);
                match test {
                    Test::NotExists => found.is_empty(),
                    Test::IsNull => found.iter().any(|value| value.is_null()),
                    Test::Is(wanted) => found.iter().any(|value| value.as_bool() == Some(*wanted)),
                    Test::Compare(operator, operand) => {
                        found.iter().any(|value| operand.compare(*operator, value))
                    }
                }
            }
        }
    }
}

fn select<'a>(value: &'a Value, steps: &[Step], found: &mut Vec<&'a Value>) {
    let Some((step, rest)) = steps.split_first() else { return found.push(value) };
    match step {
        Step::Key(key) => {
            if let Some(value) = value.get(key) {
                select(value, rest, found);
            }
        }
        Step::Index(index) => {
            if let Some(value) = value.get(index) {
                select(value, rest, found);
            }
        }
        Step::Each => {
            for value in value.as_array().into_iter().flatten() {
                select(value, rest, found);
            }
        }
    }
}

impl Operand {
    fn compare(&self, operator: Operator, value: &Value) -> bool {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            _ => return false,
        };
        let equal = match self {
            Self::Number(wanted, written) => {
                let number = value.as_f64().or_else(|| text.trim().parse().ok());
                let Some(number) = number else {
                    return match operator {
                        Operator::Equal => text == *written,
                        Operator::NotEqual => text != *written,
                        _ => false,
                    };
                };
                return match operator {
                    Operator::Equal => number == *wanted,
                    Operator::NotEqual => number != *wanted,
                    Operator::Less => number < *wanted,
                    Operator::Greater => number > *wanted,
                    Operator::LessOrEqual => number <= *wanted,
                    Operator::GreaterOrEqual => number >= *wanted,
                };
            }
            Self::Text(wanted) => wildcard(wanted, &text),
            Self::Regex(regex) => regex.is_match(&text),
        };
        match operator {
            Operator::Equal => equal,
            Operator::NotEqual => !equal,
            // Texts have no order here.
            _ => false,
        }
    }
}

/// Whether `text` is as `pattern` says, where `*` stands for anything.
fn wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A message's fields: separated by blanks, but for what is in quotes or brackets.
fn split(message: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = message.trim_start();
    while let Some(first) = rest.chars().next() {
        let close = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let closed = close.and_then(|close| rest[1..].find(close));
        let (field, end) = match closed {
            Some(at) => (&rest[1..=at], at + 2),
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (&rest[..end], end)
            }
        };
        fields.push(field);
        rest = rest[end..].trim_start();
    }
    fields
}

fn fields_match(fields: &[Field], given: &[&str]) -> bool {
    let rest = fields.iter().position(|field| matches!(field, Field::Rest));
    let one = |(field, given): (&Field, &&str)| match field {
        Field::Any | Field::Rest => true,
        Field::Test(condition) => condition.holds(&Value::String((*given).to_owned())),
    };
    match rest {
        None => fields.len() == given.len() && fields.iter().zip(given).all(one),
        Some(at) => {
            let (before, after) = (&fields[..at], &fields[at + 1..]);
            let enough = given.len() >= before.len() + after.len();
            enough
                && before.iter().zip(given).all(one)
                && after.iter().rev().zip(given.iter().rev()).all(one)
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn blank(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes `text` with the blanks around it.
    fn take(&mut self, text: &str) -> bool {
        self.blank();
        let Some(rest) = self.rest.strip_prefix(text) else { return false };
        self.rest = rest;
        self.blank();
        true
    }

    fn word(&mut self, text: &str) -> bool {
        self.blank();
        let Some(head) = self.rest.get(..text.len()) else { return false };
        if !head.eq_ignore_ascii_case(text) {
            return false;
        }
        self.rest = self.rest[text.len()..].trim_start();
        true
    }

    fn unexpected(&self) -> Invalid {
        let place: String = self.rest.chars().take(20).collect();
        match place.is_empty() {
            true => Invalid("Invalid filter pattern: it ends too early".to_owned()),
            false => Invalid(format!("Invalid filter pattern: unexpected '{place}'")),
        }
    }

    fn take_while(&mut self, good: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|character| !good(character)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// `"…"`, with `\"` and `\\` in it; the first quote has been taken.
    fn quoted(&mut self) -> Result<String, Invalid> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, next @ ('"' | '\\'))) => text.push(next),
                    Some((_, next)) => text.extend(['\\', next]),
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(Invalid("Invalid filter pattern: a quotation mark is missing".to_owned()))
    }

    /// `%…%`; the first sign has been taken.
    fn regex(&mut self) -> Result<Regex, Invalid> {
        let end = self.rest.find('%').ok_or_else(|| self.unexpected())?;
        let regex = Regex::new(&self.rest[..end])
            .map_err(|error| Invalid(format!("Invalid regular expression: {error}")))?;
        self.rest = &self.rest[end + 1..];
        Ok(regex)
    }

    fn terms(&mut self) -> Result<Pattern, Invalid> {
        let (mut all, mut any, mut none) = (Vec::new(), Vec::new(), Vec::new());
        while !self.rest.is_empty() {
            let list = match self.rest.as_bytes()[0] {
                b'?' => &mut any,
                b'-' => &mut none,
                _ => &mut all,
            };
            self.rest = self.rest.strip_prefix(['?', '-']).unwrap_or(self.rest);
            let term = if let Some(rest) = self.rest.strip_prefix('"') {
                self.rest = rest;
                Term::Text(self.quoted()?)
            } else if let Some(rest) = self.rest.strip_prefix('%') {
                self.rest = rest;
                Term::Regex(self.regex()?)
            } else {
                let term = self.take_while(|character| !character.is_whitespace());
                let odd = |byte: u8| byte.is_ascii_punctuation() && byte != b'_';
                if term.is_empty() || term.bytes().any(odd) {
                    return Err(Invalid(format!("Invalid character(s) in term '{term}'")));
                }
                Term::Text(term.to_owned())
            };
            list.push(term);
            self.blank();
        }
        Ok(Pattern::Terms { all, any, none })
    }

    /// Conditions joined by `||`. Those of JSON begin with a selector, those of fields with a name.
    fn any(&mut self, json: bool) -> Result<Condition, Invalid> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Invalid("Invalid filter pattern: too many parentheses".to_owned()));
        }
        let mut any = vec![self.all(json)?];
        while self.take("||") {
            any.push(self.all(json)?);
        }
        self.depth -= 1;
        Ok(if any.len() == 1 { any.remove(0) } else { Condition::Any(any) })
    }

    fn all(&mut self, json: bool) -> Result<Condition, Invalid> {
        let mut all = vec![self.one(json)?];
        while self.take("&&") {
            all.push(self.one(json)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Condition::All(all) })
    }

    fn one(&mut self, json: bool) -> Result<Condition, Invalid> {
        if self.take("(") {
            let condition = self.any(json)?;
            return if self.take(")") { Ok(condition) } else { Err(self.unexpected()) };
        }
        let steps = if json { self.selector()? } else { self.name().map(|_| Vec::new())? };
        Ok(Condition::Test(steps, self.test()?))
    }

    fn name(&mut self) -> Result<&'a str, Invalid> {
        self.blank();
        let name = self.take_while(|c| c.is_alphanumeric() || c == '_' || c == '-' || c == '.');
        if name.is_empty() { Err(self.unexpected()) } else { Ok(name) }
    }

    /// `$.key[0].other`, `$['a key']`, `$.list[*]`
    fn selector(&mut self) -> Result<Vec<Step>, Invalid> {
        if !self.take("$") {
            return Err(self.unexpected());
        }
        let mut steps = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix('.') {
                self.rest = rest;
                if self.rest.starts_with('[') {
                    continue;
                }
                let good =
                    |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '/' | '*');
                let key = self.take_while(good);
                if key.is_empty() {
                    return Err(self.unexpected());
                }
                steps.push(Step::Key(key.to_owned()));
            } else if let Some(rest) = self.rest.strip_prefix('[') {
                self.rest = rest;
                let end = rest.find(']').ok_or_else(|| self.unexpected())?;
                let inside = rest[..end].trim();
                let quoted = |quote| inside.strip_prefix(quote)?.strip_suffix(quote);
                steps.push(match (inside, quoted('\'').or_else(|| quoted('"'))) {
                    (_, Some(key)) => Step::Key(key.to_owned()),
                    ("*", None) => Step::Each,
                    (number, None) => Step::Index(number.parse().map_err(|_| self.unexpected())?),
                });
                self.rest = &rest[end + 1..];
            } else {
                return Ok(steps);
            }
        }
    }

    fn test(&mut self) -> Result<Test, Invalid> {
        if self.word("NOT") {
            return if self.word("EXISTS") { Ok(Test::NotExists) } else { Err(self.unexpected()) };
        }
        if self.word("IS") {
            return match () {
                () if self.word("NULL") => Ok(Test::IsNull),
                () if self.word("TRUE") => Ok(Test::Is(true)),
                () if self.word("FALSE") => Ok(Test::Is(false)),
                () => Err(self.unexpected()),
            };
        }
        let operators = [
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("=", Operator::Equal),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        let operator = operators.into_iter().find(|(sign, _)| self.take(sign));
        let Some((_, operator)) = operator else { return Err(self.unexpected()) };
        if let Some(rest) = self.rest.strip_prefix('"') {
            self.rest = rest;
            return Ok(Test::Compare(operator, Operand::Text(self.quoted()?)));
        }
        if let Some(rest) = self.rest.strip_prefix('%') {
            self.rest = rest;
            return Ok(Test::Compare(operator, Operand::Regex(self.regex()?)));
        }
        let good = |c: char| !c.is_whitespace() && !"{}[](),&|=<>!\"".contains(c);
        let value = self.take_while(good);
        if value.is_empty() {
            return Err(self.unexpected());
        }
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
        let operand = match number {
            Some(number) => Operand::Number(number, value.to_owned()),
            None => Operand::Text(value.to_owned()),
        };
        Ok(Test::Compare(operator, operand))
    }

    fn fields(&mut self) -> Result<Vec<Field>, Invalid> {
        let mut fields = Vec::new();
        loop {
            if self.take("...") {
                fields.push(Field::Rest);
            } else {
                let before = self.rest;
                let plain = self.name().is_ok() && {
                    self.blank();
                    self.rest.starts_with([',', ']'])
                };
                if plain {
                    fields.push(Field::Any);
                } else {
                    self.rest = before;
                    fields.push(Field::Test(self.any(false)?));
                }
            }
            if self.take("]") {
                return if self.rest.is_empty() { Ok(fields) } else { Err(self.unexpected()) };
            }
            if !self.take(",") {
                return Err(self.unexpected());
            }
        }
    }
}

#[cfg(test)]
mod tests;
