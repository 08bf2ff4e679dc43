//! Messages between the host and PID 1. One message a packet; integers little-endian; a string or
//! list is its length as `u32` and then its bytes or items. Descriptors travel beside the packet.

use std::collections::VecDeque;

/// What the host asks of PID 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Become the environment. Descriptors: one detached mount for each of `mounts`, then the user
    /// namespace if `enter_user_namespace`, then the cgroup of everything spawned if `cgroup`.
    Configure(Configure),
    /// Start a process. Descriptors: where stdout and stderr go, then its log pipe if it has one.
    Spawn(Spawn),
    /// Signal the process group of a spawned process.
    Signal { process: u32, signal: i32 },
    /// Kill every process but PID 1; `AllGone` follows.
    KillAll,
    /// Stop (`SIGSTOP`) every process but PID 1: the freeze of hosts without a cgroup of their own.
    Suspend,
    /// The opposite of `Suspend`.
    Resume,
    /// Make a TCP socket of the environment's network; `Socket` answers.
    Socket,
}

/// Where things go and who the functions are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configure {
    pub hostname: String,
    /// Absolute targets of the mounts, in the order of their descriptors.
    pub mounts: Vec<String>,
    pub enter_user_namespace: bool,
    pub cgroup: bool,
    /// Mount a tmpfs of this size, MB, at `/tmp`: only where the host could not hand one in.
    pub scratch_mb: Option<u32>,
    /// User and group of everything spawned, as seen inside.
    pub uid: u32,
    pub gid: u32,
    pub open_files_max: u64,
    /// Writable private memory of each process, bytes: only where no cgroup limits memory.
    pub data_bytes_max: Option<u64>,
    /// Processes of this user: only where no cgroup limits them.
    pub processes_max: Option<u64>,
    /// Address of `eth0` and its gateway, and the prefix length; absent without egress.
    pub network: Option<Network>,
}

/// One end of a point-to-point link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    pub address: [u8; 4],
    pub gateway: [u8; 4],
    pub prefix_length: u8,
}

/// A process to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spawn {
    /// The host's number for it, used in every later message.
    pub process: u32,
    /// The first is the file to execute, absolute.
    pub argv: Vec<String>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    pub cwd: String,
    /// The number its second descriptor gets; absent without one.
    pub log: Option<u32>,
}

/// What PID 1 tells the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The namespaces are made. Descriptors: the listening sockets, in the order asked for.
    Ready,
    Configured,
    /// A step of making or configuring the environment failed.
    Failed {
        step: String,
        errno: i32,
    },
    Spawned {
        process: u32,
        pid: u32,
    },
    SpawnFailed {
        process: u32,
        errno: i32,
        step: SpawnStep,
    },
    /// `code` is the exit status, or the signal if `signalled`.
    Exited {
        process: u32,
        code: i32,
        signalled: bool,
        core_dumped: bool,
    },
    /// Nothing but PID 1 is left.
    AllGone,
    Suspended,
    Resumed,
    /// Descriptor: the socket. None if it could not be made.
    Socket,
}

/// Which step of a spawn failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnStep {
    Fork,
    WorkingDirectory,
    Prepare,
    Exec,
}

/// The bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message")]
pub struct Malformed;

/// Largest packet either side sends or takes, bytes.
pub const PACKET_BYTES_MAX: usize = 192 * 1024;

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }
    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn i32(&mut self, value: i32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn text(&mut self, text: &str) -> &mut Self {
        self.u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(text.as_bytes());
        self
    }
    fn texts(&mut self, texts: &[String]) -> &mut Self {
        self.u32(u32::try_from(texts.len()).unwrap_or(u32::MAX));
        for text in texts {
            self.text(text);
        }
        self
    }
    fn option(&mut self, value: Option<u64>) -> &mut Self {
        self.u8(value.is_some().into()).u64(value.unwrap_or_default())
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }
    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.take()?))
    }
    fn bool(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }
    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.take()?))
    }
    fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_le_bytes(self.take()?))
    }
    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.take()?))
    }
    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.u32()? as usize;
        let (head, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        String::from_utf8(head.to_vec()).map_err(|_| Malformed)
    }
    fn texts(&mut self) -> Result<Vec<String>, Malformed> {
        let count = self.u32()?;
        // Every text takes four bytes at least: a huge count fails before it allocates.
        if count as usize > self.0.len() / 4 {
            return Err(Malformed);
        }
        (0..count).map(|_| self.text()).collect()
    }
    fn option(&mut self) -> Result<Option<u64>, Malformed> {
        match (self.bool()?, self.u64()?) {
            (true, value) => Ok(Some(value)),
            (false, 0) => Ok(None),
            // One message has one encoding.
            (false, _) => Err(Malformed),
        }
    }
    fn small_option(&mut self) -> Result<Option<u32>, Malformed> {
        self.option()?.map(u32::try_from).transpose().map_err(|_| Malformed)
    }
    fn end<T>(self, value: T) -> Result<T, Malformed> {
        if self.0.is_empty() { Ok(value) } else { Err(Malformed) }
    }
}

impl Request {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Configure(configure) => {
                out.u8(0)
                    .text(&configure.hostname)
                    .texts(&configure.mounts)
                    .u8(configure.enter_user_namespace.into())
                    .u8(configure.cgroup.into())
                    .option(configure.scratch_mb.map(u64::from))
                    .u32(configure.uid)
                    .u32(configure.gid)
                    .u64(configure.open_files_max)
                    .option(configure.data_bytes_max)
                    .option(configure.processes_max)
                    .u8(configure.network.is_some().into());
                if let Some(network) = configure.network {
                    out.u32(u32::from_be_bytes(network.address))
                        .u32(u32::from_be_bytes(network.gateway))
                        .u8(network.prefix_length);
                }
            }
            Self::Spawn(spawn) => {
                out.u8(1)
                    .u32(spawn.process)
                    .texts(&spawn.argv)
                    .texts(&spawn.env)
                    .text(&spawn.cwd)
                    .option(spawn.log.map(u64::from));
            }
            Self::Signal { process, signal } => {
                out.u8(2).u32(*process).i32(*signal);
            }
            Self::KillAll => {
                out.u8(3);
            }
            Self::Suspend => {
                out.u8(4);
            }
            Self::Resume => {
                out.u8(5);
            }
            Self::Socket => {
                out.u8(6);
            }
        }
        out.0
    }

    /// # Errors
    /// [`Malformed`] unless `packet` is exactly one message.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader(packet);
        let request = match input.u8()? {
            0 => Self::Configure(Configure {
                hostname: input.text()?,
                mounts: input.texts()?,
                enter_user_namespace: input.bool()?,
                cgroup: input.bool()?,
                scratch_mb: input.small_option()?,
                uid: input.u32()?,
                gid: input.u32()?,
                open_files_max: input.u64()?,
                data_bytes_max: input.option()?,
                processes_max: input.option()?,
                network: if input.bool()? {
                    Some(Network {
                        address: input.u32()?.to_be_bytes(),
                        gateway: input.u32()?.to_be_bytes(),
                        prefix_length: input.u8()?,
                    })
                } else {
                    None
                },
            }),
            1 => Self::Spawn(Spawn {
                process: input.u32()?,
                argv: input.texts()?,
                env: input.texts()?,
                cwd: input.text()?,
                log: input.small_option()?,
            }),
            2 => Self::Signal { process: input.u32()?, signal: input.i32()? },
            3 => Self::KillAll,
            4 => Self::Suspend,
            5 => Self::Resume,
            6 => Self::Socket,
            _ => return Err(Malformed),
        };
        input.end(request)
    }
}

impl Event {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Ready => {
                out.u8(0);
            }
            Self::Configured => {
                out.u8(1);
            }
            Self::Failed { step, errno } => {
                out.u8(2).text(step).i32(*errno);
            }
            Self::Spawned { process, pid } => {
                out.u8(3).u32(*process).u32(*pid);
            }
            Self::SpawnFailed { process, errno, step } => {
                out.u8(4).u32(*process).i32(*errno).u8(match step {
                    SpawnStep::Fork => 0,
                    SpawnStep::WorkingDirectory => 1,
                    SpawnStep::Prepare => 2,
                    SpawnStep::Exec => 3,
                });
            }
            Self::Exited { process, code, signalled, core_dumped } => {
                out.u8(5)
                    .u32(*process)
                    .i32(*code)
                    .u8((*signalled).into())
                    .u8((*core_dumped).into());
            }
            Self::AllGone => {
                out.u8(6);
            }
            Self::Suspended => {
                out.u8(7);
            }
            Self::Resumed => {
                out.u8(8);
            }
            Self::Socket => {
                out.u8(9);
            }
        }
        out.0
    }

    /// # Errors
    /// [`Malformed`] unless `packet` is exactly one message.
    pub fn decode(packet: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader(packet);
        let event = match input.u8()? {
            0 => Self::Ready,
            1 => Self::Configured,
            2 => Self::Failed { step: input.text()?, errno: input.i32()? },
            3 => Self::Spawned { process: input.u32()?, pid: input.u32()? },
            4 => Self::SpawnFailed {
                process: input.u32()?,
                errno: input.i32()?,
                step: match input.u8()? {
                    0 => SpawnStep::Fork,
                    1 => SpawnStep::WorkingDirectory,
                    2 => SpawnStep::Prepare,
                    3 => SpawnStep::Exec,
                    _ => return Err(Malformed),
                },
            },
            5 => Self::Exited {
                process: input.u32()?,
                code: input.i32()?,
                signalled: input.bool()?,
                core_dumped: input.bool()?,
            },
            6 => Self::AllGone,
            7 => Self::Suspended,
            8 => Self::Resumed,
            9 => Self::Socket,
            _ => return Err(Malformed),
        };
        input.end(event)
    }
}

/// Texts that a packet cannot hold are refused before anything is sent.
pub fn fits(packet: &[u8]) -> bool {
    packet.len() <= PACKET_BYTES_MAX
}

/// Descriptors received beside a packet, handed out in order.
pub type Descriptors = VecDeque<std::os::fd::OwnedFd>;

#[cfg(test)]
mod tests;
