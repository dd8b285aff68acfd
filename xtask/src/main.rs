//! Build, generate, test, measure.
fn main() {}
