//! crio.conf: options, drop-ins, checks
