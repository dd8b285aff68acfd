//! System call filters: from the specification's `linux.seccomp` to classic BPF.
//!
//! For each architecture the rules become a partition of all call numbers into ranges with the same behaviour, which
//! the program searches by halving: a few comparisons per call instead of hundreds, and a filter that the kernel's
//! own pre-computation (Linux 5.11) walks quickly at start.
//!
//! When several rules of one call match, order in the document has no say (rules are merged from several sources,
//! and an allow rule that happened to come later has undone denials before, CVE-2026-123876):
//! 1. rules with conditions come before rules without,
//! 2. among those of a kind the stricter action wins, by the kernel's own order,
//! 3. then the default action.

use ochre_sys::seccomp::Instruction;
use ochre_types::ErrorKind;
use thiserror::Error;

use crate::spec::{Seccomp, SyscallArgument, SyscallRule};

mod program;
mod tables;

#[cfg(test)]
mod interpreter;
#[cfg(test)]
mod tests;

pub use tables::Architecture;

/// Longest program the kernel takes (`BPF_MAXINSNS`).
const MAX_PROGRAM: usize = 4096;

const FLAG_TSYNC: u32 = 1;
const FLAG_LOG: u32 = 2;
const FLAG_SPEC_ALLOW: u32 = 4;

/// Why a filter cannot be made.
#[derive(Debug, Error)]
pub enum SeccompError {
    /// An action that the specification does not know.
    #[error("unknown seccomp action {action:?}")]
    UnknownAction {
        /// The word.
        action: String,
    },
    /// `SCMP_ACT_NOTIFY` needs an agent protocol that this runtime does not have.
    #[error("seccomp action SCMP_ACT_NOTIFY is not supported")]
    Notify,
    /// An unknown comparison.
    #[error("unknown seccomp comparison {op:?}")]
    UnknownComparison {
        /// The word.
        op: String,
    },
    /// A filter flag that cannot be honoured.
    #[error("seccomp flag {flag:?} is not supported")]
    UnsupportedFlag {
        /// The word.
        flag: String,
    },
    /// System calls have six arguments.
    #[error("seccomp rule compares argument {index}, system calls have arguments 0 to 5")]
    ArgumentIndex {
        /// The number.
        index: u32,
    },
    /// An error number that the kernel cannot return.
    #[error("seccomp error number {errno} is over 4095")]
    ErrorNumber {
        /// The number.
        errno: u32,
    },
    /// More rules than a filter can hold.
    #[error("the seccomp filter has {length} instructions, the kernel takes {MAX_PROGRAM}")]
    TooLong {
        /// Length of the program.
        length: usize,
    },
    /// This runtime knows no system calls of the machine.
    #[error("seccomp is not supported on this processor architecture")]
    Machine,
}

impl SeccompError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownAction { .. }
            | Self::Notify
            | Self::UnknownComparison { .. }
            | Self::UnsupportedFlag { .. }
            | Self::ArgumentIndex { .. }
            | Self::ErrorNumber { .. } => ErrorKind::InvalidArgument,
            Self::TooLong { .. } => ErrorKind::Exhausted,
            Self::Machine => ErrorKind::FailedPrecondition,
        }
    }
}

/// A filter ready for the kernel.
#[derive(Debug)]
pub struct Filter {
    /// Instructions.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// What happens to a call, as the kernel's return value; stricter actions compare as greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Action(u32);

impl Action {
    pub(crate) const KILL_PROCESS: Self = Self(0x8000_0000);

    pub(crate) fn value(self) -> u32 {
        self.0
    }

    /// The kernel's order of precedence: the action half as a signed number, smallest first.
    fn strictness(self) -> i64 {
        -i64::from((self.0 & 0xffff_0000).cast_signed())
    }
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) index: u32,
    pub(crate) test: Test,
}

/// The comparisons; "less" ones are the negation of "greater" ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Equal(u64),
    NotEqual(u64),
    Greater(u64),
    GreaterEqual(u64),
    Less(u64),
    LessEqual(u64),
    MaskedEqual { mask: u64, value: u64 },
}

/// What is known about one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// Alternatives, the first whose conditions all hold decides.
    pub(crate) conditional: Vec<(Vec<Condition>, Action)>,
    /// What happens otherwise.
    pub(crate) otherwise: Action,
}

/// A rule after its words are understood.
struct ParsedRule<'a> {
    names: &'a [String],
    action: Action,
    /// One set of conditions per alternative; a single empty set for a rule without conditions.
    alternatives: Vec<Vec<Condition>>,
}

/// Makes the filter for the machine this program runs on.
///
/// # Errors
/// A word that is not understood, something unsupported, or a filter over the kernel's limit. Unknown names of
/// system calls and architectures of other machines are no errors: profiles list those of all kernels.
pub fn compile(seccomp: &Seccomp) -> Result<Filter, SeccompError> {
    let default = action(&seccomp.default_action, seccomp.default_errno_ret)?;
    let rules = seccomp.syscalls.iter().map(parse_rule).collect::<Result<Vec<_>, _>>()?;
    let mut architectures = vec![Architecture::native().ok_or(SeccompError::Machine)?];
    for name in &seccomp.architectures {
        if let Some(architecture) = Architecture::parse(name)
            && !architectures.contains(&architecture)
        {
            architectures.push(architecture);
        }
    }
    let tables =
        architectures.into_iter().map(|arch| (arch, behaviours(arch, &rules, default))).collect::<Vec<_>>();
    let program = program::assemble(&tables, default);
    if program.len() > MAX_PROGRAM {
        return Err(SeccompError::TooLong { length: program.len() });
    }
    Ok(Filter { program, flags: flags(&seccomp.flags)? })
}

fn flags(names: &[String]) -> Result<u32, SeccompError> {
    names.iter().try_fold(0, |flags, name| {
        Ok(flags
            | match name.as_str() {
                "SECCOMP_FILTER_FLAG_TSYNC" => FLAG_TSYNC,
                "SECCOMP_FILTER_FLAG_LOG" => FLAG_LOG,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => FLAG_SPEC_ALLOW,
                _ => return Err(SeccompError::UnsupportedFlag { flag: name.clone() }),
            })
    })
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, SeccompError> {
    // EPERM, the specification's default for both.
    let data = errno.unwrap_or(1);
    let with_data = |action: u32, limit: u32| {
        if data > limit { Err(SeccompError::ErrorNumber { errno: data }) } else { Ok(Action(action | data)) }
    };
    match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(Action(0)),
        "SCMP_ACT_KILL_PROCESS" => Ok(Action::KILL_PROCESS),
        "SCMP_ACT_TRAP" => Ok(Action(0x0003_0000)),
        "SCMP_ACT_ERRNO" => with_data(0x0005_0000, 4095),
        "SCMP_ACT_TRACE" => with_data(0x7ff0_0000, 0xffff),
        "SCMP_ACT_LOG" => Ok(Action(0x7ffc_0000)),
        "SCMP_ACT_ALLOW" => Ok(Action(0x7fff_0000)),
        "SCMP_ACT_NOTIFY" => Err(SeccompError::Notify),
        _ => Err(SeccompError::UnknownAction { action: name.to_owned() }),
    }
}

fn parse_rule(rule: &SyscallRule) -> Result<ParsedRule<'_>, SeccompError> {
    let conditions = rule.args.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
    let repeats =
        conditions.iter().enumerate().any(|(at, c)| conditions[..at].iter().any(|d| d.index == c.index));
    // An argument named twice means "one of these values", as it does in runc.
    let alternatives =
        if repeats { conditions.into_iter().map(|c| vec![c]).collect() } else { vec![conditions] };
    Ok(ParsedRule { names: &rule.names, action: action(&rule.action, rule.errno_ret)?, alternatives })
}

fn condition(argument: &SyscallArgument) -> Result<Condition, SeccompError> {
    if argument.index > 5 {
        return Err(SeccompError::ArgumentIndex { index: argument.index });
    }
    let value = argument.value;
    let test = match argument.op.as_str() {
        "SCMP_CMP_EQ" => Test::Equal(value),
        "SCMP_CMP_NE" => Test::NotEqual(value),
        "SCMP_CMP_GT" => Test::Greater(value),
        "SCMP_CMP_GE" => Test::GreaterEqual(value),
        "SCMP_CMP_LT" => Test::Less(value),
        "SCMP_CMP_LE" => Test::LessEqual(value),
        "SCMP_CMP_MASKED_EQ" => Test::MaskedEqual { mask: value, value: argument.value_two },
        _ => return Err(SeccompError::UnknownComparison { op: argument.op.clone() }),
    };
    Ok(Condition { index: argument.index, test })
}

/// Behaviour by call number, ascending; numbers without an entry get the default action.
fn behaviours(arch: Architecture, rules: &[ParsedRule<'_>], default: Action) -> Vec<(u32, Behaviour)> {
    let mut by_number: Vec<(u32, &ParsedRule<'_>)> = Vec::with_capacity(512);
    for rule in rules {
        by_number.extend(rule.names.iter().filter_map(|name| arch.number(name)).map(|number| (number, rule)));
    }
    by_number.sort_by_key(|(number, _)| *number);
    by_number.chunk_by(|a, b| a.0 == b.0).map(|same| (same[0].0, merge(same, default))).collect()
}

fn merge(rules: &[(u32, &ParsedRule<'_>)], default: Action) -> Behaviour {
    let mut conditional = Vec::new();
    let mut unconditional: Option<Action> = None;
    for (_, rule) in rules {
        for conditions in &rule.alternatives {
            if conditions.is_empty() {
                let stricter =
                    unconditional.is_none_or(|known| rule.action.strictness() > known.strictness());
                unconditional = if stricter { Some(rule.action) } else { unconditional };
            } else {
                conditional.push((conditions.clone(), rule.action));
            }
        }
    }
    conditional.sort_by_key(|(_, action)| std::cmp::Reverse(action.strictness()));
    Behaviour { conditional, otherwise: unconditional.unwrap_or(default) }
}
