//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use coldframe_engine::Rate;

/// AWS Lambda's execution environment, on your own Linux machine.
///
/// `coldframe up` serves the Lambda API; any AWS SDK or tool uses it by its endpoint URL.
/// `coldframe run DIR` shows one function's life: cold start, reuse, freeze.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Arguments {
    /// What the service tells of itself on stderr: error, warn, info, debug or trace.
    #[arg(
        long,
        global = true,
        default_value = "warn",
        env = "COLDFRAME_LOG",
        value_name = "LEVEL"
    )]
    pub(crate) log_level: tracing::Level,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the Lambda API until SIGTERM or Ctrl-C.
    Up(Box<Up>),
    /// Deploy a directory to a service of its own, invoke it a few times, show what happened.
    Run(Run),
    /// Show the execution environments of a running service.
    #[command(subcommand)]
    Env(Environments),
    /// Print the log of a function.
    Logs(Logs),
    /// Accounts of the service: each has its functions to itself.
    #[command(subcommand)]
    Account(Account),
    /// Access keys, for a service that checks signatures (`coldframe up --auth sigv4`).
    #[command(subcommand)]
    Key(Key),
    /// Tell what this host offers, which guarantees hold, and how to get the others.
    Doctor,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Where to listen. Other addresses than loopback need `--auth sigv4`.
    #[arg(long, default_value = "127.0.0.1:4566", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) service: Service,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Service {
    /// Where functions are kept [default: coldframe in the XDG data directory].
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    pub(crate) data: Option<PathBuf>,
    /// Keep nothing: functions are gone when the service ends.
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// Who may call: anybody, or only who signs with a key of `coldframe key create`.
    #[arg(long, value_enum, default_value_t = Auth::Open, value_name = "MODE")]
    pub(crate) auth: Auth,
    /// Shut an idle environment down after this long: seconds, or with a unit, as in 90s, 10m, 1h.
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "TIME")]
    pub(crate) idle_timeout: Duration,
    /// Memory of all environments together, as functions are configured [default: the host's].
    #[arg(long, value_parser = whole::<u64>, value_name = "MB")]
    pub(crate) memory: Option<u64>,
    /// Simultaneous invocations of an account.
    #[arg(
        long,
        value_parser = whole::<usize>,
        default_value_t = coldframe_core::limits::ACCOUNT_CONCURRENCY,
        value_name = "N"
    )]
    pub(crate) concurrency: usize,
    /// Environments that a function may add in 10 seconds, and with it 10 requests a second for each
    /// environment it may have: AWS's rules, with 1000. Provisioned environments don't count.
    #[arg(long, default_value = "off", value_parser = scaling_rate, value_name = "N|off")]
    pub(crate) scaling_rate: ScalingRate,
    /// The region of requests that are not signed.
    #[arg(long, default_value = "us-east-1", value_name = "REGION")]
    pub(crate) region: String,
    /// What the hosts of function URLs end with, with the port [default: localhost:PORT].
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) url_domain: Option<String>,
    /// A port of this host's loopback that functions reach at the same 127.0.0.1 address. Repeatable.
    #[arg(long = "allow-host-port", value_name = "PORT")]
    pub(crate) allow_host_port: Vec<u16>,
    /// The S3 that code is fetched from when a request names a bucket, and that records of events go
    /// to: http://HOST:PORT or https://HOST:PORT. Requests are signed with AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY if they are set; certificates are believed by AWS_CA_BUNDLE,
    /// SSL_CERT_FILE, or the system's store.
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL")]
    pub(crate) s3_endpoint: Option<coldframe_client::Endpoint>,
    /// Size of all zips of an account's functions and layers together.
    #[arg(
        long,
        value_parser = whole::<u64>,
        default_value_t = coldframe_core::limits::CODE_STORAGE_BYTES,
        value_name = "BYTES"
    )]
    pub(crate) code_storage: u64,
    /// Size of all logs together on the disk: the oldest go first.
    #[arg(long, value_parser = whole::<u64>, default_value_t = 1024, value_name = "MB")]
    pub(crate) log_storage: u64,
    /// Sandboxes kept ready for the next cold starts.
    #[arg(long, value_parser = whole::<usize>, default_value_t = 2, value_name = "N")]
    pub(crate) ready: usize,
    /// How fast responses are streamed after the first 6 MiB, in MiB a second, or off.
    #[arg(long, default_value = "2", value_parser = stream_rate, value_name = "RATE|off")]
    pub(crate) stream_rate: StreamRate,
    /// A directory that functions without layers of their own have at /opt.
    #[arg(long, hide = true, value_name = "DIR")]
    pub(crate) layer: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) events: Events,
}

/// Asynchronous invocation.
#[derive(Clone, Debug, Args)]
pub(crate) struct Events {
    /// Multiplies the times between attempts of asynchronous invocations and of batches of event
    /// source mappings, and the age that events and records may reach: 0.01 makes a retry after a
    /// minute one after 600 ms. For tests.
    #[arg(long, default_value_t = 1.0, value_parser = scale, value_name = "FACTOR")]
    pub(crate) async_retry_scale: f64,
    /// Where SQS is, for event source mappings, destinations and dead letters.
    #[arg(long, env = "AWS_ENDPOINT_URL_SQS", value_name = "URL")]
    pub(crate) sqs_endpoint: Option<coldframe_client::Endpoint>,
    /// Where SNS is, for destinations and dead letters.
    #[arg(long, env = "AWS_ENDPOINT_URL_SNS", value_name = "URL")]
    pub(crate) sns_endpoint: Option<coldframe_client::Endpoint>,
    /// Where EventBridge is, for destinations.
    #[arg(long, env = "AWS_ENDPOINT_URL_EVENTBRIDGE", value_name = "URL")]
    pub(crate) eventbridge_endpoint: Option<coldframe_client::Endpoint>,
    /// Where Kinesis is, for event source mappings.
    #[arg(long, env = "AWS_ENDPOINT_URL_KINESIS", value_name = "URL")]
    pub(crate) kinesis_endpoint: Option<coldframe_client::Endpoint>,
    /// Where DynamoDB Streams are, for event source mappings.
    #[arg(long, env = "AWS_ENDPOINT_URL_DYNAMODB_STREAMS", value_name = "URL")]
    pub(crate) dynamodb_streams_endpoint: Option<coldframe_client::Endpoint>,
    /// How long a poll waits at a queue of an event source mapping, as long as a mapping takes to be
    /// disabled: whole seconds, 20 at most.
    #[arg(long, default_value = "20s", value_parser = sqs_wait, value_name = "TIME")]
    pub(crate) sqs_wait: Duration,
}

/// `None`: as fast as they come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamRate(pub(crate) Option<Rate>);

/// `None`: as fast as they come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScalingRate(pub(crate) Option<u32>);

/// Whether signatures are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Auth {
    /// Any signature or none; an access key of twelve digits is the account.
    Open,
    /// AWS's signature, version 4, by a known key.
    Sigv4,
}

impl Service {
    /// What `coldframe run` and `coldframe doctor` use.
    pub(crate) fn ephemeral() -> Self {
        Self {
            data: None,
            ephemeral: true,
            auth: Auth::Open,
            idle_timeout: Duration::from_secs(600),
            memory: None,
            concurrency: coldframe_core::limits::ACCOUNT_CONCURRENCY,
            scaling_rate: ScalingRate(None),
            region: "us-east-1".to_owned(),
            url_domain: None,
            allow_host_port: Vec::new(),
            s3_endpoint: None,
            code_storage: coldframe_core::limits::CODE_STORAGE_BYTES,
            log_storage: 1024,
            ready: 1,
            stream_rate: StreamRate(Some(Rate::default())),
            layer: None,
            events: Events {
                async_retry_scale: 1.0,
                sqs_endpoint: None,
                sns_endpoint: None,
                eventbridge_endpoint: None,
                kinesis_endpoint: None,
                dynamodb_streams_endpoint: None,
                sqs_wait: Duration::from_secs(20),
            },
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The function's directory: with app.py, index.js, index.mjs or bootstrap.
    pub(crate) directory: PathBuf,
    /// How many times to invoke it.
    #[arg(long, value_parser = whole::<u32>, default_value_t = 3, value_name = "N")]
    pub(crate) times: u32,
    /// The event: JSON, or @FILE.
    #[arg(long, default_value = "{}", value_name = "JSON|@FILE")]
    pub(crate) event: String,
    /// The runtime, e.g. python3.12 [default: by the directory's files and the host's interpreters].
    #[arg(long)]
    pub(crate) runtime: Option<String>,
    /// The handler, e.g. app.handler [default: by the directory's files].
    #[arg(long)]
    pub(crate) handler: Option<String>,
    /// Memory of the function.
    #[arg(long, value_parser = whole::<u32>, default_value_t = 128, value_name = "MB")]
    pub(crate) memory: u32,
    /// Time limit of one invocation.
    #[arg(long, value_parser = whole::<u32>, default_value_t = 3, value_name = "SECONDS")]
    pub(crate) timeout: u32,
    /// A layer: a directory whose content is seen at /opt. Repeatable; later ones overwrite earlier ones.
    #[arg(long = "layer", value_name = "DIR")]
    pub(crate) layers: Vec<PathBuf>,
    /// A variable of the function's environment. Repeatable.
    #[arg(long = "env", value_name = "KEY=VALUE")]
    pub(crate) environment: Vec<String>,
    /// A port of this host's loopback that the function reaches at the same address. Repeatable.
    #[arg(long = "allow-host-port", value_name = "PORT")]
    pub(crate) allow_host_port: Vec<u16>,
}

impl Run {
    pub(crate) fn service(&self) -> Service {
        Service { allow_host_port: self.allow_host_port.clone(), ..Service::ephemeral() }
    }
}

/// Where the running service is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Endpoint {
    /// The service's address.
    #[arg(
        long,
        default_value = "http://127.0.0.1:4566",
        env = "COLDFRAME_ENDPOINT",
        value_name = "URL"
    )]
    pub(crate) endpoint_url: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Environments {
    /// List the environments.
    Ls {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
    /// Show the life of one environment.
    Show {
        /// Its id, or the beginning of it.
        id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        endpoint: Endpoint,
    },
}

/// Where accounts and keys are kept.
#[derive(Clone, Debug, Args)]
pub(crate) struct Data {
    /// The service's data directory, whether it runs or not [default: as `coldframe up`].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Make an account; prints its number.
    Create {
        /// What it is for.
        #[arg(long, default_value = "", value_name = "TEXT")]
        name: String,
        /// Its number, twelve digits [default: by chance].
        #[arg(long, value_name = "NUMBER")]
        id: Option<String>,
        #[command(flatten)]
        data: Data,
    },
    /// List the accounts.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make an access key; prints it for the shell, the only time its secret is shown.
    Create {
        /// Whose functions it reaches: the account's number.
        #[arg(long, default_value = "000000000000", value_name = "NUMBER")]
        account: String,
        /// Who signs with it.
        #[arg(long, default_value = "admin", value_name = "NAME")]
        user: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: Data,
    },
    /// List the access keys, without their secrets.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        data: Data,
    },
    /// Take an access key back, at once.
    Revoke {
        /// Its id, `AKIA…`.
        id: String,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The function's name or ARN.
    pub(crate) function: String,
    /// Go on printing what comes.
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
}

/// `1024`; clap's own words for others are a programmer's.
fn whole<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "not a whole number, or too large a one".to_owned())
}

/// `2`, `0.5`, `off`: MiB a second.
fn stream_rate(text: &str) -> Result<StreamRate, String> {
    if text == "off" {
        return Ok(StreamRate(None));
    }
    // AWS's own code knows rates from 32 KiB to 64 MiB (execution-environment.md §9.5).
    let wrong = || "not a rate: MiB a second from 0.03125 to 64, or off".to_owned();
    let mib: f64 = text.parse().map_err(|_| wrong())?;
    if !(0.03125..=64.0).contains(&mib) {
        return Err(wrong());
    }
    let aws = Rate::default();
    let refill = (mib * 1024.0 * 1024.0 * aws.interval.as_secs_f64()) as u64;
    Ok(StreamRate(Some(Rate { refill, ..aws })))
}

/// `1000`, `off`: environments in ten seconds.
fn scaling_rate(text: &str) -> Result<ScalingRate, String> {
    if text == "off" {
        return Ok(ScalingRate(None));
    }
    let rate = text.parse().ok().filter(|rate| *rate > 0);
    rate.map(|rate| ScalingRate(Some(rate)))
        .ok_or_else(|| "not a rate: environments in 10 seconds from 1, or off".to_owned())
}

/// `90`, `90s`, `10m`, `1h`, `250ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().map_err(|_| "not a time: try 90s, 10m or 1h".to_owned())?;
    let milliseconds = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    milliseconds
        .and_then(|unit| number.checked_mul(unit))
        .map(Duration::from_millis)
        .ok_or_else(|| "not a time: try 90s, 10m or 1h".to_owned())
}

/// A poll that doesn't wait would be sent again and again.
fn sqs_wait(text: &str) -> Result<Duration, String> {
    let wait = duration(text)?;
    if (1..=20).contains(&wait.as_secs()) && wait.subsec_nanos() == 0 {
        Ok(wait)
    } else {
        Err("not of 1s to 20s".to_owned())
    }
}

fn scale(text: &str) -> Result<f64, String> {
    let scale = text.parse().ok().filter(|scale: &f64| scale.is_finite() && *scale > 0.0);
    scale.ok_or_else(|| "not a number above zero".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn stream_rates_are_mib_a_second() {
        let refill = |text: &str| stream_rate(text).ok().map(|rate| rate.0.map(|rate| rate.refill));
        assert_eq!(refill("2"), Some(Some(262_144)));
        assert_eq!(refill("0.5"), Some(Some(65_536)));
        assert_eq!(refill("off"), Some(None));
        for wrong in ["0", "-1", "65", "fast", "NaN", ""] {
            assert_eq!(refill(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn scaling_rates_are_whole_numbers() {
        let rate = |text: &str| scaling_rate(text).ok().map(|rate| rate.0);
        assert_eq!(rate("1000"), Some(Some(1000)));
        assert_eq!(rate("off"), Some(None));
        for wrong in ["0", "-1", "1.5", "AWS", ""] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_number_is_told_in_words() {
        assert_eq!(whole::<u32>("128"), Ok(128));
        for wrong in ["lots", "-1", "1.5", "4294967296", ""] {
            assert!(whole::<u32>(wrong).unwrap_err().contains("not a whole number"), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        let check = |text: &str, seconds: Option<f64>| {
            assert_eq!(duration(text).ok().map(|time| time.as_secs_f64()), seconds, "{text}");
        };
        check("90", Some(90.0));
        check("10m", Some(600.0));
        check("250ms", Some(0.25));
        check("1h", Some(3600.0));
        check("m", None);
        check("1d", None);
        check("", None);
        check("99999999999999999999h", None);
    }
}
