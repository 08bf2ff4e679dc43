//! The rooms, introduced to each other, and the loop that serves them over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::Context;
use bytes::Bytes;
use coldframe_api::{Authentication, Peer, Place, Service as Api};
use coldframe_client::{Client, Credentials, Trust};
use coldframe_engine::{Engine, HostRuntimes, Options};
use coldframe_events::Events;
use coldframe_image::PackageStore;
use coldframe_observe::{Observe, OtlpOptions};
use coldframe_sandbox::namespaces::{self, NamespaceDriver};
use coldframe_store::Store;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admin::Admin;
use crate::arguments::{self, Auth};
use crate::bootstraps::BOOTSTRAPS;
use crate::companions::Companions;
use crate::instance::{Instance, PREFIX, is_alive};
use crate::lean;
use crate::objects::S3;
use crate::observed::{self, Observed};
use crate::operator::Operator;

/// Size of `/tmp` that ready sandboxes have: AWS's default, MB.
const READY_SCRATCH_MB: u32 = 512;

pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A whole service, listening.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) driver: Arc<NamespaceDriver>,
    engine: Arc<Engine>,
    events: Arc<Events>,
    observe: Observe,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<()>,
    instance: Instance,
}

/// Everything that listens at the one address.
pub(crate) struct Front {
    pub(crate) api: Arc<Api>,
    admin: Admin,
    companions: Companions,
}

/// The driver alone.
pub(crate) fn driver(
    instance: &mut Instance,
    options: &arguments::Service,
) -> anyhow::Result<NamespaceDriver> {
    let nursery = instance.nursery.take().context("the nursery has been taken")?;
    let scratch = instance.cache.join("scratch");
    std::fs::create_dir_all(&scratch)
        .with_context(|| format!("cannot make {}", scratch.display()))?;
    let mut host_ports = options.allow_host_port.clone();
    host_ports.sort_unstable();
    host_ports.dedup();
    let options = namespaces::Options {
        directory: scratch,
        ready: options.ready,
        ready_scratch_mb: READY_SCRATCH_MB,
        host_ports,
    };
    NamespaceDriver::new(nursery, &instance.name, options).context("cannot make sandboxes")
}

/// The interpreters of the host.
pub(crate) fn runtimes(instance: &Instance) -> HostRuntimes {
    HostRuntimes::new(BOOTSTRAPS, instance.cache.join("runtimes"))
}

impl Service {
    /// Starts everything and listens.
    pub(crate) async fn start(
        mut instance: Instance,
        options: &arguments::Service,
        listen: SocketAddr,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr().context("cannot listen")?;
        let driver = Arc::new(driver(&mut instance, options)?);
        let otlp = OtlpOptions::from_variables(variable);
        let otlp = otlp.unwrap_or_else(|why| {
            // Set for other programs, perhaps.
            tracing::warn!(why, "telemetry is not sent on");
            None
        });
        let observe = Observe::start(coldframe_observe::Options {
            logs: instance.data.join("logs"),
            metrics: instance.data.join("metrics"),
            stored_bytes_max: options.log_storage.saturating_mul(1024 * 1024),
            otlp,
        })
        .context("cannot start the writer of logs")?;
        let memory_mb = options.memory.unwrap_or_else(host_memory_mb);
        let engine_options = Options {
            idle_timeout: options.idle_timeout,
            memory_mb,
            account_concurrency: options.concurrency,
            scaling_rate: options.scaling_rate.0,
            stream_rate: options.stream_rate.0,
            layer: options.layer.clone(),
        };
        let observer = Arc::new(observe.clone());
        let engine = Engine::new(driver.clone(), runtimes(&instance), observer, engine_options);
        let engine = Arc::new(engine);
        let store = instance.data.join("store.sqlite");
        let store = Store::open((!instance.ephemeral).then_some(store.as_path()))
            .context("cannot open the store")?;
        let observer = Arc::new(observe.clone());
        let client = Client::new(Trust::from_variable("AWS_CA_BUNDLE", variable));
        let events = Events::open(&store, events(options, memory_mb, client.clone()), observer)
            .context("cannot read the queue of asynchronous invocations")?;
        let events = Arc::new(events);
        let packages = PackageStore::open(instance.data.join("packages"))
            .context("cannot open the packages")?;
        let invoker = Arc::new(Observed { engine: engine.clone(), observe: observe.clone() });
        let api_options = coldframe_api::Options {
            authentication: match options.auth {
                Auth::Open => Authentication::Open,
                Auth::Sigv4 => Authentication::Sigv4,
            },
            default_region: options.region.clone(),
            url_domain: options
                .url_domain
                .clone()
                .unwrap_or_else(|| format!("localhost:{}", address.port())),
            code_storage: options.code_storage,
        };
        let packages = Arc::new(packages);
        let (queue, sources) = (events.clone(), events.clone());
        let invokes = invoker.clone();
        let mut api =
            Api::new(store, packages, invokes, queue, sources, engine.clone(), &api_options)
                .context("cannot read the store")?;
        api.fetch_from(Arc::new(S3::new(options.s3_endpoint.clone(), client)));
        let api = Arc::new(api);
        events.start(api.clone(), invoker, api.clone());
        api.clear_away();
        api.start_sources();
        if !instance.ephemeral {
            Operator::listen(&instance.data, api.clone());
        }
        let is_open = options.auth == Auth::Open;
        let observing = observe.clone();
        let admin = Admin { api: api.clone(), engine: engine.clone(), observe: observing, is_open };
        let (observing, engines) = (observe.clone(), engine.clone());
        let companions = Companions { api: api.clone(), observe: observing, engine: engines };
        let (stop, stopped) = watch::channel(false);
        let front = Arc::new(Front { api, admin, companions });
        let served = tokio::spawn(serve(listener, front, stopped));
        driver.keep_ready();
        // Off the way to readiness: what killed services have left, and the table of operations.
        let sweeper = driver.clone();
        tokio::task::spawn_blocking(move || {
            coldframe_api::model::Model::get();
            sweeper.sweep(PREFIX, is_alive);
        });
        Ok(Self { address, driver, engine, events, observe, stop, served, instance })
    }

    /// Takes nothing new, lets running invocations finish, shuts every environment down.
    /// Events that wait stay for the next service.
    pub(crate) async fn drain(self) {
        self.events.stop();
        self.engine.drain().await;
        self.events.drained().await;
        let _ = self.stop.send(true);
        let _ = self.served.await;
        let driver = self.driver;
        drop(self.engine);
        let observe = self.observe;
        let _ = tokio::task::spawn_blocking(move || driver.close()).await;
        observe.close().await;
        drop(self.instance);
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn events(
    options: &arguments::Service,
    memory_mb: u64,
    client: Client,
) -> coldframe_events::Options {
    let given = &options.events;
    coldframe_events::Options {
        concurrency: options.concurrency,
        memory_mb,
        time_scale: given.async_retry_scale,
        receive_wait: given.sqs_wait,
        endpoints: coldframe_events::Endpoints {
            sqs: given.sqs_endpoint.clone(),
            sns: given.sns_endpoint.clone(),
            eventbridge: given.eventbridge_endpoint.clone(),
            s3: options.s3_endpoint.clone(),
            kinesis: given.kinesis_endpoint.clone(),
            dynamodb_streams: given.dynamodb_streams_endpoint.clone(),
        },
        client,
        // Most services of one's own take any.
        credentials: Credentials::from_variables(variable).unwrap_or_else(|| Credentials {
            access_key: "test".to_owned(),
            secret_key: "test".to_owned(),
            session_token: None,
        }),
    }
}

fn host_memory_mb() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    // A host that doesn't tell has what the smallest machines have.
    kib.map_or(1024, |kib| kib / 1024)
}

async fn serve(listener: TcpListener, front: Arc<Front>, mut stopped: watch::Receiver<bool>) {
    let server = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, say; what is lacking comes back in its own time.
                    tracing::warn!(%error, "a connection was lost");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
            _ = stopped.changed() => break,
        };
        let _ = stream.set_nodelay(true);
        let front = front.clone();
        let (server, watcher, stopped) = (server.clone(), graceful.watcher(), stopped.clone());
        tokio::spawn(async move {
            let (from, to) = stream.into_split();
            let Some(rest) = lean::serve(&front, from, to, stopped).await else { return };
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(Peer(peer.ip()));
                let front = front.clone();
                async move { Ok::<_, Infallible>(front.answer(request).await) }
            });
            let stream = TokioIo::new(rest.stream());
            let connection = server.serve_connection(stream, service).into_owned();
            // What a client sends wrong is its own matter; hyper has answered it.
            let _ = watcher.watch(connection).await;
        });
    }
    // Followers of logs stay as long as they are let.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), graceful.shutdown()).await;
}

impl Front {
    /// Whether the API may answer, and nobody before it.
    pub(crate) fn is_for_api(head: &Request<()>) -> bool {
        Place::of(head).is_none() && !is_foreign(head)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        // What a function serves is for any page, and its paths are its own.
        if let Some(place) = Place::of(&request) {
            let began = (SystemTime::now(), Instant::now());
            let reply = self.api.serve_url(place, request).await.map(BodyExt::boxed);
            observed::url(&self.companions.observe, &reply, began);
            return reply;
        }
        if is_foreign(&request) {
            return crate::admin::problem(
                hyper::StatusCode::FORBIDDEN,
                "a page of another origin must not use this service",
            );
        }
        if Admin::is_for(&request) {
            let (head, _) = request.into_parts();
            return self.admin.answer(&head).await;
        }
        match Companions::wants(&request) {
            Some(wanted) => self.companions.answer(wanted, request).await,
            None => self.api.handle(request).await.map(BodyExt::boxed),
        }
    }
}

/// Whether a browser sends this for a page that isn't ours: any page can post to loopback.
fn is_foreign<B>(request: &Request<B>) -> bool {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_own = |origin: &str| {
        origin.strip_prefix("http://").is_some_and(|origin| Some(origin) == header("host"))
    };
    header("origin").is_some_and(|origin| !is_own(origin))
}

pub(crate) fn full(body: Full<Bytes>) -> Body {
    body.boxed()
}
