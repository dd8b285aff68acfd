//! Stop signals: the API's numbering is its own, the kernel's is the kernel's.

use ochre_cri_api::Signal;

use crate::failure::Failure;

/// glibc's and Go's first real-time signal.
const RTMIN: i32 = 34;
/// The last signal.
const RTMAX: i32 = 64;

/// The kernel's number (x86-64 and aarch64 agree) for the API's value; `None` for the runtime's default.
pub(crate) fn from_api(value: i32) -> Result<Option<i32>, Failure> {
    if Signal::try_from(value).is_err() {
        return Err(Failure::invalid("stop_signal", value, "it is not a signal of the API"));
    }
    if value == 0 {
        return Ok(None);
    }
    Ok(Some(match TABLE.iter().find(|(api, _)| *api == value) {
        Some((_, kernel)) => *kernel,
        None if value <= Signal::Sigrtminplus15 as i32 => RTMIN + (value - Signal::Sigrtmin as i32),
        None => RTMAX - (Signal::Sigrtmax as i32 - value),
    }))
}

/// The API's value for a kernel number; 0 for one that it lacks.
pub(crate) fn to_api(kernel: i32) -> i32 {
    if let Some((api, _)) = TABLE.iter().find(|(_, number)| *number == kernel) {
        return *api;
    }
    match kernel {
        RTMIN..=49 => Signal::Sigrtmin as i32 + (kernel - RTMIN),
        50..=RTMAX => Signal::Sigrtmax as i32 - (RTMAX - kernel),
        _ => 0,
    }
}

/// API value and kernel number of the classic signals; of two names for one signal the usual one comes first.
const TABLE: [(i32, i32); 34] = [
    (Signal::Sigabrt as i32, 6),
    (Signal::Sigalrm as i32, 14),
    (Signal::Sigbus as i32, 7),
    (Signal::Sigchld as i32, 17),
    (Signal::Sigcld as i32, 17),
    (Signal::Sigcont as i32, 18),
    (Signal::Sigfpe as i32, 8),
    (Signal::Sighup as i32, 1),
    (Signal::Sigill as i32, 4),
    (Signal::Sigint as i32, 2),
    (Signal::Sigio as i32, 29),
    (Signal::Sigiot as i32, 6),
    (Signal::Sigkill as i32, 9),
    (Signal::Sigpipe as i32, 13),
    (Signal::Sigpoll as i32, 29),
    (Signal::Sigprof as i32, 27),
    (Signal::Sigpwr as i32, 30),
    (Signal::Sigquit as i32, 3),
    (Signal::Sigsegv as i32, 11),
    (Signal::Sigstkflt as i32, 16),
    (Signal::Sigstop as i32, 19),
    (Signal::Sigsys as i32, 31),
    (Signal::Sigterm as i32, 15),
    (Signal::Sigtrap as i32, 5),
    (Signal::Sigtstp as i32, 20),
    (Signal::Sigttin as i32, 21),
    (Signal::Sigttou as i32, 22),
    (Signal::Sigurg as i32, 23),
    (Signal::Sigusr1 as i32, 10),
    (Signal::Sigusr2 as i32, 12),
    (Signal::Sigvtalrm as i32, 26),
    (Signal::Sigwinch as i32, 28),
    (Signal::Sigxcpu as i32, 24),
    (Signal::Sigxfsz as i32, 25),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_of_the_api_has_a_number_that_leads_back() {
        for value in 1..=65 {
            let kernel = from_api(value).unwrap().unwrap();
            assert!((1..=64).contains(&kernel), "{value}");
            let back = to_api(kernel);
            assert_eq!(from_api(back).unwrap().unwrap(), kernel, "{value}");
        }
        assert_eq!(from_api(Signal::Sigrtminplus3 as i32).unwrap(), Some(37));
        assert_eq!(from_api(Signal::Sigrtmaxminus1 as i32).unwrap(), Some(63));
        assert_eq!(from_api(0).unwrap(), None);
        assert!(from_api(66).is_err());
        assert_eq!(to_api(0), 0);
    }
}
