//! Linux capability numbers and names, and setting the five sets of the calling thread.
