//! Programs that make the system calls of a list and print what the kernel answered: machine code written by hand, so
//! that one program can use all three call interfaces of x86-64 and needs neither a compiler nor a C library.

/// Where the program lies: in reach of the 32-bit interface.
const BASE: u64 = 0x40_0000;
/// File header and program header.
const HEADERS: u64 = 64 + 56;

/// A call interface of x86-64 kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// `syscall` of 64-bit programs.
    Native,
    /// `syscall` of programs with 32-bit pointers: the same with another bit set.
    X32,
    /// `int 0x80` of 32-bit programs, which 64-bit programs can use as well.
    I386,
}

/// One system call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// How it is made.
    pub interface: Interface,
    /// Its number in that interface.
    pub number: u32,
    /// Its arguments; `int 0x80` takes the lower halves.
    pub arguments: [u64; 6],
}

/// A static program that makes the calls one after the other, whatever they answer, and writes the answers to its
/// standard output: four bytes each, as [`answers`] reads them.
pub fn program(calls: &[Call]) -> Vec<u8> {
    // Where the answers lie depends on the length of the code, which does not depend on where they lie.
    let length = machine_code(calls, 0).len() as u64;
    let results = (BASE + HEADERS + length).next_multiple_of(8);
    let code = machine_code(calls, results);
    let file = HEADERS + code.len() as u64;
    let memory = results - BASE + 4 * calls.len() as u64;

    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |elf: &mut Vec<u8>, value: u16| elf.extend_from_slice(&value.to_le_bytes());
    let word = |elf: &mut Vec<u8>, value: u32| elf.extend_from_slice(&value.to_le_bytes());
    let long = |elf: &mut Vec<u8>, value: u64| elf.extend_from_slice(&value.to_le_bytes());
    // An executable for x86-64, version 1.
    half(&mut elf, 2);
    half(&mut elf, 62);
    word(&mut elf, 1);
    for value in [BASE + HEADERS, 64, 0] {
        long(&mut elf, value);
    }
    word(&mut elf, 0);
    for value in [64, 56, 1, 64, 0, 0] {
        half(&mut elf, value);
    }
    // One segment to load: readable, writable, executable.
    word(&mut elf, 1);
    word(&mut elf, 7);
    for value in [0, BASE, BASE, file, memory, 0x1000] {
        long(&mut elf, value);
    }
    elf.extend(code);
    elf
}

fn machine_code(calls: &[Call], results: u64) -> Vec<u8> {
    let mut code = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let low = |value: u64| (value as u32).to_le_bytes();
        match call.interface {
            Interface::Native | Interface::X32 => {
                // rdi, rsi, rdx, r10, r8, r9
                let moves =
                    [[0x48, 0xbf], [0x48, 0xbe], [0x48, 0xba], [0x49, 0xba], [0x49, 0xb8], [0x49, 0xb9]];
                for (register, argument) in moves.iter().zip(call.arguments) {
                    code.extend_from_slice(register);
                    code.extend_from_slice(&argument.to_le_bytes());
                }
            }
            Interface::I386 => {
                // ebx, ecx, edx, esi, edi, ebp
                for (register, argument) in
                    [0xbb, 0xb9, 0xba, 0xbe, 0xbf, 0xbd].into_iter().zip(call.arguments)
                {
                    code.push(register);
                    code.extend_from_slice(&low(argument));
                }
            }
        }
        code.push(0xb8);
        code.extend_from_slice(&call.number.to_le_bytes());
        code.extend_from_slice(if call.interface == Interface::I386 { &[0xcd, 0x80] } else { &[0x0f, 0x05] });
        // mov [result], eax
        code.extend_from_slice(&[0x89, 0x04, 0x25]);
        code.extend_from_slice(&low(results + 4 * index as u64));
    }
    // write(1, results, length), exit_group(0)
    for (register, value) in [(0xb8, 1), (0xbf, 1), (0xbe, results), (0xba, 4 * calls.len() as u64)] {
        code.push(register);
        code.extend_from_slice(&(value as u32).to_le_bytes());
    }
    code.extend_from_slice(&[0x0f, 0x05, 0xb8, 231, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05]);
    code
}

/// What the program printed: a value, or a negative error number.
pub fn answers(printed: &[u8]) -> Vec<i32> {
    printed.chunks_exact(4).map(|four| i32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}
