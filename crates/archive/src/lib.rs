//! Layer archives: strict tar reader, decompression, application to a rooted directory, tar-split
