//! `ochre-runtime`: the OCI runtime program.

fn main() -> std::process::ExitCode {
    ochre_oci_runtime::main()
}
