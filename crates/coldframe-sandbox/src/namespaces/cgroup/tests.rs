use std::path::PathBuf;

use super::{Roots, are_all};

const PURE: &str = "\
23 1 254:0 / / rw,noatime - ext4 /dev/vda rw
24 23 0:5 / /dev rw - devtmpfs dev rw
27 23 0:24 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

const HYBRID: &str = "\
30 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
31 29 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 29 0:29 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
34 29 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

fn check(mounts: &str, own: &str, is_root: bool, unified: &[&str], separate: &[(usize, &str)]) {
    let expected = Roots {
        unified: unified.iter().map(PathBuf::from).collect(),
        separate: separate.iter().map(|(index, path)| (*index, PathBuf::from(path))).collect(),
    };
    assert_eq!(Roots::find(mounts, own, is_root), expected, "{own}");
}

#[test]
fn version_2_is_used_where_the_service_was_started_and_by_root_at_the_top() {
    let session = "0::/user.slice/user-0.slice/session-1.scope\n";
    let own = "/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope";
    check(PURE, session, true, &[own, "/sys/fs/cgroup"], &[]);
    check(PURE, session, false, &[own], &[]);
    check(PURE, "0::/\n", true, &["/sys/fs/cgroup"], &[]);
    check(PURE, "", true, &["/sys/fs/cgroup"], &[]);
    check(PURE, "", false, &[], &[]);
}

#[test]
fn a_container_that_sees_a_part_of_the_tree() {
    let part = PURE.replace(" / /sys/fs/cgroup", " /box/1 /sys/fs/cgroup");
    check(&part, "0::/box/1/own\n", false, &["/sys/fs/cgroup/own"], &[]);
    check(&part, "0::/box/1\n", false, &["/sys/fs/cgroup"], &[]);
    // Started outside the part that is seen.
    check(&part, "0::/box/2\n", false, &[], &[]);
    check(&part, "0::/box/12\n", false, &[], &[]);
    check(PURE, "0::/../2\n", false, &[], &[]);
}

#[test]
fn version_1_is_used_for_what_has_a_tree_of_its_own() {
    let own = "9:name=systemd:/\n8:pids:/\n4:memory:/a/b\n1:cpu,cpuacct:/c\n0::/\n";
    let separate =
        [(1, "/sys/fs/cgroup/cpu/c"), (0, "/sys/fs/cgroup/memory/a/b"), (2, "/sys/fs/cgroup/pids")];
    check(HYBRID, own, true, &["/sys/fs/cgroup/unified"], &separate);
}

#[test]
fn only_a_group_without_others_is_left() {
    let check = |found: &[&str], expected| {
        let found: Vec<String> = found.iter().map(|pid| (*pid).to_owned()).collect();
        assert_eq!(are_all(&found, [7, 8]), expected, "{found:?}");
    };
    check(&["7", "8"], true);
    check(&["7"], true);
    check(&["1", "7", "8"], false);
    // Seen from another pid namespace.
    check(&["0"], false);
    check(&[], false);
}
