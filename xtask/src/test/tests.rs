use super::refusal;

const DEBIAN: &str =
    "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n";
const UBUNTU: &str = "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nID=ubuntu\nID_LIKE=debian\n";

#[test]
fn the_tests_run_as_root_on_debian_only() {
    let check = |user, system, here: Option<&str>| {
        let said = refusal(user, system);
        match here {
            None => assert_eq!(said, None),
            Some(here) => {
                let said = said.expect("a refusal");
                assert!(
                    said.contains(&format!("but this is {here}: run `cargo xtask test`")),
                    "{said}"
                );
                assert!(!said.contains('\n'), "{said}");
            }
        }
    };
    check(0, DEBIAN, None);
    check(0, "ID='debian'\n", None);
    check(1000, DEBIAN, Some("an ordinary user on Debian GNU/Linux 12 (bookworm)"));
    check(0, UBUNTU, Some("root on Ubuntu 24.04.1 LTS"));
    check(1000, UBUNTU, Some("an ordinary user on Ubuntu 24.04.1 LTS"));
    check(0, "", Some("root on an unknown system"));
}
