use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::config::SecurityProfile;

fn rows(filter: &LinuxSeccomp) -> &[LinuxSyscall] {
    filter.syscalls().as_deref().unwrap()
}

/// What the filter answers for one call, by any matching row; rows that contradict each other fail the test.
fn verdict(filter: &LinuxSeccomp, name: &str, first: u64) -> Option<(LinuxSeccompAction, Option<u32>)> {
    let mut verdicts =
        rows(filter).iter().filter(|row| row.names().iter().any(|known| known == name)).filter(|row| {
            row.args().iter().flatten().all(|arg| match arg.op() {
                LinuxSeccompOperator::ScmpCmpEq => first == arg.value(),
                LinuxSeccompOperator::ScmpCmpLt => first < arg.value(),
                LinuxSeccompOperator::ScmpCmpMaskedEq => first & arg.value() == arg.value_two().unwrap(),
                other => panic!("the profile uses {other}"),
            })
        });
    let found = verdicts.next().map(|row| (row.action(), row.errno_ret()));
    let agree = verdicts.all(|row| Some((row.action(), row.errno_ret())) == found);
    assert!(agree, "two rows decide {name}({first:#x})");
    found
}

#[test]
fn no_call_stands_in_two_rows_without_arguments() {
    for granted in [CapabilitySet::EMPTY, CapabilitySet::ALL] {
        let filter = runtime_default(granted);
        let mut seen = BTreeMap::<&str, bool>::new();
        for row in rows(&filter) {
            for name in row.names() {
                let conditional = row.args().is_some();
                let before = seen.insert(name, conditional);
                assert!(before.is_none() || (before == Some(true) && conditional), "{name} is listed twice");
            }
        }
    }
}

#[test]
fn crypto_and_hypervisor_sockets_are_denied_whatever_the_upper_half_says() {
    let filter = runtime_default(CapabilitySet::ALL);
    for family in 0..=45u64 {
        let expected = matches!(family, 38 | 40);
        let answer = verdict(&filter, "socket", family).unwrap();
        assert_eq!(answer == (LinuxSeccompAction::ScmpActErrno, Some(EPERM)), expected, "family {family}");
        // The kernel takes an int; a filter compares 64 bits.
        for upper in [1u64 << 32, 0xffff_ffff << 32] {
            assert_eq!(verdict(&filter, "socket", upper | family), None, "family {family} with {upper:#x}");
        }
    }
    assert_eq!(verdict(&filter, "socketcall", 1).unwrap().0, LinuxSeccompAction::ScmpActErrno);
}

proptest! {
    #[test]
    fn clone_never_makes_a_namespace_without_the_capability(flags in any::<u64>()) {
        let filter = runtime_default(CapabilitySet::EMPTY);
        let allowed = flags & table::CLONE_NAMESPACES == 0;
        let expected = if allowed {
            (LinuxSeccompAction::ScmpActAllow, None)
        } else {
            (LinuxSeccompAction::ScmpActErrno, Some(EPERM))
        };
        prop_assert_eq!(verdict(&filter, "clone", flags), Some(expected));
    }
}

#[test]
fn capabilities_open_their_own_calls_and_no_others() {
    let allowed = |granted: CapabilitySet| -> BTreeSet<String> {
        let filter = runtime_default(granted);
        let allow = rows(&filter).iter().filter(|row| row.action() == LinuxSeccompAction::ScmpActAllow);
        allow.filter(|row| row.args().is_none()).flat_map(|row| row.names().clone()).collect()
    };
    let none = allowed(CapabilitySet::EMPTY);
    assert!(none.contains("read") && !none.contains("mount") && !none.contains("unshare"));
    let time = allowed([Capability::SysTime].into_iter().collect());
    let gained: Vec<_> = time.difference(&none).map(String::as_str).collect();
    assert_eq!(gained, ["clock_settime", "clock_settime64", "settimeofday", "stime"]);
    let admin = allowed([Capability::SysAdmin].into_iter().collect());
    assert!(admin.contains("mount") && admin.contains("clone3") && !admin.contains("reboot"));
    assert_eq!(verdict(&runtime_default(CapabilitySet::EMPTY), "clone3", 0).unwrap().1, Some(ENOSYS));
}

#[test]
fn the_choice_follows_the_table_in_the_header() {
    let choose = |wanted| choose(wanted, None, CapabilitySet::EMPTY);
    assert_eq!(choose(None).unwrap(), None);
    assert_eq!(choose(Some(&SecurityProfile::Unconfined)).unwrap(), None);
    assert_eq!(
        choose(Some(&SecurityProfile::RuntimeDefault)).unwrap(),
        Some(runtime_default(CapabilitySet::EMPTY))
    );
}

#[test]
fn unusable_profile_files_are_errors_and_never_unconfined() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let large = write("large", &vec![b' '; (1 << 20) + 1]);
    for path in [
        "",
        "relative.json",
        "/does/not/exist.json",
        "/dev/null",
        "/dev/zero",
        dir.path().to_str().unwrap(),
        &large,
    ] {
        assert!(matches!(SeccompProfile::read(path), Err(Error::SeccompRead { .. })), "{path}");
    }
    for (name, content) in
        [("empty", ""), ("text", "hello"), ("list", "[]"), ("object", "{}"), ("cut", "{\"defaultAction\":")]
    {
        let path = write(name, content.as_bytes());
        let error = SeccompProfile::read(&path).unwrap_err();
        assert!(
            matches!(error, Error::SeccompFormat { .. }) && error.to_string().contains(&path),
            "{name}: {error}"
        );
    }
    // The position is in the message's cause, for whoever has to find it in the file.
    let place = write("place", b"{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\",\n  \"syscalls\": 7\n}");
    let error = SeccompProfile::read(&place).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("line 3 column"), "{cause}");
    // Also in a rule for another machine, which is never used here.
    let elsewhere = write(
        "elsewhere",
        br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["a"],"action":"SCMP_ACT_NOPE","includes":{"arches":["mips"]}}]}"#,
    );
    assert!(matches!(SeccompProfile::read(&elsewhere), Err(Error::SeccompWord { what: "action", .. })));
    let word = write("word", br#"{"defaultAction":"SCMP_ACT_MAYBE"}"#);
    assert!(matches!(SeccompProfile::read(&word), Err(Error::SeccompWord { what: "action", .. })));
}

#[test]
fn dockers_format_is_made_to_fit_the_container() {
    let text = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "comment": "", "includes": {}, "excludes": {}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
            {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["mips"]}},
            {"name": "socket", "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 40, "valueTwo": 0, "op": "SCMP_CMP_NE"}]}
        ]}"#;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("profile.json");
    std::fs::write(&path, text).unwrap();
    let names = |granted| -> Vec<String> {
        let filter = SeccompProfile::read(path.to_str().unwrap()).unwrap().fit(granted).unwrap();
        assert_eq!(filter.default_errno_ret(), Some(38));
        rows(&filter).iter().map(|row| format!("{} {}", row.names().join(","), row.action())).collect()
    };
    assert_eq!(
        names(CapabilitySet::EMPTY),
        ["read SCMP_ACT_ALLOW", "mount SCMP_ACT_ERRNO", "ptrace SCMP_ACT_ALLOW", "socket SCMP_ACT_ALLOW"]
    );
    assert_eq!(names(CapabilitySet::ALL)[1], "mount SCMP_ACT_ALLOW");
}

#[test]
fn an_oci_profile_is_taken_as_it_is() {
    let original = runtime_default(CapabilitySet::EMPTY);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("oci.json");
    std::fs::write(&path, serde_json::to_vec(&original).unwrap()).unwrap();
    assert_eq!(
        SeccompProfile::read(path.to_str().unwrap()).unwrap().fit(CapabilitySet::EMPTY).unwrap(),
        original
    );
}
