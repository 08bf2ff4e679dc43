//! The few route-netlink requests that the network of an environment needs.
//!
//! By hand, because the crates that know the whole protocol cost more to build than all of this
//! room. Field order and numbers: `linux/rtnetlink.h`, `linux/if_link.h`, `linux/if_addr.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE_EXCL: u16 = 0x400 | 0x200;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_GATEWAY: u16 = 5;
const AF_INET: u8 = 2;
const NESTED: u16 = 0x8000;

/// Attributes of a netlink message, built inside out.
#[derive(Clone, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// Adds one attribute, padded to four bytes.
    #[must_use]
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute that holds others.
    #[must_use]
    pub fn nest(self, kind: u16, inner: Self) -> Self {
        self.with(kind | NESTED, &inner.0)
    }

    /// The same without the flag that newer families want.
    #[must_use]
    fn hold(self, kind: u16, inner: &[u8]) -> Self {
        self.with(kind, inner)
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One netlink message with its header.
pub fn message(
    kind: u16,
    flags: u16,
    sequence: u32,
    head: &[u8],
    attributes: &Attributes,
) -> Vec<u8> {
    let length = 16 + head.len() + attributes.0.len();
    let mut packet = Vec::with_capacity(length);
    packet.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    packet.extend_from_slice(&kind.to_ne_bytes());
    packet.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
    packet.extend_from_slice(&sequence.to_ne_bytes());
    packet.extend_from_slice(&0u32.to_ne_bytes());
    packet.extend_from_slice(head);
    packet.extend_from_slice(&attributes.0);
    packet
}

/// A netlink socket in the network namespace of the thread that opened it.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Route netlink.
    pub fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// Netlink of another protocol, e.g. netfilter.
    pub fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            protocol,
        )?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The socket, for as long as something depends on its being open.
    pub fn into_file(self) -> std::fs::File {
        self.socket.into()
    }

    fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        head: &[u8],
        attributes: &Attributes,
    ) -> io::Result<()> {
        self.sequence += 1;
        let packet = message(kind, flags | NLM_F_ACK, self.sequence, head, attributes);
        self.send(&packet)?;
        self.acknowledged(1)
    }

    /// Sends bytes that hold whole messages.
    pub fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.socket, packet, SendFlags::empty())?;
        Ok(())
    }

    /// Reads until `count` acknowledgements came.
    ///
    /// # Errors
    /// The first error among them.
    pub fn acknowledged(&mut self, count: usize) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = count;
        while left > 0 {
            let (received, _) =
                rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            let mut packet = &buffer[..received];
            while let Some(header) = packet.first_chunk::<16>() {
                let length =
                    u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
                let kind = u16::from_ne_bytes([header[4], header[5]]);
                if kind == NLMSG_ERROR {
                    let code = packet.get(16..20).ok_or(io::ErrorKind::InvalidData)?;
                    let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
                    if code != 0 {
                        return Err(io::Error::from_raw_os_error(-code));
                    }
                    left -= 1;
                }
                if length < 16 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Brings an interface up. Index 1 is `lo` in every namespace.
    pub fn up(&mut self, index: u32) -> io::Result<()> {
        self.ask(RTM_NEWLINK, 0, &link_head(index, IFF_UP), &Attributes::default())
    }

    /// Makes a veth pair: `name` here, `peer` in the namespace of `peer_namespace`.
    pub fn make_veth(
        &mut self,
        name: &str,
        peer: &str,
        peer_namespace: BorrowedFd<'_>,
    ) -> io::Result<()> {
        let namespace = peer_namespace.as_raw_fd().to_ne_bytes();
        let mut peer_link = link_head(0, 0).to_vec();
        let named = Attributes::default()
            .with(IFLA_IFNAME, &nul_terminated(peer))
            .with(IFLA_NET_NS_FD, &namespace);
        peer_link.extend_from_slice(&named.0);
        let info = Attributes::default()
            .with(IFLA_INFO_KIND, b"veth\0")
            .nest(IFLA_INFO_DATA, Attributes::default().hold(VETH_INFO_PEER, &peer_link));
        let attributes = Attributes::default()
            .with(IFLA_IFNAME, &nul_terminated(name))
            .nest(IFLA_LINKINFO, info);
        self.ask(RTM_NEWLINK, NLM_F_CREATE_EXCL, &link_head(0, 0), &attributes)
    }

    /// Removes an interface, and with it the other end of its pair. Done when this returns.
    ///
    /// # Errors
    /// `ENODEV` if it is gone already.
    pub fn remove_link(&mut self, name: &str) -> io::Result<()> {
        let attributes = Attributes::default().with(IFLA_IFNAME, &nul_terminated(name));
        self.ask(RTM_DELLINK, 0, &link_head(0, 0), &attributes)
    }

    /// Gives an interface an IPv4 address.
    pub fn add_address(&mut self, index: u32, address: [u8; 4], prefix: u8) -> io::Result<()> {
        let index = index.to_ne_bytes();
        let head = [AF_INET, prefix, 0, 0, index[0], index[1], index[2], index[3]];
        let attributes =
            Attributes::default().with(IFA_LOCAL, &address).with(IFA_ADDRESS, &address);
        self.ask(RTM_NEWADDR, NLM_F_CREATE_EXCL, &head, &attributes)
    }

    /// Adds the default route.
    pub fn add_default_route(&mut self, gateway: [u8; 4]) -> io::Result<()> {
        // Family, lengths, tos; table main, protocol boot, scope universe, type unicast; flags.
        let head = [AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        let attributes = Attributes::default().with(RTA_GATEWAY, &gateway);
        self.ask(RTM_NEWROUTE, NLM_F_CREATE_EXCL, &head, &attributes)
    }
}

fn nul_terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn link_head(index: u32, flags: u32) -> [u8; 16] {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..16].copy_from_slice(&flags.to_ne_bytes());
    head
}
