use std::os::unix::fs::symlink;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const IMAGE: &str = "example.test/app:1";

fn image(passwd: &str, group: &str) -> (TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
    std::fs::write(dir.path().join("etc/group"), group).unwrap();
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

fn usual() -> (TempDir, Root) {
    image(
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:2000::/home/app:/bin/sh\n4294967296:x:0:0:::\n+0:x:0:0:::\n",
        "root:x:0:\napp:x:2000:\naudio:x:29:other,app\nvideo:x:44:app\nbroken\n",
    )
}

fn ids(user: &EffectiveUser) -> (u32, u32, &[u32]) {
    (user.uid, user.gid, &user.additional_gids)
}

#[test]
fn the_images_user_is_read_as_docker_does() {
    let (_dir, root) = usual();
    for (text, expected) in [
        ("", (0, 0, &[0][..])),
        ("root", (0, 0, &[0])),
        ("app", (1000, 2000, &[29, 44, 2000])),
        ("1000", (1000, 2000, &[29, 44, 2000])),
        ("1000:44", (1000, 44, &[44])),
        ("app:audio", (1000, 29, &[29])),
        ("5000", (5000, 0, &[0])),
        ("5000:6000", (5000, 6000, &[6000])),
        ("app:", (1000, 2000, &[29, 44, 2000])),
        (":44", (0, 44, &[44])),
        ("00", (0, 0, &[0])),
        ("4294967294", (4_294_967_294, 0, &[0])),
    ] {
        let user = resolve(&root, &RunAs::default(), text, IMAGE).unwrap();
        assert_eq!(ids(&user), expected, "{text:?}");
    }
}

#[test]
fn text_that_looks_like_a_number_is_that_number_or_refused() {
    let (_dir, root) = usual();
    for text in [
        "4294967295",
        "4294967296",
        "2147483648000",
        "18446744073709551616",
        "99999999999999999999999",
        "+0",
        "-0",
        "-1",
        "+1000",
        " 0",
        "0 ",
        "\t0",
        "0\n",
        "0x0",
        "0x3e8",
        "0o0",
        "0b0",
        "1e3",
        "1_000",
        "1000.",
        "1000.0",
        ".0",
        "1000abc",
        "0root",
        "\u{660}",
        "\u{ff10}",
        "\u{b2}",
        "1000:",
        "\u{a0}0",
        "ro ot",
        "ro\tot",
        "root\0",
        "root\n",
    ] {
        let outcome = resolve(&root, &RunAs::default(), text, IMAGE);
        if text == "1000:" {
            assert_eq!(outcome.unwrap().uid, 1000);
        } else {
            assert!(matches!(outcome, Err(Error::NotAnId { .. })), "{text:?}: {outcome:?}");
        }
    }
    for group in ["0:+0", "0:4294967296", "app: 0", "app:0x0", "app:1:2"] {
        assert!(
            matches!(resolve(&root, &RunAs::default(), group, IMAGE), Err(Error::NotAnId { .. })),
            "{group:?}"
        );
    }
}

#[test]
fn the_request_wins_over_the_image() {
    let (_dir, root) = usual();
    let by_id = RunAs { user: Some(1000), ..RunAs::default() };
    assert_eq!(ids(&resolve(&root, &by_id, "root:audio", IMAGE).unwrap()), (1000, 2000, &[29, 44, 2000][..]));
    let with_group = RunAs { user: Some(1000), group: Some(7), ..RunAs::default() };
    assert_eq!(ids(&resolve(&root, &with_group, "", IMAGE).unwrap()), (1000, 7, &[7, 29, 44][..]));
    let by_name = RunAs { username: "app".into(), supplemental_groups: vec![9, 44], ..RunAs::default() };
    assert_eq!(ids(&resolve(&root, &by_name, "", IMAGE).unwrap()), (1000, 2000, &[9, 29, 44, 2000][..]));
}

#[test]
fn strict_groups_leave_the_images_groups_out_but_keep_the_primary_one() {
    let (_dir, root) = usual();
    let strict = RunAs {
        user: Some(1000),
        supplemental_groups: vec![1234],
        groups_policy: GroupsPolicy::Strict,
        ..RunAs::default()
    };
    assert_eq!(ids(&resolve(&root, &strict, "", IMAGE).unwrap()), (1000, 2000, &[1234, 2000][..]));
}

#[test]
fn impossible_requests_are_refused_by_name() {
    let (_dir, root) = usual();
    let try_it = |run_as: RunAs, image_user: &str| resolve(&root, &run_as, image_user, IMAGE).unwrap_err();
    let group_only = try_it(RunAs { group: Some(5), ..RunAs::default() }, "app");
    assert!(matches!(group_only, Error::GroupWithoutUser));
    let both = try_it(RunAs { user: Some(1), username: "app".into(), ..RunAs::default() }, "");
    assert!(matches!(both, Error::TwoUsers));
    let unknown = try_it(RunAs { username: "nobody-here".into(), ..RunAs::default() }, "");
    assert_eq!(unknown.to_string(), "user \"nobody-here\" is not in /etc/passwd of image example.test/app:1");
    assert!(matches!(try_it(RunAs::default(), "app:nogroup"), Error::UnknownGroup { .. }));
    for id in [-1, i64::from(u32::MAX), i64::MAX, i64::MIN] {
        assert!(
            matches!(try_it(RunAs { user: Some(id), ..RunAs::default() }, ""), Error::NotAnId { .. }),
            "{id}"
        );
    }
    let negative_group = RunAs { user: Some(1), supplemental_groups: vec![-5], ..RunAs::default() };
    assert!(matches!(try_it(negative_group, ""), Error::NotAnId { .. }));
}

#[test]
fn hostile_databases_are_errors_and_missing_ones_are_empty() {
    let (dir, root) = usual();
    let passwd = dir.path().join("etc/passwd");
    std::fs::remove_file(&passwd).unwrap();
    assert_eq!(resolve(&root, &RunAs::default(), "77", IMAGE).unwrap().uid, 77);

    symlink("/proc/self/root/etc/passwd", &passwd).unwrap();
    let escaped = resolve(&root, &RunAs::default(), "root", IMAGE);
    assert!(matches!(escaped, Err(Error::UnknownUser { .. } | Error::Database { .. })), "{escaped:?}");
    std::fs::remove_file(&passwd).unwrap();

    rustix::fs::mknodat(
        rustix::fs::CWD,
        &passwd,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(matches!(resolve(&root, &RunAs::default(), "77", IMAGE), Err(Error::Database { .. })));
    std::fs::remove_file(&passwd).unwrap();

    std::fs::File::create(&passwd).unwrap().set_len(8 << 30).unwrap();
    assert!(matches!(resolve(&root, &RunAs::default(), "77", IMAGE), Err(Error::Database { .. })));
}

proptest! {
    #[test]
    fn a_written_record_is_exactly_one_valid_record(name in "\\PC{0,12}|[a-z:\\n\\r\\x00]{1,8}", home in "\\PC{0,20}|[/a-z:\\n]{1,9}", uid in 0..u32::MAX) {
        if let Ok(line) = passwd_line(&name, uid, 7, &home) {
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(line.matches(':').count(), 6);
            prop_assert!(line.ends_with('\n'));
        } else {
            let all = format!("{name}{home}");
            prop_assert!(all.contains([':', '\n', '\r', '\0']));
        }
    }

    #[test]
    fn no_text_becomes_an_id_other_than_its_digits(text in "[ +\\-0-9a-fx._]{0,12}") {
        if let Ok(Identity::Id(id)) = Identity::parse("user", &text) {
            prop_assert_eq!(text.trim_start_matches('0'), if id == 0 { String::new() } else { id.to_string() });
        }
    }
}
