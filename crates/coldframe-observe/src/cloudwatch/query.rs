//! The query protocol: a form in, XML out.

use super::value::Value;
use crate::error::Error;

const NAMESPACE: &str = "http://monitoring.amazonaws.com/doc/2010-08-01/";

/// Steps of a parameter's name, as in `Dimensions.member.1.Name`.
const STEPS_MAX: usize = 16;

/// Parameters of a form.
const PARAMETERS_MAX: usize = 10_000;

/// The parameters of a form as the structure they spell; `None` if it is no form.
pub(crate) fn decode(form: &str) -> Option<Value> {
    let mut root = Value::Structure(Vec::new());
    for (count, pair) in form.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (unescape(name)?, unescape(value)?);
        let steps: Vec<&str> = name.split('.').collect();
        if steps.len() > STEPS_MAX || count > PARAMETERS_MAX {
            return None;
        }
        put(&mut root, &steps, value);
    }
    Some(settle(root))
}

fn put(at: &mut Value, steps: &[&str], value: String) {
    let Some((step, rest)) = steps.split_first() else {
        *at = Value::Text(value);
        return;
    };
    if !matches!(at, Value::Structure(_)) {
        *at = Value::Structure(Vec::new());
    }
    let Value::Structure(members) = at else { return };
    let found = members.iter().position(|(name, _)| name == step);
    let index = found.unwrap_or_else(|| {
        members.push(((*step).to_owned(), Value::Null));
        members.len() - 1
    });
    put(&mut members[index].1, rest, value);
}

/// `{member: {1: a, 2: b}}` is the list of a and b.
fn settle(value: Value) -> Value {
    let Value::Structure(mut members) = value else { return value };
    if members.len() == 1
        && members[0].0 == "member"
        && let (_, Value::Structure(elements)) = members.remove(0)
    {
        let mut numbered: Vec<(usize, Value)> = elements
            .into_iter()
            .filter_map(|(number, value)| Some((number.parse().ok()?, settle(value))))
            .collect();
        numbered.sort_by_key(|(number, _)| *number);
        return Value::List(numbered.into_iter().map(|(_, value)| value).collect());
    }
    Value::Structure(members.into_iter().map(|(name, value)| (name, settle(value))).collect())
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                (digit(rest.next()?)? * 16 + digit(rest.next()?)?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

pub(crate) fn answer(operation: &str, result: &Value, request_id: &str) -> String {
    let mut xml = format!("<{operation}Response xmlns=\"{NAMESPACE}\"><{operation}Result>");
    write(result, &mut xml);
    xml.push_str(&format!(
        "</{operation}Result><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    ));
    xml
}

pub(crate) fn error(error: &Error, request_id: &str) -> String {
    let fault = if error.of_caller { "Sender" } else { "Receiver" };
    let code = error.query_code.unwrap_or(error.kind);
    let mut xml = format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{fault}</Type><Code>{code}</Code><Message>"
    );
    escape(&error.message, &mut xml);
    xml.push_str(&format!("</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"));
    xml
}

fn write(value: &Value, xml: &mut String) {
    match value {
        Value::Null => {}
        Value::Bool(truth) => xml.push_str(if *truth { "true" } else { "false" }),
        Value::Integer(number) => xml.push_str(&number.to_string()),
        Value::Double(number) => xml.push_str(&number.to_string()),
        Value::Time(seconds) => {
            let at = jiff::Timestamp::from_millisecond((seconds * 1000.0) as i64);
            let at = at.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ");
            xml.push_str(&at.to_string());
        }
        Value::Text(text) => escape(text, xml),
        Value::List(list) => {
            for value in list {
                xml.push_str("<member>");
                write(value, xml);
                xml.push_str("</member>");
            }
        }
        Value::Structure(members) => {
            for (name, value) in members {
                xml.push_str(&format!("<{name}>"));
                write(value, xml);
                xml.push_str(&format!("</{name}>"));
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                xml.push_str("<entry><key>");
                escape(key, xml);
                xml.push_str("</key><value>");
                write(value, xml);
                xml.push_str("</value></entry>");
            }
        }
    }
}

fn escape(text: &str, xml: &mut String) {
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            // XML 1.0 has no words for the other control characters.
            control if control < ' ' && !matches!(control, '\n' | '\r' | '\t') => xml.push('?'),
            other => xml.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudwatch::value::structure;

    #[test]
    fn forms_spell_structures() {
        let form = "Namespace=AWS%2FLambda&Dimensions.member.2.Name=b&Dimensions.member.1.Name=a+b";
        let dimension = |name: &str| structure([("Name", name.into())]);
        let expected = structure([
            ("Namespace", "AWS/Lambda".into()),
            ("Dimensions", Value::List(vec![dimension("a b"), dimension("b")])),
        ]);
        assert_eq!(decode(form), Some(expected));
        assert_eq!(decode("a=%4"), None);
        assert_eq!(decode("a=%ff"), None);
        assert_eq!(decode(&format!("{}=1", "a.".repeat(1000))), None);
        // A name that is first one thing and then another.
        assert!(decode("a=1&a.b=2&a.b.c=3&a.member.1=4").is_some());
    }

    #[test]
    fn answers_are_xml() {
        let result = structure([
            ("Label", "a<b".into()),
            ("Times", Value::List(vec![Value::Time(60.0)])),
            ("Extended", Value::Map(vec![("p99".to_owned(), Value::Double(1.5))])),
        ]);
        let xml = answer("Get", &result, "id");
        assert!(xml.contains(
            "<GetResult><Label>a&lt;b</Label><Times><member>1970-01-01T00:01:00Z</member></Times>\
             <Extended><entry><key>p99</key><value>1.5</value></entry></Extended></GetResult>"
        ));
    }
}
