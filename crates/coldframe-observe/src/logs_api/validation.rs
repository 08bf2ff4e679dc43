//! Constraints of the model, refused as AWS's front end does: all at once.

use super::invalid;
use crate::error::Error;

const GROUP_PATTERN: &str = "[\\.\\-_/#A-Za-z0-9]+";
const STREAM_PATTERN: &str = "[^:*]*";

/// What is wrong so far.
#[derive(Default)]
pub(crate) struct Checks {
    wrong: Vec<String>,
}

impl Checks {
    pub(crate) fn group(mut self, member: &str, name: Option<&str>) -> Self {
        let Some(name) = name else { return self };
        self.length(member, name, 1, 512);
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte);
        if name.is_empty() || !name.bytes().all(good) {
            self.pattern(member, name, GROUP_PATTERN);
        }
        self
    }

    pub(crate) fn stream(mut self, member: &str, name: Option<&str>) -> Self {
        let Some(name) = name else { return self };
        self.length(member, name, 1, 512);
        if name.contains([':', '*']) {
            self.pattern(member, name, STREAM_PATTERN);
        }
        self
    }

    pub(crate) fn required<T>(mut self, member: &str, given: &Option<T>) -> Self {
        if given.is_none() {
            self.refuse("null", member, "Member must not be null");
        }
        self
    }

    pub(crate) fn range(mut self, member: &str, given: Option<i64>, low: i64, high: i64) -> Self {
        let Some(given) = given else { return self };
        if given < low {
            let text = format!("Member must have value greater than or equal to {low}");
            self.refuse(&format!("'{given}'"), member, &text);
        } else if given > high {
            let text = format!("Member must have value less than or equal to {high}");
            self.refuse(&format!("'{given}'"), member, &text);
        }
        self
    }

    pub(crate) fn one_of(mut self, member: &str, given: Option<&str>, values: &[&str]) -> Self {
        if let Some(given) = given.filter(|given| !values.contains(given)) {
            let text = format!("Member must satisfy enum value set: [{}]", values.join(", "));
            self.refuse(&format!("'{given}'"), member, &text);
        }
        self
    }

    pub(crate) fn at_most(mut self, member: &str, given: usize, most: usize) -> Self {
        if given > most {
            let text = format!("Member must have length less than or equal to {most}");
            self.refuse(&format!("'{given} members'"), member, &text);
        }
        self
    }

    fn length(&mut self, member: &str, given: &str, low: usize, high: usize) {
        if given.len() < low {
            let text = format!("Member must have length greater than or equal to {low}");
            self.refuse(&format!("'{given}'"), member, &text);
        } else if given.len() > high {
            let text = format!("Member must have length less than or equal to {high}");
            self.refuse(&format!("'{given}'"), member, &text);
        }
    }

    fn pattern(&mut self, member: &str, given: &str, pattern: &str) {
        let text = format!("Member must satisfy regular expression pattern: {pattern}");
        self.refuse(&format!("'{given}'"), member, &text);
    }

    fn refuse(&mut self, given: &str, member: &str, constraint: &str) {
        self.wrong.push(format!(
            "Value {given} at '{member}' failed to satisfy constraint: {constraint}"
        ));
    }

    pub(crate) fn end(self) -> Result<(), Error> {
        match self.wrong.len() {
            0 => Ok(()),
            1 => Err(invalid(format!("1 validation error detected: {}", self.wrong[0]))),
            many => Err(invalid(format!(
                "{many} validation errors detected: {}",
                self.wrong.join("; ")
            ))),
        }
    }
}
