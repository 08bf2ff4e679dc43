//! Black-box suites against a running endpoint. They are in `suites/`, in Python: the real tools
//! (AWS CLI, boto3, the JavaScript SDK, AWS's runtime clients) are what they drive.
//!
//! Run by `cargo xtask test`; one by `cargo xtask test test_lifecycle`.
//!
//! **Invariant:** knows nothing of what is inside.
