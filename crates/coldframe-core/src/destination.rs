//! Where the record of an asynchronous invocation goes, or its event when it is given up
//! (service-api.md §4.2–4.4).

use crate::{AccountId, FunctionArn};

/// A destination, read from its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Function {
        function: FunctionArn,
        qualifier: Option<String>,
    },
    /// SQS.
    Queue {
        region: String,
        account: String,
        name: String,
    },
    /// SNS; it is named by its ARN.
    Topic {
        region: String,
    },
    /// EventBridge.
    Bus {
        region: String,
        name: String,
    },
    /// S3.
    Bucket {
        name: String,
    },
}

impl Destination {
    /// The destination that the ARN names; `None` if it is none of a service that can be one.
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        if parts.next()? != "arn" || !parts.next()?.starts_with("aws") {
            return None;
        }
        let (service, region, account) = (parts.next()?, parts.next()?, parts.next()?);
        let resource = parts.next().filter(|resource| !resource.is_empty())?;
        let (region, account) = (region.to_owned(), account.to_owned());
        Some(match service {
            "lambda" => {
                let mut words = resource.split(':');
                let (kind, name) = (words.next()?, words.next()?);
                let (qualifier, rest) = (words.next().map(str::to_owned), words.next());
                if kind != "function" || name.is_empty() || rest.is_some() {
                    return None;
                }
                let account = AccountId::parse(&account)?;
                let function =
                    FunctionArn { account, region: region.into(), name: name.to_owned().into() };
                Self::Function { function, qualifier }
            }
            "sqs" => Self::Queue { region, account, name: resource.to_owned() },
            "sns" => Self::Topic { region },
            "events" => {
                let name = resource.strip_prefix("event-bus/")?.to_owned();
                Self::Bus { region, name }
            }
            "s3" => Self::Bucket { name: resource.to_owned() },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_told_by_their_arns() {
        let check = |arn: &str, kind: Option<&str>| {
            let found = Destination::parse(arn).map(|destination| format!("{destination:?}"));
            let found = found.as_deref().and_then(|text| text.split([' ', '{']).next());
            assert_eq!(found, kind, "{arn}");
        };
        check("arn:aws:lambda:eu-west-1:123456789012:function:f", Some("Function"));
        check("arn:aws:lambda:eu-west-1:123456789012:function:f:live", Some("Function"));
        check("arn:aws:lambda:eu-west-1:123456789012:function:f:live:x", None);
        check("arn:aws:lambda:eu-west-1:123456789012:layer:f", None);
        check("arn:aws:lambda:eu-west-1:12:function:f", None);
        check("arn:aws:sqs:eu-west-1:123456789012:q", Some("Queue"));
        check("arn:aws:sns:eu-west-1:123456789012:t", Some("Topic"));
        check("arn:aws:events:eu-west-1:123456789012:event-bus/default", Some("Bus"));
        check("arn:aws:events:eu-west-1:123456789012:rule/default", None);
        check("arn:aws:s3:::bucket", Some("Bucket"));
        check("arn:aws:kinesis:eu-west-1:123456789012:stream/s", None);
        check("arn:aws:sqs:eu-west-1:123456789012:", None);
        check("arn:aws:sqs", None);
        check("", None);
    }
}
