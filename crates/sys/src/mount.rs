//! Mount system calls rustix lacks: `mount_setattr`, `open_tree_attr`.
