use std::io::{Cursor, Write};

use super::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

enum Entry<'a> {
    File(&'a str, u32, &'a [u8]),
    Directory(&'a str, u32),
    Link(&'a str, &'a str),
    Zeroes(&'a str, u64),
}
use Entry::{Directory, File, Link, Zeroes};

fn zip(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    for entry in entries {
        match entry {
            File(name, mode, bytes) => {
                let stored = options.compression_method(zip::CompressionMethod::Stored);
                writer.start_file(*name, stored.unix_permissions(*mode)).unwrap();
                writer.write_all(bytes).unwrap();
            }
            Directory(name, mode) => {
                writer.add_directory(*name, options.unix_permissions(*mode)).unwrap();
            }
            Link(name, target) => writer.add_symlink(*name, *target, options).unwrap(),
            Zeroes(name, size) => {
                writer.start_file(*name, options).unwrap();
                std::io::copy(&mut std::io::repeat(0).take(*size), &mut writer).unwrap();
            }
        }
    }
    writer.finish().unwrap().into_inner()
}

use std::io::Read;

fn store() -> (tempfile::TempDir, PackageStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = PackageStore::open(directory.path().join("packages")).unwrap();
    (directory, store)
}

/// Refused both ways, and nothing is left behind.
fn check_refused(bytes: &[u8], expected: &str) {
    let (_directory, store) = store();
    for result in [store.admit(bytes), store.examine(bytes)] {
        let error = result.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} says nothing of {expected:?}");
    }
    assert_eq!(fs::read_dir(&store.directory).unwrap().count(), 0, "{expected}");
}

#[test]
fn a_package_is_unpacked_with_its_modes() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, store) = store();
    let bytes = zip(&[
        Directory("lib", 0o750),
        File("lib/a.py", 0o640, b"a"),
        File("bootstrap", 0o4755, b"#!"),
        Link("lib/b.py", "a.py"),
        Link("up", "lib/../bootstrap"),
        Link("layer", "/opt/bin/tool"),
    ]);
    let package = store.admit(&bytes).unwrap();
    assert_eq!((package.zipped_bytes, package.unzipped_bytes), (bytes.len() as u64, 3));
    let tree = store.tree(&package.sha256);
    let mode = |path: &str| fs::metadata(tree.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("lib"), mode("lib/a.py"), mode("bootstrap")), (0o750, 0o640, 0o755));
    assert_eq!(fs::read_to_string(tree.join("lib/b.py")).unwrap(), "a");
    assert_eq!(store.zip(&package.sha256).unwrap(), bytes);
    assert_eq!(store.admit(&bytes).unwrap(), package, "the same bytes again");
}

#[test]
fn no_archive_leaves_its_tree() {
    check_refused(&zip(&[File("../evil", 0o644, b"")]), "outside of the package");
    check_refused(&zip(&[File("a/../../evil", 0o644, b"")]), "outside of the package");
    check_refused(&zip(&[File("/etc/cron.d/evil", 0o644, b"")]), "outside of the package");
    check_refused(&zip(&[Link("a", "../b")]), "points out of the package");
    check_refused(&zip(&[Link("d/a", "../../b")]), "points out of the package");
    check_refused(&zip(&[Link("a", "/etc/shadow")]), "points out of the package");
    check_refused(&zip(&[Link("a", "/opt/../etc/shadow")]), "points out of the package");
    check_refused(&zip(&[Link("a", "."), File("a/b", 0o644, b"")]), "lies behind a link");
    check_refused(&zip(&[File("a/b", 0o644, b""), Link("a", ".")]), "lies behind a link");
    // Each link alone stays within; made one through the other they climb.
    let climb = [
        Link("a/a/a/a/link", "../../../.."),
        Link("a/a/a/a/link/up", "../../../.."),
        Link("a/a/a/a/link/up/victim", "/usr"),
    ];
    check_refused(&zip(&climb), "lies behind a link");
    check_refused(&zip(&[Link("a/b", ".."), Link("a/b/c", "../..")]), "lies behind a link");
    check_refused(&zip(&[Link("a/b/c", "../.."), Link("a/b", "..")]), "lies behind a link");
}

#[test]
fn bombs_and_rubbish_are_refused() {
    check_refused(b"", "Could not unzip uploaded file");
    check_refused(b"no zip at all", "Could not unzip uploaded file");
    check_refused(&zip(&[]), "non-empty zip");
    check_refused(
        &zip(&[Zeroes("bomb", 262_144_001)]),
        "Unzipped size must be smaller than 262144000 bytes",
    );
    let mut cut = zip(&[File("a", 0o644, b"abcdefgh")]);
    let at = cut.windows(8).position(|window| window == b"abcdefgh").unwrap();
    cut[at] = b'z';
    check_refused(&cut, "Could not unzip uploaded file");
}

#[test]
fn an_interrupted_admit_is_cleared_away() {
    let (directory, store) = store();
    let left = store.directory.join("new-1-1");
    fs::create_dir_all(left.join("tree/closed")).unwrap();
    drop(store);
    PackageStore::open(directory.path().join("packages")).unwrap();
    assert!(!left.exists());
}

/// What `merge` makes of packages with these entries.
fn merged(store: &PackageStore, layers: &[&[Entry<'_>]]) -> PathBuf {
    let packages: Vec<_> =
        layers.iter().map(|layer| store.admit(&zip(layer)).unwrap().sha256).collect();
    store.merge(&packages).unwrap();
    store.merge(&packages).unwrap();
    store.merged(&packages)
}

#[test]
fn a_later_layer_lies_over_the_earlier_ones() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, store) = store();
    let tree = merged(
        &store,
        &[
            &[File("python/a.py", 0o644, b"first"), File("python/b.py", 0o600, b"first")],
            &[File("bin/tool", 0o755, b"second"), File("python/b.py", 0o644, b"second")],
            &[Directory("python/", 0o555), File("python/c.py", 0o644, b"third")],
        ],
    );
    let text = |path: &str| fs::read_to_string(tree.join(path)).unwrap();
    assert_eq!(text("python/a.py"), "first");
    assert_eq!(text("python/b.py"), "second");
    assert_eq!(text("python/c.py"), "third");
    let mode = |path: &str| fs::metadata(tree.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bin/tool"), mode("python/b.py"), mode("python")), (0o755, 0o644, 0o555));
    // The layers themselves are what they were.
    let alone = merged(
        &store,
        &[&[File("python/a.py", 0o644, b"first"), File("python/b.py", 0o600, b"first")]],
    );
    assert_eq!(fs::read_to_string(alone.join("python/b.py")).unwrap(), "first");
}

/// Kinds that are in each other's way: the later one stands, and a link is never followed.
#[test]
fn a_later_layer_replaces_what_is_of_another_kind() {
    let (_directory, store) = store();
    let tree = merged(
        &store,
        &[
            &[Link("lib", "/usr/lib"), File("dir/inner", 0o644, b"1"), File("file", 0o644, b"1")],
            &[
                File("lib/own.so", 0o644, b"2"),
                File("dir", 0o644, b"2"),
                Link("file", "dir"),
                File("new", 0o644, b"2"),
            ],
        ],
    );
    assert!(fs::symlink_metadata(tree.join("lib")).unwrap().is_dir());
    assert_eq!(fs::read(tree.join("lib/own.so")).unwrap(), b"2");
    assert_eq!(fs::read(tree.join("dir")).unwrap(), b"2");
    assert_eq!(fs::read_link(tree.join("file")).unwrap(), Path::new("dir"));
    assert!(!Path::new("/usr/lib/own.so").exists());
}

#[test]
fn a_merge_that_was_cut_off_is_cleared_away() {
    let (directory, store) = store();
    fs::create_dir_all(store.new_place().join("tree/half")).unwrap();
    let again = PackageStore::open(directory.path().join("packages")).unwrap();
    assert_eq!(fs::read_dir(&again.directory).unwrap().count(), 0);
}

#[test]
fn what_is_discarded_is_gone_and_can_come_again() {
    let (directory, store) = store();
    let bytes =
        |text: &str| zip(&[Directory("closed", 0o500), File("closed/f", 0o400, text.as_bytes())]);
    let admit = |text: &str| store.admit(&bytes(text)).unwrap().sha256;
    let (one, two) = (admit("one"), admit("two"));
    store.merge(&[one, two]).unwrap();
    let merged = store.merged(&[one, two]);
    let mut all = vec![store.tree(&one), store.tree(&two), merged.clone()];
    let there = || {
        let mut trees = store.trees();
        trees.sort();
        trees
    };
    all.sort();
    assert_eq!(there(), all);
    store.discard(&store.tree(&one)).unwrap();
    assert!(store.zip(&one).is_err());
    store.clear();
    // What was made of it is whole.
    assert_eq!(fs::read_to_string(merged.join("closed/f")).unwrap(), "two");
    admit("one");
    assert_eq!(there(), all);
    for tree in &all {
        store.discard(tree).unwrap();
        // Once more is as good.
        store.discard(tree).unwrap();
    }
    // Nothing else is touched.
    store.discard(directory.path()).unwrap();
    assert_eq!(there(), Vec::<PathBuf>::new());
    assert_eq!(fs::read_dir(&store.directory).unwrap().count(), 3);
    // A service that was killed here leaves the rest to the next.
    let next = PackageStore::open(store.directory.clone()).unwrap();
    assert_eq!(fs::read_dir(&next.directory).unwrap().count(), 0);
    store.clear();
}
