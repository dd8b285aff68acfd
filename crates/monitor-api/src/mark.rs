//! The mark by which the processes of an exec are known.
//!
//! Everything a command starts inherits its resource limits, whatever session, process group or parent it moves to. One
//! limit means nothing to the kernel since Linux 2.4.25: `RLIMIT_LOCKS`, the number of file locks (getrlimit(2)). An exec
//! gets it set to a number of its own, through `process.rlimits`, which every OCI runtime has. A process that has left
//! both the session and the tree of an exec (a daemon) is told from the container's own processes by that number alone.
//! It costs one system call per exec, and nothing where no exec has to be killed.
//!
//! A process with `CAP_SYS_RESOURCE` could take the mark off. It could also have become a child of the container's own
//! processes; the mark finds what goes astray, it is no fence.

use ochre_types::ExecId;

/// The limit's name in `process.rlimits`.
pub const LIMIT: &str = "RLIMIT_LOCKS";

/// Hexadecimal digits of the identifier that make the mark: 60 bits, so that it is never the kernel's "unlimited".
const DIGITS: usize = 15;

/// The limit, soft and hard, that marks the processes of an exec.
pub fn of(id: &ExecId) -> u64 {
    id.as_str().bytes().take(DIGITS).fold(0, |mark, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            // An identifier consists of lower-case hexadecimal digits.
            _ => digit.wrapping_sub(b'a').wrapping_add(10),
        };
        (mark << 4) | u64::from(value)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_mark_is_the_start_of_the_identifier() {
        let id = format!("{}{}", "0123456789abcde", "f".repeat(49)).parse().unwrap();
        assert_eq!(super::of(&id), 0x0012_3456_789a_bcde);
        let most = "f".repeat(64).parse().unwrap();
        assert!(super::of(&most) < u64::MAX >> 3);
    }
}
