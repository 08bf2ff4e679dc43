//! What several tests of this room need.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use coldframe_core::{
    AccountId, BoxFuture, FunctionArn, FunctionVersion, LogFormat, MemorySize, Runtime, Tracing,
};

use crate::telemetry::{About, Dial};

/// The network of this process.
pub(crate) struct Loopback;

impl Dial for Loopback {
    fn socket(&self) -> BoxFuture<'_, std::io::Result<OwnedFd>> {
        Box::pin(async { tokio::net::TcpSocket::new_v4()?.as_fd().try_clone_to_owned() })
    }
}

pub(crate) fn about() -> About {
    let function = FunctionVersion {
        arn: FunctionArn {
            account: AccountId::default_account(),
            region: "eu-west-1".into(),
            name: "f".into(),
        },
        version: "$LATEST".into(),
        revision: "r".into(),
        runtime: Runtime::parse("provided.al2023"),
        handler: "app.handler".into(),
        role: "arn:aws:iam::000000000000:role/r".into(),
        memory: MemorySize::from_mb(256),
        timeout: Duration::from_secs(3),
        ephemeral_storage_mb: 512,
        environment: std::collections::BTreeMap::new(),
        code: "/nowhere".into(),
        layers: None,
        tracing: Tracing::PassThrough,
        log_format: LogFormat::Json,
        application_log_level: None,
        system_log_level: None,
        tenant_isolation: false,
        log_group: "/aws/lambda/f".into(),
    };
    About {
        function: Arc::new(function),
        log_stream: "2026/10/01/[$LATEST]0123456789abcdef0123456789abcdef".into(),
        runtime_version: None,
        initialization_type: "on-demand",
    }
}
