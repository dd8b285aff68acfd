//! Which devices a container may use, and the eBPF program that says so on cgroup v2.
//!
//! The list always starts from "nothing", whatever the document starts with: rules that were meant as the rest of an
//! allow list are never read as exceptions from "everything". The last rule that matches decides.

use ochre_sys::seccomp::ExtendedInstruction;

use super::CgroupError;
use crate::spec::DeviceRule;

const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL_ACCESS: u8 = MKNOD | READ | WRITE;

/// Which nodes a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    All,
    Character,
    Block,
}

/// One rule after its words are understood; `None` is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    allow: bool,
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

/// An ordered list of rules on top of "nothing is allowed".
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) rules: Vec<Rule>,
}

/// What every container may use: making nodes, the standard devices, terminals (the list of runc and crun).
const STANDARD: [Rule; 11] = [
    standard(Kind::Character, None, None, MKNOD),
    standard(Kind::Block, None, None, MKNOD),
    standard(Kind::Character, Some(1), Some(3), ALL_ACCESS),
    standard(Kind::Character, Some(1), Some(5), ALL_ACCESS),
    standard(Kind::Character, Some(1), Some(7), ALL_ACCESS),
    standard(Kind::Character, Some(1), Some(8), ALL_ACCESS),
    standard(Kind::Character, Some(1), Some(9), ALL_ACCESS),
    standard(Kind::Character, Some(5), Some(0), ALL_ACCESS),
    standard(Kind::Character, Some(5), Some(1), ALL_ACCESS),
    standard(Kind::Character, Some(5), Some(2), ALL_ACCESS),
    standard(Kind::Character, Some(136), None, ALL_ACCESS),
];

const fn standard(kind: Kind, major: Option<u32>, minor: Option<u32>, access: u8) -> Rule {
    Rule { allow: true, kind, major, minor, access }
}

impl Rule {
    fn parse(rule: &DeviceRule) -> Result<Self, CgroupError> {
        let invalid = |field, value: &str| CgroupError::Invalid { field, value: value.to_owned() };
        let kind = match rule.kind.as_deref() {
            None | Some("" | "a") => Kind::All,
            Some("c" | "u") => Kind::Character,
            Some("b") => Kind::Block,
            Some(other) => return Err(invalid("devices.type", other)),
        };
        let number = |field, value: Option<i64>| match value {
            None => Ok(None),
            Some(any) if any < 0 => Ok(None),
            // Device numbers have at most 20 bits; the immediate of an instruction is signed.
            Some(number) if number <= i64::from(i32::MAX) => Ok(u32::try_from(number).ok()),
            Some(number) => Err(invalid(field, &number.to_string())),
        };
        let mut access = 0;
        for letter in rule.access.as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm").chars() {
            access |= match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                other => return Err(invalid("devices.access", &other.to_string())),
            };
        }
        let (major, minor) = (number("devices.major", rule.major)?, number("devices.minor", rule.minor)?);
        Ok(Self { allow: rule.allow, kind, major, minor, access })
    }

    fn same_device(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Whether it is about everything.
    pub(super) fn is_all(&self) -> bool {
        self.kind == Kind::All && self.major.is_none() && self.minor.is_none() && self.access == ALL_ACCESS
    }

    /// Whether it allows or denies.
    pub(super) fn allows(&self) -> bool {
        self.allow
    }

    /// As v1's `devices.allow` and `devices.deny` want it.
    pub(super) fn v1_line(&self) -> String {
        let kind = match self.kind {
            Kind::All => 'a',
            Kind::Character => 'c',
            Kind::Block => 'b',
        };
        let number = |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        let access: String =
            letters.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| letter).collect();
        format!("{kind} {}:{} {access}", number(self.major), number(self.minor))
    }
}

impl Policy {
    pub(super) fn new(rules: &[DeviceRule]) -> Result<Self, CgroupError> {
        let mut parsed: Vec<Rule> = Vec::with_capacity(rules.len() + STANDARD.len());
        for rule in rules {
            let rule = Rule::parse(rule)?;
            // What came before a rule about everything has no effect.
            if rule.is_all() {
                parsed.clear();
                if !rule.allow {
                    continue;
                }
            }
            parsed.push(rule);
        }
        if parsed.first().is_some_and(|first| first.is_all() && first.allow) && parsed.len() == 1 {
            return Ok(Self { rules: parsed });
        }
        parsed.extend(STANDARD);
        Ok(Self { rules: unite(parsed) })
    }

    /// The program: a block per rule, last rule first, then "no".
    pub(super) fn program(&self) -> Vec<ExtendedInstruction> {
        // Registers: r2 type, r3 access, r4 major, r5 minor of the request; r1 is scratch after that.
        let mut code = vec![
            load(2, 0),
            instruction(0x54, 2, 0, 0, 0xffff),
            load(3, 0),
            instruction(0x74, 3, 0, 0, 16),
            load(4, 4),
            load(5, 8),
        ];
        for rule in self.rules.iter().rev() {
            code.extend(block(rule));
            if rule.is_all() {
                // It decides every request, and the kernel's verifier refuses instructions that nothing leads to.
                return code;
            }
        }
        code.extend(verdict(false));
        code
    }
}

/// A request for reading and writing must be covered by one rule, so accesses given in parts are added up, as long
/// as no denial came between the parts.
fn unite(rules: Vec<Rule>) -> Vec<Rule> {
    let mut united: Vec<Rule> = Vec::with_capacity(rules.len());
    for mut rule in rules {
        if rule.allow {
            let since_denial = united.iter().rev().take_while(|earlier| earlier.allow);
            rule.access |=
                since_denial.filter(|earlier| earlier.same_device(&rule)).fold(0, |sum, e| sum | e.access);
        }
        united.push(rule);
    }
    united
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> ExtendedInstruction {
    ExtendedInstruction { code, registers: to | (from << 4), offset, immediate }
}

/// `to = *(u32 *)(r1 + offset)`
fn load(to: u8, offset: i16) -> ExtendedInstruction {
    instruction(0x61, to, 1, offset, 0)
}

/// `return allow`
fn verdict(allow: bool) -> [ExtendedInstruction; 2] {
    [instruction(0xb7, 0, 0, 0, i32::from(allow)), instruction(0x95, 0, 0, 0, 0)]
}

fn block(rule: &Rule) -> Vec<ExtendedInstruction> {
    const JUMP_NOT_EQUAL: u8 = 0x55;
    // Tests jump to the end of the block; their distances are filled in when its length is known.
    let mut tests = Vec::new();
    match rule.kind {
        Kind::All => {}
        Kind::Block => tests.push(instruction(JUMP_NOT_EQUAL, 2, 0, 0, 1)),
        Kind::Character => tests.push(instruction(JUMP_NOT_EQUAL, 2, 0, 0, 2)),
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number {
            tests.push(instruction(JUMP_NOT_EQUAL, register, 0, 0, number.cast_signed()));
        }
    }
    if rule.access != ALL_ACCESS {
        tests.push(instruction(0xbc, 1, 3, 0, 0));
        tests.push(instruction(0x54, 1, 0, 0, i32::from(rule.access)));
        // An allow rule must cover all that is asked for, a deny rule any of it.
        tests.push(if rule.allow { instruction(0x5d, 1, 3, 0, 0) } else { instruction(0x15, 1, 0, 0, 0) });
    }
    let length = tests.len() + 2;
    for (at, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, JUMP_NOT_EQUAL | 0x5d | 0x15) {
            // At most eight instructions long.
            test.offset = i16::try_from(length - at - 1).unwrap_or(i16::MAX);
        }
    }
    tests.extend(verdict(rule.allow));
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> DeviceRule {
        DeviceRule {
            allow,
            kind: Some(kind.into()),
            major: Some(major),
            minor: Some(minor),
            access: Some(access.into()),
        }
    }

    /// Runs a program as the kernel does, for the instructions used here.
    fn run(program: &[ExtendedInstruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [kind | (access << 16), major, minor];
        let (mut registers, mut at) = ([0_u32; 11], 0_usize);
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            at += 1;
            let jump = match i.code {
                0x61 => {
                    registers[to] = context[i.offset as usize / 4];
                    false
                }
                0x54 => {
                    registers[to] &= i.immediate.cast_unsigned();
                    false
                }
                0x74 => {
                    registers[to] >>= i.immediate;
                    false
                }
                0xbc => {
                    registers[to] = registers[from];
                    false
                }
                0xb7 => {
                    registers[to] = i.immediate.cast_unsigned();
                    false
                }
                0x55 => registers[to] != i.immediate.cast_unsigned(),
                0x5d => registers[to] != registers[from],
                0x15 => registers[to] == i.immediate.cast_unsigned(),
                0x95 => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            };
            if jump {
                at += i.offset as usize;
            }
        }
    }

    const BLOCK: u32 = 1;
    const CHARACTER: u32 = 2;

    #[test]
    fn without_rules_only_the_standard_devices_are_there() {
        let program = Policy::new(&[]).unwrap().program();
        assert!(run(&program, CHARACTER, 6, 1, 3));
        assert!(run(&program, CHARACTER, 6, 136, 17));
        assert!(run(&program, BLOCK, 1, 8, 0), "making a node is allowed");
        assert!(!run(&program, BLOCK, 2, 8, 0), "reading it is not");
        assert!(!run(&program, CHARACTER, 2, 1, 1), "/dev/mem");
    }

    #[test]
    fn a_list_without_a_leading_denial_is_still_an_allow_list() {
        let program = Policy::new(&[rule(true, "c", 10, 229, "rwm")]).unwrap().program();
        assert!(run(&program, CHARACTER, 6, 10, 229));
        assert!(!run(&program, BLOCK, 2, 8, 0));
    }

    #[test]
    fn the_last_match_decides_and_parts_add_up() {
        let rules = [
            rule(false, "a", -1, -1, "rwm"),
            rule(true, "b", 8, -1, "r"),
            rule(true, "b", 8, -1, "w"),
            rule(false, "b", 8, 1, "w"),
        ];
        let program = Policy::new(&rules).unwrap().program();
        assert!(run(&program, BLOCK, 6, 8, 0));
        assert!(run(&program, BLOCK, 2, 8, 1));
        assert!(!run(&program, BLOCK, 4, 8, 1));
        assert!(!run(&program, BLOCK, 6, 8, 1));
        assert!(!run(&program, CHARACTER, 2, 8, 0));
    }

    #[test]
    fn everything_is_everything() {
        let policy = Policy::new(&[rule(false, "a", -1, -1, "rwm"), rule(true, "a", -1, -1, "rwm")]).unwrap();
        assert!(run(&policy.program(), BLOCK, 7, 8, 0));
        assert_eq!(policy.program().len(), 8, "nothing follows the verdict that decides every request");
        assert_eq!(policy.rules[0].v1_line(), "a *:* rwm");
        assert!(Policy::new(&[rule(true, "x", 0, 0, "r")]).is_err());
        assert!(Policy::new(&[rule(true, "c", 0, 0, "q")]).is_err());
        assert!(Policy::new(&[rule(true, "c", i64::MAX, 0, "r")]).is_err());
    }
}
