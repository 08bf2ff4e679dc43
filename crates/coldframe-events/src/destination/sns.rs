//! SNS, by the query protocol.

use hyper::Method;

use super::Letter;
use crate::Options;
use crate::client::{Error, Service, Signed, send};

/// `Publish`
pub(super) async fn publish(
    options: &Options,
    letter: &Letter<'_>,
    region: &str,
) -> Result<(), Error> {
    let mut form = String::from("Action=Publish&Version=2010-03-31");
    let mut put = |name: &str, value: &str| {
        form.push('&');
        form.push_str(name);
        form.push('=');
        encode(&mut form, value);
    };
    put("TopicArn", letter.arn);
    put("Message", letter.body);
    for ((name, kind, value), number) in letter.attributes().into_iter().zip(1..) {
        let entry = format!("MessageAttributes.entry.{number}");
        put(&format!("{entry}.Name"), name);
        put(&format!("{entry}.Value.DataType"), kind);
        put(&format!("{entry}.Value.StringValue"), &value);
    }
    let request = Signed {
        service: Service::Sns,
        method: Method::POST,
        path: "/",
        region,
        headers: &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
        body: form.into(),
    };
    send(options, request).await.map(drop)
}

/// Percent-encodes all but what never needs it.
fn encode(out: &mut String, text: &str) {
    use std::fmt::Write;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
