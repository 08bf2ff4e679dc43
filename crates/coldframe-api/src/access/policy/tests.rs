use coldframe_core::AccountId;
use serde_json::json;

use super::*;

const ARN: &str = "arn:aws:lambda:us-east-1:111111111111:function:f";

fn identity(principal: Principal) -> Identity {
    Identity { account: AccountId::parse("222222222222").unwrap(), principal }
}

/// A policy of one statement on invoking [`ARN`], with `more` in the place of what it has.
fn policy(more: &Value) -> Value {
    let mut statement = json!({
        "Sid": "s", "Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction", "Resource": ARN
    });
    for (key, value) in more.as_object().unwrap() {
        statement[key] = value.clone();
        if let Some(replaced) = key.strip_prefix("Not") {
            statement.as_object_mut().unwrap().remove(replaced);
        }
    }
    json!({ "Version": "2012-10-17", "Id": "default", "Statement": [statement] })
}

fn ask<'a>(who: Who<'a>, context: &'a [(&'a str, &'a str)]) -> Request<'a> {
    Request { who, action: "lambda:InvokeFunction", resource: ARN, context }
}

// Spec: service-api.md §2.12, principals.
#[test]
fn principals() {
    let user = identity(Principal::User("ann".into()));
    let role = identity(Principal::Role { role: "r".into(), session: "s".into() });
    let check = |principal: Value, user_in: bool, role_in: bool, anonymous_in: bool| {
        let policy = policy(&json!({ "Principal": principal }));
        for (who, expected) in [
            (Who::Identity(&user), user_in),
            (Who::Identity(&role), role_in),
            (Who::Anonymous, anonymous_in),
        ] {
            let decision = decide(&policy, &ask(who, &[]));
            let expected = if expected { Decision::Allow } else { Decision::Silent };
            assert_eq!(decision, expected, "{principal} {who:?}");
        }
    };
    check(json!("*"), true, true, true);
    check(json!({ "AWS": "*" }), true, true, true);
    check(json!({ "AWS": "arn:aws:iam::222222222222:root" }), true, true, false);
    check(json!({ "AWS": "222222222222" }), true, true, false);
    check(json!({ "AWS": "arn:aws:iam::333333333333:root" }), false, false, false);
    check(json!({ "AWS": "arn:aws:iam::222222222222:user/ann" }), true, false, false);
    check(json!({ "AWS": "arn:aws:iam::222222222222:user/team/ann" }), true, false, false);
    check(json!({ "AWS": "arn:aws:iam::222222222222:user/ben" }), false, false, false);
    check(json!({ "AWS": ["x", "arn:aws:iam::222222222222:role/path/r"] }), false, true, false);
    check(json!({ "AWS": "arn:aws:sts::222222222222:assumed-role/r/s" }), false, true, false);
    check(json!({ "AWS": "arn:aws:sts::222222222222:assumed-role/r/t" }), false, false, false);
    check(json!({ "Service": "s3.amazonaws.com" }), false, false, false);
    check(json!(7), false, false, false);
}

#[test]
fn services() {
    let check = |principal: Value, expected: Decision| {
        let policy = policy(&json!({ "Principal": principal }));
        assert_eq!(decide(&policy, &ask(Who::Service("s3.amazonaws.com"), &[])), expected);
    };
    check(json!({ "Service": "s3.amazonaws.com" }), Decision::Allow);
    check(json!({ "Service": ["sns.amazonaws.com"] }), Decision::Silent);
    check(json!({ "AWS": "*" }), Decision::Silent);
}

#[test]
fn actions_and_resources() {
    let check = |more: Value, expected: Decision| {
        assert_eq!(decide(&policy(&more), &ask(Who::Anonymous, &[])), expected, "{more}");
    };
    check(json!({}), Decision::Allow);
    check(json!({ "Action": "lambda:*" }), Decision::Allow);
    check(json!({ "Action": "LAMBDA:invoke*" }), Decision::Allow);
    check(json!({ "Action": ["lambda:GetFunction", "lambda:InvokeFunction"] }), Decision::Allow);
    check(json!({ "Action": "lambda:InvokeFunctionUrl" }), Decision::Silent);
    check(json!({ "Action": null }), Decision::Silent);
    check(json!({ "NotAction": "lambda:DeleteFunction" }), Decision::Allow);
    check(json!({ "NotAction": "lambda:Invoke*" }), Decision::Silent);
    check(json!({ "Resource": "arn:aws:lambda:*:111111111111:function:?" }), Decision::Allow);
    check(json!({ "Resource": format!("{ARN}:live") }), Decision::Silent);
    check(json!({ "NotResource": format!("{ARN}:live") }), Decision::Allow);
    check(json!({ "Effect": "Deny" }), Decision::Deny);
    check(json!({ "Effect": "Deny", "Action": "lambda:DeleteFunction" }), Decision::Silent);
    check(json!({ "Effect": "Perhaps" }), Decision::Silent);
}

#[test]
fn one_denial_is_the_end() {
    let statement = |effect: &str| policy(&json!({ "Effect": effect }))["Statement"][0].clone();
    for statements in [["Allow", "Deny"], ["Deny", "Allow"]] {
        let policy = json!({ "Statement": statements.map(statement) });
        assert_eq!(decide(&policy, &ask(Who::Anonymous, &[])), Decision::Deny);
    }
}

// Spec: service-api.md §2.12, conditions.
#[test]
fn conditions_of_what_add_permission_writes() {
    let context = [
        ("lambda:FunctionUrlAuthType", "NONE"),
        ("lambda:InvokedViaFunctionUrl", "true"),
        ("aws:SourceArn", "arn:aws:s3:::bucket"),
        ("aws:SourceAccount", "222222222222"),
    ];
    let check = |condition: Value, expected: bool| {
        let policy = policy(&json!({ "Condition": condition }));
        let decision = decide(&policy, &ask(Who::Anonymous, &context));
        assert_eq!(decision == Decision::Allow, expected, "{condition}");
    };
    check(json!({ "StringEquals": { "lambda:FunctionUrlAuthType": "NONE" } }), true);
    check(json!({ "StringEquals": { "lambda:FunctionUrlAuthType": "AWS_IAM" } }), false);
    check(json!({ "Bool": { "lambda:InvokedViaFunctionUrl": "true" } }), true);
    check(json!({ "Bool": { "lambda:InvokedViaFunctionUrl": true } }), true);
    check(json!({ "Bool": { "lambda:InvokedViaFunctionUrl": "false" } }), false);
    check(json!({ "ArnLike": { "AWS:SourceArn": "arn:aws:s3:::buck*" } }), true);
    check(json!({ "ArnLike": { "AWS:SourceArn": "arn:aws:sns:::bucket" } }), false);
    check(json!({ "ArnLike": { "AWS:SourceArn": "arn:*:bucket" } }), false);
    check(json!({ "StringEquals": { "AWS:SourceAccount": ["1", "222222222222"] } }), true);
    check(json!({ "StringEquals": { "aws:PrincipalOrgID": "o-1" } }), false);
    check(json!({ "StringEqualsIfExists": { "aws:PrincipalOrgID": "o-1" } }), true);
    check(json!({ "StringNotEquals": { "aws:PrincipalOrgID": "o-1" } }), true);
    check(json!({ "StringNotEquals": { "aws:SourceAccount": "222222222222" } }), false);
    check(json!({ "Null": { "aws:PrincipalOrgID": "true" } }), true);
    check(json!({ "Null": { "aws:SourceArn": "true" } }), false);
    check(
        json!({ "StringEquals": { "aws:SourceAccount": "222222222222" }, "Bool": { "lambda:InvokedViaFunctionUrl": "false" } }),
        false,
    );
}

#[test]
fn what_is_not_understood_never_allows_and_always_denies() {
    let check = |more: &Value| {
        let (mut allow, mut deny) = (policy(more), policy(more));
        allow["Statement"][0]["Effect"] = json!("Allow");
        deny["Statement"][0]["Effect"] = json!("Deny");
        assert_eq!(decide(&allow, &ask(Who::Anonymous, &[])), Decision::Silent, "{more}");
        assert_eq!(decide(&deny, &ask(Who::Anonymous, &[])), Decision::Deny, "{more}");
    };
    check(&json!({ "Condition": { "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } } }));
    check(&json!({ "Condition": { "StringEquals": "x" } }));
    check(&json!({ "Condition": "x" }));
    check(&json!({ "Principal": null }));
    for document in [json!(null), json!("x"), json!({ "Statement": 7 }), json!({ "Statement": {} })]
    {
        assert_eq!(decide(&document, &ask(Who::Anonymous, &[])), Decision::Silent);
    }
}

#[test]
fn patterns() {
    let check = |pattern: &str, text: &str, expected: bool| {
        assert_eq!(like(pattern, text), expected, "{pattern} {text}");
    };
    check("", "", true);
    check("*", "", true);
    check("a*c", "abbbc", true);
    check("a*b*c", "axbxbxc", true);
    check("a?c", "abc", true);
    check("a?c", "ac", false);
    check("a*", "ba", false);
    check("*a", "ab", false);
    check("***", "x", true);
    // A hostile pattern takes no longer than its length times the text's.
    check(&"*a".repeat(500), &"a".repeat(499), false);
}
