//! PID 1 inside an execution environment, and the protocol the host speaks with it.
//!
//! ```text
//! host --Configure--> mounts, network, users, filter          --Configured-->
//!      --Spawn------> fork, drop everything, exec             --Spawned, Exited-->
//!      --KillAll----> kill -1, reap until nobody is left      --AllGone-->
//! ```
//!
//! **Invariant:** knows nothing of Lambda, invocations or the life cycle. Until `Configure` it is
//! trusted code with the host's rights; after it, it keeps only what spawning, signalling and
//! reaping need, and everything it starts keeps nothing.

pub mod init;
pub mod netlink;
pub mod protocol;
pub mod seccomp;
pub mod sys;
pub mod transport;
