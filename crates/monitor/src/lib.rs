//! The pod monitor: stdio, logs, terminals, exec, exit codes, OOM
