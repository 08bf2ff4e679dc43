//! What the tests of the rooms share.
