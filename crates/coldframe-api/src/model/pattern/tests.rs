use super::{Matcher, Pattern};
use crate::model::Model;

/// The shape's own pattern; a text of `yes` matches, one of `no` does not.
fn check(shape: &str, yes: &[&str], no: &[&str]) {
    let pattern = Model::get().shape_named(shape).unwrap().pattern.as_ref().unwrap();
    for text in yes {
        assert!(pattern.matches(text), "{shape}: {text:?}");
    }
    for text in no {
        assert!(!pattern.matches(text), "{shape}: {text:?}");
    }
}

#[test]
fn every_pattern_of_the_model_compiles() {
    let patterns: Vec<&Pattern> =
        Model::get().shapes.iter().filter_map(|shape| shape.pattern.as_ref()).collect();
    assert!(patterns.len() >= 80, "{}", patterns.len());
    for pattern in patterns {
        assert!(pattern.matcher().is_some(), "{}", pattern.text());
    }
}

#[test]
fn look_around_is_a_second_expression() {
    check("Alias", &["a", "1a", "prod-1", "_"], &["", "1", "42", "a.b", "a\n"]);
    check(
        "CollectionName",
        &["a", "system", "systemx", "a.b", "aé"],
        &["system.a", "", "a$", "-a", "é"],
    );
    check("FunctionUrlQualifier", &["a", "1a", "a-1"], &["", "1", "$LATEST", "a b"]);
    check("S3Bucket", &["bucket", "a.b", ".a"], &["a.", "a/b"]);
    for shape in ["Alias", "CollectionName", "FunctionUrlQualifier", "S3Bucket"] {
        let pattern = Model::get().shape_named(shape).unwrap().pattern.as_ref().unwrap();
        assert!(
            matches!(pattern.matcher(), Some(Matcher::Regex { must_not: Some(_), .. })),
            "{shape}"
        );
    }
}

#[test]
fn a_number_is_no_qualifier_of_a_function_url() {
    check(
        "FunctionUrlFunctionName",
        &[
            "f",
            "f:prod",
            "f:1a",
            "f:1-",
            "123456789012:1",
            "123456789012:function:f:a",
            "function:1",
        ],
        &["f:1", "f:42", "f:$LATEST", "123456789012:function:f:1", "a.b", "f:"],
    );
}

#[test]
fn all_of_the_value_must_match() {
    check("Handler", &["index.handler", "é"], &["", "a b", "a\n"]);
    check("Qualifier", &["", "$LATEST", "a"], &["a b", "a:b"]);
    check(
        "DestinationArn",
        &["", "kafka://t", "arn:aws:sqs:us-east-1:123456789012:q"],
        &["\n", "kafka://", "x"],
    );
    check("KMSKeyArn", &["", "arn:aws:kms:us-east-1:1:key/a"], &["arn", " "]);
    check(
        "Action",
        &["*", "lambda:*", "lambda:InvokeFunction"],
        &["lambda", "s3:*", "lambda:Get*"],
    );
    check("RoleArn", &["arn:aws:iam::123456789012:role/r"], &["r1", "arn:aws:iam::1:role/r"]);
    check(
        "NumericLatestPublishedOrAliasQualifier",
        &["$LATEST", "$LATEST.PUBLISHED", "$latest", "1", "a-b"],
        &["", "a.b", "a b"],
    );
    check(
        "FileSystemArn",
        &["arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/fsap-0123456789abcdef0"],
        &[
            "",
            "arn:aws:elasticfilesystem:us-east-1:123456789012:access-point/fsap-0123456789abcdef01",
        ],
    );
}

/// Java's dot stops at more ends of lines than the engine's.
#[test]
fn a_dot_is_java_s() {
    check("Header", &["", "x-a", "a\tb", "é"], &["\n", "a\rb", "\u{85}", "a\u{2028}"]);
    check("Pattern", &["", "a\nb\r"], &[]);
    check("S3Key", &["a/b.zip"], &["a\nb"]);
}

#[test]
fn tags_take_letters_of_every_script() {
    check(
        "TagKey",
        &["", "a b", "Größe", "名前", "٣", "a_.:/=+-@", "\u{3000}"],
        &["a!", "a\n", "a#", "{"],
    );
}

#[test]
fn function_names() {
    check(
        "NamespacedFunctionName",
        &["f", "a.b", "f:$LATEST.PUBLISHED"],
        &["", "invalid:function:name"],
    );
    check("FunctionName", &["f", "f:1"], &["a.b", "f:$LATEST.PUBLISHED", "invalid:function:name"]);
    let pattern =
        Model::get().shape_named("NamespacedFunctionName").unwrap().pattern.as_ref().unwrap();
    assert!(matches!(pattern.matcher(), Some(Matcher::FunctionName)));
}
