use proptest::prelude::*;

use super::interpreter::{Call, run};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const KILL: u32 = 0x8000_0000;
const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

fn profile(json: serde_json::Value) -> Filter {
    compile(&serde_json::from_value(json).unwrap()).unwrap()
}

fn result(filter: &Filter, architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    run(&filter.program, &Call { number, architecture, arguments }).0
}

fn native(filter: &Filter, name: &str, arguments: [u64; 6]) -> u32 {
    let arch = Architecture::native().unwrap();
    result(filter, arch.audit_number(), arch.number(name).unwrap(), arguments)
}

#[test]
fn listed_calls_are_allowed_and_all_others_get_the_default() {
    let filter = profile(serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "syscalls": [{"names": ["read", "write", "exit_group", "no_such_call"], "action": "SCMP_ACT_ALLOW"}]
    }));
    for name in ["read", "write", "exit_group"] {
        assert_eq!(native(&filter, name, [0; 6]), ALLOW, "{name}");
    }
    for name in ["open", "mount", "exit", "close"] {
        let Some(number) = Architecture::native().unwrap().number(name) else { continue };
        assert_eq!(
            result(&filter, Architecture::native().unwrap().audit_number(), number, [0; 6]),
            0x0005_0026,
            "{name}"
        );
    }
}

#[test]
fn order_in_the_document_does_not_matter() {
    let allow = serde_json::json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]});
    let deny = serde_json::json!({"names": ["socket"], "action": "SCMP_ACT_ERRNO",
        "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}]});
    for rules in [[&allow, &deny], [&deny, &allow]] {
        let filter = profile(serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules}));
        assert_eq!(native(&filter, "socket", [38, 0, 0, 0, 0, 0]), EPERM);
        assert_eq!(native(&filter, "socket", [40, 0, 0, 0, 0, 0]), EPERM);
        assert_eq!(native(&filter, "socket", [2, 0, 0, 0, 0, 0]), ALLOW);
    }
}

#[test]
fn the_specific_rule_comes_before_the_general_one_and_the_stricter_before_the_laxer() {
    let filter = profile(serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["ioctl"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["ioctl"], "action": "SCMP_ACT_LOG", "args": [{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]},
        {"names": ["ioctl"], "action": "SCMP_ACT_KILL_PROCESS", "args": [{"index": 0, "value": 9, "op": "SCMP_CMP_EQ"}]},
    ]}));
    assert_eq!(native(&filter, "ioctl", [0; 6]), EPERM);
    assert_eq!(native(&filter, "ioctl", [0, 7, 0, 0, 0, 0]), 0x7ffc_0000);
    assert_eq!(native(&filter, "ioctl", [9, 7, 0, 0, 0, 0]), KILL);
}

#[test]
fn an_argument_named_twice_means_one_of_the_values() {
    let filter = profile(serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]}]}));
    for (value, expected) in [(0, ALLOW), (8, ALLOW), (1, EPERM), (8 << 32, EPERM)] {
        assert_eq!(native(&filter, "personality", [value, 0, 0, 0, 0, 0]), expected, "{value}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn each_architecture_has_its_own_numbers_and_unlisted_ones_are_killed() {
    let rules = serde_json::json!([{"names": ["mkdir", "ioctl"], "action": "SCMP_ACT_ERRNO"}]);
    let all = profile(serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_MIPS"]}));
    assert_eq!(result(&all, X86_64, 83, [0; 6]), EPERM);
    assert_eq!(result(&all, X86, 39, [0; 6]), EPERM);
    assert_eq!(result(&all, X86, 83, [0; 6]), ALLOW);
    assert_eq!(result(&all, X86_64, 0x4000_0000 + 83, [0; 6]), EPERM);
    assert_eq!(result(&all, X86_64, 0x4000_0000 + 514, [0; 6]), EPERM);
    assert_eq!(result(&all, 0xc000_00b7, 34, [0; 6]), KILL);

    let native_only = profile(serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}));
    assert_eq!(result(&native_only, X86, 1, [0; 6]), KILL);
    assert_eq!(result(&native_only, X86_64, 0x4000_0001, [0; 6]), KILL);
    assert_eq!(result(&native_only, X86_64, 1, [0; 6]), ALLOW);
}

#[test]
fn words_that_are_not_understood_are_refused() {
    let rule = |action: &str, op: &str, index: u32| {
        serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": action, "args": [{"index": index, "value": 1, "op": op}]}]})
    };
    for (json, word) in [
        (rule("SCMP_ACT_NOTIFY", "SCMP_CMP_EQ", 0), "NOTIFY"),
        (rule("SCMP_ACT_MAYBE", "SCMP_CMP_EQ", 0), "MAYBE"),
        (rule("SCMP_ACT_ERRNO", "SCMP_CMP_ALMOST", 0), "ALMOST"),
        (rule("SCMP_ACT_ERRNO", "SCMP_CMP_EQ", 6), "argument 6"),
        (serde_json::json!({"defaultAction": ""}), "action"),
        (serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70_000}), "70000"),
        (
            serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_X"]}),
            "FLAG_X",
        ),
    ] {
        let error = compile(&serde_json::from_value(json).unwrap()).unwrap_err();
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

#[test]
fn a_filter_over_the_limit_of_the_kernel_is_refused() {
    let args: Vec<_> =
        (0..2000).map(|n| serde_json::json!({"index": 0, "value": n, "op": "SCMP_CMP_EQ"})).collect();
    let json = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": args}]});
    assert!(matches!(compile(&serde_json::from_value(json).unwrap()), Err(SeccompError::TooLong { .. })));
}

#[test]
fn long_conditions_are_jumped_over_and_searching_is_short() {
    let args: Vec<_> =
        (0..200).map(|n| serde_json::json!({"index": 0, "value": n, "op": "SCMP_CMP_EQ"})).collect();
    let filter = profile(serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["write"], "action": "SCMP_ACT_ALLOW", "args": args},
        {"names": ["read", "mount", "close"], "action": "SCMP_ACT_ALLOW"}]}));
    assert_eq!(native(&filter, "read", [0; 6]), ALLOW);
    assert_eq!(native(&filter, "write", [199, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(native(&filter, "write", [200, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(native(&filter, "mount", [0; 6]), ALLOW);
    let arch = Architecture::native().unwrap();
    let call =
        Call { number: arch.number("mount").unwrap(), architecture: arch.audit_number(), arguments: [0; 6] };
    assert!(run(&filter.program, &call).1 < 20);
}

fn holds(op: &str, argument: u64, value: u64, two: u64) -> bool {
    match op {
        "SCMP_CMP_EQ" => argument == value,
        "SCMP_CMP_NE" => argument != value,
        "SCMP_CMP_GT" => argument > value,
        "SCMP_CMP_GE" => argument >= value,
        "SCMP_CMP_LT" => argument < value,
        "SCMP_CMP_LE" => argument <= value,
        _ => argument & value == two,
    }
}

/// Numbers whose halves often collide, where the comparison of two halves goes wrong if it does.
fn number() -> impl Strategy<Value = u64> {
    let half = prop_oneof![0..3_u64, Just(0xffff_ffff), Just(0x8000_0000)];
    (half.clone(), half).prop_map(|(high, low)| (high << 32) | low)
}

proptest! {
    #[test]
    fn comparisons_of_64_bits_agree_with_the_processor(
        first in number(), second in number(), value in number(), other in number(),
        op in prop::sample::select(vec!["SCMP_CMP_EQ", "SCMP_CMP_NE", "SCMP_CMP_GT", "SCMP_CMP_GE", "SCMP_CMP_LT",
            "SCMP_CMP_LE", "SCMP_CMP_MASKED_EQ"]),
        op2 in prop::sample::select(vec!["SCMP_CMP_EQ", "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_GE"]),
    ) {
        let filter = profile(serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 1, "value": value, "valueTwo": other, "op": op},
                {"index": 4, "value": other, "op": op2}]}]}));
        let expected = holds(op, first, value, other) && holds(op2, second, other, 0);
        let got = native(&filter, "read", [9, first, 9, 9, second, 9]);
        prop_assert_eq!(got, if expected { ALLOW } else { EPERM });
    }
}
