use super::{RouteError, query_pairs, segment};

#[test]
fn segments_decode() {
    let check =
        |raw: &str, decoded: &str| assert_eq!(segment(raw).as_deref(), Ok(decoded), "{raw}");
    check("", "");
    check("f", "f");
    check("%24LATEST", "$LATEST");
    check("arn%3Aaws%3alambda", "arn:aws:lambda");
    check("a%2Fb", "a/b");
    check("a+b", "a+b");
    check("100%", "100%");
    check("%zz%4", "%zz%4");
    check("%C3%A9", "é");
    check("%2541", "%41");
    assert_eq!(segment("%FF"), Err(RouteError::MalformedEncoding));
}

#[test]
fn queries_decode() {
    let check = |raw: &str, pairs: &[(&str, &str)]| {
        let decoded = query_pairs(raw).unwrap();
        let decoded: Vec<_> =
            decoded.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(decoded, pairs, "{raw}");
    };
    check("", &[]);
    check("&&", &[]);
    check("Marker=a%3Db&MaxItems=5", &[("Marker", "a=b"), ("MaxItems", "5")]);
    check("tagKeys=a&tagKeys=b+c", &[("tagKeys", "a"), ("tagKeys", "b c")]);
    check(
        "Qualifier=%24LATEST&flag&empty=",
        &[("Qualifier", "$LATEST"), ("flag", ""), ("empty", "")],
    );
    assert_eq!(query_pairs("a=%ff"), Err(RouteError::MalformedEncoding));
}
