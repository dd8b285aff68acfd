//! Process descriptors: exit information after the fact (`PIDFD_GET_INFO`).
