//! Fakes at process boundaries and scratch environments for tests
