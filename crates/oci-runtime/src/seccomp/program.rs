//! Putting the instructions together.
//!
//! ```text
//! load architecture
//! for each architecture:  equal? ── no ──► next architecture
//!                           │ yes
//!                         load call number, halve the ranges ──► conditions ──► return
//! return KILL_PROCESS
//! ```
//!
//! Conditional jumps reach 255 instructions; longer ones go through an unconditional jump, which reaches all.

use ochre_sys::seccomp::Instruction;

use super::tables::X32_BIT;
use super::{Action, Architecture, Behaviour, Condition, Test};

const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// A jump over `distance` instructions when the comparison fails, straight on when it holds.
fn unless(code: u16, k: u32, distance: usize) -> Vec<Instruction> {
    match u8::try_from(distance) {
        Ok(jf) => vec![Instruction { code, jt: 0, jf, k }],
        Err(_) => vec![Instruction { code, jt: 1, jf: 0, k }, far(distance)],
    }
}

/// A jump over `distance` instructions when the comparison holds, straight on when it fails.
fn when(code: u16, k: u32, distance: usize) -> Vec<Instruction> {
    match u8::try_from(distance) {
        Ok(jt) => vec![Instruction { code, jt, jf: 0, k }],
        Err(_) => vec![Instruction { code, jt: 0, jf: 1, k }, far(distance)],
    }
}

/// Programs over the kernel's limit are refused as a whole, so a distance that does not fit is never used.
fn far(distance: usize) -> Instruction {
    plain(JUMP, u32::try_from(distance).unwrap_or(u32::MAX))
}

pub(super) fn assemble(
    tables: &[(Architecture, Vec<(u32, Behaviour)>)],
    default: Action,
) -> Vec<Instruction> {
    let mut program = vec![plain(LOAD_WORD, ARCHITECTURE_OFFSET)];
    let table =
        |wanted: Architecture| tables.iter().find(|(arch, _)| *arch == wanted).map(|(_, table)| table);
    for (arch, behaviours) in tables {
        // x32 shares its audit number with x86-64 and is told apart by the call number, below.
        if *arch == Architecture::X32 {
            continue;
        }
        let mut section = vec![plain(LOAD_WORD, NUMBER_OFFSET)];
        let native = search(&ranges(behaviours, default));
        if *arch == Architecture::X86_64 {
            let x32 = table(Architecture::X32);
            let other = x32
                .map_or(vec![plain(RETURN, Action::KILL_PROCESS.value())], |x| search(&ranges(x, default)));
            section.extend(when(JUMP_GREATER_EQUAL, X32_BIT, native.len()));
            section.extend(native);
            section.extend(other);
        } else {
            section.extend(native);
        }
        program.extend(unless(JUMP_EQUAL, arch.audit_number(), section.len()));
        program.extend(section);
    }
    program.push(plain(RETURN, Action::KILL_PROCESS.value()));
    program
}

/// All call numbers as ranges, each from its first number to the next range; neighbours that behave alike are one.
fn ranges(behaviours: &[(u32, Behaviour)], default: Action) -> Vec<(u32, Behaviour)> {
    let fallback = Behaviour { conditional: Vec::new(), otherwise: default };
    let mut ranges = vec![(0, fallback.clone())];
    let mut add = |start: u32, behaviour: &Behaviour| match ranges.last_mut() {
        Some((_, last)) if last == behaviour => {}
        Some((at, last)) if *at == start => *last = behaviour.clone(),
        _ => ranges.push((start, behaviour.clone())),
    };
    for (index, (number, behaviour)) in behaviours.iter().enumerate() {
        add(*number, behaviour);
        let follows = behaviours.get(index + 1).is_some_and(|(next, _)| *next == number.saturating_add(1));
        if !follows {
            add(number.saturating_add(1), &fallback);
        }
    }
    ranges
}

fn search(ranges: &[(u32, Behaviour)]) -> Vec<Instruction> {
    match ranges {
        [] => Vec::new(),
        [(_, behaviour)] => decide(behaviour),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (below, above) = (search(low), search(high));
            let mut code = when(JUMP_GREATER_EQUAL, high[0].0, below.len());
            code.extend(below);
            code.extend(above);
            code
        }
    }
}

fn decide(behaviour: &Behaviour) -> Vec<Instruction> {
    let mut code = Vec::new();
    for (conditions, action) in &behaviour.conditional {
        // Built from the end, so that each condition knows how far the next alternative is.
        let mut alternative = vec![plain(RETURN, action.value())];
        for condition in conditions.iter().rev() {
            let mut tested = test(*condition, alternative.len());
            tested.extend(alternative);
            alternative = tested;
        }
        code.extend(alternative);
    }
    code.push(plain(RETURN, behaviour.otherwise.value()));
    code
}

/// Goes straight on when the condition holds, else over the `rest` instructions that follow it.
///
/// At most six conditions of at most eight instructions follow, so all distances fit a conditional jump.
fn test(condition: Condition, rest: usize) -> Vec<Instruction> {
    let low = ARGUMENTS_OFFSET + 8 * condition.index + if cfg!(target_endian = "big") { 4 } else { 0 };
    let high = ARGUMENTS_OFFSET + 8 * condition.index + if cfg!(target_endian = "big") { 0 } else { 4 };
    let halves = |value: u64| ((value >> 32) as u32, (value & 0xffff_ffff) as u32);
    let fail = u8::try_from(rest).unwrap_or(u8::MAX);
    let jump = |code, k, jt, jf| Instruction { code, jt, jf, k };
    let (load_high, load_low) = (plain(LOAD_WORD, high), plain(LOAD_WORD, low));
    match condition.test {
        Test::Equal(value) => {
            let (h, l) = halves(value);
            vec![load_high, jump(JUMP_EQUAL, h, 0, fail + 2), load_low, jump(JUMP_EQUAL, l, 0, fail)]
        }
        Test::NotEqual(value) => {
            let (h, l) = halves(value);
            vec![load_high, jump(JUMP_EQUAL, h, 0, 2), load_low, jump(JUMP_EQUAL, l, fail, 0)]
        }
        // Decided by the high halves unless they are equal.
        Test::Greater(value) | Test::GreaterEqual(value) => {
            let (h, l) = halves(value);
            let last =
                if matches!(condition.test, Test::Greater(_)) { JUMP_GREATER } else { JUMP_GREATER_EQUAL };
            vec![
                load_high,
                jump(JUMP_GREATER, h, 3, 0),
                jump(JUMP_EQUAL, h, 0, fail + 2),
                load_low,
                jump(last, l, 0, fail),
            ]
        }
        Test::Less(value) | Test::LessEqual(value) => {
            let (h, l) = halves(value);
            let last =
                if matches!(condition.test, Test::Less(_)) { JUMP_GREATER_EQUAL } else { JUMP_GREATER };
            vec![
                load_high,
                jump(JUMP_GREATER, h, fail + 3, 0),
                jump(JUMP_EQUAL, h, 0, 2),
                load_low,
                jump(last, l, fail, 0),
            ]
        }
        Test::MaskedEqual { mask, value } => {
            let ((mask_high, mask_low), (h, l)) = (halves(mask), halves(value));
            vec![
                load_high,
                plain(AND, mask_high),
                jump(JUMP_EQUAL, h, 0, fail + 3),
                load_low,
                plain(AND, mask_low),
                jump(JUMP_EQUAL, l, 0, fail),
            ]
        }
    }
}
