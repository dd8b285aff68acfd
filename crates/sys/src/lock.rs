//! Open-file-description locks that exclude the fcntl locks of containers/storage.
