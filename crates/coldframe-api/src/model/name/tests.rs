use proptest::prelude::*;
use regex_lite::Regex;

use super::{FunctionIdentifier, Malformed, PATTERN, parse};
use crate::model::Model;

type Expected<'a> = Result<(Option<&'a str>, Option<&'a str>, &'a str, Option<&'a str>), Malformed>;

const REGION: Option<&str> = Some("us-east-1");
const ACCOUNT: Option<&str> = Some("123456789012");

/// `expected` is region, account, name and qualifier.
fn check(text: &str, expected: Expected<'_>) {
    let expected = expected.map(|(region, account, name, qualifier)| FunctionIdentifier {
        region: region.map(str::to_owned),
        account: account.map(str::to_owned),
        name: name.to_owned(),
        qualifier: qualifier.map(str::to_owned),
    });
    assert_eq!(parse(text), expected, "{text}");
}

/// Spec: service API, section 2.1.
#[test]
fn the_forms() {
    check("f", Ok((None, None, "f", None)));
    check("f:1", Ok((None, None, "f", Some("1"))));
    check("f:$LATEST", Ok((None, None, "f", Some("$LATEST"))));
    check("f:$LATEST.PUBLISHED", Ok((None, None, "f", Some("$LATEST.PUBLISHED"))));
    check("123456789012:function:f", Ok((None, ACCOUNT, "f", None)));
    check("123456789012:function:f:prod", Ok((None, ACCOUNT, "f", Some("prod"))));
    check("us-east-1:123456789012:function:f:1", Ok((REGION, ACCOUNT, "f", Some("1"))));
    check("us-east-1:function:f", Ok((REGION, None, "f", None)));
    check("123456789012:f", Ok((None, ACCOUNT, "f", None)));
    check("arn:aws:lambda:us-east-1:123456789012:function:f", Ok((REGION, ACCOUNT, "f", None)));
    check(
        "arn:aws:lambda:us-east-1:123456789012:function:f:1",
        Ok((REGION, ACCOUNT, "f", Some("1"))),
    );
    check("function", Ok((None, None, "function", None)));
    check("function:f", Ok((None, None, "f", None)));
    check("function:f:1", Ok((None, None, "f", Some("1"))));
    check("function:function", Ok((None, None, "function", None)));
    check("function:function:1", Ok((None, None, "function", Some("1"))));
}

#[test]
fn partitions_and_regions() {
    let arn = |head: &str| format!("arn:{head}:123456789012:function:f");
    let check =
        |head: &str, region: &str| check(&arn(head), Ok((Some(region), ACCOUNT, "f", None)));
    check("aws-cn:lambda:cn-north-1", "cn-north-1");
    check("aws-us-gov:lambda:us-gov-west-1", "us-gov-west-1");
    check("aws-iso:lambda:us-iso-east-1", "us-iso-east-1");
    check("aws-iso-b:lambda:us-isob-east-1", "us-isob-east-1");
    check("aws-eusc:lambda:eusc-de-east-1", "eusc-de-east-1");
    check(":lambda:us-east-1", "us-east-1");
}

#[test]
fn the_leftmost_reading_wins() {
    check("us-east-1:prod", Ok((REGION, None, "prod", None)));
    check("us-east-1", Ok((None, None, "us-east-1", None)));
    check("123456789012", Ok((None, None, "123456789012", None)));
    check("123456789012:function", Ok((None, ACCOUNT, "function", None)));
    check("123456789012:123456789012", Ok((None, ACCOUNT, "123456789012", None)));
    check("arn", Ok((None, None, "arn", None)));
    // The word `function` may be absent, so another word in its place is the name.
    check(
        "arn:aws:lambda:us-east-1:123456789012:layer:f",
        Ok((REGION, ACCOUNT, "layer", Some("f"))),
    );
    check("arn:aws", Ok((None, None, "arn", Some("aws"))));
}

#[test]
fn refusals() {
    let check = |text: &str| check(text, Err(Malformed));
    check("");
    check(":");
    check("f:");
    check(":1");
    check("f:1:2");
    check("f:$latest");
    check("f:$LATEST.OTHER");
    check("invalid:function:name");
    check("f@function:x");
    check("f/x");
    check("f\n");
    check("é");
    check("12345678901:function:f");
    check("arn:awx:lambda:us-east-1:123456789012:function:f");
    check("arn:aws:s3:us-east-1:123456789012:function:f");
    check("arn:aws:lambda:us-east-12:123456789012:function:f");
    check("arn:aws:lambda:us-east-1:123456789012:function:f:1:2");
    check("a:b:c:d:e:f:g:h:i:j");
}

/// If this fails the service has a new form: change [`parse`] and the pattern with it.
#[test]
fn the_pattern_is_the_model_s() {
    let shape = Model::get().shape_named("NamespacedFunctionName").unwrap();
    assert_eq!(shape.pattern.as_ref().unwrap().text(), PATTERN);
}

fn regex() -> Regex {
    Regex::new(&format!("^(?:{PATTERN})$")).unwrap()
}

/// Parts that make forms, near misses and nonsense.
fn part() -> impl Strategy<Value = String> {
    let words = [
        "arn",
        "aws",
        "aws-cn",
        "aws-us-gov",
        "aws9",
        "lambda",
        "us-east-1",
        "eusc-de-east-1",
        "eusc-eusc-1",
        "us-gov-west-1",
        "us-iso-east-1",
        "us-isob-east-1",
        "us-isobb-east-1",
        "us-gov-1",
        "us-iso-1",
        "us-east-10",
        "us--1",
        "usa-east-1",
        "US-east-1",
        "123456789012",
        "1234567890123",
        "function",
        "$LATEST",
        "$LATEST.PUBLISHED",
        "$latest",
        "a.b",
        "f",
        "prod",
        "1",
        "-",
        "_",
        "",
        " ",
        "é",
    ];
    let region_words = ["eusc", "us", "gov", "iso", "isob", "east", "1", ""];
    prop_oneof![
        8 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => prop::collection::vec(prop::sample::select(b"a-_.$1Zz9 ".to_vec()), 0..6)
            .prop_map(|bytes| bytes.into_iter().map(char::from).collect::<String>()),
        1 => prop::collection::vec(prop::sample::select(region_words.to_vec()), 1..6)
            .prop_map(|words| words.join("-")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn parse_reads_what_the_pattern_reads(parts in prop::collection::vec(part(), 0..9)) {
        let text = parts.join(":");
        let found = regex().captures(&text).map(|captures| {
            let group = |index: usize| captures.get(index).map(|group| group.as_str());
            // Groups 3 and 9 hold the colon that ends the part.
            let before = |index: usize| Some(group(index)?.trim_end_matches(':').to_owned());
            FunctionIdentifier {
                region: before(3),
                account: before(9),
                name: group(11).unwrap().to_owned(),
                qualifier: group(13).map(str::to_owned),
            }
        });
        prop_assert_eq!(parse(&text).ok(), found, "{}", text);
    }
}
