//! The way out: a veth pair for each sandbox, and one table of rules for all.
//!
//! ```text
//! eth0 in the sandbox ── cf…-N on the host ─► forwarded, masqueraded ─► anywhere else
//!                                         ╳  the host's own services, other sandboxes
//! ```
//! The table is owned by this process's netlink socket: the kernel removes it when the process
//! ends, however it ends. The pairs go with the sandboxes' namespaces.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use coldframe_guest::netlink::{Attributes, Netlink, message};
use coldframe_guest::protocol::Network;
use rustix::net::{AddressFamily, SocketType, netdevice};

/// Addresses for sandboxes: shared address space (RFC 6598), which no host should have of its own.
const FIRST: u32 = u32::from_be_bytes([100, 64, 0, 0]);

/// Each service has a /20 of it, four addresses for each sandbox.
const SERVICES: u32 = 1024;
const SANDBOXES: u32 = 1024;

const NFNETLINK: u32 = 12;
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const INET: u8 = 1;
const TABLE_OWNED: u32 = 2;

/// Netfilter's hooks.
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const POSTROUTING: u32 = 4;

/// The rules, and the numbers in use.
#[derive(Debug)]
pub(super) struct Egress {
    /// Keeps the table.
    _rules: File,
    /// Begins the names of the host's ends.
    prefix: String,
    subnet: u32,
    /// One bit a sandbox.
    used: Mutex<Vec<bool>>,
}

/// One sandbox's way out; given back with [`Egress::release`].
#[derive(Debug)]
pub(super) struct Link {
    number: u32,
    pub(super) network: Network,
}

impl Egress {
    /// Lays the rules and lets the host forward.
    pub(super) fn open() -> io::Result<Self> {
        let pid = std::process::id();
        let prefix = format!("cf{pid:x}-");
        let subnet = FIRST + (pid % SERVICES) * SANDBOXES * 4;
        let rules = lay_rules(&format!("coldframe_{pid}"), &prefix, subnet)?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        let used = Mutex::new(vec![false; SANDBOXES as usize]);
        Ok(Self { _rules: rules, prefix, subnet, used })
    }

    /// Connects the network namespace of a process. Takes some milliseconds.
    pub(super) fn connect(&self, pid: u32) -> io::Result<Link> {
        let number = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            let free = used.iter().position(|used| !used);
            let free = free.ok_or_else(|| io::Error::other("no address is free"))?;
            used[free] = true;
            free as u32
        };
        let first = self.subnet + number * 4;
        let network = Network {
            gateway: (first + 1).to_be_bytes(),
            address: (first + 2).to_be_bytes(),
            prefix_length: 30,
        };
        let link = Link { number, network };
        let make = || -> io::Result<()> {
            let name = self.name(number);
            let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
            let mut route = Netlink::route()?;
            route.make_veth(&name, "eth0", namespace.as_fd())?;
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            let index = netdevice::name_to_index(&socket, &name)?;
            route.add_address(index, network.gateway, network.prefix_length)?;
            route.up(index)
        };
        match make() {
            Ok(()) => Ok(link),
            Err(error) => {
                self.release(&link);
                Err(error)
            }
        }
    }

    fn name(&self, number: u32) -> String {
        format!("{}{number}", self.prefix)
    }

    /// The sandbox is gone; its number may be used again.
    pub(super) fn release(&self, link: &Link) {
        // The kernel takes a dead namespace's interfaces away in its own time: not before that could
        // the name be used again.
        let removed =
            Netlink::route().and_then(|mut route| route.remove_link(&self.name(link.number)));
        match removed {
            Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
                tracing::warn!(%error, "a network link stays");
                return;
            }
            _ => {}
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = used.get_mut(link.number as usize) {
            *used = false;
        }
    }

    /// The sandboxes' addresses, for people.
    pub(super) fn subnet(&self) -> String {
        format!("{}/20", Ipv4Addr::from(self.subnet))
    }
}

/// Numbers of the interface to nf_tables: `linux/netfilter/nf_tables.h`.
fn lay_rules(table: &str, prefix: &str, subnet: u32) -> io::Result<File> {
    let protocol = rustix::net::Protocol::from_raw(
        std::num::NonZeroU32::new(NFNETLINK).expect("twelve is not zero"),
    );
    let mut netlink = Netlink::open(Some(protocol))?;
    let from_sandbox = || meta_name(IIFNAME, prefix);
    let to_sandbox = || meta_name(OIFNAME, prefix);
    let mut batch = Batch { table: table.to_owned(), packet: Vec::new(), messages: 0 };
    batch.begin();
    batch.table();
    batch.chain("input", "filter", INPUT, -10);
    batch.chain("forward", "filter", FORWARD, -10);
    batch.chain("postrouting", "nat", POSTROUTING, 100);
    // The host's own services, by whatever address.
    batch.rule("input", vec![from_sandbox(), drop()]);
    // Each other.
    batch.rule("forward", vec![[from_sandbox(), to_sandbox()].concat(), drop()]);
    // Link-local addresses: a cloud gives its host's credentials there.
    let link_local = has_address(DESTINATION, [169, 254, 0, 0], [255, 255, 0, 0]);
    batch.rule("forward", vec![from_sandbox(), link_local, drop()]);
    // Nobody reaches in who wasn't asked.
    batch.rule("forward", vec![to_sandbox(), not_established(), drop()]);
    batch
        .rule("postrouting", vec![from_subnet(subnet), expression("masq", &Attributes::default())]);
    batch.end();
    netlink.send(&batch.packet)?;
    netlink.acknowledged(batch.messages)?;
    Ok(netlink.into_file())
}

struct Batch {
    table: String,
    packet: Vec<u8>,
    messages: usize,
}

impl Batch {
    fn begin(&mut self) {
        self.mark(BATCH_BEGIN);
    }

    fn end(&mut self) {
        self.mark(BATCH_END);
    }

    /// Begin and end carry the subsystem's number where others carry nothing.
    fn mark(&mut self, kind: u16) {
        let head = [0, 0, 0, 10];
        self.packet.extend(message(kind, 0, 0, &head, &Attributes::default()));
    }

    fn push(&mut self, kind: u16, flags: u16, attributes: &Attributes) {
        self.messages += 1;
        let sequence = u32::try_from(self.messages).unwrap_or_default();
        self.packet.extend(message(kind, flags | ACK, sequence, &[INET, 0, 0, 0], attributes));
    }

    fn table(&mut self) {
        let attributes =
            Attributes::default().with(1, &text(&self.table)).with(2, &TABLE_OWNED.to_be_bytes());
        self.push(NEW_TABLE, CREATE, &attributes);
    }

    fn chain(&mut self, name: &str, kind: &str, hook: u32, priority: i32) {
        let hook =
            Attributes::default().with(1, &hook.to_be_bytes()).with(2, &priority.to_be_bytes());
        let attributes = Attributes::default()
            .with(1, &text(&self.table))
            .with(3, &text(name))
            .nest(4, hook)
            .with(7, &text(kind));
        self.push(NEW_CHAIN, CREATE, &attributes);
    }

    fn rule(&mut self, chain: &str, expressions: Vec<Vec<u8>>) {
        let attributes = Attributes::default()
            .with(1, &text(&self.table))
            .with(2, &text(chain))
            .with(4 | 0x8000, &expressions.concat());
        self.push(NEW_RULE, CREATE | APPEND, &attributes);
    }
}

const IIFNAME: u32 = 6;
const OIFNAME: u32 = 7;
const NFPROTO: u32 = 15;
const REGISTER: [u8; 4] = 1u32.to_be_bytes();
const VERDICT_REGISTER: [u8; 4] = 0u32.to_be_bytes();
const EQUAL: [u8; 4] = 0u32.to_be_bytes();

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// One expression of a rule, as an element of its list.
fn expression(name: &str, data: &Attributes) -> Vec<u8> {
    let expression = Attributes::default().with(1, &text(name)).nest(2, data.clone());
    Attributes::default().nest(1, expression).bytes().to_vec()
}

fn compare(value: &[u8]) -> Vec<u8> {
    let value = Attributes::default().with(1, value);
    expression("cmp", &Attributes::default().with(1, &REGISTER).with(2, &EQUAL).nest(3, value))
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &Attributes::default().with(1, &REGISTER).with(2, &key.to_be_bytes()))
}

/// An interface whose name begins with `prefix`: only that many bytes are compared.
fn meta_name(key: u32, prefix: &str) -> Vec<u8> {
    [meta(key), compare(prefix.as_bytes())].concat()
}

fn mask(mask: &[u8; 4]) -> Vec<u8> {
    let value = |bytes: &[u8]| Attributes::default().with(1, bytes);
    let data = Attributes::default()
        .with(1, &REGISTER)
        .with(2, &REGISTER)
        .with(3, &4u32.to_be_bytes())
        .nest(4, value(mask))
        .nest(5, value(&[0; 4]));
    expression("bitwise", &data)
}

fn not_established() -> Vec<u8> {
    let state = Attributes::default().with(1, &REGISTER).with(2, &0u32.to_be_bytes());
    // Established and related, in the host's byte order.
    let state = expression("ct", &state);
    [state, mask(&6u32.to_ne_bytes()), compare(&[0; 4])].concat()
}

/// Where an IPv4 header holds its addresses.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;

fn has_address(offset: u32, address: [u8; 4], bits: [u8; 4]) -> Vec<u8> {
    let load = Attributes::default()
        .with(1, &REGISTER)
        .with(2, &1u32.to_be_bytes())
        .with(3, &offset.to_be_bytes())
        .with(4, &4u32.to_be_bytes());
    [meta(NFPROTO), compare(&[2]), expression("payload", &load), mask(&bits), compare(&address)]
        .concat()
}

fn from_subnet(subnet: u32) -> Vec<u8> {
    has_address(SOURCE, subnet.to_be_bytes(), (!(SANDBOXES * 4 - 1)).to_be_bytes())
}

fn drop() -> Vec<u8> {
    let code = Attributes::default().with(1, &0u32.to_be_bytes());
    let verdict = Attributes::default().nest(2, code);
    expression("immediate", &Attributes::default().with(1, &VERDICT_REGISTER).nest(2, verdict))
}
