//! `clone3` for single-threaded programs.
