use super::java_double;

#[test]
fn doubles_print_as_in_java() {
    let check = |value: f64, text: &str| assert_eq!(java_double(value), text);
    check(-1.0, "-1.0");
    check(0.0, "0.0");
    check(1.5, "1.5");
    check(0.001, "0.001");
    check(0.0005, "5.0E-4");
    check(9_999_999.0, "9999999.0");
    check(1e7, "1.0E7");
    check(1.25e10, "1.25E10");
}
