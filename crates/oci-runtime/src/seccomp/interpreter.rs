//! A classic BPF machine as small as seccomp needs it, to run filters in tests as the kernel does.

use ochre_sys::seccomp::Instruction;

/// What a filter sees of a call (`struct seccomp_data`).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) architecture: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            _ => {
                let argument = self.arguments[((offset - 16) / 8) as usize];
                if (offset % 8 == 4) == cfg!(target_endian = "little") {
                    (argument >> 32) as u32
                } else {
                    argument as u32
                }
            }
        }
    }
}

/// Runs a filter; panics where the kernel's checker would refuse it. Returns the action and the instructions run.
pub(super) fn run(program: &[Instruction], call: &Call) -> (u32, usize) {
    let (mut at, mut a, mut steps) = (0_usize, 0_u32, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        steps += 1;
        let mut branch = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            0x20 => a = call.word(k),
            0x05 => at += k as usize,
            0x15 => branch(a == k),
            0x25 => branch(a > k),
            0x35 => branch(a >= k),
            0x54 => a &= k,
            0x06 => return (k, steps),
            other => panic!("instruction {other:#x}"),
        }
    }
}
